"""The reader under fire: for a minute in CI, with another seed each time, any bytes are refused or accounted for."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from screener_data.errors import Reason
from screener_data.loaders import Parsed

PROGRAM = Path(__file__).with_name("fuzz.py")
KEPT = Path(__file__).parents[2] / ".hypothesis" / "fuzz"  # ignored by git, removed by `dev.py clean`

#: What a reader alone can answer; the database finds the other reasons.
OF_THE_READER = {
    *(Reason.WRONG_CELL_COUNT, Reason.BAD_QUOTING, Reason.BAD_CHARACTER, Reason.MISSING_VALUE, Reason.BAD_DATE),
    *(Reason.BAD_NUMBER, Reason.OUT_OF_RANGE, Reason.TOO_LONG, Reason.UNKNOWN_CODE, Reason.BAD_PATTERN),
    *(Reason.NOT_AN_OBJECT, Reason.FOOTER, Reason.BLANK_LINE, Reason.REPEATED_HEADER, Reason.SERIES_OUT_OF_SCOPE),
    *(Reason.NOT_FLAGGED, Reason.NOT_AN_INDEX, Reason.EXCHANGE_OPEN, Reason.NO_PRICE_FACTOR, Reason.UNKNOWN_PURPOSE),
}


def seconds(full: bool) -> float:
    default = 300 if full else 60 if os.environ.get("CI") == "true" else 10
    return float(os.environ.get("SCREENER_FUZZ_SECONDS", default))


def test_whatever_comes_the_reader_refuses_it_or_accounts_for_all_of_it(full: bool) -> None:
    """A process of its own: it starts anew, and may be killed by what it finds. SCREENER_FUZZ_SECONDS sets how long."""
    length = seconds(full)
    words = [sys.executable, "-W", "error", str(PROGRAM), "--seconds", str(length), "--keep", str(KEPT)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=length + 120, check=False)
    said = f"{done.stdout}\n{done.stderr}"
    print(said)
    assert done.returncode == 0, f"exit code {done.returncode}; the seed and how to repeat it:\n{said}"
    found = json.loads(done.stdout.splitlines()[-1])
    # it both reads and refuses, and gets everywhere: else it could pass by refusing all there is
    assert found["inputs"] > 5 * length, said  # an idle machine does 300 a second
    assert 0.1 < found["refused"] / found["inputs"] < 0.9, said
    if found["inputs"] > 2_000:
        missing = {reason for reason in OF_THE_READER if not any(f" {reason}" in word for word in found["outcomes"])}
        assert len(missing) < 4, f"never seen: {missing}\n{said}"


@pytest.fixture
def fuzz() -> ModuleType:
    """The program as a module: the folder of the tests is no package."""
    spec = importlib.util.spec_from_file_location("fuzz", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Broken:
    """A file that is recognised as ever, and then read by a broken reader."""

    def __init__(self, known: Any, fault: str) -> None:
        self.known, self.fault, self.format = known, fault, known.format

    def parse(self) -> Parsed:
        parsed: Parsed = self.known.parse()
        match self.fault:
            case "an exception" if any(row.reason is Reason.BAD_NUMBER for row in parsed.rejected):
                raise ValueError("a number that int() does not read")
            case "a lost row" if parsed.skipped[Reason.BLANK_LINE]:
                parsed.skipped_lines[Reason.BLANK_LINE].pop()
            case "a row both ways" if parsed.rejected and len(parsed.lines):
                parsed.lines[0] = parsed.rejected[0].line
            case "a number too wide" if "volume" in parsed.columns and parsed.rejected:
                import pyarrow as pa

                parsed.columns["volume"] = pa.array(["9223372036854775808"] * len(parsed.lines))
        return parsed


@pytest.mark.parametrize("fault", ["an exception", "a lost row", "a row both ways", "a number too wide"])
def test_a_broken_reader_is_found_and_what_broke_it_is_kept(
    fuzz: ModuleType, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fuzz.recognise
    monkeypatch.setattr(fuzz, "recognise", lambda *words: Broken(whole(*words), fault))
    assert fuzz.explore(30, 7, tmp_path / "kept") == 1
    said = capsys.readouterr()
    [kept] = (tmp_path / "kept").iterdir()
    assert "seed 7" in said.out
    assert str(kept) in said.out
    # the kept bytes alone repeat it, and the unbroken reader takes them
    with pytest.raises((ValueError, AssertionError)):
        fuzz.outcome(kept.read_bytes(), tmp_path)
    monkeypatch.undo()
    assert fuzz.outcome(kept.read_bytes(), tmp_path)
