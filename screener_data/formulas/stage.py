"""stage: Weinstein's four stages, of weekly closes as they stand on the day and their mean of 30 weeks."""

from __future__ import annotations

from typing import Any

import numpy as np

from screener_data.formulas.compiled import F8, Int32, Int64, compiled, signed, unsigned
from screener_data.formulas.state import TAIL_WEEKS
from screener_data.formulas.windows import fold

__all__ = ["stages", "week_end"]


@compiled
def week_end(day: int) -> int:
    """Find the Sunday that ends the ISO week of a day; both since 1970-01-01, which was a Thursday."""
    return (day + 3) // 7 * 7 + 3


@compiled
def stages(day: Int32, closes: F8, state: Any, work: F8, first_bars: Int64, stage: F8) -> None:
    """Write the column (1.0 to 4.0; NaN while there are fewer than 34 weekly closes), and advance the state.

    day (of each bar), closes (comparable): (m,); work: four rows with room for 34 + m weeks; first_bars: room for
    35 + m.

    The sums S of 30 weekly closes are compared, not their means: rising is S ≥ 1.01 · S of four weeks before, falling
    the mirror, above is 30·C > S. With S = C + Σ of the 29 closes before, each becomes a comparison of C with what the
    week's bars have in common. All of it is exact for whole paise.
    """
    week_closes, fives, fours, before = work[0], work[1], work[2], work[3]
    running = TAIL_WEEKS - 1
    week_closes[:TAIL_WEEKS] = state.week_closes
    # the bars of week w are those from first_bars[w] up to first_bars[w + 1]
    week = unsigned(running)
    first_bars[week] = 0
    sunday = week_end(state.day) if state.weeks > 0 else day[0] - 1
    for j in range(len(day)):
        if day[j] > sunday:
            sunday = week_end(day[j])
            week += unsigned(1)
            first_bars[week] = j
        week_closes[week] = closes[j]
    first_bars[week + unsigned(1)] = len(day)

    # Σ of the 29 weekly closes up to each week: 25, and the 4 before these
    end = signed(week) + 1
    fold(week_closes[:end], 5, 1, fives[:end])
    fold(fives[:end], 5, 5, before[:end])
    fold(week_closes[:end], 4, 1, fours[:end])
    summed, older = before[25:end], fours[: end - 25]
    for w in range(len(summed)):
        summed[w] += older[w]

    weeks, reading, decisive = state.weeks - 1, state.reading, state.decisive
    starts, before, earlier, own = (
        first_bars[running:],
        before[running - 1 :],
        before[running - 5 :],
        week_closes[running:],
    )
    fourth = week_closes[running - 4 :]
    for w in range(end - running):
        weeks += 1
        if w > 0:
            decisive = reading if reading != 0 else decisive
        bars = range(unsigned(starts[w]), unsigned(starts[w + 1]))
        if weeks < TAIL_WEEKS:
            for j in bars:
                stage[j] = np.nan
            continue
        then = earlier[w] + fourth[w]
        rise, fall = 101 * then - 100 * before[w], 99 * then - 100 * before[w]
        below, above = 3.0 if decisive == 2 else 1.0, 1.0 if decisive == 4 else 3.0
        for j in bars:
            lead, level = 29 * closes[j], 100 * closes[j]
            undecided = below if lead < before[w] else above
            undecided = 4.0 if (lead < before[w]) & (level <= fall) else undecided
            stage[j] = 2.0 if (lead > before[w]) & (level >= rise) else undecided
        lead, level = 29 * own[w], 100 * own[w]
        reading = 2 * ((lead > before[w]) & (level >= rise)) + 4 * ((lead < before[w]) & (level <= fall))

    state.weeks, state.reading, state.decisive = weeks, reading, decisive
    for k in range(TAIL_WEEKS):
        state.week_closes[k] = week_closes[end - TAIL_WEEKS + k]
