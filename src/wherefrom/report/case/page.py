"""The report of an inspection: a folder with a page for people and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wherefrom.case.questions.exhibits import (
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
from wherefrom.report.case.figures import (
    heat_panels,
    reconstruction_panels,
    score_figure,
    shares_figure,
)
from wherefrom.report.case.signed import sign_report
from wherefrom.report.case.wording import (
    TONES,
    error_sentence,
    limits,
    summary_lines,
    unanswered,
)
from wherefrom.report.origin import answer_panels
from wherefrom.report.pages.files import (
    INSPECTION,
    PAGE,
    SIGNED,
    remove_signature,
    write_bytes,
    write_text,
)
from wherefrom.report.pages.html import (
    Block,
    Cell,
    Facts,
    Grid,
    Panel,
    Points,
    Prose,
    Section,
    Strip,
    page_footer,
    render_page,
)
from wherefrom.report.pages.overlay import draw_picture
from wherefrom.report.pages.text import percent

WHOLE = INSPECTION
FILES = (PAGE, WHOLE, SIGNED, "inspections.json", "inspections.csv")

__all__ = ["FILES", "PAGE", "WHOLE", "inspection_page", "summary_lines", "write_inspection"]


def write_inspection(
    folder: Path, inspection: Inspection, image: Path, *, signer: ReportSigner | None = None
) -> Path:
    """Write or replace page and JSON in `folder`, each whole; the page's path.

    With `signer` also a signed picture, last; without, an older one is taken away.
    """
    text = inspection_json(inspection)
    page = inspection_page(inspection, image, digest_bytes(text.encode()))
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


def inspection_page(inspection: Inspection, image: Path, digest: str) -> str:
    """The page; `image` is the file, `digest` that of the JSON beside the page."""
    sections = [
        Section("Summary", _summary(inspection, image)),
        *(_question(answer, inspection) for answer in inspection.answers),
        Section("What was not answered, and why", (_unanswered(inspection),)),
        Section("What the file says of itself", _claims(inspection)),
        Section("What these answers do not prove", (Points(limits()),)),
        Section("What they rest on", (_basis(inspection, digest),)),
    ]
    return render_page(f"What is known of {inspection.image.name}?", sections, footer=page_footer())


def _summary(inspection: Inspection, image: Path) -> tuple[Block, ...]:
    picture = draw_picture(str(image), inspection.image.digest)
    facts = inspection.image
    caption = f"{facts.name}, {facts.width} × {facts.height} px, {facts.format}"
    shown = (Strip((Panel(picture, caption, alt=f"The image {facts.name}"),)),) if picture else ()
    rows = tuple(
        (
            Cell(QUESTIONS[answer.question]),
            Cell(str(answer.state), tone=TONES[str(answer.state)]),
            Cell(answer.sentence),
            Cell("" if answer.error_rate is None else f"at most {percent(answer.error_rate)}"),
        )
        for answer in inspection.answers
    )
    grid = Grid(("question", "", "answer", "wrong"), rows)
    note = (
        "“Wrong” is the chance of the error that stands below each answer. The answers are about "
        "the file whose digest stands at the end of the page, and rest on the parts of the case "
        f"“{inspection.case['name']}”."
    )
    return (*shown, grid, Prose((note,)))


def _question(answer: QuestionAnswer, inspection: Inspection) -> Section:
    lines = (answer.sentence, error_sentence(answer.error_rate, answer.error_of))
    blocks: list[Block] = [Prose(tuple(filter(None, lines)))]
    if answer.caveats:
        blocks.append(Points(tuple(("Beware", text) for text in dict.fromkeys(answer.caveats))))
    for exhibit in inspection.exhibits.get(answer.question, ()):
        blocks += _drawn(exhibit, inspection.image.name)
    if answer.parts:
        blocks.append(_parts(answer.parts))
    if answer.question == "credit" and answer.state is State.FOUND:
        blocks += [_shares(part) for part in answer.parts]
    return Section(QUESTIONS[answer.question], tuple(blocks))


def _drawn(exhibit: Any, called: str) -> Iterator[Block]:
    if isinstance(exhibit, ScorePlace):
        yield score_figure(exhibit)
    elif isinstance(exhibit, SharesShown):
        yield shares_figure(exhibit)
    elif isinstance(exhibit, HeatShown):
        yield Strip(tuple(heat_panels(exhibit)))
    elif isinstance(exhibit, ReconstructionShown):
        yield Strip(tuple(reconstruction_panels(exhibit)))
    elif isinstance(exhibit, OriginShown) and exhibit.answer.candidates:
        panels = answer_panels(exhibit.answer, exhibit.evidence, called=called)
        if panels:
            yield Strip(panels)


def _parts(parts: tuple[PartAnswer, ...]) -> Grid:
    rows = tuple(
        (
            Cell(part.name, below=part.digest),
            Cell(part.verdict),
            Cell("" if part.p_value is None else f"{part.p_value:.3g}", numeric=True),
            Cell(part.reason),
            Cell(_numbers(part)),
        )
        for part in parts
    )
    numeric = (False, False, True, False, False)
    return Grid(("part", "verdict", "p-value", "reason", "figures"), rows, numeric)


def _numbers(part: PartAnswer) -> str:
    figures = [
        f"{name.replace('_', ' ')} {value:.4g}"
        for name, value in part.numbers.items()
        if value is not None
    ]
    return ", ".join(figures)


def _shares(part: PartAnswer) -> Grid:
    details = part.details
    columns = (details["contributors"], details["shares"], details["from"], details["to"])
    rows = sorted(zip(*columns, strict=True), key=lambda row: -row[1])
    cells = tuple(
        (Cell(str(name)), *(Cell("" if v is None else f"{v:.4g}", numeric=True) for v in values))
        for name, *values in rows
    )
    return Grid(("contributor", "share", "from", "to"), cells, (False, True, True, True))


def _unanswered(inspection: Inspection) -> Block:
    rows = unanswered(inspection.answers)
    return Points(rows) if rows else Prose(("Every question was answered.",))


def _claims(inspection: Inspection) -> tuple[Block, ...]:
    note = (
        "Anybody can write these into a file, and anybody can remove them. They had no part in "
        "the answers above."
    )
    rows = tuple(
        (Cell(claim.source), Cell(claim.name), Cell(claim.text), Cell(claim.signed))
        for claim in inspection.claims
    )
    grid = Grid(("where", "what", "claim", "signature"), rows)
    shown: Block = grid if rows else Prose(("It says nothing of its making.",))
    unread = tuple(("Not read", text) for text in inspection.unread_claims)
    return (Prose((note,)), shown, *((Points(unread),) if unread else ()))


def _basis(inspection: Inspection, digest: str) -> Facts:
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
    return Facts(tuple(rows))
