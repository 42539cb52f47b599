"""What comes from the cache is what the database holds, however it changed; and only what changed is read again."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from alembic import command
from alembic.config import Config
from pandas.testing import assert_frame_equal
from sqlalchemy import URL, Connection, Engine, text

import screener_data as sd
from screener_data import cache, samples
from screener_data.database import migrate
from screener_data.read import METRIC_COLUMNS, PRICE_COLUMNS

OLD, ONE, TWO = "INE000A01010", "INE000B01018", "INE000C01016"
YEARS = (2022, 2023, 2024)
#: Invented sessions, some in each year, the first and the last day of one among them.
DAYS = [dt.date(year, month, day) for year in YEARS for month, day in ((1, 1), (3, 7), (7, 15), (12, 31))]
SYMBOLS = ("NA", "OLDNAME", "ZZZ", "été")


@pytest.fixture
def server() -> str:
    """The embedded one is enough: what is tested here asks every server the same."""
    return "embedded"


class Market:
    """A database with an invented market that files and hands change; its prices from the cache, and from itself."""

    def __init__(self, engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine, self.folder = engine, folder
        self.home = folder / "home"
        self.read: list[int] = []
        self._patch = monkeypatch
        monkeypatch.setenv("SCREENER_HOME", str(self.home))
        found = cache._Year.found

        def note(year: cache._Year, connection: Connection, missing: list[str]) -> pa.Table:
            self.read.append(year.year)
            return found(year, connection, missing)

        monkeypatch.setattr(cache._Year, "found", note)

    def load(self, name: str, content: str) -> None:
        path = self.folder / name
        path.write_text(content)
        [result] = sd.load(path, engine=self.engine)
        assert result.status in ("success", "partial"), result.error

    def bars(self, day: dt.date, *symbols: str, close: float = 100.0) -> None:
        lines = [
            f"{symbol}, EQ, {day:%d-%b-%Y}, 99.00, 100.00, {close + 9:.2f}, 90.00, {close:.2f}, {close:.2f}, 99.50, "
            f"{1000 + number}, 1.00, 10, 500, 50.00\n"
            for number, symbol in enumerate(symbols or SYMBOLS[:3])
        ]
        self.load(f"sec_bhavdata_full_{day:%d%m%Y}.csv", f"{samples.HEADERS['full']}\n{''.join(lines)}")

    def securities(self, *pairs: tuple[str, str]) -> None:
        lines = [f"{symbol},A Company,EQ,06-OCT-2008,5,1,{isin},5\n" for symbol, isin in pairs]
        self.load("EQUITY_L.csv", f"{samples.HEADERS['equity_list']}\n{''.join(lines)}")

    def run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def uncached(self, ask: Callable[..., Any], **words: Any) -> Any:
        with self._patch.context() as patch:
            patch.setenv("SCREENER_CACHE", "off")
            return ask(**words, engine=self.engine)

    def cached(self, ask: Callable[..., Any], **words: Any) -> Any:
        with self._patch.context() as patch:
            patch.setenv("SCREENER_CACHE", "on")
            return ask(**words, engine=self.engine)

    def again(self, ask: Callable[..., Any] = sd.prices, **words: Any) -> list[int]:
        """Ask with the cache and without; what they answer is the same. The years that the cache read anew."""
        words = {"columns": list(PRICE_COLUMNS)} if ask is sd.prices and not words else words
        self.read.clear()
        found = self.cached(ask, **words)
        read = list(self.read)
        right = self.uncached(ask, **words)
        assert self.read == read  # the other one was not from the cache
        if isinstance(right, pa.Table):
            assert found.equals(right)
        else:
            assert_frame_equal(found, right, check_exact=True)
        return read

    def files(self) -> list[Path]:
        return sorted(path for path in (self.home / "cache").rglob("*") if path.is_file())


@pytest.fixture
def desk(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Market:
    """Three securities and three years of bars, which the cache knows."""
    found = Market(engine, tmp_path, monkeypatch)
    found.securities(("OLDNAME", OLD), ("NA", ONE), ("ZZZ", TWO))
    found.run(
        "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume, change_pct) SELECT s, d, 100, 110, 90, "
        "extract(year FROM d) - 1922 + ascii(s) % 8 + 0.07, "
        "CASE WHEN s = 'été' THEN NULL ELSE extract(doy FROM d) END, -0.1234 "
        f"FROM unnest(ARRAY{list(SYMBOLS)}) s, unnest(CAST(ARRAY{[str(day) for day in DAYS]} AS date[])) d "
        "WHERE (s, d) <> ('NA', '2023-03-07') ORDER BY d, s"
    )
    assert found.again() == list(YEARS)
    assert found.again() == []
    return found


def down_to(revision: str) -> None:
    command.downgrade(Config(Path(__file__).parents[1] / "alembic.ini"), revision)


# --- every way in which prices can change


def test_a_new_day_is_read_with_its_year_alone(desk: Market) -> None:
    desk.bars(dt.date(2024, 8, 1))
    assert desk.again() == [2024]
    desk.bars(dt.date(2025, 1, 1), "BRANDNEW")
    assert desk.again() == [2025]
    assert desk.again() == []


def test_a_correction_of_an_old_year(desk: Market) -> None:
    desk.bars(dt.date(2022, 3, 7), close=101)
    assert desk.again() == [2022]
    desk.bars(dt.date(2022, 3, 7), close=102)
    assert desk.again() == [2022]
    desk.bars(dt.date(2022, 3, 7), close=102)  # the same once more
    assert desk.again() == []


def test_a_replay(desk: Market) -> None:
    name, day = "sec_bhavdata_full_15072022.csv", "15-Jul-2022"
    good = f"NA, EQ, {day}, 99.00, 100.00, 110.00, 90.00, 105.00, 105.00, 99.50, 7, 1.00, 10, 500, 50.00"
    bad = good.replace("110.00", "11O.00")
    desk.load(name, f"{samples.HEADERS['full']}\n{bad}\n{good.replace('NA', 'ZZZ', 1)}\n")
    assert desk.again() == [2022]
    desk.run(f"UPDATE rejects SET raw = '{good}'")
    [result] = sd.replay(engine=desk.engine)
    assert result.updated == 1
    assert desk.again() == [2022]


def test_a_rename_by_a_list_and_back_again(desk: Market) -> None:
    for name in ("NEWNAME", "OLDNAME", "NEWNAME"):  # the third time its history of names already knows it all
        desk.securities((name, OLD), ("NA", ONE), ("ZZZ", TWO))
        assert desk.again() == list(YEARS), name
        assert name in set(desk.cached(sd.prices)["symbol"])
    assert desk.again() == []


#: What hands do to the table, and the years that it has afterwards.
BY_HAND = [
    ("UPDATE ohlcv_daily SET close = 99 WHERE symbol = 'NA' AND date = '2023-07-15'", YEARS),
    ("DELETE FROM ohlcv_daily WHERE date = '2022-12-31'", YEARS),
    ("SET session_replication_role = replica; UPDATE ohlcv_daily SET low = 1; RESET session_replication_role", YEARS),
    (
        "ALTER TABLE ohlcv_daily RENAME low TO x; ALTER TABLE ohlcv_daily RENAME week_52_low TO low; "
        "ALTER TABLE ohlcv_daily RENAME x TO week_52_low",
        YEARS,
    ),
    ("ALTER TABLE ohlcv_daily DROP upper_circuit, ADD upper_circuit numeric DEFAULT 5", YEARS),
    ("ALTER TABLE ohlcv_daily ALTER volume TYPE numeric USING volume * 2", YEARS),
    (
        "ALTER TABLE ohlcv_daily DISABLE TRIGGER ohlcv_daily_outside_writes; UPDATE ohlcv_daily SET close = 91; "
        "ALTER TABLE ohlcv_daily ENABLE ALWAYS TRIGGER ohlcv_daily_outside_writes",
        YEARS,
    ),
    ("DELETE FROM ohlcv_daily WHERE date < '2023-01-01'", YEARS[1:]),
    ("TRUNCATE ohlcv_daily", ()),
]


def test_hands_on_the_table(desk: Market) -> None:
    for statement, years in BY_HAND:
        desk.run(statement)
        assert desk.again() == list(years), statement
        assert desk.again() == [], statement


#: What takes the proof away, and what gives it back.
NO_PROOF = {
    "ALTER TABLE ohlcv_daily DISABLE TRIGGER ohlcv_daily_outside_writes": "ALTER TABLE ohlcv_daily ENABLE ALWAYS "
    "TRIGGER ohlcv_daily_outside_writes",
    "ALTER TABLE ohlcv_daily ENABLE ROW LEVEL SECURITY": "ALTER TABLE ohlcv_daily DISABLE ROW LEVEL SECURITY",
    "CREATE TABLE child () INHERITS (ohlcv_daily)": "DROP TABLE child",
    "DROP TRIGGER ohlcv_daily_outside_writes ON ohlcv_daily": "SELECT 1",
}


def test_without_proof_there_is_no_cache(desk: Market) -> None:
    for number, (statement, undo) in enumerate(NO_PROOF.items()):
        desk.run(statement, f"UPDATE ohlcv_daily SET close = {91 + number}")
        assert desk.again() == [], statement
        assert set(desk.cached(sd.prices)["close"]) == {91.0 + number}
        desk.run(undo)
        desk.again()


def test_statistics_and_vacuum_change_nothing(desk: Market) -> None:
    with desk.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (FREEZE, ANALYZE) ohlcv_daily"))
        connection.execute(text("VACUUM pg_class"))
    assert desk.again() == []


def test_down_and_up_again(desk: Market) -> None:
    down_to("0006")
    assert desk.again() == []
    migrate.downgrade(desk.engine)
    migrate.upgrade(desk.engine)
    assert desk.again() == []
    assert desk.cached(sd.prices).empty
    desk.bars(dt.date(2023, 7, 15))
    assert desk.again() == [2023]
    assert len({path.parents[1] for path in desk.files()}) == 1  # the former table's files are gone


def test_another_database_is_another_cache(desk: Market, clone: Callable[[URL], Engine]) -> None:
    ours = desk.engine
    ours.dispose()
    desk.engine = clone(ours.url)
    desk.run(  # all numbers are as in the other one
        "SELECT set_config('screener.loading', 'on', true)", "UPDATE ohlcv_daily SET close = 93"
    )
    assert desk.again() == list(YEARS)
    desk.engine = ours
    assert desk.again() == []


def test_a_load_that_commits_while_the_cache_is_filled(desk: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read after a version was told is what stood there then."""
    shutil.rmtree(desk.home / "cache")
    before = desk.uncached(sd.prices, columns="close")
    versions = cache._versions

    def late(*words: Any) -> Any:
        found = versions(*words)
        monkeypatch.setattr(cache, "_versions", versions)
        desk.bars(dt.date(2023, 7, 15), close=104)
        return found

    monkeypatch.setattr(cache, "_versions", late)
    assert_frame_equal(desk.cached(sd.prices, columns="close"), before)
    assert 104.0 not in set(before["close"])
    assert desk.again(columns="close") == [2023]
    assert 104.0 in set(desk.cached(sd.prices, columns="close")["close"])


# --- metrics


def metrics(desk: Market) -> list[int]:
    return desk.again(sd.metrics, start="1990-01-01", columns=list(METRIC_COLUMNS))


@pytest.fixture
def computed(desk: Market) -> Market:
    sd.calculate(engine=desk.engine)
    assert metrics(desk) == list(YEARS)
    assert metrics(desk) == []
    return desk


def test_metrics_of_a_new_session(computed: Market) -> None:
    computed.bars(dt.date(2025, 1, 1))
    assert metrics(computed) == []
    sd.calculate(engine=computed.engine)
    assert metrics(computed) == [2025]
    computed.bars(dt.date(2024, 12, 31), close=105)
    sd.calculate(engine=computed.engine)
    assert metrics(computed) == [2024, 2025]


def test_metrics_that_lost_their_bar(computed: Market) -> None:
    computed.run("DELETE FROM ohlcv_daily WHERE date BETWEEN '2023-07-01' AND '2023-12-31'")
    done = sd.calculate("2023-07-01", engine=computed.engine)
    assert done.deleted > 0
    assert done.first_day == dt.date(2024, 1, 1)  # the stored rows say nothing of the deleted ones
    assert metrics(computed) == list(YEARS)


def test_hands_on_metrics(computed: Market) -> None:
    for statement in (
        "UPDATE calculated_metrics SET atr = 7 WHERE date = '2022-12-31'",
        "DELETE FROM calculated_metrics WHERE symbol = 'NA' AND date < '2023-01-01'",
        "UPDATE securities SET symbol = 'YYY' WHERE symbol = 'ZZZ'",
        "DELETE FROM securities WHERE symbol = 'YYY'",  # its metrics go along
    ):
        computed.run(statement)
        assert metrics(computed) == list(YEARS), statement
        assert metrics(computed) == [], statement


def test_metrics_follow_a_rename(computed: Market) -> None:
    computed.securities(("NEWNAME", OLD), ("NA", ONE), ("ZZZ", TWO))
    assert metrics(computed) == list(YEARS)


def test_metrics_before_their_trigger(computed: Market) -> None:
    down_to("0007")
    computed.run("UPDATE calculated_metrics SET atr = 7")
    assert metrics(computed) == []
    migrate.upgrade(computed.engine)
    assert metrics(computed) == list(YEARS)


# --- whatever comes


def test_any_sequence_of_changes(desk: Market) -> None:
    chance = random.Random(20250116)
    names = ["OLDNAME", "NEWNAME"]

    def rename() -> None:
        names.reverse()
        desk.securities((names[0], OLD), ("NA", ONE), ("ZZZ", TWO))

    def by_hand(statement: str) -> Callable[[], None]:
        return lambda: desk.run(statement.format(chance.choice(DAYS), chance.randint(90, 105)))

    changes = [
        lambda: desk.bars(chance.choice(DAYS), close=chance.randint(90, 105)),
        lambda: desk.bars(dt.date(chance.randint(2020, 2026), 5, chance.randint(1, 28)), chance.choice(SYMBOLS[:3])),
        by_hand("UPDATE ohlcv_daily SET close = {1} WHERE date = '{0}'"),
        by_hand("DELETE FROM ohlcv_daily WHERE date = '{0}'"),
        lambda: sd.calculate(engine=desk.engine),
        rename,
        lambda: chance.choice(desk.files()).unlink(),
    ]
    for _ in range(20):
        chance.choice(changes)()
        desk.again()
        metrics(desk)


# --- which reads


PARTS: list[dict[str, Any]] = [
    {"start": "2022-01-01"},
    {"start": "2022-12-31", "end": "2024-01-01"},
    {"start": "2023-01-02", "end": "2023-12-30", "columns": []},
    {"end": "2022-03-07"},
    {"start": "2025-01-01"},
    {"start": "2024-07-15", "end": "2022-01-01"},
    {"symbols": ["été", "NA", *SYMBOLS] * 20, "columns": ["volume", "close"]},
    {"symbols": ["été"] * 60, "start": "2023-03-01"},
    {"columns": ["close", "close"]},
    {"columns": ["change_pct", "prev_close"], "adjusted": True},
    {"as_arrow": True},
    {"as_arrow": True, "start": "2023-03-01", "columns": "volume"},
]
PANELS: list[dict[str, Any]] = [{}, {"column": "volume", "start": "2022-03-08"}, {"adjusted": True}]
NARROW: list[dict[str, Any]] = [
    {"symbols": "NA"},
    {"symbols": ["NA", "ZZZ"]},
    {"symbols": []},
    {"start": "2024-12-31", "end": "2024-12-31"},
    {"start": "2023-01-01", "end": "2023-04-01"},
]


def test_parts_of_the_table(desk: Market) -> None:
    desk.run(
        "INSERT INTO corporate_actions (symbol, ex_date, kind, shares_before, shares_after, purpose) "
        "VALUES ('NA', '2023-07-15', 'split', 1, 10, '')"
    )
    for words in PARTS:
        assert desk.again(**words) == [], words
    for words in PANELS:
        assert desk.again(sd.panel, **words) == [], words


def test_narrow_reads_leave_the_cache_alone(desk: Market) -> None:
    shutil.rmtree(desk.home / "cache")
    for words in NARROW:
        assert desk.again(**words) == [], words
    assert desk.files() == []


def test_only_the_columns_that_are_asked_for_are_kept(desk: Market) -> None:
    shutil.rmtree(desk.home / "cache")
    assert desk.again(columns="close") == list(YEARS)
    assert {path.name for path in desk.files()} == {"symbol.parquet", "date.parquet", "close.parquet"}
    assert desk.again(columns=["close", "volume"]) == list(YEARS)
    assert desk.again(columns="volume") == []


# --- files


def test_old_versions_are_removed(desk: Market) -> None:
    before = {path.parent for path in desk.files()}
    desk.bars(dt.date(2023, 7, 15))
    desk.again()
    after = {path.parent for path in desk.files()}
    assert len(before - after) == len(after - before) == 1
    assert [folder for folder in before - after if folder.exists()] == []
    # a read of one year says nothing about the others
    desk.bars(dt.date(2022, 7, 15))
    desk.again(start="2022-01-01", end="2022-12-31", columns="close")
    assert len({path.parent for path in desk.files()}) == 3


def _cut(file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _empty(file: Path, other: Path) -> None:
    file.write_bytes(b"")


def _flip_a_figure(file: Path, other: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[raw.index(pq.read_table(file)[0].chunk(0).buffers()[1].to_pybytes()[:16]) + 9] ^= 4
    file.write_bytes(raw)


def _another_years(file: Path, other: Path) -> None:
    shutil.copy(other, file)


def _too_short(file: Path, other: Path) -> None:
    pq.write_table(pq.read_table(file).slice(1), file)


def _of_text(file: Path, other: Path) -> None:
    table = pq.read_table(file)
    pq.write_table(
        pa.table([table[0].cast(pa.string())], schema=pa.schema({"close": pa.string()}, table.schema.metadata)), file
    )


def test_a_damaged_or_foreign_file_is_read_anew(desk: Market, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("close", "date"):
        for damage in (_cut, _empty, _flip_a_figure, _another_years, _too_short, _of_text):
            file, other = sorted(path for path in desk.files() if path.name == f"{name}.parquet")[::2]
            damage(file, other)
            with caplog.at_level(logging.INFO, logger="screener_data.cache"):
                assert desk.again() == [YEARS[0]], damage
            assert caplog.messages.pop().startswith(f"{file} is read anew")
            assert desk.again() == [], damage  # and it was made good


def test_symbols_of_another_year_are_found_out(desk: Market) -> None:
    file, other = sorted(path for path in desk.files() if path.name == "symbol.parquet")[::2]
    shutil.copy(other, file)
    assert desk.again() == [YEARS[0]]


def test_where_nothing_can_be_written(desk: Market, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(desk.home / "cache")
    (desk.home / "cache").write_text("no folder")
    assert desk.again() == list(YEARS)
    assert desk.again() == list(YEARS)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2  # a line for each read
    assert "what was read is not kept in" in caplog.text


#: Reads all prices, and prints a digest.
READ = """
import hashlib, sys
import screener_data as sd
frame = sd.prices(engine=sd.connect(sys.argv[1]))
print(hashlib.sha256(frame.to_csv().encode()).hexdigest())
"""


def reading(desk: Market, **options: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"SCREENER_CACHE": "on"}
    url = desk.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-W", "error", "-c", READ, url]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def test_a_full_disk(desk: Market) -> None:
    shutil.rmtree(desk.home / "cache")
    desk.run(
        "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close) SELECT 'S' || n, '2024-05-06', 1, 1, 1, 1 "
        "FROM generate_series(1, 1000) n"
    )
    process = reading(desk, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
    said, talk = process.communicate(timeout=60)
    assert process.returncode == 0, talk
    assert talk.count("is not kept in") == 1
    right = desk.uncached(sd.prices).to_csv()
    assert said.strip() == hashlib.sha256(right.encode()).hexdigest()
    assert not [path for path in desk.files() if path.suffix != ".parquet"]  # nothing is left half made


def test_several_processes_at_once(desk: Market) -> None:
    shutil.rmtree(desk.home / "cache")
    answers = {process.communicate(timeout=60) for process in [reading(desk) for _ in range(3)]}
    assert len(answers) == 1
    assert next(iter(answers))[1] == ""
    assert desk.again(columns=["open", "high", "low", "close", "volume"]) == []
    assert all(path.suffix == ".parquet" for path in desk.files())
