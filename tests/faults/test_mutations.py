"""Damaged files in a real database: nothing leaves sd.load, nothing is silent, and every way of loading agrees.

The damages are those of fuzz.py, which sends them through the reader alone. Here each file is loaded, and what the
result says is compared with the audit tables, with the quarantine and with what is stored.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import os
import random
import re
import time
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Engine, text

import screener_data as sd
from screener_data.ingest import LoadResult
from screener_data.loaders import FORMATS, format_named
from screener_data.loaders.format import Merge
from screener_data.models import Base
from screener_data.samples import HEADERS

SEED = 20261123
COUNTS = ("read", "inserted", "updated", "unchanged", "rejected", "skipped")
#: What files fill, directly or in passing. All else are books about loads.
STORED = sorted(
    {format.target.__tablename__ for format in FORMATS} | {"indices", "listings", "list_days", "symbol_history"}
)


def _fuzz() -> ModuleType:
    """fuzz.py as a module: the folder of the tests is no package."""
    spec = importlib.util.spec_from_file_location("fuzz_of_mutations", Path(__file__).with_name("fuzz.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz = _fuzz()

Stored = dict[str, dict[Any, str]]


class Bench:
    """One database, emptied for each file."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder

    def ask(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query), values)]

    def empty(self) -> None:
        """Delete, in an order that foreign keys allow: on small tables far faster than TRUNCATE."""
        with self.engine.begin() as connection:
            for table in reversed(Base.metadata.sorted_tables):
                connection.execute(table.delete())

    def stored(self) -> Stored:
        """Every row of every table that files fill, by id."""
        found: Stored = {}
        with self.engine.connect() as connection:
            for table in STORED:
                rows = connection.execute(text(f"SELECT to_jsonb(t) - 'created_at' - 'updated_at' FROM {table} t"))
                texts = [(row, json.dumps(row, sort_keys=True)) for row in rows.scalars()]
                found[table] = {row.get("id", written): written for row, written in texts}
        return found

    def load(self, path: Path) -> list[LoadResult]:
        return sd.load(path, engine=self.engine)

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


@pytest.fixture
def bench(engine: Engine, tmp_path: Path) -> Bench:
    return Bench(engine, tmp_path)


# --- what a result must agree with ----------------------------------------------------------------------------------


def check_books(bench: Bench, result: LoadResult) -> None:
    """The result adds up, and load_files and ingestion_logs say the same."""
    counts = {name: getattr(result, name) for name in COUNTS}
    assert counts["read"] == sum(counts.values()) - counts["read"], counts
    assert sum(result.reasons.values()) == result.rejected + result.skipped
    [row] = bench.ask(
        "SELECT f.file, f.source, f.state, f.read, f.inserted, f.updated, f.unchanged, f.rejected, f.skipped, f.error, "
        "coalesce(f.reasons, '{}'::json), l.source, l.status, l.records_fetched, l.records_inserted, "
        "l.records_updated, l.records_failed "
        "FROM load_files f JOIN ingestion_logs l ON l.id = f.log_id WHERE l.id = :id",
        id=result.log_id,
    )
    error = None if result.error is None else result.error.replace("\x00", "\u2400")
    said = (result.file, result.source, result.status, *counts.values(), error, result.reasons)
    assert row[:11] == said
    assert row[11:] == (*(result.source, result.status, result.read, result.inserted, result.updated, result.rejected),)
    assert (result.status == "failure") == (result.error is not None)
    assert (result.status == "partial") == (result.error is None and result.rejected > 0)


def check_rejects(bench: Bench, result: LoadResult, lines: list[str] | None, tries: int) -> None:
    """Each rejected row is kept and waits; its text is the file's line."""
    kept = bench.ask(
        "SELECT line, reason, raw, tries FROM rejects WHERE sha256 = :sha AND source = :source AND waiting",
        sha=result.sha256 or "",
        source=result.source,
    )
    assert len(kept) == result.rejected, f"{len(kept)} rows are kept"
    reasons = Counter(reason for _, reason, _, _ in kept)
    skipped = {reason: count for reason, count in result.reasons.items() if reason not in reasons}
    assert {**reasons, **skipped} == result.reasons
    assert sum(skipped.values()) == result.skipped
    if lines is not None:
        for line, _, raw, _ in kept:
            assert raw == lines[line - 1].replace("\x00", "\u2400"), f"line {line}"
    assert {tried for _, _, _, tried in kept} <= {tries}


def check_stored(results: list[LoadResult], formats: list[str | None], before: Stored, after: Stored) -> None:
    """What the counts say is what the tables did: new rows, changed rows, and none that is gone."""
    inserted: Counter[str] = Counter()
    updated: Counter[str] = Counter()
    loose = set()  # tables of which not every row answers to one line
    for result, name in zip(results, formats, strict=True):
        if result.status == "failure":
            assert result.inserted == result.updated == result.unchanged == 0
            continue
        format = format_named(name or "")
        table = format.target.__tablename__
        inserted[table] += result.inserted
        updated[table] += result.updated
        if format.merge is Merge.SECURITIES or format.source == "nse_symbol_changes":
            loose |= set(before) - {table}  # it renames, and what waited for its symbols is replayed
        if format.registers is not None:
            loose.add("indices")
        if format.merge is Merge.MEMBERS:
            loose |= {table, "list_days"}  # stays that end are written anew; and the day of which the list is
            assert len(after[table]) >= len(before[table]) + result.inserted
        if format.explode is not None:
            loose.add(table)
            assert bool(result.inserted) <= (len(after[table]) > len(before[table]))
    for table in before.keys() - loose:
        new = after[table].keys() - before[table].keys()
        changed = {key for key in before[table].keys() & after[table].keys() if before[table][key] != after[table][key]}
        assert before[table].keys() <= after[table].keys(), f"{table}: rows are gone"
        assert len(new) == inserted[table], f"{table}: {len(new)} new rows, {inserted[table]} inserted"
        if table == "securities":  # what a list no longer holds is inactive: a change without a line
            assert len(changed) >= updated[table], f"{table}: {len(changed)} changed, {updated[table]} updated"
        else:
            assert len(changed) == updated[table], f"{table}: {len(changed)} changed, {updated[table]} updated"


def lines_of(data: bytes) -> list[str]:
    """The physical lines of a text, read independently of the loader."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        read = data.decode("utf-16", "replace")
    elif data[:3] == b"\xef\xbb\xbf":
        read = data[3:].decode("utf-8", "replace")
    else:
        try:
            read = data.decode()
        except UnicodeDecodeError:
            read = data.decode("cp1252", "replace")
    return [line.removesuffix("\r") for line in read.split("\n")]


def rows_in(lines: list[str], format: str) -> int:
    """The rows of a table of that format: lines with something in them, without the header and "no records"."""
    declared = format_named(format)
    rows = [line for line in lines if line.strip()]
    if declared.may_be_empty:
        rows = [row for row in rows if row.strip(' ,"').upper() != "NO RECORDS"]
    return len(rows) - (declared.has_header and bool(rows))


# --- a thousand damaged files ---------------------------------------------------------------------------------------


@dataclass
class Damaged:
    """One damaged file, and how it came about."""

    name: str
    original: tuple[str, bytes]
    text: bytes
    packed: bytes
    state: str
    ways: list[str] = field(default_factory=list)

    @property
    def plain(self) -> bool:
        return self.packed == self.text


def damaged(files: list[tuple[str, bytes]], chance: random.Random) -> Damaged:
    name, whole = chance.choice(files)
    data, ways = whole, []
    for _ in range(chance.choice((1, 1, 2, 3))):
        way = chance.choice(fuzz.ways_for(data))
        data = way(data, chance)
        ways.append(way.__name__)
    packed, new_name = data, name if chance.random() < 0.9 else "other" + Path(name).suffix
    match chance.choice(("plain",) * 8 + ("gz", "zip", "broken gz", "broken zip", "twice gz")):
        case "gz":
            packed, new_name = gzip.compress(data), new_name + ".gz"
        case "twice gz":
            packed, new_name = gzip.compress(gzip.compress(data)), new_name + ".gz"
        case "broken gz":
            whole_pack = gzip.compress(data)
            way = chance.choice((fuzz.cut_off, fuzz.flip_bytes, fuzz.insert_bytes))
            packed, new_name = way(whole_pack, chance), new_name + ".gz"
        case "zip":
            packed, new_name = fuzz.zipped(new_name, data), "some.zip"
        case "broken zip":
            way = chance.choice((fuzz.cut_off, fuzz.flip_bytes, fuzz.insert_bytes))
            packed, new_name = way(fuzz.zipped(new_name, data), chance), "some.zip"
    state = chance.choice(("empty", "lists", "filled"))
    return Damaged(new_name, (name, whole), data, packed, state, ways)


def load_and_check(
    bench: Bench, file: Damaged, lists: list[tuple[str, bytes]], chance: random.Random
) -> list[LoadResult]:
    bench.empty()
    if file.state != "empty":
        for name, data in lists:
            bench.load(bench.write(f"before/{name}", data))
    if file.state == "filled":
        bench.load(bench.write(f"before/{file.original[0]}", file.original[1]))
    before = bench.stored()
    path = bench.write(f"it/{file.name}", file.packed)
    results = bench.load(path)
    after = bench.stored()
    assert results
    formats = [
        bench.ask("SELECT format FROM load_files WHERE log_id = :id", id=result.log_id)[0][0] for result in results
    ]
    assert bench.ask("SELECT count(*) FROM load_files WHERE state = 'running'") == [(0,)]
    check_stored(results, formats, before, after)
    for result, format in zip(results, formats, strict=True):
        check_books(bench, result)
        if result.error is not None:
            assert path.name in result.error, f"the failure does not name the file: {result.error}"
            assert "the database refused" not in result.error, "one cell spoils the whole file"
        of_text = file.text if file.plain or file.name.endswith((".gz", ".zip")) else b""
        table = format is not None and format_named(format).records is None and bool(of_text)
        lines = lines_of(of_text) if table and _sha(of_text) == result.sha256 else None
        if lines is not None and result.status != "failure":
            assert result.read == rows_in(lines, format), "rows are lost before they are counted"
        same = file.state == "filled" and _sha(file.original[1]) == result.sha256
        check_rejects(bench, result, lines, tries=1 if same else 0)

    again = bench.load(path)
    assert bench.stored() == after, "the second load changed something"
    for first, second in zip(results, again, strict=True):
        check_books(bench, second)
        assert (second.status, second.error, second.read) == (first.status, first.error, first.read)
        assert (second.rejected, second.skipped, second.reasons) == (first.rejected, first.skipped, first.reasons)
        assert (second.inserted, second.updated) == (0, 0)
    if file.state == "empty" and len(results) == 1 and results[0].status != "failure":
        check_among_others(bench, file, results[0], after, chance)
    return results


def _sha(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def check_among_others(bench: Bench, file: Damaged, alone: LoadResult, after: Stored, chance: random.Random) -> None:
    """The same file among other files, or beside rows that are already there, stores the same."""
    format = next(f for f in FORMATS if f.source == alone.source)
    if format.merge is Merge.SECURITIES or format.known_symbol is not None or format.outranked_if is not None:
        return  # what these store depends on what else is there, on purpose
    bench.empty()
    if chance.random() < 0.5:
        bench.load(bench.write("neighbours/0.csv", neighbours()))
        [result] = bench.load(bench.folder / "it" / file.name)
    else:
        for name in ("0.csv", "zz.csv"):
            bench.write(f"folder/{name}", neighbours(name.encode()[0]))
        bench.write(f"folder/{file.name}", file.packed)
        results = bench.load(bench.folder / "folder")
        (bench.folder / "folder" / file.name).unlink()
        [result] = [result for result in results if Path(result.file.split("!")[0]).name == file.name]
    assert comparable(result) == comparable(alone)
    assert without_neighbours(bench.stored()) == without_neighbours(after)


def comparable(result: LoadResult) -> tuple[Any, ...]:
    return (result.status, *(getattr(result, name) for name in COUNTS), result.reasons, result.sha256)


SHARED_DAYS = ("16-Jan-2025", "01-DEC-2017", "31-Jan-2025", "18-Jun-2025")


def neighbours(number: int = 0, days: tuple[str, ...] = SHARED_DAYS) -> bytes:
    """Forty bars of securities that no other file holds."""
    row = "ZZ NEIGHBOUR {}, EQ, {}, 99, 100, 102, 98, 101, 101.50, 100.5, 1000, 1.01, 10, 500, 50\n"
    return (
        HEADERS["full"] + "\n" + "".join(row.format(n + 100 * number, days[n % len(days)]) for n in range(40))
    ).encode()


def without_neighbours(stored: Stored) -> dict[str, list[str]]:
    rows = {table: [re.sub(r'"id": \d+(?:, )?', "", row) for row in found.values()] for table, found in stored.items()}
    return {table: sorted(row for row in found if "ZZ NEIGHBOUR" not in row) for table, found in rows.items()}


@pytest.mark.parametrize("origin", ["real", "invented"])
def test_damaged_files_are_refused_or_accounted_for_to_the_last_row(
    bench: Bench, origin: str, full: bool, server: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if origin == "real":
        shared = request.getfixturevalue("shared")
        files = fuzz.originals(shared)
        assert len(files) >= 14, [name for name, _ in files]
        # a loader may look at the beginning of a large file only, before it reads it all
        large = [file for file in fuzz.originals(shared, rows=1_500, most=1_000_000) if len(file[1]) > 100_000]
        assert len(large) >= 5, [name for name, _ in large]
    else:
        files = fuzz.invented(tmp_path / "market")
        assert len(files) == len(FORMATS)
        large = []
    lists = [(name, data) for name, data in files if re.match(r"EQUITY_L|SME_|eq_etf", name)]
    outcomes: Counter[str] = Counter()
    wrong = []
    number = 1_000 if full else 16
    if full and server == "server":
        number = 100  # the same code as on the embedded one: enough to see a difference between the two
    for turn in range(number):
        chance = random.Random(f"{SEED} {origin} {server} {turn}")
        file = damaged(large if large and chance.random() < 0.1 else files, chance)
        try:
            results = load_and_check(bench, file, lists, chance)
        except Exception as error:  # noqa: BLE001 - collected: a thousand answers tell more than the first
            kept = tmp_path / f"wrong-{turn}-{file.name}"
            kept.write_bytes(file.packed)
            trace = error.__traceback__
            while (
                trace is not None
                and trace.tb_next is not None
                and "faults" in trace.tb_next.tb_frame.f_code.co_filename
            ):
                trace = trace.tb_next
            place = f"line {trace.tb_lineno}" if trace else ""
            wrong.append(
                f"{kept} ({file.state}; {', '.join(file.ways)}) {place} {type(error).__name__}: {error}"[:1500]
            )
        else:
            for result in results:
                outcomes[result.status] += 1
                outcomes.update(result.reasons.keys())
    print(f"seed {SEED}, {origin}, {server}: {dict(outcomes)}")
    assert not wrong, f"seed {SEED}: {len(wrong)} of {number}\n" + "\n\n".join(wrong[:25])
    # all three ends were seen, or else this proves less than it says
    assert min(outcomes["success"], outcomes["partial"], outcomes["failure"]) >= 1, outcomes


# --- once found by chance -------------------------------------------------------------------------------------------


def broken_zips(name: str, data: bytes) -> dict[str, bytes]:
    """Zips that Python's zipfile refuses in one or another exception, none of which may leave a load."""
    whole = fuzz.zipped(name, data)
    entry = whole.index(b"PK\x01\x02")  # the directory at the end; the names before and in it are the same
    packed = bytearray(fuzz.zipped(name, data, zipfile.ZIP_LZMA))
    packed[60:80] = bytes(20)

    def changed(at: int, to: bytes) -> bytes:
        return whole[: entry + at] + to + whole[entry + at + len(to) :]

    nameless = io.BytesIO()
    with zipfile.ZipFile(nameless, "w") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = ""
        archive.writestr(info, data)
    undecodable = changed(8, b"\x00\x08").replace(name.encode(), b"\xac" + name.encode()[1:])
    return {
        "LZMA that is damaged": bytes(packed),
        "a name that is not the UTF-8 it claims": undecodable,
        "a version to come": changed(6, b"\x8d\x00"),
        "an unknown method": changed(10, b"\x63\x00"),
        "a password": changed(8, b"\x01\x00"),
        "no name": nameless.getvalue(),
        "its member lies elsewhere": changed(42, b"\xff\xff\xff\x7f"),
        "cut within the directory": whole[: entry + 20],
        "nothing but an end": b"PK\x05\x06" + bytes(18),
        "a directory before its start": whole[:-10] + b"\xff\xff\xff\x7f" + whole[-6:],
    }


def test_zips_that_are_broken_in_their_directory_are_refused_by_name(bench: Bench) -> None:
    wrong = {}
    for what, data in broken_zips("sec_bhavdata_full_16012025.csv", neighbours()).items():
        path = bench.write("broken.zip", data)
        try:
            results = bench.load(path)
        except Exception as error:  # noqa: BLE001 - to tell of all of them
            wrong[what] = f"{type(error).__name__}: {error}"
            continue
        for result in results:
            check_books(bench, result)
            if result.status != "failure" or "broken.zip" not in (result.error or ""):
                wrong[what] = str(result)
    assert not wrong
    assert bench.ask("SELECT count(*) FROM ohlcv_daily") == [(0,)]


@pytest.mark.parametrize("name", ["EQUITY_L.csv", "SME_EQUITY_L.csv", "eq_etfseclist.csv"])
def test_a_nul_byte_in_a_list_costs_its_row_only(bench: Bench, name: str, tmp_path: Path) -> None:
    data = dict(fuzz.invented(tmp_path / "market"))[name]
    rows = data.split(b"\n")
    rows[2] = rows[2].replace(b",", b"\x00,", 1)
    [result] = bench.load(bench.write(f"it/{name}", b"\n".join(rows)))
    check_books(bench, result)
    assert (result.status, result.reasons["bad_character"]) == ("partial", 1)
    check_rejects(bench, result, lines_of(b"\n".join(rows)), tries=0)


# --- awkward numbers, loaded in every way ---------------------------------------------------------------------------

CENT, BASIS = Decimal("0.01"), Decimal("0.0001")
DAYS = (
    ("16-Jan-2025", "2025-01-16"),
    ("16-JAN-25", "2025-01-16"),
    ("2025-01-17", "2025-01-17"),
    ("20/01/2025", "2025-01-20"),
)
RANKS = ("EQ", "BE", "BZ", "SM", "ST", "SZ", "RR", "IV")
UNSURE = "within a hair of a half: the ways must agree, and no more is said"

#: A cell that replaces a price above zero: what it is worth, or why it is rejected.
ODD_PRICES: tuple[tuple[str, str], ...] = (
    ("N.A.", "bad_number"), ("NaN", "bad_number"), ("Infinity", "bad_number"), ("1_000", "bad_number"),
    ("١٢", "bad_number"), ("１２", "bad_number"), ("1e", "bad_number"), ("1e400", "bad_number"), ("--5", "bad_number"),
    ("5 5", "bad_number"), ("0x10", "bad_number"), ("9" * 65, "bad_number"), ("", "missing_value"),
    ("   ", "missing_value"), ("0", "out_of_range"), ("0.00", "out_of_range"), ("-0", "out_of_range"),
    ("-5", "out_of_range"), ("10000000000000", "out_of_range"), ("9999999999999.50", "out_of_range"),
    ("1e13", "out_of_range"), ("1e99", "out_of_range"), ("9" * 64, "out_of_range"),
    ("1\u200b2", "bad_number"), ("12\x002", "bad_number"),
)  # fmt: skip
ODD_VOLUMES: tuple[tuple[str, str], ...] = (
    ("", "missing_value"), ("12.5", "bad_number"), ("1e-1", "bad_number"), ("-1", "out_of_range"),
    ("1" + "0" * 18, "out_of_range"), ("1e18", "out_of_range"), ("many", "bad_number"), ("NaN", "bad_number"),
)  # fmt: skip


@dataclass
class Bar:
    """One generated row: the values that its text spells, and the reason to reject it if there is one."""

    symbol: str
    series: str
    day: tuple[str, str]
    numbers: dict[str, Decimal | None]
    cells: dict[str, str] = field(default_factory=dict)
    reason: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.symbol, self.day[1]


def rounded(value: Decimal | Fraction, step: Decimal) -> Decimal:
    """Half away from zero, from the exact value."""
    exact = abs(Fraction(value)) / Fraction(step)
    whole = (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)
    with localcontext(prec=100):
        return Decimal(whole) * step * (-1 if value < 0 else 1) + 0


def near_half(value: Fraction, step: Decimal) -> bool:
    """Whether PostgreSQL's own quotient, of some 16 digits, could round to the other side. Exact halves are sure."""
    distance = abs((abs(value) / Fraction(step)) % 1 - Fraction(1, 2))
    return distance != 0 and distance < Fraction(1, 10**5)


def indian(digits: str) -> str:
    head, tail = digits[:-3], digits[-3:]
    groups = []
    while head:
        head, group = head[:-2], head[-2:]
        groups.insert(0, group)
    return ",".join([*groups, tail])


def spelled(value: Decimal | None, chance: random.Random) -> str:
    """A text that spells the value, in one of the ways that files do."""
    if value is None:
        return chance.choice(("", "-", " "))
    plain = f"{value:f}"
    whole, _, decimals = plain.partition(".")
    match chance.choice(
        ("plain",) * 6 + ("plus", "zeros", "bare", "grouped", "western", "power", "blanks", "dot", "quoted")
    ):
        case "plus":
            return "+" + plain
        case "zeros":
            return chance.choice(("0", "00")) + plain + ("000" if decimals else ".000")
        case "bare" if whole == "0" and decimals:
            return "." + decimals
        case "grouped" if len(whole) > 3:
            return f'"{indian(whole)}{"." + decimals if decimals else ""}"'
        case "western" if len(whole) > 3:
            return f'"{int(whole):,}{"." + decimals if decimals else ""}"'
        case "power" if len(plain) < 20:
            return f"{value:E}" if chance.random() < 0.5 else f"{value.scaleb(-2):f}e2"
        case "blanks":
            return chance.choice(("  {} ", "\u00a0{}", "{}\u00a0\t", "\u2003{}")).format(plain)
        case "dot" if not decimals:
            return plain + "."
        case "quoted":
            return f'"{plain}"'
    return plain


def some_price(chance: random.Random) -> Decimal:
    match chance.choice(("paise",) * 5 + ("whole", "fine", "half", "tiny", "huge", "large")):
        case "whole":
            return Decimal(chance.randint(1, 5000))
        case "fine":
            return Decimal(chance.randint(1, 10**8)).scaleb(-chance.randint(3, 6))
        case "half":  # 2.675, 12.345: what binary floats round the wrong way
            return Decimal(chance.randint(0, 10**6) * 10 + 5).scaleb(-3)
        case "tiny":
            return Decimal(chance.randint(1, 99)).scaleb(-chance.randint(3, 12))
        case "huge":
            return Decimal(chance.randint(10**12, 999_999_999_999_949)).scaleb(-chance.choice((2, 3)))
        case "large":
            return Decimal(chance.randint(10**6, 10**9)).scaleb(-2)
    return Decimal(chance.randint(5, 500_000)).scaleb(-2)


def some_bar(number: int, dialect: str, chance: random.Random) -> Bar:
    low = some_price(chance)
    with localcontext(prec=60):
        spread = low * chance.randint(0, 9) / 100
        places = max(0, min(6, -int(low.as_tuple().exponent)))
        step = Decimal(1).scaleb(-places)
        high = min((low + spread).quantize(step, ROUND_HALF_UP), Decimal("9999999999999.49")).max(low)
        inside = [(low + (high - low) * chance.randint(0, 10) / 10).quantize(step, ROUND_HALF_UP) for _ in range(2)]
    opened, close = (min(max(price, low), high) for price in inside)
    numbers: dict[str, Decimal | None] = {"open": opened, "high": high, "low": low, "close": close}
    match chance.choice(("near",) * 4 + ("any", "none", "zero", "tie", "far", "speck")):
        case "near":
            numbers["prev"] = rounded(close * Decimal(chance.randint(800, 1200)) / 1000, CENT)
        case "tie":  # the change has exactly five decimals, the last of them a five
            numbers["prev"] = Decimal(chance.choice((80, 160, 320, 640, 1280, 32, 3200)))
        case "none":
            numbers["prev"] = None
        case "zero":
            numbers["prev"] = Decimal(chance.choice(("0", "0.00", "0.004", "0.0049999")))
        case "far":  # a change of ten thousand per cent, the most that the column holds
            numbers["prev"] = rounded(close / 101, CENT) + CENT * chance.randint(-1, 1)
        case "speck":
            numbers["prev"] = Decimal(chance.choice(("0.005", "0.01", "0.02")))
        case _:
            numbers["prev"] = some_price(chance)
    if (prev := numbers["prev"]) is not None:
        numbers["prev"] = min(max(prev, Decimal(0)), Decimal("9999999999999.49"))
    volume = chance.choice((0, 1, 3, 7, 8, 16, 1000, chance.randint(1, 10**7), chance.randint(10**9, 10**17)))
    numbers["volume"] = Decimal(volume)
    if dialect == "full":
        numbers["vwap"] = chance.choice((None, Decimal(0), some_price(chance), close))
    else:
        exact = Decimal(volume) * close if volume < 10**9 else Decimal(chance.randint(0, 10**17)).scaleb(-2)
        jitter = Decimal(chance.choice((0, 0, 5, 125, 12345))).scaleb(-chance.randint(0, 5))
        if chance.random() < 0.2:  # a hair beside half a paisa a share, which a turnover in whole paise would not show
            volume = chance.randint(1, 300)
            half = Decimal(chance.randint(1, 10**6) * 10 + 5).scaleb(-3)
            exact, jitter = volume * half, Decimal(chance.choice(("0", "0.0001", "-0.0001", "0.004", "-0.004")))
            numbers["volume"] = Decimal(volume)
        numbers["turnover"] = min(exact + jitter, Decimal("999999999999999.49"))
    bar = Bar(f"S{number}", chance.choice(("EQ", "EQ", "EQ", *RANKS)), chance.choice(DAYS), numbers)
    bar.cells = {name: spelled(value, chance) for name, value in numbers.items()}
    if numbers.get("volume") is not None and "-" in bar.cells["volume"] + (bar.cells.get("turnover") or ""):
        bar.cells["volume"] = str(volume)  # "1E-1" and its like are others' business
    if chance.random() < 0.08:
        name, odd = chance.choice(
            [(chance.choice(("open", "high", "low", "close")), ODD_PRICES)] * 3 + [("volume", ODD_VOLUMES)]
        )
        bar.cells[name], bar.reason = chance.choice(odd)
    elif chance.random() < 0.03:
        bar.series, bar.reason = chance.choice(("GS", "T0", "N1", "eq")), "series_out_of_scope"
    elif chance.random() < 0.02:
        numbers["high"], bar.cells["high"] = low / 2, f"{low / 2:f}"
    return bar


def stored_values(bar: Bar, dialect: str) -> tuple[Any, ...] | None:
    """What the database must hold of a bar, from its exact values; None where it breaks a rule of the table."""
    opened, high, low, close = (rounded(_sure(bar.numbers[name]), CENT) for name in ("open", "high", "low", "close"))
    if not low <= opened <= high or not low <= close <= high:
        return None
    prev = bar.numbers["prev"]
    previous = None if prev is None else rounded(prev, CENT)
    volume = int(_sure(bar.numbers["volume"]))
    change: Any = None
    if previous:
        exact = 100 * (Fraction(close) / Fraction(previous) - 1)
        most = Fraction("9999.9999")
        if abs(exact) < most:
            change = (
                UNSURE
                if near_half(exact, BASIS) or abs(abs(exact) - most) < Fraction(1, 10**6)
                else rounded(exact, BASIS)
            )
    vwap: Any = None
    if dialect == "full":
        given = bar.numbers["vwap"]
        vwap = None if given is None else rounded(given, CENT)
    elif volume:
        price = Fraction(_sure(bar.numbers["turnover"])) / volume
        if price < 10**12:
            vwap = UNSURE if near_half(price, CENT) else rounded(price, CENT)
    return opened, high, low, close, volume, vwap, previous, change


def _sure(value: Decimal | None) -> Decimal:
    assert value is not None
    return value


def expected(bars: list[Bar], dialect: str) -> tuple[dict[tuple[str, str], tuple[Any, ...]], Counter[str]]:
    """What is stored by key, and the rows that are not, by reason."""
    reasons = Counter(bar.reason for bar in bars if bar.reason is not None)
    by_key: dict[tuple[str, str], list[tuple[int, tuple[Any, ...]]]] = {}
    for bar in bars:
        if bar.reason is None:
            values = stored_values(bar, dialect)
            if values is None:
                reasons["broken_rule"] += 1
            else:
                by_key.setdefault(bar.key, []).append((RANKS.index(bar.series), values))
    kept = {}
    for key, rows in by_key.items():
        best = min(rank for rank, _ in rows)
        first, *others = [values for rank, values in rows if rank == best]
        reasons["series_not_preferred"] += sum(rank > best for rank, _ in rows)
        reasons["duplicate_row"] += sum(values == first for values in others)
        reasons["duplicate_key"] += sum(values != first for values in others)
        kept[key] = first
    return kept, +reasons


LAYOUT = {
    "full": ("sec_bhavdata_full_16012025.csv", ", ", {
        "SYMBOL": "symbol", "SERIES": "series", "DATE1": "day", "PREV_CLOSE": "prev", "OPEN_PRICE": "open",
        "HIGH_PRICE": "high", "LOW_PRICE": "low", "CLOSE_PRICE": "close", "AVG_PRICE": "vwap", "TTL_TRD_QNTY": "volume",
    }),
    "legacy": ("cm16JAN2025bhav.csv", ",", {
        "SYMBOL": "symbol", "SERIES": "series", "OPEN": "open", "HIGH": "high", "LOW": "low", "CLOSE": "close",
        "PREVCLOSE": "prev", "TOTTRDQTY": "volume", "TOTTRDVAL": "turnover", "TIMESTAMP": "day",
    }),
    "udiff": ("BhavCopy_NSE_CM_0_0_0_20250116_F_0000.csv", ",", {
        "TradDt": "day", "TckrSymb": "symbol", "SctySrs": "series", "OpnPric": "open", "HghPric": "high",
        "LwPric": "low", "ClsPric": "close", "PrvsClsgPric": "prev", "TtlTradgVol": "volume", "TtlTrfVal": "turnover",
    }),
}  # fmt: skip


#: A column of each dialect that no table takes.
NOT_READ = {"full": "LAST_PRICE", "legacy": "LAST", "udiff": "LastPric"}


def as_file(bars: list[Bar], dialect: str, blanks: int = 0) -> bytes:
    header = HEADERS[dialect]
    names = [name.strip() for name in header.split(",")]
    _, comma, layout = LAYOUT[dialect]
    layout = {**layout, NOT_READ[dialect]: "not read"}
    rows = [header]
    for bar in bars:
        cells = {"symbol": bar.symbol, "series": bar.series, "day": bar.day[0], **bar.cells}
        cells["not read"] = " " * blanks
        end = "  " if bar.reason else ""  # the quarantine keeps the line to its last blank
        rows.append(comma.join(cells.get(layout.get(name, ""), "") for name in names) + end)
    return ("\n".join(rows) + "\n").encode()


def some_bars(dialect: str, count: int, chance: random.Random) -> list[Bar]:
    """Bars of securities of their own, and some that come twice: in another series, again, or with another price."""
    bars = [some_bar(number, dialect, chance) for number in range(count)]
    for bar in chance.sample([bar for bar in bars if bar.reason is None], count // 25):
        numbers, cells, series = dict(bar.numbers), dict(bar.cells), bar.series
        match chance.choice(("same", "respelled", "other price", "other series")):
            case "respelled":
                cells = {name: spelled(value, chance) for name, value in numbers.items()}
            case "other price":
                numbers["prev"] = (numbers["prev"] or Decimal(0)) + 1
                cells["prev"] = f"{numbers['prev']:f}"
            case "other series":
                series = chance.choice(RANKS)
        bars.insert(chance.randrange(len(bars)), Bar(bar.symbol, series, bar.day, numbers, cells))
    return bars


BY_KEY = (
    "SELECT symbol, date::text, open, high, low, close, volume, vwap, prev_close, change_pct FROM ohlcv_daily "
    "WHERE symbol NOT LIKE 'ZZ%'"
)


@pytest.mark.parametrize("dialect", LAYOUT)
def test_awkward_numbers_are_stored_to_the_last_digit_however_they_are_loaded(
    bench: Bench, dialect: str, full: bool, tmp_path: Path
) -> None:
    count = 25_000 if full else 800
    chance = random.Random(f"{SEED} {dialect}")
    said = f"seed {SEED} {dialect}"
    bars = some_bars(dialect, count, chance)
    kept, reasons = expected(bars, dialect)
    assert len(kept) > count / 2
    assert len(reasons) >= 7, reasons
    name = LAYOUT[dialect][0]
    data = as_file(bars, dialect)
    path = bench.write(f"it/{name}", data)
    rejected = sum(
        count for reason, count in reasons.items()
        if reason not in {"series_out_of_scope", "series_not_preferred", "duplicate_row"}
    )  # fmt: skip

    def stored() -> dict[tuple[str, str], tuple[Any, ...]]:
        return {(row[0], row[1]): row[2:] for row in bench.ask(BY_KEY)}

    def check(way: str, result: LoadResult, reference: dict[tuple[str, str], tuple[Any, ...]] | None) -> None:
        check_books(bench, result)
        assert result.error is None, f"{said}, {way}: {result.error}"
        assert result.reasons == reasons, f"{said}, {way}"
        assert (result.read, result.rejected) == (len(bars), rejected), f"{said}, {way}"
        found = stored()
        assert found.keys() == kept.keys(), f"{said}, {way}"
        for key, values in kept.items():
            sure = tuple(got if want is UNSURE else want for got, want in zip(found[key], values, strict=True))
            texts = [bar.cells for bar in bars if bar.key == key] if found[key] != sure else []
            assert found[key] == sure, f"{said}, {way}: {key} of {texts}"
        if reference is not None:
            different = [key for key in found if found[key] != reference[key]]
            assert not different, (
                f"{said}, {way}, differs from the cold load: {[(k, found[k], reference[k]) for k in different[:5]]}"
            )

    # cold, into an empty table
    bench.empty()
    [result] = bench.load(path)
    check("cold", result, None)
    assert (result.inserted, result.updated, result.unchanged) == (len(kept), 0, 0)
    check_rejects(bench, result, lines_of(data), tries=0)
    reference = stored()

    # again: nothing changes
    [result] = bench.load(path)
    check("again", result, reference)
    assert (result.inserted, result.updated, result.unchanged) == (0, 0, len(kept))

    # into a table that holds others
    bench.empty()
    bench.load(bench.write("neighbours/0.csv", neighbours()))
    [result] = bench.load(path)
    check("beside others", result, reference)
    assert result.inserted == len(kept)

    # over rows of the same keys: some as they are, some with another price, some missing
    bench.empty()
    with_other_prices = [
        Bar(bar.symbol, bar.series, bar.day, bar.numbers, {**bar.cells, "prev": "777.77"} if n % 3 == 1 else bar.cells)
        for n, bar in enumerate(bars) if n % 3 and bar.reason is None
    ]  # fmt: skip
    bench.load(bench.write(f"earlier/{name}", as_file(with_other_prices, dialect)))
    [result] = bench.load(path)
    check("over others", result, reference)
    assert min(result.inserted, result.updated, result.unchanged) > 0

    # in a folder with others, of the same days and of days of their own
    for way, days in (("days", SHARED_DAYS), ("other days", ("15-Jan-2024",)), ("older days", ("02-Jan-1996",))):
        bench.empty()
        for n, other in enumerate(("0.csv", "sec_bhavdata_full_15012025.csv", "zz.csv")):
            bench.write(f"folder of {way}/{other}", neighbours(n, days))
        bench.write(f"folder of {way}/{name}", data)
        results = bench.load(tmp_path / f"folder of {way}")
        assert len(results) == 4
        [result] = [result for result in results if Path(result.file).name == name]
        check(f"in a folder of {way}", result, reference)

    # as a file of many megabytes, which may be read in pieces: rows of one key are far apart
    bench.empty()
    [result] = bench.load(bench.write(f"wide/{name}", as_file(bars, dialect, blanks=20_000_000 // len(bars))))
    check("in pieces", result, reference)

    # in a gzip, in a zip
    for way, packed, called in (
        ("gz", gzip.compress(data, 1), name + ".gz"),
        ("zip", fuzz.zipped(name, data), "a.zip"),
    ):
        bench.empty()
        [result] = bench.load(bench.write(f"packed/{called}", packed))
        check(way, result, reference)

    # row by row in another order; of rows that come twice the first is kept, so these stay in theirs
    bench.empty()
    times = Counter(bar.key for bar in bars)
    single = [bar for bar in bars if times[bar.key] == 1]
    chance.shuffle(single)
    bench.load(bench.write(f"shuffled/{name}", as_file(single, dialect)))
    assert stored() == {key: values for key, values in reference.items() if times[key] == 1}, said


# --- a file that was loaded before ----------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["embedded"], indirect=True)  # it waits for two seconds: once is enough
def test_what_was_loaded_before_is_loaded_again_when_it_no_longer_stands(bench: Bench) -> None:
    """A loader may know a file by its bytes, or by its time stamps; what it stores must not depend on that."""
    name = "sec_bhavdata_full_16012025.csv"
    chance = random.Random(SEED)
    bars = [Bar(f"S{n}", "EQ", DAYS[0], {"prev": Decimal(n + 1)}) for n in range(60)]
    for bar in bars:
        close = Decimal(chance.randint(1000, 9999)) / 100
        bar.cells = dict.fromkeys(("open", "high", "low", "close", "vwap"), str(close)) | {
            "volume": "7",
            "prev": "50.00",
        }
    rejected = Bar("BAD", "EQ", DAYS[0], {}, {**bars[0].cells, "open": "x"})
    changed = [Bar(bar.symbol, bar.series, bar.day, {}, {**bar.cells, "prev": "60.00"}) for bar in bars[:20]]
    path = bench.write(f"a/{name}", as_file([*bars, rejected], "full"))
    other = bench.write(f"b/{name}", as_file(changed, "full"))
    first_text, other_text = path.read_bytes(), as_file([*reversed(bars[1:]), changed[0], rejected], "full")
    assert len(first_text) == len(other_text)
    # until their time stamps are of the past: then they tell a change for sure
    while time.time() - other.stat().st_ctime < 2.2:
        time.sleep(0.05)

    def load(path: Path, *expected: int) -> None:
        [result] = bench.load(path)
        check_books(bench, result)
        assert tuple(getattr(result, name) for name in COUNTS) == expected, result

    load(path, 61, 60, 0, 0, 1, 0)
    stored = without_ids(bench.stored())

    def restored(*expected: int) -> None:
        load(path, *expected)
        assert without_ids(bench.stored()) == stored
        load(path, 61, 0, 0, 60, 1, 0)

    restored(61, 0, 0, 60, 1, 0)
    load(other, 20, 0, 20, 0, 0, 0)  # another file says something else of the same days
    restored(61, 0, 20, 40, 1, 0)
    load(other, 20, 0, 20, 0, 0, 0)  # and says it again
    load(other, 20, 0, 0, 20, 0, 0)
    restored(61, 0, 20, 40, 1, 0)
    for statement, inserted, updated in (
        ("UPDATE ohlcv_daily SET close = close, vwap = 1 WHERE symbol = 'S7'", 0, 1),
        ("DELETE FROM ohlcv_daily WHERE symbol IN ('S8', 'S9')", 2, 0),
        ("TRUNCATE ohlcv_daily", 60, 0),
        ("UPDATE ohlcv_daily SET date = date - 1 WHERE symbol = 'S3'", None, None),
    ):
        with bench.engine.begin() as connection:
            connection.execute(text(statement))
        if inserted is None:  # the moved row stays, and its place is filled
            load(path, 61, 1, 0, 59, 1, 0)
            with bench.engine.begin() as connection:
                connection.execute(text("DELETE FROM ohlcv_daily WHERE date < '2025-01-16'"))
            restored(61, 0, 0, 60, 1, 0)
        else:
            restored(61, inserted, updated, 60 - inserted - updated, 1, 0)
    # other bytes of the same length, under the same name and with the same time of writing
    before = path.stat()
    path.write_bytes(other_text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    load(path, 61, 0, 1, 59, 1, 0)
    path.write_bytes(first_text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    restored(61, 0, 1, 59, 1, 0)


def without_ids(stored: Stored) -> list[str]:
    return sorted(re.sub(r'"id": \d+(?:, )?', "", row) for row in stored["ohlcv_daily"].values())
