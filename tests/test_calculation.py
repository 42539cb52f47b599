"""calculated_metrics in the database: the increment equals the whole, whatever changed is found, nothing else moves."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib
from sqlalchemy import URL, Engine, create_engine, event, text

import screener_data as sd
from screener_data import calculation, formulas, samples
from screener_data.calculation import BENCHMARK, CalculationResult, calculate
from screener_data.database.engine import reason_of
from screener_data.errors import DatabaseError, UsageError
from screener_data.formulas import COLUMNS

OLD, NEW = 256, 24  # sessions that are computed at once, and those that arrive one by one
EQUITIES = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "SPLITCO", "BONUSCO", "HOLICO", "HALTED", "QUIET", "YOUNG")
ETFS = ("GOLDETF", "NIFTYETF")
ORPHANS = ("ORPHAN", "STRAY")
LATE = ("ONEDAY", "FRESH")  # listed while the sessions arrive
EVERYBODY = (*EQUITIES, *ETFS, *ORPHANS, *LATE)

Stored = dict[tuple[str, dt.date], tuple[str | None, ...]]


def _days(count: int) -> list[dt.date]:
    """Weekdays, but every nineteenth is a holiday."""
    found, day = [], dt.date(2024, 1, 1)
    while len(found) < count:
        if day.weekday() < 5 and day.toordinal() % 19:
            found.append(day)
        day += dt.timedelta(1)
    return found


DAYS = _days(OLD + NEW)
#: A weekday without a session, while the sessions arrive.
HOLIDAY = next(
    day
    for day in (DAYS[OLD] + dt.timedelta(n) for n in range(40))
    if day.weekday() < 5 and day not in DAYS and day > DAYS[OLD + 2]
)
SPLIT, BONUS = 100, OLD + 8  # sessions; the one is old, the other in the future for long
ACTIONS = {  # symbol: ex-date, what the exchange prints, how many shares one becomes
    "SPLITCO": (DAYS[SPLIT], "FVSPLT FRM RS 10 TO RS 2", 5),
    "BONUSCO": (DAYS[BONUS], "BONUS 1:1", 2),
    "HOLICO": (HOLIDAY, "BONUS 2:1", 3),
}


def _traded(symbol: str, t: int) -> bool:
    match symbol:
        case "HALTED":
            return not (90 <= t < 130 or OLD + 3 <= t < OLD + 9)
        case "YOUNG":
            return t >= 200
        case "ONEDAY":
            return t == OLD + 5
        case "FRESH":
            return t >= OLD + 6
        case "CCC" | "STRAY":
            return t % 7 != 3  # it trades now and then
    return True


def _market() -> dict[str, pd.DataFrame]:
    """By symbol: open, high, low, close in paise as published, and volume, by session."""
    found = {}
    for number, symbol in enumerate((*EVERYBODY, BENCHMARK)):
        rng = np.random.default_rng(number)
        close = 50_000 * np.exp(np.cumsum(rng.normal(0.0005, 0.02, len(DAYS))))
        spread = close[:, None] * np.abs(rng.normal(0, 0.01, (len(DAYS), 2)))
        bars = pd.DataFrame({"close": close, "high": close + spread[:, 0], "low": close - spread[:, 1]})
        volume = rng.integers(0, 2_000_000, len(DAYS))
        if symbol in ACTIONS:
            ex_date, _, shares = ACTIONS[symbol]
            after = np.array([day >= ex_date for day in DAYS])
            bars[after] /= shares
            volume[after] *= shares
        if symbol == "QUIET":
            volume[60:90] = 0
            bars.loc[60:90] = bars.loc[60, "close"]  # and nothing moves
        bars = bars.round().astype(int).assign(volume=volume)
        found[symbol] = bars.assign(open=bars["low"])
    return found


BARS = _market()


def _rupees(paise: int) -> str:
    return f"{paise // 100}.{paise % 100:02}"


class Market:
    """A database with an invented market, which grows by the exchange's files."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        self.gone: set[str] = set()  # symbols that the bhavcopies hold no more
        folder.mkdir(exist_ok=True)

    def load(self, *files: tuple[str, str]) -> None:
        for name, content in files:
            (self.folder / name).write_text(content)
        for result in sd.load([self.folder / name for name, _ in files], engine=self.engine):
            assert result.status == "success", (result.file, result.error, result.reasons)

    def bars(self, *sessions: int, **changed: int) -> None:
        """Load whole sessions: securities and the index. `changed`: paise to be added to a symbol's close and high."""
        files = []
        for t in sessions:
            day = DAYS[t]
            lines = []
            for symbol in EVERYBODY:
                if _traded(symbol, t) and symbol not in self.gone:
                    bar = BARS[symbol].loc[t] + 0
                    bar[["close", "high"]] += changed.get(symbol, 0)
                    o, h, low, c = (_rupees(bar[name]) for name in ("open", "high", "low", "close"))
                    lines.append(f"{symbol}, EQ, {day:%d-%b-%Y}, {c}, {o}, {h}, {low}, {c}, {c}, {c}, {bar['volume']}"
                                 ", 1.00, 1, 1, 1.00\n")
            files.append((f"sec_bhavdata_full_{day:%d%m%Y}.csv", f"{samples.HEADERS['full']}\n{''.join(lines)}"))
            bar = BARS[BENCHMARK].loc[t] + 0
            bar[["close", "high"]] += changed.get("index", 0)
            values = ",".join(_rupees(bar[name]) for name in ("open", "high", "low", "close"))
            line = f"Nifty 50,{day:%d-%m-%Y},{values},1,1,1,1,22.5,3.71,.84\n"
            files.append((f"ind_close_all_{day:%d%m%Y}.csv", f"{samples.HEADERS['indices']}\n{line}"))
        self.load(*files)

    def lists(self, *equities: str, **renamed: str) -> None:
        """Load the lists: these equities, and the ETFs."""
        rows = [
            f"{renamed.get(symbol, symbol)},{symbol} Limited,EQ,01-JAN-2020,10,1,{isin(symbol)},10\n"
            for symbol in equities
        ]
        self.load(("EQUITY_L.csv", f"{samples.HEADERS['equity_list']}\n{''.join(rows)}"))
        rows = [f"{symbol},Gold,{symbol},01-Jan-20,1,{isin(symbol)},10\n" for symbol in ETFS]
        self.load(("eq_etfseclist.csv", f"{samples.HEADERS['etf_list']}\n{''.join(rows)}"))

    def action(self, symbol: str, ex_date: dt.date, purpose: str) -> None:
        line = f"EQ,{symbol},A,{ex_date},,,{ex_date},,,{purpose}\n"
        self.load((f"bc{ex_date:%d%m%Y}.csv", f"{samples.HEADERS['corporate_actions']}\n{line}"))

    def manual(self, *lines: str) -> None:
        rows = "".join(f"{line},because\n" for line in lines)
        self.load(("manual_factors.csv", f"{samples.HEADERS['manual_factors']}\n{rows}"))

    def execute(self, *statements: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement), values)

    def one(self, query: str, **values: Any) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(text(query), values).scalar()

    def places(self) -> dict[int, str]:
        """Where each row lies: one that is written again lies elsewhere."""
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT id, ctid::text FROM calculated_metrics")).all()
        return {number: place for number, place in rows}  # noqa: C416 - a Row is no pair to the type checker

    def calculate(self, *days: Any, **how: Any) -> CalculationResult:
        return calculate(*days, engine=self.engine, **how)

    def stored(self) -> Stored:
        return stored(self.engine)


def stored(engine: Engine) -> Stored:
    """All that the table holds, each figure as PostgreSQL prints it."""
    columns = ", ".join(f"{name}::text" for name in COLUMNS)
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT symbol, date, {columns} FROM calculated_metrics")).all()
    return {(row[0], row[1]): tuple(row[2:]) for row in rows}


def isin(symbol: str) -> str:
    return samples._isin("INEX", EVERYBODY.index(symbol))


def column(rows: Stored, name: str, symbol: str | None = None) -> list[str | None]:
    at = COLUMNS.index(name)
    return [row[at] for key, row in sorted(rows.items()) if symbol in (None, key[0])]


@pytest.fixture(scope="module")
def base(module_url: URL, tmp_path_factory: pytest.TempPathFactory) -> URL:
    """The first sessions, loaded and computed; to be cloned."""
    engine = create_engine(module_url)
    market = Market(engine, tmp_path_factory.mktemp("base"))
    market.lists(*EQUITIES)
    market.action("SPLITCO", *ACTIONS["SPLITCO"][:2])
    market.action("BONUSCO", *ACTIONS["BONUSCO"][:2])
    market.bars(*range(OLD))
    done = market.calculate()
    assert done.inserted == len(market.stored()) > 3000
    engine.dispose()
    return module_url


Clone = Callable[[URL], Engine]


@pytest.fixture
def market(base: URL, clone: Clone, tmp_path: Path) -> Market:
    """A copy of the first sessions, computed, for one test."""
    return Market(clone(base), tmp_path / "files")


@pytest.fixture
def recomputed(clone: Clone) -> Callable[..., Stored]:
    """Computes all of a market from its bars in another database."""

    def compute(market: Market, **how: Any) -> Stored:
        market.engine.dispose()
        other = clone(market.engine.url)
        with other.begin() as connection:
            connection.execute(text("TRUNCATE calculated_metrics, calculations"))
        calculate(engine=other, **how)
        return stored(other)

    return compute


Recomputed = Callable[..., Stored]


# --- the increment --------------------------------------------------------------------------------------------------


def test_session_by_session_equals_all_at_once(market: Market, recomputed: Recomputed) -> None:
    surprises = 0
    for t in range(OLD, OLD + NEW):
        before = market.stored()
        if t == OLD + 2:
            market.action("HOLICO", *ACTIONS["HOLICO"][:2])
        if t == OLD + 5:
            market.lists(*EQUITIES, "ONEDAY")
        if t == OLD + 6:
            market.lists(*EQUITIES, *LATE)
        market.bars(t)
        if t == OLD + 12:  # a stray comes onto the list, with all of its history
            market.lists(*EQUITIES, *LATE, "STRAY")
        done = market.calculate()
        after = market.stored()
        traded = sum(key[1] == DAYS[t] for key in after)
        if t == OLD + 12:
            surprises += 1
            assert done.first_day == min(day for symbol, day in after if symbol == "STRAY") == DAYS[0]
        else:
            assert (done.first_day, done.last_day) == (DAYS[t], DAYS[t])
            assert (done.inserted, done.updated, done.unchanged, done.deleted) == (traded, 0, 0, 0)
            assert {key: after[key] for key in before} == before  # as of its day, whatever came later
    assert surprises == 1
    assert after == recomputed(market)
    assert market.one("SELECT count(*) FROM calculations") == 1 + NEW
    assert market.one("SELECT count(*) FROM calculations WHERE states IS NOT NULL") == 1


def test_several_sessions_at_a_time_equal_all_at_once(market: Market, recomputed: Recomputed) -> None:
    market.bars(*range(OLD, OLD + 3))
    done = market.calculate()
    assert (done.first_day, done.last_day) == (DAYS[OLD], DAYS[OLD + 2])
    assert market.stored() == recomputed(market)


def test_an_increment_looks_at_no_old_bar(market: Market, recomputed: Recomputed) -> None:
    market.bars(OLD)
    right = recomputed(market)
    # behind the back of the triggers: whoever reads these bars gets other figures
    market.execute(
        "SELECT set_config('screener.loading', 'on', true)",
        f"UPDATE ohlcv_daily SET close = low, high = low, open = low, volume = 7 WHERE date < '{DAYS[OLD]}'",
    )
    market.calculate()
    assert market.stored() == right
    assert recomputed(market) != right


def test_nothing_new_is_nothing_to_do(market: Market) -> None:
    before = market.stored()
    done = market.calculate()
    assert (done.first_day, done.last_day) == (None, None)
    assert (done.inserted, done.updated, done.unchanged, done.deleted) == (0, 0, 0, 0)
    assert (done.version, done.benchmark) == (formulas.VERSION, BENCHMARK)
    assert market.stored() == before
    assert market.one("SELECT count(*) FROM calculations") == 1


# --- what makes figures stale ---------------------------------------------------------------------------------------


def _rename(market: Market) -> None:
    market.lists(*EQUITIES, BBB="BETTER")


def _rename_to_a_name_with_bars(market: Market) -> None:
    """The bhavcopies had the new name first; then the list came."""
    market.gone.add("YOUNG")
    market.lists(*EQUITIES, YOUNG="STRAY")


CHANGES: dict[str, tuple[Callable[[Market], Any], int]] = {  # what happens, and the first session that it concerns
    "a load corrects an old price": (lambda m: m.bars(200, AAA=300), 200),
    "a load corrects the benchmark": (lambda m: m.bars(210, index=5000), 210),
    "a load brings an old session": (lambda m: (m.execute(f"DELETE FROM ohlcv_daily WHERE date = '{DAYS[220]}'"),
                                                m.calculate(), m.bars(220)), 220),
    "a row is changed by hand": (
        lambda m: m.execute(f"UPDATE ohlcv_daily SET close = low WHERE symbol = 'AAA' AND date = '{DAYS[150]}'"), 0),
    "a bar is deleted by hand": (
        lambda m: m.execute(f"DELETE FROM ohlcv_daily WHERE symbol = 'AAA' AND date = '{DAYS[250]}'"), 0),
    "a bar is moved by hand": (
        lambda m: m.execute(f"UPDATE ohlcv_daily SET date = '{HOLIDAY}' WHERE symbol = 'AAA' AND date = '{DAYS[250]}'"),
        0),
    "the first session is deleted by hand": (
        lambda m: m.execute(f"DELETE FROM ohlcv_daily WHERE date = '{DAYS[0]}'"), 0),
    "the last session is deleted by hand": (
        lambda m: m.execute(f"DELETE FROM ohlcv_daily WHERE date = '{DAYS[OLD - 1]}'"), 0),
    "all bars are deleted by hand": (lambda m: m.execute("DELETE FROM ohlcv_daily"), 0),
    "an old split becomes known": (lambda m: m.action("DDD", DAYS[180], "FVSPLT FRM RS 10 TO RS 5"), 180),
    "a factor is given by hand": (lambda m: m.manual(f"EEE,{DAYS[170]},0.5,2"), 170),
    "a split is overruled": (lambda m: m.manual(f"SPLITCO,{DAYS[SPLIT]},0.25,4"), SPLIT),
    "a split is taken back by hand": (lambda m: m.execute("DELETE FROM corporate_actions WHERE symbol = 'SPLITCO'"),
                                      SPLIT),
    "an orphan comes onto the list": (lambda m: m.lists(*EQUITIES, "ORPHAN"), 0),
    "a security is renamed": (_rename, 0),
    "a security is renamed to a name with bars": (_rename_to_a_name_with_bars, 0),
    "a fund turns out to be an equity": (
        lambda m: m.execute("UPDATE securities SET security_type = 'EQUITY' WHERE symbol = 'GOLDETF'"), 0),
    "a security is deleted by hand": (lambda m: m.execute("DELETE FROM securities WHERE symbol = 'FFF'"), 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_found_and_only_what_differs_is_stored(
    change: str, market: Market, recomputed: Recomputed
) -> None:
    happens, first = CHANGES[change]
    happens(market)
    before = market.stored()  # renamed and deleted securities take their figures along
    places = market.places()
    done = market.calculate()
    after = market.stored()
    right = recomputed(market)
    assert after == right
    concerned = {key for key in right if key[1] >= DAYS[first]}
    changed = {key for key in before.keys() & right.keys() if before[key] != right[key]}
    assert changed <= concerned
    assert changed or before.keys() != right.keys() or "renamed" in change
    assert done.inserted == len(right.keys() - before.keys())
    assert done.updated == len(changed)
    assert done.deleted == len(before.keys() - right.keys())
    assert done.unchanged == len(concerned & before.keys()) - len(changed)
    assert len(market.places().items() - places.items()) == done.inserted + done.updated
    assert market.calculate().first_day is None  # found once, and remembered
    market.bars(OLD)
    market.calculate()
    assert market.stored() == recomputed(market)


def test_another_version_of_the_formulas_computes_all_anew(
    market: Market, recomputed: Recomputed, monkeypatch: pytest.MonkeyPatch
) -> None:
    market.execute("UPDATE calculated_metrics SET ma_10 = 1 WHERE symbol = 'AAA'")  # as if the old version had it so
    assert market.calculate().updated == 0
    monkeypatch.setattr(formulas, "VERSION", formulas.VERSION + 1)
    done = market.calculate()
    assert (done.version, done.updated, done.first_day) == (formulas.VERSION, OLD, DAYS[0])
    assert market.stored() == recomputed(market)
    assert market.calculate().first_day is None


def test_another_benchmark_changes_vars_value_alone(market: Market, recomputed: Recomputed) -> None:
    before = market.stored()
    done = market.calculate(benchmark="AAA")
    after = market.stored()
    assert after == recomputed(market, benchmark="AAA")
    assert done.updated == sum(row is not None for row in column(after, "vars_value"))
    assert done.updated + done.unchanged == len(after)
    for name in set(COLUMNS) - {"vars_value"}:
        assert column(after, name) == column(before, name)
    assert {float(value) for value in column(after, "vars_value", "AAA") if value} == {0}  # against itself
    market.bars(OLD)
    assert market.calculate(benchmark="AAA").first_day == DAYS[OLD]
    assert market.stored() == recomputed(market, benchmark="AAA")
    assert market.calculate().first_day == DAYS[0]  # back to the usual one
    assert market.stored() == recomputed(market)
