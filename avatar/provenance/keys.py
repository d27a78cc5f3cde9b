"""Keys that films are signed by: a root and a leaf of one's own, with the certificate profile that C2PA demands."""

from __future__ import annotations

import datetime
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avatar.core.files import UserError, check_readable, check_writable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, Name

CERTIFICATE, KEY, ROOT, ROOT_KEY = "certificate.pem", "key.pem", "root.pem", "root_key.pem"
ROOT_YEARS, LEAF_YEARS = 10, 2
INSTALL = "pip install 'avatar-builder[trust]'"


@dataclass(frozen=True)
class SigningKeys:
    """What signs: PEM of the chain of certificates, the leaf's first, and of the leaf's private key."""

    certificates: bytes
    key: bytes
    tsa: str | None = None  # URL of an RFC 3161 time stamp server

    def __repr__(self) -> str:
        return "SigningKeys(...)"  # a key is not for logs


def config_folder() -> Path:
    """The user's folder for keys and what else outlives a project (XDG base directories)."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "avatar-builder"


def keys_folder() -> Path:
    """Where `avatar keys init` puts keys, and signing looks for them."""
    return config_folder() / "keys"


def make_keys(folder: Path, organization: str) -> None:
    """Make a root and a leaf (ES256) in a folder of mode 700, its private keys of mode 600.

    Raises: UserError when there are keys already, or the extra `trust` is missing.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise UserError(f"keys need the extra 'trust': {INSTALL}") from error
    if not organization.strip():
        raise UserError("--organization: is empty; certificates need the name of who signs")
    if any((folder / name).exists() for name in (CERTIFICATE, KEY, ROOT, ROOT_KEY)):
        raise UserError(f"{folder}: holds keys already, which films were signed by; choose another folder")
    check_writable(folder / KEY)
    folder.chmod(0o700)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer, subject = _name(organization, "root"), _name(organization, "films")
    root = _certify(issuer, issuer, root_key, root_key, authority=True)
    leaf = _certify(subject, issuer, key, root_key, authority=False)
    _write_private(folder / ROOT_KEY, _private_pem(root_key))
    _write_private(folder / KEY, _private_pem(key))
    (folder / ROOT).write_bytes(_pem(root))
    (folder / CERTIFICATE).write_bytes(_pem(leaf) + _pem(root))


def read_keys(folder: Path, *, tsa: str | None = None) -> SigningKeys:
    """The keys of a folder. Raises: UserError for a key that others can read, and certificates out of date."""
    for name in (CERTIFICATE, KEY):
        check_readable(folder / name, "certificate" if name == CERTIFICATE else "key")
    mode = stat.S_IMODE((folder / KEY).stat().st_mode)
    if mode & 0o077:
        raise UserError(f"{folder / KEY}: others can read it (mode {mode:o}); chmod 600, or make new keys")
    keys = SigningKeys((folder / CERTIFICATE).read_bytes(), (folder / KEY).read_bytes(), tsa)
    _check_dates(keys.certificates, folder / CERTIFICATE)
    return keys


def _check_dates(certificates: bytes, place: Path) -> None:
    try:
        from cryptography.x509 import load_pem_x509_certificates
    except ImportError as error:
        raise UserError(f"signing needs the extra 'trust': {INSTALL}; or --unsigned") from error
    now = datetime.datetime.now(datetime.UTC)
    try:
        chain = load_pem_x509_certificates(certificates)
    except ValueError as error:
        raise UserError(f"{place}: is no PEM certificate ({error}); `avatar keys init` makes one") from error
    for certificate in chain:
        if now > certificate.not_valid_after_utc:
            raise UserError(f"{place}: expired on {certificate.not_valid_after_utc:%Y-%m-%d}; make new keys")
        if now < certificate.not_valid_before_utc:
            raise UserError(f"{place}: is valid from {certificate.not_valid_before_utc:%Y-%m-%d} on; set the clock")


def _name(organization: str, role: str) -> Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    values = [(NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, f"{organization}, {role}")]
    return x509.Name([x509.NameAttribute(kind, value[:64]) for kind, value in values])


def _certify(
    subject: Name,
    issuer: Name,
    key: EllipticCurvePrivateKey,
    signed_by: EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> Certificate:
    """A certificate; a leaf has what C2PA's profile demands: emailProtection, digitalSignature, key identifiers."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now, years = datetime.datetime.now(datetime.UTC), ROOT_YEARS if authority else LEAF_YEARS
    usages = (
        "digital_signature", "key_cert_sign", "crl_sign", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "encipher_only", "decipher_only",
    )  # fmt: skip
    granted = ("key_cert_sign", "crl_sign") if authority else ("digital_signature",)
    usage = {name: name in granted for name in usages}
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=365 * years))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.public_key()), critical=False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(signed_by, hashes.SHA256())


def _pem(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _private_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that was never readable by others."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
