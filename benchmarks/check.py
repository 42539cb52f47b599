#!/usr/bin/env python3
"""How long the checks and the gaps take: `python benchmarks/check.py`, 2,500 symbols on 500 sessions with metrics.

Beside them stands a plain count of the same bars, the least that anybody who looks at each of them must do. After the
clean runs a fault is planted, and must be found.

README.md beside this file says how to read the table. Exit codes: 0, 1 a bar was missed, 2 a fault was missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from load import Server, WrongError, exit_with, say
from metrics_job import fill
from sqlalchemy import Engine, create_engine, text

CHECK_BAR = 20.0  # seconds
SYMBOLS, SESSIONS = 2_500, 500
SINCE = 18_998  # 2022-01-06, a Thursday


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def count(engine: Engine) -> object:
    with engine.connect() as connection:
        return connection.execute(text("SELECT count(*), sum(close), sum(volume) FROM ohlcv_daily")).one()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=SYMBOLS, help=f"default {SYMBOLS:,}; another misses no bar")
    parser.add_argument("--turns", type=int, default=3, help="of each (default 3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="screener-bench-") as folder, ExitStack() as stack:
        import screener_data as sd

        Path(folder).chmod(0o755)
        home = Path(folder) / "home"
        home.mkdir(mode=0o755)
        server = Server(home, stack)
        database, _ = fill(server, options.symbols, SESSIONS, SINCE)
        engine = create_engine(server.address(database))
        stack.callback(engine.dispose)
        say(f"metrics: {sd.calculate(engine=engine).inserted:,} rows")
        server.settle()
        work: dict[str, Callable[[], object]] = {
            "count": lambda: count(engine),
            "check": lambda: sd.check(engine=engine),
            "gaps": lambda: sd.gaps(engine=engine),
        }
        taken: dict[str, list[float]] = {name: [] for name in work}
        for turn in range(options.turns):
            for name, what in work.items():
                taken[name].append(seconds(what))
                say(f"[{turn + 1}] {name}: {taken[name][-1]:.2f} s")
        with engine.begin() as connection:
            one = "(SELECT min(id) FROM ohlcv_daily)"
            connection.execute(text(f"UPDATE ohlcv_daily SET open = 0, low = 0 WHERE id = {one}"))
        found = {finding.name: finding.count for finding in sd.check(engine=engine)}
        if found["bars_out_of_range"] != 1:
            raise WrongError(f"a bar from a price of 0: {found['bars_out_of_range']} were found")
        bars = count(engine)[0]  # type: ignore[index]
    median = {name: statistics.median(times) for name, times in taken.items()}
    for name, what in (("count", "a plain count of the bars"), ("check", f"{len(found)} checks"), ("gaps", "gaps")):
        bar = f"bar ≤ {CHECK_BAR:g} s" if name == "check" else ""
        sys.stdout.write(f"{what:34}{bars:12,}{median[name]:10.2f} s  {bar}\n")
    return int(median["check"] > CHECK_BAR and options.symbols == SYMBOLS)


if __name__ == "__main__":
    exit_with(main)
