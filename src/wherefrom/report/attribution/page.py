"""Attribution results as HTML pages for people who have to rely on them."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wherefrom import __version__
from wherefrom.attribution.result import CheckResult, EvaluationResult, ImageVerdict
from wherefrom.calibration.conformal import upper_p_values
from wherefrom.core.config import Config
from wherefrom.report.attribution import figures, wording
from wherefrom.report.attribution.tables import (
    check_table,
    evaluation_table,
    same_source_lines,
)
from wherefrom.report.pages import html
from wherefrom.report.pages.figures import Scores
from wherefrom.report.pages.html import flatten
from wherefrom.report.pages.tables import percent, plural

if TYPE_CHECKING:
    from wherefrom.attribution.checking.fitted import Attributor


def write_check_report(
    path: Path, result: CheckResult, fitted: Attributor, *, thumbnails: Mapping[str, str]
) -> None:
    """Write the page of a check; `thumbnails` are data addresses by image name."""
    own, other = len(fitted.own_scores), len(fitted.other_scores)
    cards = [(str(count), label, wording.TONES[label]) for label, count in result.counts().items()]
    sections = [
        html.Section("Answer", html.Prose(wording.answer(result)), html.Cards(*cards)),
        *_sources_section(result),
        html.Section("Images", *_verdict_blocks(result, thumbnails)),
        html.Section(
            "What the answers mean", html.Points(*wording.verdict_meanings(result, own, other))
        ),
        html.Section("What they do not mean", html.Points(*wording.limits(_states(result)))),
        html.Section("Where the images lie", _histogram(result, fitted)),
        *_method_card(result.attributor, fitted.config),
    ]
    html.write_report(path, "Was this image made by the model?", sections)


def write_evaluation_report(path: Path, result: EvaluationResult, fitted: Attributor) -> None:
    """Write the page of an evaluation."""
    sections = [
        html.Section(
            "Summary", _evaluation_cards(result), html.Prose(*wording.evaluation_meaning(result))
        ),
        html.Section("Sources", html.table_grid(evaluation_table(result))),
        html.Section("Scores", _source_figure(result), _p_value_figure(result, fitted)),
        html.Section("What the rates do not cover", html.Points(*wording.limits(_states(result)))),
        *_method_card(result.attributor, fitted.config),
    ]
    html.write_report(path, "How reliable is this attributor?", sections)


def _verdict_blocks(result: CheckResult, thumbnails: Mapping[str, str]) -> tuple[html.Block, ...]:
    shown = check_table(result).shown()
    rows = tuple(
        _verdict_row(image, cells, thumbnails.get(image.name, ""))
        for image, cells in zip(result.images, shown, strict=True)
    )
    columns = ("", "image", "verdict", "p-value", "score", "reason")
    grid = html.Grid(columns, rows, (False, False, False, True, True, False))
    notes = [wording.p_value_meaning()]
    if len(thumbnails) < len(rows):
        notes.append(
            f"{len(thumbnails)} of {plural(len(rows), 'image')} are pictured: the page is kept "
            "small, and unreadable files have no picture."
        )
    return grid, html.Prose(*notes)


def _verdict_row(image: ImageVerdict, cells: list[str], thumbnail: str) -> html.Row:
    name, verdict, p_value, score, reason = cells[:5]
    return (
        html.Cell("", image=thumbnail),
        html.Cell(name, below=image.digest or ""),
        html.Cell(verdict, tone=wording.TONES[verdict]),
        p_value,
        score,
        reason,
    )


def _sources_section(result: CheckResult) -> list[html.Section]:
    if not result.same_source:
        return []
    lines = (*same_source_lines(result), wording.same_source_meaning())
    return [html.Section("Each source as a whole", html.Prose(*lines))]


def _histogram(result: CheckResult, fitted: Attributor) -> html.Figure:
    checked = [image.score for image in result.images if image.score is not None]
    light, dark = figures.score_histogram(
        _array(fitted.own_scores),
        _array(fitted.other_scores),
        result.threshold,
        _array(torch.tensor(checked, dtype=torch.float64)),
    )
    caption = (
        "Scores of the images held out for calibration. An image to the right of the dashed line "
        "does not fit the model. Each mark in the lower strip is a checked image."
    )
    return html.Figure(light, dark, "Histogram of calibration scores with the threshold", caption)


def _evaluation_cards(result: EvaluationResult) -> html.Cards:
    return html.Cards(
        (percent(result.mean_accuracy), "mean accuracy over the other sources", "yes"),
        (
            percent(result.own.rejected),
            f"of {plural(result.own.count, 'own image')} rejected, "
            f"at most {percent(result.false_negative_rate)} intended",
            "",
        ),
        (str(len(result.others)), "other sources", ""),
    )


def _source_figure(result: EvaluationResult) -> html.Figure:
    scores = {name: _values(values) for name, values in result.scores.items()}
    light, dark = figures.source_scores(scores, result.own.source, result.threshold)
    caption = (
        "Scores by source: the middle half of the images is boxed, whiskers reach from 1% to "
        "99%. Boxes right of the dashed line are rejected."
    )
    return html.Figure(light, dark, "Box plot of the scores of every source", caption)


def _p_value_figure(result: EvaluationResult, fitted: Attributor) -> html.Figure:
    p_values = {
        name: _array(upper_p_values(torch.tensor(values).double(), fitted.own_scores))
        for name, values in result.scores.items()
    }
    light, dark = figures.p_value_curves(p_values, result.own.source, result.false_negative_rate)
    caption = (
        "Are the p-values honest? The curve of the model's own images must not rise clearly above "
        "the dotted line; those of the other sources should rise steeply at the left edge."
    )
    return html.Figure(light, dark, "Calibration plot of the p-values", caption)


def _method_card(
    attributor: Mapping[str, Any], config: Config
) -> tuple[html.Section, html.Section]:
    described = {key: value for key, value in attributor.items() if key != "config"}
    facts = tuple((name, value, "") for name, value in flatten(described))
    versions = (
        ("this report: wherefrom", __version__, ""),
        ("this report: PyTorch", str(torch.__version__), ""),
        ("this report: Python", platform.python_version(), ""),
    )
    return (
        html.Section("The attributor", html.Facts(*facts, *versions)),
        html.settings_section(config),
    )


def _states(result: CheckResult | EvaluationResult) -> Sequence[str]:
    states: Sequence[str] = result.attributor.get("further_conditions", ())
    return states


def _array(values: Tensor) -> Scores:
    array: Scores = values.detach().cpu().double().numpy()
    return array


def _values(values: tuple[float, ...]) -> Scores:
    return _array(torch.tensor(values, dtype=torch.float64))
