"""Pairs that the edit map was trained on: refused by a calibration, told by an evaluation."""

import json

import pytest
import torch
from latent_model import ENCODER, training_pairs
from PIL import Image
from torch import nn
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.core.store import digest_file
from wherefrom.data import save_png, to_uint8
from wherefrom.encoders.encoder import make_encoder
from wherefrom.origin import (
    EditMapConfig,
    PairRow,
    PairsManifest,
    References,
    SearchConfig,
    fit_edit_map,
    load_edit_map,
)
from wherefrom.origin.calibrating import NO_RECORD
from wherefrom.origin.embedding import embed_pairs

TRAINED, HELD = range(6), range(100, 122)
PLAIN = SearchConfig(views="none", rerank=False)


class Cells(nn.Module):
    def forward(self, x):
        return F.adaptive_avg_pool2d(x, (4, 4)) - 0.5


def picture(number, factor=1.0):
    coarse = torch.rand(1, 3, 5, 6, generator=stream(number, "picture"))
    image = F.interpolate(coarse, (40, 48), mode="bicubic", align_corners=False)[0]
    return to_uint8((factor * image).clamp(0, 1))


@pytest.fixture
def world(tmp_path):
    """Files of origins and edits by number, and an edit map trained on the first of them."""
    for name, factor in (("photos", 1.0), ("edits", 0.8)):
        (tmp_path / name).mkdir()
        for n in (*TRAINED, *HELD):
            save_png(picture(n, factor), tmp_path / name / f"{n:03d}.png")
    rows = []
    for n in TRAINED:
        origin, edit = (tmp_path / name / f"{n:03d}.png" for name in ("photos", "edits"))
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
    encoder = make_encoder(Cells(), kind="cells", config={})
    embedded = embed_pairs(PairsManifest(tmp_path, tuple(rows)), encoder)
    fitted = fit_edit_map(
        embedded.origins,
        embedded.edits,
        embedded.owner,
        encoder=encoder.identity,
        config=EditMapConfig(rank=4),
        seen=embedded.seen,
    )
    return tmp_path, encoder, fitted


def files(home, name, numbers):
    return [home / name / f"{n:03d}.png" for n in numbers]


def references_of(world, fitted=None):
    home, encoder, given = world
    references = References.create(home / "refs.index", encoder, edit_map=fitted or given)
    references.add([home / "photos"])
    return references


def test_the_map_keeps_what_it_was_trained_on__roundtrip(world):
    home, _, fitted = world
    assert len(fitted.seen) == 2 * len(TRAINED)
    fitted.save(home / "map")
    again = load_edit_map(home / "map")
    assert torch.equal(again.seen, fitted.seen) and again.digest == fitted.digest
    bare = fit_edit_map(*training_pairs(), encoder=ENCODER, config=EditMapConfig(rank=4))
    bare.save(home / "bare")
    assert load_edit_map(home / "bare").seen is None


@pytest.mark.parametrize("shared", ["edit and origin", "edit", "origin", "another file"])
def test_a_training_pair_cannot_calibrate__rejects_it(world, shared):
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
            image.save(home / "again.bmp")
        origins[0] = home / "again.bmp"
    with (
        references_of(world) as references,
        pytest.raises(InputError, match=r"1 of the 22 pairs .* trained on .* give other pairs"),
    ):
        references.calibrate(edits, origins, rate=0.1, config=PLAIN)


def test_pairs_that_are_new_calibrate__closed_form(world):
    home = world[0]
    with references_of(world) as references:
        lists = files(home, "edits", HELD), files(home, "photos", HELD)
        null = references.calibrate(*lists, rate=0.1, config=PLAIN).null
        assert len(null.values) == len(HELD) and null.provenance["note"] == ""
        numbers = [*TRAINED[:2], *HELD[:3]]
        edits, photos = files(home, "edits", numbers), files(home, "photos", numbers)
        report = references.evaluate(edits, photos, ["a"] * 5, config=PLAIN)
        assert report.trained_on == 2 and json.loads(json.dumps(report.to_dict()))


def test_a_map_without_a_record_is_told__closed_form(world):
    from dataclasses import replace

    home = world[0]
    with references_of(world, replace(world[2], seen=None)) as references:
        lists = files(home, "edits", HELD), files(home, "photos", HELD)
        null = references.calibrate(*lists, rate=0.1, config=PLAIN).null
        assert null.provenance["note"] == NO_RECORD
        assert references.evaluate(*lists, ["a"] * len(HELD), config=PLAIN).trained_on is None
