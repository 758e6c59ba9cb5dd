"""A generator ready for attribution: seeded samples, their last activations, and the final split.

Images leave it as float32 (N, C, H, W) in [0, 1]; the model's own value range stays inside.
Rows of a table (N, D) and signals (N, C, T) are carried as (N, 1, 1, D) and (N, C, 1, T), float32,
with the values that the model gave them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from wherefrom.core.compute.passes import in_passes
from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed, stream
from wherefrom.core.saving.store import digest_tensors
from wherefrom.generators.last_layer.introspection import (
    FinalLayerSplit,
    holds_numbers,
    introspect,
    run_split,
)
from wherefrom.generators.last_layer.layer import LastLayer
from wherefrom.generators.last_layer.output_map import OutputMap, Range
from wherefrom.generators.readiness import refuse_channels, refuse_unready, without_compiling

# (number of images, seed) -> the model's own output: what a user's `sample` promises.
SampleFunction = Callable[[int, int], Tensor]

LATENT_ATTRIBUTES = ("latent_dim", "z_dim", "nz")
# Values in one batch of images: 32 images of 64x64x3, one of 512x512x3.
BATCH_VALUES = 2**19
MAX_BATCH = 64
MAX_REASON = 120  # characters of what a model raised


@dataclass(frozen=True, eq=False, kw_only=True)
class Generator:
    """A wrapped generator.  Make one with `wrap_generator` or `loading.load_generator`.

    Image i of a seed depends on (seed, i) only: the module always runs on batches of `batch_size`
    that start at the same numbers, so the first images of a long sample are those of a short one.
    """

    module: nn.Module
    split: FinalLayerSplit
    latent_shape: tuple[int, ...] | None  # None: the model draws by its own `sample(n, seed)`
    sample_function: SampleFunction | None
    batch_size: int
    was_training: bool
    digest: str

    @property
    def last_layer(self) -> LastLayer:
        """G_L and its bias."""
        return self.split.last_layer

    @property
    def output_map(self) -> OutputMap:
        """From the last layer's output to images in [0, 1]."""
        return self.split.output_map

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.split.image_shape

    @property
    def makes_numbers(self) -> bool:
        """Whether it makes rows or signals instead of images."""
        return holds_numbers(self.image_shape)

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Images 0 to n-1 of this seed, float32 (n, C, H, W) in [0, 1]."""
        return torch.cat([images for images, _ in self.sample_with_activations(n, seed)])

    def sample_with_activations(
        self, n: int, seed: int = 0, batch: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Images 0 to n-1 of this seed with their z, float32 (B, *last_layer.input_shape).

        On the CPU, wherever the module lives.  At most `batch` at once.  z belongs to the image
        before any 8-bit rounding.
        """
        if n < 1 or (batch is not None and batch < 1):
            raise InputError(f"asked for {n} images in batches of {batch}; both must be at least 1")
        return self._batches(n, seed, min(batch or self.batch_size, self.batch_size))

    def batch_count(self, n: int, batch: int | None = None) -> int:
        """How many batches `sample_with_activations` yields."""
        size, rest = self.batch_size, n % self.batch_size
        chunk = min(batch or size, size)
        return n // size * -(-size // chunk) + -(-rest // chunk)

    def decode(self, latents: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] of latents (N, *latent_shape), on the latents' device.

        The gradient passes to the latents; the module must live on the same device.
        """
        self.require_latents(latents)
        output: Tensor = carried(self.module(latents.to(_dtype_of(self.module))))
        return self.output_map.normalise(output.float())

    @torch.no_grad()
    def decode_with_activations(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) in [0, 1] and their z, of latents (N, *latent_shape), on the CPU.

        As `sample_with_activations` gives them.  An `InputError` for latents of another shape.
        """
        self.require_latents(latents)
        home, dtype = self.device, _dtype_of(self.module)

        def run(part: Tensor) -> tuple[Tensor, Tensor]:
            return run_split(lambda: carried(self.module(part.to(home, dtype))), self.split)

        images, z = in_passes(run, latents, size=self.batch_size)
        return images.cpu(), z.cpu()

    def require_latents(self, latents: Tensor) -> None:
        """An `InputError` unless the latents (N, ...) are of the shape that the model takes."""
        if self.latent_shape is None:
            raise InputError(
                "latents were given, but this model draws its own; give their shape (command "
                "line: --latent 100,1,1), or own images"
            )
        if tuple(latents.shape[1:]) != self.latent_shape:
            raise InputError(
                f"latents of shape {tuple(latents.shape[1:])}, the model takes {self.latent_shape}"
            )

    @property
    def has_encoder(self) -> bool:
        """Whether the module has a `reconstruct(images)`: encodes and decodes, in its own range."""
        return callable(getattr(self.module, "reconstruct", None))

    @property
    def device(self) -> torch.device:
        """Where the module lives."""
        return _first_tensor(self.module).device

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] encoded and decoded by the model, in the same shape.

        An `InputError` if the module has no `reconstruct`, or gives out another shape.
        """
        if not self.has_encoder:
            raise InputError("the model cannot reconstruct images: it has no encoder")
        low, high = self.output_map.value_range
        reconstruct: Callable[[Tensor], Tensor] = self.module.reconstruct  # type: ignore[assignment]
        recovered = self.output_map.normalise(reconstruct(images * (high - low) + low))
        if recovered.shape != images.shape:
            raise InputError(
                f"reconstruct made {tuple(recovered.shape)} of images {tuple(images.shape)}; it "
                "must keep the shape"
            )
        return recovered

    def to(self, device: torch.device | str) -> Generator:
        """The same generator there; a module that has to move is copied, the caller's stays."""
        home = next(chain(self.module.parameters(), self.module.buffers()), None)
        if home is None or home.device == torch.empty(0, device=device).device:
            return self
        return replace(self, module=copy.deepcopy(self.module).to(device))

    def describe(self) -> dict[str, Any]:
        """What it is, as JSON values."""
        return {
            "model": type(self.module).__name__,
            "digest": self.digest,
            "image_shape": list(self.image_shape),
            "latent_shape": None if self.latent_shape is None else list(self.latent_shape),
            "last_layer": {"name": self.last_layer.name, **self.last_layer.to_meta()},
            "output_map": self.output_map.to_meta(),
            "skip": None if self.split.skip is None else asdict(self.split.skip),
            "was_training": self.was_training,
            "batch_size": self.batch_size,
            "self_test_deviation": self.split.max_deviation,
        }

    def _batches(self, n: int, seed: int, chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, n, self.batch_size):
            drawn = run_split(lambda first=start: self._draw(first, seed), self.split)  # type: ignore[misc]
            images, z = (part.cpu() for part in drawn)
            keep = min(n - start, self.batch_size)
            yield from zip(
                torch.split(images[:keep], chunk), torch.split(z[:keep], chunk), strict=True
            )

    def _draw(self, start: int, seed: int) -> Tensor:
        if self.sample_function is not None:
            number = start // self.batch_size
            return self.sample_function(self.batch_size, derive_seed(seed, "batch", number))
        shape = self.latent_shape or ()
        return _run_on_latents(self.module, shape, range(start, start + self.batch_size), seed)


def wrap_generator(
    module: nn.Module,
    *,
    latent: tuple[int, ...] | None = None,
    value_range: Range | None = None,
    sample: SampleFunction | None = None,
) -> Generator:
    """Put `module` in evaluation mode, find its last linear layer and check that it can be undone.

    The module maps latents (N, *latent) ~ N(0, 1) to images (N, C, H, W), rows (N, D) or signals
    (N, C, T).  The latent shape is `latent`, or the module's `latent_shape`, `latent_dim`, `z_dim`
    or `nz`, or what its first layer takes.  A module that draws in another way needs a function
    `sample(n, seed)`, given here or a method of the module: it returns n outputs that depend on the
    seed only, and is called with another seed for every batch.  An `InputError` says why a
    generator does not fit.
    """
    module = without_compiling(module)
    refuse_unready(module)
    was_training = any(bool(part.training) for part in module.modules())
    module.eval()
    state = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    check_finite(state)
    method = getattr(module, "sample", None)
    if sample is None and latent is None and callable(method):
        sample = method
    shape = None if sample is not None else _latent_shape(module, latent)

    def draw(n: int, seed: int) -> Tensor:
        if sample is None:
            return _run_on_latents(module, shape or (), range(n), seed)
        output: Tensor = carried(sample(n, seed))
        return output

    split = introspect(draw, value_range=value_range)
    c, h, w = split.image_shape
    if not holds_numbers(split.image_shape):
        refuse_channels(c)
    return Generator(
        module=module,
        split=split,
        latent_shape=shape,
        sample_function=None if sample is None else draw,
        batch_size=max(1, min(MAX_BATCH, _power_of_two(BATCH_VALUES // (c * h * w)))),
        was_training=was_training,
        digest=digest_tensors(state),
    )


def check_finite(state: dict[str, Tensor]) -> None:
    """An `InputError` that names the first tensor with NaN or infinity in it."""
    for key, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise InputError(
                f"the weight {key!r} contains NaN or infinity; train or export it again"
            )


def _latent_shape(module: nn.Module, latent: tuple[int, ...] | None) -> tuple[int, ...]:
    if latent is not None:
        return _checked_shape(latent, "the latent shape")
    stated = getattr(module, "latent_shape", None)
    if stated is not None:
        stated = (stated,) if isinstance(stated, int) else stated
        return _checked_shape(stated, "the module's latent_shape")
    problems: list[str] = []
    for shape in _candidates(module):
        problem = _problem(module, shape)
        if not problem:
            return shape
        problems.append(f"{shape} failed: {problem}")
    also = f" ({'; '.join(problems)})" if problems else ""
    raise InputError(
        f"the latent shape of {type(module).__name__} is not known{also}; pass latent (command "
        "line: --latent 100,1,1), or give the module a sample(n, seed) method"
    )


def _candidates(module: nn.Module) -> list[tuple[int, ...]]:
    for name in LATENT_ATTRIBUTES:
        size = getattr(module, name, None)
        if isinstance(size, int):
            return [(size,), (size, 1, 1)]
    for part in module.modules():
        # A TorchScript part keeps the name of the class it was compiled from.
        kind = getattr(part, "original_name", type(part).__name__)
        weight = getattr(part, "weight", None)
        if kind == "Linear" and isinstance(weight, Tensor):
            return [(weight.shape[1],)]
        if kind == "ConvTranspose2d" and isinstance(weight, Tensor):
            return [(weight.shape[0], 1, 1), (weight.shape[0],)]
        if isinstance(weight, Tensor):
            # A convolution takes any size, so the size of its latent cannot be guessed.
            return []
    return []


def _problem(module: nn.Module, shape: tuple[int, ...]) -> str:
    """Why latents of this shape are not what the module takes, empty if they are."""
    try:
        with torch.no_grad():
            output: Any = _run_on_latents(module, shape, range(2), 0)
    except Exception as error:  # a probe: whatever a user's model raises, this shape is not the one
        return (str(error).splitlines() or [type(error).__name__])[0][:MAX_REASON]
    if not isinstance(output, Tensor) or (output.ndim == 4 and len(output) == 2):
        return ""  # what is no tensor is refused below, by what it is
    return f"the output has the shape {tuple(output.shape)}"


def carried(output: Any) -> Any:
    """Rows (N, D) as (N, 1, 1, D), signals (N, C, T) as (N, C, 1, T), anything else unchanged."""
    if isinstance(output, Tensor) and output.ndim in (2, 3):
        channels = 1 if output.ndim == 2 else output.shape[1]
        return output.reshape(-1, channels, 1, output.shape[-1])
    return output


def _checked_shape(shape: Any, what: str) -> tuple[int, ...]:
    sizes = tuple(shape)
    if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise InputError(f"{what} is {sizes}, expected positive sizes such as 100 or 100,1,1")
    return sizes


def _run_on_latents(module: nn.Module, shape: tuple[int, ...], numbers: range, seed: int) -> Tensor:
    latents = [torch.randn(shape, generator=stream(seed, "latent", i)) for i in numbers]
    home = _first_tensor(module).device
    output: Tensor = carried(module(torch.stack(latents).to(home, _dtype_of(module))))
    return output


def _first_tensor(module: nn.Module) -> Tensor:
    """A weight that says where the module lives; one on the CPU where it has none."""
    return next(chain(module.parameters(), module.buffers()), torch.empty(0))


def _dtype_of(module: nn.Module) -> torch.dtype:
    """The floating-point type that the module computes in."""
    dtype = _first_tensor(module).dtype
    return dtype if dtype.is_floating_point else torch.float32


def _power_of_two(limit: int) -> int:
    return 1 << (limit.bit_length() - 1) if limit > 0 else 1
