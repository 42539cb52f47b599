"""A notebook's outcome: figures that it declares while it runs, and that its executed copy gives back.

>>> from screener_data.outcome import told
>>> told("runs/02_ingest_daily-20250630T133000Z.ipynb")["files"]  # doctest: +SKIP
{'new': 13, 'no_file': 1}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from pydantic_core import to_jsonable_python

__all__ = ["MIME", "tell", "told"]

#: What marks a declared figure among all that a notebook shows. Nothing draws it; people see the text beside it.
MIME = "application/vnd.screener-data.outcome+json"


def tell(**figures: Any) -> None:
    """Show figures in a line, and declare them as the notebook's outcome. What is told twice counts as told last.

    Counts by name, text, days and None; raises PydanticSerializationError for what is no JSON.

    >>> from screener_data.outcome import tell
    >>> tell(files={"new": 13, "no_file": 1})
    files: new 13, no_file 1
    """
    from IPython.display import display  # here: those who read an outcome need no IPython

    display(_Figures(to_jsonable_python(figures)))  # type: ignore[no-untyped-call]


def told(notebook: str | Path) -> dict[str, Any]:
    """The outcome that an executed notebook declared, as far as it came; JSON values by name."""
    found: dict[str, Any] = {}
    for cell in nbformat.read(notebook, as_version=4).cells:  # type: ignore[no-untyped-call]
        for output in cell.get("outputs", []):
            found |= output.get("data", {}).get(MIME, {})
    return found


class _Figures(dict[str, Any]):
    """Figures as IPython shows them: a line for people, JSON for those who read the copy."""

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {_text(value)}" for name, value in self.items())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/plain": repr(self), MIME: dict(self)}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count:,}" for name, count in value.items()) or "none"
    return "–" if value is None else str(value)
