"""One self-contained HTML page: escaped text, inline style, images as data, nothing from outside.

The page's own Content-Security-Policy forbids scripts, forms and every connection.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, TypeAlias

from wherefrom import __version__
from wherefrom.core.paths import printable
from wherefrom.report.pages.files import check_target, write_text
from wherefrom.report.pages.tables import Table

PAGE_SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class Prose:
    """Paragraphs of plain text."""

    paragraphs: tuple[str, ...]
    kind: ClassVar[str] = "prose"


@dataclass(frozen=True)
class Points:
    """A list: a term in bold, and what is said about it."""

    items: tuple[tuple[str, str], ...]
    kind: ClassVar[str] = "points"


@dataclass(frozen=True)
class Cards:
    """Figures at a glance: number, label, and a tone (`yes`, `no`, `unsure` or empty)."""

    items: tuple[tuple[str, str, str], ...]
    kind: ClassVar[str] = "cards"


@dataclass(frozen=True)
class Cell:
    """One cell of a grid; `image` is a data URI, shown small or `large`, `tone` as in `Cards`."""

    text: str
    tone: str = ""
    image: str = ""
    code: bool = False
    numeric: bool = False
    below: str = ""
    large: bool = False


@dataclass(frozen=True)
class Grid:
    """A table with headings."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[bool, ...] = ()
    kind: ClassVar[str] = "grid"


@dataclass(frozen=True)
class Facts:
    """Names and values side by side, with an optional remark."""

    items: tuple[tuple[str, str, str], ...]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Figure:
    """A picture in two colour schemes, as data URIs; `alt` says what it shows."""

    light: str
    dark: str
    alt: str
    caption: str
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Panel:
    """A picture (a data URI) with its caption; `scale`: what the ends of its tint mean.

    `alt` says what it shows; empty where the caption says it all.
    """

    image: str
    caption: str
    scale: tuple[str, str] | None = None
    alt: str = ""


@dataclass(frozen=True)
class Strip:
    """Pictures side by side."""

    panels: tuple[Panel, ...]
    kind: ClassVar[str] = "strip"


Block: TypeAlias = Prose | Points | Cards | Grid | Facts | Figure | Strip


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...] = field(default=())


def table_grid(table: Table) -> Grid:
    """A table of results as one of the page."""
    numeric = tuple(column.numeric for column in table.columns)
    rows = tuple(
        tuple(Cell(text, numeric=right) for text, right in zip(row, numeric, strict=True))
        for row in table.shown()
    )
    return Grid(tuple(column.title for column in table.columns), rows, numeric)


def from_data_uri(address: str) -> bytes:
    """What `data_uri` was given."""
    return base64.b64decode(address.partition(",")[2])


def render_page(title: str, sections: Sequence[Section], *, footer: str = "") -> str:
    """The page as text."""
    import jinja2  # only reports need it; `check` must start fast

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wherefrom.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    template = environment.get_template("page.html.j2")
    return template.render(title=title, sections=tuple(sections), footer=footer)


def page_footer() -> str:
    """Who wrote the page, and when."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"Written by wherefrom {__version__} on {now}. The page loads nothing from outside."


def write_report(path: Path, title: str, sections: Sequence[Section], *, footer: str = "") -> None:
    """Write the page whole or not at all; an older page at `path` is replaced."""
    check_target(path, option="--report", suffixes=PAGE_SUFFIXES)
    write_text(path, render_page(title, sections, footer=footer))
