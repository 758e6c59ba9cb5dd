"""One array from a file: formats, bounds, and what is refused."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from wherefrom.data.tables import arrays
from wherefrom.data.tables.arrays import read_values

VALUES = np.arange(24, dtype=np.float64).reshape(4, 3, 2)


def write(path, values):
    if path.suffix == ".safetensors":
        save_file({name: torch.from_numpy(each) for name, each in values.items()}, path)
    elif path.suffix == ".npz":
        np.savez(path, **values)
    else:
        np.save(path, next(iter(values.values())), allow_pickle=True)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_every_format_gives_the_same__roundtrip(tmp_path, suffix):
    values = read_values(write(tmp_path / f"z{suffix}", {"z": VALUES}), "latents")
    assert values.dtype == np.float32 and np.array_equal(values, VALUES)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_of_several_arrays_the_named_one_is_read__closed_form(tmp_path, suffix):
    path = write(tmp_path / f"z{suffix}", {"ids": VALUES[:2], "latents": VALUES})
    assert np.array_equal(read_values(path, "latents"), VALUES)
    with pytest.raises(ValueError, match="holds the arrays ids, latents; give one"):
        read_values(path, "activations")


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("z.pt", VALUES, "is no .npy"),
        ("z.npy", np.array([{}], dtype=object), "not a readable .npy"),
        ("z.npz", np.array([[{}]], dtype=object), "not a readable .npz"),
        ("z.npy", VALUES[:0], "expected numbers"),
        ("z.npy", np.zeros(3), "expected numbers"),
        ("z.npy", np.array([["a"]]), "expected numbers"),
    ],
)
def test_what_is_no_array_of_numbers__rejects_file(tmp_path, name, values, says):
    path = tmp_path / name
    path.write_bytes(b"") if name == "z.pt" else write(path, {"z": values})
    with pytest.raises(ValueError, match=says) as caught:
        read_values(path, "latents")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_garbage_and_too_many_bytes__rejects_file(tmp_path, suffix, monkeypatch):
    (tmp_path / f"bad{suffix}").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="is not a readable"):
        read_values(tmp_path / f"bad{suffix}", "latents")
    monkeypatch.setattr(arrays, "MAX_ARRAY_BYTES", 90)
    with pytest.raises(ValueError, match="too many"):
        read_values(write(tmp_path / f"z{suffix}", {"z": VALUES}), "latents")
