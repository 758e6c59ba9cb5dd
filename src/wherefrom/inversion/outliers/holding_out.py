"""Images that a run keeps back: it never trains on them, so that outliers can be calibrated.

Which ones depends on their content and the seed, not on their names or order; equal images stay
together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from torch import Tensor

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.store import digest_tensors, load_artifact, save_artifact
from wherefrom.data.splits import split_indices
from wherefrom.inversion.outliers.calibrated import LEAST_OWN

SCHEMA = 1
PLACE = "held-out"  # inside the folder of a run


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Images of the training folder that the model has never seen, each content once."""

    kind: ClassVar[str] = "inversion/held-out"
    images: Tensor  # (N, C, S, S) uint8
    share: float
    seed: int

    @property
    def keys(self) -> list[str]:
        """A digest per image."""
        return [digest_tensors({"": image}) for image in self.images]

    def save(self, path: Path) -> None:
        """Write the folder, in place of an earlier one."""
        meta = {"share": self.share, "seed": self.seed, "images": len(self.images)}
        save_artifact(
            path,
            kind=self.kind,
            schema=SCHEMA,
            meta=meta,
            tensors={"images": self.images.contiguous()},
            overwrite=True,
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of `save`."""
        meta, tensors = load_artifact(path, kind=cls.kind, schema=SCHEMA)
        try:
            return cls(tensors["images"], float(meta["share"]), int(meta["seed"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{path} is damaged ({error}); train again") from error


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
    if count < LEAST_OWN:
        raise InputError(
            f"{share:g} of {len(first)} different images are {count}; hold out at least "
            f"{LEAST_OWN}, better hundreds"
        )
    contents = list(first)
    held = {contents[i] for i in split_indices(contents, {"held": count}, seed=seed)["held"]}
    kept = [row for row, key in enumerate(keys) if key not in held]
    rows = [row for key, row in first.items() if key in held]
    rest = None if labels is None else labels[kept]
    return images[kept], rest, HeldOut(images[rows], share, seed)
