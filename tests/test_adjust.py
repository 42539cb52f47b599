"""Factors and adjusted prices against figures worked out by hand."""

from __future__ import annotations

import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, text

import screener_data as sd
from screener_data.adjust import days_of_actions, forward_scales, multipliers

EQUITY = "SYMBOL,NAME OF COMPANY, SERIES, DATE OF LISTING, PAID UP VALUE, MARKET LOT, ISIN NUMBER, FACE VALUE\n"
BC = "SERIES,SYMBOL,SECURITY,RECORD_DT,BC_STRT_DT,BC_END_DT,EX_DT,ND_STRT_DT,ND_END_DT,PURPOSE\n"
MANUAL = "symbol,ex_date,price_factor,volume_factor,reason\n"
I1, I2 = "INE000A01010", "INE000B01018"
MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY = (f"2025-01-{day}" for day in (13, 14, 15, 16, 17))
WEEK = (MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY)


class Market:
    """A small market, written by hand."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder

    def closes(self, symbol: str, by_day: dict[str, float], volume: int = 1000) -> None:
        """Flat bars; the previous close is that of the bar before, as published."""
        before = None
        with self.engine.begin() as connection:
            for day, close in by_day.items():
                connection.execute(
                    text(
                        "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume, vwap, prev_close, "
                        "change_pct, upper_circuit, week_52_low) VALUES (:symbol, :day, :close, :close, :close, "
                        ":close, :volume, :close, :before, 1, :close, :close)"
                    ),
                    {"symbol": symbol, "day": day, "close": close, "before": before, "volume": volume},
                )
                before = close

    def load(self, name: str, content: str) -> sd.LoadResult:
        (self.folder / name).write_text(content)
        (result,) = sd.load(self.folder / name, engine=self.engine)
        assert result.error is None
        return result

    def actions(self, *lines: tuple[str, str, str]) -> None:
        """(symbol, ex-date, purpose) in a bc file."""
        rows = [f"EQ,{symbol},A,{day},,,{day},,,{purpose}\n" for symbol, day, purpose in lines]
        assert self.load("bc17012025.csv", BC + "".join(rows)).inserted == len(lines)

    def manual(self, *lines: str) -> None:
        assert self.load("manual_factors.csv", MANUAL + "".join(f"{line}\n" for line in lines)).rejected == 0

    def factor(self, symbol: str) -> list[tuple[str, float, float]]:
        found = sd.factors(symbol, engine=self.engine)
        assert list(found) == ["symbol", "ex_date", "price_factor", "volume_factor"]
        return [(f"{row.ex_date:%Y-%m-%d}", row.price_factor, row.volume_factor) for row in found.itertuples()]

    def adjusted(self, symbol: str, column: str = "close", start: str | None = None) -> list[float]:
        return sd.prices(symbol, start, columns=column, adjusted=True, engine=self.engine)[column].tolist()


@pytest.fixture
def market(engine: Engine, tmp_path: Path) -> Market:
    return Market(engine, tmp_path)


def week(*closes: float) -> dict[str, float]:
    return dict(zip(WEEK, closes, strict=True))


# --- one action each


@pytest.mark.parametrize(
    ("purpose", "price", "volume", "after"),
    [
        ("FVSPLT FRM RS 10 TO RS 2", 0.2, 5, 20),
        ("FV SPLT FRM RS 10 TO RE 1", 0.1, 10, 10),
        ("BONUS 1:1", 0.5, 2, 50),
        ("BONUS 2:1", 1 / 3, 3, 100 / 3),
        ("BONUS 17:25", 25 / 42, 42 / 25, 100 * 25 / 42),
        ("CONSOLIDATION RE1 TO RS10", 10, 0.1, 1000),
        ("Spl-Rs10 To Rs2/Bonus-1:2", 2 / 15, 7.5, 100 * 2 / 15),  # both on one day multiply
    ],
)
def test_one_day_of_actions(market: Market, purpose: str, price: float, volume: float, after: float) -> None:
    market.closes("A", week(100, 100, after, after, after))
    rows = purpose.count(":") + len([word for word in ("SPL", "CONSOL") if word in purpose.upper()])
    market.load("bc17012025.csv", f"{BC}EQ,A,A,,,,{WEDNESDAY},,,{purpose}\n")
    with market.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM corporate_actions")).scalar_one() == rows
    assert market.factor("A") == [(WEDNESDAY, pytest.approx(price, rel=1e-15), pytest.approx(volume, rel=1e-15))]
    assert market.adjusted("A") == pytest.approx([after] * 5, rel=1e-3)
    assert market.adjusted("A")[0] == pytest.approx(100 * price, rel=1e-15)
    assert market.adjusted("A", "volume") == pytest.approx([1000 * volume] * 2 + [1000] * 3, rel=1e-15)
    assert sd.prices("A", columns="close", engine=market.engine)["close"].tolist()[:2] == [100, 100]


def test_rights_by_the_theoretical_price(market: Market) -> None:
    """As M&MFIN in 2020: 1:1 at a premium of 48, face value 2, last close with rights 227.90."""
    market.closes("A", week(230, 227.9, 140, 140, 140))
    market.load("EQUITY_L.csv", f"{EQUITY}A,A Limited,EQ,06-OCT-2008,2,1,{I1},2\n")
    market.actions(("A", WEDNESDAY, "Rights 1:1 @ Premium Rs 48/-"))
    by_hand = (227.9 + 50) / (2 * 227.9)
    assert market.factor("A") == [(WEDNESDAY, pytest.approx(by_hand, rel=1e-14), pytest.approx(1 / by_hand, rel=1e-14))]


def test_rights_priced_above_the_market_change_nothing(market: Market) -> None:
    market.closes("A", week(100, 100, 100, 100, 100))
    market.load("EQUITY_L.csv", f"{EQUITY}A,A Limited,EQ,06-OCT-2008,10,1,{I1},10\n")
    market.actions(("A", WEDNESDAY, "Rights 1:4 @ Premium Rs 95"))
    assert market.factor("A") == [(WEDNESDAY, 1, 1)]


@pytest.mark.parametrize(
    ("others", "face"),
    [
        ([], 1),  # as the list has it today
        ([(FRIDAY, "FVSPLT FRM RS 10 TO RE 1")], 10),  # the list's is of after the split
        ([(FRIDAY, "FVSPLT FRM RS 5 TO RE 1"), ("2025-02-03", "FVSPLT FRM RS 2 TO RE 1")], 5),
        ([(MONDAY, "FVSPLT FRM RS 10 TO RS 2")], 1),  # an older split says less than the list
    ],
)
def test_the_face_value_is_that_of_the_ex_date(market: Market, others: list[tuple[str, str]], face: int) -> None:
    market.closes("A", week(200, 200, 200, 200, 200))
    market.load("EQUITY_L.csv", f"{EQUITY}A,A Limited,EQ,06-OCT-2008,1,1,{I1},1\n")
    market.actions(("A", WEDNESDAY, "Rights 1:1 @ Premium Rs 90"), *(("A", day, text) for day, text in others))
    found = {day: price for day, price, _ in market.factor("A")}
    assert found[WEDNESDAY] == pytest.approx((200 + 90 + face) / 400, rel=1e-14)


def test_the_face_value_of_the_download_and_of_an_older_split(market: Market) -> None:
    market.closes("A", week(200, 200, 200, 200, 200))
    market.closes("B", week(200, 200, 200, 200, 200))
    header = "symbol,series,ind,faceVal,subject,exDate,recDate\n"
    market.load("Rights.csv", f"{header}A,EQ,-,5,Rights 1:1 @ Premium Rs 90,15-Jan-2025,-\n")
    market.actions(("B", MONDAY, "FVSPLT FRM RS 10 TO RS 2"), ("B", WEDNESDAY, "Rights 1:1 @ Premium Rs 90"))
    assert market.factor("A")[0][1] == pytest.approx((200 + 95) / 400, rel=1e-14)
    assert market.factor("B")[-1][1] == pytest.approx((200 + 92) / 400, rel=1e-14)


def test_rights_come_after_the_other_changes_of_their_day(market: Market) -> None:
    """A split of 1:2 makes 200 to 100; then 1:1 at 40 + 10 makes 75 of it."""
    market.closes("A", week(200, 200, 75, 75, 75))
    market.load("EQUITY_L.csv", f"{EQUITY}A,A Limited,EQ,06-OCT-2008,10,1,{I1},10\n")
    market.actions(("A", WEDNESDAY, "FVSPLT FRM RS 20 TO RS 10"), ("A", WEDNESDAY, "Rights 1:1 @ Premium Rs 40"))
    assert market.factor("A") == [(WEDNESDAY, pytest.approx(0.375, rel=1e-14), pytest.approx(1 / 0.375, rel=1e-14))]


def test_rights_without_a_face_value_have_no_factor(market: Market) -> None:
    market.closes("A", week(200, 200, 200, 200, 200))
    market.actions(("A", WEDNESDAY, "Rights 1:1 @ Premium Rs 90"))
    assert market.factor("A") == []
    with market.engine.connect() as connection:
        assert [day.unknown for day in days_of_actions(connection)] == [("rights",)]


# --- by hand


def test_a_manual_line_replaces_the_day(market: Market) -> None:
    market.closes("A", week(100, 100, 60, 60, 60))
    market.closes("B", week(100, 100, 100, 100, 100))
    market.actions(("A", WEDNESDAY, "DEMERGER"), ("B", WEDNESDAY, "BONUS 1:1"), ("B", FRIDAY, "BONUS 1:1"))
    assert market.factor("A") == []
    assert market.adjusted("A") == [100, 100, 60, 60, 60]
    market.manual(f"A,{WEDNESDAY},0.6,1,the spin-off took 40 of 100", f"B,{WEDNESDAY},1,1,postponed to Friday")
    assert market.factor("A") == [(WEDNESDAY, 0.6, 1)]
    assert market.adjusted("A") == [60, 60, 60, 60, 60]
    assert market.adjusted("A", "volume") == [1000] * 5
    assert market.factor("B") == [(WEDNESDAY, 1, 1), (FRIDAY, 0.5, 2)]


# --- when


def test_an_ex_date_without_a_session_applies_from_the_next(market: Market) -> None:
    bars = {FRIDAY: 100.0, "2025-01-20": 50.0, "2025-01-21": 51.0}
    market.closes("A", bars)
    market.actions(("A", "2025-01-18", "BONUS 1:1"))  # a Saturday
    assert market.adjusted("A") == [50, 50, 51]
    assert market.adjusted("A", "prev_close")[1:] == [50, 50]
    # also where the table of bars begins after it
    assert market.adjusted("A", "prev_close", start="2025-01-20") == [50, 50]
    assert market.adjusted("A", "change_pct", start="2025-01-20") == pytest.approx([0, 2])


def test_an_ex_date_to_come_is_not_in_force(market: Market) -> None:
    market.closes("A", week(100, 100, 100, 100, 100))
    market.actions(("A", "2025-01-20", "BONUS 1:1"))
    assert market.factor("A") == []
    assert market.adjusted("A") == [100] * 5
    market.closes("B", {"2025-01-20": 1.0})  # the market has been there, though A did not trade
    assert market.adjusted("A") == [50] * 5


def test_a_pause_over_several_ex_dates(market: Market) -> None:
    market.closes("A", {MONDAY: 100, FRIDAY: 25})
    market.closes("B", week(1, 1, 1, 1, 1))
    market.actions(("A", TUESDAY, "BONUS 1:1"), ("A", THURSDAY, "FVSPLT FRM RS 2 TO RE 1"))
    assert market.adjusted("A") == [25, 25]
    assert market.adjusted("A", "prev_close", start=FRIDAY) == [25]
    assert market.adjusted("A", "prev_close", start=MONDAY)[1] == 25


def test_every_column_moves_with_its_day(market: Market) -> None:
    market.closes("A", week(100, 110, 55, 60, 66))
    market.closes("NEIGHBOUR", week(10, 10, 10, 10, 10))
    market.actions(("A", WEDNESDAY, "BONUS 1:1"), ("A", FRIDAY, "BONUS 1:10"))
    names = [
        "open",
        "high",
        "low",
        "close",
        "vwap",
        "upper_circuit",
        "week_52_low",
        "volume",
        "prev_close",
        "change_pct",
    ]
    found = sd.prices(["A", "NEIGHBOUR"], columns=names, adjusted=True, engine=market.engine)
    a, b = (found[found["symbol"] == symbol].reset_index(drop=True) for symbol in ("A", "NEIGHBOUR"))
    right = [100 / 2.2, 110 / 2.2, 55 / 1.1, 60 / 1.1, 66]
    for name in names[:7]:
        assert a[name].tolist() == pytest.approx(right, rel=1e-14), name
    assert a["volume"].tolist() == pytest.approx([2200, 2200, 1100, 1100, 1000], rel=1e-14)
    assert a["prev_close"].tolist()[1:] == pytest.approx(right[:4], rel=1e-14)
    changes = [100 * (after / before - 1) for before, after in pairwise(right)]
    assert a["change_pct"].tolist()[1:] == pytest.approx(changes, abs=1e-9)
    assert np.isnan(a["change_pct"][0])
    assert set(b["close"]) == {10}
    only = sd.prices("A", columns="change_pct", adjusted=True, engine=market.engine)
    assert list(only) == ["symbol", "date", "change_pct"]
    assert only["change_pct"].tolist()[1:] == pytest.approx(changes, abs=1e-9)
    wide = sd.panel("close", adjusted=True, engine=market.engine)
    assert wide["A"].tolist() == pytest.approx(right, rel=1e-14)


def test_without_actions_adjusted_prices_are_the_published_ones(market: Market) -> None:
    market.closes("A", week(100, 110, 55, 60, 66))
    usual = sd.prices(engine=market.engine)
    pd.testing.assert_frame_equal(sd.prices(adjusted=True, engine=market.engine), usual)
    assert sd.prices([], adjusted=True, engine=market.engine).empty
    assert sd.factors(engine=market.engine).empty


# --- identity


def test_a_split_with_a_new_isin_and_a_rename_leave_the_series_whole(market: Market) -> None:
    market.load("EQUITY_L.csv", f"{EQUITY}OLD,A Limited,EQ,06-OCT-2008,10,1,{I1},10\n")
    market.closes("OLD", {MONDAY: 100, TUESDAY: 100})
    market.actions(("OLD", WEDNESDAY, "FVSPLT FRM RS 10 TO RS 2"))
    market.load("EQUITY_L.csv", f"{EQUITY}OLD,A Limited,EQ,06-OCT-2008,2,1,{I2},2\n")  # the split's ISIN
    market.closes("OLD", {WEDNESDAY: 20})
    market.load("EQUITY_L.csv", f"{EQUITY}NEW,A Limited,EQ,06-OCT-2008,2,1,{I2},2\n")  # the new name
    market.closes("NEW", {THURSDAY: 20, FRIDAY: 10})
    market.actions(("NEW", FRIDAY, "BONUS 1:1"))
    assert market.adjusted("NEW") == [10] * 5
    assert [day for day, _, _ in market.factor("NEW")] == [WEDNESDAY, FRIDAY]
    # yesterday's bc file says it again, under the old name
    again = market.load("bc14012025.csv", f"{BC}BE,OLD,A,,,,{WEDNESDAY},,,Fv Split Rs.10 To Rs.2\n")
    assert (again.inserted, again.unchanged) == (0, 1)


def test_a_rename_onto_a_name_with_the_same_action_keeps_both_rows(market: Market) -> None:
    market.load("EQUITY_L.csv", f"{EQUITY}OLD,A Limited,EQ,06-OCT-2008,10,1,{I1},10\n")
    market.actions(("OLD", WEDNESDAY, "BONUS 1:1"), ("OLD", FRIDAY, "BONUS 1:1"), ("NEW", WEDNESDAY, "BONUS 1:1"))
    market.load("EQUITY_L.csv", f"{EQUITY}NEW,A Limited,EQ,06-OCT-2008,10,1,{I1},10\n")
    with market.engine.connect() as connection:
        found = connection.execute(text("SELECT symbol, ex_date::text FROM corporate_actions ORDER BY 1, 2")).all()
    assert [tuple(row) for row in found] == [("NEW", WEDNESDAY), ("NEW", FRIDAY), ("OLD", WEDNESDAY)]


# --- forwards, and in bulk


def test_forward_scales_are_exact(market: Market) -> None:
    market.closes("A", week(1, 1, 1, 1, 1))
    market.closes("B", week(1, 1, 1, 1, 1))
    market.actions(
        *(("A", day, "BONUS 1:2") for day in WEEK),
        ("B", TUESDAY, "FVSPLT FRM RS 10 TO RS 2"),
        ("B", FRIDAY, "CONSOLIDATION RE1 TO RS10"),
    )
    with market.engine.connect() as connection:
        found = forward_scales(connection)
    assert list(found) == ["symbol", "ex_date", "price_scale", "volume_scale"]
    a, b = (found[found["symbol"] == symbol] for symbol in "AB")
    assert a["price_scale"].tolist() == [float(Fraction(3, 2) ** n) for n in range(1, 6)]
    assert a["volume_scale"].tolist() == [float(Fraction(2, 3) ** n) for n in range(1, 6)]
    assert b["price_scale"].tolist() == [5, 0.5]
    assert b["volume_scale"].tolist() == [0.2, 2]


def test_backwards_and_forwards_differ_by_one_constant(market: Market) -> None:
    market.closes("A", week(300, 310, 100, 105, 50))
    market.actions(("A", WEDNESDAY, "BONUS 2:1"), ("A", FRIDAY, "BONUS 1:1"))
    with market.engine.connect() as connection:
        scales = forward_scales(connection).set_index("ex_date")["price_scale"]
    raw = sd.prices("A", columns="close", engine=market.engine).set_index("date")["close"]
    forwards = raw * scales.reindex(raw.index).ffill().fillna(1)
    assert np.ptp(forwards.to_numpy() / np.array(market.adjusted("A"))) < 1e-12


def test_multipliers_equal_a_slow_and_simple_way(market: Market) -> None:
    """Many symbols with random bars and actions, against one product per row."""
    rng = np.random.default_rng(5)
    days = pd.date_range("2025-01-01", periods=60)
    symbols = [f"S{n:02d}" for n in range(30)]
    for symbol in symbols:
        market.closes(symbol, {f"{day:%Y-%m-%d}": 10.0 for day in days[np.sort(rng.permutation(60)[:25])]})
    lines = [
        (symbol, f"{days[k]:%Y-%m-%d}", f"BONUS {rng.integers(1, 5)}:{rng.integers(1, 5)}")
        for symbol in symbols[::2]
        for k in rng.permutation(60)[:6]
    ]
    market.actions(*lines)
    found = sd.factors(engine=market.engine)
    frame = sd.prices(columns="close", start="2025-01-20", engine=market.engine)
    everything = sd.prices(columns="close", engine=market.engine)
    with market.engine.connect() as connection:
        fast = multipliers(connection, frame)
    for row, (symbol, day) in enumerate(zip(frame["symbol"], frame["date"], strict=True)):
        own = found[found["symbol"] == symbol]
        later = own[own["ex_date"] > day]
        assert fast.price[row] == pytest.approx(later["price_factor"].prod(), rel=1e-12)
        assert fast.volume[row] == pytest.approx(later["volume_factor"].prod(), rel=1e-12)
        stored = everything[(everything["symbol"] == symbol) & (everything["date"] < day)]["date"]
        if len(stored):
            since = own[own["ex_date"] > stored.max()]
            assert fast.previous[row] == pytest.approx(since["price_factor"].prod(), rel=1e-12)


def test_a_million_rows_take_a_moment(market: Market) -> None:
    market.closes("S0000", {"2025-12-31": 1.0})
    with market.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO corporate_actions (symbol, ex_date, kind, shares_before, shares_after, purpose) "
                "SELECT 'S' || lpad(s::text, 4, '0'), date '2021-01-01' + 300 * k, 'bonus', 1, 2, 'BONUS 1:1' "
                "FROM generate_series(0, 999) s, generate_series(0, 4) k"
            )
        )
    names = pd.Categorical.from_codes(np.repeat(np.arange(1000), 1000), [f"S{n:04d}" for n in range(1000)])
    frame = pd.DataFrame({"symbol": names, "date": np.tile(pd.date_range("2021-01-01", periods=1000), 1000)})
    with market.engine.connect() as connection:
        started = time.process_time()
        found = multipliers(connection, frame)
        assert time.process_time() - started < 3
    assert found.price[0] == 2.0**-4  # one of the five was before
