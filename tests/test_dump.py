"""Backups come back as they were, on each server, and a restore that fails has changed nothing."""

from __future__ import annotations

import logging
import os
import re
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from sqlalchemy import URL, Engine, create_engine, make_url, text
from typer.testing import CliRunner

import screener_data as sd
from screener_data.cli import app
from screener_data.database import dump, migrate
from screener_data.database.dump import backup, restore
from screener_data.database.embedded import client
from screener_data.database.engine import for_programs
from screener_data.database.reader import set_up_reader
from screener_data.errors import ConfigError, DatabaseError, FileError, ScreenerError, UsageError
from screener_data.models import Base

Drop: TypeAlias = Callable[[URL, URL], None]
TABLES = [table.name for table in Base.metadata.sorted_tables]


def contents(engine: Engine) -> dict[str, tuple[int, str]]:
    """Each table's rows, and a digest of all that they hold."""
    with engine.connect() as connection:
        return {
            name: tuple(  # type: ignore[misc]
                connection.execute(
                    text(f"SELECT count(*), md5(coalesce(string_agg(t::text, ';' ORDER BY t::text), '')) FROM {name} t")
                ).one()
            )
            for name in TABLES
        }


def schema(url: URL) -> list[str]:
    """All definitions of a database, as pg_dump says them."""
    address, secret = for_programs(url)
    words = [client("pg_dump"), "--schema-only", "--no-owner", "--no-privileges", "--dbname", address]
    said = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ | secret).stdout
    # PostgreSQL says `IN ('BUY', 'SELL')` in other casts and brackets when it has read it a second time
    plain = (re.sub(r"::(character varying|text(\[\])?)|[()]", "", line) for line in said.splitlines())
    return [line for line in plain if "restrict" not in line]


def made(server: URL, drop: Drop, how: str = "") -> Iterator[Engine]:
    """A database of the caller's own."""
    url = server.set(database=f"dump_{uuid.uuid4().hex[:12]}")
    maker = create_engine(server, isolation_level="AUTOCOMMIT")
    with maker.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {url.database} {how}"))
    maker.dispose()
    engine = create_engine(url)
    yield engine
    engine.dispose()
    drop(server, url)


@pytest.fixture(scope="module")
def full(templates: dict[str, URL], servers: dict[str, URL], market: Path, drop_database: Drop) -> Iterator[Engine]:
    """A database of the embedded server that holds a market; not to be changed."""
    for engine in made(servers["embedded"], drop_database, f"TEMPLATE {templates['embedded'].database}"):
        sd.load(market, engine=engine)
        with engine.begin() as connection:  # dear to compute, and not the matter here
            connection.execute(
                text("INSERT INTO calculated_metrics (symbol, date) SELECT symbol, date FROM market_cap_history")
            )
        yield engine


@pytest.fixture(scope="module")
def kept(full: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the market."""
    return backup(tmp_path_factory.mktemp("kept") / "market.dump", engine=full)


@pytest.fixture
def empty(servers: dict[str, URL], drop_database: Drop) -> Iterator[Engine]:
    """An empty database of the embedded server, not migrated."""
    yield from made(servers["embedded"], drop_database)


@pytest.fixture(scope="module")
def other(module_url: URL, market: Path) -> Iterator[Engine]:
    """A database on each server that holds other rows; no test changes it."""
    engine = create_engine(module_url)
    sd.load(next(market.rglob("EQUITY_L.csv")), engine=engine)
    yield engine
    engine.dispose()


@pytest.fixture
def over_tcp(other: Engine) -> Engine:
    if not other.url.password:
        pytest.skip("the embedded server asks for no password, and refuses its user nothing")
    return other


# --- whole


def test_all_comes_back_on_each_server(kept: Path, full: Engine, engine: Engine) -> None:
    promised = schema(engine.url)
    migrate.downgrade(engine)
    rows = restore(kept, engine=engine)
    assert contents(engine) == contents(full)
    assert rows == {name: count for name, (count, _) in contents(full).items()}
    assert rows["ohlcv_daily"] > 1000
    assert rows["calculated_metrics"]
    assert schema(engine.url) == promised
    assert migrate.current(engine) == migrate.head()
    with engine.begin() as connection:  # ids go on where they were
        connection.execute(text("INSERT INTO indices (index_name, symbol) VALUES ('NIFTY NEW', 'NIFTY NEW')"))


def test_what_is_restored_goes_on(kept: Path, engine: Engine, market: Path) -> None:
    restore(kept, engine=engine)
    before = contents(engine)
    bars = max(market.rglob("sec_bhavdata_full_*.csv"), key=lambda file: file.stat().st_mtime)
    (again,) = sd.load(bars, engine=engine)
    assert (again.status, again.inserted, again.updated) == ("success", 0, 0)
    assert contents(engine)["ohlcv_daily"] == before["ohlcv_daily"]


def test_the_file_is_the_owner_s_and_nothing_is_left_beside_it(kept: Path) -> None:
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [file.name for file in kept.parent.iterdir()] == ["market.dump"]


def test_rows_are_given_up_only_when_it_is_said(kept: Path, engine: Engine, full: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO indices (index_name, symbol) VALUES ('NIFTY X', 'NIFTY X')"))
    before = contents(engine)
    with pytest.raises(UsageError, match=r"holds rows \(indices\).*--replace"):
        restore(kept, engine=engine)
    assert contents(engine) == before
    restore(kept, replace=True, engine=engine)
    assert contents(engine) == contents(full)


def test_a_backup_of_an_older_schema_is_brought_up(empty: Engine, engine: Engine, tmp_path: Path) -> None:
    migrate.upgrade(empty, migrate.revisions()[0])
    with empty.begin() as connection:
        connection.execute(text("INSERT INTO indices (index_name, symbol) VALUES ('NIFTY OLD', 'NIFTY OLD')"))
    old = backup(tmp_path / "old.dump", engine=empty)
    assert restore(old, engine=engine)["indices"] == 1
    assert migrate.current(engine) == migrate.head()
    promised = schema(engine.url)
    restore(old, replace=True, engine=engine)
    assert schema(engine.url) == promised


def test_who_may_read_may_read_again(
    kept: Path, database_url: URL, server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if server != "embedded":
        pytest.skip("this server's user may not make the reader")
    engine = sd.connect()
    set_up_reader(engine, login=False)
    result = CliRunner().invoke(app, ["restore", str(kept)])
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert f"schema {migrate.head()}" in result.stderr
    with sd.connect(read_only=True).connect() as connection:
        assert connection.execute(text("SELECT current_user, count(*) > 0 FROM securities")).one() == (
            "screener_reader",
            True,
        )


def test_backup_without_a_file_is_a_new_one_in_the_home(
    database_url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCREENER_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(app, ["backup"])
    assert result.exit_code == 0, result.output
    file = Path(result.stdout.strip())
    assert file.parent == tmp_path / "home" / "backups"
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert str(file) in result.stderr


# --- or nothing


def damages(whole: bytes) -> Iterator[bytes]:
    yield b""
    yield b"SYMBOL,NAME OF COMPANY\nTCS,Tata\n"
    for part in (4, 100, len(whole) // 3, len(whole) * 2 // 3, len(whole) - 90, len(whole) - 1):
        yield whole[:part]
    for place in (7, 500, 5000, len(whole) // 3, len(whole) // 2, len(whole) - 5000, len(whole) - 3):
        yield whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    yield whole + b"\n"


def test_a_damaged_backup_changes_nothing(kept: Path, other: Engine, tmp_path: Path) -> None:
    before, file = contents(other), tmp_path / "damaged.dump"
    for content in damages(kept.read_bytes()):
        file.write_bytes(content)
        with pytest.raises(FileError, match=r"damaged\.dump: damaged, cut off, or not .*\. Take another backup"):
            restore(file, replace=True, engine=other)
    assert contents(other) == before


def test_pg_restore_that_stops_half_way_changes_nothing(kept: Path, other: Engine, tmp_path: Path) -> None:
    """As on a disk that fails after the file was looked at: the digest is true, and what it is of is not whole."""
    before, file, whole = contents(other), tmp_path / "half.dump", kept.read_bytes()
    for part in (0, 4, 100, len(whole) // 3, len(whole) // 2, len(whole) * 2 // 3):
        file.write_bytes(whole[:part])
        dump._seal(file)
        with pytest.raises(FileError, match=r"half\.dump: (not a whole backup|it is damaged): .*Take another backup"):
            restore(file, replace=True, engine=other)
    assert contents(other) == before


def test_pg_restore_itself_reads_a_backup(kept: Path, full: Engine, empty: Engine) -> None:
    address, secret = for_programs(empty.url)
    words = [client("pg_restore"), "--no-owner", "--schema=public", "--exit-on-error", f"--dbname={address}", kept]
    subprocess.run(words, check=True, env=os.environ | secret)
    assert contents(empty) == contents(full)


def test_a_backup_of_something_else_changes_nothing(kept: Path, other: Engine, empty: Engine, tmp_path: Path) -> None:
    before = contents(other)
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_versions (version_num text)"))
    address, secret = for_programs(empty.url)
    foreign, newer = tmp_path / "foreign.dump", tmp_path / "newer.dump"
    words = [client("pg_dump"), "--format=custom", f"--file={foreign}", address]
    subprocess.run(words, check=True, env=os.environ | secret)
    dump._seal(foreign)
    with pytest.raises(FileError, match=r"foreign\.dump: a backup of another database"):
        restore(foreign, replace=True, engine=other)

    migrate.upgrade(empty)
    with empty.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    backup(newer, engine=empty)
    with pytest.raises(FileError, match=rf"not known here \(found '9999'\)\. The newest one known is {migrate.head()}"):
        restore(newer, replace=True, engine=other)

    with pytest.raises(UsageError, match="no such file"):
        restore(tmp_path / "none.dump", replace=True, engine=other)
    assert contents(other) == before


def test_a_migration_that_fails_changes_nothing(other: Engine, empty: Engine, tmp_path: Path) -> None:
    migrate.upgrade(empty, migrate.revisions()[0])
    with empty.begin() as connection:
        connection.execute(text("CREATE FUNCTION note_outside_write() RETURNS int LANGUAGE sql AS 'SELECT 1'"))
    broken, before = backup(tmp_path / "broken.dump", engine=empty), contents(other)
    with pytest.raises(DatabaseError, match="migration failed and was rolled back"):
        restore(broken, replace=True, engine=other)
    assert contents(other) == before


def test_tables_in_use_are_not_torn_away(kept: Path, other: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "_PATIENCE", "100ms")
    before = contents(other)
    with other.connect() as reader:
        reader.execute(text("SELECT FROM securities"))
        with pytest.raises(DatabaseError, match="somebody works with the tables"):
            restore(kept, replace=True, engine=other)
    assert contents(other) == before


def test_what_is_not_ours_is_told_and_left_alone(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = engine
    with other.begin() as connection:
        connection.execute(text('CREATE TABLE "My ""notes" (id serial, note text)'))
        connection.execute(text("CREATE VIEW my_view AS SELECT symbol FROM securities"))
    with caplog.at_level(logging.WARNING):
        mine = backup(tmp_path / "mine.dump", engine=other)
    assert 'not ours, and so not in the backup: My "notes, my_view' in caplog.text
    before = contents(other)
    with pytest.raises(DatabaseError, match="depend on it"):  # the view would be torn away
        restore(mine, replace=True, engine=other)
    assert contents(other) == before
    with other.begin() as connection:
        connection.execute(text("DROP VIEW my_view"))
    restore(mine, replace=True, engine=other)
    assert contents(other) == before
    with other.connect() as connection:
        assert connection.execute(text('SELECT count(*) FROM "My ""notes"')).scalar_one() == 0


def test_a_backup_that_fails_leaves_the_older_one(over_tcp: Engine, tmp_path: Path) -> None:
    file = tmp_path / "mine.dump"
    file.write_bytes(b"older")
    with over_tcp.begin() as connection:
        connection.execute(text("REVOKE SELECT ON securities FROM CURRENT_USER"))
    with pytest.raises(DatabaseError, match=r"no backup was made: .*permission denied for table securities"):
        backup(file, engine=over_tcp)
    assert file.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [file]
    with over_tcp.begin() as connection:
        connection.execute(text("GRANT SELECT ON securities TO CURRENT_USER"))


def test_what_cannot_be_backed_up(empty: Engine, full: Engine, tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="screener-data init"):
        backup(tmp_path / "x.dump", engine=empty)
    with pytest.raises(UsageError, match="no such folder"):
        backup(tmp_path / "none" / "x.dump", engine=full)
    with pytest.raises(UsageError, match="it is a folder"):
        backup(tmp_path, engine=full)


# --- programs


def test_a_program_that_is_too_old_is_told_with_both_versions() -> None:
    with pytest.raises(DatabaseError, match=r"the server is PostgreSQL 99, and pg_dump is here as .*18.*Install"):
        client("pg_dump", 99)
    with pytest.raises(DatabaseError, match="there is no pg_dunk here"):
        client("pg_dunk")


def test_no_program_gets_the_password_as_an_argument(
    over_tcp: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with over_tcp.connect() as connection:
        version = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
    real, said, fake = client("pg_dump", version), tmp_path / "said", tmp_path / "bin" / "pg_dump"
    fake.parent.mkdir()
    fake.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"if sys.argv[1:] == ['--version']: print('pg_dump {version}'); sys.exit()\n"
        f"open({str(said)!r}, 'w').write(' '.join(sys.argv))\nos.execv({str(real)!r}, sys.argv)\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    backup(tmp_path / "x.dump", engine=over_tcp)
    password = str(over_tcp.url.password)
    assert "--dbname=postgresql://screener@" in said.read_text()
    assert password not in said.read_text()
    assert password.encode() not in (tmp_path / "x.dump").read_bytes()


def test_a_password_in_the_query_is_no_argument_either() -> None:
    address, secret = for_programs(make_url("postgresql+psycopg2://me@/db?host=a&password=pw%20d&sslmode=require"))
    assert (address, secret) == ("postgresql://me@/db?host=a&sslmode=require", {"PGPASSWORD": "pw d"})
    with pytest.raises(ConfigError, match="sslpassword"):
        for_programs(make_url("postgresql://me@/db?sslpassword=x"))
    assert issubclass(ConfigError, ScreenerError)
