"""Decoding prints nothing of its own beside a result."""

import io

import pytest
from PIL import Image, features

from wherefrom.core.errors import InputError
from wherefrom.data.images.items import decode_image


@pytest.mark.skipif(not features.check("libtiff"), reason="Pillow without libtiff")
@pytest.mark.parametrize("packing", ["tiff_deflate", "tiff_lzw", "jpeg"])
def test_a_damaged_tiff_prints_nothing__rejects(capfd, tmp_path, packing):
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(out, "TIFF", compression=packing)
    data = bytearray(out.getvalue())
    data[300:400] = b"\xff" * 100
    data[20:60] = b"\xff" * 40
    with pytest.raises(InputError, match="damaged"):
        decode_image(bytes(data), tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")
