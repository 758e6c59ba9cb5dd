"""Finding a component of a diffusers model on disk, and the files that hold its weights.

A component is a folder with config.json and safetensors: one file, shards with an index, or either
in a variant such as fp16.  A whole pipeline is a folder of such folders.  Weights in the original
layout of their authors are one file; its config.json has to lie beside it.  Nothing is unpickled,
nothing is downloaded, and no file outside the folder is named by an index.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path

CONFIG, INDEX = "config.json", "model_index.json"
STEM = "diffusion_pytorch_model"
SUFFIX = ".safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
AUTOENCODERS = ("vae", "movq", "vqvae", "vqgan")  # what pipelines call theirs
PREFERRED = ("fp32", "fp16", "bf16")  # of several variants: the first has the most digits
MAX_CONFIG = 16 * 2**20  # bytes; the index of the largest models is a tenth of it
LFS = b"version https://git-lfs"
_SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.|$)")


@dataclass(frozen=True)
class Weights:
    """The files of a component's weights.

    `variant`: which of the usual files (None: the plain ones).  `file`: one safetensors file of
    another name, instead of these.
    """

    variant: str | None = None
    file: Path | None = None


@dataclass(frozen=True)
class Component:
    """A component's folder, its config.json, and the weights file that was named, if any."""

    folder: Path
    config: dict[str, Any]
    file: Path | None = None

    @property
    def kind(self) -> str:
        """The name of its class."""
        return str(self.config["_class_name"])

    @property
    def shown(self) -> str:
        """The printable path of its folder or file."""
        return show_path(self.folder if self.file is None else self.file)


def find_component(path: Path, parts: Sequence[str], *, what: str) -> Component:
    """The component at `path`: its folder, a pipeline that has one of `parts`, or a weights file.

    `what` names it in messages, as in "an autoencoder".  `InputError` in one line otherwise.
    """
    if path.is_file():
        return _component_of_file(path, parts, what)
    # A pipeline may have a config.json of its own: of a trainer, or for a hub's counter.
    if (path / INDEX).is_file() or not (path / CONFIG).is_file():
        inside = next((part for part in parts if (path / part / CONFIG).is_file()), None)
        if inside is not None:
            return Component(path / inside, read_config(path / inside, what=what))
    return Component(path, read_config(path, what=what))


def read_config(folder: Path, *, what: str = "an autoencoder") -> dict[str, Any]:
    """The config.json of a component's folder; it must be an object with a `_class_name`."""
    if not (folder / CONFIG).is_file() and (folder / INDEX).is_file():
        holds = ", ".join(sorted(p.parent.name for p in folder.glob(f"*/{CONFIG}"))) or "nothing"
        raise InputError(
            f"{show_path(folder)} is a whole pipeline with no readable {CONFIG} of {what} in it "
            f"(it holds {holds}); give the folder of {what}"
        )
    try:
        config = read_json(folder / CONFIG)
    except (OSError, ValueError, RecursionError) as error:
        snapshot = next(iter(sorted(folder.glob("snapshots/*"))), None)
        if snapshot is not None:
            raise InputError(
                f"{show_path(folder)} is a folder of the hub's cache; give {show_path(snapshot)}, "
                "the model in it"
            ) from error
        raise InputError(
            f"{show_path(folder)} has no readable {CONFIG}; give the folder of {what}, or of a "
            "pipeline that has one"
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("_class_name"), str):
        raise InputError(
            f"{show_path(folder)}/{CONFIG} names no _class_name; give the folder of {what}"
        )
    return config


def read_json(path: Path) -> Any:
    """The value in a JSON file; `OSError`, `ValueError` or `RecursionError` if it is unreadable."""
    with path.open("rb") as file:
        data = file.read(MAX_CONFIG + 1)
    if len(data) > MAX_CONFIG:
        raise ValueError("too large for settings")
    return json.loads(data)


def find_weights(component: Component, *, stem: str = STEM) -> Weights:
    """Find the files that hold a component's weights; an `InputError` if none can be read.

    Plain files come before variants, and variants in the order of `PREFERRED`.
    """
    folder, file = component.folder, component.file
    if file is not None and (file.parent != folder or not _is_usual(file, stem)):
        _refuse_pointer(file)
        return Weights(file=file)
    variants = _variants(folder, stem)
    if variants:
        variant = _chosen(folder, variants) if file is None else _variant_of(file, stem)
        _require_whole(folder, stem, variant)
        return Weights(variant=variant)
    others = [path for path in sorted(folder.glob(f"[!.]*{SUFFIX}")) if not _is_shard(path)]
    if len(others) == 1:
        _refuse_pointer(others[0])
        return Weights(file=others[0])
    refuse_pickles(folder)
    several = f"{len(others)} files that end in {SUFFIX} and no" if others else "no"
    raise InputError(
        f"{show_path(folder)} holds {several} {stem}{SUFFIX}; give the whole folder of "
        f"{component.kind}, or the file that is meant"
    )


def has_weights(folder: Path) -> bool:
    """Whether a folder holds weights of any kind, readable or not."""
    return folder.is_dir() and any(path.suffix in (SUFFIX, *PICKLES) for path in folder.iterdir())


def refuse_pickles(path: Path) -> None:
    """An `InputError` for a pickled file, or a folder whose only weights are pickled ones."""
    files = sorted(path.glob("[!.]*")) if path.is_dir() else [path]
    pickled = [file for file in files if file.suffix.lower() in PICKLES]
    if pickled and not any(file.suffix == SUFFIX for file in files):
        holds = (
            f"holds pickled weights only ({pickled[0].name})" if path.is_dir() else "is a pickle"
        )
        raise InputError(
            f"{show_path(path)} {holds}, and those are not opened (they can run code); load it "
            "where you trust it and save it with save_pretrained(folder, safe_serialization=True)"
        )


def refuse_pointers(folder: Path) -> None:
    """An `InputError` for weights that Git LFS has not fetched."""
    for path in folder.glob(f"[!.]*{SUFFIX}"):
        _refuse_pointer(path)


def _component_of_file(path: Path, parts: Sequence[str], what: str) -> Component:
    refuse_pickles(path)
    if path.suffix != SUFFIX:
        raise InputError(f"{show_path(path)} is no {SUFFIX} file; give the folder of {what}")
    folders = [path.parent, *(path.parent / part for part in parts)]
    folder = next((each for each in folders if (each / CONFIG).is_file()), None)
    if folder is None:
        raise InputError(
            f"{show_path(path)} holds weights without their settings, which diffusers would fetch "
            f"from the network; put the {CONFIG} of {what} of this kind beside it, or give a "
            "folder that save_pretrained wrote"
        )
    return Component(folder, read_config(folder, what=what), path)


def _variants(folder: Path, stem: str) -> set[str | None]:
    """The variants of which there are weights, None for the plain ones."""
    files = [path for path in folder.glob(f"{stem}*{SUFFIX}") if _is_usual(path, stem)]
    variants = {_variant_of(path, stem) for path in files}
    for path in folder.glob(f"{stem}{SUFFIX}.index*.json"):
        variants.add(path.name.removeprefix(f"{stem}{SUFFIX}.index")[1:-5] or None)
    return variants


def _is_usual(path: Path, stem: str) -> bool:
    return path.name.startswith((f"{stem}.", f"{stem}-"))


def _variant_of(path: Path, stem: str) -> str | None:
    """The `fp16` of `stem.fp16.safetensors` and of its shards, as in
    `stem.fp16-00001-of-00002.safetensors`; before diffusers 0.29 the number came first.
    """
    middle = path.name.removeprefix(stem).removesuffix(SUFFIX)
    return _SHARD.sub("", middle).removeprefix(".") or None


def _is_shard(path: Path) -> bool:
    return _SHARD.search(path.stem) is not None


def _chosen(folder: Path, variants: set[str | None]) -> str | None:
    if None in variants:
        return None
    named = sorted(variant for variant in variants if variant is not None)
    best = next((variant for variant in PREFERRED if variant in named), None)
    if best is None and len(named) > 1:
        raise InputError(
            f"{show_path(folder)} holds the variants {', '.join(named)} and no plain weights; "
            "leave one of them there"
        )
    return best or named[0]


def _require_whole(folder: Path, stem: str, variant: str | None) -> None:
    """`InputError` unless all shards are there, inside the folder, and no pointers."""
    dotted = f".{variant}" if variant else ""
    single = folder / f"{stem}{dotted}{SUFFIX}"
    index = folder / f"{stem}{SUFFIX}.index{dotted}.json"
    if single.is_file() or not index.is_file():
        names = [single.name] if single.is_file() else []
        if not names:
            raise InputError(
                f"{show_path(folder)} holds shards of weights and no {index.name}; copy the whole "
                "folder"
            )
    else:
        names = _shards(index)
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise InputError(
                f"{show_path(index)} names {name!r}, which is not in the folder; copy all shards"
            )
        _refuse_pointer(folder / name)


def _shards(index: Path) -> list[str]:
    try:
        placed = read_json(index)["weight_map"]
        return sorted({str(name) for name in placed.values()})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{show_path(index)} is no index of shards; copy it again, or save the model anew"
        ) from error


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(LFS)) == LFS:
            raise InputError(
                f"{show_path(path)} is a Git LFS pointer, and the weights are not here; run: git "
                "lfs pull"
            )
