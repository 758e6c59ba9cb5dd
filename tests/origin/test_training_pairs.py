"""Pairs that the edit map was trained on: refused by a calibration, told by an evaluation."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from cells import cells_encoder
from latent_model import ENCODER, training_pairs
from PIL import Image
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.core.saving.store import digest_file
from wherefrom.data import save_png, to_uint8
from wherefrom.origin import EditMapConfig, FittedEditMap, References, SearchConfig, fit_edit_map
from wherefrom.origin.calibration.calibrating import NO_RECORD
from wherefrom.origin.edit_map.pairs import EmbeddedPairs
from wherefrom.origin.pairs.embedding import embed_pairs
from wherefrom.origin.pairs.manifest import PairRow, PairsManifest

TRAINED, HELD = range(3), range(100, 110)
OTHERS = range(110, 120)  # photographs that fill the index
PLAIN = SearchConfig(views="none", rerank=False)


def picture(number, factor=1.0):
    coarse = torch.rand(1, 3, 5, 6, generator=stream(number, "picture"))
    image = F.interpolate(coarse, (16, 24), mode="bicubic", align_corners=False)[0]
    return to_uint8((factor * image).clamp(0, 1))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Files of origins and edits by number, and an edit map trained on the first of them."""
    home = tmp_path_factory.mktemp("trained")
    for name, factor in (("photos", 1.0), ("edits", 0.8)):
        (home / name).mkdir()
        for n in (*TRAINED, *HELD):
            save_png(picture(n, factor), home / name / f"{n:03d}.png")
    for n in OTHERS:
        save_png(picture(n), home / "photos" / f"{n:03d}.png")
    rows = []
    for n in TRAINED:
        origin, edit = (home / name / f"{n:03d}.png" for name in ("photos", "edits"))
        digests = [digest_file(path) for path in (origin, edit)]
        rows.append(
            PairRow(
                id=str(n),
                origin=str(origin),
                origin_digest=digests[0],
                edit=f"edits/{n:03d}.png",
                edit_digest=digests[1],
                model="darker",
            )
        )
    encoder = cells_encoder(4)
    embedded = embed_pairs(PairsManifest(home, tuple(rows)), encoder)
    config = EditMapConfig(rank=2, stationary=False)
    fitted = fit_edit_map(embedded, config=config)
    return home, encoder, fitted


def files(home, name, numbers):
    return [home / name / f"{n:03d}.png" for n in numbers]


@pytest.fixture(scope="module")
def index_of_photos(world):
    """The index of all origins, with the edit map."""
    home, encoder, fitted = world
    with References.create(home / "refs.index", encoder, edit_map=fitted) as references:
        references.add([home / "photos"])
    return home / "refs.index"


@pytest.fixture
def references(world, index_of_photos, tmp_path):
    """A copy of that index, open for writing."""
    copy = shutil.copytree(index_of_photos, tmp_path / "refs.index")
    with References.open(copy, encoder=world[1], writable=True) as opened:
        yield opened


def test_the_map_keeps_what_it_was_trained_on__roundtrip(world, tmp_path):
    fitted = world[2]
    assert len(fitted.seen) == 2 * len(TRAINED)
    fitted.save(tmp_path / "map")
    again = FittedEditMap.load(tmp_path / "map")
    assert torch.equal(again.seen, fitted.seen) and again.digest == fitted.digest
    bare = fit_edit_map(
        EmbeddedPairs(*training_pairs(), encoder=ENCODER), config=EditMapConfig(rank=4)
    )
    bare.save(tmp_path / "bare")
    assert FittedEditMap.load(tmp_path / "bare").seen is None


@pytest.mark.parametrize("shared", ["edit and origin", "edit", "origin", "another file"])
def test_a_training_pair_cannot_calibrate__rejects_it(world, references, tmp_path, shared):
    home = world[0]
    numbers = [TRAINED[2], *HELD[1:]]
    edits, origins = files(home, "edits", HELD), files(home, "photos", HELD)
    if shared != "origin":
        edits = files(home, "edits", numbers)
    if shared != "edit":
        origins = files(home, "photos", numbers)
    if shared == "another file":  # the same pixels
        edits = files(home, "edits", HELD)
        with Image.open(origins[0]) as image:
            image.save(tmp_path / "again.bmp")
        origins[0] = tmp_path / "again.bmp"
    with pytest.raises(InputError, match=r"1 of the 10 pairs .* trained on .* give other pairs"):
        references.calibrate(edits, origins, rate=0.1, config=PLAIN)


def test_pairs_that_are_new_calibrate__closed_form(world, references):
    home = world[0]
    lists = files(home, "edits", HELD), files(home, "photos", HELD)
    null = references.calibrate(*lists, rate=0.1, config=PLAIN).null
    assert len(null.values) == len(HELD) and null.provenance["note"] == ""
    numbers = [*TRAINED[:2], *HELD[:3]]
    edits, photos = files(home, "edits", numbers), files(home, "photos", numbers)
    report = references.evaluate(edits, photos, ["a"] * 5, config=PLAIN)
    assert report.trained_on == 2 and json.loads(json.dumps(report.to_dict()))


def test_a_map_without_a_record_is_told__closed_form(world, index_of_photos, tmp_path):
    home, encoder, fitted = world
    copy = shutil.copytree(index_of_photos, tmp_path / "refs.index")
    replace(fitted, seen=None).save(copy / "edit_map", overwrite=True)
    with References.open(copy, encoder=encoder, writable=True) as references:
        lists = files(home, "edits", HELD), files(home, "photos", HELD)
        null = references.calibrate(*lists, rate=0.1, config=PLAIN).null
        assert null.provenance["note"] == NO_RECORD
        assert references.evaluate(*lists, ["a"] * len(HELD), config=PLAIN).trained_on is None
