"""load(): read → check → stage → merge → account. One file is one transaction; its audit row is true in any case."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import psycopg2
import pyarrow as pa
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from screener_data.database.bulk import Counts, Stage, copy_rows, insert_missing_copies, merge_by_key, sql_name
from screener_data.database.engine import connect, reason_of, require_schema
from screener_data.database.identity import (
    merge_securities,
    take_repeated_isins,
    take_taken_symbols,
    to_current_symbols,
)
from screener_data.errors import FileError, Reason, UnknownFormatError, UsageError
from screener_data.loaders import FORMATS, SOURCES, Member, Parsed, Rejected, Rows, format_named, members, read_rows
from screener_data.loaders.files import Recognised, recognise, source_by_name
from screener_data.loaders.format import Format, Merge

__all__ = ["LoadResult", "load", "replay"]

_LOADS = 0x5C4EE  # with a load's id: the advisory lock that its process holds while it lives
_IDENTITY = 0x1D  # shared by all loads, exclusive to those that can rename securities
_log = logging.getLogger(__name__)
_VERSION = version("screener-data")
_UNKNOWN = "unknown"


class LoadResult(BaseModel):
    """What one load of one file did. Always read = inserted + updated + unchanged + rejected + skipped (file rows)."""

    model_config = ConfigDict(frozen=True)

    file: str
    source: str
    status: Literal["success", "partial", "failure"]
    sha256: str | None
    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    skipped: int = 0
    reasons: dict[str, int] = {}
    elapsed_ms: int = 0
    log_id: int | None = None
    error: str | None = None


@dataclass
class _Account:
    """What is known of a load so far. It is what the audit row says, whatever happens next."""

    file: str
    source: str
    sha256: str | None = None
    size: int | None = None
    format: str | None = None
    header: str | None = None
    read: int = 0
    counts: Counts = field(default_factory=Counts)
    rejected: list[Rejected] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    notes: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    #: The lines that were tried; None: all of the file. Those of them that pass are settled in the quarantine.
    tried: list[int] | None = None
    log_id: int | None = None
    started: float = field(default_factory=time.monotonic)

    def reasons(self) -> dict[str, int]:
        """Rows by the reason for which they were not loaded."""
        found = Counter(str(row.reason) for row in self.rejected) + Counter(
            {str(reason): n for reason, n in self.skipped.items()}
        )
        return dict(sorted(found.items()))

    def status(self) -> Literal["success", "partial", "failure"]:
        """How the load ended."""
        if self.error is not None:
            return "failure"
        return "partial" if self.rejected else "success"

    def failed(self, error: str) -> None:
        """Nothing was stored: rows that were not rejected are accounted for as such."""
        self.error = error
        self.counts = Counts()
        self.skipped = Counter()
        if rest := self.read - len(self.rejected):
            self.skipped[Reason.LOAD_FAILED] = rest


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
    engine = engine or connect()
    require_schema(engine)
    if source is not None and source not in SOURCES:
        raise UsageError(f"no source {source!r}; there are: {', '.join(SOURCES)}")
    _close_killed_loads(engine)
    paths = [path] if isinstance(path, str | Path) else list(path)
    plan = _in_order([found for each in paths for found in _found(Path(each), source)])
    results = []
    bar = tqdm(plan, unit="file", desc="load", disable=len(plan) < 3 or not sys.stderr.isatty())
    for member, _ in bar:
        result = _load_member(engine, member, source)
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
    engine = engine or connect()
    require_schema(engine)
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
        account = _Account(file.file, file.source, file.sha256, format=file.format, tried=file.lines)
        with _audited(engine, account) as (connection, load_id):
            format = format_named(file.format)
            rows = Rows(file.raw, file.lines, file.header)
            parsed = read_rows(rows, format, given=format.given_by_name(file.file))
            parsed.notes = {"replay": True}  # the file's totals say nothing about some of its rows
            _store(connection, load_id, parsed, account, complete=False)
        results.append(_result(account))
    return results


# --- one file -------------------------------------------------------------------------------------------------------


def _load_member(engine: Engine, member: Member, source: str | None) -> LoadResult:
    account = _Account(member.label, source or source_by_name(member.name) or _UNKNOWN)
    with _audited(engine, account) as (connection, load_id):
        known = recognise(member.label, member.data(), source)
        account.sha256, account.size = known.sha256, known.size
        account.source, account.format = known.format.source, known.format.name
        parsed = known.parse()
        _store(connection, load_id, parsed, account, complete=True)
    return _result(account)


@contextmanager
def _audited(engine: Engine, account: _Account) -> Iterator[tuple[Connection, int]]:
    """Open the load's record, give it a transaction, and close the record with the truth, however it ends."""
    with engine.connect() as connection:
        load_id = _open(connection, account)
        try:
            with connection.begin():
                yield connection, load_id
                _close(connection, load_id, account)
        except (FileError, SQLAlchemyError, psycopg2.Error) as error:
            account.failed(str(error) if isinstance(error, FileError) else f"the database refused: {reason_of(error)}")
            _close_failed(engine, load_id, account)
        except BaseException as error:
            account.failed(f"stopped by {type(error).__name__}: {error}")
            _close_failed(engine, load_id, account)
            raise
        finally:
            _unlock(connection, load_id)


def _store(connection: Connection, load_id: int, parsed: Parsed, account: _Account, *, complete: bool) -> None:
    """Stage, check and merge what was read; the account is filled from the database's answers."""
    format = parsed.format
    account.read, account.header = parsed.read, parsed.header
    account.rejected, account.skipped, account.notes = parsed.rejected, parsed.skipped, parsed.notes
    _lock_tables(connection, format)
    stage = _staged(connection, parsed)
    many = format.explode is not None
    out = _Outcome(stage, parsed, account, many_per_line=many)

    of_securities = "symbol" in stage.columns() and "symbol" not in format.derived
    if format.merge is not Merge.SECURITIES and of_securities and (renamed := to_current_symbols(stage)):
        account.notes["rows_under_an_old_symbol"] = renamed
    for line, check in stage.take_broken():
        out.reject(line, Reason.BROKEN_RULE, None, f"breaks {check}: {_rule(format, check)}")
    if format.known_symbol is not None:
        for line, symbol in stage.take_unknown_symbols(format.known_symbol):
            detail = f"{symbol!r} is in no list of securities; the row is loaded when it arrives"
            out.reject(line, Reason.UNKNOWN_SYMBOL, format.known_symbol, detail, symbol)
    if format.outranked_if is not None and not format.fills:
        out.skip(stage.take_outranked(format.key, format.outranked_if), Reason.EXCHANGE_PRICE_KEPT)

    columns = format.stored
    if format.merge is Merge.BY_COUNT:
        account.counts = insert_missing_copies(stage, format.key, columns)
        return
    key = format.key or ("symbol",)
    if format.preference is not None:
        out.skip(stage.take_less_preferred(key, format.preference), Reason.SERIES_NOT_PREFERRED)
    same, contradicting = stage.take_repeated(key, columns)
    out.skip(same, Reason.DUPLICATE_ROW)
    for line, first in contradicting:
        out.reject(line, Reason.DUPLICATE_KEY, None, f"contradicts line {first}, which has the same {', '.join(key)}")
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
    account: _Account
    many_per_line: bool
    booked: set[int] = field(default_factory=set)

    def _gone(self, lines: list[int]) -> list[int]:
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
    connection.execute(text(f"SELECT pg_advisory_xact_lock{kind}(:lock)"), {"lock": _IDENTITY})
    connection.execute(
        text("SELECT pg_advisory_xact_lock(:lock, hashtext(:table))"),
        {"lock": _LOADS + 1, "table": format.target.__tablename__},
    )


# --- the record of a load -------------------------------------------------------------------------------------------


def _open(connection: Connection, account: _Account) -> int:
    """A row of its own transaction, and a lock that lives as long as this process: so a killed load is found."""
    with connection.begin():
        load_id = connection.execute(
            text(
                "INSERT INTO load_files (source, file, loader_version) VALUES (:source, :file, :version) RETURNING id"
            ),
            {"source": account.source, "file": account.file, "version": _VERSION},
        ).scalar_one()
        connection.execute(text("SELECT pg_advisory_lock(:lock, :id)"), {"lock": _LOADS, "id": load_id % 2**31})
    return int(load_id)


def _unlock(connection: Connection, load_id: int) -> None:
    try:
        with connection.begin():
            connection.execute(text("SELECT pg_advisory_unlock(:lock, :id)"), {"lock": _LOADS, "id": load_id % 2**31})
    except SQLAlchemyError:
        connection.invalidate()  # the session is lost, and its lock with it


def _close(connection: Connection, load_id: int, account: _Account) -> None:
    """Write the rejects, the audit row and the load's counts; the database checks that nothing is silent."""
    rejected = _quarantine(connection, load_id, account)
    errors = {"reasons": account.reasons(), "error": account.error, "notes": account.notes}
    elapsed = int((time.monotonic() - account.started) * 1000)
    account.log_id = connection.execute(
        text(
            "INSERT INTO ingestion_logs (source, status, records_fetched, records_inserted, records_updated, "
            "records_failed, errors, execution_time_ms) VALUES (:source, :status, :read, :inserted, :updated, "
            ":rejected, CAST(:errors AS json), :elapsed) RETURNING id"
        ),
        {
            "source": account.source,
            "status": account.status(),
            "read": account.read,
            "inserted": account.counts.inserted,
            "updated": account.counts.updated,
            "rejected": rejected,
            "errors": _json({name: value for name, value in errors.items() if value}) if any(errors.values()) else None,
            "elapsed": elapsed,
        },
    ).scalar_one()
    connection.execute(
        text(
            "UPDATE load_files SET log_id = :log_id, source = :source, format = :format, sha256 = :sha256, "
            "bytes = :size, state = :state, read = :read, inserted = :inserted, updated = :updated, "
            "unchanged = :unchanged, rejected = :rejected, skipped = :skipped, reasons = CAST(:reasons AS json), "
            "notes = CAST(:notes AS json), error = :error, header = :header, finished_at = clock_timestamp() WHERE id = :id"
        ),
        {
            "id": load_id,
            "log_id": account.log_id,
            "source": account.source,
            "format": account.format,
            "sha256": account.sha256,
            "size": account.size,
            "state": account.status(),
            "read": account.read,
            "inserted": account.counts.inserted,
            "updated": account.counts.updated,
            "unchanged": account.counts.unchanged,
            "rejected": rejected,
            "skipped": account.skipped.total(),
            "reasons": _json(account.reasons()),
            "notes": _json(account.notes) if account.notes else None,
            "error": _storable(account.error),
            "header": _storable(account.header),
        },
    )


def _close_failed(engine: Engine, load_id: int, account: _Account) -> None:
    """The audit row and the rejects, in a transaction of their own. The next load closes what cannot be closed now."""
    account.log_id = None
    try:
        with engine.begin() as connection:
            _close(connection, load_id, account)
    except SQLAlchemyError as error:
        account.log_id = None
        account.error = f"{account.error}; and the audit row could not be written: {reason_of(error)}"


def _quarantine(connection: Connection, load_id: int, account: _Account) -> int:
    """Keep each rejected row once, and settle those of the same bytes that passed this time. Rows kept."""
    if account.sha256 is None:
        return 0
    where = {"source": account.source, "sha256": account.sha256, "id": load_id}
    kept = 0
    if account.rejected:
        connection.execute(text("CREATE TEMPORARY TABLE rejected (LIKE rejects) ON COMMIT DROP"))
        connection.execute(
            text(
                "ALTER TABLE rejected DROP id, DROP load_id, DROP source, DROP file, DROP sha256, DROP waiting, "
                "DROP tries, DROP created_at, DROP settled_by"
            )
        )
        copy_rows(
            connection,
            "rejected",
            {
                "line": pa.array([str(row.line) for row in account.rejected]),
                "reason": pa.array([str(row.reason) for row in account.rejected]),
                "column": pa.array(
                    [_storable(row.column and row.column[:100]) for row in account.rejected], pa.string()
                ),
                "detail": pa.array([_storable(row.detail) for row in account.rejected]),
                "raw": pa.array([_storable(row.raw) for row in account.rejected]),
                "symbol": pa.array([row.symbol for row in account.rejected], pa.string()),
            },
        )
        kept = connection.execute(
            text(
                'INSERT INTO rejects (load_id, source, file, sha256, line, reason, "column", detail, raw, symbol) '
                'SELECT :id, :source, :file, :sha256, line, reason, "column", detail, raw, symbol FROM rejected '
                "ON CONFLICT (source, sha256, line) DO UPDATE SET reason = excluded.reason, "
                '"column" = excluded."column", detail = excluded.detail, symbol = excluded.symbol, '
                "waiting = true, settled_by = NULL, tries = rejects.tries + 1"
            ),
            {**where, "file": account.file},
        ).rowcount
    if account.error is None:
        tried = "true" if account.tried is None else "line = ANY(:tried)"
        connection.execute(
            text(
                "UPDATE rejects SET waiting = false, settled_by = :id WHERE source = :source AND sha256 = :sha256 "
                f"AND waiting AND {tried} AND NOT line = ANY(:rejected)"
            ),
            {**where, "tried": account.tried, "rejected": [row.line for row in account.rejected]},
        )
    return kept


def _close_killed_loads(engine: Engine) -> None:
    """Mark loads whose process is gone as failures: they hold no lock, and nothing of them was stored."""
    with engine.begin() as connection:
        running = connection.execute(text("SELECT id, source, file FROM load_files WHERE state = 'running'")).all()
        for load_id, source, file in running:
            lock = {"lock": _LOADS, "id": load_id % 2**31}
            if connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock, :id)"), lock).scalar_one():
                account = _Account(file, source)
                account.error = "the loading process was killed; nothing of the file was stored"
                state = connection.execute(
                    text("SELECT state FROM load_files WHERE id = :id FOR UPDATE"), {"id": load_id}
                ).scalar_one()
                if state == "running":
                    _close(connection, load_id, account)


def _result(account: _Account) -> LoadResult:
    return LoadResult(
        file=account.file,
        source=account.source,
        status=account.status(),
        sha256=account.sha256,
        read=account.read,
        inserted=account.counts.inserted,
        updated=account.counts.updated,
        unchanged=account.counts.unchanged,
        rejected=len(account.rejected),
        skipped=account.skipped.total(),
        reasons=account.reasons(),
        elapsed_ms=int((time.monotonic() - account.started) * 1000),
        log_id=account.log_id,
        error=account.error,
    )


def _storable(value: str | None) -> str | None:
    """PostgreSQL's text holds no NUL; the sign for NUL stands for it."""
    return None if value is None else value.replace("\x00", "\u2400")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, default=str)
