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

from wherefrom.origin.calibration.discovery import control_discoveries
from wherefrom.origin.collection.references import References, search
from wherefrom.origin.collection.removing import remove
from wherefrom.origin.collection.synchronising import synchronise
from wherefrom.origin.edit_map.fitted import EditMapConfig, FittedEditMap, load_edit_map
from wherefrom.origin.edit_map.fitting import fit_edit_map, fit_from_moments
from wherefrom.origin.edit_map.moments import PairMoments
from wherefrom.origin.edit_map.pair_rows import PairRows
from wherefrom.origin.index.index import Index
from wherefrom.origin.index.protocol import VectorIndex
from wherefrom.origin.index.result import (
    AddResult,
    IndexedImage,
    ScanStatistics,
    SearchResult,
    Verification,
)
from wherefrom.origin.other_indexes.accelerator import Accelerator
from wherefrom.origin.other_indexes.milvus import MilvusIndex
from wherefrom.origin.pairs.builder import build_pairs
from wherefrom.origin.pairs.folders import pairs_from_folders
from wherefrom.origin.pairs.manifest import PairRow, PairsManifest, read_pairs, write_pairs
from wherefrom.origin.searching.config import SearchConfig
from wherefrom.origin.searching.decision import Answer, NullScores
from wherefrom.origin.searching.result import (
    AddReport,
    Candidate,
    CopyEvidence,
    ModelRow,
    OriginAnswer,
    RetrievalReport,
    SyncReport,
)

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
