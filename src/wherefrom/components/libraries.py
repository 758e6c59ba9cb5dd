"""Loading models with diffusers and transformers: in silence, and only with weights from the files.

Nothing is downloaded, and no code of a model is run.  A library that invents weights which the
files lack says so in its log only, so the log is captured and searched.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.core.paths import show_path
from wherefrom.core.saving.store import digest_bytes, digest_file

READ = (".json", ".safetensors", ".txt", ".model")  # suffixes of files that loading may read
LIBRARIES = ("diffusers", "transformers")
ADVICE = "If you want to instead"  # of diffusers, behind weights of another size
INVENTED = "newly initialized"  # in the messages of diffusers and transformers


def require_libraries(libraries: Iterable[str], *, purpose: str) -> None:
    """Import each in silence; `MissingExtraError` if one is not installed."""
    for library in sorted(libraries):
        with silence():
            need(library, purpose, extra="diffusers")


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Load in silence; an `InputError` if a library invented weights that the files lack."""
    with silence() as heard:
        yield
    message = next((text for text in heard if INVENTED in text), None)
    if message is not None:
        what = " ".join(message.split())[:200]
        raise InputError(f"{show_path(folder)} lacks some of its weights; get it anew ({what})")


def readable_files(folder: Path) -> list[Path]:
    """The files in a model's folder that loading may read."""
    return [path for path in folder.rglob("[!.]*") if path.suffix in READ]


def digest_files(files: Iterable[Path], home: Path) -> str:
    """One digest over the contents of files and their names below `home`."""
    lines = sorted(f"{digest_file(path)} {path.relative_to(home).as_posix()}" for path in files)
    return digest_bytes("\n".join(lines).encode(errors="surrogateescape"))


@contextmanager
def silence() -> Iterator[list[str]]:
    """Hide bars, logs and warnings of the libraries; yields the list of what they log."""
    listener = _Listener()
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        for library in LIBRARIES:
            with suppress(ImportError):  # not every model needs both
                stack.enter_context(_muted(library, listener))
        yield listener.heard


def first_line(error: Exception) -> str:
    """The first line of an error's text that is not empty, else the name of its class.

    Advice on arguments of the library, which a user of wherefrom cannot pass, is left out.
    """
    lines = (line.partition(ADVICE)[0].strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


class _Listener(logging.Handler):
    """Collects what libraries log, and shows nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


@contextmanager
def _muted(library: str, listener: logging.Handler) -> Iterator[None]:
    settings: Any = importlib.import_module(f"{library}.utils.logging")
    logger = logging.getLogger(library)
    before = logger.handlers, logger.propagate
    level = logger.level
    shows = settings.is_progress_bar_enabled()
    try:
        logger.handlers, logger.propagate = [listener], False
        if level != logging.WARNING:  # setting a level visits every logger there is
            logger.setLevel(logging.WARNING)
        settings.disable_progress_bar()
        yield
    finally:
        logger.handlers, logger.propagate = before
        if logger.level != level:
            logger.setLevel(level)
        if shows:
            settings.enable_progress_bar()
