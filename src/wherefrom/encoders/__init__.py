"""Frozen feature extractors: an image becomes one row, and an identity says which encoder made it.

from wherefrom.encoders import load_encoder

encoder = load_encoder("path/to/vae")  # or load_encoder(), the one that comes with the package
encoder.embed(images), encoder.identity
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wherefrom.core.errors import InputError
from wherefrom.encoders.diffusers_vae import cached_folder, load_diffusers, read_config
from wherefrom.encoders.encoder import Encoder, make_encoder, prepare
from wherefrom.encoders.identity import EncoderIdentity
from wherefrom.encoders.shipped import DEFAULT, default_folder, shipped_encoders
from wherefrom.encoders.tiny_conv import (
    TinyConvConfig,
    as_encoder,
    load_autoencoder,
    load_tiny_conv,
    make_autoencoder,
    save_autoencoder,
)

__all__ = [
    "DEFAULT",
    "KINDS",
    "Encoder",
    "EncoderIdentity",
    "TinyConvConfig",
    "as_encoder",
    "load_autoencoder",
    "load_encoder",
    "make_autoencoder",
    "make_encoder",
    "prepare",
    "save_autoencoder",
    "shipped_encoders",
]

# `_class_name` in config.json -> loader of the folder.
KINDS: dict[str, Callable[[Path], Encoder]] = {
    "AutoencoderKL": load_diffusers,
    "AutoencoderTiny": load_diffusers,
    "VQModel": load_diffusers,
    "tiny-conv": load_tiny_conv,
}


def load_encoder(source: Path | str = DEFAULT, *, allow_download: bool = False) -> Encoder:
    """The encoder in a local folder, on the CPU; its config.json says of which kind it is.

    The word `default` is the small one that comes with the package; a folder of that name is
    `./default`.  A `source` of the form `owner/name` or `owner/name/subfolder` that is no folder
    is looked up in the hub's cache, and with `allow_download` on the hub.  Every fault is an
    `InputError`.
    """
    folder = default_folder() if source == DEFAULT else Path(source)
    if not folder.is_dir():
        parts = str(source).split("/")
        if isinstance(source, Path) or len(parts) < 2 or not all(part.strip(".") for part in parts):
            raise InputError(f"the encoder {source} is not a folder; give an autoencoder's folder")
        folder = cached_folder(str(source), allow_download=allow_download)
    kind = read_config(folder)["_class_name"]
    if kind not in KINDS:
        raise InputError(f"{folder} holds a {kind!r}, expected one of {', '.join(KINDS)}")
    return KINDS[kind](folder)
