"""Which encoder made an embedding, so that vectors of different encoders are never compared."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import digest_bytes, digest_tensors

RESOLUTION = 256  # the side at which every encoder sees an image
RESIZE = "squash, bilinear, antialias"
DTYPE = "float32"


@dataclasses.dataclass(frozen=True)
class EncoderIdentity:
    """Everything an embedding depends on; two encoders are the same if all fields are equal."""

    kind: str  # class of the model, as in its config.json
    config: str  # digest of the settings
    weights: str  # SHA-256 over names, shapes, dtypes and values of the weights that encode
    resolution: int = RESOLUTION
    resize: str = RESIZE
    dtype: str = DTYPE

    @property
    def digest(self) -> str:
        """One digest of the whole identity, as `sha256:<hex>`."""
        return digest_bytes(json.dumps(self.to_dict(), sort_keys=True).encode())

    def require_same(self, other: EncoderIdentity, *, what: str = "these embeddings") -> None:
        """An `InputError` that names what differs if `other` is not this encoder.

        `self` made `what`; `other` is the one at hand.
        """
        mine, given = self.to_dict(), other.to_dict()
        differing = [
            f"{name} {_short(given[name])} instead of {_short(mine[name])}"
            for name in mine
            if mine[name] != given[name]
        ]
        if differing:
            raise InputError(
                f"another encoder was given than the one that made {what}: "
                f"{', '.join(differing)}; use that encoder, or build anew with this one"
            )

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; `InputError` for missing, unknown or wrong values."""
        fields = {
            field.name: int if field.name == "resolution" else str
            for field in dataclasses.fields(cls)
        }
        if not isinstance(values, Mapping) or values.keys() != fields.keys():
            raise InputError(
                f"an encoder identity holds {', '.join(fields)}, but this one is "
                f"{_short(values)}; build it anew"
            )
        for name, wanted in fields.items():
            if type(values[name]) is not wanted:
                raise InputError(
                    f"the encoder identity's {name} is {_short(values[name])}, but it must be of "
                    f"type {wanted.__name__}; build it anew"
                )
        return cls(**values)


def identify(
    kind: str, config: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> EncoderIdentity:
    """The identity of a model with these settings (JSON values) and weights.

    Settings whose name starts with `_` are notes (a library's version, a path): they do not count.
    """
    settings = {name: value for name, value in config.items() if not name.startswith("_")}
    text = json.dumps(settings, sort_keys=True)
    return EncoderIdentity(kind, digest_bytes(text.encode()), digest_tensors(weights))


def _short(value: Any) -> str:
    if isinstance(value, str) and value.startswith("sha256:"):
        return value[: len("sha256:") + 12] + "..."
    return repr(value)[:80]
