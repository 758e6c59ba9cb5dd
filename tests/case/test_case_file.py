import shutil

import pytest

from wherefrom.case.parts.file import (
    AttributorPart,
    Case,
    CaseConfig,
    CreditPart,
    OriginPart,
    read_case,
    write_case,
)
from wherefrom.case.parts.opened import digest_of, find_kind, open_case, require_same
from wherefrom.core.errors import ArtifactError, InputError

DIGEST = "sha256:" + "0" * 64
HOSTILE = 'x" ] # \\ \u00e9'  # what a writer of TOML has to escape


def made(path, **more):
    parts = (
        AttributorPart(name=HOSTILE, path="../a b/m", digest=DIGEST),
        OriginPart(name="refs", path="refs.index", digest=DIGEST, encoder="vae"),
        CreditPart(name="pay", path="receipt.json", digest=DIGEST, model=HOSTILE),
    )
    return Case(path, CaseConfig(name="studio", family_error=0.02), parts, **more)


def test_a_case_comes_back_as_it_was_written__roundtrip(tmp_path):
    case = write_case(made(tmp_path / "case.toml"), new=True)
    assert read_case(tmp_path / "case.toml") == case
    assert case.place(case.parts[1]) == tmp_path / "refs.index"
    with pytest.raises(InputError, match="already exists"):
        write_case(case, new=True)


GOOD = f"schema = 1\n[[origin]]\nname = 'a'\npath = 'p'\ndigest = '{DIGEST}'\n"
BAD = {
    "is not TOML": "schema = ",
    "has the format None": "[case]",
    "has the format 2": "schema = 2",
    r"no table \[models\]": "schema = 1\n[models]",
    "no setting 'pth'; did you mean 'path'": GOOD + "pth = 'p'",
    "lacks its path or its digest": "schema = 1\n[[origin]]\nname = 'a'",
    "two .* are called 'a'": GOOD + GOOD.partition("\n")[2],
    "control characters": GOOD.replace("'a'", '"a\\u001b"'),
    "must be tables": "schema = 1\norigin = 3",
    "family_error is 0.9": "schema = 1\n[case]\nfamily_error = 0.9",
}


@pytest.mark.parametrize("reason", BAD, ids=range(len(BAD)))
def test_a_wrong_file_is_refused_in_one_line__rejects_case(tmp_path, reason):
    path = tmp_path / "case.toml"
    path.write_text(BAD[reason])
    with pytest.raises((InputError, ArtifactError), match=reason) as raised:
        read_case(path)
    assert "\n" not in str(raised.value)


def test_kinds_are_found_by_what_is_there__closed_form(world):
    found = [find_kind(path) for path in world.parts()]
    assert found == ["attributor", "attributor", "origin", "anomaly", "inverter"]
    assert find_kind(world.folder / "receipt.json") == "credit"
    for path, reason in (
        (world.folder / "nothing", "there is no"),
        (world.photos, "not usable in a case"),
        (world.folder / "model" / "outliers", "'inversion/outliers' artifact"),
        (world.own / "0.png", "is a file"),
    ):
        with pytest.raises(InputError, match=reason):
            find_kind(path)


def test_a_digest_changes_with_what_decides__identity(world, tmp_path):
    from wherefrom.origin import References

    copy = shutil.copytree(world.folder / "refs.index", tmp_path / "refs.index")
    before = digest_of("origin", world.folder / "refs.index")
    assert digest_of("origin", copy) == before
    with References.open(copy, writable=True) as references:
        references.add([world.own])
    assert digest_of("origin", copy) != before
    with pytest.raises(InputError, match=r"is not the one that was added .*--overwrite"):
        require_same("origin", "refs", copy, before)


def test_a_case_opens_everything_it_names__closed_form(case_file):
    with open_case(case_file) as opened:
        counts = [len(x) for x in (opened.attributors, opened.origins, opened.naturalness)]
        assert counts == [2, 1, 1]
        assert len(opened.outliers) == len(opened.credits) == 1


def moved(case_file, tmp_path, change):
    """A changed copy of the case file, in the same folder because paths are relative to it."""
    path = case_file.with_name(f"{tmp_path.name}.toml")
    path.write_text(change(case_file.read_text()))
    return path


CHANGES = {
    "the origin 'refs' is not at": ("refs.index", "gone.index"),
    "the attributor 'mine' at .* is not the one": ("mine.attributor", "sister.attributor"),
    "family-wise error of 0.001 .* needs": ("family_error = 0.1", "family_error = 0.001"),
    "is about the model 'theirs'": ('model = "mine"', 'model = "theirs"'),
    "false-alarm rate of 0.001 cannot be supported": ("false_alarms = 0.1", "false_alarms = 0.001"),
}


@pytest.mark.parametrize("reason", CHANGES, ids=range(len(CHANGES)))
def test_missing_foreign_or_unsupported_parts_are_refused__rejects_part(
    case_file, tmp_path, reason
):
    path = moved(case_file, tmp_path, lambda text: text.replace(*CHANGES[reason]))
    with pytest.raises(InputError, match=reason) as raised:
        open_case(path)
    assert "\n" not in str(raised.value)
