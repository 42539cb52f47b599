"""Surveillance: the wide REG1_IND file (63 columns of codes) into one row per symbol and measure in force.

Codes: NSE circular NSE/SURV/65097 of 2024-11-14. 100 is "clear" in every column; 0 is a flag in most.
"""

from __future__ import annotations

from collections.abc import Mapping

from screener_data.loaders.format import Format, text
from screener_data.loaders.reader import UnknownCodeError
from screener_data.models import SurveillanceMeasure

__all__ = ["FORMATS", "MEASURES"]

_CLEAR = "100"

#: By printed header: the measure's name for each code of a staged measure.
STAGED: dict[str, dict[str, str]] = {
    "GSM": {
        "0": "GSM Stage 0",
        "1": "GSM Stage 1",
        "2": "GSM Stage 2",
        "3": "GSM Stage 3",
        "4": "GSM Stage 4",
        "6": "GSM Stage 6",
    },
    "Long_Term_Additional_Surveillance_Measure (Long Term ASM)": {
        "1": "Long Term ASM Stage 1",
        "2": "Long Term ASM Stage 2",
        "3": "Long Term ASM Stage 3",
        "4": "Long Term ASM Stage 4",
    },
    "Unsolicited_SMS": {"0": "Unsolicited SMS For Information", "1": "Unsolicited SMS Watchlist"},
    "Insolvency_Resolution_Process(IRP)": {
        "0": "IRP Disclosure",
        "1": "IRP IBC Stage 1",
        "2": "IRP IBC Stage 2",
    },
    "Short_Term_Additional_Surveillance_Measure (Short Term ASM)": {
        "1": "Short Term ASM Stage 1",
        "2": "Short Term ASM Stage 2",
    },
    "Default": {"0": "Default Disclosure", "1": "Default Surveillance Measure"},
    "ICA": {"0": "ICA Identified", "1": "ICA Surveillance Measure"},
    "Pledge": {"1": "High Promoter Pledge"},
    "Add-on_PB": {"1": "Add-on Price Band"},
    "Total Pledge": {"1": "Total Pledge"},
    "Social Media Platforms": {"2": "Social Media Platforms"},
    "ESM": {"1": "ESM Stage 1", "2": "ESM Stage 2"},
}

#: By printed header: the measure's name, where 0 is the flag. The header itself is kept as the reason.
FLAGGED_BY_ZERO: dict[str, str] = {
    "Loss making": "Loss Making",
    "The Overall encumbered share in the scrip is more than 50 Percent.": "Encumbered Over 50%",
    "Under BZ/SZ Series": "BZ/SZ Series",
    "Company has failed to pay Annual listing fee": "Listing Fee Unpaid",
    "Derivative contracts in the scrip to be moved out of F and O": "Moving Out Of F&O",
    "Scrip PE is greater than 50 (4 trailing quarters)": "PE Over 50",
    "EPS in the scrip is zero (4 trailing quarters)": "EPS Zero",
    "Less than 100 unique PAN traded in previous 30 days": "Under 100 PANs In 30 Days",
    "Mandatory Market making period in SME scrip is over": "SME Market Making Over",
    "SME scrip is not regularly traded": "SME Not Regularly Traded",
    "Close to Close price movement greater than 25perc in previous 5 trading days": "Close Move 25% In 5 Sessions",
    "Close to Close price movement greater than 40perc in previous 15 trading days": "Close Move 40% In 15 Sessions",
    "Close to Close price movement greater than 100perc in previous 60 trading Days": "Close Move 100% In 60 Sessions",
    "Close to Close price movement greater than 25perc in previous 15 Days": "Close Move 25% In 15 Days",
    "Close to Close price movement greater than 50perc in previous 1 month": "Close Move 50% In 1 Month",
    "Close to Close price movement greater than 90perc in previous 3 months": "Close Move 90% In 3 Months",
    "Close to Close price movement greater than 25perc in previous 1 month": "Close Move 25% In 1 Month",
    "Close to Close price movement greater than 50perc in previous 3 months": "Close Move 50% In 3 Months",
    "Close to Close price movement greater than 200perc in previous 365 Days": "Close Move 200% In 365 Days",
    "Close to Close price movement greater than 75perc in previous 6 months": "Close Move 75% In 6 Months",
    "Close to Close price movement greater than 100perc in previous 365 days": "Close Move 100% In 365 Days",
    "High low price variation greater than 75perc in previous 1 month": "High-Low 75% In 1 Month",
    "High low price variation greater than 150perc in previous 3 months": "High-Low 150% In 3 Months",
    "High low price variation greater than 75perc in previous 3 months": "High-Low 75% In 3 Months",
    "High low price variation greater than 300perc in previous 365 Days": "High-Low 300% In 365 Days",
    "High low price variation greater than 100perc in previous 6 months": "High-Low 100% In 6 Months",
    "High low price variation greater than 200perc in previous 365 Days": "High-Low 200% In 365 Days",
    "High low price variation greater than 150perc in previous 12 months": "High-Low 150% In 12 Months",
}

#: By printed header: code → measure_type. The one table that the loader goes by.
MEASURES: dict[str, dict[str, str]] = STAGED | {header: {"0": name} for header, name in FLAGGED_BY_ZERO.items()}

#: REG_IND, the narrow predecessor, lacks these columns.
_ONLY_WIDE = {"Scrip PE is greater than 50 (4 trailing quarters)"}


def _measures_in_force(cells: Mapping[str, str | None]) -> list[dict[str, str]]:
    """One row per measure in force. Raises UnknownCodeError for a code that the circular does not list."""
    made = []
    for header, names in MEASURES.items():
        code = cells[header]
        if code is None or code == _CLEAR:
            continue
        if code not in names:
            raise UnknownCodeError(header, code, [_CLEAR, *names])
        made.append({"symbol": cells["symbol"] or "", "measure_type": names[code], "reason": f"{header}: {code}"})
    return made


REG1_IND = Format(
    source="nse_surveillance",
    name="surveillance",
    files=r"reg1?_ind.*\.csv",
    target=SurveillanceMeasure,
    key=("date", "symbol", "measure_type"),
    from_name=("date", r"ind_?(\d{6,8})"),
    columns=(
        text("Symbol", "symbol"),
        *(text(header, header, required=header not in _ONLY_WIDE) for header in MEASURES),
    ),
    ignored=(r"ScripCode", r"Nse Exclusive", r"Status", r"Series", r"Filler\d+"),
    explode=_measures_in_force,
    exploded=("symbol", "measure_type", "reason"),
)

FORMATS = (REG1_IND,)
