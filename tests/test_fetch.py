"""fetch(): against a replayed exchange on a real socket, with every failure that it knows, and killed at any moment."""

from __future__ import annotations

import datetime as dt
import doctest
import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import URL, Connection, Engine, create_engine, text
from typer.testing import CliRunner

import screener_data as sd
from screener_data import fetching
from screener_data.cli import app
from screener_data.config import Settings, settings
from screener_data.errors import ConfigError, FetchError, NoSuchFileError, UsageError
from screener_data.fetch import addresses, client
from screener_data.fetch.addresses import ADDRESSES, EVERY_DAY, INSTRUMENTS, NOT_FETCHED, Address
from screener_data.fetch.client import Client, problem_of
from screener_data.fetch.store import Store
from screener_data.gaps import plan
from screener_data.loaders import SOURCES
from screener_data.loaders.files import formats_by_name

FULL = os.environ.get("SCREENER_FAULTS") == "full"
SEED = int(os.environ.get("SCREENER_FAULTS_SEED", "20250630"))
PROGRAM = Path(sys.executable).with_name("screener-data")
FRIDAY, LAST = dt.date(2025, 6, 27), dt.date(2025, 6, 30)  # the last sessions of the sample market
FIRST = dt.date(2025, 1, 6) if FULL else FRIDAY
BULK = "/api/historicalOR/bulk-block-short-deals?optionType=bulk_deals&from=27-06-2025&to=27-06-2025&csv=true"
FULL_BHAVCOPY = "/products/content/sec_bhavdata_full_27062025.csv"
PR = "/archives/equities/bhavcopy/pr/PR270625.zip"
HOLIDAYS = "/v2/market/holidays"


def address_of(path: str, day: dt.date = FRIDAY) -> Address:
    """The declared address that has such a path."""
    return next(each for each in ADDRESSES if not each.by_symbol and each.path_of(day) == path)


def get(path: str) -> client.Answer:
    with Client(settings()) as asking:
        return asking.get(address_of(path), FRIDAY)


def raw(home: Path) -> dict[str, Path]:
    """The raw files by source and name."""
    return {
        f"{path.parts[-3]}/{path.name}": path
        for path in sorted((home / "raw").rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def statuses(result: sd.FetchResult) -> dict[str, str]:
    """By source, and the day where there are several."""
    return {f"{file.source} {file.day or 'now'}": file.status for file in result.files}


@pytest.fixture(scope="module")
def module_engine_of(templates: dict[str, URL], servers: dict[str, URL]) -> Iterator[Callable[[], Engine]]:
    made: list[Engine] = []
    admin = create_engine(servers["embedded"], isolation_level="AUTOCOMMIT")

    def make() -> Engine:
        name = f"fetch_{os.getpid()}_{len(made)}"
        with admin.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{templates["embedded"].database}"'))
        made.append(create_engine(servers["embedded"].set(database=name)))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()
        with admin.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{engine.url.database}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture(scope="module")
def known(exchange_files: dict[str, bytes], module_engine_of: Callable[[], Engine]) -> Engine:
    """A database that knows the holidays, and nothing else. Nothing is to be loaded into it."""
    engine = module_engine_of()
    shut = [day["date"] for day in json.loads(exchange_files[HOLIDAYS])["data"] if "NSE" in day["closed_exchanges"]]
    with engine.begin() as connection:
        for day in shut:
            connection.execute(text("INSERT INTO market_holidays (holiday_date) VALUES (:day)"), {"day": day})
    return engine


# --- what is declared -----------------------------------------------------------------------------------------------


def test_every_source_has_an_address_or_a_reason() -> None:
    fetched = {source for address in ADDRESSES for source in (address.source, *address.brings)}
    assert fetched | set(NOT_FETCHED) == set(SOURCES)
    assert not fetched & set(NOT_FETCHED)
    assert set(EVERY_DAY) == fetched - {"nse_industry", "upstox_ohlcv", "upstox_quotes"}


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: address.file)
def test_a_file_is_kept_under_a_name_that_its_loader_knows(address: Address) -> None:
    name = address.file_of(LAST, symbol="M&M", batch="1").removesuffix(".zip")
    if address.what == "PR zip":  # its members have names of their own
        assert name == "PR300625"
        return
    assert address.source in {format.source for format in formats_by_name(name)}


def test_the_addresses_are_those_that_were_found(shared: Path) -> None:
    found = (shared / "ENDPOINTS.md").read_text(encoding="utf-8")
    spelled = {"{day:%d%m%y}": "{DDMMYY}", "{day:%d%m%Y}": "{DDMMYYYY}", "{day:%Y%m%d}": "{YYYYMMDD}"}
    spelled |= {"cm{day:%d}{month}{day:%Y}": "cm{DDMMMYYYY}", "{month}": "{MMM}", "{day:%Y}": "{YYYY}"}
    seen = 0
    for address in ADDRESSES:
        if "day" in address.path and address.host == "archives":
            path = address.path
            for ours, theirs in spelled.items():
                path = path.replace(ours, theirs)
            assert path in found
            seen += 1
    assert seen == 6
    for name, host in Settings.model_fields.items():
        if name.endswith("_url") and name.startswith("fetch_"):
            assert host.default.removeprefix("https://") in found


def test_symbols_and_keys_are_encoded() -> None:
    [quote, _] = [address for address in ADDRESSES if address.source == "nse_industry"]
    assert quote.path_of(LAST, symbol="M&M", series="EQ").endswith("&series=EQ&symbol=M%26M")
    [candles] = [address for address in ADDRESSES if address.source == "upstox_ohlcv"]
    path = candles.path_of(LAST, key="NSE_EQ|INE002A01018", since="2020-01-01", until="2025-01-01")
    assert path == "/v3/historical-candle/NSE_EQ%7CINE002A01018/days/1/2025-01-01/2020-01-01"


@pytest.mark.parametrize("function", [addresses.month_name, client.problem_of, fetching._pieces])
def test_the_examples_are_true(function: Callable[..., Any]) -> None:
    runner = doctest.DocTestRunner()
    scope = vars(sys.modules[function.__module__])
    for example in doctest.DocTestFinder(recurse=False).find(function, function.__name__, globs=dict(scope)):
        runner.run(example)
    assert runner.tries > 0
    assert runner.failures == 0


# --- one answer -----------------------------------------------------------------------------------------------------

EACH = ("429", "500", "503", "timeout", "cut", "html", "json_error", "empty", "one_byte", "401", "403")


@pytest.mark.parametrize("failure", [*EACH, "short_zip", "short_csv"])
def test_what_fails_is_asked_again(exchange: Any, monkeypatch: pytest.MonkeyPatch, failure: str) -> None:
    monkeypatch.setenv("SCREENER_FETCH_TIMEOUT", "0.5")
    path = {"short_zip": PR, "short_csv": FULL_BHAVCOPY}.get(failure, BULK)
    exchange.plan[path] = [failure, failure]
    assert get(path).data == exchange.files[path]
    assert [each.played for each in exchange.asked()] == [failure, failure, None]


def test_json_that_is_cut_short_is_asked_again(exchange: Any) -> None:
    exchange.plan[HOLIDAYS] = ["short_json"]
    assert get(HOLIDAYS).data == exchange.files[HOLIDAYS]
    assert len(exchange.asked()) == 2


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ("429", "status 429"),
        ("500", "status 500"),
        ("cut", "cut short"),
        ("html", "a web page: 'File is unavailable'"),
        ("json_error", "an error answer"),
        ("empty", r"an empty answer \(0 bytes\)"),
        ("one_byte", r"an empty answer \(1 bytes\)"),
        ("short_zip", "zip that is cut short"),
        ("403", r"refused \(403\)"),
    ],
)
def test_what_fails_always_says_what_came_and_leaves_nothing(
    exchange: Any, known: Engine, tmp_path: Path, failure: str, said: str
) -> None:
    exchange.fault = lambda path: failure
    result = sd.fetch("nse_market_cap", FRIDAY, FRIDAY, load=False, engine=known)
    [file] = result.failed
    assert file.error is not None
    assert re.search(said, file.error)
    assert file.error.startswith(file.url)
    assert "asked 5 times" in file.error
    assert raw(tmp_path / "home") == {}
    assert not result.ok


def test_404_is_told_apart_and_not_asked_again(exchange: Any) -> None:
    exchange.plan[BULK] = ["404"]
    with pytest.raises(NoSuchFileError, match=r"csv=true: no such file \(404\)"):
        get(BULK)
    assert len(exchange.asked()) == 1


def test_refused_means_fresh_cookies(exchange: Any) -> None:
    exchange.plan[BULK] = ["401", "403"]
    assert get(BULK).data == exchange.files[BULK]
    assert len(exchange.cookies) == 3
    sent = [headers.get("Cookie") for headers in exchange.headers if "option" not in headers]
    assert [f"nsit={cookie}" for cookie in exchange.cookies] == [each for each in sent if each]


def test_an_address_without_cookies_gets_some_when_it_is_refused(exchange: Any) -> None:
    exchange.plan[PR] = ["403"]
    assert get(PR).data == exchange.files[PR]
    assert [each.path for each in exchange.log] == [PR, "/option-chain", PR]


def test_it_waits_as_long_as_it_is_asked_to(exchange: Any) -> None:
    exchange.retry_after = "1"
    exchange.plan[PR] = ["429"]
    started = time.monotonic()
    get(PR)
    assert time.monotonic() - started >= 1
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    exchange.retry_after = f"{later:%a, %d %b %Y %H:%M:%S} GMT"
    exchange.plan[PR] = ["429"]
    with pytest.raises(FetchError, match=r"status 429 and asks to wait 3\d\d\d s; asked once"):
        get(PR)


def test_it_asks_no_faster_than_is_set(exchange: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENER_FETCH_RATE", "20")
    started = time.monotonic()
    with Client(settings()) as asking:
        for _ in range(6):
            asking.get(address_of(PR), FRIDAY)
    assert time.monotonic() - started >= 5 / 20
    assert Settings.model_fields["fetch_rate"].default <= 3


def test_it_asks_as_a_browser_does(exchange: Any) -> None:
    get(BULK)
    for headers in exchange.headers:
        assert headers["User-Agent"].startswith("Mozilla/5.0")
        assert "Accept-Language" in headers
    assert exchange.headers[-1]["Referer"] == f"{exchange.url}/"


def test_a_host_that_is_not_there_is_given_up(exchange: Any, known: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENER_FETCH_ARCHIVES_URL", "http://127.0.0.1:9")
    result = sd.fetch("nse_market_cap", "2025-06-16", "2025-06-27", load=False, engine=known)
    errors = [file.error or "" for file in result.failed]
    assert len(errors) == 12  # weekends too: nobody said that there is no file
    assert ["no answer (ConnectError)" in error for error in errors] == [True] * 4 + [False] * 8
    assert all("gave no answer 4 times running" in error for error in errors[4:])


@pytest.mark.parametrize(
    ("data", "body", "problem"),
    [
        (b"NO RECORDS,,,,,,", "csv", None),
        (b"A,B,C\n1,2,3\nNo more of them", "csv", None),
        (b"A,B,C\n1,2,3\n4,5", "csv", "a table that is cut short: its last line is '4,5'"),
        (b'\xef\xbb\xbf"Date ",', "csv", None),
        (b'{"a": 1}', "csv", "JSON where a csv"),
        (b"Access Denied", "csv", "no table"),
        (b'{"error": null, "data": []}', "json", None),
        (b"[]", "json", "without anything"),
        (b"PK\x03\x04", "zip", "cut short"),
        (b"\x1f\x8b\x08", "gzip", "cut short"),
        (b'{"status": "error"}', "gzip", "an error answer"),
        (b"Sorry", "gzip", "no gzip"),
    ],
)
def test_what_is_a_file(data: bytes, body: Any, problem: str | None) -> None:
    found = problem_of(data, body)
    assert found is None if problem is None else problem in str(found)


def test_what_is_html_by_its_header_is_no_table() -> None:
    assert "a web page" in str(problem_of(b"Sorry, try later", "csv", "text/html; charset=utf-8"))


def test_the_real_files_are_files(shared: Path) -> None:
    kinds: dict[str, Any] = {".csv": "csv", ".zip": "zip", ".json": "json"}
    found = [(path, kinds[path.suffix]) for path in sorted(shared.rglob("*")) if path.suffix in kinds]
    refused = {path.parent.name for path, body in found if problem_of(path.read_bytes(), body)}
    assert len(found) > 100
    assert refused <= {"one-byte"}


# --- the folder -----------------------------------------------------------------------------------------------------


def test_a_note_tells_where_a_file_came_from(exchange: Any, known: Engine, tmp_path: Path) -> None:
    before = dt.datetime.now(dt.UTC)
    [file] = sd.fetch("nse_bulk_deals", FRIDAY, FRIDAY, load=False, engine=known).files
    path = Path(str(file.file))
    assert path == tmp_path / "home/raw/nse_bulk_deals/2025-06-27/Bulk-Deals-27-06-2025-to-27-06-2025.csv"
    assert path.read_bytes() == exchange.files[BULK]
    note = json.loads(path.with_name(f".{path.name}.json").read_bytes())
    assert note["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert note["bytes"] == path.stat().st_size
    assert note["url"] == file.url == exchange.url + BULK
    assert before <= dt.datetime.fromisoformat(note["fetched_at"]) <= dt.datetime.now(dt.UTC)
    assert {"content-length", "date"} <= set(note["headers"]) <= set(client._KEPT)


def test_a_damaged_file_is_fetched_again(exchange: Any, known: Engine) -> None:
    [file] = sd.fetch("nse_bulk_deals", FRIDAY, FRIDAY, load=False, engine=known).files
    Path(str(file.file)).write_bytes(b"Date,Symb")
    [again] = sd.fetch("nse_bulk_deals", FRIDAY, FRIDAY, load=False, engine=known).files
    assert again.status == "new"
    assert Path(str(file.file)).read_bytes() == exchange.files[BULK]


def test_two_do_not_fetch_at_once(exchange: Any, known: Engine, tmp_path: Path) -> None:
    with Store(tmp_path / "home" / "raw"), pytest.raises(FetchError, match="another process is fetching"):
        sd.fetch("nse_bulk_deals", FRIDAY, FRIDAY, engine=known)
    assert sd.fetch("nse_bulk_deals", FRIDAY, FRIDAY, load=False, engine=known).ok


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    for name in ("../x.csv", "a/b.json", ".x"):
        with pytest.raises(FetchError, match="cannot be the name of a file"):
            Store(tmp_path).path("nse_industry", LAST, name)


# --- which days -----------------------------------------------------------------------------------------------------


def test_only_what_is_missing_is_asked_for(exchange: Any, known: Engine) -> None:
    gone = exchange.files.pop("/content/indices/ind_close_all_27062025.csv")
    words: dict[str, Any] = {"load": False, "engine": known}
    asked = ["nse_bhavcopy", "nse_indices"]
    told: list[Any] = []
    first = sd.fetch(asked, "2025-06-26", "2025-06-30", progress=told.append, **words)
    assert told == first.files
    assert [file.day for file in first.files] == sorted(file.day for file in first.files if file.day)
    assert [(file.source, file.day) for file in first.missing] == [("nse_indices", FRIDAY)]
    assert "load its list of holidays" in str(first.missing[0].error)
    assert not first.ok
    exchange.log.clear()
    exchange.files["/content/indices/ind_close_all_27062025.csv"] = gone
    second = sd.fetch(asked, "2025-06-26", "2025-06-30", **words)
    assert [each.path for each in exchange.log] == ["/content/indices/ind_close_all_27062025.csv"]
    assert Counter(file.status for file in second.files) == {"kept": 5, "new": 1, "no_file": 4}
    assert second.ok


def test_a_day_without_a_session_is_asked_about_once(exchange: Any, known: Engine) -> None:
    """2025-02-01 was a Saturday with a session (the budget), 2025-02-26 a holiday."""
    words: dict[str, Any] = {"load": False, "engine": known}
    for _ in range(2):
        result = sd.fetch(["nse_bhavcopy", "nse_indices"], "2025-02-01", "2025-02-02", **words)
        found = statuses(result)
        assert {found["nse_bhavcopy 2025-02-01"], found["nse_indices 2025-02-01"]} <= {"new", "kept"}
        assert {found["nse_bhavcopy 2025-02-02"], found["nse_indices 2025-02-02"]} == {"no_file"}
    holiday = sd.fetch(["nse_bhavcopy", "nse_indices"], "2025-02-26", "2025-02-26", **words)
    assert holiday.ok
    assert {file.status for file in holiday.files} == {"no_file"}
    asked = [each.path for each in exchange.log]
    assert len(asked) == 2 + 2 + 2  # the Saturday's two; of the others, the prices at both of their addresses
    assert not any("ind_close_all_02022025" in path or "ind_close_all_26022025" in path for path in asked)


def test_another_address_stands_in(exchange: Any, known: Engine) -> None:
    exchange.fault = lambda path: "html" if "sec_bhavdata" in path else None
    path = next(path for path in exchange.files if "BhavCopy_NSE_CM" in path)
    day = dt.datetime.strptime(path.split("_")[6], "%Y%m%d").date()
    [file] = sd.fetch("nse_bhavcopy", day, day, engine=known, load=False).files
    assert file.status == "new"
    assert str(file.file).endswith(path.rpartition("/")[2])


def at(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    monkeypatch.setattr(fetching, "_now", lambda: dt.datetime.fromisoformat(f"{moment}+05:30"))


def test_the_last_session_is_fetched_where_no_day_is_given(
    exchange: Any, known: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "2025-06-30T19:00")
    assert fetching.last_session(None, known) == LAST
    assert fetching.last_session("2025-03-16", known) == dt.date(2025, 3, 13)  # a Sunday after Holi
    assert fetching.last_session("2025-02-02", known) == dt.date(2025, 2, 1)  # a Saturday, for the Union Budget
    assert fetching.last_session("2025-10-22", known) == dt.date(2025, 10, 21)  # Muhurat, a holiday but for an hour
    result = sd.fetch(["nse_bulk_deals", "nse_block_deals"], load=False, engine=known)
    assert statuses(result) == {f"nse_{kind}_deals {LAST}": "new" for kind in ("bulk", "block")}
    assert [each.path for each in exchange.log] == ["/content/equities/bulk.csv", "/content/equities/block.csv"]
    at(monkeypatch, "2025-07-08T19:00")
    assert {file.status for file in sd.fetch("nse_bulk_deals", LAST, LAST, load=False, engine=known).files} == {"kept"}
    with pytest.raises(UsageError, match="no days up to today, 2025-07-08"):
        sd.fetch("nse_bulk_deals", "2025-07-08", "2025-07-09", engine=known)


def _as_loaded(connection: Connection, source: str, day: str, state: str) -> None:
    connection.execute(
        text(
            "INSERT INTO load_files (source, file, state, first_day, last_day) "
            "VALUES (:source, 'f', :state, :day, :day)"
        ),
        {"source": source, "state": state, "day": day},
    )


def test_evenings_that_were_missed_are_made_up_for(templates: dict[str, URL], clone: Callable[[URL], Engine]) -> None:
    engine = clone(templates["embedded"])
    assert fetching.first_missed("2025-07-06", engine) == dt.date(2025, 7, 4)  # nothing is stored: no more is asked for
    with engine.begin() as connection:
        for source, day, state in (
            ("nse_bhavcopy", "2025-07-01", "success"),
            ("nse_bhavcopy", "2025-07-02", "failure"),
            ("nse_indices", "2025-07-03", "success"),
            ("nse_bhavcopy", "2025-07-08", "success"),
        ):
            _as_loaded(connection, source, day, state)
    assert fetching.first_missed("2025-07-06", engine) == dt.date(2025, 7, 2)
    assert fetching.first_missed("2025-07-01", engine) == dt.date(2025, 7, 1)
    assert fetching.first_missed("2025-12-31", engine) == dt.date(2025, 12, 1)  # a month, not half a year


@pytest.mark.parametrize("held", ["27-JUN-2025,ZED,Zed,Y,BUY,1,1.00,-", "NO RECORDS,,,,,,"])
def test_before_the_exchange_has_published_nothing_is_taken(
    exchange: Any, known: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held: str
) -> None:
    at(monkeypatch, "2025-06-30T12:00")
    exchange.files["/content/equities/bulk.csv"] = f"Date,Symbol\n{held}\n".encode()
    exchange.files = {path: data for path, data in exchange.files.items() if "30062025" not in path}
    result = sd.fetch(["nse_bhavcopy", "nse_bulk_deals"], load=False, engine=known)
    assert [(file.source, file.day, file.status) for file in result.files] == [
        ("nse_bhavcopy", LAST, "missing"),
        ("nse_bulk_deals", LAST, "missing"),
    ]
    assert all("in the evening, from about 18:00 in India" in str(file.error) for file in result.files)
    assert raw(tmp_path / "home") == {}


def test_the_same_bytes_of_another_day_are_loaded(
    exchange: Any, templates: dict[str, URL], clone: Callable[[URL], Engine]
) -> None:
    """Of surveillance, only the name tells the day."""
    engine = clone(templates["embedded"])
    assert exchange.files["/content/cm/REG1_IND260625.csv"] == exchange.files["/content/cm/REG1_IND270625.csv"]
    for day in ("2025-06-26", "2025-06-27"):
        assert len(sd.fetch("nse_surveillance", day, day, engine=engine).loads) == 1
    assert sd.fetch("nse_surveillance", "2025-06-26", "2025-06-27", engine=engine).loads == []


def test_what_gaps_finds_missing_its_plan_fetches(
    exchange: Any, templates: dict[str, URL], clone: Callable[[URL], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = clone(templates["embedded"])
    for day in (FRIDAY - dt.timedelta(days=1), LAST):
        assert sd.fetch("nse_bhavcopy", day, day, engine=engine).ok
    [entry] = plan(sd.gaps(engine=engine), engine=engine)
    assert entry.command == f"screener-data fetch --from {FRIDAY} --to {FRIDAY} nse_bhavcopy"
    monkeypatch.setenv("SCREENER_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    done = CliRunner().invoke(app, entry.command.split()[1:])
    assert done.exit_code == 0, done.output
    assert "missing" not in set(sd.gaps(engine=engine)["kind"])


# --- Upstox ---------------------------------------------------------------------------------------------------------


def test_quotes_need_a_token_that_is_shown_nowhere(
    exchange: Any,
    replay: ModuleType,
    templates: dict[str, URL],
    clone: Callable[[URL], Engine],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The command as users run it. Error answers repeat what they were asked with: that must not be shown."""
    caplog.set_level("DEBUG")
    engine = clone(templates["embedded"])
    sd.load(_lists(exchange, tmp_path), engine=engine)
    with pytest.raises(ConfigError, match="set SCREENER_UPSTOX_TOKEN"):
        sd.fetch("upstox_quotes", engine=engine)
    monkeypatch.setenv("SCREENER_UPSTOX_TOKEN", replay.TOKEN)
    monkeypatch.setenv("SCREENER_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    quotes = next(address for address in ADDRESSES if address.source == "upstox_quotes")
    exchange.fault = lambda path: "json_error"
    with Client(settings()) as asking, pytest.raises(FetchError, match=r"Bearer \*\*\*"):
        asking.get(quotes, LAST, keys="NSE_EQ|X", batch="1")
    exchange.fault = lambda path: "json_error" if path == BULK else None
    words = ["fetch", "upstox_quotes", "nse_bulk_deals", "nse_block_deals", "--date", f"{FRIDAY}"]
    unlisted = _strike_off(exchange)
    done = CliRunner().invoke(app, words)
    assert f"missing: upstox_quotes: Upstox lists no instrument {unlisted}" in done.stderr
    assert done.exit_code == 1
    assert "failed: nse_bulk_deals 2025-06-27" in done.stderr
    assert "nsit=***" in done.stderr
    assert "quotes_" in done.stdout
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT string_agg(f::text, ' ') FROM load_files f")).scalar_one()
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    texts = [done.output, caplog.text, kept, *(path.read_text("utf-8", "replace") for path in files)]
    secrets = [replay.TOKEN, *exchange.cookies]
    assert f"Bearer {replay.TOKEN}" in [headers.get("Authorization") for headers in exchange.headers]
    assert len(secrets) > 1
    assert len(files) > 6
    assert not [secret for secret in secrets for each in texts if secret in each]


def test_a_token_that_is_refused_says_so(exchange: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENER_UPSTOX_TOKEN", "another")
    [quotes] = [address for address in ADDRESSES if address.source == "upstox_quotes"]
    with Client(settings()) as asking, pytest.raises(FetchError, match=r"refused \(401\): is SCREENER_UPSTOX_TOKEN"):
        asking.get(quotes, LAST, keys="NSE_EQ|X", batch="1")
    assert len(exchange.log) == 1


def _lists(exchange: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "EQUITY_L.csv").write_bytes(exchange.files["/content/equities/EQUITY_L.csv"])
    return folder


def _strike_off(exchange: Any) -> str:
    """Have Upstox's list of instruments lack a share; its symbol."""
    listed = json.loads(gzip.decompress(exchange.files[INSTRUMENTS.path]))
    gone = next(each for each in listed if each.get("isin") == "INEZ01301015")
    exchange.files[INSTRUMENTS.path] = gzip.compress(json.dumps([each for each in listed if each is not gone]).encode())
    return "ISHTAVCHEM"


def test_candles_come_in_pieces_and_again_after_an_action(
    exchange: Any, templates: dict[str, URL], clone: Callable[[URL], Engine], tmp_path: Path
) -> None:
    engine = clone(templates["embedded"])
    sd.load(_lists(exchange, tmp_path), engine=engine)
    assert fetching.refresh_candles(engine=engine).files == []
    with engine.begin() as connection:
        connection.execute(text("UPDATE securities SET is_active = symbol IN ('ISHTAVCHEM', 'KESTRIFIN')"))
    result = sd.fetch("upstox_ohlcv", "2009-02-28", LAST, engine=engine)
    assert result.ok
    assert {load.source for load in result.loads} == {"upstox_ohlcv"}
    ranges = [each.path.split("/")[-2:] for each in exchange.asked("historical-candle")]
    assert ranges == [["2019-02-27", "2009-02-28"], ["2025-06-30", "2019-02-28"]] * 2
    again = sd.fetch("upstox_ohlcv", "2009-02-28", LAST, engine=engine)
    assert {file.status for file in again.files} == {"kept"}
    assert again.loads == []
    exchange.log.clear()
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO corporate_actions (symbol, ex_date, kind, shares_before, shares_after, purpose) "
                "VALUES ('ISHTAVCHEM', '2025-03-03', 'split', 2, 10, 'Split')"
            )
        )
    refreshed = fetching.refresh_candles(engine=engine)
    paths = [each.path for each in exchange.asked("historical-candle")]
    [isin] = {path.split("/")[3] for path in paths}
    today = fetching._now().date()
    assert [path.split("/")[-1] for path in paths] == ["2009-02-28", "2019-02-28"]
    assert paths[-1].split("/")[-2] == f"{today}"
    assert isin.endswith("INEZ01301015")
    assert {file.status for file in refreshed.files if file.source == "upstox_ohlcv"} == {"new"}
    exchange.log.clear()
    assert sd.fetch("upstox_ohlcv", "2009-02-28", LAST, engine=engine).loads == []  # nor are the old ones loaded again
    assert exchange.asked("historical-candle") == []
    with pytest.raises(UsageError, match="no symbol 'ISHTAV'; did you mean ISHTAVCHEM"):
        fetching.refresh_candles(["ISHTAV"], engine=engine)


@pytest.mark.parametrize(
    ("ex_date", "recorded", "today", "rewritten"),
    [
        ("2025-06-20", "2025-06-20T00:00", "2025-07-01", False),  # before the fetch, and known by then
        ("2025-06-20", "2025-06-29T00:00", "2025-07-01", True),  # recorded since
        ("2025-06-28", None, "2025-06-28", False),  # of the day of the fetch: again, but not on the same day
        ("2025-06-28", None, "2025-06-30", True),
        ("2025-06-30", "2025-06-20T00:00", "2025-06-30", True),
    ],
)
def test_which_actions_rewrite_candles(ex_date: str, recorded: str | None, today: str, rewritten: bool) -> None:
    fetched = dt.datetime.fromisoformat("2025-06-27T20:00+00:00")  # the 28th in India
    known = dt.datetime.fromisoformat(recorded) if recorded else None
    day = dt.date.fromisoformat
    assert fetching._rewrites(fetched, day(today), day(ex_date), known) == rewritten


def test_industries_are_asked_for_those_that_have_none(
    exchange: Any, templates: dict[str, URL], clone: Callable[[URL], Engine], tmp_path: Path
) -> None:
    engine = clone(templates["embedded"])
    sd.load(_lists(exchange, tmp_path), engine=engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE securities SET is_active = symbol IN ('K&VCORP', 'NA', 'FINTARMET')"))
    result = sd.fetch("nse_industry", engine=engine)
    new = [file for file in result.files if file.status == "new"]
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT symbol FROM industry_classification")).scalars().all()
    assert sorted(stored) == ["K&VCORP", "NA"]
    assert len(new) == 2
    exchange.log.clear()
    [file] = sd.fetch("nse_industry", engine=engine).files
    assert file.status == "missing"
    assert {each.path.rpartition("=")[2] for each in exchange.asked()} == {"FINTARMET"}


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nse_bhavcpy"], "no source 'nse_bhavcpy'; did you mean nse_bhavcopy"),
        (["manual_factors"], "manual_factors is not fetched: it is written by hand"),
        (["--date", "2025-01-16", "--to", "2025-01-17"], "either --date, or --from and --to"),
        (["--date", "16.1.2025"], "'16.1.2025' is no day"),
        (["--from", "2025-01-17", "--to", "2025-01-16"], "no days up to today"),
        (["--date", "2999-01-01"], "no days up to today"),
    ],
)
def test_wrong_words(words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["fetch", *words])
    assert done.exit_code == 2
    assert said in done.stderr


def test_one_command_fetches_and_loads_a_day(
    exchange: Any, templates: dict[str, URL], clone: Callable[[URL], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = clone(templates["embedded"])
    monkeypatch.setenv("SCREENER_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    exchange.files.pop("/content/indices/ind_close_all_27062025.csv")
    done = CliRunner().invoke(app, ["fetch", "--date", f"{FRIDAY}"])
    assert done.exit_code == 1
    assert "missing: nse_indices 2025-06-27" in done.stderr
    assert "16 files: new 15, kept 0, no_file 0, missing 1, failed 0" in done.stderr
    with engine.connect() as connection:
        days = connection.execute(text("SELECT DISTINCT date FROM ohlcv_daily")).scalars().all()
    assert days == [FRIDAY]
    exchange.files["/content/indices/ind_close_all_27062025.csv"] = exchange.files.pop(
        "/content/indices/ind_close_all_26062025.csv"
    )
    done = CliRunner().invoke(app, ["fetch", "--date", f"{FRIDAY}", "--json"])
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert Counter(file["status"] for file in document["files"]) == {"kept": 15, "new": 1}
    assert [load["source"] for load in document["loads"]] == ["nse_indices"]


# --- backfills ------------------------------------------------------------------------------------------------------

Undisturbed = tuple[Path, dict[str, tuple[int, int]], int]
TABLES = (
    *("securities", "indices", "ohlcv_daily", "market_cap_history", "bulk_deals", "block_deals", "name_changes"),
    *("surveillance_measures", "corporate_actions", "symbol_changes", "market_holidays", "listings"),
)


def contents(engine: Engine) -> dict[str, tuple[int, int]]:
    """How many rows a table has, and the sum of their hashes: equal for equal rows in whatever order they came."""
    found = {}
    with engine.connect() as connection:
        for table in TABLES:
            row = "(to_jsonb(t) - '{id,security_id,created_at,updated_at}'::text[])::text"
            found[table] = tuple(
                connection.execute(
                    text(f"SELECT count(*), coalesce(sum(hashtextextended({row}, 0)::numeric), 0) FROM {table} t")
                ).one()
            )
    return found


def digests(home: Path) -> dict[str, str]:
    """The raw files' sha256; each is what its note says."""
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in raw(home).items()}
    notes = {name: Store(home / "raw").note(path)["sha256"] for name, path in raw(home).items()}
    assert found == notes
    return found


def there(home: Path) -> set[str]:
    """What the raw files are of: a source and a day, or a list of today."""
    return {
        f"{path.parts[-3]} {path.parts[-2] if path.parts[-2] <= f'{LAST}' else path.name}"
        for path in raw(home).values()
    }


def wanted(file: fetching.Fetched) -> str:
    """The same, of what was asked for."""
    if file.source == "upstox_holidays":
        return f"upstox_holidays upstox_holidays_{fetching._now():%Y}.json"
    return f"{file.source} {file.day or file.url.rpartition('/')[2]}"


@pytest.fixture(scope="module")
def undisturbed(
    replay: ModuleType,
    exchange_files: dict[str, bytes],
    module_engine_of: Callable[[], Engine],
    tmp_path_factory: pytest.TempPathFactory,
) -> Undisturbed:
    """What a backfill gives that nothing disturbs: where its files are, the rows, and how often it asked."""
    home = tmp_path_factory.mktemp("undisturbed")
    with replay.Exchange() as exchange, pytest.MonkeyPatch.context() as patch:
        exchange.files |= exchange_files
        for name, value in {**exchange.settings(), "SCREENER_HOME": str(home)}.items():
            patch.setenv(name, value)
        engine = module_engine_of()
        result = sd.fetch(None, FIRST, LAST, engine=engine)
        assert result.ok, [*result.missing, *result.failed]
        return home, contents(engine), len(exchange.log)


def test_a_backfill_among_failures_is_complete_or_lists_what_is_missing(
    exchange: Any,
    replay: ModuleType,
    templates: dict[str, URL],
    clone: Callable[[URL], Engine],
    undisturbed: Undisturbed,
    tmp_path: Path,
) -> None:
    """One answer in ten fails, in every way in its turn."""
    whole_home, rows, _ = undisturbed
    home, engine = tmp_path / "home", clone(templates["embedded"])
    some = replay.some_fail(SEED, 0.1 if FULL else 0.3)
    exchange.fault = lambda path: "404" if path == PR else some(path)
    started = time.monotonic()
    result = sd.fetch(None, FIRST, LAST, engine=engine)
    played = Counter(each.played for each in exchange.asked() if each.played)
    listed = {wanted(file) for file in (*result.missing, *result.failed)}
    print(f"{time.monotonic() - started:.1f} s, {len(exchange.log)} asked, {dict(played)}, {len(listed)} listed")
    if FULL:
        assert set(played) >= set(replay.FAILURES) - {"short_json"}  # one file alone is JSON
    assert f"nse_market_cap {FRIDAY}" in listed
    assert there(home) | listed == there(whole_home)
    assert not there(home) & listed
    found, whole = digests(home), digests(whole_home)
    instead = found.keys() - whole.keys()  # prices from another address
    assert all(found[name] == whole[name] for name in found.keys() - instead)
    assert all(name.startswith("nse_bhavcopy/BhavCopy_NSE_CM") for name in instead)
    exchange.fault = lambda path: None
    mended = sd.fetch(None, FIRST, LAST, engine=engine)
    assert mended.ok
    assert {wanted(file) for file in mended.files if file.status == "new"} == listed
    assert there(home) == there(whole_home)
    if not instead:
        assert contents(engine) == rows


def test_a_killed_backfill_goes_on_where_it_was(
    exchange: Any,
    templates: dict[str, URL],
    clone: Callable[[URL], Engine],
    undisturbed: Undisturbed,
    tmp_path: Path,
) -> None:
    """kill -9 after so many answers, at random; in the end also while it loads."""
    whole_home, rows, asked = undisturbed
    whole = digests(whole_home)
    home, engine, random = tmp_path / "home", clone(templates["embedded"]), Random(SEED)
    kills = 20 if FULL else 2
    environment = os.environ | {"SCREENER_DATABASE_URL": engine.url.render_as_string(hide_password=False)}
    command = [str(PROGRAM), "fetch", "--from", f"{FIRST}", "--to", f"{LAST}"]
    killed = 0
    for kill in range(kills):
        kept = {Store(home / "raw").note(path)["url"].removeprefix(exchange.url) for path in raw(home).values()}
        begun = len(exchange.log)
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        late = kill >= kills - kills // 4
        until = begun + (10**9 if late else random.randint(1, 2 * asked // kills))
        deadline = time.monotonic() + (random.uniform(2, 5) if late else 60)
        while len(exchange.log) < until and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert not kept & {each.path for each in exchange.log[begun:]}, "a file that was there was asked for again"
    begun = len(exchange.log)
    kept = {Store(home / "raw").note(path)["url"].removeprefix(exchange.url) for path in raw(home).values()}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not kept & {each.path for each in exchange.log[begun:]}
    print(f"killed {killed} of {kills} times, {len(exchange.log)} asked, {len(whole)} files")
    assert killed >= kills // 2
    assert digests(home) == whole
    assert contents(engine) == rows
    assert not list(home.rglob("*.part"))
    twice = Counter(each.path for each in exchange.log if each.whole and each.path != "/option-chain")
    assert sum(twice.values()) - len(twice) <= killed  # an answer under way when the process was killed
