"""stage: Weinstein's four stages, of weekly closes as they stand on the day and their mean of 30 weeks."""

from __future__ import annotations

from typing import Any

import numpy as np

from screener_data.formulas.compiled import F8, Int64, compiled
from screener_data.formulas.state import TAIL_WEEKS

__all__ = ["stages", "week_of"]


@compiled
def week_of(day: int) -> int:
    """Number the ISO week (Monday to Sunday) of a day since 1970-01-01, which was a Thursday."""
    return (day + 3) // 7


@compiled
def stages(week: Int64, closes: F8, state: Any, week_closes: F8, before: F8, stage: F8) -> None:
    """Write the column (1.0 to 4.0; NaN while there are fewer than 34 weekly closes), and advance the state.

    week (of each bar), closes (comparable): (m,); week_closes, before: room for 34 + m.

    The sums S of 30 weekly closes are compared, not their means: rising is S ≥ 1.01 · S of four weeks before, falling
    the mirror, above is 30·C > S. All of it is exact for whole paise.
    """
    running = TAIL_WEEKS - 1
    for k in range(TAIL_WEEKS):
        week_closes[k] = state.week_closes[k]
    last = running
    now = week_of(state.day) if state.weeks > 0 else week[0] - 1
    for j in range(len(week)):
        if week[j] != now:
            now = week[j]
            last += 1
        week_closes[last] = closes[j]

    # Σ of the 29 weekly closes before each week
    sums = before[29:]
    for w in range(last - 28):
        sums[w] = week_closes[w]
    for k in range(1, 29):
        shifted = week_closes[k:]
        for w in range(last - 28):
            sums[w] += shifted[w]

    weeks, reading, decisive = state.weeks, state.reading, state.decisive
    now = week_of(state.day) if weeks > 0 else week[0] - 1
    w = running
    completed = before[w]
    earlier = before[w - 4] + week_closes[w - 4]
    decided = 3.0 if decisive == 2 else 1.0
    for j in range(len(week)):
        if week[j] != now:
            now = week[j]
            w += 1
            weeks += 1
            completed = before[w]
            earlier = before[w - 4] + week_closes[w - 4]
            decisive = reading if reading != 0 else decisive
            decided = 3.0 if decisive == 2 else 1.0
        if weeks < TAIL_WEEKS:
            stage[j] = np.nan
            continue
        thirty = completed + closes[j]
        lead, rise = 30 * closes[j] - thirty, 100 * (thirty - earlier)
        up, down = (lead > 0) & (rise >= earlier), (lead < 0) & (rise <= -earlier)
        reading = 2 if up else 4 if down else 0
        undecided = decided if decisive != 0 else (1.0 if lead < 0 else 3.0)
        stage[j] = reading if reading != 0 else undecided

    state.weeks, state.reading, state.decisive = weeks, reading, decisive
    for k in range(TAIL_WEEKS):
        state.week_closes[k] = week_closes[last - running + k]
