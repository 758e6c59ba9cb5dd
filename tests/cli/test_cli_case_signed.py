"""`wherefrom inspect --sign-key` and `wherefrom case verify`, from files to answers."""

import json
import shutil

import pytest
from certificates import make_chain, pem_of
from PIL import Image

from wherefrom.cli.main import run
from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import digest_file

pytest.importorskip("c2pa")

SIX_DIGITS = 5e-6  # half a unit of the sixth digit, of 1.00000
NAMES = ["inspection.json", "report.html", "signed.png"]


@pytest.fixture(scope="module")
def signing(tmp_path_factory):
    """Options that sign, and the folder of their files."""
    folder = tmp_path_factory.mktemp("keys")
    chain, secret = make_chain()
    (folder / "key.pem").write_bytes(secret)
    (folder / "chain.pem").write_bytes(chain)
    key, certificate = str(folder / "key.pem"), str(folder / "chain.pem")
    return ["--sign-key", key, "--sign-certificate", certificate], folder


@pytest.fixture(scope="module")
def asked(world, case_file):
    """The command of an inspection, without --out."""
    return ["inspect", str(world.own / "0.png"), "--with", str(case_file)]


@pytest.fixture(scope="module")
def asked_of_one(world, tmp_path_factory):
    """The same command with a case of one attributor, which is opened at once."""
    case = str(tmp_path_factory.mktemp("one") / "case.toml")
    assert run(["-q", "case", "init", case, "--family-error", "0.1"]) == 0
    assert run(["-q", "case", "add", case, str(world.folder / "mine.attributor")]) == 0
    return ["inspect", str(world.own / "0.png"), "--with", case]


@pytest.fixture(scope="module")
def report(asked, signing, tmp_path_factory):
    """A signed report."""
    out = tmp_path_factory.mktemp("signed") / "report"
    assert run(["-q", *asked, "--out", str(out), *signing[0]]) == 0
    return out


@pytest.fixture
def copied(report, tmp_path):
    """A signed report that may be spoilt."""
    return shutil.copytree(report, tmp_path / "report")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(arguments, capsys):
    """The one line of a command that exits with 2."""
    capsys.readouterr()
    assert run(["-q", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_a_signed_report_says_what_the_report_says__roundtrip(report, signing, capsys):
    assert names(report) == NAMES
    assert run(["case", "verify", str(report), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["issuer"], told["trusted"]) == ("Signer", "Test Studio", False)
    assert told["files"] == {name: digest_file(report / name) for name in sorted(told["files"])}
    assert sorted(told["files"]) == NAMES[:2]
    written = json.loads((report / "inspection.json").read_text())
    signed = told["statement"]
    assert signed["image"]["digest"] == written["image"]["digest"]
    assert signed["case"] == written["case"]
    for mine, theirs in zip(signed["answers"], written["answers"], strict=True):
        for key, value in mine.items():
            rate = isinstance(value, float)
            assert value == (pytest.approx(theirs[key], rel=SIX_DIGITS) if rate else theirs[key])
        assert {"state", "sentence", "error_rate", "error_of", "reason"} <= set(mine)
    picture = Image.open(report / "signed.png")
    assert picture.width > 800
    assert len(picture.getcolors(2**20)) > 2


def test_verify_says_who_and_that_the_name_is_anyones__closed_form(report, signing, capsys):
    assert run(["case", "verify", str(report)]) == 0
    told = capsys.readouterr().out
    assert told == (
        "report.html and inspection.json are as “Signer” of “Test Studio” (Es256) signed them; "
        "the certificate is not trusted: anybody can make one in that name (see --trust)\n"
    )
    chain = str(signing[1] / "chain.pem")
    assert run(["case", "verify", str(report), "--trust", chain]) == 0
    assert capsys.readouterr().out.endswith("signed them; the certificate is trusted\n")


def test_a_certificate_that_leads_to_no_anchor_is_refused__rejects_trust(report, tmp_path, capsys):
    foreign = tmp_path / "foreign.pem"
    foreign.write_bytes(make_chain()[0])
    told = refused(["case", "verify", str(report), "--trust", str(foreign)], capsys)
    assert "that certificate is not trusted: it leads to none in" in told


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_byte_is_found__rejects_change(copied, name, capsys):
    place = copied / name
    data = bytearray(place.read_bytes())
    data[-20] ^= 1
    place.write_bytes(bytes(data))
    told = refused(["case", "verify", str(copied)], capsys)
    reason = "is not as it was signed" if name == "signed.png" else "was changed after it was sign"
    assert f"{place} {reason}" in told


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_found__rejects_absent(copied, name, capsys):
    (copied / name).unlink()
    told = refused(["case", "verify", str(copied)], capsys)
    reason = "so the report is not signed" if name == "signed.png" else "was signed with the report"
    assert reason in told


def test_a_picture_signed_for_something_else_is_refused__rejects_foreign(copied, signing, capsys):
    from wherefrom.case.signing import open_signer, sign_picture

    keys = open_signer(signing[1] / "key.pem", signing[1] / "chain.pem")
    place = copied / "signed.png"
    plain = place.read_bytes()
    for statement in ({}, {"kind": "wherefrom inspection", "schema": 2, "files": {}}, {"files": 1}):
        place.write_bytes(sign_picture(plain, statement, keys, title="t"))
        assert "is not of version 1" in refused(["case", "verify", str(copied)], capsys)
    assert "is not a folder" in refused(["case", "verify", str(place)], capsys)


@pytest.mark.usefixtures("undrawn")
def test_a_new_report_takes_an_older_signature_away__rejects_stale(
    copied, asked_of_one, world, tmp_path
):
    assert run(["-q", *asked_of_one, "--out", str(copied)]) == 0
    assert names(copied) == NAMES[:2]
    (copied / "signed.png").write_bytes(b"an older one")
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(world.photos / "003.png", photos)
    folder = ["inspect", str(photos), *asked_of_one[2:], "--out", str(copied)]
    assert run(["-q", *folder]) == 0
    assert "signed.png" not in names(copied)


@pytest.mark.usefixtures("undrawn")
def test_where_signing_fails_nothing_is_written__rejects_half(
    asked_of_one, signing, copied, tmp_path, capsys, monkeypatch
):
    before = {name: (copied / name).read_bytes() for name in NAMES}

    def fails(*_, **__):
        raise InputError("C2PA does not sign")

    monkeypatch.setattr("wherefrom.report.case.signed.sign_picture", fails)
    for out in (tmp_path / "new", copied):
        assert "does not sign" in refused([*asked_of_one, "--out", str(out), *signing[0]], capsys)
    assert names(tmp_path / "new") == []
    assert {name: (copied / name).read_bytes() for name in names(copied)} == before


def test_keys_that_cannot_sign_are_refused_before_any_work__rejects_key(
    asked, signing, tmp_path, capsys
):
    from certificates import KEYS

    hidden, out = tmp_path / "hidden.pem", tmp_path / "out"
    hidden.write_bytes(pem_of(KEYS["es256"](), b"secret"))
    key, certificate = signing[0][:2], signing[0][2:]
    report = [*asked, "--out", str(out)]
    folder = [*asked[:1], str(signing[1]), *asked[2:], "--out", str(out)]
    for arguments, reason in (
        ([*report, *key], "belong together"),
        ([*report, *certificate], "belong together"),
        ([*asked, *key, *certificate], "give one file, and --out"),
        ([*folder, *key, *certificate], "give one file, and --out"),
        ([*report, "--sign-key", str(hidden), *certificate], "is encrypted"),
        ([*report, *key, "--sign-certificate", key[1]], "holds no certificates"),
    ):
        assert reason in refused(arguments, capsys)
    assert not out.exists()


@pytest.mark.usefixtures("undrawn")
def test_the_key_stands_nowhere__rejects_leak(report, asked_of_one, signing, tmp_path, capfd):
    secret = (signing[1] / "key.pem").read_bytes().splitlines()[1]
    arguments = ["--log-level", "debug", *asked_of_one, "--out", str(tmp_path / "out"), *signing[0]]
    assert run(arguments) == 0
    out, err = capfd.readouterr()
    assert secret.decode() not in out + err
    assert "key.pem" not in out + err
    for place in (*report.iterdir(), *(tmp_path / "out").iterdir()):
        assert secret not in place.read_bytes()
