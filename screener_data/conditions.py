"""The language of screens: a condition in text, checked piece by piece, then answered on columns of arrays.

Python's parser reads the text, and nothing of it is ever run: what the language does not know is refused, with its
place. The logic has three values, as in SQL. A comparison with an unknown value is unknown, so is its `not`, and a
condition holds only where it is true.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import unicodedata
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from screener_data.arguments import require_known
from screener_data.errors import UsageError

__all__ = ["Condition", "Kind"]

#: What a value is: float64 with NaN for unknown, true or false, text with None for unknown.
Kind = Literal["number", "flag", "text"]
Columns: TypeAlias = Mapping[str, Any]

#: Longer or deeper texts are nobody's condition, and could exhaust the parser or the stack.
MOST_CHARACTERS = 2000
MOST_DEPTH = 40
_LONGEST_NAME = 60  # the search for near names is slow for long ones

_Bools: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]


class _Truth(NamedTuple):
    """Of each row: whether the condition is true, and whether it is false; neither, where it is unknown."""

    yes: Any
    no: Any


@dataclass(frozen=True)
class _Part:
    """A checked piece of a condition: what kind its value is, and how to get it from columns."""

    kind: Kind
    value: Callable[[Columns], Any]


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_EQUALITY = (ast.Eq, ast.NotEq)
#: What to write instead of what people bring along from pandas or Python.
_INSTEAD: dict[type[ast.AST], str] = {
    ast.BitAnd: "write `and` for &",
    ast.BitOr: "write `or` for |",
    ast.Invert: "write `not` for ~",
    ast.Is: "write == for `is`",
    ast.IsNot: "write != for `is not`",
    ast.Pow: "there are + - * / and no powers",
    ast.Mod: "there are + - * /; a per cent is a plain number",
    ast.Call: "there are no functions",
}


class Condition:
    """A condition on named columns.

    `text` is what was given, on one line; `names` are the columns that it mentions, in order. Raises UsageError, which
    points at the place, for what is no condition on the columns of `kinds`.
    """

    def __init__(self, text: str, kinds: Mapping[str, Kind]) -> None:
        """Check the text; nothing is evaluated yet."""
        self.text = re.sub(r"[\t\r\n]", " ", text).strip()
        self.names: list[str] = []
        self._kinds = kinds
        tree = self._parsed()
        part = self._part(tree, 0)
        if part.kind != "flag":
            raise self._wrong(f"this is a {part.kind}, not a condition; compare it with something", tree)
        self._whole = part

    def holds(self, columns: Columns, rows: int) -> _Bools:
        """Whether it is true, by row. `columns`: each name's array of so many rows, of its kind."""
        return np.broadcast_to(np.asarray(self._answer(columns).yes, dtype=np.bool_), (rows,))

    def can_hold(self, columns: Columns, rows: int) -> _Bools:
        """Whether it is not false, by row: where it is, nothing that the unknown values could be would make it hold."""
        return ~np.broadcast_to(np.asarray(self._answer(columns).no, dtype=np.bool_), (rows,))

    def _answer(self, columns: Columns) -> _Truth:
        with np.errstate(all="ignore"):  # what is not finite is unknown
            answer: _Truth = self._whole.value(columns)
        return answer

    # --- reading

    def _parsed(self) -> ast.expr:
        if not self.text:
            raise UsageError("an empty condition; write one like: stage == 2 and rs_rating >= 80")
        if len(self.text) > MOST_CHARACTERS:
            raise UsageError(f"a condition of {len(self.text)} characters; at most {MOST_CHARACTERS} are read")
        for place, character in enumerate(self.text):
            if not " " <= character <= "~":
                name = unicodedata.name(character, "a control character")
                raise self._wrong_at(f"{character!r} ({name}) is not plain text", place, place + 1)
            if character in "\\#":
                raise self._wrong_at(f"{character} has no meaning here", place, place + 1)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # `1or 2` is read with a warning by Python, and not at all here
                return ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            place = min((error.offset or len(self.text) + 1) - 1, len(self.text))  # no offset: it ends too early
            todo = ": write == for =" if re.search(r"(?<![<>=!])=(?!=)", self.text) else ""
            raise self._wrong_at(f"cannot be read as a condition{todo}", place, place + 1) from None
        except (RecursionError, MemoryError, ValueError):  # too deep for the parser; a number of too many digits
            raise UsageError("a condition nested too deeply, or with a number of too many digits") from None

    def _part(self, node: ast.expr, depth: int) -> _Part:
        if depth > MOST_DEPTH:
            raise self._wrong(f"nested more than {MOST_DEPTH} deep", node)
        match node:
            case ast.BoolOp(op=op, values=nodes):
                flags = [self._of("flag", each, depth + 1).value for each in nodes]
                join = _both if isinstance(op, ast.And) else _either
                return _Part("flag", lambda columns: reduce(join, (flag(columns) for flag in flags)))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                flag = self._of("flag", operand, depth + 1).value
                return _Part("flag", lambda columns: _not(flag(columns)))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                number = self._of("number", operand, depth + 1).value
                return _Part("number", lambda columns: -number(columns))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self._arithmetic(_ARITHMETIC[type(op)], left, right, depth)
            case ast.Compare():
                return self._comparison(node, depth)
            case ast.Name(id=name):
                return self._column(name, node)
            case ast.Constant(value=value):
                return self._constant(value, node)
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr() | ast.Pow() | ast.Mod() as op):
                raise self._wrong(_INSTEAD[type(op)], node)
            case ast.UnaryOp(op=ast.Invert()):
                raise self._wrong(_INSTEAD[ast.Invert], node)
            case ast.List() | ast.Tuple():
                raise self._wrong("a list stands only after `in`", node)
            case _:
                todo = _INSTEAD.get(type(node), "there are columns, numbers, text, comparisons, and, or, not, in")
                raise self._wrong(f"this is not part of the language: {todo}", node)

    def _of(self, kind: Kind, node: ast.expr, depth: int) -> _Part:
        part = self._part(node, depth)
        if part.kind != kind:
            wanted = "a condition" if kind == "flag" else f"a {kind}"
            found = "a flag or condition" if part.kind == "flag" else f"a {part.kind}"
            raise self._wrong(f"{wanted} is needed here, and this is {found}", node)
        return part

    def _arithmetic(self, work: Callable[[Any, Any], Any], left: ast.expr, right: ast.expr, depth: int) -> _Part:
        first, second = (self._of("number", each, depth + 1).value for each in (left, right))
        return _Part("number", lambda columns: _finite(work(first(columns), second(columns))))

    def _comparison(self, node: ast.Compare, depth: int) -> _Part:
        """A chain a < b < c is a < b and b < c."""
        links = []
        for op, left, right in zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False):
            if isinstance(op, ast.In | ast.NotIn):
                links.append(self._membership(op, left, right, depth))
            elif type(op) in _COMPARISONS:
                links.append(self._link(op, left, right, depth))
            else:
                raise self._wrong(_INSTEAD[type(op)], node)
        return _Part("flag", lambda columns: reduce(_both, (link(columns) for link in links)))

    def _link(self, op: ast.cmpop, left: ast.expr, right: ast.expr, depth: int) -> Callable[[Columns], _Truth]:
        first, second = self._part(left, depth + 1), self._part(right, depth + 1)
        for part, node in ((first, left), (second, right)):
            if part.kind == "flag":
                raise self._wrong("a flag or condition is not compared: write it bare, or `not` before it", node)
        if first.kind != second.kind:
            raise self._wrong(f"this is a {second.kind}, and what it is compared with is a {first.kind}", right)
        if first.kind == "text" and not isinstance(op, _EQUALITY):
            raise self._wrong("text is compared with ==, != and in only", left)
        return lambda columns: _compared(_COMPARISONS[type(op)], first.value(columns), second.value(columns))

    def _membership(
        self, op: ast.In | ast.NotIn, left: ast.expr, right: ast.expr, depth: int
    ) -> Callable[[Columns], _Truth]:
        first = self._part(left, depth + 1)
        if not isinstance(right, ast.List | ast.Tuple) or not right.elts:
            raise self._wrong('after `in` comes a list of values, as in sector in ["Energy", "Utilities"]', right)
        if first.kind == "flag":
            raise self._wrong("a flag or condition is not compared: write it bare, or `not` before it", left)
        choices = []
        for each in right.elts:
            if any(isinstance(inner, ast.Name) for inner in ast.walk(each)):
                raise self._wrong("a list holds values, not columns", each)
            choices.append(self._of(first.kind, each, depth + 1).value)

        def among(columns: Columns) -> _Truth:
            value = first.value(columns)
            return reduce(_either, (_compared(operator.eq, value, choice(columns)) for choice in choices))

        return among if isinstance(op, ast.In) else lambda columns: _not(among(columns))

    def _column(self, name: str, node: ast.expr) -> _Part:
        if len(name) > _LONGEST_NAME:
            raise self._wrong("no column has so long a name", node)
        try:
            require_known(name, list(self._kinds), "column")
        except UsageError as error:
            raise self._wrong(str(error), node) from None
        if name not in self.names:
            self.names.append(name)
        kind = self._kinds[name]
        if kind == "flag":
            return _Part("flag", lambda columns: _Truth(columns[name], ~columns[name]))
        if kind == "text":
            return _Part("text", lambda columns: np.array([each and each.casefold() for each in columns[name]], object))
        return _Part("number", lambda columns: columns[name])

    def _constant(self, value: object, node: ast.expr) -> _Part:
        if isinstance(value, str):
            folded = value.casefold()
            return _Part("text", lambda _: folded)
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                number = np.float64(value)
            except OverflowError:
                number = np.float64(math.inf)
            if np.isfinite(number):
                return _Part("number", lambda _: number)
            raise self._wrong("this number is too large", node)
        if isinstance(value, bool):
            raise self._wrong("a flag is written bare, or with `not` before it", node)
        if value is None:
            raise self._wrong("None is not a value: a comparison with an unknown value never holds", node)
        raise self._wrong("there are numbers and text only", node)

    # --- pointing

    def _wrong(self, problem: str, node: ast.expr) -> UsageError:
        return self._wrong_at(problem, node.col_offset, node.end_col_offset or node.col_offset + 1)

    def _wrong_at(self, problem: str, start: int, end: int) -> UsageError:
        """The error with its place: the column, and a line of carets under the text around it."""
        left, right = max(0, start - 60), min(len(self.text), start + 60)
        carets = " " * (start - left) + "^" * max(1, min(end, right) - start)
        around = "".join(each if each.isprintable() else "?" for each in self.text[left:right])
        return UsageError(f"{problem} (column {start + 1})\n    {around}\n    {carets}")


def _both(one: _Truth, other: _Truth) -> _Truth:
    return _Truth(one.yes & other.yes, one.no | other.no)


def _either(one: _Truth, other: _Truth) -> _Truth:
    return _Truth(one.yes | other.yes, one.no & other.no)


def _not(one: _Truth) -> _Truth:
    return _Truth(one.no, one.yes)


def _finite(number: Any) -> Any:
    return np.where(np.isfinite(number), number, np.nan)


def _compared(compare: Callable[[Any, Any], Any], one: Any, other: Any) -> _Truth:
    known = _known(one) & _known(other)
    found = np.asarray(compare(one, other), dtype=np.bool_)
    return _Truth(found & known, ~found & known)


def _known(value: Any) -> Any:
    if isinstance(value, str):
        return np.True_
    if isinstance(value, np.ndarray) and value.dtype == object:
        return np.array([each is not None for each in value], dtype=np.bool_)
    return ~np.isnan(value)
