"""The formulas of calculated_metrics: arrays in, arrays out; no table, no file. One file per family of columns."""

from screener_data.formulas.bars import Bars
from screener_data.formulas.run import COLUMNS, advance, benchmark_sums, compute, rate
from screener_data.formulas.state import STATE, VERSION, new_states

__all__ = ["COLUMNS", "STATE", "VERSION", "Bars", "advance", "benchmark_sums", "compute", "new_states", "rate"]
