"""A folder of references: what is added, found, called a copy, and refused."""

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cells import cells_encoder
from making import digest
from torch.nn import functional as F

from wherefrom.calibration.conformal import tie_width
from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.data import save_png, to_uint8
from wherefrom.encoders.tiny_conv import (
    TinyConvConfig,
    as_encoder,
    make_autoencoder,
    save_autoencoder,
)
from wherefrom.origin import (
    AnswerKind,
    EditMapConfig,
    References,
    SearchConfig,
    build,
    fit_edit_map,
    remove,
    search,
)
from wherefrom.origin.edit_map.pairs import EmbeddedPairs
from wherefrom.origin.index.index import Index
from wherefrom.origin.index.places import shown_path
from wherefrom.origin.index.scanning.scan import ScanStatistics
from wherefrom.origin.searching.decision import NullScores, make_null, moments_without

SMALL = TinyConvConfig(latent_channels=2, width_half=4, width_quarter=4, width_eighth=4, blocks=0)
KNOWN, UNKNOWN, EDITED = 22, 10, 8
PLAIN = SearchConfig(views="none", rerank=False)


def picture(number):
    """A smooth picture of its own, float32 (3, 16, 24)."""
    coarse = torch.rand(1, 3, 5, 6, generator=stream(number, "picture"))
    return F.interpolate(coarse, (16, 24), mode="bicubic", align_corners=False).clamp(0, 1)[0]


def edited(number):
    """The same picture, darker, with noise."""
    noise = torch.randn(3, 16, 24, generator=stream(number, "edit"))
    return (0.8 * picture(number) + 0.02 * noise).clamp(0, 1)


def levels(images):
    """Images as they are read from 8-bit files."""
    return images.mul(255).round() / 255


def write(folder, numbers, make):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:03d}.png" for number in numbers]
    for number, path in zip(numbers, paths, strict=True):
        save_png(to_uint8(make(number)), path)
    return paths


@pytest.fixture(scope="module")
def encoder():
    return cells_encoder(8)


@pytest.fixture(scope="module")
def made(tmp_path_factory, encoder):
    """Photographs, edits of them, and edits of others; an index of the photographs."""
    home = tmp_path_factory.mktemp("origin")
    write(home / "photos", range(KNOWN), picture)
    write(home / "edits", range(EDITED), edited)
    write(home / "elsewhere", range(KNOWN, KNOWN + UNKNOWN), picture)
    write(home / "foreign", range(KNOWN, KNOWN + UNKNOWN), edited)
    references = References.create(home / "refs.index", encoder)
    with contextlib.chdir(home):
        references.add([Path("photos")])
    # The tests that compare with plain cosines need a query to be looked at in one way only.
    foreign, elsewhere = (
        sorted((home / "foreign").iterdir()),
        sorted((home / "elsewhere").iterdir()),
    )
    references = references.calibrate(foreign, elsewhere, rate=0.1, config=PLAIN)
    references.close()
    return home


@pytest.fixture(scope="module")
def answers(made, encoder):
    """What is said of the edits, and then of the edits of others."""
    with (
        contextlib.chdir(made),
        References.open(made / "refs.index", encoder=encoder) as references,
    ):
        return references.search([Path("edits"), Path("foreign")])


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def references(home, encoder):
    opened = References.open(home / "refs.index", encoder=encoder, writable=True)
    yield opened
    opened.close()


def test_edits_lead_to_their_photographs__naive_loop(answers, encoder):
    answers = answers[:EDITED]
    rows = encoder.embed(levels(torch.stack([picture(n) for n in range(KNOWN)])))
    for number, answer in enumerate(answers):
        query = encoder.embed(levels(edited(number)[None]))
        cosines = F.normalize(rows.double()) @ F.normalize(query.double())[0]
        best = int(cosines.argmax())
        assert answer.candidates[0].path.endswith(f"{best:03d}.png")
        assert answer.candidates[0].score == pytest.approx(float(cosines.max()), abs=2e-3)
        z = float((cosines.max() - cosines.mean()) / cosines.std(correction=0))
        assert answer.z == pytest.approx(z, rel=0.02)
    assert sum(a.candidates[0].path.endswith(f"{i:03d}.png") for i, a in enumerate(answers)) >= 6


def test_one_call_opens_searches_and_closes__identity(home, encoder):
    with References.open(home / "refs.index", encoder=encoder) as opened:
        expected = opened.search([home / "edits"])
    assert search(home / "refs.index", [home / "edits"], encoder=encoder) == expected
    with pytest.raises(InputError, match="does not say where its encoder is"):
        search(home / "refs.index", [home / "edits"])


def test_one_call_builds_what_add_builds_and_continues__identity(home, encoder):
    report = build(home / "built.index", [home / "photos"], encoder=encoder)
    assert (report.added, report.skipped) == (KNOWN, ())
    expected = search(home / "refs.index", [home / "edits"], encoder=encoder, config=PLAIN)
    answers = search(home / "built.index", [home / "edits"], encoder=encoder, config=PLAIN)
    assert [a.candidates[0].path for a in answers] == [a.candidates[0].path for a in expected]
    assert build(home / "built.index", [home / "photos"], encoder=encoder).unchanged == KNOWN


def test_an_index_of_nothing_is_not_left__rejects_images(home, encoder):
    (home / "torn.png").write_bytes(b"no image")
    report = build(home / "new.index", [home / "torn.png"], encoder=encoder)
    assert report.usable == 0 and not (home / "new.index").exists()
    with pytest.raises(InputError, match=r"no image was added: 1 files .*torn\.png"):
        report.require_usable()


def test_answers_show_themselves_in_a_notebook__identity_rows(answers):
    page, rows = answers._repr_html_(), answers.rows()
    assert page.count("<tr>") == 1 + len(answers) and "edits/000.png" in page
    assert rows[0]["best candidate"] == answers[0].candidates[0].path
    assert answers.to_dict()["answers"][0]["name"] == answers[0].name
    pandas = pytest.importorskip("pandas")
    assert isinstance(answers.to_dataframe(), pandas.DataFrame)


def test_answers_follow_the_conformal_p_value__closed_form(references, answers):
    assert len(answers) == EDITED + UNKNOWN
    for answer in answers:
        ends = references.null.values + tie_width(references.null.values)
        gap = answer.candidates[0].deviations - answer.candidates[1].deviations
        above = int((ends >= gap).sum())
        assert answer.p_value == (1 + above) / (UNKNOWN + 1)
        assert answer.answer is (AnswerKind.EDIT if answer.p_value <= 0.1 else AnswerKind.NONE)
        if answer.answer is AnswerKind.EDIT:
            assert (
                answer.sentence()
                == f"made from {shown_path(answer.candidates[0].path)} (p = {answer.p_value:.3g})"
            )
        else:
            assert answer.sentence().startswith("no origin in this index: the best match")


def test_false_alarms_on_the_calibration_set_are_at_most_the_rate__limit(answers):
    assert sum(a.answer is AnswerKind.EDIT for a in answers[EDITED:]) <= 0.1 * UNKNOWN


def test_the_same_file_is_a_copy_not_an_edit__identity(references, home):
    shutil.copy(home / "photos" / "007.png", home / "renamed.png")
    (answer,) = references.search([home / "renamed.png"])
    assert answer.answer is AnswerKind.COPY and answer.p_value is None
    assert answer.candidates[0].path.endswith("007.png") and len(answer.candidates) == 1


def test_adding_again_embeds_only_what_is_new_or_changed__identity(references, home):
    again = references.add([Path("photos")])
    assert (again.added, again.unchanged, again.replaced) == (0, KNOWN, 0)
    shutil.copy(home / "elsewhere" / f"{KNOWN:03d}.png", home / "photos" / "001.png")
    new = home / "elsewhere" / f"{KNOWN + 1:03d}.png"
    shutil.copy(new, home / "photos" / "new\nname é.png")
    (home / "photos" / "torn.png").write_bytes((home / "photos" / "002.png").read_bytes()[:100])
    changed = references.add([Path("photos")])
    assert (changed.added, changed.unchanged, changed.replaced) == (1, KNOWN - 1, 1)
    assert [path for path, _ in changed.skipped] == [Path("photos/torn.png")]
    assert references.index.count() == KNOWN + 1


def test_removed_images_are_not_found__identity(references, home):
    assert remove(references.index, [Path("photos/003.png")]) == 1
    (answer,) = references.search([home / "edits" / "003.png"])
    assert all(not c.path.endswith("003.png") for c in answer.candidates)
    with pytest.raises(InputError, match="nothing was removed"):
        remove(references.index, [home / "nowhere.png"])


def test_a_broken_query_is_a_row_not_a_stop__closed_form(references, home):
    (home / "edits" / "zz.png").write_bytes(b"no image")
    answers = references.search([home / "edits"])
    assert len(answers) == EDITED + 1
    assert answers[-1].answer is AnswerKind.UNKNOWN and answers[-1].p_value is None


def test_origins_in_the_index_are_left_out_of_the_calibration__identity(references, home):
    """Calibrated by edits of its own images, the null scores are those of an index without them."""
    edits, photos = sorted((home / "edits").iterdir()), sorted((home / "photos").iterdir())[:EDITED]
    config = PLAIN.with_values({"statistic": "z"})
    mixed = references.calibrate(edits, photos, rate=0.2, config=config)
    z, rows = [], references.encoder.embed(levels(torch.stack(list(map(picture, range(KNOWN))))))
    for number, edit in enumerate(edits):
        kept = [n for n in range(KNOWN) if n != number]
        with Index.create(home / f"without-{number}", dim=rows.shape[1], identity={}) as without:
            without.add([f"/{n}" for n in kept], [digest(n) for n in kept], rows[kept])
            query = references.encoder.embed(levels(edited(number)[None]))
            best = without.search(query, 1)
        z.append(float((best.scores[:, 0] - best.statistics.mean) / best.statistics.std))
        assert edit.name == photos[number].name
    assert mixed.null.values.tolist() == pytest.approx(sorted(z), rel=5e-3)


def test_evaluation_ranks_the_right_origin__naive_loop(references, home, answers):
    edits, photos = sorted((home / "edits").iterdir()), sorted((home / "photos").iterdir())[:EDITED]
    models = ["a"] * 3 + ["b"] * 5
    report = references.evaluate(edits, photos, models)
    answers = answers[:EDITED]
    ranks = []
    for answer, photo in zip(answers, photos, strict=True):
        places = [i for i, c in enumerate(answer.candidates) if c.path.endswith(photo.name)]
        ranks.append(places[0] + 1 if places else None)
    assert all(r is None or r == found for r, found in zip(ranks, report.ranks, strict=True))
    everything, a, b = report.rows
    assert (everything.model, a.model, b.model) == ("all", "a", "b")
    assert (everything.queries, a.queries, b.queries) == (8, 3, 5)
    assert everything.mean_average_precision == pytest.approx(
        np.mean([1 / r for r in report.ranks])
    )
    called = [x.answer is AnswerKind.EDIT for x in answers]
    right = [r == 1 for r in report.ranks]
    assert everything.right == pytest.approx(
        np.mean([c and r for c, r in zip(called, right, strict=True)])
    )
    with pytest.raises(InputError, match="is not in the index; add it first"):
        references.evaluate(edits[:1], [home / "elsewhere" / f"{KNOWN:03d}.png"], ["a"])


def test_an_edit_map_is_kept_with_the_index__roundtrip(home, encoder):
    numbers = range(KNOWN)
    origins = encoder.embed(torch.stack([picture(n) for n in numbers]))
    edits = encoder.embed(torch.stack([edited(n) for n in numbers]))
    owner = torch.arange(KNOWN)
    fitted = fit_edit_map(
        EmbeddedPairs(origins, edits, owner, encoder=encoder.identity), config=EditMapConfig(rank=8)
    )
    built = References.create(home / "mapped.index", encoder, edit_map=fitted)
    built.add([home / "photos"])
    first = built.search([home / "edits"], config=PLAIN)
    built.close()
    opened = References.open(home / "mapped.index", encoder=encoder)
    assert opened.index.dim == 8
    assert opened.search([home / "edits"], config=PLAIN) == first
    assert first[0].answer is AnswerKind.UNKNOWN and "not calibrated" in first[0].reason
    opened.close()


def test_another_encoder__rejects_encoder(home):
    other = cells_encoder(8, grey=0.4)
    with pytest.raises(InputError, match="weights"):
        References.open(home / "refs.index", encoder=other)
    with pytest.raises(InputError, match="pass --encoder"):
        References.open(home / "refs.index")


def test_the_remembered_encoder_is_loaded__roundtrip(home):
    module = make_autoencoder(SMALL, seed=1)
    save_autoencoder(module, home / "vae")
    built = References.create(home / "own.index", as_encoder(module), source=str(home / "vae"))
    built.close()
    opened = References.open(home / "own.index")
    assert opened.encoder.identity == built.encoder.identity
    opened.close()


def test_moments_without_images__naive_loop():
    scores = torch.randn(2, 30, dtype=torch.float64, generator=stream(0, "scores"))
    whole = ScanStatistics(scores.mean(1), scores.std(1, correction=0), 30)
    mean, std = moments_without(whole, scores[:, 4:6])
    rest = torch.cat([scores[:, :4], scores[:, 6:]], dim=1)
    assert torch.allclose(mean, rest.mean(1)) and torch.allclose(std, rest.std(1, correction=0))


def test_too_few_null_values_or_images__rejects_sizes(tmp_path):
    with pytest.raises(InputError, match="cannot be supported by 30"):
        make_null(torch.randn(30), 0.01, indexed=40, settings={}, provenance={})
    few = torch.ones(1, dtype=torch.float64)
    with pytest.raises(InputError, match="at least 20"):
        moments_without(ScanStatistics(few, few, 20), torch.ones(1, 1))
    null = make_null(
        torch.randn(30), 0.1, indexed=40, settings=PLAIN.to_dict(), provenance={"edits": 30}
    )
    null.save(tmp_path / "null")
    loaded = NullScores.load(tmp_path / "null")
    assert torch.equal(loaded.values, null.values) and loaded.settings == null.settings
