"""Daily series: prices, market capitalisation, metrics."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

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
from screener_data.models.base import Base, BigKey, CreatedAt, finite

__all__ = ["CalculatedMetrics", "MarketCapHistory", "OHLCVDaily"]


class OHLCVDaily(Base):
    """One row is one symbol's session, prices as published. Source: NSE bhavcopies and index files, Upstox API.

    Key: (symbol, date). No foreign key, since indices are not securities; their volume is NULL.
    """

    __tablename__ = "ohlcv_daily"
    __table_args__ = (
        UniqueConstraint("symbol", "date", name="uq_ohlcv_symbol_date"),
        CheckConstraint("high >= low", name="ck_high_gte_low"),
        CheckConstraint("open >= low AND open <= high", name="ck_open_in_range"),
        CheckConstraint("close >= low AND close <= high", name="ck_close_in_range"),
        finite(
            "ohlcv_daily",
            *("open", "high", "low", "close", "vwap", "prev_close", "change_pct"),
            *("upper_circuit", "lower_circuit", "week_52_high", "week_52_low"),
        ),
        Index("idx_ohlcv_symbol_date", "symbol", text("date DESC")),
        Index("idx_ohlcv_date", text("date DESC")),
        # room on each page: a corrected row, or one that gets its circuits, stays where it is and no index is touched
        {"postgresql_with": {"fillfactor": 66}},
    )

    id: Mapped[BigKey]
    symbol: Mapped[Symbol]
    date: Mapped[Day]
    open: Mapped[Price]
    high: Mapped[Price]
    low: Mapped[Price]
    close: Mapped[Price]
    volume: Mapped[LongCount | None]
    vwap: Mapped[Price | None]
    prev_close: Mapped[Price | None]
    change_pct: Mapped[Percent | None]
    upper_circuit: Mapped[Price | None]
    lower_circuit: Mapped[Price | None]
    week_52_high: Mapped[Price | None]
    week_52_low: Mapped[Price | None]
    created_at: Mapped[CreatedAt | None]


class MarketCapHistory(Base):
    """One row is one security's market capitalisation on one day. Source: NSE MCAP_*.csv. Key: (symbol, date)."""

    __tablename__ = "market_cap_history"
    __table_args__ = (
        UniqueConstraint("symbol", "date", name="uq_marketcap_symbol_date"),
        finite("market_cap_history", "face_value", "close_price", "market_cap"),
        Index("idx_marketcap_symbol_date", "symbol", text("date DESC")),
        Index("idx_marketcap_date_mcap", "date", text("market_cap DESC")),
    )

    id: Mapped[BigKey]
    symbol: Mapped[Symbol] = mapped_column(ForeignKey("securities.symbol", ondelete="CASCADE", onupdate="CASCADE"))
    date: Mapped[Day]
    series: Mapped[Text10 | None]
    security_name: Mapped[Name | None]
    category: Mapped[Text50 | None]
    last_trade_date: Mapped[Day | None]
    face_value: Mapped[FaceValue | None]
    issue_size: Mapped[LongCount | None]
    close_price: Mapped[Price | None]
    market_cap: Mapped[Crore] = mapped_column(index=True, comment="₹ crore (the file prints rupees)")
    created_at: Mapped[CreatedAt | None]


class CalculatedMetrics(Base):
    """One row is one security's metrics after one session. Source: computed. Key: (symbol, date).

    Prices and volumes before are adjusted to the shares of the row's own day: `ma_50` stands beside that day's close as
    published, and a split that comes later changes no row.
    """

    __tablename__ = "calculated_metrics"
    __table_args__ = (
        UniqueConstraint("symbol", "date", name="uq_metrics_symbol_date"),
        finite(
            "calculated_metrics",
            *("rs_rating", "vars_value", "atr", "atr_pct", "vcp_score", "vol_vs_avg_pct"),
            *("ma_10", "ma_20", "ma_50", "ma_200"),
        ),
        Index("idx_metrics_symbol_date", "symbol", text("date DESC")),
        Index("idx_metrics_rs_rating", text("rs_rating DESC")),
        Index("idx_metrics_stage", "stage"),
    )

    id: Mapped[BigKey]
    symbol: Mapped[Symbol] = mapped_column(ForeignKey("securities.symbol", ondelete="CASCADE", onupdate="CASCADE"))
    date: Mapped[Day] = mapped_column(index=True)
    rs_rating: Mapped[Score | None]
    vars_value: Mapped[Unitless | None]
    atr: Mapped[Price | None]
    atr_pct: Mapped[Percent | None]
    stage: Mapped[Count | None]
    vcp_score: Mapped[Score | None]
    vol_20d_avg: Mapped[LongCount | None]
    vol_vs_avg_pct: Mapped[VolumePercent | None]
    ma_10: Mapped[Price | None]
    ma_20: Mapped[Price | None]
    ma_50: Mapped[Price | None]
    ma_200: Mapped[Price | None]
    created_at: Mapped[CreatedAt | None]
