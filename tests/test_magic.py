"""`%%screen_sql`: what reads is answered as a table, all else is refused in one line, and by the server, too."""

from __future__ import annotations

import datetime as dt
import signal
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from sqlalchemy import URL, Engine, create_engine, text
from traitlets.config import Config

from screener_data.database.reader import READER, set_up_reader
from screener_data.errors import DatabaseError, UsageError
from screener_data.magic import select

pytestmark = pytest.mark.filterwarnings("ignore:no role screener_reader:RuntimeWarning")
PASSWORD = "geheim-4711"


@pytest.fixture(scope="module")
def engine(module_url: URL) -> Iterator[Engine]:
    """Three bars and the reader; shared, since nothing here can change it."""
    engine = create_engine(module_url)
    set_up_reader(engine, login=False)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume) VALUES "
                "('AAA', '2025-06-27', 10, 12, 9, 11.5, 100), ('AAA', '2025-06-30', 11, 12, 10, 12, NULL), "
                "('BBB', '2025-06-30', 5, 6, 4, 5.25, 7)"
            )
        )
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def ipython(tmp_path_factory: pytest.TempPathFactory) -> InteractiveShell:
    """A notebook's shell, without a history of its own."""
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config, ipython_dir=str(tmp_path_factory.mktemp("ipython")))
    shell.run_line_magic("load_ext", "screener_data")
    return shell


@pytest.fixture
def shell(ipython: InteractiveShell, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> InteractiveShell:
    monkeypatch.setenv("SCREENER_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    ipython.user_ns.pop("found", None)
    return ipython


def run(shell: InteractiveShell, cell: str) -> Any:
    done = shell.run_cell(cell)
    assert done.success, done.error_in_exec
    return done.result


# --- answers


def test_a_cell_is_a_table(shell: InteractiveShell) -> None:
    found = run(
        shell,
        "%%screen_sql\nSELECT symbol, date, close, volume, id > 0 AS kept\nFROM ohlcv_daily ORDER BY 1, 2;\n-- end",
    )
    assert found.dtypes.astype(str).to_dict() | {"date": ""} == {
        "symbol": "str",
        "date": "",
        "close": "float64",
        "volume": "float64",
        "kept": "bool",
    }
    assert pd.api.types.is_datetime64_dtype(found["date"])
    assert found["close"].tolist() == [11.5, 12, 5.25]
    assert found["date"].tolist() == [pd.Timestamp(f"2025-06-{day}") for day in (27, 30, 30)]


def test_types_without_rows_are_those_with_rows(engine: Engine) -> None:
    query = "SELECT symbol, date, close, created_at, 2::int8 AS n, now() AS now FROM ohlcv_daily WHERE id > :id"
    with_rows, without = (select(query, {"id": least}, engine=engine).frame for least in (0, 10**9))
    assert [kind.kind for kind in with_rows.dtypes] == [kind.kind for kind in without.dtypes]
    assert len(without) == 0


def test_a_line_and_a_name(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shell, "%screen_sql SELECT count(*) AS n FROM ohlcv_daily")["n"].tolist() == [3]
    assert run(shell, "found = %screen_sql --limit 1 SELECT 1 AS a\nfound")["a"].tolist() == [1]
    assert run(shell, "%%screen_sql --limit 2 --timeout 5 found <<\nSELECT symbol FROM ohlcv_daily") is None
    assert len(shell.user_ns["found"]) == 2
    assert "note: cut after 2 rows; --limit N allows more" in capsys.readouterr().err
    run(shell, "%%screen_sql --limit=3 found <<\nSELECT symbol FROM ohlcv_daily")
    assert "cut" not in capsys.readouterr().err
    assert run(shell, "%screen_sql SELECT '{x}' AS a, '$HOME' AS b, 7 % 4 AS c").iloc[0].tolist() == ["{x}", "$HOME", 3]


def test_ten_thousand_rows_unless_told(engine: Engine) -> None:
    found = select("SELECT * FROM generate_series(1, 10001) AS n", engine=engine)
    assert (len(found.frame), found.was_cut) == (10_000, True)
    found = select("SELECT * FROM generate_series(1, 10001) AS n", limit=10_001, engine=engine)
    assert (len(found.frame), found.was_cut) == (10_001, False)


# --- variables


@pytest.mark.parametrize(
    ("value", "right"),
    [
        ("O'Neil; DROP TABLE x -- %s", "O'Neil; DROP TABLE x -- %s"),
        (7, "7"),
        (Decimal("1.50"), "1.50"),
        (True, "true"),
        (None, None),
        (pd.NaT, None),
        (np.int64(3), "3"),
        (dt.date(2025, 6, 30), "2025-06-30"),
        (pd.Timestamp("2025-06-30"), "2025-06-30 00:00:00"),
        (np.datetime64("2025-06-30"), "2025-06-30 00:00:00"),
        (["a", "b'"], "{a,b'}"),
        ((1, 2), "{1,2}"),
        ([], "{}"),
        (np.array([1.5, 2]), "{1.5,2}"),
        (pd.Series(["x", None], dtype="str"), "{x,NULL}"),
        (pd.DatetimeIndex(["2025-06-30"]), '{"2025-06-30 00:00:00"}'),
    ],
)
def test_variables_are_bound(engine: Engine, value: Any, right: str | None) -> None:
    found = select("SELECT (:value)::text AS said", {"value": value}, engine=engine).frame["said"][0]
    assert (None if pd.isna(found) else found.replace(".0}", "}")) == right


def test_days_and_lists_choose_rows(shell: InteractiveShell) -> None:
    shell.user_ns |= {"day": dt.date(2025, 6, 30), "names": pd.Series(["AAA", "CCC"]), "bounds": ["2025-06-01"]}
    query = "SELECT symbol FROM ohlcv_daily WHERE date = :day AND symbol = ANY(:names) AND date > ANY(:bounds::date[])"
    assert run(shell, f"%%screen_sql\n{query}")["symbol"].tolist() == ["AAA"]


def test_what_only_looks_like_a_variable_is_none(engine: Engine) -> None:
    query = """
        SELECT '12:no'::text AS a, $$ :no ; $$ AS b, $x$ $$ ' :no $x$ AS c, E'it\\'s :no' AS "d:no", -- :no ; '
            'it''s; ' AS e, (ARRAY[1, 2, 3])[:lo:2] AS f /* :no /* nested */ ; */, 5::int::text AS g, '100%' AS h
    """
    found = select(query, {"lo": 2}, engine=engine).frame
    assert list(found) == ["a", "b", "c", "d:no", "e", "f", "g", "h"]
    assert found.iloc[0].tolist() == ["12:no", " :no ; ", " $$ ' :no ", "it's :no", "it's; ", [2], "5", "100%"]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"symbol": 1}, r"no variable 'symbols'; did you mean symbol\?"),
        ({"symbols": {"a": 1}}, "variable 'symbols' is a dict: bind a text"),
        ({"symbols": [object()]}, "variable 'symbols' is a object"),
    ],
)
def test_wrong_variables_are_named(engine: Engine, variables: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select("SELECT :symbols", variables, engine=engine)


# --- refusals


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ohlcv_daily",
        "SELECT 1; DELETE FROM ohlcv_daily",
        "COMMIT; DELETE FROM ohlcv_daily",
        "SELECT 1 /* ; */ ; -- \n TRUNCATE ohlcv_daily",
        "SELECT 1 --\r; DELETE FROM ohlcv_daily",
        "SELECT E'a'\n'\\'' ; DELETE FROM ohlcv_daily; --'",
        "SELECT $a$ $b$ $a$; DROP TABLE ohlcv_daily",
        "COPY ohlcv_daily TO STDOUT",
        "SET ROLE postgres",
        "RESET ROLE",
        "DO $$ BEGIN DELETE FROM ohlcv_daily; END $$",
        "CALL x()",
        "EXPLAIN ANALYZE DELETE FROM ohlcv_daily",
        "SELECT set_config('role', 'none', false)",
        "SELECT nextval('ohlcv_daily_id_seq')",
        "SELECT pg_catalog . \"setval\" /* */ ('ohlcv_daily_id_seq', 1)",
        "SELECT U&\"\\006eextval\"('ohlcv_daily_id_seq')",
        "SELECT lo_create(0)",
        "SELECT dblink_exec('', 'DELETE FROM ohlcv_daily')",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
        "SELECT pg_advisory_lock(1)",
        "SELECT query_to_xml('SELECT nextval(''x'')', true, true, '')",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT 'no end",
        "SELECT $a$ no end",
        "SELECT /* no end",
        "",
        " ; ",
    ],
)
def test_what_does_more_than_read_is_refused(engine: Engine, statement: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(statement, engine=engine)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "statement",
    [
        "WITH gone AS (DELETE FROM ohlcv_daily RETURNING 1) SELECT * FROM gone",
        "SELECT * INTO mine FROM ohlcv_daily",
        "SELECT * FROM ohlcv_daily FOR UPDATE",
        "SELECT nothing FROM nowhere",
        "SELECT 1 / 0",
    ],
)
def test_what_the_server_refuses_is_one_line(engine: Engine, statement: str) -> None:
    with pytest.raises(DatabaseError, match="the database refused: ") as caught:
        select(statement, {"x": PASSWORD}, engine=engine)
    assert "\n" not in str(caught.value)


def test_a_refusal_shows_no_traceback_and_stops_the_notebook(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = shell.run_cell("%%screen_sql --limit many\nSELECT 1")
    assert not done.success
    shell.run_cell("%%screen_sql\nDROP TABLE ohlcv_daily")
    monkeypatch.setenv("SCREENER_DATABASE_URL", f"postgresql://someone:{PASSWORD}@127.0.0.1:1/nowhere")
    shell.run_cell("%screen_sql SELECT 1")
    said = "".join(capsys.readouterr())
    assert "--limit 'many' is no number" in said
    assert "DROP is refused: only reading is allowed here (SELECT, WITH, VALUES, TABLE)" in said
    assert "cannot reach the database" in said
    assert "Traceback" not in said
    assert PASSWORD not in said
    assert len(said.splitlines()) == 3


def test_it_runs_as_the_reader(shell: InteractiveShell, engine: Engine) -> None:
    with engine.connect() as connection:
        may = set_up_reader(engine, login=False)
        usual = connection.execute(text("SELECT current_user")).scalar()
    query = "SELECT current_user AS name, current_setting('transaction_read_only') AS mode"
    assert run(shell, f"%screen_sql {query}").iloc[0].tolist() == [READER if may else usual, "on"]


# --- time


def test_a_long_statement_is_ended(engine: Engine) -> None:
    with pytest.raises(DatabaseError, match=r"ended after 0\.2 seconds; --timeout SECONDS allows more"):
        select("SELECT pg_sleep(20)", timeout=0.2, engine=engine)


def test_ctrl_c_cancels_the_statement(engine: Engine) -> None:
    threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()  # in a thread that is not the waiting one
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        select("SELECT pg_sleep(20)", engine=engine)
    assert time.monotonic() - started < 10
    with engine.connect() as connection:
        running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE :like"
        assert connection.execute(text(running), {"like": "FETCH%screen_sql%"}).scalar() == 0
