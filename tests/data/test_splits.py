"""Splits follow the content, not the order."""

from __future__ import annotations

import pytest

from wherefrom.core.errors import InputError
from wherefrom.data.splits import sample_indices, split_indices, spread_indices

KEYS = [f"sha256:{index:04}" for index in range(60)]
SIZES = {"train": 30, "validation": 10, "test": 15}


def members(keys: list[str], seed: int = 0) -> dict[str, set[str]]:
    return {
        name: {keys[index] for index in indices}
        for name, indices in split_indices(keys, SIZES, seed=seed).items()
    }


def test_splits_are_disjoint_and_of_the_size_asked__closed_form() -> None:
    splits = split_indices(KEYS, SIZES, seed=3)
    assert {name: len(indices) for name, indices in splits.items()} == SIZES
    assert len({index for indices in splits.values() for index in indices}) == sum(SIZES.values())


def test_order_changes_nothing_and_the_seed_does__identity_order() -> None:
    assert members(KEYS[::-1]) == members(KEYS)
    assert members(KEYS, seed=1) != members(KEYS)


def test_every_item_is_as_likely_in_every_split__limit() -> None:
    hits = sum(0 in split_indices(KEYS, SIZES, seed=seed)["train"] for seed in range(400))
    assert abs(hits / 400 - 0.5) < 4 * 0.5 / 20  # four standard deviations of a fair coin


def test_the_assignment_is_frozen__reference_sha256() -> None:
    # sorted(range(6), key=lambda i: hashlib.sha256(f"7\x1fsplit\x1fk{i}".encode()).digest())
    import hashlib

    ranked = sorted(range(6), key=lambda i: hashlib.sha256(f"7\x1fsplit\x1fk{i}".encode()).digest())
    splits = split_indices([f"k{i}" for i in range(6)], {"a": 4, "b": 2}, seed=7)
    assert splits == {"a": ranked[:4], "b": ranked[4:]}


def test_impossible_splits__rejects_sizes() -> None:
    with pytest.raises(InputError, match=r"there are 60 items, but 61 are needed \(61 train\)"):
        split_indices(KEYS, {"train": 61}, seed=0)
    with pytest.raises(InputError, match="'test' has size -1"):
        split_indices(KEYS, {"test": -1}, seed=0)
    with pytest.raises(InputError, match="items 0 and 2 have the same content"):
        split_indices(["a", "b", "a"], {"train": 1}, seed=0)


def test_a_part_of_a_sorted_list_has_every_class__closed_form() -> None:
    classes = [row // 100 for row in range(1000)]  # ten classes, one after another
    spread = [classes[row] for row in spread_indices(1000, 50)]
    assert [spread.count(k) for k in range(10)] == [5] * 10
    assert spread_indices(7, 3) == [0, 2, 4]
    assert spread_indices(3, 3) == spread_indices(3, 9) == [0, 1, 2]
    sampled = [classes[row] for row in sample_indices([str(r) for r in range(1000)], 500, seed=0)]
    # hypergeometric: 50 of each with a deviation of 4.8
    assert all(abs(sampled.count(k) - 50) < 20 for k in range(10))


def test_a_sample_follows_content_and_seed__identity_order() -> None:
    rows = sample_indices(KEYS, 20, seed=1)
    assert rows == sorted(rows) and len(set(rows)) == 20
    turned = sample_indices(KEYS[::-1], 20, seed=1)
    assert {KEYS[row] for row in rows} == {KEYS[::-1][row] for row in turned}
    assert sample_indices(KEYS, 20, seed=2) != rows
    assert sample_indices(["a", "a", "b"], 9, seed=0) == [0, 1, 2]  # equal content is no fault here


def test_a_part_of_nothing__rejects_sizes() -> None:
    with pytest.raises(InputError, match="part of 0 items"):
        spread_indices(5, 0)
    with pytest.raises(InputError, match="part of -1 items"):
        sample_indices(KEYS, -1, seed=0)
