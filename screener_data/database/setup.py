"""A database made ready: its schema brought up to date, and the role of those who only read."""

from __future__ import annotations

from sqlalchemy import Engine

from screener_data.database import migrate
from screener_data.database.engine import embedded_server
from screener_data.database.reader import set_up_reader

__all__ = ["set_up"]


def set_up(engine: Engine) -> bool:
    """Migrate to the newest schema, and make the read-only role. Safe when several processes do it at once.

    False where this user may not make the role, or not become it. Raises DatabaseError where the migration fails.
    """
    migrate.upgrade(engine)
    return set_up_reader(engine, login=embedded_server() is not None)
