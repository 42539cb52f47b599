"""What a symbol's bars leave behind: one record of fixed size, all that the next bar's formulas need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["STATE", "TAIL_CLOSES", "TAIL_MOVES", "TAIL_VOLUMES", "TAIL_WEEKS", "VCP_WINDOW", "VERSION", "new_states"]

#: The version of the formulas and of the record. Whoever changes what a column or a field means counts it up:
#: states and figures of another version are computed anew from the first bar.
VERSION = 2

TAIL_CLOSES = 256  # the strength looks 252 bars back, the longest average 199
TAIL_VOLUMES = 20
TAIL_MOVES = 49
TAIL_WEEKS = 34  # 33 completed weeks and the running one
VCP_WINDOW = 120  # bars; in each of them at most one swing is found

#: One record per symbol; all zeros before its first bar. "Comparable" is in paise (or shares) times the bar's scale.
#: Tails hold the newest last, zeros before the first. `tobytes` and `np.frombuffer(…, STATE)` store and restore it.
STATE = np.dtype(
    [
        ("count", np.int64),  # bars so far; the next one has this index
        ("day", np.int64),  # the last bar's, since 1970-01-01
        # averages, strength, true range
        ("closes", np.float64, TAIL_CLOSES),  # comparable
        # volume
        ("volumes", np.float64, TAIL_VOLUMES),  # comparable; NaN where unknown
        # true range
        ("atr", np.float64),  # comparable; before bar 14 the sum of the true ranges so far
        # vars
        ("moves", np.float64, TAIL_MOVES),  # ΔC/ATR
        # stage
        ("weeks", np.int64),  # weeks so far, the running one included
        ("week_closes", np.float64, TAIL_WEEKS),  # comparable
        ("reading", np.int64),  # the last bar's own: 2, 4, or 0 where not decisive
        ("decisive", np.int64),  # the last decisive reading of a completed week: 2, 4, or 0 for none yet
        # contraction
        ("falling", np.int64),  # 1: a swing low is being looked for, 0: a swing high
        ("extreme", np.float64),  # comparable; the high, or low, that may become the next swing
        ("extreme_bar", np.int64),
        ("swings", np.int64),  # how many of the next two hold something: the swings of the last 120 bars, oldest first
        ("swing_prices", np.float64, VCP_WINDOW),  # comparable; highs and lows in turn
        ("swing_bars", np.int64, VCP_WINDOW),
        ("score", np.float64),
    ]
)


def new_states(symbols: int) -> NDArray[np.void]:
    """Make the states of so many symbols before their first bars: (symbols,) of STATE."""
    return np.zeros(symbols, STATE)
