"""What users hand over, checked: days, and names with near ones suggested."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Sequence

from screener_data.errors import UsageError

__all__ = ["Day", "as_day", "require_known"]

#: A day as users write it: 2025-01-16, a date, a timestamp; None for no limit.
Day = str | dt.date | None


def as_day(value: Day) -> dt.date | None:
    """The day; None stays None. Raises UsageError for text that is none."""
    if isinstance(value, dt.datetime):  # a Timestamp is one, too
        return value.date()
    if value is None or isinstance(value, dt.date):
        return value
    try:
        return dt.date.fromisoformat(value)
    except ValueError:
        raise UsageError(f"{value!r} is no day; write 2025-01-16") from None


def require_known(name: str, names: Sequence[str], kind: str) -> None:
    """Raises UsageError, which suggests near ones, for a name that is not among `names`."""
    if name not in names:
        near = difflib.get_close_matches(name.upper() if kind == "symbol" else name, names, n=3)
        raise UsageError(f"no {kind} {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
