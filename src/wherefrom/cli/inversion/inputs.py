"""Options of several commands of `wherefrom inversion`, and how they read models and images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wherefrom.cli.console.options import FILE, resolve_device
from wherefrom.cli.console.session import Session
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from wherefrom.data import ImageBatch
    from wherefrom.inversion.model import FittedInverter
    from wherefrom.inversion.outliers.calibrated import OwnImages

F = TypeVar("F", bound=Callable[..., Any])

model_argument = click.argument("model", type=FILE)


def out_option(text: str) -> Callable[[F], F]:
    """A required `--out`."""
    return click.option("--out", type=FILE, required=True, help=text)


def load_model(session: Session, path: Path, device: str) -> FittedInverter:
    """A fitted inverter of images, a note if its run stopped; an `InputError` for vectors."""
    from wherefrom.inversion.model import load

    fitted = load(path, device=resolve_device(device))
    if len(fitted.shape) != 3:
        raise InputError(f"{path} is a model of vectors; these commands are for images")
    if fitted.stopped_at is not None:
        step, steps = fitted.stopped_at
        session.note(
            f"note: {path} is a run that stopped; its model is that of step {step:,} of {steps:,}"
        )
    return fitted


def read_batch(session: Session, paths: Sequence[Path], fitted: FittedInverter) -> ImageBatch:
    """Images at the model's size, cropped and scaled where they are not."""
    from wherefrom.data import read_images

    side = fitted.size
    batch = read_images(
        paths,
        channels=fitted.channels,
        size=(side, side),
        resize=True,
        drop_duplicates=False,
        track=session.track,
    )
    session.note_skipped(batch.skipped)
    return batch


def read_one(session: Session, path: Path, fitted: FittedInverter) -> Tensor:
    """One image file as float32 (C, S, S) in [0, 1]."""
    from wherefrom.data import to_float

    batch = read_batch(session, (path,), fitted)
    if len(batch.images) != 1:
        raise InputError(f"{path} holds {len(batch.images)} images; give one file")
    return to_float(batch.images)[0]


def read_own(session: Session, paths: Sequence[Path], fitted: FittedInverter) -> OwnImages:
    """Every image once, of folders, files, .npz, idx or .tar."""
    import torch

    from wherefrom.data.datasets import load_training_images
    from wherefrom.inversion.outliers.calibrated import OwnImages

    parts = []
    folders = [path for path in paths if path.is_dir()]
    if folders:
        parts.append(read_batch(session, folders, fitted).images)
    for path in paths:
        if path not in folders:
            loaded = load_training_images(
                path, size=fitted.size, channels=fitted.channels, track=session.track
            )
            parts.append(loaded.images)
    return OwnImages.distinct(parts[0] if len(parts) == 1 else torch.cat(parts))


def named_pairs(values: Iterable[str]) -> Iterator[tuple[str, Path, Path]]:
    """`NAME=WITH:WITHOUT` as a name and two paths."""
    for value in values:
        name, equals, rest = value.partition("=")
        has, colon, lacks = rest.partition(":")
        if not (name and equals and has and colon and lacks):
            raise InputError(f"--keep is {value!r}, expected NAME=WITH:WITHOUT, two folders")
        yield name, Path(has), Path(lacks)
