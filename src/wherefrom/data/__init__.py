"""The only code that opens a user's images: reading, listing, splitting, writing.

Pixels are uint8 here, (C, H, W) for one image and (N, C, H, W) for many; `to_float` makes the
float32 in [0, 1] that the rest of the library works on.  Every problem with a file is an
`InputError` of one line that names it.
"""

from wherefrom.core.limits import DEFAULT_LIMITS, Limits
from wherefrom.data.batches import ImageBatch
from wherefrom.data.datasets import TrainingImages, load_training_images
from wherefrom.data.decoding.images import FORMATS
from wherefrom.data.files.opening import UnusableFile, show_path
from wherefrom.data.folders import list_images, read_images
from wherefrom.data.images import ReadImage, read_image
from wherefrom.data.splits import sample_indices, split_indices, spread_indices
from wherefrom.data.writing import image_grid, save_png, to_float, to_uint8

__all__ = [
    "DEFAULT_LIMITS",
    "FORMATS",
    "ImageBatch",
    "Limits",
    "ReadImage",
    "TrainingImages",
    "UnusableFile",
    "image_grid",
    "list_images",
    "load_training_images",
    "read_image",
    "read_images",
    "sample_indices",
    "save_png",
    "show_path",
    "split_indices",
    "spread_indices",
    "to_float",
    "to_uint8",
]
