"""What all tables share: the metadata, timestamps, and the rule that numbers are numbers."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from sqlalchemy import BigInteger, CheckConstraint, DateTime, MetaData, func
from sqlalchemy.orm import DeclarativeBase, mapped_column

__all__ = ["Base", "BigKey", "CreatedAt", "SmallKey", "UpdatedAt", "finite"]


class Base(DeclarativeBase):
    """The root of every table."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: dict[Any, Any] = {}  # noqa: RUF012 - SQLAlchemy reads it as declared


SmallKey = Annotated[int, mapped_column(primary_key=True, autoincrement=True)]
BigKey = Annotated[int, mapped_column(BigInteger, primary_key=True, autoincrement=True)]
CreatedAt = Annotated[dt.datetime, mapped_column(DateTime, server_default=func.now())]
#: Moved by a trigger in the database, so that plain SQL moves it, too (see the first migration).
UpdatedAt = Annotated[
    dt.datetime,
    mapped_column(DateTime, server_default=func.now(), server_onupdate=func.now()),
]


def finite(table: str, *columns: str) -> CheckConstraint:
    """A check against NaN, which PostgreSQL's numeric takes and every comparison with `>=` lets through."""
    return CheckConstraint(" AND ".join(f"{name} <> 'NaN'" for name in columns), name=f"ck_{table}_finite")
