"""`wherefrom inversion cluster` and `merge-tree`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.cli.inversion.inputs import load_model, model_argument, read_batch
from wherefrom.core.errors import InputError
from wherefrom.core.saving.json_text import to_json

if TYPE_CHECKING:
    from wherefrom.inversion.config import InversionConfig


PAGE = click.option("--out", type=cli.FILE, required=True, help="The HTML page to write.")


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """The options of `cluster`."""

    model: Path = cli.use(model_argument)
    images: tuple[Path, ...] = cli.argument()
    out: Path = cli.use(PAGE)
    folder: Path | None = cli.option("A new folder: links, a folder per class.", flag="--sorted")
    copy: bool = cli.option("Copy the files to --sorted instead of linking them.")
    label: int = cli.option("Which label, if there are several.", 0)
    seed: int = cli.use(cli.seed_option)
    device: str = cli.use(cli.device_option)
    as_json: bool = cli.use(cli.json_option)


@click.command()
@cli.with_options(ClusterOptions)
def cluster(session: Session, options: ClusterOptions) -> None:
    """Sort images into the classes that the model found, and show examples of each.

    \b
    Example:
      wherefrom inversion cluster model/ images/ --out clusters.html --sorted sorted/
    """
    from wherefrom.inversion.classes.clusters import cluster_images, examples, sort_into_classes
    from wherefrom.report.inversion.page import SHOWN, write_clusters
    from wherefrom.report.inversion.tables import cluster_table

    out, folder = options.out, options.folder
    cli.check_output(out, "--out")
    if folder is not None and folder.exists():
        raise InputError(f"{folder} already exists; choose another --sorted")
    fitted = load_model(session, options.model, options.device)
    batch = read_batch(session, options.images, fitted)
    clustering = cluster_images(fitted, batch.images, label=options.label)
    drawn = {c.label: examples(fitted, c, SHOWN, seed=options.seed) for c in clustering.clusters}
    write_clusters(out, clustering, batch.images, drawn)
    if folder is not None:
        sort_into_classes(clustering, batch.paths, folder, copy=options.copy)
    if options.as_json:
        print_json({**clustering.to_dict(), "paths": [str(path) for path in batch.paths]})
        return
    print_table(cluster_table(clustering))
    session.note(f"wrote {out}")


@dataclass(frozen=True, kw_only=True)
class TreeOptions:
    """The options of `merge-tree`."""

    images: Path = cli.argument()
    out: Path = cli.use(PAGE)
    penalties: tuple[float, ...] = cli.option(
        "Values of lambda_cgp; --class-penalty has no effect here.",
        "0.1,1,10,100",
        kind=cli.Numbers(float, "0.1,1,10"),
    )
    seeds: tuple[int, ...] = cli.option(
        "One run for each.", "0,1,2", kind=cli.Numbers(int, "0,1,2")
    )
    warm_steps: int | None = cli.option(
        "Go on from the penalty before for so many steps, instead of --steps from the start.", low=1
    )
    size: int = cli.option("Side of the images in px.", 32)
    channels: int = cli.option("1 (grey) or 3 (colour).", 3)
    limit: int | None = cli.option("Use that many images, spread evenly.", low=2)
    models: Path | None = cli.option("A folder that exists: every model is kept in it.")
    device: str = cli.use(cli.device_option)
    as_json: bool = cli.use(cli.json_option)
    config: InversionConfig


@click.command(
    name="merge-tree",
    cls=cli.ConfigCommand,
    presets=cli.default_of("inversion.config:InversionConfig", method="cgpgan"),
)
@cli.with_options(TreeOptions)
def merge_tree(session: Session, options: TreeOptions) -> None:
    """Train cgpgan with several penalties and seeds; show which classes last and which merge.

    \b
    Example:
      wherefrom inversion merge-tree images/ --penalties 0.1,1,10 --seeds 0,1 --out tree.html
    """
    from wherefrom.data.datasets import load_training_images
    from wherefrom.inversion.classes.merge_tree import TreePlan, build_merge_tree
    from wherefrom.inversion.model import FittedInverter
    from wherefrom.report.inversion.page import write_tree
    from wherefrom.report.inversion.tables import tree_table
    from wherefrom.report.pages.files import write_text

    out, models = options.out, options.models
    cli.check_output(out, "--out")
    if models is not None and not models.is_dir():
        raise InputError(f"{models} is not a folder; create it, or choose another --models")
    plan = TreePlan(penalties=options.penalties, seeds=options.seeds, warm_steps=options.warm_steps)

    def keep(penalty: float, seed: int, fitted: FittedInverter) -> None:
        if models is not None:
            fitted.save(models / f"penalty-{penalty:g}-seed-{seed}", overwrite=True)

    loaded = load_training_images(
        options.images,
        size=options.size,
        channels=options.channels,
        limit=options.limit,
        track=session.track,
    )
    tree = build_merge_tree(
        loaded.images,
        plan,
        config=options.config,
        device=cli.resolve_device(options.device),
        keep=keep,
        track=session.track,
    )
    if tree.images < len(loaded.images):
        session.note(
            f"note: {tree.images} of {len(loaded.images)} images, spread evenly, were put into "
            "classes; the models were trained on all of them"
        )
    write_tree(out, tree)
    write_text(out.with_suffix(".json"), to_json(tree.to_dict()) + "\n")
    if options.as_json:
        print_json(tree.to_dict())
        return
    print_table(tree_table(tree))
    session.note(f"wrote {out} and {out.with_suffix('.json').name}")
