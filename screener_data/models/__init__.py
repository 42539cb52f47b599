"""The tables. The eleven given ones as the schema says, and our own provenance beside them."""

from screener_data.models.base import Base
from screener_data.models.events import BlockDeal, BulkDeal, CorporateAction, SurveillanceMeasure
from screener_data.models.metadata import IndustryClassification, IngestionLog, MarketHoliday
from screener_data.models.provenance import (
    Calculation,
    CheckFinding,
    CheckRun,
    IndexConstituent,
    ListDay,
    Listing,
    LoadFile,
    NameChange,
    OutsideWrite,
    Reject,
    SymbolChange,
    SymbolHistory,
)
from screener_data.models.security import Index, Security, SecurityType
from screener_data.models.timeseries import CalculatedMetrics, MarketCapHistory, OHLCVDaily

__all__ = [
    "Base",
    "BlockDeal",
    "BulkDeal",
    "CalculatedMetrics",
    "Calculation",
    "CheckFinding",
    "CheckRun",
    "CorporateAction",
    "Index",
    "IndexConstituent",
    "IndustryClassification",
    "IngestionLog",
    "ListDay",
    "Listing",
    "LoadFile",
    "MarketCapHistory",
    "MarketHoliday",
    "NameChange",
    "OHLCVDaily",
    "OutsideWrite",
    "Reject",
    "Security",
    "SecurityType",
    "SurveillanceMeasure",
    "SymbolChange",
    "SymbolHistory",
]
