"""Properties of images, each against its formula."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from wherefrom.core.errors import InputError
from wherefrom.credit.diffusion.properties import (
    Measure,
    PixelEmbedder,
    RunOutput,
    cluster_entropy_measure,
    diversity_measure,
    frechet_measure,
    frechet_moments_measure,
    inception_measure,
    loss_measure,
    measure,
    percentile_measure,
    similarity_measure,
    ward_clusters,
)

PIXELS = PixelEmbedder()


class Classes:
    """Class k of an image is the one in whose brightness it falls, and it is sure."""

    digest = "brightness"

    def features(self, images):
        return images.flatten(1).float()

    def logits(self, images):
        level = images.flatten(1).float().mean(1) / 64
        return 200.0 * nn.functional.one_hot(level.long(), 4).float()


def flat(*levels):
    """Images of one brightness each."""
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()


def noise(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)


def test_inception_score_counts_the_classes__closed_form():
    score = inception_measure("is", Classes())
    assert score(RunOutput(flat(0, 70, 140, 200))) == pytest.approx(4.0)
    assert score(RunOutput(flat(0, 0, 140, 140))) == pytest.approx(2.0)
    with pytest.raises(InputError, match="no classes"):
        inception_measure("is", PIXELS)(RunOutput(flat(0, 1)))


def test_entropy_of_clusters__closed_form():
    reference = flat(0, 2, 100, 102, 200, 202)
    entropy = cluster_entropy_measure("h", PIXELS, reference, 3)
    assert entropy(RunOutput(flat(1, 3, 99, 201))) == pytest.approx(
        -(0.5 * math.log(0.5) + 0.5 * math.log(0.25))
    )
    assert entropy(RunOutput(flat(5, 6))) == 0.0
    labels = ward_clusters(PIXELS.features(reference).double(), 3).tolist()
    assert [labels[0], labels[2], labels[4]] == [labels[1], labels[3], labels[5]]
    assert len(set(labels)) == 3
    with pytest.raises(InputError, match="give 2 to that many"):
        cluster_entropy_measure("h", PIXELS, reference, 7)
    with pytest.raises(InputError, match="form 1 clusters, not 2"):
        cluster_entropy_measure("h", PIXELS, flat(9, 9, 9), 2)


def test_percentile_of_a_linear_head__naive_loop():
    images, weight = noise(7, 0), torch.randn(16, generator=torch.Generator().manual_seed(1))
    scores = []
    for image in images:
        f = image.flatten().numpy() / 255
        scores.append(float((f / np.linalg.norm(f)) @ weight.numpy()) + 0.5)
    score = percentile_measure("p90", PIXELS, weight, 0.5, 0.9)
    assert score(RunOutput(images)) == pytest.approx(np.quantile(scores, 0.9), rel=1e-5)
    with pytest.raises(InputError, match="quantile is 2"):
        percentile_measure("p", PIXELS, weight, 0.0, 2.0)
    with pytest.raises(InputError, match="reads 3 features, the encoder gives 16"):
        percentile_measure("p", PIXELS, weight[:3], 0.0, 0.5)(RunOutput(images))


def test_diversity__naive_loop():
    images = noise(5, 2)
    rows = images.flatten(1).double().numpy()
    pairs = [
        1 - rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j])
        for i in range(5)
        for j in range(5)
        if i != j
    ]
    diversity = diversity_measure("d", PIXELS)
    assert diversity(RunOutput(images)) == pytest.approx(np.mean(pairs))
    assert diversity(RunOutput(images[[0, 0, 0]])) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(InputError, match="at least 2"):
        diversity(RunOutput(images[:1]))


def test_distances_carry_a_minus__identity_sign():
    reference = noise(30, 3)
    near, far = reference, reference // 4
    distance = frechet_measure("fd", PIXELS, reference)
    assert distance(RunOutput(near)) == pytest.approx(0.0, abs=1e-6)
    assert distance(RunOutput(far)) < -0.1
    similarity = similarity_measure("s", PIXELS, reference[0])
    assert similarity(RunOutput(reference)) == pytest.approx(1.0)
    assert similarity(RunOutput(reference[5:])) < 0.999
    with pytest.raises(InputError, match="keep = 'weights'"):
        loss_measure("l", reference, torch.zeros(30, dtype=torch.int64))(RunOutput(reference))


def test_moments_stand_for_the_reference_they_are_of__identity_images():
    reference, made = noise(30, 3), RunOutput(noise(40, 4))
    features = PIXELS.features(reference).double()
    moments = features.mean(0), torch.cov(features.T)
    given = frechet_moments_measure("fd", PIXELS, *moments)
    assert given(made) == pytest.approx(frechet_measure("fd", PIXELS, reference)(made), rel=1e-9)
    assert given.spec != frechet_moments_measure("fd", PIXELS, 2 * moments[0], moments[1]).spec
    with pytest.raises(InputError, match="statistics mu and sigma are of 3 features"):
        frechet_moments_measure("fd", PIXELS, torch.zeros(3), torch.eye(3))(made)


def test_what_decides_a_value_is_in_its_spec__identity_spec():
    made = [
        cluster_entropy_measure("h", PIXELS, flat(0, 100, 200), 2),
        cluster_entropy_measure("h", PIXELS, flat(0, 100, 200), 3),
        cluster_entropy_measure("h", PIXELS, flat(0, 100, 201), 2),
        percentile_measure("h", PIXELS, torch.ones(2), 0.0, 0.5),
        percentile_measure("h", PIXELS, torch.ones(2), 1.0, 0.5),
        inception_measure("h", Classes()),
        diversity_measure("h", Classes()),
        diversity_measure("h", PIXELS),
    ]
    assert len({str(sorted(each.spec.items())) for each in made}) == len(made)


def test_a_property_that_fails_stops_no_other__rejects_nan():
    def broken(made):
        raise RuntimeError("out of\nluck")

    properties = [
        Measure("bad", {}, broken),
        Measure("nan", {}, lambda made: float("nan")),
        Measure("good", {}, lambda made: len(made.images)),
    ]
    values, errors = measure(properties, RunOutput(flat(1, 2)))
    assert values == {"good": 2.0}
    assert errors["bad"] == "RuntimeError: out of luck"
    assert "nan" in errors["nan"]
