"""Finds one module's weights among all tensors of a checkpoint, whatever they are wrapped in.

All tensors get dotted names, in which nested dictionaries ("state_dict", "generator") and prefixes
of keys ("module.") look the same.  A place is the beginning of such names.  A network is a place
below which all names of the module are found.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from wherefrom.generators.checkpoints.reading import StoredTensor
from wherefrom.generators.checkpoints.reparametrised import by_weight, converted

# Parts of names that wrappers insert: for compiling, several devices, and less memory.
WRAPPERS = frozenset(
    ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"]
)
# Words in a place that mark an averaged copy: g_ema, params_ema, ema_model, swa_state, Gs.
AVERAGED = frozenset(
    [
        *("ema", "ema1", "averaged", "average", "avg", "swa", "shadow", "gs", "polyak", "running"),
        *("smooth", "smoothed"),
    ]
)
# Words in a place that mark what training stores per weight: an optimiser's moments, gradients.
TRAINING = frozenset(
    [
        *("opt", "optim", "optims", "optimizer", "optimizers", "optimiser", "optimisers"),
        *("grad", "grads", "gradient", "gradients"),
    ]
)
# Numbers that training stores beside the weights.
COUNTERS = frozenset(
    ["n_averaged", "num_updates", "decay", "initted", "step", "total_ops", "total_params", "epoch"]
)
# First names of parts that no generator needs: discriminators, losses, metrics.
OTHER_PARTS = re.compile(
    r"(net_?)?(d|discriminator|critic|disc)(_?\w?|\d*)|\w*(loss|criterion|lpips|metrics?|fid|vgg)\w*"
)
UPDATED_ONLY = ("num_batches_tracked", "n_averaged")  # counters that evaluation never reads

Name = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Network:
    """The tensors of a checkpoint at one place, as weights of a module.

    `tensors`: by the module's own key.  `missing`: keys that only the module has.  `unexpected`:
    keys that only the place has.  `unused`: such keys of a loss, a discriminator or a counter.
    `wrong`: keys whose shapes differ.
    """

    place: str
    tensors: dict[str, Tensor]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong: tuple[str, ...]
    unused: tuple[str, ...]
    averaged: int  # how many words of the place and counters say that it is an average

    @property
    def is_whole(self) -> bool:
        """Whether every key fits."""
        return not (self.missing or self.unexpected or self.wrong)

    def equals(self, other: Network) -> bool:
        """Whether both hold the same values."""
        return self.tensors.keys() == other.tensors.keys() and all(
            torch.equal(value, other.tensors[key]) for key, value in self.tensors.items()
        )


class OwnKeys:
    """The keys of a module, in the forms in which they are looked for in a checkpoint.

    `inner`: without the first parts that all keys share, for weights of a network that it wraps.
    """

    def __init__(self, module: nn.Module, *, inner: bool = False) -> None:
        self.module = module
        state = module.state_dict(keep_vars=True)
        self.tensors = {key: item for key, item in state.items() if isinstance(item, Tensor)}
        self.parameters = [key for key, item in module.named_parameters() if key in self.tensors]
        names = {key: bare(key.split(".")) for key in self.tensors}
        if len(set(names.values())) < len(names):
            names = {key: tuple(key.split(".")) for key in self.tensors}
        self.shared = _shared_start(list(names.values()))
        start = self.shared if inner else 0
        self.key_of = {".".join(name[start:]): key for key, name in names.items()}
        self.weights = by_weight(self.key_of)

    @cached_property
    def without_dots(self) -> dict[str, str]:
        """Key without its dots -> key; empty where two keys would become the same."""
        joined = {name.replace(".", ""): name for name in self.key_of}
        return joined if len(joined) == len(self.key_of) else {}

    def layer(self, key: str) -> nn.Module | None:
        """The submodule that has the tensor `key`."""
        owner, normed, _ = f".{key}".partition(".parametrizations.")
        path = owner if normed else f".{key}".rpartition(".")[0]
        try:
            return self.module.get_submodule(path.removeprefix("."))
        except AttributeError:
            return None


def _shared_start(names: Sequence[Name]) -> int:
    """How many first parts all names share; the last part of a name does not count."""
    first, last = min(names, default=()), max(names, default=())
    pairs = zip(first[:-1], last[:-1], strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)) - 1)


def bare(parts: Iterable[str]) -> Name:
    """A dotted name without the parts that wrappers insert."""
    return tuple(part for part in parts if part not in WRAPPERS)


def find_networks(
    entries: Sequence[StoredTensor], own: OwnKeys, only: str | None = None
) -> list[Network]:
    """Every network of the checkpoint that has all keys of the module, averaged copies first.

    With `only` the one at that place.  Where no place has all keys, the result is the one network
    that lacks least.
    """
    if only is None:
        entries = [entry for entry in entries if not _is_of_training(entry)] or entries
    flat = _flattened(entries, own)
    weights = by_weight(flat)
    places: dict[str, set[str]] = {}
    for weight in weights:
        for place, name in _splits(weight):
            if name in own.weights and only in (None, place):
                places.setdefault(place, set()).add(name)
    if not places:
        places[_largest(flat) if only is None else only] = set()
    most = max(map(len, places.values()))
    needed = {name for name, parts in own.weights.items() if _is_needed(parts, own)}
    whole = [place for place, names in places.items() if needed <= names]
    close = whole or [place for place, names in places.items() if len(names) == most]
    networks = [_network(place, flat, weights, own) for place in close]
    raw = next((network for network in networks if network.is_whole and not network.averaged), None)
    networks = [_with_buffers(network, raw, own) for network in networks]
    fitting = [network for network in networks if network.is_whole]
    if fitting:
        return sorted(fitting, key=lambda network: -network.averaged)
    return [min(networks, key=lambda network: len(network.missing) + len(network.wrong))]


def _is_of_training(entry: StoredTensor) -> bool:
    """Whether it is an optimiser's moment or a gradient."""
    return any(word in TRAINING for part in entry.place for word in _words(part))


def _with_buffers(network: Network, raw: Network | None, own: OwnKeys) -> Network:
    """The network; an average that has no buffers gets those of the raw copy."""
    if raw is None or not network.averaged or set(network.missing) & set(own.parameters):
        return network
    more = {key: raw.tensors[key] for key in network.missing}
    return replace(network, tensors={**network.tensors, **more}, missing=())


def _is_needed(parts: dict[str, str], own: OwnKeys) -> bool:
    # Averages of parameters alone leave the buffers to the raw copy.
    return any(own.key_of[name] in own.parameters for name in parts.values())


def _splits(name: str) -> Iterable[tuple[str, str]]:
    """Each way to split a dotted name into a place and a rest."""
    yield "", name
    start = name.find(".")
    while start >= 0:
        yield name[:start], name[start + 1 :]
        start = name.find(".", start + 1)


def _above(place: str) -> list[str]:
    """All beginnings of a place, the empty one and the place itself included."""
    parts = place.split(".") if place else []
    return [".".join(parts[:count]) for count in range(len(parts) + 1)]


def _flattened(entries: Sequence[StoredTensor], own: OwnKeys) -> dict[str, StoredTensor]:
    """The tensors by bare dotted name; keys without dots, and lists, get the module's names."""
    flat: dict[str, StoredTensor] = {}
    for entry in [*entries, *_lists_in_order(entries, own)]:
        parts = [*entry.place, *entry.name.split(".")]
        if parts[-1] in own.without_dots and len(parts) > 1:
            parts[-1:] = own.without_dots[parts[-1]].split(".")
        name = ".".join(bare(parts))
        flat.setdefault(name if name not in flat else ".".join(parts), entry)
    return flat


def _lists_in_order(entries: Sequence[StoredTensor], own: OwnKeys) -> Iterable[StoredTensor]:
    """The tensors of every list that has the parameters' shapes, with the parameters' names."""
    lists: dict[Name, list[StoredTensor]] = {}
    for entry in entries:
        if entry.in_list:
            lists.setdefault(entry.place, []).append(entry)
    shapes = [own.tensors[key].shape for key in own.parameters]
    for place, items in lists.items():
        if [item.value.shape for item in items] == shapes:
            for key, item in zip(own.parameters, items, strict=True):
                yield StoredTensor(place, key, item.value)


def _largest(flat: dict[str, StoredTensor]) -> str:
    places = Counter(".".join(bare(entry.place)) for entry in flat.values())
    return places.most_common(1)[0][0]


def _network(
    place: str, flat: dict[str, StoredTensor], weights: dict[str, dict[str, str]], own: OwnKeys
) -> Network:
    start = f"{place}." if place else ""
    tensors: dict[str, Tensor] = {}
    missing: list[str] = []
    used: set[str] = set()
    for weight, own_parts in own.weights.items():
        keys = weights.get(start + weight, {})
        given = {part: flat[key].value for part, key in keys.items()}
        used.update(keys.values())
        own_keys = {part: own.key_of[name] for part, name in own_parts.items()}
        present = {part: own.tensors[key] for part, key in own_keys.items()}
        layer = own.layer(next(iter(own_keys.values())))
        fitted = converted(given, present, layer) if given else None
        for part, key in own_keys.items():
            if fitted is not None:
                tensors[key] = fitted[part]
            elif not key.endswith(UPDATED_ONLY):
                missing.append(key)
    # Where no key fits, all of the place are foreign.
    homes = {flat[key].place for key in used or flat}
    over = [
        (key.removeprefix(start), entry)
        for key, entry in flat.items()
        if entry.place in homes and key.startswith(start) and key not in used and not entry.in_list
    ]
    unused = [key for key, _ in over if _is_other(key)]
    counted = sum(f"{above}.n_averaged".removeprefix(".") in flat for above in _above(place))
    return Network(
        place,
        tensors,
        tuple(missing),
        tuple(key for key, _ in over if key not in unused),
        tuple(key for key, value in tensors.items() if value.shape != own.tensors[key].shape),
        tuple(unused),
        counted + sum(word in AVERAGED for word in _words(place)),
    )


def _is_other(key: str) -> bool:
    first, _, rest = key.partition(".")
    if not rest:
        return first in COUNTERS
    return key.rpartition(".")[2] in COUNTERS or bool(OTHER_PARTS.fullmatch(first.lower()))


def _words(place: str) -> list[str]:
    return re.split(r"[^a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", place).lower())
