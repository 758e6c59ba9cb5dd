"""How results show themselves in a notebook, and as a data frame.

A result lists its items as rows, mappings from column to a text, a number, a truth value or None.
`AsTable` shows them; `rows_as_html` makes its table, and `rows_as_frame` its pandas frame.
"""

from __future__ import annotations

import base64
import html
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.data.images.items import read_image, to_image

MAX_ROWS = 50
THUMBNAIL_SIDE = 64  # pixels of the longer side

Rows = Sequence[Mapping[str, Any]]


class AsTable(ABC):
    """Base of results that a notebook shows as a table, and pandas takes as a data frame.

    `IMAGE`: the column of paths of images, which get a thumbnail, if there is one.
    """

    __slots__ = ()
    IMAGE: ClassVar[str | None] = None

    @abstractmethod
    def as_table(self) -> tuple[Rows, str]:
        """The rows, and the caption of the table."""

    def to_dataframe(self) -> Any:
        """The rows as a pandas data frame; a `MissingExtraError` without pandas."""
        return rows_as_frame(self.as_table()[0])

    def _repr_html_(self) -> str:
        rows, caption = self.as_table()
        return rows_as_html(rows, caption=caption, image=self.IMAGE)


def rows_as_html(rows: Rows, *, caption: str, image: str | None = None) -> str:
    """An HTML table of the first `MAX_ROWS` rows, every text escaped, nothing loaded from outside.

    `image` names a column of paths of images: a thumbnail is shown in front of each row whose file
    can be read.  `caption` is shown above, with the number of rows if some were left out.
    """
    shown = rows[:MAX_ROWS]
    columns = list(dict.fromkeys(name for row in shown for name in row))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    pictures = [None if image is None else thumbnail_of(row.get(image)) for row in shown]
    lines = []
    for row, picture in zip(shown, pictures, strict=True):
        cells = "".join(f"<td>{html.escape(_cell(row.get(name)))}</td>" for name in columns)
        drawn = "" if picture is None else f'<img alt="" src="{picture}">'
        lines.append(f"<tr>{'' if image is None else f'<td>{drawn}</td>'}{cells}</tr>")
    hidden = len(rows) - len(shown)
    more = f" (the first {len(shown)} of {len(rows)})" if hidden else ""
    first = "" if image is None else "<th></th>"
    return (
        f"<table><caption>{html.escape(caption + more)}</caption>"
        f"<thead><tr>{first}{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def rows_as_frame(rows: Rows) -> Any:
    """A pandas data frame with a line per row; a `MissingExtraError` without pandas."""
    return need("pandas", "a data frame", extra="dataframe").DataFrame([dict(row) for row in rows])


def thumbnail_of(path: object) -> str | None:
    """The image file `path` as a small PNG in a `data:` address; None if it cannot be read."""
    try:
        picture = to_image(read_image(Path(str(path)), losses=False).pixels)
    except (InputError, OSError, ValueError):
        return None
    return encode_picture(picture, side=THUMBNAIL_SIDE)


def encode_picture(image: Image.Image, *, side: int) -> str:
    """The image, shrunk to at most `side` pixels, as a PNG in a `data:` address."""
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")


def data_uri(data: bytes, mime: str) -> str:
    """The bytes as a `data:` address."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
