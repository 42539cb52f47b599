"""What the exchange's texts say: real spellings of twenty-five years, each with its right reading, done by hand."""

from __future__ import annotations

import re
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screener_data.loaders.purposes import RULES, STEMS, Action, UnknownPurposeError, actions_of, normalised

#: A text, and its actions: so many shares before → after, and a rights issue's premium in rupees.
UNDERSTOOD = [
    ("Face Value Split (Sub-Division) - From Rs 10/- Per Share To Re 1/- Per Share", "split 1 → 10"),
    ("FVSPLT FRM RS 10 TO RE 1", "split 1 → 10"),
    ("FVSPLT FRMRS 100 TO RE 1", "split 1 → 100"),
    ("FV SPLT FRM RS 10 TO 1", "split 1 → 10"),
    ("FV SPLT FRM RS 10 TO RE1", "split 1 → 10"),
    ("Fv Split Rs.10/- To Rs.2/", "split 2 → 10"),
    ("FV SPLIT-RS2/- TO RE.1/-", "split 1 → 2"),
    ("FV SPLIT RS.10/- TO RS.2/RD DATE REVISED", "split 2 → 10"),
    ("Fv Split-Rs.10/-To Rs.2/-", "split 2 → 10"),
    ("Face Valus Split (Sub-Division) - From Rs 10/- Per To Rs 2/- Per Share", "split 2 → 10"),
    ("Agm/Fv Split Rs.2 To Re.1", "split 1 → 2"),
    ("Split-Rs.10tors.2/Div-60%Purpose Revised", "split 2 → 10"),
    ("Agm/Div-Rs.2/Fv Rs10tors5", "split 5 → 10"),
    ("Spl-Rs10 To Rs2/Bonus-1:2", "bonus 2 → 3", "split 2 → 10"),
    ("SPL RS10-RS2", "split 2 → 10"),
    ("Fv Spl-Rs10tore1/Bon-3:2", "bonus 2 → 5", "split 1 → 10"),
    ("Fv Spl-Rs10to2", "split 2 → 10"),
    ("Bon 1:1/Fv Spl Rs.5tors.2", "bonus 1 → 2", "split 2 → 5"),
    ("Face Value Split From 10/- To Face Value 2/-", "split 2 → 10"),
    ("FVSPLTFRM 761.25TO76.125", "split 76.125 → 761.25"),
    ("FVSPLTFRM100TO1", "split 1 → 100"),
    ("FV SPLT FR RS100 TO RS10", "split 10 → 100"),
    ("FVSPLT RS100 TO RS2PERSH", "split 2 → 100"),
    ("BON-1:25/SPLIT RS10TORS.5", "bonus 25 → 26", "split 5 → 10"),
    ("AGM/DIV-50%/FV SPLT 5TO1", "split 1 → 5"),
    ("F.V. SPL-RS10/- TO RS2/-", "split 2 → 10"),
    ("SPLT-RS.10-RE.1/BONUS-3:1", "bonus 1 → 4", "split 1 → 10"),
    ("AGM/DIV-(FIN-35%+SPL-15%)/SPLT-RS.10-RE.1/BONUS-3:1", "bonus 1 → 4", "split 1 → 10"),
    ("Stock  Split From Rs.1000/- to Rs.10/-", "split 10 → 1000"),
    ("Bonus 1 : 1 / Face Value Split From Rs 10/- Each To Rs 2/- Each", "bonus 1 → 2", "split 2 → 10"),
    ("Interim Dividend Rs.3/- Per Share And Face Value Split From Rs.5/- To Rs.2/- (Purpose Revised)", "split 2 → 5"),
    (
        "1st Interim Dividend Rs.2.50 Per Share And Face Value Split From Rs.10/- To Re.1/- (Purpose Revised)",
        "split 1 → 10",
    ),
    (
        "Annual General Meeting / Dividend - Rs 1.35/- Per Share / Face Value Split - From Rs 10/- Per Share To Rs 2/- Per Share",  # noqa: E501
        "split 2 → 10",
    ),
    ("Dividend Rs.6/- Per Share And Face Value Split From Rs.2/- To Re.1/-", "split 1 → 2"),
    ("Bonus 1:1", "bonus 1 → 2"),
    ("BONUS 2:1", "bonus 1 → 3"),
    ("Bonus- 1:2", "bonus 2 → 3"),
    ("Bonus 1: 2", "bonus 2 → 3"),
    ("Bonus 1 : 1", "bonus 1 → 2"),
    ("BON-2:1", "bonus 1 → 3"),
    ("BONUS28:100", "bonus 100 → 128"),
    ("Bonus 17:25", "bonus 25 → 42"),
    ("Bonus Shares In The Ratio Of 1:1", "bonus 1 → 2"),
    ("Agm/Spl/Bon-1:1/Div-20%", "bonus 1 → 2"),
    ("Bonus 22:1 And Face Value Split From Rs.10/- To Re.1/-", "bonus 1 → 23", "split 1 → 10"),
    ("Annual General Meeting/Dividend - Rs 2.50 Per Share/Bonus 1:10 (Revised)", "bonus 10 → 11"),
    ("Bonus 1:1 /Dividend- Rs 29 Per Share", "bonus 1 → 2"),
    ("Agm/Div - 120%/Bonus 1:1", "bonus 1 → 2"),
    ("Bonus 22:1 / Final Dividend Rs 0.60", "bonus 1 → 23"),
    ("Scheme Of Arrangement - Bonus Ncrps 4:1", "distribution"),
    ("SCH AGMT-BONUS NCRPS46:1", "distribution"),
    ("Bonus Debentures 6:1", "distribution"),
    ("Sch Of Agmt- Bonus Deb1:1", "distribution"),
    ("Bonus Preference Shares 21:1", "distribution"),
    ("Bonus 1 Dvr : 10 Eq Share", "distribution"),
    ("Scheme Of Arangement- Bonus - 1 Debenture For 1 Equity Share Held", "distribution"),
    ("Consolidation Of Equity Shares From Re 1 Per Share To Rs 10 Per Share", "consolidation 10 → 1"),
    ("CONSOLIDATION RE1 TO RS10", "consolidation 10 → 1"),
    ("Face Value Consolidation From Re 1 To Rs 10", "consolidation 10 → 1"),
    ("Rights 1:15 @ Premium Rs 1247", "rights 15 → 16 at 1247"),
    ("RIGHTS 1:2 @ PRM RS 1/-", "rights 2 → 3 at 1"),
    ("RIGHTS 45:301@PRM RS 290", "rights 301 → 346 at 290"),
    ("Rights 5: 116 At Premium Rs 244/- Per Share", "rights 116 → 121 at 244"),
    ("Rights Issue 30:37@ Premium Rs 53/-", "rights 37 → 67 at 53"),
    ("Rights 87:38 @ Premium Of Rs 2.50 Per Share", "rights 38 → 125 at 2.50"),
    ("Rights 1:9 @ Premium 91", "rights 9 → 10 at 91"),
    ("RGTS-EQ 29:100@PREM RS135", "rights 100 → 129 at 135"),
    ("RH2:9@PRM215", "rights 9 → 11 at 215"),
    ("Rights 161:250 @ Premium Re 0.45 /-", "rights 250 → 411 at 0.45"),
    ("Rights 3:10@ Premium Rs 220 Per Share", "rights 10 → 13 at 220"),
    ("Rights 4:7 At Par", "rights 7 → 11 at 0"),
    ("Rights - 2:3@ Par Rs 10 Per Share", "rights 3 → 5 at 0"),
    ("Rights : 24:10 At Par", "rights 10 → 34 at 0"),
    ("Right Issue 1:15 @ Premium Of Rs 333 Per Share", "rights 15 → 16 at 333"),
    ("Rights At 2:1 At A Premium Of Rs.39.50 Per Share", "rights 1 → 3 at 39.50"),
    ("Rights-121:100 Prem@Rs.21", "rights 100 → 221 at 21"),
    ("Rights-Eq 1:5@Prem Rs1580", "rights 5 → 6 at 1580"),
    ("Agm/Rights 1:1 Prem@Rs.6 Purpose Revised", "rights 1 → 2 at 6"),
    ("Dividend Rs.1.80 Per Share And Rights 1:3 @ Premium Rs.30/- Per Share", "rights 3 → 4 at 30"),
    (
        "Rights 7:5@Premium Rs.55 Per Share/Annual General Meeting / Dividend Re.1/- Per Equity Share (Purpose Revised)",  # noqa: E501
        "rights 5 → 12 at 55",
    ),
    ("Rights 1:19.07 @ Premium Rs 0", "rights 19.07 → 20.07 at 0"),
    ("RGHTS 2:21 @PRM RS 748/-", "rights 21 → 23 at 748"),
    ("Rights 3:2 @ Premium Re. 0.63/-", "rights 2 → 5 at 0.63"),
    ("DEMERGER", "demerger"),
    ("De-Merger", "demerger"),
    ("Scheme Of Demerger", "demerger"),
    ("Merger/Demerger", "demerger"),
    ("Scheme Of Arrangement Of Demerger", "demerger"),
    ("Sch Of Arngment-Demerger", "demerger"),
    ("Sch Of Arngmnt-Demerger  Rd Revised", "demerger"),
    ("Scheme Of Arrangement And Demerger", "demerger"),
    ("Scheme Of Arrangement Cum Demerger", "demerger"),
    (" Scheme Of Arrangement In The Nature Of Demerger", "demerger"),
    ("Capital Red./Demerger", "demerger", "capital_reduction"),
    ("Scheme Of Arrangement", "scheme"),
    ("Composite Scheme Of Arrangement", "scheme"),
    ("Composite Scheme Of Arrangement And Amalgamation", "scheme"),
    ("Sheme Of Arrangement", "scheme"),
    ("Scheme Of Amalgamation", "scheme"),
    ("Capital Reduction", "capital_reduction"),
    ("Capital Reduction Pursuant To Nclt Order", "capital_reduction"),
    ("CAP RED", "capital_reduction"),
]

#: Dividends, meetings, interest: they change neither the number of shares nor their face value.
WITHOUT_EFFECT = [
    "Spl Div-Rs.80/- Per Share",
    "Div-Fin Rs.2 + Spl Re.1",
    "Spl Int Div-Rs.100 P Shr",
    "INTDIV- RS12 SPLDV RS 6",
    "INTDIV- RS10 SPLDV RS 66",
    "INTEREST PAYMENT",
    "INT PAYMENT/PART REDMPTN",
    "BUY BACK",
    "EGM",
    "REDEMPTION",
    "Agm/Div Fin-135%+Spl-90%",
    "Agm/Div-Rs10+Gld Jub-Rs10",
    "AGM/DIV.170%/SPL DIV.600%",
    "AGM/DIV FIN-20 + SPL-30",
    "AGM/DIV-145%+SPL DIV-400%",
    "Div Fin-Rs.22 + Spl-Rs.18",
    "DIV/STP",
    "Agm                      Bc Dates Revised",
    "Annual General Meeting/Dividend - Rs 2.50 Per Share",
    "Interim Dividend - Rs 2 Per Share / Special Dividend - Rs 3 Per Share",
    "Annual General Meeting / Final Dividend - Rs 1.80/- Per Share / Interim Dividend - Rs 1.63/- Per Share (Purpose Revised)",  # noqa: E501
    "Dividend - Rs 8 Per Share And Special Dividend Re 1 Per Share",
    "Spl Dividend",
    "CHANGE IN ATTRIBUTE",
]

#: What looks like an action and cannot be told, or not in full: to guess would be worse than to ask.
NOT_UNDERSTOOD = [
    "Bonus Issue",
    "Bonus issue 28100",
    "Bonus issue 0:0",
    "Face Value Split",
    "Split 1:5",
    "DIV FIN-15% / INT-15%/SPLT-1:3",
    "FV SPLT FRM RS 299.92 TO",
    "Sub-Division w.e.f. 12-08-2024 From Rs.10/- To Re.1/-",
    "Split w.e.f. 05-09-2023",
    "Consolidation of Shares",
    "Capital Reduction Rs 10 To Rs 3.30 / Consolidation Rs 3.30 To Rs.10",
    "Capital Reduction / Consolidation Re 1 To Rs 10",
    "Rights 10:63",
    "Agm/Rights-35:12",
    "Rights - 7 Ccps And 7 Warrants:40",
    "Rights-1 Pcd:2 Eq @Rs.400",
    "Right-Eq1:5 & 9ccps:10eq",
    "Rights Eq 1:6/Dif Vot 1:6",
    "Rights Eq 1:20 @ Premium Rs.715 Per Share And 3 Warrants : 1 Eq",
    "Rights - 4:25 Fully Paid Up Shares @ Premium Rs 500/- Per Share / 2:25 Partly Paid Up Shares @ Premium Rs 605/- Per Share",  # noqa: E501
    "Rights 3:10 @ Rs 1250/-",
    "Rights 0:5 @ Premium Rs 3/-",
    "Issues Price Per Equity Share Is At Par And Ratio Of The Rights  Is 3:2 (Three Equity Shares For Every Two Shares Held)",  # noqa: E501
    "Bonus 1:1 Dvr",
    "Face Value Split From Rs 2 To Rs 2",
    "RSPLT 10",
    "Bonus 4:5 (Pursuant To Scheme Of Amalgamation)",
    "Bonus 1:2/Rights 1:1",
    "Div-Rs.2/Spl Rs10-Rs2 Xyz",
]


def shown(action: Action) -> str:
    words = action.kind
    if (action.before, action.after) != (1, 1):
        words += f" {action.before} → {action.after}"
    return words if action.premium is None else f"{words} at {action.premium}"


@pytest.mark.parametrize("line", UNDERSTOOD, ids=lambda line: line[0])
def test_what_is_understood(line: tuple[str, ...]) -> None:
    purpose, *right = line
    assert sorted(map(shown, actions_of(purpose))) == sorted(right)
    assert actions_of(f"  {purpose.upper()}  ") == actions_of(purpose.lower()) == actions_of(purpose)


@pytest.mark.parametrize("purpose", WITHOUT_EFFECT)
def test_what_changes_no_share(purpose: str) -> None:
    assert actions_of(purpose) == []


@pytest.mark.parametrize("purpose", NOT_UNDERSTOOD)
def test_what_is_not_understood_is_told_with_its_rest(purpose: str) -> None:
    with pytest.raises(UnknownPurposeError, match=r".+"):
        actions_of(purpose)


def test_the_rest_is_named() -> None:
    with pytest.raises(UnknownPurposeError, match="'3 WARRANTS 1 EQ' is not understood"):
        actions_of("Rights Eq 1:20 @ Premium Rs.715 Per Share And 3 Warrants : 1 Eq")
    with pytest.raises(UnknownPurposeError, match="two of one kind: bonus, bonus"):
        actions_of("Bonus 1:1 / Bonus 1:2")
    with pytest.raises(UnknownPurposeError, match="more than four decimals"):
        actions_of("Rights 1:19.07123 @ Premium Rs 5")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_finds_its_example(rule: object) -> None:
    assert rule.pattern.search(rule.example), rule.example  # type: ignore[attr-defined]
    assert normalised(rule.example) == rule.example  # type: ignore[attr-defined]


def test_the_numbers_tell_a_split_and_not_the_word() -> None:
    assert actions_of("Face Value Split From Re 1 To Rs 10") == [Action("consolidation", Decimal(10), Decimal(1))]
    assert actions_of("Consolidation Rs 10 To Re 1") == [Action("split", Decimal(1), Decimal(10))]


def test_a_long_text_takes_no_long_time() -> None:
    started = time.process_time()
    for word in ("FV ", "SPL-", "DIV RS 1 ", "RIGHTS 1:1 ", "BONUS ", "SCHEME OF ", "1:", "RS 10 TO ", " "):
        try:
            actions_of(word * 3000 + "SPLIT")
        except UnknownPurposeError:
            continue
    assert time.process_time() - started < 10


# --- nothing that looks like an action is passed over

#: A spelling of each stem, as it stands within the exchange's texts.
SPELLED = {
    "SPLIT": ["SPLIT", "FVSPLT", "SPLT", "SPL RS10-RS2", "FV SPL"],
    "SUB-DIVISION": ["SUB-DIVISION", "SUB DIVISION", "SUBDIV", "SUB-DIV", "SUB DIV 10"],
    "FACE VALUE": ["FACE VALUE", "FV RS10", "F.V."],
    "BONUS": ["BONUS", "BON-1:1", "BON"],
    "RIGHTS": ["RIGHTS", "RIGHT", "RGHTS 1:2", "RGTS", "RH2:9"],
    "CONSOLIDATION": ["CONSOLIDATION", "CONSOL"],
    "DEMERGER": ["DEMERGER", "DE-MERGER", "MERGER"],
    "SCHEME": ["SCHEME", "SHEME", "SCH OF"],
    "ARRANGEMENT": ["ARRANGEMENT", "ARANGEMENT", "ARNGMNT", "AGMT"],
    "AMALGAMATION": ["AMALGAMATION"],
    "REDUCTION": ["REDUCTION", "CAP RED", "CAPITAL RED."],
}
NOISE = [
    *("AGM", "EGM", "Div-60%", "INTDIV- RS12", "SPLDV RS 6", "Spl Div-Rs.80/- Per Share", "AND", "Purpose Revised"),
    *("Rs.10/-", "TO", "Re.1/-", "1:1", "@ Premium Rs 5", "of Equity Shares", "Interest Payment", "BUY BACK", "xyz"),
    *("Spl", "Dividend", "Final", "10", "%", "Per Share", "12-08-2024"),
]


def test_every_stem_is_spelled_below() -> None:
    assert STEMS.keys() == SPELLED.keys()
    for stem, spellings in SPELLED.items():
        assert all(re.search(STEMS[stem], normalised(spelling)) for spelling in spellings), stem


@settings(max_examples=1500, derandomize=True, database=None, deadline=None)
@given(
    st.sampled_from([spelling for spellings in SPELLED.values() for spelling in spellings]),
    st.lists(st.sampled_from(NOISE), max_size=4),
    st.lists(st.sampled_from(NOISE), max_size=4),
    st.sampled_from([" ", "/", " - ", " / ", "+"]),
)
def test_what_looks_like_an_action_is_never_passed_over(
    stem: str, before: list[str], after: list[str], between: str
) -> None:
    purpose = between.join([*before, stem, *after])
    try:
        assert actions_of(purpose), purpose
    except UnknownPurposeError:
        return
