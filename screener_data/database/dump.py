"""Backup and restore by PostgreSQL's own pg_dump and pg_restore.

A backup is a file of pg_dump's custom format that holds our tables, and nothing else of the database. A restore is one
transaction from the first table that goes to the last index that comes, migrations included: it is whole, or has not
happened. pg_restore only reads the file; what it says is given to the server here, since its own connection would
commit before the migrations.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import os
import re
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import IO

import psycopg2
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from screener_data.config import settings
from screener_data.database import migrate
from screener_data.database.embedded import client
from screener_data.database.engine import connect, for_programs, reason_of
from screener_data.errors import DatabaseError, FileError, UsageError
from screener_data.models import Base

__all__ = ["backup", "restore"]

_log = logging.getLogger(__name__)

_OURS = (*(table.name for table in Base.metadata.sorted_tables), "alembic_version")
_PATIENCE = "30s"  # for whoever still works with the tables that are to be replaced
_AGAIN = "Take another backup; this one cannot be trusted"

#: The relations of the schema that are not ours; a sequence is its table's, but pg_dump does not leave it out with it.
_OTHERS = """
SELECT relname, relkind = 'S' AS is_sequence FROM pg_class c
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND relname <> ALL(:ours)
    AND NOT EXISTS (
        SELECT FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid
        WHERE d.objid = c.oid AND c.relkind = 'S' AND d.deptype IN ('a', 'i') AND t.relname = ANY(:ours)
    )
ORDER BY relname
"""


def backup(file: Path | None = None, *, engine: Engine | None = None) -> Path:
    """Write our tables as of one moment into `file`, and return its path; others may load and read meanwhile.

    Without `file`: a new one in `SCREENER_HOME/backups`, named by the time. It takes its place at once, whole and on
    the disk, in the place of an older one of that name, and only its owner may read it. Raises DatabaseError, also
    where no pg_dump is as new as the server, and UsageError where there is no such folder.

    >>> from screener_data.database.dump import backup
    >>> backup()  # doctest: +SKIP
    PosixPath('.screener/backups/screener-20250701T143000Z.dump')
    """
    engine = engine or connect()
    if migrate.current(engine) is None:
        raise DatabaseError("the database has no tables yet: run `screener-data init` first")
    with engine.connect() as connection:
        schema = connection.execute(text("SELECT current_schema()")).scalar_one()
        others = connection.execute(text(_OTHERS), {"ours": list(_OURS)}).all()
        program = client("pg_dump", _version(connection))
    if file is None:
        folder = settings().home / "backups"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = folder / f"screener-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}.dump"
    if not file.parent.is_dir() or file.is_dir():
        raise UsageError(f"{file} cannot be written: {'it is a folder' if file.is_dir() else 'no such folder'}")
    address, secret = for_programs(engine.url)
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".partial", dir=file.parent)  # mode 600
    os.close(handle)
    partial = Path(name)
    try:
        words = [
            *("--format=custom", "--no-owner", "--no-privileges", "--no-password"),
            f"--schema={_quoted(schema)}",
            *(f"--exclude-table={_quoted(schema)}.{_quoted(name)}" for name, _ in others),
            *(f"--file={partial}", f"--dbname={address}"),
        ]
        done = subprocess.run([program, *words], capture_output=True, env=_environment(secret), check=False)
        if done.returncode:
            raise DatabaseError(f"no backup was made: {_reason(done.stderr)}")
        _seal(partial)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    if left_out := [name for name, is_sequence in others if not is_sequence]:
        _log.warning("not ours, and so not in the backup: %s", ", ".join(left_out))
    return file


def restore(file: Path, *, replace: bool = False, engine: Engine | None = None) -> dict[str, int]:
    """Bring the tables of a backup back, and to the newest schema. Returns the rows of each table.

    A database that holds rows is left alone unless `replace`; then they are given up for those of the backup. All is
    one transaction: where this raises, nothing has changed. Raises UsageError (there are rows), FileError (not a whole
    backup, or one of a newer version of this package), DatabaseError (refused, or the tables are in use).

    >>> from screener_data.database.dump import restore
    >>> restore(Path("screener-20250701T143000Z.dump"), replace=True)["ohlcv_daily"]  # doctest: +SKIP
    2417003
    """
    engine = engine or connect()
    program = client("pg_restore")
    with engine.connect() as connection:
        connection.detach()  # what the script sets for its session ends with it
        try:
            with connection.begin():
                schema = connection.execute(text("SELECT current_schema()")).scalar_one()
                _check(program, file, schema)
                _make_room(connection, replace)
                _feed(connection, [program, "--no-owner", "--no-privileges", f"--schema={schema}"], file)
                connection.execute(text("RESET ALL"))
                migrate.upgrade(connection)
                connection.execute(text(f"ANALYZE {', '.join(_there(connection))}"))
                return _rows(connection)
        except (psycopg2.Error, SQLAlchemyError) as error:
            if getattr(getattr(error, "orig", error), "pgcode", None) == "55P03":  # lock_not_available
                raise DatabaseError(
                    "nothing was restored, since somebody works with the tables: close notebooks, wait for loads, "
                    "and try again"
                ) from None
            raise DatabaseError(f"nothing was restored: {reason_of(error)}") from error


def _check(program: Path, file: Path, schema: str) -> None:
    """That the file is a backup of ours, of this schema and of a version that is known here."""
    if not file.is_file():
        raise UsageError(f"{file}: no such file")
    _check_seal(file)
    listed = _said([program, "--list", file], file)
    found = re.search(r"^\d+; \d+ \d+ TABLE (\S+) alembic_version ", listed, re.MULTILINE)
    if found is None:
        raise FileError("a backup of another database: it has none of our tables", file=str(file))
    if found[1] != schema:
        raise FileError(
            f"its tables are in the schema {found[1]}, and those of this database in {schema}",
            file=str(file),
            todo=f"ALTER ROLE … SET search_path = {found[1]} for the user of the address makes them meet",
        )
    rows = _said([program, "--data-only", f"--schema={schema}", "--table=alembic_version", "--file=-", file], file)
    revision = re.search(r"^COPY .* FROM stdin;\n(.+)\n\\\.$", rows, re.MULTILINE)
    if revision is None or revision[1] not in migrate.revisions():
        raise FileError(
            "it has a schema that is not known here",
            file=str(file),
            value=revision[1] if revision else None,
            todo=f"The newest one known is {migrate.head()}: upgrade screener-data, then restore",
        )


def _seal(file: Path) -> None:
    """Write a digest to the file's end: pg_restore, which does not read so far, notices no damaged definition."""
    with file.open("r+b") as dump:
        digest = _digest(dump, file.stat().st_size)
        dump.write(_SEAL + digest)
        dump.flush()
        os.fsync(dump.fileno())


def _check_seal(file: Path) -> None:
    size = file.stat().st_size - len(_SEAL) - 64
    with file.open("rb") as dump:
        digest = _digest(dump, max(size, 0))
        if size < 0 or dump.read() != _SEAL + digest:
            raise FileError("damaged, cut off, or not written by `screener-data backup`", file=str(file), todo=_AGAIN)


def _digest(file: IO[bytes], size: int) -> bytes:
    """The SHA-256 of the first bytes of a file; the next ones are those that follow."""
    digest = hashlib.sha256()
    while size > 0 and (piece := file.read(min(size, 1 << 20))):
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest().encode()


_SEAL = b"\nscreener-data sha256 "


def _make_room(connection: Connection, replace: bool) -> None:
    """Remove our tables, if nobody works with them, and if they are empty or may be given up."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))
    if not (there := _there(connection)):
        return
    connection.execute(text(f"LOCK TABLE {', '.join(there)} IN ACCESS EXCLUSIVE MODE"))
    full = [name for name, rows in _rows(connection, at_most=1).items() if rows]
    if full and not replace:
        raise UsageError(
            f"the database holds rows ({', '.join(full)}): nothing was restored. `--replace` gives them up for those "
            "of the backup; `screener-data backup` keeps them."
        )
    migrate.downgrade(connection)


def _feed(connection: Connection, words: list[str | Path], file: Path) -> None:
    """Give to the server what pg_restore makes of the file. The caller's transaction is to end with any error here."""
    oldest = _version(connection) < 17
    with (
        tempfile.TemporaryFile() as talk,
        subprocess.Popen(
            [*words, "--file=-", file], stdout=subprocess.PIPE, stderr=talk, env=_environment()
        ) as process,
        closing(connection.connection.cursor()) as cursor,
    ):
        script = process.stdout
        assert script is not None  # noqa: S101
        problem: psycopg2.Error | None = None
        try:
            statements = bytearray(_NOTHING)
            for line in script:
                if _COPY.fullmatch(line):
                    cursor.execute(bytes(statements))
                    statements[:] = _NOTHING
                    cursor.copy_expert(line.decode(), _Rows(script))
                elif not (_FOR_PSQL.fullmatch(line) or (oldest and line == _SINCE_17)):
                    statements += line
            if process.wait() == 0:
                cursor.execute(bytes(statements))
        except psycopg2.Error as error:
            problem = error
        ended = not script.read(1)  # else it has more to say, and nobody listens any more
        if not ended:
            process.kill()
        if process.wait() and ended:  # whatever the server said of half a script, this is why
            talk.seek(0)
            raise FileError(f"it is damaged: {_reason(talk.read())}", file=str(file), todo=_AGAIN) from problem
        if problem is not None:
            raise problem


_COPY = re.compile(rb"COPY .* FROM stdin;\n")
_NOTHING = b"SELECT;\n"  # before comments that stand alone: a driver refuses to execute nothing
_FOR_PSQL = re.compile(rb"\\(un)?restrict [A-Za-z0-9]+\n")
#: A newer pg_restore says so to every server; older ones refuse it.
_SINCE_17 = b"SET transaction_timeout = 0;\n"


class _Rows:
    """The rows of one COPY within a script, as the file that the COPY reads."""

    def __init__(self, script: IO[bytes]) -> None:
        self._script = script
        self._rest = b""
        self._ended = False

    def read(self, size: int) -> bytes:
        """The next bytes; none after the last row. Raises EOFError where the script ends before."""
        lines, length = [self._rest], len(self._rest)
        while length < size and not self._ended:
            line = self._script.readline()
            if not line:
                raise EOFError("the script ends amid its rows")
            self._ended = line == b"\\.\n"
            if not self._ended:
                lines.append(line)
                length += len(line)
        found = b"".join(lines)
        self._rest = found[size:]
        return found[:size]


# --- what is asked of the server and of the programs


def _there(connection: Connection) -> list[str]:
    """Our tables that exist, as the server spells them."""
    asked = "SELECT name FROM unnest(CAST(:ours AS text[])) name WHERE to_regclass(quote_ident(name)) IS NOT NULL"
    return list(connection.execute(text(asked), {"ours": list(_OURS)}).scalars())


def _rows(connection: Connection, at_most: int | None = None) -> dict[str, int]:
    """The rows of each of our tables, without alembic's."""
    limit = "" if at_most is None else f" LIMIT {at_most}"
    return {
        name: int(connection.execute(text(f"SELECT count(*) FROM (SELECT FROM {name}{limit}) found")).scalar_one())
        for name in _there(connection)
        if name != "alembic_version"
    }


def _version(connection: Connection) -> int:
    return int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000


def _said(command: list[str | Path], file: Path) -> str:
    done = subprocess.run(command, capture_output=True, env=_environment(), check=False)
    if done.returncode:
        raise FileError(f"not a whole backup: {_reason(done.stderr)}", file=str(file), todo=_AGAIN)
    return done.stdout.decode(errors="replace")


def _environment(secret: dict[str, str] | None = None) -> dict[str, str]:
    return os.environ | {"LC_ALL": "C"} | (secret or {})


def _reason(talk: bytes) -> str:
    """The first line of what a program says of its failure, without its own name."""
    lines = talk.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    line = next((line for line in lines if "error:" in line), lines[0])
    return re.sub(r"^\S+: (error: )?", "", line)


def _quoted(name: str) -> str:
    """A name as a pattern of pg_dump's that means this name only."""
    return '"' + name.replace('"', '""') + '"'
