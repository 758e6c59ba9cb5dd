"""The heads of critics, encoders and classifiers, and the generator with its class input.

Cho: PhD thesis, Concordia University, 2025.  Images are in [-1, 1] here, the generator's output is
not bounded.  The bodies behind are in `bodies`.

Symbols:
    d_z   dimensions of the code z
    L     labels per image (d_l), each with
    K     classes (d_c); c is (N, L, K), one-hot along K
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wherefrom.core.errors import InputError
from wherefrom.inversion.networks.layers import EqualisedLinear


class HeadOutputs(NamedTuple):
    """What a headed network reads from images; a head that it lacks gives (N, 0)."""

    scores: Tensor  # (N, L, K) adversarial values, one per class
    code: Tensor  # (N, d_z)
    log_variance: Tensor  # (N, d_z)
    logits: Tensor  # (N, L, K)
    features: Tensor  # (N, F), the layer before the heads


@dataclass(frozen=True, kw_only=True)
class Heads:
    """Lengths of the heads: scores and logits as L and K, codes as d_z."""

    scores: tuple[int, int] = (0, 0)
    code: int = 0
    log_variance: int = 0
    logits: tuple[int, int] = (0, 0)

    def sizes(self) -> list[int]:
        """Outputs of the joint dense layer, head by head."""
        return [
            self.scores[0] * self.scores[1],
            self.code,
            self.log_variance,
            self.logits[0] * self.logits[1],
        ]


class Headed(nn.Module):
    """A body (N, *shape) -> (N, F) and one dense layer that is cut into heads, in float32."""

    def __init__(self, body: nn.Module, features: int, heads: Heads) -> None:
        super().__init__()
        self.body, self.heads = body, heads
        self.head = EqualisedLinear(features, sum(heads.sizes()))

    def forward(self, x: Tensor) -> HeadOutputs:
        """(N, *shape) -> `HeadOutputs`."""
        f = self.body(x).flatten(1)
        with torch.autocast(x.device.type, enabled=False):
            f = f.float()
            parts = torch.split(self.head(f), self.heads.sizes(), dim=1)
        scores = parts[0].reshape(len(f), *self.heads.scores)
        return HeadOutputs(
            scores, parts[1], parts[2], parts[3].reshape(len(f), *self.heads.logits), f
        )

    def logits_of(self, features: Tensor) -> Tensor:
        """(N, F) -> (N, L, K), the last step of `forward` alone, for features that were changed."""
        logits = torch.split(self.head(features), self.heads.sizes(), dim=1)[3]
        return logits.reshape(len(features), *self.heads.logits)


class RectifiedCode(nn.Module):
    """A body, a dense layer of d_z and a ReLU: the classifier that energy scores are taken of."""

    def __init__(self, body: nn.Module, features: int, latent: int) -> None:
        super().__init__()
        self.body, self.code = body, EqualisedLinear(features, latent)

    def forward(self, x: Tensor) -> Tensor:
        """(N, *shape) -> (N, d_z), none below 0."""
        return torch.relu(self.code(self.body(x).flatten(1)))


class ConditionalGenerator(nn.Module):
    """(z o s, c) -> images (N, *shape).  c reaches the synthesis standardised, or as pages.

    Standardised: (K c - 1) / sqrt(K - 1), mean 0 and variance 1 per element for uniform c.  With a
    codebook (Section 3.5.1) each label adds the learnt page of its class instead.
    """

    def __init__(
        self, make: Callable[[int], nn.Module], *, latent: int, labels: int, classes: int,
        codebook: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.latent, self.labels, self.classes = latent, labels, classes
        plain = labels * classes if classes > 1 and not codebook else 0
        self.synthesis = make(latent + plain)
        self.pages: nn.Parameter | None = None
        if codebook:
            size = getattr(self.synthesis, "page_size", None)
            if size is None or classes < 2 or size % labels:
                raise InputError(
                    "a codebook needs a generator of this package and classes, and its start map "
                    f"({size} values) must divide by the {labels} labels; choose --no-codebook"
                )
            self.synthesis.expect_pages()  # type: ignore[operator]
            self.pages = nn.Parameter(torch.zeros(labels, classes, size // labels))

    def forward(self, latent: Tensor, c: Tensor | None = None) -> Tensor:
        """(N, d_z) scaled codes and (N, L, K) or None -> (N, *shape)."""
        if self.classes == 1:
            out: Tensor = self.synthesis(latent)
        elif c is None:
            raise InputError("this generator makes images of a class; give one class per code")
        elif self.pages is None:
            standard = (self.classes * c - 1) * (self.classes - 1) ** -0.5
            out = self.synthesis(torch.cat([latent, standard.flatten(1)], dim=1))
        else:
            pages = torch.einsum("nlk,lkp->nlp", c, self.pages).flatten(1)
            out = self.synthesis(latent, pages)
        return out


@torch.no_grad()
def count_features(body: nn.Module, shape: tuple[int, ...]) -> int:
    """F of a body, found by showing it a batch of two."""
    home = next(body.parameters()).device
    return int(body(torch.zeros(2, *shape, device=home)).flatten(1).shape[1])
