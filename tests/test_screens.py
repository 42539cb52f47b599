"""Screens against figures worked out by hand; a screen of a past day knows nothing that came after it."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sqlalchemy import URL, Engine, create_engine, text
from typer.testing import CliRunner

import screener_data as sd
from screener_data.cli import app
from screener_data.errors import UsageError
from screener_data.loaders.surveillance import MEASURES
from screener_data.read import METRIC_COLUMNS
from screener_data.screens import COLUMNS, SCREENS

DAY = "2025-06-30"  # a Monday
DOCS = Path(__file__).parents[1] / "docs" / "screens.md"

#: Two years of flat bars at 100 rupees on weekdays; what differs is changed below. PAST has no bar on DAY, YOUNG a
#: history of a month, SPLIT a split 5 for 1 in January, GONE was delisted after DAY.
PLANT = """
INSERT INTO securities (symbol, isin, security_name, series, listing_date, security_type, is_active) VALUES
    ('CALM', 'INE000A01010', 'Calm Limited', 'EQ', '2025-06-20', 'EQUITY', true),
    ('SPLIT', 'INE000B01018', 'Split Limited', 'EQ', '2001-01-01', 'EQUITY', true),
    ('YOUNG', 'INE000C01016', 'Young Limited', 'SM', NULL, 'EQUITY', true),
    ('GONE', 'INE000D01014', 'Gone Limited', 'BE', '2001-01-01', 'EQUITY', false),
    ('PAST', 'INE000E01012', 'Past Limited', 'EQ', '2001-01-01', 'EQUITY', true),
    ('FUND', 'INF000F01010', 'Fund', 'EQ', '2001-01-01', 'ETF', true);
INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume, vwap, prev_close, change_pct)
    SELECT s, d, 100, 100, 100, 100, 1000, 100, 100, 0
    FROM unnest(ARRAY['CALM', 'SPLIT', 'YOUNG', 'GONE', 'PAST', 'FUND', 'NIFTY 50']) s,
        generate_series(CAST('2023-07-03' AS date), '2025-07-04', '1 day') d
    WHERE extract(isodow FROM d) < 6 AND NOT (s = 'PAST' AND d >= '2025-06-30')
        AND NOT (s = 'YOUNG' AND d < '2025-06-02');
-- CALM: a higher high just outside of the 52 weeks and after the day, the right one just inside
UPDATE ohlcv_daily SET high = 900 WHERE symbol = 'CALM' AND date IN ('2024-07-01', '2025-07-01');
UPDATE ohlcv_daily SET high = 125 WHERE symbol = 'CALM' AND date = '2024-07-02';
UPDATE ohlcv_daily SET low = 80 WHERE symbol = 'CALM' AND date = '2025-06-30';
UPDATE ohlcv_daily SET open = 98, high = 104, close = 100, volume = 5000, vwap = 99.5, prev_close = 96,
    change_pct = 4.1667 WHERE symbol = 'CALM' AND date = '2025-06-30';
-- SPLIT: 400 rupees before the ex-date are 80 of today
UPDATE ohlcv_daily SET open = 400, high = 600, low = 300, close = 400 WHERE symbol = 'SPLIT' AND date < '2025-01-15';
UPDATE ohlcv_daily SET high = 9000 WHERE symbol = 'SPLIT' AND date = '2024-07-01';
INSERT INTO corporate_actions (symbol, ex_date, kind, shares_before, shares_after, purpose) VALUES
    ('SPLIT', '2025-01-15', 'split', 2, 10, 'planted'), ('SPLIT', '2025-07-02', 'bonus', 1, 2, 'later'),
    ('GONE', '2025-03-03', 'bonus', 1, 2, 'first'), ('GONE', '2025-05-05', 'split', 2, 10, 'second');
-- GONE: 700 rupees are 70 after both, 400 are 80 after the second
UPDATE ohlcv_daily SET open = 700, high = 700, low = 700, close = 700 WHERE symbol = 'GONE' AND date < '2025-03-03';
UPDATE ohlcv_daily SET open = 400, high = 400, low = 400, close = 400
    WHERE symbol = 'GONE' AND date >= '2025-03-03' AND date < '2025-05-05';
UPDATE ohlcv_daily SET vwap = NULL WHERE symbol = 'GONE';
INSERT INTO calculated_metrics (symbol, date, rs_rating, stage, ma_10, ma_50, ma_200, vcp_score, vol_vs_avg_pct, atr)
    VALUES ('CALM', '2025-06-30', 50, 2, 99, 98, 97, 70, 400, 1.5),
    ('SPLIT', '2025-06-30', 90, 2, 101, 99, 98, NULL, 0, 1), ('GONE', '2025-06-30', 90, 4, 101, 102, 103, 0, 0, 1),
    ('YOUNG', '2025-06-30', NULL, NULL, 100, NULL, NULL, NULL, NULL, 1),
    ('CALM', '2025-06-27', 10, 1, 90, 90, 90, 10, 10, 10), ('FUND', '2025-06-30', NULL, 2, 1, 1, 1, 1, 1, 1);
INSERT INTO market_cap_history (symbol, date, market_cap) VALUES ('CALM', '2025-06-30', 1200.5),
    ('CALM', '2025-06-27', 1), ('SPLIT', '2025-05-30', 800), ('SPLIT', '2025-04-30', 1),
    ('SPLIT', '2025-07-01', 1), ('GONE', '2025-07-01', 1);
INSERT INTO industry_classification (symbol, macro, sector, industry, basic_industry) VALUES
    ('CALM', 'Energy', 'Power', 'Power', 'Power Generation'), ('SPLIT', 'Energy', NULL, NULL, NULL);
INSERT INTO surveillance_measures (date, symbol, measure_type) VALUES ('2025-06-27', 'SPLIT', 'GSM Stage 0'),
    ('2025-06-27', 'SPLIT', 'Loss Making'), ('2025-06-27', 'GONE', 'ESM Stage 1'),
    ('2025-06-20', 'CALM', 'ESM Stage 1'), ('2025-07-01', 'CALM', 'GSM Stage 1');
-- 20 sessions up to the day begin on 3 June, five on 24 June
INSERT INTO bulk_deals (date, symbol, client_name, deal_type, quantity, price) VALUES
    ('2025-06-02', 'CALM', 'X', 'BUY', 9, 9), ('2025-06-03', 'CALM', 'X', 'BUY', 100, 10.5),
    ('2025-06-23', 'CALM', 'X', 'BUY', 10, 1), ('2025-06-24', 'CALM', 'X', 'SELL', 7, 2),
    ('2025-06-30', 'CALM', 'Y', 'BUY', 1, 1), ('2025-07-01', 'CALM', 'X', 'BUY', 9, 9),
    ('2025-06-30', 'FUND', 'X', 'BUY', 9, 9);
INSERT INTO block_deals (date, symbol, client_name, deal_type, quantity, price) VALUES
    ('2025-06-30', 'SPLIT', 'X', 'SELL', 2, 3);
"""

#: By column the values of CALM, SPLIT, YOUNG, GONE; None is unknown.
EXPECTED: dict[str, tuple[Any, Any, Any, Any]] = {
    "symbol": ("CALM", "SPLIT", "YOUNG", "GONE"),
    "security_name": ("Calm Limited", "Split Limited", "Young Limited", "Gone Limited"),
    "series": ("EQ", "EQ", "SM", "BE"),
    "days_listed": (10, 8946, None, 8946),
    "macro": ("Energy", "Energy", None, None),
    "sector": ("Power", None, None, None),
    "industry": ("Power", None, None, None),
    "basic_industry": ("Power Generation", None, None, None),
    "open": (98, 100, 100, 100),
    "high": (104, 100, 100, 100),
    "low": (80, 100, 100, 100),
    "close": (100, 100, 100, 100),
    "prev_close": (96, 100, 100, 100),
    "change_pct": (4.1667, 0, 0, 0),
    "volume": (5000, 1000, 1000, 1000),
    "vwap": (99.5, 100, 100, None),
    "turnover": (497500, 100000, 100000, None),
    "high_52w": (125, 120, None, 100),
    "low_52w": (80, 60, None, 70),
    "pct_off_high": (20, 100 * (1 - 100 / 120), None, 0),
    "pct_above_low": (25, 100 * (100 / 60 - 1), None, 100 * (100 / 70 - 1)),
    "rs_rating": (50, 90, None, 90),
    "vars_value": (None, None, None, None),
    "atr": (1.5, 1, 1, 1),
    "atr_pct": (None, None, None, None),
    "stage": (2, 2, None, 4),
    "vcp_score": (70, None, None, 0),
    "vol_20d_avg": (None, None, None, None),
    "vol_vs_avg_pct": (400, 0, None, 0),
    "ma_10": (99, 101, 100, 101),
    "ma_20": (None, None, None, None),
    "ma_50": (98, 99, None, 102),
    "ma_200": (97, 98, None, 103),
    "market_cap": (1200.5, 800, None, None),
    "market_cap_age": (0, 31, None, None),
    "bulk_buy_value_20": (1061, 0, 0, 0),
    "bulk_sell_value_20": (14, 0, 0, 0),
    "bulk_deal_count_5": (2, 0, 0, 0),
    "block_buy_value_20": (0, 0, 0, 0),
    "block_sell_value_20": (0, 6, 0, 0),
    "block_deal_count_5": (0, 1, 0, 0),
    "surveillance": (False, True, False, True),
    "surveillance_age": (3, 3, 3, 3),
    "gsm": (False, True, False, False),
    "esm": (False, False, False, True),
    "loss_making": (False, True, False, False),
}


@pytest.fixture(scope="module")
def planted(module_url: URL) -> Iterator[Engine]:
    """The market of PLANT, for reading only."""
    engine = create_engine(module_url)
    with engine.begin() as connection:
        connection.execute(text(PLANT))
    yield engine
    engine.dispose()


def found(engine: Engine, where: str, date: str | None = DAY, **options: Any) -> list[str]:
    return list(sd.screen(where, date, engine=engine, **options)["symbol"])


# --- columns


@pytest.mark.parametrize("name", COLUMNS)
def test_each_column_is_what_it_says(planted: Engine, name: str) -> None:
    table = sd.screen("close > 0", DAY, columns=["symbol", name], engine=planted).set_index("symbol", drop=False)
    expected = EXPECTED.get(name, (False,) * 4)  # flags of measures that nobody is under
    right = pd.Series(expected, dtype={"number": "float64", "text": "str", "flag": "bool"}[COLUMNS[name].kind])
    here = table.loc[list(EXPECTED["symbol"]), name].reset_index(drop=True)
    assert here.dtype == right.dtype
    pd.testing.assert_series_equal(here, right, check_names=False, rtol=1e-12)


def test_the_columns_hold_all_metrics_and_every_measure_once() -> None:
    assert [name for name, column in COLUMNS.items() if column.source == "calculated_metrics"] == list(METRIC_COLUMNS)
    grouped = [measure for column in COLUMNS.values() for measure in column.measures]
    assert sorted(grouped) == sorted(measure for names in MEASURES.values() for measure in names.values())
    assert all(name.isidentifier() and column.meaning for name, column in COLUMNS.items())
    assert not set(COLUMNS) & set(SCREENS)


# --- the answer


def test_the_strongest_come_first_then_by_symbol_and_the_unrated_last(planted: Engine) -> None:
    assert found(planted, "close > 0") == ["GONE", "SPLIT", "CALM", "YOUNG"]


def test_without_columns_those_of_the_condition_are_shown_in_order(planted: Engine) -> None:
    table = sd.screen("not gsm and ma_10 < close and (symbol == 'calm' or ma_10 > 0)", DAY, engine=planted)
    assert list(table) == ["symbol", "security_name", "gsm", "ma_10", "close"]
    assert [str(kind) for kind in table.dtypes] == ["str", "str", "bool", "float64", "float64"]
    assert table.to_numpy().tolist() == [["CALM", "Calm Limited", False, 99.0, 100.0]]
    assert table.attrs == {"date": DAY, "asked": 4}


def test_columns_are_those_asked_for_each_once(planted: Engine) -> None:
    table = sd.screen("stage == 2", DAY, columns=["sector", "close", "sector"], engine=planted)
    assert list(table) == ["symbol", "security_name", "sector", "close"]
    assert list(sd.screen("stage == 2", DAY, columns="atr", engine=planted)) == ["symbol", "security_name", "atr"]


def test_nobody_is_an_answer_with_all_its_columns(planted: Engine) -> None:
    table = sd.screen("close < 0 and gsm and sector == 'x'", DAY, engine=planted)
    assert table.shape == (0, 5)
    assert [str(kind) for kind in table.dtypes] == ["str", "str", "float64", "bool", "str"]


@pytest.mark.parametrize(
    ("where", "right"),
    [
        ("stage == 2 and not surveillance", ["CALM"]),
        ("not sector == 'power'", []),  # nobody's other sector is known
        ("sector in ['POWER', 'Oil']", ["CALM"]),
        ("market_cap > 500 and market_cap_age <= 7", ["CALM"]),
        ("not (rs_rating > 60)", ["CALM"]),
        ("gsm or esm", ["GONE", "SPLIT"]),
        ("bulk_buy_value_20 > bulk_sell_value_20", ["CALM"]),
    ],
)
def test_conditions_meet_the_stored(planted: Engine, where: str, right: list[str]) -> None:
    assert found(planted, where) == right


@pytest.mark.parametrize("symbol", ["CALM", "SPLIT", "YOUNG", "GONE"])
def test_a_year_looked_up_for_one_is_that_looked_through_for_all(planted: Engine, symbol: str) -> None:
    year = [name for name, column in COLUMNS.items() if column.source == "ohlcv_daily, 52 weeks"]
    everyone = sd.screen("pct_off_high >= 0 or close > 0", DAY, columns=year, engine=planted)
    alone = sd.screen(f"symbol == '{symbol}' and (pct_off_high >= 0 or close > 0)", DAY, columns=year, engine=planted)
    assert_frame_equal(alone, everyone[everyone["symbol"] == symbol].reset_index(drop=True))
    assert found(planted, "close < 0 and pct_off_high >= 0") == []


def test_without_a_date_it_is_the_last_session_that_has_metrics(planted: Engine) -> None:
    assert sd.screen("close > 0", engine=planted).attrs["date"] == DAY
    assert found(planted, "stage == 1", dt.date(2025, 6, 27)) == ["CALM"]  # type: ignore[arg-type]


# --- ready screens

READY = {
    "trend_template": ["SPLIT"],
    "club_97": [],
    "stage_2_breakouts": [],
    "vcp_watchlist": [],
    "volume_movers": [],
    "bought_and_strong": [],
}


@pytest.mark.parametrize("name", SCREENS)
def test_each_ready_screen_is_its_condition(planted: Engine, name: str) -> None:
    table = sd.screen(f" {name} ", DAY, engine=planted)
    assert_frame_equal(table, sd.screen(SCREENS[name].where, DAY, engine=planted))
    assert list(table["symbol"]) == READY[name]


@pytest.mark.parametrize(("name", "change", "right"), [
    ("club_97", "UPDATE calculated_metrics SET rs_rating = 97 WHERE symbol = 'GONE'", "GONE"),
    ("stage_2_breakouts", "UPDATE ohlcv_daily SET close = 104 WHERE symbol = 'CALM' AND date = '2025-06-30'; "
     "UPDATE ohlcv_daily SET high = 104 WHERE symbol = 'CALM' AND date < '2025-06-30'", "CALM"),
    ("vcp_watchlist", "UPDATE calculated_metrics SET rs_rating = 70 WHERE symbol = 'CALM'", "CALM"),
    ("volume_movers", "UPDATE ohlcv_daily SET volume = 100000 WHERE symbol = 'CALM' AND date = '2025-06-30'", "CALM"),
    ("bought_and_strong", "UPDATE calculated_metrics SET rs_rating = 80 WHERE symbol = 'CALM'", "CALM"),
])  # fmt: skip
def test_each_ready_screen_finds_what_it_is_for(
    planted: Engine, clone: Callable[[URL], Engine], name: str, change: str, right: str
) -> None:
    planted.dispose()
    engine = clone(planted.url)
    with engine.begin() as connection:
        connection.execute(text(change))
    assert right in found(engine, name)


def test_the_ready_screens_are_listed() -> None:
    listed = sd.screens()
    assert list(listed["name"]) == list(SCREENS) == list(READY)
    assert list(listed) == ["name", "where", "meaning", "source"]
    assert (listed != "").to_numpy().all()


# --- what is refused


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda e: sd.screen("clse > 5", DAY, engine=e), "no column 'clse'; did you mean close"),
        (lambda e: sd.screen("trend_templat", DAY, engine=e), "did you mean trend_template?"),
        (lambda e: sd.screen("surveilance", DAY, engine=e), "did you mean surveillance?"),
        (lambda e: sd.screen("close", DAY, engine=e), "this is a number, not a condition"),
        (lambda e: sd.screen("close > 1; DROP TABLE securities", DAY, engine=e), "cannot be read"),
        (lambda e: sd.screen("close > 1", DAY, columns="closing", engine=e), "no column 'closing'; did you mean"),
        (lambda e: sd.screen("close > 1", "2025-06-29", engine=e), "the nearest sessions: 2025-06-27 and 2025-06-30"),
        (lambda e: sd.screen("close > 1", "2030-01-01", engine=e), "the nearest sessions: 2025-07-04"),
        (lambda e: sd.screen("close > 1", "yesterday", engine=e), "'yesterday' is no day"),
        (lambda e: sd.screen("stage == 2", "2025-06-26", engine=e), "no metrics of 2025-06-26 are stored"),
        (lambda e: sd.screen("not gsm", "2025-06-19", engine=e), "no surveillance list up to 2025-06-19"),
        (lambda e: sd.screen("market_cap > 1", "2025-04-29", engine=e), "no market capitalisation up to 2025-04-29"),
        (lambda e: sd.screen("bulk_deal_count_5 > 1", "2025-05-30", engine=e), "no bulk deals of the 20 sessions"),
        (lambda e: sd.screen("block_deal_count_5 > 1", "2023-07-10", engine=e), "only 6 are stored"),
    ],
)
def test_what_is_asked_wrongly_is_said(planted: Engine, ask: Callable[[Engine], Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        ask(planted)


def test_an_empty_database_says_what_to_do(engine: Engine) -> None:
    with pytest.raises(UsageError, match="no metrics are stored: run `screener-data metrics`, or name a date"):
        sd.screen("close > 1", engine=engine)
    with pytest.raises(UsageError, match="the nearest sessions: none are stored"):
        sd.screen("close > 1", DAY, engine=engine)


def test_industries_must_be_stored(planted: Engine, clone: Callable[[URL], Engine]) -> None:
    planted.dispose()
    engine = clone(planted.url)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM industry_classification"))
    with pytest.raises(UsageError, match="no industries are stored"):
        sd.screen("sector == 'Power'", DAY, engine=engine)


# --- what was known then

SINCE, THEN = dt.date(2025, 3, 3), dt.date(2025, 6, 26)


def _day_of(path: Path) -> dt.date | None:
    """The day in a sample file's name or folder; None for those without."""
    name = f"{path.parent.name}/{path.name}"
    for pattern, spelled in ((r"20\d{6}", "%Y%m%d"), (r"\d{8}", "%d%m%Y"), (r"\d{6}", "%d%m%y")):
        for digits in re.findall(rf"(?<!\d){pattern}(?!\d)", name):
            try:
                return dt.datetime.strptime(digits, spelled).date()
            except ValueError:
                continue
    return None


def _filled(engine: Engine, market: Path, last: dt.date) -> Engine:
    """The sample market from SINCE to a day. What is not of a day (lists, industries) is loaded whole."""
    folders = ("lists", "symbol_changes", "industry", "corporate_actions")
    files = [path for folder in folders for path in sorted((market / folder).rglob("*")) if path.is_file()]
    for folder in ("bhavcopy", "indices", "market_cap", "surveillance", "deals"):
        for path in sorted((market / folder).rglob("*")):
            day = _day_of(path) if path.is_file() and "history" not in path.parts else None
            if day is not None and SINCE <= day <= last:
                files.append(path)
    assert {result.status for result in sd.load(files, engine=engine)} <= {"success", "partial"}
    sd.calculate(engine=engine)
    return engine


def test_a_past_day_knows_nothing_of_what_came_later(
    engine: Engine, server: str, templates: dict[str, URL], clone: Callable[[URL], Engine], market: Path
) -> None:
    full = _filled(engine, market, dt.date(2025, 6, 30))
    then = _filled(clone(templates[server]), market, THEN)
    for table in ("ohlcv_daily", "market_cap_history", "bulk_deals", "surveillance_measures", "calculated_metrics"):
        counts = []
        for each in (full, then):
            with each.connect() as connection:
                counts.append(connection.execute(text(f"SELECT count(*), max(date) FROM {table}")).one())
        assert counts[0][0] > counts[1][0] > 0, table  # something did come later
        assert counts[1][1] <= THEN

    whole = sd.screen("close > 0", THEN, columns=list(COLUMNS), engine=full)
    assert len(whole) > 20
    assert whole["surveillance"].any()
    assert whole["market_cap"].notna().any()
    assert (whole["bulk_buy_value_20"] > 0).any()
    assert_frame_equal(whole, sd.screen("close > 0", columns=list(COLUMNS), engine=then))  # its last day
    for where in ("close > ma_20 and not surveillance", "bulk_buy_value_20 > 0 or market_cap > 500"):
        assert_frame_equal(sd.screen(where, THEN, engine=full), sd.screen(where, engine=then))
    assert "NEWNAME" in set(whole["symbol"])  # the day's name of today


# --- the command


@pytest.fixture
def cli(planted: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("SCREENER_DATABASE_URL", planted.url.render_as_string(hide_password=False))

    def run(*words: str, code: int = 0) -> Any:
        result = CliRunner().invoke(app, ["screen", *words])
        assert result.exit_code == code, result.output
        return result

    return run


def test_the_command_shows_a_table_and_talks_on_stderr(cli: Callable[..., Any]) -> None:
    result = cli("stage == 2 and sector == 'power'", "--date", DAY)
    head, row = result.stdout.splitlines()
    assert head.split() == ["symbol", "security_name", "stage", "sector"]
    assert row.split() == ["CALM", "Calm", "Limited", "2.0", "Power"]
    assert result.stderr == f"{DAY}: 1 of 4 equities\n"


def test_the_command_prints_one_document(cli: Callable[..., Any]) -> None:
    result = cli("close > 0", "--columns", "market_cap, gsm", "--limit", "2", "--json")
    assert json.loads(result.stdout) == [
        {"symbol": "GONE", "security_name": "Gone Limited", "market_cap": None, "gsm": False},
        {"symbol": "SPLIT", "security_name": "Split Limited", "market_cap": 800.0, "gsm": True},
    ]
    assert result.stderr == f"{DAY}: 4 of 4 equities\n"
    assert cli("close < 0", "--json").stdout == "[]\n"


def test_the_command_lists_the_ready_screens(cli: Callable[..., Any]) -> None:
    assert [row["name"] for row in json.loads(cli("--list", "--json").stdout)] == list(SCREENS)
    assert all(name in cli("--list").stdout for name in SCREENS)
    assert cli("trend_template", "--columns", "close").stdout.split()[-1] == "100.0"


@pytest.mark.parametrize("words", [["close >"], [], ["close > 1", "--date", "never"], ["close > 1", "--columns", "x"]])
def test_a_wrong_word_is_exit_code_2(cli: Callable[..., Any], words: list[str]) -> None:
    result = cli(*words, code=2)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")


# --- the page


def page() -> list[str]:
    """The tables of docs/screens.md as they must stand there."""
    rows = ["| column | kind | unit | from | meaning |", "|---|---|---|---|---|"]
    for column in COLUMNS.values():
        rows.append(f"| `{column.name}` | {column.kind} | {column.unit} | {column.source} | {column.meaning} |")
    rows += ["", "| screen | condition | finds | source |", "|---|---|---|---|"]
    for name, each in SCREENS.items():
        rows.append(f"| `{name}` | `{each.where}` | {each.meaning} | {each.source} |")
    return rows


def test_the_page_says_what_the_code_says() -> None:
    tables = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert tables == [line for line in page() if line], "write the lines of page() anew"


def test_numbers_of_the_answer_are_plain_floats(planted: Engine) -> None:
    table = sd.screen(
        "close > 0", DAY, columns=[name for name, c in COLUMNS.items() if c.kind == "number"], engine=planted
    )
    assert {str(kind) for kind in table.iloc[:, 2:].dtypes} == {"float64"}
    assert not np.isinf(table.iloc[:, 2:].to_numpy()).any()
