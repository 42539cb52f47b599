"""The exchange's own files: each gets its right outcome, and what is stored equals an independent reading of them."""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from screener_data import loaders
from screener_data.ingest import LoadResult, load

IN_SCOPE = ["EQ", "BE", "BZ", "SM", "ST", "SZ", "RR", "IV"]
KINDS = [
    *(
        "constituents",
        "equity_list",
        "etf_list",
        "sme_list",
        "symbol_changes",
        "holidays",
        "bhavcopy/legacy",
        "bhavcopy/udiff",
    ),
    *("indices", "market_cap", "industry", "deals", "surveillance", "corporate_actions"),
]
REFUSED = {
    "equity_list/2022-07-header-removed/EQUITY_L.csv": "the header of nse_securities is missing",
    "market_cap/look-alike/MCAP28032024.csv": "the header of nse_market_cap is missing",
    "upstox/instruments/error-body/NSE.json.gz": "an error answer, not data: UDAPI100012 Invalid Endpoint",
}


def rows(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def one(engine: Engine, query: str) -> object:
    [[value]] = rows(engine, query)
    return value


def adds_up(result: LoadResult) -> bool:
    parts = result.inserted + result.updated + result.unchanged + result.rejected + result.skipped
    return result.read == parts and sum(result.reasons.values()) == result.rejected + result.skipped


def data_rows(path: Path) -> int:
    """Rows under the header, counted by the standard library; rows of nothing but blanks included."""
    with path.open(encoding="cp1252", newline="") as stream:
        return sum(1 for _ in csv.reader(stream)) - 1


def test_every_file_gets_its_outcome(engine: Engine, shared: Path) -> None:
    results = [result for kind in KINDS for result in load(shared / kind, engine=engine)]
    results += load(shared / "upstox/instruments/error-body/NSE.json.gz", engine=engine)
    assert len(results) > 40
    for result in results:
        name = result.file.removeprefix(f"{shared}/")
        assert adds_up(result), result
        if name in REFUSED:
            assert result.status == "failure"
            assert REFUSED[name] in (result.error or "")
            assert (result.read, result.log_id is not None) == (0, True)
        else:
            assert result.status in {"success", "partial"}, result
            assert result.error is None
    outcome = {result.file.removeprefix(f"{shared}/"): result for result in results}
    assert REFUSED.keys() <= outcome.keys()
    for empty in ("deals/one-byte/bulk.csv", "deals/no-records-no-header/block.csv", "deals/20251217/block.csv"):
        assert (outcome[empty].status, outcome[empty].read) == ("success", 0)
    for name in (
        "equity_list/2025-11-24/EQUITY_L.csv",
        "etf_list/2023-10/eq_etfseclist.csv",
        "sme_list/SME_EQUITY_L.csv",
    ):
        assert outcome[name].read == data_rows(shared / name)
    assert outcome["surveillance/REG1_IND160125.csv"].reasons == {"not_flagged": 2490 - 1611}
    # the quarantine and the audit hold what the results say
    assert one(engine, "SELECT count(*) FROM ingestion_logs WHERE status = 'failure'") == len(REFUSED)
    logged = "SELECT sum(records_fetched), sum(records_inserted), sum(records_updated) FROM ingestion_logs"
    replayed = "SELECT sum(read), sum(inserted), sum(updated) FROM load_files WHERE notes ->> 'replay' IS NOT NULL"
    [[read, inserted, updated]] = rows(engine, logged)
    [[again_read, again_inserted, again_updated]] = rows(engine, replayed)
    assert (read - (again_read or 0), inserted - (again_inserted or 0), updated - (again_updated or 0)) == (
        sum(result.read for result in results),
        sum(result.inserted for result in results),
        sum(result.updated for result in results),
    )


@pytest.mark.parametrize("server", ["embedded"], indirect=True)  # 360 loads: once is enough
def test_full_bhavcopies_twice_and_in_reverse(engine: Engine, shared: Path) -> None:
    files = sorted((shared / "bhavcopy/full").glob("*.csv"))
    assert len(files) == 121
    everything = "SELECT symbol, date, open, high, low, close, volume, vwap, prev_close, change_pct FROM ohlcv_daily"
    digest = f"SELECT count(*), md5(string_agg(md5(o::text), '' ORDER BY symbol, date)) FROM ({everything}) o"
    first = load(files, engine=engine)
    stored = rows(engine, digest)
    again = load(files, engine=engine)
    assert all(adds_up(result) for result in first + again)
    assert sum(result.inserted for result in first) == stored[0][0]
    assert [(result.inserted, result.updated) for result in again] == [(0, 0)] * len(files)
    assert [result.unchanged for result in again] == [result.inserted for result in first]
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE ohlcv_daily"))
    for file in reversed(files):
        load(file, engine=engine)
    assert rows(engine, digest) == stored
    # UDiFF says the same of the days that both dialects cover
    udiff = load(shared / "bhavcopy/udiff", engine=engine)
    assert {(result.inserted, result.updated) for result in udiff} == {(0, 0)}


@pytest.mark.parametrize("day", ["01012025", "16012025", "03022025", "07042025", "30062025"])
def test_full_bhavcopy_equals_pandas(engine: Engine, shared: Path, day: str) -> None:
    path = shared / f"bhavcopy/full/sec_bhavdata_full_{day}.csv"
    load(path, engine=engine)
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    frame.columns = frame.columns.str.strip()
    frame = frame[frame["SERIES"].str.strip().isin(IN_SCOPE)]
    expected = {
        row["SYMBOL"]: (
            *(Decimal(row[name]) for name in ("OPEN_PRICE", "HIGH_PRICE", "LOW_PRICE", "CLOSE_PRICE")),
            int(row["TTL_TRD_QNTY"]),
            Decimal(row["AVG_PRICE"]),
            Decimal(row["PREV_CLOSE"]),
            percent(Decimal(row["CLOSE_PRICE"]), Decimal(row["PREV_CLOSE"])),
        )
        for row in frame.to_dict("records")
    }
    stored = rows(
        engine, "SELECT symbol, open, high, low, close, volume, vwap, prev_close, change_pct FROM ohlcv_daily"
    )
    assert {row[0]: row[1:] for row in stored} == expected
    assert len(stored) == len(frame)


def percent(close: Decimal, previous: Decimal) -> Decimal:
    return (100 * (close / previous - 1)).quantize(Decimal("0.0001"), rounding=ROUND_HALF_UP)


def test_market_cap_sums_to_the_files_own_footers(engine: Engine, shared: Path) -> None:
    path = shared / "market_cap/MCAP16012025.csv"
    lines = [[cell.strip() for cell in line.split(",")] for line in path.read_text().splitlines()[1:]]
    footers = {line[1]: Decimal(line[9]) for line in lines if line[1] in {"Listed", "Permitted"}}
    [parsed] = loaders.read(path)
    read = [Decimal(rupees) for rupees in parsed.frame()["market_cap_rupees"]]
    assert sum(read) == sum(footers.values()) == Decimal("425537391827410.30")

    load(shared / "equity_list/2024-08/EQUITY_L.csv", engine=engine)
    load(shared / "equity_list/2025-11-24/EQUITY_L.csv", engine=engine)
    load(shared / "sme_list/SME_EQUITY_L.csv", engine=engine)
    [result] = load(path, engine=engine)
    assert result.inserted + result.rejected + result.skipped == 2516
    assert result.reasons == {"footer": 3, "unknown_symbol": result.rejected}
    assert 0 < result.rejected < 100
    stored = dict(rows(engine, "SELECT symbol, market_cap FROM market_cap_history"))
    crore = {
        line[1]: (Decimal(line[9]) / 10**7).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
        for line in lines
        if line[1] not in {"Listed", "Permitted", "Total"}
    }
    old_names = {row[0] for row in rows(engine, "SELECT symbol FROM symbol_history")}
    assert len(stored) == result.inserted
    assert {symbol: crore[symbol] for symbol in stored if symbol in crore} == {
        symbol: value for symbol, value in stored.items() if symbol in crore
    }
    # whoever is not under the file's own name was renamed since
    assert len(stored.keys() - crore.keys()) == len(old_names & crore.keys() - stored.keys())


def test_deals_of_a_year_twice_and_with_their_days(engine: Engine, shared: Path) -> None:
    history = shared / "deals/history/Bulk-Deals-24-04-2025-to-24-04-2026.csv"
    for _ in range(2):
        [result] = load(history, engine=engine)
        assert one(engine, "SELECT count(*) FROM bulk_deals") == 21_901
    assert (result.inserted, result.unchanged) == (0, 21_901)
    days = [load(shared / f"deals/{day}/bulk.csv", engine=engine)[0] for day in ("20250903", "20251216", "20251217")]
    assert [(day.inserted, day.unchanged > 100) for day in days] == [(0, True)] * 3
    with history.open(encoding="utf-8-sig", newline="") as stream:
        published = Counter(tuple(row) for row in list(csv.reader(stream))[1:])
    twins = [deal for deal, times in published.items() if times == 2]
    assert len(twins) >= 2
    for _, symbol, _, client, _, _, _, _ in twins:
        found = "SELECT count(*) FROM bulk_deals WHERE symbol = '{}' AND client_name = '{}'"
        assert one(engine, found.format(symbol, client.strip())) >= 2  # type: ignore[operator]
    shares = sum(int(deal[5].replace(",", "")) * times for deal, times in published.items())
    assert one(engine, "SELECT sum(quantity) FROM bulk_deals") == shares


def test_surveillance_equals_an_independent_reading(engine: Engine, shared: Path) -> None:
    path = shared / "surveillance/REG1_IND160125.csv"
    load(path, engine=engine)
    with path.open(newline="") as stream:
        published = list(csv.DictReader(stream))
    flagged = {
        (row["Symbol"], name, code)
        for row in published
        for name, code in row.items()
        if not name.startswith(("ScripCode", "Symbol", "Nse ", "Status", "Series", "Filler"))
        and code not in {"100", ""}
    }
    stored = rows(engine, "SELECT symbol, reason, date::text FROM surveillance_measures")
    assert {(symbol, *str(reason).rsplit(": ", 1)) for symbol, reason, _ in stored} == flagged
    assert len(stored) == len(flagged)
    assert {day for _, _, day in stored} == {"2025-01-16"}


def test_index_levels_equal_the_file(engine: Engine, shared: Path) -> None:
    load(shared / "indices/Pr160125.csv", engine=engine)
    assert rows(
        engine, "SELECT date::text, open, high, low, close, volume FROM ohlcv_daily WHERE symbol = 'NIFTY 50'"
    ) == [("2025-01-16", *map(Decimal, ("23377.25", "23391.65", "23272.05", "23311.80")), None)]
    with (shared / "indices/Pr160125.csv").open(newline="") as stream:
        names = {row[1].strip() for row in csv.reader(stream) if row[0] == "Y"}
    assert {row[0] for row in rows(engine, "SELECT index_name FROM indices")} == names


def test_zip_holds_the_same_market_cap(shared: Path) -> None:
    with zipfile.ZipFile(shared / "market_cap/PR160125.zip") as archive:
        [twin] = [name for name in archive.namelist() if "__MACOSX" in name and "MCAP" in name]
        assert twin
    found = {parsed.format.name: parsed for parsed in _read_known(shared / "market_cap/PR160125.zip")}
    [alone] = loaders.read(shared / "market_cap/MCAP16012025.csv")
    assert found["market_cap"].frame().equals(alone.frame())


def _read_known(path: Path) -> list[loaders.Parsed]:
    known = [member for member in loaders.members(path) if member.name.lower().startswith(("mcap", "pr1"))]
    return [loaders.recognise(member.label, member.data()).parse() for member in known]
