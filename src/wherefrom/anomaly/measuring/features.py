"""One image's complexities and vulnerabilities, direction by direction and attack by attack.

An image's measurement does not depend on the other images: every direction and every start is drawn
from the image's own digest, and every forward pass has the same number of rows.  So a measurement
can be stored, and extended with more directions later, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wherefrom.anomaly import equations
from wherefrom.anomaly.config import AnomalyConfig
from wherefrom.anomaly.measuring.items import digest_pixels
from wherefrom.core.rng import stream
from wherefrom.encoders.features import FeatureEncoder

# Images that are measured together.  The number is fixed per device: a kernel may be chosen by the
# size of the batch, and one rounding may change the sign of a gradient.
CPU_GROUP, DEVICE_GROUP = 1, 16
# Pixels (rows * H * W) per forward pass of a noise path on a CPU.  More do not fit its caches: at
# 224 px one row at a time is 1.5 times as quick as ten.
CPU_PIXELS = 10 * 100 * 100


@dataclass(frozen=True, eq=False)
class Measurement:
    """The measurement of one image so far: R directions and S attacks."""

    features: Tensor  # M(x), (D,) float32
    complexities: Tensor  # (R,) float64, radians
    still: Tensor  # steps of length zero per direction, (R,) int64
    vulnerabilities: Tensor  # (S,) float64
    clipped: float  # share of values at 0 or 1

    def fault(self) -> str:
        """Why the image cannot be scored, "" if it can."""
        if not bool(self.features.isfinite().all()):
            return "the encoder gives NaN or infinite features for it"
        if not bool(self.vulnerabilities.isfinite().all()):
            return "the encoder gives NaN or infinite features or gradients beside it"
        if len(self.complexities) and bool(self.complexities.isnan().all()):
            return "no noise step moves its features, so its complexity is undefined"
        return ""

    def first(self, config: AnomalyConfig) -> Measurement:
        """The directions and attacks that `config` asks for."""
        return replace(
            self,
            complexities=self.complexities[: config.directions],
            still=self.still[: config.directions],
            vulnerabilities=self.vulnerabilities[: config.restarts],
        )

    def reaches(self, config: AnomalyConfig) -> bool:
        """Whether it holds all directions and attacks that `config` asks for."""
        enough = len(self.complexities) >= config.directions
        return enough and len(self.vulnerabilities) >= config.restarts


def group_size(encoder: FeatureEncoder) -> int:
    """How many images `measure` takes at once on the encoder's device."""
    return CPU_GROUP if encoder.device.type == "cpu" else DEVICE_GROUP


def measure(
    images: Tensor,
    encoder: FeatureEncoder,
    *,
    config: AnomalyConfig,
    seed: int,
    known: Measurement | None = None,
) -> list[Measurement]:
    """Measurements of at most `group_size` images (n, 3, H, W) float32 in [0, 1].

    With `known`, the measurement of one image is extended.  Clean features are computed once, for C
    and for V.
    """
    digests = [digest_pixels(image) for image in images]
    count, size = len(images), group_size(encoder)
    x = images.new_zeros(size, *images.shape[1:], device=encoder.device)
    x[:count] = images
    draw = _Draws(seed, digests, tuple(images.shape[1:]), size, encoder.device)
    with torch.inference_mode(mode=False), torch.no_grad():
        x = x.clone()  # a caller's inference tensor cannot carry gradients
        clean = encoder.features(x)
        first = (0, 0) if known is None else (len(known.complexities), len(known.vulnerabilities))
        paths = [
            _feature_path(x, clean, draw(_direction, "direction", r), encoder, config)
            for r in range(first[0], config.directions)
        ]
        attacked = [
            encoder.features(attack(x, clean, draw(_start, "start", s), encoder, config))
            for s in range(first[1], config.restarts)
        ]
    measurements = [
        _collect(i, x, clean, [p[i] for p in paths], [a[i] for a in attacked]) for i in range(count)
    ]
    if known is None:
        return measurements
    # Another machine may round otherwise; then the known part is not extended.
    if not torch.equal(known.features, measurements[0].features):
        return measure(images, encoder, config=config, seed=seed)
    return [_joined(known, measurements[0])]


def attack(
    x: Tensor, clean: Tensor, start: Tensor, encoder: FeatureEncoder, config: AnomalyConfig
) -> Tensor:
    """x^J, (n, 3, H, W), of images x with features `clean`; `start` lies in [-1, 1].

    The gradient vanishes at x itself, so the first step needs a start beside it.

    Deviation: a start whose features round to M(x) has no gradient either, and the attack would
    never move; such a start is doubled, up to one attack step.
    """
    radius = torch.full((len(x), 1, 1, 1), config.start_radius, device=x.device)
    moved, gradient, stuck = _first_gradient(x, clean, radius * start, encoder, config)
    while bool(stuck.any()) and float(radius.max()) < config.alpha:
        radius[stuck] *= 2
        moved, gradient, stuck = _first_gradient(x, clean, radius * start, encoder, config)
    for step in range(config.attack_steps):
        if step:
            _, gradient = _gradient(moved, clean, encoder)
        moved = equations.attack_step(
            moved, x, gradient, config.alpha, config.bound, clamp=config.clamp
        )
    return moved


def _first_gradient(
    x: Tensor, clean: Tensor, offset: Tensor, encoder: FeatureEncoder, config: AnomalyConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """The start, its gradient, and which rows are stuck: (n,) bool."""
    moved = x + offset
    moved = moved.clamp(0, 1) if config.clamp else moved
    rows, gradient = _gradient(moved, clean, encoder)
    fills_up = ~offset.flatten(1).any(dim=1)
    return moved, gradient, (rows == clean).all(dim=1) & ~fills_up


def _gradient(moved: Tensor, clean: Tensor, encoder: FeatureEncoder) -> tuple[Tensor, Tensor]:
    """M(x^j), and the gradient of |M(x^j) - M(x)|^2 by x^j."""
    with torch.enable_grad():
        at = moved.detach().requires_grad_()
        rows = encoder.features(at)
        (gradient,) = torch.autograd.grad((rows - clean).square().sum(), at)
    return rows.detach(), gradient


def attacked_image(
    x: Tensor, encoder: FeatureEncoder, *, config: AnomalyConfig, seed: int, which: int
) -> Tensor:
    """x^J (3, H, W) of one image x (3, H, W): the attack number `which` that `measure` makes."""
    size = group_size(encoder)
    draw = _Draws(seed, [digest_pixels(x)], tuple(x.shape), size, encoder.device)
    with torch.inference_mode(mode=False), torch.no_grad():
        batch = x.new_zeros(size, *x.shape, device=encoder.device)
        batch[0] = x
        start = draw(_start, "start", which)
        return attack(batch, encoder.features(batch), start, encoder, config)[0]


@torch.no_grad()
def path_complexities(
    images: Tensor, encoder: FeatureEncoder, *, config: AnomalyConfig, seed: int
) -> tuple[Tensor, Tensor]:
    """C along the first direction, (N,) float64, and still steps, (N,), in the images' precision.

    The directions are those of the float32 images, so that two precisions can be compared.
    """
    complexities, still = [], []
    for image in images.to(encoder.device):
        n = direction(image, 0, seed=seed).to(image)
        points = _feature_path(
            image[None], encoder.features(image[None]), n[None], encoder, config
        )[0]
        complexities.append(equations.complexity(points))
        still.append(equations.still_steps(points))
    return torch.tensor(complexities, dtype=torch.float64), torch.tensor(still, dtype=torch.int64)


def direction(x: Tensor, which: int, *, seed: int) -> Tensor:
    """The noise direction n number `which` of the image x (3, H, W), of unit L2 norm."""
    return _direction(stream(seed, "anomaly", digest_pixels(x), "direction", which), tuple(x.shape))


@dataclass(frozen=True)
class _Draws:
    """Random tensors of a group, each row from the stream of its own image."""

    seed: int
    digests: Sequence[str]
    shape: tuple[int, ...]
    size: int
    device: torch.device

    def __call__(
        self, make: Callable[[torch.Generator, tuple[int, ...]], Tensor], what: str, which: int
    ) -> Tensor:
        """(size, *shape) on the device; rows that only fill up the group are zero."""
        out = torch.zeros(self.size, *self.shape)
        for row, digest in zip(out, self.digests, strict=False):
            row.copy_(make(stream(self.seed, "anomaly", digest, what, which), self.shape))
        return out.to(self.device)


def _direction(rng: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    n = torch.randn(shape, generator=rng)
    n /= torch.linalg.vector_norm(n)
    return n


def _start(rng: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=rng) * 2 - 1


def _feature_path(
    x: Tensor, clean: Tensor, n: Tensor, encoder: FeatureEncoder, config: AnomalyConfig
) -> Tensor:
    """M(x^0) .. M(x^K), (n, K + 1, D), on the CPU."""
    points = equations.path(x, n, config.epsilon, config.steps, clamp=config.clamp)
    flat = points.flatten(0, 1)
    size = len(flat)
    if encoder.device.type == "cpu":
        size = max(1, min(size, CPU_PIXELS // flat[0, 0].numel()))
    rows = torch.cat([encoder.features(part) for part in torch.split(flat, size)])
    return torch.cat([clean[:, None], rows.view(len(x), config.steps, -1)], dim=1).cpu()


def _collect(
    i: int, x: Tensor, clean: Tensor, paths: list[Tensor], attacked: list[Tensor]
) -> Measurement:
    points = torch.stack(paths) if paths else None
    V = [equations.vulnerability(clean[i], row) for row in attacked]  # noqa: N806
    return Measurement(
        clean[i].float().cpu().clone(),
        torch.empty(0, dtype=torch.float64) if points is None else equations.complexity(points),
        torch.empty(0, dtype=torch.int64) if points is None else equations.still_steps(points),
        torch.stack(V).cpu() if V else torch.empty(0, dtype=torch.float64),
        float(((x[i] <= 0) | (x[i] >= 1)).double().mean()),
    )


def _joined(known: Measurement, more: Measurement) -> Measurement:
    return Measurement(
        known.features,
        torch.cat([known.complexities, more.complexities]),
        torch.cat([known.still, more.still]),
        torch.cat([known.vulnerabilities, more.vulnerabilities]),
        known.clipped,
    )
