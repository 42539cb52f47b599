"""Notebooks: clean on disk, typed when run, honest about failures, silent about secrets."""

from __future__ import annotations

import ast
import datetime as dt
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import IPython.core.magics
import nbformat
import papermill
import pytest
from IPython.core.magic import Magics
from sqlalchemy import URL, Engine, create_engine, text

import screener_data as sd
from screener_data import notebooks, quality, samples
from screener_data.errors import ConfigError, NotebookError, UsageError
from screener_data.notebooks import NOTEBOOKS, RunResult, run

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "notebooks").glob("*.ipynb"))
SAMPLE = ROOT / "notebooks" / "02_ingest_sample.ipynb"
SMALL = {"symbols": "25", "sessions": "120"}
PASSWORD = "s3cr/t@höhe<&\"'>"  # what addresses, tables and JSON each spell in a way of their own

on_the_embedded_server = pytest.mark.parametrize("server", ["embedded"], indirect=True)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a folder for runs of the test's own."""
    monkeypatch.setenv("SCREENER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCREENER_RUNS", str(tmp_path / "runs"))
    return tmp_path


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a notebook with these cells; the first holds the parameters."""

    def write(*cells: str, name: str = "own", metadata: dict[str, Any] | None = None) -> Path:
        document = nbformat.v4.new_notebook(metadata=metadata or {})
        document.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
        document.cells[0].metadata["tags"] = ["parameters"]
        path = tmp_path / f"{name}.ipynb"
        path.write_text(nbformat.writes(document), encoding="utf-8")
        return path

    return write


def shown(output: Path, kind: str = "text/plain") -> str:
    """All that the cells of a notebook showed."""
    found = []
    for cell in nbformat.read(output, as_version=4).cells:
        for each in cell.get("outputs", []):
            found.append(each.get("text") or each.get("data", {}).get(kind, "") or each.get("evalue", ""))
    return "\n".join(map(str, found))


def runs(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "runs").iterdir())


# --- on disk --------------------------------------------------------------------------------------------------------


def test_each_notebook_is_registered() -> None:
    assert [path.stem for path in FILES] == list(NOTEBOOKS)


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Any:
    document = nbformat.read(request.param, as_version=4)
    document.path = request.param
    return document


def parameters_cell(document: Any) -> Any:
    (cell,) = [cell for cell in document.cells if "parameters" in cell.metadata.get("tags", [])]
    return cell


def test_notebooks_are_stripped(notebook: Any) -> None:
    raw = json.loads(notebook.path.read_text(encoding="utf-8"))
    assert (raw["nbformat"], raw["nbformat_minor"]) == (4, 5)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert [cell.id for cell in notebook.cells] == [str(number) for number in range(len(notebook.cells))]
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None)


def test_notebooks_tell_a_story(notebook: Any) -> None:
    """Each code cell but parameters and imports answers a question that stands right above it."""
    asked = False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            asked = "?" in cell.source.splitlines()[0]
        elif "tags" not in cell.metadata and not cell.source.startswith(("import", "from")):
            assert asked, cell.source


STRIP = ["--extra-keys", "metadata.papermill cell.metadata.papermill metadata.widgets metadata.language_info.version"]


def nbstripout(*words: str | Path) -> int:
    command = [sys.executable, "-m", "nbstripout", *STRIP, "--drop-tagged-cells", "injected-parameters", *words]
    return subprocess.run(list(map(str, command)), capture_output=True, check=False).returncode


def test_nbstripout_has_nothing_to_do(make: Make) -> None:
    assert nbstripout("--verify", *FILES) == 0
    assert nbstripout("--verify", make("n = 1")) == 1  # random ids: the check can fail


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_parameters_are_those_of_the_model(name: str) -> None:
    told = papermill.inspect_notebook(ROOT / "notebooks" / f"{name}.ipynb")
    fields = NOTEBOOKS[name].model_fields
    assert list(told) == list(fields)
    for parameter, cell in told.items():
        field = fields[parameter]
        assert cell["inferred_type_name"] == type(field.default).__name__, parameter
        assert ast.literal_eval(cell["default"]) == field.default, parameter
        assert cell["help"] == field.description, parameter
    NOTEBOOKS[name].model_validate(NOTEBOOKS[name]().model_dump())  # the defaults keep the model's own rules


def test_no_parameter_is_taken_for_a_magic(notebook: Any) -> None:
    """IPython reads `reset: bool = False` as its command `%reset`."""
    every = [getattr(IPython.core.magics, name) for name in dir(IPython.core.magics)]
    classes = [each for each in every if isinstance(each, type) and issubclass(each, Magics)]
    magics = {name for each in classes for name in each.magics.get("line", {})}
    assert {"reset", "time", "run", "load"} <= magics
    assert not magics & set(NOTEBOOKS[notebook.path.stem].model_fields)


def test_mocks_for_ci_are_parameters(notebook: Any) -> None:
    mock = parameters_cell(notebook).metadata.get("nbmake", {}).get("mock", {})
    model = NOTEBOOKS[notebook.path.stem]
    assert model.model_validate(mock).model_fields_set == set(mock)
    if notebook.path.stem == "02_ingest_sample":
        assert mock == {name: int(value) for name, value in SMALL.items()}


# --- parameters and names, before any kernel ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("01", {"recreate": "perhaps"}, r"01_schema_setup: parameter recreate \(bool\): .*given: 'perhaps'"),
        (
            "02_ingest_sample",
            {"typo": "1"},
            r"no parameter 'typo' \(there are: folder, seed, symbols, .*, source\)",
        ),
        ("02_ingest_sample", {"symbols": "many"}, r"parameter symbols \(int\): .*given: 'many'"),
        ("02_ingest_sample", {"symbols": "3"}, r"parameter symbols \(int\): .*25; given: '3'"),
        ("02_ingest_sample", {"source": "nse_bonds"}, r"parameter source \(str\): .*nse_bhavcopy.*given: 'nse_bonds'"),
        ("02_ingest_sample", {"seed": "x", "typo": ""}, r"parameter seed .*; no parameter 'typo'"),
        ("02_ingest_daily", {"date": "30 June"}, r"parameter date \(str\): .*given: '30 June'"),
        (
            "02_ingest_daily",
            {"sources": "nse_etfs,bonds"},
            r"parameter sources \(str\): .*nse_bhavcopy.*'nse_etfs,bonds'",
        ),
        ("02_ingest_daily", {"sources": "nse_etfs,"}, r"parameter sources \(str\): .*given: 'nse_etfs,'"),
        ("03", {"fail_on": "always"}, r"parameter fail_on \(Literal\['error', 'warning', 'never'\]\): .*'always'"),
        ("03", {"since": "2025-02-30"}, r"parameter since \(str\): .*given: '2025-02-30'"),
        ("04", {"from_day": "today"}, r"04_metrics: parameter from_day \(str\): .*given: 'today'"),
        ("05", {"day": "16-01-2025"}, r"05_explore: parameter day \(str\): .*given: '16-01-2025'"),
        ("04", {"from": "2025-01-16"}, r"no parameter 'from' \(there are: from_day, to_day\)"),
    ],
)
def test_a_wrong_parameter_is_named(name: str, given: dict[str, str], said: str, place: Path) -> None:
    with pytest.raises(UsageError, match=said):
        run(name, given)
    assert not (place / "runs").exists()


@pytest.mark.parametrize(
    ("cell", "given", "said"),
    [
        ("n: int = 1", {"n": "1.5"}, r"own: parameter n \(int\): .*given: '1.5'"),
        ("n = 1\nflag = True", {"m": "2"}, r"no parameter 'm' \(there are: n, flag\)"),
        ("names: list[str] = []", {"names": "a"}, r"parameter names \(list\[Any\]\): .*JSON"),
        ("print(1)", {"n": "1"}, r"no parameter 'n' \(there are: none\)"),
        ("%time x = 1", {"x": "1"}, r"own.ipynb: its parameters cell is not plain Python"),
    ],
)
def test_parameters_of_any_notebook_are_checked(
    cell: str, given: dict[str, str], said: str, make: Make, place: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        run(make(cell), given)
    assert not (place / "runs").exists()


def typed(path: Path, given: dict[str, str]) -> dict[str, Any]:
    return notebooks._typed(path, nbformat.read(path, as_version=4), given)


@pytest.mark.parametrize(
    ("cell", "given", "value"),
    [
        ('x: str = "0001"', "0700", "0700"),
        ('x = "0001"', "0700", "0700"),
        ("x = None", "1_000", "1_000"),
        ("x: str", "NaN", "NaN"),
        ("x = date.today()", "2025-01-16", "2025-01-16"),
        ("x: int | None = None", "7", 7),
        ("x = 1", "-7", -7),
        ("x: Unknown = 0.5", "2", 2.0),
        ("x: bool = True", "false", False),
        ('x = ["a"]', '["0700", 1]', ["0700", 1]),
        ("x: dict[str, int] = {}", '{"a": 1}', {"a": 1}),
    ],
)
def test_values_are_typed_by_the_parameters_cell(cell: str, given: str, value: object, make: Make) -> None:
    found = typed(make(cell), {"x": given})["x"]
    assert found == value
    assert type(found) is type(value)


def test_only_what_was_given_is_injected() -> None:
    assert typed(SAMPLE, {"symbols": "40", "folder": "0700"}) == {"symbols": 40, "folder": "0700"}
    assert typed(SAMPLE, {}) == {}


def test_notebooks_go_by_name_number_or_path(monkeypatch: pytest.MonkeyPatch, make: Make, place: Path) -> None:
    monkeypatch.chdir(place)
    for name in ("01", "01_schema_setup", "01_schema_setup.ipynb", "notebooks/01_schema_setup.ipynb", FILES[0]):
        assert notebooks._find(name) == FILES[0]
    own = make("n = 1", name="01_schema_setup")
    assert notebooks._find("01_schema_setup.ipynb") == own
    with pytest.raises(UsageError, match=r"no parameter 'recreate' \(there are: n\)"):  # not the model of ours
        run(own, {"recreate": "true"})
    with pytest.raises(UsageError, match="begins with 02: say 02_ingest_daily or 02_ingest_sample"):
        notebooks._find("02")
    for name in ("06", "1", "", "elsewhere/01_schema_setup.ipynb"):
        with pytest.raises(UsageError, match=r"no notebook .*; there are: 01_schema_setup, .*05_explore, or a path"):
            notebooks._find(name)


def test_an_installed_wheel_has_its_notebooks_inside(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    inside = place / "site" / "screener_data" / "_notebooks"
    inside.mkdir(parents=True)
    (inside / "03_validate.ipynb").write_bytes(FILES[3].read_bytes())
    monkeypatch.setattr(notebooks, "__file__", str(inside.with_name("notebooks.py")))
    assert notebooks._find("03") == inside / "03_validate.ipynb"
    with pytest.raises(UsageError, match="fail_on"):
        run("03", {"fail_on": "?"})


def test_what_is_no_notebook_is_refused(place: Path) -> None:
    for content in ("no json", '{"cells": 1}', "[]"):
        (place / "x.ipynb").write_text(content)
        with pytest.raises(UsageError, match=r"x\.ipynb is not a notebook"):
            run(place / "x.ipynb")


def test_a_folder_that_cannot_be_written_is_a_wrong_setting(make: Make, place: Path) -> None:
    (place / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot be kept in .*file.runs"):
        run(make("n = 1"), output_dir=place / "file" / "runs")


# --- running --------------------------------------------------------------------------------------------------------


@pytest.fixture
def foreign_kernels(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose kernels all are somebody else's."""
    folder = place / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(place / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")


WITNESS = """
import hashlib, json, os, sys
secret = hashlib.sha256(os.environ["ODD_SECRET"].encode()).hexdigest()
home, folder = os.environ["SCREENER_HOME"], os.getcwd()
encrypted = "curve_publickey" in open(get_ipython().kernel.parent.connection_file).read()
print(json.dumps([symbol, count, names, sys.executable, folder, home, secret, encrypted]))
"""


@pytest.mark.usefixtures("foreign_kernels")
def test_the_kernel_is_this_python_with_the_callers_settings(
    make: Make, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ODD_SECRET", "a$HOME$$b{c}-long-enough")
    kernelspec = {"name": "quantlab-py311", "display_name": "Quant Lab", "language": "python"}
    path = make('symbol = ""\ncount = 0\nnames = []', WITNESS, name="{odd} näme", metadata={"kernelspec": kernelspec})
    result = run(path, {"symbol": "0700", "count": "3", "names": '["NA"]'}, progress=True)
    assert result.ok, result.error
    secret = hashlib.sha256(b"a$HOME$$b{c}-long-enough").hexdigest()
    assert json.loads(shown(result.output)) == [
        *("0700", 3, ["NA"]),
        *(sys.executable, str(place), str(place / "home"), secret, True),
    ]
    (output,) = runs(place)
    assert re.fullmatch(r"\{odd\} näme-\d{8}T\d{6}Z\.ipynb", output)
    assert result == RunResult("{odd} näme", place / "runs" / output, True, result.seconds, None)
    assert 0 < result.seconds < 120
    talk = capfd.readouterr()
    assert "Executing" in talk.err
    assert "WARNING" not in talk.err
    assert talk.out == ""


def test_a_bar_is_shown_on_terminals_only(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, progress_bar, **__: asked.append(progress_bar))
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True))
    for progress in (None, False):
        run(make("n = 1"), progress=progress)
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: False))
    run(make("n = 1"))
    assert asked == [True, False, False]


def test_exit_0_ends_a_notebook_early_and_well(make: Make, place: Path) -> None:
    result = run(make("n = 1", "import sys; sys.exit(0)", "1 / 0"), output_dir=place / "runs" / "deeper")
    assert result.ok
    assert result.output.parent == place / "runs" / "deeper"


@pytest.mark.parametrize(
    ("cell", "seconds", "reason"),
    [("import os; os._exit(1)", 60, r"own: Kernel died"), ("import time; time.sleep(60)", 1, r"own: .*after 1 sec")],
    ids=["dies", "takes-too-long"],
)
def test_a_lost_kernel_is_an_error_and_its_output_is_kept(
    cell: str, seconds: int, reason: str, make: Make, place: Path
) -> None:
    path = make("print('so far')", cell, metadata={"execution": {"timeout": seconds}})
    with pytest.raises(NotebookError, match=reason) as caught:
        run(path)
    (output,) = runs(place)
    assert output.endswith(".failed.ipynb")
    assert output in str(caught.value)
    assert "so far" in shown(place / "runs" / output)


def test_an_interrupted_run_is_kept_as_failed(make: Make, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(papermill, "execute_notebook", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(make("n = 1"))
    assert [name.partition(".")[2] for name in runs(place)] == ["failed.ipynb"]


# --- outputs --------------------------------------------------------------------------------------------------------

RUN = "import sys; from screener_data import notebooks; sys.exit(not notebooks.run(sys.argv[1]).ok)"


def test_runs_of_one_second_get_names_of_their_own(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = dt.datetime(2025, 7, 1, 3, 15, tzinfo=dt.UTC)
    monkeypatch.setattr(notebooks, "dt", SimpleNamespace(datetime=SimpleNamespace(now=lambda _: now), UTC=dt.UTC))
    first, second = notebooks._reserve(place, "x"), notebooks._reserve(place, "x")
    (place / f".{first}.partial.ipynb").rename(place / f"{first}.failed.ipynb")
    assert [first, second, notebooks._reserve(place, "x")] == [
        *("x-20250701T031500Z", "x-20250701T031500Z-2", "x-20250701T031500Z-3")
    ]


def test_two_runs_at_once_do_not_collide(make: Make, place: Path) -> None:
    path = make("n = 1", "print('done')")
    both = [subprocess.Popen([sys.executable, "-c", RUN, str(path)]) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    names = runs(place)
    assert len(names) == 2
    for name in names:
        assert re.fullmatch(r"own-\d{8}T\d{6}Z(-2)?\.ipynb", name)
        assert "done" in shown(place / "runs" / name)


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_killed_run_leaves_only_a_partial_file_without_secrets(
    make: Make, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCREENER_SAMPLE_TOKEN", "tok-0123456789abcdef")
    cells = ("import os", "print('shown:', os.environ['SCREENER_SAMPLE_TOKEN'])", "import time; time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", RUN, str(make(*cells))])
    deadline = time.monotonic() + 120
    while not any("shown: ***" in path.read_text() for path in (place / "runs").glob(".*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    (name,) = runs(place)
    assert re.fullmatch(r"\.own-\d{8}T\d{6}Z\.partial\.ipynb", name)
    assert "tok-0123" not in (place / "runs" / name).read_text()


# --- secrets --------------------------------------------------------------------------------------------------------

BABBLE = """
import html, json, os
from urllib.parse import quote
from IPython.display import HTML, display
url, token = os.environ["SCREENER_DATABASE_URL"], os.environ["SCREENER_SAMPLE_TOKEN"]
print(url, token, os.environ["UPSTOX_API_KEY"], password, "postgresql")
display(HTML(f"<td>{html.escape(password)}</td>"), {"json": json.dumps([password, quote(password)])})
display({"application/json": {"deep": [{"down": token}]}}, raw=True)
raise ValueError(f"cannot reach {url} with {token}")
"""


def test_no_secret_reaches_the_disk(make: Make, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = URL.create("postgresql", "me", PASSWORD, "localhost", database="x").render_as_string(hide_password=False)
    secrets = {"SCREENER_SAMPLE_TOKEN": "tok-0123456789abcdef", "UPSTOX_API_KEY": "postgres"}
    for name, value in {**secrets, "SCREENER_DATABASE_URL": url}.items():
        monkeypatch.setenv(name, value)
    other = "https://robot:l3tm31n@example.org/x"
    result = run(make('password = ""\naddress = ""', BABBLE), {"password": PASSWORD, "address": other})
    assert not result.ok
    assert result.error == "ValueError: cannot reach postgresql://me:***@localhost/x with ***"
    kept = result.output.read_text(encoding="utf-8")
    for secret in (url, PASSWORD, "s3cr", "tok-0123", "l3tm31n"):
        assert secret not in kept, secret
        assert json.dumps(secret)[1:-1] not in kept, secret
    assert "https://robot:***@example.org/x" in kept  # the parameter's record
    assert "postgresql://me:***@localhost/x *** *** *** postgresql" in kept  # a short secret as a word only
    assert nbformat.read(result.output, as_version=4).metadata.papermill.parameters.password == "***"


def test_secrets_are_found_where_they_hide() -> None:
    found = notebooks._Redactor(
        {
            "PGPASSWORD": "a-password-of-libpq",
            "SERVICE_DSN": "postgresql://me@host/db?password=in-the-query-1",
            "DATABASE_URL": "postgresql://me:with/slash@host/db",
            "SOME_TOKEN": "abc",
            "PROXY": "http://[bad",
            "EMPTY_SECRET": "",
        }
    )
    assert found("a-password-of-libpq in-the-query-1 with/slash abc") == "*** *** *** abc"
    assert notebooks._Redactor({}).all({"a": ["x", 1, None]}) == {"a": ["x", 1, None]}


def test_the_kernel_gets_settings_that_only_a_dotenv_file_has(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "alembic.ini").touch()
    (place / ".env").write_text("SCREENER_DATABASE_URL=postgresql://me:from-a-file@host/db\n")
    monkeypatch.delenv("SCREENER_DATABASE_URL", raising=False)
    monkeypatch.delenv("SCREENER_HOME")
    monkeypatch.chdir(place)
    environment = notebooks._environment(place / "runs")
    assert environment["SCREENER_DATABASE_URL"] == "postgresql://me:from-a-file@host/db"
    assert environment["SCREENER_HOME"] == str(place / ".screener")
    assert environment["SCREENER_RUNS"] == str(place / "runs")
    assert environment["PATH"] == os.environ["PATH"]


# --- those of ours -----------------------------------------------------------------------------------------------


@pytest.fixture
def empty_database(empty_url: URL, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A database without tables, which SCREENER_DATABASE_URL names."""
    monkeypatch.setenv("SCREENER_DATABASE_URL", empty_url.render_as_string(hide_password=False))
    engine = create_engine(empty_url)
    yield engine
    engine.dispose()


def one(engine: Engine, query: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(text(query)).scalar()


def succeed(name: str, **parameters: str) -> Path:
    result = run(name, parameters)
    assert result.ok, result.error
    return result.output


def test_all_run_in_one_database(empty_database: Engine, place: Path) -> None:
    outputs = [succeed("01_schema_setup"), succeed("02_ingest_sample", **SMALL)]
    assert one(empty_database, "SELECT count(DISTINCT date) FROM ohlcv_daily") == 120
    bars = one(empty_database, "SELECT count(*) FROM ohlcv_daily")
    read = one(empty_database, "SELECT sum(read) FROM load_files")
    assert f"'{read:,} rows of " in shown(outputs[1])
    assert "GHOSTCO" in shown(outputs[1])
    assert "exchange_price_kept" in shown(outputs[1])

    outputs.append(succeed("02_ingest_sample", **SMALL))  # again
    assert one(empty_database, "SELECT count(*) FROM ohlcv_daily") == bars
    again = "FROM load_files WHERE id > (SELECT max(id) / 2 FROM load_files)"
    assert one(empty_database, f"SELECT sum(inserted) {again}") == 0
    assert one(empty_database, f"SELECT sum(unchanged) {again}") > bars - 200

    outputs.append(succeed("03", since="2025-06-01"))
    assert "checks, none failed" in shown(outputs[-1])
    chart, trend = charts(outputs[-1])
    assert [trace["name"] for trace in trend["data"]]
    assert {trace["name"] for trace in chart["data"]} <= {"usual", "thin", "on a holiday"}
    days = [day for trace in chart["data"] for day in trace["x"]]
    assert min(days).startswith("2025-06-02")  # the first session since

    outputs.append(succeed("04"))
    rows = one(empty_database, "SELECT count(*) FROM calculated_metrics")
    assert re.search(rf"2025-06-30 +{rows} +0 +0 +0$", shown(outputs[-1]), re.MULTILINE)
    assert "that takes 253 sessions of history" in shown(outputs[-1])  # a sentence, and no empty chart
    assert "that takes 34 weeks of history" in shown(outputs[-1])
    assert charts(outputs[-1]) == []

    outputs.append(succeed("01", recreate="true"))
    assert one(empty_database, "SELECT count(*) FROM load_files") == 0
    password = empty_database.url.password
    for output in outputs:
        assert password is None or password not in output.read_text(encoding="utf-8")
        assert output.stat().st_size < 200_000  # no library of charts inside
    assert runs(place) == sorted(output.name for output in outputs)


def charts(output: Path) -> list[Any]:
    cells = nbformat.read(output, as_version=4).cells
    shown = [each.get("data", {}) for cell in cells for each in cell.get("outputs", [])]
    return [data["application/vnd.plotly.v1+json"] for data in shown if "application/vnd.plotly.v1+json" in data]


@on_the_embedded_server
def test_leaders_of_a_year_are_shown(engine: Engine, place: Path) -> None:
    samples.write(place / "market", symbols=25, sessions=260)
    sd.load(place / "market")
    output = succeed("04")
    ratings, stages = charts(output)
    assert ratings["layout"]["title"]["text"] == "Shares by rating"
    assert {trace["name"] for trace in stages["data"]} <= {"1 base", "2 rise", "3 top", "4 decline"}
    assert len({day for trace in stages["data"] for day in trace["x"]}) > 50
    best = """SELECT symbol FROM calculated_metrics WHERE date = '2025-06-30' AND stage = 2 AND rs_rating IS NOT NULL
        ORDER BY rs_rating DESC LIMIT 1"""
    assert re.search(rf"^{re.escape(one(engine, best))} +\w+", shown(output), re.MULTILINE)

    output = succeed("04", from_day="2025-06-02", to_day="2025-06-10")
    days = "SELECT count(*) FROM calculated_metrics WHERE date BETWEEN '2025-06-02' AND '2025-06-10'"
    assert re.search(rf"2025-06-02 +2025-06-10 +0 +0 +{one(engine, days)} +0$", shown(output), re.MULTILINE)
    assert "Nothing was missing" in shown(succeed("04"))


def test_an_error_that_ipython_tells_on_stderr_alone_is_told(make: Make) -> None:
    result = run(make("n = 1", "%load_ext screener_data", "%screen_sql DELETE FROM securities"))
    assert result.error == "UsageError: DELETE is refused: only reading is allowed here (SELECT, WITH, VALUES, TABLE)"


@on_the_embedded_server
def test_a_fault_fails_the_validation_after_it_is_shown(engine: Engine, market: Path, place: Path) -> None:
    sd.load(market)
    warned = run("03", {"fail_on": "warning"})
    assert warned.error is not None
    assert re.fullmatch(r"NotebookError: \d+ of \d+ checks failed: .*rejects_waiting.*", warned.error)

    with engine.begin() as connection:
        connection.execute(text("DELETE FROM ohlcv_daily WHERE date = (SELECT max(date) FROM ohlcv_daily)"))
    (fault,) = [finding for finding in quality.check() if finding.failed]
    result = run("03")
    assert not result.ok
    assert result.error is not None
    assert fault.name in result.error
    assert result.output.name.endswith(".failed.ipynb")
    assert fault.examples[0] in shown(result.output)
    assert len(charts(result.output)) == 2
    assert run("03", {"fail_on": "never"}).ok


@on_the_embedded_server
@pytest.mark.usefixtures("engine")
def test_a_refused_file_fails_the_ingestion_after_it_is_shown(place: Path) -> None:
    folder = place / "downloads"
    folder.mkdir()
    (folder / "EQUITY_L.csv").write_text("<html><body>Access Denied</body></html>")
    result = run("02_ingest_sample", {"folder": str(folder), "source": "nse_securities"})
    assert result.error is not None
    assert result.error.startswith("NotebookError: 1 of 1 files failed, the first: ")
    assert result.error.endswith("EQUITY_L.csv")
    assert "failure" in shown(result.output)


def call(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *map(str, words)], cwd=ROOT, capture_output=True, text=True)


@on_the_embedded_server
def test_plain_papermill_runs_them(engine: Engine, place: Path) -> None:
    small = [word for name, value in SMALL.items() for word in ("-p", name, value)]
    done = call("papermill", SAMPLE, place / "out.ipynb", *small)
    assert done.returncode == 0, done.stderr
    assert "each accounted for" in shown(place / "out.ipynb")
    assert one(engine, "SELECT count(DISTINCT date) FROM ohlcv_daily") == 120


@on_the_embedded_server
def test_nbmake_runs_them_small(empty_database: Engine) -> None:
    done = call("pytest", "--nbmake", "--nbmake-kernel=python3", "-p", "no:cacheprovider", "-q", "notebooks")
    assert done.returncode == 0, done.stdout
    assert f"{len(NOTEBOOKS)} passed" in done.stdout
    assert one(empty_database, "SELECT count(DISTINCT date) FROM ohlcv_daily") == 120  # the mock, not 300
