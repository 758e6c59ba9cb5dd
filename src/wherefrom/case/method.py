"""All five questions about one image."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import torch

from wherefrom import __version__
from wherefrom.case.claims.reading import read_claims
from wherefrom.case.parts.opened import OpenCase
from wherefrom.case.questions.asked import Asked
from wherefrom.case.questions.credit import ask_credit
from wherefrom.case.questions.model import ask_model
from wherefrom.case.questions.naturalness import ask_naturalness
from wherefrom.case.questions.origin import ask_origin
from wherefrom.case.questions.outlier import ask_outlier
from wherefrom.case.result import QUESTIONS, Claim, ImageFacts, Inspection
from wherefrom.core.errors import InputError
from wherefrom.core.limits import Limits, limits_in_force
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.files.archives import read_file
from wherefrom.data.images.items import ReadImage, decode_image

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
    """Answer every question about one image file, with the parts of an open case.

    `pictures` gathers what a page shows, `heat` also which parts look unnatural, which takes
    longest.  `name`: of the image in the answers, default the file's name.  An `InputError` if the
    file is no usable image, or changes meanwhile.
    """
    limits = limits or limits_in_force()
    data = read_file(path, max_bytes=limits.max_bytes)
    read = decode_image(data, path, limits=limits)
    questions: dict[str, Callable[[], Asked]] = {
        "model": lambda: ask_model(path, opened),
        "origin": lambda: ask_origin(path, opened, pictures=pictures),
        "naturalness": lambda: ask_naturalness(path, opened, heat=heat and pictures),
        "outlier": lambda: ask_outlier(path, opened),
        "credit": lambda: ask_credit(opened, asked["model"].model),
    }
    asked: dict[str, Asked] = {}
    claims: tuple[Claim, ...] = ()
    unread: tuple[str, ...] = ()
    for step in track([*QUESTIONS, "claims"], ASKING, total=len(QUESTIONS) + 1):
        if step in questions:
            asked[step] = questions[step]()
        else:
            claims, unread = read_claims(data, read.format)
    if digest_bytes(read_file(path, max_bytes=limits.max_bytes)) != read.digest:
        raise InputError(f"{path} changed while it was inspected; inspect it again")
    return Inspection(
        _facts(read, len(data), name or path.name),
        {"name": opened.case.config.name, "digest": opened.case.digest},
        tuple(asked[question].answer for question in QUESTIONS),
        claims,
        unread,
        {
            "wherefrom": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        {name: each.exhibits if pictures else () for name, each in asked.items()},
        asked["origin"].consulted,
    )


def _facts(read: ReadImage, size: int, name: str) -> ImageFacts:
    (height, width), altered = read.carrier.size, read.carrier.altered
    notes = (*read.notes, altered) if altered else read.notes
    return ImageFacts(
        name, read.digest, size, read.format, width, height, len(read.pixels), read.lossless, notes
    )
