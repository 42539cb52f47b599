"""All formats, and the sources they belong to, in the order in which a mixed folder is loaded."""

from __future__ import annotations

from screener_data.errors import UsageError
from screener_data.loaders import (
    bhavcopy,
    constituents,
    corporate_actions,
    deals,
    holidays,
    indices,
    industry,
    lists,
    market_cap,
    surveillance,
    upstox,
)
from screener_data.loaders.format import Format

__all__ = ["FORMATS", "SOURCES", "format_named", "require_source"]

#: Lists come first, since market capitalisation and industries refer to their symbols; Upstox fills gaps, so last.
FORMATS: tuple[Format, ...] = (
    *lists.FORMATS,
    *constituents.FORMATS,
    *corporate_actions.FORMATS,
    *holidays.FORMATS,
    *bhavcopy.FORMATS,
    *indices.FORMATS,
    *market_cap.FORMATS,
    *industry.FORMATS,
    *deals.FORMATS,
    *surveillance.FORMATS,
    *upstox.FORMATS,
)

#: Every source's name, in the order of loading.
SOURCES: tuple[str, ...] = tuple(dict.fromkeys(format.source for format in FORMATS))


def format_named(name: str) -> Format:
    """The format of that name; a KeyError for none."""
    return {format.name: format for format in FORMATS}[name]


def require_source(source: str | None) -> None:
    """Raises UsageError for a name that no source has; None stands for all of them."""
    if source is not None and source not in SOURCES:
        raise UsageError(f"no source {source!r}; there are: {', '.join(SOURCES)}")
