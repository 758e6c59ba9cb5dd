"""The kind and the digest of the fitted value at a path, found without loading it."""

from __future__ import annotations

from pathlib import Path

from wherefrom.anomaly.calibration.fitted import AnomalyCalibration
from wherefrom.attribution.checking.fitted import KIND as ATTRIBUTION
from wherefrom.case.parts.file import KINDS
from wherefrom.core.errors import InputError, WherefromError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.store import (
    artifact_digest,
    artifact_kind,
    digest_bytes,
    digest_file,
    is_artifact,
)
from wherefrom.inversion.model import FITTED, FittedInverter
from wherefrom.origin.collection.references import CALIBRATION, EDIT_MAP
from wherefrom.origin.index.index import Index
from wherefrom.origin.index.manifest import NAME as MANIFEST
from wherefrom.origin.index.manifest import as_json

OUTLIERS = "outliers"  # the calibration's folder in that of a model
EXPECTED = (
    "an attributor, an index of `origin build`, a calibration of `anomaly audit`, a model of "
    "`inversion train`, or the receipt of a credit payout"
)


def find_kind(path: Path) -> str:
    """Which of `file.KINDS` is at `path`; an `InputError` where it is none of them."""
    shown = show_path(path)
    if not path.exists():
        raise InputError(f"there is no {shown}; a case takes {EXPECTED}")
    if path.is_file():
        if path.suffix.lower() == ".json":
            return "credit"
        raise InputError(f"{shown} is a file, but a case takes {EXPECTED}")
    if (path / MANIFEST).is_file():
        return "origin"
    if (path / FITTED).is_dir():
        return "inverter"
    if is_artifact(path):
        stated = artifact_kind(path)
        if stated.startswith(ATTRIBUTION):
            return "attributor"
        known = {AnomalyCalibration.kind: "anomaly", FittedInverter.kind: "inverter"}
        if stated in known:
            return known[stated]
        raise InputError(f"{shown} is a {stated!r} artifact, but a case takes {EXPECTED}")
    if is_artifact(path / "calibration"):
        raise InputError(f"{shown} is the folder of an audit; add {shown}/calibration")
    raise InputError(f"{shown} is not usable in a case, which takes {EXPECTED}")


def digest_of(kind: str, path: Path) -> str:
    """The digest of what is at `path`; it changes with everything that decides an answer.

    Of an index: its encoder, edit map, calibration, and the images in it.
    """
    if kind not in KINDS:
        raise InputError(f"there is no kind {kind!r}; known: {', '.join(KINDS)}")
    try:
        if kind == "credit":
            return digest_file(path)
        if kind == "origin":
            return _together(*_origin_digests(path))
        if kind == "inverter":
            inside = path / FITTED
            model = inside if inside.is_dir() else path
            return _together(artifact_digest(model), artifact_digest(path / OUTLIERS))
        return artifact_digest(path)
    except OSError as error:
        raise InputError(f"cannot read {show_path(path)}: {error.strerror}") from error


def require_same(kind: str, name: str, path: Path, digest: str) -> None:
    """An `InputError` if what is at `path` is not what was recorded."""
    if not path.exists():
        raise InputError(
            f"the {kind} {name!r} is not at {show_path(path)}; move it back, or add it again"
        )
    try:
        current = digest_of(kind, path)
    except WherefromError as error:
        raise InputError(f"the {kind} {name!r}: {error}") from error
    if current != digest:
        raise InputError(
            f"the {kind} {name!r} at {show_path(path)} is not the one that was added "
            f"({current}, not {digest}); if that is right, record it again: "
            "wherefrom case add --overwrite"
        )


def _origin_digests(path: Path) -> list[str]:
    with Index.open(path) as index:
        digests = [digest_bytes(as_json(index.identity).encode()), index.content_digest()]
    places = (path / EDIT_MAP, path / CALIBRATION)
    return [
        *digests,
        *(artifact_digest(place) if is_artifact(place) else "none" for place in places),
    ]


def _together(*digests: str) -> str:
    return digest_bytes("|".join(digests).encode())
