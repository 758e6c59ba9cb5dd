"""Tables in the shapes that other programs write: what a class is, and what is none."""

import json

import pytest
from PIL import Image

from wherefrom.core.errors import InputError
from wherefrom.data import load_training_images
from wherefrom.data.tables.annotations import captions_beside, labels_beside
from wherefrom.data.tables.labels import read_labels
from wherefrom.data.tables.records import read_records

NAMES = ["a.png", "b.png", "c.png"]
COLUMNS = {"file_name": NAMES, "label": ["x", "y", "x"]}
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]


@pytest.fixture
def images(tmp_path):
    for place, name in enumerate(NAMES):
        Image.new("L", (8, 8), 40 * place).save(tmp_path / name)
    return [tmp_path / name for name in NAMES]


def labels(images, value, name="labels.json"):
    path = images[0].parent / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return read_labels(path, images, path.parent)


@pytest.mark.parametrize(
    "value",
    [
        {row["file_name"]: {"label": row["label"], "caption": "a cat"} for row in ROWS},
        COLUMNS,
        {name: dict(enumerate(cells)) for name, cells in COLUMNS.items()},
        {"data": ROWS, "version": 2},
        {"images": ROWS},
        [list(row.values()) for row in ROWS],
    ],
    ids=["fields by file", "lists by column", "cells by column", "data", "images", "pairs"],
)
def test_rows_in_any_shape_of_json_are_the_same__identity(images, value):
    classes = labels(images, value)
    assert (classes.values.tolist(), classes.names) == ([0, 1, 0], ("x", "y"))


def test_one_row_of_json_lines_is_a_row__closed_form(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(ROWS[0]))
    (row,) = read_records(tmp_path / "one.json").rows
    assert row.cells == ROWS[0]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"info": {}, "images": ROWS[:1], "annotations": [], "categories": []}, "is a COCO file"),
        ({"info": 1, "splits": [2]}, "is JSON of another shape .info, splits."),
        ([{"file_name": n, "label": ["x", "y"]} for n in NAMES], "is no class"),
        ([{"file_name": n, "objects": {"bbox": [1]}} for n in NAMES], "is no class"),
        ({"labels": [[n, [0.1, 0.2]] for n in NAMES]}, "is no class"),
        ([{"file_name": n, "label": float("nan")} for n in NAMES], "needs 2 filled cells"),
    ],
)
def test_what_is_no_class_is_not_taken_for_one__rejects(images, value, reason):
    with pytest.raises(InputError, match=reason):
        labels(images, value)


def test_attributes_may_be_written_as_fractions__closed_form(images):
    table = "image,MEL,NV\na.png,1.0,0.0\nb.png,0.0,1.0\nc.png,0.0,-1.0\n"
    assert labels(images, table, "t.csv").values.tolist() == [[1, 0], [0, 1], [0, 0]]


def test_a_table_of_other_separators_says_so__rejects(images):
    with pytest.raises(InputError, match="parted by commas, semicolons, tabs or bars"):
        labels(images, "3\nSmiling Male\na.png 1 -1\n", "t.txt")


def test_two_classes_of_one_image_give_none__closed_form(images, notes):
    table = images[0].parent / "metadata.csv"
    table.write_text("file_name,label\na.png,0\nb.png,1\nc.png,1\na.png,0\n")
    assert labels_beside(images, table.parent).values.tolist() == [0, 1, 1]
    table.write_text("file_name,label\na.png,0\nb.png,1\nc.png,1\na.png,1\n")
    assert labels_beside(images, table.parent).values is None
    assert any("says different things of a.png" in note for note in notes)


def test_of_several_captions_the_first_is_taken_and_a_note_says_so__closed_form(images, notes):
    table = images[0].parent / "metadata.csv"
    table.write_text("file_name,text\na.png,first\na.png,second\nb.png,only\n")
    captions = captions_beside(images, table.parent)
    assert captions == {images[0]: "first", images[1]: "only"}
    assert any("several captions" in note for note in notes)


def test_identities_of_a_database_are_numbered_anew__closed_form(images):
    table = images[0].parent / "metadata.csv"
    table.write_text("file_name,label\na.png,20000007\nb.png,100000\nc.png,20000007\n")
    assert labels_beside(images, table.parent).values.tolist() == [1, 0, 1]
    table.write_text("file_name,label\na.png,999\nb.png,7\nc.png,999\n")
    assert labels_beside(images, table.parent).values.tolist() == [999, 7, 999]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["train/cat", "train/dog", "test/cat", "val/dog"], [0, 1, 0, 1]),
        (["train", "train", "test", "val"], None),
        (["cat/train", "dog/train", "cat/Test", "dog/validation"], [0, 1, 0, 1]),
        (["cat", "cat", "train", "dog"], [0, 0, 2, 1]),
    ],
)
def test_the_parts_of_a_set_are_no_classes__closed_form(tmp_path, folders, expected):
    for place, folder in enumerate(folders):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 40 * place).save(tmp_path / folder / f"{place}.png")
    data = load_training_images(tmp_path, size=8, channels=1)
    levels = [] if data.labels is None else data.labels.tolist()
    by_image = dict(zip(data.images[:, 0, 0, 0].tolist(), levels, strict=False))
    wanted = {} if expected is None else {40 * i: label for i, label in enumerate(expected)}
    assert by_image == wanted
