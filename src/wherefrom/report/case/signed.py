"""Signed reports: a picture of the answers, which holds the digests of the page and the JSON.

C2PA signs no HTML.  So the report gets a picture, `signed.png`, whose Content Credentials hold the
answers, the digest of the image, and those of `report.html` and `inspection.json`.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from wherefrom import __version__
from wherefrom.case.result import KIND, Inspection, QuestionAnswer
from wherefrom.case.signing import LABEL, ReportSigner, Signature, read_signature, sign_picture
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.paths import printable, show_path
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.files.archives import read_file
from wherefrom.data.files.opening import UnusableFile
from wherefrom.report.case.wording import summary_lines
from wherefrom.report.pages.files import INSPECTION, PAGE, SIGNED
from wherefrom.report.pages.pictures import open_picture

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_NO_LETTER = "\U0010fffd"  # of the area for private use: no font draws it
_SMALLER = 2  # px: DejaVu is wider than Pillow's own font


def font_for(text: str, size: int) -> Font:
    """Pillow's own font for text in ASCII; else DejaVu, which has most alphabets."""
    if all(_draws(char, "", size) for char in text):
        return _font("", size)
    return _font(str(_dejavu()), size - _SMALLER)


def drawable(text: str) -> str:
    r"""`printable`, with every letter that neither font has as its number, as in `\u65e5`."""
    return "".join(
        char
        if _draws(char, "", 15) or _draws(char, str(_dejavu()), 15)
        else char.encode("unicode_escape").decode("ascii")
        for char in printable(text)
    )


@cache
def _font(path: str, size: int) -> Font:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


@cache
def _dejavu() -> Path:
    import matplotlib as mpl  # its font comes with the package on every system

    return Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


@cache
def _draws(char: str, path: str, size: int) -> bool:
    return char.isspace() or _outline(char, path, size) != _outline(_NO_LETTER, path, size)


@cache
def _outline(char: str, path: str, size: int) -> bytes:
    return bytes(_font(path, size).getmask(char))


SCHEMA = 1
VOUCHED = (PAGE, INSPECTION)
MAX_BYTES = 256 * 2**20
SIDE, MARGIN, LETTER, LINE = 240, 24, 15, 21  # px
COLUMNS, MAX_LINES = 96, 60  # a line is at most about 800 px wide
WIDTH = 2 * MARGIN + 820
INK, PAPER = (28, 28, 30), (255, 255, 255)


@dataclass(frozen=True)
class VerifiedReport:
    """A signed report whose signature is valid and whose files are unchanged."""

    folder: Path
    signature: Signature
    digests: Mapping[str, str]  # by file name

    def to_dict(self) -> dict[str, Any]:
        signature = self.signature
        return {
            "folder": str(self.folder),
            "name": signature.name,
            "issuer": signature.issuer,
            "algorithm": signature.algorithm,
            "trusted": signature.trusted,
            "files": dict(self.digests),
            "statement": dict(signature.statement),
        }


def sign_report(
    inspection: Inspection, image: Path, files: Mapping[str, bytes], signer: ReportSigner
) -> bytes:
    """A signed PNG file that holds the digests of `files`, by name; `image`: the inspected file.

    An `InputError` if C2PA refuses the signer.
    """
    statement = make_statement(
        inspection, {name: digest_bytes(data) for name, data in files.items()}
    )
    title = f"What is known of {printable(inspection.image.name)}?"
    return sign_picture(draw_answers(inspection, image, title), statement, signer, title=title)


def make_statement(inspection: Inspection, digests: Mapping[str, str]) -> dict[str, Any]:
    """What is signed, as JSON values: answers, image, case, and the digests of files by name."""
    image = inspection.image
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "wherefrom": __version__,
        "signed_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",  # the signer's own clock
        "image": {"name": printable(image.name), "digest": image.digest, "bytes": image.bytes},
        "case": {"name": str(inspection.case["name"]), "digest": str(inspection.case["digest"])},
        "answers": [_answer(answer) for answer in inspection.answers],
        "files": dict(digests),
    }


def draw_answers(inspection: Inspection, image: Path, title: str) -> bytes:
    """A PNG file with the image and a sentence per question."""
    lines = (
        *summary_lines(inspection.to_dict()),
        f"The Content Credentials of this picture hold the digests of {PAGE} and {INSPECTION}. To "
        f"check that nothing was changed, run: wherefrom case verify FOLDER",
    )
    rows = [row for line in lines for row in (*textwrap.wrap(drawable(line), COLUMNS), "")]
    shown = open_picture(str(image), inspection.image.digest, SIDE)
    if shown is not None:  # a small one enlarged, pixel by pixel
        times = max(1, SIDE // max(shown.size))
        size = (shown.width * times, shown.height * times)
        shown = shown.convert("RGB").resize(size, Image.Resampling.NEAREST)
    top = 2 * MARGIN + LINE + (0 if shown is None else shown.height + MARGIN)
    canvas = Image.new("RGB", (WIDTH, top + LINE * len(rows[:MAX_LINES]) + MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    heading = textwrap.shorten(drawable(title), COLUMNS)
    draw.text((MARGIN, MARGIN), heading, fill=INK, font=font_for(heading, LETTER + 3))
    if shown is not None:
        canvas.paste(shown, (MARGIN, 2 * MARGIN + LINE))
    for index, row in enumerate(rows[:MAX_LINES]):
        place = (MARGIN, top + LINE * index)
        draw.text(place, row, fill=INK, font=font_for(row, LETTER))
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def verify_report(folder: Path, *, anchors: Path | None = None) -> VerifiedReport:
    """Check that a report is unchanged since it was signed; `anchors`: certificates to trust (PEM).

    An `ArtifactError` if it is not signed, was changed since, or leads to none of the anchors.
    """
    if not folder.is_dir():
        raise InputError(f"{show_path(folder)} is not a folder; give the folder of a report")
    place = folder / SIGNED
    if not place.exists():
        raise ArtifactError(
            f"{show_path(folder)} holds no {SIGNED}, so the report is not signed; "
            "`wherefrom inspect --sign-key` signs one"
        )
    called = show_path(place)
    signature = read_signature(read_file(place, max_bytes=MAX_BYTES), called, anchors=anchors)
    digests = _vouched(signature.statement, called)
    for name, digest in digests.items():
        _refuse_other(folder / name, digest)
    if anchors is not None and not signature.trusted:
        raise ArtifactError(
            f"the report is as {signer_line(signature)} signed it, but that certificate is not "
            f"trusted: it leads to none in {show_path(anchors)}, and anybody can make one in "
            "that name"
        )
    return VerifiedReport(folder, signature, digests)


def verified_line(verified: VerifiedReport) -> str:
    """What was verified, in one line."""
    trust = "the certificate is trusted"
    if not verified.signature.trusted:
        trust = "the certificate is not trusted: anybody can make one in that name (see --trust)"
    names = " and ".join(verified.digests)
    return f"{names} are as {signer_line(verified.signature)} signed them; {trust}"


def signer_line(signature: Signature) -> str:
    """Who signed, as the certificate says."""
    return f"“{signature.name}” of “{signature.issuer}” ({signature.algorithm})"


def _answer(answer: QuestionAnswer) -> dict[str, Any]:
    values = answer.to_dict()
    texts = {key: printable(values[key]) for key in ("sentence", "error_of", "reason")}
    # Six digits: c2pa-python reads longer ones a little differently.
    rates = {
        key: values[key] and float(f"{values[key]:.6g}") for key in ("error_rate", "certainty")
    }
    return {key: values[key] for key in ("question", "asked", "state")} | texts | rates


def _vouched(statement: Mapping[str, Any], called: str) -> dict[str, str]:
    """The digests that a statement holds, by name of the file."""
    files = statement.get("files")
    known = (statement.get("kind"), statement.get("schema")) == (KIND, SCHEMA)
    if not known or not isinstance(files, dict) or set(files) != set(VOUCHED):
        raise ArtifactError(
            f"the {LABEL} in {called} is not of version {SCHEMA}; this is wherefrom {__version__}"
        )
    return {name: str(files[name]) for name in VOUCHED}


def _refuse_other(path: Path, digest: str) -> None:
    try:
        data = read_file(path, max_bytes=MAX_BYTES)
    except UnusableFile as error:
        raise ArtifactError(f"{error}; it was signed with the report") from error
    if digest_bytes(data) != digest:
        raise ArtifactError(
            f"{show_path(path)} was changed after it was signed; ask the signer for "
            "the report again"
        )
