"""How the exchange spells days and numbers, in one place."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal

__all__ = ["fast_number", "parse_day", "plain_number"]

_FIRST_YEAR = 1900  # 0205 and the like are slips of a keyboard
_MONTHS = {
    name: month
    for month, name in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), start=1
    )
}
# [0-9], since Python's \d is also the digits of every other script, and Arrow's is not
# 16-JAN-2025, 16 JAN 2025, 8-Jan-02, 16JAN2025
_NAMED_MONTH = re.compile(r"([0-9]{1,2})[- ]?([A-Za-z]{3})[- ]?([0-9]{4}|[0-9]{2})(?: 00:00:00)?")
# 2025-01-16, and Upstox's 2025-01-16T00:00:00+05:30
_ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?\+05:30)?")
# 16/01/2025, 16-01-2025: the exchange never writes the month first
_DAY_FIRST = re.compile(r"([0-9]{1,2})[-/]([0-9]{1,2})[-/]([0-9]{4})")
# in file names: 16012025, 160125 (and 20250116, told by its century and month: 20012025 is the 20th of January)
_PACKED = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{4}|[0-9]{2})")
_PACKED_ISO = re.compile(r"((?:19|20)[0-9]{2})(0[1-9]|1[0-2])([0-9]{2})")


def parse_day(cell: str) -> dt.date | None:
    """The day that a cell or a part of a file's name spells; None where it spells none.

    A year of two digits is of this century: the exchange opened in 1994 and wrote four digits until 2001.
    """
    if found := _NAMED_MONTH.fullmatch(cell):
        day, month, year = found[1], _MONTHS.get(found[2].upper(), 0), found[3]
    elif found := _ISO.fullmatch(cell) or _PACKED_ISO.fullmatch(cell):
        year, month, day = found[1], int(found[2]), found[3]
    elif found := _DAY_FIRST.fullmatch(cell) or _PACKED.fullmatch(cell):
        day, month, year = found[1], int(found[2]), found[3]
    else:
        return None
    try:
        found_day = dt.date(int(year) + (2000 if len(year) == 2 else 0), month, int(day))
    except ValueError:
        return None
    return found_day if found_day.year >= _FIRST_YEAR else None


def fast_number(digits: int | None) -> str:
    """An expression for most numbers: plain digits that surely fit. The others go through `plain_number`."""
    return rf"^(?:[0-9]{{1,{(digits or 19) - 1}}}(?:\.[0-9]{{0,6}})?|\.[0-9]{{1,6}})$"


_GROUPED = re.compile(r"[+-]?(?:[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]*)?")
_PLAIN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")
_LONGEST = 64


def plain_number(cell: str) -> Decimal | None:
    """The number that a cell spells, with Indian (1,20,58,807) or western grouping; None where it spells none."""
    if len(cell) > _LONGEST:
        return None
    if _GROUPED.fullmatch(cell):
        cell = cell.replace(",", "")
    elif not _PLAIN.fullmatch(cell):
        return None
    return Decimal(cell)
