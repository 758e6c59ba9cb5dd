"""Inspections of a folder: a table, the most certain findings first; as page, CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wherefrom.case.folder import FolderInspection, InspectedFile
from wherefrom.case.result import State
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.json_text import to_json
from wherefrom.report.case.page import PAGE
from wherefrom.report.case.wording import TONES, error_sentence, limits
from wherefrom.report.pages import html
from wherefrom.report.pages.files import remove_signature, write_text
from wherefrom.report.pages.pictures import MAX_COUNT, PicturedFile, thumbnails
from wherefrom.report.pages.tables import Column, Table, columns_of, plural, to_csv

CSV, WHOLE = "inspections.csv", "inspections.json"
LISTED = MAX_COUNT  # rows of one page, each with a thumbnail
PAGES = "report-*.html"  # the second page and those after it
SHOWN = ("model", "origin", "naturalness", "outlier")


def folder_table(inspected: FolderInspection) -> Table:
    """One row per file."""
    columns = (
        Column("image", folds=True),
        *(Column(question) for question in SHOWN),
        *columns_of("p-value:p | found:text"),
    )
    return Table(columns, tuple(_cells(row) for row in inspected.rows))


def folder_line(inspected: FolderInspection) -> str:
    """How many files have a finding, and how many could not be read, in one line."""
    hits = sum(bool(row.findings()) for row in inspected.rows)
    bad = sum(row.inspection is None for row in inspected.rows)
    tail = f"; {plural(bad, 'file')} could not be read" if bad else ""
    return f"something was found about {hits} of {plural(len(inspected.rows), 'image')}{tail}"


def write_folder(
    folder: Path,
    inspected: FolderInspection,
    case: str,
    *,
    first: Sequence[html.Section] = (),
    track: Track = quiet,
) -> Path:
    """Write or replace pages, CSV and JSON in `folder`, each whole; the first page's path.

    Each page lists `LISTED` images, so that a browser can show it however many there are.  `first`
    are sections that stand at the top of the first page.
    """
    remove_signature(folder)
    write_text(folder / WHOLE, to_json(inspected.to_dict()) + "\n")
    write_text(folder / CSV, to_csv(folder_table(inspected)))
    counts = {
        state: sum(_worst(row) == state for row in inspected.rows)
        for state in (State.FOUND, State.UNSURE, State.CLEAR)
    }
    cards = html.Cards(*((str(n), str(state), TONES[state]) for state, n in counts.items()))
    line = folder_line(inspected)
    note = (
        f"{line[0].upper()}{line[1:]}. They were inspected with the case “{case}”; the most "
        f"certain findings come first. {CSV} holds all in one table. The rates of "
        "the answers are about one image each: among many images some answers are wrong."
    )
    sections = [
        *first,
        html.Section("Summary", html.Prose(note), cards),
        html.Section("What these answers do not prove", html.Points(*limits())),
    ]
    _write_pages(folder, inspected.rows, sections, track)
    return folder / PAGE


def _write_pages(
    folder: Path, rows: Sequence[InspectedFile], sections: list[html.Section], track: Track
) -> None:
    """Write the pages; the first also holds `sections`, of which the last stands below the rows."""
    count = max(1, -(-len(rows) // LISTED))
    for old in sorted(folder.glob(PAGES)):
        if not any(old.name == _page_name(number) for number in range(count)):
            old.unlink()
    for number in track(range(count), "writing pages", total=count):
        shown = rows[number * LISTED : (number + 1) * LISTED]
        pictures = thumbnails([PicturedFile(row.path, _digest(row)) for row in shown], exact=False)
        pager = [html.Pager(*_links(number, len(rows), count))] if count > 1 else []
        images = html.Section("Images", *pager, _grid(shown, pictures), *pager)
        whole = [*sections[:-1], images, sections[-1]] if number == 0 else [images]
        html.write_report(folder / _page_name(number), "What is known of these images?", whole)


def _page_name(number: int) -> str:
    """The file of a page, counted from 0."""
    return PAGE if number == 0 else f"report-{number + 1}.html"


def _links(here: int, rows: int, count: int) -> Iterator[tuple[str, str]]:
    for number in range(count):
        last = min(rows, (number + 1) * LISTED)
        text = f"{number * LISTED + 1}–{last}"
        yield text, "" if number == here else _page_name(number)


def _cells(row: InspectedFile) -> tuple[str | float | None, ...]:
    hits = row.findings()
    p_value = hits[0]["certainty"] if hits else None
    text = " ".join(hit["sentence"] for hit in hits) or row.reason
    return (row.path, *(row.state(question) for question in SHOWN), p_value, text)


def _grid(rows: Sequence[InspectedFile], pictures: Mapping[str, str]) -> html.Grid:
    body: tuple[html.Row, ...] = tuple(
        (
            html.Cell("", image=pictures.get(row.path, "")),
            html.Cell(row.path, below=_digest(row) or ""),
            *(_state_cell(row, question) for question in SHOWN),
            str(_cells(row)[-1]),
        )
        for row in rows
    )
    return html.Grid(("", "image", *SHOWN, "what was found"), body)


def _state_cell(row: InspectedFile, question: str) -> html.Cell | str:
    state = row.state(question)
    if not state or row.inspection is None:
        return ""
    answer = next(a for a in row.inspection["answers"] if a["question"] == question)
    error = error_sentence(answer["error_rate"], answer["error_of"])
    return html.Cell(state, tone=TONES[state], more=f"{answer['sentence']} {error}".rstrip())


def _worst(row: InspectedFile) -> State | None:
    states = [row.state(question) for question in SHOWN]
    for state in (State.FOUND, State.UNSURE):
        if state in states:
            return state
    return State.CLEAR if {State.CLEAR, State.UNFLAGGED} & set(states) else None


def _digest(row: InspectedFile) -> str | None:
    return None if row.inspection is None else str(row.inspection["image"]["digest"])
