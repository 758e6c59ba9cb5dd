"""`wherefrom origin pairs`, and the notes on pairs of several commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.origin.pairs.config import PairsConfig
    from wherefrom.origin.pairs.manifest import PairsManifest
    from wherefrom.origin.searching.result import RetrievalReport

DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class PairsOptions:
    """The options of `pairs`."""

    photos: tuple[Path, ...] = cli.argument()
    pipeline: Path | None = cli.option("Folder of a diffusers image-to-image pipeline.")
    ip_adapter: Path | None = cli.option(
        "A .safetensors file: an IP-Adapter gives each photo to a text-to-image pipeline."
    )
    adapter_scale: float = cli.option("With --ip-adapter: the weight of the photo.", 1.0)
    prompts: str | None = cli.option("A file of prompts, one per line, or one prompt.")
    captioner: Path | None = cli.option("A captioner's folder, for prompts with {caption}.")
    edits: Path | None = cli.option("Instead: a folder of edits made elsewhere.")
    table: Path | None = cli.option("With --edits: CSV of edit,origin[,model,prompt].")
    out: Path | None = cli.option("The pairs folder; one that exists is continued.")
    seed: int = cli.option("Seed of prompts and noise.", 0)
    device: str = cli.use(cli.device_option)
    dtype: str = cli.option(
        "Numbers the pipeline computes with; float16 may overflow, and such edits are left out.",
        DTYPES[0],
        choices=DTYPES,
    )
    offload: bool = cli.option("Keep parts of the pipeline off the GPU until they run.")
    config: PairsConfig


@click.command(cls=cli.ConfigCommand, presets=cli.default_of("origin.pairs.config:PairsConfig"))
@cli.with_options(PairsOptions)
def pairs(session: Session, options: PairsOptions) -> None:
    """Make edits of photographs with a local editor, or list edits that you have.

    \b
    Example:
      wherefrom origin pairs photos/ --pipeline img2img/ --prompts prompts.txt --out pairs/
      wherefrom origin pairs photos/ --edits edits/ --table edits.csv
    """
    manifest = _make(session, options) if options.edits is None else _list(options, options.edits)
    session.note_skipped(manifest.skipped)
    click.echo(f"{len(manifest.rows)} edits of {len(manifest.origins)} origins")


def _list(options: PairsOptions, edits: Path) -> PairsManifest:
    from wherefrom.origin.pairs.folders import pairs_from_folders
    from wherefrom.origin.pairs.manifest import write_pairs

    if len(options.photos) != 1 or options.pipeline is not None or options.out is not None:
        raise InputError(
            "with --edits give one folder of photographs and neither --pipeline nor --out: the "
            "pairs are listed beside the edits"
        )
    manifest = pairs_from_folders(options.photos[0], edits, table=options.table)
    write_pairs(manifest)
    return manifest


def _make(session: Session, options: PairsOptions) -> PairsManifest:
    import torch

    from wherefrom.origin.pairs.builder import build_pairs
    from wherefrom.origin.pairs.captions import load_captioner
    from wherefrom.origin.pairs.pipelines import load_pipeline
    from wherefrom.origin.pairs.prompts import load_prompts

    prompts, captioner = options.prompts, options.captioner
    if prompts is None and captioner is not None:
        prompts = "{caption}"
    if options.pipeline is None or prompts is None or options.out is None:
        raise InputError("give --pipeline, --prompts and --out, or --edits for edits you have")
    device = cli.resolve_device(options.device)
    pipeline = load_pipeline(
        options.pipeline,
        ip_adapter=options.ip_adapter,
        adapter_scale=options.adapter_scale,
        device=device,
        dtype=getattr(torch, options.dtype),
        offload=options.offload,
    )
    return build_pairs(
        options.photos,
        pipeline,
        load_prompts(prompts),
        options.out,
        captioner=None if captioner is None else load_captioner(captioner, device=device),
        config=options.config,
        seed=options.seed,
        track=session.track,
    )


def tell_trained_on(session: Session, report: RetrievalReport) -> None:
    """One note on evaluated pairs that the edit map was trained on, or where that is not known."""
    if report.trained_on is None:
        from wherefrom.origin.calibration.calibrating import NO_RECORD

        session.note(f"note: {NO_RECORD}")
    elif report.trained_on:
        session.note(
            f"warning: the edit map was trained on images of {report.trained_on} of the pairs, "
            "which makes the figures too good; give pairs that it has not seen"
        )


def tell_out_of_scope(session: Session, manifest: PairsManifest) -> None:
    """One note on edits that no answer of this method covers, if there are any."""
    if manifest.out_of_scope:
        from wherefrom.report.pages.tables import plural

        session.note(
            f"note: {plural(manifest.out_of_scope, 'edit')} of {len(manifest.rows)} out of scope: "
            "an IP-Adapter never sees the origin's latent, so they are not expected to be found"
        )
