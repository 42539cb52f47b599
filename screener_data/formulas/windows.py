"""Sums over windows of bars: built by doubling, so that each depends on its own window and on nothing before it."""

from __future__ import annotations

from screener_data.formulas.compiled import F8, compiled

__all__ = ["fold"]


@compiled
def fold(values: F8, times: int, step: int, out: F8) -> None:
    """Σ of `times` (2, 4 or 5) values that lie `step` apart: out[i] = Σ values[i − k·step], k from 0.

    Folds of folds make long windows of few additions: 200 = 5 · 2 · 5 · 4. A running sum would need fewer still, but it
    remembers the roundings of all that ever passed through. Places before the first whole window hold no sum.
    """
    size = len(values)
    a, b, c, d = values[step:], values[2 * step :], values[3 * step :], values[4 * step :]
    whole = out[(times - 1) * step :]
    for i in range(min(size, (times - 1) * step)):
        out[i] = values[i]
    if times == 2:
        for i in range(size - step):
            whole[i] = a[i] + values[i]
    elif times == 4:
        for i in range(size - 3 * step):
            whole[i] = c[i] + b[i] + a[i] + values[i]
    elif times == 5:
        for i in range(size - 4 * step):
            whole[i] = d[i] + c[i] + b[i] + a[i] + values[i]
