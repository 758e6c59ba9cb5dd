"""Did my model make this image?

`fit` makes an attributor from your generator and images that it did not make; `check` says of any
image whether the generator made it.  With the attributor that the package ships:

```python
from importlib.resources import files
from wherefrom import attribution
from wherefrom.generators import load_generator

shipped = attribution.load(files("wherefrom") / "assets" / "demo" / "dcgan.attributor")
images = load_generator("zoo:fashion-dcgan-0").sample(3, seed=1)
result = attribution.check(shipped, images)
print([str(image.verdict) for image in result.images])
```

In the order of use: `fit` (methods: `METHODS`, settings: `PatchesConfig`, `FlipadConfig`
and the others' own),
`Attributor.save`, `load`, `check`, `explain` for one verdict, `identify` for several models,
`evaluate` for an attributor on images of known origin, `compare` for methods side by side.
"""

from wherefrom.attribution.checking.explaining import explain
from wherefrom.attribution.checking.fitted import Attributor as Attributor
from wherefrom.attribution.checking.fitted import load
from wherefrom.attribution.checking.open_set import identify
from wherefrom.attribution.checking.paths import check
from wherefrom.attribution.config import FlipadConfig as FlipadConfig
from wherefrom.attribution.evaluation.comparison import compare
from wherefrom.attribution.evaluation.per_source import evaluate
from wherefrom.attribution.method import fit
from wherefrom.attribution.methods import METHODS as METHODS
from wherefrom.attribution.methods.patches import PatchesConfig as PatchesConfig
from wherefrom.attribution.result import CheckResult as CheckResult

__all__ = [  # the calls, which `help` shows; the classes stand in their modules
    "check",
    "compare",
    "evaluate",
    "explain",
    "fit",
    "identify",
    "load",
]
