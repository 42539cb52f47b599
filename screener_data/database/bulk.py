"""Bulk loading: COPY into a staging table of the target's own types, then set-based merges that count themselves.

Every function answers with what the database counted. Rows that must not be stored leave the staging table
first; each such step says which lines of the file they came from.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import csv as arrow_csv
from sqlalchemy import CheckConstraint, Connection, Table, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

__all__ = ["Counts", "Merged", "Stage", "copy_rows", "insert_missing_copies", "merge_by_key"]

STAGE = "stage"


@dataclass(frozen=True)
class Counts:
    """File rows by what became of them."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(frozen=True)
class Merged:
    """What a merge did, in file rows."""

    counts: Counts
    notes: dict[str, Any]


def sql_name(kind: TypeEngine[Any]) -> str:
    """A column type as PostgreSQL writes it."""
    return str(kind.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def copy_rows(connection: Connection, table: str, columns: dict[str, pa.Array]) -> None:
    """COPY columns of text into a table: null is NULL, an empty string is an empty string."""
    arrays = pa.table(columns)
    names = ", ".join(f'"{name}"' for name in columns)
    buffer = io.BytesIO()
    arrow_csv.write_csv(arrays, buffer, arrow_csv.WriteOptions(include_header=False, quoting_style="all_valid"))
    buffer.seek(0)
    cursor = connection.connection.cursor()
    try:
        cursor.copy_expert(f"COPY {table} ({names}) FROM STDIN WITH (FORMAT csv)", buffer)
    finally:
        cursor.close()


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

    def create(self, types: dict[str, str], defaults: dict[str, str], derived: dict[str, str]) -> None:
        """Make the table: typed columns, constants as defaults, and columns that the database computes."""
        self.columns = set(types)
        columns = ["line integer NOT NULL"]
        for name, kind in types.items():
            if name in derived:
                columns.append(f'"{name}" {kind} GENERATED ALWAYS AS ({derived[name]}) STORED')
            elif name in defaults:
                columns.append(f'"{name}" {kind} DEFAULT {_quoted(defaults[name])}')
            else:
                columns.append(f'"{name}" {kind}')
        self.run(f"CREATE TEMPORARY TABLE {STAGE} ({', '.join(columns)}) ON COMMIT DROP")

    def run(self, sql: str, **values: Any) -> int:
        """Run a statement; the number of rows that it touched."""
        return self.connection.execute(text(sql), values).rowcount

    def lines(self, sql: str, **values: Any) -> list[int]:
        """Run a statement that returns lines of the file."""
        return list(self.connection.execute(text(sql), values).scalars())

    def analyze(self) -> None:
        """Let the planner know how many rows there are: a temporary table has no statistics of its own."""
        self.run(f"ANALYZE {STAGE}")

    def survey(self, key: Sequence[str]) -> None:
        """Look at what is there: `rows`, whether a key `repeats`, and `days`, a condition on stored rows `t`.

        The condition bounds the days: without it, a file of one day would be compared with all of history.
        """
        day = "date" if "date" in key else "NULL::date"
        self.rows, first, last, most = self.connection.execute(
            text(
                "SELECT coalesce(sum(copies), 0)::bigint, min(day), max(day), coalesce(max(copies), 0) FROM "
                f"(SELECT {day} AS day, count(*) AS copies FROM {STAGE} GROUP BY {', '.join(key)}) keys"
            )
        ).one()
        self.repeats = most > 1
        self.days = "true" if first is None else f"t.date BETWEEN '{first}' AND '{last}'"

    # --- rows that leave before the merge ---------------------------------------------------------------------------

    def take_broken(self) -> list[tuple[int, str]]:
        """Remove the rows that break a CHECK of the target; (line, the check's name) of each, first check first."""
        checks = {
            str(check.name): f"NOT ({check.sqltext})"
            for check in sorted(self.target.constraints, key=lambda constraint: str(constraint.name))
            if isinstance(check, CheckConstraint) and _columns_of(check, self.target) <= self.columns
        }
        if not checks:
            return []
        first = " ".join(f"WHEN {broken} THEN '{name}'" for name, broken in checks.items())
        found = self.connection.execute(
            text(f"DELETE FROM {STAGE} WHERE {' OR '.join(checks.values())} RETURNING line, CASE {first} END")
        )
        return [(line, name) for line, name in found]

    def take_unknown_symbols(self, column: str) -> list[tuple[int, str]]:
        """Remove the rows whose symbol is in no list; (line, symbol) of each."""
        found = self.connection.execute(
            text(
                f"DELETE FROM {STAGE} s WHERE NOT EXISTS (SELECT FROM securities t WHERE t.symbol = s.{column}) "
                f"RETURNING line, s.{column}"
            )
        )
        return [(line, symbol) for line, symbol in found]

    def take_less_preferred(self, key: Sequence[str], preference: str) -> list[int]:
        """Of several rows with one key, remove those that rank behind another one."""
        keys = ", ".join(key)
        return self.lines(
            f"DELETE FROM {STAGE} WHERE ctid IN (SELECT ctid FROM (SELECT ctid, {preference} AS rank, "
            f"min({preference}) OVER (PARTITION BY {keys}) AS best FROM {STAGE}) ranked WHERE rank > best) "
            "RETURNING line"
        )

    def take_repeated(self, key: Sequence[str], columns: Sequence[str]) -> tuple[list[int], list[tuple[int, int]]]:
        """Of several rows with one key, keep the first.

        Returns the lines that say the same again, and (line, first line) of those that contradict the first.
        """
        keys = ", ".join(key)
        same = ", ".join(columns)
        found = self.connection.execute(
            text(
                f"WITH numbered AS (SELECT ctid AS place, line, row_number() OVER ordered AS number, "
                f"first_value(line) OVER ordered AS first, first_value(ROW({same})) OVER ordered IS DISTINCT FROM "
                f"ROW({same}) AS differs FROM {STAGE} WINDOW ordered AS (PARTITION BY {keys} ORDER BY line)) "
                f"DELETE FROM {STAGE} s USING numbered n WHERE s.ctid = n.place AND n.number > 1 "
                "RETURNING s.line, n.first, n.differs"
            )
        ).all()
        return (
            [line for line, _, differs in found if not differs],
            [(line, first) for line, first, differs in found if differs],
        )

    def take_outranked(self, key: Sequence[str], condition: str) -> list[int]:
        """Remove the rows whose stored row is from a better source."""
        return self.lines(
            f"DELETE FROM {STAGE} s USING {self.target.name} t WHERE {_same(key)} AND {self.days} "
            f"AND {condition} RETURNING s.line"
        )


def _columns_of(check: CheckConstraint, target: Table) -> set[str]:
    """The columns that a check, written as text, speaks of."""
    words = set(re.findall(r"\w+", str(check.sqltext)))
    return {column.name for column in target.columns if column.name in words}


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''").replace("\\", "").replace(":", "\\:") + "'"  # \\: is no bound name to text()


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
    many_per_line: bool = False,
) -> Counts:
    """Store one row per key: update what differs, insert what is new. The stage has been surveyed.

    `columns` are all that the file fills. Where the stored row `t` satisfies `outranked_if`, only `fills` of it
    are updated. `many_per_line`: one line of the file made several rows; then lines are counted, not rows, and a
    line counts as inserted if any of its rows is new.
    """
    target = stage.target.name
    total = len(set(stage.lines(f"SELECT line FROM {STAGE}"))) if many_per_line else stage.rows
    match = f"{_same(key)} AND {stage.days}"
    data = [name for name in columns if name not in key]
    new = {
        name: f"CASE WHEN {outranked_if} THEN t.{name} ELSE s.{name} END"
        if outranked_if and name not in fills
        else f"s.{name}"
        for name in data
    }
    updated: list[int] = []
    if data:
        updated = stage.lines(
            f"UPDATE {target} t SET {', '.join(f'{name} = {value}' for name, value in new.items())} "
            f"FROM {STAGE} s WHERE {match} AND ({', '.join(f't.{name}' for name in data)}) "
            f"IS DISTINCT FROM ({', '.join(new.values())}) RETURNING s.line"
        )
    names = ", ".join(columns)
    # an INSERT cannot return the staging table's line, so the lines are noted first
    fresh = f"FROM {STAGE} s WHERE NOT EXISTS (SELECT FROM {target} t WHERE {match})"
    if not many_per_line:
        inserted = stage.run(f"INSERT INTO {target} ({names}) SELECT {names} {fresh}")
        return Counts(inserted, len(updated), total - inserted - len(updated))
    new_lines = set(stage.lines(f"SELECT line {fresh}"))
    stage.run(f"INSERT INTO {target} ({names}) SELECT {names} {fresh}")
    changed = set(updated) - new_lines
    return Counts(len(new_lines), len(changed), total - len(new_lines) - len(changed))


def insert_missing_copies(stage: Stage, key: Sequence[str], columns: Sequence[str]) -> Counts:
    """Store as many identical rows as the file holds, and none that is already there: a re-load changes nothing."""
    target = stage.target.name
    keys, names = ", ".join(key), ", ".join(columns)
    inserted = stage.run(
        f"WITH numbered AS (SELECT *, row_number() OVER (PARTITION BY {keys} ORDER BY line) AS copy FROM {STAGE}), "
        f"stored AS (SELECT {keys}, count(*) AS copies FROM {target} t WHERE {stage.days} GROUP BY {keys}) "
        f"INSERT INTO {target} ({names}) SELECT {', '.join(f's.{name}' for name in columns)} "
        f"FROM numbered s LEFT JOIN stored t ON {_same(key)} WHERE s.copy > coalesce(t.copies, 0) ORDER BY s.line"
    )
    return Counts(inserted=inserted, unchanged=stage.rows - inserted)
