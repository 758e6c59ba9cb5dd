"""Origin results as an HTML page: each image beside the image it was made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wherefrom.origin.index.places import shown_path
from wherefrom.origin.searching.decision import AnswerKind
from wherefrom.origin.searching.evidence import CandidateOverlay
from wherefrom.origin.searching.result import Candidate, OriginAnswer, RetrievalReport
from wherefrom.report.pages import html
from wherefrom.report.pages.pictures import (
    SCALE,
    SMALL,
    PicturedFile,
    draw_candidate,
    draw_difference,
    draw_picture,
)
from wherefrom.report.pages.tables import Cell, Column, Table, columns_of, percent, plural

TONES = {
    AnswerKind.COPY: "yes",
    AnswerKind.EDIT: "yes",
    AnswerKind.NONE: "no",
    AnswerKind.UNKNOWN: "unsure",
}
LISTED = 30  # images whose candidates are all shown, so that the page stays small


def pictures_of(answers: Sequence[OriginAnswer]) -> list[PicturedFile]:
    """The files that a page of these answers shows, the queries first."""
    asked = [PicturedFile(answer.name, answer.digest) for answer in answers]
    best = [PicturedFile(c.path, c.digest) for answer in answers for c in answer.candidates[:1]]
    rest = [PicturedFile(c.path, c.digest) for answer in answers for c in answer.candidates[1:]]
    return list(dict.fromkeys([*asked, *best, *rest]))


def answers_table(answers: Sequence[OriginAnswer]) -> Table:
    """One row per image: the answer, its best candidate with the evidence by kind, and notes."""
    kinds = next((tuple(c.evidence) for a in answers for c in a.candidates if c.evidence), ())
    evidence = "".join(f" | cosine of {kind}:num" for kind in kinds)
    heading = (
        f"image | answer | best candidate | series:int | p-value:p | cosine:num{evidence} | "
        "deviations:num | digest | reason:text | notes:text"
    )
    return Table(columns_of(heading), tuple(_cells(answer, kinds) for answer in answers))


def _cells(answer: OriginAnswer, kinds: Sequence[str]) -> tuple[Cell, ...]:
    best = answer.candidates[0] if answer.candidates else None
    by_kind = {} if best is None or best.evidence is None else best.evidence
    return (
        answer.name,
        str(answer.answer),
        None if best is None else best.path,
        None if best is None else len(answer.series) + 1,
        answer.p_value,
        None if best is None else best.score,
        *(by_kind.get(kind) for kind in kinds),
        None if best is None else best.deviations,
        answer.digest,
        answer.reason,
        "; ".join(answer.notes),
    )


def write_search_report(
    path: Path,
    answers: Sequence[OriginAnswer],
    basis: Mapping[str, Any],
    *,
    thumbnails: Mapping[str, str],
    evidence: Mapping[tuple[str, str], CandidateOverlay],
) -> None:
    """Write the page of a search.

    `basis`: what `References.describe` says; `thumbnails`: data addresses by path; `evidence`: what
    `References.evidence` found.
    """
    counts = Counter(answer.answer for answer in answers)
    cards = tuple((str(counts[kind]), str(kind), TONES[kind]) for kind in AnswerKind)
    sections = [
        html.Section("Answer", html.Prose(_headline(answers)), html.Cards(*cards)),
        *([html.Section("Images", _overview(answers, thumbnails))] if len(answers) > 1 else []),
        *_looked_at(answers, thumbnails, evidence),
        html.Section("What the answers mean", html.Points(*_meanings(basis))),
        html.Section("What they do not prove", html.Points(*_limits())),
        html.Section("What was compared", html.facts_of(basis)),
    ]
    html.write_report(path, "Which image was this made from?", sections)


def _headline(answers: Sequence[OriginAnswer]) -> str:
    if len(answers) == 1:
        return f"{answers[0].name}: {answers[0].sentence()}."
    return f"{plural(len(answers), 'image')} were searched for. The answer for each stands below."


def _overview(answers: Sequence[OriginAnswer], thumbnails: Mapping[str, str]) -> html.Grid:
    rows = []
    for answer in answers:
        named = answer.answer in (AnswerKind.COPY, AnswerKind.EDIT)
        best = answer.candidates[0] if named else None
        rows.append(
            (
                html.Cell("", image=thumbnails.get(answer.name, "")),
                html.Cell(answer.name, below=answer.digest or ""),
                html.Cell(str(answer.answer), tone=TONES[answer.answer]),
                html.Cell("", image="" if best is None else thumbnails.get(best.path, "")),
                # What is said instead of an origin stands in its place, where there is room.
                answer.reason if best is None else html.Cell(_called(best), below=best.digest),
                "" if answer.p_value is None else f"{answer.p_value:.3g}",
            )
        )
    columns = ("", "image", "answer", "", "origin, or why none is named", "p-value")
    return html.Grid(columns, tuple(rows), (False, False, False, False, False, True))


def _looked_at(
    answers: Sequence[OriginAnswer],
    thumbnails: Mapping[str, str],
    evidence: Mapping[tuple[str, str], CandidateOverlay],
) -> Iterator[html.Section]:
    """A section per answer: the pictures side by side, and the candidates."""
    for answer in [answer for answer in answers if answer.candidates][:LISTED]:
        panels = answer_panels(answer, evidence)
        sentences = tuple(
            f"{said[0].upper()}{said[1:]}."
            for said in (answer.sentence(), *answer.notes, *_series(answer))
        )
        blocks: list[html.Block] = [
            html.Prose(*sentences),
            *([html.Strip(*panels)] if panels else []),
        ]
        if len(answer.candidates) > 1:
            blocks.append(_candidates(answer, thumbnails, evidence))
        title = f"{'A copy' if answer.answer is AnswerKind.COPY else 'Most similar'}: {answer.name}"
        yield html.Section(title, *blocks)


def answer_panels(
    answer: OriginAnswer, evidence: Mapping[tuple[str, str], CandidateOverlay], *, called: str = ""
) -> tuple[html.Panel, ...]:
    """The image asked for (`called` so, if not by its path), the best match, where they differ."""
    best = answer.candidates[0]
    overlay = evidence.get((answer.name, best.path))
    drawn: list[tuple[str | None, str, tuple[str, str] | None]] = [
        (draw_picture(answer.name, answer.digest), f"Asked for: {called or answer.name}", None),
        (draw_candidate(best.path, best.digest, overlay), _caption(answer, overlay), None),
    ]
    if overlay is not None:
        caption = "Where the latents differ once the candidate is laid over; paler where it ends."
        drawn.append((draw_difference(answer.name, answer.digest, overlay), caption, SCALE))
    return tuple(html.Panel(image, text, scale, alt=text) for image, text, scale in drawn if image)


def _caption(answer: OriginAnswer, evidence: CandidateOverlay | None) -> str:
    named = answer.answer in (AnswerKind.COPY, AnswerKind.EDIT)
    best = _called(answer.candidates[0])
    caption = f"{'Origin' if named else 'Most similar, but no origin'}: {best}"
    if evidence is None or evidence.alignment.is_plain:
        return caption
    ways = ["mirrored"] if evidence.alignment.mirrored else []
    if not evidence.alignment.is_whole:
        ways.append("of another extent (the frame is what was asked for)")
    return f"{caption}. Agrees best when {' and '.join(ways)}."


def _candidates(
    answer: OriginAnswer,
    thumbnails: Mapping[str, str],
    evidence: Mapping[tuple[str, str], CandidateOverlay],
) -> html.Grid:
    rows = tuple(
        _candidate_row(rank, candidate, answer, thumbnails, evidence)
        for rank, candidate in enumerate(answer.candidates, start=1)
    )
    kinds = _kinds(answer)
    figures = ("cosine", *kinds, "deviations", "p-value", "agreement")
    columns = ("rank", "", "difference", "image", *figures)
    return html.Grid(columns, rows, (True, False, False, False, *(True for _ in figures)))


def _kinds(answer: OriginAnswer) -> tuple[str, ...]:
    """The kinds of evidence of the candidates; () where there is one."""
    return tuple(answer.candidates[0].evidence or ())


def _candidate_row(
    rank: int,
    candidate: Candidate,
    answer: OriginAnswer,
    thumbnails: Mapping[str, str],
    evidence: Mapping[tuple[str, str], CandidateOverlay],
) -> html.Row:
    overlay = evidence.get((answer.name, candidate.path))
    drawn = overlay and draw_difference(answer.name, answer.digest, overlay, side=SMALL)
    evidence_of = candidate.evidence or {}
    figures = (
        f"{candidate.score:.3f}",
        *(f"{evidence_of[kind]:.3f}" if kind in evidence_of else "" for kind in _kinds(answer)),
        "" if candidate.deviations is None else f"{candidate.deviations:.1f}",
        "" if candidate.p_value is None else f"{candidate.p_value:.3g}",
        "" if overlay is None else f"{overlay.alignment.agreement:.2f}",
    )
    return (
        str(rank),
        html.Cell("", image=thumbnails.get(candidate.path, "")),
        html.Cell("", image=drawn or ""),
        html.Cell(_called(candidate), below=candidate.digest),
        *figures,
    )


def _series(answer: OriginAnswer) -> tuple[str, ...]:
    """The near-duplicates of the best match, where there are any."""
    if not answer.series:
        return ()
    names = ", ".join(shown_path(path) for path in answer.series)
    return (f"nearly identical to {shown_path(answer.candidates[0].path)}: {names}",)


def _called(candidate: Candidate) -> str:
    """The candidate's path, and what is wrong with it now."""
    shown = shown_path(candidate.path)
    return f"{shown}, which {candidate.missing}" if candidate.missing else shown


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
    together = basis.get("false_discovery_rate")
    taken_back = ""
    if together is not None:
        known += (
            " The images were judged together: on average over folders at most "
            f"{percent(together)} of the answers “{AnswerKind.EDIT}” are of images without an "
            "origin in the index, if these are like those edits."
        )
        taken_back = ", or what alone would be an answer is not rare enough among so many images"
    return (
        (
            str(AnswerKind.COPY),
            "The file itself is in the index, byte for byte; or the picture is: its perceptual "
            "hash (PDQ) is near, and no part of the two pictures differs by more than coding "
            "explains.",
        ),
        (
            str(AnswerKind.EDIT),
            "The image named is the most similar one, and it stands out from all other images of "
            f"the index more than chance explains. {known}",
        ),
        (
            str(AnswerKind.NONE),
            "The best match stands out no more than matches of unrelated images do. The origin may "
            "exist elsewhere, or be altered too much to be found.",
        ),
        (
            str(AnswerKind.UNKNOWN),
            "The file could not be read or compared, or the index is not calibrated"
            f"{taken_back}. The reason stands beside it.",
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
            "Crops and rotations",
            "The answer is found through the picture as a whole, by default also mirrored. A "
            "crop, a border or a turn can hide an origin.",
        ),
        (
            "Deviations, p-value, agreement",
            "Candidates are ranked by deviations above the mean of the index; re-ranking adds to "
            "them how well the latents agree. The p-value beside a candidate says how often the "
            "best match of an image without an origin here stands out as much.",
        ),
        (
            "Where the latents differ",
            "The tint shows where the encoder sees a difference that is finer than a change of "
            "palette or light. It is no map of what an editor touched.",
        ),
        (
            "Edits like those of the calibration",
            "The rate of false alarms is known for such edits. Another kind of editor can differ; "
            "measure it with “wherefrom origin evaluate”.",
        ),
    )


def largest_files(largest: Sequence[Mapping[str, Any]]) -> list[PicturedFile]:
    """The files that the page of a calibration shows."""
    names = [row[key] for row in largest for key in ("edit", "origin", "match")]
    return [PicturedFile(name, None) for name in dict.fromkeys(names)]


def write_calibration_report(
    path: Path, largest: Sequence[Mapping[str, Any]], *, thumbnails: Mapping[str, str]
) -> None:
    """Write the page of the edits that stand out most without their origin.

    `largest`: as in the provenance of `NullScores`; `thumbnails`: data addresses by path.
    """
    rows = tuple(
        (
            *(
                cell
                for key in ("edit", "origin", "match")
                for cell in (
                    html.Cell("", image=thumbnails.get(row[key], "")),
                    shown_path(row[key]),
                )
            ),
            f"{row['value']:.1f}",
        )
        for row in largest
    )
    columns = ("", "edit", "", "its origin (left out)", "", "best match", "stands out by")
    grid = html.Grid(columns, rows, (False,) * 6 + (True,))
    text = (
        "Each edit was searched for with its origin left out, and with the near-duplicates of its "
        "origin that were known as such. What it matches instead is a false origin, and the "
        "largest of these values decide from which one on an origin is named.",
        "A best match that shows the scene of the origin, as another picture of one series, is a "
        "near-duplicate that was not known. It makes the calibration too strict: remove one of the "
        "two pictures from the index, or leave the pair out, and calibrate again.",
    )
    section = html.Section("Largest values without the origin", html.Prose(*text), grid)
    html.write_report(path, "Calibration of an origin index", [section])


def retrieval_table(report: RetrievalReport) -> Table:
    """All queries first, then one row per generating model."""
    depths = tuple(report.rows[0].curve)
    called = report.rows[0].right is not None
    # Shown where it makes a difference: where an origin has near-duplicates.
    in_series = any(row.series_accuracy != row.accuracy for row in report.rows)
    columns = (
        *columns_of("edited by | queries:int | mAP:% | accuracy:%"),
        *(Column(f"first {k}", percent, numeric=True) for k in depths if k > 1),
        *((Column("found", percent, numeric=True),) if called else ()),
        *((Column("wrong origin", percent, numeric=True),) if called else ()),
        *((Column("series first", percent, numeric=True),) if in_series else ()),
        *((Column("series found", percent, numeric=True),) if in_series and called else ()),
    )
    rows = tuple(
        (
            row.model,
            row.queries,
            row.mean_average_precision,
            row.accuracy,
            *(row.curve[k] for k in depths if k > 1),
            *((row.right, row.wrong) if called else ()),
            *((row.series_accuracy,) if in_series else ()),
            *((row.series_right,) if in_series and called else ()),
        )
        for row in report.rows
    )
    return Table(columns, rows)
