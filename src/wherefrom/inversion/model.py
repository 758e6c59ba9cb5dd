"""The fitted inverter: encode, decode, sample, classify, likelihoods; saving and loading.

Cho: Deep Generative Models and Their Inversions, PhD thesis, Concordia University, 2025.
A larger negative log-likelihood is more anomalous.

Symbols:
    z'   code of an image, E(x), (N, d_z)
    v    trace: variance of z' over generated images, (d_z,)
    mu   mean of z' over generated images, (d_z,); 0 in the thesis
    s    scale of the latents that the generator was trained with, (d_z,)
    c    classes, (N, L, K) one-hot

Deviation: v and mu in scores belong to the averaged encoder that is used, measured on fresh
samples after training (`calibration`; "traced" is the thesis, with mu = 0).
Deviation: with uniform latents the likelihood is still that of a normal with the codes' mean and
variance, which they do not follow.  It ranks codes by their weighted distance from the mean; a
threshold on it is calibrated on own images and holds, the nats themselves mean nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.compute.passes import in_passes
from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.core.saving.artifact import Artifact, Saved, damage_named
from wherefrom.core.saving.store import load_artifact
from wherefrom.data.images.in_memory import Pictures, as_files, stacked
from wherefrom.data.images.items import read_image
from wherefrom.data.images.writing import to_float
from wherefrom.inversion.config import InversionConfig
from wherefrom.inversion.equations import draw_latents, log_likelihood_terms
from wherefrom.inversion.networks.assembly import Classes, Networks, build_networks
from wherefrom.inversion.networks.bodies import Architecture, StandardArchitecture

FITTED = "inverter"  # the fitted folder inside that of a run
NETWORKS = "networks."  # names of their tensors
PASS_ROWS = 64  # images per pass through the networks


@dataclass(frozen=True, eq=False)
class FittedInverter(Artifact):
    """A trained generator with what inverts it.  Images are float32 (N, C, H, W) in [0, 1].

    Vectors (N, D) are taken and given as they are.  What a method lacks is an `InputError`, except
    that `classify` gives None.
    """

    kind: ClassVar[str] = "inversion/inverter"
    schema: ClassVar[int] = 2  # 1: models whose equalised weights had no gain
    again: ClassVar[str] = "train it again"
    config: InversionConfig
    shape: tuple[int, ...]  # (C, H, W), or (D,)
    networks: Networks
    trace: Tensor  # (d_z,) v
    scale: Tensor  # (d_z,) s
    mean: Tensor  # (d_z,) mu
    prior: Tensor  # (L, K) P(C); (1, 1) without classes
    directions: Tensor  # (d_z, L, K) AEDLSGAN's fixed classifier w; (d_z, 0, 0) elsewhere
    provenance: Mapping[str, Any]  # seed, data digest, class names, step if stopped; JSON values

    @property
    def size(self) -> int:
        """Side of the images; the length of vectors."""
        return self.shape[-1]

    @property
    def channels(self) -> int:
        """1 or 3; 1 for vectors."""
        return self.shape[0] if len(self.shape) == 3 else 1

    @property
    def classes(self) -> Classes:
        """Labels per image and classes per label."""
        return Classes(*self.prior.shape)

    @property
    def stopped_at(self) -> tuple[int, int] | None:
        """Step and steps of a run that has not ended; None for one that has."""
        step = self.provenance.get("step")
        return None if step is None else (int(step), int(self.provenance["steps"]))

    @property
    def needs_classes(self) -> bool:
        """Whether `decode` needs a class for every image."""
        generator = self.networks.generator
        return generator is not None and generator.classes > 1

    @property
    def device(self) -> torch.device:
        """Where the networks live."""
        return next(self.networks.parameters()).device

    def encode(self, images: Tensor | Pictures) -> Tensor:
        """z' = E(x): (N, *shape) -> (N, d_z) float32.

        `images` may also be files, arrays and Pillow images of the model's size.
        """
        if not isinstance(images, Tensor):
            images = self._opened(images)
        inverter = self.networks.inverter
        if inverter is None:
            raise self._lacks("encoder", "dlsgan, pvdgan, or cagan and cgpgan with inverts")
        return self._each(lambda x: inverter(_ranged(x)).code, self._incoming(images))

    def decode(self, codes: Tensor, labels: Tensor | None = None, *, clip: bool = True) -> Tensor:
        """G(z o s) as images: (N, d_z) -> (N, *shape) float32, clipped to [0, 1].

        `labels`: int64 (N,) or (N, L), needed where the generator makes images of a class.
        Without `clip` values below 0 and above 1 stay, as the encoder saw them in training; vectors
        are never clipped.
        """
        if codes.ndim != 2 or codes.shape[1] != self.config.latent:
            raise InputError(
                f"codes of shape {tuple(codes.shape)}, expected (N, {self.config.latent})"
            )
        inputs = [codes.to(self.device, torch.float32) * self.scale]
        if self.needs_classes:
            if labels is None or len(labels) != len(codes):
                given = "none" if labels is None else str(len(labels))
                raise InputError(
                    f"{self.config.method} makes images of a class; {given} given for {len(codes)} "
                    "codes, give one label per code"
                )
            inputs.append(self.one_hot(labels))
        images = self._each(self.generate, *inputs)
        return images.clamp(0, 1) if clip and len(self.shape) == 3 else images

    def generate(self, scaled: Tensor, c: Tensor | None = None) -> Tensor:
        """G of scaled codes and one-hot classes, in the range of images but not clipped to it.

        It is `decode` with a gradient: one pass over all rows.
        """
        if self.networks.generator is None:
            raise self._lacks("generator", "any other method")
        out: Tensor = self.networks.generator(scaled, c)
        return out if len(self.shape) == 1 else (out + 1) / 2

    def sample(
        self,
        count: int,
        *,
        seed: int,
        label: int | tuple[int, ...] | None = None,
        truncation: float = 1.0,
    ) -> Tensor:
        """`count` images of fresh latents; image i depends on the seed and i only.

        `label`: a class, one per label; None draws classes from the prior.  `truncation` (above 0,
        at most 1) draws latents nearer to their mean: z = truncation * z_0.
        """
        if count < 1:
            raise InputError(f"{count} samples; give at least 1")
        if not 0 < truncation <= 1:
            raise InputError(f"truncation {truncation:g}, expected above 0 and at most 1")
        if label is not None and not self.needs_classes:
            raise InputError(f"{self.config.method} makes no images of a wanted class")
        wanted = None if label is None else self._checked_label(label)
        z, drawn = [], []
        for index in range(count):
            rng = stream(seed, "inversion", "sample", index)
            z.append(draw_latents(1, self.config.latent, self.config.latents, rng))
            rows = torch.multinomial(self.prior.cpu().float(), 1, generator=rng)[:, 0]
            drawn.append(rows if wanted is None else wanted)
        codes = truncation * torch.cat(z).to(self.device)
        if not self.config.recipe.has_prior:  # N(mean, v) is fitted to its codes
            codes = self.mean + codes * self.trace.sqrt()
        return self.decode(codes, torch.stack(drawn) if self.needs_classes else None)

    def reconstruct(self, images: Tensor) -> Tensor:
        """G(E(x) o s), with the likeliest class where the generator needs one."""
        return self.decode(self.encode(images), self.likeliest(images))

    def likeliest(self, images: Tensor) -> Tensor | None:
        """The class that `decode` needs, int64 (N, L); None where it needs none."""
        if not self.needs_classes:
            return None
        logits = self.logits(images)
        if logits is None:
            raise InputError(
                f"{self.config.method} does not know the class of an image, which its generator "
                "needs; encode, then decode with labels"
            )
        return logits.argmax(dim=2)

    def negative_log_likelihood(self, codes: Tensor) -> Tensor:
        """-sum_i log N(z'_i; mu_i, v_i), (N,) float64.  AnoDLSGAN, Eq. 37.

        Deviation: in closed form; the thesis' code takes the logarithm of a density that
        underflows beyond 13 deviations.
        """
        v, mean = self.trace.double(), self.mean.double()
        return -log_likelihood_terms(codes.double(), mean, v).sum(dim=1)

    def features(self, images: Tensor) -> Tensor:
        """The layer before the heads: (N, F) float32, of the classifier, critic or encoder.

        F is d_z, after a ReLU, for the method "classifier".
        """
        networks = self.networks
        source = networks.sorter or networks.critic or networks.encoder
        if source is None:
            raise self._lacks("critic", "any other method")
        return self._each(lambda x: source(_ranged(x)).features, self._incoming(images))

    def logits(self, images: Tensor) -> Tensor | None:
        """Class logits (N, L, K) float32, None where the method has no classifier."""
        sorter = self.networks.sorter
        if sorter is None:
            return None
        return self._each(lambda x: sorter(_ranged(x)).logits, self._incoming(images))

    def logits_of_features(self, features: Tensor) -> Tensor | None:
        """The same from `features` that may have been changed, as ReAct does."""
        sorter = self.networks.sorter
        return None if sorter is None else self._each(sorter.logits_of, features.to(self.device))

    def classify(self, images: Tensor) -> Tensor | None:
        """Class probabilities, (N, K), with several labels (N, L, K); None without a classifier."""
        logits = self.logits(images)
        if logits is None:
            return None
        probabilities = logits.softmax(dim=2)
        return probabilities[:, 0] if self.classes.labels == 1 else probabilities

    def find_attribute(self, name: str) -> tuple[int, int]:
        """Label and class that AEDLSGAN's `edit_attribute` takes, by name or by number.

        The names are those of the attributes, of which class 1 is "has it", or of the classes.
        """
        known = list(self.provenance.get("label_names", ()))
        several = self.classes.labels > 1
        count = self.classes.labels if several else self.classes.classes
        place = known.index(name) if name in known else int(name) if name.isdecimal() else -1
        if not 0 <= place < count:
            listed = ", ".join(map(str, known)) if known else f"0 to {count - 1}"
            raise InputError(f"no attribute {name!r}; this model was trained with: {listed}")
        return (place, 1) if several else (0, place)

    def to(self, device: torch.device | str) -> FittedInverter:
        """The same inverter on another device (the networks move, they are not copied)."""
        self.networks.to(device)
        moved = {name: getattr(self, name).to(device) for name in _TENSORS}
        return dataclasses.replace(self, **moved)

    def to_saved(self) -> Saved:
        """The settings and every tensor of the networks."""
        tensors = {f"{NETWORKS}{k}": v for k, v in self.networks.state_dict().items()}
        tensors |= {name: getattr(self, name) for name in _TENSORS}
        meta = {
            "config": self.config.to_dict(),
            "shape": list(self.shape),
            "classes": list(self.prior.shape),
            "provenance": dict(self.provenance),
        }
        return Saved(meta, tensors)

    @classmethod
    def from_saved(cls, saved: Saved, architecture: Architecture | None = None) -> Self:
        """The inverter again; `architecture` where it was trained with networks of your own."""
        meta = saved.meta
        config = InversionConfig.from_dict(meta["config"])
        shape = tuple(int(side) for side in meta["shape"])
        provenance = dict(meta["provenance"])
        if provenance.get("own_networks") and architecture is None:
            raise InputError("the model was trained with networks of your own; pass `architecture`")
        bodies = architecture or StandardArchitecture(config, shape)
        networks = build_networks(config, shape, Classes(*meta["classes"]), bodies, seed=0)
        networks.load_state_dict(
            {
                name.removeprefix(NETWORKS): tensor
                for name, tensor in saved.tensors.items()
                if name.startswith(NETWORKS)
            }
        )
        networks.eval().requires_grad_(False)
        values = {name: saved.tensors[name] for name in _TENSORS}
        return cls(config=config, shape=shape, networks=networks, provenance=provenance, **values)

    def _opened(self, images: Pictures) -> Tensor:
        with as_files(images) as paths:
            read = [read_image(path, channels=self.channels, losses=False) for path in paths]
        return stacked([image.pixels for image in read])

    def _incoming(self, images: Tensor) -> Tensor:
        if tuple(images.shape[1:]) != self.shape:
            given, wanted = ("x".join(map(str, s)) for s in (images.shape[1:], self.shape))
            raise InputError(f"images of {given}, this model takes {wanted}; pass that size")
        if images.dtype == torch.uint8 and len(self.shape) == 3:
            return images.to(self.device)  # made floats part by part, as `_ranged` does
        if not images.is_floating_point():
            raise InputError(
                f"images are {images.dtype}, expected uint8 or floating point in [0, 1]"
            )
        x = images.to(self.device, torch.float32)
        return x if len(self.shape) == 1 else 2 * x - 1

    @torch.no_grad()
    def _each(self, apply: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        return in_passes(apply, *inputs, size=PASS_ROWS).float()

    def one_hot(self, labels: Tensor) -> Tensor:
        """Labels int64 (N,) or (N, L) as c, float32 (N, L, K)."""
        n, k = self.prior.shape
        rows = labels[:, None] if labels.ndim == 1 else labels
        if rows.ndim != 2 or rows.shape[1] != n or rows.is_floating_point():
            raise InputError(f"labels of shape {tuple(labels.shape)}, expected integers (N, {n})")
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < k:
            raise InputError(f"labels must be 0 to {k - 1}")
        return F.one_hot(rows.long(), k).to(self.device, torch.float32)

    def _checked_label(self, label: int | tuple[int, ...]) -> Tensor:
        rows = torch.tensor([label] if isinstance(label, int) else list(label))
        self.one_hot(rows[None])
        return rows

    def _lacks(self, what: str, instead: str) -> InputError:
        return InputError(f"{self.config.method} has no {what}; train {instead}")


_TENSORS = ("trace", "scale", "mean", "prior", "directions")


def _ranged(x: Tensor) -> Tensor:
    """Part of what `_incoming` gave in the networks' range."""
    return 2 * to_float(x) - 1 if x.dtype == torch.uint8 else x


def load(
    path: Path | str,
    *,
    device: torch.device | str = "cpu",
    architecture: Architecture | None = None,
) -> FittedInverter:
    """Read a fitted folder, or that of a run.  Networks of your own are needed here again."""
    inside = Path(path) / FITTED
    source = inside if inside.is_dir() else Path(path)
    meta, tensors = load_artifact(source, kind=FittedInverter.kind, schema=FittedInverter.schema)
    with damage_named(source, again=FittedInverter.again):
        fitted = FittedInverter.from_saved(Saved(meta, tensors), architecture)
    return fitted.to(device)
