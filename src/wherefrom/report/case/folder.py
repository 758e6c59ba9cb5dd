"""Inspections of a folder: a table, the most certain findings first; as page, CSV and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from wherefrom.case.folder import FolderInspection, InspectedFile
from wherefrom.case.result import State
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.json_text import to_json
from wherefrom.report.case.page import PAGE
from wherefrom.report.case.wording import TONES, limits
from wherefrom.report.pages import html
from wherefrom.report.pages.files import remove_signature, write_text
from wherefrom.report.pages.pictures import PicturedFile, thumbnails
from wherefrom.report.pages.tables import Column, Table, columns_of, plural, to_csv

CSV, WHOLE = "inspections.csv", "inspections.json"
LISTED = 200
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
    """Write or replace page, CSV and JSON in `folder`, each whole; the page's path.

    `first` are sections that stand at the top of the page.
    """
    remove_signature(folder)
    write_text(folder / WHOLE, to_json(inspected.to_dict()) + "\n")
    write_text(folder / CSV, to_csv(folder_table(inspected)))
    shown = inspected.rows[:LISTED]
    few = [PicturedFile(row.path, _digest(row)) for row in shown]
    pictures = thumbnails(few, track=track)
    counts = {
        state: sum(_worst(row) == state for row in inspected.rows)
        for state in (State.FOUND, State.UNSURE, State.CLEAR)
    }
    cards = html.Cards(*((str(n), str(state), TONES[state]) for state, n in counts.items()))
    line = folder_line(inspected)
    is_cut = len(shown) < len(inspected.rows)
    more = f" The page lists the first {len(shown)}; {CSV} holds all." if is_cut else ""
    note = (
        f"{line[0].upper()}{line[1:]}. They were inspected with the case “{case}”; the most "
        f"certain findings come first.{more} The rates of the answers are about one image each: "
        "among many images some answers are wrong."
    )
    sections = [
        *first,
        html.Section("Summary", html.Prose(note), cards),
        html.Section("Images", _grid(shown, pictures)),
        html.Section("What these answers do not prove", html.Points(*limits())),
    ]
    html.write_report(folder / PAGE, "What is known of these images?", sections)
    return folder / PAGE


def _cells(row: InspectedFile) -> tuple[str | float | None, ...]:
    hits = row.findings()
    p_value = hits[0]["certainty"] if hits else None
    text = " ".join(hit["sentence"] for hit in hits) or row.reason
    return (row.path, *(row.state(question) for question in SHOWN), p_value, text)


def _grid(rows: tuple[InspectedFile, ...], pictures: Mapping[str, str]) -> html.Grid:
    body: tuple[html.Row, ...] = tuple(
        (
            html.Cell("", image=pictures.get(row.path, "")),
            html.Cell(row.path, below=_digest(row) or ""),
            *(_state_cell(row.state(question)) for question in SHOWN),
            str(_cells(row)[-1]),
        )
        for row in rows
    )
    return html.Grid(("", "image", *SHOWN, "what was found"), body)


def _state_cell(state: str) -> html.Cell | str:
    return html.Cell(state, tone=TONES[state]) if state else ""


def _worst(row: InspectedFile) -> State | None:
    states = [row.state(question) for question in SHOWN]
    for state in (State.FOUND, State.UNSURE):
        if state in states:
            return state
    return State.CLEAR if {State.CLEAR, State.UNFLAGGED} & set(states) else None


def _digest(row: InspectedFile) -> str | None:
    return None if row.inspection is None else str(row.inspection["image"]["digest"])
