"""An open case: every part that it names, loaded once and verified against its digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherefrom.anomaly.calibration.fitted import AnomalyCalibration
from wherefrom.anomaly.damage.fitted import DamageTest
from wherefrom.anomaly.method import remembered_encoder
from wherefrom.attribution.checking.fitted import (
    KIND,
    Attributor,
    describe_saved,
)
from wherefrom.attribution.checking.fitted import (
    KIND as ATTRIBUTION,
)
from wherefrom.attribution.checking.fitted import (
    load as load_attributor,
)
from wherefrom.attribution.methods import METHODS
from wherefrom.calibration.conformal import require_rate
from wherefrom.calibration.family import require_family
from wherefrom.case.parts.file import (
    KINDS,
    AnomalyPart,
    AttributorPart,
    Case,
    CreditPart,
    InverterPart,
    OriginPart,
    PartConfig,
    kind_of,
    read_case,
)
from wherefrom.core.errors import InputError, MissingExtraError, WherefromError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.database import Closing
from wherefrom.core.saving.store import (
    artifact_digest,
    artifact_kind,
    digest_bytes,
    digest_file,
    is_artifact,
)
from wherefrom.credit.payout.receipt import read_receipt
from wherefrom.encoders import load_encoder
from wherefrom.encoders.features import FeatureNetwork
from wherefrom.inversion.model import FITTED, FittedInverter
from wherefrom.inversion.model import load as load_inverter
from wherefrom.inversion.outliers.calibrated import OutlierCalibration
from wherefrom.origin.collection.references import CALIBRATION, EDIT_MAP, References
from wherefrom.origin.index.index import Index
from wherefrom.origin.index.manifest import NAME as MANIFEST
from wherefrom.origin.index.manifest import as_json

OUTLIERS = "outliers"  # the calibration's folder in that of a model
EXPECTED = (
    "an attributor, an index of `origin build`, a calibration of `anomaly audit`, a test of "
    "`anomaly fit`, a model of `inversion train`, or the receipt of a credit payout"
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
        known = {
            AnomalyCalibration.kind: "anomaly",
            DamageTest.kind: "anomaly",
            FittedInverter.kind: "inverter",
        }
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


@dataclass(frozen=True, eq=False)
class Naturalness:
    """A calibration with its encoder."""

    calibration: AnomalyCalibration
    encoder: FeatureNetwork


@dataclass(frozen=True, eq=False)
class OpenDamageTest:
    """A test of damage with its network."""

    test: DamageTest
    network: FeatureNetwork


@dataclass(frozen=True, eq=False)
class Outliers:
    """An inverter with its calibration."""

    inverter: FittedInverter
    calibration: OutlierCalibration


@dataclass(frozen=True, eq=False)
class OpenCase(Closing):
    """A case and what its parts name, in the order of the case.  Close it, best with `with`."""

    case: Case
    attributors: tuple[tuple[AttributorPart, Attributor], ...]
    origins: tuple[tuple[OriginPart, References], ...]
    naturalness: tuple[tuple[AnomalyPart, Naturalness | OpenDamageTest], ...]
    outliers: tuple[tuple[InverterPart, Outliers], ...]
    credits: tuple[tuple[CreditPart, Mapping[str, Any]], ...]

    def close(self) -> None:
        """Close the indexes."""
        for _, references in self.origins:
            references.close()


def open_case(path: Path, *, device: str = "cpu", track: Track = quiet) -> OpenCase:
    """Read a case file and load what it names.

    A missing, foreign or changed part, and a rate that its calibration cannot support, is an
    `InputError` or `ArtifactError` of one line that names it.
    """
    case = read_case(path)
    if not case.parts:
        raise InputError(f"{path} names no parts; add some with `wherefrom case add`")
    require_models(case)
    loaded: list[tuple[PartConfig, Any]] = []
    try:
        parts = track(case.parts, "opening the case", total=len(case.parts))
        loaded.extend((part, load_part(case, part, device=device)) for part in parts)
        require_rates(case)
    except BaseException:
        for _, value in loaded:
            if isinstance(value, References):
                value.close()
        raise
    columns = [
        tuple((part, value) for part, value in loaded if kind_of(part) == kind)
        for kind in ("attributor", "origin", "anomaly", "inverter", "credit")
    ]
    return OpenCase(case, *columns)  # type: ignore[arg-type]


def load_part(case: Case, part: PartConfig, *, device: str = "cpu") -> Any:
    """What a part names, verified against its digest, with its errors under its name."""
    kind, place = kind_of(part), case.place(part)
    require_same(kind, part.name, place, part.digest)
    try:
        return _load(part, place, device, case.path.parent)
    except MissingExtraError:
        raise
    except WherefromError as error:
        raise InputError(f"the {kind} {part.name!r}: {error}") from error


def require_models(case: Case) -> None:
    """An `InputError` for a credit part whose model is no attributor of the case."""
    known = [part.name for part in case.of("attributor")]
    for part in case.parts:
        if isinstance(part, CreditPart) and part.model not in known:
            raise InputError(
                f"the credit {part.name!r} is about the model {part.model!r}, but the case's "
                f"attributors are: {', '.join(known) or 'none'}; add it with --model"
            )


def require_rates(case: Case) -> None:
    """An `InputError` if the attributors together cannot support the family-wise error."""
    smallest = [
        describe_saved(case.place(part))[0]["smallest_false_positive_rate"]
        for part in case.of("attributor")
    ]
    require_family(case.config.family_error, smallest, what="family-wise error")


def _load(part: PartConfig, place: Path, device: str, base: Path) -> Any:
    if isinstance(part, AttributorPart):
        return _attributor(place, device)
    if isinstance(part, OriginPart):
        encoder = load_encoder(_encoder_of(part, base)) if part.encoder else None
        return References.open(place, encoder=encoder, base=base)
    if isinstance(part, AnomalyPart):
        if artifact_kind(place) == DamageTest.kind:
            test = DamageTest.load(place)
            require_rate(part.false_alarms, len(test.held_scores), what="false-alarm rate")
            return OpenDamageTest(test, test.network())
        calibration = AnomalyCalibration.load(place)
        require_rate(part.false_alarms, len(calibration.held_points), what="false-alarm rate")
        source = _encoder_of(part, base) or None
        network = remembered_encoder(calibration, place, source=source)
        return Naturalness(calibration, network.to(device))
    if isinstance(part, InverterPart):
        fitted = load_inverter(place, device=device)
        if len(fitted.shape) != 3:
            raise InputError(f"{place} is a model of vectors; a case asks about images")
        outliers = OutlierCalibration.load(place / OUTLIERS)
        outliers.detector(fitted)  # refuses a calibration of another model
        outliers.threshold(part.false_alarms)  # and a rate that it cannot support
        return Outliers(fitted, outliers)
    return read_receipt(place)


def _encoder_of(part: OriginPart | AnomalyPart, base: Path) -> str:
    """Where an encoder is: a folder beside the case file comes before one of the same name here."""
    inside = base / part.encoder
    return str(inside) if part.encoder and inside.is_dir() else part.encoder


def _attributor(place: Path, device: str) -> Attributor:
    described, config = describe_saved(place)
    method = METHODS[described["kind"].removeprefix(KIND)]
    if method.needs_generator(config):
        raise InputError(
            f"{place} was fitted with the method {method.name}, which needs the whole model to "
            "judge an image; a case takes the other methods, such as patches"
        )
    fitted = load_attributor(place, device=device)
    if fitted.judges_numbers:
        raise InputError(f"{place} judges rows of numbers, and a case asks about images")
    return fitted
