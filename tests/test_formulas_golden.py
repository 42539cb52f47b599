"""The formulas give the answers that were worked out by hand (tests/golden)."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from screener_data.formulas import Bars, advance, benchmark_sums, compute, new_states, rate

GOLDEN = Path(__file__).with_name("golden")
Make = Callable[..., Bars]


def cases(name: str) -> dict[str, list[dict[str, str]]]:
    lines = (GOLDEN / name).read_text(encoding="utf-8").splitlines()
    found: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        found.setdefault(row["case"], []).append(row)
    return found


RATINGS, STAGES, SCORES = cases("rs_rating.csv"), cases("stage.csv"), cases("vcp_score.csv")


def numbers(values: list[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([float(value) if value else np.nan for value in values])


def alone(bars: Bars) -> dict[str, Any]:
    return compute(bars, new_states(bars.symbols), np.ones(bars.symbols, np.bool_))


# --- rs_rating


@pytest.mark.parametrize("case", RATINGS)
def test_rs_rating(case: str, bars_of: Make) -> None:
    rows = RATINGS[case]
    bars = bars_of(*({"close": [1.0], "session": [7]} for _ in rows))
    found = numbers([row["strength"] for row in rows])
    rate(bars, found, np.array([row["ranked"] == "1" for row in rows]))
    np.testing.assert_array_equal(found, numbers([row["rating"] for row in rows]))


def test_each_session_is_rated_on_its_own(bars_of: Make) -> None:
    # session: 0, 20 and 40 (another tile of the compiled loop); the third symbol trades on 20 only
    bars = bars_of(
        {"close": [1.0, 1, 1], "session": [0, 20, 40]},
        {"close": [1.0, 1], "session": [20, 40]},
        {"close": [1.0], "session": [20]},
    )
    found = np.array([0.5, 0.5, 0.5, 0.7, 0.1, 0.6])
    rate(bars, found, np.ones(3, np.bool_))
    np.testing.assert_array_equal(found, [np.nan, 0, 100, 100, 0, 50])


def test_strength_weighs_four_quarters(bars_of: Make) -> None:
    # C = 200 over 160, 125, 100, 80 of 63, 126, 189, 252 bars before: P = 0.25, 0.6, 1, 1.5
    # S = 0.4·0.25 + 0.2·(0.6 + 1 + 1.5) = 0.1 + 0.62 = 0.72
    close = np.full(253, 50.0)
    close[[0, 63, 126, 189, 252]] = [80, 100, 125, 160, 200]
    bars = bars_of({"close": close})
    strength = advance(bars, new_states(1))["rs_rating"]
    assert np.isnan(strength[:252]).all()
    assert strength[252] == pytest.approx(0.72, rel=1e-14)


# --- averages and volume


def test_averages_of_a_ramp(bars_of: Make) -> None:
    # closes 1, 2, 3, …: the mean of the last n at bar t (C = t + 1) is C − (n − 1)/2
    found = alone(bars_of({"close": np.arange(1.0, 231)}))
    for n in (10, 20, 50, 200):
        column = found[f"ma_{n}"]
        assert np.isnan(column[: n - 1]).all()
        np.testing.assert_array_equal(column[n - 1 :], np.arange(n, 231) - (n - 1) / 2)


def test_volume_against_the_twenty_bars_before(bars_of: Make) -> None:
    # 20 bars of 100; then 250: the mean before is 100: +150 %; with today (19·100 + 250)/20 = 107.5
    # then 0: the mean before is 107.5: −100 %; with today (18·100 + 250 + 0)/20 = 102.5
    found = alone(bars_of({"close": np.full(22, 50.0), "volume": [100.0] * 20 + [250, 0]}))
    np.testing.assert_array_equal(found["vol_20d_avg"], [np.nan] * 19 + [100, 107.5, 102.5])
    np.testing.assert_array_equal(found["vol_vs_avg_pct"], [np.nan] * 20 + [150, -100])


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -1.0])
def test_volume_zero_huge_and_unknown(unknown: float, bars_of: Make) -> None:
    # 20 zeros: no average to compare with; one share among them, then 10⁹: +2·10¹² % is more than the column holds
    volume = [0.0] * 20 + [7, 1, 10**9, unknown] + [5.0] * 21
    found = alone(bars_of({"close": np.full(45, 50.0), "volume": volume}))
    assert found["vol_20d_avg"][19] == 0
    np.testing.assert_array_equal(found["vol_vs_avg_pct"][20:23], [np.nan, 100 * (1 / (7 / 20) - 1), 999_999.99])
    # the unknown volume of bar 23 is in the window of the mean up to bar 42, and in the one before up to 43
    np.testing.assert_array_equal(found["vol_20d_avg"][23:], [np.nan] * 20 + [5, 5])
    np.testing.assert_array_equal(found["vol_vs_avg_pct"][23:], [np.nan] * 21 + [0])


def test_a_split_changes_only_the_unit_of_the_day(bars_of: Make) -> None:
    # 100.00 until a split of 10 into 2 (1 share → 5): 20.00 from bar 30 on, volume 1000 → 5000
    scale = np.repeat([1.0, 5.0], 30)
    close = 10_000 / scale
    bars = bars_of(
        {
            "close": close,
            "high": close * 1.01,
            "low": close * 0.99,
            "volume": 1000 * scale,
            "price_scale": scale,
            "volume_scale": 1 / scale,
        }
    )
    found = alone(bars)
    np.testing.assert_array_equal(found["ma_20"], [np.nan] * 19 + [10_000] * 11 + [2_000] * 30)
    np.testing.assert_array_equal(found["vol_20d_avg"][19:], [1_000] * 11 + [5_000] * 30)
    np.testing.assert_array_equal(found["vol_vs_avg_pct"][20:], 0)
    np.testing.assert_allclose(found["atr"][14:], [200] * 16 + [40] * 30, rtol=1e-12)
    np.testing.assert_allclose(found["atr_pct"][14:], 2, rtol=1e-12)


# --- atr


def test_atr_seed_and_step(bars_of: Make) -> None:
    # bar 0 has no true range, though high − low is 900. Bars 1 to 14: H − L = 10, C in the middle: mean 10.
    # Bar 15 gaps down: C 995, H 1000 L 990 from 1000 … TR = max(10, 0, 10) = 10. Bar 16: H 1095 L 1090 C 1090 from 995:
    # TR = 100: (10·13 + 100)/14 = 230/14; atr_pct of 1090: 100·(230/14)/1090
    close = np.array([1000.0] * 15 + [995, 1090])
    high, low = close + 5, close - 5
    high[0], low[0] = 1450, 550
    high[16], low[16] = 1095, 1090
    found = alone(bars_of({"close": close, "high": high, "low": low}))
    np.testing.assert_array_equal(found["atr"], [np.nan] * 14 + [10, 10, 230 / 14])
    np.testing.assert_array_equal(found["atr_pct"][14:], [1, 1000 / 995, 100 * (230 / 14) / 1090])


# --- vars_value


def ramp(bars_of: Make, step: float, half_range: float, **given: Any) -> Bars:
    """C moves by step a bar; H and L lie half_range above and below: TR = |step| + half_range where that is more."""
    close = 100_000 + step * np.arange(70.0)
    return bars_of({"close": close, "high": close + half_range, "low": close - half_range} | given)


def test_vars_by_hand(bars_of: Make) -> None:
    # stock: +100 a bar, TR = 100 + 0: one ATR a bar: 50 in 50 bars. Benchmark: +10, TR = 10 + 10: half: 25. 50 − 25.
    benchmark = benchmark_sums(ramp(bars_of, 10, 10), new_states(1), 70)
    np.testing.assert_array_equal(benchmark, [np.nan] * 64 + [25] * 6)
    for step, right in ((100, 25), (-100, -75), (0, -25)):
        found = advance(ramp(bars_of, step, 0), new_states(1), benchmark)["vars_value"]
        np.testing.assert_array_equal(found, [np.nan] * 64 + [right] * 6)


def test_vars_without_a_benchmark_is_null(bars_of: Make) -> None:
    stock = ramp(bars_of, 100, 0)
    assert np.isnan(advance(stock, new_states(1))["vars_value"]).all()
    # the benchmark has no bar on session 66
    sessions = np.r_[0:66, 67:71]
    benchmark = benchmark_sums(ramp(bars_of, 10, 10, session=sessions), new_states(1), 71)
    found = advance(stock, new_states(1), benchmark)["vars_value"]
    np.testing.assert_array_equal(found, [np.nan] * 64 + [25, 25, np.nan, 25, 25, 25])


# --- stage


@pytest.mark.parametrize("case", STAGES)
def test_stage(case: str, bars_of: Make) -> None:
    rows = STAGES[case]
    weeks = [int(row["weeks"]) for row in rows]
    close = np.repeat([float(row["close"]) for row in rows], weeks)
    session = np.arange(len(close)) * 5 + 2  # one Wednesday a week
    found = alone(bars_of({"close": close, "session": session}))["stage"]
    np.testing.assert_array_equal(found, np.repeat(numbers([row["stage"] for row in rows]), weeks))


def test_the_running_week_counts_as_it_stands_and_is_forgotten(bars_of: Make) -> None:
    # 40 weeks at 100, two at 110 (slope +0.67 %: 3). In the next week Monday stands at 110 (exactly +1 %: 2), Tuesday
    # at 100 (+0.67 %, not above 100.67 and undecided: below: 1), and so Friday, which is what stays of the week.
    # Monday's 2 is no memory: had it been, Tuesday (and the week after) would be 3.
    close = np.repeat([10_000.0, 11_000], [200, 10])
    close = np.r_[close, 11_000, [10_000.0] * 4, [10_000.0] * 5]
    found = alone(bars_of({"close": close}))["stage"]
    np.testing.assert_array_equal(found[210:], [2] + [1] * 4 + [1] * 5)
    assert set(found[200:210]) == {3}


def test_a_week_starts_on_monday_and_may_miss_days(bars_of: Make) -> None:
    # 34 weeks of one session each, Friday and Monday in turn, are 34 weekly closes; a 35th bar in the same week is none
    week = np.arange(34)
    day = week * 7 + np.where(week % 2, 8, 4)  # day 4 was a Monday, day 8 its Friday
    found = alone(bars_of({"close": np.full(34, 100.0), "day": day}))["stage"]
    np.testing.assert_array_equal(found, [np.nan] * 33 + [3])
    with_wednesdays = np.sort(np.r_[day[:33], week[:33] * 7 + 6])
    assert np.isnan(alone(bars_of({"close": np.full(66, 100.0), "day": with_wednesdays}))["stage"]).all()


# --- vcp_score


@pytest.mark.parametrize("case", SCORES)
def test_vcp_score(case: str, bars_of: Make) -> None:
    (row,) = SCORES[case]
    levels = [float(level) for level in row["levels"].split()]
    close = np.r_[np.full(130 - 10 * len(levels), 6000.0), np.repeat(levels, 10)]
    found = alone(bars_of({"close": close}))["vcp_score"]
    assert np.isnan(found[:119]).all()
    assert found[-1] == float(row["score"])


def test_swings_leave_the_window_after_120_bars(bars_of: Make) -> None:
    # "two": highs at bars 80 (the first of its level), 100; k = 2. The first high leaves with bar 200: then one is left
    # (from the second high on: k = 1); that one leaves with bar 220, its low at 110 with 230.
    close = np.r_[np.full(80, 6000.0), np.repeat([10_000.0, 8000, 9800, 8624], 10), np.full(150, 9500.0)]
    found = alone(bars_of({"close": close}))["vcp_score"]
    np.testing.assert_array_equal(found[120:], np.repeat([60.0, 15, 0], [80, 20, 50]))
