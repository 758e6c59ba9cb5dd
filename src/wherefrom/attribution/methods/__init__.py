"""The methods that `fit`, the command line and the comparison know, by name."""

from __future__ import annotations

import difflib

from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.methods.autoencoder import AUTOENCODER
from wherefrom.attribution.methods.ensemble import ENSEMBLE
from wherefrom.attribution.methods.fingerprint import FINGERPRINT
from wherefrom.attribution.methods.flipad import FLIPAD
from wherefrom.attribution.methods.pad import DCT_PAD, RAW_PAD
from wherefrom.attribution.methods.patches import PATCHES
from wherefrom.attribution.methods.reconstruction import INVERSION_FEATURE, INVERSION_L2
from wherefrom.attribution.protocol import Method
from wherefrom.core.errors import InputError

# The first is the default for images, FLIPAD for rows and signals of numbers.
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        PATCHES,
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


def method_for(config: AttributionConfig | None, *, numbers: bool) -> Method:
    """The method of settings of this type; without settings the default for images or numbers."""
    if config is None:
        return FLIPAD if numbers else PATCHES
    return next(m for m in METHODS.values() if type(m.presets["default"]) is type(config))


def find_method(name: str) -> Method:
    """The method of that name; an `InputError` with the known ones if there is none."""
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(METHODS)}"
        raise InputError(f"there is no attribution method {name!r}; {hint}")
    return METHODS[name]
