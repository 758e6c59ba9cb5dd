"""The index on Milvus, by way of milvus-lite: it answers as the index of this machine does."""

import json
import os
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from making import IDENTITY, digest, make, vectors

from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.origin.other_indexes import milvus
from wherefrom.origin.other_indexes.milvus import MilvusIndex

pytestmark = pytest.mark.needs("pymilvus", "milvus_lite")


DIM = 48
SPAN = [f"/{n}" for n in range(40)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The file of a milvus-lite that all tests of this module share."""
    from pymilvus.client import grpc_handler

    # The client asks each half second whether a collection is there, and here it is at once.
    soon = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: time.sleep(seconds / 100)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpc_handler, "time", soon)
        yield str(tmp_path_factory.mktemp("milvus") / "lite.db")


@pytest.fixture
def index(server, tmp_path, request):
    """An empty collection of its own."""
    name = "c" + digest(request.node.name)[7:23]
    options = {"sample": tmp_path / "sample", "dim": DIM, "identity": IDENTITY}
    with MilvusIndex.create(server, name, **options) as made:
        yield made


def fill(index, count=40, **options):
    """Images /0, /1, ... of digests 0, 1, ...; their ids."""
    names = range(count)
    given = vectors(count, **options)
    return index.add([f"/{n}" for n in names], [digest(n) for n in names], given).ids


def test_a_search__reference_local_index(index, tmp_path):
    ids, queries = fill(index, 300), vectors(6, seed=1)
    found = index.search(queries, 10)
    with make(tmp_path / "i", [vectors(300)]) as local:
        expected = local.search(queries, 10)
    order = {image: n for n, image in enumerate(ids, start=1)}
    assert [[order[i] for i in row] for row in found.ids.tolist()] == expected.ids.tolist()
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.statistics.mean, expected.statistics.mean)
    assert torch.allclose(found.statistics.std, expected.statistics.std, rtol=1e-5)
    assert found.statistics.count == 300
    assert torch.equal(index.search(queries, 1).ids, found.ids[:, :1])
    assert index.search(queries[:0], 3).ids.shape == (0, 3)


def test_what_is_added_replaced_and_deleted__closed_form(index):
    first = fill(index)
    assert (len(set(first)), index.count()) == (40, 40)
    again = index.add(["/3", "/4", "/new"], [digest(3), digest("x"), digest(0)], vectors(3, seed=2))
    assert (again.added, again.unchanged, again.replaced) == (2, 1, 1)
    assert again.ids[0] == first[3]
    assert again.duplicates == {again.ids[2]: first[0]}
    assert index.count() == 41
    with pytest.raises(InputError, match=f"no image with the id {first[4]}"):
        index.get([first[4]])
    index.delete([first[0], again.ids[1]])
    assert index.count() == 39
    found = index.search(vectors(40)[[0, 4]], 39)
    assert not {first[0], first[4], again.ids[1]} & set(found.ids.flatten().tolist())
    assert index.get([first[7]])[0].path == "/7"
    readded = index.add(["/0"], [digest(0)], vectors(1))
    assert readded.ids[0] not in first


@pytest.mark.parametrize("path", ['"] or id > 0 or path in ["', "a\nb", "ü 猫", b"\xff\x00"[:1]])
def test_any_path_is_only_a_path__roundtrip(index, path):
    fill(index, 3)
    path = os.fsdecode(path)
    (image,) = index.add([path], [digest("p")], vectors(1, seed=3)).ids
    whole = os.path.realpath(path)
    assert index.get([image])[0].path == whole
    assert index.live_paths([os.fsencode(whole)]) == {os.fsencode(whole): (image, digest("p"))}
    index.delete([image])
    assert index.count() == 3


def test_a_reopened_collection__roundtrip(index, server):
    ids = fill(index)
    found = index.search(vectors(2, seed=1), 3)
    index.flush()
    index.close()
    options = {"sample": index._sample.path, "identity": IDENTITY, "dim": DIM}
    with MilvusIndex.open(server, index.name, **options) as again:
        assert torch.equal(again.search(vectors(2, seed=1), 3).ids, found.ids)
        assert [image.path for image in again.get(ids)] == SPAN
        assert again.identity == IDENTITY
        with pytest.raises(InputError, match="opened for reading"):
            again.add(["/z"], [digest("z")], vectors(1))
        assert again.count() == 40


def test_the_sample_is_a_share_that_outlives_deletions__identity_sample(index):
    index._sample_size = 50
    ids = fill(index, 400)
    rate = index._rate()
    assert rate in (1 / 4, 1 / 8)
    belongs = {n for n in range(400) if milvus._draw(os.fsencode(f"/{n}"), digest(n)) < rate}
    assert {image.path for image in index._sample.images()} == {f"/{n}" for n in belongs}
    gone = sorted(belongs)[:10] + [n for n in range(400) if n not in belongs][:10]
    index.delete([ids[n] for n in gone])
    left = belongs - set(gone)
    assert {image.path for image in index._sample.images()} == {f"/{n}" for n in left}
    query = vectors(1, seed=1)
    statistics = index.search(query, 2).statistics
    scores = (
        torch.nn.functional.normalize(vectors(400)[sorted(left)]).half().double()
        @ (torch.nn.functional.normalize(query.double())[0])
    )
    assert float(statistics.mean) == pytest.approx(float(scores.mean()), abs=1e-4)
    assert float(statistics.std) == pytest.approx(float(scores.std(correction=0)), rel=1e-2)
    assert statistics.count == 380


def test_a_replaced_image_leaves_the_sample__identity_sample(index):
    index._sample_size = 10
    fill(index)
    inside = [image.path for image in index._sample.images()]
    index.add(inside, [digest(f"other {path}") for path in inside], vectors(len(inside), seed=9))
    after = {image.path: image.digest for image in index._sample.images()}
    assert 0 < len(after) < len(inside)
    assert all(after[path] == digest(f"other {path}") for path in after)


def test_draws_are_even__closed_form():
    drawn = np.sort([milvus._draw(b"/a", digest(n)) for n in range(2000)])
    assert np.abs(drawn - (np.arange(2000) + 0.5) / 2000).max() < 1.95 / 2000**0.5  # KS, 0.1 %


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dim": 47}, "dimension 48, not 47"),
        ({"identity": {"encoder": "other"}}, "identity .* not .*other"),
    ],
)
def test_another_encoder__rejects(index, server, options, said):
    with pytest.raises(InputError, match=said):
        MilvusIndex.open(server, index.name, sample=index._sample.path, **options)


def test_what_cannot_be_used__rejects(index, server, tmp_path):
    with pytest.raises(InputError, match="is empty"):
        index.search(vectors(1), 3)
    with pytest.raises(InputError, match=r"shape \(1, 48\)"):
        index.add(["/a"], [digest("a")], vectors(1, 20))
    with pytest.raises(InputError, match="/a: its vector is all zeros"):
        index.add(["/a"], [digest("a")], torch.zeros(1, DIM))
    with pytest.raises(InputError, match="longer than 4096 bytes"):
        index.add(["a" * 5000], [digest("a")], vectors(1))
    assert index.count() == 0
    fill(index)
    with pytest.raises(InputError, match="shape"):
        index.search(vectors(1, 20), 3)
    with pytest.raises(InputError, match="query 0: its vector has a NaN"):
        index.search(vectors(1) * torch.nan, 3)
    with pytest.raises(InputError, match="at least one"):
        index.search(vectors(1), 0)
    options = {"sample": tmp_path / "s", "dim": DIM, "identity": IDENTITY}
    with pytest.raises(InputError, match="already has a collection"):
        MilvusIndex.create(server, index.name, **options)
    with pytest.raises(InputError, match="has no collection nowhere"):
        MilvusIndex.open(server, "nowhere", sample=tmp_path / "s")


def test_a_collection_of_another_program__rejects(server, tmp_path):
    import pymilvus

    client = pymilvus.MilvusClient(server)
    client.create_collection("foreign", dimension=4)
    with pytest.raises(InputError, match="not made by wherefrom"):
        MilvusIndex.open(server, "foreign", sample=tmp_path / "s")
    client.close()


def test_a_server_that_is_away__rejects(tmp_path, monkeypatch):
    monkeypatch.setattr(milvus, "TIMEOUT", 0.5)
    options = {"sample": tmp_path / "s", "dim": DIM, "identity": IDENTITY}
    with pytest.raises(InputError, match=r"Milvus at http://127\.0\.0\.1:1 says"):
        MilvusIndex.create("http://127.0.0.1:1", "c", **options)
    assert not (tmp_path / "s").exists()


def test_without_the_extra__rejects(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(MissingExtraError, match=r"wherefrom\[milvus\]"):
        MilvusIndex.open("x.db", "c", sample=tmp_path / "s")


def test_settings_are_read_or_refused__closed_form():
    given = {"dim": 3, "identity": {}, "sample_size": 5}
    assert milvus._settings({"properties": {"wherefrom": json.dumps(given)}}, "c") == given
    assert milvus._settings({"description": json.dumps(given)}, "c") == given
    for bad in ("", "[]", "{}", '{"dim": 3}'):
        with pytest.raises(InputError, match="not made by wherefrom"):
            milvus._settings({"properties": {}, "description": bad}, "c")
