"""Settings come from the environment, are found from anywhere in the workspace, and never show a password."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from screener_data.config import Settings, settings, workspace
from screener_data.database.engine import connect
from screener_data.errors import ConfigError, DatabaseError

PASSWORD = "geheim-42"
SECRET = f"postgresql://someone:{PASSWORD}@127.0.0.1:1/nowhere"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is no workspace yet, as the current one, and nothing set."""
    for name in ("DATABASE_URL", "HOME", "RUNS", "CACHE"):
        monkeypatch.delenv(f"SCREENER_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_set(folder: Path) -> None:
    assert settings().database_url is None
    assert settings().home == folder / ".screener"
    assert settings().runs == folder / "runs"


def test_an_empty_variable_is_not_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENER_DATABASE_URL", "")
    monkeypatch.setenv("SCREENER_HOME", "")
    assert settings().database_url is None
    assert settings().home == folder / ".screener"


@pytest.mark.parametrize("mark", [".screener/", "alembic.ini"])
def test_the_workspace_is_found_from_its_notebooks(folder: Path, monkeypatch: pytest.MonkeyPatch, mark: str) -> None:
    (folder / mark).mkdir() if mark.endswith("/") else (folder / mark).touch()
    inside = folder / "notebooks" / "deep"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert workspace() == folder
    assert settings().home == folder / ".screener"


def test_the_nearest_workspace_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".screener").mkdir()
    (folder / "other" / ".screener").mkdir(parents=True)
    monkeypatch.chdir(folder / "other")
    assert workspace() == folder / "other"


def test_an_env_file_is_read_from_the_workspace_and_the_environment_wins(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "alembic.ini").touch()
    (folder / ".env").write_text(f"SCREENER_DATABASE_URL={SECRET}\nSCREENER_HOME=/from/file\nOTHER=1\n")
    (folder / "notebooks").mkdir()
    monkeypatch.chdir(folder / "notebooks")
    monkeypatch.setenv("SCREENER_HOME", "/from/environment")
    found = settings()
    assert found.home == Path("/from/environment")
    assert found.database_url is not None
    assert found.database_url.get_secret_value() == SECRET


@pytest.mark.parametrize("given", ["data", "~/data", "/data"])
def test_folders_are_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("HOME", "/srv/someone")
    monkeypatch.setenv("SCREENER_HOME", given)
    monkeypatch.setenv("SCREENER_RUNS", given)
    expected = {"data": folder / "data", "~/data": Path("/srv/someone/data"), "/data": Path("/data")}[given]
    assert (settings().home, settings().runs) == (expected, expected)


def test_the_password_is_not_shown() -> None:
    found = Settings(database_url=SECRET)  # type: ignore[arg-type]
    for shown in (repr(found), str(found), found.model_dump_json(), str(found.model_dump()), f"{found.database_url}"):
        assert PASSWORD not in shown


def test_a_home_of_nobody_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENER_HOME", "~no-such-user/data")
    with pytest.raises(ConfigError, match="SCREENER_HOME"):
        settings()


def test_an_env_file_that_is_no_text_is_named(folder: Path) -> None:
    (folder / ".env").write_bytes(b"SCREENER_HOME=/data/\xff\n")
    with pytest.raises(ConfigError, match=r"\.env"):
        settings()


# --- addresses that do not work


def refused(url: str | URL, kind: type[Exception]) -> str:
    """What `connect` says to an address, and that it says so at once and without the password."""
    start = time.monotonic()
    with pytest.raises(kind) as caught:
        connect(url)
    assert type(caught.value) is kind
    assert time.monotonic() - start < 7
    for error in (caught.value, caught.value.__cause__):
        assert PASSWORD not in str(error)
    assert caught.value.__cause__ is None or caught.value.__suppress_context__
    return str(caught.value)


def test_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENER_DATABASE_URL", PASSWORD)
    with pytest.raises(ConfigError, match="SCREENER_DATABASE_URL") as caught:
        connect()
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("server", ["server"], indirect=True)  # the embedded one asks for no password
def test_a_wrong_password(server: str, servers: dict[str, URL]) -> None:
    said = refused(servers[server].set(password=PASSWORD), DatabaseError)
    assert "password authentication failed" in said
    assert ":***@" in said


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (SECRET, "Connection refused"),
        (SECRET.replace(":1/", ":99999/"), "invalid port"),
        (SECRET.replace("127.0.0.1", "no-such-host.invalid"), "could not translate host name"),
        (f"postgresql://someone:{PASSWORD}@/nowhere?host=/no/such/folder", "No such file or directory"),
        (f"postgresql://someone@127.0.0.1:1/nowhere?password={PASSWORD}", "Connection refused"),
        (SECRET + "?nonsense=1", "invalid connection option"),
    ],
)
def test_a_server_that_is_not_there(url: str, says: str) -> None:
    assert says in refused(url, DatabaseError)


def test_a_database_that_is_not_there(server: str, servers: dict[str, URL]) -> None:
    assert '"no_such" does not exist' in refused(servers[server].set(database="no_such"), DatabaseError)


@pytest.mark.parametrize(
    "url",
    [
        f"sqlite:///{PASSWORD}.db",
        f"mysql://someone:{PASSWORD}@127.0.0.1/nowhere",
        f"someone:{PASSWORD}@127.0.0.1",
        "",
        SECRET.replace(":1/", ":port/"),
        f"postgresql://someone:half@{PASSWORD}@127.0.0.1/nowhere",
    ],
)
def test_what_is_no_address_of_postgresql(url: str) -> None:
    assert "PostgreSQL" in (said := refused(url, ConfigError)) or "postgresql://" in said


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port at which somebody picks up and says nothing for eight seconds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        callers: list[socket.socket] = []
        thread = threading.Thread(target=lambda: callers.append(listener.accept()[0]))
        thread.start()
        hang_up = threading.Timer(8, lambda: [caller.close() for caller in callers])
        hang_up.start()
        yield listener.getsockname()[1]
        hang_up.join()
        thread.join()


def test_a_server_that_says_nothing(silent_port: int) -> None:
    assert "timeout" in refused(SECRET.replace(":1/", f":{silent_port}/"), DatabaseError)
