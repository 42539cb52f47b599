"""vcp_score: Minervini's volatility contraction, scored on the ZigZag swings of the last 120 bars."""

from __future__ import annotations

from typing import Any

import numpy as np

from screener_data.formulas.compiled import F8, Int64, compiled
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
def contraction_scores(highs: F8, lows: F8, ranges: F8, state: Any, prices: F8, bars: Int64, vcp_score: F8) -> None:
    """Write the column (NaN before 120 bars), and advance the state.

    highs, lows, ranges (the ATR): (m,), comparable; prices, bars: room for 120 + m swings.

    A swing high stands once a bar's low lies 1.5 ATR (of that bar) under it; from that bar on the lowest low is looked
    for, and so on in turn. A bar with a new extreme does not also turn. Where the ATR is 0 nothing turns.
    """
    count, falling, extreme, extreme_bar = state.count, state.falling, state.extreme, state.extreme_bar
    score = state.score
    oldest, end = 0, state.swings
    prices[:VCP_WINDOW] = state.swing_prices
    bars[:VCP_WINDOW] = state.swing_bars
    # highs stand at even places counted from the newest high
    newest_high = end - 1 if falling else end - 2
    top = _highest(prices, newest_high & 1, end)

    for j in range(len(highs)):
        bar = count + j
        changed = False
        # a swing low is looked for as the high of the bars upside down
        ahead, behind = (-lows[j], -highs[j]) if falling else (highs[j], lows[j])
        record = ahead > extreme
        turned = (not record) & (ranges[j] > 0) & (extreme - behind >= SWING * ranges[j]) & (bar >= FIRST_ATR)
        extreme, extreme_bar = (ahead, bar) if record else (extreme, extreme_bar)
        if turned:
            prices[end], bars[end] = abs(extreme), extreme_bar
            if falling:
                top = end + 1 if top == end else top  # there is still no high
            elif top == end or extreme > prices[top]:
                top = end
            end += 1
            changed = True
            falling, extreme, extreme_bar = 1 - falling, -behind, bar
        while oldest < end and bars[oldest] <= bar - VCP_WINDOW:
            oldest += 1
        if top < oldest:
            newest_high = end - 1 if falling else end - 2
            top = _highest(prices, oldest + ((newest_high - oldest) & 1), end)
            changed = True
        if changed:
            score = score_of(prices[top:end])
        vcp_score[j] = score if bar >= VCP_WINDOW - 1 else np.nan

    state.falling, state.extreme, state.extreme_bar, state.score = falling, extreme, extreme_bar, score
    state.swings = end - oldest
    for k in range(VCP_WINDOW):
        state.swing_prices[k] = prices[oldest + k] if oldest + k < end else 0.0
        state.swing_bars[k] = bars[oldest + k] if oldest + k < end else 0
