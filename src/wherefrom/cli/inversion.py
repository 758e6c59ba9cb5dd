"""`wherefrom inversion`: its commands, each in a module of its own."""

from __future__ import annotations

import click

from wherefrom.cli.lazy import LazyGroup

MEMBERS = {
    "outliers": (
        "wherefrom.cli.inversion_outliers:outliers",
        "Which images of a folder are unlike those of the model?",
    ),
    "evaluate": (
        "wherefrom.cli.inversion_evaluate:evaluate",
        "How good is a model at making, giving back and noticing images?",
    ),
    "cluster": (
        "wherefrom.cli.inversion_clusters:cluster",
        "Which kinds of images did a model find, and which image is of which?",
    ),
    "merge-tree": (
        "wherefrom.cli.inversion_clusters:merge_tree_command",
        "How many kinds are there, whatever the penalty and the seed?",
    ),
}


@click.group(cls=LazyGroup, members=MEMBERS)
def inversion() -> None:
    """An invertible generator from an image folder: outliers, classes, how good it is.

    \b
    Example:
      wherefrom inversion outliers model/ images/ --own normal/ --fpr 0.01
    """
