"""What a folder of a real person holds: links, closed folders, odd suffixes, system files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from wherefrom.core.errors import InputError
from wherefrom.core.paths import entry_names, is_system_name
from wherefrom.data import list_images, read_images, save_png
from wherefrom.data.files.kinds import kind_of
from wherefrom.data.folders import subfolders
from wherefrom.data.sorting import part_files

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(seed)
    save_png(torch.randint(0, 256, (3, 6, 6), generator=draw, dtype=torch.uint8), path)
    return path


def names(paths: list[Path], home: Path) -> list[str]:
    return [path.relative_to(home).as_posix() for path in paths]


# Kind 3: nothing is left out in silence.


@pytest.mark.parametrize(
    "name", ["downloaded", "photo.jpg_large", "scan.bak", "picture.txt", "IMG_1.PNG~", "a.b c"]
)
def test_a_picture_is_known_by_its_first_bytes__closed_form(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "x.png").rename(tmp_path / name)
    assert names(list_images([tmp_path]), tmp_path) == [name]
    assert len(read_images([tmp_path], channels=3, size=(6, 6)).paths) == 1


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("x.jxl", b"\xff\x0a" + bytes(40), "djxl of libjxl"),
        ("no suffix", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "djxl of libjxl"),
        ("x.dng", b"II*\0" + bytes(40), "rawpy or darktable"),
        ("x.CR3", b"\0\0\0\x18ftypcrx " + bytes(40), "rawpy or darktable"),
        ("x.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "opj_decompress of openjpeg"),
        ("x.psd", b"8BPS\0\1" + bytes(40), "is a Photoshop file"),
        ("x.svg", b"<?xml version='1.0'?>\n<svg/>", "rsvg-convert of librsvg"),
        ("x.exr", b"\x76\x2f\x31\x01" + bytes(40), "oiiotool of OpenImageIO"),
        ("x.avif", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(40), "AVIF"),
    ],
)
def test_what_is_not_read_is_named_with_what_reads_it__rejects_format(
    tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    picture(tmp_path / "good.png")
    (tmp_path / name).write_bytes(data)
    batch = read_images([tmp_path], channels=3, size=(6, 6))
    assert [path.name for path in batch.paths] == ["good.png"]
    ((path, reason),) = batch.skipped
    assert path.name == name
    assert says in reason


def test_heic_without_its_library_names_the_extra__rejects_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherefrom.data.files.kinds.find_spec", lambda name: None)
    (tmp_path / "IMG_1.HEIC").write_bytes(HEIC + bytes(200))
    with pytest.raises(
        InputError, match=r"HEIC file, which pillow-heif reads: .*wherefrom\[heif\]"
    ):
        read_images([tmp_path], channels=3, size=None)


def test_heic_is_decoded_where_pillow_heif_is__roundtrip(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    Image.new("RGB", (8, 6), (200, 30, 30)).save(tmp_path / "a.heic", format="HEIF")
    batch = read_images([tmp_path], channels=3, size=(6, 8))
    assert (batch.carriers[0].format, batch.lossless) == ("HEIF", (False,))


def test_avif_is_decoded_as_lossy__roundtrip(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6), (200, 30, 30)).save(tmp_path / "a.avif")
    batch = read_images([tmp_path], channels=3, size=(6, 8))
    assert (batch.carriers[0].format, batch.lossless) == ("AVIF", (False,))


def test_a_camera_raw_without_its_suffix_gives_no_thumbnail__rejects_format(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "upload", format="TIFF", tiffinfo={50706: b"\1\4\0\0"})
    with pytest.raises(InputError, match="camera's raw file"):
        read_images([tmp_path], channels=3, size=None)


def test_other_files_are_counted_in_one_note__closed_form(tmp_path: Path, notes: list[str]) -> None:
    picture(tmp_path / "a.png")
    for name in (
        "a.txt",
        "b.txt",
        "meta.csv",
        "film.mp4",
        "README",
        ".secret.png",
        "e.json",
        "f.xyz",
    ):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypmp42" if name == "film.mp4" else b"words")
    assert names(list_images([tmp_path]), tmp_path) == ["a.png"]
    (note,) = notes
    assert note == (
        f"{tmp_path}: not read as images: 7 other files (2 .txt, 1 without suffix, 1 .csv, "
        "1 .json, 2 more), 1 hidden name"
    )


def test_a_folder_without_images_says_what_is_there__rejects_folder(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("a,b")
    with pytest.raises(InputError, match=r"no image in this folder.*1 other file \(1 \.csv\)"):
        list_images([tmp_path])


SYSTEM = [
    *(".DS_Store", "._a.png", "Thumbs.db", "desktop.ini", "Icon\r", ".nfs0001", "ehthumbs.db"),
    *("Picasa.ini", ".directory", ".fuse_hidden01", ".localized", "THUMBS.DB"),
]
SYSTEM_FOLDERS = [
    *("@eaDir", "__MACOSX", "#recycle", ".Trashes", ".Trash-1000", "$RECYCLE.BIN", ".thumbnails"),
    *("System Volume Information", ".@__thumb", "@Recycle", ".Spotlight-V100", "#snapshot"),
]


def test_what_systems_drop_is_passed_over_everywhere__closed_form(
    tmp_path: Path, notes: list[str]
) -> None:
    picture(tmp_path / "a.png")
    for name in SYSTEM:
        (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
    for name in SYSTEM_FOLDERS:
        picture(tmp_path / name / "SYNOPHOTO_THUMB_M.png")
    (tmp_path / "lost+found").mkdir()
    assert names(list_images([tmp_path]), tmp_path) == ["a.png"]
    assert not notes
    assert entry_names(tmp_path) == {"a.png"}
    assert subfolders(tmp_path) == []
    picture(tmp_path / "lost+found" / "saved.png")  # a folder with something in it is read
    assert names(list_images([tmp_path]), tmp_path) == ["a.png", "lost+found/saved.png"]
    assert entry_names(tmp_path) == {"a.png", "lost+found"}


def test_what_people_name_is_no_system_file__closed_form() -> None:
    for name in ("thumbs.png", "desktop.png", "@me.png", "_a.png", "eaDir", "trash", "lost+found"):
        assert not is_system_name(name)


def test_text_that_begins_like_an_image_is_none__closed_form() -> None:
    for data in (b"BMW drives", b"P5 is a file", b"P3\nwords", b"<html><svg>", b"II", b"GIF8", b""):
        assert kind_of(data) is None


# Kind 4: links.


def test_links_to_files_and_folders_are_followed__closed_form(tmp_path: Path) -> None:
    for seed in range(3):
        picture(tmp_path / "gen" / f"{seed}.png", seed)
    home = tmp_path / "home"
    picture(home / "own.png", 9)
    (home / "link.png").symlink_to(tmp_path / "gen" / "0.png")
    (home / "relative.png").symlink_to("../gen/1.png")
    (home / "chain.png").symlink_to(home / "relative.png")
    (home / "no suffix").symlink_to(tmp_path / "gen" / "2.png")
    (home / "more").symlink_to(tmp_path / "gen")
    assert names(list_images([home]), home) == [
        "chain.png", "link.png", "more/0.png", "more/1.png", "more/2.png", "no suffix", "own.png",
        "relative.png",
    ]  # fmt: skip
    (tmp_path / "way").symlink_to(home)
    assert len(list_images([tmp_path / "way"])) == 8


def test_our_own_sorted_folders_are_read__roundtrip(tmp_path: Path) -> None:
    files = [picture(tmp_path / "gen" / f"{seed}.png", seed) for seed in range(4)]
    part_files({"keep": files[:3], "broken": files[3:]}, tmp_path / "sorted")
    assert len(read_images([tmp_path / "sorted" / "keep"], channels=3, size=(6, 6)).paths) == 3
    assert len(list_images([tmp_path / "sorted"])) == 4


@pytest.mark.parametrize("where", [".", "..", "deep/er"])
def test_a_loop_of_folders_ends__limit(tmp_path: Path, where: str, notes: list[str]) -> None:
    picture(tmp_path / "home" / "deep" / "er" / "a.png")
    (tmp_path / "home" / "deep" / "er" / "back").symlink_to(tmp_path / "home" / "deep")
    (tmp_path / "home" / "again").symlink_to(tmp_path / "home" / where)
    assert names(list_images([tmp_path / "home"]), tmp_path / "home") == ["deep/er/a.png"]
    assert "links to what is listed already" in notes[0]


def test_a_folder_is_entered_once_and_by_its_own_name__closed_form(tmp_path: Path) -> None:
    picture(tmp_path / "z" / "a.png")
    (tmp_path / "a-link").symlink_to(tmp_path / "z")
    (tmp_path / "b-link").symlink_to(tmp_path / "z")
    assert names(list_images([tmp_path]), tmp_path) == ["z/a.png"]
    assert len(list_images([tmp_path / "z", tmp_path / "a-link", tmp_path / "z" / ".." / "z"])) == 1


def test_statistics_count_a_linked_file_once__closed_form(tmp_path: Path, notes: list[str]) -> None:
    picture(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "a.png").symlink_to(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "c.png").symlink_to(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "gone.png").symlink_to(tmp_path / "nothing.png")
    assert len(list_images([tmp_path])) == 4
    assert names(list_images([tmp_path], once=True), tmp_path) == ["in/b.png", "in/gone.png"]
    assert "2 links to what is listed already" in notes[-1]
    given = [tmp_path / "in" / "a.png", tmp_path / "in" / "b.png"]
    assert list_images(given, once=True) == given  # asked for by name


def test_a_link_to_nothing_is_named__rejects_link(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "old disk" / "b.png")
    (tmp_path / "gone folder").symlink_to(tmp_path / "old disk")
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    batch = read_images([tmp_path], channels=3, size=(6, 6))
    reasons = {path.name: reason for path, reason in batch.skipped}
    assert reasons["gone.png"] == f"is a link to {tmp_path}/old disk/b.png, which is not there"
    assert reasons["gone folder"] == f"is a link to {tmp_path}/old disk, which is not there"
    assert "symbolic links" in reasons["round.png"]


def test_where_no_links_can_be_made_copies_are_proposed__rejects_linking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refused)
    file = picture(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"no links can be made .* pass --copy"):
        part_files({"keep": [file]}, tmp_path / "sorted")
    assert list(tmp_path.iterdir()) == [file]
    part_files({"keep": [file]}, tmp_path / "sorted", copy=True)


# Kind 5: names.

NAMES = [
    "Mu\u0308ller.png", "Müller 2.png", "back\\slash.png", "trailing .png", "end.png ",
    "new\nline.png", "\u202ertl.png", "日本語.png", "a\u200eb.png", "-dash.png", "=1+1.png",
]  # fmt: skip


def test_files_of_any_name_are_listed_and_read__roundtrip(tmp_path: Path) -> None:
    for seed, name in enumerate(NAMES):
        picture(tmp_path / "x.png", seed).rename(tmp_path / name)
    picture(tmp_path / "x.png", 99).rename(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller.png"))
    batch = read_images([tmp_path], channels=3, size=(6, 6))
    assert {path.name for path in batch.paths} == {*NAMES, "M\udcfcller.png"}
