"""The evening run as a crontab line, or as systemd units: for this Python, this workspace, and the time in India.

No setting is in them, and so no secret: the run reads the workspace's `.env`, as every command does there.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from screener_data.config import Settings, settings, workspace
from screener_data.errors import ConfigError, UsageError

__all__ = ["AT", "cron", "exposed", "systemd", "units_folder"]

#: When the exchange's files of the day are there, as a rule.
AT = "19:30"

_EVENING = ("run", "evening")
_QUARTER = 15  # minutes: every time zone is a multiple of it away from India's
_OVERLAP = 75  # the exit code when the run before has not ended


def cron(at: str = AT) -> str:
    """A crontab's lines for a run each day `at` HH:MM in India, whatever zone the machine and its cron are in.

    It looks at the clock in India every quarter of an hour: Debian's cron and busybox's do not know CRON_TZ, and a zone
    with summer time has no fixed hour that would do. Raises UsageError (no time), and ConfigError for
    a setting of this shell that is not in `.env`.

    >>> from screener_data import schedule
    >>> print(schedule.cron("19:30"))  # doctest: +SKIP
    # screener-data run evening, at 19:30 in India. ...
    0,15,30,45 * * * * if [ "$(TZ=IST-5:30 date +\\%H:\\%M)" = 19:30 ]; then ...
    """
    minute = int(_time(at)[3:]) % _QUARTER
    home, log = _same_for_a_job(), settings().home / "evening.log"
    work = (
        f"cd {_word(workspace())} && mkdir -p {_word(home)} && "
        f"flock -n -E {_OVERLAP} {_word(home / 'evening.lock')} {' '.join(map(_word, _command(*_EVENING)))} "
        f">>{_word(log)} 2>&1"
    )
    told = f"screener-data run evening: exit code $code ({_OVERLAP}: the run before has not ended)"
    failed = f'code=$?; echo "{told}" | tee -a {_word(log)} >&2; exit $code'
    # TZ as a rule and not as a name: without tzdata a name would mean UTC, in silence; India has no summer time
    line = f'if [ "$(TZ=IST-5:30 date +%H:%M)" = {at} ]; then {work} || {{ {failed}; }}; fi'
    minutes = ",".join(str(minute + quarter) for quarter in range(0, 60, _QUARTER))
    return (
        f"# screener-data run evening, at {at} in India. Paste it into `crontab -e`.\n"
        "# It looks at India's clock every quarter of an hour, since not every cron knows CRON_TZ.\n"
        f"# Settings: {workspace() / '.env'} (mode 600). Output: {log}; cron mails a failure.\n"
        # to cron, % is a line end unless a \ is before it, in quotes too
        f"{minutes} * * * * {line.replace('%', chr(92) + '%')}\n"
    )


def systemd(at: str = AT) -> dict[str, str]:
    """The units for a run each day `at` HH:MM in India, by file name; what was missed while off is made up for.

    The embedded server has a unit of its own: systemd ends all that a job has started, and the server would go down
    with the run, for JupyterLab too. Raises as `cron` does.

    >>> from screener_data import schedule
    >>> sorted(schedule.systemd())  # doctest: +SKIP
    ['screener-data-db.service', 'screener-data-failed.service', 'screener-data.service', 'screener-data.timer']
    """
    _time(at)
    _same_for_a_job()
    embedded, as_root = settings().database_url is None, os.geteuid() == 0
    server = "screener-data-db.service"
    journal = f"journalctl {'' if as_root else '--user '}--unit=screener-data.service"
    folder = f"WorkingDirectory={str(workspace()).replace('%', '%%')}"
    units = {
        "screener-data.timer": [
            "[Unit]",
            f"Description=screener_data: every evening at {at} in India",
            "",
            "[Timer]",
            f"OnCalendar=*-*-* {at}:00 Asia/Kolkata",
            "# a run that was missed while the machine was off is made up for",
            "Persistent=true",
            "",
            "[Install]",
            "WantedBy=timers.target",
        ],
        "screener-data.service": [
            "[Unit]",
            "Description=screener_data: fetch, load, compute, check, report",
            *(["Wants=network-online.target", "After=network-online.target"] if as_root else []),
            *([f"Requires={server}", f"After={server}"] if embedded else []),
            "OnFailure=screener-data-failed.service",
            "",
            "[Service]",
            "Type=oneshot",
            "# settings are read from .env there (mode 600)",
            folder,
            f"ExecStart={_exec(*_EVENING)}",
            "TimeoutStartSec=6h",
        ],
        "screener-data-failed.service": [
            "[Unit]",
            "Description=screener_data: tells that the evening run failed",
            "",
            "[Service]",
            "Type=oneshot",
            "# a line of level error in the journal; put your own mail or message in its place",
            f"ExecStart=/bin/sh -c 'echo \"<3>screener-data run evening failed: {journal}\"'",
        ],
    }
    if embedded:
        units[server] = [
            "[Unit]",
            "Description=screener_data: the embedded PostgreSQL",
            "",
            "[Service]",
            "Type=forking",
            "# also when it ran already, started by hand: then it is no process of this unit",
            "RemainAfterExit=yes",
            folder,
            f"ExecStart={_exec('init')}",
            f"ExecStop={_exec('stop')}",
            "# a crash may have much to recover",
            "TimeoutSec=240",
            "Restart=on-failure",
            "RestartSec=30",
            "",
            "[Install]",
            f"WantedBy={'multi-user' if as_root else 'default'}.target",
        ]
    return {name: "\n".join(lines) + "\n" for name, lines in units.items()}


def units_folder() -> str:
    """Where systemd looks for units of this user; root's are the machine's."""
    return "/etc/systemd/system" if os.geteuid() == 0 else "~/.config/systemd/user"


def exposed() -> Path | None:
    """The workspace's `.env`, if others than its owner may read it."""
    file = workspace() / ".env"
    return file if file.is_file() and file.stat().st_mode & 0o077 else None


def _same_for_a_job() -> Path:
    """The home that the job will have. Raises ConfigError for a setting of this shell, which a job would not have."""
    file = workspace() / ".env"
    kept = DotEnvSettingsSource(Settings, env_file=file)()
    differing = [name for name, value in EnvSettingsSource(Settings)().items() if kept.get(name) != value]
    if differing:
        names = ", ".join(f"SCREENER_{name.upper()}" for name in differing)
        raise ConfigError(
            f"{names}: set in this shell, and not so in {file}. A job sees only that file: put it there (chmod 600), "
            "or unset it."
        )
    for path in (sys.executable, workspace(), settings().home):
        if "\n" in str(path):
            raise UsageError(f"{str(path)!r} has a line end in it, which neither cron nor systemd can be told")
    return settings().home


def _time(at: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", at):
        raise UsageError(f"{at!r} is not a time of the day like {AT}")
    return at


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "screener_data", *words]


def _word(word: str | Path) -> str:
    return shlex.quote(str(word))


def _exec(*words: str) -> str:
    """A command as systemd reads it, which puts values in the place of %x and, after the first word, of $x."""
    program, *rest = ('"' + re.sub(r'(["\\])', r"\\\1", word).replace("%", "%%") + '"' for word in _command(*words))
    return " ".join([program, *(word.replace("$", "$$") for word in rest)])
