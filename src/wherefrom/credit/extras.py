"""Packages that not everybody has."""

from __future__ import annotations

import importlib
from typing import Any

from wherefrom.core.errors import MissingExtraError


def need_diffusers(purpose: str) -> Any:
    """The package diffusers, or a `MissingExtraError`."""
    return _need("diffusers", "diffusers", purpose)


def need_peft(purpose: str) -> Any:
    """The package peft, or a `MissingExtraError`."""
    return _need("peft", "credit", purpose)


def _need(package: str, extra: str, purpose: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(package, extra, purpose) from error
