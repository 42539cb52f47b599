"""Sessions on which a security has no bar, why, by what evidence, and what to fetch for those that are missing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy import Connection, Engine, text

from screener_data.arguments import Day, as_day, require_known
from screener_data.cache import cached_rows, rows_of
from screener_data.database.engine import ready
from screener_data.exchange import DISPUTED, Days
from screener_data.loaders.bhavcopy import FORMATS, SERIES
from screener_data.loaders.format import fold
from screener_data.sessions import days_with_prices, sessions_of

__all__ = ["KINDS", "Fetch", "gaps", "plan"]

_Ints: TypeAlias = npt.NDArray[np.int64]
_Floats: TypeAlias = npt.NDArray[np.float64]
_Bools: TypeAlias = npt.NDArray[np.bool_]

Kind = Literal["not_listed", "suspended", "other_series", "missing"]
#: What a gap can be.
KINDS: tuple[Kind, ...] = get_args(Kind)

_SOURCE = "nse_bhavcopy"
#: A day's bhavcopies are whole if they gave half of the median number of securities of so many sessions around.
_AROUND = 41

_REJECTED = "its row of the day's bhavcopy waits in the quarantine"
#: What is told of a session, and by what: the first that holds. `_told` finds out, in the same order.
_EVIDENCE: tuple[tuple[Kind, str], ...] = (
    ("not_listed", "before its listing date"),
    ("missing", "no bhavcopy of the day was loaded"),
    ("missing", "less than half of the usual number of securities have a bar"),
    ("missing", _REJECTED),
    ("other_series", "market_cap_history: in a series that is not stored"),
    ("missing", "market_cap_history or a deal tells of a trade, and bars of the day are gone"),
    ("other_series", "market_cap_history or a deal tells of a trade, and the bhavcopy of none in a stored series"),
    ("suspended", "not in the bhavcopy; market_cap_history: no trade since before"),
    ("missing", "the next bar's prev_close is not the last close, and bars of the day are gone"),
    ("suspended", "not in the bhavcopy; the next bar's prev_close is a new base price"),
    ("suspended", "not in the bhavcopy; the next bar's prev_close is the last close"),
    ("suspended", "not in the bhavcopy; under surveillance"),
    ("suspended", "not in the bhavcopy"),
)


def gaps(
    symbols: str | Iterable[str] | None = None, start: Day = None, end: Day = None, *, engine: Engine | None = None
) -> pd.DataFrame:
    """The sessions without a bar of each security: one row per stretch of sessions of one kind and evidence.

    Looked at are the sessions from the security's listing date (without one: from its first bar; never from before the
    first stored session) to its last bar, less its bars; of those the ones from `start` to `end`, both included.
    `symbols`: one, several, or None (or "all") for every security that has a bar. Columns: symbol, kind, first and last
    (datetime64[s]: the stretch's first and last session), sessions (int64: how many), evidence. Kinds:

    * `not_listed`: before the listing date of a security that had bars long before, too;
    * `missing`: no bhavcopy of the day was loaded, or the row was rejected, or bars of the day are gone: more than half
      of them, or, where market_cap_history, a deal or the next prev_close tells of a trade, any that the load counted;
    * `other_series`: market_cap_history has it on the day under a series that ohlcv_daily does not hold, or tells of a
      trade, or a deal does, while the day's bhavcopy was loaded whole without it;
    * `suspended`: the day's bhavcopy was loaded whole without it, and nothing tells of a trade. Nobody could trade it,
      or nobody did: the files do not tell these two apart.

    Sessions after the last bar are no gap; `check` finds stale symbols. Raises UsageError, which suggests near names,
    for an unknown symbol.

    >>> import screener_data as sd
    >>> sd.gaps("PAUSECO").groupby("kind")["sessions"].sum().to_dict()
    {'suspended': 17}
    """
    wanted = None if symbols is None or symbols == "all" else [symbols] if isinstance(symbols, str) else list(symbols)
    with ready(engine).connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        calendar = sessions_of(connection, None, None, days_with_prices(connection))
        bars = _bars(connection, calendar, wanted)
        holes = _holes(connection, calendar, bars)
        told = _told(connection, calendar, bars, holes)
    first, last = as_day(start), as_day(end)
    asked = np.ones(len(told), bool)
    if first is not None:
        asked &= calendar[holes.session] >= np.datetime64(first)
    if last is not None:
        asked &= calendar[holes.session] <= np.datetime64(last)
    return _stretches(calendar, bars.symbols, holes.code[asked], holes.session[asked], told[asked])


# --- what to fetch --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fetch:
    """Days whose files of a source are missing, one session after the other, and how many securities lack a bar."""

    source: str
    first: dt.date
    last: dt.date
    sessions: list[dt.date]
    securities: int

    @property
    def command(self) -> str:
        """What fetches and loads them."""
        return f"screener-data fetch --from {self.first} --to {self.last} {self.source}"

    def as_json(self) -> dict[str, Any]:
        """The same, with the command."""
        return asdict(self) | {"command": self.command}


def plan(found: pd.DataFrame, *, engine: Engine | None = None) -> list[Fetch]:
    """What to fetch for the `missing` stretches that `gaps` found: one entry per run of sessions, in order of days.

    Rows that wait in the quarantine are no matter of fetching: mend the cause, then `screener-data replay`.

    >>> import screener_data as sd
    >>> from screener_data.gaps import plan
    >>> plan(sd.gaps(start="2025-06-01"))
    []
    """
    wanted = found[(found["kind"] == "missing") & (found["evidence"] != _REJECTED)]
    if wanted.empty:
        return []
    with ready(engine).connect() as connection:
        calendar = sessions_of(
            connection, wanted["first"].min().date(), wanted["last"].max().date(), days_with_prices(connection)
        )
    begin = np.searchsorted(calendar, wanted["first"].to_numpy("M8[D]"))
    end = np.searchsorted(calendar, wanted["last"].to_numpy("M8[D]"))
    lacking = np.zeros(len(calendar) + 1, np.int64)  # how many stretches lie over a session
    np.add.at(lacking, begin, 1)
    np.add.at(lacking, end + 1, -1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.cumsum(lacking) > 0]).astype(np.int64)))
    runs = []
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        days = calendar[a:b].tolist()
        securities = wanted.loc[(begin < b) & (end >= a), "symbol"].nunique()
        runs.append(Fetch(_SOURCE, days[0], days[-1], days, securities))
    return runs


# --- bars and holes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Bars:
    """Bars of securities on sessions, by symbol and session. A code is a symbol's place, a session a day's."""

    symbols: list[str]
    code: _Ints
    session: _Ints
    close: _Floats
    prev_close: _Floats


@dataclass(frozen=True)
class _Holes:
    """Sessions without a bar, by symbol and session; `after` is the place of the bar that ends their hole."""

    code: _Ints
    session: _Ints
    after: _Ints
    #: The session of each symbol's listing, 0 where it is unknown or before the first session.
    listing: _Ints


def _bars(connection: Connection, calendar: Days, wanted: list[str] | None) -> _Bars:
    indices = set(connection.execute(text("SELECT symbol FROM indices")).scalars())
    columns = ("close", "prev_close")
    rows = cached_rows(connection, "ohlcv_daily", columns, wanted, None, None)
    if rows is None:
        condition, values = ("true", []) if wanted is None else ("symbol = ANY(%s)", [wanted])
        rows = rows_of(connection, "ohlcv_daily", columns, condition, values)
    if wanted is not None and (missing := sorted({*wanted} - {*rows.symbols} | {*wanted} & indices)):
        everyone = connection.execute(text("SELECT DISTINCT symbol FROM ohlcv_daily")).scalars()
        require_known(missing[0], sorted(set(everyone) - indices), "symbol")
    days = rows.days.astype("M8[D]")
    session = np.searchsorted(calendar, days)
    of_security = ~np.isin(rows.codes, [code for code, symbol in enumerate(rows.symbols) if symbol in indices])
    kept = of_security & (calendar[np.minimum(session, len(calendar) - 1)] == days) if len(calendar) else of_security
    return _Bars(
        rows.symbols,
        rows.codes[kept].astype(np.int64),
        session[kept].astype(np.int64),
        rows.columns["close"][kept],
        rows.columns["prev_close"][kept],
    )


def _holes(connection: Connection, calendar: Days, bars: _Bars) -> _Holes:
    found = connection.execute(text("SELECT symbol, listing_date FROM securities WHERE listing_date IS NOT NULL"))
    listed = {row.symbol: row.listing_date for row in found}
    dates = np.array([listed.get(symbol) for symbol in bars.symbols], "M8[D]")
    is_known = ~np.isnat(dates)
    listing = np.where(is_known, np.searchsorted(calendar, dates), 0)
    is_first = np.diff(bars.code, prepend=-1) != 0
    since = np.where(is_known[bars.code], np.minimum(listing[bars.code], bars.session), bars.session)
    begin = np.where(is_first, since, np.roll(bars.session, 1) + 1)
    length = bars.session - begin
    after = np.repeat(np.arange(len(length)), length)
    place = np.arange(len(after)) - np.repeat(np.cumsum(length) - length, length)
    return _Holes(bars.code[after], begin[after] + place, after, listing)


def _stretches(
    calendar: Days, symbols: list[str], code: _Ints, session: _Ints, told: npt.NDArray[np.int64]
) -> pd.DataFrame:
    """One row per run of sessions of a symbol of which the same is told."""
    same = (np.diff(code) == 0) & (np.diff(session) == 1) & (np.diff(told) == 0)
    begin = np.flatnonzero(np.concatenate([[True], ~same])) if len(code) else np.empty(0, np.int64)
    end = np.append(begin[1:], len(code)) - 1 if len(code) else begin
    kinds, evidence = zip(*_EVIDENCE, strict=True)
    return pd.DataFrame(
        {
            "symbol": np.array(symbols, object)[code[begin]],
            "kind": np.array(kinds, object)[told[begin]],
            "first": calendar[session[begin]].astype("M8[s]"),
            "last": calendar[session[end]].astype("M8[s]"),
            "sessions": (end - begin + 1).astype(np.int64),
            "evidence": np.array(evidence, object)[told[begin]],
        }
    ).astype({"symbol": "str", "kind": "str", "evidence": "str"})


# --- the evidence ---------------------------------------------------------------------------------------------------


def _told(connection: Connection, calendar: Days, bars: _Bars, holes: _Holes) -> _Ints:
    """What is told of each session without a bar: its place in _EVIDENCE."""
    if not len(holes.code):
        return holes.code
    days = _days(connection, calendar)
    loaded, whole, lost = (each[holes.session] for each in (days.loaded, days.whole, days.lost))
    listing = holes.listing[holes.code]
    unlisted = (holes.session < listing) & (bars.session[holes.after] >= listing)
    rejected = _rejected(connection, calendar, bars, holes)
    other_series, traded, untraded = _market_cap(connection, calendar, bars, holes)
    differs, equals = _of_prev_close(calendar, bars, holes, ~(loaded & whole) | rejected)
    is_open = ~unlisted & loaded & whole & ~rejected & ~other_series  # so far
    traded = traded | _also_in(connection, calendar, bars, holes, is_open, _TRADES)
    is_open &= ~(traded | untraded | differs | equals)
    watched = _also_in(connection, calendar, bars, holes, is_open, "SELECT symbol, date FROM surveillance_measures")
    conditions = [
        *(unlisted, ~loaded, ~whole, rejected, other_series),
        *(traded & lost, traded, untraded, differs & lost, differs, equals, watched),
    ]
    return np.select(conditions, list(range(len(conditions))), len(conditions))


@dataclass(frozen=True)
class _Days:
    """Of each session: was a bhavcopy loaded, has it half the bars of those around, has it fewer than the load had."""

    loaded: _Bools
    whole: _Bools
    lost: _Bools


def _days(connection: Connection, calendar: Days) -> _Days:
    loads = pd.DataFrame(
        connection.execute(
            text(
                "SELECT first_day, last_day, max(inserted + updated + unchanged) FROM load_files "
                "WHERE source = :source AND first_day IS NOT NULL AND state IN ('success', 'partial') GROUP BY 1, 2"
            ),
            {"source": _SOURCE},
        ).all(),
        columns=["first", "last", "rows"],
    )
    lying = np.zeros(len(calendar) + 1, np.int64)  # how many loads lie over a session
    np.add.at(lying, np.searchsorted(calendar, loads["first"].to_numpy("M8[D]")), 1)
    np.add.at(lying, np.searchsorted(calendar, loads["last"].to_numpy("M8[D]"), "right"), -1)
    counts = pd.DataFrame(
        connection.execute(
            text(
                "SELECT date, count(*) FROM ohlcv_daily WHERE symbol NOT IN (SELECT symbol FROM indices) GROUP BY date"
            )
        ).all(),
        columns=["date", "bars"],
    )
    index = pd.DatetimeIndex(calendar)
    held = pd.Series(counts["bars"].to_numpy(), pd.DatetimeIndex(counts["date"])).reindex(index).astype("float64")
    usual = held.dropna().rolling(_AROUND, center=True, min_periods=1).median().reindex(index)
    of_one_day = loads[loads["first"] == loads["last"]]
    read = pd.Series(of_one_day["rows"].to_numpy(), pd.DatetimeIndex(of_one_day["first"])).reindex(index)
    return _Days(
        loaded=np.cumsum(lying)[:-1] > 0,
        whole=(held >= usual / 2).to_numpy(),
        lost=(held < read.astype("float64")).to_numpy(),
    )


def _rejected(connection: Connection, calendar: Days, bars: _Bars, holes: _Holes) -> _Bools:
    """Of which holes a row of the day's bhavcopy waits in the quarantine."""
    found = connection.execute(
        text(
            "SELECT r.raw, f.header, f.first_day, f.last_day FROM rejects r JOIN load_files f ON f.id = r.load_id "
            "WHERE r.waiting AND r.source = :source AND f.first_day IS NOT NULL AND f.header IS NOT NULL"
        ),
        {"source": _SOURCE},
    )
    codes = {symbol: code for code, symbol in enumerate(bars.symbols)}
    names = {fold(column.header) for format in FORMATS for column in format.columns if column.to == "symbol"}
    keys = [np.empty(0, np.int64)]
    for raw, header, first, last in found:
        cells = zip(map(fold, header.split(",")), raw.split(","), strict=False)  # a row can be too short
        symbol = next((cell.strip() for name, cell in cells if name in names), None)
        if symbol in codes:
            span = np.searchsorted(calendar, np.array([first, last + dt.timedelta(days=1)], "M8[D]"))
            keys.append((codes[symbol] << 32) + np.arange(*span))
    is_rejected: _Bools = np.isin((holes.code << 32) + holes.session, np.concatenate(keys))
    return is_rejected


def _market_cap(connection: Connection, calendar: Days, bars: _Bars, holes: _Holes) -> tuple[_Bools, _Bools, _Bools]:
    """What market capitalisation tells of holes: another series on the day, a trade on the day, no trade on it.

    A row tells its security's last trade: the first row on the hole's day or after it tells whether that was then. Rows
    in a stored series that tell of a trade on their own day, nearly all, are left to _TRADES.
    """
    rows = pd.DataFrame(
        connection.execute(
            text(
                f"SELECT symbol, date, {_IN_SCOPE}, last_trade_date FROM market_cap_history "
                f"WHERE NOT {_IN_SCOPE} OR last_trade_date < date"
            )
        ).all(),
        columns=["symbol", "date", "in_scope", "last_trade"],
    )
    none = np.zeros(len(holes.code), bool)
    code = pd.Index(bars.symbols).get_indexer(pd.Index(rows["symbol"]))
    rows = rows.assign(code=code)[code >= 0].sort_values(["code", "date"])
    if rows.empty:
        return none, none, none
    day = rows["date"].to_numpy("M8[D]").astype(np.int64)
    key = (rows["code"].to_numpy(np.int64) << 32) + day
    hole_day = calendar[holes.session].astype(np.int64)
    at = np.minimum(np.searchsorted(key, (holes.code << 32) + hole_day), len(key) - 1)
    is_of_it = (rows["code"].to_numpy()[at] == holes.code) & (day[at] >= hole_day)
    last_trade = rows["last_trade"].to_numpy("M8[D]").astype(np.int64)[at]
    is_in_scope = rows["in_scope"].to_numpy(bool)[at]
    traded = last_trade == hole_day
    other = is_of_it & ~is_in_scope & ((day[at] == hole_day) | traded)
    return other, is_of_it & is_in_scope & traded, is_of_it & (last_trade < hole_day)


#: Of market_cap_history: a series that ohlcv_daily holds.
_IN_SCOPE = f"(series IS NULL OR series IN ({', '.join(map(repr, SERIES))}))"
#: Symbols and days on which they traded in such a series, or in one that is not told.
_TRADES = (
    "SELECT symbol, date FROM bulk_deals UNION ALL SELECT symbol, date FROM block_deals UNION ALL "
    f"SELECT symbol, date FROM market_cap_history WHERE {_IN_SCOPE} AND last_trade_date = date"
)


def _also_in(connection: Connection, calendar: Days, bars: _Bars, holes: _Holes, asked: _Bools, query: str) -> _Bools:
    """Which of the holes that are asked for have their symbol and day among the rows of a query."""
    places = np.flatnonzero(asked)
    found = np.zeros(len(asked), bool)
    if not len(places):
        return found
    rows = connection.execute(
        text(
            "SELECT DISTINCT h.place FROM unnest(CAST(:symbols AS text[]), CAST(:days AS date[])) WITH ORDINALITY "
            f"AS h (symbol, day, place) JOIN ({query}) r ON (r.symbol, r.date) = (h.symbol, h.day)"
        ),
        {
            "symbols": np.array(bars.symbols, object)[holes.code[places]].tolist(),
            "days": calendar[holes.session[places]].tolist(),
        },
    )
    found[places[np.array(rows.scalars().all(), np.int64) - 1]] = True
    return found


def _of_prev_close(calendar: Days, bars: _Bars, holes: _Holes, explained: _Bools) -> tuple[_Bools, _Bools]:
    """Of which holes the next bar's prev_close is not, or is, the close before.

    NSE prints it as it was, whatever goes ex: a security that did not trade keeps it. Neither is told of a hole of
    which some session is explained otherwise, or that a disputed session lies in, or that no bar is before.
    """
    before, after = calendar[np.roll(bars.session, 1)], calendar[bars.session]
    is_told = (np.diff(bars.code, prepend=-1) == 0) & ~np.isnan(bars.prev_close)
    is_told[holes.after[explained]] = False
    for day in DISPUTED:
        is_told &= ~((before < np.datetime64(day)) & (after > np.datetime64(day)))
    differs = np.abs(bars.prev_close - np.roll(bars.close, 1)) > _PAISA
    return (is_told & differs)[holes.after], (is_told & ~differs)[holes.after]


_PAISA = 0.005
