"""Index levels: the day's close file, and the Pr member of the PR zip. They fill ohlcv_daily and register the index."""

from __future__ import annotations

from screener_data.errors import Reason
from screener_data.loaders.bhavcopy import CHANGE_PCT, change_pct
from screener_data.loaders.format import Format, Skip, number, text, trading_day
from screener_data.models import OHLCVDaily

__all__ = ["FORMATS"]

#: An index's symbol is its name in upper case: the exchange changes the case over time ("Nifty 50", "NIFTY 50").
_REGISTER = "INSERT INTO indices (index_name, symbol) SELECT DISTINCT ON (symbol) index_name, symbol FROM {stage} \
ORDER BY symbol, line ON CONFLICT DO NOTHING"
_SYMBOL = "upper(index_name)"
_NO_PRICES = Skip(Reason.NO_PRICES, "open", frozenset({None}))

IND_CLOSE_ALL = Format(
    source="nse_indices",
    name="index_close",
    files=r"ind_close_all.*\.csv",
    target=OHLCVDaily,
    key=("symbol", "date"),
    # levels in points; volume stays NULL for indices
    columns=(
        text("Index Name", "index_name", pattern=".{1,50}"),
        trading_day("Index Date", "date"),
        number("Open Index Value", "open", sign="positive", nulls=("-",)),
        number("High Index Value", "high", sign="positive", nulls=("-",)),
        number("Low Index Value", "low", sign="positive", nulls=("-",)),
        number("Closing Index Value", "close", sign="positive", nulls=("-",)),
        number("Points Change", "points_change", required=False, nulls=("-",)),
    ),
    ignored=(r"Change\s*\(%\)", r"Volume", r"Turnover \(Rs\. Cr\.\)", r"P/E", r"P/B", r"Div Yield"),
    skips=(_NO_PRICES,),
    derived={
        "symbol": _SYMBOL,
        "prev_close": "CASE WHEN abs(close - points_change) < 1e12 THEN close - points_change END",
        "change_pct": change_pct("close", "(close - points_change)"),
    },
    registers=_REGISTER,
)

PR = Format(
    source="nse_indices",
    name="index_prices",
    files=r"pr\d{6,8}.*\.csv",
    target=OHLCVDaily,
    key=("symbol", "date"),
    from_name=("date", r"pr(\d{6,8})"),
    columns=(
        text("MKT", "market", required=False),
        text("SECURITY", "index_name", pattern=".{1,50}"),
        number("PREV_CL_PR", "prev_close", sign="nonnegative", required=False, nulls=("0.00", ".00", "0")),
        number("OPEN_PRICE", "open", sign="positive", nulls=("0.00", ".00", "0")),
        number("HIGH_PRICE", "high", sign="positive"),
        number("LOW_PRICE", "low", sign="positive"),
        number("CLOSE_PRICE", "close", sign="positive"),
        number("HI_52_WK", "week_52_high", sign="nonnegative", required=False, nulls=("0.00", ".00", "0")),
        number("LO_52_WK", "week_52_low", sign="nonnegative", required=False, nulls=("0.00", ".00", "0")),
    ),
    ignored=("NET_TRDVAL", "NET_TRDQTY", "IND_SEC", "CORP_IND", "TRADES"),
    # the file also lists every security under its company's name; market Y are the indices themselves
    skips=(Skip(Reason.NOT_AN_INDEX, "market", frozenset({"Y"}), unless=True), _NO_PRICES),
    derived={"symbol": _SYMBOL, "change_pct": CHANGE_PCT},
    registers=_REGISTER,
)

FORMATS = (IND_CLOSE_ALL, PR)
