"""The examples in the docstrings of the public face, run on a sample market."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
from sqlalchemy import URL

import screener_data as sd
from screener_data import charts, fetching

#: What needs no example: a type that the functions return.
TYPES = {"FetchResult", "LoadResult"}


@pytest.fixture(autouse=True)
def here(year: Path, year_url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder of the files, with the database that holds them."""
    monkeypatch.chdir(year)
    monkeypatch.setenv("SCREENER_DATABASE_URL", year_url.render_as_string(hide_password=False))


PUBLIC = {name: getattr(sd, name) for name in sd.__all__ if name not in TYPES}
PUBLIC |= {"breadth_table": charts.breadth_table, "rotation_table": charts.rotation_table}
PUBLIC |= {name: getattr(fetching, name) for name in ("first_missed", "last_session", "refresh_candles")}


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_of_each_public_function_is_true(name: str) -> None:
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    examples = [test for test in finder.find(PUBLIC[name], name, globs={}) if test.examples]
    assert examples, f"sd.{name} has no example"
    talk: list[str] = []
    for example in examples:
        runner.run(example, out=talk.append)
    assert runner.failures == 0, "".join(talk)
    lines = [line for example in examples for line in example.examples]
    assert not any(line.options.get(doctest.SKIP) for line in lines), f"an example of sd.{name} is skipped"
