"""The sample market: the same bytes every time, the exchange's formats to the byte, and the dirt it declares."""

import csv
import hashlib
import io
import json
import zipfile
from collections import Counter
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from screener_data import samples

REAL = Path(__file__).parents[2] / "shared" / "nse"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the exchange's own files (../shared/nse) are not here")

HEADER_FILES = {  # kind: a sample (glob), a real file; "!" parts a zip from its member
    "equity_list": ("lists/2025-06-30/EQUITY_L.csv", "equity_list/2025-11-24/EQUITY_L.csv"),
    "sme_list": ("lists/*/SME_EQUITY_L.csv", "sme_list/SME_EQUITY_L.csv"),
    "etf_list": ("lists/*/eq_etfseclist.csv", "etf_list/2025-11/eq_etfseclist.csv"),
    "constituents": ("constituents/*/*.csv", "constituents/2025-09/ind_nifty50list.csv"),
    "legacy": ("bhavcopy/legacy/*.zip!bhav.csv", "bhavcopy/legacy/cm01NOV2017bhav.csv"),
    "full": ("bhavcopy/full/*.csv", "bhavcopy/full/sec_bhavdata_full_16012025.csv"),
    "udiff": ("bhavcopy/udiff/*.zip!.csv", "bhavcopy/udiff/BhavCopy_NSE_CM_0_0_0_20250618_F_0000.csv"),
    "market_cap": ("market_cap/PR*.zip!mcap", "market_cap/MCAP16012025.csv"),
    "prices": ("market_cap/PR*.zip!pr3", "indices/pr16122025.csv"),
    "corporate_actions": ("market_cap/PR300625.zip!bc", "corporate_actions/bc16122025.csv"),
    "actions_api": ("corporate_actions/CA-*.csv", "corporate_actions/Bonus.csv"),
    "bulk": ("deals/*/bulk.csv", "deals/20251216/bulk.csv"),
    "block": ("deals/20250627/block.csv", "deals/20251216/block.csv"),
    "deals_history": ("deals/history/*.csv", "deals/history/Bulk-Deals-24-04-2025-to-24-04-2026.csv"),
    "surveillance": ("surveillance/*.csv", "surveillance/REG1_IND160125.csv"),
    "name_changes": ("symbol_changes/namechange.csv", "symbol_changes/namechange.csv"),
}


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    paths = samples.write(folder)
    assert sorted(paths) == sorted(p for p in folder.rglob("*") if p.is_file())
    return folder


def contents(folder: Path, pattern: str) -> list[bytes]:
    """What the files of a pattern hold; after "!", the members of a zip whose name has that part."""
    pattern, _, part = pattern.partition("!")
    found = []
    for path in sorted(folder.glob(pattern)):
        if not part:
            found.append(path.read_bytes())
            continue
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if part in n.lower() and not n.startswith("__MACOSX")]
            found += [archive.read(n) for n in names if n.lower().rpartition("/")[2].startswith((part, "cm", "bhav"))]
    assert found, f"no sample matches {pattern} {part}"
    return found


def table(content: bytes, encoding: str = "utf-8") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(encoding)), skipinitialspace=True))


def full(folder: Path, back: int) -> list[dict[str, str]]:
    """The full bhavcopy so many sessions from the end."""
    name = f"sec_bhavdata_full_{session(folder, back):%d%m%Y}.csv"
    return table((folder / "bhavcopy/full" / name).read_bytes())


def session(folder: Path, back: int) -> date:
    return sessions(folder)[-back]


def sessions(folder: Path) -> list[date]:
    names = (p.stem.rpartition("_")[2] for p in folder.glob("indices/*.csv"))
    return sorted(datetime.strptime(name, "%d%m%Y").date() for name in names)


def bars(folder: Path) -> list[tuple[str, str, str, Decimal, Decimal, Decimal, Decimal, Decimal, Decimal]]:
    """(dialect, symbol, series, open, high, low, last, close, average) of every clean, whole line."""
    soiled = {(f"{session(folder, d.back):%d-%b-%Y}", d.symbol) for d in samples.DIRT if d.kind == "full"}
    found = []
    for path in sorted(folder.glob("bhavcopy/full/*.csv")):
        for r in table(path.read_bytes()):
            if (r["DATE1"], r["SYMBOL"]) not in soiled:
                names = ("OPEN_PRICE", "HIGH_PRICE", "LOW_PRICE", "LAST_PRICE", "CLOSE_PRICE", "AVG_PRICE")
                found.append(("full", r["SYMBOL"], r["SERIES"], *(Decimal(r[n]) for n in names)))
    for content in contents(folder, "bhavcopy/legacy/*.zip!bhav"):
        for r in table(content):
            prices = [Decimal(r[n]) for n in ("OPEN", "HIGH", "LOW", "LAST", "CLOSE")]
            found.append(("legacy", r["SYMBOL"], r["SERIES"], *prices, Decimal(r["TOTTRDVAL"]) / int(r["TOTTRDQTY"])))
    for content in contents(folder, "bhavcopy/udiff/*.zip!bhav"):
        for r in table(content):
            prices = [Decimal(r[n]) for n in ("OpnPric", "HghPric", "LwPric", "LastPric", "ClsPric")]
            average = Decimal(r["TtlTrfVal"]) / int(r["TtlTradgVol"])
            found.append(("udiff", r["TckrSymb"], r["SctySrs"], *prices, average))
    return found


def mcaps(folder: Path, name: str = "*.zip") -> list[list[dict[str, str]]]:
    return [
        [{k.strip(): v.strip() for k, v in row.items()} for row in table(content)]
        for content in contents(folder, f"market_cap/{name}!mcap")
    ]


# ── The bytes ───────────────────────────────────────────────────────────────────────────────────────────────────


def digest(paths: list[Path], folder: Path) -> str:
    sha = hashlib.sha256()
    for path in paths:
        sha.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()


def test_same_arguments_give_the_same_bytes_and_another_seed_does_not(tmp_path):
    small = {"symbols": 25, "sessions": 120}
    runs = {
        name: digest(samples.write(tmp_path / name, seed=seed, **small), tmp_path / name)
        for name, seed in (("a", 7), ("b", 7), ("c", 8))
    }
    assert runs["a"] == runs["b"] != runs["c"]


@pytest.mark.parametrize("wrong", [{"symbols": 5}, {"sessions": 20}, {"sessions": 900}, {"end": date(2031, 1, 1)}])
def test_a_market_that_cannot_be_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=r"symbols must be|holidays of \d+ are not known"):
        samples.write(tmp_path, **wrong)


@pytest.mark.parametrize("end", [date(2025, 7, 1), date(2025, 3, 16), date(2025, 12, 31)])
def test_other_ends_work_too(tmp_path, end):
    samples.write(tmp_path, end=end, sessions=130, symbols=30)
    assert session(tmp_path, 1) <= end
    assert len(sessions(tmp_path)) == 130


@real
@pytest.mark.parametrize("kind", HEADER_FILES)
def test_header_is_the_exchange_s_to_the_byte(market, kind):
    pattern, original = HEADER_FILES[kind]
    expected = (REAL / original).read_bytes().partition(b"\n")[0]
    assert samples.HEADERS[kind].encode() == expected.removeprefix(b"\xef\xbb\xbf")
    assert {content.partition(b"\n")[0] for content in contents(market, pattern)} == {expected}


def test_every_declared_header_is_compared_with_a_real_file():
    # of two no real instance is known, see FORMATS.md; one is ours
    assert set(samples.HEADERS) - set(HEADER_FILES) == {"indices", "actions_web", "manual_factors"}


@real
def test_the_index_header_is_the_one_written_down_in_formats(market):
    assert samples.HEADERS["indices"] in (REAL / "FORMATS.md").read_text()
    for content in contents(market, "indices/*.csv"):
        assert content.startswith(samples.HEADERS["indices"].encode() + b"\n")


def cells(*paths: Path) -> set[str]:
    """Every cell of some lists, without padding, in capitals."""
    lines = (line for path in paths for line in path.read_text(encoding="cp1252").splitlines())
    return {cell.strip().upper() for row in csv.reader(lines) for cell in row}


@real
def test_nothing_real_is_in_the_samples(market):
    deals = "deals/history/Bulk-Deals-24-04-2025-to-24-04-2026.csv"
    known = cells(*REAL.glob("*_list/**/*.csv"), *REAL.glob("symbol_changes/*.csv"), REAL / deals)
    ours = cells(*market.glob("lists/*/*.csv"))
    isins = {cell for cell in ours if cell.startswith(("INEZ", "INFZ"))}
    names = {cell for cell in ours if cell.endswith("LIMITED") or "ZORVA" in cell}
    symbols = {r["SYMBOL"] for path in market.glob("lists/*/*EQUITY_L.csv") for r in table(path.read_bytes())}
    assert min(len(isins), len(names), len(symbols)) >= 65
    assert not (isins | names | symbols | set(samples.ETFS) | set(samples.CLIENTS)) & known


def test_encodings_line_ends_and_last_bytes(market):
    etfs = (market / "lists/2025-06-30/eq_etfseclist.csv").read_bytes()
    assert b"\x96" in etfs
    assert b"\xa0" in etfs
    with pytest.raises(UnicodeDecodeError):
        etfs.decode("utf-8")
    assert b"\x96" in (market / "symbol_changes/symbolchange.csv").read_bytes()
    [history] = contents(market, "deals/history/*.csv")
    assert history.startswith(b'\xef\xbb\xbf"Date "')
    assert not history.endswith(b"\n")
    for pattern in ("lists/*/SME*.csv", "bhavcopy/legacy/*.zip!bhav"):
        for content in contents(market, pattern):
            assert all(line.endswith(b",") for line in content.splitlines())
    for content in contents(market, "bhavcopy/full/*.csv"):
        assert content.count(b",") == content.count(b", ")
    for content in contents(market, "surveillance/*.csv"):
        assert {line.count(b",") for line in content.splitlines()} == {62}


@real
def test_market_cap_cells_are_as_wide_as_the_exchange_s(market):
    def widths(content: bytes) -> set[tuple[int, ...]]:
        """Of each cell but the symbol's, for rows traded and not, and for the footer."""
        rows = [line.split(",") for line in content.decode().splitlines()[1:]]
        return {(*map(len, row[2:9]), len(row[1]) + len(row[9])) for row in rows}

    original = widths((REAL / "market_cap/MCAP16012025.csv").read_bytes())
    for content in contents(market, "market_cap/*.zip!mcap"):
        assert widths(content) <= original


# ── The market ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_sessions_are_weekdays_without_holidays_and_the_special_saturdays(market):
    days = sessions(market)
    assert len(days) == 300
    assert days[-1] == date(2025, 6, 30)
    assert {day for day in days if day.weekday() > 4} == {date(2024, 5, 18), date(2025, 2, 1)}
    closed = set()
    for path in market.glob("holidays/upstox_holidays_*.json"):
        for day in json.loads(path.read_bytes())["data"]:
            if "NSE" in day["closed_exchanges"]:
                closed.add(date.fromisoformat(day["date"]))
    assert len(closed) == 29
    assert not closed & set(days)


@real
def test_sessions_are_the_days_nse_traded(market):
    traded = (REAL / "history/trading_days_2019-08_2026-08.txt").read_text().split()
    assert [str(day) for day in sessions(market)] == [day for day in traded if day <= "2025-06-30"][-300:]


def test_holidays_hold_a_trading_holiday_with_nse_open_and_a_settlement_holiday(market):
    days = {d["date"]: d for d in json.loads((market / "holidays/upstox_holidays_2024.json").read_bytes())["data"]}
    assert days["2024-01-01"]["holiday_type"] == "TRADING_HOLIDAY"
    assert days["2024-01-01"]["closed_exchanges"] == []
    assert days["2024-01-01"]["open_exchanges"][0] == {  # as in the documentation of Upstox
        "exchange": "NSE", "start_time": 1704080700000, "end_time": 1704103200000
    }  # fmt: skip
    assert "SETTLEMENT_HOLIDAY" in {d["holiday_type"] for d in days.values()}
    master = json.loads((market / "holidays/holiday-master-2025.json").read_bytes())
    assert {"CM", "FO"} <= set(master)
    assert master["CM"][0] == {
        "tradingDate": "26-Feb-2025", "weekDay": "Wednesday", "description": "Mahashivratri", "Sr_no": 1
    }  # fmt: skip


def test_every_session_has_one_bhavcopy_of_the_right_dialect(market):
    spellings = {
        "legacy": "cm%d%b%Ybhav.csv",
        "full": "sec_bhavdata_full_%d%m%Y",
        "udiff": "BhavCopy_NSE_CM_0_0_0_%Y%m%d_F_0000.csv",
    }
    dialects = {
        datetime.strptime(path.stem, spelling).date(): dialect
        for dialect, spelling in spellings.items()
        for path in (market / "bhavcopy" / dialect).iterdir()
    }
    assert sorted(dialects) == sessions(market)
    assert len(list(market.glob("bhavcopy/*/*"))) == 300
    assert Counter(dialects.values()) == {"legacy": 20, "full": 275, "udiff": 5}
    assert max(day for day, dialect in dialects.items() if dialect == "legacy") < date(2024, 7, 8)
    assert (market / "bhavcopy/legacy/cm16APR2024bhav.csv.zip").exists()
    for path in market.glob("bhavcopy/*/*.zip"):
        assert zipfile.ZipFile(path).namelist() == [path.stem]


def test_prices_are_valid_outside_the_declared_dirt(market):
    lines = bars(market)
    assert {dialect for dialect, *_ in lines} == {"legacy", "full", "udiff"}
    for _, symbol, series, open_, high, low, last, close, average in lines:
        if series != "T0":
            assert 0 < low <= min(open_, close, last, average), symbol
            assert high >= max(open_, close, last, average), symbol
        assert all(price * 20 == int(price * 20) for price in (open_, high, low, close)), symbol
    assert any(not low <= close <= high for *_, s, _, high, low, _, close, _ in lines if s == "T0")


def test_previous_close_is_the_close_of_the_session_before_and_is_never_adjusted(market):
    fallen, closes = {}, {}
    for back in range(270, 15, -1):
        for row in full(market, back):
            symbol, close = row["SYMBOL"], row["CLOSE_PRICE"] or ""
            if row["SERIES"] == "T0" or not close or row["OPEN_PRICE"] == "N.A.":
                closes.pop(symbol, None)
                continue
            if symbol in closes and symbol not in ("718ZS2033", "SGBZJUN31"):
                assert row["PREV_CLOSE"] == closes[symbol] or closes[symbol] == "99999.00", (back, symbol)
            if float(row["OPEN_PRICE"]) / float(row["PREV_CLOSE"]) < 0.7:
                fallen[symbol] = (row["DATE1"], round(float(row["PREV_CLOSE"]) / float(row["OPEN_PRICE"])))
            closes[symbol] = close
    assert fallen == {"SPLITCO": ("02-Apr-2025", 5), "BONUSCO": ("05-May-2025", 2)}
    actions = b"".join(contents(market, "market_cap/*.zip!bc"))
    assert (
        b"EQ,SPLITCO,Splitora Components Limit,02/04/2025, , ,02/04/2025, , ,FVSPLT FRM RS 10 TO RS 2 \r\n" in actions
    )
    assert b"EQ,BONUSCO,Bonustra Consumer Limited,2025-05-05,,,2025-05-05,,,BONUS 1:1\n" in actions


def test_series_and_delivery(market):
    rows = full(market, 20)
    by_series = {}
    for row in rows:
        by_series.setdefault(row["SERIES"], []).append(row)
    assert set(by_series) == {"EQ", "BE", "BZ", "SM", "ST", "GS", "GB", "T0"}
    for series, group in by_series.items():
        for row in group:
            assert (row["DELIV_QTY"] == "-") == (row["DELIV_PER"] == "-") == (series in ("BE", "BZ"))
            turnover = int(row["TTL_TRD_QNTY"]) * Decimal(row["AVG_PRICE"]) / 100_000
            assert abs(turnover - Decimal(row["TURNOVER_LACS"])) <= Decimal("0.01")
    assert {"ZENNIFTY", "NA", "NAN", "K&VCORP", "ZEL-AUTO"} <= {row["SYMBOL"] for row in by_series["EQ"]}


def test_what_befalls_the_named_companies(market):
    old, new = ({r["SYMBOL"]: r for r in table(p.read_bytes())} for p in sorted(market.glob("lists/*/EQUITY_L.csv")))
    isin, face = "ISIN NUMBER", "FACE VALUE"
    assert old["OLDNAME"][isin] == new["NEWNAME"][isin]
    assert "NEWNAME" not in old
    assert "OLDNAME" not in new
    assert (old["SPLITCO"][face], new["SPLITCO"][face]) == ("10", "2")
    assert old["SPLITCO"][isin] != new["SPLITCO"][isin]
    assert (old["MOVEDCO"]["SERIES"], new["MOVEDCO"]["SERIES"]) == ("BE", "EQ")
    assert set(old) - set(new) == {"GONECO", "OLDNAME"}
    assert len(set(new) - set(old)) == 5  # four listings and a rename
    for row in (*old.values(), *new.values()):
        assert len(row[isin]) == 12
        datetime.strptime(row["DATE OF LISTING"], "%d-%b-%Y")

    seen = {}
    for back in range(280, 0, -1):
        if back not in samples.UDIFF_SESSIONS:
            for row in full(market, back):
                seen.setdefault(row["SYMBOL"], []).append(back)
    day = session(market, seen["NEWNAME"][0])
    assert (
        f",OLDNAME,NEWNAME,{day:%d-%b-%Y}".upper().encode() in (market / "symbol_changes/symbolchange.csv").read_bytes()
    )
    assert seen["OLDNAME"][-1] == seen["NEWNAME"][0] + 1
    assert seen["GONECO"][-1] > 50
    assert max(a - b for a, b in zip(seen["PAUSECO"], seen["PAUSECO"][1:], strict=False)) == 21
    assert "SMENEVER" not in seen


def test_market_cap_is_issue_size_times_close_and_the_footer_adds_up(market):
    assert len(mcaps(market)) == 6
    for rows in mcaps(market):
        *rows, listed, permitted, total = rows
        assert [r["Symbol"] for r in (listed, permitted, total)] == ["Listed", "Permitted", "Total"]
        sums = Counter()
        for row in rows:
            value = Decimal(row["Market Cap(Rs.)"])
            assert value == int(row["Issue Size"]) * Decimal(row["Close Price/Paid up value(Rs.)"])
            sums[row["Category"]] += value
        assert sums["Listed"] == Decimal(listed["Market Cap(Rs.)"])
        assert sums["Permitted"] == Decimal(permitted["Market Cap(Rs.)"]) > 0
        assert sums.total() == Decimal(total["Market Cap(Rs.)"])
        assert [r["Symbol"] for r in rows if r["Last Trade Date"] == "Not Traded"] == ["SMENEVER"]
        assert not {r["Symbol"] for r in rows} & set(samples.ETFS)


def test_market_cap_agrees_with_the_bhavcopy_of_the_day(market):
    closes = {row["SYMBOL"]: row["CLOSE_PRICE"] for row in full(market, 1) if row["SERIES"] != "T0"}
    [rows] = mcaps(market, "PR300625.zip")
    rows = {r["Symbol"]: r["Close Price/Paid up value(Rs.)"] for r in rows}
    traded = set(closes) & set(rows)
    assert len(traded) >= 60
    assert all(closes[symbol] == rows[symbol] for symbol in traded)


def test_zip_members(market):
    names = {path.name: zipfile.ZipFile(path).namelist() for path in market.glob("market_cap/*.zip")}
    assert names["PR300625.zip"] == ["mcap30062025.csv", "pr30062025.csv", "bc30062025.csv", "Readme.txt"]
    assert names["PR280225.zip"] == ["MCAP28022025.csv", "Pr280225.csv", "Bc280225.csv", "Readme.txt"]
    members = [member for path in market.rglob("*.zip") for member in zipfile.ZipFile(path).infolist()]
    assert {member.date_time for member in members} == {(2025, 6, 30, 18, 0, 0)}  # not the clock's, or bytes change
    twins = [name for members in names.values() for name in members if name.startswith("__MACOSX/")]
    assert twins == [
        f"__MACOSX/PR310125/._{name}" for name in ("MCAP31012025.csv", "Pr310125.csv", "Bc310125.csv", "Readme.txt")
    ]


def test_deals_and_their_history_are_the_very_same(market):
    [content] = contents(market, "deals/history/*.csv")
    history = [[cell.replace(",", "") for cell in row] for row in csv.reader(io.StringIO(content.decode("utf-8-sig")))]
    daily = []
    for back in (6, 5, 4):
        text = (market / f"deals/{session(market, back):%Y%m%d}/bulk.csv").read_text()
        daily += list(csv.reader(io.StringIO(text)))[1:]
    assert history[1:] == daily
    assert [n for n in Counter(map(tuple, daily)).values() if n > 1] == [2]
    assert any("  " in row[3] for row in daily)
    assert b'"3,03,609"' in content


def test_days_without_deals_in_both_forms(market):
    header = samples.HEADERS["block"].encode()
    assert (market / "deals/20250627/block.csv").read_bytes() == header + b"\nNO RECORDS,,,,,,\n"
    assert (market / "deals/20250630/block.csv").read_bytes() == b"NO RECORDS,,,,,,"
    assert sum(b"NO RECORDS" in content for content in contents(market, "deals/*/block.csv")) == 2


def test_surveillance_lists_everybody_and_flags_some(market):
    for content in contents(market, "surveillance/*.csv"):
        rows = list(csv.DictReader(io.StringIO(content.decode())))
        assert {row["ScripCode"] for row in rows} == {"NA"}
        assert {"NA", "NAN", "SMENEVER"} <= {row["Symbol"] for row in rows}
        assert len(rows) == len({row["Symbol"] for row in rows})
        for part, code in samples.FLAGS:
            column = next(name for name in rows[0] if part in name)
            assert {"100", code} <= {row[column] for row in rows}, (part, code)
        assert all(row["Nse Exclusive"] == ("Y" if row["Series"] in ("SM", "ST") else "N") for row in rows)
    listed = {r["SYMBOL"] for p in market.glob("lists/2025-06-30/*EQUITY_L.csv") for r in table(p.read_bytes())}
    assert {row["Symbol"] for row in table(contents(market, "surveillance/*300625.csv")[0])} == listed


def test_indices_are_spelled_as_the_exchange_does(market):
    seen = set()
    for content in contents(market, "indices/*.csv"):
        rows = {row["Index Name"]: row for row in table(content)}
        assert len(rows) == 9
        assert rows["India VIX"]["Volume"] == "-"
        twice = rows["Nifty50 TR 2x Leverage"]
        assert {twice[f"{name} Index Value"] for name in ("Open", "High", "Low")} == {"-"}
        for row in rows.values():
            seen.add(row["Change(%)"][:2])
            assert not any(cell.startswith(("0.", "-0")) or cell.endswith(".") for cell in row.values())
            if row is not twice:
                low, open_, close, high = (float(row[f"{n} Index Value"]) for n in ("Low", "Open", "Closing", "High"))
                assert low <= min(open_, close) <= max(open_, close) <= high
    assert any(change.startswith(".") for change in seen)
    assert "-." in seen


def test_industry_in_both_shapes(market):
    old = [json.loads(path.read_bytes()) for path in sorted(market.glob("industry/quote-equity-*.json"))]
    new = [json.loads(path.read_bytes()) for path in sorted(market.glob("industry/getSymbolData-*.json"))]
    assert (len(old), len(new)) == (20, 2)
    assert sum(quote["industryInfo"]["sector"] == "-" for quote in old) == 1
    assert {"K&VCORP", "NA", "NAN"} <= {quote["info"]["symbol"] for quote in old}
    sections = [quote["equityResponse"][0]["secInfo"] for quote in new]
    assert all(isinstance(section["industryInfo"], str) for section in sections)
    assert sum(section["basicIndustry"] is None for section in sections) == 1


def test_upstox_candles_agree_with_the_bhavcopies(market):
    paths = sorted(market.glob("upstox/candles_*.json"))
    assert len(paths) == 2
    for path in paths:
        candles = json.loads(path.read_bytes())["data"]["candles"]
        assert [c[0] for c in candles] == [f"{day}T00:00:00+05:30" for day in reversed(sessions(market))]
        symbol = path.stem.removeprefix("candles_")
        row = next(r for r in full(market, 100) if r["SYMBOL"] == symbol)
        names = ("OPEN_PRICE", "HIGH_PRICE", "LOW_PRICE", "CLOSE_PRICE", "TTL_TRD_QNTY")
        assert candles[99][1:6] == [float(row[name]) for name in names]
    quotes = json.loads((market / "upstox/quotes_20250630.json").read_bytes())["data"]
    assert len(quotes) == 3
    for key, quote in quotes.items():
        assert key == f"NSE_EQ:{quote['symbol']}"
        assert quote["last_price"] == pytest.approx(quote["ohlc"]["close"])


# ── The dirt ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dirt", samples.DIRT, ids=lambda d: f"{d.kind}-{d.symbol}")
def test_declared_dirt_is_there_once(market, dirt):
    day = session(market, dirt.back)
    where = {
        "full": f"bhavcopy/full/sec_bhavdata_full_{day:%d%m%Y}.csv",
        "market_cap": f"market_cap/PR{day:%d%m%y}.zip!mcap",
        "bulk": f"deals/{day:%Y%m%d}/bulk.csv",
        "surveillance": f"surveillance/REG1_IND{day:%d%m%y}.csv",
        "actions_api": "corporate_actions/CA-equities.csv",
        "constituents": f"constituents/{day}/ind_nifty50list.csv",
    }
    [content] = contents(market, where[dirt.kind])
    rows = [{k: v and v.strip() for k, v in r.items()} for r in table(content)]
    name = {"full": "SYMBOL", "actions_api": "symbol"}.get(dirt.kind, "Symbol")
    soiled = [r for r in rows if r[name] == dirt.symbol and r[dirt.column] == dirt.value]
    assert len(soiled) == 1
    if dirt.value is None:
        assert sum(value is not None for value in soiled[0].values()) == 7


def test_the_bad_close_is_above_its_high(market):
    dirt = next(d for d in samples.DIRT if d.column == "CLOSE_PRICE")
    row = next(r for r in full(market, dirt.back) if r["SYMBOL"] == dirt.symbol)
    assert float(row["CLOSE_PRICE"]) > float(row["HIGH_PRICE"])


def test_the_ghost_is_in_no_list(market):
    lists = b"".join(path.read_bytes() for path in market.glob("lists/*/*.csv"))
    assert b"GHOSTCO" not in lists
    assert b"GHOSTCO" in (market / "deals/20250630/bulk.csv").read_bytes()


def test_padded_and_quoted_cells_of_the_etf_list(market):
    rows = table((market / "lists/2025-06-30/eq_etfseclist.csv").read_bytes(), "cp1252")
    cells = [cell for row in rows for cell in row.values()]
    assert "Nifty Bank " in cells
    assert "Nifty Next 50\t" in cells
    assert len(rows) == len(samples.ETFS)
