"""SM-Inv: how well the model can reconstruct an image, by gradient search for its latent.

Laszkiewicz et al., ICML 2024, App. E and G.7, after Albright and McCloskey: Source Generator
Attribution via Inversion, CVPR Workshops 2019.  Two methods: SM-Inv_2 compares pixels, SM-Inv_inc
the features of a pretrained network.

Symbols:
    x    image, D values in [0, 1]
    z    latent
    d    distance of x and G(z): || x - G(z) ||_2 / D, or the same of features

Nothing is trained: the calibration images carry all of it.

Deviation: what is minimised is the mean square, d's own minimum without its kink at 0.
Deviation: of every attempt the best step counts; the paper does not say which, and Adam's last step
at this rate is rarely the best one.
Deviation: every image starts from the same latents, drawn once per fit; attempts that differed by
image would make a score depend on more than the image.
Deviation: columns of a table count in the spread of own rows.
Deviation: images are in [0, 1], the official code's in [-1, 1]: d is half as large.
Deviation: the default network is EfficientNet-Lite0, which installs with pip; the paper's is
Inception-V3 (`features = "inception-v3"`, from the hub's cache).
Deviation: the features compared are those after global pooling; the official code stops Inception
at Mixed_5d.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.protocol import (
    NUMBERS,
    FitMaterial,
    Method,
    SavedScorer,
    Scorer,
)
from wherefrom.core.compute.passes import in_passes
from wherefrom.core.config import setting
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.rng import stream
from wherefrom.encoders import DEFAULT_FEATURES, FeatureNetwork, load_feature_encoder
from wherefrom.generators.generator import Generator

ADAM_BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8
MIN_RESOLUTION = 32  # the default network halves its input five times
UNIT_SAMPLES = 1000  # own rows behind the units of their columns

# Images (N, C, H, W) in [0, 1] -> what is compared, (N, ...), with its gradient.
View = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig(AttributionConfig):
    """Settings of SM-Inv."""

    calibration_samples: int = setting(
        200,
        "own images held out to calibrate p-values, and at most as many others",
        source="App. G.7: 10000",
        low=20,
    )
    restarts: int = setting(10, "attempts per image", source="App. G.7", low=1)
    steps: int = setting(1000, "steps of Adam per attempt", source="App. G.7", low=1)
    learning_rate: float = setting(0.1, "Adam's step", source="App. G.7", low=0.0)
    chunk: int = setting(
        1, "images reconstructed together; a GPU wants more, a CPU does not", low=1
    )


@dataclass(frozen=True, kw_only=True)
class FeatureReconstructionConfig(ReconstructionConfig):
    """Settings of SM-Inv with features."""

    features: str = setting(
        DEFAULT_FEATURES,
        "the network: its name, or a folder that transformers saved",
        source="App. E: Inception-V3",
    )
    resolution: int = setting(
        0,
        "side of the network's input, px; 0: the longer side of the images, at least 32",
        source="App. E: images are not resized",
        low=0,
    )


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {"calibration_samples": 10_000},
    "quick": {"restarts": 2, "steps": 200},
}


@dataclass(frozen=True, eq=False)
class ReconstructionScorer(Scorer):
    """Distance of an image to its best reconstruction by the model."""

    generator: Generator
    view: View
    starts: Tensor  # (restarts, *latent), drawn from N(0, 1)
    config: ReconstructionConfig
    unit: Tensor | None = None  # of numbers: (C, 1, 1) or (1, 1, D), the spread of own samples
    network: str = ""  # digest of the network behind `view`, where there is one

    def score(self, images: Tensor) -> Tensor:
        """d of the best attempt, (N,) float64, on the CPU; images (N, C, H, W) in [0, 1]."""
        return self.reconstruct(images)[1]

    def reconstruct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (N, *latent) float32 of the best reconstructions, and their d, (N,) float64."""
        latents, distances = in_passes(self._search, images.to(self.starts), size=self.config.chunk)
        return latents.cpu(), distances.cpu()

    def _search(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """All attempts for all `images` at once: row (i, r) is attempt r at image i."""
        count, tries = len(images), len(self.starts)
        with torch.no_grad():
            target = self._seen(images).repeat_interleave(tries, dim=0)
        z = self.starts.repeat(count, *([1] * (self.starts.ndim - 1)))
        adam = _Adam(z, self.config.learning_rate)
        best = torch.full((count * tries,), torch.inf, dtype=torch.float64, device=z.device)
        best_z = z
        for step in range(self.config.steps + 1):
            moves = step < self.config.steps  # the place after the last step is looked at, too
            square, gradient = self._distance(z, target, with_gradient=moves)
            better = square < best
            best = torch.where(better, square, best)
            best_z = torch.where(better.reshape(-1, *[1] * (z.ndim - 1)), z, best_z)
            if moves:
                z = adam.step(z, gradient)
        best, attempt = best.reshape(count, tries).min(dim=1)
        rows = torch.arange(count, device=z.device) * tries + attempt
        return best_z[rows], best.sqrt() / target[0].numel()

    def _distance(self, z: Tensor, target: Tensor, *, with_gradient: bool) -> tuple[Tensor, Tensor]:
        """Squared distances (B,) float64 and the gradient of their mean squares, (B, *latent)."""
        with torch.set_grad_enabled(with_gradient):
            place = z.detach().requires_grad_(with_gradient)
            error = (self._seen(self.generator.decode(place)) - target).flatten(1)
            loss = error.square().mean(dim=1)
        square = error.detach().double().square().sum(dim=1)
        if not with_gradient:
            return square, z
        (gradient,) = torch.autograd.grad(loss.sum(), place)
        return square, gradient

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors; neither model is among them."""
        unit = {} if self.unit is None else {"unit": self.unit}
        meta = {"network": self.network} if self.network else {}
        return meta, {"starts": self.starts, **unit}

    def _seen(self, samples: Tensor) -> Tensor:
        return self.view(samples if self.unit is None else samples / self.unit)


class _Adam:
    """Kingma and Ba, ICLR 2015, Alg. 1, without changing the latents in place."""

    def __init__(self, z: Tensor, rate: float) -> None:
        self.rate, self.t = rate, 0
        self.m, self.v = torch.zeros_like(z), torch.zeros_like(z)

    def step(self, z: Tensor, gradient: Tensor) -> Tensor:
        first, second = ADAM_BETAS
        self.t += 1
        self.m = self.m.lerp(gradient, 1 - first)
        self.v = self.v * second + gradient.square() * (1 - second)
        slope = self.m / (1 - first**self.t)
        return z - self.rate * slope / ((self.v / (1 - second**self.t)).sqrt() + ADAM_EPSILON)


def draw_starts(generator: Generator, count: int, seed: int) -> Tensor:
    """Latents that the attempts start from, (count, *latent); `InputError` without a latent."""
    if generator.latent_shape is None:
        raise InputError(
            "an inversion searches for the latent of an image, but this model draws its own "
            "images; give its latent shape (command line: --latent 100,1,1), or another method"
        )
    drawn = [
        torch.randn(generator.latent_shape, generator=stream(seed, "inversion", "start", i))
        for i in range(count)
    ]
    return torch.stack(drawn)


def make_scorer(
    material: FitMaterial, view: View, config: ReconstructionConfig, network: str = ""
) -> ReconstructionScorer:
    """The scorer of a fit: the model on the fit's device, and the latents it starts from."""
    starts = draw_starts(material.generator, config.restarts, material.seed).to(material.device)
    unit = None
    if material.generator.makes_numbers:
        unit = _unit(material.own(UNIT_SAMPLES)).to(material.device)
    generator = material.generator.to(material.device)
    return ReconstructionScorer(generator, view, starts, config, unit, network)


def _unit(own: Tensor) -> Tensor:
    """The spread of every column of rows (N, 1, 1, D), or channel of signals (N, C, 1, T)."""
    over = (0,) if own.shape[1] == 1 else (0, 3)
    spread = own.std(dim=over, keepdim=True)[0]
    return torch.where(spread > 0, spread, 1.0)


def read_scorer(saved: SavedScorer, view: View, network: str = "") -> ReconstructionScorer:
    """The inverse of `ReconstructionScorer.to_saved`."""
    generator, starts = saved.require_generator(), saved.tensors["starts"].to(saved.device)
    unit = saved.tensors.get("unit")
    unit = None if unit is None else unit.to(saved.device)
    return ReconstructionScorer(generator, view, starts, saved.config, unit, network)


def fit_feature_reconstruction(
    material: FitMaterial, config: FeatureReconstructionConfig
) -> ReconstructionScorer:
    """The scorer that compares by the network that the settings name."""
    network = _network(config, material.generator.image_shape, material.device)
    return make_scorer(material, as_view(network), config, network.identity.digest)


def read_feature_reconstruction(saved: SavedScorer) -> ReconstructionScorer:
    """The scorer with the network of its fit; an `ArtifactError` if the network has changed."""
    network = _network(saved.config, saved.require_generator().image_shape, saved.device)
    if network.identity.digest != saved.meta["network"]:
        raise ArtifactError(
            f"the network {saved.config.features} is {network.identity.digest}, but the "
            f"attributor was fitted with {saved.meta['network']}; fit it again"
        )
    return read_scorer(saved, as_view(network), network.identity.digest)


def as_view(network: FeatureNetwork) -> View:
    """Images (N, C, H, W) in [0, 1] -> features (N, D); grey images in all three channels."""

    def features(images: Tensor) -> Tensor:
        wide = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        return network.features(wide)

    return features


def _network(
    config: FeatureReconstructionConfig, shape: tuple[int, int, int], device: torch.device | str
) -> FeatureNetwork:
    resolution = config.resolution or max(MIN_RESOLUTION, *shape[1:])
    return load_feature_encoder(config.features, resolution=resolution).to(device)


def pixels(images: Tensor) -> Tensor:
    """SM-Inv_2 compares the images themselves."""
    return images


INVERSION_L2 = Method(
    name="inversion-l2",
    title="SM-Inv, l2",
    presets={
        **{name: ReconstructionConfig(**values) for name, values in PRESETS.items()},
        NUMBERS: ReconstructionConfig(chunk=256),
    },
    fit=lambda material, config: make_scorer(material, pixels, config),
    read=lambda saved: read_scorer(saved, pixels),
    needs_generator=lambda config: True,
    needs="latent",
)
INVERSION_FEATURE = Method(
    name="inversion-feature",
    title="SM-Inv, features",
    presets={name: FeatureReconstructionConfig(**values) for name, values in PRESETS.items()},
    fit=fit_feature_reconstruction,
    read=read_feature_reconstruction,
    needs_generator=lambda config: True,
    needs="latent",
)
