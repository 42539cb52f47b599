"""Audited daily data of Indian equities (NSE): load the exchange's files, trust what is stored, read it fast.

>>> import screener_data as sd
>>> results = sd.load("downloads/")            # doctest: +SKIP
>>> closes = sd.panel("close", start="2025-01-01")  # doctest: +SKIP
"""

import importlib
import typing

from screener_data.adjust import factors
from screener_data.database.engine import connect
from screener_data.ingest import LoadResult, load, replay
from screener_data.quality import check
from screener_data.read import coverage, metrics, panel, prices, rejects, sessions, status
from screener_data.screens import screen, screens

__all__ = [
    "LoadResult",
    "calculate",
    "check",
    "connect",
    "coverage",
    "factors",
    "load",
    "metrics",
    "panel",
    "prices",
    "rejects",
    "replay",
    "screen",
    "screens",
    "sessions",
    "status",
]

#: They come when they are asked for: the formulas bring a compiler along, which takes a second to import.
_LATE = {"calculate": "screener_data.calculation"}

if typing.TYPE_CHECKING:
    from screener_data.calculation import calculate


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATE[name]), name)
