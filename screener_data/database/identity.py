"""Who is who: securities as all lists and symbol changes tell them; old names in market data to today's.

`lineage.py` says which names and ISINs are one security; here `securities` is made so, and what is stored moves along.
"""

from __future__ import annotations

import bisect
import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from screener_data.database.bulk import STAGE, Counts, Place, Stage
from screener_data.database.stays import ListOfDay, keep_stays
from screener_data.lineage import BY_HAND, Change, Lineage, Sighting, lineages

__all__ = ["known_lineages", "merge_securities", "resolve", "take_repeated_isins", "to_current_symbols"]


@dataclass(frozen=True)
class _Loose:
    """A table that carries a symbol and no foreign key: the column of its day, and what is unique beside the symbol."""

    day: str = "date"
    key: tuple[str, ...] = ()


#: The others follow by ON UPDATE CASCADE.
_LOOSE = {
    "ohlcv_daily": _Loose(key=("date",)),
    "bulk_deals": _Loose(),
    "block_deals": _Loose(),
    "surveillance_measures": _Loose(),
    "corporate_actions": _Loose("ex_date", key=("ex_date", "kind")),
}
#: Those, with what is unique beside the symbol: they follow one security into another when the two turn out to be one.
_FOLLOWING = {"market_cap_history": ("date",), "calculated_metrics": ("date",), "industry_classification": ()}


def to_current_symbols(stage: Stage, *, named_on: str | None) -> dict[int, int]:
    """Give rows under a name that a security gave up its present name; the number of such rows by file.

    `named_on`: the column of the day whose names they are, or None for today's. A name that another security bears
    today is only translated on the days before it changed hands.
    """
    day = f"s.{named_on}" if named_on else "current_date"
    return stage.by_file(
        f"""
        WITH asked AS (
            SELECT DISTINCT s.symbol, {day} AS day FROM {STAGE} s
            WHERE s.symbol IN (SELECT symbol FROM symbol_history)
        ), answer AS (
            SELECT DISTINCT ON (a.symbol, a.day) a.symbol AS old, a.day, t.symbol AS current
            FROM asked a JOIN symbol_history h ON h.symbol = a.symbol JOIN securities t ON t.id = h.security_id
            WHERE a.day < h.valid_until OR NOT EXISTS (SELECT FROM securities c WHERE c.symbol = a.symbol)
            ORDER BY a.symbol, a.day, (a.day < h.valid_until) DESC,
                CASE WHEN a.day < h.valid_until THEN h.valid_until END, h.valid_until DESC, h.id DESC
        ), renamed AS (
            UPDATE {STAGE} s SET symbol = answer.current FROM answer
            WHERE s.symbol = answer.old AND {day} = answer.day AND s.symbol <> answer.current RETURNING s.file
        )
        SELECT file, count(*) FROM renamed GROUP BY file
        """
    )


def take_repeated_isins(stage: Stage) -> list[tuple[Place, str]]:
    """Of several rows with one ISIN, keep the first; (place, the symbol that has it) of the others."""
    found = stage.connection.execute(
        text(
            f"WITH numbered AS (SELECT ctid AS place, row_number() OVER ordered AS number, "
            f"first_value(symbol) OVER ordered AS first FROM {STAGE} "
            "WINDOW ordered AS (PARTITION BY isin ORDER BY line)) "
            f"DELETE FROM {STAGE} s USING numbered n WHERE s.ctid = n.place AND n.number > 1 "
            "RETURNING s.file, s.line, n.first"
        )
    )
    return [(Place(file, line), first) for file, line, first in found]


def merge_securities(stage: Stage, columns: list[str], given: ListOfDay) -> tuple[Counts, dict[str, Any]]:
    """Take the rows of a list of some day in: who stood on it then, who is who by that, and what is newest of each.

    Returns the counts, and notes: securities renamed, with a new ISIN, found to be one, deactivated, and so on.
    """
    connection = stage.connection
    stage.survey(["isin"])
    stage.run(
        f"CREATE TEMPORARY TABLE before ON COMMIT DROP AS SELECT id, {', '.join(columns)}, is_active FROM securities"
    )
    ids = _ids_by_isin(connection)
    _, spared = keep_stays(stage, "listings", "list_name", ("symbol", "isin", "listing_date"), given)
    notes: dict[str, Any] = {"taken_for_a_part_of_the_list_so_not_deactivated": spared}
    notes |= _resolve(connection, ids, columns)
    others = [name for name in columns if name not in ("symbol", "isin")]
    # of several lists, the newest says how a security is written; this one may be an old one
    stage.run(
        f"UPDATE securities t SET ({', '.join(others)}) = ROW({', '.join(f's.{name}' for name in others)}) "
        f"FROM {STAGE} s JOIN (SELECT DISTINCT isin, security_id FROM listings) l USING (isin) "
        f"WHERE t.id = l.security_id AND ({', '.join(f't.{name}' for name in others)}) "
        f"IS DISTINCT FROM ({', '.join(f's.{name}' for name in others)}) AND NOT EXISTS "
        "(SELECT FROM listings n JOIN list_days d ON d.list_name = n.list_name AND d.day > :day "
        "AND d.day >= n.valid_from AND (n.valid_until IS NULL OR d.day < n.valid_until) WHERE n.security_id = t.id)",
        day=given.day,
    )
    stage.run(
        "UPDATE securities t SET is_active = l.active FROM (SELECT security_id, bool_or(valid_until IS NULL) AS active "
        f"FROM listings WHERE list_name <> '{BY_HAND}' GROUP BY security_id) l "
        "WHERE l.security_id = t.id AND t.is_active IS DISTINCT FROM l.active"
    )
    (notes["deactivated"],) = stage.one(
        "SELECT count(*) FROM before b JOIN securities t USING (id) WHERE b.is_active AND NOT t.is_active"
    )
    (notes["listed_after_the_lists_day"],) = stage.one(
        f"SELECT count(*) FROM {STAGE} WHERE listing_date > :day", day=given.day
    )
    now = ", ".join(f"t.{name}" for name in [*columns, "is_active"])
    then = ", ".join(f"b.{name}" for name in [*columns, "is_active"])
    inserted, updated = stage.one(
        f"SELECT count(*) FILTER (WHERE b.id IS NULL), count(*) FILTER (WHERE ({now}) IS DISTINCT FROM ({then}) "
        f"AND b.id IS NOT NULL) FROM {STAGE} s JOIN (SELECT DISTINCT isin, security_id FROM listings) l USING (isin) "
        "JOIN securities t ON t.id = l.security_id LEFT JOIN before b ON b.id = t.id"
    )
    return Counts(inserted, updated, stage.rows - inserted - updated), {name: n for name, n in notes.items() if n}


def resolve(connection: Connection) -> dict[str, Any]:
    """Make `securities` what the lists and the symbol changes tell together. Returns notes on what that changed."""
    notes = _resolve(connection, _ids_by_isin(connection), [])
    return {name: n for name, n in notes.items() if n}


def known_lineages(connection: Connection) -> list[Lineage]:
    """All securities with all of their names."""
    days: dict[str, list[dt.date]] = defaultdict(list)
    for list_name, day in connection.execute(text("SELECT list_name, day FROM list_days ORDER BY day")):
        days[list_name].append(day)
    stays = connection.execute(
        text(
            "SELECT symbol, isin, listing_date, list_name, valid_from, valid_until, id FROM listings UNION ALL "
            f"SELECT symbol, isin, listing_date, '{BY_HAND}', '{dt.date.min}', '{dt.date.min}', id FROM securities t "
            "WHERE NOT EXISTS (SELECT FROM listings l WHERE l.security_id = t.id OR l.isin = t.isin)"
        )
    )
    sightings = []
    for symbol, isin, listing_date, list_name, since, until, number in stays:
        shown = days[list_name][: bisect.bisect_left(days[list_name], until)] if until else days[list_name]
        last = since if since == until or not shown else max(since, shown[-1])
        number = number if since == until else 0  # among lists of one day, the order of loading is all there is
        sightings.append(Sighting(symbol, isin, listing_date, list_name, since, until, last, number))
    changes = connection.execute(
        text(
            "SELECT old_symbol, new_symbol, change_date FROM symbol_changes "
            "WHERE change_date <= (now() AT TIME ZONE 'Asia/Kolkata')::date"
        )
    )
    return lineages(sightings, [Change(old, new, day) for old, new, day in changes])


def _ids_by_isin(connection: Connection) -> dict[str, int]:
    """Whose every known ISIN is. A security that no list has shown is kept in mind as written by hand."""
    connection.execute(
        text(
            "INSERT INTO listings (list_name, symbol, isin, listing_date, valid_from, valid_until, security_id) "
            f"SELECT '{BY_HAND}', symbol, isin, listing_date, '{dt.date.min}', '{dt.date.min}', id FROM securities t "
            "WHERE NOT EXISTS (SELECT FROM listings l WHERE l.security_id = t.id) ORDER BY id ON CONFLICT DO NOTHING"
        )
    )
    found = connection.execute(
        text(
            "SELECT isin, security_id FROM listings WHERE security_id IS NOT NULL "
            "UNION ALL SELECT isin, id FROM securities"
        )
    )
    return {isin: security_id for isin, security_id in found}  # noqa: C416 - a Row is no pair to the type checker


@dataclass(frozen=True)
class _Row:
    """A row of securities as it is: its names may have to change."""

    id: int
    symbol: str
    isin: str


def _resolve(connection: Connection, ids: dict[str, int], columns: list[str]) -> dict[str, Any]:
    """Give each lineage one row of securities; `columns` of the staging table make the rows of new ones."""
    rows = {
        row.id: _Row(*row) for row in connection.execute(text("SELECT id, symbol, isin FROM securities ORDER BY id"))
    }
    found = known_lineages(connection)
    of_row = {isin: lineage for lineage in found for isin in lineage.isins}
    chosen: list[tuple[Lineage, int]] = []
    new: list[Lineage] = []
    absorbed: list[tuple[_Row, int]] = []
    parted = 0
    for lineage in found:
        claimed = {ids[isin] for isin in lineage.isins if isin in ids}
        own = sorted(i for i in claimed if of_row.get(rows[i].isin) is lineage)
        parted += not own and bool(claimed)
        if not own:
            new.append(lineage)
            continue
        kept = min(own, key=lambda i: (rows[i].isin != lineage.isin, rows[i].symbol != lineage.symbol, i))
        chosen.append((lineage, kept))
        absorbed += [(rows[i], kept) for i in own if i != kept]
    renamed = [(lineage, rows[i]) for lineage, i in chosen if lineage.symbol != rows[i].symbol]
    other_isin = [(lineage, rows[i]) for lineage, i in chosen if lineage.isin != rows[i].isin]
    notes: dict[str, Any] = {"renamed": len(renamed), "new_isin": len(other_isin), "joined": len(absorbed)}
    notes |= {"parted": parted, "names_in_use_again": sum("~" in each.symbol for each in new)}
    kept_rows = {i: rows[i] for _, i in chosen}
    left = [_absorb(connection, row, kept_rows[into]) for row, into in absorbed]
    notes["joined"] -= sum(left)
    notes["two_with_market_cap_of_one_day_so_not_joined"] = sum(left)
    _rewrite(connection, [(row.id, lineage.symbol) for lineage, row in renamed], "symbol")
    _rewrite(connection, [(row.id, lineage.isin) for lineage, row in other_isin], "isin")
    _insert(connection, new, ids, columns)
    made = connection.execute(
        text("SELECT isin, id FROM securities WHERE isin = ANY(:isins)"), {"isins": [each.isin for each in new]}
    )
    numbers: dict[str, int] = {row.isin: row.id for row in made}
    chosen += [(lineage, numbers[lineage.isin]) for lineage in new]
    connection.execute(
        text(
            "UPDATE listings l SET security_id = m.id FROM unnest(CAST(:isins AS text[]), CAST(:ids AS integer[])) "
            "AS m (isin, id) WHERE l.isin = m.isin AND l.security_id IS DISTINCT FROM m.id"
        ),
        {
            "isins": [isin for lineage, _ in chosen for isin in lineage.isins],
            "ids": [number for lineage, number in chosen for _ in lineage.isins],
        },
    )
    fresh = _keep_history(connection, chosen)
    moves = [(row.symbol, lineage, True) for lineage, row in renamed]
    lineage_of = {number: lineage for lineage, number in chosen}
    moves += [(row.symbol, lineage_of[into], True) for row, into in absorbed]
    moves += [(symbol, lineage_of[number], False) for number, symbol in fresh]
    notes["history_left_behind"] = _move_history(connection, moves, found)
    return notes


def _absorb(connection: Connection, row: _Row, into: _Row) -> bool:
    """Let one row of securities go into another. Whether it stays: both have a market capitalisation of one day."""
    values = {"old": row.symbol, "new": into.symbol, "id": row.id, "into": into.id}
    for table, key in _FOLLOWING.items():
        same = "".join(f" AND o.{name} = t.{name}" for name in key)
        connection.execute(
            text(
                f"UPDATE {table} t SET symbol = :new WHERE symbol = :old "
                f"AND NOT EXISTS (SELECT FROM {table} o WHERE o.symbol = :new{same})"
            ),
            values,
        )
    connection.execute(
        text("UPDATE symbol_history SET security_id = :into WHERE security_id = :id AND known_by IS NULL"), values
    )
    connection.execute(text("UPDATE listings SET security_id = :into WHERE security_id = :id"), values)
    gone = connection.execute(
        text(
            "DELETE FROM securities WHERE id = :id AND NOT EXISTS (SELECT FROM market_cap_history WHERE symbol = :old)"
        ),
        values,
    ).rowcount
    if not gone:
        connection.execute(
            text(
                "UPDATE securities SET symbol = split_part(symbol, '~', 1) || '~' || isin, is_active = false "
                "WHERE id = :id"
            ),
            values,
        )
    return not gone


def _rewrite(connection: Connection, changed: list[tuple[int, str]], column: str) -> None:
    """Give rows of securities another symbol or ISIN, by way of one that nobody bears, so that swaps work."""
    if not changed:
        return
    values = {"ids": [number for number, _ in changed], "cells": [cell for _, cell in changed]}
    connection.execute(text(f"UPDATE securities SET {column} = '~' || id WHERE id = ANY(:ids)"), values)
    connection.execute(
        text(
            f"UPDATE securities t SET {column} = m.cell FROM unnest(CAST(:ids AS integer[]), CAST(:cells AS text[])) "
            "AS m (id, cell) WHERE t.id = m.id"
        ),
        values,
    )


def _insert(connection: Connection, new: list[Lineage], ids: dict[str, int], columns: list[str]) -> None:
    """Make rows of securities: of the staged row of one of its ISINs, else of the row that it had with another."""
    names = ", ".join(columns)
    listed = {isin: lineage for lineage in new for isin in lineage.isins}
    values = {
        "isins": list(listed),
        "symbols": [lineage.symbol for lineage in listed.values()],
        "last": [lineage.isin for lineage in listed.values()],
    }
    cells = ", ".join({"symbol": "n.symbol", "isin": "n.last"}.get(name, f"s.{name}") for name in columns)
    if listed and columns:
        connection.execute(
            text(
                f"INSERT INTO securities ({names}) SELECT {cells} FROM {STAGE} s JOIN unnest(CAST(:isins AS text[]), "
                "CAST(:symbols AS text[]), CAST(:last AS text[])) AS n (isin, symbol, last) ON n.isin = s.isin "
                "ORDER BY s.line"
            ),
            values,
        )
    for lineage in new:
        if other := next((ids[isin] for isin in sorted(lineage.isins) if isin in ids), None):
            connection.execute(
                text(
                    "INSERT INTO securities (symbol, isin, security_name, series, listing_date, paid_up_value, "
                    "market_lot, face_value, security_type, is_active) SELECT :symbol, :isin, security_name, series, "
                    "listing_date, paid_up_value, market_lot, face_value, security_type, is_active "
                    "FROM securities WHERE id = :other ON CONFLICT (isin) DO NOTHING"
                ),
                {"symbol": lineage.symbol, "isin": lineage.isin, "other": other},
            )


def _keep_history(connection: Connection, chosen: list[tuple[Lineage, int]]) -> list[tuple[int, str]]:
    """Make symbol_history what the lineages say, but for what is in it from before; (security, name) of what is new."""
    told = {
        (number, name.symbol, name.until): (name.dated_by or name.known_by)[:50]
        for lineage, number in chosen
        for name in lineage.past()
        if name.until is not None
    }
    stored = {
        (number, symbol, until): known_by
        for number, symbol, until, known_by in connection.execute(
            text("SELECT security_id, symbol, valid_until, known_by FROM symbol_history")
        )
    }
    gone = [key for key, known_by in stored.items() if known_by is not None and told.get(key) != known_by]
    fresh = [key for key in told if key not in stored or key in gone]
    # else not a word to symbol_history: whatever writes to it calls all known files into question
    if gone:
        connection.execute(
            text(
                "DELETE FROM symbol_history h USING unnest(CAST(:ids AS integer[]), CAST(:symbols AS text[]), "
                "CAST(:days AS date[])) AS g (id, symbol, day) "
                "WHERE (h.security_id, h.symbol, h.valid_until) = (g.id, g.symbol, g.day)"
            ),
            _as_columns(gone),
        )
    if fresh:
        connection.execute(
            text(
                "INSERT INTO symbol_history (security_id, symbol, valid_until, known_by) SELECT * FROM "
                "unnest(CAST(:ids AS integer[]), CAST(:symbols AS text[]), CAST(:days AS date[]), "
                "CAST(:known AS text[]))"
            ),
            {**_as_columns(fresh), "known": [told[key] for key in fresh]},
        )
    return [(number, symbol) for number, symbol, _ in fresh]


def _as_columns(keys: list[tuple[int, str, Any]]) -> dict[str, list[Any]]:
    ids, symbols, days = zip(*keys, strict=True)
    return {"ids": list(ids), "symbols": list(symbols), "days": list(days)}


def _move_history(connection: Connection, moves: list[tuple[str, Lineage, bool]], found: list[Lineage]) -> int:
    """Move the rows of securities from a name to the one of today; the rows that could not follow.

    `moves`: (name, whose it was, whether all rows under it are its own unless another bears it now). The rows go
    by way of a name that nobody bears, so that swaps work. Where the new name has a row of the same key already, that
    one stays and the old row keeps its old name.
    """
    unique = {(old, lineage.isin): (old, lineage, whole) for old, lineage, whole in reversed(moves)}
    moves = [move for move in unique.values() if move[0] != move[1].symbol]
    if not moves:
        return 0
    bearers = {lineage.symbol for lineage in found}
    asked = {old for old, _, _ in moves}
    ends = defaultdict(list)  # of each name, when it was given up, and by whom
    for lineage in found:
        for name in lineage.past():
            if name.symbol in asked and name.until is not None:
                ends[name.symbol].append((name.until, lineage.isin))
    several = Counter(old for old, _, _ in moves)
    _stage_moves(connection, _windows(moves, ends, bearers, several))
    left = 0
    for table, loose in _LOOSE.items():
        moved = connection.execute(
            text(
                f"UPDATE {table} t SET symbol = '~' || m.number FROM moves m "
                f"WHERE t.symbol = m.old AND (m.since IS NULL OR t.{loose.day} >= m.since) "
                f"AND (m.until IS NULL OR t.{loose.day} < m.until)"
            )
        ).rowcount
        if not moved:
            continue
        same = " AND ".join(f"o.{name} = t.{name}" for name in loose.key)
        free = f"AND NOT EXISTS (SELECT FROM {table} o WHERE o.symbol = m.new AND {same})" if loose.key else ""
        connection.execute(
            text(f"UPDATE {table} t SET symbol = m.new FROM moves m WHERE t.symbol = '~' || m.number {free}")
        )
        left += connection.execute(
            text(f"UPDATE {table} t SET symbol = m.old FROM moves m WHERE t.symbol = '~' || m.number")
        ).rowcount
    connection.execute(text("DROP TABLE moves"))
    return left


def _windows(
    moves: list[tuple[str, Lineage, bool]],
    ends: dict[str, list[tuple[dt.date, str]]],
    bearers: set[str],
    several: Counter[str],
) -> Iterable[tuple[str, str, dt.date | None, dt.date | None]]:
    """(old name, new name, since, until): the days on which the old name was this security's."""
    for old, lineage, whole in moves:
        own = [day for day, isin in ends[old] if isin == lineage.isin]
        if whole and old not in bearers and several[old] == 1:
            yield old, lineage.symbol, None, None
            continue
        for until in own:
            before = [day for day, isin in ends[old] if isin != lineage.isin and day < until]
            yield old, lineage.symbol, max(before, default=None), until


def _stage_moves(connection: Connection, rows: Iterable[tuple[str, str, dt.date | None, dt.date | None]]) -> None:
    old, new, since, until = zip(*rows, strict=True) if (rows := list(rows)) else ((), (), (), ())
    connection.execute(
        text(
            "CREATE TEMPORARY TABLE moves ON COMMIT DROP AS SELECT * FROM unnest(CAST(:old AS text[]), "
            "CAST(:new AS text[]), CAST(:since AS date[]), CAST(:until AS date[])) "
            "WITH ORDINALITY AS m (old, new, since, until, number)"
        ),
        {"old": list(old), "new": list(new), "since": list(since), "until": list(until)},
    )
