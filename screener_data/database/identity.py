"""Who is who: securities by ISIN through renames, swaps and new ISINs; old names in market data to today's."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from screener_data.database.bulk import STAGE, Counts, Place, Stage

__all__ = ["merge_securities", "take_repeated_isins", "take_taken_symbols", "to_current_symbols"]


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
#: Securities; of a shorter list, any part may be the whole of it today.
_LONG = 100


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


def take_taken_symbols(stage: Stage) -> list[tuple[Place, str]]:
    """Find each row's security: by ISIN, else by symbol (a split gives a new ISIN).

    Removes rows that ask for a symbol which a security outside this file still bears; (place, its ISIN) of each.
    """
    stage.run(f"ALTER TABLE {STAGE} ADD COLUMN security_id integer")
    stage.run(f"UPDATE {STAGE} s SET security_id = t.id FROM securities t WHERE t.isin = s.isin")
    # not by symbol where the bearer's own ISIN is in the file: then it appears there under its new name
    stage.run(
        f"UPDATE {STAGE} s SET security_id = t.id FROM securities t WHERE s.security_id IS NULL "
        f"AND t.symbol = s.symbol AND NOT EXISTS (SELECT FROM {STAGE} o WHERE o.security_id = t.id)"
    )
    taken: list[tuple[Place, str]] = []
    while found := stage.connection.execute(
        text(
            f"DELETE FROM {STAGE} s USING securities t WHERE t.symbol = s.symbol "
            f"AND t.id IS DISTINCT FROM s.security_id AND NOT EXISTS "
            f"(SELECT FROM {STAGE} o WHERE o.security_id = t.id) RETURNING s.file, s.line, t.isin"
        )
    ).all():
        taken += [(Place(file, line), isin) for file, line, isin in found]
    return taken


def merge_securities(
    stage: Stage, columns: list[str], *, list_name: str, complete: bool, also_listed: list[str]
) -> tuple[Counts, dict[str, int]]:
    """Store the rows whose security `take_taken_symbols` has found.

    `complete`: the rows are a whole list, so that what it held before and holds no more becomes inactive, except
    securities whose symbol or ISIN is among `also_listed` (cells of rows that were rejected).
    Returns the counts and notes: renamed, new ISINs, deactivated, rows of history that could not follow a rename.
    """
    stage.survey(["isin"])
    total = stage.rows
    notes = {"renamed": _note_renames(stage.connection)}
    notes["new_isin"] = stage.connection.execute(
        text(f"SELECT count(*) FROM {STAGE} s JOIN securities t ON t.id = s.security_id WHERE t.isin <> s.isin")
    ).scalar_one()
    if notes["renamed"]:
        stage.run("UPDATE securities t SET symbol = '~' || t.id FROM renames r WHERE r.security_id = t.id")
    updated = stage.run(
        f"UPDATE securities t SET ({', '.join([*columns, 'is_active'])}) = "
        f"ROW({', '.join([f's.{name}' for name in columns] + ['true'])}) FROM {STAGE} s "
        f"WHERE t.id = s.security_id AND ({', '.join([f't.{name}' for name in columns] + ['t.is_active'])}) "
        f"IS DISTINCT FROM ({', '.join([f's.{name}' for name in columns] + ['true'])})"
    )
    if notes["renamed"]:
        notes["history_left_behind"] = _move_history(stage.connection)
    names = ", ".join(columns)
    inserted = stage.run(
        f"INSERT INTO securities ({names}) SELECT {names} FROM {STAGE} WHERE security_id IS NULL ORDER BY line"
    )
    stage.run(f"UPDATE {STAGE} s SET security_id = t.id FROM securities t WHERE t.isin = s.isin")
    stage.run(
        f"INSERT INTO listed_securities (security_id, list_name) SELECT security_id, :list FROM {STAGE} "
        "ON CONFLICT (security_id, list_name) DO UPDATE SET listed = true WHERE NOT listed_securities.listed",
        list=list_name,
    )
    if complete:
        notes |= _deactivate(stage, list_name, also_listed)
    return Counts(inserted, updated, total - inserted - updated), {name: n for name, n in notes.items() if n}


def _note_renames(connection: Connection) -> int:
    """List the securities whose symbol changes, with the day on which the old name ended, and keep the old names."""
    renamed = connection.execute(
        text(
            f"""
            CREATE TEMPORARY TABLE renames ON COMMIT DROP AS
            SELECT t.id AS security_id, t.symbol AS old, s.symbol AS new,
                coalesce(
                    (SELECT max(change_date) FROM symbol_changes c
                     WHERE c.old_symbol = t.symbol AND c.new_symbol = s.symbol),
                    (now() AT TIME ZONE 'Asia/Kolkata')::date
                ) AS valid_until,
                EXISTS (SELECT FROM {STAGE} o WHERE o.symbol = t.symbol) AS name_goes_on
            FROM {STAGE} s JOIN securities t ON t.id = s.security_id WHERE t.symbol <> s.symbol
            """
        )
    ).rowcount
    if renamed:  # else not a word to symbol_history: whatever writes to it calls all known files into question
        connection.execute(
            text(
                "INSERT INTO symbol_history (security_id, symbol, valid_until) SELECT security_id, old, valid_until "
                "FROM renames ON CONFLICT (security_id, symbol, valid_until) DO NOTHING"
            )
        )
    return renamed


def _move_history(connection: Connection) -> int:
    """Move the rows of renamed securities, by way of a name that nobody bears, so that swaps work.

    Where the new name has a row of the same key already, that one stays and the old row keeps its old name.
    """
    left = 0
    for table, loose in _LOOSE.items():
        # a name that another security bears from now on keeps the rows from the day of the change
        moved = connection.execute(
            text(
                f"UPDATE {table} t SET symbol = '~' || r.security_id FROM renames r "
                f"WHERE t.symbol = r.old AND (t.{loose.day} < r.valid_until OR NOT r.name_goes_on)"
            )
        ).rowcount
        if not moved:
            continue
        same = " AND ".join(f"o.{name} = t.{name}" for name in loose.key)
        free = f"AND NOT EXISTS (SELECT FROM {table} o WHERE o.symbol = r.new AND {same})" if loose.key else ""
        connection.execute(
            text(f"UPDATE {table} t SET symbol = r.new FROM renames r WHERE t.symbol = '~' || r.security_id {free}")
        )
        left += connection.execute(
            text(f"UPDATE {table} t SET symbol = r.old FROM renames r WHERE t.symbol = '~' || r.security_id")
        ).rowcount
    return left


def _deactivate(stage: Stage, list_name: str, also_listed: list[str]) -> dict[str, int]:
    """Take what this list no longer holds off it; what then stands on no list is inactive.

    A file that lacks most of a long list is a part of it (REITs under the equities' header, a download cut short):
    then nothing is taken off, and a note says so.
    """
    missing = (
        "l.list_name = :list AND l.listed AND NOT EXISTS "
        f"(SELECT FROM {STAGE} s WHERE s.security_id = t.id) AND NOT (t.symbol = ANY(:also) OR t.isin = ANY(:also))"
    )
    values = {"list": list_name, "also": also_listed}
    gone, held = stage.connection.execute(
        text(
            f"SELECT count(*) FILTER (WHERE {missing}), count(*) FILTER (WHERE l.listed) FROM listed_securities l "
            "JOIN securities t ON t.id = l.security_id WHERE l.list_name = :list"
        ),
        values,
    ).one()
    if gone > _LONG and gone > held / 2:
        return {"taken_for_a_part_of_the_list_so_not_deactivated": gone}
    stage.run(
        f"UPDATE listed_securities l SET listed = false FROM securities t WHERE t.id = l.security_id AND {missing}",
        **values,
    )
    return {
        "deactivated": stage.run(
            "UPDATE securities t SET is_active = false WHERE t.is_active AND "
            "EXISTS (SELECT FROM listed_securities l WHERE l.security_id = t.id) AND "
            "NOT EXISTS (SELECT FROM listed_securities l WHERE l.security_id = t.id AND l.listed)"
        )
    }
