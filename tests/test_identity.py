"""Who was called what, who was listed, who was in an index: the same whichever list was loaded first."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import URL, Engine, text

import screener_data as sd
from screener_data.errors import UsageError
from screener_data.lineage import Change, Sighting, lineages
from screener_data.loaders.list_day import told_day
from screener_data.samples import HEADERS

LISTS = ("2016-08", "2023-10", "2024-08", "2025-11-24")
#: Securities of three issuers, the first of which has two ISINs, before and after a split.
A1, A2, B1, C1 = "INE000A01012", "INE000A01020", "INE000B01010", "INE000C01018"

#: What a state is, without the ids and times that every order has of its own.
STATE = {
    "securities": "SELECT symbol, isin, security_name, series, listing_date, face_value, is_active FROM securities",
    "history": "SELECT s.symbol, h.symbol, valid_until, known_by FROM symbol_history h JOIN securities s "
    "ON s.id = security_id",
    "listings": "SELECT list_name, l.symbol, l.isin, l.listing_date, valid_from, valid_until, s.symbol FROM listings l "
    "JOIN securities s ON s.id = security_id",
    "days": "SELECT list_name, day, told_by FROM list_days",
    "constituents": "SELECT index_name, symbol, isin, valid_from, valid_until FROM index_constituents",
    "bars": "SELECT symbol, date, close FROM ohlcv_daily",
    "capitals": "SELECT symbol, date, market_cap FROM market_cap_history",
}


def row(symbol: str, isin: str, listed: str = "06-OCT-2008", name: str = "A Company Limited") -> str:
    return f"{symbol},{name},EQ,{listed},5,1,{isin},5\n"


def bar(symbol: str, day: str, close: int) -> str:
    spelled = f"{pd.Timestamp(day):%d-%b-%Y}"
    return f"{symbol}, EQ, {spelled}, 100, 100, 900, 90, 100, {close}, 100, 1000, 1.00, 10, 500, 50.00\n"


class Plan:
    """Writes lists of days, changes of symbols, and bars."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def list(self, day: str, *rows: str) -> Path:
        return self.write(f"{day}/EQUITY_L.csv", HEADERS["equity_list"] + "\n" + "".join(rows))

    def changes(self, *changes: tuple[str, str, str]) -> Path:
        rows = [f"A Company,{old},{new},{pd.Timestamp(day):%d-%b-%Y}\n" for old, new, day in changes]
        return self.write("symbolchange.csv", "".join(rows))

    def bars(self, *bars: tuple[str, str, int]) -> list[Path]:
        texts: dict[str, str] = {}
        for symbol, day, close in bars:
            texts[day] = texts.get(day, HEADERS["full"] + "\n") + bar(symbol, day, close)
        return [self.write(f"sec_bhavdata_full_{pd.Timestamp(day):%d%m%Y}.csv", text) for day, text in texts.items()]


class Desk(Plan):
    """Loads them in some order, and asks the database."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        super().__init__(folder)
        self.engine = engine

    def load(self, *paths: Path) -> list[sd.LoadResult]:
        results = [result for path in paths for result in sd.load(path, engine=self.engine)]
        assert [result.error for result in results if result.status == "failure"] == []
        return results

    def ask(self, query: str) -> list[tuple[object, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def state(self) -> dict[str, list[tuple[object, ...]]]:
        return {name: sorted(self.ask(query), key=str) for name, query in STATE.items()}

    def names(self, symbol: str) -> list[tuple[str, ...]]:
        """(security, name, ISIN, until) of each name."""
        table = sd.identity(symbol, engine=self.engine)
        until = table["valid_until"].dt.strftime("%Y-%m-%d").fillna("")
        return list(zip(table["security"], table["symbol"], table["isin"], until, strict=True))

    def listed(self, day: str) -> list[str]:
        return sd.universe(day, engine=self.engine)["symbol"].tolist()


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(tmp_path)


@pytest.fixture
def desk(tmp_path: Path, engine: Engine) -> Desk:
    return Desk(tmp_path, engine)


@pytest.fixture
def in_all_orders(tmp_path: Path, templates: dict[str, URL], clone: Callable[[URL], Engine]) -> Callable[..., Desk]:
    """Loads paths in several orders, each into a database of its own; all must end in one state, which is returned."""

    def load(*paths: Path, orders: int = 3) -> Desk:
        every = list(itertools.permutations(paths))
        chosen = [every[0], every[-1], *random.Random(7).sample(every, min(orders, len(every)))][:orders]
        desks = [Desk(tmp_path, clone(templates["embedded"])) for _ in chosen]
        for desk, order in zip(desks, chosen, strict=True):
            desk.load(*order)
        states = [desk.state() for desk in desks]
        for order, state in zip(chosen, states, strict=True):
            for name in STATE:
                assert state[name] == states[0][name], (name, [path.parent.name for path in order])
        return desks[0]

    return load


# --- who is who -----------------------------------------------------------------------------------------------------


def test_a_chain_of_names_in_any_order(plan: Plan, in_all_orders: Callable[..., Desk]) -> None:
    desk = in_all_orders(
        plan.list("2020-01-01", row("A", A1), row("B", B1)),
        plan.list("2021-01-01", row("M", A1), row("B", B1)),
        plan.list("2023-01-01", row("Z", A1), row("B", B1)),
        plan.changes(("A", "M", "2020-05-05"), ("M", "X", "2021-06-06"), ("X", "Z", "2022-07-07")),
        *plan.bars(("A", "2020-03-02", 101), ("X", "2021-08-02", 102), ("Z", "2022-08-01", 103)),
    )
    security = [("A", "2020-05-05"), ("M", "2021-06-06"), ("X", "2022-07-07"), ("Z", "")]
    for name in "AMXZ":  # any old name finds today's, and all between; no list shows X
        assert desk.names(name) == [("Z", symbol, A1, until) for symbol, until in security]
    days = {"2020-05-04": "A", "2020-05-05": "M", "2022-07-06": "X", "2026-01-01": "Z", "1999-01-01": "A"}
    assert {day: sd.symbol_on("M", day, engine=desk.engine) for day in days} == days
    assert desk.ask("SELECT symbol, close::int FROM ohlcv_daily ORDER BY date") == [("Z", 101), ("Z", 102), ("Z", 103)]
    known = sd.identity("A", engine=desk.engine)[["known_by", "dated_by"]].fillna("").values.tolist()
    assert known[0] == ["EQUITY_L of 2020-01-01", "symbol changes"]
    assert known[2] == ["symbol changes", "symbol changes"]


def test_a_rename_that_no_change_tells_is_dated_by_the_list(plan: Plan, in_all_orders: Callable[..., Desk]) -> None:
    desk = in_all_orders(*(plan.list(f"{year}-01-01", row(name, A1)) for year, name in ((2020, "A"), (2023, "B"))))
    assert desk.names("A") == [("B", "A", A1, "2023-01-01"), ("B", "B", A1, "")]
    assert sd.identity("A", engine=desk.engine)["dated_by"][0] == "EQUITY_L of 2023-01-01"


def test_a_split_gives_a_new_isin_to_the_same_security(plan: Plan, in_all_orders: Callable[..., Desk]) -> None:
    desk = in_all_orders(
        plan.list("2020-01-01", row("A", A1), row("C", C1)),
        plan.list("2021-01-01", row("A", A2), row("C", C1)),
        plan.list("2023-01-01", row("B", A2), row("C", C1)),
    )
    assert desk.names("A") == [("B", "A", A1, "2021-01-01"), ("B", "A", A2, "2023-01-01"), ("B", "B", A2, "")]
    assert desk.ask("SELECT count(*) FROM securities") == [(2,)]


def test_a_split_and_a_rename_between_lists_join_by_the_change(plan: Plan, in_all_orders: Callable[..., Desk]) -> None:
    lists = (plan.list("2020-01-01", row("A", A1)), plan.list("2023-01-01", row("B", A2)))
    capital = plan.write(
        "MCAP02032020.csv",
        f"{HEADERS['market_cap']}\n02 MAR 2020,A,EQ,A COMPANY,Listed,02 MAR 2020,5.00,35286502,226.80,8003684383.65\n",
    )
    desk = in_all_orders(*lists, plan.changes(("A", "B", "2021-06-06")), capital)
    assert desk.names("A") == [("B", "A", A1, "2021-06-06"), ("B", "B", A2, "")]
    assert desk.ask("SELECT symbol FROM market_cap_history") == [("B",)]
    assert [f.name for f in sd.check(engine=desk.engine) if f.severity == "error" and f.count] == []


def test_a_swap_between_two_lists(plan: Plan, in_all_orders: Callable[..., Desk]) -> None:
    desk = in_all_orders(
        plan.list("2020-01-01", row("A", A1), row("B", B1)),
        plan.list("2021-01-01", row("B", A1), row("A", B1)),
        *plan.bars(
            ("A", "2020-03-02", 101), ("B", "2020-03-02", 102), ("A", "2021-03-01", 202), ("B", "2021-03-01", 201)
        ),
    )
    assert desk.ask("SELECT symbol, isin FROM securities ORDER BY isin") == [("B", A1), ("A", B1)]
    assert desk.ask("SELECT symbol, close::int FROM ohlcv_daily ORDER BY symbol, date") == [
        ("A", 102),
        ("A", 202),
        ("B", 101),
        ("B", 201),
    ]
    assert sd.symbol_on("A", "2020-06-01", engine=desk.engine) == "B"


def test_another_company_takes_a_name_years_later(plan: Plan, in_all_orders: Callable[..., Desk]) -> None:
    desk = in_all_orders(
        plan.list("2016-01-01", row("A", A1), row("C", C1)),
        plan.list("2019-01-01", row("C", C1)),
        plan.list("2023-01-01", row("A", B1, "11-JAN-2022"), row("C", C1)),
        *plan.bars(("A", "2017-03-01", 101), ("A", "2022-03-01", 201)),
    )
    assert desk.ask("SELECT symbol, isin, is_active FROM securities ORDER BY isin") == [
        (f"A~{A1}", A1, False),  # the delisted one is kept, and its history with it
        ("A", B1, True),
        ("C", C1, True),
    ]
    assert desk.ask("SELECT symbol, close::int FROM ohlcv_daily ORDER BY date") == [(f"A~{A1}", 101), ("A", 201)]
    assert {name[0] for name in desk.names("A")} == {f"A~{A1}", "A"}
    assert (desk.listed("2018-01-01"), desk.listed("2020-01-01"), desk.listed("2022-06-01")) == (
        ["A", "C"],
        ["C"],
        ["A", "C"],
    )


def test_a_merger_takes_the_other_s_name_and_joins_nothing(plan: Plan, in_all_orders: Callable[..., Desk]) -> None:
    desk = in_all_orders(
        plan.list("2020-01-01", row("A", A1), row("B", A2)),  # one issuer, both on one list: two securities
        plan.list("2021-01-01", row("B", A1)),
        plan.changes(("A", "B", "2020-06-01")),
    )
    assert desk.ask("SELECT symbol, isin, is_active FROM securities ORDER BY isin") == [
        ("B", A1, True),
        (f"B~{A2}", A2, False),
    ]


def test_two_with_a_market_capitalisation_of_one_day_are_not_joined(desk: Desk) -> None:
    desk.load(desk.list("2020-01-01", row("A", A1)), desk.list("2023-01-01", row("B", A2)))
    line = "02 MAR 2020,{},EQ,A COMPANY,Listed,02 MAR 2020,5.00,35286502,226.80,8003684383.65\n"
    desk.load(desk.write("MCAP02032020.csv", HEADERS["market_cap"] + "\n" + line.format("A") + line.format("B")))
    desk.load(desk.changes(("A", "B", "2021-06-06")))
    note = "SELECT notes ->> 'two_with_market_cap_of_one_day_so_not_joined' FROM load_files ORDER BY id DESC LIMIT 1"
    assert desk.ask(note) == [("1",)]
    assert desk.ask("SELECT count(*) FROM market_cap_history") == [(2,)]
    desk.load(desk.list("2024-01-01", row("B", A2)))
    assert desk.ask("SELECT symbol, is_active FROM securities ORDER BY isin") == [(f"A~{A1}", False), ("B", True)]


def test_a_security_written_by_hand_keeps_its_name_in_mind(desk: Desk) -> None:
    with desk.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO securities (symbol, isin, security_name, security_type) "
                f"VALUES ('A', '{A1}', 'A', 'EQUITY'), ('H', '{C1}', 'H', 'EQUITY')"
            )
        )
    assert desk.names("A") == [("A", "A", A1, "")]
    for _ in range(2):
        desk.load(desk.list("2020-01-01", row("B", A1)))
    assert desk.names("A") == [("B", "A", A1, "2020-01-01"), ("B", "B", A1, "")]
    assert desk.ask("SELECT symbol, is_active FROM securities ORDER BY 1") == [("B", True), ("H", True)]


def test_an_unknown_name_suggests_near_ones(desk: Desk) -> None:
    desk.load(desk.list("2020-01-01", row("RELIANCE", A1)))
    with pytest.raises(UsageError, match="no symbol 'RELIANC'; did you mean RELIANCE"):
        sd.identity("RELIANC", engine=desk.engine)


def test_names_of_real_life_are_pure_of_the_order() -> None:
    """Without a database: shuffled evidence gives the same answer, for random lives of securities."""
    chance = random.Random(11)
    days = [dt.date(2010 + year, 1, 1) for year in range(8)]
    for _ in range(60):
        seen: list[Sighting] = []
        changes: set[Change] = set()
        for number in range(5):
            symbol, serial = chance.choice("ABCDE"), 1
            for day, after in itertools.pairwise(days):
                if chance.random() < 0.2:
                    new = chance.choice("ABCDE")
                    changes |= {Change(symbol, new, day - dt.timedelta(chance.randrange(1, 300)))} - {
                        Change(symbol, symbol, day)
                    }
                    symbol = new
                serial += chance.random() < 0.15
                if chance.random() < 0.8:
                    isin = f"INE{number:03}A0{serial}010"
                    seen.append(Sighting(symbol, isin, days[0], "L", day, after, day))
        answers = []
        for _ in range(3):
            chance.shuffle(seen)
            shuffled = list(changes)
            chance.shuffle(shuffled)
            answers.append([(each.symbol, each.names, sorted(each.isins)) for each in lineages(seen, shuffled)])
        assert answers[0] == answers[1] == answers[2]
        symbols = [symbol for symbol, _, _ in answers[0]]
        assert len(set(symbols)) == len(symbols)


# --- the day of a list ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "first", "last"),
    [
        ("EQUITY_L_24112025.csv", "2025-11-24", "2025-11-24"),
        ("a/20251124/EQUITY_L.csv", "2025-11-24", "2025-11-24"),
        ("a/24-11-2025/raw/EQUITY_L.csv", "2025-11-24", "2025-11-24"),
        ("lists-24NOV2025.zip!x/EQUITY_L.csv", "2025-11-24", "2025-11-24"),
        ("2016-08/EQUITY_L.csv", "2016-08-01", "2016-08-31"),
        ("2022/ind_nifty50list.csv", "2022-01-01", "2022-12-31"),
        ("2025-11-24/too/far/up/EQUITY_L.csv", None, None),
        ("2022-07-header-removed/EQUITY_L.csv", "2022-07-01", "2022-07-31"),
        ("EQUITY_L.csv", None, None),
        ("x/2025-13-45/EQUITY_L.csv", None, None),
    ],
)
def test_the_day_of_a_list_stands_in_its_path(label: str, first: str | None, last: str | None) -> None:
    told = told_day(label)
    assert (told and told.first.isoformat(), told and told.last.isoformat()) == (first, last)


def test_a_month_is_narrowed_by_the_newest_listing_and_what_told_the_day_is_noted(desk: Desk) -> None:
    desk.load(desk.list("2023-10", row("A", A1, "16-OCT-2023"), row("B", B1)))
    desk.load(desk.list("undated", row("A", A1), row("B", B1)))
    told = "SELECT notes ->> 'list_day', notes ->> 'list_day_told_by' FROM load_files ORDER BY id"
    [first, second] = desk.ask(told)
    assert first == ("2023-10-16", "the month of its folder")
    assert second[1] == "the day of its first load"
    with desk.engine.begin() as connection:  # the same bytes on a later day are no newer
        connection.execute(
            text("UPDATE load_files SET notes = replace(notes::text, :now, '2024-02-02')::json"), {"now": second[0]}
        )
    desk.load(desk.list("elsewhere", row("A", A1), row("B", B1)))
    assert desk.ask(told)[2][0] == "2024-02-02"


def test_lists_of_one_day_without_a_date_count_in_the_order_of_loading(desk: Desk) -> None:
    desk.load(desk.write("EQUITY_L.csv", HEADERS["equity_list"] + "\n" + row("A", A1) + row("B", B1)))
    desk.load(desk.write("EQUITY_L.csv", HEADERS["equity_list"] + "\n" + row("N", A1)))
    assert [name[:2] for name in desk.names("A")] == [("N", "A"), ("N", "N")]
    assert desk.ask("SELECT symbol, is_active FROM securities ORDER BY symbol") == [("B", False), ("N", True)]


def test_an_old_list_teaches_names_and_changes_nothing_of_today(desk: Desk) -> None:
    desk.load(desk.list("2023-01-01", row("B", A1, name="New Limited")))
    [old] = desk.load(desk.list("2020-01-01", row("A", A1, name="Old Limited"), row("C", C1)))
    assert (old.inserted, old.updated, old.unchanged) == (1, 0, 1)
    assert desk.ask("SELECT symbol, security_name, is_active FROM securities ORDER BY symbol") == [
        ("B", "New Limited", True),
        ("C", "A Company Limited", False),
    ]


# --- who was listed -------------------------------------------------------------------------------------------------


def test_the_universe_of_a_day(desk: Desk) -> None:
    desk.load(
        desk.list("2020-01-01", row("A", A1), row("GONE", B1)),
        desk.list("2023-01-01", row("NEW", A1), row("YOUNG", C1, "15-JUN-2021")),
    )
    assert desk.listed("2019-06-01") == ["A", "GONE"]  # of those before the first list, only the survivors are known
    assert desk.listed("2005-01-01") == []
    assert desk.listed("2021-06-14") == ["A", "GONE"]
    assert desk.listed("2021-06-15") == ["A", "GONE", "YOUNG"]
    assert desk.listed("2023-01-01") == ["NEW", "YOUNG"]
    table = sd.universe(dt.date(2021, 7, 1), engine=desk.engine).set_index("symbol")
    assert table.loc["A", "security"] == "NEW"
    assert table["list_day"].dt.strftime("%Y").to_dict() == {"A": "2020", "GONE": "2020", "YOUNG": "2023"}
    assert sd.universe(engine=desk.engine)["symbol"].tolist() == ["NEW", "YOUNG"]
    assert (
        table.dtypes.astype(str).to_dict()
        == sd.universe("1999-01-01", engine=desk.engine).set_index("symbol").dtypes.astype(str).to_dict()
    )


@pytest.mark.parametrize("arguments", [("NIFTY 50",), ("nope", "2020-01-01"), (dt.date(2020, 1, 1), "2020-01-01")])
def test_wrong_questions(desk: Desk, arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        sd.universe(*arguments, engine=desk.engine)


# --- index constituents ---------------------------------------------------------------------------------------------


def constituents(*members: tuple[str, str]) -> str:
    return HEADERS["constituents"] + "\n" + "".join(f"A Ltd.,IT,{symbol},EQ,{isin}\n" for symbol, isin in members)


def test_constituents_in_any_order(plan: Plan, in_all_orders: Callable[..., Desk]) -> None:
    days = {
        "2020-01-01": [("A", A1), ("B", B1)],
        "2021-01-01": [("A", A1), ("C", C1)],
        "2022-01-01": [("A", A1), ("B", B1)],
        "2023-01-01": [("N", A1), ("B", B1)],
    }
    files = [plan.write(f"{day}/ind_nifty50list.csv", constituents(*members)) for day, members in days.items()]
    desk = in_all_orders(*files, plan.list("2023-01-01", row("N", A1)), orders=4)
    stays = "SELECT symbol, valid_from::text, valid_until::text FROM index_constituents ORDER BY symbol, valid_from"
    assert desk.ask(stays) == [
        ("A", "2020-01-01", "2023-01-01"),
        ("B", "2020-01-01", "2021-01-01"),
        ("B", "2022-01-01", None),
        ("C", "2021-01-01", "2022-01-01"),
        ("N", "2023-01-01", None),
    ]
    for day, members in days.items():
        table = sd.universe("Nifty 50", day, engine=desk.engine)
        assert list(zip(table["symbol"], table["isin"], strict=True)) == sorted(members)
    table = sd.universe("NIFTY 50", "2021-12-31", engine=desk.engine)
    assert table["security"].fillna("").tolist() == ["N", ""]  # C is in no list of securities
    with pytest.raises(UsageError, match="on 2019-12-31 is not known; the first list is of 2020-01-01"):
        sd.universe("NIFTY 50", "2019-12-31", engine=desk.engine)
    assert [result.unchanged for result in desk.load(*files)] == [2, 2, 2, 2]


def test_real_constituents_and_their_placeholders(desk: Desk, shared: Path) -> None:
    results = desk.load(*sorted((shared / "constituents").glob("*/*.csv")))
    assert {Path(r.file).name: (r.inserted, r.reasons) for r in results[:1] + results[3:]} == {
        "ind_nifty500list.csv": (501, {}),
        "ind_niftytotalmarket_list.csv": (750, {"placeholder": 2}),
    }
    assert desk.ask("SELECT DISTINCT index_name FROM index_constituents ORDER BY 1") == [
        ("NIFTY 50",),
        ("NIFTY 500",),
        ("NIFTY TOTAL MARKET",),
    ]
    assert {row["detail"] for row in sd.rejects(engine=desk.engine)} == {
        f"'{symbol}' stands for what has no symbol of its own yet" for symbol in ("DUMMYSTLTE", "DUMMYDBRLT")
    }
    for year, path in (("2022", "2022"), ("2025-09", "2025-09")):
        printed = pd.read_csv(shared / f"constituents/{path}/ind_nifty50list.csv")
        day = {"2022": "2023-06-30", "2025-09": "2025-10-01"}[year]
        assert sd.universe("NIFTY 50", day, engine=desk.engine)["symbol"].tolist() == sorted(printed["Symbol"])


def test_an_index_that_is_not_declared_is_told(desk: Desk) -> None:
    [result] = sd.load(desk.write("ind_niftyfooolist.csv", constituents(("A", A1))), engine=desk.engine)
    assert result.status == "failure"
    assert "no index_name is known by this name (found 'niftyfooo')" in (result.error or "")


# --- the real lists -------------------------------------------------------------------------------------------------


def test_real_lists_of_nine_years_end_in_one_state(shared: Path, in_all_orders: Callable[..., Desk]) -> None:
    lists = [shared / f"equity_list/{day}/EQUITY_L.csv" for day in LISTS]
    desk = in_all_orders(*lists, shared / "symbol_changes/symbolchange.csv", orders=2)
    published = pd.read_csv(lists[-1])
    active = {isin for [isin] in desk.ask("SELECT isin FROM securities WHERE is_active")}
    assert active == set(published[" ISIN NUMBER"])
    assert desk.ask("SELECT count(*) FROM securities") == [(2588,)]
    for day, path in (("2016-08-01", lists[0]), ("2024-08-05", lists[2]), ("2025-11-24", lists[3])):
        assert set(desk.listed(day)) == set(pd.read_csv(path)["SYMBOL"]), day
    assert [sd.symbol_on("ZYDUSLIFE", day, engine=desk.engine) for day in ("2022-03-06", "2022-03-07")] == [
        "CADILAHC",
        "ZYDUSLIFE",
    ]
    assert sd.identity("AMIORG", engine=desk.engine)["isin"].tolist() == ["INE00FF01017", "INE00FF01025"]
