"""`wherefrom inversion`: train, encode, reconstruct, edit, latents; and the commands beside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console.options import FILE, ConfigCommand, device_option, resolve_device
from wherefrom.cli.console.session import Session, print_facts, print_json
from wherefrom.cli.inversion.clusters import cluster, merge_tree_command
from wherefrom.cli.inversion.evaluate import evaluate
from wherefrom.cli.inversion.inputs import (
    json_option,
    model_argument,
    named_pairs,
    out_option,
    read_batch,
    read_one,
    training_data,
)
from wherefrom.cli.inversion.outliers import outliers
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.inversion.codes.editing import Direction
    from wherefrom.inversion.config import InversionConfig
    from wherefrom.inversion.model import FittedInverter


@click.group()
def inversion() -> None:
    """An invertible generator from my images: train, encode, edit, outliers, classes.

    \b
    Example:
      wherefrom inversion train photos/ --size 32 --channels 3 --method dlsgan --out model/
    """


for command in (outliers, cluster, merge_tree_command, evaluate):
    inversion.add_command(command)


def _defaults() -> Mapping[str, InversionConfig]:
    from wherefrom.inversion.config import InversionConfig

    return {"default": InversionConfig()}


@inversion.command(cls=ConfigCommand, presets=_defaults)
@click.argument("images", type=FILE)
@out_option("Folder of the model, its checkpoint, losses and sample grids.")
@click.option("--size", default=32, show_default=True, help="Side in px, 8 to 256.")
@click.option("--channels", type=click.Choice(["1", "3"]), default="3", show_default=True)
@click.option("--label-file", type=FILE, help="A CSV file: image, class; or image, attributes 0/1.")
@click.option("--limit", type=click.IntRange(2), help="Use that many images, spread evenly.")
@click.option(
    "--hold-out",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of the images that is not trained on, kept for `outliers`.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of every draw.")
@click.option("--sample-every", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--checkpoint-every", type=click.IntRange(1), default=500, show_default=True)
@click.option("--log-every", type=click.IntRange(1), default=50, show_default=True)
@click.option("--tensorboard", is_flag=True, help="Write an event file too.")
@device_option
@click.pass_obj
def train(
    session: Session,
    *,
    images: Path,
    out: Path,
    size: int,
    channels: str,
    label_file: Path | None,
    limit: int | None,
    hold_out: float,
    seed: int,
    sample_every: int,
    checkpoint_every: int,
    log_every: int,
    tensorboard: bool,
    device: str,
    config: InversionConfig,
) -> None:
    """Train a generator and what inverts it on a folder, .tar, .npz or idx file.

    Labels come from --label-file, from sub-folders, or from the data set; only aedlsgan, cagan,
    acgan, revised-acgan and classifier use them.  The same command given again continues where it
    stopped.  With --hold-out, `outliers` needs no other images to set its threshold.

    \b
    Example:
      wherefrom inversion train photos/ --size 64 --method pvdgan --steps 50000 --out model/
    """
    from wherefrom.inversion.method import fit
    from wherefrom.inversion.model import FITTED
    from wherefrom.inversion.outliers import holding_out
    from wherefrom.inversion.training.recording import Recorder

    place = resolve_device(device)
    recorder = Recorder(
        out,
        checkpoint_every=checkpoint_every,
        sample_every=sample_every,
        log_every=log_every,
        tensorboard=tensorboard,
    )
    recorder.prepare()  # what is missing shows before the images are read
    data = training_data(
        session, images, int(channels), size, label_file=label_file, limit=limit, config=config
    )
    pictures, labels, held = data.images, data.labels, None
    if hold_out:
        pictures, labels, held = holding_out.hold_out(pictures, labels, hold_out, seed=seed)
        session.note(f"{len(held.images)} images are held out, {len(pictures)} are trained on")
    fitted = fit(
        pictures,
        config=config,
        labels=labels,
        label_names=data.names,
        seed=seed,
        device=place,
        recorder=recorder,
        track=session.track,
    )
    fitted.save(out / FITTED, overwrite=True)
    if held is not None:
        held.save(out / holding_out.PLACE)
    click.echo(out)


@inversion.command()
@model_argument
@click.argument("images", type=FILE, nargs=-1, required=True)
@out_option("A .safetensors file: codes, their negative log-likelihoods; names in its header.")
@device_option
@click.pass_obj
def encode(
    session: Session, *, model: Path, images: tuple[Path, ...], out: Path, device: str
) -> None:
    """Write the codes of images.

    \b
    Example:
      wherefrom inversion encode model/ photos/ --out codes.safetensors
    """
    from wherefrom.inversion.codes.codes_file import write_codes

    fitted = _load(model, device)
    batch = read_batch(session, images, fitted)
    codes = fitted.encode(batch.images)
    finite = codes.isfinite().all(dim=1).cpu()
    lost = [str(p) for p, ok in zip(batch.paths, finite.tolist(), strict=True) if not ok]
    if len(lost) == len(codes):
        raise InputError(f"no image has a finite code; the first: {lost[0]}; train the model again")
    if lost:
        session.note(f"note: {len(lost)} images left out, whose codes are not finite: {lost[0]}")
    codes = codes[finite.to(codes.device)]
    names = [str(p) for p, ok in zip(batch.paths, finite.tolist(), strict=True) if ok]
    write_codes(out, codes, fitted.negative_log_likelihood(codes), names)
    click.echo(out)


@inversion.command()
@model_argument
@click.argument("images", type=FILE, nargs=-1, required=True)
@out_option("A PNG file: every image beside what came back.")
@click.option(
    "--refine",
    "steps",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Steps that move each code towards its image, within what codes are likely.",
)
@json_option
@device_option
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
    from wherefrom.inversion.codes.reconstruction import reconstruct as both_ways
    from wherefrom.inversion.codes.refinement import RefinementConfig, refine

    fitted = _load(model, device)
    batch = read_batch(session, images, fitted)
    pixels, names = to_float(batch.images), [str(p) for p in batch.paths]
    if steps:
        wanted = RefinementConfig(steps=steps)
        refined = refine(fitted, pixels, names=names, config=wanted, track=session.track)
        result, told = refined.after, refined.to_dict()
    else:
        result = both_ways(fitted, pixels, names=names)
        told = result.to_dict()
    save_png(result.grid(), out)
    session.note(f"wrote {out}")
    if as_json:
        print_json(told)
        return
    rows = [
        (r["name"], "cannot say", r["reason"])
        if r["psnr"] is None
        else (r["name"], f"{r['psnr']:.2f} dB", f"SSIM {r['ssim']:.3f}")
        for r in told["images"]
    ]
    if told["mean_psnr"] is not None:
        rows.append(("mean", f"{told['mean_psnr']:.2f} dB", f"SSIM {told['mean_ssim']:.3f}"))
    if steps and told["mean_psnr_gained"] is not None:
        gained, lost = told["mean_psnr_gained"], told["mean_nats_lost"]
        paid = f"{abs(lost):.1f} nats {'less likely' if lost > 0 else 'likelier'}"
        rows.append(("refinement", f"{gained:+.2f} dB", paid))
    print_facts(rows)


@inversion.command()
@model_argument
@click.argument("image", type=FILE)
@out_option("A PNG file: the image, what came back, then the edits in a row.")
@click.option("--attribute", help="Of a model trained as aedlsgan: the attribute, or the class.")
@click.option("--with", "examples", type=FILE, help="A folder of images that have it.")
@click.option("--without", "counterexamples", type=FILE, help="A folder of images that have not.")
@click.option(
    "--keep",
    "kept",
    multiple=True,
    metavar="NAME=WITH:WITHOUT",
    help="Two folders of something that shall stay as it is.  Repeatable.",
)
@click.option("--steps", type=click.IntRange(2), default=9, show_default=True)
@json_option
@device_option
@click.pass_obj
def edit(
    session: Session,
    *,
    model: Path,
    image: Path,
    out: Path,
    attribute: str | None,
    examples: Path | None,
    counterexamples: Path | None,
    kept: tuple[str, ...],
    steps: int,
    as_json: bool,
    device: str,
) -> None:
    """Move one property of an image, in steps.

    The property is an attribute that the model was trained with, or what two folders differ in.
    The leakage is how far something else moves per step of what is wanted; 0 is none.

    \b
    Example:
      wherefrom inversion edit model/ face.png --with smiling/ --without serious/ --out strip.png
    """
    from wherefrom.data import save_png
    from wherefrom.inversion.codes.editing import edit_along, edit_attribute, find_direction
    from wherefrom.inversion.codes.strips import strip

    fitted = _load(model, device)
    pixels = read_one(session, image, fitted)
    if attribute is not None and (examples or counterexamples or kept):
        raise InputError("give --attribute, or folders of examples, not both")
    if attribute is not None:
        label, wanted = fitted.find_attribute(attribute)
        result = edit_attribute(fitted, pixels, label=label, wanted=wanted, steps=steps)
    elif examples is not None and counterexamples is not None:
        keep: dict[str, Direction] = {}
        for name, has, lacks in named_pairs(kept):
            sides = (read_batch(session, (p,), fitted).images for p in (has, lacks))
            keep[name] = find_direction(fitted, *sides)
        sides = (read_batch(session, (p,), fitted).images for p in (examples, counterexamples))
        direction = find_direction(fitted, *sides, keep=keep)
        result = edit_along(fitted, pixels, direction, steps=steps, keep=keep)
    else:
        raise InputError("say what to edit: --attribute, or both --with and --without")
    save_png(strip(pixels, result), out)
    session.note(f"wrote {out}")
    if as_json:
        print_json(result.to_dict())
        return
    pairs = zip(result.positions, result.reached, strict=True)
    rows = [(f"{asked:+.2f}", f"reached {got:+.2f}", "") for asked, got in pairs]
    print_facts(
        [*rows, *((f"leakage into {k}", f"{v:.3f}", "") for k, v in result.leakage.items())]
    )


@inversion.command()
@model_argument
@click.argument("images", type=FILE, nargs=-1)
@click.option("--out", type=FILE, help="A PNG file: a row per live dimension, moved by +-2.")
@click.option("--rows", type=click.IntRange(1), default=8, show_default=True, help="Rows of it.")
@json_option
@device_option
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
    """Say how many dimensions of the code live, and with images what cutting the rest costs.

    \b
    Example:
      wherefrom inversion latents model/ photos/ --out traversal.png
    """
    from wherefrom.data import save_png
    from wherefrom.inversion.codes.latent_report import report_latents, traversal_sheet

    fitted = _load(model, device)
    pixels = read_batch(session, images, fitted).images if images else None
    result = report_latents(fitted, pixels)
    if out is not None:
        save_png(traversal_sheet(fitted, result.live_dimensions[:rows]), out)
        session.note(f"wrote {out}")
    if as_json:
        print_json(result.to_dict())
        return
    gap = "a clear gap" if result.clear else "no clear gap, so all are counted"
    print_facts(
        [
            ("live dimensions", f"{result.live} of {len(result.spectrum)}", gap),
            ("largest ratio of neighbours in v", f"{result.gap:.3g}", ""),
            ("effective dimension", f"{result.effective:.1f}", "(sum v)^2 / sum v^2"),
            ("latent entropy", f"{result.entropy:.1f} nats", ""),
            *((f"PSNR with {k} dimensions", f"{p:.2f} dB", "") for k, p in result.pruned),
        ]
    )


def _load(model: Path, device: str) -> FittedInverter:
    from wherefrom.inversion.model import load

    return load(model, device=resolve_device(device))
