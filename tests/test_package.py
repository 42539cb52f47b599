"""The package as others get it: its public face, its floors, and the wheel without a checkout."""

from __future__ import annotations

import ast
import inspect
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine

import screener_data as sd
from screener_data import notebooks
from screener_data.database import migrate

ROOT = Path(__file__).resolve().parents[1]
#: What the contract promises so far.
FACE = {
    *("connect", "load", "prices", "panel", "sessions", "calculate", "metrics"),
    *("LoadResult", "replay", "rejects", "status", "check", "coverage", "factors", "gaps"),
    *("chart", "breadth", "rotation"),
    *("screen", "screens"),
    *("fetch", "FetchResult"),
    *("identity", "symbol_on", "universe"),
}


def python(*words: str, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run this Python in a process of its own."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60, check=False, **options)
    assert done.returncode == code, done.stderr
    return done


# --- the public face


def test_the_face_is_short_sorted_and_promised() -> None:
    assert list(sd.__all__) == sorted(sd.__all__)
    assert set(sd.__all__) == FACE


def test_the_face_imports_nothing_that_it_does_not_show() -> None:
    tree = ast.parse((ROOT / "screener_data" / "__init__.py").read_text(encoding="utf-8"))
    imported = [name.name for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names]
    assert sorted([*imported, *sd._LATE]) == list(sd.__all__)


def test_the_compiler_comes_only_with_what_needs_it() -> None:
    said = python("-c", "import sys, screener_data as sd; print('numba' in sys.modules, sd.calculate.__name__)").stdout
    assert said.split() == ["False", "calculate"]
    with pytest.raises(AttributeError, match="has no attribute 'calculates'"):
        _ = sd.calculates  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sd.__all__)
def test_each_name_has_a_docstring_and_a_home_in_the_package(name: str) -> None:
    shown = getattr(sd, name)
    assert inspect.getdoc(shown)
    assert shown.__module__.startswith("screener_data.")


BOTH = "pd.DataFrame | pa.Table"


@pytest.mark.parametrize(
    ("name", "positional", "by_name", "returns"),
    [
        ("connect", {"url": None}, {}, "Engine"),
        ("load", {"path": inspect.Parameter.empty, "source": None}, {"engine": None}, "list[LoadResult]"),
        (
            "fetch",
            dict.fromkeys(("sources", "first", "last")),
            {"load": True, "engine": None, "progress": None},
            "FetchResult",
        ),
        ("replay", {"source": None}, {"engine": None}, "list[LoadResult]"),
        ("prices", dict.fromkeys(("symbols", "start", "end", "columns")), {"adjusted": False, "as_arrow": False}, BOTH),
        (
            "panel",
            {"column": "close"} | dict.fromkeys(("symbols", "start", "end")),
            {"adjusted": False},
            "pd.DataFrame",
        ),
        ("metrics", dict.fromkeys(("date", "symbols", "start", "end", "columns")), {"as_arrow": False}, BOTH),
        ("sessions", dict.fromkeys(("start", "end")), {}, "pd.DatetimeIndex"),
    ],
)
def test_signatures_are_those_of_the_contract(
    name: str, positional: dict[str, Any], by_name: dict[str, Any], returns: str
) -> None:
    signature = inspect.signature(getattr(sd, name))
    found: dict[bool, dict[str, Any]] = {True: {}, False: {}}
    for parameter in signature.parameters.values():
        found[parameter.kind is parameter.KEYWORD_ONLY][parameter.name] = parameter.default
    assert list(found[False].items()) == list(positional.items())
    assert by_name.items() <= found[True].items()
    assert signature.return_annotation == returns


def test_a_load_result_is_that_of_the_contract() -> None:
    assert list(sd.LoadResult.model_fields) == [
        *("file", "source", "status", "sha256", "read", "inserted", "updated", "unchanged", "rejected", "skipped"),
        *("reasons", "elapsed_ms", "log_id", "error"),
    ]


# --- importing


def test_the_import_is_quiet_quick_and_touches_nothing(tmp_path: Path) -> None:
    code = "import time, screener_data; print(time.process_time())"
    done = python("-W", "error", "-c", code, cwd=tmp_path)
    assert done.stderr == ""
    assert float(done.stdout) < 3  # seconds of work, whatever else the machine does
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("screener_data", {"papermill", "jupyter_client", "plotly", "typer", "IPython"}),
        ("screener_data.cli", {"papermill", "plotly"}),
    ],
)
def test_the_import_leaves_out_what_few_need(module: str, heavy: set[str]) -> None:
    python("-c", f"import sys, {module}; assert not {heavy!r} & set(sys.modules)")


def test_imports_go_down_only() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


# --- the wheel


def pip() -> list[str]:
    """Some pip: this Python's, or that of the Python which the environment was made from (`dev.py` leaves it out)."""
    for found in (sys.executable, getattr(sys, "_base_executable", sys.executable), shutil.which("python3") or ""):
        try:
            if subprocess.run([found, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
                return [found, "-m", "pip", "--disable-pip-version-check"]
        except OSError:
            continue
    pytest.skip("there is no pip")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*pip(), "wheel", ROOT, "--no-deps", "--quiet", "--wheel-dir", folder], check=True)
    (found,) = folder.glob("screener_data-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a Python that imports what the wheel installed, not the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([*pip(), "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel], check=True)
    return os.environ | {"PYTHONPATH": str(folder)}


def test_the_wheel_holds_all_that_init_and_run_need(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    here = {
        "screener_data": ROOT / "screener_data",
        "screener_data/_alembic": ROOT / "alembic",
        "screener_data/_notebooks": ROOT / "notebooks",
    }
    wanted = {
        f"{place}/{path.relative_to(folder)}"
        for place, folder in here.items()
        for path in folder.rglob("*")
        if path.suffix in {".py", ".mako", ".ipynb"} and not any(part.startswith(".") for part in path.parts)
    }
    assert {f"screener_data/_notebooks/{name}.ipynb" for name in notebooks.NOTEBOOKS} < wanted
    assert "screener_data/_alembic/env.py" in wanted
    packaged = {name for name in names if ".dist-info/" not in name}
    assert packaged == wanted  # no test, no data, no cache


def test_the_wheel_works_without_a_checkout(
    empty_url: URL, installed: dict[str, str], tmp_path: Path, market: Path
) -> None:
    env = installed | {"SCREENER_DATABASE_URL": empty_url.render_as_string(hide_password=False)}
    where = python("-c", "import screener_data; print(screener_data.__file__)", cwd=tmp_path, env=env).stdout
    assert Path(where.strip()).parent == Path(installed["PYTHONPATH"]) / "screener_data"

    def tool(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        return python(
            *("-W", "error", "-c", "from screener_data.cli import app; app()", *map(str, words)),
            code=code,
            cwd=tmp_path,
            env=env,
        )

    tool("init")
    engine = create_engine(empty_url)
    assert migrate.current(engine) == migrate.head()
    engine.dispose()
    (result,) = json.loads(tool("load", "--json", market / "lists" / "2025-06-30" / "EQUITY_L.csv").stdout)
    assert result["inserted"] == 24
    assert f"there are: {', '.join(notebooks.NOTEBOOKS)}" in tool("run", "99", code=2).stderr
    assert list(tmp_path.iterdir()) == []
