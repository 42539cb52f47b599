"""A small invented market, written in the exact byte formats of the exchange's files.

`write(folder)` makes the same bytes for the same arguments. Every company, client, price and ISIN is
invented (all ISINs begin `INEZ` or `INFZ`); formats, index names and trading holidays are the real ones.

Some symbols say what befalls them:

    OLDNAME    becomes NEWNAME, same ISIN          SPLITCO    face value 10 → 2, and so a new ISIN
    MOVEDCO    moves from series BE to EQ          BONUSCO    bonus 1:1
    PAUSECO    suspended for some weeks            GONECO     delisted: not in the last list
    ZGROUPCO   series BZ                           NA, NAN    text, although they look like blanks
    SMENEVER   listed, has never traded            GHOSTCO    in no list, yet in the last MCAP and bulk.csv
    K&VCORP    a fifth of it is demerged; only a manual factor tells how much

Dirt that must be refused is declared in `DIRT`. Dirt that must load clean: symbols with `&` and `-`; cp1252
bytes and padded or quoted cells in the ETF list and in symbolchange.csv (where a name is blank, too); two
spaces inside a client's name; two truly identical bulk deals, which stay two; days without block deals, with a
header and without; `-` and null for an unknown industry; T0 rows whose close lies outside their own range (out
of scope, so never judged); __MACOSX twins in one PR zip, and members that change case and length between months;
one corporate action printed once per series, again every day, and again in other words by the website's downloads.
"""

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from screener_data.exchange import HOLIDAYS

# ── What the exchange writes ────────────────────────────────────────────────────────────────────────────────────

HEADERS = {
    "equity_list": "SYMBOL,NAME OF COMPANY, SERIES, DATE OF LISTING, PAID UP VALUE, MARKET LOT, ISIN NUMBER,"
    " FACE VALUE",
    "sme_list": "SYMBOL,NAME_OF_COMPANY,SERIES,DATE_OF_LISTING,PAID_UP_VALUE,ISIN_NUMBER,FACE_VALUE,",
    "etf_list": "Symbol,Underlying,SecurityName,DateofListing,MarketLot,ISINNumber,FaceValue",
    "constituents": "Company Name,Industry,Symbol,Series,ISIN Code",
    "legacy": "SYMBOL,SERIES,OPEN,HIGH,LOW,CLOSE,LAST,PREVCLOSE,TOTTRDQTY,TOTTRDVAL,TIMESTAMP,TOTALTRADES,ISIN,",
    "full": "SYMBOL, SERIES, DATE1, PREV_CLOSE, OPEN_PRICE, HIGH_PRICE, LOW_PRICE, LAST_PRICE, CLOSE_PRICE,"
    " AVG_PRICE, TTL_TRD_QNTY, TURNOVER_LACS, NO_OF_TRADES, DELIV_QTY, DELIV_PER",
    "udiff": "TradDt,BizDt,Sgmt,Src,FinInstrmTp,FinInstrmId,ISIN,TckrSymb,SctySrs,XpryDt,FininstrmActlXpryDt,"
    "StrkPric,OptnTp,FinInstrmNm,OpnPric,HghPric,LwPric,ClsPric,LastPric,PrvsClsgPric,UndrlygPric,SttlmPric,"
    "OpnIntrst,ChngInOpnIntrst,TtlTradgVol,TtlTrfVal,TtlNbOfTxsExctd,SsnId,NewBrdLotQty,Rmks,Rsvd1,Rsvd2,Rsvd3,"
    "Rsvd4",
    "market_cap": "Trade Date,Symbol,Series,Security Name,Category,Last Trade Date,Face Value(Rs.),Issue Size,"
    "Close Price/Paid up value(Rs.),Market Cap(Rs.)              ",
    "prices": "MKT,SECURITY,PREV_CL_PR,OPEN_PRICE,HIGH_PRICE,LOW_PRICE,CLOSE_PRICE,NET_TRDVAL,NET_TRDQTY,IND_SEC,"
    "CORP_IND,TRADES,HI_52_WK,LO_52_WK",
    "corporate_actions": "SERIES,SYMBOL,SECURITY,RECORD_DT,BC_STRT_DT,BC_END_DT,EX_DT,ND_STRT_DT,ND_END_DT,PURPOSE",
    "actions_api": "symbol,series,ind,faceVal,subject,exDate,recDate,bcStartDate,bcEndDate,ndStartDate,comp,isin,"
    "ndEndDate,caBroadcastDate",
    "actions_web": '"SYMBOL","COMPANY NAME","SERIES","PURPOSE","FACE VALUE","EX-DATE","RECORD DATE",'
    '"BOOK CLOSURE START DATE","BOOK CLOSURE END DATE"',
    "manual_factors": "symbol,ex_date,price_factor,volume_factor,reason",
    "bulk": "Date,Symbol,Security Name,Client Name,Buy/Sell,Quantity Traded,Trade Price / Wght. Avg. Price,Remarks",
    "block": "Date,Symbol,Security Name,Client Name,Buy/Sell,Quantity Traded,Trade Price / Wght. Avg. Price",
    "deals_history": '"Date ","Symbol ","Security Name ","Client Name ","Buy / Sell ","Quantity Traded ",'
    '"Trade Price / Wght. Avg. Price ","Remarks "',
    "surveillance": "ScripCode,Symbol,Nse Exclusive,Status,Series,GSM,"
    "Long_Term_Additional_Surveillance_Measure (Long Term ASM),Unsolicited_SMS,Insolvency_Resolution_Process(IRP),"
    "Short_Term_Additional_Surveillance_Measure (Short Term ASM),Default,ICA,Filler4,Filler5,Pledge,Add-on_PB,"
    "Total Pledge,Social Media Platforms,ESM,Loss making,"
    "The Overall encumbered share in the scrip is more than 50 Percent.,Under BZ/SZ Series,"
    "Company has failed to pay Annual listing fee,Filler12,"
    "Derivative contracts in the scrip to be moved out of F and O,"
    "Scrip PE is greater than 50 (4 trailing quarters),EPS in the scrip is zero (4 trailing quarters),"
    "Less than 100 unique PAN traded in previous 30 days,Mandatory Market making period in SME scrip is over,"
    "SME scrip is not regularly traded,"
    "{close} 25perc in previous 5 trading days,{close} 40perc in previous 15 trading days,"
    "{close} 100perc in previous 60 trading Days,{close} 25perc in previous 15 Days,"
    "{close} 50perc in previous 1 month,{close} 90perc in previous 3 months,{close} 25perc in previous 1 month,"
    "{close} 50perc in previous 3 months,{close} 200perc in previous 365 Days,"
    "{close} 75perc in previous 6 months,{close} 100perc in previous 365 days,"
    "{range} 75perc in previous 1 month,{range} 150perc in previous 3 months,{range} 75perc in previous 3 months,"
    "{range} 300perc in previous 365 Days,{range} 100perc in previous 6 months,"
    "{range} 200perc in previous 365 Days,{range} 150perc in previous 12 months,".format(
        close="Close to Close price movement greater than", range="High low price variation greater than"
    )
    + ",".join(f"Filler{n}" for n in range(17, 32)),
    "indices": "Index Name,Index Date,Open Index Value,High Index Value,Low Index Value,Closing Index Value,"
    "Points Change,Change(%),Volume,Turnover (Rs. Cr.),P/E,P/B,Div Yield",
    "name_changes": "NCH_SYMBOL, NCH_PREV_NAME, NCH_NEW_NAME, NCH_DT",
}


class Dirt(NamedTuple):
    """One bad cell, put there on purpose: `value` stands in `column` (None: the line ends before it)."""

    kind: str  # a key of HEADERS
    back: int  # the session, counted from the end: 1 is the last
    symbol: str
    column: str
    value: str | None
    outcome: str


DIRT = (
    Dirt("full", 60, "ZEL-AUTO", "CLOSE_PRICE", "99999.00", "rejected: close above the high"),
    Dirt("full", 50, "K&VCORP", "OPEN_PRICE", "N.A.", "rejected: not a number"),
    Dirt("full", 30, "BONUSCO", "LAST_PRICE", None, "rejected: 7 cells where 15 are due"),
    Dirt("constituents", 1, "DUMMYKVCOR", "Symbol", "DUMMYKVCOR", "rejected: placeholder"),
    Dirt("market_cap", 1, "GHOSTCO", "Symbol", "GHOSTCO", "rejected: unknown_symbol"),
    Dirt("bulk", 1, "MOVEDCO", "Quantity Traded", "1O000", "rejected: not a number (a letter O)"),
    Dirt("surveillance", 1, "SPLITCO", "GSM", "7", "rejected: unknown code"),
    Dirt("actions_api", 1, "ZEL-AUTO", "subject", "Face Value Split", "rejected: unknown_purpose (from what to what?)"),
)

# Trading holidays of NSE, weekdays only; a year that is not here has no sample sessions.
CLOSED = {day: fact.why for day, fact in HOLIDAYS.items() if day.year in (2024, 2025)}
# Days in the holiday lists on which NSE trades all the same: name, Upstox's holiday type, opening, closing.
OPEN_ANYWAY = {
    date(2024, 1, 1): ("New Year Day", "TRADING_HOLIDAY", time(9, 15), time(15, 30)),
    date(2024, 1, 20): ("Special DR Trading", "TRADING_HOLIDAY", time(9, 15), time(12, 30)),
    date(2024, 3, 2): ("Special Live Trading Session", "SPECIAL_TIMING", time(9, 15), time(12, 30)),
    date(2024, 5, 18): ("Special Live Trading Session", "SPECIAL_TIMING", time(9, 15), time(12, 30)),
    date(2024, 11, 1): ("Diwali Laxmi Pujan", "SPECIAL_TIMING", time(18, 0), time(19, 0)),
    date(2025, 1, 1): ("New Year Day", "TRADING_HOLIDAY", time(9, 15), time(15, 30)),
    date(2025, 2, 1): ("Union Budget", "SPECIAL_TIMING", time(9, 15), time(15, 30)),
    date(2025, 10, 21): ("Diwali Laxmi Pujan", "SPECIAL_TIMING", time(13, 45), time(14, 45)),
}
SETTLEMENT = {
    date(2024, 2, 19): "Chhatrapati Shivaji Maharaj Jayanti",
    date(2024, 4, 1): "Annual Bank Closing",
    date(2025, 2, 19): "Chhatrapati Shivaji Maharaj Jayanti",
    date(2025, 4, 1): "Annual Bank Closing",
}
EXCHANGES = ("NSE", "NFO", "CDS", "BSE", "BCD", "BFO", "MCX")
IST = timezone(timedelta(hours=5, minutes=30))
UDIFF_START = date(2024, 7, 8)  # the exchange stopped the legacy bhavcopy here
LEGACY_SESSIONS, UDIFF_SESSIONS = 20, range(10, 15)  # the first so many; counted back from the end

# ── The invented market ─────────────────────────────────────────────────────────────────────────────────────────

STEMS = [
    *("Velmora", "Kestrix", "Torvani", "Nirluma", "Zelkora", "Ombrat", "Quorvex", "Ishtavo", "Pralune", "Dravon"),
    *("Jaspiro", "Yundara", "Hexalia", "Bravont", "Lumenta", "Wexora", "Fintara", "Cavrix", "Aldumo", "Sorvika"),
]
KINDS = {  # suffix of the symbol: word in the name, macro-economic sector, sector, industry, basic industry
    "CHEM": ("Chemicals", "Commodities", "Chemicals", "Chemicals & Petrochemicals", "Specialty Chemicals"),
    "FIN": ("Finance", "Financial Services", "Financial Services", "Finance", "Investment Company"),
    "TEC": ("Technologies", "Information Technology", "Information Technology", "IT - Software", "IT Enabled Services"),
    "PHA": ("Pharma", "Healthcare", "Healthcare", "Pharmaceuticals & Biotechnology", "Pharmaceuticals"),
    "POW": ("Power", "Utilities", "Power", "Power", "Power Generation"),
    "TEX": ("Textiles", "Consumer Discretionary", "Textiles", "Textiles & Apparels", "Garments & Apparels"),
    "FOO": ("Foods", "Fast Moving Consumer Goods", "Fast Moving Consumer Goods", "Food Products", "Packaged Foods"),
    "MET": ("Metals", "Commodities", "Metals & Mining", "Ferrous Metals", "Iron & Steel"),
    "ENG": ("Engineering", "Industrials", "Capital Goods", "Industrial Manufacturing", "Industrial Products"),
    "BUI": ("Builders", "Industrials", "Construction", "Construction", "Civil Construction"),
}
SPECIALS = {  # symbol: name, series
    "K&VCORP": ("Kelvra & Vostan Corporation Limited", "EQ"),
    "ZEL-AUTO": ("Zelquor Auto Limited", "EQ"),
    "NAN": ("Nanqora Networks Limited", "EQ"),
    "NA": ("Nilqora Alloys Limited", "EQ"),
    "OLDNAME": ("Oldnamra Ventures Limited", "EQ"),
    "SPLITCO": ("Splitora Components Limited", "EQ"),
    "BONUSCO": ("Bonustra Consumer Limited", "EQ"),
    "GONECO": ("Gonetra Commerce Limited", "EQ"),
    "PAUSECO": ("Pausetra Constructions Limited", "EQ"),
    "ZGROUPCO": ("Zgrouptra Company Limited", "BZ"),
    "MOVEDCO": ("Movetra Coatings Limited", "BE"),
}
SMES = {
    "SMEKORA": ("Korastu Packaging Limited", "SM"),
    "SMEDRILL": ("Drillexa Tools Limited", "SM"),
    "SMEWEAVE": ("Weavora Looms Limited", "ST"),
    "SMEOPTIC": ("Optiqua Lenses Limited", "SM"),
    "SMENEVER": ("Neverqua Storage Limited", "ST"),
}
ETFS = {  # symbol: underlying, name, face value; the cells are printed as they stand, padding and quotes too
    "ZENNIFTY": ("Nifty 50", "ZORVAMF - ZENNIFTY", "1"),
    "ZENBANK": ("Nifty Bank ", "ZORVAMF - ZENBANK", "1.25"),
    "ZENNEXT": ('"Nifty Next 50\t"', "ZORVAMF - ZENNEXT", "418.18"),
    "ZENGOLD": ("Gold", "ZORVA MF – ZORVA Gold", "10"),
    "ZENLIQ": ("Nifty\xa01D Rate Index", "ZORVAMF - ZENLIQ", "1000"),
    "ZENMID": ("Nifty Midcap 150 – TRI", " ZORVAMF - ZENMID", "10"),
}
BONDS = (("718ZS2033", "GS", "ZG RL 7.18% 2033", 10_550), ("SGBZJUN31", "GB", "2.5%ZGOLDBONDS2031", 988_000))
INDICES = {  # name: first value, swing against the market
    "Nifty 50": (22_000, 1.0),
    "Nifty Next 50": (60_000, 1.2),
    "Nifty Bank": (47_000, 1.1),
    "Nifty IT": (34_000, 0.9),
    "Nifty Auto": (21_000, 1.1),
    "Nifty Pharma": (19_000, 0.6),
    "Nifty 500": (20_000, 1.0),
    "India VIX": (13, -3.0),
    "Nifty50 TR 2x Leverage": (15_000, 2.0),
}
CLIENTS = (
    "ORVANE  CAPITAL ADVISORS LLP",
    "TINKARA SECURITIES PVT LTD",
    "MEHULKAR  ANVESH SHAHTRE",
    "QUILLON GLOBAL FUND SERIES II",
    "BRAVANTA TRADEFIN PRIVATE LIMITED",
    "ZORVA MUTUAL FUND",
)
_KEPT = 0.8  # of the demerged company's value
FLAGS = (  # surveillance: the column (by a part of its name) and the code printed
    ("GSM", "0"), ("GSM", "1"), ("Long Term ASM", "1"), ("Long Term ASM", "4"), ("Short Term ASM", "1"),
    ("Short Term ASM", "2"), ("ESM", "1"), ("ESM", "2"), ("(IRP)", "0"), ("ICA", "0"), ("Total Pledge", "1"),
    ("Loss making", "0"), ("Scrip PE", "0"), ("EPS in the scrip", "0"), ("unique PAN", "0"),
    ("25perc in previous 5", "0"), ("150perc in previous 12 months", "0"),
)  # fmt: skip

Files = Iterator[tuple[str, bytes]]  # relative path, content
Row = Sequence[object]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Security:
    """One line of a list, as it stands on some day."""

    symbol: str
    name: str
    series: str
    isin: str
    listed: date
    shares: int
    kind: str  # a key of KINDS, "SME" or "ETF"
    face: int = 10
    category: str = "Listed"


class Bar(NamedTuple):
    """What a security did on a day; prices in paise, `prev` never adjusted (as on the exchange)."""

    prev: int
    open: int
    high: int
    low: int
    close: int
    last: int
    average: int
    volume: int
    trades: int
    delivered: int


@dataclass(frozen=True)
class Market:
    """Sessions × securities: who was listed as what, and what traded."""

    seed: int
    days: list[date]
    roll: list[list[Security]]  # per session, each security as it stood that day, listed or not
    on_list: Flags
    traded: Flags
    bars: NDArray[np.int64]  # sessions × securities × the fields of Bar
    mood: Floats  # the market's daily return, which the indices follow
    actions: list[tuple[int, int, str]]  # session of the ex-date, security, purpose

    def bar(self, t: int, i: int) -> Bar:
        """The bar of one security; where it did not trade, its prices stand still."""
        return Bar(*self.bars[t, i].tolist())

    def listed(self, t: int, *kinds: str) -> list[int]:
        """Which securities of these kinds stand in the lists of session t, by symbol."""
        found = [i for i, s in enumerate(self.roll[t]) if self.on_list[t, i] and s.kind in kinds]
        return sorted(found, key=lambda i: self.roll[t][i].symbol)

    def trading(self, t: int) -> list[int]:
        """Which securities traded in session t."""
        return [int(i) for i in np.flatnonzero(self.traded[t])]


def write(
    folder: Path, *, seed: int = 7, symbols: int = 60, sessions: int = 300, end: date = date(2025, 6, 30)
) -> list[Path]:
    """Write the market's files under `folder`; `symbols` counts main-board equities (SME and ETFs come on top)."""
    market = _market(seed, symbols, sessions, end)
    exchange = (
        *(
            _lists,
            _constituents,
            _bhavcopies,
            _market_caps,
            _action_downloads,
            _deals,
            _surveillance,
            _industry,
            _indices,
        ),
        _symbol_changes,
    )
    written = []
    for name, content in chain.from_iterable(family(market) for family in (*exchange, _holidays, _upstox)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        written.append(path)
    return written


def _market(seed: int, symbols: int, sessions: int, end: date) -> Market:
    if not 25 <= symbols <= 200 or sessions < 120:
        raise ValueError(f"symbols must be 25 to 200 and sessions at least 120, not {symbols} and {sessions}")
    rng = np.random.default_rng(seed)
    days = _sessions(sessions, end)
    first, start = _securities(rng, symbols, days)
    at = {s.symbol: i for i, s in enumerate(first)}
    splitco, bonusco, parent = at["SPLITCO"], at["BONUSCO"], at["K&VCORP"]
    demerger, split, bonus = (month_end + 2 for month_end in _month_ends(days)[-5:-2])
    events: list[tuple[int, int, dict[str, Any]]] = [
        (sessions // 2, at["MOVEDCO"], {"series": "EQ"}),
        (sessions * 7 // 10, at["OLDNAME"], {"symbol": "NEWNAME", "name": "Newnamra Ventures Limited"}),
        (split, splitco, {"face": 2, "shares": first[splitco].shares * 5, "isin": _isin("INEZ", splitco, 2)}),
        (bonus, bonusco, {"shares": first[bonusco].shares * 2}),
    ]
    roll = [list(first) for _ in days]
    for when, i, change in events:
        for now in roll[when:]:
            now[i] = replace(now[i], **change)

    on_list = np.arange(sessions)[:, None] >= start
    on_list[sessions * 8 // 10 :, at["GONECO"]] = False
    sme = np.array([s.kind == "SME" for s in first])
    traded = on_list & ~(sme & (rng.random(on_list.shape) < 0.15))  # SME shares do not trade every day
    pause = sessions * 3 // 4
    traded[pause : pause + sessions // 15, at["PAUSECO"]] = False
    traded[:, at["SMENEVER"]] = False

    multiple = np.ones(on_list.shape)  # how many shares of the last day one share of this day became
    multiple[:split, splitco] = 5
    multiple[:bonus, bonusco] = 2
    multiple[:demerger, parent] = 1 / _KEPT
    mood = rng.normal(0, 0.008, sessions)
    mood += 0.0004 - mood.mean()
    bars = _walk(rng, mood, traded, multiple, sme)
    actions = [
        (demerger, parent, "DEMERGER"),
        (split, splitco, "FVSPLT FRM RS 10 TO RS 2"),
        (bonus, bonusco, "BONUS 1:1"),
    ]
    return Market(seed, days, roll, on_list, traded, bars, mood, actions)


def _walk(rng: np.random.Generator, mood: Floats, traded: Flags, multiple: Floats, sme: Flags) -> NDArray[np.int64]:
    """Geometric random walks on a tick of 5 paise; a price stands still while its security does not trade."""
    shape = traded.shape
    level = np.clip(rng.lognormal(5.5, 0.9, shape[1:]), 30, 3000)
    swing = rng.uniform(0.010, 0.025, shape[1:])
    steps = mood[:, None] * rng.uniform(0.4, 1.5, shape[1:]) + swing * rng.normal(size=shape)
    walk = level * np.exp(np.cumsum(np.where(traded, steps, 0), axis=0))

    def ticks(rupees: Floats) -> NDArray[np.int64]:
        return np.maximum(np.rint(rupees * 20), 1).astype(np.int64) * 5

    close = ticks(walk * multiple)
    prev = np.vstack([ticks(level * multiple[0]), close[:-1]])
    open_ = ticks(np.vstack([level, walk[:-1]]) * multiple * np.exp(rng.normal(0, 0.004, shape)))
    top, bottom = np.maximum(open_, close), np.minimum(open_, close)
    up, down = np.abs(rng.normal(0, 0.5, (2, *shape))) * swing
    high = np.maximum(ticks(top / 100 * (1 + up)), top)
    low = np.minimum(ticks(bottom / 100 * (1 - down)), bottom)
    last = np.clip(close + 5 * rng.integers(-4, 5, shape), low, high)
    average = low + (high - low) * rng.beta(5, 5, shape)
    volume = rng.lognormal(np.log(4e7 / level) + rng.normal(0, 1, shape[1:]), 0.5, shape) / multiple + 1
    volume = np.floor(np.where(sme, np.ceil(volume / 20_000) * 1000, volume))  # SME shares trade in lots
    trades = volume // rng.integers(20, 60, shape) + 1
    delivered = volume * rng.uniform(0.2, 0.9, shape)
    bars = np.stack([prev, open_, high, low, close, last, average, volume, trades, delivered], axis=2)
    return np.asarray(np.rint(bars), dtype=np.int64)


def _securities(rng: np.random.Generator, symbols: int, days: list[date]) -> tuple[list[Security], NDArray[np.int64]]:
    """Every security ever listed, as on the first day, and the session of its listing."""
    kinds = list(KINDS)
    names = {s: (name, series, kinds[i % len(kinds)]) for i, (s, (name, series)) in enumerate(SPECIALS.items())}
    for pick in rng.permutation(len(STEMS) * len(kinds))[: symbols - len(SPECIALS)].tolist():
        stem, kind = STEMS[pick % len(STEMS)], kinds[pick // len(STEMS)]
        series = "BE" if len(names) % 8 == 0 else "EQ"
        names[stem.upper()[:6] + kind] = (f"{stem} {KINDS[kind][0]} Limited", series, kind)
    names |= {s: (name, series, "SME") for s, (name, series) in SMES.items()}
    names |= {s: (name, "EQ", "ETF") for s, (_, name, _) in ETFS.items()}

    start = np.zeros(len(names), dtype=np.int64)
    start[symbols - 6 : symbols] = [int(len(days) * part) for part in (0.15, 0.25, 0.5, 0.6, 0.7, 0.85)]
    ages = rng.integers(0, 3_600, len(names)).tolist()
    shares = rng.lognormal(18, 1, len(names)).astype(np.int64).tolist()
    securities = []
    for i, (symbol, (name, series, kind)) in enumerate(names.items()):
        founded = date(2014 if kind in ("SME", "ETF") else 1996, 1, 1) + timedelta(ages[i])
        listed = days[start[i]] if start[i] else founded
        isin = _isin("INFZ" if kind == "ETF" else "INEZ", i)
        category = "Permitted" if i in (14, 15) else "Listed"
        securities.append(Security(symbol, name, series, isin, listed, shares[i], kind, category=category))
    return securities, start


def _sessions(count: int, end: date) -> list[date]:
    days: list[date] = []
    day = end
    while len(days) < count:
        if not any(closed.year == day.year for closed in CLOSED):
            raise ValueError(f"the holidays of {day.year} are not known here: take fewer sessions or another end")
        if day in OPEN_ANYWAY or (day.weekday() < 5 and day not in CLOSED):
            days.append(day)
        day -= timedelta(days=1)
    return days[::-1]


def _month_ends(days: list[date]) -> list[int]:
    return [t for t, day in enumerate(days) if t + 1 == len(days) or days[t + 1].month != day.month]


def _isin(issuer: str, number: int, serial: int = 1) -> str:
    """An ISIN with a right check digit: issuer, security type 01, serial number."""
    body = f"{issuer}{number:03d}01{serial:02d}"
    digits = [int(digit) for digit in "".join(str(int(character, 36)) for character in body)]
    total = sum(sum(divmod(digit * (2 - place % 2), 10)) for place, digit in enumerate(reversed(digits)))
    return f"{body}{-total % 10}"


# ── The files, one family after the other ───────────────────────────────────────────────────────────────────────


def _lists(market: Market) -> Files:
    rows: list[Row]
    for t in (len(market.days) // 3, len(market.days) - 1):
        equities = [market.roll[t][i] for i in market.listed(t, *KINDS)]
        rows = [(s.symbol, s.name, s.series, _upper(s.listed), s.face, 1, s.isin, s.face) for s in equities]
        yield f"lists/{market.days[t]}/EQUITY_L.csv", _csv("equity_list", rows)

    folder = f"lists/{market.days[-1]}"
    smes = [market.roll[-1][i] for i in market.listed(-1, "SME")]
    rows = [(s.symbol, s.name, s.series, f"{s.listed:%d-%b-%y}", s.face, s.isin, s.face, "") for s in smes]
    yield f"{folder}/SME_EQUITY_L.csv", _csv("sme_list", rows)

    rows = []
    for s in (market.roll[-1][i] for i in market.listed(-1, "ETF")):
        underlying, name, face = ETFS[s.symbol]
        rows.append((s.symbol, underlying, name, f"{s.listed:%d-%b-%y}", 1, s.isin, face))
    yield f"{folder}/eq_etfseclist.csv", _csv("etf_list", rows, encoding="cp1252").rstrip(b"\n")


def _constituents(market: Market) -> Files:
    """The ten largest stand for the fifty of Nifty 50; the part that K&VCORP gave up has no symbol yet."""
    for t in (len(market.days) // 3, len(market.days) - 1):
        largest = sorted((market.roll[t][i] for i in market.listed(t, *KINDS)), key=lambda s: (-s.shares, s.symbol))[
            :10
        ]
        rows = [(s.name.replace("Limited", "Ltd."), KINDS[s.kind][2], s.symbol, s.series, s.isin) for s in largest]
        if t == len(market.days) - 1:
            rows.append(("Dummy Kelvra & Vostan Ltd.", "Capital Goods", "DUMMYKVCOR", "BE", "DUM0Z0101016"))
        yield f"constituents/{market.days[t]}/ind_nifty50list.csv", _csv("constituents", sorted(rows))


def _bhavcopies(market: Market) -> Files:
    for t, day in enumerate(market.days):
        lines, back = _lines(market, t), len(market.days) - t
        if t < LEGACY_SESSIONS and day < UDIFF_START:
            name = f"cm{_upper(day).replace('-', '')}bhav.csv"
            yield f"bhavcopy/legacy/{name}.zip", _zip({name: _legacy(lines, day)})
        elif back in UDIFF_SESSIONS and day >= UDIFF_START:
            name = f"BhavCopy_NSE_CM_0_0_0_{day:%Y%m%d}_F_0000.csv"
            yield f"bhavcopy/udiff/{name}.zip", _zip({name: _udiff(lines, day)})
        else:
            yield f"bhavcopy/full/sec_bhavdata_full_{day:%d%m%Y}.csv", _full(lines, day, back)


def _lines(market: Market, t: int) -> list[tuple[Security, Bar]]:
    """The day's lines by symbol: all that traded, one T0 line (settled on the day itself), two bonds."""
    lines = [(market.roll[t][i], market.bar(t, i)) for i in market.trading(t)]
    security, bar = next(line for line in lines if line[0].symbol == "NAN")
    flat = bar._replace(high=bar.open, low=bar.open, last=bar.open, average=bar.open)  # the close stays that of EQ
    lines.append((replace(security, series="T0"), flat._replace(volume=5, trades=1, delivered=5)))
    for symbol, series, name, price in BONDS:
        bond = Security(symbol, name, series, f"IN00{series}Z20331", market.days[0], 0, "")
        now = price + t % 7 * 5
        lines.append((bond, Bar(now, now, now, now, now, now, now, volume=100 + t, trades=3, delivered=50)))
    return sorted(lines, key=lambda line: line[0].symbol)


def _legacy(lines: list[tuple[Security, Bar]], day: date) -> bytes:
    def bare(paise: int) -> str:
        return _rupees(paise).rstrip("0").rstrip(".")

    rows: list[Row] = []
    for s, b in lines:
        prices = (bare(price) for price in (b.open, b.high, b.low, b.close, b.last, b.prev))
        value = bare(b.volume * b.average)
        rows.append((s.symbol, s.series, *prices, b.volume, value, _upper(day), b.trades, s.isin, ""))
    return _csv("legacy", rows)


def _full(lines: list[tuple[Security, Bar]], day: date, back: int) -> bytes:
    rows: list[Row] = []
    for s, b in lines:
        prices = (_rupees(price) for price in (b.prev, b.open, b.high, b.low, b.last, b.close, b.average))
        delivery: Row = (b.delivered, f"{100 * b.delivered / b.volume:.2f}")
        if s.series in ("BE", "BZ"):  # all is delivered there; the exchange prints none
            delivery = ("-", "-")
        lakh = f"{b.volume * b.average / 1e7:.2f}"
        rows.append((s.symbol, s.series, f"{day:%d-%b-%Y}", *prices, b.volume, lakh, b.trades, *delivery))
    return _csv("full", rows, separator=", ", back=back)


def _udiff(lines: list[tuple[Security, Bar]], day: date) -> bytes:
    rows: list[Row] = []
    for number, (s, b) in enumerate(lines, start=1001):
        what = (day, day, "CM", "NSE", "STK", number, s.isin, s.symbol, s.series, "", "", "", "", s.name.upper())
        prices = (_rupees(price) for price in (b.open, b.high, b.low, b.close, b.last, b.prev))
        traded = (b.volume, _rupees(b.volume * b.average), b.trades)
        rows.append((*what, *prices, "", _rupees(b.close), "", "", *traded, "F1", 1, "", "", "", "", ""))
    return _csv("udiff", rows)


def _market_caps(market: Market) -> Files:
    for n, t in enumerate(_month_ends(market.days)[-6:]):
        day, old = market.days[t], n < 3  # the exchange changed the spelling of names and dates during 2025
        names = [f"MCAP{day:%d%m%Y}.csv", f"Pr{day:%d%m%y}.csv", f"Bc{day:%d%m%y}.csv", "Readme.txt"]
        if not old:
            names = [f"mcap{day:%d%m%Y}.csv", f"pr{day:%d%m%Y}.csv", f"bc{day:%d%m%Y}.csv", "Readme.txt"]
        contents = [_mcap(market, t), _prices(market, t), _corporate_actions(market, t, old), b"Invented.\r\n"]
        members = dict(zip(names, contents, strict=True))
        if n == 0:  # packed again on a Mac
            members = {f"PR{day:%d%m%y}/{name}": content for name, content in members.items()}
            members |= {f"__MACOSX/PR{day:%d%m%y}/._{name}": b"\0\5\x16\7" + b"\0" * 20 for name in names}
        yield f"market_cap/PR{day:%d%m%y}.zip", _zip(members)


def _mcap(market: Market, t: int) -> bytes:
    def spaced(day: date) -> str:
        return f"{day:%d %b %Y}".upper()

    lines = []
    for i in market.listed(t, "SME", *KINDS):
        days = np.flatnonzero(market.traded[: t + 1, i])
        last_traded = spaced(market.days[days[-1]]) if len(days) else "Not Traded "
        lines.append((market.roll[t][i], market.bar(t, i).close, last_traded))
    if t + 1 == len(market.days):
        ghost = Security("GHOSTCO", "Ghostra Company Limited", "EQ", "", market.days[0], 1_000_000, "")
        lines.append((ghost, 123_45, spaced(market.days[t])))

    totals = {"Listed": 0, "Permitted": 0, "Total": 0}
    rows: list[Row] = []
    for s, close, last_traded in sorted(lines, key=lambda line: line[0].symbol):
        value = s.shares * close
        totals[s.category] += value
        totals["Total"] += value
        words = (s.symbol, s.series, f"{s.name.upper()[:25]:25}", f"{s.category:10}", last_traded)
        figures = (f"{s.face:16}.00", f"{s.shares:18}", f"{_rupees(close):>18}", f"{_rupees(value):>18}")
        rows.append((spaced(market.days[t]), *words, *figures[:-1], figures[-1] + " " * (10 - len(s.symbol))))
    for name, total in totals.items():
        words = (f"{name:10}", " " * 2, " " * 25, " " * 10, " " * 11)
        figures = (f"{0:16}.00", f"{0:18}", f"{0:15}.00", f"{_rupees(total):>18}")
        rows.append((spaced(market.days[t]), *words, *figures))
    return _csv("market_cap", rows)


def _prices(market: Market, t: int) -> bytes:
    rows: list[Row] = []
    for name, values in _index_values(market, t).items():
        rows.append(("Y", name, *(f"{v:13.2f}" for v in values), "0.00", 0, "Y", " ", 0, f"{0:13.2f}", f"{0:13.2f}"))
    rows += [[" "] * 14, [" ", "NIFTY 50 Sec", *[" "] * 12]]
    for i in market.trading(t):
        b, year = market.bar(t, i), slice(max(0, t - 250), t + 1)
        prices = (b.prev, b.open, b.high, b.low, b.close)
        extremes = (int(market.bars[year, i, 2].max()), int(market.bars[year, i, 3].min()))
        cells = [f"{_rupees(price):>13}" for price in prices + extremes]
        traded = (f"{_rupees(b.volume * b.average):>28}", b.volume, "Y", " ", b.trades)
        rows.append(("N", market.roll[t][i].name.upper()[:25], *cells[:5], *traded, *cells[5:]))
    return _csv("prices", rows)


def _corporate_actions(market: Market, t: int, old: bool) -> bytes:
    """What goes ex in the next five sessions; one row per series, as the exchange prints it. And two bonds."""
    rows: list[Row] = []
    paid = f"{market.days[t]:%d/%m/%Y}" if old else f"{market.days[t]}"
    none = " " if old else ""
    for series, symbol in (("N0", "912ZF29"), ("", "850ZF27")):  # the series of some bonds is blank
        rows.append(
            (series, symbol, f"{symbol[:3]} ZF Sec Re NCD", paid, none, none, paid, *(none, none), "INTEREST PAYMENT")
        )
    for ex, i, purpose in ((t + 1, 0, "INTDIV - RS 2 PER SH"), *market.actions):
        if t < ex <= t + 5 and ex < len(market.days):
            s, day = market.roll[t][i], market.days[ex]
            text, none, words = (f"{day:%d/%m/%Y}", " ", f"{purpose:25}") if old else (f"{day}", "", purpose)
            what = (s.symbol, s.name[:25], text, none, none, text, none, none, words)
            rows += [("BE", *what), ("EQ", *what)]
    content = _csv("corporate_actions", rows)
    return content.replace(b"\n", b"\r\n") if old else content


def _action_downloads(market: Market) -> Files:
    """The website's two downloads, in their own words and under the names of the last day; and factors by hand."""
    last = {i: market.roll[-1][i] for _, i, _ in market.actions}
    ex = {purpose.split()[0]: (market.days[t], last[i]) for t, i, purpose in market.actions}
    zel = next(s for s in market.roll[-1] if s.symbol == "ZEL-AUTO")
    rows: list[Row] = []
    for (day, s), subject in (
        (ex["FVSPLT"], "Face Value Split (Sub-Division) - From Rs 10/- Per Share To Rs 2/- Per Share"),
        (ex["DEMERGER"], "Demerger"),
        ((market.days[-3], zel), "Annual General Meeting"),
        ((market.days[-2], zel), "Interim Dividend - Rs 2 Per Share"),
    ):
        when = f"{day:%d-%b-%Y}"
        rows.append((s.symbol, "EQ", "-", s.face, subject, when, when, *("-",) * 3, s.name, s.isin, "-", ""))
    yield "corporate_actions/CA-equities.csv", _csv("actions_api", rows, back=1)

    lines = [HEADERS["actions_web"]]
    for (day, s), purpose in (
        (ex["BONUS"], " Bonus 1:1"),
        (ex["FVSPLT"], "Agm/Fv Split Rs.10/- To Rs.2/"),
        ((market.days[-4], zel), "Spl Div-Rs.8/- Per Share"),
    ):
        when = f"{day:%d-%b-%Y}"
        lines.append(",".join(f'"{cell}"' for cell in (s.symbol, s.name, "EQ", purpose, s.face, when, when, "-", "-")))
    span = f"{market.days[0]:%d-%m-%Y}-to-{market.days[-1]:%d-%m-%Y}"
    yield f"corporate_actions/CF-CA-equities-{span}.csv", "\n".join(lines).encode("utf-8-sig")

    day, s = ex["DEMERGER"]
    reason = "demerger: a fifth of the value left with the new company"
    yield "corporate_actions/manual_factors.csv", _csv("manual_factors", [(s.symbol, day, _KEPT, 1, reason)])


def _deals(market: Market) -> Files:
    """Six days of bulk and block deals, and the website's download of the first three of the bulk ones."""
    rng = np.random.default_rng([market.seed, 1])
    mover = next(i for i, s in enumerate(market.roll[0]) if s.symbol == "MOVEDCO")
    history: list[Row] = []
    for back in range(6, 0, -1):
        t = len(market.days) - back
        day, folder = _upper(market.days[t]), f"deals/{market.days[t]:%Y%m%d}"
        others = [int(i) for i in rng.permutation(market.trading(t)) if i != mover]
        bulk = _day_of_deals(market, t, [mover, *others[:9]], rng)
        block = _day_of_deals(market, t, others[9:11], rng)
        if back == 5:
            bulk.insert(1, bulk[0])  # two truly identical deals
        if back == 1:
            bulk.append((day, "GHOSTCO", "Ghostra Company Limited", CLIENTS[0], "BUY", 5000, "123.45"))
        if back > 3:
            history += bulk
        nothing = b"NO RECORDS,,,,,,"
        contents = {1: nothing, 2: _csv("block", []) + nothing + b"\n"}
        yield f"{folder}/bulk.csv", _csv("bulk", [(*deal, "-") for deal in bulk], back=back)
        yield f"{folder}/block.csv", contents.get(back) or _csv("block", block)

    lines = [HEADERS["deals_history"]]
    for *words, quantity, price in history:
        cells = (*words, _indian(str(quantity)), _indian(str(price)), "-")
        lines.append(",".join(f'"{cell}"' for cell in cells))
    span = f"{market.days[-6]:%d-%m-%Y}-to-{market.days[-4]:%d-%m-%Y}"
    yield f"deals/history/Bulk-Deals-{span}.csv", "\n".join(lines).encode("utf-8-sig")


def _day_of_deals(market: Market, t: int, chosen: list[int], rng: np.random.Generator) -> list[Row]:
    deals: list[Row] = []
    for s, b in sorted(((market.roll[t][i], market.bar(t, i)) for i in chosen), key=lambda line: line[0].symbol):
        for client, side in zip(rng.permutation(CLIENTS).tolist(), ("BUY", "SELL"), strict=False):
            quantity = max(1, int(b.volume * rng.uniform(0.05, 0.4)))
            deals.append((_upper(market.days[t]), s.symbol, s.name[:25], client, side, quantity, _rupees(b.average)))
    return deals


def _surveillance(market: Market) -> Files:
    columns = HEADERS["surveillance"].split(",")
    clear = ["" if column.startswith("Filler") else "100" for column in columns]
    flags = [(next(c for c, column in enumerate(columns) if part in column), code) for part, code in FLAGS]
    for back in (22, 1):
        t = len(market.days) - back
        rows: list[Row] = []
        for n, i in enumerate(market.listed(t, "SME", *KINDS)):
            s = market.roll[t][i]
            row = ["NA", s.symbol, "Y" if s.kind == "SME" else "N", "A", s.series, *clear[5:]]
            for f, (column, code) in enumerate(flags):
                if (n + f * 3 + t) % (len(flags) * 2) == 0:
                    row[column] = code
            if s.series == "BZ":
                row[columns.index("Under BZ/SZ Series")] = "0"
            rows.append(row)
        content = _csv("surveillance", rows, back=back).rstrip(b"\n")
        yield f"surveillance/REG1_IND{market.days[t]:%d%m%y}.csv", content


def _industry(market: Market) -> Files:
    """The website's old API for twenty symbols and its new one for two; the last of each is not classified."""
    for n, i in enumerate(sorted(market.listed(-1, *KINDS))[:22]):
        s, price = market.roll[-1][i], market.bar(-1, i).close / 100
        stamp = f"{market.days[-1]:%d-%b-%Y} 16:00:00"
        if n < 20:
            quote = _old_quote(s, price, stamp, KINDS[s.kind][1:] if n < 19 else ("-",) * 4)
            yield f"industry/quote-equity-{s.symbol}.json", _json(quote)
        else:
            quote = _new_quote(s, price, stamp, KINDS[s.kind][1:] if n < 21 else ("-", "-", "-", None))
            yield f"industry/getSymbolData-{s.symbol}.json", _json(quote, indent=2)


def _old_quote(s: Security, price: float, stamp: str, levels: Sequence[str | None]) -> dict[str, Any]:
    who = {"symbol": s.symbol, "isin": s.isin, "industry": levels[-1]}
    return {
        "info": {**who, "companyName": s.name, "listingDate": f"{s.listed}", "segment": "EQUITY"},
        "metadata": {**who, "series": s.series, "status": "Listed", "lastUpdateTime": stamp},
        "securityInfo": {"faceValue": s.face, "issuedSize": s.shares},
        "priceInfo": {"lastPrice": price, "lowerCP": f"{price * 0.9:.2f}", "upperCP": f"{price * 1.1:.2f}"},
        "industryInfo": dict(zip(("macro", "sector", "industry", "basicIndustry"), levels, strict=True)),
    }


def _new_quote(s: Security, price: float, stamp: str, levels: Sequence[str | None]) -> dict[str, Any]:
    answer = {
        "metaData": {"companyName": s.name.upper(), "isinCode": s.isin, "symbol": s.symbol, "series": s.series},
        "tradeInfo": {"issuedSize": s.shares, "faceValue": s.face, "totalMarketCap": s.shares * price},
        "secInfo": dict(zip(("macro", "sector", "industryInfo", "basicIndustry"), levels, strict=True)),
        "lastUpdateTime": stamp,
    }
    return {"equityResponse": [answer]}


def _index_values(market: Market, t: int) -> dict[str, tuple[float, float, float, float, float]]:
    """Previous close, open, high, low, close of each index."""
    before, after = float(market.mood[:t].sum()), float(market.mood[: t + 1].sum())
    values = {}
    for name, (first, swing) in INDICES.items():
        prev, close = (round(first * float(np.exp(swing * level)), 2) for level in (before, after))
        open_, edge = round(prev + (close - prev) / 4, 2), round(first * 0.002, 2)
        values[name] = (prev, open_, max(open_, close) + edge, min(open_, close) - edge, close)
    return values


def _indices(market: Market) -> Files:
    def bare(value: float) -> str:  # no trailing zeros, and no zero before the point
        text = f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")
        return text.replace("0.", ".", 1) if abs(value) < 1 else text

    for t, day in enumerate(market.days):
        rows: list[Row] = []
        for n, (name, (prev, *ohlc)) in enumerate(_index_values(market, t).items(), start=1):
            close = ohlc[-1]
            values = [bare(value) for value in (*ohlc, close - prev, 100 * (close / prev - 1))]
            rest: Row = (200_000_000 // n + t, bare(29_000 / n), "22.5", "3.71", ".84")
            if " TR " in name:
                values[:3] = ["-"] * 3
            if " TR " in name or name == "India VIX":
                rest = ["-"] * 5
            rows.append((name, f"{day:%d-%m-%Y}", *values, *rest))
        yield f"indices/ind_close_all_{day:%d%m%Y}.csv", _csv("indices", rows)


def _holidays(market: Market) -> Files:
    """The whole of each year the market touches, in Upstox's shape and in NSE's."""
    entries = [_holiday(day, name, "TRADING_HOLIDAY", closed=EXCHANGES) for day, name in CLOSED.items()]
    entries += [_holiday(day, name, "SETTLEMENT_HOLIDAY") for day, name in SETTLEMENT.items()]
    for day, (name, kind, opens, closes) in OPEN_ANYWAY.items():
        open_ = EXCHANGES if day.weekday() < 5 else ("NSE", "NFO", "BSE", "BFO")
        hours = {"start_time": _epoch(day, opens), "end_time": _epoch(day, closes)}
        closed = [exchange for exchange in EXCHANGES if exchange not in open_]
        entries.append(_holiday(day, name, kind, closed, [{"exchange": exchange, **hours} for exchange in open_]))
    entries.sort(key=lambda entry: str(entry["date"]))
    for year in sorted({day.year for day in market.days}):
        chosen = [entry for entry in entries if entry["date"].startswith(str(year))]
        yield f"holidays/upstox_holidays_{year}.json", _json({"status": "success", "data": chosen})

        shut = [
            {"tradingDate": f"{day:%d-%b-%Y}", "weekDay": f"{day:%A}", "description": name}
            for day, name in CLOSED.items()
            if day.year == year
        ]
        numbered = [{**holiday, "Sr_no": n} for n, holiday in enumerate(shut, start=1)]
        segments = ("CBM", "CD", "CM", "CMOT", "COM", "FO", "IRD", "MF", "NDM", "NTRP", "SLBS")
        yield f"holidays/holiday-master-{year}.json", _json(dict.fromkeys(segments, numbered), indent=2)


def _holiday(
    day: date, name: str, kind: str, closed: Sequence[str] = (), hours: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    what = {"date": f"{day}", "description": name, "holiday_type": kind}
    return {**what, "closed_exchanges": closed, "open_exchanges": hours}


def _symbol_changes(market: Market) -> Files:
    day = _upper(market.days[len(market.days) * 7 // 10])
    lines = [
        "Korvane Textiles – Rights,KORVANTEX,KORVATEX,12-JAN-2016",
        ",780LTZL30,799LTZL30,19-FEB-2024",
        f"Newnamra Ventures Limited,OLDNAME,NEWNAME,{day}",
    ]
    yield "symbol_changes/symbolchange.csv", "".join(f"{line}\n" for line in lines).encode("cp1252")
    rows = [
        ("KORVATEX", "Korvane Textiles Limited", "Korvane Weaves Limited", "12-JAN-2016"),
        ("NEWNAME", "Oldnamra Ventures Limited", "Newnamra Ventures Limited", day),
    ]
    yield "symbol_changes/namechange.csv", _csv("name_changes", rows)


def _upstox(market: Market) -> Files:
    """Candles of two securities without corporate actions, so that they agree with the bhavcopies; three quotes."""
    plain = [i for i in market.listed(-1, *KINDS) if i >= len(SPECIALS) and market.traded[:, i].all()]
    for i in plain[:2]:
        candles = []
        for t in reversed(range(len(market.days))):
            b = market.bar(t, i)
            prices = [price / 100 for price in (b.open, b.high, b.low, b.close)]
            candles.append([f"{market.days[t]}T00:00:00+05:30", *prices, b.volume, 0])
        name = f"upstox/candles_{market.roll[-1][i].symbol}.json"
        yield name, _json({"status": "success", "data": {"candles": candles}})

    quotes = {f"NSE_EQ:{market.roll[-1][i].symbol}": _quote(market, i) for i in plain[:3]}
    yield f"upstox/quotes_{market.days[-1]:%Y%m%d}.json", _json({"status": "success", "data": quotes})


def _quote(market: Market, i: int) -> dict[str, Any]:
    s, b, day = market.roll[-1][i], market.bar(-1, i), market.days[-1]
    none = {"quantity": 0, "price": 0, "orders": 0}
    best = {"quantity": 250, "price": b.close / 100, "orders": 3}
    return {
        "ohlc": {"open": b.open / 100, "high": b.high / 100, "low": b.low / 100, "close": b.close / 100},
        "depth": {"buy": [best, *[none] * 4], "sell": [none] * 5},
        "timestamp": f"{day}T16:05:51.099+05:30",
        "instrument_token": f"NSE_EQ|{s.isin}",
        "symbol": s.symbol,
        "last_price": float(np.float32(b.close / 100)),  # single precision, as the API hands it on
        "volume": b.volume,
        "average_price": b.average / 100,
        "oi": 0,
        "net_change": b.close / 100 - b.prev / 100,
        "total_buy_quantity": 250,
        "total_sell_quantity": 0,
        "lower_circuit_limit": round(b.prev * 0.008, 1),
        "upper_circuit_limit": round(b.prev * 0.012, 1),
        "last_trade_time": str(_epoch(day, time(15, 29, 58))),
        "oi_day_high": 0,
        "oi_day_low": 0,
    }


# ── Spelling ────────────────────────────────────────────────────────────────────────────────────────────────────


def _csv(
    kind: str, rows: Iterable[Row], *, separator: str = ",", encoding: str = "utf-8", back: int | None = None
) -> bytes:
    """Header and rows of one kind of file, soiled as `DIRT` declares for the session so far back."""
    columns = [column.strip() for column in HEADERS[kind].split(",")]
    dirt = [d for d in DIRT if (d.kind, d.back) == (kind, back)]
    lines = [HEADERS[kind]]
    for row in rows:
        cells = [str(cell) for cell in row]
        for d in [d for d in dirt if d.symbol in cells[:2]]:
            at = columns.index(d.column)
            cells[at:] = [] if d.value is None else [d.value, *cells[at + 1 :]]
            dirt.remove(d)  # one row is enough
        lines.append(separator.join(cells))
    return "".join(f"{line}\n" for line in lines).encode(encoding)


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name, (2025, 6, 30, 18, 0, 0))  # one moment for all, or the bytes would change
            member.compress_type, member.create_system = zipfile.ZIP_DEFLATED, 3
            archive.writestr(member, content)
    return buffer.getvalue()


def _json(value: object, indent: int | None = None) -> bytes:
    separators = (",", ":") if indent is None else None
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators).encode()


def _rupees(paise: int) -> str:
    return f"{paise // 100}.{paise % 100:02d}"


def _indian(number: str) -> str:
    """`12058807` becomes `1,20,58,807`: the last three digits, pairs before them."""
    whole, point, decimals = number.partition(".")
    pairs = [whole[:-3][max(0, end - 2) : end] for end in range(len(whole) - 3, 0, -2)]
    return ",".join([*reversed(pairs), whole[-3:]]) + point + decimals


def _upper(day: date) -> str:
    return f"{day:%d-%b-%Y}".upper()


def _epoch(day: date, clock: time) -> int:
    return int(datetime.combine(day, clock, IST).timestamp() * 1000)
