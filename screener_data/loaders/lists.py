"""Lists of securities: EQUITY_L.csv and its kin, the SME and ETF lists, changes of symbols and names."""

from __future__ import annotations

import dataclasses

from screener_data.loaders.format import Format, Merge, number, text, trading_day, whole
from screener_data.models import NameChange, Security, SymbolChange

__all__ = ["FORMATS"]

ISIN = r"[A-Z]{2}[A-Z0-9]{9}[0-9]"
#: One ISIN can stand under several series: the first of these is the one that trades. Others rank last.
MAIN_SERIES = ("EQ", "BE", "BZ", "SM", "ST", "SZ", "RR", "IV")
_RANK = "coalesce(array_position('{" + ",".join(MAIN_SERIES) + "}'::text[], series::text), 99)"

EQUITY = Format(
    source="nse_securities",
    name="equity_list",
    files=r"equity_l.*\.csv",
    target=Security,
    list_name="EQUITY_L",
    merge=Merge.SECURITIES,
    columns=(
        text("SYMBOL", "symbol"),
        text("NAME OF COMPANY", "security_name"),
        text("SERIES", "series"),
        trading_day("DATE OF LISTING", "listing_date", nulls=("-",)),
        number("PAID UP VALUE", "paid_up_value", sign="nonnegative", nulls=("-",)),  # rupees per share
        whole("MARKET LOT", "market_lot", sign="positive", nulls=("-",)),
        text("ISIN NUMBER", "isin", pattern=ISIN),
        number("FACE VALUE", "face_value", sign="nonnegative", nulls=("-",)),  # rupees per share
    ),
    derived={"security_type": "'EQUITY'::securitytype"},
    preference=_RANK,
)
REITS = dataclasses.replace(EQUITY, name="reit_list", files=r"reits?_l.*\.csv", list_name="REITS_L")
INVITS = dataclasses.replace(EQUITY, name="invit_list", files=r"invits?_l.*\.csv", list_name="INVITS_L")

SME = Format(
    source="nse_sme",
    name="sme_list",
    files=r"sme_equity_l.*\.csv",
    target=Security,
    list_name="SME_EQUITY_L",
    merge=Merge.SECURITIES,
    columns=(
        text("SYMBOL", "symbol"),
        text("NAME_OF_COMPANY", "security_name"),
        text("SERIES", "series"),
        trading_day("DATE_OF_LISTING", "listing_date", nulls=("-",)),
        number("PAID_UP_VALUE", "paid_up_value", sign="nonnegative", nulls=("-",)),  # rupees per share
        text("ISIN_NUMBER", "isin", pattern=ISIN),
        number("FACE_VALUE", "face_value", sign="nonnegative", nulls=("-",)),  # rupees per share
    ),
    derived={"security_type": "'EQUITY'::securitytype"},
    preference=_RANK,
)

ETFS = Format(
    source="nse_etfs",
    name="etf_list",
    files=r"(?:eq_etfseclist|etf_l).*\.csv",
    target=Security,
    list_name="eq_etfseclist",
    merge=Merge.SECURITIES,
    columns=(
        text("Symbol", "symbol"),
        text("SecurityName", "security_name"),
        trading_day("DateofListing", "listing_date", nulls=("-",)),
        whole("MarketLot", "market_lot", sign="positive", nulls=("-",)),
        text("ISINNumber", "isin", pattern=ISIN),
        number("FaceValue", "face_value", sign="nonnegative", nulls=("-",)),  # rupees per unit
    ),
    ignored=("Underlying",),
    derived={"security_type": "'ETF'::securitytype"},
)

SYMBOL_CHANGES = Format(
    source="nse_symbol_changes",
    name="symbol_changes",
    files=r"symbolchange.*\.csv",
    has_header=False,
    target=SymbolChange,
    key=("old_symbol", "new_symbol", "change_date"),
    renames=True,
    columns=(
        text("name", "security_name", required=False),
        text("old symbol", "old_symbol"),
        text("new symbol", "new_symbol"),
        trading_day("date", "change_date"),
    ),
)

NAME_CHANGES = Format(
    source="nse_symbol_changes",
    name="name_changes",
    files=r"namechange.*\.csv",
    target=NameChange,
    key=("symbol", "old_name", "new_name", "change_date"),
    named_on=None,
    columns=(
        text("NCH_SYMBOL", "symbol"),
        text("NCH_PREV_NAME", "old_name"),
        text("NCH_NEW_NAME", "new_name"),
        trading_day("NCH_DT", "change_date"),
    ),
)


FORMATS = (SYMBOL_CHANGES, NAME_CHANGES, EQUITY, REITS, INVITS, SME, ETFS)
