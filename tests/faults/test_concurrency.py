"""Many at once: eight loaders of overlapping files, and readers while a load runs. None fails, none sees a part."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, text

import screener_data as sd
from screener_data import samples
from screener_data.loaders import FORMATS

SEED = int(os.environ.get("SCREENER_FAULTS_SEED", "20250116"))
PATIENCE = 120.0  # seconds for anything that must happen

Place = tuple[str, str]  # a table, and within it a day
Contents = dict[Place, tuple[int, int]]  # how many rows, and the sum of their hashes: equal for equal sets of rows


# --- databases ----------------------------------------------------------------------------------------------------


@pytest.fixture
def clone(
    servers: dict[str, URL], templates: dict[str, URL], drop_database: Callable[[URL, URL], None]
) -> Iterator[Callable[[str], Engine]]:
    """Make an engine on a new, migrated database of a server."""
    made: list[tuple[str, Engine]] = []

    def clone(server: str) -> Engine:
        name = f"crowd_{uuid.uuid4().hex[:12]}"
        run(servers[server], f'CREATE DATABASE "{name}" TEMPLATE "{templates[server].database}"')
        made.append((server, create_engine(servers[server].set(database=name))))
        return made[-1][1]

    yield clone
    for server, engine in made:
        engine.dispose()
        drop_database(servers[server], engine.url)


def run(url: URL, statement: str) -> None:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))


def ask(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


#: What may differ between two ways to the same contents.
FREE = {"id", "created_at", "updated_at", "load_id", "settled_by", "tries", "waiting"}
OURS = {"alembic_version", "ingestion_logs", "load_files", "outside_writes"}  # not data of the files


def contents(engine: Engine) -> Contents:
    """Every row of data, less what may differ; of the rejected ones those that still wait."""
    columns: dict[str, list[str]] = {}
    for table, column in ask(
        engine,
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
        "ORDER BY table_name, ordinal_position",
    ):
        columns.setdefault(str(table), []).append(str(column))
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
            f"FROM {table} t {'WHERE waiting' if table == 'rejects' else ''} GROUP BY 2"
        )
    return {
        (str(table), str(place)): (int(str(rows)), int(str(hashes)))
        for table, place, rows, hashes in ask(engine, " UNION ALL ".join(parts))
    }


# --- loaders ------------------------------------------------------------------------------------------------------

#: Waits for orders, a line each: an address and paths to load one after the other. Answers with a line of results.
LOADER = """
import json, sys
import screener_data as sd
print("ready", flush=True)
for line in sys.stdin:
    url, chunks = json.loads(line)
    engine = sd.connect(url)
    results = [result.model_dump() for chunk in chunks for result in sd.load(chunk, engine=engine)]
    engine.dispose()
    print(json.dumps(results), flush=True)
"""
Results = list[dict[str, object]]


class Loader:
    """A process that loads when told to. It is kept for all tests, since its start takes longer than a load."""

    def __init__(self) -> None:
        self.talk = tempfile.TemporaryFile()  # noqa: SIM115 - closed below; a pipe would have to be read all the time
        command = [sys.executable, "-W", "error", "-c", LOADER]
        self.process = subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.talk
        )

    def begin(self, engine: Engine, chunks: list[list[str]]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps([engine.url.render_as_string(hide_password=False), chunks]) + "\n")
        self.process.stdin.flush()

    def answer(self, seconds: float = PATIENCE) -> str:
        """Its next line. Whoever hangs is killed, and then there is none."""
        assert self.process.stdout
        alarm = threading.Timer(seconds, self.process.kill)
        alarm.start()
        line = self.process.stdout.readline()
        hung = not alarm.is_alive()
        alarm.cancel()
        assert line, f"the loader {f'hung for {seconds} s' if hung else 'ended'}: {self.said()}"
        return line

    def said(self) -> str:
        return os.pread(self.talk.fileno(), 1 << 20, 0).decode()

    def close(self) -> None:
        with self.process:
            self.process.kill()
        self.talk.close()


@pytest.fixture(scope="module")
def crew() -> Iterator[list[Loader]]:
    """Eight processes, each ready to load."""
    crew = [Loader() for _ in range(8)]
    try:
        assert {loader.answer() for loader in crew} == {"ready\n"}
        yield crew
    finally:
        for loader in crew:
            loader.close()


# --- eight loaders ------------------------------------------------------------------------------------------------


def write_files(folder: Path, seed: int, *, every: int) -> tuple[list[Path], list[Path]]:
    """Write the sample market, and into it two securities that swap symbols; what comes before, and what comes at once.

    Before: the older list and the exchange's dates of changes. At once: all else, so that some bars come under
    names of before the rename and the swap, some under names of after, and capitals before their symbol is listed.
    """
    written = samples.write(folder, seed=seed, symbols=30, sessions=120)
    older, newer = sorted(folder.glob("lists/*/EQUITY_L.csv"))
    changes = folder / "symbol_changes" / "symbolchange.csv"
    day = dt.datetime.strptime(changes.read_text("cp1252").split("OLDNAME,NEWNAME,")[1].strip(), "%d-%b-%Y").date()
    names = ("SWAPONE", "SWAPTWO")
    for path, symbols in ((older, names), (newer, names[::-1])):
        with path.open("a") as file:
            for isin, symbol in zip(("INE000A01010", "INE000B01018"), symbols, strict=True):
                file.write(f"{symbol},Swap {isin} Limited,EQ,06-OCT-2008,5,1,{isin},5\n")
    with changes.open("a") as file:
        file.write(f"First,SWAPONE,SWAPTWO,{day:%d-%b-%Y}\nSecond,SWAPTWO,SWAPONE,{day:%d-%b-%Y}\n".upper())
    for path in folder.glob("bhavcopy/full/*.csv"):
        now = dt.datetime.strptime(path.stem[-8:], "%d%m%Y").date()
        with path.open("a") as file:
            for price, symbol in zip((100, 500), names if now < day else names[::-1], strict=True):
                prices = ", ".join([f"{price}.00"] * 7)
                file.write(f"{symbol}, EQ, {now:%d-%b-%Y}, {prices}, 1000, 1.00, 10, 500, 50.00\n")
    before = [older, *(path for path in written if path.parent == changes.parent)]
    families: dict[Path, list[Path]] = {}
    for path in written:
        if path not in before:
            families.setdefault(path.parent, []).append(path)
    # of the large families some files, from their whole length
    chosen = [path for paths in families.values() for path in (paths[::-every] if len(paths) > 12 else paths)]
    return before, chosen


def shares(files: list[Path], many: list[Path], random: Random, *, loaders: int) -> list[list[list[str]]]:
    """For each loader its part of the files, shuffled, in loads of one or several; each file is in some parts.

    Three of the loaders begin with all or most of the many, while the others load all else into the same table. Lists
    mostly come late, and capitals once: some of these must wait for a symbol, and be replayed by who brings it.
    """
    parts: list[list[str]] = [[] for _ in range(loaders)]
    for file in files:
        for part in random.sample(parts, 1 if file.parent.name == "market_cap" else random.randint(2, 4)):
            part.append(str(file))
    found: list[list[list[str]]] = []
    for part in parts:
        random.shuffle(part)
        late = [file for file in part if Path(file).parts[-3] == "lists" and random.random() < 0.9]
        rest = [file for file in part if file not in late]
        chunks = []
        while rest:
            size = random.choice((1, 3, 12, 40))
            chunks.append(rest[:size])
            rest = rest[size:]
        found.append([*chunks, *([late] if late else [])])
    names = [str(file) for file in many]
    for chunks, some in zip(random.sample(found, 3), (names, names[::-1], names[1:]), strict=True):
        chunks.insert(0, some)
    return found


def test_eight_loaders_at_once_end_where_one_alone_does(
    clone: Callable[[str], Engine], crew: list[Loader], servers: dict[str, URL], tmp_path: Path, full: bool
) -> None:
    for turn in range(6 if full else 1):
        seed = SEED + turn
        before, files = write_files(tmp_path / str(seed), seed, every=2 if full else 12)
        # and more than 50,000 bars: then an empty table may be filled in a way of its own
        many = sorted(write_days(tmp_path / f"{seed}-many", dt.date(2023, 1, 1), days=26, symbols=2000).iterdir())
        server = list(servers)[turn % len(servers)]
        alone, crowded = clone(server), clone(server)
        for engine in (alone, crowded):
            assert {result.status for result in sd.load(before, engine=engine)} == {"success"}
        assert "failure" not in {result.status for result in sd.load([*many, *files], engine=alone)}

        crowd = shares(files, many, Random(seed), loaders=len(crew))
        begin = time.monotonic()
        for loader, chunks in zip(crew, crowd, strict=True):
            loader.begin(crowded, chunks)
        results: Results = [result for loader in crew for result in json.loads(loader.answer(PATIENCE * 3))]
        seconds = time.monotonic() - begin
        assert len(results) >= sum(len(chunk) for chunks in crowd for chunk in chunks), f"seed {seed}"
        failed = [(result["file"], result["error"]) for result in results if result["status"] == "failure"]
        assert failed == [], f"seed {seed}"
        everything = " ".join([loader.said() for loader in crew])
        everything += str(ask(crowded, "SELECT error, notes::text FROM load_files"))
        everything += str(ask(crowded, "SELECT errors::text FROM ingestion_logs"))
        for word in ("deadlock", "lock timeout", "serialize", "Traceback"):
            assert word not in everything, f"seed {seed}: {word}: {everything}"
        assert deadlocks(crowded) == 0, f"seed {seed}"
        assert_books_add_up(crowded, f"seed {seed}")
        want, found = contents(alone), contents(crowded)
        wrong = {
            place: (found.get(place), want.get(place)) for place in want | found if found.get(place) != want.get(place)
        }
        assert not wrong, f"seed {seed}: as eight, as one: {wrong}"
        assert ("symbol_history", "") in found, "no symbol was changed, so this proved little"
        [(waited,)] = ask(crowded, "SELECT count(*) FROM rejects WHERE reason = 'unknown_symbol' AND NOT waiting")
        print(
            f"\nseed {seed} ({server}): {len(many) + len(files)} files, {len(results)} loads by 8 processes "
            f"in {seconds:.1f} s; {waited} rows waited for their symbol"
        )


def deadlocks(engine: Engine) -> int:
    """How many the server has counted in this database, once the loaders' connections have ended and told theirs."""
    engine.dispose()  # our own connections are not a loader's
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    deadline = time.monotonic() + PATIENCE
    while ask(engine, others + " AND backend_type = 'client backend'") != [(0,)]:
        assert time.monotonic() < deadline, "a loader's connection stays open"
        time.sleep(0.02)
    [(found,)] = ask(engine, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(str(found))


def assert_books_add_up(engine: Engine, context: str) -> None:
    wrong = ask(
        engine,
        "SELECT f.* FROM load_files f LEFT JOIN ingestion_logs l ON l.id = f.log_id "
        "WHERE f.read <> f.inserted + f.updated + f.unchanged + f.rejected + f.skipped OR f.state = 'running' "
        "OR l.status IS DISTINCT FROM f.state OR l.records_fetched <> f.read OR l.records_failed <> f.rejected",
    )
    assert wrong == [], f"{context}: {wrong}"
    # each stored row was once called inserted, and no more than that
    formats: dict[str, list[str]] = {}
    several = {format.target for format in FORMATS if format.explode}  # lines are counted, and one makes several rows
    for format in FORMATS:
        if format.target not in several:
            formats.setdefault(format.target.__tablename__, []).append(f"'{format.name}'")
    for table, names in formats.items():
        [(told, stored)] = ask(
            engine,
            f"SELECT (SELECT coalesce(sum(inserted), 0) FROM load_files WHERE format IN ({', '.join(names)})), "
            f"(SELECT count(*) FROM {table})",
        )
        assert told == stored, f"{context}: {told} rows of {table} are told as inserted, and {stored} are there"


# --- readers ------------------------------------------------------------------------------------------------------

BHAVCOPY = (
    "SYMBOL, SERIES, DATE1, PREV_CLOSE, OPEN_PRICE, HIGH_PRICE, LOW_PRICE, LAST_PRICE, CLOSE_PRICE, AVG_PRICE, "
    "TTL_TRD_QNTY, TURNOVER_LACS, NO_OF_TRADES, DELIV_QTY, DELIV_PER\n"
)
PER_DAY = "SELECT date::text, count(*), sum(hashtextextended(symbol || close, 0))::text FROM ohlcv_daily GROUP BY date"
#: As the reader's own snapshot has them: pg_indexes asks for what is there now, and fails where that has just changed.
INDEXES = (
    "SELECT concat_ws(' ', c.relname, i.indkey, i.indoption, i.indisunique, i.indisprimary, i.indisvalid) "
    "FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid "
    "WHERE t.relname = 'ohlcv_daily' ORDER BY 1"
)
State = tuple[int, str]


def write_days(folder: Path, first: dt.date, *, days: int, symbols: int, older: bool = False) -> Path:
    """A bhavcopy a day; `older`: every other row had another close then."""
    folder.mkdir()
    for at in range(days):
        day = first + dt.timedelta(at)
        rows = []
        for n in range(symbols):
            close = 100 + (n * 7 + at * 13) % 900 / 10 - (older and n % 2 == 0)
            prices = ", ".join(f"{price:.2f}" for price in (close, close, close + 2, close - 2, close, close, close))
            rows.append(f"S{n:04d}, EQ, {day:%d-%b-%Y}, {prices}, 1000, 1.00, 10, 500, 50.00\n")
        (folder / f"sec_bhavdata_full_{day:%d%m%Y}.csv").write_text(BHAVCOPY + "".join(rows))
    return folder


@dataclass
class Reader(threading.Thread):
    """Reads without pause until told to stop; keeps what it saw, and what went wrong."""

    engine: Engine
    over: threading.Event = field(default_factory=threading.Event)
    seen: dict[str, list[State]] = field(default_factory=dict)  # of each day, what it changed to
    indexes: set[tuple[object, ...]] = field(default_factory=set)
    reads: list[tuple[float, float]] = field(default_factory=list)  # when, and how long
    errors: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        try:
            while not self.over.is_set():
                self.read()
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.errors.append(error)

    def read(self) -> None:
        begin = time.monotonic()
        with self.engine.connect() as connection:
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            self.indexes.add(tuple(connection.execute(text(INDEXES)).scalars()))
            days = per_day(connection)
            newest = connection.execute(text("SELECT max(date)::text FROM ohlcv_daily")).scalar()
        assert newest == max(days, default=None), f"max(date) {newest} is none of the days {sorted(days)[-3:]}"
        if days:
            day = max(days)
            # another moment, so that day may have changed; its rows are as many in every state
            assert len(sd.prices(start=day, end=day, engine=self.engine)) == days[day][0]
        self.reads.append((begin, time.monotonic() - begin))
        assert days.keys() >= self.seen.keys(), f"days are gone again: {self.seen.keys() - days.keys()}"
        for day, state in days.items():
            states = self.seen.setdefault(day, [])
            if state not in states[-1:]:
                states.append(state)


def per_day(connection: Connection) -> dict[str, State]:
    return {day: (rows, hashes) for day, rows, hashes in connection.execute(text(PER_DAY))}


@pytest.mark.parametrize("before", ["empty", "filled", "changed"])
@pytest.mark.parametrize("company", ["alone", "beside a long transaction"])
def test_readers_never_fail_and_never_see_a_part(
    clone: Callable[[str], Engine], crew: list[Loader], tmp_path: Path, full: bool, before: str, company: str
) -> None:
    # more than 50,000 bars: then an empty table may be filled in a way of its own
    size = {"days": 150, "symbols": 1500} if full else {"days": 20, "symbols": 2600}
    engine = clone("embedded")
    first = dt.date(2024, 1, 1)
    folder = write_days(tmp_path / "new", first, **size)
    if before != "empty":
        # days of the year before; or the very days, of which half of the rows will change
        start = first.replace(year=2023) if before == "filled" else first
        sd.load(write_days(tmp_path / "old", start, **size, older=True), engine=engine)
    with engine.connect() as connection:
        old, indexes = per_day(connection), tuple(connection.execute(text(INDEXES)).scalars())
    assert len(indexes) >= 4

    with ExitStack() as stack:
        # a snapshot of before, which has not touched the table, and so holds no lock on it
        quiet = stack.enter_context(closing(snapshot(engine, "SELECT count(*) FROM securities")))
        if company != "alone":
            long = stack.enter_context(closing(snapshot(engine, "SELECT count(*) FROM ohlcv_daily")))
        reader = Reader(create_engine(engine.url))
        stack.callback(reader.engine.dispose)
        reader.start()
        stack.callback(reader.join)
        stack.callback(reader.over.set)
        begin = time.monotonic()
        crew[0].begin(engine, [[str(folder)]])
        results = json.loads(crew[0].answer())  # while the long transaction stays open
        end = time.monotonic()
        assert {result["status"] for result in results} == {"success"}
        reader.over.set()
        reader.join()
        assert reader.errors == []
        # what began before stays before, whatever happened meanwhile
        for connection in [quiet, *([long] if company != "alone" else [])]:
            assert per_day(connection) == old
    with engine.connect() as connection:
        new = per_day(connection)
    assert new.keys() == old.keys() | {str(first + dt.timedelta(at)) for at in range(size["days"])}
    assert {rows for rows, _ in new.values()} == {size["symbols"]}
    for day, states in reader.seen.items():
        possible = [state for state in (old.get(day), new[day]) if state is not None]
        assert states in (possible, possible[:1], possible[1:]), f"{day} was seen as {states}; whole are {possible}"
    assert reader.indexes == {indexes}, f"ohlcv_daily was seen with other indexes: {reader.indexes}"

    working = end - begin
    during = [seconds for at, seconds in reader.reads if begin <= at + seconds and at <= end]
    longest = max(during)
    print(
        f"\n{before}, {company}: load {working:.2f} s, {len(during)} reads, "
        f"the longest {longest:.2f} s, the median {sorted(during)[len(during) // 2]:.3f} s"
    )
    if before != "empty" or company != "alone":  # into an empty table, which nobody has open, a load may be alone
        assert longest < working / 2 + 0.5, f"a read waited {longest:.2f} s for a load of {working:.2f} s"


def snapshot(engine: Engine, query: str) -> Connection:
    """A transaction that has seen the database as it is now, and stays open."""
    connection = engine.connect()
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    connection.execute(text(query))
    return connection
