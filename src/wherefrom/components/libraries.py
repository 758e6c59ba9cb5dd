"""What all loading of foreign models has in common: silent, from safetensors, and running no code.

Nothing is downloaded.  A library that makes up weights which the files lack says so in its log
alone, so the log is kept and searched.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.core.paths import show_path
from wherefrom.core.store import digest_bytes, digest_file

READ = (".json", ".safetensors", ".txt", ".model")  # what loading may read, so what is digested
LIBRARIES = ("diffusers", "transformers")
ADVICE = "If you want to instead"  # of diffusers, behind weights of another size
MADE_UP = "newly initialized"  # as diffusers and transformers both put it


def need(package: str, purpose: str, *, extra: str = "diffusers") -> Any:
    """The package, imported now because that is slow; `MissingExtraError` if it is not there."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(package, extra, purpose) from error


def require_libraries(libraries: Iterable[str], *, purpose: str) -> None:
    """Import each in silence; `MissingExtraError` if one is not installed."""
    for library in sorted(libraries):
        with silence():
            need(library, purpose)


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Silence; an `InputError` if a library said that it made up weights which the files lack."""
    with silence() as heard:
        yield
    told = next((text for text in heard if MADE_UP in text), None)
    if told is not None:
        what = " ".join(told.split())[:200]
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
    """No bars, logs or warnings of the libraries on the user's screen; what they logged is kept."""
    listener = _Listener()
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        for library in LIBRARIES:
            with suppress(ImportError):  # not every model needs both
                stack.enter_context(_muted(library, listener))
        yield listener.heard


def first_line(error: Exception) -> str:
    """The first line of an error's text that says anything, else its class.

    Advice on arguments of the library, which no user of ours can pass, is left out.
    """
    lines = (line.partition(ADVICE)[0].strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


class _Listener(logging.Handler):
    """Keeps what libraries log, and shows nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


@contextmanager
def _muted(library: str, listener: logging.Handler) -> Iterator[None]:
    settings: Any = importlib.import_module(f"{library}.utils.logging")
    logger = logging.getLogger(library)
    before = logger.handlers, logger.propagate, logger.level
    shows = settings.is_progress_bar_enabled()
    try:
        logger.handlers, logger.propagate = [listener], False
        logger.setLevel(logging.WARNING)
        settings.disable_progress_bar()
        yield
    finally:
        logger.handlers, logger.propagate, level = before
        logger.setLevel(level)
        if shows:
            settings.enable_progress_bar()
