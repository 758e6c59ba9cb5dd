"""Throw-away chains of a root and a signer, as Content Credentials need them."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM
DAY = datetime.timedelta(days=1)
KEYS = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "es512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
    "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def make_chain(kind="es256", *, days=(-1, 36500), mail=True, name="Signer"):
    """PEM of a signer's certificate and its root's, and of the signer's key.

    `days`: from when to when the signer's is valid, from now; `mail`: whether it may sign at all.
    """
    root_key, key = KEYS["es256"](), KEYS[kind]()
    root = _named("Root")
    chain = [
        _signed(_named(name), key, root, root_key, days=days, mail=mail),
        _signed(root, root_key, root, root_key),
    ]
    return b"".join(each.public_bytes(PEM) for each in chain), pem_of(key)


def pem_of(key, password=None):
    """A private key as PEM, encrypted with a password."""
    hidden = serialization.NoEncryption()
    if password is not None:
        hidden = serialization.BestAvailableEncryption(password)
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, hidden)


def _named(text):
    parts = [(NameOID.COMMON_NAME, text), (NameOID.ORGANIZATION_NAME, "Test Studio")]
    return x509.Name([x509.NameAttribute(*part) for part in parts])


def _signed(subject, key, issuer, issuer_key, *, days=(-1, 36500), mail=None):
    """A certificate; `mail` is None for an authority's."""
    authority, now = mail is None, datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(USAGES, False)
    usage["key_cert_sign" if authority else "digital_signature"] = True
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer_id, critical=False)
    )
    if mail:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        made = made.add_extension(purpose, critical=False)
    return made.sign(issuer_key, hashes.SHA256())
