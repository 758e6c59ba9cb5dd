"""`wherefrom inversion encode`, `reconstruct`, `edit` and `latents`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session, print_facts, print_json
from wherefrom.cli.inversion.inputs import (
    load_model,
    model_argument,
    named_pairs,
    out_option,
    read_batch,
    read_one,
)
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from wherefrom.inversion.codes.reconstruction import Reconstruction
    from wherefrom.inversion.codes.refinement import Refinement


@click.command()
@model_argument
@click.argument("images", type=cli.FILE, nargs=-1, required=True)
@out_option("A .safetensors file: codes, their negative log-likelihoods; names in its header.")
@cli.device_option
@click.pass_obj
def encode(
    session: Session, *, model: Path, images: tuple[Path, ...], out: Path, device: str
) -> None:
    """Write the codes of images.

    \b
    Example:
      wherefrom inversion encode model/ photos/ --out codes.safetensors
    """
    from wherefrom.inversion.codes.codes_file import save_codes

    fitted = load_model(session, model, device)
    batch = read_batch(session, images, fitted)
    lost = save_codes(out, fitted, batch.images, [str(path) for path in batch.paths])
    if lost:
        session.note(f"note: {len(lost)} images left out, whose codes are not finite: {lost[0]}")
    click.echo(out)


@click.command()
@model_argument
@click.argument("images", type=cli.FILE, nargs=-1, required=True)
@out_option("A PNG file: every image beside what came back.")
@click.option(
    "--refine",
    "steps",
    type=click.IntRange(0),
    default=0,
    help="Steps that move each code towards its image, within what codes are likely.",
)
@cli.json_option
@cli.device_option
@click.pass_obj
def reconstruct(
    session: Session,
    *,
    model: Path,
    images: tuple[Path, ...],
    out: Path,
    steps: int,
    as_json: bool,
    device: str,
) -> None:
    """Encode and decode images; PSNR and SSIM of each.

    With --refine also what PSNR the steps gained, and how much less likely the codes became.

    \b
    Example:
      wherefrom inversion reconstruct model/ photos/ --refine 50 --out grid.png
    """
    from wherefrom.data import save_png, to_float
    from wherefrom.inversion.codes.reconstruction import reconstruct as reconstruct_images
    from wherefrom.inversion.codes.refinement import RefinementConfig, refine
    from wherefrom.report.inversion.tables import reconstruction_facts

    fitted = load_model(session, model, device)
    batch = read_batch(session, images, fitted)
    pixels, names = to_float(batch.images), [str(p) for p in batch.paths]
    if steps:
        result: Reconstruction | Refinement = refine(
            fitted, pixels, names=names, config=RefinementConfig(steps=steps), track=session.track
        )
    else:
        result = reconstruct_images(fitted, pixels, names=names)
    save_png(result.grid(), out)
    session.note(f"wrote {out}")
    if as_json:
        print_json(result.to_dict())
        return
    print_facts(reconstruction_facts(result.to_dict()))


@dataclass(frozen=True, kw_only=True)
class EditOptions:
    """The options of `edit`."""

    model: Path = cli.use(model_argument)
    image: Path = cli.argument()
    out: Path = cli.use(
        out_option("A PNG file: the image, what came back, then the edits in a row.")
    )
    attribute: str | None = cli.option("Attribute or class, of a model trained as aedlsgan.")
    examples: Path | None = cli.option("A folder of images that have the property.", flag="--with")
    counterexamples: Path | None = cli.option(
        "A folder of images that do not have it.", flag="--without"
    )
    kept_sides: tuple[str, ...] = cli.option(
        "Two folders, with and without a property that shall stay.  Repeatable.",
        flag="--keep",
        metavar="NAME=WITH:WITHOUT",
    )
    steps: int = cli.option("Edited images.", 9, low=2)
    as_json: bool = cli.use(cli.json_option)
    device: str = cli.use(cli.device_option)


@click.command()
@cli.with_options(EditOptions)
def edit(session: Session, options: EditOptions) -> None:
    """Move one property of an image, in steps.

    The property is an attribute that the model was trained with, or what two folders differ in.
    The leakage is how far another property moves per step of the wanted one; 0 is none.

    \b
    Example:
      wherefrom inversion edit model/ face.png --with smiling/ --without serious/ --out strip.png
    """
    from wherefrom.data import save_png
    from wherefrom.inversion.codes.editing import edit as edit_image
    from wherefrom.report.inversion.tables import edit_facts

    by_example = options.examples or options.counterexamples or options.kept_sides
    if options.attribute is not None and by_example:
        raise InputError("give --attribute, or folders of examples, not both")
    fitted = load_model(session, options.model, options.device)
    image = read_one(session, options.image, fitted)

    def read_pair(has: Path, lacks: Path) -> tuple[Tensor, Tensor]:
        first, second = (read_batch(session, (path,), fitted).images for path in (has, lacks))
        return first, second

    between = None
    if options.examples is not None and options.counterexamples is not None:
        between = read_pair(options.examples, options.counterexamples)
    elif options.attribute is None:
        raise InputError("say what to edit: --attribute, or both --with and --without")
    result = edit_image(
        fitted,
        image,
        attribute=options.attribute,
        between=between,
        keep={name: read_pair(has, lacks) for name, has, lacks in named_pairs(options.kept_sides)},
        steps=options.steps,
    )
    save_png(result.strip(), options.out)
    session.note(f"wrote {options.out}")
    if options.as_json:
        print_json(result.to_dict())
        return
    print_facts(edit_facts(result))


@click.command()
@model_argument
@click.argument("images", type=cli.FILE, nargs=-1)
@click.option("--out", type=cli.FILE, help="A PNG file: a row per live dimension, moved by +-2.")
@click.option("--rows", type=click.IntRange(1), default=8, help="Rows of the picture.")
@cli.json_option
@cli.device_option
@click.pass_obj
def latents(
    session: Session,
    *,
    model: Path,
    images: tuple[Path, ...],
    out: Path | None,
    rows: int,
    as_json: bool,
    device: str,
) -> None:
    """Count the live dimensions of the code; with images, also what dropping the rest costs.

    \b
    Example:
      wherefrom inversion latents model/ photos/ --out traversal.png
    """
    from wherefrom.data import save_png
    from wherefrom.inversion.codes.latent_report import report_latents, traversal_sheet
    from wherefrom.report.inversion.tables import latent_facts

    fitted = load_model(session, model, device)
    pixels = read_batch(session, images, fitted).images if images else None
    result = report_latents(fitted, pixels)
    if out is not None:
        save_png(traversal_sheet(fitted, result.live_dimensions[:rows]), out)
        session.note(f"wrote {out}")
    if as_json:
        print_json(result.to_dict())
        return
    print_facts(latent_facts(result))
