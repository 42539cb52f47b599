#!/usr/bin/env python3
"""How fast stored prices become a DataFrame, beside pandas.read_sql: `python benchmarks/read.py` prints one table.

All bars of 2,500 symbols on 2,500 sessions: from the database (cold: the cache is empty, and is written), from the
cache (warm: the question whether it still holds included), and as a matrix of closes; then one symbol and one session.
Beside them connectorx, ADBC and polars, where they are installed. All take turns, each in a process of its own; a ratio
is of medians. What each of them read must be what read_sql read, or no speed is told.

README.md beside this file says how to read the table. Exit codes: 0, 1 a bar was missed, 2 a figure was wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from load import Server, WrongError, peak_mb, say
from sqlalchemy import create_engine, make_url

SEED = 20250116
FULL = (2_500, 2_500)
QUICK = (2_500, 500)
MEMORY_BAR = 1_000  # MB of 10⁶ bytes
ONES = 15  # small reads in one process, of which the median counts
COLUMNS = ("open", "high", "low", "close", "volume")
SELECT = "SELECT symbol, date, open, high, low, close, volume FROM ohlcv_daily"
FIRST_DAY = np.datetime64("2016-01-04")


def symbol_name(number: int) -> str:
    return f"S{number:05}"


def fill(server: Server, symbols: int, sessions: int) -> str:
    """A database with invented bars, stored session by session, as they would have been loaded."""
    from screener_data.database.bulk import copy_rows, decimals, indexes_built_last

    rng = np.random.default_rng(SEED)
    names = np.array([symbol_name(number) for number in range(symbols)], dtype=object)
    days = np.busday_offset(FIRST_DAY, np.arange(sessions))
    close = rng.integers(2_000, 500_000, symbols)
    database = server.create(server.empty)
    engine = create_engine(server.address(database))
    with engine.begin() as connection, indexes_built_last(connection, "ohlcv_daily"):
        for some in np.array_split(days, max(1, sessions * symbols // 500_000)):
            moves = np.cumsum(rng.normal(0, 0.02, (len(some), symbols)), axis=0)
            closes = np.maximum((close * np.exp(moves)).astype(np.int64), 100)
            spread = rng.integers(0, 60, (4, *closes.shape))
            low = closes - spread[0]
            prices = {
                "open": low + np.minimum(spread[2], spread[0] + spread[1]),
                "high": closes + spread[1],
                "low": low,
            }
            copy_rows(
                connection,
                "ohlcv_daily",
                {
                    "symbol": pa.array(np.tile(names, len(some))),
                    "date": pa.array(np.repeat(some, symbols)),
                    **{name: decimals(paise.ravel(), 2) for name, paise in (prices | {"close": closes}).items()},
                    "volume": pa.array(rng.integers(1, 10_000_000, closes.size)),
                },
            )
            close = closes[-1]
    engine.dispose()
    with closing(server.connect(database)) as connection:
        connection.autocommit = True
        connection.cursor().execute("VACUUM (ANALYZE)")
    return database


# --- those who read -------------------------------------------------------------------------------------------------

Frame = pd.DataFrame


def by_read_sql(url: str) -> Callable[[], Frame]:
    engine = create_engine(url)
    pd.read_sql(f"{SELECT} LIMIT 10", engine)
    return lambda: pd.read_sql(SELECT, engine)


def by_product(url: str) -> Callable[[], Frame]:
    """`sd.prices`, in a process that has read one symbol before: that is not wide, and leaves the cache alone."""
    import screener_data as sd

    engine = sd.connect(url)
    sd.prices(symbol_name(0), engine=engine)
    return lambda: sd.prices(engine=engine)


def by_panel(url: str) -> Callable[[], Frame]:
    import screener_data as sd

    engine = sd.connect(url)
    sd.panel("close", symbol_name(0), engine=engine)
    return lambda: sd.panel("close", engine=engine)


def one_symbol(url: str) -> Callable[[], Frame]:
    import screener_data as sd

    engine = sd.connect(url)
    return lambda: sd.prices(symbol_name(7), engine=engine)


def one_session(url: str) -> Callable[[], Frame]:
    import screener_data as sd

    engine = sd.connect(url)
    day = np.busday_offset(FIRST_DAY, 77).item()
    return lambda: sd.prices(start=day, end=day, engine=engine)


def plain(url: str) -> str:
    """The address as libpq knows it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def by_connectorx(url: str) -> Callable[[], Frame]:
    import connectorx

    # it knows a socket only in the host's place
    found = make_url(url)
    host = str(found.query.get("host", found.host)).replace("/", "%2F")
    address = f"postgresql://{found.username}@{host}:{found.query.get('port', found.port)}/{found.database}"
    connectorx.read_sql(address, f"{SELECT} LIMIT 10")
    return lambda: connectorx.read_sql(address, SELECT)


def by_adbc(url: str) -> Callable[[], Frame]:
    from adbc_driver_postgresql import dbapi

    connection = dbapi.connect(plain(url))
    pd.read_sql(f"{SELECT} LIMIT 10", connection)
    return lambda: pd.read_sql(SELECT, connection)


def by_polars(url: str) -> Callable[[], Frame]:
    """By its engine ADBC; its other one is connectorx, which has a line of its own. Numbers stay text there."""
    import polars

    polars.read_database_uri(f"{SELECT} LIMIT 10", plain(url), engine="adbc")
    return lambda: polars.read_database_uri(SELECT, plain(url), engine="adbc")


@dataclass
class Way:
    """One line of the table: who reads what, and what it is held against."""

    name: str
    work: str
    read: Callable[[str], Callable[[], Any]]
    #: At least so many times as fast as read_sql.
    bar: float | None = None
    #: At most so many seconds.
    limit: float | None = None
    turns: int | None = None
    optional: bool = False
    seconds: list[float] = field(default_factory=list)
    peak: float = 0.0
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def ways() -> list[Way]:
    return [
        Way("read_sql", "pandas.read_sql, rows as they come", by_read_sql),
        Way("cold", "sd.prices, the cache is empty and is written", by_product, bar=6),
        Way("uncached", "sd.prices, SCREENER_CACHE=off", by_product),
        Way("warm", "sd.prices, from the cache", by_product, bar=60),
        Way("panel", "sd.panel of closes, from the cache", by_panel, limit=1.0),
        Way("symbol", "sd.prices of one symbol, all sessions", one_symbol, limit=0.020),
        Way("session", "sd.prices of one session, all symbols", one_session, limit=0.030),
        Way("connectorx", "connectorx.read_sql", by_connectorx, turns=1, optional=True),
        Way("adbc", "pandas.read_sql on ADBC", by_adbc, turns=1, optional=True),
        Way("polars", "polars.read_database_uri, ADBC", by_polars, turns=1, optional=True),
    ]


SMALL = ("symbol", "session")


def digest(frame: Any) -> str:
    """What was read, whatever its types and order: prices in paise, by symbol and day."""
    frame = frame.to_pandas() if hasattr(frame, "to_pandas") else frame
    order = ["symbol", "date"]
    frame = frame.assign(symbol=frame["symbol"].astype(str).astype("category"), date=pd.to_datetime(frame["date"]))
    frame = frame.sort_values(order)
    found = hashlib.sha256("\n".join(frame["symbol"].cat.categories).encode())
    found.update(frame["symbol"].cat.codes.to_numpy().astype(np.int32).tobytes())
    found.update(frame["date"].to_numpy().astype("datetime64[D]").astype(np.int64).tobytes())
    for name in COLUMNS:
        found.update(np.rint(frame[name].to_numpy(dtype=np.float64) * 100).astype(np.int64).tobytes())
    return found.hexdigest()


def panel_digest(frame: Frame) -> str:
    found = hashlib.sha256("\n".join(frame.columns).encode())
    found.update(frame.index.to_numpy().astype("datetime64[D]").astype(np.int64).tobytes())
    found.update(np.rint(frame.to_numpy() * 100).astype(np.int64).tobytes())
    return found.hexdigest()


def worker(name: str, url: str, compare: bool) -> None:
    """Read once on the clock (small reads a few times), and print seconds, peak memory and what it was."""
    way = next(way for way in ways() if way.name == name)
    try:
        read = way.read(url)
    except ImportError as error:
        if not way.optional:
            raise
        sys.stdout.write(json.dumps({"missing": f"not installed ({error.name})"}))
        return
    seconds = []
    for _ in range(ONES if name in SMALL else 1):
        started = time.perf_counter()
        found = read()
        seconds.append(time.perf_counter() - started)
    said: dict[str, Any] = {"seconds": statistics.median(seconds), "peak": peak_mb()}
    if compare:
        said["digest"] = (panel_digest if name == "panel" else digest)(found)
        if name == "read_sql":
            said["panel"] = panel_digest(found.pivot(index="date", columns="symbol", values="close").astype(float))
            one, other = found["symbol"] == symbol_name(7), np.busday_offset(FIRST_DAY, 77).item()
            said["symbol"], said["session"] = digest(found[one]), digest(found[found["date"] == other])
    sys.stdout.write(json.dumps(said))


def run(way: Way, url: str, home: Path, compare: bool) -> dict[str, Any]:
    environment = {
        **os.environ,
        "SCREENER_HOME": str(home),
        "SCREENER_CACHE": "off" if way.name == "uncached" else "on",
    }
    command = [sys.executable, __file__, "--worker", way.name, "--url", url, *(["--compare"] if compare else [])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        if way.optional:
            return {"missing": f"failed: {reason}"}
        raise WrongError(f"{way.name}: {done.stderr}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def measure(found: list[Way], url: str, home: Path, turns: int) -> list[str]:
    """Let all read in turn; what was wrong."""
    wrong: list[str] = []
    right: dict[str, str] = {}
    for turn in range(turns):
        for way in found:
            if turn >= (way.turns or turns) or way.note:
                continue
            if way.name == "cold":
                for file in (home / "cache").rglob("*.parquet"):
                    file.unlink()
            said = run(way, url, home, compare=turn == 0)
            if "missing" in said:
                way.note = said["missing"]
                say(f"[{turn + 1}] {way.name}: {way.note}")
                continue
            way.seconds.append(said["seconds"])
            way.peak = max(way.peak, said["peak"])
            say(f"[{turn + 1}] {way.name}: {said['seconds']:.3f} s, peak {said['peak']:,.0f} MB")
            if way.name == "read_sql" and turn == 0:
                right = said
            elif turn == 0 and said["digest"] != right[way.name if way.name in ("panel", *SMALL) else "digest"]:
                wrong.append(f"{way.name} read other rows than read_sql")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="500 sessions instead of 2,500; misses no bar")
    parser.add_argument("--symbols", type=int, help=f"default {FULL[0]:,}; another size misses no bar")
    parser.add_argument("--sessions", type=int, help=f"default {FULL[1]:,}; another size misses no bar")
    parser.add_argument("--turns", type=int, default=3, help="of each (default 3); those shown beside have one")
    parser.add_argument("--only", action="append", default=[], help="only read_sql and this line (may be repeated)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    for hidden in ("--worker", "--url"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--compare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.url, options.compare)
        return 0
    default = QUICK if options.quick else FULL
    symbols, sessions = options.symbols or default[0], options.sessions or default[1]
    if symbols < 8 or sessions < 78 or options.turns < 1:
        parser.error("there must be 8 symbols, 78 sessions and a turn")

    found = [way for way in ways() if not options.only or way.name in ("read_sql", *options.only)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="screener-bench-")))
        folder.chmod(0o755)
        started = time.perf_counter()
        try:
            server = Server(folder / "server", stack)
            database = fill(server, symbols, sessions)
            server.settle()
            say(f"{symbols * sessions:,} bars stored in {time.perf_counter() - started:.0f} s")
            wrong = measure(found, server.address(database), folder / "home", options.turns)
        except WrongError as error:
            wrong = [str(error)]
    if wrong:
        say("\n".join(f"WRONG: {line}" for line in wrong))
        return 2
    return told(found, symbols, sessions, as_json=options.json)


def told(found: list[Way], symbols: int, sessions: int, *, as_json: bool) -> int:
    """Print what was measured; the exit code."""
    rows = symbols * sessions
    base = found[0].median
    ratios = {way.name: base / way.median for way in found if way.seconds and way.name not in ("panel", *SMALL)}
    missed = [
        way.name
        for way in found
        if (way.bar and ratios[way.name] < way.bar)
        or (way.limit and way.median > way.limit)
        or (way.bar and way.peak > MEMORY_BAR)
    ]
    if as_json:
        document = {
            "symbols": symbols,
            "sessions": sessions,
            "rows": rows,
            "seed": SEED,
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "seconds": {way.name: way.seconds for way in found},
            "peak_mb": {way.name: way.peak for way in found if way.seconds},
            "times_as_fast": ratios,
            "notes": {way.name: way.note for way in found if way.note},
            "missed": missed,
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        lines = [f"{'who':12}{'work':46}{'seconds':>9}{'× read_sql':>12}{'peak MB':>9}{'bar':>10}  met"]
        for way in found:
            if way.note:
                lines.append(f"{way.name:12}{way.work:46}  {way.note}")
                continue
            ratio = f"{ratios[way.name]:.1f}" if way.name in ratios else ""
            bar = f"≥ {way.bar:g} ×" if way.bar else f"≤ {way.limit:g} s" if way.limit else ""
            met = ("NO" if way.name in missed else "yes") if bar else ""
            line = f"{way.name:12}{way.work:46}{way.median:9.3f}{ratio:>12}{way.peak:9,.0f}{bar:>10}  {met}"
            lines.append(line.rstrip())
        lines.append(f"{rows:,} bars; those with a bar in × have one in memory, too: {MEMORY_BAR:,} MB")
        sys.stdout.write("\n".join(lines) + "\n")
    judged = (symbols, sessions) == FULL
    if missed:
        say(f"missed: {', '.join(missed)}" + ("" if judged else " (at this size it does not count)"))
    return 1 if missed and judged else 0


if __name__ == "__main__":
    sys.exit(main())
