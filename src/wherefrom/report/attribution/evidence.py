"""The page about one image: what its verdict rests on, and the same as JSON beside it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from wherefrom.attribution.checking.explaining import HALF_LEVEL, Explanation
from wherefrom.attribution.result import CheckResult
from wherefrom.core.saving.json_text import to_json
from wherefrom.data.images.notebook import data_uri
from wherefrom.report.attribution import figures, wording
from wherefrom.report.pages import html
from wherefrom.report.pages.files import write_text
from wherefrom.report.pages.tables import percent, plural, show_p_value

SIDE = 192  # px of a map on the page
FULL = 4.0  # deviations, and 8-bit levels, at which a map is fully tinted


def write_evidence_report(
    path: Path, explanation: Explanation, result: CheckResult, *, picture: str
) -> Path:
    """Write the page, and `path` with .json beside it; returns the latter.

    `result` is the check that the explanation is of; `picture` a data address of the image.
    """
    own, other = (len(explanation.calibration[kind]) for kind in ("own", "other"))
    meanings = wording.verdict_meanings(result, own, other)
    sections = [
        html.Section(
            "Answer",
            _cards(explanation),
            html.Prose(wording.answer(result)),
            html.Strip(html.Panel(picture, "The image that was asked about.")),
        ),
        html.Section(
            "How its score compares", _position(explanation), html.Prose(wording.p_value_meaning())
        ),
        *_activations(explanation),
        *_pixels(explanation),
        *_pieces(explanation),
        html.Section("After being shipped once more", *_shipped(explanation)),
        html.Section("What the answers mean", html.Points(*meanings)),
        html.Section(
            "What they do not mean",
            html.Points(*wording.limits(result.attributor.get("further_conditions", ()))),
        ),
        html.Section("Digests", html.Facts(*((k, v, "") for k, v in explanation.digests.items()))),
    ]
    beside = path.with_suffix(".json")
    html.write_report(path, "What does this verdict rest on?", sections)
    write_text(beside, to_json(evidence_dict(explanation, result)) + "\n")
    return beside


def evidence_dict(explanation: Explanation, result: CheckResult) -> Mapping[str, Any]:
    """JSON values: the explanation, and the check's rates and attributor."""
    return {**explanation.to_dict(), "check": result.to_dict()}


def _cards(explanation: Explanation) -> html.Cards:
    row = explanation.image
    p_value = "-" if row.p_value is None else show_p_value(row.p_value)
    state = f"state of the file: {row.condition or 'not calibrated'}"
    items = [
        (str(row.verdict), state, wording.TONES[row.verdict]),
        (p_value, "p-value among the model's own images", ""),
    ]
    if explanation.out_of_reach is not None:
        label = "of its pixels the inversion leaves more than half a level off"
        items.append((percent(explanation.out_of_reach), label, ""))
    label = (
        f"of {plural(len(explanation.reencodings), 're-encoding')} do not turn the verdict around"
    )
    items.append((percent(explanation.stable), label, ""))
    return html.Cards(*items)


def _position(explanation: Explanation) -> html.Figure:
    own, other = (explanation.calibration[k].double().cpu().numpy() for k in ("own", "other"))
    score = float(explanation.image.score or 0.0)
    light, dark = figures.p_value_position(own, other, score)
    caption = (
        "The p-value that any score would get: among the model's own held-out images (falling "
        "curve) and among the other ones (rising curve). The vertical line is this image."
    )
    return html.Figure(light, dark, "p-values as curves over the score, with this image", caption)


def _activations(explanation: Explanation) -> list[html.Section]:
    if not explanation.channels:
        return []
    panels = tuple(
        html.Panel(
            heat(channel.places, signed=True),
            f"Channel {channel.index}: {channel.difference:.2g} deviations on average; red above "
            f"own images, blue below, full at {FULL:g}",
        )
        for channel in explanation.channels
    )
    text = (
        "The activations before the model's last layer that best explain the image, against those "
        "of the model's own images: the channels that differ most, place by place, in deviations "
        "of own images. An own image, too, has channels that differ most: compare with one."
    )
    return [html.Section("Activations that differ most", html.Strip(*panels), html.Prose(text))]


def _pixels(explanation: Explanation) -> list[html.Section]:
    if explanation.unexplained is None or explanation.out_of_reach is None:
        return []
    panel = html.Panel(
        heat(explanation.unexplained, signed=False),
        "Difference from the nearest image that the layer was found to make: black for none, "
        f"brightest from {FULL:g} levels of 255 up",
    )
    text = (
        f"{percent(explanation.out_of_reach)} of the pixels differ by more than {HALF_LEVEL:g} of "
        "a level, more than rounding explains. The inversion prefers likely activations to an "
        "exact fit and stops after a fixed number of steps, so a small difference alone proves "
        "nothing; the score compares it with what own images show."
    )
    return [
        html.Section("Pixels that the layer does not reach", html.Strip(panel), html.Prose(text))
    ]


def _pieces(explanation: Explanation) -> list[html.Section]:
    if not explanation.pieces:
        return []
    rows = tuple((name, f"{value:.2f}") for name, value in explanation.pieces.items())
    text = (
        "Each piece of evidence in its upper spreads above the model's median; above 2.3 lies one "
        "own image in a hundred. The score joins them so that none hides another."
    )
    grid = html.Grid(("piece of evidence", "spreads"), rows, (False, True))
    return [html.Section("Pieces of evidence", grid, html.Prose(text))]


def _shipped(explanation: Explanation) -> tuple[html.Block, ...]:
    rows = tuple(
        (
            again.change,
            html.Cell(str(again.verdict), tone=wording.TONES[again.verdict]),
            "" if again.p_value is None else show_p_value(again.p_value),
            again.condition or "not calibrated",
            again.reason,
        )
        for again in explanation.reencodings
    )
    columns = ("change", "verdict", "p-value", "state of the file", "reason")
    text = (
        "The image was altered as people and web sites do it, and judged again. A verdict that "
        "turns into “cannot say” lost its evidence; one that turns around would be a warning."
    )
    return html.Grid(columns, rows, (False, False, True, False, False)), html.Prose(text)


def heat(values: Tensor, *, signed: bool) -> str:
    """A map (h, w) as a PNG data address, one square per place; tinted fully at `FULL`."""
    array: NDArray[np.float64] = values.double().cpu().numpy()
    share = (array / FULL + 1) / 2 if signed else array / FULL
    tint = colormaps["RdBu_r" if signed else "magma"](np.clip(share, 0, 1))[..., :3]
    image = Image.fromarray((255 * tint).round().astype(np.uint8))
    factor = max(1, SIDE // max(image.size))
    size = (image.width * factor, image.height * factor)
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.NEAREST).save(buffer, format="PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")
