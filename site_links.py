"""A hook of mkdocs: links of a page that leave docs/ become their text.

On a forge `[errors.py](../src/wherefrom/core/errors.py)` leads to the file; the site holds the
pages alone.  tests/test_docs.py checks that such links lead somewhere.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:|#)([^)\s]+)\)")


def outside(page: str, target: str) -> bool:
    """Whether `target`, a link of the page at `page` below docs/, leaves docs/."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target)).startswith("..")


def without_outside_links(page: str, text: str) -> str:
    """The page's text with the links that leave docs/ replaced by what they show."""
    return LINK.sub(lambda link: link[1] if outside(page, link[2]) else link[0], text)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """What mkdocs calls for every page."""
    return without_outside_links(page.file.src_uri, markdown)
