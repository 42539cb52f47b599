"""vcp_score: Minervini's volatility contraction, scored on the ZigZag swings of the last 120 bars."""

from __future__ import annotations

from typing import Any

import numpy as np

from screener_data.formulas.compiled import F8, Int64, compiled, signed, unsigned
from screener_data.formulas.state import VCP_WINDOW
from screener_data.formulas.true_range import FIRST_ATR

__all__ = ["contraction_scores", "score_of"]

#: A swing is turned by a move of so many average true ranges.
SWING = 1.5


@compiled
def score_of(prices: F8) -> float:
    """Score the swings from the highest swing high on: high, low, high, low, …; 0 to 100.

    Depth T = (H − L) / H of each high and the low after it; a last high without its low is no contraction yet.
    Depths are compared crosswise, without a division: exact for whole paise.
    """
    k = len(prices) // 2
    if k < 2:
        return 15.0 * k
    top, fall = prices[0], prices[0] - prices[1]
    invalid = min(40.0, 15.0 * k)
    if 100 * fall < 8 * top or 100 * fall > 35 * top:
        return invalid
    deep = 100 * fall > 30 * top
    high, ratios = top, 0.0
    for i in range(1, k):
        next_high = prices[2 * i]
        next_fall = next_high - prices[2 * i + 1]
        if 100 * next_high < 95 * top or 4 * next_fall * high > 3 * fall * next_high:
            return invalid
        ratios += (next_fall * high) / (fall * next_high)
        high, fall = next_high, next_fall
    score = 60.0 if k == 2 else 80.0 if k == 3 else 90.0
    if 100 * fall < 5 * high:
        score += 10
    if ratios / (k - 1) < 0.4:
        score += 10
    if deep:
        score -= 10
    return min(score, 100.0)


@compiled
def _highest(prices: F8, first: int, end: int) -> int:
    """Find the highest (the earliest of equal ones) of every second swing from first on; end where there is none."""
    found = first
    for i in range(first + 2, end, 2):
        if prices[i] > prices[found]:
            found = i
    return min(found, end)


@compiled
def contraction_scores(
    highs: F8, lows: F8, ranges: F8, state: Any, reach: F8, prices: F8, bars: Int64, vcp_score: F8
) -> None:
    """Write the column (NaN before 120 bars), and advance the state.

    highs, lows, ranges (the ATR): (m,), comparable; reach: room for m; prices, bars: room for 120 + m swings.

    A swing high stands once a bar's low lies 1.5 ATR (of that bar) under it; from that bar on the lowest low is looked
    for, and so on in turn. A bar with a new extreme does not also turn. Where the ATR is 0 nothing turns.
    """
    size, count = len(highs), state.count
    falling, extreme, extreme_bar, score = state.falling, state.extreme, state.extreme_bar, state.score
    end = state.swings
    prices[:VCP_WINDOW] = state.swing_prices
    bars[:VCP_WINDOW] = state.swing_bars
    # highs stand at even places counted from the newest high
    newest_high = end - 1 if falling else end - 2
    top = _highest(prices, newest_high & 1, end)
    for j in range(size):
        reach[j] = SWING * ranges[j] if ranges[j] > 0 else np.inf
    reach[: min(max(FIRST_ATR - count, 0), size)] = np.inf

    j = unsigned(0)
    while True:
        # the score changes with a new swing, or at the bar from which on the highest one is out of the window
        leaves = bars[top] + VCP_WINDOW - count if top < end else size
        until = unsigned(min(leaves, size))
        # each bar extends the swing, turns it, or does neither; the bar of the extreme moves without a branch, since
        # no processor guesses it
        if falling:
            while j < until:
                low = lows[j]
                if highs[j] - extreme >= reach[j] and not low < extreme:
                    break
                extreme_bar = max(extreme_bar, (count + signed(j)) * (low < extreme))
                extreme = min(extreme, low)
                vcp_score[j] = score
                j += unsigned(1)
        else:
            while j < until:
                high = highs[j]
                if extreme - lows[j] >= reach[j] and not high > extreme:
                    break
                extreme_bar = max(extreme_bar, (count + signed(j)) * (high > extreme))
                extreme = max(extreme, high)
                vcp_score[j] = score
                j += unsigned(1)
        if j == unsigned(size):
            break
        bar = count + signed(j)
        if j == until:
            top = _highest(prices, top + 2, end)
            score = score_of(prices[top:end])
            continue
        prices[end], bars[end] = extreme, extreme_bar
        end += 1
        if falling:
            top = end if top == end - 1 else top  # there is still no high
            score = score_of(prices[top:end])
        elif top == end - 1 or extreme > prices[top]:
            top, score = end - 1, 0.0
        extreme, extreme_bar = highs[j] if falling else lows[j], bar
        falling = 1 - falling
        vcp_score[j] = score
        j += unsigned(1)
    vcp_score[: min(max(VCP_WINDOW - 1 - count, 0), size)] = np.nan

    oldest = 0
    while oldest < end and bars[oldest] + VCP_WINDOW < count + size:
        oldest += 1
    kept = end - oldest
    state.falling, state.extreme, state.extreme_bar, state.score = falling, extreme, extreme_bar, score
    state.swings = kept
    state.swing_prices[:kept], state.swing_bars[:kept] = prices[oldest:end], bars[oldest:end]
    state.swing_prices[kept:], state.swing_bars[kept:] = 0, 0
