"""A run of all checks: in one moment of the database, remembered, and compared with the run before."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pandas as pd
from sqlalchemy import Connection, Engine, insert, text

from screener_data.database.engine import ready
from screener_data.ledger import loader_version
from screener_data.models import CheckFinding, CheckRun
from screener_data.quality import bars, books, events, figures, names
from screener_data.quality.declared import Check, Finding, RowCheck
from screener_data.quality.shared import Shared

__all__ = ["CHECKS", "check", "find", "trend"]

CHECKS: tuple[Check | RowCheck, ...] = (*bars.CHECKS, *names.CHECKS, *figures.CHECKS, *events.CHECKS, *books.CHECKS)

_log = logging.getLogger(__name__)


def check(*, engine: Engine | None = None) -> list[Finding]:
    """Run every check; one finding each, count 0 where all is well, `before` the count of the last run.

    The run is remembered in check_runs and check_findings, unless the engine can only read.

    >>> import screener_data as sd
    >>> [finding.name for finding in sd.check() if finding.severity == "error" and finding.count]
    []
    """
    engine = ready(engine)
    started = time.monotonic()
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        shared = Shared(connection)
        findings = _compared(connection, _found(connection, shared, CHECKS))
        read_only = connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on"
    if read_only:
        _log.info("this run of the checks is not remembered: the connection can only read")
    else:
        run = CheckRun(
            loader_version=loader_version(),
            last_session=shared.last_session,
            execution_time_ms=int((time.monotonic() - started) * 1000),
        )
        _remember(engine, run, findings)
    return findings


def find(connection: Connection, only: Iterable[str] | None = None, *, examples: int = 5) -> list[Finding]:
    """What the checks of these names, or all, find within a connection's transaction; nothing is remembered.

    Each finding has at most so many `examples`.
    """
    wanted = None if only is None else set(only)
    chosen = [each for each in CHECKS if wanted is None or each.name in wanted]
    return _found(connection, Shared(connection), chosen, examples)


def trend(runs: int = 30, *, engine: Engine | None = None) -> pd.DataFrame:
    """How many faults each check found in the last runs: a row a run, its time (UTC) as index, a column a check.

    NaN where a run did not know the check yet.
    """
    engine = ready(engine)
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT r.id, r.created_at AT TIME ZONE current_setting('TimeZone') AT TIME ZONE 'UTC', f.name, "
                "f.count FROM (SELECT * FROM check_runs ORDER BY id DESC LIMIT :runs) r "
                "JOIN check_findings f ON f.run_id = r.id ORDER BY r.id"
            ),
            {"runs": runs},
        ).all()
    found = pd.DataFrame(rows, columns=["run", "time", "name", "count"])
    table = found.pivot_table(index=["run", "time"], columns="name", values="count", aggfunc="first")
    order = [each.name for each in CHECKS if each.name in table]
    return table.reset_index("run", drop=True)[order].rename_axis(columns=None)


def _found(
    connection: Connection, shared: Shared, checks: Sequence[Check | RowCheck], examples: int = 5
) -> list[Finding]:
    # all bars are sorted several times; and no query is run often enough to be compiled
    connection.execute(text("SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true)"))
    of_rows = [each for each in checks if isinstance(each, RowCheck)]
    found: dict[str, tuple[int, list[str]]] = {}
    for table in dict.fromkeys(each.table for each in of_rows):
        found |= _run(
            connection, shared, _in_one_pass(table, [each for each in of_rows if each.table == table]), examples
        )
    for each in checks:
        if isinstance(each, Check):
            found |= _run(connection, shared, {each.name: each.query}, examples)
    return [
        Finding(each.name, each.severity, found[each.name][0], each.finds, each.todo, found[each.name][1])
        for each in checks
    ]


def _in_one_pass(table: str, checks: Sequence[RowCheck]) -> dict[str, str]:
    """The query of each check on `faulty`, the rows that any of them calls faults: they are found in one pass."""
    flags = ", ".join(f"({each.where})" for each in checks)
    # without OFFSET each condition would be asked twice
    faulty = (
        f"SELECT * FROM (SELECT b.*, ARRAY[{flags}] AS is_fault FROM {table} b OFFSET 0) b WHERE true = ANY (is_fault)"
    )
    return {"faulty": faulty} | {
        each.name: f"SELECT {each.says} FROM faulty b WHERE is_fault[{place}] ORDER BY {each.worst}"
        for place, each in enumerate(checks, 1)
    }


def _run(
    connection: Connection, shared: Shared, queries: dict[str, str], examples: int
) -> dict[str, tuple[int, list[str]]]:
    """How many texts each query returns, and the first of them; a query `faulty` is a table for the others."""
    tables = [shared.before(" ".join(queries.values()))]
    if "faulty" in queries:
        tables.append(f"faulty AS MATERIALIZED ({queries['faulty']})")
    names = [name for name in queries if name != "faulty"]
    tables += [f"{name} (fault) AS MATERIALIZED ({queries[name]})" for name in names]
    counted = " UNION ALL ".join(
        f"SELECT '{name}', (SELECT count(*) FROM {name}), ARRAY(SELECT fault FROM {name} LIMIT :examples)"
        for name in names
    )
    statement = f"WITH {', '.join(filter(None, tables))} {counted}"
    rows = connection.execute(text(statement), shared.of(statement) | {"examples": examples})
    return {name: (count, list(texts)) for name, count, texts in rows}


def _compared(connection: Connection, findings: list[Finding]) -> list[Finding]:
    last = "SELECT name, count FROM check_findings WHERE run_id = (SELECT max(id) FROM check_runs)"
    before = {name: count for name, count in connection.execute(text(last))}  # noqa: C416 - a Row is no pair to the type checker
    return [replace(finding, before=before.get(finding.name)) for finding in findings]


def _remember(engine: Engine, run: CheckRun, findings: list[Finding]) -> None:
    values = {name: getattr(run, name) for name in ("loader_version", "last_session", "execution_time_ms")}
    with engine.begin() as connection:
        run_id = connection.execute(insert(CheckRun).values(values).returning(CheckRun.id)).scalar_one()
        rows = [
            {"run_id": run_id, "name": found.name, "severity": found.severity, "count": found.count}
            for found in findings
        ]
        connection.execute(insert(CheckFinding), rows)
