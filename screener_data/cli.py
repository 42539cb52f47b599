"""The command line, `screener-data`: data on stdout, talk on stderr, the exit code tells."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import pandas as pd
import typer
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from typer.core import TyperGroup

from screener_data import fetching, ingest, quality, read
from screener_data import schedule as evenings
from screener_data.config import settings, workspace
from screener_data.database import dump, migrate
from screener_data.database.engine import connect, database_url, embedded_server, for_programs, reason_of
from screener_data.database.reader import READER, request
from screener_data.database.setup import set_up
from screener_data.errors import DatabaseError, ScreenerError, UsageError
from screener_data.gaps import gaps as gaps_of
from screener_data.gaps import plan
from screener_data.loaders import SOURCES
from screener_data.screens import screen as screened
from screener_data.screens import screens

__all__ = ["app"]


class _Commands(TyperGroup):
    """Turns our errors into one line on stderr and an exit code: 2 for wrong usage, 1 for all others."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ScreenerError as error:
            _say(f"error: {error}")
            raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None
        except SQLAlchemyError as error:
            _say(f"error: the database refused: {reason_of(error)}")
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Audited daily data of Indian equities (NSE).",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document.")]
Source = Annotated[str | None, typer.Option(help=f"One of: {', '.join(SOURCES)}.")]


@app.callback()
def _talk() -> None:
    """Audited daily data of Indian equities (NSE)."""
    logger = logging.getLogger("screener_data")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _Talk) for handler in logger.handlers):
        logger.addHandler(_Talk())


@app.command()
def init() -> None:
    """Start the embedded server, or reach the given one, bring the tables to the newest version, let a role read."""
    engine = _initialised()
    _say(f"ready: {engine.url.render_as_string(hide_password=True)}, schema {migrate.current(engine)}")


def _initialised() -> Engine:
    engine = connect()
    if not set_up(engine) and settings().reader_url is None:
        _say(
            f"note: the user {engine.url.username} may not make the role {READER}, or not become it. To explore as one "
            "who can only read, ask the server's administrator for what `screener-data reader-sql` prints, then run "
            "`screener-data init` again."
        )
    return engine


@app.command()
def backup(
    file: Annotated[Path | None, typer.Argument(help="Where to; else a new file in SCREENER_HOME/backups.")] = None,
) -> None:
    """Write all tables into one file of pg_dump's, and print its path. The file is whole, or it is not there."""
    made = dump.backup(file)
    typer.echo(made)
    _say(f"{made.stat().st_size:,} bytes; `screener-data restore {made}` brings them back")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `backup` has written.")],
    replace: Annotated[bool, typer.Option("--replace", help="Give up the rows that are stored now.")] = False,
) -> None:
    """Bring a backup back, and the tables to the newest version. If it fails, nothing has changed."""
    rows = dump.restore(file, replace=replace)
    engine = _initialised()
    _say(f"restored {sum(rows.values()):,} rows of {len(rows)} tables, schema {migrate.current(engine)}")


@app.command()
def schedule(
    kind: Annotated[Literal["cron", "systemd"], typer.Argument(help="What is to start it.")],
    at: Annotated[str, typer.Option(metavar="HH:MM", help="The time in India.")] = evenings.AT,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A folder to write the units to; else they are printed.")
    ] = None,
) -> None:
    """Print what makes cron or systemd run `screener-data run evening` every day. Nothing is installed."""
    if exposed := evenings.exposed():
        _say(f"note: others can read {exposed}, where passwords are: chmod 600 it")
    if kind == "cron":
        units, folder = {"crontab": evenings.cron(at)}, None
    else:
        units, folder = evenings.systemd(at), evenings.units_folder()
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    for name, content in units.items():
        if output is None:
            typer.echo(f"# {folder}/{name}\n{content}" if folder else content, nl=folder is not None)
        else:
            (output / name).write_text(content, encoding="utf-8")
            typer.echo(output / name)
    if folder:
        user = "" if folder.startswith("/") else "--user "
        started = " ".join(name for name in sorted(units) if "[Install]" in units[name])
        _say(f"once they are in {folder}: systemctl {user}daemon-reload; systemctl {user}enable --now {started}")
        if user:
            _say("so that they run while you are not logged in: loginctl enable-linger")


@app.command("reader-sql")
def reader_sql() -> None:
    """Print the SQL that makes the read-only role, for the administrator of a given server."""
    typer.echo(request(str(connect().url.username)), nl=False)


@app.command()
def load(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or zips.")],
    source: Source = None,
    as_json: AsJson = False,
) -> None:
    """Load files of the exchange. Exit code 1 if any file failed; rejected rows are kept in the quarantine."""
    _report(ingest.load(paths, source), as_json)


@app.command()
def fetch(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="[SOURCE]…", help="Else all but those asked symbol by symbol.")
    ] = None,
    date: Annotated[str | None, typer.Option(metavar="DAY", help="This day alone; else the last session.")] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="DAY", help="From this day on.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DAY", help="Up to this day.")] = None,
    as_json: AsJson = False,
) -> None:
    """Download what is missing to SCREENER_HOME/raw, then load it. Exit code 1 if a file is missing, or one failed."""
    if date is not None and (first is not None or last is not None):
        raise UsageError("give either --date, or --from and --to")
    done = fetching.fetch(sources or None, date or first, date or last)
    files = [file.model_dump() for file in done.files]
    if as_json:
        _print({"files": files, "loads": [load.model_dump() for load in done.loads]}, as_json)
    else:
        shown = [file for file in files if file["status"] not in ("kept", "no_file")]
        _print(shown, as_json, ["source", "day", "status", "file"])
        _print([load.model_dump() for load in done.loads], as_json, _LOADED)
    for file in (*done.missing, *done.failed):
        what = file.source if file.day is None else f"{file.source} {file.day}"
        _say(f"{file.status}: {what}: {file.error}")
    for load in done.loads:
        if load.error:
            _say(f"error: {load.error}")
    counts = Counter(str(file.status) for file in done.files)
    _say(f"{len(files)} files: " + ", ".join(f"{status} {counts[status]:,}" for status in _STATUSES))
    if not done.ok:
        raise typer.Exit(1)


@app.command()
def rejects(
    source: Source = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the rejected rows that wait: where from, why, and their text."""
    found = read.rejects(source, limit)
    _print(found, as_json, ["source", "file", "line", "reason", "column", "detail", "raw"])


@app.command()
def replay(source: Source = None, as_json: AsJson = False) -> None:
    """Try the rejected rows again."""
    _report(ingest.replay(source), as_json)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the last load of each source, each table's rows and days, and the rejected rows that wait."""
    found = read.status()
    if as_json:
        _print(found, as_json)
        return
    counts = ["read", "inserted", "updated", "unchanged", "rejected", "skipped"]
    for title, rows, columns in (
        ("tables", found["tables"], None),
        ("last load of each source", found["sources"], ["source", "status", "file", *counts]),
        ("rejected rows waiting", found["rejects"], None),
    ):
        if rows:
            typer.echo(f"{title}\n{_table(rows, columns)}\n")


@app.command()
def metrics(
    first: Annotated[str | None, typer.Option("--from", metavar="DAY", help="Compute again from this day on.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DAY", help="Up to this day.")] = None,
    benchmark: Annotated[
        str | None, typer.Option(help="What vars_value is measured against; else the Nifty 50.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compute and store calculated_metrics: what is missing or no longer right, or the days that are asked for."""
    from screener_data.calculation import BENCHMARK, calculate  # here, since the formulas take long to import

    done = calculate(first, last, benchmark=benchmark or BENCHMARK)
    if as_json:
        _print(done.model_dump(), as_json)
        return
    days = f"{done.first_day} to {done.last_day}" if done.first_day else "no new session"
    counts = ("inserted", "updated", "unchanged", "deleted")
    _say(f"{days}: " + ", ".join(f"{name} {getattr(done, name):,}" for name in counts))


@app.command()
def check(
    as_json: AsJson = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page that needs no network.")
    ] = None,
) -> None:
    """Check what is stored, and compare with the last run. Exit code 1 when a finding is an error."""
    findings = quality.check()
    if html is not None:
        typer.echo(quality.write_page(findings, html), err=as_json)
    if as_json:
        _print([vars(finding) for finding in findings], as_json)
    elif html is None and (shown := quality.lines(findings)):
        typer.echo("\n".join(shown))
    _say(quality.verdict(findings))
    if any(finding.failed for finding in findings):
        raise typer.Exit(1)


@app.command()
def gaps(
    symbols: Annotated[list[str] | None, typer.Argument(metavar="SYMBOL…", help="Only these; else all.")] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="DAY", help="Sessions from this day on.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DAY", help="Up to this day.")] = None,
    as_plan: Annotated[bool, typer.Option("--plan", help="Print what to fetch for the missing ones instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the sessions on which securities have no bar, and why; or, with --plan, the commands that fetch them."""
    found = gaps_of(symbols or None, first, last)
    if as_plan:
        runs = plan(found)
        if as_json:
            _print([run.as_json() for run in runs], as_json)
        for run in () if as_json else runs:
            typer.echo(run.command)
    else:
        days = {name: found[name].dt.date for name in ("first", "last")}
        _print(found.assign(**days).to_dict("records"), as_json, found.columns.tolist())
    for kind, sessions in found.groupby("kind")["sessions"].sum().items():
        _say(f"{kind}: {sessions:,} sessions of {found.loc[found['kind'] == kind, 'symbol'].nunique():,} securities")


@app.command()
def screen(
    where: Annotated[
        str | None, typer.Argument(metavar="CONDITION", help="A condition in quotes, or a ready screen's name.")
    ] = None,
    date: Annotated[
        str | None, typer.Option(metavar="DAY", help="The session; else the last one that has metrics.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="A,B", help="What to show; else what the condition mentions.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows.")] = None,
    ready_made: Annotated[bool, typer.Option("--list", help="Show the ready screens instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the equities for which a condition holds, strongest first, by what was known on the day.

    Example: screener-data screen "stage == 2 and rs_rating >= 80 and close > ma_50 and not surveillance"
    """
    if ready_made:
        _print(screens().to_dict("records"), as_json, None if as_json else ["name", "where", "source"])
        return
    if where is None:
        raise UsageError("give a condition, or a ready screen's name; `screener-data screen --list` shows those")
    names = None if columns is None else [name.strip() for name in columns.split(",")]
    found = screened(where, date, columns=names)
    shown = found.head(limit) if limit else found
    _print(shown.astype("object").where(shown.notna(), None).to_dict("records"), as_json, shown.columns.tolist())
    _say(f"{found.attrs['date']}: {len(found):,} of {found.attrs['asked']:,} equities")


@app.command()
def run(
    notebook: Annotated[str, typer.Argument(help="Its name (01_schema_setup, or 01), or a path; or: evening.")],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(metavar="name=value", help="Its parameters; a word without = is the next notebook."),
    ] = None,
) -> None:
    """Run notebooks through papermill with checked parameters; prints the outputs' paths. The first failure ends it.

    `run evening [date=DAY] [sources=A,B]` fetches, loads, computes and checks, one run at a time; prints one JSON line.
    """
    from screener_data import notebooks  # here, since papermill takes longer to import than most commands to run

    if notebook == "evening":
        _evening(parameters or [])
        return
    wanted: list[tuple[str, dict[str, str]]] = [(notebook, {})]
    for each in parameters or []:
        name, equals, value = each.partition("=")
        if equals:
            wanted[-1][1][name] = value
        else:
            wanted.append((each, {}))
    for name, given in wanted:
        notebooks.check(name, given)  # a slip in the last word must not be told after an hour's work
    for name, given in wanted:
        done = notebooks.run(name, given)
        typer.echo(done.output)
        if not done.ok:
            _say(f"error: {done.notebook} failed after {done.seconds:.0f} s: {done.error}")
            raise typer.Exit(1)


def _evening(words: Sequence[str]) -> None:
    from screener_data import evening, notebooks  # here, too

    given = {}
    for each in words:
        name, equals, given[name] = each.partition("=")
        if not equals:
            raise UsageError(f"`run evening` runs alone, and takes date=DAY and sources=A,B; given: {each!r}")
    notebooks.check(evening.NOTEBOOK, given)
    done = evening.run(given.get("date"), given.get("sources"))
    typer.echo(done.model_dump_json())
    for name in ("files", "rows", "metrics", "findings"):
        counts = ", ".join(f"{what} {count:,}" for what, count in getattr(done, name).items())
        _say(f"{name}: {counts or 'none'}")
    _say(f"report: {done.report}")
    if done.error:
        _say(f"error: evening failed after {done.seconds:.0f} s: {done.error}")
        raise typer.Exit(1)
    _say(done.holiday or f"{done.session}: done in {done.seconds:.0f} s")


@app.command()
def export(
    notebook: Annotated[Path, typer.Argument(metavar="RUN.ipynb", help="An executed notebook, as `run` prints it.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to; else beside it, as .html.")] = None,
) -> None:
    """Make one HTML page of an executed notebook that needs no network, and print its path."""
    from screener_data import notebooks  # here, since papermill takes long to import

    typer.echo(notebooks.to_html(notebook, output))


@app.command()
def url() -> None:
    """Print the database's address, password included, for tools."""
    typer.echo(database_url().render_as_string(hide_password=False))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(ctx: typer.Context) -> None:
    """Open PostgreSQL's shell on the database; further arguments go to psql."""
    server, address = embedded_server(), database_url()
    program = str(server.binary("psql")) if server else shutil.which("psql")
    if program is None:
        raise DatabaseError("there is no psql on PATH; install PostgreSQL's client")
    shown, secret = for_programs(address)
    _become([program, shown, *ctx.args], os.environ | secret)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(ctx: typer.Context) -> None:
    """Open JupyterLab on notebook 05_explore with the database up; further arguments go to `jupyter lab`."""
    _initialised()
    os.chdir(workspace())
    options = ["--KernelManager.transport_encryption=auto"]
    if _FIRST.is_file():
        options.append(f"--LabApp.default_url=/lab/tree/{_FIRST.as_posix()}")
    _become([sys.executable, "-m", "jupyterlab", *options, *ctx.args], os.environ)


#: What JupyterLab opens, in the workspace.
_FIRST = Path("notebooks", "05_explore.ipynb")


@app.command()
def stop() -> None:
    """Stop the embedded server."""
    server = embedded_server()
    if server is None:
        raise UsageError("SCREENER_DATABASE_URL names a server that is not ours to stop")
    _say("stopped" if server.stop() else "was not running")


def _become(words: list[str], environment: Mapping[str, str]) -> NoReturn:
    """Let another program take this process's place: signals are then its own affair, as Ctrl-C is in psql."""
    os.execve(words[0], words, environment)  # noqa: S606


# --- showing --------------------------------------------------------------------------------------------------------

_COUNTS = ("read", "inserted", "updated", "unchanged", "rejected", "skipped")
_LOADED = ["file", "source", "status", *_COUNTS, "elapsed_ms"]
_STATUSES = ("new", "kept", "no_file", "missing", "failed")


def _report(results: Sequence[ingest.LoadResult], as_json: bool) -> None:
    _print([result.model_dump() for result in results], as_json, _LOADED)
    for result in results:
        if result.error:
            _say(f"error: {result.error}" if result.file in result.error else f"error: {result.file}: {result.error}")
    total = {name: sum(getattr(result, name) for result in results) for name in _COUNTS}
    _say(f"{len(results)} files: " + ", ".join(f"{name} {count:,}" for name, count in total.items()))
    if any(result.status == "failure" for result in results):
        raise typer.Exit(1)


def _print(found: Any, as_json: bool, columns: list[str] | None = None) -> None:
    if as_json:
        typer.echo(json.dumps(found, default=str, ensure_ascii=False))
    elif found:
        typer.echo(_table(found, columns))


def _table(rows: Sequence[dict[str, Any]], columns: list[str] | None = None) -> str:
    table = pd.DataFrame(rows, columns=columns, dtype="object").fillna("")
    if "file" in table:  # the end of a path tells the file
        table["file"] = [_short(str(name)) for name in table["file"]]
    return table.to_string(index=False, justify="left", max_colwidth=100)


def _short(file: str) -> str:
    here = f"{Path.cwd()}{os.sep}"
    return file.removeprefix(here)


def _say(text: str) -> None:
    typer.echo(text, err=True)


class _Talk(logging.Handler):
    """What the package logs is talk, too."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(self.format(record))
