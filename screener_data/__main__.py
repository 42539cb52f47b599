"""`python -m screener_data` is `screener-data` of that very Python."""

from screener_data.cli import app

app(prog_name="screener-data")
