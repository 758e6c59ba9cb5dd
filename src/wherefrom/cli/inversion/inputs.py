"""What the commands of `wherefrom inversion` share: options, images, labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wherefrom.cli.console.options import FILE
from wherefrom.cli.console.session import Session
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from wherefrom.data import ImageBatch
    from wherefrom.inversion.config import InversionConfig
    from wherefrom.inversion.model import FittedInverter

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
model_argument = click.argument("model", type=FILE)


def out_option(text: str) -> Callable[[F], F]:
    """A required `--out`."""
    return click.option("--out", type=FILE, required=True, help=text)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Images uint8 (N, C, S, S), and labels where the method learns from them."""

    images: Tensor
    labels: Tensor | None
    names: tuple[str, ...]


def training_data(
    session: Session,
    path: Path,
    channels: int,
    size: int,
    *,
    label_file: Path | None,
    limit: int | None,
    config: InversionConfig,
) -> TrainingData:
    """The data set at `path`, with labels if `config.method` takes any."""
    from wherefrom.data import load_training_images, read_images
    from wherefrom.data.files.archive_listing import holds_many
    from wherefrom.data.folders import list_images, subfolders
    from wherefrom.data.tables.labels import read_labels
    from wherefrom.inversion.config import LABELLED

    takes = config.method in LABELLED
    if label_file is None:
        source = load_training_images(
            path, size=size, channels=channels, limit=limit, track=session.track
        )
        session.note(source.description)
        if takes and source.labels is not None and path.is_dir():
            for folder in subfolders(path):
                list_images([folder])  # an `InputError` where a class has none
        return TrainingData(source.images, source.labels if takes else None, ())
    if not takes:
        raise InputError(
            f"{config.method} takes no labels; leave out --label-file, or choose one of "
            + ", ".join(LABELLED)
        )
    if limit is not None or not holds_many(path):
        raise InputError("--label-file goes with a whole folder of images, without --limit")
    batch = read_images(
        (path,), channels=channels, size=(size, size), resize=True, track=session.track
    )
    _tell_skipped(session, batch)
    labels = read_labels(label_file, batch.paths, path)
    if labels.unused:
        session.note(f"note: {label_file}: {labels.unused} rows name no image that is used")
    return TrainingData(batch.images, labels.values, labels.names)


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
    _tell_skipped(session, batch)
    return batch


def read_one(session: Session, path: Path, fitted: FittedInverter) -> Tensor:
    """One image file as float32 (C, S, S) in [0, 1]."""
    from wherefrom.data import to_float

    batch = read_batch(session, (path,), fitted)
    if len(batch.images) != 1:
        raise InputError(f"{path} holds {len(batch.images)} images; give one file")
    return to_float(batch.images)[0]


def named_pairs(values: Iterable[str]) -> Iterator[tuple[str, Path, Path]]:
    """`NAME=WITH:WITHOUT` as a name and two paths."""
    for value in values:
        name, equals, rest = value.partition("=")
        has, colon, lacks = rest.partition(":")
        if not (name and equals and has and colon and lacks):
            raise InputError(f"--keep is {value!r}, expected NAME=WITH:WITHOUT, two folders")
        yield name, Path(has), Path(lacks)


def _tell_skipped(session: Session, batch: ImageBatch) -> None:
    if batch.skipped:
        from wherefrom.report.pages.text import left_out

        session.note(f"note: {left_out(batch.skipped)}")
