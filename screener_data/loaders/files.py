"""From bytes to rows of a known format: encodings, headers, and which format a file has."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from screener_data.errors import (
    EmptyFileError,
    FileLimitError,
    HeaderError,
    NotDataError,
    UnknownFormatError,
)
from screener_data.loaders.archives import Member, members
from screener_data.loaders.format import Format
from screener_data.loaders.reader import Block, Parsed, Rows, read_rows, split_line
from screener_data.loaders.sources import FORMATS, require_source
from screener_data.loaders.spelling import parse_day

__all__ = ["Recognised", "format_of", "formats_by_name", "read", "recognise"]

_MAX_LINE = 1 << 20
_PEEK = 1 << 16
_BLOCK = 1 << 23
_NO_RECORDS = "NO RECORDS"


# --- which format ---------------------------------------------------------------------------------------------------


def formats_by_name(name: str) -> list[Format]:
    """The formats whose files come under such a base name."""
    return [format for format in FORMATS if format.file_name.fullmatch(name)]


@dataclass(frozen=True)
class Recognised:
    """A file whose format is known, before its rows are read."""

    format: Format
    rows: Rows | Block
    sha256: str
    size: int
    file: str

    def parse(self) -> Parsed:
        """Read the rows. Raises FileNameError where the name lacks what only it can tell."""
        return self.read(self.rows)

    def read(self, rows: Rows | Block) -> Parsed:
        """Read some of the rows."""
        return read_rows(rows, self.format, given=self.format.given_by_name(self.file))

    @property
    def is_cut(self) -> bool:
        """Whether the rows come in several pieces."""
        return isinstance(self.rows, Block) and len(self.rows.data) > _BLOCK and self.format.can_be_cut

    def pieces(self) -> Iterator[Rows | Block]:
        """The rows in pieces that fit into memory many times over; most files are one."""
        whole = self.rows
        if not isinstance(whole, Block) or not self.is_cut:
            yield whole
            return
        start, line = whole.start, whole.first
        while start < len(whole.data):
            end = whole.data.rfind(b"\n", start, start + _BLOCK) + 1 or len(whole.data)
            yield whole.cut(start, end, line)
            line += whole.data.count(b"\n", start, end)
            start = end


def read(path: Path | str, source: str | None = None) -> list[Parsed]:
    """What the loader makes of the files at a path, without a database. Raises FileError."""
    return [recognise(member.label, member.data(), source).parse() for member in members(Path(path))]


def recognise(label: str, data: bytes, source: str | None = None) -> Recognised:
    """Tell a file's format by its header, then by its name. Raises a FileError that says what was found instead."""
    require_source(source)
    name = re.split(r"[/\\!]", label)[-1].removesuffix(".gz")
    formats = [format for format in FORMATS if source in (None, format.source)]
    named = [format for format in formats_by_name(name) if format in formats]
    if data.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(io.BytesIO(data)):
            raise NotDataError("a zip that is cut short or broken", file=label, todo=_AGAIN)
        raise UnknownFormatError("no file in this zip belongs to a source", file=label)
    if data.startswith((b"\x1f\x8b", b"\x89PNG", b"%PDF")):
        raise NotDataError("a packed or binary file where text is expected", file=label)
    sha256, size = hashlib.sha256(data).hexdigest(), len(data)
    data = _as_utf8(data)
    start = _beginning(data)
    if start.startswith("<"):
        raise NotDataError("a web page, not data", file=label, line=1, value=start[:60], todo=_AGAIN)
    format: Format
    rows: Rows | Block
    if start.startswith(("{", "[")):
        format, rows = _recognised_json(label, data.decode(), formats, named)
    else:
        format, rows = _recognised_csv(label, data, formats, named)
    return Recognised(format, rows, sha256, size, label)


def format_of(member: Member, source: str | None = None) -> Format:
    """The format alone, for which the first lines of a CSV file are enough. Raises what recognise() raises."""
    data = member.data(_PEEK)
    if len(data) == _PEEK:
        lines = data[: data.rfind(b"\n") + 1]
        csv = lines.isascii() and b"\n" in lines.strip() and not _beginning(lines).startswith(("{", "[", "<", "PK"))
        data = lines if csv else member.data()
    return recognise(member.label, data, source).format


_AGAIN = "The exchange or a proxy answered with an error: download the file again"


def _as_utf8(data: bytes) -> bytes:
    """UTF-8 (with or without its mark), else the Windows code page that the ETF list is written in."""
    if data.isascii():
        return data
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace").encode()
    if data.startswith(b"\xef\xbb\xbf"):
        return data.decode("utf-8-sig", errors="replace").encode()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace").encode()
    return data


def _beginning(data: bytes) -> str:
    """The first characters that are not blank."""
    blanks = re.match(rb"\s*", data)
    return data[blanks.end() if blanks else 0 :][:800].decode("utf-8", "ignore").lstrip()[:200]


def _recognised_json(label: str, text: str, formats: list[Format], named: list[Format]) -> tuple[Format, Rows]:
    try:
        document = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (json.JSONDecodeError, RecursionError) as error:
        where = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise NotDataError("JSON that is cut short or broken", file=label, line=where, todo=_AGAIN) from None
    if isinstance(document, dict) and (document.get("status") == "error" or "errors" in document):
        raise NotDataError(f"an error answer, not data: {_error_of(document)}", file=label, todo=_AGAIN)
    for format in [*named, *formats]:
        records = format.records(document) if format.records else None
        if records is not None:
            if not records and not format.may_be_empty:
                raise EmptyFileError(f"no entries; {format.source} always has some", file=label, todo=_AGAIN)
            return format, Rows([_compact(record) for record in records], list(range(1, len(records) + 1)))
    wanted = f"{named[0].source} is expected under this name" if named else "no source reads such a document"
    kind = NotDataError if named else UnknownFormatError
    keys = ", ".join(list(document)[:8]) if isinstance(document, dict) else f"a list of {len(document)}"
    raise kind(f"JSON of another shape; {wanted}", file=label, value=keys)


def _compact(record: Any) -> str:
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # half a surrogate pair stays an escape


def _error_of(document: dict[str, Any]) -> str:
    match document:
        case {"errors": [{"errorCode": code, "message": message}, *_]}:
            return f"{code} {message}"
    return _compact(document)[:120]


def _recognised_csv(label: str, data: bytes, formats: list[Format], named: list[Format]) -> tuple[Format, Rows | Block]:
    expected = named or (formats if len({format.source for format in formats}) == 1 else [])
    _require_short_lines(data, label)
    top, number, start = _next_line(data, 1, 0)
    if not top or _no_records(top):
        return _empty(label, expected), Rows([], [])

    header = split_line(top) or []
    for format in expected:
        if not format.has_header:
            if len(header) == len(format.columns) and parse_day(header[-1].strip()):
                return format, Block(data, 1, None)
            if named:
                raise HeaderError(
                    f"{format.source} has {len(format.columns)} columns, the last of them a day, and no header",
                    file=label,
                    line=number,
                    value=top,
                )
    fitting = [format for format in formats if format.name in _fitting(top)]
    chosen = _chosen(label, top, number, header, fitting, expected)
    if chosen.may_be_empty and re.search(rb"no records", data, re.IGNORECASE):
        rows = Block(data[start:], number + 1, top).rows()
        kept = [place for place, line in enumerate(rows.raw) if not _no_records(line)]
        return chosen, Rows([rows.raw[place] for place in kept], [rows.lines[place] for place in kept], top)
    if not _next_line(data, number + 1, start)[0]:
        if chosen.may_be_empty:
            return chosen, Rows([], [], top)
        raise EmptyFileError(f"a header and no rows; {chosen.source} always has some", file=label, todo=_AGAIN)
    return chosen, Block(data, number + 1, top, start)


@lru_cache(maxsize=256)
def _fitting(header: str) -> frozenset[str]:
    """The formats that such a header line fits exactly; the files of years have the same few."""
    cells = split_line(header) or []
    return frozenset(f.name for f in FORMATS if f.records is None and f.missing_and_unknown(cells) == ([], []))


def _require_short_lines(data: bytes, label: str) -> None:
    """Raises FileLimitError where a line is longer than any of the exchange's."""
    start = 0
    while len(data) - start > _MAX_LINE:
        end = data.rfind(b"\n", start, start + _MAX_LINE + 1)
        if end < 0:
            end = data.find(b"\n", start)
            line = data.count(b"\n", 0, start) + 1
            raise FileLimitError(
                f"a line of {(end if end >= 0 else len(data)) - start:,} characters", file=label, line=line
            )
        start = end + 1


def _next_line(data: bytes, number: int, start: int) -> tuple[str, int, int]:
    """The first line at or after `start` that is not blank, its number, and where the next one starts; "" for none."""
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        line = data[start:end].decode()
        if line.strip():
            return line.removesuffix("\r"), number, end + 1
        number, start = number + 1, end + 1
    return "", number, start


def _no_records(line: str) -> bool:
    return line.strip(' ,"').upper() == _NO_RECORDS


def _empty(label: str, expected: list[Format]) -> Format:
    for format in expected:
        if format.may_be_empty and format.records is None:
            return format
    raise EmptyFileError("the file is empty", file=label, todo=_AGAIN)


def _chosen(
    label: str, text: str, line: int, header: list[str], fitting: list[Format], expected: list[Format]
) -> Format:
    """The one format that the header and, among several, the name or the given source tells."""
    by_both = [format for format in fitting if format in expected]
    if len({format.source for format in by_both}) == 1:
        return by_both[0]
    candidates = [format for format in expected if format.records is None and format.has_header]
    # an EQUITY_L without its column MARKET LOT has the header of the SME list: the name says that a column is missing
    lacking = [f for f in candidates if f not in fitting and not f.missing_and_unknown(header)[1]]
    if len({format.source for format in fitting}) == 1 and not lacking:
        return fitting[0]
    if fitting and not lacking:
        sources = ", ".join(sorted({format.source for format in fitting}))
        raise UnknownFormatError(
            f"the header fits {sources}", file=label, line=line, todo="Give the file its own name, or --source"
        )
    if not candidates:
        raise UnknownFormatError("no source has such a header", file=label, line=line, value=text)
    format = min(candidates, key=lambda format: len(format.missing_and_unknown(header)[0]))
    missing, unknown = format.missing_and_unknown(header)
    if len(missing) == len([column for column in format.columns if column.required]):
        raise HeaderError(
            f"the header of {format.source} is missing, or this is another file",
            file=label,
            line=line,
            value=text,
            todo=f"Expected columns: {', '.join(column.header.strip() for column in format.columns)}",
        )
    parts = [f"missing columns: {', '.join(missing)}"] if missing else []
    parts += [f"unknown or repeated columns: {', '.join(unknown)}"] if unknown else []
    raise HeaderError(
        f"not the header of {format.source}; {'; '.join(parts)}",
        file=label,
        line=line,
        column=(missing or unknown)[0],
        value=text,
    )
