"""The formulas keep their contracts: TA-Lib's figures, a slow reading of the definitions, any cut, no look-ahead."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from screener_data.errors import UsageError
from screener_data.formulas import COLUMNS, STATE, Bars, advance, benchmark_sums, compute, new_states, rate
from screener_data.formulas.compiled import source_digest
from screener_data.formulas.stage import week_end
from screener_data.formulas.volume import MOST_VS_AVG_PCT
from screener_data.models import CalculatedMetrics

Make = Callable[..., Bars]
Floats = NDArray[np.float64]
MONEY = ("atr", "ma_10", "ma_20", "ma_50", "ma_200")
SCALE_FREE = tuple(name for name in COLUMNS if name not in (*MONEY, "vol_20d_avg"))


def walk(seed: int, bars: int, *, dirty: bool = True) -> dict[str, Any]:
    """One symbol's bars as the exchange might print them, and with what it should not."""
    rng = np.random.default_rng(seed)
    calm = rng.random(bars) < rng.choice([0.02, 0.3])  # days on which nothing moves
    steps = np.where(calm, 0, rng.standard_t(4, bars) * rng.choice([0.004, 0.02]) + rng.normal(0, 0.002))
    close = np.maximum(np.rint(rng.choice([900, 20_000, 3_000_000]) * np.exp(np.cumsum(np.clip(steps, -0.2, 0.2)))), 5)
    spread = np.where(calm, 0, rng.random(bars) * 0.02)
    high, low = np.rint(close * (1 + spread)), np.maximum(np.rint(close * (1 - spread)), 1)
    volume = np.floor(rng.lognormal(8, 2, bars)) * (rng.random(bars) > 0.02)
    session = np.sort(rng.choice(bars + 20, bars, replace=False))
    price_scale, volume_scale = np.ones(bars), np.ones(bars)
    for at, ratio in ((bars // 3, 5.0), (bars // 2, 1.37)):  # a split, and a demerger that leaves no round factor
        price_scale[at:] *= ratio
        volume_scale[at:] /= ratio
        for column in (close, high, low):
            column[at:] = np.maximum(np.rint(column[at:] / ratio), 1)
    if dirty:
        volume[rng.random(bars) < 0.01] = np.nan
        volume[5:40] = 0
        for column, value in ((close, np.nan), (high, 0.0), (low, -5.0), (close, np.inf)):
            column[rng.random(bars) < 0.005] = value
    return {
        "close": close,
        "high": high,
        "low": low,
        "volume": volume,
        "session": session,
        "price_scale": price_scale,
        "volume_scale": volume_scale,
    }


@pytest.fixture(scope="module")
def bars(bars_of: Make) -> Bars:
    """Symbols of all kinds: long, short, of one bar, of none, never moving."""
    flat = {"close": np.full(300, 700.0), "volume": np.zeros(300)}
    long = [walk(seed, 330, dirty=seed % 2 == 0) for seed in range(6)]
    return bars_of(*long, walk(7, 40), walk(8, 1, dirty=False), {"close": []}, flat, walk(9, 262))


@pytest.fixture(scope="module")
def benchmark(bars_of: Make, bars: Bars) -> Floats:
    return benchmark_sums(bars_of(walk(99, 330, dirty=False)), new_states(1), int(bars.session.max()) + 1)


def ranked(bars: Bars) -> NDArray[np.bool_]:
    return np.arange(bars.symbols) != 1


def whole(bars: Bars, benchmark: Floats | None = None, **options: int) -> dict[str, Floats]:
    return compute(bars, new_states(bars.symbols), ranked(bars), benchmark, **options)


def part(bars: Bars, keep: NDArray[np.bool_]) -> Bars:
    """The bars for which keep is true, of the same symbols."""
    offsets = np.r_[0, np.cumsum(keep)][bars.offsets].astype(np.int64)
    columns = {one.name: getattr(bars, one.name)[keep] for one in fields(bars) if one.name != "offsets"}
    return Bars(offsets=offsets, **columns)


def same_bits(found: dict[str, Floats], right: dict[str, Floats], names: tuple[str, ...] = COLUMNS) -> None:
    for name in names:
        np.testing.assert_array_equal(found[name].view(np.int64), right[name].view(np.int64), name)


# --- TA-Lib


def rounded(paise: Floats) -> Floats:
    """Half away from zero to what is stored: two places of a rupee."""
    return np.floor(paise + 0.5)


def like_talib(bars: Bars) -> int:
    found, compared = whole(bars), 0
    for a, b in pairwise(bars.offsets):
        high, low, close = bars.high[a:b], bars.low[a:b], bars.close[a:b]
        right = {f"ma_{n}": talib.SMA(close, n) for n in (10, 20, 50, 200)} | {"atr": talib.ATR(high, low, close, 14)}
        for name, column in right.items():
            np.testing.assert_array_equal(rounded(found[name][a:b]), rounded(column), f"{name} of bars {a} to {b}")
            compared += int(np.isfinite(column).sum())
        np.testing.assert_allclose(found["atr_pct"][a:b], talib.NATR(high, low, close, 14), rtol=1e-12)
    return compared


def test_a_constant_true_range_is_its_own_mean_to_the_last_bit(bars_of: Make) -> None:
    for width in range(1, 100):
        close = np.full(400, 1000.0)
        found = whole(bars_of({"close": close, "high": close + width, "low": close}))["atr"]
        assert len(set(found[14:])) == 1


def from_frame(frame: pd.DataFrame, bars_of: Make) -> Bars:
    """Bars out of columns symbol, day, high, low, close in rupees, sorted."""
    frame = frame.assign(session=pd.factorize(frame["day"], sort=True)[0])
    return bars_of(
        *(
            {name: np.rint(one[name].to_numpy() * 100) for name in ("high", "low", "close")}
            | {"session": one["session"].to_numpy()}
            for _, one in frame.groupby("symbol", sort=True)
        )
    )


def test_averages_and_atr_are_talibs_on_seven_years_of_150_symbols(shared: Path, bars_of: Make) -> None:
    (file,) = (shared / "history").glob("raw_ohlcv_150_symbols_*.csv.gz")
    frame = pd.read_csv(
        file, usecols=["SYMBOL", "DATE", "HIGH_PRICE", "LOW_PRICE", "CLOSE_PRICE"], keep_default_na=False
    )
    frame.columns = pd.Index(["symbol", "day", "high", "low", "close"])
    assert like_talib(from_frame(frame.sort_values(["symbol", "day"]), bars_of)) > 1_000_000


def test_averages_and_atr_are_talibs_on_half_a_year_of_bhavcopies(shared: Path, bars_of: Make) -> None:
    names = {"SYMBOL": "symbol", "DATE1": "day", "HIGH_PRICE": "high", "LOW_PRICE": "low", "CLOSE_PRICE": "close"}
    days = [
        pd.read_csv(file, skipinitialspace=True, usecols=["SERIES", *names], keep_default_na=False).query(
            "SERIES == 'EQ'"
        )
        for file in (shared / "bhavcopy" / "full").glob("*2025.csv")
    ]
    frame = pd.concat(days).rename(columns=names)
    frame["day"] = pd.to_datetime(frame["day"].str.strip(), format="%d-%b-%Y")
    some = sorted(set(frame["symbol"]))[::10]
    assert like_talib(from_frame(frame[frame["symbol"].isin(some)].sort_values(["symbol", "day"]), bars_of)) > 50_000


def test_averages_and_atr_are_talibs_on_random_walks(bars_of: Make) -> None:
    walks = [walk(seed, 600, dirty=False) | {"price_scale": np.ones(600)} for seed in range(20, 40)]
    assert like_talib(bars_of(*walks)) > 50_000


# --- the definitions, read slowly: for each bar from nothing but the bars up to it


def slow_score(rows: list[tuple[float, float, float]], atr: list[float]) -> float:
    """vcp_score of the last of these (high, low, close)."""
    swings: list[tuple[str, int, float]] = []
    high_at = max(range(15), key=lambda at: (rows[at][0], -at))
    kind, at, extreme = "high", high_at, rows[high_at][0]
    for bar in range(14, len(rows)):
        high, low, _ = rows[bar]
        if kind == "high" and (bar == at or high > extreme):
            at, extreme = bar, high
        elif kind == "low" and low < extreme:
            at, extreme = bar, low
        elif atr[bar] == 0:
            continue
        elif kind == "high" and extreme - low >= 1.5 * atr[bar]:
            swings.append(("high", at, extreme))
            kind, at, extreme = "low", bar, low
        elif kind == "low" and high - extreme >= 1.5 * atr[bar]:
            swings.append(("low", at, extreme))
            kind, at, extreme = "high", bar, high
    inside = [swing for swing in swings if swing[1] > len(rows) - 1 - 120]
    highs = [swing for swing in inside if swing[0] == "high"]
    if not highs:
        return 0.0
    start = max(highs, key=lambda swing: (swing[2], -swing[1]))
    rest = [swing[2] for swing in inside[inside.index(start) :]]
    pairs = list(zip(rest[::2], rest[1::2], strict=False))
    k = len(pairs)
    depths = [(high - low) / high for high, low in pairs]
    ratios = [after / before for before, after in pairwise(depths)]
    near = all(high >= 0.95 * pairs[0][0] for high, _ in pairs)
    if k < 2 or not 0.08 <= depths[0] <= 0.35 or max(ratios) > 0.75 or not near:
        return min(40.0, 15.0 * k)
    score = {2: 60.0, 3: 80.0}.get(k, 90.0)
    score += 10 * (depths[-1] < 0.05) + 10 * (sum(ratios) / len(ratios) < 0.4) - 10 * (depths[0] > 0.3)
    return max(0.0, min(100.0, score))


def slow_reading(weekly: list[float]) -> tuple[float, int]:
    """(close − SMA30, the decisive stage 2 or 4, else 0) of the last of these weekly closes; needs 34."""
    mean, before = sum(weekly[-30:]) / 30, sum(weekly[-34:-4]) / 30
    slope, lead = mean / before - 1, weekly[-1] - mean
    if abs(slope) < 0.01:
        return lead, 0
    return lead, 2 if lead > 0 and slope > 0 else 4 if lead < 0 and slope < 0 else 0


def slow_stage(days: list[int], closes: list[float]) -> float:
    weekly = {(day + 3) // 7: close for day, close in zip(days, closes, strict=True)}
    series = list(weekly.values())
    if len(series) < 34:
        return math.nan
    lead, now = slow_reading(series)
    if now:
        return now
    for weeks in range(len(series) - 1, 33, -1):
        if past := slow_reading(series[:weeks])[1]:
            return {2: 3, 4: 1}[past]
    return 1 if lead < 0 else 3


def slow_symbol(bars: Bars, a: int, b: int, benchmark: Floats, score_every: int = 1) -> dict[str, Floats]:
    """All columns but the rating (the strength in its place) of one symbol's bars."""
    out = {name: np.full(b - a, np.nan) for name in COLUMNS}
    rows: list[tuple[float, float, float]] = []
    days: list[int] = []
    closes: list[float] = []
    volumes: list[float] = []
    ranges: list[float] = []
    atr: list[float] = []
    moves: list[float] = []
    for i in range(a, b):
        unit = bars.price_scale[i]
        row = (bars.high[i] * unit, bars.low[i] * unit, bars.close[i] * unit)
        if not all(0 < value < math.inf for value in row):
            continue
        t = len(closes)
        high, low, close = row
        rows.append(row)
        days.append(int(bars.day[i]))
        closes.append(close)
        volumes.append(bars.volume[i] * bars.volume_scale[i])
        ranges.append(max(high - low, abs(high - closes[-2]), abs(low - closes[-2])) if t else math.nan)
        if t < 14:
            atr.append(math.nan)
        else:
            atr.append(sum(ranges[1:15]) / 14 if t == 14 else (atr[-1] * 13 + ranges[t]) / 14)
        moves.append((close - closes[-2]) / atr[t] if t >= 15 and atr[t] else 0.0)
        found: dict[str, float] = {f"ma_{n}": sum(closes[-n:]) / n / unit for n in (10, 20, 50, 200) if t >= n - 1}
        if t >= 19:
            found["vol_20d_avg"] = sum(volumes[-20:]) / 20 / bars.volume_scale[i]
        if t >= 20 and (mean := sum(volumes[-21:-1]) / 20):
            found["vol_vs_avg_pct"] = min(100 * (volumes[-1] / mean - 1), 999_999.99) if mean == mean else math.nan
        if t >= 14:
            found |= {"atr": atr[t] / unit, "atr_pct": 100 * atr[t] / close}
        if t >= 252:
            rise = {n: close / closes[-1 - n] - 1 for n in (63, 126, 189, 252)}
            found["rs_rating"] = 0.4 * rise[63] + 0.2 * rise[126] + 0.2 * rise[189] + 0.2 * rise[252]
        if t >= 64:
            found["vars_value"] = math.fsum(moves[-50:]) - benchmark[bars.session[i]]
        found["stage"] = slow_stage(days, closes)
        if t >= 119:
            found["vcp_score"] = slow_score(rows, atr)
        for name, value in found.items():
            out[name][i - a] = value
    return out


def test_the_formulas_are_the_definitions_read_slowly(bars: Bars, benchmark: Floats) -> None:
    symbols = [slow_symbol(bars, a, b, benchmark) for a, b in pairwise(bars.offsets)]
    right = {name: np.concatenate([symbol[name] for symbol in symbols]) for name in COLUMNS}
    owner = np.repeat(np.arange(bars.symbols), np.diff(bars.offsets))
    frame = pd.DataFrame({"session": bars.session, "s": np.where(ranked(bars)[owner], right["rs_rating"], np.nan)})
    # the strength to within its rounding first: the rating compares it exactly
    strength = advance(bars, new_states(bars.symbols))["rs_rating"]
    np.testing.assert_allclose(strength, right["rs_rating"], rtol=1e-12, atol=1e-14)
    rank, n = frame.groupby("session")["s"].rank(), frame.groupby("session")["s"].transform("count")
    right["rs_rating"] = (100 * (rank - 1) / (n - 1).where(n > 1)).to_numpy()
    found = whole(bars, benchmark)
    for name in COLUMNS:
        np.testing.assert_allclose(found[name], right[name], rtol=1e-9, atol=1e-9, err_msg=name)
        assert len(np.unique(right[name][np.isfinite(right[name])])) > 2, f"{name}: the walks show too little"


# --- the state


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 350), min_size=1, max_size=6))
def test_a_history_cut_anywhere_gives_the_same_bits(bars: Bars, benchmark: Floats, cuts: list[int]) -> None:
    right_states = new_states(bars.symbols)
    right = compute(bars, right_states, ranked(bars), benchmark)
    states = new_states(bars.symbols)
    found = {name: np.full(len(bars.close), -1.0) for name in COLUMNS}
    edges = [0, *sorted(cuts), 1000]
    for first, end in pairwise(edges):
        keep = (bars.session >= first) & (bars.session < end)
        states = np.frombuffer(states.tobytes(), STATE).copy()  # as it is stored and read again
        for name, column in compute(part(bars, keep), states, ranked(bars), benchmark).items():
            found[name][keep] = column
    same_bits(found, right)
    assert states.tobytes() == right_states.tobytes()


def test_day_by_day_gives_the_same_bits(bars: Bars, benchmark: Floats) -> None:
    right_states, states = new_states(bars.symbols), new_states(bars.symbols)
    right = compute(bars, right_states, ranked(bars), benchmark)
    found = {name: np.full(len(bars.close), -1.0) for name in COLUMNS}
    for session in range(int(bars.session.max()) + 1):
        keep = bars.session == session
        for name, column in compute(part(bars, keep), states, ranked(bars), benchmark).items():
            found[name][keep] = column
    same_bits(found, right)
    assert states.tobytes() == right_states.tobytes()


def test_the_future_changes_no_past_figure(bars: Bars, benchmark: Floats) -> None:
    right = whole(bars, benchmark)
    keep = bars.session < 290
    rng = np.random.default_rng(5)
    other = {
        name: np.where(keep, getattr(bars, name), rng.integers(1, 10**6, len(keep)))
        for name in ("high", "low", "close", "volume")
    }
    for changed in (
        whole(part(bars, keep), benchmark),
        {n: c[keep] for n, c in whole(replace(bars, **other), benchmark).items()},
    ):
        same_bits(changed, {name: column[keep] for name, column in right.items()})


def test_threads_change_nothing(bars: Bars, benchmark: Floats) -> None:
    right = whole(bars, benchmark, threads=1)
    for threads in (2, 5):
        same_bits(whole(bars, benchmark, threads=threads), right)


def test_columns_may_be_written_to_memory_of_before(bars: Bars, benchmark: Floats) -> None:
    out = np.full((len(COLUMNS), len(bars.close)), 7.0)
    found = compute(bars, new_states(bars.symbols), ranked(bars), benchmark, out=out)
    same_bits(found, whole(bars, benchmark))
    assert all(column.base is out for column in found.values())


def test_blocks_of_symbols_change_nothing_but_the_rating(bars: Bars, benchmark: Floats) -> None:
    right = whole(bars, benchmark)
    owner = np.repeat(np.arange(bars.symbols), np.diff(bars.offsets))
    for symbol in range(bars.symbols):
        keep = owner == symbol
        found = whole(part(bars, keep), benchmark)
        same_bits(found, {name: column[keep] for name, column in right.items()}, COLUMNS[1:])


# --- scales


@pytest.mark.parametrize("factor", [8.0, 3.0])
def test_prices_in_another_unit_change_only_money(bars: Bars, benchmark: Floats, factor: float) -> None:
    right = whole(bars, benchmark)
    found = whole(replace(bars, **{name: getattr(bars, name) * factor for name in ("high", "low", "close")}), benchmark)
    if factor == 8:
        same_bits(found, right, (*SCALE_FREE, "vol_20d_avg"))
        same_bits({name: found[name] / factor for name in MONEY}, right, MONEY)
    for name in COLUMNS:
        np.testing.assert_allclose(found[name], right[name] * (factor if name in MONEY else 1), rtol=1e-9, atol=1e-9)


def test_scales_are_the_same_as_scaled_bars(bars: Bars, benchmark: Floats) -> None:
    ones = np.ones(len(bars.close))
    scaled = {name: getattr(bars, name) * bars.price_scale for name in ("high", "low", "close")}
    scaled["volume"] = bars.volume * bars.volume_scale
    found, right = (
        whole(bars, benchmark),
        whole(replace(bars, **scaled, price_scale=ones, volume_scale=ones), benchmark),
    )
    same_bits(found, right, SCALE_FREE)
    for name in MONEY:
        np.testing.assert_allclose(found[name] * bars.price_scale, right[name], rtol=1e-14)
    np.testing.assert_allclose(found["vol_20d_avg"] * bars.volume_scale, right["vol_20d_avg"], rtol=1e-14)


# --- the rating


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([-0.5, 0.0, -0.0, 0.1, 0.1 + 1e-17, 0.1 + 2e-17, 1e-300, 3.0, 1e8, math.nan])
        | st.floats(-1, 50),
        min_size=1,
        max_size=40,
    )
)
def test_ratings_are_pandas_ranks(bars_of: Make, values: list[float]) -> None:
    strength = np.array(values)
    rate(bars_of(*({"close": [1.0]} for _ in values)), strength, np.ones(len(values), np.bool_))
    n = np.isfinite(values).sum()
    right = 100 * (pd.Series(values).rank() - 1) / (n - 1) if n > 1 else np.full(len(values), np.nan)
    np.testing.assert_allclose(strength, right, rtol=1e-14)


def test_ratings_of_many_symbols_and_sessions_are_pandas_ranks(bars_of: Make) -> None:
    """More than fill a cache line, for more sessions than are ranked together: some always there, some not."""
    rng = np.random.default_rng(12)
    symbols, sessions = 43, 150
    there = np.ones((symbols, sessions), np.bool_)
    there[5] = rng.random(sessions) < 0.8
    there[20, :70], there[21, 100:], there[30] = False, False, False
    strength = np.where(rng.random(there.shape) < 0.1, 0.25, rng.standard_t(2, there.shape) / 3)  # with ties
    strength[10, :64], strength[40, 3] = np.nan, np.nan
    strength = np.maximum(strength, -1.5)  # below -1 is of no world, and must be ranked all the same
    ranked = np.arange(symbols) % 17 != 1
    bars = bars_of(*({"close": np.ones(own.sum()), "session": np.flatnonzero(own)} for own in there))
    right = pd.DataFrame(np.where(there & ranked[:, None], strength, np.nan))
    right = 100 * (right.rank() - 1) / (right.count() - 1)
    for threads in (1, 3):
        found = strength[there]
        rate(bars, found, ranked, threads=threads)
        np.testing.assert_allclose(found, right.to_numpy()[there], rtol=1e-14)


def test_a_higher_close_never_lowers_the_rating(bars: Bars) -> None:
    last = [int(b) - 1 for a, b in pairwise(bars.offsets) if b - a > 253]
    right = whole(bars)["rs_rating"]
    for bar in last:
        lifted = bars.close.copy()
        lifted[bar] *= 1.5
        found = whole(replace(bars, close=lifted))["rs_rating"]
        assert np.isnan(right[bar]) or found[bar] >= right[bar]


# --- dirt and wrong use


def test_a_bar_without_a_price_is_no_bar(bars: Bars, benchmark: Floats) -> None:
    found = whole(bars, benchmark)
    clean = np.ones(len(bars.close), np.bool_)
    for name in ("high", "low", "close"):
        clean &= (getattr(bars, name) > 0) & np.isfinite(getattr(bars, name))
    assert 5 < (~clean).sum() < 100
    same_bits({name: column[clean] for name, column in found.items()}, whole(part(bars, clean), benchmark))
    assert all(np.isnan(column[~clean]).all() for column in found.values())


def test_nothing_is_infinite(bars: Bars, benchmark: Floats) -> None:
    for name, column in whole(bars, benchmark).items():
        assert not np.isinf(column).any(), name
    flat = whole(bars)["atr"][bars.offsets[9] : bars.offsets[10]]
    assert set(flat[14:]) == {0.0}


def test_no_bars_at_all(bars_of: Make) -> None:
    for bars in (bars_of({"close": []}, {"close": []}), part(bars_of({"close": [1.0]}), np.zeros(1, np.bool_))):
        assert [len(column) for column in whole(bars).values()] == [0] * 12


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"day": np.array([4, 4, 9], np.int32)},
            "day must rise from bar to bar of a symbol (bar 1, of symbol 0: 4 then 4)",
        ),
        ({"session": np.array([1, 0, 0], np.int32)}, "session must rise .*bar 1, of symbol 0: 1 then 0"),
        ({"session": np.array([-1, 0, 0], np.int32)}, "session must be 0 or more (found -1)"),
        (
            {"close": np.ones(2)},
            "close must be float64, one contiguous value per bar (3 by offsets), found float64 (2,)",
        ),
        ({"high": np.ones(3, np.int64)}, "high must be float64, .* found int64"),
        ({"low": np.ones(6)[::2]}, "low must be float64, one contiguous"),
        ({"offsets": np.array([0, 3, 2])}, "offsets must"),
        ({"offsets": np.array([1, 3])}, "offsets must"),
    ],
)
def test_bars_that_would_be_read_amiss_are_refused(bars_of: Make, changed: dict[str, Any], said: str) -> None:
    right = bars_of({"close": [1.0, 2.0]}, {"close": [3.0]})
    with pytest.raises(UsageError, match=said.replace("(", r"\(").replace(")", r"\)")):
        replace(right, **changed)


def test_states_and_benchmark_must_fit(bars_of: Make) -> None:
    bars = bars_of({"close": [1.0]}, {"close": [1.0, 2.0]})
    states = new_states(2)
    advance(bars, states)
    before = states.tobytes()
    with pytest.raises(UsageError, match="symbol 0: the first bar is not after day 4"):
        advance(bars, states)
    with pytest.raises(UsageError, match="one STATE for each of 2 symbols"):
        advance(bars, new_states(3))
    with pytest.raises(UsageError, match="one float64 for each of 2 sessions"):
        advance(bars, new_states(2), np.zeros(1))
    with pytest.raises(UsageError, match="out must be float64"):
        advance(bars, new_states(2), out=np.empty((12, 2)))
    with pytest.raises(UsageError, match="one bool for each of 2 symbols"):
        rate(bars, np.zeros(3), np.ones(3, np.bool_))
    assert states.tobytes() == before


# --- what stands twice


def test_the_columns_are_the_tables() -> None:
    table = CalculatedMetrics.__table__.columns
    assert set(COLUMNS) == set(table.keys()) - {"id", "symbol", "date", "created_at"}
    kind: Any = table["vol_vs_avg_pct"].type
    assert 10 ** (kind.precision - kind.scale) - 10**-kind.scale == MOST_VS_AVG_PCT


def test_weeks_are_iso_weeks() -> None:
    epoch = pd.Timestamp("1970-01-01")
    for day in pd.date_range("1969-12-20", "1971-01-20"):
        sunday = epoch + pd.Timedelta(days=week_end((day - epoch).days))
        assert sunday.isocalendar() == (*day.isocalendar()[:2], 7)


def test_a_change_of_any_source_makes_stored_machine_code_stale(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    first = source_digest(tmp_path)
    (tmp_path / "b.py").write_text("1")
    second = source_digest(tmp_path)
    (tmp_path / "b.py").write_text("2")
    assert len({first, second, source_digest(tmp_path)}) == 3
