"""Upstox: daily candles and full quotes.

Candles are adjusted at the time of fetching, so the exchange's own price always outranks them: they fill only
what the bhavcopy has not. A stored row with a previous close is the exchange's; Upstox gives none.
"""

from __future__ import annotations

from typing import Any

from screener_data.errors import Reason
from screener_data.loaders.bhavcopy import change_pct
from screener_data.loaders.format import Format, Skip, number, text, trading_day, whole
from screener_data.models import OHLCVDaily

__all__ = ["FORMATS"]

_EXCHANGE_ROW = "t.prev_close IS NOT NULL"


def _candles(document: Any) -> list[dict[str, Any]] | None:
    """`[timestamp, open, high, low, close, volume, open interest]`, newest first."""
    match document:
        case {"status": "success", "data": {"candles": list(candles)}}:
            names = ("day", "open", "high", "low", "close", "volume")
            return [
                dict(zip(names, candle, strict=False)) if isinstance(candle, list) and len(candle) >= 6 else candle
                for candle in candles
            ]
    return None


def _quotes(document: Any) -> list[dict[str, Any]] | None:
    """A map by `NSE_EQ:SYMBOL` (colon). Index and derivative quotes have another segment before the colon."""
    match document:
        case {"status": "success", "data": dict(quotes)} if quotes and all(
            isinstance(quote, dict) and "instrument_token" in quote for quote in quotes.values()
        ):
            return [{**_flat(quote), "segment": key.partition(":")[0]} for key, quote in quotes.items()]
    return None


def _flat(quote: dict[str, Any]) -> dict[str, Any]:
    prices = quote.get("ohlc")
    return {
        **(prices if isinstance(prices, dict) else {}),
        "symbol": quote.get("symbol"),
        "day": quote.get("timestamp"),
        "volume": quote.get("volume"),
        "average_price": quote.get("average_price"),
        "net_change": quote.get("net_change"),
        "lower_circuit_limit": quote.get("lower_circuit_limit"),
        "upper_circuit_limit": quote.get("upper_circuit_limit"),
    }


_PRICES = (
    text("symbol", "symbol"),
    trading_day("day", "date"),
    number("open", "open", sign="positive"),  # rupees per share, all four
    number("high", "high", sign="positive"),
    number("low", "low", sign="positive"),
    number("close", "close", sign="positive"),
    whole("volume", "volume", sign="nonnegative"),  # shares
)

CANDLES = Format(
    source="upstox_ohlcv",
    name="upstox_candles",
    files=r"candles_.*\.json",
    may_be_empty=True,  # a symbol that did not trade in the days asked for
    target=OHLCVDaily,
    key=("symbol", "date"),
    records=_candles,
    columns=_PRICES[1:],
    from_name=("symbol", r"^candles_(.+?)\.json"),
    outranked_if=_EXCHANGE_ROW,
)

QUOTES = Format(
    source="upstox_quotes",
    name="upstox_quotes",
    files=r".*quotes?.*\.json",
    target=OHLCVDaily,
    key=("symbol", "date"),
    records=_quotes,
    columns=(
        *_PRICES,
        text("segment", "segment"),
        number("average_price", "vwap", sign="nonnegative", required=False),
        number("net_change", "net_change", required=False),  # rupees against the previous close
        number("lower_circuit_limit", "lower_circuit", sign="nonnegative", required=False),
        number("upper_circuit_limit", "upper_circuit", sign="nonnegative", required=False),
    ),
    skips=(Skip(Reason.OTHER_SEGMENT, "segment", frozenset({"NSE_EQ"}), unless=True),),
    derived={"change_pct": change_pct("close", "(close - net_change)")},
    outranked_if=_EXCHANGE_ROW,
    fills=("lower_circuit", "upper_circuit"),
)

FORMATS = (CANDLES, QUOTES)
