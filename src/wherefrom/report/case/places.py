"""Naming files without saying where they lie: for readers who may not know the machine."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePath

from markupsafe import escape

from wherefrom.case.parts.file import Case
from wherefrom.case.questions.asked import OriginShown
from wherefrom.case.result import Inspection
from wherefrom.core.paths import printable

# How a text holds a path: as it is, in JSON, in a page.
WRITTEN: tuple[Callable[[str], str], ...] = (
    str,
    printable,
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: str(escape(printable(text))),
)
# A path begins where no other word or path goes on; so nothing inside a data address is one.
START = r"(?<![\w/+=.-])"


class Places:
    """The folders of a case, and the pictures that an answer rests on.

    A path below the folder of an index, or of the case, is named from there; a picture elsewhere
    by its name and that of its folder; a folder elsewhere by its name.
    """

    def __init__(self, case: Case) -> None:
        self._names: dict[str, str] = {}
        home = case.path.parent
        folders = [home]
        for part in case.parts:
            place = home / part.path
            folders += [place, place.parent]
        for folder in folders:
            for spelled in {os.path.abspath(folder), os.path.realpath(folder)}:  # noqa: PTH100
                if len(PurePath(spelled).parts) > 1:
                    self._names |= {spelled + os.sep: "", spelled: PurePath(spelled).name}

    def add(self, inspection: Inspection, image: Path) -> None:
        """Hide the pictures that this inspection rests on, too, and the place of its image."""
        self._names[str(image)] = inspection.image.name
        paths = set(inspection.consulted or ())
        for exhibit in inspection.exhibits.get("origin", ()):
            if isinstance(exhibit, OriginShown):
                paths |= {candidate.path for candidate in exhibit.answer.candidates}
                paths |= set(exhibit.answer.series)
        folders = sorted((n for n in self._names if n.endswith(os.sep)), key=len, reverse=True)
        for path in filter(os.path.isabs, paths):
            below = next((folder for folder in folders if path.startswith(folder)), None)
            short = "/".join(Path(path).parts[1:][-2:]) if below is None else path[len(below) :]
            self._names[path] = short

    def hide(self, text: str) -> str:
        """The text with every such path replaced by its name."""
        table = {
            write(path): write(name) for path, name in self._names.items() for write in WRITTEN
        }
        longest = sorted(table, key=len, reverse=True)
        pattern = f"{START}(?:{'|'.join(map(re.escape, longest))})"
        return re.sub(pattern, lambda match: table[match[0]], text)
