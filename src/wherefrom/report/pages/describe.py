"""Nested values and settings as pairs of a name and a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wherefrom.core.config import Config


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested JSON values as (name, text) pairs in their order."""
    for key, value in values.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}: ")
        else:
            yield name, _text_of(value, " × " if name.endswith("shape") else ", ")


def settings_with_sources(config: Config, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(name, value, help and source) of every setting, nested ones below their own."""
    for info in config.describe():
        value = getattr(config, info.name)
        name = f"{prefix}{info.name.replace('_', ' ')}"
        if isinstance(value, Config):
            yield from settings_with_sources(value, f"{name}: ")
        else:
            source = f" [{info.source}]" if info.source else ""
            yield name, _text_of(value), f"{info.help}{source}"


def _text_of(value: Any, between: str = ", ") -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return between.join(f"{key} {_text_of(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return between.join(_text_of(item) for item in value)
    return "none" if value is None else str(value)
