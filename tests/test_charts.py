"""Figures show what is stored, their tables are right by hand, and a page of them needs no network."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from plotly.offline import get_plotlyjs
from sqlalchemy import URL, Engine, create_engine, text
from typer.testing import CliRunner

import screener_data as sd
from screener_data import notebooks
from screener_data.charts import breadth_table, rotation_table
from screener_data.cli import app
from screener_data.errors import ConfigError, UsageError

PASSWORD = "geheim-4711"
DAYS = [dt.date(2025, 6, day) for day in (26, 27, 30)]  # a weekend lies between


def insert(engine: Engine, table: str, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    with engine.begin() as connection:
        connection.execute(
            text(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"), rows
        )


def bar(symbol: str, day: dt.date, close: float, prev_close: float | None = None) -> dict[str, Any]:
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    return {"symbol": symbol, "date": day, **prices, "volume": 100, "prev_close": prev_close}


def security(symbol: str, number: int, kind: str = "EQUITY") -> dict[str, Any]:
    name = f"{symbol} <b> Limited"
    return {"symbol": symbol, "isin": f"INE{number:09}", "security_name": name, "security_type": kind}


def metric(symbol: str, day: dt.date, **values: float | None) -> dict[str, Any]:
    return {"symbol": symbol, "date": day, "stage": None, "ma_10": None, "ma_50": None, "ma_200": None} | values


@pytest.fixture(scope="module")
def engine(module_url: URL) -> Iterator[Engine]:
    """Three sessions: AAA splits 1:2 on the third, BBB is flat, FUND is an ETF, an index, and deals in AAA."""
    engine = create_engine(module_url)
    insert(
        engine,
        "securities",
        [security("AAA", 1), security("BBB", 2), security("LONELY", 4), security("FUND", 3, "ETF")],
    )
    insert(engine, "indices", [{"index_name": "Nifty 50", "symbol": "NIFTY 50"}])
    closes = {"AAA": (100, 110, 54), "BBB": (20, 20, 20), "FUND": (5, 6, 7), "NIFTY 50": (1000, 1010, 990)}
    rows = [
        bar(symbol, day, value, before)
        for symbol, values in closes.items()
        for day, value, before in zip(DAYS, values, (None, *values[:2]), strict=True)
    ]
    insert(engine, "ohlcv_daily", [*rows, bar("LONELY", DAYS[2], 9)])
    action = {
        "symbol": "AAA",
        "ex_date": DAYS[2],
        "kind": "split",
        "shares_before": 1,
        "shares_after": 2,
        "purpose": "",
    }
    insert(engine, "corporate_actions", [action])
    stored = [
        metric("AAA", DAYS[0], stage=1, ma_10=90),
        metric("AAA", DAYS[1], stage=2, ma_10=95, ma_50=100),
        metric("AAA", DAYS[2], stage=2, ma_10=50, ma_50=52, ma_200=60),
        metric("BBB", DAYS[1], stage=4, ma_50=20),
        metric("BBB", DAYS[2], stage=4, ma_50=21, ma_200=19),
        metric("FUND", DAYS[2], stage=3, ma_50=1, ma_200=1),
    ]
    insert(engine, "calculated_metrics", stored)
    deal = {
        "date": DAYS[1],
        "symbol": "AAA",
        "deal_type": "BUY",
        "quantity": 1000,
        "price": 108,
        "client_name": "X <i>",
    }
    insert(engine, "bulk_deals", [deal, deal | {"quantity": 3000, "price": 104}, deal | {"deal_type": "SELL"}])
    insert(engine, "block_deals", [deal | {"date": DAYS[2], "price": 55}])
    yield engine
    engine.dispose()


def traces(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


# --- one security


@pytest.mark.parametrize(("adjusted", "factor"), [(True, 0.5), (False, 1.0)])
def test_a_chart_scales_all_that_is_in_rupees_alike(engine: Engine, adjusted: bool, factor: float) -> None:
    shown = traces(sd.chart("AAA", adjusted=adjusted, engine=engine))
    scale = np.array([factor, factor, 1])
    assert list(shown["AAA"].x) == [str(day) for day in DAYS]
    assert list(shown["AAA"].close) == list([100, 110, 54] * scale)
    assert list(shown["volume"].y) == list(100 / scale)
    assert list(shown["10-day average"].y) == list([90, 95, 50] * scale)
    assert list(shown["50-day average"].y[1:]) == list([100, 52] * scale[1:])
    assert list(shown["bulk deals: buy"].y) == [105 * factor]  # the mean by shares
    assert list(shown["block deals: buy"].y) == [55]
    assert shown["bulk deals: buy"].text[0] == "X &lt;i&gt;: 1,000 at ₹108.00<br>X &lt;i&gt;: 3,000 at ₹104.00"
    assert "20-day average" not in shown


def test_stages_are_bands_and_the_axis_has_no_gaps(engine: Engine) -> None:
    figure = sd.chart("AAA", engine=engine)
    bands = [(shape.name, shape.x0, shape.x1) for shape in figure.layout.shapes]
    assert bands == [("stage 1, basing", -0.5, 0.5), ("stage 2, advancing", 0.5, 2.5)]
    for axis in (figure.layout.xaxis, figure.layout.xaxis2):
        assert axis.type == "category"
        assert list(axis.categoryarray) == [str(day) for day in DAYS]
    title = figure.layout.title.text
    assert title == "AAA · AAA &lt;b&gt; Limited<br><sub>2025-06-26 to 2025-06-30, adjusted</sub>"


@pytest.mark.parametrize(("symbol", "title"), [("LONELY", "LONELY · LONELY"), ("NIFTY 50", "NIFTY 50 · Nifty 50")])
def test_a_chart_without_metrics_or_deals(engine: Engine, symbol: str, title: str) -> None:
    figure = sd.chart(symbol, engine=engine)
    assert [trace.name for trace in figure.data] == [symbol, "volume"]
    assert figure.layout.title.text.startswith(title)


def test_wrong_words_are_named(engine: Engine) -> None:
    with pytest.raises(UsageError, match="no symbol 'LONLY'; did you mean LONELY"):
        sd.chart("LONLY", engine=engine)
    with pytest.raises(UsageError, match="no bars of AAA between 2025-07-01 and the end"):
        sd.chart("AAA", "2025-07-01", engine=engine)
    with pytest.raises(UsageError, match="no sessions between the beginning and 2020-01-01"):
        sd.breadth(end="2020-01-01", engine=engine)
    with pytest.raises(UsageError, match="weeks is at least 1, not 0"):
        sd.rotation(weeks=0, engine=engine)
    with pytest.raises(UsageError, match="is the classification loaded"):
        sd.rotation(engine=engine)


# --- breadth


def test_breadth_by_hand(engine: Engine) -> None:
    table = breadth_table(engine=engine)
    nan = float("nan")
    right = {
        "stage_1": [100, 0, 0],
        "stage_2": [0, 50, 50],
        "stage_3": [0, 0, 0],
        "stage_4": [0, 50, 50],
        "above_ma_50": [nan, 50, 50],  # AAA 110 > 100, BBB 20 = 20; AAA 54 > 52, BBB 20 < 21
        "above_ma_200": [nan, nan, 50],  # AAA 54 < 60, BBB 20 > 19
        "advances": [0, 1, 0],
        "declines": [0, 0, 1],  # AAA: 110 before the split are 55 now
    }
    pd.testing.assert_frame_equal(table.reset_index(drop=True), pd.DataFrame(right).astype("float64"))
    assert list(table.index) == [pd.Timestamp(day) for day in DAYS]
    assert list(breadth_table(DAYS[1], DAYS[1], engine=engine).index) == [pd.Timestamp(DAYS[1])]


def test_the_figure_of_breadth_draws_the_table(engine: Engine) -> None:
    figure = sd.breadth(engine=engine)
    shown = traces(figure)
    assert list(shown["stage 4, declining"].y) == [0, 50, 50]
    assert list(shown["declines"].y) == [0, 0, -1]
    assert figure.layout.title.text.endswith("2025-06-26 to 2025-06-30</sub>")


# --- rotation


@pytest.fixture
def sectors(database_url: URL) -> Iterator[Engine]:
    """Fifteen weeks with one session each: UP gains 10 % in the last week, DOWN nothing, the index nothing."""
    own = create_engine(database_url)
    insert(own, "securities", [security("UP", 1), security("DOWN", 2)])
    insert(own, "industry_classification", [{"symbol": "UP", "sector": "A & B"}, {"symbol": "DOWN", "sector": "C"}])
    days = [dt.date(2024, 12, 25) + dt.timedelta(weeks=week) for week in range(15)]
    closes = {"UP": [100.0] * 14 + [110.0], "DOWN": [50.0] * 15, "NIFTY 500": [1000.0] * 15}
    insert(
        own, "ohlcv_daily", [bar(s, day, c) for s, each in closes.items() for day, c in zip(days, each, strict=True)]
    )
    yield own
    own.dispose()


def test_rotation_by_hand(sectors: Engine) -> None:
    table = rotation_table(weeks=1, engine=sectors)
    strength = 100 * 1.1 / (10.1 / 10)  # nine weeks at 1, one at 1.1
    assert table["sector"].tolist() == ["A & B", "C"]
    assert table["date"].tolist() == [pd.Timestamp("2025-04-02")] * 2
    assert table["strength"].tolist() == pytest.approx([strength, 100])
    assert table["momentum"].tolist() == pytest.approx([100 * strength / ((300 + strength) / 4), 100])
    assert rotation_table("2025-03-26", 1, engine=sectors)["strength"].tolist() == [100, 100]
    figure = sd.rotation(weeks=1, engine=sectors)
    assert [trace.name for trace in figure.data] == ["A &amp; B", "C"]
    assert figure.layout.title.text.endswith("1 weeks up to 2025-04-02, against NIFTY 500</sub>")


def test_without_the_index_all_equities_are_the_benchmark(sectors: Engine) -> None:
    with sectors.begin() as connection:
        connection.execute(text("DELETE FROM ohlcv_daily WHERE symbol = 'NIFTY 500' AND date = '2025-04-02'"))
    ratios = [1.1 / 1.05, 1 / 1.05]  # the mean of +10 % and 0
    right = [100 * ratio / ((9 + ratio) / 10) for ratio in ratios]
    assert rotation_table(weeks=1, engine=sectors)["strength"].tolist() == pytest.approx(right)


# --- as a page: none depends on the server

on_the_embedded_server = pytest.mark.parametrize("module_url", ["embedded"], indirect=True)


@pytest.fixture(scope="module")
def executed(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook that was run: a chart, a secret, and all that would be fetched if it were let."""
    folder = tmp_path_factory.mktemp("page")
    cells = [
        nbformat.v4.new_markdown_cell("$x^2$ ![far](https://pictures.invalid/far.png)\n```mermaid\ngraph TD;\n```"),
        nbformat.v4.new_code_cell("import screener_data as sd\nsd.chart('AAA')"),
        nbformat.v4.new_code_cell("sd.breadth()"),
        nbformat.v4.new_code_cell("import os\nprint(os.environ['SCREENER_DATABASE_URL'], os.environ['X_TOKEN'])"),
        nbformat.v4.new_code_cell(
            "from IPython.display import HTML\n"
            'HTML(\'<script src="https://scripts.invalid/x.js"></script><script>fetch("https://data.invalid")</script>\')'
        ),
    ]
    path = folder / "figures.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCREENER_DATABASE_URL", engine.url.render_as_string(hide_password=False))
        patch.setenv("X_TOKEN", PASSWORD)
        done = notebooks.run(path, output_dir=folder)
    assert done.ok, done.error
    return done.output


@on_the_embedded_server
def test_figures_in_notebooks_are_plain_plotly(executed: Path) -> None:
    document = nbformat.read(executed, as_version=4)
    for cell in document.cells[1:3]:
        (output,) = [output for output in cell.outputs if "data" in output]
        assert "application/vnd.plotly.v1+json" in output.data
        assert len(json.dumps(output.data)) < 200_000  # and not plotly itself, five megabytes


@on_the_embedded_server
def test_a_page_needs_no_network(executed: Path, tmp_path: Path, chromium: str) -> None:
    from playwright.sync_api import sync_playwright  # here, so that the other tests need no browser

    done = CliRunner().invoke(app, ["export", str(executed), "-o", str(tmp_path / "page.html")])
    assert done.stdout.strip() == str(tmp_path / "page.html"), done.output
    failures: dict[str, str | None] = {}
    came: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("requestfailed", lambda request: failures.update({request.url: request.failure}))
        page.on("requestfinished", lambda request: came.append(request.url))
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_selector(".boxlayer path.box", state="attached")
        assert page.locator(".boxlayer path.box").count() == len(DAYS)
        assert page.locator(".js-plotly-plot").count() == 2
        page.wait_for_timeout(300)
        browser.close()
    assert [url for url in came if not url.startswith(("file:", "data:", "blob:"))] == []
    # what a cell brought along is stopped by the page itself, before it reaches a network
    assert failures == dict.fromkeys(("https://pictures.invalid/far.png", "https://scripts.invalid/x.js"), "csp")


@on_the_embedded_server
def test_a_page_names_nothing_to_fetch(executed: Path, tmp_path: Path) -> None:
    page = notebooks.to_html(executed, tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("plotly.js v") == 1
    outside = page.replace("https://pictures.invalid/far.png", "").replace("https://scripts.invalid/x.js", "")
    fetched = r"""<(?:script|img|link|iframe)\b[^>]*?\b(?:src|href)\s*=\s*["']?https?:|@import|import\(["']https?:"""
    assert re.findall(fetched, outside) == []
    assert re.search(fetched, page)  # what a cell brought along is left, and the browser told not to fetch it
    assert "default-src 'none'" in page
    assert not re.search(r"mathjax|require(js)?\.min\.js|cdnjs", page.replace(get_plotlyjs(), ""), re.IGNORECASE)


@on_the_embedded_server
def test_a_page_has_no_secret_and_is_whole(executed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told.ipynb"  # as JupyterLab saves it: nobody took the secrets out
    words = f"postgresql://me:{PASSWORD}@host/db and sesame-open-99"
    output = nbformat.v4.new_output("stream", text=words)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output])]), told)
    monkeypatch.setenv("SOME_SECRET", "sesame-open-99")
    page = notebooks.to_html(told)
    assert page == tmp_path / "told.html"
    text_of_page = page.read_text(encoding="utf-8")
    assert "postgresql://me:***@host/db and ***" in text_of_page
    assert PASSWORD not in text_of_page
    assert "plotly.js v" not in text_of_page  # five megabytes that nothing here needs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["told.html", "told.ipynb"]
    with pytest.raises(UsageError, match="is not a notebook"):
        notebooks.to_html(tmp_path / "none.ipynb")
    with pytest.raises(ConfigError, match="cannot be written to"):
        notebooks.to_html(told, tmp_path / "nowhere" / "x.html")
