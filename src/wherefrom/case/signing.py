"""Signing a picture with Content Credentials (C2PA), and reading such a signature.

What is signed is a statement: JSON values in an assertion of its own, `LABEL`, of a manifest
inside a PNG file.  c2pa-python (extra `c2pa`) signs and validates; nothing is fetched, no
timestamp authority is asked, and no certificate is trusted unless anchors are given.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from wherefrom import __version__
from wherefrom.case.claims.reading import OFFLINE
from wherefrom.case.claims.text import one_line
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.optional import need
from wherefrom.core.paths import show_path
from wherefrom.data.files.archives import read_file

LABEL = "org.wherefrom.inspection"  # a later version is LABEL + ".v2", as C2PA asks
FORMAT = "image/png"
# IPTC: a picture of data, drawn by a program.
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/dataDrivenMedia"
MAX_PEM_BYTES = 2**20
MIN_RSA_BITS = 2048
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
NO_THUMBNAIL = {"builder": {"thumbnail": {"enabled": False}}}
EXPIRED = "signingCredential.expired"


@dataclass(frozen=True)
class ReportSigner:
    """A private key and the chain of its certificate; the key is never shown."""

    algorithm: str  # as C2PA names it: es256, es384, es512, ps256, ed25519
    chain: bytes  # PEM, the signer's certificate first
    key: bytes = field(repr=False)  # PEM, PKCS #8


@dataclass(frozen=True)
class Signature:
    """A valid signature, and the statement that was signed.

    `name` and `issuer` are what the certificate says, which anybody can write into one; `trusted`
    says whether it leads to one of the anchors that were given.
    """

    name: str
    issuer: str
    algorithm: str
    trusted: bool
    statement: Mapping[str, Any]


def open_signer(key: Path, certificate: Path) -> ReportSigner:
    """Read a private key and the chain of its certificate (PEM), and sign a trial with them.

    An `InputError` if one cannot be read, is encrypted, expired or not of the other, or if C2PA
    does not take them; a `MissingExtraError` without c2pa-python.
    """
    _need_c2pa()
    chain = read_file(certificate, max_bytes=MAX_PEM_BYTES)
    owner = _certificates(chain, certificate)[0]
    now = datetime.now(UTC)
    if not owner.not_valid_before_utc <= now <= owner.not_valid_after_utc:
        raise InputError(
            f"the certificate in {show_path(certificate)} is valid from "
            f"{owner.not_valid_before_utc:%Y-%m-%d} to {owner.not_valid_after_utc:%Y-%m-%d}, "
            "which is not now; give one that is valid"
        )
    signer = _with_key(key, chain, owner, certificate)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="PNG")
    sign_picture(buffer.getvalue(), {}, signer, title="trial", certificate=certificate)
    return signer


def sign_picture(
    picture: bytes,
    statement: Mapping[str, Any],
    signer: ReportSigner,
    *,
    title: str,
    certificate: Path | None = None,
) -> bytes:
    """A PNG file with `statement` (JSON values) signed into it.

    An `InputError` if C2PA refuses key or certificate, which `certificate` names in the message.
    """
    c2pa = _need_c2pa()
    actions = [{"action": "c2pa.created", "digitalSourceType": SOURCE}]
    assertions = (("c2pa.actions", {"actions": actions}), (LABEL, dict(statement)))
    manifest = {
        "claim_generator_info": [{"name": "wherefrom", "version": __version__}],
        "title": title,
        "format": FORMAT,
        # Without "created" C2PA counts an assertion as gathered, which the signer does not vouch.
        "assertions": [{"label": n, "data": data, "created": True} for n, data in assertions],
    }
    out = io.BytesIO()
    try:
        info = c2pa.C2paSignerInfo(signer.algorithm, signer.chain, signer.key, None)
        with (
            c2pa.Settings.from_dict(OFFLINE | NO_THUMBNAIL) as settings,
            c2pa.Context(settings) as context,
            c2pa.Signer.from_info(info) as opened,
            c2pa.Builder(json.dumps(manifest, allow_nan=False), context=context) as builder,
        ):
            builder.sign(opened, FORMAT, io.BytesIO(picture), out)
    except c2pa.C2paError as error:
        named = "the certificate" if certificate is None else show_path(certificate)
        raise InputError(
            f"C2PA does not sign with {named} ({one_line(error)}); it needs the key usage "
            "digitalSignature, an extended key usage such as emailProtection, and the issuers' "
            "certificates after it"
        ) from None
    return out.getvalue()


def read_signature(data: bytes, called: str, *, anchors: Path | None = None) -> Signature:
    """The signature in a PNG file's bytes, `called` so in messages.

    `anchors`: a PEM file of certificates to trust.  An `ArtifactError` if there is no signature,
    if it does not hold, or if its statement is missing; an `InputError` for unusable anchors.
    """
    c2pa = _need_c2pa()
    wanted: dict[str, Any] = dict(OFFLINE)
    if anchors is not None:
        text = read_file(anchors, max_bytes=MAX_PEM_BYTES)
        _certificates(text, anchors)
        wanted["trust"] = {"user_anchors": text.decode("ascii", "ignore")}
    try:
        with c2pa.Settings.from_dict(wanted) as settings, c2pa.Context(settings) as context:
            reader = c2pa.Reader.try_create(FORMAT, io.BytesIO(data), context=context)
            if reader is None:
                raise ArtifactError(f"{called} carries no Content Credentials, so it is not signed")
            with reader:
                store, state = json.loads(reader.json()), str(reader.get_validation_state())
    except c2pa.C2paError as error:
        raise ArtifactError(f"the signature in {called} is damaged ({one_line(error)})") from error
    manifest = store.get("manifests", {}).get(store.get("active_manifest"), {})
    if state not in ("Valid", "Trusted"):
        raise ArtifactError(_why_invalid(store, called))
    statements = [a.get("data") for a in manifest.get("assertions", ()) if a.get("label") == LABEL]
    if len(statements) != 1 or not isinstance(statements[0], dict):
        raise ArtifactError(f"{called} is signed, but holds no {LABEL}; it is no signed report")
    info = manifest.get("signature_info", {})
    name, issuer, algorithm = (
        one_line(info.get(each) or "unknown") for each in ("common_name", "issuer", "alg")
    )
    return Signature(name, issuer, algorithm, state == "Trusted", statements[0])


def _why_invalid(store: Mapping[str, Any], called: str) -> str:
    codes = sorted({str(row.get("code")) for row in store.get("validation_status") or ()})
    broken = [code for code in codes if code != "signingCredential.untrusted"]
    if broken == [EXPIRED]:
        return (
            f"the certificate behind the signature in {called} has expired, so the signature "
            "no longer counts; ask the signer to sign it again"
        )
    return f"{called} is not as it was signed ({', '.join(broken) or 'invalid'})"


def _with_key(path: Path, chain: bytes, owner: Any, certificate: Path) -> ReportSigner:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    shown, secret = show_path(path), read_file(path, max_bytes=MAX_PEM_BYTES)
    # `from None`: no traceback shows what the file held.
    try:
        key = serialization.load_pem_private_key(secret, password=None)
    except TypeError:
        raise InputError(
            f"the key in {shown} is encrypted, expected a plain PEM file; decrypt it (openssl pkey)"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(f"{shown} holds no private key in PEM form that can be read") from None
    algorithm = _algorithm(key, shown)
    if key.public_key() != owner.public_key():
        raise InputError(
            f"the key in {shown} is not that of the first certificate in {show_path(certificate)}; "
            "give the two that belong together"
        )
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return ReportSigner(algorithm, chain, plain)


def _algorithm(key: Any, shown: str) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name]
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= MIN_RSA_BITS:
        return "ps256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise InputError(
        f"C2PA does not sign with the kind of key in {shown}; give one of P-256, P-384, P-521, "
        f"Ed25519, or RSA of at least {MIN_RSA_BITS} bits"
    )


def _certificates(pem: bytes, path: Path) -> list[Any]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InputError(f"{show_path(path)} holds no certificates in PEM form") from error


def _need_c2pa() -> Any:
    purpose = "a signed report"
    need("cryptography", purpose, extra="c2pa")  # c2pa-python needs it too
    return need("c2pa", purpose, extra="c2pa", called="c2pa-python")
