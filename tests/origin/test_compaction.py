"""Merging segments: nothing that can be asked changes, readers go on, damage is not copied."""

import os
from functools import partial
from pathlib import Path

import pytest
import torch
from forked import Child
from making import IDENTITY, digest, make, state, stored, vectors

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.origin.index import compaction as merging
from wherefrom.origin.index.index import Index
from wherefrom.origin.index.scanning.scan import STD_TOLERANCE


def files(folder):
    """Names in the folder of the segments."""
    return sorted(path.name for path in (folder / "segments").iterdir())


def grown(path):
    """An index with five segments, deleted and replaced images."""
    index = make(path, [vectors(30, seed=n) for n in range(4)])
    index.delete([1, 5, 40, 41])
    index.add(["/7", "/0"], [digest("new"), digest(0)], vectors(2, seed=9))
    return index


def assert_same_answers(before, after):
    """Ids and scores bit by bit, the statistics within what is stated."""
    assert torch.equal(before.ids, after.ids)
    assert torch.equal(before.scores, after.scores)
    one, two = before.statistics, after.statistics
    assert one.count == two.count
    torch.testing.assert_close(two.mean, one.mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(two.std, one.std, rtol=STD_TOLERANCE, atol=0)


def test_compaction_leaves_one_segment_without_dead_rows__identity_layout(tmp_path):
    queries = vectors(6, seed=7)
    with grown(tmp_path / "i") as index:
        before, answers = state(index), index.search(queries, 20)
        assert index.verify().segments == 5
        index.compact()
        found = index.verify()
        assert (found.segments, found.rows, found.images) == (1, 117, 117)
        assert state(index) == before
        assert_same_answers(answers, index.search(queries, 20))
        names = files(tmp_path / "i")
        index.compact()
        assert files(tmp_path / "i") == names  # there is nothing left to do
        assert index.add(["/y"], [digest("y")], vectors(1)).ids == (123,)
    with Index.open(tmp_path / "i") as index:
        assert state(index).keys() == before.keys() | {"/y"}


def test_merged_segments_have_a_largest_size__identity_layout(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "SEGMENT_ROWS", 50)
    monkeypatch.setattr(merging, "COPY_ROWS", 16)
    with grown(tmp_path / "i") as index:
        before, answers = state(index), index.search(vectors(3, seed=7), 20)
        index.compact()
        assert [place.info.rows for place, _ in index._held] == [50, 50, 17]
        assert state(index) == before
        assert_same_answers(answers, index.search(vectors(3, seed=7), 20))


def test_a_compacted_index_without_images_has_no_files__limit(tmp_path):
    with make(tmp_path / "i", [vectors(3), vectors(2, seed=1)]) as index:
        index.delete([1, 2, 3, 4, 5])
        index.compact()
        assert files(tmp_path / "i") == []
        assert index.add(["/0"], [digest(0)], vectors(1)).ids == (6,)


def test_many_small_additions_make_few_segments__closed_form(tmp_path):
    given = vectors(150)
    with make(tmp_path / "i", given.split(1)) as index:
        # 150 = 2 * 64 + 2 * 8 + 6, with eight of a kind always merged.
        rows = [place.info.rows for place, _ in index._held]
        assert sorted(rows) == [1] * 6 + [8, 8, 64, 64]
        assert len(files(tmp_path / "i")) == len(rows)
        assert (index.vectors(range(1, 151)).half().numpy() == stored(given)).all()


def test_a_reader_goes_on_while_the_writer_compacts__identity_content(tmp_path):
    with grown(tmp_path / "i") as writer, Index.open(tmp_path / "i") as reader:
        before = state(reader)
        answers, held = reader.search(vectors(3, seed=7), 20), reader._held
        writer.compact()
        # Without looking at the manifest again: files that are gone, and yet whole.
        assert not any(segment.path.exists() for _, segment in held)
        reader._seen = reader._manifest.version()
        assert reader._held is held
        assert_same_answers(answers, reader.search(vectors(3, seed=7), 20))
        reader._seen = None
        assert_same_answers(answers, reader.search(vectors(3, seed=7), 20))
        assert state(reader) == before


def test_a_reader_that_comes_too_late_for_a_file_reads_the_manifest_again__identity_content(
    tmp_path, monkeypatch
):
    with grown(tmp_path / "i") as writer:
        before, read = state(writer), Index._hold
        compactions = [1]

        def hold(self, places):
            if compactions and self is not writer:
                compactions.pop()
                writer.compact()  # between the reader's look at the manifest and at the files
            return read(self, places)

        monkeypatch.setattr(Index, "_hold", hold)
        with Index.open(tmp_path / "i") as reader:
            assert state(reader) == before
        assert not compactions


def keep_reading(folder, queries, ready, stop):
    """Search until there is a file `stop`, and at least five times; the answer never changes."""
    with Index.open(folder) as index:
        first = index.search(queries, 20)
        ready.touch()
        rounds = 0
        while not stop.exists() or rounds < 5:
            found = index.search(queries, 20)
            assert torch.equal(found.ids, first.ids) and torch.equal(found.scores, first.scores)
            rounds += 1


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_readers_in_another_process_see_one_answer_all_the_time__identity_content(tmp_path):
    grown(tmp_path / "i").close()
    ready, stop, said = (tmp_path / name for name in ("ready", "stop", "said"))
    work = partial(keep_reading, tmp_path / "i", vectors(3, seed=7), ready, stop)
    with Child(work, said) as reader, Index.open(tmp_path / "i", writable=True) as index:
        while not ready.exists():
            assert reader.poll() is None, said.read_text()
        far = -vectors(1, seed=7)  # never among the 20 best of the queries
        for n in range(6):
            index.delete(index.add([f"/far{n}"], [digest(n)], far).ids)
            index.compact()
        stop.touch()
        assert reader.wait(20) == 0, said.read_text()


def test_a_reader_sees_additions_and_deletions_at_its_next_call__closed_form(tmp_path):
    with make(tmp_path / "i", [vectors(3)]) as writer, Index.open(tmp_path / "i") as reader:
        query = vectors(1, seed=1)
        assert reader.search(query, 9).ids.shape == (1, 3)
        writer.add(["/n"], [digest("n")], query)
        assert reader.search(query, 9).ids[0, 0] == 4
        assert (reader.count(), reader.find(["/n"])) == (4, (4,))
        writer.delete([4])
        assert sorted(reader.search(query, 9).ids[0].tolist()) == [1, 2, 3]


def test_damage_is_not_given_a_new_digest__rejects(tmp_path):
    grown(tmp_path / "i").close()
    name = files(tmp_path / "i")[2]
    path = tmp_path / "i" / "segments" / name
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    names = files(tmp_path / "i")
    with Index.open(tmp_path / "i", writable=True) as index:
        with pytest.raises(ArtifactError, match=f"{name} is damaged"):
            index.compact()
        assert files(tmp_path / "i") == names
        # What is added is safe all the same, though the merge that follows fails.
        monkey = merging.FAN_IN
        merging.FAN_IN = 2
        try:
            (new,) = index.add(["/n"], [digest("n")], vectors(1)).ids
        finally:
            merging.FAN_IN = monkey
        assert index.get([new])[0].path == "/n"


def test_a_full_disk_changes_nothing__rejects(tmp_path, monkeypatch):
    def fail(handle):
        raise OSError(28, "No space left on device")

    with grown(tmp_path / "i") as index:
        before, names = state(index), files(tmp_path / "i")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            for call in (index.compact, lambda: index.add(["/n"], [digest("n")], vectors(1))):
                with pytest.raises(InputError, match="No space left on device"):
                    call()
        assert (state(index), files(tmp_path / "i")) == (before, names)
        index.compact()
        assert state(index) == before


def test_orphans_are_swept_by_the_next_writer_and_strangers_spared__identity_others(tmp_path):
    grown(tmp_path / "i").close()
    names = files(tmp_path / "i")
    folder = tmp_path / "i" / "segments"
    for name in ("0.segment", "1.segment.part", "notes.txt"):
        (folder / name).write_text("x")
    Index.open(tmp_path / "i").close()
    assert len(files(tmp_path / "i")) == len(names) + 3
    Index.open(tmp_path / "i", writable=True).close()
    assert files(tmp_path / "i") == sorted([*names, "notes.txt"])


def test_a_failed_creation_leaves_nothing__identity_absent(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(InputError, match=r"cannot write .*No space"):
        Index.create(tmp_path / "i", dim=3, identity=IDENTITY)
    assert list(tmp_path.iterdir()) == []
