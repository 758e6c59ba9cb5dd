"""The pairs manifest: what is read back, what is refused, and edits that were made elsewhere."""

import dataclasses
import json
import os

import pytest
from refusing import refused

from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import digest_file
from wherefrom.origin.pairs.folders import pairs_from_folders
from wherefrom.origin.pairs.manifest import (
    MANIFEST_NAME,
    PairRow,
    PairsManifest,
    append_line,
    origin_entry,
    read_pairs,
    scan_manifest,
    write_pairs,
)


def fill(folder, names):
    """Files with different contents."""
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(f"{folder.name}/{name}".encode(errors="surrogateescape"))
    return [folder / name for name in names]


def row_of(folder, origin, edit, **given):
    given = {"id": edit.stem, **given}
    return PairRow(
        origin=origin_entry(origin, folder),
        origin_digest=digest_file(origin),
        edit=edit.relative_to(folder).as_posix(),
        edit_digest=digest_file(edit),
        **given,
    )


@pytest.fixture
def pairs(tmp_path):
    """Two origins, three edits by three models of which two share a name; the rows written."""
    first, second = fill(tmp_path / "photos", ["a\nb.png", "b.png"])
    folder = tmp_path / "pairs"
    edits = fill(folder / "edits", ["0.png", "1.png", "2.png"])
    digests = ("sha256:" + "1" * 64, "sha256:" + "2" * 64, None)
    rows = [
        row_of(folder, origin, edit, model=model, model_digest=digest, seed=2**62, strength=0.25)
        for origin, edit, model, digest in zip(
            (second, first, second), edits, ("sd", "sd", "other"), digests, strict=True
        )
    ]
    write_pairs(PairsManifest(folder, tuple(rows)))
    return folder


def lines_of(folder):
    return (folder / "pairs.jsonl").read_text().splitlines()


def rewrite(folder, index, **changed):
    """Change entries of one line of the manifest."""
    lines = lines_of(folder)
    lines[index] = json.dumps(json.loads(lines[index]) | changed)
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")


def test_rows_come_back_as_written__roundtrip(pairs):
    manifest = read_pairs(pairs)
    again = manifest.folder / "again"
    fill(again / "edits", ["0.png"])
    append_line(again / MANIFEST_NAME, manifest.rows[0].to_dict())
    assert scan_manifest(again) == ((manifest.rows[0],), True)
    assert manifest.rows[0].seed == 2**62
    assert manifest.skipped == ()


def test_rows_are_grouped_by_the_bytes_of_the_origin__closed_form(pairs):
    manifest = read_pairs(pairs)
    photos = pairs.parent / "photos"
    assert manifest.origins == (photos / "b.png", photos / "a\nb.png")
    assert manifest.owner == (0, 1, 0)
    assert manifest.edits == tuple(pairs / "edits" / f"{n}.png" for n in range(3))
    assert manifest.model_of == ("sd@111111111111", "sd@222222222222", "other")
    assert len({*manifest.model_of}) == len(manifest.model_of)


def test_an_origin_is_named_relatively_inside_the_folder_alone__closed_form(tmp_path):
    assert origin_entry(tmp_path / "p" / "o" / "a.png", tmp_path / "p") == "o/a.png"
    assert origin_entry(tmp_path / "p" / ".." / "a.png", tmp_path / "p") == str(tmp_path / "a.png")


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_a_name_that_is_no_text_survives__roundtrip(tmp_path):
    (origin,) = fill(tmp_path / "photos", [os.fsdecode(b"caf\xe9.png")])
    (edit,) = fill(tmp_path / "pairs" / "edits", ["0.png"])
    folder = tmp_path / "pairs"
    write_pairs(PairsManifest(folder, (row_of(folder, origin, edit),)))
    assert read_pairs(folder).origins == (origin,)


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_line_cut_short_at_the_end_does_not_count__identity_prefix(pairs, cut):
    path = pairs / "pairs.jsonl"
    path.write_bytes(path.read_bytes()[: -cut - 1])
    assert len(read_pairs(pairs).rows) == 2
    assert scan_manifest(pairs)[1] is False


def test_a_whole_last_line_without_its_end_counts__identity_prefix(pairs):
    path = pairs / "pairs.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    assert len(read_pairs(pairs).rows) == 3
    assert scan_manifest(pairs)[1] is False


def break_line(pairs):
    lines = lines_of(pairs)
    (pairs / "pairs.jsonl").write_text("\n".join([lines[0], lines[1][:-30], lines[2], ""]))


BREAKING = {
    "no manifest": (lambda p: (p / "pairs.jsonl").unlink(), "no pairs folder.*no such file"),
    "empty": (lambda p: (p / "pairs.jsonl").write_text(""), "lists no edit"),
    "broken line": (break_line, "line 2 is not JSON"),
    "no object": (lambda p: (p / "pairs.jsonl").write_text("[1]\n"), "line 1 is no JSON object"),
    "not a number": (
        lambda p: (p / "pairs.jsonl").write_text('{"strength": NaN}\n'),
        "line 1 is not JSON .NaN",
    ),
    "unknown entry": (lambda p: rewrite(p, 1, colour=3), "line 2 has the unknown entry 'colour'"),
    "wrong type": (lambda p: rewrite(p, 2, seed="7"), "line 3: seed is '7', expected int or None"),
    "a truth value": (lambda p: rewrite(p, 2, steps=True), "steps is True, expected int"),
    "missing entry": (
        lambda p: (p / "pairs.jsonl").write_text('{"id": "x"}\n'),
        "line 1 has no entry 'origin'",
    ),
    "upwards": (lambda p: rewrite(p, 0, edit="../photos/b.png"), "line 1: the edit .* outside"),
    "absolute": (lambda p: rewrite(p, 0, edit=str(p / "edits/0.png")), "the edit .* outside"),
    "origin upwards": (lambda p: rewrite(p, 0, origin="../photos/b.png"), "the origin .* outside"),
    "twice": (
        lambda p: rewrite(p, 2, edit="edits/0.png"),
        "line 3 lists the edit 'edits/0.png' a second time, after line 1",
    ),
    "edit gone": (lambda p: (p / "edits/1.png").unlink(), "edit .*1.png cannot be read: No such"),
    "edit changed": (
        lambda p: (p / "edits/1.png").write_text("x"),
        "edit .*1.png has changed: its digest is 2d711642b726, the manifest says",
    ),
    "origin gone": (
        lambda p: (p.parent / "photos/b.png").unlink(),
        "origin .*b.png cannot be read: No such",
    ),
    "origin changed": (
        lambda p: (p.parent / "photos/a\nb.png").write_text("x"),
        r"origin .*a\\nb.png has changed",
    ),
}


@pytest.mark.parametrize("case", BREAKING)
def test_broken_folders__rejects_in_one_line(pairs, case):
    damage, said = BREAKING[case]
    damage(pairs)
    with refused(said):
        read_pairs(pairs)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_followed_and_its_content_checked__rejects_another_picture(pairs):
    target = (pairs / "edits/0.png").rename(pairs.parent / "kept.png")
    (pairs / "edits/0.png").symlink_to(target)
    assert len(read_pairs(pairs).rows) == 3
    (pairs / "edits/0.png").unlink()
    (pairs / "edits/0.png").symlink_to(pairs.parent / "photos/b.png")
    with pytest.raises(InputError, match=r"the edit .* has changed"):
        read_pairs(pairs)


def test_digests_are_not_compared_unasked__identity_option(pairs):
    (pairs / "edits/1.png").write_text("x")
    assert len(read_pairs(pairs, verify=False).rows) == 3


def test_a_manifest_is_not_overwritten_unasked__rejects(pairs):
    manifest = read_pairs(pairs)
    fewer = dataclasses.replace(manifest, rows=manifest.rows[:1])
    with pytest.raises(InputError, match="already exists"):
        write_pairs(fewer)
    write_pairs(fewer, overwrite=True)
    assert read_pairs(pairs).rows == manifest.rows[:1]


def test_edits_are_matched_by_the_longest_name__closed_form(tmp_path):
    origins = tmp_path / "photos"
    beach, longer, _ = fill(origins, ["beach.jpg", "beach__2.jpg", "sub/hill.png"])
    edits = tmp_path / "edits"
    names = ["beach__x.png", "beach__2__y__z.png", "deep/hill__1.png", "beach.png", "sea__1.png"]
    fill(edits, names)
    manifest = pairs_from_folders(origins, edits)
    found = dict(zip((row.edit for row in manifest.rows), manifest.rows, strict=True))
    assert set(found) == set(names[:3])
    assert found["beach__x.png"].origin == str(beach)
    assert found["beach__2__y__z.png"].origin == str(longer)
    assert found["deep/hill__1.png"].model == "unknown"
    assert [path.name for path, _ in manifest.skipped] == ["beach.png", "sea__1.png"]
    write_pairs(manifest)
    again = read_pairs(edits)
    assert again.rows == manifest.rows
    assert again.owner == (0, 1, 2)


def test_an_edit_that_fits_two_origins_is_skipped__closed_form(tmp_path):
    fill(tmp_path / "photos", ["a.jpg", "a.png", "b.png"])
    fill(tmp_path / "edits", ["a__1.png", "b__1.png"])
    manifest = pairs_from_folders(tmp_path / "photos", tmp_path / "edits")
    assert [row.edit for row in manifest.rows] == ["b__1.png"]
    assert "several origins" in manifest.skipped[0][1]


def test_a_table_comes_before_names__closed_form(tmp_path):
    a, b = fill(tmp_path / "photos", ["a.jpg", "b.png"])
    fill(tmp_path / "edits", ["a__1.png", "a__2.png"])
    table = tmp_path / "table.csv"
    table.write_text('edit,origin,model,prompt\na__1.png,b.png,sdxl,"a dog, running"\n')
    manifest = pairs_from_folders(tmp_path / "photos", tmp_path / "edits", table=table)
    first, second = manifest.rows
    assert (first.origin, first.model, first.prompt) == (str(b), "sdxl", "a dog, running")
    assert (second.origin, second.model, second.prompt) == (str(a), "unknown", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has the columns .none."),
        ("edit,source\nx,y\n", "has the columns edit, source; expected edit, origin"),
        ("edit,origin\na__1.png,none.jpg\n", "line 2: there is no file"),
        ("edit,origin\n../photos/a.jpg,a.jpg\n", "line 2: '../photos/a.jpg' lies outside"),
        ("edit,origin\na__1.png,a.jpg\na__1.png,a.jpg\n", "line 3 lists 'a__1.png' a second time"),
        ("edit,origin,prompt\na__1.png,a.jpg,a dog, running\n", "line 2 needs 3 filled cells"),
        ('edit,origin\n"a__1.png,a.jpg\n', "not a readable CSV file: unexpected end of data"),
        ('"edit,origin', "not a readable CSV file: unexpected end of data"),
    ],
)
def test_broken_tables__rejects_with_the_line(tmp_path, text, said):
    fill(tmp_path / "photos", ["a.jpg"])
    fill(tmp_path / "edits", ["a__1.png"])
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=said):
        pairs_from_folders(tmp_path / "photos", tmp_path / "edits", table=table)


def test_folders_without_a_pair__rejects(tmp_path):
    fill(tmp_path / "photos", ["a.jpg"])
    fill(tmp_path / "edits", ["b__1.png"])
    with pytest.raises(InputError, match="no edit fits an origin"):
        pairs_from_folders(tmp_path / "photos", tmp_path / "edits")
