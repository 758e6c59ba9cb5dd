"""Statements signed into a picture by c2pa-python, with throw-away keys."""

import io
import time

import pytest
from certificates import DAY, KEYS, make_chain, pem_of
from PIL import Image

from wherefrom.case.claims.reading import read_claims
from wherefrom.case.signing import open_signer, read_signature, sign_picture
from wherefrom.core.errors import ArtifactError, InputError, MissingExtraError

pytest.importorskip("c2pa")

STATEMENT = {"schema": 1, "rate": 0.05, "none": None, "answers": [{"sentence": "Made by “mine”."}]}


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "teal").save(buffer, format="PNG")
    return buffer.getvalue()


def save(folder, chain, secret):
    """Two files: key and certificates."""
    (folder / "key.pem").write_bytes(secret)
    (folder / "chain.pem").write_bytes(chain)
    return folder / "key.pem", folder / "chain.pem"


def sign(folder, **options):
    signer = open_signer(*save(folder, *make_chain(**options)))
    return sign_picture(png(), STATEMENT, signer, title="t")


@pytest.mark.parametrize("kind", KEYS)
def test_what_was_signed_is_read_again__roundtrip(tmp_path, kind):
    data = sign(tmp_path, kind=kind)
    found = read_signature(data, "x.png")
    assert (found.name, found.issuer, found.algorithm.lower()) == ("Signer", "Test Studio", kind)
    assert found.statement == STATEMENT
    assert not found.trusted
    assert Image.open(io.BytesIO(data)).tobytes() == bytes([0, 128, 128]) * 32 * 32


def test_the_signer_vouches_for_the_statement_and_says_a_program_drew_it__reference_c2pa(tmp_path):
    import json

    import c2pa

    with c2pa.Reader("image/png", io.BytesIO(sign(tmp_path))) as reader:
        told = json.loads(reader.detailed_json())
    claim = told["manifests"][told["active_manifest"]]["claim"]
    vouched = [row["url"].rpartition("/")[2] for row in claim["created_assertions"]]
    assert vouched == ["c2pa.actions.v2", "org.wherefrom.inspection", "c2pa.hash.data"]
    assert "gathered_assertions" not in claim
    claims, _ = read_claims(sign(tmp_path), "PNG")
    assert "c2pa.created, dataDrivenMedia" in [claim.text for claim in claims]


def test_only_anchors_make_a_certificate_trusted__closed_form(tmp_path):
    data = sign(tmp_path)
    root = tmp_path / "root.pem"
    end = b"-----END CERTIFICATE-----\n"
    root.write_bytes((tmp_path / "chain.pem").read_bytes().split(end)[1] + end)
    assert read_signature(data, "x.png", anchors=root).trusted
    foreign = tmp_path / "foreign.pem"
    foreign.write_bytes(make_chain()[0])
    assert not read_signature(data, "x.png", anchors=foreign).trusted
    foreign.write_text("no certificate")
    with pytest.raises(InputError, match=r"foreign\.pem holds no certificates"):
        read_signature(data, "x.png", anchors=foreign)


def test_a_changed_byte_is_seen__rejects_change(tmp_path):
    data = sign(tmp_path)
    pixels, name, rate = data.rindex(b"IDAT") + 8, data.index(b"Test Studio"), data.index(b"rate")
    seen = set()
    for place in (pixels, name, rate):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(ArtifactError, match=r"x\.png is not as it was signed") as caught:
            read_signature(changed, "x.png")
        seen.add(str(caught.value).partition("(")[2].rstrip(")"))
    assert seen == {
        "assertion.dataHash.mismatch",
        "claimSignature.mismatch",
        "assertion.hashedURI.mismatch",
    }


def test_bytes_changed_anywhere_never_change_the_statement_unseen__rejects_change(tmp_path):
    data = sign(tmp_path)
    for place in range(0, len(data), 37):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        try:
            found = read_signature(changed, "x.png")
        except ArtifactError as error:
            assert str(error).count("\n") == 0
        else:  # padding that is not signed
            assert found.statement == STATEMENT


def test_an_unsigned_or_foreign_picture_is_no_signed_report__rejects_file(tmp_path):
    with pytest.raises(ArtifactError, match="carries no Content Credentials"):
        read_signature(png(), "x.png")
    with pytest.raises(ArtifactError, match="is damaged"):
        read_signature(b"no picture", "x.png")


@pytest.fixture(scope="module", autouse=True)
def expiring(tmp_path_factory):
    """A folder, a picture signed by what is in it, and when that ends: others run meanwhile."""
    lasting, folder = 1.5, tmp_path_factory.mktemp("expiring")
    chain = make_chain(days=(-1, lasting / DAY.total_seconds()))
    end = time.time() + lasting + 1  # a certificate ends with a whole second
    data = sign_picture(png(), STATEMENT, open_signer(*save(folder, *chain)), title="t")
    assert read_signature(data, "x.png").statement == STATEMENT
    return folder, data, end


def test_an_expired_certificate_ends_the_signature__limit(expiring):
    folder, data, end = expiring
    time.sleep(max(end - time.time(), 0))
    with pytest.raises(ArtifactError, match=r"certificate behind .* has expired"):
        read_signature(data, "x.png")
    with pytest.raises(InputError, match="which is not now"):
        open_signer(folder / "key.pem", folder / "chain.pem")


def weak_rsa():
    from cryptography.hazmat.primitives.asymmetric import rsa

    return pem_of(rsa.generate_private_key(65537, 1024))  # noqa: S505 (to be refused)


@pytest.mark.parametrize(
    ("chain", "secret", "told"),
    [
        (make_chain()[0], make_chain()[1], "is not that of the first certificate"),
        (make_chain()[0], b"no key", "holds no private key in PEM form"),
        (make_chain()[0], pem_of(KEYS["es256"](), b"secret"), "is encrypted"),
        (make_chain()[0], weak_rsa(), "does not sign with the kind of key"),
        (b"no certificate", make_chain()[1], "holds no certificates in PEM form"),
        (*make_chain(days=(-9, -1)), "which is not now"),
        (*make_chain(days=(1, 9)), "which is not now"),
        (*make_chain(mail=False), "C2PA does not sign with"),
    ],
)
def test_keys_and_certificates_that_cannot_sign__rejects_key(tmp_path, chain, secret, told):
    with pytest.raises(InputError, match=told) as caught:
        open_signer(*save(tmp_path, chain, secret))
    error = caught.value
    assert "\n" not in str(error)
    assert error.__cause__ is None or b"PRIVATE" not in str(error.__cause__).encode()
    lines = secret.decode().splitlines()[1:-1]
    assert not any(line in str(error) for line in lines)


def test_missing_files_are_one_line__rejects_file(tmp_path):
    with pytest.raises(InputError, match=r"chain\.pem: there is no such file"):
        open_signer(tmp_path / "key.pem", tmp_path / "chain.pem")


def test_a_signer_does_not_show_its_key__rejects_leak(tmp_path):
    chain, secret = make_chain()
    shown = repr(open_signer(*save(tmp_path, chain, secret)))
    assert secret.decode().splitlines()[1] not in shown
    assert "PRIVATE" not in shown


def test_without_the_extra_it_says_so__rejects_missing(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wherefrom\[c2pa\]'"):
        open_signer(tmp_path / "key.pem", tmp_path / "chain.pem")


def test_a_picture_signed_for_something_else_is_no_signed_report__rejects_file(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("wherefrom.case.signing.LABEL", "org.example.other")
    data = sign(tmp_path)
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match=r"holds no org\.wherefrom\.inspection"):
        read_signature(data, "x.png")
