"""The methods that `fit`, the command line and the comparison know, by name."""

from __future__ import annotations

import difflib

from wherefrom.attribution.methods.autoencoder import AUTOENCODER
from wherefrom.attribution.methods.ensemble import ENSEMBLE
from wherefrom.attribution.methods.fingerprint import FINGERPRINT
from wherefrom.attribution.methods.flipad import FLIPAD
from wherefrom.attribution.methods.pad import DCT_PAD, RAW_PAD
from wherefrom.attribution.methods.reconstruction import INVERSION_FEATURE, INVERSION_L2
from wherefrom.attribution.protocol import Method
from wherefrom.core.errors import InputError

# The first is the default.
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        FLIPAD,
        RAW_PAD,
        DCT_PAD,
        FINGERPRINT,
        INVERSION_L2,
        INVERSION_FEATURE,
        AUTOENCODER,
        ENSEMBLE,
    )
}


def find_method(name: str) -> Method:
    """The method of that name; an `InputError` with the known ones if there is none."""
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(METHODS)}"
        raise InputError(f"there is no attribution method {name!r}; {hint}")
    return METHODS[name]
