"""What was loaded comes back as tables: the right rows, the right types, and near names for wrong ones."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal
from sqlalchemy import URL, Engine, create_engine, text

import screener_data as sd
from screener_data.errors import UsageError
from screener_data.formulas import COLUMNS
from screener_data.ingest import LoadResult
from screener_data.read import METRIC_COLUMNS, PRICE_COLUMNS

USUAL = ["open", "high", "low", "close", "volume"]
SCOPE = {"EQ", "BE", "BZ", "SM", "ST"}  # the series of the sample market that belong in ohlcv_daily
LAST_DAY = dt.date(2025, 6, 30)
WORDS = ["symbol", "series", "date", *USUAL, "prev_close"]
DIALECTS = {
    "full": "SYMBOL SERIES DATE1 OPEN_PRICE HIGH_PRICE LOW_PRICE CLOSE_PRICE TTL_TRD_QNTY PREV_CLOSE",
    "udiff": "TckrSymb SctySrs TradDt OpnPric HghPric LwPric ClsPric TtlTradgVol PrvsClsgPric",
}


def bhavcopies(market: Path) -> list[Path]:
    """Those of May and June 2025, in both dialects: a rename, a suspension and a delisting fall into them."""
    folder = market / "bhavcopy"
    return sorted([*folder.glob("full/*0[56]2025.csv"), *folder.glob("udiff/*")])


def by_hand(market: Path) -> pd.DataFrame:
    """The same files, read by other means: pandas, and the rules as sentences."""
    days = []
    for path in bhavcopies(market):
        day = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
        days.append(day[DIALECTS[path.parent.name].split()].set_axis(WORDS, axis=1))
    table = pd.concat(days, ignore_index=True)
    table = table[table["series"].isin(SCOPE)]
    table["symbol"] = table["symbol"].replace("OLDNAME", "NEWNAME")  # history follows a rename
    table["date"] = pd.to_datetime(table["date"], format="mixed")
    for name in (*USUAL, "prev_close"):
        table[name] = pd.to_numeric(table[name], errors="coerce").astype("float64")
    table = table.dropna().query("low <= close <= high")  # the sample's dirt is rejected
    table = table.sort_values(["symbol", "date"], ignore_index=True)
    table["symbol"] = table["symbol"].astype("category")
    return table[["symbol", "date", *USUAL, "prev_close"]]


@pytest.fixture(scope="module")
def stored(module_url: URL, market: Path) -> Iterator[tuple[Engine, list[LoadResult]]]:
    """Two months of the sample market, on each server, for reading only."""
    engine = create_engine(module_url)
    others = [market / "lists", market / "symbol_changes", market / "market_cap" / "PR300625.zip"]
    indices = sorted((market / "indices").glob("*062025.csv"))
    yield engine, sd.load([*others, *bhavcopies(market), *indices], engine=engine)
    engine.dispose()


@pytest.fixture
def full(stored: tuple[Engine, list[LoadResult]]) -> Engine:
    return stored[0]


# --- prices


def test_prices_are_those_of_the_files(full: Engine, market: Path) -> None:
    right = by_hand(market)
    found = sd.prices(sorted(set(right["symbol"])), columns=[*USUAL, "prev_close"], engine=full)
    assert len(right) > 1000
    assert {path.parent.name for path in bhavcopies(market)} == set(DIALECTS)
    assert_frame_equal(found, right.astype({"date": found["date"].dtype}), check_exact=True)


def test_prices_types_and_order(full: Engine) -> None:
    found = sd.prices(columns=list(PRICE_COLUMNS), engine=full)
    assert list(found) == ["symbol", "date", *PRICE_COLUMNS]
    assert isinstance(found["symbol"].dtype, pd.CategoricalDtype)
    assert pd.api.types.is_datetime64_dtype(found["date"])
    assert {str(found[name].dtype) for name in PRICE_COLUMNS} == {"float64"}
    keys = list(zip(found["symbol"].astype(str), found["date"], strict=True))
    assert keys == sorted(set(keys))
    assert list(found.index) == list(range(len(found)))


def test_prices_as_arrow(full: Engine) -> None:
    found = sd.prices(columns=list(PRICE_COLUMNS), as_arrow=True, engine=full)
    right = sd.prices(columns=list(PRICE_COLUMNS), engine=full)
    assert found.schema == arrow_schema(PRICE_COLUMNS)
    assert found["volume"].null_count == right["volume"].isna().sum() > 0  # of indices
    back = found.to_pandas().astype({"date": right["date"].dtype})
    assert_frame_equal(back, right, check_exact=True)
    one = sd.prices("NAN", "2025-06-26", "2025-06-27", "close", adjusted=True, as_arrow=True, engine=full)
    assert one.to_pydict() == {
        "symbol": ["NAN"] * 2,
        "date": [dt.date(2025, 6, 26), dt.date(2025, 6, 27)],
        "close": list(sd.prices("NAN", "2025-06-26", "2025-06-27", "close", adjusted=True, engine=full)["close"]),
    }
    assert sd.prices([], as_arrow=True, engine=full).schema == arrow_schema(USUAL)


def arrow_schema(columns: Sequence[str]) -> pa.Schema:
    kinds = {"symbol": pa.dictionary(pa.int32(), pa.string()), "date": pa.date32()}
    return pa.schema(kinds | dict.fromkeys(columns, pa.float64()))


@pytest.mark.parametrize(
    ("symbols", "right"),
    [
        ("NAN", {"NAN"}),
        ("NA", {"NA"}),
        ("K&VCORP", {"K&VCORP"}),
        (["NA", "ZEL-AUTO", "NA"], {"NA", "ZEL-AUTO"}),
        ({"NAN": 1, "NIFTY 50": 2}.keys(), {"NAN", "NIFTY 50"}),
        ([], set()),
    ],
)
def test_prices_of_some_symbols(full: Engine, symbols: Any, right: set[str]) -> None:
    found = sd.prices(symbols, engine=full)
    assert set(found["symbol"]) == set(found["symbol"].cat.categories) == right
    assert not found.duplicated(["symbol", "date"]).any()


@pytest.mark.parametrize("symbols", [None, "all"])
def test_prices_of_all_symbols(full: Engine, symbols: str | None) -> None:
    with full.connect() as connection:
        rows = connection.execute(text("SELECT count(*) FROM ohlcv_daily")).scalar_one()
    assert len(sd.prices(symbols, engine=full)) == rows


@pytest.mark.parametrize(
    ("start", "end", "right"),
    [
        ("2025-06-26", None, [26, 27, 30]),
        (dt.date(2025, 6, 26), "2025-06-27", [26, 27]),
        (dt.datetime(2025, 6, 26, 15, 30), pd.Timestamp("2025-06-27"), [26, 27]),
        ("2025-06-28", "2025-06-29", []),
        ("2025-06-30", "2025-06-26", []),
    ],
)
def test_first_and_last_day_are_included(full: Engine, start: Any, end: Any, right: list[int]) -> None:
    assert list(sd.prices("NA", start, end, engine=full)["date"].dt.day) == right
    assert list(sd.panel("close", "NA", start, end, engine=full).index.day) == right
    assert list(sd.sessions(start, end, engine=full).day) == right


@pytest.mark.parametrize("columns", [[], ["vwap"], ["close", "change_pct"]])
def test_prices_of_some_columns(full: Engine, columns: list[str]) -> None:
    assert list(sd.prices("NA", columns=columns, engine=full)) == ["symbol", "date", *columns]


def test_indices_have_no_volume(full: Engine) -> None:
    found = sd.prices("NIFTY 50", engine=full)
    assert found["volume"].isna().all()
    assert found["close"].notna().all()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda e: sd.prices("SPLITCOO", engine=e), "no symbol 'SPLITCOO'; did you mean SPLITCO"),
        (lambda e: sd.prices("splitco", engine=e), "no symbol 'splitco'; did you mean SPLITCO"),
        (lambda e: sd.prices(["NA", "QQQQQQQQ"], engine=e), "no symbol 'QQQQQQQQ'"),
        (lambda e: sd.prices("NA'; DROP TABLE x; --", engine=e), "no symbol "),
        (lambda e: sd.prices(columns=["closing"], engine=e), "no column 'closing'; did you mean close"),
        (lambda e: sd.prices(columns=['close" FROM x --'], engine=e), "no column "),
        (lambda e: sd.panel("volumes", engine=e), "no column 'volumes'; did you mean volume"),
        (lambda e: sd.prices(start="yesterday", engine=e), "'yesterday' is no day; write 2025-01-16"),
        (lambda e: sd.panel(end="2025-02-30", engine=e), "'2025-02-30' is no day"),
        (lambda e: sd.sessions("01-02-2025", engine=e), "'01-02-2025' is no day"),
        (lambda e: sd.rejects("nse_bhav", engine=e), "no source 'nse_bhav'; there are: "),
    ],
)
def test_wrong_names_are_errors(full: Engine, ask: Callable[[Engine], Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        ask(full)


def test_the_engine_is_found_by_the_settings(engine: Engine) -> None:
    assert sd.prices().empty
    assert sd.status()["sources"] == []
    assert sd.rejects() == []


# --- metrics


@pytest.fixture(scope="module")
def computed(stored: tuple[Engine, list[LoadResult]]) -> Engine:
    sd.calculate(engine=stored[0])
    return stored[0]


def test_metrics_are_those_of_the_table(computed: Engine) -> None:
    assert METRIC_COLUMNS == COLUMNS
    found = sd.metrics(start="2025-06-01", engine=computed)
    with computed.connect() as connection:
        rows = connection.execute(text("SELECT * FROM calculated_metrics WHERE date >= '2025-06-01'")).mappings().all()
    right = {(row["symbol"], row["date"]): [row[name] for name in COLUMNS] for row in rows}
    assert len(found) == len(right) > 400
    for key, *figures in found.set_index(["symbol", "date"]).itertuples():
        expected = right[key[0], key[1].date()]
        assert [None if pd.isna(value) else value for value in figures] == [
            None if value is None else float(value) for value in expected
        ]
    assert found["ma_20"].notna().any()
    assert found["ma_200"].isna().all()  # two months are too short


def test_metrics_types_and_order(computed: Engine) -> None:
    found = sd.metrics(end="2030-01-01", engine=computed)
    assert list(found) == ["symbol", "date", *METRIC_COLUMNS]
    assert isinstance(found["symbol"].dtype, pd.CategoricalDtype)
    assert pd.api.types.is_datetime64_dtype(found["date"])
    assert {str(found[name].dtype) for name in METRIC_COLUMNS} == {"float64"}
    keys = list(zip(found["symbol"].astype(str), found["date"], strict=True))
    assert keys == sorted(set(keys))


def test_metrics_as_arrow(computed: Engine) -> None:
    found = sd.metrics(start="2025-06-01", as_arrow=True, engine=computed)
    right = sd.metrics(start="2025-06-01", engine=computed)
    assert found.schema == arrow_schema(METRIC_COLUMNS)
    assert found["ma_200"].null_count == len(right)
    assert_frame_equal(found.to_pandas().astype(right.dtypes.to_dict()), right, check_exact=True)
    assert sd.metrics("2025-06-28", as_arrow=True, engine=computed).schema == found.schema


def test_metrics_of_one_session_by_default_the_last(computed: Engine) -> None:
    last = sd.metrics(engine=computed)
    assert set(last["date"]) == {pd.Timestamp(LAST_DAY)}
    assert_frame_equal(sd.metrics(LAST_DAY, engine=computed), last)
    assert set(sd.metrics("2025-06-26", engine=computed)["date"].dt.day) == {26}
    assert sd.metrics("2025-06-28", engine=computed).empty  # a Saturday
    assert sd.metrics("2025-06-28", engine=computed).dtypes.astype(str).to_dict() == last.dtypes.astype(str).to_dict()


def test_metrics_of_some_symbols_days_and_columns(computed: Engine) -> None:
    found = sd.metrics(None, ["NA", "K&VCORP"], "2025-06-26", "2025-06-27", "ma_10", engine=computed)
    assert list(found) == ["symbol", "date", "ma_10"]
    assert list(zip(found["symbol"], found["date"].dt.day, strict=True)) == [
        *(("K&VCORP", 26), ("K&VCORP", 27), ("NA", 26), ("NA", 27))
    ]
    assert sd.metrics(symbols="NA", columns=["stage", "atr"], engine=computed).shape == (1, 4)
    assert set(sd.metrics(symbols="all", engine=computed)["symbol"]) > {"NA", "NAN"}
    assert sd.metrics(symbols=[], engine=computed).empty


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"symbols": "SPLITCOO"}, "no symbol 'SPLITCOO'; did you mean SPLITCO"),
        ({"symbols": "NIFTY 50"}, "no symbol 'NIFTY 50'"),  # an index has bars, and no metrics
        ({"columns": "ma_21"}, "no column 'ma_21'; did you mean ma_20"),
        ({"columns": ["close"]}, "no column 'close'"),
        ({"date": "today"}, "'today' is no day; write 2025-01-16"),
        ({"date": LAST_DAY, "start": LAST_DAY}, "give either date, for one session, or start and end"),
        ({"date": LAST_DAY, "end": LAST_DAY}, "give either date, for one session, or start and end"),
    ],
)
def test_metrics_that_cannot_be_are_errors(computed: Engine, ask: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        sd.metrics(**ask, engine=computed)


# --- panel, sessions, coverage


def test_panel_is_sessions_by_symbols(full: Engine, market: Path) -> None:
    right = by_hand(market).pivot(index="date", columns="symbol", values="close")
    found = sd.panel("close", list(right), engine=full)
    assert (found.index.name, found.columns.name) == ("date", "symbol")
    assert found.shape == (len(bhavcopies(market)), right.shape[1])
    assert set(found.dtypes) == {found.dtypes["NA"]} == {pd.Series([0.5]).dtype}
    right.columns = pd.Index(list(right), name="symbol")
    assert_frame_equal(found, right.set_axis(found.index), check_exact=True)


def test_panel_has_nan_where_nothing_traded(full: Engine) -> None:
    paused = sd.panel(engine=full)["PAUSECO"].isna()
    assert 5 <= paused.sum() <= 10
    assert not paused.iloc[-1]
    days = list(paused[paused].index)
    assert days == list(sd.sessions(days[0], days[-1], engine=full))  # one stretch, without a gap


def test_sessions_are_the_days_with_securities(full: Engine, market: Path) -> None:
    found = sd.sessions(engine=full)
    assert found.is_monotonic_increasing
    assert [day.date() for day in found] == sorted({day.date() for day in by_hand(market)["date"]})


def test_coverage_counts_bars_by_kind(full: Engine, market: Path) -> None:
    found = sd.coverage(engine=full)
    right = by_hand(market).groupby("date").size()
    assert list(found["securities"]) == list(right)
    assert set(found.loc["2025-05", "indices"]) == {0}
    # one of nine has no opening level in the index file of the day; the PR zip of the last day has it
    assert list(found.loc["2025-06", "indices"]) == [8] * 20 + [9]
    assert set(map(str, found.dtypes)) == {"int64"}


def test_a_day_with_indices_alone_is_no_session(engine: Engine, market: Path) -> None:
    sd.load(market / "indices" / "ind_close_all_30062025.csv", engine=engine)
    assert list(sd.coverage(engine=engine)["indices"]) == [8]
    assert sd.sessions(engine=engine).empty


# --- what was loaded


def test_status_tells_the_last_loads_and_the_tables(stored: tuple[Engine, list[LoadResult]]) -> None:
    engine, results = stored
    found = sd.status(engine=engine)
    last = {result.source: result for result in results}
    assert {row["source"] for row in found["sources"]} == set(last)
    for row in found["sources"]:
        right = last[row["source"]].model_dump()
        same = ("status", "file", "read", "inserted", "updated", "unchanged", "rejected", "skipped", "error")
        assert {name: row[name] for name in same} == {name: right[name] for name in same}
    tables = {row["table"]: row for row in found["tables"]}
    bars = sd.prices(engine=engine)
    assert tables["ohlcv_daily"]["rows"] == len(bars)
    assert tables["ohlcv_daily"]["first"] == bars["date"].min().date()
    assert tables["ohlcv_daily"]["last"] == LAST_DAY
    assert (tables["securities"]["last"], tables["bulk_deals"]["rows"]) == (None, 0)
    assert tables["ingestion_logs"]["rows"] == len(results)
    assert sum(row["rows"] for row in found["rejects"]) == sum(result.rejected for result in results) == 2


def test_rejects_are_the_newest_first(full: Engine) -> None:
    found = sd.rejects(engine=full)
    assert [(row["source"], row["reason"], row["symbol"]) for row in found] == [
        ("nse_market_cap", "unknown_symbol", "GHOSTCO"),
        ("nse_bhavcopy", "wrong_cell_count", None),
    ]
    assert found[1]["raw"].startswith("BONUSCO, EQ, 20-May-2025")
    assert found[1]["file"].endswith("sec_bhavdata_full_20052025.csv")
    assert sd.rejects(limit=1, engine=full) == found[:1]
    assert sd.rejects("nse_bhavcopy", engine=full) == found[1:]
    assert sd.rejects("nse_sme", engine=full) == []


# --- an empty database


def test_empty_tables_have_the_right_types(engine: Engine, full: Engine) -> None:
    for ask in (sd.prices, sd.coverage):
        empty, right = ask(engine=engine), ask(engine=full)
        assert len(empty) == 0
        kinds = [[kind.name for kind in frame.dtypes] for frame in (empty, right)]
        assert kinds[0] == kinds[1], ask.__name__
    panel = sd.panel(engine=engine)
    assert panel.shape == (0, 0)
    assert pd.api.types.is_datetime64_dtype(panel.index.dtype)
    assert isinstance(sd.sessions(engine=engine), pd.DatetimeIndex)
    metrics = sd.metrics(engine=engine)
    assert metrics.empty
    kinds = [sd.prices(engine=full)[name].dtype.name for name in ("symbol", "date")]
    assert [kind.name for kind in metrics.dtypes] == [*kinds, *["float64"] * len(METRIC_COLUMNS)]
    assert {row["rows"] for row in sd.status(engine=engine)["tables"]} == {0}
    with pytest.raises(UsageError, match="no symbol 'NA'"):
        sd.prices("NA", engine=engine)
