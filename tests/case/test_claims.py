"""What files say of themselves: metadata by Pillow, credentials by c2pa-python."""

import builtins
import io
import json

import pytest
from certificates import make_chain
from PIL import Image, PngImagePlugin

from wherefrom.case.claims.reading import MAX_CLAIMS, read_claims
from wherefrom.case.claims.text import MAX_CHARACTERS


def png(**texts):
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "teal").save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def told(data, kind):
    return {(c.source, c.name): c.text for c in read_claims(data, kind)[0]}


def test_text_and_exif_are_claims__closed_form():
    found = told(png(parameters="a cat\nsteps 20", Software="some model"), "PNG")
    assert found["text in the file", "parameters"] == "a cat steps 20"
    exif = Image.Exif()
    exif[0x0131], exif[0x010F] = "Painter 3", "Acme"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02 03:04:05"
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="JPEG", exif=exif)
    found = told(buffer.getvalue(), "JPEG")
    assert found["EXIF", "Software"] == "Painter 3"
    assert found["EXIF", "DateTimeOriginal"] == "2026:01:02 03:04:05"


def test_the_source_type_that_generators_write_is_seen__closed_form():
    address = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    data = png(**{"XML:com.adobe.xmp": f"<x>{address}</x>"})
    assert told(data, "PNG")["XMP", "digital source type (IPTC)"] == "trainedAlgorithmicMedia"


def test_hostile_text_is_one_bounded_line__rejects_text():
    claims, unread = read_claims(png(evil="\x1b[2J" + "A" * 5000), "PNG")
    (claim,) = claims
    assert claim.text.isprintable()
    assert len(claim.text) <= MAX_CHARACTERS + 1
    many = png(**{f"k{i}": "v" for i in range(MAX_CLAIMS + 5)})
    claims, unread = read_claims(many, "PNG")
    assert len(claims) == MAX_CLAIMS
    assert unread == ("5 more claims are left out",)


def test_a_damaged_file_gives_reasons_and_no_error__rejects_file():
    claims, unread = read_claims(b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "PNG")
    assert claims == ()
    assert unread[0].startswith("metadata: damaged")


def test_without_the_extra_it_says_so__rejects_missing(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "c2pa":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    _, unread = read_claims(png(), "PNG")
    assert unread == ("Content Credentials: not read; run: pip install 'wherefrom[c2pa]'",)


def credentialed():
    """A PNG file with Content Credentials that say it was generated."""
    import c2pa

    chain, secret = make_chain()
    action = {
        "action": "c2pa.created",
        "digitalSourceType": (
            "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
        ),
    }
    manifest = {
        "claim_generator_info": [{"name": "studio", "version": "7"}],
        "title": "a teal square",
        "format": "image/png",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
    info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, chain, secret, None)
    signer, out = c2pa.Signer.from_info(info), io.BytesIO()
    with c2pa.Builder(json.dumps(manifest)) as builder:
        builder.sign(signer, "image/png", io.BytesIO(png()), out)
    return out.getvalue()


def test_credentials_are_shown_with_the_state_of_their_signature__roundtrip():
    pytest.importorskip("c2pa")
    data = credentialed()
    claims, unread = read_claims(data, "PNG")
    found = {c.name: c for c in claims if c.source == "Content Credentials"}
    assert unread == ()
    assert found["title"].text == "a teal square"
    assert found["made with"].text == "studio 7"
    assert found["action"].text == "c2pa.created, trainedAlgorithmicMedia"
    assert "Test Studio" in found["title"].signed
    assert "signingCredential.untrusted" in found["title"].signed
    assert "mismatch" not in found["title"].signed
    # One changed pixel byte: the claims are still there, and the signature no longer fits.
    place = data.rindex(b"IDAT") + 10
    changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    claims, _ = read_claims(changed, "PNG")
    signed = next(c.signed for c in claims if c.source == "Content Credentials")
    assert "invalid" in signed
    assert "mismatch" in signed
