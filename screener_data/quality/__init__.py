"""Checks of what is stored, declared by theme: bars, names, figures, events, books; and the report of a run."""

from screener_data.quality.declared import Check, Finding, RowCheck
from screener_data.quality.report import frame, lines, page, verdict, write_page
from screener_data.quality.runs import CHECKS, check, find, trend

__all__ = [
    "CHECKS",
    "Check",
    "Finding",
    "RowCheck",
    "check",
    "find",
    "frame",
    "lines",
    "page",
    "trend",
    "verdict",
    "write_page",
]
