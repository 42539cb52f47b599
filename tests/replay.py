"""A small exchange of our own on a real socket: real paths, sample or real files, and every failure on purpose.

The client is the real one; only the base addresses of its settings point here. The paths stand here as the exchange has
them, independently of `screener_data/fetch/addresses.py`.
"""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import re
import secrets
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "token-" + "of-upstox-4711"
#: Each way in which an address fails. The "short" ones are whole answers of half a file.
FAILURES = (
    *(
        "429",
        "500",
        "503",
        "timeout",
        "cut",
        "html",
        "json_error",
        "empty",
        "one_byte",
        "short_zip",
        "short_json",
        "short_csv",
    ),
    *("401", "403", "404"),
)
LISTS = {"EQUITY_L.csv", "eq_etfseclist.csv", "symbolchange.csv", "namechange.csv"}
INDEX_LISTS = ("ind_nifty50list.csv", "ind_nifty500list.csv")
EQUITY_HEADER = "SYMBOL,NAME OF COMPANY, SERIES, DATE OF LISTING, PAID UP VALUE, MARKET LOT, ISIN NUMBER, FACE VALUE\n"


@dataclass
class Asked:
    """One request, and what it got: the failure that was played, or a body that was sent whole."""

    path: str
    played: str | None
    whole: bool = False


class Exchange:
    """The server, its files by path, the failures still to be played, and its log."""

    def __init__(self, patience: float = 2.0) -> None:
        self.files: dict[str, bytes] = {}
        self.log: list[Asked] = []
        self.cookies: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.patience = patience  # seconds for which a "timeout" says nothing
        self.plan: dict[str, list[str]] = {}
        self.fault: Callable[[str], str | None] = lambda path: None
        self.retry_after = "0"
        self._valid: set[str] = set()
        self._closed = threading.Event()
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # headers and body are two packets

            def do_GET(self) -> None:
                exchange.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that was killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Exchange:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def settings(self) -> dict[str, str]:
        """The environment that makes the real client ask here, quickly."""
        hosts = ("NSE", "ARCHIVES", "UPSTOX", "UPSTOX_FILES")
        return {f"SCREENER_FETCH_{host}_URL": self.url for host in hosts} | {
            "SCREENER_FETCH_RATE": "100000",
            "SCREENER_FETCH_BACKOFF": "0.001",
            "SCREENER_FETCH_TIMEOUT": "1",
        }

    def asked(self, part: str = "") -> list[Asked]:
        """What was asked for, but for cookies."""
        return [each for each in self.log if part in each.path and each.path != "/option-chain"]

    # --- answering

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path
        asked = Asked(path, None)
        self.log.append(asked)
        self.headers.append(dict(request.headers))
        if path == "/option-chain":
            cookie = secrets.token_hex(12)
            self.cookies.append(cookie)
            self._valid.add(cookie)
            _send(request, 200, b"<html>the website", {"Set-Cookie": f"nsit={cookie}; Path=/; HttpOnly"})
            return
        planned = self.plan.get(path)
        asked.played = planned.pop(0) if planned else self.fault(path)
        if asked.played is not None:
            self._play(request, asked.played, self._file(path) or b"")
            return
        sent = re.search(r"nsit=(\w+)", request.headers.get("Cookie", ""))
        if path.startswith("/api/") and (sent is None or sent[1] not in self._valid):
            asked.played = "401"
            _send(request, 401, b"<html>Resource not found", {})
            return
        if path.startswith("/v2/market-quote/") and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            body = {"status": "error", "errors": [{"errorCode": "UDAPI100050", "message": "Invalid token"}]}
            _send(request, 401, json.dumps(body).encode(), {})
            return
        data = self._file(path)
        if data is None:
            asked.played = "404"
            _send(request, 404, b"<html><title>Not Found</title>", {})
            return
        asked.whole = _send(request, 200, data, {})

    def _play(self, request: BaseHTTPRequestHandler, failure: str, data: bytes) -> None:
        if failure == "timeout":
            self._closed.wait(self.patience)
            request.close_connection = True
        elif failure == "cut":
            request.send_response(200)
            request.send_header("Content-Length", str(len(data) or 1000))
            request.end_headers()
            request.wfile.write(data[: len(data) // 2])
            request.close_connection = True
        elif failure.startswith("short_"):
            half = len(data) // 2
            if failure == "short_csv":  # in the middle of a line
                half = data.index(b",", data.rindex(b"\n", 0, half)) + 1
            _send(request, 200, data[:half], {"Content-Type": "application/octet-stream"})
        elif failure in ("401", "403"):
            self._valid.clear()
            _send(request, int(failure), b"<html><title>Access Denied</title>", {})
        elif failure.isdigit():
            _send(request, int(failure), b"<html>", {"Retry-After": self.retry_after} if failure == "429" else {})
        else:
            repeated = request.headers.get("Authorization", "") + request.headers.get("Cookie", "")
            body = {
                "html": b"<!DOCTYPE html><html><title>File is unavailable</title></html>",
                "json_error": json.dumps({"status": "error", "errors": [{"message": repeated}]}).encode(),
                "empty": b"",
                "one_byte": b"\n",
            }[failure]
            _send(request, 200, body, {"Content-Type": "text/html" if failure == "html" else "text/csv"})

    def _file(self, path: str) -> bytes | None:
        if found := re.fullmatch(r"/v3/historical-candle/(NSE_EQ%7C\w+)/days/1/([\d-]+)/([\d-]+)", path):
            return self._candles(found[1], dt.date.fromisoformat(found[2]), dt.date.fromisoformat(found[3]))
        if path.startswith("/v2/market-quote/quotes?"):
            keys = parse_qs(urlsplit(path).query)["instrument_key"][0].split(",")
            return self.files.get("quotes") if len(keys) <= 500 else None
        return self.files.get(unquote(path))

    def _candles(self, key: str, last: dt.date, first: dt.date) -> bytes | None:
        if first > last or last >= first.replace(year=first.year + 10, day=min(first.day, 28)):
            return json.dumps({"status": "error", "errors": [{"errorCode": "UDAPI1148"}]}).encode()
        known = json.loads(self.files.get(f"candles {unquote(key)}", b'{"data": {"candles": []}}'))
        candles = [each for each in known["data"]["candles"] if f"{first}" <= each[0][:10] <= f"{last}"]
        return json.dumps({"status": "success", "data": {"candles": candles}}).encode()


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> bool:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    try:
        request.wfile.write(body)
    except OSError:  # the client was killed
        return False
    return True


def _short(path: str) -> str:
    """How such a file is cut short so that one sees it; the few lines of deals may be too few."""
    if path.startswith(("/v", "/api/holiday")):
        return "short_json"
    return "short_zip" if ".zip" in path else "short_csv" if "sec_bhav" in path or "ind_close" in path else ""


def some_fail(seed: int, share: float, without: Iterable[str] = ()) -> Callable[[str], str | None]:
    """Makes so many of the answers fail, in every way; a file that was said not to be there stays so."""
    random, gone, kinds = Random(seed), set[str](), [each for each in FAILURES if each not in without]
    turn = Counter[str]()

    def fault(path: str) -> str | None:
        if path in gone:
            return "404"
        if random.random() >= share:
            return None
        fitting = [each for each in kinds if not each.startswith("short_") or each == _short(path)]
        played = min(fitting, key=lambda each: (turn[each], random.random()))
        turn[played] += 1
        if played == "404":
            gone.add(path)
        return played

    return fault


# --- the files of the sample market under the exchange's paths ------------------------------------------------------


def real_paths(market: Path) -> dict[str, bytes]:
    """The sample market's files by path: each session has its prices, index levels, PR zip, deals, surveillance."""
    files: dict[str, bytes] = {}
    archives = {path.name: path.read_bytes() for path in sorted(market.rglob("*.*"))}  # of lists, the last
    for name in LISTS:
        files[f"/content/equities/{name}"] = archives[name]
    for name in INDEX_LISTS:  # the sample market has one
        files[f"/content/indices/{name}"] = archives[INDEX_LISTS[0]]
    files["/emerge/corporates/content/SME_EQUITY_L.csv"] = archives["SME_EQUITY_L.csv"]
    for name, isin in (("REITS_L.csv", "INEZ90001013"), ("INVITS_L.csv", "INEZ90002011")):
        row = f"{name[:4]}ZED,Invented {name[:4]},RR,16-JAN-2023,100,1,{isin},100\n"
        files[f"/content/equities/{name}"] = (EQUITY_HEADER + row).encode()
    files["/v2/market/holidays"] = archives["upstox_holidays_2025.json"]
    files["/api/holiday-master?type=trading"] = archives["holiday-master-2025.json"]
    days = [dt.datetime.strptime(name[14:22], "%d%m%Y").date() for name in archives if name.startswith("ind_close")]
    last = max(days)
    for day in sorted(days):
        long, short, mon = f"{day:%d%m%Y}", f"{day:%d%m%y}", f"{day:%b}".upper()
        full, udiff = f"sec_bhavdata_full_{long}.csv", f"BhavCopy_NSE_CM_0_0_0_{day:%Y%m%d}_F_0000.csv.zip"
        legacy = f"cm{day:%d}{mon}{day:%Y}bhav.csv.zip"
        if full in archives:
            files[f"/products/content/{full}"] = archives[full]
        if udiff in archives:
            files[f"/content/cm/{udiff}"] = archives[udiff]
        if legacy in archives:
            files[f"/content/historical/EQUITIES/{day:%Y}/{mon}/{legacy}"] = archives[legacy]
        files[f"/content/indices/ind_close_all_{long}.csv"] = archives[f"ind_close_all_{long}.csv"]
        files[f"/content/cm/REG1_IND{short}.csv"] = archives[f"REG1_IND{last:%d%m%y}.csv"]
        files[f"/archives/equities/bhavcopy/pr/PR{short}.zip"] = _moved_zip(archives[f"PR{last:%d%m%y}.zip"], last, day)
        for kind in ("bulk", "block"):
            there = market / "deals" / f"{day:%Y%m%d}" / f"{kind}.csv"
            data = there.read_bytes() if there.is_file() else _moved(archives[f"{kind}.csv"], last, day)
            words = f"optionType={kind}_deals&from={day:%d-%m-%Y}&to={day:%d-%m-%Y}&csv=true"
            files[f"/api/historicalOR/bulk-block-short-deals?{words}"] = data
            if day == last:
                files[f"/content/equities/{kind}.csv"] = data
    for name, data in archives.items():
        if name.startswith("quote-equity-"):
            files[f"/api/quote-equity?symbol={name[13:-5]}"] = data
        if name.startswith("getSymbolData-"):
            words = f"functionName=getSymbolData&marketType=N&series=EQ&symbol={name[14:-5]}"
            files[f"/api/NextApi/apiClient/GetQuoteApi?{words}"] = data
    files |= _upstox(archives)
    return files


def _upstox(archives: dict[str, bytes]) -> dict[str, bytes]:
    rows = [line.split(",") for line in archives["EQUITY_L.csv"].decode().splitlines()[1:]]
    listed = [
        {"segment": "NSE_EQ", "isin": row[6], "instrument_type": row[2], "instrument_key": f"NSE_EQ|{row[6]}"}
        for row in rows
    ]
    listed.append({"segment": "NSE_INDEX", "instrument_key": "NSE_INDEX|Nifty 50"})
    isins = {row[0]: row[6] for row in rows}
    return {
        "/market-quote/instruments/exchange/NSE.json.gz": gzip.compress(json.dumps(listed).encode()),
        "quotes": next(data for name, data in archives.items() if name.startswith("quotes_")),
    } | {f"candles NSE_EQ|{isins[name[8:-5]]}": data for name, data in archives.items() if name.startswith("candles_")}


def _moved(data: bytes, old: dt.date, new: dt.date) -> bytes:
    """The same file of another day."""
    for spelling in ("%d-%b-%Y", "%d %b %Y", "%Y-%m-%d"):
        data = data.replace(f"{old:{spelling}}".upper().encode(), f"{new:{spelling}}".upper().encode())
    return data


def _moved_zip(data: bytes, old: dt.date, new: dt.date) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as moved:
        for name in archive.namelist():
            member = zipfile.ZipInfo(name.replace(f"{old:%d%m%Y}", f"{new:%d%m%Y}"))
            moved.writestr(member, _moved(archive.read(name), old, new))
    return made.getvalue()
