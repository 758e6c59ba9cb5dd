"""What an index was built with: its encoder and its edit map.

The folder of an encoder is stored as an absolute path and as a path relative to the index, so that
it is found by an index that was moved alone and by one that was moved together with it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from wherefrom.core.errors import InputError, WherefromError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.encoders import DEFAULT, Encoder, EncoderIdentity, load_encoder
from wherefrom.origin.edit_map.fitted import FittedEditMap
from wherefrom.origin.index.index import Index

SETUP = "setup"


@dataclass(frozen=True)
class BuildRecord(Artifact):
    """Where the encoder of an index is: a name or a folder, "" if unknown.

    `from_index`: of a folder, the relative path to it from the index.
    """

    kind = "origin/setup"
    schema = 2
    again = "build the index again"

    encoder: str
    from_index: str = ""

    @classmethod
    def of(cls, source: str, index: Path) -> Self:
        """The record of the encoder `source` for the index in the folder `index`."""
        if source in ("", DEFAULT) or not Path(source).is_dir():
            return cls(source)
        folder = os.path.realpath(source)
        try:
            return cls(folder, os.path.relpath(folder, os.path.realpath(index)))
        except ValueError:  # on another drive
            return cls(folder, folder)

    def to_saved(self) -> Saved:
        return Saved(asdict(self))

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        return cls(str(saved.meta["encoder"]), str(saved.meta["from_index"]))


def identity_of(encoder: Encoder, edit_map: FittedEditMap | None) -> dict[str, object]:
    """The identities of encoder and edit map, as JSON values."""
    return {
        "encoder": encoder.identity.to_dict(),
        "edit_map": None if edit_map is None else edit_map.digest,
    }


def require_same(index: Index, encoder: Encoder, edit_map: FittedEditMap | None) -> None:
    """An `InputError` if the index was built with another encoder or map."""
    built = EncoderIdentity.from_dict(index.identity["encoder"])
    built.require_same(encoder.identity, what=f"the images of {index.path}")
    if index.identity["edit_map"] != identity_of(encoder, edit_map)["edit_map"]:
        raise InputError(f"{index.path} was built with another edit map; build it again")


def remembered_encoder(index: Index, edit_map: FittedEditMap | None) -> Encoder:
    """Load the encoder that the index was built with; an `InputError` if it cannot be found."""
    path = index.path
    record = BuildRecord.load(path / SETUP)
    source, way = record.encoder, record.from_index
    if not source:
        raise InputError(f"{show_path(path)} does not say where its encoder is; pass --encoder")
    if not way:
        return load_encoder(source)
    places = dict.fromkeys([Path(os.path.realpath(path / way)), Path(source)])
    there = [place for place in places if place.is_dir()]
    if not there:
        raise InputError(
            f"{show_path(path)} was built with the encoder in {show_path(Path(source))}, which is "
            "not there; pass --encoder"
        )
    for place in there[:-1]:
        with suppress(WherefromError):  # another encoder: what is said of the last place counts
            encoder = load_encoder(place)
            require_same(index, encoder, edit_map)
            return encoder
    return load_encoder(there[-1])
