"""Immunisation: training on images that were altered like those that will be checked.

Laszkiewicz et al., ICML 2024, Section 5.2 and Table 3: a detector that has seen an alteration in
training stands it better.

Deviation: the paper trains one detector per alteration, the very one that is then tested; here one
detector sees all kinds, strengths at random, and chains of two, and any kind may be left out to
test on.  With `experts` there is one per kind that a file shows (`conditions.Specialty`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from wherefrom.attribution.config import AttributionConfig, TrainedConfig
from wherefrom.core.rng import derive_seed
from wherefrom.data.altering.degradations import CHAIN, KINDS, degrade_all


@dataclass(frozen=True)
class Immunity:
    """The alterations of the images that a method learns from, the same for every class.

    Own images, the others and self-made negatives pass the same kinds at the same rate, so that no
    trace of an alteration tells one class from another.
    """

    share: float = 0.0
    kinds: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: AttributionConfig) -> Self:
        """What the settings ask for; nothing for a method that does not learn."""
        if not isinstance(config, TrainedConfig) or config.immunise == 0:
            return cls()
        kinds = tuple(kind for kind in (*KINDS, CHAIN) if kind != config.left_out)
        if config.left_out in KINDS:  # a chain may hold any kind
            kinds = tuple(kind for kind in kinds if kind != CHAIN)
        return cls(config.immunise, kinds)

    def applied(self, images: Tensor, seed: int, *path: object) -> Tensor:
        """uint8 (N, C, H, W) after it; image i depends on itself, i and the path only."""
        if not self.kinds:
            return images
        return degrade_all(
            images,
            self.kinds,
            seed=derive_seed(seed, "immunity", *path),
            clean_share=1 - self.share,
        )


NONE = Immunity()
