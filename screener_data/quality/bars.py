"""Checks of ohlcv_daily: each bar by itself, beside the bar before, beside its day, and the days themselves."""

from __future__ import annotations

from screener_data.quality.declared import Check, RowCheck

__all__ = ["CHECKS"]

#: What a usual day's move may be: above this, `moves_beyond_bands`; above the second, `jumps_without_action`.
_BAND = "close BETWEEN 0.62 * before AND 1.6 * before"
#: A rights entitlement lives for days, has no band, and is worth what is left of a difference.
_NO_RIGHTS = "symbol !~ '-RE[0-9]*$'"
_NO_HOLE = "NOT EXISTS (SELECT FROM holes h WHERE h.since >= b.since AND h.date <= b.date)"
_NO_ACTION = (
    "NOT EXISTS (SELECT FROM corporate_actions a WHERE a.symbol = b.symbol "
    "AND a.ex_date > b.since AND a.ex_date <= b.date)"
)
_AGAIN = "Load the day's bhavcopy again; it overwrites what the exchange published."

CHECKS: tuple[Check | RowCheck, ...] = (
    # --- a bar by itself
    RowCheck(
        "bars_out_of_range",
        "error",
        "bars whose open or close is not between low and high, or that are not above zero",
        "ohlcv_daily",
        "NOT (low <= open AND open <= high AND low <= close AND close <= high AND low > 0)",
        _AGAIN,
    ),
    RowCheck(
        "bars_with_odd_numbers",
        "error",
        "bars with a figure that is NaN or negative, or that cannot be what it is called",
        "ohlcv_daily",
        "'NaN' IN (open, high, low, close, vwap, prev_close, change_pct, upper_circuit, lower_circuit, week_52_high, "
        "week_52_low) OR volume < 0 OR vwap <= 0 OR prev_close < 0 OR change_pct < -100 OR lower_circuit < 0 "
        "OR upper_circuit < lower_circuit OR week_52_low < 0 OR week_52_high < week_52_low",
        _AGAIN,
    ),
    RowCheck(
        "average_out_of_range",
        "warning",
        "bars whose average price is not between low and high",
        "ohlcv_daily",
        "vwap NOT BETWEEN low - 0.01 AND high + 0.01",
        _AGAIN,
        says="symbol || ' ' || date || ': ' || vwap || ' of ' || low || ' to ' || high",
    ),
    RowCheck(
        "change_differs",
        "error",
        "bars whose change is not that of close against previous close",
        "ohlcv_daily",
        "prev_close > 0 AND abs(change_pct - 100 * (close / prev_close - 1)) > 0.0001",
        f"Somebody changed a price past the loader. {_AGAIN}",
        says="symbol || ' ' || date || ': ' || change_pct || ' %'",
    ),
    RowCheck(
        "bars_outside_circuits",
        "warning",
        "bars beyond the day's own circuits, or beyond the extremes of 52 weeks that end with it",
        "ohlcv_daily",
        "high > upper_circuit OR low < lower_circuit OR high > week_52_high OR low < week_52_low",
        "Compare with the exchange's quote of the day: the prices or the limits are another day's.",
    ),
    RowCheck(
        "bars_without_trades",
        "warning",
        "bars of securities with no volume",
        "steps",
        "coalesce(volume, 0) = 0",
        "The exchange publishes no such bar: a vendor filled a day without trades. Load the day's bhavcopy.",
        says="symbol || ' ' || date || CASE WHEN high = low THEN ', flat' ELSE '' END",
    ),
    # --- beside the bar before
    RowCheck(
        "previous_close_differs",
        "warning",
        "bars whose previous close is not the close of the bar before, with no session missing in between",
        "steps",
        # Upstox tells no previous close: a step there is `sources_disagree`
        f"prev_close <> before AND prev_close_before IS NOT NULL AND {_NO_HOLE}",
        "The bar before was changed, is another series', or one lacks: load the bhavcopies of both days again.",
        says="symbol || ' ' || date || ': ' || prev_close || ', and ' || before || ' on ' || since",
    ),
    RowCheck(
        "bars_repeated",
        "warning",
        "bars that equal the one before in each price and in volume",
        "steps",
        # the smallest lot at one price is traded on many days
        "is_repeated AND low < high",
        "One of both days has the other's bar: load both bhavcopies again.",
    ),
    RowCheck(
        "jumps_without_action",
        "warning",
        "closes more than 38 % below or 60 % above the bar before, with no corporate action in between",
        "steps",
        f"before > 0 AND NOT ({_BAND}) AND {_NO_ACTION} AND {_NO_RIGHTS}",
        "Load the day's corporate actions; what they lack goes into manual_factors.csv, with a reason.",
        says="symbol || ' ' || date || ': ' || before || ' → ' || close || CASE WHEN date - since > 10 "
        "THEN ', after ' || date - since || ' days' ELSE '' END",
        worst="abs(ln(close / before)) DESC, date",
    ),
    RowCheck(
        "moves_beyond_bands",
        "warning",
        "prices more than the widest band, 20 %, away from the previous close, with no corporate action",
        "steps",
        # below a rupee a tick is more than the band
        "prev_close > 1 AND (high > 1.2 * prev_close + 0.05 OR low < 0.8 * prev_close - 0.05) "
        f"AND {_BAND} AND {_NO_ACTION} AND {_NO_RIGHTS}",
        "Right for shares with futures and for funds, which have no band; else a wrong price, or an action that lacks.",
        says="symbol || ' ' || date || ': ' || prev_close || ' → ' || "
        "CASE WHEN high > 1.2 * prev_close + 0.05 THEN high ELSE low END",
    ),
    RowCheck(
        "sources_disagree",
        "warning",
        "bars of the exchange whose previous close is more than 0.5 % away from Upstox's bar before, with no action",
        "steps",
        "prev_close > 0 AND before IS NOT NULL AND prev_close_before IS NULL "
        f"AND abs(prev_close - before) > 0.005 * prev_close AND {_NO_ACTION} AND {_NO_HOLE}",
        "Upstox's candles were adjusted since: load the bhavcopies of their days, which outrank them.",
        says="symbol || ' ' || date || ': ' || prev_close || ', Upstox ' || before || ' on ' || since",
    ),
    RowCheck(
        "bars_of_upstox_alone",
        "info",
        "bars that only Upstox gave on days of which the exchange's file is loaded",
        "steps",
        "prev_close IS NULL AND EXISTS (SELECT FROM load_files f WHERE f.target = 'ohlcv_daily' "
        "AND f.source = 'nse_bhavcopy' AND f.state IN ('success', 'partial') AND b.date BETWEEN f.first_day AND "
        "f.last_day)",
        "The exchange lists no trade of it on that day: a vendor's bar, or a security under another name.",
    ),
    Check(
        "indices_jump",
        "warning",
        "levels of an index more than 20 % away from those of the bar before, a week back at most",
        "SELECT symbol || ' ' || date || ': ' || before || ' → ' || close FROM (SELECT symbol, date, close, lag(close) "
        "OVER w AS before, lag(date) OVER w AS since FROM ohlcv_daily WHERE symbol IN (SELECT symbol FROM indices) "
        "AND symbol NOT LIKE '%VIX%' WINDOW w AS (PARTITION BY symbol ORDER BY date)) b WHERE before > 0 "
        "AND date - since <= 7 AND close NOT BETWEEN 0.8 * before AND 1.2 * before ORDER BY date DESC, symbol",
        "The exchange halts at 20 %. Two indices under one name, or a wrong file: load the day's indices again.",
    ),
    # --- the days
    Check(
        "bars_in_the_future",
        "error",
        "bars of a day that has not come yet",
        "SELECT symbol || ' ' || date FROM ohlcv_daily WHERE date > (now() AT TIME ZONE 'Asia/Kolkata')::date "
        "ORDER BY date DESC, symbol",
        "Look at the file they came from: its date was misread or it is not the exchange's.",
    ),
    Check(
        "bars_too_old",
        "error",
        "bars of days before 3 November 1994, when the exchange began to trade",
        "SELECT symbol || ' ' || date FROM shares WHERE date < '1994-11-03' ORDER BY date DESC, symbol",
        "Look at the file they came from: its date was misread or it is not the exchange's.",
    ),
    Check(
        "bars_on_holidays",
        "warning",
        "days with bars that the holiday lists call closed, and that are no special session",
        "SELECT o.date || ' ' || coalesce(h.holiday_name, '') || ', ' || count(*) || ' bars' FROM ohlcv_daily o "
        "JOIN closed_days USING (date) LEFT JOIN market_holidays h ON h.holiday_date = o.date WHERE o.date NOT IN "
        "(SELECT date FROM special_days UNION SELECT date FROM disputed_days) GROUP BY o.date, h.holiday_name "
        "ORDER BY o.date DESC",
        "A wrong date, or a special session (Muhurat) that is not in screener_data/exchange.py yet.",
    ),
    Check(
        "bars_on_weekends",
        "warning",
        "Saturdays and Sundays with bars that are no special session",
        "SELECT date || ', ' || count(*) || ' bars' FROM ohlcv_daily WHERE extract(isodow FROM date) > 5 "
        "AND date NOT IN (SELECT date FROM special_days) GROUP BY date ORDER BY date DESC",
        "A wrong date, or a special session (a disaster-recovery drill) that is not in screener_data/exchange.py yet.",
    ),
    Check(
        "thin_sessions",
        "warning",
        "days with fewer than half of the usual number of securities (median of the 41 days around)",
        "SELECT date || ': ' || bars || ' of ' || round(usual) FROM stored_days WHERE bars < usual / 2 "
        "ORDER BY date DESC",
        "Load the day's bhavcopy: what is there came from another source.",
    ),
    Check(
        "days_repeated",
        "error",
        "days on which more than half of the bars equal those of the session before",
        "SELECT date || ': ' || repeated || ' of ' || bars || ' bars' FROM odd_days WHERE repeated > bars / 2.0 "
        "ORDER BY date DESC",
        "One day's file was loaded under another's date: remove the wrong day, load its own bhavcopy.",
    ),
    Check(
        "sessions_missing",
        "warning",
        "weekdays without a bar that are on no holiday list, in years of which a list is loaded; and special sessions",
        "SELECT date::text FROM (SELECT day::date AS date FROM generate_series((SELECT min(date) FROM "
        "session_days)::timestamp, (SELECT max(date) FROM session_days), '1 day') AS day) days "
        "WHERE date NOT IN (SELECT date FROM stored_days) AND (date IN (SELECT date FROM special_days) "
        "OR extract(isodow FROM date) < 6 AND date NOT IN (SELECT date FROM closed_days UNION SELECT date FROM "
        "disputed_days) AND extract(year FROM date) IN (SELECT extract(year FROM date) FROM closed_days)) "
        "ORDER BY date DESC",
        "Load the day's bhavcopy, or the holiday list where it was closed.",
    ),
    Check(
        "sessions_skipped",
        "warning",
        "neighbouring stored days between which a session lacks, since most previous closes are of another day",
        "SELECT since || ' to ' || date || ': ' || bars || ' bars' FROM holes ORDER BY date DESC",
        "Load the bhavcopy of the session between them (a special one on a weekend?).",
    ),
    Check(
        "holidays_unknown",
        "info",
        "years with bars of which no trading holiday is known",
        "SELECT DISTINCT extract(year FROM date)::text FROM session_days WHERE extract(year FROM date) NOT IN "
        "(SELECT extract(year FROM holiday_date) FROM market_holidays) ORDER BY 1 DESC",
        "Load the year's holiday list: without it, missing sessions cannot be told from holidays.",
    ),
)
