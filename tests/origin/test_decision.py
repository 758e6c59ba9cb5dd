"""False alarms on held-out edits, for each statistic and way to look; left-out images."""

import functools

import pytest
import torch
from latent_model import CHANNELS, SIDE, make_pairs
from making import digest
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.origin import SearchConfig
from wherefrom.origin.index.index import Index
from wherefrom.origin.reranking import views
from wherefrom.origin.searching.decision import STATISTICS, make_null, measure_prominence
from wherefrom.origin.searching.matching import merge

INDEXED, NULL, HELD = 120, 200, 200
RATE = 0.05
# The false-alarm rate given the null set follows a beta law, and the held-out count is binomial:
# both together stay below this with more than 0.999.
MOST_ALARMS = 0.05 + 3.3 * (0.05 * 0.95 * (1 / NULL + 1 / HELD)) ** 0.5


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    origins, _, _ = make_pairs(INDEXED, 1, 0)
    made = Index.create(
        tmp_path_factory.mktemp("decision") / "i", dim=origins.shape[1], identity={}
    )
    made.add([f"/{n}" for n in range(INDEXED)], [digest(n) for n in range(INDEXED)], origins)
    yield made
    made.close()


def seen(edits, config):
    """What `Matcher` searches with; a mirror image's latent is taken to be the mirrored latent."""
    frames = edits.view(-1, 1, CHANNELS, SIDE, SIDE)
    if config.views != "none":
        frames = torch.cat([frames, frames.flip(-1)], dim=1)
    return torch.cat([views.look(frame, config.views, None) for frame in frames])


def rankings(index, edits, config, left_out=None, k=64):
    queries = seen(edits, config)
    none = torch.zeros(0, dtype=torch.int64)
    count = views.count(config.views)
    out = [none] * len(edits) if left_out is None else left_out
    result = index.search(queries, min(k + max(len(x) for x in out), index.count()))
    found = []
    for row, ids in enumerate(out):
        mine = slice(row * count, (row + 1) * count)
        own = F.normalize(queries[mine].double()) @ index.vectors(ids.tolist()).double().T
        found.append(merge(result, mine, ids, own, k))
    return found


@functools.cache
def strangers(seed, count):
    """Edits of origins that no index of this module holds."""
    return make_pairs(count, 1, seed)[1]


KEPT = {}


def stranger_scores(index, seed, look):
    """The scores of the candidates of such edits, which are the same for all statistics."""
    if (seed, look) not in KEPT:
        found = rankings(index, strangers(seed, NULL), SearchConfig(views=look))
        KEPT[seed, look] = [one.scores for one in found]
    return KEPT[seed, look]


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("look", views.VIEWS)
def test_false_alarms_on_held_out_edits__limit(index, statistic, look):
    config = SearchConfig(views=look, statistic=statistic)
    null, held = (
        torch.tensor([measure_prominence(s, statistic) for s in stranger_scores(index, seed, look)])
        for seed in (8, 9)
    )
    made = make_null(null, RATE, indexed=INDEXED, settings=config.to_dict(), provenance={})
    alarms = float((made.p_values(held) <= RATE).double().mean())
    assert 0 < alarms <= MOST_ALARMS


@pytest.mark.parametrize("statistic", STATISTICS)
def test_edits_of_indexed_images_stand_out__limit(index, statistic):
    config = SearchConfig(views="none", statistic=statistic)
    found = rankings(index, make_pairs(INDEXED, 1, 0)[1], config)
    values = torch.tensor([measure_prominence(one.scores, statistic) for one in found])
    null = torch.tensor(
        [measure_prominence(s, statistic) for s in stranger_scores(index, 8, "none")]
    )
    assert float(values.mean()) > float(null.mean()) + float(null.std())


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_better_best_match_stands_out_more__limit(statistic):
    scores = torch.randn(64, dtype=torch.float64, generator=stream(0, "s")).sort().values.flip(0)
    better = [scores.clone() for _ in range(4)]
    for step, row in enumerate(better):
        row[0] += 0.3 * step
    values = [measure_prominence(row, statistic) for row in better]
    assert values == sorted(values) and values[0] < values[-1]


def test_statistics__closed_form():
    scores = torch.tensor([5.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    assert [measure_prominence(scores, name) for name in STATISTICS] == [5.0, 2.0, (5 - 1) / 1.5]
    assert measure_prominence(torch.full((4,), 2.0), "tail") == 0
    with pytest.raises(InputError, match="too few"):
        measure_prominence(scores[:2], "z")


@pytest.mark.parametrize("look", views.VIEWS)
def test_left_out_images_are_as_if_not_there__naive_loop(index, tmp_path, look):
    config = SearchConfig(views=look)
    edits = make_pairs(INDEXED, 1, 0)[1][:2]
    left_out = [torch.tensor([1, 7]), torch.tensor([2])]
    origins = make_pairs(INDEXED, 1, 0)[0]
    for row, (gone, found) in enumerate(
        zip(left_out, rankings(index, edits, config, left_out, k=20), strict=True)
    ):
        kept = [n for n in range(INDEXED) if n + 1 not in gone.tolist()]
        with Index.create(tmp_path / f"{row}", dim=origins.shape[1], identity={}) as without:
            without.add([f"/{n}" for n in kept], [digest(n) for n in kept], origins[kept])
            (wanted,) = rankings(without, edits[row : row + 1], config, k=20)
            names = [image.path for image in without.get(wanted.ids.tolist())]
        assert [image.path for image in index.get(found.ids.tolist())] == names
        # Two layouts of the index may differ by STD_TOLERANCE in the deviation.
        assert torch.allclose(found.scores, wanted.scores, rtol=2e-3, atol=0)


def test_views_are_merged_to_the_best_of_each__naive_loop(index):
    config = SearchConfig(views="flip+crops")
    edits = strangers(8, NULL)[:3]
    stored = index.vectors(range(1, INDEXED + 1)).double()
    for row, found in enumerate(rankings(index, edits, config, k=INDEXED)):
        queries = F.normalize(seen(edits[row : row + 1], config).double())
        cosines = queries @ stored.T
        z = (cosines - cosines.mean(1, keepdim=True)) / cosines.std(1, correction=0, keepdim=True)
        best = z.amax(0)
        assert len(found.ids) == INDEXED == len(set(found.ids.tolist()))
        assert torch.allclose(found.scores, best[found.ids - 1], rtol=2e-3, atol=1e-3)
        assert bool((found.scores.diff() <= 0).all())
        assert float(found.cosines[0]) in [
            pytest.approx(float(c)) for c in cosines[:, found.ids[0] - 1]
        ]


def test_a_query_is_its_own_first_view__identity_layout():
    frames = torch.randn(2, CHANNELS, SIDE, SIDE, generator=stream(0, "views"))
    for look in views.VIEWS:
        rows = views.look(frames, look, None)
        assert rows.shape == (views.count(look), frames[0].numel())
        assert torch.equal(rows[0], frames[0].flatten())


def test_a_cropped_query_is_laid_on_nothing__closed_form():
    frames = torch.full((2, CHANNELS, SIDE, SIDE), 3.0)
    blank = torch.arange(CHANNELS * SIDE**2).float()
    rows = views.look(frames, "flip+crops", blank).view(-1, CHANNELS, SIDE, SIDE)
    middle = rows[2]  # after the two frames; four fifths of 8 cells are 6
    assert torch.allclose(middle[:, 1:7, 1:7], torch.tensor(3.0))
    untouched = middle.clone()
    untouched[:, 1:7, 1:7] = blank.view(CHANNELS, SIDE, SIDE)[:, 1:7, 1:7]
    assert torch.equal(untouched, blank.view(CHANNELS, SIDE, SIDE))
