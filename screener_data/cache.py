"""What was read of prices and metrics, kept as Parquet files by calendar year, and never staler than the database.

**When it is used.** For wide reads: more than 50 symbols (or all of them) over more than 100 days (or all of them).
All else goes straight to the database, which answers one symbol's history or one day's market in milliseconds.
`SCREENER_CACHE=off` switches it off.

**Why it cannot be stale.** Each read first asks the database, in the very snapshot that it would read the rows in, for
the *version* of every year: a digest of all that can have changed its rows. That is each load, or calculation, that
stored rows of the year (its number and the moment it ended); each statement that wrote past them, which triggers note
for the whole table, renames included; and the table's own definition, its triggers' included. Files are named by the
version, so that those of another one are not found. Where the proof cannot be had (a trigger is missing or off, a
child table, row security, no right to ask for the server's identity), there is no cache. Whoever sets
`screener.loading` by hand, which tells the triggers that a load is under way, tells them a lie, and the cache too.

**Where it is.** `<SCREENER_HOME>/cache/<system identifier>-<database oid>/<table>-<table oid>/<year>-<version>/`: a
file `symbol` with each symbol's number of rows, in order, and one per column, `date` among them, of its rows by symbol
and date. Everything in it may be deleted at any time. A file is written under another name and then renamed, and is
read with its checksums: a damaged or foreign one is read anew from the database. Where nothing can be written, the
answer is the same, and a line in the log says why.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, text

from screener_data.config import settings
from screener_data.database.bulk import rows_where

__all__ = ["Rows", "cached_rows", "rows_of"]

_Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
_Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]

_log = logging.getLogger(__name__)

_FEW_SYMBOLS = 50
_SHORT = dt.timedelta(days=100)
_LAYOUT = 1  # of the files: those of another one are not found
_THREADS = 2
_EPOCH = dt.date(1970, 1, 1)
_MARK = b"screener_data"  # under which a file says what it is
_SYMBOL, _DATE = "symbol", "date"
_KEY = {_SYMBOL: pa.dictionary(pa.int32(), pa.string()), _DATE: pa.date32()}


@dataclass(frozen=True)
class Rows:
    """Rows by symbol and date: the symbols that have any, sorted; each row's place among them, its day, its figures."""

    symbols: list[str]
    codes: _Ints
    days: _Ints  # since 1970
    columns: dict[str, _Floats]

    def frame(self) -> pd.DataFrame:
        """The rows as a table: symbol categorical, date datetime64[s], the others float64. Nothing is copied."""
        categories = pd.Index(self.symbols, dtype="str")
        dates = self.days.astype(np.int64)
        dates *= 86_400
        frame: dict[str, Any] = {
            "symbol": pd.Categorical.from_codes(self.codes, categories=categories, validate=False),
            "date": dates.view("datetime64[s]"),
        }
        return pd.DataFrame(frame | self.columns, copy=False)


def rows_of(
    connection: Connection, table: str, columns: Sequence[str], condition: str, values: Sequence[Any] = ()
) -> Rows:
    """The rows of a table that satisfy a condition, as they are in the database; `values` take the places of its %s."""
    return _sorted(_found(connection, table, columns, condition, values), columns)


def _found(
    connection: Connection, table: str, columns: Sequence[str], condition: str, values: Sequence[Any] = ()
) -> pa.Table:
    numbers = {f'"{name}"': pa.float64() for name in columns}
    return rows_where(connection, table, _KEY | numbers, condition, values)


def _sorted(found: pa.Table, columns: Sequence[str]) -> Rows:
    found = found.combine_chunks()
    encoded = found[_SYMBOL].combine_chunks() if len(found) else pa.array([], _KEY[_SYMBOL])
    names = np.array(encoded.dictionary.to_pylist(), dtype=object)
    by_name = np.argsort(names)
    rank = np.empty(len(names), np.int64)
    rank[by_name] = np.arange(len(names))
    codes = rank[encoded.indices.to_numpy()] if len(found) else np.empty(0, np.int64)
    days = found[_DATE].cast(pa.int32()).to_numpy()
    order = np.argsort((codes << 32) + days, kind="stable")
    return Rows(
        symbols=names[by_name].tolist(),
        codes=codes[order].astype(np.int32),
        days=days[order],
        columns={name: found[f'"{name}"'].to_numpy()[order] for name in columns},
    )


def cached_rows(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    symbols: Sequence[str] | None,
    first: dt.date | None,
    last: dt.date | None,
) -> Rows | None:
    """Rows of ohlcv_daily or calculated_metrics between two days, both included, as they are in the database now.

    The connection's transaction is REPEATABLE READ, and so are the rows. None where the cache is of no use: the read
    is not wide, or nothing proves what the files hold.
    """
    if not settings().cache or not _is_wide(symbols, first, last):
        return None
    versions = _versions(connection, table, first, last)
    if versions is None:
        return None
    years = [_Year(table, year, version, folder) for year, (version, folder) in versions.items()]
    figures = list(dict.fromkeys(columns))
    while True:
        _fill(connection, years, [_SYMBOL, _DATE, *figures])
        try:
            return _gathered(years, figures, symbols, first, last)
        except _UnreadableError as error:
            _log.info("%s is read anew from the database: %s", error.file, error)
            error.year.is_distrusted = True


def _is_wide(symbols: Sequence[str] | None, first: dt.date | None, last: dt.date | None) -> bool:
    if symbols is not None and len(symbols) <= _FEW_SYMBOLS:
        return False
    return first is None or (last or dt.date.max) - first > _SHORT


# --- versions -------------------------------------------------------------------------------------------------------

# Loads that stored rows, or calculations: from which day to which (NULL: any), and what no other one is called.
_CHANGES = {
    "ohlcv_daily": "SELECT first_day, last_day, concat_ws(' ', id, finished_at) FROM load_files "
    "WHERE target = 'ohlcv_daily' AND inserted + updated > 0",
    "calculated_metrics": "SELECT CASE WHEN deleted = 0 THEN first_day END, last_day, concat_ws(' ', id, created_at) "
    "FROM calculations WHERE inserted + updated + deleted > 0",
}

# A row of a catalogue that was altered has another xmin; statistics and VACUUM leave it as it is.
_DEFINITION = """
SELECT c.oid, d.oid AS database, concat_ws(' ', c.xmin,
    (SELECT string_agg(concat_ws(' ', attnum, attname, xmin), ',' ORDER BY attnum)
     FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0),
    (SELECT string_agg(concat_ws(' ', tgname, tgenabled, xmin), ',' ORDER BY tgname)
     FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal)) AS definition
FROM pg_class c JOIN pg_database d ON d.datname = current_database()
WHERE c.oid = to_regclass(:table) AND c.relkind = 'r' AND NOT c.relhassubclass AND NOT c.relrowsecurity
    AND has_function_privilege('pg_control_system()', 'EXECUTE')
    AND (SELECT bool_and(has_table_privilege(to_regclass(name), 'SELECT') IS TRUE)
         FROM unnest(ARRAY[:table, 'load_files', 'calculations', 'outside_writes']) name)
    AND EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = c.relname || '_outside_writes'
                AND t.tgenabled = 'A')
"""

_OF_YEARS = """
WITH RECURSIVE begins (day) AS (
    SELECT min(date) FROM {table} WHERE date >= :first
    UNION ALL
    SELECT (SELECT min(date) FROM {table} WHERE date >= make_date(extract(year FROM day)::integer + 1, 1, 1))
    FROM begins WHERE day IS NOT NULL
), changes (first_day, last_day, name) AS MATERIALIZED ({changes})
SELECT (SELECT system_identifier FROM pg_control_system()),
    (SELECT concat_ws(' ', count(*), sum(id), max(id), max(created_at)) FROM outside_writes WHERE table_name = :table),
    extract(year FROM day)::integer AS year,
    (SELECT md5(string_agg(name, ',' ORDER BY name)) FROM changes
     WHERE coalesce(first_day < date_trunc('year', day) + interval '1 year'
                    AND last_day >= date_trunc('year', day), true))
FROM begins WHERE day <= :last ORDER BY year
"""


def _versions(
    connection: Connection, table: str, first: dt.date | None, last: dt.date | None
) -> dict[int, tuple[str, Path]] | None:
    """The version and the folder of each year that has rows; None where there is no proof of what they hold."""
    found = connection.execute(text(_DEFINITION), {"table": table}).one_or_none()
    if found is None:
        return None
    years = connection.execute(
        text(_OF_YEARS.format(table=table, changes=_CHANGES[table])),
        {
            "table": table,
            "first": first.replace(month=1, day=1) if first else dt.date.min,
            "last": last or dt.date.max,
        },
    ).all()
    versions = {}
    for server, outside_writes, year, changes in years:
        parts = (_LAYOUT, server, found.database, found.oid, found.definition, outside_writes, year, changes)
        version = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
        home = settings().home / "cache" / f"{server}-{found.database}" / f"{table}-{found.oid}"
        versions[year] = version, home / f"{year}-{version}"
    return versions


def _remove_others(folders: set[Path]) -> None:
    """Remove what nobody can find any more: other versions of these years, and tables of this name that are gone.

    Whoever is reading them meanwhile reads on, or finds them gone and asks the database.
    """
    of_table = next(iter(folders)).parent
    table = of_table.name.rpartition("-")[0]
    old = [each for folder in folders for each in of_table.glob(f"{folder.name.partition('-')[0]}-*")]
    gone = list(of_table.parent.glob(f"{table}-*"))
    for folder in {*old, *gone} - {*folders, of_table}:
        shutil.rmtree(folder, ignore_errors=True)


# --- files ----------------------------------------------------------------------------------------------------------


class _UnreadableError(Exception):
    """A file of the cache cannot be used."""

    def __init__(self, year: _Year, name: str, why: str) -> None:
        super().__init__(why)
        self.year, self.name, self.file = year, name, year.file(name)


@dataclass
class _Year:
    """One year of a table: files, and in memory what could not be written."""

    table: str
    year: int
    version: str
    folder: Path
    held: dict[str, pa.Table] = field(default_factory=dict)
    refusal: OSError | None = None
    is_distrusted: bool = False  # one of the files was not what it should be: none of them is taken at its word

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"

    def missing(self, wanted: Sequence[str]) -> list[str]:
        """What there is no good file of, and what is not held either."""
        return [name for name in wanted if name not in self.held and (self.is_distrusted or not self.is_there(name))]

    def is_there(self, name: str) -> bool:
        """Whether there is a file of this name, in a folder that we may look into."""
        try:
            return self.file(name).is_file()
        except OSError:
            return False

    def found(self, connection: Connection, missing: Sequence[str]) -> pa.Table:
        """The year's rows in the database."""
        days = f"date BETWEEN '{self.year:04}-01-01' AND '{self.year:04}-12-31'"
        return _found(connection, self.table, _figures(missing), days)

    def keep(self, missing: Sequence[str], found: pa.Table) -> bool:
        """Write what was missing, and hold what cannot be written; whether any of it was."""
        rows = _sorted(found, _figures(missing))
        columns: dict[str, Any] = {_DATE: pa.array(rows.days).cast(pa.date32()), **rows.columns}
        wrote = False
        for name in missing:
            if name == _SYMBOL:
                number = np.bincount(rows.codes, minlength=len(rows.symbols))
                table = pa.table({_SYMBOL: pa.array(rows.symbols, pa.string()), "rows": number})
            else:
                table = pa.table({name: columns[name]})
            table = table.replace_schema_metadata({_MARK: self.mark(name)})
            if self.refusal is None:
                try:
                    self.write(name, table)
                    wrote = True
                except OSError as error:
                    self.refusal = error
            if self.refusal is not None or self.is_distrusted:  # a disk that gave back other bytes may do so again
                self.held[name] = table
        return wrote

    def mark(self, name: str) -> str:
        """What a file says that it is."""
        return f"{self.version} {name}"

    def write(self, name: str, table: pa.Table) -> None:
        """Make a file, all of it or none."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=f".{name}-", delete=False) as to:
            try:
                pq.write_table(
                    table,
                    to,
                    row_group_size=max(1, len(table)),
                    compression="none",
                    use_dictionary=False,
                    write_statistics=False,
                    write_page_checksum=True,
                )
                to.close()  # what the disk has no room for shows here at the latest
                Path(to.name).replace(self.file(name))
            except BaseException:
                Path(to.name).unlink(missing_ok=True)
                raise

    def read(self, name: str) -> pa.Table:
        """What a file holds. Raises _UnreadableError where it is missing, damaged, or another one than it should be."""
        if name in self.held:
            return self.held[name]
        try:
            file = pq.ParquetFile(self.file(name), memory_map=True, page_checksum_verification=True)
            with file:
                schema = file.schema_arrow
                if (schema.metadata or {}).get(_MARK) != self.mark(name).encode() or schema != _schema(name):
                    raise _UnreadableError(self, name, "it is not what its name says")
                return file.read(use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise _UnreadableError(self, name, str(error)) from error

    def array(self, name: str, rows: int) -> np.ndarray[Any, Any]:
        """A column of so many rows; days as numbers since 1970."""
        column = self.read(name)[name]
        if len(column) != rows:
            raise _UnreadableError(self, name, f"it holds {len(column)} rows, not {rows}")
        column = column.cast(pa.int32()) if name == _DATE else column
        return column.to_numpy()  # type: ignore[no-any-return]


def _schema(name: str) -> pa.Schema:
    if name == _SYMBOL:
        return pa.schema({_SYMBOL: pa.string(), "rows": pa.int64()})
    return pa.schema({name: pa.date32() if name == _DATE else pa.float64()})


def _figures(names: Sequence[str]) -> list[str]:
    return [name for name in names if name not in _KEY]


def _fill(connection: Connection, years: list[_Year], wanted: Sequence[str]) -> None:
    """Read from the database what is missing; one year is written while the next is read."""
    kept: list[Future[bool]] = []
    with ThreadPoolExecutor(1) as writer:
        for year in years:
            if missing := year.missing(wanted):
                found = year.found(connection, missing)
                if kept:
                    kept[-1].result()  # no more than one year waits
                kept.append(writer.submit(year.keep, missing, found))
                del found
    if any(each.result() for each in kept):
        _remove_others({year.folder for year in years})
    refused = next((year for year in years if year.refusal is not None), None)
    if refused is not None:
        _log.warning("what was read is not kept in %s: %s", refused.folder.parent, refused.refusal)


# --- years into one -------------------------------------------------------------------------------------------------


def _gathered(
    years: list[_Year],
    columns: list[str],
    symbols: Sequence[str] | None,
    first: dt.date | None,
    last: dt.date | None,
) -> Rows:
    """The years' rows by symbol and date: in each year a symbol's rows are one run, and whole runs are copied."""
    parts = [_part(year, first, last) for year in years]
    asked = set(symbols) if symbols is not None else None
    names = sorted(
        {
            name
            for part in parts
            for name, rows in zip(part.symbols, part.rows.tolist(), strict=True)
            if rows and (asked is None or name in asked)
        }
    )
    place = {name: code for code, name in enumerate(names)}
    codes = [np.array([place.get(name, -1) for name in part.symbols], np.int64) for part in parts]
    counts = np.zeros((len(names), len(parts)), np.int64)
    for number, (part, code) in enumerate(zip(parts, codes, strict=True)):
        counts[code[code >= 0], number] = part.rows[code >= 0]
    ends = np.cumsum(counts).reshape(counts.shape)
    runs = [
        _runs(part.rows, code, ends[:, number] - counts[:, number])
        for number, (part, code) in enumerate(zip(parts, codes, strict=True))
    ]

    def gather(name: str) -> np.ndarray[Any, Any]:
        out = np.empty(int(counts.sum()), np.int32 if name == _DATE else np.float64)
        for part, of_part in zip(parts, runs, strict=True):  # one year of a column at a time is in memory twice
            column = part.array(name)
            for start, end, to in of_part:
                out[to : to + end - start] = column[start:end]
        return out

    with ThreadPoolExecutor(_THREADS) as pool:
        days, *gathered = pool.map(gather, [_DATE, *columns])
    return Rows(
        symbols=names,
        codes=np.repeat(np.arange(len(names), dtype=np.int32), counts.sum(axis=1)),
        days=days,
        columns=dict(zip(columns, gathered, strict=True)),
    )


def _runs(rows: np.ndarray[Any, Any], codes: np.ndarray[Any, Any], to: np.ndarray[Any, Any]) -> list[tuple[int, ...]]:
    """Of one year's symbols that are asked for (code ≥ 0): where its rows begin and end, and where they go."""
    ends = np.cumsum(rows)
    asked = np.flatnonzero((codes >= 0) & (rows > 0))
    places = (ends - rows)[asked], ends[asked], to[codes[asked]]
    return list(zip(*(each.tolist() for each in places), strict=True))


@dataclass(frozen=True)
class _Part:
    """Of one year the rows between two days: each symbol's number of them, in order, and how to get a column."""

    symbols: list[str]
    rows: np.ndarray[Any, np.dtype[np.int64]]
    array: Callable[[str], np.ndarray[Any, Any]]


def _part(year: _Year, first: dt.date | None, last: dt.date | None) -> _Part:
    table = year.read(_SYMBOL)
    symbols, rows = table["symbol"].to_pylist(), table["rows"].to_numpy()
    total = int(rows.sum())
    whole = (first is None or first <= dt.date(year.year, 1, 1)) and (
        last is None or last >= dt.date(year.year, 12, 31)
    )
    if whole:
        return _Part(symbols, rows, lambda name: year.array(name, total))
    days = year.array(_DATE, total)
    within = np.ones(total, bool)
    if first is not None:
        within &= days >= (first - _EPOCH).days
    if last is not None:
        within &= days <= (last - _EPOCH).days
    code = np.repeat(np.arange(len(symbols)), rows)
    rows = np.bincount(code[within], minlength=len(symbols))
    return _Part(symbols, rows, lambda name: year.array(name, total)[within])
