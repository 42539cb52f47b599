"""Rows in PostgreSQL's binary format of COPY: what the server need not read as text, it stores a quarter faster.

The format: https://www.postgresql.org/docs/current/sql-copy.html. A numeric is its digits to the base of 10,000, as
numeric_recv() of the server's src/backend/utils/adt/numeric.c reads them; zeros before the first one do no harm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import BigInteger, Connection, Date, Numeric, Table
from sqlalchemy.types import TypeEngine

from screener_data.database.bulk import NULL, copy_in

__all__ = ["copy_units"]

_Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
#: One after the other in a record: how a number is written, and its values, or the one that all records have.
_Parts: TypeAlias = list[tuple[str, Any]]

_START = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_ROWS = 5_000  # that are written at once
_EPOCH = 10_957  # the server counts days from 2000-01-01
_BASE = 10_000
_NEGATIVE = 0x4000


def copy_units(connection: Connection, table: Table, symbols: pa.Array, columns: Mapping[str, _Ints]) -> int:
    """COPY rows into a table: their symbols, none of them null, and all else as whole numbers. The rows that it took.

    Numbers are in units of their column's last place, days since 1970-01-01, and NULL is null.
    """
    names = ", ".join(f'"{name}"' for name in [*columns, "symbol"])
    kinds = {name: table.c[name].type for name in columns}
    if odd := [kind for kind in kinds.values() if not isinstance(kind, Date | BigInteger | Numeric)]:
        raise TypeError(f"no binary form is written here of {odd[0]!r}")
    statement = f"COPY {table.name} ({names}) FROM STDIN WITH (FORMAT binary)"
    return copy_in(connection, statement, _pieces(symbols, columns, kinds))


def _pieces(
    symbols: pa.Array, columns: Mapping[str, _Ints], kinds: Mapping[str, TypeEngine[Any]]
) -> Iterator[pa.Buffer | bytes]:
    yield _START
    texts = symbols.cast(pa.large_binary())
    for start in range(0, len(texts), _ROWS):
        part = slice(start, start + _ROWS)
        yield _records(texts[part], {name: values[part] for name, values in columns.items()}, kinds)
    yield _END


def _records(
    texts: pa.LargeBinaryArray, columns: Mapping[str, _Ints], kinds: Mapping[str, TypeEngine[Any]]
) -> pa.Buffer:
    """Records of some rows, in their order. A null has no bytes: rows that lack the same columns are alike."""
    lacks = np.zeros(len(texts), np.int64)
    for place, values in enumerate(columns.values()):
        lacks |= (values == NULL).astype(np.int64) << place
    if not (lacks != lacks[0]).any():
        return _joined(_alike(texts, columns, kinds))
    groups = [np.flatnonzero(lacks == pattern) for pattern in np.unique(lacks)]
    written = [
        _alike(texts.take(pa.array(rows)), {name: values[rows] for name, values in columns.items()}, kinds)
        for rows in groups
    ]
    return _joined(pa.concat_arrays(written).take(pa.array(np.argsort(np.concatenate(groups)))))


def _joined(records: pa.LargeBinaryArray) -> pa.Buffer:
    return records.buffers()[2]


def _alike(
    texts: pa.LargeBinaryArray, columns: Mapping[str, _Ints], kinds: Mapping[str, TypeEngine[Any]]
) -> pa.LargeBinaryArray:
    """Records that lack the same columns: all are laid out alike, but for the text at their end."""
    parts: _Parts = [(">i2", len(columns) + 1)]
    for name, values in columns.items():
        parts += [(">i4", -1)] if values[0] == NULL else _sized(_parts(kinds[name], values))
    parts.append((">i4", pc.binary_length(texts).to_numpy()))
    layout = np.dtype([(str(place), kind) for place, (kind, _) in enumerate(parts)])
    records = np.empty(len(texts), layout)
    for place, (_, values) in enumerate(parts):
        records[str(place)] = values
    fixed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(layout.itemsize), len(texts), [None, pa.py_buffer(records)]
    ).cast(pa.large_binary())
    return pc.binary_join_element_wise(fixed, texts, pa.scalar(b"", pa.large_binary()))


def _sized(parts: _Parts) -> _Parts:
    return [(">i4", sum(np.dtype(kind).itemsize for kind, _ in parts)), *parts]


def _parts(kind: TypeEngine[Any], values: _Ints) -> _Parts:
    if isinstance(kind, Date):
        return [(">i4", values - _EPOCH)]
    return _numeric(values, kind.scale or 0) if isinstance(kind, Numeric) else [(">i8", values)]


def _numeric(units: _Ints, scale: int) -> _Parts:
    size = np.abs(units)
    whole = size // 10**scale
    after = -(-scale // 4)
    digits = _digits((size - whole * 10**scale) * 10 ** (4 * after - scale), after)
    before = 1
    while whole.max() >= _BASE**before:
        before += 1
    digits = _digits(whole, before) + digits
    sign = np.where(units < 0, _NEGATIVE, 0)
    head: _Parts = [(">i2", len(digits)), (">i2", before - 1), (">i2", sign), (">i2", scale)]
    return head + [(">i2", digit) for digit in digits]


def _digits(whole: _Ints, number: int) -> list[_Ints]:
    """The last digits of whole numbers to the base of 10,000, the highest first."""
    digits: list[_Ints] = []
    for _ in range(number):
        above = whole // _BASE
        digits.insert(0, whole - above * _BASE)
        whole = above
    return digits
