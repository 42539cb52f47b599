"""vol_20d_avg, vol_vs_avg_pct: the mean volume of 20 bars, and today's against the 20 before it."""

from __future__ import annotations

import numpy as np

from screener_data.formulas.compiled import F8, compiled
from screener_data.formulas.windows import fold

__all__ = ["MOST_VS_AVG_PCT", "volume_averages"]

#: vol_vs_avg_pct is a numeric(8,2): what is more says "very much" all the same.
MOST_VS_AVG_PCT = 999_999.99


@compiled
def volume_averages(volumes: F8, count: int, scale: F8, fours: F8, vol_20d_avg: F8, vol_vs_avg_pct: F8) -> None:
    """Write the two columns: shares of each bar's own day, and percent.

    volumes: comparable, NaN where unknown, 20 earlier bars, then the m new ones; count: bars before these;
    scale: (m,); fours: as long as volumes.
    NaN where a volume of the window is unknown or the window is not full; vol_vs_avg_pct also where the average is 0.
    """
    size = len(scale)
    fold(volumes, 4, 1, fours)
    today = volumes[20:]
    a, b, c, d, e = fours[4:], fours[8:], fours[12:], fours[16:], fours[20:]
    for j in range(size):
        vol_20d_avg[j] = (a[j] + b[j] + c[j] + d[j] + e[j]) / (20 * scale[j])
    a, b, c, d, e = fours[3:], fours[7:], fours[11:], fours[15:], fours[19:]
    for j in range(size):
        # (20·V − Σ) / Σ is V / mean − 1, and exact up to the division
        before = a[j] + b[j] + c[j] + d[j] + e[j]
        percent = 100 * (20 * today[j] - before) / before
        percent = MOST_VS_AVG_PCT if percent > MOST_VS_AVG_PCT else percent
        vol_vs_avg_pct[j] = percent if before > 0 else np.nan
    vol_20d_avg[: min(max(19 - count, 0), size)] = np.nan
    vol_vs_avg_pct[: min(max(20 - count, 0), size)] = np.nan
