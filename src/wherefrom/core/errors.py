"""Errors that a user can cause; a message says what was given, what was expected, what to do."""

from __future__ import annotations


class WherefromError(Exception):
    """Base of all errors that a user can cause; the command line prints it and exits with 2."""


class InputError(WherefromError, ValueError):
    """An argument, image, folder, weight file or generator that cannot be used as given."""


class ArtifactError(WherefromError):
    """A saved artifact that is damaged, of another kind, or of another version."""


class MissingExtraError(WherefromError):
    """A feature whose optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"run: pip install 'wherefrom[{extra}]'"
        )
