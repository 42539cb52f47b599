"""The folder of raw files: each whole or absent, with a note beside it of where it came from and when.

`raw/<source>/<day>/<file>` are the bytes as they came; `.<file>.json` beside it has their sha256, their number, the
address, the time (UTC) and the answer's headers. The note is written first, the file is put in its place last: a file
that is there is whole, whenever the process may have been killed; what a dying machine has damaged, the sha256 tells.
A note of sha256 null says that there is no such file.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import IO, Any

from screener_data.errors import FetchError
from screener_data.fetch.client import Answer

__all__ = ["Store"]


class Store:
    """The raw files under a folder. As a context manager it keeps other processes from fetching at the same time."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made when it is entered."""
        self.folder = folder
        self._lock: IO[str] | None = None

    def __enter__(self) -> Store:
        """Take the lock. Raises FetchError where another process holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise FetchError(
                f"another process is fetching into {self.folder}: wait until it is done, or stop it"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lock back."""
        if self._lock is not None:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            self._lock.close()

    def path(self, source: str, day: dt.date, name: str) -> Path:
        """Where a file is kept. Raises FetchError for a name that is no plain file name."""
        if Path(name).name != name or name.startswith("."):
            raise FetchError(f"{name!r} cannot be the name of a file: nothing is fetched for it")
        return self.folder / source / day.isoformat() / name

    def kept(self, path: Path) -> bool:
        """Whether the file is there as it came: one that was damaged since is fetched again."""
        if not path.is_file():
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == self.note(path).get("sha256")

    def is_known_absent(self, path: Path) -> bool:
        """Whether the address has said, long enough after the day, that there is no such file."""
        return not path.is_file() and self.note(path).get("sha256", "") is None

    def note(self, path: Path) -> dict[str, Any]:
        """What is noted of a file; empty where nothing is, or where the note is damaged."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            found = json.loads(_note(path).read_bytes())
            if isinstance(found, dict):
                return found
        return {}

    def notes(self, source: str) -> dict[Path, dict[str, Any]]:
        """What is noted of all files of a source that are there, oldest day first."""
        paths = sorted((self.folder / source).glob("*/.*.json"))
        files = [note.with_name(note.name.removeprefix(".").removesuffix(".json")) for note in paths]
        return {file: self.note(file) for file in files if file.is_file()}

    def put(self, path: Path, answer: Answer, **about: str) -> Path:
        """Keep an answer's bytes; what is noted `about` them stands in the note."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        with part.open("wb") as file:
            file.write(answer.data)
            file.flush()
            os.fsync(file.fileno())
        self._note(path, answer, hashlib.sha256(answer.data).hexdigest(), about)
        part.replace(path)
        return path

    def put_absent(self, path: Path, url: str, at: dt.datetime) -> None:
        """Note that there is no such file, so that it is not asked for again."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._note(path, Answer(b"", url, {}, at), None, {})

    def _note(self, path: Path, answer: Answer, sha256: str | None, about: dict[str, str]) -> None:
        note = {
            "sha256": sha256,
            "bytes": len(answer.data),
            "url": answer.url,
            "fetched_at": answer.at.isoformat(),
            "headers": answer.headers,
            **about,
        }
        part = path.with_name(f".{path.name}.json.part")
        part.write_text(json.dumps(note, indent=1, ensure_ascii=False), encoding="utf-8")
        part.replace(_note(path))


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")
