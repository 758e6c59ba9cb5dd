"""Properties of a model: one number each, larger = more of what is wanted.

A property is computed from the output of a run (images, and its network if that was saved).  So a
new property can be measured of finished runs, without training.

Inception Score (Eq. 7), entropy over clusters (Eq. 8), a percentile of a linear head over features,
diversity, minus the Frechet distance, minus the diffusion loss, and the similarity to one image.
Distances and losses carry a minus, so that a larger share is always more credit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.compute.passes import in_passes
from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.core.saving.store import digest_tensors
from wherefrom.credit.diffusion.model import Diffusion, simple_losses
from wherefrom.credit.diffusion.schedules import STEPS
from wherefrom.data.images.writing import to_float
from wherefrom.metrics.feature_sets.frechet import frechet_distance, frechet_from_moments
from wherefrom.metrics.feature_sets.inception_score import inception_score

CHUNK = 64


@dataclass(frozen=True, eq=False)
class RunOutput:
    """The output of a run: `images`, uint8 (N, C, H, W), and its network if that was saved."""

    images: Tensor
    model: Diffusion | None = None


class Property(Protocol):
    """A number computed from the output of a run."""

    @property
    def name(self) -> str:
        """The name in the ledger."""
        ...

    @property
    def spec(self) -> Mapping[str, Any]:
        """JSON values that change whenever the number may."""
        ...

    def __call__(self, output: RunOutput) -> float:
        """The number.  An exception, or a number that is not finite, is recorded as its error."""
        ...


class Embedder(Protocol):
    """A frozen encoder from images to features."""

    @property
    def digest(self) -> str:
        """Identifies the encoder; it changes whenever the features may."""
        ...

    def features(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> float32 (N, D)."""
        ...

    def logits(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> class logits (N, K); `InputError` if it has no classes."""
        ...


@dataclass(frozen=True)
class PixelEmbedder:
    """The pixels themselves as features."""

    digest: str = "pixels"

    def features(self, images: Tensor) -> Tensor:
        """(N, C * H * W) in [0, 1]."""
        return to_float(images).flatten(1)

    def logits(self, images: Tensor) -> Tensor:
        """Pixels have no classes."""
        raise InputError("pixels have no classes; name a classifier as the encoder")


@dataclass(frozen=True, eq=False)
class NetworkEmbedder:
    """A `FeatureEncoder` of wherefrom.encoders; grey images are given to it in three channels."""

    encoder: Any

    @property
    def digest(self) -> str:
        """The encoder's identity."""
        return str(self.encoder.identity.digest)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """float32 (N, D) on the CPU."""

        def rows(part: Tensor) -> Tensor:
            features: Tensor = self.encoder.features(to_float(part).expand(-1, 3, -1, -1))
            return features

        return in_passes(rows, images.to(self.encoder.device), size=CHUNK).cpu()

    def logits(self, images: Tensor) -> Tensor:
        """(N, K) on the CPU."""
        logits: Tensor | None = self.encoder.logits(self.features(images).to(self.encoder.device))
        if logits is None:
            raise InputError("this encoder has no classes; name an encoder with a classifier")
        return logits.cpu()


@dataclass(frozen=True, eq=False)
class Measure:
    """A property from a function, its name, and the JSON values that identify it."""

    name: str
    spec: Mapping[str, Any]
    function: Callable[[RunOutput], float]

    def __call__(self, output: RunOutput) -> float:
        """The number."""
        return float(self.function(output))


def inception_measure(name: str, embedder: Embedder) -> Measure:
    """exp(E KL(p(y | x) || p(y))).  Eq. 7."""
    spec = {"kind": "inception-score", "encoder": embedder.digest}
    return Measure(name, spec, lambda output: inception_score(embedder.logits(output.images)))


def cluster_entropy_measure(
    name: str, embedder: Embedder, reference: Tensor, clusters: int
) -> Measure:
    """Entropy in nats of the shares of images in each cluster.  Eq. 8.

    The clusters are Ward's, of the features of `reference` (uint8 images, as the full model's), the
    same for all runs.  An image belongs to the cluster with the smallest mean Euclidean distance to
    its members.

    Deviation: the authors' code uses the largest similarity minus the similarity as the distance,
    and base 2; the base only scales.
    """
    known = embedder.features(reference).double()
    labels = ward_clusters(known, clusters)
    spec = {
        "kind": "cluster-entropy",
        "encoder": embedder.digest,
        "clusters": clusters,
        "reference": digest_tensors({"images": reference}),
    }

    def entropy(output: RunOutput) -> float:
        nearest = nearest_clusters(embedder.features(output.images).double(), known, labels)
        share = torch.bincount(nearest, minlength=clusters).double() / len(output.images)
        return float(torch.special.entr(share).sum())

    return Measure(name, spec, entropy)


def ward_clusters(features: Tensor, clusters: int) -> Tensor:
    """Labels 0 ... clusters - 1 of Ward's hierarchy over (N, D), int64 (N,)."""
    if not 2 <= clusters <= len(features):
        raise InputError(f"{clusters} clusters of {len(features)} images; give 2 to that many")
    tree = linkage(features.numpy(), method="ward")
    labels = fcluster(tree, clusters, criterion="maxclust") - 1
    if len(np.unique(labels)) < clusters:
        raise InputError(
            f"the reference images form {len(np.unique(labels))} clusters, not {clusters}; "
            "give fewer clusters or other images"
        )
    return torch.from_numpy(labels).long()


def nearest_clusters(features: Tensor, known: Tensor, labels: Tensor) -> Tensor:
    """The cluster of smallest mean distance for each row of `features` (N, D), int64 (N,).

    `known` (M, D) are the members of the clusters, `labels` int64 (M,) their clusters, 0 ... K - 1.
    """
    nearest = []
    for part in torch.split(features, CHUNK):
        distances = torch.cdist(part, known)
        means = [distances[:, labels == k].mean(1) for k in range(int(labels.max()) + 1)]
        nearest.append(torch.stack(means, dim=1).argmin(1))
    return torch.cat(nearest)


def percentile_measure(
    name: str, embedder: Embedder, weight: Tensor, bias: float, quantile: float
) -> Measure:
    """A quantile of weight . f / |f| + bias over the images, f their features.

    The paper's aesthetic score is this with the features of CLIP and quantile 0.9.
    """
    if not 0 <= quantile <= 1:
        raise InputError(f"the quantile is {quantile}; give 0 to 1")
    spec = {
        "kind": "percentile",
        "encoder": embedder.digest,
        "head": digest_tensors({"weight": weight, "bias": torch.tensor(bias)}),
        "quantile": quantile,
    }

    def score(output: RunOutput) -> float:
        features = F.normalize(embedder.features(output.images).double(), dim=1)
        if features.shape[1] != weight.numel():
            raise InputError(
                f"the head reads {weight.numel()} features, the encoder gives {features.shape[1]}"
            )
        return float(torch.quantile(features @ weight.double().flatten() + bias, quantile))

    return Measure(name, spec, score)


def diversity_measure(name: str, embedder: Embedder) -> Measure:
    """Mean of 1 - cosine over all pairs of images."""

    def diversity(output: RunOutput) -> float:
        unit = F.normalize(embedder.features(output.images).double(), dim=1)
        n = len(unit)
        if n < 2:
            raise InputError("diversity needs at least 2 images")
        # The sum over all pairs is the square of the sum.
        return float(1 - (unit.sum(0).square().sum() - unit.square().sum()) / (n * (n - 1)))

    return Measure(name, {"kind": "diversity", "encoder": embedder.digest}, diversity)


def frechet_measure(name: str, embedder: Embedder, reference: Tensor) -> Measure:
    """Minus the Frechet distance to `reference`, uint8 images."""
    known = embedder.features(reference)
    spec = {
        "kind": "frechet",
        "encoder": embedder.digest,
        "reference": digest_tensors({"images": reference}),
    }
    return Measure(
        name, spec, lambda output: -frechet_distance(known, embedder.features(output.images))
    )


def frechet_moments_measure(
    name: str, embedder: Embedder, mean: Tensor, covariance: Tensor
) -> Measure:
    """Minus the Frechet distance to features with the given mean (D,) and covariance (D, D)."""
    spec = {
        "kind": "frechet",
        "encoder": embedder.digest,
        "reference": digest_tensors({"mu": mean, "sigma": covariance}),
    }

    def value(output: RunOutput) -> float:
        return -frechet_from_moments(mean, covariance, embedder.features(output.images))

    return Measure(name, spec, value)


def loss_measure(
    name: str, reference: Tensor, conditions: Tensor, *, draws: int = 8, seed: int = 0
) -> Measure:
    """Minus the mean diffusion loss (Eq. 1) on `reference`, uint8 images, or on one image.

    Each image has `draws` evenly spaced time steps, with its own noise, the same for every run.
    It needs runs whose network is saved.
    """
    spec = {
        "kind": "loss",
        "reference": digest_tensors({"images": reference, "conditions": conditions}),
        "draws": draws,
        "seed": seed,
    }

    @torch.no_grad()
    def loss(output: RunOutput) -> float:
        if output.model is None:
            raise InputError(
                "the loss needs the network of a run, and this run was made without one; set "
                "keep = 'weights' in [game], and the runs made from then on have one"
            )
        model = output.model
        model.network.eval()
        total = 0.0
        for number, image in enumerate(reference):
            x = model.codec.encode(to_float(image[None]).to(model.device))
            t = (torch.arange(draws) * STEPS // draws + STEPS // (2 * draws)).to(model.device)
            noise = torch.randn(
                draws, *x.shape[1:], generator=stream(seed, "credit", "loss", number)
            )
            given = conditions[number].expand(draws).to(model.device)
            batch = x.expand(draws, -1, -1, -1)
            total += float(simple_losses(model, batch, t, noise.to(model.device), given).mean())
        return -total / len(reference)

    return Measure(name, spec, loss)


def similarity_measure(name: str, embedder: Embedder, image: Tensor) -> Measure:
    """The largest cosine between the features of `image`, uint8 (C, H, W), and a run's."""
    known = F.normalize(embedder.features(image[None]).double(), dim=1)
    spec = {
        "kind": "similarity",
        "encoder": embedder.digest,
        "image": digest_tensors({"image": image}),
    }

    def similarity(output: RunOutput) -> float:
        unit = F.normalize(embedder.features(output.images).double(), dim=1)
        return float((unit @ known[0]).max())

    return Measure(name, spec, similarity)


def measure(
    properties: list[Property], output: RunOutput
) -> tuple[dict[str, float], dict[str, str]]:
    """Values, and errors, by name; an error of one property does not stop the others."""
    values, errors = {}, {}
    for each in properties:
        try:
            value = float(each(output))
        except Exception as error:
            errors[each.name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            continue
        if math.isfinite(value):
            values[each.name] = value
        else:
            errors[each.name] = f"the property gave {value}, expected a finite number"
    return values, errors
