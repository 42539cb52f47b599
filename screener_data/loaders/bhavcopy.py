"""The day's prices: three dialects of the bhavcopy, told apart by their header."""

from __future__ import annotations

from screener_data.errors import Reason
from screener_data.loaders.format import Format, Ratio, Skip, number, text, trading_day, whole
from screener_data.models import OHLCVDaily

__all__ = ["CHANGE_PCT", "FORMATS", "SERIES", "change_pct"]

#: Series that ohlcv_daily holds, in order of preference; bonds, T+0 and the like are out of scope.
SERIES = ("EQ", "BE", "BZ", "SM", "ST", "SZ", "RR", "IV")

_IN_SCOPE = Skip(Reason.SERIES_OUT_OF_SCOPE, "series", frozenset({*SERIES, None}), unless=True)
_RANK = "array_position('{" + ",".join(SERIES) + "}'::text[], series::text)"


def change_pct(close: str, previous: str) -> Ratio:
    """The change in per cent, 4 places; NULL without a previous close, or beyond what the column holds."""
    return Ratio(of=close, less=previous, to=previous, times=100, limit="9999.9999")


CHANGE_PCT = change_pct("close", "prev_close")
#: Rupees ÷ shares. The full bhavcopy prints this number as AVG_PRICE; the other dialects leave it to us.
_VWAP = Ratio(of="turnover", to="volume", limit="1e12")


# Prices in rupees per share, volume in shares. PREV_CLOSE is as published: not adjusted for corporate actions.
FULL = Format(
    source="nse_bhavcopy",
    name="bhavcopy_full",
    files=r"sec_bhavdata_full_?\d*.*\.csv",
    target=OHLCVDaily,
    key=("symbol", "date"),
    columns=(
        text("SYMBOL", "symbol"),
        text("SERIES", "series"),
        trading_day("DATE1", "date"),
        number("PREV_CLOSE", "prev_close", sign="nonnegative", required=False, nulls=("-",)),
        number("OPEN_PRICE", "open", sign="positive"),
        number("HIGH_PRICE", "high", sign="positive"),
        number("LOW_PRICE", "low", sign="positive"),
        number("CLOSE_PRICE", "close", sign="positive"),
        number("AVG_PRICE", "vwap", sign="nonnegative", required=False, nulls=("-",)),
        whole("TTL_TRD_QNTY", "volume", sign="nonnegative"),
    ),
    ignored=("LAST_PRICE", "TURNOVER_LACS", "NO_OF_TRADES", "DELIV_QTY", "DELIV_PER"),
    skips=(_IN_SCOPE,),
    preference=_RANK,
    derived={"change_pct": CHANGE_PCT},
)

LEGACY = Format(
    source="nse_bhavcopy",
    name="bhavcopy_legacy",
    files=r"cm\d{2}[a-z]{3}\d{4}bhav.*\.csv",
    target=OHLCVDaily,
    key=("symbol", "date"),
    columns=(
        text("SYMBOL", "symbol"),
        text("SERIES", "series"),
        number("OPEN", "open", sign="positive"),
        number("HIGH", "high", sign="positive"),
        number("LOW", "low", sign="positive"),
        number("CLOSE", "close", sign="positive"),
        number("PREVCLOSE", "prev_close", sign="nonnegative", required=False, nulls=("-",)),
        whole("TOTTRDQTY", "volume", sign="nonnegative"),
        number("TOTTRDVAL", "turnover", sign="nonnegative"),  # rupees
        trading_day("TIMESTAMP", "date"),
    ),
    ignored=("LAST", "TOTALTRADES", "ISIN"),
    skips=(_IN_SCOPE,),
    preference=_RANK,
    derived={"vwap": _VWAP, "change_pct": CHANGE_PCT},
)

UDIFF = Format(
    source="nse_bhavcopy",
    name="bhavcopy_udiff",
    files=r"bhavcopy_nse_cm.*\.csv",
    target=OHLCVDaily,
    key=("symbol", "date"),
    columns=(
        trading_day("TradDt", "date"),
        text("TckrSymb", "symbol"),
        text("SctySrs", "series"),
        number("OpnPric", "open", sign="positive"),
        number("HghPric", "high", sign="positive"),
        number("LwPric", "low", sign="positive"),
        number("ClsPric", "close", sign="positive"),
        number("PrvsClsgPric", "prev_close", sign="nonnegative", required=False, nulls=("-",)),
        whole("TtlTradgVol", "volume", sign="nonnegative"),
        number("TtlTrfVal", "turnover", sign="nonnegative"),  # rupees
    ),
    ignored=(
        "BizDt|Sgmt|Src|FinInstrmTp|FinInstrmId|ISIN|XpryDt|FininstrmActlXpryDt|StrkPric|OptnTp|FinInstrmNm",
        "LastPric|UndrlygPric|SttlmPric|OpnIntrst|ChngInOpnIntrst|TtlNbOfTxsExctd|SsnId|NewBrdLotQty|Rmks|Rsvd[1-4]",
    ),
    skips=(_IN_SCOPE,),
    preference=_RANK,
    derived={"vwap": _VWAP, "change_pct": CHANGE_PCT},
)

FORMATS = (FULL, LEGACY, UDIFF)
