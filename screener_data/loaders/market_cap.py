"""Market capitalisation: the MCAP member of the PR zip. The file prints rupees, the table holds crore."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from screener_data.errors import Reason
from screener_data.loaders.format import Format, Skip, number, text, trading_day, whole
from screener_data.loaders.spelling import plain_number
from screener_data.models import MarketCapHistory

__all__ = ["FORMATS"]

_FOOTERS = ("Listed", "Permitted", "Total")


def _footers_differ(cells: Mapping[str, list[str | None]]) -> str | None:
    """Compare the three footers with the sums of their rows, to a rupee: the exchange adds them up in floats."""
    sums = dict.fromkeys(_FOOTERS, Decimal(0))
    printed: dict[str, Decimal] = {}
    for symbol, category, rupees in zip(cells["symbol"], cells["category"], cells["market_cap_rupees"], strict=True):
        value = plain_number(rupees or "")
        if value is None:
            continue
        if symbol in _FOOTERS and category is None:
            printed[symbol] = value
        else:
            sums["Total"] += value
            if category in sums:
                sums[category] += value
    missing = [name for name in _FOOTERS if name not in printed]
    if missing:
        return f"the footer {', '.join(missing)} is missing: the file may be cut short"
    wrong = [
        f"{name} {printed[name]:f}, its rows {sums[name]:f}" for name in _FOOTERS if abs(printed[name] - sums[name]) > 1
    ]
    return "; ".join(wrong) or None


MARKET_CAP = Format(
    source="nse_market_cap",
    name="market_cap",
    files=r"mcap.*\.csv",
    target=MarketCapHistory,
    key=("symbol", "date"),
    columns=(
        trading_day("Trade Date", "date"),
        text("Symbol", "symbol"),
        text("Series", "series"),
        text("Security Name", "security_name"),
        text("Category", "category"),
        trading_day("Last Trade Date", "last_trade_date", required=False, nulls=("Not Traded",)),
        number("Face Value(Rs.)", "face_value", sign="nonnegative"),  # rupees per share
        whole("Issue Size", "issue_size", sign="nonnegative"),  # shares
        number("Close Price/Paid up value(Rs.)", "close_price", sign="nonnegative"),  # rupees, to 5 paise
        number("Market Cap(Rs.)", "market_cap_rupees", sign="nonnegative"),  # rupees
    ),
    skips=(Skip(Reason.FOOTER, "symbol", frozenset(_FOOTERS)),),
    # × 1e-7 and not ÷ 1e7: PostgreSQL multiplies exactly, and rounds a quotient before we do
    derived={"market_cap": "market_cap_rupees * 0.0000001"},
    known_symbol="symbol",
    totals=_footers_differ,
)

FORMATS = (MARKET_CAP,)
