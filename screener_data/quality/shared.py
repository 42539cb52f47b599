"""Tables that queries of checks can speak of: what several of them ask is computed once, or said once."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from sqlalchemy import Connection, text

from screener_data.adjust import days_of_actions
from screener_data.exchange import DISPUTED, HOLIDAYS, SPECIAL_SESSIONS

__all__ = ["Shared"]

#: A table speaks only of those above it.
_TABLES = {
    # days of corporate actions in force, with the price factor, and the kinds of those that have none
    "known_days": "SELECT * FROM unnest(CAST(:known_symbols AS text[]), CAST(:known_ex_dates AS date[]), "
    "CAST(:known_factors AS float8[])) AS known (symbol, ex_date, factor)",
    "unknown_days": "SELECT * FROM unnest(CAST(:unknown_symbols AS text[]), CAST(:unknown_ex_dates AS date[]), "
    "CAST(:unknown_kinds AS text[])) AS unknown (symbol, ex_date, kind)",
    # days with bars of securities: how many, and the median of the 41 such days around
    "stored_days": "SELECT * FROM unnest(CAST(:stored_dates AS date[]), CAST(:stored_bars AS bigint[]), "
    "CAST(:stored_usual AS float8[])) AS days (date, bars, usual)",
    # those on which the market traded: a few bars with a wrong date make no session
    "session_days": "SELECT date, bars FROM stored_days WHERE bars >= usual / 2",
    # names with bars, indices left out
    "traded": "SELECT * FROM unnest(CAST(:traded_symbols AS text[]), CAST(:traded_firsts AS date[]), "
    "CAST(:traded_lasts AS date[]), CAST(:traded_bars AS bigint[])) AS names (symbol, first, last, bars)",
    # by the declared calendar and the stored lists: sessions where a weekday has none, holidays; on
    # disputed days bars are right, and none are missing
    "special_days": "SELECT unnest(CAST(:special_dates AS date[])) AS date",
    "disputed_days": "SELECT unnest(CAST(:disputed_dates AS date[])) AS date",
    "closed_days": "SELECT unnest(CAST(:closed_dates AS date[])) AS date "
    "UNION SELECT holiday_date FROM market_holidays",
    # days on which most previous closes are not those of the stored day before, or most bars equal that day's
    "odd_days": "SELECT * FROM unnest(CAST(:odd_sinces AS date[]), CAST(:odd_dates AS date[]), "
    "CAST(:odd_differ AS bigint[]), CAST(:odd_repeated AS bigint[]), CAST(:odd_bars AS bigint[])) "
    "AS odd (since, date, differ, repeated, bars)",
    # neighbouring stored days between which a session lacks
    "holes": "SELECT since, date, differ AS bars FROM odd_days WHERE differ > bars / 2.0",
    # days on which the securities with bars are not those with metrics
    "uneven_days": "SELECT unnest(CAST(:uneven_dates AS date[])) AS date",
    # a security's former and later name, and the first day of the later one; not where another bears the former today
    "former_names": "SELECT DISTINCT old, new, until FROM (SELECT h.symbol AS old, s.symbol AS new, h.valid_until AS "
    "until FROM symbol_history h JOIN securities s ON s.id = h.security_id UNION ALL SELECT old_symbol, new_symbol, "
    "change_date FROM symbol_changes) names WHERE old <> new AND NOT EXISTS (SELECT FROM securities t WHERE "
    "t.symbol = old)",
    # bars of securities, and each beside the bar before
    "shares": "SELECT o.* FROM ohlcv_daily o WHERE NOT EXISTS (SELECT FROM indices i WHERE i.symbol = o.symbol)",
    "steps": "SELECT *, (open, high, low, close, volume) = (open_before, high_before, low_before, before, "
    "volume_before) AS is_repeated FROM (SELECT symbol, date, open, high, low, close, volume, prev_close, "
    "lag(date) OVER w AS since, lag(close) OVER w AS before, lag(prev_close) OVER w AS prev_close_before, "
    "lag(open) OVER w AS open_before, lag(high) OVER w AS high_before, lag(low) OVER w AS low_before, "
    "lag(volume) OVER w AS volume_before "
    "FROM shares WINDOW w AS (PARTITION BY symbol ORDER BY date)) neighbours",
}


class Shared:
    """The tables as of one moment. `before` says those of which a query speaks."""

    def __init__(self, connection: Connection) -> None:
        """Compute what is not plain SQL; adjust.py knows what corporate actions do."""
        days = days_of_actions(connection)
        known = [day for day in days if day.is_known]
        unknown = [(day, kind) for day in days for kind in day.unknown]
        self.values: dict[str, list[Any]] = {
            "known_symbols": [day.symbol for day in known],
            "known_ex_dates": [day.ex_date for day in known],
            "known_factors": [float(day.price) for day in known],
            "unknown_symbols": [day.symbol for day, _ in unknown],
            "unknown_ex_dates": [day.ex_date for day, _ in unknown],
            "unknown_kinds": [kind for _, kind in unknown],
            "special_dates": list(SPECIAL_SESSIONS),
            "disputed_dates": list(DISPUTED),
            "closed_dates": list(HOLIDAYS),
        }
        self._take(
            connection,
            "WITH days AS (SELECT date, count(*) AS bars, row_number() OVER (ORDER BY date) AS place FROM shares "
            "GROUP BY date) SELECT date, bars, (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n.bars) FROM days n "
            "WHERE n.place BETWEEN d.place - 20 AND d.place + 20) FROM days d ORDER BY date",
            ("stored_dates", "stored_bars", "stored_usual"),
        )
        self._take(
            connection,
            "SELECT symbol, min(date), max(date), count(*) FROM shares GROUP BY symbol",
            ("traded_symbols", "traded_firsts", "traded_lasts", "traded_bars"),
        )
        self._take(
            connection,
            "SELECT since, date, differ, repeated, d.bars FROM (SELECT since, date, count(*) FILTER (WHERE "
            "prev_close <> before) AS differ, count(*) FILTER (WHERE is_repeated) AS repeated FROM steps GROUP BY "
            "since, date) pairs JOIN stored_days d USING (date) WHERE greatest(differ, repeated) > d.bars / 2.0",
            ("odd_sinces", "odd_dates", "odd_differ", "odd_repeated", "odd_bars"),
        )
        self._take(
            connection,
            # by number and sum of the names' hashes: to look for each row's partner takes four times as long
            "SELECT date FROM (SELECT date, count(*) AS number, sum(hashtext(symbol)) AS names FROM ohlcv_daily "
            "WHERE symbol IN (SELECT symbol FROM securities) GROUP BY date) bars FULL JOIN (SELECT date, count(*) AS "
            "number, sum(hashtext(symbol)) AS names FROM calculated_metrics GROUP BY date) metrics USING (date) "
            "WHERE (bars.number, bars.names) IS DISTINCT FROM (metrics.number, metrics.names)",
            ("uneven_dates",),
        )

    @property
    def last_session(self) -> dt.date | None:
        """The last stored day on which the market traded."""
        days = zip(*(self.values[f"stored_{name}"] for name in ("dates", "bars", "usual")), strict=True)
        return max((date for date, bars, usual in days if bars >= usual / 2), default=None)

    def before(self, query: str) -> str:
        """The parts of a WITH clause for the tables that the query speaks of."""
        wanted: set[str] = set()
        waiting = [query]
        while waiting:
            words = set(re.findall(r"\w+", waiting.pop())) & _TABLES.keys() - wanted
            wanted |= words
            waiting += [_TABLES[word] for word in words]
        return ", ".join(f"{name} AS ({query})" for name, query in _TABLES.items() if name in wanted)

    def of(self, statement: str) -> dict[str, list[Any]]:
        """The values that a statement asks for."""
        return {name: self.values[name] for name in re.findall(r":(\w+)", statement) if name in self.values}

    def _take(self, connection: Connection, query: str, names: tuple[str, ...]) -> None:
        statement = f"WITH {', '.join(filter(None, (self.before(query), f'taken AS ({query})')))} SELECT * FROM taken"
        rows = connection.execute(text(statement), self.of(statement)).all()
        self.values |= {name: [row[place] for row in rows] for place, name in enumerate(names)}
