"""Contributors from tables, folders and archives as people have them."""

import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from studies import write_study

from wherefrom.core.errors import InputError
from wherefrom.credit.contributors.reading import contributors_from_csv, contributors_from_folders
from wherefrom.credit.diffusion.properties import RunOutput
from wherefrom.credit.study.file import load_study
from wherefrom.credit.study.tools import Lab


@pytest.fixture
def pictures(tmp_path):
    for place, name in enumerate(("a.png", "b.png", "in/c.png", "größe.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 40 * place).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def notes(notes):
    return lambda: "\n".join(notes)


def read(folder, text, *, encoding="utf-8", name="c.csv"):
    (folder / name).write_bytes(text.encode(encoding))
    return contributors_from_csv(folder / name, channels=1, size=8)


def rows_of(data):
    prompts = data.prompts or [""] * len(data.paths)
    owners = [data.names[player] for player in data.owner.tolist()]
    paths = [path.name for path in data.paths]
    return list(zip(owners, paths, data.labels.tolist(), prompts, strict=True))


def test_each_giver_of_one_picture_keeps_what_is_said_of_it__closed_form(pictures):
    table = (
        "path,contributor,label,prompt\na.png,ann,1,by ann\nb.png,ann,1,too\n"
        "a.png,bob,2,by bob\nin/../a.png,cid,0,\n"
    )
    data = read(pictures, table)
    assert rows_of(data) == [
        ("ann", "a.png", 1, "by ann"),
        ("ann", "b.png", 1, "too"),
        ("bob", "a.png", 2, "by bob"),
        ("cid", "a.png", 0, ""),
    ]
    assert data.shared == (("ann", "bob", 1), ("ann", "cid", 1), ("bob", "cid", 1))
    swapped = read(pictures, table.replace("by ann", "by bob"))
    assert swapped.digests()["ann"] != data.digests()["ann"]
    assert swapped.digests()["bob"] == data.digests()["bob"]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("file_name;contributor;text\na.png;ann;x, y\nin\\c.png;bob;z\n", "utf-8-sig"),
        ("file_name\tcontributor\tcaption\na.png\tann\tx, y\nin\\c.png\tbob\tz\n", "utf-16"),
        ('{"file_name": "a.png", "contributor": "ann", "text": "x, y"}\n'
         '{"file_name": "in/c.png", "contributor": "bob", "text": "z"}', "utf-8"),
    ],
)  # fmt: skip
def test_tables_of_other_tools__closed_form(pictures, text, encoding):
    assert rows_of(read(pictures, text, encoding=encoding)) == [
        ("ann", "a.png", 0, "x, y"),
        ("bob", "c.png", 1, "z"),
    ]


def test_names_in_windows_letters_and_further_columns__closed_form(pictures, notes):
    text = "path,contributor,licence,price\na.png,ann,CC0,3\ngröße.png,Jürgen,,4\n"
    data = read(pictures, text, encoding="cp1252")
    assert data.names == ("Jürgen", "ann")
    assert "not used: the columns licence, price" in notes()
    assert "read as Windows-1252" in notes()


def test_labels_may_be_names_throughout__closed_form(pictures):
    head = "path,contributor,class\n"
    data = read(pictures, head + "a.png,ann,dog\nb.png,ann,cat\nin/c.png,bob,dog\n")
    assert data.labels.tolist() == [1, 0, 1]
    with pytest.raises(InputError, match="line 3: the label 'cat' is no whole number from 0, and"):
        read(pictures, head + "a.png,ann,1\nb.png,bob,cat\n")


def test_a_row_twice_is_named_with_its_owner__rejects(pictures):
    with pytest.raises(InputError, match=r"line 4: .*a.png is there twice for 'ann'"):
        read(pictures, "path,contributor\na.png,ann\nb.png,bob\n.\\a.png,ann\n")


def test_captions_beside_contributed_images_are_prompts__closed_form(tmp_path):
    for who in ("ann", "bob"):
        (tmp_path / who).mkdir()
        Image.new("L", (8, 8), len(who)).save(tmp_path / who / "1.png")
    (tmp_path / "ann" / "1.txt").write_text("a cat by ann")
    (tmp_path / "bob" / "metadata.csv").write_text("file_name,text\n1.png,a dog by bob\n")
    data = contributors_from_folders(tmp_path, channels=1, size=8)
    assert data.prompts == ("a cat by ann", "a dog by bob")


def test_archives_are_contributors__identity_source(tmp_path):
    folder, packed = tmp_path / "folder", tmp_path / "packed"
    packed.mkdir()
    draw = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as whole:
        for who in ("ann", "bob"):
            (folder / who).mkdir(parents=True)
            with zipfile.ZipFile(packed / f"{who}.zip", "w") as archive:
                for place in range(2):
                    path = folder / who / f"{place}.png"
                    Image.fromarray(draw.integers(0, 255, (8, 8), dtype=np.uint8)).save(path)
                    archive.write(path, path.name)
                    whole.write(path, f"{who}/{path.name}")
    one, *others = (
        contributors_from_folders(root, channels=1, size=8)
        for root in (folder, packed, tmp_path / "all.zip")
    )
    for other in others:
        assert other.names == one.names == ("ann", "bob")
        assert other.digests() == one.digests()
    table = "path,contributor\nall.zip/ann/0.png,ann\npacked/bob.zip/1.png,bob\n"
    assert len(read(tmp_path, table).paths) == 2


def test_statistics_serve_a_frechet_property__closed_form(tmp_path):
    text = '[[property]]\nkind = "frechet"\nreference = "stats.npz"\n'
    study = load_study(write_study(tmp_path, properties=text))
    data = contributors_from_folders(tmp_path / "data", channels=1, size=8)
    rows = data.images.flatten(1).double() / 255
    np.savez(tmp_path / "stats.npz", mu=rows.mean(0).numpy(), sigma=np.cov(rows.numpy().T))
    models = SimpleNamespace(full=None, conditions=data.labels)
    (measure,) = Lab(study, data, models, "cpu").properties
    assert measure(RunOutput(data.images)) == pytest.approx(0.0, abs=1e-6)
    np.savez(tmp_path / "stats.npz", mu=np.zeros(65), sigma=np.eye(65))
    with pytest.raises(InputError, match="65 features, and the encoder 'pixels' gives 64; name"):
        _ = Lab(study, data, models, "cpu").properties
