"""fetch(): download what is missing of the days asked for, then load it."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine, text
from tqdm import tqdm

from screener_data import ingest
from screener_data.arguments import Day, as_day, require_known
from screener_data.config import settings
from screener_data.database.engine import ready
from screener_data.errors import ConfigError, FetchError, NoSuchFileError, UsageError
from screener_data.exchange import HOLIDAYS, SPECIAL_SESSIONS
from screener_data.fetch.addresses import (
    ADDRESSES,
    EVERY_DAY,
    INSTRUMENTS,
    NOT_FETCHED,
    Address,
    alternatives,
    month_name,
)
from screener_data.fetch.client import Answer, Client
from screener_data.fetch.store import Store
from screener_data.ledger import LoadResult
from screener_data.loaders import SOURCES
from screener_data.loaders.bhavcopy import SERIES

__all__ = ["FetchResult", "Fetched", "fetch", "first_missed", "last_session", "refresh_candles"]

_IST = dt.timezone(dt.timedelta(hours=5, minutes=30))
#: The exchange's files of a session are out by then, IST. A file without deals says nothing before.
_PUBLISHED = dt.time(18)
#: A day without a file is asked about again for so long: an address may come late.
_LATE = dt.timedelta(days=7)
#: Evenings that were missed are made up for so far back; what is older is asked for on purpose.
_MADE_UP = dt.timedelta(days=30)
_QUOTES_AT_ONCE = 500
_CANDLE_YEARS = 10
_Item = TypeVar("_Item")


class Fetched(BaseModel):
    """What became of one file that was asked for.

    new: downloaded now; kept: downloaded before; no_file: the exchange was shut, or had no such file yet or any more;
    missing: a session's file that is not there; failed: the address did not give it, see `error`.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    day: dt.date | None  # None: a list as it stands today
    status: Literal["new", "kept", "no_file", "missing", "failed"]
    file: str | None = None
    url: str
    error: str | None = None


class FetchResult(BaseModel):
    """What was downloaded, in order, and what loading it did."""

    model_config = ConfigDict(frozen=True)

    files: list[Fetched]
    loads: list[LoadResult]

    @property
    def failed(self) -> list[Fetched]:
        """The files that the address did not give."""
        return [file for file in self.files if file.status == "failed"]

    @property
    def missing(self) -> list[Fetched]:
        """The files of sessions that are not there."""
        return [file for file in self.files if file.status == "missing"]

    @property
    def ok(self) -> bool:
        """Whether nothing is missing, nothing failed, and no load did."""
        return not (self.failed or self.missing or any(load.status == "failure" for load in self.loads))


def fetch(
    sources: str | Sequence[str] | None = None,
    first: Day = None,
    last: Day = None,
    *,
    load: bool = True,
    engine: Engine | None = None,
    progress: Callable[[Fetched], None] | None = None,
) -> FetchResult:
    """Download what is missing of the sessions from `first` to `last`, oldest first, then load it.

    No source: all but those asked symbol by symbol (nse_industry, upstox_ohlcv, upstox_quotes). No days: the last
    session; no `last`: up to it. The raw files are kept under `SCREENER_HOME/raw`; what is there is not asked for
    again, so that a fetch that was killed goes on where it was. Lists are those of today, whatever the days. What is
    missing or failed stands in the result, and the others are fetched. `progress` is called with each file.

    Symbol by symbol, nse_industry is asked for the equities that have no classification yet, upstox_ohlcv and
    upstox_quotes for all active securities. Where candles were fetched before, those of symbols with a corporate action
    since are fetched again.

    Raises UsageError (no such source, days in the future), ConfigError (quotes without SCREENER_UPSTOX_TOKEN),
    FetchError (another process is fetching) and DatabaseError.

    >>> import screener_data as sd
    >>> found = sd.fetch("nse_surveillance", "2020-01-06", "2020-01-06")
    >>> found.ok, [(file.status, file.error) for file in found.files]
    (True, [('no_file', 'nse_surveillance has no files of such a day')])
    """
    wanted = _sources(sources)
    begin, end, today = as_day(first), as_day(last), _now().date()
    begin = begin or end
    if begin is not None and (begin > (end or today) or (end or begin) > today):
        raise UsageError(f"from {begin} to {end or today} are no days up to today, {today}")
    if "upstox_quotes" in wanted and settings().upstox_token is None:
        raise ConfigError("upstox_quotes needs a token of Upstox: set SCREENER_UPSTOX_TOKEN, or leave the source out")
    engine = ready(engine)
    with Store(settings().home / "raw") as store, Client(settings()) as client:
        run = _Run(engine, store, client, load, progress)
        by_day = [group for group in alternatives(wanted) if not group[0].by_symbol]
        for group in by_day:
            if group[0].when == "now":
                run.list(group)
        run.load()  # holidays tell which days are sessions, and lists bring the symbols that others refer to
        newest = last_session(today, engine)
        begin, end = begin or newest, end or newest
        run.days([group for group in by_day if group[0].when != "now"], begin, end, newest)
        run.load()  # with the corporate actions, which candles that are fetched from here on know
        if "nse_industry" in wanted:
            run.industries()
        if "upstox_quotes" in wanted:
            run.quotes()
        if "upstox_ohlcv" in wanted:
            run.candles([(symbol, begin) for symbol in run.active()], end)
        run.load()
        run.refresh(None)
        run.load()
    return FetchResult(files=run.files, loads=run.loads)


def last_session(day: Day = None, engine: Engine | None = None) -> dt.date:
    """The newest session on or before a day (None: today in India), by the exchange's calendar and market_holidays.

    >>> from screener_data.fetching import last_session
    >>> last_session("2025-03-16")  # a Sunday after Holi
    datetime.date(2025, 3, 13)
    >>> last_session("2025-02-02")  # a Sunday after the Saturday of the Union Budget
    datetime.date(2025, 2, 1)
    """
    found = as_day(day) or _now().date()
    shut = _holidays(ready(engine))
    while not _is_session(found, shut):
        found -= dt.timedelta(days=1)
    return found


def first_missed(day: Day = None, engine: Engine | None = None) -> dt.date:
    """The day from which an evening has to fetch, up to `day` (None: today in India).

    That is the day after the newest stored session (by its bhavcopy), at most thirty days before the last session; and
    the last session where that is stored, or none is.

    >>> from screener_data.fetching import first_missed
    >>> first_missed("2025-07-03")  # the sample market ends on 2025-06-30
    datetime.date(2025, 7, 1)
    """
    engine = ready(engine)
    newest = last_session(day, engine)
    with engine.connect() as connection:
        stored: dt.date | None = connection.execute(
            text(
                "SELECT max(last_day) FROM load_files WHERE source = 'nse_bhavcopy' "
                "AND state IN ('success', 'partial') AND last_day <= :newest"
            ),
            {"newest": newest},
        ).scalar()
    if stored is None or stored == newest:
        return newest
    return max(stored + dt.timedelta(days=1), newest - _MADE_UP)


def refresh_candles(
    symbols: Sequence[str] | None = None,
    *,
    load: bool = True,
    engine: Engine | None = None,
    progress: Callable[[Fetched], None] | None = None,
) -> FetchResult:
    """Fetch Upstox's candles again, up to today, for symbols with a corporate action since they were last fetched.

    Upstox adjusts candles at the time of fetching: each action rewrites the older ones. No symbols: all that candles
    are kept of. `fetch` does so by itself. Raises what `fetch` raises.

    >>> from screener_data.fetching import refresh_candles
    >>> refresh_candles().files  # no candles were fetched here
    []
    """
    engine = ready(engine)
    with Store(settings().home / "raw") as store, Client(settings()) as client:
        run = _Run(engine, store, client, load, progress)
        run.refresh(symbols)
        run.load()
    return FetchResult(files=run.files, loads=run.loads)


def _sources(given: str | Sequence[str] | None) -> tuple[str, ...]:
    if given is None:
        return EVERY_DAY
    wanted = (given,) if isinstance(given, str) else tuple(given)
    for source in wanted:
        require_known(source, SOURCES, "source")
        if source in NOT_FETCHED:
            raise UsageError(f"{source} is not fetched: {NOT_FETCHED[source]}")
    return wanted


def _now() -> dt.datetime:
    return dt.datetime.now(_IST)


def _holidays(engine: Engine) -> set[dt.date]:
    """The declared holidays and the stored ones: a year's list is loaded before the next release declares it."""
    with engine.connect() as connection:
        return set(connection.execute(text("SELECT holiday_date FROM market_holidays")).scalars()) | HOLIDAYS.keys()


def _is_session(day: dt.date, shut: set[dt.date]) -> bool:
    return day in SPECIAL_SESSIONS or (day.weekday() < 5 and day not in shut)


# --- one run --------------------------------------------------------------------------------------------------------


class _Run:
    """One fetch: what it was told to use, and what became of the files so far."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        client: Client,
        loads: bool,
        progress: Callable[[Fetched], None] | None,
    ) -> None:
        self.engine, self.store, self.client = engine, store, client
        self.today = _now().date()
        self.files: list[Fetched] = []
        self.loads: list[LoadResult] = []
        self._loads, self._progress = loads, progress
        self._waiting: list[Path] = []
        self._keys: dict[str, str] | None = None  # by symbol, once they were asked for

    # --- lists and days

    def list(self, group: Sequence[Address]) -> None:
        """A list as it stands today."""
        self._obtain(group, self.today, label=None)

    def days(self, groups: Sequence[tuple[Address, ...]], first: dt.date, last: dt.date, newest: dt.date) -> None:
        """The files of all days, oldest first. Where no session is known of, the day's first file tells: a
        Saturday may have one that was declared later than this release."""
        holidays = _holidays(self.engine)
        for day in _shown(_days(first, last) if groups else [], "day"):
            session = _is_session(day, holidays)
            closed = False
            for group in groups:
                if closed:
                    self._tell(_fetched("no_file", group[0], day, self.client.url(group[0], day)))
                    continue
                asked = _in_turn(group, day, newest)
                status = self._obtain(group, day, asked=asked, label=day, session=session).status
                session = session or status in ("new", "kept")
                closed = not session and status == "no_file"

    # --- symbol by symbol

    def active(self) -> Sequence[str]:
        """The symbols of all active securities."""
        return [
            symbol for symbol, _ in self._rows("SELECT symbol, isin FROM securities WHERE is_active ORDER BY symbol")
        ]

    def industries(self) -> None:
        """The classification of the equities that have none."""
        group = _by_symbol("nse_industry")
        found = self._rows(
            "SELECT symbol, coalesce(series, 'EQ') FROM securities WHERE is_active AND security_type = 'EQUITY' "
            "AND symbol NOT IN (SELECT symbol FROM industry_classification) ORDER BY symbol"
        )
        for symbol, series in _shown(found, "symbol"):
            self._obtain(group, self.today, label=None, symbol=symbol, series=series)

    def quotes(self) -> None:
        """The quotes of all active securities, as many at once as Upstox gives."""
        group = _by_symbol("upstox_quotes")
        known = [key for symbol in self.active() if (key := self._key(symbol, group[0], None))]
        for batch in range(0, len(known), _QUOTES_AT_ONCE):
            together = ",".join(known[batch : batch + _QUOTES_AT_ONCE])
            number = f"{batch // _QUOTES_AT_ONCE + 1}"
            self._obtain(group, self.today, label=None, keys=together, batch=number)

    def candles(self, wanted: Sequence[tuple[str, dt.date]], last: dt.date, *, again: bool = False) -> None:
        """The candles of symbols, each from its first day on, in pieces of at most ten years."""
        group = _by_symbol("upstox_ohlcv")
        for symbol, first in _shown(wanted, "symbol"):
            key = self._key(symbol, group[0], last)
            if key is None:
                continue
            for since, until in _pieces(max(first, group[0].first or first), last):
                path = self.store.path(group[0].source, until, group[0].file_of(until, symbol=symbol))
                covered = self.store.note(path).get("since", "9") <= since.isoformat()
                self._obtain(
                    group,
                    until,
                    label=until,
                    again=again or not covered,
                    symbol=symbol,
                    key=key,
                    since=since.isoformat(),
                    until=until.isoformat(),
                )

    def refresh(self, symbols: Sequence[str] | None) -> None:
        """Fetch candles again that corporate actions have rewritten."""
        fetched: dict[str, tuple[dt.datetime, dt.date]] = {}
        for note in self.store.notes("upstox_ohlcv").values():
            at, since = dt.datetime.fromisoformat(note["fetched_at"]), dt.date.fromisoformat(note["since"])
            known_at, known_since = fetched.get(note["symbol"], (at, since))
            fetched[note["symbol"]] = max(at, known_at), min(since, known_since)
        for symbol in symbols or ():
            require_known(symbol, sorted(fetched), "symbol")
        if not fetched:
            return
        actions = self._rows(
            "SELECT symbol, ex_date, max(created_at) FROM corporate_actions WHERE ex_date <= :today "
            "AND symbol = ANY(:symbols) GROUP BY symbol, ex_date",
            today=self.today,
            symbols=list(symbols or fetched),
        )
        stale = {
            symbol
            for symbol, ex_date, recorded in actions
            if _rewrites(fetched[symbol][0], self.today, ex_date, recorded)
        }
        self.candles([(symbol, fetched[symbol][1]) for symbol in sorted(stale)], self.today, again=True)

    def _key(self, symbol: str, address: Address, day: dt.date | None) -> str | None:
        """Upstox's key of an active security; None where it is not told, which the result says."""
        if self._keys is None:
            self._keys = self._listed_keys()
        key = self._keys.get(symbol)
        if key is None and self._keys:  # without any, the list itself is what failed
            url = self.client.url(INSTRUMENTS, self.today)
            self._tell(_fetched("missing", address, day, url, error=f"Upstox lists no instrument {symbol}"))
        return key

    def _listed_keys(self) -> dict[str, str]:
        """The keys by symbol. Upstox is asked by ISIN: names may differ."""
        found = self._obtain((INSTRUMENTS,), self.today, label=None)
        if found.file is None:
            return {}
        listed = json.loads(gzip.decompress(Path(found.file).read_bytes()))
        keys = {
            each["isin"]: each["instrument_key"]
            for each in listed
            if each.get("segment") == "NSE_EQ" and each.get("isin") and each.get("instrument_type") in SERIES
        }
        rows = self._rows("SELECT symbol, isin FROM securities WHERE is_active")
        return {symbol: keys[isin] for symbol, isin in rows if isin in keys}

    # --- one file

    def _obtain(
        self,
        group: Sequence[Address],
        day: dt.date,
        *,
        label: dt.date | None,
        session: bool = True,
        asked: Sequence[Address] | None = None,
        again: bool = False,
        **words: str,
    ) -> Fetched:
        """One file, from the first of its addresses that gives it."""
        paths = {each: self.store.path(each.source, day, each.file_of(day, **words)) for each in group}
        kept = next((each for each in group if not again and self.store.kept(paths[each])), None)
        if kept is not None:
            url = self.client.url(kept, day, **words)
            return self._tell(_fetched("kept", kept, label, url, file=paths[kept]), paths[kept])
        asked = [each for each in (group if asked is None else asked) if each.has(day)]
        problem: FetchError | None = None
        for address in asked:
            if not session and self.store.is_known_absent(paths[address]):
                continue
            try:
                answer = self.client.get(address, day, **words)
                self._require_day(address, answer, day)
            except NoSuchFileError as error:
                problem = problem or error
            except FetchError as error:
                problem = error if problem is None or isinstance(problem, NoSuchFileError) else problem
            else:
                path = self.store.put(paths[address], answer, **words)
                return self._tell(_fetched("new", address, label, answer.url, file=path), path)
        first = (asked or list(group))[0]
        url = self.client.url(first, day, **words)
        if problem is not None and not isinstance(problem, NoSuchFileError):
            return self._tell(_fetched("failed", first, label, url, error=str(problem)))
        if session and asked:
            return self._tell(_fetched("missing", first, label, url, error=self._why(label, problem)))
        if asked and day <= self.today - _LATE:
            for address in asked:
                self.store.put_absent(paths[address], self.client.url(address, day, **words), dt.datetime.now(dt.UTC))
        why = None if asked else f"{first.source} has no files of such a day"
        return self._tell(_fetched("no_file", first, label, url, error=why))

    def _require_day(self, address: Address, answer: Answer, day: dt.date) -> None:
        """Raises NoSuchFileError where the newest session's file is still an earlier one's."""
        printed = f"{day:%d}-{month_name(day)}-{day:%Y}".encode()
        if not address.shows_day or printed in answer.data.upper():
            return
        if b"NO RECORDS" in answer.data.upper() and _now() >= dt.datetime.combine(day, _PUBLISHED, _IST):
            return
        raise NoSuchFileError(f"{answer.url}: not the file of {day} (yet)")

    def _why(self, day: dt.date | None, problem: FetchError | None) -> str:
        """Why a session's file may be missing, and what to do."""
        if day is None or day < self.today - _LATE:
            todo = "If the exchange was shut that day, load its list of holidays" if day else "Fetch again later"
        else:
            todo = f"The exchange publishes a session's files in the evening, from about {_PUBLISHED:%H:%M} in India"
        return f"{problem}. {todo}"

    def _tell(self, file: Fetched, path: Path | None = None) -> Fetched:
        """Put a file into the result."""
        self.files.append(file)
        if path is not None and file.source != INSTRUMENTS.source:
            self._waiting.append(path)
        if self._progress is not None:
            self._progress(file)
        return file

    # --- loading

    def load(self) -> None:
        """Load the files that came since the last time; those that were loaded before are left out."""
        done = self._loaded() if self._loads and self._waiting else set()
        waiting = [path for path in dict.fromkeys(self._waiting) if path not in done]
        self._waiting = []
        if self._loads and waiting:
            self.loads += ingest.load(waiting, engine=self.engine)

    def _loaded(self) -> set[Path]:
        """The waiting files that were loaded: one with these bytes under its name, which may tell a day; a zip's
        members."""
        digests = {path: self.store.note(path).get("sha256") for path in self._waiting}
        rows = self._rows(
            "SELECT DISTINCT ON (file) split_part(file, '!', 1), file LIKE '%!%', sha256, "
            "state IN ('success', 'partial') FROM load_files WHERE split_part(file, '!', 1) = ANY(:paths) "
            "ORDER BY file, id DESC",
            paths=[str(path) for path in digests],
        )
        done: dict[Path, bool] = {}
        for name, in_zip, sha256, good in rows:
            path = Path(name)
            done[path] = done.get(path, True) and good and (in_zip or sha256 == digests[path])
        return {path for path, loaded in done.items() if loaded}

    def _rows(self, statement: str, **values: Any) -> Sequence[Any]:
        with self.engine.connect() as connection:
            return connection.execute(text(statement), values).all()


def _fetched(
    status: Literal["new", "kept", "no_file", "missing", "failed"],
    address: Address,
    day: dt.date | None,
    url: str,
    *,
    file: Path | None = None,
    error: str | None = None,
) -> Fetched:
    shown = None if file is None else str(file)
    return Fetched(source=address.source, day=day, status=status, file=shown, url=url, error=error)


def _by_symbol(source: str) -> tuple[Address, ...]:
    return tuple(address for address in ADDRESSES if address.source == source)


def _in_turn(group: Iterable[Address], day: dt.date, newest: dt.date) -> list[Address]:
    """The addresses to ask of a day, by whether it is the newest session's; a kept file may be from another."""
    other = "older" if day >= newest else "newest"
    return [address for address in group if address.when != other]


def _days(first: dt.date, last: dt.date) -> list[dt.date]:
    return [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]


def _pieces(first: dt.date, last: dt.date) -> Iterator[tuple[dt.date, dt.date]]:
    """A long range in pieces that Upstox gives at once, oldest first.

    >>> [f"{a} {b}" for a, b in _pieces(dt.date(2012, 2, 29), dt.date(2025, 1, 1))]
    ['2012-02-29 2022-02-27', '2022-02-28 2025-01-01']
    """
    while first <= last:
        year, month, day = first.year + _CANDLE_YEARS, first.month, min(first.day, 28)
        until = min(last, dt.date(year, month, day) - dt.timedelta(days=1))
        yield first, until
        first = until + dt.timedelta(days=1)


def _rewrites(fetched: dt.datetime, today: dt.date, ex_date: dt.date, recorded: dt.datetime | None) -> bool:
    """Whether an action came after candles were fetched, by its day or by when it was recorded (UTC)."""
    day = fetched.astimezone(_IST).date()
    late = recorded is not None and recorded > fetched.astimezone(dt.UTC).replace(tzinfo=None)
    return late or (day <= ex_date and day < today)


def _shown(items: Sequence[_Item], unit: str) -> Iterable[_Item]:
    """The items, with a bar on a terminal where there are several."""
    return tqdm(items, unit=unit, desc="fetch", disable=len(items) < 3 or not sys.stderr.isatty())
