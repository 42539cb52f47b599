"""calculated_metrics in the database: the increment equals the whole, whatever changed is found, nothing else moves."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import talib
from sqlalchemy import URL, Engine, create_engine, text

import screener_data as sd
from screener_data import calculation, formulas, samples
from screener_data.calculation import BENCHMARK, CalculationResult, calculate
from screener_data.database.bulk import copy_rows
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
                    lines.append(
                        f"{symbol}, EQ, {day:%d-%b-%Y}, {c}, {o}, {h}, {low}, {c}, {c}, {c}, {bar['volume']}"
                        ", 1.00, 1, 1, 1.00\n"
                    )
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
    "a load brings an old session": (
        lambda m: (m.execute(f"DELETE FROM ohlcv_daily WHERE date = '{DAYS[220]}'"), m.calculate(), m.bars(220)),
        220,
    ),
    "a row is changed by hand": (
        lambda m: m.execute(f"UPDATE ohlcv_daily SET close = low WHERE symbol = 'AAA' AND date = '{DAYS[150]}'"),
        0,
    ),
    "a bar is deleted by hand": (
        lambda m: m.execute(f"DELETE FROM ohlcv_daily WHERE symbol = 'AAA' AND date = '{DAYS[250]}'"),
        0,
    ),
    "a bar is moved by hand": (
        lambda m: m.execute(f"UPDATE ohlcv_daily SET date = '{HOLIDAY}' WHERE symbol = 'AAA' AND date = '{DAYS[250]}'"),
        0,
    ),
    "the first session is deleted by hand": (
        lambda m: m.execute(f"DELETE FROM ohlcv_daily WHERE date = '{DAYS[0]}'"),
        0,
    ),
    "the last session is deleted by hand": (
        lambda m: m.execute(f"DELETE FROM ohlcv_daily WHERE date = '{DAYS[OLD - 1]}'"),
        0,
    ),
    "all bars are deleted by hand": (lambda m: m.execute("DELETE FROM ohlcv_daily"), 0),
    "an old split becomes known": (lambda m: m.action("DDD", DAYS[180], "FVSPLT FRM RS 10 TO RS 5"), 180),
    "a factor is given by hand": (lambda m: m.manual(f"EEE,{DAYS[170]},0.5,2"), 170),
    "a split is overruled": (lambda m: m.manual(f"SPLITCO,{DAYS[SPLIT]},0.25,4"), SPLIT),
    "a split is taken back by hand": (
        lambda m: m.execute("DELETE FROM corporate_actions WHERE symbol = 'SPLITCO'"),
        SPLIT,
    ),
    "an orphan comes onto the list": (lambda m: m.lists(*EQUITIES, "ORPHAN"), 0),
    "a security is renamed": (_rename, 0),
    "a security is renamed to a name with bars": (_rename_to_a_name_with_bars, 0),
    "a fund turns out to be an equity": (
        lambda m: m.execute("UPDATE securities SET security_type = 'EQUITY' WHERE symbol = 'GOLDETF'"),
        0,
    ),
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


def test_a_benchmark_that_is_not_there_is_a_slip(market: Market) -> None:
    before = market.stored()
    with pytest.raises(UsageError, match="no symbol 'NIFTYETFS'; did you mean NIFTYETF"):
        market.calculate(benchmark="NIFTYETFS")
    assert market.stored() == before
    market.execute("DELETE FROM ohlcv_daily WHERE symbol = :index", index=BENCHMARK)
    market.calculate()  # the usual one may be missing
    assert set(column(market.stored(), "vars_value")) == {None}


# --- explicit days --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [None, 40])
def test_days_that_are_asked_for_are_stored_again(
    market: Market, monkeypatch: pytest.MonkeyPatch, at_once: int | None
) -> None:
    if at_once:  # rows are stored two sessions at a time
        monkeypatch.setattr(calculation, "_AT_ONCE", at_once)
    right = market.stored()
    market.execute(
        f"UPDATE calculated_metrics SET ma_10 = 1 WHERE symbol = 'AAA' AND date IN ('{DAYS[99]}', '{DAYS[100]}')",
        f"DELETE FROM calculated_metrics WHERE symbol = 'BBB' AND date IN ('{DAYS[104]}', '{DAYS[105]}')",
    )
    wrong = market.stored()
    assert market.calculate().first_day is None  # nobody but us is supposed to write there
    done = market.calculate(f"{DAYS[100]}", DAYS[104])
    assert (done.first_day, done.last_day) == (DAYS[100], DAYS[104])
    within = sum(DAYS[100] <= day <= DAYS[104] for _, day in right)
    assert (done.inserted, done.updated, done.unchanged, done.deleted) == (1, 1, within - 2, 0)
    assert market.stored() == {
        key: right[key] if DAYS[100] <= key[1] <= DAYS[104] else wrong[key]
        for key in right
        if key != ("BBB", DAYS[105])
    }
    done = market.calculate(DAYS[105])
    assert (done.inserted, done.last_day) == (1, DAYS[OLD - 1])
    done = market.calculate(None, DAYS[99])
    assert (done.updated, done.first_day, done.last_day) == (1, DAYS[0], DAYS[99])
    assert market.stored() == right
    market.bars(OLD)
    assert market.calculate().first_day == DAYS[OLD]  # the memory is as it was


def test_days_that_are_asked_for_lose_what_has_no_bar(market: Market) -> None:
    market.execute(f"DELETE FROM ohlcv_daily WHERE symbol = 'AAA' AND date IN ('{DAYS[0]}', '{DAYS[9]}')")
    before = market.stored()
    assert market.calculate(DAYS[1], DAYS[9]).deleted == 1
    assert before.keys() - market.stored().keys() == {("AAA", DAYS[9])}
    assert market.calculate().deleted == 1
    assert before.keys() - market.stored().keys() == {("AAA", DAYS[0]), ("AAA", DAYS[9])}


def test_days_asked_for_in_another_way_leave_no_mixture(
    market: Market, recomputed: Recomputed, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = market.stored()
    market.calculate(DAYS[OLD - 2], benchmark="AAA")
    assert market.stored() != right
    assert market.calculate().updated > 0
    assert market.stored() == right
    monkeypatch.setattr(formulas, "VERSION", formulas.VERSION + 1)
    market.calculate(DAYS[OLD - 2])
    assert market.calculate().first_day == DAYS[0]


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (("2024-02-02", "2024-02-01"), "the first day, 2024-02-02, is after the last one, 2024-02-01"),
        (("yesterday",), "'yesterday' is no day; write 2025-01-16"),
        ((None, "2024-02-30"), "'2024-02-30' is no day"),
    ],
)
def test_days_that_are_none_are_refused(engine: Engine, days: tuple[Any, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        calculate(*days, engine=engine)


def test_days_without_a_session_have_nothing_to_do(market: Market) -> None:
    before = market.stored()
    for days in (("1999-01-01", "1999-12-31"), ("2030-01-01",), (DAYS[0] - dt.timedelta(2), DAYS[0] - dt.timedelta(1))):
        done = market.calculate(*days)
        assert (done.first_day, done.inserted, done.updated, done.unchanged, done.deleted) == (None, 0, 0, 0, 0)
    assert market.stored() == before


def test_empty_tables_have_nothing_to_do(engine: Engine) -> None:
    for days in ((), ("2024-01-01",)):
        done = calculate(*days, engine=engine)
        assert (done.first_day, done.inserted, done.deleted) == (None, 0, 0)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM calculations")).scalar() == 0


def test_bars_of_nobody_on_a_list_make_no_rows(engine: Engine, tmp_path: Path) -> None:
    market = Market(engine, tmp_path / "files")
    market.bars(0, 1)
    assert market.calculate().inserted == 0
    market.lists(*EQUITIES)
    assert market.calculate().inserted == len(market.stored()) > 20


def test_a_database_without_tables_is_told(empty_url: URL) -> None:
    engine = create_engine(empty_url)
    with pytest.raises(DatabaseError, match="screener-data init"):
        calculate(engine=engine)
    engine.dispose()


# --- all or nothing, one after the other ----------------------------------------------------------------------------


def test_a_failure_stores_nothing_and_keeps_the_memory(
    market: Market, recomputed: Recomputed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calculation, "_AT_ONCE", 40)
    market.bars(*range(OLD, OLD + 6))
    before = market.stored()
    # the first pieces are stored when the last one is refused
    market.execute(f"ALTER TABLE calculated_metrics ADD CONSTRAINT no CHECK (date < '{DAYS[OLD + 5]}')")
    with pytest.raises(DatabaseError, match=r'no metrics were stored: .*violates check constraint "no"'):
        market.calculate()
    assert market.stored() == before
    assert market.one("SELECT count(*) FROM calculations") == 1
    market.execute("ALTER TABLE calculated_metrics DROP CONSTRAINT no")
    assert market.calculate().first_day == DAYS[OLD]
    assert market.stored() == recomputed(market)


def _wait_for(condition: Callable[[], Any]) -> None:
    for _ in range(200):
        if condition():
            return
        threading.Event().wait(0.05)
    pytest.fail("it never came to pass")


def test_a_load_waits_for_the_calculation_and_is_then_seen(market: Market, recomputed: Recomputed) -> None:
    market.bars(OLD)
    waiting = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    load = threading.Thread(target=market.bars, args=(OLD + 1, 200), kwargs={"AAA": 700})
    compute = threading.Thread(target=market.calculate)
    # a reader's lock on the table of metrics holds the calculation up after it has read the prices
    with market.engine.begin() as holding:
        holding.execute(text("LOCK TABLE calculated_metrics IN SHARE MODE"))
        compute.start()
        _wait_for(
            lambda: market.one(
                "SELECT count(*) FROM pg_locks WHERE relation = 'calculated_metrics'::regclass AND NOT granted"
            )
        )
        load.start()
        _wait_for(lambda: market.one(waiting))
        assert market.one(f"SELECT count(*) FROM ohlcv_daily WHERE date = '{DAYS[OLD + 1]}'") == 0
    compute.join(60)
    load.join(60)
    computed = {day for _, day in market.stored()}
    assert DAYS[OLD] in computed
    assert DAYS[OLD + 1] not in computed
    assert market.calculate().first_day == DAYS[200]  # the day that the load corrected
    assert market.stored() == recomputed(market)


def test_two_calculations_at_once_are_one_after_the_other(market: Market, recomputed: Recomputed) -> None:
    market.bars(OLD, OLD + 1)
    found: list[CalculationResult] = []
    threads = [threading.Thread(target=lambda: found.append(market.calculate())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done.inserted > 0 for done in found) == [False, False, True]
    assert market.stored() == recomputed(market)


# --- the figures ----------------------------------------------------------------------------------------------------


def test_rank_is_among_the_equities_that_traded_that_day(market: Market) -> None:
    rows = market.stored()
    assert {column(rows, "rs_rating", symbol)[-1] for symbol in ETFS} == {None}
    assert column(rows, "ma_200", "GOLDETF")[-1] is not None
    last: dict[str, float] = {}
    for symbol in EQUITIES:
        mine = [t for t in range(OLD) if _traded(symbol, t)]
        if mine[-1] == OLD - 1 and len(mine) >= 253:
            shares = ACTIONS[symbol][2] if symbol == "SPLITCO" else 1
            close = BARS[symbol]["close"].loc[mine].to_numpy() * np.where(np.array(mine) >= SPLIT, shares, 1)
            last[symbol] = sum(
                w * (close[-1] / close[-1 - n] - 1) for n, w in ((63, 0.4), (126, 0.2), (189, 0.2), (252, 0.2))
            )
    ranks = pd.Series(last).rank()
    right = (100 * (ranks - 1) / (len(ranks) - 1)).round(2)
    found = {symbol: row[0] for (symbol, day), row in rows.items() if day == DAYS[OLD - 1] and row[0] is not None}
    assert {symbol: float(value) for symbol, value in found.items() if value} == right.to_dict()
    assert len(right) == 9


def test_short_histories_are_null(market: Market) -> None:
    rows = market.stored()
    first = {"ma_10": 10, "ma_20": 20, "ma_50": 50, "ma_200": 200, "vol_20d_avg": 20, "vol_vs_avg_pct": 21, "atr": 15}
    first |= {"atr_pct": 15, "vars_value": 65, "rs_rating": 253, "vcp_score": 120}
    for name, bars in first.items():
        found = column(rows, name, "AAA")
        assert [value is None for value in found] == [t < bars - 1 for t in range(OLD)], name
    weeks = pd.Series([day.isocalendar()[:2] for day in DAYS[:OLD]]).rank(method="dense")
    assert [value is None for value in column(rows, "stage", "AAA")] == (weeks < 34).tolist()
    assert set(column(rows, "ma_200", "YOUNG")) == {None}


def test_no_volume_at_all_has_no_percentage(market: Market) -> None:
    rows = market.stored()
    assert column(rows, "vol_20d_avg", "QUIET")[79:90] == ["0"] * 11
    assert column(rows, "vol_vs_avg_pct", "QUIET")[80:91] == [None] * 11  # the 20 days before had none
    assert column(rows, "atr", "QUIET")[89] is not None


def test_figures_are_in_the_rupees_and_shares_of_their_day(market: Market) -> None:
    """Averages over a split: comparable prices, then those of the day itself."""
    rows = market.stored()
    bars = BARS["SPLITCO"].loc[: OLD - 1]
    day = pd.Series(np.where(bars.index >= SPLIT, 5, 1), bars.index)
    means = ((bars["close"] * day).rolling(20).mean() / day / 100).to_numpy()[19:]
    found = np.array(column(rows, "ma_20", "SPLITCO")[19:], float)
    np.testing.assert_allclose(found, means, atol=0.005001)
    volumes = ((bars["volume"] / day).rolling(20).mean() * day).to_numpy()[19:]
    found = np.array(column(rows, "vol_20d_avg", "SPLITCO")[19:], float)
    np.testing.assert_allclose(found, volumes, atol=0.5001)


KINDS = {
    "vars_value": "numeric(10,4)",
    "atr_pct": "numeric(8,4)",
    "vol_vs_avg_pct": "numeric(8,2)",
    "rs_rating": "numeric(5,2)",
    "vol_20d_avg": "numeric(19,0)",
    "ma_10": "numeric(15,2)",
}


@pytest.mark.parametrize("name", KINDS)
def test_figures_are_rounded_as_the_server_rounds_them(name: str, engine: Engine) -> None:
    scale = int(KINDS[name].rpartition(",")[2].rstrip(")"))
    rng = np.random.default_rng(1)
    ties = (rng.integers(-9_000, 9_000, 500) + 0.5) / 10.0**scale  # as near to one as a binary number can be
    near = np.nextafter(ties, rng.choice([-np.inf, np.inf], 500))
    exact = rng.integers(-9_000, 9_000, 500) / 16  # true ones
    values = np.concatenate([ties, near, exact, rng.normal(0, 50, 500), [0.0, -0.001, 0.5, np.nextafter(0.5, 0)]])
    unit = "e-2" if name == "ma_10" else ""  # paise come in
    with engine.connect() as connection:
        query = (
            f"SELECT CAST(v AS {KINDS[name]}) FROM unnest(CAST(:v AS numeric[])) WITH ORDINALITY x (v, n) ORDER BY n"
        )
        right = connection.execute(text(query), {"v": [f"{Decimal(value)}{unit}" for value in values]}).scalars()
        assert calculation._cells(name, values).to_pylist() == right.all()


def test_what_is_too_wide_is_null() -> None:
    values = np.array([999.994, 999.995, -999.995, np.inf, np.nan])
    assert [cell and float(cell) for cell in calculation._cells("rs_rating", values).to_pylist()] == [
        *(999.99, None, None, None, None)
    ]
    wide = np.array([1e15 - 1, 1e15, -1e15])  # paise: numeric(15,2) ends below 10^13 rupees
    assert [cell is None for cell in calculation._cells("ma_10", wide).to_pylist()] == [False, True, True]


def test_a_volume_out_of_nothing_saturates(market: Market) -> None:
    market.execute(f"UPDATE ohlcv_daily SET volume = 0 WHERE symbol = 'AAA' AND date < '{DAYS[200]}'")
    market.execute(f"UPDATE ohlcv_daily SET volume = 1 WHERE symbol = 'AAA' AND date = '{DAYS[199]}'")
    market.execute(f"UPDATE ohlcv_daily SET volume = 2000000 WHERE symbol = 'AAA' AND date = '{DAYS[200]}'")
    market.calculate()
    assert column(market.stored(), "vol_vs_avg_pct", "AAA")[198:201] == [None, None, "999999.99"]


# --- beside other means, on real history ----------------------------------------------------------------------------


def test_averages_of_real_history_are_those_of_pandas_and_talib(engine: Engine, shared: Path) -> None:
    chosen = ["ABB", "RELIANCE", "INFY"]
    history = pd.read_csv(shared / "history" / "raw_ohlcv_150_symbols_2019-08_2026-08.csv.gz", parse_dates=["DATE"])
    chosen = [*chosen, *sorted(set(history["SYMBOL"]) - set(chosen))[:5]]
    history = history[history["SYMBOL"].isin(chosen)].sort_values(["SYMBOL", "DATE"])
    history.columns = [*("symbol", "date", "open", "high", "low", "close"), *history.columns[6:]]
    history = history.rename(columns={"TTL_TRD_QNTY": "volume"})
    with engine.begin() as connection:
        for number, symbol in enumerate(chosen):
            connection.execute(
                text(
                    "INSERT INTO securities (symbol, isin, security_name, security_type) "
                    f"VALUES (:symbol, 'INE{number:09}', 'x', 'EQUITY')"
                ),
                {"symbol": symbol},
            )
        bars = history[["symbol", "date", "open", "high", "low", "close", "volume"]]
        copy_rows(
            connection,
            "ohlcv_daily",
            {name: pa.array(bars[name]) for name in bars} | {"date": pa.array(bars["date"].dt.date)},
        )
    assert calculate(engine=engine).inserted == len(history) > 10_000
    with engine.connect() as connection:
        found = pd.read_sql(text("SELECT * FROM calculated_metrics ORDER BY symbol, date"), connection)
    for symbol, rows in found.groupby("symbol"):
        bars = history[history["symbol"] == symbol].reset_index(drop=True)
        rows = rows.reset_index(drop=True)
        close, volume = bars["close"], bars["volume"]
        atr = talib.ATR(*(bars[name].to_numpy(float) for name in ("high", "low", "close")), 14)
        right = {f"ma_{n}": (close.rolling(n).mean(), 0.00501) for n in (10, 20, 50, 200)} | {
            "atr": (atr, 0.00501),
            "atr_pct": (100 * atr / close, 0.0000501),
            "vol_20d_avg": (volume.rolling(20).mean(), 0.501),
            "vol_vs_avg_pct": (100 * (volume / volume.rolling(20).mean().shift() - 1), 0.00501),
        }
        assert len(rows) == len(bars)
        for name, (values, most) in right.items():
            np.testing.assert_allclose(rows[name].astype(float), values, rtol=0, atol=most, err_msg=f"{symbol} {name}")
