"""Figures: one security's chart, the market's breadth, the rotation of its sectors, and the tables that they draw."""

from __future__ import annotations

import datetime as dt
import html
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sqlalchemy import Connection, Engine, text

from screener_data.adjust import keys_of, multipliers
from screener_data.arguments import Day, as_day
from screener_data.database.engine import ready
from screener_data.errors import UsageError
from screener_data.read import metrics, prices

__all__ = ["TEMPLATE", "breadth", "breadth_table", "chart", "rotation", "rotation_table"]

# --- the look -------------------------------------------------------------------------------------------------------

#: Okabe and Ito (2008): eight colours that the colour-blind tell apart, without black.
_BLUE, _VERMILION, _GREEN, _ORANGE, _SKY, _PURPLE, _YELLOW = (
    *("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#B8A900"),
)
_GREY = "#767676"  # is read on white and on black alike (4.5 : 1)
_FAINT = "rgba(128, 128, 128, 0.25)"
_AXIS = {"gridcolor": _FAINT, "linecolor": _FAINT, "zeroline": False}

#: The look of all figures. The page shines through, so that it suits a light and a dark one.
TEMPLATE = go.layout.Template(
    layout={
        "colorway": [_BLUE, _VERMILION, _GREEN, _ORANGE, _SKY, _PURPLE, _YELLOW],
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "font": {"color": _GREY, "family": "sans-serif"},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "title": {"x": 0.01},
        "legend": {"orientation": "h", "y": -0.07, "yanchor": "top", "traceorder": "normal"},
        "margin": {"l": 60, "r": 30, "t": 70, "b": 100},
        "hovermode": "x unified",
    }
)
_HEIGHT = 640  # pixels; said in each figure, since JupyterLab does not look for it in the template

_STAGES = {1: ("basing", _GREY), 2: ("advancing", _GREEN), 3: ("topping", _ORANGE), 4: ("declining", _VERMILION)}
_AVERAGES = {"ma_10": _SKY, "ma_20": _PURPLE, "ma_50": _ORANGE, "ma_200": _GREY}


def _titled(figure: Any, title: str, below: str, **layout: Any) -> Any:
    words = f"{html.escape(title)}<br><sub>{html.escape(below)}</sub>"
    return figure.update_layout(template=TEMPLATE, title={"text": words}, **{"height": _HEIGHT} | layout)


def _shown(day: Any) -> str:
    return str(pd.Timestamp(day).date())


# --- one security ---------------------------------------------------------------------------------------------------

_DEALS = """
SELECT kind, date, deal_type, client_name, quantity, price FROM (
    SELECT 'bulk' AS kind, id, date, symbol, deal_type, client_name, quantity, price::float8 FROM bulk_deals
    UNION ALL
    SELECT 'block', id, date, symbol, deal_type, client_name, quantity, price::float8 FROM block_deals
) deals WHERE symbol = :symbol AND date BETWEEN :first AND :last ORDER BY date, kind, id
"""
_NAME = """
SELECT security_name AS name, true AS listed FROM securities WHERE symbol = :symbol
UNION ALL SELECT index_name, false FROM indices WHERE symbol = :symbol
"""
_DEALS_NAMED = 8  # at one marker


def chart(
    symbol: str, start: Day = None, end: Day = None, *, adjusted: bool = True, engine: Engine | None = None
) -> go.Figure:
    """One security or index: candles, volume, moving averages, stages as bands, bulk and block deals as markers.

    `start` and `end` are included; None for no limit. Prices are rupees per share (indices: points), `adjusted` for
    corporate actions to the shares of the last stored session, or as published; the averages of 10, 20, 50 and 200
    sessions and the deals' prices are scaled as the prices of their day, a deal's text is as published. The axis holds
    the sessions on which it traded and no others, hence no gaps. Averages and stages are those of `calculate`; where
    they or deals are missing, the rest is drawn. Raises UsageError for an unknown symbol, suggesting near names, and
    where there are no bars between the days.

    >>> import screener_data as sd
    >>> sd.chart("NEWNAME", start="2025-05-01").data[0].type
    'candlestick'
    """
    engine = ready(engine)
    bars = prices(symbol, start, end, engine=engine)
    if bars.empty:
        raise UsageError(f"no bars of {symbol} between {start or 'the beginning'} and {end or 'the end'}")
    first, last = bars["date"].iloc[0], bars["date"].iloc[-1]
    with engine.connect() as connection:
        by = multipliers(connection, bars)
        name = connection.execute(text(_NAME), {"symbol": symbol}).mappings().first()
        deals = pd.read_sql(
            text(_DEALS), connection, params={"symbol": symbol, "first": first.date(), "last": last.date()}
        )
    scale = pd.Series(by.price if adjusted else 1.0, index=bars["date"])
    days = bars["date"].dt.strftime("%Y-%m-%d")
    rupees = bars[["open", "high", "low", "close"]].mul(scale.to_numpy(), axis=0)
    shares = bars["volume"].to_numpy() * (by.volume if adjusted else 1.0)

    figure = make_subplots(rows=2, shared_xaxes=True, row_heights=[0.78, 0.22], vertical_spacing=0.03)
    figure.add_trace(
        go.Candlestick(
            x=days,
            open=rupees["open"],
            high=rupees["high"],
            low=rupees["low"],
            close=rupees["close"],
            name=symbol,
            increasing={"line": {"color": _BLUE, "width": 1}, "fillcolor": _BLUE},
            decreasing={"line": {"color": _VERMILION, "width": 1}, "fillcolor": _VERMILION},
            hoverlabel={"namelength": -1},
        ),
        row=1,
        col=1,
    )
    rising = (rupees["close"] >= rupees["open"]).to_numpy()
    figure.add_trace(
        go.Bar(
            x=days,
            y=shares,
            name="volume",
            marker={"color": np.where(rising, _BLUE, _VERMILION), "line": {"width": 0}},
            opacity=0.5,
            showlegend=False,
            hovertemplate="%{y:,.0f} shares<extra></extra>",
        ),
        row=2,
        col=1,
    )
    if name is not None and name["listed"]:
        _draw_metrics(figure, symbol, scale, engine)
    _draw_deals(figure, deals, scale)
    figure.update_xaxes(
        type="category",
        categoryorder="array",
        categoryarray=days,
        nticks=8,
        tickangle=0,
        rangeslider={"visible": False},
    )
    figure.update_yaxes(title_text="₹" if name is None or name["listed"] else "points", row=1, col=1)
    figure.update_yaxes(title_text="volume", row=2, col=1)
    return _titled(
        figure,
        symbol if name is None or name["name"] == symbol else f"{symbol} · {name['name']}",
        f"{_shown(first)} to {_shown(last)}, {'adjusted' if adjusted else 'as published'}",
    )


def _draw_metrics(figure: Any, symbol: str, scale: pd.Series[float], engine: Engine) -> None:
    stored = metrics(
        None, symbol, scale.index[0], scale.index[-1], columns=[*_AVERAGES, "stage"], engine=engine
    ).set_index("date")
    stored = stored.reindex(scale.index)
    days = pd.DatetimeIndex(scale.index).strftime("%Y-%m-%d")
    for average, colour in _AVERAGES.items():
        if stored[average].notna().any():
            line = go.Scatter(
                x=days,
                y=stored[average] * scale,
                name=f"{average.removeprefix('ma_')}-day average",
                line={"color": colour, "width": 1.5},
                hovertemplate="%{y:,.2f}",
            )
            figure.add_trace(line, row=1, col=1)
    stages = stored["stage"]
    runs = (stages != stages.shift()).cumsum()
    places = pd.DataFrame({"run": runs.to_numpy(), "stage": stages.to_numpy(), "place": np.arange(len(stages))})
    bands = places.dropna().groupby("run").agg(stage=("stage", "first"), first=("place", "min"), last=("place", "max"))
    figure.layout.shapes = [  # all at once: each call of add_vrect looks at all before it
        {
            "type": "rect",
            "xref": "x",
            "yref": "y domain",
            "x0": first - 0.5,
            "x1": last + 0.5,
            "y0": 0,
            "y1": 1,
            "fillcolor": _STAGES[stage][1],
            "opacity": 0.12,
            "line": {"width": 0},
            "layer": "below",
            "name": f"stage {stage}, {_STAGES[stage][0]}",
        }
        for stage, first, last in bands.astype("int64").itertuples(index=False)
    ]
    for stage, (word, colour) in _STAGES.items():  # a band has no legend of its own
        if (stages == stage).any():
            square = {"symbol": "square", "size": 12, "color": colour, "opacity": 0.4}
            key = go.Scatter(x=[None], y=[None], mode="markers", marker=square, name=f"stage {stage}, {word}")
            figure.add_trace(key, row=1, col=1)


def _draw_deals(figure: Any, deals: pd.DataFrame, scale: pd.Series[float]) -> None:
    deals = deals.assign(date=pd.to_datetime(deals["date"]))
    deals = deals[deals["date"].isin(scale.index)]
    for (kind, side), found in deals.groupby(["kind", "deal_type"]):
        marks = [_mark(each) | {"day": day} for day, each in found.groupby("date")]
        figure.add_trace(
            go.Scatter(
                x=[_shown(mark["day"]) for mark in marks],
                y=[mark["price"] * scale[mark["day"]] for mark in marks],
                mode="markers",
                name=f"{kind} deals: {str(side).lower()}",
                marker={
                    "symbol": ("triangle-up" if side == "BUY" else "triangle-down")
                    + ("" if kind == "bulk" else "-open"),
                    "size": 11,
                    "color": _GREEN if side == "BUY" else _PURPLE,
                    "line": {"width": 1, "color": _GREY},
                },
                text=[mark["text"] for mark in marks],
                hovertemplate="%{text}",
            ),
            row=1,
            col=1,
        )


def _mark(deals: pd.DataFrame) -> dict[str, Any]:
    """One marker for a day's deals of one kind and side: their mean price by shares, and each in words."""
    lines = [
        f"{html.escape(str(client))}: {quantity:,} at ₹{price:,.2f}"
        for client, quantity, price in deals[["client_name", "quantity", "price"]]
        .head(_DEALS_NAMED)
        .itertuples(index=False)
    ]
    if len(deals) > _DEALS_NAMED:
        lines.append(f"and {len(deals) - _DEALS_NAMED} more")
    return {"price": np.average(deals["price"], weights=deals["quantity"]), "text": "<br>".join(lines)}


# --- breadth --------------------------------------------------------------------------------------------------------


def breadth_table(start: Day = None, end: Day = None, *, engine: Engine | None = None) -> pd.DataFrame:
    """How broad the market's trend is: one row per session, by date; `start` and `end` are included.

    Over all equities with a bar on the day, without ETFs and indices; float64. stage_1 … stage_4: per cent of those
    that have a stage. above_ma_50, above_ma_200: per cent of those that have the average whose close is above it, NaN
    where none has. advances, declines: the number whose close is above or below the previous one, corporate actions
    taken out; where no previous close is stored, neither. Raises UsageError for a wrong day.

    >>> from screener_data.charts import breadth_table
    >>> list(breadth_table())[:2]
    ['stage_1', 'stage_2']
    """
    engine = ready(engine)
    bars = prices(None, start, end, ["close", "prev_close"], engine=engine)
    names = bars["symbol"].cat.categories
    with engine.connect() as connection:
        equities = connection.execute(text("SELECT symbol FROM securities WHERE security_type = 'EQUITY'")).scalars()
        is_equity = names.isin(list(equities))
        by = multipliers(connection, bars)
    codes = bars["symbol"].cat.codes.to_numpy()
    counts = is_equity[codes] if len(bars) else np.empty(0, bool)
    dates = bars["date"].to_numpy().astype("datetime64[D]")
    since = (dates - dates.min()).astype(np.int64) if len(bars) else np.empty(0, np.int64)
    is_session = np.bincount(since) > 0  # by calendar day: faster than to sort as many dates as there are bars
    days = np.flatnonzero(is_session) + (dates.min() if len(bars) else np.datetime64("1970-01-01"))
    place = (np.cumsum(is_session) - 1)[since]

    def number(chosen: Any) -> Any:
        return np.bincount(place[chosen & counts], minlength=len(days)).astype(np.float64)

    close = bars["close"].to_numpy()
    change = close * by.price - bars["prev_close"].to_numpy() * by.previous
    stored = _beside(bars, engine)
    table = {f"stage_{stage}": number(stored["stage"] == stage) for stage in _STAGES}
    of = {name: sum(table.values()) for name in table}
    for average in ("ma_50", "ma_200"):
        table[f"above_{average}"] = number(close > stored[average])
        of[f"above_{average}"] = number(~np.isnan(stored[average]))
    shares = {name: 100 * table[name] / np.where(of[name] > 0, of[name], np.nan) for name in table}
    # half a unit of the last digit: what adjusting adds is no change
    moves = {"advances": number(change > 0.005 * by.price), "declines": number(change < -0.005 * by.price)}
    return pd.DataFrame(shares | moves, index=pd.DatetimeIndex(days.astype("datetime64[s]"), name="date"))


def _beside(bars: pd.DataFrame, engine: Engine) -> dict[str, Any]:
    """Metrics in the order of the bars, NaN where there is none: both are sorted by symbol and date."""
    columns = ["stage", "ma_50", "ma_200"]
    found = {name: np.full(len(bars), np.nan) for name in columns}
    if bars.empty:
        return found
    stored = metrics(None, None, bars["date"].min(), bars["date"].max(), columns, engine=engine)
    names = bars["symbol"].cat.categories
    codes = names.get_indexer(stored["symbol"].cat.categories)[stored["symbol"].cat.codes.to_numpy()]
    keys = keys_of(codes, stored["date"].to_numpy())
    wanted = keys_of(bars["symbol"].cat.codes.to_numpy(), bars["date"].to_numpy())
    places = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    has_bar = wanted[places] == keys
    for name in columns:
        found[name][places[has_bar]] = stored[name].to_numpy()[has_bar]
    return found


def breadth(start: Day = None, end: Day = None, *, engine: Engine | None = None) -> go.Figure:
    """The market's breadth by session: stages, shares above their averages, advances and declines.

    It draws `charts.breadth_table`, which says what is counted; `start` and `end` are included. Raises UsageError for a
    wrong day, and where there are no sessions between the days.

    >>> import screener_data as sd
    >>> len(sd.breadth(start="2025-05-01").data)
    8
    """
    table = breadth_table(start, end, engine=engine)
    if table.empty:
        raise UsageError(f"no sessions between {start or 'the beginning'} and {end or 'the end'}")
    days = pd.DatetimeIndex(table.index).strftime("%Y-%m-%d")
    figure = make_subplots(rows=3, shared_xaxes=True, row_heights=[0.4, 0.3, 0.3], vertical_spacing=0.05)
    for stage, (word, colour) in _STAGES.items():
        band = {"name": f"stage {stage}, {word}", "stackgroup": "stages", "line": {"width": 0}, "fillcolor": colour}
        y = table[f"stage_{stage}"]
        figure.add_trace(go.Scatter(x=days, y=y, **band, hovertemplate="%{y:.1f} %"), row=1, col=1)
    for average in ("ma_50", "ma_200"):
        line = {"name": f"above {average.removeprefix('ma_')}-day average", "line": {"color": _AVERAGES[average]}}
        y = table[f"above_{average}"]
        figure.add_trace(go.Scatter(x=days, y=y, **line, hovertemplate="%{y:.1f} %"), row=2, col=1)
    for name, sign, colour in (("advances", 1, _BLUE), ("declines", -1, _VERMILION)):
        bar = go.Bar(
            x=days,
            y=sign * table[name],
            customdata=table[name],
            name=name,
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate="%{customdata:,.0f}",
        )
        figure.add_trace(bar, row=3, col=1)
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=days, nticks=8, tickangle=0)
    figure.update_yaxes(title_text="% of equities", range=[0, 100], row=1, col=1)
    figure.update_yaxes(title_text="% above", range=[0, 100], row=2, col=1)
    figure.update_yaxes(title_text="equities", row=3, col=1)
    return _titled(figure, "Breadth of NSE's equities", f"{days[0]} to {days[-1]}", barmode="relative", height=720)


# --- rotation -------------------------------------------------------------------------------------------------------

_BENCHMARK = "NIFTY 500"
_MEAN = 10  # weeks, of relative strength
_MOMENTUM = 4  # weeks, of its ratio


def rotation_table(date: Day = None, weeks: int = 8, *, engine: Engine | None = None) -> pd.DataFrame:
    """The relative strength of sectors and its momentum: the last `weeks` weekly points of each, up to `date`.

    Columns sector (str), date (datetime64, the week's last stored session; the running week counts as it stands),
    strength and momentum (float64, around 100; NaN-free: a sector with too short a history has fewer points), sorted
    by sector and date. `date` None: the last stored session. With S the level of the equal-weighted index of the
    sector's equities (the mean of their daily returns, adjusted, compounded) and B the benchmark, at the end of week w:

        RS_w       = S_w / B_w
        strength_w = 100 · RS_w / mean(RS_{w−9} … RS_w)
        momentum_w = 100 · strength_w / mean(strength_{w−3} … strength_w)

    B is the close of the NIFTY 500 where it is stored for each of these weeks, else the equal-weighted index of all
    classified equities. Strength above 100: better against the benchmark than in the last ten weeks on average;
    momentum above 100: and becoming more so. The strength is Mansfield's (Weinstein, Secrets for Profiting in Bull and
    Bear Markets, 1988) over ten weeks instead of 52; to plot it against its momentum, with tails, is de Kempenaer's
    idea (Relative Rotation Graphs, 2004), whose own formulae are not published and are not these. Daily rebalanced
    means of small shares run high (Blume and Stambaugh, 1983). Raises UsageError for a wrong day or `weeks` below 1.

    >>> from screener_data.charts import rotation_table
    >>> list(rotation_table())
    ['sector', 'date', 'strength', 'momentum']
    """
    return _rotation(date, weeks, engine)[0]


def _rotation(date: Day, weeks: int, engine: Engine | None) -> tuple[pd.DataFrame, str]:
    """The table, and the benchmark's name."""
    if weeks < 1:
        raise UsageError(f"weeks is at least 1, not {weeks}")
    engine = ready(engine)
    day = as_day(date)
    with engine.connect() as connection:
        day = day or connection.execute(text("SELECT max(date) FROM ohlcv_daily")).scalar()
        sector_of = _sectors(connection)
    if day is None or sector_of.empty:
        return _points({}, weeks), "the mean of all equities"
    # one week more, for the first return
    first = day - dt.timedelta(weeks=weeks + _MEAN + _MOMENTUM - 1, days=day.weekday())
    traded = _traded(sector_of.index, first, day, engine)
    closes = prices(traded, first, day, "close", adjusted=True, engine=engine)
    returns = closes.assign(
        sector=closes["symbol"].astype(str).map(sector_of),
        change=closes.groupby("symbol", observed=True)["close"].pct_change(),
    ).dropna()
    everyone = _level(returns.groupby("date")["change"].mean())
    week_ends = everyone.groupby(pd.DatetimeIndex(everyone.index).strftime("%G-%V")).tail(1).index
    index = _index(first, day, engine).reindex(week_ends)
    benchmark, against = (index, _BENCHMARK) if index.notna().all() and len(index) else (everyone, "all equities' mean")
    found = {}
    for sector, each in returns.groupby("sector"):
        strength = _level(each.groupby("date")["change"].mean()).reindex(week_ends) / benchmark.reindex(week_ends)
        strength = 100 * strength / strength.rolling(_MEAN).mean()
        found[str(sector)] = (strength, 100 * strength / strength.rolling(_MOMENTUM).mean())
    return _points(found, weeks), against


def _sectors(connection: Connection) -> pd.Series[str]:
    """The sector of each classified equity, by symbol."""
    found = connection.execute(
        text(
            "SELECT i.symbol, i.sector FROM industry_classification i JOIN securities s USING (symbol) "
            "WHERE i.sector IS NOT NULL AND s.security_type = 'EQUITY' ORDER BY i.symbol"
        )
    ).all()
    return pd.Series([sector for _, sector in found], index=[symbol for symbol, _ in found], dtype="str")


def _traded(symbols: Any, first: dt.date, last: dt.date, engine: Engine) -> list[str]:
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT w FROM unnest(CAST(:symbols AS text[])) w WHERE EXISTS (SELECT FROM ohlcv_daily "
                "WHERE symbol = w AND date BETWEEN :first AND :last)"
            ),
            {"symbols": list(symbols), "first": first, "last": last},
        )
        return list(found.scalars())


def _index(first: dt.date, last: dt.date, engine: Engine) -> pd.Series[float]:
    """The benchmark's closes by date; none where it is not stored."""
    traded = _traded([_BENCHMARK], first, last, engine)
    return prices(traded, first, last, "close", engine=engine).set_index("date")["close"]


def _level(changes: pd.Series[float]) -> pd.Series[float]:
    return (1 + changes).cumprod()


def _points(found: dict[str, tuple[pd.Series[float], pd.Series[float]]], weeks: int) -> pd.DataFrame:
    """The last weeks of each sector, one below the other."""
    parts = [
        pd.DataFrame({"sector": sector, "strength": strength, "momentum": momentum}).tail(weeks).dropna()
        for sector, (strength, momentum) in found.items()
    ]
    empty = pd.DataFrame({"sector": pd.Series(dtype="str"), "strength": 0.0, "momentum": 0.0})
    empty.index = pd.DatetimeIndex([])
    table = pd.concat(parts) if parts else empty
    return table.rename_axis("date").reset_index()[["sector", "date", "strength", "momentum"]]


def rotation(date: Day = None, weeks: int = 8, *, engine: Engine | None = None) -> go.Figure:
    """How sectors rotate: relative strength against its momentum, the last `weeks` points of each as a tail.

    It draws `charts.rotation_table`, which gives the formula. Clockwise from the upper right: leading, weakening,
    lagging, improving. Raises UsageError for a wrong day or `weeks` below 1, and where there are no points: it takes 13
    weeks of prices, and the classification (source nse_industry).

    >>> import screener_data as sd
    >>> sd.rotation(weeks=4).layout.xaxis.title.text
    'relative strength'
    """
    table, against = _rotation(date, weeks, engine)
    if table.empty:
        raise UsageError(
            "no sector has 13 weeks of prices up to that day; is the classification loaded (nse_industry)?"
        )
    figure = go.Figure()
    colours, symbols = TEMPLATE.layout.colorway, ("circle", "square", "diamond", "cross")
    for number, (sector, points) in enumerate(table.groupby("sector")):
        figure.add_trace(
            go.Scatter(
                x=points["strength"],
                y=points["momentum"],
                mode="lines+markers+text",
                name=html.escape(str(sector)),
                line={"color": colours[number % len(colours)], "width": 1, "shape": "spline"},
                marker={
                    "symbol": symbols[number // len(colours) % len(symbols)],
                    "size": [*[5] * (len(points) - 1), 12],
                    "opacity": np.linspace(0.3, 1, len(points)),
                },
                text=[*[""] * (len(points) - 1), html.escape(str(sector))],
                textposition="top center",
                customdata=points["date"].dt.strftime("%Y-%m-%d"),
                hovertemplate="%{customdata}: strength %{x:.2f}, momentum %{y:.2f}",
            )
        )
    figure.add_hline(y=100, line_color=_GREY, line_width=1)
    figure.add_vline(x=100, line_color=_GREY, line_width=1)
    for x, y, word in ((1, 1, "leading"), (1, 0, "weakening"), (0, 0, "lagging"), (0, 1, "improving")):
        figure.add_annotation(x=x, y=y, xref="paper", yref="paper", text=word, showarrow=False, font={"size": 14})
    figure.update_xaxes(title_text="relative strength")
    figure.update_yaxes(title_text="momentum")
    day = _shown(table["date"].max())
    weekly = f"{weeks} weeks up to {day}, against {against}"
    return _titled(figure, "Rotation of sectors", weekly, hovermode="closest", showlegend=False)
