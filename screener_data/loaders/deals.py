"""Bulk and block deals: the daily file (eight or seven columns) and the download of a year."""

from __future__ import annotations

import dataclasses

from screener_data.loaders.format import Format, Merge, number, text, trading_day, whole
from screener_data.models import BlockDeal, BulkDeal

__all__ = ["FORMATS"]

BULK = Format(
    source="nse_bulk_deals",
    name="bulk_deals",
    files=r".*bulk.*\.csv",
    target=BulkDeal,
    merge=Merge.BY_COUNT,
    key=("date", "symbol", "client_name", "deal_type", "quantity", "price"),
    may_be_empty=True,
    columns=(
        trading_day("Date", "date"),
        text("Symbol", "symbol"),
        text("Security Name", "security_name", required=False),
        text("Client Name", "client_name"),
        text("Buy/Sell", "deal_type", pattern="BUY|SELL", upper=True),
        whole("Quantity Traded", "quantity", sign="positive"),  # shares
        number("Trade Price / Wght. Avg. Price", "price", sign="positive"),  # rupees per share
    ),
    ignored=("Remarks",),
)
BLOCK = dataclasses.replace(
    BULK, source="nse_block_deals", name="block_deals", files=r".*block.*\.csv", target=BlockDeal
)

FORMATS = (BULK, BLOCK)
