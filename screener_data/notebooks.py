"""Notebooks as programs: typed parameters in, an executed copy with all that it showed out, an honest verdict.

>>> from screener_data import notebooks
>>> notebooks.run("02_ingest_sample", {"symbols": "40"}).output  # doctest: +SKIP
PosixPath('runs/02_ingest_sample-20250701T031500Z.ipynb')

A notebook fails when a cell raises. `sys.exit(0)` in a cell ends it early and counts as success.
"""

from __future__ import annotations

import ast
import datetime as dt
import html
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, quote_plus

import nbformat
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import papermill_io
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Json, SecretStr, ValidationError, create_model
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError
from traitlets import default

from screener_data.config import settings
from screener_data.errors import ConfigError, NotebookError, UsageError
from screener_data.loaders import SOURCES

__all__ = [
    "NOTEBOOKS",
    "Explore",
    "IngestDaily",
    "IngestSample",
    "Metrics",
    "Parameters",
    "RunResult",
    "SchemaSetup",
    "Validate",
    "check",
    "redacted",
    "run",
    "to_html",
]

# --- parameters -----------------------------------------------------------------------------------------------------


class Parameters(BaseModel):
    """What a notebook can be told. Names, types, defaults and descriptions equal those of its parameters cell."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _day_or_nothing(value: str) -> str:
    if value:
        dt.date.fromisoformat(value)
    return value


def _source_or_nothing(value: str) -> str:
    if value and value not in SOURCES:
        raise ValueError(f"there are: {', '.join(SOURCES)}")
    return value


def _sources_or_nothing(value: str) -> str:
    for name in value.split(",") if value else ():
        _source_or_nothing(name.strip() or ",")
    return value


class SchemaSetup(Parameters):
    """01_schema_setup: make the tables."""

    recreate: bool = Field(default=False, description="true drops every table first: ALL DATA IS LOST")


class IngestDaily(Parameters):
    """02_ingest_daily: fetch a session, load it, compute, check."""

    date: Annotated[str, AfterValidator(_day_or_nothing)] = Field(
        default="", description="the session, like 2025-06-27; empty: the last one"
    )
    sources: Annotated[str, AfterValidator(_sources_or_nothing)] = Field(
        default="", description="whose files, like nse_bhavcopy,nse_indices; empty: all"
    )


class IngestSample(Parameters):
    """02_ingest_sample: load files."""

    folder: str = Field(default="", description="what to load; empty: an invented market, made in SCREENER_HOME/sample")
    seed: int = Field(default=7, ge=0, description="of the invented market")
    symbols: int = Field(default=60, ge=25, le=200, description="its equities")
    sessions: int = Field(default=300, ge=120, description="its trading days")
    source: Annotated[str, AfterValidator(_source_or_nothing)] = Field(
        default="", description="of the files; empty: told by header and name"
    )


class Validate(Parameters):
    """03_validate: check what is stored."""

    fail_on: Literal["error", "warning", "never"] = Field(
        default="error", description="the least severity that fails the notebook: error, warning or never"
    )
    since: Annotated[str, AfterValidator(_day_or_nothing)] = Field(
        default="", description="the chart's first day, like 2025-01-16; empty: from the beginning"
    )


class Metrics(Parameters):
    """04_metrics: compute and store metrics, and show the last session."""

    from_day: Annotated[str, AfterValidator(_day_or_nothing)] = Field(
        default="",
        description="compute again from this day on, like 2025-01-16; empty: only what is missing or no longer right",
    )
    to_day: Annotated[str, AfterValidator(_day_or_nothing)] = Field(
        default="", description="up to this day; empty: to the end"
    )


class Explore(Parameters):
    """05_explore: from the whole market to one share."""

    day: Annotated[str, AfterValidator(_day_or_nothing)] = Field(
        default="", description="the session to look at, like 2025-01-16; empty: the last one with metrics"
    )
    symbol: str = Field(
        default="", description="the share to look at in depth; empty: the strongest of those that rise"
    )


#: The notebooks of the package and their parameters. Those of other notebooks are read from their parameters cell.
NOTEBOOKS: dict[str, type[Parameters]] = {
    "01_schema_setup": SchemaSetup,
    "02_ingest_daily": IngestDaily,
    "02_ingest_sample": IngestSample,
    "03_validate": Validate,
    "04_metrics": Metrics,
    "05_explore": Explore,
}

_KINDS: dict[str, Any] = {"bool": bool, "int": int, "float": float, "str": str, "list": Json[list[Any]]}
_KINDS["dict"] = Json[dict[str, Any]]


def _model(path: Path, document: Any) -> type[Parameters]:
    """The parameters that a notebook takes: declared above for our own, else what its parameters cell assigns."""
    if path.parent == _folder() and path.stem in NOTEBOOKS:
        return NOTEBOOKS[path.stem]
    cells = [cell.source for cell in document.cells if "parameters" in cell.metadata.get("tags", [])]
    fields: dict[str, Any] = {}
    for statement in ast.parse("\n".join(cells)).body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                fields[name] = (_kind(annotation, value), None)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                fields[name] = (_kind(None, value), None)
    return create_model(path.stem, __base__=Parameters, **fields)


def _kind(annotation: ast.expr | None, value: ast.expr | None) -> Any:
    """The type that is written there, else that of the default; text where neither tells."""
    for node in ast.walk(annotation) if annotation is not None else ():
        if isinstance(node, ast.Name) and node.id in _KINDS:
            return _KINDS[node.id]
    with suppress(ValueError):
        return _KINDS.get(type(ast.literal_eval(value)).__name__, str) if value is not None else str
    return str


def _typed(path: Path, document: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    if not given:
        return {}
    try:
        model = _model(path, document)
    except SyntaxError as error:
        raise UsageError(f"{path.name}: its parameters cell is not plain Python: {error.msg}") from None
    try:
        return model.model_validate(dict(given)).model_dump(exclude_unset=True)
    except ValidationError as error:
        known = ", ".join(model.model_fields) or "none"
        problems = []
        for each in error.errors():
            name = str(each["loc"][0])
            if each["type"] == "extra_forbidden":
                problems.append(f"no parameter {name!r} (there are: {known})")
            else:
                kind = _name(model.model_fields[name].annotation)
                problems.append(f"parameter {name} ({kind}): {each['msg']}; given: {given[name]!r}")
        raise UsageError(f"{path.stem}: " + "; ".join(problems)) from None


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


# --- running --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunResult:
    """How a notebook ended. `output` is the executed copy; `error` is the reason in one line, None when all is well."""

    notebook: str
    output: Path
    ok: bool
    seconds: float
    error: str | None


#: Seconds for one cell; a notebook's own `metadata.execution.timeout`, which nbmake knows too, goes before.
_LONGEST_CELL = 4 * 3600


def run(
    notebook: str | Path,
    parameters: Mapping[str, str] | None = None,
    *,
    output_dir: str | Path | None = None,
    progress: bool | None = None,
) -> RunResult:
    """Execute a notebook: one of ours by its name (`01_schema_setup`, `01`), or any by its path.

    The executed copy lands in `output_dir` (default: SCREENER_RUNS) as `<name>-<UTC time>.ipynb`, or as
    `….failed.ipynb` with all that was shown until the error; `.….partial.ipynb` is a run under way, or one that was
    killed. Passwords in addresses, and the values of secrets in the environment, are never written. The kernel is
    this Python with the caller's settings, whatever kernels the notebook names or the machine has.

    `progress`: show a bar (default: on a terminal). Raises UsageError (no such notebook, a wrong parameter) and
    NotebookError (the kernel died or a cell took too long; the copy is kept as failed, too).
    """
    path, document, values = _prepared(notebook, parameters)
    folder = Path(output_dir or settings().runs).expanduser().absolute()
    environment = _environment(folder)
    redact = _Redactor(environment)
    stem = _reserve(folder, path.stem)
    partial = folder / f".{stem}.partial.ipynb"
    started, error = time.monotonic(), "stopped"
    _STORE.redactors[str(partial)] = redact
    try:
        papermill.execute_notebook(
            _unformatted(path),
            _SCHEME + _unformatted(partial),
            values,
            kernel_name="python3",
            language="python",
            kernel_manager_class=_kernel(environment),
            cwd=str(path.parent),
            start_timeout=120,
            execution_timeout=document.metadata.get("execution", {}).get("timeout", _LONGEST_CELL),
            progress_bar=sys.stderr.isatty() if progress is None else progress,
        )
        error = ""
    except PapermillExecutionError as failure:
        error = redact(_told(failure, partial).strip().partition("\n")[0])
    except (RuntimeError, TimeoutError) as failure:  # the kernel died, did not start or did not end
        reason = redact(str(failure).strip().partition("\n")[0])
        output = folder / f"{stem}.failed.ipynb"
        raise NotebookError(f"{path.stem}: {reason} What it did so far: {output}", output=output) from None
    finally:
        del _STORE.redactors[str(partial)]
        output = folder / (f"{stem}.failed.ipynb" if error else f"{stem}.ipynb")
        partial.replace(output)
    return RunResult(path.stem, output, not error, time.monotonic() - started, error or None)


def _told(failure: PapermillExecutionError, output: Path) -> str:
    """What a cell failed of: its error, or, where IPython told that in a line on stderr alone, that line."""
    if failure.evalue:
        return f"{failure.ename}: {failure.evalue}"
    failed = [cell for cell in _read(output).cells if cell.metadata.get("papermill", {}).get("status") == "failed"]
    said = [each.text for cell in failed for each in cell.get("outputs", []) if each.get("name") == "stderr"]
    return "".join(said) or failure.ename


def check(notebook: str | Path, parameters: Mapping[str, str] | None = None) -> None:
    """Raises the UsageError that `run` would raise, before anything runs."""
    _prepared(notebook, parameters)


# --- as a page ------------------------------------------------------------------------------------------------------

_PLOTLY = "application/vnd.plotly.v1+json"
_PAGE = "offline.html.j2"
#: nbconvert's page without what it would fetch (formulas, diagrams, widgets), and a browser that is told to fetch
#: nothing: a picture by its address in some cell stays away, and nobody learns who reads the report.
_TEMPLATE = """{% extends "lab/index.html.j2" %}
{% block html_head_js %}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval';
 style-src 'unsafe-inline'; img-src data: blob:; font-src data:">
<script>{{ resources.plotly_js }}</script>
{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
"""


def to_html(path: str | Path, output: str | Path | None = None) -> Path:
    """A notebook with its outputs as one page that needs no network; figures stay alive. The page's path.

    `output`: where to; default: beside the notebook, with `.html`. It is replaced at once or not at all. Passwords in
    addresses, and the values of secrets in the environment, are not in it. Raises UsageError where there is no
    notebook, ConfigError where the page cannot be written.

    >>> notebooks.to_html("runs/02_ingest_sample-20250701T031500Z.ipynb")  # doctest: +SKIP
    PosixPath('runs/02_ingest_sample-20250701T031500Z.html')
    """
    from jinja2 import DictLoader  # here, since running a notebook needs none of them
    from nbconvert import HTMLExporter
    from plotly.offline import get_plotlyjs

    source = Path(path).expanduser()
    target = Path(output).expanduser() if output is not None else source.with_suffix(".html")
    document = nbformat.from_dict(redacted(_read(source)))  # type: ignore[no-untyped-call]
    figures = _with_figures(document)
    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        extra_loaders=[DictLoader({_PAGE: _TEMPLATE})], template_file=_PAGE
    )
    resources = {"metadata": {"name": source.stem}, "plotly_js": get_plotlyjs() if figures else ""}
    page, _ = exporter.from_notebook_node(document, resources)
    partial = target.with_name(f".{target.stem}.partial-{os.getpid()}.html")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(target)
    except OSError as error:
        raise ConfigError(f"the page cannot be written to {target}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
    return target


def _with_figures(document: Any) -> int:
    """Put a drawing in each place where only JupyterLab would draw one. How many there are."""
    from plotly.io import to_html

    figures = [
        output.data
        for cell in document.cells
        for output in cell.get("outputs", [])
        if _PLOTLY in output.get("data", {})
    ]
    for data in figures:
        figure = {part: data[_PLOTLY].get(part, {}) for part in ("data", "layout")}
        drawn = to_html(
            figure,
            config={"responsive": True, "displaylogo": False},
            include_plotlyjs=False,
            full_html=False,
            validate=False,
        )
        data.clear()
        data["text/html"] = drawn
    return len(figures)


def _prepared(notebook: str | Path, parameters: Mapping[str, str] | None) -> tuple[Path, Any, dict[str, Any]]:
    path = _find(notebook)
    document = _read(path)
    return path, document, _typed(path, document, parameters or {})


def _folder() -> Path:
    package = Path(__file__).parent
    checkout, installed = package.parent / "notebooks", package / "_notebooks"
    return checkout if (checkout / f"{next(iter(NOTEBOOKS))}.ipynb").is_file() else installed


def _find(notebook: str | Path) -> Path:
    given = Path(notebook).expanduser()
    if given.suffix == ".ipynb" and given.is_file():
        return given.absolute()
    ours = sorted(_folder().glob("*.ipynb"))
    if given.parent in (Path(), Path("notebooks")):
        name = given.name.removesuffix(".ipynb")
        found = [path for path in ours if name in (path.stem, path.stem.partition("_")[0])]
        if len(found) > 1:
            both = " or ".join(path.stem for path in found)
            raise UsageError(f"more than one notebook begins with {name}: say {both}")
        if found:
            return found[0]
    raise UsageError(f"no notebook {str(notebook)!r}; there are: {', '.join(path.stem for path in ours)}, or a path")


def _read(path: Path) -> Any:
    try:
        return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    # nbformat trips over wrong documents in many ways
    except (OSError, ValueError, LookupError, TypeError, AttributeError, nbformat.ValidationError) as error:
        raise UsageError(f"{path} is not a notebook: {type(error).__name__}") from None


def _environment(runs: Path) -> dict[str, str]:
    """The caller's environment and settings: the kernel works on the same database, wherever the notebook lies."""
    found = settings().model_copy(update={"runs": runs})
    environment = dict(os.environ)
    for name, value in found:
        if value is not None:
            secret = isinstance(value, SecretStr)
            environment[f"SCREENER_{name.upper()}"] = value.get_secret_value() if secret else str(value)
    return environment


def _kernel(environment: Mapping[str, str]) -> type[AsyncKernelManager]:
    """A kernel that is this very Python, and encrypts what it says where that is possible."""
    given = {name: value.replace("$", "$$") for name, value in environment.items()}  # else `$NAME` is filled in

    class ThisPython(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            # quiet, since it calls the interrupt with which each shutdown begins an error
            return KernelSpec(**get_kernel_dict(["--log-level=CRITICAL"]), env=given)

        @default("transport_encryption")
        def _encrypted(self) -> str:
            return "auto"

    return ThisPython


def _reserve(folder: Path, name: str) -> str:
    """A name for this run alone, held by its partial file: also when several start in the same second."""
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            stem = f"{name}-{stamp}" + (f"-{number}" if number > 1 else "")
            partial = folder / f".{stem}.partial.ipynb"
            with suppress(FileExistsError):
                partial.touch(exist_ok=False)
                if not any((folder / f"{stem}{end}").exists() for end in (".ipynb", ".failed.ipynb")):
                    break
                partial.unlink()
    except OSError as error:
        raise ConfigError(f"executed notebooks cannot be kept in {folder}: {error.strerror}") from None
    return stem


def _unformatted(path: Path) -> str:
    return str(path).replace("{", "{{").replace("}", "}}")  # papermill fills in paths by str.format


# --- secrets --------------------------------------------------------------------------------------------------------

_HIDDEN = "***"
_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):([^\s/@]+)@")


def redacted(value: Any) -> Any:
    """A JSON document or text as it may be shown: without passwords in addresses, and without the secrets in force."""
    return _Redactor(_environment(settings().runs)).all(value)


class _Redactor:
    """Takes secrets out of text: passwords in addresses, and what the environment's secrets are.

    A secret of less than 12 letters is only taken for one where it stands as a word of its own: the password
    `postgres` is not to be cut out of `postgresql`. Less than 4 letters are no secret.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        lines = {line for secret in _secrets(environment) for line in secret.splitlines() if len(line) >= 4}
        words = sorted({word for line in lines for word in _spellings(line)}, key=len, reverse=True)
        patterns = [re.escape(word) if len(word) >= 12 else rf"(?<!\w){re.escape(word)}(?!\w)" for word in words]
        self._words = re.compile("|".join(patterns) or "(?!)")

    def __call__(self, text: str) -> str:
        return _PASSWORD.sub(rf"\1:{_HIDDEN}@", self._words.sub(_HIDDEN, text))

    def all(self, value: Any) -> Any:
        """The same for each text in a JSON document, which stays one, whatever the secrets are."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, list):
            return [self.all(each) for each in value]
        if isinstance(value, dict):
            return {name: self.all(each) for name, each in value.items()}
        return value


def _secrets(environment: Mapping[str, str]) -> Iterable[str]:
    for name, value in environment.items():
        if name.upper().endswith(("TOKEN", "SECRET", "PASSWORD", "API_KEY")):
            yield value
        elif name.upper().endswith("WEBHOOK_URL"):  # who knows it can write there; parts of it come in messages, too
            yield from (value, *(part for part in re.split(r"[/?&=:@]", value) if len(part) >= 12))
        elif "://" in value:
            yield from (found[2] for found in _PASSWORD.finditer(value))
            with suppress(ArgumentError, ValueError):
                url = make_url(value)
                yield from filter(None, (url.password, *url.normalized_query.get("password", ())))


def _spellings(secret: str) -> set[str]:
    """As it is, and as it looks in an address, a table, JSON or Python, or in up to three of them, one in the other."""
    found = {secret}
    for _ in range(3):
        found |= {spell(each) for spell in _SPELLINGS for each in found}
    return found


_SPELLINGS: tuple[Callable[[str], str], ...] = (
    quote,
    lambda text: quote(text, safe=""),
    quote_plus,
    html.escape,
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: repr(text)[1:-1],
    lambda text: text.encode("unicode_escape").decode(),
    lambda text: text.replace('"', r"\""),
    lambda text: text.replace("'", r"\'"),
)


class _Store:
    """Papermill's way to the disk. Each write is redacted, so that a killed run leaves no secret behind, either."""

    def __init__(self) -> None:
        self.redactors: dict[str, _Redactor] = {}

    def write(self, text: str, path: str) -> None:
        path = path.removeprefix(_SCHEME)
        document = json.loads(text)
        document["metadata"].get("papermill", {}).pop("output_path", None)  # it would name the partial file
        shown = self.redactors[path].all(document)
        Path(path).write_text(json.dumps(shown, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def pretty_path(path: str) -> str:
        return path.removeprefix(_SCHEME)


_SCHEME = "screener-run:"
_STORE = _Store()
papermill_io.register(_SCHEME, _STORE)
