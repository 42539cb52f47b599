"""The kinds of column, each said once: models make PostgreSQL columns of them, schemas make checks of them."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from sqlalchemy import JSON, BigInteger, Date, Integer, Numeric, String, Text
from sqlalchemy.orm import mapped_column
from sqlalchemy.types import TypeEngine

__all__ = [
    "ISIN",
    "ActionKind",
    "AnyText",
    "Count",
    "Crore",
    "Day",
    "DealSide",
    "FaceValue",
    "Factor",
    "Fits",
    "JsonObject",
    "LoadStatus",
    "LongCount",
    "Name",
    "Percent",
    "Price",
    "Score",
    "Shares",
    "Symbol",
    "Text10",
    "Text20",
    "Text50",
    "Text100",
    "Text500",
    "Unitless",
    "VolumePercent",
]

# PostgreSQL stores at most this many digits after the decimal point in any numeric.
_FINEST = -16_383
_ISO_DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Fits:
    """A pydantic rule read off an SQL type: refuses what a column of that type refuses, rounds as it rounds."""

    sql: TypeEngine[Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic parse the Python type first, then apply the column's rule."""
        parsed = handler(source)
        after = core_schema.no_info_after_validator_function
        match self.sql:
            case Date():
                return core_schema.no_info_before_validator_function(_no_timestamp, parsed)
            case Numeric(precision=int(precision), scale=int(scale)):
                return after(partial(_rounded, whole_digits=precision - scale, scale=scale), parsed)
            case BigInteger():
                return after(partial(_whole, bits=64), parsed)
            case Integer():
                return after(partial(_whole, bits=32), parsed)
            case String(length=width):
                return after(partial(_text, width=width), parsed)
        raise TypeError(f"no rule is written for {self.sql!r}")


def _rounded(value: Decimal, *, whole_digits: int, scale: int) -> Decimal:
    """Round half away from zero to the column's scale, as PostgreSQL does; refuse what does not fit."""
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError("must be a finite number")
    if exponent >= _FINEST and (not value or value.adjusted() <= whole_digits):
        with localcontext(prec=whole_digits + scale + 2):
            rounded = value.quantize(Decimal(1).scaleb(-scale), rounding=ROUND_HALF_UP) + 0  # no -0.00 in SQL
        if not rounded or rounded.adjusted() < whole_digits:
            return rounded
    raise ValueError(f"must have at most {whole_digits} digits before the decimal point")


def _whole(value: int, *, bits: int) -> int:
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise ValueError(f"must fit {bits} bits")
    return value


def _text(value: str, *, width: int | None) -> str:
    """Refuse what is too long or not storable; blanks beyond the width fall off, as SQL says."""
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain NUL or half a surrogate pair")
    if width is None or len(value) <= width:
        return value
    if value[width:].strip(" "):
        raise ValueError(f"must be at most {width} characters")
    return value[:width]


def _no_timestamp(value: Any) -> Any:
    """Let only dates and ISO text through: pydantic reads a number, also one in quotes, as seconds since 1970."""
    if isinstance(value, dt.date) or (isinstance(value, str) and _ISO_DAY.match(value)):
        return value
    raise ValueError("must be a date, or text like 2025-01-16")


def _as_stored(value: dict[str, Any]) -> dict[str, Any]:
    """Give the object back as JSON does (a tuple is a list, every key is text), or refuse it."""
    try:
        stored: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"must be JSON: {error}") from error
    return stored


_SYMBOL, _ISIN, _NAME = String(50), String(12), String(255)
_PRICE, _FACE_VALUE, _CRORE = Numeric(15, 2), Numeric(10, 2), Numeric(20, 2)
_PERCENT, _VOLUME_PERCENT, _SCORE, _UNITLESS = Numeric(8, 4), Numeric(8, 2), Numeric(5, 2), Numeric(10, 4)
_SHARES, _FACTOR = Numeric(15, 4), Numeric(20, 10)

#: A security's or index's short name on the exchange. Always text: a stock may be called NA.
Symbol = Annotated[str, mapped_column(_SYMBOL), Fits(_SYMBOL)]
#: International securities identification number.
ISIN = Annotated[str, mapped_column(_ISIN), Fits(_ISIN)]
#: A company's, fund's or client's name.
Name = Annotated[str, mapped_column(_NAME), Fits(_NAME)]
#: Rupees per share, or an index's points.
Price = Annotated[Decimal, mapped_column(_PRICE), Fits(_PRICE)]
#: Rupees per share, as printed on the certificate.
FaceValue = Annotated[Decimal, mapped_column(_FACE_VALUE), Fits(_FACE_VALUE)]
#: Rupees ÷ 10,000,000.
Crore = Annotated[Decimal, mapped_column(_CRORE), Fits(_CRORE)]
#: Per cent: 1.5 means 1.5 %.
Percent = Annotated[Decimal, mapped_column(_PERCENT), Fits(_PERCENT)]
#: Per cent of a volume, which can be in the thousands.
VolumePercent = Annotated[Decimal, mapped_column(_VOLUME_PERCENT), Fits(_VOLUME_PERCENT)]
#: A rating from 0 to 100.
Score = Annotated[Decimal, mapped_column(_SCORE), Fits(_SCORE)]
#: A ratio or sum of ratios.
Unitless = Annotated[Decimal, mapped_column(_UNITLESS), Fits(_UNITLESS)]
#: A number of shares within a ratio: 2 of "2 for 1", or the 19.07 of a rights issue.
Shares = Annotated[Decimal, mapped_column(_SHARES), Fits(_SHARES)]
#: What earlier prices or volumes are multiplied with.
Factor = Annotated[Decimal, mapped_column(_FACTOR), Fits(_FACTOR)]
#: A small whole number (a lot, a stage, a number of rows).
Count = Annotated[int, mapped_column(Integer), Fits(Integer())]
#: A whole number of shares.
LongCount = Annotated[int, mapped_column(BigInteger), Fits(BigInteger())]
#: A trading date in India (IST).
Day = Annotated[dt.date, mapped_column(Date), Fits(Date())]
#: Who gave the order of a deal. The list of values is in a CHECK of the table, too.
DealSide = Annotated[Literal["BUY", "SELL"], mapped_column(String(10))]
#: What a corporate action is. The CHECK of the table is made of this list.
ActionKind = Annotated[
    Literal[
        "split",
        "consolidation",
        "bonus",
        "rights",
        "demerger",
        "scheme",
        "capital_reduction",
        "distribution",
        "manual",
    ],
    mapped_column(String(20)),
]
#: How a load ended.
LoadStatus = Annotated[Literal["success", "failure", "partial"], mapped_column(String(20))]

_SHORT, _MEDIUM, _LONG, _LONGER = String(10), String(20), String(100), String(500)
_CATEGORY, _TEXT = String(50), Text()
Text10 = Annotated[str, mapped_column(_SHORT), Fits(_SHORT)]
Text20 = Annotated[str, mapped_column(_MEDIUM), Fits(_MEDIUM)]
Text50 = Annotated[str, mapped_column(_CATEGORY), Fits(_CATEGORY)]
Text100 = Annotated[str, mapped_column(_LONG), Fits(_LONG)]
Text500 = Annotated[str, mapped_column(_LONGER), Fits(_LONGER)]
AnyText = Annotated[str, mapped_column(_TEXT), Fits(_TEXT)]
#: A JSON object. NaN and Infinity are not JSON; None is NULL, not JSON's null.
JsonObject = Annotated[dict[str, Any], mapped_column(JSON(none_as_null=True)), AfterValidator(_as_stored)]
