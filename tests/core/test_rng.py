"""Seeds: frozen values, because a changed one would change every published number."""

import itertools

import pytest
import torch

from wherefrom.core.rng import derive_seed, stream


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        # printf '0\x1fz\x1f17' | sha256sum and its like: the first 16 hex digits, shifted right
        # by one bit.
        ((0,), 0x5FECEB66FFC86F38 >> 1),
        ((0, "z", 17), 0x9314ABF2D797B1D7 >> 1),
        ((5, "anomaly", "a.png"), 0xD13254CFF152A8CC >> 1),
    ],
)
def test_seeds_are_the_first_63_bits_of_sha256__reference_sha256sum(path, expected):
    assert derive_seed(*path) == expected


def test_a_path_is_not_its_text_joined__identity_separation():
    paths = [(1, "a", "b"), (1, "ab"), (1, "a", "b", ""), (11, "b"), (1, "b", "a"), (1,), (1, "")]
    assert len({derive_seed(*path) for path in paths}) == len(paths)


def test_seeds_fit_the_generator__limit():
    seeds = [derive_seed(s, s) for s in (0, 1, 2**63 - 1, -1, 10**30)]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_streams_do_not_depend_on_order_or_the_global_seed__identity_independence():
    def draw(item):
        return torch.randn(4, generator=stream(3, "image", item))

    forward = [draw(i) for i in range(4)]
    torch.manual_seed(99)
    torch.rand(7)
    backward = [draw(i) for i in reversed(range(4))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(forward, 2))


def test_streams_leave_the_global_state_alone__identity_global_state():
    before = torch.random.get_rng_state()
    torch.rand(3, generator=stream(0, "x"))
    assert torch.equal(before, torch.random.get_rng_state())
