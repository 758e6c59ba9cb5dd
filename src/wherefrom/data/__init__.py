"""Reading a user's images, and writing images: the only code that opens files of images.

```python
from pathlib import Path

import torch

from wherefrom.data import read_images, save_png, to_float, to_uint8

folder = Path("photos")
folder.mkdir()
for number in range(3):
    save_png(to_uint8(torch.rand(3, 32, 48)), folder / f"{number}.png")
(folder / "broken.png").write_bytes(b"not an image")

batch = read_images([folder], channels=3, size=(32, 32), resize=True)
images = to_float(batch.images)  # float32 (3, 3, 32, 32) in [0, 1]
print(len(batch.paths), batch.skipped[0])
```

Pixels are uint8 here, (C, H, W) for one image and (N, C, H, W) for many; `to_float` gives the
float32 in [0, 1] that the rest of the library works on.  What is wrong with a file is an
`InputError` of one line that names it.  In order of use: `list_images` and `read_images` for files,
folders and archives, `read_image` for one file, `load_training_images` for a data set; then
`to_float`, `to_uint8`, `image_grid` and `save_png`.
"""

from wherefrom.core.limits import Limits
from wherefrom.data.batches import ImageBatch
from wherefrom.data.datasets import TrainingImages, load_training_images
from wherefrom.data.files.opening import SkippedFile, UnusableFile
from wherefrom.data.folders import list_images, read_images
from wherefrom.data.images.items import ReadImage, read_image
from wherefrom.data.images.writing import image_grid, save_png, to_float, to_uint8

__all__ = [
    "ImageBatch",
    "Limits",
    "ReadImage",
    "SkippedFile",
    "TrainingImages",
    "UnusableFile",
    "image_grid",
    "list_images",
    "load_training_images",
    "read_image",
    "read_images",
    "save_png",
    "to_float",
    "to_uint8",
]
