"""The record of a load: its counts, its audit row and its rejected rows, true however the load ends."""

from __future__ import annotations

import datetime as dt
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from screener_data.database.bulk import Counts
from screener_data.database.engine import reason_of
from screener_data.errors import Reason
from screener_data.loaders import Rejected

__all__ = [
    "Account",
    "Known",
    "LoadResult",
    "close_failed",
    "close_killed_loads",
    "close_loads",
    "committed_after_all",
    "forget_loads",
    "is_last_log",
    "known_files",
    "loader_version",
    "open_loads",
    "run_of_loads",
    "settle_known",
]

_LOADS = 0x5C4EE  # with a run's number: the advisory lock that its process holds while it lives
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
    stamp: str | None = None
    sha256: str | None = None
    size: int | None = None
    format: str | None = None
    target: str | None = None
    header: str | None = None
    read: int = 0
    counts: Counts = field(default_factory=Counts)
    rejected: list[Rejected] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    notes: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    #: The first and the last day of its rows, where they are dated.
    days: tuple[dt.date, dt.date] | None = None
    #: As many statements had written past the loader before it looked at what is stored.
    outside_writes: int | None = None
    #: The lines that were tried; None: all of the file. Those of them that pass are settled in the quarantine.
    tried: list[int] | None = None
    load_id: int | None = None
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

    def anew(self) -> Account:
        """The same load before anything was read."""
        return Account(
            self.file,
            self.source,
            stamp=self.stamp,
            sha256=self.sha256,
            format=self.format,
            tried=self.tried,
            load_id=self.load_id,
            started=self.started,
        )

    def failed(self, error: str) -> None:
        """Nothing was stored: rows that were not rejected are accounted for as such."""
        self.error = error
        self.counts = Counts()
        self.skipped = Counter()
        if rest := self.read - len(self.rejected):
            self.skipped[Reason.LOAD_FAILED] = rest


@cache
def loader_version() -> str:
    """The package's version and a digest of its code: the same bytes under other rules are not the same load."""
    digest = sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return f"{version('screener-data')}+{digest.hexdigest()[:12]}"


# --- runs -----------------------------------------------------------------------------------------------------------


@contextmanager
def run_of_loads(engine: Engine) -> Iterator[Connection]:
    """The connection for a run of loads. Its session holds the lock that tells others that this process lives."""
    with engine.connect() as connection:
        try:
            yield connection
        finally:
            if not connection.invalidated and connection.info.pop("run", None):
                try:
                    connection.rollback()
                    connection.execute(text("SELECT pg_advisory_unlock_all()"))
                    connection.commit()
                except SQLAlchemyError as error:
                    _log.info("the run's lock went with its connection: %s", reason_of(error))
                    connection.invalidate()


def _run(connection: Connection) -> int:
    """The number of the run, which is locked; a connection that was lost and made again is a run of its own."""
    if "run" not in connection.info:
        in_transaction = connection.in_transaction()
        connection.info["run"] = connection.execute(
            text(
                "SELECT run, pg_advisory_lock(:lock, (run % 2147483648)::integer) "
                "FROM nextval(pg_get_serial_sequence('load_files', 'id')) AS run"
            ),
            {"lock": _LOADS},
        ).scalar_one()
        if not in_transaction:
            connection.commit()
    return int(connection.info["run"])


def open_loads(connection: Connection, accounts: Sequence[Account]) -> None:
    """Say that loads are under way, in a transaction of its own."""
    run = _run(connection)
    with connection.begin():
        ids = connection.execute(
            text(
                "INSERT INTO load_files (source, file, stamp, loader_version, run) "
                "SELECT source, file, stamp, :version, :run FROM "
                "unnest(CAST(:sources AS text[]), CAST(:files AS text[]), CAST(:stamps AS text[])) "
                "WITH ORDINALITY AS given (source, file, stamp, place) ORDER BY place "
                # need not be on disk before the load's own commit is, which brings it there
                "RETURNING id, set_config('synchronous_commit', 'off', true)"
            ),
            {
                "sources": [account.source for account in accounts],
                "files": [account.file for account in accounts],
                "stamps": [account.stamp for account in accounts],
                "version": loader_version(),
                "run": run,
            },
        ).scalars()
        for account, load_id in zip(accounts, sorted(ids), strict=True):
            account.load_id = load_id


# --- how loads end --------------------------------------------------------------------------------------------------


def close_loads(connection: Connection, accounts: Sequence[Account]) -> None:
    """Write the rejects, the audit rows and the counts; the database checks that nothing is silent."""
    kept = _quarantine(connection, accounts)
    rows = []
    for account in accounts:
        reasons = account.reasons()
        errors = {"reasons": reasons, "error": _storable(account.error), "notes": account.notes}
        rows.append(
            {
                "id": account.load_id,
                "source": account.source,
                "state": account.status(),
                "read": account.read,
                "inserted": account.counts.inserted,
                "updated": account.counts.updated,
                "unchanged": account.counts.unchanged,
                "rejected": kept.get((account.source, account.sha256), 0) if account.rejected else 0,
                "skipped": account.skipped.total(),
                "errors": {name: value for name, value in errors.items() if value} or None,
                "elapsed": account.elapsed_ms(),
                "format": account.format,
                "sha256": account.sha256,
                "bytes": account.size,
                "reasons": reasons,
                "notes": account.notes or None,
                "error": _storable(account.error),
                "header": _storable(account.header),
                "target": account.target,
                "first_day": account.days and account.days[0],
                "last_day": account.days and account.days[1],
                "outside_writes": account.outside_writes,
            }
        )
    closed = connection.execute(
        text(
            f"WITH a AS MATERIALIZED (SELECT {_NEXT_LOG} AS log_id, r.* "
            "FROM json_to_recordset(CAST(:rows AS json)) AS r (id bigint, source text, state text, read bigint, "
            "inserted bigint, updated bigint, unchanged bigint, rejected bigint, skipped bigint, errors json, "
            "elapsed integer, format text, sha256 text, bytes bigint, reasons json, notes json, error text, "
            "header text, target text, first_day date, last_day date, outside_writes bigint)), "
            "logged AS (INSERT INTO ingestion_logs (id, source, status, records_fetched, records_inserted, "
            "records_updated, records_failed, errors, execution_time_ms) "
            "SELECT log_id, source, state, read, inserted, updated, rejected, errors, elapsed FROM a) "
            "UPDATE load_files f SET log_id = a.log_id, source = a.source, format = a.format, sha256 = a.sha256, "
            "bytes = a.bytes, state = a.state, read = a.read, inserted = a.inserted, updated = a.updated, "
            "unchanged = a.unchanged, rejected = a.rejected, skipped = a.skipped, reasons = a.reasons, "
            "notes = a.notes, error = a.error, header = a.header, target = a.target, first_day = a.first_day, "
            "last_day = a.last_day, outside_writes = a.outside_writes, finished_at = clock_timestamp() "
            "FROM a WHERE f.id = a.id RETURNING f.id, f.log_id"
        ),
        {"rows": _json(rows)},
    )
    logs = {row.id: row.log_id for row in closed}
    for account in accounts:
        account.log_id = logs[account.load_id]
        for note, what in account.notes.items():
            _log.info("%s: %s: %s", account.file, note, what)


# in brackets, or the sequence would be looked up once for every row
_NEXT_LOG = "nextval((SELECT pg_get_serial_sequence('ingestion_logs', 'id')))"


def close_failed(connection: Connection, accounts: Sequence[Account]) -> None:
    """The audit rows and the rejects, in a transaction of their own. The next run closes what cannot be closed now."""
    try:
        with connection.begin():
            close_loads(connection, accounts)
    except SQLAlchemyError as error:
        for account in accounts:
            account.log_id = None
            account.error = f"{account.error}; and the audit row could not be written: {reason_of(error)}"


def committed_after_all(connection: Connection, accounts: Sequence[Account]) -> bool:
    """Whether loads were stored although the answer to their commit was lost. Where that cannot be asked: no."""
    try:
        with connection.begin():
            found = connection.execute(
                text("SELECT id, log_id FROM load_files WHERE id = ANY(:ids) AND state <> 'running'"),
                {"ids": [account.load_id for account in accounts]},
            )
            logs = {row.id: row.log_id for row in found}
    except SQLAlchemyError as error:
        _log.info("what became of %d loads cannot be asked now: %s", len(accounts), reason_of(error))
        return False
    for account in accounts:
        account.log_id = logs.get(account.load_id or 0)
    return bool(logs)  # they share one transaction: all or none


def _quarantine(connection: Connection, accounts: Sequence[Account]) -> dict[tuple[str, str | None], int]:
    """Keep each rejected row once, and settle those of the same bytes that passed this time. Rows kept, by file."""
    kept: Counter[tuple[str, str | None]] = Counter()
    rows = [
        {
            "load_id": account.load_id,
            "source": account.source,
            "file": account.file,
            "sha256": account.sha256,
            "line": row.line,
            "reason": row.reason,
            "column": _storable(row.column and row.column[:100]),
            "detail": _storable(row.detail),
            "raw": _storable(row.raw),
            "symbol": row.symbol,
        }
        for account in accounts
        if account.sha256 is not None
        for row in account.rejected
    ]
    for start in range(0, len(rows), _REJECTS_AT_ONCE):
        found = connection.execute(
            text(
                'WITH kept AS (INSERT INTO rejects (load_id, source, file, sha256, line, reason, "column", detail, '
                'raw, symbol) SELECT load_id, source, file, sha256, line, reason, "column", detail, raw, symbol '
                "FROM json_to_recordset(CAST(:rows AS json)) AS r (load_id bigint, source text, file text, "
                'sha256 text, line integer, reason text, "column" text, detail text, raw text, symbol text) '
                "ON CONFLICT (source, sha256, line) DO UPDATE SET reason = excluded.reason, "
                '"column" = excluded."column", detail = excluded.detail, symbol = excluded.symbol, '
                "waiting = true, settled_by = NULL, tries = rejects.tries + 1 RETURNING source, sha256) "
                "SELECT source, sha256, count(*) FROM kept GROUP BY source, sha256"
            ),
            {"rows": _json(rows[start : start + _REJECTS_AT_ONCE])},
        )
        kept.update({(source, digest): count for source, digest, count in found})
    _settle(connection, {(a.source, a.sha256): a for a in accounts if a.sha256 is not None and a.error is None})
    return kept


_REJECTS_AT_ONCE = 10_000


def _settle(connection: Connection, accounts: dict[tuple[str, str | None], Account]) -> None:
    """Rows that waited in the quarantine, were tried now and not rejected again, wait no more."""
    waiting = connection.execute(
        text(
            "SELECT r.id, r.source, r.sha256, r.line FROM rejects r JOIN "
            "unnest(CAST(:sources AS text[]), CAST(:digests AS text[])) AS given (source, sha256) "
            "ON (r.source, r.sha256) = (given.source, given.sha256) WHERE r.waiting"
        ),
        {"sources": [source for source, _ in accounts], "digests": [digest for _, digest in accounts]},
    ).all()
    still = {key: {row.line for row in account.rejected} for key, account in accounts.items()}
    settled = [
        (reject_id, account.load_id)
        for reject_id, source, digest, line in waiting
        if line not in still[source, digest]
        and ((account := accounts[source, digest]).tried is None or line in account.tried)
    ]
    if settled:
        connection.execute(
            text(
                "UPDATE rejects r SET waiting = false, settled_by = given.load_id FROM "
                "unnest(CAST(:ids AS bigint[]), CAST(:loads AS bigint[])) AS given (id, load_id) WHERE r.id = given.id"
            ),
            {"ids": [reject_id for reject_id, _ in settled], "loads": [load_id for _, load_id in settled]},
        )


def close_killed_loads(engine: Engine) -> None:
    """Mark loads whose process is gone as failures: they hold no lock, and nothing of them was stored."""
    with engine.begin() as connection:
        running = connection.execute(
            text("SELECT id, source, file, coalesce(run, id) FROM load_files WHERE state = 'running'")
        ).all()
        gone = [
            run
            for run in {run for _, _, _, run in running}
            if connection.execute(
                text("SELECT pg_try_advisory_xact_lock(:lock, :run)"), {"lock": _LOADS, "run": run % 2**31}
            ).scalar_one()
        ]
        if not gone:
            return
        still = connection.execute(
            text("SELECT id FROM load_files WHERE state = 'running' AND coalesce(run, id) = ANY(:gone) FOR UPDATE"),
            {"gone": gone},
        ).scalars()
        ids = set(still)
        why = "the loading process was killed; nothing of the file was stored"
        close_loads(connection, [Account(f, s, load_id=id, error=why) for id, s, f, _ in running if id in ids])


def forget_loads(connection: Connection, accounts: Sequence[Account]) -> None:
    """Take back that loads are under way: their turn never came."""
    with connection.begin():
        connection.execute(
            text("DELETE FROM load_files WHERE id = ANY(:ids) AND state = 'running'"),
            {"ids": [account.load_id for account in accounts]},
        )


# --- known bytes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """A file that was loaded before and has not been written since."""

    load_id: int
    format: str
    #: Its rows surely stood in the table as they were loaded, after the load with this log.
    proved: bool
    last_log: int


def known_files(connection: Connection, stamps: Sequence[str | None], source: str | None) -> dict[str, Known]:
    """The last load that read each file, where it has not been written since, by its stamp.

    Proved are those whose days no later load has changed, and whose tables nothing else has touched.
    """
    wanted = [stamp for stamp in stamps if stamp]
    if not wanted:
        return {}
    changed = (
        "SELECT FROM load_files m WHERE m.target = f.target AND m.log_id > f.log_id AND m.inserted + m.updated > 0"
    )
    found = connection.execute(
        text(
            "WITH last AS MATERIALIZED (SELECT f.* FROM unnest(CAST(:stamps AS text[])) AS given (stamp) "
            "CROSS JOIN LATERAL (SELECT id, stamp, log_id, format, target, first_day, last_day, outside_writes, "
            "reasons FROM load_files WHERE stamp = given.stamp AND known_from IS NULL "
            "AND state IN ('success', 'partial') AND bytes IS NOT NULL "
            "AND loader_version = :version AND (CAST(:source AS text) IS NULL OR source = :source) "
            "ORDER BY log_id DESC LIMIT 1) f), "
            "writes AS MATERIALIZED (SELECT table_name, count(*) AS count FROM outside_writes GROUP BY table_name) "
            "SELECT f.stamp, f.id, f.format, f.first_day IS NOT NULL AND f.outside_writes IS NOT NULL "
            "AND f.outside_writes = (SELECT coalesce(sum(count), 0) FROM writes "
            "WHERE table_name IN (f.target, 'symbol_history')) "
            f"AND NOT coalesce(CAST(f.reasons AS jsonb), '{{}}') ? '{Reason.UNKNOWN_SYMBOL}' "
            f"AND NOT EXISTS ({changed} AND m.first_day BETWEEN f.first_day AND f.last_day) "
            f"AND NOT EXISTS ({changed} AND m.first_day < m.last_day "
            "AND m.first_day < f.first_day AND m.last_day >= f.first_day), "
            "(SELECT max(id) FROM ingestion_logs) FROM last f"
        ),
        {"stamps": wanted, "version": loader_version(), "source": source},
    )
    return {stamp: Known(load_id, format, proved, last_log) for stamp, load_id, format, proved, last_log in found}


def is_last_log(connection: Connection, log_id: int) -> bool:
    """Whether nothing has been loaded since."""
    return bool(connection.execute(text("SELECT max(id) = :id FROM ingestion_logs"), {"id": log_id}).scalar())


def settle_known(
    connection: Connection, known: Sequence[Known], files: Sequence[str], elapsed: int
) -> list[LoadResult]:
    """Record that files hold nothing new, each with the counts of the load that is still true."""
    settled = connection.execute(
        text(
            f"WITH again AS MATERIALIZED (SELECT {_NEXT_LOG} AS new_log_id, given.file AS given_file, f.* "
            "FROM unnest(CAST(:ids AS bigint[]), CAST(:files AS text[])) WITH ORDINALITY AS given (id, file, place) "
            "JOIN load_files f ON f.id = given.id ORDER BY place), "
            "logged AS (INSERT INTO ingestion_logs (id, source, status, records_fetched, records_inserted, "
            "records_updated, records_failed, errors, execution_time_ms) SELECT new_log_id, source, state, read, 0, 0, "
            "rejected, CASE WHEN CAST(reasons AS text) <> '{}' THEN json_build_object('reasons', reasons) END, "
            ":elapsed FROM again) "
            "INSERT INTO load_files (log_id, source, format, file, sha256, bytes, state, read, unchanged, rejected, "
            "skipped, reasons, header, loader_version, run, target, first_day, last_day, outside_writes, stamp, "
            "known_from, finished_at) SELECT new_log_id, source, format, given_file, sha256, bytes, state, read, "
            "inserted + updated + unchanged, rejected, skipped, reasons, header, loader_version, :run, target, "
            "first_day, last_day, outside_writes, stamp, id, clock_timestamp() FROM again "
            "RETURNING file, source, state AS status, sha256, read, unchanged, rejected, skipped, reasons, log_id"
        ),
        {"ids": [each.load_id for each in known], "files": list(files), "run": _run(connection), "elapsed": elapsed},
    )
    results = [LoadResult(**row, elapsed_ms=elapsed) for row in settled.mappings().all()]
    return sorted(results, key=lambda result: result.log_id or 0)


def _storable(value: str | None) -> str | None:
    """PostgreSQL's text holds no NUL; the sign for NUL stands for it."""
    return None if value is None else value.replace("\x00", "\u2400")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, default=str)
