"""Pillow without warnings, tolerance for truncated files, and its own size limit.

The size is checked against `Limits` before any pixel is decoded.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from PIL import Image, ImageFile

# Without a handler, Python prints what Pillow logs about a damaged file to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class _Strictness:
    """Counts running decoders: the first makes Pillow strict, the last restores its settings."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.caught = warnings.catch_warnings()
        self.truncated = False
        self.max_pixels: int | None = None
        self.printer: Any = None  # what libtiff prints with


_STRICTNESS = _Strictness()


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Make Pillow strict in all threads until the last of them leaves the block.

    `warnings.catch_warnings` changes the whole process, so all threads share one.
    """
    state = _STRICTNESS
    with state.lock:
        if state.users == 0:
            state.caught = warnings.catch_warnings()
            state.caught.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
            state.truncated = ImageFile.LOAD_TRUNCATED_IMAGES
            state.max_pixels = Image.MAX_IMAGE_PIXELS
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            Image.MAX_IMAGE_PIXELS = None
            state.printer = _print_tiff_errors_with(None)
        state.users += 1
    try:
        yield
    finally:
        with state.lock:
            state.users -= 1
            if state.users == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = state.truncated
                Image.MAX_IMAGE_PIXELS = state.max_pixels
                _print_tiff_errors_with(state.printer)
                state.caught.__exit__(None, None, None)


def _print_tiff_errors_with(printer: Any) -> Any:
    """Set the function with which libtiff prints errors (None: silence); returns the former one.

    libtiff prints errors of damaged files to stderr, and Pillow has no switch for it.
    """
    setter = _tiff_error_setter()
    return None if setter is None else setter(printer)


@cache
def _tiff_error_setter() -> Any:
    """libtiff's `TIFFSetErrorHandler`; None where Pillow's libtiff cannot be reached."""
    try:
        from PIL import _imaging

        setter = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (ImportError, OSError, AttributeError):
        return None
    setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
    return setter
