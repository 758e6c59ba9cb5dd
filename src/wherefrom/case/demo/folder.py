"""The demo's folder: new, or an earlier demo's whose files are replaced."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.store import write_file

MARKER = "demo.json"
KIND = "wherefrom demo"
MAX_MARKER_BYTES = 2**20
# Everything that a demo writes into its folder.  Nothing else is ever deleted.
CONTENTS = (
    "case.toml",
    "case.toml.inspections",
    "clothes",
    "contributors",
    "edits",
    "elsewhere",
    "my-model.attributor",
    "my-photographs.index",
    "photographs",
    "real-clothes",
    "real-images.calibration",
    "clothes.inverter",
    "report",
    "shares.json",
    "study.toml",
    "study.ledger.sqlite",
    "study.work",
    "suspects",
)


def start_folder(folder: Path, *, replace: bool = False) -> None:
    """Make the folder; with `replace` an earlier demo's files are removed from it first.

    An `InputError` if something else is there, or an earlier demo without `replace`.  Files that
    no demo writes are left alone.
    """
    shown = show_path(folder)
    if is_demo(folder):
        if not replace:
            raise InputError(
                f"{shown} holds an earlier demo; pass --overwrite to replace it, or choose "
                "another folder with --out"
            )
    elif folder.is_symlink() or folder.exists():
        raise InputError(
            f"{shown} exists and is not the folder of an earlier demo; choose another one "
            "with --out"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / MARKER, json.dumps({"kind": KIND}).encode())
        for name in CONTENTS:
            _remove(folder / name)
    except OSError as error:
        raise InputError(f"cannot make the folder {shown}: {error.strerror or error}") from error


def is_demo(folder: Path) -> bool:
    """Whether an earlier demo, finished or not, made this folder."""
    marker = folder / MARKER
    if folder.is_symlink() or not marker.is_file() or marker.stat().st_size > MAX_MARKER_BYTES:
        return False
    try:
        content = json.loads(marker.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("kind") == KIND


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
