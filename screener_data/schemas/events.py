"""Checked rows of the events."""

from __future__ import annotations

import datetime as dt
from typing import Self

from pydantic import model_validator

from screener_data.columns import (
    ActionKind,
    AnyText,
    Day,
    DealSide,
    FaceValue,
    Factor,
    LongCount,
    Name,
    Price,
    Shares,
    Symbol,
    Text100,
    Text500,
)
from screener_data.schemas.base import Schema

__all__ = [
    "BlockDealBase",
    "BlockDealCreate",
    "BlockDealResponse",
    "BulkDealBase",
    "BulkDealCreate",
    "BulkDealResponse",
    "CorporateActionBase",
    "CorporateActionCreate",
    "CorporateActionResponse",
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


class CorporateActionBase(Schema):
    """One action of one kind of a symbol on its ex-date: `shares_after` shares come of `shares_before`."""

    symbol: Symbol
    ex_date: Day
    kind: ActionKind
    shares_before: Shares
    shares_after: Shares
    premium: Price | None = None
    face_value: FaceValue | None = None
    price_factor: Factor | None = None
    volume_factor: Factor | None = None
    purpose: AnyText

    @model_validator(mode="after")
    def _rules_of_the_table(self) -> Self:
        """The table's checks, on the values as rounded for storing."""
        for name in ("shares_before", "shares_after", "face_value", "price_factor", "volume_factor"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above zero")
        if self.premium is not None and self.premium < 0:
            raise ValueError("premium must not be negative")
        if {self.price_factor is not None, self.volume_factor is not None} != {self.kind == "manual"}:
            raise ValueError("ck_corporate_actions_manual: a manual row has both factors, any other has none")
        return self


class CorporateActionCreate(CorporateActionBase):
    """An action to be stored."""


class CorporateActionResponse(CorporateActionBase):
    """A stored action."""

    id: int
    created_at: dt.datetime | None
