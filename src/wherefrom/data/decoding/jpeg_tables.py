"""The quality setting of a JPEG file, read off its quantisation table.

ITU-T T.81, Annex K.1: the luminance table that the Independent JPEG Group's encoder, and nearly
every other one, scales by its quality: 50 / q below 50, 2 - q / 50 from there on.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


def jpeg_quality(image: Image.Image) -> int | None:
    """The quality, 1 to 100, whose scaled table is nearest to the file's; None without a table."""
    tables = getattr(image, "quantization", None)
    if not tables:
        return None
    table = np.array(tables[min(tables)], dtype=np.int64)
    distance = np.abs(scaled_tables() - table.reshape(-1)).sum(axis=1)
    return int(distance.argmin()) + 1


@cache
def scaled_tables() -> NDArray[np.int64]:
    """(100, 64): row q - 1 is the table of quality q, in the order of Pillow's `quantization`."""
    rows = []
    for quality in range(1, 101):
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        rows.append(np.clip((LUMINANCE.reshape(-1) * scale + 50) // 100, 1, 255))
    return np.stack(rows)
