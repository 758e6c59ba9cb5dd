"""What an index was built with: its encoder, where that lies, and its edit map.

An encoder's folder is kept as an absolute path and as the way to it from the index, so that it is
found by an index that was moved alone and by one that was moved together with it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from wherefrom.core.errors import InputError, WherefromError
from wherefrom.core.store import load_artifact, save_artifact
from wherefrom.data.files.opening import show_path
from wherefrom.encoders import DEFAULT, Encoder, EncoderIdentity, load_encoder
from wherefrom.origin.edit_map.fitted import FittedEditMap
from wherefrom.origin.index.index import Index

SETUP = "setup"
KIND, SCHEMA = "origin/setup", 2


def save_setup(index: Path, source: str) -> None:
    """Keep in the folder of an index where its encoder is: a name, a folder, or "" if unknown."""
    meta = _meta(source, index)
    save_artifact(index / SETUP, kind=KIND, schema=SCHEMA, meta=meta, tensors={})


def _meta(source: str, index: Path) -> dict[str, str]:
    """What an index keeps of where its encoder is: a name, or a folder and the way to it."""
    if source in ("", DEFAULT) or not Path(source).is_dir():
        return {"encoder": source, "from_index": ""}
    folder = os.path.realpath(source)
    try:
        way = os.path.relpath(folder, os.path.realpath(index))
    except ValueError:  # on another drive
        way = folder
    return {"encoder": folder, "from_index": way}


def identity_of(encoder: Encoder, edit_map: FittedEditMap | None) -> dict[str, object]:
    """What made the vectors of an index, as JSON values."""
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
    """The encoder that the index was built with, where the index remembers it."""
    path = index.path
    meta, _ = load_artifact(path / SETUP, kind=KIND, schema=SCHEMA)
    source, way = str(meta["encoder"]), str(meta["from_index"])
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
