"""Sessions without a bar: a gap of each kind planted in the small invented market, and the exchange's own files."""

from __future__ import annotations

import csv
import datetime as dt
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import URL, Engine, NullPool, create_engine, text
from typer.testing import CliRunner

import screener_data as sd
from screener_data.cli import app
from screener_data.errors import UsageError
from screener_data.gaps import KINDS, plan
from screener_data.loaders.bhavcopy import SERIES

NO_FILE = [dt.date(2025, 2, 1), dt.date(2025, 2, 3), dt.date(2025, 3, 13)]  # the first was a Saturday, a session
THIN = dt.date(2025, 4, 7)
#: The sample's dirt (samples.DIRT): a close above the high, letters for a number, a row that is cut.
REJECTED = {
    ("ZEL-AUTO", dt.date(2025, 4, 2)),
    ("K&VCORP", dt.date(2025, 4, 21)),
    ("BONUSCO", dt.date(2025, 5, 20)),
}


@pytest.fixture(scope="module")
def files(market: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample market's bhavcopies of half a year without three days, and cut on one."""
    folder = tmp_path_factory.mktemp("gaps")
    shutil.copytree(market / "bhavcopy", folder, dirs_exist_ok=True)
    for day in NO_FILE:
        path_of(folder, day).unlink()
    lines = path_of(folder, THIN).read_text().splitlines(keepends=True)
    path_of(folder, THIN).write_text("".join(lines[: len(lines) // 3]))
    return folder


@pytest.fixture(scope="module")
def url(
    servers: dict[str, URL],
    templates: dict[str, URL],
    files: Path,
    market: Path,
    drop_database: Callable[[URL, URL], None],
) -> Iterator[URL]:
    """A database of those files and the lists, to be cloned."""
    server = servers["embedded"]
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "gaps_template" TEMPLATE "{templates["embedded"].database}"'))
    admin.dispose()
    engine = create_engine(server.set(database="gaps_template"))
    results = sd.load([market / "lists", market / "symbol_changes", files], engine=engine)
    assert not any(result.error for result in results)
    engine.dispose()
    yield engine.url
    drop_database(server, engine.url)


@pytest.fixture(scope="module")
def intact(url: URL) -> Engine:
    """To be read only. It keeps no connection, so that the database can be cloned."""
    return create_engine(url, poolclass=NullPool)


@pytest.fixture
def stored(url: URL, clone: Callable[[URL], Engine]) -> Engine:
    return clone(url)


def path_of(folder: Path, day: dt.date) -> Path:
    return folder / "full" / f"sec_bhavdata_full_{day:%d%m%Y}.csv"


def traded(files: Path) -> dict[str, set[dt.date]]:
    """The days of each security by the files themselves, read by other means."""
    found: dict[str, set[dt.date]] = {}
    for path in [*files.glob("full/*.csv"), *files.glob("udiff/*.zip")]:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
        names = ("SYMBOL", "SERIES", "DATE1") if path.suffix == ".csv" else ("TckrSymb", "SctySrs", "TradDt")
        for symbol, series, date in table[list(names)].itertuples(index=False):
            if series in SERIES:
                now = {"OLDNAME": "NEWNAME"}.get(symbol, symbol)
                found.setdefault(now, set()).add(pd.Timestamp(date).date())
    for symbol, day in REJECTED:
        found[symbol].remove(day)
    return found


def cells(found: pd.DataFrame, engine: Engine) -> dict[tuple[str, dt.date], str]:
    """The kind of each session of each stretch."""
    calendar = sd.sessions(engine=engine)
    days: dict[tuple[str, dt.date], str] = {}
    for stretch in found.itertuples():
        sessions = calendar[calendar.slice_indexer(stretch.first, stretch.last)]
        assert len(sessions) == stretch.sessions
        days |= {(stretch.symbol, day.date()): stretch.kind for day in sessions}
    assert len(days) == found["sessions"].sum()  # none twice
    return days


def right(files: Path, engine: Engine) -> dict[tuple[str, dt.date], str]:
    """What `gaps` should find in what is stored, before anything else is planted."""
    with engine.connect() as connection:
        listed = {row.symbol: row.listing_date for row in connection.execute(text("SELECT * FROM securities"))}
    sessions = [day.date() for day in sd.sessions(engine=engine)]
    kinds = {}
    for symbol, days in traded(files).items():
        since = min(listed.get(symbol) or min(days), min(days))
        for day in sessions:
            if since <= day < max(days) and day not in days:
                is_missing = day in {*NO_FILE, THIN} or (symbol, day) in REJECTED
                kinds[symbol, day] = "missing" if is_missing else "suspended"
    return kinds


def execute(engine: Engine, statement: str, **values: object) -> int:
    with engine.begin() as connection:
        return connection.execute(text(statement), values).rowcount


def of(engine: Engine, symbol: str, day: dt.date | None = None) -> list[tuple[str, str]]:
    found = sd.gaps(symbol, day, day, engine=engine)
    return list(zip(found["kind"], found["evidence"], strict=True))


# --- each kind


def test_all_sessions_without_a_bar_are_found_and_told(intact: Engine, files: Path) -> None:
    found, expected = sd.gaps(engine=intact), right(files, intact)
    assert cells(found, intact) == expected
    assert set(expected.values()) == {"missing", "suspended"}
    assert len(expected) > 150
    assert list(found) == ["symbol", "kind", "first", "last", "sessions", "evidence"]
    assert [str(kind) for kind in found.dtypes] == ["str", "str", "datetime64[s]", "datetime64[s]", "int64", "str"]
    keys = list(zip(found["symbol"], found["first"], strict=True))
    assert keys == sorted(keys)
    assert set(found["kind"]) < set(KINDS)


def test_the_evidence_of_what_is_missing(intact: Engine) -> None:
    found = sd.gaps(engine=intact)
    missing = found[found["kind"] == "missing"]
    by_day = missing.groupby("first")["evidence"].unique().map(list)
    assert {day.date(): told for day, told in by_day.items()} == {
        NO_FILE[0]: ["no bhavcopy of the day was loaded"],  # two sessions, a Sunday between
        NO_FILE[2]: ["no bhavcopy of the day was loaded"],
        THIN: ["less than half of the usual number of securities have a bar"],
    } | {day: ["its row of the day's bhavcopy waits in the quarantine"] for _, day in REJECTED}
    assert missing.loc[missing["first"] == pd.Timestamp(NO_FILE[0]), "sessions"].unique().tolist() == [2]


def test_a_suspension_is_one_stretch(intact: Engine) -> None:
    [stretch] = [row for row in sd.gaps("PAUSECO", engine=intact).itertuples() if row.kind == "suspended"]
    assert stretch.sessions == 8
    assert stretch.evidence == "not in the bhavcopy; the next bar's prev_close is the last close"


def test_another_price_after_a_suspension_is_a_base_price(stored: Engine) -> None:
    [stretch] = [row for row in sd.gaps("PAUSECO", engine=stored).itertuples() if row.kind == "suspended"]
    execute(
        stored,
        "UPDATE ohlcv_daily SET prev_close = 2 * prev_close WHERE symbol = 'PAUSECO' AND date = "
        "(SELECT min(date) FROM ohlcv_daily WHERE symbol = 'PAUSECO' AND date > :last)",
        last=stretch.last.date(),
    )
    day = stretch.first.date()
    assert of(stored, "PAUSECO", day) == [
        ("suspended", "not in the bhavcopy; the next bar's prev_close is a new base price")
    ]


def test_a_bar_that_is_gone_is_missing(stored: Engine) -> None:
    """The file had it, so nobody skipped or rejected it; the price went on without it."""
    day = dt.date(2025, 6, 11)
    assert of(stored, "SPLITCO", day) == []
    assert execute(stored, "DELETE FROM ohlcv_daily WHERE symbol = 'SPLITCO' AND date = :day", day=day) == 1
    [told] = of(stored, "SPLITCO", day)
    assert told == ("missing", "the next bar's prev_close is not the last close, and bars of the day are gone")
    assert [
        (run.first, run.last, run.securities) for run in plan(sd.gaps(start=day, end=day, engine=stored), engine=stored)
    ] == [(day, day, 1)]


def test_a_day_whose_bars_are_gone_is_missing_though_it_was_loaded(stored: Engine) -> None:
    day = dt.date(2025, 6, 11)
    execute(stored, "DELETE FROM ohlcv_daily WHERE date = :day", day=day)
    found = sd.gaps(start=day, end=day, engine=stored)
    assert len(found) > 25
    assert set(found["kind"]) == {"missing"}


def test_a_trade_that_another_source_tells_of(stored: Engine) -> None:
    """The bhavcopy was loaded whole without it, so it was in a series that is not stored; or its bar was deleted."""
    pause = sd.gaps("PAUSECO", engine=stored).query("kind == 'suspended'")
    first = pause["first"].iloc[0].date()
    deal = (
        "INSERT INTO bulk_deals (date, symbol, client_name, deal_type, quantity, price) "
        "VALUES (:day, 'PAUSECO', 'A CLIENT', 'BUY', 1000, 10)"
    )
    execute(stored, deal, day=first)
    told = "market_cap_history or a deal tells of a trade, and the bhavcopy of none in a stored series"
    assert of(stored, "PAUSECO", first) == [("other_series", told)]
    assert [kind for kind, _ in of(stored, "PAUSECO")].count("suspended") == 1  # the other seven sessions
    execute(stored, "DELETE FROM ohlcv_daily WHERE symbol = 'SPLITCO' AND date = :day", day=first)
    assert of(stored, "PAUSECO", first) == [
        ("missing", "market_cap_history or a deal tells of a trade, and bars of the day are gone")
    ]


@pytest.mark.parametrize(
    ("series", "last_trade", "right"),
    [
        ("X1", 0, ("other_series", "market_cap_history: in a series that is not stored")),
        (
            "EQ",
            0,
            (
                "other_series",
                "market_cap_history or a deal tells of a trade, and the bhavcopy of none in a stored series",
            ),
        ),
        ("EQ", -3, ("suspended", "not in the bhavcopy; market_cap_history: no trade since before")),
    ],
)
def test_market_capitalisation_tells_of_a_series_and_of_the_last_trade(
    stored: Engine, series: str, last_trade: int, right: tuple[str, str]
) -> None:
    pause = sd.gaps("PAUSECO", engine=stored).query("kind == 'suspended'")
    day = pause["first"].iloc[0].date()
    execute(
        stored,
        "INSERT INTO market_cap_history (symbol, date, series, last_trade_date, market_cap) "
        "VALUES ('PAUSECO', :day, :series, :last, 1)",
        day=day,
        series=series,
        last=day + dt.timedelta(days=last_trade),
    )
    assert of(stored, "PAUSECO", day) == [right]


def test_before_a_new_listing_it_was_not_listed(stored: Engine) -> None:
    """Delisted and listed again: the days between are told by the date; a hole before or after is not."""
    pause = sd.gaps("PAUSECO", engine=stored).query("kind == 'suspended'")
    again = sd.sessions(pause["last"].iloc[0].date(), engine=stored)[1].date()
    execute(stored, "UPDATE securities SET listing_date = :day WHERE symbol = 'PAUSECO'", day=again)
    kinds = sd.gaps("PAUSECO", engine=stored).groupby("kind")["sessions"].sum().to_dict()
    assert kinds == {"not_listed": 8, "missing": 4}  # three days without a file, one with a cut one


def test_a_security_under_surveillance_that_has_not_traded_yet(stored: Engine) -> None:
    """Listed before its first bar: no close is there to compare a prev_close with."""
    symbol = "PAUSECO"
    first = sd.sessions(engine=stored)[:3]
    execute(
        stored, "DELETE FROM ohlcv_daily WHERE symbol = :symbol AND date <= :day", symbol=symbol, day=first[-1].date()
    )
    day = first[1].date()
    assert of(stored, symbol, day) == [("suspended", "not in the bhavcopy")]
    execute(
        stored,
        "INSERT INTO surveillance_measures (date, symbol, measure_type) VALUES (:day, :symbol, 'GSM')",
        day=day,
        symbol=symbol,
    )
    assert of(stored, symbol, day) == [("suspended", "not in the bhavcopy; under surveillance")]


# --- what is asked for


def test_symbols_and_days(intact: Engine) -> None:
    everything = sd.gaps(engine=intact)
    two = sd.gaps(["PAUSECO", "BONUSCO"], engine=intact)
    assert two.equals(everything[everything["symbol"].isin(["PAUSECO", "BONUSCO"])].reset_index(drop=True))
    assert sd.gaps("all", engine=intact).equals(everything)
    [cut] = sd.gaps("PAUSECO", "2025-02-03", "2025-02-28", engine=intact).itertuples()
    assert (cut.first.date(), cut.last.date(), cut.sessions) == (NO_FILE[1], NO_FILE[1], 1)
    with pytest.raises(UsageError, match="no symbol 'PAUSCO'; did you mean PAUSECO"):
        sd.gaps("PAUSCO", engine=intact)
    with pytest.raises(UsageError, match="no symbol 'NIFTY 50'"):
        sd.gaps("NIFTY 50", engine=intact)


def test_nothing_stored_has_no_gaps(engine: Engine) -> None:
    found = sd.gaps(engine=engine)
    assert found.empty
    assert plan(found, engine=engine) == []


def test_bars_of_another_source_do_not_make_a_bhavcopy(stored: Engine) -> None:
    """A day that only Upstox's candles of many symbols gave is to be fetched all the same."""
    day = sd.gaps("PAUSECO", engine=stored).query("kind == 'suspended'")["first"].iloc[0].date()
    assert execute(stored, "UPDATE load_files SET source = 'upstox_ohlcv' WHERE first_day = :day", day=day) == 1
    assert of(stored, "PAUSECO", day) == [("missing", "no bhavcopy of the day was loaded")]
    # it may have traded then, so that the price after the pause tells nothing of the other days
    assert of(stored, "PAUSECO", day + dt.timedelta(days=1)) == [("suspended", "not in the bhavcopy")]


# --- the plan


def test_the_plan_fetches_each_run_of_days_and_then_nothing_is_missing(stored: Engine, market: Path) -> None:
    runs = plan(sd.gaps(engine=stored), engine=stored)
    assert [run.sessions for run in runs] == [NO_FILE[:2], NO_FILE[2:], [THIN]]
    assert [run.command for run in runs] == [
        "screener-data fetch --from 2025-02-01 --to 2025-02-03 nse_bhavcopy",
        "screener-data fetch --from 2025-03-13 --to 2025-03-13 nse_bhavcopy",
        "screener-data fetch --from 2025-04-07 --to 2025-04-07 nse_bhavcopy",
    ]
    sd.load([path_of(market / "bhavcopy", day) for run in runs for day in run.sessions], engine=stored)
    left = sd.gaps(engine=stored).query("kind == 'missing'")
    assert left["symbol"].tolist() == sorted(symbol for symbol, _ in REJECTED)
    assert plan(left, engine=stored) == []


def test_the_command(intact: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENER_DATABASE_URL", intact.url.render_as_string(hide_password=False))
    run = CliRunner()
    found = run.invoke(app, ["gaps", "PAUSECO", "--from", "2025-04-01", "--json"])
    assert [row["kind"] for row in json.loads(found.stdout)] == ["missing", "suspended"]
    assert json.loads(found.stdout)[0]["first"] == "2025-04-07"
    assert found.stderr.splitlines() == ["missing: 1 sessions of 1 securities", "suspended: 8 sessions of 1 securities"]
    assert "PAUSECO" in run.invoke(app, ["gaps", "PAUSECO"]).stdout
    lines = run.invoke(app, ["gaps", "--plan"]).stdout.splitlines()
    entries = json.loads(run.invoke(app, ["gaps", "--plan", "--json"]).stdout)
    assert lines == [entry["command"] for entry in entries]
    assert entries[0]["sessions"] == [str(day) for day in NO_FILE[:2]]
    assert (entries[0]["source"], entries[0]["first"], entries[0]["last"]) == (
        "nse_bhavcopy",
        "2025-02-01",
        "2025-02-03",
    )
    wrong = run.invoke(app, ["gaps", "PAUSCO"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")


# --- the exchange's own files


def test_real_days(engine: Engine, shared: Path) -> None:
    """Two weeks around the Saturday of the Union Budget, whose full bhavcopy is not among the files."""
    days = [day.date() for day in sd.sessions("2025-01-27", "2025-02-07", engine=engine)]
    budget = dt.date(2025, 2, 1)
    folder = shared / "bhavcopy"
    paths = [path_of(folder, day) for day in days if day != budget]
    assert len(days) == 11
    assert not path_of(folder, budget).exists()
    sd.load(paths, engine=engine)
    held: dict[str, set[dt.date]] = {}
    for path, day in zip(paths, [day for day in days if day != budget], strict=True):
        for row in csv.reader(path.read_text().splitlines(), skipinitialspace=True):
            if row[1] in SERIES:
                held.setdefault(row[0], set()).add(day)
    expected = {
        (symbol, day): "missing" if day == budget else "suspended"
        for symbol, traded in held.items()
        for day in days
        if min(traded) < day < max(traded) and day not in traded
    }
    found = sd.gaps(engine=engine)
    assert cells(found, engine) == expected
    assert sum(kind == "missing" for kind in expected.values()) > 2500
    assert [run.sessions for run in plan(found, engine=engine)] == [[budget]]
    # shares that are traded now and then keep their price: nothing tells of a trade on the days without them
    alone = found[(found["kind"] == "suspended") & found["evidence"].str.contains("a new base price")]
    assert len(alone) == 0
