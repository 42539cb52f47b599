"""Which file is which: recognition by header, then by name; refusals that say why; the declarations; the real files."""

import csv
import datetime as dt
import gzip
import io
import json
import re
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from screener_data.errors import (
    EmptyFileError,
    FileError,
    FileLimitError,
    FileNameError,
    HeaderError,
    NotDataError,
    UnknownFormatError,
    UsageError,
)
from screener_data.loaders import FORMATS, SOURCES, archives, format_named, members, read, recognise
from screener_data.loaders.bhavcopy import SERIES
from screener_data.loaders.files import formats_by_name
from screener_data.loaders.format import Merge, fold
from screener_data.loaders.lists import MAIN_SERIES
from screener_data.loaders.surveillance import MEASURES
from screener_data.samples import HEADERS

LIST = HEADERS["equity_list"].encode()
ABC = b"ABC,Abc Limited,EQ,06-OCT-2008,5,1,INE144J01027,5"
SECURITIES = LIST + b"\n" + ABC + b"\n"
DEALS = HEADERS["bulk"].encode() + b"\n16-DEC-2025,ABC,Abc,SOMEONE,BUY,100,10.50,-\n"
MCAP = HEADERS["market_cap"].encode() + b"\n16 DEC 2025,ABC,EQ,Abc,Listed,16 DEC 2025,5,10,1,10\n"

# --- told by header, by name, by hand -------------------------------------------------------------------------------

SAMPLES = {  # a sample (glob; after "!", a member of a zip): source, format, is its header or shape its own?
    "lists/*/EQUITY_L.csv": ("nse_securities", "equity_list", True),
    "lists/*/SME_EQUITY_L.csv": ("nse_sme", "sme_list", True),
    "lists/*/eq_etfseclist.csv": ("nse_etfs", "etf_list", True),
    "symbol_changes/symbolchange.csv": ("nse_symbol_changes", "symbol_changes", False),  # has no header
    "symbol_changes/namechange.csv": ("nse_symbol_changes", "name_changes", True),
    "constituents/*/*.csv": ("nse_index_constituents", "index_constituents", False),  # the name tells the index
    "market_cap/*.zip!mcap": ("nse_market_cap", "market_cap", True),
    "market_cap/*.zip!pr": ("nse_indices", "index_prices", True),
    "market_cap/*.zip!bc": ("nse_corporate_actions", "corporate_actions_bc", True),
    "corporate_actions/CA-*.csv": ("nse_corporate_actions", "corporate_actions_api", True),
    "corporate_actions/CF-CA-*.csv": ("nse_corporate_actions", "corporate_actions_web", True),
    "corporate_actions/manual_factors*.csv": ("manual_factors", "manual_factors", True),
    "indices/*.csv": ("nse_indices", "index_close", True),
    "bhavcopy/full/*.csv": ("nse_bhavcopy", "bhavcopy_full", True),
    "bhavcopy/udiff/*.zip!": ("nse_bhavcopy", "bhavcopy_udiff", True),
    "deals/*/bulk.csv": ("nse_bulk_deals", "bulk_deals", False),
    "deals/history/*.csv": ("nse_bulk_deals", "bulk_deals", False),
    "deals/*/block.csv": ("nse_block_deals", "block_deals", False),
    "surveillance/*.csv": ("nse_surveillance", "surveillance", True),
    "industry/*.json": ("nse_industry", "industry", True),
    "holidays/upstox*.json": ("upstox_holidays", "upstox_holidays", True),
    "holidays/holiday-master*.json": ("upstox_holidays", "holiday_master", True),
    "upstox/candles_*.json": ("upstox_ohlcv", "upstox_candles", True),
    "upstox/quotes*.json": ("upstox_quotes", "upstox_quotes", True),
}


@pytest.mark.parametrize("pattern", SAMPLES)
def test_every_sample_is_told_by_its_header_whatever_its_name(market, pattern):
    source, format, own = SAMPLES[pattern]
    glob, _, part = pattern.partition("!")
    found = [m for path in sorted(market.glob(glob)) for m in members(path) if m.name.lower().startswith(part)]
    assert found
    for member in found[:12]:
        data = member.data()
        known = recognise(member.label, data)
        assert (known.format.source, known.format.name) == (source, format), member.label
        assert (known.size, len(known.sha256)) == (len(data), 64)
        assert recognise("x/neutral.csv", data, source).format.name == format  # the source is given instead
        for name in ("neutral.csv", "x.txt", "symbols.csv", "EQUITY_L.csv.json") if own else ():
            assert recognise(name, data).format.name == format


def test_every_sample_of_the_market_is_covered_above(market):
    told = {format for _, format, _ in SAMPLES.values()}
    assert {format.name for format in FORMATS} - told == {"reit_list", "invit_list", "bhavcopy_legacy"}
    covered = {path for pattern in SAMPLES for path in market.glob(pattern.partition("!")[0])}
    assert covered == {path for path in market.rglob("*") if path.is_file()}


def test_a_column_less_does_not_make_another_list_of_it():
    """EQUITY_L without MARKET LOT has the header of the SME list; read as that it would retire every SME."""
    header = LIST.replace(b", MARKET LOT", b"")
    assert recognise("x.csv", header + b"\n" + ABC).format.name == "sme_list"
    with pytest.raises(HeaderError, match="missing columns: MARKET LOT"):
        recognise("EQUITY_L.csv", header + b"\n" + ABC)


def test_a_wrong_name_does_not_beat_the_header():
    for name in ("bulk.csv", "mcap16012025.csv", "SME_EQUITY_L.csv", "sec_bhavdata_full_16012025.csv"):
        assert recognise(name, SECURITIES).format.name == "equity_list"
    assert recognise("EQUITY_L.csv", MCAP).format.name == "market_cap"


@pytest.mark.parametrize(
    ("name", "list_name"), [("REITS_L.csv", "REITS_L"), ("invits_l.csv", "INVITS_L"), ("EQUITY_L (1).csv", "EQUITY_L")]
)
def test_lists_with_one_header_are_told_by_name(name, list_name):
    assert recognise(name, SECURITIES).format.list_name == list_name


@pytest.mark.parametrize(
    "name",
    ["bulk.csv", "BULK.CSV", "Bulk-Deals-24-04-2025-to-24-04-2026.csv", "a/b/my_bulk_2025.csv.gz", "x.zip!bulk.csv"],
)
def test_deals_are_bulk_or_block_by_name(name):
    assert recognise(name, DEALS).format.source == "nse_bulk_deals"
    assert recognise(re.sub("bulk", "block", name, flags=re.IGNORECASE), DEALS).format.source == "nse_block_deals"


@pytest.mark.parametrize("name", ["deals.csv", "x.csv", "bulk/16122025.csv", "bulk-and-block.csv", "EQUITY_L.csv"])
def test_deals_that_the_name_does_not_tell_are_refused(name):
    with pytest.raises(
        UnknownFormatError, match=r"line 1: the header fits nse_block_deals, nse_bulk_deals\. .*--source"
    ):
        recognise(name, DEALS)
    assert recognise(name, DEALS, "nse_block_deals").format.name == "block_deals"


def test_a_given_source_outranks_the_name():
    assert recognise("bulk.csv", DEALS, "nse_block_deals").format.source == "nse_block_deals"
    assert recognise("x.csv", b"ABC LTD,ABC,XYZ,06-OCT-2008\n", "nse_symbol_changes").format.name == "symbol_changes"
    header = b"NCH_SYMBOL, NCH_PREV_NAME, NCH_NEW_NAME, NCH_DT\nABC,A,B,06-OCT-2008\n"
    assert recognise("x.csv", header, "nse_symbol_changes").format.name == "name_changes"


def test_a_source_that_does_not_exist():
    with pytest.raises(UsageError, match="no source 'nse'; there are: nse_symbol_changes, nse_securities"):
        recognise("EQUITY_L.csv", SECURITIES, "nse")


HEADER_PROBLEMS = [  # name, source, header, what the error must say
    ("EQUITY_L.csv", "nse_sme", LIST, r"not the header of nse_sme; unknown .*: MARKET LOT"),
    ("EQUITY_L.csv", "nse_bulk_deals", LIST, r"column 'Date': not the header of nse_bulk_deals; missing columns: Date"),
    ("EQUITY_L.csv", None, LIST.replace(b", MARKET LOT", b""), r"'MARKET LOT': .*missing columns: MARKET LOT"),
    ("EQUITY_L.csv", None, LIST + b",BLOOD TYPE", r"column 'BLOOD TYPE': .*repeated columns: BLOOD TYPE \(found"),
    ("EQUITY_L.csv", None, LIST + b",SYMBOL", r"column 'SYMBOL': .*unknown or repeated columns: SYMBOL"),
    ("EQUITY_L.csv", None, LIST.replace(b"SYMBOL", b"TICKER"), r"missing columns: SYMBOL; unknown .*: TICKER"),
    ("EQUITY_L.csv", None, ABC, r"nse_securities is missing, .*found 'ABC,Abc.* Expected columns: SYMBOL, NAME"),
    ("mcap28032024.csv", None, b'Sr. No.,Symbol,Company Name,"Market', r"the header of nse_market_cap is missing"),
    ("bulk.csv", None, b'"Date', r"the header of nse_bulk_deals is missing"),
    ("symbolchange.csv", None, b"name,old,new,date", r"nse_symbol_changes has 4 columns, the last .* no header"),
    ("symbolchange.csv", None, b"name,old,06-OCT-2008", r"nse_symbol_changes has 4 columns"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "source", "header", "says"), HEADER_PROBLEMS)
def test_a_wrong_header_is_refused_with_what_is_wrong(name, source, header, says):
    with pytest.raises(HeaderError, match=says) as caught:
        recognise(f"/data/{name}", b"\n" + header + b"\n" + ABC + b"\n", source)
    assert str(caught.value).startswith(f"/data/{name}, line 2")


@pytest.mark.parametrize(
    "data", [b"A,B\n1,2\n", b"Readme\n", b"\xff\xfe", b"\x00\x01\x02", b'"', b",,,\n,,\n", b"SYMBOL\nABC\n"]
)
def test_what_no_source_has_is_unknown(data):
    with (
        pytest.raises(UnknownFormatError, match="no source has such a header")
        if data != b"\xff\xfe"
        else pytest.raises(EmptyFileError)
    ):
        recognise("x.csv", data)


# --- pages, errors, emptiness ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["EQUITY_L.csv", "bulk.csv", "x.csv", "quotes.json", "NSE.json.gz"])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\r\n<!DOCTYPE html><html><title>Access Denied</title>", r"line 1: a web page, not data \(found '<!DOCTYPE"),
        ("\ufeff  <html>".encode(), "a web page"),
        (
            b'{"status":"error","errors":[{"errorCode":"UDAPI100012","message":"Invalid Endpoint"}]}',
            "an error answer, not data: UDAPI100012 Invalid Endpoint",
        ),
        (b'{"status":"error"}', "an error answer"),
        (b'{"errors":["no"]}', 'an error answer, not data: {"errors":'),
        (b'{"data":[1,', "JSON that is cut short"),
        (b'{"data":NULL}', "broken"),
        (b"[" * 100_000, "JSON that is cut short or broken"),
        (b"%PDF-1.7 \xe2\xe3", "a packed or binary file"),
        (b"\x89PNG\r\n", "a packed or binary file"),
        (b"\x1f\x8b\x08\x00", "a packed or binary file"),
        (b"PK\x03\x04 cut short", "a zip that is cut short or broken"),
    ],
)  # fmt: skip
def test_what_is_no_data_is_refused(name, data, says):
    with pytest.raises(NotDataError, match=says):
        recognise(name, data)


@pytest.mark.parametrize(
    "document",
    [b"[]", b"[1]", b"{}", b'{"status":"success"}', b'{"status":"success","data":{"x":1}}', b'{"a":"\\ud800"}'],
)
def test_json_of_another_shape(document):
    with pytest.raises(UnknownFormatError, match="no source reads such a document"):
        recognise("x.json", document)
    with pytest.raises(NotDataError, match="upstox_quotes is expected under this name"):
        recognise("quotes.json", document)


EMPTY = {
    "nothing": b"", "one byte": b"\n", "mark": b"\xef\xbb\xbf", "blanks": b" \r\n\t\r\n",
    "no records": b"NO RECORDS,,,,,,",
    "no records, quoted": b'"NO RECORDS",,,,\n',
    "no records after a header": HEADERS["bulk"].encode() + b"\nNO RECORDS,,,,,,\n",
    "only a header": HEADERS["bulk"].encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", ["bulk.csv", "block.csv", "x.csv"])
@pytest.mark.parametrize("data", EMPTY.values(), ids=EMPTY)
def test_a_day_without_deals_is_no_error(name, data):
    source = "nse_bulk_deals" if name != "block.csv" else None
    parsed = recognise(name, data, source).parse()
    assert parsed.format.source == (source or "nse_block_deals")
    assert (parsed.read, len(parsed.lines), parsed.rejected, parsed.skipped) == (0, 0, [], {})


@pytest.mark.parametrize("data", [*EMPTY.values(), LIST, LIST + b"\r\n\r\n"])
@pytest.mark.parametrize("name", ["EQUITY_L.csv", "symbolchange.csv"])
def test_an_empty_list_is_an_error(name, data):
    if data.startswith(b"Date") or (name == "symbolchange.csv" and data.startswith(LIST)):
        return
    with pytest.raises(EmptyFileError, match=r"the file is empty|a header and no rows; nse_securities always has some"):
        recognise(name, data)


def test_an_empty_file_that_nothing_tells():
    with pytest.raises(EmptyFileError, match=r"x\.csv: the file is empty"):
        recognise("x.csv", b"")


def test_no_records_among_records_costs_nothing():
    parsed = recognise("bulk.csv", DEALS + b"NO RECORDS,,,,,,\n").parse()
    assert (parsed.read, parsed.lines.tolist()) == (1, [2])


def test_a_line_that_is_far_too_long():
    long = b"x" * ((1 << 20) + 1)
    with pytest.raises(FileLimitError, match=r"line 4: a line of 1,048,577 characters"):
        recognise("EQUITY_L.csv", LIST + b"\n\n" + ABC + b"\n" + long + b"\n")
    assert recognise("EQUITY_L.csv", SECURITIES + long[:-1] + b"\n").parse().read == 2


# --- what only the name tells ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("REG1_IND160125.csv", {"date": "2025-01-16"}),
        ("REG1_IND200125.csv", {"date": "2025-01-20"}),
        ("a/REG_IND16012025.csv", {"date": "2025-01-16"}),
        ("x.zip!reg1_ind_160125.csv", {"date": "2025-01-16"}),
        ("Pr160125.csv", {"date": "2025-01-16"}),
        ("pr20122025.csv", {"date": "2025-12-20"}),
        ("pr16122025.csv.gz", {"date": "2025-12-16"}),
        ("candles_M&M.json", {"symbol": "M&M"}),
        ("candles_BAJAJ-AUTO.json.gz", {"symbol": "BAJAJ-AUTO"}),
        ("EQUITY_L.csv", {}),
    ],
)
def test_what_the_name_tells(name, given):
    format = format_named(
        {"r": "surveillance", "p": "index_prices", "c": "upstox_candles", "e": "equity_list"}[
            re.split("[/!]", name)[-1][0].lower()
        ]
    )
    assert format.given_by_name(name) == given


@pytest.mark.parametrize(
    "name", ["REG1_IND.csv", "reg1_ind_today.csv", "REG1_IND311325.csv", "160125/REG1_IND.csv", "REG1_IND1601251.csv"]
)
def test_a_name_without_its_date_is_refused_and_says_what_to_do(name):
    rows = HEADERS["surveillance"].encode() + b"\nNA,ABC" + b",100" * 61
    with pytest.raises(
        FileNameError, match=r"the name must tell the date of its rows.*Rename the file so that it matches"
    ):
        recognise(name, rows).parse()


def test_candles_without_a_symbol_in_the_name():
    with pytest.raises(FileNameError, match="must tell the symbol"):
        recognise("x.json", b'{"status":"success","data":{"candles":[]}}').parse()


# --- paths, zips, gzips ---------------------------------------------------------------------------------------------


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        read(tmp_path / "EQUITY_L.csv")


def test_a_folder_gives_its_data_files_in_order_and_nothing_hidden(tmp_path):
    home = tmp_path / ".screener" / "raw"  # the folder itself may be hidden: fetch puts files into one
    for name in (
        "b/EQUITY_L.csv",
        "a/bulk.CSV",
        "a/notes.txt",
        ".git/x.csv",
        "b/.hidden.csv",
        "b/._EQUITY_L.csv",
        "c/x.json",
        "c/no",
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(SECURITIES)
    zipped(home / "c" / "y.zip", {"d/": b"", "d/mcap.csv": MCAP})
    assert [member.name for member in members(home)] == ["bulk.CSV", "EQUITY_L.csv", "x.json", "mcap.csv"]


@pytest.mark.parametrize("name", ["EQUITY_L.csv", "EQUITY_L.csv.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_gzip_is_told_by_content(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(SECURITIES))
    [parsed] = read(str(tmp_path / name))
    assert parsed.columns["symbol"].to_pylist() == ["ABC"]


def test_zip_is_told_by_content(tmp_path):
    [parsed] = read(zipped(tmp_path / "download", {"EQUITY_L.csv": SECURITIES}))
    assert parsed.format.name == "equity_list"


PACKED = gzip.compress(SECURITIES * 100)


@pytest.mark.parametrize(
    "data", [PACKED[:40], PACKED[:-4], PACKED[:20] + b"\xff" * 20, b"\x1f\x8b", b"\x1f\x8b\x07garbage"]
)
def test_a_gzip_that_is_cut_short_or_broken(tmp_path, data):
    (tmp_path / "EQUITY_L.csv.gz").write_bytes(data)
    with pytest.raises(NotDataError, match=r"EQUITY_L\.csv\.gz: cannot be read: .+ it is damaged or not complete"):
        read(tmp_path / "EQUITY_L.csv.gz")


def test_a_zip_that_is_cut_short(tmp_path):
    path = zipped(tmp_path / "PR160125.zip", {"mcap16012025.csv": MCAP * 50})
    path.write_bytes(path.read_bytes()[:-30])
    assert [member.name for member in members(path)] == ["PR160125.zip"]
    with pytest.raises(
        NotDataError, match=r"PR160125\.zip: a zip that is cut short or broken.* download the file again"
    ):
        read(path)
    path.write_bytes(b"<html>404")
    with pytest.raises(NotDataError, match="a web page"):
        read(path)


def test_a_zip_member_that_is_broken(tmp_path):
    path = zipped(tmp_path / "PR160125.zip", {"mcap16012025.csv": MCAP * 50})
    data = bytearray(path.read_bytes())
    data[60:70] = b"\xff" * 10
    path.write_bytes(data)
    with pytest.raises(NotDataError, match=r"zip!mcap16012025\.csv: cannot be read: "):
        read(path)


def test_a_file_that_may_not_be_read(tmp_path):
    [member] = members(zipped(tmp_path / "x.zip", {"mcap.csv": MCAP}))
    (tmp_path / "x.zip").unlink()
    with pytest.raises(NotDataError, match="cannot be read: No such file or directory"):
        member.data()


def test_a_file_that_may_not_be_read_says_what_to_do(tmp_path):
    [member] = members(zipped(tmp_path / "x.zip", {"mcap.csv": MCAP}))
    (tmp_path / "x.zip").unlink()
    with pytest.raises(NotDataError, match="See that it is there, and that you may read it"):
        member.data()


@pytest.mark.parametrize(("place", "value"), [(8, 1), (10, 99)], ids=["password", "method"])
def test_a_zip_that_another_program_must_unpack(tmp_path, place, value):
    path = zipped(tmp_path / "PR160125.zip", {"mcap16012025.csv": MCAP})
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[place - 2] = data[entry + place] = value  # in the member's own header, and in the directory
    path.write_bytes(data)
    with pytest.raises(NotDataError, match=r"zip!mcap16012025\.csv: cannot be read: .* Unpack it with another program"):
        read(path)


def test_a_zip_without_anything_that_is_known(tmp_path):
    path = zipped(tmp_path / "x.zip", {"Readme.txt": b"hello"})
    with pytest.raises(UnknownFormatError, match=r"x\.zip!Readme\.txt, line 1: no source has such a header"):
        read(path)
    with pytest.raises(UnknownFormatError, match="no file in this zip belongs to a source"):
        recognise("x.zip", path.read_bytes())


def test_zip_members_by_base_name_in_any_case_without_macos_twins(tmp_path):
    entries = {
        "PR160125/": b"", "PR160125/MCAP16012025.csv": MCAP, "__MACOSX/PR160125/._MCAP16012025.csv": b"\x00\x05",
        "__MACOSX/mcap17012025.csv": b"x", "._x.csv": b"x", "pr/mCaP17012025.CSV": MCAP,
    }  # fmt: skip
    path = zipped(tmp_path / "PR160125.zip", entries)
    assert [member.label for member in members(path)] == [f"{path}!MCAP16012025.csv", f"{path}!mCaP17012025.CSV"]
    assert [parsed.format.name for parsed in read(path)] == ["market_cap"] * 2


def test_paths_within_a_zip_lead_nowhere(tmp_path):
    (tmp_path / "inner").mkdir()
    names = [
        "../../etc/x/MCAP16012025.csv",
        "/etc/MCAP17012025.csv",
        r"..\..\MCAP18012025.csv",
        r"C:\windows\MCAP19012025.csv",
    ]
    path = zipped(tmp_path / "inner" / "evil.zip", dict.fromkeys(names, MCAP))
    before = sorted(tmp_path.rglob("*"))
    found = list(members(path))
    assert sorted(member.label for member in found) == [f"{path}!MCAP{day}012025.csv" for day in (16, 17, 18, 19)]
    assert {member.data() for member in found} == {MCAP}
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("pack", ["plain", "gzip", "zip"])
def test_what_unpacks_to_more_than_any_file_has(tmp_path, monkeypatch, pack):
    big = SECURITIES + (b" " * 999 + b"\n") * 3000
    path = tmp_path / "EQUITY_L.csv"
    if pack == "zip":
        zipped(path, {"EQUITY_L.csv": big})
    else:
        path.write_bytes(gzip.compress(big) if pack == "gzip" else big)
    assert [parsed.read for parsed in read(path)] == [1]
    monkeypatch.setattr(archives, "MAX_BYTES", 2 << 20)
    with pytest.raises(FileLimitError, match=r"EQUITY_L\.csv: more than 2 MiB"):
        read(path)


# --- the declarations -----------------------------------------------------------------------------------------------


def test_the_sources_are_those_of_the_contract():
    assert sorted(SOURCES) == sorted(
        [
            "nse_securities",
            "nse_sme",
            "nse_etfs",
            "nse_market_cap",
            "nse_bulk_deals",
            "nse_block_deals",
            "nse_surveillance",
            "nse_industry",
            "nse_bhavcopy",
            "nse_corporate_actions",
            "nse_indices",
            "nse_index_constituents",
            "nse_symbol_changes",
            "manual_factors",
            "upstox_ohlcv",
            "upstox_holidays",
            "upstox_quotes",
        ]
    )


def test_formats_by_name():
    assert [format_named(format.name) for format in FORMATS] == list(FORMATS)
    with pytest.raises(KeyError):
        format_named("none")


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_a_declaration_is_whole(format):
    table = set(format.target.__table__.columns.keys())
    filled = [column.to for column in format.columns]
    assert len(set(filled)) == len(filled)
    assert len(format.by_header) == len(format.columns)
    assert set(format.stored) <= table
    assert set(format.key) <= set(format.stored)
    assert set(format.derived) <= table
    assert set(format.fills) <= set(format.stored)
    assert set(format.worded) <= set(format.stored) - set(format.key)
    if format.merge is not Merge.SECURITIES and "symbol" in format.stored:
        assert format.named_on in {None, *format.stored}
    assert bool(format.fills) <= bool(format.outranked_if)
    assert bool(format.key) == (format.merge is not Merge.SECURITIES) == (format.list_name is None)
    assert (format.merge is Merge.MEMBERS) == (format.of is not None)
    assert bool(format.explode) == bool(format.exploded)
    assert format.known_symbol is None or format.known_symbol in format.stored
    path = {"valid_from"} if format.merge is Merge.MEMBERS else set()
    needed = {  # filled by no default, so by the file
        column.name
        for column in format.target.__table__.columns
        if not (
            column.nullable or column.primary_key or column.default is not None or column.server_default is not None
        )
    }
    assert needed - path <= set(format.stored)

    used = [*format.derived_sql().values(), format.preference or "", format.registers or ""]
    used = " ".join(used + [skip.column for skip in format.skips])
    for column in format.columns:
        assert column.to in table or re.search(rf"\b{re.escape(column.to)}\b", used) or column.to in MEASURES, column
        assert column.sign in (None, "positive", "nonnegative")
        assert column.sign is None or column.python in (int, float)
        assert column.pattern is None or column.python is str
        assert column.python in (str, int, float, dt.date)
        if column.pattern:
            re.compile(column.pattern)
    assert {skip.column for skip in format.skips} <= set(filled)
    for pattern in format.ignored:  # what is ignored is not read
        assert not any(re.fullmatch(pattern, column.header.strip(), re.IGNORECASE) for column in format.columns)


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_what_a_column_takes_is_what_its_type_takes(format):
    for column in format.columns:
        width, digits = format.limits(column)
        printed = str(format.sql_type(column.to))
        if found := re.fullmatch(r"VARCHAR\((\d+)\)", printed):
            assert width == int(found[1])
        elif found := re.fullmatch(r"NUMERIC\((\d+), (\d+)\)", printed):
            assert digits == int(found[1]) - int(found[2])
        elif column.python is int:
            assert digits == {"BIGINT": 18, "INTEGER": 9}[printed]
        elif column.python is float:
            assert (printed, digits) == ("NUMERIC", 15)
        else:
            assert printed in ("DATE", "TEXT")
            assert width is None


def test_series_are_the_same_in_lists_and_prices():
    assert SERIES == MAIN_SERIES == ("EQ", "BE", "BZ", "SM", "ST", "SZ", "RR", "IV")


def test_headers_are_compared_without_blanks_case_and_punctuation():
    assert fold(" Face Value(Rs.)  ") == fold("FACE_VALUE RS") == "facevaluers"


NAMES = {  # as in ENDPOINTS.md and in the zips
    "EQUITY_L.csv": "equity_list", "REITS_L.csv": "reit_list", "INVITS_L.csv": "invit_list",
    "SME_EQUITY_L.csv": "sme_list", "eq_etfseclist.csv": "etf_list", "ETF_L.csv": "etf_list",
    "symbolchange.csv": "symbol_changes", "namechange.csv": "name_changes",
    "ind_nifty50list.csv": "index_constituents", "ind_niftytotalmarket_list.csv": "index_constituents",
    "bulk.csv": "bulk_deals", "block.csv": "block_deals", "Bulk-Deals-24-04-2025-to-24-04-2026.csv": "bulk_deals",
    "REG_IND160125.csv": "surveillance", "REG1_IND160125.csv": "surveillance",
    "sec_bhavdata_full_16012025.csv": "bhavcopy_full", "cm01NOV2017bhav.csv": "bhavcopy_legacy",
    "BhavCopy_NSE_CM_0_0_0_20250618_F_0000.csv": "bhavcopy_udiff", "ind_close_all_16012025.csv": "index_close",
    "Pr160125.csv": "index_prices", "pr16122025.csv": "index_prices",
    "MCAP16012025.csv": "market_cap", "mcap16122025.csv": "market_cap",
    "Bc160125.csv": "corporate_actions_bc", "bc16122025.csv": "corporate_actions_bc",
    "Bonus.csv": "corporate_actions_api", "Face_Value_Split.csv": "corporate_actions_api",
    "CF-CA-equities-01-01-2020-to-01-10-2026.csv": "corporate_actions_web", "manual_factors.csv": "manual_factors",
    "quote-equity-RELIANCE.json": "industry", "getSymbolData-2026.json": "industry",
    "holiday-master-2023.json": "holiday_master", "upstox_holidays_2025.json": "upstox_holidays",
    "candles_RELIANCE.json": "upstox_candles", "quotes_20250630.json": "upstox_quotes",
}  # fmt: skip
OTHERS = [
    "NSE.json",
    "sec_list_16012025.csv",
    "Pd160125.csv",
    "PE_160125.csv",
    "Readme.txt",
    "NSE_CM_security_16012025.csv",
]


def test_the_exchange_s_file_names_are_declared():
    assert {format.name for format in FORMATS} == set(NAMES.values())
    for name, expected in NAMES.items():
        for spelled in (name, name.upper(), name.lower()):
            assert [format.name for format in FORMATS if format.file_name.fullmatch(spelled)][:1] == [expected], spelled
            assert format_named(expected) in formats_by_name(spelled)
    assert [formats_by_name(name) for name in OTHERS] == [[]] * len(OTHERS)


def test_urls_of_the_exchange_end_in_names_that_are_declared(shared):
    text = (shared / "ENDPOINTS.md").read_text()
    spelled = {"{DDMMYY}": "160125", "{DDMMYYYY}": "16012025", "{YYYYMMDD}": "20250116", "{DDMMMYYYY}": "16JAN2025"}
    names = """EQUITY_L.csv eq_etfseclist.csv bulk.csv block.csv REG_IND{DDMMYY}.csv REG1_IND{DDMMYY}.csv
        sec_bhavdata_full_{DDMMYYYY}.csv BhavCopy_NSE_CM_0_0_0_{YYYYMMDD}_F_0000.csv cm{DDMMMYYYY}bhav.csv
        ind_close_all_{DDMMYYYY}.csv"""
    for name in names.split():
        assert f"/{name}" in text
        for pattern, day in spelled.items():
            name = name.replace(pattern, day)
        assert formats_by_name(name)


# --- the exchange's own files ---------------------------------------------------------------------------------------


def test_every_measure_is_a_column_of_the_real_file(shared):
    header = (shared / "surveillance/REG1_IND160125.csv").read_text().partition("\n")[0].split(",")
    assert len(header) == 63
    ignored = {"ScripCode", "Symbol", "Nse Exclusive", "Status", "Series"}
    assert {name.strip() for name in header} - ignored - {name for name in header if name.startswith("Filler")} == set(
        MEASURES
    )
    assert len({name for names in MEASURES.values() for name in names.values()}) == sum(map(len, MEASURES.values()))
    assert not any("100" in names for names in MEASURES.values())


def rows_of(data: bytes) -> list[dict[str, str]]:
    """An independent reading: the csv module, cells stripped, a trailing comma's empty column dropped."""
    text = data.decode("cp1252" if b"\x96" in data or b"\xa0" in data else "utf-8-sig")
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline="")) if row]
    header = rows[0]
    assert not any(cell for row in rows for cell in row[len(header) :])
    return [dict(zip(header, row, strict=False)) for row in rows[1:]]


def everything(rows: list[dict[str, str]]) -> tuple[int, Counter[str]]:
    return len(rows), Counter()


def but_bonds(rows: list[dict[str, str]]) -> tuple[int, Counter[str]]:
    series = Counter(row.get("SERIES", row.get("SctySrs")) for row in rows)
    kept = sum(series[name] for name in ["EQ", "BE", "BZ", "SM", "ST", "SZ", "RR", "IV"])
    return kept, Counter(series_out_of_scope=series.total() - kept)


def but_footers(rows: list[dict[str, str]]) -> tuple[int, Counter[str]]:
    return sum(bool(row["Series"]) for row in rows), Counter(footer=sum(not row["Series"] for row in rows))


def but_the_clear(rows: list[dict[str, str]]) -> tuple[int, Counter[str]]:
    plain = {"ScripCode", "Symbol", "Nse Exclusive", "Status", "Series"}
    clear = [all(code in ("100", "") for name, code in row.items() if name not in plain) for row in rows]
    return clear.count(False), Counter(not_flagged=clear.count(True))


def but_securities(rows: list[dict[str, str]]) -> tuple[int, Counter[str]]:
    kinds = Counter(
        "index" if row["MKT"] == "Y" else "not_an_index" if any(row.values()) else "blank_line" for row in rows
    )
    return kinds.pop("index"), kinds


REAL = {  # glob: format, what an independent reading of the rows says of (rows that pass, skipped by reason)
    "equity_list/20*[0-9]/EQUITY_L.csv": ("equity_list", everything),
    "etf_list/*/*.csv": ("etf_list", everything),
    "sme_list/*.csv": ("sme_list", everything),
    "symbol_changes/namechange.csv": ("name_changes", everything),
    "market_cap/*.csv": ("market_cap", but_footers),
    "market_cap/excel-saved/*.csv": ("market_cap", but_footers),
    "deals/20*/bulk.csv": ("bulk_deals", everything),
    "deals/history/*.csv": ("bulk_deals", everything),
    "deals/20251216/block.csv": ("block_deals", everything),
    "surveillance/*.csv": ("surveillance", but_the_clear),
    "indices/*.csv": ("index_prices", but_securities),
    "bhavcopy/legacy/*": ("bhavcopy_legacy", but_bonds),
    "bhavcopy/udiff/*": ("bhavcopy_udiff", but_bonds),
}


@pytest.mark.parametrize("pattern", REAL)
def test_every_row_of_the_real_files_is_accounted_for(shared, pattern):
    format, expect = REAL[pattern]
    paths = sorted(shared.glob(pattern))
    assert paths
    for member in (member for path in paths for member in members(path)):
        data = member.data()
        parsed = recognise(member.label, data).parse()
        rows = rows_of(data)
        passed, skipped = expect(rows)
        assert (parsed.format.name, parsed.read) == (format, len(rows)), member.label
        assert (len(set(parsed.lines.tolist())), parsed.rejected) == (passed, []), member.label
        assert {str(reason): count for reason, count in parsed.skipped.items()} == dict(+skipped), member.label


def test_the_real_list_of_symbol_changes(shared):
    data = (shared / "symbol_changes/symbolchange.csv").read_bytes()
    rows = list(csv.reader(io.StringIO(data.decode("cp1252"))))
    [parsed] = read(shared / "symbol_changes/symbolchange.csv")
    assert parsed.columns["old_symbol"].to_pylist() == [row[1].strip() for row in rows]
    assert (parsed.read, parsed.rejected, parsed.skipped) == (1029, [], {})


def test_market_cap_counts_as_measured(shared):
    """The numbers of FORMATS.md, which were not made by this code."""
    [whole] = read(shared / "market_cap/MCAP16012025.csv")
    assert (whole.read, len(whole.lines), whole.notes) == (2516, 2513, {})
    assert whole.columns["last_trade_date"].null_count in range(3, 6)  # "Not Traded"
    [excel] = read(shared / "market_cap/excel-saved/mcap23032026.csv")
    assert {"totals_differ", "scientific_notation: Market Cap(Rs.)"} <= set(excel.notes)
    [inside] = [m for m in members(shared / "market_cap/PR160125.zip") if m.name == "MCAP16012025.csv"]
    assert recognise(inside.label, inside.data()).parse().frame().equals(whole.frame())


def test_real_surveillance_flags_as_measured(shared):
    [parsed] = read(shared / "surveillance/REG1_IND160125.csv")
    seen = Counter(parsed.columns["measure_type"].to_pylist())
    measured = {
        "GSM Stage 0": 42, "GSM Stage 1": 1, "GSM Stage 2": 3, "Long Term ASM Stage 4": 20,
        "IRP Disclosure": 30, "ICA Identified": 3,
        "Short Term ASM Stage 1": 12, "High Promoter Pledge": 7, "Total Pledge": 4,
        "ESM Stage 1": 246, "ESM Stage 2": 125,
        "Loss Making": 85, "PE Over 50": 666, "EPS Zero": 298, "Under 100 PANs In 30 Days": 602, "Add-on Price Band": 0,
    }  # fmt: skip
    assert {name: seen[name] for name in measured} == measured
    assert (parsed.read, len(set(parsed.lines.tolist()))) == (2490, 1611)


def test_real_json(shared):
    [old] = read(shared / "industry/quote-equity-RELIANCE.json")
    [new] = read(shared / "industry/getSymbolData-2026.json")
    assert old.columns["symbol"].to_pylist() + new.columns["symbol"].to_pylist() == ["RELIANCE", "ETERNAL"]
    document = json.loads((shared / "holidays/holiday-master-2023.json").read_bytes())
    [master] = read(shared / "holidays/holiday-master-2023.json")
    assert (len(master.lines), master.read) == (len(document["CM"]), sum(map(len, document.values())))
    [upstox] = read(shared / "upstox/upstox_market_holidays_doc.json")
    assert (upstox.read, upstox.skipped) == (3, {"exchange_open": 2})
    [quote] = read(shared / "upstox/upstox_full_market_quote_doc.json")
    assert quote.frame().loc[1, ["symbol", "date", "net_change"]].tolist() == [
        "NHPC",
        "2023-10-19",
        "-1.0500000000000043",
    ]


@pytest.mark.parametrize(
    ("file", "error", "says"),
    [
        (
            "equity_list/2022-07-header-removed/EQUITY_L.csv",
            HeaderError,
            "the header of nse_securities is missing.*20MICRONS",
        ),
        ("market_cap/look-alike/MCAP28032024.csv", HeaderError, "the header of nse_market_cap is missing"),
        ("upstox/instruments/error-body/NSE.json.gz", NotDataError, "UDAPI100012 Invalid Endpoint"),
        ("upstox/instruments/2025-02-08/NSE.json.gz", UnknownFormatError, "a list of 58467"),
        ("upstox/upstox_historical_candle_v2_doc.json", FileNameError, "must tell the symbol"),
        ("surveillance/circular-NSE-SURV-65097.pdf", NotDataError, "binary"),
    ],
)
def test_real_files_that_are_refused(shared, file, error, says):
    with pytest.raises(error, match=says):
        read(shared / file)
    assert issubclass(error, FileError)


@pytest.mark.parametrize("file", ["20251217/block.csv", "no-records-no-header/block.csv", "one-byte/bulk.csv"])
def test_real_days_without_deals(shared, file):
    [parsed] = read(shared / "deals" / file)
    assert (parsed.read, parsed.format.name) == (0, f"{Path(file).stem}_deals")
