"""Checked rows of the events."""

from __future__ import annotations

import datetime as dt

from screener_data.columns import Day, DealSide, LongCount, Name, Price, Symbol, Text100, Text500
from screener_data.schemas.base import Schema

__all__ = [
    "BlockDealBase",
    "BlockDealCreate",
    "BlockDealResponse",
    "BulkDealBase",
    "BulkDealCreate",
    "BulkDealResponse",
    "SurveillanceMeasureBase",
    "SurveillanceMeasureCreate",
    "SurveillanceMeasureResponse",
]


class _DealBase(Schema):
    """A deal of one client. quantity in shares, price in rupees per share."""

    date: Day
    symbol: Symbol
    security_name: Name | None = None
    client_name: Name
    deal_type: DealSide | None = None
    quantity: LongCount
    price: Price


class BulkDealBase(_DealBase):
    """A bulk deal: over 0.5 % of a company's shares in one day."""


class BulkDealCreate(BulkDealBase):
    """A bulk deal to be stored."""


class BulkDealResponse(BulkDealBase):
    """A stored bulk deal."""

    id: int
    created_at: dt.datetime | None


class BlockDealBase(_DealBase):
    """A deal in the block window."""


class BlockDealCreate(BlockDealBase):
    """A block deal to be stored."""


class BlockDealResponse(BlockDealBase):
    """A stored block deal."""

    id: int
    created_at: dt.datetime | None


class SurveillanceMeasureBase(Schema):
    """A surveillance measure in force for a symbol on a date."""

    date: Day
    symbol: Symbol
    security_name: Name | None = None
    measure_type: Text100 | None = None
    reason: Text500 | None = None


class SurveillanceMeasureCreate(SurveillanceMeasureBase):
    """A measure to be stored."""


class SurveillanceMeasureResponse(SurveillanceMeasureBase):
    """A stored measure."""

    id: int
    created_at: dt.datetime | None
