"""Importing packages that may not be installed."""

from __future__ import annotations

import importlib
from typing import Any

from wherefrom.core.errors import MissingExtraError


def need(package: str, purpose: str, *, extra: str, called: str | None = None) -> Any:
    """Import a package or a module in it; a `MissingExtraError` if it is not installed.

    `purpose`: what needs it, for the message.  `extra`: the extra of wherefrom that installs it.
    `called`: its name in the package index, where that differs.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = called or package.partition(".")[0]
        raise MissingExtraError(name, extra, purpose) from error
