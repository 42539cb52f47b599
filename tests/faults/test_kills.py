"""`kill -9` at random moments of a load: of the loading process, and of the server. Afterwards nothing lies.

Every file of the market made here fills places of its own (a table's day, its own rejects), so that the tables
tell for each file whether it was stored: it must stand there whole or not at all, and exactly if its audit row
says so. A last, undisturbed load must then bring every table to where one undisturbed load would have brought it.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import URL, Connection, NullPool, create_engine, make_url, text

import screener_data as sd
from screener_data.database import migrate
from screener_data.database.embedded import EmbeddedServer

PROGRAM = Path(sys.executable).with_name("screener-data")
SEED = int(os.environ.get("SCREENER_FAULTS_SEED", "20250116"))
START_UP = 1.5  # seconds of a load before it touches the database, about
PATIENCE = 120.0  # seconds for anything that must happen

EQUITY = "SYMBOL,NAME OF COMPANY, SERIES, DATE OF LISTING, PAID UP VALUE, MARKET LOT, ISIN NUMBER, FACE VALUE\n"
BHAVCOPY = (
    "SYMBOL, SERIES, DATE1, PREV_CLOSE, OPEN_PRICE, HIGH_PRICE, LOW_PRICE, LAST_PRICE, CLOSE_PRICE, AVG_PRICE, "
    "TTL_TRD_QNTY, TURNOVER_LACS, NO_OF_TRADES, DELIV_QTY, DELIV_PER\n"
)
MARKET_CAP = (
    "Trade Date,Symbol,Series,Security Name,Category,Last Trade Date,Face Value(Rs.),Issue Size,"
    "Close Price/Paid up value(Rs.),Market Cap(Rs.)\n"
)
DEALS = "Date,Symbol,Security Name,Client Name,Buy/Sell,Quantity Traded,Trade Price / Wght. Avg. Price,Remarks\n"

Place = tuple[str, str]  # a table, and within it a day; or "rejects", and the file they came from
Contents = dict[Place, tuple[int, int]]  # how many rows, and the sum of their hashes: equal for equal sets of rows
Counts = tuple[int, ...]  # as COUNTS, for a load that stored its file


# --- a market of which each file has places of its own ------------------------------------------------------------


def write_market(folder: Path, *, days: int, symbols: int, older: bool = False) -> dict[str, list[Place]]:
    """Write the files, and say which places each of them fills. `older`: half of the rows stood otherwise."""

    def isin(n: int) -> str:
        return f"INE{n:05d}1010"

    def stale(n: int) -> bool:
        return older and n % 2 == 0

    places: dict[str, list[Place]] = {}

    def write(name: str, content: str, *filled: Place) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        places[str(path)] = [*filled, ("rejects", str(path))]

    names = [f"S{n:04d}" for n in range(symbols)]
    listed = [
        f"{name},{'Older' if stale(n) else 'Newer'} {name} Limited,EQ,06-OCT-2008,5,1,{isin(n)},5\n"
        for n, name in enumerate(names)
    ]
    write("lists/EQUITY_L.csv", EQUITY + "".join(listed), ("securities", ""), ("listings", ""), ("list_days", ""))
    for at in range(days):
        day = dt.date(2023, 1, 2) + dt.timedelta(at)
        lines = []
        for n, name in enumerate(names):
            close = 100 + (n * 7 + at * 13) % 900 / 10 - stale(n)
            prices = f"{close - 1:.2f}, {close:.2f}, {close + 2:.2f}, {close - 2:.2f}, {close:.2f}, {close:.2f}"
            lines.append(f"{name}, EQ, {day:%d-%b-%Y}, {prices}, {close:.2f}, {1000 + n}, 1.00, 10, 500, 50.00\n")
        lines.append(f"BOND, GB, {day:%d-%b-%Y}, 1, 1, 1, 1, 1, 1, 1, 5, 1.00, 1, 1, 1.00\n")  # skipped: a bond
        lines.append(f"BROKEN, EQ, {day:%d-%b-%Y}, 1, 1, 1, 1, 1, {at}x, 1, 5, 1.00, 1, 1, 1.00\n")  # rejected
        name = f"bhavcopies/sec_bhavdata_full_{day:%d%m%Y}.csv"
        write(name, BHAVCOPY + "".join(lines), ("ohlcv_daily", str(day)))
        if at % 10 == 4:
            when = f"{day:%d %b %Y}".upper()
            caps = [
                f"{when},{name},EQ,A COMPANY,Listed,{when},5.00,35286502,226.80,{8_000_000 * (n + 9 + stale(n))}.65\n"
                for n, name in enumerate([*names, "GHOST"])  # GHOST is in no list, and so is rejected
            ]
            write(f"caps/MCAP{day:%d%m%Y}.csv", MARKET_CAP + "".join(caps), ("market_cap_history", str(day)))
        if at % 10 == 7:
            deal = [
                f"{day:%d-%b-%Y},{name},A Company,A FUND,BUY,{1000 + stale(n)},10.00,-\n".upper()
                for n, name in enumerate(names[:20])
            ]
            write(f"deals/{day}/bulk.csv", DEALS + "".join(deal) + deal[0], ("bulk_deals", str(day)))  # the first twice
    return places


@dataclass(frozen=True)
class Market:
    """The files to be loaded, and from what beginnings."""

    folder: Path
    places: dict[str, list[Place]]
    older: Path
    size: dict[str, int]

    def prepare(self, database: Database, beginning: str) -> None:
        """Fill a new database: nothing; a third of the days, as they stood before; or half of the files themselves."""
        if beginning == "empty":
            return
        paths: list[str | Path] = list(self.places)[::2]
        if beginning == "older":
            paths = list(write_market(self.older, **self.size, older=True))[::3]
        load(paths, database.url)


# --- looking at a database ----------------------------------------------------------------------------------------

COUNTS = "read, inserted, updated, unchanged, rejected, skipped"
OURS = {"alembic_version", "ingestion_logs", "load_files", "outside_writes"}  # not data of the files
#: What may differ between two ways to the same contents.
FREE = {"id", "created_at", "updated_at", "load_id", "settled_by", "tries", "sha256"}
#: Every relation, column, default, index, constraint and trigger, with what makes it valid and crash-proof.
CATALOG = """
    SELECT 'relation', concat_ws(' ', relname, relkind, relpersistence, reloptions)
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'index', concat_ws(' ', pg_get_indexdef(i.indexrelid), indisvalid, indisready, indislive, indisreplident)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'constraint', concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'column', concat_ws(' ', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull,
        pg_get_expr(adbin, adrelid))
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE c.relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'trigger', concat_ws(' ', pg_get_triggerdef(oid), tgenabled) FROM pg_trigger WHERE NOT tgisinternal
    ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Database:
    """One database, asked through connections that are closed at once: nobody is in the way of a DROP or a kill."""

    url: URL

    def rows(self, query: str, **values: object) -> list[tuple[object, ...]]:
        engine = create_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            result = connection.execute(text(query), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def contents(self) -> Contents:
        engine = create_engine(self.url, poolclass=NullPool)
        with engine.connect() as connection:
            return _contents(connection)

    def shape(self) -> list[tuple[object, ...]]:
        """Every table, column, index and constraint, as the catalog states them."""
        return self.rows(CATALOG)

    def wait_until_alone(self) -> None:
        """A killed process leaves its server side behind; that ends its statement, then itself."""
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        wait_for(lambda: self.rows(others + "AND backend_type = 'client backend'") == [(0,)], "the others to leave")


def _contents(connection: Connection) -> Contents:
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(
        text(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
            "ORDER BY table_name, ordinal_position"
        )
    ):
        columns.setdefault(table, []).append(column)
    parts = []
    for table, names in columns.items():
        if table in OURS:
            continue
        # numbers of ours name a security in some tables: its ISIN says the same
        told = [
            "(SELECT isin FROM securities x WHERE x.id = t.security_id)" if name == "security_id" else f't."{name}"'
            for name in names
            if name not in FREE
        ]
        place = next((f"t.{name}::text" for name in ("date", "file") if name in names), "''")
        parts.append(
            f"SELECT '{table}', {place}, count(*), sum(hashtextextended(ROW({', '.join(told)})::text, 0)) "
            f"FROM {table} t GROUP BY 2"
        )
    found = connection.execute(text(" UNION ALL ".join(parts)))
    return {(table, place): (rows, int(hashes)) for table, place, rows, hashes in found}


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s in vain for {what}"
        time.sleep(0.01)


# --- a load, and what an undisturbed one does ---------------------------------------------------------------------


class Load:
    """`screener-data load FOLDER`, as a process of its own."""

    def __init__(self, folder: Path, database: Database, environment: dict[str, str]) -> None:
        self.newest = _number(database, "SELECT coalesce(max(id), 0) FROM load_files")
        self.talk = tempfile.TemporaryFile()  # noqa: SIM115 - closed below; a pipe would have to be read all the time
        self.process = subprocess.Popen(
            [PROGRAM, "load", folder],
            env=environment,
            cwd=folder,  # far from any .env and alembic.ini: the environment alone says which database
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.talk,
        )

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.talk.close()

    def said(self) -> str:
        return os.pread(self.talk.fileno(), 1 << 20, 0).decode()

    def ends_within(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def recorded(self, database: Database) -> bool:
        """Wait for the first record of the load; False if it ended before one was seen."""
        newest = text("SELECT coalesce(max(id), 0) FROM load_files")
        engine = create_engine(database.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            wait_for(
                lambda: self.process.poll() is not None or connection.execute(newest).scalar_one() > self.newest,
                "the load to begin",
            )
        return self.process.poll() is None

    def reported(self, database: Database) -> None:
        """Wait for the load's last line, in which it says what it did."""
        deadline = time.monotonic() + PATIENCE
        while " files: read " not in self.said():
            assert self.process.poll() is None, f"it ended without a report: {self.said()}"
            at_work = (
                "SELECT pid, state, wait_event_type, wait_event, query FROM pg_stat_activity WHERE datname IS NOT NULL"
            )
            assert time.monotonic() < deadline, f"it hangs: {self.said()} {database.rows(at_work)}"
            time.sleep(0.005)

    def code(self) -> int:
        assert self.ends_within(PATIENCE), f"the load does not end; it said: {self.said()}"
        return self.process.returncode


def load(paths: Iterable[str | Path], url: URL) -> None:
    """Load to the end, in this process; every file must be stored."""
    engine = create_engine(url)
    results = sd.load(paths, engine=engine)
    engine.dispose()
    assert [result for result in results if result.status == "failure"] == []


def environment_for(url: URL | None = None, **more: str) -> dict[str, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SCREENER_")}
    where = {} if url is None else {"SCREENER_DATABASE_URL": url.render_as_string(hide_password=False)}
    return bare | where | more


@dataclass
class Course:
    """One beginning, and what an undisturbed load makes of it; then the loads that are killed on their way there."""

    places: dict[str, list[Place]]
    before: Contents
    after: Contents
    counts: dict[str, Counts]
    working: float  # seconds from its first record to its last
    since: int  # loads of the beginning itself have ids up to this one
    shape: list[tuple[object, ...]]
    killed: set[int] = field(default_factory=set)
    context: str = ""

    @classmethod
    def measured(cls, database: Database, market: Market) -> Course:
        """Load once without disturbance and note everything. The database is used up by this."""
        before, shape = database.contents(), database.shape()
        since = _number(database, "SELECT coalesce(max(id), 0) FROM load_files")
        load([market.folder], database.url)
        counts = {str(file): tuple(rest) for file, *rest in database.rows(_STORED, since=since)}
        [(working,)] = database.rows(
            "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM load_files WHERE id > :since",
            since=since,
        )
        assert isinstance(working, float)
        course = cls(market.places, before, database.contents(), counts, working, since, shape)
        assert counts.keys() == market.places.keys(), "the undisturbed load did not store every file"
        assert database.shape() == shape, "the undisturbed load itself left the tables in another shape"
        course.assert_distinct()
        return course

    def wait(self, running: Load, database: Database, moment: float) -> bool:
        """Wait for a moment of the load's life, or for its end; whether it is over.

        Start-up is dull, and takes longer on a busy machine: it gets the first tenth of the moments, and the others
        are counted from the load's first record.
        """
        if moment < 0.1:
            return running.ends_within(START_UP * moment * 10)
        if running.recorded(database):
            begin = time.monotonic()
            if not running.ends_within(self.working * (moment - 0.1) / 0.9):
                return False
            self.working = min(self.working, time.monotonic() - begin)  # it outran us: so it lives shorter
        return True

    def assert_distinct(self) -> None:
        """The test must be able to tell: no file leaves its places as they were, unless it was there before."""
        known = {place for places in self.places.values() for place in places}
        changed = {place for place, is_ in self.after.items() if self.before.get(place) != is_}
        assert changed <= known, f"places that no file is known to fill: {sorted(changed - known)[:5]}"

    def stored(self, contents: Contents, file: str) -> bool:
        """Whether the file's rows stand in the tables; a part of them is a failure."""
        now = [contents.get(place) for place in self.places[file]]
        old = [self.before.get(place) for place in self.places[file]]
        new = [self.after.get(place) for place in self.places[file]]
        assert now in (old, new), f"{self.context}: {file} is there in part: {now}, neither {old} nor {new}"
        return now == new

    def changes(self, file: str) -> bool:
        """Whether the beginning lacked this file."""
        return any(self.before.get(place) != self.after.get(place) for place in self.places[file])

    def check(self, database: Database, context: str) -> Counter[str]:
        """After a kill and before anything else: each file whole or absent, and the books say which."""
        self.context = context
        assert database.shape() == self.shape, f"{context}: an index, constraint or table is missing or new"
        assert_indexes_agree(database, context)
        contents, (books, running) = database.contents(), self._books(database)
        found: Counter[str] = Counter()
        for file in self.places:
            stored, told = self.stored(contents, file), file in books
            if self.changes(file):
                assert stored == told, f"{context}: {file}: stored: {stored}, but its audit row says {told}"
                found["stored" if stored else "absent"] += 1
        nowhere = {place for places in self.places.values() for place in places}
        others = {place: is_ for place, is_ in contents.items() if place not in nowhere}
        assert others == {place: is_ for place, is_ in self.before.items() if place not in nowhere}, context
        self.killed |= running
        found["running"] = len(running)
        return found

    def check_end(self, database: Database, context: str) -> None:
        """After the last, undisturbed load: as if none had been killed, and every killed one is on the books."""
        self.context = context
        found = self.check(database, context)
        assert found["running"] == 0, f"{context}: {found['running']} loads are still called running"
        contents = database.contents()
        wrong = {place: (is_, self.after.get(place)) for place, is_ in contents.items() if self.after.get(place) != is_}
        assert contents == self.after, f"{context}: lost or doubled rows, (there, wanted): {wrong}"
        marked = database.rows(
            "SELECT f.id, f.state, f.error, l.status FROM load_files f LEFT JOIN ingestion_logs l ON l.id = f.log_id "
            "WHERE f.id = ANY(:killed)",
            killed=sorted(self.killed),
        )
        assert {row[0] for row in marked} == self.killed, f"{context}: records of killed loads are gone"
        for row in marked:
            assert row[1] == row[3] == "failure", f"{context}: a killed load is told as {row}"
            assert "killed" in str(row[2]), f"{context}: a killed load is told as {row}"

    def _books(self, database: Database) -> tuple[set[str], set[int]]:
        """Which files the audit says are stored, and which loads it says run; all its rows must be true."""
        logged = database.rows(
            "SELECT f.id, f.state, l.status, f.read, l.records_fetched, f.inserted, l.records_inserted, f.updated, "
            "l.records_updated, f.rejected, l.records_failed FROM load_files f LEFT JOIN ingestion_logs l "
            "ON l.id = f.log_id WHERE f.state <> 'running'"
        )
        for id_, *pairs in logged:
            assert pairs[0::2] == pairs[1::2], f"{self.context}: load {id_} and its log differ: {pairs}"
        assert _number(database, "SELECT count(*) FROM ingestion_logs") == len(logged), self.context
        silent = database.rows(
            "SELECT * FROM load_files WHERE read <> inserted + updated + unchanged + rejected + skipped"
        )
        assert silent == [], f"{self.context}: read is not the sum: {silent}"
        books: set[str] = set()
        for name, *counts in database.rows(_STORED, since=self.since):
            file, (read, *_, rejected, skipped) = str(name), counts
            want = self.counts[file]
            if file in books:  # it was stored by an earlier load: this one found it there
                want = (read, 0, 0, read - rejected - skipped, *want[-2:])
            assert tuple(counts) == want, f"{self.context}: {file} is told as {counts}, not {want}"
            books.add(file)
        running = {int(str(id_)) for (id_,) in database.rows("SELECT id FROM load_files WHERE state = 'running'")}
        return books, running


#: Loads that stored their file whole, in their order; replays are none.
_STORED = (
    f"SELECT file, {COUNTS} FROM load_files WHERE state IN ('success', 'partial') AND id > :since "
    "AND notes ->> 'replay' IS NULL ORDER BY id"
)


def _number(database: Database, query: str) -> int:
    [(number,)] = database.rows(query)
    assert isinstance(number, int)
    return number


def assert_indexes_agree(database: Database, context: str) -> None:
    """An index that a load left out, or a crash cut short, would stand there as valid and without the rows."""
    engine = create_engine(database.url, poolclass=NullPool)
    with engine.connect() as connection:
        total = connection.execute(text("SELECT count(*) FROM ohlcv_daily")).scalar_one()
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        for every in ("id > 0", "symbol > ''", "date > '1900-01-01'"):
            query = f"SELECT count(*) FROM ohlcv_daily WHERE {every}"
            plan = "".join(connection.execute(text(f"EXPLAIN {query}")).scalars())
            assert "Index" in plan, plan
            found = connection.execute(text(query)).scalar_one()
            assert found == total, f"{context}: an index of ohlcv_daily has {found} of {total} rows ({every})"


def clone(server: URL, template: URL) -> Database:
    """A copy of a database that nobody uses."""
    name = f"kills_{uuid.uuid4().hex[:12]}"
    Database(server).rows(f'CREATE DATABASE "{name}" TEMPLATE "{template.database}"')
    return Database(server.set(database=name))


def moments(number: int, random: Random) -> list[float]:
    """Random moments of a load's life (0 its start, 1 its end): one in each of so many equal parts, shuffled."""
    found = [(part + random.random()) / number for part in range(number)]
    random.shuffle(found)
    return found


# --- the loading process is killed --------------------------------------------------------------------------------


#: What is in the database before: nothing, a third of the days as they stood before, or half of the files.
BEGINNINGS = ("empty", "older", "half")


@pytest.fixture
def market(tmp_path: Path, full: bool) -> Market:
    """The files to be loaded, and where those of before would go."""
    # more than 50,000 bars: then an empty table may be filled in a way of its own
    size = {"days": 100, "symbols": 1500} if full else {"days": 36, "symbols": 1400}
    return Market(tmp_path / "files", write_market(tmp_path / "files", **size), tmp_path / "older", size)


def test_a_load_killed_at_any_moment_leaves_each_file_whole_or_absent(
    servers: dict[str, URL],
    templates: dict[str, URL],
    drop_database: Callable[[URL, URL], None],
    market: Market,
    full: bool,
) -> None:
    random, kills = Random(SEED), 50 if full else 5
    when = moments(kills, random)
    outcome: Counter[str] = Counter()
    made: list[tuple[URL, Database]] = []
    prepared: dict[tuple[str, str], tuple[URL, Course]] = {}

    def copy_of(server: str, template: URL) -> Database:
        made.append((servers[server], clone(servers[server], template)))
        return made[-1][1]

    try:
        for chain in itertools.count():
            # into an empty table; into one of which rows will change; into one that has half of the files
            beginning = BEGINNINGS[chain % len(BEGINNINGS)]
            server = list(servers)[(chain // len(BEGINNINGS) if full else chain) % len(servers)]
            if (server, beginning) not in prepared:
                template = copy_of(server, templates[server])
                market.prepare(template, beginning)
                database = copy_of(server, template.url)
                prepared[server, beginning] = (
                    template.url,
                    Course.measured(database, market),
                )
            template_url, course = prepared[server, beginning]
            course.killed.clear()
            database = copy_of(server, template_url)
            environment = environment_for(database.url)
            for _ in range(random.randint(1, 4) if full else 3):
                if not when:
                    break
                moment = when.pop()
                with Load(market.folder, database, environment) as running:
                    over = course.wait(running, database, moment)
                    assert not over or running.code() == 0, running.said()
                database.wait_until_alone()
                found = course.check(
                    database, f"seed {SEED}, chain {chain} ({server}, {beginning}), killed at {moment:.3f} of the load"
                )
                outcome += tally(found, over=over)
                if not found["absent"]:
                    break
            load([market.folder], database.url)
            course.check_end(database, f"seed {SEED}, chain {chain} ({server}, {beginning}), loaded again")
            outcome["loads marked as killed"] += len(course.killed)
            server_url, database = made.pop()
            drop_database(server_url, database.url)
            if not when:
                break
    finally:
        for server_url, database in made:
            drop_database(server_url, database.url)
    print(f"\nseed {SEED}: {kills} kills of the loading process: {dict(outcome)}")
    assert outcome["the load was over"] <= kills / 2, f"seed {SEED}: most kills came too late to tell: {outcome}"


def tally(found: Counter[str], *, over: bool) -> Counter[str]:
    """One kill, by what it left behind."""
    if over:
        what = "the load was over"
    elif not found["absent"]:
        what = "all files stored"
    elif found["stored"] > 1:
        what = "some files stored"
    elif found["stored"]:
        what = "one file stored"  # the list; the bars come next, and may come all together
    else:
        what = "nothing stored, records open" if found["running"] else "nothing yet"
    return Counter({what: 1, "records left running": found["running"]})


# --- the server is killed -----------------------------------------------------------------------------------------


@pytest.fixture
def home() -> Iterator[Path]:
    """An embedded server's own home, with the disk obeyed as in production."""
    folder = Path(tempfile.mkdtemp(prefix="kills-")).resolve()
    folder.chmod(0o755)  # as root, another user serves
    home = folder / "home"
    yield home
    EmbeddedServer(home).stop()
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name != "posix", reason="no embedded server on this system")
def test_a_server_killed_at_any_moment_takes_whole_files_or_none(home: Path, market: Market, full: bool) -> None:
    random, kills = Random(SEED + 1), 20 if full else 2
    environment = environment_for(SCREENER_HOME=str(home))
    server = EmbeddedServer(home)
    url = make_url(server.start())
    migrate.upgrade(create_engine(url, poolclass=NullPool))
    desk, database = Database(url.set(database="postgres")), Database(url)
    assert desk.rows("SHOW fsync") == [("on",)]
    courses: dict[str, Course] = {}
    for beginning in BEGINNINGS if full else BEGINNINGS[:1]:
        if courses:
            renew(desk, "empty")
        market.prepare(database, beginning)
        desk.rows(f'CREATE DATABASE "{beginning}" TEMPLATE screener')
        courses[beginning] = Course.measured(database, market)

    outcome: Counter[str] = Counter()
    when = moments(kills - 1, random)
    when.insert(random.randrange(kills), DONE)
    for chain in itertools.count():
        beginning = BEGINNINGS[chain % len(courses)]
        course = courses[beginning]
        course.killed.clear()
        renew(desk, beginning)
        for _ in range(random.randint(1, 4) if full else kills):
            if not when:
                break
            moment, whole = when.pop(), random.random() < 0.5 and Path("/proc/self").exists()
            lazy = moment == DONE or random.random() < 0.5
            write_late(desk, lazy=lazy)
            context = (
                f"seed {SEED + 1}, chain {chain} ({beginning}), {'all of the server' if whole else 'the postmaster'}"
            )
            context += f"{' (a lazy one)' if lazy else ''} killed at {moment:.3f} of the load"
            with Load(market.folder, database, environment) as running:
                if moment == DONE:
                    running.reported(database)
                else:
                    course.wait(running, database, moment)
                seen = stored_now(database)
                kill_server(server, whole=whole)
                code, said = running.code(), running.said()
            assert "Traceback" not in said, f"{context}: {said}"
            assert code in (0, 1), f"{context}: exit code {code}: {said}"
            assert code == 0 or "error: " in said, f"{context}: failed without a word: {said}"
            server.start()
            database.wait_until_alone()
            found = course.check(database, context)
            if code == 0:
                assert not found["absent"], f"{context}: the load said that all is well, and files are lost: {found}"
            outcome += tally(found, over=code == 0)
            outcome["files taken back"] += max(0, seen - stored_now(database))
            if not found["absent"]:
                break
        load([market.folder], database.url)
        course.check_end(database, f"seed {SEED + 1}, chain {chain} ({beginning}), loaded again")
        outcome["loads marked as killed"] += len(course.killed)
        if not when:
            break
    print(f"\nseed {SEED + 1}: {kills} kills of the server: {dict(outcome)}")


#: The moment at which a load has said that all is well: from then on nothing of it may be lost.
DONE = 1.0


def stored_now(database: Database) -> int:
    """How many loads the books call stored."""
    return _number(database, "SELECT count(*) FROM load_files WHERE state IN ('success', 'partial')")


def write_late(desk: Database, *, lazy: bool) -> None:
    """Let what no commit waits for come to the disk as late as can be, so that a crash truly takes it; or as usual."""
    for setting, value in (("wal_writer_delay", "10s"), ("wal_writer_flush_after", "1GB")):
        desk.rows(f"ALTER SYSTEM SET {setting} = '{value}'" if lazy else f"ALTER SYSTEM RESET {setting}")
    desk.rows("SELECT pg_reload_conf()")


def renew(desk: Database, template: str) -> None:
    """Give the server's one database the contents of a beginning."""
    desk.rows("DROP DATABASE screener WITH (FORCE)")
    desk.rows(f"CREATE DATABASE screener TEMPLATE {template}")
    # Without it, a crash would take the copy's sequences back to the template's numbers: they note their steps in the
    # log some 30 ahead, and in a copied sequence PostgreSQL takes the template's note for its own.
    desk.rows("CHECKPOINT")


def kill_server(server: EmbeddedServer, *, whole: bool) -> None:
    """Kill the postmaster; `whole`: every process of the server with it, so that none ends its work."""
    postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat") if whole else []:
        with suppress(OSError):  # it has ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[1]) == postmaster:
                children.append(int(stat.parent.name))
    for pid in (postmaster, *children):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
