"""Paths as people read them."""

from __future__ import annotations

from pathlib import Path


def show_path(path: Path) -> str:
    """The path as one printable line: control characters and undecodable bytes are escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in str(path)
    )
