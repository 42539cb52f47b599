"""Days and numbers in every spelling of the exchange: read exactly, or not at all."""

import datetime as dt
import re
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from screener_data.loaders.spelling import fast_number, parse_day, plain_number

DAY = dt.date(2025, 1, 16)
ARABIC = "١٢"


@pytest.mark.parametrize(
    ("cell", "day"),
    [
        ("16-JAN-2025", DAY),
        ("16-Jan-2025", DAY),
        ("16 JAN 2025", DAY),
        ("16JAN2025", DAY),
        ("16-Jan-25", DAY),
        ("16-JAN-2025 00:00:00", DAY),
        ("2025-01-16", DAY),
        ("2025-01-16T00:00:00+05:30", DAY),
        ("2025-01-16T15:29:59.123+05:30", DAY),
        ("16/01/2025", DAY),
        ("16-01-2025", DAY),
        ("16012025", DAY),
        ("160125", DAY),
        ("20250116", DAY),
        ("8-Jan-02", dt.date(2002, 1, 8)),
        ("08-Jan-02", dt.date(2002, 1, 8)),
        ("03-NOV-1994", dt.date(1994, 11, 3)),
        ("29-FEB-2024", dt.date(2024, 2, 29)),
        ("01/02/2025", dt.date(2025, 2, 1)),  # the day stands first, always
        ("20012025", dt.date(2025, 1, 20)),  # not the 25th of a 20th month of 2001
        ("19122025", dt.date(2025, 12, 19)),
    ],
)
def test_a_day_in_every_spelling(cell, day):
    assert parse_day(cell) == day


@pytest.mark.parametrize(
    "cell",
    [
        "31-FEB-2025", "29-FEB-2025", "00-JAN-2025", "32-JAN-2025", "16-JAX-2025", "2025-13-01", "2025-00-10",
        "31/04/2025", "01/16/2025", "32012025", "00000000", "16-JAN-0000",
    ],
)  # fmt: skip
def test_an_impossible_day_is_none(cell):
    assert parse_day(cell) is None


@pytest.mark.parametrize(
    "cell",
    [
        "", " ", "-", "NA", "Not Traded", "16-JAN", "16-JAN-2", "16-JAN-202", "16-JANUARY-2025", "16 JAN 2025 ",
        " 16-JAN-2025", "16-JAN-2025\n", "2025-1-16", "2025/01/16", "20250116T00", "2025-01-15T18:30:00Z",
        "2025-01-15T18:30:00+00:00",
        "2025-01-16T:+05:30", "2025-01-16T...+05:30", "45673", "1", f"{ARABIC}-JAN-2025", f"{ARABIC}/01/2025",
        f"{ARABIC}0125", f"2025-01-{ARABIC}", "１６-JAN-2025", "16-JAN-2025" * 100,
    ],
)  # fmt: skip
def test_what_is_no_day_is_none(cell):
    assert parse_day(cell) is None


SPELLINGS = (
    "%d-%b-%Y",
    "%d %b %Y",
    "%d%b%Y",
    "%Y-%m-%d",
    "%Y-%m-%dT00:00:00+05:30",
    "%d/%m/%Y",
    "%d-%m-%Y",
    "%d%m%Y",
    "%Y%m%d",
)
SHORT_YEAR = ("%d-%b-%y", "%d %b %y", "%d%m%y")


@given(st.dates(dt.date(1990, 1, 1), dt.date(2099, 12, 31)))
@example(dt.date(2025, 1, 20))
@example(dt.date(1999, 12, 19))
def test_every_day_comes_back_from_every_spelling(day):
    for spelling in SPELLINGS + (SHORT_YEAR if day.year >= 2000 else ()):
        printed = day.strftime(spelling)
        assert parse_day(printed) == parse_day(printed.upper()) == day, printed
    assert parse_day(f"{day.day}-{day:%b-%Y}") == day  # 8-Jan-2002, not padded


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("0", "0"), ("7", "7"), ("31.0", "31.0"), ("154239.00", "154239.00"), (".17", "0.17"), ("12.", "12"),
        ("-.05", "-0.05"), ("+5", "5"), ("-42.8", "-42.8"), ("007", "7"), ("1,20,58,807", "12058807"),
        ("12,058,807", "12058807"),
        ("1,000", "1000"), ("-1,23,456.75", "-123456.75"), ("99,999.00", "99999.00"), ("3.99144E+11", "399144000000"),
        ("1e5", "100000"), ("1E-3", "0.001"), ("52.04999923706055", "52.04999923706055"),
        ("465326555872223.75", "465326555872223.75"), ("9" * 64, "9" * 64),
    ],
)  # fmt: skip
def test_a_number_in_every_spelling_keeps_its_digits(cell, value):
    assert plain_number(cell) == Decimal(value)


@pytest.mark.parametrize(
    "cell",
    [
        "", " ", "-", ".", "+", ",", "e5", "1e", "1e100", "NaN", "nan", "sNaN", "inf", "-Infinity", "1_000", "0x10",
        "1 000", "1.2.3",
        "--1", "1-", "N.A.", "Rs 5", "₹5", "5%", ARABIC, "１２", f"1,{ARABIC}0", f"{ARABIC}.5", "1\n", " 1", "9" * 65,
        "1,", ",100", "1,00", "1,0000", "1,,000", "1000,000", "1,23", "1,200,58,807", "123,45,678",
        "1,000e3", "1.5,000",
    ],
)  # fmt: skip
def test_what_is_no_number_is_none(cell):
    assert plain_number(cell) is None


def grouped(value: Decimal, group: int) -> str:
    """With a comma before the last three digits, and then between every `group`."""
    whole, point, fraction = f"{abs(value):f}".partition(".")
    head, tail = whole[:-3], whole[-3:]
    parts = [head[max(end - group, 0) : end] for end in range(len(head), 0, -group)][::-1]
    return ("-" if value < 0 else "") + ",".join([*parts, tail]) + point + fraction


@given(st.decimals(-(10**20), 10**20, places=4), st.sampled_from([2, 3]))
@example(Decimal("12058807"), 2)
@example(Decimal("0.05"), 2)
def test_every_grouped_number_comes_back_exactly(value, group):
    assert plain_number(grouped(value, group)) == value


def test_grouping_as_the_exchange_prints_it():
    assert grouped(Decimal(12058807), 2) == "1,20,58,807"
    assert grouped(Decimal(12058807), 3) == "12,058,807"


CELLS = st.one_of(
    st.text("0123456789.,+-eE ", max_size=30),
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.from_regex(r"[\d]{0,20}\.?[\d]{0,8}", fullmatch=True),  # \d: the digits of any script
    st.text(max_size=5),
)


@given(CELLS, st.sampled_from([None, 6, 9, 13, 15, 18]))
@example("१२", 9)
@example("12\n", 9)
@example("999999.9999999", 6)
def test_what_the_fast_way_takes_is_a_number_that_fits(cell, digits):
    taken = pc.match_substring_regex(pa.array([cell]), fast_number(digits))[0].as_py()
    assert taken == bool(re.fullmatch(fast_number(digits), cell))  # Arrow and Python agree on the expression
    if taken:
        value = plain_number(cell)
        assert value is not None
        assert 0 <= value.quantize(Decimal("0.01")) < Decimal(10) ** (digits or 19)  # rounding adds no digit either


@pytest.mark.parametrize("cell", ["0", "12", "12.", "12.5", ".17", "123456789012", "0012.123456"])
def test_the_fast_way_takes_the_ordinary_number(cell):
    assert re.fullmatch(fast_number(13), cell)


@pytest.mark.parametrize("cell", ["", ".", "-1", "1e5", "1,000", "1234567890123", "1.1234567", "NaN", ARABIC])
def test_the_fast_way_leaves_the_odd_number(cell):
    assert not re.fullmatch(fast_number(13), cell)
