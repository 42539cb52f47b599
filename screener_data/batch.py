"""Files that are stored in one transaction: their plain rows directly, all others by way of the staging table."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import psycopg2
import pyarrow as pa
from sqlalchemy import Connection, RootTransaction, text
from sqlalchemy.exc import SQLAlchemyError

from screener_data.database.bulk import (
    Counts,
    Place,
    Stage,
    copy_rows,
    indexes_built_last,
    insert_missing_copies,
    merge_by_key,
    sql_name,
)
from screener_data.database.engine import is_lost, reason_of
from screener_data.database.identity import (
    merge_securities,
    resolve,
    take_repeated_isins,
    to_current_symbols,
)
from screener_data.database.stays import ListOfDay, keep_stays
from screener_data.direct import Cells, Plain, by_symbol, compare_and_copy
from screener_data.errors import FileError, Reason
from screener_data.ledger import Account, close_failed, close_loads, committed_after_all
from screener_data.loaders import Parsed, Rejected
from screener_data.loaders.format import Format, Merge
from screener_data.loaders.list_day import told_day

__all__ = ["Batch", "File", "lock_tables"]

_IDENTITY = 0x1D  # advisory lock: shared by all loads, exclusive to those that can rename securities
_TABLE = 0x1E  # advisory lock, with a table's hash: loads into one table wait for each other
_WORTH_ANALYSING = 20_000  # rows: below, the planner's guess from the table's size will do
_WORTH_REBUILDING = 50_000  # rows for an empty table: then its indexes are built last
_AT_ONCE = 50_000  # rows are compared and copied together
_TO_COMMIT = 250_000
_FEW = 20  # of so many rows one: then its text is kept, and not that of all


@dataclass
class File:
    """One file on its way: its account, and its rows in pieces. Without a format it is refused, and has none."""

    account: Account
    #: Reads it once more, for a new account of the same load.
    again: Callable[[Account], File]
    format: Format | None = None
    pieces: Iterable[Plain | Parsed] = ()
    #: More than one piece: then the pieces are read while others are stored, and must not share a key.
    is_cut: bool = False
    days: set[dt.date] = field(default_factory=set)

    @classmethod
    def of(cls, account: Account, again: Callable[[Account], File], pieces: Sequence[Plain | Parsed]) -> File:
        """A file that was read to its end."""
        parsed = [piece.parsed if isinstance(piece, Plain) else piece for piece in pieces]
        days = {day for each in parsed for day in _days(each)}
        return cls(account, again, parsed[0].format, pieces, days=days)


class _SharedKeyError(Exception):
    """Pieces of a file seem to share a key: which row counts is the staging table's to say."""


class Batch:
    """Files of one format in one transaction, as long as they share no day: then none of them can meet another's rows.

    An error of the database, whatever its cause, leaves nothing stored, and the batch `broken`.
    """

    def __init__(self, connection: Connection, *, direct: bool = True, complete: bool = True) -> None:
        """`direct`: plain rows need no staging. `complete`: each file is there in full, and is not a part of it."""
        self.connection = connection
        self.direct = direct
        self.complete = complete
        self.files: list[File] = []
        self.broken: Exception | None = None
        self._format: Format | None = None
        self._transaction: RootTransaction | None = None
        self._indexes = ExitStack()
        self._was_committing = False
        self._is_filling = False  # an empty table, whose indexes are built last
        self._is_empty = False
        self._renamed: frozenset[str] = frozenset()
        self._outside_writes: int | None = None
        self._waiting: list[tuple[int, Plain]] = []
        self._keys: list[Any] = []
        self._stage: Stage | None = None
        self._staged = 0
        self._raw: dict[int, list[Mapping[int, str]]] = defaultdict(list)
        self._rows = 0
        self._days: set[dt.date] = set()

    def takes(self, file: File) -> bool:
        """Whether a file may share the transaction."""
        if self.broken:
            return False
        if self._format is None or file.format is None:
            return True
        alone = file.is_cut or self.files[-1].is_cut or not file.days
        full = self._rows >= _TO_COMMIT and not self._is_filling
        return file.format.name == self._format.name and not alone and not full and not file.days & self._days

    def add(self, file: File) -> None:
        """Take a file in, and store as much of it as can be stored by now."""
        self.files.append(file)
        if file.format is None or self.broken:
            return
        try:
            for piece in file.pieces:
                self._account(file, piece)
                if self._format is None:
                    self._begin(file.format)
                file.account.outside_writes = self._outside_writes
                self._take(len(self.files) - 1, file, piece)
        except (FileError, SQLAlchemyError, psycopg2.Error) as error:
            self._break(error)
        except BaseException:
            self.abandon()
            raise

    def finish(self) -> None:
        """Store what is left, write the accounts, commit."""
        if self.broken:
            return
        try:
            if self._format is None:
                self._transaction = self.connection.begin()
            else:
                self._store()
            close_loads(self.connection, [file.account for file in self.files])
            assert self._transaction is not None  # noqa: S101
            self._was_committing = True
            self._transaction.commit()
            self._transaction = None
        except (_SharedKeyError, SQLAlchemyError, psycopg2.Error) as error:
            self._break(error)
        except BaseException:
            self.abandon()
            raise

    def may_be_tried_again(self) -> bool:
        """Whether its files may fare better one by one, by way of the staging table: not where the server is gone."""
        if self.connection.invalidated or not self.direct:
            return False
        cause = getattr(self.broken, "orig", self.broken)
        return len(self.files) > 1 or isinstance(cause, _SharedKeyError | psycopg2.IntegrityError | psycopg2.DataError)

    def abandon(self) -> None:
        """Undo everything."""
        self._indexes.pop_all()  # what they would build is undone with the rest
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            if is_lost(self.connection):
                self.connection.invalidate()
            transaction.rollback()

    def _break(self, error: Exception) -> None:
        self.broken = error
        self.abandon()

    def fail(self) -> None:
        """Close the accounts of a broken batch as failures; unless only the answer to its commit was lost."""
        error = self.broken
        if self._was_committing and committed_after_all(self.connection, [file.account for file in self.files]):
            return
        why = str(error) if isinstance(error, FileError) else f"the database refused: {reason_of(error or Exception())}"
        for file in self.files:
            file.account.failed(file.account.error or why)
        close_failed(self.connection, [file.account for file in self.files])

    # --- the beginning ----------------------------------------------------------------------------------------------

    def _begin(self, format: Format) -> None:
        self._format = format
        self._transaction = self.connection.begin()
        lock_tables(self.connection, [format])
        if format.merge is Merge.SECURITIES or "date" not in format.key:
            return
        # before anything is compared: what is written from now on must show as a difference later
        table = format.target.__tablename__
        self._is_empty, self._outside_writes, renamed, _ = self.connection.execute(
            text(
                f"SELECT NOT EXISTS (SELECT FROM {table}), "
                "(SELECT count(*) FROM outside_writes WHERE table_name IN (:table, 'symbol_history')), "
                "ARRAY(SELECT symbol FROM symbol_history UNION "
                "SELECT t.symbol FROM symbol_history h JOIN securities t ON t.id = h.security_id), "
                "set_config('screener.loading', 'on', true)"
            ),
            {"table": table},
        ).one()
        self._renamed = frozenset(renamed)

    # --- rows come in -----------------------------------------------------------------------------------------------

    def _account(self, file: File, piece: Plain | Parsed) -> None:
        parsed = piece.parsed if isinstance(piece, Plain) else piece
        account = file.account
        account.read += parsed.read
        account.rejected += parsed.rejected
        account.skipped += parsed.skipped
        account.notes |= parsed.notes
        account.header = parsed.header
        self._rows += len(parsed.lines)
        file.days |= _days(parsed) if file.is_cut else set()
        self._days |= file.days
        if file.days:
            account.days = min(file.days), max(file.days)

    def _take(self, number: int, file: File, piece: Plain | Parsed) -> None:
        parsed = piece.parsed if isinstance(piece, Plain) else piece
        if not (self.direct and isinstance(piece, Plain)):
            self._stage = self._stage or _made_stage(self.connection, parsed)
            self._to_stage([(number, parsed, (parsed.columns, parsed.lines))])
            return
        if not len(parsed.lines):  # all of them are rejected or skipped
            return
        self._waiting.append((number, piece))
        if file.is_cut:
            self._keys.append(piece.hashes)
        if sum(len(plain.plain) for _, plain in self._waiting) >= _AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        """Compare and copy the plain rows that wait; what is left of them is staged."""
        assert self._format is not None  # noqa: S101
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if self._is_empty and not self._is_filling and self._rows >= _WORTH_REBUILDING:
            table = self._format.target.__tablename__
            self._is_filling = self._indexes.enter_context(indexes_built_last(self.connection, table))
        pieces = [piece for _, piece in waiting]
        done = compare_and_copy(
            self.connection, pieces, renamed=self._renamed, stored=not self._is_empty, filling=self._is_filling
        )
        for (number, _), (counts, _) in zip(waiting, done, strict=True):
            self.files[number].account.counts += counts
        self._to_stage([(number, piece.parsed, left) for (number, piece), (_, left) in zip(waiting, done, strict=True)])

    def _to_stage(self, left: list[tuple[int, Parsed, Cells]]) -> None:
        """Stage rows of pieces, all at once."""
        left = [(number, parsed, (cells, lines)) for number, parsed, (cells, lines) in left if len(lines)]
        if not left:
            return
        self._stage = self._stage or _made_stage(self.connection, left[0][1])
        numbers = np.concatenate([np.full(len(lines), number) for number, _, (_, lines) in left])
        lines = np.concatenate([lines for _, _, (_, lines) in left])
        columns = {"file": pa.array(numbers).cast(pa.string()), "line": pa.array(lines).cast(pa.string())}
        for name in left[0][2][0]:
            columns[name] = pa.chunked_array([cells[name] for _, _, (cells, _) in left])
        for name in left[0][1].given:
            columns[name] = pa.array([value for _, p, (_, n) in left for value in [p.given[name]] * len(n)])
        copy_rows(self.connection, "stage", by_symbol(columns) if "symbol" in columns else columns)
        self._staged += len(lines)
        for number, parsed, (_, these) in left:
            few = len(these) * _FEW < parsed.read
            self._raw[number].append({line: parsed.raw[line] for line in these.tolist()} if few else parsed.raw)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _store(self) -> None:
        self._flush()
        self._indexes.close()
        if len(self._keys) > 1 and pd.Series(np.concatenate(self._keys)).duplicated().any():
            raise _SharedKeyError
        if self._stage is not None:
            self._merge(self._stage)
        for file in self.files:
            if file.format is not None:
                file.account.target = file.format.target.__tablename__

    def _merge(self, stage: Stage) -> None:
        """Check the staged rows, and merge them; the accounts are filled from the database's answers."""
        format = self._format
        assert format is not None  # noqa: S101
        many = format.explode is not None
        out = _Outcome(stage, [file.account for file in self.files], self._raw, many_per_line=many)
        of_securities = "symbol" in stage.columns and "symbol" not in format.derived
        if format.merge not in (Merge.SECURITIES, Merge.MEMBERS) and of_securities:
            for number, renamed in to_current_symbols(stage, named_on=format.named_on).items():
                self.files[number].account.notes["rows_under_an_old_symbol"] = renamed
        for place, check in stage.take_broken():
            out.reject(place, Reason.BROKEN_RULE, None, f"breaks {check}: {_rule(format, check)}")
        if format.known_symbol is not None:
            for place, symbol in stage.take_unknown_symbols(format.known_symbol):
                detail = f"{symbol!r} is in no list of securities; the row is loaded when it arrives"
                out.reject(place, Reason.UNKNOWN_SYMBOL, format.known_symbol, detail, symbol)
        columns, key = format.stored, format.key or ("symbol",)
        if self._staged > _WORTH_ANALYSING:
            stage.analyze(key)
        stage.survey(key)
        out.left = False
        if format.merge is Merge.BY_COUNT:
            self._count(insert_missing_copies(stage, key, columns))
            return
        if format.outranked_if is not None and not format.fills:
            out.skip(stage.take_outranked(key, format.outranked_if), Reason.EXCHANGE_PRICE_KEPT)
        if stage.repeats:
            if format.preference is not None:
                out.skip(stage.take_less_preferred(key, format.preference), Reason.SERIES_NOT_PREFERRED)
            same, contradicting = stage.take_repeated(key, [name for name in columns if name not in format.worded])
            out.skip(same, Reason.DUPLICATE_ROW)
            for place, first in contradicting:
                why = f"contradicts line {first}, which has the same {', '.join(key)}"
                out.reject(place, Reason.DUPLICATE_KEY, None, why)
        if out.left:
            stage.survey(key)
        if format.merge is Merge.SECURITIES:
            self._merge_securities(stage, out, format)
            return
        if format.merge is Merge.MEMBERS:
            self._merge_members(stage, out, format)
            return
        if format.registers is not None:
            stage.run(format.registers.format(stage="stage"))
        outranked = {"outranked_if": format.outranked_if, "fills": format.fills}
        self._count(merge_by_key(stage, key, columns, **outranked, worded=format.worded, many_per_line=many))  # type: ignore[arg-type]
        if format.renames:
            notes = resolve(self.connection)
            for file in self.files:
                file.account.notes |= notes

    def _merge_securities(self, stage: Stage, out: _Outcome, format: Format) -> None:
        self._without_repeated_isins(stage, out)
        assert format.list_name is not None  # noqa: S101
        (file,) = (file for file in self.files if file.format is not None)
        given = self._list_of_day(stage, file.account, format, format.list_name)
        file.account.counts, notes = merge_securities(stage, format.stored, given)
        file.account.notes |= notes

    def _merge_members(self, stage: Stage, out: _Outcome, format: Format) -> None:
        self._without_repeated_isins(stage, out)
        (file,) = (file for file in self.files if file.format is not None)
        assert format.of is not None  # noqa: S101
        (name,) = stage.one(f"SELECT min({format.of}) FROM stage")
        if name is None:
            return
        stage.survey(format.key)
        given = self._list_of_day(stage, file.account, format, name)
        file.account.counts, spared = keep_stays(
            stage, format.target.__tablename__, format.of, [key for key in format.key if key != format.of], given
        )
        if spared:
            file.account.notes["taken_for_a_part_of_the_list_so_nobody_left"] = spared

    def _without_repeated_isins(self, stage: Stage, out: _Outcome) -> None:
        for place, symbol in take_repeated_isins(stage):
            out.reject(place, Reason.DUPLICATE_ISIN, "isin", f"its ISIN stands under {symbol!r} in this file")

    def _list_of_day(self, stage: Stage, account: Account, format: Format, name: str) -> ListOfDay:
        """What the file states, of which day: that of its path, else of the first load of the same bytes, else today.

        Which day it was, and what told it, is noted.
        """
        newest = None
        if "listing_date" in stage.columns:
            (newest,) = stage.one("SELECT max(listing_date) FROM stage")
        if told := told_day(account.file):
            day, told_by = told.within(newest), told.by
        else:
            (day,) = stage.one(
                "SELECT coalesce((SELECT CAST(notes ->> 'list_day' AS date) FROM load_files WHERE sha256 = :sha256 "
                "AND format = :format AND notes ->> 'list_day' IS NOT NULL ORDER BY id LIMIT 1), "
                "(now() AT TIME ZONE 'Asia/Kolkata')::date)",
                sha256=account.sha256,
                format=format.name,
            )
            told_by = "the day of its first load"
        account.notes |= {"list_day": day.isoformat(), "list_day_told_by": told_by}
        texts = [row.raw.replace('"', "").replace("\x00", "") for row in account.rejected]
        cells = [cell.strip() for text in texts for cell in text.split(",")]
        return ListOfDay(name, day, told_by, self.complete, cells)

    def _count(self, counts: dict[int, Counts]) -> None:
        for number, count in counts.items():
            self.files[number].account.counts += count


def lock_tables(connection: Connection, formats: Iterable[Format]) -> None:
    """Always in this order, so that loads wait for each other and never deadlock."""
    formats = list(formats)
    kind = "" if any(format.merge is Merge.SECURITIES or format.renames for format in formats) else "_shared"
    tables = sorted({format.target.__tablename__ for format in formats})
    connection.execute(
        text(
            f"SELECT pg_advisory_xact_lock{kind}(:identity), "
            + ", ".join(f"pg_advisory_xact_lock(:table, hashtext('{table}'))" for table in tables)
        ),
        {"identity": _IDENTITY, "table": _TABLE},
    )


@dataclass
class _Outcome:
    """Books rows that left the staging table. A line that made several rows is booked when all of them have left."""

    stage: Stage
    accounts: list[Account]
    raw: dict[int, list[Mapping[int, str]]]
    many_per_line: bool
    booked: set[Place] = field(default_factory=set)
    left: bool = False

    def _gone(self, places: list[Place]) -> list[Place]:
        self.left = self.left or bool(places)
        if not places or not self.many_per_line:
            return places
        lines = [place.line for place in places]
        left = set(self.stage.places("SELECT file, line FROM stage WHERE line = ANY(:lines)", lines=lines))
        gone = set(places) - left - self.booked
        self.booked |= gone
        return sorted(gone)

    def skip(self, places: list[Place], reason: Reason) -> None:
        for place in self._gone(places):
            self.accounts[place.file].skipped[reason] += 1

    def reject(self, place: Place, reason: Reason, column: str | None, detail: str, symbol: str | None = None) -> None:
        if self._gone([place]):
            raw = next(lines[place.line] for lines in self.raw[place.file] if place.line in lines)
            rejected = Rejected(place.line, reason, column, detail, raw, symbol)
            self.accounts[place.file].rejected.append(rejected)


def _made_stage(connection: Connection, parsed: Parsed) -> Stage:
    format = parsed.format
    stage = Stage(connection, format.target.__table__)  # type: ignore[arg-type]
    names = [*parsed.columns, *(name for name in [*parsed.given, *format.derived] if name not in parsed.columns)]
    stage.create({name: sql_name(format.sql_type(name)) for name in names}, format.derived_sql())
    return stage


def _rule(format: Format, check: str) -> str:
    for constraint in format.target.__table__.constraints:  # type: ignore[attr-defined]
        if constraint.name == check:
            return str(constraint.sqltext)
    return check


def _days(parsed: Parsed) -> set[dt.date]:
    """The days of a piece's rows; none where they are not dated."""
    if "date" in parsed.columns:
        return {dt.date.fromisoformat(cell) for cell in parsed.columns["date"].unique().to_pylist() if cell}
    return {dt.date.fromisoformat(parsed.given["date"])} if "date" in parsed.given and len(parsed.lines) else set()
