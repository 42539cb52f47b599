"""Migrations go up and down without a trace, agree with the models, and may be run by several at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import ModuleType

import pytest
from alembic import command
from alembic.config import Config
from pytest_alembic.runner import MigrationContext, runner
from sqlalchemy import URL, Engine, create_engine, inspect, text

from screener_data import models
from screener_data.database import migrate

ROOT = Path(__file__).resolve().parents[1]

# the four that `pytest --test-alembic` would collect (see pyproject.toml for why it does not)
STOCK = [
    "test_model_definitions_match_ddl",
    "test_single_head_revision",
    "test_up_down_consistency",
    "test_upgrade",
]


@pytest.fixture
def empty(empty_url: URL, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine on an empty database, which SCREENER_DATABASE_URL names."""
    monkeypatch.setenv("SCREENER_DATABASE_URL", empty_url.render_as_string(hide_password=False))
    engine = create_engine(empty_url)
    yield engine
    engine.dispose()


def own_objects(engine: Engine) -> set[str]:
    """All that stands in the database and is not PostgreSQL's own: relations, types, functions, schemas."""
    kinds = {
        "pg_class": ("relname", "relnamespace"),
        "pg_type": ("typname", "typnamespace"),
        "pg_proc": ("proname", "pronamespace"),
    }
    found = set()
    with engine.connect() as connection:
        for catalogue, (name, space) in kinds.items():
            statement = (
                f"SELECT {name} FROM {catalogue} o JOIN pg_namespace n ON n.oid = {space} "
                "WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
            )
            found |= set(connection.execute(text(statement)).scalars())
        return found | set(connection.execute(text("SELECT nspname FROM pg_namespace WHERE oid >= 16384")).scalars())


def alembic(*words: str) -> str:
    """What `alembic` says on stdout when called by hand in the repo's root."""
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_up_down_and_up_again(empty: Engine) -> None:
    before = own_objects(empty)
    migrate.upgrade(empty)
    first = own_objects(empty)
    assert first >= {"alembic_version", "securitytype", "set_updated_at", *models.Base.metadata.tables}
    migrate.downgrade(empty)
    assert own_objects(empty) == before == set()
    migrate.upgrade(empty)
    assert own_objects(empty) == first


def test_upgrade_keeps_the_rows_when_there_is_nothing_to_do(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO indices (index_name, symbol) VALUES ('Nifty 50', 'NIFTY 50')"))
    migrate.upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT symbol FROM indices")).scalars().all() == ["NIFTY 50"]


def test_downgrade_leaves_the_tables_of_others_alone(empty: Engine) -> None:
    migrate.upgrade(empty)
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE mine (note text)"))
    migrate.downgrade(empty)
    assert inspect(empty).get_table_names() == ["mine"]


def test_current_and_head(empty: Engine) -> None:
    assert migrate.current(empty) is None
    migrate.upgrade(empty)
    assert migrate.current(empty) == migrate.head() is not None
    migrate.downgrade(empty)
    assert migrate.current(empty) is None


def test_a_migration_that_fails_leaves_nothing_behind(empty: Engine) -> None:
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE securities (note text)"))
    with pytest.raises(migrate.DatabaseError, match='"securities" already exists'):
        migrate.upgrade(empty)
    assert inspect(empty).get_table_names() == ["securities"]
    assert migrate.current(empty) is None


def test_six_at_once(empty: Engine) -> None:
    """As when six notebooks call `init` in the same moment."""
    program = (
        "import sys; from screener_data.database import engine, migrate; found = engine.connect(); "
        "print('ready', flush=True); sys.stdin.readline(); migrate.upgrade(found); print(migrate.current(found))"
    )
    six = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for one in six:  # all are at the door before any goes through
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in six:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    answers = [(*one.communicate(timeout=120), one.returncode) for one in six]
    assert answers == [(f"{migrate.head()}\n", "", 0)] * 6
    assert inspect(empty).has_table("securities")


# --- alembic by hand, in the repo's root


def test_alembic_by_hand_goes_up_and_down(empty: Engine) -> None:
    alembic("upgrade", "head")
    assert migrate.current(empty) == migrate.head()
    assert alembic("current").strip() == f"{migrate.head()} (head)"
    alembic("downgrade", "base")
    assert own_objects(empty) == set()


@pytest.mark.usefixtures("database_url")
def test_alembic_check_finds_nothing_to_migrate() -> None:
    said = StringIO()
    command.check(Config(ROOT / "alembic.ini", stdout=said))
    assert "No new upgrade operations detected" in said.getvalue()


def test_offline_mode_prints_sql(empty: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """No database is reached, and what is printed makes the same database as an upgrade does."""
    monkeypatch.setenv("SCREENER_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    printed = alembic("upgrade", "head", "--sql")
    assert "CREATE TABLE ohlcv_daily" in printed
    assert own_objects(empty) == set()
    with empty.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(printed.replace("%", "%%"))
    assert migrate.current(empty) == migrate.head()
    assert own_objects(empty) >= set(models.Base.metadata.tables)


# --- pytest-alembic's own tests


@pytest.fixture
def alembic_runner(empty: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[MigrationContext]:
    """The plugin's own fixture, on our databases. It reads alembic.ini in the current folder."""
    from pytest_alembic.config import Config as Given

    monkeypatch.chdir(ROOT)
    with runner(config=Given(), engine=empty) as context:
        yield context


@pytest.fixture
def stock(pytestconfig: pytest.Config) -> ModuleType:
    """The plugin's tests, imported late: their mark must be known first, and the plugin that tells it is off."""
    pytestconfig.addinivalue_line("markers", "alembic: tests of pytest-alembic")
    from pytest_alembic import tests

    return tests


@pytest.mark.parametrize("name", STOCK)
def test_pytest_alembic(name: str, stock: ModuleType, alembic_runner: MigrationContext, empty: Engine) -> None:
    assert sorted(stock.__all__) == STOCK
    getattr(stock, name)(alembic_runner)
    went_up = name != "test_single_head_revision"  # the one that only reads the scripts
    assert (migrate.current(empty) is not None) == went_up
