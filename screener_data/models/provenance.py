"""Our own tables: what was loaded from where, what was rejected, what checks found, which names a security had."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, UniqueConstraint, text, true
from sqlalchemy.orm import Mapped, mapped_column

from screener_data.columns import (
    ISIN,
    AnyText,
    Count,
    Day,
    JsonObject,
    LongCount,
    Name,
    Symbol,
    Text20,
    Text50,
    Text100,
)
from screener_data.models.base import Base, BigKey, CreatedAt

__all__ = [
    "Calculation",
    "CheckFinding",
    "CheckRun",
    "IndexConstituent",
    "ListDay",
    "Listing",
    "LoadFile",
    "NameChange",
    "OutsideWrite",
    "Reject",
    "SymbolChange",
    "SymbolHistory",
]


class LoadFile(Base):
    """One row is one load of one file: all its counts, and what it was loaded from and with. Key: id.

    `running` is a load under way, or one whose process was killed; the next load marks the latter a failure.
    """

    __tablename__ = "load_files"
    __table_args__ = (
        CheckConstraint("state IN ('running', 'success', 'partial', 'failure')", name="ck_load_files_state"),
        CheckConstraint(
            "read = inserted + updated + unchanged + rejected + skipped",
            name="ck_load_files_nothing_is_silent",
        ),
        CheckConstraint("least(inserted, updated, unchanged, rejected, skipped) >= 0", name="ck_load_files_counts"),
        Index("ix_load_files_stamp_log_id", "stamp", "log_id", postgresql_where=text("known_from IS NULL")),
        # which later loads changed a day: those that begin on it, and the few of many days that began before
        Index("ix_load_files_changed_from", "first_day", "log_id", postgresql_where=text("inserted + updated > 0")),
        Index(
            "ix_load_files_changed_until",
            "last_day",
            "log_id",
            postgresql_where=text("inserted + updated > 0 AND first_day < last_day"),
        ),
    )

    id: Mapped[BigKey]
    log_id: Mapped[LongCount | None] = mapped_column(ForeignKey("ingestion_logs.id"), unique=True)
    source: Mapped[Text50] = mapped_column(index=True)
    format: Mapped[Text50 | None]
    file: Mapped[AnyText] = mapped_column(comment="as given; a zip's member after '!'")
    sha256: Mapped[Text100 | None] = mapped_column(index=True)
    bytes: Mapped[LongCount | None]
    state: Mapped[Text20] = mapped_column(server_default=text("'running'"), index=True)
    read: Mapped[LongCount] = mapped_column(server_default=text("0"))
    inserted: Mapped[LongCount] = mapped_column(server_default=text("0"))
    updated: Mapped[LongCount] = mapped_column(server_default=text("0"))
    unchanged: Mapped[LongCount] = mapped_column(server_default=text("0"))
    rejected: Mapped[LongCount] = mapped_column(server_default=text("0"))
    skipped: Mapped[LongCount] = mapped_column(server_default=text("0"))
    reasons: Mapped[JsonObject | None]
    notes: Mapped[JsonObject | None]
    error: Mapped[AnyText | None]
    header: Mapped[AnyText | None] = mapped_column(comment="the file's own header row, for replays")
    loader_version: Mapped[Text50 | None]
    run: Mapped[LongCount | None] = mapped_column(comment="the first load of the same run, whose lock tells it lives")
    target: Mapped[Text50 | None] = mapped_column(comment="the table that the rows went to")
    first_day: Mapped[Day | None]
    last_day: Mapped[Day | None]
    outside_writes: Mapped[LongCount | None] = mapped_column(comment="as many had touched the target before this load")
    stamp: Mapped[AnyText | None] = mapped_column(comment="where the file lies and since when, as git sees it")
    known_from: Mapped[LongCount | None] = mapped_column(
        ForeignKey("load_files.id"), index=True, comment="the load of the same bytes that these counts are from"
    )
    started_at: Mapped[CreatedAt]
    finished_at: Mapped[dt.datetime | None] = mapped_column(DateTime)


class OutsideWrite(Base):
    """One row is one statement that wrote past the loader, or `calculate`, to a table that is compared with or cached.

    Source: triggers, see the third and the eighth migration. Key: id.

    While there is no new one, and no later load changed the same days, a file of known bytes need not be loaded again.
    """

    __tablename__ = "outside_writes"

    id: Mapped[BigKey]
    table_name: Mapped[Text50] = mapped_column(index=True)
    created_at: Mapped[CreatedAt]


class Reject(Base):
    """One row is one row of a file that breaks a rule, kept to be looked at and replayed.

    Key: (source, sha256, line): the same row of the same bytes is kept once, however often it is loaded.
    """

    __tablename__ = "rejects"
    __table_args__ = (
        UniqueConstraint("source", "sha256", "line", name="uq_rejects_source_sha256_line"),
        Index("ix_rejects_waiting", "source", "reason", postgresql_where=text("waiting")),
    )

    id: Mapped[BigKey]
    load_id: Mapped[LongCount] = mapped_column(ForeignKey("load_files.id"), index=True)
    source: Mapped[Text50]
    file: Mapped[AnyText]
    sha256: Mapped[Text100]
    line: Mapped[Count] = mapped_column(comment="1 is the file's first line; in JSON, the entry's place")
    reason: Mapped[Text50]
    column: Mapped[Text100 | None]
    detail: Mapped[AnyText | None]
    raw: Mapped[AnyText]
    symbol: Mapped[Symbol | None] = mapped_column(comment="whose arrival in securities is waited for")
    waiting: Mapped[bool] = mapped_column(server_default=true())
    tries: Mapped[Count] = mapped_column(server_default=text("0"))
    created_at: Mapped[CreatedAt]
    settled_by: Mapped[LongCount | None] = mapped_column(
        ForeignKey("load_files.id"), index=True, comment="the load that took the row in the end"
    )


class Calculation(Base):
    """One row is one run of the formulas that stored rows of calculated_metrics. Source: computed. Key: id.

    All stored metrics are of the newest version here: another version has everything computed anew. The newest row
    that has `states` also has the formulas' memory after last_day, and what it was computed from.
    """

    __tablename__ = "calculations"

    id: Mapped[BigKey]
    version: Mapped[Count] = mapped_column(comment="of the formulas")
    benchmark: Mapped[Symbol]
    first_day: Mapped[Day | None] = mapped_column(comment="of the stored rows")
    last_day: Mapped[Day | None]
    inserted: Mapped[LongCount]
    updated: Mapped[LongCount]
    unchanged: Mapped[LongCount]
    deleted: Mapped[LongCount]
    seen_load: Mapped[LongCount] = mapped_column(comment="every load up to this id was taken into account")
    outside_writes: Mapped[LongCount] = mapped_column(comment="as many had touched the prices before")
    symbols: Mapped[bytes | None] = mapped_column(comment="securities.id of each state, int32; 0 is the benchmark")
    ranked: Mapped[bytes | None] = mapped_column(comment="which of them are rated, one byte each")
    states: Mapped[bytes | None] = mapped_column(comment="formulas.STATE of each")
    scales: Mapped[bytes | None] = mapped_column(comment="what corporate actions made of prices and volumes")
    execution_time_ms: Mapped[Count]
    created_at: Mapped[CreatedAt]


class CheckRun(Base):
    """One row is one run of the data-quality checks, all of them. Source: `check`. Key: id."""

    __tablename__ = "check_runs"

    id: Mapped[BigKey]
    loader_version: Mapped[Text50]
    last_session: Mapped[Day | None] = mapped_column(comment="the last stored day on which securities traded")
    execution_time_ms: Mapped[Count]
    created_at: Mapped[CreatedAt]


class CheckFinding(Base):
    """One row is how many faults one check found in one run; 0 is kept, too. Key: (run_id, name)."""

    __tablename__ = "check_findings"
    __table_args__ = (
        CheckConstraint("severity IN ('error', 'warning', 'info')", name="ck_check_findings_severity"),
        CheckConstraint("count >= 0", name="ck_check_findings_count"),
    )

    run_id: Mapped[LongCount] = mapped_column(ForeignKey("check_runs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[Text100] = mapped_column(primary_key=True)
    severity: Mapped[Text20]
    count: Mapped[LongCount]


class ListDay(Base):
    """One row is one day of which a list is known. Source: the loads of lists. Key: (list_name, day).

    The day is that of the file's name or folder; of the month that a folder names, the first day on which the list can
    be as it is; else the day of the load.
    """

    __tablename__ = "list_days"

    list_name: Mapped[Text50] = mapped_column(primary_key=True, comment="or an index's name")
    day: Mapped[Day] = mapped_column(primary_key=True)
    told_by: Mapped[Text50]


class Listing(Base):
    """One row is one security's stay on one list under one name, ISIN and listing date. Source: the lists.

    Key: (list_name, symbol, isin, listing_date, valid_from). From the first list that shows it up to the first that
    does not, exclusive; valid_until is NULL while the newest list shows it. Where both are one day, a later list of the
    same day took its place. Rows that nobody's list told have the list name `by hand`.
    """

    __tablename__ = "listings"
    __table_args__ = (
        UniqueConstraint(
            *("list_name", "symbol", "isin", "listing_date", "valid_from"),
            name="uq_listings_stay",
            postgresql_nulls_not_distinct=True,
        ),
        CheckConstraint("valid_until >= valid_from", name="ck_listings_days"),
    )

    id: Mapped[BigKey]
    list_name: Mapped[Text50]
    symbol: Mapped[Symbol] = mapped_column(index=True)
    isin: Mapped[ISIN] = mapped_column(index=True)
    listing_date: Mapped[Day | None]
    valid_from: Mapped[Day]
    valid_until: Mapped[Day | None]
    security_id: Mapped[int | None] = mapped_column(ForeignKey("securities.id", ondelete="CASCADE"), index=True)


class IndexConstituent(Base):
    """One row is one security's stay in one index under one name and ISIN. Source: ind_*list.csv.

    Key: (index_name, symbol, isin, valid_from). Days as in Listing; the symbol is that of its days.
    """

    __tablename__ = "index_constituents"
    __table_args__ = (
        UniqueConstraint("index_name", "symbol", "isin", "valid_from", name="uq_index_constituents_stay"),
        CheckConstraint("valid_until >= valid_from", name="ck_index_constituents_days"),
    )

    id: Mapped[BigKey]
    index_name: Mapped[Text50]
    symbol: Mapped[Symbol] = mapped_column(index=True)
    isin: Mapped[ISIN] = mapped_column(index=True)
    valid_from: Mapped[Day]
    valid_until: Mapped[Day | None]


class SymbolHistory(Base):
    """One row is one name that a security gave up. Source: lists and symbol changes. Key: (security, symbol, until).

    valid_until is the first day on which the name was no longer its own: the exchange's date where a symbol-change
    list tells it, else the day of the first list with the new name. It is computed anew of all lists and changes;
    without known_by it is from before lists had days, and stays.
    """

    __tablename__ = "symbol_history"
    __table_args__ = (UniqueConstraint("security_id", "symbol", "valid_until"),)

    id: Mapped[BigKey]
    security_id: Mapped[int] = mapped_column(ForeignKey("securities.id", ondelete="CASCADE"))
    symbol: Mapped[Symbol] = mapped_column(index=True)
    valid_until: Mapped[Day]
    known_by: Mapped[Text50 | None]
    created_at: Mapped[CreatedAt]


class SymbolChange(Base):
    """One row is one change of a symbol as the exchange lists it. Source: symbolchange.csv. Key: (old, new, date)."""

    __tablename__ = "symbol_changes"
    __table_args__ = (UniqueConstraint("old_symbol", "new_symbol", "change_date"),)

    id: Mapped[BigKey]
    security_name: Mapped[Name | None]
    old_symbol: Mapped[Symbol]
    new_symbol: Mapped[Symbol] = mapped_column(index=True)
    change_date: Mapped[Day]
    created_at: Mapped[CreatedAt]


class NameChange(Base):
    """One row is one change of a company's name as the exchange lists it. Source: namechange.csv.

    Key: (symbol, old name, new name, date).
    """

    __tablename__ = "name_changes"
    __table_args__ = (UniqueConstraint("symbol", "old_name", "new_name", "change_date"),)

    id: Mapped[BigKey]
    symbol: Mapped[Symbol]
    old_name: Mapped[Name]
    new_name: Mapped[Name]
    change_date: Mapped[Day]
    created_at: Mapped[CreatedAt]
