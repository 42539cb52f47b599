"""vol_20d_avg, vol_vs_avg_pct: the mean volume of 20 bars, and today's against the 20 before it."""

from __future__ import annotations

import numpy as np

from screener_data.formulas.compiled import F8, Int64, compiled
from screener_data.formulas.windows import fold

__all__ = ["MOST_VS_AVG_PCT", "volume_averages"]

#: vol_vs_avg_pct is a numeric(8,2): what is more says "very much" all the same.
MOST_VS_AVG_PCT = 999_999.99


@compiled
def volume_averages(volumes: F8, known: Int64, scale: F8, work: F8, vol_20d_avg: F8, vol_vs_avg_pct: F8) -> None:
    """Write the two columns: shares of each bar's own day, and percent.

    volumes: comparable, 0 where unknown, 20 earlier bars, then the m new ones; known: (m,), how many bars up to and
    with this one have a known volume; scale: (m,); work: two rows as long as volumes.
    NaN where a volume of the window is unknown; vol_vs_avg_pct also where the average is zero.
    """
    size = len(scale)
    fours, sums = work[0], work[1]
    fold(volumes, 4, 1, fours)
    fold(fours, 5, 4, sums)
    today, with_today, before = volumes[20:], sums[20:], sums[19:]
    for j in range(size):
        vol_20d_avg[j] = with_today[j] / (20 * scale[j])
    for j in range(size):
        # (20·V − Σ) / Σ is V / mean − 1, and exact up to the division; 0 / 0 is NaN, V / 0 is made so
        percent = 100 * (20 * today[j] - before[j]) / before[j]
        vol_vs_avg_pct[j] = percent if percent < MOST_VS_AVG_PCT else MOST_VS_AVG_PCT
    for j in range(size):
        if known[j] < 21 or before[j] == 0:
            vol_vs_avg_pct[j] = np.nan
            if known[j] < 20:
                vol_20d_avg[j] = np.nan
