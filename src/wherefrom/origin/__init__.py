"""Which of my images was this edited picture made from?"""

from wherefrom.origin.index import Index
from wherefrom.origin.protocol import VectorIndex
from wherefrom.origin.result import (
    AddResult,
    IndexedImage,
    ScanStatistics,
    SearchResult,
    Verification,
)

__all__ = [
    "AddResult",
    "Index",
    "IndexedImage",
    "ScanStatistics",
    "SearchResult",
    "VectorIndex",
    "Verification",
]
