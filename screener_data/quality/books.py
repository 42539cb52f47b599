"""Checks of the books: what loads said they did, what waits, what is late, and rows that are gone."""

from __future__ import annotations

from screener_data.loaders import FORMATS
from screener_data.loaders.format import Merge
from screener_data.quality.declared import Check

__all__ = ["CHECKS"]


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


#: By kind of file: what tells the last day of it that is stored.
_KINDS = {
    "index levels": "SELECT max(date) FROM ohlcv_daily WHERE symbol IN (SELECT symbol FROM indices)",
    "market capitalisations": "SELECT max(date) FROM market_cap_history",
    "bulk deals": "SELECT max(date) FROM bulk_deals",
    "surveillance measures": "SELECT max(date) FROM surveillance_measures",
}
_LAST_DAYS = " UNION ALL ".join(f"SELECT '{kind}' AS kind, ({query}) AS last" for kind, query in _KINDS.items())

CHECKS = (
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
        "loads_unfinished",
        "warning",
        "loads that began more than a day ago and never ended",
        "SELECT file || ', since ' || date_trunc('minute', started_at) FROM load_files WHERE state = 'running' "
        "AND started_at < now()::timestamp - interval '1 day' ORDER BY id DESC",
        "Its process was killed: the next load marks it, and the file is to be loaded again.",
    ),
    Check(
        "loads_cut_short",
        "warning",
        "a session's files with fewer than half of the rows that are usual for their kind (median)",
        # of deals there may be any number
        "SELECT file || ': ' || read || ' of ' || round(usual) || ' rows' FROM load_files JOIN (SELECT format, "
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY read) AS usual FROM load_files WHERE first_day = last_day "
        "AND read > 0 GROUP BY format HAVING count(*) >= 5) kinds USING (format) WHERE first_day = last_day "
        "AND notes ->> 'replay' IS NULL AND state IN ('success', 'partial') AND read < usual / 2 "
        "AND source NOT IN ('nse_bulk_deals', 'nse_block_deals', 'nse_corporate_actions', 'upstox_ohlcv', "
        "'upstox_quotes') ORDER BY load_files.id DESC",
        "The download broke off: fetch the file again and load it.",
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
        "prices_late",
        "warning",
        "sessions since the last stored one, today left out",
        "SELECT day::date::text FROM generate_series((SELECT max(date) + 1 FROM session_days)::timestamp, "
        "(now() AT TIME ZONE 'Asia/Kolkata')::date - 1, '1 day') AS day WHERE day::date IN (SELECT date FROM "
        "special_days) OR extract(isodow FROM day) < 6 AND day::date NOT IN (SELECT date FROM closed_days) "
        "ORDER BY day DESC",
        "Load the bhavcopies since then.",
    ),
    Check(
        "sources_late",
        "info",
        "kinds of file whose last day is more than five sessions behind the prices",
        "SELECT kind || ': last ' || last || ', ' || count(*) || ' sessions behind' FROM "
        f"({_LAST_DAYS}) kinds JOIN session_days d ON d.date > last GROUP BY kind, last HAVING count(*) > 5 "
        "ORDER BY count(*) DESC, kind",
        "Load the days' files, where they are wanted.",
    ),
    *_lost_rows(),
)
