"""Checks of what is derived: market capitalisations against prices and shares, metrics against bars."""

from __future__ import annotations

from screener_data.quality.declared import Check

__all__ = ["CHECKS"]

_COMPUTE = "Run `screener-data metrics`; with --from and --to, stored days are computed again."

CHECKS = (
    Check(
        "market_cap_differs",
        "warning",
        "market capitalisations that are not the day's close × issue size, by more than 1 %",
        "SELECT m.symbol || ' ' || m.date || ': ' || m.market_cap || ' crore' FROM market_cap_history m "
        "JOIN ohlcv_daily o USING (symbol, date) WHERE abs(m.market_cap - o.close * m.issue_size * 0.0000001) "
        "> 0.01 * m.market_cap + 0.01 ORDER BY m.date DESC, m.symbol",
        "Compare both files; a security that last traded on an earlier day is right.",
    ),
    Check(
        "market_cap_in_other_units",
        "error",
        "market capitalisations that are not even nearly their own close × issue size ÷ 10,000,000",
        # the printed close is rounded to 5 paise
        "SELECT symbol || ' ' || date || ': ' || market_cap || ' crore, not ' || "
        "round(close_price * issue_size * 0.0000001, 2) FROM market_cap_history WHERE close_price > 1 AND "
        "issue_size > 0 AND market_cap NOT BETWEEN 0.5 * close_price * issue_size * 0.0000001 - 0.01 "
        "AND 2 * close_price * issue_size * 0.0000001 + 0.01 ORDER BY date DESC, symbol",
        "It was stored in rupees, lakh or million past the loader: load the day's MCAP file again.",
    ),
    Check(
        "market_cap_out_of_range",
        "error",
        "market capitalisations, issue sizes or closes that are not above zero",
        "SELECT symbol || ' ' || date FROM market_cap_history WHERE market_cap <= 0 OR issue_size <= 0 "
        "OR close_price <= 0 OR 'NaN' IN (market_cap, close_price) ORDER BY date DESC, symbol",
        "Load the day's MCAP file again.",
    ),
    Check(
        "volume_beyond_issue",
        "warning",
        "bars in which more shares changed hands than the security has, by its last known issue size",
        "SELECT o.symbol || ' ' || o.date || ': ' || o.volume || ' of ' || m.issue_size FROM (SELECT DISTINCT ON "
        "(symbol) symbol, issue_size FROM market_cap_history WHERE issue_size > 0 ORDER BY symbol, date DESC) m "
        "JOIN ohlcv_daily o USING (symbol) WHERE o.volume > m.issue_size ORDER BY o.date DESC, o.symbol",
        "A volume of two digits more, or an issue size from before a split: load both files again.",
    ),
    Check(
        "metrics_out_of_range",
        "error",
        "metrics that their definitions do not allow",
        "SELECT symbol || ' ' || date FROM calculated_metrics WHERE rs_rating NOT BETWEEN 0 AND 100 "
        "OR vcp_score NOT BETWEEN 0 AND 100 OR stage NOT BETWEEN 1 AND 4 OR atr < 0 OR atr_pct < 0 OR vol_20d_avg < 0 "
        "OR vol_vs_avg_pct < -100 OR least(ma_10, ma_20, ma_50, ma_200) < 0 "
        "OR 'NaN' IN (rs_rating, vcp_score, vars_value, atr, atr_pct, ma_10, ma_20, ma_50, ma_200) "
        "ORDER BY date DESC, symbol",
        _COMPUTE,
    ),
    Check(
        "metrics_differ",
        "error",
        "metrics of the last computed session that are not what its bars give: ma_10, and atr_pct of atr",
        # written anew here, and not by the formulas, so that both would have to be wrong; an action changes the mean
        "WITH last AS (SELECT max(date) AS date FROM calculated_metrics), ten AS (SELECT o.symbol, avg(o.close) AS "
        "mean FROM (SELECT o.*, row_number() OVER (PARTITION BY o.symbol ORDER BY o.date DESC) AS place FROM "
        "ohlcv_daily o, last WHERE o.date BETWEEN last.date - 30 AND last.date) o, last WHERE place <= 10 AND NOT "
        "EXISTS (SELECT FROM known_days k WHERE k.symbol = o.symbol AND k.ex_date BETWEEN last.date - 30 AND "
        "last.date) GROUP BY o.symbol HAVING count(*) = 10) SELECT m.symbol || ' ' || m.date FROM last JOIN "
        "calculated_metrics m USING (date) JOIN ohlcv_daily o USING (symbol, date) LEFT JOIN ten USING (symbol) "
        "WHERE abs(m.ma_10 - ten.mean) > 0.006 "
        # atr is rounded to a paisa
        "OR abs(m.atr_pct - 100 * m.atr / o.close) > 0.51 / o.close + 0.0001 ORDER BY m.symbol",
        _COMPUTE,
    ),
    Check(
        "metrics_missing",
        "warning",
        "bars of securities without metrics, on days of which some are computed",
        "SELECT o.symbol || ' ' || o.date FROM uneven_days JOIN ohlcv_daily o USING (date) "
        "JOIN securities s USING (symbol) WHERE o.date >= (SELECT min(date) FROM calculated_metrics) "
        "AND o.date <= (SELECT max(date) FROM calculated_metrics) "
        "AND NOT EXISTS (SELECT FROM calculated_metrics m WHERE m.symbol = o.symbol AND m.date = o.date) "
        "ORDER BY o.date DESC, o.symbol",
        _COMPUTE,
    ),
    Check(
        "metrics_without_bars",
        "error",
        "metrics of days on which their security has no bar",
        "SELECT symbol || ' ' || date FROM uneven_days JOIN calculated_metrics m USING (date) WHERE NOT EXISTS "
        "(SELECT FROM ohlcv_daily o WHERE o.symbol = m.symbol AND o.date = m.date) ORDER BY date DESC, symbol",
        _COMPUTE,
    ),
    Check(
        "metrics_behind",
        "warning",
        "sessions after the last one that has metrics",
        "SELECT date::text FROM session_days WHERE date > (SELECT max(date) FROM calculated_metrics) "
        "ORDER BY date DESC",
        "Run `screener-data metrics`.",
    ),
    Check(
        "benchmark_missing",
        "warning",
        "sessions with metrics and no level of their benchmark, so that vars_value knows less",
        "SELECT d.date || ' ' || c.benchmark FROM (SELECT benchmark FROM calculations ORDER BY id DESC LIMIT 1) c, "
        "session_days d WHERE d.date <= (SELECT max(date) FROM calculated_metrics) AND NOT EXISTS (SELECT FROM "
        "ohlcv_daily o WHERE o.symbol = c.benchmark AND o.date = d.date) ORDER BY d.date DESC",
        "Load the day's ind_close_all file, then run `screener-data metrics`.",
    ),
)
