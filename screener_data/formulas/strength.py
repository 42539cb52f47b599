"""rs_rating: the weighted rise of a year's quarters, and its rank among the session's equities."""

from __future__ import annotations

import numpy as np

from screener_data.formulas.compiled import F8, Flags, Int32, Int64, compiled, stored

__all__ = ["FIRST_STRENGTH", "ratings", "strengths"]

#: The index of the first bar that has a close 252 bars before it.
FIRST_STRENGTH = 252

_TILE = 16  # sessions ranked together: their bars share cache lines
_DIGIT = 11  # bits; three digits sort a float32
_DIGITS = 1 << _DIGIT


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
def _sort(values: F8, keys: Int64, spare: Int64, starts: Int64) -> Int64:
    """Order the places of values: in the low half of each key returned, ascending by value.

    A radix sort by the value as float32 (in the key's high half), then one of insertion, which finds little to do, by
    the value itself. keys, spare: as long as values; starts: (3, 2048).
    """
    size = len(values)
    starts[:] = 0
    bits = values.astype(np.float32).view(np.int32)
    for i in range(size):
        # flipped so that floats are ordered as unsigned whole numbers
        image = np.int64(bits[i])
        image = (~image if image < 0 else image | 0x80000000) & 0xFFFFFFFF
        keys[i] = (image << 32) | i
        for digit in range(3):
            starts[digit, (keys[i] >> (32 + digit * _DIGIT)) & (_DIGITS - 1)] += 1
    for digit in range(3):
        total = 0
        for word in range(_DIGITS):
            here = starts[digit, word]
            starts[digit, word] = total
            total += here
        for i in range(size):
            word = (keys[i] >> (32 + digit * _DIGIT)) & (_DIGITS - 1)
            spare[starts[digit, word]] = keys[i]
            starts[digit, word] += 1
        keys, spare = spare, keys
    for i in range(1, size):
        key = keys[i]
        value = values[key & 0xFFFFFFFF]
        j = i
        while j > 0 and values[keys[j - 1] & 0xFFFFFFFF] > value:
            keys[j] = keys[j - 1]
            j -= 1
        keys[j] = key
    return keys


@stored
def ratings(offsets: Int64, session: Int32, ranked: Flags, first: int, end: int, values: F8) -> None:
    """Turn strengths into ratings, in place, for the sessions from first up to end.

    100 · (rank − 1) / (N − 1) among the bars of a session that have a strength and whose symbol is ranked; equal ones
    share their mean rank. NaN where N is 1 and for all others. offsets: (symbols + 1,); ranked: (symbols,);
    session, values: (bars,).
    """
    symbols = len(ranked)
    cursor = np.empty(symbols, np.int64)
    for symbol in range(symbols):
        a, b = offsets[symbol], offsets[symbol + 1]
        cursor[symbol] = a + np.searchsorted(session[a:b], first)
    found = np.empty((_TILE, symbols), np.float64)
    places = np.empty((_TILE, symbols), np.int64)
    counts = np.empty(_TILE, np.int64)
    keys, spare = np.empty(symbols, np.int64), np.empty(symbols, np.int64)
    starts = np.empty((3, _DIGITS), np.int64)
    for tile in range(first, end, _TILE):
        tile_end = min(tile + _TILE, end)
        counts[:] = 0
        for symbol in range(symbols):
            at, stop = cursor[symbol], offsets[symbol + 1]
            use = ranked[symbol]
            while at < stop and session[at] < tile_end:
                value = values[at]
                if use and value == value:  # not NaN
                    row = session[at] - tile
                    found[row, counts[row]] = value
                    places[row, counts[row]] = at
                    counts[row] += 1
                else:
                    values[at] = np.nan
                at += 1
            cursor[symbol] = at
        for row in range(tile_end - tile):
            n = counts[row]
            if n == 1:
                values[places[row, 0]] = np.nan
            if n < 2:
                continue
            here, place = found[row, :n], places[row]
            order = _sort(here, keys[:n], spare[:n], starts)
            low = 0
            while low < n:
                value = here[order[low] & 0xFFFFFFFF]
                high = low
                while high + 1 < n and here[order[high + 1] & 0xFFFFFFFF] == value:
                    high += 1
                rating = 100 * (0.5 * (low + high)) / (n - 1)
                for i in range(low, high + 1):
                    values[place[order[i] & 0xFFFFFFFF]] = rating
                low = high + 1
