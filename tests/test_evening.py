"""The evening's run, for real: a replayed exchange, PostgreSQL, papermill, a webhook, a browser without network."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from click.testing import Result
from sqlalchemy import URL, Engine, create_engine, text
from typer.testing import CliRunner

from screener_data import evening, notebooks
from screener_data.cli import app
from screener_data.errors import ConfigError, NotebookError
from screener_data.outcome import MIME, tell, told

on_the_embedded_server = pytest.mark.parametrize("module_url", ["embedded"], indirect=True, scope="module")

DAY = "2025-06-30"
SECRET = "s3cret-of-the-webhook"
PROGRAM = Path(sys.executable).with_name("screener-data")


class Listener:
    """Who is told: a server on a real socket that keeps what is posted to it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.answer = 200
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.heard.append((self.path, json.loads(body)))
                self.send_response(listener.answer)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hooks/{SECRET}?key={SECRET}-too"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass
class Place:
    """Where the evenings of this file take place, and all that was said there."""

    folder: Path
    engine: Engine
    exchange: Any
    listener: Listener
    said: list[str] = field(default_factory=list)

    def run(self, *words: str, code: int = 0) -> dict[str, Any]:
        """`screener-data run evening` in this process: its one line on stdout."""
        done: Result = CliRunner().invoke(app, ["run", "evening", *words])
        assert done.exit_code == code, done.output
        return self.line(done.stdout, done.stderr)

    def line(self, stdout: str, stderr: str) -> dict[str, Any]:
        self.said += [stdout, stderr]
        assert stdout.count("\n") == 1, stdout
        found: dict[str, Any] = json.loads(stdout)
        return found

    def one(self, query: str) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(text(query)).scalar()

    def tables(self) -> dict[str, str]:
        """The tables' contents in a word each."""
        names = (
            "ohlcv_daily",
            "securities",
            "bulk_deals",
            "block_deals",
            "surveillance_measures",
            "calculated_metrics",
        )
        content = (
            "SELECT md5(string_agg(md5((to_jsonb(t) - 'updated_at')::text), '' ORDER BY to_jsonb(t)::text)) FROM {} t"
        )
        return {name: self.one(content.format(name)) for name in names}

    def require_silence(self, token: str) -> None:
        """No token, cookie or address of the webhook in any file or in what was said."""
        assert self.exchange.cookies, "no cookie was given, so that none could have been told"
        secrets = [SECRET, token, *self.exchange.cookies]
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        assert {path.suffix for path in files} >= {".ipynb", ".html", ".csv", ".zip", ".json"}
        told = [path.read_bytes().decode("utf-8", "replace") for path in files] + self.said
        assert [secret for secret in secrets for one in told if secret in one] == []


@pytest.fixture(scope="module")
def place(
    module_url: URL, replay: ModuleType, exchange_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder, engine = tmp_path_factory.mktemp("evening"), create_engine(module_url)
    with replay.Exchange() as exchange, Listener() as listener, pytest.MonkeyPatch.context() as patch:
        exchange.files |= exchange_files
        settings = exchange.settings() | {
            "SCREENER_DATABASE_URL": module_url.render_as_string(hide_password=False),
            "SCREENER_HOME": str(folder / "home"),
            "SCREENER_RUNS": str(folder / "runs"),
            "SCREENER_WEBHOOK_URL": listener.url,
            "SCREENER_UPSTOX_TOKEN": replay.TOKEN,
        }
        for name, value in settings.items():
            patch.setenv(name, value)
        yield Place(folder, engine, exchange, listener)
    engine.dispose()


@dataclass
class First:
    """A day's evening, and how another one fared meanwhile."""

    result: dict[str, Any]
    process: int
    refused: dict[str, Any]


@pytest.fixture(scope="module")
def first(place: Place) -> First:
    """The command as cron gives it, on an empty database, and again while it is at work."""
    command = [str(PROGRAM), "run", "evening", f"date={DAY}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database "
        held += "WHERE datname = current_database()) AND application_name LIKE 'process %'"
        deadline = time.monotonic() + 60
        while not place.one(held.replace("pg_locks", "pg_locks JOIN pg_stat_activity USING (pid)")):
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()  # noqa: PT018
            time.sleep(0.05)
        refused = place.run(f"date={DAY}", code=1)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "report: " in stderr
    return First(place.line(stdout, stderr), process.pid, refused)


@on_the_embedded_server
def test_a_day_is_fetched_loaded_and_reported_by_one_command(first: First, place: Place) -> None:
    found = first.result
    assert (found["status"], found["error"], found["holiday"]) == ("success", None, None)
    assert (found["date"], found["session"]) == (DAY, DAY)
    assert set(found["files"]) == {"new"}
    assert place.one(f"SELECT count(*) FROM ohlcv_daily WHERE date = '{DAY}'") > 20
    assert place.one("SELECT count(*) FROM bulk_deals") > 5
    counts = ("read", "inserted", "updated", "unchanged", "rejected", "skipped")
    assert list(found["rows"]) == list(counts)
    for name, count in found["rows"].items():
        assert count == place.one(f"SELECT sum({name}) FROM load_files WHERE notes ->> 'replay' IS NULL"), name
    assert found["metrics"]["inserted"] == place.one("SELECT count(*) FROM calculated_metrics")
    assert "error" not in found["findings"]
    assert found["seconds"] > 1


@on_the_embedded_server
def test_a_second_run_meanwhile_does_nothing_and_names_the_first(first: First) -> None:
    found = first.refused
    assert found["status"] == "failure"
    assert f"another evening run is under way in this database: process {first.process} on " in found["error"]
    assert found["files"] == found["rows"] == {}
    assert found["notebook"] is found["report"] is None


@on_the_embedded_server
def test_the_report_shows_the_counts_without_a_network(first: First, place: Place, chromium: str) -> None:
    from playwright.sync_api import sync_playwright  # here, so that the other tests need no browser

    report = Path(first.result["report"])
    assert report.parent == place.folder / "runs"
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        shown = page.locator("body").inner_text()
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    for name in ("files", "rows", "metrics"):
        counts = ", ".join(f"{what} {count:,}" for what, count in first.result[name].items())
        assert f"{name}: {counts}" in shown
    assert f"'{DAY} is complete'" in shown


@on_the_embedded_server
@pytest.mark.usefixtures("first")
def test_an_evening_repeated_stores_nothing_twice(place: Place, replay: ModuleType) -> None:
    before, asked = place.tables(), len(place.exchange.asked())
    found = place.run(f"date={DAY}")
    assert found["status"] == "success"
    assert set(found["files"]) == {"kept"}
    assert sum(found["rows"].values()) == 0
    assert place.tables() == before
    assert len(place.exchange.asked()) == asked
    place.require_silence(replay.TOKEN)


@on_the_embedded_server
@pytest.mark.usefixtures("first")
def test_a_holiday_is_a_success_that_says_so(place: Place) -> None:
    found = place.run("date=2025-06-29")
    assert (found["status"], found["date"], found["session"]) == ("success", "2025-06-29", None)
    assert found["holiday"] == "Sunday, 2025-06-29 is no session; the last one was 2025-06-27"
    assert set(found["files"]) == {"kept", "no_file"}


@on_the_embedded_server
@pytest.mark.usefixtures("first")
def test_a_missing_and_a_refused_file_fail_the_evening_and_are_told(place: Place, replay: ModuleType) -> None:
    del place.exchange.files["/content/cm/REG1_IND270625.csv"]
    place.exchange.files["/content/indices/ind_close_all_27062025.csv"] = b"Level,Name\n1,2\n"
    place.listener.heard.clear()
    found = place.run("date=2025-06-27", "sources=nse_bhavcopy, nse_indices,nse_surveillance", code=1)
    assert found["status"] == "failure"
    assert found["files"] == {"new": 2, "missing": 1}
    assert found["rows"]["inserted"] > 20  # what was there is loaded
    assert found["error"].startswith("NotebookError: 2 wrong: nse_surveillance missing: ")
    assert "; nse_indices not loaded: " in found["error"]
    assert "ind_close_all_27062025.csv" in found["error"]
    assert found["report"].endswith(".failed.html")
    assert "REG1_IND270625.csv" in Path(found["report"]).read_text(encoding="utf-8")

    [(path, body)] = place.listener.heard
    assert path.startswith(f"/hooks/{SECRET}?")
    assert body == found | {"text": f"screener-data: the evening run failed: {found['error']}"}
    place.require_silence(replay.TOKEN)


# --- without a run ---------------------------------------------------------------------------------------------------


@on_the_embedded_server
def test_a_webhook_that_fails_is_told_and_hides_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise NotebookError(f"lost, and {place.listener.url} in it")

    monkeypatch.setattr(notebooks, "run", fails)
    monkeypatch.setattr(place.listener, "answer", 500)
    caplog.set_level(logging.DEBUG)
    for address, problem in (
        (place.listener.url, "it answered 500"),
        (f"http://127.0.0.1:1/{SECRET}", "ConnectError: "),
        (f"http://127.0.0.1:{SECRET}/", "InvalidURL: "),
    ):
        monkeypatch.setenv("SCREENER_WEBHOOK_URL", address)
        result = evening.run(DAY)
        assert result.error is not None
        assert result.error.startswith("lost, and ")
        assert f"could not be told to SCREENER_WEBHOOK_URL: {problem}" in caplog.text
    monkeypatch.setenv("HTTP_PROXY", "nonsense://127.0.0.1")
    assert evening.run(DAY).error
    assert "could not be told to SCREENER_WEBHOOK_URL: ValueError: Unknown scheme for proxy URL" in caplog.text
    monkeypatch.delenv("SCREENER_WEBHOOK_URL")
    assert evening.run(DAY).status == "failure"
    assert caplog.text.count("could not be told") == 4
    assert SECRET not in caplog.text


DIES = """
import os
from pathlib import Path
from screener_data.outcome import tell

tell(files={"new": 3})
(run,) = Path(os.environ["SCREENER_RUNS"]).glob(".*.partial.ipynb")
run.with_name(run.name[1:].replace(".partial.ipynb", ".failed.html")).mkdir()  # where the report should go
"""


@on_the_embedded_server
def test_a_lost_kernel_and_a_lost_report_are_told_with_what_was_done(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [nbformat.v4.new_code_cell(cell) for cell in ('date = ""', DIES, "os._exit(1)")]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "dies.ipynb")
    monkeypatch.setattr(evening, "NOTEBOOK", tmp_path / "dies.ipynb")
    monkeypatch.setenv("SCREENER_RUNS", str(tmp_path / "runs"))
    place.listener.heard.clear()
    result = evening.run(DAY)
    assert result.files == {"new": 3}
    assert result.error is not None
    assert result.error.startswith("dies: Kernel died")
    assert "; and no report: the page cannot be written to " in result.error
    assert result.report is None
    assert result.notebook is not None
    assert result.notebook.name.endswith(".failed.ipynb")
    assert [body["error"] for _, body in place.listener.heard] == [result.error]


@on_the_embedded_server
def test_a_database_that_is_not_there_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENER_DATABASE_URL", "postgresql://me:geheim-4711@127.0.0.1:1/x")
    place.listener.heard.clear()
    found = place.run(f"date={DAY}", code=1)
    assert found["error"].startswith("cannot reach the database postgresql")
    [(_, body)] = place.listener.heard
    assert body["error"] == found["error"]
    assert "geheim-4711" not in str(body) + str(place.said)


def test_a_webhook_that_is_no_address_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENER_WEBHOOK_URL", f"ftp://{SECRET}")
    with pytest.raises(ConfigError, match=r"^wrong setting: SCREENER_WEBHOOK_URL$"):
        evening.run(DAY)


@on_the_embedded_server
def test_the_lock_goes_with_its_connection(place: Place) -> None:
    held = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {evening._LOCK & 0xFFFFFFFF}"
    for _ in range(3):  # more often than the pool is large
        with evening._alone():
            assert place.one(held) == 1
        assert place.one(held) == 0


@on_the_embedded_server
@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["date=tomorrow"], "parameter date .*given: 'tomorrow'"),
        (["sources=nse_bonds"], "parameter sources .*nse_bhavcopy"),
        (["day=2025-06-30"], "no parameter 'day'"),
        (["03"], "`run evening` runs alone"),
    ],
)
def test_wrong_words_are_wrong_usage(words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["run", "evening", *words])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert re.search(said, done.stderr), done.stderr


def test_an_outcome_is_told_to_people_and_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell(files={"new": 1234}, nothing=None, day=dt.date(2025, 6, 30), empty={})
    assert capsys.readouterr().out.strip() == f"files: new 1,234\nnothing: –\nday: {DAY}\nempty: none"

    shown = [{"text/plain": "x"}, {MIME: {"files": {"new": 1}, "day": DAY}}, {MIME: {"files": {"kept": 2}}}]
    outputs = [nbformat.v4.new_output("display_data", data=data) for data in shown]
    outputs.append(nbformat.v4.new_output("stream", text="y"))
    cells = [nbformat.v4.new_markdown_cell("z"), nbformat.v4.new_code_cell("", outputs=outputs)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "own.ipynb")
    assert told(tmp_path / "own.ipynb") == {"files": {"kept": 2}, "day": DAY}
