"""The role `screener_reader`, which may SELECT and nothing else: how it is made, and what it may read.

Roles belong to the whole server: all databases on it share this one, and each grants it its own tables. Granted rights
go with their database or table, so that dropping those needs no thought of it.
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

__all__ = ["READER", "STATEMENT_TIMEOUT", "may_become_reader", "request", "set_up_reader"]

READER = "screener_reader"
#: After this a statement of the reader is ended, unless its session sets another limit.
STATEMENT_TIMEOUT = "5min"

#: The advisory lock of a database under which it grants, so that several `init` at once work.
_LOCK = 0x5C4EF

_RIGHTS = f"""
DO $$
DECLARE
    place text := quote_ident(current_schema());
    relation regclass;
BEGIN
    IF NOT has_schema_privilege('{READER}', current_schema(), 'USAGE') THEN
        EXECUTE 'GRANT USAGE ON SCHEMA ' || place || ' TO {READER}';
    END IF;
    FOR relation IN
        SELECT oid FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
            AND pg_has_role(relowner, 'USAGE') AND NOT has_table_privilege('{READER}', oid, 'SELECT')
    LOOP
        EXECUTE 'GRANT SELECT ON ' || relation || ' TO {READER}';
    END LOOP;
    -- what later migrations of this user make
    EXECUTE 'ALTER DEFAULT PRIVILEGES IN SCHEMA ' || place || ' GRANT SELECT ON TABLES TO {READER}';
END
$$
"""


def _creation(login: bool) -> list[str]:
    """How the role is made. Its settings hold where it logs in; a session that only becomes it has to set them."""
    return [
        f"CREATE ROLE {READER} {'LOGIN' if login else 'NOLOGIN'}",
        f"ALTER ROLE {READER} SET default_transaction_read_only = on",
        f"ALTER ROLE {READER} SET statement_timeout = '{STATEMENT_TIMEOUT}'",
    ]


def set_up_reader(engine: Engine, *, login: bool) -> bool:
    """Make the role where that is allowed, and let it read all tables of this database, present and future.

    `login`: it may connect by itself, which is for a server that trusts whoever reaches it. Changes nothing where all
    is done; safe when several processes do it at once. False where the user may not make the role, or not become it.
    """
    with engine.connect() as connection:
        if not _exists(connection) and _may_create(connection):
            # another database of the server may be first; then the role is whole, since it is made in one transaction
            with suppress(IntegrityError, ProgrammingError):
                for statement in _creation(login):
                    connection.execute(text(statement))
                if not may_become_reader(connection):
                    connection.execute(text(f"GRANT {READER} TO CURRENT_USER"))
                connection.commit()
            connection.rollback()
        if not _exists(connection):
            return False
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if login and not _may_log_in(connection):  # it was made through an address, as if on a given server
            connection.execute(text(f"ALTER ROLE {READER} LOGIN"))
        connection.exec_driver_sql(_RIGHTS)
        usable = may_become_reader(connection)
        connection.commit()
        return usable


def may_become_reader(connection: Connection) -> bool:
    """Whether the role exists and the user of the connection may take it by SET ROLE."""
    return bool(
        connection.execute(
            text("SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = :reader"), {"reader": READER}
        ).scalar()
    )


def request(user: str) -> str:
    """The statements to ask a server's administrator for, so that `user` may explore as the reader."""
    become = [*_creation(login=False), f'GRANT {READER} TO "{user.replace(chr(34), chr(34) * 2)}"']
    return "".join(f"{statement};\n" for statement in become)


def _exists(connection: Connection) -> bool:
    found = connection.execute(text("SELECT FROM pg_roles WHERE rolname = :reader"), {"reader": READER})
    return found.first() is not None


def _may_log_in(connection: Connection) -> bool:
    found = connection.execute(text("SELECT rolcanlogin FROM pg_roles WHERE rolname = :reader"), {"reader": READER})
    return bool(found.scalar_one())


def _may_create(connection: Connection) -> bool:
    return bool(
        connection.execute(
            text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
        ).scalar_one()
    )
