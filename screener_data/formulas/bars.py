"""What the formulas take: the bars of many symbols, one after the other in flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from screener_data.errors import UsageError
from screener_data.formulas.compiled import F8, Int32, Int64

__all__ = ["Bars"]

_TYPES = {"day": np.int32, "session": np.int32}
_COLUMNS = ("day", "session", "high", "low", "close", "volume", "price_scale", "volume_scale")


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Bars sorted by (symbol, day); those of symbol i are offsets[i] up to offsets[i + 1] of each column.

    A scale is 1.0 without corporate actions and never depends on the future: at a split of 10 into 2, price_scale
    goes from 1 to 5 and volume_scale from 1 to 1/5 with the ex-date's bar.
    A bar whose comparable close, high or low is not a positive number is no bar: its figures are NaN.
    Raises UsageError where types, lengths or order are not as said here.
    """

    offsets: Int64  # (symbols + 1,)
    day: Int32  # since 1970-01-01
    session: Int32  # index of the market's session
    high: F8  # paise as published
    low: F8  # paise as published
    close: F8  # paise as published
    volume: F8  # shares as published; NaN = unknown
    price_scale: F8  # comparable price = published · price_scale
    volume_scale: F8  # comparable volume = published · volume_scale

    def __post_init__(self) -> None:
        """Refuse what the compiled formulas would read amiss."""
        offsets = self.offsets
        whole = offsets.dtype == np.int64 and offsets.ndim == 1 and len(offsets) > 0
        if not whole or offsets[0] != 0 or (np.diff(offsets) < 0).any():
            raise UsageError("offsets must be int64, start at 0 and never fall")
        for name in _COLUMNS:
            column, right = getattr(self, name), np.dtype(_TYPES.get(name, np.float64))
            if column.dtype != right or column.shape != (offsets[-1],) or not column.flags.c_contiguous:
                raise UsageError(
                    f"{name} must be {right}, one contiguous value per bar ({offsets[-1]} by offsets), "
                    f"found {column.dtype} {column.shape}"
                )
        if len(self.session) and self.session.min() < 0:
            raise UsageError(f"session must be 0 or more (found {self.session.min()})")
        for name in ("day", "session"):
            falls = getattr(self, name)[1:] <= getattr(self, name)[:-1]
            falls[offsets[(offsets > 0) & (offsets < offsets[-1])] - 1] = False  # from one symbol to the next
            if falls.any():
                bar = int(falls.argmax()) + 1
                symbol = int(np.searchsorted(offsets, bar, "right")) - 1
                raise UsageError(
                    f"{name} must rise from bar to bar of a symbol (bar {bar}, of symbol {symbol}: "
                    f"{getattr(self, name)[bar - 1]} then {getattr(self, name)[bar]})"
                )

    @property
    def symbols(self) -> int:
        """How many symbols there are, those without a bar included."""
        return len(self.offsets) - 1

    @property
    def sessions(self) -> tuple[int, int]:
        """The first session that has a bar, and the one after the last; 0, 0 without bars."""
        some = self.offsets[:-1] < self.offsets[1:]
        if not some.any():
            return 0, 0
        first, last = self.session[self.offsets[:-1][some]], self.session[self.offsets[1:][some] - 1]
        return int(first.min()), int(last.max()) + 1
