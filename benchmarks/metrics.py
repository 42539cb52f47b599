#!/usr/bin/env python3
"""How fast the formulas compute, beside pandas and TA-Lib: `python benchmarks/metrics.py` prints one table.

All columns of calculated_metrics from bars that lie in memory, and nothing stored. Beside it the same columns in plain
pandas (groupby, rolling; without vcp_score, which it cannot say), and a loop over the symbols with TA-Lib that does no
more than four averages and the ATR. They take turns; a ratio is of medians. What pandas and TA-Lib find must be what
the formulas find, or no speed is told.

README.md beside this file says how to read the table. Exit codes: 0, 1 a bar was missed, 2 a figure was wrong.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numba
import numpy as np
import pandas as pd
import talib
from numpy.typing import NDArray

from screener_data.formulas import COLUMNS, Bars, advance, benchmark_sums, compute, new_states, rate
from screener_data.formulas.contraction import contraction_scores
from screener_data.formulas.state import VCP_WINDOW

SEED = 20250116
FULL = (2_500, 2_500)
QUICK = (2_500, 500)
PANDAS_BAR = 10.0
TALIB_BAR = 1.0
Columns = dict[str, NDArray[np.float64]]


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def make(symbols: int, sessions: int) -> tuple[Bars, Bars]:
    """Invented bars of the symbols, and of the benchmark; one in five starts later, volumes and prices as they come."""
    rng = np.random.default_rng(SEED)

    def bars(starts: NDArray[np.int64]) -> Bars:
        lengths = sessions - starts
        offsets = np.r_[0, np.cumsum(lengths)].astype(np.int64)
        session = np.concatenate([np.arange(start, sessions) for start in starts]).astype(np.int32)
        total = int(offsets[-1])
        steps = rng.standard_t(5, total) * 0.015
        level = np.concatenate([np.cumsum(steps[a:b]) for a, b in pairwise(offsets)])
        close = np.maximum(np.rint(np.repeat(rng.lognormal(10.5, 1, len(starts)), lengths) * np.exp(level)), 100)
        return Bars(
            offsets=offsets,
            day=(session // 5 * 7 + session % 5 + 4).astype(np.int32),
            session=session,
            high=np.rint(close * (1 + 0.02 * rng.random(total))),
            low=np.rint(close * (1 - 0.02 * rng.random(total))),
            close=close,
            volume=np.floor(rng.lognormal(10, 1.5, total)),
            price_scale=np.ones(total),
            volume_scale=np.ones(total),
        )

    late = np.where(rng.random(symbols) < 0.2, rng.integers(0, sessions // 2, symbols), 0)
    return bars(late), bars(np.zeros(1, np.int64))


# --- the three who compute


def by_formulas(bars: Bars, index: Bars, sessions: int, out: NDArray[np.float64] | None = None) -> Columns:
    sums = benchmark_sums(index, new_states(1), sessions)
    return compute(bars, new_states(bars.symbols), np.ones(bars.symbols, np.bool_), sums, out=out)


def by_talib(bars: Bars, out: NDArray[np.float64]) -> Columns:
    found = dict(zip(("ma_10", "ma_20", "ma_50", "ma_200", "atr"), out, strict=True))
    for a, b in pairwise(bars.offsets):
        high, low, close = bars.high[a:b], bars.low[a:b], bars.close[a:b]
        for n in (10, 20, 50, 200):
            found[f"ma_{n}"][a:b] = talib.SMA(close, n)
        found["atr"][a:b] = talib.ATR(high, low, close, 14)
    return found


def frame_of(bars: Bars) -> pd.DataFrame:
    symbol = np.repeat(np.arange(bars.symbols), np.diff(bars.offsets))
    return pd.DataFrame(
        {name: getattr(bars, name) for name in ("session", "day", "high", "low", "close", "volume")}
        | {"symbol": symbol}
    )


def atr_by_pandas(frame: pd.DataFrame) -> pd.Series:
    symbols = frame.groupby("symbol", sort=False)
    before = symbols["close"].shift()
    ranges = pd.concat(
        [frame["high"] - frame["low"], (frame["high"] - before).abs(), (frame["low"] - before).abs()], axis=1
    ).max(axis=1)
    bar = symbols.cumcount()
    ranges[bar == 0] = np.nan
    mean = ranges.groupby(frame["symbol"], sort=False).rolling(14).mean().to_numpy()
    seeded = ranges.where(bar > 14, pd.Series(mean).where(bar == 14))
    wilder = seeded.groupby(frame["symbol"], sort=False).ewm(alpha=1 / 14, adjust=False).mean()
    return pd.Series(wilder.to_numpy())


def sums_by_pandas(frame: pd.DataFrame, atr: pd.Series) -> pd.Series:
    moves = frame.groupby("symbol", sort=False)["close"].diff() / atr
    moves[frame.groupby("symbol", sort=False).cumcount() < 15] = np.nan
    return pd.Series(moves.groupby(frame["symbol"], sort=False).rolling(50).sum().to_numpy())


def stage_by_pandas(frame: pd.DataFrame) -> pd.Series:
    week = (frame["day"] + 3) // 7
    weekly = frame["close"].groupby([frame["symbol"], week], sort=False).last()
    symbols = weekly.groupby(level=0, sort=False)
    before = symbols.rolling(29).sum().droplevel(0).groupby(level=0, sort=False).shift()
    thirty = symbols.rolling(30).sum().droplevel(0)
    earlier = thirty.groupby(level=0, sort=False).shift(4)

    def reading(close: pd.Series, thirty: pd.Series, earlier: pd.Series) -> NDArray[np.float64]:
        rise = 100 * (thirty - earlier)
        rising, falling = (30 * close > thirty) & (rise >= earlier), (30 * close < thirty) & (rise <= -earlier)
        return np.where(rising, 2.0, np.where(falling, 4.0, np.nan))

    decisive = pd.Series(reading(weekly, thirty, earlier), weekly.index).groupby(level=0, sort=False)
    last = decisive.ffill().groupby(level=0, sort=False).shift()
    daily = pd.DataFrame({"before": before, "earlier": earlier, "last": last})
    rows = daily.take(frame.groupby(["symbol", week], sort=False).ngroup())
    rows.index = frame.index
    sums = rows["before"] + frame["close"]
    now = reading(frame["close"], sums, rows["earlier"])
    after = np.where(
        rows["last"].isna(), np.where(30 * frame["close"] < sums, 1.0, 3.0), np.where(rows["last"] == 2, 3.0, 1.0)
    )
    return pd.Series(np.where(np.isnan(now), after, now)).where(rows["earlier"].notna())


def by_pandas(bars: Bars, index: Bars, sessions: int) -> Columns:
    frame = frame_of(bars)
    symbols = frame.groupby("symbol", sort=False)
    found = {f"ma_{n}": symbols["close"].rolling(n).mean().to_numpy() for n in (10, 20, 50, 200)}
    mean = pd.Series(symbols["volume"].rolling(20).mean().to_numpy())
    before = mean.groupby(frame["symbol"], sort=False).shift()
    atr = atr_by_pandas(frame)
    close = frame["close"]
    rise = {n: close / symbols["close"].shift(n) - 1 for n in (63, 126, 189, 252)}
    strength = 0.4 * rise[63] + 0.2 * rise[126] + 0.2 * rise[189] + 0.2 * rise[252]
    ranks = strength.groupby(frame["session"], sort=False)
    benchmark = frame_of(index)
    sums = pd.Series(sums_by_pandas(benchmark, atr_by_pandas(benchmark)).to_numpy(), benchmark["session"])
    found["vol_20d_avg"] = mean.to_numpy()
    found["vol_vs_avg_pct"] = (100 * (frame["volume"] / before.where(before > 0) - 1)).clip(upper=999_999.99).to_numpy()
    found["atr"] = atr.to_numpy()
    found["atr_pct"] = (100 * atr / close).to_numpy()
    found["rs_rating"] = (100 * (ranks.rank() - 1) / (ranks.transform("count") - 1)).to_numpy()
    found["vars_value"] = (sums_by_pandas(frame, atr) - frame["session"].map(sums)).to_numpy()
    found["stage"] = stage_by_pandas(frame).to_numpy()
    return found


# --- single parts, for whoever asks why the whole takes as long as it does


def copy_columns(first: int, end: int, given: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for column in range(first, end):
        np.copyto(out[column], given[column % len(given)])  # the C library's fastest copy


@numba.njit(nogil=True)
def swings(first, end, offsets, high, low, atr, states, out):  # type: ignore[no-untyped-def]
    longest = 0
    for symbol in range(first, end):
        longest = max(longest, offsets[symbol + 1] - offsets[symbol])
    reach, prices, bars = np.empty(longest), np.empty(VCP_WINDOW + longest), np.empty(VCP_WINDOW + longest, np.int64)
    for symbol in range(first, end):
        a, b = offsets[symbol], offsets[symbol + 1]
        contraction_scores(high[a:b], low[a:b], atr[a:b], states[symbol], reach, prices, bars, out[a:b])


def in_threads(work: Callable[[int, int], object], size: int, threads: int = 2) -> float:
    """Seconds that a part takes, cut into pieces as the formulas are."""
    edges = np.linspace(0, size, 8 * threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        list(pool.map(work, edges[:-1], edges[1:]))
        return time.perf_counter() - start


def parts(bars: Bars, index: Bars, sessions: int, out: NDArray[np.float64]) -> dict[str, Callable[[], float]]:
    """What takes how long by itself, on two threads as the formulas: each is less than the whole must do."""
    columns = advance(bars, new_states(bars.symbols), benchmark_sums(index, new_states(1), sessions), out=out.copy())
    strength, atr = columns["rs_rating"], np.nan_to_num(columns["atr"])
    given = np.stack([bars.high, bars.low, bars.close, bars.volume, bars.price_scale])
    values, everyone = strength.copy(), np.ones(bars.symbols, np.bool_)

    def rating() -> float:
        values[:] = strength
        start = time.perf_counter()
        rate(bars, values, everyone)
        return time.perf_counter() - start

    def contraction() -> float:
        states = new_states(bars.symbols)
        return in_threads(
            lambda a, b: swings(a, b, bars.offsets, bars.high, bars.low, atr, states, values), bars.symbols
        )

    return {
        "copying five columns to twelve, no formula": lambda: in_threads(
            lambda a, b: copy_columns(a, b, given, out), len(out)
        ),
        "rs_rating's ranks alone": rating,
        "vcp_score's swings alone": contraction,
    }


# --- the clock


def differences(found: Columns, right: Columns, who: str) -> list[str]:
    """Where two who computed the same column differ by more than their roundings."""
    wrong = []
    for name, column in right.items():
        same = np.isclose(found[name], column, rtol=1e-8, atol=1e-6, equal_nan=True)
        if not same.all():
            at = int((~same).argmin() if same.all() else (~same).argmax())
            wrong.append(
                f"{name} of bar {at}: {found[name][at]}, {who} finds {column[at]} ({(~same).sum():,} bars differ)"
            )
    return wrong


def megabytes(bars: Bars) -> float:
    return sum(getattr(bars, one.name).nbytes for one in fields(bars)) / 1e6


def peak_memory(bars: Bars, index: Bars, sessions: int) -> float:
    """MB that a process of its own, which reads these bars from files, needs at most while it computes."""
    with tempfile.TemporaryDirectory(prefix="screener-bench-") as folder:
        for name, one in (("bars", bars), ("index", index)):
            for column in fields(one):
                np.save(Path(folder) / f"{name}-{column.name}.npy", getattr(one, column.name))
        command = [sys.executable, __file__, "--worker", folder, "--sessions", str(sessions)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def worker(folder: Path, sessions: int) -> None:
    bars, index = (
        Bars(**{column.name: np.load(folder / f"{name}-{column.name}.npy") for column in fields(Bars)})
        for name in ("bars", "index")
    )
    by_formulas(bars, index, sessions)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    status = Path("/proc/self/status")
    if status.is_file():  # Linux counts into ru_maxrss what the parent had when it started us; VmHWM is ours alone
        peak = next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line[:6] == "VmHWM:")
    sys.stdout.write(str(peak / 1e6))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="500 sessions instead of 2,500; misses no bar")
    parser.add_argument("--symbols", type=int, help=f"default {FULL[0]:,}; another size misses no bar")
    parser.add_argument("--sessions", type=int, help=f"default {FULL[1]:,}; another size misses no bar")
    parser.add_argument("--pairs", type=int, default=7, help="turns of formulas and TA-Lib (default 7); pandas has two")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    parser.add_argument("--parts", action="store_true", help="also time single parts, in the same turns")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    default = QUICK if options.quick else FULL
    symbols, sessions = options.symbols or default[0], options.sessions or default[1]
    if symbols < 1 or sessions < 2 or options.pairs < 1:
        parser.error("there must be a symbol, two sessions and a pair")
    if options.worker:
        worker(options.worker, sessions)
        return 0

    bars, index = make(symbols, sessions)
    rows = len(bars.close)
    memory, talib_memory = np.empty((len(COLUMNS), rows)), np.empty((5, rows))
    who: dict[str, Callable[[], Columns]] = {
        "formulas": lambda: by_formulas(bars, index, sessions, memory),
        "TA-Lib": lambda: by_talib(bars, talib_memory),
        "pandas": lambda: by_pandas(bars, index, sessions),
    }
    start = time.perf_counter()
    warm, warm_index = make(20, 300)
    by_formulas(warm, warm_index, 300)
    say(f"compiled, or read from the disk, in {time.perf_counter() - start:.1f} s")

    # once off the clock: memory is touched, and the figures are compared
    right = who["formulas"]()
    wrong = differences(right, who["TA-Lib"](), "TA-Lib")
    seconds: dict[str, list[float]] = {name: [] for name in who}
    single = parts(bars, index, sessions, memory) if options.parts else {}
    for part in single.values():
        part()
    taken: dict[str, list[float]] = {name: [] for name in single}
    for turn in range(options.pairs):
        for name, part in single.items():
            taken[name].append(part())
        for name in who:
            if name == "pandas" and turn >= 2:
                continue
            start = time.perf_counter()
            found = who[name]()
            seconds[name].append(time.perf_counter() - start)
            say(f"[{turn + 1}] {name}: {seconds[name][-1]:.3f} s")
            if name == "pandas" and turn == 0:
                wrong += differences(right, found, "pandas")
            del found
    if wrong:
        say("\n".join(f"WRONG: {line}" for line in wrong))
        return 2

    held, peak = megabytes(bars), peak_memory(bars, index, sessions)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = {name: medians[name] / medians["formulas"] for name in ("TA-Lib", "pandas")}
    bar = {"TA-Lib": TALIB_BAR, "pandas": PANDAS_BAR}
    work = {
        "formulas": "all twelve columns",
        "TA-Lib": "SMA 10, 20, 50, 200 and ATR 14 alone",
        "pandas": "eleven columns, no vcp_score",
    }
    missed = [name for name in ratios if ratios[name] < bar[name]]
    if options.json:
        document = {
            "symbols": symbols,
            "sessions": sessions,
            "rows": rows,
            "seed": SEED,
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "seconds": seconds,
            "times_as_fast": ratios,
            "bars": bar,
            "missed": missed,
            "bars_mb": held,
            "peak_mb": peak,
            "parts": taken,
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        lines = [f"{'who':10}{'work':40}{'seconds':>9}{'rows/s':>13}{'formulas are':>14}{'bar':>7}  met"]
        for name, median in medians.items():
            line = f"{name:10}{work[name]:40}{median:9.3f}{rows / median:13,.0f}"
            if name in ratios:
                line += f"{ratios[name]:12.2f} ×{f'≥ {bar[name]:g}':>7}  {'NO' if name in missed else 'yes'}"
            lines.append(line)
        lines.append(
            f"{rows:,} bars; peak memory of the formulas' process {peak:,.0f} MB, {held:,.0f} of them the bars"
        )
        for name, times in taken.items():
            median = statistics.median(times)
            lines.append(f"{'':10}{name:45}{median:.3f} s, {median / medians['TA-Lib']:.2f} × TA-Lib's whole loop")
        sys.stdout.write("\n".join(lines) + "\n")
    judged = (symbols, sessions) == FULL
    if missed:
        say(f"missed: {', '.join(missed)}" + ("" if judged else " (at this size it does not count)"))
    return 1 if missed and judged else 0


if __name__ == "__main__":
    sys.exit(main())
