"""All formulas in one pass over each symbol's bars, forward, from any state to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screener_data.errors import UsageError
from screener_data.formulas.averages import moving_averages
from screener_data.formulas.bars import Bars
from screener_data.formulas.compiled import F8, Flags, Int64, compiled, source_digest, stored
from screener_data.formulas.contraction import contraction_scores
from screener_data.formulas.stage import stages, week_of
from screener_data.formulas.state import (
    STATE,
    TAIL_CLOSES,
    TAIL_MOVES,
    TAIL_VOLUMES,
    TAIL_WEEKS,
    VCP_WINDOW,
)
from screener_data.formulas.strength import ratings, strengths
from screener_data.formulas.true_range import average_true_range, next_atr
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
    last = int(bars.session.max(initial=-1))
    if benchmark is None:
        benchmark = np.full(last + 1, np.nan)
    if benchmark.dtype != np.float64 or benchmark.ndim != 1 or len(benchmark) <= last:
        raise UsageError(f"benchmark must be one float64 for each of {last + 1} sessions, found {benchmark.shape}")
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
    edges = np.searchsorted(bars.offsets, np.linspace(0, len(bars.close), 8 * threads + 1)[:-1])
    _in_threads(run, [*np.unique(edges), bars.symbols], threads)
    return dict(zip(COLUMNS, out, strict=True))


def rate(bars: Bars, strength: F8, ranked: Flags, *, threads: int = 2) -> None:
    """Turn the strengths of these bars into ratings, in place: each session's bars among each other.

    strength: (bars,) from `advance`; ranked: (symbols,), who takes part (equities, not ETFs or indices).
    """
    if ranked.dtype != np.bool_ or ranked.shape != (bars.symbols,):
        raise UsageError(f"ranked must be one bool for each of {bars.symbols} symbols, found {ranked.shape}")
    if not len(bars.session):
        return

    def run(first: int, end: int) -> None:
        ratings(bars.offsets, bars.session, ranked, first, end, strength)

    first, end = int(bars.session.min()), int(bars.session.max()) + 1
    edges = np.unique(np.linspace(first, end, 4 * threads + 1).astype(np.int64))
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
    edges = [int(edge) for edge in edges]
    pieces = [(a, b) for a, b in pairwise(edges) if a < b]
    if len(pieces) < 2 or threads < 2:
        for piece in pieces:
            run(*piece)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda piece: run(*piece), pieces))


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
        closes = np.empty(TAIL_CLOSES + longest)
        highs, lows, ranges, scale, volume_unit = np.empty((5, longest))
        volumes = np.empty(TAIL_VOLUMES + longest)
        moves = np.empty(TAIL_MOVES + longest)
        known, where, week = np.empty((3, longest), np.int64)
        work = np.empty((3, TAIL_CLOSES + longest))
        swing_prices, swing_bars = np.empty(VCP_WINDOW + longest), np.empty(VCP_WINDOW + longest, np.int64)
        week_closes, before = np.empty((2, TAIL_WEEKS + longest))

        for symbol in range(first, end):
            start, stop = offsets[symbol], offsets[symbol + 1]
            state = states[symbol]
            count, known_for, last_atr = state.count, state.known, state.atr
            for k in range(TAIL_CLOSES):
                closes[k] = state.closes[k]
            for k in range(TAIL_VOLUMES):
                volumes[k] = state.volumes[k]
            for k in range(TAIL_MOVES):
                moves[k] = state.moves[k]
            m = 0
            last_close = closes[TAIL_CLOSES - 1]
            for i in range(start, stop):
                high_, low_, close_ = high[i] * price_scale[i], low[i] * price_scale[i], close[i] * price_scale[i]
                if not (0 < close_ < np.inf and 0 < high_ < np.inf and 0 < low_ < np.inf):
                    continue
                last_atr = next_atr(last_atr, count + m, high_, low_, last_close)
                last_close = close_
                highs[m], lows[m], closes[TAIL_CLOSES + m], ranges[m] = high_, low_, close_, last_atr
                scale[m], volume_unit[m] = price_scale[i], volume_scale[i]
                traded = volume[i] * volume_scale[i]
                good = 0 <= traded < np.inf
                known_for = known_for + 1 if good else 0
                volumes[TAIL_VOLUMES + m] = traded if good else 0.0
                known[m], where[m], week[m] = known_for, i - start, week_of(day[i])
                m += 1
            if m == 0:
                out[:, start:stop] = np.nan
                continue

            end_ = start + m
            long, recent = closes[: TAIL_CLOSES + m], closes[TAIL_CLOSES - 1 : TAIL_CLOSES + m]
            unit, atr = scale[:m], ranges[:m]
            strengths(long, count, out[0, start:end_])
            sums_of_moves(moves[: TAIL_MOVES + m], recent, atr, count, work, out[1, start:end_])
            average_true_range(atr, recent[1:], count, unit, out[2, start:end_], out[3, start:end_])
            stages(week[:m], recent[1:], state, week_closes, before, out[4, start:end_])
            contraction_scores(highs[:m], lows[:m], atr, state, swing_prices, swing_bars, out[5, start:end_])
            volume_averages(
                volumes[: TAIL_VOLUMES + m],
                known[:m],
                volume_unit[:m],
                work,
                out[6, start:end_],
                out[7, start:end_],
            )
            moving_averages(
                long,
                count,
                unit,
                work,
                out[8, start:end_],
                out[9, start:end_],
                out[10, start:end_],
                out[11, start:end_],
            )
            sums = out[1, start:end_]
            for j in range(m):
                sums[j] -= benchmark[session[start + where[j]]]

            state.count, state.day = count + m, day[start + where[m - 1]]
            state.known, state.atr = known_for, last_atr
            for k in range(TAIL_CLOSES):
                state.closes[k] = closes[m + k]
            for k in range(TAIL_VOLUMES):
                state.volumes[k] = volumes[m + k]
            for k in range(TAIL_MOVES):
                state.moves[k] = moves[m + k]
            if m < stop - start:
                for column in range(len(out)):
                    _spread(out[column, start:stop], where[:m])

    return advance_symbols


_advance = _pass(source_digest())
