"""Options, encoders, calibrations and folders of the commands of `wherefrom anomaly`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wherefrom.cli.console.options import FILE, device_option, option, resolve_device, use
from wherefrom.cli.console.session import Session
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.anomaly.calibration.fitted import AnomalyCalibration
    from wherefrom.anomaly.calibration.judgement import Judgements
    from wherefrom.anomaly.damage.fitted import DamageReport, DamageTest
    from wherefrom.anomaly.measuring.cache import FolderCache
    from wherefrom.encoders.features import FeatureNetwork

F = TypeVar("F", bound=Callable[..., Any])

CALIBRATION, CACHE = "calibration", "cache"

against_option = click.option(
    "--against",
    type=FILE,
    required=True,
    help="A test of damage (`anomaly fit`), or an audit's report/calibration.",
)
false_alarms_option = click.option(
    "--false-alarms",
    type=float,
    default=0.01,
    help="Share of real images that are flagged, at most.",
)
same_encoder_option = click.option(
    "--encoder", help="The encoder, if it has moved since the calibration was made."
)
cache_option = click.option(
    "--cache", type=FILE, help="A folder of measurements, to measure only new images."
)


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """An encoder, and its device."""

    encoder: str = option(
        "efficientnet-lite0, dinov2, dino, clip, vit-s, convnext-t, resnet50, inception-v3, a "
        "folder of transformers, or owner/name of the hub.",
        "efficientnet-lite0",
    )
    resolution: int | None = option("Side in px at which the encoder sees images.")
    download: bool = option("Fetch the encoder from the hub if needed.")
    device: str = use(device_option)

    def load(self) -> FeatureNetwork:
        """The encoder, on its device."""
        from wherefrom.encoders import load_feature_encoder

        network = load_feature_encoder(
            self.encoder, resolution=self.resolution, allow_download=self.download
        )
        return network.to(resolve_device(self.device))


@dataclass(frozen=True, kw_only=True)
class AgainstOptions:
    """`--against`, `--encoder` and `--device`: a calibration and where its encoder is."""

    against: Path = use(against_option)
    encoder: str | None = use(same_encoder_option)
    device: str = use(device_option)

    def damage_test(self) -> DamageTest | None:
        """The test of damage; None where it is a calibration."""
        from wherefrom.anomaly.damage.fitted import DamageTest
        from wherefrom.core.saving.store import artifact_kind

        if artifact_kind(self.against) != DamageTest.kind:
            return None
        if self.encoder:
            raise InputError(
                "--encoder is for an audit's calibration; a test of damage has its own"
            )
        return DamageTest.load(self.against)

    def load(self) -> tuple[AnomalyCalibration, FeatureNetwork]:
        """The calibration, and the encoder that made it."""
        from wherefrom.anomaly.calibration.fitted import AnomalyCalibration
        from wherefrom.anomaly.method import remembered_encoder

        calibration = AnomalyCalibration.load(self.against)
        network = remembered_encoder(calibration, self.against, source=self.encoder)
        return calibration, network.to(resolve_device(self.device))


@dataclass(frozen=True, kw_only=True)
class RankingOptions(AgainstOptions):
    """`--false-alarms` and `--cache` besides: images are ranked by a calibration."""

    false_alarms: float = use(false_alarms_option, before="encoder")
    confidence: float = option(
        "With this confidence the rate of false alarms holds for the calibration at hand; 0: on "
        "average over calibrations.",
        0.0,
        before="encoder",
    )
    false_discovery_rate: float | None = option(
        "Judge all images together: at most this share of the flagged ones is like the real "
        "images.",
        before="encoder",
    )
    cache: Path | None = use(cache_option, before="device")

    def rank(self, session: Session, paths: Sequence[Path]) -> Judgements | DamageReport:
        """The images, worst first; a note about the calibration's check and about skipped files."""
        from wherefrom.anomaly import find_damage, score
        from wherefrom.data.folders import list_images

        list_images(paths)  # refuse impossible paths before the encoder is loaded
        test = self.damage_test()
        if test is not None:
            report = find_damage(
                paths,
                test,
                false_alarms=self.false_alarms,
                confidence=self.confidence,
                false_discovery_rate=self.false_discovery_rate,
                track=session.track,
            )
            session.note_skipped(report.skipped)
            return report
        calibration, network = self.load()
        result = score(
            paths,
            calibration,
            network,
            false_alarms=self.false_alarms,
            confidence=self.confidence,
            false_discovery_rate=self.false_discovery_rate,
            cache=open_cache(self.cache),
            track=session.track,
        )
        if calibration.check is not None and calibration.check.verdict != "holds":
            session.note(f"note: {calibration.check.message}")
        session.note_skipped(result.skipped)
        return result


def require_images(result: Judgements | DamageReport) -> None:
    """An `InputError` if no image could be scored."""
    if not result.images:
        raise InputError(f"no image could be scored; the first: {result.skipped[0]}")


def open_cache(folder: Path | None) -> FolderCache | None:
    """The cache in a folder; None without a folder."""
    from wherefrom.anomaly.measuring.cache import FolderCache

    return None if folder is None else FolderCache(folder)


def named_folders(texts: Sequence[str]) -> dict[str, list[Path]]:
    """Folders by name; `InputError` for two of one name, or one that is not there."""
    from wherefrom.data.folders import list_images

    folders: dict[str, list[Path]] = {}
    for text in texts:
        name, separator, rest = text.partition("=")
        path = Path(rest) if separator and not Path(text).exists() else Path(text)
        called = name if path == Path(rest) and separator else (path.name or path.resolve().name)
        if called in folders:
            raise InputError(f"two generators are called {called!r}; give them as name=folder")
        list_images([path])
        folders[called] = [path]
    return folders


def prepare_folder(out: Path) -> None:
    """The report's folder: new, empty, or that of an earlier audit."""
    from wherefrom.core.paths import entry_names

    known = {CALIBRATION, CACHE}
    if out.is_dir():
        inside = entry_names(out)
        if inside and not inside & known:
            raise InputError(f"{out} is not empty and is no folder of an audit; choose another")
        return
    try:
        out.mkdir()
    except OSError as error:
        raise InputError(f"cannot make the folder {out}: {error.strerror}") from error
