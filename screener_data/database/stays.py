"""Dated lists as stays: who is on a list from when to when, whichever of its days became known first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from screener_data.database.bulk import STAGE, Counts, Stage

__all__ = ["ListOfDay", "keep_stays"]

#: Members; of a shorter list, any part may be the whole of it today.
_LONG = 100


@dataclass(frozen=True)
class ListOfDay:
    """What a file states: the list (or index) of that name as of a day, and what told the day."""

    name: str
    day: dt.date
    told_by: str
    #: Whether the file states the list in full, as a replay of some of its rows does not.
    complete: bool
    #: Cells of rows that were rejected: whoever bears one as symbol or ISIN is not off the list.
    also_listed: Sequence[str] = ()


def keep_stays(stage: Stage, table: str, of: str, members: Sequence[str], given: ListOfDay) -> tuple[Counts, int]:
    """Make the staged rows the members of a list from its day up to the next known one.

    `table` has a column `of` with the list's name, the columns `members`, valid_from and valid_until. A file that lacks
    most of a long list is a part of it (REITs under the equities' header, a download cut short): then nobody leaves.
    Returns the counts of new, lengthened and unchanged stays, and how many did not leave because of that.
    """
    (after,) = stage.one(
        "SELECT min(day) FROM list_days WHERE list_name = :list AND day > :day", list=given.name, day=given.day
    )
    values = {"list": given.name, "day": given.day, "after": after, "also": list(given.also_listed)}
    names, of_t, of_s = (", ".join(f"{alias}{name}" for name in members) for alias in ("", "t.", "s."))
    next_day, begins_then = "CAST(:after AS date)", "t.valid_from = CAST(:after AS date)"
    # those that are never NULL can be hashed
    same = " AND ".join(
        f"s.{name} {'=' if name in ('symbol', 'isin') else 'IS NOT DISTINCT FROM'} t.{name}" for name in members
    )
    on_the_day = "t.valid_from <= :day AND (t.valid_until IS NULL OR t.valid_until > :day)"
    spared = 0
    if given.complete:
        held, gone = stage.one(
            f"SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (SELECT FROM {STAGE} s WHERE s.isin = t.isin) "
            f"AND NOT EXISTS (SELECT FROM {STAGE} s WHERE s.symbol = t.symbol)) "
            f"FROM {table} t WHERE t.{of} = :list AND {on_the_day}",
            **values,
        )
        spared = gone if gone > _LONG and gone > held / 2 else 0
    if given.complete and not spared:
        stage.run(
            f"WITH off AS (DELETE FROM {table} t WHERE t.{of} = :list "
            f"AND ({next_day} IS NULL OR t.valid_from < {next_day}) "
            "AND (t.valid_until IS NULL OR t.valid_until > :day) "
            f"AND NOT EXISTS (SELECT FROM {STAGE} s WHERE {same}) "
            "AND NOT (t.symbol = ANY(:also) OR t.isin = ANY(:also)) "
            f"RETURNING {names}, valid_from, valid_until) "
            f"INSERT INTO {table} ({of}, {names}, valid_from, valid_until) "
            # a stay that began on this very day ends on it: an earlier list of the day is evidence of names, too
            f"SELECT :list, {names}, valid_from, CAST(:day AS date) FROM off WHERE valid_from <= :day UNION ALL "
            f"SELECT :list, {names}, {next_day}, valid_until FROM off "
            f"WHERE {next_day} IS NOT NULL AND (valid_until IS NULL OR valid_until > {next_day})",
            **values,
        )
    new, longer = stage.one(
        f"WITH coming AS MATERIALIZED (SELECT DISTINCT {names} FROM {STAGE} s WHERE NOT EXISTS "
        f"(SELECT FROM {table} t WHERE t.{of} = :list AND {same} AND {on_the_day})), "
        f"beside AS (DELETE FROM {table} t USING coming s WHERE t.{of} = :list AND {same} "
        f"AND (t.valid_until = :day OR {begins_then}) RETURNING {of_t}, t.valid_from, t.valid_until), "
        f"made AS (SELECT {of_s}, least(min(t.valid_from), CAST(:day AS date)) AS valid_from, "
        f"CASE WHEN bool_or({begins_then}) THEN max(t.valid_until) FILTER (WHERE {begins_then}) ELSE {next_day} END "
        f"AS valid_until, count(t.valid_from) AS beside FROM coming s LEFT JOIN beside t ON {same} GROUP BY {of_s}), "
        f"kept AS (INSERT INTO {table} ({of}, {names}, valid_from, valid_until) "
        f"SELECT :list, {names}, valid_from, valid_until FROM made) "
        "SELECT count(*) FILTER (WHERE beside = 0), count(*) FILTER (WHERE beside > 0) FROM made",
        **values,
    )
    stage.run(
        "INSERT INTO list_days (list_name, day, told_by) VALUES (:list, :day, :told_by) "
        "ON CONFLICT (list_name, day) DO UPDATE SET told_by = excluded.told_by "
        "WHERE list_days.told_by <> excluded.told_by",
        **values,
        told_by=given.told_by,
    )
    return Counts(new, longer, stage.rows - new - longer), spared
