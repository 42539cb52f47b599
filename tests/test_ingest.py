"""Nothing is silent: the accounting, the quarantine, replays, renames, and the audit of loads that fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from screener_data.errors import DatabaseError, UsageError
from screener_data.ingest import LoadResult, load, replay
from screener_data.read import rejects, status

EQUITY = "SYMBOL,NAME OF COMPANY, SERIES, DATE OF LISTING, PAID UP VALUE, MARKET LOT, ISIN NUMBER, FACE VALUE\n"
BHAVCOPY = (
    "SYMBOL, SERIES, DATE1, PREV_CLOSE, OPEN_PRICE, HIGH_PRICE, LOW_PRICE, LAST_PRICE, CLOSE_PRICE, AVG_PRICE, "
    "TTL_TRD_QNTY, TURNOVER_LACS, NO_OF_TRADES, DELIV_QTY, DELIV_PER\n"
)
MARKET_CAP = (
    "Trade Date,Symbol,Series,Security Name,Category,Last Trade Date,Face Value(Rs.),Issue Size,"
    "Close Price/Paid up value(Rs.),Market Cap(Rs.)\n"
)
DEALS = "Date,Symbol,Security Name,Client Name,Buy/Sell,Quantity Traded,Trade Price / Wght. Avg. Price,Remarks\n"


def security(symbol: str, isin: str, name: str = "A Company Limited", series: str = "EQ") -> str:
    return f"{symbol},{name},{series},06-OCT-2008,5,1,{isin},5\n"


def bar(
    symbol: str, day: str = "16-Jan-2025", close: str = "101.00", series: str = "EQ", previous: str = "100.00"
) -> str:
    prices = f"{previous}, 100.00, 110.00, 90.00, 101.00, {close}, 100.50"
    return f"{symbol}, {series}, {day}, {prices}, 1000, 1.00, 10, 500, 50.00\n"


def capital(symbol: str, rupees: str = "8003684383.65", day: str = "16 JAN 2025") -> str:
    return f"{day},{symbol},EQ,A COMPANY,Listed,{day},5.00,35286502,226.80,{rupees}\n"


def deal(symbol: str, client: str = "A FUND", shares: str = "1000", price: str = "10.00") -> str:
    return f"16-JAN-2025,{symbol},A Company,{client},BUY,{shares},{price},-\n"


I1, I2, I3 = "INE000A01010", "INE000B01018", "INE000C01016"


class Desk:
    """Writes files, loads them, and asks the database."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder, self.engine = folder, engine

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return path

    def load(self, name: str, text: str) -> LoadResult:
        [result] = load(self.write(name, text), engine=self.engine)
        assert_adds_up(result)
        return result

    def securities(self, *lines: str) -> LoadResult:
        return self.load("EQUITY_L.csv", EQUITY + "".join(lines))

    def bars(self, *lines: str) -> LoadResult:
        return self.load("sec_bhavdata_full_16012025.csv", BHAVCOPY + "".join(lines))

    def ask(self, query: str) -> list[tuple[object, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def run(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement))


@pytest.fixture
def desk(tmp_path: Path, engine: Engine) -> Desk:
    return Desk(tmp_path, engine)


def assert_adds_up(result: LoadResult) -> None:
    parts = result.inserted + result.updated + result.unchanged + result.rejected + result.skipped
    assert result.read == parts, result
    assert sum(result.reasons.values()) == result.rejected + result.skipped, result


def counts(result: LoadResult) -> tuple[int, ...]:
    return result.read, result.inserted, result.updated, result.unchanged, result.rejected, result.skipped


# --- the accounting -------------------------------------------------------------------------------------------------


def test_the_sample_market_adds_up_and_a_second_load_changes_no_history(desk: Desk, market: Path) -> None:
    first = load(market, engine=desk.engine)
    assert all(result.status != "failure" for result in first)
    again = load(market, engine=desk.engine)
    for result in first + again:
        assert_adds_up(result)
    lists = {"nse_securities"}  # an older list takes back what the newer one then states again
    assert {(r.inserted, r.updated) for r in again if r.source not in lists} == {(0, 0)}
    assert sum(r.inserted for r in again) == 0
    assert {result.source for result in first} == {row["source"] for row in status(engine=desk.engine)["sources"]}


def test_each_row_is_counted_once(desk: Desk) -> None:
    rows = [bar("A"), bar("B"), bar("B", series="BE"), bar("C", series="GB"), bar("D", close="120.00"), bar("A")]
    result = desk.bars(*rows, bar("E", close="x"), "F, EQ\n")
    assert counts(result) == (8, 2, 0, 0, 3, 3)
    assert result.reasons == {
        "broken_rule": 1,
        "bad_number": 1,
        "wrong_cell_count": 1,
        "series_not_preferred": 1,
        "series_out_of_scope": 1,
        "duplicate_row": 1,
    }
    assert result.status == "partial"
    again = desk.bars(bar("A", close="102.00"), bar("B"))
    assert counts(again) == (2, 0, 1, 1, 0, 0)
    assert again.status == "success"
    assert desk.ask("SELECT symbol, close::text, change_pct::text FROM ohlcv_daily ORDER BY symbol") == [
        ("A", "102.00", "2.0000"),
        ("B", "101.00", "1.0000"),
    ]


def test_contradicting_rows_of_one_key_are_not_chosen_from_in_silence(desk: Desk) -> None:
    result = desk.bars(bar("A"), bar("A", close="105.00"))
    assert (result.inserted, result.reasons) == (1, {"duplicate_key": 1})
    [kept] = rejects(engine=desk.engine)
    assert (kept["line"], kept["detail"]) == (3, "contradicts line 2, which has the same symbol, date")


def test_an_update_touches_only_what_the_file_fills(desk: Desk) -> None:
    desk.bars(bar("A"))
    desk.run("UPDATE ohlcv_daily SET upper_circuit = 120, created_at = '2020-01-01'")
    assert desk.bars(bar("A", close="102.00")).updated == 1
    assert desk.ask("SELECT close::int, upper_circuit::int, created_at::date::text FROM ohlcv_daily") == [
        (102, 120, "2020-01-01")
    ]


def test_the_database_refuses_counts_that_do_not_add_up(desk: Desk) -> None:
    desk.bars(bar("A"))
    with pytest.raises(IntegrityError, match="nothing_is_silent"):
        desk.run("UPDATE load_files SET skipped = skipped + 1")


def test_rounding_is_postgresqls(desk: Desk) -> None:
    desk.securities(security("A", I1))
    desk.load("MCAP16012025.csv", MARKET_CAP + capital("A", rupees="26750000000000.00").replace("226.80", "2.675"))
    assert desk.ask("SELECT close_price::text, market_cap::text FROM market_cap_history") == [("2.68", "2675000.00")]
    desk.load("MCAP16012025.csv", MARKET_CAP + capital("A", rupees="50000"))  # half a paisa of a crore, up
    assert desk.ask("SELECT market_cap::text FROM market_cap_history") == [("0.01",)]


def test_symbols_are_text(desk: Desk) -> None:
    desk.securities(security("NA", I1), security("NAN", I2), security("0700", I3))
    desk.bars(bar("NA"), bar("NAN"), bar("NULL"), bar("0700"))
    assert desk.ask("SELECT symbol FROM ohlcv_daily ORDER BY 1") == [("0700",), ("NA",), ("NAN",), ("NULL",)]


# --- the quarantine -------------------------------------------------------------------------------------------------


def test_a_rejected_row_is_kept_whole(desk: Desk) -> None:
    broken = bar("B&C", close="abc")
    desk.bars(bar("A"), "\n", broken)
    [kept] = rejects(engine=desk.engine)
    assert kept["raw"] == broken.rstrip("\n")
    assert (kept["source"], kept["line"], kept["reason"], kept["column"]) == (
        "nse_bhavcopy",
        4,
        "bad_number",
        "CLOSE_PRICE",
    )
    assert str(kept["file"]).endswith("sec_bhavdata_full_16012025.csv")
    assert "'abc' is not a number" in kept["detail"]


def test_the_same_bytes_are_quarantined_once(desk: Desk) -> None:
    for tries in range(3):
        assert desk.bars(bar("A"), bar("B", close="abc")).rejected == 1
        assert [row["tries"] for row in rejects(engine=desk.engine)] == [tries]


def test_a_row_waits_for_its_symbol_and_is_replayed_by_itself(desk: Desk) -> None:
    result = desk.load("MCAP16012025.csv", MARKET_CAP + capital("A") + capital("B"))
    assert (result.status, result.reasons) == ("partial", {"unknown_symbol": 2})
    desk.securities(security("A", I1))
    assert desk.ask("SELECT symbol, market_cap::text FROM market_cap_history") == [("A", "800.37")]
    assert [row["symbol"] for row in rejects(engine=desk.engine)] == ["B"]
    # the replay has its own audit row, and says which load settled the row
    of_market_cap = "FROM ingestion_logs WHERE source = 'nse_market_cap' ORDER BY id"
    assert desk.ask(f"SELECT status, records_fetched, records_inserted {of_market_cap}") == [
        ("partial", 2, 0),
        ("success", 1, 1),
    ]
    assert desk.ask("SELECT f.notes ->> 'replay' FROM rejects r JOIN load_files f ON f.id = r.settled_by") == [
        ("true",)
    ]


def test_replay_keeps_what_is_still_wrong(desk: Desk) -> None:
    desk.load("MCAP16012025.csv", MARKET_CAP + capital("A") + capital("B", rupees="x"))
    [result] = replay(engine=desk.engine)
    assert counts(result) == (2, 0, 0, 0, 2, 0)
    assert replay("nse_bulk_deals", engine=desk.engine) == []
    assert sorted(str(row["reason"]) for row in rejects(engine=desk.engine)) == ["bad_number", "unknown_symbol"]


def test_a_mended_file_settles_nothing_of_the_broken_one_and_the_same_bytes_do(desk: Desk) -> None:
    desk.load("MCAP16012025.csv", MARKET_CAP + capital("A"))
    desk.run(f"INSERT INTO securities (symbol, isin, security_name, security_type) VALUES ('A', '{I1}', 'A', 'EQUITY')")
    assert desk.load("MCAP16012025.csv", MARKET_CAP + capital("A")).inserted == 1
    assert rejects(engine=desk.engine) == []


def test_json_rows_are_replayed_too(desk: Desk) -> None:
    answer = (
        '{"info":{"symbol":"A"},"industryInfo":{"macro":"Energy","sector":"Oil","industry":"-","basicIndustry":null}}'
    )
    assert desk.load("quote-equity-A.json", answer).reasons == {"unknown_symbol": 1}
    desk.securities(security("A", I1))
    assert desk.ask("SELECT symbol, macro, sector, industry, basic_industry FROM industry_classification") == [
        ("A", "Energy", "Oil", None, None)
    ]


def test_a_nul_byte_is_rejected_kept_and_rejected_again(desk: Desk) -> None:
    assert desk.bars(bar("A\x00B")).reasons == {"bad_character": 1}
    assert rejects(engine=desk.engine)[0]["raw"].startswith("A\u2400B")
    assert replay(engine=desk.engine)[0].reasons == {"bad_character": 1}


# --- loads that fail ------------------------------------------------------------------------------------------------


def test_a_refused_file_has_its_audit_row(desk: Desk) -> None:
    result = desk.load("EQUITY_L.csv", security("A", I1))
    assert (result.status, counts(result)) == ("failure", (0, 0, 0, 0, 0, 0))
    assert "the header of nse_securities is missing" in (result.error or "")
    [log] = desk.ask("SELECT id, source, status, records_fetched, errors ->> 'error' FROM ingestion_logs")
    assert log == (result.log_id, "nse_securities", "failure", 0, result.error)


def test_a_load_that_fails_half_way_stores_nothing_and_says_so(desk: Desk) -> None:
    desk.run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.symbol = 'C' THEN RAISE 'the disk is full'; END IF; RETURN NEW; END $$"
    )
    desk.run("CREATE TRIGGER refuse BEFORE INSERT ON ohlcv_daily FOR EACH ROW EXECUTE FUNCTION refuse()")
    result = desk.bars(bar("A"), bar("B", close="x"), bar("C"), bar("D", series="GB"))
    assert (result.status, result.error) == ("failure", "the database refused: the disk is full")
    assert counts(result) == (4, 0, 0, 0, 1, 3)
    assert result.reasons == {"bad_number": 1, "load_failed": 3}
    assert desk.ask("SELECT count(*) FROM ohlcv_daily") == [(0,)]
    assert desk.ask("SELECT status, records_fetched, records_inserted, records_failed FROM ingestion_logs") == [
        ("failure", 4, 0, 1)
    ]
    assert [row["line"] for row in rejects(engine=desk.engine)] == [3]
    desk.run("DROP TRIGGER refuse ON ohlcv_daily")
    assert counts(desk.bars(bar("A"), bar("B", close="x"), bar("C"), bar("D", series="GB"))) == (4, 2, 0, 0, 1, 1)


def test_one_bad_file_does_not_stop_the_others(desk: Desk) -> None:
    desk.write("in/EQUITY_L.csv", EQUITY + security("A", I1))
    desk.write("in/MCAP16012025.csv", "<html>Access Denied</html>")
    desk.write("in/sec_bhavdata_full_16012025.csv", BHAVCOPY + bar("A"))
    found = {Path(r.file).name: r.status for r in load(desk.folder / "in", engine=desk.engine)}
    assert found == {
        "EQUITY_L.csv": "success",
        "MCAP16012025.csv": "failure",
        "sec_bhavdata_full_16012025.csv": "success",
    }


def test_a_bug_is_recorded_and_not_hidden(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("screener_data.batch.compare_and_copy", bug)
    with pytest.raises(ZeroDivisionError):
        desk.bars(bar("A"))
    [(state, error)] = desk.ask("SELECT state, error FROM load_files")
    assert state == "failure"
    assert error == "stopped by ZeroDivisionError: a bug"


def test_a_killed_load_is_found_and_marked_by_the_next(desk: Desk, database_url: URL) -> None:
    path = desk.write("sec_bhavdata_full_16012025.csv", BHAVCOPY + bar("A"))
    blocker = desk.engine.connect()
    blocker.execute(text("LOCK TABLE ohlcv_daily IN ACCESS EXCLUSIVE MODE"))
    code = f"import screener_data; screener_data.load({str(path)!r})"
    process = subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ))
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'ohlcv_daily'::regclass"
    deadline = time.monotonic() + 60
    while desk.ask(waiting) == [(0,)] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert desk.ask("SELECT state FROM load_files") == [("running",)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    blocker.rollback()
    blocker.close()
    while (
        desk.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") != [(0,)] and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert desk.bars(bar("A")).inserted == 1
    assert desk.ask("SELECT state, error FROM load_files ORDER BY id") == [
        ("failure", "the loading process was killed; nothing of the file was stored"),
        ("success", None),
    ]
    assert desk.ask("SELECT status, records_fetched FROM ingestion_logs ORDER BY id") == [
        ("failure", 0),
        ("success", 1),
    ]


def test_a_running_load_is_not_taken_for_a_killed_one(desk: Desk) -> None:
    with desk.engine.connect() as other:
        other.execute(text("INSERT INTO load_files (id, source, file) VALUES (77, 'nse_bhavcopy', 'x')"))
        other.execute(text("SELECT pg_advisory_lock(378094, 77)"))
        other.commit()
        desk.bars(bar("A"))
        assert desk.ask("SELECT state FROM load_files WHERE id = 77") == [("running",)]
        other.execute(text("SELECT pg_advisory_unlock_all()"))
        other.commit()
    desk.bars(bar("A"))
    assert desk.ask("SELECT state FROM load_files WHERE id = 77") == [("failure",)]


def test_eight_processes_load_the_same_files_as_one_does(desk: Desk, market: Path) -> None:
    files = [str(market / "lists"), str(market / "deals"), *map(str, sorted((market / "bhavcopy/full").glob("*"))[:10])]
    code = f"import screener_data as sd; [sd.load(f) for f in {files!r}]"
    processes = [subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ)) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * len(processes)
    assert desk.ask("SELECT count(*) FROM load_files WHERE state = 'failure'") == [(0,)]
    sums = "SELECT (SELECT sum(inserted) FROM load_files WHERE format = '{}'), (SELECT count(*) FROM {})"
    for format, table in (
        ("bhavcopy_full", "ohlcv_daily"),
        ("bulk_deals", "bulk_deals"),
        ("block_deals", "block_deals"),
    ):
        [(inserted, stored)] = desk.ask(sums.format(format, table))
        assert inserted == stored


@pytest.mark.parametrize(
    ("path", "source", "error"),
    [("nowhere.csv", None, "no such file"), ("", "nse_nonsense", "no source 'nse_nonsense'"), ("", None, "no .csv")],
)
def test_wrong_usage(desk: Desk, path: str, source: str | None, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        load(desk.folder / path, source, engine=desk.engine)


def test_without_tables_it_says_what_to_do(empty_url: URL, tmp_path: Path) -> None:
    from sqlalchemy import create_engine

    engine = create_engine(empty_url)
    with pytest.raises(DatabaseError, match="screener-data init"):
        load(tmp_path, engine=engine)
    engine.dispose()


# --- who is who -----------------------------------------------------------------------------------------------------


def names(desk: Desk) -> list[tuple[object, ...]]:
    return desk.ask("SELECT symbol, isin, is_active FROM securities ORDER BY isin")


def test_a_list_states_who_is_listed(desk: Desk) -> None:
    desk.securities(security("A", I1), security("B", I2))
    result = desk.securities(security("A", I1))
    assert (result.unchanged, names(desk)) == (1, [("A", I1, True), ("B", I2, False)])
    assert desk.securities(security("A", I1), security("B", I2)).updated == 1
    assert names(desk) == [("A", I1, True), ("B", I2, True)]


def test_lists_do_not_speak_for_each_other(desk: Desk) -> None:
    desk.securities(security("A", I1))
    sme = "SYMBOL,NAME_OF_COMPANY,SERIES,DATE_OF_LISTING,PAID_UP_VALUE,ISIN_NUMBER,FACE_VALUE,\n"
    desk.load("SME_EQUITY_L.csv", sme + f"S,Small Limited,SM,15-May-26,10,{I2},10,\n")
    desk.load("REITS_L.csv", EQUITY + security("R", I3, series="RR"))
    assert [row[2] for row in names(desk)] == [True, True, True]
    # from the SME list to the main board: on either is enough
    desk.securities(security("A", I1), security("S", I2))
    desk.load("SME_EQUITY_L.csv", sme + f"T,Tiny Limited,SM,15-May-26,10,{'INE000D01014'},10,\n")
    assert names(desk)[1] == ("S", I2, True)


def test_a_part_of_a_long_list_delists_nobody(desk: Desk) -> None:
    everyone = [security(f"S{n}", f"INE{n:03}A01010") for n in range(300)]
    desk.securities(*everyone)
    assert desk.securities(*everyone[:140]).unchanged == 140
    note = "SELECT notes ->> 'taken_for_a_part_of_the_list_so_not_deactivated' FROM load_files ORDER BY id DESC LIMIT 1"
    assert desk.ask(note) == [("160",)]
    assert desk.ask("SELECT count(*) FROM securities WHERE is_active") == [(300,)]
    desk.securities(*everyone[:160])
    assert desk.ask("SELECT count(*) FROM securities WHERE is_active") == [(160,)]


def test_a_rejected_row_of_a_list_does_not_delist(desk: Desk) -> None:
    desk.securities(security("A", I1), security("B", I2))
    assert desk.securities(security("A", I1), security("B", I2).replace("06-OCT-2008", "32-OCT-2008")).rejected == 1
    assert names(desk)[1] == ("B", I2, True)


def test_a_rename_moves_the_row_and_its_history(desk: Desk) -> None:
    desk.securities(security("OLD", I1), security("B", I2))
    desk.bars(bar("OLD"), bar("B"))
    desk.load("bulk.csv", DEALS + deal("OLD") + deal("OLD"))
    desk.load("MCAP16012025.csv", MARKET_CAP + capital("OLD"))
    result = desk.securities(security("NEW", I1), security("B", I2))
    assert (result.updated, result.unchanged) == (1, 1)
    for table in ("ohlcv_daily", "bulk_deals", "market_cap_history"):
        assert desk.ask(f"SELECT count(*) FROM {table} WHERE symbol = 'OLD'") == [(0,)], table
    assert desk.ask(
        "SELECT symbol, security_id = (SELECT id FROM securities WHERE symbol = 'NEW') FROM symbol_history"
    ) == [("OLD", True)]
    # files of before the rename still find their rows, and do not double them
    assert desk.bars(bar("OLD"), bar("B")).unchanged == 2
    assert desk.load("bulk.csv", DEALS + deal("OLD") + deal("OLD")).unchanged == 2
    assert desk.load("MCAP16012025.csv", MARKET_CAP + capital("OLD")).unchanged == 1


def test_a_swap_of_symbols_in_one_file(desk: Desk) -> None:
    desk.securities(security("A", I1), security("B", I2))
    desk.bars(bar("A", close="101.00"), bar("B", close="109.00"))
    desk.load("MCAP16012025.csv", MARKET_CAP + capital("A", "10000000000") + capital("B", "20000000000"))
    result = desk.securities(security("B", I1), security("A", I2))
    assert (result.updated, result.rejected) == (2, 0)
    assert names(desk) == [("B", I1, True), ("A", I2, True)]
    assert desk.ask("SELECT symbol, close::int FROM ohlcv_daily ORDER BY 1") == [("A", 109), ("B", 101)]
    assert desk.ask("SELECT symbol, market_cap::int FROM market_cap_history ORDER BY 1") == [("A", 2000), ("B", 1000)]
    # a file of before the swap means the securities as they were called then
    assert desk.bars(bar("A", close="101.00"), bar("B", close="109.00")).unchanged == 2


def test_a_chain_of_renames_in_one_file(desk: Desk) -> None:
    desk.securities(security("A", I1), security("B", I2), security("C", I3))
    desk.bars(bar("A", close="101.00"), bar("B", close="102.00"), bar("C", close="103.00"))
    desk.securities(security("B", I1), security("C", I2), security("D", I3))
    assert desk.ask("SELECT symbol, close::int FROM ohlcv_daily ORDER BY 1") == [("B", 101), ("C", 102), ("D", 103)]


def test_a_new_isin_under_the_same_symbol_is_the_same_security(desk: Desk) -> None:
    desk.securities(security("A", I1))
    [before] = desk.ask("SELECT id FROM securities")
    assert desk.securities(security("A", I2)).updated == 1
    assert desk.ask("SELECT id FROM securities") == [before]
    assert desk.ask("SELECT notes ->> 'new_isin' FROM load_files ORDER BY id") == [(None,), ("1",)]


def test_a_renamed_security_whose_old_name_is_new_again(desk: Desk) -> None:
    desk.securities(security("A", I1))
    result = desk.securities(security("B", I1), security("A", I2))
    assert (result.inserted, result.updated) == (1, 1)
    assert names(desk) == [("B", I1, True), ("A", I2, True)]


def test_a_symbol_that_a_delisted_security_bore_goes_over(desk: Desk) -> None:
    desk.securities(security("A", I1), security("B", I2))
    assert desk.securities(security("B", I1)).updated == 1
    assert names(desk) == [("B", I1, True), (f"B~{I2}", I2, False)]


def test_one_isin_twice_in_a_list(desk: Desk) -> None:
    assert desk.securities(security("A", I1), security("B", I1)).reasons == {"duplicate_isin": 1}
    assert desk.securities(security("A", I1), security("A", I1, series="IL")).reasons == {"series_not_preferred": 1}


def test_history_that_cannot_follow_is_told(desk: Desk) -> None:
    desk.securities(security("OLD", I1))
    desk.bars(bar("OLD", close="101.00"), bar("NEW", close="102.00"))
    desk.securities(security("NEW", I1))
    assert desk.ask("SELECT symbol, close::int FROM ohlcv_daily ORDER BY 1") == [("NEW", 102), ("OLD", 101)]
    assert desk.ask("SELECT notes ->> 'history_left_behind' FROM load_files ORDER BY id DESC LIMIT 1") == [("1",)]


def test_the_exchanges_date_of_a_rename_is_used(desk: Desk) -> None:
    desk.load("symbolchange.csv", "A Company,OLD,NEW,20-JAN-2025\n")
    desk.securities(security("OLD", I1))
    desk.securities(security("NEW", I1), security("OLD", I2))
    assert desk.ask("SELECT symbol, valid_until::text FROM symbol_history") == [("OLD", "2025-01-20")]
    desk.load("sec_bhavdata_full_17012025.csv", BHAVCOPY + bar("OLD", "17-Jan-2025"))
    desk.load("sec_bhavdata_full_20012025.csv", BHAVCOPY + bar("OLD", "20-Jan-2025") + bar("NEW", "20-Jan-2025"))
    assert desk.ask("SELECT symbol, date::text FROM ohlcv_daily ORDER BY 2, 1") == [
        ("NEW", "2025-01-17"),
        ("NEW", "2025-01-20"),
        ("OLD", "2025-01-20"),
    ]


# --- deals, surveillance, Upstox, holidays, indices -----------------------------------------------------------------


def test_identical_deals_stay_two_however_often_they_are_loaded(desk: Desk) -> None:
    twice = DEALS + deal("A") + deal("A") + deal("A", price="11.00")
    assert counts(desk.load("bulk.csv", twice)) == (3, 3, 0, 0, 0, 0)
    assert counts(desk.load("bulk.csv", twice)) == (3, 0, 0, 3, 0, 0)
    assert counts(desk.load("bulk.csv", twice + deal("A") + deal("B"))) == (5, 2, 0, 3, 0, 0)
    assert desk.ask("SELECT count(*) FROM bulk_deals") == [(5,)]
    assert desk.ask("SELECT count(*) FROM block_deals") == [(0,)]


@pytest.mark.parametrize("text", ["", "\n", "NO RECORDS,,,,,,", DEALS + "NO RECORDS,,,,,,\n", DEALS])
def test_a_day_without_deals_is_a_success(desk: Desk, text: str) -> None:
    result = desk.load("bulk.csv", text)
    assert (result.status, result.source, result.read) == ("success", "nse_bulk_deals", 0)


def test_surveillance_counts_lines_of_the_file(desk: Desk, market: Path) -> None:
    [path] = sorted((market / "surveillance").glob("*"))[:1]
    [first] = load(path, engine=desk.engine)
    [(lines, rows)] = desk.ask("SELECT count(DISTINCT symbol), count(*) FROM surveillance_measures")
    assert isinstance(rows, int)
    assert (first.inserted, first.inserted < rows) == (lines, True)
    [again] = load(path, engine=desk.engine)
    assert (again.inserted, again.unchanged) == (0, first.inserted)
    desk.run("DELETE FROM surveillance_measures WHERE id = (SELECT min(id) FROM surveillance_measures)")
    desk.run("UPDATE surveillance_measures SET reason = 'x' WHERE id = (SELECT max(id) FROM surveillance_measures)")
    [mended] = load(path, engine=desk.engine)
    assert_adds_up(mended)
    assert (mended.inserted, mended.updated) == (1, 1)
    assert desk.ask("SELECT count(*) FROM surveillance_measures") == [(rows,)]


CANDLES = '{{"status":"success","data":{{"candles":[["2025-01-16T00:00:00+05:30",100,110,90,{},500,0]]}}}}'


def test_upstox_fills_gaps_and_never_overwrites_the_exchange(desk: Desk) -> None:
    assert desk.load("candles_A.json", CANDLES.format(99.5)).inserted == 1
    assert desk.load("candles_A.json", CANDLES.format(98.5)).updated == 1
    assert desk.bars(bar("A")).updated == 1
    result = desk.load("candles_A.json", CANDLES.format(98.5))
    assert (counts(result), result.reasons) == ((1, 0, 0, 0, 0, 1), {"exchange_price_kept": 1})
    assert desk.ask("SELECT close::int FROM ohlcv_daily") == [(101,)]


def test_a_quote_gives_circuits_to_the_exchanges_bar(desk: Desk, shared: Path) -> None:
    quote = (shared / "upstox/upstox_full_market_quote_doc.json").read_text()
    assert desk.load("quotes.json", quote).inserted == 1
    desk.load("sec_bhavdata_full_19102023.csv", BHAVCOPY + bar("NHPC", "19-Oct-2023"))
    assert desk.load("quotes.json", quote).unchanged == 1
    desk.run("UPDATE ohlcv_daily SET upper_circuit = NULL")
    assert desk.load("quotes.json", quote).updated == 1
    assert desk.ask("SELECT close::text, upper_circuit::text, lower_circuit::text FROM ohlcv_daily") == [
        ("101.00", "63.70", "42.50")
    ]


def test_only_days_on_which_nse_is_shut_are_holidays(desk: Desk, shared: Path) -> None:
    [result] = load(shared / "upstox/upstox_market_holidays_doc.json", engine=desk.engine)
    assert (result.inserted, result.reasons) == (1, {"exchange_open": 2})
    assert desk.ask("SELECT holiday_date::text, holiday_name, exchange FROM market_holidays") == [
        ("2024-01-26", "Republic Day", "NSE")
    ]


def test_an_index_is_registered_and_has_no_volume(desk: Desk) -> None:
    close = (
        "Index Name,Index Date,Open Index Value,High Index Value,Low Index Value,Closing Index Value,Points Change,"
        "Change(%),Volume,Turnover (Rs. Cr.),P/E,P/B,Div Yield\n"
        "Nifty 50,02-09-2024,25333.6,25333.65,25235.5,25278.7,42.8,.17,222815249,28187.71,23.51,4.27,1.21\n"
        "Nifty GS 10Yr,02-09-2024,-,-,-,2400.11,.5,.02,-,-,-,-,-\n"
    )
    result = desk.load("ind_close_all_02092024.csv", close)
    assert (result.inserted, result.reasons) == (1, {"no_prices": 1})
    assert desk.ask("SELECT index_name, symbol, exchange FROM indices") == [("Nifty 50", "NIFTY 50", "NSE_INDEX")]
    assert desk.ask("SELECT symbol, close::text, prev_close::text, change_pct::text, volume FROM ohlcv_daily") == [
        ("NIFTY 50", "25278.70", "25235.90", "0.1696", None)
    ]
    assert desk.load("ind_close_all_02092024.csv", close.replace("Nifty 50", "NIFTY 50")).unchanged == 1


def test_a_reader_never_sees_half_a_file(desk: Desk) -> None:
    with desk.engine.connect() as reader:
        reader.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        assert reader.execute(text("SELECT count(*) FROM ohlcv_daily")).scalar() == 0
        desk.bars(bar("A"), bar("B"))
        assert reader.execute(text("SELECT count(*) FROM ohlcv_daily")).scalar() == 0


def test_a_lost_connection_is_a_failure_with_its_audit_row(desk: Desk) -> None:
    desk.run(
        "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
    )
    desk.run("CREATE TRIGGER hang_up BEFORE INSERT ON ohlcv_daily FOR EACH ROW EXECUTE FUNCTION hang_up()")
    result = desk.bars(bar("A"))
    assert (result.status, counts(result)) == ("failure", (1, 0, 0, 0, 0, 1))
    assert result.log_id is not None
    with pytest.raises(DBAPIError):
        desk.run(
            "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close) VALUES ('A', '2025-01-01', 1, 1, 1, 1)"
        )
