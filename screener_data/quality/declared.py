"""What a check is and what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Check", "Finding", "RowCheck", "Severity"]

#: An error is data that is wrong or lost, a warning wants a look, an info is good to know.
Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Check:
    """A declared check. The query returns one text per fault, the worst or the newest first.

    A query may speak of the tables of `shared.py` as if they were in the database.
    """

    name: str
    severity: Severity
    finds: str
    query: str
    todo: str


@dataclass(frozen=True)
class RowCheck:
    """A declared check of each row of a large table. All of one table run in one pass over it.

    `table`: ohlcv_daily, or one of `shared.py`, called b. `where`: what makes a row a fault. `says`: its text.
    `worst`: what they are sorted by.
    """

    name: str
    severity: Severity
    finds: str
    table: str
    where: str
    todo: str
    says: str = "symbol || ' ' || date"
    worst: str = "date DESC, symbol"


@dataclass(frozen=True)
class Finding:
    """What a check found; count 0 means that all is well. `before`: the count of the last run, None where it is new."""

    name: str
    severity: Severity
    count: int
    detail: str
    todo: str
    examples: list[str] = field(default_factory=list)
    before: int | None = None

    @property
    def failed(self) -> bool:
        """Whether the check found an error."""
        return self.severity == "error" and self.count > 0

    @property
    def change(self) -> int | None:
        """How many more than in the last run; None where there was none."""
        return None if self.before is None else self.count - self.before
