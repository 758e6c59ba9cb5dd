"""The fitted map W, and its settings.

Wang et al.: Generalizable Origin Identification for Text-Guided Image-to-Image Diffusion Models,
2025.  Larger cosine of two projections = more likely that one image was made from the other.

Deviation: embeddings are centred by the mean of the origins before W (`centre`); the paper
multiplies them as they are.  A mean shared by all images says nothing about which one it is, but
raises every cosine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.compute.passes import in_passes
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.core.saving.store import digest_tensors
from wherefrom.encoders.encoder import EncoderIdentity
from wherefrom.origin.equations import transform

PROJECT_ROWS = 64  # of every product with W
SEEN = "seen"  # the tensor's name; not in `digest`, because it decides no projection


@dataclass(frozen=True, kw_only=True)
class EditMapConfig(Config):
    """Settings of `fit_edit_map`."""

    solver: str = setting(
        "closed",
        "closed: generalised eigenproblem; sgd: metric learning as in the paper",
        choices=("closed", "sgd"),
    )
    rank: int = setting(512, "columns of W", source="Fig. 8", low=1)
    centre: bool = setting(True, "subtract the mean of the origins first")
    stationary: bool = setting(
        True, "closed: covariances are diagonal in cosine waves of the latent grid"
    )
    power: float = setting(
        1.0, "closed, stationary: waves are weighed by S_d to minus this", low=0.0, high=4.0
    )
    ridge: float = setting(1e-2, "closed: added to S_d, in units of its mean eigenvalue", low=0.0)
    loss: str = setting(
        "cosface", "sgd: the loss", source="Table 6", choices=("cosface", "softmax", "circle")
    )
    scale: float = setting(64.0, "sgd: s of CosFace", source="the authors' code", low=0.0)
    margin: float = setting(0.35, "sgd: m of CosFace", source="the authors' code", low=0.0)
    circle_scale: float = setting(256.0, "sgd: s of Circle loss", source="Circle loss", low=0.0)
    circle_margin: float = setting(0.25, "sgd: m of Circle loss", source="Circle loss", low=0.0)
    images_per_id: int = setting(4, "sgd: images of an origin per step", source="code", low=1)
    ids_per_batch: int = setting(128, "sgd: origins per step", source="code", low=2)
    epochs: int = setting(25, "sgd: epochs", source="code", low=1)
    steps_per_epoch: int = setting(2000, "sgd: steps of an epoch", source="code", low=1)
    learning_rate: float = setting(3.5e-4, "sgd: Adam's peak step", source="Section 5.1", low=0.0)
    warm_up: int = setting(5, "sgd: epochs in which the step rises", source="code", low=0)
    flat: int = setting(5, "sgd: epochs at the peak, before a cosine", source="code", low=0)
    ema: float = setting(0.9999, "sgd: decay of the averaged W", source="code", low=0.0, high=1.0)
    start: str = setting(
        "random", "sgd: where W starts", source="code", choices=("random", "closed")
    )
    layers: int = setting(
        1, "sgd: layers, above 1 the MLP of the ablation", source="Fig. 9", low=1, high=16
    )


@dataclass(frozen=True, eq=False)
class FittedEditMap(Artifact):
    """A fitted map W from embeddings to rows that are compared by their cosine."""

    kind = "origin/edit-map"
    schema = 1

    config: EditMapConfig
    weight: Tensor  # W, (n, m) float32
    layers: tuple[Tensor, ...]  # (m, m) each, of the MLP in the ablation; () for the paper's W
    mean: Tensor  # (n,) float32, subtracted first; zeros without `centre`
    encoder: EncoderIdentity
    history: tuple[Mapping[str, float], ...]  # per epoch: loss and mean cosines (Fig. 7)
    provenance: Mapping[str, Any]  # data, seed; JSON values
    seen: Tensor | None = None  # int64, `core.contents` of the training images; None: not recorded

    @property
    def dimension(self) -> int:
        """n, the length of an embedding."""
        return self.weight.shape[0]

    @property
    def rank(self) -> int:
        """m, the length of a projection."""
        return self.weight.shape[1]

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides a projection, the encoder included."""
        return digest_tensors({**self._tensors(), self.encoder.digest: torch.zeros(0)})

    def project(self, embeddings: Tensor) -> Tensor:
        """Unit rows (N, m) float32 of embeddings (N, n), each the same in whatever batch it comes.

        An embedding equal to the mean has no direction; its row is 0.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dimension:
            raise InputError(
                f"embeddings of shape {tuple(embeddings.shape)}, this map needs (N, "
                f"{self.dimension}); use the {self.encoder.kind} that it was fitted with"
            )
        if not bool(torch.isfinite(embeddings).all()):
            raise InputError("the embeddings hold NaN or infinite values; leave those images out")
        return in_passes(self._project, embeddings, size=PROJECT_ROWS)

    def _project(self, x: Tensor) -> Tensor:
        f = transform(x - self.mean, self.weight)
        return F.normalize(through_layers(f, self.layers))

    def require_encoder(self, encoder: EncoderIdentity) -> None:
        """An `InputError` that names what differs if this map was fitted for another encoder."""
        self.encoder.require_same(encoder, what="the embeddings of this edit map")

    def to(self, device: torch.device | str) -> FittedEditMap:
        """The same map on another device."""
        layers = tuple(layer.to(device) for layer in self.layers)
        weight, mean = self.weight.to(device), self.mean.to(device)
        return replace(self, weight=weight, layers=layers, mean=mean)

    def to_saved(self) -> Saved:
        meta = {
            "config": self.config.to_dict(),
            "encoder": self.encoder.to_dict(),
            "history": [dict(row) for row in self.history],
            "provenance": dict(self.provenance),
        }
        return Saved(meta, self._tensors() | ({} if self.seen is None else {SEEN: self.seen}))

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        config = EditMapConfig.from_dict(saved.meta["config"])
        return cls(
            config=config,
            weight=saved.tensors["weight"],
            layers=tuple(saved.tensors[f"layer.{i}"] for i in range(config.layers - 1)),
            mean=saved.tensors["mean"],
            encoder=EncoderIdentity.from_dict(saved.meta["encoder"]),
            history=tuple(saved.meta["history"]),
            provenance=saved.meta["provenance"],
            seen=saved.tensors.get(SEEN),
        )

    def _tensors(self) -> dict[str, Tensor]:
        layers = {f"layer.{index}": layer for index, layer in enumerate(self.layers)}
        return {"weight": self.weight, "mean": self.mean, **layers}


def through_layers(f: Tensor, layers: tuple[Tensor, ...]) -> Tensor:
    """f -> f + relu(f) A for each further layer A (m, m), (N, m).  The ablation of Fig. 9.

    The paper says "ReLU activation and residual connections" and no more.
    """
    for layer in layers:
        f = f + f.relu() @ layer
    return f
