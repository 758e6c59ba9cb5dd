"""Deep SAD, a semi-supervised one-class detector for images, activations and vectors.

Ruff et al.: Deep Semi-Supervised Anomaly Detection, ICLR 2020; FLIPAD, App. B and G.7.

Symbols:
    x    inputs, (N, C, H, W) or (N, D), float32
    y    labels, (N,): +1 inlier, -1 outlier, 0 unlabelled (taken as inlier with weight 1)
    phi  network, (N, *shape) -> (N, R)
    c    centre, (R,)
    eta  weight of the labelled terms

Deviation: the centre is the mean over inliers and unlabelled inputs only; the original code also
averages the labelled outliers in, which pulls the centre towards them.
Deviation: a centre coordinate that is exactly 0 moves to +0.1 like its small neighbours.
Deviation: inputs are standardised per element (FLIPAD's code does, its text does not say so).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from wherefrom.core.compute.passes import in_passes
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.detectors.networks import initialise, make_network
from wherefrom.training.loop import run

INVERSE_EPSILON = 1e-6  # Deep SAD's code: keeps the inverse distance finite
CENTRE_MARGIN = 0.1  # Deep SAD's code: coordinates nearer to 0 can be met by zero weights
SCORE_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class DeepSadConfig(Config):
    """Settings of `fit_deep_sad`."""

    epochs: int = setting(50, "passes over the training inputs", source="App. G.7", low=1)
    batch: int = setting(128, "inputs per step", source="Deep SAD's code", low=2)
    learning_rate: float = setting(5e-4, "Adam's step", source="App. G.7", low=0.0)
    drop_at: float = setting(
        0.5,
        "share of the epochs after which the step falls to a tenth",
        source="App. G.7: 25/50",
        low=0.0,
        high=1.0,
    )
    weight_decay: float = setting(0.5e-6, "l2 penalty", source="App. G.7", low=0.0)
    eta: float = setting(1.0, "weight of labelled inputs", source="FLIPAD's code", low=0.0)
    representation: int = setting(128, "outputs of the network", source="Deep SAD's code", low=1)
    standardise: str = setting(
        "inliers",
        "subtract the mean, divide by the standard deviation + 0.05, per element",
        source="FLIPAD's code",
        choices=("inliers", "all", "none"),
    )
    precision: str = setting("fp32", "arithmetic in training", choices=("fp32", "bf16"))


@dataclass(frozen=True)
class FittedDeepSad:
    """A trained Deep SAD detector.  Larger score = more anomalous."""

    config: DeepSadConfig
    shape: tuple[int, ...]
    mean: Tensor  # (*shape), subtracted from the inputs
    scale: Tensor  # (*shape), then divided by
    centre: Tensor  # (R,)
    network: nn.Module

    @torch.no_grad()
    def score(self, x: Tensor) -> Tensor:
        """Squared distance to the centre, (N,) float64; the same in whatever batch x comes."""
        if tuple(x.shape[1:]) != self.shape:
            raise InputError(f"inputs of shape {tuple(x.shape[1:])}, expected {self.shape}")
        return in_passes(self._score, x.float(), size=SCORE_ROWS)

    def _score(self, x: Tensor) -> Tensor:
        output: Tensor = self.network(_fast_layout((x - self.mean) / self.scale))
        return (output - self.centre).double().square().sum(dim=1)

    def to(self, device: torch.device | str) -> FittedDeepSad:
        """The same detector on another device."""
        return type(self).from_saved(*self.to_saved(), device)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Settings as JSON values, and the weights; `from_saved` takes both."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {"mean": self.mean, "scale": self.scale, "centre": self.centre}
        return {"config": self.config.to_dict(), "shape": list(self.shape)}, tensors

    @classmethod
    def from_saved(
        cls,
        meta: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
    ) -> Self:
        """The inverse of `to_saved`."""
        config = DeepSadConfig.from_dict(meta["config"])
        shape = tuple(meta["shape"])
        network = make_network(shape, config.representation)
        prefix = "network."
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        network.load_state_dict(state)
        network.to(device).eval().requires_grad_(False)
        mean, scale, centre = (tensors[name].to(device) for name in ("mean", "scale", "centre"))
        return cls(config, shape, mean, scale, centre, network)


def fit_deep_sad(
    x: Tensor,
    y: Tensor,
    *,
    config: DeepSadConfig | None = None,
    seed: int = 0,
    track: Track = quiet,
) -> FittedDeepSad:
    """Train phi on x (N, *shape) float32 with labels y (N,) in {+1, 0, -1}.  Deep SAD, Eq. 7."""
    config = config or DeepSadConfig()
    _check(x, y)
    mean, scale = _standardisation(x, y, config.standardise)
    network = make_network(tuple(x.shape[1:]), config.representation)
    initialise(network, stream(seed, "deep-sad", "init"))
    network.to(x.device)
    centre = _centre(network, x[y >= 0], mean, scale)
    detector = FittedDeepSad(config, tuple(x.shape[1:]), mean, scale, centre, network)
    task = _SadTask(detector, x, y, seed)
    run(task, task.steps, label="training the detector", track=track)
    network.eval().requires_grad_(False)
    return detector


def deep_sad_loss(distance: Tensor, y: Tensor, eta: float) -> Tensor:
    """Mean of d for y = 0 and eta (d + 1e-6)^y else.  Deep SAD, Eq. 7; FLIPAD, Eq. 6."""
    labelled = eta * (distance + INVERSE_EPSILON) ** y.to(distance.dtype)
    return torch.where(y == 0, distance, labelled).mean()


class _SadTask:
    """The training of a detector's network, for `training.loop.run`."""

    def __init__(self, detector: FittedDeepSad, x: Tensor, y: Tensor, seed: int) -> None:
        self.detector, self.x, self.y, self.seed = detector, x, y, seed
        config = detector.config
        self.batch = min(config.batch, len(x))
        self.per_epoch = len(x) // self.batch
        self.steps = config.epochs * self.per_epoch
        self._adam = torch.optim.Adam(
            detector.network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )

    def modules(self) -> dict[str, nn.Module]:
        return {"network": self.detector.network}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"network": self._adam}

    def step(self, index: int) -> dict[str, float]:
        c, detector = self.detector.config, self.detector
        epoch, place = divmod(index, self.per_epoch)
        rng = stream(self.seed, "deep-sad", "order", epoch)
        order = torch.randperm(len(self.x), generator=rng).to(self.x.device)
        for group in self._adam.param_groups:
            group["lr"] = c.learning_rate * (0.1 if epoch >= c.drop_at * c.epochs else 1.0)
        chosen = order[place * self.batch : (place + 1) * self.batch]
        x = _fast_layout((self.x[chosen].float() - detector.mean) / detector.scale)
        detector.network.train()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=c.precision == "bf16"):
            output = detector.network(x)
        distance = (output.float() - detector.centre).square().sum(dim=1)
        loss = deep_sad_loss(distance, self.y[chosen], c.eta)
        self._adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        return {"loss": loss.item()}


def _check(x: Tensor, y: Tensor) -> None:
    if x.ndim not in (2, 4) or len(x) != len(y):
        raise InputError(
            f"x of shape {tuple(x.shape)} with {len(y)} labels: expected (N, C, H, W) or (N, D) "
            "and one label each"
        )
    if not bool(((y == 0) | (y == 1) | (y == -1)).all()):
        raise InputError("labels must be +1 (inlier), 0 (unlabelled) or -1 (outlier)")
    if int((y >= 0).sum()) < 2:
        raise InputError("Deep SAD needs at least two inputs that are not labelled outliers")
    if not bool(torch.isfinite(x).all()):
        raise InputError("the inputs hold NaN or infinite values; remove them before fitting")


def _fast_layout(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _standardisation(x: Tensor, y: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    zero = torch.zeros_like(x[0], dtype=torch.float32)
    if rule == "none":
        return zero, zero + 1
    basis = (x if rule == "all" else x[y >= 0]).float()
    return basis.mean(dim=0), basis.std(dim=0) + 0.05


@torch.no_grad()
def _centre(network: nn.Module, x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    network.eval()
    outputs = [network((part.float() - mean) / scale) for part in torch.split(x, SCORE_ROWS)]
    centre: Tensor = torch.cat(outputs).double().mean(dim=0).float()
    pushed = torch.where(centre >= 0, CENTRE_MARGIN, -CENTRE_MARGIN)
    return torch.where(centre.abs() < CENTRE_MARGIN, pushed, centre)
