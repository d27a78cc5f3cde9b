"""Signed manifests (C2PA): what a film was made with, inside the file, with a signature over both."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from avatar.core.files import UserError, digest_file, remove, whole
from avatar.core.outputs import unsigned_name
from avatar.provenance.command import sign_by_command
from avatar.provenance.keys import INSTALL, SigningKeys

SIGNABLE = {".mp4": "video/mp4", ".mov": "video/quicktime", ".png": "image/png", ".wav": "audio/wav"}
"""Endings that C2PA embeds a manifest in, and their media types."""
KINDS = SIGNABLE | {
    ".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".flac": "audio/flac", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
    ".webp": "image/webp", ".gif": "image/gif", ".avi": "video/avi", ".m4v": "video/x-m4v", ".webm": "video/webm",
}  # fmt: skip
"""Media types by ending. C2PA takes whatever else there is as bytes."""
BYTES, LIST = "application/octet-stream", "text/plain"
STORE = "application/c2pa"  # of a manifest by itself
UNKNOWN, MOST_BYTES = (BYTES, "video/webm"), 256_000_000  # kinds that c2pa reads into memory to sign, and how much
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED, COMPOSITE = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
FACTS = "org.avatar-builder.film"  # the assertion that holds `Film`'s facts
SETTINGS = {
    "version": 1,
    "builder": {"thumbnail": {"enabled": False}},  # of a PNG it is 70 kB
    "core": {"backing_store_memory_threshold_in_mb": 16},  # what is larger waits in temporary files
}


@dataclass(frozen=True)
class Film:
    """What a manifest says of a film."""

    facts: dict[str, Any]  # avatar, consent, recipe, seed, mark, digests: plain values
    ingredients: Sequence[Path] = ()  # files that went into it; manifests that they hold are kept
    composite: bool = False  # whether filmed pixels remain in it


def manifest(film: Film, title: str) -> dict[str, Any]:
    """The manifest's definition, as c2pa's Builder takes it."""
    agent = {"name": "avatar-builder", "version": version("avatar-builder")}
    kind = SOURCE_TYPE + (COMPOSITE if film.composite else GENERATED)
    created = {"action": "c2pa.created", "digitalSourceType": kind, "softwareAgent": agent}
    return {
        "claim_generator_info": [agent],
        "title": title,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": FACTS, "data": film.facts},
        ],
    }


def sign(unsigned: Path, out: Path, film: Film, keys: SigningKeys) -> None:
    """Write `unsigned` with a signed manifest to `out`, whole or not at all.

    What holds no manifest, .webm and folders of pictures, gets it beside: `sidecar_name`.
    Raises: UserError when it cannot be signed; `unsigned` stays as it is.
    """
    with _builder(film, unsigned, out, keys) as (builder, signer), opened(unsigned) as source, whole(out) as temporary:
        if (kind := SIGNABLE.get(out.suffix.lower())) and unsigned.is_file():
            with temporary.open("w+b") as target:
                builder.sign(signer, kind, source, target)
            return
        builder.set_no_embed()
        with tempfile.TemporaryFile() as copy, whole(sidecar_name(out)) as store:  # c2pa copies what it signs
            store.write_bytes(builder.sign(signer, media_type(unsigned), source, copy))
        unsigned.rename(temporary)


@contextmanager
def _builder(film: Film, unsigned: Path, out: Path, keys: SigningKeys) -> Iterator[tuple[Any, Any]]:
    """What makes a manifest of a film, and what signs it. Raises: UserError, also for what c2pa says within."""
    try:
        import c2pa
    except ImportError as error:
        raise UserError(f"signing needs the extra 'trust': {INSTALL}; or --unsigned") from error
    failures: list[UserError] = []

    def sign_data(data: bytes) -> bytes:
        try:
            return sign_by_command(keys, data)
        except UserError as error:  # what is raised here c2pa prints; it refuses the empty signature
            failures.append(error)
            return b""

    try:
        builder = c2pa.Builder(manifest(film, out.name), c2pa.Context.from_dict(SETTINGS))
        if keys.command:
            chain, algorithm = keys.certificates.decode(), c2pa.C2paSigningAlg.ES256
            signer = c2pa.Signer.from_callback(sign_data, algorithm, chain, keys.tsa)
        else:
            tsa = keys.tsa.encode() if keys.tsa else None
            signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", keys.certificates, keys.key, tsa))
        with signer, builder:
            for path in film.ingredients:
                _add_ingredient(builder, path)
            yield builder, signer
    except c2pa.C2paError as error:
        reason = str(failures[0]) if failures else " ".join(str(error).split())
        raise UserError(f"{out}: cannot be signed ({reason}); {unsigned} is unsigned") from error


def media_type(path: Path) -> str:
    """What C2PA calls the bytes that `opened` gives."""
    kind = KINDS.get(path.suffix.lower(), BYTES)
    return LIST if path.is_dir() or (kind in UNKNOWN and path.stat().st_size > MOST_BYTES) else kind


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes that a manifest is bound to.

    Those of a file; or as sha256sum prints them the SHA-256 of a folder's files with their names, and that of a large
    file which C2PA would hold in memory.
    """
    if media_type(path) != LIST:
        with path.open("rb") as file:
            yield file
        return
    lines = [f"{digest_file(one)}  {one.name}\n" for one in sorted(path.iterdir())] if path.is_dir() else []
    yield io.BytesIO("".join(lines or [digest_file(path)]).encode())


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the list of a folder's files."""
    with opened(path) as stream:
        return hashlib.sha256(stream.read()).hexdigest() if path.is_dir() else digest_file(path)


def sidecar_name(path: Path) -> Path:
    """Where the manifest lies of what holds none."""
    return path.with_name(path.name + ".c2pa")


def _add_ingredient(builder: Any, path: Path) -> None:
    """Name a file that went into a film; its own manifest, in it or beside it, is kept."""
    ingredient: dict[str, Any] = {"title": path.name, "relationship": "inputTo"}
    kind, store = media_type(path), sidecar_name(path)
    if store.is_file():
        import c2pa

        with path.open("rb") as stream, c2pa.Reader(kind, stream, manifest_data=store.read_bytes()) as reader:
            ingredient["active_manifest"] = json.loads(reader.json())["active_manifest"]
            ingredient["validation_results"] = reader.get_validation_results()
        with store.open("rb") as stream:
            builder.add_resource(store.name, stream)
        ingredient["manifest_data"] = {"format": STORE, "identifier": store.name}
    with path.open("rb") as stream:
        builder.add_ingredient(json.dumps(ingredient), kind, stream)


@contextmanager
def signed(out: Path, film: Film, keys: SigningKeys | None) -> Iterator[Path]:
    """Where to write a film that is then signed and put at `out`; `out` itself without keys.

    Raises: UserError when it cannot be signed; the film is then at `unsigned_name(out)`, and nothing at `out`.
    """
    if keys is None:
        yield out
        sidecar_name(out).unlink(missing_ok=True)  # of what stood there before
        return
    unsigned = unsigned_name(out)
    yield unsigned
    sign(unsigned, out, film, keys)
    remove(unsigned)
