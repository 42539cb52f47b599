"""ma_10, ma_20, ma_50, ma_200: the simple mean of the last n closes, today included."""

from __future__ import annotations

import numpy as np

from screener_data.formulas.compiled import F8, compiled
from screener_data.formulas.windows import fold

__all__ = ["moving_averages"]


@compiled
def moving_averages(closes: F8, count: int, scale: F8, work: F8, ma_10: F8, ma_20: F8, ma_50: F8, ma_200: F8) -> None:
    """Write the four columns, in paise of each bar's own day; NaN for bars whose index is below n − 1.

    closes: comparable, a tail of earlier bars, then the m new ones; count: bars before these; scale: (m,);
    work: three rows as long as closes.
    """
    size = len(scale)
    tail = len(closes) - size
    fives, tens, fifties = work[0], work[1], work[2]
    fold(closes, 5, 1, fives)
    fold(fives, 2, 5, tens)
    fold(tens, 5, 10, fifties)
    a, b = tens[tail - 10 :], tens[tail:]
    for j in range(size):
        ma_10[j] = b[j] / (10 * scale[j])
        ma_20[j] = (a[j] + b[j]) / (20 * scale[j])
    a, b, c, d = fifties[tail - 150 :], fifties[tail - 100 :], fifties[tail - 50 :], fifties[tail:]
    for j in range(size):
        ma_50[j] = d[j] / (50 * scale[j])
        ma_200[j] = (a[j] + b[j] + c[j] + d[j]) / (200 * scale[j])
    ma_10[: min(max(9 - count, 0), size)] = np.nan
    ma_20[: min(max(19 - count, 0), size)] = np.nan
    ma_50[: min(max(49 - count, 0), size)] = np.nan
    ma_200[: min(max(199 - count, 0), size)] = np.nan
