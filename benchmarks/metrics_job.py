#!/usr/bin/env python3
"""How long `screener-data metrics` takes, from the first byte read to the commit: `python benchmarks/metrics_job.py`.

The whole history of 2,500 symbols on 2,500 sessions, computed and stored; then one new session, loaded from its file.
Beside the storing stands F: PostgreSQL's plain COPY of the same ready rows into the same empty table with all of its
indexes and its foreign key, measured in the same run. Every stored row of the new day is compared with what a
computation of everything gives.

README.md beside this file says how to read the table. Exit codes: 0, 1 a bar was missed, 2 a figure was wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import data
import numpy as np
import pyarrow as pa
from load import Server, WrongError, exit_with, peak_mb, say
from metrics import FULL, QUICK, make
from sqlalchemy import create_engine

DAY_BAR = 3.0  # seconds, the process from start to end
STORE_BAR = 1.0  # × F
MEMORY_BAR = 2_000  # MB of 10⁶ bytes
_BAR = "symbol, date, open, high, low, close, volume"
_METRICS = "symbol, date, rs_rating, vars_value, atr, atr_pct, stage, vcp_score, vol_20d_avg, vol_vs_avg_pct, \
ma_10, ma_20, ma_50, ma_200"


def fill(server: Server, symbols: int, sessions: int, since: int = 0) -> tuple[str, list[dict[str, Any]]]:
    """A database with listed securities, the benchmark's index, and their bars; and the bars of the day after.

    `since`: the Thursday from which their days count, in days since 1970-01-01.
    """
    from screener_data.database.bulk import copy_rows, decimals, indexes_built_last

    bars, index = make(symbols, sessions + 1)
    database = server.create(server.empty)
    engine = create_engine(server.address(database))
    names = [f"S{number:05}" for number in range(symbols)]
    last: list[dict[str, Any]] = []
    with engine.begin() as connection:
        isins = pa.array([f"INE{number:08}1" for number in range(symbols)])
        kinds = pa.array(["EQUITY"] * symbols)
        copy_rows(
            connection,
            "securities",
            {"symbol": pa.array(names), "isin": isins, "security_name": pa.array(names), "security_type": kinds},
        )
        with indexes_built_last(connection, "ohlcv_daily"):
            for part, who in ((bars, names), (index, ["NIFTY 50"])):
                code = np.repeat(np.arange(part.symbols), np.diff(part.offsets))
                order = np.argsort(part.session, kind="stable")
                known = order[part.session[order] < sessions]
                for rows in np.array_split(known, max(1, len(known) // 500_000)):
                    paise = {name: getattr(part, name)[rows].astype(np.int64) for name in ("high", "low", "close")}
                    columns = {name: decimals(values, 2) for name, values in paise.items()}
                    copy_rows(
                        connection,
                        "ohlcv_daily",
                        {
                            "symbol": pa.array(np.array(who, dtype=object)[code[rows]]),
                            "date": pa.array(part.day[rows] + np.int32(since)).cast(pa.date32()),
                            "open": columns["close"],
                            **columns,
                            "volume": pa.array(part.volume[rows].astype(np.int64)),
                        },
                    )
        for row in np.flatnonzero(bars.session == sessions):
            symbol = names[int(np.searchsorted(bars.offsets, row, "right")) - 1]
            last.append({"symbol": symbol, **{name: getattr(bars, name)[row] for name in ("high", "low", "close")}})
            last[-1] |= {"day": int(bars.day[row]) + since, "volume": bars.volume[row]}
    engine.dispose()
    with closing(server.connect(database)) as connection:
        connection.autocommit = True
        connection.cursor().execute("VACUUM (ANALYZE)")
    return database, last


def bhavcopy(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """The next day's file, in the exchange's form."""
    day = np.datetime64(rows[0]["day"], "D").item()
    lines = [data.HEADER.decode().strip()]
    for row in rows:
        high, low, close = (f"{row[name] / 100:.2f}" for name in ("high", "low", "close"))
        lines.append(
            f"{row['symbol']}, EQ, {day:%d-%b-%Y}, {close}, {close}, {high}, {low}, {close}, {close}, {close}, "
            f"{row['volume']:.0f}, 1.00, 10, 10, 50.00"
        )
    path = folder / f"sec_bhavdata_full_{day:%d%m%Y}.csv"
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def process(server: Server, database: str) -> tuple[float, float, dict[str, Any]]:
    """The command as a person starts it: seconds, peak MB, and what it said."""
    script = "import sys; sys.path.insert(0, sys.argv[1]); import metrics_job; metrics_job.child()"
    env = {**os.environ, "SCREENER_DATABASE_URL": server.address(database)}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)], capture_output=True, text=True, env=env, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise WrongError(done.stderr)
    said = json.loads(done.stdout)
    return seconds, said["peak"], said


def child() -> None:
    """What `screener-data metrics --json` does, with a clock around its parts."""
    from screener_data import calculation

    spent: dict[str, float] = {}

    def timed(name: str) -> None:
        whole = getattr(calculation, name)

        def run(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return whole(*args, **options)
            finally:
                spent[name.strip("_")] = time.perf_counter() - started

        setattr(calculation, name, run)

    for name in ("_basis", "_plan", "_bars", "_computed", "_store", "_remember"):
        timed(name)
    result = calculation.calculate()
    sys.stdout.write(json.dumps({"result": result.model_dump(mode="json"), "parts": spent, "peak": peak_mb()}))


def plain_copy(server: Server, database: str, ready: bytes) -> float:
    """F of the metrics' table: seconds for COPY and commit, into a copy of the database that has no metrics."""
    with server.database(database) as copy, closing(server.connect(copy)) as connection:
        server.settle()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM calculated_metrics LIMIT 1")
            started = time.perf_counter()
            cursor.copy_expert(f"COPY calculated_metrics ({_METRICS}) FROM STDIN WITH (FORMAT csv)", io.BytesIO(ready))
            connection.commit()
            return time.perf_counter() - started


def rows_of(server: Server, database: str, condition: str = "true") -> bytes:
    buffer = io.BytesIO()
    with closing(server.connect(database)) as connection, connection.cursor() as cursor:
        select = f'SELECT {_METRICS} FROM calculated_metrics WHERE {condition} ORDER BY date, symbol COLLATE "C"'
        cursor.copy_expert(f"COPY ({select}) TO STDOUT WITH (FORMAT csv)", buffer)
    return buffer.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="500 sessions instead of 2,500; misses no bar")
    parser.add_argument("--pairs", type=int, default=3, help="new days, each after the other (default 3)")
    options = parser.parse_args()
    symbols, sessions = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="screener-bench-") as folder, ExitStack() as stack:
        import screener_data as sd

        Path(folder).chmod(0o755)
        home = Path(folder) / "home"
        home.mkdir(mode=0o755)
        server = Server(home, stack)
        started = time.perf_counter()
        database, following = fill(server, symbols, sessions)
        say(f"filled in {time.perf_counter() - started:.0f} s")
        empty = server.create(database)
        server.settle()
        whole, peak, said = process(server, database)
        rows = said["result"]["inserted"]
        say(f"whole job: {whole:.1f} s, {json.dumps(said['parts'])}, {peak:,.0f} MB")
        ready = rows_of(server, database)
        copied = plain_copy(server, empty, ready)
        say(f"F: {rows:,} rows in {copied:.1f} s")
        days = []
        for number in range(options.pairs):
            for row in following:
                row["day"] += 1 if number else 0
            engine = sd.connect(server.address(database))
            (loaded,) = sd.load(bhavcopy(Path(folder), following), engine=engine)
            engine.dispose()
            server.settle()
            seconds, day_peak, day = process(server, database)
            days.append(seconds)
            peak = max(peak, day_peak)
            say(f"new day: {seconds:.2f} s, {json.dumps(day['parts'])}")
            if (day["result"]["inserted"], day["result"]["updated"]) != (loaded.inserted, 0):
                raise WrongError(f"{loaded.inserted} new bars, and {day['result']}")
        grown = rows_of(server, database)
        with closing(server.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute("TRUNCATE calculated_metrics, calculations")
            connection.commit()
        process(server, database)
        if rows_of(server, database) != grown:
            raise WrongError("day by day the table is not what it is all at once")
    store = copied / said["parts"]["store"]
    day_median = statistics.median(days)
    table = [
        ("whole job", rows, whole, ""),
        *((f"  of it {name}", rows, seconds, "") for name, seconds in said["parts"].items()),
        ("F: plain COPY of the same rows", rows, copied, ""),
        ("storing", rows, said["parts"]["store"], f"{store:.2f} × F, bar ≥ {STORE_BAR:g}"),
        ("one new day, the whole process", len(following), day_median, f"bar ≤ {DAY_BAR:g} s"),
    ]
    for work, count, seconds, bar in table:
        sys.stdout.write(f"{work:34}{count:12,}{seconds:10.2f} s  {bar}\n")
    sys.stdout.write(f"{'peak memory':34}{'':12}{peak:10,.0f} MB bar ≤ {MEMORY_BAR:,}\n")
    missed = store < STORE_BAR or day_median > DAY_BAR or peak > MEMORY_BAR
    return int(missed and not options.quick)


if __name__ == "__main__":
    exit_with(main)
