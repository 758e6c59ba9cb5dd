"""Reads generator weights: safetensors, or torch files of tensors only.  Nothing is unpickled."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from wherefrom.core.errors import InputError

TORCH_SUFFIXES = (".pt", ".pth", ".tar", ".ckpt", ".bin")
# Where training scripts put the generator inside a checkpoint, best first (EMA before raw).
NESTED_UNDER = ("params_ema", "g_ema", "state_dict", "model", "generator", "params")
WRAPPER_PREFIXES = ("module.", "_orig_mod.")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The state dict in a .safetensors or a torch file, also one level or two down."""
    if not path.is_file():
        raise InputError(f"the weights file {path} does not exist")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix not in TORCH_SUFFIXES:
        raise InputError(
            f"{path} is no weights file known here; use .safetensors or {', '.join(TORCH_SUFFIXES)}"
        )
    state = _state_inside(_read_torch(path), depth=3)
    if state is None:
        raise InputError(
            f"{path} holds no state dict (names with tensors); save one from the model"
        )
    return state


def load_weights(module: nn.Module, path: Path) -> None:
    """Put the weights of a file into `module`; every name and shape must fit."""
    state = _without_prefix(read_state_dict(path))
    own = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    # Counters that files written before PyTorch 0.4.1 lack; evaluation never reads them.
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in own]
    wrong = [
        f"{k} {_size(state[k])} instead of {_size(own[k])}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    faults = [("missing", missing), ("unexpected", unexpected), ("wrong shape", wrong)]
    if any(names for _, names in faults):
        found = "; ".join(f"{word}: {_first(names)}" for word, names in faults if names)
        raise InputError(
            f"{path} holds weights of another architecture than {type(module).__name__}: {found}"
        )
    module.load_state_dict({**own, **state})


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {_line(error)}") from error


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is not plain tensors (it is damaged, or holds code that opening it would "
            "run), so it is not opened; save the model's state dict as .safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a readable torch file: {_line(error)}") from error


def _state_inside(value: Any, depth: int) -> dict[str, Tensor] | None:
    if not isinstance(value, Mapping) or depth == 0:
        return None
    for key in NESTED_UNDER:
        found = _state_inside(value.get(key), depth - 1)
        if found is not None:
            return found
    tensors = {str(key): item for key, item in value.items() if isinstance(item, Tensor)}
    if tensors and len(tensors) == len(value):
        return tensors
    # Under another name: fine as long as there is only one.
    inside = [_state_inside(item, depth - 1) for item in value.values()]
    states = [state for state in inside if state is not None]
    return states[0] if len(states) == 1 else None


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in WRAPPER_PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _first(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _size(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
