"""Artifacts: what is saved is read back, what is damaged is refused, nothing of others is lost."""

import json
import math
import os
import random
from pathlib import Path

import pytest
import torch
from killed_saves import NAME, every_moment

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.saving import store
from wherefrom.core.saving.store import (
    META_NAME,
    TENSORS_NAME,
    digest_bytes,
    digest_file,
    digest_tensors,
    is_artifact,
    load_artifact,
    refuse_existing,
    save_artifact,
    scratch_beside,
    write_file,
)

KIND = "test/kind"


def save(target, *, meta=None, tensors=None, **options):
    """A small artifact."""
    values = {"x": torch.arange(4, dtype=torch.float32)} if tensors is None else tensors
    given = {"kind": KIND, "schema": 2, **options}
    save_artifact(target, meta={"a": 1.5} if meta is None else meta, tensors=values, **given)
    return target


def load(source):
    """What `save` wrote."""
    return load_artifact(source, kind=KIND, schema=2)


def names(folder):
    """Everything in a folder, hidden names included."""
    return sorted(path.name for path in folder.iterdir())


def test_meta_and_tensors_come_back__roundtrip(tmp_path):
    tensors = {
        "float": torch.tensor([math.pi, -0.0, math.inf, 1e-45]),
        "double": torch.tensor([[0.1]], dtype=torch.float64),
        "bf16": torch.tensor([1.5], dtype=torch.bfloat16),
        "int": torch.tensor([-(2**62)]),
        "bool": torch.tensor([True, False]),
        "byte": torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "turned": torch.arange(6).reshape(2, 3).T,
    }
    meta = {"float": 0.1, "none": None, "list": [1, [2]], "text": "ä\u2028\n", "map": {"b": {}}}
    loaded_meta, loaded = load(save(tmp_path / "a", meta=meta, tensors=tensors))
    assert loaded_meta == meta
    assert loaded.keys() == tensors.keys()
    for name, value in tensors.items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value)
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == [META_NAME, TENSORS_NAME]


def test_tensors_that_share_memory_come_back__roundtrip(tmp_path):
    weight = torch.nn.Parameter(torch.arange(6.0))
    _, loaded = load(save(tmp_path / "a", tensors={"x": weight, "y": weight, "z": weight[2:4]}))
    assert torch.equal(loaded["y"], weight)
    assert torch.equal(loaded["z"], weight[2:4])


def test_numbers_as_keys_and_tuples_come_back_as_json_has_them__roundtrip(tmp_path):
    meta, _ = load(save(tmp_path / "a", meta={"rows": {10: (1, 2), 9: 0}}))
    assert meta == {"rows": {"10": [1, 2], "9": 0}}


def test_nan_in_the_meta__rejects_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save(tmp_path / "a", meta={"a": math.nan})
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", [META_NAME, TENSORS_NAME])
def test_a_flipped_bit_anywhere__rejects_damage(tmp_path, name):
    path = save(tmp_path / "a") / name
    good = path.read_bytes()
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        path.write_bytes(bad)
        with pytest.raises(ArtifactError):
            load(tmp_path / "a")
    path.write_bytes(good)
    load(tmp_path / "a")


@pytest.mark.parametrize("name", [META_NAME, TENSORS_NAME])
def test_random_changes__rejects_damage(tmp_path, name):
    path = save(tmp_path / "a", meta={"a": 1e-5, "text": "é", "b": [True, None]}) / name
    good = path.read_bytes()
    rng = random.Random(0)  # noqa: S311 (damage, not cryptography)
    for _ in range(250):
        bad = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            bad[rng.randrange(len(bad))] = rng.choice(b'\t\n "0Ee\x00\xff{}[],:')
        if bad != good:
            path.write_bytes(bad)
            with pytest.raises(ArtifactError):
                load(tmp_path / "a")


@pytest.mark.parametrize("name", [META_NAME, TENSORS_NAME])
def test_a_file_cut_short_or_grown__rejects_damage(tmp_path, name):
    path = save(tmp_path / "a") / name
    good = path.read_bytes()
    for bad in [*(good[:n] for n in range(len(good))), good + b"\n", good + good]:
        path.write_bytes(bad)
        with pytest.raises(ArtifactError):
            load(tmp_path / "a")


def test_values_changed_by_hand__rejects_damage(tmp_path):
    path = save(tmp_path / "a") / META_NAME
    body = json.loads(path.read_text())
    for changed in ({"meta": {"a": 1.25}}, {"meta": []}, {"wherefrom": "9"}, {"digest": None}):
        path.write_text(json.dumps({**body, **changed}, indent=1))
        with pytest.raises(ArtifactError, match="changed after it was saved"):
            load(tmp_path / "a")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", "[" * 100_000, '{"a": NaN}', '{"a": 1e999}', "9" * 5000, "\xff"],
    ids=lambda text: text[:12] or "empty",
)
def test_meta_that_is_no_json_object__rejects_in_one_line(tmp_path, text):
    (save(tmp_path / "a") / META_NAME).write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtifactError) as error:
        load(tmp_path / "a")
    assert "\n" not in str(error.value)


def test_a_huge_meta_file__rejects_without_reading_it(tmp_path):
    path = save(tmp_path / "a") / META_NAME
    os.truncate(path, store.MAX_META_BYTES + 1)
    with pytest.raises(ArtifactError, match="larger than"):
        load(tmp_path / "a")


def test_another_kind_or_schema__rejects_and_names_both(tmp_path):
    save(tmp_path / "a")
    with pytest.raises(ArtifactError, match=r"is a 'test/kind' artifact, expected 'other'"):
        load_artifact(tmp_path / "a", kind="other", schema=2)
    with pytest.raises(ArtifactError, match=r"format 2, this is .* with format 3; fit it again"):
        load_artifact(tmp_path / "a", kind=KIND, schema=3)


@pytest.mark.parametrize("name", [META_NAME, TENSORS_NAME])
def test_a_missing_file__rejects(tmp_path, name):
    (save(tmp_path / "a") / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        load(tmp_path / "a")


def test_what_is_no_folder__rejects(tmp_path):
    (tmp_path / "file").write_text("x")
    for name in ("file", "missing"):
        with pytest.raises(ArtifactError, match="is not a wherefrom artifact"):
            load(tmp_path / name)


@pytest.mark.parametrize("name", [META_NAME, TENSORS_NAME])
def test_pipes_devices_folders_and_dangling_links__rejects_at_once(tmp_path, name):
    path = save(tmp_path / "a") / name
    makers = [
        lambda: os.mkfifo(path),
        lambda: path.symlink_to("/dev/zero"),
        lambda: path.symlink_to("nowhere"),
        lambda: path.symlink_to(path.name),
        lambda: path.symlink_to(tmp_path),
    ]
    for make in makers:
        path.unlink()
        make()
        with pytest.raises(ArtifactError):
            load(tmp_path / "a")


def test_links_to_whole_files_and_folders_are_followed__identity_content(tmp_path):
    save(tmp_path / "a")
    for name in (META_NAME, TENSORS_NAME):
        (tmp_path / "a" / name).rename(tmp_path / name)
        (tmp_path / "a" / name).symlink_to(tmp_path / name)
    (tmp_path / "link").symlink_to("a")
    assert load(tmp_path / "link")[0] == {"a": 1.5}


def test_an_artifact_that_exists__rejects_unasked_overwriting(tmp_path):
    save(tmp_path / "a")
    with pytest.raises(InputError, match="--overwrite"):
        save(tmp_path / "a", meta={"a": 2})
    assert load(tmp_path / "a")[0] == {"a": 1.5}


def test_overwriting_replaces_the_artifact_and_spares_a_users_files__identity_others(tmp_path):
    target = save(tmp_path / "a")
    (target / "notes.txt").write_text("mine")
    save(target, meta={"a": 2}, tensors={"y": torch.ones(2)}, overwrite=True)
    meta, tensors = load(target)
    assert meta == {"a": 2}
    assert list(tensors) == ["y"]
    assert names(target) == [META_NAME, "notes.txt", TENSORS_NAME]
    assert names(tmp_path) == ["a"]


def test_overwriting_through_a_link_keeps_the_link__identity_others(tmp_path):
    save(tmp_path / "a")
    (tmp_path / "link").symlink_to("a")
    save(tmp_path / "link", meta={"a": 2}, overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert load(tmp_path / "a")[0] == {"a": 2}


def make_folder(path):
    path.mkdir()
    (path / "photo.png").write_text("mine")


def make_foreign(path):
    path.mkdir()
    (path / META_NAME).write_text('{\n "contractName": "Token"\n}')


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        make_folder,
        make_foreign,
        Path.mkdir,
        lambda path: path.write_text("mine"),
        lambda path: path.symlink_to("nowhere"),
    ],
    ids=["folder", "foreign artifact.json", "empty folder", "file", "dangling link"],
)
def test_what_is_not_an_artifact__rejects_overwriting(tmp_path, make, overwrite):
    target = tmp_path / "a"
    make(target)
    before = [(p, p.lstat().st_mtime_ns) for p in sorted(tmp_path.rglob("*"))]
    with pytest.raises(InputError, match="not an intact wherefrom artifact"):
        save(target, overwrite=overwrite)
    assert [(p, p.lstat().st_mtime_ns) for p in sorted(tmp_path.rglob("*"))] == before


def test_a_folder_that_does_not_exist__rejects_before_the_long_work(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        refuse_existing(tmp_path / "no" / "a", overwrite=True)
    refuse_existing(tmp_path / "a", overwrite=False)


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
def test_a_save_killed_at_any_moment_leaves_the_old_or_the_new__identity_whole(tmp_path):
    result = every_moment(tmp_path)
    for name, old in (("first", None), ("replacement", 1), ("after_a_killed_replacement", 0)):
        rows, step, killed = result[name]
        assert [seen for seen, _, _ in rows if seen not in (old, 2)] == [], name
        assert {seen for seen, _, _ in rows} == {old, 2}, name
        assert {after for _, _, after in rows} == {3}, name
        # Enough moments, or the kills did not hit the save at all.
        assert len(rows) > 8, name
        assert killed == rows[step], name  # a kill leaves what a copy shows
    assert any(pending and seen == 2 for seen, pending, _ in result["replacement"][0])
    # What kills leave behind is hidden, and at rest every artifact is two files again.
    places = [place for name in result for place in (tmp_path / name / "copies").iterdir()]
    for place in (*places, *(tmp_path / name / "real" for name in result)):
        assert all(p.name == NAME or p.name[0] == "." for p in place.iterdir())
        seen = [p.name for p in (place / NAME).iterdir() if not p.name.startswith(".")]
        assert sorted(seen) == [META_NAME, TENSORS_NAME]


@pytest.mark.parametrize("step", ["save_tensors", "write_file", "flush_folder"])
def test_a_save_that_fails_leaves_nothing_behind__identity_absent(tmp_path, monkeypatch, step):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, step, fail)
    with pytest.raises((InputError, OSError), match="No space left on device"):
        save(tmp_path / "a")
    assert names(tmp_path) == []


def test_a_failing_file_call_is_one_line__rejects_full_disk(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", fail)
    with pytest.raises(InputError, match=r"cannot write .*: No space left on device"):
        save(tmp_path / "a")
    assert names(tmp_path) == []


def test_a_scratch_folder_becomes_the_target_or_vanishes__identity_absent(tmp_path):
    with scratch_beside(tmp_path / "a") as scratch:
        (scratch / "file").write_text("x")
        assert not (tmp_path / "a").exists()
    assert names(tmp_path / "a") == ["file"]
    with pytest.raises(KeyboardInterrupt), scratch_beside(tmp_path / "b"):
        raise KeyboardInterrupt
    assert names(tmp_path) == ["a"]


def test_a_target_made_meanwhile_by_another__rejects_replacing_it(tmp_path):
    with (
        pytest.raises(InputError, match="already exists"),
        scratch_beside(tmp_path / "a") as scratch,
    ):
        (scratch / "file").write_text("ours")
        make_folder(tmp_path / "a")
    assert names(tmp_path / "a") == ["photo.png"]


def test_a_file_is_written_whole_or_not_at_all__identity_old_content(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_file(path, b"old")

    def interrupt(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(store.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["f"]


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_new_files_obey_the_users_umask__identity_mode(tmp_path):
    before = os.umask(0o077)
    try:
        save(tmp_path / "a")
    finally:
        os.umask(before)
    paths = [tmp_path / "a", *(tmp_path / "a").iterdir()]
    assert {path.stat().st_mode & 0o077 for path in paths} == {0}


def test_is_artifact_knows_its_own__identity_kind(tmp_path):
    assert is_artifact(save(tmp_path / "a"))
    make_foreign(tmp_path / "b")
    assert not any(is_artifact(tmp_path / name) for name in ("b", "c", "."))


def test_digests_are_sha256__reference_sha256sum(tmp_path):
    # printf abc | sha256sum
    expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "f").write_bytes(b"abc")
    assert digest_bytes(b"abc") == expected
    assert digest_file(tmp_path / "f") == expected


def test_a_digest_of_tensors_sees_everything_but_order_and_layout__identity_content():
    x = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    base = digest_tensors({"x": x, "y": x})
    assert digest_tensors({"y": x, "x": x.T.contiguous().T}) == base
    others = [
        {"x": x, "z": x},
        {"x": x},
        {"x": x, "y": x + 1},
        {"x": x, "y": x.reshape(3, 2)},
        {"x": x, "y": x.view(torch.int32)},
        {"x": x, "y": -x},
    ]
    assert len({base, *map(digest_tensors, others)}) == 7
    assert digest_tensors({"x": -torch.zeros(1)}) != digest_tensors({"x": torch.zeros(1)})


def test_a_digest_of_tensors_is_frozen__reference_sha256sum():
    # printf 'x|(2,)|torch.uint8|\x01\x02' | sha256sum
    expected = "21d5e73e2880c17957c5d374468a939e2877b9e691c8144c2a4ce3d01be59b0a"
    value = torch.tensor([1, 2], dtype=torch.uint8)
    assert digest_tensors({"x": value}) == f"sha256:{expected}"
