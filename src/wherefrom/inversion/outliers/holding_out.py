"""Images that a run does not train on, so that outliers can be calibrated on them.

Which ones depends on their content and the seed, not on their names or order; equal images stay
together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.core.saving.store import digest_tensors
from wherefrom.data.splits import split_indices
from wherefrom.inversion.outliers.calibrated import MIN_OWN

PLACE = "held-out"  # inside the folder of a run


@dataclass(frozen=True, eq=False)
class HeldOut(Artifact):
    """Images of the training folder that the model has never seen, each content once."""

    kind: ClassVar[str] = "inversion/held-out"
    schema: ClassVar[int] = 1
    again: ClassVar[str] = "train again"
    images: Tensor  # (N, C, S, S) uint8
    share: float
    seed: int

    def to_saved(self) -> Saved:
        """The images, and how they were chosen."""
        meta = {"share": self.share, "seed": self.seed, "images": len(self.images)}
        return Saved(meta, {"images": self.images.contiguous()})

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        """The held-out images again."""
        meta = saved.meta
        return cls(saved.tensors["images"], float(meta["share"]), int(meta["seed"]))


def hold_out(
    images: Tensor, labels: Tensor | None, share: float, *, seed: int
) -> tuple[Tensor, Tensor | None, HeldOut]:
    """Images (N, C, S, S) uint8 to train on, their labels, and what is held out of all contents."""
    if not 0 < share < 1:
        raise InputError(f"the share to hold out is {share}; give one between 0 and 1")
    first: dict[str, int] = {}
    keys = [digest_tensors({"": image}) for image in images]
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    count = round(share * len(first))
    if count < MIN_OWN:
        raise InputError(
            f"{share:g} of {len(first)} different images are {count}; hold out at least "
            f"{MIN_OWN}, better hundreds"
        )
    contents = list(first)
    held = {contents[i] for i in split_indices(contents, {"held": count}, seed=seed)["held"]}
    trained = [row for row, key in enumerate(keys) if key not in held]
    rows = [row for key, row in first.items() if key in held]
    rest = None if labels is None else labels[trained]
    return images[trained], rest, HeldOut(images[rows], share, seed)
