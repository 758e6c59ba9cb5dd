"""Disjoint splits that follow an item's content, not its name or place in a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed


def split_indices(
    keys: Sequence[str], sizes: Mapping[str, int], *, seed: int
) -> dict[str, list[int]]:
    """Indices into `keys` for each named split, disjoint, of exactly the sizes asked for.

    The items are ranked by a hash of key and seed, and the splits are cut off in the order of
    `sizes`; shuffling `keys` therefore moves no item to another split.  Equal keys would put one
    image on both sides and are refused, as are negative sizes and too few items (`InputError`).
    """
    negative = [name for name, size in sizes.items() if size < 0]
    if negative:
        raise InputError(f"the split {negative[0]!r} has size {sizes[negative[0]]}; give 0 or more")
    needed = sum(sizes.values())
    if needed > len(keys):
        parts = ", ".join(f"{size} {name}" for name, size in sizes.items())
        raise InputError(f"there are {len(keys)} items, but {needed} are needed ({parts})")
    first: dict[str, int] = {}
    for index, key in enumerate(keys):
        if first.setdefault(key, index) != index:
            raise InputError(
                f"items {first[key]} and {index} have the same content ({key}); "
                "remove the duplicates before splitting"
            )
    ranked = sorted(range(len(keys)), key=lambda i: (derive_seed(seed, "split", keys[i]), keys[i]))
    splits, start = {}, 0
    for name, size in sizes.items():
        splits[name] = ranked[start : start + size]
        start += size
    return splits
