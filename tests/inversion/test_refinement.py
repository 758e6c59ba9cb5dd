"""Refining codes: the objective, what is gained and lost, and that images do not meet."""

import dataclasses

import pytest
import torch
from untrained_inverters import blobs, fitted_to

from wherefrom.core.errors import InputError
from wherefrom.inversion.codes.refinement import RefinementConfig, refine

# Sums of 64 pixels and 6 latents in float32, over the objective's own size.
OBJECTIVE_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def fitted():
    return fitted_to(blobs(60))


def objective(fitted, images, codes, noise):
    """As the module's head has it, image by image."""
    worth = []
    for image, code in zip(images, codes, strict=True):
        made = fitted.generate((code * fitted.scale)[None])[0]
        nll = fitted.negative_log_likelihood(code[None])
        worth.append(((image - made) ** 2).sum().double() / (2 * noise**2) + nll[0])
    return torch.stack(worth)


def test_no_code_gets_worse_and_most_get_better__naive_loop(fitted):
    images = blobs(9, seed=5)
    found = refine(fitted, images, config=RefinementConfig(steps=20))
    before = objective(fitted, images, fitted.encode(images), 0.1)
    after = objective(fitted, images, found.codes, 0.1)
    assert (after <= before + OBJECTIVE_TOLERANCE * before.abs()).all()
    assert (after < before - 1e-2 * before.abs()).sum() >= 5
    assert float(found.psnr_gained.mean()) > 0


def test_what_is_told_is_what_changed__closed_form(fitted):
    images = blobs(4, seed=6)
    found = refine(fitted, images, config=RefinementConfig(steps=5))
    told = found.to_dict()
    lost = fitted.negative_log_likelihood(found.codes) - fitted.negative_log_likelihood(
        fitted.encode(images)
    )
    assert told["mean_nats_lost"] == pytest.approx(float(lost.mean()))
    assert torch.equal(found.after.recovered, fitted.decode(found.codes))
    errors = [
        (images - r.recovered).square().flatten(1).mean(dim=1) for r in (found.before, found.after)
    ]
    gained = 10 * (errors[0] / errors[1]).log10()
    assert [row["psnr_gained"] for row in told["images"]] == pytest.approx(
        gained.tolist(), abs=1e-3
    )


def test_no_step_changes_nothing__limit(fitted):
    images = blobs(3, seed=7)
    found = refine(fitted, images, config=RefinementConfig(steps=0))
    torch.testing.assert_close(found.codes, fitted.encode(images), rtol=1e-5, atol=1e-6)


def test_more_noise_keeps_the_code_likelier__limit(fitted):
    images = 1 - blobs(6, seed=8)
    lost = [
        float(
            refine(fitted, images, config=RefinementConfig(steps=15, noise=noise)).nll_after.mean()
        )
        for noise in (0.05, 10.0)
    ]
    assert lost[1] < lost[0]


def test_an_image_does_not_depend_on_its_company__identity_batch(fitted):
    images = blobs(70, seed=9)  # more than one pass
    config = RefinementConfig(steps=3)
    together = refine(fitted, images, config=config).codes
    alone = torch.cat([refine(fitted, images[i : i + 1], config=config).codes for i in (0, 65)])
    assert torch.equal(together[[0, 65]], alone)


def test_what_cannot_be_refined__rejects(fitted):
    with pytest.raises(InputError, match="no image"):
        refine(fitted, blobs(1)[:0])
    lacking = dataclasses.replace(
        fitted, networks=type(fitted.networks)(critic=fitted.networks.critic)
    )
    with pytest.raises(InputError, match="cannot reconstruct"):
        refine(lacking, blobs(1))
