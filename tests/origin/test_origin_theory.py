"""The theorems' quantities, as the paper's tables report them."""

import pytest
import torch
from latent_model import CLOSED, ENCODER, make_pairs, training_pairs

from wherefrom.core.errors import InputError
from wherefrom.origin import EditMapConfig, fit_edit_map
from wherefrom.origin.edit_map.pairs import EmbeddedPairs
from wherefrom.origin.edit_map.theory import compare_maps, report_pairs

SINGLE = 1e-5  # float32 against float64


def test_maps_of_two_editors_have_like_singular_values__limit(closed):
    """Table 1: cos(phi) near 1, although the maps differ; and 1 with itself."""
    other = fit_edit_map(
        EmbeddedPairs(*make_pairs(500, 4, 5, kept=(1.5, 4.5)), encoder=ENCODER), config=CLOSED
    )
    assert compare_maps(closed, closed) == pytest.approx(1, abs=SINGLE)
    assert 0.9 < compare_maps(closed, other) < 1
    with pytest.raises(InputError, match="rank 48 and 8"):
        low = fit_edit_map(
            EmbeddedPairs(*make_pairs(20, 2, 0), encoder=ENCODER), config=EditMapConfig(rank=8)
        )
        compare_maps(closed, low)


def test_a_report_needs_pairs__rejects(closed):
    origins, edits, _ = training_pairs()
    with pytest.raises(InputError, match="at least two rows"):
        report_pairs(closed, edits[:1], origins[:1])
    with pytest.raises(InputError, match="but the map has 128"):
        report_pairs(closed, torch.zeros(2, 3), torch.zeros(2, 3))
