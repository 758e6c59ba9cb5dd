"""Which of my images was this edited picture made from?

```python
from wherefrom import origin
from wherefrom.encoders import load_encoder

encoder = load_encoder()
edit_map = origin.fit_edit_map(
    origins, edits, owner, encoder=encoder.identity, latent_shape=encoder.latent_shape
)
with origin.References.create("refs.index", encoder, edit_map=edit_map) as references:
    references.add(photographs)
answers = origin.search("refs.index", ["suspect.png"])
```
"""

from wherefrom.origin.accelerator import Accelerator
from wherefrom.origin.answers import (
    AddReport,
    Candidate,
    CopyEvidence,
    ModelRow,
    OriginAnswer,
    RetrievalReport,
    SyncReport,
)
from wherefrom.origin.decision import Answer, NullScores
from wherefrom.origin.discovery import control_discoveries
from wherefrom.origin.edit_map import EditMapConfig, FittedEditMap, load_edit_map
from wherefrom.origin.index import Index
from wherefrom.origin.method import fit_edit_map, fit_from_moments
from wherefrom.origin.milvus import MilvusIndex
from wherefrom.origin.moments import PairMoments
from wherefrom.origin.pair_rows import PairRows
from wherefrom.origin.pairs import PairRow, PairsManifest, read_pairs, write_pairs
from wherefrom.origin.pairs_builder import build_pairs
from wherefrom.origin.pairs_folders import pairs_from_folders
from wherefrom.origin.protocol import VectorIndex
from wherefrom.origin.references import References, search
from wherefrom.origin.removing import remove
from wherefrom.origin.result import (
    AddResult,
    IndexedImage,
    ScanStatistics,
    SearchResult,
    Verification,
)
from wherefrom.origin.settings import SearchConfig
from wherefrom.origin.synchronising import synchronise

__all__ = [
    "Accelerator",
    "AddReport",
    "AddResult",
    "Answer",
    "Candidate",
    "CopyEvidence",
    "EditMapConfig",
    "FittedEditMap",
    "Index",
    "IndexedImage",
    "MilvusIndex",
    "ModelRow",
    "NullScores",
    "OriginAnswer",
    "PairMoments",
    "PairRow",
    "PairRows",
    "PairsManifest",
    "References",
    "RetrievalReport",
    "ScanStatistics",
    "SearchConfig",
    "SearchResult",
    "SyncReport",
    "VectorIndex",
    "Verification",
    "build_pairs",
    "control_discoveries",
    "fit_edit_map",
    "fit_from_moments",
    "load_edit_map",
    "pairs_from_folders",
    "read_pairs",
    "remove",
    "search",
    "synchronise",
    "write_pairs",
]
