"""The top contributors: their images, and what models make with and without them.

Fig. 3, 4, 6, 9-12.  The runs shown are those of the counterfactual evaluation: everybody, all but
the top 40 %, only the top 60 %.  Images of different models that stand at one place began at the
same noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import entr
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.credit.diffusion.properties import (
    Embedder,
    PixelEmbedder,
    nearest_clusters,
    ward_clusters,
)
from wherefrom.credit.evaluation.lds import counterfactual_runs
from wherefrom.credit.ledger.game import Bools, Floats, Ints, Planned, mask_of, members_of
from wherefrom.credit.method import OpenStudy, run_study
from wherefrom.credit.study.diffusion_run import DiffusionPlay
from wherefrom.credit.study.tools import Lab

WITHOUT, ONLY = 0.4, 0.6  # of the contributors, as in the paper
SAMPLES = 8  # images of a contributor or of a model that are shown
CLUSTERS = 20  # Section 4.2
REFERENCE = 2000  # images that clusters are made of; Ward's method is quadratic


@dataclass(frozen=True, eq=False)
class Scene:
    """Images of the model of one subset.

    `images`: uint8 (k, C, H, W), None where no such run is there; `value`: the mean property of
    `runs` runs.  `players`: who takes part.
    """

    title: str
    planned: Planned
    players: tuple[int, ...]
    images: Tensor | None
    value: float | None
    runs: int


@dataclass(frozen=True, eq=False)
class Portrait:
    """Images and facts of the contributors that a page shows.

    `order`: players, most credit first; the first `top` of them are the top ones.  `samples`: some
    images of each player.  `scenes` is empty for a game without models.  `uncertainty`: mean
    entropy, in nats, of a classifier over each player's images, (n,), None without a classifier.
    `clusters`: images by player and cluster, int64 (n, K); `generated`: those of the full model.
    """

    order: tuple[int, ...]
    top: int
    samples: tuple[Tensor, ...]
    counts: Ints
    scenes: tuple[Scene, ...]
    uncertainty: Floats | None
    clusters: Ints
    generated: Ints | None
    space: str

    @property
    def top_players(self) -> Bools:
        """Whether each player is at the top, bool (n,)."""
        return np.isin(np.arange(len(self.order)), self.order[: self.top])

    @property
    def variety(self) -> Floats:
        """Entropy in nats of the clusters in which each player's images fall, (n,).  Eq. 8."""
        total = self.clusters.sum(axis=1, keepdims=True)
        entropies: Floats = entr(self.clusters / np.maximum(total, 1)).sum(axis=1)
        return entropies

    @property
    def complete(self) -> bool:
        """Whether every model's images are there."""
        return all(scene.images is not None for scene in self.scenes)


def scene_runs(scores: Floats, seed: int) -> list[Planned]:
    """The runs that a portrait shows: everybody, without the top, only the top."""
    n, full = len(scores), (1 << len(scores)) - 1
    at_seed = counterfactual_runs({}, n, seed)[0].seed
    order = np.argsort(-scores, kind="stable")

    def top(share: float) -> int:
        count = min(max(round(share * n), 1), n - 1)
        return mask_of(np.isin(np.arange(n), order[:count]))

    masks = (full, full ^ top(WITHOUT), top(ONLY))
    return [Planned(mask, at_seed) for mask in masks]


def make_scenes(
    opened: OpenStudy, scores: Floats, *, device: str = "cpu", track: Track = quiet
) -> None:
    """Plan the runs that a portrait shows, and make whatever waits in the ledger.

    Nothing is run for a game without models.
    """
    if opened.lab is None:
        return
    with opened.ledger() as ledger:
        ledger.plan(scene_runs(scores, opened.study.config.study.seed))
    run_study(opened, runs=0, devices=(device,), track=track)


def portray(opened: OpenStudy, name: str, scores: Floats) -> Portrait:
    """Gather images and facts of contributors from finished runs; nothing is trained or run."""
    order = tuple(int(i) for i in np.argsort(-scores, kind="stable"))
    data, lab = opened.data, opened.lab
    scenes = _scenes(opened, name, scores)
    embedder: Embedder = PixelEmbedder() if lab is None else lab.describing_encoder()
    source = "" if lab is None else lab.other_encoder()
    everybody = scenes[0].images if scenes else None
    clusters, generated = _clusters(embedder, data.images, data.owner, data.players, everybody)
    return Portrait(
        order=order,
        top=min(max(round(WITHOUT * data.players), 1), data.players - 1),
        samples=tuple(_few(data.images[data.owner == p], SAMPLES) for p in range(data.players)),
        counts=data.counts().numpy(),
        scenes=scenes,
        uncertainty=_uncertainty(lab, name),
        clusters=clusters,
        generated=generated,
        space=source or "pixels",
    )


def _scenes(opened: OpenStudy, name: str, scores: Floats) -> tuple[Scene, ...]:
    if not isinstance(opened.play, DiffusionPlay):
        return ()
    n = opened.data.players
    planned = scene_runs(scores, opened.study.config.study.seed)
    with opened.ledger(readonly=True) as ledger:
        details = ledger.details()
    out, top = bin(planned[1].mask).count("1"), bin(planned[2].mask).count("1")
    titles = ("with all contributors", f"without the top {n - out}", f"with only the top {top}")
    scenes = []
    for title, run in zip(titles, planned, strict=True):
        same = [(key, each) for key, each, _ in details
                if each.mask == run.mask and each.status == "done"]  # fmt: skip
        # The seed that all three share first, then any.
        same.sort(key=lambda entry: entry[1].seed != run.seed)
        saved = [key for key, _ in same if (opened.play.outputs / key).is_dir()]
        values = [each.values[name] for _, each in same if name in each.values]
        images = None if not saved else opened.play.load(opened.play.outputs / saved[0])[0].images
        scenes.append(
            Scene(
                title,
                run,
                tuple(int(i) for i in np.flatnonzero(members_of(run.mask, n))),
                images,
                float(np.mean(values)) if values else None,
                len(values),
            )
        )
    return tuple(scenes)


def _uncertainty(lab: Lab | None, name: str) -> Floats | None:
    """Mean entropy of the classifier of an Inception Score over each contributor's images."""
    if lab is None:
        return None
    named = [each for each in lab.study.properties if each.kind == "inception-score"]
    if not named:
        return None
    asked = next((each for each in named if each.name == name), named[0])
    logits = lab.embedder(asked.encoder).logits(lab.data.images).double()
    entropy = torch.special.entr(F.softmax(logits, dim=1)).sum(1)
    return np.array([float(entropy[lab.data.owner == p].mean()) for p in range(lab.data.players)])


def _clusters(
    embedder: Embedder, images: Tensor, owner: Tensor, players: int, generated: Tensor | None
) -> tuple[Ints, Ints | None]:
    """Images by contributor and Ward cluster of the training images, and those of a model."""
    chosen = _few(torch.arange(len(images)), REFERENCE)
    known = embedder.features(images[chosen]).double()
    labels = None
    for count in range(min(CLUSTERS, len(known) // 2), 1, -1):
        try:
            labels = ward_clusters(known, count)
        except InputError:
            continue  # equal images form fewer clusters
        break
    if labels is None:
        return np.zeros((players, 0), dtype=np.int64), None

    def counted(some: Tensor) -> Tensor:
        return nearest_clusters(embedder.features(some).double(), known, labels)

    number = int(labels.max()) + 1
    given = counted(images)
    table = torch.stack(
        [torch.bincount(given[owner == p], minlength=number) for p in range(players)]
    ).numpy()
    by_size = np.argsort(-table.sum(axis=0), kind="stable")
    if generated is None:
        return table[:, by_size], None
    return table[:, by_size], torch.bincount(counted(generated), minlength=number).numpy()[by_size]


def _few(images: Tensor, count: int) -> Tensor:
    """At most `count` rows, spread evenly."""
    if len(images) <= count:
        return images
    return images[torch.arange(count) * len(images) // count]
