"""An invertible generator from an image folder: encode, reconstruct, edit, sort, find outliers.

```python
from wherefrom import inversion

fitted = inversion.fit(images, method="dlsgan")
fitted.encode(images), fitted.reconstruct(images), fitted.sample(8, seed=0)
fitted.negative_log_likelihood(fitted.encode(images)), fitted.save("model")
```
"""

from wherefrom.inversion.config import METHODS, InversionConfig
from wherefrom.inversion.method import fit
from wherefrom.inversion.model import FittedInverter, load
from wherefrom.inversion.networks.bodies import Architecture
from wherefrom.inversion.training.recording import Recorder

__all__ = [
    "METHODS",
    "Architecture",
    "FittedInverter",
    "InversionConfig",
    "Recorder",
    "fit",
    "load",
]
