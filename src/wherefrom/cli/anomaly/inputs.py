"""What the commands of `wherefrom anomaly` share: options, encoders, calibrations, folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wherefrom.cli.console.options import FILE, device_option, resolve_device
from wherefrom.cli.console.session import Session
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.anomaly.calibration.fitted import Calibration
    from wherefrom.anomaly.result import ImageScores
    from wherefrom.encoders.features import FeatureNetwork

F = TypeVar("F", bound=Callable[..., Any])

CALIBRATION, CACHE = "calibration", "cache"

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
seed_option = click.option("--seed", default=0, show_default=True, help="Seed of every draw.")
against_option = click.option(
    "--against", type=FILE, required=True, help="The calibration of an audit."
)
false_alarms_option = click.option(
    "--false-alarms",
    type=float,
    default=0.01,
    show_default=True,
    help="Share of real images that are flagged, at most.",
)
same_encoder_option = click.option(
    "--encoder", help="The encoder, if it is no longer where the calibration found it."
)
cache_option = click.option(
    "--cache", type=FILE, help="A folder of measurements: what is in it is not measured again."
)


def encoder_options(command: F) -> F:
    """`--encoder`, `--resolution`, `--download` and `--device`, for `load`."""
    for option in (
        device_option,
        click.option("--download", is_flag=True, help="Fetch the encoder from the hub if needed."),
        click.option("--resolution", type=int, help="Side in px at which the encoder sees images."),
        click.option(
            "--encoder",
            default="efficientnet-lite0",
            show_default=True,
            help="efficientnet-lite0, dinov2, dino, clip, vit-s, convnext-t, resnet50, "
            "inception-v3, a folder of transformers, or owner/name of the hub.",
        ),
    ):
        command = option(command)
    return command


def load(encoder: str, resolution: int | None, download: bool, device: str) -> FeatureNetwork:
    """The encoder that the options name, on the device that they name."""
    from wherefrom.encoders import load_feature_encoder

    found = load_feature_encoder(encoder, resolution=resolution, allow_download=download)
    return found.to(resolve_device(device))


def load_against(
    path: Path, encoder: str | None, device: str
) -> tuple[Calibration, FeatureNetwork]:
    """A calibration with the encoder that made it."""
    from wherefrom.anomaly.calibration.fitted import load_calibration
    from wherefrom.anomaly.method import remembered_encoder

    calibration = load_calibration(path)
    network = remembered_encoder(calibration, path, source=encoder)
    return calibration, network.to(resolve_device(device))


def score_against(
    session: Session,
    paths: Sequence[Path],
    against: Path,
    false_alarms: float,
    encoder: str | None,
    cache: Path | None,
    device: str,
) -> tuple[Calibration, ImageScores]:
    """A calibration and the scores of images by it; what was left out is told."""
    from wherefrom.anomaly.method import score_progressively
    from wherefrom.calibration.conformal import require_rate
    from wherefrom.data.folders import list_images

    list_images(paths)  # refuse impossible paths before the encoder is loaded
    calibration, network = load_against(against, encoder, device)
    require_rate(false_alarms, len(calibration.held_points), what="false-alarm rate")
    scores = score_progressively(
        paths,
        network,
        calibration,
        false_alarms=false_alarms,
        cache=open_cache(cache),
        track=session.track,
    )
    if calibration.check is not None and calibration.check.verdict != "holds":
        session.note(f"note: {calibration.check.message}")
    tell_skipped(session, scores.skipped)
    return calibration, scores


def open_cache(folder: Path | None) -> Any:
    """A cache in a folder, None without one."""
    from wherefrom.anomaly.measuring.cache import FolderCache

    return None if folder is None else FolderCache(folder)


def named_folders(texts: Sequence[str]) -> dict[str, list[Path]]:
    """Folders by name; `InputError` for two of one name, or one that is not there."""
    from wherefrom.data.folders import list_images

    found: dict[str, list[Path]] = {}
    for text in texts:
        name, separator, rest = text.partition("=")
        path = Path(rest) if separator and not Path(text).exists() else Path(text)
        called = name if path == Path(rest) and separator else (path.name or path.resolve().name)
        if called in found:
            raise InputError(f"two generators are called {called!r}; give them as name=folder")
        list_images([path])
        found[called] = [path]
    return found


def prepare_folder(out: Path) -> None:
    """The report's folder: new, empty, or that of an earlier audit."""
    from wherefrom.core.paths import entry_names

    known = {CALIBRATION, CACHE}
    if out.is_dir():
        inside = entry_names(out)
        if inside and not inside & known:
            raise InputError(f"{out} is no folder of an audit, so it is left alone; choose another")
        return
    try:
        out.mkdir()
    except OSError as error:
        raise InputError(f"cannot make the folder {out}: {error.strerror}") from error


def tell_skipped(session: Session, skipped: Sequence[tuple[str, str]]) -> None:
    """One line on stderr about the files that were left out."""
    if skipped:
        from wherefrom.report.pages.text import left_out

        session.note(f"note: {left_out(skipped)}")
