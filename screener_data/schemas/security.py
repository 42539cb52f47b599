"""Checked rows of the master tables."""

from __future__ import annotations

import datetime as dt

from screener_data.columns import ISIN, Count, Day, FaceValue, Name, Price, Symbol, Text10, Text20, Text100
from screener_data.models.security import SecurityType
from screener_data.schemas.base import Schema

__all__ = ["IndexBase", "IndexCreate", "IndexResponse", "SecurityBase", "SecurityCreate", "SecurityResponse"]


class SecurityBase(Schema):
    """A security as an exchange list states it. paid_up_value and face_value in rupees per share."""

    symbol: Symbol
    isin: ISIN
    security_name: Name
    series: Text10 | None = None
    listing_date: Day | None = None
    paid_up_value: Price | None = None
    market_lot: Count | None = None
    face_value: FaceValue | None = None
    security_type: SecurityType
    is_active: bool | None = True


class SecurityCreate(SecurityBase):
    """A security to be stored."""


class SecurityResponse(SecurityBase):
    """A stored security."""

    id: int
    created_at: dt.datetime | None
    updated_at: dt.datetime | None


class IndexBase(Schema):
    """An index of the exchange."""

    index_name: Text100
    symbol: Symbol
    exchange: Text20 | None = "NSE_INDEX"
    is_active: bool | None = True


class IndexCreate(IndexBase):
    """An index to be stored."""


class IndexResponse(IndexBase):
    """A stored index."""

    id: int
    created_at: dt.datetime | None
    updated_at: dt.datetime | None
