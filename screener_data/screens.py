"""Screens: which equities satisfied a condition on a session, by what was known then.

All columns are declared here, once: what they are, where they come from, and the SQL that fetches them. A screen
fetches what its condition and its columns mention, for every equity with a bar on the session, and nothing of a later
date. What has no date in the database is as it is today: symbols (a rename moves the history), names, series, sectors.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Engine, text

from screener_data.adjust import days_of_actions
from screener_data.arguments import Day, as_day, require_known
from screener_data.conditions import Condition, Kind
from screener_data.database.engine import ready
from screener_data.errors import UsageError

__all__ = ["COLUMNS", "SCREENS", "Column", "Screen", "screen", "screens"]

#: Sessions of the windows in which deals are summed and counted, the screened one included.
_DEAL_SESSIONS, _COUNT_SESSIONS = 20, 5
#: Days of the 52 weeks, the screened session's included.
_YEAR = 364
_OF_YEAR = "ohlcv_daily, 52 weeks"
_FEW = 0.3  # of the symbols: their bars are looked up one symbol after the other
_ONE_DAY = dt.timedelta(days=1)


# --- columns --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """One column of screens. `source`: the table it comes of, a key of `_SOURCES`; `sql`: how, in terms of its alias.

    `measures` are the surveillance measures of which a flag tells that one is in force.
    """

    name: str
    kind: Kind
    unit: str
    source: str
    meaning: str
    sql: str
    measures: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Source:
    """Where columns come from: the join, and a query that tells whether anything is stored as of :day."""

    join: str
    stored: str
    missing: str


def _deals(table: str, alias: str) -> _Source:
    kind = table.removesuffix("_deals")
    return _Source(
        f"LEFT JOIN (SELECT symbol, sum(quantity * price) FILTER (WHERE deal_type = 'BUY') AS bought, "
        "sum(quantity * price) FILTER (WHERE deal_type = 'SELL') AS sold, "
        f"count(*) FILTER (WHERE date >= :since_5) AS deals FROM {table} "
        f"WHERE date >= :since_20 AND date <= :day GROUP BY symbol) {alias} ON {alias}.symbol = b.symbol",
        f"SELECT EXISTS (SELECT FROM {table} WHERE date >= :since_20 AND date <= :day)",
        f"no {kind} deals of the {_DEAL_SESSIONS} sessions up to {{day}} are stored: load the exchange's {kind}.csv",
    )


_SOURCES = {
    "securities": _Source("", "", ""),
    "ohlcv_daily": _Source("", "", ""),
    "calculated_metrics": _Source(
        "LEFT JOIN calculated_metrics m ON m.symbol = b.symbol AND m.date = b.date",
        "SELECT EXISTS (SELECT FROM calculated_metrics WHERE date = :day)",
        "no metrics of {day} are stored: run `screener-data metrics`",
    ),
    _OF_YEAR: _Source(
        # without an ex-date in the year the plain extremes, else those of the parts between, each with its factor
        "LEFT JOIN (SELECT symbol, max(high) AS high, min(low) AS low FROM ohlcv_daily "
        "WHERE date > :year_ago AND date <= :day AND symbol <> ALL(CAST(:symbols AS text[])) "
        "AND (CAST(:candidates AS text[]) IS NULL OR symbol = ANY(:candidates)) GROUP BY symbol "
        "UNION ALL SELECT o.symbol, max(o.high * f.factor), min(o.low * f.factor) "
        "FROM unnest(CAST(:symbols AS text[]), CAST(:firsts AS date[]), CAST(:lasts AS date[]), "
        "CAST(:factors AS float8[])) AS f (symbol, first, last, factor) "
        "JOIN ohlcv_daily o ON o.symbol = f.symbol AND o.date >= f.first AND o.date <= f.last "
        "WHERE CAST(:candidates AS text[]) IS NULL OR f.symbol = ANY(:candidates) GROUP BY o.symbol) y "
        "ON y.symbol = b.symbol AND EXISTS (SELECT FROM ohlcv_daily p "
        "WHERE p.symbol = b.symbol AND p.date <= :year_ago)",
        "",
        "",
    ),
    "market_cap_history": _Source(
        "LEFT JOIN LATERAL (SELECT h.date, h.market_cap FROM market_cap_history h "
        "WHERE h.symbol = b.symbol AND h.date <= :day ORDER BY h.date DESC LIMIT 1) c ON true",
        "SELECT EXISTS (SELECT FROM market_cap_history WHERE date <= :day)",
        "no market capitalisation up to {day} is stored: load the exchange's PR zips, or their MCAP*.csv",
    ),
    "industry_classification": _Source(
        "LEFT JOIN industry_classification i ON i.symbol = b.symbol",
        "SELECT EXISTS (SELECT FROM industry_classification)",
        "no industries are stored: load the exchange's quote-equity*.json",
    ),
    "surveillance_measures": _Source(
        "LEFT JOIN (SELECT symbol, array_agg(CAST(measure_type AS text)) AS measures FROM surveillance_measures "
        "WHERE date = :listed GROUP BY symbol) v ON v.symbol = b.symbol",
        "SELECT EXISTS (SELECT FROM surveillance_measures WHERE date <= :day)",
        "no surveillance list up to {day} is stored: load the exchange's REG1_IND*.csv",
    ),
    "bulk_deals": _deals("bulk_deals", "u"),
    "block_deals": _deals("block_deals", "k"),
}


def _bar(name: str, unit: str, meaning: str, sql: str | None = None) -> Column:
    return Column(name, "number", unit, "ohlcv_daily", meaning, sql or f"b.{name}")


def _metric(name: str, unit: str, meaning: str) -> Column:
    return Column(name, "number", unit, "calculated_metrics", meaning, f"m.{name}")


def _of_year(name: str, unit: str, meaning: str, sql: str) -> Column:
    return Column(name, "number", unit, _OF_YEAR, meaning, sql)


def _text(name: str, source: str, meaning: str, alias: str) -> Column:
    return Column(name, "text", "", source, meaning, f"{alias}.{name}")


def _of_deals(kind: str, alias: str) -> tuple[Column, ...]:
    source, days = f"{kind}_deals", f"in the last {_DEAL_SESSIONS} sessions"
    return (
        Column(
            f"{kind}_buy_value_20",
            "number",
            "₹",
            source,
            f"bought in {kind} deals {days}",
            f"coalesce({alias}.bought, 0)",
        ),
        Column(
            f"{kind}_sell_value_20", "number", "₹", source, f"sold in {kind} deals {days}", f"coalesce({alias}.sold, 0)"
        ),
        Column(
            f"{kind}_deal_count_5",
            "number",
            "rows",
            source,
            f"{kind} deals in the last {_COUNT_SESSIONS} sessions, each client's side counted",
            f"coalesce({alias}.deals, 0)",
        ),
    )


def _measure(name: str, meaning: str, *measures: str) -> Column:
    sql = f"coalesce(v.measures && CAST(:{name} AS text[]), false)"
    return Column(name, "flag", "", "surveillance_measures", meaning, sql, measures)


def _moves(what: str, *spans: str) -> tuple[str, ...]:
    return tuple(f"{what} {span}" for span in spans)


_DECLARED: tuple[Column, ...] = (
    _text("symbol", "securities", "the name on the exchange, of today", "s"),
    _text("security_name", "securities", "the company's name, of today", "s"),
    _text("series", "securities", "EQ, BE, BZ, SM, ST …, of today", "s"),
    Column(
        "days_listed", "number", "days", "securities", "since the listing date", "CAST(:day AS date) - s.listing_date"
    ),
    _text("macro", "industry_classification", "the widest of NSE's four levels, of today", "i"),
    _text("sector", "industry_classification", "the second level, of today", "i"),
    _text("industry", "industry_classification", "the third level, of today", "i"),
    _text("basic_industry", "industry_classification", "the narrowest level, of today", "i"),
    _bar("open", "₹", "as published, as are all prices of the day"),
    _bar("high", "₹", "of the day"),
    _bar("low", "₹", "of the day"),
    _bar("close", "₹", "of the day"),
    _bar("prev_close", "₹", "the close before, as the exchange gives it (adjusted on an ex-date)"),
    _bar("change_pct", "%", "close against prev_close"),
    _bar("volume", "shares", "traded on the day"),
    _bar("vwap", "₹", "the day's average price, weighted by volume"),
    _bar("turnover", "₹", "value traded: vwap × volume", "b.vwap * b.volume"),
    _of_year("high_52w", "₹", "highest high of 52 weeks, adjusted to the day's shares", "y.high"),
    _of_year("low_52w", "₹", "lowest low of 52 weeks, adjusted to the day's shares", "y.low"),
    _of_year("pct_off_high", "%", "how far the close is below high_52w; 0 at the high", "100 * (1 - b.close / y.high)"),
    _of_year("pct_above_low", "%", "how far the close is above low_52w", "100 * (b.close / nullif(y.low, 0) - 1)"),
    _metric("rs_rating", "0–100", "relative strength: rank of the year's performance, the last quarter twice"),
    _metric("vars_value", "ATR", "volatility-adjusted relative strength against the benchmark, 50 sessions"),
    _metric("atr", "₹", "average true range (Wilder, 14)"),
    _metric("atr_pct", "%", "atr against the close"),
    _metric("stage", "1–4", "Weinstein's stage: 1 basing, 2 advancing, 3 topping, 4 declining"),
    _metric("vcp_score", "0–100", "volatility contraction pattern; valid patterns have 50 or more"),
    _metric("vol_20d_avg", "shares", "mean volume of 20 sessions, the day included"),
    _metric("vol_vs_avg_pct", "%", "the day's volume above (or below) the mean of the 20 sessions before"),
    _metric("ma_10", "₹", "mean close of 10 sessions, in the day's shares"),
    _metric("ma_20", "₹", "mean close of 20 sessions, in the day's shares"),
    _metric("ma_50", "₹", "mean close of 50 sessions, in the day's shares"),
    _metric("ma_200", "₹", "mean close of 200 sessions, in the day's shares"),
    Column("market_cap", "number", "₹ crore", "market_cap_history", "the day's, or the last before it", "c.market_cap"),
    Column(
        "market_cap_age",
        "number",
        "days",
        "market_cap_history",
        "how old market_cap is; 0 for the day's own",
        "CAST(:day AS date) - c.date",
    ),
    *_of_deals("bulk", "u"),
    *_of_deals("block", "k"),
    Column(
        "surveillance",
        "flag",
        "",
        "surveillance_measures",
        "any measure at all in the day's list, or in the last before it",
        "v.symbol IS NOT NULL",
    ),
    Column(
        "surveillance_age",
        "number",
        "days",
        "surveillance_measures",
        "how old that list is; 0 for the day's own",
        "CAST(:day AS date) - CAST(:listed AS date)",
    ),
    _measure("gsm", "graded surveillance", *(f"GSM Stage {stage}" for stage in (0, 1, 2, 3, 4, 6))),
    _measure("asm_long", "additional surveillance, long term", *_moves("Long Term ASM Stage", *"1234")),
    _measure("asm_short", "additional surveillance, short term", *_moves("Short Term ASM Stage", *"12")),
    _measure("esm", "enhanced surveillance", *_moves("ESM Stage", *"12")),
    _measure("insolvency", "insolvency resolution", "IRP Disclosure", *_moves("IRP IBC Stage", *"12")),
    _measure("default", "default on debt", "Default Disclosure", "Default Surveillance Measure"),
    _measure("ica", "inter-creditor agreement", "ICA Identified", "ICA Surveillance Measure"),
    _measure("pledged", "high pledge of shares", "High Promoter Pledge", "Total Pledge", "Encumbered Over 50%"),
    _measure(
        "promoted",
        "unsolicited messages, social media",
        *("Unsolicited SMS For Information", "Unsolicited SMS Watchlist", "Social Media Platforms"),
    ),
    _measure("price_band", "add-on price band", "Add-on Price Band"),
    _measure("loss_making", "loss making", "Loss Making"),
    _measure("valuation", "P/E above 50, or no earnings, over four quarters", "PE Over 50", "EPS Zero"),
    _measure("non_compliant", "series BZ or SZ, or listing fee unpaid", "BZ/SZ Series", "Listing Fee Unpaid"),
    _measure("leaving_fno", "derivatives to be withdrawn", "Moving Out Of F&O"),
    _measure(
        "thinly_traded",
        "few traders, or an SME share without market maker or regular trade",
        *("Under 100 PANs In 30 Days", "SME Market Making Over", "SME Not Regularly Traded"),
    ),
    _measure(
        "close_move",
        "close moved far in a window from 5 sessions to 365 days",
        *_moves("Close Move", "25% In 5 Sessions", "40% In 15 Sessions", "100% In 60 Sessions", "25% In 15 Days"),
        *_moves("Close Move", "25% In 1 Month", "50% In 1 Month", "50% In 3 Months", "90% In 3 Months"),
        *_moves("Close Move", "75% In 6 Months", "100% In 365 Days", "200% In 365 Days"),
    ),
    _measure(
        "range_move",
        "high far above low in a window from 1 month to 365 days",
        *_moves("High-Low", "75% In 1 Month", "75% In 3 Months", "150% In 3 Months", "100% In 6 Months"),
        *_moves("High-Low", "150% In 12 Months", "200% In 365 Days", "300% In 365 Days"),
    ),
)

#: Every column that a screen can mention, by name.
COLUMNS: dict[str, Column] = {column.name: column for column in _DECLARED}
_KINDS: dict[str, Kind] = {column.name: column.kind for column in _DECLARED}


# --- ready screens --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Screen:
    """A ready screen: its condition, what it finds (and what stands for what is not stored), where it is from."""

    where: str
    meaning: str
    source: str


SCREENS: dict[str, Screen] = {
    "trend_template": Screen(
        "close > ma_50 > ma_200 and stage == 2 and pct_above_low >= 30 and pct_off_high <= 25 and rs_rating >= 70",
        "A long advance in order. The 150-day average and the 200-day one's rise are not stored: stage 2, the weekly "
        "close above a rising 30-week average, stands for both.",
        "Mark Minervini, Trade Like a Stock Market Wizard (2013), chapter 5, page 79",
    ),
    "club_97": Screen(
        "rs_rating >= 97",
        "The strongest three per cent of the year.",
        "a common name among users of William O'Neil's RS rating; How to Make Money in Stocks (4th edition, 2009) "
        "tells the rating",
    ),
    "stage_2_breakouts": Screen(
        "stage == 2 and pct_off_high <= 5 and change_pct > 0 and vol_vs_avg_pct >= 100",
        "Near the year's high in stage 2 on twice the usual volume. The day's volume against 20 sessions stands for "
        "the week's against four weeks, the year's high for the top of the base.",
        "Stan Weinstein, Secrets for Profiting in Bull and Bear Markets (1988); "
        "https://www.stageanalysis.net/blog/4372/stage-analysis-breakout-quality-checklist",
    ),
    "vcp_watchlist": Screen(
        "vcp_score >= 60 and stage == 2 and pct_off_high <= 25 and rs_rating >= 70",
        "Pullbacks that shrink, in an advance, not far from the high. How volume dries up is not stored, and nothing "
        "stands for it.",
        "Mark Minervini, Trade Like a Stock Market Wizard (2013), chapter 10",
    ),
    "volume_movers": Screen(
        "change_pct >= 4 and vol_vs_avg_pct > 0 and volume >= 100000",
        "Up 4 % or more on rising volume. The mean of 20 sessions stands for the volume of the day before.",
        "Pradeep Bonde, the 4 % breakout: http://stockbee.blogspot.com/2015/05/how-do-stock-move-on-3-to-5-day-time.html",
    ),
    "bought_and_strong": Screen(
        "bulk_buy_value_20 > bulk_sell_value_20 and rs_rating >= 80 and stage == 2 and not surveillance",
        "More bought than sold in bulk deals, in a strong advance, under no measure.",
        "ours",
    ),
}


def screens() -> pd.DataFrame:
    """The ready screens, in the order of SCREENS: columns name, where, meaning, source (all str).

    >>> import screener_data as sd
    >>> sd.screens()["name"].tolist()[:2]
    ['trend_template', 'club_97']
    """
    rows = [(name, ready_made.where, ready_made.meaning, ready_made.source) for name, ready_made in SCREENS.items()]
    return pd.DataFrame(rows, columns=["name", "where", "meaning", "source"], dtype="str")


# --- a screen -------------------------------------------------------------------------------------------------------


def screen(
    where: str,
    date: Day = None,
    *,
    columns: str | Sequence[str] | None = None,
    engine: Engine | None = None,
) -> pd.DataFrame:
    """The equities for which `where` holds on a session, strongest first: by rs_rating, unknown ones last, then symbol.

    `where`: the name of a ready screen (see `screens`), or a condition on COLUMNS: and, or, not, comparisons (also
    chains), + - * / on numbers, `in` with a list. Flags stand bare. Text is compared without regard to case. A
    comparison with an unknown value never holds, nor does its `not`. `date`: the session, default the last one that
    has metrics; nothing of a later date counts. All equities with a bar of that day are asked, also those delisted
    since. What the database keeps without a date (symbol, name, series, industry) is today's.

    Returns symbol, security_name, and `columns`, default those that the condition mentions in order: float64 in the
    units of COLUMNS with NaN for unknown, bool, str. `attrs` hold the date (a text) and the number of equities asked.
    Raises UsageError for a condition that cannot be read (it points at the place), for an unknown column or a day
    without a session (suggesting near ones), and where nothing is stored from which a column could be known.

    >>> import screener_data as sd
    >>> sd.screen("close > prev_close and not surveillance", date="2025-06-30").columns.tolist()
    ['symbol', 'security_name', 'close', 'prev_close', 'surveillance']
    """
    condition = _condition(where)
    chosen = [columns] if isinstance(columns, str) else list(columns if columns is not None else condition.names)
    for name in chosen:
        require_known(name, list(COLUMNS), "column")
    shown = list(dict.fromkeys(["symbol", "security_name", *chosen]))
    mentioned = dict.fromkeys([*shown, *condition.names])
    names = list(dict.fromkeys([*mentioned, "rs_rating"]))
    late = [name for name in names if COLUMNS[name].source == _OF_YEAR]
    engine = ready(engine)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:  # one state for all
        day = as_day(date) or _last_day(connection)
        _require_session(connection, day)
        values = {"day": day, **_windows(connection, day, {COLUMNS[name].source for name in mentioned})}
        _require_stored(connection, values, {COLUMNS[name].source for name in mentioned})
        found = _fetched(connection, values, [name for name in names if name not in late])
        rows = len(found["symbol"])
        if late:  # a year of bars takes long to look through, so only of those that can still be in the answer
            unknown = np.full(rows, np.nan)
            possible = condition.can_hold(found | dict.fromkeys(late, unknown), rows)
            values["candidates"] = found["symbol"][possible].tolist() if possible.mean() < _FEW else None
            found |= _fetched(connection, values, late)
    holds = condition.holds(found, rows)
    frame = pd.DataFrame({name: pd.Series(found[name], dtype=_DTYPES[_KINDS[name]]) for name in names})
    frame = frame[holds].sort_values(["rs_rating", "symbol"], ascending=[False, True], ignore_index=True)[shown]
    frame.attrs = {"date": day.isoformat(), "asked": rows}
    return frame


_DTYPES: dict[Kind, Any] = {"number": "float64", "flag": "bool", "text": "str"}
_SQL: dict[Kind, str] = {"number": "float8", "flag": "boolean", "text": "text"}
_NUMPY: dict[Kind, Any] = {"number": np.float64, "flag": np.bool_, "text": object}


def _condition(where: str) -> Condition:
    name = where.strip()
    if name in SCREENS:
        where = SCREENS[name].where
    elif name.isidentifier() and name not in COLUMNS:
        flags = [column.name for column in _DECLARED if column.kind == "flag"]
        require_known(name[:60], [*SCREENS, *flags], "ready screen or flag")
    return Condition(where, _KINDS)


def _last_day(connection: Connection) -> dt.date:
    day: dt.date | None = connection.execute(text("SELECT max(date) FROM calculated_metrics")).scalar()
    if day is None:
        raise UsageError("no metrics are stored: run `screener-data metrics`, or name a date")
    return day


_EQUITY_BARS = "ohlcv_daily b JOIN securities s ON s.symbol = b.symbol AND s.security_type = 'EQUITY'"


def _require_session(connection: Connection, day: dt.date) -> None:
    bar = f"SELECT b.date FROM {_EQUITY_BARS} WHERE b.date"
    if connection.execute(text(f"{bar} = :day LIMIT 1"), {"day": day}).scalar() is None:
        near = connection.execute(
            text(f"({bar} < :day ORDER BY 1 DESC LIMIT 1) UNION ALL ({bar} > :day ORDER BY 1 LIMIT 1)"), {"day": day}
        ).scalars()
        shown = " and ".join(str(each) for each in near)
        raise UsageError(f"no equity has a bar on {day}; the nearest sessions: {shown or 'none are stored'}")


def _windows(connection: Connection, day: dt.date, sources: Iterable[str]) -> dict[str, Any]:
    """The days on which the sources' windows begin, and what else their joins ask for."""
    values: dict[str, Any] = {}
    if {"bulk_deals", "block_deals"} & set(sources):
        days = _last_sessions(connection, day, _DEAL_SESSIONS)
        values |= {"since_20": days[-1], "since_5": days[_COUNT_SESSIONS - 1]}
    if "surveillance_measures" in sources:
        last = text("SELECT max(date) FROM surveillance_measures WHERE date <= :day")
        values["listed"] = connection.execute(last, {"day": day}).scalar()
    if _OF_YEAR in sources:
        year_ago = day - dt.timedelta(days=_YEAR)
        values |= {"year_ago": year_ago, **_factors(connection, year_ago, day)}
    return values


def _last_sessions(connection: Connection, day: dt.date, count: int) -> list[dt.date]:
    """So many sessions up to the day, the last one first: a look into the index for each."""
    found = connection.execute(
        text(
            "WITH RECURSIVE sessions (date, n) AS (SELECT CAST(:day AS date), 1 UNION ALL SELECT (SELECT b.date "
            f"FROM {_EQUITY_BARS} WHERE b.date < sessions.date ORDER BY b.date DESC LIMIT 1), n + 1 "
            "FROM sessions WHERE n < :count AND date IS NOT NULL) SELECT date FROM sessions WHERE date IS NOT NULL"
        ),
        {"day": day, "count": count},
    )
    days = list(found.scalars())
    if len(days) < count:
        raise UsageError(f"deals are summed over {count} sessions, and up to {day} only {len(days)} are stored")
    return days


def _factors(connection: Connection, year_ago: dt.date, day: dt.date) -> dict[str, list[Any]]:
    """What makes the year's prices comparable with the day's, of symbols with ex-dates in it: one factor per part."""
    acted = text("SELECT DISTINCT symbol FROM corporate_actions WHERE ex_date > :year_ago AND ex_date <= :day")
    symbols = connection.execute(acted, {"year_ago": year_ago, "day": day}).scalars().all()
    steps = [step for step in days_of_actions(connection, symbols) if year_ago < step.ex_date <= day]
    parts: dict[str, list[Any]] = {"symbols": [], "firsts": [], "lasts": [], "factors": []}
    for symbol, group in groupby(steps, key=attrgetter("symbol")):
        last, factor = day, Fraction(1)
        for step in reversed([*group]):  # from the day backwards: each ex-date multiplies what lies before it
            _append(parts, symbol, step.ex_date, last, float(factor))
            last, factor = step.ex_date - _ONE_DAY, factor * step.price
        _append(parts, symbol, year_ago + _ONE_DAY, last, float(factor))
    return parts


def _append(lists: dict[str, list[Any]], *values: Any) -> None:
    for each, value in zip(lists.values(), values, strict=True):
        each.append(value)


def _require_stored(connection: Connection, values: dict[str, Any], sources: Iterable[str]) -> None:
    for source in sorted(sources):
        asked = _SOURCES[source]
        if asked.stored and not connection.execute(text(asked.stored), values).scalar():
            raise UsageError(asked.missing.format(day=values["day"]))


def _fetched(connection: Connection, values: dict[str, Any], names: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
    """The named columns of every equity with a bar on the day, each an array; always in the same order."""
    wanted = [COLUMNS[name] for name in names]
    selected = ", ".join(f"CAST({column.sql} AS {_SQL[column.kind]})" for column in wanted)
    joins = " ".join(_SOURCES[source].join for source in sorted({column.source for column in wanted}))
    measures = {column.name: list(column.measures) for column in wanted if column.measures}
    rows = connection.execute(
        text(f"SELECT {selected} FROM {_EQUITY_BARS} {joins} WHERE b.date = :day ORDER BY b.id"), values | measures
    ).all()
    cells = zip(*rows, strict=True)
    return {column.name: np.array(each, _NUMPY[column.kind]) for column, each in zip(wanted, cells, strict=True)}
