"""Any bytes, and damaged files of every format, through the reader: it refuses with a FileError, or accounts for all.

    python tests/faults/fuzz.py [--seconds N] [--seed N] [--keep FOLDER]     explore; the seed is printed
    python tests/faults/fuzz.py FILE …                                       repeat what was kept

An input is a file's name, a line feed, and its bytes, so that one kept file repeats one failure. A name that ends in
.zip or .gz goes the way of a path, through unpacking. Inputs that reach a new outcome are damaged further: that is
what guides the search. Exit code 0: all held; 1: one did not, and says where it is kept.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import gzip
import io
import json
import random
import re
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path

from sqlalchemy import BigInteger, Date, Integer, Numeric, String

from screener_data import samples
from screener_data.errors import FileError, UnknownFormatError
from screener_data.loaders import FORMATS, Parsed, members, recognise

SHARED = Path(__file__).parents[3] / "shared" / "nse"
ROWS = 24  # of each original: enough for repeats, few enough for a thousand inputs a minute

Chance = random.Random
Way = Callable[[bytes, Chance], bytes]


# --- the files that are damaged -------------------------------------------------------------------------------------


def originals(folder: Path, rows: int = ROWS, most: int = 60_000) -> list[tuple[str, bytes]]:
    """(name, bytes) of a late file of each format under a folder, the longest, cut to some rows."""
    found: dict[str, tuple[str, bytes]] = {}
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in {".csv", ".json", ".zip", ".gz"}]
    by_kind: dict[tuple[Path, str], list[Path]] = {}
    for path in paths:
        by_kind.setdefault((path.parent, re.sub(r"\d", "", path.name)[:8]), []).append(path)
    for member in (member for kind in by_kind.values() for path in kind[-6:] for member in members(path)):
        if member.path.stat().st_size > 2_000_000:
            continue
        with suppress(FileError):
            data = member.data()
            known = recognise(member.label, data)
            if known.format.records is None:
                lines = data.splitlines(keepends=True)
                data = b"".join(lines[: rows + 1] + lines[rows + 1 :][-4:])  # the last ones are footers in some
            known.format.given_by_name(member.name)  # or else it is refused for its name
            longest = len(found.get(known.format.name, ("", b""))[1])
            if longest <= len(data) < most:
                found[known.format.name] = (member.name, data)
    return [found[name] for name in sorted(found)]


def invented(folder: Path) -> list[tuple[str, bytes]]:
    """One original per format: the sample market's, and the few that it lacks, made of others."""
    samples.write(folder, symbols=25, sessions=120)
    files = originals(folder)
    formats = {recognise(name, data).format.name: (name, data) for name, data in files}
    equity = formats["equity_list"][1]
    files += [("REITS_L.csv", equity), ("INVITS_L.csv", equity)]
    if "bhavcopy_legacy" not in formats:  # the sample market has it only when it is longer
        row = "{},{},100,102,98,101,101.5,99,1000,101000.55,01-DEC-2017,10,INE144J01027,\n"
        legacy = "".join(row.format(f"S{n}", "EQ" if n % 3 else "GS") for n in range(12))
        files.append(("cm01DEC2017bhav.csv", (samples.HEADERS["legacy"] + "\n" + legacy).encode()))
    return files


# --- ways to damage a file ------------------------------------------------------------------------------------------

# fmt: off
NUMBERS = [
    "NaN", "nan", "Infinity", "-Infinity", "inf", "1e999", "1e99", "1e18", "-1e-99", "-0", "-0.00", "+0", "+5", "1e3",
    ".17", "-.17", "5.", "0.005", "2.675", "12.345", "1_000", "0x10", "१२", "١٢٣", "１２３", "1\u200b2", "\u202e12",
    "9" * 13, "9" * 15, "9" * 18, "9" * 19, "9" * 64, "9" * 65, "9" * 5000, "0." + "1" * 50, "9999999999999.995",
    "9999999999999.49", "9999999999999.50", "999999999999999.5", "1,20,58,807", '"1,20,58,807"', '"1,234.50"', "1 234",
    "9223372036854775807", "9223372036854775808", "-9223372036854775809", "2147483648", "3.99144E+11", "1d5", "1e", ".",
]
DAYS = [
    "00-JAN-0000", "31-FEB-2025", "29-Feb-2023", "01-JAN-1899", "31-DEC-1900", "16-JAN-0205", "16-Jan-9999",
    "16-JAN-99", "9999-12-31", "10000-01-01", "2025-13-01", "16/01/1825", "1/1/2025", "16012025", "20250116",
    "16-Jän-2025", "2025-01-16T00:00:00Z", "2025-01-16T00:00:00+05:30", "16-JAN-2025 00:00:00", "45673", "infinity",
    "epoch", "now",
]
TEXTS = [
    "", " ", "-", "None", "\\N", "\\.", "=1+1", "'", "''; --", '"', '""', '"x', 'x"', '"a,b"', ",", "\t", "\x00",
    "\u2400", "\ufffd", "\ufeff", "\u200b", "\u202eABC", "\u00a0", "\u2028", "\x0b", "\x1c", "\x85", "é", "अ", "😀",
    "A" * 51, "A" * 256, "A" * 5000, "NO RECORDS", "Total", "<html>", "{", "[", "%s", "{0}", ":name", "a\\", "\r", "\n",
]
ODD_JSON = [
    "null", "true", "NaN", "-Infinity", "1e999", "-0", "9" * 30, "9" * 5000, "[]", "{}", "[[]]", '[{"a":1}]', '""',
    '"\\ud800"', '"a\\u0000b"', '"-"', '"2025-02-31"', '"NSE"', "{" * 20, '{"symbol":"A"}', "1.5", '"１２"', "[" * 5000,
]
# fmt: on
ODD_BYTES = [b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\x81", b"\x96", b"\xa0", b"\xff", b"\xc3", b"\x00", b"\x1a"]


def odd_cell(chance: Chance) -> str:
    return chance.choice(chance.choice((NUMBERS, DAYS, TEXTS)))


def _rows(data: bytes) -> list[bytes]:
    return data.split(b"\n")


def _pick(rows: list[bytes], chance: Chance) -> int:
    return chance.randrange(len(rows))


def flip_bytes(data: bytes, chance: Chance) -> bytes:
    flipped = bytearray(data)
    for _ in range(chance.randint(1, 8) if data else 0):
        flipped[chance.randrange(len(flipped))] = chance.randrange(256)
    return bytes(flipped)


def flip_bits_of_digits(data: bytes, chance: Chance) -> bytes:
    return re.sub(rb"[0-9]", lambda found: found[0] if chance.random() < 0.97 else b"%d" % chance.randrange(10), data)


def insert_bytes(data: bytes, chance: Chance) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice([*ODD_BYTES, odd_cell(chance).encode()]) + data[at:]


def cut_off(data: bytes, chance: Chance) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def cut_off_the_start(data: bytes, chance: Chance) -> bytes:
    return data[chance.randrange(len(data) + 1) :]


def cut_rows(data: bytes, chance: Chance) -> bytes:
    rows = _rows(data)
    for _ in range(chance.randint(1, 3)):
        if len(rows) > 1:
            rows.pop(_pick(rows, chance))
    return b"\n".join(rows)


def double_rows(data: bytes, chance: Chance) -> bytes:
    rows = _rows(data)
    for _ in range(chance.randint(1, 4)):
        rows.insert(_pick(rows, chance), rows[_pick(rows, chance)])
    return b"\n".join(rows)


def shuffle_rows(data: bytes, chance: Chance) -> bytes:
    header, *rows = _rows(data)
    chance.shuffle(rows)
    return b"\n".join([header, *rows])


def cut_a_row_short(data: bytes, chance: Chance) -> bytes:
    rows = _rows(data)
    at = _pick(rows, chance)
    rows[at] = rows[at][: chance.randrange(len(rows[at]) + 1)]
    return b"\n".join(rows)


def _cells(data: bytes, chance: Chance, change: Callable[[list[bytes]], None], times: int = 1) -> bytes:
    rows = _rows(data)
    for _ in range(times):
        at = _pick(rows, chance)
        cells = rows[at].split(b",")
        change(cells)
        rows[at] = b",".join(cells)
    return b"\n".join(rows)


def swap_cells(data: bytes, chance: Chance) -> bytes:
    def swap(cells: list[bytes]) -> None:
        one, other = _pick(cells, chance), _pick(cells, chance)
        cells[one], cells[other] = cells[other], cells[one]

    return _cells(data, chance, swap)


def drop_cells(data: bytes, chance: Chance) -> bytes:
    return _cells(data, chance, lambda cells: cells.pop(_pick(cells, chance)) and None, chance.randint(1, 3))


def add_cells(data: bytes, chance: Chance) -> bytes:
    extra = chance.choice([b"", b"", b" ", odd_cell(chance).encode()])
    return _cells(data, chance, lambda cells: cells.insert(_pick(cells, chance) + 1, extra), chance.randint(1, 3))


def odd_cells(data: bytes, chance: Chance) -> bytes:
    def put(cells: list[bytes]) -> None:
        cells[_pick(cells, chance)] = odd_cell(chance).encode("utf-8", "surrogatepass")

    return _cells(data, chance, put, chance.randint(1, 6))


def odd_numbers(data: bytes, chance: Chance) -> bytes:
    def put(cells: list[bytes]) -> None:
        places = [place for place, cell in enumerate(cells) if re.fullmatch(rb"\s*[0-9.]+\s*", cell)]
        if places:
            cells[chance.choice(places)] = chance.choice(NUMBERS).encode()

    return _cells(data, chance, put, chance.randint(1, 8))


def other_centuries(data: bytes, chance: Chance) -> bytes:
    rows = _rows(data)
    for at in range(len(rows)):
        if chance.random() < 0.3:
            rows[at] = re.sub(
                rb"\b(?:19|20)[0-9]{2}\b", b"%d" % chance.choice((1825, 1900, 1947, 2125, 9999)), rows[at]
            )
    return b"\n".join(rows)


def same_key_other_values(data: bytes, chance: Chance) -> bytes:
    rows = [row for row in _rows(data) if row]
    for _ in range(chance.randint(1, 4)):
        if len(rows) > 1:
            row = rows[chance.randrange(1, len(rows))]
            row = re.sub(rb"([0-9])(?=[^0-9]*$)", b"%d" % chance.randrange(10), row)
            rows.insert(chance.randrange(1, len(rows) + 1), row)
    return b"\n".join([*rows, b""])


def _columns(data: bytes, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    return b"\n".join(b",".join(change(row.split(b","))) for row in _rows(data))


def swap_columns(data: bytes, chance: Chance) -> bytes:
    one, other = chance.randrange(14), chance.randrange(14)

    def swap(cells: list[bytes]) -> list[bytes]:
        if max(one, other) < len(cells):
            cells[one], cells[other] = cells[other], cells[one]
        return cells

    return _columns(data, swap)


def drop_a_column(data: bytes, chance: Chance) -> bytes:
    place = chance.randrange(14)
    return _columns(data, lambda cells: cells[:place] + cells[place + 1 :])


def repeat_a_column(data: bytes, chance: Chance) -> bytes:
    place = chance.randrange(8)
    return _columns(data, lambda cells: [*cells, *cells[place : place + 1]])


def empty_columns_at_the_end(data: bytes, chance: Chance) -> bytes:
    tail = b"," * chance.randint(1, 3)
    return b"\n".join(row.rstrip(b"\r") + tail if row.strip() else row for row in _rows(data))


def blanks_at_the_ends(data: bytes, chance: Chance) -> bytes:
    """Of rows, so that the text of a rejected one must keep them; some are rejected for a cell too many."""
    rows = _rows(data)
    for at in range(len(rows)):
        if chance.random() < 0.3:
            rows[at] = chance.choice((b" ", b"", b"\t")) + rows[at] + chance.choice((b"  ", b"\t", b",x ", b" ,x\t"))
    return b"\n".join(rows)


def repeat_the_header(data: bytes, chance: Chance) -> bytes:
    rows = _rows(data)
    for _ in range(chance.randint(1, 3)):
        rows.insert(_pick(rows, chance), chance.choice([rows[0], rows[0].lower(), rows[0].replace(b" ", b"")]))
    return b"\n".join(rows)


def blank_rows(data: bytes, chance: Chance) -> bytes:
    rows = _rows(data)
    for _ in range(chance.randint(1, 4)):
        rows.insert(
            _pick(rows, chance), chance.choice([b"", b"  ", b",,,,", b'"",""', b"\t", b"\r", b'"', b"\xc2\xa0"])
        )
    return b"\n".join(rows)


def other_line_ends(data: bytes, chance: Chance) -> bytes:
    data = data.replace(b"\r\n", b"\n")
    match chance.choice(("crlf", "cr", "mixed", "some cr", "lfcr", "crcrlf", "u2028")):
        case "crlf":
            return data.replace(b"\n", b"\r\n")
        case "cr":
            return data.replace(b"\n", b"\r")
        case "lfcr":
            return data.replace(b"\n", b"\n\r")
        case "crcrlf":
            return data.replace(b"\n", b"\r\r\n")
        case "u2028":
            return re.sub(b"\n", lambda found: found[0] if chance.random() < 0.9 else "\u2028".encode(), data)
        case "some cr":
            return re.sub(b"\n", lambda found: found[0] if chance.random() < 0.8 else b"\r", data)
    return re.sub(b"\n", lambda _: chance.choice((b"\n", b"\r\n")), data)


def lone_carriage_returns(data: bytes, chance: Chance) -> bytes:
    return re.sub(b"[, 0]", lambda found: found[0] if chance.random() < 0.99 else b"\r", data)


def open_quotes(data: bytes, chance: Chance) -> bytes:
    return re.sub(rb"(?<=,)", lambda _: b'"' if chance.random() < 0.01 else b"", data) + b'"' * chance.randint(0, 1)


def quote_cells(data: bytes, chance: Chance) -> bytes:
    odds = chance.choice((0.02, 0.5, 1))

    def quoted(row: bytes) -> bytes:
        end = b"\r" if row.endswith(b"\r") else b""
        cells = row.removesuffix(b"\r").split(b",")
        return b",".join(b'"' + cell + b'"' if chance.random() < odds else cell for cell in cells) + end

    return b"\n".join(quoted(row) if row.strip() else row for row in _rows(data))


def long_cells(data: bytes, chance: Chance) -> bytes:
    letter, length = chance.choice((b"A", b"9", b" ", "é".encode())), chance.choice((255, 256, 4000, 70_000, 300_000))
    return _cells(data, chance, lambda cells: cells.__setitem__(_pick(cells, chance), letter * length))


def a_line_too_long(data: bytes, chance: Chance) -> bytes:
    return _cells(data, chance, lambda cells: cells.__setitem__(_pick(cells, chance), b"A" * 1_100_000))


def nul_bytes(data: bytes, chance: Chance) -> bytes:
    odds = chance.choice((0.002, 0.02))
    return re.sub(rb"[A-Za-z0-9,]", lambda found: found[0] if chance.random() > odds else b"\x00", data)


def marks_within(data: bytes, chance: Chance) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) + data[at:]


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def strange_letters(data: bytes, chance: Chance) -> bytes:
    """Right-to-left marks, blanks of no width, digits of full width: they look right on a screen."""
    kind = chance.choice(("marks", "digits", "letters"))

    def strange(found: re.Match[str]) -> str:
        if chance.random() > 0.02:
            return found[0]
        if kind == "marks":
            return chance.choice("\u200b\u200f\u202e\u2066\ufeff\u00ad") + found[0]
        return chr(ord(found[0]) + 0xFEE0) if "!" <= found[0] <= "~" else found[0]

    return re.sub("[0-9]" if kind == "digits" else "[A-Za-z0-9]", strange, _text(data)).encode("utf-8", "surrogatepass")


def other_encodings(data: bytes, chance: Chance) -> bytes:
    text = _text(data)
    name = chance.choice(
        ("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "cp1252", "latin-1", "utf-32", "utf-7", "cp037")
    )
    if chance.random() < 0.7:  # with something in it that the encodings spell differently
        text = re.sub("[a-z]", lambda found: found[0] if chance.random() < 0.98 else chance.choice("é–ü"), text)
    return text.encode(name, "replace")


def mixed_encodings(data: bytes, chance: Chance) -> bytes:
    rows = _text(data).replace("i", "é").split("\n")
    names = ("utf-8", "cp1252", "latin-1", "utf-16-le") if chance.random() < 0.3 else ("utf-8", "cp1252")
    return b"\n".join(row.encode(chance.choice(names), "replace") for row in rows)


def utf16_that_ends_half(data: bytes, chance: Chance) -> bytes:
    return _text(data).encode("utf-16")[: -chance.choice((1, 3))]


def odd_json(data: bytes, chance: Chance) -> bytes:
    """A value of a document becomes another one, an entry is repeated, a key is lost or doubled."""
    places = [found.span() for found in re.finditer(rb'(?<=:)\s*(?:"[^"]*"|[-0-9.eE+]+|null|true|false)', data)]
    for _ in range(chance.randint(1, 3)):
        if places:
            start, end = chance.choice(places)
            data = data[:start] + chance.choice(ODD_JSON).encode() + data[end:]
            places = [(a, b) for a, b in places if b <= start]
    return data


def other_json(data: bytes, chance: Chance) -> bytes:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return odd_json(data, chance)
    inner = list(_containers(document))
    for _ in range(chance.randint(1, 3)):
        if not inner:
            break
        holder = chance.choice(inner)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            continue
        key = chance.choice(keys)
        match chance.choice(("drop", "odd", "repeat", "move", "empty")):
            case "drop":
                del holder[key]
            case "odd":
                holder[key] = chance.choice(
                    [None, True, [], {}, "", "-", 10**400, 0.1, odd_cell(chance), [1], {"a": []}]
                )
            case "repeat" if isinstance(holder, list):
                holder.insert(key, holder[key])
            case "move" if isinstance(holder, dict):
                holder[odd_cell(chance)] = holder.pop(key)
            case "empty":
                holder[key] = type(holder[key])() if isinstance(holder[key], (list, dict, str)) else None
    # ValueError: Python writes no whole number of more than 4300 digits
    with suppress(ValueError, RecursionError):
        return json.dumps(document, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    return data


def _containers(value: object) -> Iterator[dict[str, object] | list[object]]:
    if isinstance(value, dict | list):
        yield value  # type: ignore[misc]
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _containers(inner)


TABLE_WAYS: tuple[Way, ...] = (
    *(flip_bytes, flip_bits_of_digits, insert_bytes, cut_off, cut_off_the_start, cut_rows, double_rows, shuffle_rows),
    *(
        cut_a_row_short,
        swap_cells,
        drop_cells,
        add_cells,
        odd_cells,
        odd_numbers,
        other_centuries,
        same_key_other_values,
    ),
    *(swap_columns, drop_a_column, repeat_a_column, empty_columns_at_the_end, blanks_at_the_ends),
    *(repeat_the_header, blank_rows),
    *(other_line_ends, lone_carriage_returns, open_quotes, quote_cells, long_cells, nul_bytes, marks_within),
    *(strange_letters, other_encodings, mixed_encodings, utf16_that_ends_half),
)
JSON_WAYS: tuple[Way, ...] = (
    *(odd_json, odd_json, other_json, other_json, other_json, flip_bytes, flip_bits_of_digits, insert_bytes, cut_off),
    *(
        nul_bytes,
        marks_within,
        strange_letters,
        other_encodings,
        utf16_that_ends_half,
        other_centuries,
        other_line_ends,
    ),
)


def ways_for(data: bytes) -> tuple[Way, ...]:
    return JSON_WAYS if data.lstrip()[:1] in (b"{", b"[") else TABLE_WAYS


def zipped(name: str, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


# --- what must hold -------------------------------------------------------------------------------------------------


def read(name: str, data: bytes, folder: Path) -> list[Parsed]:
    """As a load reads it: unpacked from a file where it is packed. Raises FileError, and nothing else."""
    if not name.endswith((".zip", ".gz")):
        return [recognise(name, data).parse()]
    path = folder / re.sub(r"[^A-Za-z0-9._&-]", "_", name)[-80:]
    path.write_bytes(data)
    found = []
    for member in members(path):
        with suppress(UnknownFormatError):  # in a zip such files are passed over
            found.append(recognise(member.label, member.data()).parse())
    return found


def check(parsed: Parsed) -> None:
    """Read = passed + rejected + skipped; and what passed fits the columns it goes to."""
    passed, rejected = set(parsed.lines.tolist()), [row.line for row in parsed.rejected]
    count = len(passed) + len(rejected) + parsed.skipped.total()
    assert parsed.read == count, f"read {parsed.read}, accounted for {count}"
    assert not passed & set(rejected), "a line both passes and is rejected"
    assert len(rejected) == len(set(rejected)), "a line is rejected twice"
    assert {len(column) for column in parsed.columns.values()} == {len(parsed.lines)}, "columns of several lengths"
    signs = {column.to: (column.sign, column.required) for column in parsed.format.columns}
    for name, cells in parsed.columns.items():
        sign, required = signs.get(name, (None, False))
        kind = parsed.format.sql_type(name)
        of_numbers = isinstance(kind, Numeric | Integer)
        for cell in set(cells.to_pylist()):
            if cell is None:
                assert not required, f"{name}: nothing, and it is required"
                continue
            _fits(name, cell, kind)
            if of_numbers and sign is not None:
                assert Decimal(cell) > 0 or (Decimal(cell) == 0 and sign == "nonnegative"), f"{name}: {cell!r} ({sign})"


_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")  # what PostgreSQL reads without help
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _fits(name: str, cell: str, kind: object) -> None:
    said = f"{name}: {cell[:80]!r} does not fit {kind!r}"
    match kind:
        case Date():
            assert _DAY.fullmatch(cell), said
            assert dt.date.fromisoformat(cell).year >= 1900, said
        case Numeric():
            assert _NUMBER.fullmatch(cell), said
            if kind.precision is not None and kind.scale is not None:
                with localcontext(prec=200):
                    rounded = Decimal(cell).quantize(Decimal(1).scaleb(-kind.scale), ROUND_HALF_UP)
                assert abs(rounded) < Decimal(10) ** (kind.precision - kind.scale), said
        case Integer():
            assert re.fullmatch(r"[+-]?[0-9]+", cell), said
            assert abs(int(cell)) < 2 ** (63 if isinstance(kind, BigInteger) else 31), said
        case String():
            assert kind.length is None or len(cell) <= kind.length, said
            assert not {"\x00", "\u2400", "\ufffd"} & set(cell), said
            assert cell == cell.strip() != "", said
            cell.encode()  # half a surrogate pair cannot be stored
        case _:
            raise AssertionError(f"{name}: no rule for {kind!r}")


def outcome(blob: bytes, folder: Path) -> frozenset[str]:
    """What became of one input, in words: to count, and to tell what is new. Raises what the reader must not."""
    name, _, data = blob.partition(b"\n")
    try:
        parsed = read(name.decode("utf-8", "replace"), data, folder)
    except FileError as error:
        said = re.sub(r"'.*?'|\(found.*|\b0x[0-9a-f]+", "", str(error).split(": ", 1)[-1])
        return frozenset([f"{type(error).__name__}: {' '.join(re.findall('[A-Za-z_]+', said)[:7])}"])
    seen = set()
    for file in parsed:
        check(file)
        of = file.format.name
        seen |= {f"{of} {row.reason} {row.column}" for row in file.rejected}
        seen |= {f"{of} {reason}" for reason in file.skipped} | {f"{of} {note.split(':')[0]}" for note in file.notes}
        seen.add(f"{of} {'some' if len(file.lines) else 'none'} passed")
    return frozenset(seen)


# --- the search -----------------------------------------------------------------------------------------------------


def one_input(pool: list[bytes], names: list[str], chance: Chance) -> bytes:
    """A file of the pool, damaged; now and then pure noise, a wrong name, or in a zip or gzip that is damaged too."""
    name, _, data = chance.choice(pool).partition(b"\n")
    if chance.random() < 0.05:
        data = chance.randbytes(chance.choice((0, 1, 2, 5, 100)))
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5))):
        data = chance.choice(ways_for(data))(data, chance)
    if chance.random() < 0.003:
        data = a_line_too_long(data, chance)
    if chance.random() < 0.15:
        name = chance.choice(names).encode()
    roll = chance.random()
    if roll < 0.08 and not name.endswith((b".gz", b".zip")):
        pack = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        inner = name.decode("utf-8", "replace")
        data = zipped(chance.choice((inner, "x/" + inner, "..\\" + inner, "é" + inner)), data[:4000], pack)
        name += b".zip"
    elif roll < 0.13 and not name.endswith((b".gz", b".zip")):
        data, name = gzip.compress(data[:4000], 1), name + b".gz"
    if name.endswith((b".gz", b".zip")) and chance.random() < 0.7:
        data = chance.choice((flip_bytes, cut_off, insert_bytes, cut_off_the_start))(data, chance)
    return name.replace(b"\n", b" ") + b"\n" + data


def explore(seconds: float, seed: int, keep: Path) -> int:
    """Damage and read until the time is up. The exit code."""
    chance = random.Random(seed)
    started = time.monotonic()
    print(f"fuzz: seed {seed}, {seconds:g} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="screener-fuzz-") as place:
        folder = Path(place)
        files = invented(folder / "market")
        if SHARED.is_dir():
            files += originals(SHARED)
        missing = {format.name for format in FORMATS} - {recognise(name, data).format.name for name, data in files}
        assert not missing, f"no file to damage for {missing}"
        names = [*{name for name, _ in files}, "a.csv", "a.json", "a.csv.gz", "a.zip", "sec_bhavdata_full_.csv", ""]
        pool = [name.encode() + b"\n" + data for name, data in files]
        undamaged = list(pool)  # they go first, and must be read, or else all that follows proves nothing
        seen: Counter[str] = Counter()
        inputs = 0
        while undamaged or time.monotonic() - started < seconds:
            whole = undamaged.pop() if undamaged else None
            blob = one_input(pool, names, chance) if whole is None else whole
            inputs += 1
            try:
                found = outcome(blob, folder)
                assert whole is None or any(word.endswith("some passed") for word in found), "an undamaged file"
            except Exception:  # noqa: BLE001 - whatever it is, it must not leave the reader
                traceback.print_exc()
                path = _keep(blob, keep, seed, inputs)
                print(f"fuzz: input {inputs} of seed {seed} broke the reader; repeat it: python {__file__} {path}")
                return 1
            if found - seen.keys() and len(blob) < 100_000 and len(pool) < 5_000:
                pool.append(blob)
            seen.update(found)
        refused = sum(count for word, count in seen.items() if "Error" in word)
        print(f"fuzz: {inputs} inputs, {refused} refused, {len(seen)} different outcomes, none of them wrong")
        print(json.dumps({"seed": seed, "inputs": inputs, "refused": refused, "outcomes": sorted(seen)}))
    return 0


def _keep(blob: bytes, keep: Path, seed: int, number: int) -> Path:
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"fuzz-{seed}-{number}"
    path.write_bytes(blob)
    print(f"fuzz: the input, {len(blob)} bytes, kept as {path}; its start: {blob[:300]!r}")
    return path


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("files", nargs="*", type=Path, help="kept inputs to repeat")
    words.add_argument("--seconds", type=float, default=10)
    words.add_argument("--seed", type=int, default=None, help="default: a new one each time")
    words.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "screener-fuzz-kept")
    given = words.parse_args()
    if not given.files:
        seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
        return explore(given.seconds, seed, given.keep)
    with tempfile.TemporaryDirectory(prefix="screener-fuzz-") as place:
        for file in given.files:
            print(file, sorted(outcome(file.read_bytes(), Path(place))))
    return 0


if __name__ == "__main__":
    csv.field_size_limit()  # the default, as the reader has it
    sys.exit(main())
