"""The index: what is added is found, what is deleted is not, what is wrong is named."""

import os
import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from disk import REAL_CONNECT
from making import IDENTITY, digest, make, naive, state, stored, vectors

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.origin.index.index import Index
from wherefrom.origin.index.manifest import NAME, Manifest


def test_a_search_of_several_batches__naive_loop(tmp_path):
    batches = [vectors(count, seed=count) for count in (1, 40, 3, 200)]
    queries = vectors(9, seed=5)
    with make(tmp_path / "i", batches) as index:
        found = index.search(queries, 10)
    rows = dict(enumerate(stored(torch.cat(batches)), start=1))
    ids, scores, mean, std = naive(rows, queries, 10)
    assert (found.ids.numpy() == ids).all()
    np.testing.assert_allclose(found.scores, scores, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.statistics.mean, mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.statistics.std, std, rtol=1e-5)
    assert found.statistics.count == len(rows)
    assert (found.scores.dtype, found.ids.dtype) == (torch.float64, torch.int64)


def test_more_asked_for_than_there_is__limit(tmp_path):
    with make(tmp_path / "i", [vectors(1)]) as index:
        found = index.search(vectors(2, seed=1), 10)
        assert found.ids.tolist() == [[1], [1]]
        index.add(["/b"], [digest("b")], vectors(1, seed=1))
        assert index.search(vectors(1, seed=1), 10).ids.tolist() == [[2, 1]]


def test_a_reopened_index_is_the_same__roundtrip(tmp_path):
    with make(tmp_path / "i", [vectors(20), vectors(5, seed=1)]) as index:
        before, found = state(index), index.search(vectors(4, seed=2), 5)
    with Index.open(tmp_path / "i", dim=48, identity=dict(IDENTITY)) as index:
        assert state(index) == before
        assert index.count() == 25
        assert (index.dim, index.identity) == (48, IDENTITY)
        again = index.search(vectors(4, seed=2), 5)
        assert torch.equal(again.ids, found.ids)
        assert torch.equal(again.scores, found.scores)
    assert before["/0"] == (digest(0), stored(vectors(20))[0].tobytes())


def test_a_deleted_image_is_gone_and_can_come_back__closed_form(tmp_path):
    given = vectors(6)
    with make(tmp_path / "i", [given]) as index:
        index.delete([2, 3])
        assert index.count() == 4
        assert index.find(["/0", "/1"]) == (1, None)
        assert sorted(index.search(given[:1], 10).ids[0].tolist()) == [1, 4, 5, 6]
        with pytest.raises(InputError, match="no image with the id 2"):
            index.get([2])
        result = index.add(["/1"], [digest(1)], given[1:2])
        assert (result.ids, result.added, result.replaced) == ((7,), 1, 0)
        assert index.search(given[1:2], 1).ids.tolist() == [[7]]
        assert index.get([7])[0].path == "/1"
    with Index.open(tmp_path / "i") as index:
        assert index.search(given[1:2], 1).ids.tolist() == [[7]]


def test_deleting_all_and_adding_again__limit(tmp_path):
    given = vectors(3)
    with make(tmp_path / "i", [given]) as index:
        index.delete([1, 2, 3])
        with pytest.raises(InputError, match="is empty"):
            index.search(given, 1)
        index.add(["/0"], [digest(0)], given[:1])
        assert index.search(given, 5).ids.tolist() == [[4]] * 3


def test_the_same_image_again_changes_nothing__identity_content(tmp_path):
    with make(tmp_path / "i", [vectors(5)]) as index:
        before, files = state(index), sorted((tmp_path / "i" / "segments").iterdir())
        result = index.add(["/3", "/1"], [digest(3), digest(1)], vectors(2, seed=9))
        assert (result.ids, result.added, result.unchanged) == ((4, 2), 0, 2)
        assert state(index) == before
        assert sorted((tmp_path / "i" / "segments").iterdir()) == files


def test_other_content_under_a_path_replaces_it__closed_form(tmp_path):
    given = vectors(3)
    with make(tmp_path / "i", [given]) as index:
        result = index.add(["/1", "/x"], [digest("new"), digest("x")], vectors(2, seed=9))
        assert (result.ids, result.added, result.replaced) == ((4, 5), 2, 1)
        assert index.find(["/1"]) == (4,)
        assert index.count() == 4
        assert index.search(given[1:2], 10).ids[0].tolist().count(2) == 0
        assert state(index)["/1"] == (digest("new"), stored(vectors(2, seed=9))[0].tobytes())


def test_duplicates_are_kept_and_reported__closed_form(tmp_path):
    with make(tmp_path / "i", [vectors(3)]) as index:
        names, digests = ["/a", "/b", "/c", "/c"], [digest(1), digest("b"), digest("b")]
        result = index.add(names, [*digests, digest("b")], vectors(4, seed=1))
        assert result.ids == (4, 5, 6, 6)
        assert result.duplicates == {4: 2, 6: 5}
        assert (result.added, result.unchanged) == (3, 1)
        assert index.copies([digest(1), digest("b"), digest("none")]) == {
            digest(1): 2,
            digest("b"): 5,
        }


@pytest.mark.parametrize(
    "name",
    ["/ünï/写真 1.jpg", "two\nlines", "tab\t'quote\" %41?#.png", "../up", os.fsdecode(b"\xff\xfe")],
    ids=["unicode", "newline", "signs", "relative", "undecodable"],
)
def test_any_name_of_a_file_comes_back__roundtrip(tmp_path, name):
    with make(tmp_path / "i", [vectors(2)]) as index:
        assert index.add([name], [digest("n")], vectors(1, seed=1)).ids == (3,)
    with Index.open(tmp_path / "i") as index:
        assert index.get([3])[0].path == os.path.realpath(name)
        assert index.find([name]) == index.find([os.path.realpath(name)]) == (3,)


@pytest.mark.parametrize("name", ["ä ö", "a\nb", "50%?#&=", "写"])
def test_an_index_in_a_folder_of_any_name__roundtrip(tmp_path, name):
    with make(tmp_path / name, [vectors(2)]):
        pass
    with Index.open(tmp_path / name, writable=True) as index:
        assert index.count() == 2
    assert [path.name for path in tmp_path.iterdir()] == [name]


def bad_calls():
    """(what is wrong, a call, the words of its error)."""
    nan = vectors(3)
    nan[1, 4] = torch.nan
    two = ["/a", "/b\n", "/c"], [digest(n) for n in "abc"]
    return {
        "NaN": (lambda i: i.add(*two, nan), r"/b\\n: its vector has a NaN"),
        "zero": (
            lambda i: i.add(*two, vectors(3) * torch.tensor([[1.0], [0], [1]])),
            r"/b\\n: its",
        ),
        "dim": (lambda i: i.add(*two, vectors(3, 47)), r"\(3, 47\).*\(3, 48\)"),
        "integers": (lambda i: i.add(*two, torch.ones(3, 48).int()), "int32"),
        "rows": (lambda i: i.add(*two, vectors(2)), r"\(2, 48\).*\(3, 48\)"),
        "digests": (lambda i: i.add(two[0], two[1][:2], vectors(3)), "3 paths came with 2 digests"),
        "digest": (lambda i: i.add(["/a"], ["md5:0"], vectors(1)), "/a: its digest is 'md5:0'"),
        "path": (lambda i: i.add([""], [digest(0)], vectors(1)), "not the path of a file"),
        "nul": (lambda i: i.add(["a\0b"], [digest(0)], vectors(1)), "not the path of a file"),
        "twice": (
            lambda i: i.add(["/a", "/a"], [digest(0), digest(1)], vectors(2)),
            "/a is given twice with different digests",
        ),
        "id": (lambda i: i.delete([1, 77, 2]), "no image with the id 77"),
        "huge id": (lambda i: i.get([2**80]), f"no image with the id {2**80}"),
        "query dim": (lambda i: i.search(vectors(2, 47)), r"vectors .*\(2, 47\).*encoder"),
        "query shape": (lambda i: i.search(vectors(1)[0]), r"\(48,\)"),
        "query NaN": (lambda i: i.search(nan), "query 1: its vector has a NaN"),
        "query zero": (lambda i: i.search(torch.zeros(2, 48)), "query 0: its vector is all zeros"),
        "k": (lambda i: i.search(vectors(1), 0), "k is 0"),
    }


@pytest.mark.parametrize("name", bad_calls())
def test_a_wrong_call__rejects_in_one_line_and_changes_nothing(tmp_path, name):
    call, words = bad_calls()[name]
    with make(tmp_path / "i", [vectors(4)]) as index:
        before = state(index)
        with pytest.raises(InputError, match=words) as error:
            call(index)
        assert "\n" not in str(error.value)
        assert state(index) == before


def test_an_empty_index__rejects_a_search_and_nothing_else(tmp_path):
    with Index.create(tmp_path / "i", dim=3, identity={}) as index:
        assert index.count() == 0
        index.compact()
        assert index.verify().images == 0
        assert index.add([], [], torch.empty(0, 3)).ids == ()
        with pytest.raises(InputError, match="is empty, so there is nothing to search"):
            index.search(torch.ones(1, 3), 1)
        assert index.vectors([]).shape == (0, 3)


def test_no_queries__limit(tmp_path):
    with make(tmp_path / "i", [vectors(4)]) as index:
        assert index.search(torch.empty(0, 48), 3).ids.shape == (0, 3)


def test_another_dimension_or_identity__rejects_and_names_both(tmp_path):
    make(tmp_path / "i", [vectors(1)]).close()
    with pytest.raises(InputError, match="of dimension 48, not 512"):
        Index.open(tmp_path / "i", dim=512)
    with pytest.raises(InputError, match=r'identity .*tiny.*, not \{"encoder": "other"\}'):
        Index.open(tmp_path / "i", writable=True, identity={"encoder": "other"})
    Index.open(tmp_path / "i", writable=True).close()  # the refusal let go of the lock


def test_what_exists__rejects_creating(tmp_path):
    make(tmp_path / "i", [vectors(1)]).close()
    (tmp_path / "file").write_text("mine")
    for name in ("i", "file"):
        with pytest.raises(InputError, match="already exists"):
            Index.create(tmp_path / name, dim=3, identity={})
    with pytest.raises(InputError, match="is not a folder"):
        Index.create(tmp_path / "no" / "i", dim=3, identity={})
    with pytest.raises(InputError, match="must be JSON values"):
        Index.create(tmp_path / "new", dim=3, identity={"a": torch.nan})
    with pytest.raises(InputError, match="dimension of an index is 0"):
        Index.create(tmp_path / "new", dim=0, identity={})
    assert not (tmp_path / "new").exists()


def test_what_is_no_index__rejects(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("folder", "missing"):
        with pytest.raises(ArtifactError, match="is not an index"):
            Index.open(tmp_path / name)
    (tmp_path / "folder" / NAME).write_bytes(b"not a database, but long enough to look at" * 99)
    with pytest.raises(ArtifactError, match="is damaged"):
        Index.open(tmp_path / "folder")
    (tmp_path / "folder" / NAME).unlink()
    other = sqlite3.connect(tmp_path / "folder" / NAME)
    other.execute("CREATE TABLE photos (id)")
    other.close()
    with pytest.raises(ArtifactError, match="is not the manifest of an index"):
        Index.open(tmp_path / "folder", writable=True)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (3, r"a later wherefrom \(index schema 3, this version reads 2\); upgrade"),
        (
            1,
            r"an earlier wherefrom \(index schema 1, .*\), which did not store .* origin build",
        ),
    ],
)
def test_an_index_of_another_version__rejects(tmp_path, schema, said):
    make(tmp_path / "i", [vectors(1)]).close()
    base = sqlite3.connect(tmp_path / "i" / NAME)
    base.execute(f"PRAGMA user_version = {schema}")
    base.close()
    with pytest.raises(ArtifactError, match=said):
        Index.open(tmp_path / "i")


def test_a_change_waits_for_the_disk_step_by_step__reference_order(tmp_path, monkeypatch):
    index, steps = make(tmp_path / "i", [vectors(1)]), []
    assert index._manifest._base.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    index.close()

    def note(name, call):
        def noted(*arguments, **options):
            kind = "folder" if name == "fsync" and os.path.isdir(arguments[0]) else ""  # noqa: PTH112
            steps.append(name + kind)
            return call(*arguments, **options)

        return noted

    monkeypatch.setattr(sqlite3, "connect", REAL_CONNECT)
    monkeypatch.setattr(os, "fsync", note("fsync", os.fsync))
    monkeypatch.setattr(Path, "rename", note("rename", Path.rename))
    monkeypatch.setattr(Manifest, "insert", note("insert", Manifest.insert))
    with Index.open(tmp_path / "i", writable=True) as index:
        index.add(["/n"], [digest("n")], vectors(1))
        assert steps == ["fsync", "rename", "fsyncfolder", "insert"]
        # 3 is EXTRA: the journal's folder too is flushed when a commit removes the journal.
        assert index._manifest._base.execute("PRAGMA synchronous").fetchone() == (3,)


def test_a_second_writer__rejects_until_the_first_is_done(tmp_path):
    with make(tmp_path / "i", [vectors(1)]):
        with pytest.raises(InputError, match="being written to by another process"):
            Index.open(tmp_path / "i", writable=True)
        Index.open(tmp_path / "i").close()
    Index.open(tmp_path / "i", writable=True).close()


def test_a_reader__rejects_writing(tmp_path):
    make(tmp_path / "i", [vectors(3), vectors(3, seed=1)]).close()
    with Index.open(tmp_path / "i") as index:
        calls = (
            lambda: index.add(["/n"], [digest("n")], vectors(1)),
            lambda: index.delete([1]),
            index.compact,
        )
        for call in calls:
            with pytest.raises(InputError, match="was opened for reading"):
                call()
        assert index.count() == 6
    assert len(list((tmp_path / "i" / "segments").iterdir())) == 2


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_a_folder_that_cannot_be_written_to_is_read__identity_content(tmp_path):
    make(tmp_path / "i", [vectors(3)]).close()
    paths = [tmp_path / "i", *(tmp_path / "i").rglob("*")]
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        with Index.open(tmp_path / "i") as index:
            assert index.search(vectors(1), 1).ids.tolist() == [[1]]
    finally:
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


def segment_of(folder):
    """The one segment file of an index."""
    (path,) = (folder / "segments").iterdir()
    return path


def flip(path, position):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


def test_a_flipped_bit__rejects_search_and_verify_and_names_the_file(tmp_path):
    make(tmp_path / "i", [vectors(30)]).close()
    path = segment_of(tmp_path / "i")
    flip(path, 1000)
    with Index.open(tmp_path / "i", writable=True) as index:
        assert index.count() == 30  # nothing was computed yet
        calls = (
            lambda: index.search(vectors(1), 1),
            lambda: index.vectors([1]),
            index.verify,
        )
        for call in calls:
            with pytest.raises(ArtifactError, match=f"{path.name} is damaged"):
                call()


def test_damage_after_the_first_search__rejects_verify(tmp_path):
    with make(tmp_path / "i", [vectors(30)]) as index:
        index.search(vectors(1), 1)
        flip(segment_of(tmp_path / "i"), 1000)
        with pytest.raises(ArtifactError, match="is damaged"):
            index.verify()


@pytest.mark.parametrize("size", [0, 63, 64, 500])
def test_a_segment_cut_short__rejects_at_opening(tmp_path, size):
    make(tmp_path / "i", [vectors(30)]).close()
    path = segment_of(tmp_path / "i")
    os.truncate(path, size)
    with pytest.raises(ArtifactError, match=f"{path.name} is damaged"):
        Index.open(tmp_path / "i")


def test_a_missing_segment__rejects_and_names_it(tmp_path):
    make(tmp_path / "i", [vectors(30)]).close()
    path = segment_of(tmp_path / "i")
    path.unlink()
    with pytest.raises(ArtifactError, match=f"{path.name} is missing"):
        Index.open(tmp_path / "i")


def test_damage_to_the_manifest__rejects_and_names_it(tmp_path):
    make(tmp_path / "i", [vectors(300)]).close()
    path = tmp_path / "i" / NAME
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{NAME} is damaged") as error:
        Index.open(tmp_path / "i").verify()
    assert "\n" not in str(error.value)
