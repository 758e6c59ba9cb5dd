"""Archives as other systems leave them: other names, other packing, several in one."""

import gzip
import io
import tarfile
import zipfile

import pytest
from PIL import Image

from wherefrom.core.errors import InputError
from wherefrom.data import list_images, read_images
from wherefrom.data.tables.labels import read_labels


def png(level):
    out = io.BytesIO()
    Image.new("L", (8, 8), level).save(out, "PNG")
    return out.getvalue()


def tar(names, mode="w"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for place, name in enumerate(names):
            data = png(place)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("name", ["set.tar", "set", "set.gz", "set.tar.gz.1", "set.tar.gz.part"])
@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_a_packed_tar_is_known_by_its_content__closed_form(tmp_path, name, mode):
    (tmp_path / name).write_bytes(tar(["a.png", "b.png"], mode))
    assert [path.name for path in list_images([tmp_path / name])] == ["a.png", "b.png"]


def test_a_packed_tar_of_bzip2_is_known_by_more_names__closed_form(tmp_path):
    for name in ("set.tar", "set.tb2", "set.tbz"):
        (tmp_path / name).write_bytes(tar(["a.png"], "w:bz2"))
        assert len(list_images([tmp_path / name])) == 1


def test_what_is_packed_and_no_tar_is_no_archive__rejects(tmp_path):
    (tmp_path / "a.png.gz").write_bytes(gzip.compress(png(1)))
    with pytest.raises(InputError, match="is not an image"):
        read_images([tmp_path / "a.png.gz"], channels=1, size=None)


def test_a_finders_zip_has_its_names__closed_form(tmp_path):
    path = tmp_path / "mac.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("größe.png", png(1))
        archive.writestr("日本.png", png(2))
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            data[at + place + 1] &= ~8  # names are UTF-8, and nothing says so
    path.write_bytes(data)
    images = list_images([path])
    assert [image.name for image in images] == ["größe.png", "日本.png"]
    assert len(read_images([path], channels=1, size=None).paths) == 2
    (tmp_path / "t.csv").write_text("image,k\ngröße.png,a\n日本.png,b\n", encoding="utf-8")
    assert read_labels(tmp_path / "t.csv", images, path).values.tolist() == [0, 1]


def test_a_name_in_a_code_page_of_its_own_stays_as_it_is__closed_form(tmp_path):
    path = tmp_path / "old.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("gr_sse.png", png(1))
    path.write_bytes(path.read_bytes().replace(b"gr_sse", b"gr\x94sse"))  # cp437's ö
    assert [image.name for image in list_images([path])] == ["grösse.png"]


def test_several_archives_in_one_are_told__closed_form(tmp_path, notes):
    (tmp_path / "both.tar").write_bytes(tar(["a.png"]) + tar(["b.png"]))
    assert [path.name for path in list_images([tmp_path / "both.tar"])] == ["a.png"]
    assert any("both.tar has more behind its end" in note for note in notes)


def test_a_method_of_packing_that_is_not_read_is_no_damage__closed_form(tmp_path):
    path = tmp_path / "explorer.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", png(1))
        archive.writestr("b.png", png(2))
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        data[data.find(mark) + place] = 9  # Deflate64
    path.write_bytes(data)
    ((_, reason),) = read_images([path], channels=1, size=None).skipped
    assert "packed by a method that is not read" in reason
    assert "damaged" not in reason


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"PAR1", "a Parquet table"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x04\x22\x4d\x18", "LZ4"),
    ],
)
def test_containers_that_are_not_read_are_named__rejects(tmp_path, start, kind):
    (tmp_path / "train").write_bytes(start + bytes(600))
    with pytest.raises(InputError, match=kind):
        list_images([tmp_path / "train"])
