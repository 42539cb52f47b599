"""Checks of deals, surveillance measures and corporate actions."""

from __future__ import annotations

from screener_data.quality.declared import Check

__all__ = ["CHECKS"]

_DEALS = (
    "(SELECT 'bulk' AS kind, date, symbol, client_name, deal_type, quantity, price FROM bulk_deals UNION ALL "
    "SELECT 'block', date, symbol, client_name, deal_type, quantity, price FROM block_deals) deals"
)
_DEALS_AGAIN = "Load the day's deals again; what stands in no file has to be removed by hand."

CHECKS = (
    Check(
        "deals_out_of_range",
        "error",
        "deals whose price or quantity is not above zero",
        f"SELECT kind || ' ' || symbol || ' ' || date FROM {_DEALS} WHERE NOT (price > 0 AND quantity > 0) "
        "OR price = 'NaN' ORDER BY date DESC, symbol",
        _DEALS_AGAIN,
    ),
    Check(
        "deals_beyond_volume",
        "warning",
        "bulk deals of one side that are more than the day's volume, and that no deal of the other side meets",
        # what two sides agreed on in the block window is in the list, and not in the bhavcopy's volume
        "SELECT symbol || ' ' || date || ': ' || deal_type || ' ' || sum(quantity) || ' of ' || volume FROM "
        "bulk_deals d JOIN ohlcv_daily o USING (symbol, date) WHERE NOT EXISTS (SELECT FROM bulk_deals e WHERE "
        "(e.symbol, e.date, e.price) = (d.symbol, d.date, d.price) AND e.deal_type <> d.deal_type) GROUP BY symbol, "
        "date, deal_type, volume HAVING sum(quantity) > volume ORDER BY sum(quantity) / greatest(volume, 1) DESC",
        "A deal in the block window is right (see block_deals); else a wrong quantity, or a bar that lacks trades.",
    ),
    Check(
        "deals_off_the_price",
        "warning",
        "deals at a price more than 20 % outside the day's low and high",
        "SELECT kind || ' ' || symbol || ' ' || date || ': ' || price || ' of ' || low || ' to ' || high FROM "
        f"{_DEALS} JOIN ohlcv_daily o USING (symbol, date) WHERE price NOT BETWEEN 0.8 * low AND 1.2 * high "
        "ORDER BY date DESC, symbol",
        "A wrong price or symbol in one of both files: compare them.",
    ),
    Check(
        "deals_on_no_session",
        "warning",
        "days with deals and no bar, among days that have bars",
        f"SELECT date || ', ' || count(*) || ' deals' FROM {_DEALS} WHERE date BETWEEN (SELECT min(date) FROM "
        "session_days) AND (SELECT max(date) FROM session_days) AND date NOT IN (SELECT date FROM stored_days) "
        "GROUP BY date ORDER BY date DESC",
        "Load the day's bhavcopy, or look at the deals' date.",
    ),
    Check(
        "deals_repeated",
        "error",
        "days of which more than half of the deals stand twice",
        "SELECT kind || ' ' || date || ', ' || count(*) || ' deals' FROM (SELECT kind, date, count(*) AS times FROM "
        f"{_DEALS} GROUP BY kind, date, symbol, client_name, deal_type, quantity, price) each_deal GROUP BY kind, "
        "date HAVING 2 * count(*) FILTER (WHERE times > 1) > count(*) ORDER BY date DESC",
        "The day was inserted twice past the loader: remove it and load its file again.",
    ),
    Check(
        "events_in_the_future",
        "error",
        "deals, measures or market capitalisations of days that have not come yet",
        "SELECT name || ' ' || date || ', ' || count(*) || ' rows' FROM (SELECT 'bulk_deals' AS name, date FROM "
        "bulk_deals UNION ALL SELECT 'block_deals', date FROM block_deals UNION ALL SELECT 'surveillance_measures', "
        "date FROM surveillance_measures UNION ALL SELECT 'market_cap_history', date FROM market_cap_history) events "
        "WHERE date > (now() AT TIME ZONE 'Asia/Kolkata')::date GROUP BY name, date ORDER BY date DESC, name",
        "Look at the file they came from: its date was misread or it is not the exchange's.",
    ),
    Check(
        "measures_repeated",
        "error",
        "surveillance measures that stand twice for one symbol and day",
        "SELECT symbol || ' ' || date || ': ' || coalesce(measure_type, 'unknown') FROM surveillance_measures "
        "GROUP BY symbol, date, measure_type HAVING count(*) > 1 ORDER BY date DESC, symbol",
        "They were inserted past the loader: remove the day and load its file again.",
    ),
    Check(
        "actions_far_ahead",
        "warning",
        "corporate actions more than a year ahead",
        "SELECT symbol || ' ' || ex_date || ': ' || kind FROM corporate_actions "
        "WHERE ex_date > (now() AT TIME ZONE 'Asia/Kolkata')::date + 366 ORDER BY ex_date DESC, symbol",
        "An ex-date is announced weeks before, not years: look at the year in its file.",
    ),
    Check(
        "actions_without_jump",
        "warning",
        "factors below 0.8 or above 1.25 of which the next open shows less than half (in logarithms)",
        "SELECT k.symbol || ' ' || k.ex_date || ': factor ' || round(k.factor::numeric, 4) || ', ' || cum.close || ' "
        "→ ' || ex.open FROM known_days k, LATERAL (SELECT close FROM ohlcv_daily o WHERE o.symbol = k.symbol AND "
        "o.date < k.ex_date ORDER BY date DESC LIMIT 1) cum, LATERAL (SELECT open FROM ohlcv_daily o WHERE o.symbol "
        "= k.symbol AND o.date >= k.ex_date ORDER BY date LIMIT 1) ex WHERE (k.factor < 0.8 OR k.factor > 1.25) AND "
        "cum.close > 0 AND ex.open > 0 AND abs(ln(ex.open / cum.close)) < abs(ln(ex.open / cum.close) - "
        "ln(k.factor)) ORDER BY abs(ln(k.factor)) DESC",
        "Was the ex-date moved, or the action called off? A line in manual_factors.csv with factors 1 takes it back.",
    ),
    Check(
        "actions_without_factor",
        "warning",
        "corporate actions whose effect on the price no file tells, and no manual line",
        "SELECT u.symbol || ' ' || u.ex_date || ': ' || u.kind FROM unknown_days u "
        "WHERE EXISTS (SELECT FROM ohlcv_daily o WHERE o.symbol = u.symbol AND o.date < u.ex_date) "
        "AND EXISTS (SELECT FROM ohlcv_daily o WHERE o.symbol = u.symbol AND o.date >= u.ex_date) "
        "ORDER BY u.ex_date DESC, u.symbol",
        "Take the factor from the scheme's cost of acquisition, or the prices around, into manual_factors.csv.",
    ),
)
