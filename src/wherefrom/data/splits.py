"""Splits and samples of a list that do not depend on the items' order."""

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


def spread_indices(count: int, limit: int) -> list[int]:
    """Rows of at most `limit` of `count` items, spread evenly over their order, rising.

    Every part of a sorted list is represented, as with images sorted by class: the first `limit`
    rows of such a list would be one class.  All rows where `limit` is not below `count`.
    """
    if limit < 1:
        raise InputError(f"a part of {limit} items was asked for; give 1 or more")
    if limit >= count:
        return list(range(count))
    return [row * count // limit for row in range(limit)]


def sample_indices(keys: Sequence[str], limit: int, *, seed: int) -> list[int]:
    """Rows of at most `limit` items, drawn by a hash of content and seed, rising.

    Which items are drawn depends on their keys and the seed alone, not on their names or their
    order, so that a folder sorted by class gives a fair part of each.  Items with one key are drawn
    in their order.  All rows where `limit` is not below their number.
    """
    if limit < 1:
        raise InputError(f"a part of {limit} items was asked for; give 1 or more")
    ranked = sorted(range(len(keys)), key=lambda i: (derive_seed(seed, "sample", keys[i]), i))
    return sorted(ranked[:limit])
