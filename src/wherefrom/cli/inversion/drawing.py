"""`wherefrom inversion sample`, `decode` and `interpolate`: pictures of a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session
from wherefrom.cli.inversion.inputs import load_model, model_argument, out_option, read_one

if TYPE_CHECKING:
    from torch import Tensor

COLUMNS = 8  # of a sheet


@dataclass(frozen=True, kw_only=True)
class DrawingOptions:
    """The options that `sample` and `decode` share."""

    LAST = ("out", "sheet", "class_name", "device")
    out: Path = cli.use(out_option("A new folder: one PNG file per image, 000000.png and so on."))
    sheet: Path | None = cli.option("A PNG file: all images side by side, eight in a row.")
    class_name: str | None = cli.option("Class or attribute, by name or number.", flag="--class")
    device: str = cli.use(cli.device_option)

    def write(self, session: Session, images: Tensor) -> None:
        """Write images (N, C, S, S) in [0, 1]: the folder whole or not at all, and the sheet."""
        from wherefrom.core.saving.store import refuse_existing, scratch_beside
        from wherefrom.data import save_png, to_uint8
        from wherefrom.data.images.writing import image_grid

        refuse_existing(self.out, overwrite=False)
        pixels = to_uint8(images).cpu()
        with scratch_beside(self.out) as scratch:
            for number, picture in enumerate(pixels):
                save_png(picture, scratch / f"{number:06d}.png")
        if self.sheet is not None:
            save_png(image_grid(pixels, COLUMNS), self.sheet)
            session.note(f"wrote {self.sheet}")
        click.echo(self.out)


@dataclass(frozen=True, kw_only=True)
class SampleOptions(DrawingOptions):
    """The options of `sample`."""

    model: Path = cli.use(model_argument)
    count: int = cli.option("Images.", 64, low=1)
    seed: int = cli.option("Image i depends on the seed and i only.", 0)
    truncation: float = cli.option(
        "Above 0, at most 1: smaller draws codes nearer to their mean, more usual and more alike.",
        1.0,
    )


@click.command()
@cli.with_options(SampleOptions)
def sample(session: Session, options: SampleOptions) -> None:
    """Draw new images.

    \b
    Example:
      wherefrom inversion sample model/ --count 64 --out samples/ --sheet samples.png
    """
    from wherefrom.core.saving.store import refuse_existing
    from wherefrom.inversion.codes.drawing import labels_for

    refuse_existing(options.out, overwrite=False)
    fitted = load_model(session, options.model, options.device)
    labels = labels_for(fitted, options.class_name, 1)
    images = fitted.sample(
        options.count,
        seed=options.seed,
        label=None if labels is None else tuple(labels[0].tolist()),
        truncation=options.truncation,
    )
    options.write(session, images)


@dataclass(frozen=True, kw_only=True)
class DecodeOptions(DrawingOptions):
    """The options of `decode`."""

    model: Path = cli.use(model_argument)
    codes: Path = cli.argument()


@click.command()
@cli.with_options(DecodeOptions)
def decode(session: Session, options: DecodeOptions) -> None:
    """Make images of the codes that `encode` wrote.

    \b
    Example:
      wherefrom inversion decode model/ codes.safetensors --out decoded/
    """
    from wherefrom.core.saving.store import refuse_existing
    from wherefrom.inversion.codes.codes_file import load_codes
    from wherefrom.inversion.codes.drawing import labels_for

    refuse_existing(options.out, overwrite=False)
    fitted = load_model(session, options.model, options.device)
    codes = load_codes(options.codes, fitted.config.latent)
    options.write(session, fitted.decode(codes, labels_for(fitted, options.class_name, len(codes))))


@click.command()
@model_argument
@click.argument("first", type=cli.FILE)
@click.argument("second", type=cli.FILE)
@out_option("A PNG file: the first image, the way between what came back of both, the second.")
@click.option("--steps", type=click.IntRange(2), default=9, help="Images on the way.")
@click.option("--gif", type=cli.FILE, help="A GIF file: the way there and back, moving.")
@cli.device_option
@click.pass_obj
def interpolate(
    session: Session,
    *,
    model: Path,
    first: Path,
    second: Path,
    out: Path,
    steps: int,
    gif: Path | None,
    device: str,
) -> None:
    """Draw the way from one image to another.

    \b
    Example:
      wherefrom inversion interpolate model/ a.png b.png --out way.png --gif way.gif
    """
    import torch

    from wherefrom.data import save_png, to_uint8
    from wherefrom.data.images.writing import image_grid, save_gif
    from wherefrom.inversion.codes.drawing import interpolate as draw_way

    fitted = load_model(session, model, device)
    ends = torch.stack([read_one(session, path, fitted) for path in (first, second)])
    way = draw_way(fitted, ends, steps=steps).cpu()
    strip = to_uint8(torch.cat([ends[:1], way, ends[1:]]))
    save_png(image_grid(strip, len(strip)), out)
    if gif is not None:
        save_gif(to_uint8(torch.cat([way, way.flip(0)])), gif)
        session.note(f"wrote {gif}")
    click.echo(out)
