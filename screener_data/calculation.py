"""calculated_metrics: read bars, let the formulas run over them, store what is new or differs. Tables in, tables out.

A new session is computed from the formulas' stored memory (`calculations`) and that day's bars alone. Whatever may
have changed what was computed before (an old price, a corporate action, a security that arrived with its history, a
version) lets the formulas run over all bars again, and what then differs is stored. Both ways give the same figures.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, Engine, Numeric, Table, text
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from screener_data import formulas
from screener_data.adjust import forward_scales
from screener_data.arguments import Day, as_day, require_known
from screener_data.batch import lock_tables
from screener_data.database.bulk import (
    NULL,
    Counts,
    Stage,
    copy_rows,
    decimals,
    indexes_built_last,
    merge_by_key,
    rows_where,
    sql_name,
    taken_ids,
)
from screener_data.database.engine import ready, reason_of
from screener_data.errors import DatabaseError, UsageError
from screener_data.loaders import FORMATS
from screener_data.models import CalculatedMetrics, CorporateAction, OHLCVDaily, SecurityType

__all__ = ["BENCHMARK", "CalculationResult", "calculate"]

_Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
_Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
_States: TypeAlias = np.ndarray[Any, np.dtype[np.void]]

#: The index that vars_value is measured against.
BENCHMARK = "NIFTY 50"

_TABLE: Table = CalculatedMetrics.__table__  # type: ignore[assignment]
_KEY = ("symbol", "date")
_AT_ONCE = 400_000  # bars are read, and rows stored, so many at a time
_BAR = {
    "symbol": pa.dictionary(pa.int32(), pa.string()),
    "date": pa.date32(),
    **dict.fromkeys(("high", "low", "close", "volume"), pa.float64()),
}
_PAISE = 100  # per rupee: of them the sums are whole numbers, and exact
_MONEY = ("atr", "ma_10", "ma_20", "ma_50", "ma_200")
_EPOCH = dt.date(1970, 1, 1)
_STEP = np.dtype([("id", np.int32), ("day", np.int32), ("price", np.float64), ("volume", np.float64)])


class CalculationResult(BaseModel):
    """What a run of the formulas stored: its days, and rows by what became of them."""

    model_config = ConfigDict(frozen=True)

    version: int
    benchmark: str
    first_day: dt.date | None = None
    last_day: dt.date | None = None
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    elapsed_ms: int = 0


def calculate(
    start: Day = None, end: Day = None, *, benchmark: str = BENCHMARK, engine: Engine | None = None
) -> CalculationResult:
    """Compute calculated_metrics and store them: one row per listed security and session on which it traded.

    Without days: whatever is missing or may no longer be right; a new session costs that session alone. With `start`
    or `end` (both included): the rows of these days, whether they seem right or not. `benchmark`: an index, or any
    symbol with bars; all rows are measured against one, so that another one has the other days computed anew by the
    next run. All or nothing; loads of prices wait meanwhile. Raises UsageError for text that is no day, days that are
    the wrong way round, or a benchmark without a bar, and DatabaseError where the database refuses.

    >>> import screener_data as sd
    >>> done = sd.calculate()  # they are there already
    >>> done.inserted, done.updated, done.deleted
    (0, 0, 0)
    """
    first, last = as_day(start), as_day(end)
    if first is not None and last is not None and first > last:
        raise UsageError(f"the first day, {first}, is after the last one, {last}")
    engine = ready(engine)
    try:
        with engine.begin() as connection:
            return _calculate(connection, first, last, benchmark)
    except (SQLAlchemyError, psycopg2.Error) as error:
        raise DatabaseError(f"no metrics were stored: {reason_of(error)}") from error


def _calculate(
    connection: Connection, first: dt.date | None, last: dt.date | None, benchmark: str
) -> CalculationResult:
    started = time.monotonic()
    # no price, factor or name changes from here on: what is read now still holds when it is committed
    lock_tables(connection, [each for each in FORMATS if each.target in (OHLCVDaily, CorporateAction)])
    # what is stored from here on is no outside write: `calculations` tells of it
    connection.execute(text("SELECT set_config('screener.loading', 'on', true)"))
    basis = _basis(connection, benchmark)
    asked = first is not None or last is not None
    plan = _Plan(formulas.new_states(len(basis.ids)), store_from=first) if asked else _plan(connection, basis)
    sessions = _sessions(connection, after=plan.after, until=last)
    deleted = _delete_without_bar(connection, plan.store_from, last) if plan.after is None else 0
    counts = Counts()
    if sessions:
        bars = _bars(connection, basis, sessions)
        rows = _computed(bars, basis, plan.states, len(sessions))
        counts = _store(connection, _Rows(bars, basis, sessions, rows), plan.store_from, last)
    stored = [day for day in sessions if plan.store_from is None or day >= plan.store_from]
    result = CalculationResult(
        version=formulas.VERSION,
        benchmark=benchmark,
        first_day=stored[0] if stored else None,
        last_day=stored[-1] if stored else None,
        inserted=counts.inserted,
        updated=counts.updated,
        unchanged=counts.unchanged,
        deleted=deleted,
        elapsed_ms=int((time.monotonic() - started) * 1000),
    )
    if sessions or deleted:
        _remember(connection, result, basis, None if asked or not sessions else plan.states)
    return result


# --- what is there to compute from ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Basis:
    """What the figures are computed from beside the bars; the last of the securities stands for the benchmark."""

    ids: np.ndarray[Any, np.dtype[np.int32]]  # securities.id; 0 is the benchmark
    symbols: list[str]
    ranked: np.ndarray[Any, np.dtype[np.bool_]]
    steps: np.ndarray[Any, np.dtype[np.void]]  # _STEP, by security and day: the scales from that day on
    seen_load: int
    outside_writes: int
    benchmark: str


def _basis(connection: Connection, benchmark: str) -> _Basis:
    if benchmark != BENCHMARK:  # without the usual one vars_value is NULL; a slip in another's name shall not do that
        every = "SELECT DISTINCT symbol FROM ohlcv_daily"
        is_known = connection.execute(text(f"SELECT EXISTS ({every} WHERE symbol = :name)"), {"name": benchmark})
        if not is_known.scalar():
            require_known(benchmark, connection.execute(text(every)).scalars().all(), "symbol")
    found = connection.execute(text("SELECT id, symbol, security_type::text FROM securities ORDER BY id")).all()
    seen_load, outside_writes = connection.execute(
        text(
            # a load that still runs waits for us, and will be seen by the next run
            "SELECT coalesce(min(id) FILTER (WHERE state = 'running') - 1, max(id), 0), (SELECT count(*) FROM "
            "outside_writes WHERE table_name IN ('ohlcv_daily', 'symbol_history')) FROM load_files"
        )
    ).one()
    id_of = {symbol: number for number, symbol, _ in found}
    scales = forward_scales(connection)
    known = scales[scales["symbol"].isin(list(id_of))]
    steps = np.empty(len(known), _STEP)
    steps["id"] = [id_of[symbol] for symbol in known["symbol"]]
    steps["day"] = known["ex_date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    steps["price"], steps["volume"] = known["price_scale"], known["volume_scale"]
    return _Basis(
        ids=np.array([*(number for number, _, _ in found), 0], np.int32),
        symbols=[*(symbol for _, symbol, _ in found), benchmark],
        ranked=np.array([*(kind == SecurityType.EQUITY.value for _, _, kind in found), False]),
        steps=np.sort(steps, order=["id", "day"]),
        seen_load=seen_load,
        outside_writes=outside_writes,
        benchmark=benchmark,
    )


@dataclass(frozen=True)
class _Plan:
    """From which memory to go on, after which day; and from which day on to store. None: from the beginning."""

    states: _States
    after: dt.date | None = None
    store_from: dt.date | None = None


def _plan(connection: Connection, basis: _Basis) -> _Plan:
    """Go on from the stored memory where all that it was made of still holds; else from the beginning."""
    afresh = formulas.new_states(len(basis.ids))
    found = connection.execute(
        text("SELECT * FROM calculations WHERE states IS NOT NULL ORDER BY id DESC LIMIT 1")
    ).one_or_none()
    if found is None or (found.version, found.benchmark, found.outside_writes) != (
        formulas.VERSION,
        basis.benchmark,
        basis.outside_writes,
    ):
        return _Plan(afresh)
    known, ranked = np.frombuffer(found.symbols, np.int32), np.frombuffer(found.ranked, np.bool_)
    place = {number: place for place, number in enumerate(known.tolist())}
    ours = np.array([place.get(number, -1) for number in basis.ids.tolist()])
    if (ranked[ours[ours >= 0]] != basis.ranked[ours >= 0]).any():
        return _Plan(afresh)
    stale = _first_stale_day(connection, basis, found, arrived=basis.ids[ours < 0].tolist())
    if stale is not None and stale <= found.last_day:
        return _Plan(afresh, store_from=stale)
    afresh[ours >= 0] = np.frombuffer(found.states, formulas.STATE)[ours[ours >= 0]]
    return _Plan(afresh, after=found.last_day)


def _first_stale_day(connection: Connection, basis: _Basis, found: Any, arrived: list[int]) -> dt.date | None:
    """The first day on which something changed since: a price, a factor, a security that came with its history."""
    changed = connection.execute(
        text(
            "SELECT min(coalesce(first_day, '0001-01-01')) FROM load_files "
            "WHERE id > :seen AND target = 'ohlcv_daily' AND inserted + updated > 0"
        ),
        {"seen": found.seen_load},
    ).scalar()
    brought = connection.execute(
        text("SELECT min(o.date) FROM securities s JOIN ohlcv_daily o USING (symbol) WHERE s.id = ANY(:ids)"),
        {"ids": arrived},
    ).scalar()
    before = {tuple(step) for step in np.frombuffer(found.scales, _STEP).tolist()}
    rescaled = before ^ {tuple(step) for step in basis.steps.tolist()}
    days = [_EPOCH + dt.timedelta(day) for _, day, _, _ in rescaled]
    return min(filter(None, [changed, brought, *days]), default=None)


# --- bars -----------------------------------------------------------------------------------------------------------


def _sessions(connection: Connection, *, after: dt.date | None, until: dt.date | None) -> list[dt.date]:
    """The days that have bars, from one to the next along the index: there are thousands of rows to each of them."""
    return list(
        connection.execute(
            text(
                "WITH RECURSIVE days (day) AS (SELECT min(date) FROM ohlcv_daily "
                "WHERE date > coalesce(CAST(:after AS date), '-infinity') UNION ALL "
                "SELECT (SELECT min(date) FROM ohlcv_daily WHERE date > day) FROM days WHERE day IS NOT NULL) "
                "SELECT day FROM days WHERE day <= coalesce(CAST(:until AS date), 'infinity')"
            ),
            {"after": after, "until": until},
        ).scalars()
    )


@dataclass(frozen=True)
class _Bars:
    """Bars of all securities, and of the benchmark."""

    securities: formulas.Bars
    benchmark: formulas.Bars


def _bars(connection: Connection, basis: _Basis, sessions: list[dt.date]) -> _Bars:
    """Read the bars of some sessions, and put them in the formulas' order."""
    symbols = pa.array(basis.symbols, pa.string())
    parts: list[tuple[_Ints, dict[str, _Floats]]] = []
    days = np.array([(day - _EPOCH).days for day in sessions], np.int32)
    some = max(1, _AT_ONCE // max(1, len(basis.symbols)))
    with _progress(len(sessions), "read bars") as bar:
        for first in range(0, len(sessions), some):
            these = sessions[first : first + some]
            found = rows_where(
                connection, "ohlcv_daily", _BAR, f"date BETWEEN '{these[0]}' AND '{these[-1]}'"
            ).combine_chunks()
            encoded = found["symbol"].combine_chunks() if found.num_rows else pa.array([], _BAR["symbol"])
            code = pc.index_in(encoded.dictionary, symbols).take(encoded.indices)
            listed = code.is_valid()
            session = np.searchsorted(days, _numbers(found["date"].cast(pa.int32()).filter(listed)))
            place = _numbers(code.filter(listed)).astype(np.int64) * len(sessions) + session
            parts.append((place, {name: _numbers(found[name].filter(listed)) for name in _BAR if name not in _KEY}))
            bar.update(len(these))
    # by security and session: each bar has its place in the full matrix, so that nothing needs sorting
    row_at = np.full(len(basis.symbols) * len(sessions), -1, np.int32)
    place = np.concatenate([place for place, _ in parts])
    row_at[place] = np.arange(len(place), dtype=np.int32)
    taken = np.flatnonzero(row_at >= 0)
    order, code, session = row_at[taken], taken // len(sessions), (taken % len(sessions)).astype(np.int32)
    del row_at, place, taken
    columns = {}
    for name in _BAR:
        if name not in _KEY:
            values = np.concatenate([part.pop(name) for _, part in parts])[order]
            columns[name] = values if name == "volume" else np.rint(values * _PAISE)
    offsets = np.searchsorted(code, np.arange(len(basis.symbols) + 1)).astype(np.int64)
    columns |= _scales(basis, offsets, days[session])
    columns |= {"day": days[session], "session": session}
    at = basis.symbols.index(basis.benchmark)  # of a security, if it is one; else the last
    return _Bars(_some(columns, offsets[:-1]), _some(columns, offsets[at : at + 2]))


def _some(columns: dict[str, Any], offsets: _Ints) -> formulas.Bars:
    """The bars of some symbols that follow one another."""
    first, end = int(offsets[0]), int(offsets[-1])
    return formulas.Bars(offsets=offsets - first, **{name: column[first:end] for name, column in columns.items()})


def _numbers(column: pa.ChunkedArray | pa.Array) -> np.ndarray[Any, Any]:
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return column.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _scales(basis: _Basis, offsets: _Ints, days: np.ndarray[Any, Any]) -> dict[str, _Floats]:
    """price_scale and volume_scale of each bar: those of the last ex-date up to its day."""
    price, volume = np.ones(len(days)), np.ones(len(days))
    code_of = {number: code for code, number in enumerate(basis.ids.tolist())}
    for step in basis.steps:
        code = code_of[int(step["id"])]
        first, end = offsets[code], offsets[code + 1]
        first += np.searchsorted(days[first:end], step["day"])
        price[first:end], volume[first:end] = step["price"], step["volume"]
    return {"price_scale": price, "volume_scale": volume}


def _computed(bars: _Bars, basis: _Basis, states: _States, sessions: int) -> dict[str, _Floats]:
    """The twelve columns of the securities' bars; the states move on."""
    benchmark = formulas.benchmark_sums(bars.benchmark, states[-1:], sessions)
    return formulas.compute(bars.securities, states[:-1], basis.ranked[:-1], benchmark)


# --- storing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """What was computed, as rows of the table."""

    bars: _Bars
    basis: _Basis
    sessions: list[dt.date]
    columns: dict[str, _Floats]

    def pieces(self, since: dt.date | None) -> Iterator[dict[str, pa.Array]]:
        """Rows from a day on, session by session, some sessions at a time."""
        bars = self.bars.securities
        code = np.repeat(np.arange(bars.symbols), np.diff(bars.offsets))
        order = np.argsort(bars.session, kind="stable")
        first = 0 if since is None else int(np.searchsorted(self.sessions, since))  # type: ignore[call-overload]
        ends = np.searchsorted(bars.session[order], np.arange(first, len(self.sessions) + 1))
        some = max(1, _AT_ONCE // max(1, bars.symbols))
        symbols = pa.array(self.basis.symbols, pa.large_string())
        for a in range(0, len(ends) - 1, some):
            rows = order[ends[a] : ends[min(a + some, len(ends) - 1)]]
            if len(rows):
                yield {
                    "symbol": symbols.take(pa.array(code[rows])),
                    "date": pa.array(bars.day[rows]).cast(pa.date32()),
                    **{name: _cells(name, column[rows]) for name, column in self.columns.items()},
                }


def _cells(name: str, values: _Floats) -> pa.Array:
    """A column rounded half away from zero as the table stores it; null for NaN, and for what is too wide for it.

    Exact: as PostgreSQL rounds all digits of the binary number.
    """
    kind = _TABLE.c[name].type
    scale = int(kind.scale or 0) if isinstance(kind, Numeric) else 0
    factor = 10.0**scale / (_PAISE if name in _MONEY else 1)
    size = np.abs(values)
    with np.errstate(invalid="ignore"):
        scaled = size * factor
        units = np.floor(scaled)
        half = scaled - units
        # the product itself was rounded: what is half of a unit by it may be less
        at = np.flatnonzero(half == 0.5)
        high = (size[at].view(np.int64) & -(1 << 27)).view(np.float64)
        lost = (high * factor - scaled[at]) + (size[at] - high) * factor
        half[at[lost < 0]] = 0
        units += half >= 0.5
        units = np.copysign(units, values)
    most = 10.0 ** int(kind.precision) if isinstance(kind, Numeric) and kind.precision else 2.0**62
    fits = np.abs(units) < most  # NaN does not
    whole = np.where(fits, units, 0).astype(np.int64)
    whole[~fits] = NULL
    return decimals(whole, scale)


def _store(connection: Connection, rows: _Rows, since: dt.date | None, until: dt.date | None) -> Counts:
    """Store the rows from a day on. Straight in where the table has none of these days yet; else what differs."""
    limits = {"since": since or rows.sessions[0], "until": until}
    within = "date >= :since AND date <= coalesce(CAST(:until AS date), 'infinity')"
    names = list(_KEY) + list(rows.columns)
    counts = Counts()
    with ExitStack() as stack:
        bar = stack.enter_context(_progress(len(rows.bars.securities.day), "store rows"))
        if not connection.execute(text(f"SELECT EXISTS (SELECT FROM {_TABLE.name} WHERE {within})"), limits).scalar():
            filling = stack.enter_context(indexes_built_last(connection, _TABLE.name))
            for piece in rows.pieces(since):
                number = len(piece["date"])
                ids = {"id": pa.array(taken_ids(connection, _TABLE.name, number))} if filling else {}
                counts += Counts(inserted=copy_rows(connection, _TABLE.name, piece | ids))
                bar.update(number)
            return counts
        stage = Stage(connection, _TABLE)
        stage.create({name: sql_name(_TABLE.c[name].type) for name in names}, {})
        for piece in rows.pieces(since):
            lines = pa.array(np.arange(len(piece["date"])))
            copy_rows(
                connection, "stage", {"file": pa.nulls(len(lines), pa.int32()).fill_null(0), "line": lines} | piece
            )
            stage.analyze(_KEY)
            stage.survey(_KEY)
            for count in merge_by_key(stage, _KEY, names).values():
                counts += count
            stage.run("TRUNCATE stage")
            bar.update(len(lines))
    return counts


def _delete_without_bar(connection: Connection, since: dt.date | None, until: dt.date | None) -> int:
    """Delete the figures that a bar left behind when it was moved or deleted; how many there were."""
    return connection.execute(
        text(
            f"DELETE FROM {_TABLE.name} m WHERE date BETWEEN coalesce(CAST(:since AS date), '-infinity') AND "
            "coalesce(CAST(:until AS date), 'infinity') AND NOT EXISTS "
            "(SELECT FROM ohlcv_daily o WHERE o.symbol = m.symbol AND o.date = m.date)"
        ),
        {"since": since, "until": until},
    ).rowcount


def _remember(connection: Connection, result: CalculationResult, basis: _Basis, states: _States | None) -> None:
    """Write the run down, and with it the formulas' memory after its last day.

    An older memory is forgotten; where there is no new one, only that of another version or benchmark: to go on from
    it would leave rows of both in the table.
    """
    memory: dict[str, bytes | None] = dict.fromkeys(("symbols", "ranked", "states", "scales"))
    connection.execute(
        text(
            "UPDATE calculations SET states = NULL, symbols = NULL, ranked = NULL, scales = NULL "
            "WHERE states IS NOT NULL AND (:anew OR (version, benchmark) <> (:version, :benchmark))"
        ),
        {"anew": states is not None, "version": result.version, "benchmark": result.benchmark},
    )
    if states is not None:
        memory = {
            "symbols": basis.ids.tobytes(),
            "ranked": basis.ranked.tobytes(),
            "states": states.tobytes(),
            "scales": basis.steps.tobytes(),
        }
    values = {
        **result.model_dump(exclude={"elapsed_ms"}),
        **memory,
        "seen_load": basis.seen_load,
        "outside_writes": basis.outside_writes,
        "execution_time_ms": result.elapsed_ms,
    }
    names = ", ".join(values)
    connection.execute(
        text(f"INSERT INTO calculations ({names}) VALUES ({', '.join(f':{name}' for name in values)})"), values
    )


def _progress(total: int, what: str) -> Any:
    return tqdm(total=total, desc=what, unit="", unit_scale=True, disable=total < 100 or not sys.stderr.isatty())
