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
    """What signs: a chain of certificates, the leaf's first, and the leaf's private key or a program that has it."""

    certificates: bytes  # PEM
    key: bytes | None  # PEM; None: `command` signs
    tsa: str | None = None  # URL of an RFC 3161 time stamp server
    command: Path | None = None  # a program, see `avatar.provenance.command`

    def leaf(self) -> Certificate:
        """The certificate whose key signs."""
        from cryptography.x509 import load_pem_x509_certificates

        return load_pem_x509_certificates(self.certificates)[0]

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


def read_keys(
    place: Path, *, key: Path | None = None, command: Path | None = None, tsa: str | None = None
) -> SigningKeys:
    """Keys to sign by.

    place: a folder of `make_keys`, or a PEM file with the chain of certificates, which needs `key` or `command`; key:
    PEM of the private key in place of the folder's; command: a program that signs in its place.
    Raises: UserError for a key that others can read, or of another certificate, and certificates out of date.
    """
    if key and command:
        raise UserError("--sign-key and --sign-command exclude each other; give one")
    certificate = place / CERTIFICATE if place.is_dir() else place
    check_readable(certificate, "certificate")
    leaf = _check_certificates(certificate)
    if command:
        check_readable(command, "program")
        if not os.access(command, os.X_OK):
            raise UserError(f"{command}: is no program; chmod +x")
        return SigningKeys(certificate.read_bytes(), None, tsa, command.absolute())
    if not key and not place.is_dir():
        raise UserError(f"{place}: is a certificate without its key; add --sign-key FILE or --sign-command PROGRAM")
    return SigningKeys(certificate.read_bytes(), _read_key(key or place / KEY, leaf, certificate), tsa)


def _read_key(path: Path, leaf: Certificate, certificate: Path) -> bytes:
    """PEM of a private key. Raises: UserError when others can read it, or it is not the certificate's."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    check_readable(path, "key")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UserError(f"{path}: others can read it (mode {mode:o}); chmod 600, or make new keys")
    try:
        found = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise UserError(f"{path}: is no PEM private key without a password; see --sign-command") from error
    if found.public_key() != leaf.public_key():
        raise UserError(f"{path}: is not the key of {certificate}; give the two that belong together")
    return path.read_bytes()


def _check_certificates(place: Path) -> Certificate:
    """The leaf of a chain. Raises: UserError when it cannot sign: out of date, or with a key of another kind."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
        from cryptography.x509 import load_pem_x509_certificates
    except ImportError as error:
        raise UserError(f"signing needs the extra 'trust': {INSTALL}; or --unsigned") from error
    now = datetime.datetime.now(datetime.UTC)
    try:
        chain = load_pem_x509_certificates(place.read_bytes())
    except ValueError as error:
        raise UserError(f"{place}: is no PEM certificate ({error}); `avatar keys init` makes one") from error
    for certificate in chain:
        if now > certificate.not_valid_after_utc:
            raise UserError(f"{place}: expired on {certificate.not_valid_after_utc:%Y-%m-%d}; make new keys")
        if now < certificate.not_valid_before_utc:
            raise UserError(f"{place}: is valid from {certificate.not_valid_before_utc:%Y-%m-%d} on; set the clock")
    key = chain[0].public_key()
    if not (isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)):
        raise UserError(f"{place}: its first certificate has no key on P-256; films are signed by ES256")
    return chain[0]


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
