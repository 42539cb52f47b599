"""Where each source's files are: one entry per file, with its date's spelling, its form and its days.

The addresses are those of the exchange's own catalogue and of the libraries that ask them.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from itertools import groupby
from typing import Literal
from urllib.parse import quote

__all__ = ["ADDRESSES", "EVERY_DAY", "INSTRUMENTS", "NOT_FETCHED", "Address", "Body", "alternatives", "month_name"]

Body = Literal["csv", "zip", "json", "gzip"]
#: day: a session's file, its date in the name. newest: always the newest session's, under one name. older: a session's,
#: of all but the newest. now: a list as it stands today.
When = Literal["day", "newest", "older", "now"]

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def month_name(day: dt.date) -> str:
    """The month as the exchange prints it, whatever the locale.

    >>> month_name(dt.date(2025, 12, 16))
    'DEC'
    """
    return _MONTHS[day.month - 1]


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where one file is. Texts in braces are filled in: `day` and `month`, for some also `symbol`, `series`, `key`."""

    source: str
    #: What it tells. Addresses that tell the same stand in for each other, the first is asked first.
    what: str
    #: The setting `fetch_<host>_url` is the base.
    host: Literal["nse", "archives", "upstox", "upstox_files"]
    path: str
    #: The name to keep it under, by which the loader knows it.
    file: str
    body: Body
    when: When = "day"
    #: Other sources whose rows are in it, too.
    brings: tuple[str, ...] = ()
    cookies: bool = False
    token: bool = False
    #: Asked for each symbol (or for many symbols at once), and so only where its source is named.
    by_symbol: bool = False
    #: The first and the last day that the address has.
    first: dt.date | None = None
    last: dt.date | None = None
    #: The file is of a day that only its rows tell: `16-DEC-2025`.
    shows_day: bool = False

    def has(self, day: dt.date) -> bool:
        """Whether the address has such a day."""
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)

    def path_of(self, day: dt.date, **words: str) -> str:
        """The path of a day; words are percent-encoded, `|` and `&` too."""
        return self.path.format(day=day, month=month_name(day), **{k: quote(v, safe=",") for k, v in words.items()})

    def file_of(self, day: dt.date, **words: str) -> str:
        """The name to keep the day's file under."""
        return self.file.format(day=day, month=month_name(day), **words)


def _now(source: str, file: str, path: str) -> Address:
    return Address(source=source, what=file, host="archives", path=f"{path}/{file}", file=file, body="csv", when="now")


def _deals(source: str, kind: str) -> tuple[Address, Address]:
    """The newest session's file needs no cookies; earlier ones are asked of the website, a day at a time."""
    newest = Address(
        source=source,
        what=source,
        host="archives",
        path=f"/content/equities/{kind}.csv",
        file=f"{kind}.csv",
        body="csv",
        when="newest",
        shows_day=True,
    )
    older = Address(
        source=source,
        what=source,
        host="nse",
        path=f"/api/historicalOR/bulk-block-short-deals?optionType={kind}_deals"
        "&from={day:%d-%m-%Y}&to={day:%d-%m-%Y}&csv=true",
        file=f"{kind.title()}-Deals-{{day:%d-%m-%Y}}-to-{{day:%d-%m-%Y}}.csv",
        body="csv",
        when="older",
        cookies=True,
    )
    return newest, older


#: In the order of asking: lists first, and of a day its prices first, which tell whether it was a session.
ADDRESSES: tuple[Address, ...] = (
    _now("nse_securities", "EQUITY_L.csv", "/content/equities"),
    _now("nse_securities", "REITS_L.csv", "/content/equities"),
    _now("nse_securities", "INVITS_L.csv", "/content/equities"),
    _now("nse_sme", "SME_EQUITY_L.csv", "/emerge/corporates/content"),
    _now("nse_etfs", "eq_etfseclist.csv", "/content/equities"),
    _now("nse_symbol_changes", "symbolchange.csv", "/content/equities"),
    _now("nse_symbol_changes", "namechange.csv", "/content/equities"),
    _now("nse_index_constituents", "ind_nifty50list.csv", "/content/indices"),
    _now("nse_index_constituents", "ind_nifty500list.csv", "/content/indices"),
    # the current year only
    Address(
        source="upstox_holidays",
        what="holidays",
        host="upstox",
        path="/v2/market/holidays",
        file="upstox_holidays_{day:%Y}.json",
        body="json",
        when="now",
    ),
    Address(
        source="upstox_holidays",
        what="holidays",
        host="nse",
        path="/api/holiday-master?type=trading",
        file="holiday-master-{day:%Y}.json",
        body="json",
        when="now",
        cookies=True,
    ),
    Address(
        source="nse_bhavcopy",
        what="prices",
        host="archives",
        path="/products/content/sec_bhavdata_full_{day:%d%m%Y}.csv",
        file="sec_bhavdata_full_{day:%d%m%Y}.csv",
        body="csv",
        first=dt.date(2020, 1, 1),  # before, the address gives no answer at all instead of a 404
    ),
    Address(
        source="nse_bhavcopy",
        what="prices",
        host="archives",
        path="/content/cm/BhavCopy_NSE_CM_0_0_0_{day:%Y%m%d}_F_0000.csv.zip",
        file="BhavCopy_NSE_CM_0_0_0_{day:%Y%m%d}_F_0000.csv.zip",
        body="zip",
        first=dt.date(2024, 7, 8),
    ),
    Address(
        source="nse_bhavcopy",
        what="prices",
        host="archives",
        path="/content/historical/EQUITIES/{day:%Y}/{month}/cm{day:%d}{month}{day:%Y}bhav.csv.zip",
        file="cm{day:%d}{month}{day:%Y}bhav.csv.zip",
        body="zip",
        last=dt.date(2024, 7, 5),
    ),
    Address(
        source="nse_indices",
        what="index levels",
        host="archives",
        path="/content/indices/ind_close_all_{day:%d%m%Y}.csv",
        file="ind_close_all_{day:%d%m%Y}.csv",
        body="csv",
    ),
    Address(
        source="nse_market_cap",
        what="PR zip",
        host="archives",
        path="/archives/equities/bhavcopy/pr/PR{day:%d%m%y}.zip",
        file="PR{day:%d%m%y}.zip",
        body="zip",
        brings=("nse_corporate_actions",),
    ),
    *_deals("nse_bulk_deals", "bulk"),
    *_deals("nse_block_deals", "block"),
    Address(
        source="nse_surveillance",
        what="surveillance",
        host="archives",
        path="/content/cm/REG1_IND{day:%d%m%y}.csv",
        file="REG1_IND{day:%d%m%y}.csv",
        body="csv",
        first=dt.date(2024, 11, 14),  # the circular that describes it
    ),
    Address(
        source="nse_industry",
        what="industry",
        host="nse",
        path="/api/NextApi/apiClient/GetQuoteApi?functionName=getSymbolData&marketType=N&series={series}&symbol={symbol}",
        file="getSymbolData-{symbol}.json",
        body="json",
        when="now",
        cookies=True,
        by_symbol=True,
    ),
    Address(
        source="nse_industry",
        what="industry",
        host="nse",
        path="/api/quote-equity?symbol={symbol}",
        file="quote-equity-{symbol}.json",
        body="json",
        when="now",
        cookies=True,
        by_symbol=True,
    ),
    # adjusted at the time of fetching; `until` stands before `since`, at most ten years between them
    Address(
        source="upstox_ohlcv",
        what="candles",
        host="upstox",
        path="/v3/historical-candle/{key}/days/1/{until}/{since}",
        file="candles_{symbol}.json",
        body="json",
        by_symbol=True,
        first=dt.date(2000, 1, 1),
    ),
    Address(
        source="upstox_quotes",
        what="quotes",
        host="upstox",
        path="/v2/market-quote/quotes?instrument_key={keys}",  # at most 500
        file="quotes_{day:%Y%m%d}_{batch}.json",
        body="json",
        when="now",
        token=True,
        by_symbol=True,
    ),
)

#: Which key Upstox knows a symbol by. No source: nothing of it is stored in tables.
INSTRUMENTS = Address(
    source="upstox_instruments",
    what="instruments",
    host="upstox_files",
    path="/market-quote/instruments/exchange/NSE.json.gz",
    file="NSE.json.gz",
    body="gzip",
    when="now",
)

#: Sources without an address, and why.
NOT_FETCHED = {"manual_factors": "it is written by hand"}

#: The sources that are fetched where none is named: those of one request a day.
EVERY_DAY: tuple[str, ...] = tuple(
    dict.fromkeys(
        source for address in ADDRESSES if not address.by_symbol for source in (address.source, *address.brings)
    )
)


def alternatives(sources: tuple[str, ...]) -> list[tuple[Address, ...]]:
    """The addresses that bring some sources, those that stand in for each other together, in the order of asking."""
    wanted = [address for address in ADDRESSES if not {address.source, *address.brings}.isdisjoint(sources)]
    return [tuple(group) for _, group in groupby(wanted, key=lambda address: (address.source, address.what))]
