"""Checks of what is stored: each a name, a severity, a query that finds faults, and what to do about them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pandas as pd
from sqlalchemy import Connection, Engine, text

from screener_data.adjust import days_of_actions
from screener_data.database.engine import ready
from screener_data.loaders import FORMATS
from screener_data.loaders.format import Merge

__all__ = ["CHECKS", "Check", "Finding", "check", "frame"]

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Check:
    """A declared check. The query returns one text per fault, the worst first.

    A query can speak of `known_days` (symbol, ex_date, factor) and `unknown_days` (symbol, ex_date, kind): the days of
    corporate actions in force, with the price factor, and the actions that have none.
    """

    name: str
    severity: Severity
    finds: str
    query: str
    todo: str


@dataclass(frozen=True)
class Finding:
    """What a check found; count 0 means that all is well."""

    name: str
    severity: Severity
    count: int
    detail: str
    todo: str
    examples: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether the check found an error."""
        return self.severity == "error" and self.count > 0


CHECKS = (
    Check(
        "bars_out_of_range",
        "error",
        "bars whose open or close is not between low and high, or that are not above zero",
        "SELECT symbol || ' ' || date FROM ohlcv_daily WHERE NOT (low <= open AND open <= high AND low <= close "
        "AND close <= high AND low > 0) ORDER BY date DESC, symbol",
        "Load the day's bhavcopy again; it overwrites what the exchange published.",
    ),
    Check(
        "bars_in_the_future",
        "error",
        "bars of a day that has not come yet",
        "SELECT symbol || ' ' || date FROM ohlcv_daily WHERE date > (now() AT TIME ZONE 'Asia/Kolkata')::date "
        "ORDER BY date DESC, symbol",
        "Look at the file they came from: its date was misread or it is not the exchange's.",
    ),
    Check(
        "audit_disagrees",
        "error",
        "audit rows that say something else than the load's own counts",
        "SELECT 'log ' || l.id || ' ' || l.source FROM ingestion_logs l JOIN load_files f ON f.log_id = l.id "
        "WHERE (l.records_fetched, l.records_inserted, l.records_updated, l.records_failed, l.status) "
        "IS DISTINCT FROM (f.read, f.inserted, f.updated, f.rejected, f.state) ORDER BY l.id DESC",
        "Somebody changed the audit; restore it from a backup.",
    ),
    Check(
        "quarantine_disagrees",
        "error",
        "loads whose rejected rows are not all in the quarantine",
        "SELECT f.file || ': ' || f.rejected || ' rejected' FROM load_files f WHERE f.rejected > "
        "(SELECT count(*) FROM rejects r WHERE r.source = f.source AND r.sha256 = f.sha256) ORDER BY f.id DESC",
        "Rows of the quarantine were deleted; load the file again.",
    ),
    Check(
        "loads_failed",
        "warning",
        "files whose last load failed",
        "SELECT file || ': ' || coalesce(error, 'unknown') FROM (SELECT DISTINCT ON (file) file, state, error "
        "FROM load_files WHERE notes ->> 'replay' IS NULL ORDER BY file, id DESC) last "
        "WHERE state = 'failure' ORDER BY file",
        "Read the error, mend or fetch the file, and load it again.",
    ),
    Check(
        "rejects_waiting",
        "warning",
        "rejected rows that wait in the quarantine",
        "SELECT source || ': ' || reason || ' × ' || count(*) FROM rejects WHERE waiting GROUP BY source, reason "
        "ORDER BY count(*) DESC",
        "See `screener-data rejects`; after mending the cause, `screener-data replay`.",
    ),
    Check(
        "bars_on_holidays",
        "warning",
        "days with bars that the holiday list calls closed",
        "SELECT o.date || ' ' || coalesce(h.holiday_name, '') || ', ' || count(*) || ' bars' FROM ohlcv_daily o "
        "JOIN market_holidays h ON h.holiday_date = o.date GROUP BY o.date, h.holiday_name ORDER BY o.date DESC",
        "A special session (Muhurat, a Saturday) is right; anything else is a wrong date.",
    ),
    Check(
        "thin_sessions",
        "warning",
        "days with fewer than half of the usual number of securities (median of the 41 days around)",
        "WITH days AS (SELECT date, count(*) AS bars FROM ohlcv_daily o WHERE NOT EXISTS "
        "(SELECT FROM indices i WHERE i.symbol = o.symbol) GROUP BY date), around AS (SELECT d.date, d.bars, "
        "(SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n.bars) FROM days n WHERE n.date BETWEEN d.date - 28 "
        "AND d.date + 28) AS usual FROM days d) SELECT date || ': ' || bars || ' of ' || round(usual) FROM around "
        "WHERE bars < usual / 2 ORDER BY date DESC",
        "Load the day's bhavcopy: what is there came from another source.",
    ),
    Check(
        "orphan_symbols",
        "info",
        "symbols with prices that are in no list of securities or indices",
        "SELECT symbol || ' (' || count(*) || ' bars)' FROM ohlcv_daily o WHERE NOT EXISTS (SELECT FROM securities s "
        "WHERE s.symbol = o.symbol) AND NOT EXISTS (SELECT FROM indices i WHERE i.symbol = o.symbol) GROUP BY symbol "
        "ORDER BY count(*) DESC, symbol",
        "Load the lists (EQUITY_L, SME, ETF, REITs, InvITs); delisted securities stand in older ones.",
    ),
    Check(
        "maybe_one_security",
        "info",
        "securities that left all lists while another of the same issuer came, and that no change of symbols joins",
        "WITH stays AS (SELECT security_id, left(min(isin), 7) AS issuer, min(valid_from) AS since, "
        "CASE WHEN bool_and(valid_until IS NOT NULL) THEN max(valid_until) END AS until FROM listings "
        "WHERE list_name <> 'by hand' GROUP BY security_id) "
        "SELECT a.symbol || ' up to ' || old.until || ', ' || b.symbol || ' from ' || new.since FROM stays old "
        "JOIN stays new ON new.issuer = old.issuer AND new.since >= old.until AND new.security_id <> old.security_id "
        "JOIN securities a ON a.id = old.security_id JOIN securities b ON b.id = new.security_id "
        # a rights entitlement is another security, and lives for days
        "WHERE a.security_type = 'EQUITY' AND a.symbol !~ '-RE[0-9]*$' AND b.symbol !~ '-RE[0-9]*$' "
        "ORDER BY old.until DESC, a.symbol",
        "Load symbolchange.csv and lists of days in between; a demerged part, or a second class of shares, is right.",
    ),
    Check(
        "jumps_without_action",
        "warning",
        "closes more than 38 % below or 60 % above the bar before, with no corporate action in between",
        "WITH bars AS (SELECT symbol, date, close, lag(close) OVER ordered AS before, lag(date) OVER ordered AS since "
        "FROM ohlcv_daily WINDOW ordered AS (PARTITION BY symbol ORDER BY date)) "
        "SELECT symbol || ' ' || date || ': ' || before || ' → ' || close || CASE WHEN date - since > 10 "
        "THEN ', after ' || date - since || ' days' ELSE '' END FROM bars b "
        "WHERE before > 0 AND (close < 0.62 * before OR close > 1.6 * before) "
        "AND NOT EXISTS (SELECT FROM corporate_actions a WHERE a.symbol = b.symbol "
        "AND a.ex_date > b.since AND a.ex_date <= b.date) "
        # a rights entitlement lives for days, and is worth what is left of a difference
        "AND NOT EXISTS (SELECT FROM indices i WHERE i.symbol = b.symbol) AND symbol !~ '-RE[0-9]*$' "
        "ORDER BY abs(ln(close / before)) DESC, date",
        "Load the day's corporate actions; what they lack goes into manual_factors.csv, with a reason.",
    ),
    Check(
        "actions_without_jump",
        "warning",
        "factors below 0.8 or above 1.25 of which the next open shows less than half (in logarithms)",
        "SELECT k.symbol || ' ' || k.ex_date || ': factor ' || round(k.factor::numeric, 4) || ', ' || cum.close "
        "|| ' → ' || ex.open FROM known_days k, "
        "LATERAL (SELECT close FROM ohlcv_daily o WHERE o.symbol = k.symbol AND o.date < k.ex_date "
        "ORDER BY date DESC LIMIT 1) cum, "
        "LATERAL (SELECT open FROM ohlcv_daily o WHERE o.symbol = k.symbol AND o.date >= k.ex_date "
        "ORDER BY date LIMIT 1) ex "
        "WHERE (k.factor < 0.8 OR k.factor > 1.25) AND cum.close > 0 AND ex.open > 0 "
        "AND abs(ln(ex.open / cum.close)) < abs(ln(ex.open / cum.close) - ln(k.factor)) "
        "ORDER BY abs(ln(k.factor)) DESC",
        "Was the ex-date moved, or the action called off? A line in manual_factors.csv with factors 1 takes it back.",
    ),
    Check(
        "actions_without_factor",
        "warning",
        "corporate actions whose effect on the price no file tells, and no manual line",
        "SELECT u.symbol || ' ' || u.ex_date || ': ' || u.kind FROM unknown_days u "
        "WHERE EXISTS (SELECT FROM ohlcv_daily o WHERE o.symbol = u.symbol AND o.date < u.ex_date) "
        "AND EXISTS (SELECT FROM ohlcv_daily o WHERE o.symbol = u.symbol AND o.date >= u.ex_date) "
        "ORDER BY u.ex_date DESC, u.symbol",
        "Take the factor from the scheme's cost of acquisition, or the prices around, into manual_factors.csv.",
    ),
    Check(
        "market_cap_differs",
        "warning",
        "market capitalisations that are not the day's close × issue size, by more than 1 %",
        "SELECT m.symbol || ' ' || m.date || ': ' || m.market_cap || ' crore' FROM market_cap_history m "
        "JOIN ohlcv_daily o USING (symbol, date) WHERE abs(m.market_cap - o.close * m.issue_size * 0.0000001) "
        "> 0.01 * m.market_cap + 0.01 ORDER BY m.date DESC, m.symbol",
        "Compare both files; a security that last traded on an earlier day is right.",
    ),
)


def check(*, engine: Engine | None = None) -> list[Finding]:
    """Run every check; one finding each, count 0 where all is well.

    >>> import screener_data as sd
    >>> [finding.name for finding in sd.check() if finding.severity == "error" and finding.count]
    []
    """
    engine = ready(engine)
    with engine.connect() as connection:
        actions = _days_of_actions(connection)
        return [_run(connection, each, actions) for each in (*CHECKS, *_lost_rows())]


def frame(findings: list[Finding]) -> pd.DataFrame:
    """The findings as a table: check, severity, count, what is counted, examples, what to do."""
    rows = [asdict(finding) | {"examples": "; ".join(finding.examples)} for finding in findings]
    return pd.DataFrame(rows, columns=["name", "severity", "count", "detail", "examples", "todo"]).set_index("name")


def _run(connection: Connection, each: Check, actions: dict[str, list[Any]]) -> Finding:
    tables = [f"{name} AS ({query})" for name, query in _ACTIONS.items() if name in each.query]
    found = connection.execute(
        text(
            (f"WITH {', '.join(tables)} " if tables else "")
            + f"SELECT count(*) AS faults, (array_agg(fault))[1:5] AS examples FROM ({each.query}) AS faults (fault)"
        ),
        actions if tables else {},
    ).one()
    return Finding(each.name, each.severity, found.faults, each.finds, each.todo, list(found.examples or []))


#: What the checks say about actions is computed where prices are adjusted, and handed to the database.
_ACTIONS = {
    "known_days": "SELECT * FROM unnest(CAST(:symbols AS text[]), CAST(:ex_dates AS date[]), "
    "CAST(:factors AS float8[])) AS known (symbol, ex_date, factor)",
    "unknown_days": "SELECT * FROM unnest(CAST(:unknown_symbols AS text[]), CAST(:unknown_ex_dates AS date[]), "
    "CAST(:unknown_kinds AS text[])) AS unknown (symbol, ex_date, kind)",
}


def _days_of_actions(connection: Connection) -> dict[str, list[Any]]:
    days = days_of_actions(connection)
    known = [day for day in days if day.is_known]
    unknown = [(day, kind) for day in days for kind in day.unknown]
    return {
        "symbols": [day.symbol for day in known],
        "ex_dates": [day.ex_date for day in known],
        "factors": [float(day.price) for day in known],
        "unknown_symbols": [day.symbol for day, _ in unknown],
        "unknown_ex_dates": [day.ex_date for day, _ in unknown],
        "unknown_kinds": [kind for _, kind in unknown],
    }


_JOINED = " + (SELECT coalesce(sum(CAST(notes ->> 'joined' AS integer)), 0) FROM load_files)"


def _lost_rows() -> list[Check]:
    """One check per table: it must hold at least the rows that its loads inserted, since no load ever deletes.

    But two securities that turn out to be one share a row from then on, and so do stays in an index.
    """
    targets: dict[str, list[str]] = {}
    for format in FORMATS:
        if format.merge is not Merge.MEMBERS:
            targets.setdefault(format.target.__tablename__, []).append(format.name)
    checks = []
    for table, formats in targets.items():
        names = ", ".join(f"'{name}'" for name in formats)
        checks.append(
            Check(
                f"rows_lost_{table}",
                "error",
                f"rows that loads inserted into {table} and that are gone",
                f"SELECT loaded || ' were inserted, ' || stored || ' are there' FROM (SELECT "
                f"(SELECT coalesce(sum(inserted), 0) FROM load_files WHERE format IN ({names})) AS loaded, "
                f"(SELECT count(*) FROM {table}){_JOINED if table == 'securities' else ''} AS stored) counted "
                "WHERE stored < loaded",
                "Somebody deleted rows: load the files again, or restore a backup.",
            )
        )
    return checks
