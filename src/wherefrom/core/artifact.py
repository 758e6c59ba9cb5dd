"""Values that are saved as one folder: each says what of it is kept, and how it is built again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from wherefrom.core.errors import ArtifactError, WherefromError
from wherefrom.core.paths import show_path
from wherefrom.core.store import load_artifact, save_artifact

# What reading the parts of a folder raises where a part is missing or is not what it should be.
WRONG_PARTS = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError)


@dataclass(frozen=True)
class Saved:
    """What a folder holds: `meta`, JSON values without NaN, and named tensors."""

    meta: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


class Artifact:
    """A value that is saved whole and loaded whole; `save` and `load` are written here only.

    A class states its `kind`, its `schema` (a number that changes with what is kept), `again` (what
    a person does about a damaged folder), and the two methods below.
    """

    kind: ClassVar[str]
    schema: ClassVar[int]
    again: ClassVar[str] = "fit it again"

    def to_saved(self) -> Saved:
        """What is kept of this value."""
        raise NotImplementedError

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        """The value again.  What a part raises that is missing or wrong is translated by `load`."""
        raise NotImplementedError

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the folder `path`, whole or not at all.

        An `InputError` where something stands there that is no artifact, or is one and `overwrite`
        is False; an `OSError` of the disk is an `InputError` too.
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
    """Errors of parts that are missing or wrong become one `ArtifactError` that names the folder.

    `again` says what to do about it.  Errors that are the user's to mend pass as they are.
    """
    try:
        yield
    except WherefromError:
        raise
    except WRONG_PARTS as error:
        raise ArtifactError(f"{show_path(path)} is damaged ({error}); {again}") from error
