"""Audited daily data of Indian equities (NSE): load the exchange's files, trust what is stored, read it fast.

>>> import screener_data as sd
>>> results = sd.load("downloads/")            # doctest: +SKIP
>>> closes = sd.panel("close", start="2025-01-01")  # doctest: +SKIP
"""

from screener_data.adjust import factors
from screener_data.database.engine import connect
from screener_data.ingest import LoadResult, load, replay
from screener_data.quality import check
from screener_data.read import coverage, panel, prices, rejects, sessions, status

__all__ = [
    "LoadResult",
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
