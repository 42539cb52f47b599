"""Connections: to the server that SCREENER_DATABASE_URL names, or to the embedded one; for reading only, too."""

from __future__ import annotations

import warnings
from functools import lru_cache

from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from screener_data.config import settings
from screener_data.database.embedded import EmbeddedServer
from screener_data.database.reader import READER, STATEMENT_TIMEOUT, may_become_reader
from screener_data.errors import ConfigError, DatabaseError

__all__ = [
    "OLDEST_SERVER",
    "connect",
    "database_url",
    "embedded_server",
    "for_programs",
    "is_lost",
    "ready",
    "reason_of",
]

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


def connect(url: str | URL | None = None, *, read_only: bool = False) -> Engine:
    """An engine for `url`, or for the database of the settings; it is proved to answer before it is returned.

    `read_only`: for exploring. Every transaction is READ ONLY and a statement ends after five minutes; on the embedded
    server, and where SCREENER_READER_URL is set, another user is connected, who may do nothing but SELECT. Elsewhere
    the same user becomes the role `screener_reader`; where there is none, a warning says that only the transactions
    guard. Raises DatabaseError (not reached, wrong password, too old) and ConfigError (not an address of PostgreSQL).

    >>> import screener_data as sd
    >>> sd.connect().dialect.name
    'postgresql'
    """
    if not read_only:
        return _engine(_parsed(url) if url is not None else database_url())
    if url is None and (own := _reader_url()) is not None:
        return _engine(own, _READ_ONLY)
    engine = connect(url)
    with engine.connect() as connection:
        becomes = may_become_reader(connection)
    if not becomes:
        warnings.warn(
            f"no role {READER} to become: only READ ONLY transactions guard the data. "
            "`screener-data reader-sql` prints what makes it.",
            RuntimeWarning,
            stacklevel=2,
        )
    return _engine(engine.url, f"{_READ_ONLY} -c role={READER}" if becomes else _READ_ONLY)


def for_programs(url: URL) -> tuple[str, dict[str, str]]:
    """An address for PostgreSQL's programs, and the password apart, for the environment: `ps` shows arguments."""
    if "sslpassword" in url.query:
        raise ConfigError("sslpassword in the address would be shown by `ps`: use a key file without a password.")
    password = url.password or url.query.get("password")
    shown = url._replace(drivername="postgresql", password=None).difference_update_query(["password"])
    return shown.render_as_string(hide_password=False), {"PGPASSWORD": str(password)} if password else {}


_READ_ONLY = f"-c default_transaction_read_only=on -c statement_timeout={STATEMENT_TIMEOUT}"


def _reader_url() -> URL | None:
    """The address of a user who may only read; None where there is none of his own."""
    found = settings()
    if found.reader_url is not None:
        return _parsed(found.reader_url.get_secret_value(), "SCREENER_READER_URL")
    return database_url().set(username=READER) if found.database_url is None else None


@lru_cache(maxsize=8)
def _pool(url: URL, read_only: str) -> Engine:
    return create_engine(
        url,
        execution_options={"postgresql_readonly": True} if read_only else {},
        pool_pre_ping=True,  # the embedded server may have been stopped and started in between
        pool_size=2,
        connect_args={
            "application_name": "screener-data",
            "options": f"-c timezone=UTC -c datestyle=ISO {read_only}",
            "connect_timeout": url.query.get("connect_timeout", _PATIENCE),
        },
    )


def _engine(url: URL, read_only: str = "") -> Engine:
    engine = _pool(url, read_only)
    try:
        with engine.connect() as connection:
            version = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
    except DBAPIError as error:
        shown = url.set(query={}).render_as_string(hide_password=True)  # a password can stand in the query, too
        if f'role "{READER}" does not exist' in str(error.orig):
            raise DatabaseError(f"there is no user {READER} yet: run `screener-data init` first") from None
        raise DatabaseError(
            f"cannot reach the database {shown}: {reason_of(error)}. "
            f"Check {'SCREENER_READER_URL' if read_only else 'SCREENER_DATABASE_URL'}, or unset it to use "
            f"{'the user of SCREENER_DATABASE_URL' if read_only else 'the embedded server'}."
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


def _parsed(url: str | URL, setting: str = "SCREENER_DATABASE_URL") -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # the text itself is not shown: whatever it is, it may hold a password
        raise ConfigError(f"{setting} is not an address like postgresql://user@host/database.") from None
    if "@" in (parsed.host or ""):  # what follows it would be shown as the host, and may be the password's tail
        raise ConfigError("in postgresql://user:password@host/database, an @ of the password is written %40.")
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise ConfigError(f"only PostgreSQL is supported, not {parsed.get_backend_name()!r}.")
    return parsed.set(drivername="postgresql+psycopg2")
