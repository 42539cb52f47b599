"""Connections: to the server that SCREENER_DATABASE_URL names, or to the embedded one."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from screener_data.config import settings
from screener_data.database.embedded import EmbeddedServer
from screener_data.errors import ConfigError, DatabaseError

__all__ = ["OLDEST_SERVER", "connect", "database_url", "embedded_server", "is_lost", "ready", "reason_of"]

#: The oldest PostgreSQL that the package is written for (major version).
OLDEST_SERVER = 15
#: Seconds to wait for a server that accepts a connection and says nothing, unless the address says otherwise.
_PATIENCE = "5"


def embedded_server() -> EmbeddedServer | None:
    """The embedded server of the settings, started or not; None where a server is set by URL."""
    found = settings()
    return None if found.database_url else EmbeddedServer(found.home)


def database_url() -> URL:
    """The address in force. Starts the embedded server where none is set; the password is in it."""
    server = embedded_server()
    if server is not None:
        return make_url(server.start())
    secret = settings().database_url
    assert secret is not None  # noqa: S101 - no server of ours means that an address is set
    return _parsed(secret.get_secret_value())


def connect(url: str | URL | None = None) -> Engine:
    """An engine for `url`, or for the database of the settings; it is proved to answer before it is returned.

    Raises DatabaseError (not reached, wrong password, too old) and ConfigError (not an address of PostgreSQL).
    """
    return _engine(_parsed(url) if url is not None else database_url())


@lru_cache(maxsize=8)
def _pool(url: URL) -> Engine:
    return create_engine(
        url,
        pool_pre_ping=True,  # the embedded server may have been stopped and started in between
        pool_size=2,
        connect_args={
            "application_name": "screener-data",
            "options": "-c timezone=UTC -c datestyle=ISO",
            "connect_timeout": url.query.get("connect_timeout", _PATIENCE),
        },
    )


def _engine(url: URL) -> Engine:
    engine = _pool(url)
    try:
        with engine.connect() as connection:
            version = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
    except DBAPIError as error:
        shown = url.set(query={}).render_as_string(hide_password=True)  # a password can stand in the query, too
        raise DatabaseError(
            f"cannot reach the database {shown}: {reason_of(error)}. "
            "Check SCREENER_DATABASE_URL, or unset it to use the embedded server."
        ) from None
    if version < OLDEST_SERVER:
        raise DatabaseError(f"PostgreSQL {version} is too old: {OLDEST_SERVER} or newer is needed.")
    return engine


def ready(engine: Engine | None) -> Engine:
    """The given engine, or the settings' one. Raises DatabaseError, saying what to do, where it has no tables yet."""
    engine = engine or connect()
    with engine.connect() as connection:
        if connection.execute(text("SELECT to_regclass('load_files')")).scalar() is None:
            raise DatabaseError("the database has no tables yet: run `screener-data init` first")
    return engine


def is_lost(connection: Connection) -> bool:
    """Whether the server has gone away: a COPY tells only the driver so, and not SQLAlchemy."""
    return connection.invalidated or bool(connection.connection.dbapi_connection.closed)  # type: ignore[union-attr]


def reason_of(error: Exception) -> str:
    """The server's own first line of why, without the statement and its values."""
    original = getattr(error, "orig", None) or error
    return str(original).strip().partition("\n")[0]


def _parsed(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # the text itself is not shown: whatever it is, it may hold a password
        raise ConfigError("SCREENER_DATABASE_URL is not an address like postgresql://user@host/database.") from None
    if "@" in (parsed.host or ""):  # what follows it would be shown as the host, and may be the password's tail
        raise ConfigError("in postgresql://user:password@host/database, an @ of the password is written %40.")
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise ConfigError(f"only PostgreSQL is supported, not {parsed.get_backend_name()!r}.")
    return parsed.set(drivername="postgresql+psycopg2")
