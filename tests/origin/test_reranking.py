"""Re-ranking by files, the settings that a calibration holds for, and the evidence of a page."""

import contextlib
import shutil
from pathlib import Path

import pytest
import torch
from cells import cells_encoder
from refusing import refused
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.data import save_png, to_uint8
from wherefrom.origin import References, SearchConfig
from wherefrom.origin.reranking.scores import WEIGHT, Originals
from wherefrom.origin.reranking.spatial import align
from wherefrom.origin.searching.result import AnswerKind

SIDE = 16  # of the grid of cells
ENCODER = cells_encoder(SIDE)
KNOWN, NULL, RATE = 21, 9, 0.1
RERANKED, FLIPPED = SearchConfig(), SearchConfig(rerank=False)


def picture(number):
    rng = stream(number, "picture")
    parts = [
        F.interpolate(torch.rand(1, 3, n, n, generator=rng), (32, 32), mode="bicubic")[0] * w
        for n, w in ((4, 0.6), (16, 0.5))
    ]
    return sum(parts).clamp(0, 1)


def write(folder, numbers, make):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        save_png(to_uint8(make(number)[None])[0], folder / f"{number:02d}.png")


def edited(number):
    noise = torch.randn(3, 32, 32, generator=stream(number, "edit"))
    return (0.7 * picture(number) + 0.1 + 0.05 * noise).clamp(0, 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("reranking") / "home"
    write(home / "photos", range(KNOWN), picture)
    write(home / "edits", range(3), edited)
    write(home / "flipped", range(3), lambda n: edited(n).flip(-1))
    write(home / "null", range(50, 50 + NULL), edited)
    write(home / "elsewhere", range(50, 50 + NULL), picture)
    with contextlib.chdir(home), References.create("refs.index", ENCODER) as references:
        references.add([Path("photos")])
    return home


@pytest.fixture
def references(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    with References.open("refs.index", encoder=ENCODER, writable=True) as opened:
        yield opened


def calibrated(references, config):
    null, elsewhere = (sorted(Path(name).iterdir()) for name in ("null", "elsewhere"))
    return references.calibrate(null, elsewhere, rate=RATE, config=config)


def test_a_mirrored_edit_needs_the_mirrored_view__closed_form(references):
    for config, right in ((FLIPPED, 3), (SearchConfig(views="none", rerank=False), 0)):
        answers = references.search([Path("flipped")], config=config)
        first = [answer.candidates[0].path for answer in answers]
        found = sum(path.endswith(f"{n:02d}.png") for n, path in enumerate(first))
        assert found == right


def test_scores_after_re_ranking__closed_form(references):
    """The plain score, and the agreement above its median, weighed."""
    (before,) = references.search([Path("edits/01.png")], config=FLIPPED)
    (after,) = references.search([Path("edits/01.png")], config=RERANKED)
    photos = torch.stack([picture(n).mul(255).round() / 255 for n in range(KNOWN)])
    query = (edited(1)[None].mul(255).round() / 255).clamp(0, 1)
    frames = ENCODER.latents(torch.cat([query, query.flip(-1)]))
    found = torch.tensor([a.agreement for a in align(frames, ENCODER.latents(photos))]).double()
    apart = found - found.median()
    added = dict(enumerate((WEIGHT * apart).tolist()))
    plain = {c.path: c.deviations for c in before.candidates}
    number = {c.path: int(Path(c.path).stem) for c in after.candidates}
    both = [c for c in after.candidates if c.path in plain]
    assert len(both) >= 5
    for candidate in both:
        wanted = plain[candidate.path] + added[number[candidate.path]]
        assert candidate.deviations == pytest.approx(wanted, abs=0.05)
    scores = [c.deviations for c in after.candidates]
    assert scores == sorted(scores, reverse=True) and after.candidates[0].path.endswith("01.png")


def test_a_file_that_cannot_be_read_keeps_its_score_and_is_named__closed_form(references):
    Path("photos/03.png").rename("away.png")
    shutil.copy("photos/05.png", "photos/04.png")
    Path("photos/06.png").write_bytes(b"torn")
    (plain,) = references.search([Path("edits/01.png")], config=FLIPPED)
    (after,) = references.search([Path("edits/01.png")], config=RERANKED)
    unread = [note for note in after.notes if "could not be compared again" in note]
    told = "; ".join(unread)
    assert len(unread) == 3
    assert "photos/04.png could not be compared again: has changed since it was added" in told
    assert "photos/03.png" in told and "photos/06.png" in told
    kept = {c.path: c.deviations for c in plain.candidates}
    for candidate in after.candidates:
        if candidate.path in kept and candidate.path[-6:-4] in ("03", "04", "06"):
            assert candidate.deviations == kept[candidate.path]


@pytest.mark.parametrize("config", [RERANKED, SearchConfig(views="flip+crops", statistic="tail")])
def test_a_calibration_holds_for_its_own_settings__roundtrip(references, config):
    calibrated(references, config)
    with References.open("refs.index", encoder=ENCODER) as opened:
        assert opened.configured({}) == config
        assert opened.describe()["search"] == config.to_dict()
        answers = opened.search([Path("null")])
        # The null scores are of these very files, each with the same settings as in a search.
        assert sum(answer.p_value <= RATE for answer in answers) <= RATE * NULL
        assert sorted(answer.p_value for answer in answers) == pytest.approx(
            [(1 + n) / (NULL + 1) for n in range(1, NULL + 1)]
        )
        with pytest.raises(InputError, match="views none, not flip"):
            opened.search([Path("edits")], config=SearchConfig(views="none"))
        with pytest.raises(InputError, match="is calibrated for other settings"):
            opened.configured({"rerank": not config.rerank})


def test_p_values_of_further_candidates__closed_form(references):
    for statistic in ("z", "gap"):
        references = calibrated(references, SearchConfig(statistic=statistic, rerank=False))
        (answer,) = references.search([Path("edits/01.png")])
        first, *others = answer.candidates
        assert first.p_value == answer.p_value
        for other in others:
            above = int((references.null.values >= other.deviations).sum())
            wanted = (1 + above) / (NULL + 1) if statistic == "z" else None
            assert other.p_value == wanted


def test_evaluation_ranks_with_the_same_scores__naive_loop(references):
    edits, photos = (sorted(Path(name).iterdir())[:3] for name in ("flipped", "photos"))
    for config in (FLIPPED, RERANKED, SearchConfig(views="none", rerank=False)):
        report = references.evaluate(edits, photos, ["m"] * 3, config=config)
        answers = references.search(edits, config=config)
        for rank, answer, photo in zip(report.ranks, answers, photos, strict=True):
            names = [Path(c.path).name for c in answer.candidates]
            assert names[rank - 1] == photo.name if rank <= 10 else photo.name not in names


def test_evidence_of_a_flipped_edit__closed_form(references):
    answers = references.search([Path("flipped")], config=FLIPPED)
    evidence = references.evidence(answers)
    assert len(evidence) == 9
    for answer in answers:
        found = evidence[answer.name, answer.candidates[0].path]
        other = evidence[answer.name, answer.candidates[2].path]
        assert found.alignment.mirrored and found.alignment.agreement > other.alignment.agreement
        assert found.cells.shape == (SIDE, SIDE)
        assert float(found.cells.nanmean()) < float(other.cells.nanmean())


def test_latents_are_remembered_by_content__identity(references):
    originals = Originals(ENCODER)
    (image,) = references.index.get(references.index.find(["photos/01.png"]))
    first = originals.latent(image)
    assert originals.latent(image) is first
    Path("photos/01.png").unlink()
    assert originals.latent(image) is first
    assert isinstance(Originals(ENCODER).latent(image), str)


def test_without_most_of_its_pictures_an_index_cannot_say__rejects_calibration(references):
    """As after a move that the index was not told of."""
    Path("photos").rename("moved")
    (answer,) = references.search([Path("edits/01.png")], config=RERANKED)
    assert answer.answer is AnswerKind.UNKNOWN and answer.p_value is None
    assert "could not be compared with it (photos/" in answer.reason
    assert "say with --root where they are now, or run `wherefrom origin sync`" in answer.reason
    null, elsewhere = (sorted(Path(name).iterdir()) for name in ("null", "elsewhere"))
    with refused("none of the .* edits could be compared; the first: null/.* run `wherefrom"):
        references.calibrate(null, elsewhere, rate=RATE, config=RERANKED)
    with refused("none of the 1 edits could be compared; the first: edits/01.png: "):
        references.evaluate([Path("edits/01.png")], [Path("moved/01.png")], ["m"], config=RERANKED)
    Path("moved").rename("photos")
    (again,) = references.search([Path("edits/01.png")], config=RERANKED)
    assert again.answer is not AnswerKind.UNKNOWN or "not calibrated" in again.reason
