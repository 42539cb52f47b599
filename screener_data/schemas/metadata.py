"""Checked rows of the reference tables and the audit log."""

from __future__ import annotations

import datetime as dt

from screener_data.columns import Count, Day, JsonObject, LoadStatus, Name, Symbol, Text20, Text50, Text100
from screener_data.schemas.base import Schema

__all__ = [
    "IndustryClassificationBase",
    "IndustryClassificationCreate",
    "IndustryClassificationResponse",
    "IngestionLogBase",
    "IngestionLogCreate",
    "IngestionLogResponse",
    "MarketHolidayBase",
    "MarketHolidayCreate",
    "MarketHolidayResponse",
]


class IndustryClassificationBase(Schema):
    """A security's place in NSE's classification, from the widest level to the narrowest."""

    symbol: Symbol
    macro: Text100 | None = None
    sector: Text100 | None = None
    industry: Text100 | None = None
    basic_industry: Text100 | None = None


class IndustryClassificationCreate(IndustryClassificationBase):
    """A classification to be stored."""


class IndustryClassificationResponse(IndustryClassificationBase):
    """A stored classification."""

    id: int
    updated_at: dt.datetime | None


class MarketHolidayBase(Schema):
    """A day on which NSE's cash market is shut."""

    holiday_date: Day
    holiday_name: Name | None = None
    exchange: Text20 | None = "NSE"


class MarketHolidayCreate(MarketHolidayBase):
    """A holiday to be stored."""


class MarketHolidayResponse(MarketHolidayBase):
    """A stored holiday."""

    id: int
    created_at: dt.datetime | None


class IngestionLogBase(Schema):
    """How one load of one file ended. Counts are rows of the file; execution_time_ms is milliseconds."""

    source: Text50
    status: LoadStatus
    records_fetched: Count | None = None
    records_inserted: Count | None = None
    records_updated: Count | None = None
    records_failed: Count | None = None
    errors: JsonObject | None = None
    execution_time_ms: Count | None = None


class IngestionLogCreate(IngestionLogBase):
    """A log entry to be stored."""


class IngestionLogResponse(IngestionLogBase):
    """A stored log entry."""

    id: int
    timestamp: dt.datetime | None
