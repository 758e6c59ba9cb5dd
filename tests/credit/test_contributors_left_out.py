"""Nobody's part is dropped, counted twice or mixed up in silence."""

import zipfile

import pytest
from PIL import Image

from wherefrom.core.errors import InputError
from wherefrom.credit.contributors.reading import contributors_from_csv, contributors_from_folders


@pytest.fixture
def folder(tmp_path):
    """`ann/0.png`, `bob/0.png` and `bob/1.png`."""
    for place, name in enumerate(("ann/0.png", "bob/0.png", "bob/1.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 40 * place).save(tmp_path / name)
    return tmp_path


def from_table(folder, text):
    (folder / "table.csv").write_text(text)
    return contributors_from_csv(folder / "table.csv", channels=1, size=8)


def from_folders(root):
    return contributors_from_folders(root, channels=1, size=8)


@pytest.mark.parametrize("again", ["ann/../ann/0.png", "link.png", "{folder}/ann/0.png"])
def test_one_file_by_two_paths_counts_once__rejects(folder, again):
    (folder / "link.png").symlink_to("ann/0.png")
    again = again.format(folder=folder)
    with pytest.raises(InputError, match=r"line 3: .* is there twice for 'ann'"):
        from_table(folder, f"path,contributor\nann/0.png,ann\n{again},ann\nbob/0.png,bob\n")


@pytest.mark.parametrize("label", ["1", "cat"])
def test_labels_of_some_rows_do_not_mix_with_the_numbers_of_contributors__rejects(folder, label):
    table = f"path,contributor,label\nann/0.png,ann,{label}\nbob/0.png,bob,\n"
    with pytest.raises(InputError, match="line 3: there is no label, and other rows have one"):
        from_table(folder, table)


@pytest.mark.parametrize("label", ["99999999999999999999", "100000"])
def test_a_label_is_no_identity_of_a_database__rejects(folder, label):
    table = f"path,contributor,label\nann/0.png,ann,{label}\nbob/0.png,bob,1\n"
    with pytest.raises(InputError, match=r"line 2: .* below 100000, or names"):
        from_table(folder, table)


@pytest.mark.parametrize(
    ("name", "start", "reason"),
    [
        ("cid.rar", b"Rar!\x1a\x07", r"'cid\.rar' has no usable image .*RAR archive, which"),
        ("cid.7z", b"7z\xbc\xaf\x27\x1c", r"'cid\.7z' has no usable image .*7-Zip archive"),
        ("cid.zip", b"PK\3\4cut", "'cid' has no usable image .*not a readable .zip"),
    ],
)
def test_an_archive_that_cannot_be_read_drops_nobody__rejects(folder, name, start, reason):
    (folder / name).write_bytes(start)
    with pytest.raises(InputError, match=reason):
        from_folders(folder)


def test_what_lies_in_no_contributors_folder_is_named__closed_form(folder, notes):
    (folder / "ann" / "0.png").rename(folder / "lost.png")
    Image.new("L", (8, 8), 7).save(folder / "ann" / "2.png")
    (folder / "README.txt").write_text("x")
    assert from_folders(folder).names == ("ann", "bob")
    assert any("1 image lies in no contributor's folder and is left out" in note for note in notes)
    assert any("lost.png" in note for note in notes)


def test_a_folder_around_all_contributors_is_named__rejects(folder, tmp_path):
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("ann/0.png", "bob/0.png"):
            archive.write(folder / name, f"set/{name}")
    with pytest.raises(InputError, match=r"there is 1 contributor; .* \(there is only 'set'\)"):
        from_folders(path)
    assert from_folders(path / "set").names == ("ann", "bob")


def test_an_archives_name_is_cut_at_its_suffix_alone__closed_form(tmp_path):
    for place, name in enumerate(("ann.smith.zip", "ann.jones.ZIP", "v1.2")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            Image.new("L", (8, 8), 40 * place).save(tmp_path / "picture", "PNG")
            archive.write(tmp_path / "picture", "0.png")
    (tmp_path / "picture").unlink()
    assert from_folders(tmp_path).names == ("ann.jones", "ann.smith", "v1.2")
