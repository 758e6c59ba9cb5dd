"""The demo's answers beside the truth: a table, explanations of errors, sections of its page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from wherefrom.case.demo.grading import NOTHING, Grade, GradedAnswer, GradedSuspect
from wherefrom.case.demo.material import DemoConfig
from wherefrom.core.paths import printable
from wherefrom.report.pages import html
from wherefrom.report.pages.pictures import PicturedFile, thumbnails
from wherefrom.report.pages.tables import Column, Table, columns_of, plural

SETTINGS = DemoConfig()
WIDTH = 110  # characters of a line below the table
WRONG_MARK = "✗ "  # of a page, which marks right answers by colour
MAX_LISTED = 3  # names in one explanation

HEADINGS = {
    "model": "my model?",
    "origin": "made from",
    "naturalness": "natural?",
    "outlier": "outlier?",
    "credit": "credit, %",
}
NAMES = {question: heading.rstrip("?, %") for question, heading in HEADINGS.items()}
TONES = {Grade.RIGHT: "yes", Grade.WRONG: "no", Grade.NO_ANSWER: "unsure", Grade.UNGRADED: ""}
LEGEND = (
    ("my model?", "did my model make it?  My model is a small GAN of clothes, 32 x 32 px"),
    ("made from", "which of my 40 photographs and details of them was it made from?"),
    ("natural?", "is it like real images?  (share of real images that look at least as odd)"),
    ("outlier?", "is it unlike clothes?  (share of real clothes that are at least as unusual)"),
    ("credit, %", "shares of those who gave images: clothes-1/clothes-2/noise (random pixels)"),
)


def _of_100(rate: float) -> str:
    return f"{100 * rate:g} of 100"


CLOTHES_FLAGGED = (
    f"up to {_of_100(SETTINGS.outlier_false_alarms)} clothes are called outliers; the rate is a "
    "setting of the case"
)
# (question, kind of suspect; "" for any other kind): why a wrong answer is to be expected.
WHY = {
    ("model", "sibling"): (
        "a sibling has the design and the training data of my model, so its last layer is almost "
        "the same; a fit to more images tells more of them apart "
        "(docs/attribution-results.md, Table 2)"
    ),
    ("model", "mine"): (
        f"up to {_of_100(SETTINGS.attribution.false_negative_rate)} of my model's images are "
        "denied; the rate is a setting of the fit"
    ),
    ("model", ""): "the fit is small, and some images that it never saw pass (docs/attribution.md)",
    ("origin", "edit"): (
        "the edit moved and changed so much that unrelated pictures match about as well "
        "(docs/origin-results.md, How far the edit went)"
    ),
    ("origin", ""): (
        f"up to {_of_100(SETTINGS.edits_false_alarms)} pictures from elsewhere are given an "
        "origin, and more if they are unlike the edits of the calibration "
        "(docs/origin-results.md, The decision)"
    ),
    ("naturalness", "damaged"): (
        "the score sees few kinds of damage with this small feature network "
        "(docs/anomaly.md, Does it work here?)"
    ),
    ("naturalness", ""): (
        f"up to {_of_100(SETTINGS.anomaly_false_alarms)} real images are called unnatural; the "
        "rate is a setting of the case"
    ),
    **{("outlier", kind): CLOTHES_FLAGGED for kind in ("mine", "sibling", "rival", "real")},
    ("outlier", ""): (
        "the inverter was trained for seconds on pictures of 16 px, in which it passes for clothes "
        "(docs/inversion.md, Outliers)"
    ),
    ("credit", "mine"): "few short runs leave the shares noisy (docs/credit.md)",
    ("credit", ""): "credit follows the answer about my model, which was wrong",
}
OTHER_SIZE = (
    "a file of another size than the model's 32 x 32 px is no direct output of it, and scaling "
    "removes the trace that is looked for"
)
PAGE_NOTE = f"{WRONG_MARK}marks a wrong answer, colour a right row."
HONEST = (
    "The models are small and quickly fitted; docs/ says how well the methods do.",
    "The edits were made with filters and one small network, none with a diffusion model.",
    "The study trains a tiny model of clothes, which stands in for my model.",
)


def demo_table(graded: Sequence[GradedSuspect]) -> Table:
    """One row per suspect: name, truth, five answers, right or wrong."""
    columns = (
        *columns_of("image:text | truth:text"),
        *(Column(heading) for heading in HEADINGS.values()),
        Column("right or wrong", folds=True),
    )
    rows = tuple((row.name, row.suspect.truth, *_texts(row), result_text(row)) for row in graded)
    return Table(columns, rows)


def result_text(row: GradedSuspect) -> str:
    """How many answers are right, and which are not."""
    if row.unreadable:
        return "not read"
    parts = [f"{len(row.graded(Grade.RIGHT))} right"]
    for grade in (Grade.WRONG, Grade.NO_ANSWER):
        names = [NAMES[question] for question in row.graded(grade)]
        parts += [f"{grade}: {', '.join(names)}"] if names else []
    return "; ".join(parts)


def count_line(graded: Sequence[GradedSuspect]) -> str:
    """How many answers are right, wrong or open, in one line."""
    counts = {grade: sum(len(row.graded(grade)) for row in graded) for grade in Grade}
    known = sum(counts[grade] for grade in (Grade.RIGHT, Grade.WRONG, Grade.NO_ANSWER))
    return (
        f"Of {known} questions with a known truth, {counts[Grade.RIGHT]} were answered right, "
        f"{counts[Grade.WRONG]} wrong, and {counts[Grade.NO_ANSWER]} with 'cannot say'."
    )


def explanations(graded: Sequence[GradedSuspect]) -> list[tuple[str, str]]:
    """What is wrong, not answered or not read, and why; one line per reason."""
    names: dict[tuple[str, str], list[str]] = {}
    for row in graded:
        for question in row.graded(Grade.WRONG):
            why = WHY.get((question, row.suspect.kind)) or WHY[question, ""]
            names.setdefault((f"{NAMES[question]} wrong", why), []).append(row.name)
        for question in row.graded(Grade.NO_ANSWER):
            if question != "credit":  # it follows from the model question
                what = f"{NAMES[question]} cannot be said"
                names.setdefault((what, _reason(row.answers[question])), []).append(row.name)
        if row.unreadable:
            names.setdefault(("not read", row.unreadable), []).append(row.name)
    order = sorted(names, key=lambda key: not key[0].endswith("wrong"))
    return [(f"{_listed(names[key])}: {key[0]}", f"{key[1]}.") for key in order]


def demo_lines(graded: Sequence[GradedSuspect], left_out: Sequence[str]) -> Iterator[str]:
    """What is printed below the table."""
    yield from (f"{heading:<10} {meaning}" for heading, meaning in LEGEND)
    yield ""
    yield count_line(graded)
    yield ""
    yield "What went wrong, and why:"
    reasons = [f"{what}: {why}" for what, why in explanations(graded)]
    for line in [*reasons, *(f"left out, {line}" for line in left_out)]:
        yield from textwrap.wrap(
            printable(line), WIDTH, initial_indent="- ", subsequent_indent="  ",
            break_on_hyphens=False,
        )  # fmt: skip
    yield ""
    yield from HONEST


def demo_sections(graded: Sequence[GradedSuspect]) -> tuple[html.Section, ...]:
    """The same for a page."""
    pictures = thumbnails([PicturedFile(row.path, row.digest) for row in graded])
    rows = tuple(
        (
            html.Cell("", image=pictures.get(row.path, "")),
            html.Cell(row.name, below=row.suspect.truth),
            *(_cell(row.answers.get(question)) for question in HEADINGS),
        )
        for row in graded
    )
    columns = ("", "image and truth", *HEADINGS.values())
    return (
        html.Section(
            "Truth and answers",
            html.Prose(f"{count_line(graded)} {PAGE_NOTE}"),
            html.Grid(columns, rows),
            html.Points(*LEGEND),
        ),
        html.Section(
            "What went wrong, and why", html.Points(*explanations(graded)), html.Prose(*HONEST)
        ),
    )


def _texts(row: GradedSuspect) -> Iterator[str]:
    for question in HEADINGS:
        answer = row.answers.get(question)
        yield NOTHING if answer is None else answer.text


def _cell(answer: GradedAnswer | None) -> html.Cell | str:
    if answer is None:
        return NOTHING
    mark = WRONG_MARK if answer.grade is Grade.WRONG else ""
    return html.Cell(f"{mark}{answer.text}", tone=TONES[answer.grade])


def _reason(answer: GradedAnswer) -> str:
    """The case's reason; that of files of another size in the same words for all of them."""
    return OTHER_SIZE if "could not judge" in answer.reason else answer.reason


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MAX_LISTED else plural(len(names), "image")
