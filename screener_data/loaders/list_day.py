"""The day of a list that holds none: from its name, else its folder, which may tell a month or a year only."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from dataclasses import dataclass

from screener_data.loaders.spelling import parse_day

__all__ = ["ToldDay", "told_day"]

_FOLDERS = 2  # so many above the file are looked at, the nearest first
_DAY = re.compile(
    r"(?<![0-9])([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{2}-[0-9]{2}-[0-9]{4}|[0-9]{8}|[0-9]{1,2}-?[A-Za-z]{3}-?[0-9]{4})"
    r"(?![0-9])"
)
_MONTH = re.compile(r"(?<![0-9])((?:19|20)[0-9]{2})-(0[1-9]|1[0-2])(?![0-9]|-[0-9])")
_YEAR = re.compile(r"(?:19|20)[0-9]{2}")


@dataclass(frozen=True)
class ToldDay:
    """A list is of some day from `first` to `last`, as `by` says."""

    first: dt.date
    last: dt.date
    by: str

    def within(self, newest: dt.date | None) -> dt.date:
        """The first day on which the list can be as it is: of what it lists, `newest` is the last to be listed."""
        return newest if newest is not None and self.first <= newest <= self.last else self.first


def told_day(label: str) -> ToldDay | None:
    """What a file's path tells; None for nothing.

    >>> told_day("EQUITY_L_24112025.csv").first.isoformat()
    '2025-11-24'
    >>> told_day("lists/2016-08/EQUITY_L.csv").within(None).isoformat()
    '2016-08-01'
    """
    name, *folders = re.split(r"[/\\!]", label)[::-1][: _FOLDERS + 1]
    for part, by in [(name, "its name"), *((folder, "its folder") for folder in folders)]:
        for found in _DAY.finditer(part):
            if day := parse_day(found[1]):
                return ToldDay(day, day, by)
        if month := _MONTH.search(part):
            year, number = int(month[1]), int(month[2])
            last = calendar.monthrange(year, number)[1]
            return ToldDay(dt.date(year, number, 1), dt.date(year, number, last), f"the month of {by}")
        if part != name and _YEAR.fullmatch(part):
            return ToldDay(dt.date(int(part), 1, 1), dt.date(int(part), 12, 31), f"the year of {by}")
    return None
