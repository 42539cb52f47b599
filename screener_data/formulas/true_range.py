"""atr, atr_pct: Wilder's average true range of 14 bars, seeded as TA-Lib does."""

from __future__ import annotations

from screener_data.formulas.compiled import F8, compiled

__all__ = ["FIRST_ATR", "first_ranges", "next_atr", "true_range"]

#: The index of the first bar with an ATR: bar 0 has no close before it, so bars 1 to 14 make the first mean.
FIRST_ATR = 14


@compiled
def true_range(high: float, low: float, before: float) -> float:
    """TR = max(H − L, |H − C|, |L − C|), C the close before."""
    widest, up, down = high - low, abs(high - before), abs(low - before)
    widest = up if up > widest else widest
    return down if down > widest else widest


@compiled
def next_atr(atr: float, true_range: float) -> float:
    """(13·ATR + TR) / 14, in the form that waits least for the ATR before, and that keeps a constant as it is."""
    return atr + (true_range - atr) * (1 / FIRST_ATR)


@compiled
def first_ranges(highs: F8, lows: F8, closes: F8, atr: float, count: int, ranges: F8) -> float:
    """Write the sums of true ranges so far of the bars before bar 14, and their mean at bar 14; return the last.

    highs, lows, ranges: of bars up to bar 14 only; closes: the close before, then theirs; all comparable; count: bars
    before these; atr: the sum before them.
    """
    for j in range(len(ranges)):
        atr += true_range(highs[j], lows[j], closes[j]) if count + j > 0 else 0.0
        atr = atr / FIRST_ATR if count + j == FIRST_ATR else atr
        ranges[j] = atr
    return atr
