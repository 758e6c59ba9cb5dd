"""Which of my images was this edited picture made from?

```python
from pathlib import Path

import torch

from wherefrom import origin
from wherefrom.data import save_png, to_uint8

Path("photos").mkdir()
for name in ("first", "second"):  # your photographs; here pictures of random squares
    squares = torch.rand(3, 8, 8).repeat_interleave(16, 1).repeat_interleave(16, 2)
    save_png(to_uint8(squares), Path("photos", f"{name}.png"))

origin.build("refs.index", ["photos"])
answers = origin.search("refs.index", ["photos/second.png"])
print(answers[0].sentence())  # copy of photos/second.png (the same file)
```

In order of use: `build` makes an index of image files, and `search` answers for other files.  To
find edits, `read_pairs`, `embed_pairs` and `fit_edit_map` learn a map W, which `build` takes as
`edit_map`.  `References.open` opens an index to `calibrate` and `evaluate` it, `synchronise` brings
it up to date with its files, and `remove` takes images out.  Pairs are made in `origin.pairs`;
indexes for millions of images are in `origin.other_indexes`.
"""

from wherefrom.origin.collection.building import build, search
from wherefrom.origin.collection.references import References as References
from wherefrom.origin.collection.removing import remove
from wherefrom.origin.collection.synchronising import synchronise
from wherefrom.origin.edit_map.fitted import (
    EditMapConfig as EditMapConfig,
)
from wherefrom.origin.edit_map.fitted import (
    FittedEditMap as FittedEditMap,
)
from wherefrom.origin.edit_map.fitting import fit_edit_map
from wherefrom.origin.edit_map.pairs import EmbeddedPairs as EmbeddedPairs
from wherefrom.origin.pairs.embedding import embed_pairs
from wherefrom.origin.pairs.manifest import read_pairs
from wherefrom.origin.searching.config import SearchConfig as SearchConfig
from wherefrom.origin.searching.decision import AnswerKind as AnswerKind
from wherefrom.origin.searching.result import (
    OriginAnswer as OriginAnswer,
)
from wherefrom.origin.searching.result import (
    OriginAnswers as OriginAnswers,
)

__all__ = [  # the calls, which `help` shows; the classes stand in their modules
    "build",
    "embed_pairs",
    "fit_edit_map",
    "read_pairs",
    "remove",
    "search",
    "synchronise",
]
