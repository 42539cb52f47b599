"""What is stored, as tables for people: prices, metrics, what was loaded, what was rejected."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any, Literal, overload

import numpy as np
import pandas as pd
import psycopg2
import pyarrow as pa
from sqlalchemy import Connection, Engine, FromClause, text

from screener_data.adjust import Multipliers, multipliers
from screener_data.arguments import Day, as_day, require_known
from screener_data.cache import cached_rows, rows_of
from screener_data.database.engine import ready, reason_of
from screener_data.errors import DatabaseError, UsageError
from screener_data.loaders.sources import require_source
from screener_data.models import CalculatedMetrics, OHLCVDaily

__all__ = ["coverage", "metrics", "panel", "prices", "rejects", "status"]

Symbols = str | Iterable[str] | None


def _figures(table: FromClause) -> tuple[str, ...]:
    """A table's columns beside its keys."""
    return tuple(column.name for column in table.columns if column.name not in {"id", "symbol", "date", "created_at"})


#: What `prices` can return beside symbol and date: rupees (indices: points), shares, per cent.
PRICE_COLUMNS = _figures(OHLCVDaily.__table__)
#: What `metrics` can return beside symbol and date.
METRIC_COLUMNS = _figures(CalculatedMetrics.__table__)
_USUAL = ("open", "high", "low", "close", "volume")


@overload
def prices(
    symbols: Symbols = None,
    start: Day = None,
    end: Day = None,
    columns: str | Sequence[str] | None = None,
    *,
    adjusted: bool = False,
    as_arrow: Literal[False] = False,
    engine: Engine | None = None,
) -> pd.DataFrame: ...


@overload
def prices(
    symbols: Symbols = None,
    start: Day = None,
    end: Day = None,
    columns: str | Sequence[str] | None = None,
    *,
    adjusted: bool = False,
    as_arrow: Literal[True],
    engine: Engine | None = None,
) -> pa.Table: ...


def prices(
    symbols: Symbols = None,
    start: Day = None,
    end: Day = None,
    columns: str | Sequence[str] | None = None,
    *,
    adjusted: bool = False,
    as_arrow: bool = False,
    engine: Engine | None = None,
) -> pd.DataFrame | pa.Table:
    """Daily prices, one row per symbol and session, sorted by both: as published, or `adjusted` for corporate actions.

    `symbols`: one name, several, or None (or "all") for every one; `start` and `end` are included. `columns`: of
    PRICE_COLUMNS, default open, high, low, close, volume. Types: symbol categorical, date datetime64[s], the others
    float64: rupees per share (indices: points), shares, per cent. `as_arrow`: a pyarrow.Table instead, symbol
    dictionary<int32, string>, date date32, the others float64 with null for what is not there. Wide reads are kept as
    files (`screener_data.cache`). Raises UsageError, which suggests near names, for an unknown symbol or column.

    Adjusted prices are in the shares of the last stored session (see `factors`): a day's prices, circuits and 52-week
    extremes are multiplied alike, its volume inversely, prev_close as the bar before it, and change_pct is computed
    anew. Bars that only Upstox gave were adjusted by Upstox already, up to the day on which they were fetched.

    >>> import screener_data as sd
    >>> list(sd.prices(columns="close"))
    ['symbol', 'date', 'close']
    >>> sd.prices(columns=["close", "volume"], as_arrow=True).column_names
    ['symbol', 'date', 'close', 'volume']
    """
    engine = ready(engine)
    chosen = [columns] if isinstance(columns, str) else list(columns if columns is not None else _USUAL)
    for name in chosen:
        require_known(name, PRICE_COLUMNS, "column")
    read = [*chosen, *(name for name in _OF_A_CHANGE if adjusted and "change_pct" in chosen and name not in chosen)]
    wanted = _wanted(symbols)
    with _snapshot(engine) as connection:
        if wanted is not None:
            _require_symbols(connection, wanted, "ohlcv_daily")
        frame = _rows(connection, "ohlcv_daily", read, wanted, as_day(start), as_day(end))
        if adjusted:
            frame = _adjusted(frame, multipliers(connection, frame))[["symbol", "date", *chosen]]
    return _arrow(frame) if as_arrow else frame


#: What change_pct is computed from.
_OF_A_CHANGE = ("close", "prev_close")


def _adjusted(frame: pd.DataFrame, by: Multipliers) -> pd.DataFrame:
    special = {"volume": by.volume, "prev_close": by.previous}
    names = [name for name in frame.columns if name not in ("symbol", "date", "change_pct")]
    frame = frame.assign(**{name: frame[name].to_numpy() * special.get(name, by.price) for name in names})
    if "change_pct" in frame:
        before = frame["prev_close"].where(frame["prev_close"] > 0)
        frame["change_pct"] = 100 * (frame["close"] - before) / before
    return frame


@overload
def metrics(
    date: Day = None,
    symbols: Symbols = None,
    start: Day = None,
    end: Day = None,
    columns: str | Sequence[str] | None = None,
    *,
    as_arrow: Literal[False] = False,
    engine: Engine | None = None,
) -> pd.DataFrame: ...


@overload
def metrics(
    date: Day = None,
    symbols: Symbols = None,
    start: Day = None,
    end: Day = None,
    columns: str | Sequence[str] | None = None,
    *,
    as_arrow: Literal[True],
    engine: Engine | None = None,
) -> pa.Table: ...


def metrics(
    date: Day = None,
    symbols: Symbols = None,
    start: Day = None,
    end: Day = None,
    columns: str | Sequence[str] | None = None,
    *,
    as_arrow: bool = False,
    engine: Engine | None = None,
) -> pd.DataFrame | pa.Table:
    """Computed metrics, one row per symbol and session, sorted by both. They are stored by `calculate`.

    `date`: one session; with `start` or `end` (both included) all sessions between; with none of them the last
    session that was computed. `symbols`: one name, several, or None (or "all") for every listed one. `columns`: of
    METRIC_COLUMNS, default all. Types: symbol categorical, date datetime64[s], the others float64, NaN while a history
    is too short; `as_arrow`: a pyarrow.Table as `prices` gives it. rs_rating and vcp_score 0 to 100; stage 1 to 4; atr
    and ma_* rupees, vol_20d_avg shares (all as of their day, before any later split); atr_pct and vol_vs_avg_pct per
    cent; vars_value average true ranges. Raises UsageError for both `date` and `start` or `end`, and, suggesting near
    names, for an unknown symbol or column.

    >>> import screener_data as sd
    >>> list(sd.metrics(columns=["stage", "atr"]))
    ['symbol', 'date', 'stage', 'atr']
    """
    day, first, last = as_day(date), as_day(start), as_day(end)
    if day is not None and (first is not None or last is not None):
        raise UsageError("give either date, for one session, or start and end")
    chosen = [columns] if isinstance(columns, str) else list(columns if columns is not None else METRIC_COLUMNS)
    for name in chosen:
        require_known(name, METRIC_COLUMNS, "column")
    wanted = _wanted(symbols)
    engine = ready(engine)
    with _snapshot(engine) as connection:
        if wanted is not None:
            _require_symbols(connection, wanted, "securities")
        if first is None and last is None:
            day = day or connection.execute(text("SELECT max(date) FROM calculated_metrics")).scalar()
            first = last = day
        frame = _rows(connection, "calculated_metrics", chosen, wanted, first, last)
    return _arrow(frame) if as_arrow else frame


def panel(
    column: str = "close",
    symbols: Symbols = None,
    start: Day = None,
    end: Day = None,
    *,
    adjusted: bool = False,
    engine: Engine | None = None,
) -> pd.DataFrame:
    """One column of `prices` as a matrix, sessions × symbols (float64, NaN where a symbol did not trade).

    >>> import screener_data as sd
    >>> sd.panel("close").index.name
    'date'
    """
    frame = prices(symbols, start, end, [column], adjusted=adjusted, engine=engine)
    symbol = frame["symbol"].cat
    days = frame["date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    first, last = (days.min(), days.max()) if len(days) else (0, -1)
    traded = np.zeros(last - first + 1, bool)
    traded[days - first] = True
    place = np.cumsum(traded) - 1
    # symbol by symbol, as the rows come, and as pandas keeps the columns of a table
    cells = np.full((len(symbol.categories), int(traded.sum())), np.nan)
    cells[symbol.codes.to_numpy(), place[days - first]] = frame[column].to_numpy()
    return pd.DataFrame(
        cells.T,
        index=pd.DatetimeIndex((first + np.flatnonzero(traded)).astype("datetime64[D]").astype("M8[s]"), name="date"),
        columns=pd.Index(symbol.categories.astype(str), name="symbol"),
        copy=False,
    )


def coverage(*, engine: Engine | None = None) -> pd.DataFrame:
    """How many bars each stored day has: columns securities and indices (int64), by date.

    >>> import screener_data as sd
    >>> sd.coverage().loc["2025-06-30"].to_dict()
    {'securities': 34, 'indices': 9}
    """
    engine = ready(engine)
    with engine.connect() as connection:
        frame = pd.read_sql(
            text(
                "SELECT o.date, count(*) FILTER (WHERE i.symbol IS NULL) AS securities, count(i.symbol) AS indices "
                "FROM ohlcv_daily o LEFT JOIN indices i ON i.symbol = o.symbol GROUP BY o.date ORDER BY o.date"
            ),
            connection,
        )
    frame["date"] = pd.to_datetime(frame["date"])
    return frame.set_index("date").astype("int64")


def _wanted(symbols: Symbols) -> list[str] | None:
    if symbols is None or symbols == "all":
        return None
    return [symbols] if isinstance(symbols, str) else list(symbols)


def _require_symbols(connection: Connection, wanted: list[str], table: str) -> None:
    found = connection.execute(
        text(f"SELECT w FROM unnest(CAST(:wanted AS text[])) w WHERE EXISTS (SELECT FROM {table} WHERE symbol = w)"),
        {"wanted": wanted},
    )
    missing = set(wanted) - set(found.scalars())
    if missing:
        everyone = connection.execute(text(f"SELECT DISTINCT symbol FROM {table}")).scalars().all()
        require_known(sorted(missing)[0], everyone, "symbol")


def _rows(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    symbols: list[str] | None,
    first: dt.date | None,
    last: dt.date | None,
) -> pd.DataFrame:
    """Rows by symbol and date, the columns as float64."""
    wanted = [("symbol = ANY(%s)", symbols), ("date >= %s", first), ("date <= %s", last)]
    asked = [(condition, value) for condition, value in wanted if value is not None]
    condition = " AND ".join(condition for condition, _ in asked) or "true"
    try:
        rows = cached_rows(connection, table, columns, symbols, first, last)
        if rows is None:
            rows = rows_of(connection, table, columns, condition, [value for _, value in asked])
    except psycopg2.Error as error:
        raise DatabaseError(f"the database refused: {reason_of(error)}") from error
    return rows.frame()


def _snapshot(engine: Engine) -> Connection:
    """A connection to which the database stands still: what is cached, read and adjusted by is of one moment."""
    return engine.connect().execution_options(isolation_level="REPEATABLE READ")


def _arrow(frame: pd.DataFrame) -> pa.Table:
    """The same as an Arrow table; the figures are not copied."""
    symbol = frame["symbol"].cat
    names = pa.array(symbol.categories.to_numpy(dtype=object), pa.string())
    columns = {
        "symbol": pa.DictionaryArray.from_arrays(pa.array(symbol.codes.to_numpy(), pa.int32()), names),
        "date": pa.array(frame["date"].to_numpy().astype("datetime64[D]")),
    }
    for name in frame.columns.drop(list(columns)):
        columns[name] = pa.array(frame[name].to_numpy(), from_pandas=True)
    return pa.table(columns)


# --- what was loaded ------------------------------------------------------------------------------------------------


def rejects(
    source: str | None = None, limit: int | None = None, *, engine: Engine | None = None
) -> list[dict[str, Any]]:
    """The waiting rows of the quarantine, newest first: where from, why, and their text.

    >>> import screener_data as sd
    >>> [row] = sd.rejects("nse_surveillance", limit=1)
    >>> row["line"], row["column"], row["reason"]
    (20, 'GSM', 'unknown_code')
    """
    require_source(source)
    engine = ready(engine)
    with engine.connect() as connection:
        found = connection.execute(
            text(
                'SELECT id, source, file, line, reason, "column", detail, raw, symbol, tries, created_at FROM rejects '
                "WHERE waiting AND (CAST(:source AS text) IS NULL OR source = :source) ORDER BY id DESC LIMIT :limit"
            ),
            {"source": source, "limit": limit},
        )
        return [dict(row) for row in found.mappings()]


def status(*, engine: Engine | None = None) -> dict[str, Any]:
    """What is stored: the last load of each source, rows and last date of each table, rejected rows waiting.

    >>> import screener_data as sd
    >>> next(table for table in sd.status()["tables"] if table["table"] == "ohlcv_daily")["last"]
    datetime.date(2025, 6, 30)
    """
    engine = ready(engine)
    with engine.connect() as connection:
        last = connection.execute(
            text(
                "SELECT DISTINCT ON (source) source, state AS status, file, read, inserted, updated, unchanged, "
                "rejected, skipped, started_at, error FROM load_files ORDER BY source, id DESC"
            )
        )
        waiting = connection.execute(
            text("SELECT source, reason, count(*) AS rows FROM rejects WHERE waiting GROUP BY 1, 2 ORDER BY 1, 2")
        )
        return {
            "sources": [dict(row) for row in last.mappings()],
            "tables": [_table_status(connection, table) for table in _DAY_OF],
            "rejects": [dict(row) for row in waiting.mappings()],
        }


_DAY_OF: dict[str, str | None] = {
    "securities": None,
    "indices": None,
    "industry_classification": None,
    "market_holidays": "holiday_date",
    "ohlcv_daily": "date",
    "market_cap_history": "date",
    "calculated_metrics": "date",
    "bulk_deals": "date",
    "block_deals": "date",
    "surveillance_measures": "date",
    "corporate_actions": "ex_date",
    "ingestion_logs": None,
}


def _table_status(connection: Connection, table: str) -> dict[str, Any]:
    day = _DAY_OF[table] or "NULL::date"
    found = connection.execute(text(f"SELECT count(*) AS rows, min({day}) AS first, max({day}) AS last FROM {table}"))
    return {"table": table, **found.mappings().one()}
