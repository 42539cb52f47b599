"""The crontab line and the units are taken by the real parsers, and what they start really starts."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from screener_data import schedule
from screener_data.cli import app
from screener_data.config import Settings
from screener_data.database.embedded import EmbeddedServer
from screener_data.errors import ConfigError, UsageError

SECRET = "postgresql://me:s3cret@db.example/screener"


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace with an awkward name, and no setting in the environment."""
    # not in pytest's own folder: each session of pytest closes that to the server's user again
    with tempfile.TemporaryDirectory(prefix="screener-schedule-") as above:
        folder = Path(above) / "it's a 50% $HOME"
        (folder / ".screener").mkdir(parents=True)
        monkeypatch.chdir(folder)
        for name in Settings.model_fields:
            monkeypatch.delenv(f"SCREENER_{name.upper()}", raising=False)
        yield folder
        EmbeddedServer(folder / ".screener").stop()


def entry(crontab: str) -> tuple[str, str]:
    """The minutes and the command of a crontab's one line, as cron understands them."""
    (line,) = (line for line in crontab.splitlines() if not line.startswith("#"))
    minutes, command = re.fullmatch(r"(\S+) \* \* \* \* (.+)", line).groups()  # type: ignore[union-attr]
    assert len(command) < 1000  # cron's limit
    assert not re.search(r"(?<!\\)%", command)  # it would be a line end
    return minutes, command.replace("\\%", "%")


# --- cron


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Chatham", "Asia/Kolkata"])
@pytest.mark.parametrize("at", ["19:30", "00:07"])
def test_cron_comes_by_at_that_time_in_every_zone(place: Path, at: str, zone: str) -> None:
    minutes = {int(minute) for minute in entry(schedule.cron(at))[0].split(",")}
    for month in (1, 7):  # with summer time and without
        moment = dt.datetime(2026, month, 5, int(at[:2]), int(at[3:]), tzinfo=ZoneInfo("Asia/Kolkata"))
        assert moment.astimezone(ZoneInfo(zone)).minute in minutes


def test_the_clock_that_the_line_looks_at_is_india_s(place: Path) -> None:
    look = re.search(r"\$\((.+?)\)", entry(schedule.cron())[1])
    assert look
    now = [dt.datetime.now(ZoneInfo("Asia/Kolkata"))]
    said = subprocess.run(["/bin/sh", "-c", look[1]], capture_output=True, text=True, check=True, env={"PATH": "/bin"})
    now.append(dt.datetime.now(ZoneInfo("Asia/Kolkata")))
    assert said.stdout.strip() in {f"{moment:%H:%M}" for moment in now}


def test_crontab_takes_it(place: Path, tmp_path: Path, here: Callable[[object, str], None]) -> None:
    here(crontab := shutil.which("crontab"), "cron")
    file = tmp_path / "crontab"
    file.write_text(schedule.cron(), encoding="utf-8")
    dry = "-n" if "-n" in subprocess.run([crontab, "-h"], capture_output=True, text=True, check=False).stderr else "-T"
    subprocess.run([crontab, dry, file], check=True)


def test_the_line_runs_with_nothing_in_its_environment(
    place: Path, tmp_path: Path, here: Callable[[object, str], None]
) -> None:
    here(shutil.which("flock"), "flock")
    clock = tmp_path / "bin" / "date"
    clock.parent.mkdir()
    clock.write_text('#!/bin/sh\n[ "$TZ $*" = "IST-5:30 +%H:%M" ] && cat "${0%/*}/now"\n')
    clock.chmod(0o755)
    log = place / ".screener" / "evening.log"
    command = entry(schedule.cron("19:30"))[1].replace("run evening >>", "init >>")
    assert command != entry(schedule.cron("19:30"))[1]

    def at(now: str) -> subprocess.CompletedProcess[str]:
        (clock.parent / "now").write_text(now)
        words = ["env", "-i", f"PATH={clock.parent}:/usr/bin:/bin", "/bin/sh", "-c", command]
        return subprocess.run(words, capture_output=True, text=True, cwd="/", timeout=60, check=False)

    assert at("19:45").returncode == 0
    assert not log.exists()

    done = at("19:30")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), log.read_text()
    assert "ready: postgresql" in log.read_text()
    assert EmbeddedServer(place / ".screener").is_running()

    lock = place / ".screener" / "evening.lock"
    subprocess.run(["flock", "-n", lock, "true"], check=True)  # the server, which lives on, did not inherit it
    with subprocess.Popen(["flock", lock, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin and holder.stdout  # noqa: PT018
        holder.stdin.write(b"held\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"held\n"
        done = at("19:30")
        holder.stdin.close()
    assert done.returncode == 75
    assert "exit code 75" in done.stderr  # which cron mails
    assert "exit code 75" in log.read_text()


# --- systemd


def test_systemd_takes_the_units(place: Path, tmp_path: Path, here: Callable[[object, str], None]) -> None:
    here(analyze := shutil.which("systemd-analyze"), "systemd")
    result = CliRunner().invoke(app, ["schedule", "systemd", "--at", "20:15", "-o", str(tmp_path / "units")])
    assert result.exit_code == 0, result.output
    files = result.stdout.split()
    assert {Path(file).name for file in files} == set(schedule.systemd())
    done = subprocess.run([analyze, "verify", "--man=no", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "screener" in line]) == (0, [])
    when = re.findall(r"OnCalendar=(.+)", schedule.systemd("20:15")["screener-data.timer"])
    said = subprocess.run([analyze, "calendar", *when], capture_output=True, text=True, check=True).stdout
    assert "20:15:00 Asia/Kolkata" in said


def test_the_embedded_server_is_not_a_part_of_the_job(place: Path) -> None:
    units = schedule.systemd()
    assert "Requires=screener-data-db.service\nAfter=screener-data-db.service" in units["screener-data.service"]
    assert "Type=forking" in units["screener-data-db.service"]
    (place / ".env").write_text(f"SCREENER_DATABASE_URL={SECRET}\n")
    units = schedule.systemd()
    assert "screener-data-db.service" not in units
    assert "screener-data-db" not in "".join(units.values())
    assert "s3cret" not in "".join(units.values()) + schedule.cron()


def test_words_reach_the_program_as_they_are(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", '/a b/$c %d "e"\\f/python')
    assert schedule._exec("run") == '"/a b/$c %%d \\"e\\"\\\\f/python" "-m" "screener_data" "run"'
    monkeypatch.chdir(place.parent)
    assert "WorkingDirectory=" in schedule.systemd()["screener-data.service"]


def test_units_of_a_user_and_of_root(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for uid, folder, target in ((0, "/etc/systemd/system", "multi-user"), (1000, "~/.config/systemd/user", "default")):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        result = CliRunner().invoke(app, ["schedule", "systemd"])
        assert f"# {folder}/screener-data.timer\n[Unit]" in result.stdout
        assert f"WantedBy={target}.target" in result.stdout
        assert ("loginctl enable-linger" in result.stderr) == (uid > 0)


# --- settings and usage


def test_a_setting_that_the_job_would_not_have_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENER_DATABASE_URL", SECRET)
    for make in (schedule.cron, schedule.systemd):
        with pytest.raises(
            ConfigError, match=r"^SCREENER_DATABASE_URL: set in this shell, and not so in .*\.env"
        ) as told:
            make()
        assert "s3cret" not in str(told.value)
    (place / ".env").write_text(f"SCREENER_DATABASE_URL={SECRET}\n")
    assert schedule.cron()


def test_an_env_file_that_others_can_read_is_told(place: Path) -> None:
    (place / ".env").write_text("SCREENER_CACHE=off\n")
    for mode, told in ((0o644, True), (0o600, False)):
        (place / ".env").chmod(mode)
        result = CliRunner().invoke(app, ["schedule", "cron"])
        assert result.exit_code == 0
        assert ("others can read" in result.stderr) == told
        assert result.stdout == schedule.cron()


@pytest.mark.parametrize("at", ["24:00", "7:30", "19.30", "19:30 UTC", "19:60"])
def test_what_is_no_time(place: Path, at: str) -> None:
    for make in (schedule.cron, schedule.systemd):
        with pytest.raises(UsageError, match="not a time of the day like 19:30"):
            make(at)


def test_a_line_end_in_a_path_is_refused(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a\nb").mkdir()
    monkeypatch.chdir(tmp_path / "a\nb")
    for make in (schedule.cron, schedule.systemd):
        with pytest.raises(UsageError, match="line end"):
            make()
