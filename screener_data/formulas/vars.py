"""vars_value: how many average true ranges the close has risen in 50 bars, less the benchmark's."""

from __future__ import annotations

import numpy as np

from screener_data.formulas.compiled import F8, compiled
from screener_data.formulas.true_range import FIRST_ATR
from screener_data.formulas.windows import fold

__all__ = ["FIRST_MOVE", "sums_of_moves"]

#: The index of the first bar that counts: the first whose ATR has a predecessor.
FIRST_MOVE = FIRST_ATR + 1


@compiled
def sums_of_moves(moves: F8, closes: F8, ranges: F8, count: int, work: F8, sums: F8) -> None:
    """Write, into sums, Σ ΔC/ATR14 over the last 50 bars; NaN while fewer than 50 bars count.

    moves: ΔC/ATR of 49 earlier bars, then room for the m new ones, which are filled in (0 where the ATR is 0);
    closes: the close before, then m, comparable; ranges: (m,) comparable ATR; work: two rows as long as moves.
    """
    before, today, new = closes, closes[1:], moves[49:]
    for j in range(len(ranges)):
        move = (today[j] - before[j]) / ranges[j]
        new[j] = move if ranges[j] > 0 else 0.0
    early = min(max(FIRST_MOVE - count, 0), len(ranges))
    new[:early] = 0.0
    fives, tens = work[0], work[1]
    fold(moves, 5, 1, fives)
    fold(fives, 2, 5, tens)
    fold(tens, 5, 10, fives)
    last = fives[49:]
    for j in range(len(ranges)):
        sums[j] = last[j]
    early = min(max(FIRST_MOVE + 49 - count, 0), len(ranges))
    sums[:early] = np.nan
