"""One self-contained HTML page: escaped text, inline style, images as data, nothing from outside.

The page's own Content-Security-Policy forbids scripts, forms and every connection.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from wherefrom import __version__
from wherefrom.core.config import Config
from wherefrom.core.paths import printable
from wherefrom.report.pages.files import check_target, write_text
from wherefrom.report.pages.tables import Table


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested JSON values as (name, text) pairs in their order."""
    for key, value in values.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}: ")
        else:
            yield name, _text_of(value, " × " if name.endswith("shape") else ", ")


def settings_with_sources(config: Config, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(name, value, help and source) of every setting, nested ones below their own."""
    for info in config.describe():
        value = getattr(config, info.name)
        name = f"{prefix}{info.name.replace('_', ' ')}"
        if isinstance(value, Config):
            yield from settings_with_sources(value, f"{name}: ")
        else:
            source = f" [{info.source}]" if info.source else ""
            yield name, _text_of(value), f"{info.help}{source}"


def _text_of(value: Any, between: str = ", ") -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return between.join(f"{key} {_text_of(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return between.join(_text_of(item) for item in value)
    return "none" if value is None else str(value)


PAGE_SUFFIXES = (".html", ".htm")


class Prose:
    """Paragraphs of plain text."""

    kind = "prose"

    def __init__(self, *paragraphs: str) -> None:
        self.paragraphs = paragraphs


class Points:
    """A list: a term in bold, and what is said about it."""

    kind = "points"

    def __init__(self, *items: tuple[str, str]) -> None:
        self.items = items


class Cards:
    """Figures at a glance: number, label, and a tone (`yes`, `no`, `unsure` or empty)."""

    kind = "cards"

    def __init__(self, *items: tuple[str, str, str]) -> None:
        self.items = items


@dataclass(frozen=True)
class Cell:
    """A cell of a grid that is more than a text.

    `image` is a data URI, shown small or `large`; `tone` is as in `Cards`; `below` is small print;
    `more` is shown once the text is opened.
    """

    text: str
    tone: str = ""
    image: str = ""
    below: str = ""
    large: bool = False
    more: str = ""


Row: TypeAlias = tuple[Cell | str, ...]


@dataclass(frozen=True)
class Grid:
    """A table with headings; `numeric` says which columns are set as numbers, if any are."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    numeric: tuple[bool, ...] = ()
    kind: ClassVar[str] = "grid"


class Facts:
    """Names and values side by side, with a remark that may be empty."""

    kind = "facts"

    def __init__(self, *items: tuple[str, str, str]) -> None:
        self.items = items


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


class Strip:
    """Pictures side by side."""

    kind = "strip"

    def __init__(self, *panels: Panel) -> None:
        self.panels = panels


@dataclass(frozen=True)
class Dot:
    """A point of `Dots`: its place as shares of the plane, and what opens when it is pointed at.

    `image` is a data URI or empty; `tone` is as in `Cards`.
    """

    x: float
    y: float
    text: str
    image: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Dots:
    """Points in a plane, x to the right and y upwards, each with a picture that opens above it."""

    dots: tuple[Dot, ...]
    caption: str
    kind: ClassVar[str] = "dots"


class Pager:
    """Links to the pages of a long table, in their order; the one of this page has no address."""

    kind = "pager"

    def __init__(self, *links: tuple[str, str]) -> None:
        """Each link is (text, relative address)."""
        self.links = links


Block: TypeAlias = Prose | Points | Cards | Grid | Facts | Figure | Strip | Dots | Pager


class Section:
    """A heading and what stands below it."""

    def __init__(self, title: str, *blocks: Block) -> None:
        self.title, self.blocks = title, blocks


def table_grid(table: Table) -> Grid:
    """A table of results as one of the page."""
    titles = tuple(column.title for column in table.columns)
    numeric = tuple(column.numeric for column in table.columns)
    return Grid(titles, tuple(map(tuple, table.shown())), numeric)


def facts_of(values: Mapping[str, Any]) -> Facts:
    """Nested JSON values as facts."""
    return Facts(*((name, value, "") for name, value in flatten(values)))


def settings_section(config: Config) -> Section:
    """The section with every setting, its value, and what it means by which source."""
    return Section("Settings and their sources", Facts(*settings_with_sources(config)))


def from_data_uri(address: str) -> bytes:
    """What `data_uri` was given."""
    return base64.b64decode(address.partition(",")[2])


def render_page(title: str, sections: Sequence[Section]) -> str:
    """The page as text, with a last line that says who wrote it, and when."""
    import jinja2  # only reports need it; `check` must start fast

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wherefrom.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    footer = f"Written by wherefrom {__version__} on {now}. The page loads nothing from outside."
    template = environment.get_template("page.html.j2")
    return template.render(title=title, sections=tuple(sections), footer=footer)


def write_report(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write the page whole or not at all; an older page at `path` is replaced."""
    check_target(path, option="--report", suffixes=PAGE_SUFFIXES)
    write_text(path, render_page(title, sections))
