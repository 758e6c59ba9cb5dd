"""One p-value per image: is it less natural than real images, by four kinds of evidence?

    damage     a linear function of a network's layers and of the frequencies, learned from real
               images that were altered on purpose (`practice`)
    mixture    the same, learned from smooth blends of two real images
    features   distance of the inner layers from those of real images (Mahalanobis)
    spectrum   distance of the file's frequencies from those of real images (Mahalanobis)

The real images are parted by content in three.  One part shapes the four scores.  A second brings
them to one scale, the surprise: minus the logarithm of the share of real images that score as high,
by their ranks up to the `HIGH` quantile, by an exponential tail above it.  The score of an image is
the largest of its four.  The third part gives its conformal p-value, and one for each kind by
itself: an image like those real ones is flagged with probability at most the rate asked for,
whatever the network, the practice and the tail.

The layers are those of EfficientNet-Lite0 (`encoders.efficientnet.LAYERS`).  Complexity and
vulnerability take no part: `anomaly.score` judges by them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from wherefrom.anomaly.calibration.judgement import FalseAlarms
from wherefrom.anomaly.damage.measuring import (
    MeasuredImages,
    choose_side,
    in_groups,
    learned_values,
    measure,
    read_all,
)
from wherefrom.anomaly.damage.practice import MIXTURE, PRACTICE, practise
from wherefrom.anomaly.measuring.items import Paths, as_paths
from wherefrom.calibration.conformal import guaranteed_rate, require_rate, upper_p_values
from wherefrom.calibration.discovery import discoveries
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.data.files.opening import SkippedFile
from wherefrom.data.folders import list_images
from wherefrom.data.images.in_memory import Pictures, as_files, shown_name
from wherefrom.data.images.notebook import AsTable, Rows
from wherefrom.data.images.writing import to_uint8
from wherefrom.data.splits import split_indices, spread_indices
from wherefrom.encoders.efficientnet import load_layer_moments
from wherefrom.encoders.encoder import EncoderIdentity
from wherefrom.encoders.features import FeatureNetwork

EVIDENCE = ("damage", "mixture", "features", "spectrum")
SHARES = {"shape": 0.5, "scale": 0.15}  # of the real images; the rest is held out
MIN_PARTS = {"shape": 12, "scale": 8, "held": 10}
MIN_REAL = 40
LIMIT = 8.0  # deviations to which a standardised moment is cut
TINY = 1e-6
PENALTY = {"damage": 1e-2, "mixture": 1e-3}  # C of the logistic regressions
INNER = slice(0, 2 * (24 + 40 + 80 + 112))  # moments of the first four layers
HIGH = 0.9  # quantile above which the tail is taken as exponential
SLOPE = 1e-6  # of the surprise below the lowest score, so that no two scores are tied
TENSORS = (
    "centre",
    "spread",
    "weights",
    "offsets",
    "inner_precision",
    "spectrum_centre",
    "spectrum_spread",
    "spectrum_precision",
    "scale_scores",
    "held_scores",
)
WORDS = {
    "damage": "it resembles images damaged on purpose more than {} of real images do",
    "mixture": "it resembles blends of two images more than {} of real images do",
    "features": "its textures and shapes are rarer than those of {} of real images",
    "spectrum": "its mix of frequencies is rarer than that of {} of real images",
}


@dataclass(frozen=True, kw_only=True)
class DamageConfig(Config):
    """Settings of `fit_damage_test`."""

    real: int = setting(2000, "real images that are used, at most, spread over all", low=40)
    practised: int = setting(300, "real images that are altered for practice, at most", low=12)
    side: int = setting(
        0, "px at which the network sees images; 0: 96 for images up to 96 px, else 224", low=0
    )


@dataclass(frozen=True, eq=False)
class DamageTest(Artifact):
    """Four scores fitted to real images, and those of held-out ones.  Larger = less natural."""

    kind: ClassVar[str] = "anomaly/damage"
    schema: ClassVar[int] = 1
    config: DamageConfig
    encoder: EncoderIdentity
    centre: Tensor  # (F,) float64, of the values that are learned from
    spread: Tensor  # (F,) float64
    weights: Tensor  # (2, F) float64: of damage and mixture
    offsets: Tensor  # (2,) float64
    inner_precision: Tensor  # (D, D) float64, of the standardised values of the inner layers
    spectrum_centre: Tensor  # (73,) float64
    spectrum_spread: Tensor
    spectrum_precision: Tensor  # (73, 73) float64
    scale_scores: Tensor  # (n, 4) float64, rising: the scores that make the common scale
    held_scores: Tensor  # (m, 4) float64, on the common scale
    provenance: Mapping[str, Any]

    def standardised(self, values: Tensor) -> Tensor:
        """Values (N, F) by centre and spread, cut at 8 deviations."""
        return ((values - self.centre) / self.spread).clamp(-LIMIT, LIMIT)

    def scores(self, measured: MeasuredImages) -> Tensor:
        """The four scores of N images on the common scale, (N, 4) float64."""
        raw = self.raw_scores(measured)
        return torch.stack(
            [surprise(raw[:, k], self.scale_scores[:, k]) for k in range(len(EVIDENCE))], dim=1
        )

    def raw_scores(self, measured: MeasuredImages) -> Tensor:
        """The four scores of N images, each on its own scale, (N, 4) float64."""
        z = self.standardised(measured.values)
        s = (measured.spectra - self.spectrum_centre) / self.spectrum_spread
        far = [
            _log_distance(z[:, INNER], self.inner_precision),
            _log_distance(s, self.spectrum_precision),
        ]
        return torch.cat([z @ self.weights.T + self.offsets, torch.stack(far, dim=1)], dim=1)

    def network(self) -> FeatureNetwork:
        """The network; an `InputError` where the installed one is another."""
        network = load_layer_moments(self.encoder.resolution)
        self.encoder.require_same(network.identity, what="this test of damage")
        return network

    def to_saved(self) -> Saved:
        meta = {
            "config": self.config.to_dict(),
            "encoder": self.encoder.to_dict(),
            "provenance": dict(self.provenance),
        }
        return Saved(meta, {name: getattr(self, name) for name in TENSORS})

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        return cls(
            config=DamageConfig.from_dict(saved.meta["config"]),
            encoder=EncoderIdentity.from_dict(saved.meta["encoder"]),
            provenance=saved.meta["provenance"],
            **{name: saved.tensors[name] for name in TENSORS},
        )


@dataclass(frozen=True)
class DamageRow:
    """One image.  `evidence`: the kind with the largest score; `p_by_evidence`: each by itself.

    `flagged`: by itself, or together with the others where that was asked for; `discovery`: it
    stands out within the whole folder.
    """

    name: str
    digest: str
    score: float  # the largest of the four, on the common scale
    p_value: float
    flagged: bool
    discovery: bool
    evidence: str
    p_by_evidence: Mapping[str, float]
    reason: str


@dataclass(frozen=True)
class DamageReport(AsTable):
    """Images, worst first.

    `flags`: how many are flagged, and how many real ones would be.  `discovery` in a row: of the
    images so marked, at most the share `discovery_rate` are like the real ones on average
    (Benjamini-Hochberg).
    """

    IMAGE = "name"

    images: tuple[DamageRow, ...]
    flags: FalseAlarms
    discovery_rate: float
    skipped: tuple[SkippedFile, ...]

    @property
    def message(self) -> str:
        """The counts in one sentence."""
        in_folder = sum(row.discovery for row in self.images)
        return f"{self.flags.message}; {in_folder} stand out within the whole folder"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "skipped": [file.to_dict() for file in self.skipped]}

    def as_table(self) -> tuple[Rows, str]:
        return self.to_dict()["images"], self.message


def fit_damage_test(
    real: Paths,
    *,
    config: DamageConfig = DamageConfig(),
    practice: Sequence[str] = tuple(PRACTICE),
    seed: int = 0,
    track: Track = quiet,
) -> DamageTest:
    """A test of damage, fitted to the files of real images and calibrated on others of them.

    `practice`: the kinds of alteration that are learned.  At least 40 different images are needed,
    and 2.9 / rate for a rate of false alarms.  What cannot be read is left out, and counted in
    `provenance`.  `InputError` for too few.
    """
    return shape_test(measure_real(real, config=config, seed=seed, track=track), practice)


def find_damage(
    images: Pictures,
    against: DamageTest,
    *,
    false_alarms: float = 0.01,
    confidence: float = 0.0,
    false_discovery_rate: float | None = None,
    network: FeatureNetwork | None = None,
    track: Track = quiet,
) -> DamageReport:
    """Rank image files, the files below folders, or images in memory, worst first.

    An image like the held-out real ones is flagged with probability at most `false_alarms`: on
    average over held-out sets, or with a `confidence` above 0 for the set at hand.  With a
    `false_discovery_rate` the images are flagged together instead: at most this share of the
    flagged ones is like the real ones, on average.  A rate that the number of held-out images
    cannot support is an `InputError`.  `network`: the test's own, where it is loaded already.
    """
    count, what = len(against.held_scores), "false-alarm rate"
    require_rate(false_alarms, count, what=what)
    limit = guaranteed_rate(false_alarms, count, confidence, what=what)
    together = false_alarms if false_discovery_rate is None else false_discovery_rate
    network = network or against.network()
    skipped: list[SkippedFile] = []
    read: list[tuple[str, str]] = []  # name and digest
    parts: list[Tensor] = []
    with as_files(images) as paths:
        files = list_images(paths, once=True)
        for group in in_groups(read_all(files, network.resolution, skipped, track)):
            parts.append(against.scores(measure(group, network)))
            read += [(shown_name(str(seen.path), images), seen.digest) for seen in group]
    if not read:
        nothing = FalseAlarms(false_alarms, 0, 0, count, confidence, false_discovery_rate)
        return DamageReport((), nothing, together, tuple(skipped))
    scores, held = torch.cat(parts), against.held_scores
    largest = scores.max(dim=1)
    p_values = upper_p_values(largest.values, held.amax(dim=1))
    single = [upper_p_values(scores[:, k], held[:, k]) for k in range(len(EVIDENCE))]
    discovered = discoveries(p_values.tolist(), together)
    flagged = p_values <= limit if false_discovery_rate is None else discovered
    rows = []
    for i in sorted(range(len(read)), key=lambda i: (-float(largest.values[i]), read[i][0])):
        by_evidence = {kind: float(p[i]) for kind, p in zip(EVIDENCE, single, strict=True)}
        strongest = EVIDENCE[int(largest.indices[i])]
        rows.append(
            DamageRow(
                name=read[i][0],
                digest=read[i][1],
                score=float(largest.values[i]),
                p_value=float(p_values[i]),
                flagged=bool(flagged[i]),
                discovery=bool(discovered[i]),
                evidence=strongest,
                p_by_evidence=by_evidence,
                reason=WORDS[strongest].format(f"{1 - by_evidence[strongest]:.1%}"),
            )
        )
    flags = FalseAlarms(
        false_alarms, int(flagged.sum()), len(rows), count, confidence, false_discovery_rate
    )
    return DamageReport(tuple(rows), flags, together, tuple(skipped))


@dataclass(frozen=True, eq=False)
class MeasuredReal:
    """Real images, measured by their use, and altered ones (n, F) by kind."""

    config: DamageConfig
    encoder: EncoderIdentity
    parts: Mapping[str, MeasuredImages]  # shape, scale and held
    altered: Mapping[str, Tensor]
    provenance: Mapping[str, Any]


def measure_real(
    real: Paths, *, config: DamageConfig = DamageConfig(), seed: int = 0, track: Track = quiet
) -> MeasuredReal:
    """What `shape_test` needs of real images: everything that takes time."""
    paths = as_paths(real)
    network = load_layer_moments(config.side or choose_side(paths))
    skipped: list[SkippedFile] = []
    every = list_images(paths, once=True)
    files = [every[row] for row in spread_indices(len(every), config.real)] if every else []
    by_content = {s.digest: s for s in read_all(files, network.resolution, skipped, track)}
    seen = [by_content[digest] for digest in sorted(by_content)]
    if len(seen) < MIN_REAL:
        raise InputError(
            f"the test of damage got {len(seen)} different real images; at least {MIN_REAL} are "
            "needed, and 2.9 / rate for a rate of false alarms"
        )
    sizes = {name: max(MIN_PARTS[name], round(share * len(seen))) for name, share in SHARES.items()}
    sizes["held"] = len(seen) - sum(sizes.values())
    rows = split_indices([s.digest for s in seen], sizes, seed=seed)
    parts = {
        name: measure([seen[row] for row in part], network)
        for name, part in track(rows.items(), "features of real images", total=len(rows))
    }
    chosen = [seen[row] for row in rows["shape"][: config.practised]]
    values: dict[str, list[Tensor]] = {kind: [] for kind in (*PRACTICE, MIXTURE)}
    for row, image in enumerate(track(chosen, "practising", total=len(chosen))):
        partner = _fitting(chosen[row - 1].image, image.image)
        images = practise(image.image, partner, image.digest, seed=seed)
        altered = learned_values([to_uint8(images[kind]) for kind in values], network)
        for kind, value in zip(values, altered, strict=True):
            values[kind].append(value)
    notes = {"images": sizes, "given": len(every), "skipped": len(skipped), "seed": seed}
    stacked = {kind: torch.stack(rows) for kind, rows in values.items()}
    return MeasuredReal(config, network.identity, parts, stacked, notes)


def shape_test(real: MeasuredReal, practice: Sequence[str] = tuple(PRACTICE)) -> DamageTest:
    """The test of damage that learns from these kinds of alteration."""
    from sklearn.covariance import ledoit_wolf

    values, spectra = real.parts["shape"].values, real.parts["shape"].spectra
    centre, spread = values.mean(dim=0), values.std(dim=0) + TINY
    z = ((values - centre) / spread).clamp(-LIMIT, LIMIT)
    altered = {
        "damage": torch.cat([real.altered[kind] for kind in practice]),
        "mixture": real.altered[MIXTURE],
    }
    learned = [
        _separating(z, ((rows - centre) / spread).clamp(-LIMIT, LIMIT), PENALTY[kind])
        for kind, rows in altered.items()
    ]
    at, by = spectra.mean(dim=0), spectra.std(dim=0) + TINY
    covariance, _ = ledoit_wolf(z[:, INNER].numpy())
    of_spectra, _ = ledoit_wolf(((spectra - at) / by).numpy())
    shaped = DamageTest(
        config=real.config,
        encoder=real.encoder,
        centre=centre,
        spread=spread,
        weights=torch.stack([weights for weights, _ in learned]),
        offsets=torch.stack([offset for _, offset in learned]),
        inner_precision=torch.linalg.inv(torch.from_numpy(covariance)),
        spectrum_centre=at,
        spectrum_spread=by,
        spectrum_precision=torch.linalg.inv(torch.from_numpy(of_spectra)),
        scale_scores=torch.empty(0),
        held_scores=torch.empty(0),
        provenance={**real.provenance, "practice": list(practice)},
    )
    scale = shaped.raw_scores(real.parts["scale"]).sort(dim=0).values
    scaled = replace(shaped, scale_scores=scale)
    return replace(scaled, held_scores=scaled.scores(real.parts["held"]))


def surprise(scores: Tensor, reference: Tensor) -> Tensor:
    """-log of the share of real images that score as high, of scores (N,), (N,) float64.

    `reference`: scores (n,) of real images, rising.  Up to their `HIGH` quantile h the shares are
    interpolated; above, with a the mean of s - h over those above h,

        surprise(s) = -log(1 - HIGH) + (s - h) / a
    """
    count = len(reference)
    shares = (count - torch.arange(count, dtype=torch.float64) - 0.5) / count
    high = torch.quantile(reference, HIGH)
    excess = (reference[reference > high] - high).mean().nan_to_num(1.0).clamp_min(TINY)
    at_high = -math.log(1 - HIGH)
    low = np.interp(scores.numpy(), reference.numpy(), (-shares.log()).numpy())
    middle = torch.from_numpy(low).clamp_max(at_high)
    tail: Tensor = torch.where(scores > high, at_high + (scores - high) / excess, middle)
    return tail + SLOPE * (scores - high) / excess


def _separating(z: Tensor, altered: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights (F,) and offset of a logistic regression: real images z against altered ones.

    The real images weigh as much as all altered ones together.
    """
    from sklearn.linear_model import LogisticRegression

    labels = [0] * len(z) + [1] * len(altered)
    weight = [len(altered) / len(z)] * len(z) + [1.0] * len(altered)
    model = LogisticRegression(C=penalty, max_iter=500)
    model.fit(torch.cat([z, altered]).numpy(), labels, sample_weight=weight)
    return torch.from_numpy(model.coef_[0]), torch.tensor(float(model.intercept_[0])).double()


def _fitting(image: Tensor, like: Tensor) -> Tensor:
    """The image at the size of another."""
    size = list(like.shape[1:])
    if list(image.shape[1:]) == size:
        return image
    return torch.nn.functional.interpolate(image[None], size, mode="bicubic", antialias=True)[0]


def _log_distance(z: Tensor, precision: Tensor) -> Tensor:
    """Half the logarithm of the squared Mahalanobis distance of rows (N, D), (N,) float64."""
    squares = ((z @ precision) * z).sum(dim=1)
    distance: Tensor = squares.clamp_min(TINY).log() / 2
    return distance
