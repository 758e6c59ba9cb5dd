"""A tiny study: three contributors of grey 8 px images, and a network of a few thousand numbers."""

import numpy as np
from PIL import Image

NETWORK = """
[model]
width = 8
levels = 1
blocks = 1
attention = false
groups = 4
"""
RECIPE = """
[training]
steps = 2
batch = 4
average = 0.5
[finetuning]
steps = 2
batch = 4
average = 0.5
[recovery]
steps = 1
batch = 4
[pruning]
ratio = 0.5
[sampling]
images = 3
steps = 2
[design]
kind = "exact"
runs = 8
"""
PROPERTIES = """
[[property]]
kind = "diversity"
[[property]]
kind = "frechet"
name = "distance"
"""


def write_images(folder, *, players=3, each=2, seed=0):
    """One folder of random images per contributor."""
    draw = np.random.default_rng(seed)
    for player in range(players):
        home = folder / f"c{player}"
        home.mkdir(parents=True)
        for number in range(each):
            level = 40 + 60 * player + draw.integers(0, 50, (8, 8))
            Image.fromarray(level.astype(np.uint8)).save(home / f"{number}.png")


def write_study(
    folder, *, kind="retrain", extra="", network=NETWORK, properties=PROPERTIES, players=3
):
    """The study file, with its images beside it."""
    if not (folder / "data").is_dir():
        write_images(folder / "data", players=players)
    head = f"[contributors]\nfolder = 'data'\nchannels = 1\nsize = 8\n[game]\nkind = '{kind}'\n"
    path = folder / "study.toml"
    path.write_text(head + extra + network + RECIPE + properties)
    return path
