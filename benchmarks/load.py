#!/usr/bin/env python3
"""How fast files become rows, beside PostgreSQL's own COPY: `python benchmarks/load.py` prints one table.

F is a plain COPY of ready rows (parsed, checked and counted by nobody) into the same empty table with all its indexes
and constraints. The product does its whole work: read the exchange's files, check, quarantine, count, merge, commit.
Each measurement has an F of its own, taken just before it, because machines drift; a ratio is the median over pairs.
After every load the table, the quarantine, the books and the schema are compared with what the data's maker knows.

README.md beside this file says how to read the table. Exit codes: 0, 1 a bar was missed, 2 a load was wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn

import data
import psycopg2
from sqlalchemy import make_url

SEED = 20250116
FULL = (2_500, 500)
QUICK = (2_500, 50)
MEMORY_BAR = 1_000  # MB of 10⁶ bytes
_LONGEST = 3_600.0  # seconds; a worker that takes longer is ended
_COLUMNS = ", ".join(data.COLUMNS)


class WrongError(Exception):
    """A load did not do what it said, or not what the file asks for: its speed is not worth telling."""


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def exit_with(main: Callable[[], int]) -> NoReturn:
    """End the program with main's exit code; with 2 and what was wrong where the speed is not worth telling."""
    try:
        sys.exit(main())
    except WrongError as error:
        say(f"WRONG: {error}")
        sys.exit(2)


# --- what is measured -----------------------------------------------------------------------------------------------


@dataclass
class Task:
    """One row of the table."""

    name: str
    work: str
    #: "× F" (rates compared), "× F's time", "of the first load", or "× F, same rows" (shown beside, no bar).
    unit: str
    bar: float | None = None
    rows: int = 0
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    peak: float | None = None
    note: str = ""

    def add(self, rows: int, seconds: float, ratio: float, peak: float | None) -> None:
        self.rows = rows
        self.seconds.append(seconds)
        self.ratios.append(ratio)
        if peak is not None:
            self.peak = max(self.peak or 0, peak)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool | None:
        """Whether the bars are met, the memory's included; None where there is none, or nothing was measured."""
        if self.bar is None or not self.ratios:
            return None
        fast = self.ratio >= self.bar if self.unit == "× F" else self.ratio <= self.bar
        return fast and (self.peak or 0) <= MEMORY_BAR

    def shown_ratio(self, value: float) -> str:
        return f"{100 * value:.2f} %" if self.unit == "of the first load" else f"{value:.2f}"

    def shown_bar(self) -> str:
        if self.bar is None:
            return ""
        if self.unit == "of the first load":
            return f"≤ {100 * self.bar:g} %"
        return f"{'≥' if self.unit == '× F' else '≤'} {self.bar:g}"


def tasks() -> dict[str, Task]:
    forms = {"daily": "daily files", "big": "one big CSV"}
    found = [Task("F", "F: plain COPY of ready rows", "× F")]
    for form, text in forms.items():
        found.append(Task(f"cold-{form}", f"into an empty table, {text}", "× F", 2.5))
    for form, text in forms.items():
        found.append(Task(f"again-{form}", f"same rows, new files, {text}", "× F", 4.0))
    for form, text in forms.items():
        found.append(Task(f"same-{form}", f"same bytes again, {text}", "of the first load", 0.01))
    for form, text in forms.items():
        found.append(Task(f"half-{form}", f"half of the rows changed, {text}", "× F", 1.0))
    found.append(Task("day", "one new day into the full table", "× F's time", 1.3))
    for name, text in {
        "pandas": "pandas.to_sql",
        "pandas-multi": "pandas.to_sql, method='multi'",
        "sqlalchemy": "SQLAlchemy Core upsert",
        "dlt": "dlt, merge by upsert",
    }.items():
        found.append(Task(name, text, "× F, same rows"))
    return {task.name: task for task in found}


# --- the server and its databases -----------------------------------------------------------------------------------


class Server:
    """An embedded server of the benchmark's own, as the product starts it: default settings, fsync on."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        from sqlalchemy import create_engine

        from screener_data.database import migrate
        from screener_data.database.embedded import EmbeddedServer

        self._embedded = EmbeddedServer(home)
        stack.callback(self._embedded.stop)
        self.url = make_url(self._embedded.start())
        self.admin = self.connect(self.url.database)
        stack.callback(self.admin.close)
        self.admin.autocommit = True
        self.empty = self.create()
        engine = create_engine(self.address(self.empty))
        migrate.upgrade(engine)
        engine.dispose()
        self.schema = self.query(self.empty, _SCHEMA)
        if self.setting("fsync") != "on" or self.setting("synchronous_commit") != "on":
            raise WrongError("the server does not write to the disk: no figure would mean anything")

    def address(self, database: str) -> str:
        return self.url.set(database=database).render_as_string(hide_password=False)

    def connect(self, database: str | None) -> Any:
        where = {name: str(self.url.query[name]) for name in ("host", "port")}
        return psycopg2.connect(dbname=database, user=self.url.username, **where)

    def create(self, template: str | None = None) -> str:
        """A new database, empty or a copy of another; copied as files, so that it costs little WAL."""
        name = f"bench_{uuid.uuid4().hex[:10]}"
        self.run(f"CREATE DATABASE {name}" + (f" TEMPLATE {template} STRATEGY file_copy" if template else ""))
        return name

    def drop(self, name: str) -> None:
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @contextmanager
    def database(self, template: str) -> Iterator[str]:
        name = self.create(template)
        try:
            yield name
        finally:
            self.drop(name)

    def settle(self) -> None:
        """Write out what earlier work left behind: nobody pays for it on the clock, F as little as the product."""
        self.run("CHECKPOINT")

    def run(self, statement: str) -> None:
        with self.admin.cursor() as cursor:
            cursor.execute(statement)

    def setting(self, name: str) -> str:
        with self.admin.cursor() as cursor:
            cursor.execute("SELECT current_setting(%s)", [name])
            return str(cursor.fetchone()[0])

    def query(self, database: str, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        with closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())


# Whoever drops an index or a constraint to be fast must have put it back, valid, and the table must survive a crash.
_SCHEMA = """
SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid), (indisvalid AND indisready AND indislive)::text
FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE c.relnamespace = 'public'::regnamespace
UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid),
(convalidated)::text FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'table', oid::regclass::text, relpersistence::text, coalesce(reloptions::text, '')
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S')
UNION ALL SELECT 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid), tgenabled::text
FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2, 3
"""


def copy_in(connection: Any, rows: bytes) -> float:
    """F: the seconds that COPY and commit take, from memory."""
    buffer = io.BytesIO(rows)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM ohlcv_daily LIMIT 1")  # the session knows the table, as the product's does
        started = time.perf_counter()
        cursor.copy_expert(f"COPY ohlcv_daily ({_COLUMNS}) FROM STDIN WITH (FORMAT csv)", buffer)
        connection.commit()
        return time.perf_counter() - started


# --- is it true? ----------------------------------------------------------------------------------------------------


def check_results(results: list[dict[str, Any]], expected: dict[str, data.Expected], state: str) -> None:
    """Each file's counts are those that its maker knows, for a table that was empty, holds them, or half of them."""
    found = {Path(result["file"]).name: result for result in results}
    if found.keys() != expected.keys() or len(found) != len(results):
        raise WrongError(f"{len(expected)} files, {len(results)} results")
    for name, file in expected.items():
        changed = file.changed if state == "half" else 0
        due = {
            "status": "partial" if file.bad else "success",
            "read": file.read,
            "inserted": file.good if state == "cold" else 0,
            "updated": changed,
            "unchanged": 0 if state == "cold" else file.good - changed,
            "rejected": len(file.bad),
            "skipped": 0,
            "reasons": file.reasons,
            "error": None,
        }
        if differs := {key: (found[name][key], value) for key, value in due.items() if found[name][key] != value}:
            raise WrongError(f"{name} ({state}): (found, due) of {differs}")


def check_books(server: Server, database: str, results: list[dict[str, Any]]) -> None:
    """The audit rows say what the results said."""
    counts = ("read", "inserted", "updated", "unchanged", "rejected", "skipped")
    stored = server.query(
        database,
        f"SELECT log_id, {', '.join(counts)} FROM load_files WHERE log_id = ANY(%s)",
        [[result["log_id"] for result in results]],
    )
    if sorted(stored) != sorted((r["log_id"], *(r[name] for name in counts)) for r in results):
        raise WrongError("load_files does not say what the results said")
    if server.query(database, "SELECT file FROM load_files WHERE state NOT IN ('success', 'partial')"):
        raise WrongError("load_files holds loads that failed or never ended")


def check_rejects(server: Server, database: str, folder: Path, expected: dict[str, data.Expected]) -> None:
    """Every bad row of these files is in the quarantine once, and waits; no other one is."""
    stored = server.query(
        database, "SELECT file, line, reason, raw FROM rejects WHERE waiting AND starts_with(file, %s)", [str(folder)]
    )
    due = [(name, *row) for name, file in expected.items() for row in file.bad]
    if sorted((Path(file).name, *row) for file, *row in stored) != sorted(due):
        raise WrongError(f"the quarantine holds {len(stored)} rows of {folder}, {len(due)} are due, or other ones")


def check_table(server: Server, database: str, ready: bytes, table: str = "ohlcv_daily") -> None:
    """The table holds these rows, to the last digit, and no others."""
    buffer = io.BytesIO()
    with closing(server.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SET work_mem = '512MB'")
        select = f'SELECT {_COLUMNS} FROM {table} ORDER BY date, symbol COLLATE "C"'
        cursor.copy_expert(f"COPY ({select}) TO STDOUT WITH (FORMAT csv)", buffer)
    if buffer.getvalue() != ready:
        found, due = buffer.getvalue().splitlines(), ready.splitlines()
        pair = next((both for both in zip_longest(found, due) if both[0] != both[1]), None)
        raise WrongError(f"{table} holds {len(found)} rows, {len(due)} are due; the first that differ: {pair}")


def check_schema(server: Server, database: str) -> None:
    if differs := set(server.query(database, _SCHEMA)) ^ set(server.schema):
        raise WrongError(f"the load left another schema behind: {sorted(differs)}")


# --- workers: a fresh process per measurement -----------------------------------------------------------------------


class Worker:
    """A process of its own that has imported and tried everything before the clock starts."""

    def __init__(self, kind: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def ask(self, **order: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        limit = threading.Timer(_LONGEST, self.process.kill)
        limit.start()
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        finally:
            limit.cancel()
        if not answer:
            raise WrongError(f"the process that loads ended with exit code {self.process.wait()}")
        return json.loads(answer)


def worker(kind: str) -> None:
    """Answer orders, a line of JSON each, until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print is talk
    do = _KINDS[kind]
    for line in sys.stdin:
        order = json.loads(line)
        answers.write(json.dumps({**do(**order), "peak": peak_mb()}) + "\n")
        answers.flush()


def peak_mb() -> float:
    """The most memory that this process had in RAM so far, and its largest child with it.

    Linux counts into ru_maxrss what the parent had when it started us; VmHWM is ours alone.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    status = Path("/proc/self/status")
    if status.is_file():
        own = next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line[:6] == "VmHWM:")
    return (own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit) / 1e6


def _load(url: str, path: str, *, warm: bool = False) -> dict[str, Any]:
    """The product: `sd.load` of a path, by the clock. Connected before, as F is."""
    import screener_data as sd

    engine = sd.connect(url)
    started = time.perf_counter()
    results = sd.load(path, engine=engine)
    seconds = time.perf_counter() - started
    if warm:
        engine.dispose()
    return {"seconds": seconds, "results": [result.model_dump() for result in results]}


def _pandas(url: str, rows: str, *, method: Any = None, **_: Any) -> dict[str, Any]:
    """Appended, for to_sql knows no upsert. Its own method sends many rows per INSERT through SQLAlchemy."""
    import pandas as pd
    from sqlalchemy import create_engine

    frame = pd.read_csv(rows, names=list(data.COLUMNS), parse_dates=["date"], keep_default_na=False)
    engine = create_engine(url)
    with engine.connect():
        started = time.perf_counter()
        # more rows per chunk gain little with "multi": each cell is a parameter to compile
        frame.to_sql("ohlcv_daily", engine, if_exists="append", index=False, method=method, chunksize=3_000)
        seconds = time.perf_counter() - started
    engine.dispose()
    return {"seconds": seconds, "table": "ohlcv_daily"}


def _pandas_multi(**order: Any) -> dict[str, Any]:
    return _pandas(**order, method="multi")


def _sqlalchemy(url: str, rows: str, **_: Any) -> dict[str, Any]:
    import csv
    import datetime as dt
    from decimal import Decimal

    from sqlalchemy import MetaData, Table, create_engine
    from sqlalchemy.dialects.postgresql import insert

    engine = create_engine(url)
    table = Table("ohlcv_daily", MetaData(), autoload_with=engine)
    kinds: list[Callable[[str], Any]] = [str, dt.date.fromisoformat, *[Decimal] * 4, int, *[Decimal] * 3]
    with Path(rows).open(newline="") as file:
        records = [
            {name: kind(cell) for name, kind, cell in zip(data.COLUMNS, kinds, row, strict=True)}
            for row in csv.reader(file)
        ]
    statement = insert(table)
    statement = statement.on_conflict_do_update(
        index_elements=["symbol", "date"], set_={name: statement.excluded[name] for name in data.COLUMNS[2:]}
    ).returning(table.c.id)  # without RETURNING, SQLAlchemy sends an upsert row by row: a third of the speed
    with engine.connect() as connection:
        started = time.perf_counter()
        connection.execute(statement, records)
        connection.commit()
        seconds = time.perf_counter() - started
    engine.dispose()
    return {"seconds": seconds, "table": "ohlcv_daily"}


def _dlt(url: str, rows: str, folder: str, **_: Any) -> dict[str, Any]:
    """Into a table that dlt makes itself, with its key and no other index: it does not take a table it did not make."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
    import dlt
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    price, change = pa.decimal128(15, 2), pa.decimal128(8, 4)
    kinds = dict.fromkeys(data.COLUMNS, price) | {
        "symbol": pa.string(),
        "date": pa.date32(),
        "volume": pa.int64(),
        "change_pct": change,
    }
    table = arrow_csv.read_csv(
        rows,
        arrow_csv.ReadOptions(column_names=list(data.COLUMNS)),
        convert_options=arrow_csv.ConvertOptions(column_types=kinds),
    )
    # dlt wants a host and a password; in an address, the host of the query, a folder of sockets, counts for libpq
    address = make_url(url).set(drivername="postgresql", host="localhost", password="none")
    credentials = address.render_as_string(hide_password=False)
    pipeline = dlt.pipeline(
        "bench", pipelines_dir=folder, destination=dlt.destinations.postgres(credentials), dataset_name="bench"
    )
    resource_ = dlt.resource(
        table,
        name="ohlcv_daily",
        write_disposition={"disposition": "merge", "strategy": "upsert"},
        primary_key=["symbol", "date"],
    )
    started = time.perf_counter()
    pipeline.run(resource_, loader_file_format="csv")
    return {"seconds": time.perf_counter() - started, "table": "bench.ohlcv_daily"}


_KINDS = {
    "product": _load,
    "pandas": _pandas,
    "pandas-multi": _pandas_multi,
    "sqlalchemy": _sqlalchemy,
    "dlt": _dlt,
}


# --- the benchmark --------------------------------------------------------------------------------------------------


class Bench:
    """One run: the files, the server, and the tasks that were asked for."""

    def __init__(self, options: argparse.Namespace, temp: Path, stack: ExitStack) -> None:
        self.options = options
        self.temp = temp
        self.tasks = tasks()
        full = (options.symbols, options.sessions) == FULL
        self.day_pairs = max(9, 5 * options.pairs) if full else 3 * options.pairs
        following = max(40, 2 * (self.day_pairs + 1))  # the same files whatever the pairs, so that --data can keep them
        started = time.perf_counter()
        self.files = data.make(
            options.data or temp / "data",
            symbols=options.symbols,
            sessions=options.sessions,
            following=following,
            seed=SEED,
        )
        self.tiny = data.make(temp / "tiny", symbols=20, sessions=3, following=0, seed=SEED)
        say(f"files made in {time.perf_counter() - started:.1f} s, seed {SEED}")
        home = temp / "home"
        home.mkdir(mode=0o755)
        self.server = Server(home, stack)
        shown = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")
        self.machine = {
            "cores": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 1),
            "system": platform.platform(),
            "python": platform.python_version(),
            **{name: self.server.setting(name) for name in shown},
        }
        say(", ".join(f"{name} {value}" for name, value in self.machine.items()))
        if self.machine["load_average"] > 1:
            say("the machine was busy before this began: single figures, and bars nearly met or missed, mean little")
        self.ready = {name: self.files.ready(name) for name in ("first", "half")}
        self._loaded: str | None = None

    def wanted(self, name: str) -> bool:
        return not self.options.only or any(name.startswith(part) for part in self.options.only)

    def run(self) -> list[Task]:
        for pair in range(1, self.options.pairs + 1):
            for form in ("daily", "big"):
                if self.wanted(f"cold-{form}") or self.wanted(f"same-{form}"):
                    self.cold_and_same(form, pair)
        for pair in range(1, self.options.pairs + 1):
            for state in ("again", "half"):
                for form in ("daily", "big"):
                    if self.wanted(f"{state}-{form}"):
                        self.into_loaded(state, form, pair)
        if self.wanted("day"):
            self.day()
        for pair in range(1, self.options.pairs + 1):
            for name in ("pandas", "pandas-multi", "sqlalchemy", "dlt"):
                if self.wanted(name):
                    self.peer(name, pair)
        if self.options.only == ["F"]:
            for pair in range(1, self.options.pairs + 1):
                self.plain_copy(pair)
        return [task for task in self.tasks.values() if task.ratios or task.note]

    # --- the two sides of a pair

    def plain_copy(self, pair: int, rows: bytes | None = None) -> float:
        """F into an empty table. Rows per second."""
        ready = self.ready["first"] if rows is None else rows
        with self.server.database(self.server.empty) as database:
            with closing(self.server.connect(database)) as connection:
                self.server.settle()
                seconds = copy_in(connection, ready)
            number = ready.count(b"\n")
            if self.server.query(database, "SELECT count(*) FROM ohlcv_daily") != [(number,)]:
                raise WrongError("COPY itself stored another number of rows")
        say(f"[{pair}] F: {number:,} rows in {seconds:.2f} s, {number / seconds:,.0f} rows/s")
        if rows is None:
            self.tasks["F"].add(number, seconds, 1.0, None)
        return number / seconds

    @contextmanager
    def product(self) -> Iterator[Worker]:
        """A fresh process that has loaded a few small files into another database: all is imported and compiled."""
        with Worker("product") as process, self.server.database(self.server.empty) as scratch:
            url = self.server.address(scratch)
            for name in data.SETS:
                for form in ("daily", "big"):
                    process.ask(url=url, path=str(self.tiny.of(name, form)[0]), warm=True)
            yield process

    def loaded_by_product(self, database: str, name: str, form: str, state: str, ready: bytes) -> tuple[float, float]:
        """Let the product load a set, and prove that it did. Seconds and MB."""
        folder, expected = self.files.of(name, form)
        with self.product() as process:
            self.server.settle()
            answer = process.ask(url=self.server.address(database), path=str(folder))
        check_results(answer["results"], expected, state)
        check_books(self.server, database, answer["results"])
        check_rejects(self.server, database, folder, expected)
        check_table(self.server, database, ready)
        check_schema(self.server, database)
        return answer["seconds"], answer["peak"]

    def note(self, pair: int, name: str, rows: int, seconds: float, ratio: float, peak: float) -> None:
        task = self.tasks[name]
        task.add(rows, seconds, ratio, peak)
        say(
            f"[{pair}] {name}: {rows:,} rows in {seconds:.3f} s, {rows / seconds:,.0f} rows/s, "
            f"{task.shown_ratio(ratio)} {task.unit}, {peak:,.0f} MB"
        )

    # --- the tasks

    def cold_and_same(self, form: str, pair: int) -> None:
        rows = self.options.symbols * self.options.sessions
        copied = self.plain_copy(pair)
        database = self.server.create(self.server.empty)
        first, peak = self.loaded_by_product(database, "first", form, "cold", self.ready["first"])
        self.note(pair, f"cold-{form}", rows, first, rows / first / copied, peak)
        if self.wanted(f"same-{form}"):
            seconds, peak = self.loaded_by_product(database, "first", form, "again", self.ready["first"])
            self.note(pair, f"same-{form}", rows, seconds, seconds / first, peak)
        if self._loaded is None:
            self._keep(database)
        else:
            self.server.drop(database)

    def _keep(self, database: str) -> None:
        """Keep a database with all rows, to be copied; tidied, as autovacuum would have done since."""
        with closing(self.server.connect(database)) as connection:
            connection.autocommit = True
            connection.cursor().execute("VACUUM (ANALYZE)")
        self._loaded = database

    def loaded(self) -> str:
        if self._loaded is None:
            database = self.server.create(self.server.empty)
            self.loaded_by_product(database, "first", "daily", "cold", self.ready["first"])
            self._keep(database)
        assert self._loaded is not None
        return self._loaded

    def into_loaded(self, state: str, form: str, pair: int) -> None:
        rows, loaded = self.options.symbols * self.options.sessions, self.loaded()
        copied = self.plain_copy(pair)
        with self.server.database(loaded) as database:
            ready = self.ready["half" if state == "half" else "first"]
            seconds, peak = self.loaded_by_product(database, state, form, state, ready)
        self.note(pair, f"{state}-{form}", rows, seconds, rows / seconds / copied, peak)

    def day(self) -> None:
        """New days into one full table, by COPY and by the product in turn; who goes first alternates, too.

        Before each stands a checkpoint: as after a day's rest, every page that is touched goes whole into the log.
        The first pair warms both sides up and does not count.
        """
        days = iter(self.files.days)
        ready = [self.ready["first"]]
        with (
            self.server.database(self.loaded()) as database,
            self.product() as process,
            closing(self.server.connect(database)) as connection,
        ):
            for pair in range(self.day_pairs + 1):
                seconds = {}
                for side in ("F", "product") if pair % 2 else ("product", "F"):
                    day = next(days)
                    ready.append(self.files.ready(day))
                    self.server.settle()
                    if side == "F":
                        seconds[side] = copy_in(connection, ready[-1])
                        continue
                    folder, expected = self.files.of("next", day)
                    answer = process.ask(url=self.server.address(database), path=str(folder / next(iter(expected))))
                    seconds[side] = answer["seconds"]
                    check_results(answer["results"], expected, "cold")
                    check_books(self.server, database, answer["results"])
                    check_rejects(self.server, database, folder, expected)
                if pair:
                    ratio = seconds["product"] / seconds["F"]
                    self.note(pair, "day", self.options.symbols, seconds["product"], ratio, answer["peak"])
            check_table(self.server, database, b"".join(ready))
            check_schema(self.server, database)

    def peer(self, name: str, pair: int) -> None:
        """Another tool, with the rows ready in its own form, into an empty table; F of the same rows beside it."""
        task = self.tasks[name]
        if name == "dlt" and find_spec("dlt") is None:
            task.note = "not installed: pip install 'screener-data[bench]'"
            return
        sessions = min(self.options.peer_sessions, self.options.sessions)
        ready = self.files.ready("first", sessions)
        copied = self.plain_copy(pair, ready)
        path = self.temp / "ready.csv"
        path.write_bytes(ready)
        tiny = self.temp / "tiny.csv"
        tiny.write_bytes(self.tiny.ready("first"))
        with Worker(name) as process, self.server.database(self.server.empty) as database:
            with self.server.database(self.server.empty) as scratch:
                process.ask(url=self.server.address(scratch), rows=str(tiny), folder=str(self.temp / uuid.uuid4().hex))
            self.server.settle()
            folder = str(self.temp / uuid.uuid4().hex)
            answer = process.ask(url=self.server.address(database), rows=str(path), folder=folder)
            check_table(self.server, database, ready, answer["table"])
        rows = ready.count(b"\n")
        self.note(pair, name, rows, answer["seconds"], rows / answer["seconds"] / copied, answer["peak"])


# --- the table ------------------------------------------------------------------------------------------------------


def table(found: list[Task]) -> str:
    head = ["work", "rows", "seconds", "rows/s", "ratio", "from – to", "of what", "bar", "met", "peak MB"]
    lines = [head]
    for task in found:
        if task.note:
            lines.append([task.work, *[""] * 5, task.note, "", "", ""])
            continue
        seconds = statistics.median(task.seconds)
        lines.append(
            [
                task.work,
                f"{task.rows:,}",
                f"{seconds:.3f}" if seconds < 1 else f"{seconds:.2f}",
                f"{task.rows / seconds:,.0f}",
                task.shown_ratio(task.ratio),
                f"{task.shown_ratio(min(task.ratios))} – {task.shown_ratio(max(task.ratios))}",
                task.unit,
                task.shown_bar(),
                {True: "yes", False: "NO", None: ""}[task.met],
                "" if task.peak is None else f"{task.peak:,.0f}",
            ]
        )
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    text_columns = {0, 6}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place in text_columns else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def document(bench: Bench, found: list[Task]) -> dict[str, Any]:
    options = {name: getattr(bench.options, name) for name in ("symbols", "sessions", "pairs")}
    rows = [
        {**asdict(task), "met": task.met}
        | ({"ratio": task.ratio, "rows_per_second": task.rows / statistics.median(task.seconds)} if task.ratios else {})
        for task in found
    ]
    return {**options, "seed": SEED, "machine": bench.machine, "memory_bar_mb": MEMORY_BAR, "rows": rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="50 sessions instead of 500; misses no bar")
    parser.add_argument("--symbols", type=int, help=f"default {FULL[0]:,}; another size misses no bar")
    parser.add_argument("--sessions", type=int, help=f"default {FULL[1]}; another size misses no bar")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of F and product per row (default 3)")
    parser.add_argument("--only", action="append", metavar="NAME", help="rows whose name starts so; may be repeated")
    parser.add_argument("--peer-sessions", type=int, default=25, help="sessions for pandas, SQLAlchemy, dlt (25)")
    parser.add_argument("--data", type=Path, help="keep the files in this folder, and use them again")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return 0
    if unknown := [name for name in options.only or () if not any(task.startswith(name) for task in tasks())]:
        parser.error(f"--only {unknown[0]}: the names are {', '.join(tasks())}")
    default = QUICK if options.quick else FULL
    options.symbols, options.sessions = options.symbols or default[0], options.sessions or default[1]
    if min(options.symbols, options.sessions, options.pairs, options.peer_sessions) < 1:
        parser.error("numbers must be 1 or more")

    os.environ.pop("SCREENER_DATABASE_URL", None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    with ExitStack() as stack:
        temp = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="screener-bench-")))
        temp.chmod(0o755)  # as root, the server runs as another user
        os.environ["SCREENER_HOME"] = str(temp / "home")
        bench = Bench(options, temp, stack)
        found = bench.run()
    sys.stdout.write((json.dumps(document(bench, found), indent=2) if options.json else table(found)) + "\n")
    missed = [task.name for task in found if task.met is False]
    judged = (options.symbols, options.sessions) == FULL
    if missed:
        say(f"missed: {', '.join(missed)}" + ("" if judged else " (at this size it does not count)"))
    return 1 if missed and judged else 0


if __name__ == "__main__":
    exit_with(main)
