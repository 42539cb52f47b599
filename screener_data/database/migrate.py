"""Migrations: up to the newest and down to nothing, one process at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from screener_data.database.engine import reason_of
from screener_data.errors import DatabaseError

__all__ = ["LOCK", "current", "downgrade", "head", "revisions", "upgrade"]

#: The advisory lock under which migrations run, so that several `init` at once work.
LOCK = 0x5C4EE


def _scripts() -> Path:
    package = Path(__file__).parents[1]
    checkout, installed = package.parent / "alembic", package / "_alembic"
    return checkout if (checkout / "env.py").is_file() else installed


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(database: Engine | Connection, revision: str = "head") -> None:
    """Bring the database to the newest schema, or to `revision`. Safe when several processes do it at once.

    On a connection it is a part of the transaction that is open there.
    """
    _run(database, lambda config: command.upgrade(config, revision))


def downgrade(database: Engine | Connection) -> None:
    """Remove every table and type of ours. All data is lost. On a connection: within its transaction."""
    _run(database, lambda config: command.downgrade(config, "base"))


def _run(database: Engine | Connection, work: Callable[[Config], None]) -> None:
    try:
        with database.begin() if isinstance(database, Engine) else nullcontext(database) as connection:
            work(_config(connection))
    except SQLAlchemyError as error:
        raise DatabaseError(f"the migration failed and was rolled back: {reason_of(error)}") from error


def current(engine: Engine) -> str | None:
    """The revision that the database is at; None when it has no schema of ours."""
    with engine.connect() as connection:
        if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def head() -> str | None:
    """The newest revision that this version of the package knows."""
    return _directory().get_current_head()


def revisions() -> list[str]:
    """All revisions that this version of the package knows, the oldest first."""
    return [script.revision for script in _directory().walk_revisions()][::-1]


def _directory() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    return ScriptDirectory.from_config(config)
