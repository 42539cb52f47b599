"""Bulk loading: COPY into a staging table of the target's own types, then set-based merges that count themselves.

Every function answers with what the database counted. Rows that must not be stored leave the staging table
first; each such step says which lines of which file they came from: a Place.
"""

from __future__ import annotations

import datetime as dt
import io
import os
import re
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv
from sqlalchemy import CheckConstraint, Connection, Table, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

__all__ = [
    "NULL",
    "Counts",
    "Place",
    "Stage",
    "copy_in",
    "copy_rows",
    "decimals",
    "indexes_built_last",
    "insert_missing_copies",
    "merge_by_key",
    "rows_where",
    "stored_rows",
    "taken_ids",
]

STAGE = "stage"
#: Stands for null among whole numbers of 64 bits.
NULL = np.iinfo(np.int64).min
_LOCK_PATIENCE = "50ms"
_TEXT = 1 << 21  # bytes that are parsed at once
_BUFFER = 1 << 20
_ROWS = 2_500  # that are written at once
_MEMORY = "256MB"  # of the server, for a million rows to be merged
_ON_ITS_WAY = 1 << 22  # bytes between us and the server; the system allows less, or more
_FEW_DAYS = 400  # so many can be named one by one


@dataclass(frozen=True)
class Counts:
    """File rows by what became of them."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(self.inserted + other.inserted, self.updated + other.updated, self.unchanged + other.unchanged)


class Place(NamedTuple):
    """Where a staged row came from: the number of its file in the transaction, and its line."""

    file: int
    line: int


def sql_name(kind: TypeEngine[Any]) -> str:
    """A column type as PostgreSQL writes it."""
    return str(kind.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def _copy(connection: Connection, statement: str, buffer: _Pieces | io.BufferedWriter[_Tables]) -> int:
    """Run a COPY from or into memory; the rows that went through.

    Where a session ends in the middle, the driver meets two errors, the server's last word and the dead line: it
    prints the first one through sys.excepthook and raises the second. Here it prints nothing, and the first is raised.
    """
    cursor = connection.connection.cursor()
    last_words: list[psycopg2.Error] = []
    usual = sys.excepthook

    def keep(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, SystemError) and isinstance(error.__cause__, psycopg2.Error):
            last_words.append(error.__cause__)
        else:
            usual(kind, error, trace)

    sys.excepthook = keep
    try:
        cursor.copy_expert(statement, buffer, size=1 << 16)
        return int(cursor.rowcount)
    except psycopg2.Error as dead_line:
        if last_words:
            raise last_words[0] from dead_line
        raise
    finally:
        sys.excepthook = usual
        cursor.close()


def copy_in(connection: Connection, statement: str, pieces: Iterable[bytes | pa.Buffer]) -> int:
    """COPY from pieces, each made when the one before is on its way. The rows that the server took."""
    # while this process does other work, the server goes on with what is on its way: more than the usual 200 kB
    with socket.socket(fileno=os.dup(connection.connection.driver_connection.fileno())) as ours:  # type: ignore[union-attr]
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ON_ITS_WAY)
    return _copy(connection, statement, _Pieces(pieces))


class _Pieces:
    """Pieces as the file that a COPY reads."""

    def __init__(self, pieces: Iterable[bytes | pa.Buffer]) -> None:
        self._pieces = iter(pieces)
        self._piece = pa.BufferReader(b"")

    def read(self, size: int) -> bytes:
        """The next bytes; none at the end."""
        while not (found := self._piece.read(size)):
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._piece = pa.BufferReader(piece)
        return found  # type: ignore[no-any-return]


def copy_rows(connection: Connection, table: str, columns: dict[str, pa.Array]) -> int:
    """COPY columns into a table: null is NULL, an empty string is an empty string. The rows that it took."""
    names = ", ".join(f'"{name}"' for name in columns)
    return copy_in(connection, f"COPY {table} ({names}) FROM STDIN WITH (FORMAT csv)", _as_csv(pa.table(columns)))


def _as_csv(table: pa.Table) -> Iterator[pa.Buffer]:
    for batch in table.to_batches(max_chunksize=_ROWS):
        text = pa.BufferOutputStream()
        arrow_csv.write_csv(batch, text, arrow_csv.WriteOptions(include_header=False))
        yield text.getvalue()


def decimals(units: np.ndarray[Any, np.dtype[np.int64]], scale: int) -> pa.Array:
    """Units of 10^-scale (NULL is null) as decimal numbers, without a loop: the low half of 128 bits, and its sign."""
    halves = np.empty((len(units), 2), np.int64)
    halves[:, 0] = np.where(units == NULL, 0, units)
    halves[:, 1] = halves[:, 0] >> 63
    whole = pa.Array.from_buffers(pa.decimal128(38, scale), len(units), [None, pa.py_buffer(halves)])
    return pc.if_else(pa.array(units == NULL), None, whole)


def stored_rows(
    connection: Connection, table: str, columns: dict[str, pa.DataType], days: Iterable[dt.date]
) -> pa.Table:
    """All rows of some days, as Arrow types."""
    listed = ", ".join(f"'{day}'" for day in days)
    return rows_where(connection, table, columns, f"date IN ({listed})")


def rows_where(
    connection: Connection, table: str, columns: dict[str, pa.DataType], condition: str, values: Sequence[Any] = ()
) -> pa.Table:
    """The rows of a table that satisfy a condition, as Arrow types: COPY out costs a fraction of rows in Python.

    `values` take the places of the condition's %s. For columns without line ends.
    """
    selected = f"SELECT {', '.join(columns)} FROM {table} WHERE "
    with closing(connection.connection.cursor()) as cursor:
        selected += cursor.mogrify(condition, values).decode() if values else condition
    with ThreadPoolExecutor(1) as parser:
        tables = _Tables(columns, parser)
        with io.BufferedWriter(tables, _BUFFER) as buffer:  # each row is written by itself
            _copy(connection, f"COPY ({selected}) TO STDOUT WITH (FORMAT csv)", buffer)
        return tables.joined()


class _Tables(io.RawIOBase):
    """Takes the text of a COPY and makes tables of it as it comes: the text is never there as a whole.

    One piece is parsed while the server writes the next.
    """

    def __init__(self, columns: dict[str, pa.DataType], parser: Executor) -> None:
        self._columns = columns
        self._parser = parser
        self._text = bytearray()
        self._tables: list[Future[pa.Table]] = []

    def writable(self) -> bool:
        return True

    def write(self, text: Any, /) -> int:
        self._text += text
        if len(self._text) > _TEXT:
            end = self._text.rfind(b"\n") + 1
            if self._tables:
                self._tables[-1].result()  # no more than one piece waits
            self._tables.append(self._parser.submit(self._parsed, bytes(self._text[:end])))
            del self._text[:end]
        return memoryview(text).nbytes

    def joined(self) -> pa.Table:
        tables = [pa.table({name: pa.array([], kind) for name, kind in self._columns.items()})]
        tables += [table.result() for table in self._tables]
        if self._text:
            tables.append(self._parsed(bytes(self._text)))
        return pa.concat_tables(tables).unify_dictionaries()

    def _parsed(self, text: bytes) -> pa.Table:
        return arrow_csv.read_csv(
            pa.BufferReader(text),
            arrow_csv.ReadOptions(column_names=list(self._columns), use_threads=False),
            convert_options=arrow_csv.ConvertOptions(
                column_types=self._columns, null_values=[""], strings_can_be_null=False
            ),
        )


@contextmanager
def indexes_built_last(connection: Connection, table: str) -> Iterator[bool]:
    """Fill an empty table first and build its indexes afterwards: a third of the time.

    Within the transaction, so that nobody ever sees the table without them; its rows bring `taken_ids`. Yields False,
    and leaves all as it is, where the table holds rows, somebody is reading it, or it is not ours to alter.
    """
    definitions: list[tuple[str, str, str]] = []
    with connection.begin_nested() as savepoint:
        try:
            # readers never wait behind a load that waits for a reader
            usual = connection.execute(text("SELECT current_setting('lock_timeout')")).scalar_one()
            connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_PATIENCE}'"))
            connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
            empty = connection.execute(text(f"SELECT NOT EXISTS (SELECT FROM {table})")).scalar_one()
            ours = empty and _ids_are_kept(connection, table)
            connection.execute(text("SELECT set_config('lock_timeout', :usual, true)"), {"usual": usual})
            if ours:
                # a file of its own: what goes into it needs no WAL where the server keeps the least of it
                connection.execute(text(f"TRUNCATE {table}"))
                definitions = _dropped_indexes(connection, table)
            else:
                savepoint.rollback()
        except DBAPIError:
            if connection.invalidated:
                raise
            savepoint.rollback()
            definitions = []
    yield bool(definitions)
    for _, _, create in definitions:
        connection.execute(text(create))


def _ids_are_kept(connection: Connection, table: str) -> bool:
    """Keep everybody else from the sequence of a table's ids until the transaction ends; False where it has none."""
    found = connection.execute(
        text(
            "SELECT seqrelid::regclass::text, seqcache FROM pg_sequence "
            f"WHERE seqrelid = CAST(pg_get_serial_sequence('{table}', 'id') AS regclass)"
        )
    ).one_or_none()
    if found is None:
        return False
    # LOCK takes no sequence; an alteration, even to what it is, takes the lock that nextval() waits for
    connection.execute(text(f"ALTER SEQUENCE {found[0]} CACHE {found[1]}"))
    return True


def taken_ids(connection: Connection, table: str, number: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The next ids of a table, all at once: to number row by row takes the server a tenth of a COPY.

    Only within `indexes_built_last` where it yields True: then nobody else takes any.
    """
    first = connection.execute(
        text(
            "SELECT setval(sequence, first + :number - 1) - :number + 1 FROM (SELECT sequence, nextval(sequence) AS "
            f"first FROM CAST(pg_get_serial_sequence('{table}', 'id') AS regclass) AS sequence) taken"
        ),
        {"number": number},
    ).scalar_one()
    return np.arange(first, first + number)


def _dropped_indexes(connection: Connection, table: str) -> list[tuple[str, str, str]]:
    """Drop the indexes and unique keys of a table; (name, how to drop, how to make again) of each."""
    found = connection.execute(
        text(
            "SELECT i.indexrelid::regclass::text, "
            f"CASE WHEN c.oid IS NULL THEN 'DROP INDEX ' || i.indexrelid::regclass "
            f"ELSE 'ALTER TABLE {table} DROP CONSTRAINT ' || quote_ident(c.conname) END, "
            "CASE WHEN c.oid IS NULL THEN pg_get_indexdef(i.indexrelid) "
            f"ELSE 'ALTER TABLE {table} ADD CONSTRAINT ' || quote_ident(c.conname) || ' ' || "
            "pg_get_constraintdef(c.oid) END "
            "FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x') "
            f"WHERE i.indrelid = '{table}'::regclass ORDER BY 1"
        )
    ).all()
    for _, drop, _ in found:
        connection.execute(text(drop))
    return [(name, drop, create) for name, drop, create in found]


class Stage:
    """The staging table of one load: temporary, gone with the transaction, one row per row to be stored."""

    def __init__(self, connection: Connection, target: Table) -> None:
        """For rows on their way to `target`."""
        self.connection = connection
        self.target = target
        self.columns: set[str] = set()
        self.rows = 0
        self.repeats = False
        self.days = "true"

    def create(self, types: dict[str, str], derived: dict[str, str]) -> None:
        """Make the table: typed columns, and columns that the database computes."""
        self.columns = set(types)
        columns = ["file integer NOT NULL", "line integer NOT NULL"]
        for name, kind in types.items():
            if name in derived:
                columns.append(f'"{name}" {kind} GENERATED ALWAYS AS ({derived[name]}) STORED')
            else:
                columns.append(f'"{name}" {kind}')
        self.run(f"CREATE TEMPORARY TABLE {STAGE} ({', '.join(columns)}) ON COMMIT DROP")

    def run(self, sql: str, **values: Any) -> int:
        """Run a statement; the number of rows that it touched."""
        return self.connection.execute(text(sql), values).rowcount

    def one(self, sql: str, **values: Any) -> Sequence[Any]:
        """Run a statement that returns one row."""
        return self.connection.execute(text(sql), values).one()

    def places(self, sql: str, **values: Any) -> list[Place]:
        """Run a statement that returns the file and line of rows."""
        return [Place(*found) for found in self.connection.execute(text(sql), values)]

    def by_file(self, sql: str, **values: Any) -> dict[int, int]:
        """Run a statement that returns file numbers, once per row or line; how many of each, as the database counts."""
        found = self.connection.execute(text(sql), values)
        return {file: count for file, count in found}  # noqa: C416 - a Row is no pair to the type checker

    def analyze(self, key: Sequence[str]) -> None:
        """Let the planner know how many rows there are (a temporary table has no statistics), and give them room."""
        self.run(f"ANALYZE {STAGE} ({', '.join(key)})")
        self.run(f"SET LOCAL work_mem = '{_MEMORY}'")

    def survey(self, key: Sequence[str]) -> None:
        """Look at what is there: `rows`, whether a key `repeats`, and `days`, a condition on stored rows `t`.

        The condition names the days: without it, a file of one day would be compared with all of history.
        """
        day = "date" if "date" in key else "NULL::date"
        self.rows, most, days = self.connection.execute(
            text(
                "SELECT coalesce(sum(copies), 0)::bigint, coalesce(max(copies), 0), array_agg(DISTINCT day) FROM "
                f"(SELECT {day} AS day, count(*) AS copies FROM {STAGE} GROUP BY {', '.join(key)}) keys"
            )
        ).one()
        self.repeats = most > 1
        self.days = "true"
        if days and days[0] is not None:
            named = ", ".join(f"'{day}'" for day in days)
            self.days = (
                f"t.date IN ({named})" if len(days) <= _FEW_DAYS else f"t.date BETWEEN '{days[0]}' AND '{days[-1]}'"
            )

    # --- rows that leave before the merge ---------------------------------------------------------------------------

    def take_broken(self) -> list[tuple[Place, str]]:
        """Remove the rows that break a CHECK of the target; (place, the check's name) of each, first check first."""
        checks = {
            str(check.name): f"NOT ({check.sqltext})"
            for check in sorted(self.target.constraints, key=lambda constraint: str(constraint.name))
            if isinstance(check, CheckConstraint) and _columns_of(check, self.target) <= self.columns
        }
        if not checks:
            return []
        first = " ".join(f"WHEN {broken} THEN '{name}'" for name, broken in checks.items())
        found = self.connection.execute(
            text(f"DELETE FROM {STAGE} WHERE {' OR '.join(checks.values())} RETURNING file, line, CASE {first} END")
        )
        return [(Place(file, line), name) for file, line, name in found]

    def take_unknown_symbols(self, column: str) -> list[tuple[Place, str]]:
        """Remove the rows whose symbol is in no list; (place, symbol) of each."""
        found = self.connection.execute(
            text(
                f"DELETE FROM {STAGE} s WHERE NOT EXISTS (SELECT FROM securities t WHERE t.symbol = s.{column}) "
                f"RETURNING file, line, s.{column}"
            )
        )
        return [(Place(file, line), symbol) for file, line, symbol in found]

    def take_less_preferred(self, key: Sequence[str], preference: str) -> list[Place]:
        """Of several rows with one key, remove those that rank behind another one."""
        keys = ", ".join(key)
        return self.places(
            f"DELETE FROM {STAGE} WHERE ctid IN (SELECT ctid FROM (SELECT ctid, {preference} AS rank, "
            f"min({preference}) OVER (PARTITION BY {keys}) AS best FROM {STAGE}) ranked WHERE rank > best) "
            "RETURNING file, line"
        )

    def take_repeated(self, key: Sequence[str], columns: Sequence[str]) -> tuple[list[Place], list[tuple[Place, int]]]:
        """Of several rows with one key, keep the first.

        Returns the places that say the same again, and (place, first line) of those that contradict the first.
        """
        keys = ", ".join(key)
        same = ", ".join(columns)
        found = self.connection.execute(
            text(
                f"WITH numbered AS (SELECT ctid AS place, line, row_number() OVER ordered AS number, "
                f"first_value(line) OVER ordered AS first, first_value(ROW({same})) OVER ordered IS DISTINCT FROM "
                f"ROW({same}) AS differs FROM {STAGE} WINDOW ordered AS (PARTITION BY {keys} ORDER BY line)) "
                f"DELETE FROM {STAGE} s USING numbered n WHERE s.ctid = n.place AND n.number > 1 "
                "RETURNING s.file, s.line, n.first, n.differs"
            )
        ).all()
        return (
            [Place(file, line) for file, line, _, differs in found if not differs],
            [(Place(file, line), first) for file, line, first, differs in found if differs],
        )

    def take_outranked(self, key: Sequence[str], condition: str) -> list[Place]:
        """Remove the rows whose stored row is from a better source."""
        return self.places(
            f"DELETE FROM {STAGE} s USING {self.target.name} t WHERE {_same(key)} AND {self.days} "
            f"AND {condition} RETURNING s.file, s.line"
        )


def _columns_of(check: CheckConstraint, target: Table) -> set[str]:
    """The columns that a check, written as text, speaks of."""
    words = set(re.findall(r"\w+", str(check.sqltext)))
    return {column.name for column in target.columns if column.name in words}


def _same(key: Iterable[str]) -> str:
    return " AND ".join(f"t.{name} = s.{name}" for name in key)


# --- merges ---------------------------------------------------------------------------------------------------------


def merge_by_key(
    stage: Stage,
    key: Sequence[str],
    columns: Sequence[str],
    *,
    outranked_if: str | None = None,
    fills: Sequence[str] = (),
    worded: Sequence[str] = (),
    many_per_line: bool = False,
) -> dict[int, Counts]:
    """Store one row per key: update what differs, insert what is new. Counts by file. The stage has been surveyed.

    `columns` are all that the file fills. Where the stored row `t` satisfies `outranked_if`, only `fills` of it
    are updated. Of rows that differ in nothing but `worded` columns, the one that sorts first is kept, in whatever
    order they come. `many_per_line`: one line of the file made several rows; then lines are counted, not rows, and a
    line counts as inserted if any of its rows is new.
    """
    target = stage.target.name
    line = "DISTINCT line" if many_per_line else "*"
    unless_new = (
        " WHERE NOT EXISTS (SELECT FROM fresh f WHERE (f.file, f.line) = (c.file, c.line))" if many_per_line else ""
    )
    match = f"{_same(key)} AND {stage.days}"
    data = [name for name in columns if name not in key]
    told = [name for name in data if name not in worded]
    better = "".join(f' OR s.{name} COLLATE "C" < t.{name} COLLATE "C"' for name in worded)
    new = {
        name: f"CASE WHEN {outranked_if} THEN t.{name} ELSE s.{name} END"
        if outranked_if and name not in fills
        else f"s.{name}"
        for name in data
    }
    total = stage.by_file(f"SELECT file, count({line}) FROM {STAGE} GROUP BY file")
    names = ", ".join(columns)
    change = (
        f"UPDATE {target} t SET {', '.join(f'{name} = {value}' for name, value in new.items())} FROM {STAGE} s "
        f"WHERE {match} AND (({', '.join(f't.{name}' for name in told)}) "
        f"IS DISTINCT FROM ({', '.join(new[name] for name in told)}){better}) "
        "RETURNING s.file, s.line"
        if told
        else f"SELECT file, line FROM {STAGE} WHERE false"
    )
    # one statement, since an INSERT cannot return the staging table's columns; both parts see what was there before
    done = stage.connection.execute(
        text(
            f"WITH fresh AS MATERIALIZED "
            f"(SELECT s.* FROM {STAGE} s WHERE NOT EXISTS (SELECT FROM {target} t WHERE {match})), "
            f"changed AS ({change}), "
            f"stored AS (INSERT INTO {target} ({names}) SELECT {names} FROM fresh ORDER BY file, line) "
            f"SELECT file, count({line}), 0 FROM fresh GROUP BY file UNION ALL "
            f"SELECT file, 0, count({line}) FROM changed c{unless_new} GROUP BY file"
        )
    )
    counts = {file: Counts(unchanged=rows) for file, rows in total.items()}
    for file, inserted, updated in done:
        counts[file] += Counts(inserted, updated, -inserted - updated)
    return counts


def insert_missing_copies(stage: Stage, key: Sequence[str], columns: Sequence[str]) -> dict[int, Counts]:
    """Store as many identical rows as a file holds, and none that is already there: a re-load changes nothing.

    Counts by file; files of one transaction share no key.
    """
    target = stage.target.name
    keys, names = ", ".join(key), ", ".join(columns)
    total = stage.by_file(f"SELECT file, count(*) FROM {STAGE} GROUP BY file")
    inserted = stage.by_file(
        f"WITH numbered AS (SELECT *, row_number() OVER (PARTITION BY {keys} ORDER BY line) AS copy FROM {STAGE}), "
        f"stored AS (SELECT {keys}, count(*) AS copies FROM {target} t WHERE {stage.days} GROUP BY {keys}), "
        f"missing AS MATERIALIZED (SELECT s.* FROM numbered s LEFT JOIN stored t ON {_same(key)} "
        "WHERE s.copy > coalesce(t.copies, 0)), "
        f"done AS (INSERT INTO {target} ({names}) SELECT {names} FROM missing ORDER BY file, line) "
        "SELECT file, count(*) FROM missing GROUP BY file"
    )
    return {
        file: Counts(inserted=inserted.get(file, 0), unchanged=rows - inserted.get(file, 0))
        for file, rows in total.items()
    }
