"""Pillow without warnings, without tolerance for truncated files, and without its own size limit.

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
    """How many decoders run now; the first switches Pillow to strict, the last switches it back."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.caught = warnings.catch_warnings()
        self.truncated = False
        self.most: int | None = None
        self.printer: Any = None  # what libtiff prints with


_STRICTNESS = _Strictness()


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Strict Pillow in all threads at once, as it was before after the last of them.

    `warnings.catch_warnings` changes the whole process, so threads share one instead of racing.
    """
    state = _STRICTNESS
    with state.lock:
        if state.users == 0:
            state.caught = warnings.catch_warnings()
            state.caught.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
            state.truncated = ImageFile.LOAD_TRUNCATED_IMAGES
            state.most = Image.MAX_IMAGE_PIXELS
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
                Image.MAX_IMAGE_PIXELS = state.most
                _print_tiff_errors_with(state.printer)
                state.caught.__exit__(None, None, None)


def _print_tiff_errors_with(printer: Any) -> Any:
    """Give libtiff a function that prints its errors, None for silence; the one that it had.

    It prints of damaged files to stderr by itself, and Pillow has no switch for it.
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
