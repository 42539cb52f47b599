"""ma_10, ma_20, ma_50, ma_200: the simple mean of the last n closes, today included."""

from __future__ import annotations

import numpy as np

from screener_data.formulas.compiled import F8, compiled
from screener_data.formulas.windows import fold

__all__ = ["moving_averages"]


@compiled
def _mean(sums: F8, n: int, count: int, scale: F8, out: F8) -> None:
    """Σ of n comparable closes → paise of the day; NaN for bars whose index is below n − 1."""
    early = min(max(n - 1 - count, 0), len(out))
    for j in range(len(out)):
        out[j] = sums[j] / (n * scale[j])
    out[:early] = np.nan


@compiled
def moving_averages(closes: F8, count: int, scale: F8, work: F8, ma_10: F8, ma_20: F8, ma_50: F8, ma_200: F8) -> None:
    """Write the four columns, in paise of each bar's own day.

    closes: comparable, a tail of earlier bars, then the m new ones; count: bars before these; scale: (m,);
    work: three rows as long as closes.
    """
    tail = len(closes) - len(scale)
    fives, tens, sums = work[0], work[1], work[2]
    fold(closes, 5, 1, fives)
    fold(fives, 2, 5, tens)
    fold(tens, 2, 10, sums)
    _mean(tens[tail:], 10, count, scale, ma_10)
    _mean(sums[tail:], 20, count, scale, ma_20)
    fifties = fives
    fold(tens, 5, 10, fifties)
    fold(fifties, 4, 50, sums)
    _mean(fifties[tail:], 50, count, scale, ma_50)
    _mean(sums[tail:], 200, count, scale, ma_200)
