"""An ensemble of small convolutional networks that separates inliers from given negatives.

It generalises only as far as the negatives are well chosen.  Every network sees overlapping
patches.  The first network, and every second one after it (all with `trunks="light"`), sees them
whitened: the directions in which inliers hardly vary, where the fingerprint of a last layer is,
then weigh as much as others.

Large images are seen through crops (`data.altering.crops`): the caller trains on some, scoring
tiles the image and averages.

Symbols:
    x    inputs, (N, C, H, W) float
    y    0 inlier, 1 negative
    L    logit of y = 1, mean over networks and tiles
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wherefrom.core.compute.passes import halves, in_passes
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed, stream
from wherefrom.data.altering.crops import GRID, each_tile
from wherefrom.detectors.networks import initialise
from wherefrom.training.loop import run

PATCH = 6
RIDGE = 1e-3  # of the patch covariance: a few 8-bit steps through tanh, so rounding is not blown up
LIMIT = 8.0  # whitened values beyond this many deviations are cut, so that bf16 does not saturate
WHITENING_INPUTS = 4000
SCORE_ROWS = 64
WARM_UP = 0.15  # share of the steps in which the learning rate rises


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(Config):
    """Settings of `fit_classifier`."""

    members: int = setting(2, "networks that are averaged", low=1)
    epochs: int = setting(5, "passes over the training inputs", low=1)
    batch: int = setting(128, "inputs per step", low=2)
    learning_rate: float = setting(4e-3, "AdamW's largest step, on one cycle", low=0.0)
    weight_decay: float = setting(1e-2, "decoupled l2 penalty", low=0.0)
    width: int = setting(64, "channels after the first layers", low=8)
    side: int = setting(32, "side of the crops that the networks see", low=GRID)
    trunks: str = setting(
        "deep",
        "layers after the patches; deep: four convolutions, every second network on patches that "
        "it learns; light: cheaper ones, all on whitened patches",
        choices=("deep", "light"),
    )
    precision: str = setting(
        "auto",
        "arithmetic in training; auto: bf16 where the device multiplies it",
        choices=("auto", "fp32", "bf16"),
    )


# Channels after, kernel and stride of the layers of each trunk, as multiples of half the width.
TRUNKS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "deep": ((2, 3, 1), (2, 3, 1), (3, 4, 2), (3, 3, 1)),
    "pointwise": ((3, 1, 1), (2, 1, 1), (3, 4, 2), (3, 1, 1)),
    "strided": ((2, 4, 2), (3, 3, 1)),
}


class ConvClassifier(nn.Module):
    """Patches at half the resolution, convolutions, mean and maximum over places, one logit.

    Input (N, C, h, w), output (N,).  `whitens`: the patches are whitened, and that stays fixed.
    """

    def __init__(self, channels: int, width: int, *, whitens: bool, trunk: str = "deep") -> None:
        super().__init__()
        self.whitens = whitens
        size = channels * PATCH**2 if whitens else width // 2
        self.patches = nn.Conv2d(channels, size, PATCH, 2, PATCH // 2 - 1, bias=whitens)
        self.patches.requires_grad_(not whitens)
        after = (nn.Hardtanh(-LIMIT, LIMIT),) if whitens else (nn.BatchNorm2d(size), nn.ReLU())
        layers: list[nn.Module] = [*after]
        for halves_of_width, kernel, stride in TRUNKS[trunk]:
            next_size = width * halves_of_width // 2
            layers += _block(size, next_size, kernel, stride)
            size = next_size
        self.trunk = nn.Sequential(*layers)
        self.logit = nn.Linear(2 * size, 1)
        nn.init.zeros_(self.logit.bias)  # `initialise` draws the weights only

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> logits (N,)."""
        # Whitening subtracts nearly equal pixels, so it is computed in full precision.
        whole = torch.autocast(x.device.type, enabled=False) if self.whitens else nullcontext()
        with whole:
            patches = self.patches(x)
        places = self.trunk(patches)
        pooled = torch.cat([places.mean(dim=(2, 3)), places.amax(dim=(2, 3))], dim=1)
        logits: Tensor = self.logit(pooled)[:, 0]
        return logits


@dataclass(frozen=True, eq=False)
class FittedClassifier:
    """Trained networks.  Larger score = more like the negatives."""

    config: ClassifierConfig
    channels: int
    members: tuple[ConvClassifier, ...]

    @torch.no_grad()
    def score(self, x: Tensor) -> Tensor:
        """L per input, (N,) float64, whatever batch x (N, C, H, W) comes in."""
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise InputError(
                f"inputs of shape {tuple(x.shape)}, expected (N, {self.channels}, H, W)"
            )
        tiles = [
            in_passes(self._score, tile, size=SCORE_ROWS)
            for tile in each_tile(x.float(), self.config.side)
        ]
        return torch.stack(tiles).mean(dim=0)

    def _score(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        return torch.stack([member(x).double() for member in self.members]).mean(dim=0)

    def to(self, device: torch.device | str) -> FittedClassifier:
        """The same networks on another device."""
        return type(self).from_saved(*self.to_saved(), device)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Settings as JSON values, and the weights; `from_saved` takes both."""
        tensors = {
            f"{index}.{k}": v
            for index, member in enumerate(self.members)
            for k, v in member.state_dict().items()
        }
        return {"config": self.config.to_dict(), "channels": self.channels}, tensors

    @classmethod
    def from_saved(
        cls,
        meta: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
    ) -> Self:
        """The inverse of `to_saved`."""
        config = ClassifierConfig.from_dict(meta["config"])
        channels = int(meta["channels"])
        members = []
        for index in range(config.members):
            head = f"{index}."
            state = {k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)}
            member = _network(channels, config, index)
            member.load_state_dict(state)
            members.append(_frozen(member.to(device)))
        return cls(config, channels, tuple(members))


def fit_classifier(
    own: Tensor,
    negatives: Tensor,
    *,
    config: ClassifierConfig | None = None,
    seed: int = 0,
    track: Track = quiet,
) -> FittedClassifier:
    """Train on inliers (N, C, h, w) and negatives (M, C, h, w), crops where images are large."""
    config = config or ClassifierConfig()
    _check(own, negatives)
    members = []
    for index in range(config.members):
        network = _network(own.shape[1], config, index)
        initialise(network, stream(seed, "classifier", "init", index))
        if network.whitens:
            _set_whitening(network, own[:WHITENING_INPUTS].float())
        network.to(own.device)
        task = _ClassifierTask(network, own, negatives, config, derive_seed(seed, index))
        label = "training the classifier"
        if config.members > 1:
            label = f"training classifier number {index + 1}"
        run(task, task.steps, label=label, track=track)
        members.append(_frozen(network))
    return FittedClassifier(config, own.shape[1], tuple(members))


def _network(channels: int, config: ClassifierConfig, index: int) -> ConvClassifier:
    """The network of that number, untrained."""
    if config.trunks == "light":
        trunk = "strided" if index % 2 else "pointwise"
        return ConvClassifier(channels, config.width, whitens=True, trunk=trunk)
    return ConvClassifier(channels, config.width, whitens=index % 2 == 0)


def _frozen(network: ConvClassifier) -> ConvClassifier:
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)


def _block(before: int, after: int, kernel: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, kernel, stride, padding=min(1, kernel - 1), bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU()]


@torch.no_grad()
def _set_whitening(network: ConvClassifier, x: Tensor) -> None:
    """Make the patch layer project on principal components, each divided by its deviation."""
    layer = network.patches
    if layer.bias is None:
        raise TypeError("this network does not whiten")
    size, count = x.shape[1] * PATCH**2, 0
    mean = x.new_zeros(size, dtype=torch.float64)
    second = x.new_zeros(size, size, dtype=torch.float64)
    for part in torch.split(x, SCORE_ROWS):
        unfolded = F.unfold(part, PATCH, stride=2, padding=PATCH // 2 - 1)
        patches = unfolded.transpose(1, 2).flatten(0, 1).double()
        count += len(patches)
        mean += patches.sum(dim=0)
        second += patches.T @ patches
    mean /= count
    values, vectors = torch.linalg.eigh(second / count - torch.outer(mean, mean))
    rows = (vectors / (values.clamp_min(0) + RIDGE).sqrt()).T
    layer.weight.copy_(rows.reshape(layer.weight.shape).float())
    layer.bias.copy_(-(rows @ mean).float())


class _ClassifierTask:
    """One network in training: balanced logistic loss, AdamW, one cycle of the step."""

    def __init__(
        self,
        network: ConvClassifier,
        own: Tensor,
        negatives: Tensor,
        config: ClassifierConfig,
        seed: int,
    ) -> None:
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.own, self.negatives, self.config, self.seed = own, negatives, config, seed
        total = len(own) + len(negatives)
        self.batch = min(config.batch, total)
        self.per_epoch = total // self.batch
        self.steps = config.epochs * self.per_epoch
        self.weight = torch.tensor(len(own) / len(negatives), device=own.device)
        self.halved = halves(config.precision, own.device)
        trained = [p for p in network.parameters() if p.requires_grad]
        self._adam = torch.optim.AdamW(
            trained, config.learning_rate, weight_decay=config.weight_decay
        )

    def modules(self) -> dict[str, nn.Module]:
        return {"network": self.network}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"network": self._adam}

    def step(self, index: int) -> dict[str, float]:
        epoch, place = divmod(index, self.per_epoch)
        rng = stream(self.seed, "classifier", "order", epoch)
        order = torch.randperm(len(self.own) + len(self.negatives), generator=rng)
        chosen = order[place * self.batch : (place + 1) * self.batch]
        negative = chosen >= len(self.own)
        x = torch.cat(
            [self.own[chosen[~negative]], self.negatives[chosen[negative] - len(self.own)]]
        )
        y = negative.sort().values.to(x.device, torch.float32)
        for group in self._adam.param_groups:
            group["lr"] = self.config.learning_rate * one_cycle((index + 1) / self.steps)
        self.network.train()
        x = x.float().contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.halved):
            logits = self.network(x)
        loss = F.binary_cross_entropy_with_logits(logits.float(), y, pos_weight=self.weight)
        self._adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        return {"loss": loss.item()}


def one_cycle(done: float) -> float:
    """Share of the largest learning rate at the share `done` of the training, by a cosine cycle.

    Smith and Topin: Super-Convergence, 2019.
    """
    rising = done < WARM_UP
    phase = done / WARM_UP if rising else 1 - (done - WARM_UP) / (1 - WARM_UP)
    return 0.5 - 0.5 * float(torch.cos(torch.tensor(torch.pi * phase)))


def _check(own: Tensor, negatives: Tensor) -> None:
    if own.ndim != 4 or own.shape[1:] != negatives.shape[1:]:
        raise InputError(
            f"inliers of shape {tuple(own.shape)} and negatives of shape "
            f"{tuple(negatives.shape)}: expected (N, C, H, W) of one size"
        )
    if len(own) < 2 or len(negatives) < 2:
        raise InputError("a classifier needs at least two inliers and two negatives")
    if min(own.shape[-2:]) < GRID:
        raise InputError(f"inputs of {own.shape[-2]}x{own.shape[-1]}; give at least {GRID}x{GRID}")
