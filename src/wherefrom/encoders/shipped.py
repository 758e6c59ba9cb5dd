"""The encoders inside the package: every command works with them, without a download."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from wherefrom.core.errors import InputError

DEFAULT = "default"
FOLDER = Path(str(files("wherefrom") / "assets" / "encoders"))


def shipped_encoders() -> dict[str, Path]:
    """Names and folders of the encoders inside the package."""
    return {path.parent.name: path.parent for path in sorted(FOLDER.glob("*/config.json"))}


def default_folder() -> Path:
    """The folder of the encoder that is used unless another is named."""
    folder = shipped_encoders().get(DEFAULT)
    if folder is None:
        raise InputError(
            "this copy of the package ships no encoder; name an autoencoder's folder, or install "
            "the package again"
        )
    return folder
