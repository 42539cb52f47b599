"""On which days the exchange trades: what is declared against the days that really traded, and the stored lists."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pandas_market_calendars
import pytest
from sqlalchemy import Engine, text

import screener_data as sd
from screener_data import samples
from screener_data.exchange import DISPUTED, FIRST, HOLIDAYS, LAST, SPECIAL_SESSIONS, trading_days


@pytest.fixture(scope="module")
def traded(shared: Path) -> list[dt.date]:
    """The days that really traded, as far as NSE's own daily files are known."""
    lines = (shared / "history" / "trading_days_2019-08_2026-08.txt").read_text().split()
    return [day for day in map(dt.date.fromisoformat, lines) if day >= FIRST]


def days_of(found: pd.DatetimeIndex) -> list[dt.date]:
    return [day.date() for day in found]


# --- what is declared


def test_sessions_are_the_days_that_really_traded(engine: Engine, market: Path, traded: list[dt.date]) -> None:
    """Also beside the holiday lists of Upstox and NSE, of which some hold days with NSE open."""
    assert len(traded) == 1709
    assert days_of(sd.sessions(FIRST, traded[-1], engine=engine)) == traded
    assert sum(result.inserted for result in sd.load(market / "holidays", engine=engine)) > 10
    assert days_of(sd.sessions(FIRST, traded[-1], engine=engine)) == traded


def test_each_declared_day_is_within_the_span_and_has_a_name_and_a_source() -> None:
    for declared in (HOLIDAYS, SPECIAL_SESSIONS, DISPUTED):
        for day, fact in declared.items():
            assert FIRST <= day <= LAST
            assert fact.why.strip()
            assert fact.source.strip()
    assert not set(HOLIDAYS) & set(SPECIAL_SESSIONS)
    assert not set(DISPUTED) & {*HOLIDAYS, *SPECIAL_SESSIONS}
    assert all(day.weekday() < 5 for day in [*HOLIDAYS, *DISPUTED])  # a weekend needs no holiday


def test_every_special_session_is_one_and_no_holiday_is() -> None:
    found = set(trading_days(FIRST, LAST).tolist())
    assert set(SPECIAL_SESSIONS) <= found
    assert not found & {*HOLIDAYS, *DISPUTED}
    weekends = {day for day in found if day.weekday() > 4}
    assert weekends < set(SPECIAL_SESSIONS)


def test_another_calendar_knows_the_same_weekdays() -> None:
    """It is kept by others, and cannot hold a weekend's session: what it lacks and what it has too much is all told."""
    other = pandas_market_calendars.get_calendar("NSE").valid_days(FIRST, LAST, tz=None)
    ours = set(trading_days(FIRST, LAST).tolist())
    theirs = {day.date() for day in other}
    assert ours - theirs == {day for day in SPECIAL_SESSIONS if day.weekday() > 4}
    assert theirs - ours == set(DISPUTED)


def test_the_disputed_days_did_trade(shared: Path) -> None:
    """The day after, PREV_CLOSE is not the last listed close: another session lay between."""
    columns = ["SYMBOL", "DATE", "CLOSE_PRICE", "PREV_CLOSE"]
    bars = pd.read_csv(shared / "history" / "raw_ohlcv_150_symbols_2019-08_2026-08.csv.gz", usecols=columns)
    before = bars.groupby("SYMBOL")["CLOSE_PRICE"].shift()
    differs = (before != bars["PREV_CLOSE"])[before.notna()].groupby(bars["DATE"]).mean()
    usual = differs[differs.index >= "2019-10-03"]  # the list itself has a hole before
    assert set(usual[usual > 0.9].index) == {"2021-11-08", "2022-08-10"}
    assert usual.median() < 0.01


def test_the_sample_market_trades_on_the_same_special_days() -> None:
    special = {day for day in SPECIAL_SESSIONS if day.year in {closed.year for closed in samples.CLOSED}}
    ordinary = {dt.date(2024, 1, 1), dt.date(2025, 1, 1)}  # in Upstox's lists, with NSE open
    assert set(samples.OPEN_ANYWAY) == special | ordinary


# --- what is stored


def test_without_limits_they_are_the_stored_span(engine: Engine) -> None:
    bar(engine, "2025-06-25", "2025-06-30")
    assert [day.day for day in sd.sessions(engine=engine)] == [25, 26, 27, 30]
    assert [day.day for day in sd.sessions("2025-06-27", engine=engine)] == [27, 30]
    assert [day.day for day in sd.sessions(end="2025-06-26", engine=engine)] == [25, 26]
    assert sd.sessions("2025-07-01", "2025-06-26", engine=engine).empty


def test_days_without_prices_are_sessions_all_the_same(engine: Engine) -> None:
    assert sd.sessions(engine=engine).empty
    assert sd.sessions("2025-10-20", engine=engine).empty  # until when?
    assert days_of(sd.sessions("2025-10-20", "2025-10-23", engine=engine)) == [
        dt.date(2025, 10, 20),
        dt.date(2025, 10, 21),
        dt.date(2025, 10, 23),
    ]


def test_a_stored_holiday_closes_a_weekday_but_no_special_session(engine: Engine) -> None:
    """A day of mourning is announced the evening before: the lists that are loaded know it, the package does not."""
    close(engine, "2026-09-22", "2025-10-21")
    found = days_of(sd.sessions("2026-09-21", "2026-09-23", engine=engine))
    assert found == [dt.date(2026, 9, 21), dt.date(2026, 9, 23)]
    assert days_of(sd.sessions("2025-10-21", "2025-10-22", engine=engine)) == [dt.date(2025, 10, 21)]


def test_beyond_what_is_declared_days_with_prices_count(engine: Engine) -> None:
    bar(engine, "2017-12-01", "2017-12-04", "2027-01-04")
    assert days_of(sd.sessions(end="2018-12-31", engine=engine)) == [dt.date(2017, 12, 1), dt.date(2017, 12, 4)]
    assert days_of(sd.sessions("2026-12-30", "2027-01-08", engine=engine)) == [
        dt.date(2026, 12, 30),
        dt.date(2026, 12, 31),
        dt.date(2027, 1, 4),
    ]


def test_beyond_what_is_declared_a_whole_list_of_a_year_makes_a_calendar(engine: Engine) -> None:
    bar(engine, "2027-01-30")  # a Saturday that traded
    mondays = [f"{day}" for day in np.arange("2027-03-01", "2027-04-13", 7, dtype="M8[D]")]
    close(engine, *mondays)
    assert len(mondays) == 7
    assert days_of(sd.sessions("2027-02-26", "2027-03-02", engine=engine)) == []
    close(engine, "2027-01-26")
    assert days_of(sd.sessions("2027-01-25", "2027-02-01", engine=engine)) == [
        dt.date(2027, 1, day) for day in (25, 27, 28, 29, 30)
    ] + [dt.date(2027, 2, 1)]
    assert days_of(sd.sessions("2027-02-26", "2027-03-02", engine=engine)) == [
        dt.date(2027, 2, 26),
        dt.date(2027, 3, 2),
    ]


def close(engine: Engine, *days: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO market_holidays (holiday_date) SELECT unnest(CAST(:days AS date[]))"),
            {"days": list(days)},
        )


def bar(engine: Engine, *days: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close) "
                "SELECT 'ABC', unnest(CAST(:days AS date[])), 1, 1, 1, 1"
            ),
            {"days": list(days)},
        )
