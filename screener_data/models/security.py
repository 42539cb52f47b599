"""Master tables: securities and indices."""

from __future__ import annotations

from enum import Enum

from sqlalchemy import Enum as EnumType
from sqlalchemy import text, true
from sqlalchemy.orm import Mapped, mapped_column

from screener_data.columns import ISIN, Count, Day, FaceValue, Name, Price, Symbol, Text10, Text20, Text100
from screener_data.models.base import Base, CreatedAt, SmallKey, UpdatedAt, finite

__all__ = ["Index", "Security", "SecurityType"]


class SecurityType(str, Enum):  # noqa: UP042 - the schema as given says (str, Enum)
    """What kind of security. A PostgreSQL enum, `securitytype`."""

    EQUITY = "EQUITY"
    ETF = "ETF"


class Security(Base):
    """One row is one security that is or was listed on NSE. Source: EQUITY_L.csv, the SME and ETF lists. Key: ISIN.

    The symbol is unique, too, but it moves: one ISIN under a new symbol is a rename of this row.
    """

    __tablename__ = "securities"
    __table_args__ = (finite("securities", "paid_up_value", "face_value"),)

    id: Mapped[SmallKey]
    symbol: Mapped[Symbol] = mapped_column(unique=True, index=True)
    isin: Mapped[ISIN] = mapped_column(unique=True, index=True)
    security_name: Mapped[Name]
    series: Mapped[Text10 | None]
    listing_date: Mapped[Day | None]
    paid_up_value: Mapped[Price | None]
    market_lot: Mapped[Count | None]
    face_value: Mapped[FaceValue | None]
    security_type: Mapped[SecurityType] = mapped_column(EnumType(SecurityType, name="securitytype"))
    is_active: Mapped[bool | None] = mapped_column(default=True, server_default=true(), index=True)
    created_at: Mapped[CreatedAt | None]
    updated_at: Mapped[UpdatedAt | None]


class Index(Base):
    """One row is one index of the exchange. Source: the daily index files. Key: symbol (the name in upper case)."""

    __tablename__ = "indices"

    id: Mapped[SmallKey]
    index_name: Mapped[Text100] = mapped_column(unique=True)
    symbol: Mapped[Symbol] = mapped_column(unique=True, index=True)
    exchange: Mapped[Text20 | None] = mapped_column(default="NSE_INDEX", server_default=text("'NSE_INDEX'"))
    is_active: Mapped[bool | None] = mapped_column(default=True, server_default=true())
    created_at: Mapped[CreatedAt | None]
    updated_at: Mapped[UpdatedAt | None]
