"""Audited daily data of Indian equities (NSE): load the exchange's files, trust what is stored, read it fast.

>>> import screener_data as sd
>>> results = sd.load("downloads/")            # doctest: +SKIP
>>> closes = sd.panel("close", start="2025-01-01")  # doctest: +SKIP
"""

from typing import Any

from screener_data.adjust import factors
from screener_data.database.engine import connect
from screener_data.ingest import LoadResult, load, replay
from screener_data.quality import check
from screener_data.read import coverage, panel, prices, rejects, sessions, status

__all__ = [
    "LoadResult",
    "calculate",
    "check",
    "connect",
    "coverage",
    "factors",
    "load",
    "panel",
    "prices",
    "rejects",
    "replay",
    "sessions",
    "status",
]


def __getattr__(name: str) -> Any:
    """`calculate` comes when it is asked for: it brings a compiler along, which takes a second to import."""
    if name == "calculate":
        from screener_data.calculation import calculate

        return calculate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
