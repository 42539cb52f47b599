"""The error tree is the one drawn at the top of errors.py, and every file error reads in one order."""

from __future__ import annotations

import re
from typing import Any

import pytest

from screener_data import errors
from screener_data.errors import FileError, ScreenerError


def drawn() -> dict[str, str]:
    """Every class in the drawing, with the one it hangs on. Each branch is four characters wide."""
    assert errors.__doc__ is not None
    lines = [
        match.groups() for line in errors.__doc__.splitlines() if (match := re.match(r"([│├└─ ]*)(\w+Error)\b", line))
    ]
    above: list[str] = []
    tree = {}
    for branch, name in lines:
        above = [*above[: len(branch) // 4], name]
        tree[name] = above[-2] if branch else "Exception"
    return tree


def defined() -> dict[str, str]:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ScreenerError)]
    return {one.__name__: one.__bases__[0].__name__ for one in classes}


def test_the_tree_is_as_drawn() -> None:
    assert len(drawn()) > 10
    assert drawn() == defined()


def test_every_error_is_public_and_says_what_it_is() -> None:
    assert set(errors.__all__) == {*defined(), "Reason"}
    assert all(getattr(errors, name).__doc__ for name in errors.__all__)


WHOLE: dict[str, Any] = {
    "file": "bulk.csv",
    "line": 7,
    "column": "Quantity Traded",
    "value": "1,0O0",
    "todo": "Download it again",
}


@pytest.mark.parametrize(
    ("parts", "reads"),
    [
        ((), "bulk.csv: not a number"),
        (("line",), "bulk.csv, line 7: not a number"),
        (("column",), "bulk.csv, column 'Quantity Traded': not a number"),
        (("value",), "bulk.csv: not a number (found '1,0O0')"),
        (("todo",), "bulk.csv: not a number. Download it again"),
        (
            ("line", "column", "value", "todo"),
            "bulk.csv, line 7, column 'Quantity Traded': not a number (found '1,0O0'). Download it again",
        ),
    ],
)
def test_a_file_error_reads_file_line_column_problem_value_todo(parts: tuple[str, ...], reads: str) -> None:
    assert str(FileError("not a number", **{name: WHOLE[name] for name in ("file", *parts)})) == reads


@pytest.mark.parametrize("kind", FileError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_kind_of_file_error_reads_alike(kind: type[FileError]) -> None:
    assert str(kind("not a number", **WHOLE)) == str(FileError("not a number", **WHOLE))


def test_a_long_value_is_cut_and_an_odd_one_is_shown_as_it_is() -> None:
    assert str(FileError("odd", file="a", value="\x00\ufeff")) == "a: odd (found '\\x00\\ufeff')"
    assert str(FileError("odd", file="a", value="x" * 121)) == f"a: odd (found '{'x' * 120}…')"
    assert str(FileError("odd", file="a", value="")) == "a: odd (found '')"


def test_reasons_are_words_that_a_database_column_holds() -> None:
    assert all(re.fullmatch(r"[a-z_]{1,50}", reason) for reason in errors.Reason)
    assert all(reason.name.lower() == reason for reason in errors.Reason)
