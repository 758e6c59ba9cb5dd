"""Refuses modules that cannot be split, before anything is sampled or fitted."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from wherefrom.core.errors import InputError

CHANNELS = (1, 3)  # grey and colour: what images are read as
HALF = {torch.float16, torch.bfloat16}


def without_compiling(module: nn.Module) -> nn.Module:
    """The module that `torch.compile` wrapped (the weights are shared); other modules unchanged.

    Compiled parts of a module are unwrapped in place.
    """
    module = _original(module)
    for part in list(module.modules()):
        for name, child in list(part.named_children()):
            if _original(child) is not child:
                setattr(part, name, _original(child))
        if getattr(part, "_compiled_call_impl", None) is not None:  # by part.compile()
            part._compiled_call_impl = None
    return module


def _original(module: nn.Module) -> nn.Module:
    inner = getattr(module, "_orig_mod", None)
    return _original(inner) if isinstance(inner, nn.Module) else module


def refuse_skipped_device(module: nn.Module) -> None:
    """An `InputError` for weights that are on the device meta, or on one that is not here."""
    for name, value in _tensors(module):
        if is_lazy(value):
            raise InputError(
                f"the weight {name!r} has no size yet (a lazy layer); run the model once in the "
                "factory"
            )
        if value.is_meta:
            raise InputError(
                f"the weight {name!r} is on the device meta and has no values (built with "
                "`init_empty_weights` or `device='meta'`); build the model on the CPU"
            )
        if value.device.type == "cuda" and not torch.cuda.is_available():
            raise InputError(
                f"the weight {name!r} is on {value.device}, and there is no CUDA here; build the "
                "model on the CPU"
            )


def refuse_unready(module: nn.Module) -> None:
    """An `InputError` for a module whose last layer cannot be inverted as it is: on a device that
    is not here, on several devices, in half precision, or frozen.
    """
    refuse_skipped_device(module)
    if any(not hasattr(part, "training") for part in module.modules()):
        raise InputError(
            "the model is frozen (torch.jit.freeze), and its weights are constants that cannot be "
            "read; save it before it is frozen"
        )
    devices: dict[torch.device, str] = {}
    for name, value in _tensors(module):
        devices.setdefault(value.device, name)
    if len(devices) > 1:
        places = " and ".join(f"{name!r} on {device}" for device, name in list(devices.items())[:2])
        raise InputError(f"the model lies on several devices ({places}); put it on one")
    dtypes = {value.dtype for value in module.parameters() if value.is_floating_point()}
    if dtypes and dtypes <= HALF:
        names = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise InputError(
            f"the model is in half precision ({names}), and its last layer is inverted in float32; "
            "let the factory return model.float() (a weights file may stay in half precision)"
        )


def refuse_channels(channels: int) -> None:
    """An `InputError` for images of other than 1 or 3 channels."""
    if channels not in CHANNELS:
        kind = {2: " (grey and alpha?)", 4: " (colour and alpha?)"}.get(channels, "")
        raise InputError(
            f"the generator makes images of {channels} channels{kind}, and images are read as grey "
            "(1) or colour (3); let the factory cut the last layer's weight and bias to 1 or 3 "
            "channels"
        )


def device_hint(error: BaseException) -> str:
    """What to do about an error of a model that asks for a device that is not here, else ""."""
    text = str(error)
    if "CUDA" in text and not torch.cuda.is_available():
        return "; there is no CUDA here, so build the model on the CPU (no .cuda())"
    return "; part of the model is on the device meta, without values" if " meta" in text else ""


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [
        (name, value)
        for name, value in chain(module.named_parameters(), module.named_buffers())
        if isinstance(value, Tensor)
    ]
