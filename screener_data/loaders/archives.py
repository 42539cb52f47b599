"""From a path to bytes: folders, zips and gzips, and what tells that a file has not been written since."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import re
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from screener_data.errors import FileLimitError, NotDataError, UsageError

__all__ = ["MAX_BYTES", "Member", "files", "is_zip", "members", "stamp_of"]

#: No file of the exchange comes near it; a zip that unpacks to more is not one of its.
MAX_BYTES = 1 << 29
_LARGE = 1 << 23
_AT_ONCE = 1 << 20
_SETTLED = 2.0  # seconds after which a file's time stamps surely differ when it is written again
_DATA_SUFFIXES = {".csv", ".json", ".zip", ".gz"}
# what Python's modules raise for archives that are broken in one or another way
_BROKEN = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    RuntimeError,  # a password is needed; NotImplementedError: a newer version is
    ValueError,  # a name that is no UTF-8
    IndexError,  # a name that is empty
    KeyError,
)
_opened = threading.local()


@dataclass(frozen=True)
class Member:
    """One file: on disk, or within a zip (`label` is then `archive.zip!member.csv`)."""

    label: str
    name: str
    path: Path
    #: The place in the zip's directory: a name can stand there twice.
    inside: int | None = None

    @classmethod
    def of(cls, path: Path) -> Member:
        """The file at a path, which is no zip."""
        return cls(_label(str(path)), path.name.removesuffix(".gz"), path)

    @cached_property
    def size(self) -> int:
        """The bytes of the file, or of the archive that it is in; 0 where there is none."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    @property
    def is_large(self) -> bool:
        """Whether it should not lie in memory before its turn."""
        return self.size > _LARGE

    def data(self, most: int | None = None) -> bytes:
        """The bytes, unpacked; with `most`, no more than the first ones. Raises FileError where they cannot be had."""
        try:
            if self.inside is not None:
                archive = _archive(self.path)
                with archive.open(archive.infolist()[self.inside]) as packed:
                    return _limited(packed, self.label, most)
            # without a buffer: what lies in one would be joined with the rest, for which all is copied
            with self.path.open("rb", buffering=0) as stream:
                # told by content: an error page is also saved under the name NSE.json.gz
                if stream.read(2) == b"\x1f\x8b":
                    stream.seek(0)
                    return _limited(gzip.open(stream), self.label, most)
                size = os.fstat(stream.fileno()).st_size
                if most is None and size > MAX_BYTES:
                    raise _too_large(self.label)
                stream.seek(0)
                # what has no size, a pipe, may have no end
                return stream.read() if most is None and size else _limited(stream, self.label, most)
        except _BROKEN as error:
            raise _unreadable(self.label, error) from None


def _unreadable(label: str, error: Exception) -> NotDataError:
    """What is wrong with a file, and what to do: only one that is damaged comes better the next time."""
    reason, todo = str(error), "Download it again: it is damaged or not complete"
    if isinstance(error, OSError) and error.strerror:  # the system's own word
        reason, todo = error.strerror, "See that it is there, and that you may read it"
    elif isinstance(error, RuntimeError):
        reason = "it is packed with a password, or in a way that Python's zipfile does not know"
        todo = "Unpack it with another program, and load what is in it"
    return NotDataError(f"cannot be read: {reason}", file=label, todo=todo)


def _limited(stream: IO[bytes] | gzip.GzipFile, label: str, most: int | None) -> bytes:
    """Read in small parts: what a packed file says of its size need not be true."""
    parts = io.BytesIO()
    limit = MAX_BYTES if most is None else most
    while parts.tell() < limit and (part := stream.read(min(_AT_ONCE, limit - parts.tell()))):
        parts.write(part)
    if most is None and stream.read(1):
        raise _too_large(label)
    return parts.getvalue()


def _too_large(label: str) -> FileLimitError:
    return FileLimitError(f"more than {MAX_BYTES >> 20} MiB", file=label, todo="Split it")


def _archive(path: Path) -> zipfile.ZipFile:
    """An opened zip, which stays open for the next member: to read the directory takes longer than most members."""
    found = path.stat()
    key = (path, found.st_size, found.st_mtime_ns, found.st_ino)
    if getattr(_opened, "key", None) != key:
        _opened.key, _opened.archive = None, None
        _opened.archive = zipfile.ZipFile(path)
        _opened.key = key
    archive: zipfile.ZipFile = _opened.archive
    return archive


def stamp_of(path: Path) -> str | None:
    """What tells, without reading it, that a file has not been written since: as git does, by its time stamps.

    None where that cannot be told: no such file, or one written in this very moment.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    if time.time() - max(found.st_mtime, found.st_ctime) < _SETTLED:
        return None
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def files(path: Path) -> Iterator[Path]:
    """The files at a path that may hold data: itself, or a folder's, sorted. Raises UsageError for no such path."""
    if not path.is_dir():
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
        yield path
        return
    found: list[str] = []
    for folder, below, names in os.walk(path):
        below[:] = [name for name in below if not name.startswith(".")]
        found += [
            os.path.join(folder, name)  # noqa: PTH118 - of thousands of files, as text
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in _DATA_SUFFIXES  # noqa: PTH122
        ]
    # as paths compare, at a fraction of the time
    in_order = sorted(found, key=lambda name: name.split(os.sep))  # noqa: PTH206
    yield from (Path(name) for name in in_order if os.path.isfile(name))  # noqa: PTH113


def members(path: Path) -> Iterator[Member]:
    """The files at a path: itself, a folder's (sorted by path), a zip's (by base name; macOS twins left out).

    Raises UsageError where there is no such path.
    """
    for file in files(path):
        if file.suffix.lower() == ".zip" or is_zip(file):
            yield from _zip_members(file)
        else:
            yield Member.of(file)


def is_zip(path: Path) -> bool:
    """Whether a file is a zip, whatever its name."""
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"PK\x03\x04"
    except OSError:
        return False  # reading it will say why


def _zip_members(path: Path) -> Iterator[Member]:
    try:
        entries = [
            (entry.filename, place) for place, entry in enumerate(_archive(path).infolist()) if not entry.is_dir()
        ]
    except _BROKEN:
        yield Member.of(path)  # reading it will say what is wrong
        return
    found = [
        (base, name, place)
        for name, place in sorted(entries)
        if not (base := re.split(r"[/\\]", name)[-1]).startswith("._") and "__MACOSX" not in name
    ]
    bases, names = Counter(base for base, _, _ in found), Counter(name for _, name, _ in found)
    for base, name, place in found:
        # the base name, unless that is another one's, too
        shown = base if bases[base] == 1 else name if names[name] == 1 else f"{name}#{place + 1}"
        yield Member(_label(f"{path}!{shown}"), base, path, inside=place)


def _label(name: str) -> str:
    """A name as it is stored and shown: bytes that are no characters could not be, and others forge lines."""
    text = name.encode("utf-8", "replace").decode()
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: f"\\x{ord(found[0]):02x}", text)
