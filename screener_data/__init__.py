"""Audited daily data of Indian equities (NSE): load the exchange's files, trust what is stored, read it fast.

>>> import screener_data as sd
>>> results = sd.load("downloads/")            # doctest: +SKIP
>>> closes = sd.panel("close", start="2025-01-01")  # doctest: +SKIP
"""

import importlib
import typing

from screener_data.adjust import factors
from screener_data.database.engine import connect
from screener_data.fetching import FetchResult, fetch
from screener_data.gaps import gaps
from screener_data.ingest import LoadResult, load, replay
from screener_data.listed import identity, symbol_on, universe
from screener_data.quality import check
from screener_data.read import coverage, metrics, panel, prices, rejects, status
from screener_data.screens import screen, screens
from screener_data.sessions import sessions

__all__ = [
    "FetchResult",
    "LoadResult",
    "breadth",
    "calculate",
    "chart",
    "check",
    "connect",
    "coverage",
    "factors",
    "fetch",
    "gaps",
    "identity",
    "load",
    "metrics",
    "panel",
    "prices",
    "rejects",
    "replay",
    "rotation",
    "screen",
    "screens",
    "sessions",
    "status",
    "symbol_on",
    "universe",
]

#: They come when they are asked for: the formulas bring a compiler along, the charts plotly; both take long to import.
_LATE = {"calculate": "screener_data.calculation"} | dict.fromkeys(
    ("breadth", "chart", "rotation"), "screener_data.charts"
)

if typing.TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from screener_data.calculation import calculate
    from screener_data.charts import breadth, chart, rotation


def load_ipython_extension(shell: "InteractiveShell") -> None:
    """What `%load_ext screener_data` calls: it gives the notebook `%%screen_sql`."""
    from screener_data import magic

    magic.load(shell)


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATE[name]), name)
