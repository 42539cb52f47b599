"""What corporate actions do to the prices and volumes before them: a factor per ex-date, and their products.

On one ex-date the changes of the number of shares come first and multiply; a rights issue is priced after them. A
manual row takes the place of all others of its day. An action is in force from its ex-date, and only once the market
has a session on or after it; prices *before* the ex-date are multiplied, so that an ex-date without a session applies
from the next one on by itself. What stands in the table stays as published.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, groupby
from operator import attrgetter, mul
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Engine, text

from screener_data.database.engine import ready

__all__ = ["Day", "Multipliers", "days_of_actions", "factors", "forward_scales", "keys_of", "multipliers"]

_Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
_Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

_ONE = Fraction(1)
_DAY_BITS = 24  # of a key of symbol and day
#: Kinds of which the text tells the whole effect.
_EXACT = ("split", "consolidation", "bonus")

# The face value at the time is what the next split starts from; else today's, as the action's own file prints it or
# the lists do; else what the last split ended with. Of a split, shares_after is the old face value as printed.
_IN_FORCE = """
SELECT a.symbol, a.ex_date, a.kind, a.shares_before, a.shares_after, a.premium, a.price_factor, a.volume_factor,
    coalesce(
        (SELECT n.shares_after FROM corporate_actions n WHERE n.symbol = a.symbol AND n.ex_date > a.ex_date
         AND n.kind IN ('split', 'consolidation') AND a.kind = 'rights' ORDER BY n.ex_date LIMIT 1),
        a.face_value,
        (SELECT s.face_value FROM securities s WHERE s.symbol = a.symbol AND s.face_value > 0 AND a.kind = 'rights'),
        (SELECT n.shares_before FROM corporate_actions n WHERE n.symbol = a.symbol AND n.ex_date <= a.ex_date
         AND n.kind IN ('split', 'consolidation') AND a.kind = 'rights' ORDER BY n.ex_date DESC LIMIT 1)
    ) AS face_value,
    (SELECT o.close FROM ohlcv_daily o WHERE o.symbol = a.symbol AND o.date < a.ex_date AND a.kind = 'rights'
     ORDER BY o.date DESC LIMIT 1) AS cum_close
FROM corporate_actions a
WHERE a.ex_date <= (SELECT max(date) FROM ohlcv_daily)
    AND (CAST(:symbols AS text[]) IS NULL OR a.symbol = ANY(:symbols))
ORDER BY a.symbol COLLATE "C", a.ex_date, a.kind
"""


@dataclass(frozen=True)
class Day:
    """What the actions of one symbol and ex-date do together: earlier prices and volumes are multiplied with these.

    `unknown`: kinds of which no factor is known, and which count for nothing here.
    """

    symbol: str
    ex_date: Any
    price: Fraction
    volume: Fraction
    unknown: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether any of the day's actions has a factor, be it 1."""
        return self.price != 1 or self.volume != 1 or not self.unknown


def days_of_actions(connection: Connection, symbols: Sequence[str] | None = None) -> list[Day]:
    """The days on which actions came into force, of some symbols or of all, by symbol and ex-date."""
    found = connection.execute(text(_IN_FORCE), {"symbols": None if symbols is None else list(symbols)}).all()
    grouped = groupby(found, key=attrgetter("symbol", "ex_date"))
    return [_day(symbol, ex_date, list(actions)) for (symbol, ex_date), actions in grouped]


def _day(symbol: str, ex_date: Any, actions: list[Any]) -> Day:
    for action in actions:
        if action.kind == "manual":
            return Day(symbol, ex_date, Fraction(action.price_factor), Fraction(action.volume_factor))
    price = _ONE
    unknown = []
    for action in actions:
        if action.kind in _EXACT:
            price *= Fraction(action.shares_before) / Fraction(action.shares_after)
    for action in actions:
        if action.kind == "rights" and action.cum_close is not None and action.face_value is not None:
            price *= _of_rights(action, cum_close=Fraction(action.cum_close) * price)
        elif action.kind not in _EXACT:
            unknown.append(action.kind)
    return Day(symbol, ex_date, price, 1 / price, tuple(unknown))


def _of_rights(action: Any, cum_close: Fraction) -> Fraction:
    """The theoretical ex-rights price ÷ the last price with rights; 1 where nobody would pay the issue price.

    Its inverse for volumes is the bonus element of IAS 33: the new shares that were paid for are no adjustment.
    """
    before, after = Fraction(action.shares_before), Fraction(action.shares_after)
    issue_price = Fraction(action.face_value) + Fraction(action.premium)
    return min(_ONE, (before + (after - before) * issue_price / cum_close) / after)


def factors(symbols: str | Iterable[str] | None = None, *, engine: Engine | None = None) -> pd.DataFrame:
    """The factor of each ex-date in force: columns symbol, ex_date, price_factor, volume_factor, sorted.

    Prices before an ex-date, times its price_factor, are comparable with those from it on; so are volumes, times its
    volume_factor. `symbols`: one name, several, or None (or "all") for every one. Days of which no factor is known (a
    demerger without a manual one) are not among them: see `check`.

    >>> import screener_data as sd
    >>> sd.factors("SPLITCO")
        symbol    ex_date  price_factor  volume_factor
    0  SPLITCO 2025-04-02           0.2            5.0
    """
    engine = ready(engine)
    wanted = None if symbols is None or symbols == "all" else [symbols] if isinstance(symbols, str) else list(symbols)
    with engine.connect() as connection:
        days = [day for day in days_of_actions(connection, wanted) if day.is_known]
    return _table(days, price_factor=[day.price for day in days], volume_factor=[day.volume for day in days])


def forward_scales(connection: Connection) -> pd.DataFrame:
    """What multiplies prices and volumes from each ex-date on, so that they are in the shares of the first day.

    Columns symbol, ex_date, price_scale = Π 1 ÷ price factor and volume_scale = Π 1 ÷ volume factor over all ex-dates
    up to this one, sorted. Later actions change no earlier value, unlike with prices adjusted backwards.
    """
    days = [day for day in days_of_actions(connection) if day.is_known]
    by_symbol = [list(group) for _, group in groupby(days, key=attrgetter("symbol"))]
    return _table(
        days,
        price_scale=[1 / product for each in by_symbol for product in accumulate((day.price for day in each), mul)],
        volume_scale=[1 / product for each in by_symbol for product in accumulate((day.volume for day in each), mul)],
    )


def _table(days: list[Day], **columns: list[Fraction]) -> pd.DataFrame:
    """Fractions become floats here, each in one division."""
    frame = pd.DataFrame(
        {
            "symbol": pd.Series([day.symbol for day in days], dtype="str"),
            "ex_date": pd.to_datetime(pd.Series([day.ex_date for day in days], dtype="object")),
        }
    )
    return frame.assign(**{name: np.array(list(map(float, cells)), float) for name, cells in columns.items()})


# --- of a table of bars ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Multipliers:
    """By row of a table of bars: what adjusts its prices, its volume, and its previous close."""

    price: _Floats
    volume: _Floats
    previous: _Floats


def multipliers(connection: Connection, frame: pd.DataFrame) -> Multipliers:
    """What adjusts bars backwards to the last day's shares: the product of all factors of later ex-dates.

    `frame`: symbol (categorical, sorted) and date, sorted by both, all stored bars between two days. A previous
    close belongs to the bar before: it is multiplied as that one's prices are.
    """
    rows = len(frame)
    price, volume, previous = np.ones(rows), np.ones(rows), np.ones(rows)
    categories = frame["symbol"].cat.categories
    days = [day for day in days_of_actions(connection, list(categories)) if day.is_known]
    if not rows or not days:
        return Multipliers(price, volume, previous)
    keys = keys_of(frame["symbol"].cat.codes.to_numpy(), frame["date"].to_numpy())
    steps = keys_of(
        categories.get_indexer(pd.Index([day.symbol for day in days])),
        np.array([day.ex_date for day in days], dtype="datetime64[D]"),
    )
    firsts = np.searchsorted(keys, (steps >> _DAY_BITS) << _DAY_BITS).tolist()  # its symbol's first row
    ends = np.searchsorted(keys, steps).tolist()  # the first row on or after its ex-date
    place = 0
    for _, group in groupby(days, key=attrgetter("symbol")):
        each = list(group)
        of_prices = list(accumulate((day.price for day in reversed(each)), mul))[::-1]
        of_volumes = list(accumulate((day.volume for day in reversed(each)), mul))[::-1]
        start = firsts[place]
        for of_price, of_volume, end in zip(of_prices, of_volumes, ends[place : place + len(each)], strict=True):
            price[start:end], volume[start:end] = float(of_price), float(of_volume)
            start = max(start, end)
        place += len(each)
    previous[1:] = price[:-1]
    starts = np.flatnonzero(np.diff(keys >> _DAY_BITS, prepend=-1))
    previous[starts] = price[starts]
    row_of = dict(zip(categories[keys[starts] >> _DAY_BITS], starts.tolist(), strict=True))
    dates = frame["date"].to_numpy().astype("datetime64[D]")
    with_rows = [(day, row_of[day.symbol]) for day in days if day.symbol in row_of]
    for day, row in _since_the_bar_before(connection, with_rows, dates):
        previous[row] *= float(day.price)
    return Multipliers(price, volume, previous)


def _since_the_bar_before(connection: Connection, days: list[tuple[Day, int]], dates: Any) -> list[tuple[Day, int]]:
    """Of days with the first row of their symbol, those that lie between it and the stored bar before it.

    Where no bar is stored before it, only the row's own day: the exchange's previous close is of the session before.
    """
    reached = [(day, row) for day, row in days if np.datetime64(day.ex_date, "D") <= dates[row]]
    if not reached:
        return []
    between = connection.execute(
        text(
            "SELECT place FROM unnest(CAST(:symbols AS text[]), CAST(:ex_dates AS date[]), CAST(:firsts AS date[])) "
            "WITH ORDINALITY AS g (symbol, ex_date, first, place) WHERE NOT EXISTS (SELECT FROM ohlcv_daily o "
            "WHERE o.symbol = g.symbol AND o.date >= g.ex_date AND o.date < g.first) AND (g.ex_date = g.first OR "
            "EXISTS (SELECT FROM ohlcv_daily o WHERE o.symbol = g.symbol AND o.date < g.ex_date))"
        ),
        {
            "symbols": [day.symbol for day, _ in reached],
            "ex_dates": [day.ex_date for day, _ in reached],
            "firsts": [dates[row].item() for _, row in reached],
        },
    )
    return [reached[place - 1] for place in between.scalars()]


def keys_of(codes: Any, dates: Any) -> _Ints:
    """Symbol and day as one number, in the order of both."""
    since = dates.astype("datetime64[D]").astype(np.int64) + (1 << (_DAY_BITS - 1))
    keys: _Ints = (codes.astype(np.int64) << _DAY_BITS) | since
    return keys
