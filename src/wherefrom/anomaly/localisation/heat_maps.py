"""The contribution of each part of an image to its vulnerability.

Hwang, Lee, Lee: Anomaly Score, CVPR 2024, Supplement D.

Symbols:
    S      number of segments (super-pixels);  delta = x^J - x, the attack on the image
    v_t    (S,) in {0, 1}: segments attacked in trial t
    Y_t    |M(x + delta on the segments of v_t) - M(x)|_2
    W      (S,) contributions of the segments, in units of V

Deviation: by default W is by leave-one-out, W_i = V - Y(all but i): S forward passes, no draw.  The
paper's 20 trials are 20 equations for 21 unknowns; `method="paper"` has them, and least squares
then takes the solution of least norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from wherefrom.anomaly import equations
from wherefrom.anomaly.config import DEFAULT, AnomalyConfig
from wherefrom.anomaly.localisation.regression import regress
from wherefrom.anomaly.localisation.segments import grid_segments, slic_segments
from wherefrom.anomaly.measuring.features import attacked_image
from wherefrom.anomaly.measuring.items import check_images, digest_pixels
from wherefrom.core.compute.passes import in_passes
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.core.saving.json_text import finite
from wherefrom.encoders.features import FeatureEncoder

TOP = 3
PAPER_TRIALS = 20
ROWS = 4  # images per forward pass, always


@dataclass(frozen=True, kw_only=True)
class LocalisationConfig(Config):
    """Settings of `explain`."""

    method: str = setting(
        "leave-one-out",
        "how contributions are estimated",
        choices=("leave-one-out", "regression", "paper"),
    )
    segmentation: str = setting(
        "slic", "super-pixels that follow edges, or squares", choices=("slic", "grid")
    )
    segments: int = setting(20, "segments wanted", source="Supplement D: 20", low=2, high=400)
    trials: int = setting(
        200, "trials of the regression", source="Supplement D: 20, see paper", low=2
    )
    fewest: int = setting(3, "segments attacked in a trial, minimum", source="Supplement D", low=1)
    most: int = setting(6, "segments attacked in a trial, maximum", source="Supplement D", low=1)
    repeats: int = setting(
        4, "attacks, or sets of trials, whose contributions are averaged and compared", low=2
    )


@dataclass(frozen=True, eq=False)
class Localisation:
    """Contributions of the segments of one image.  Larger = more of the vulnerability."""

    segments: Tensor  # (H, W) int64, 0 .. S - 1
    contributions: Tensor  # W, (S,) float64: the mean over the repeats
    repeats: Tensor  # W of each repeat, (repeats, S) float64
    vulnerability: float  # V of the attack, the mean over the repeats
    method: str
    forwards: int  # images passed through the encoder for the contributions, one repeat

    @property
    def shares(self) -> Tensor:
        """Share of V that is lost when a segment alone is left clean, (S,) float64.

        Shares need not add up to 1: segments work together.
        """
        return self.contributions / self.vulnerability

    @property
    def top(self) -> list[int]:
        """The segments with the three largest contributions, largest first."""
        return _top(self.contributions)

    @property
    def stability(self) -> float:
        """Mean overlap of the top three between repeats, in [0, 1]: 1 when all agree."""
        tops = [set(_top(row)) for row in self.repeats]
        pairs = [(a, b) for i, a in enumerate(tops) for b in tops[:i]]
        return sum(len(a & b) / len(a) for a, b in pairs) / len(pairs)

    @property
    def correlation(self) -> float:
        """Mean Pearson correlation of the contributions between repeats."""
        matrix = torch.corrcoef(self.repeats)
        below = torch.tril_indices(len(matrix), len(matrix), offset=-1)
        return float(matrix[below[0], below[1]].mean())

    @property
    def reliability(self) -> float:
        """Correlation to expect between the mean contributions of two such runs.

        Spearman-Brown: k r / (1 + (k - 1) r) of the correlation r between k repeats.
        """
        k, r = len(self.repeats), self.correlation
        return k * r / (1 + (k - 1) * r)

    def to_dict(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "segments": len(self.contributions),
            "vulnerability": self.vulnerability,
            "contributions": self.contributions.tolist(),
            "shares": self.shares.tolist(),
            "top": self.top,
            "stability": self.stability,
            "correlation": finite(self.correlation),
            "reliability": finite(self.reliability),
            "forwards": self.forwards,
        }


def explain(
    image: Tensor,
    encoder: FeatureEncoder,
    *,
    config: AnomalyConfig = DEFAULT,
    localisation: LocalisationConfig = LocalisationConfig(),
    segments: Tensor | None = None,
    seed: int = 0,
) -> Localisation:
    """Contributions of the segments of one image (3, H, W) float in [0, 1] to its vulnerability.

    `segments` (H, W) int64, 0 .. S - 1, replaces the segmentation.  Leave-one-out repeats the
    attack from another start; the regressions repeat attack and trials.
    """
    check_images(image[None])
    if not encoder.differentiable:
        raise InputError(
            f"the encoder {encoder.identity.kind} passes no gradient to its images, so there is no "
            "vulnerability to explain; use another encoder"
        )
    image = image.float()
    parts = _segments(image, localisation) if segments is None else _checked(segments, image)
    rows, total, forwards = [], 0.0, 0
    for which in range(localisation.repeats):
        attacked = attacked_image(image, encoder, config=config, seed=seed, which=which)
        x = image.to(encoder.device)
        game = _Game(x, attacked - x, parts.to(x.device), encoder)
        W, forwards = _contributions(game, localisation, seed=seed, which=which)  # noqa: N806
        rows.append(W)
        total += game.vulnerability
    stacked = torch.stack(rows)
    return Localisation(
        segments=parts,
        contributions=stacked.mean(dim=0),
        repeats=stacked,
        vulnerability=total / localisation.repeats,
        method=localisation.method,
        forwards=forwards,
    )


@dataclass(frozen=True, eq=False)
class _Game:
    """An attack on an image, of which any choice of segments can be applied alone."""

    image: Tensor
    delta: Tensor
    segments: Tensor
    encoder: FeatureEncoder

    @property
    def count(self) -> int:
        """The number of segments, S."""
        return int(self.segments.max()) + 1

    @cached_property
    def ends(self) -> Tensor:
        """M(x) and M(x^J), (2, D)."""
        return self.features(torch.tensor([[0.0] * self.count, [1.0] * self.count]))

    @property
    def vulnerability(self) -> float:
        """V of the whole attack; an `InputError` if it moves no feature."""
        total = float(equations.vulnerability(*self.ends))
        if not total > 0:
            raise InputError("the attack moves no feature of this image, so no segment contributes")
        return total

    @torch.no_grad()
    def features(self, v: Tensor) -> Tensor:
        """M(x + delta on the chosen segments), (T, D), of choices v (T, S) in {0, 1}."""

        def attacked(part: Tensor) -> Tensor:
            return self.encoder.features(self.image + self.delta * part[:, self.segments][:, None])

        return in_passes(attacked, v.to(self.image), size=ROWS)

    def changes(self, v: Tensor) -> Tensor:
        """Y of choices v (T, S), (T,) float64."""
        return equations.vulnerability(self.ends[0], self.features(v)).cpu()


def _contributions(
    game: _Game, config: LocalisationConfig, *, seed: int, which: int
) -> tuple[Tensor, int]:
    whole = game.vulnerability
    if config.method == "leave-one-out":
        return whole - game.changes(1 - torch.eye(game.count)), game.count
    trials = PAPER_TRIALS if config.method == "paper" else config.trials
    v = _trials(
        game.count, trials, config, stream(seed, "localise", digest_pixels(game.image), which)
    )
    return regress(v, game.changes(v)), trials


def _trials(count: int, trials: int, config: LocalisationConfig, rng: torch.Generator) -> Tensor:
    """v (trials, S): each attacks `fewest` to `most` segments drawn without repetition."""
    low, high = min(config.fewest, count), min(config.most, count)
    if low > high:
        raise InputError(f"a trial attacks {low} to {high} segments; fewest must not exceed most")
    v = torch.zeros(trials, count)
    sizes = torch.randint(low, high + 1, (trials,), generator=rng)
    for row, size in zip(v, sizes.tolist(), strict=True):
        row[torch.randperm(count, generator=rng)[:size]] = 1
    return v


def _segments(image: Tensor, config: LocalisationConfig) -> Tensor:
    make = grid_segments if config.segmentation == "grid" else slic_segments
    return make(image, config.segments)


def _checked(segments: Tensor, image: Tensor) -> Tensor:
    if segments.shape != image.shape[1:] or segments.dtype != torch.int64:
        raise InputError(
            f"segments are {segments.dtype} {tuple(segments.shape)}, expected int64 "
            f"{tuple(image.shape[1:])}"
        )
    count = int(segments.max()) + 1
    if (
        int(segments.min()) < 0
        or count < 2
        or len(torch.bincount(segments.flatten()).nonzero()) != count
    ):
        raise InputError("segments must be numbered 0 to S - 1, every number in use, S at least 2")
    return segments


def _top(values: Tensor) -> list[int]:
    order: list[int] = values.argsort(descending=True, stable=True)[:TOP].tolist()
    return order
