"""Make pairs of origins and edits with a diffusion pipeline; a killed build can be continued.

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
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from PIL import Image

from wherefrom.core.errors import InputError
from wherefrom.core.limits import limits_in_force
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed, stream
from wherefrom.core.saving.store import digest_bytes, digest_file
from wherefrom.data.files.archives import read_file
from wherefrom.data.files.opening import SkippedFile, UnusableFile
from wherefrom.data.folders import list_images
from wherefrom.data.images.items import decode_image, to_image
from wherefrom.data.images.writing import save_png
from wherefrom.origin.pairs.captions import Captioner
from wherefrom.origin.pairs.config import PairsConfig, Resolved, call_arguments, resolve
from wherefrom.origin.pairs.manifest import (
    EDITS_NAME,
    MANIFEST_NAME,
    PairRow,
    PairsManifest,
    append_line,
    origin_entry,
    replace_manifest,
)
from wherefrom.origin.pairs.pipelines import EditPipeline
from wherefrom.origin.pairs.prompts import Prompts
from wherefrom.origin.pairs.writer import Failures, opened, read_failures, recover

# What does not decide an edit's pixels, and so is not part of its id.
_NOT_IN_ID = ("id", "origin", "model", "edit", "edit_digest")
# Said of an edit by its prompt and by the digest of its model.
_IMPLIED = ("caption", "captioner", "captioner_digest", "paradigm")
_ID_DIGITS = 24


def build_pairs(
    photos: Sequence[Path],
    pipeline: EditPipeline,
    prompts: Prompts,
    out: Path,
    *,
    captioner: Captioner | None = None,
    config: PairsConfig | None = None,
    seed: int = 0,
    track: Track = quiet,
) -> PairsManifest:
    """Make edits of each photo (files and folders) in the pairs folder `out`.

    A folder that exists is continued: edits that are there stay, whichever pipeline made them, and
    the result lists them all.  Prompts that quote a caption need a `captioner`, which runs once per
    photo.  A photo that cannot be read or described, or is there twice, and an edit that
    overflowed, failed or was withheld by a safety checker are named in `skipped`; what would fail
    again is not tried by later builds (`pairs_failures`).
    """
    _require_matching(prompts, captioner)
    out = Path(out)
    config = config or PairsConfig()
    settings = resolve(config, pipeline)
    home = out.resolve()
    paths = [path for path in list_images(photos) if not _real(path).is_relative_to(home)]
    if not paths:
        raise InputError(f"all photos lie inside {show_path(out)}; choose another folder for pairs")
    with opened(out):
        rows = recover(out)
        build = _Build(out, pipeline, settings, prompts, captioner, seed, rows)
        steps = [(path, number) for path in paths for number in range(config.per_origin)]
        for path, number in track(steps, "editing photos", total=len(steps)):
            build.make(path, number)
        return build.finish()


def _real(path: Path) -> Path:
    # Unlike `Path.resolve` it leaves a loop of links as it is, which reading the file will name.
    return Path(os.path.realpath(path))


@dataclass(frozen=True)
class _Photo:
    """One photo that was read; it is decoded when its first edit is made."""

    path: Path
    data: bytes
    digest: str
    size: int

    @cached_property
    def image(self) -> Image.Image:
        return to_image(decode_image(self.data, self.path, channels=3).pixels)

    @cached_property
    def square(self) -> Image.Image:
        return self.image.resize((self.size, self.size), Image.Resampling.LANCZOS)


@dataclass
class _Build:
    """A build while it runs; `rows` by their id."""

    out: Path
    pipeline: EditPipeline
    settings: Resolved
    prompts: Prompts
    captioner: Captioner | None
    seed: int
    rows: dict[str, PairRow]
    skipped: list[SkippedFile] = field(default_factory=list)
    seen: dict[str, Path] = field(default_factory=dict)
    captions: dict[str, str] = field(init=False)  # by the digest of the photo
    opened: Path | None = None
    photo: _Photo | None = None
    moved: bool = False
    failures: Failures = field(init=False)

    def __post_init__(self) -> None:
        self.failures = read_failures(self.out)
        asked = None if self.captioner is None else self.captioner.digest
        known = [row for row in self.rows.values() if row.captioner_digest == asked]
        self.captions = {row.origin_digest: row.caption or "" for row in known}

    def make(self, path: Path, number: int) -> None:
        """Edit `number` of the photo at `path`, unless it is there."""
        if path != self.opened:
            self.opened, self.photo = path, self._open(path)
        if self.photo is None:
            return
        edit_id = ""
        try:
            row = self._row(self.photo, number)
            edit_id = row.id
            earlier = self.failures.earlier(edit_id)
            if self._is_done(row) or earlier is not None:
                self.skipped += [] if earlier is None else [SkippedFile(path, earlier)]
                return
            pixels = self.pipeline.edit(
                self.photo.square, seed=row.seed or 0, **call_arguments(row, self.pipeline.defaults)
            )
        except UnusableFile as problem:
            self.skipped.append(SkippedFile(path, problem.reason))
            self.photo = None
            return
        except InputError as problem:
            reason = self.failures.failed(edit_id, str(path), problem)
            self.skipped.append(SkippedFile(path, reason))
            return
        self.failures.succeeded()
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
            data = read_file(path, max_bytes=limits_in_force().max_bytes)
        except UnusableFile as problem:
            self.skipped.append(SkippedFile(path, problem.reason))
            return None
        digest = digest_bytes(data)
        if digest in self.seen:
            same = show_path(self.seen[digest])
            self.skipped.append(SkippedFile(path, f"has the same bytes as {same}"))
            return None
        self.seen[digest] = path
        return _Photo(path, data, digest, self.settings.size)

    def _row(self, photo: _Photo, number: int) -> PairRow:
        """The row that is to be, without the digest of its edit."""
        caption, captioner, at = self._caption(photo), self.captioner, self.settings
        rng = stream(self.seed, "prompts", photo.digest)
        drawn = self.prompts.draw(number + 1, rng, caption or "")
        strengths = stream(self.seed, "strength", photo.digest, number)
        row = PairRow(
            id="",
            origin=origin_entry(photo.path, self.out),
            origin_digest=photo.digest,
            prompt=drawn[number],
            caption=caption,
            captioner=None if captioner is None else captioner.name,
            captioner_digest=None if captioner is None else captioner.digest,
            negative=at.negative,
            model=self.pipeline.name,
            model_digest=self.pipeline.digest,
            pipeline=self.pipeline.kind,
            paradigm=self.pipeline.paradigm,
            adapter_scale=self.pipeline.adapter_scale,
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

    def _caption(self, photo: _Photo) -> str | None:
        """What the captioner says, or said in an earlier build, of a photo."""
        if self.captioner is None:
            return None
        if photo.digest not in self.captions:
            self.captions[photo.digest] = self.captioner.caption(photo.image)
        if not self.captions[photo.digest]:
            raise UnusableFile(photo.path, "has no caption: the captioner found no words")
        return self.captions[photo.digest]

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
            append_line(self.out / MANIFEST_NAME, row.to_dict())


def _require_matching(prompts: Prompts, captioner: Captioner | None) -> None:
    if prompts.needs_caption and captioner is None:
        raise InputError("the prompts quote a {caption}; name the folder of a captioner")
    if captioner is not None and not prompts.needs_caption:
        raise InputError(
            "no prompt quotes a {caption}; put it into one, or leave the captioner out"
        )


def _named(row: PairRow) -> PairRow:
    left_out = {*_NOT_IN_ID, *_IMPLIED, *(["adapter_scale"] if row.adapter_scale is None else [])}
    decides = {name: v for name, v in row.to_dict().items() if name not in left_out}
    digest = digest_bytes(json.dumps(decides, sort_keys=True).encode())
    name = digest.removeprefix("sha256:")[:_ID_DIGITS]
    return replace(row, id=name, edit=f"{EDITS_NAME}/{name}.png")
