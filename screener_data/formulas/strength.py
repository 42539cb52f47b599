"""rs_rating: the weighted rise of a year's quarters, and its rank among the session's equities."""

from __future__ import annotations

import numpy as np

from screener_data.formulas.compiled import F8, Flags, Int32, Int64, compiled, stored

__all__ = ["FIRST_STRENGTH", "ratings", "strengths"]

#: The index of the first bar that has a close 252 bars before it.
FIRST_STRENGTH = 252

_TILE = 16  # sessions ranked together: their bars share cache lines
_DIGIT = 11  # bits; two digits hold the sign, the exponent and 13 bits more of a float32
_LOW = (1 << _DIGIT) - 1


@compiled
def strengths(closes: F8, count: int, strength: F8) -> None:
    """Write S = 0.4·P63 + 0.2·P126 + 0.2·P189 + 0.2·P252, P_n = C_t / C_{t−n} − 1; NaN before bar 252.

    closes: comparable, a tail of at least 252 earlier bars, then the m new ones; count: bars before these.
    """
    size = len(strength)
    tail = len(closes) - size
    today = closes[tail:]
    a, b, c, d = closes[tail - 63 :], closes[tail - 126 :], closes[tail - 189 :], closes[tail - 252 :]
    early = min(max(FIRST_STRENGTH - count, 0), size)
    strength[:early] = np.nan
    for j in range(early, size):
        close = today[j]
        strength[j] = (
            0.4 * (close / a[j] - 1) + 0.2 * (close / b[j] - 1) + 0.2 * (close / c[j] - 1) + 0.2 * (close / d[j] - 1)
        )


@compiled
def _sort(values: F8, keys: Int64, spare: Int64, starts: Int64) -> None:
    """Order the places of values, ascending by value: in the low half of each key.

    A radix sort by the upper 22 bits of the value as float32 (in the key's high half), then one of insertion, by the
    value itself, which finds little left to do. keys, spare: as long as values; starts: (2, 2048).
    """
    size = len(values)
    low, high = starts[0], starts[1]
    starts[:] = 0
    bits = values.astype(np.float32).view(np.uint32)
    for i in range(size):
        # flipped so that floats are ordered as unsigned whole numbers
        image = np.int64(bits[i])
        image = (image ^ 0xFFFFFFFF if image & 0x80000000 else image | 0x80000000) >> (32 - 2 * _DIGIT)
        keys[i] = (image << 32) | i
        low[image & _LOW] += 1
        high[image >> _DIGIT] += 1
    lows = highs = 0
    for word in range(_LOW + 1):
        low[word], lows = lows, lows + low[word]
        high[word], highs = highs, highs + high[word]
    for i in range(size):
        word = (keys[i] >> 32) & _LOW
        spare[low[word]] = keys[i]
        low[word] += 1
    for i in range(size):
        word = spare[i] >> (32 + _DIGIT)
        keys[high[word]] = spare[i]
        high[word] += 1
    for i in range(1, size):
        key = keys[i]
        value = values[key & 0xFFFFFFFF]
        j = i
        while j > 0 and values[keys[j - 1] & 0xFFFFFFFF] > value:
            keys[j] = keys[j - 1]
            j -= 1
        keys[j] = key


@compiled
def _rank(values: F8, keys: Int64, spare: Int64, starts: Int64, ratings: F8) -> None:
    """Write 100 · (rank − 1) / (N − 1) of each value among them all; equal ones share their mean rank; N = 1: NaN."""
    size = len(values)
    if size == 1:
        ratings[0] = np.nan
        return
    _sort(values, keys, spare, starts)
    low = 0
    while low < size:
        value = values[keys[low] & 0xFFFFFFFF]
        high = low
        while high + 1 < size and values[keys[high + 1] & 0xFFFFFFFF] == value:
            high += 1
        rating = 50 * (low + high) / (size - 1)
        for i in range(low, high + 1):
            ratings[keys[i] & 0xFFFFFFFF] = rating
        low = high + 1


@stored
def ratings(offsets: Int64, session: Int32, ranked: Flags, first: int, end: int, values: F8) -> None:
    """Turn strengths into ratings, in place, for the sessions from first up to end.

    Each bar is rated among the bars of its session that have a strength and whose symbol is ranked; all others become
    NaN. offsets: (symbols + 1,); ranked: (symbols,); session, values: (bars,).
    """
    symbols = len(ranked)
    cursor = np.empty(symbols, np.int64)
    for symbol in range(symbols):
        a, b = offsets[symbol], offsets[symbol + 1]
        cursor[symbol] = a + np.searchsorted(session[a:b], first)
    found, rated = np.empty((_TILE, symbols)), np.empty((_TILE, symbols))
    taken = np.empty(_TILE, np.int64)
    keys, spare = np.empty((2, symbols), np.int64)
    starts = np.empty((2, _LOW + 1), np.int64)
    for tile in range(first, end, _TILE):
        tile_end = min(tile + _TILE, end)
        taken[:] = 0
        for symbol in range(symbols):
            at, stop = cursor[symbol], offsets[symbol + 1]
            while at < stop and session[at] < tile_end:
                if ranked[symbol] and not np.isnan(values[at]):
                    row = session[at] - tile
                    found[row, taken[row]] = values[at]
                    taken[row] += 1
                at += 1
        for row in range(tile_end - tile):
            n = taken[row]
            if n > 0:
                _rank(found[row, :n], keys, spare, starts, rated[row])
        taken[:] = 0
        for symbol in range(symbols):
            at, stop = cursor[symbol], offsets[symbol + 1]
            while at < stop and session[at] < tile_end:
                if ranked[symbol] and not np.isnan(values[at]):
                    row = session[at] - tile
                    values[at] = rated[row, taken[row]]
                    taken[row] += 1
                else:
                    values[at] = np.nan
                at += 1
            cursor[symbol] = at
