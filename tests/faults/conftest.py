"""Faults for real: killed processes, broken files, full disks. Short by default; `make faults` runs them in full."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether faults are provoked in their full number (SCREENER_FAULTS=full, as `make faults` sets it)."""
    return os.environ.get("SCREENER_FAULTS") == "full"
