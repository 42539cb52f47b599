"""Trading holidays: Upstox's answer, and NSE's own holiday master."""

from __future__ import annotations

from typing import Any

from screener_data.errors import Reason
from screener_data.loaders.format import Format, Skip, text, trading_day
from screener_data.models import MarketHoliday

__all__ = ["FORMATS"]


def _upstox(document: Any) -> list[dict[str, Any]] | None:
    """NSE is shut only if it is among the closed exchanges and not among the open ones, whatever the type says."""
    match document:
        case {"status": "success", "data": list(days)} if all(
            isinstance(day, dict) and "closed_exchanges" in day for day in days
        ):
            return [{**day, "nse": _state(day)} for day in days]
    return None


def _state(day: dict[str, Any]) -> str | None:
    """Open, closed, or None where the lists of exchanges are no lists: the row lacks a value then and is rejected."""
    closed, opened = day["closed_exchanges"] or [], day.get("open_exchanges") or []
    if not isinstance(closed, list) or not isinstance(opened, list):
        return None
    trading = [entry.get("exchange") for entry in opened if isinstance(entry, dict)]
    return "closed" if "NSE" in closed and "NSE" not in trading else "open"


def _holiday_master(document: Any) -> list[dict[str, Any]] | None:
    """A list of days per segment of the exchange; CM is the cash market."""
    match document:
        case {"CM": list()}:
            return [
                {**day, "segment": segment} if isinstance(day, dict) else day
                for segment, days in document.items()
                if isinstance(days, list)
                for day in days
            ]
    return None


UPSTOX = Format(
    source="upstox_holidays",
    name="upstox_holidays",
    files=r".*holidays?.*\.json",
    target=MarketHoliday,
    key=("holiday_date",),
    records=_upstox,
    may_be_empty=True,  # the answer for a day that is no holiday
    columns=(
        trading_day("date", "holiday_date"),
        text("description", "holiday_name", required=False),
        text("nse", "nse"),
    ),
    skips=(Skip(Reason.EXCHANGE_OPEN, "nse", frozenset({"open"})),),
)

HOLIDAY_MASTER = Format(
    source="upstox_holidays",
    name="holiday_master",
    files=r"holiday-?master.*\.json",
    target=MarketHoliday,
    key=("holiday_date",),
    records=_holiday_master,
    columns=(
        trading_day("tradingDate", "holiday_date"),
        text("description", "holiday_name", required=False),
        text("segment", "segment"),
    ),
    skips=(Skip(Reason.OTHER_SEGMENT, "segment", frozenset({"CM"}), unless=True),),
)

FORMATS = (HOLIDAY_MASTER, UPSTOX)
