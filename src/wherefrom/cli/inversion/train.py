"""`wherefrom inversion train`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session
from wherefrom.cli.inversion.inputs import out_option
from wherefrom.core.errors import InputError, WherefromError

if TYPE_CHECKING:
    from torch import Tensor

    from wherefrom.inversion.config import InversionConfig
    from wherefrom.inversion.training.dataset import TrainingLabels
    from wherefrom.inversion.training.recording import Recorder


@dataclass(frozen=True, kw_only=True)
class InverterTrainOptions(cli.CourseOptions):
    """The options of `train`."""

    LAST: ClassVar[tuple[str, ...]] = (
        "sample_every",
        "checkpoint_every",
        "log_every",
        "tensorboard",
        "device",
    )
    images: Path = cli.argument()
    out: Path = cli.use(out_option("Folder of the model, its checkpoint, losses and sample grids."))
    size: int = cli.option("Side in px, 8 to 256.", 32)
    channels: str = cli.option("1: grey; 3: colour.", "3", choices=["1", "3"])
    label_file: Path | None = cli.option("A CSV file: image, class; or image, attributes 0/1.")
    limit: int | None = cli.option("Use that many images, spread evenly.", low=2)
    hold_out: float = cli.option(
        "Share of the images that is not trained on, kept for `outliers`.",
        0.0,
        kind=click.FloatRange(0, 1, max_open=True),
    )
    seed: int = cli.use(cli.seed_option)
    log_every: int = cli.option("Steps that a row of losses is the mean of.", 50, low=1)
    tensorboard: bool = cli.option("Write an event file too.")
    device: str = cli.use(cli.device_option)
    config: InversionConfig


@click.command(cls=cli.ConfigCommand, presets=cli.default_of("inversion.config:InversionConfig"))
@cli.with_options(InverterTrainOptions)
def train(session: Session, options: InverterTrainOptions) -> None:
    """Train a generator and what inverts it on a folder, .tar, .npz or idx file.

    Labels come from --label-file, from sub-folders, or from the data set; only aedlsgan, cagan,
    acgan, revised-acgan and classifier use them.  The same command given again continues where it
    stopped; until then other commands use the model of its last checkpoint.  With --hold-out,
    `outliers` needs no other images to set its threshold.

    \b
    Example:
      wherefrom inversion train photos/ --size 64 --method pvdgan --steps 50000 --out model/
    """
    from wherefrom.inversion.training.recording import Recorder

    recorder = Recorder(
        options.out,
        checkpoint_every=options.checkpoint_every,
        sample_every=options.sample_every,
        log_every=options.log_every,
        tensorboard=options.tensorboard,
    )
    recorder.prepare()  # what is missing shows before the images are read
    try:
        _train(session, options, recorder)
    except WherefromError:
        recorder.remove_empty()
        raise
    click.echo(options.out)


def _train(session: Session, options: InverterTrainOptions, recorder: Recorder) -> None:
    from wherefrom.inversion.method import fit
    from wherefrom.inversion.model import FITTED
    from wherefrom.inversion.outliers.of_run import HELD_OUT, hold_out

    images, labels = _training_data(session, options)
    if options.hold_out:
        images, values, held = hold_out(images, labels.values, options.hold_out, seed=options.seed)
        labels = replace(labels, values=values)
        recorder.beside = {HELD_OUT: held}
        session.note(f"{len(held.images)} images are held out, {len(images)} are trained on")
    fitted = fit(
        images,
        config=options.config,
        labels=labels,
        seed=options.seed,
        device=cli.resolve_device(options.device),
        recorder=recorder,
        track=session.track,
    )
    fitted.save(options.out / FITTED, overwrite=True)


def _training_data(
    session: Session, options: InverterTrainOptions
) -> tuple[Tensor, TrainingLabels]:
    """Images uint8 (N, C, S, S), and their labels if the method learns from any."""
    from wherefrom.data import load_training_images, read_images
    from wherefrom.data.files.listing import holds_many
    from wherefrom.data.folders import list_images, subfolders
    from wherefrom.data.tables.labels import read_labels
    from wherefrom.inversion.recipes import LABELLED
    from wherefrom.inversion.training.dataset import TrainingLabels

    path, file, side = options.images, options.label_file, options.size
    channels, takes = int(options.channels), options.config.recipe.labelled
    if file is None:
        source = load_training_images(
            path, size=side, channels=channels, limit=options.limit, track=session.track
        )
        session.note(source.description)
        if takes and source.labels is not None and path.is_dir():
            for folder in subfolders(path):
                list_images([folder])  # an `InputError` where a class has none
        if not takes:
            return source.images, TrainingLabels()
        return source.images, TrainingLabels(values=source.labels, names=source.class_names)
    if not takes:
        raise InputError(
            f"{options.config.method} takes no labels; leave out --label-file, or choose one of "
            + ", ".join(LABELLED)
        )
    if options.limit is not None or not holds_many(path):
        raise InputError("--label-file goes with a whole folder of images, without --limit")
    batch = read_images(
        (path,), channels=channels, size=(side, side), resize=True, track=session.track
    )
    session.note_skipped(batch.skipped)
    labels = read_labels(file, batch.paths, path)
    if labels.unused:
        session.note(f"note: {file}: {labels.unused} rows name no image that is used")
    return batch.images, TrainingLabels(values=labels.values, names=labels.names)
