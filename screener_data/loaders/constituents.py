"""Who is in an index: niftyindices.com's ind_*list.csv files. The name tells the index, the path tells the day."""

from __future__ import annotations

from screener_data.loaders.format import Format, Merge, fold, text
from screener_data.loaders.lists import ISIN
from screener_data.models import IndexConstituent

__all__ = ["FORMATS", "INDICES"]

#: The indices of which there are such files, by the code in the file's name; as `indices` calls them.
INDICES = {
    fold(name): name
    for name in (
        *("NIFTY 50", "NIFTY NEXT 50", "NIFTY 100", "NIFTY 200", "NIFTY 500", "NIFTY TOTAL MARKET"),
        *("NIFTY MIDCAP 50", "NIFTY MIDCAP 100", "NIFTY MIDCAP 150", "NIFTY MIDCAP SELECT"),
        *("NIFTY SMALLCAP 50", "NIFTY SMALLCAP 100", "NIFTY SMALLCAP 250", "NIFTY MICROCAP 250"),
        *("NIFTY LARGEMIDCAP 250", "NIFTY MIDSMALLCAP 400"),
        *("NIFTY AUTO", "NIFTY BANK", "NIFTY FMCG", "NIFTY HEALTHCARE", "NIFTY IT", "NIFTY MEDIA", "NIFTY METAL"),
        *("NIFTY PHARMA", "NIFTY PRIVATE BANK", "NIFTY PSU BANK", "NIFTY REALTY", "NIFTY ENERGY", "NIFTY MNC"),
    )
}

CONSTITUENTS = Format(
    source="nse_index_constituents",
    name="index_constituents",
    files=r"ind_nifty.*list.*\.csv",
    target=IndexConstituent,
    merge=Merge.MEMBERS,
    of="index_name",
    key=("index_name", "symbol", "isin"),
    named_on=None,  # the symbols are those of the list's day, and are kept as such
    from_name=("index_name", r"ind_(nifty[a-z0-9_]*?)_?list"),
    codes=INDICES,
    columns=(
        # a demerger's part before it trades: its ISIN is none, and it has no weight in the index
        text("Symbol", "symbol", placeholder=r"DUMMY.*"),
        text("ISIN Code", "isin", pattern=ISIN),
    ),
    ignored=(r"Company Name", r"Industry", r"Series"),  # `securities` and `industry_classification` hold them
)

FORMATS = (CONSTITUENTS,)
