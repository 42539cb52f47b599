"""atr, atr_pct: Wilder's average true range of 14 bars, seeded as TA-Lib does."""

from __future__ import annotations

import numpy as np

from screener_data.formulas.compiled import F8, compiled

__all__ = ["FIRST_ATR", "average_true_range"]

#: The index of the first bar with an ATR: bar 0 has no close before it, so bars 1 to 14 make the first mean.
FIRST_ATR = 14


@compiled
def average_true_range(
    highs: F8, lows: F8, closes: F8, count: int, atr: float, scale: F8, ranges: F8, atr_pct: F8, atr_paise: F8
) -> float:
    """Write the two columns (percent; paise of each bar's own day) and, into ranges, the comparable ATR.

    highs, lows, scale, ranges: (m,); closes: the close before, then m; all comparable. count: bars before these;
    atr: the state's. Returns the state's new one.
    """
    before, today = closes, closes[1:]
    for j in range(len(highs)):
        true_range = highs[j] - lows[j]
        up, down = abs(highs[j] - before[j]), abs(lows[j] - before[j])
        true_range = up if up > true_range else true_range
        ranges[j] = down if down > true_range else true_range
    early = min(max(FIRST_ATR - count, 0), len(highs))
    for j in range(early):
        if count + j > 0:
            atr += ranges[j]
        ranges[j] = np.nan
    for j in range(early, len(highs)):
        # the seed is the mean of 14 true ranges, of which 13 were added up before
        atr = (atr + ranges[j]) / 14 if count + j == FIRST_ATR else (atr * 13 + ranges[j]) / 14
        ranges[j] = atr
    for j in range(len(highs)):
        atr_pct[j] = 100 * ranges[j] / today[j]
        atr_paise[j] = ranges[j] / scale[j]
    return atr
