"""Reference tables and the audit log."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, text
from sqlalchemy.orm import Mapped, mapped_column

from screener_data.columns import Count, Day, JsonObject, LoadStatus, Name, Symbol, Text20, Text50, Text100
from screener_data.models.base import Base, BigKey, CreatedAt, SmallKey, UpdatedAt

__all__ = ["IndustryClassification", "IngestionLog", "MarketHoliday"]


class IndustryClassification(Base):
    """One row is one security's place in NSE's four-level classification. Source: NSE website API. Key: symbol."""

    __tablename__ = "industry_classification"

    id: Mapped[SmallKey]
    symbol: Mapped[Symbol] = mapped_column(
        ForeignKey("securities.symbol", ondelete="CASCADE", onupdate="CASCADE"), unique=True, index=True
    )
    macro: Mapped[Text100 | None]
    sector: Mapped[Text100 | None] = mapped_column(index=True)
    industry: Mapped[Text100 | None] = mapped_column(index=True)
    basic_industry: Mapped[Text100 | None]
    updated_at: Mapped[UpdatedAt | None]


class MarketHoliday(Base):
    """One row is one day on which NSE's cash market is shut. Source: Upstox API, NSE's holiday master. Key: date."""

    __tablename__ = "market_holidays"

    id: Mapped[SmallKey]
    holiday_date: Mapped[Day] = mapped_column(unique=True, index=True)
    holiday_name: Mapped[Name | None]
    exchange: Mapped[Text20 | None] = mapped_column(default="NSE", server_default=text("'NSE'"))
    created_at: Mapped[CreatedAt | None]


class IngestionLog(Base):
    """One row is one load of one file, true also when it failed. Read by workflow tools. Key: id.

    records_fetched = rows read, records_failed = rows rejected; the rest stands in `load_files`.
    """

    __tablename__ = "ingestion_logs"
    __table_args__ = (CheckConstraint("status IN ('success', 'failure', 'partial')", name="ck_ingestion_logs_status"),)

    id: Mapped[BigKey]
    source: Mapped[Text50] = mapped_column(index=True)
    status: Mapped[LoadStatus]
    records_fetched: Mapped[Count | None]
    records_inserted: Mapped[Count | None]
    records_updated: Mapped[Count | None]
    records_failed: Mapped[Count | None]
    errors: Mapped[JsonObject | None]
    execution_time_ms: Mapped[Count | None]
    timestamp: Mapped[CreatedAt | None] = mapped_column(index=True)
