"""Runs the migrations on the connection it is handed, or on the database of the settings."""

from alembic import context
from sqlalchemy import Connection, Engine, text

from screener_data.database.engine import connect
from screener_data.database.migrate import LOCK
from screener_data.models import Base


def migrate(connection: Connection) -> None:
    """One transaction under the lock: all migrations, or none."""
    context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.run_migrations()
        if not context.get_context().get_current_heads():  # at base: leave no table, not even alembic's own
            connection.execute(text("DROP TABLE IF EXISTS alembic_version"))


def connection_or_engine() -> Connection | Engine:
    """What the caller handed over (migrate.py a connection, pytest-alembic an engine), or the settings' database."""
    return context.config.attributes.get("connection") or connect()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    given = connection_or_engine()
    if isinstance(given, Connection):
        migrate(given)
    else:
        with given.begin() as own:
            migrate(own)
