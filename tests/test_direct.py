"""The way past the staging table: the same rows, the same counts, and never in anybody's way."""

from __future__ import annotations

import datetime as dt
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg2 import DataError
from sqlalchemy import (
    URL,
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Date,
    Engine,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    create_engine,
    text,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from screener_data import batch, direct, ingest
from screener_data.batch import Batch
from screener_data.database.binary import copy_units
from screener_data.database.bulk import NULL, copy_rows, indexes_built_last, taken_ids
from screener_data.ingest import LoadResult, load
from screener_data.loaders import FORMATS, archives, files
from screener_data.loaders.bhavcopy import CHANGE_PCT, FULL, UDIFF
from screener_data.models import OHLCVDaily

HEADER = (
    "SYMBOL, SERIES, DATE1, PREV_CLOSE, OPEN_PRICE, HIGH_PRICE, LOW_PRICE, LAST_PRICE, CLOSE_PRICE, AVG_PRICE, "
    "TTL_TRD_QNTY, TURNOVER_LACS, NO_OF_TRADES, DELIV_QTY, DELIV_PER\n"
)
COLUMNS = "symbol, date, open, high, low, close, volume, vwap, prev_close, change_pct"


def bar(symbol: str, day: int, close: str = "101.00", *, series: str = "EQ", high: str = "110.00") -> str:
    date = (dt.date(2025, 1, 1) + dt.timedelta(day)).strftime("%d-%b-%Y")
    return f"{symbol}, {series}, {date}, 100.00, 100.00, {high}, 90.00, 101.00, {close}, 100.50, 1000, 1.00, 10, 5, 5\n"


class Market:
    """Daily files in a folder, loaded into a database."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder, self.engine = folder, engine

    def write(self, day: int, *rows: str) -> Path:
        path = self.folder / f"sec_bhavdata_full_{day:08}.csv"
        path.write_text(HEADER + "".join(rows))
        return path

    def load(self) -> list[LoadResult]:
        results = load(self.folder, engine=self.engine)
        for each in results:
            assert each.read == each.inserted + each.updated + each.unchanged + each.rejected + each.skipped
        return results

    def counts(self) -> list[tuple[int, ...]]:
        return [(r.read, r.inserted, r.updated, r.unchanged, r.rejected, r.skipped) for r in self.load()]

    def ask(self, query: str) -> list[tuple[object, ...]]:
        with self.engine.begin() as connection:
            found = connection.execute(text(query))
            return [tuple(row) for row in found] if found.returns_rows else []

    def stored(self) -> list[tuple[object, ...]]:
        return self.ask(f"SELECT {COLUMNS} FROM ohlcv_daily ORDER BY date, symbol")


@pytest.fixture
def desk(tmp_path: Path, engine: Engine) -> Market:
    return Market(tmp_path, engine)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as written long ago."""
    monkeypatch.setattr(archives, "_SETTLED", -60)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way each load took: the target of each COPY."""
    seen: list[str] = []

    def staged(connection: object, table: str, columns: object) -> int:
        seen.append(table)
        return copy_rows(connection, table, columns)

    def direct_(connection: object, table: Table, symbols: object, columns: object) -> int:
        seen.append(table.name)
        return copy_units(connection, table, symbols, columns)

    monkeypatch.setattr(batch, "copy_rows", staged)
    monkeypatch.setattr(direct, "copy_units", direct_)
    return seen


# --- what may go directly -------------------------------------------------------------------------------------------


def test_bhavcopies_go_directly_and_nothing_else() -> None:
    assert {f.name for f in FORMATS if direct.may_go_directly(f)} == {
        "bhavcopy_full",
        "bhavcopy_legacy",
        "bhavcopy_udiff",
    }


def test_a_check_that_is_more_than_a_comparison_is_left_to_the_database() -> None:
    def rules(check: str) -> object:
        return direct._comparisons(Table("t", MetaData(), Column("a", Integer), CheckConstraint(check)))

    assert rules("a >= b AND c <> 'NaN' AND b < a") == (("a", ">=", "b"), ("b", "<", "a"))
    assert rules("a > 0 OR b > 0") is None
    assert rules("a IN ('x')") is None
    assert rules("least(a, b) > c") is None


units = st.integers(1, 10**12)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(units, units), min_size=1, max_size=20))
def test_a_ratio_is_rounded_as_the_database_rounds(pairs: list[tuple[int, int]]) -> None:
    """The oracle is exact; PostgreSQL's own quotient is held against it in tests/faults/test_mutations.py."""
    close, previous = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    found, certain = direct._ratio(CHANGE_PCT, {"close": close, "prev_close": previous}, FULL, "change_pct")
    for (now, before), ours, sure in zip(pairs, found.tolist(), certain.tolist(), strict=True):
        exact = Decimal(100 * (now - before)) / Decimal(before)
        if sure:
            assert ours == int((exact * 10**4).to_integral_value(ROUND_HALF_UP))
        else:
            assert abs(exact) > 9000 or now > 10**11


def test_what_is_no_number_or_a_tie_is_not_certain() -> None:
    cells = pa.array([None, 12.34, 2.675, 12.349, 1e15, 0.0])
    found, certain = direct._whole(cells, 2)
    assert certain.tolist() == [True, True, False, True, False, True]
    assert [n for n, sure in zip(found.tolist(), certain, strict=True) if sure] == [direct.NULL, 1234, 1235, 0]
    nulls = {name: np.array([direct.NULL, 5, 5, -5], np.int64) for name in ("turnover", "volume")}
    nulls["volume"] = np.array([5, 0, direct.NULL, 2], np.int64)
    found, certain = direct._ratio(UDIFF.derived["vwap"], nulls, UDIFF, "vwap")
    assert found.tolist() == [direct.NULL] * 3 + [-3]  # half away from zero
    assert certain.all()


# --- where rows go --------------------------------------------------------------------------------------------------


def test_plain_rows_are_copied_and_only_the_others_are_staged(desk: Market, ways: list[str]) -> None:
    desk.write(1, *(bar(f"S{n}", 1) for n in range(50)))
    assert desk.counts() == [(50, 50, 0, 0, 0, 0)]
    assert ways == ["ohlcv_daily"]
    ways.clear()
    desk.write(2, bar("A", 2), bar("B", 2, series="BE"), bar("B", 2), bar("C", 2, high="80.00"), bar("D", 2, "100.995"))
    assert desk.counts()[-1] == (5, 3, 0, 0, 1, 1)
    assert ways == ["ohlcv_daily", "stage"]
    assert desk.ask("SELECT symbol, close FROM ohlcv_daily WHERE symbol > 'A' AND symbol < 'S' ORDER BY 1")[-1] == (
        "D",
        Decimal("101.00"),
    )


def test_a_symbol_that_needs_quotes_needs_no_stage(desk: Market, ways: list[str]) -> None:
    odd = ['"A,B"', '"say ""A"""', "M&M"]
    desk.write(1, *(bar(symbol, 1) for symbol in odd))
    assert desk.counts() == [(3, 3, 0, 0, 0, 0)]
    assert ways == ["ohlcv_daily"]
    assert {row[0] for row in desk.stored()} == {"A,B", 'say "A"', "M&M"}
    assert desk.counts() == [(3, 0, 0, 3, 0, 0)]


def test_a_file_of_which_nothing_passes_is_accounted_for_in_a_table_with_rows(desk: Market, ways: list[str]) -> None:
    path = desk.write(1, bar("A", 1))
    desk.load()
    path.unlink()
    ways.clear()
    desk.write(2, bar("A", 2, "x"), bar("B", 2, series="GS"))
    (result,) = desk.load()
    assert (result.status, result.reasons) == ("partial", {"bad_number": 1, "series_out_of_scope": 1})
    assert ways == []


def test_rows_that_stand_are_not_even_staged(desk: Market, ways: list[str]) -> None:
    desk.write(1, bar("A", 1), bar("B", 1))
    desk.load()
    ways.clear()
    desk.write(1, bar("B", 1), bar("A", 1, "102.00"), bar("C", 1))
    assert desk.counts() == [(3, 1, 1, 1, 0, 0)]
    assert ways == ["ohlcv_daily", "stage"]
    assert [row[0] for row in desk.stored()] == ["A", "B", "C"]


def test_a_row_that_meets_anothers_old_name_goes_by_the_staging_table(desk: Market, ways: list[str]) -> None:
    desk.ask("INSERT INTO securities (symbol, isin, security_name, security_type) VALUES ('NEW','INE1','N','EQUITY')")
    desk.ask(
        "INSERT INTO symbol_history (security_id, symbol, valid_until) SELECT id, 'OLD', '2026-01-01' FROM securities"
    )
    desk.write(1, bar("OLD", 1), bar("NEW", 1, "102.00"), bar("X", 1))
    assert desk.counts() == [(3, 2, 0, 0, 1, 0)]  # one security, one day, two prices
    assert sorted(ways) == ["ohlcv_daily", "stage"]
    assert desk.ask("SELECT symbol, close FROM ohlcv_daily ORDER BY 1")[0] == ("NEW", Decimal("101.00"))


def test_files_of_one_day_do_not_meet_in_one_transaction(desk: Market) -> None:
    desk.write(1, bar("A", 1), bar("B", 1))
    desk.write(2, bar("A", 1, "102.00"), bar("C", 1))
    assert desk.counts() == [(2, 2, 0, 0, 0, 0), (2, 1, 1, 0, 0, 0)]
    assert desk.ask("SELECT close FROM ohlcv_daily WHERE symbol = 'A'") == [(Decimal("102.00"),)]


def test_a_row_that_came_past_the_loader_in_the_meantime_costs_nothing(
    desk: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COPY meets the key of a row that was not there when it was compared: then the database decides, file by file."""

    def late(connection: object, table: Table, symbols: object, columns: object) -> int:
        other = create_engine(desk.engine.url)
        with other.begin() as outside:
            outside.execute(
                text(
                    "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close) "
                    "VALUES ('A', '2025-01-02', 1, 1, 1, 1) ON CONFLICT DO NOTHING"
                )
            )
        other.dispose()
        return copy_units(connection, table, symbols, columns)

    monkeypatch.setattr(direct, "copy_units", late)
    desk.write(1, bar("A", 1), bar("B", 1))
    desk.write(2, bar("A", 2), bar("B", 2))
    assert desk.counts() == [(2, 1, 1, 0, 0, 0), (2, 2, 0, 0, 0, 0)]
    assert len(desk.stored()) == 4


# --- the binary format ----------------------------------------------------------------------------------------------

_KINDS = {"price": Numeric(15, 2), "change": Numeric(8, 4), "wide": Numeric(18, 6), "whole": Numeric(12, 0)}
_cells = {
    "date": st.one_of(st.none(), st.integers(-100_000, 100_000)),  # the years 1696 to 2243
    "volume": st.one_of(st.none(), st.integers(-(2**63) + 1, 2**63 - 1)),
} | {
    name: st.one_of(st.none(), st.integers(1 - 10**kind.precision, 10**kind.precision - 1))
    for name, kind in _KINDS.items()
}


#: The least numbers that have one digit more, to the base of 10,000.
_STEPS = [("A", dict.fromkeys(_cells, 0) | {"price": 100 * 10**n, "wide": 10**6 * 10**n}) for n in (4, 8)]


@settings(max_examples=60)
@example(rows=_STEPS[:1])
@example(rows=_STEPS)
@given(rows=st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.fixed_dictionaries(_cells))))
def test_units_are_stored_as_they_are(module_url: URL, rows: list[tuple[str, dict[str, int | None]]]) -> None:
    table = Table("t", MetaData(), Column("symbol", String), Column("date", Date), Column("volume", BigInteger))
    for name, kind in _KINDS.items():
        table.append_column(Column(name, kind))
    columns = {
        name: np.array([NULL if row[name] is None else row[name] for _, row in rows], np.int64) for name in _cells
    }
    symbols = pa.array([symbol for symbol, _ in rows], pa.large_string())
    engine = create_engine(module_url, poolclass=NullPool)
    with engine.connect() as connection:
        table.create(connection)
        connection.execute(text("ALTER TABLE t ADD place serial"))
        assert copy_units(connection, table, symbols, columns) == len(rows)
        stored = connection.execute(
            text("SELECT symbol, date - DATE '1970-01-01', volume, price, change, wide, whole FROM t ORDER BY place")
        ).all()
        connection.rollback()
    scales = dict(zip(_cells, [0, 0, *(kind.scale or 0 for kind in _KINDS.values())], strict=True))
    exact = Context(prec=40)

    def value(row: dict[str, int | None], name: str) -> Decimal | None:
        units = row[name]
        return None if units is None else exact.scaleb(Decimal(units), -scales[name])

    assert [tuple(row) for row in stored] == [(symbol, *(value(row, name) for name in _cells)) for symbol, row in rows]


def test_a_number_that_has_no_place_is_refused_and_not_cut(engine: Engine) -> None:
    table = Table("t", MetaData(), Column("symbol", String), Column("price", Numeric(6, 2)), Column("few", Integer))
    with engine.connect() as connection:
        table.create(connection)
        symbols = pa.array(["A"], pa.large_string())
        with pytest.raises(TypeError, match="Integer"):
            copy_units(connection, table, symbols, {"few": np.array([1])})
        with pytest.raises(DataError, match="overflow"):
            copy_units(connection, table, symbols, {"price": np.array([10**6])})


# --- an empty table -------------------------------------------------------------------------------------------------


@pytest.fixture
def filling(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Few rows are many; and whether the indexes were built last."""
    monkeypatch.setattr(batch, "_WORTH_REBUILDING", 20)
    monkeypatch.setattr(batch, "_AT_ONCE", 20)
    seen: list[bool] = []
    finish = Batch.finish

    def watched(self: Batch) -> None:
        finish(self)
        seen.append(self._is_filling)

    monkeypatch.setattr(Batch, "finish", watched)
    return seen


@pytest.mark.parametrize("cache", [1, 7])
def test_nobody_else_takes_ids_while_a_table_is_filled(engine: Engine, cache: int) -> None:
    def one(connection: Connection, query: str) -> object:
        return connection.execute(text(query)).scalar_one()

    with engine.begin() as connection:
        connection.execute(text(f"ALTER SEQUENCE ohlcv_daily_id_seq CACHE {cache}"))
    with engine.connect() as other, engine.begin() as connection, indexes_built_last(connection, "ohlcv_daily") as ours:
        assert ours
        assert taken_ids(connection, "ohlcv_daily", 5).tolist() == [1, 2, 3, 4, 5]
        other.execute(text("SET lock_timeout = '100ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            one(other, "SELECT nextval('ohlcv_daily_id_seq')")
        assert taken_ids(connection, "ohlcv_daily", 2).tolist() == [6, 7]
    with engine.connect() as other:
        assert one(other, "SELECT nextval('ohlcv_daily_id_seq')") == 8
        assert one(other, "SELECT seqcache FROM pg_sequence WHERE seqrelid = 'ohlcv_daily_id_seq'::regclass") == cache


def test_a_table_that_numbers_itself_no_more_keeps_its_indexes(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE ohlcv_daily ALTER id DROP DEFAULT; DROP SEQUENCE ohlcv_daily_id_seq"))
        with indexes_built_last(connection, "ohlcv_daily") as ours:
            assert not ours
            assert connection.execute(text("SELECT count(*) FROM pg_indexes WHERE tablename = 'ohlcv_daily'")).scalar()


INDEXES = (
    "SELECT indexdef FROM pg_indexes WHERE tablename = 'ohlcv_daily' UNION ALL SELECT conname || "
    "pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'ohlcv_daily'::regclass ORDER BY 1"
)


def test_an_empty_table_is_filled_before_its_indexes_are_built(desk: Market, filling: list[bool]) -> None:
    desk.ask("CREATE INDEX a_quants_own ON ohlcv_daily (close) WHERE volume > 5")
    before = desk.ask(INDEXES)
    for day in range(4):
        desk.write(day, *(bar(f"S{n}", day) for n in range(9)), bar("BAD", day, high="1.00"))
    assert desk.counts() == [(10, 9, 0, 0, 1, 0)] * 4
    assert filling == [True]
    assert desk.ask(INDEXES) == before
    assert desk.ask("SELECT seqcache FROM pg_sequence WHERE seqrelid = 'ohlcv_daily_id_seq'::regclass") == [(1,)]
    assert len(desk.stored()) == 36
    assert desk.counts() == [(10, 0, 0, 9, 1, 0)] * 4
    assert filling[1:] == [False]
    desk.write(4, bar("A", 4))
    desk.load()
    assert [id for (id,) in desk.ask("SELECT id FROM ohlcv_daily ORDER BY 1")] == list(range(1, 38))


def test_a_load_does_not_wait_for_a_reader_of_the_empty_table(desk: Market, filling: list[bool]) -> None:
    for day in range(4):
        desk.write(day, *(bar(f"S{n}", day) for n in range(9)))
    with desk.engine.connect() as reader:
        assert reader.execute(text("SELECT count(*) FROM ohlcv_daily")).scalar() == 0
        assert desk.counts() == [(9, 9, 0, 0, 0, 0)] * 4
    assert filling == [False]


def test_a_file_in_the_middle_that_is_refused_is_told_and_the_others_are_stored(
    desk: Market, filling: list[bool]
) -> None:
    for day in range(4):
        desk.write(day, *(bar(f"S{n}", day) for n in range(9)))
    (desk.folder / "sec_bhavdata_full_00000001.csv").write_text(HEADER)
    results = desk.load()
    assert {Path(r.file).name[-5:-4]: r.status for r in results} == {
        "0": "success",
        "1": "failure",
        "2": "success",
        "3": "success",
    }
    assert len(desk.stored()) == 27


# --- a file in pieces -----------------------------------------------------------------------------------------------


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK", 700)
    monkeypatch.setattr(archives, "_LARGE", 700)


@pytest.mark.usefixtures("small_pieces")
def test_a_large_file_is_stored_in_pieces_and_counted_as_one(desk: Market, filling: list[bool]) -> None:
    rows = [bar(f"S{n}", day) for day in range(5) for n in range(10)]
    rows[13] = rows[13].replace("1000", "x")
    rows[27] = bar("S7", 2, high="1.00")
    path = desk.write(1, *rows)
    assert desk.counts() == [(50, 48, 0, 0, 2, 0)]
    assert filling == [True]
    assert desk.ask("SELECT line, raw FROM rejects ORDER BY line") == [(15, rows[13][:-1]), (29, rows[27][:-1])]
    assert desk.ask("SELECT first_day::text, last_day::text FROM load_files") == [("2025-01-01", "2025-01-05")]
    path.write_text(HEADER + "".join(reversed(rows)))
    assert desk.counts() == [(50, 0, 0, 48, 2, 0)]


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("twin", ["101.00", "102.00"])
def test_rows_of_one_key_in_two_pieces_are_found(desk: Market, twin: str) -> None:
    rows = [bar(f"S{n}", 1) for n in range(40)]
    desk.write(1, *rows, bar("S3", 1, twin))
    [result] = desk.load()
    reason = "duplicate_row" if twin == "101.00" else "duplicate_key"
    assert (result.read, result.inserted, result.reasons) == (41, 40, {reason: 1})


# --- known bytes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were truly read."""
    seen: list[str] = []
    original = ingest.recognise
    monkeypatch.setattr(
        ingest, "recognise", lambda label, *rest: [seen.append(Path(label).name[-5:-4]), original(label, *rest)][1]
    )
    return seen


@pytest.fixture
def known(desk: Market, settled: None, read: list[str]) -> Market:
    """Three days, loaded; the second holds a rejected row."""
    for day in range(3):
        desk.write(day, bar("A", day), bar("B", day, high="1.00" if day == 1 else "110.00"))
    desk.load()
    read.clear()
    return desk


def test_a_file_that_was_not_written_since_is_not_read_again(known: Market, read: list[str]) -> None:
    assert known.counts() == [(2, 0, 0, 2, 0, 0), (2, 0, 0, 1, 1, 0), (2, 0, 0, 2, 0, 0)]
    assert read == []
    loads = known.ask("SELECT known_from, state, read, unchanged, rejected, log_id IS NULL FROM load_files ORDER BY id")
    assert [row[0] for row in loads[:3]] == [None] * 3
    assert [row[1:] for row in loads[3:]] == [
        ("success", 2, 2, 0, False),
        ("partial", 2, 1, 1, False),
        ("success", 2, 2, 0, False),
    ]
    assert known.ask("SELECT status, records_fetched, records_failed FROM ingestion_logs ORDER BY id")[3:] == [
        ("success", 2, 0),
        ("partial", 2, 1),
        ("success", 2, 0),
    ]
    assert known.ask("SELECT count(*), bool_and(waiting) FROM rejects") == [(1, True)]


@pytest.mark.parametrize(
    "outside",
    [
        "UPDATE ohlcv_daily SET close = 99 WHERE symbol = 'A' AND date = '2025-01-01'",
        "DELETE FROM ohlcv_daily WHERE symbol = 'A' AND date = '2025-01-01'",
        "TRUNCATE ohlcv_daily",
        "SET session_replication_role = replica; DELETE FROM ohlcv_daily WHERE symbol = 'A' AND date = '2025-01-01'",
    ],
)
def test_what_was_written_past_the_loader_is_put_right(
    known: Market, read: list[str], outside: str, server: str
) -> None:
    if "replica" in outside and server != "embedded":
        pytest.skip("only a superuser may call himself a replica")
    before = known.stored()
    known.ask(outside)
    known.load()
    assert read == ["0", "1", "2"]
    assert known.stored() == before
    read.clear()
    known.load()
    assert read == []


def test_a_later_load_of_the_same_day_makes_a_file_unknown(known: Market, read: list[str]) -> None:
    before = known.stored()
    folder = known.folder
    other = folder / "other"
    other.mkdir()
    known.folder = other
    known.write(0, bar("A", 0, "105.00"))
    known.load()
    assert known.stored() != before
    other.joinpath("sec_bhavdata_full_00000000.csv").unlink()
    read.clear()
    known.folder = folder
    assert known.counts()[-1] == (2, 0, 1, 1, 0, 0)  # those that are read come after those that are known
    assert read == ["0"]
    assert known.stored() == before


@pytest.mark.parametrize("days", [(0, 1, 2), (0, 1), (-1, 0, 1, 2, 3)])
def test_a_later_load_of_many_days_makes_their_files_unknown(
    known: Market, read: list[str], days: tuple[int, ...]
) -> None:
    folder, known.folder = known.folder, known.folder / "other"
    known.folder.mkdir()
    known.write(9, *(bar("A", day, "105.00") for day in days))
    known.load()
    known.folder.joinpath("sec_bhavdata_full_00000009.csv").unlink()
    read.clear()
    known.folder = folder
    known.load()
    assert read == [str(day) for day in range(3) if day in days]


def test_a_rename_makes_files_unknown(known: Market, read: list[str]) -> None:
    known.ask("INSERT INTO securities (symbol, isin, security_name, security_type) VALUES ('A','INE1','N','EQUITY')")
    known.load()
    assert read == []
    known.ask(
        "INSERT INTO symbol_history (security_id, symbol, valid_until) SELECT id, 'B', '2026-01-01' FROM securities"
    )
    known.load()
    assert read == ["0", "1", "2"]


def test_other_rules_make_files_unknown(known: Market, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screener_data.ledger.loader_version", lambda: "0.1.0+other")
    known.load()
    assert read == ["0", "1", "2"]


def test_a_file_that_was_written_again_is_read(known: Market, read: list[str]) -> None:
    known.write(1, bar("A", 1), bar("B", 1))
    assert known.counts()[1] == (2, 1, 0, 1, 0, 0)
    assert read == ["1"]


def test_a_file_written_in_this_moment_could_be_written_again_unseen(desk: Market, read: list[str]) -> None:
    desk.write(0, bar("A", 0))
    desk.load()
    desk.load()
    assert read == ["0", "0"]


def test_the_watched_tables_are_those_that_loads_compare_with() -> None:
    """The migration names them once more: a table of a new dated format must be watched, too."""
    root = Path(__file__).parents[1]
    text = (root / "alembic" / "versions" / "known_bytes.py").read_text()
    dated = {f.target.__tablename__ for f in FORMATS if "date" in f.key}
    assert {OHLCVDaily.__tablename__} < dated
    assert all(f'"{table}"' in text for table in dated | {"symbol_history"})
