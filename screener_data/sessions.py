"""On which days NSE trades: the declared calendar, the stored holiday lists and, where neither reaches, the prices."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Engine, text

from screener_data.arguments import Day, as_day
from screener_data.database.engine import ready
from screener_data.exchange import FIRST, LAST, Days, days_between, trading_days

__all__ = ["days_with_prices", "sessions", "sessions_of"]

#: A year's list of holidays is whole from so many weekdays on; since 2019 no year had fewer than 12.
_WHOLE_LIST = 8


def sessions(start: Day = None, end: Day = None, *, engine: Engine | None = None) -> pd.DatetimeIndex:
    """The exchange's sessions, whether their prices are stored or not; `start` and `end` are included.

    Without `start` they begin with the first stored session, without `end` they end with the last one; the days that
    have prices are the index of `coverage`. From 2019-10-01 to the end of 2026 a session is a weekday that is neither
    in `screener_data.exchange.HOLIDAYS` nor in the table market_holidays, or one of its SPECIAL_SESSIONS (Muhurat, a
    Saturday for the Union Budget). Before and after, sessions are the days that have prices, and where market_holidays
    has a whole list for a year, also its other weekdays.

    >>> import screener_data as sd
    >>> sd.sessions("2025-06-25", "2025-06-30").strftime("%d").tolist()
    ['25', '26', '27', '30']
    >>> sd.sessions("2025-10-18", "2025-10-23").strftime("%a %d").tolist()  # the 21st: Muhurat
    ['Mon 20', 'Tue 21', 'Thu 23']
    """
    with ready(engine).connect() as connection:
        days = sessions_of(connection, as_day(start), as_day(end), days_with_prices(connection))
    return pd.DatetimeIndex(days.astype("M8[s]"), name="date")


def sessions_of(connection: Connection, start: dt.date | None, end: dt.date | None, stored: Days) -> Days:
    """What `sessions` returns, as an array, where the days that have prices are known."""
    first = start or (stored[0].item() if len(stored) else None)
    last = end or (stored[-1].item() if len(stored) else None)
    if first is None or last is None or first > last:
        return stored[:0]
    shut = _holidays(connection)
    years, holidays = np.unique(shut.astype("M8[Y]"), return_counts=True)
    around = days_between(first, last)
    around = around[(around < np.datetime64(FIRST)) | (around > np.datetime64(LAST))]
    listed = np.isin(around.astype("M8[Y]"), years[holidays >= _WHOLE_LIST]) & np.is_busday(around, holidays=shut)
    return np.union1d(trading_days(first, last, shut), around[listed | np.isin(around, stored)])


def days_with_prices(connection: Connection) -> Days:
    """The days on which securities have bars: a look into the index for each day."""
    found = connection.execute(
        text(
            "WITH RECURSIVE days (date) AS (SELECT min(date) FROM ohlcv_daily UNION ALL "
            "SELECT (SELECT min(o.date) FROM ohlcv_daily o WHERE o.date > days.date) FROM days WHERE date IS NOT NULL) "
            "SELECT date FROM days WHERE EXISTS (SELECT FROM ohlcv_daily o WHERE o.date = days.date "
            "AND NOT EXISTS (SELECT FROM indices i WHERE i.symbol = o.symbol)) ORDER BY date"
        )
    )
    return np.array(found.scalars().all(), "M8[D]")


def _holidays(connection: Connection) -> Days:
    """The weekdays that the stored lists call closed."""
    found = connection.execute(
        text("SELECT holiday_date FROM market_holidays WHERE EXTRACT(isodow FROM holiday_date) < 6")
    )
    return np.array(found.scalars().all(), "M8[D]")
