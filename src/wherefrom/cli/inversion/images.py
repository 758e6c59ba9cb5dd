"""Models and own images, for the commands that judge them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console.options import resolve_device
from wherefrom.cli.console.session import Session
from wherefrom.cli.inversion.inputs import read_batch
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from wherefrom.inversion.model import FittedInverter

seed_option = click.option("--seed", default=0, show_default=True, help="Seed of every draw.")


def load_model(path: Path, device: str) -> FittedInverter:
    """A fitted inverter of images; an `InputError` for one of vectors."""
    from wherefrom.inversion.model import load

    fitted = load(path, device=resolve_device(device))
    if len(fitted.shape) != 3:
        raise InputError(f"{path} is a model of vectors; these commands are for images")
    return fitted


def read_own(
    session: Session, paths: Sequence[Path], fitted: FittedInverter
) -> tuple[Tensor, list[str]]:
    """uint8 images and a digest of each, every image once: folders, files, .npz, idx or .tar."""
    import torch

    from wherefrom.core.store import digest_tensors
    from wherefrom.data.datasets import load_training_images

    found = []
    folders = [path for path in paths if path.is_dir()]
    if folders:
        found.append(read_batch(session, folders, fitted).images)
    for path in paths:
        if path not in folders:
            loaded = load_training_images(
                path, size=fitted.size, channels=fitted.channels, track=session.track
            )
            found.append(loaded.images)
    images = found[0] if len(found) == 1 else torch.cat(found)
    rows = {digest_tensors({"": image}): row for row, image in enumerate(images)}
    row_numbers = list(rows.values())
    # Indexing copies: a large folder stays where it is, in a file.
    return images if row_numbers == list(range(len(images))) else images[row_numbers], list(rows)
