"""Every check of what is stored finds the fault that is planted for it, and nothing where all is well."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import URL, Connection, Engine, create_engine, text

import screener_data as sd
from screener_data import quality
from screener_data.errors import UsageError

TODAY = dt.datetime.now(dt.timezone(dt.timedelta(hours=5, minutes=30))).date()

#: What is right to find in the sample market: the dirt that it holds on purpose.
EXPECTED = {
    "orphan_deals": {"GHOSTCO (1 deals)"},
    "securities_without_bars": {"SMENEVER, listed 2022-03-12"},
    "rejects_waiting": {
        "nse_bulk_deals: bad_number × 1",
        "nse_corporate_actions: unknown_purpose × 1",
        "nse_market_cap: unknown_symbol × 1",
        "nse_surveillance: unknown_code × 1",
    },
}


def thinned(by: int) -> str:
    """Take some of a day's 33 securities away."""
    some = "SELECT o.id FROM ohlcv_daily o JOIN securities USING (symbol) WHERE date = '2025-06-27' ORDER BY symbol"
    return f"DELETE FROM ohlcv_daily WHERE id IN ({some} LIMIT {by})"


def action(kind: str, day: str = "2025-06-27", symbol: str = "NA", factors: str = "NULL, NULL") -> str:
    """Plant a corporate action; a bonus and a split are one of 1:1."""
    shares = "1, 2" if kind in ("bonus", "split", "rights") else "1, 1"
    return (
        "INSERT INTO corporate_actions (symbol, ex_date, kind, shares_before, shares_after, premium, purpose, "
        f"price_factor, volume_factor) VALUES ('{symbol}', '{day}', '{kind}', {shares}, 1, 'planted', {factors})"
    )


def fallen(symbol: str = "NA", to: str = "0.5") -> str:
    """Let a symbol's last bar be a part of what it was."""
    prices = ", ".join(f"{name} = {name} * {to}" for name in ("open", "high", "low", "close"))
    return f"UPDATE ohlcv_daily SET {prices} WHERE symbol = '{symbol}' AND date = '2025-06-30'"


def changed(what: str, symbol: str = "NA", day: str = "2025-06-30", table: str = "ohlcv_daily") -> str:
    """Change one row of a day."""
    return f"UPDATE {table} SET {what} WHERE symbol = '{symbol}' AND date = '{day}'"


def copied(to: str, condition: str) -> str:
    """Copy bars to another name."""
    names = "open, high, low, close, volume, vwap, prev_close, change_pct"
    bars = f"SELECT '{to}', date, {names} FROM ohlcv_daily WHERE {condition}"
    return f"INSERT INTO ohlcv_daily (symbol, date, {names}) {bars}"


def deal(values: str, table: str = "bulk_deals") -> str:
    """Plant a deal: symbol, date, side, quantity, price."""
    return f"INSERT INTO {table} (client_name, symbol, date, deal_type, quantity, price) VALUES ('A CLIENT', {values})"


_AS_BEFORE = (
    "UPDATE ohlcv_daily o SET (open, high, low, close, volume) = (b.open, b.high, b.low, b.close, b.volume) "
    "FROM ohlcv_daily b WHERE b.symbol = o.symbol AND b.date = '2025-06-27' AND o.date = '2025-06-30'"
)
_FORGET = "DELETE FROM ohlcv_daily WHERE date = '2025-06-18'"
_NEWNAME = "symbol = 'NEWNAME' AND date = '2025-06-30'"
_OTHER_OLDNAME = (
    "INSERT INTO securities (symbol, isin, security_name, security_type) "
    "VALUES ('OLDNAME', 'INEZ09901010', 'Another', 'EQUITY')"
)
_SOLD = "'NA', '2025-06-30', 'SELL', 152527, 181"
_BLOCK = deal("'NA', '2025-06-30', 'BUY', 152527, 181")
_TO_UPSTOX = "prev_close = NULL, change_pct = NULL"

#: For each check a fault, and what names it among the examples (a pattern).
FAULTS = {
    # the table refuses a close above the high, but not a price of zero
    "bars_out_of_range": (
        "UPDATE ohlcv_daily SET open = 0, low = 0 WHERE symbol = 'NA' AND date = '2025-06-30'",
        "NA 2025-06-30",
    ),
    "bars_in_the_future": (
        f"UPDATE ohlcv_daily SET date = '{TODAY}'::date + 2 WHERE symbol = 'NA' AND date = '2025-06-30'",
        f"NA {TODAY + dt.timedelta(2)}",
    ),
    "bars_with_odd_numbers": (changed("volume = -5"), "NA 2025-06-30"),
    "average_out_of_range": (changed("vwap = high + 0.02"), r"NA 2025-06-30: 182\.47 of [\d.]+ to 182\.45"),
    "change_differs": (changed("change_pct = change_pct + 0.001"), r"NA 2025-06-30: [\d.]+ %"),
    "bars_outside_circuits": (changed("upper_circuit = high - 0.05"), "NA 2025-06-30"),
    "bars_without_trades": (
        changed("volume = 0, low = 180, open = 180, high = 180, close = 180"),
        "NA 2025-06-30, flat",
    ),
    "previous_close_differs": (
        "DELETE FROM ohlcv_daily WHERE symbol = 'NA' AND date = '2025-06-27'",
        r"NA 2025-06-30: 179\.40, and 182\.30 on 2025-06-26",
    ),
    "bars_repeated": (f"{_AS_BEFORE} AND o.symbol = 'NA'", "NA 2025-06-30"),
    "moves_beyond_bands": (changed("high = 1.25 * prev_close"), r"NA 2025-06-30: 179\.40 → 224\.25"),
    "sources_disagree": (
        changed(f"{_TO_UPSTOX}, close = 178.4", day="2025-06-27"),
        r"NA 2025-06-30: 179\.40, Upstox 178\.40 on 2025-06-27",
    ),
    "bars_of_upstox_alone": (changed(_TO_UPSTOX), "NA 2025-06-30"),
    "indices_jump": (changed("close = 0.75 * close, low = 0.7 * low", "NIFTY 50"), "NIFTY 50 2025-06-30: .* → .*"),
    "bars_too_old": (changed("date = '1990-01-02'"), "NA 1990-01-02"),
    "bars_on_weekends": (changed("date = '2025-06-29'"), "2025-06-29, 1 bars"),
    "days_repeated": (_AS_BEFORE, r"2025-06-30: 3\d of 3\d bars"),
    "sessions_missing": (_FORGET, "2025-06-18"),
    "sessions_skipped": (_FORGET, r"2025-06-17 to 2025-06-19: 3\d bars"),
    "holidays_unknown": ("DELETE FROM market_holidays WHERE extract(year FROM holiday_date) = 2025", "2025"),
    "orphan_deals": (deal("'NOBODY', '2025-06-30', 'BUY', 10, 10", "block_deals"), r"NOBODY \(1 deals\)"),
    "orphan_measures": (
        "INSERT INTO surveillance_measures (date, symbol, measure_type) VALUES ('2025-06-30', 'NOBODY', 'IRP')",
        r"NOBODY \(1 measures\)",
    ),
    "odd_symbols": ("UPDATE ohlcv_daily SET symbol = '~12' WHERE symbol = 'NA'", "~12"),
    "odd_isins": ("UPDATE securities SET isin = 'INEZ00601018' WHERE symbol = 'BONUSCO'", "BONUSCO: INEZ00601018"),
    "odd_securities": ("UPDATE securities SET face_value = 0 WHERE symbol = 'NA'", "NA"),
    "activity_differs": ("UPDATE securities SET is_active = false WHERE symbol = 'NA'", "NA: on a list, not active"),
    "bars_under_former_names": (
        copied("OLDNAME", "symbol = 'NEWNAME' AND date = '2025-06-30'"),
        "OLDNAME and NEWNAME 2025-06-30",
    ),
    "names_outlived": (
        "UPDATE ohlcv_daily SET symbol = 'OLDNAME' WHERE symbol = 'NEWNAME' AND date = '2025-06-30'",
        r"OLDNAME \(now NEWNAME\), 2025-06-30",
    ),
    "twins": (copied("TWIN", "symbol = 'NA' AND date >= '2025-06-24'"), "NA and TWIN, 5 days"),
    "stale_symbols": (
        "DELETE FROM ohlcv_daily WHERE symbol = 'NA' AND date >= '2025-06-17'",
        "NA: last 2025-06-16, 10 sessions ago",
    ),
    "securities_without_bars": ("DELETE FROM ohlcv_daily WHERE symbol = 'NA'", r"NA, listed \d{4}-\d\d-\d\d"),
    "bars_before_listing": (
        "UPDATE securities SET listing_date = '2025-06-03' WHERE symbol = 'NA'",
        "NA: listed 2025-06-03, bars since 2025-06-02",
    ),
    "audit_disagrees": (
        "UPDATE ingestion_logs SET records_inserted = records_inserted + 1 WHERE source = 'nse_sme'",
        r"log \d+ nse_sme",
    ),
    "quarantine_disagrees": ("DELETE FROM rejects WHERE source = 'nse_surveillance'", r".*REG1_IND.*: 1 rejected"),
    "loads_failed": (
        "INSERT INTO load_files (source, file, state, error) VALUES ('nse_sme', 'torn.csv', 'failure', 'cut short')",
        "torn.csv: cut short",
    ),
    "rejects_waiting": (
        "INSERT INTO rejects (load_id, source, file, sha256, line, reason, raw) "
        "SELECT max(id), 'nse_sme', 'x.csv', 'x', 2, 'bad_date', 'x' FROM load_files",
        "nse_sme: bad_date × 1",
    ),
    "bars_on_holidays": (
        "INSERT INTO market_holidays (holiday_date, holiday_name) VALUES ('2025-06-30', 'Planted Day')",
        r"2025-06-30 Planted Day, \d+ bars",
    ),
    "thin_sessions": (
        thinned(20),
        r"2025-06-27: 1\d of 3\d",
    ),
    "orphan_symbols": ("UPDATE ohlcv_daily SET symbol = 'NOBODY' WHERE symbol = 'NA'", r"NOBODY \(2\d bars\)"),
    "maybe_one_security": (
        "UPDATE listings SET valid_from = '2025-06-30', isin = (SELECT left(isin, 7) || 'Z0101' FROM listings "
        "WHERE symbol = 'GONECO') WHERE symbol = 'NAN'",
        "GONECO up to 2025-06-30, NAN from 2025-06-30",
    ),
    "jumps_without_action": (fallen(), r"NA 2025-06-30: [\d.]+ → [\d.]+"),
    "actions_without_jump": (action("bonus"), r"NA 2025-06-27: factor 0\.5000, [\d.]+ → [\d.]+"),
    "actions_without_factor": (action("demerger"), "NA 2025-06-27: demerger"),
    "market_cap_differs": (
        "UPDATE market_cap_history SET market_cap = market_cap * 1.02 WHERE symbol = 'NA'",
        r"NA 2025-06-30: [\d.]+ crore",
    ),
    "market_cap_in_other_units": (
        changed("market_cap = market_cap * 10000000", table="market_cap_history"),
        r"NA 2025-06-30: 31421300000\.00 crore, not 3142\.\d+",
    ),
    "market_cap_out_of_range": (changed("issue_size = 0", table="market_cap_history"), "NA 2025-06-30"),
    "volume_beyond_issue": (changed("volume = 172502385"), "NA 2025-06-30: 172502385 of 172502384"),
    "metrics_out_of_range": (changed("stage = 5", table="calculated_metrics"), "NA 2025-06-30"),
    "metrics_differ": (changed("ma_10 = ma_10 + 0.01", table="calculated_metrics"), "NA 2025-06-30"),
    "metrics_missing": ("DELETE FROM calculated_metrics WHERE symbol = 'NA' AND date = '2025-06-27'", "NA 2025-06-27"),
    "metrics_without_bars": (
        "INSERT INTO calculated_metrics (symbol, date) VALUES ('NA', '2025-06-28')",
        "NA 2025-06-28",
    ),
    "metrics_behind": ("DELETE FROM calculated_metrics WHERE date = '2025-06-30'", "2025-06-30"),
    "benchmark_missing": (
        "DELETE FROM ohlcv_daily WHERE symbol = 'NIFTY 50' AND date = '2025-06-18'",
        "2025-06-18 NIFTY 50",
    ),
    "deals_out_of_range": (deal("'NA', '2025-06-30', 'BUY', 10, 0"), "bulk NA 2025-06-30"),
    "deals_beyond_volume": (
        deal("'NA', '2025-06-30', 'SELL', 152527, 181"),
        "NA 2025-06-30: SELL 152527 of 152526",
    ),
    "deals_off_the_price": (
        deal("'NA', '2025-06-30', 'SELL', 10, 1810", "block_deals"),
        r"block NA 2025-06-30: 1810\.00 of 179\.15 to 182\.45",
    ),
    "deals_on_no_session": (deal("'NA', '2025-06-29', 'SELL', 10, 181"), "2025-06-29, 1 deals"),
    "deals_repeated": (
        "INSERT INTO bulk_deals (date, symbol, client_name, deal_type, quantity, price) SELECT date, symbol, "
        "client_name, deal_type, quantity, price FROM bulk_deals WHERE date = '2025-06-23'",
        r"bulk 2025-06-23, \d+ deals",
    ),
    "events_in_the_future": (
        deal(f"'NA', '{TODAY + dt.timedelta(2)}', 'BUY', 10, 181"),
        f"bulk_deals {TODAY + dt.timedelta(2)}, 1 rows",
    ),
    "measures_repeated": (
        "INSERT INTO surveillance_measures (date, symbol, measure_type) SELECT date, symbol, measure_type "
        "FROM surveillance_measures WHERE symbol = 'KESTRIFIN'",
        "KESTRIFIN 2025-05-30: GSM Stage 0",
    ),
    "actions_far_ahead": (action("bonus", f"{TODAY.year + 2}-01-31"), f"NA {TODAY.year + 2}-01-31: bonus"),
    "loads_unfinished": (
        "INSERT INTO load_files (source, file, started_at) VALUES ('nse_sme', 'x.csv', now() - interval '25 hours')",
        "x.csv, since .*",
    ),
    "loads_cut_short": (
        "INSERT INTO load_files (source, format, file, state, read, skipped, first_day, last_day) VALUES "
        "('nse_bhavcopy', 'bhavcopy_full', 'x.csv', 'success', 17, 17, '2025-07-01', '2025-07-01')",
        r"x\.csv: 17 of 3\d rows",
    ),
    "prices_late": ("DELETE FROM ohlcv_daily WHERE date = '2025-06-30'", r"\d{4}-\d\d-\d\d"),
    "sources_late": ("UPDATE bulk_deals SET date = date - 12", r"bulk deals: last 2025-06-\d\d, \d+ sessions behind"),
    **{
        f"rows_lost_{table}": (
            f"DELETE FROM {table} WHERE ctid = (SELECT max(ctid) FROM {table})",
            r"(\d+) were inserted, (\d+) are there",
        )
        for table in (
            *("symbol_changes", "name_changes", "securities", "market_holidays", "ohlcv_daily", "market_cap_history"),
            *("industry_classification", "bulk_deals", "block_deals", "corporate_actions"),
        )
    },
    "rows_lost_surveillance_measures": (  # a line of the file is counted once, however many measures it makes
        "DELETE FROM surveillance_measures WHERE symbol = (SELECT max(symbol) FROM surveillance_measures)",
        r"(\d+) were inserted, (\d+) are there",
    ),
}

#: What comes near a fault and is none.
NO_FAULTS = [
    (
        "bars_in_the_future",
        f"UPDATE ohlcv_daily SET date = '{TODAY}' WHERE symbol = 'NA' AND date = '2025-06-30'",
    ),
    (
        "bars_out_of_range",
        "UPDATE ohlcv_daily SET open = low, high = low, close = low WHERE symbol = 'NA'",
    ),
    ("bars_with_odd_numbers", changed("volume = 0, change_pct = -100, lower_circuit = 1, upper_circuit = 1")),
    ("bars_with_odd_numbers", changed("volume = NULL, vwap = NULL, prev_close = NULL, change_pct = NULL")),
    ("average_out_of_range", changed("vwap = high + 0.01")),
    ("change_differs", changed("change_pct = 1, prev_close = NULL")),
    (
        "bars_outside_circuits",
        changed("upper_circuit = high, lower_circuit = low, week_52_high = high, week_52_low = low"),
    ),
    ("bars_without_trades", "UPDATE ohlcv_daily SET volume = 0 WHERE symbol = 'NIFTY 50'"),
    ("previous_close_differs", _FORGET),  # a day lacks, not a bar
    ("previous_close_differs", "DELETE FROM ohlcv_daily WHERE symbol = 'NA' AND date < '2025-06-20'"),
    ("bars_repeated", f"{_AS_BEFORE} AND o.symbol = 'NA'; {changed('volume = volume + 1')}"),
    ("moves_beyond_bands", changed("high = 1.2 * prev_close")),
    ("moves_beyond_bands", f"{action('demerger', '2025-06-28')}; {changed('high = 1.25 * prev_close')}"),
    ("moves_beyond_bands", changed("prev_close = 1, open = 2, close = 2, low = 1, high = 2")),
    ("sources_disagree", changed(_TO_UPSTOX, day="2025-06-27")),
    (
        "bars_of_upstox_alone",
        f"UPDATE load_files SET state = 'failure' WHERE last_day = '2025-06-30'; {changed(_TO_UPSTOX)}",
    ),
    ("indices_jump", changed("close = 1.19 * close, high = 1.2 * high", "NIFTY 50")),
    ("indices_jump", "UPDATE ohlcv_daily SET close = 0.7 * close, low = 0.6 * low WHERE symbol = 'NIFTY 50'"),
    ("bars_on_weekends", changed("date = '2025-02-01'")),  # the Union Budget
    (
        "bars_on_holidays",
        "INSERT INTO market_holidays (holiday_date) VALUES ('2024-11-01'); "
        + changed("date = '2024-11-01'"),  # Muhurat
    ),
    ("days_repeated", f"{_AS_BEFORE} AND o.symbol < 'K'"),
    ("sessions_missing", f"{_FORGET}; INSERT INTO market_holidays (holiday_date) VALUES ('2025-06-18')"),
    ("sessions_skipped", "DELETE FROM ohlcv_daily WHERE date = '2025-06-18' AND symbol < 'M'"),
    ("bars_under_former_names", f"{_OTHER_OLDNAME}; {copied('OLDNAME', _NEWNAME)}"),  # it is another security now
    ("twins", copied("TWIN", "symbol = 'NA' AND date >= '2025-06-25'")),
    ("stale_symbols", "DELETE FROM ohlcv_daily WHERE symbol = 'NA' AND date >= '2025-06-18'"),
    ("stale_symbols", "DELETE FROM ohlcv_daily WHERE symbol = 'NA' AND date > '2025-06-02' AND date <> '2025-06-12'"),
    ("bars_before_listing", "UPDATE securities SET listing_date = '2025-06-02' WHERE symbol = 'NA'"),
    ("market_cap_in_other_units", "UPDATE market_cap_history SET close_price = close_price * 1.5"),
    ("volume_beyond_issue", changed("volume = 172502384")),
    ("metrics_differ", f"{action('bonus', '2025-06-20')}; {changed('ma_10 = 1', table='calculated_metrics')}"),
    ("metrics_missing", "DELETE FROM calculated_metrics WHERE date = '2025-06-30'"),  # behind, not missing
    ("metrics_behind", "DELETE FROM calculated_metrics"),  # never computed
    ("benchmark_missing", "DELETE FROM ohlcv_daily WHERE symbol = 'NIFTY BANK'"),
    ("deals_beyond_volume", f"{_BLOCK}; {deal(_SOLD)}"),  # what two sides agreed on
    ("deals_off_the_price", deal("'NA', '2025-06-30', 'SELL', 10, 215")),
    ("deals_on_no_session", deal("'NA', '2025-05-31', 'SELL', 10, 181")),  # before the first bar
    ("deals_repeated", "; ".join([deal("'NA', '2025-06-23', 'SELL', 5, 181")] * 2)),
    ("actions_far_ahead", action("bonus", f"{TODAY + dt.timedelta(300)}")),
    ("loads_unfinished", "INSERT INTO load_files (source, file) VALUES ('nse_sme', 'x.csv')"),
    ("market_cap_differs", "UPDATE market_cap_history SET market_cap = market_cap * 1.005 WHERE symbol = 'NA'"),
    ("market_cap_differs", "UPDATE market_cap_history SET issue_size = NULL WHERE symbol = 'NA'"),
    ("thin_sessions", "DELETE FROM ohlcv_daily WHERE date = '2025-06-27' AND symbol LIKE 'NIFTY%'"),
    ("thin_sessions", thinned(14)),
    (
        "loads_failed",  # loaded well since
        "INSERT INTO load_files (source, file, state) VALUES ('nse_sme', 'x', 'failure'), ('nse_sme', 'x', 'success')",
    ),
    ("orphan_symbols", "UPDATE securities SET is_active = false"),
    ("jumps_without_action", fallen(to="0.65")),
    ("jumps_without_action", fallen(to="1.55")),
    ("jumps_without_action", fallen("NIFTY 50")),
    ("jumps_without_action", f"{fallen()}; UPDATE ohlcv_daily SET symbol = 'NA-RE1' WHERE symbol = 'NA'"),
    ("jumps_without_action", f"{action('demerger', '2025-06-28')}; {fallen()}"),  # a Saturday
    ("actions_without_jump", f"{action('bonus', '2025-06-30')}; {fallen()}"),
    ("actions_without_jump", f"{action('split', '2025-06-28')}; {fallen()}"),
    ("actions_without_jump", f"{action('bonus')}; {action('manual', factors='1, 1')}"),
    ("actions_without_jump", action("bonus", "2025-07-15")),  # not yet
    ("actions_without_jump", action("manual", factors="0.85, 1")),  # too little to be told from a usual day
    ("actions_without_factor", f"{action('scheme')}; {action('manual', factors='0.9, 1')}"),
    ("actions_without_factor", action("demerger", "2024-01-01")),  # no bar before it
    ("actions_without_factor", action("rights")),  # the list knows the face value
    ("rejects_waiting", "UPDATE rejects SET waiting = false"),
    (
        "rows_lost_ohlcv_daily",
        "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close) VALUES ('X', '2025-06-29', 1, 1, 1, 1)",
    ),
]


@contextmanager
def database(server: URL, template: URL) -> Iterator[Engine]:
    name = f"quality_{uuid.uuid4().hex[:8]}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    engine = create_engine(server.set(database=name))
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template.database}"))
        try:
            yield engine
        finally:
            engine.dispose()
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(scope="module")
def june(servers: dict[str, URL], templates: dict[str, URL], market: Path) -> Iterator[URL]:
    """A month of the sample market, all families of files, to be cloned."""
    paths = [market / name for name in ("lists", "symbol_changes", "holidays", "industry", "deals", "surveillance")]
    paths.append(market / "corporate_actions")
    paths += [market / "market_cap" / "PR300625.zip", *sorted((market / "bhavcopy").glob("*/*062025.csv"))]
    paths += [*sorted((market / "bhavcopy").glob("udiff/*")), *sorted((market / "indices").glob("*062025.csv"))]
    with database(servers["embedded"], templates["embedded"]) as engine:
        results = sd.load(paths, engine=engine)
        assert not [result.error for result in results if result.error]
        sd.calculate(engine=engine)
        yield engine.url


@pytest.fixture(scope="module")
def engine_of_june(june: URL) -> Iterator[Engine]:
    engine = create_engine(june, isolation_level="REPEATABLE READ")
    yield engine
    engine.dispose()


@pytest.fixture
def clean(engine_of_june: Engine) -> Iterator[Connection]:
    """The market as it was loaded; what a test plants in it is rolled back."""
    with engine_of_june.connect() as connection:
        yield connection


def plant(connection: Connection, statement: str) -> None:
    assert connection.execute(text(statement)).rowcount, "the planting touched no row"


def found(connection: Connection, name: str) -> quality.Finding:
    [finding] = quality.find(connection, [name])
    return finding


def test_every_check_has_a_planting(clean: Connection) -> None:
    names = [finding.name for finding in quality.find(clean)]
    assert len(names) == len(set(names))
    assert set(names) == set(FAULTS)
    assert [check.name for check in quality.CHECKS] == names


def test_a_clean_market_has_only_its_own_dirt(clean: Connection) -> None:
    findings = quality.find(clean)
    late = next(finding for finding in findings if finding.name == "prices_late")  # it ended in June 2025
    assert late.examples[0] <= str(TODAY - dt.timedelta(1))
    assert late.count > 300
    found = {finding.name: set(finding.examples) for finding in findings if finding.count and finding is not late}
    assert found == EXPECTED
    assert not any(finding.failed for finding in findings)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_named(clean: Connection, name: str) -> None:
    statement, example = FAULTS[name]
    before = found(clean, name)
    plant(clean, statement)
    after = found(clean, name)
    assert after.count > before.count
    assert any(re.fullmatch(example, each) for each in after.examples), after.examples
    assert after.failed == (after.severity == "error")
    assert after.todo
    assert after.detail


@pytest.mark.parametrize("name", [name for name in FAULTS if name.startswith("rows_lost")])
def test_lost_rows_are_counted(clean: Connection, name: str) -> None:
    plant(clean, FAULTS[name][0])
    loaded, stored = map(int, re.findall(r"\d+", found(clean, name).examples[0]))
    assert loaded - stored >= 1
    rows = "DISTINCT (date, symbol)" if "surveillance" in name else "*"
    table = name.removeprefix("rows_lost_")
    assert stored == clean.execute(text(f"SELECT count({rows}) FROM {table}")).scalar_one()


@pytest.mark.parametrize(("name", "statement"), NO_FAULTS)
def test_what_is_no_fault_is_not_found(clean: Connection, name: str, statement: str) -> None:
    plant(clean, statement)
    assert found(clean, name).count == 0


def test_five_examples_the_newest_first(clean: Connection) -> None:
    plant(clean, "UPDATE ohlcv_daily SET open = 0, low = 0 WHERE symbol IN ('NA', 'NAN')")
    finding = found(clean, "bars_out_of_range")
    assert finding.count > 40
    assert finding.examples == [
        *("NA 2025-06-30", "NAN 2025-06-30", "NA 2025-06-27", "NAN 2025-06-27", "NA 2025-06-26"),
    ]


def test_an_empty_database_is_all_well(engine: Engine) -> None:
    assert [finding.name for finding in sd.check() if finding.count] == []
    assert [finding.count for finding in sd.check(engine=engine)] == [0] * len(FAULTS)


def test_a_run_is_compared_with_the_last_one(engine: Engine) -> None:
    fault = "INSERT INTO load_files (source, file, state) VALUES ('nse_sme', '{}', 'failure')"
    assert {finding.before for finding in sd.check(engine=engine)} == {None}
    for count, file in enumerate(["a.csv", "b.csv"], 1):
        with engine.begin() as connection:
            plant(connection, fault.format(file))
        failed = next(finding for finding in sd.check(engine=engine) if finding.name == "loads_failed")
        assert (failed.before, failed.count, failed.change) == (count - 1, count, 1)
    table = quality.trend(engine=engine)
    assert table["loads_failed"].tolist() == [0, 1, 2]
    assert set(table) == {check.name for check in quality.CHECKS}
    assert abs(table.index[-1] - pd.Timestamp.now("UTC").tz_localize(None)) < pd.Timedelta(minutes=5)
    assert quality.trend(2, engine=engine)["loads_failed"].tolist() == [1, 2]
    assert quality.lines([failed])[0] == "warning: loads_failed: 2 (1 last time, +1) files whose last load failed"
    assert quality.lines([dataclasses.replace(failed, before=2)])[0].startswith(
        "warning: loads_failed: 2 (as last time)"
    )
    with engine.begin() as connection:  # a check that the runs before did not know
        connection.execute(text("DELETE FROM check_findings WHERE name = 'loads_failed' AND count = 2"))
    assert next(each for each in sd.check(engine=engine) if each.name == "loads_failed").before is None
    assert quality.trend(engine=engine)["loads_failed"].fillna(-1).tolist() == [0, 1, -1, 2]


def test_who_can_only_read_gets_a_report_that_is_not_remembered(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    reader = create_engine(engine.url, connect_args={"options": "-c default_transaction_read_only=on"})
    with caplog.at_level("INFO", "screener_data"):
        assert len(sd.check(engine=reader)) == len(quality.CHECKS)
    assert "this run of the checks is not remembered" in caplog.text
    reader.dispose()
    assert quality.trend(engine=engine).empty


def test_the_page_needs_no_network_and_shows_text_as_text(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        plant(
            connection,
            "INSERT INTO load_files (source, file, state, error) "
            "VALUES ('nse_sme', '<b>x.csv</b>', 'failure', 'cut & short')",
        )
    findings = [*sd.check(engine=engine), *sd.check(engine=engine)][-len(quality.CHECKS) :]
    path = quality.write_page(findings, tmp_path / "checks.html", engine=engine)
    shown = path.read_text(encoding="utf-8")
    assert "&lt;b&gt;x.csv&lt;/b&gt;: cut &amp; short" in shown
    assert not re.search(r"https?://|src=|<script|@import|url\(", shown)
    assert quality.verdict(findings) in shown
    assert shown.count("<svg") == 1
    assert "<title>1, 1</title>" in shown
    for finding in findings:
        assert f"<code>{finding.name}</code>" in shown
    with pytest.raises(UsageError, match=r"the page cannot be written to .*: No such file or directory"):
        quality.write_page(findings, tmp_path / "nowhere" / "checks.html", engine=engine)


def test_frame_shows_each_finding_in_a_row(clean: Connection) -> None:
    findings = quality.find(clean)
    table = quality.frame(findings)
    assert list(table.index) == [finding.name for finding in findings]
    assert list(table) == ["severity", "count", "before", "detail", "examples", "todo"]
    assert set(table.loc["rejects_waiting", "examples"].split("; ")) == EXPECTED["rejects_waiting"]
    assert list(quality.frame([])) == list(table)


def test_a_jump_after_a_pause_says_so(clean: Connection) -> None:
    plant(
        clean, f"DELETE FROM ohlcv_daily WHERE symbol = 'NA' AND date BETWEEN '2025-06-10' AND '2025-06-27'; {fallen()}"
    )
    assert re.fullmatch(r"NA 2025-06-30: .* → .*, after 21 days", found(clean, "jumps_without_action").examples[0])


def test_rights_without_a_face_value_want_one(clean: Connection) -> None:
    plant(clean, f"{action('rights')}; UPDATE securities SET face_value = NULL WHERE symbol = 'NA'")
    assert found(clean, "actions_without_factor").examples == ["NA 2025-06-27: rights"]
