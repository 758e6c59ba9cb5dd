"""Origin, naturalness and outliers: questions about the image that need no model named first."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wherefrom.anomaly.calibration.judgement import ImageJudgement
from wherefrom.anomaly.localisation.heat_maps import LocalisationConfig, explain
from wherefrom.anomaly.measuring.items import load_image
from wherefrom.anomaly.method import score_progressively
from wherefrom.case.file import AnomalyPart, InverterPart, OriginPart
from wherefrom.case.opened import Naturalness, OpenCase, Outliers
from wherefrom.case.questions.exhibits import (
    HeatShown,
    OriginShown,
    ReconstructionShown,
    ScorePlace,
)
from wherefrom.case.result import Answer, Part, State
from wherefrom.core.errors import WherefromError
from wherefrom.data.batches import ImageBatch
from wherefrom.data.folders import read_images
from wherefrom.data.writing import to_float
from wherefrom.inversion.codes.reconstruction import reconstruct
from wherefrom.inversion.outliers.calibrated import judge_outliers
from wherefrom.origin.collection.references import References
from wherefrom.origin.index.places import shown_path
from wherefrom.origin.searching.decision import Answer as Origin
from wherefrom.origin.searching.decision import TooFewImages
from wherefrom.origin.searching.result import OriginAnswer

NAMED = (Origin.COPY, Origin.EDIT)
HEAT = LocalisationConfig(repeats=2)


def ask_origin(
    path: Path, opened: OpenCase, consulted: Consulted, *, pictures: bool
) -> tuple[Answer, list[object]]:
    """Was it made from an image of one of the indexes?  What was looked at goes to `consulted`."""
    parts: list[Part] = []
    shown: list[object] = []
    answers: list[tuple[OriginPart, OriginAnswer]] = []
    rates: list[float] = []
    failed = []
    for part, references in opened.origins:
        try:
            (answer,) = references.search([path])
        except WherefromError as error:
            failed.append(str(error))
            parts.append(_failed(part, str(error)))
            # Another failure may pass; this one stays for as long as the index is the same.
            consulted.failed |= not isinstance(error, TooFewImages)
            continue
        answers.append((part, answer))
        consulted.paths += answer.consulted
        rates += [] if references.null is None else [references.null.rate]
        parts.append(_origin_part(part, answer, references))
        if pictures:
            shown.append(OriginShown(part.name, answer, references.evidence([answer])))
    return _origin_answer(answers, rates, failed, tuple(parts), opened.case.path.parent), shown


@dataclass
class Consulted:
    """Pictures beside the image that answers rest on; `failed` if that is not fully known."""

    paths: list[str] = field(default_factory=list)
    failed: bool = False


def _origin_answer(
    answers: list[tuple[OriginPart, OriginAnswer]],
    rates: list[float],
    failed: list[str],
    parts: tuple[Part, ...],
    base: Path,
) -> Answer:
    if not parts:
        return _unasked("origin", "the case names no index of images")
    notes = tuple(note for _, answer in answers for note in answer.notes)
    rate = min(1.0, sum(rates)) if rates else None
    told = "an image without an origin in the case's indexes is given one"
    for kind in NAMED:  # a copy says more than likeness
        named = [(part, answer) for part, answer in answers if answer.answer is kind]
        if named:
            part, best = min(named, key=lambda pair: pair[1].p_value or 0.0)
            text = best.sentence(base)
            said = f"{text[0].upper()}{text[1:]}, in the index “{part.name}”."
            copied = kind is Origin.COPY
            return Answer(
                "origin", State.FOUND, said, None if copied else rate,
                "" if copied else told, best.p_value or 0.0, caveats=notes, parts=parts,
            )  # fmt: skip
    unknown = [answer.reason for _, answer in answers if answer.answer is Origin.UNKNOWN]
    if failed or unknown:
        why = (failed + unknown)[0]
        said = f"Whether it has an origin here cannot be said: {why}."
        return Answer("origin", State.UNSURE, said, reason=why, caveats=notes, parts=parts)
    indexes = "index" if len(answers) == 1 else f"{len(answers)} indexes"
    said = f"No origin in the {indexes} of the case stands out."
    caveats = (*notes, "an origin outside the indexes, or an edit that hides it, is not found")
    return Answer("origin", State.CLEAR, said, caveats=caveats, parts=parts)


def _origin_part(part: OriginPart, answer: OriginAnswer, references: References) -> Part:
    details = {
        "candidates": [
            {
                "path": shown_path(c.path, references.base),
                "digest": c.digest,
                "score": c.score,
                "p_value": c.p_value,
                "missing": c.missing,
            }
            for c in answer.candidates[:3]
        ],
        "basis": {k: v for k, v in references.describe().items() if k != "index"},
        "images": references.index.count(),
    }
    numbers = {"deviations": answer.z}
    verdict, reason = str(answer.answer), answer.reason
    return Part(
        part.name, part.path, part.digest, verdict, answer.p_value, reason, numbers, details
    )


def ask_naturalness(path: Path, opened: OpenCase, *, heat: bool) -> tuple[Answer, list[object]]:
    """Is it less natural than the real images of the calibrations?"""
    parts, rates, doubts = [], [], []
    shown: list[object] = []
    for part, room in opened.naturalness:
        try:
            found = _judged(path, part, room)
        except WherefromError as error:
            parts.append(_failed(part, str(error)))
            continue
        rates.append(part.false_alarms)
        parts.append(_naturalness_part(part, found, room))
        if room.calibration.check is not None and room.calibration.check.verdict != "holds":
            doubts.append(room.calibration.check.message)
        shown.append(_naturalness_place(part, found, room))
        if heat:
            shown.append(_heat(path, part, room))
    sentences = ("Less natural than real images", "As natural as real images", "How natural it is")
    told = "a real image like those of the calibrations is flagged"
    return _flagged("naturalness", parts, rates, sentences, told, tuple(doubts)), shown


def _judged(path: Path, part: AnomalyPart, room: Naturalness) -> ImageJudgement:
    calibration, encoder = room.calibration, room.encoder
    scores = score_progressively([path], encoder, calibration, false_alarms=part.false_alarms)
    if scores.skipped:
        raise _UnusableError(scores.skipped[0][1])
    return calibration.judge(scores, false_alarms=part.false_alarms)[0]


class _UnusableError(WherefromError):
    """The image cannot be judged by this part."""


def _naturalness_part(part: AnomalyPart, found: ImageJudgement, room: Naturalness) -> Part:
    numbers = {
        "complexity": found.complexity,
        "vulnerability": found.vulnerability,
        "anomaly_score": found.as_i,
        "held_out_real_images": len(room.calibration.held_points),
    }
    verdict = "flagged" if found.flagged else "not flagged"
    details = {"decided_by": room.calibration.decides, "false_alarms": part.false_alarms}
    reason = found.reason
    p_value = found.p_value
    return Part(part.name, part.path, part.digest, verdict, p_value, reason, numbers, details)


def _naturalness_place(part: AnomalyPart, found: ImageJudgement, room: Naturalness) -> ScorePlace:
    import torch

    from wherefrom.calibration.conformal import threshold_at_rate

    calibration = room.calibration
    held = calibration.scores(calibration.held_points)[calibration.decides]
    point = torch.tensor([[found.complexity, found.vulnerability]], dtype=torch.float64)
    score = float(calibration.scores(point)[calibration.decides])
    limit = threshold_at_rate(held, part.false_alarms)
    none = torch.empty(0, dtype=torch.float64)
    label = "held-out real images"
    axis = "score that decides (larger = less natural)"
    return ScorePlace(part.name, held, label, none, "", limit, score, axis)


def _heat(path: Path, part: AnomalyPart, room: Naturalness) -> HeatShown:
    pixels = load_image(path, room.encoder.resolution)
    calibration = room.calibration
    found = explain(
        pixels, room.encoder, config=calibration.config, localisation=HEAT, seed=calibration.seed
    )
    return HeatShown(part.name, pixels, found)


def ask_outlier(path: Path, opened: OpenCase) -> tuple[Answer, list[object]]:
    """Is it unlike the images of the inverters' models?"""
    parts, rates, doubts = [], [], []
    shown: list[object] = []
    for part, room in opened.outliers:
        batch = _read_for(path, room)
        if not batch.paths:
            parts.append(_failed(part, batch.skipped[0][1]))
            continue
        found = judge_outliers(room.fitted, room.calibration, batch, rate=part.false_alarms)
        if not found.rows:
            parts.append(_failed(part, found.skipped[0][1]))
            continue
        rates.append(part.false_alarms)
        doubts += [found.warning] if found.warning else []
        doubts += [f"{part.name} saw it {note}" for note in batch.notes[0] if "scaled" in note]
        parts.append(_outlier_part(part, room, found.rows[0].score, found.rows[0].p_value))
        shown.append(_outlier_place(part, room, found.rows[0].score, found.threshold))
        shown += _reconstruction(part, room, batch)
    sentences = (
        "Unlike the images of the model behind the inverter",
        "Like the images of the model behind the inverter",
        "Whether it is an outlier",
    )
    told = "a normal image like those of the calibrations is flagged"
    return _flagged("outlier", parts, rates, sentences, told, tuple(doubts)), shown


def _read_for(path: Path, room: Outliers) -> ImageBatch:
    side, channels = room.fitted.size, room.fitted.channels
    return read_images([path], channels=channels, size=(side, side), resize=True, at_least=0)


def _outlier_part(part: InverterPart, room: Outliers, score: float, p_value: float) -> Part:
    flagged = p_value <= part.false_alarms
    numbers = {"score": score, "own_images": len(room.calibration.own_scores)}
    details = {
        "score": room.calibration.score,
        "method": room.fitted.config.method,
        "false_alarms": part.false_alarms,
        "self_test_auroc": dict(room.calibration.self_test["means"]),
    }
    verdict = "flagged" if flagged else "not flagged"
    return Part(part.name, part.path, part.digest, verdict, p_value, "", numbers, details)


def _outlier_place(
    part: InverterPart, room: Outliers, score: float, threshold: float
) -> ScorePlace:
    import torch

    none = torch.empty(0, dtype=torch.float64)
    own, axis = room.calibration.own_scores, f"{room.calibration.score} (larger = more unusual)"
    return ScorePlace(part.name, own, "own images", none, "", threshold, score, axis)


def _reconstruction(part: InverterPart, room: Outliers, batch: ImageBatch) -> list[object]:
    networks = room.fitted.networks
    if networks.inverter is None or networks.generator is None:
        return []
    try:
        found = reconstruct(room.fitted, to_float(batch.images))
    except WherefromError:
        return []  # a generator of classes without a classifier cannot give the image back
    if not bool(found.recovered.isfinite().all()):
        return []
    return [
        ReconstructionShown(part.name, found.images[0], found.recovered[0], float(found.psnr[0]))
    ]


def _flagged(
    question: str,
    parts: list[Part],
    rates: list[float],
    sentences: tuple[str, str, str],
    error_of: str,
    caveats: tuple[str, ...],
) -> Answer:
    """One answer of parts that flag at rates of their own; together their rates add up at most."""
    if not parts:
        return _unasked(question, "the case names no calibration for it")
    found, clear, unsure = sentences
    rate = min(1.0, sum(rates))
    flagged = [part for part in parts if part.verdict == "flagged"]
    rest = {"caveats": caveats, "parts": tuple(parts)}
    if flagged:
        worst = min(flagged, key=lambda part: part.p_value or 0.0)
        said = f"{found} (“{worst.name}”, p = {worst.p_value:.3g})."
        p_value = worst.p_value
        return Answer(question, State.FOUND, said, rate, error_of, p_value, **rest)  # type: ignore[arg-type]
    failed = [part for part in parts if part.verdict == "cannot say"]
    if failed:
        why = f"{failed[0].name}: {failed[0].reason}"
        said = f"{unsure} cannot be said: {why}."
        return Answer(question, State.UNSURE, said, reason=why, **rest)  # type: ignore[arg-type]
    least = min(part.p_value for part in parts if part.p_value is not None)
    said = f"{clear}, as far as can be told (p = {least:.3g})."
    return Answer(question, State.UNFLAGGED, said, **rest)  # type: ignore[arg-type]


def _failed(part: AnomalyPart | OriginPart | InverterPart, reason: str) -> Part:
    return Part(part.name, part.path, part.digest, "cannot say", None, reason)


def _unasked(question: str, why: str) -> Answer:
    return Answer(question, State.UNASKED, f"Not asked: {why}.", reason=why)
