"""Which measure orders generators that other people trained as their published FID does?

    python experiments/anomaly_real.py --data DATA

DATA holds `generated/` (INDEX.tsv and its .npz files) and `cifar10/train.tar`.  The sets are
published samples of CIFAR-10 generators.  All are written with the JPEG settings of the real
images' own files, so that compression cannot order them.  Sets that were JPEG before are scored,
but take no part in the comparison with FID.  Every measure sees the same number of images of each.

A FID is that of the checkpoint (ten GANs of one author, EDM), or that of the paper of a method
whose samples are of another training (Glow, IGEBM, PixelCNN++); the result says which.

A measure is named by its network and settings.  The best one is also chosen without each family in
turn, and tried on the pairs in which this family takes part.  Intervals are percentiles of
bootstrap draws of all images.  Features, C and V are kept in `--work`: a run that was stopped goes
on where it was.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import re
import shlex
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomaly_images import write
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import kendalltau, spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from wherefrom import __version__
from wherefrom.anomaly.config import PRESETS, AnomalyConfig
from wherefrom.anomaly.equations import anomaly_vectors
from wherefrom.anomaly.measuring.cache import FolderCache
from wherefrom.anomaly.measuring.scoring import score_files
from wherefrom.calibration.family import holm_adjusted
from wherefrom.core.rng import stream
from wherefrom.encoders import load_feature_encoder
from wherefrom.encoders.features import FeatureNetwork, Preprocess, make_feature_encoder
from wherefrom.metrics.feature_sets.frechet import frechet_distance
from wherefrom.metrics.feature_sets.kernel_distance import kernel_distance
from wherefrom.metrics.feature_sets.neighbours import manifold_metrics
from wherefrom.metrics.ks2d import ks2d_distance
from wherefrom.metrics.ks2d_inference import permutation_test

RESULT = Path("docs/results/anomaly_real.json")
FAMILIES = {
    "glow": "flow",
    "realnvp": "flow",
    "igebm": "energy",
    "pixelcnnpp": "autoregressive",
    "edm": "diffusion",
    "ddpm": "diffusion",
    "REAL": "real",
    "real": "real",
}
# FID that the paper of the method gives; the samples are of other people's training.
LITERATURE = {"cifar10_glow": 46.0, "cifar10_igebm": 38.2, "cifar10_pixelcnnpp": 65.9}
# Settings of C and V that are tried by network; none: only the measures of features.
SETTINGS = {
    "random weights, 32 px": ("paper",),
    "EfficientNet-Lite0, 64 px": ("paper",),
    "EfficientNet-Lite0, 96 px": ("paper",),
    "EfficientNet-Lite0, 96 px, block 5 of 16": ("paper",),
    "EfficientNet-Lite0, 96 px, block 11 of 16": (),
    "EfficientNet-Lite0, 128 px": (),
    "EfficientNet-Lite0, 224 px": (),
}
FEATURES_ONLY = AnomalyConfig(directions=0, restarts=0)
POINTS = {"paper": PRESETS["paper"], "default": PRESETS["default"]}


@dataclass(frozen=True)
class Source:
    """The samples of one generator, (N, 32, 32, 3) uint8, and what was published of it."""

    name: str
    family: str
    fid: float | None
    of: str  # whose FID: "checkpoint", "method" or ""
    jpeg: bool
    images: NDArray[np.uint8]


def read_sources(folder: Path) -> list[Source]:
    """The CIFAR-10 sets of INDEX.tsv."""
    sources = []
    with (folder / "INDEX.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            name = row["folder"]
            if not name.startswith("cifar10_"):
                continue
            given = row["published FID"] or next(
                iter(re.findall(r"\. FID ([\d.]+) ", row["source"])), ""
            )
            fid, of = (float(given), "checkpoint") if given else (LITERATURE.get(name), "method")
            family = next((f for part, f in FAMILIES.items() if part in name), "GAN")
            with np.load(folder / f"{name}.npz", allow_pickle=False) as stored:
                images = stored["images"]
            lossy = " JPEG)" in row["source"] or "JPEG grid" in row["source"]
            sources.append(Source(name, family, fid, of if fid else "", lossy, images))
    return sources


def read_real(archive: Path) -> Tensor:
    """uint8 images (N, 3, 32, 32)."""
    images = []
    with tarfile.open(archive) as tar:
        for member in sorted((m for m in tar if m.isfile()), key=lambda m: m.name):
            with Image.open(tar.extractfile(member)) as image:
                images.append(np.asarray(image.convert("RGB")))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Two convolutions with batch norm beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.b = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.na, self.nb = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.short = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.nb(self.b(F.relu(self.na(self.a(x)))))
        return F.relu(h + self.short(x))


def residual_network() -> nn.Sequential:
    """A small residual network for 32 px: (N, 3, 32, 32) -> (N, 128)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, 1, 1),
        Block(32, 32, 1),
        Block(32, 64, 2),
        Block(64, 128, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class Inner(nn.Module):
    """EfficientNet-Lite0 up to one of its 16 blocks, each channel averaged."""

    def __init__(self, classifier: Any, block: int) -> None:
        super().__init__()
        self.stem, self.norm = classifier._conv_stem, classifier._bn0
        self.activate = classifier._swish
        self.blocks = nn.ModuleList(classifier._blocks[: block + 1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.activate(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return x.mean(dim=(2, 3))


def inner_encoder(side: int, block: int) -> FeatureNetwork:
    whole = load_feature_encoder(resolution=side)
    outer: Any = whole.module
    module = Preprocess(
        side,
        tuple(outer.mean.flatten().tolist()),
        tuple(outer.std.flatten().tolist()),
        Inner(outer.network.classifier, block),
    )
    return make_feature_encoder(module, kind=f"efficientnet-lite0-block-{block}", resolution=side)


def random_encoder() -> FeatureNetwork:
    """A small residual network with random weights, and moments of its batch norms for noise."""
    torch.manual_seed(1)
    body = residual_network().train()
    body(torch.randn(256, 3, 32, 32))  # running moments of the batch norms
    module = Preprocess(32, (0.5,) * 3, (0.25,) * 3, body)
    return make_feature_encoder(module, kind="random-residual", resolution=32)


def load_network(name: str) -> FeatureNetwork:
    """A network of `SETTINGS`."""
    if name.startswith("random"):
        return random_encoder()
    side, *block = map(int, re.findall(r"(\d+)(?: px| of)", name))
    return inner_encoder(side, block[0] - 1) if block else load_feature_encoder(resolution=side)


@dataclass(frozen=True)
class Seen:
    """One set as one network sees it: features (N, D), and by setting the points [C, V] (N, 2)."""

    features: Tensor
    points: dict[str, NDArray[np.float64]]


def see(folder: Path, encoder: FeatureNetwork, settings: Sequence[str], cache: Path) -> Seen:
    points, kept = {}, FolderCache(cache)
    scores = score_files([folder], encoder, config=FEATURES_ONLY, cache=kept)
    features = scores.features
    for name in settings:
        scores = score_files([folder], encoder, config=POINTS[name], cache=kept)
        vectors = anomaly_vectors(scores.complexity, scores.vulnerability)
        points[name] = vectors.numpy()
    return Seen(features, points)


def measures(real: Seen, other: Seen) -> dict[str, float]:
    """Every measure, larger = further from the real images."""
    manifold = manifold_metrics(real.features, other.features)
    found = {
        "FD": frechet_distance(real.features, other.features),
        "KD": kernel_distance(real.features, other.features),
        "precision": -manifold.precision,
        "coverage": -manifold.coverage,
    }
    for name, points in other.points.items():
        found[f"AS, {name}"] = ks2d_distance(real.points[name], points)
        found[f"mean AS-i, {name}"] = float(np.nanmean(points[:, 1] / points[:, 0]))
    return found


def drawn(seen: Seen, rows: NDArray[np.int64]) -> Seen:
    points = {name: values[rows] for name, values in seen.points.items()}
    return Seen(seen.features[torch.from_numpy(rows)], points)


def agreement(values: NDArray[np.float64], fid: NDArray[np.float64]) -> tuple[float, float]:
    """Spearman's and Kendall's correlation; 0 where all values are equal."""
    with np.errstate(all="ignore"):
        both = spearmanr(values, fid).statistic, kendalltau(values, fid).statistic
    return tuple(0.0 if np.isnan(x) else float(x) for x in both)  # type: ignore[return-value]


def concordant(
    values: NDArray[np.float64], fid: NDArray[np.float64], pairs: Sequence[Any]
) -> float:
    """Kendall's tau a of these pairs (i, j)."""
    signs = [np.sign(values[i] - values[j]) * np.sign(fid[i] - fid[j]) for i, j in pairs]
    return float(np.mean(signs))


def compare(
    network: str, real: Seen, others: dict[str, Seen], fids: dict[str, float], draws: int
) -> list[dict[str, Any]]:
    """All measures of one network: values by set, agreement with FID, and their intervals."""
    names, fid = list(fids), np.array(list(fids.values()))
    values = {name: measures(real, seen) for name, seen in others.items()}
    rng = np.random.default_rng(0)
    tried: list[dict[str, list[float]]] = []
    for _ in range(draws):
        again = drawn(real, rng.integers(len(real.features), size=len(real.features)))
        rows = [
            measures(
                again,
                drawn(
                    others[n], rng.integers(len(others[n].features), size=len(others[n].features))
                ),
            )
            for n in names
        ]
        tried.append({kind: [row[kind] for row in rows] for kind in rows[0]})
    outcome = []
    for kind in values[names[0]]:
        found = np.array([values[n][kind] for n in names])
        boot = np.array([draw[kind] for draw in tried])
        rho, tau = agreement(found, fid)
        between = np.array([agreement(row, fid) for row in boot])
        low, high = np.percentile(between, [2.5, 97.5], axis=0)
        pairs = [p for p in itertools.combinations(range(len(names)), 2) if fid[p[0]] != fid[p[1]]]
        sure = [
            (i, j)
            for i, j in pairs
            if max(np.mean(boot[:, i] > boot[:, j]), np.mean(boot[:, i] < boot[:, j])) >= 0.975
        ]
        right = sum((found[i] > found[j]) == (fid[i] > fid[j]) for i, j in sure)
        outcome.append(
            {
                "network": network,
                "measure": kind,
                "values": {n: values[n][kind] for n in values},
                "spearman": [rho, low[0], high[0]],
                "kendall": [tau, low[1], high[1]],
                "pairs": len(pairs),
                "told apart": len(sure),
                "rightly": int(right),
            }
        )
    return outcome


def left_out(
    rows: list[dict[str, Any]], families: dict[str, str], fids: dict[str, float]
) -> list[Any]:
    """For each family: the measure that agrees best without it, and how it orders its pairs."""
    names, fid = list(fids), np.array(list(fids.values()))
    pairs = [p for p in itertools.combinations(range(len(names)), 2) if fid[p[0]] != fid[p[1]]]
    outcome = []
    for kinds, wanted in (("any", ""), ("AS", "AS, ")):
        some = [row for row in rows if row["measure"].startswith(wanted)]
        for family in sorted(set(families.values())):
            inside = [
                p for p in pairs if family not in (families[names[p[0]]], families[names[p[1]]])
            ]
            with_it = [p for p in pairs if p not in inside]
            if not inside:
                continue
            vectors = [np.array([row["values"][n] for n in names]) for row in some]
            best = max(range(len(some)), key=lambda k: concordant(vectors[k], fid, inside))
            outcome.append(
                {
                    "among": kinds,
                    "family": family,
                    "chosen": [some[best]["network"], some[best]["measure"]],
                    "tau without": concordant(vectors[best], fid, inside),
                    "tau on its pairs": concordant(vectors[best], fid, with_it),
                    "its pairs": len(with_it),
                }
            )
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/anomaly-real"))
    parser.add_argument("--each", type=int, default=60, help="images of each generator")
    parser.add_argument("--real", type=int, default=200, help="real images")
    parser.add_argument("--draws", type=int, default=100, help="of the bootstrap")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    images = read_real(args.data / "cifar10" / "train.tar")
    order = torch.randperm(len(images), generator=stream(0, "held out"))
    held = order[: len(order) // 5]
    folder = args.work / "sets"
    write(images[held[: args.real]], folder / "real")
    write(images[held[args.real : args.real + args.each]], folder / "other-real")
    sources = [s for s in read_sources(args.data / "generated") if len(s.images) >= args.each]
    for source in sources:
        rng = stream(0, "tiles", source.name)
        rows = torch.randperm(len(source.images), generator=rng)[: args.each]
        tiles = torch.from_numpy(source.images).permute(0, 3, 1, 2)[rows]
        write(tiles, folder / source.name)
    fids = {s.name: s.fid for s in sources if s.fid is not None and not s.jpeg}
    families = {s.name: s.family for s in sources}
    rows, tests = [], {}
    for network, settings in SETTINGS.items():
        encoder = load_network(network)
        seen = {}
        for path in sorted(folder.iterdir()):
            seen[path.name] = see(path, encoder, settings, args.work / "cache")
            print(f"{network}: {path.name}", flush=True)
        real = seen.pop("real")
        rows += compare(network, real, seen, fids, args.draws)
        for name in settings:
            p = [
                permutation_test(real.points[name], s.points[name], draws=999).p_value
                for s in seen.values()
            ]
            adjusted = holm_adjusted(p).tolist()
            tests[f"{network}; {name}"] = dict(zip(seen, adjusted, strict=True))
    outcome = {
        "version": __version__,
        "command": shlex.join(["python", *sys.argv]),
        "each": args.each,
        "real": args.real,
        "sets": [
            {"name": s.name, "family": s.family, "fid": s.fid, "of": s.of, "jpeg": s.jpeg}
            for s in sources
        ],
        "measures": rows,
        "left out": left_out(rows, {n: families[n] for n in fids}, fids),
        "p against real": tests,
    }
    RESULT.write_text(json.dumps(outcome, indent=1) + "\n")


if __name__ == "__main__":
    main()
