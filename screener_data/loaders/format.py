"""The language in which an exchange file is declared: its columns, what of it is out of scope, where it goes."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import BigInteger, Date, Integer, Numeric, String, Text
from sqlalchemy.types import TypeEngine

from screener_data.errors import FileNameError, Reason
from screener_data.loaders.spelling import parse_day
from screener_data.models import Base

__all__ = ["Column", "Format", "Merge", "Ratio", "Skip", "fold", "number", "text", "trading_day", "whole"]

_NOT_LETTERS = re.compile(r"[^a-z0-9]+")


@lru_cache(maxsize=4096)
def fold(header: str) -> str:
    """A header cell as it is compared: the exchange adds blanks, changes case and drops punctuation freely."""
    return _NOT_LETTERS.sub("", header.casefold())


@dataclass(frozen=True)
class Column:
    """One column of a file: its header as printed, and the column it fills."""

    header: str
    to: str
    python: type
    required: bool = True
    #: Cells that mean "none" here, beside the empty one.
    nulls: tuple[str, ...] = ()
    #: A number must be "positive" or "nonnegative"; None: any.
    sign: str | None = None
    #: What a whole cell must match.
    pattern: str | None = None
    #: A whole cell that matches stands for something that is not there yet; its row is rejected as a placeholder.
    placeholder: str | None = None
    #: In upper case, whatever the file prints.
    upper: bool = False


def text(header: str, to: str, **more: Any) -> Column:
    """A column of text. `pattern=` declares what a whole cell must match."""
    return Column(header, to, str, **more)


def number(header: str, to: str, **more: Any) -> Column:
    """A column of decimal numbers: Indian grouping and `.17` are understood, the digits reach the server as printed."""
    return Column(header, to, float, **more)


def whole(header: str, to: str, **more: Any) -> Column:
    """A column of whole numbers: `154239.00` is one, `154239.5` is not."""
    return Column(header, to, int, **more)


def trading_day(header: str, to: str, **more: Any) -> Column:
    """A column of days in any of the exchange's spellings."""
    return Column(header, to, dt.date, **more)


#: For helper columns, which no table limits.
_WIDEST: dict[type, TypeEngine[Any]] = {str: Text(), float: Numeric(), int: BigInteger(), dt.date: Date()}


@dataclass(frozen=True)
class Skip:
    """Rows that are out of scope on purpose: those with such a cell, or (`unless`) with any other than such a cell."""

    reason: Reason
    column: str
    cells: frozenset[str | None] = frozenset()
    unless: bool = False


@dataclass(frozen=True)
class Ratio:
    """A column computed from others of the row: times · (of − less) ÷ to, rounded half away from zero as stored.

    NULL without a divisor, and where the result is not below `limit`, which is what the column holds.
    """

    of: str
    to: str
    limit: str
    less: str | None = None
    times: int = 1

    @property
    def sql(self) -> str:
        """As the database computes it."""
        above = f"({self.of} - {self.less})" if self.less else self.of
        ratio = (
            f"{self.times} * {above} / NULLIF({self.to}, 0)" if self.times != 1 else f"{above} / NULLIF({self.to}, 0)"
        )
        return f"CASE WHEN abs({ratio}) < {self.limit} THEN {ratio} END"


class Merge(Enum):
    """How rows meet those already stored."""

    BY_KEY = "one row per key; a changed row is updated"
    BY_COUNT = "no key: as many identical rows as the file holds"
    SECURITIES = "a complete list of some day; who is who is worked out of all lists"
    MEMBERS = "a complete list of some day; the target holds who is on it from when to when"


@dataclass(frozen=True, kw_only=True)
class Format:
    """One form of one source's files. Everything that the reader and the loader need to know of it."""

    source: str
    name: str
    #: Base names under which such files come (a regular expression, any case). Told apart by header first.
    files: str
    target: type[Base]
    columns: tuple[Column, ...]
    #: Headers that we know and do not store (regular expressions over the printed header).
    ignored: tuple[str, ...] = ()
    skips: tuple[Skip, ...] = ()
    key: tuple[str, ...] = ()
    merge: Merge = Merge.BY_KEY
    #: Columns of mere wording: a row that differs in nothing else from one of the same key says the same. Of several
    #: wordings the one that sorts first is stored, so that the order of loading does not matter.
    worded: tuple[str, ...] = ()
    #: Columns computed from the others, as a ratio or as SQL over columns of the file.
    derived: Mapping[str, str | Ratio] = field(default_factory=dict)
    #: SQL that ranks rows of one key within a file: the lowest is kept, higher ones are skipped.
    preference: str | None = None
    #: A condition on the stored row `t` under which it outranks this source; only `fills` are then updated.
    outranked_if: str | None = None
    fills: tuple[str, ...] = ()
    #: The column of the day whose names the file's symbols are; None: it names securities as they are called today.
    named_on: str | None = "date"
    #: The columns whose symbol must stand in securities.
    known_symbol: str | None = None
    #: A file without rows is a day without events, not an error.
    may_be_empty: bool = False
    has_header: bool = True
    #: The column that the file's name fills, with the name's expression (a group `day`, or `value`).
    from_name: tuple[str, str] | None = None
    #: What the name's value stands for, where it is a code: any other is an error.
    codes: Mapping[str, str] = field(default_factory=dict)
    #: JSON: flat records of a parsed document; None where the document is not of this format.
    records: Callable[[Any], list[dict[str, Any]] | None] | None = None
    #: One file row into several rows: yields (cells by target column) for a row of cells; a column that a row lacks
    #: is NULL. Raises RefusedRowError for a row that breaks a rule.
    explode: Callable[[Mapping[str, str | None]], list[dict[str, str]]] | None = None
    exploded: tuple[str, ...] = ()
    #: Why a row that yields none is skipped.
    explodes_to_none: Reason = Reason.NOT_FLAGGED
    #: Each row also registers what it names, e.g. an index: SQL with the staging table as {stage}.
    registers: str | None = None
    #: The list whose members a SECURITIES file states in full.
    list_name: str | None = None
    #: The column that names the list whose members a MEMBERS file states.
    of: str | None = None
    #: The rows tell of securities' other names.
    renames: bool = False
    #: Compares the file's own totals with its rows; a difference is noted.
    totals: Callable[[Mapping[str, list[str | None]]], str | None] | None = None

    @cached_property
    def by_header(self) -> dict[str, Column]:
        """Columns by their folded header."""
        return {fold(column.header): column for column in self.columns}

    @cached_property
    def _ignored(self) -> re.Pattern[str]:
        return re.compile("|".join(f"(?:{pattern})" for pattern in self.ignored) or r"(?!)", re.IGNORECASE)

    @cached_property
    def file_name(self) -> re.Pattern[str]:
        """The compiled `files`."""
        return re.compile(self.files, re.IGNORECASE)

    def missing_and_unknown(self, header: list[str]) -> tuple[list[str], list[str]]:
        """The declared headers that `header` lacks, and those of `header` that are not declared, or stand twice."""
        found = [fold(cell) for cell in header]
        missing = [column.header for column in self.columns if column.required and fold(column.header) not in found]
        unknown = [
            cell
            for place, cell in enumerate(header)
            if cell.strip()
            and (
                found[place] in found[:place]
                if found[place] in self.by_header
                else not self._ignored.fullmatch(cell.strip())
            )
        ]
        return missing, unknown

    def given_by_name(self, file: str) -> dict[str, str]:
        """What only the file's name tells, by target column. Raises FileNameError where it does not."""
        if self.from_name is None:
            return {}
        column, expression = self.from_name
        base = re.split(r"[/\\!]", file)[-1]
        found = re.search(expression, base, re.IGNORECASE)
        value = found.group(1) if found else ""
        if value and isinstance(self.sql_type(column), Date):
            day = parse_day(value)
            value = day.isoformat() if day else ""
        if self.codes and value:
            if fold(value) not in self.codes:
                raise FileNameError(
                    f"no {column} is known by this name",
                    file=file,
                    value=value,
                    todo=f"Known are: {', '.join(self.codes)}",
                )
            value = self.codes[fold(value)]
        width, _ = self.limits(text(column, column))
        if not value or (width is not None and len(value) > width):
            raise FileNameError(
                f"the name must tell the {column} of its rows, which the file does not hold",
                file=file,
                value=base,
                todo=f"Rename the file so that it matches {expression}",
            )
        return {column: value}

    def sql_type(self, to: str) -> TypeEngine[Any]:
        """The type of a staging column: the target's, or for a helper column one wide enough."""
        table = self.target.__table__
        if to in table.c:
            return table.c[to].type
        python = next((column.python for column in self.columns if column.to == to), str)
        return _WIDEST[python]

    def limits(self, column: Column) -> tuple[int | None, int | None]:
        """(width of a text, digits before the decimal point) that the column's type takes; None: any."""
        match self.sql_type(column.to):
            case String(length=width):
                return width, None
            case Numeric(precision=int(precision), scale=int(scale)):
                return None, precision - scale
            case BigInteger():
                return None, 18
            case Integer():
                return None, 9
        return None, 15  # a helper number: whatever is computed from it must fit, too

    def derived_sql(self) -> dict[str, str]:
        """The computed columns as the database computes them."""
        return {name: rule.sql if isinstance(rule, Ratio) else rule for name, rule in self.derived.items()}

    @property
    def can_be_cut(self) -> bool:
        """Whether parts of a file can be read by themselves: no totals over all of its rows."""
        return self.totals is None

    @property
    def stored(self) -> list[str]:
        """The target's columns that this format fills, in the target's order."""
        filled = {column.to for column in self.columns} | set(self.derived) | set(self.exploded)
        if self.from_name:
            filled.add(self.from_name[0])
        return [column.name for column in self.target.__table__.columns if column.name in filled]
