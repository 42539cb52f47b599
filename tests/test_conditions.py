"""Conditions of screens: what they mean, row by row and with three values; what is refused, and where it points."""

from __future__ import annotations

import ast
import math
import operator
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener_data.conditions import MOST_CHARACTERS, MOST_DEPTH, Condition, Kind
from screener_data.errors import UsageError

KINDS: dict[str, Kind] = {"close": "number", "ma": "number", "sector": "text", "name": "text", "gsm": "flag"}
ROWS: list[dict[str, Any]] = [
    {"close": close, "ma": ma, "sector": sector, "name": name, "gsm": gsm}
    for close, ma in [(1.0, 2.0), (2.0, 2.0), (None, 2.0), (None, None), (-3.5, 0.0), (1e300, 1e300)]
    for sector, name in [("Energy", "energy"), ("Power", None), (None, "NAN")]
    for gsm in (True, False)
]
COLUMNS = {
    name: np.array([row[name] for row in ROWS], {"number": np.float64, "text": object, "flag": np.bool_}[kind])
    for name, kind in KINDS.items()
}


def holds(text: str) -> list[bool]:
    return Condition(text, KINDS).holds(COLUMNS, len(ROWS)).tolist()


def where(text: str) -> list[tuple[Any, Any]]:
    """close and ma of the rows for which it holds, each once."""
    found = [(row["close"], row["ma"]) for row, yes in zip(ROWS, holds(text), strict=True) if yes]
    return list(dict.fromkeys(found))


# --- the oracle: one row, one value, None for unknown

WORK = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
TESTS = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def answer(node: Any, row: dict[str, Any]) -> Any:
    match node:
        case ast.Expression():
            return answer(node.body, row)
        case ast.BoolOp():
            found = [answer(each, row) for each in node.values]
            end = isinstance(node.op, ast.Or)
            return end if end in found else None if None in found else not end
        case ast.UnaryOp(op=ast.Not()):
            inner = answer(node.operand, row)
            return None if inner is None else not inner
        case ast.UnaryOp():
            inner = answer(node.operand, row)
            return None if inner is None else -inner
        case ast.BinOp():
            left, right = answer(node.left, row), answer(node.right, row)
            try:
                found = None if left is None or right is None else WORK[type(node.op)](left, right)
            except ZeroDivisionError:
                found = None
            return found if found is not None and math.isfinite(found) else None
        case ast.Compare():
            links = []
            for op, one, two in zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False):
                left = answer(one, row)
                if isinstance(op, ast.In | ast.NotIn):
                    found = None if left is None else left in [answer(each, row) for each in two.elts]
                    links.append(found if found is None or isinstance(op, ast.In) else not found)
                else:
                    right = answer(two, row)
                    links.append(None if left is None or right is None else TESTS[type(op)](left, right))
            return False if False in links else None if None in links else True
        case ast.Name():
            return row[node.id].lower() if isinstance(row[node.id], str) else row[node.id]
        case ast.Constant():
            return node.value.lower() if isinstance(node.value, str) else float(node.value)
    raise AssertionError(ast.dump(node))


def slowly(text: str) -> list[bool]:
    tree = ast.parse(text.strip(), mode="eval")
    return [answer(tree, row) is True for row in ROWS]


numbers = st.recursive(
    st.sampled_from(["close", "ma", "0", "1", "2.0", "1e300", "2.5e-1", "3"]),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner), st.builds("-{}".format, inner)
    ),
    max_leaves=5,
)
texts = st.sampled_from(["sector", "name", "'energy'", '"POWER"', "'nan'", "''"])
orders = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
among = st.sampled_from(["in", "not in"])
comparisons = st.one_of(
    st.builds("{} {} {}".format, numbers, orders, numbers),
    st.builds("{} {} {} {} {}".format, numbers, orders, numbers, orders, numbers),
    st.builds("{} {} {}".format, texts, st.sampled_from(["==", "!="]), texts),
    st.builds("{} {} ({}, -{})".format, numbers, among, st.sampled_from("12"), st.sampled_from(["3.5", "1"])),
    st.builds("{} {} ['Energy', {}]".format, texts, among, st.sampled_from(["'x'", "'nan'"])),
)
conditions = st.recursive(
    st.one_of(st.just("gsm"), comparisons),
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {} or {})".format, inner, inner, inner),
        st.builds("(not {})".format, inner),
    ),
    max_leaves=6,
)
WORDS = """close ma sector name gsm clse and or not in is if else lambda None True < >= == = ( ) [ ] , : . + - / ** &
    ~ # ' 'a' 1 2.5 0x1 1j"""
soup = st.lists(st.sampled_from(WORDS.split()), max_size=9).map(" ".join)


@given(conditions)
def test_a_condition_holds_where_the_oracle_says_so(text: str) -> None:
    assert holds(text) == slowly(text)


@given(st.one_of(soup, st.text(max_size=30), st.builds("{} {} {}".format, conditions, soup, conditions)))
def test_any_text_is_refused_or_answered_rightly(text: str) -> None:
    try:
        found = holds(text)
    except UsageError:
        return
    assert found == slowly(text)


@given(conditions, st.sets(st.sampled_from(["close", "ma"])))
def test_what_cannot_hold_does_not_whatever_the_unknown_is(text: str, hidden: set[str]) -> None:
    condition = Condition(text, KINDS)
    known = COLUMNS | dict.fromkeys(hidden, np.full(len(ROWS), np.nan))
    can_hold = condition.can_hold(known, len(ROWS))
    assert not (condition.holds(COLUMNS, len(ROWS)) & ~can_hold).any()
    if not hidden & set(condition.names):
        unknown = [answer(ast.parse(text, mode="eval"), row) is None for row in ROWS]
        assert can_hold.tolist() == (condition.holds(COLUMNS, len(ROWS)) | np.array(unknown)).tolist()


# --- what it means


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("close >= 2", [(2.0, 2.0), (1e300, 1e300)]),
        ("not close >= 2", [(1.0, 2.0), (-3.5, 0.0)]),  # not those that are unknown
        ("close == close", [(1.0, 2.0), (2.0, 2.0), (-3.5, 0.0), (1e300, 1e300)]),
        ("close < 2 <= ma", [(1.0, 2.0)]),
        ("close != ma", [(1.0, 2.0), (-3.5, 0.0)]),
        ("ma == 2 or close > 0", [(1.0, 2.0), (2.0, 2.0), (None, 2.0), (1e300, 1e300)]),
        ("close / ma < 1 or ma / 0 > 1", [(1.0, 2.0)]),  # nothing divided by 0 is known
        ("close * close > 0 and close > 3", []),  # nor is what is too large
        ("-close > 3", [(-3.5, 0.0)]),
        ("close not in (1, 2)", [(-3.5, 0.0), (1e300, 1e300)]),
        ("1 < 2 and ma < 1", [(-3.5, 0.0)]),
        ("  close\n  >=\t2 ", [(2.0, 2.0), (1e300, 1e300)]),
    ],
)
def test_numbers(text: str, right: list[tuple[Any, Any]]) -> None:
    assert where(text) == right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("sector == 'ENERGY'", {"Energy"}),
        ("not sector == 'energy'", {"Power"}),
        ("sector != 'energy'", {"Power"}),
        ("sector in ['energy', 'POWER']", {"Energy", "Power"}),
        ("sector == name", {"Energy"}),
        ("name == 'nan'", {None}),  # a text, not an unknown value
    ],
)
def test_text_is_compared_without_regard_to_case(text: str, right: set[str | None]) -> None:
    assert {row["sector"] for row, yes in zip(ROWS, holds(text), strict=True) if yes} == right


def test_names_are_those_mentioned_in_order() -> None:
    assert Condition("gsm or (ma > 1 and close > ma) or sector == 'x'", KINDS).names == ["gsm", "ma", "close", "sector"]


def test_no_rows_are_an_answer() -> None:
    columns = {name: values[:0] for name, values in COLUMNS.items()}
    assert Condition("sector == name and close > 1 and not gsm", KINDS).holds(columns, 0).tolist() == []


# --- what is refused


@pytest.mark.parametrize(
    ("text", "problem", "marked"),
    [
        ("gsm and clse > 5", "no column 'clse'; did you mean close?", "clse"),
        ("close = 5", "write == for =", "="),
        ("close > 5 & gsm", "write `and` for &", "5 & gsm"),
        ("gsm | gsm", "write `or` for |", "gsm | gsm"),
        ("gsm and ~gsm", "write `not` for ~", "~gsm"),
        ("gsm or sector > 5", "this is a number, and what it is compared with is a text", "5"),
        ("sector > 'a'", "text is compared with ==, != and in only", "sector"),
        ("gsm and close and gsm", "a condition is needed here, and this is a number", "close"),
        ("not sector", "a condition is needed here, and this is a text", "sector"),
        ("close + gsm > 1", "a number is needed here, and this is a flag or condition", "gsm"),
        ("close + sector > 1", "a number is needed here, and this is a text", "sector"),
        ("gsm == 1", "a flag or condition is not compared", "gsm"),
        ("close > (1 < 2)", "a flag or condition is not compared", "1 < 2"),
        ("gsm in (1, 2)", "a flag or condition is not compared", "gsm"),
        ("close", "this is a number, not a condition", "close"),
        ("close > None", "None is not a value", "None"),
        ("close is None", "write == for `is`", "close is None"),
        ("close > True", "a flag is written bare", "True"),
        ("close > 5j", "there are numbers and text only", "5j"),
        ("close > 1e999", "this number is too large", "1e999"),
        (f"close > {'9' * 400}", "this number is too large", "9" * 60),
        ("close ** 9 ** 9 ** 9 > 1", "no powers", "close ** 9 ** 9 ** 9"),
        ("close in []", "after `in` comes a list", "[]"),
        ("close in ma", "after `in` comes a list", "ma"),
        ("close in (1, ma)", "a list holds values, not columns", "ma"),
        ("sector in ['a', 2]", "a text is needed here, and this is a number", "2"),
        ("(close, ma) == (1, 2)", "a list stands only after `in`", "(close, ma)"),
        ("abs(close) > 1", "there are no functions", "abs(close)"),
        *(
            (text, "this is not part of the language", text)
            for text in ("close.real", "close[0]", "lambda: 1", "f'{close}'", "[x for x in close]", "1 if gsm else 2")
        ),
        *(
            (text, "this is not part of the language", text)
            for text in ("close // 2", "+close", "{1: 2}", "close @ ma")
        ),
        ("(x := close) > 1", "this is not part of the language", "x := close"),
        ("close > 5)", "cannot be read as a condition", ")"),
        ("1or gsm", "cannot be read as a condition", "1"),
        ("ｃｌｏｓｅ > 5", "FULLWIDTH LATIN SMALL LETTER C", "ｃ"),
        ("close > 5 # and more", "# has no meaning here", "#"),
        (r"sector == '\x41'", "\\ has no meaning here", "\\"),
        ("close > 5 \x00", "a control character", "?"),
    ],
)
def test_a_wrong_condition_is_refused_and_its_place_marked(text: str, problem: str, marked: str) -> None:
    with pytest.raises(UsageError) as caught:
        Condition(text, KINDS)
    told, line, carets = str(caught.value).split("\n")
    assert problem in told
    start = carets.index("^")
    assert line[start : len(carets)] == marked
    assert f"(column {text.index(marked if marked != '?' else chr(0)) + 1})" in told


def test_a_text_that_ends_too_early_is_marked_at_its_end() -> None:
    with pytest.raises(UsageError, match=r"cannot be read as a condition \(column 13\)"):
        Condition("close > 5 or", KINDS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "an empty condition"),
        (" \n ", "an empty condition"),
        ("gsm or " * 400 + "gsm", f"at most {MOST_CHARACTERS}"),
        ("not " * 41 + "gsm", f"nested more than {MOST_DEPTH} deep"),
        ("-" * 1990 + "1 > 0", ""),
        ("(" * 1000 + "gsm" + ")" * 900, ""),
        ("(" * 150 + "gsm" + ")" * 150, None),
        ("x" * 1990, "no column has so long a name"),
        (f"{'1<(' * 600}1{')' * 100}", ""),
        ("1" + "<1" * 900, None),
        ("not " * 490 + "gsm", ""),
        ("gsm[" * 400 + "0" + "]" * 400, ""),
    ],
)
def test_long_and_deep_texts_cost_little(text: str, problem: str | None) -> None:
    start = time.process_time()
    if problem is None:
        assert len(holds(text)) == len(ROWS)
    else:
        with pytest.raises(UsageError) as caught:
            Condition(text, KINDS)
        assert problem in str(caught.value)
        assert len(str(caught.value)) < 400
    assert time.process_time() - start < 2
