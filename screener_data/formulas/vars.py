"""vars_value: how many average true ranges the close has risen in 50 bars, less the benchmark's."""

from __future__ import annotations

import numpy as np

from screener_data.formulas.compiled import F8, Int32, compiled
from screener_data.formulas.true_range import FIRST_ATR
from screener_data.formulas.windows import fold

__all__ = ["FIRST_MOVE", "sums_of_moves"]

#: The index of the first bar that counts: the first whose ATR has a predecessor.
FIRST_MOVE = FIRST_ATR + 1


@compiled
def sums_of_moves(
    moves: F8, closes: F8, ranges: F8, count: int, benchmark: F8, session: Int32, work: F8, vars_value: F8
) -> None:
    """Write Σ ΔC/ATR14 over the last 50 bars less the benchmark's of the session; NaN while fewer than 50 bars count.

    moves: ΔC/ATR of 49 earlier bars, then room for the m new ones, which are filled in (0 where the ATR is 0);
    closes: the close before, then m, comparable; ranges: (m,) comparable ATR; session: (m,), places in benchmark;
    work: two rows as long as moves.
    """
    size = len(ranges)
    before, today, new = closes, closes[1:], moves[49:]
    for j in range(size):
        move = (today[j] - before[j]) / ranges[j]
        new[j] = move if ranges[j] > 0 else 0.0
    early = min(max(FIRST_MOVE - count, 0), size)
    new[:early] = 0.0
    fives, tens = work[0], work[1]
    fold(moves, 5, 1, fives)
    fold(fives, 2, 5, tens)
    a, b, c, d, e = tens[9:], tens[19:], tens[29:], tens[39:], tens[49:]
    for j in range(size):
        vars_value[j] = a[j] + b[j] + c[j] + d[j] + e[j] - benchmark[session[j]]
    vars_value[: min(max(FIRST_MOVE + 49 - count, 0), size)] = np.nan
