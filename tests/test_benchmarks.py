"""The benchmarks run as they are, small, and find what is fast and wrong. Its figures mean nothing here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

LOAD = Path(__file__).resolve().parents[1] / "benchmarks" / "load.py"
METRICS = LOAD.with_name("metrics.py")
READ = LOAD.with_name("read.py")

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


#: What the formulas find for the first bar that has an average of ten, a little too high.
WRONG_AVERAGE = """
from screener_data import formulas

compute = formulas.compute

def lie(*words, **options):
    columns = compute(*words, **options)
    columns["ma_10"][9] += 0.01
    return columns

formulas.compute = lie
"""

#: One price of a wide read, a little too high.
WRONG_PRICE = """
import screener_data

prices = screener_data.prices

def lie(*words, **options):
    frame = prices(*words, **options)
    frame.loc[len(frame) - 1, "close"] += 0.01
    return frame

screener_data.prices = lie
"""


def bench(*words: object, program: Path = LOAD, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(program), *map(str, words)]
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


def test_the_metrics_benchmark_compares_the_figures_and_prints_its_table() -> None:
    done = bench("--symbols", 15, "--sessions", 320, "--pairs", 1, program=METRICS)
    assert done.returncode == 0, done.stderr
    head, *rows, memory = done.stdout.splitlines()
    assert head.split() == ["who", "work", "seconds", "rows/s", "formulas", "are", "bar", "met"]
    assert [row.split()[0] for row in rows] == ["formulas", "TA-Lib", "pandas"]
    assert re.search(r"^[\d,]+ bars; peak memory of the formulas' process [\d,]+ MB", memory)


def test_a_metric_that_is_fast_and_wrong_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WRONG_AVERAGE)
    done = bench("--symbols", 3, "--sessions", 300, "--pairs", 1, program=METRICS, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert "WRONG: ma_10 of bar 9:" in done.stderr
    assert done.stdout == ""


def test_the_reading_benchmark_compares_the_rows_and_prints_its_table() -> None:
    names = ["cold", "warm", "panel", "session"]
    only = [word for name in names for word in ("--only", name)]
    done = bench("--symbols", 60, "--sessions", 300, "--turns", 1, *only, program=READ)
    assert done.returncode == 0, done.stderr
    head, *rows, total = done.stdout.splitlines()
    assert head.split() == ["who", "work", "seconds", "×", "read_sql", "peak", "MB", "bar", "met"]
    assert [row.split()[0] for row in rows] == ["read_sql", *names]
    assert total.startswith("18,000 bars")


def test_prices_that_are_read_fast_and_wrong_are_found_out(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WRONG_PRICE)
    words = ("--symbols", 8, "--sessions", 100, "--turns", 1, "--only", "cold")
    done = bench(*words, program=READ, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert "WRONG: cold read other rows than read_sql" in done.stderr
    assert done.stdout == ""
