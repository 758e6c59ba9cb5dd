"""Local diffusers pipelines that turn an image and a prompt into an edited image.

Weights are read from safetensors only, nothing is downloaded, and no code of the folder runs.  The
safety checker is left as the folder has it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.core.store import digest_bytes, digest_file
from wherefrom.data.files import show_path
from wherefrom.data.writing import to_uint8

INDEX_NAME = "model_index.json"
# Image-to-image already, and not in the table of AutoPipelineForImage2Image.
DIRECT = ("StableDiffusionInstructPix2PixPipeline", "StableDiffusionXLInstructPix2PixPipeline")
NEEDED = ("prompt", "image", "num_inference_steps", "generator", "output_type")
BEYOND = ("mask_image", "control_image")  # a second picture per photo
READ = (".json", ".safetensors", ".txt", ".model")  # what loading may read, so what is digested
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
LIBRARIES = ("diffusers", "transformers")
MADE_UP = "newly initialized"  # as diffusers and transformers both put it
_VARIANT = re.compile(r"\.(\w+?)(-\d+-of-\d+)?\.safetensors")


class WithheldEdit(InputError):  # noqa: N818 (it is the edit that is withheld)
    """An edit that the pipeline's own safety checker blacked out."""


@dataclass(frozen=True, eq=False)
class EditPipeline:
    """A loaded image-to-image pipeline and its identity; `defaults` are its own call's."""

    pipe: Any
    name: str
    digest: str
    kind: str
    dtype: str
    defaults: Mapping[str, Any]

    @property
    def scheduler(self) -> str | None:
        """The class of its noise schedule."""
        found = getattr(self.pipe, "scheduler", None)
        return None if found is None else type(found).__name__

    def require_size(self, size: int) -> None:
        """An `InputError` if images of this side do not fit the pipeline's latents."""
        cell = getattr(self.pipe, "vae_scale_factor", 1)
        if isinstance(cell, int) and size % cell:
            raise InputError(
                f"size is {size}, but {self.kind} needs a multiple of {cell}; "
                f"give {max(cell, size // cell * cell)}"
            )

    def edit(self, image: Image.Image, *, seed: int, **settings: Any) -> Tensor:
        """One edit as uint8 (3, H, W).  `settings` are arguments of the pipeline's own call.

        The noise is drawn on the CPU from `seed`, so that it is the same on every device.  A fault
        of the pipeline is an `InputError`.
        """
        generator = torch.Generator("cpu").manual_seed(seed)
        try:
            with _silence():
                made = self.pipe(image=image, generator=generator, output_type="pt", **settings)
        except Exception as error:  # diffusers raises anything on settings that do not fit
            raise InputError(f"{self.kind} of {self.name} failed: {_first_line(error)}") from error
        flags = getattr(made, "nsfw_content_detected", None)
        if flags is not None and any(flags):
            raise WithheldEdit("the pipeline's safety checker withheld this edit")
        pixels = made.images[0].detach().float().cpu()
        if not bool(torch.isfinite(pixels).all()):
            raise InputError(
                f"{self.kind} of {self.name} made NaN or infinite pixels in {self.dtype}; "
                "load it in float32, or check its weights"
            )
        return to_uint8(pixels)


def load_pipeline(
    folder: Path,
    *,
    name: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> EditPipeline:
    """The image-to-image pipeline in a diffusers folder, also where it holds a text-to-image one.

    `name` is what manifests call the model, else that of the folder.  `MissingExtraError` without
    diffusers; `InputError` in one line for any fault of the folder.
    """
    folder = Path(folder)
    index = read_index(folder)
    kind = str(index["_class_name"])
    _require_libraries(kind, index)
    with _silence() as heard:
        pipe = _load(folder, kind, index, device, dtype)
    _require_whole(folder, heard)
    pipe.set_progress_bar_config(disable=True)
    return EditPipeline(
        pipe=pipe,
        name=name or folder.resolve().name,
        digest=digest_pipeline(folder, index),
        kind=type(pipe).__name__,
        dtype=str(dtype).removeprefix("torch."),
        defaults=_call_defaults(pipe, folder),
    )


def read_index(folder: Path) -> dict[str, Any]:
    """The model_index.json of a pipeline's folder; it must name a class of diffusers."""
    try:
        index = json.loads((folder / INDEX_NAME).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{show_path(folder)} has no readable {INDEX_NAME}; give the local folder of a whole "
            "diffusers pipeline"
        ) from error
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise InputError(
            f"{show_path(folder)}/{INDEX_NAME} names no _class_name of diffusers; give a pipeline "
            "without code of its own"
        )
    return index


def digest_pipeline(folder: Path, index: Mapping[str, Any]) -> str:
    """One digest over the names and contents of all files that loading may read."""
    files = [folder / INDEX_NAME]
    for part in _parts(index):
        files += [path for path in (folder / part).rglob("*") if path.suffix in READ]
    lines = sorted(f"{digest_file(path)} {path.relative_to(folder).as_posix()}" for path in files)
    return digest_bytes("\n".join(lines).encode(errors="surrogateescape"))


def _require_libraries(kind: str, index: Mapping[str, Any]) -> None:
    libraries = {"diffusers", *_parts(index).values()} & set(LIBRARIES)
    for library in sorted(libraries):
        try:
            with _silence():
                importlib.import_module(library)  # of an extra, and slow to import
        except ImportError as error:
            raise MissingExtraError(library, "diffusers", f"the pipeline {kind}") from error


def _load(
    folder: Path,
    kind: str,
    index: Mapping[str, Any],
    device: torch.device | str,
    dtype: torch.dtype,
) -> Any:
    import diffusers

    _refuse_code(folder, index, diffusers.pipelines)
    variant = _variant(folder, index)
    chosen = {} if variant is None else {"variant": variant}
    try:
        loader: Any = (
            diffusers.DiffusionPipeline if kind in DIRECT else diffusers.AutoPipelineForImage2Image
        )
        pipe = loader.from_pretrained(folder, local_files_only=True, use_safetensors=True, **chosen)
        # Only now, because the argument's name differs between releases of diffusers.
        return pipe.to(device, dtype)
    except Exception as error:  # diffusers raises anything on a damaged folder
        raise InputError(
            f"{show_path(folder)} cannot be loaded as an image-to-image {kind}: "
            f"{_first_line(error)}"
        ) from error


def _require_whole(folder: Path, heard: list[str]) -> None:
    """An `InputError` if a library said that it made up weights which the files lack."""
    told = next((text for text in heard if MADE_UP in text), None)
    if told is not None:
        what = " ".join(told.split())[:200]
        raise InputError(f"{show_path(folder)} lacks some of its weights; get it anew ({what})")


def _parts(index: Mapping[str, Any]) -> dict[str, str]:
    """Component -> library, of the components that are present."""
    # A name that is no identifier is no component, and could lead out of the folder.
    pairs = {k: v for k, v in index.items() if isinstance(v, list) and k.isidentifier()}
    return {name: str(value[0]) for name, value in pairs.items() if value and value[0] is not None}


def _refuse_code(folder: Path, index: Mapping[str, Any], known: Any) -> None:
    """An `InputError` for whatever would run code: Python files, foreign libraries, pickles."""
    for part, library in _parts(index).items():
        code = next((folder / part).glob("*.py"), None)
        if code is not None or not (library in LIBRARIES or hasattr(known, library)):
            raise InputError(
                f"{show_path(code or folder)} brings code along ({part} is of {library!r}), and "
                "such code is not run; give a pipeline of diffusers' and transformers' own classes"
            )
        names = [path.suffix for path in (folder / part).glob("*")]
        if ".safetensors" not in names and any(suffix in PICKLES for suffix in names):
            raise InputError(
                f"{show_path(folder / part)} holds pickled weights only, and those are not opened "
                "(they can run code); save the pipeline with safe_serialization=True"
            )


def _variant(folder: Path, index: Mapping[str, Any]) -> str | None:
    """The `fp16` of `model.fp16.safetensors` where a component has nothing else, or None."""
    variants: set[str] = set()
    for part in _parts(index):
        weights = list((folder / part).glob("*.safetensors"))
        found = [match[1] for path in weights if (match := _VARIANT.search(path.name))]
        if weights and len(found) == len(weights):
            variants.update(found)
    return min(variants) if variants else None


def _call_defaults(pipe: Any, folder: Path) -> dict[str, Any]:
    """The arguments of the pipeline's call and their defaults; None where it has none."""
    empty = inspect.Parameter.empty
    parameters = inspect.signature(type(pipe).__call__).parameters
    found = {
        name: None if parameter.default is empty else parameter.default
        for name, parameter in parameters.items()
    }
    kind = type(pipe).__name__
    absent = [name for name in NEEDED if name not in found]
    if absent:
        raise InputError(
            f"{show_path(folder)} holds a {kind}, which takes no {absent[0]!r}; give an "
            "image-to-image pipeline that follows a prompt"
        )
    more = next((name for name in BEYOND if name in found), None)
    if more is not None:
        raise InputError(
            f"{show_path(folder)} holds a {kind}, which needs a {more!r} beside each photo; give "
            "a plain image-to-image pipeline"
        )
    return found


class _Listener(logging.Handler):
    """Keeps what libraries log, and shows nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


@contextmanager
def _silence() -> Iterator[list[str]]:
    """No bars, logs or warnings of the libraries on the user's screen; what they logged is kept."""
    listener = _Listener()
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        for library in LIBRARIES:
            with suppress(ImportError):  # not every pipeline needs transformers
                stack.enter_context(_muted(library, listener))
        yield listener.heard


@contextmanager
def _muted(library: str, listener: logging.Handler) -> Iterator[None]:
    settings: Any = importlib.import_module(f"{library}.utils.logging")
    logger = logging.getLogger(library)
    before = logger.handlers, logger.propagate, logger.level
    shows = settings.is_progress_bar_enabled()
    try:
        logger.handlers, logger.propagate = [listener], False
        logger.setLevel(logging.WARNING)
        settings.disable_progress_bar()
        yield
    finally:
        logger.handlers, logger.propagate, level = before
        logger.setLevel(level)
        if shows:
            settings.enable_progress_bar()


def _first_line(error: Exception) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)
