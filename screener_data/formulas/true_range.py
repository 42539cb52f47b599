"""atr, atr_pct: Wilder's average true range of 14 bars, seeded as TA-Lib does."""

from __future__ import annotations

import numpy as np

from screener_data.formulas.compiled import F8, compiled

__all__ = ["FIRST_ATR", "average_true_range", "next_atr"]

#: The index of the first bar with an ATR: bar 0 has no close before it, so bars 1 to 14 make the first mean.
FIRST_ATR = 14


@compiled
def next_atr(atr: float, count: int, high: float, low: float, before: float) -> float:
    """Move the ATR one bar on; before bar 14 it is the sum of the true ranges so far.

    count: bars before this one; high, low, before (the close before): comparable.
    """
    if count == 0:
        return 0.0
    true_range, up, down = high - low, abs(high - before), abs(low - before)
    true_range = up if up > true_range else true_range
    true_range = down if down > true_range else true_range
    if count < FIRST_ATR:
        return atr + true_range
    if count == FIRST_ATR:
        return (atr + true_range) / 14
    return (atr * 13 + true_range) / 14


@compiled
def average_true_range(ranges: F8, closes: F8, count: int, scale: F8, atr: F8, atr_pct: F8) -> None:
    """Write the two columns: paise of each bar's own day, and percent; NaN before bar 14.

    ranges (the ATR), closes: (m,), comparable; scale: (m,); count: bars before these.
    """
    size = len(ranges)
    for j in range(size):
        atr[j] = ranges[j] / scale[j]
    for j in range(size):
        atr_pct[j] = 100 * ranges[j] / closes[j]
    early = min(max(FIRST_ATR - count, 0), size)
    atr[:early] = np.nan
    atr_pct[:early] = np.nan
