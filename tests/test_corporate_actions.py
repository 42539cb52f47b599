"""Corporate actions as they are loaded: the exchange's own files against an independent reading, and hand-made ones."""

from __future__ import annotations

import csv
import re
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from screener_data.ingest import LoadResult, load, replay

BC = "SERIES,SYMBOL,SECURITY,RECORD_DT,BC_STRT_DT,BC_END_DT,EX_DT,ND_STRT_DT,ND_END_DT,PURPOSE\n"
API = "symbol,series,ind,faceVal,subject,exDate,recDate,bcStartDate,bcEndDate,ndStartDate,comp,isin,ndEndDate\n"
WEB = (
    '"SYMBOL","COMPANY NAME","SERIES","PURPOSE","FACE VALUE","EX-DATE","RECORD DATE","BOOK CLOSURE START DATE",'
    '"BOOK CLOSURE END DATE"\n'
)
IN_SCOPE = {"EQ", "BE", "BZ", "SM", "ST", "SZ", "RR", "IV"}
ROWS = (
    "SELECT symbol, ex_date::text, kind, shares_before, shares_after, premium, face_value FROM corporate_actions "
    "ORDER BY symbol, ex_date, kind"
)


class Desk:
    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder, self.engine = folder, engine

    def load(self, name: str, content: str) -> LoadResult:
        path = self.folder / name
        path.write_bytes(content.encode())
        (result,) = load(path, engine=self.engine)
        parts = result.inserted + result.updated + result.unchanged + result.rejected + result.skipped
        assert result.read == parts, result
        return result

    def bc(self, *rows: tuple[str, str, str, str]) -> LoadResult:
        """(series, symbol, ex-date, purpose) of each row."""
        lines = [f"{series},{symbol},A,{day},,,{day},,,{purpose}\n" for series, symbol, day, purpose in rows]
        return self.load("bc16122025.csv", BC + "".join(lines))

    def rows(self, query: str = ROWS) -> list[tuple[object, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]


@pytest.fixture
def desk(tmp_path: Path, engine: Engine) -> Desk:
    return Desk(tmp_path, engine)


def counts(result: LoadResult) -> tuple[int, ...]:
    return result.read, result.inserted, result.updated, result.unchanged, result.rejected, result.skipped


# --- the exchange's files


def by_hand(path: Path) -> dict[tuple[str, str, str], tuple[Decimal, Decimal]]:
    """The actions of a bc file: read by other means, and by what its few spellings share."""
    found = {}
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            cells = {name: cell.strip() for name, cell in row.items()}
            if cells["SERIES"] not in IN_SCOPE:
                continue
            day = "-".join(reversed(cells["EX_DT"].split("/")))
            purpose = cells["PURPOSE"]
            numbers = [Decimal(number) for number in re.findall(r"[\d.]+", purpose)]
            if "SPLT" in purpose:
                found[cells["SYMBOL"], day, "split"] = (numbers[1], numbers[0])
            elif "BONUS" in purpose:
                found[cells["SYMBOL"], day, "bonus"] = (numbers[1], numbers[0] + numbers[1])
            elif "RIGHTS" in purpose:
                found[cells["SYMBOL"], day, "rights"] = (numbers[1], numbers[0] + numbers[1])
            elif purpose in ("DEMERGER", "CAP RED"):
                kind = {"DEMERGER": "demerger", "CAP RED": "capital_reduction"}[purpose]
                found[cells["SYMBOL"], day, kind] = (Decimal(1), Decimal(1))
    return found


@pytest.mark.parametrize(("name", "actions"), [("Bc160125.csv", 5), ("bc16122025.csv", 6)])
def test_bc_files_equal_an_independent_reading(desk: Desk, shared: Path, name: str, actions: int) -> None:
    path = shared / "corporate_actions" / name
    (result,) = load(path, engine=desk.engine)
    assert result.status == "success"
    right = by_hand(path)
    stored = {(symbol, day, kind): (before, after) for symbol, day, kind, before, after, *_ in desk.rows()}
    assert stored == right
    assert result.inserted == len(right) == actions
    assert result.reasons["duplicate_row"] == actions  # each stands in two series
    (again,) = load(path, engine=desk.engine)
    assert (again.inserted, again.updated, again.unchanged) == (0, 0, actions)


def test_the_downloads_equal_an_independent_reading(desk: Desk, shared: Path) -> None:
    results = load(
        [shared / "corporate_actions" / name for name in ("Bonus.csv", "Face_Value_Split.csv")], engine=desk.engine
    )
    assert [(result.read, result.inserted) for result in results] == [(14, 14), (11, 11)]
    found = {(symbol, kind): (before, after) for symbol, _, kind, before, after, *_ in desk.rows()}
    assert found["ORIENTTECH", "bonus"] == (10, 11)
    assert found["KOTAKBANK", "split"] == (1, 5)
    assert {kind for symbol, kind in found if symbol == "BESTAGRO"} == {"bonus", "split"}


def test_a_pr_zip_brings_its_actions(desk: Desk, shared: Path) -> None:
    results = {result.source: result for result in load(shared / "market_cap/PR160125.zip", engine=desk.engine)}
    assert set(results) == {"nse_corporate_actions", "nse_indices", "nse_market_cap"}
    (alone,) = load(shared / "corporate_actions/Bc160125.csv", engine=desk.engine)
    assert results["nse_corporate_actions"].inserted == alone.unchanged == 5
    assert len(desk.rows()) == 5


# --- what is kept, skipped, rejected


def test_each_row_is_counted_once(desk: Desk) -> None:
    result = desk.bc(
        ("EQ", "A", "2025-12-19", "BONUS 1:1"),
        ("BE", "A", "2025-12-19", "BONUS 1:1"),
        ("IQ", "A", "2025-12-19", "BONUS 1:1"),
        ("EQ", "B", "2025-12-19", "INTDIV - RS 5 PER SH"),
        ("", "850IIFL27", "2025-12-19", "INTEREST PAYMENT"),
        ("EQ", "C", "2025-12-19", "FV SPLT FRM RS 10"),
        ("EQ", "D", "", "BONUS 1:1"),
        ("EQ", "E", "", "AGM"),
        ("EQ", "F", "2025-12-19", "Bon 1:1/Fv Spl Rs.5tors.2"),
        ("BE", "F", "2025-12-19", "BON-1:1/FV SPLT FRM RS 5 TO RS 2"),
        ("EQ", "G", "2025-12-19", "BONUS 1:1"),
        ("BE", "G", "2025-12-19", "BONUS 2:1"),
    )
    assert counts(result) == (12, 3, 0, 0, 3, 6)
    assert result.reasons == {
        "duplicate_row": 2,  # A's, and F's in other words
        "duplicate_key": 1,  # G's contradicts
        "missing_value": 1,
        "no_price_factor": 3,
        "series_out_of_scope": 1,
        "unknown_purpose": 1,
    }
    assert [row[:5] for row in desk.rows()] == [
        ("A", "2025-12-19", "bonus", 1, 2),
        ("F", "2025-12-19", "bonus", 1, 2),
        ("F", "2025-12-19", "split", 2, 5),
        ("G", "2025-12-19", "bonus", 1, 2),
    ]
    rejected = dict(desk.rows("SELECT reason, raw || ' | ' || detail FROM rejects"))  # type: ignore[arg-type]
    assert "FV SPLT FRM RS 10" in rejected["unknown_purpose"]
    assert "has no ex-date" in rejected["missing_value"]


def test_three_files_speak_of_one_action(desk: Desk) -> None:
    assert desk.bc(("EQ", "A", "2025-12-19", "FVSPLT FRM RS 10 TO RS 2")).inserted == 1
    api = desk.load(
        "Face_Value_Split.csv",
        f"{API}A,EQ,-,2,Face Value Split (Sub-Division) - From Rs 10/- Per Share To Rs 2/- Per Share,"
        "19-Dec-2025,-,-,-,-,A,INE000A01010,-\n",
    )
    web = desk.load(
        "CF-CA-equities.csv",
        f'\ufeff{WEB}"A","A Limited","EQ"," Fv Split Rs.10/- To Rs.2/","2","19-Dec-2025","19-Dec-2025","-","-"\n',
    )
    assert counts(api) == counts(web) == (1, 0, 0, 1, 0, 0)
    assert desk.rows("SELECT purpose FROM corporate_actions") == [("FVSPLT FRM RS 10 TO RS 2",)]
    earlier = desk.bc(("EQ", "A", "2025-12-19", "FV SPLT FRM RS 10 TO RS 2"))  # sorts before the others
    assert counts(earlier) == (1, 0, 1, 0, 0, 0)
    assert desk.rows("SELECT purpose FROM corporate_actions") == [("FV SPLT FRM RS 10 TO RS 2",)]
    changed = desk.load(
        "CF-CA-equities.csv", f'{WEB}"A","A Limited","EQ","Fv Split Rs.10/- To Rs.5/","5","19-Dec-2025","-","-","-"\n'
    )
    assert (changed.updated, desk.rows()[0][3]) == (1, 5)


def test_the_face_value_is_kept_with_rights(desk: Desk) -> None:
    rights = '"A","A","EQ","Rights 1:15 @ Premium Rs 1247","10","19-Dec-2025","-","-","-"\n'
    desk.load("CF-CA-equities.csv", WEB + rights + rights.replace('"A","A"', '"B","B"').replace('"10"', '"-"'))
    assert [row[3:] for row in desk.rows()] == [(15, 16, 1247, 10), (15, 16, 1247, None)]
    # a bc file prints none, and takes none away
    desk.bc(("EQ", "A", "2025-12-19", "RIGHTS 1:15@PRM RS 1248"))
    assert desk.rows()[0][3:] == (15, 16, 1248, 10)


def test_fewer_columns_of_the_website_are_enough(desk: Desk) -> None:
    header = '"SYMBOL","COMPANY NAME","SERIES","PURPOSE","FACE VALUE","EX-DATE","RECORD DATE"\n'
    result = desk.load("CF-CA-equities.csv", f'{header}"A","A","EQ","Bonus 1:1","10","19-Dec-2025","-"\n')
    assert counts(result) == (1, 1, 0, 0, 0, 0)


def test_manual_factors(desk: Desk) -> None:
    header = "symbol,ex_date,price_factor,volume_factor,reason\n"
    result = desk.load(
        "manual_factors_2025.csv",
        f"{header}A,2025-12-19,0.8123,1,the demerger's cost of acquisition\nB,2025-12-19,0.5,2,\nC,2025-12-19,0,1,why\n"
        "A,2025-12-19,0.8123,1,the demerger's cost of acquisition\n",
    )
    assert result.reasons == {"missing_value": 1, "out_of_range": 1, "duplicate_row": 1}
    query = "SELECT symbol, kind, price_factor, volume_factor, purpose FROM corporate_actions"
    reason = "the demerger's cost of acquisition"
    assert desk.rows(query) == [("A", "manual", Decimal("0.8123000000"), Decimal("1.0000000000"), reason)]
    again = desk.load("manual_factors_2025.csv", f"{header}A,2025-12-19,0.81,1,{reason}\n")
    assert counts(again) == (1, 0, 1, 0, 0, 0)
    reworded = desk.load("manual_factors_2025.csv", f"{header}A,2025-12-19,0.81,1,as told by the company\n")
    assert counts(reworded) == (1, 0, 1, 0, 0, 0)  # a reason of ours counts


def test_what_was_not_understood_can_be_replayed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version may understand it: the row waits in the quarantine with its text."""
    desk.bc(("EQ", "A", "2025-12-19", "BONUS 1:1 DVR"))
    assert replay(engine=desk.engine)[0].rejected == 1
    monkeypatch.setattr("screener_data.loaders.purposes.RULES", ())
    monkeypatch.setattr("screener_data.loaders.corporate_actions.actions_of", lambda purpose: [])
    (replayed,) = replay(engine=desk.engine)
    assert replayed.reasons == {"no_price_factor": 1}


def test_names_of_the_day_and_of_today(desk: Desk) -> None:
    """A bc file names a share as it was called on that day, a download as it is called now."""
    header = "SYMBOL,NAME OF COMPANY, SERIES, DATE OF LISTING, PAID UP VALUE, MARKET LOT, ISIN NUMBER, FACE VALUE\n"
    first = "X,One,EQ,06-OCT-2008,5,1,INE000A01010,5\nY,Two,EQ,06-OCT-2008,5,1,INE000B01018,5\n"
    swap = "Z,One,EQ,06-OCT-2008,5,1,INE000A01010,5\nX,Two,EQ,06-OCT-2008,5,1,INE000B01018,5\n"
    desk.load("symbolchange.csv", "One,X,Z,01-DEC-2025\nTwo,Y,X,01-DEC-2025\n")
    desk.load("EQUITY_L.csv", header + first)
    desk.load("EQUITY_L.csv", header + swap)
    desk.bc(("EQ", "X", "2025-11-14", "BONUS 1:1"), ("EQ", "X", "2025-12-19", "BONUS 2:1"))
    desk.load("Bonus.csv", f"{API}X,EQ,-,5,Bonus 3:1,13-Nov-2025,-,-,-,-,Two,INE000B01018,-\n")
    assert [row[:2] for row in desk.rows()] == [("X", "2025-11-13"), ("X", "2025-12-19"), ("Z", "2025-11-14")]
