"""An index is brought up to date with its pictures."""

import os
import shutil
from pathlib import Path

import pytest
from indexed_pictures import ALL, COUNT, build, copy_home, draw, opened, paths_of
from making import state
from refusing import refused

from wherefrom.core.errors import InputError
from wherefrom.data.files.opening import UnusableFile
from wherefrom.origin import remove, synchronise
from wherefrom.origin.collection.synchronising import preview
from wherefrom.origin.index.index import Index
from wherefrom.origin.index.places import digest_now, missing_now
from wherefrom.origin.searching.reader import Reader


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built") / "home")


@pytest.fixture
def home(template, tmp_path, monkeypatch):
    home = copy_home(template, tmp_path / "home")
    monkeypatch.chdir(home)
    return home


def sync(*folders, dry_run=False, roots=(), **options):
    with opened("refs.index", writable=not dry_run, roots=[Path(r) for r in roots]) as references:
        call = preview if dry_run else synchronise
        return call(references, [Path(f) for f in folders], **options)


def names(paths):
    return [Path(path).name for path in paths]


def check(expected):
    """The index holds these pictures, each with the vector of its file."""
    with opened("refs.index") as references:
        assert paths_of(references, ".") == sorted(expected)
        files = [Path(image.path) for image in references.index.images()]
        assert all(not missing_now(i.path, i.digest) for i in references.index.images())
        rows = references.index.vectors([i.id for i in references.index.images()])
        _, wanted = Reader(references.encoder).embed(files)
        wanted = wanted / wanted.norm(dim=1, keepdim=True)
        assert (rows - wanted).abs().max() < 1e-3
        digests = {image.digest for image in references.index.images()}
        assert references.hashes.missing(sorted(digests)) == set()
        assert references.index.verify().images == len(expected)


def change_everything():
    """New, gone, moved, renamed over another, swapped and changed pictures; what is then there."""
    draw(Path("photos/new.png"), 20)
    Path("photos/trip/5.png").unlink()
    Path("photos/0.png").rename("photos/trip/0 moved.png")
    Path("photos/1.png").rename("photos/swap")
    Path("photos/2.png").rename("photos/1.png")
    Path("photos/swap").rename("photos/2.png")
    draw(Path("photos/3.png"), 23)
    names = ["new", "trip/0 moved", "1", "2", "3", "trip/4"]
    return [f"photos/{name}.png" for name in names]


def test_all_that_can_happen_to_pictures__closed_form(home):
    expected = change_everything()
    before = sync(dry_run=True)
    assert Index.open("refs.index").count() == COUNT
    report = sync()
    assert before.to_dict() == report.to_dict() | {"dry_run": True}
    assert (names(report.added), names(report.gone)) == (["new.png"], ["5.png"])
    assert names(report.changed) == ["3.png"] and report.unchanged == 1
    moved = {tuple(names(pair)) for pair in report.moved}
    assert moved == {("0.png", "0 moved.png"), ("1.png", "2.png"), ("2.png", "1.png")}
    assert report.images == COUNT and report.skipped == ()
    check(expected)
    again = sync()
    assert again.unchanged == COUNT and not (again.added or again.gone or again.moved)


def test_what_moved_is_not_embedded_again__identity(home, monkeypatch):
    with opened("refs.index") as references:
        vectors = {row for _, row in state(references.index).values()}
    Path("photos").rename("archive")
    monkeypatch.setattr("wherefrom.origin.collection.references.add_images", None)
    report = sync("archive")
    assert len(report.moved) == COUNT and report.added == report.gone == ()
    with opened("refs.index") as references:
        assert {row for _, row in state(references.index).values()} == vectors
        assert paths_of(references, ".") == [path.replace("photos", "archive") for path in ALL]
        # The folder that is not there any more and whose pictures have left it is forgotten.
        assert references.index.pictures.folders() == [os.fsencode(str(home / "archive"))]


def test_a_root_is_kept_by_a_synchronisation_with_the_folders__closed_form(home):
    Path("photos").rename("archive")
    draw(Path("archive/new.png"), 20)
    report = sync(roots=["archive"])
    assert (len(report.moved), names(report.added)) == (COUNT, ["new.png"])
    check([*(path.replace("photos", "archive") for path in ALL), "archive/new.png"])
    assert sync().unchanged == COUNT + 1


def test_a_picture_among_twins_keeps_its_name__closed_form(home):
    """Two files of one content moved to another folder, and a third one stayed."""
    for name in ("a", "b", "c"):
        shutil.copy("photos/0.png", f"photos/{name}.png")
    assert len(sync().added) == 3
    for name in ("b", "a"):
        shutil.move(f"photos/{name}.png", f"photos/trip/{name}.png")
    report = sync()
    assert {tuple(names(pair)) for pair in report.moved} == {("a.png",) * 2, ("b.png",) * 2}
    assert report.added == report.gone == ()


def test_what_replaced_a_gone_picture_by_another_known_one__closed_form(home):
    shutil.move("photos/1.png", "photos/0.png")
    report = sync()
    assert names(report.gone) == ["0.png"] and names(report.moved[0]) == ["1.png", "0.png"]
    check([path for path in ALL if path != "photos/1.png"])


def test_a_missing_folder_forgets_nothing__rejects_missing(home):
    for hide in (lambda: Path("photos").rename("hidden"), lambda: Path("photos").mkdir()):
        hide()
        with refused("is not there or empty, with 6 of the pictures of the index, so nothing"):
            sync()
        assert len(sync(dry_run=True).gone) == COUNT
    with opened("refs.index") as references:
        assert references.index.count() == COUNT
    report = sync(missing_folders=True)
    assert (len(report.gone), report.images) == (COUNT, 0)


def test_a_folder_inside_may_go__closed_form(home):
    shutil.rmtree("photos/trip")
    assert names(sync().gone) == ["4.png", "5.png"]
    check(ALL[:4])


def test_what_cannot_be_read_is_named_and_stays__closed_form(home):
    Path("photos/torn.png").write_bytes(Path("photos/0.png").read_bytes()[:99])
    Path("photos/1.png").write_bytes(b"\x89PNG no more")
    report = sync()
    assert sorted(names(path for path, _ in report.skipped)) == ["1.png", "torn.png"]
    assert report.added == report.changed == report.gone == ()
    with opened("refs.index") as references:
        assert paths_of(references, ".") == ALL


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="everything opens for root")
def test_a_closed_folder_is_not_a_gone_one__closed_form(home):
    Path("photos/trip").chmod(0)
    try:
        report = sync()
    finally:
        Path("photos/trip").chmod(0o755)
    assert report.gone == () and len(report.skipped) >= 2 and report.images == COUNT


def test_what_is_closed_is_not_gone__closed_form(home, monkeypatch):
    """As a folder without the right to enter it, for whoever runs the tests."""
    real = os.stat

    def stat(path, **options):
        if b"trip" in os.fsencode(path):
            raise PermissionError(13, "Permission denied", path)
        return real(path, **options)

    monkeypatch.setattr("wherefrom.origin.index.places.os.stat", stat)
    monkeypatch.setattr("wherefrom.origin.collection.synchronising.digest_now", deny_trip)
    report = sync()
    assert report.gone == () and report.images == COUNT
    assert sorted(names(path for path, _ in report.skipped)) == ["4.png", "5.png"]


def deny_trip(path):
    if "trip" in str(path):
        raise UnusableFile(path, "cannot be opened: Permission denied")
    return digest_now(path)


def test_what_was_removed_stays_out_until_it_is_added__closed_form(home):
    with opened("refs.index", writable=True) as references:
        remove(references.index, [Path("photos/1.png"), Path("photos/trip")])
    report = sync()
    assert (report.removed, report.added, report.images) == (3, (), COUNT - 3)
    with opened("refs.index", writable=True) as references:
        references.add([Path("photos/1.png")])
    assert sync().removed == 2


@pytest.mark.parametrize("alone", [True, False])
def test_what_was_removed_stays_out_when_its_folder_moves__closed_form(home, alone, monkeypatch):
    with opened("refs.index", writable=True) as references:
        remove(references.index, [Path("photos/trip"), Path("photos/2.png")])
    if alone:
        Path("photos").rename("archive")
        report = sync(roots=["archive"])
    else:
        home.rename(home.with_name("elsewhere"))
        monkeypatch.chdir(home.with_name("elsewhere"))
        report = sync()
    assert (report.removed, report.added, report.images) == (3, (), COUNT - 3)
    assert (sync().removed, sync().added) == (3, ())


def test_a_further_folder_is_looked_through_from_then_on__closed_form(home):
    draw(Path("more/a.png"), 30)
    assert names(sync("more").added) == ["a.png"]
    draw(Path("more/b.png"), 31)
    assert names(sync().added) == ["b.png"]
    with refused("nowhere: there is no such file or folder"):
        sync("nowhere")


@pytest.mark.parametrize("moment", ["relocate", "forget", "add", "second batch", "folders"])
def test_interrupted_anywhere_it_is_whole_and_goes_on__identity(home, monkeypatch, moment):
    expected = change_everything()

    class Killed(BaseException):
        pass

    def kill(*_, **__):
        raise Killed

    calls = iter(range(100))
    real = Index.add
    where = {
        "relocate": ("wherefrom.origin.index.manifest.Manifest.relocate", kill),
        "forget": ("wherefrom.origin.searching.copies.CopyHashes.forget", kill),
        "add": ("wherefrom.origin.collection.references.References.add", kill),
        "second batch": (
            "wherefrom.origin.index.index.Index.add",
            lambda *a: kill() if next(calls) else real(*a),
        ),
        "folders": ("wherefrom.origin.index.pictures.Pictures.forget_folders", kill),
    }
    with monkeypatch.context() as patch:
        patch.setattr("wherefrom.origin.searching.reader.CHUNK", 1)
        patch.setattr(*where[moment])
        with pytest.raises(Killed):
            sync()
    with opened("refs.index") as references:
        references.index.verify()
        known = {image.digest: image for image in references.index.images()}
        assert len(known) >= COUNT - 1
    sync()
    check(expected)


def test_synchronising_needs_a_writer_unless_it_only_looks__rejects_reader(home):
    Path("photos/0.png").unlink()
    with opened("refs.index") as references:
        assert len(preview(references).gone) == 1
        with pytest.raises(InputError, match="open it with writable=True"):
            synchronise(references)
