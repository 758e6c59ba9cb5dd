"""Resolving the name of a device."""

from __future__ import annotations

from wherefrom.core.errors import InputError


def resolve_device(name: str) -> str:
    """The device of that name, where `auto` means cuda, else mps, else cpu.

    A device that this machine lacks is an `InputError`.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name).cpu()
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"the device {name!r} cannot be used here; pass --device auto or --device cpu"
        ) from error
    return name
