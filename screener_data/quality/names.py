"""Checks of who is who: securities, their lists, names and ISINs, and bars that belong to nobody, or to two."""

from __future__ import annotations

from screener_data.quality.declared import Check

__all__ = ["CHECKS"]

_LISTS = "Load the lists (EQUITY_L, SME, ETF, REITs, InvITs); delisted securities stand in older ones."
#: The check digit of an ISIN: letters become two digits (A is 10), and every second digit from the right is doubled.
_DIGITS = (
    "(SELECT string_agg(CASE WHEN c ~ '[0-9]' THEN c ELSE (ascii(c) - 55)::text END, '' ORDER BY p) "
    "FROM regexp_split_to_table(isin, '') WITH ORDINALITY AS letters (c, p))"
)
_SUM = (
    "(SELECT sum(CASE WHEN p % 2 = 0 THEN 2 * c::int / 10 + 2 * c::int % 10 ELSE c::int END) "
    f"FROM regexp_split_to_table(reverse({_DIGITS}), '') WITH ORDINALITY AS digits (c, p))"
)

CHECKS = (
    Check(
        "orphan_symbols",
        "info",
        "symbols with prices that are in no list of securities or indices",
        "SELECT symbol || ' (' || bars || ' bars)' FROM traded t WHERE NOT EXISTS (SELECT FROM securities s "
        "WHERE s.symbol = t.symbol) ORDER BY bars DESC, symbol",
        _LISTS,
    ),
    Check(
        "maybe_one_security",
        "info",
        "securities that left all lists while another of the same issuer came, and that no change of symbols joins",
        "WITH stays AS (SELECT security_id, left(min(isin), 7) AS issuer, min(valid_from) AS since, "
        "CASE WHEN bool_and(valid_until IS NOT NULL) THEN max(valid_until) END AS until FROM listings "
        "WHERE list_name <> 'by hand' GROUP BY security_id) "
        "SELECT a.symbol || ' up to ' || old.until || ', ' || b.symbol || ' from ' || new.since FROM stays old "
        "JOIN stays new ON new.issuer = old.issuer AND new.since >= old.until AND new.security_id <> old.security_id "
        "JOIN securities a ON a.id = old.security_id JOIN securities b ON b.id = new.security_id "
        # a rights entitlement is another security, and lives for days
        "WHERE a.security_type = 'EQUITY' AND a.symbol !~ '-RE[0-9]*$' AND b.symbol !~ '-RE[0-9]*$' "
        "ORDER BY old.until DESC, a.symbol",
        "Load symbolchange.csv and lists of days in between; a demerged part, or a second class of shares, is right.",
    ),
    Check(
        "orphan_deals",
        "info",
        "symbols with bulk or block deals that are in no list and have no price",
        "SELECT symbol || ' (' || count(*) || ' deals)' FROM (SELECT symbol FROM bulk_deals UNION ALL SELECT symbol "
        "FROM block_deals) d WHERE symbol NOT IN (SELECT symbol FROM securities) AND symbol NOT IN (SELECT symbol "
        "FROM traded) GROUP BY symbol ORDER BY count(*) DESC, symbol",
        _LISTS,
    ),
    Check(
        "orphan_measures",
        "info",
        "symbols under surveillance that are in no list and have no price",
        "SELECT symbol || ' (' || count(*) || ' measures)' FROM surveillance_measures "
        "WHERE symbol NOT IN (SELECT symbol FROM securities) AND symbol NOT IN (SELECT symbol FROM traded) "
        "GROUP BY symbol ORDER BY count(*) DESC, symbol",
        _LISTS,
    ),
    Check(
        "odd_symbols",
        "error",
        "names of securities, with bars or on lists, that the exchange cannot have given",
        "SELECT symbol FROM (SELECT symbol FROM traded UNION SELECT symbol FROM securities) names "
        "WHERE symbol !~ '^[A-Z0-9&-]+(~[A-Z0-9]{12})?$' ORDER BY symbol",  # ~ and its ISIN: another took its name
        "Blanks, small letters or other signs came past the loader: load the lists again.",
    ),
    Check(
        "odd_isins",
        "error",
        "securities whose ISIN is not an Indian one with a right check digit",
        # the sum is only asked for where there are twelve letters and digits
        f"SELECT symbol || ': ' || isin FROM securities WHERE CASE WHEN isin ~ '^IN[A-Z0-9]{{9}}[0-9]$' "
        f"THEN {_SUM} % 10 <> 0 ELSE true END ORDER BY symbol",
        "A letter was changed, or it is a placeholder: take the ISIN from the exchange's newest list.",
    ),
    Check(
        "odd_securities",
        "error",
        "securities with a face value or lot that is not above zero, or a listing date before 1875 or to come",
        "SELECT symbol FROM securities WHERE face_value <= 0 OR market_lot <= 0 OR paid_up_value <= 0 "
        "OR listing_date < '1875-01-01' OR listing_date > (now() AT TIME ZONE 'Asia/Kolkata')::date + 30 ORDER BY "
        "symbol",
        "Load the newest list again.",
    ),
    Check(
        "activity_differs",
        "warning",
        "securities that are active and on no list any more, or on a list and not active",
        "SELECT symbol || CASE WHEN is_active THEN ': active, on no list' ELSE ': on a list, not active' END "
        "FROM securities s JOIN (SELECT security_id, bool_or(valid_until IS NULL) AS listed FROM listings GROUP BY 1) "
        "l ON l.security_id = s.id WHERE s.is_active <> l.listed ORDER BY symbol",
        "Somebody changed is_active past the loader: load the newest list again.",
    ),
    Check(
        "bars_under_former_names",
        "error",
        "days on which a security has bars under its former name and under the later one",
        "SELECT old || ' and ' || new || ' ' || o.date FROM former_names JOIN ohlcv_daily o ON o.symbol = old "
        "JOIN ohlcv_daily n ON n.symbol = new AND n.date = o.date ORDER BY o.date DESC, old",
        "Both are one security: remove the bars under the former name, or of another vendor.",
    ),
    Check(
        "names_outlived",
        "warning",
        "former names with bars from the day on which another name took their place",
        "SELECT old || ' (now ' || new || '), ' || t.last FROM former_names JOIN traded t ON t.symbol = old "
        "WHERE t.last >= until ORDER BY t.last DESC, old",
        "Load the newest lists: the rename then takes the history along.",
    ),
    Check(
        "twins",
        "warning",
        "pairs of names with the same prices and volume on five days or more",
        # joined by whole numbers alone, which is twice as fast as by prices; indices have no volume
        "SELECT a.symbol || ' and ' || b.symbol || ', ' || count(*) || ' days' FROM ohlcv_daily a JOIN ohlcv_daily b "
        "USING (date, volume) WHERE a.symbol < b.symbol AND a.low < a.high AND (a.open - b.open, a.high - b.high, "
        "a.low - b.low, a.close - b.close) = (0, 0, 0, 0) "
        "GROUP BY a.symbol, b.symbol HAVING count(*) >= 5 ORDER BY count(*) DESC, a.symbol",
        "One security under two names: load the symbol changes, or remove one of both.",
    ),
    Check(
        "stale_symbols",
        "warning",
        "active securities that traded on most days and have no bar in the last ten sessions",
        "SELECT s.symbol || ': last ' || t.last || ', ' || (SELECT count(*) FROM session_days d WHERE d.date > t.last) "
        "|| ' sessions ago' FROM securities s JOIN traded t USING (symbol) WHERE s.is_active "
        "AND t.last < (SELECT date FROM session_days ORDER BY date DESC OFFSET 9 LIMIT 1) "
        "AND 2 * t.bars > (SELECT count(*) FROM session_days d WHERE d.date BETWEEN t.first AND t.last) "
        "ORDER BY t.last, s.symbol",
        "Suspended, renamed or delisted: load the newest lists and symbol changes.",
    ),
    Check(
        "securities_without_bars",
        "info",
        "active securities, listed before the last session, with no bar at all, where most have some",
        "SELECT symbol || ', listed ' || coalesce(listing_date::text, 'on an unknown day') FROM securities s "
        "WHERE is_active AND coalesce(listing_date, '-infinity') <= (SELECT max(date) FROM session_days) "
        "AND NOT EXISTS (SELECT FROM traded t WHERE t.symbol = s.symbol) AND 2 * (SELECT count(*) FROM traded) > "
        "(SELECT count(*) FROM securities WHERE is_active) ORDER BY listing_date DESC NULLS LAST, symbol",
        "Long suspended, or bars under another name: load the symbol changes.",
    ),
    Check(
        "bars_before_listing",
        "info",
        "securities with bars before the day of their listing",
        "SELECT symbol || ': listed ' || listing_date || ', bars since ' || t.first FROM securities JOIN traded t "
        "USING (symbol) WHERE t.first < listing_date ORDER BY symbol",
        "A move from the SME board is right (the list then has the new day); else another security's bars.",
    ),
)
