"""Puts the weights of a checkpoint into a module, however they were saved.  Runs no code of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from wherefrom.core.errors import InputError
from wherefrom.core.progress import add_note
from wherefrom.generators.checkpoints.networks import Network, OwnKeys, find_networks
from wherefrom.generators.checkpoints.reading import read_entries
from wherefrom.generators.readiness import refuse_skipped_device

PLACE_MARK = "::"  # weights.pt::netG_A is the network netG_A of that file


def load_weights(module: nn.Module, path: Path) -> None:
    """Put the weights of a file into `module`; every name and shape must fit.

    The state dict may lie at any depth of dictionaries, behind prefixes of compiled, distributed,
    averaged or Lightning-wrapped models, and with the keys of either weight_norm or spectral_norm.
    An averaged copy (EMA) is taken before the raw one.  `path` may end in `::PLACE`, the dotted
    name of one of several networks.  A note (`core.progress`) says what was chosen and left out.
    `InputError` for keys that fit nowhere, several networks that fit, or an unreadable file.
    """
    refuse_skipped_device(module)
    file, only = _place_in(path)
    entries, own = read_entries(file), OwnKeys(module)
    networks = find_networks(entries, own, only)
    if not networks[0].is_whole and own.shared:  # the file may be of what the module wraps
        inner = OwnKeys(module, inner=True)
        wrapped = find_networks(entries, inner, only)
        networks = wrapped if wrapped[0].is_whole else networks
    network = networks[0]
    if not network.is_whole:
        raise InputError(_faults(network, own, file, only))
    rivals = [other for other in networks[1:] if other.averaged == network.averaged]
    if any(not network.equals(other) for other in rivals):
        names = ", ".join(repr(rival.place or "the file itself") for rival in [network, *rivals])
        raise InputError(
            f"{file} holds {len(rivals) + 1} networks that fit {type(module).__name__}: {names}; "
            f"name one, as in {file.name}{PLACE_MARK}{rivals[-1].place}"
        )
    _check_values(network, own, file)
    module.load_state_dict(network.tensors, strict=False)
    _add_notes(network, networks[1:], file)


def _place_in(path: Path) -> tuple[Path, str | None]:
    file, mark, place = str(path).rpartition(PLACE_MARK)
    return (Path(file), place) if mark and not path.is_file() else (path, None)


def _faults(network: Network, own: OwnKeys, file: Path, only: str | None) -> str:
    wrong = [
        f"{key} {_size(network.tensors[key])} instead of {_size(own.tensors[key])}"
        for key in network.wrong
    ]
    faults = [
        ("missing", network.missing),
        ("unexpected", network.unexpected),
        ("wrong shape", wrong),
    ]
    text = "; ".join(f"{word}: {_first(names)}" for word, names in faults if names)
    where = f" under {network.place!r}" if network.place else ""
    asked = "" if only is None else f"{PLACE_MARK}{only}"
    return (
        f"{file}{asked} holds weights of another architecture than "
        f"{type(own.module).__name__}{where}: {text}"
    )


def _check_values(network: Network, own: OwnKeys, file: Path) -> None:
    """An `InputError` for tensors that hold no usable numbers."""
    for key, value in network.tensors.items():
        if value.is_meta:
            raise InputError(
                f"{file} was saved from a model on the device meta, without values ({key}); save "
                "it again from the trained model"
            )
        if own.tensors[key].is_floating_point() and not value.is_floating_point():
            raise InputError(
                f"{file} has {key} as {str(value.dtype).removeprefix('torch.')} (a quantised or "
                "complex model); save the weights as floating-point numbers"
            )
        if value.layout != torch.strided:
            raise InputError(f"{file} has {key} as a sparse tensor; save it dense")


def _add_notes(network: Network, others: list[Network], file: Path) -> None:
    """Say what was chosen where the file holds more than the module's own keys."""
    raw = [other.place for other in others if not other.equals(network)]
    if raw:
        names = ", ".join(repr(place or "the file itself") for place in raw)
        add_note(
            f"{file}: the averaged weights (EMA) {network.place!r} are used; beside them is "
            f"{names} ({file.name}{PLACE_MARK}{raw[0]} names that)"
        )
    if network.unused:
        add_note(f"{file}: not the generator's, left out: {_first(network.unused)}")


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _size(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"
