"""Fixtures that all tests share: real servers, a migrated database per test, the exchange's files."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError

import screener_data as sd
from screener_data import samples
from screener_data.database import migrate
from screener_data.database.embedded import EmbeddedServer
from screener_data.formulas import Bars

# A shell without job control starts what it puts in the background with Ctrl-C ignored, and all children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Each test has a database of its own, and each would leave files of its own behind; tests of the cache turn it on.
os.environ["SCREENER_CACHE"] = "off"

SHARED = Path(__file__).parents[2] / "shared" / "nse"
ON_CI = os.environ.get("CI") == "true"

#: Tests that compare one time with another, or with a short limit: `dev.py test` runs nothing beside them.
ALONE = {
    "test_a_server_that_accepts_and_says_nothing_is_given_up_in_time",
    "test_readers_never_fail_and_never_see_a_part",
    "test_the_cheapest_ways_to_cost_much_cost_little",
    "test_the_server_is_what_is_promised",
}


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if getattr(item, "originalname", None) in ALONE:
            item.add_marker("alone")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Many bytes name a test by their number: a gzip holds the time, and workers must agree on the names."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) and len(val) > 16 else None


def require_here(found: object, what: str) -> None:
    """Skip a test for what this machine lacks; on CI, which must have it, fail."""
    if not found:
        (pytest.fail if ON_CI else pytest.skip)(f"not on this machine: {what}")


@pytest.fixture(scope="session")
def here() -> Callable[[object, str], None]:
    """`require_here`, for tests that find out by themselves."""
    return require_here


@pytest.fixture(scope="session")
def shared() -> Path:
    """The exchange's real files. They never enter the repo; CI has them beside it."""
    require_here(SHARED.is_dir(), "the exchange's real files, ../shared/nse")
    return SHARED


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a browser, for playwright: `launch(executable_path=chromium, args=["--no-sandbox"])`."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    require_here(found, "a browser: chromium on PATH (Debian: apt-get install chromium)")
    return str(found)


@pytest.fixture(scope="session")
def bars_of() -> Callable[..., Bars]:
    """Makes Bars of one dict of columns per symbol; what is left out is filled in plainly, one session a weekday."""

    def make(*symbols: dict[str, Any]) -> Bars:
        columns: dict[str, list[Any]] = {name: [] for name in Bars.__dataclass_fields__ if name != "offsets"}
        for given in symbols:
            close = np.asarray(given["close"], np.float64)
            session = np.asarray(given.get("session", np.arange(len(close))), np.int32)
            full = {
                "session": session,
                "day": (session // 5 * 7 + session % 5 + 4).astype(np.int32),  # day 4 was a Monday
                "high": close,
                "low": close,
                "volume": np.full(len(close), 1000.0),
                "price_scale": np.ones(len(close)),
                "volume_scale": np.ones(len(close)),
            } | {name: np.asarray(values) for name, values in given.items()}
            for name, values in columns.items():
                right = np.int32 if name in ("day", "session") else np.float64
                values.append(np.asarray(full[name]).astype(right))
        offsets = np.cumsum([0, *(len(values) for values in columns["close"])]).astype(np.int64)
        return Bars(offsets=offsets, **{name: np.concatenate(values) for name, values in columns.items()})

    return make


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample market, small: the folder of its files."""
    folder = tmp_path_factory.mktemp("market")
    samples.write(folder, symbols=25, sessions=120)
    return folder


@pytest.fixture(scope="session")
def replay() -> ModuleType:
    """tests/replay.py: an exchange of our own on a real socket."""
    spec = importlib.util.spec_from_file_location("replay", Path(__file__).with_name("replay.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["replay"] = module  # dataclasses look it up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def exchange_files(replay: ModuleType, market: Path) -> dict[str, bytes]:
    """The sample market's files under the exchange's own paths."""
    found: dict[str, bytes] = replay.real_paths(market)
    return found


@pytest.fixture
def exchange(
    replay: ModuleType, exchange_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    """A replayed exchange that has the sample market; the settings point to it, and to a home of the test's own."""
    with replay.Exchange() as served:
        served.files |= exchange_files
        for name, value in served.settings().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SCREENER_HOME", str(tmp_path / "home"))
        yield served


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedServer]:
    """One embedded server for all tests, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="screener-test-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedServer(Path(folder))
        url = make_url(server.start())
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            _run(url, f"ALTER SYSTEM SET {setting} = off")  # it is thrown away; its crashes are test_embedded's
        _run(url, "SELECT pg_reload_conf()")
        yield server
        server.stop()


@pytest.fixture(scope="session")
def servers(embedded: EmbeddedServer) -> dict[str, URL]:
    """The servers to test on: the embedded one, and one over TCP with a password (`eval "$(.ci/postgres start)"`)."""
    found = {"embedded": make_url(embedded.start())}
    if given := os.environ.get("SCREENER_TEST_SERVER_URL"):
        found["server"] = make_url(given)
    return found


@pytest.fixture(scope="session")
def templates(servers: dict[str, URL]) -> Iterator[dict[str, URL]]:
    """A migrated, empty database on each server, to be cloned: far faster than migrating for every test."""
    made = {}
    for name, url in servers.items():
        made[name] = _create(url, f"template_{uuid.uuid4().hex[:8]}")
        engine = create_engine(made[name])
        migrate.upgrade(engine)
        engine.dispose()
    yield made
    for name, url in made.items():
        _drop(servers[name], url)


@pytest.fixture(scope="session")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample market long enough for every metric: the folder of its files."""
    folder = tmp_path_factory.mktemp("year")
    samples.write(folder, symbols=25, sessions=260)
    return folder


@pytest.fixture(scope="session")
def year_url(servers: dict[str, URL], templates: dict[str, URL], year: Path) -> Iterator[URL]:
    """A database that holds the year, its metrics computed. Its data is to be read, not changed."""
    url = _create(servers["embedded"], f"year_{uuid.uuid4().hex[:8]}", template=templates["embedded"].database)
    engine = create_engine(url)
    sd.load(year, engine=engine)
    sd.calculate(engine=engine)
    engine.dispose()
    yield url
    _drop(servers["embedded"], url)


@pytest.fixture(params=["embedded", "server"])
def server(request: pytest.FixtureRequest, servers: dict[str, URL]) -> str:
    """The name of a server; tests that use it, or `engine`, run on each."""
    require(servers, request.param)
    return str(request.param)


def require(servers: dict[str, URL], name: str) -> None:
    """Skip, or on CI fail, where there is no such server."""
    require_here(name in servers, 'a server over TCP: eval "$(.ci/postgres start)" starts one')


@pytest.fixture(scope="module", params=["embedded", "server"])
def module_url(request: pytest.FixtureRequest, servers: dict[str, URL], templates: dict[str, URL]) -> Iterator[URL]:
    """A migrated database that the tests of one file share, on each server."""
    require(servers, request.param)
    server = servers[request.param]
    url = _create(server, f"module_{uuid.uuid4().hex[:12]}", template=templates[request.param].database)
    yield url
    _drop(server, url)


@pytest.fixture
def empty_url(server: str, servers: dict[str, URL]) -> Iterator[URL]:
    """An empty database, not migrated."""
    url = _create(servers[server], f"test_{uuid.uuid4().hex[:12]}")
    yield url
    _drop(servers[server], url)


@pytest.fixture
def database_url(
    server: str, servers: dict[str, URL], templates: dict[str, URL], monkeypatch: pytest.MonkeyPatch
) -> Iterator[URL]:
    """A migrated database of the test's own, which SCREENER_DATABASE_URL names."""
    url = _create(servers[server], f"test_{uuid.uuid4().hex[:12]}", template=templates[server].database)
    monkeypatch.setenv("SCREENER_DATABASE_URL", url.render_as_string(hide_password=False))
    yield url
    _drop(servers[server], url)


@pytest.fixture
def engine(database_url: URL) -> Iterator[Engine]:
    """An engine on a migrated database of the test's own."""
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def clone() -> Iterator[Callable[[URL], Engine]]:
    """Makes engines on copies of a database to which nobody else is connected."""
    made: list[Engine] = []

    def copy(url: URL) -> Engine:
        name = f"clone_{uuid.uuid4().hex[:12]}"
        made.append(create_engine(_create(url.set(database="postgres"), name, template=url.database)))
        return made[-1]

    yield copy
    for engine in made:
        engine.dispose()
        _drop(engine.url.set(database="postgres"), engine.url)


@pytest.fixture(scope="session")
def drop_database() -> Callable[[URL, URL], None]:
    """Drops a database of a server, whoever may still be connected to it."""
    return _drop


def _create(server: URL, name: str, template: str | None = None) -> URL:
    _run(server, f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))
    return server.set(database=name)


def _drop(server: URL, url: URL) -> None:
    drop = f'DROP DATABASE IF EXISTS "{url.database}"'
    try:
        _run(server, f"{drop} WITH (FORCE)")
    except ProgrammingError:  # FORCE may not end an autovacuum, unless for a superuser; the plain DROP does
        _run(server, drop)


def _run(server: URL, statement: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()
