"""An invertible generator of my images: encode, decode, sample, edit, find outliers, sort.

```python
from wherefrom import inversion
from wherefrom.generators import load_generator

images = load_generator("zoo:fashion-dcgan-0").sample(32)  # or yours: (N, C, S, S), uint8 or [0, 1]
config = inversion.InversionConfig(method="dlsgan", latent=8, width=4, steps=3)  # too short: a demo
fitted = inversion.fit(images, config=config)

codes = fitted.encode(images)        # (32, 8)
decoded = fitted.decode(codes)       # (32, 1, 32, 32) in [0, 1]
fresh = fitted.sample(4, seed=0)
change = inversion.edit(fitted, images[0], between=(images[:8], images[8:16]), steps=3)
fitted.save("model")
again = inversion.load("model")
```

Outliers of a folder: `calibrate_outliers` on images that were not trained on, then
`find_outliers`.  Discovered classes: `cluster_images`, of a model trained as "cgpgan".
"""

from wherefrom.inversion.classes.clusters import Clustering as Clustering
from wherefrom.inversion.classes.clusters import cluster_images
from wherefrom.inversion.codes.editing import Edit as Edit
from wherefrom.inversion.codes.editing import edit
from wherefrom.inversion.codes.reconstruction import Reconstruction as Reconstruction
from wherefrom.inversion.codes.reconstruction import reconstruct
from wherefrom.inversion.config import InversionConfig as InversionConfig
from wherefrom.inversion.method import fit, fit_from
from wherefrom.inversion.model import FittedInverter as FittedInverter
from wherefrom.inversion.model import load
from wherefrom.inversion.networks.bodies import Architecture as Architecture
from wherefrom.inversion.outliers.calibrated import (
    OutlierReport as OutlierReport,
)
from wherefrom.inversion.outliers.calibrated import (
    calibrate_outliers,
    find_outliers,
)
from wherefrom.inversion.recipes import METHODS as METHODS
from wherefrom.inversion.training.dataset import TrainingLabels as TrainingLabels
from wherefrom.inversion.training.recording import Recorder as Recorder

__all__ = [  # the calls, which `help` shows; the classes stand in their modules
    "calibrate_outliers",
    "cluster_images",
    "edit",
    "find_outliers",
    "fit",
    "fit_from",
    "load",
    "reconstruct",
]
