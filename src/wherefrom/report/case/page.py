"""The report of an inspection: a folder with a page for people and the same as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from matplotlib.figure import Figure as Canvas

from wherefrom.anomaly.localisation.pictures import overlay
from wherefrom.case.questions.asked import (
    DamageShown,
    HeatShown,
    OriginShown,
    ReconstructionShown,
    ScorePlace,
    SharesShown,
)
from wherefrom.case.result import QUESTIONS, Inspection, PartAnswer, QuestionAnswer, State
from wherefrom.case.signing import ReportSigner
from wherefrom.core.saving.json_text import to_json
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.images.items import to_image
from wherefrom.data.images.notebook import encode_picture
from wherefrom.data.images.writing import image_grid, to_uint8
from wherefrom.report.case.signed import sign_report
from wherefrom.report.case.wording import TONES, error_sentence, limits, summary_lines, unanswered
from wherefrom.report.origin import answer_panels
from wherefrom.report.pages import html
from wherefrom.report.pages.figures import (
    Scheme,
    bins,
    dress,
    legend,
    outlined_histogram,
    render,
    share_intervals,
)
from wherefrom.report.pages.files import (
    INSPECTION,
    PAGE,
    PICTURES,
    SIGNED,
    THUMBNAIL,
    remove_signature,
    write_bytes,
    write_text,
)
from wherefrom.report.pages.html import Figure, Panel
from wherefrom.report.pages.pictures import MAX_SIDE, draw_picture, open_picture
from wherefrom.report.pages.tables import percent

HEAT_SIDE = 320
MIN_SIDE = 160  # px that a small picture is enlarged to


def score_figure(place: ScorePlace) -> Figure:
    """Calibration scores as histograms, the threshold, and a line where the image lies."""
    own = place.own.double().numpy()
    other = np.empty(0) if place.other is None else place.other.double().numpy()
    edges, heavy = bins(np.concatenate([own, other, [place.threshold, place.score]]))

    def draw(canvas: Canvas, scheme: Scheme) -> None:
        ax = canvas.subplots()
        rows = ((own, scheme.own, place.own_label), (other, scheme.other, place.other_label))
        for values, colour, label in rows:
            if len(values):
                outlined_histogram(ax, values, edges, colour, f"{label} ({len(values)})")
        ax.axvline(place.threshold, color=scheme.accent, linestyle="--", label="threshold")
        ax.axvline(place.score, color=scheme.ink, linewidth=2.4, label="this image")
        ax.set_ylabel("share of images, %")
        ax.set_xlabel(place.axis)
        if heavy:
            ax.set_xscale("log")
        legend(ax, scheme)
        dress([ax], scheme)

    light, dark = render(draw, height=3.0)
    side = "beyond" if place.score > place.threshold else "not beyond"
    larger = float((own >= place.score).mean()) if len(own) else 0.0
    alt = (
        f"Histogram of calibration scores of {place.name}. This image scores {place.score:.4g}, "
        f"{side} the threshold of {place.threshold:.4g}; {percent(round(larger, 4))} of "
        f"{place.own_label} score as high."
    )
    caption = (
        f"{place.name}: where the score of this image (solid line) lies among scores of images "
        "that the method never saw. The dashed line is the threshold."
    )
    return Figure(light, dark, alt, caption)


def shares_figure(shown: SharesShown) -> Figure:
    """Shares with their intervals."""

    def column(values: Sequence[float | None]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([np.nan if v is None else v for v in values], dtype=np.float64)

    order = np.argsort(-column(shown.values), kind="stable")
    rows = [column(values)[order] for values in (shown.values, shown.low, shown.high)]
    light, dark = share_intervals([shown.contributors[i] for i in order], *rows)
    alt = f"Shares of {len(shown.contributors)} contributors with their intervals; see the table"
    return Figure(light, dark, alt, "Shares (points) and the intervals that hold for all at once.")


def heat_panels(shown: HeatShown) -> list[Panel]:
    """The image with the parts outlined that its vulnerability comes from."""
    located = shown.localisation
    shares = [float(located.shares[i]) for i in located.top]
    listed = ", ".join(percent(round(share, 3)) for share in shares)
    caption = (
        f"{shown.name}: parts that the score rests on; the three outlined hold {listed} of it. "
        f"{percent(round(located.stability, 2))} of them are the same from another start."
    )
    picture = encode_picture(to_image(overlay(shown.pixels, located)), side=HEAT_SIDE)
    return [Panel(picture, caption, alt="The image with a heat map over it")]


def damage_panels(shown: DamageShown) -> list[Panel]:
    """The image, red where the strongest evidence against it lies."""
    damage_map = shown.damage_map
    p = damage_map.p_by_evidence[damage_map.evidence]
    caption = f"{shown.name}: where the evidence of {damage_map.evidence} lies (p = {p:.3g})."
    picture = encode_picture(to_image(damage_map.picture), side=HEAT_SIDE)
    return [Panel(picture, caption, alt="The image in grey, red where the evidence lies")]


def reconstruction_panels(shown: ReconstructionShown) -> list[Panel]:
    """The image as the inverter sees it, beside what comes back of it."""
    pair = to_uint8(torch.stack([shown.image, shown.recovered]))
    times = max(1, -(-MIN_SIDE // pair.shape[-1]))
    larger = pair.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)
    picture = encode_picture(to_image(image_grid(larger, 2, gap=8)), side=2 * HEAT_SIDE)
    caption = (
        f"{shown.name}: left the image as the inverter sees it, right what its generator makes of "
        f"the image's code (PSNR {shown.psnr:.1f} dB)."
    )
    return [Panel(picture, caption, alt="The image beside its reconstruction")]


WHOLE = INSPECTION
Drawn: TypeAlias = Mapping[str, Sequence[html.Block]]  # by question
FILES = (PAGE, WHOLE, SIGNED, "inspections.json", "inspections.csv")

__all__ = [
    "PAGE",
    "WHOLE",
    "Drawn",
    "draw",
    "inspection_page",
    "is_of_report",
    "summary_lines",
    "write_inspection",
    "write_pictures",
]


def is_of_report(name: str) -> bool:
    """Whether a report has a file of that name; that of a folder has numbered pages."""
    return name in FILES or re.fullmatch(r"report-\d+\.html", name) is not None


def write_inspection(
    folder: Path,
    inspection: Inspection,
    image: Path,
    *,
    signer: ReportSigner | None = None,
    show: Callable[[str], str] = str,
    drawn: Drawn | None = None,
) -> Path:
    """Write or replace page and JSON in `folder`, each whole; the page's path.

    With `signer` also a signed picture, last; without, an older one is taken away.  `show` is
    applied to both texts (`Places.hide`); `drawn`: what `draw` gave, if it was called before.
    """
    text = show(inspection_json(inspection))
    page = show(inspection_page(inspection, image, digest_bytes(text.encode()), drawn))
    signed = None
    if signer is not None:
        files = {PAGE: page.encode(), WHOLE: text.encode()}
        signed = sign_report(inspection, image, files, signer)
    remove_signature(folder)
    write_text(folder / WHOLE, text)
    write_text(folder / PAGE, page)
    if signed is not None:
        write_bytes(folder / SIGNED, signed)
    return folder / PAGE


def inspection_json(inspection: Inspection) -> str:
    """The machine-readable report."""
    return to_json(inspection.to_dict(), ensure_ascii=False) + "\n"


def draw(inspection: Inspection) -> Drawn:
    """The pictures and plots of every question."""
    called = inspection.image.name
    return {
        question: [block for exhibit in exhibits for block in _drawn(exhibit, called)]
        for question, exhibits in inspection.exhibits.items()
    }


def write_pictures(
    folder: Path, inspection: Inspection, image: Path, drawn: Drawn, show: Callable[[str], str]
) -> None:
    """Write the image, small and as it is shown, and what was drawn, for the page of a service."""
    small = open_picture(str(image), inspection.image.digest, MAX_SIDE)
    if small is not None:
        write_bytes(folder / THUMBNAIL, html.from_data_uri(encode_picture(small, side=MAX_SIDE)))
    panels = {
        question: [
            {"image": picture, "dark": dark, "caption": show(caption), "alt": show(alt)}
            for block in blocks
            for picture, dark, caption, alt in _pictures_of(block)
        ]
        for question, blocks in drawn.items()
    }
    whole = {"image": draw_picture(str(image), inspection.image.digest), "evidence": panels}
    write_text(folder / PICTURES, to_json(whole, indent=None))


def _pictures_of(block: html.Block) -> Iterator[tuple[str, str, str, str]]:
    if isinstance(block, Figure):
        yield block.light, block.dark, block.caption, block.alt
    elif isinstance(block, html.Strip):
        for panel in block.panels:
            yield panel.image, panel.image, panel.caption, panel.alt


def inspection_page(
    inspection: Inspection, image: Path, digest: str, drawn: Drawn | None = None
) -> str:
    """The page; `image` is the file, `digest` that of the JSON beside the page."""
    drawn = draw(inspection) if drawn is None else drawn
    sections = [
        html.Section("Summary", *_summary(inspection, image)),
        *(_question(answer, drawn.get(answer.question, ())) for answer in inspection.answers),
        html.Section("What was not answered, and why", _unanswered(inspection)),
        html.Section("What the file says of itself", *_claims(inspection)),
        html.Section("What these answers do not prove", html.Points(*limits())),
        html.Section("What they rest on", _basis(inspection, digest)),
    ]
    return html.render_page(f"What is known of {inspection.image.name}?", sections)


def _summary(inspection: Inspection, image: Path) -> tuple[html.Block, ...]:
    picture = draw_picture(str(image), inspection.image.digest)
    facts = inspection.image
    caption = f"{facts.name}, {facts.width} × {facts.height} px, {facts.format}"
    shown = (
        (html.Strip(html.Panel(picture, caption, alt=f"The image {facts.name}")),)
        if picture
        else ()
    )
    rows = tuple(
        (
            QUESTIONS[answer.question],
            html.Cell(str(answer.state), tone=TONES[answer.state]),
            answer.sentence,
            "" if answer.error_rate is None else f"at most {percent(answer.error_rate)}",
        )
        for answer in inspection.answers
    )
    grid = html.Grid(("question", "", "answer", "wrong"), rows)
    note = (
        "“Wrong” is the chance of the error that stands below each answer. The answers are about "
        "the file whose digest stands at the end of the page, and rest on the parts of the case "
        f"“{inspection.case['name']}”."
    )
    return (*shown, grid, html.Prose(note))


def _question(answer: QuestionAnswer, drawn: Sequence[html.Block]) -> html.Section:
    lines = (answer.sentence, error_sentence(answer.error_rate, answer.error_of))
    blocks: list[html.Block] = [html.Prose(*filter(None, lines))]
    if answer.caveats:
        blocks.append(html.Points(*(("Beware", text) for text in dict.fromkeys(answer.caveats))))
    blocks += drawn
    if answer.parts:
        blocks.append(_parts(answer.parts))
    if answer.question == "credit" and answer.state is State.FOUND:
        blocks += [_shares(part) for part in answer.parts]
    return html.Section(QUESTIONS[answer.question], *blocks)


def _drawn(exhibit: Any, called: str) -> Iterator[html.Block]:
    if isinstance(exhibit, ScorePlace):
        yield score_figure(exhibit)
    elif isinstance(exhibit, SharesShown):
        yield shares_figure(exhibit)
    elif isinstance(exhibit, HeatShown):
        yield html.Strip(*heat_panels(exhibit))
    elif isinstance(exhibit, DamageShown):
        yield html.Strip(*damage_panels(exhibit))
    elif isinstance(exhibit, ReconstructionShown):
        yield html.Strip(*reconstruction_panels(exhibit))
    elif isinstance(exhibit, OriginShown) and exhibit.answer.candidates:
        panels = answer_panels(exhibit.answer, exhibit.evidence, called=called)
        if panels:
            yield html.Strip(*panels)


def _parts(parts: tuple[PartAnswer, ...]) -> html.Grid:
    rows = tuple(
        (
            html.Cell(part.name, below=part.digest),
            part.verdict,
            "" if part.p_value is None else f"{part.p_value:.3g}",
            part.reason,
            _numbers(part),
        )
        for part in parts
    )
    numeric = (False, False, True, False, False)
    return html.Grid(("part", "verdict", "p-value", "reason", "figures"), rows, numeric)


def _numbers(part: PartAnswer) -> str:
    figures = [
        f"{name.replace('_', ' ')} {value:.4g}"
        for name, value in part.numbers.items()
        if value is not None
    ]
    return ", ".join(figures)


def _shares(part: PartAnswer) -> html.Grid:
    details = part.details
    columns = (details["contributors"], details["shares"], details["from"], details["to"])
    rows = sorted(zip(*columns, strict=True), key=lambda row: -row[1])
    cells = tuple(
        (str(name), *("" if v is None else f"{v:.4g}" for v in values)) for name, *values in rows
    )
    return html.Grid(("contributor", "share", "from", "to"), cells, (False, True, True, True))


def _unanswered(inspection: Inspection) -> html.Block:
    rows = unanswered(inspection.answers)
    return html.Points(*rows) if rows else html.Prose("Every question was answered.")


def _claims(inspection: Inspection) -> tuple[html.Block, ...]:
    note = (
        "Anybody can write these into a file, and anybody can remove them. They had no part in "
        "the answers above."
    )
    rows = tuple(
        (claim.source, claim.name, claim.text, claim.signed) for claim in inspection.claims
    )
    grid = html.Grid(("where", "what", "claim", "signature"), rows)
    shown: html.Block = grid if rows else html.Prose("It says nothing of its making.")
    unread = tuple(("Not read", text) for text in inspection.unread_claims)
    return (html.Prose(note), shown, *((html.Points(*unread),) if unread else ()))


def _basis(inspection: Inspection, digest: str) -> html.Facts:
    image = inspection.image
    rows = [
        ("image", image.digest, f"{image.bytes} bytes, {image.format}"),
        ("saved without loss", "yes" if image.lossless else "no", "; ".join(image.notes)),
        ("case", str(inspection.case["digest"]), str(inspection.case["name"])),
        *(
            (f"{answer.question}: {part.name}", part.digest, part.path)
            for answer in inspection.answers
            for part in answer.parts
        ),
        *((f"version of {name}", version, "") for name, version in inspection.versions.items()),
        (f"the same as JSON ({WHOLE})", digest, ""),
    ]
    return html.Facts(*rows)
