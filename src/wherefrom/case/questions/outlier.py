"""Is the image unlike the images of the models behind the case's inverters?"""

from __future__ import annotations

from pathlib import Path

from wherefrom.case.parts.file import InverterPart
from wherefrom.case.parts.opened import OpenCase, Outliers
from wherefrom.case.questions.asked import (
    Asked,
    FlagWords,
    ReconstructionShown,
    ScorePlace,
    combine_flags,
)
from wherefrom.case.result import PartAnswer
from wherefrom.core.errors import WherefromError
from wherefrom.data.batches import ImageBatch
from wherefrom.data.folders import read_images
from wherefrom.data.images.writing import to_float
from wherefrom.inversion.codes.reconstruction import reconstruct
from wherefrom.inversion.outliers.calibrated import find_outliers

WORDS = FlagWords(
    "Unlike the images of the model behind the inverter",
    "Like the images of the model behind the inverter",
    "Whether it is an outlier",
    "a normal image like those of the calibrations is flagged",
)


def ask_outlier(path: Path, opened: OpenCase) -> Asked:
    """Whether the image is an outlier among the images of the inverters' models."""
    parts, rates, doubts = [], [], []
    exhibits: list[object] = []
    for part, fitted in opened.outliers:
        batch = _read_for(path, fitted)
        if not batch.paths:
            parts.append(PartAnswer.failed(part, batch.skipped[0].reason))
            continue
        verdicts = find_outliers(fitted.inverter, fitted.calibration, batch, rate=part.false_alarms)
        if not verdicts.rows:
            parts.append(PartAnswer.failed(part, verdicts.skipped[0].reason))
            continue
        rates.append(part.false_alarms)
        doubts += [verdicts.warning] if verdicts.warning else []
        doubts += [f"{part.name} saw it {note}" for note in batch.notes[0] if "scaled" in note]
        row = verdicts.rows[0]
        parts.append(_answer_of(part, fitted, row.score, row.p_value))
        exhibits.append(_score_place(part, fitted, row.score, verdicts.threshold))
        exhibits += _reconstruction(part, fitted, batch)
    return Asked(combine_flags("outlier", parts, rates, WORDS, doubts), tuple(exhibits))


def _read_for(path: Path, fitted: Outliers) -> ImageBatch:
    side, channels = fitted.inverter.size, fitted.inverter.channels
    return read_images([path], channels=channels, size=(side, side), resize=True, at_least=0)


def _answer_of(part: InverterPart, fitted: Outliers, score: float, p_value: float) -> PartAnswer:
    calibration = fitted.calibration
    return PartAnswer.of(
        part,
        "flagged" if p_value <= part.false_alarms else "not flagged",
        p_value,
        numbers={"score": score, "own_images": len(calibration.own_scores)},
        details={
            "score": calibration.score,
            "method": fitted.inverter.config.method,
            "false_alarms": part.false_alarms,
            "self_test_auroc": dict(calibration.self_test["means"]),
        },
    )


def _score_place(
    part: InverterPart, fitted: Outliers, score: float, threshold: float
) -> ScorePlace:
    return ScorePlace(
        part.name,
        own=fitted.calibration.own_scores,
        own_label="own images",
        threshold=threshold,
        score=score,
        axis=f"{fitted.calibration.score} (larger = more unusual)",
    )


def _reconstruction(
    part: InverterPart, fitted: Outliers, batch: ImageBatch
) -> list[ReconstructionShown]:
    networks = fitted.inverter.networks
    if networks.inverter is None or networks.generator is None:
        return []
    try:
        pairs = reconstruct(fitted.inverter, to_float(batch.images))
    except WherefromError:
        return []  # a generator of classes without a classifier cannot give the image back
    if not bool(pairs.recovered.isfinite().all()):
        return []
    psnr = float(pairs.psnr[0])
    return [ReconstructionShown(part.name, pairs.images[0], pairs.recovered[0], psnr)]
