"""Data sets: folder, .npz, idx, .tar; and hostile versions of each."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from wherefrom.core.errors import InputError
from wherefrom.data import load_training_images, save_png
from wherefrom.data.files import members

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
DIGITS = RNG.integers(0, 256, (10, 28, 28), dtype=np.uint8)


def channels_first(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def write_idx(path: Path, values: np.ndarray) -> Path:
    head = struct.pack(">I", 0x800 + values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    data = head + values.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_folder(root: Path) -> Path:
    for index, image in enumerate(channels_first(COLOUR)):
        folder = root / ("cat" if index < 3 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        save_png(image, folder / f"{index}.png")
    return root


def write_tar(path: Path, root: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        archive.add(root, arcname="x")
        link = tarfile.TarInfo("x/cat/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


def test_an_npz_gives_its_pixels_and_labels__roundtrip(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=COLOUR, labels=np.arange(6))
    loaded = load_training_images(tmp_path / "a.npz", size=8, channels=3)
    assert torch.equal(loaded.images, channels_first(COLOUR))
    assert loaded.labels is not None
    assert loaded.labels.tolist() == list(range(6))
    assert loaded.description == "a.npz: 6 images of 8x8 px, 3 channels"


def test_the_digest_is_of_the_pixels__identity_source(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=COLOUR)
    first = load_training_images(tmp_path / "a.npz", size=8, channels=3)
    second = load_training_images(write_folder(tmp_path / "f"), size=8, channels=3)
    other = load_training_images(tmp_path / "a.npz", size=8, channels=3, limit=5)
    assert first.digest == second.digest != other.digest


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_digits_get_a_black_border__closed_form(tmp_path: Path, suffix: str) -> None:
    path = write_idx(tmp_path / f"train-images-idx3-ubyte{suffix}", DIGITS)
    assert load_training_images(path, size=28, channels=1).labels is None
    write_idx(tmp_path / f"train-labels-idx1-ubyte{suffix}", np.arange(10, dtype=np.uint8))
    loaded = load_training_images(path, size=32, channels=1)
    assert loaded.images.shape == (10, 1, 32, 32)
    assert np.array_equal(loaded.images[:, 0, 2:30, 2:30], DIGITS)
    assert int(loaded.images.int().sum()) == int(DIGITS.astype(int).sum())
    assert loaded.labels is not None
    assert loaded.labels.tolist() == list(range(10))
    assert load_training_images(path, size=64, channels=3).images.shape == (10, 3, 64, 64)


def test_a_tar_equals_its_folder__identity_source(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "f")
    folder = load_training_images(root, size=8, channels=3)
    archive = load_training_images(write_tar(tmp_path / "a.tar", root), size=8, channels=3)
    assert torch.equal(folder.images, archive.images)
    assert folder.labels is not None
    assert archive.labels is not None
    assert folder.labels.tolist() == archive.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_limit_is_spread_over_the_classes__closed_form(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "f")
    loaded = load_training_images(root, size=8, channels=3, limit=2)
    assert torch.equal(loaded.images, channels_first(COLOUR[[0, 3]]))


def test_broken_members_are_skipped_and_told__closed_form(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "f")
    (root / "cat" / "0.png").write_bytes(b"broken")
    loaded = load_training_images(write_tar(tmp_path / "a.tar", root), size=8, channels=3)
    assert loaded.images.shape[0] == 5
    assert loaded.description.endswith("(1 skipped)")


def test_damaged_idx__rejects_files(tmp_path: Path) -> None:
    path = tmp_path / "a-images-idx3-ubyte.gz"
    good = gzip.decompress(write_idx(path, DIGITS).read_bytes())
    packed = gzip.compress(good)
    huge = struct.pack(">4I", 0x803, 2**31, 2**15, 2**15)
    cases = {
        gzip.compress(good[:-1]): "holds only",
        gzip.compress(good + b"x"): "holds more",
        gzip.compress(b"\0\0\x08\x01" + good[4:]): "not an idx file",
        gzip.compress(good[:9]): "not an idx file",
        gzip.compress(huge + bytes(100)): "declares",
        gzip.compress(struct.pack(">4I", 0x803, 0, 28, 28)): "holds no image",
        packed[:-20]: "damaged or truncated",
        packed[:10] + b"\xff" * 20 + packed[30:]: "damaged or truncated",
        b"no gzip": "damaged or truncated",
        b"": "not an idx file",
    }
    for data, says in cases.items():
        path.write_bytes(data)
        with pytest.raises(InputError, match=says):
            load_training_images(path, size=32, channels=1)


def test_labels_of_another_length__rejects_labels(tmp_path: Path) -> None:
    write_idx(tmp_path / "labels-idx1-ubyte", np.arange(9, dtype=np.uint8))
    path = write_idx(tmp_path / "images-idx3-ubyte", DIGITS)
    with pytest.raises(InputError, match="labels"):
        load_training_images(path, size=32, channels=1)


def test_hostile_npz__rejects_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    for held, says in [
        ({"a": COLOUR, "b": COLOUR}, r"holds no array 'images' or 'arr_0' .* but a \(6, 8, 8, 3\)"),
        ({"other": COLOUR[0]}, "holds no array 'images'"),
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, "mu and sigma.* and no images"),
        ({"images": COLOUR.astype(np.float32)}, "expected uint8"),
        ({"images": COLOUR[..., :2]}, "expected uint8"),
        ({"images": COLOUR[:0]}, "holds no image"),
        ({"images": COLOUR, "labels": np.arange(5)}, "labels"),
        ({"images": np.array([{"a": 1}], dtype=object)}, "pickle"),
    ]:
        np.savez(path, **held)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=says):
            load_training_images(path, size=8, channels=3)
    path.write_bytes(b"no zip")
    with pytest.raises(InputError, match="not a readable"):
        load_training_images(path, size=8, channels=3)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**14, 8, 8, 3)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(100))
    with pytest.raises(InputError, match="not a readable"):
        load_training_images(path, size=8, channels=3)
    monkeypatch.setattr(members, "MAX_UNPACKED_BYTES", 1000)
    np.savez_compressed(path, images=COLOUR)
    with pytest.raises(InputError, match="unpacks to"):
        load_training_images(path, size=8, channels=3)


def test_hostile_tar__rejects_files(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    whole = write_tar(path, write_folder(tmp_path / "f")).read_bytes()
    for data, says in [
        (b"", "not a readable .tar"),
        (b"x" * 2000, "not a readable .tar"),
        (bytes(10240), "holds no image"),
        (whole[:1100], "not a readable .tar|holds no image|usable"),
    ]:
        path.write_bytes(data)
        with pytest.raises(InputError, match=says):
            load_training_images(path, size=8, channels=3)


def test_damaged_archives_never_raise_anything_else__rejects_random_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    tar = write_tar(tmp_path / "a.tar", write_folder(tmp_path / "f"))
    npz = tmp_path / "a.npz"
    np.savez(npz, images=COLOUR)
    idx = write_idx(tmp_path / "images-idx3-ubyte.gz", DIGITS[:2])
    for path in (tar, npz, idx):
        whole = path.read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            for at in rng.integers(0, min(len(data), 3000), 4):
                data[at] = rng.integers(256)
            path.write_bytes(data[: rng.integers(1, len(data) + 1)])
            try:
                load_training_images(path, size=8, channels=3)
            except InputError as error:
                assert "\n" not in str(error)


def test_what_is_no_data_set__rejects_arguments(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x")
    with pytest.raises(InputError, match="is not a data set"):
        load_training_images(tmp_path / "a.txt", size=8, channels=3)
    with pytest.raises(InputError, match="no such file"):
        load_training_images(tmp_path / "none", size=8, channels=3)
    for bad in ({"size": 0}, {"size": 5000}, {"channels": 2}, {"limit": 0}):
        with pytest.raises(InputError, match=f"{next(iter(bad))} is {next(iter(bad.values()))}"):
            load_training_images(tmp_path, **{"size": 8, "channels": 3, **bad})
