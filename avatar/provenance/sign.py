"""Signed manifests (C2PA): what a film was made with, inside the file, with a signature over both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from avatar.core.files import UserError, whole
from avatar.provenance.keys import INSTALL, SigningKeys

SIGNABLE = {".mp4": "video/mp4", ".mov": "video/quicktime", ".png": "image/png", ".wav": "audio/wav"}
"""Endings that C2PA embeds a manifest in, and their media types."""
INGREDIENTS = SIGNABLE | {".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".jpg": "image/jpeg", ".avi": "video/avi"}
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED, COMPOSITE = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
FACTS = "org.avatar-builder.film"  # the assertion that holds `Film`'s facts
SETTINGS = {"version": 1, "builder": {"thumbnail": {"enabled": False}}}  # a thumbnail of a PNG is 70 kB


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

    Raises: UserError when it cannot be signed; `unsigned` stays as it is.
    """
    try:
        import c2pa
    except ImportError as error:
        raise UserError(f"signing needs the extra 'trust': {INSTALL}; or --unsigned") from error
    kind = SIGNABLE.get(out.suffix.lower())
    if kind is None:
        raise UserError(f"{out}: {out.suffix or 'a folder'} holds no manifest; choose {', '.join(SIGNABLE)}")
    try:
        info = c2pa.C2paSignerInfo(b"es256", keys.certificates, keys.key, keys.tsa.encode() if keys.tsa else None)
        context = c2pa.Context.from_dict(SETTINGS)
        builder = c2pa.Builder(manifest(film, out.name), context)
        with whole(out) as temporary, c2pa.Signer.from_info(info) as signer, builder:
            for path in film.ingredients:
                _add_ingredient(builder, path)
            with unsigned.open("rb") as source, temporary.open("w+b") as target:
                builder.sign(signer, kind, source, target)
    except c2pa.C2paError as error:
        raise UserError(f"{out}: cannot be signed ({' '.join(str(error).split())}); {unsigned} is unsigned") from error


def _add_ingredient(builder: Any, path: Path) -> None:
    kind = INGREDIENTS.get(path.suffix.lower())
    if kind:
        with path.open("rb") as stream:
            builder.add_ingredient(json.dumps({"title": path.name, "relationship": "inputTo"}), kind, stream)


def unsigned_name(out: Path) -> Path:
    """Where a film lies until it is signed, and stays when that fails."""
    return out.with_name(f"{out.stem}.unsigned{out.suffix}")


@contextmanager
def signed(out: Path, film: Film, keys: SigningKeys | None) -> Iterator[Path]:
    """Where to write a film that is then signed and put at `out`; `out` itself without keys.

    Raises: UserError when it cannot be signed; the film is then at `unsigned_name(out)`, and nothing at `out`.
    """
    if keys is None:
        yield out
        return
    unsigned = unsigned_name(out)
    yield unsigned
    sign(unsigned, out, film, keys)
    unsigned.unlink()
