"""From a path to the text of exchange files: folders, zips and gzips, encodings, and which format a file has."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from screener_data.errors import (
    EmptyFileError,
    FileLimitError,
    HeaderError,
    NotDataError,
    UnknownFormatError,
    UsageError,
)
from screener_data.loaders.format import Format
from screener_data.loaders.reader import Parsed, Rows, read_rows, split_line
from screener_data.loaders.sources import FORMATS, require_source
from screener_data.loaders.spelling import parse_day

__all__ = ["MAX_BYTES", "Member", "members", "read", "recognise", "source_by_name"]

#: No file of the exchange comes near it; a zip that unpacks to more is not one of its.
MAX_BYTES = 1 << 30
_MAX_LINE = 1 << 20
_DATA_SUFFIXES = {".csv", ".json", ".zip", ".gz"}
_NO_RECORDS = "NO RECORDS"


@dataclass(frozen=True)
class Member:
    """One file: on disk, or within a zip (`label` is then `archive.zip!member.csv`)."""

    label: str
    name: str
    path: Path
    inside: str | None = None

    def data(self) -> bytes:
        """The bytes, unpacked. Raises FileError where they cannot be had."""
        try:
            if self.inside is None:
                return _gunzipped(self.path, self.label)
            with zipfile.ZipFile(self.path) as archive, archive.open(self.inside) as stream:
                return _limited(stream, self.label)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise NotDataError(
                f"cannot be read: {reason}", file=self.label, todo="Download it again: it is damaged or not complete"
            ) from None


def _limited(stream: Any, label: str) -> bytes:
    data: bytes = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise FileLimitError(f"unpacks to more than {MAX_BYTES >> 20} MiB", file=label)
    return data


def _gunzipped(path: Path, label: str) -> bytes:
    with path.open("rb") as stream:
        magic = stream.read(2)
        stream.seek(0)
        # told by content: an error page is also saved under the name NSE.json.gz
        return _limited(gzip.open(stream) if magic == b"\x1f\x8b" else stream, label)


def members(path: Path) -> Iterator[Member]:
    """The files at a path: itself, a folder's (sorted by path), a zip's (by base name; macOS twins left out).

    Raises UsageError where there is no such path, NotDataError for a zip that is none.
    """
    if path.is_dir():
        for inner in sorted(entry for entry in path.rglob("*") if entry.is_file()):
            hidden = any(part.startswith(".") for part in inner.relative_to(path).parts)
            if inner.suffix.lower() in _DATA_SUFFIXES and not hidden:
                yield from members(inner)
    elif not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    elif path.suffix.lower() == ".zip" or _is_zip(path):
        yield from _zip_members(path)
    else:
        yield Member(_label(path), path.name.removesuffix(".gz"), path)


def _label(path: Path) -> str:
    return str(path).encode("utf-8", "replace").decode()  # a name of undecodable bytes could not be stored


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"PK\x03\x04"
    except OSError:
        return False  # reading it will say why


def _zip_members(path: Path) -> Iterator[Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError):
        yield Member(_label(path), path.name, path)  # reading it will say what is wrong
        return
    for entry in sorted(set(entries)):
        base = re.split(r"[/\\]", entry)[-1]
        if base.startswith("._") or "__MACOSX" in entry:
            continue
        yield Member(f"{_label(path)}!{base}", base, path, inside=entry)


# --- which format ---------------------------------------------------------------------------------------------------


def source_by_name(name: str) -> str | None:
    """The source whose files come under such a base name; None where there is none."""
    return next((format.source for format in FORMATS if format.file_name.fullmatch(name)), None)


@dataclass(frozen=True)
class Recognised:
    """A file whose format is known, before its rows are read."""

    format: Format
    rows: Rows
    sha256: str
    size: int
    file: str

    def parse(self) -> Parsed:
        """Read the rows. Raises FileNameError where the name lacks what only it can tell."""
        return read_rows(self.rows, self.format, given=self.format.given_by_name(self.file))


def read(path: Path | str, source: str | None = None) -> list[Parsed]:
    """What the loader makes of the files at a path, without a database. Raises FileError."""
    return [recognise(member.label, member.data(), source).parse() for member in members(Path(path))]


def recognise(label: str, data: bytes, source: str | None = None) -> Recognised:
    """Tell a file's format by its header, then by its name. Raises a FileError that says what was found instead."""
    require_source(source)
    name = re.split(r"[/\\!]", label)[-1].removesuffix(".gz")
    formats = [format for format in FORMATS if source in (None, format.source)]
    named = [format for format in formats if format.file_name.fullmatch(name)]
    if data.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(io.BytesIO(data)):
            raise NotDataError("a zip that is cut short or broken", file=label, todo=_AGAIN)
        raise UnknownFormatError("no file in this zip belongs to a source", file=label)
    if data.startswith((b"\x1f\x8b", b"\x89PNG", b"%PDF")):
        raise NotDataError("a packed or binary file where text is expected", file=label)
    text = _decoded(data)
    start = text.lstrip()[:200]
    if start.startswith("<"):
        raise NotDataError("a web page, not data", file=label, line=1, value=start[:60], todo=_AGAIN)
    if start.startswith(("{", "[")):
        format, rows = _recognised_json(label, text, formats, named)
    else:
        format, rows = _recognised_csv(label, text, formats, named)
    return Recognised(format, rows, hashlib.sha256(data).hexdigest(), len(data), label)


_AGAIN = "The exchange or a proxy answered with an error: download the file again"


def _decoded(data: bytes) -> str:
    """UTF-8 (with or without its mark), else the Windows code page that the ETF list is written in."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    if data.startswith(b"\xef\xbb\xbf"):
        return data.decode("utf-8-sig", errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


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


def _recognised_csv(label: str, text: str, formats: list[Format], named: list[Format]) -> tuple[Format, Rows]:
    expected = named or (formats if len({format.source for format in formats}) == 1 else [])
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if "\r" in text:
        lines = [line.removesuffix("\r") for line in lines]
    numbers = [place for place, line in enumerate(lines, start=1) if line.strip()]
    if len(numbers) != len(lines):
        lines = [line for line in lines if line.strip()]
    if not lines:
        return _empty(label, expected), Rows([], [])
    if (longest := max(map(len, lines))) > _MAX_LINE:
        line = numbers[[len(text) for text in lines].index(longest)]
        raise FileLimitError(f"a line of {longest:,} characters", file=label, line=line)
    if _no_records(lines[0]):
        return _empty(label, expected), Rows([], [])

    header = split_line(lines[0]) or []
    for format in expected:
        if not format.has_header:
            if len(header) == len(format.columns) and parse_day(header[-1].strip()):
                return format, Rows(lines, numbers)
            if named:
                raise HeaderError(
                    f"{format.source} has {len(format.columns)} columns, the last of them a day, and no header",
                    file=label,
                    line=numbers[0],
                    value=lines[0],
                )
    fitting = [
        format for format in formats if format.records is None and format.missing_and_unknown(header) == ([], [])
    ]
    chosen = _chosen(label, lines[0], numbers[0], header, fitting, expected)
    rows = Rows(lines[1:], numbers[1:], header=lines[0])
    if chosen.may_be_empty and any(map(_no_records, rows.raw)):
        kept = [place for place, line in enumerate(rows.raw) if not _no_records(line)]
        rows = Rows([rows.raw[place] for place in kept], [rows.lines[place] for place in kept], rows.header)
    if not rows.raw and not chosen.may_be_empty:
        raise EmptyFileError(f"a header and no rows; {chosen.source} always has some", file=label, todo=_AGAIN)
    return chosen, rows


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
