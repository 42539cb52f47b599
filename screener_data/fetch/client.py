"""Asking an address: as a browser does, slowly, again where it makes sense; and whether the answer is a file at all."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import logging
import random
import re
import time
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Self

import httpx

from screener_data.config import Settings
from screener_data.errors import ConfigError, FetchError, NoSuchFileError
from screener_data.fetch.addresses import Address, Body

__all__ = ["Answer", "Client", "problem_of"]

# at DEBUG it logs every header, cookies too
logging.getLogger("httpcore").setLevel(logging.INFO)

_BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36",
    "Accept": "text/csv,application/json,application/zip,text/html;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.9",
    "Accept-Encoding": "gzip, deflate",
}
_WARM_UP = "/option-chain"
#: Headers of an answer that are worth keeping; cookies are not among them.
_KEPT = ("content-type", "content-length", "content-encoding", "last-modified", "etag", "date")
#: No file of the exchange comes near it.
_MAX_BYTES = 1 << 28
#: Seconds: who asks us to wait longer is asked again another time.
_LONGEST_WAIT = 120.0
#: As often as this in a row a host gives no answer at all, and it is not asked any more.
_SILENT = 4
#: An answer may take so many times the silence that is borne.
_WHOLE = 10


@dataclass(frozen=True)
class Answer:
    """A file as it came: bytes, address, the headers worth keeping, and the time (UTC)."""

    data: bytes
    url: str
    headers: dict[str, str]
    at: dt.datetime


class _TryAgainError(Exception):
    """It may go better the next time: not before `wait` seconds, with fresh cookies; `silent`: nobody was there."""

    def __init__(self, problem: str, *, wait: float = 0, refused: bool = False, silent: bool = False) -> None:
        super().__init__(problem)
        self.wait, self.refused, self.silent = wait, refused, silent


class Client:
    """Asks the hosts of the settings, at most `fetch_rate` times a second, each address up to `fetch_tries` times."""

    def __init__(self, settings: Settings) -> None:
        """Read what is set; nobody is asked yet."""
        self._settings = settings
        self._http = httpx.Client(headers=_BROWSER, timeout=settings.fetch_timeout, follow_redirects=True)
        self._next = 0.0
        self._has_cookies = False
        self._silent: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Connections are opened when they are needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections; cookies are forgotten with them."""
        self._http.close()

    def url(self, address: Address, day: dt.date, **words: str) -> str:
        """The whole address of a day's file."""
        return self._base(address.host) + address.path_of(day, **words)

    def get(self, address: Address, day: dt.date, **words: str) -> Answer:
        """The file at an address. Raises NoSuchFileError (404), else FetchError once it has been asked often enough.

        An error page, an empty body, JSON that says error, a zip or a body cut short are no files; the errors say what
        came instead. Raises ConfigError where a token is needed and none is set.
        """
        url = self.url(address, day, **words)
        if address.token and self._settings.upstox_token is None:
            raise ConfigError(f"{address.source} needs a token of Upstox: set SCREENER_UPSTOX_TOKEN")
        if self._silent[address.host] >= _SILENT:
            raise FetchError(
                f"{url}: not asked, since {self._base(address.host)} gave no answer {_SILENT} times running"
            )
        cookies, tries = address.cookies, self._settings.fetch_tries
        for each in range(1, tries + 1):
            try:
                return self._once(url, address, cookies)
            except _TryAgainError as error:
                if each == tries or error.wait > _LONGEST_WAIT:
                    self._silent[address.host] += error.silent
                    asks = f" and asks to wait {error.wait:.0f} s" if error.wait else ""
                    times = "once" if each == 1 else f"{each} times"
                    raise FetchError(self._hidden(f"{url}: {error}{asks}; asked {times}. Fetch again later")) from None
                cookies = cookies or error.refused
                pause = self._settings.fetch_backoff * 2 ** (each - 1) * random.uniform(0.5, 1.5)  # noqa: S311
                time.sleep(max(error.wait, pause))
        raise AssertionError("a number of tries is at least 1")

    def _base(self, host: str) -> str:
        return str(getattr(self._settings, f"fetch_{host}_url")).rstrip("/")

    def _once(self, url: str, address: Address, cookies: bool) -> Answer:
        if cookies and not self._has_cookies:
            self._warm_up()
        headers = {"Referer": f"{self._base('nse')}/"} if address.host in ("nse", "archives") else {}
        token = self._settings.upstox_token if address.token else None
        if token is not None:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        status, found, data = self._ask(url, headers)
        self._silent[address.host] = 0
        if status == 404:
            raise NoSuchFileError(f"{url}: no such file (404)")
        if status in (401, 403):
            if token is not None:
                raise FetchError(f"{url}: refused ({status}): is SCREENER_UPSTOX_TOKEN still valid?")
            self._http.cookies.clear()
            self._has_cookies = False
            raise _TryAgainError(f"refused ({status})", wait=_wait(found), refused=True)
        if status == 429 or status >= 500:
            raise _TryAgainError(f"status {status}", wait=_wait(found))
        if status >= 400:
            raise FetchError(self._hidden(f"{url}: status {status}: {_said(data)!r}"))
        if (
            problem := f"status {status}"
            if status != 200
            else problem_of(data, address.body, found.get("content-type"))
        ):
            raise _TryAgainError(problem)
        kept = {name: value for name in _KEPT if (value := found.get(name)) is not None}
        return Answer(data, url, kept, dt.datetime.now(dt.UTC))

    def _warm_up(self) -> None:
        """Get fresh cookies, as a browser has them that came by the website."""
        status, found, _ = self._ask(self._base("nse") + _WARM_UP, {})
        if status >= 400:
            raise _TryAgainError(f"no cookies from {_WARM_UP} (status {status})", wait=_wait(found))
        self._has_cookies = True

    def _ask(self, url: str, headers: dict[str, str]) -> tuple[int, httpx.Headers, bytes]:
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + 1 / self._settings.fetch_rate
        until = time.monotonic() + _WHOLE * self._settings.fetch_timeout
        body = io.BytesIO()
        try:
            with self._http.stream("GET", url, headers=headers) as response:
                for part in response.iter_bytes():
                    body.write(part)
                    if body.tell() > _MAX_BYTES:
                        raise FetchError(f"{url}: more than {_MAX_BYTES >> 20} MiB, which no file of the exchange has")
                    if time.monotonic() > until:
                        raise _TryAgainError(f"not whole after {_WHOLE * self._settings.fetch_timeout:.0f} s")
                return response.status_code, response.headers, body.getvalue()
        except httpx.RequestError as error:
            silent = isinstance(error, httpx.TimeoutException | httpx.ConnectError)
            what = "no answer" if silent else "the answer was cut short"
            raise _TryAgainError(f"{what} ({type(error).__name__})", silent=silent) from None

    def _hidden(self, text: str) -> str:
        """An answer may repeat what it was asked with: no token and no cookie is shown."""
        token = self._settings.upstox_token
        secrets = [cookie.value or "" for cookie in self._http.cookies.jar]
        secrets.append(token.get_secret_value() if token else "")
        for secret in filter(None, secrets):
            text = text.replace(secret, "***")
        return text


def _wait(headers: httpx.Headers) -> float:
    """Seconds that an answer asks us to wait, in either spelling of Retry-After."""
    asked = headers.get("retry-after", "").strip()
    if asked.isdigit():
        return float(asked)
    try:
        return max(0.0, (parsedate_to_datetime(asked) - dt.datetime.now(dt.UTC)).total_seconds())
    except (ValueError, TypeError):  # none, or a date without a zone
        return 0.0


def problem_of(data: bytes, body: Body, content_type: str | None = None) -> str | None:
    """What is wrong with an answer of status 200; None for a file.

    >>> problem_of(b"<html><title>Access Denied</title>", "csv")
    "a web page: 'Access Denied'"
    >>> problem_of(b"Date,Symbol", "csv") is None
    True
    """
    start = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        return f"an empty answer ({len(data)} bytes)"
    if start.startswith(b"<") or "text/html" in (content_type or ""):
        return f"a web page: {_said(data)!r}"
    if body != "json" and start.startswith((b"{", b"[")):
        return _json_problem(data) or f"JSON where a {body} is expected: {_said(data)!r}"
    match body:
        case "zip":
            return _zip_problem(data)
        case "gzip":
            return _gzip_problem(data)
        case "json":
            return _json_problem(data)
    return _csv_problem(start.splitlines()[0], data)


def _csv_problem(first: bytes, data: bytes) -> str | None:
    """A table ends with a line break, or with a line that has all its cells; a note below it has none."""
    last = data[data.rfind(b"\n") + 1 :]
    if not (cells := first.count(b",")):
        return f"no table: {_said(data)!r}"
    if 0 < last.count(b",") < cells:
        return f"a table that is cut short: its last line is {_said(last)!r}"
    return None


def _zip_problem(data: bytes) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
        return f"no zip, or one that is cut short: {_said(data)!r}" if data[:2] != b"PK" else "a zip that is cut short"
    return None if broken is None else f"a zip whose member {broken!r} is damaged"


def _gzip_problem(data: bytes) -> str | None:
    try:
        return _json_problem(gzip.decompress(data))
    except (OSError, EOFError, zlib.error):
        return "a gzip that is cut short" if data[:2] == b"\x1f\x8b" else f"no gzip: {_said(data)!r}"


def _json_problem(data: bytes) -> str | None:
    try:
        document: Any = json.loads(data)
    except (ValueError, RecursionError):
        return f"no JSON, or JSON that is cut short: {_said(data)!r}"
    if not document:
        return "JSON without anything in it"
    if isinstance(document, dict) and (
        document.get("status") == "error" or document.get("error") or document.get("errors")
    ):
        return f"an error answer: {_said(data)!r}"
    return None


def _said(data: bytes) -> str:
    """What an answer that is no file says, short: a page's title, the beginning of anything else."""
    text = data[:4096].decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    return " ".join((title[1] if title else text).split())[:100]
