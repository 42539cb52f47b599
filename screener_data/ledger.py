"""The record of a load: its counts, its audit row and its rejected rows, true however the load ends."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal

import psycopg2
import pyarrow as pa
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from screener_data.database.bulk import Counts, copy_rows
from screener_data.database.engine import reason_of
from screener_data.errors import FileError, Reason
from screener_data.loaders import Rejected

__all__ = ["Account", "LoadResult", "audited", "close_killed_loads"]

_LOADS = 0x5C4EE  # with a load's id: the advisory lock that its process holds while it lives
_VERSION = version("screener-data")
_log = logging.getLogger(__name__)


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
class Account:
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
    #: The next file's commit brings this one's to the disk, too; until then a crash takes the whole file.
    more_follow: bool = False
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

    def result(self) -> LoadResult:
        """The account as callers see it."""
        return LoadResult(
            file=self.file,
            source=self.source,
            status=self.status(),
            sha256=self.sha256,
            read=self.read,
            inserted=self.counts.inserted,
            updated=self.counts.updated,
            unchanged=self.counts.unchanged,
            rejected=len(self.rejected),
            skipped=self.skipped.total(),
            reasons=self.reasons(),
            elapsed_ms=self.elapsed_ms(),
            log_id=self.log_id,
            error=self.error,
        )

    def elapsed_ms(self) -> int:
        """Milliseconds since the load began."""
        return int((time.monotonic() - self.started) * 1000)

    def failed(self, error: str) -> None:
        """Nothing was stored: rows that were not rejected are accounted for as such."""
        self.error = error
        self.counts = Counts()
        self.skipped = Counter()
        if rest := self.read - len(self.rejected):
            self.skipped[Reason.LOAD_FAILED] = rest


@contextmanager
def audited(engine: Engine, account: Account) -> Iterator[Connection]:
    """Open the load's record, give it a transaction, and close the record with the truth, however it ends."""
    with engine.connect() as connection:
        load_id = _open(connection, account)
        try:
            with connection.begin():
                yield connection
                _close(connection, load_id, account)
            for note, what in account.notes.items():
                _log.info("%s: %s: %s", account.file, note, what)
        except (FileError, SQLAlchemyError, psycopg2.Error) as error:
            account.failed(str(error) if isinstance(error, FileError) else f"the database refused: {reason_of(error)}")
            _close_failed(engine, load_id, account)
        except BaseException as error:
            account.failed(f"stopped by {type(error).__name__}: {error}")
            _close_failed(engine, load_id, account)
            raise


def _open(connection: Connection, account: Account) -> int:
    """A row of its own transaction, and a lock that lives as long as this process: so a killed load is found.

    The session's lock of an earlier load goes here, and not at that load's end, to save a round trip.
    """
    with connection.begin():
        load_id = connection.execute(
            text(
                "WITH opened AS (INSERT INTO load_files (source, file, loader_version) "
                "VALUES (:source, :file, :version) RETURNING id), "
                "freed AS MATERIALIZED (SELECT pg_advisory_unlock_all()) SELECT opened.id, "
                "pg_advisory_lock(:lock, (opened.id % 2147483648)::integer), "
                # need not be on disk before the load's own commit is, which brings it there
                "set_config('synchronous_commit', 'off', true) FROM freed, opened"
            ),
            {"source": account.source, "file": account.file, "version": _VERSION, "lock": _LOADS},
        ).scalar_one()
    return int(load_id)


def _close(connection: Connection, load_id: int, account: Account) -> None:
    """Write the rejects, the audit row and the load's counts; the database checks that nothing is silent."""
    rejected = _quarantine(connection, load_id, account)
    errors = {"reasons": account.reasons(), "error": account.error, "notes": account.notes}
    account.log_id = connection.execute(
        text(
            "INSERT INTO ingestion_logs (source, status, records_fetched, records_inserted, records_updated, "
            "records_failed, errors, execution_time_ms) VALUES (:source, :status, :read, :inserted, :updated, "
            ":rejected, CAST(:errors AS json), :elapsed) RETURNING id, set_config('synchronous_commit', :commit, true)"
        ),
        {
            "source": account.source,
            "status": account.status(),
            "read": account.read,
            "inserted": account.counts.inserted,
            "updated": account.counts.updated,
            "rejected": rejected,
            "errors": _json({name: value for name, value in errors.items() if value}) if any(errors.values()) else None,
            "elapsed": account.elapsed_ms(),
            "commit": "off" if account.more_follow else "on",
        },
    ).scalar_one()
    connection.execute(
        text(
            "UPDATE load_files SET log_id = :log_id, source = :source, format = :format, sha256 = :sha256, "
            "bytes = :size, state = :state, read = :read, inserted = :inserted, updated = :updated, "
            "unchanged = :unchanged, rejected = :rejected, skipped = :skipped, reasons = CAST(:reasons AS json), "
            "notes = CAST(:notes AS json), error = :error, header = :header, "
            "finished_at = clock_timestamp() WHERE id = :id"
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


def _close_failed(engine: Engine, load_id: int, account: Account) -> None:
    """The audit row and the rejects, in a transaction of their own. The next load closes what cannot be closed now."""
    account.log_id = None
    try:
        with engine.begin() as connection:
            _close(connection, load_id, account)
    except SQLAlchemyError as error:
        account.log_id = None
        account.error = f"{account.error}; and the audit row could not be written: {reason_of(error)}"


def _quarantine(connection: Connection, load_id: int, account: Account) -> int:
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


def close_killed_loads(engine: Engine) -> None:
    """Mark loads whose process is gone as failures: they hold no lock, and nothing of them was stored."""
    with engine.begin() as connection:
        running = connection.execute(text("SELECT id, source, file FROM load_files WHERE state = 'running'")).all()
        for load_id, source, file in running:
            lock = {"lock": _LOADS, "id": load_id % 2**31}
            if connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock, :id)"), lock).scalar_one():
                account = Account(file, source)
                account.error = "the loading process was killed; nothing of the file was stored"
                state = connection.execute(
                    text("SELECT state FROM load_files WHERE id = :id FOR UPDATE"), {"id": load_id}
                ).scalar_one()
                if state == "running":
                    _close(connection, load_id, account)


def _storable(value: str | None) -> str | None:
    """PostgreSQL's text holds no NUL; the sign for NUL stands for it."""
    return None if value is None else value.replace("\x00", "\u2400")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, default=str)
