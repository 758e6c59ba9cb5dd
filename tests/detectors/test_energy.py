"""Energy and ReAct against scipy, numpy and their limits."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from wherefrom.core.errors import InputError
from wherefrom.detectors.energy import energy, react_cap, rectify

LOGITS = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * 4


@pytest.mark.parametrize("temperature", [0.5, 1.0, 10.0])
def test_energy_is_the_negative_free_energy__reference_scipy(temperature):
    expected = -temperature * logsumexp(LOGITS.double().numpy() / temperature, axis=1)
    result = energy(LOGITS, temperature=temperature)
    assert result.dtype == torch.float64
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-12)


def test_confident_logits_have_less_energy__limit():
    one = torch.zeros(1, 5)
    one[0, 0] = 50
    assert float(energy(one)) == pytest.approx(-50)
    assert float(energy(torch.zeros(1, 5))) == pytest.approx(-math.log(5))
    hot = energy(LOGITS, temperature=1e6)  # all that is left is the mean
    assert torch.allclose(hot + 1e6 * math.log(5), -LOGITS.double().mean(1), atol=1e-3)


def test_energies_of_several_labels_add_up__naive_loop():
    several = torch.stack([LOGITS, LOGITS.flip(0) * 2], dim=1)
    expected = energy(several[:, 0]) + energy(several[:, 1])
    assert torch.equal(energy(several), expected)


def test_the_cap_is_a_quantile_of_all_activations__reference_numpy():
    h = torch.relu(LOGITS)
    assert react_cap(h, 0.9) == pytest.approx(np.quantile(h.numpy(), 0.9))
    assert react_cap(h, 1.0) == math.inf
    cut = rectify(h, 1.5)
    assert float(cut.max()) == 1.5
    assert torch.equal(cut[h < 1.5], h[h < 1.5])
    assert torch.equal(rectify(h, math.inf), h)


def test_unusable_values__rejects_input():
    with pytest.raises(InputError, match="temperature is 0"):
        energy(LOGITS, temperature=0)
    with pytest.raises(InputError, match="expected \\(N, K\\)"):
        energy(LOGITS[0])
    with pytest.raises(InputError, match=r"percentile is 1\.5"):
        react_cap(LOGITS, 1.5)
    with pytest.raises(InputError, match="no activations"):
        react_cap(LOGITS[:0], 0.5)
