"""Who explores can read every table, also those of later migrations, and change nothing: the server says so."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

import screener_data as sd
from screener_data.cli import app
from screener_data.database import migrate
from screener_data.database.embedded import EmbeddedServer
from screener_data.database.reader import READER, request, set_up_reader
from screener_data.errors import ConfigError, DatabaseError
from screener_data.models import Base

#: The TCP server's user may make no role: what guards there is the read-only transaction.
GUARDED_BY_TRANSACTIONS = "ignore:no role screener_reader:RuntimeWarning"
pytestmark = pytest.mark.filterwarnings(GUARDED_BY_TRANSACTIONS)

REFUSED = r"read-only|permission denied|must be owner"
WRITES = [
    "INSERT INTO indices (index_name, symbol) VALUES ('NIFTY X', 'NIFTY X')",
    "UPDATE securities SET is_active = false",
    "DELETE FROM ohlcv_daily",
    "TRUNCATE ohlcv_daily",
    "CREATE TABLE mine (a integer)",
    "CREATE TEMP TABLE mine (a integer)",
    "ALTER TABLE ohlcv_daily ADD COLUMN mine integer",
    "DROP TABLE ohlcv_daily",
    "CREATE INDEX mine ON ohlcv_daily (close)",
    "SELECT * INTO mine FROM ohlcv_daily",
    "SELECT nextval('ohlcv_daily_id_seq')",
    "SELECT setval('ohlcv_daily_id_seq', 7)",
    "SELECT * FROM securities FOR UPDATE",
    "WITH gone AS (DELETE FROM ohlcv_daily RETURNING 1) SELECT * FROM gone",
    "GRANT ALL ON ohlcv_daily TO PUBLIC",
]


@pytest.fixture(params=["login", "becomes"])
def readonly(request: pytest.FixtureRequest, server: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Both ways to be the reader: a user of its own, or the usual one who becomes it."""
    login = request.param == "login"
    if login and server != "embedded":
        pytest.skip("this server's user may not make one who logs in")
    set_up_reader(engine, login=login)
    if login:
        url = engine.url.set(username=READER)
        monkeypatch.setenv("SCREENER_READER_URL", url.render_as_string(hide_password=False))
    return sd.connect(read_only=True)


def test_every_write_is_refused(readonly: Engine) -> None:
    for statement in WRITES:
        with readonly.connect() as connection, pytest.raises(DBAPIError, match=REFUSED):
            connection.execute(text(statement))


def test_copy_from_is_refused(readonly: Engine) -> None:
    with readonly.connect() as connection:
        cursor = connection.connection.cursor()
        with pytest.raises(Exception, match=REFUSED):
            cursor.copy_expert("COPY indices (index_name, symbol) FROM STDIN", io.StringIO("a\tb\n"))


def test_a_session_of_the_reader_does_not_escape(readonly: Engine, server: str) -> None:
    if server != "embedded":
        pytest.skip("there is no reader on this server")
    for escape in ("SET TRANSACTION READ WRITE", "COMMIT; BEGIN READ WRITE", "RESET ROLE"):
        for statement in ("DELETE FROM ohlcv_daily", "CREATE TABLE mine (a integer)", "TRUNCATE securities"):
            with readonly.connect() as connection:
                connection.exec_driver_sql(escape)
                with pytest.raises(DBAPIError, match=REFUSED):
                    connection.execute(text(statement))


def test_a_user_of_its_own_has_no_role_to_go_back_to(readonly: Engine, request: pytest.FixtureRequest) -> None:
    if "login" not in request.node.callspec.id:
        pytest.skip("who becomes the reader is another user")
    with readonly.connect() as connection:
        assert connection.execute(text("SELECT session_user")).scalar() == READER
        with pytest.raises(DBAPIError, match="permission denied to set role"):
            connection.execute(text("SET ROLE postgres"))


def test_every_table_can_be_read_and_those_to_come(readonly: Engine, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE of_a_later_migration (a integer)"))
        connection.execute(text("INSERT INTO of_a_later_migration VALUES (1)"))
    with readonly.connect() as connection:
        for table in (*Base.metadata.tables, "alembic_version"):
            connection.execute(text(f"SELECT * FROM {table} LIMIT 1"))
        assert connection.execute(text("SELECT a FROM of_a_later_migration")).scalar() == 1
        assert connection.execute(text("SHOW statement_timeout")).scalar() == "5min"
        assert connection.execute(text("SHOW transaction_read_only")).scalar() == "on"
    assert sd.prices(engine=readonly).empty


def test_the_reader_has_select_and_no_other_right(engine: Engine, server: str) -> None:
    if not set_up_reader(engine, login=False):
        assert server == "server"
        pytest.skip("this server's user may make no role")
    with engine.connect() as connection:
        rights = text(
            "SELECT DISTINCT privilege_type FROM information_schema.role_table_grants WHERE grantee = :reader"
        )
        assert connection.execute(rights, {"reader": READER}).scalars().all() == ["SELECT"]
        attributes = text("SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = :r")
        assert not any(connection.execute(attributes, {"r": READER}).one())


def test_downgrade_and_upgrade_work_with_the_reader(engine: Engine) -> None:
    usable = set_up_reader(engine, login=False)
    migrate.downgrade(engine)
    migrate.upgrade(engine)  # its tables are readable without a word
    if usable:
        with sd.connect(engine.url, read_only=True).connect() as connection:
            assert connection.execute(text("SELECT current_user")).scalar() == READER
            assert connection.execute(text("SELECT count(*) FROM securities")).scalar() == 0


def test_six_at_once_in_two_databases(engine: Engine, empty_url: URL, server: str) -> None:
    if server != "embedded":
        pytest.skip("this server's user may make no role")
    with engine.begin() as connection:  # roles are the server's: take it away, from wherever it has rights
        for database in connection.execute(text("SELECT datname FROM pg_database WHERE datallowconn")).scalars().all():
            other = create_engine(engine.url.set(database=database))
            with other.begin() as there:
                if there.execute(text("SELECT FROM pg_roles WHERE rolname = :r"), {"r": READER}).first() is not None:
                    there.execute(text(f"DROP OWNED BY {READER}"))
            other.dispose()
        connection.execute(text(f"DROP ROLE IF EXISTS {READER}"))
    engines = [create_engine(url) for url in (engine.url, empty_url) * 3]
    door = threading.Barrier(len(engines))

    def set_up(one: Engine) -> bool:
        with one.connect():  # all are connected before any goes on
            door.wait(30)
        return set_up_reader(one, login=True)

    with ThreadPoolExecutor(len(engines)) as pool:
        assert list(pool.map(set_up, engines)) == [True] * len(engines)
    for one in engines:
        one.dispose()


# --- the embedded server's own address


def test_on_the_embedded_server_the_reader_logs_in(embedded: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SCREENER_DATABASE_URL", "SCREENER_READER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCREENER_HOME", str(embedded.home))
    assert CliRunner().invoke(app, ["init"]).exit_code == 0
    with sd.connect(read_only=True).connect() as connection:
        assert connection.execute(text("SELECT session_user")).scalar() == READER
        assert connection.execute(text("SELECT count(*) FROM securities")).scalar() == 0


# --- where there is no role


def test_init_says_what_to_ask_for_where_no_role_can_be_made(database_url: URL, server: str) -> None:
    done = CliRunner().invoke(app, ["init"])
    assert done.exit_code == 0
    assert ("`screener-data reader-sql`" in done.stderr) == (server == "server")
    assert CliRunner().invoke(app, ["reader-sql"]).stdout == request(str(database_url.username))
    if server == "server":
        with pytest.warns(RuntimeWarning, match="only READ ONLY transactions guard"):
            sd.connect(read_only=True)


def test_what_the_administrator_is_asked_for_makes_the_role(engine: Engine, server: str) -> None:
    if server != "embedded":
        pytest.skip("this server's user is no administrator")
    with engine.connect() as connection:  # never committed
        connection.execute(text(f"ALTER ROLE {READER} RENAME TO away"))
        connection.execute(text('CREATE ROLE "a ""user"""'))
        connection.exec_driver_sql(request('a "user"'))
        member = "SELECT pg_has_role('a \"user\"', 'screener_reader', 'MEMBER')"
        assert connection.execute(text(member)).scalar()
        connection.rollback()


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("nonsense", ConfigError, "SCREENER_READER_URL is not an address"),
        ("postgresql://r:geheim-42@127.0.0.1:1/x", DatabaseError, "Check SCREENER_READER_URL"),
    ],
)
def test_a_wrong_reader_is_named(
    monkeypatch: pytest.MonkeyPatch, url: str, error: type[Exception], message: str
) -> None:
    monkeypatch.setenv("SCREENER_READER_URL", url)
    with pytest.raises(error, match=message) as caught:
        sd.connect(read_only=True)
    assert "geheim" not in str(caught.value)
