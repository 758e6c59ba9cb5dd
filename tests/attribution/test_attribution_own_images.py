"""A fit on own images from disk: its parts, its activations, its promise, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import betabinom

from wherefrom import attribution
from wherefrom.attribution.checking.fitted import describe_saved
from wherefrom.attribution.config import FlipadConfig
from wherefrom.attribution.images.own_images import (
    ACTIVATIONS,
    LATENTS,
    GivenImages,
    OwnInputs,
    needed_own,
    split_own,
)
from wherefrom.attribution.methods.ensemble import EnsembleConfig
from wherefrom.attribution.methods.pad import RawPadConfig
from wherefrom.attribution.methods.patches import PatchesConfig
from wherefrom.attribution.protocol import stored_samples
from wherefrom.attribution.training.others import SampleReader
from wherefrom.attribution.training.siblings import SIBLING_KINDS
from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import contents_of
from wherefrom.data import save_png
from wherefrom.generators.loading import load_generator
from wherefrom.metrics.detection import auroc

KINDS = tuple(SIBLING_KINDS)
SMALL_PATCHES = PatchesConfig(
    train_samples=400,
    reference_samples=60,
    false_negative_rate=0.02,
    false_positive_rate=0.1,
    sibling_samples=30,
    sibling_rate=0.2,
).with_values({"classifier.epochs": 3, "classifier.width": 16})


def _silent(generator):
    """The generator, of which no part but the last layer can be run."""

    def fail(count, seed):
        raise AssertionError("the model was sampled")

    return replace(generator, sample_function=fail)


@pytest.fixture(scope="module")
def own(half_generator):
    return stored_samples(half_generator, 240, 11)


def contents(images):
    return set(contents_of(images).tolist())


def test_no_image_is_in_two_parts__identity_disjoint(half_generator, own, small):
    parts = split_own(own, half_generator, small, kinds=KINDS, seed=3)
    sets = {name: contents(part.stored(len(part), 0)) for name, part in parts.items()}
    assert sum(map(len, sets.values())) == len(set().union(*sets.values())) == len(own)
    sizes = {name: len(rows) for name, rows in sets.items()}
    # 40 to calibrate and twice 9 for siblings are wanted, a tenth is the reference
    assert sizes == {
        "calibration": 40,
        "sibling gains": 9,
        "sibling redrawn": 9,
        "reference": 24,
        "training": 158,
    }
    doubled = torch.cat([own.flip(0), own[:5]])
    again = split_own(doubled, half_generator, small, kinds=KINDS, seed=3)
    assert {name: contents(part.stored(len(part), 0)) for name, part in again.items()} == sets
    other = split_own(own, half_generator, small, kinds=KINDS, seed=4)
    assert contents(other["training"].stored(158, 0)) != sets["training"]


def test_each_image_comes_once_before_any_comes_again__identity_rounds(half_generator, own):
    part = GivenImages(half_generator, own, torch.arange(10, 30))
    first, more = part.stored(20, 5), part.stored(50, 5)
    assert torch.equal(more[:20], first)
    assert contents(first) == contents(more[20:40]) == contents(own[10:30])
    assert not torch.equal(more[20:40], first) and not torch.equal(part.stored(20, 6), first)
    batches = list(part.sample_with_activations(50, 5, batch=7))
    assert len(batches) == part.batch_count(50, 7) == 8
    assert torch.equal(torch.cat([x for x, _ in batches]), more.float() / 255)


def test_activations_are_least_squares__reference_numpy(half_generator, own, matrix_of):
    part = GivenImages(half_generator, own, torch.arange(4))
    images, z = next(part.sample_with_activations(4))
    layer = half_generator.last_layer
    wanted = half_generator.output_map.inverse(images).double().numpy()
    offset = layer.bias.double().numpy()[None, :, None, None]
    target = (wanted - offset).reshape(4, -1).T
    matrix = matrix_of(layer)
    best = np.linalg.lstsq(matrix, target, rcond=None)[0]
    least = np.linalg.norm(matrix @ best - target, axis=0)
    reached = np.linalg.norm(matrix @ z.double().flatten(1).numpy().T - target, axis=0)
    assert (reached <= 1.01 * least + 1e-3 * np.linalg.norm(target, axis=0)).all()


RATES = {
    "calibration_samples": 40,
    "false_negative_rate": 0.05,
    "false_positive_rate": 0.2,
    "sibling_samples": 9,
    "sibling_rate": 0.1,
    "train_samples": 60,
}
LIGHT = {"detector.epochs": 1, "detector.representation": 8}
LIGHT_CLASSIFIER = {"classifier.epochs": 1, "classifier.width": 8, "classifier.members": 1}
LIGHT_FLIPAD = {
    **LIGHT,
    **LIGHT_CLASSIFIER,
    "mean_samples": 500,
    "classifier_samples": 100,
    "lasso.iterations": 4,
}
SETTINGS = {
    "patches": PatchesConfig(**RATES, reference_samples=60).with_values(LIGHT_CLASSIFIER),
    "flipad": FlipadConfig(**RATES).with_values(LIGHT_FLIPAD),
    "ensemble": EnsembleConfig(**RATES, reference_samples=60).with_values(
        {**LIGHT_FLIPAD, "spectrum.detector.epochs": 1}
    ),
    "immunised raw-pad": RawPadConfig(**RATES, immunise=0.5).with_values(LIGHT),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_but_the_last_layer_is_run__identity_same_tensors(
    half_generator, half_smooth, own, name
):
    """The same images in another order give the same numbers."""
    others, config = half_smooth(80, 0), SETTINGS[name]
    fitted = attribution.fit(_silent(half_generator), others, own=own, config=config)
    again = attribution.fit(half_generator, others, own=own.flip(0), config=config)
    tensors, same = fitted.tensors(), again.tensors()
    assert tensors.keys() == same.keys()
    assert all(torch.equal(tensors[key], same[key]) for key in tensors)
    if config.immunise:
        assert "JPEG 90-100" in fitted.altered and fitted.noise is not None


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """250 images of one of the zoo's models as PNG files."""
    folder = tmp_path_factory.mktemp("own")
    for number, image in enumerate(stored_samples(load_generator("zoo:fashion-ebgan-0"), 250, 21)):
        save_png(image, folder / f"{number:03}.png")
    return folder


@pytest.fixture(scope="module")
def from_files(files):
    """The attributor of that folder, for which the model was not sampled."""
    owner = load_generator("zoo:fashion-ebgan-0")
    own = SampleReader(shape=owner.image_shape).read_own([files])
    others = stored_samples(load_generator("zoo:fashion-wgan-gp-0"), 150, 3)
    config = SMALL_PATCHES
    return attribution.fit(_silent(owner), others, own=own, config=config, seed=1), own


def test_a_model_that_no_fit_saw_is_rejected__limit(from_files):
    fitted, _ = from_files
    fresh = fitted.score(stored_samples(load_generator("zoo:fashion-ebgan-0"), 150, 99))
    rival = fitted.score(stored_samples(load_generator("zoo:fashion-dcgan-1"), 150, 5))
    assert auroc(fresh, rival) > 0.95
    assert (rival > fitted.threshold).double().mean() > 0.5


def test_own_images_are_called_not_made_at_the_rate__closed_form(from_files):
    """Of images that no part held: a Beta(k, n + 1 - k) share (Vovk 2012), one in 10,000 beyond."""
    fitted, _ = from_files
    n, rate = len(fitted.own_scores), fitted.config.false_negative_rate
    fresh = stored_samples(load_generator("zoo:fashion-ebgan-0"), 400, 77)
    rejected = fitted.check(fresh).counts()["not made by this model"]
    allowed = int(rate * (n + 1))
    assert rejected <= betabinom.ppf(0.9999, 400, allowed, n + 1 - allowed)
    among_own = fitted.own_scores > fitted.threshold
    assert among_own.double().mean() <= rate


def test_what_was_given_is_recorded__roundtrip(from_files, tmp_path):
    fitted, own = from_files
    fitted.save(tmp_path / "a")
    loaded = attribution.load(tmp_path / "a")
    record = loaded.describe()["own"]
    assert (record["origin"], record["count"]) == ("given", len(own))
    assert sum(record["parts"].values()) == len(own)
    assert record["parts"]["calibration"] == len(loaded.own_scores)
    assert record["parts"]["sibling gains"] == len(loaded.sibling_scores["gains"])
    assert describe_saved(tmp_path / "a")[0]["own"] == record
    fresh = stored_samples(load_generator("zoo:fashion-ebgan-0"), 5, 7)
    assert loaded.check(fresh).to_dict()["images"] == fitted.check(fresh).to_dict()["images"]


@pytest.mark.parametrize("row", [0, 100, -1])
def test_images_of_the_fit_are_not_evaluated_on__rejects_them(from_files, row):
    fitted, own = from_files
    fresh = stored_samples(load_generator("zoo:fashion-ebgan-0"), 5, 7)
    rival = stored_samples(load_generator("zoo:fashion-wgan-gp-0"), 5, 7)
    with pytest.raises(InputError, match=r"1 of the 6 images of 'own' were among the images that"):
        attribution.evaluate(fitted, torch.cat([fresh, own[[row]]]), {"rival": rival})


def test_too_few_are_refused_with_the_number_needed__closed_form(half_generator, own, small):
    config = small.with_values({"false_negative_rate": 0.02})
    needed = needed_own(config, KINDS)
    # 49 support 0.02 and twice 9 the sibling rate of 0.1: 67 are three tenths of 222 (or 223)
    assert needed == 222
    split_own(own[:needed], half_generator, config, kinds=KINDS, seed=0)
    match = f"own images given: {needed - 1}; these error rates need at least {needed};"
    with pytest.raises(InputError, match=match):
        split_own(own[: needed - 1], half_generator, config, kinds=KINDS, seed=0)
    # with a confidence of 0.9: ln 0.1 / ln 0.98 = 113.97
    assert needed_own(small.with_values({"confidence": 0.9, "false_negative_rate": 0.02}), ()) > 375


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda own, others: (own[:1].repeat(300, 1, 1, 1), others),
            r"given: 1 .299 more are duplicates.; these",
        ),
        (lambda own, others: (own[..., :8], others), "the images are 3x16x8 .* makes 3x16x16"),
        (lambda own, others: (torch.cat([own, others[:2]]), others), "2 of the 242 own images are"),
        (lambda own, others: (own[:30], None), "these error rates need at least"),
        (lambda own, others: (OwnInputs(LATENTS, torch.zeros(9, 3)), others), "the model takes"),
        (lambda own, others: (OwnInputs(ACTIVATIONS, torch.zeros(9, 6, 8)), others), "6, 8, 8"),
        (
            lambda own, others: (OwnInputs(LATENTS, torch.zeros(9, 10) / 0), others),
            "9 of 9 rows of own latents hold NaN or infinity, the first is row 0",
        ),
        (lambda own, others: (OwnInputs(LATENTS, torch.eye(10)), others), "given: 10; these"),
    ],
)
def test_impossible_own_images_end_with_one_line__rejects_them(
    half_generator, half_smooth, own, small, change, message
):
    given, others = change(own, half_smooth(80, 0))
    with pytest.raises(InputError, match=message) as caught:
        attribution.fit(_silent(half_generator), others, own=given, config=small)
    assert "\n" not in str(caught.value)


@pytest.fixture
def folder(own, tmp_path):
    for number, image in enumerate(own[:20]):
        save_png(image, tmp_path / f"{number:02}.png")
    return tmp_path


def reader(notes):
    return SampleReader(shape=(3, 16, 16), resize=True, note=notes.append)


def test_what_cannot_be_read_is_left_out_and_named__closed_form(folder, own):
    (folder / "bad.png").write_bytes(b"no")
    save_png(own[3], folder / "copy.png")
    save_png(own[3][:, :8, :8], folder / "small.png")
    Image.open(folder / "00.png").save(folder / "lossy.jpg", quality=90)
    notes = []
    images = reader(notes).read_own([folder])
    assert contents(images) == contents(own[:20])
    told = " ".join(notes)
    assert f"{folder}: 3 files left out; the first: {folder}/bad.png: is not an image" in told
    assert f"1 own file left out; the first: {folder}/lossy.jpg: its file is lossy (JPEG)" in told


def test_many_lossy_files_are_refused__rejects_codec(folder):
    for number in range(5):
        with Image.open(folder / f"{number:02}.png") as image:
            image.save(folder / f"{number:02}.jpg", quality=90)
    with pytest.raises(InputError, match=r"5 of 25 own images were changed .* is lossy .JPEG"):
        reader([]).read_own([folder])


def test_images_of_another_size_are_refused__rejects_size(folder):
    other = replace(reader([]), shape=(3, 8, 8))
    with pytest.raises(InputError, match=r"no own image can be used .*expected 8x8.* 8x8 px$"):
        other.read_own([folder])
