"""A schema takes what its table takes, refuses what its table refuses, and holds the value that the table stores.

Every row here goes both ways: to the schema, and as it is (not by way of the schema) to the table.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import (
    JSON,
    URL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    Enum,
    Integer,
    Numeric,
    String,
    Text,
    create_engine,
    insert,
    text,
)
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session

from screener_data import models, schemas

Row = dict[str, Any]
DAY = dt.date(2025, 1, 16)
OHLC = ("open", "high", "low", "close")
DEAL: Row = {"date": DAY, "symbol": "TEST", "client_name": "A client", "quantity": 1, "price": Decimal(1)}

#: For every model a row that holds only what must not be left out.
LEAST: dict[str, Row] = {
    "Security": {"symbol": "TEST", "isin": "INE000000001", "security_name": "Test", "security_type": "EQUITY"},
    "Index": {"index_name": "Test 50", "symbol": "TEST 50"},
    "IndustryClassification": {"symbol": "TEST"},
    "MarketHoliday": {"holiday_date": DAY},
    "IngestionLog": {"source": "nse_securities", "status": "success"},
    "OHLCVDaily": {"symbol": "TEST", "date": DAY} | dict.fromkeys(OHLC, Decimal(1)),
    "MarketCapHistory": {"symbol": "TEST", "date": DAY, "market_cap": Decimal(1)},
    "CalculatedMetrics": {"symbol": "TEST", "date": DAY},
    "BulkDeal": DEAL,
    "BlockDeal": DEAL,
    "SurveillanceMeasure": {"date": DAY, "symbol": "TEST"},
    "CorporateAction": {
        "symbol": "TEST",
        "ex_date": DAY,
        "kind": "bonus",
        "shares_before": Decimal(1),
        "shares_after": Decimal(2),
        "purpose": "BONUS 1:1",
    },
}

# What a table says with a CHECK, and random text would never hit.
CODES = {
    "deal_type": ("BUY", "SELL"),
    "status": ("success", "failure", "partial"),
    "kind": ("split", "rights", "manual"),
}


@pytest.fixture(scope="module")
def connection(module_url: URL) -> Iterator[Connection]:
    """A migrated database of this file's own, without foreign keys: a row is judged by itself. No row stays."""
    engine = create_engine(module_url)
    with engine.connect() as connection:
        with connection.begin():
            for table in models.Base.metadata.sorted_tables:
                for key in table.foreign_key_constraints:
                    connection.execute(text(f'ALTER TABLE {table.name} DROP CONSTRAINT "{key.name}"'))
        yield connection
    engine.dispose()


def told(model: str, row: Row) -> Row | None:
    """The row as the schema holds it; None where it refuses."""
    try:
        checked: Row = getattr(schemas, f"{model}Create")(**row).model_dump()
    except ValidationError:
        return None
    return exact(checked)


def stored(connection: Connection, model: str, row: Row) -> Row | None:
    """The row as the table stores it; None where it, or the driver on the way to it, refuses."""
    table = getattr(models, model).__table__
    names = getattr(schemas, f"{model}Create").model_fields
    transaction = connection.begin()  # not a savepoint: those of one transaction pile up until the locks run out
    try:
        statement = insert(table).values(row).returning(*(table.c[name] for name in names))
        return exact(dict(connection.execute(statement).mappings().one()))
    except (StatementError, ValueError):  # the driver's word on NUL and on half a surrogate pair is a ValueError
        return None
    finally:
        transaction.rollback()


def exact(row: Row) -> Row:
    """Decimals by their digits: 1.5, 1.50 and -0 are not 1.50, 1.5 and 0."""
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in row.items()}


# --- rows that were thought of

_BAD: list[tuple[str, Row, str]] = [
    ("Security", {"symbol": "X" * 51}, "symbol too long"),
    ("Security", {"symbol": "X" * 50 + "\u00a0"}, "a no-break space beyond the width is no blank"),
    ("Security", {"symbol": None}, "symbol is missing"),
    ("Security", {"symbol": "A\x00B"}, "NUL"),
    ("Security", {"symbol": "A\ud800"}, "half a surrogate pair"),
    ("Security", {"isin": "INE0000000012"}, "ISIN too long"),
    ("Security", {"security_name": "é" * 256}, "the width counts characters"),
    ("Security", {"series": "X" * 11}, "series too long"),
    ("Security", {"listing_date": "yesterdayish"}, "no date"),
    ("Security", {"listing_date": "2025-02-30"}, "no such day"),
    ("Security", {"listing_date": 86400}, "a number is no date"),
    ("Security", {"listing_date": "86400"}, "a number in quotes is no date"),
    ("Security", {"listing_date": Decimal(86400)}, "a decimal is no date"),
    ("Security", {"paid_up_value": Decimal("10") ** 13}, "14 digits before the point"),
    ("Security", {"paid_up_value": Decimal("9999999999999.995")}, "one digit too many after rounding"),
    ("Security", {"paid_up_value": Decimal("Infinity")}, "infinite"),
    ("Security", {"paid_up_value": Decimal("sNaN")}, "signalling NaN"),
    ("Security", {"face_value": Decimal("-99999999.995")}, "too far below zero"),
    ("Security", {"face_value": Decimal("1E+1000000")}, "huge"),
    ("Security", {"face_value": Decimal("1E-16384")}, "finer than any numeric"),
    ("Security", {"market_lot": 2**31}, "more than 32 bits"),
    ("Security", {"market_lot": -(2**31) - 1}, "less than 32 bits"),
    ("Security", {"security_type": "BOND"}, "no such security type"),
    ("Security", {"security_type": "equity"}, "codes are written as they are"),
    ("Security", {"security_type": None}, "security type is missing"),
    ("Index", {"index_name": "X" * 101}, "index name too long"),
    ("Index", {"exchange": "X" * 21}, "exchange too long"),
    ("IndustryClassification", {"basic_industry": "X" * 101}, "industry too long"),
    ("MarketHoliday", {"holiday_date": None}, "date is missing"),
    ("IngestionLog", {"status": "ok"}, "no such status"),
    ("IngestionLog", {"status": "Success"}, "codes are written as they are"),
    ("IngestionLog", {"status": None}, "status is missing"),
    ("IngestionLog", {"errors": {"value": float("nan")}}, "NaN is not JSON"),
    ("IngestionLog", {"errors": {"value": [float("-inf")]}}, "Infinity is not JSON"),
    ("IngestionLog", {"errors": {"value": DAY}}, "a date is not JSON"),
    ("IngestionLog", {"errors": {"value": b"bytes"}}, "bytes are not JSON"),
    ("IngestionLog", {"errors": {DAY: 1}}, "a key must be text"),
    ("IngestionLog", {"execution_time_ms": 2**31}, "more than 32 bits"),
    ("OHLCVDaily", {"high": Decimal(1), "low": Decimal(2)}, "high below low"),
    ("OHLCVDaily", {"high": Decimal("1.004"), "close": Decimal("1.005")}, "close above high once both are rounded"),
    ("OHLCVDaily", {"open": Decimal("0.99")}, "open below low"),
    ("OHLCVDaily", {"open": Decimal("1.01")}, "open above high"),
    ("OHLCVDaily", {"close": Decimal("0.99")}, "close below low"),
    ("OHLCVDaily", {"close": None}, "close is missing"),
    ("OHLCVDaily", {"volume": 2**63}, "more than 64 bits"),
    ("OHLCVDaily", {"change_pct": Decimal("9999.99995")}, "too many per cent once rounded"),
    ("MarketCapHistory", {"market_cap": Decimal(10) ** 18}, "19 digits before the point"),
    ("MarketCapHistory", {"market_cap": None}, "market cap is missing"),
    ("MarketCapHistory", {"category": "X" * 51}, "category too long"),
    ("CalculatedMetrics", {"rs_rating": Decimal(1000)}, "a score has three digits"),
    ("CalculatedMetrics", {"vol_vs_avg_pct": Decimal("-1E6")}, "too many per cent"),
    ("CalculatedMetrics", {"vars_value": Decimal("999999.99995")}, "too large once rounded"),
    ("BulkDeal", {"deal_type": "buy"}, "codes are written as they are"),
    ("BulkDeal", {"deal_type": ""}, "empty is no code"),
    ("BulkDeal", {"deal_type": "BUY" + " " * 7}, "blanks make another code"),
    ("BlockDeal", {"client_name": None}, "client is missing"),
    ("BlockDeal", {"quantity": -(2**63) - 1}, "less than 64 bits"),
    ("SurveillanceMeasure", {"reason": "X" * 501}, "reason too long"),
    ("SurveillanceMeasure", {"measure_type": "X" * 101}, "measure too long"),
    ("CorporateAction", {"kind": "dividend"}, "no such kind"),
    ("CorporateAction", {"shares_before": Decimal(0)}, "of no shares come none"),
    ("CorporateAction", {"shares_after": Decimal("0.00004")}, "no share once rounded"),
    ("CorporateAction", {"premium": Decimal("-0.01")}, "a premium below zero"),
    ("CorporateAction", {"face_value": Decimal(0)}, "a share without a face value"),
    ("CorporateAction", {"kind": "manual"}, "manual without factors"),
    ("CorporateAction", {"kind": "manual", "price_factor": Decimal("0.5")}, "manual without a volume factor"),
    ("CorporateAction", {"price_factor": Decimal(1), "volume_factor": Decimal(1)}, "factors of a bonus"),
    (
        "CorporateAction",
        {"kind": "manual", "price_factor": Decimal(0), "volume_factor": Decimal(1)},
        "a factor that is zero",
    ),
]
_NAN: list[tuple[str, Row, str]] = [
    (model, {column.name: Decimal("NaN")}, f"{column.name} is not a number")
    for model in LEAST
    for column in getattr(models, model).__table__.columns
    if isinstance(column.type, Numeric)
]

# the last part is what is stored where that is not what was given
_ODD: list[tuple[str, Row, Row]] = [
    ("Security", {"symbol": ""}, {}),
    ("Security", {"symbol": "NA"}, {}),
    ("Security", {"symbol": " M&M-RE "}, {}),
    ("Security", {"symbol": "X" * 50 + "   "}, {"symbol": "X" * 50}),
    ("Security", {"isin": "INE" + " " * 20}, {"isin": "INE" + " " * 9}),
    ("Security", {"security_name": "𝒜" * 255}, {}),
    ("Security", {"security_name": "टाटा ₹ '\"\\ \n%s"}, {}),
    ("Security", {"listing_date": dt.date.max}, {}),
    ("Security", {"listing_date": dt.date.min}, {}),
    ("Security", {"listing_date": "2025-01-16"}, {"listing_date": DAY}),
    ("Security", {"market_lot": 2**31 - 1}, {}),
    ("Security", {"market_lot": -(2**31)}, {}),
    ("Security", {"face_value": Decimal("99999999.99499999999999999999999999999999")}, {"face_value": "99999999.99"}),
    ("Security", {"paid_up_value": Decimal("-9999999999999.99")}, {"paid_up_value": "-9999999999999.99"}),
    ("Security", {"security_type": "ETF"}, {"security_type": models.SecurityType.ETF}),
    ("Security", {"is_active": None}, {}),
    ("Security", {"is_active": False}, {}),
    ("Index", {"exchange": None}, {}),
    ("IngestionLog", {"errors": {}}, {}),
    ("IngestionLog", {"errors": {"टा": [None, True, 1.5, {"a": "₹"}]}}, {}),
    ("IngestionLog", {"errors": {"a": (1, 2), "b": {3: 4}}}, {"errors": {"a": [1, 2], "b": {"3": 4}}}),
    ("IngestionLog", {"errors": None}, {}),
    ("OHLCVDaily", {"high": Decimal("1.004"), "close": Decimal("1.0049")}, {"high": "1.00", "close": "1.00"}),
    ("OHLCVDaily", {"volume": None}, {}),
    ("OHLCVDaily", {"volume": 2**63 - 1}, {}),
    ("OHLCVDaily", {"change_pct": Decimal("-9999.99994999")}, {"change_pct": "-9999.9999"}),
    ("MarketCapHistory", {"market_cap": Decimal("999999999999999999.99")}, {"market_cap": "999999999999999999.99"}),
    ("CalculatedMetrics", {"stage": 0}, {}),
    ("BulkDeal", {"price": Decimal("2.675")}, {"price": "2.68"}),
    ("BulkDeal", {"price": Decimal("-2.675")}, {"price": "-2.68"}),
    ("BulkDeal", {"price": Decimal("2.665")}, {"price": "2.67"}),
    ("BulkDeal", {"price": Decimal("2.6749999999999999999999999999999999999")}, {"price": "2.67"}),
    ("BulkDeal", {"price": Decimal("1E+12")}, {"price": "1000000000000.00"}),
    ("BulkDeal", {"price": Decimal("-0.004")}, {"price": "0.00"}),
    ("BulkDeal", {"price": Decimal("0E+1000")}, {"price": "0.00"}),
    ("BulkDeal", {"price": Decimal("1E-16383")}, {"price": "0.00"}),
    ("BulkDeal", {"quantity": -(2**63)}, {}),
    ("BlockDeal", {"deal_type": None}, {}),
    ("SurveillanceMeasure", {"reason": "X" * 500 + " " * 500}, {"reason": "X" * 500}),
]


@pytest.mark.parametrize(
    ("model", "row"), [pytest.param(model, row, id=f"{model}: {why}") for model, row, why in _BAD + _NAN]
)
def test_bad_rows_are_refused_by_both(connection: Connection, model: str, row: Row) -> None:
    assert told(model, LEAST[model] | row) is None
    assert stored(connection, model, LEAST[model] | row) is None


@pytest.mark.parametrize(("model", "row", "as_stored"), _ODD, ids=lambda value: str(value)[:60])
def test_odd_rows_are_taken_by_both_alike(connection: Connection, model: str, row: Row, as_stored: Row) -> None:
    checked, found = told(model, LEAST[model] | row), stored(connection, model, LEAST[model] | row)
    assert checked == found
    assert found is not None
    assert found == found | exact(row) | as_stored


@pytest.mark.parametrize("model", LEAST)
def test_what_is_left_out_is_the_same_in_both(connection: Connection, model: str) -> None:
    """The schema's defaults are the server's. By plain SQL: the ORM has defaults of its own."""
    row = LEAST[model]
    names = ", ".join(f'"{name}"' for name in row)
    table = getattr(models, model).__table__
    values = ", ".join(f":{name}" for name in row)
    transaction = connection.begin()
    connection.execute(text(f"INSERT INTO {table.name} ({names}) VALUES ({values})"), row)
    found = connection.execute(table.select()).mappings().one()
    transaction.rollback()
    checked = told(model, row)
    assert checked is not None
    assert checked == exact({name: found[name] for name in checked})


@pytest.mark.parametrize("model", LEAST)
def test_only_what_may_be_left_out_may_be(connection: Connection, model: str) -> None:
    for name in LEAST[model]:
        row = {key: value for key, value in LEAST[model].items() if key != name}
        assert (told(model, row), stored(connection, model, row)) == (None, None), name


@pytest.mark.parametrize("model", LEAST)
def test_a_response_is_read_off_the_orm_object(connection: Connection, model: str) -> None:
    """Whatever the table holds, a response can hold: also what the database itself filled in."""
    with Session(connection) as session:  # never committed
        thing = getattr(models, model)(**LEAST[model])
        session.add(thing)
        session.flush()
        session.refresh(thing)
        response = getattr(schemas, f"{model}Response").model_validate(thing)
        assert response.id > 0
        table = getattr(models, model).__table__
        assert response.model_dump() == {column.name: getattr(thing, column.name) for column in table.columns}


def test_a_schema_refuses_what_is_no_column() -> None:
    assert told("Index", LEAST["Index"] | {"isin": "INE000000001"}) is None


# --- rows that nobody thought of: values around the limits of each column's type

CHARACTERS = st.one_of(
    st.characters(exclude_categories=()),  # with NUL and half surrogate pairs
    st.sampled_from(" \t\u00a0\u3000₹𝒜'\"\\%\x00\ud800"),
)


def texts(width: int) -> st.SearchStrategy[str]:
    near = st.builds(
        lambda fill, length, blanks, end: fill * length + " " * blanks + end,
        st.sampled_from("Xé𝒜 "),
        st.integers(width - 2, width + 2),
        st.integers(0, 4),
        st.sampled_from(["", "", "", "Y", "\n", "\u00a0"]),
    )
    return st.one_of(near, st.text(CHARACTERS, max_size=width + 3), st.text(st.characters(), max_size=5))


def numbers(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit, half = 10 ** (precision - scale), 5 * Decimal(10) ** -(scale + 1)
    near = st.builds(
        lambda sign, whole, halves, crumbs: Decimal(sign * whole) + sign * halves * half + crumbs * half / 1000,
        st.sampled_from([-1, 1]),
        st.sampled_from([0, 1, 2, limit // 10, limit - 1, limit]),
        st.integers(-7, 7),
        st.integers(-3, 3),
    )
    extremes = st.builds(
        lambda sign, digit, exponent: Decimal((sign, (digit,), exponent)),
        st.integers(0, 1),
        st.sampled_from([0, 1, 9]),
        st.one_of(st.integers(-16_385, -16_381), st.integers(-30, 30), st.sampled_from([-(10**5), 10**5])),
    )
    long = st.builds(
        lambda digits, places: Decimal(digits).scaleb(-places), st.integers(0, 10**60), st.integers(30, 62)
    )
    strange = st.sampled_from([Decimal(name) for name in ("NaN", "-NaN", "sNaN", "Infinity", "-Infinity", "-0")])
    anything = st.decimals(allow_nan=False, allow_infinity=False)
    within = st.decimals(-limit + 1, limit - 1, places=scale + 2)
    return st.one_of(near, within, extremes, long, strange, anything)


def wholes(bits: int) -> st.SearchStrategy[int]:
    edge = 2 ** (bits - 1)
    return st.one_of(
        st.integers(edge - 2, edge + 1), st.integers(-edge - 2, -edge + 1), st.integers(-edge, edge - 1), st.integers()
    )


def documents() -> st.SearchStrategy[Row]:
    words = st.text(max_size=5)
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | words | st.dates()
    tree = st.recursive(leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))
    return st.dictionaries(words, tree, max_size=3)


def wild(column: Column[Any]) -> st.SearchStrategy[Any]:
    """Values around what a column takes."""
    match column.type:
        case Enum():
            return st.sampled_from(["EQUITY", "ETF", *models.SecurityType, "", "equity", "EQUITY ", "BOND"])
        case Boolean():
            return st.booleans()
        case Date():
            return st.dates()
        case JSON():
            return documents()
        case Numeric(precision=int(precision), scale=int(scale)):
            return numbers(precision, scale)
        case BigInteger():
            return wholes(64)
        case Integer():
            return wholes(32)
        case String(length=int(width)):
            codes = st.sampled_from(CODES.get(column.name, ("A", "")))
            return codes | st.builds(lambda code, end: code + end, codes, st.sampled_from("X ")) | texts(width)
        case Text():
            return texts(20)
    raise TypeError(f"no values are written for {column!r}")


# close to each other, so that it tells whether prices are compared before or after they are rounded
PRICES = st.sampled_from([Decimal(price) for price in ("1.004", "1.005", "1.0049", "1.015", "1.0151")])


@st.composite
def candidates(draw: st.DrawFn, model: str) -> Row:
    """The least row, with a few columns gone wild: with all wild, hardly a row would ever be taken."""
    table = getattr(models, model).__table__
    row = dict(LEAST[model])
    if model == "OHLCVDaily":
        row |= {name: draw(PRICES) for name in OHLC}
        if draw(st.booleans()):
            row["low"], *_, row["high"] = sorted(row[name] for name in OHLC)
    if model == "CorporateAction" and draw(st.booleans()):
        row |= {"kind": "manual", "price_factor": Decimal("0.5"), "volume_factor": Decimal(1)}
    names = list(getattr(schemas, f"{model}Create").model_fields)
    most = 1 if model == "CorporateAction" else 3  # nearly every column of it has a rule
    for name in draw(st.lists(st.sampled_from(names), max_size=most, unique=True)):
        values = wild(table.c[name])
        row[name] = draw(st.one_of(values, values, values, st.none()))
    return row


@pytest.mark.parametrize("model", LEAST)
def test_schema_and_table_agree(connection: Connection, model: str) -> None:
    verdicts = []

    @settings(
        max_examples=100,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(candidates(model))
    def agree(row: Row) -> None:
        checked, found = told(model, row), stored(connection, model, row)
        assert checked == found
        verdicts.append(found is not None)

    agree()
    assert 0.2 < sum(verdicts) / len(verdicts) < 0.9  # else one side of the rule is hardly tried
