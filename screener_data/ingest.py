"""load(): read → check → stage → merge → account. One file is one transaction; its audit row is true in any case."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Engine, text
from tqdm import tqdm

from screener_data.database.bulk import Stage, copy_rows, insert_missing_copies, merge_by_key, sql_name
from screener_data.database.engine import ready
from screener_data.database.identity import (
    merge_securities,
    take_repeated_isins,
    take_taken_symbols,
    to_current_symbols,
)
from screener_data.errors import FileError, Reason, UnknownFormatError, UsageError
from screener_data.ledger import Account, LoadResult, audited, close_killed_loads
from screener_data.loaders import FORMATS, Member, Parsed, Rejected, Rows, format_named, members, read_rows
from screener_data.loaders.files import Recognised, recognise, source_by_name
from screener_data.loaders.format import Format, Merge
from screener_data.loaders.sources import require_source

__all__ = ["LoadResult", "load", "replay"]

_IDENTITY = 0x1D  # advisory lock: shared by all loads, exclusive to those that can rename securities
_TABLE = 0x1E  # advisory lock, with a table's hash: loads into one table wait for each other
_UNKNOWN = "unknown"
_WORTH_ANALYSING = 20_000  # rows: below, the planner's guess from the table's size will do
_log = logging.getLogger(__name__)


def load(
    path: str | Path | Iterable[str | Path], source: str | None = None, *, engine: Engine | None = None
) -> list[LoadResult]:
    """Load files, folders or zips; the source is told by header and name, or given.

    One result per file, in the order of loading: lists of securities first, then by path. A file that is refused
    or fails has status "failure" and its error; the others are loaded. In a folder, and in a zip, files of no
    source are passed over; a zip always holds some. Afterwards, rejected rows that waited for a symbol which has
    arrived are replayed.

    Raises UsageError (no such path or source) and DatabaseError (not reached, not migrated).
    """
    engine = ready(engine)
    require_source(source)
    close_killed_loads(engine)
    paths = [path] if isinstance(path, str | Path) else list(path)
    plan = _in_order([found for each in paths for found in _found(Path(each), source)])
    results = []
    bar = tqdm(plan, unit="file", desc="load", disable=len(plan) < 3 or not sys.stderr.isatty())
    for place, (member, _) in enumerate(bar, start=1):
        result = _load_member(engine, member, source, more_follow=place < len(plan))
        results.append(result)
        if result.status != "failure" and _may_bring_symbols(result.source):
            _replay_arrived(engine)
    return results


def _found(path: Path, source: str | None) -> list[tuple[Member, Recognised | None]]:
    """The files at a path with their format. None stands for one that is refused: loading it says why, and logs it."""
    found: list[tuple[Member, Recognised | None]] = []
    for member in members(path):
        try:
            found.append((member, recognise(member.label, member.data(), source)))
        except FileError as error:
            if isinstance(error, UnknownFormatError) and member.inside is not None:
                _log.info("passed over, no source reads it: %s", member.label)
            else:
                found.append((member, None))
    if not found and path.is_dir():
        raise UsageError(f"{path}: no .csv, .json, .gz or .zip in this folder")
    return found or [(Member(str(path), path.name, path), None)]


def _in_order(found: list[tuple[Member, Recognised | None]]) -> list[tuple[Member, int]]:
    """Lists before what refers to them, else by path. Only the rank is kept of a file, not its rows."""
    ranked = [(member, FORMATS.index(known.format) if known else len(FORMATS)) for member, known in found]
    return sorted(ranked, key=lambda entry: entry[1])


def _may_bring_symbols(source: str) -> bool:
    return any(format.source == source and format.merge is Merge.SECURITIES for format in FORMATS)


# --- the quarantine -------------------------------------------------------------------------------------------------


def replay(source: str | None = None, *, engine: Engine | None = None) -> list[LoadResult]:
    """Try the waiting rows of the quarantine again, by the rules of today. One result per file they came from."""
    engine = ready(engine)
    require_source(source)
    return _replay(engine, "(CAST(:source AS text) IS NULL OR r.source = :source)", source=source)


def _replay_arrived(engine: Engine) -> list[LoadResult]:
    """Try the rows that waited for a symbol which is known by now."""
    return _replay(
        engine,
        "r.reason = :unknown AND r.symbol IN (SELECT symbol FROM securities UNION SELECT symbol FROM symbol_history)",
        unknown=Reason.UNKNOWN_SYMBOL,
    )


def _replay(engine: Engine, condition: str, **values: Any) -> list[LoadResult]:
    with engine.connect() as connection:
        files = connection.execute(
            text(
                "SELECT r.source, r.sha256, min(r.file) AS file, f.format, f.header, "
                "array_agg(r.line ORDER BY r.line) AS lines, array_agg(r.raw ORDER BY r.line) AS raw "
                f"FROM rejects r JOIN load_files f ON f.id = r.load_id WHERE r.waiting AND {condition} "
                "GROUP BY r.source, r.sha256, f.format, f.header ORDER BY min(r.id)"
            ),
            values,
        ).all()
    results = []
    for file in files:
        account = Account(file.file, file.source, file.sha256, format=file.format, tried=file.lines)
        with audited(engine, account) as connection:
            format = format_named(file.format)
            rows = Rows(file.raw, file.lines, file.header)
            parsed = read_rows(rows, format, given=format.given_by_name(file.file))
            parsed.notes = {"replay": True}  # the file's totals say nothing about some of its rows
            _store(connection, parsed, account, complete=False)
        results.append(account.result())
    return results


# --- one file -------------------------------------------------------------------------------------------------------


def _load_member(engine: Engine, member: Member, source: str | None, *, more_follow: bool) -> LoadResult:
    account = Account(member.label, source or source_by_name(member.name) or _UNKNOWN, more_follow=more_follow)
    with audited(engine, account) as connection:
        known = recognise(member.label, member.data(), source)
        account.sha256, account.size = known.sha256, known.size
        account.source, account.format = known.format.source, known.format.name
        parsed = known.parse()
        _store(connection, parsed, account, complete=True)
    return account.result()


def _store(connection: Connection, parsed: Parsed, account: Account, *, complete: bool) -> None:
    """Stage, check and merge what was read; the account is filled from the database's answers."""
    format = parsed.format
    account.read, account.header = parsed.read, parsed.header
    account.rejected, account.skipped, account.notes = parsed.rejected, parsed.skipped, parsed.notes
    _lock_tables(connection, format)
    stage = _staged(connection, parsed)
    many = format.explode is not None
    out = _Outcome(stage, parsed, account, many_per_line=many)

    of_securities = "symbol" in stage.columns and "symbol" not in format.derived
    if format.merge is not Merge.SECURITIES and of_securities and (renamed := to_current_symbols(stage)):
        account.notes["rows_under_an_old_symbol"] = renamed
    for line, check in stage.take_broken():
        out.reject(line, Reason.BROKEN_RULE, None, f"breaks {check}: {_rule(format, check)}")
    if format.known_symbol is not None:
        for line, symbol in stage.take_unknown_symbols(format.known_symbol):
            detail = f"{symbol!r} is in no list of securities; the row is loaded when it arrives"
            out.reject(line, Reason.UNKNOWN_SYMBOL, format.known_symbol, detail, symbol)
    columns, key = format.stored, format.key or ("symbol",)
    stage.survey(key)
    if format.merge is Merge.BY_COUNT:
        account.counts = insert_missing_copies(stage, key, columns)
        return
    if format.outranked_if is not None and not format.fills:
        out.skip(stage.take_outranked(key, format.outranked_if), Reason.EXCHANGE_PRICE_KEPT)
    if stage.repeats:
        if format.preference is not None:
            out.skip(stage.take_less_preferred(key, format.preference), Reason.SERIES_NOT_PREFERRED)
        same, contradicting = stage.take_repeated(key, columns)
        out.skip(same, Reason.DUPLICATE_ROW)
        for line, first in contradicting:
            why = f"contradicts line {first}, which has the same {', '.join(key)}"
            out.reject(line, Reason.DUPLICATE_KEY, None, why)
    if out.left:
        stage.survey(key)
    if format.merge is Merge.SECURITIES:
        for line, symbol in take_repeated_isins(stage):
            out.reject(line, Reason.DUPLICATE_ISIN, "isin", f"its ISIN stands under {symbol!r} in this file")
        for line, isin in take_taken_symbols(stage):
            out.reject(line, Reason.SYMBOL_TAKEN, "symbol", f"{isin} bears this symbol and is not in this file")
        assert format.list_name is not None  # noqa: S101
        cells = [cell.strip() for row in account.rejected for cell in row.raw.replace('"', "").split(",")]
        account.counts, notes = merge_securities(
            stage, columns, list_name=format.list_name, complete=complete, also_listed=cells
        )
        account.notes |= notes
        return
    if format.registers is not None:
        stage.run(format.registers.format(stage="stage"))
    account.counts = merge_by_key(
        stage, key, columns, outranked_if=format.outranked_if, fills=format.fills, many_per_line=many
    )


@dataclass
class _Outcome:
    """Books rows that left the staging table. A line that made several rows is booked when all of them have left."""

    stage: Stage
    parsed: Parsed
    account: Account
    many_per_line: bool
    booked: set[int] = field(default_factory=set)
    left: bool = False

    def _gone(self, lines: list[int]) -> list[int]:
        self.left = self.left or bool(lines)
        if not lines or not self.many_per_line:
            return lines
        left = set(self.stage.lines("SELECT line FROM stage WHERE line = ANY(:lines)", lines=lines))
        gone = set(lines) - left - self.booked
        self.booked |= gone
        return sorted(gone)

    def skip(self, lines: list[int], reason: Reason) -> None:
        if gone := self._gone(lines):
            self.account.skipped[reason] += len(gone)

    def reject(self, line: int, reason: Reason, column: str | None, detail: str, symbol: str | None = None) -> None:
        if self._gone([line]):
            self.account.rejected.append(Rejected(line, reason, column, detail, self.parsed.raw[line], symbol))


def _staged(connection: Connection, parsed: Parsed) -> Stage:
    format = parsed.format
    stage = Stage(connection, format.target.__table__)  # type: ignore[arg-type]
    names = [*parsed.columns, *(name for name in [*parsed.given, *format.derived] if name not in parsed.columns)]
    stage.create({name: sql_name(format.sql_type(name)) for name in names}, parsed.given, dict(format.derived))
    if len(parsed.lines):
        copy_rows(connection, "stage", {"line": pa.array(parsed.lines).cast(pa.string()), **parsed.columns})
    if len(parsed.lines) > _WORTH_ANALYSING:
        stage.analyze()
    return stage


def _rule(format: Format, check: str) -> str:
    for constraint in format.target.__table__.constraints:  # type: ignore[attr-defined]
        if constraint.name == check:
            return str(constraint.sqltext)
    return check


def _lock_tables(connection: Connection, format: Format) -> None:
    """Always in this order, so that loads wait for each other and never deadlock."""
    kind = "" if format.merge is Merge.SECURITIES else "_shared"
    connection.execute(
        text(f"SELECT pg_advisory_xact_lock{kind}(:identity), pg_advisory_xact_lock(:table, hashtext(:name))"),
        {"identity": _IDENTITY, "table": _TABLE, "name": format.target.__tablename__},
    )
