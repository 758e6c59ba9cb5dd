"""Large folders in bounded memory: parts of images, and files drawn before any is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wherefrom.attribution.training.others import SampleReader
from wherefrom.data import save_png, to_float
from wherefrom.data.images import items as reading
from wherefrom.data.images.writing import float_parts


def test_parts_are_the_whole__naive_loop() -> None:
    images = torch.randint(0, 256, (7, 3, 2, 2), dtype=torch.uint8)
    rows = [6, 0, 3]
    for size in (1, 3, 7, 100):
        assert torch.equal(torch.cat([*float_parts(images, size=size)]), to_float(images))
        chosen = torch.cat([*float_parts(images, rows, size=size)])
        assert torch.equal(chosen, to_float(images[rows]))
    assert [len(part) for part in float_parts(images[:0])] == [0]


def test_files_are_drawn_before_they_are_read__limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in range(20):
        save_png(torch.full((1, 2, 2), place, dtype=torch.uint8), tmp_path / f"{place:02d}.png")
    opened: list[Path] = []
    read = reading.read_file
    monkeypatch.setattr(
        reading, "read_file", lambda path, **how: (opened.append(path), read(path, **how))[1]
    )
    notes: list[str] = []
    reader = SampleReader(shape=(1, 2, 2), note=notes.append)
    few = reader.read((tmp_path,), limit=5)
    assert len(few) == len(opened) == 5
    assert "5 of 20 files were drawn" in notes[0]
    assert few.flatten(1)[:, 0].max() > 5  # not the first five
    assert len(reader.read((tmp_path,), limit=20)) == 20
