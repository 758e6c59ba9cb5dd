"""Fitted values saved as one folder: a class states its parts and how to rebuild itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from wherefrom.core.errors import ArtifactError, WherefromError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.store import load_artifact, save_artifact

# Raised while a value is rebuilt from parts that are missing or of the wrong form.
WRONG_PARTS = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError)


@dataclass(frozen=True)
class Saved:
    """What a folder holds: `meta`, JSON values without NaN, and named tensors."""

    meta: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


class Artifact(ABC):
    """Base of values with `save` and `load`.

    A class states its `kind`, its `schema` (a number that goes up when the saved parts change),
    `again` (the advice for a damaged folder), `to_saved` and `from_saved`.
    """

    kind: ClassVar[str]
    schema: ClassVar[int]
    again: ClassVar[str] = "fit it again"

    @abstractmethod
    def to_saved(self) -> Saved:
        """The parts to save, from which `from_saved` rebuilds this value."""

    @classmethod
    @abstractmethod
    def from_saved(cls, saved: Saved) -> Self:
        """Rebuild the value.  Errors of missing or wrong parts are translated by `load`."""

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the folder `path`, whole or not at all.

        An `InputError` if something else than an artifact stands at `path`, if an artifact does and
        `overwrite` is False, or if the disk cannot be written.
        """
        saved = self.to_saved()
        save_artifact(
            Path(path),
            kind=self.kind,
            schema=self.schema,
            meta=saved.meta,
            tensors=saved.tensors,
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read the folder `path`; an `ArtifactError` if it is damaged, or of another kind."""
        meta, tensors = load_artifact(Path(path), kind=cls.kind, schema=cls.schema)
        with damage_named(Path(path), again=cls.again):
            return cls.from_saved(Saved(meta, tensors))


@contextmanager
def damage_named(path: Path, *, again: str = "fit it again") -> Iterator[None]:
    """Translate errors of missing or wrong parts into one `ArtifactError` that names the folder.

    `again` is the advice in its message.  A `WherefromError` passes unchanged.
    """
    try:
        yield
    except WherefromError:
        raise
    except WRONG_PARTS as error:
        raise ArtifactError(f"{show_path(path)} is damaged ({error}); {again}") from error
