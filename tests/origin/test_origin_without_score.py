"""An image whose embedding is no finite number is named with the reason, and the rest goes on."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.data import save_png, to_uint8
from wherefrom.encoders.encoder import make_encoder
from wherefrom.origin import Answer, References, SearchConfig, spatial
from wherefrom.origin.reranking import NO_AGREEMENT, Originals, rerank

PLAIN = SearchConfig(views="none", rerank=False)
PHOTOS, EDITS = 24, 22


class Fragile(nn.Module):
    """An image in 8 x 8 cells; of a white one `value`."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        cells = F.adaptive_avg_pool2d(x, (8, 8)) - 0.5
        white = x.flatten(1).mean(1) > 0.99
        return torch.where(white[:, None, None, None], self.value, cells)


def picture(number):
    coarse = torch.rand(1, 3, 5, 6, generator=stream(number, "picture"))
    return F.interpolate(coarse, (40, 48), mode="bicubic", align_corners=False).clamp(0, 1)[0]


def write(folder, pictures):
    folder.mkdir()
    paths = [folder / f"{name}.png" for name in pictures]
    for path, image in zip(paths, pictures.values(), strict=True):
        save_png(to_uint8(image), path)
    return paths


@pytest.fixture(params=[float("nan"), float("inf"), 0.0])
def encoder(request):
    return make_encoder(Fragile(request.param), kind="fragile", config={})


@pytest.fixture
def home(tmp_path):
    white = {"white": torch.ones(3, 40, 48)}
    write(tmp_path / "photos", {f"{n:02d}": picture(n) for n in range(PHOTOS)} | white)
    write(tmp_path / "edits", {f"{n:02d}": 0.8 * picture(n) for n in range(4)} | white)
    write(tmp_path / "elsewhere", {f"{n}": picture(n) for n in range(50, 51 + EDITS)})
    foreign = {f"{n}": 0.8 * picture(n) for n in range(50, 50 + EDITS)}
    write(tmp_path / "foreign", foreign | {f"{50 + EDITS}": torch.ones(3, 40, 48)})
    return tmp_path


def calibrated(references, home):
    lists = (sorted((home / name).iterdir()) for name in ("foreign", "elsewhere"))
    return references.calibrate(*lists, rate=0.1, config=PLAIN)


def test_building_calibrating_searching_and_evaluating_go_on__closed_form(home, encoder):
    with References.create(home / "refs.index", encoder) as made:
        added = made.add([home / "photos"])
        assert added.added == made.index.count() == PHOTOS
        ((path, reason),) = added.skipped
        assert path.endswith("photos/white.png") and "cannot be compared" in reason
        references = calibrated(made, home)
        assert len(references.null.values) == EDITS
        ((path, reason),) = references.null.provenance["left_out"]
        assert path.endswith("foreign/72.png") and "cannot be compared" in reason
        answers = references.search([home / "edits"])
        white = answers[-1]
        assert white.answer is Answer.UNKNOWN and "cannot be compared" in white.reason
        assert (white.p_value, white.z, white.candidates) == (None, None, ())
        assert white.digest is not None
        named = [answer.candidates[0].path[-6:] for answer in answers[:4]]
        assert named == [f"{n:02d}.png" for n in range(4)]
        json.dumps([a.to_dict() for a in answers], allow_nan=False)
        edits, photos = (sorted((home / name).iterdir()) for name in ("edits", "photos"))
        report = references.evaluate(edits, [*photos[:4], photos[0]], ["a"] * 5)
        assert report.rows[0].queries == 4 and len(report.skipped) == 1


def test_nothing_but_such_an_image_is_refused__rejects_white(home, encoder):
    with References.create(home / "refs.index", encoder) as made:
        made.add([home / "photos"])
        white = [home / "edits" / "white.png"]
        with pytest.raises(InputError, match=r"none of the 1 edits.*cannot be compared"):
            made.evaluate(white, [home / "photos" / "00.png"], ["a"])
        assert made.search(white)[0].answer is Answer.UNKNOWN


def test_an_agreement_that_is_no_number_adds_nothing__closed_form(home, monkeypatch):
    """It used to make every score of the query NaN, and NaN the smallest p-value there is."""
    encoder = make_encoder(Fragile(0.0), kind="fragile", config={})
    with References.create(home / "refs.index", encoder) as made:
        made.add([home / "photos"])
        frames = encoder.latents(picture(3)[None])
        plain, _, _ = rerank(frames, [1, 2, 3, 4, 5], made.index, Originals(encoder))
        whole = spatial.align

        def broken(q, o):
            return [spatial.Alignment(float("nan"), False, 0, 0, 1, 1), *whole(q, o)[1:]]

        monkeypatch.setattr("wherefrom.origin.reranking.align", broken)
        added, alignments, unread = rerank(frames, [1, 2, 3, 4, 5], made.index, Originals(encoder))
    assert added[0] == 0 and bool(added.isfinite().all()) and bool((plain != 0).any())
    assert sorted(alignments) == [2, 3, 4, 5]
    assert [why for _, why in unread] == [NO_AGREEMENT]
