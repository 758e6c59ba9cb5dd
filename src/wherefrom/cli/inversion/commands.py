"""`wherefrom inversion`: the group of its commands."""

from __future__ import annotations

import click

from wherefrom.cli.inversion.clusters import cluster, merge_tree
from wherefrom.cli.inversion.codes import edit, encode, latents, reconstruct
from wherefrom.cli.inversion.drawing import decode, interpolate, sample
from wherefrom.cli.inversion.evaluate import evaluate
from wherefrom.cli.inversion.outliers import outliers
from wherefrom.cli.inversion.train import train


@click.group()
def inversion() -> None:
    """An invertible generator from my images: train, sample, encode, edit, outliers, classes.

    \b
    Example:
      wherefrom inversion train photos/ --size 32 --channels 3 --method dlsgan --out model/
    """


for command in (
    train, sample, encode, decode, reconstruct, interpolate, edit, latents, outliers, cluster,
    merge_tree, evaluate,
):  # fmt: skip
    inversion.add_command(command)
