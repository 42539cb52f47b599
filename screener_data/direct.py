"""Plain rows, which need no staging: checked as whole numbers, compared with stored ones, and copied straight in.

A row is plain where all that the database would say of it is certain beforehand: its numbers fit a 64-bit integer in
units of the column's last place, they satisfy the table's CHECK constraints, its key stands once in the file, and its
symbol has no history of names. Every other row takes the way over the staging table, where the database decides. Both
ways store the same: tests/test_direct.py holds them against each other.
"""

from __future__ import annotations

import datetime as dt
import operator
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import BigInteger, CheckConstraint, Connection, Integer, Numeric, String, Table

from screener_data.database.binary import copy_units
from screener_data.database.bulk import NULL, Counts, stored_rows, taken_ids
from screener_data.loaders import Parsed
from screener_data.loaders.format import Format, Merge, Ratio

__all__ = ["Cells", "Plain", "by_symbol", "compare_and_copy", "may_go_directly", "plain_rows"]

_Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
_Bools: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
_Hashes: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]
#: Rows on their way to the staging table: cells by column, and their lines.
Cells: TypeAlias = tuple[dict[str, pa.Array], np.ndarray[Any, np.dtype[np.int32]]]

#: Below it, a number of 64 binary digits tells a tie in the last place from its neighbours.
_LARGEST = 1 << 46
_NOT_A_TIE = 0.4
_MIX = np.uint64(0x9E3779B97F4A7C15)
_TWO_PLACES = r"^[0-9]*\.?[0-9]{0,2}$"
_COMPARISON = re.compile(r"(\w+) (>=|<=|<>|>|<|=) (\w+|'NaN')")
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    "<>": operator.ne,
}


@dataclass(frozen=True)
class Plain:
    """What is known of the rows of one parsed piece of a file: whole numbers by column, and which rows are plain."""

    parsed: Parsed
    days: _Ints  # days since 1970
    numbers: dict[str, _Ints]  # in units of the column's last place; NULL is null
    plain: _Bools
    #: Of each row's symbol and day: equal ones may be one key, different ones are none. None where nobody asks.
    hashes: _Hashes | None = None

    def part(self, parsed: Parsed, place: slice) -> Plain:
        """What is known of some of the rows, which make up another piece."""
        numbers = {name: values[place] for name, values in self.numbers.items()}
        return Plain(parsed, self.days[place], numbers, self.plain[place])


# --- what a format must be like -------------------------------------------------------------------------------------


def may_go_directly(format: Format) -> bool:
    """Whether rows of the format can be plain: one row per symbol and day, all else numbers with simple checks."""
    table: Table = format.target.__table__  # type: ignore[assignment]
    if format.merge is not Merge.BY_KEY or set(format.key) != {"symbol", "date"} or "symbol" in format.derived:
        return False
    if any((format.explode, format.registers, format.known_symbol, format.outranked_if, format.from_name)):
        return False
    numbers = all(isinstance(table.c[name].type, Numeric | BigInteger) for name in _numbers(format))
    rules = all(isinstance(rule, Ratio) for rule in format.derived.values())
    return numbers and rules and _comparisons(table) is not None


def _numbers(format: Format) -> list[str]:
    return [name for name in format.stored if name not in format.key]


def _scale(format: Format, name: str) -> int:
    """Decimal places of a column; of what only serves to compute others, those that plain rows have."""
    table = format.target.__table__
    kind = table.c[name].type if name in table.c else None
    if isinstance(kind, Integer):
        return 0
    return int(kind.scale or 0) if isinstance(kind, Numeric) else 2


@lru_cache(maxsize=16)
def _comparisons(table: Table) -> tuple[tuple[str, str, str], ...] | None:
    """The table's CHECK constraints as comparisons of columns; None where they are more than that.

    Comparisons with NaN are left out: a whole number is none.
    """
    found: list[tuple[str, str, str]] = []
    for check in table.constraints:
        if isinstance(check, CheckConstraint):
            for term in str(check.sqltext).split(" AND "):
                comparison = _COMPARISON.fullmatch(term.strip())
                if comparison is None:
                    return None
                if comparison[3] != "'NaN'":
                    found.append((comparison[1], comparison[2], comparison[3]))
    return tuple(found)


# --- one piece of a file --------------------------------------------------------------------------------------------


def plain_rows(parsed: Parsed, *, hashed: bool = False) -> Plain:
    """Tell the plain rows of a piece, `hashed` where others may share its keys. Touches no database."""
    format = parsed.format
    days = parsed.columns["date"].cast(pa.date32()).cast(pa.int32()).to_numpy(zero_copy_only=False).astype(np.int64)
    plain = np.full(len(parsed.lines), not parsed.given)
    numbers: dict[str, _Ints] = {}
    for name, cells in parsed.columns.items():
        if name not in format.key and not isinstance(format.sql_type(name), String):
            values = parsed.numbers[name] if name in parsed.numbers else cells.cast(pa.float64())
            numbers[name], certain = _whole(values, _scale(format, name))
            plain &= certain
            if name not in format.stored:  # it is not rounded before others are computed from it
                plain &= pc.fill_null(pc.match_substring_regex(cells, _TWO_PLACES), True).to_numpy(zero_copy_only=False)
    for name, rule in format.derived.items():
        assert isinstance(rule, Ratio)  # noqa: S101 - may_go_directly has seen to it
        numbers[name], certain = _ratio(rule, numbers, format, name)
        plain &= certain
    for left, compare, right in _comparisons(format.target.__table__) or ():
        if left in numbers and right in numbers:
            one, other = numbers[left], numbers[right]
            plain &= _OPERATORS[compare](one, other) | (one == NULL) | (other == NULL)
    symbols = parsed.columns["symbol"].dictionary_encode()
    plain &= ~pd.Series(_key(_codes(symbols), days)).duplicated(keep=False).to_numpy()
    return Plain(parsed, days, numbers, plain, _hashes(symbols, days) if hashed else None)


def _hashes(symbols: pa.DictionaryArray, days: _Ints) -> _Hashes:
    of_symbols: _Hashes = pd.util.hash_array(np.array(symbols.dictionary.to_pylist(), dtype=object))
    return of_symbols[_codes(symbols)] ^ (days.astype(np.uint64) * _MIX)


def _whole(values: pa.Array, scale: int) -> tuple[_Ints, _Bools]:
    """Numbers in units of 10^-scale, rounded half away from zero, and whether that is certain."""
    scaled = values.to_numpy(zero_copy_only=False) * 10.0**scale
    null = np.isnan(scaled)
    near = np.rint(scaled)
    certain = null | ((np.abs(scaled - near) < _NOT_A_TIE) & (np.abs(near) < _LARGEST))
    return np.where(null | ~certain, NULL, near).astype(np.int64), certain


def _ratio(rule: Ratio, numbers: dict[str, _Ints], format: Format, name: str) -> tuple[_Ints, _Bools]:
    """A computed column in units of its last place, and whether that is certain."""
    above, below = numbers[rule.of], numbers[rule.to]
    null = (above == NULL) | (below == NULL) | (below == 0)
    if rule.less is not None:
        null |= numbers[rule.less] == NULL
        above = above - np.where(null, 0, numbers[rule.less])
    above, below = np.where(null, 0, above), np.where(null, 1, below)
    shift = _scale(format, name) + _scale(format, rule.to) - _scale(format, rule.of)
    times = rule.times * 10 ** max(shift, 0)
    below = below * 10 ** max(-shift, 0)
    size = np.abs(above)
    # twice the numerator and the divisor must fit; ten times the limit is far from it on the safe side
    certain = null | ((size < (1 << 61) // times) & (below > 0) & (below < 1 << 61))
    safe = np.where(certain, size, 0) * times
    rounded = np.sign(above) * ((2 * safe + below) // (2 * np.where(below > 0, below, 1)))
    certain &= np.abs(rounded) < float(rule.limit) * 10 ** _scale(format, name) - 1
    return np.where(null, NULL, rounded), certain


def _codes(symbols: pa.DictionaryArray) -> _Ints:
    codes: _Ints = symbols.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _key(symbols: _Ints, days: _Ints) -> _Ints:
    return (symbols << 24) | (days + (1 << 22))


# --- many pieces at once --------------------------------------------------------------------------------------------


def compare_and_copy(
    connection: Connection, pieces: list[Plain], *, renamed: Collection[str], stored: bool, filling: bool
) -> list[tuple[Counts, Cells]]:
    """Store the plain rows of pieces that share no key, and count what of them was there already.

    `renamed`: symbols whose rows are never plain. `stored`: the table may hold rows of these days; else it is empty.
    `filling`: its indexes are built last, and its rows bring their ids.
    Returns, for each piece, its counts and what is left of it: rows that differ from the stored one, and rows that
    are not plain.
    """
    format = pieces[0].parsed.format
    plain = np.concatenate([piece.plain for piece in pieces])
    fresh, same = plain, np.zeros(len(plain), bool)
    if stored or renamed:
        symbols = (
            pa.chunked_array([piece.parsed.columns["symbol"] for piece in pieces]).combine_chunks().dictionary_encode()
        )
        codes = _codes(symbols)
        odd = pc.is_in(symbols.dictionary, pa.array(list(renamed), pa.large_string())).to_numpy(zero_copy_only=False)
        fresh = plain = plain & ~odd[codes]
    if stored:
        days = np.concatenate([piece.days for piece in pieces])
        place, theirs = _stored(connection, format, symbols.dictionary, codes, days)
        known = place >= 0
        same = plain & known
        for name in _numbers(format):
            same &= ~known | (_together(pieces, name) == theirs[name][place])
        fresh = plain & ~known
    if fresh.any():
        rows = np.flatnonzero(fresh)
        if stored and len(pieces) > 1:  # as the indexes have them: their pages are visited once
            rows = rows[np.argsort(codes[rows], kind="stable")]
        columns = {"date": np.concatenate([piece.days for piece in pieces])[rows]}
        columns |= {name: _together(pieces, name)[rows] for name in _numbers(format)}
        if filling:
            columns["id"] = taken_ids(connection, format.target.__tablename__, len(rows))
        texts = pa.chunked_array([piece.parsed.columns["symbol"] for piece in pieces]).take(pa.array(rows))
        taken = copy_units(connection, format.target.__table__, texts.combine_chunks(), columns)  # type: ignore[arg-type]
        assert taken == len(rows)  # noqa: S101 - COPY takes all rows or fails
    done = []
    start = 0
    for piece in pieces:
        part = slice(start, start := start + len(piece.plain))
        counts = Counts(inserted=int(fresh[part].sum()), unchanged=int(same[part].sum()))
        rest = ~(fresh[part] | same[part])
        chosen = pa.array(rest)
        cells = {name: column.filter(chosen) for name, column in piece.parsed.columns.items()} if rest.any() else {}
        done.append((counts, (cells, piece.parsed.lines[rest])))
    return done


def by_symbol(columns: dict[str, Any]) -> dict[str, Any]:
    """Rows of many days with those of a symbol together, as the indexes have them: their pages are visited once."""
    symbols = columns["symbol"]
    symbols = symbols.combine_chunks() if isinstance(symbols, pa.ChunkedArray) else symbols
    codes = symbols.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    order = pa.array(np.argsort(codes, kind="stable"))
    return {name: column.take(order) for name, column in columns.items()}


def _together(pieces: list[Plain], name: str) -> _Ints:
    return np.concatenate([piece.numbers[name] for piece in pieces])


def _stored(
    connection: Connection, format: Format, symbols: pa.Array, codes: _Ints, days: _Ints
) -> tuple[_Ints, dict[str, _Ints]]:
    """Where each row's stored twin is (-1: nowhere), and the stored numbers by column."""
    names = _numbers(format)
    kinds = {"symbol": pa.large_string(), "date": pa.date32(), **dict.fromkeys(names, pa.float64())}
    found = stored_rows(connection, format.target.__tablename__, kinds, _dates(np.unique(days)))
    theirs = pc.index_in(found["symbol"], symbols).combine_chunks()
    ours = theirs.is_valid()
    theirs = theirs.filter(ours).to_numpy(zero_copy_only=False).astype(np.int64)
    their_days = found["date"].cast(pa.int32()).filter(ours).to_numpy().astype(np.int64)
    place = pd.Index(_key(theirs, their_days)).get_indexer(pd.Index(_key(codes, days)))
    numbers = {}
    for name in names:
        whole, certain = _whole(found[name].combine_chunks().filter(ours), _scale(format, name))
        numbers[name] = np.append(np.where(certain, whole, NULL + 1), NULL)  # the last is for "nowhere"
    return place.astype(np.int64), numbers


def _dates(days: Iterable[int]) -> list[dt.date]:
    return [dt.date(1970, 1, 1) + dt.timedelta(int(day)) for day in days]
