#!/usr/bin/env python3
"""The project's two jobs on a bare machine with Python and pip: `python3 dev.py run` and `python3 dev.py test`.

    env            make .venv from pyproject.toml and constraints.txt (uv when it is on PATH, else pip)
    run            env, then: database, migrations, notebooks 01 to 05 on a sample market, and what was loaded
    lint           env, then: ruff, mypy, import-linter
    test [ARG …]   env, then: lint and the whole suite with its coverage; with arguments: pytest ARG …
    faults [ARG …] env, then: kills, crowds, broken files, full disks in their full number, with figures (half an hour)
    bench [ARG …]  env with the extra `bench`, then: benchmarks/load.py ARG …
    lock [ARG …]   write constraints.txt again (`--upgrade` takes newer releases)
    clean          stop the embedded server, remove .venv and caches; data (.screener, runs) stays

Standard library only, and no syntax newer than Python 3.6, so that an old Python can still say what is missing.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "made-from"

NOTEBOOKS = ("01_schema_setup", "02_ingest_sample", "03_validate", "04_metrics", "05_explore")
LEAST_COVERAGE = 95
MOST_WORKERS = 4  # of the tests; each has an embedded server of its own
CACHES = (
    *(".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
    *("build", "dist", "htmlcov"),
)


def say(text: str) -> None:
    """Talk on stderr: stdout is for data."""
    sys.stderr.write(f"\n== {text}\n")
    sys.stderr.flush()


def sh(*command: object) -> None:
    """Run a command in the project's folder; the first that fails ends the job with its exit code."""
    code = subprocess.call([str(word) for word in command], cwd=str(ROOT))
    if code:
        say(f"failed with exit code {code}: {Path(str(command[0])).name} {' '.join(map(str, command[1:]))}")
        sys.exit(code if code > 0 else 128 - code)


def works(*command: object) -> bool:
    """Tell in silence whether a command succeeds."""
    try:
        quiet = subprocess.DEVNULL
        return not subprocess.call([str(word) for word in command], stdout=quiet, stderr=quiet)
    except OSError:
        return False


def minors() -> range:
    """The Python 3 minor versions that pyproject.toml allows."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"$', text, re.MULTILINE)
    if not found:
        sys.exit('dev.py reads `requires-python = ">=3.N,<3.M"` in pyproject.toml, and cannot find it')
    return range(int(found.group(1)), int(found.group(2)))


def right_python() -> None:
    """Go on under a Python that fits: this one, or one on PATH."""
    fits = minors()
    if sys.version_info[0] == 3 and sys.version_info[1] in fits:
        return
    names = [f"python3.{minor}" for minor in reversed(fits)]
    for name in names:
        other = shutil.which(name)
        if other and works(other, "-c", ""):
            sys.exit(subprocess.call([other, str(ROOT / "dev.py"), *sys.argv[1:]]))
    here = ".".join(map(str, sys.version_info[:3]))
    sys.exit(
        f"This is Python {here}; screener_data needs Python 3.{fits[0]} to 3.{fits[-1]}, and none of"
        f" {', '.join(names)} is on PATH. Install one of them, then say the same again."
    )


def pip(*options: object) -> "list[object]":
    """A pip that knows these options: this Python's, or that of the Python it was made from (.venv has none)."""
    for python in dict.fromkeys((sys.executable, getattr(sys, "_base_executable", sys.executable))):
        if works(python, "-m", "pip", *options, "--version"):
            return [python, "-m", "pip", *options, "install"]
    return []


def installer() -> "list[object]":
    """The command that installs into .venv: uv, else a pip from outside (22.3 or newer), else one inside."""
    uv = shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--compile-bytecode", "--python", PYTHON]
    outside = pip("--python", PYTHON)
    if outside:
        return outside
    if works(PYTHON, "-m", "ensurepip"):
        return [PYTHON, "-m", "pip", "install"]
    sys.exit(f"{sys.executable} has no pip (22.3 or newer): install pip (Debian: python3-pip) or uv first.")


def env(*extras: str) -> None:
    """Make .venv, or leave it alone when it was made here from these very files and has these extras, too."""
    files = b"\0".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    made_from = [str(ROOT), hashlib.sha256(files).hexdigest()]
    before = STAMP.read_text(encoding="utf-8").splitlines() if STAMP.exists() else []
    moved = before[:1] not in ([], made_from[:1])  # a copied .venv still points to the folder it was made in
    wanted = sorted({"dev", *extras, *([] if moved else before[2:])})  # what was asked for once is kept up to date
    if PYTHON.exists() and before == made_from + wanted:
        return
    say("environment: .venv (the first time takes a minute)")
    if moved or not PYTHON.exists():
        import venv

        venv.EnvBuilder(with_pip=False, clear=True, symlinks=os.name != "nt").create(str(VENV))
    if STAMP.exists():
        STAMP.unlink()
    sh(*installer(), "--quiet", "--editable", f".[{','.join(wanted)}]", "--constraint", "constraints.txt")
    STAMP.write_text("\n".join(made_from + wanted), encoding="utf-8")


def run() -> None:
    """Do the main job, from nothing to data that was loaded and checked."""
    env()
    tool = BIN / "screener-data"
    say(f"notebooks: {', '.join(NOTEBOOKS)} (the first one starts the database and migrates it)")
    sh(tool, "run", *NOTEBOOKS)
    say("what was loaded")
    sh(tool, "status")


def lint() -> None:
    """Read the code without running it."""
    env()
    for words in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["lint-imports", "--no-logo"]):
        say(" ".join(words))
        sh(BIN / words[0], *words[1:])


def test(*args: str) -> None:
    """Lint and run the whole suite; with arguments only pytest, as a part cannot cover the whole."""
    if args:
        env()
        say("pytest " + " ".join(args))
        sh(BIN / "pytest", *args)
        return
    lint()
    # several at a time, then alone what the company would disturb: the second part goes on with the first's coverage
    workers = ["-n", min(os.cpu_count() or 1, MOST_WORKERS), "--dist", "worksteal"]
    for part in (
        ["-m", "not alone", *workers, "--cov", "--cov-fail-under=0"],
        ["-m", "alone", "--cov", "--cov-append", f"--cov-fail-under={LEAST_COVERAGE}"],
    ):
        say("pytest " + " ".join(map(str, part)))
        sh(BIN / "pytest", *part)


def faults(*args: str) -> None:
    """Provoke every fault as often as it takes to be sure, one after the other, and print what was measured."""
    env()
    os.environ["SCREENER_FAULTS"] = "full"
    say("pytest -s tests/faults " + " ".join(args))
    sh(BIN / "pytest", "-s", "tests/faults", *args)


def bench(*args: str) -> None:
    """Measure how fast files are loaded, beside PostgreSQL's COPY and other tools."""
    env("bench")
    sh(PYTHON, "benchmarks/load.py", *args)


def lock(*args: str) -> None:
    """Write constraints.txt: one list for every Python and system allowed, without addresses."""
    with tempfile.TemporaryDirectory() as folder:
        uv = shutil.which("uv")
        if not uv:
            sh(*(pip() or sys.exit(f"{sys.executable} has no pip")), "--quiet", "--target", folder, "uv")
            uv = str(Path(folder) / "bin" / "uv")
        lowest = ["--universal", "--python-version", f"3.{minors()[0]}"]
        bare = ["--quiet", "--no-header", "--no-annotate", "--output-file", "constraints.txt"]
        sh(uv, "pip", "compile", "pyproject.toml", "--extra", "dev", "--extra", "bench", *lowest, *bare, *args)


def clean() -> None:
    """Remove what can be made again."""
    works(BIN / "screener-data", "stop")  # the embedded server's programs live in .venv
    for name in (".venv", *CACHES):
        shutil.rmtree(str(ROOT / name), ignore_errors=True)
    for file in (*ROOT.glob(".coverage"), *ROOT.glob(".coverage.*")):
        file.unlink()


JOBS = {job.__name__: job for job in (env, run, lint, test, faults, bench, lock, clean)}

if __name__ == "__main__":
    job, args = (sys.argv[1:2] or ["help"])[0], sys.argv[2:]
    if job not in JOBS or (args and job not in ("test", "faults", "bench", "lock")):
        sys.exit(__doc__)
    right_python()
    try:
        JOBS[job](*args)
    except KeyboardInterrupt:
        sys.exit(130)
