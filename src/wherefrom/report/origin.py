"""Origin results as an HTML page: each image beside the image it was made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherefrom.origin.answers import Candidate, OriginAnswer
from wherefrom.origin.decision import Answer
from wherefrom.report.describe import flatten
from wherefrom.report.html import (
    Cards,
    Cell,
    Facts,
    Grid,
    Points,
    Prose,
    Section,
    page_footer,
    write_report,
)
from wherefrom.report.text import percent, plural

TONES = {Answer.COPY: "yes", Answer.EDIT: "yes", Answer.NONE: "no", Answer.UNKNOWN: "unsure"}
LISTED = 30  # images whose further candidates are shown: the page is kept small


@dataclass(frozen=True)
class Picture:
    """A file to be pictured, if it still is what was compared."""

    name: str
    digest: str | None


def pictures_of(answers: Sequence[OriginAnswer]) -> list[Picture]:
    """What a page of these answers shows, the images asked for first."""
    asked = [Picture(answer.name, answer.digest) for answer in answers]
    best = [Picture(c.path, c.digest) for answer in answers for c in answer.candidates[:1]]
    rest = [Picture(c.path, c.digest) for answer in answers for c in answer.candidates[1:]]
    return list(dict.fromkeys([*asked, *best, *rest]))


def write_search_report(
    path: Path,
    answers: Sequence[OriginAnswer],
    basis: Mapping[str, Any],
    *,
    thumbnails: Mapping[str, str],
) -> None:
    """Write the page of a search.

    `basis`: what `References.describe` says; `thumbnails`: data addresses by path.
    """
    counts = Counter(answer.answer for answer in answers)
    cards = tuple((str(counts[kind]), str(kind), TONES[kind]) for kind in Answer)
    sections = [
        Section("Answer", (Prose((_headline(answers),)), Cards(cards))),
        Section("Images", (_overview(answers, thumbnails),)),
        Section("What the answers mean", (Points(_meanings(basis)),)),
        Section("What they do not prove", (Points(_limits()),)),
        *_candidates(answers, thumbnails),
        Section(
            "What was compared",
            (Facts(tuple((name, value, "") for name, value in flatten(basis))),),
        ),
    ]
    write_report(path, "Which image was this made from?", sections, footer=page_footer())


def _headline(answers: Sequence[OriginAnswer]) -> str:
    if len(answers) == 1:
        return f"{answers[0].name}: {answers[0].sentence()}."
    return f"{plural(len(answers), 'image')} were searched for. The answer for each stands below."


def _overview(answers: Sequence[OriginAnswer], thumbnails: Mapping[str, str]) -> Grid:
    rows = []
    for answer in answers:
        named = answer.answer in (Answer.COPY, Answer.EDIT)
        best = answer.candidates[0] if named else None
        rows.append(
            (
                Cell("", image=thumbnails.get(answer.name, "")),
                Cell(answer.name, below=answer.digest or ""),
                Cell(str(answer.answer), tone=TONES[answer.answer]),
                Cell("", image="" if best is None else thumbnails.get(best.path, "")),
                # What is said instead of an origin stands in its place, where there is room.
                Cell(answer.reason) if best is None else Cell(best.path, below=best.digest),
                Cell("" if answer.p_value is None else f"{answer.p_value:.3g}", numeric=True),
            )
        )
    columns = ("", "image", "answer", "", "origin, or why none is named", "p-value")
    return Grid(columns, tuple(rows), (False, False, False, False, False, True))


def _candidates(
    answers: Sequence[OriginAnswer], thumbnails: Mapping[str, str]
) -> tuple[Section, ...]:
    shown = [answer for answer in answers if len(answer.candidates) > 1][:LISTED]
    return tuple(
        Section(
            f"Most similar to {answer.name}",
            (
                Grid(
                    ("rank", "", "image", "cosine"),
                    tuple(
                        _candidate_row(rank, candidate, thumbnails)
                        for rank, candidate in enumerate(answer.candidates, start=1)
                    ),
                    (True, False, False, True),
                ),
            ),
        )
        for answer in shown
    )


def _candidate_row(
    rank: int, candidate: Candidate, thumbnails: Mapping[str, str]
) -> tuple[Cell, ...]:
    return (
        Cell(str(rank), numeric=True),
        Cell("", image=thumbnails.get(candidate.path, "")),
        Cell(candidate.path, below=candidate.digest),
        Cell(f"{candidate.score:.3f}", numeric=True),
    )


def _meanings(basis: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    calibration = basis["calibration"]
    if calibration is None:
        known = "This index is not calibrated, so it cannot say how rare such a match is."
    else:
        rate = percent(calibration["rate"])
        known = (
            f"It was set on {calibration['edits']} edits whose origins were left out: an image "
            f"without an origin in the index is given one in at most {rate} of cases, if it is "
            "like those edits."
        )
    return (
        (str(Answer.COPY), "The file itself is in the index, byte for byte."),
        (
            str(Answer.EDIT),
            "The image named is the most similar one, and it stands out from all other images of "
            f"the index more than chance explains. {known}",
        ),
        (
            str(Answer.NONE),
            "The best match stands out no more than matches of unrelated images do. The origin may "
            "exist elsewhere, or be altered too much to be found.",
        ),
        (
            str(Answer.UNKNOWN),
            "The file could not be read, or the index is not calibrated. The reason stands beside "
            "it.",
        ),
    )


def _limits() -> tuple[tuple[str, str], ...]:
    return (
        (
            "Likeness, not history",
            "A small p-value says that this match is rare among images that were not made from "
            "the index. It does not show who made the edit, when, or with what.",
        ),
        (
            "Editors that never see the picture's latent",
            "Adapters that are conditioned on CLIP embeddings (IP-Adapter) leave nothing for this "
            "method to find.",
        ),
        (
            "Flips, crops and rotations",
            "They move the grid that is compared; an origin can be missed.",
        ),
        (
            "Edits like those of the calibration",
            "The rate of false alarms is known for such edits. Another kind of editor can differ; "
            "measure it with “wherefrom origin evaluate”.",
        ),
    )
