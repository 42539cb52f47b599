"""The one reader: the text of a file and its declaration in, checked columns and rejected rows out.

All cells stay text, as printed: PostgreSQL rounds and converts them, so that no digit is lost on the way.
"""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from screener_data.errors import Reason
from screener_data.loaders.format import Column, Format, fold
from screener_data.loaders.spelling import fast_number, parse_day, plain_number

__all__ = [
    "Block",
    "Parsed",
    "RefusedRowError",
    "Rejected",
    "Rows",
    "Together",
    "UnknownCodeError",
    "read_rows",
    "read_together",
]

# NUL, the sign that stands for NUL in the quarantine, and the sign for a byte that no encoding knows
_NOT_TEXT = "[\x00\u2400\ufffd]"
_BLANKS = (b" ", b"\t", b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x1f")
_PLAIN_LENGTH = 20
_FEW = 100  # one of so many cells
_DUMP = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class Rejected:
    """One row that breaks a rule: where, why, and its text as published."""

    line: int
    reason: Reason
    column: str | None
    detail: str
    raw: str
    symbol: str | None = None


@dataclass(frozen=True)
class Rows:
    """The rows of a file before they are read: their text and their line numbers (JSON: the entry's place)."""

    raw: list[str]
    lines: list[int]
    header: str | None = None  # None: headerless, or JSON

    def by_line(self) -> Mapping[int, str]:
        """The text of each row by its line."""
        return dict(zip(self.lines, self.raw, strict=True))


@dataclass(frozen=True)
class Block:
    """Whole lines of a CSV file before they are read, as UTF-8, with the number of the first of them.

    Lines before `start` do not belong to it: a copy of a large file without its header would be its size in memory.
    """

    data: bytes
    first: int
    header: str | None
    start: int = 0

    def cut(self, start: int, end: int, first: int) -> Block:
        """A part of it, from line `first` on."""
        return Block(self.data[start:end], first, self.header)

    def alone(self) -> Block:
        """Without the lines before it."""
        return self.cut(self.start, len(self.data), self.first) if self.start else self

    def rows(self) -> Rows:
        """One row per line; blank lines are none."""
        lines = self.data.decode().split("\n")
        kept = [place for place, line in enumerate(lines) if line.strip()]
        return Rows([lines[place].removesuffix("\r") for place in kept], [self.first + k for k in kept], self.header)

    def by_line(self) -> Mapping[int, str]:
        """The text of each row by its line: split when it is asked for, since most rows are fine."""
        return _Lines(self)

    def is_plain(self) -> bool:
        """Whether each line is a row that can be cut at its commas: no quotes, blank lines or old Mac line ends."""
        data = self.data
        return not (
            b'"' in data
            or data.startswith((b"\n", b"\r", b"\xef\xbb\xbf"))  # Arrow would leave a byte order mark out
            or _follows(data, b"\n", b"\n")
            or (b"\r" in data and (_follows(data, b"\n", b"\r") or data.count(b"\r") != data.count(b"\r\n")))
        )


def _follows(data: bytes, one: bytes, other: bytes) -> bool:
    """Whether one byte ever stands right before another; a search for both would take five times as long."""
    text = np.frombuffer(data, np.uint8)
    return bool(((text[:-1] == ord(one)) & (text[1:] == ord(other))).any())


class _Lines(Mapping[int, str]):
    def __init__(self, block: Block) -> None:
        self._block = block

    @cached_property
    def _split(self) -> Mapping[int, str]:
        return self._block.rows().by_line()

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.append(np.flatnonzero(np.frombuffer(self._block.data, np.uint8) == ord("\n")), len(self._block.data))

    def __getitem__(self, line: int) -> str:
        place = line - self._block.first
        if not 0 <= place < len(self._ends):
            raise KeyError(line)
        start = self._ends[place - 1] + 1 if place else 0
        text = self._block.data[start : self._ends[place]].decode()
        if not text.strip():
            raise KeyError(line)
        return text.removesuffix("\r")

    def __iter__(self) -> Iterator[int]:
        return iter(self._split)

    def __len__(self) -> int:
        return len(self._split)


@dataclass
class Parsed:
    """A file as read. `read` = rows that passed + rejected + skipped."""

    format: Format
    columns: dict[str, pa.Array]  # by target column: text as it goes to the server, null for none
    lines: np.ndarray[Any, np.dtype[np.int32]]  # the file line of each row of `columns`
    raw: Mapping[int, str]
    read: int
    given: dict[str, str] = field(default_factory=dict)  # by target column: what the file's name tells
    rejected: list[Rejected] = field(default_factory=list)
    skipped_lines: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # by reason
    notes: dict[str, Any] = field(default_factory=dict)
    header: str | None = None
    all_text: bool = False  # surely without signs for bytes that are no characters
    numbers: dict[str, pa.Array] = field(default_factory=dict)  # of some columns, the cells as 64-bit numbers

    @property
    def skipped(self) -> Counter[str]:
        """How many rows were skipped for each reason."""
        return Counter({reason: len(lines) for reason, lines in self.skipped_lines.items()})

    def frame(self) -> pd.DataFrame:
        """The rows that passed, as text, one column per target column, indexed by file line."""
        frame = pd.DataFrame({name: column.to_pylist() for name, column in self.columns.items()}, dtype="object")
        return frame.set_index(pd.Index(self.lines, name="line"))


def read_rows(rows: Rows | Block, format: Format, *, given: dict[str, str] | None = None) -> Parsed:
    """Split, clean and check rows. Nothing is lost: each row is in a column, rejected or skipped."""
    rows = rows.alone() if isinstance(rows, Block) else rows
    parsed = Parsed(format, {}, np.empty(0, np.int32), rows.by_line(), read=0, given=given or {}, header=rows.header)
    if isinstance(rows, Block) and rows.is_plain():
        parsed.all_text = rows.data.isascii() and b"\0" not in rows.data
        cells, lines = _plain_cells(rows, parsed)
    else:
        rows = rows.rows() if isinstance(rows, Block) else rows
        parsed.read = len(rows.raw)
        lines = np.array(rows.lines, dtype=np.int32)
        cells, lines = (_csv_cells if format.records is None else _json_cells)(rows, lines, parsed)
    if format.totals is not None and (difference := format.totals({k: v.to_pylist() for k, v in cells.items()})):
        parsed.notes["totals_differ"] = difference
    cells, lines = _without_skipped(cells, lines, parsed)
    cells, lines = _checked(cells, lines, parsed)
    if format.explode is not None:
        cells, lines = _exploded(cells, lines, parsed)
    parsed.columns, parsed.lines = cells, lines
    return parsed


@dataclass(frozen=True)
class Together:
    """Several files as read at once: all their rows, file by file, and each file's own part of them."""

    parsed: Parsed
    parts: list[Parsed]
    places: list[slice]  # of each part among the rows of `parsed`


def read_together(blocks: Sequence[Block], format: Format) -> Together | None:
    """As read_rows for each of the blocks, which share a header: a call costs as much as the rows of a small file.

    None where something was noted of the rows: of which file, only reading them one by one tells.
    """
    blocks = [block.alone() for block in blocks]
    bodies = [block.data if block.data.endswith(b"\n") else block.data + b"\n" for block in blocks]
    ends = np.cumsum([body.count(b"\n") for body in bodies])
    shifts = np.array([block.first for block in blocks]) - np.concatenate([[0], ends[:-1]])
    parsed = read_rows(Block(b"".join(bodies), 0, blocks[0].header), format)
    if parsed.notes:
        return None
    if (np.diff(parsed.lines) < 0).any():  # mended rows come last
        order = np.argsort(parsed.lines, kind="stable")
        chosen = pa.array(order)
        parsed.columns = {name: column.take(chosen) for name, column in parsed.columns.items()}
        parsed.numbers = {name: column.take(chosen) for name, column in parsed.numbers.items()}
        parsed.lines = parsed.lines[order]
    bounds = [0, *np.searchsorted(parsed.lines, ends).tolist()]
    places = [slice(start, end) for start, end in itertools.pairwise(bounds)]
    parts = [
        Parsed(
            format,
            {name: column[place] for name, column in parsed.columns.items()},
            parsed.lines[place] + np.int32(shift),
            block.by_line(),
            read=place.stop - place.start,
            header=block.header,
            all_text=parsed.all_text,
        )
        for block, shift, place in zip(blocks, shifts, places, strict=True)
    ]
    for rejected in parsed.rejected:
        file = int(np.searchsorted(ends, rejected.line, side="right"))
        parts[file].rejected.append(replace(rejected, line=rejected.line + int(shifts[file])))
        parts[file].read += 1
    for reason, lines in parsed.skipped_lines.items():
        files = np.searchsorted(ends, lines, side="right")
        for file, line in zip(files.tolist(), (lines + shifts[files]).tolist(), strict=True):
            parts[file].skipped_lines[reason].append(line)
            parts[file].read += 1
    return Together(parsed, parts, places)


# --- from text to cells ---------------------------------------------------------------------------------------------


def _csv_cells(rows: Rows, lines: np.ndarray, parsed: Parsed) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Cut rows at their commas and pick the declared columns; rows of a wrong width are rejected."""
    format = parsed.format
    header = split_line(rows.header) if rows.header is not None else [c.header for c in format.columns]
    assert header is not None  # noqa: S101 - a header that cannot be split was refused before
    width = len(header)
    position = {fold(cell): place for place, cell in reversed(list(enumerate(header)))}

    if any('"' in line for line in rows.raw):
        split = [split_line(line) for line in rows.raw]
        for line, text, row in zip(rows.lines, rows.raw, split, strict=True):
            if row is None:
                parsed.rejected.append(
                    Rejected(line, Reason.BAD_QUOTING, None, "a quote opens and does not close", text)
                )
        keep = np.array([row is not None for row in split])
        parts = pa.array([row for row in split if row is not None], pa.list_(pa.large_string()))
        raw = [text for text, row in zip(rows.raw, split, strict=True) if row is not None]
        lines = lines[keep]
    else:
        raw = rows.raw
        parts = pc.split_pattern(pa.array(raw, pa.large_string()), ",")

    counts = pc.list_value_length(parts).to_numpy(zero_copy_only=False)
    fits = counts == width
    if not fits.all():
        parts, fits = _mend_widths(parts, fits, raw, lines, width, parsed)
        lines = lines[fits]
    cells = {}
    for column in format.columns:
        place = position.get(fold(column.header))
        if place is None:
            cells[column.to] = pa.nulls(len(lines), pa.large_string())
        else:
            cells[column.to] = _cleaned(pc.list_element(parts, place), column)
    return _without_headers(cells, lines, parsed)


def _plain_cells(block: Block, parsed: Parsed) -> tuple[dict[str, pa.Array], np.ndarray]:
    """As _csv_cells, with Arrow's reader: for lines without quotes it cuts the same cells, ten times as fast."""
    format = parsed.format
    header = split_line(block.header) or [] if block.header is not None else [c.header for c in format.columns]
    place_of = {fold(cell): str(place) for place, cell in reversed(list(enumerate(header)))}
    odd: list[int] = []

    def skip(row: Any) -> str:
        odd.append(row.number - 1)
        return "skip"

    data = _without_blanks(block.data)
    trimmed = parsed.all_text and not any(blank in data for blank in _BLANKS)
    table = arrow_csv.read_csv(
        pa.BufferReader(data),
        arrow_csv.ReadOptions(
            use_threads=False, block_size=len(block.data) + 1, column_names=[str(k) for k in range(len(header))]
        ),
        arrow_csv.ParseOptions(quote_char=False, ignore_empty_lines=False, invalid_row_handler=skip),
        arrow_csv.ConvertOptions(
            include_columns=sorted({place_of[fold(c.header)] for c in format.columns if fold(c.header) in place_of}),
            column_types={place: pa.large_string() for place in place_of.values()},
            strings_can_be_null=False,
        ),
    ).combine_chunks()
    parsed.read = table.num_rows + len(odd)
    lines = np.arange(block.first, block.first + parsed.read, dtype=np.int32)
    keep = np.ones(len(lines), bool)
    keep[odd] = False
    cells = {
        column.to: _cleaned(table[place_of[fold(column.header)]].combine_chunks(), column, trimmed=trimmed)
        if fold(column.header) in place_of
        else pa.nulls(table.num_rows, pa.large_string())
        for column in format.columns
    }
    if odd:
        texts = [parsed.raw.get(line) for line in lines[odd].tolist()]
        rest = [(text, line) for text, line in zip(texts, lines[odd].tolist(), strict=True) if text is not None]
        parsed.read -= len(odd) - len(rest)
        others = Rows([text for text, _ in rest], [line for _, line in rest], block.header)
        mended, their_lines = _csv_cells(others, np.array(others.lines, np.int32), parsed)
        if len(their_lines):
            cells = {name: pa.concat_arrays([column, mended[name]]) for name, column in cells.items()}
        lines = np.concatenate([lines[keep], their_lines])
    return _without_headers(cells, lines, parsed)


def _without_blanks(data: bytes) -> bytes:
    """Leave out the blank after each comma, a habit of the exchange: cheaper here than cell by cell."""
    if b" " not in data:
        return data
    text = np.frombuffer(data, np.uint8)
    others = (text[1:] == ord(" ")) & (text[:-1] != ord(","))
    if data.startswith(b" ") or others.any():
        return data.replace(b", ", b",")
    return data.translate(None, b" ")


def _without_headers(
    cells: dict[str, pa.Array], lines: np.ndarray, parsed: Parsed
) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Leave out rows that repeat the header: files that were put together by hand have them."""
    if parsed.header is None:
        return cells, lines
    names = {fold(cell): cell.strip() for cell in split_line(parsed.header) or []}
    first = next(column for column in parsed.format.columns if fold(column.header) in names)
    name, text = names[fold(first.header)], cells[first.to].buffers()[2]
    if parsed.all_text and text is not None and name.lower().encode() not in text.to_pybytes().lower():
        return cells, lines
    repeated = _mask(pc.match_substring(cells[first.to], name, ignore_case=True))
    for again in np.flatnonzero(repeated):
        repeated[again] = fold(parsed.raw[int(lines[again])]) == fold(parsed.header)
    return _skip(cells, lines, repeated, Reason.REPEATED_HEADER, parsed)


def split_line(line: str) -> list[str] | None:
    """The cells of one line; None where a quote opens and does not close."""
    try:
        return next(csv.reader([line], strict=True, skipinitialspace=True), [])
    except csv.Error:
        return None


def _mend_widths(
    parts: pa.Array, fits: np.ndarray, raw: list[str], lines: np.ndarray, width: int, parsed: Parsed
) -> tuple[pa.Array, np.ndarray]:
    """Rows of another width: empty cells at the end are dropped or blank rows skipped, all others rejected."""
    mended: dict[int, list[str]] = {}
    for place in np.flatnonzero(~fits):
        cells: list[str] = parts[int(place)].as_py()
        line = int(lines[place])
        if not any(cell.strip() for cell in cells):
            parsed.skipped_lines[Reason.BLANK_LINE].append(line)
        elif len(cells) > width and not any(cell.strip() for cell in cells[width:]):
            mended[int(place)] = cells[:width]
        else:
            detail = f"{len(cells)} cells where the header has {width}"
            parsed.rejected.append(Rejected(line, Reason.WRONG_CELL_COUNT, None, detail, raw[place]))
    if mended:
        keep = fits.copy()
        keep[list(mended)] = True
        rows = [mended.get(place) or parts[place].as_py() for place in np.flatnonzero(keep).tolist()]
        return pa.array(rows, pa.list_(pa.large_string())), keep
    return parts.filter(pa.array(fits)), fits


def _json_cells(rows: Rows, lines: np.ndarray, parsed: Parsed) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Pick the declared keys of each record; what is not an object is rejected."""
    records: list[dict[str, Any]] = []
    keep = np.ones(len(lines), bool)
    for place, text in enumerate(rows.raw):
        record = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
        if isinstance(record, dict):
            records.append(record)
        else:
            keep[place] = False
            detail = "an entry that is not an object with the declared keys"
            parsed.rejected.append(Rejected(int(lines[place]), Reason.NOT_AN_OBJECT, None, detail, text))
    cells = {
        column.to: _cleaned(
            pa.array([_as_cell(record.get(column.header)) for record in records], pa.large_string()), column
        )
        for column in parsed.format.columns
    }
    return cells, lines[keep]


def _as_cell(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else _DUMP(value)
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")  # half a surrogate pair is no character


def _cleaned(cells: pa.Array, column: Column, *, trimmed: bool = False) -> pa.Array:
    """Outer blanks off (no-break ones, too), the signs for "none" to null."""
    if not trimmed:
        cells = pc.utf8_trim_whitespace(cells)
    if column.upper:
        cells = pc.utf8_upper(cells)
    if (pc.min(pc.binary_length(cells)).as_py() or 0) > max(map(len, column.nulls), default=0):
        return cells  # all are longer than any sign for "none"
    none = pc.is_in(cells, pa.array(["", *column.nulls], pa.large_string()))
    return pc.if_else(none, None, cells) if pc.any(none).as_py() else cells


# --- what is out of scope -------------------------------------------------------------------------------------------


def _without_skipped(
    cells: dict[str, pa.Array], lines: np.ndarray, parsed: Parsed
) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Leave out blank rows and what the declaration says is out of scope, counting each."""
    blank = np.full(len(lines), all(column.null_count for column in cells.values()))
    for column in cells.values():
        if blank.any():
            blank &= _mask(pc.is_null(column))
    if blank.any():  # a row can hold text in columns that we do not read: then it is not blank
        for place in np.flatnonzero(blank):
            blank[place] = not parsed.raw[int(lines[place])].strip(' ,"\t\r')
    cells, lines = _skip(cells, lines, blank, Reason.BLANK_LINE, parsed)
    for skip in parsed.format.skips:
        listed = pc.is_in(cells[skip.column], pa.array(list(skip.cells), pa.large_string()))
        mask = _mask(pc.invert(listed) if skip.unless else listed)
        cells, lines = _skip(cells, lines, mask, skip.reason, parsed)
    return cells, lines


def _skip(
    cells: dict[str, pa.Array], lines: np.ndarray, mask: np.ndarray, reason: Reason, parsed: Parsed
) -> tuple[dict[str, pa.Array], np.ndarray]:
    if mask.any():
        parsed.skipped_lines[reason] += lines[mask].tolist()
        return _kept(cells, lines, ~mask)
    return cells, lines


def _kept(cells: dict[str, pa.Array], lines: np.ndarray, mask: np.ndarray) -> tuple[dict[str, pa.Array], np.ndarray]:
    chosen = pa.array(mask)
    return {name: column.filter(chosen) for name, column in cells.items()}, lines[mask]


def _mask(array: pa.Array) -> np.ndarray:
    known = pc.fill_null(array, False) if array.null_count else array
    return np.array(known.to_numpy(zero_copy_only=False), dtype=bool)


# --- what breaks a rule ---------------------------------------------------------------------------------------------


def _checked(cells: dict[str, pa.Array], lines: np.ndarray, parsed: Parsed) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Check each column; a row is rejected for the first of its cells that breaks a rule."""
    good = np.ones(len(lines), bool)
    for column in parsed.format.columns:
        checked, problems = _check(cells[column.to], column, parsed)
        cells[column.to] = checked
        for place, (reason, detail) in sorted(problems.items()):
            if good[place]:
                good[place] = False
                line = int(lines[place])
                parsed.rejected.append(Rejected(line, reason, column.header.strip(), detail, parsed.raw[line]))
    if good.all():
        return cells, lines
    parsed.numbers, _ = _kept(parsed.numbers, lines, good)
    return _kept(cells, lines, good)


def _check(cells: pa.Array, column: Column, parsed: Parsed) -> tuple[pa.Array, dict[int, tuple[Reason, str]]]:
    """One column's cells as the server takes them, and the problems by place."""
    problems: dict[int, tuple[Reason, str]] = {}
    if column.required and cells.null_count:
        for place in np.flatnonzero(_mask(pc.is_null(cells))):
            problems[int(place)] = (Reason.MISSING_VALUE, f"{column.header.strip()} is empty")
    width, digits = parsed.format.limits(column)
    if column.python is str:
        problems |= _text_problems(cells, column, width, parsed)
        return cells, problems
    numbers, rest = None, np.flatnonzero(_mask(pc.is_valid(cells)))
    if column.python in (int, float):
        numbers, rest = _plain_numbers(cells, column, digits) or (None, _not_plain(cells, column, digits))
    if numbers is not None:
        parsed.numbers[column.to] = numbers
    if not len(rest):
        return cells, problems
    # dates and odd numbers: few different ones, each looked at once
    encoded = cells.take(pa.array(rest)).dictionary_encode()
    answers = [_one_cell(cell, column, digits, parsed) for cell in encoded.dictionary.to_pylist()]
    codes = encoded.indices.to_numpy()
    read = pa.array([answer[0] for answer in answers], pa.large_string()).take(encoded.indices)
    bad = np.array([answer[1] is not None for answer in answers])[codes]
    for place, code in zip(rest[bad].tolist(), codes[bad].tolist(), strict=True):
        reason, detail = answers[code][1:]
        assert reason is not None  # noqa: S101 - bad means that there is one
        problems[place] = (reason, detail)
    if column.python is not dt.date:
        cells_read = zip(encoded.dictionary.to_pylist(), answers, strict=True)
        scientific = sum("e" in cell.lower() and answer[1] is not Reason.BAD_NUMBER for cell, answer in cells_read)
        if scientific:
            parsed.notes[f"scientific_notation: {column.header.strip()}"] = (
                f"{scientific} different values lost digits when the file was saved by a spreadsheet"
            )
    if bad.all():
        return cells, problems
    parsed.numbers.pop(column.to, None)  # the numbers that were looked at are not among them
    if len(rest) == len(cells):
        return read, problems
    looked_at = np.zeros(len(cells), bool)
    looked_at[rest] = True
    return pc.replace_with_mask(cells, pa.array(looked_at), read), problems


def _plain_numbers(cells: pa.Array, column: Column, digits: int | None) -> tuple[pa.Array, np.ndarray] | None:
    """The cells as numbers, and the places of the few that have to be looked at, null among the numbers.

    None where that cannot be told from the characters alone: all would have to be looked at.
    """
    if cells.offset or cells.null_count == len(cells):
        return None
    _, ends, text = cells.buffers()
    ends = np.frombuffer(ends, np.int64)[1 : len(cells) + 1]
    text = text.slice(0, int(ends[-1]))  # memory may reach further than the cells
    plain = b"0123456789" + (b"" if column.python is int else b".")
    rest = np.empty(0, np.int64)
    if text.to_pybytes().translate(None, plain):
        odd = np.flatnonzero(~np.isin(np.frombuffer(text, np.uint8), np.frombuffer(plain, np.uint8)))
        rest = np.unique(np.searchsorted(ends, odd, side="right"))
        if len(rest) * _FEW > len(cells):
            return None
        looked_at = np.zeros(len(cells), bool)
        looked_at[rest] = True
        cells = pc.if_else(pa.array(looked_at), None, cells)
        if cells.null_count == len(cells):
            return None
    if pc.max(pc.binary_length(cells)).as_py() > _PLAIN_LENGTH:
        return None
    try:
        numbers = cells.cast(pa.float64())
    except pa.ArrowInvalid:
        return None  # two points in a number, or a point alone
    least, most = pc.min_max(numbers).as_py().values()
    fits = most < 10.0 ** ((digits or 19) - 1) and (least > 0 or column.sign != "positive")
    return (numbers, rest) if fits else None


def _not_plain(cells: pa.Array, column: Column, digits: int | None) -> np.ndarray:
    """The places of numbers that have to be looked at one by one."""
    fast = _mask(pc.match_substring_regex(cells, fast_number(digits)))
    if column.python is int:
        fast &= ~_mask(pc.match_substring(cells, "."))
    if column.sign == "positive":
        fast &= _surely_positive(cells)
    return np.flatnonzero(_mask(pc.is_valid(cells)) & ~fast)


def _surely_positive(cells: pa.Array) -> np.ndarray:
    """Of plain numbers, those that hold a digit other than zero. Most do not begin with a zero."""
    sure = ~_mask(pc.match_substring_regex(cells, "^[0.]"))
    unsure = np.flatnonzero(~sure)
    sure[unsure] = _mask(pc.match_substring_regex(cells.take(pa.array(unsure)), "[1-9]"))
    return sure


def _text_problems(cells: pa.Array, column: Column, width: int | None, parsed: Parsed) -> dict[int, tuple[Reason, str]]:
    problems: dict[int, tuple[Reason, str]] = {}
    if column.pattern is not None:
        fits = pc.match_substring_regex(cells, f"^(?:{column.pattern})$")
        for place in np.flatnonzero(_mask(pc.invert(fits))):
            detail = f"{_shown(cells[int(place)].as_py())} does not match {column.pattern}"
            problems[int(place)] = (Reason.BAD_PATTERN, detail)
    if column.placeholder is not None:
        for place in np.flatnonzero(_mask(pc.match_substring_regex(cells, f"^(?:{column.placeholder})$"))):
            detail = f"{_shown(cells[int(place)].as_py())} stands for what has no symbol of its own yet"
            problems[int(place)] = (Reason.PLACEHOLDER, detail)
    if width is not None and (pc.max(pc.binary_length(cells)).as_py() or 0) > width:
        for place in np.flatnonzero(_mask(pc.greater(pc.utf8_length(cells), width))):
            detail = f"{_shown(cells[int(place)].as_py())} is longer than {width} characters"
            problems[int(place)] = (Reason.TOO_LONG, detail)
    if not parsed.all_text:
        for place in np.flatnonzero(_mask(pc.match_substring_regex(cells, _NOT_TEXT))):
            problems[int(place)] = (Reason.BAD_CHARACTER, "a byte that is no character")
    return problems


def _one_cell(cell: str, column: Column, digits: int | None, parsed: Parsed) -> tuple[str | None, Reason | None, str]:
    """(the cell as the server takes it, the reason to reject it, the detail) of one date or number."""
    if column.python is dt.date:
        day = parse_day(cell)
        if day is None:
            return None, Reason.BAD_DATE, f"{_shown(cell)} is no day in any of the exchange's spellings"
        return day.isoformat(), None, ""
    value = plain_number(cell)
    if value is None:
        return None, Reason.BAD_NUMBER, f"{_shown(cell)} is not a number"
    if column.python is int and value != value.to_integral_value():
        return None, Reason.BAD_NUMBER, f"{_shown(cell)} is not a whole number"
    if column.sign == "positive" and value <= 0:
        return None, Reason.OUT_OF_RANGE, f"{_shown(cell)} must be above zero"
    if column.sign == "nonnegative" and value < 0:
        return None, Reason.OUT_OF_RANGE, f"{_shown(cell)} must not be negative"
    # half a unit below the type's own limit, since rounding can add a digit
    if digits is not None and abs(value) >= Decimal(10) ** digits - Decimal("0.5"):
        return None, Reason.OUT_OF_RANGE, f"{_shown(cell)} has more than {digits} digits before the decimal point"
    return f"{_integral(value) if column.python is int else value:f}", None, ""


def _integral(value: Decimal) -> Decimal:
    return value.quantize(Decimal(1))


def _shown(cell: Any) -> str:
    shown = str(cell)
    return repr(shown if len(shown) <= 60 else shown[:60] + "…")


# --- one row into several -------------------------------------------------------------------------------------------


def _exploded(cells: dict[str, pa.Array], lines: np.ndarray, parsed: Parsed) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Let the declaration turn each row into several; one that yields none is skipped, one that it refuses rejected."""
    format = parsed.format
    assert format.explode is not None  # noqa: S101
    names = list(cells)
    rows: list[dict[str, str]] = []
    of_line: list[int] = []
    for line, values in zip(lines.tolist(), zip(*(c.to_pylist() for c in cells.values()), strict=True), strict=True):
        try:
            made = format.explode(dict(zip(names, values, strict=True)))
        except RefusedRowError as refused:
            parsed.rejected.append(Rejected(line, refused.reason, refused.column, refused.detail, parsed.raw[line]))
            continue
        if not made:
            parsed.skipped_lines[format.explodes_to_none].append(line)
        rows += made
        of_line += [line] * len(made)
    return (
        {name: pa.array([row.get(name) for row in rows], pa.large_string()) for name in format.exploded},
        np.array(of_line, dtype=np.int32),
    )


class RefusedRowError(Exception):
    """A row that breaks a rule only its `explode` knows; it is rejected with the reason."""

    def __init__(self, reason: Reason, column: str, detail: str) -> None:
        """Name the reason, the column as printed, and what is wrong."""
        self.reason, self.column, self.detail = reason, column, detail
        super().__init__(detail)


class UnknownCodeError(RefusedRowError):
    """A code that the exchange's circular does not list."""

    def __init__(self, column: str, value: str, known: Sequence[str]) -> None:
        """Name the column, the value, and the codes that are known."""
        detail = f"{_shown(value)} is not one of the codes {', '.join(known)}"
        super().__init__(Reason.UNKNOWN_CODE, column, detail)
