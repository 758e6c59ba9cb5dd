"""All baselines of a study at once."""

import numpy as np
import pytest
import torch
from studies import NETWORK, write_study

from wherefrom.core.errors import InputError
from wherefrom.credit.diffusion.gradients import GradientConfig
from wherefrom.credit.diffusion.model import SamplingConfig
from wherefrom.credit.diffusion.properties import (
    PixelEmbedder,
    diversity_measure,
    percentile_measure,
)
from wherefrom.credit.method import open_study
from wherefrom.credit.study.baselines import (
    TrainingSet,
    application_baselines,
    generate,
    gradient_baselines,
    similarity_baselines,
)

pytestmark = pytest.mark.needs("diffusers")

GRADIENTS = GradientConfig(dimension=8, steps=2, batch=3)
SAMPLING = SamplingConfig(images=3, steps=2)


def test_gradient_baselines__identity_store(tmp_path):
    opened = open_study(write_study(tmp_path, kind="fine-tune", network=NETWORK))
    play = opened.play
    model = play.start(0)
    training = TrainingSet(opened.data, play.latents, play.conditions)
    arguments = (model, training, generate(model, SAMPLING), GRADIENTS)
    scores = gradient_baselines(*arguments, store=tmp_path / "store")
    assert len(scores) == 12
    assert all(values.shape == (3,) and np.isfinite(values).all() for values in scores.values())
    assert np.allclose(scores["trak (sum)"], 2 * scores["trak (mean)"])  # two images each
    assert len({tuple(values) for values in scores.values()}) == 12
    again = gradient_baselines(*arguments, store=tmp_path / "store")
    assert all(np.array_equal(scores[name], again[name]) for name in scores)


def test_the_nearest_contributor_gets_most__closed_form(tmp_path):
    data = open_study(write_study(tmp_path)).data
    made = data.images[data.owner == 1]  # the model copies contributor 1
    found = similarity_baselines(data, made, {"other": PixelEmbedder()})
    assert set(found) == {
        *(f"{n} similarity ({h})" for n in ("pixel", "other") for h in ("mean", "max")),
        *(f"other distance ({h})" for h in ("mean", "max")),
    }
    assert found["pixel similarity (max)"][1] == pytest.approx(1.0)
    assert int(found["pixel similarity (max)"].argmax()) == 1
    assert int(found["other distance (mean)"].argmax()) == 1


def test_the_property_of_the_images__naive_loop(tmp_path):
    data = open_study(write_study(tmp_path)).data
    head = percentile_measure("p", PixelEmbedder(), torch.linspace(-1, 1, 64), 0.0, 0.5)
    found = application_baselines(data, head)
    rows = data.images.flatten(1).double().numpy()
    scores = rows @ np.linspace(-1, 1, 64) / np.linalg.norm(rows, axis=1)
    expected = [scores[data.owner.numpy() == p].mean() for p in range(3)]
    assert np.allclose(found["p of the images (mean)"], expected, atol=1e-6)
    with pytest.raises(InputError, match="not one of single images"):
        application_baselines(data, diversity_measure("d", PixelEmbedder()))
