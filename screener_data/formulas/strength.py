"""rs_rating: the weighted rise of a year's quarters, and its rank among the session's equities."""

from __future__ import annotations

import numpy as np

from screener_data.formulas.compiled import F8, Flags, Int32, Int64, UInt32, UInt64, compiled, signed, stored, unsigned

__all__ = ["FIRST_STRENGTH", "ratings", "strength_of"]

#: The index of the first bar that has a close 252 bars before it.
FIRST_STRENGTH = 252

_TILE = 64  # sessions that are ranked together
_LINE = 8  # symbols whose strengths share a cache line of the panel

# What a radix sort of two digits looks at: of 1 + S as a float64 four bits of the exponent, for 2⁻⁶ to 2¹⁰, and as much
# of the mantissa as there is room for.
_DIGIT = 10  # bits
_WORDS = 1 << _DIGIT
_UNSEEN = 52 - (2 * _DIGIT - 4)
_LEAST = (1023 - 6) << (52 - _UNSEEN)
_MOST = (1 << 2 * _DIGIT) - 1
# A key holds that above, and the place of the value below.
_HALF = unsigned(32)
_PLACE = unsigned((1 << 32) - 1)


@compiled
def strength_of(close: float, a: float, b: float, c: float, d: float) -> float:
    """S = 0.4·P63 + 0.2·P126 + 0.2·P189 + 0.2·P252, P_n = C_t / C_{t−n} − 1; a to d: closes 63 to 252 bars ago."""
    return 0.4 * (close / a - 1) + 0.2 * (close / b - 1) + 0.2 * (close / c - 1) + 0.2 * (close / d - 1)


@compiled
def _sort(values: F8, keys: UInt64, spare: UInt64, starts: UInt32) -> tuple[int, bool]:
    """Order the places of values, NaN left out, ascending by value, into the low halves of keys.

    Returns how many there are, and whether any two are equal. A radix sort comes first; one of insertion, by the value
    itself, then finds little left to do where strengths are of this world. keys, spare: as long as values;
    starts: (2, 1024), counters.
    """
    low, high = starts[0], starts[1]
    starts[:] = 0
    images = (1 + values).view(np.int64)
    for i in range(len(values)):
        images[i] = min(max((images[i] >> _UNSEEN) - _LEAST, 0), _MOST)
    digit, word_of = unsigned(_DIGIT), unsigned(_WORDS - 1)
    size = unsigned(0)
    for i in range(len(values)):
        image, known = unsigned(images[i]), unsigned(values[i] == values[i])
        keys[size] = (image << _HALF) | unsigned(i)
        size += known
        low[image & word_of] += known
        high[image >> digit] += known
    lows = highs = unsigned(0)
    for word in range(_WORDS):
        low[word], lows = lows, lows + low[word]
        high[word], highs = highs, highs + high[word]
    for i in range(size):
        at = (keys[i] >> _HALF) & word_of
        spare[low[at]] = keys[i]
        low[at] += unsigned(1)
    for i in range(size):
        at = spare[i] >> (_HALF + digit)
        keys[high[at]] = spare[i]
        high[at] += unsigned(1)

    tied = False
    most = values[keys[0] & _PLACE] if size > 0 else np.nan
    for i in range(unsigned(1), size):
        key = keys[i]
        value = values[key & _PLACE]
        if value > most:
            most = value
            continue
        j = i
        while j > 0 and values[keys[j - unsigned(1)] & _PLACE] > value:
            keys[j] = keys[j - unsigned(1)]
            j -= unsigned(1)
        keys[j] = key
        tied |= j > 0 and values[keys[j - unsigned(1)] & _PLACE] == value
    return signed(size), tied


@compiled
def _rank(values: F8, keys: UInt64, spare: UInt64, starts: UInt32, by_place: F8) -> None:
    """Replace each value by 100 · (rank − 1) / (N − 1) among them all; equal ones share their mean rank.

    NaN stays NaN and does not count; N = 1: NaN. by_place: as long as values.
    """
    size, tied = _sort(values, keys, spare, starts)
    for place in range(size):
        by_place[place] = 100 * place / (size - 1)  # 0 / 0 for N = 1
    if tied:
        low = 0
        for high in range(1, size + 1):
            if high == size or values[keys[high] & _PLACE] != values[keys[low] & _PLACE]:
                by_place[low:high] = 50 * (low + high - 1) / (size - 1)
                low = high
    for place in range(size):
        values[keys[place] & _PLACE] = by_place[place]


@compiled
def _end_of(session: Int32, at: int, stop: int, end: int) -> int:
    """Find the first bar from at on whose session is end or later; stop where there is none."""
    if at == stop or session[at] >= end:
        return at
    whole = int(min(at + end - session[at], stop))
    if session[whole - 1] - session[at] == whole - 1 - at:  # a bar in each session
        return whole
    return at + int(np.searchsorted(session[at:stop], end))


@stored
def ratings(offsets: Int64, session: Int32, ranked: Flags, first: int, end: int, values: F8) -> None:
    """Turn strengths into ratings, in place, for the sessions from first up to end.

    Each bar is rated among the bars of its session that have a strength and whose symbol is ranked; all others become
    NaN. offsets: (symbols + 1,); ranked: (symbols,); session, values: (bars,).

    The strengths are turned round into a panel, sessions by symbols, of some sessions at a time. Where the symbols of
    a cache line have a bar in each of these, that is a small matrix transposed; it saves half of the time.
    """
    symbols = len(ranked)
    at, past = np.empty(symbols, np.int64), np.empty(symbols, np.int64)
    for symbol in range(symbols):
        at[symbol] = _end_of(session, offsets[symbol], offsets[symbol + 1], first)
    panel = np.empty((_TILE, symbols))
    keys, spare = np.empty(symbols, np.uint64), np.empty(symbols, np.uint64)
    starts = np.empty((2, _WORDS), np.uint32)
    by_place = np.empty(symbols)
    dense = np.zeros(symbols, np.bool_)
    for tile in range(first, end, _TILE):
        sessions = min(_TILE, end - tile)
        for symbol in range(symbols):
            past[symbol] = _end_of(session, at[symbol], offsets[symbol + 1], tile + sessions)
        for line in range(0, symbols - _LINE + 1, _LINE):
            these = slice(line, line + _LINE)
            dense[these] = ((past[these] - at[these] == sessions) & ranked[these]).all()
        for symbol in range(symbols):
            if not dense[symbol]:
                panel[:, symbol] = np.nan
                if ranked[symbol]:
                    for bar in range(at[symbol], past[symbol]):
                        panel[session[bar] - tile, symbol] = values[bar]
            elif symbol % _LINE == 0:
                bars = at[symbol : symbol + _LINE]
                for row in range(sessions):
                    for k in range(_LINE):
                        panel[row, symbol + k] = values[unsigned(bars[k] + row)]
        for row in range(sessions):
            _rank(panel[row], keys, spare, starts, by_place)
        for symbol in range(symbols):
            if not dense[symbol]:
                for bar in range(at[symbol], past[symbol]):
                    values[bar] = panel[session[bar] - tile, symbol]
            elif symbol % _LINE == 0:
                bars = at[symbol : symbol + _LINE]
                for row in range(sessions):
                    for k in range(_LINE):
                        values[unsigned(bars[k] + row)] = panel[row, symbol + k]
        at[:] = past
