"""Everything that can go wrong, on one page: the error tree, and the reasons for which a row is not loaded.

ScreenerError
├── ConfigError            a setting is missing or wrong
├── DatabaseError          the server cannot be reached, is too old, or refused the work
├── FileError              a whole file is refused; nothing of it is stored
│   ├── UnknownFormatError     no source reads such a file
│   ├── HeaderError            the header row is missing, or not the one its name promises
│   ├── NotDataError           an error page or other content under a data file's name
│   ├── EmptyFileError         no rows in a file that always has some
│   ├── FileNameError          the name lacks what only it can tell (a date, a symbol)
│   └── FileLimitError         larger than any file of its kind can be
├── FetchError             an address did not give its file
│   └── NoSuchFileError        the address says that there is no such file (404)
├── UsageError             a wrong argument, parameter or query
├── BusyError              the same work is under way elsewhere; nothing was done
└── NotebookError          a notebook stopped with an error
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

__all__ = [
    "BusyError",
    "ConfigError",
    "DatabaseError",
    "EmptyFileError",
    "FetchError",
    "FileError",
    "FileLimitError",
    "FileNameError",
    "HeaderError",
    "NoSuchFileError",
    "NotDataError",
    "NotebookError",
    "Reason",
    "ScreenerError",
    "UnknownFormatError",
    "UsageError",
]


class ScreenerError(Exception):
    """The root: catch this to catch all that the package raises on purpose."""


class ConfigError(ScreenerError):
    """A setting (an environment variable, a folder) is missing or wrong."""


class DatabaseError(ScreenerError):
    """The server cannot be reached, is too old, or refused the work."""


class FileError(ScreenerError):
    """A whole file is refused. The text names the file, the line, the column, the value, and what to do."""

    def __init__(
        self,
        problem: str,
        *,
        file: str,
        line: int | None = None,
        column: str | None = None,
        value: str | None = None,
        todo: str | None = None,
    ) -> None:
        """Put the parts together in the one order in which every file error reads."""
        place = file if line is None else f"{file}, line {line}"
        if column is not None:
            place += f", column {column!r}"
        if value is not None:
            shown = value if len(value) <= 120 else value[:120] + "…"
            problem += f" (found {shown!r})"
        super().__init__(f"{place}: {problem}" + (f". {todo}" if todo else ""))


class UnknownFormatError(FileError):
    """No source reads such a file."""


class HeaderError(FileError):
    """The header row is missing, or it is not the one that the file's name promises."""


class NotDataError(FileError):
    """An error page (HTML, JSON) or other content under a data file's name."""


class EmptyFileError(FileError):
    """No rows in a file that always has some."""


class FileNameError(FileError):
    """The file's name lacks what only the name can tell: a date, a symbol."""


class FileLimitError(FileError):
    """The file is larger than any file of its kind can be."""


class FetchError(ScreenerError):
    """An address did not give its file, however often it was asked; nothing is kept of its answers."""


class NoSuchFileError(FetchError):
    """The address says that there is no such file: no session that day, or not published yet."""


class UsageError(ScreenerError):
    """A wrong argument, notebook parameter or query; the command line answers it with exit code 2."""


class BusyError(ScreenerError):
    """The same work is under way elsewhere, and must not be done twice at once; nothing was done."""


class NotebookError(ScreenerError):
    """A notebook stopped with an error; its output so far is kept, in the file `output` where a run was lost."""

    def __init__(self, problem: str, *, output: Path | None = None) -> None:
        """Remember where that is."""
        super().__init__(problem)
        self.output = output


class Reason(StrEnum):
    """Why a row was not loaded. The first group is rejected and can be replayed, the second is skipped."""

    # rejected: a data row that breaks a rule
    WRONG_CELL_COUNT = "wrong_cell_count"
    BAD_QUOTING = "bad_quoting"
    BAD_CHARACTER = "bad_character"
    MISSING_VALUE = "missing_value"
    BAD_DATE = "bad_date"
    BAD_NUMBER = "bad_number"
    OUT_OF_RANGE = "out_of_range"
    TOO_LONG = "too_long"
    UNKNOWN_CODE = "unknown_code"
    UNKNOWN_PURPOSE = "unknown_purpose"
    BAD_PATTERN = "bad_pattern"
    NOT_AN_OBJECT = "not_an_object"
    BROKEN_RULE = "broken_rule"
    UNKNOWN_SYMBOL = "unknown_symbol"
    DUPLICATE_KEY = "duplicate_key"
    DUPLICATE_ISIN = "duplicate_isin"
    PLACEHOLDER = "placeholder"

    # skipped: out of scope on purpose
    FOOTER = "footer"
    BLANK_LINE = "blank_line"
    REPEATED_HEADER = "repeated_header"
    SERIES_OUT_OF_SCOPE = "series_out_of_scope"
    SERIES_NOT_PREFERRED = "series_not_preferred"
    DUPLICATE_ROW = "duplicate_row"
    NOT_FLAGGED = "not_flagged"
    NO_PRICE_FACTOR = "no_price_factor"
    NOT_AN_INDEX = "not_an_index"
    NO_PRICES = "no_prices"
    OTHER_SEGMENT = "other_segment"
    EXCHANGE_OPEN = "exchange_open"
    EXCHANGE_PRICE_KEPT = "exchange_price_kept"
    LOAD_FAILED = "load_failed"
