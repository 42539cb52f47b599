"""Who was called what, who was listed, and who was in an index: on any day, as far as dated lists tell."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Engine, text

from screener_data.arguments import Day, as_day, require_known
from screener_data.database.engine import ready
from screener_data.database.identity import known_lineages
from screener_data.errors import UsageError
from screener_data.lineage import Lineage
from screener_data.loaders.format import fold

__all__ = ["identity", "symbol_on", "universe"]


def identity(symbol: str, *, engine: Engine | None = None) -> pd.DataFrame:
    """Every name and ISIN of the security that bears or bore `symbol`, oldest first.

    Columns: security (its symbol of today), symbol, isin, valid_from, valid_until (datetime64[s], exclusive; NaT: not
    known, or not ended), known_by (the list that shows the name, or the exchange's symbol changes), dated_by (what
    tells valid_until: the changes, to the day; or the first list without the name, so that it ended by then). Where
    several securities bore the name, one after the other, the rows of all. Raises UsageError, which suggests near
    names, for a symbol that no list and no change of a listed security tells.

    >>> import screener_data as sd
    >>> sd.identity("OLDNAME")[["security", "symbol"]].values.tolist()
    [['NEWNAME', 'OLDNAME'], ['NEWNAME', 'NEWNAME']]
    """
    with ready(engine).connect() as connection:
        found = _bearers(connection, symbol)
    rows = [
        (lineage.symbol, name.symbol, name.isin, name.since, name.until, name.known_by, name.dated_by)
        for lineage in found
        for name in lineage.names
    ]
    columns = ["security", "symbol", "isin", "valid_from", "valid_until", "known_by", "dated_by"]
    return _with_days(pd.DataFrame(rows, columns=columns), "valid_from", "valid_until")


def symbol_on(symbol: str, date: Day, *, engine: Engine | None = None) -> str:
    """The name on a day of the security that bears `symbol`, or else bore it last: any of its names will do.

    Before its first known name that one, after its last one the last. Raises UsageError as `identity` does.

    >>> import screener_data as sd
    >>> sd.symbol_on("NEWNAME", "2024-07-01"), sd.symbol_on("OLDNAME", "2025-06-30")
    ('OLDNAME', 'NEWNAME')
    """
    with ready(engine).connect() as connection:
        found = _bearers(connection, symbol)
    chosen = next((each for each in found if each.symbol == symbol), found[-1])
    return _name_on(chosen, as_day(date) or dt.date.max)


def universe(index: Day = None, date: Day = None, *, engine: Engine | None = None) -> pd.DataFrame:
    """Who was listed on a day, or who was in an index: `universe(date)`, `universe("NIFTY 50", date)`; default today.

    Columns, one row per security by symbol: symbol (its name on the day), security (that of today), isin, listing_date,
    list_name, list_day (datetime64[s]: the list that tells it). Listed is whoever stands on the newest list on or
    before the day, and whoever a later list shows as listed in between; one that left between two lists counts as
    listed up to the second. Before the first list, only those are known that were still listed when it was made: then
    list_day is later than the day. Raises UsageError for an index that no list tells of, or not so early.

    >>> import screener_data as sd
    >>> sorted(set(sd.universe("2024-12-31")["symbol"]) - set(sd.universe("2025-06-30")["symbol"]))
    ['GONECO', 'OLDNAME']
    >>> len(sd.universe("NIFTY 50", "2025-06-30"))
    10
    """
    name, day = _asked(index, date)
    day = day or dt.date.today()
    with ready(engine).connect() as connection:
        found = _listed(connection, day) if name is None else _constituents(connection, name, day)
        of_isin = {isin: lineage for lineage in known_lineages(connection) for isin in lineage.isins}
    rows = [
        (
            _name_on(of_isin[row.isin], day) if name is None else row.symbol,
            of_isin[row.isin].symbol if row.isin in of_isin else None,
            *(row.isin, row.listing_date, row.list_name, row.list_day),
        )
        for row in found
    ]
    columns = ["symbol", "security", "isin", "listing_date", "list_name", "list_day"]
    frame = _with_days(pd.DataFrame(sorted(rows), columns=columns), "listing_date", "list_day")
    return frame.astype(dict.fromkeys(("symbol", "security", "isin", "list_name"), "str"))


def _asked(index: Day, date: Day) -> tuple[str | None, dt.date | None]:
    """The index and the day; a day alone is one."""
    if not isinstance(index, str):
        if date is not None and index is not None:
            raise UsageError("give universe(date), or universe(index, date)")
        return None, as_day(index if index is not None else date)
    if date is not None or not index[:4].isdigit():
        return index, as_day(date)
    return None, as_day(index)


def _bearers(connection: Connection, symbol: str) -> list[Lineage]:
    """The securities that bear or bore a name, in the order of time."""
    everyone = known_lineages(connection)
    found = [each for each in everyone if symbol == each.symbol or symbol in {name.symbol for name in each.names}]
    if not found:  # a name from before lists had days
        kept = connection.execute(
            text("SELECT s.isin FROM symbol_history h JOIN securities s ON s.id = h.security_id WHERE h.symbol = :old"),
            {"old": symbol},
        ).scalars()
        isins = set(kept)
        found = [each for each in everyone if isins & each.isins]
    if not found:
        require_known(symbol, sorted({name.symbol for each in everyone for name in each.names}), "symbol")
    return sorted(found, key=lambda each: (each.listed, each.last, each.isin))


def _name_on(lineage: Lineage, day: dt.date) -> str:
    names = [name for name in lineage.names if name.until is None or day < name.until]
    return (names or lineage.names[-1:])[0].symbol


def _listed(connection: Connection, day: dt.date) -> list[Any]:
    """Who was on any list of securities; of several stays of one, that of the day, else the first after it."""
    return list(
        connection.execute(
            text(
                "SELECT DISTINCT ON (security_id) l.symbol, isin, listing_date, l.list_name, "
                "CASE WHEN valid_from > :day THEN valid_from ELSE (SELECT max(d.day) FROM list_days d "
                "WHERE d.list_name = l.list_name AND d.day <= :day) END AS list_day FROM listings l "
                "WHERE (valid_until IS NULL OR valid_until > greatest(valid_from, :day)) "
                "AND CASE WHEN valid_from <= :day THEN listing_date IS NULL OR listing_date <= :day "
                # a list in between would have shown it
                "ELSE listing_date <= :day AND NOT EXISTS (SELECT FROM list_days d WHERE d.list_name = l.list_name "
                "AND d.day BETWEEN l.listing_date AND :day) END ORDER BY security_id, valid_from > :day, valid_from"
            ),
            {"day": day},
        )
    )


def _constituents(connection: Connection, name: str, day: dt.date) -> list[Any]:
    """Who was in an index by the newest list on or before the day."""
    indices = list(connection.execute(text("SELECT DISTINCT index_name FROM index_constituents")).scalars())
    named = next((each for each in indices if fold(each) == fold(name)), name.upper())
    require_known(named, indices, "list of the index")
    first, newest = connection.execute(
        text("SELECT min(day), max(day) FILTER (WHERE day <= :day) FROM list_days WHERE list_name = :name"),
        {"name": named, "day": day},
    ).one()
    if newest is None:
        raise UsageError(f"who was in {named} on {day} is not known; the first list is of {first}")
    return list(
        connection.execute(
            text(
                "SELECT symbol, isin, CAST(NULL AS date) AS listing_date, index_name AS list_name, "
                "CAST(:newest AS date) AS list_day FROM index_constituents WHERE index_name = :name "
                "AND valid_from <= :day AND (valid_until IS NULL OR valid_until > :day)"
            ),
            {"name": named, "day": day, "newest": newest},
        )
    )


def _with_days(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Days as pandas holds them; what is out of its range (of a security written by hand) is not known."""
    return frame.assign(
        **{name: pd.to_datetime(frame[name].astype("object"), errors="coerce").astype("M8[s]") for name in columns}
    )
