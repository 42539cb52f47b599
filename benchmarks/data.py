"""The files that benchmarks load: full bhavcopies in the exchange's bytes, seeded, with a few bad rows, made fast.

Beside the files stand the rows as the table must hold them in the end (`ready/`), ready for COPY, so that nobody has
to take the loader's word for what it stored. All arithmetic is on whole paise: no float decides a stored digit.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import shutil
import string
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

HEADER = (
    b"SYMBOL, SERIES, DATE1, PREV_CLOSE, OPEN_PRICE, HIGH_PRICE, LOW_PRICE, LAST_PRICE, CLOSE_PRICE, AVG_PRICE,"
    b" TTL_TRD_QNTY, TURNOVER_LACS, NO_OF_TRADES, DELIV_QTY, DELIV_PER\n"
)
#: The columns of `ready/`, which are those of ohlcv_daily that such a file fills.
COLUMNS = ("symbol", "date", "open", "high", "low", "close", "volume", "vwap", "prev_close", "change_pct")

#: The kinds of bad row, taken in turn, and the reason for which each is refused.
BAD = {
    "the high below the low": "broken_rule",
    "a letter in a number": "bad_number",
    "an empty close": "missing_value",
    "a negative volume": "out_of_range",
    "an impossible date": "bad_date",
    "a missing cell": "wrong_cell_count",
}
BAD_SHARE = 0.001
_SYMBOL, _DATE, _HIGH, _LOW, _CLOSE, _VOLUME = 0, 2, 5, 6, 8, 10  # cells of a line

#: Each set of files: `first`; `again`, the same values in other bytes; `half`, with other prices in half of the rows.
SETS = ("first", "again", "half")
_LAYOUT = 2  # a folder that was made by another version of this module is made again


@dataclass(frozen=True)
class Expected:
    """What one file holds, as its maker knows it."""

    read: int
    #: Rows whose prices are not those of the set `first`.
    changed: int
    #: (line, reason, text) of each bad row.
    bad: list[tuple[int, str, str]]

    @property
    def good(self) -> int:
        return self.read - len(self.bad)

    @property
    def reasons(self) -> dict[str, int]:
        return dict(Counter(reason for _, reason, _ in self.bad))


class Files:
    """The made folder: <set>/daily/*.csv, <set>/big/*.csv, next/<day>/*.csv, ready/*.csv."""

    def __init__(self, folder: Path, expected: dict[str, Expected], sessions: int, days: list[str]) -> None:
        self.folder = folder
        self.expected = expected
        self.sessions = sessions
        self.days = days  # of `next`: sessions that follow those of the sets, one file each

    def of(self, *parts: str) -> tuple[Path, dict[str, Expected]]:
        """A folder of files, and what each of them holds, by base name."""
        start = "/".join(parts) + "/"
        return self.folder / start, {
            name.removeprefix(start): known for name, known in self.expected.items() if name.startswith(start)
        }

    def ready(self, name: str, sessions: int | None = None) -> bytes:
        """The rows as they are stored, in CSV: of a set, or of a day of `next`; all, or those of the first sessions."""
        rows = (self.folder / "ready" / f"{name}.csv").read_bytes()
        if sessions is None or sessions >= self.sessions:
            return rows
        names = sorted(self.of("first", "daily")[1], key=lambda file: dt.datetime.strptime(file[18:26], "%d%m%Y"))
        good = sum(self.expected[f"first/daily/{file}"].good for file in names[:sessions])
        ends = np.flatnonzero(np.frombuffer(rows, np.uint8) == ord("\n"))
        return rows[: int(ends[good - 1]) + 1]


def make(folder: Path, *, symbols: int, sessions: int, following: int, seed: int) -> Files:
    """Make the files, or take those that this very call made there before."""
    made_from = {"symbols": symbols, "sessions": sessions, "following": following, "seed": seed, "layout": _LAYOUT}
    manifest = folder / "manifest.json"
    if manifest.is_file():
        known = json.loads(manifest.read_text(encoding="utf-8"))
        if known["made_from"] == made_from:
            expected = {
                name: Expected(file["read"], file["changed"], [tuple(row) for row in file["bad"]])
                for name, file in known["files"].items()
            }
            return Files(folder, expected, sessions, known["days"])
    elif folder.is_dir() and any(folder.iterdir()):
        raise SystemExit(f"{folder} holds other things than benchmark data: name an empty or a new folder")
    for name in (*SETS, "next", "ready"):
        shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"made_from": None}), encoding="utf-8")  # ours, and not finished

    market = _Market(symbols, sessions, following, np.random.default_rng(seed))
    base, expected = slice(0, sessions * symbols), {}
    (folder / "ready").mkdir(parents=True, exist_ok=True)
    for name in SETS:
        values = market.of(name)
        lines = _Lines(market, values, base)
        for day in range(sessions):
            expected |= lines.write(folder, f"{name}/daily/{market.file_name(day)}", day, day + 1)
        expected |= lines.write(folder, f"{name}/big/sec_bhavdata_full_all.csv", 0, sessions)
        if name != "again":  # its values are those of `first`
            (folder / "ready" / f"{name}.csv").write_bytes(market.ready(values, base))
    days = [market.days[day].isoformat() for day in range(sessions, sessions + following)]
    values = market.of("first")
    lines = _Lines(market, values, slice(sessions * symbols, None))
    for place, day in enumerate(days):
        expected |= lines.write(folder, f"next/{day}/{market.file_name(sessions + place)}", place, place + 1)
        rows = slice((sessions + place) * symbols, (sessions + place + 1) * symbols)
        (folder / "ready" / f"{day}.csv").write_bytes(market.ready(values, rows))
    files = {name: asdict(file) for name, file in expected.items()}
    manifest.write_text(json.dumps({"made_from": made_from, "days": days, "files": files}), encoding="utf-8")
    return Files(folder, expected, sessions, days)


class _Market:
    """Prices in paise of every symbol on every session, one row each, session by session; and which rows are bad."""

    def __init__(self, symbols: int, sessions: int, following: int, rng: np.random.Generator) -> None:
        self.symbols = symbols
        sessions += following
        letters = np.array(list(string.ascii_uppercase))
        names: set[str] = set()
        while len(names) < symbols:  # as long as the exchange's: 3 to 10 letters
            names.add("".join(rng.choice(letters, int(rng.integers(3, 11)))))
        self.names = sorted(names)
        self.days = _weekdays(dt.date(2023, 1, 2), sessions)
        rows = symbols * sessions
        shape = (sessions, symbols)
        moves = rng.normal(0, 0.02, shape)
        gaps = rng.normal(0, 0.01, shape)
        above, below = rng.uniform(0, 0.02, shape), rng.uniform(0, 0.02, shape)
        previous = rng.integers(2_000, 500_000, symbols)
        day = {name: np.empty(shape, np.int64) for name in ("prev_close", "open", "high", "low", "close")}
        for session in range(sessions):
            opening = np.maximum((previous * np.exp(gaps[session])).astype(np.int64), 100)
            closing = np.maximum((previous * np.exp(moves[session])).astype(np.int64), 100)
            top, bottom = np.maximum(opening, closing), np.minimum(opening, closing)
            day["prev_close"][session], day["open"][session], day["close"][session] = previous, opening, closing
            day["high"][session] = top + (top * above[session]).astype(np.int64)
            day["low"][session] = bottom - (bottom * below[session]).astype(np.int64)
            previous = closing
        self.prices = {name: values.reshape(rows) for name, values in day.items()}
        self.prices["vwap"] = (self.prices["high"] + self.prices["low"]) // 2
        self.volume = rng.integers(1, 10_000_000, rows)
        self.trades = self.volume // rng.integers(20, 200, rows) + 1
        self.delivered = (self.volume * rng.uniform(0.2, 0.9, rows)).astype(np.int64)
        self.surveilled = np.tile(rng.random(symbols) < 0.1, sessions)  # series BE: delivery is not published
        base = rows - symbols * following
        bad = np.sort(np.concatenate([_some(rng, 0, base), _some(rng, base, rows)]))
        self.bad = dict(zip(bad.tolist(), list(BAD) * len(bad), strict=False))
        self.good = np.ones(rows, bool)
        self.good[bad] = False
        self.other_price = (rng.random(rows) < 0.5) & self.good

    def file_name(self, session: int) -> str:
        return f"sec_bhavdata_full_{self.days[session]:%d%m%Y}.csv"

    def of(self, name: str) -> dict[str, np.ndarray]:
        """The values of a set of files."""
        values = {**self.prices, "volume": self.volume, "trades": self.trades, "delivered": self.delivered}
        if name == "again":
            values["trades"] = self.trades + 1  # a column that is not stored
        if name == "half":
            for price in ("open", "high", "low", "close", "vwap"):
                values[price] = values[price] + np.where(self.other_price, 5, 0)
        return values

    def ready(self, values: dict[str, np.ndarray], rows: slice) -> bytes:
        """The good rows as ohlcv_daily holds them, in CSV."""
        close, previous = values["close"][rows], values["prev_close"][rows]
        # in ten-thousandths of a per cent, half away from zero, as PostgreSQL rounds
        change = (close - previous) * 1_000_000
        change = np.sign(change) * ((2 * np.abs(change) + previous) // (2 * previous))
        symbols, sessions = self._columns(rows, [f"{day:%Y-%m-%d}" for day in self.days])
        table = pa.table(
            {
                "symbol": symbols,
                "date": sessions,
                **{name: _decimal(values[name][rows], 2) for name in ("open", "high", "low", "close")},
                "volume": pa.array(values["volume"][rows]),
                **{name: _decimal(values[name][rows], 2) for name in ("vwap", "prev_close")},
                "change_pct": _decimal(change, 4),
            }
        ).select(COLUMNS)
        return _csv(table.filter(pa.array(self.good[rows])))

    def lines(self, values: dict[str, np.ndarray], rows: slice) -> bytes:
        """Lines of the exchange's file, all of them good, with its blank after each comma."""
        symbols, sessions = self._columns(rows, [f"{day:%d-%b-%Y}" for day in self.days])
        hidden = pa.array(self.surveilled[rows])
        of = {name: _decimal(values[name][rows], 2) for name in ("prev_close", "open", "high", "low", "close", "vwap")}
        volume, delivered = values["volume"][rows], values["delivered"][rows]
        table = pa.table(
            [
                symbols,
                pc.if_else(hidden, "BE", "EQ"),
                sessions,
                *(of["prev_close"], of["open"], of["high"], of["low"], of["close"], of["close"], of["vwap"]),
                pa.array(volume),
                _decimal(volume * values["vwap"][rows] // 100_000, 2),
                pa.array(values["trades"][rows]),
                pc.if_else(hidden, "-", pa.array(delivered).cast(pa.string())),
                pc.if_else(hidden, "-", _decimal(delivered * 10_000 // volume, 2).cast(pa.string())),
            ],
            names=[str(place) for place in range(15)],
        )
        return _csv(table).replace(b",", b", ")

    def _columns(self, rows: slice, days: list[str]) -> tuple[pa.Array, pa.Array]:
        places = np.arange(self.symbols * len(days))[rows]
        return pa.array(self.names).take(places % self.symbols), pa.array(days).take(places // self.symbols)


class _Lines:
    """The lines of a range of rows, cut into files; the bad rows are put in here."""

    def __init__(self, market: _Market, values: dict[str, np.ndarray], rows: slice) -> None:
        self.market = market
        self.text = market.lines(values, rows)
        self.ends = np.concatenate([[0], np.flatnonzero(np.frombuffer(self.text, np.uint8) == ord("\n")) + 1])
        self.first = rows.start
        moved = values["close"] != market.prices["close"]
        self.changed = moved & market.good
        self.bad = {place - self.first: kind for place, kind in market.bad.items() if place >= self.first}

    def write(self, folder: Path, name: str, from_session: int, to_session: int) -> dict[str, Expected]:
        start, end = from_session * self.market.symbols, to_session * self.market.symbols
        parts, bad, done = [HEADER], [], start
        for place, kind in self.bad.items():
            if start <= place < end:
                line = _spoilt(self.text[self.ends[place] : self.ends[place + 1] - 1].decode(), kind)
                parts += [self.text[self.ends[done] : self.ends[place]], line.encode(), b"\n"]
                bad.append((place - start + 2, BAD[kind], line))  # line 1 is the header
                done = place + 1
        parts.append(self.text[self.ends[done] : self.ends[end]])
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(parts))
        changed = int(self.changed[self.first + start : self.first + end].sum())
        return {name: Expected(end - start, changed, bad)}


def _spoilt(line: str, kind: str) -> str:
    cells = line.split(", ")
    match list(BAD).index(kind):
        case 0:
            cells[_HIGH], cells[_LOW] = cells[_LOW], f"{float(cells[_HIGH]) + 0.05:.2f}"
        case 1:
            cells[_CLOSE] = cells[_CLOSE][:-1] + "O"
        case 2:
            cells[_CLOSE] = ""
        case 3:
            cells[_VOLUME] = "-" + cells[_VOLUME]
        case 4:
            cells[_DATE] = "31-Feb-" + cells[_DATE][-4:]
        case 5:
            del cells[_CLOSE - 1]
    return ", ".join(cells)


def _some(rng: np.random.Generator, start: int, end: int) -> np.ndarray:
    """The places of bad rows within a range: their share, but each kind at least once."""
    if start == end:
        return np.empty(0, np.int64)
    return start + rng.choice(end - start, max(len(BAD), round((end - start) * BAD_SHARE)), replace=False)


def _weekdays(first: dt.date, number: int) -> list[dt.date]:
    found = (first + dt.timedelta(days) for days in range(2 * number + 7))
    return [day for day in found if day.weekday() < 5][:number]


def _decimal(values: np.ndarray, scale: int) -> pa.Array:
    """Whole numbers of the smallest unit as decimals: Arrow's 128 bits are a low and a high half."""
    halves = np.stack([values, values >> 63], axis=1).astype(np.int64)
    return pa.Array.from_buffers(pa.decimal128(18, scale), len(values), [None, pa.py_buffer(halves.tobytes())])


def _csv(table: Any) -> bytes:
    buffer = io.BytesIO()
    arrow_csv.write_csv(table, buffer, arrow_csv.WriteOptions(include_header=False, quoting_style="none"))
    return buffer.getvalue()
