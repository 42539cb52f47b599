"""NSE's four-level classification: the answers of the quote API, in its old and its new shape."""

from __future__ import annotations

from typing import Any

from screener_data.loaders.format import Format, text
from screener_data.models import IndustryClassification

__all__ = ["FORMATS"]

_NONE = ("-",)


def _quote_equity(document: Any) -> list[dict[str, Any]] | None:
    """The old shape: `industryInfo` is an object."""
    match document:
        case {"info": {"symbol": symbol}, "industryInfo": dict(levels)}:
            return [
                {
                    "symbol": symbol,
                    "macro": levels.get("macro"),
                    "sector": levels.get("sector"),
                    "industry": levels.get("industry"),
                    "basicIndustry": levels.get("basicIndustry"),
                }
            ]
    return None


def _symbol_data(document: Any) -> list[dict[str, Any]] | None:
    """The new shape: `industryInfo` is a string, the industry itself."""
    match document:
        case {"equityResponse": list(answers)}:
            return [_flat(answer) for answer in answers]
    return None


def _flat(answer: Any) -> Any:
    match answer:
        case {"metaData": {"symbol": symbol}, "secInfo": dict(levels)}:
            return {
                "symbol": symbol,
                "macro": levels.get("macro"),
                "sector": levels.get("sector"),
                "industry": levels.get("industryInfo"),
                "basicIndustry": levels.get("basicIndustry"),
            }
    return answer if not isinstance(answer, dict) else list(answer)


def _either(document: Any) -> list[dict[str, Any]] | None:
    found = _quote_equity(document)
    return found if found is not None else _symbol_data(document)


INDUSTRY = Format(
    source="nse_industry",
    name="industry",
    files=r"(?:quote-equity|getsymboldata|industry).*\.json",
    target=IndustryClassification,
    key=("symbol",),
    records=_either,
    columns=(
        text("symbol", "symbol"),
        text("macro", "macro", required=False, nulls=_NONE),
        text("sector", "sector", required=False, nulls=_NONE),
        text("industry", "industry", required=False, nulls=_NONE),
        text("basicIndustry", "basic_industry", required=False, nulls=_NONE),
    ),
    named_on=None,
    known_symbol="symbol",
)

FORMATS = (INDUSTRY,)
