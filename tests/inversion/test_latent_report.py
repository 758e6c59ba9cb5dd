"""Reconstruction, spectrum and edits of an inverter that is known in closed form."""

import math

import pytest
import torch
from linear_inverter import CODE, linear_inverter

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.inversion.codes.editing import (
    edit,
    edit_along,
    edit_attribute,
    find_direction,
    standardised,
)
from wherefrom.inversion.codes.latent_report import (
    largest_gap,
    pruned_codes,
    report_latents,
    traversal_sheet,
)
from wherefrom.inversion.codes.reconstruction import reconstruct

V = torch.tensor([0.02, 0.9, 0.7, 0.03, 0.8, 0.025])


def codes(count, name="z"):
    """Standard normal, but too far out for no pixel to be clipped."""
    return torch.randn(count, CODE, generator=stream(0, name)).clamp(-2, 2)


def test_pictures_come_back_whole__closed_form():
    fitted = linear_inverter(V)
    z = codes(5)
    images = fitted.decode(z)
    torch.testing.assert_close(fitted.encode(images), z, atol=1e-3, rtol=0)
    result = reconstruct(fitted, images)
    assert float(result.psnr.min()) > 80
    assert result.to_dict()["mean_ssim"] == pytest.approx(1, abs=1e-5)
    assert result.grid(columns=2).shape == (1, 3 * 8 + 2 * 2, 4 * 8 + 3 * 2)
    assert float(reconstruct(fitted, fitted.sample(3, seed=0)).psnr.min()) > 60


def test_a_picture_beyond_the_patterns_does_not__limit():
    fitted = linear_inverter(V)
    noise = torch.rand(3, 1, 8, 8, generator=stream(0, "noise"))
    assert float(reconstruct(fitted, noise).psnr.max()) < 20


def test_the_gap_splits_the_spectrum__closed_form():
    report = report_latents(linear_inverter(V))
    assert report.live == 3
    assert report.live_dimensions == (1, 4, 2)
    assert report.gap == pytest.approx(0.7 / 0.03)
    assert report.clear
    total, squares = float(V.sum()), float(V.square().sum())
    assert report.effective == pytest.approx(total**2 / squares)
    s = [math.sqrt(6 * v / total) for v in V.tolist()]
    entropy = sum(math.log(x * math.sqrt(2 * math.pi * math.e)) for x in s)
    assert report.entropy == pytest.approx(entropy, rel=1e-5)
    assert report.to_dict()["of"] == 6


def test_a_smooth_spectrum_has_no_gap__limit():
    report = report_latents(linear_inverter(torch.linspace(0.5, 1.0, 6)))
    assert not report.clear
    assert report.live == 6
    assert largest_gap(torch.ones(1)) == (1, 1.0)


def test_one_dead_dimension_does_not_hide_the_gap__closed_form():
    live, weak = torch.full((5,), 0.8), torch.full((9,), 0.01)
    spectrum = torch.cat([live, weak, torch.tensor([1e-11])])
    assert largest_gap(spectrum) == (5, pytest.approx(80))
    dead_only = torch.cat([live, torch.tensor([1e-11])])
    assert largest_gap(dead_only) == (5, pytest.approx(1000))


def test_cutting_the_code_costs_what_the_patterns_weigh__closed_form():
    """Patterns are orthogonal: the squared error is that of the dropped (z o s)."""
    fitted = linear_inverter(V)
    z = codes(4)
    images = fitted.decode(z)
    report = report_latents(fitted, images, keep=[1])
    order = report.order
    for kept, found in report.pruned:
        if kept == 6:
            continue
        dropped = list(order[kept:])
        errors = (0.05 * z * fitted.scale)[:, dropped].square().sum(dim=1).double() / 64
        expected = float((-10 * errors.log10()).mean())
        assert found == pytest.approx(expected, abs=0.01)
    assert [kept for kept, _ in report.pruned] == [1, 3, 6]
    cut = pruned_codes(fitted, z, [2])
    assert torch.equal(cut[:, 2], z[:, 2])
    assert not bool(cut[:, [0, 1, 3, 4, 5]].any())


def test_a_traversal_moves_one_dimension__closed_form():
    fitted = linear_inverter(V)
    sheet = traversal_sheet(fitted, [1, 4], steps=3)
    assert sheet.shape == (1, 2 * 8 + 2, 3 * 8 + 2 * 2)
    code = torch.zeros(1, CODE)
    code[0, 4] = 2 * V[4].sqrt()
    expected = (fitted.decode(code)[0] * 255).round().byte()
    assert torch.equal(sheet[:, 10:, 20:], expected)
    with pytest.raises(InputError, match="at least 2 steps"):
        traversal_sheet(fitted, [1], steps=1)


def attributes(overlap=0.0):
    """Two binary attributes; the second leans towards the first by `overlap`."""
    w = torch.randn(CODE, 2, generator=stream(0, "w"))
    w[:, 0] /= w[:, 0].norm()
    w[:, 1] -= (w[:, 0] @ w[:, 1]) * w[:, 0]
    w[:, 1] = overlap * w[:, 0] + (1 - overlap**2) ** 0.5 * w[:, 1] / w[:, 1].norm()
    w = w * CODE**0.5 / 2  # scores from -1 to 1 are ordinary codes
    return linear_inverter(
        V, method="aedlsgan", directions=torch.stack([-w, w], dim=2), contrast=0.02
    )


@pytest.mark.parametrize("overlap", [0.0, 0.6])
def test_an_attribute_reaches_its_scores_and_leaks_by_the_cosine__closed_form(overlap):
    fitted = attributes(overlap)
    image = fitted.decode(codes(1) / 2)[0]
    result = edit_attribute(fitted, image, label=0, wanted=1, steps=5)
    assert result.positions == pytest.approx((-1, -0.5, 0, 0.5, 1))
    assert result.reached == pytest.approx(result.positions, abs=0.01)
    # along w the other score moves by cos, as both w are of one length
    assert result.leakage == {"attribute 1": pytest.approx(overlap, abs=0.01)}
    assert result.strip().shape == (1, 8, 7 * 8 + 6 * 2)
    opposite = edit_attribute(fitted, image, label=0, wanted=0, steps=5)
    torch.testing.assert_close(opposite.images, result.images.flip(0))


def test_attributes_that_are_not_there__rejects():
    with pytest.raises(InputError, match="trained without attributes"):
        edit_attribute(linear_inverter(V), torch.zeros(1, 8, 8))
    with pytest.raises(InputError, match="this model has 2 attributes of 2 classes"):
        edit_attribute(attributes(), torch.zeros(1, 8, 8), label=2)


def sides(fitted, *dimensions, count=30, by=1.0, name="s"):
    """Pictures without and with: their standardised codes differ by 2 `by` in some dimensions."""
    y = 0.3 * codes(2 * count, name)
    for dimension in dimensions:
        y[:count, dimension] -= by
        y[count:, dimension] += by
    images = fitted.decode(y * fitted.trace.sqrt())
    return images[count:], images[:count]


def test_a_direction_is_what_two_sets_differ_in__closed_form():
    fitted = linear_inverter(V)
    direction = find_direction(fitted, *sides(fitted, 1))
    assert float(direction.vector[1]) > 0.98
    assert float(direction.vector.norm()) == pytest.approx(1)
    assert not bool(direction.vector[[0, 3, 5]].any())  # they do not live
    image = fitted.decode(torch.zeros(1, CODE))[0]
    result = edit_along(fitted, image, direction, steps=3)
    assert result.reached == pytest.approx((-1, 0, 1), abs=0.01)
    y = standardised(fitted, fitted.encode(result.images))
    assert float(y[2, 1]) == pytest.approx(1, abs=0.15)
    torch.testing.assert_close(result.recovered, image, atol=1e-4, rtol=0)


def test_what_is_kept_stays__closed_form():
    """The examples differ in two dimensions; one of them is known, and is projected out."""
    fitted = linear_inverter(V)
    known = find_direction(fitted, *sides(fitted, 4, name="known"))
    both = sides(fitted, 1, 4, name="both")
    free, bound = find_direction(fitted, *both), find_direction(fitted, *both, keep={"k": known})
    image = fitted.decode(torch.zeros(1, CODE))[0]
    loose = edit_along(fitted, image, free, keep={"k": known}).leakage["k"]
    tight = edit_along(fitted, image, bound, keep={"k": known}).leakage["k"]
    assert loose > 0.8
    assert tight < 0.02
    assert bound.overlap["k"] > 0.6
    assert float((bound.vector @ known.vector).abs()) < 1e-9


def test_one_verb_edits_by_attribute_or_by_examples__identity_parts():
    fitted = linear_inverter(V)
    image = fitted.decode(torch.zeros(1, CODE))[0]
    known, both = sides(fitted, 4, name="known"), sides(fitted, 1, 4, name="both")
    result = edit(fitted, image, between=both, keep={"k": known}, steps=3)
    keep = {"k": find_direction(fitted, *known)}
    direction = find_direction(fitted, *both, keep=keep)
    expected = edit_along(fitted, image, direction, steps=3, keep=keep)
    assert torch.equal(result.images, expected.images) and result.leakage == expected.leakage
    image = torch.full((1, 8, 8), 0.5)
    named = edit(attributes(), image, attribute="0", steps=3)
    assert torch.equal(named.images, edit_attribute(attributes(), image, steps=3).images)
    with pytest.raises(InputError, match="give one of them"):
        edit(fitted, image, attribute="0", between=both)
    with pytest.raises(InputError, match="nothing says what to edit"):
        edit(fitted, image)


def test_directions_that_cannot_be_found__rejects():
    fitted = linear_inverter(V)
    with_it, without = sides(fitted, 1)
    with pytest.raises(InputError, match="1 examples; give at least 2"):
        find_direction(fitted, with_it[:1], without)
    direction = find_direction(fitted, with_it, without)
    with pytest.raises(InputError, match="is one of those to keep"):
        find_direction(fitted, with_it, without, keep={"same": direction})
