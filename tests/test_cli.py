"""The command line as people and scripts meet it: data on stdout, talk on stderr, the exit code tells."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import Result
from sqlalchemy import URL, Engine, create_engine, make_url, text
from typer.main import get_command
from typer.testing import CliRunner

from screener_data import notebooks
from screener_data.cli import app
from screener_data.config import settings
from screener_data.database import migrate
from screener_data.database.embedded import EmbeddedServer
from screener_data.loaders import SOURCES

PROGRAM = Path(sys.executable).with_name("screener-data")
DAY = "sec_bhavdata_full_30062025.csv"
#: Each command's options and arguments, by the contract.
COMMANDS: dict[str, set[str]] = {
    "init": set(),
    "load": {"paths", "--source", "--json"},
    "rejects": {"--source", "--limit", "--json"},
    "replay": {"--source", "--json"},
    "status": {"--json"},
    "metrics": {"--from", "--to", "--benchmark", "--json"},
    "gaps": {"symbols", "--from", "--to", "--plan", "--json"},
    "check": {"--json", "--html"},
    "screen": {"where", "--date", "--columns", "--limit", "--list", "--json"},
    "run": {"notebook", "parameters"},
    "export": {"notebook", "--output"},
    "schedule": {"kind", "--at", "--output"},
    "backup": {"file"},
    "restore": {"file", "--replace"},
    "reader-sql": set(),
    "url": set(),
    "psql": set(),
    "lab": set(),
    "stop": set(),
}
LATER = {"fetch"}
COUNTS = ["read", "inserted", "updated", "unchanged", "rejected", "skipped"]
RESULT = ["file", "source", "status", "sha256", *COUNTS, "reasons", "elapsed_ms", "log_id", "error"]


def cli(*words: object, code: int = 0) -> Result:
    """Run a command in this process. Whatever happens, people see no traceback."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    return result


def shell(*words: object, env: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own."""
    command = [str(PROGRAM), *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | (env or {}), **options
    )


def spoken(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def rows(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        assert connection.execute(text(statement)).rowcount


@pytest.fixture
def lists(market: Path) -> Path:
    return market / "lists" / "2025-06-30"


@pytest.fixture
def bars(market: Path) -> Path:
    """The bhavcopy of the last day: 32 securities' bars and three rows that are out of scope."""
    return market / "bhavcopy" / "full" / DAY


@pytest.fixture
def caps(market: Path) -> Path:
    """A zip that holds market capitalisations, indices, and two files of no source."""
    return market / "market_cap" / "PR300625.zip"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """An error page under a data file's name."""
    path = tmp_path / "EQUITY_L.csv"
    path.write_text("<html>Access Denied</html>", encoding="utf-8")
    return path


# --- the table of commands


def test_the_commands_are_those_of_the_contract() -> None:
    assert set(COMMANDS) <= set(get_command(app).commands) <= set(COMMANDS) | LATER  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = cli(name, "--help")
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    assert command.help.splitlines()[0].split()[0] in result.stdout
    assert result.stderr == ""
    taken = {parameter.opts[-1] for parameter in command.params if parameter.name != "help"}
    assert taken == COMMANDS[name]


def test_no_command_is_wrong_usage_and_shows_help() -> None:
    assert "Commands" in cli(code=2).output


@pytest.mark.parametrize(
    "words", [["lood"], ["load"], ["status", "--jason"], ["init", "now"], ["rejects", "--limit", "0"]]
)
def test_wrong_words_are_wrong_usage(words: list[str]) -> None:
    result = cli(*words, code=2)
    assert result.stdout == ""
    assert "Usage" in result.stderr


# --- init


def test_init_makes_the_tables_and_may_be_repeated(
    empty_url: URL, lists: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCREENER_DATABASE_URL", spoken(empty_url))
    for _ in range(2):
        result = cli("init")
        assert result.stdout == ""
        assert f"schema {migrate.head()}" in result.stderr
        assert empty_url.password is None or empty_url.password not in result.stderr
    cli("load", lists)
    cli("init")
    assert json.loads(cli("status", "--json").stdout)["tables"][0]["rows"] == 35


@pytest.mark.parametrize(
    "words",
    [["load", "{file}"], ["rejects"], ["replay"], ["status"], ["metrics"], ["check"], ["screen", "trend_template"]],
)
def test_before_init_the_next_step_is_told(
    empty_url: URL, bars: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("SCREENER_DATABASE_URL", spoken(empty_url))
    result = cli(*(word.format(file=bars) for word in words), code=1)
    assert result.stdout == ""
    assert result.stderr == "error: the database has no tables yet: run `screener-data init` first\n"


# --- load


def test_load_json_is_one_document_of_the_contract(engine: Engine, lists: Path, caps: Path, broken: Path) -> None:
    results = json.loads(cli("load", "--json", lists, caps, broken, code=1).stdout)
    assert [list(result) for result in results] == [RESULT] * 7
    for result in results:
        assert result["read"] == sum(result[name] for name in COUNTS[1:])
        assert sum(result["reasons"].values()) == result["rejected"] + result["skipped"]
        assert result["source"] in SOURCES
        assert isinstance(result["log_id"], int)
        assert isinstance(result["elapsed_ms"], int)
        if result["status"] != "failure":
            assert re.fullmatch(r"[0-9a-f]{64}", result["sha256"])
            assert result["error"] is None
    assert [(result["source"], result["status"], result["inserted"]) for result in results] == [
        ("nse_securities", "success", 24),
        ("nse_securities", "failure", 0),
        ("nse_sme", "success", 5),
        ("nse_etfs", "success", 6),
        ("nse_corporate_actions", "success", 0),
        ("nse_indices", "success", 9),
        ("nse_market_cap", "partial", 29),
    ]
    assert "a web page, not data" in results[1]["error"]
    assert results[6]["reasons"] == {"footer": 3, "unknown_symbol": 1}
    assert rows(engine, "ingestion_logs") == 7


def test_load_shows_a_table_and_talks_on_stderr(engine: Engine, caps: Path, lists: Path) -> None:
    result = cli("load", lists, caps)
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["file", "source", "status", *COUNTS, "elapsed_ms"]
    assert len(lines) == 7
    assert "nse_market_cap" in lines[-1]
    assert "6 files: read 113, inserted 73, updated 0, unchanged 0, rejected 1, skipped 39" in result.stderr
    assert result.stderr.count("passed over") == 1  # a member of the zip that is no data


def test_a_repeated_load_changes_nothing(engine: Engine, lists: Path) -> None:
    cli("load", lists / "EQUITY_L.csv")
    (again,) = json.loads(cli("load", "--json", lists / "EQUITY_L.csv").stdout)
    assert [again[name] for name in COUNTS] == [24, 0, 0, 24, 0, 0]


def test_a_failed_file_does_not_keep_the_others_away(engine: Engine, broken: Path, bars: Path) -> None:
    result = cli("load", broken, bars, code=1)
    assert f"error: {broken}, line 1: a web page, not data" in result.stderr
    assert rows(engine, "ohlcv_daily") == 32


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{bars}", "{tmp}/missing.csv"], "missing.csv: no such file or folder"),
        (["{bars}", "--source", "nse"], f"no source 'nse'; there are: {', '.join(SOURCES)}"),
        (["{tmp}"], "no .csv, .json, .gz or .zip in this folder"),
        (["{bars}", "--sauce", "nse_bhavcopy"], "No such option: --sauce"),
    ],
)
def test_wrong_usage_loads_nothing(engine: Engine, bars: Path, tmp_path: Path, words: list[str], message: str) -> None:
    result = cli("load", *(word.format(bars=bars, tmp=tmp_path) for word in words), code=2)
    assert result.stdout == ""
    assert message in re.sub(r"[\s│]+", " ", result.stderr)
    assert rows(engine, "ingestion_logs") == 0


def test_a_given_source_reads_a_file_of_another_name(engine: Engine, bars: Path, tmp_path: Path) -> None:
    path = tmp_path / "prices of monday.csv"
    shutil.copy(bars, path)
    (result,) = json.loads(cli("load", path, "--source", "nse_bhavcopy", "--json").stdout)
    assert (result["source"], result["inserted"]) == ("nse_bhavcopy", 32)
    (result,) = json.loads(cli("load", path, "--source", "nse_sme", "--json", code=1).stdout)
    assert (result["source"], result["status"]) == ("nse_sme", "failure")


# --- rejects and replay


def test_rejects_shows_what_waits(engine: Engine, caps: Path) -> None:
    assert cli("rejects").stdout == ""
    assert json.loads(cli("rejects", "--json").stdout) == []
    cli("load", caps)  # before the lists: no symbol is known
    found = json.loads(cli("rejects", "--json").stdout)
    assert len(found) == 30
    assert {row["reason"] for row in found} == {"unknown_symbol"}
    assert {"source", "file", "line", "reason", "column", "detail", "raw"} < set(found[0])
    assert len(json.loads(cli("rejects", "--json", "--limit", 2).stdout)) == 2
    assert json.loads(cli("rejects", "--json", "--source", "nse_indices").stdout) == []
    assert cli("rejects", "--source", "nse_sme").stdout == ""
    assert "no source 'sme'" in cli("rejects", "--source", "sme", code=2).stderr
    lines = cli("rejects", "--limit", 3).stdout.splitlines()
    assert lines[0].split() == ["source", "file", "line", "reason", "column", "detail", "raw"]
    assert len(lines) == 4
    assert "is in no list of securities" in lines[1]


def test_rows_are_replayed_by_themselves_and_by_hand(engine: Engine, caps: Path, lists: Path) -> None:
    cli("load", caps)
    assert rows(engine, "market_cap_history") == 0
    cli("load", lists)
    assert rows(engine, "market_cap_history") == 29
    assert [row["symbol"] for row in json.loads(cli("rejects", "--json").stdout)] == ["GHOSTCO"]

    (result,) = json.loads(cli("replay", "--json").stdout)  # nothing was mended
    assert list(result) == RESULT
    assert (result["status"], result["reasons"]) == ("partial", {"unknown_symbol": 1})
    execute(
        engine,
        "INSERT INTO securities (symbol, isin, security_name, security_type) "
        "VALUES ('GHOSTCO', 'INEZ99901011', 'Ghostra Company Limited', 'EQUITY')",
    )
    assert json.loads(cli("replay", "--json", "--source", "nse_sme").stdout) == []
    result = cli("replay")
    assert "nse_market_cap success" in re.sub(" +", " ", result.stdout)
    assert "1 files: read 1, inserted 1," in result.stderr
    assert rows(engine, "market_cap_history") == 30
    assert cli("rejects").stdout == cli("replay").stdout == ""


# --- status and check


def test_status_shows_tables_sources_and_rejects(engine: Engine, lists: Path, bars: Path, caps: Path) -> None:
    cli("load", lists, bars, caps)
    found = json.loads(cli("status", "--json").stdout)
    assert list(found) == ["sources", "tables", "rejects"]
    assert {"table": "ohlcv_daily", "rows": 41, "first": "2025-06-30", "last": "2025-06-30"} in found["tables"]
    assert {row["source"]: row["inserted"] for row in found["sources"]} == {
        "nse_securities": 24,
        "nse_sme": 5,
        "nse_etfs": 6,
        "nse_bhavcopy": 32,
        "nse_corporate_actions": 0,  # two bonds pay interest
        "nse_indices": 9,
        "nse_market_cap": 29,
    }
    assert found["rejects"] == [{"source": "nse_market_cap", "reason": "unknown_symbol", "rows": 1}]
    shown = re.sub(" +", " ", cli("status").stdout)
    for line in ("tables", "ohlcv_daily 41 2025-06-30", "last load of each source", "nse_sme success", "rejected rows"):
        assert f"\n{line}" in f"\n{shown}".replace("\n ", "\n"), shown


def test_check_is_well_or_names_the_fault(engine: Engine, lists: Path, bars: Path, caps: Path, tmp_path: Path) -> None:
    cli("load", lists, bars, caps)
    result = cli("check")
    assert "rejects_waiting: 1 rejected" in result.stdout
    assert re.search(r"\d+ checks, \d with findings, 0 of them errors", result.stderr)
    findings = json.loads(cli("check", "--json").stdout)
    assert {tuple(finding) for finding in findings} == {
        ("name", "severity", "count", "detail", "todo", "examples", "before")
    }
    assert "rejects_waiting: 1 (as last time) rejected" in cli("check").stdout

    execute(engine, "DELETE FROM ohlcv_daily WHERE symbol IN ('NA', 'NAN')")
    shown = cli("check", code=1).stdout
    assert shown.startswith("error: rows_lost_ohlcv_daily: 1 (0 last time, +1)")
    assert "41 were inserted, 39 are there" in shown
    assert "load the files again" in shown
    findings = json.loads(cli("check", "--json", code=1).stdout)
    assert [finding["name"] for finding in findings if finding["severity"] == "error" and finding["count"]] == [
        "rows_lost_ohlcv_daily"
    ]

    page = tmp_path / "checks.html"
    assert cli("check", "--html", page, code=1).stdout == f"{page}\n"
    assert "41 were inserted, 39 are there" in page.read_text(encoding="utf-8")
    assert len(json.loads(cli("check", "--html", page, "--json", code=1).stdout)) == len(findings)
    assert "the page cannot be written" in cli("check", "--html", tmp_path, code=2).stderr


# --- metrics


def test_metrics_json_is_one_document(engine: Engine, lists: Path, bars: Path) -> None:
    cli("load", lists, bars)
    first, again = (json.loads(cli("metrics", "--json").stdout) for _ in range(2))
    assert list(first) == [
        *("version", "benchmark", "first_day", "last_day", "inserted", "updated", "unchanged", "deleted", "elapsed_ms")
    ]
    assert first["inserted"] == rows(engine, "calculated_metrics") > 20
    assert (first["benchmark"], first["first_day"], first["last_day"]) == ("NIFTY 50", "2025-06-30", "2025-06-30")
    assert (again["first_day"], again["inserted"], again["unchanged"]) == (None, 0, 0)


def test_metrics_are_talked_about_on_stderr(engine: Engine, lists: Path, bars: Path) -> None:
    cli("load", lists, bars)
    count = json.loads(cli("metrics", "--json").stdout)["inserted"]
    result = cli("metrics", "--from", "2025-06-30", "--to", "2025-06-30")
    assert result.stdout == ""
    assert result.stderr == f"2025-06-30 to 2025-06-30: inserted 0, updated 0, unchanged {count}, deleted 0\n"
    assert "no new session: inserted 0, updated 0" in cli("metrics").stderr
    execute(engine, "DELETE FROM ohlcv_daily")
    assert f"no new session: inserted 0, updated 0, unchanged 0, deleted {count}" in cli("metrics").stderr


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "tomorrow"], "'tomorrow' is no day; write 2025-01-16"),
        (["--to", "16-01-2025"], "'16-01-2025' is no day"),
        (["--from", "2025-01-17", "--to", "2025-01-16"], "the first day, 2025-01-17, is after the last one"),
        (["--benchmark", "NIFTY50"], "no symbol 'NIFTY50'"),
    ],
)
def test_metrics_of_wrong_words(words: list[str], message: str) -> None:
    result = cli("metrics", *words, code=2)
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {message}")


def test_metrics_that_the_database_refuses(engine: Engine, lists: Path, bars: Path) -> None:
    cli("load", lists, bars)
    execute(engine, "ALTER TABLE calculated_metrics ADD CONSTRAINT none_at_all CHECK (false)")
    result = cli("metrics", "--json", code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("error: no metrics were stored: ")
    assert "none_at_all" in result.stderr


# --- run


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A notebook of two lines, which fails when asked to."""
    monkeypatch.setenv("SCREENER_RUNS", str(tmp_path / "runs"))
    cells = [nbformat.v4.new_code_cell("number: int = 1"), nbformat.v4.new_code_cell("print(7 // number)")]
    cells[0].metadata["tags"] = ["parameters"]
    path = tmp_path / "tiny.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_run_prints_where_the_output_is(notebook: Path) -> None:
    result = cli("run", notebook, "number=3")
    output = Path(result.stdout.strip())
    assert output.parent == notebook.parent / "runs"
    assert nbformat.read(output, 4).cells[-1].outputs[0].text == "2\n"


def test_run_of_several_notebooks(notebook: Path) -> None:
    result = cli("run", notebook, "number=2", notebook, "number=0", notebook, code=1)
    first, second = map(Path, result.stdout.split())
    assert first.is_file()
    assert second.name.endswith(".failed.ipynb")


def test_run_of_a_failing_notebook(notebook: Path) -> None:
    result = cli("run", notebook, "number=0", code=1)
    assert Path(result.stdout.strip()).is_file()
    assert re.search("error: tiny failed after [0-9]+ s: ZeroDivisionError: ", result.stderr)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{tiny}", "number=three"], "tiny: parameter number (int): "),
        (["{tiny}", "numbers=3"], "no parameter 'numbers' (there are: number)"),
        (["{tiny}", "number"], "no notebook 'number'; there are: "),
        (["{tiny}", "{tiny}", "number=x"], "parameter number (int): "),
        (["99"], f"no notebook '99'; there are: {', '.join(notebooks.NOTEBOOKS)}, or a path"),
        (["02_ingest_sample", "symbols=1000"], "parameter symbols (int): "),
        (["03", "fail_on=all"], "parameter fail_on "),
    ],
)
def test_run_with_wrong_words(notebook: Path, words: list[str], message: str) -> None:
    result = cli("run", *(word.format(tiny=notebook) for word in words), code=2)
    assert message in result.stderr
    assert result.stdout == ""
    assert not (notebook.parent / "runs").exists()


# --- as processes: what is on which stream


def test_stdout_holds_data_and_nothing_else(database_url: URL, lists: Path, caps: Path) -> None:
    loaded = shell("load", "--json", lists, caps)
    assert len(json.loads(loaded.stdout)) == 6
    assert "6 files: read" in loaded.stderr
    assert "passed over" in loaded.stderr
    url = shell("url")
    assert (url.stdout, url.stderr) == (f"{spoken(database_url)}\n", "")


# --- the server given by URL


def test_url_can_be_used_as_it_is(database_url: URL) -> None:
    printed = cli("url").stdout.strip()
    assert make_url(printed) == database_url
    engine = create_engine(printed)
    assert rows(engine, "alembic_version") == 1
    engine.dispose()


WRONG: dict[str, tuple[Callable[[URL], URL], str]] = {
    "password": (lambda url: url.set(password="Wr0ng-Secret"), "password authentication failed"),
    "port": (lambda url: url.set(host="127.0.0.1", port=1, password="Wr0ng-Secret", query={}), "refused"),
    "database": (lambda url: url.set(database="nowhere"), 'database "nowhere" does not exist'),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_address_is_one_line_without_the_password(
    server: str, database_url: URL, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "password" and server == "embedded":
        pytest.skip("the embedded server asks for none")
    wrong, reason = WRONG[what]
    address = wrong(database_url)
    monkeypatch.setenv("SCREENER_DATABASE_URL", spoken(address))
    for command in ("init", "status"):
        result = cli(command, code=1)
        assert result.stdout == ""
        assert result.stderr.startswith("error: cannot reach the database ")
        assert reason in result.stderr
        assert result.stderr.count("\n") == 1
        assert address.password is None or address.password not in result.stderr


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("my s3cret", "SCREENER_DATABASE_URL is not an address"),
        ("mysql://root:s3cret@localhost/x", "only PostgreSQL is supported"),
    ],
)
def test_what_is_no_address_of_postgresql(monkeypatch: pytest.MonkeyPatch, address: str, message: str) -> None:
    monkeypatch.setenv("SCREENER_DATABASE_URL", address)
    result = cli("status", code=1)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "s3cret" not in result.stderr


def test_a_read_only_database_refuses_in_one_line(engine: Engine, bars: Path) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f'ALTER DATABASE "{engine.url.database}" SET default_transaction_read_only = on'))
    result = cli("load", bars, code=1)
    assert result.stdout == ""
    assert "read-only transaction" in result.stderr
    assert result.stderr.count("\n") == 1
    cli("status")


def test_a_given_server_is_not_ours_to_stop(database_url: URL) -> None:
    assert "not ours to stop" in cli("stop", code=2).stderr
    cli("status")


# --- psql


@pytest.fixture
def client(embedded: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A psql on PATH."""
    monkeypatch.setenv("PATH", str(embedded.binary("psql").parent), prepend=os.pathsep)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A psql on PATH that tells how it was called, is deaf to Ctrl-C, and ends with code 7."""
    path = tmp_path / "psql"
    path.write_text(
        '#!/bin/sh\ntrap "echo interrupted" INT\nprintf "%s\\n" "$@" "$PGPASSWORD"\nsleep "${NAP:-0}"\nexit 7\n'
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SCREENER_DATABASE_URL", "postgresql+psycopg2://me:p%40ss@db.example:5433/prices?sslmode=prefer")
    return path


@pytest.mark.usefixtures("client")
def test_psql_works_on_the_database(database_url: URL) -> None:
    done = shell("psql", "--no-psqlrc", "-Atc", "SELECT current_database(), count(*) FROM load_files")
    assert (done.stdout, done.returncode) == (f"{database_url.database}|0\n", 0), done.stderr


@pytest.mark.usefixtures("fake")
def test_psql_gets_the_password_by_the_environment() -> None:
    done = shell("psql", "-c", "select 1")
    assert done.stdout.splitlines() == [
        "postgresql://me@db.example:5433/prices?sslmode=prefer",
        *("-c", "select 1", "p@ss"),
    ]
    assert done.returncode == 7


@pytest.mark.usefixtures("fake")
def test_ctrl_c_is_an_affair_of_psql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAP", "2")
    with subprocess.Popen([PROGRAM, "psql"], stdout=subprocess.PIPE, start_new_session=True, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert "interrupted" in process.stdout.read()
    assert process.returncode == 7


def test_psql_that_is_not_there(database_url: URL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no psql on PATH" in cli("psql", code=1).stderr


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, to look at the processes")
@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("server", ["server"], indirect=True)  # the embedded one asks for no password
def test_no_process_shows_the_password(database_url: URL) -> None:
    assert database_url.password is not None
    with subprocess.Popen([PROGRAM, "psql", "-c", "SELECT pg_sleep(2)"], stdout=subprocess.DEVNULL) as process:
        seen = set()
        while process.poll() is None:
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(entry.read_bytes())
                except OSError:
                    continue
            time.sleep(0.1)
    assert process.returncode == 0
    ours = [words for words in seen if os.fsencode(str(database_url.database)) in words]
    assert any(b"psql" in words.split(b"\0")[0] for words in ours), "psql was not seen"
    assert not any(database_url.password.encode() in words for words in ours)


# --- the embedded server


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home without a database in it, which the settings name."""
    with tempfile.TemporaryDirectory(prefix="cli-") as folder:
        Path(folder).chmod(0o755)
        monkeypatch.delenv("SCREENER_DATABASE_URL", raising=False)
        monkeypatch.setenv("SCREENER_HOME", f"{folder}/home")
        monkeypatch.chdir(folder)
        yield Path(folder) / "home"
        EmbeddedServer(Path(folder) / "home").stop()


def test_the_embedded_server_starts_stops_and_starts_again(home: Path, lists: Path) -> None:
    assert cli("stop").stderr == "was not running\n"
    cli("init")
    cli("load", lists)
    done = shell("psql", "--no-psqlrc", "-Atc", "SELECT count(*) FROM securities", env={"PATH": ""})
    assert done.stdout == "35\n", done.stderr
    assert cli("stop").stderr == "stopped\n"
    assert not (home / "pgdata" / "postmaster.pid").exists()
    assert json.loads(cli("status", "--json").stdout)["tables"][0]["rows"] == 35
    assert make_url(cli("url").stdout.strip()).query["host"] == str(home / "pgdata")


# --- settings (more of them in test_config.py)


@pytest.mark.parametrize("inside", [".", "notebooks"])
def test_settings_mean_the_same_in_a_notebook_s_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    for name in ("SCREENER_DATABASE_URL", "SCREENER_HOME", "SCREENER_RUNS"):
        monkeypatch.delenv(name, raising=False)
    address = "postgresql+psycopg2://u:p@h/x"
    (tmp_path / ".env").write_text(f"SCREENER_DATABASE_URL={address}\nSCREENER_HOME=data\nSCREENER_RUNS=out\n")
    (tmp_path / "alembic.ini").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / inside)
    assert cli("url").stdout.strip() == address
    assert (settings().home, settings().runs) == (tmp_path / "data", tmp_path / "out")


# --- lab


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_lab_serves_and_stops(embedded: EmbeddedServer, tmp_path: Path, stop: signal.Signals) -> None:
    env = os.environ | {"SCREENER_DATABASE_URL": embedded.start(), "HOME": str(tmp_path)}
    env |= {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    (tmp_path / "alembic.ini").touch()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "05_explore.ipynb").touch()
    command = [PROGRAM, "lab", "--no-browser", "--port=0", "--allow-root", "--IdentityProvider.token=t0ken"]
    talk = tmp_path / "talk"
    with (
        talk.open("wb") as file,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env, cwd=tmp_path / "notebooks"
        ) as process,
    ):
        try:
            (info,) = eventually(lambda: list((tmp_path / "RUNTIME").glob("jpserver-*.json")))
            address = json.loads(eventually(info.read_text))
            assert Path(address["root_dir"]) == tmp_path
            eventually(lambda: answer(f"{address['url']}api?token=t0ken")["version"])
            eventually(lambda: re.search(r"/lab/tree/notebooks/05_explore\.ipynb", talk.read_text()))
            assert address["pid"] == process.pid  # a signal to what was started reaches JupyterLab
            process.send_signal(stop)
            assert process.wait(20) == 0, talk.read_text()
        finally:
            process.kill()
    assert "Traceback" not in talk.read_text()


def answer(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=5) as response:
        return json.load(response)


def eventually(ask: Callable[[], Any], patience: float = 30) -> Any:
    """What is answered, as soon as there is an answer."""
    end = time.monotonic() + patience
    while True:
        try:
            if found := ask():
                return found
        except OSError:
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end, "too late"
        time.sleep(0.1)
