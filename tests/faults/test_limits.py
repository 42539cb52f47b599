"""Files that are too large, or lie about their size, and zips with tricks: a clear refusal, in bounded memory.

Each load is the real command line in a process of its own, whose peak of memory is measured from outside Python.
"""

from __future__ import annotations

import gzip
import json
import os
import stat
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

import screener_data as sd
from screener_data.loaders.archives import MAX_BYTES
from screener_data.samples import HEADERS

GB = 1_000_000_000
MB = 1_000_000
MOST = 1.0 * GB  # of memory, for whatever is loaded or refused

pytestmark = pytest.mark.parametrize("server", ["embedded"], indirect=True)  # it is the loading process that counts

#: The command line, and at its end the most memory that this process ever held. Linux counts that per program in
#: VmHWM; ru_maxrss would begin with what the process that started it held.
CHILD = """
import atexit, re, resource, sys
from pathlib import Path

def tell():
    status = Path("/proc/self/status")
    if status.exists():
        peak = int(re.search(r"VmHWM:\\s*([0-9]+) kB", status.read_text())[1]) * 1024
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"peak {peak}", file=sys.stderr)

atexit.register(tell)
from screener_data.cli import app
app()
"""


@dataclass
class Outcome:
    """What one run of `screener-data load --json` did."""

    code: int
    results: list[dict[str, Any]]
    stderr: str
    peak: int
    seconds: float

    def of(self, path: Path) -> list[dict[str, Any]]:
        return [result for result in self.results if result["file"].split("!")[0] == str(path)]

    def __str__(self) -> str:
        return (
            f"exit code {self.code}, {self.seconds:.1f} s, peak {self.peak / MB:,.0f} MB, {self.results}\n{self.stderr}"
        )


def load(*paths: Path, cwd: Path, limit: float = 600) -> Outcome:
    words = [sys.executable, "-W", "error", "-c", CHILD, "load", "--json", *map(str, paths)]
    environment = {**os.environ, "TMPDIR": str(cwd), "HOME": str(cwd)}
    started = time.monotonic()
    done = subprocess.run(words, capture_output=True, cwd=cwd, env=environment, timeout=limit, check=False)
    stderr = done.stderr.decode("utf-8", "replace")
    assert "Traceback" not in stderr, stderr
    assert done.returncode in (0, 1, 2), (done.returncode, stderr)  # -9: no memory was left
    said, _, peak = stderr.rstrip().rpartition("peak ")
    results = json.loads(done.stdout) if done.stdout else []
    return Outcome(done.returncode, results, said, int(peak), time.monotonic() - started)


@pytest.fixture
def desk(tmp_path: Path, engine: Engine) -> Path:
    """An empty folder to work in; SCREENER_DATABASE_URL names a migrated database."""
    (tmp_path / "desk").mkdir()
    return tmp_path / "desk"


def adds_up(result: dict[str, Any]) -> bool:
    parts = sum(result[name] for name in ("inserted", "updated", "unchanged", "rejected", "skipped"))
    return bool(result["read"] == parts)


# --- files to refuse ------------------------------------------------------------------------------------------------


def bars(days: int = 1, symbols: int = 3, first: int = 0) -> str:
    """Rows of the full bhavcopy."""
    row = (
        "SYMBOL{:05}, EQ, {}, 1099.00, 1100.00, 1102.00, 1098.00, 1101.00, 1101.50, 1100.50, 1234567, 13587.46, 10123, "
    )
    row += "500123, 50.00\n"
    return "".join(row.format(n, day(first + d)) for d in range(days) for n in range(symbols))


def day(number: int) -> str:
    """A day of its own for each number, back to 1950 if need be."""
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[number // 28 % 12]
    return f"{number % 28 + 1:02}-{month}-{2024 - number // 336}"


HEADER = HEADERS["full"] + "\n"


def one_line(path: Path, size: int) -> None:
    """A good header, and one line of `size` bytes. A hole in the file: it takes no room on the disk."""
    with path.open("wb") as stream:
        stream.write(HEADER.encode())
        stream.truncate(size)


def packed_zeros(size: int, *, of_letters: bool = False) -> bytes:
    """A gzip of so many bytes: one small gzip after another, as the format allows, so that it takes no time to make."""
    block = 16 << 20
    return gzip.compress(HEADER.encode()) + gzip.compress((b"A" if of_letters else b"\x00") * block, 9) * -(
        -size // block
    )


def zip_of_zeros(path: Path, name: str, size: int, *, claims: int | None = None) -> None:
    """A zip with one member of so many zeros, which says that it has `claims` of them."""
    block = 1 << 24
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    # after a full flush the same bytes can come again
    packer.compress(b"\x00" * block)
    packer.flush(zlib.Z_FULL_FLUSH)
    once = packer.compress(b"\x00" * block) + packer.flush(zlib.Z_FULL_FLUSH)
    data = once * (size // block) + packer.flush()
    size = size // block * block
    check = 0
    for _ in range(size // block):
        check = zlib.crc32(b"\x00" * block, check)
    said = size if claims is None else claims
    encoded = name.encode()
    local = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 8, 0, 33, check, len(data), said, len(encoded), 0)
    entry = struct.pack(
        "<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, 0, 8, 0, 33, check, len(data), said, len(encoded), *(0,) * 6
    )
    start = len(local) + len(encoded) + len(data)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(entry) + len(encoded), start, 0)
    path.write_bytes(local + encoded + data + entry + encoded + end)


def nested_zip(path: Path, depth: int) -> None:
    """A zip in a zip in a zip …, ten of them on each floor: it would unpack to very much."""
    data, name = b"\x00" * (10 * MB), "bulk.csv"
    for floor in range(depth):
        inner = path.with_name(f"floor-{floor}.zip")
        with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for copy in range(10):
                archive.writestr(f"{copy}-{name}", data)
        data, name = inner.read_bytes(), "inner.zip"
        inner.unlink()
    path.write_bytes(data)


def refused_files(folder: Path, full: bool) -> dict[Path, str]:
    """Files that must be refused, with what the refusal says."""
    line = MAX_BYTES - MB if full else 150 * MB  # the longest that is not a file too large
    large = folder / "sec_bhavdata_full_01012025.csv"
    with large.open("wb") as stream:
        stream.write((HEADER + bars()).encode())
        stream.truncate((1 << 30) + 4096)
    long_line = folder / "sec_bhavdata_full_02012025.csv"
    one_line(long_line, line)
    long_gz = folder / "sec_bhavdata_full_03012025.csv.gz"
    long_gz.write_bytes(packed_zeros((line if full else 40 * MB) - (16 << 20), of_letters=True))
    bomb = folder / "bomb.zip"
    zip_of_zeros(bomb, "sec_bhavdata_full_07012025.csv", 2 << 30)
    liar = folder / "liar.zip"
    zip_of_zeros(liar, "sec_bhavdata_full_08012025.csv", (1 << 31) if full else (1 << 28), claims=100)
    nested = folder / "nested.zip"
    nested_zip(nested, 4)
    brackets = folder / "upstox_holidays.json"
    brackets.write_text('{"status":"success","data":' + "[" * 1_000_000)
    too_large, too_long = f"more than {MAX_BYTES >> 20} MiB", "a line of"
    found = {
        large: too_large, long_line: too_long, long_gz: too_long, bomb: too_large, liar: "cannot be read",
        nested: "no file in this zip belongs to a source", brackets: "cut short or broken",
    }  # fmt: skip
    if full:
        gigabyte = folder / "sec_bhavdata_full_09012025.csv"
        one_line(gigabyte, GB)
        found[gigabyte] = "more than" if GB > MAX_BYTES else too_long
        # unpacking it takes seconds
        large_gz = folder / "sec_bhavdata_full_06012025.csv.gz"
        large_gz.write_bytes(packed_zeros((1 << 30) + 4096))
        found[large_gz] = too_large
    return found


def test_what_is_too_large_is_refused_by_name_and_in_bounded_memory(desk: Path, engine: Engine, full: bool) -> None:
    """Short: a line of 150 MB, and all files in one process. Full: lines up to 1 GB, and a process for each file."""
    wanted = refused_files(desk, full)
    runs = [load(path, cwd=desk) for path in wanted] if full else [load(*wanted, cwd=desk)]
    for run in runs:
        print(run)
        assert run.code == 1, run
    results = {path: [result for run in runs for result in run.of(path)] for path in wanted}
    for path, says in wanted.items():
        [result] = results[path]
        assert result["status"] == "failure", result
        assert path.name in result["error"], result
        assert says in result["error"], result
        assert (result["read"], result["inserted"]) == (0, 0), result
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM ohlcv_daily")).scalar_one() == 0
        audited = connection.execute(text("SELECT count(*) FROM ingestion_logs WHERE status = 'failure'")).scalar_one()
        assert audited == len(wanted)
    too_much = {result["file"]: f"{run.peak / MB:,.0f} MB" for run in runs for result in run.results if run.peak > MOST}
    assert not too_much, f"more than {MOST / MB:,.0f} MB of memory for a refusal: {too_much}"


def test_the_cheapest_ways_to_cost_much_cost_little(desk: Path, full: bool) -> None:
    """Many members that no source reads: time must not grow with the square of what is small on the disk."""
    number = 20_000 if full else 1_500
    many = desk / "many.zip"
    with zipfile.ZipFile(many, "w") as archive:
        for n in range(number):
            archive.writestr(f"{n}.csv", "a,b\n1,2\n")
        archive.writestr("sec_bhavdata_full_01012025.csv", HEADER + bars())
    run = load(many, cwd=desk)
    print(f"{number} members: {run.seconds:.1f} s, peak {run.peak / MB:,.0f} MB")
    assert [(result["status"], result["inserted"]) for result in run.results if result["status"] != "failure"] == [
        ("success", 3)
    ]
    assert run.peak < MOST, run
    # to pass a member over takes a fraction of a millisecond; with the square of their number it took 20
    assert run.seconds < 8 + number * 0.003, run


# --- zips with tricks -----------------------------------------------------------------------------------------------


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def archive_of(path: Path, members: list[tuple[str, str]]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it is: the constructor would mend it
            archive.writestr(info, content)


def test_names_in_a_zip_lead_nowhere(desk: Path, engine: Engine, tmp_path: Path) -> None:
    """Paths upwards, absolute, of other systems, with control characters: loaded from memory, or refused by name."""
    base = "sec_bhavdata_full_01012025.csv"
    outside = tmp_path / "outside"
    outside.mkdir()
    names = [
        f"../../outside/{base}", f"../{base}", f"{outside}/{base}", f"C:\\Windows\\{base}", f"..\\..\\outside\\{base}",
        f"\\\\server\\share\\{base}", f"a/./../../{base}", f"{'d/' * 200}{base}", f"{'.' * 1000}/{base}",
        f"con/nul/{base}", f"new\nline/{base}", f"sec_bhavdata_full\n{base}", f"~/{base}", f"x!y/{base}",
        f"sec_bhavdata_full\x1b[31m\x07{base}", f"sec_bhavdata_full\u202e{base}", f"sec_bhavdata_full_{'n' * 5000}.csv",
        f"sec_bhavdata_full_$(touch x){base}", f"'; DROP TABLE securities; --{base}",
    ]  # fmt: skip
    members = [(name, HEADER + bars(first=n)) for n, name in enumerate(names)]
    # and those that are refused are named in a message
    members += [(f"../bulk\x1b[31m\x07{n}.csv", "<html>") for n in range(2)] + [
        ("block\nerror: all is well.csv", "<html>")
    ]
    archive_of(desk / "tricks.zip", members)
    before = tree(tmp_path)
    run = load(desk / "tricks.zip", cwd=desk)
    assert tree(tmp_path) == before, "something was written"
    assert run.code == 1
    # each member is there, with its three rows or with a refusal that names the zip
    assert len(run.results) == len(members), run
    for result in run.results:
        assert adds_up(result)
        assert result["file"].startswith(f"{desk / 'tricks.zip'}!")
        assert (result["status"], result["inserted"]) == ("success", 3) or "tricks.zip" in result["error"], result
    stored = sum(result["inserted"] for result in run.results)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM ohlcv_daily")).scalar_one() == stored
        assert connection.execute(text("SELECT count(*) FROM securities")).scalar_one() == 0
    # what goes to a terminal cannot steer it, nor pretend to be a line of ours
    assert not {"\x1b", "\x07"} & set(run.stderr), repr(run.stderr)
    assert "\nerror: all is well" not in run.stderr, run.stderr


def test_a_link_in_a_zip_is_not_followed(desk: Path, engine: Engine, tmp_path: Path) -> None:
    secret = tmp_path / "sec_bhavdata_full_02012025.csv"
    secret.write_text(HEADER + bars())
    with zipfile.ZipFile(desk / "link.zip", "w") as archive:
        info = zipfile.ZipInfo("sec_bhavdata_full_01012025.csv")
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, str(secret))
    before = tree(tmp_path)
    [result] = sd.load(desk / "link.zip", engine=engine)
    assert (result.status, result.inserted) == ("failure", 0)
    assert "link.zip" in (result.error or "")
    assert tree(tmp_path) == before


@pytest.mark.filterwarnings("ignore:Duplicate name")  # the standard library's, while the test writes it
def test_members_of_one_name_are_all_accounted_for(desk: Path, engine: Engine) -> None:
    """The same name twice, and the same base name in two folders: none of them may vanish in silence."""
    base = "sec_bhavdata_full_01012025.csv"
    with zipfile.ZipFile(desk / "twice.zip", "w") as archive:
        for n, name in enumerate((base, base, f"a/{base}", f"b/{base}")):
            archive.writestr(name, HEADER + bars(first=n))
    results = sd.load(desk / "twice.zip", engine=engine)
    read = sum(result.read for result in results)
    refused = [result for result in results if result.status == "failure"]
    assert read == 12 or (refused and all("twice.zip" in (result.error or "") for result in refused)), results
    # whoever looks up what was loaded can tell them apart
    assert len({result.file for result in results}) == len(results), results


# --- much that is good ----------------------------------------------------------------------------------------------


def write_market(folder: Path, files: int, symbols: int, big: int) -> int:
    """Daily files, and one file of `big` days. The number of rows."""
    folder.mkdir()
    for n in range(files):
        (folder / f"sec_bhavdata_full_{n:08}.csv").write_text(HEADER + bars(symbols=symbols, first=big + n))
    with (folder / "sec_bhavdata_full_all.csv").open("w") as stream:
        stream.write(HEADER)
        for n in range(big):
            stream.write(bars(symbols=symbols, first=n))
    return (files + big) * symbols


def test_a_folder_of_any_size_is_loaded_in_bounded_memory(desk: Path, engine: Engine, full: bool) -> None:
    """Full: 400 daily files and one of 1.25 million rows, in 1 GB. Short: 10 and one of 120,000 rows, in 350 MB."""
    files, symbols, big, most = (400, 2500, 500, MOST) if full else (10, 1000, 120, 350 * MB)
    rows = write_market(desk / "market", files, symbols, big)
    size = sum(path.stat().st_size for path in (desk / "market").iterdir())
    run = load(desk / "market", cwd=desk, limit=1800)
    said = f"{files + 1} files, {rows:,} rows, {size / MB:,.0f} MB: {run.seconds:.1f} s, peak {run.peak / MB:,.0f} MB"
    print(said)
    assert run.code == 0, run.stderr
    assert len(run.results) == files + 1
    assert sum(result["inserted"] for result in run.results) == rows
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM ohlcv_daily")).scalar_one() == rows
    assert run.peak <= most, f"more than {most / MB:,.0f} MB of memory: {said}"
