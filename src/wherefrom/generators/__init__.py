"""Generators: loaded by name or from your code, sampled by seed, split at their last linear layer.

A zoo of small GANs is shipped; `zoo:NAME` loads one, `wherefrom zoo list` names them.

```python
from wherefrom.generators import load_generator

generator = load_generator("zoo:fashion-dcgan-0")  # or "file.py:factory", "model.pt", a VAE folder
images = generator.sample(4, seed=0)               # float32 (4, C, H, W) in [0, 1]
print(generator.image_shape, generator.last_layer.name)
```

`wrap_generator` takes a module that you have in hand.  `train_zoo` trains one of the four GANs.
"""

from wherefrom.generators.generator import Generator, wrap_generator
from wherefrom.generators.last_layer.layer import LastLayer
from wherefrom.generators.loading import load_generator
from wherefrom.generators.zoo.files import shipped, train_zoo
from wherefrom.generators.zoo.training import ZooTrainingConfig

__all__ = [
    "Generator",
    "LastLayer",
    "ZooTrainingConfig",
    "load_generator",
    "shipped",
    "train_zoo",
    "wrap_generator",
]
