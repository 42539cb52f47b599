"""What the text of a corporate action says: a small grammar, declared, for the exchange's many spellings.

A text is put into one spelling, and clauses are taken out of it, from the first rule of the table to the last. A text
that speaks of the number of shares is understood only where nothing of it is left: what looks like an action and is
not understood raises, and is never passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["RULES", "STEMS", "Action", "Rule", "UnknownPurposeError", "actions_of"]

_ONE = Decimal(1)
_FINEST = -4  # decimal places that a number of shares can have
_DISTRIBUTED = "NCRPS|CRPS|CCPS|RPS|NCDS?|CCDS?|DEB(?:ENTURES?)?|PREF(?:ERENCE)?(?: SHARES?)?|DVRS?|WARRANTS?"


class UnknownPurposeError(Exception):
    """A text that looks like an action and is not understood; says what of it."""


@dataclass(frozen=True)
class Action:
    """One action: `after` shares come of `before`; `premium` is rupees per share of a rights issue."""

    kind: str
    before: Decimal = _ONE
    after: Decimal = _ONE
    premium: Decimal | None = None


@dataclass(frozen=True)
class Rule:
    """One kind of clause: its pattern over the normalised text, what it makes, and a text that has it."""

    name: str
    pattern: re.Pattern[str]
    example: str
    makes: Callable[[re.Match[str]], Action | None] = lambda found: None


# --- the parts of a clause ------------------------------------------------------------------------------------------

_DIGITS = r"(?>\d+(?:\.\d+)?|\.\d+)"  # all of them, or none: half a number would pass for one
_NUMBER = rf"{_DIGITS}(?! ?%)"
_PER = r"(?: ?(?:PER|PR|P) ?(?:(?:EQUITY|EQ) ?)?(?:SHARES?|SHR|SH|UNIT)\b\.?| EACH\b| PER\b)?"
_MONEY = rf"(?:RS )?(?P<{{}}>{_NUMBER}){_PER}"
_RATIO = rf"(?P<new>{_NUMBER}) ?: ?(?P<held>{_NUMBER})(?! ?[:.\d])"
_GAP = r"[\s().:,-]*"
#: What parts two face values: TO, or a dash between two sums.
_TO = r"\W*(?:TO|-)\W*"
_FACE_VALUE = r"F\.? ?V\.?|FACE VALU[ES]+"
_SPLIT = (
    rf"(?:{_FACE_VALUE}|(?:STOCK )?SPL(?:I?T)?\b\.?|SUB[ -]?DIV(?:ISION|N)?\b\.?|CONSOLIDAT(?:ION|ED?)|CONSOL\b\.?)"
)
_SPLIT_WORDS = rf"{_SPLIT}(?:{_GAP}(?:{_SPLIT}|OF|EQUITY|EQ|SHARES?|FROM|FRM|FR)\b)*"
_SCHEME = (
    r"(?:COMPOSITE )?(?:SCHEME|SHEME|SCHM|SCH)\b\.?(?: OF)? ?-? ?(?:THE )?"
    r"(?:ARR?[AEGMNT]*|AGMT|AMALG[A-Z]*|MERGER)\b\.?(?:(?: AND| CUM| &|,)? AMALGAMATION)?"
)
_DEMERGER = r"(?:MERGER ?/ ?)?DE ?-? ?MERGER"
_EQUITY = r"(?:EQUITY|EQ)\b\.?(?: ?SHARES?| ?SH)?\b"
_DIVIDEND = r"(?<!SUB)(?<!SUB[ -])(?:DIVIDENDS?|DIVIDND|DIVIDED|DIV|DVD|DV)\b\.?"
_DIVIDEND_KIND = r"(?:INTERIM|INTRM|INT|FINAL|FIN|SPECIAL|SPL|SP|ANNUAL|ANN|\d ?(?:ST|ND|RD|TH)|AND|&|/|\+)\b\.?"
#: No sum of a dividend is followed by another sum, as that of "SPL RS 10-RS 2" is.
_SUM = rf"(?:RS )?{_DIGITS}(?!{_TO}(?:RS )?\d| ?:) ?%?{_PER}"

# --- what it makes --------------------------------------------------------------------------------------------------


def _of_face_values(found: re.Match[str]) -> Action:
    """A face value from Rs 10 to Rs 2 makes ten shares of two. The numbers tell a split, not the word."""
    old, new = Decimal(found["old"]), Decimal(found["new"])
    if old == new:
        raise UnknownPurposeError("the face value stays the same")
    return Action("split" if new < old else "consolidation", before=new, after=old)


def _bonus(found: re.Match[str]) -> Action:
    new, held = Decimal(found["new"]), Decimal(found["held"])
    return Action("bonus", held, held + new)


def _rights(found: re.Match[str]) -> Action:
    """No premium in a clause that says "at par": the issue price is the face value."""
    new, held = Decimal(found["new"]), Decimal(found["held"])
    return Action("rights", held, held + new, premium=Decimal(found["premium"] or 0))


def _known(kind: str) -> Callable[[re.Match[str]], Action]:
    """An action that is known, and whose effect on the price no text tells."""
    return lambda found: Action(kind)


# --- the rules, from first to last ----------------------------------------------------------------------------------


def _rule(name: str, pattern: str, example: str, makes: Callable[[re.Match[str]], Action | None] | None = None) -> Rule:
    return Rule(name, re.compile(pattern), example, makes or (lambda found: None))


RULES = (
    _rule(
        "dividend",
        rf"(?:{_DIVIDEND_KIND}[ .-]*)*(?<![A-Z]){_DIVIDEND}"
        rf"(?:{_GAP}(?:{_DIVIDEND_KIND}{_GAP})?{_SUM}\)?"
        rf"(?: ?[+&/,] ?(?:{_DIVIDEND_KIND}{_GAP}|(?=RS )){_SUM}\)?)*)?",
        "INT DIV-RS 2.50 PER SHARE + SPL DIV-RS 6",
    ),
    # before the bonus: it is paid in other securities, and leaves the number of shares alone
    _rule(
        "bonus of other securities",
        rf"(?:{_SCHEME}\W*)?\bBON(?:US)?\b{_GAP}(?:\d+ )?(?:{_DISTRIBUTED})\b"
        rf"(?:\W*{_NUMBER} ?: ?{_NUMBER}| ?: ?\d+ {_EQUITY}| FOR (?:EVERY )?\d+ {_EQUITY}(?: HELD)?)?",
        "SCHEME OF ARRANGEMENT - BONUS NCRPS 4:1",
        _known("distribution"),
    ),
    _rule(
        "bonus",
        rf"\bBON(?:US)?\b\.?(?: ISSUE| SHARES?| EQUITY)*(?: IN (?:THE )?RATIO OF)?{_GAP}{_RATIO}",
        "BONUS 1:2",
        _bonus,
    ),
    _rule(
        "rights",
        rf"\b(?:RIGHTS?|RGHTS?|RGTS?|RH)\b(?: ISSUE)?{_GAP}(?:{_EQUITY}{_GAP})?(?:AT )?{_RATIO}{_GAP}"
        rf"(?:(?:(?:@|AT) ?(?:A )?)?PRE?M(?:IUM)?\b[ .@-]*(?:OF )?{_MONEY.format('premium')}"
        rf"|(?:@|AT) ?PAR\b(?: RS {_NUMBER}{_PER})?)",
        "RIGHTS 1:15 @ PREMIUM RS 1247",
        _rights,
    ),
    _rule(
        "face value",
        rf"{_SPLIT_WORDS}{_GAP}{_MONEY.format('old')}{_TO}(?:(?:{_FACE_VALUE})\W*)?{_MONEY.format('new')}",
        "FACE VALUE SPLIT (SUB-DIVISION) - FROM RS 10 PER SHARE TO RS 2 PER SHARE",
        _of_face_values,
    ),
    _rule(
        "demerger",
        rf"(?:{_SCHEME}(?: OF| AND| CUM| IN THE NATURE OF| ?-)* ?|SCHEME OF )?{_DEMERGER}\b",
        "SCHEME OF ARRANGEMENT OF DEMERGER",
        _known("demerger"),
    ),
    _rule("scheme", rf"\b{_SCHEME}", "COMPOSITE SCHEME OF ARRANGEMENT", _known("scheme")),
    _rule(
        "capital reduction",
        r"\b(?:CAP(?:ITAL)?\b\.? ?RED(?:UCTION|N)?\b\.?|REDUCTION (?:OF|IN) (?:SHARE )?CAPITAL)"
        r"(?: PURSUANT TO (?:THE )?NCLT ORDER)?",
        "CAPITAL REDUCTION",
        _known("capital_reduction"),
    ),
    _rule(
        "meeting",
        r"\b(?:AGM|EGM|ANNUAL GENERAL MEETING|EXTRA ?-?ORDINARY GENERAL MEETING|BOOK CLOSURE|BUY ?-?BACK)\b",
        "AGM/BONUS 1:1",
    ),
    _rule("special, of nothing", r"(?<=/) ?SPL ?(?=\|?/|\|)", "AGM/SPL/BON-1:1"),
    _rule(
        "revised",
        r"\b(?:(?:PURPOSE|RD|RECORD|EX|BC|BOOK CLOSURE)\b ?-?)?(?:DATES? )?(?:REVISED|CHANGED)\b",
        "BONUS 1:10 (RECORD DATE REVISED)",
    ),
    _rule("and", r"\bAND\b", "BONUS 1:1 AND FACE VALUE SPLIT FROM RS 2 TO RS 1"),
)

#: What makes a text look as if it spoke of the number of shares; `SPL` within a dividend is a special one.
STEMS: dict[str, str] = {
    "SPLIT": r"SPL|SPT",
    "SUB-DIVISION": r"SUB ?-? ?DIV",
    "FACE VALUE": r"FACE ?VAL|(?<![A-Z])F\.? ?V(?![A-Z])|(?<![A-Z])FV",
    "BONUS": r"BON(?!D)",
    "RIGHTS": r"RI?GHT|RGT|(?<![A-Z])RH\b",
    "CONSOLIDATION": r"CONSOL",
    "DEMERGER": r"MERG",
    "SCHEME": r"SCHEM|SHEME|(?<![A-Z])SCH",
    "ARRANGEMENT": r"ARRANG|ARANG|ARNG|AGMT",
    "AMALGAMATION": r"AMALG",
    "REDUCTION": r"REDUC|(?<![A-Z])CAP(?:ITAL)?\W*RED",
}
_LOOKS_LIKE = re.compile("|".join(STEMS.values()))

# --- one spelling ---------------------------------------------------------------------------------------------------

_SPELLING: tuple[tuple[str, str], ...] = (
    (r"[‐-―]", "-"),
    (r"₹|(?<![A-Z])INR\b", " RS "),
    (r"(?<=\d),(?=\d{2,3}\b)", ""),  # 1,250
    (r"(?<=\d)(?=[A-Z])|(?<=[A-Z])(?=\d)", " "),  # RS10TORE1, BONUS28:100
    (r"\b(FV\.?|FACE VALUE)(?=SPL)", r"\1 "),
    (r"(?<=SPLT)(?=FRM)|(?<=SPLIT)(?=FROM)", " "),
    (r"\b(TO|FROM|FRM|FR|SPL(?:I?T)?|DIV|DIVIDEND|FV|PREM|PRM)(?=R[SE]\b)", r"\1 "),  # FRMRS 100, TORS 2
    (r"\b(INT|INTERIM|FIN|FINAL|SPL|SPECIAL)(?=DI?V)", r"\1 "),  # INTDIV
    (r"\bR[SE]\b[ .:-]*(?=\.?\d)", "RS "),  # RE.1
    (r"(?<=\d) ?/-", " "),
    (r"\s+", " "),
)
_SPELLINGS = tuple((re.compile(pattern), new) for pattern, new in _SPELLING)


def normalised(purpose: str) -> str:
    """The text in upper case with its sums as `RS 10`, single blanks, and words and numbers apart."""
    text = purpose.upper()
    for pattern, new in _SPELLINGS:
        text = pattern.sub(new, text)
    return text.strip()


# --- reading --------------------------------------------------------------------------------------------------------


def actions_of(purpose: str) -> list[Action]:
    """The actions that a text speaks of; none where it speaks of dividends, meetings, interest and the like.

    Raises UnknownPurposeError where it looks like an action, and any part of it is not understood.
    """
    left = normalised(purpose)
    dividend, *rules = RULES
    left = dividend.pattern.sub("|", left)
    if not _LOOKS_LIKE.search(left):
        return []
    actions: list[Action] = []
    for rule in rules:
        actions += [action for found in rule.pattern.finditer(left) if (action := rule.makes(found)) is not None]
        left = rule.pattern.sub("|", left)
    if rest := re.sub(r"[\W_]+", " ", left).strip():
        raise UnknownPurposeError(f"{rest!r} is not understood")
    _require_sense(actions)
    return actions


def _require_sense(actions: list[Action]) -> None:
    """Raises UnknownPurposeError for actions that cannot be told apart, or whose numbers cannot be right."""
    kinds = [action.kind for action in actions]
    if len(set(kinds)) < len(kinds):
        raise UnknownPurposeError(f"two of one kind: {', '.join(kinds)}")
    if "capital_reduction" in kinds and {"split", "consolidation"} & set(kinds):
        raise UnknownPurposeError("a reduction changes the value of a share, not only its face value")
    for action in actions:
        numbers = (action.before, action.after)
        if min(numbers) <= 0 or (action.kind in ("bonus", "rights") and action.before == action.after):
            raise UnknownPurposeError("a ratio with a zero")
        if any(int(number.as_tuple().exponent) < _FINEST for number in numbers):
            raise UnknownPurposeError("a ratio with more than four decimals")
