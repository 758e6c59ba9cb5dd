"""An index of pictures inside an archive that is damaged later."""

import shutil
from pathlib import Path

import pytest
from indexed_pictures import ENCODER, draw, opened

from wherefrom.origin import References, synchronise
from wherefrom.origin.collection.synchronising import preview
from wherefrom.origin.index.places import missing_now


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index of one picture in `photos/` and two in `photos.zip`, which is then cut short."""
    monkeypatch.chdir(tmp_path)
    draw(Path("photos/0.png"), 0)
    draw(Path("packed/1.png"), 1)
    draw(Path("packed/2.png"), 2)
    shutil.make_archive("photos", "zip", "packed")
    with References.create("refs.index", ENCODER) as references:
        references.add([Path("photos"), Path("photos.zip")])
    data = Path("photos.zip").read_bytes()
    Path("photos.zip").write_bytes(data[: len(data) // 2])
    return Path("refs.index")


@pytest.mark.parametrize("call", [synchronise, preview])
def test_a_damaged_archive_is_named_and_the_rest_goes_on__closed_form(index, call):
    draw(Path("photos/new.png"), 3)
    with opened(index, writable=call is synchronise) as references:
        report = call(references)
    assert [Path(path).name for path in report.added] == ["new.png"]
    assert (report.gone, report.unchanged, report.images) == ((), 1, 4)
    assert all("not a readable .zip archive" in reason for _, reason in report.skipped)
    assert len(report.skipped) >= 2


def test_a_search_names_what_cannot_be_read__closed_form(index):
    with opened(index) as references:
        (found,) = (image for image in references.index.images() if image.path.endswith("1.png"))
    assert "not a readable .zip archive" in missing_now(found.path)
    assert "not a readable .zip archive" in missing_now(found.path, found.digest)
