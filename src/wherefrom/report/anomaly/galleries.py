"""Pictures on the page of an audit: worst and best images, two scores of each, damage ladders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from wherefrom.anomaly.auditing import Audit, AuditedImage
from wherefrom.core.progress import Track, quiet
from wherefrom.data.altering.corruptions import CORRUPTIONS, GRADES, corrupt
from wherefrom.data.images.items import to_image
from wherefrom.data.images.notebook import encode_picture
from wherefrom.data.images.writing import to_uint8
from wherefrom.report.pages import html
from wherefrom.report.pages.figures import HEAVY_TAIL, Scores
from wherefrom.report.pages.pictures import MAX_COUNT, open_picture, thumbnails

SHOWN = 6  # worst and best images of a generator
MAX_DOTS = 150  # each with a picture
LADDER_SIDE, MIN_SIDE = 112, 8


def gallery_rows(audit: Audit) -> dict[str, tuple[list[AuditedImage], list[AuditedImage]]]:
    """By generator its worst images, and its best ones, the best first: up to 6, no image twice."""
    rows = {}
    for generator in audit.generated:
        images = [image for image in audit.images if image.generator == generator]
        worst = images[: min(SHOWN, (len(images) + 1) // 2)]
        rows[generator] = worst, images[len(worst) :][::-1][:SHOWN]
    return rows


def dotted_rows(audit: Audit) -> list[AuditedImage]:
    """The images whose two scores are shown: all, or as many of evenly spaced ranks."""
    count = len(audit.images)
    return [audit.images[i * count // min(count, MAX_DOTS)] for i in range(min(count, MAX_DOTS))]


def small_pictures(audit: Audit, *, track: Track = quiet) -> Mapping[str, str]:
    """Data addresses by name of the images in the galleries, and of as many dots as may be."""
    listed = [image for parts in gallery_rows(audit).values() for part in parts for image in part]
    every = [image.judgement for image in (*listed, *dotted_rows(audit))]
    once = list({row.name: row for row in every}.values())
    return thumbnails(once[:MAX_COUNT], exact=False, track=track)


def galleries(audit: Audit, pictures: Mapping[str, str]) -> html.Grid:
    """A row of the worst and a row of the best images of each generator."""
    rows = tuple(
        (generator if words == "worst" else "", words, *_filled(images, pictures))
        for generator, parts in gallery_rows(audit).items()
        for words, images in zip(("worst", "best"), parts, strict=True)
    )
    return html.Grid(("generator", "", *[""] * SHOWN), rows)


def _filled(images: Sequence[AuditedImage], pictures: Mapping[str, str]) -> list[html.Cell | str]:
    cells: list[html.Cell | str] = [
        html.Cell(f"p = {row.judgement.p_value:.2g}", image=pictures.get(row.judgement.name, ""))
        for row in images
    ]
    return cells + [""] * (SHOWN - len(cells))


def score_dots(audit: Audit, pictures: Mapping[str, str]) -> html.Dots:
    """Distance to the real images in features against AS-i; a picture opens above each dot."""
    rows = dotted_rows(audit)
    values = np.array([[row.distance, row.judgement.as_i] for row in rows]).reshape(-1, 2)
    places = np.stack([_shares(column) for column in values.T], axis=1)
    dots = tuple(
        html.Dot(
            float(x),
            float(y),
            f"{row.generator}, rank {row.rank}",
            pictures.get(row.judgement.name, ""),
            "unsure" if row.judgement.flagged else "yes",
        )
        for row, (x, y) in zip(rows, places, strict=True)
    )
    caption = (
        f"{len(rows)} of {len(audit.images)} generated images; amber: flagged. Across: the mean "
        "distance to the nearest real images in features. Up: AS-i. Point at a dot to see its "
        "image. The two scores see different faults: an image far to the right and low has "
        "unusual content that AS-i does not notice."
    )
    return html.Dots(dots, caption)


def _shares(values: Scores) -> Scores:
    """Values (n,) as shares of their range, in [0, 1]; in logarithms where the tail is heavy."""
    finite = np.where(
        np.isfinite(values), values, np.nanmax(values[np.isfinite(values)], initial=0)
    )
    if finite.min(initial=1) > 0 and finite.max(initial=0) > HEAVY_TAIL * np.median(finite):
        finite = np.log(finite)
    low, high = finite.min(initial=np.inf), finite.max(initial=-np.inf)
    return (finite - low) / (high - low) if high > low else np.full(len(finite), 0.5)


def ladders(audit: Audit) -> html.Grid | None:
    """One of the real images, damaged in each way at each grade, with the AUC that was measured.

    None if no real image can be shown.
    """
    check, scores = audit.calibration.check, audit.real
    opened = (
        (open_picture(n, d, 512), d) for n, d in zip(scores.names, scores.digests, strict=True)
    )
    image, digest = next(
        ((im, d) for im, d in opened if im is not None and min(im.size) >= MIN_SIDE), (None, "")
    )
    if image is None or check is None:
        return None
    whole = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    decides = audit.calibration.decides
    measured = {(row.corruption, row.grade): row.auc[decides] for row in check.rows}
    rows = []
    for kind in CORRUPTIONS:
        cells: list[html.Cell | str] = [kind]
        for grade in (0, *GRADES):
            damaged = corrupt(whole, kind, grade, keys=[digest]) if grade else whole
            picture = encode_picture(to_image(to_uint8(damaged)[0]), side=LADDER_SIDE)
            auc = measured.get((kind, grade))
            text = "" if not grade else "not measured" if auc is None else f"AUC {auc:.2f}"
            cells.append(html.Cell(text, image=picture))
        rows.append(tuple(cells))
    return html.Grid(("damage", "as it is", *(f"grade {grade}" for grade in GRADES)), tuple(rows))
