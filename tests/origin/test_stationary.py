"""W from cosine waves: few pairs, fewer origins than columns, any latent grid."""

import math

import pytest
import torch
from latent_model import (
    CHANNELS,
    ENCODER,
    SIDE,
    make_pairs,
    precision,
    raw_precision,
    unseen_queries,
)

from wherefrom.core.errors import InputError
from wherefrom.origin import EditMapConfig, fit_edit_map
from wherefrom.origin.edit_map.pairs import EmbeddedPairs
from wherefrom.origin.edit_map.stationary import fit_waves

GRID = (CHANNELS, SIDE, SIDE)
FEW = 24  # origins, fewer than columns


def naive_waves(shape):
    """Every cosine wave of the grid as a unit row, (n, n), by its definition."""
    c, h, w = shape

    def wave(size, k):
        scale = math.sqrt((1 if k == 0 else 2) / size)
        return [scale * math.cos(math.pi * (i + 0.5) * k / size) for i in range(size)]

    rows = []
    for channel in range(c):
        for u in range(h):
            for v in range(w):
                row = torch.zeros(shape, dtype=torch.float64)
                across = torch.tensor(wave(w, v), dtype=torch.float64)
                row[channel] = torch.tensor(wave(h, u), dtype=torch.float64)[:, None] * across
                rows.append(row.flatten())
    return torch.stack(rows)


def naive_around(values):
    """Means over each 3 x 3 of a grid (c, h, w), at the edges of what there is."""
    _, h, w = values.shape
    out = torch.zeros_like(values)
    for i in range(h):
        for j in range(w):
            near = values[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            out[:, i, j] = near.mean((1, 2))
    return out.flatten()


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_waves_and_their_weights__naive_loop(power):
    shape = (2, 4, 3)
    rng = torch.Generator().manual_seed(1)
    origins = torch.randn(9, 24, generator=rng) * torch.linspace(1, 3, 24)
    owner = torch.tensor([0, 0, 4, 7, 8])
    edits = origins[owner] + torch.randn(5, 24, generator=rng)
    found = fit_waves(
        EmbeddedPairs(origins, edits, owner, encoder=ENCODER),
        shape,
        EditMapConfig(rank=7, power=power),
    )
    waves = naive_waves(shape)
    centred = (origins.double() - origins.double().mean(0)) @ waves.T
    changes = (edits.double() - origins[owner].double()) @ waves.T
    total = naive_around(centred.square().mean(0).view(shape))
    change = naive_around(changes.square().mean(0).view(shape))
    order = sorted(range(24), key=lambda k: -float(total[k] / change[k]))[:7]
    expected = (waves[order] / change[order, None] ** power).T
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_few_pairs_are_enough__identity_better_than_raw():
    origins, edits, owner = make_pairs(FEW, 2, 5)
    config = EditMapConfig(rank=48)
    fitted = fit_edit_map(
        EmbeddedPairs(origins, edits, owner, encoder=ENCODER, latent_shape=GRID), config=config
    )
    pairs = unseen_queries()
    assert fitted.rank > FEW
    assert precision(fitted, pairs) > raw_precision(pairs) + 0.1


def test_it_is_a_matter_of_config_and_shape__identity_settings():
    origins, edits, owner = make_pairs(60, 2, 6)
    config = EditMapConfig(rank=8)
    dense = fit_edit_map(EmbeddedPairs(origins, edits, owner, encoder=ENCODER), config=config)
    waves = fit_edit_map(
        EmbeddedPairs(origins, edits, owner, encoder=ENCODER, latent_shape=GRID), config=config
    )
    off = config.with_values({"stationary": False})
    again = fit_edit_map(
        EmbeddedPairs(origins, edits, owner, encoder=ENCODER, latent_shape=GRID), config=off
    )
    assert torch.equal(dense.weight, again.weight)
    assert not torch.allclose(dense.weight, waves.weight)


def test_rows_may_come_in_any_order__identity_permutation():
    origins, edits, owner = make_pairs(20, 3, 7)
    config = EditMapConfig(rank=5)
    order = torch.randperm(len(edits), generator=torch.Generator().manual_seed(0))
    first = fit_waves(EmbeddedPairs(origins, edits, owner, encoder=ENCODER), GRID, config)
    second = fit_waves(
        EmbeddedPairs(origins, edits[order], owner[order], encoder=ENCODER), GRID, config
    )
    torch.testing.assert_close(first, second, rtol=1e-12, atol=0)


def test_a_grid_of_another_size__rejects_shape():
    origins, edits, owner = make_pairs(8, 1, 8)
    with pytest.raises(InputError, match="latents of 3 x 8 x 8 are not the 128 numbers"):
        fit_waves(
            EmbeddedPairs(origins, edits, owner, encoder=ENCODER),
            (3, SIDE, SIDE),
            EditMapConfig(rank=4),
        )


def test_edits_that_change_nothing__rejects_copies():
    origins, _, owner = make_pairs(8, 1, 9)
    with pytest.raises(InputError, match="every edit equals its origin"):
        fit_waves(
            EmbeddedPairs(origins, origins[owner], owner, encoder=ENCODER),
            GRID,
            EditMapConfig(rank=4),
        )
