"""What calibrates an index: one edit per origin, files known by content, and how old it may be."""

import shutil

import pytest
import torch
from cells import cells_encoder
from torch.nn import functional as F

from wherefrom.core.rng import stream
from wherefrom.data import save_png, to_uint8
from wherefrom.origin import AnswerKind, References, SearchConfig
from wherefrom.origin.searching.decision import decide, make_null

ENCODER = cells_encoder(8)
PLAIN = SearchConfig(views="none", rerank=False)  # where the way to look does not matter


def write(folder, numbers, *, noise=0.0, name="{:03d}.png"):
    """Smooth pictures, each of its own; with `noise` other ones of the same scene."""
    folder.mkdir(exist_ok=True)
    paths = [folder / name.format(number) for number in numbers]
    for number, path in zip(numbers, paths, strict=True):
        coarse = torch.rand(1, 3, 5, 6, generator=stream(number, "picture"))
        image = F.interpolate(coarse, (16, 24), mode="bicubic", align_corners=False)
        image = image + noise * torch.randn(image.shape, generator=stream(number, str(path.name)))
        save_png(to_uint8(image.clamp(0, 1))[0], path)
    return paths


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """24 photographs, and an index of them."""
    folder = tmp_path_factory.mktemp("home")
    with References.create(folder / "refs.index", ENCODER) as made:
        made.add(write(folder / "photos", range(24)))
    return folder


@pytest.fixture
def references(home, tmp_path):
    """A copy of that index, open for writing."""
    copy = shutil.copytree(home / "refs.index", tmp_path / "refs.index")
    with References.open(copy, encoder=ENCODER, writable=True) as opened:
        yield opened


def test_the_rate_itself_is_rare_enough__closed_form():
    null = make_null(torch.randn(30), 0.1, indexed=40, settings={}, provenance={})
    assert decide(0.1, null)[0] is AnswerKind.EDIT
    assert decide(0.1 + 1e-9, null)[0] is AnswerKind.NONE


def test_of_several_edits_of_one_origin_one_is_drawn__identity_seed(references, tmp_path):
    numbers = range(50, 59)
    origins = write(tmp_path / "origins", numbers) * 3
    edits = [
        path
        for which in "abc"
        for path in write(tmp_path / "edits", numbers, noise=0.1, name="{:03d}" + which + ".png")
    ]
    plain = {"rate": 0.1, "config": PLAIN}
    found = [references.calibrate(edits, origins, seed=s, **plain).null.values for s in (0, 0, 1)]
    assert [len(z) for z in found] == [9] * 3
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    alone = [
        references.calibrate(edits[i : i + 9], origins[:9], **plain).null.values for i in (0, 9, 18)
    ]
    assert set(found[0].tolist()) <= set(torch.cat(alone).tolist())


def test_an_origin_is_known_by_its_content__identity(references, home, tmp_path):
    """A copy of a photograph of the index, at a path that the index does not know."""
    photos = sorted((home / "photos").iterdir())[:9]
    (tmp_path / "copies").mkdir()
    copies = [shutil.copy(path, tmp_path / "copies" / path.name) for path in photos]
    edits = write(tmp_path / "edits", range(9), noise=0.1)
    plain = {"rate": 0.1, "config": PLAIN}
    by_path = references.calibrate(edits, photos, **plain).null.values
    assert torch.equal(references.calibrate(edits, copies, **plain).null.values, by_path)
    some = edits[:3], copies[:3], photos[:3]
    by_copy, by_photo = (references.evaluate(some[0], x, ["m"] * 3, config=PLAIN) for x in some[1:])
    assert by_copy == by_photo


def test_an_index_that_grew_says_that_its_calibration_is_old__limit(references, tmp_path):
    origins = write(tmp_path / "origins", range(50, 59))
    edits = write(tmp_path / "edits", range(50, 59), noise=0.1)
    calibrated = references.calibrate(edits, origins, rate=0.1, config=PLAIN)
    query = write(tmp_path / "query", [70], noise=0.1)
    for added, is_old in ((range(100, 111), False), (range(111, 112), True)):
        calibrated.add(write(tmp_path / "more", added))
        (answer,) = calibrated.search(query)
        old = "calibrated when the index held 24 images; calibrate again"
        assert (old in answer.reason) == is_old
