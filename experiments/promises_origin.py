"""What a search for origins promises, simulated: the encoder is spelled out, the rest is real.

The world: photographs are independent normal vectors, an edit is its origin plus noise.  The
encoder gives an image's own numbers back, so that `Index`, `Matcher`, the calibration, the answers
and the control of a folder run as they are, without files.  In the world with series the
photographs are bursts of four: a series is left out as a whole, and counts as one answer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from promise import Promise, Values
from torch import Tensor

from wherefrom.core.rng import derive_seed
from wherefrom.encoders import Encoder
from wherefrom.origin import AnswerKind, OriginAnswer, SearchConfig
from wherefrom.origin.calibration.discovery import control_discoveries
from wherefrom.origin.index.index import Index
from wherefrom.origin.reranking.scores import Originals
from wherefrom.origin.searching.cascade import Basis, CopySearch, answer_of, same_file
from wherefrom.origin.searching.decision import NullScores, make_null
from wherefrom.origin.searching.matching import Matcher, RankedCandidates

NUMBERS, INDEXED = 16, 80
CONFIG = SearchConfig(views="none", rerank=False)
NOISE = 0.5  # of an edit, in deviations of a photograph
# With series: longer photographs, because bursts must stand out among pairs; in bursts of so many
# that differ by so much.
SERIES_NUMBERS, BURST, APART = 256, 4, 0.4


@dataclass(frozen=True)
class Spelled:
    """An encoder of images that are their own latents, (N, NUMBERS, 1, 1)."""

    def latents(self, images: Tensor) -> Tensor:
        """As given."""
        return images


@dataclass(frozen=True)
class World:
    """An index of photographs, and draws of further ones."""

    index: Index
    photographs: Tensor  # (INDEXED, NUMBERS)
    rng: np.random.Generator
    series: dict[int, Tensor] = field(default_factory=dict)  # of images: the ids, as far as known

    def fresh(self, count: int) -> Tensor:
        """Photographs that are not in the index."""
        size = count, self.photographs.shape[1]
        return torch.from_numpy(self.rng.normal(size=size)).float()

    def edited(self, photographs: Tensor) -> Tensor:
        """An edit of each."""
        drawn = torch.from_numpy(self.rng.normal(size=tuple(photographs.shape))).float()
        return photographs + NOISE * drawn

    def rankings(self, edits: Tensor, left_out: Tensor | None = None) -> list[RankedCandidates]:
        """As `References.search`; with `left_out` (N,) as `References.calibrate`."""
        encoder = cast(Encoder, Spelled())
        matcher = Matcher(self.index, self.index, encoder, None, CONFIG, Originals(encoder))
        out = None
        if left_out is not None:
            finder = matcher.finder(None)
            for image in set(left_out.tolist()) - self.series.keys():
                self.series[image] = torch.tensor(finder.around([image]))
            out = [self.series[image] for image in left_out.tolist()]
        rankings = matcher.rank(edits[:, :, None, None], left_out=out)
        return cast(list[RankedCandidates], rankings)  # no vector of this world is unusable

    def calibration(self, count: int, *, rate: float, rows: Tensor | None = None) -> NullScores:
        """On edits of `count` origins elsewhere, and of those in `rows`, which are left out."""
        rankings = self.rankings(self.edited(self.fresh(count))) if count else []
        if rows is not None:
            rankings += self.rankings(self.edited(self.photographs[rows]), rows + 1)
        values = [one.prominence(CONFIG.statistic) for one in rankings]
        details: dict[str, Any] = {
            "indexed": INDEXED,
            "settings": CONFIG.to_dict(),
            "provenance": {},
        }
        return make_null(torch.tensor(values, dtype=torch.float64), rate, **details)

    def answers(self, edits: Tensor, null: NullScores) -> list[OriginAnswer]:
        """What a search says of these edits."""
        basis, nothing = Basis(self.index, null, CONFIG), CopySearch(None)
        return [
            answer_of(Path(f"suspect {i}"), f"sha256:{i:064x}", one, nothing, basis)
            for i, one in enumerate(self.rankings(edits))
        ]


@contextmanager
def world(seed: int, *, series: bool = False) -> Iterator[World]:
    """A fresh index in a folder of its own; with `series` its photographs are bursts."""
    rng = np.random.default_rng(seed)
    size = (INDEXED, SERIES_NUMBERS) if series else (INDEXED, NUMBERS)
    drawn = rng.normal(size=size)
    if series:
        drawn = drawn[::BURST].repeat(BURST, axis=0) + APART * drawn
    photographs = torch.from_numpy(drawn).float()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "refs.index"
        with Index.create(path, dim=size[1], identity={"world": seed}) as index:
            names = [f"/{i}.png" for i in range(INDEXED)]
            index.add(names, [f"sha256:{i:064x}" for i in range(INDEXED)], photographs)
            yield World(index, photographs, rng)


def false_alarms(replays: int, seed: int) -> Values:
    """One edit of a photograph that is not in the index, by calibrations of 39 such edits."""
    with world(seed) as made:
        alarms = []
        for _ in range(replays):
            null = made.calibration(39, rate=0.05)
            (answer,) = made.answers(made.edited(made.fresh(1)), null)
            alarms.append(float(answer.answer is AnswerKind.EDIT))
    return np.array(alarms)


def false_alarms_left_out(replays: int, seed: int) -> Values:
    """The same, by calibrations of 39 edits whose origins are in the index and left out."""
    with world(seed) as made:
        alarms = []
        for _ in range(replays):
            rows = torch.from_numpy(made.rng.permutation(INDEXED)[:39])
            null = made.calibration(0, rate=0.05, rows=rows)
            (answer,) = made.answers(made.edited(made.fresh(1)), null)
            alarms.append(float(answer.answer is AnswerKind.EDIT))
    return np.array(alarms)


def false_alarms_series(replays: int, seed: int) -> Values:
    """Of 10 edits of photographs elsewhere, by one edit of each of 19 left-out bursts.

    Each replay has an index of its own: there are few bursts in one.
    """
    shares = []
    for replay in range(replays):
        with world(derive_seed(seed, "series", replay), series=True) as made:
            bursts = torch.from_numpy(made.rng.permutation(INDEXED // BURST)[:19])
            null = made.calibration(0, rate=0.05, rows=bursts * BURST)
            answers = made.answers(made.edited(made.fresh(10)), null)
            shares.append(np.mean([one.answer is AnswerKind.EDIT for one in answers]))
    return np.array(shares)


def false_origins(replays: int, seed: int) -> Values:
    """60 edits without an origin here, 12 with one, and 1,000 copies of indexed photographs."""
    with world(seed) as made:
        (image,) = made.index.get([1])
        basis = Basis(made.index, None, CONFIG)
        copies = [same_file(Path("copy"), image.digest, basis)] * 1000
        shares = []
        for _ in range(replays):
            null = made.calibration(99, rate=0.2)
            some = made.photographs[torch.from_numpy(made.rng.permutation(INDEXED)[:12])]
            suspects = torch.cat([made.edited(made.fresh(60)), made.edited(some)])
            answers = [*filter(None, copies), *made.answers(suspects, null)]
            outcomes = control_discoveries(answers, 0.1)[len(copies) :]
            named = np.array([one.answer is AnswerKind.EDIT for one in outcomes])
            shares.append(float(named[:60].sum()) / max(1, int(named.sum())))
    return np.array(shares)


PROMISES = (
    Promise(
        "origin named for an image without one",
        "an image without an origin in the index is called 'made from' one of its images with "
        "probability at most the rate of false alarms",
        "it is exchangeable with the edits of the calibration",
        "origin/searching/decision.py, origin/searching/matching.py, calibration/conformal.py",
        0.05,
        false_alarms,
        suite=40,
    ),
    Promise(
        "origin named, calibrated with left-out origins",
        "the same, where the origins of the calibration's edits are in the index and left out",
        "the index with one image less is like the index",
        "origin/searching/decision.py: moments_without, origin/searching/matching.py: merge",
        0.05,
        false_alarms_left_out,
        suite=30,
    ),
    Promise(
        "origin named, calibrated with left-out origins among series",
        "the same, where the index holds series of near-duplicates: the series of an origin is "
        "left out as a whole, and one edit per series is used",
        "the index with one series less is like the index",
        "origin/joint/series.py, origin/calibration/calibrating.py: search_without_origins",
        0.05,
        false_alarms_series,
        suite=18,
    ),
    Promise(
        "false origins in a folder",
        "of the answers 'made from', at most the false-discovery rate are of images without an "
        "origin in the index on average",
        "these are exchangeable with the edits of the calibration; any number of copies lie beside",
        "origin/calibration/discovery.py, calibration/discovery.py",
        0.1,
        false_origins,
        suite=13,
    ),
)
