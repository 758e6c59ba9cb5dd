"""All five questions of one image, or of every image of a folder.

from wherefrom.case import inspect_image, open_case

with open_case(Path("case.toml")) as opened:
    inspection = inspect_image(Path("suspect.png"), opened)
    inspection.to_dict()
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import torch

from wherefrom import __version__
from wherefrom.case.claims.reading import read_claims
from wherefrom.case.opened import OpenCase
from wherefrom.case.questions.images import (
    Consulted,
    ask_naturalness,
    ask_origin,
    ask_outlier,
)
from wherefrom.case.questions.model import ask_credit, ask_model
from wherefrom.case.result import QUESTIONS, Answer, ImageFacts, Inspection
from wherefrom.core.errors import InputError
from wherefrom.core.limits import Limits, limits_in_force
from wherefrom.core.progress import Track, quiet
from wherefrom.core.store import digest_bytes
from wherefrom.data.files.opening import read_regular
from wherefrom.data.images import ReadImage, decode_image

ASKING = "asking the questions of the case"  # the stage whose items are the questions


def inspect_image(
    path: Path,
    opened: OpenCase,
    *,
    name: str | None = None,
    pictures: bool = False,
    heat: bool = False,
    limits: Limits | None = None,
    track: Track = quiet,
) -> Inspection:
    """Ask every question of the case about one image file.

    `pictures` gathers what a page shows, `heat` also which parts look unnatural, which takes
    longest.  `name` is what the image is called in the answers.  An `InputError` if the file is no
    usable image, or changes while it is looked at.
    """
    limits = limits or limits_in_force()
    data = read_regular(path, max_bytes=limits.max_bytes)
    read = decode_image(data, path, limits=limits)
    steps = iter(track([*QUESTIONS, "claims"], ASKING, total=len(QUESTIONS) + 1))
    answers: dict[str, Answer] = {}
    exhibits: dict[str, tuple[object, ...]] = {}
    consulted = Consulted()

    def put(question: str, answer: Answer, shown: list[object]) -> None:
        answers[question] = answer
        exhibits[question] = tuple(shown) if pictures else ()

    next(steps)
    answer, identified, shown = ask_model(path, opened)
    put("model", answer, shown)
    asked: dict[str, Callable[[], tuple[Answer, list[object]]]] = {
        "origin": lambda: ask_origin(path, opened, consulted, pictures=pictures),
        "naturalness": lambda: ask_naturalness(path, opened, heat=heat and pictures),
        "outlier": lambda: ask_outlier(path, opened),
        "credit": lambda: ask_credit(opened, identified),
    }
    for question, ask in asked.items():
        next(steps)
        put(question, *ask())
    next(steps)
    claims, unread = read_claims(data, read.format)
    next(steps, None)
    if digest_bytes(read_regular(path, max_bytes=limits.max_bytes)) != read.digest:
        raise InputError(f"{path} changed while it was looked at; ask again")
    return Inspection(
        _facts(read, len(data), name or path.name),
        {"name": opened.case.config.name, "digest": opened.case.digest},
        tuple(answers[question] for question in QUESTIONS),
        claims,
        unread,
        {
            "wherefrom": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        exhibits,
        None if consulted.failed else tuple(dict.fromkeys(consulted.paths)),
    )


def _facts(read: ReadImage, size: int, name: str) -> ImageFacts:
    (height, width), altered = read.carrier.size, read.carrier.altered
    notes = (*read.notes, altered) if altered else read.notes
    return ImageFacts(
        name, read.digest, size, read.format, width, height, len(read.pixels), read.lossless, notes
    )
