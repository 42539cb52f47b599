"""Checked rows of the daily series."""

from __future__ import annotations

import datetime as dt
from typing import Self

from pydantic import model_validator

from screener_data.columns import (
    Count,
    Crore,
    Day,
    FaceValue,
    LongCount,
    Name,
    Percent,
    Price,
    Score,
    Symbol,
    Text10,
    Text50,
    Unitless,
    VolumePercent,
)
from screener_data.schemas.base import Schema

__all__ = [
    "CalculatedMetricsBase",
    "CalculatedMetricsCreate",
    "CalculatedMetricsResponse",
    "MarketCapHistoryBase",
    "MarketCapHistoryCreate",
    "MarketCapHistoryResponse",
    "OHLCVDailyBase",
    "OHLCVDailyCreate",
    "OHLCVDailyResponse",
]


class OHLCVDailyBase(Schema):
    """A symbol's session. Prices in rupees (an index: points), volume in shares (an index: None)."""

    symbol: Symbol
    date: Day
    open: Price
    high: Price
    low: Price
    close: Price
    volume: LongCount | None = None
    vwap: Price | None = None
    prev_close: Price | None = None
    change_pct: Percent | None = None
    upper_circuit: Price | None = None
    lower_circuit: Price | None = None
    week_52_high: Price | None = None
    week_52_low: Price | None = None

    @model_validator(mode="after")
    def _prices_in_range(self) -> Self:
        """The table's three checks, on the values as rounded for storing."""
        if self.high < self.low:
            raise ValueError("ck_high_gte_low: high must not be below low")
        if not self.low <= self.open <= self.high:
            raise ValueError("ck_open_in_range: open must be between low and high")
        if not self.low <= self.close <= self.high:
            raise ValueError("ck_close_in_range: close must be between low and high")
        return self


class OHLCVDailyCreate(OHLCVDailyBase):
    """A session to be stored."""


class OHLCVDailyResponse(OHLCVDailyBase):
    """A stored session."""

    id: int
    created_at: dt.datetime | None


class MarketCapHistoryBase(Schema):
    """A security's market capitalisation on a day: market_cap in ₹ crore, prices in rupees."""

    symbol: Symbol
    date: Day
    series: Text10 | None = None
    security_name: Name | None = None
    category: Text50 | None = None
    last_trade_date: Day | None = None
    face_value: FaceValue | None = None
    issue_size: LongCount | None = None
    close_price: Price | None = None
    market_cap: Crore


class MarketCapHistoryCreate(MarketCapHistoryBase):
    """A market capitalisation to be stored."""


class MarketCapHistoryResponse(MarketCapHistoryBase):
    """A stored market capitalisation."""

    id: int
    created_at: dt.datetime | None


class CalculatedMetricsBase(Schema):
    """A security's metrics after a session; None while its history is too short."""

    symbol: Symbol
    date: Day
    rs_rating: Score | None = None
    vars_value: Unitless | None = None
    atr: Price | None = None
    atr_pct: Percent | None = None
    stage: Count | None = None
    vcp_score: Score | None = None
    vol_20d_avg: LongCount | None = None
    vol_vs_avg_pct: VolumePercent | None = None
    ma_10: Price | None = None
    ma_20: Price | None = None
    ma_50: Price | None = None
    ma_200: Price | None = None


class CalculatedMetricsCreate(CalculatedMetricsBase):
    """Metrics to be stored."""


class CalculatedMetricsResponse(CalculatedMetricsBase):
    """Stored metrics."""

    id: int
    created_at: dt.datetime | None
