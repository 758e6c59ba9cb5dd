"""The method `patches`: its two kinds of evidence, and a rival that no fit saw."""

import pytest
import torch
from torch import nn

from wherefrom.attribution import METHODS, fit
from wherefrom.attribution.methods import method_for
from wherefrom.attribution.methods.flipad import combine
from wherefrom.attribution.methods.patches import PatchesConfig, pre_activations
from wherefrom.attribution.protocol import stored_samples
from wherefrom.attribution.training.impostors import MOVES, RETOUCHES, retouch_in_turn
from wherefrom.core.errors import InputError
from wherefrom.data.images.writing import to_float
from wherefrom.generators.generator import wrap_generator
from wherefrom.generators.loading import load_generator
from wherefrom.metrics.detection import auroc

SMALL = PatchesConfig(
    train_samples=500,
    reference_samples=100,
    calibration_samples=100,
    false_negative_rate=0.02,
    sibling_samples=0,
).with_values({"classifier.epochs": 2, "classifier.width": 16, "false_positive_rate": 0.1})


def test_a_sibling_and_other_networks_that_no_fit_saw__limit():
    """Another seed of the owner's design and data, and another design: FLIPAD's Table 2."""
    owner = load_generator("zoo:fashion-ebgan-0")
    others = stored_samples(load_generator("zoo:fashion-wgan-gp-0"), 150, 3)
    fitted = fit(owner, others, config=SMALL, seed=0)
    assert fitted.method == "patches"
    own = fitted.score(stored_samples(owner, 100, 99))
    for name, least in (("ebgan-1", 0.9), ("dcgan-0", 0.85)):
        rival = fitted.score(stored_samples(load_generator(f"zoo:fashion-{name}"), 100, 5))
        assert auroc(own, rival) > least


def test_the_score_joins_both_kinds_of_evidence__closed_form(half_generator, half_smooth):
    config = SMALL.with_values({"train_samples": 60, "classifier.epochs": 1})
    scorer = fit(half_generator, half_smooth(150, 0), config=config).scorer
    images = to_float(half_smooth(7, 5))
    o = half_generator.output_map.inverse(images)
    both = torch.stack([scorer.moments.score(o), scorer.classifier.score(o)], dim=1)
    median, spread = scorer.reference
    assert torch.equal(scorer.score(images), combine((both - median) / spread))
    assert not torch.allclose(scorer.score(images), (both[:, 0] - median[0]) / spread[0])


def test_a_dense_last_layer__identity_shape():
    """Its o has no rows and columns; it is laid out like the image."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(9, 256), nn.Tanh(), nn.Unflatten(1, (1, 16, 16)))
    generator = wrap_generator(module)
    others = torch.randint(256, (150, 1, 16, 16), dtype=torch.uint8)
    config = SMALL.with_values({"train_samples": 60, "classifier.epochs": 1})
    fitted = fit(generator, others, config=config)
    assert fitted.method == "patches"
    scores = fitted.score(others[:30])
    assert scores.shape == (30,) and torch.isfinite(scores).all()
    o = pre_activations(generator.output_map, to_float(others[:2]))
    assert torch.equal(o.flatten(1), generator.output_map.inverse(to_float(others[:2])).flatten(1))


def test_images_below_the_least_side__rejects_size():
    module = nn.Sequential(nn.Linear(9, 64), nn.Tanh(), nn.Unflatten(1, (1, 8, 8)))
    others = torch.randint(256, (150, 1, 8, 8), dtype=torch.uint8)
    with pytest.raises(InputError, match="at least 16 px a side, and this model's have 8; take"):
        fit(wrap_generator(module), others, config=SMALL)


def test_every_change_takes_its_turn__naive_loop(half_smooth):
    images = half_smooth(len(MOVES) + len(RETOUCHES) + 1, 0)
    changed = retouch_in_turn(images, seed=0)
    assert torch.equal(changed[0], images[0].flip(2))
    assert torch.equal(changed[-1], images[-1].flip(2))
    for image, result in zip(images[: len(MOVES)], changed, strict=False):
        assert not torch.equal(image, result)
    assert torch.equal(changed, retouch_in_turn(images, seed=0))


def test_the_method_follows_from_the_settings__identity_default():
    assert method_for(None, numbers=False).name == "patches"
    assert method_for(None, numbers=True).name == "flipad"
    for method in METHODS.values():
        assert method_for(method.presets["default"], numbers=False) is method
