"""Pairs of origins and edits, made with a diffusion pipeline; a killed build goes on where it was.

Wang et al.: Generalizable Origin Identification for Text-Guided Image-to-Image Diffusion Models,
2025, Section 3: triples of an origin, a prompt and its translation.

Each edit depends on its origin's bytes, the settings and its number alone, so that neither the
order of the photos nor an interruption changes it.  A photo becomes a square, squashed as the
encoders squash it, so that edit and origin stay aligned.

Deviation: the paper leaves strength and guidance unsaid; here a setting that is not given is the
default of the pipeline's own class, and what was used is in every row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from PIL import Image

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed, stream
from wherefrom.core.store import digest_bytes, digest_file
from wherefrom.data.decoding import DEFAULT_LIMITS
from wherefrom.data.files import UnusableFile, read_regular, show_path
from wherefrom.data.folders import list_images
from wherefrom.data.images import decode_image
from wherefrom.data.shaping import to_image
from wherefrom.data.writing import save_png
from wherefrom.origin.pairs import (
    EDITS_NAME,
    MANIFEST_NAME,
    PairRow,
    PairsManifest,
    append_row,
    origin_entry,
    replace_manifest,
    scan_manifest,
)
from wherefrom.origin.pairs_config import PairsConfig, Resolved, call_arguments, resolve
from wherefrom.origin.pipelines import EditPipeline, WithheldEdit
from wherefrom.origin.prompts import Prompts

# What does not decide an edit's pixels, and so is not part of its id.
_NOT_IN_ID = ("id", "origin", "model", "edit", "edit_digest")
_ID_DIGITS = 24


def build_pairs(
    photos: Sequence[Path],
    pipeline: EditPipeline,
    prompts: Prompts,
    out: Path,
    *,
    per_origin: int = 1,
    config: PairsConfig | None = None,
    seed: int = 0,
    track: Track = quiet,
) -> PairsManifest:
    """Make `per_origin` edits of each photo (files and folders) in the pairs folder `out`.

    A folder that exists goes on: edits that are there are kept, whichever pipeline made them, and
    the result lists them all.  A photo that cannot be read, or is there twice, and an edit that a
    safety checker withheld are named in `skipped`.
    """
    if per_origin < 1:
        raise InputError(f"per_origin is {per_origin}; give at least 1")
    out = Path(out)
    settings = resolve(config or PairsConfig(), pipeline)
    home = out.resolve()
    found = [path for path in list_images(photos) if not path.resolve().is_relative_to(home)]
    if not found:
        raise InputError(f"all photos lie inside {show_path(out)}; choose another folder for pairs")
    with _opened(out):
        build = _Build(out, pipeline, settings, prompts, per_origin, seed, _recover(out))
        steps = [(path, number) for path in found for number in range(per_origin)]
        for path, number in track(steps, "editing photos", total=len(steps)):
            build.make(path, number)
        return build.finish()


@dataclass(frozen=True)
class _Photo:
    """One photo that was read; it is decoded when its first edit is made."""

    path: Path
    data: bytes
    digest: str
    size: int

    @cached_property
    def square(self) -> Image.Image:
        pixels = decode_image(self.data, self.path, channels=3).pixels
        return to_image(pixels).resize((self.size, self.size), Image.Resampling.LANCZOS)


@dataclass
class _Build:
    """A build while it runs; `rows` by their id."""

    out: Path
    pipeline: EditPipeline
    settings: Resolved
    prompts: Prompts
    per_origin: int
    seed: int
    rows: dict[str, PairRow]
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    seen: dict[str, Path] = field(default_factory=dict)
    opened: Path | None = None
    photo: _Photo | None = None
    moved: bool = False

    def make(self, path: Path, number: int) -> None:
        """Edit `number` of the photo at `path`, unless it is there."""
        if path != self.opened:
            self.opened, self.photo = path, self._open(path)
        if self.photo is None:
            return
        row = self._row(self.photo, number)
        if self._is_done(row):
            return
        try:
            pixels = self.pipeline.edit(
                self.photo.square, seed=row.seed or 0, **call_arguments(row, self.pipeline.defaults)
            )
        except UnusableFile as problem:
            self.skipped.append((path, problem.reason))
            self.photo = None
            return
        except WithheldEdit as problem:
            self.skipped.append((path, str(problem)))
            return
        save_png(pixels, self.out / row.edit)
        self._enter(replace(row, edit_digest=digest_file(self.out / row.edit)))

    def finish(self) -> PairsManifest:
        """The manifest of the whole folder; an `InputError` if it is empty."""
        if not self.rows:
            path, reason = self.skipped[0]
            raise InputError(f"no edit was made; first problem: {show_path(path)}: {reason}")
        if self.moved:
            replace_manifest(self.out, self.rows.values())
        return PairsManifest(self.out, tuple(self.rows.values()), tuple(self.skipped))

    def _open(self, path: Path) -> _Photo | None:
        try:
            data = read_regular(path, max_bytes=DEFAULT_LIMITS.max_bytes)
        except UnusableFile as problem:
            self.skipped.append((path, problem.reason))
            return None
        digest = digest_bytes(data)
        if digest in self.seen:
            same = show_path(self.seen[digest])
            self.skipped.append((path, f"has the same bytes as {same}"))
            return None
        self.seen[digest] = path
        return _Photo(path, data, digest, self.settings.size)

    def _row(self, photo: _Photo, number: int) -> PairRow:
        """The row that is to be, without the digest of its edit."""
        drawn = self.prompts.draw(number + 1, stream(self.seed, "prompts", photo.digest))
        at = self.settings
        strengths = stream(self.seed, "strength", photo.digest, number)
        row = PairRow(
            id="",
            origin=origin_entry(photo.path, self.out),
            origin_digest=photo.digest,
            prompt=drawn[number],
            negative=at.negative,
            model=self.pipeline.name,
            model_digest=self.pipeline.digest,
            pipeline=self.pipeline.kind,
            dtype=self.pipeline.dtype,
            strength=at.strengths.draw(strengths) if at.strengths else None,
            steps=at.steps,
            guidance=at.guidance,
            image_guidance=at.image_guidance,
            scheduler=self.pipeline.scheduler,
            seed=derive_seed(self.seed, "edit", photo.digest, number),
            size=at.size,
            edit="",
            edit_digest="",
        )
        return _named(row)

    def _is_done(self, row: PairRow) -> bool:
        known = self.rows.get(row.id)
        if known is None:
            return False
        with suppress(OSError):
            if digest_file(self.out / known.edit) == known.edit_digest:
                if known.origin != row.origin:  # the photo was moved since
                    self.rows[row.id], self.moved = replace(known, origin=row.origin), True
                return True
        return False

    def _enter(self, row: PairRow) -> None:
        is_known = row.id in self.rows
        self.rows[row.id] = row
        if is_known:  # its picture was lost or damaged
            replace_manifest(self.out, self.rows.values())
        else:
            append_row(self.out, row)


def _named(row: PairRow) -> PairRow:
    decides = {name: v for name, v in row.to_dict().items() if name not in _NOT_IN_ID}
    digest = digest_bytes(json.dumps(decides, sort_keys=True).encode())
    name = digest.removeprefix("sha256:")[:_ID_DIGITS]
    return replace(row, id=name, edit=f"{EDITS_NAME}/{name}.png")


def _recover(out: Path) -> dict[str, PairRow]:
    """The rows by their id, and a manifest that ends with a whole line."""
    rows, ends_well = scan_manifest(out)
    if not ends_well:
        replace_manifest(out, rows)
    for scratch in (out / EDITS_NAME).glob(".*.png.*"):  # of a writer that was killed
        scratch.unlink(missing_ok=True)
    return {row.id: row for row in rows}


@contextmanager
def _opened(out: Path) -> Iterator[None]:
    """The pairs folder, made if need be and for this process alone; gone again if left empty."""
    manifest, edits = out / MANIFEST_NAME, out / EDITS_NAME
    is_new, made = not os.path.lexists(manifest), not os.path.lexists(out)
    _refuse_other(out, is_new=is_new)
    try:
        out.mkdir(exist_ok=True)
        with _locked(out):
            if is_new:
                replace_manifest(out, ())
            edits.mkdir(exist_ok=True)
            try:
                yield
            finally:
                if is_new and not manifest.stat().st_size:
                    manifest.unlink()
                    with suppress(OSError):  # not empty: then it is not ours to remove
                        edits.rmdir()
                        if made:
                            out.rmdir()
    except OSError as error:
        raise InputError(f"cannot write {show_path(out)}: {error.strerror or error}") from error


def _refuse_other(out: Path, *, is_new: bool) -> None:
    if not os.path.lexists(out):
        if not out.parent.is_dir():
            raise InputError(f"{show_path(out.parent)} is not a folder; create it first")
    elif not out.is_dir():
        raise InputError(f"{show_path(out)} is no folder; choose another place for the pairs")
    elif is_new and any(
        path.name != EDITS_NAME and not path.name.startswith(".") for path in out.iterdir()
    ):
        raise InputError(
            f"{show_path(out)} holds other files and no {MANIFEST_NAME}, so it is left alone; "
            "choose another folder for the pairs"
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Refuse a second builder; the lock vanishes with the process that holds it."""
    try:
        import fcntl  # not on Windows, where nobody is kept out
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another build is writing {show_path(folder)}; wait for it, or choose another "
                "folder"
            ) from error
        yield
    finally:
        os.close(handle)
