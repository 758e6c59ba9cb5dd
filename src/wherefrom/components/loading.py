"""Loading a component of diffusers as its own class, in float32, with every weight from files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from wherefrom.components.folders import Component, Weights, find_weights
from wherefrom.components.libraries import first_line, silence
from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.core.paths import show_path


def load_component(component: Component, *, purpose: str = "") -> nn.Module:
    """Load a component's module, float32, on the CPU, in evaluation mode.

    Its class is the one that its config.json names; it must be a class of diffusers itself.
    `MissingExtraError` without diffusers; `InputError` in one line for any fault of the files.
    """
    diffusers = need("diffusers", purpose or f"loading {component.kind}", extra="diffusers")
    weights = find_weights(component)
    cls = getattr(diffusers, component.kind, None)
    if not (isinstance(cls, type) and issubclass(cls, diffusers.ModelMixin)):
        raise InputError(
            f"{component.shown} is a {component.kind}, which diffusers {diffusers.__version__} "
            "does not have as a model; update diffusers, or give another folder"
        )
    try:
        with silence():
            module, absent = _read(cls, component, weights)
    except InputError:
        raise
    except Exception as error:  # diffusers raises anything on a damaged folder
        raise InputError(
            f"{component.shown} cannot be loaded as {component.kind}: {first_line(error)}"
        ) from error
    if absent:
        raise InputError(
            f"{component.shown} lacks weights of its own {component.kind}: {absent[0]} and others"
        )
    return module.float().eval()


def settings_of(module: nn.Module) -> Mapping[str, Any]:
    """The settings of a loaded component, with the defaults that its config.json leaves out."""
    config: Mapping[str, Any] = module.config  # type: ignore[assignment]
    return config


def _read(cls: Any, component: Component, weights: Weights) -> tuple[nn.Module, list[str]]:
    """The module, and the names of weights that the files lack."""
    if weights.file is None:
        module, report = cls.from_pretrained(
            component.folder,
            local_files_only=True,
            use_safetensors=True,
            variant=weights.variant,
            torch_dtype=torch.float32,
            output_loading_info=True,
        )
        return module, [*report["missing_keys"], *report["mismatched_keys"]]
    if not hasattr(cls, "from_single_file"):
        return _read_plain(cls, component, weights.file), []
    try:
        # With `config`, a folder here, the library asks the network for nothing.
        module = cls.from_single_file(
            str(weights.file),
            config=str(component.folder),
            local_files_only=True,
            torch_dtype=torch.float32,
        )
    except Exception as error:  # its own words for absent weights are of meta tensors
        _refuse_absent(cls, component, weights.file, error)
        raise
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return module, [name for name, value in tensors.items() if value.is_meta]


def _refuse_absent(cls: Any, component: Component, file: Path, error: Exception) -> None:
    """An `InputError` if a file lacks weights by the names that diffusers gives them."""
    with torch.device("meta"):
        needed = set(cls.from_config(component.config).state_dict())
    with safe_open(file, framework="pt") as opened:
        absent = sorted(needed - set(opened.keys()))
    if absent and len(absent) < len(needed) / 2:
        raise InputError(
            f"{show_path(file)} lacks weights of its own {component.kind}: {absent[0]} and others"
        ) from error
    if absent:
        raise InputError(
            f"{show_path(file)} does not hold the weights of this {component.kind} in a layout "
            f"that diffusers converts ({first_line(error)}); give a folder that save_pretrained "
            "wrote"
        ) from error


def _read_plain(cls: Any, component: Component, file: Path) -> nn.Module:
    """The module with the weights of one file under its own names, as Accelerate keeps them."""
    module: nn.Module = cls.from_config(component.config)
    state = load_file(file)
    if set(state) != set(module.state_dict()):
        raise InputError(
            f"{show_path(file)} does not hold the weights of this {component.kind} under the names "
            "that diffusers gives them, and diffusers converts no other layout of that class; give "
            "a folder that save_pretrained wrote"
        )
    module.load_state_dict(state)
    return module
