"""load(): files in their order, read ahead, stored batch by batch. Each is stored whole or not at all, and audited."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from screener_data.batch import Batch, File, lock_tables
from screener_data.database.engine import ready, reason_of
from screener_data.direct import Plain, may_go_directly, plain_rows
from screener_data.errors import FileError, Reason, UnknownFormatError, UsageError
from screener_data.ledger import (
    Account,
    Known,
    LoadResult,
    close_failed,
    close_killed_loads,
    forget_loads,
    is_last_log,
    known_files,
    open_loads,
    run_of_loads,
    settle_known,
)
from screener_data.loaders import FORMATS, Member, Parsed, Rows, format_named, members, read_rows, read_together
from screener_data.loaders.archives import files, is_zip, stamp_of
from screener_data.loaders.files import Recognised, format_of, formats_by_name, recognise
from screener_data.loaders.format import Merge
from screener_data.loaders.reader import Block
from screener_data.loaders.sources import require_source

__all__ = ["LoadResult", "load", "replay"]

_UNKNOWN = "unknown"
_RANK = {format.name: rank for rank, format in enumerate(FORMATS)}
_TOGETHER = 1 << 22  # bytes of small files that are read together; a large one is read in its turn, in pieces
_READ_AHEAD = 4
_PIECES_AHEAD = 2
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


def load(
    path: str | Path | Iterable[str | Path], source: str | None = None, *, engine: Engine | None = None
) -> list[LoadResult]:
    """Load files, folders or zips; the source is told by header and name, or given.

    One result per file, in the order of loading: lists of securities first, then by path. A file that is refused
    or fails has status "failure" and its error; the others are loaded. In a folder, and in a zip, files of no
    source are passed over; a zip always holds some. A file that has not been written since it was loaded, and whose
    rows surely stand as they were stored, is not read again. Afterwards, rejected rows that waited for a symbol which
    has arrived are replayed.

    Raises UsageError (no such path or source) and DatabaseError (not reached, not migrated).

    >>> import screener_data as sd
    >>> [deals] = sd.load("deals/20250630/bulk.csv")
    >>> deals.source, deals.read == deals.inserted + deals.updated + deals.unchanged + deals.rejected + deals.skipped
    ('nse_bulk_deals', True)
    """
    engine = ready(engine)
    require_source(source)
    close_killed_loads(engine)
    paths = [Path(path)] if isinstance(path, str | Path) else list(map(Path, path))
    results: list[LoadResult] = []
    with _short_lived_arrays(), run_of_loads(engine) as connection:
        plan = _planned(connection, paths, source)
        bar = tqdm(total=len(plan), unit="file", desc="load", disable=len(plan) < 3 or not sys.stderr.isatty())
        with bar, closing(_loaded(connection, plan, source)) as loaded:
            rows = 0
            for result in loaded:
                results.append(result)
                rows += result.read
                bar.set_postfix_str(f"{rows / (bar.format_dict['elapsed'] or 1):,.0f} rows/s", refresh=False)
                bar.update()
    return results


@contextmanager
def _short_lived_arrays() -> Iterator[None]:
    """Arrow's own allocator hands memory back to the system after each file, and asks for fresh pages for the next.

    The C library's keeps it for the next file: a fifth of the reader's time.
    """
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(usual)


# --- which files, in which order ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Planned:
    """A file, its place in the order of loading, and the load that knows its bytes."""

    member: Member
    stamp: str | None = None
    rank: int = len(FORMATS)
    known: Known | None = None


def _planned(connection: Connection, paths: list[Path], source: str | None) -> list[_Planned]:
    """Lists before what refers to them, else by path. Only the rank is kept of a file, not its rows."""
    found = {path: [entry for file in files(path) for entry in _stamped(file)] for path in paths}
    with connection.begin():
        known = known_files(connection, [stamp for entries in found.values() for _, stamp in entries], source)
    plan: list[_Planned] = []
    for path, entries in found.items():
        inside: list[_Planned] = []
        for member, stamp in entries:
            if load := known.get(stamp or ""):
                inside.append(_Planned(member, stamp, _RANK[load.format], load))
            else:
                inside += _ranked(member, stamp, source)
        if not inside and path.is_dir():
            raise UsageError(f"{path}: no .csv, .json, .gz or .zip in this folder")
        plan += inside or [_Planned(Member.of(path))]
    return sorted(plan, key=lambda planned: planned.rank)


def _stamped(file: Path) -> list[tuple[Member, str | None]]:
    """A file, or what is in a zip, with its stamp. Whether another file is a zip is not looked up yet."""
    stamp = stamp_of(file)
    if file.suffix.lower() == ".zip":
        return [
            (member, f"{stamp}!{member.inside}" if stamp and member.inside is not None else None)
            for member in members(file)
        ]
    return [(Member.of(file), stamp)]


def _ranked(member: Member, stamp: str | None, source: str | None) -> list[_Planned]:
    """A file's place in the order; none for one in an archive that no source reads."""
    if (
        member.inside is None
        and is_zip(member.path)
        and (inside := [each for each in members(member.path) if each.inside is not None])
    ):
        return [planned for each in inside for planned in _ranked(each, None, source)]
    named = formats_by_name(member.name) if source is None else []
    try:
        format = named[0] if len(named) == 1 else format_of(member, source)
        return [_Planned(member, stamp, _RANK[format.name])]
    except FileError as error:
        if isinstance(error, UnknownFormatError) and member.inside is not None:
            _log.info("passed over, no source reads it: %s", member.label)
            return []
        return [_Planned(member, stamp)]  # loading it says why, and logs it


# --- from the plan to results ---------------------------------------------------------------------------------------


def _loaded(connection: Connection, plan: list[_Planned], source: str | None) -> Generator[LoadResult]:
    """The results of the planned files, in their order but for those whose bytes were known in vain."""
    groups = [list(group) for _, group in groupby(plan, key=lambda planned: planned.known is not None)]
    for place, group in enumerate(groups):
        if group[0].known is not None:
            settled, group = _settled(connection, group, source)
            yield from settled
        if group:
            yield from _stored(connection, group, source, first=place == 0)


def _settled(
    connection: Connection, group: list[_Planned], source: str | None
) -> tuple[list[LoadResult], list[_Planned]]:
    """Files whose rows surely stand as they were stored have their results; the others are left."""
    started = time.monotonic()
    known = {planned.stamp or "": planned.known for planned in group}
    formats = {each.format for each in known.values() if each}
    with connection.begin():
        lock_tables(connection, [format_named(name) for name in formats])
        if not all(is_last_log(connection, log) for log in {each.last_log for each in known.values() if each}):
            known = dict(known_files(connection, list(known), source))  # what was loaded since may have touched them
        pairs = [(planned, known.get(planned.stamp or "")) for planned in group]
        proved = [(planned.member.label, each) for planned, each in pairs if each and each.proved]
        results: list[LoadResult] = []
        if proved:
            elapsed = int((time.monotonic() - started) * 1000)
            results = settle_known(connection, [each for _, each in proved], [file for file, _ in proved], elapsed)
    return results, [planned for planned, each in pairs if not (each and each.proved)]


def _stored(
    connection: Connection, group: Sequence[_Planned], source: str | None, *, first: bool
) -> Iterator[LoadResult]:
    """Read files ahead, and store them batch by batch. What was begun is closed, whatever happens."""
    accounts = [_account(planned, source) for planned in group]
    with closing(_Ahead(_reads(group, accounts, source), _READ_AHEAD)) as ahead:
        try:
            open_loads(connection, accounts)
        except SQLAlchemyError as error:
            if first:
                raise
            for account in accounts:
                # as a result, since those of earlier files must not go with the server
                account.failed(f"the load could not be begun, nor be logged: {reason_of(error)}")
                yield account.result()
            return
        opened = {account.load_id: account for account in accounts}
        batch = Batch(connection)
        try:
            files = (read() for some in ahead for read in some)
            for file in chain(files, [None]):
                if batch.files and (file is None or not batch.takes(file)):
                    for account in _finished(batch):
                        del opened[account.load_id]
                        yield account.result()
                    if not batch.broken and any(_brings_symbols(each) for each in batch.files):
                        _replay_arrived(connection)
                    batch = Batch(connection)
                if file is not None:
                    batch.add(file)
        except BaseException as error:
            batch.abandon()
            begun = {file.account.load_id for file in batch.files}
            forget_loads(connection, [account for account in opened.values() if account.load_id not in begun])
            stopped = [file.account for file in batch.files if file.account.load_id in opened]
            for account in stopped:
                account.failed(f"stopped by {type(error).__name__}: {error}")
            close_failed(connection, stopped)
            raise


def _brings_symbols(file: File) -> bool:
    return file.format is not None and (file.format.merge is Merge.SECURITIES or file.format.renames)


def _finished(batch: Batch) -> Iterator[Account]:
    """Close a batch. One that the database refuses is tried again file by file, then by way of the staging table."""
    batch.finish()
    if batch.broken is None:
        yield from [file.account for file in batch.files]
        return
    if not batch.may_be_tried_again():
        batch.fail()
        yield from [file.account for file in batch.files]
        return
    _log.info("%d files are stored one by one: %s", len(batch.files), reason_of(batch.broken))
    for file in sorted(batch.files, key=lambda each: each.account.read):  # if room is short, it is not the large one's
        alone = Batch(batch.connection, direct=len(batch.files) > 1, complete=batch.complete)
        alone.add(file.again(file.account.anew()))
        yield from _finished(alone)


def _reads(
    group: Sequence[_Planned], accounts: list[Account], source: str | None
) -> Iterator[Callable[[], list[Callable[[], File]]]]:
    """How to read the files: small ones together, large ones in their turn."""
    together: list[tuple[Member, Account]] = []
    size = 0
    for planned, account in zip(group, accounts, strict=True):
        member = planned.member
        if together and (member.is_large or size > _TOGETHER):
            yield partial(_read_small, together, source)
            together, size = [], 0
        if member.is_large:
            yield partial(_in_its_turn, partial(_read, member, source, account))
        else:
            together.append((member, account))
            size += member.size
    if together:
        yield partial(_read_small, together, source)


def _account(planned: _Planned, source: str | None) -> Account:
    of = source or next((format.source for format in formats_by_name(planned.member.name)), _UNKNOWN)
    return Account(planned.member.label, of, stamp=planned.stamp)


def _in_its_turn(read: Callable[[], File]) -> list[Callable[[], File]]:
    return [read]


def _read_small(members: list[tuple[Member, Account]], source: str | None) -> list[Callable[[], File]]:
    """Read files whose rows are read together where they have one header."""
    read: list[File] = []
    found = [(_recognised(member, source, account), member, account) for member, account in members]
    for header, run in groupby(found, key=lambda each: _header_of(each[0])):
        alike = list(run)
        known = [each for each, _, _ in alike if each is not None]
        pieces = _pieces_together(known) if header is not None and len(known) > 1 else None
        for place, (each, member, account) in enumerate(alike):
            again = partial(_read, member, source)
            if each is None:
                read.append(File(account, again))
            elif pieces is not None:
                read.append(File.of(account, again, [pieces[place]]))
            else:
                read.append(_file_of(each, account, again))
    return [partial(_itself, file) for file in read]


def _itself(file: File) -> File:
    return file


def _header_of(known: Recognised | None) -> tuple[str, str] | None:
    """What files must have in common to be read together; None for those that are read alone."""
    if known is None or not isinstance(known.rows, Block) or known.is_cut or not may_go_directly(known.format):
        return None
    return known.format.name, known.rows.header or ""


def _pieces_together(known: list[Recognised]) -> list[Plain] | None:
    together = read_together([each.rows for each in known if isinstance(each.rows, Block)], known[0].format)
    if together is None:
        return None
    plain = plain_rows(together.parsed)
    return [plain.part(part, place) for part, place in zip(together.parts, together.places, strict=True)]


def _recognised(member: Member, source: str | None, account: Account) -> Recognised | None:
    """Tell a file's format; None for one that is refused, with the reason in its account."""
    try:
        known = recognise(member.label, member.data(), source)
    except FileError as error:
        account.failed(str(error))
        return None
    account.sha256, account.size = known.sha256, known.size
    account.source, account.format = known.format.source, known.format.name
    return known


def _read(member: Member, source: str | None, account: Account) -> File:
    """Read a file, or the first part of a large one. What is refused has the reason in its account."""
    again = partial(_read, member, source)
    known = _recognised(member, source, account)
    return File(account, again) if known is None else _file_of(known, account, again)


def _file_of(known: Recognised, account: Account, again: Callable[[Account], File]) -> File:
    blocks = known.pieces()
    try:
        if known.is_cut:
            pieces = _ahead((partial(_piece, known, block) for block in blocks), _PIECES_AHEAD)
            return File(account, again, known.format, pieces, is_cut=True)
        return File.of(account, again, [_piece(known, block) for block in blocks])
    except FileError as error:
        account.failed(str(error))
        return File(account, again)


def _piece(known: Recognised, rows: Rows | Block) -> Plain | Parsed:
    parsed = known.read(rows)
    return plain_rows(parsed, hashed=known.is_cut) if may_go_directly(known.format) else parsed


class _Ahead(Generic[_T]):
    """The results of calls, in order, made in another thread: up to `most` of them before they are asked for."""

    def __init__(self, calls: Iterable[Callable[[], _T]], most: int) -> None:
        self._calls, self._most = iter(calls), most
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[_T]] = deque()
        self._fill()

    def _fill(self) -> None:
        free = self._most - len(self._waiting)
        self._waiting.extend(self._thread.submit(call) for call in islice(self._calls, free))

    def __iter__(self) -> Iterator[_T]:
        try:
            while self._waiting:
                made = self._waiting.popleft()
                self._fill()
                yield made.result()
        finally:
            self.close()

    def close(self) -> None:
        """Make no more of them."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def _ahead(calls: Iterable[Callable[[], _T]], most: int) -> Iterator[_T]:
    """As _Ahead, but begun when the first of them is asked for."""
    yield from _Ahead(calls, most)


# --- the quarantine -------------------------------------------------------------------------------------------------


def replay(source: str | None = None, *, engine: Engine | None = None) -> list[LoadResult]:
    """Try the waiting rows of the quarantine again, by the rules of today. One result per file they came from.

    >>> import screener_data as sd
    >>> [(actions.read, actions.inserted, actions.rejected) for actions in sd.replay("nse_corporate_actions")]
    [(1, 0, 1)]
    """
    engine = ready(engine)
    require_source(source)
    with run_of_loads(engine) as connection:
        return _replay(connection, "(CAST(:source AS text) IS NULL OR r.source = :source)", source=source)


def _replay_arrived(connection: Connection) -> None:
    """Try the rows that waited for a symbol which is known by now."""
    _replay(
        connection,
        "r.reason = :unknown AND r.symbol IN (SELECT symbol FROM securities UNION SELECT symbol FROM symbol_history)",
        unknown=Reason.UNKNOWN_SYMBOL,
    )


def _replay(connection: Connection, condition: str, **values: Any) -> list[LoadResult]:
    with connection.begin():
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
    for found in files:
        account = Account(found.file, found.source, sha256=found.sha256, format=found.format, tried=found.lines)
        open_loads(connection, [account])
        rows = Rows(found.raw, found.lines, found.header)
        batch = Batch(connection, direct=False, complete=False)
        try:
            batch.add(_reread(rows, account))
            (done,) = _finished(batch)
        except BaseException as error:
            account.failed(f"stopped by {type(error).__name__}: {error}")
            close_failed(connection, [account])
            raise
        results.append(done.result())
    return results


def _reread(rows: Rows, account: Account) -> File:
    assert account.format is not None  # noqa: S101 - only rows of a known format are kept
    format = format_named(account.format)
    again = partial(_reread, rows)
    try:
        parsed = read_rows(rows, format, given=format.given_by_name(account.file))
    except FileError as error:
        account.failed(str(error))
        return File(account, again)
    parsed.notes = {"replay": True}  # the file's totals say nothing about some of its rows
    return File.of(account, again, [parsed])
