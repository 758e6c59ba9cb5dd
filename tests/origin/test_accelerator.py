"""The accelerator: what it finds is scored exactly, what it misses is measured."""

import shutil
import sys

import pytest
import torch
from making import digest, make, vectors

from wherefrom.core.errors import ArtifactError, InputError, MissingExtraError
from wherefrom.origin.index.index import Index
from wherefrom.origin.other_indexes.accelerator import FOLDER, Accelerator, _probes

pytestmark = pytest.mark.needs("faiss")


COUNT, DELETED = 1200, range(5, 200, 3)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """An index of three segments with deleted images."""
    place = tmp_path_factory.mktemp("accelerator") / "i"
    drawn = vectors(COUNT) * torch.arange(1, 49).rsqrt()
    with make(place, [drawn[:100], drawn[100:500], drawn[500:]]) as index:
        index.delete(list(DELETED))
        Accelerator.build(index)
    return place


@pytest.fixture
def copy(path, tmp_path):
    """The index and its accelerator, for a test that changes them."""
    return shutil.copytree(path, tmp_path / "i")


@pytest.fixture
def index(path):
    with Index.open(path) as opened:
        yield opened


def test_what_is_found_and_its_statistics__reference_exact_scan(index):
    queries = _probes(index.rows_on(torch.device("cpu")), seed=7)
    fast, exact = Accelerator.load(index).search(queries, 10), index.search(queries, 10)
    same = fast.ids.unsqueeze(2) == exact.ids.unsqueeze(1)
    assert float(same.any(1).double().mean()) > 0.97
    at = same.any(2)
    assert torch.equal(fast.scores[at], exact.scores.unsqueeze(1).expand_as(same)[same])
    for name in ("mean", "std"):
        seen, known = (getattr(found.statistics, name) for found in (fast, exact))
        assert torch.allclose(seen, known, rtol=1e-5, atol=1e-6)
    assert fast.statistics.count == COUNT - len(DELETED)
    assert not set(DELETED) & set(fast.ids.flatten().tolist())


def test_the_recall_that_was_measured__naive_loop(index):
    made = Accelerator.load(index)
    queries = _probes(index.rows_on(torch.device("cpu")), seed=0)
    fast, exact = made.search(queries, 10).ids.tolist(), index.search(queries, 10).ids.tolist()
    found = sum(len(set(a) & set(b)) for a, b in zip(fast, exact, strict=True))
    assert made.recall == found / (10 * len(queries))
    assert made.recall >= 0.99


def test_probes_are_as_far_as_edits__closed_form(index):
    rows = index.rows_on(torch.device("cpu"))
    nearest = index.search(_probes(rows, seed=0), 1).scores[:, 0]
    assert 0.6 < float(nearest.median()) < 0.85


def test_a_build_below_the_floor__rejects(index, monkeypatch):
    monkeypatch.setattr("wherefrom.origin.other_indexes.accelerator.DEPTHS", (10,))
    before = (index.path / FOLDER / "artifact.json").read_bytes()
    with pytest.raises(InputError, match="less than the floor of 1, so it was not saved"):
        Accelerator.build(index, floor=1.0)
    assert (index.path / FOLDER / "artifact.json").read_bytes() == before
    with pytest.raises(InputError, match="above 0 and at most 1"):
        Accelerator.build(index, floor=1.5)


def test_an_index_that_changed__rejects(copy):
    with Index.open(copy, writable=True) as index:
        made = Accelerator.load(index)
        made.search(vectors(2, seed=1), 5)
        index.add(["/new"], [digest("new")], vectors(1, seed=2))
        with pytest.raises(InputError, match="has changed since"):
            made.search(vectors(2, seed=1), 5)
        with pytest.raises(InputError, match="has changed since"):
            Accelerator.load(index)
        again = Accelerator.build(index, floor=0.5)
        assert again.search(vectors(1, seed=2), 1).ids.tolist() == [[COUNT + 1]]
        assert Accelerator.load(index).recall == again.recall
        shutil.rmtree(copy / FOLDER)
        with pytest.raises(InputError, match="has no accelerator"):
            Accelerator.load(index)


def test_what_cannot_be_accelerated__rejects(tmp_path):
    with (
        make(tmp_path / "i", [vectors(20)]) as index,
        pytest.raises(InputError, match="holds 20 images"),
    ):
        Accelerator.build(index)


def test_a_flipped_byte__rejects(copy):
    place = copy / FOLDER / "tensors.safetensors"
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)
    with Index.open(copy) as index, pytest.raises(ArtifactError):
        Accelerator.load(index)


def test_without_the_extra__rejects(index, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"wherefrom\[faiss\]"):
        Accelerator.load(index)
