"""Local diffusers pipelines that turn an image and a prompt into an edited image.

Most start from the image's latent; with an IP-Adapter the image is a prompt beside the words.

Weights are read from safetensors only, nothing is downloaded, and no code of the folder runs.  The
safety checker is left as the folder has it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from wherefrom.components.folders import (
    CONFIG,
    INDEX,
    PREFERRED,
    read_json,
    refuse_pickles,
    refuse_pointers,
)
from wherefrom.components.libraries import (
    LIBRARIES,
    digest_files,
    first_line,
    loading,
    readable_files,
    require_libraries,
    silence,
)
from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.images.writing import to_uint8
from wherefrom.origin.pairs.ip_adapter import IpAdapter, find_adapter
from wherefrom.origin.pairs.manifest import IMAGE_TO_IMAGE, IP_ADAPTER

# Image-to-image already, and not in the table of AutoPipelineForImage2Image.
DIRECT = ("StableDiffusionInstructPix2PixPipeline", "StableDiffusionXLInstructPix2PixPipeline")
IMAGE_ARGUMENT = {IMAGE_TO_IMAGE: "image", IP_ADAPTER: "ip_adapter_image"}
NEEDED = ("prompt", "num_inference_steps", "generator", "output_type")
BEYOND = ("mask_image", "control_image")  # a second picture per photo
_VARIANT = re.compile(r"\.(\w+?)(-\d+-of-\d+)?\.safetensors")


class UnusableEdit(InputError):  # noqa: N818 (it is the edit that is unusable)
    """An edit that is unusable; another try would give the same one."""


class WithheldEdit(UnusableEdit):
    """An edit that the pipeline's own safety checker blacked out."""


@dataclass(frozen=True, eq=False)
class EditPipeline:
    """A loaded pipeline and its identity; `defaults` are its own call's."""

    pipe: Any
    name: str
    digest: str
    kind: str
    dtype: str
    defaults: Mapping[str, Any]
    paradigm: str = IMAGE_TO_IMAGE
    adapter_scale: float | None = None

    @property
    def scheduler(self) -> str | None:
        """The class of its noise schedule."""
        scheduler = getattr(self.pipe, "scheduler", None)
        return None if scheduler is None else type(scheduler).__name__

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
        given = {IMAGE_ARGUMENT[self.paradigm]: image, **settings}
        try:
            with silence():
                result = self.pipe(generator=generator, output_type="pt", **given)
        except Exception as error:  # diffusers raises anything on settings that do not fit
            raise InputError(f"{self.kind} of {self.name} failed: {first_line(error)}") from error
        flags = getattr(result, "nsfw_content_detected", None)
        if flags is not None and any(flags):
            raise WithheldEdit("the pipeline's safety checker withheld this edit")
        pixels = result.images[0].detach().float().cpu()
        if not bool(torch.isfinite(pixels).all()):
            raise UnusableEdit(
                f"{self.kind} of {self.name} made NaN or infinite pixels in {self.dtype}; "
                f"{'check its weights' if self.dtype == 'float32' else 'load it in float32'}"
            )
        return to_uint8(pixels)


def load_pipeline(
    folder: Path,
    *,
    name: str | None = None,
    ip_adapter: Path | None = None,
    adapter_scale: float = 1.0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    offload: bool = False,
) -> EditPipeline:
    """The image-to-image pipeline in a diffusers folder, also where it holds a text-to-image one.

    With `ip_adapter` (a .safetensors file, or a folder with one, beside its `image_encoder`) it is
    a text-to-image pipeline that is given the origin as the adapter's image, with this weight.
    `name` is what manifests call the model, else that of the folder.  With `offload` each part is
    on the `device`, a GPU, only while it runs.  `MissingExtraError` without
    diffusers; `InputError` in one line for any fault of the folder.
    """
    folder = Path(folder)
    index = read_index(folder)
    adapter = None if ip_adapter is None else find_adapter(Path(ip_adapter))
    paradigm = IMAGE_TO_IMAGE if adapter is None else IP_ADAPTER
    libraries = {"diffusers", *_parts(index).values()} & set(LIBRARIES)
    require_libraries(libraries, purpose=f"the pipeline {index['_class_name']}")
    with loading(folder):
        home = "cpu" if offload else device
        pipe = _load(folder, index, home, dtype, text_only=adapter is not None)
        if adapter is not None:
            _attach(adapter, pipe, adapter_scale)
        if offload:
            _offload(pipe, device)
    pipe.set_progress_bar_config(disable=True)
    digest, called = digest_pipeline(folder, index), name or folder.resolve().name
    if adapter is not None:
        called = name or f"{called}+{adapter.name}"
        digest = digest_bytes(f"{digest} {adapter.digest}".encode())
    return EditPipeline(
        pipe=pipe,
        name=called,
        digest=digest,
        kind=type(pipe).__name__,
        dtype=str(dtype).removeprefix("torch."),
        defaults=_call_defaults(pipe, folder, IMAGE_ARGUMENT[paradigm]),
        paradigm=paradigm,
        adapter_scale=None if adapter is None else adapter_scale,
    )


def read_index(folder: Path) -> dict[str, Any]:
    """The model_index.json of a pipeline's folder; it must name a class of diffusers."""
    try:
        index = read_json(folder / INDEX)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(_no_index(folder)) from error
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise InputError(
            f"{show_path(folder)}/{INDEX} names no _class_name of diffusers; give a pipeline "
            "without code of its own"
        )
    return index


def _no_index(folder: Path) -> str:
    """Why there is no pipeline, and what may have been meant."""
    advice = "give the local folder of a whole diffusers pipeline"
    if folder.name == INDEX:
        advice = f"it lies in a pipeline; give {show_path(folder.parent)}"
    elif folder.is_file():
        advice = (
            "one file holds no settings, and diffusers would fetch them from the network; convert "
            "it with from_single_file(...).save_pretrained(folder), and give that folder"
        )
    elif (folder / CONFIG).is_file() and (folder.parent / INDEX).is_file():
        advice = f"it is one component; give {show_path(folder.parent)}, the pipeline around it"
    return f"{show_path(folder)} has no readable {INDEX}; {advice}"


def digest_pipeline(folder: Path, index: Mapping[str, Any]) -> str:
    """One digest over the names and contents of all files that loading may read."""
    files = [file for part in _parts(index) for file in readable_files(folder / part)]
    return digest_files([folder / INDEX, *files], folder)


def _load(
    folder: Path,
    index: Mapping[str, Any],
    device: torch.device | str,
    dtype: torch.dtype,
    *,
    text_only: bool,
) -> Any:
    import diffusers

    kind = str(index["_class_name"])
    _require_parts(folder, index)
    _refuse_code(folder, index, diffusers.pipelines)
    variant = _variant(folder, index)
    chosen = {} if variant is None else {"variant": variant}
    loader: Any = diffusers.AutoPipelineForImage2Image
    if text_only:
        loader = diffusers.AutoPipelineForText2Image
    elif kind in DIRECT:
        loader = diffusers.DiffusionPipeline
    wanted = "a text-to-image" if text_only else "an image-to-image"
    try:
        pipe = loader.from_pretrained(folder, local_files_only=True, use_safetensors=True, **chosen)
        _require_weights(folder, pipe)
        # Only now, because the argument's name differs between releases of diffusers.
        return pipe.to(device, dtype)
    except InputError:
        raise
    except Exception as error:  # diffusers raises anything on a damaged folder
        raise InputError(
            f"{show_path(folder)} cannot be loaded as {wanted} {kind}: {first_line(error)}"
        ) from error


def _offload(pipe: Any, device: torch.device | str) -> None:
    kind = type(pipe).__name__
    if torch.device(device).type == "cpu":
        raise InputError(
            f"the parts of {kind} are moved off a GPU, and the device is the CPU; give a GPU as "
            "the device, or leave the offloading out"
        )
    try:
        pipe.enable_model_cpu_offload(device=device)
    except Exception as error:  # of diffusers or accelerate, which it needs
        raise InputError(f"{kind} cannot be offloaded: {first_line(error)}") from error


def _attach(adapter: IpAdapter, pipe: Any, scale: float) -> None:
    kind = type(pipe).__name__
    if not hasattr(pipe, "load_ip_adapter"):
        raise InputError(f"a {kind} takes no IP-Adapter; give a pipeline that does")
    try:
        adapter.attach(pipe, scale=scale)
    except InputError:
        raise
    except Exception as error:  # as above
        raise InputError(
            f"{show_path(adapter.weights)} cannot be loaded as an IP-Adapter of {kind}: "
            f"{first_line(error)}"
        ) from error


def _parts(index: Mapping[str, Any]) -> dict[str, str]:
    """Component -> library, of the components that are present."""
    # A name that is no identifier is no component, and could lead out of the folder.
    pairs = {k: v for k, v in index.items() if isinstance(v, list) and k.isidentifier()}
    return {name: str(value[0]) for name, value in pairs.items() if value and value[0] is not None}


def _require_parts(folder: Path, index: Mapping[str, Any]) -> None:
    absent = next((part for part in _parts(index) if not (folder / part).is_dir()), None)
    if absent is not None:
        raise InputError(
            f"{show_path(folder)}: {INDEX} names {absent}, and there is no such folder; copy the "
            "whole pipeline"
        )


def _require_weights(folder: Path, pipe: Any) -> None:
    """An `InputError` for weights that the files lack, which diffusers leaves without values."""
    for part, module in pipe.components.items():
        tensors = module.state_dict() if isinstance(module, torch.nn.Module) else {}
        absent = next((name for name, value in tensors.items() if value.is_meta), None)
        if absent is not None:
            raise InputError(
                f"{show_path(folder / part)} lacks weights of its own: {absent} and others; get it "
                "anew"
            )


def _refuse_code(folder: Path, index: Mapping[str, Any], known: Any) -> None:
    """An `InputError` for whatever would run code: Python files, foreign libraries, pickles."""
    for part, library in _parts(index).items():
        code = next((folder / part).glob("*.py"), None)
        if code is not None or not (library in LIBRARIES or hasattr(known, library)):
            raise InputError(
                f"{show_path(code or folder)} brings code along ({part} is of {library!r}), and "
                "such code is not run; give a pipeline of diffusers' and transformers' own classes"
            )
        refuse_pickles(folder / part)
        refuse_pointers(folder / part)


def _variant(folder: Path, index: Mapping[str, Any]) -> str | None:
    """The `fp16` of `model.fp16.safetensors` where a component has nothing else, or None.

    `InputError` if no variant serves all components that have nothing else.
    """
    variants: dict[str, set[str]] = {}
    for part in _parts(index):
        weights = list((folder / part).glob("[!.]*.safetensors"))
        suffixes = [match[1] for path in weights if (match := _VARIANT.search(path.name))]
        if weights and len(suffixes) == len(weights):
            variants[part] = set(suffixes)
    if not variants:
        return None
    shared = set.intersection(*variants.values())
    if not shared:
        holds = " and ".join(f"{part} as {', '.join(sorted(v))}" for part, v in variants.items())
        raise InputError(
            f"{show_path(folder)} holds {holds} alone, and a pipeline is read in one variant; save "
            "it with one"
        )
    return next(iter([*(each for each in PREFERRED if each in shared), *sorted(shared)]))


def _call_defaults(pipe: Any, folder: Path, image: str) -> dict[str, Any]:
    """The arguments of the pipeline's call and their defaults; None where it has none."""
    empty = inspect.Parameter.empty
    parameters = inspect.signature(type(pipe).__call__).parameters
    defaults = {
        name: None if parameter.default is empty else parameter.default
        for name, parameter in parameters.items()
    }
    kind = type(pipe).__name__
    absent = [name for name in (image, *NEEDED) if name not in defaults]
    if absent:
        raise InputError(
            f"{show_path(folder)} holds a {kind}, which takes no {absent[0]!r}; give an "
            "image-to-image pipeline that follows a prompt"
        )
    more = next((name for name in BEYOND if name in defaults), None)
    if more is not None:
        raise InputError(
            f"{show_path(folder)} holds a {kind}, which needs a {more!r} beside each photo; give "
            "a plain image-to-image pipeline"
        )
    return defaults
