"""Fit the five parts of the demo, write its case and its suspects."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherefrom.case.demo.grading import GradedSuspect, grade_folder
from wherefrom.case.demo.material import DemoConfig, DemoMaterial, part_clothes, shipped_clothes
from wherefrom.case.demo.parts import (
    build_index,
    calibrate_naturalness,
    fit_attributor,
    study_credit,
    train_inverter,
)
from wherefrom.case.demo.suspects import write_suspects
from wherefrom.case.folder import FolderInspection, inspect_folder
from wherefrom.case.parts.adding import describe_part
from wherefrom.case.parts.file import Case, CaseConfig, write_case
from wherefrom.case.parts.opened import open_case
from wherefrom.core.errors import MissingExtraError
from wherefrom.core.progress import Track, quiet

NAME = "demo"
# Kind of a part in the case file: what it is in words, and what fits it.
PARTS: dict[str, tuple[str, Callable[[DemoMaterial], Path]]] = {
    "attributor": ("the attributor of my model", fit_attributor),
    "origin": ("the index of my photographs", build_index),
    "anomaly": ("the calibration on real images", calibrate_naturalness),
    "inverter": ("the inverter of clothes", train_inverter),
    "credit": ("the study of credit", study_credit),
}


@dataclass(frozen=True)
class Demo:
    """Paths of the case and its suspects; `left_out`: parts that were not fitted, and why."""

    case: Path
    suspects: Path
    left_out: tuple[str, ...]


def make_demo(
    folder: Path,
    *,
    config: DemoConfig | None = None,
    seed: int = 0,
    track: Track = quiet,
    note: Callable[[str], None] = lambda line: None,
) -> Demo:
    """Put everything below `folder`, which `start_folder` made.  Two minutes on two cores.

    `note` is given a line for every part that was fitted.
    """
    config = config or DemoConfig()
    clothes = part_clothes(shipped_clothes(), config.clothes_needed())
    material = DemoMaterial(folder, clothes, config, seed, track)
    fitted: dict[str, Path] = {}
    left_out = []
    for number, (kind, (name, fit)) in enumerate(PARTS.items(), 1):
        start = time.monotonic()
        head = f"{number} of {len(PARTS)}: {name}"
        try:
            fitted[kind] = fit(material)
        except MissingExtraError as error:
            left_out.append(f"{name}: {error}")
            note(f"{head}, left out")
            continue
        note(f"{head}, {time.monotonic() - start:.0f} s")
    case = _write_case(folder / "case.toml", fitted, config)
    return Demo(case, write_suspects(material), tuple(left_out))


def inspect_demo(
    demo: Demo, *, track: Track = quiet
) -> tuple[FolderInspection, tuple[GradedSuspect, ...]]:
    """Inspect the suspects with the demo's case: the inspections, and which answers are right."""
    with open_case(demo.case) as opened:
        inspected = inspect_folder([demo.suspects], opened, track=track)
    return inspected, grade_folder(inspected)


def _write_case(path: Path, fitted: dict[str, Path], config: DemoConfig) -> Path:
    settings: dict[str, dict[str, Any]] = {
        "anomaly": {"false_alarms": config.anomaly_false_alarms},
        "inverter": {"false_alarms": config.outlier_false_alarms},
        "credit": {"model": "my-model"},
    }
    parts = tuple(
        describe_part(place, path, settings=settings.get(kind, {}))
        for kind, place in fitted.items()
        if kind != "credit" or "attributor" in fitted  # a receipt is about a model of the case
    )
    family_error = config.attribution.false_positive_rate
    write_case(Case(path, CaseConfig(name=NAME, family_error=family_error), parts))
    return path
