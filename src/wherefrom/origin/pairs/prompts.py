"""Prompts for edits: plain lines, or templates such as `a {photo|painting} of a dog`.

`{one|two}` is a choice; `{name}` is a choice that a line `@name = one | two` lists once for all;
`{caption}`, unless it is listed, is what a captioner says of the photo.
`{{` and `}}` are braces.  Choices do not nest.  Empty lines and lines that start with `#` are left
out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import add_note
from wherefrom.data.files.archives import read_file
from wherefrom.data.files.opening import UnusableFile
from wherefrom.data.tables.records import decode_text

MAX_BYTES = 64 * 2**20
TRIES = 16  # draws before a prompt that an origin has had already is taken again
_PIECE = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[^{}]+|.", re.DOTALL)
CAPTION = "caption"
_LIST = re.compile(r"@(\w+)\s*=(.*)")


@dataclass(frozen=True)
class Template:
    """A prompt as a row of choices; fixed text is a choice of one, and a caption one of none."""

    choices: tuple[tuple[str, ...], ...]

    @property
    def count(self) -> int:
        """How many prompts it stands for, repeats included."""
        return math.prod(len(options) or 1 for options in self.choices)

    def draw(self, generator: torch.Generator, caption: str = "") -> str:
        """One prompt, each choice made alone."""
        return "".join(
            options[_below(len(options), generator)] if options else caption
            for options in self.choices
        )


@dataclass(frozen=True)
class Prompts:
    """Where prompts come from.  Each template is as likely as any other, whatever it stands for."""

    templates: tuple[Template, ...]

    @property
    def needs_caption(self) -> bool:
        """Whether any of them quotes a caption."""
        return any(not options for template in self.templates for options in template.choices)

    def draw(self, count: int, generator: torch.Generator, caption: str = "") -> tuple[str, ...]:
        """`count` prompts about a photo with this caption; the first n do not depend on `count`.

        The templates are dealt like cards, all of them before any again.
        """
        drawn: list[str] = []
        deck: list[int] = []
        while len(drawn) < count:
            deck = deck or torch.randperm(len(self.templates), generator=generator).tolist()
            template = self.templates[deck.pop()]
            drawn.append(_fresh(template, drawn, generator, caption))
        return tuple(drawn)


def load_prompts(source: Path | str) -> Prompts:
    """The prompts in a file, one template per line, or those of a template given as text.

    Text that names a file, or that is one word without a brace, is taken for a file; any other text
    for templates, one per line.  A missing file, a file without a prompt, a brace without its
    partner and an unknown name are an `InputError`.
    """
    text, where = _text_of(source)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    lists = dict(_lists(lines, where))
    templates = [
        _parse(line, lists, f"{where}, line {number}")
        for number, line in lines
        if not line.startswith("@")
    ]
    if not templates:
        raise InputError(f"{where} holds no prompt; write one prompt or template per line")
    return Prompts(tuple(templates))


def _text_of(source: Path | str) -> tuple[str, str]:
    if isinstance(source, str) and not _names_file(source):
        return source, "the template"
    path = Path(source)
    try:
        data = read_file(path, max_bytes=MAX_BYTES)
    except UnusableFile as error:
        raise InputError(
            f"{error}; give a file with one prompt per line, or a template of several words"
        ) from error
    text, guess = decode_text(path, data)
    if guess:
        add_note(f"{show_path(path)}: {guess}")
    return text, show_path(path)


def _names_file(text: str) -> bool:
    if "{" in text or "\n" in text:
        return False
    try:
        return Path(text).is_file() or len(text.split()) == 1
    except (OSError, ValueError):  # longer than any file name, or with a zero byte
        return False


def _lists(lines: list[tuple[int, str]], where: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for number, line in lines:
        if not line.startswith("@"):
            continue
        match = _LIST.fullmatch(line)
        if match is None or not match[2].strip():
            raise InputError(
                f"{where}, line {number}: {line[:60]!r} is no list; write @name = one | two"
            )
        yield match[1], tuple(option.strip() for option in match[2].split("|"))


def _parse(line: str, lists: Mapping[str, tuple[str, ...]], where: str) -> Template:
    choices: list[tuple[str, ...]] = []
    for piece in _PIECE.findall(line):
        if piece in ("{{", "}}"):
            choices.append((piece[0],))
        elif piece in ("{", "}"):
            raise InputError(
                f"{where}: a brace without its partner in {line[:60]!r}; choices do not nest, and "
                "a brace itself is written twice"
            )
        elif piece.startswith("{") and "|" in piece:
            choices.append(tuple(option.strip() for option in piece[1:-1].split("|")))
        elif piece.startswith("{"):
            choices.append(_named(piece[1:-1].strip(), lists, where))
        else:
            choices.append((piece,))
    return Template(tuple(choices))


def _named(name: str, lists: Mapping[str, tuple[str, ...]], where: str) -> tuple[str, ...]:
    if name == CAPTION and name not in lists:
        return ()
    if name not in lists:
        raise InputError(
            f"{where}: {{{name}}} is not listed; add a line '@{name or 'name'} = one | two'"
        )
    return lists[name]


def _fresh(template: Template, drawn: list[str], generator: torch.Generator, caption: str) -> str:
    prompt = template.draw(generator, caption)
    for _ in range(TRIES if template.count > 1 else 0):
        if prompt not in drawn:
            break
        prompt = template.draw(generator, caption)
    return prompt


def _below(count: int, generator: torch.Generator) -> int:
    # A choice of one costs no draw, so fixed text has no say in what the choices become.
    return int(torch.randint(count, (), generator=generator)) if count > 1 else 0
