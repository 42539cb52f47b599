"""`%load_ext screener_data`: one SELECT in a notebook's cell, its variables bound, its answer a table.

    %%screen_sql --limit 500 --timeout 60 strong <<
    SELECT symbol, rs_rating FROM calculated_metrics WHERE date = :day AND symbol = ANY(:symbols)

It runs as the user who may only read (`sd.connect(read_only=True)`), in a READ ONLY transaction that is rolled back, in
a session of its own that ends with it. What is looked at here only makes the refusal a plain line: the server refuses.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import psycopg2
from IPython.core.error import UsageError as OneLine
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from screener_data.arguments import require_known
from screener_data.database.engine import connect, reason_of
from screener_data.errors import DatabaseError, ScreenerError, UsageError

__all__ = ["LIMIT", "TIMEOUT", "Answer", "ScreenSql", "load", "select"]

#: Rows that are fetched at most, and seconds that a statement may take, unless a cell says otherwise.
LIMIT = 10_000
TIMEOUT = 30.0

# --- the statement --------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""
      (?P<space> \s+ | --[^\n\r]* )
    | (?P<comment> /\* )
    | (?P<escaped> [eE]'(?: [^'\\] | \\. | '' )*' )
    | (?P<string> '(?: [^'] | '' )*' )
    | (?P<dollar> \$(?P<tag> (?:[^\W\d]\w*)? )\$ .*? \$(?P=tag)\$ )
    | (?P<quoted> "(?: [^"] | "" )*" )
    | (?P<number> \d[\w.]* )
    | (?P<word> [^\W\d][\w$]* )
    | (?P<cast> :: | := )
    | (?P<variable> :[^\W\d]\w* )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")

_FIRST = ("SELECT", "WITH", "VALUES", "TABLE")
#: Functions that change something which a read-only transaction and the reader's rights leave open, or run SQL text.
_REFUSED = re.compile(
    r"nextval|setval|set_config|dblink\w*|lo_\w+|lowrite|pg_notify|pg_(try_)?advisory\w*|pg_(terminate|cancel)_backend"
    r"|pg_(reload_conf|rotate_logfile|promote|export_snapshot|switch_wal|log_backend_memory_contexts)|pg_stat_reset\w*"
    r"|pg_stat_clear_snapshot|pg_(create|drop|copy|replication|logical|wal_replay|backup|restore|import|sync)_\w+"
    r"|pg_(read|write)_\w+|pg_file_\w+|pg_ls_\w+|pg_stat_file|pg_current_xact_id|txid_current"
    r"|(query|cursor)_to_xml\w*|(brin|gin)_\w+"
)


class Token(NamedTuple):
    """A piece of SQL: `kind` is a group of the pattern above; comments and white space are `space`."""

    kind: str
    text: str


def _tokens(sql: str) -> Iterator[Token]:
    place = 0
    while place < len(sql):
        found = _TOKEN.match(sql, place)
        assert found is not None  # noqa: S101 - the last alternative takes any character
        kind, end = str(found.lastgroup), found.end()
        if kind == "comment":
            kind, end = "space", _end_of_comment(sql, place)
        elif found.group() in ("'", '"') or (found.group() == "$" and re.match(r"\$([^\W\d]\w*)?\$", sql[place:])):
            raise UsageError(f"a text that begins with {sql[place : place + 20]!r} has no end")
        yield Token(kind, sql[place:end])
        place = end


def _end_of_comment(sql: str, start: int) -> int:
    depth = 0
    for edge in _COMMENT_EDGE.finditer(sql, start):  # comments nest
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    raise UsageError(f"a comment that begins with {sql[start : start + 20]!r} has no end")


def _checked(sql: str) -> list[Token]:
    """The tokens of one statement that only reads. Raises UsageError, in one line, for anything else."""
    tokens = list(_tokens(sql))
    while tokens and (tokens[-1].kind == "space" or tokens[-1].text == ";"):
        tokens.pop()
    said = [token for token in tokens if token.kind != "space"]
    if not said:
        raise UsageError("there is no statement: write SELECT …")
    if any(token.text == ";" for token in said):
        raise UsageError("one statement at a time: there is more than one here")
    first = next((token.text for token in said if token.text != "("), "").upper()
    if first not in _FIRST:
        raise UsageError(f"{first or said[0].text} is refused: only reading is allowed here ({', '.join(_FIRST)})")
    for token, following in itertools.pairwise(said):
        if token.kind == "escaped" and following.kind == "string":  # the server reads it as one text, escapes and all
            raise UsageError("a text that follows an E'…' is refused: write both as one")
        if token.text in ("U", "u") and following.text == "&":
            raise UsageError("U& is refused: write the text as it is, in '…' or \"…\"")
        name = token.text.strip('"') if token.kind == "quoted" else token.text.lower()
        if token.kind in ("word", "quoted") and following.text == "(" and _REFUSED.fullmatch(name):
            raise UsageError(f"{name} is refused: only reading is allowed here, and that function does more")
    return tokens


def _bound(tokens: list[Token], variables: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The statement as the driver wants it, and the values of its variables."""
    parts, values = [], {}
    for token in tokens:
        if token.kind == "variable":
            name = token.text[1:]
            if name not in variables:
                require_known(name, [known for known in variables if not known.startswith("_")], "variable")
            values[name] = _value(name, variables[name])
            parts.append(f"%({name})s")
        else:
            parts.append(token.text.replace("%", "%%"))
    return "".join(parts), values


def _value(name: str, given: Any) -> Any:
    """A variable as the driver takes it; what holds several becomes an array."""
    if isinstance(given, pd.Series | pd.Index | np.ndarray | list | tuple | set | frozenset):
        each = given.tolist() if hasattr(given, "tolist") else list(given)
        return [_value(name, one) for one in (each if isinstance(each, list) else [each])]
    if isinstance(given, np.datetime64):
        given = pd.Timestamp(given)
    elif isinstance(given, np.generic):
        given = given.item()
    if pd.api.types.is_scalar(given) and pd.isna(given):  # None, NaN, NaT, NA
        return None
    if isinstance(given, pd.Timestamp):
        return given.to_pydatetime(warn=False)
    if isinstance(given, str | bool | int | float | Decimal | dt.date | dt.time | dt.timedelta):
        return given
    raise UsageError(f"variable {name!r} is a {type(given).__name__}: bind a text, number, day, or a list of them")


# --- running it -----------------------------------------------------------------------------------------------------

_NUMBERS = {20, 21, 23, 26, 700, 701, 1700}  # the server's ids of int8, int2, int4, oid, float4, float8, numeric
_WHOLE = {20, 21, 23, 26}
_TEXTS = {19, 25, 1042, 1043}  # name, text, char, varchar
_TIMES = {1082, 1114, 1184}  # date, timestamp, timestamptz


@dataclass(frozen=True)
class Answer:
    """What a statement gave: its rows, and whether there were more than the limit."""

    frame: pd.DataFrame
    was_cut: bool


def select(
    sql: str,
    variables: Mapping[str, Any] | None = None,
    *,
    limit: int = LIMIT,
    timeout: float = TIMEOUT,
    engine: Engine | None = None,
) -> Answer:
    """Run one SELECT (or WITH, VALUES, TABLE) and fetch at most `limit` rows within `timeout` seconds.

    `:name` stands for a variable: text, numbers and days as they are, lists, tuples, sets, arrays and Series as arrays
    (`= ANY(:name)`). Types of the answer: whole numbers int64, or float64 where one is NULL; numeric and floats
    float64; days and times datetime64 (UTC); booleans bool; others as the driver gives them. Ctrl-C cancels the
    statement. Raises UsageError for what is not one reading statement and for an unknown variable, DatabaseError with
    the server's reason, without the statement and its values.

    >>> from screener_data.magic import select
    >>> select("SELECT :days::int * 2 AS twice", {"days": 21}).frame["twice"].tolist()  # doctest: +SKIP
    [42]
    """
    if limit < 1 or not 0 < timeout < 1e6:
        raise UsageError("--limit and --timeout are numbers above 0")
    statement, values = _bound(_checked(sql), variables or {})
    engine = engine or connect(read_only=True)
    try:
        with engine.connect().execution_options(postgresql_readonly=True) as connection:
            connection.detach()  # what a statement leaves in its session ends with it
            return _fetched(connection, statement, values, limit, timeout)
    except psycopg2.errors.QueryCanceled:
        raise DatabaseError(f"ended after {timeout:g} seconds; --timeout SECONDS allows more") from None
    except (psycopg2.Error, SQLAlchemyError) as error:
        raise DatabaseError(f"the database refused: {reason_of(error)}") from None


def _fetched(connection: Connection, statement: str, values: dict[str, Any], limit: int, timeout: float) -> Answer:
    session: Any = connection.connection.dbapi_connection
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, round(timeout * 1000))}")
    connection.exec_driver_sql("SET LOCAL standard_conforming_strings = on")  # as the tokens above are told

    def fetch() -> tuple[list[tuple[Any, ...]], Any]:
        with closing(session.cursor(name="screen_sql")) as cursor:  # a cursor of the server: the rest stays there
            cursor.execute(statement, values)
            return cursor.fetchmany(limit + 1), cursor.description

    with ThreadPoolExecutor(1) as worker:  # the driver does not listen to Ctrl-C while it waits; this thread does
        running = worker.submit(fetch)
        try:
            while not running.done():
                wait([running], timeout=0.2)  # the signal may reach another thread, which does not wake this one
            rows, description = running.result()
        except KeyboardInterrupt:
            session.cancel()
            running.exception()
            raise
    return Answer(_frame(rows[:limit], description), len(rows) > limit)


def _frame(rows: list[tuple[Any, ...]], description: Any) -> pd.DataFrame:
    columns = list(zip(*rows, strict=True)) or [()] * len(description)
    made = [_column(cells, column.type_code) for cells, column in zip(columns, description, strict=True)]
    frame = pd.concat(made, axis=1) if made else pd.DataFrame(index=range(len(rows)))
    frame.columns = pd.Index([column.name for column in description], dtype="str")
    return frame


def _column(cells: tuple[Any, ...], kind: int) -> pd.Series[Any]:
    if kind in _TIMES:
        return pd.Series(pd.to_datetime(pd.Series(cells, dtype="object"), utc=kind == 1184))
    if kind in _NUMBERS:
        exact = kind in _WHOLE and None not in cells
        return pd.Series(cells, dtype="int64") if exact else pd.Series(cells, dtype="object").astype("float64")
    return pd.Series(cells, dtype="str" if kind in _TEXTS else None if cells else "object")


# --- the magic ------------------------------------------------------------------------------------------------------

_OPTION = re.compile(r"\s*--(limit|timeout)(?:\s+|=)(\S+)")
_NAME = re.compile(r"\s*([^\W\d]\w*)\s*<<")


@magics_class
class ScreenSql(Magics):
    """`%%screen_sql` and `%screen_sql`."""

    shell: InteractiveShell

    @no_var_expand
    @line_cell_magic
    def screen_sql(self, line: str, cell: str | None = None) -> pd.DataFrame | None:
        """Run one SELECT and show its answer as a table: `%%screen_sql [--limit N] [--timeout SECONDS] [name <<]`.

        The statement follows in the cell, or on the line of `%screen_sql`. `:name` is a variable of the notebook,
        bound, never pasted; a list or Series is an array (`= ANY(:name)`). `name <<` keeps the table under that name
        and shows nothing. By default at most 10,000 rows within 30 seconds. Only reading is allowed.
        """
        try:
            options: dict[str, str] = {}
            while found := _OPTION.match(line):
                options[found[1]] = found[2]
                line = line[found.end() :]
            name = _NAME.match(line)
            sql = (line[name.end() :] if name else line) + "\n" + (cell or "")
            limit = _number("limit", options.get("limit", str(LIMIT)), int)
            timeout = _number("timeout", options.get("timeout", str(TIMEOUT)), float)
            answer = select(sql, self.shell.user_ns, limit=limit, timeout=timeout)
        except ScreenerError as error:
            raise OneLine(str(error)) from None  # which the notebook shows without a traceback
        except KeyboardInterrupt:
            raise OneLine("cancelled") from None
        if answer.was_cut:
            sys.stderr.write(f"note: cut after {limit:,} rows; --limit N allows more\n")
        if name is None:
            return answer.frame
        self.shell.user_ns[name[1]] = answer.frame
        return None


def _number(option: str, given: str, kind: type[Any]) -> Any:
    try:
        return kind(given)
    except ValueError:
        raise UsageError(f"--{option} {given!r} is no number") from None


def load(shell: InteractiveShell) -> None:
    """Give a notebook the magic."""
    shell.register_magics(ScreenSql)
