"""NSE's cash market by the calendar: declared holidays and special sessions since October 2019, each with its source.

A session is a weekday that is no holiday, or a special session. The days up to 2026-08-21 equal a list of the days that
really traded (NSE's own daily files, see tests/test_sessions.py). pandas_market_calendars knows the same weekdays, and
the tests compare; it has no weekend session. exchange_calendars' XBOM lacks those and the Muhurat evenings too.

A new year is one circular: "Trading holidays for the calendar year …", in December, at
https://nsearchives.nseindia.com/content/circulars/CMTR<number>.pdf. What comes later (an election, a day of mourning, a
Saturday for the Union Budget) has a circular of its own.
"""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["DISPUTED", "FIRST", "HOLIDAYS", "LAST", "SPECIAL_SESSIONS", "Days", "Fact", "days_between", "trading_days"]

#: Days as numpy has them, datetime64[D].
Days: TypeAlias = npt.NDArray[np.datetime64]

#: The first and the last day of which the calendar is declared here.
FIRST, LAST = dt.date(2019, 10, 1), dt.date(2026, 12, 31)


class Fact(NamedTuple):
    """Why a day is not as its weekday says, and who says so."""

    why: str
    source: str


def _days(source: str, lines: str) -> dict[dt.date, Fact]:
    """Lines of a day and its name that share a source."""
    pairs = (line.split(maxsplit=1) for line in lines.strip().splitlines())
    return {dt.date.fromisoformat(day): Fact(name.strip(), source) for day, name in pairs}


#: Weekdays without any session. (The Muhurat evenings stand in the circulars as holidays, too.)
HOLIDAYS: dict[dt.date, Fact] = {
    **_days(
        "NSE/CMTR/39612, trading holidays of 2019",
        """
        2019-10-02 Mahatma Gandhi Jayanti
        2019-10-08 Dasera
        2019-10-28 Diwali-Balipratipada
        2019-11-12 Gurunanak Jayanti
        2019-12-25 Christmas
        """,
    ),
    **_days(
        "NSE's notice as quoted in moneycontrol.com/news/business/markets/"
        "bourses-to-be-shut-on-october-21-due-to-maharashtra-polls-4514221.html",
        "2019-10-21 Assembly Elections - Maharashtra",
    ),
    **_days(
        "NSE/CMTR/42877 of 2019-12-11, trading holidays of 2020",
        """
        2020-02-21 Mahashivratri
        2020-03-10 Holi
        2020-04-02 Ram Navami
        2020-04-06 Mahavir Jayanti
        2020-04-10 Good Friday
        2020-04-14 Dr. Baba Saheb Ambedkar Jayanti
        2020-05-01 Maharashtra Day
        2020-05-25 Id-Ul-Fitr (Ramzan Id)
        2020-10-02 Mahatma Gandhi Jayanti
        2020-11-16 Diwali-Balipratipada
        2020-11-30 Gurunanak Jayanti
        2020-12-25 Christmas
        """,
    ),
    **_days(
        "NSE/CMTR/46623 of 2020-12-11, trading holidays of 2021",
        """
        2021-01-26 Republic Day
        2021-03-11 Mahashivratri
        2021-03-29 Holi
        2021-04-02 Good Friday
        2021-04-14 Dr. Baba Saheb Ambedkar Jayanti
        2021-04-21 Ram Navami
        2021-05-13 Id-Ul-Fitr (Ramzan Id)
        2021-07-21 Bakri Id
        2021-08-19 Moharram
        2021-09-10 Ganesh Chaturthi
        2021-10-15 Dussehra
        2021-11-05 Diwali-Balipratipada
        2021-11-19 Gurunanak Jayanti
        """,
    ),
    **_days(
        "NSE/CMTR/50560 of 2021-12-10, trading holidays of 2022",
        """
        2022-01-26 Republic Day
        2022-03-01 Mahashivratri
        2022-03-18 Holi
        2022-04-14 Dr. Baba Saheb Ambedkar Jayanti/Mahavir Jayanti
        2022-04-15 Good Friday
        2022-05-03 Id-Ul-Fitr (Ramzan Id)
        2022-08-09 Moharram
        2022-08-15 Independence Day
        2022-08-31 Ganesh Chaturthi
        2022-10-05 Dussehra
        2022-10-26 Diwali-Balipratipada
        2022-11-08 Gurunanak Jayanti
        """,
    ),
    **_days(
        "NSE/CMTR/54757 of 2022-12-08, trading holidays of 2023",
        """
        2023-01-26 Republic Day
        2023-03-07 Holi
        2023-03-30 Ram Navami
        2023-04-04 Mahavir Jayanti
        2023-04-07 Good Friday
        2023-04-14 Dr. Baba Saheb Ambedkar Jayanti
        2023-05-01 Maharashtra Day
        2023-08-15 Independence Day
        2023-09-19 Ganesh Chaturthi
        2023-10-02 Mahatma Gandhi Jayanti
        2023-10-24 Dussehra
        2023-11-14 Diwali-Balipratipada
        2023-11-27 Gurunanak Jayanti
        2023-12-25 Christmas
        """,
    ),
    **_days("NSE/CMTR/57285, which moved it from 2023-06-28", "2023-06-29 Bakri Id"),
    **_days("NSE/CMTR/60338", "2024-01-22 Special Holiday"),
    **_days(
        "NSE/CMTR/59722 of 2023-12-12, trading holidays of 2024",
        """
        2024-01-26 Republic Day
        2024-03-08 Mahashivratri
        2024-03-25 Holi
        2024-03-29 Good Friday
        2024-04-11 Id-Ul-Fitr (Ramadan Eid)
        2024-04-17 Shri Ram Navami
        2024-05-01 Maharashtra Day
        2024-06-17 Bakri Id
        2024-07-17 Moharram
        2024-08-15 Independence Day
        2024-10-02 Mahatma Gandhi Jayanti
        2024-11-15 Prakash Gurpurb Sri Guru Nanak Dev
        2024-12-25 Christmas
        """,
    ),
    **_days("NSE/CMTR/61518", "2024-05-20 General Parliamentary Elections"),
    **_days("NSE/CMTR/64960", "2024-11-20 Assembly General Elections - Maharashtra"),
    **_days(
        "NSE/CMTR/65587 of 2024-12-13, trading holidays of 2025",
        """
        2025-02-26 Mahashivratri
        2025-03-14 Holi
        2025-03-31 Id-Ul-Fitr (Ramadan Eid)
        2025-04-10 Shri Mahavir Jayanti
        2025-04-14 Dr. Baba Saheb Ambedkar Jayanti
        2025-04-18 Good Friday
        2025-05-01 Maharashtra Day
        2025-08-15 Independence Day
        2025-08-27 Ganesh Chaturthi
        2025-10-02 Mahatma Gandhi Jayanti/Dussehra
        2025-10-22 Diwali-Balipratipada
        2025-11-05 Prakash Gurpurb Sri Guru Nanak Dev
        2025-12-25 Christmas
        """,
    ),
    **_days("NSE/CMTR/72260 of 2026-01-12", "2026-01-15 Municipal Corporation Election - Maharashtra"),
    **_days(
        "NSE/CMTR/71775 of 2025-12-12, trading holidays of 2026",
        """
        2026-01-26 Republic Day
        2026-03-03 Holi
        2026-03-26 Shri Ram Navami
        2026-03-31 Shri Mahavir Jayanti
        2026-04-03 Good Friday
        2026-04-14 Dr. Baba Saheb Ambedkar Jayanti
        2026-05-01 Maharashtra Day
        2026-05-28 Bakri Id
        2026-06-26 Muharram
        2026-09-14 Ganesh Chaturthi
        2026-10-02 Mahatma Gandhi Jayanti
        2026-10-20 Dussehra
        2026-11-10 Diwali-Balipratipada
        2026-11-24 Prakash Gurpurb Sri Guru Nanak Dev
        2026-12-25 Christmas
        """,
    ),
}

#: Sessions on a weekend, or on a day that the holiday lists call closed.
SPECIAL_SESSIONS: dict[dt.date, Fact] = {
    **_days(
        "indianexpress.com/article/business/market/bse-to-be-open-for-trade-on-budget-day-february-1-6229844/",
        "2019-10-27 Muhurat",
    ),
    **_days(
        "millenniumpost.in/business/stock-markets-to-be-open-on-budget-day-396918, of both exchanges' circulars",
        "2020-02-01 Union Budget",
    ),
    **_days("NSE/CMTR/42877, footnote", "2020-11-14 Muhurat"),
    **_days("NSE/CMTR/54023", "2022-10-24 Muhurat"),
    **_days("NSE/CMTR/59124 of 2023-10-27", "2023-11-12 Muhurat"),
    **_days(
        "NSE/MSD/60340", "2024-01-20 Whole session instead of Monday, 22 January; planned to test disaster recovery"
    ),
    **_days("NSE/MSD/60677", "2024-03-02 Switch to the disaster recovery site"),
    **_days("NSE/MSD/61893", "2024-05-18 Switch to the disaster recovery site"),
    **_days("NSE/CMTR/64628", "2024-11-01 Muhurat"),
    **_days("NSE/CMTR/65729", "2025-02-01 Union Budget"),
    **_days("NSE/CMTR/70319", "2025-10-21 Muhurat"),
    **_days("NSE/CMTR/72349 of 2026-01-16", "2026-02-01 Union Budget"),
    **_days("NSE/CMTR/71775, footnote", "2026-11-08 Muhurat"),
}

#: Weekdays that the list of days that really traded does not hold though they did trade: the next day's PREV_CLOSE is
#: not the last listed close in nearly all shares. Not sessions, as long as no file of them is to be had; no holidays.
DISPUTED: dict[dt.date, Fact] = {
    **_days("NSE/CMTR/46623 and NSE/CMTR/50050 announce it; the list lacks it", "2021-11-04 Muhurat"),
    **_days("no circular closes it; the list lacks it", "2022-08-08 an ordinary Monday, the day before Moharram"),
}


def trading_days(first: dt.date, last: dt.date, closed: npt.ArrayLike = ()) -> Days:
    """The sessions between two days, both included, as far as they are declared (FIRST to LAST).

    `closed`: further holidays, as dates or datetime64[D]; a special session is one all the same.

    >>> trading_days(dt.date(2025, 10, 20), dt.date(2025, 10, 24)).astype(str).tolist()
    ['2025-10-20', '2025-10-21', '2025-10-23', '2025-10-24']
    """
    days = days_between(max(first, FIRST), min(last, LAST))
    shut = np.concatenate([_array(HOLIDAYS), _array(DISPUTED), np.asarray(closed, "M8[D]").ravel()])
    is_session: npt.NDArray[np.bool_] = np.is_busday(days, holidays=shut) | np.isin(days, _array(SPECIAL_SESSIONS))
    return days[is_session]


def days_between(first: dt.date, last: dt.date) -> Days:
    """Every day of the calendar between two days, both included."""
    return np.arange(np.datetime64(first), np.datetime64(last) + 1)


def _array(days: dict[dt.date, Fact]) -> Days:
    return np.array(list(days), "M8[D]")
