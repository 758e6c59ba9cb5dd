"""An image whose embedding is no finite number is named with the reason, and the rest goes on."""

import json
import shutil

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.data import save_png, to_uint8
from wherefrom.encoders.encoder import make_encoder
from wherefrom.origin import AnswerKind, References, SearchConfig
from wherefrom.origin.reranking import spatial
from wherefrom.origin.reranking.scores import NO_AGREEMENT, Originals, rerank

PLAIN = SearchConfig(views="none", rerank=False)
PHOTOS, EDITS = 20, 9


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
    return F.interpolate(coarse, (16, 24), mode="bicubic", align_corners=False).clamp(0, 1)[0]


def write(folder, pictures):
    folder.mkdir()
    paths = [folder / f"{name}.png" for name in pictures]
    for path, image in zip(paths, pictures.values(), strict=True):
        save_png(to_uint8(image), path)
    return paths


@pytest.fixture(scope="module", params=[float("nan"), float("inf"), 0.0])
def encoder(request):
    return make_encoder(Fragile(request.param), kind="fragile", config={})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Folders of pictures that nobody changes."""
    folder = tmp_path_factory.mktemp("pictures")
    white = {"white": torch.ones(3, 16, 24)}
    write(folder / "photos", {f"{n:02d}": picture(n) for n in range(PHOTOS)} | white)
    write(folder / "edits", {f"{n:02d}": 0.8 * picture(n) for n in range(4)} | white)
    write(folder / "elsewhere", {f"{n}": picture(n) for n in range(50, 51 + EDITS)})
    foreign = {f"{n}": 0.8 * picture(n) for n in range(50, 50 + EDITS)}
    write(folder / "foreign", foreign | {f"{50 + EDITS}": torch.ones(3, 16, 24)})
    return folder


@pytest.fixture(scope="module")
def built(home, encoder, tmp_path_factory):
    """An index of the photos, and what `add` said of them."""
    with References.create(tmp_path_factory.mktemp("built") / "refs.index", encoder) as made:
        return made.index.path, made.add([home / "photos"])


@pytest.fixture
def references(built, encoder, tmp_path):
    """A copy of that index, open for writing."""
    copy = shutil.copytree(built[0], tmp_path / "refs.index")
    with References.open(copy, encoder=encoder, writable=True) as opened:
        yield opened


def calibrated(references, home):
    lists = (sorted((home / name).iterdir()) for name in ("foreign", "elsewhere"))
    return references.calibrate(*lists, rate=0.1, config=PLAIN)


def test_building_calibrating_searching_and_evaluating_go_on__closed_form(home, built, references):
    added = built[1]
    assert added.added == references.index.count() == PHOTOS
    ((path, reason),) = added.skipped
    assert path == home / "photos" / "white.png" and "cannot be compared" in reason
    references = calibrated(references, home)
    assert len(references.null.values) == EDITS
    (left_out,) = references.null.provenance["left_out"]
    assert left_out["path"].endswith(f"foreign/{50 + EDITS}.png")
    assert "cannot be compared" in left_out["reason"]
    answers = references.search([home / "edits"])
    white = answers[-1]
    assert white.answer is AnswerKind.UNKNOWN and "cannot be compared" in white.reason
    assert (white.p_value, white.z, white.candidates) == (None, None, ())
    assert white.digest is not None
    named = [answer.candidates[0].path[-6:] for answer in answers[:4]]
    assert named == [f"{n:02d}.png" for n in range(4)]
    json.dumps([a.to_dict() for a in answers], allow_nan=False)
    edits, photos = (sorted((home / name).iterdir()) for name in ("edits", "photos"))
    report = references.evaluate(edits, [*photos[:4], photos[0]], ["a"] * 5)
    assert report.rows[0].queries == 4 and len(report.skipped) == 1


def test_nothing_but_such_an_image_is_refused__rejects_white(home, references):
    white = [home / "edits" / "white.png"]
    with pytest.raises(InputError, match=r"none of the 1 edits.*cannot be compared"):
        references.evaluate(white, [home / "photos" / "00.png"], ["a"])
    assert references.search(white)[0].answer is AnswerKind.UNKNOWN


def test_an_agreement_that_is_no_number_adds_nothing__closed_form(home, tmp_path, monkeypatch):
    """It used to make every score of the query NaN, and NaN the smallest p-value there is."""
    encoder = make_encoder(Fragile(0.0), kind="fragile", config={})
    with References.create(tmp_path / "refs.index", encoder) as made:
        made.add([home / "photos" / f"{n:02d}.png" for n in range(6)])
        frames = encoder.latents(picture(3)[None])
        plain, _, _ = rerank(frames, [1, 2, 3, 4, 5], made.index, Originals(encoder))
        whole = spatial.align

        def broken(q, o):
            return [spatial.Alignment(float("nan"), False, 0, 0, 1, 1), *whole(q, o)[1:]]

        monkeypatch.setattr("wherefrom.origin.reranking.scores.align", broken)
        added, alignments, unread = rerank(frames, [1, 2, 3, 4, 5], made.index, Originals(encoder))
    assert added[0] == 0 and bool(added.isfinite().all()) and bool((plain != 0).any())
    assert sorted(alignments) == [2, 3, 4, 5]
    assert [why for _, why in unread] == [NO_AGREEMENT]
