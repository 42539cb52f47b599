"""The evening's work without anybody there: one run at a time, a page of what it did, a word to whoever must know.

>>> from screener_data import evening
>>> evening.run().report  # doctest: +SKIP
PosixPath('runs/02_ingest_daily-20250630T133000Z.html')
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, field_validator
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from screener_data import notebooks
from screener_data.arguments import Day, as_day
from screener_data.config import settings
from screener_data.database.engine import ready, reason_of
from screener_data.errors import BusyError, NotebookError, ScreenerError
from screener_data.outcome import told

__all__ = ["NOTEBOOK", "EveningResult", "run"]

#: What does the work.
NOTEBOOK = "02_ingest_daily"
#: The advisory lock of a database that a run holds for its whole time.
_LOCK = 0x5C4EE_E7E
#: How people read counts; a notebook's file sorts them by name.
_ORDER = (
    *("new", "kept", "no_file", "missing", "failed"),
    *("read", "inserted", "updated", "unchanged", "deleted", "rejected", "skipped"),
    *("error", "warning", "info"),
)
_PATIENCE = 10.0  # seconds for the webhook
_log = logging.getLogger(__name__)


class EveningResult(BaseModel):
    """What an evening's run did: counts by name, as far as it came. `error` is None when all is well."""

    model_config = ConfigDict(frozen=True)

    status: Literal["success", "failure"]
    date: dt.date | None = None  # that was asked for; without one, today in India
    session: dt.date | None = None  # whose files were fetched; None where the date asked for is a holiday
    holiday: str | None = None  # says so, of the date
    files: dict[str, int] = {}  # by status: new, kept, no_file, missing, failed
    rows: dict[str, int] = {}  # read = inserted + updated + unchanged + rejected + skipped
    metrics: dict[str, int] = {}  # rows of calculated_metrics: inserted, updated, unchanged, deleted
    findings: dict[str, int] = {}  # checks that found something, by severity
    report: Path | None = None  # a page that needs no network
    notebook: Path | None = None  # the executed copy
    seconds: float
    error: str | None = None

    @field_validator("files", "rows", "metrics", "findings")
    @classmethod
    def _in_order(cls, counts: dict[str, int]) -> dict[str, int]:
        return dict(sorted(counts.items(), key=lambda count: _ORDER.index(count[0])))


def run(date: Day = None, sources: str | Sequence[str] | None = None) -> EveningResult:
    """Fetch a session (None: the last one), load it, compute the metrics, check; keep a page of it under SCREENER_RUNS.

    Safe to run again: only what is missing is fetched, and nothing is stored twice. A holiday is a success. While one
    run is under way in a database, another one does nothing and fails, naming the first. A failure is told to
    SCREENER_WEBHOOK_URL, where that is set; if that fails, too, a warning in the log says so.

    Raises UsageError (a wrong day or source) and ConfigError (a wrong setting); all else that goes wrong is the
    result's `error`.

    >>> evening.run("2025-06-28").holiday  # doctest: +SKIP
    'Saturday, 2025-06-28 is no session; the last one was 2025-06-27'
    """
    day = as_day(date)
    names = sources if isinstance(sources, str) else ",".join(sources or ())
    given = {name: value for name, value in (("date", day and day.isoformat()), ("sources", names)) if value}
    notebooks.check(NOTEBOOK, given)
    settings()
    started = time.monotonic()
    found: dict[str, Any] = {}
    try:
        with _alone():
            found = _executed(given)
    except SQLAlchemyError as error:
        found["error"] = f"the database refused: {reason_of(error)}"
    except (ScreenerError, OSError) as error:
        found["error"] = str(error)
    problem = notebooks.redacted(found.get("error"))
    found |= {"status": "failure" if problem else "success", "error": problem}
    result = EveningResult.model_validate(found | {"seconds": round(time.monotonic() - started, 1)})
    if result.error:
        _post(result)
    return result


def _executed(given: dict[str, str]) -> dict[str, Any]:
    """The notebook's outcome, the files it left, and its error."""
    try:
        done = notebooks.run(NOTEBOOK, given)
        output, error = done.output, done.error
    except NotebookError as lost:
        if lost.output is None:
            raise
        output, error = lost.output, str(lost)
    found = told(output) | {"notebook": str(output), "error": error}
    try:
        found["report"] = str(notebooks.to_html(output))
    except (ScreenerError, OSError) as failure:
        found["error"] = f"{error}; and no report: {failure}" if error else f"no report: {failure}"
    return found


# --- one at a time ---------------------------------------------------------------------------------------------------


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock; raises BusyError, which says who does.

    The lock goes with the connection, and so with this process, however it ends. The connection's name tells who it is:
    that is what any user of the server may see of another's.
    """
    since = dt.datetime.now(dt.UTC)
    with ready(None).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.detach()  # closed at the end, not kept for others with the lock and the name
        if not connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}).scalar_one():
            holder = connection.execute(text(_HOLDER), {"lock": _LOCK}).scalar()
            raise BusyError(
                f"another evening run is under way in this database: {holder or 'it has just ended'}. Nothing was "
                "done. Wait for it; if it hangs, end that process: the lock goes with it."
            )
        name = f"process {os.getpid()} on {socket.gethostname()[:24]} since {since:%Y-%m-%d %H:%M}Z"
        connection.execute(text("SELECT set_config('application_name', :name, false)"), {"name": name})
        try:
            yield
        finally:
            with suppress(SQLAlchemyError):  # a lost connection has lost the lock, too
                connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})


_HOLDER = """
    SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32 | objid::bigint) = :lock
"""


# --- a word to whoever must know -------------------------------------------------------------------------------------


def _post(result: EveningResult) -> None:
    """Tell the webhook; where that fails, the log. Neither names the address."""
    import httpx  # here, since only a failure needs it

    address = settings().webhook_url
    if address is None:
        return
    body: dict[str, JsonValue] = {"text": f"screener-data: the evening run failed: {result.error}"}
    body |= result.model_dump(mode="json")
    talk = logging.getLogger("httpx")
    talk.addFilter(_nothing)  # it logs each address
    try:
        answer = httpx.post(address.get_secret_value(), json=body, timeout=_PATIENCE)
        problem = None if answer.is_success else f"it answered {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # the last two: certificates, a proxy
        problem = f"{type(error).__name__}: {notebooks.redacted(str(error))}"
    finally:
        talk.removeFilter(_nothing)
    if problem:
        _log.warning("warning: the failure could not be told to SCREENER_WEBHOOK_URL: %s", problem)


def _nothing(_: logging.LogRecord) -> bool:
    return False
