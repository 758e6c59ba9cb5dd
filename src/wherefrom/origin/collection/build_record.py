"""What an index was built with: its encoder, its edit map and its feature network.

The folder of an encoder or of a feature network is stored as an absolute path and as a path
relative to the index, so that it is found by an index that was moved alone and by one that was
moved together with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, TypeVar

from wherefrom.core.errors import InputError, WherefromError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.encoders import (
    DEFAULT,
    DEFAULT_FEATURES,
    Encoder,
    EncoderIdentity,
    FeatureNetwork,
    load_encoder,
)
from wherefrom.origin.index.index import Index
from wherefrom.origin.joint.rows import NO_FEATURES, RowEncoder, load_features

SETUP = "setup"
T = TypeVar("T")


@dataclass(frozen=True)
class EncoderPlace:
    """Where an encoder is: a name or a folder, "" if unknown.

    `from_index`: of a folder, the relative path to it from the index.
    """

    source: str
    from_index: str = ""

    @classmethod
    def of(cls, source: str, index: Path, *, names: Sequence[str]) -> Self:
        """The place of `source`, unless it is one of the `names`, for the index in a folder."""
        if source in ("", *names) or not Path(source).exists():
            return cls(source)
        folder = os.path.realpath(source)
        try:
            return cls(folder, os.path.relpath(folder, os.path.realpath(index)))
        except ValueError:  # on another drive
            return cls(folder, folder)

    def load(self, index: Path, loader: Callable[[Path | str], T], check: Callable[[T], None]) -> T:
        """What `loader` makes of it, the first that passes `check`; `InputError` if it is gone."""
        if not self.from_index:
            return loader(self.source)
        near, far = Path(os.path.realpath(index / self.from_index)), Path(self.source)
        there = [place for place in dict.fromkeys([near, far]) if place.exists()]
        if not there:
            raise InputError(
                f"{show_path(index)} was built with the encoder in {show_path(far)}, which is not "
                "there"
            )
        for place in there[:-1]:
            with suppress(WherefromError):  # another encoder: what is said of the last counts
                loaded = loader(place)
                check(loaded)
                return loaded
        return loader(there[-1])


@dataclass(frozen=True)
class BuildRecord(Artifact):
    """Where the encoder and the feature network of an index are."""

    kind = "origin/setup"
    schema = 2
    again = "build the index again"

    encoder: EncoderPlace
    features: EncoderPlace = EncoderPlace(NO_FEATURES)

    @classmethod
    def of(cls, encoder: str, features: str, index: Path) -> Self:
        """The record of what `encoder` and `features` name, for the index in the folder `index`."""
        return cls(
            EncoderPlace.of(encoder, index, names=(DEFAULT,)),
            EncoderPlace.of(features, index, names=(NO_FEATURES, DEFAULT_FEATURES)),
        )

    def to_saved(self) -> Saved:
        own = {"encoder": self.encoder.source, "from_index": self.encoder.from_index}
        return Saved(own | {"features": asdict(self.features)})

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        own = EncoderPlace(str(saved.meta["encoder"]), str(saved.meta["from_index"]))
        # an index of an earlier version has no features
        return cls(own, EncoderPlace(**saved.meta.get("features", {"source": NO_FEATURES})))


def identity_of(rows: RowEncoder) -> dict[str, object]:
    """The identities of encoder, edit map and feature network, as JSON values."""
    own: dict[str, object] = {
        "encoder": rows.encoder.identity.to_dict(),
        "edit_map": None if rows.edit_map is None else rows.edit_map.digest,
    }
    return own if rows.features is None else own | {"features": rows.features.identity.to_dict()}


def require_same(index: Index, rows: RowEncoder) -> None:
    """An `InputError` if the index was built with another encoder, map or feature network."""
    _require_encoder(index, rows.encoder)
    if index.identity["edit_map"] != identity_of(rows)["edit_map"]:
        raise InputError(f"{index.path} was built with another edit map; build it again")
    _require_features(index, rows.features)


def _require_encoder(index: Index, encoder: Encoder) -> None:
    built = EncoderIdentity.from_dict(index.identity["encoder"])
    built.require_same(encoder.identity, what=f"the images of {index.path}")


def _require_features(index: Index, features: FeatureNetwork | None) -> None:
    built = index.identity.get("features")
    if (built is None) != (features is None):
        how = "without a feature network" if built is None else "with a feature network"
        raise InputError(f"{index.path} was built {how}; give the same, or build another index")
    if built is not None and features is not None:
        what = f"the features of {index.path}"
        EncoderIdentity.from_dict(built).require_same(features.identity, what=what)


def remembered_encoder(index: Index) -> Encoder:
    """Load the encoder that the index was built with; an `InputError` if it cannot be found."""
    place = BuildRecord.load(index.path / SETUP).encoder
    if not place.source:
        raise InputError(
            f"{show_path(index.path)} does not say where its encoder is; pass --encoder"
        )
    try:
        return place.load(index.path, load_encoder, lambda e: _require_encoder(index, e))
    except InputError as error:
        raise _with_advice(error, "--encoder") from error


def remembered_features(index: Index) -> FeatureNetwork | None:
    """Load the feature network that the index was built with, None if there was none."""
    if index.identity.get("features") is None:
        return None
    place = BuildRecord.load(index.path / SETUP).features
    if place.source in ("", NO_FEATURES):
        raise InputError(
            f"{show_path(index.path)} does not say where its feature network is; pass --features"
        )
    try:
        return place.load(index.path, load_features, lambda f: _require_features(index, f))
    except InputError as error:
        raise _with_advice(error, "--features") from error


def _with_advice(error: InputError, option: str) -> InputError:
    """An error about a folder that is gone, with what to do."""
    text = str(error)
    return InputError(f"{text}; pass {option}") if text.endswith("is not there") else error
