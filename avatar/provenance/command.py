"""Signatures by a program of the user's, for keys that do not leave their hardware."""

from __future__ import annotations

import subprocess

from avatar.core.files import UserError
from avatar.provenance.keys import SigningKeys

HALF = 32  # bytes of each of the two numbers of an ES256 signature
SECONDS = 120  # that a program may take: somebody may have to touch the hardware


def sign_by_command(keys: SigningKeys, data: bytes) -> bytes:
    """The signature [64] of `data` that the program of `keys` makes: it reads `data` on stdin, no shell is involved.

    ES256: ECDSA on P-256 over SHA-256. The program writes DER, or the numbers r and s of 32 bytes each.
    Raises: UserError when it fails, or the signature is not of the certificate's key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    assert keys.command is not None
    written = _run(keys, data)
    try:
        if len(written) == 2 * HALF:
            numbers = (int.from_bytes(written[:HALF], "big"), int.from_bytes(written[HALF:], "big"))
        else:
            numbers = utils.decode_dss_signature(written)
        public = keys.leaf().public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey), "checked where keys are read"
        public.verify(utils.encode_dss_signature(*numbers), data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError) as error:
        raise UserError(
            f"{keys.command}: wrote no ES256 signature of the certificate's key ({len(written)} bytes); "
            "it must sign all of stdin, SHA-256 included"
        ) from error
    return b"".join(number.to_bytes(HALF, "big") for number in numbers)


def _run(keys: SigningKeys, data: bytes) -> bytes:
    try:
        done = subprocess.run([str(keys.command)], input=data, capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = f"took over {SECONDS} s" if isinstance(error, subprocess.TimeoutExpired) else error.strerror
        raise UserError(f"{keys.command}: cannot sign ({reason}); try it by itself") from error
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UserError(f"{keys.command}: ended with code {done.returncode} ({(lines or ['no message'])[-1]})")
    return done.stdout
