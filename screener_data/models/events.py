"""Events: bulk and block deals, surveillance measures, corporate actions."""

from __future__ import annotations

from typing import get_args

from sqlalchemy import CheckConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from screener_data.columns import (
    ActionKind,
    AnyText,
    Day,
    DealSide,
    FaceValue,
    Factor,
    LongCount,
    Name,
    Price,
    Shares,
    Symbol,
    Text100,
    Text500,
)
from screener_data.models.base import Base, BigKey, CreatedAt, finite

__all__ = ["BlockDeal", "BulkDeal", "CorporateAction", "SurveillanceMeasure"]


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


_KINDS = ", ".join(f"'{kind}'" for kind in get_args(get_args(ActionKind)[0]))


class CorporateAction(Base):
    """One row is one action of one kind of one symbol on one ex-date. Source: NSE bc*.csv and the corporate-actions
    downloads; manual_factors*.csv. Key: (symbol, ex_date, kind).

    `shares_after` shares come of `shares_before`, as printed: a split from Rs 10 to Rs 2 is 2 → 10, a bonus a:b and
    rights a:b are b → a + b, a consolidation from Re 1 to Rs 10 is 10 → 1. Kinds that leave their number alone are
    1 → 1. `premium` and `face_value` are rupees per share of a rights issue (the face value as its file prints it).
    A manual row has factors of its own and takes the place of all others of its symbol and day; its purpose is the
    reason. No foreign key: actions of securities that left the lists are kept, too.
    """

    __tablename__ = "corporate_actions"
    __table_args__ = (
        UniqueConstraint("symbol", "ex_date", "kind", name="uq_corporate_actions_symbol_ex_date_kind"),
        CheckConstraint(f"kind IN ({_KINDS})", name="ck_corporate_actions_kind"),
        CheckConstraint("shares_before > 0 AND shares_after > 0", name="ck_corporate_actions_shares"),
        CheckConstraint("premium >= 0", name="ck_corporate_actions_premium"),
        CheckConstraint("face_value > 0", name="ck_corporate_actions_face_value"),
        CheckConstraint("price_factor > 0 AND volume_factor > 0", name="ck_corporate_actions_factors"),
        CheckConstraint(
            "(kind = 'manual') = (price_factor IS NOT NULL) AND (kind = 'manual') = (volume_factor IS NOT NULL)",
            name="ck_corporate_actions_manual",
        ),
        finite(
            "corporate_actions",
            *("shares_before", "shares_after", "premium", "face_value", "price_factor", "volume_factor"),
        ),
    )

    id: Mapped[BigKey]
    symbol: Mapped[Symbol] = mapped_column(index=True)
    ex_date: Mapped[Day] = mapped_column(index=True)
    kind: Mapped[ActionKind]
    shares_before: Mapped[Shares]
    shares_after: Mapped[Shares]
    premium: Mapped[Price | None]
    face_value: Mapped[FaceValue | None]
    price_factor: Mapped[Factor | None]
    volume_factor: Mapped[Factor | None]
    purpose: Mapped[AnyText]
    created_at: Mapped[CreatedAt | None]
