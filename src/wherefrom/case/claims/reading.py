"""What a file states about itself: metadata, and Content Credentials (C2PA).  It proves nothing.

`claims/sources.py` reads the metadata, c2pa-python (extra `c2pa`) the credentials.  Nothing is
fetched: a manifest that is kept elsewhere is named, not read.  A valid signature shows that the
claims were signed and that the file has not changed since.  Who signed them is known only where the
certificate is trusted, and no list of trusted certificates is used here.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from wherefrom.case.claims.generation import read_generation, read_separate
from wherefrom.case.claims.sources import read_written
from wherefrom.case.claims.text import one_line
from wherefrom.case.result import Claim

MAX_CLAIMS = 60
_SEPARATE = "text in the file"
OFFLINE = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"allowed_network_hosts": []},
}
MIME = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"} | {
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
    "HEIF": "image/heic",
}


def read_claims(data: bytes, kind: str) -> tuple[tuple[Claim, ...], tuple[str, ...]]:
    """The claims in a file's bytes, of format `kind`, and what could not be read of them."""
    claims: list[Claim] = []
    unread: list[str] = []
    for source, read in (("metadata", _metadata), ("Content Credentials", _credentials)):
        try:
            claims += read(data, kind)
        except _Unread as reason:
            unread.append(f"{source}: {reason}")
        except Exception as error:  # whatever hostile bytes provoke in a foreign parser
            unread.append(f"{source}: damaged ({one_line(str(error) or type(error).__name__)})")
    if len(claims) > MAX_CLAIMS:
        unread.append(f"{len(claims) - MAX_CLAIMS} more claims are left out")
    return tuple(claims[:MAX_CLAIMS]), tuple(unread)


class _Unread(Exception):  # noqa: N818 (a reason, no error)
    """Why nothing was read."""


def _metadata(data: bytes, kind: str) -> list[Claim]:
    claims: list[Claim] = []
    generated: list[Claim] = []
    separate: dict[str, str] = {}
    for written in read_written(data):
        claims.append(Claim(written.source, one_line(written.name), one_line(written.text)))
        program, fields = read_generation(written.name, written.text)
        generated += [
            Claim(f"generation parameters ({program})", *map(one_line, f)) for f in fields
        ]
        if written.source == _SEPARATE:
            separate.setdefault(written.name, written.text)
    program, fields = read_separate(separate)
    generated += [Claim(f"generation parameters ({program})", *map(one_line, f)) for f in fields]
    generated += _novelai_model(claims)
    return list(dict.fromkeys([*generated, *claims]))


def _novelai_model(claims: list[Claim]) -> list[Claim]:
    """NovelAI names its model in a text of its own."""
    texts = {claim.name: claim.text for claim in claims}
    if texts.get("Software") != "NovelAI" or "Source" not in texts:
        return []
    return [Claim("generation parameters (NovelAI)", "model", texts["Source"])]


def _credentials(data: bytes, kind: str) -> list[Claim]:
    try:
        import c2pa
    except ImportError as error:
        raise _Unread("not read; run: pip install 'wherefrom[c2pa]'") from error
    if kind not in MIME:
        raise _Unread(f"not read in {kind} files")
    with c2pa.Settings.from_dict(OFFLINE) as settings, c2pa.Context(settings) as context:
        try:
            reader = c2pa.Reader.try_create(MIME[kind], io.BytesIO(data), context=context)
        except c2pa.C2paError as error:
            if "remote" in str(error).lower():
                raise _Unread("kept elsewhere, and nothing is fetched") from error
            raise
        if reader is None:
            return []
        with reader:
            return list(_manifest(json.loads(reader.json()), reader.get_validation_state()))


def _manifest(store: Mapping[str, Any], state: str | None) -> Iterator[Claim]:
    """The active manifest: who signed what, and whether the signature holds."""
    manifest = store.get("manifests", {}).get(store.get("active_manifest"), {})
    codes = sorted({str(row.get("code")) for row in store.get("validation_status") or []})
    signature = manifest.get("signature_info", {})
    signed = one_line(
        f"signature {str(state or 'unknown').lower()}"
        f"{': ' + ', '.join(codes) if codes else ''}; issuer as the certificate says: "
        f"{signature.get('issuer', 'unknown')}"
    )

    def claim(name: str, text: Any) -> Claim:
        return Claim("Content Credentials", name, one_line(text), signed)

    if manifest.get("title"):
        yield claim("title", manifest["title"])
    for generator in manifest.get("claim_generator_info") or []:
        yield claim("made with", f"{generator.get('name')} {generator.get('version', '')}".strip())
    if signature.get("time"):
        yield claim("signed at", signature["time"])
    for assertion in manifest.get("assertions") or []:
        label, content = str(assertion.get("label")), assertion.get("data") or {}
        if not label.startswith("c2pa.actions"):
            yield claim("assertion", label)
            continue
        for action in content.get("actions") or []:
            kind = str(action.get("digitalSourceType", "")).rpartition("/")[2]
            yield claim("action", f"{action.get('action')}{', ' + kind if kind else ''}")
    for ingredient in manifest.get("ingredients") or []:
        yield claim("made from", ingredient.get("title", "unnamed"))
