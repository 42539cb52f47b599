"""Sums over windows of bars: built by doubling, so that each depends on its own window and on nothing before it."""

from __future__ import annotations

from screener_data.formulas.compiled import F8, compiled

__all__ = ["fold"]


@compiled
def fold(values: F8, times: int, step: int, out: F8) -> None:
    """Σ of `times` values that lie `step` apart, the last one at the place itself: out[i] = Σ values[i − k·step].

    Folds of folds make long windows of few additions: 200 = 5 · 2 · 5 · 4. A running sum would need fewer still, but it
    remembers the roundings of all that ever passed through. Places before the first whole window hold partial sums.
    """
    size = len(values)
    if times == 5 and size > 4 * step:  # one pass over the memory instead of four
        a, b, c, d, e = values[4 * step :], values[3 * step :], values[2 * step :], values[step:], values
        for i in range(4 * step):
            out[i] = values[i]
        whole = out[4 * step :]
        for i in range(size - 4 * step):
            whole[i] = a[i] + b[i] + c[i] + d[i] + e[i]
        return
    for i in range(size):
        out[i] = values[i]
    for k in range(1, times):
        later = out[k * step :]
        for i in range(size - k * step):
            later[i] += values[i]
