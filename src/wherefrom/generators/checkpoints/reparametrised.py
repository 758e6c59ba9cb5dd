"""Weights that a file and a module keep in different forms: weight_norm, spectral_norm, pruning.

Each form is the same weight W of a layer in parts:

    plain           W
    weight_norm     g, v      W = g v / ||v||, the norm over the axes on which g has the size 1
    spectral_norm   w, u, t   W = w / (u' w_mat t), as in evaluation mode
    pruning         w, mask   W = w mask

The keys of `torch.nn.utils` (weight_g, weight_v, weight_orig, weight_u) and of
`torch.nn.utils.parametrizations` (parametrizations.weight.original0, ...) name the same parts.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping

import torch
from torch import Tensor, nn

PLAIN = ""
WEIGHT_NORM = frozenset({"g", "v"})
SPECTRAL_NORM = frozenset({"w", "u", "t"})
PRUNED = frozenset({"w", "mask"})
FORMS = (frozenset({PLAIN}), WEIGHT_NORM, SPECTRAL_NORM, PRUNED)

_NEW = re.compile(r"((?:.*\.)?)parametrizations\.(\w+)\.(original[01]?|0\._[uv])")
_NEW_NORM = {"original0": "g", "original1": "v"}
_NEW_SPECTRAL = {"original": "w", "0._u": "u", "0._v": "t"}
_OLD = re.compile(r"(.+)_(g|v|orig|u|mask)")
_OLD_SPECTRAL = {"orig": "w", "u": "u", "v": "t"}
_OLD_PRUNED = {"orig": "w", "mask": "mask"}


def part_of(key: str, keys: Container[str]) -> tuple[str, str]:
    """The weight that a key of a state dict belongs to, and which part of it; `keys`: all of them.

    A plain weight gives (key, PLAIN); "0.weight_g" beside "0.weight_v" gives ("0.weight", "g").
    """
    return _new_part(key, keys) or _old_part(key, keys) or (key, PLAIN)


def _new_part(key: str, keys: Container[str]) -> tuple[str, str] | None:
    match = _NEW.fullmatch(key)
    if match is None:
        return None
    weight, root, tail = match[1] + match[2], f"{match[1]}parametrizations.{match[2]}.", match[3]
    if tail in _NEW_NORM and root + "original0" in keys and root + "original1" in keys:
        return weight, _NEW_NORM[tail]
    if tail in _NEW_SPECTRAL and root + "0._u" in keys and root + "original" in keys:
        return weight, _NEW_SPECTRAL[tail]
    return None


def _old_part(key: str, keys: Container[str]) -> tuple[str, str] | None:
    match = _OLD.fullmatch(key)
    if match is None:
        return None
    weight, tail = match[1], match[2]
    if weight + "_orig" in keys:
        names = _OLD_SPECTRAL if weight + "_u" in keys else _OLD_PRUNED
        return (weight, names[tail]) if tail in names else None
    is_norm = weight + "_g" in keys and weight + "_v" in keys
    return (weight, tail) if is_norm and tail in ("g", "v") else None


def by_weight(keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """Weight -> part -> key, of the keys of one state dict."""
    known = dict.fromkeys(keys)
    weights: dict[str, dict[str, str]] = {}
    for key in known:
        weight, part = part_of(key, known)
        weights.setdefault(weight, {})[part] = key
    return weights


def converted(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], layer: nn.Module | None
) -> dict[str, Tensor] | None:
    """The parts `own` of a weight from the parts `given` of it; None where they do not suffice.

    `own` holds the module's present tensors, whose shapes decide the axes.  `layer` is the module
    that has the weight.  Parts of the same form are passed on unchanged, whatever their shape.
    """
    if own.keys() <= given.keys():
        return {part: given[part] for part in own}
    weight, parts = _plain(given, layer), frozenset(own)
    main = next((part for part in (PLAIN, "v", "w") if part in parts), PLAIN)
    if weight is None or parts not in FORMS or (main and weight.shape != own[main].shape):
        return None
    if parts == {PLAIN}:
        return {PLAIN: weight}
    if parts == WEIGHT_NORM:
        return {"g": _norm(weight, own["g"]), "v": weight}
    if parts == PRUNED:
        return {"w": weight, "mask": torch.ones_like(own["mask"])}
    return _divided_by_one(weight, own, layer)


def _plain(given: Mapping[str, Tensor], layer: nn.Module | None) -> Tensor | None:
    parts = frozenset(given)
    if PLAIN in parts:
        return given[PLAIN]
    exact = {part: value.double() for part, value in given.items()}
    if parts >= WEIGHT_NORM and exact["g"].ndim in (0, exact["v"].ndim):
        return (exact["v"] * (exact["g"] / _norm(exact["v"], exact["g"]))).float()
    if parts >= PRUNED:
        return (exact["w"] * exact["mask"]).float()
    if parts >= SPECTRAL_NORM:
        matrix = _matrix(exact["w"], exact["u"], layer)
        if matrix is not None and matrix.shape == (len(exact["u"]), len(exact["t"])):
            return (exact["w"] / (exact["u"] @ matrix @ exact["t"])).float()
    return None


def _norm(weight: Tensor, gain: Tensor) -> Tensor:
    """The norms (shape of `gain`) over the axes on which the gain has the size 1."""
    value = weight.double()
    axes = [axis for axis in range(value.ndim) if gain.ndim == 0 or gain.shape[axis] == 1]
    norm = value.square().sum(axes, keepdim=True).sqrt() if axes else value.abs()
    return norm.reshape(gain.shape) if gain.ndim == 0 else norm


def _matrix(weight: Tensor, u: Tensor, layer: nn.Module | None) -> Tensor | None:
    """The weight as a matrix with a row per entry of `u`: per output channel, which is the second
    axis of a transposed convolution; None where the sizes differ.
    """
    is_transposed = isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    axis = 1 if is_transposed else 0
    if weight.ndim < 2 or weight.shape[axis] != u.numel():
        return None
    return weight.movedim(axis, 0).flatten(1)


def _divided_by_one(
    weight: Tensor, own: Mapping[str, Tensor], layer: nn.Module | None
) -> dict[str, Tensor] | None:
    """Parts of spectral_norm whose quotient is `weight` itself: u' W t = 1."""
    u = own["u"].double()
    matrix = _matrix(weight.double(), u, layer)
    if matrix is None or not len(u):
        return None
    along = matrix.T @ u
    length = float(along @ along)
    if not length:  # no divisor of a weight of zeros is defined
        return None
    return {"w": weight, "u": own["u"], "t": (along / length).float()}
