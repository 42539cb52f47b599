"""fetch(): download what is missing of the days asked for, then load it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine

from screener_data.arguments import Day
from screener_data.ledger import LoadResult

__all__ = ["FetchResult", "Fetched", "fetch", "last_session", "refresh_candles"]


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
    """Download what is missing of the sessions from `first` to `last`, oldest first, then load it."""
    raise NotImplementedError


def last_session(day: Day = None, engine: Engine | None = None) -> dt.date:
    """The newest session on or before a day (None: today in IST), by weekends and market_holidays."""
    raise NotImplementedError


def refresh_candles(
    symbols: Sequence[str] | None = None,
    *,
    load: bool = True,
    engine: Engine | None = None,
    progress: Callable[[Fetched], None] | None = None,
) -> FetchResult:
    """Fetch adjusted candles again for symbols with a corporate action since their last fetch."""
    raise NotImplementedError
