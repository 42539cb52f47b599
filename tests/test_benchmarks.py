"""The benchmark runs as it is, small, and finds a load that is fast and wrong. Its figures mean nothing here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

LOAD = Path(__file__).resolve().parents[1] / "benchmarks" / "load.py"

#: Python imports a module of this name by itself, in the processes that load, too.
LIE = """
import screener_data

load = screener_data.load

def lie(*words, engine, **options):
    results = load(*words, engine=engine, **options)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE ohlcv_daily SET volume = volume + 1 WHERE id = (SELECT max(id) FROM ohlcv_daily)"
        )
    return results

screener_data.load = lie
"""


def bench(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(LOAD), *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, timeout=120, check=False
    )


def test_the_benchmark_measures_checks_and_prints_its_table() -> None:
    done = bench("--symbols", 200, "--sessions", 10, "--pairs", 1, "--only", "cold-big", "--only", "day")
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split()[:4] == ["work", "rows", "seconds", "rows/s"]
    assert head.endswith("peak MB")
    due = [("F: plain COPY", "1,994"), ("into an empty table, one big CSV", "2,000"), ("one new day", "200")]
    for row, (work, number) in zip(rows, due, strict=True):
        assert row.startswith(work), done.stdout
        assert number in row.split(), done.stdout
    assert "[1] cold-big: 2,000 rows" in done.stderr


def test_a_load_that_stores_another_figure_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(LIE)
    done = bench("--symbols", 20, "--sessions", 2, "--pairs", 1, "--only", "cold-big", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert re.search(r"^WRONG: ohlcv_daily holds (\d+) rows, \1 are due; the first that differ: ", done.stderr, re.M)
    assert done.stdout == ""
