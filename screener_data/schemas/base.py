"""What all schemas share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Schema"]


class Schema(BaseModel):
    """A checked row. Its rules are its table's: it takes what the table takes and refuses what it refuses."""

    model_config = ConfigDict(extra="forbid", from_attributes=True, validate_default=True)
