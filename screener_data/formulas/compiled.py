"""How the formulas become machine code: the options of numba, said once, and what makes stored machine code stale."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "F8",
    "Flags",
    "Int32",
    "Int64",
    "UInt32",
    "UInt64",
    "compiled",
    "signed",
    "source_digest",
    "stored",
    "unsigned",
]

F8 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt32 = NDArray[np.uint32]
UInt64 = NDArray[np.uint64]
Flags = NDArray[np.bool_]

#: Makes a place in an array, counted by hand, one that cannot be negative. numba lets negative places count from the
#: end, so it looks at the sign of any that may have one, which costs tight loops a third of their time.
unsigned = cast(Callable[[int], int], np.uint64)
#: The way back: what mixes both kinds is a float to numba.
signed = cast(Callable[[int], int], np.int64)

_Function = TypeVar("_Function", bound=Callable[..., Any])

#: No "fastmath": a sum must not depend on how the compiler likes to group it.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def compiled(function: _Function) -> _Function:
    """Compile to machine code at the first call (or within a caller), free of Python's lock; x / 0 is inf or NaN."""
    return cast(_Function, numba.njit(**_OPTIONS)(function))


def stored(function: _Function) -> _Function:
    """Compile as `compiled` does and keep the machine code on the disk.

    numba takes stored code for stale when the function's own file has changed, but not when a file it calls into has.
    So a stored function either calls nothing of another file, or is a closure over `source_digest`.
    """
    return cast(_Function, numba.njit(cache=True, **_OPTIONS)(function))


def source_digest(folder: Path | None = None) -> int:
    """Tell this folder's sources by a number: another one after any change of any file."""
    digest = hashlib.sha256()
    for file in sorted((folder or Path(__file__).parent).glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return int.from_bytes(digest.digest()[:7])
