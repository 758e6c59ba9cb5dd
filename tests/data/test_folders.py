"""Folders of images: what is listed, what is skipped and why, and when there is too little."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.data import Limits, list_images, read_image, read_images, save_png


def noise(seed: int, height: int = 6, width: int = 6, bands: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (bands, height, width), generator=generator, dtype=torch.uint8)


def fill(folder: Path, count: int) -> list[Tensor]:
    folder.mkdir(parents=True, exist_ok=True)
    images = [noise(seed) for seed in range(count)]
    for index, pixels in enumerate(images):
        save_png(pixels, folder / f"{index:03}.png")
    return images


def test_listing_is_recursive_sorted_and_choosy__closed_form(tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    fill(outside, 1)
    for name in ("b/2.PNG", "a.jpg", "b/1.webp", ".hidden.png", ".cache/x.png", "notes.txt", "z"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"x")
    (home / "leaves.png").symlink_to(outside / "000.png")
    (home / "stays.png").symlink_to(home / "a.jpg")
    (home / "loop.png").symlink_to(home / "loop.png")
    (home / "away").symlink_to(outside)
    listed = [str(path.relative_to(home)) for path in list_images([home])]
    assert listed == [
        "a.jpg", "away/000.png", "b/1.webp", "b/2.PNG", "leaves.png", "loop.png", "stays.png",
    ]  # fmt: skip
    assert list_images([home / "notes.txt", home / "b", home / "b" / "2.PNG"]) == [
        home / "notes.txt", home / "b" / "1.webp", home / "b" / "2.PNG",
    ]  # fmt: skip


def test_listing__rejects_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        list_images([tmp_path / "none"])
    with pytest.raises(InputError, match="no image in this folder"):
        list_images([tmp_path])


def test_a_folder_that_cannot_be_opened_is_named_and_the_rest_goes_on__closed_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "a", 1)
    (tmp_path / "locked").mkdir()
    scan = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    batch = read_images([tmp_path], channels=3, size=(6, 6))
    assert len(batch.paths) == 1
    assert batch.skipped == (
        (tmp_path / "locked", "is a folder that cannot be opened: Permission denied"),
    )
    with pytest.raises(InputError, match="locked: is a folder that cannot be opened"):
        list_images([tmp_path / "locked"])


def test_a_batch_is_each_file_read_alone_in_order__naive_loop(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    batch = read_images([tmp_path], channels=3, size=(6, 6))
    alone = [read_image(path) for path in list_images([tmp_path])]
    assert torch.equal(batch.images, torch.stack([image.pixels for image in alone]))
    assert batch.paths == tuple(image.path for image in alone)
    assert batch.digests == tuple(image.digest for image in alone)
    assert (batch.skipped, batch.duplicates, batch.lossy) == ((), 0, 0)


def test_bad_files_are_skipped_with_their_reason__closed_form(tmp_path: Path) -> None:
    images = fill(tmp_path, 3)
    (tmp_path / "001.png").write_bytes(b"broken")
    save_png(noise(9, 5, 8), tmp_path / "wide.png")
    save_png(images[0], tmp_path / "zzz.png")
    os.mkfifo(tmp_path / "pipe.png")
    batch = read_images([tmp_path], channels=3, size=(6, 6))
    assert torch.equal(batch.images, torch.stack([images[0], images[2]]))
    reasons = {path.name: reason for path, reason in batch.skipped}
    assert sorted(reasons) == ["001.png", "pipe.png", "wide.png", "zzz.png"]
    assert "is 8x5 px, expected 6x6 px" in reasons["wide.png"]
    assert "has the same pixels as" in reasons["zzz.png"]
    assert batch.duplicates == 1
    both = read_images([tmp_path], channels=3, size=(6, 6), drop_duplicates=False)
    assert [path.name for path in both.paths] == ["000.png", "002.png", "zzz.png"]


def test_duplicates_are_found_across_formats__identity_pixels(tmp_path: Path) -> None:
    from PIL import Image

    pixels = noise(1)
    save_png(pixels, tmp_path / "a.png")
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "b.bmp")
    batch = read_images([tmp_path], channels=3, size=None)
    assert [path.name for path in batch.paths] == ["a.png"]
    assert batch.duplicates == 1


def test_without_a_size_the_first_image_sets_it__closed_form(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    save_png(noise(5, 7, 6), tmp_path / "001.png")
    batch = read_images([tmp_path], channels=3, size=None)
    assert batch.images.shape == (1, 3, 6, 6)
    assert batch.skipped[0][1] == "is 6x7 px, expected 6x6 px"


def test_lossy_files_are_counted__closed_form(tmp_path: Path) -> None:
    from PIL import Image

    fill(tmp_path, 2)
    Image.fromarray(noise(5).permute(1, 2, 0).numpy()).save(tmp_path / "x.jpg")
    batch = read_images([tmp_path], channels=3, size=(6, 6))
    assert batch.lossless == (True, True, False)
    assert batch.lossy == 1


def test_resizing_makes_every_size_fit__closed_form(tmp_path: Path) -> None:
    save_png(torch.full((3, 9, 13), 77, dtype=torch.uint8), tmp_path / "big.png")
    save_png(noise(1), tmp_path / "exact.png")
    batch = read_images([tmp_path], channels=3, size=(6, 6), resize=True)
    assert batch.images[0].unique().tolist() == [77]
    assert torch.equal(batch.images[1], noise(1))
    assert batch.notes == (("cropped and scaled from 13x9 px",), ())


def test_too_few_images_name_the_first_problem__rejects_small_folder(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    save_png(noise(8, 48, 48), tmp_path / "a.png")
    with pytest.raises(InputError) as caught:
        read_images([tmp_path], channels=3, size=(6, 6), at_least=200)
    assert str(caught.value) == (
        f"{tmp_path}/: 3 usable images, at least 200 are needed (first problem: {tmp_path}/a.png: "
        "is 48x48 px, expected 6x6 px); pass --resize to crop and scale other sizes"
    )


def test_settings_that_make_no_sense__rejects_arguments(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    for arguments, says in [
        ({"channels": 2, "size": (6, 6)}, "channels is 2"),
        ({"channels": 3, "size": (0, 6)}, "size is"),
        ({"channels": 3, "size": None, "resize": True}, "needs a size"),
        ({"channels": 3, "size": None, "at_least": -1}, "at_least is -1"),
        ({"channels": 3, "size": None, "limits": Limits(max_batch_bytes=99)}, "need 108 bytes"),
    ]:
        with pytest.raises(InputError, match=says):
            read_images([tmp_path], **arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no path given: 0 usable images"):
        read_images([], channels=3, size=None)


def test_progress_sees_every_file__closed_form(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    calls = []

    def track(items: object, label: str, *, total: int | None = None) -> Iterator[object]:
        for item in items:  # type: ignore[attr-defined]
            calls.append((label, total))
            yield item

    read_images([tmp_path], channels=3, size=(6, 6), track=track)  # type: ignore[arg-type]
    assert calls == [("reading images", 4)] * 4
