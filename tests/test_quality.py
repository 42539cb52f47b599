"""Every check of what is stored finds the fault that is planted for it, and nothing where all is well."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine, text

import screener_data as sd
from screener_data import quality

TODAY = dt.datetime.now(dt.timezone(dt.timedelta(hours=5, minutes=30))).date()

#: What is right to find in the sample market: the dirt that it holds on purpose.
EXPECTED = {
    "rejects_waiting": {
        "nse_bulk_deals: bad_number × 1",
        "nse_corporate_actions: unknown_purpose × 1",
        "nse_market_cap: unknown_symbol × 1",
        "nse_surveillance: unknown_code × 1",
    }
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
        engine.dispose()  # nobody may be connected to what is cloned
        yield engine.url


@pytest.fixture
def clean(servers: dict[str, URL], june: URL) -> Iterator[Engine]:
    with database(servers["embedded"], june) as engine:
        yield engine


def plant(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        assert connection.execute(text(statement)).rowcount, "the planting touched no row"


def found(engine: Engine, name: str) -> quality.Finding:
    return next(finding for finding in sd.check(engine=engine) if finding.name == name)


def test_every_check_has_a_planting(clean: Engine) -> None:
    names = [finding.name for finding in sd.check(engine=clean)]
    assert len(names) == len(set(names))
    assert set(names) == set(FAULTS)
    assert {check.name for check in quality.CHECKS} < set(names)


def test_a_clean_market_has_only_its_own_dirt(clean: Engine) -> None:
    findings = sd.check(engine=clean)
    assert {finding.name: set(finding.examples) for finding in findings if finding.count} == EXPECTED
    assert not any(finding.failed for finding in findings)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_named(clean: Engine, name: str) -> None:
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
def test_lost_rows_are_counted(clean: Engine, name: str) -> None:
    plant(clean, FAULTS[name][0])
    loaded, stored = map(int, re.findall(r"\d+", found(clean, name).examples[0]))
    assert loaded - stored >= 1
    with clean.connect() as connection:
        rows = "DISTINCT (date, symbol)" if "surveillance" in name else "*"
        table = name.removeprefix("rows_lost_")
        assert stored == connection.execute(text(f"SELECT count({rows}) FROM {table}")).scalar_one()


@pytest.mark.parametrize(("name", "statement"), NO_FAULTS)
def test_what_is_no_fault_is_not_found(clean: Engine, name: str, statement: str) -> None:
    plant(clean, statement)
    assert found(clean, name).count == 0


def test_five_examples_the_newest_first(clean: Engine) -> None:
    plant(clean, "UPDATE ohlcv_daily SET open = 0, low = 0 WHERE symbol IN ('NA', 'NAN')")
    finding = found(clean, "bars_out_of_range")
    assert finding.count > 40
    assert finding.examples == [
        *("NA 2025-06-30", "NAN 2025-06-30", "NA 2025-06-27", "NAN 2025-06-27", "NA 2025-06-26"),
    ]


def test_an_empty_database_is_all_well(engine: Engine) -> None:
    assert [finding.name for finding in sd.check() if finding.count] == []
    assert [finding.count for finding in sd.check(engine=engine)] == [0] * len(FAULTS)


def test_frame_shows_each_finding_in_a_row(clean: Engine) -> None:
    findings = sd.check(engine=clean)
    table = quality.frame(findings)
    assert list(table.index) == [finding.name for finding in findings]
    assert list(table) == ["severity", "count", "detail", "examples", "todo"]
    assert set(table.loc["rejects_waiting", "examples"].split("; ")) == EXPECTED["rejects_waiting"]
    assert list(quality.frame([])) == list(table)


def test_a_jump_after_a_pause_says_so(clean: Engine) -> None:
    plant(
        clean, f"DELETE FROM ohlcv_daily WHERE symbol = 'NA' AND date BETWEEN '2025-06-10' AND '2025-06-27'; {fallen()}"
    )
    assert re.fullmatch(r"NA 2025-06-30: .* → .*, after 21 days", found(clean, "jumps_without_action").examples[0])


def test_rights_without_a_face_value_want_one(clean: Engine) -> None:
    plant(clean, f"{action('rights')}; UPDATE securities SET face_value = NULL WHERE symbol = 'NA'")
    assert found(clean, "actions_without_factor").examples == ["NA 2025-06-27: rights"]
