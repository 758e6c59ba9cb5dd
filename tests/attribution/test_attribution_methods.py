"""What holds for every method behind `fit`: saving, seeds, batches, settings, refusals."""

import copy
import dataclasses
import json
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wherefrom.attribution import METHODS, fit, load
from wherefrom.attribution.checking.fitted import describe_saved
from wherefrom.attribution.config import FlipadConfig
from wherefrom.attribution.methods import reconstruction as inversion_feature
from wherefrom.attribution.training.others import needed_others
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.encoders import make_feature_encoder
from wherefrom.generators.generator import wrap_generator

RATES = {
    "calibration_samples": 20,
    "sibling_samples": 4,
    "sibling_rate": 0.2,
    "false_negative_rate": 0.1,
    "false_positive_rate": 0.2,
}
SAD = {"detector.epochs": 1, "detector.batch": 32, "detector.representation": 16}
SEARCH = {"restarts": 2, "steps": 2, "chunk": 8}
TINY = {
    "patches": {
        "train_samples": 60,
        "reference_samples": 20,
        "classifier.epochs": 1,
        "classifier.width": 8,
        "classifier.batch": 32,
        "classifier.side": 16,
    },
    "flipad": {
        "train_samples": 50,
        "mean_samples": 64,
        "classifier_samples": 0,
        "lasso.iterations": 2,
        **SAD,
    },
    "raw-pad": {"train_samples": 50, **SAD},
    "dct-pad": {"train_samples": 50, **SAD},
    "fingerprint": {"train_samples": 50},
    "inversion-l2": SEARCH,
    "inversion-feature": {**SEARCH, "features": "tiny"},
    "autoencoder": {},
    "ensemble": {
        "train_samples": 50,
        "mean_samples": 64,
        "classifier_samples": 0,
        "reference_samples": 20,
        "autoencoder": True,
        "lasso.iterations": 2,
        **SAD,
        **{f"spectrum.{name}": value for name, value in SAD.items()},
    },
}


def tiny(method):
    return METHODS[method].presets["default"].with_values({**TINY[method], **RATES})


@pytest.fixture(scope="module")
def generator(half_generator):
    """The small generator as one that has an encoder: its reconstruction is a soft blur."""
    module = copy.deepcopy(half_generator.module)
    module.reconstruct = partial(
        F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False
    )
    return wrap_generator(module)


@pytest.fixture(scope="module")
def smooth(half_smooth):
    return half_smooth


@pytest.fixture(autouse=True)
def tiny_features(monkeypatch):
    """`tiny` names a network of one convolution, at whatever resolution it is asked for."""

    def load_it(source, *, resolution):
        assert source == "tiny"
        torch.manual_seed(3)
        network = nn.Sequential(nn.Conv2d(3, 5, 4, stride=4), nn.Tanh(), nn.Flatten(2))
        module = nn.Sequential(network, nn.AdaptiveAvgPool1d(4), nn.Flatten(1))
        return make_feature_encoder(module, kind="tiny", resolution=resolution)

    monkeypatch.setattr(inversion_feature, "load_feature_encoder", load_it)


@pytest.fixture(scope="module")
def made():
    """Attributors by method, each fitted once."""
    return {}


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture
def one(method, made, generator, smooth):
    if method not in made:
        made[method] = fit(generator, smooth(75, 0), method=method, config=tiny(method))
    return made[method]


def test_an_attributor_survives_saving__roundtrip(one, method, generator, smooth, tmp_path):
    one.save(tmp_path / "m.attributor")
    again = load(tmp_path / "m.attributor", generator=generator)
    images = smooth(5, 5)
    assert again.method == method and again.kind == f"attribution/{method}"
    assert again.check(images).to_dict() == one.check(images).to_dict()
    described, config = describe_saved(tmp_path / "m.attributor")
    assert config == one.config == again.config
    assert described == json.loads(json.dumps(one.describe())) == again.describe()


def test_scores_do_not_depend_on_batch_or_order__identity_batch_independence(one, smooth):
    images, order = smooth(7, 3), torch.tensor([4, 0, 6, 2, 5, 1, 3])
    scores = one.score(images)
    assert scores.dtype == torch.float64 and bool(scores.isfinite().all())
    assert torch.equal(one.score(images[order]), scores[order])
    assert torch.equal(one.score(images[6:]), scores[6:])
    assert one.score(images[:0]).shape == (0,)


def test_the_seed_decides__identity_seed(one, method, generator, smooth):
    config, others = tiny(method), smooth(75, 0)
    again = fit(generator, others, method=method, config=config)
    assert torch.equal(again.own_scores, one.own_scores)
    assert torch.equal(again.other_scores, one.other_scores)
    other = fit(generator, others, method=method, config=config, seed=1)
    assert not torch.equal(other.own_scores, one.own_scores)


def test_own_samples_pass_at_the_rate__identity_threshold(one):
    """Of the calibration images themselves at most the rate asked for lies above the threshold."""
    assert len(one.own_scores) == 20
    assert int((one.own_scores > one.threshold).sum()) == 1  # 2 / 21 <= 0.1 < 3 / 21


@pytest.mark.parametrize("name", ["raw-pad", "dct-pad", "fingerprint"])
def test_other_images_are_told_apart__limit(name, generator, smooth):
    """Smooth pictures against an untrained network's: easy for every one of them."""
    more = {"detector.epochs": 5} if name.endswith("pad") else {}
    config = tiny(name).with_values({"calibration_samples": 30, **more})
    fitted = fit(generator, smooth(75, 0), method=name, config=config)
    own = fitted.check(generator.sample(15, seed=99)).counts()
    assert own[Verdict.NOT_OURS] <= 5
    assert fitted.check(smooth(15, 99)).counts()[Verdict.NOT_OURS] >= 12


def test_settings_of_another_method__rejects_config(generator, smooth):
    with pytest.raises(InputError, match="raw-pad takes a RawPadConfig, not a FlipadConfig"):
        fit(generator, smooth(75, 0), method="raw-pad", config=FlipadConfig())
    with pytest.raises(InputError, match="no attribution method 'raw_pad'; did you mean 'raw-pad'"):
        fit(generator, smooth(75, 0), method="raw_pad")
    with pytest.raises(InputError, match="no attribution method 'x'; known: patches, flipad"):
        fit(generator, smooth(75, 0), method="x")


def test_the_paper_s_numbers_stand_in_the_presets__closed_form():
    """App. G.2 and G.7."""
    for name, method in METHODS.items():
        if name in ("patches", "ensemble", "autoencoder"):  # our own, and another paper's
            continue
        paper = method.presets["paper"]
        if name.startswith("inversion"):
            assert (paper.restarts, paper.steps, paper.learning_rate) == (10, 1000, 0.1)
            assert paper.calibration_samples == 10_000  # n_tr in place of n_val
        else:
            assert paper.train_samples == 10_000 and paper.calibration_samples == 1000
        if name.endswith("pad"):
            sad = paper.detector
            assert (sad.epochs, sad.learning_rate, sad.drop_at) == (50, 5e-4, 0.5)
            assert (sad.weight_decay, sad.representation) == (0.5e-6, 128)
            kinds = {"flipad": "inliers", "raw-pad": "none", "dct-pad": "all"}
            assert sad.standardise == kinds[name]
        assert paper.false_negative_rate == 0.005


def test_others_needed_to_calibrate_alone__closed_form(generator, smooth):
    config = tiny("fingerprint")
    assert needed_others(config) == 4  # 1 / 5 <= 0.2
    with pytest.raises(InputError, match=r"rate of 0\.2 cannot be supported by 3 held-out"):
        fit(generator, smooth(3, 0), method="fingerprint", config=config)
    few = fit(generator, smooth(4, 0), method="fingerprint", config=config)
    assert len(few.other_scores) == 4
    many = fit(generator, smooth(30, 0), method="fingerprint", config=config)
    assert len(many.other_scores) == 20  # as many as own ones: nothing is trained on the rest


@pytest.mark.parametrize("name", ["inversion-l2", "inversion-feature"])
def test_an_inversion_without_its_generator__rejects_generator(
    name, made, generator, smooth, tmp_path
):
    one = made.get(name) or fit(generator, smooth(75, 0), method=name, config=tiny(name))
    one.save(tmp_path / "m")
    with pytest.raises(InputError, match="give the generator too"):
        load(tmp_path / "m")
    assert describe_saved(tmp_path / "m")[0] == json.loads(json.dumps(one.describe()))
    stranger = dataclasses.replace(generator, digest="sha256:0")
    with pytest.raises(InputError, match="fitted for another generator"):
        load(tmp_path / "m", generator=stranger)


def test_another_artifact__rejects_kind(tmp_path):
    from wherefrom.core.saving.store import save_artifact

    save_artifact(tmp_path / "x", kind="flipad", schema=1, meta={}, tensors={})
    with pytest.raises(ArtifactError, match="is a 'flipad' artifact, expected an attributor"):
        load(tmp_path / "x")
