"""The one reader, behaviour by behaviour: small files as bytes in, columns, rejects and counts out. Nothing is lost."""

import json
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screener_data.errors import HeaderError, Reason, ScreenerError, UnknownFormatError
from screener_data.loaders import FORMATS, Parsed, members, read_together, recognise
from screener_data.loaders.reader import Block
from screener_data.samples import HEADERS

LIST = HEADERS["equity_list"]
ABC = "ABC,Abc Limited,EQ,06-OCT-2008,5,1,INE144J01027,5"
XYZ = "XYZ,Xyz Limited,BE,22-APR-2005,10,1,INE748C01020,10"
FULL = HEADERS["full"]
DEALS = HEADERS["bulk"]
MCAP = HEADERS["market_cap"]


def parse(name: str, data: bytes) -> Parsed:
    parsed = recognise(name, data).parse()
    assert_nothing_lost(parsed)
    return parsed


def assert_nothing_lost(parsed: Parsed) -> None:
    """read = passed + rejected + skipped; columns of one length; no line both passes and is rejected."""
    passed, rejected = set(parsed.lines.tolist()), [row.line for row in parsed.rejected]
    assert parsed.read == len(parsed.raw) == len(passed) + len(rejected) + parsed.skipped.total()
    assert not passed & set(rejected)
    assert len(rejected) == len(set(rejected))
    assert passed | set(rejected) <= set(parsed.raw)
    assert {len(column) for column in parsed.columns.values()} == {len(parsed.lines)}
    assert all(row.raw == parsed.raw[row.line] for row in parsed.rejected)


def securities(*rows: str, end: str = "\n", encoding: str = "utf-8") -> Parsed:
    return parse("EQUITY_L.csv", (end.join([LIST, *rows]) + end).encode(encoding))


def bar(**changes: str) -> str:
    """A row of the full bhavcopy, with some cells changed."""
    cells = dict(
        zip(
            FULL.split(", "),
            [
                "ABC",
                "EQ",
                "16-Jan-2025",
                "99",
                "100",
                "102",
                "98",
                "101",
                "101.50",
                "100.5",
                "1000",
                "1.01",
                "10",
                "500",
                "50",
            ],
            strict=True,
        )
    )
    return ", ".join((cells | changes).values())


def bars(*rows: str) -> Parsed:
    return parse("sec_bhavdata_full_16012025.csv", "\n".join([FULL, *rows, ""]).encode())


def deal(quantity: str = "100", price: str = "10.50", side: str = "BUY", client: str = "SOMEONE") -> str:
    return f"16-DEC-2025,ABC,Abc Limited,{client},{side},{quantity},{price},-"


def deals(*rows: str) -> Parsed:
    return parse("bulk.csv", "\n".join([DEALS, *rows]).encode())


def column(parsed: Parsed, name: str) -> list[str | None]:
    return parsed.columns[name].to_pylist()


def reasons(parsed: Parsed) -> list[tuple[int, str, str | None]]:
    return [(row.line, str(row.reason), row.column) for row in parsed.rejected]


# --- bytes, lines and cells -----------------------------------------------------------------------------------------


def test_a_clean_file_gives_every_cell_as_text_by_line():
    parsed = securities(ABC, XYZ)
    assert parsed.frame().to_dict("index") == {
        2: {
            "symbol": "ABC", "security_name": "Abc Limited", "series": "EQ", "listing_date": "2008-10-06",
            "paid_up_value": "5", "market_lot": "1", "isin": "INE144J01027", "face_value": "5",
        },
        3: {
            "symbol": "XYZ", "security_name": "Xyz Limited", "series": "BE", "listing_date": "2005-04-22",
            "paid_up_value": "10", "market_lot": "1", "isin": "INE748C01020", "face_value": "10",
        },
    }  # fmt: skip
    assert (parsed.read, parsed.header, parsed.raw) == (2, LIST, {2: ABC, 3: XYZ})


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", None])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_line_ends_marks_and_encodings_change_nothing(end, last, encoding):
    name = "Abc – Café Limited" if encoding != "utf-8" else "Abc Limited"
    text = end.join([LIST, ABC.replace("Abc Limited", name), XYZ]) + (end if last is None else "")
    parsed = parse("EQUITY_L.csv", text.encode(encoding))
    assert column(parsed, "security_name") == [name, "Xyz Limited"]
    assert column(parsed, "face_value") == ["5", "10"]
    assert parsed.raw[3] == XYZ


def test_cp1252_dash_and_no_break_space():
    row = b"ABC\xa0,Abc \x96 Limited\xa0\xa0,EQ,06-OCT-2008,5,\xa01,INE144J01027,5"
    parsed = parse("EQUITY_L.csv", LIST.encode() + b"\n" + row + b"\n")
    assert [column(parsed, name) for name in ("symbol", "security_name", "market_lot")] == [
        ["ABC"],
        ["Abc – Limited"],
        ["1"],
    ]


@pytest.mark.parametrize("blank", [" ", "    ", "\t", "\u00a0", " \u00a0\t"])
def test_padding_of_any_kind_falls_off(blank):
    padded = ",".join(f"{blank}{cell}{blank}" for cell in ABC.split(","))
    assert securities(padded).frame().equals(securities(ABC).frame())


def test_quoted_cells_with_commas_and_indian_grouping():
    header = ",".join(f'"{name} "' for name in DEALS.split(","))
    rows = [
        '"16-DEC-2025","ABC","Abc Limited","ONE, TWO AND ""CO""","SELL","1,20,58,807","1,234.50","-"',
        '"16-DEC-2025", "ABC","Abc Limited" ,"PLAIN","buy",5,6,-',
    ]
    rejected, parsed = rows.pop(), parse("bulk.csv", ("\ufeff" + "\r\n".join([header, *rows])).encode())
    assert parsed.frame().to_dict("list") == {
        "date": ["2025-12-16"], "symbol": ["ABC"], "security_name": ["Abc Limited"],
        "client_name": ['ONE, TWO AND "CO"'],
        "deal_type": ["SELL"], "quantity": ["12058807"], "price": ["1234.50"],
    }  # fmt: skip
    assert reasons(deals(rejected)) == [(2, "bad_quoting", None)]  # a blank between quote and comma


def test_a_quote_that_does_not_close_costs_its_row_only():
    broken = deal(client='"SOMEONE')
    parsed = deals(deal(), broken, deal(client='"ONE, TWO"'), deal(client='5" PIPES'))
    assert reasons(parsed) == [(3, "bad_quoting", None)]
    assert parsed.rejected[0].raw == broken
    assert column(parsed, "client_name") == ["SOMEONE", "ONE, TWO", '5" PIPES']
    assert parsed.lines.tolist() == [2, 4, 5]


def test_a_file_of_broken_quotes_only():
    assert reasons(deals('"', '"x')) == [(2, "bad_quoting", None), (3, "bad_quoting", None)]


def test_rows_of_another_width():
    parsed = securities("ABC", ABC + ",EXTRA", ABC + ",, ,", XYZ.rpartition(",")[0], ",,,,,,,", ",", " , ,,,,,,,,")
    assert reasons(parsed) == [
        (2, "wrong_cell_count", None),
        (3, "wrong_cell_count", None),
        (5, "wrong_cell_count", None),
    ]
    assert [row.detail for row in parsed.rejected] == [f"{n} cells where the header has 8" for n in (1, 9, 7)]
    assert column(parsed, "symbol") == ["ABC"]  # the one with nothing but empty cells too many
    assert parsed.skipped == {"blank_line": 3}


def test_rows_of_another_width_are_not_an_excuse_for_quotes():
    parsed = deals(deal(client='"A, B"') + ",,", deal(client='"A, B"') + ",x", '"","",""', '"",""' + ',""' * 6)
    assert (column(parsed, "client_name"), parsed.skipped) == (["A, B"], {"blank_line": 2})
    assert reasons(parsed) == [(3, "wrong_cell_count", None)]


@pytest.mark.parametrize(
    ("name", "header", "row"),
    [
        ("EQUITY_L.csv", LIST, ABC),
        ("bulk.csv", DEALS, deal()),
        ("SME_EQUITY_L.csv", HEADERS["sme_list"], "ABC,Abc Limited,SM,15-May-26,10,INE144J01027,10,"),
        ("REG1_IND160125.csv", HEADERS["surveillance"], ",".join(["NA", "ABC", *["100"] * 61])),
        ("mcap16122025.csv", MCAP, "16 DEC 2025,ABC,EQ,Abc,Listed,16 DEC 2025,5,10,1,10"),
    ],
)
def test_a_header_that_is_repeated_within_is_skipped(name, header, row):
    parsed = parse(name, "\n".join([header, row, header, header.upper() + " ", row]).encode())
    assert parsed.skipped["repeated_header"] == 2
    assert parsed.rejected == []
    assert parsed.read == 4


def test_a_security_called_like_the_header_is_no_header():
    assert column(securities(ABC.replace("ABC", "SYMBOL")), "symbol") == ["SYMBOL"]


def test_lines_are_the_file_s_also_after_blank_ones():
    text = "\n" + LIST + "\n\n" + ABC + "\n   \n\n" + XYZ.replace("10", "ten") + "\n" + ",,,,,,,\n" + ABC + "\n\n"
    parsed = parse("EQUITY_L.csv", text.replace("\n", "\r\n").encode())
    lines = text.split("\n")
    assert parsed.lines.tolist() == [4, 9]
    assert [(row.line, row.raw) for row in parsed.rejected] == [(7, lines[6])]
    assert (parsed.read, parsed.skipped) == (4, {"blank_line": 1})


def test_the_raw_text_of_a_reject_is_exactly_the_line():
    row = '16-DEC-2025,  ABC ,"Abc, Limited",X,BUY ,"1,00",  10.50,-  '
    assert [row.raw for row in deals(row).rejected] == [row]


# --- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", ["NA", "NAN", "NaN", "NULL", "None", "TRUE", "M&M", "A-B", "20X", "007", "1E5", "-"])
def test_a_symbol_is_text_whatever_it_spells(symbol):
    assert column(securities(ABC.replace("ABC", symbol)), "symbol") == [symbol]
    assert column(bars(bar(SYMBOL=symbol)), "symbol") == [symbol]


@pytest.mark.parametrize(
    ("parsed", "name", "cells"),
    [
        (bars(bar(PREV_CLOSE="-"), bar(PREV_CLOSE=""), bar(AVG_PRICE="-")), "prev_close", [None, None, "99"]),
        (securities(ABC.replace("Abc Limited", "-")), "security_name", ["-"]),
        (
            parse("mcap.csv", f"{MCAP}\n16 DEC 2025,ABC,EQ,Abc,Listed,Not Traded ,5,10,1,10\n".encode()),
            "last_trade_date", [None],
        ),
    ],
)  # fmt: skip
def test_none_is_spelled_by_column(parsed, name, cells):
    assert column(parsed, name) == cells
    assert parsed.rejected == []


def test_a_sign_for_none_in_a_column_that_must_have_a_value():
    assert reasons(securities(ABC.replace("06-OCT-2008", "-"))) == [(2, "missing_value", "DATE OF LISTING")]
    assert reasons(securities(ABC.replace("ABC", "   "))) == [(2, "missing_value", "SYMBOL")]
    assert reasons(bars(bar(OPEN_PRICE="-"))) == [(2, "bad_number", "OPEN_PRICE")]  # not declared there


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b"Abc\x00Limited", "NUL"),
        ("Abc\u2400".encode(), "its sign"),
        ("Abc\ufffd".encode(), "unknown"),
        (b"Abc\x81\x8d", "cp1252"),
    ],
)
def test_a_character_that_is_none_costs_its_row(raw, detail):
    rows = [ABC.encode().replace(b"Abc Limited", raw), XYZ.encode()]
    parsed = parse("EQUITY_L.csv", b"\n".join([LIST.encode(), *rows]))
    assert reasons(parsed) == [(2, "bad_character", "NAME OF COMPANY")], detail
    assert column(parsed, "symbol") == ["XYZ"]


def test_one_bad_byte_after_a_mark_costs_its_row_and_spoils_no_other():
    rows = [ABC.replace("Abc", "Café").encode(), XYZ.encode().replace(b"Xyz L", b"Xyz \x96 L")]
    parsed = parse("EQUITY_L.csv", b"\xef\xbb\xbf" + b"\n".join([LIST.encode(), *rows]))
    assert column(parsed, "security_name") == ["Café Limited"]
    assert reasons(parsed) == [(3, "bad_character", "NAME OF COMPANY")]


@pytest.mark.parametrize(("width", "rejected"), [(50, []), (51, [(2, "too_long", "SYMBOL")])])
def test_a_text_longer_than_its_column(width, rejected):
    assert reasons(securities(ABC.replace("ABC", "É" * width))) == rejected


def test_patterns_and_capitals():
    assert column(deals(deal(side="buy"), deal(side="Sell ")), "deal_type") == ["BUY", "SELL"]
    assert reasons(deals(deal(side="B"), deal(side="BUYS"), deal(side=""))) == [
        (2, "bad_pattern", "Buy/Sell"), (3, "bad_pattern", "Buy/Sell"), (4, "missing_value", "Buy/Sell"),
    ]  # fmt: skip
    for isin in ("INE144J0102", "ine144j01027", "INE144J0102X", "IN 144J01027"):
        assert reasons(securities(ABC.replace("INE144J01027", isin))) == [(2, "bad_pattern", "ISIN NUMBER")], isin


def test_the_first_bad_column_decides_and_each_row_is_rejected_once():
    rows = [
        bar(DATE1="x", OPEN_PRICE="y", SYMBOL=""),
        bar(DATE1="x", OPEN_PRICE="y"),
        bar(OPEN_PRICE="y", CLOSE_PRICE="-1"),
    ]
    assert [(line, name) for line, _, name in sorted(reasons(bars(*rows)))] == [
        (2, "SYMBOL"),
        (3, "DATE1"),
        (4, "OPEN_PRICE"),
    ]


# --- days and numbers -----------------------------------------------------------------------------------------------


def test_days():
    good = ["16-JAN-2025", "16 JAN 2025", "16-Jan-25", "2025-01-16", "16/01/2025"]
    assert column(bars(*(bar(DATE1=day) for day in good)), "date") == ["2025-01-16"] * 5
    bad = ["31-FEB-2025", "16-13-2025", "yesterday", "١٦-JAN-2025"]
    assert reasons(bars(*(bar(DATE1=day) for day in bad))) == [(n, "bad_date", "DATE1") for n in range(2, 6)]


@pytest.mark.parametrize(
    ("cell", "outcome"),
    [
        ("154239", "154239"), ("154239.00", "154239"), ("154239.", "154239"), ("+5", "5"),
        ("3.99E+03", "3990"), ("007", "007"),
        ("9" * 17, "9" * 17), ("9" * 18, "9" * 18), ("1" + "0" * 18, "out_of_range"),
        ("9" * 40, "out_of_range"),
        ("1e99", "out_of_range"), ("154239.5", "bad_number"), ("0.99", "bad_number"), ("5 shares", "bad_number"),
        ("NaN", "bad_number"), ("Infinity", "bad_number"), ("1_000", "bad_number"), ("١٢", "bad_number"),
        ("0", "out_of_range"), ("-5", "out_of_range"), ("-0", "out_of_range"),
        ("0.0", "out_of_range"), ("1e-99", "bad_number"),
        ("1." + "0" * 60, "1"), ("", "missing_value"),
    ],
)  # fmt: skip
def test_whole_numbers_above_zero(cell, outcome):
    parsed = deals(deal(quantity=cell))
    assert column(parsed, "quantity") + [row.reason for row in parsed.rejected] == [outcome]


@pytest.mark.parametrize(
    ("cell", "outcome"),
    [
        ("10.5", "10.5"), ("10.", "10."), (".17", ".17"), ("52.04999923706055", "52.04999923706055"),
        ("1e5", "100000"), ("+1", "1"),
        ("9999999999999.49", "9999999999999.49"),
        ("9999999999999.50", "out_of_range"), ("10000000000000", "out_of_range"),
        ("9" * 64, "out_of_range"), ("9" * 65, "bad_number"), ("-10.5", "out_of_range"),
        ("0", "out_of_range"), ("0.00", "out_of_range"),
        ("NaN", "bad_number"), ("-Infinity", "bad_number"), ("inf", "bad_number"),
        ("N.A.", "bad_number"), ("10,5", "wrong_cell_count"),
    ],
)  # fmt: skip
def test_prices_above_zero(cell, outcome):
    parsed = deals(deal(price=cell))
    assert column(parsed, "price") + [row.reason for row in parsed.rejected] == [outcome]


@pytest.mark.parametrize(
    ("cell", "outcome"),
    [("0", ["0"]), ("0.00", ["0.00"]), ("-0.0", ["-0.0"]), ("-0.01", []), ("-5", [])],
)
def test_numbers_that_may_be_zero(cell, outcome):
    parsed = bars(bar(PREV_CLOSE=cell))
    assert column(parsed, "prev_close") == outcome
    assert all(row.reason == Reason.OUT_OF_RANGE for row in parsed.rejected)


def test_a_number_of_any_sign_keeps_it():
    parsed = parse(
        "ind_close_all_16012025.csv",
        (
            f"{HEADERS['indices']}\nNifty 50,16-01-2025,1,1,1,1,-.17,-.5,-,-,-,-,-\n"
            "India VIX,16-01-2025,-,-,-,15,-,-,-,-,-,-,-\n"
        ).encode(),
    )
    assert column(parsed, "points_change") == ["-0.17"]
    assert parsed.skipped == {"no_prices": 1}


def test_digits_lost_to_a_spreadsheet_are_noted():
    row = "16 DEC 2025,ABC,EQ,Abc,Listed,16 DEC 2025,5,10,1,{}"
    footers = [f"16 DEC 2025,{name},,,,,0.00,0,0.00,0" for name in ("Listed", "Permitted", "Total")]
    cells = ["3.99144E+11", "3.99144E+11", "1e3", "worthless", "399144000000.12"]
    parsed = parse("mcap.csv", "\n".join([MCAP, *map(row.format, cells), *footers]).encode())
    assert column(parsed, "market_cap_rupees") == ["399144000000", "399144000000", "1000", "399144000000.12"]
    assert parsed.notes["scientific_notation: Market Cap(Rs.)"].startswith("2 different values")  # "worthless" is none
    clean = parse("mcap.csv", "\n".join([MCAP, row.format("worthless"), *footers]).encode())
    assert clean.notes == {}


@pytest.mark.parametrize(
    ("footers", "note"),
    [
        ({"Listed": "30", "Permitted": "5", "Total": "35.90"}, None),
        ({"Listed": "30", "Permitted": "5", "Total": "37"}, "Total 37, its rows 35"),
        ({"Listed": "29.99", "Permitted": "7", "Total": "35"}, "Permitted 7, its rows 5"),
        ({"Listed": "30", "Total": "35"}, "the footer Permitted is missing: the file may be cut short"),
        ({}, "the footer Listed, Permitted, Total is missing: the file may be cut short"),
        ({"Listed": "30", "Permitted": "5", "Total": "much"}, "the footer Total is missing: the file may be cut short"),
    ],
)
def test_the_footers_of_market_cap_are_skipped_and_compared(footers, note):
    rows = [f"16 DEC 2025,{symbol},EQ,x,{kind},,5,10,1,{value}" for symbol, kind, value in
            (("A", "Listed    ", " 10 "), ("B", "Listed", "20"), ("C", "Permitted ", "5"))]  # fmt: skip
    rows += [f"16 DEC 2025,{name},,     ,  ,,0.00,0,0.00,{value}" for name, value in footers.items()]
    parsed = parse("mcap.csv", "\n".join([MCAP, *rows]).encode())
    assert column(parsed, "symbol") == ["A", "B", "C"]
    assert parsed.skipped["footer"] == len(footers)
    assert parsed.notes.get("totals_differ") == note


# --- out of scope, and one row into several -------------------------------------------------------------------------


def test_series_out_of_scope_are_skipped_before_they_are_checked():
    parsed = bars(
        *(bar(SERIES=series) for series in ("EQ", "BE", "GS", "T0", "IV", "eq")),
        bar(SERIES="N1", DATE1="x"),
        bar(SERIES=""),
    )
    assert parsed.skipped == {"series_out_of_scope": 4}  # also "eq": it is none of the exchange's
    assert reasons(parsed) == [(9, "missing_value", "SERIES")]
    assert column(parsed, "series") == ["EQ", "BE", "IV"]


def test_what_is_no_index_and_indices_without_prices():
    rows = [
        "Y,Nifty 50,  23213.20,  23377.25,  23391.65,  23272.05,  23311.80,1,1,Y, ,1,  26277.35,       .00",
        "Y,New Index,       .00,       .00,       .00,       .00,    100.00,0,0,Y, ,0,       .00,       .00",
        "N,ABC LTD,1,1,1,1,1,0,0,N, ,0,1,1",
        " ,ABC LTD,1,1,1,1,1,0,0,N, ,0,1,1",
        " , , , , , , , , , , , , , ",
    ]
    parsed = parse("pr16122025.csv", "\n".join([HEADERS["prices"], *rows]).encode())
    assert parsed.skipped == {"not_an_index": 2, "no_prices": 1, "blank_line": 1}
    assert (column(parsed, "index_name"), column(parsed, "week_52_low")) == (["Nifty 50"], [None])
    assert parsed.given == {"date": "2025-12-16"}


def surveillance(**codes: str) -> str:
    names = HEADERS["surveillance"].split(",")
    cells = dict.fromkeys(names, "100") | {"ScripCode": "NA", "Symbol": "ABC"} | codes
    return ",".join(cells[name] for name in names)


def test_a_surveillance_row_becomes_one_per_measure():
    rows = [surveillance(), surveillance(GSM="0", ESM="2", Pledge="1"), surveillance(Symbol="NA", ICA="0")]
    parsed = parse("REG1_IND160125.csv", "\n".join([HEADERS["surveillance"], *rows]).encode())
    assert parsed.lines.tolist() == [3, 3, 3, 4]
    assert column(parsed, "symbol") == ["ABC", "ABC", "ABC", "NA"]
    assert set(column(parsed, "measure_type")) == {
        "GSM Stage 0",
        "ESM Stage 2",
        "High Promoter Pledge",
        "ICA Identified",
    }
    assert "GSM: 0" in column(parsed, "reason")
    assert parsed.skipped == {"not_flagged": 1}
    assert parsed.given == {"date": "2025-01-16"}


def test_a_code_that_no_circular_lists():
    rows = [surveillance(GSM="5", ESM="9"), surveillance(Default=""), surveillance(ICA="1")]
    parsed = parse("REG1_IND160125.csv", "\n".join([HEADERS["surveillance"], *rows]).encode())
    assert sorted(reasons(parsed)) == [(2, "unknown_code", "GSM"), (3, "missing_value", "Default")]
    assert (
        next(row for row in parsed.rejected if row.line == 2).detail
        == "'5' is not one of the codes 100, 0, 1, 2, 3, 4, 6"
    )
    assert column(parsed, "measure_type") == ["ICA Surveillance Measure"]


def test_a_file_without_any_flag():
    parsed = parse("REG1_IND160125.csv", f"{HEADERS['surveillance']}\n{surveillance()}\n".encode())
    assert (column(parsed, "symbol"), len(parsed.frame())) == ([], 0)


# --- JSON -----------------------------------------------------------------------------------------------------------


def candles(*entries: str) -> Parsed:
    return parse("candles_M&M.json", ('{"status":"success","data":{"candles":[' + ",".join(entries) + "]}}").encode())


def test_json_numbers_reach_the_columns_as_printed():
    day = '"2025-01-16T00:00:00+05:30"'
    parsed = candles(f"[{day},52.04999923706055,60.10,1e1,5e1,12345678901234567,0]")
    expected = {
        "date": "2025-01-16",
        "open": "52.04999923706055",
        "high": "60.10",
        "low": "10",
        "close": "50",
        "volume": "12345678901234567",
    }
    assert parsed.frame().to_dict("records") == [expected]
    assert parsed.given == {"symbol": "M&M"}
    assert "52.04999923706055" in parsed.raw[1]


def test_json_numbers_that_are_none():
    day = '"2025-01-16T00:00:00+05:30"'
    big = "9" * 5000  # Python itself refuses to read so many digits
    parsed = candles(
        *(f"[{day},{cell},1,1,1,1,0]" for cell in ("NaN", "-Infinity", big, "null", "true", "1e400", '""'))
    )
    assert [row.reason for row in parsed.rejected] == [
        "missing_value" if n in (3, 6) else "bad_number" for n in range(7)
    ]  # fmt: skip


def test_json_entries_that_are_no_objects():
    parsed = candles('["2025-01-16T00:00:00+05:30",1,1,1,1,1,0]', "[1,2]", "null", '"x"', "7", "{}")
    assert [(row.line, row.reason, row.raw) for row in parsed.rejected] == [
        (2, "not_an_object", '["1","2"]'), (3, "not_an_object", "null"), (4, "not_an_object", '"x"'),
        (5, "not_an_object", '"7"'), (6, "missing_value", "{}"),
    ]  # fmt: skip
    holidays = parse(
        "holiday-master-2025.json", b'{"CM":[{"tradingDate":"26-Jan-2025","description":"R"},5],"FO":[[]],"x":1}'
    )
    assert [row.reason for row in holidays.rejected] == ["not_an_object"] * 2
    quotes = parse("industry.json", b'{"equityResponse":[{"metaData":{}},7]}')
    assert [row.reason for row in quotes.rejected] == ["not_an_object"] * 2


def holiday(description: str) -> Parsed:
    entry = f'{{"date":"2025-01-26","description":{description},"closed_exchanges":["NSE"]}}'
    return parse("holidays.json", f'{{"status":"success","data":[{entry}]}}'.encode())


@pytest.mark.parametrize("text", [r'"\ud800"', r'["\udfff"]', r'"a\u0000b"'])
def test_half_a_character_in_json_is_rejected_and_its_raw_text_can_be_stored(text):
    parsed = holiday(text)
    assert [row.reason for row in parsed.rejected] == ["bad_character"]
    assert parsed.raw[1].encode("utf-8")
    assert json.loads(parsed.raw[1])["description"] == json.loads(text)


@pytest.mark.parametrize(
    ("text", "stored"),
    [('"Diwali – दीवाली"', "Diwali – दीवाली"), (r'"\ud83d\ude00"', "😀"), ("null", None), ("5.10", "5.10")],
)
def test_text_in_json(text, stored):
    assert column(holiday(text), "holiday_name") == [stored]


@pytest.mark.parametrize(
    ("closed", "opened", "skipped"),
    [
        ('["NSE","BSE"]', "[]", {}),
        ('["NSE"]', "null", {}),
        ('["NSE"]', '[{"exchange":"MCX"},7]', {}),
        ('["NSE"]', '[{"exchange":"NSE"}]', {"exchange_open": 1}),
        ('["BSE"]', "[]", {"exchange_open": 1}),
        ("[]", "[]", {"exchange_open": 1}),
        ("null", "[]", {"exchange_open": 1}),
    ],
)
def test_nse_is_shut_only_if_it_says_so(closed, opened, skipped):
    entry = f'{{"date":"2025-01-26","description":"x","closed_exchanges":{closed},"open_exchanges":{opened}}}'
    assert parse("holidays.json", f'{{"status":"success","data":[{entry}]}}'.encode()).skipped == skipped


@pytest.mark.parametrize("row", [b"", ABC.encode()])
def test_a_byte_order_mark_amid_a_file_is_a_character_as_any_other(row):
    parsed = parse("EQUITY_L.csv", LIST.encode() + b"\n\xef\xbb\xbf" + row)
    assert parsed.read == 1
    assert [each.raw.encode() for each in parsed.rejected] == ([b"\xef\xbb\xbf"] if not row else [])


@pytest.mark.parametrize(
    ("closed", "opened"), [("true", "[]"), ('"NSE"', "[]"), ('["NSE"]', "1"), ('["NSE"]', '{"a":1}')]
)
def test_a_holiday_whose_exchanges_are_no_list_is_rejected_whole(closed, opened):
    entry = f'{{"date":"2025-01-26","description":"x","closed_exchanges":{closed},"open_exchanges":{opened}}}'
    parsed = parse("holidays.json", f'{{"status":"success","data":[{entry}]}}'.encode())
    assert [row.reason for row in parsed.rejected] == ["missing_value"]
    assert json.loads(parsed.raw[1])["closed_exchanges"] == json.loads(closed)


def test_both_shapes_of_the_industry():
    levels = '"macro":"M","sector":"-","basicIndustry":null'
    old = parse("a.json", f'{{"info":{{"symbol":"NA"}},"industryInfo":{{{levels},"industry":"I"}}}}'.encode())
    new = parse(
        "a.json",
        f'{{"equityResponse":[{{"metaData":{{"symbol":"NA"}},"secInfo":{{{levels},"industryInfo":"I"}}}}]}}'.encode(),
    )
    assert old.frame().equals(new.frame())
    assert old.frame().to_dict("records") == [
        {"symbol": "NA", "macro": "M", "sector": None, "industry": "I", "basic_industry": None}
    ]


def test_quotes():
    quote = """"NSE_EQ:ABC":{"ohlc":{"open":1,"high":3.50,"low":1,"close":2},"timestamp":"2025-01-16T16:00:00.1+05:30",
        "instrument_token":"t","symbol":"ABC","volume":10,"average_price":2.1,"net_change":-1.0500000000000043,
        "lower_circuit_limit":1,"upper_circuit_limit":5}"""
    bare = '"NSE_EQ:XYZ":{"instrument_token":"t","symbol":"XYZ","ohlc":null}'
    parsed = parse("quotes.json", f'{{"status":"success","data":{{{quote},{bare}}}}}'.encode())
    assert column(parsed, "net_change") == ["-1.0500000000000043"]
    assert (column(parsed, "date"), column(parsed, "upper_circuit")) == (["2025-01-16"], ["5"])
    assert [row.line for row in parsed.rejected] == [2]


# --- anything at all ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts(market: Path) -> list[tuple[str, bytes]]:
    """(name, the first lines) of one sample file per CSV format."""
    found = {}
    for folder in sorted({path.parent for path in market.rglob("*") if path.suffix in (".csv", ".zip")}):
        newest = sorted(path for path in folder.iterdir() if path.suffix != ".json")[-4:]
        for member in (member for path in newest for member in members(path)):
            data = member.data()
            with suppress(UnknownFormatError):
                name = recognise(member.label, data).format.name
                found[name] = (member.name, b"".join(data.splitlines(keepends=True)[:30]))
    row = "{},{},100,102,98,101,101.5,99,1000,101000.55,01-DEC-2017,10,INE144J01027,\n"  # older than the small market
    legacy = HEADERS["legacy"] + "\n" + "".join(row.format(f"S{n}", "EQ" if n % 3 else "GS") for n in range(12))
    found["bhavcopy_legacy"] = ("cm01DEC2017bhav.csv", legacy.encode())
    declared = {format.name for format in FORMATS if format.records is None}
    assert declared - set(found) == {"reit_list", "invit_list"}  # EQUITY_L's twins, which the sample market lacks
    return [found[name] for name in sorted(found)]


def bent(data: bytes, chance: random.Random) -> bytes:
    """The file, damaged in one to four ways."""
    for _ in range(chance.randint(1, 4)):
        rows = data.split(b"\n")
        row = chance.randrange(len(rows))
        cells = rows[row].split(b",")
        cell = chance.randrange(len(cells))
        at = chance.randrange(len(data) or 1)
        match chance.choice(
            ["flip", "cut", "cut_row", "swap", "twice", "cell", "cell", "insert", "drop_cell", "shuffle"]
        ):
            case "flip":
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
                continue
            case "cut":
                data = data[:at] if chance.random() < 0.2 else data
                continue
            case "insert":
                data = data[:at] + chance.choice(ODD) + data[at:]
                continue
            case "cut_row":
                rows.pop(row)
            case "twice":
                rows.insert(row, rows[chance.randrange(len(rows))])
            case "shuffle":
                chance.shuffle(rows)
            case "swap":
                other = chance.randrange(len(cells))
                cells[cell], cells[other] = cells[other], cells[cell]
                rows[row] = b",".join(cells)
            case "drop_cell":
                cells.pop(cell)
                rows[row] = b",".join(cells)
            case "cell":
                cells[cell] = chance.choice(ODD)
                rows[row] = b",".join(cells)
        data = b"\n".join(rows)
    return data


ODD = [
    b'"', b'""', b",", b"\x00", b"\r", b"\n", b"\xff\xfe", b"\xef\xbb\xbf", b"\x81", "١٢".encode(), "\u2028".encode(),
    b"\x0b\x1c\x85",
    b"NaN", b"-Infinity", b"1e99", b"-1e-99", b"9" * 70, b"9" * 30, b"0." + b"1" * 50,
    b"1,20,58,807", b'"1,20,58,807"', b"-", b"   ",
    b"00-JAN-0000", b"31-FEB-2025", b"NO RECORDS,,,,,,", b"x" * 300, b"<html>", b"{", b"[", b"'",
    b"\\N", b"\\.", b"=1+1", b"\t",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of the files, where one is told
@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.booleans())
def test_whatever_happens_to_a_file_it_is_refused_or_accounted_for(texts, seed, named):
    name, data = texts[seed % len(texts)]
    try:
        parsed = recognise(name if named else "a.csv", bent(data, random.Random(seed))).parse()
    except ScreenerError:
        return
    assert_nothing_lost(parsed)
    for cells in parsed.columns.values():
        for cell in cells.to_pylist():
            assert cell is None or (cell == cell.strip() != "" and not {"\x00", "\ufffd", "\n"} & set(cell))


def test_the_fuzz_both_refuses_and_reads(texts):
    """Without this the test above could pass by refusing everything."""
    seen: Counter[str] = Counter()
    for seed in range(15 * len(texts)):
        name, data = texts[seed % len(texts)]
        try:
            parsed = recognise(name, bent(data, random.Random(seed))).parse()
        except ScreenerError as error:
            seen[type(error).__name__] += 1
        else:
            seen["read"] += 1
            seen.update(row.reason for row in parsed.rejected)
    assert seen["read"] > 100
    assert seen[HeaderError.__name__] > 20
    assert {
        "wrong_cell_count",
        "bad_quoting",
        "bad_number",
        "bad_date",
        "missing_value",
        "out_of_range",
        "bad_character",
    } <= set(seen)


# --- several files at once ------------------------------------------------------------------------------------------

ODD_ROWS = (
    bar(SYMBOL="B", CLOSE_PRICE="abc"),
    bar(SYMBOL="C", SERIES="GS"),
    bar(SYMBOL="D") + ",",
    bar(SYMBOL="E") + ",7,8",
    bar(SYMBOL='"F"'),
    bar(SYMBOL="G H"),
    bar(SYMBOL="\u00a0I"),
    bar(PREV_CLOSE="-"),
    bar(TTL_TRD_QNTY="1.5"),
    "," * 14,
    "",
    FULL,
)


def told(parsed: Parsed) -> dict[str, object]:
    """All that a file's rows became."""
    columns = [column.to_pylist() for column in parsed.columns.values()]
    return {
        "rows": dict(zip(parsed.lines.tolist(), zip(*columns, strict=True), strict=True)),
        "rejected": sorted(parsed.rejected, key=lambda row: row.line),
        "skipped": parsed.skipped,
        "read": parsed.read,
        "header": parsed.header,
        "raw": dict(parsed.raw),
    }


@given(
    st.lists(
        st.tuples(
            st.lists(st.one_of(st.just(bar()), st.sampled_from(ODD_ROWS)), max_size=6),
            st.sampled_from(["", "\n", "\n\n"]),  # how the file ends
            st.sampled_from(["", "\n"]),  # what stands before its header
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=60, deadline=None)
def test_files_read_together_are_what_they_are_alone(files: list[tuple[list[str], str, str]]) -> None:
    known = [
        recognise("sec_bhavdata_full_16012025.csv", (top + "\n".join([FULL, bar(), *rows]) + end).encode())
        for rows, end, top in files
    ]
    blocks = [each.rows for each in known if isinstance(each.rows, Block)]
    assert len(blocks) == len(files)
    together = read_together(blocks, known[0].format)
    assert together is not None
    assert [told(part) for part in together.parts] == [told(each.parse()) for each in known]
    for part, place in zip(together.parts, together.places, strict=True):
        joint = {name: column[place].to_pylist() for name, column in together.parsed.columns.items()}
        assert joint == {name: column.to_pylist() for name, column in part.columns.items()}


def test_notes_are_of_one_file_so_that_it_is_read_alone() -> None:
    known = recognise("sec_bhavdata_full_16012025.csv", "\n".join([FULL, bar(TTL_TRD_QNTY="1E+03")]).encode())
    assert isinstance(known.rows, Block)
    assert read_together([known.rows, known.rows], known.format) is None
