"""How natural is the image, compared with the real images of the case's calibrations?"""

from __future__ import annotations

from pathlib import Path

import torch

from wherefrom.anomaly.calibration.judgement import ImageJudgement
from wherefrom.anomaly.damage.fitted import find_damage
from wherefrom.anomaly.damage.maps import explain_damage
from wherefrom.anomaly.localisation.heat_maps import LocalisationConfig, explain
from wherefrom.anomaly.measuring.items import load_image
from wherefrom.anomaly.method import score_progressively
from wherefrom.calibration.conformal import threshold_at_rate
from wherefrom.case.parts.file import AnomalyPart
from wherefrom.case.parts.opened import Naturalness, OpenCase, OpenDamageTest
from wherefrom.case.questions.asked import (
    Asked,
    DamageShown,
    FlagWords,
    HeatShown,
    ScorePlace,
    combine_flags,
)
from wherefrom.case.result import PartAnswer
from wherefrom.core.errors import InputError, WherefromError

HEAT = LocalisationConfig(repeats=2)
WORDS = FlagWords(
    "Less natural than real images",
    "As natural as real images",
    "How natural it is",
    "a real image like those of the calibrations is flagged",
)


def ask_naturalness(path: Path, opened: OpenCase, *, heat: bool) -> Asked:
    """Whether the image is less natural than real images; `heat` also shows which parts are."""
    parts, rates, doubts = [], [], []
    exhibits: list[object] = []
    for part, fitted in opened.naturalness:
        if isinstance(fitted, OpenDamageTest):
            rates.append(part.false_alarms)
            answer, shown = _ask_damage(path, part, fitted, heat=heat)
            parts.append(answer)
            exhibits += shown
            continue
        try:
            judgement = _judge(path, part, fitted)
        except WherefromError as error:
            parts.append(PartAnswer.failed(part, str(error)))
            continue
        rates.append(part.false_alarms)
        parts.append(_answer_of(part, judgement, fitted))
        check = fitted.calibration.check
        if check is not None and check.verdict != "holds":
            doubts.append(check.message)
        exhibits.append(_score_place(part, judgement, fitted))
        if heat:
            exhibits.append(_heat_map(path, part, fitted))
    return Asked(combine_flags("naturalness", parts, rates, WORDS, doubts), tuple(exhibits))


def _ask_damage(
    path: Path, part: AnomalyPart, fitted: OpenDamageTest, *, heat: bool
) -> tuple[PartAnswer, list[object]]:
    """The answer of a test of damage, its place among real images, and the map of its evidence."""
    test, network, rate = fitted.test, fitted.network, part.false_alarms
    try:
        report = find_damage(path, test, false_alarms=rate, network=network)
        if report.skipped:
            raise InputError(report.skipped[0].reason)
    except WherefromError as error:
        return PartAnswer.failed(part, str(error)), []
    row, held = report.images[0], test.held_scores.amax(dim=1)
    answer = PartAnswer.of(
        part,
        "flagged" if row.flagged else "not flagged",
        row.p_value,
        reason=row.reason,
        numbers={
            **{f"p_of_{kind}": p for kind, p in row.p_by_evidence.items()},
            "held_out_real_images": len(held),
        },
        details={"decided_by": row.evidence, "false_alarms": rate},
    )
    place = ScorePlace(
        part.name,
        own=held,
        own_label="held-out real images",
        threshold=threshold_at_rate(held, rate),
        score=row.score,
        axis="largest score of four kinds (larger = less natural)",
    )
    if not heat:
        return answer, [place]
    return answer, [place, DamageShown(part.name, explain_damage(path, test, network=network))]


def _judge(path: Path, part: AnomalyPart, fitted: Naturalness) -> ImageJudgement:
    calibration, rate = fitted.calibration, part.false_alarms
    scores = score_progressively([path], fitted.encoder, calibration, false_alarms=rate)
    if scores.skipped:
        raise InputError(scores.skipped[0].reason)
    return calibration.judge(scores, false_alarms=rate, progressive=True)[0]


def _answer_of(part: AnomalyPart, judgement: ImageJudgement, fitted: Naturalness) -> PartAnswer:
    return PartAnswer.of(
        part,
        "flagged" if judgement.flagged else "not flagged",
        judgement.p_value,
        reason=judgement.reason,
        numbers={
            "complexity": judgement.complexity,
            "vulnerability": judgement.vulnerability,
            "anomaly_score": judgement.as_i,
            "held_out_real_images": len(fitted.calibration.held_points),
        },
        details={"decided_by": fitted.calibration.decides, "false_alarms": part.false_alarms},
    )


def _score_place(part: AnomalyPart, judgement: ImageJudgement, fitted: Naturalness) -> ScorePlace:
    calibration = fitted.calibration
    among, _ = calibration.reference_points(part.false_alarms)
    held = calibration.scores(among)[calibration.decides]
    point = torch.tensor([[judgement.complexity, judgement.vulnerability]], dtype=torch.float64)
    return ScorePlace(
        part.name,
        own=held,
        own_label="held-out real images",
        threshold=threshold_at_rate(held, part.false_alarms),
        score=float(calibration.scores(point)[calibration.decides]),
        axis="score that decides (larger = less natural)",
    )


def _heat_map(path: Path, part: AnomalyPart, fitted: Naturalness) -> HeatShown:
    pixels = load_image(path, fitted.encoder.resolution)
    calibration = fitted.calibration
    localisation = explain(
        pixels, fitted.encoder, config=calibration.config, localisation=HEAT, seed=calibration.seed
    )
    return HeatShown(part.name, pixels, localisation)
