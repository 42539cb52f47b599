"""The exchange's files: how they are spelled, declared and read. Knows no database."""

from screener_data.loaders.archives import Member, members
from screener_data.loaders.files import read, recognise
from screener_data.loaders.format import Format
from screener_data.loaders.reader import Parsed, Rejected, Rows, read_rows, read_together
from screener_data.loaders.sources import FORMATS, SOURCES, format_named

__all__ = [
    "FORMATS",
    "SOURCES",
    "Format",
    "Member",
    "Parsed",
    "Rejected",
    "Rows",
    "format_named",
    "members",
    "read",
    "read_rows",
    "read_together",
    "recognise",
]
