"""Events: bulk and block deals, surveillance measures."""

from __future__ import annotations

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from screener_data.columns import (
    Day,
    DealSide,
    LongCount,
    Name,
    Price,
    Symbol,
    Text100,
    Text500,
)
from screener_data.models.base import Base, BigKey, CreatedAt, finite

__all__ = ["BlockDeal", "BulkDeal", "SurveillanceMeasure"]


class _Deal:
    """What the two deal tables share. No unique key: the same deal can truly stand twice."""

    __tablename__: str

    @declared_attr.directive
    def __table_args__(cls) -> tuple[CheckConstraint, ...]:  # noqa: N805
        return (
            CheckConstraint("deal_type IN ('BUY', 'SELL')", name=f"ck_{cls.__tablename__}_deal_type"),
            finite(cls.__tablename__, "price"),
        )

    id: Mapped[BigKey]
    date: Mapped[Day] = mapped_column(index=True)
    symbol: Mapped[Symbol] = mapped_column(index=True)
    security_name: Mapped[Name | None]
    client_name: Mapped[Name]
    deal_type: Mapped[DealSide | None]
    quantity: Mapped[LongCount]
    price: Mapped[Price]
    created_at: Mapped[CreatedAt | None]


class BulkDeal(_Deal, Base):
    """One row is one client's bulk deal (over 0.5 % of the shares in a day). Source: NSE bulk.csv. No key."""

    __tablename__ = "bulk_deals"


class BlockDeal(_Deal, Base):
    """One row is one deal in the block window. Source: NSE block.csv. No key."""

    __tablename__ = "block_deals"


class SurveillanceMeasure(Base):
    """One row is one measure in force for one symbol on one date. Source: NSE REG1_IND*.csv.

    Key in practice: (date, symbol, measure_type).
    """

    __tablename__ = "surveillance_measures"

    id: Mapped[BigKey]
    date: Mapped[Day] = mapped_column(index=True)
    symbol: Mapped[Symbol] = mapped_column(index=True)
    security_name: Mapped[Name | None]
    measure_type: Mapped[Text100 | None]
    reason: Mapped[Text500 | None]
    created_at: Mapped[CreatedAt | None]
