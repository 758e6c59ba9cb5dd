"""MNIST-C's ten kinds at their stated severities, mixing, and the twelve sets."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.data import save_png
from wherefrom.data.altering.mnist_corruptions import (
    MNIST_CORRUPTIONS,
    MUD,
    mnist_corrupt,
    near_out,
    plasma,
)
from wherefrom.data.altering.out_sets import mnist_out_sets, read_mnist_c

HALF_STEP = 0.5 / 255  # rounding to 8 bits
KEYS = ["a", "b"]


def strokes(side=28, channels=1):
    """Two smooth bright shapes on black."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, channels, 6, 6, generator=rng)
    return F.interpolate(coarse, side, mode="bicubic").sub(0.4).mul(2).clamp(0, 1)


def flat(value, side=28, count=1):
    return torch.full((count, 1, side, side), value)


def changed(kind, images, key="k"):
    return mnist_corrupt(images, kind, keys=[f"{key}{i}" for i in range(len(images))])


@pytest.mark.parametrize("kind", MNIST_CORRUPTIONS)
@pytest.mark.parametrize(("side", "channels"), [(28, 1), (40, 3)])
def test_damage_follows_the_key_not_the_place__identity_order(kind, side, channels):
    images = strokes(side, channels)
    both = mnist_corrupt(images, kind, keys=KEYS)
    turned = mnist_corrupt(images.flip(0), kind, keys=KEYS[::-1])
    assert torch.equal(both, turned.flip(0))
    assert torch.equal((both * 255).round() / 255, both)
    assert 0 < float((both - images).abs().mean()) < 0.7
    assert both.min() >= 0 and both.max() <= 1
    other = mnist_corrupt(images, kind, keys=["c", "d"])
    assert torch.equal(other, both) == (kind in ("stripe", "canny_edges"))


def test_shot_noise_counts_three_photons_at_most__closed_form():
    damaged = changed("shot_noise", flat(1 / 3, count=20))
    shares = [(damaged * 3).round().eq(k).float().mean() for k in range(4)]
    poisson = [math.exp(-1), math.exp(-1), math.exp(-1) / 2]
    for share, expected in zip(shares, [*poisson, 1 - sum(poisson)], strict=True):
        assert float(share) == pytest.approx(expected, abs=0.02)


def test_impulses_are_17_percent_half_of_them_white__closed_form():
    damaged = changed("impulse_noise", flat(0.5, count=20))
    assert float((damaged == 1).float().mean()) == pytest.approx(0.085, abs=0.01)
    assert float((damaged == 0).float().mean()) == pytest.approx(0.085, abs=0.01)


def test_stripes_invert_seven_columns_at_each_side__closed_form():
    images = (strokes() * 255).round() / 255
    damaged = changed("stripe", images)
    assert torch.equal(damaged[..., 7:21], images[..., 7:21])
    assert torch.allclose(damaged[..., :7], 1 - images[..., :7], atol=1e-6)
    assert torch.allclose(damaged[..., 21:], 1 - images[..., 21:], atol=1e-6)


@pytest.mark.parametrize("kind", ["glass_blur", "motion_blur"])
def test_blurs_leave_a_flat_image__closed_form(kind):
    assert torch.equal(changed(kind, flat(51 / 255)), flat(51 / 255))


def test_glass_moves_pixels_down_by_one_a_pass_and_up_or_left_by_more__closed_form():
    dot = flat(0.0)
    dot[0, 0, 14, 14] = 1
    damaged = torch.cat([changed("glass_blur", dot, key=str(i)) for i in range(30)])
    rows = torch.arange(28.0)
    mass = damaged.sum(dim=(1, 2, 3))
    assert torch.allclose(mass, torch.ones(30), atol=0.1)  # moved, not made
    centres = (damaged.sum(dim=(1, 3)) * rows).sum(1) / mass
    assert float(centres.max()) < 14 + 2 and float(centres.min()) < 14 - 0.5
    assert float(centres.std()) > 0.2  # blurs alone would give 14 every time


def test_motion_blur_is_a_one_sided_gaussian__closed_form():
    dot = flat(0.0)
    dot[0, 0, 14, 20] = 1
    damaged = changed("motion_blur", dot)[0, 0]
    weights = np.exp(-0.5 * (np.arange(21) / 3) ** 2)
    assert float(damaged[14, 20]) == pytest.approx(weights[0] / weights.sum(), abs=HALF_STEP + 1e-6)
    assert float(damaged.sum()) == pytest.approx(1, abs=21 * HALF_STEP)
    assert float(damaged[:, 21:].sum()) == 0  # all of it on one side, within 45 degrees
    rows, columns = damaged.nonzero().unbind(1)
    assert bool(((rows - 14).abs() <= (20 - columns)).all())


def test_fog_lightens_by_its_height_map__closed_form():
    assert torch.equal(changed("fog", flat(0.0)), flat(0.0))  # no light to scatter
    white, grey = changed("fog", flat(1.0)), flat(1.0)
    grey[..., 5:10] = 0.2
    assert float(white.min()) >= 0.25 and float(white.max()) <= 1
    lost = white - changed("fog", grey)  # (1 - 0.2) / (1 + 3)
    assert torch.allclose(lost[..., 5:10], torch.tensor(0.2), atol=2 * HALF_STEP + 1e-6)


def test_new_heights_are_means_of_their_corners__naive_loop():
    damaged = plasma(torch.Generator().manual_seed(1), side=16, decay=1e8)
    for row in range(1, 16, 2):
        for column in range(1, 16, 2):
            corners = [damaged[(row + a) % 16, (column + b) % 16] for a in (-1, 1) for b in (-1, 1)]
            assert damaged[row, column] == pytest.approx(sum(corners) / 4, abs=1e-9)
            sides = [damaged[row - 1, column - 1], damaged[row - 1, (column + 1) % 16]]
            sides += [damaged[row, column], damaged[row - 2, column]]
            assert damaged[row - 1, column] == pytest.approx(sum(sides) / 4, abs=1e-9)
    assert damaged.min() == 0 and damaged.max() == 1


def test_mud_covers_what_it_falls_on__closed_form():
    on_black, on_white = changed("spatter", flat(0.0)), changed("spatter", flat(1.0))
    share = on_black / MUD
    assert torch.allclose(on_white, 1 - share + on_black, atol=0.02)
    assert 0 < float((share > 0).float().mean()) < 0.6
    assert float(share[share > 0].min()) >= 0.8 - 0.02


def test_every_second_pair_of_columns_is_dotted__closed_form():
    drawn = changed("dotted_line", flat(0.0))[0, 0]
    pairs = torch.arange(28) // 2 % 2 == 0
    assert float(drawn[:, pairs].abs().max()) == 0
    assert drawn[:, ~pairs][:, :-1].max(dim=0).values.min() > math.log(1 - 0.5 / 2.3) + 1 - 0.01
    on_grey = changed("dotted_line", flat(0.5))[0, 0]
    assert torch.allclose(on_grey, (drawn + 0.5).clamp_max(1), atol=3 * HALF_STEP)


def test_zigzags_are_waves_of_height_two__closed_form():
    for key in range(20):
        drawn = changed("zigzag", flat(0.0, side=84), key=str(key))[0, 0]
        lit = drawn.any(dim=0).nonzero()[:, 0]
        assert lit.min() >= 3 * 1 and lit.max() < 84
        rows = torch.arange(84.0)[:, None]
        centre = ((drawn * rows).sum(0) / drawn.sum(0))[lit] / 3
        inner = centre[6:-12]
        if drawn[0].any() or drawn[-1].any():
            continue  # the border cuts the wave
        slope = (inner[-1] - inner[0]) / len(inner)
        off = inner - inner[0] - slope * torch.arange(len(inner))
        assert 3 < float(off.max() - off.min()) < 5.5


@pytest.mark.parametrize("kind", ["dotted_line", "zigzag"])
def test_strokes_look_alike_at_twice_the_size__identity_scale(kind):
    small, large = changed(kind, flat(0.0)), changed(kind, flat(0.0, side=56))
    assert torch.equal(large[..., ::2, ::2], small)


def test_edges_are_a_white_outline__closed_form():
    square = flat(0.0)
    square[..., 8:20, 8:20] = 1
    damaged = changed("canny_edges", square)[0, 0]
    assert set(damaged.unique().tolist()) == {0.0, 1.0}
    assert float(damaged[11:17, 11:17].sum()) == 0 and float(damaged[:5].sum()) == 0
    assert damaged.sum() > 36
    assert torch.equal(changed("canny_edges", flat(0.4)), flat(0.0))


def test_mixing_weighs_far_and_own__closed_form():
    far, own = torch.rand(2, 3, 1, 8, 8).unbind(0)
    assert torch.allclose(near_out(far, own, 0.1), own + 0.1 * (far - own))
    assert torch.equal(near_out(far, own, 1.0), far)
    with pytest.raises(InputError, match="intensity is 0"):
        near_out(far, own, 0.0)
    with pytest.raises(InputError, match="cannot be mixed"):
        near_out(far[:2], own, 0.5)


def test_unusable_requests__rejects_input():
    with pytest.raises(InputError, match="choose one of shot_noise"):
        mnist_corrupt(strokes(), "snow", keys=KEYS)
    with pytest.raises(InputError, match="1 keys"):
        mnist_corrupt(strokes(), "fog", keys=["a"])
    with pytest.raises(InputError, match="from 8 px"):
        mnist_corrupt(flat(0.0, side=4), "fog", keys=["a"])


def test_twelve_sets_pair_what_belongs_together__identity_rows(tmp_path):
    digits = (strokes() * 255).byte()
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (5, 28, 28, 1), dtype=np.uint8)
    np.savez(tmp_path / "cloth.npz", images=pictures)
    (tmp_path / "kana").mkdir()
    save_png(torch.full((1, 14, 14), 200, dtype=torch.uint8), tmp_path / "kana" / "a.png")
    foreign = {"cloth": tmp_path / "cloth.npz", "kana": tmp_path / "kana"}
    sets = {s.name: s for s in mnist_out_sets(digits, [3, 7], foreign=foreign)}
    assert [*sets] == [*MNIST_CORRUPTIONS, "cloth", "kana"]
    assert all(s.images.shape == (2, 1, 32, 32) for s in sets.values())
    border = torch.ones(32, 32, dtype=torch.bool)
    border[2:-2, 2:-2] = False
    assert all(float(s.images[:, :, border].abs().max()) == 0 for s in sets.values())
    alone = mnist_corrupt(digits[1:] / 255, "fog", keys=["7"])
    assert torch.equal(sets["fog"].images[1:, :, 2:-2, 2:-2], alone)
    damaged = (sets["cloth"].images[:, 0, 2:-2, 2:-2] * 255).byte().numpy()
    assert np.array_equal(damaged, pictures[[3, 7 % 5], :, :, 0])
    assert [s.paired for s in sets.values()] == [True] * 10 + [False] * 2


def test_the_published_set_is_read_by_index__roundtrip(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 28, 28, 1), dtype=np.uint8)
    for kind in MNIST_CORRUPTIONS:
        (tmp_path / kind).mkdir()
        np.save(tmp_path / kind / "test_images.npy", images)
    digits = (strokes() * 255).byte()
    first = next(mnist_out_sets(digits, [8, 2], foreign={}, published=tmp_path))
    read = (first.images[:, 0, 2:-2, 2:-2] * 255).round().byte().numpy()
    assert np.array_equal(read, images[[8, 2], :, :, 0])
    assert "published" in first.origin
    with pytest.raises(InputError, match="9 images"):
        next(mnist_out_sets(digits, [8, 9], foreign={}, published=tmp_path))


def test_foreign_files__rejects_damage(tmp_path):
    (tmp_path / "fog").mkdir()
    path = tmp_path / "fog" / "test_images.npy"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"not a readable \.npy"):
        read_mnist_c(tmp_path, "fog")
    np.save(path, np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(InputError, match=r"expected uint8 \(N, 28, 28, 1\)"):
        read_mnist_c(tmp_path, "fog")
    with pytest.raises(InputError, match="no such file"):
        read_mnist_c(tmp_path, "stripe")
