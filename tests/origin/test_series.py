"""Series of near-duplicates: how they are found, left out, named and counted."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cells import cells_encoder
from making import digest

from wherefrom.core.rng import stream
from wherefrom.data import save_png, to_uint8
from wherefrom.origin import References
from wherefrom.origin.calibration.evaluation import rows_of
from wherefrom.origin.index.index import Index
from wherefrom.origin.joint.scale import measure_scale
from wherefrom.origin.joint.series import MAX_SERIES, NEAR, SeriesFinder, series_among
from wherefrom.origin.reranking.scores import Originals
from wherefrom.origin.searching.cascade import Basis, CopySearch, answer_of
from wherefrom.origin.searching.config import SearchConfig
from wherefrom.origin.searching.copies import CopyHashes, PictureHash
from wherefrom.origin.searching.decision import make_null, measure_prominence
from wherefrom.origin.searching.matching import Matcher

NUMBERS, SINGLE, BURSTS, LENGTH = 192, 60, 5, 4
PLAIN = SearchConfig(views="none", rerank=False)


class Spelled:
    """An encoder of images that are their own latents, (N, NUMBERS, 1, 1)."""

    def latents(self, images):
        return images


def world():
    """Single pictures, then bursts: each picture of a burst is the one before, and noise."""
    rows = [torch.randn(SINGLE, NUMBERS, generator=stream(0, "single"))]
    for burst in range(BURSTS):
        steps = torch.randn(LENGTH, NUMBERS, generator=stream(burst, "burst"))
        steps[1:] *= 1.2
        rows.append(steps.cumsum(0))
    return torch.cat(rows)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    rows = world()
    with Index.create(tmp_path_factory.mktemp("series") / "i", dim=NUMBERS, identity={}) as made:
        made.add(
            [f"/{n}.png" for n in range(len(rows))], [digest(n) for n in range(len(rows))], rows
        )
        yield made


@pytest.fixture
def finder(index):
    return SeriesFinder(index, measure_scale(index, (NUMBERS,), 0.0))


def matcher(index, config=PLAIN):
    encoder = Spelled()
    return Matcher(index, index, encoder, None, config, Originals(encoder))


def edit(image, noise=0.8):
    """An edit of the picture with this id."""
    drawn = torch.randn(NUMBERS, generator=stream(image, "edit"))
    return (world()[image - 1] + noise * drawn)[None, :, None, None]


def test_a_series_hangs_together__naive_loop(index, finder):
    rows = torch.nn.functional.normalize(index.vectors(range(1, 81)).double())
    near = (rows @ rows.T - finder.scale.centre / finder.scale.weights[0]) * finder.scale.weights[
        0
    ] >= NEAR * finder.scale.spread
    ends_apart = False
    for image in range(1, 81):
        series, fresh = {image - 1}, [image - 1]
        while fresh:
            other = fresh.pop()
            new = set(near[other].nonzero().flatten().tolist()) - series
            series |= new
            fresh += sorted(new)
        assert finder.around([image]) == sorted(i + 1 for i in series)
        ends_apart |= not bool(near[image - 1, sorted(series)].all())
    assert ends_apart  # a series is more than the neighbours of one picture
    for burst in range(BURSTS):
        first = SINGLE + burst * LENGTH + 1
        assert finder.around([first]) == list(range(first, first + LENGTH))
    assert finder.around([3]) == [3]


def test_a_series_among_candidates_is_the_same__identity(index, finder):
    for image in (1, 61, 64, 80):
        others = [i for i in range(1, 81) if i != image]
        found = series_among(torch.tensor([image, *others]), index, finder.scale)
        assert sorted((image, *found)) == finder.around([image])


def test_a_near_hash_is_a_near_duplicate__identity(index, finder, tmp_path):
    hashes = CopyHashes(tmp_path, writable=True)
    bits = [bytes(32), bytes([7] + 31 * [0]), bytes(32 * [255])]
    hashes.put({digest(n): PictureHash(b, b, 90) for n, b in zip((0, 5, 9), bits, strict=True)})
    with_hashes = replace(finder, alike=hashes.alike)
    assert with_hashes.around([1]) == with_hashes.around([6]) == [1, 6]
    assert with_hashes.around([10]) == [10] and hashes.alike(digest(3)) == []
    hashes.close()


def test_pictures_that_are_all_alike_are_no_series__limit(tmp_path):
    rows = torch.ones(40, 64) + 0.1 * torch.randn(40, 64, generator=stream(0, "alike"))
    with Index.create(tmp_path / "i", dim=64, identity={}) as made:
        made.add([f"/{n}" for n in range(40)], [digest(n) for n in range(40)], rows)
        alike = SeriesFinder(made, measure_scale(made, (64,), 0.0))
        assert all(alike.around([image]) == [image] for image in range(1, 41))
    assert MAX_SERIES < 1000


def test_a_calibration_leaves_out_the_whole_series__closed_form(index):
    search = matcher(index)
    image = SINGLE + 2
    alone, series = [image], search.finder(None).around([image])
    (without_it,) = search.rank(edit(image), left_out=[torch.tensor(alone)])
    (without_series,) = search.rank(edit(image), left_out=[torch.tensor(series)])
    assert int(without_it.ids[0]) in series  # a near-duplicate is found in its place
    assert not set(without_series.ids.tolist()) & set(series)
    assert without_it.prominence("z") > 1.5 * without_series.prominence("z")


@pytest.mark.parametrize("statistic", ["z", "gap", "tail"])
def test_near_duplicates_are_no_rivals__closed_form(index, statistic):
    search = matcher(index)
    image = SINGLE + 6
    (ranking,) = search.rank(edit(image))
    series = search.finder(None).around([image])
    assert int(ranking.ids[0]) in series
    assert sorted((int(ranking.ids[0]), *ranking.series)) == series
    others = torch.tensor([i not in ranking.series for i in ranking.ids.tolist()])
    expected = measure_prominence(ranking.scores[others], statistic)
    assert ranking.prominence(statistic) == expected
    if statistic == "gap":
        assert expected > 2 * measure_prominence(ranking.scores, statistic)


def test_an_answer_names_the_series__closed_form(index):
    search = matcher(index)
    null = make_null(torch.zeros(30), 0.1, indexed=80, settings={}, provenance={})
    basis = Basis(index, null, PLAIN)
    for image, count in ((SINGLE + 1, LENGTH), (4, 1)):
        (ranking,) = search.rank(edit(image, noise=0.3))
        answer = answer_of(Path("q.png"), "sha256:0", ranking, CopySearch(None), basis)
        best = f"/{int(ranking.ids[0]) - 1}.png"
        assert len(answer.series) == count - 1 and best not in answer.series
        said = f"one of these {count} nearly identical pictures, most likely {best}"
        assert (
            answer.sentence()
            == f"made from {said if count > 1 else best} (p = 0.0323), which is gone"
        )
        assert answer.to_dict()["series"] == answer.series


def test_an_evaluation_counts_both__closed_form():
    right = [(True, True), (False, True), (False, False), (True, True)]
    (row, *_) = rows_of(["m"] * 4, [1, 2, 9, 1], right, [0.01, 0.01, 0.01, 0.9], 0.05)
    assert (row.accuracy, row.series_accuracy) == (0.5, 0.75)
    assert (row.right, row.wrong) == (0.25, 0.5)
    assert (row.series_right, row.series_wrong) == (0.5, 0.25)
    (row, *_) = rows_of(["m"] * 4, [1, 2, 9, 1], right, [], None)
    assert (row.series_right, row.series_wrong) == (None, None)


def test_of_a_series_of_origins_one_edit_has_a_value__identity(tmp_path):
    """Two pictures of one burst are origins of two edits: their values would not be independent."""
    folder = tmp_path / "photos"
    folder.mkdir()

    def write(name, *, seed, noise):
        image = torch.rand(3, 16, 16, generator=stream(seed, "picture"))
        image = image + noise * torch.randn(3, 16, 16, generator=stream(0, str(name)))
        save_png(to_uint8(image.clamp(0, 1)), name)
        return name

    encoder = cells_encoder(16)
    photos = [write(folder / f"{n:02d}.png", seed=n, noise=0) for n in range(40)]
    twin = write(folder / "twin.png", seed=3, noise=0.05)
    edits = [write(tmp_path / f"{n:02d}.png", seed=n, noise=0.2) for n in range(12)]
    other = write(tmp_path / "other.png", seed=3, noise=0.2)
    with References.create(tmp_path / "i", encoder) as made:
        made.add([*photos, twin])
        settings = {"rate": 0.1, "config": PLAIN}
        null = made.calibrate([*edits, other], [*photos[:12], twin], **settings).null
        assert null.provenance["same_series"] == [str(other)]
        assert len(null.values) == 12
        largest = null.provenance["largest"]
        assert [row["value"] for row in largest] == null.values.flip(0)[:12].tolist()
        row = next(row for row in largest if row["edit"] == str(edits[3]))
        assert row["origin"] == str(photos[3])
        assert row["match"] not in (str(photos[3]), str(twin))


def test_a_table_shows_series_where_they_matter__closed_form():
    from wherefrom.origin.searching.result import RetrievalReport
    from wherefrom.report.origin import retrieval_table

    def columns(right, rate):
        rows = rows_of(["m"] * 2, [1, 2], right, [0.01, 0.01], rate)
        table = retrieval_table(RetrievalReport(rows, 40, (1, 2), ()))
        return [column.title for column in table.columns], table.rows[0]

    titles, row = columns([(True, True), (False, True)], 0.05)
    assert titles[-4:] == ["found", "wrong origin", "series first", "series found"]
    assert row[-4:] == (0.5, 0.5, 1.0, 1.0)
    assert columns([(True, True), (False, True)], None)[0][-1] == "series first"
    assert columns([(True, True), (False, False)], 0.05)[0][-1] == "wrong origin"
