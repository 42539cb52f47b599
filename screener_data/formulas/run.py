"""All formulas in one pass over each symbol's bars, forward, from any state to the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screener_data.errors import UsageError
from screener_data.formulas.averages import moving_averages
from screener_data.formulas.bars import Bars
from screener_data.formulas.compiled import F8, Flags, Int32, Int64, compiled, source_digest, stored, unsigned
from screener_data.formulas.contraction import contraction_scores
from screener_data.formulas.stage import stages
from screener_data.formulas.state import (
    STATE,
    TAIL_CLOSES,
    TAIL_MOVES,
    TAIL_VOLUMES,
    VCP_WINDOW,
)
from screener_data.formulas.strength import FIRST_STRENGTH, ratings, strength_of
from screener_data.formulas.true_range import FIRST_ATR, first_ranges, next_atr, true_range
from screener_data.formulas.vars import sums_of_moves
from screener_data.formulas.volume import volume_averages

__all__ = ["COLUMNS", "advance", "benchmark_sums", "compute", "rate"]

#: The columns of calculated_metrics that are computed, in the order in which `advance` writes them.
COLUMNS = (
    "rs_rating",
    "vars_value",
    "atr",
    "atr_pct",
    "stage",
    "vcp_score",
    "vol_20d_avg",
    "vol_vs_avg_pct",
    "ma_10",
    "ma_20",
    "ma_50",
    "ma_200",
)

_BLOCK = 32  # bars, few enough for the processor to look ahead over all that is done with them


def advance(
    bars: Bars, states: NDArray[np.void], benchmark: F8 | None = None, *, out: F8 | None = None, threads: int = 2
) -> dict[str, F8]:
    """Compute all columns of these bars but the rating, and move each symbol's state behind its last bar, in place.

    states: (symbols,) of STATE, `new_states` before the first bars; benchmark: Σ ΔC/ATR14 of 50 bars by session
    (`benchmark_sums`), without which vars_value is NaN. Returns an array per column of `COLUMNS`, one value per bar,
    NaN = NULL; money in paise of the bar's own day. In the place of rs_rating stands the strength, for `rate`.
    out: (12, bars), memory to write the columns to; fresh memory costs the system about as long as the formulas.

    A history cut anywhere and advanced piece by piece gives the same bits as in one piece.
    Raises UsageError where states, benchmark or out do not fit the bars; nothing has moved then.
    """
    if states.dtype != STATE or states.shape != (bars.symbols,):
        raise UsageError(f"states must be one STATE for each of {bars.symbols} symbols, found {states.shape}")
    some = np.flatnonzero(np.diff(bars.offsets))
    late = bars.day[bars.offsets[some]] <= states["day"][some]
    late &= states["count"][some] > 0
    if late.any():
        symbol = some[late.argmax()]
        raise UsageError(f"symbol {symbol}: the first bar is not after day {states['day'][symbol]}, the state's last")
    sessions = bars.sessions[1]
    if benchmark is None:
        benchmark = np.full(sessions, np.nan)
    if benchmark.dtype != np.float64 or benchmark.ndim != 1 or len(benchmark) < sessions:
        raise UsageError(f"benchmark must be one float64 for each of {sessions} sessions, found {benchmark.shape}")
    shape = (len(COLUMNS), len(bars.close))
    if out is None:
        out = np.empty(shape)
    if out.dtype != np.float64 or out.shape != shape or not out.flags.c_contiguous:
        raise UsageError(f"out must be float64, contiguous, {shape}, found {out.dtype} {out.shape}")

    def run(first: int, end: int) -> None:
        _advance(
            first,
            end,
            bars.offsets,
            bars.day,
            bars.session,
            bars.high,
            bars.low,
            bars.close,
            bars.volume,
            bars.price_scale,
            bars.volume_scale,
            benchmark,
            states,
            out,
        )

    # blocks of equal numbers of bars, some more than threads, so that none waits long for the other
    edges = np.searchsorted(bars.offsets, np.linspace(0, len(bars.close), 24 * threads + 1)[:-1])
    _in_threads(run, [*np.unique(edges), bars.symbols], threads)
    return dict(zip(COLUMNS, out, strict=True))


def rate(bars: Bars, strength: F8, ranked: Flags, *, threads: int = 2) -> None:
    """Turn the strengths of these bars into ratings, in place: each session's bars among each other.

    strength: (bars,) from `advance`; ranked: (symbols,), who takes part (equities, not ETFs or indices).
    """
    if ranked.dtype != np.bool_ or ranked.shape != (bars.symbols,):
        raise UsageError(f"ranked must be one bool for each of {bars.symbols} symbols, found {ranked.shape}")
    first, end = bars.sessions

    def run(first: int, end: int) -> None:
        ratings(bars.offsets, bars.session, ranked, first, end, strength)

    edges = np.unique(np.linspace(first, end, 8 * threads + 1).astype(np.int64))
    _in_threads(run, edges, threads)


def compute(
    bars: Bars,
    states: NDArray[np.void],
    ranked: Flags,
    benchmark: F8 | None = None,
    *,
    out: F8 | None = None,
    threads: int = 2,
) -> dict[str, F8]:
    """`advance`, then `rate`: all twelve columns. The bars must hold every ranked symbol of their sessions."""
    columns = advance(bars, states, benchmark, out=out, threads=threads)
    rate(bars, columns["rs_rating"], ranked, threads=threads)
    return columns


def benchmark_sums(bars: Bars, states: NDArray[np.void], sessions: int) -> F8:
    """Compute the benchmark's Σ ΔC/ATR14 of 50 bars by session, (sessions,); NaN where it has none.

    bars: of the benchmark alone; states: its one state, moved on in place.
    """
    sums = np.full(sessions, np.nan)
    sums[bars.session] = advance(bars, states, np.zeros(sessions))["vars_value"]
    return sums


def _in_threads(run: Callable[[int, int], None], edges: Iterable[int], threads: int) -> None:
    """Run each piece between two edges; compiled code holds no lock, so threads run at once."""
    pieces = deque((int(a), int(b)) for a, b in pairwise(edges) if a < b)

    def work() -> None:
        while True:
            try:
                first, end = pieces.popleft()
            except IndexError:
                return
            run(first, end)

    with ThreadPoolExecutor(threads) as pool:
        helpers = [pool.submit(work) for _ in range(min(threads, len(pieces)) - 1)]
        work()
        for helper in helpers:
            helper.result()


@compiled
def _comparable(high: F8, low: F8, close: F8, scale: F8, highs: F8, lows: F8, closes: F8, where: Int64) -> int:
    """Write the comparable prices of what is a bar, one after the other, and return how many there are.

    Where it is not all, their places too. highs, lows, closes, where: room for as many.
    """
    size = len(high)
    bars = 0
    for j in range(size):
        highs[j], lows[j], closes[j] = high[j] * scale[j], low[j] * scale[j], close[j] * scale[j]
        bars += _is_bar(highs[j], lows[j], closes[j])
    if bars == size:
        return size
    m = 0
    for j in range(size):
        if _is_bar(highs[j], lows[j], closes[j]):
            highs[m], lows[m], closes[m], where[m] = highs[j], lows[j], closes[j], j
            m += 1
    return m


@compiled
def _is_bar(high: float, low: float, close: float) -> bool:
    return (high > 0) & (low > 0) & (close > 0) & (high + low + close < np.inf)


@compiled
def _spread(column: F8, where: Int64) -> None:
    """Move the figures of bars to their places among the skipped ones, in place, and fill the rest with NaN."""
    to = len(column) - 1
    for j in range(len(where) - 1, -1, -1):
        while to > where[j]:
            column[to] = np.nan
            to -= 1
        column[to] = column[j]
        to -= 1
    while to >= 0:
        column[to] = np.nan
        to -= 1


@compiled
def _room(bars: int) -> Any:
    """Make the memory that the formulas of one symbol work in.

    Each array by itself: rows unpacked from one matrix would be strided to numba, and no loop over them fast.
    """
    return (
        np.empty(bars),  # highs
        np.empty(bars),  # lows
        np.empty(TAIL_CLOSES + bars),  # closes
        np.empty(TAIL_VOLUMES + bars),  # volumes
        np.empty(TAIL_MOVES + bars),  # moves
        np.empty(bars),  # ranges
        np.empty(VCP_WINDOW + bars),  # prices of swings
        np.empty(VCP_WINDOW + bars, np.int64),  # places of swings, and of weeks
        np.empty((4, TAIL_CLOSES + bars)),  # work
    )


@compiled
def _ranges_and_strengths(
    highs: F8, lows: F8, closes: F8, count: int, atr: float, scale: F8, ranges: F8, strength: F8, own: F8, percent: F8
) -> float:
    """Write the strength, the ATR in paise of the bar's own day and in percent, and into ranges the comparable ATR.

    highs, lows, scale, ranges: (m,); closes: a tail of earlier bars, then m; atr: that of the bar before (see
    `first_ranges`); that of the last one is returned.

    Each ATR waits for the one before it. In small blocks, the processor does all the divisions meanwhile.
    """
    size = len(ranges)
    tail = len(closes) - size
    before, today = closes[tail - 1 :], closes[tail:]
    a, b, c, d = closes[tail - 63 :], closes[tail - 126 :], closes[tail - 189 :], closes[tail - 252 :]
    early = min(max(FIRST_ATR + 1 - count, 0), size)
    atr = first_ranges(highs, lows, before, atr, count, ranges[:early])
    for j in range(early):
        own[j], percent[j] = ranges[j] / scale[j], 100 * ranges[j] / today[j]
    for first in range(unsigned(early), unsigned(size), unsigned(_BLOCK)):
        end = min(first + unsigned(_BLOCK), unsigned(size))
        for j in range(first, end):
            ranges[j] = true_range(highs[j], lows[j], before[j])
        for j in range(first, end):
            strength[j] = strength_of(today[j], a[j], b[j], c[j], d[j])
        for j in range(first, end):
            atr = next_atr(atr, ranges[j])
            ranges[j] = atr
        for j in range(first, end):
            own[j], percent[j] = ranges[j] / scale[j], 100 * ranges[j] / today[j]
    strength[: min(max(FIRST_STRENGTH - count, 0), size)] = np.nan
    own[: min(max(FIRST_ATR - count, 0), size)] = np.nan
    percent[: min(max(FIRST_ATR - count, 0), size)] = np.nan
    return atr


@compiled
def _figures(
    m: int, room: Any, columns: tuple[Int32, Int32, F8, F8, F8], benchmark: F8, state: Any, start: int, out: F8
) -> None:
    """Write all columns of a symbol's m bars, from place start of out on, and advance the state.

    room: its highs, lows and closes are comparable already; columns: day, session, volume and both scales of the bars.
    """
    day, session, volume, price_scale, volume_scale = columns
    highs, lows, closes, volumes, moves, ranges, swings, places, work = room
    closes, volumes, moves = closes[: TAIL_CLOSES + m], volumes[: TAIL_VOLUMES + m], moves[: TAIL_MOVES + m]
    highs, lows, ranges = highs[:m], lows[:m], ranges[:m]
    count, end = state.count, start + m
    closes[:TAIL_CLOSES], volumes[:TAIL_VOLUMES], moves[:TAIL_MOVES] = state.closes, state.volumes, state.moves
    for j in range(m):
        traded = volume[j] * volume_scale[j]
        volumes[TAIL_VOLUMES + j] = traded if 0 <= traded < np.inf else np.nan
    recent = closes[TAIL_CLOSES - 1 :]  # the close before, then m

    state.atr = _ranges_and_strengths(
        highs,
        lows,
        closes,
        count,
        state.atr,
        price_scale,
        ranges,
        out[0, start:end],
        out[2, start:end],
        out[3, start:end],
    )
    sums_of_moves(moves, recent, ranges, count, benchmark, session, work, out[1, start:end])
    stages(day, recent[1:], state, work, places, out[4, start:end])
    contraction_scores(highs, lows, ranges, state, work[0], swings, places, out[5, start:end])
    volume_averages(volumes, count, volume_scale, work[0], out[6, start:end], out[7, start:end])
    moving_averages(
        closes, count, price_scale, work, out[8, start:end], out[9, start:end], out[10, start:end], out[11, start:end]
    )

    state.count, state.day = count + m, day[m - 1]
    state.closes[:], state.volumes[:], state.moves[:] = closes[m:], volumes[m:], moves[m:]


def _pass(digest: int) -> Any:
    """Make the compiled pass; as a closure over the digest, for the reason told at `stored`."""

    @stored
    def advance_symbols(  # type: ignore[no-untyped-def]
        first, end, offsets, day, session, high, low, close, volume, price_scale, volume_scale, benchmark, states, out
    ):
        _ = digest
        longest = 0
        for symbol in range(first, end):
            longest = max(longest, offsets[symbol + 1] - offsets[symbol])
        room, where = _room(longest), np.empty(longest, np.int64)
        highs, lows, closes = room[:3]

        for symbol in range(first, end):
            start, stop = offsets[symbol], offsets[symbol + 1]
            bars = slice(start, stop)
            m = _comparable(
                high[bars], low[bars], close[bars], price_scale[bars], highs, lows, closes[TAIL_CLOSES:], where
            )
            if 0 < m == stop - start:
                columns = day[bars], session[bars], volume[bars], price_scale[bars], volume_scale[bars]
                _figures(m, room, columns, benchmark, states[symbol], start, out)
            elif m < stop - start:
                places = start + where[:m]
                if m > 0:
                    picked = day[places], session[places], volume[places], price_scale[places], volume_scale[places]
                    _figures(m, room, picked, benchmark, states[symbol], start, out)
                for column in range(len(out)):
                    _spread(out[column, bars], where[:m])

    return advance_symbols


_advance = _pass(source_digest())
