"""Scores of held-out images, and the p-values and shares that are computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from wherefrom.attribution.config import AttributionConfig
from wherefrom.calibration.conformal import (
    guaranteed_rate,
    lower_p_values,
    require_rate,
    upper_p_values,
)
from wherefrom.core.errors import InputError

SIBLING = "sibling."  # in a tensor's name, before the kind of a self-made sibling


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """Scores of held-out images in one condition (`conditions`), float64."""

    own: Tensor  # (n,)
    other: Tensor  # (m,)
    siblings: Mapping[str, Tensor] = field(default_factory=dict)  # (k,) by kind; empty: no guard

    def require_rates(self, config: AttributionConfig) -> None:
        """An `InputError` if the rates need more held-out images than those that were scored."""
        rate, own = config.false_negative_rate, len(self.own)
        require_rate(rate, own, what="false-negative rate")
        guaranteed_rate(rate, own, config.confidence, what="false-negative rate")
        require_rate(config.false_positive_rate, len(self.other), what="false-positive rate")
        for kind, scores in self.siblings.items():
            require_rate(config.sibling_rate, len(scores), what=f"sibling rate ({kind})")

    def supports_rates(self, config: AttributionConfig) -> bool:
        """Whether there are enough scores for the rates: a condition may lack them."""
        try:
            self.require_rates(config)
        except InputError:
            return False
        return True

    def p_values(self, scores: Tensor) -> list[tuple[float, float, float | None]]:
        """Per score, the p-values among own, other and sibling images; None without siblings."""
        own = upper_p_values(scores, self.own).tolist()
        other = lower_p_values(scores, self.other).tolist()
        siblings: list[float | None] = [None] * len(scores)
        if self.siblings:
            siblings = sibling_p_values(scores, self.siblings).tolist()
        return list(zip(own, other, siblings, strict=True))

    def to_tensors(self, head: str) -> dict[str, Tensor]:
        """The scores by name, each name after `head`."""
        siblings = {f"{head}{SIBLING}{kind}": scores for kind, scores in self.siblings.items()}
        return {f"{head}own": self.own, f"{head}other": self.other, **siblings}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], head: str) -> Self:
        """What `to_tensors` gave."""
        start = head + SIBLING
        kinds = sorted(name.removeprefix(start) for name in tensors if name.startswith(start))
        siblings = {kind: tensors[start + kind] for kind in kinds}
        return cls(tensors[f"{head}own"], tensors[f"{head}other"], siblings)


def describe_calibration(known: HeldOutScores, config: AttributionConfig) -> dict[str, Any]:
    """How many images calibrate, the smallest rates that they support, and `called_ours`."""
    own, other = len(known.own), len(known.other)
    return {
        "own_calibration_images": own,
        "other_calibration_images": other,
        "smallest_false_negative_rate": 1 / (own + 1),
        "smallest_false_positive_rate": 1 / (other + 1),
        "called_ours": called_ours(known, config),
    }


def called_ours(known: HeldOutScores, config: AttributionConfig) -> dict[str, float]:
    """Share of the held-out images of each kind that is called "made by this model".

    "own", "other", and "sibling, KIND" for each kind of self-made sibling: what the guards leave of
    that answer for the model's own images, beside what they let pass.
    """
    missed = config.false_negative_rate
    lowest = guaranteed_rate(missed, len(known.own), config.confidence, what="false-negative rate")
    held = {"own": known.own, "other": known.other}
    held |= {f"sibling, {kind}": scores for kind, scores in known.siblings.items()}
    shares = {}
    for name, scores in held.items():
        fits = upper_p_values(scores, known.own) > lowest
        fits &= lower_p_values(scores, known.other) <= config.false_positive_rate
        if known.siblings:
            fits &= sibling_p_values(scores, known.siblings) <= config.sibling_rate
        shares[name] = float(fits.double().mean())
    return shares


def sibling_p_values(scores: Tensor, siblings: Mapping[str, Tensor]) -> Tensor:
    """The largest over the kinds of the p-values against siblings of a kind, (N,) float64.

    Calling at p <= rate keeps the rate for every kind, not only for their mixture.
    """
    return torch.stack([lower_p_values(scores, held) for held in siblings.values()]).amax(dim=0)
