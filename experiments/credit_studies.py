"""What the credit experiments share: contributors made of Fashion-MNIST, study files, ledgers."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import credit_autoencoder
import credit_classifier
import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.saving.store import scratch_beside
from wherefrom.credit.ledger.game import GameIdentity, Planned
from wherefrom.credit.ledger.ledger import Ledger
from wherefrom.credit.method import OpenStudy, open_study, run_study
from wherefrom.data.images.writing import save_png
from wherefrom.data.tables.arrays import IDX_IMAGES, IDX_LABELS, read_idx

KINDS = ("retrain", "fine-tune", "sparsified")
PROPERTIES = ("inception score", "minus FD")
LEDGERS = Path(__file__).parents[1] / "docs" / "results" / "credit"
SIDE = 16


RECIPE = """\
[model]
kind = "latent"
autoencoder = "autoencoder"
width = {width}
levels = 2
blocks = 1
attention = false
groups = 8
[sampling]
images = {images}
steps = 20
batch = 256
"""
UNLEARNING = """\
[unlearning]
steps = {steps}
batch = 64
"""
TRAINING = """\
[{name}]
steps = {steps}
batch = 64
learning_rate = 2e-3
average = 0.99
flip = false
"""


class Part(NamedTuple):
    """What a contributor gives: indices into the training images of Fashion-MNIST."""

    name: str
    rows: Tensor


def fashion(data: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, 1, 16, 16), padded to 32 px and halved, and labels int64 (N,)."""
    pixels = read_idx(data / f"{part}-images-idx3-ubyte.gz", IDX_IMAGES, 3)
    labels = read_idx(data / f"{part}-labels-idx1-ubyte.gz", IDX_LABELS, 1)
    padded = F.pad(torch.from_numpy(pixels.copy())[:, None].float(), (2, 2, 2, 2))
    images = F.avg_pool2d(padded, 2).round().to(torch.uint8)
    return images, torch.from_numpy(labels.copy()).long()


def prepare(
    home: Path, data: Path, split: Callable[[Tensor, Tensor], Sequence[Part]], seed: int = 0
) -> None:
    """Write contributors' images and map, train classifier and autoencoder; what is there stays."""
    home.mkdir(parents=True, exist_ok=True)
    images, labels = fashion(data, "train")
    others = fashion(data, "t10k")
    credit_classifier.install(home, (images, labels), others, seed)
    credit_autoencoder.install(home, others[0], seed)
    if (home / "data").exists():
        return
    with scratch_beside(home / "data") as scratch:
        rows = []
        for name, chosen in split(images, labels):
            for row in chosen.tolist():
                path = f"{row:05d}.png"
                save_png(images[row], scratch / path)
                rows.append((path, name))
        with (scratch / "map.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "contributor"), *rows])


def recipe(steps: int, finetuning: int, images: int, *, width: int = 32) -> str:
    """The tables of a study that decide its model; width 32 is one of 636 thousand weights."""
    stages = {"training": steps, "recovery": steps, "finetuning": finetuning}
    tables = [TRAINING.format(name=name, steps=count) for name, count in stages.items()]
    unlearning = UNLEARNING.format(steps=finetuning)
    return RECIPE.format(images=images, width=width) + "".join(tables) + unlearning


def write_study(home: Path, kind: str, recipe: str, *, ledger: str, work: str = "work") -> Path:
    """The study file of one game; the games share the full model and the work folder."""
    text = f"""\
[study]
name = "{home.name}: {kind}"
ledger = "{ledger}"
work = "{work}"
[contributors]
table = "data/map.csv"
channels = 3
size = {SIDE}
[game]
kind = "{kind}"
empty = "start"
{recipe}
[[property]]
name = "{PROPERTIES[0]}"
kind = "inception-score"
encoder = "property_classifier:load"
[[property]]
name = "{PROPERTIES[1]}"
kind = "frechet"
encoder = "property_classifier:load"
"""
    path = home / f"{kind}.toml"
    path.write_text(text)
    return path


def play(study: Path, runs: Sequence[Planned], workers: int) -> OpenStudy:
    """Make the runs of a study that are not done yet, one process with one thread per worker."""
    opened = open_study(study)
    with opened.ledger() as ledger:
        ledger.plan(runs)
    counts = run_study(opened, runs=0, devices=("cpu",) * workers)
    if counts["failed"]:
        with opened.ledger(readonly=True) as ledger:
            problem = ledger.problems()[0]
        raise SystemExit(f"{counts['failed']} runs failed; the first: {problem.error}")
    return opened


def publish(source: Path, target: Path) -> None:
    """Copy a ledger at rest, without gaps between its pages."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.new")
    scratch.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as base:
        base.execute("VACUUM INTO ?", (str(scratch),))
    scratch.replace(target)


def games_in(path: Path) -> dict[str, GameIdentity]:
    """The games of a ledger by name, so that its runs can be read without the study's data."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
        rows = base.execute("SELECT name, players, spec FROM games ORDER BY name").fetchall()
    return {name: GameIdentity(name, players, json.loads(spec)) for name, players, spec in rows}


def open_game(path: Path, name: str) -> Ledger:
    """One game of a published ledger, to read."""
    return Ledger(path, games_in(path)[name], readonly=True)


def seconds_per_run(ledger: Ledger) -> dict[str, float]:
    """Mean seconds of each stage of a run that trains, those with nobody left out."""
    stages: dict[str, list[float]] = {}
    for _, run, detail in ledger.details():
        if run.mask and run.status == "done":
            for stage, seconds in detail["seconds"].items():
                stages.setdefault(stage, []).append(seconds)
    return {stage: sum(values) / len(values) for stage, values in stages.items()}


def finite(value: Any) -> Any:
    """JSON values of whatever numpy gives; None for what is not finite."""
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float) and not (abs(value) < float("inf")):
        return None
    return value
