"""Corporate actions: the PR zip's bc file, the website's two downloads, and factors given by hand."""

from __future__ import annotations

from collections.abc import Mapping

from screener_data.errors import Reason
from screener_data.loaders.bhavcopy import SERIES
from screener_data.loaders.format import Format, Skip, number, text, trading_day
from screener_data.loaders.purposes import UnknownPurposeError, actions_of
from screener_data.loaders.reader import RefusedRowError
from screener_data.models import CorporateAction

__all__ = ["FORMATS"]

_KEY = ("symbol", "ex_date", "kind")
#: The files speak of one action in different words.
_WORDED = ("purpose",)
# a bond of a series without a name pays interest; were it a share, its action would count
_IN_SCOPE = Skip(Reason.SERIES_OUT_OF_SCOPE, "series", frozenset({*SERIES, None}), unless=True)


def _actions(cells: Mapping[str, str | None]) -> list[dict[str, str]]:
    """One row per action that the purpose speaks of. Raises RefusedRowError for one that is not understood."""
    purpose = cells["purpose"] or ""
    try:
        actions = actions_of(purpose)
    except UnknownPurposeError as unknown:
        raise RefusedRowError(Reason.UNKNOWN_PURPOSE, "purpose", f"{purpose!r}: {unknown}") from None
    if actions and cells["ex_date"] is None:
        raise RefusedRowError(Reason.MISSING_VALUE, "ex-date", f"{purpose!r} has no ex-date")
    made = []
    for action in actions:
        row = {
            "symbol": cells["symbol"],
            "ex_date": cells["ex_date"],
            "kind": action.kind,
            "shares_before": f"{action.before:f}",
            "shares_after": f"{action.after:f}",
            "premium": None if action.premium is None else f"{action.premium:f}",
            "face_value": cells.get("face_value") if action.kind == "rights" else None,
            "purpose": purpose,
        }
        made.append({name: value for name, value in row.items() if value is not None})
    return made


_EXPLODED = ("symbol", "ex_date", "kind", "shares_before", "shares_after", "premium", "purpose")

# One row per series. Its symbols are those of the day, and it prints no face value.
BC = Format(
    source="nse_corporate_actions",
    name="corporate_actions_bc",
    files=r"bc\d{6,8}.*\.csv",
    target=CorporateAction,
    key=_KEY,
    worded=_WORDED,
    may_be_empty=True,
    columns=(
        text("SERIES", "series", required=False),
        text("SYMBOL", "symbol"),
        trading_day("EX_DT", "ex_date", required=False),
        text("PURPOSE", "purpose"),
    ),
    ignored=("SECURITY", "RECORD_DT", "BC_STRT_DT", "BC_END_DT", "ND_STRT_DT", "ND_END_DT"),
    skips=(_IN_SCOPE,),
    named_on="ex_date",
    explode=_actions,
    exploded=_EXPLODED,
    explodes_to_none=Reason.NO_PRICE_FACTOR,
)

# Both downloads name securities, and print their face values, as of the day of the download.
API = Format(
    source="nse_corporate_actions",
    name="corporate_actions_api",
    files=r"(?:ca-|bonus|face_?value_?split|rights|demerger|corporate_?actions?).*\.csv",
    target=CorporateAction,
    key=_KEY,
    worded=_WORDED,
    may_be_empty=True,
    columns=(
        text("symbol", "symbol"),
        text("series", "series", required=False, nulls=("-",)),
        text("subject", "purpose"),
        number("faceVal", "face_value", sign="positive", required=False, nulls=("-",)),  # rupees per share
        trading_day("exDate", "ex_date", required=False, nulls=("-",)),
    ),
    ignored=("ind|recDate|bcStartDate|bcEndDate|ndStartDate|ndEndDate|comp|isin|caBroadcastDate",),
    skips=(_IN_SCOPE,),
    named_on=None,
    explode=_actions,
    exploded=(*_EXPLODED, "face_value"),
    explodes_to_none=Reason.NO_PRICE_FACTOR,
)

WEB = Format(
    source="nse_corporate_actions",
    name="corporate_actions_web",
    files=r"cf-ca-.*\.csv",
    target=CorporateAction,
    key=_KEY,
    worded=_WORDED,
    may_be_empty=True,
    columns=(
        text("SYMBOL", "symbol"),
        text("SERIES", "series", required=False, nulls=("-",)),
        text("PURPOSE", "purpose"),
        number("FACE VALUE", "face_value", sign="positive", required=False, nulls=("-",)),  # rupees per share
        trading_day("EX-DATE", "ex_date", required=False, nulls=("-",)),
    ),
    ignored=("COMPANY NAME", "RECORD DATE", "BOOK CLOSURE (?:START|END) DATE", "ND (?:START|END) DATE"),
    skips=(_IN_SCOPE,),
    named_on=None,
    explode=_actions,
    exploded=(*_EXPLODED, "face_value"),
    explodes_to_none=Reason.NO_PRICE_FACTOR,
)

# Ours: what no text of the exchange tells, and what it tells wrongly. Symbols are today's.
MANUAL = Format(
    source="manual_factors",
    name="manual_factors",
    files=r"manual_factors.*\.csv",
    target=CorporateAction,
    key=_KEY,
    may_be_empty=True,
    columns=(
        text("symbol", "symbol"),
        trading_day("ex_date", "ex_date"),
        number("price_factor", "price_factor", sign="positive"),  # times earlier prices
        number("volume_factor", "volume_factor", sign="positive"),  # times earlier volumes
        text("reason", "purpose"),
    ),
    named_on=None,
    derived={"kind": "'manual'", "shares_before": "1", "shares_after": "1"},
)

FORMATS = (BC, API, WEB, MANUAL)
