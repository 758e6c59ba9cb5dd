"""Packages that may be missing, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from wherefrom.core.errors import MissingExtraError


def need(package: str, purpose: str, *, extra: str, called: str | None = None) -> Any:
    """The package (or module in it), imported now; a `MissingExtraError` if it is not installed.

    `purpose` says what needs it, `extra` which extra of wherefrom installs it, and `called` how
    the package index calls it, where that is another name.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = called or package.partition(".")[0]
        raise MissingExtraError(name, extra, purpose) from error
