"""Films are signed last: what their manifest says, and where they lie until then."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from avatar.core.avatar_file import Avatar
from avatar.core.consent import NOT_STATED, avatar_id
from avatar.core.controls import Controls
from avatar.core.files import UserError, check_readable, digest_file, is_stream
from avatar.core.outputs import check_output
from avatar.core.speech_file import SpeechFile
from avatar.core.take import Take
from avatar.pipelines.options import Signing
from avatar.pipelines.speak import Split, dub_number, speech_number, take_number
from avatar.play.look import Look
from avatar.provenance import log
from avatar.provenance.keys import INSTALL, KEY, SigningKeys, keys_folder, read_keys
from avatar.provenance.sign import SIGNABLE, Film, signed


def film_of_speech(avatar: Avatar, speech: SpeechFile, controls: Controls, look: Look) -> Film:
    """What the manifest of a film of a speech says. Raises: UserError when there is no such file."""
    check_readable(Path(speech.path), "media file")
    made = {"speech_sha256": digest_file(Path(speech.path)), "seed": controls.seed}
    number, backgrounds = speech_number(avatar, speech, controls, look), _background(look)
    return Film(_facts(avatar, number) | made, [Path(speech.path), *backgrounds], composite=_filmed_pixels(look))


def film_of_take(avatar: Avatar, take: Take, split: Split, look: Look) -> Film:
    """What the manifest of a film of a Take's motion says."""
    made = {"motion_source_sha256": take.source.get("sha256", "")}
    facts = _facts(avatar, take_number(avatar, take, split, look)) | made
    return Film(facts, _background(look), composite=_filmed_pixels(look))


def film_of_dub(avatar: Avatar, video: Path, speech: SpeechFile) -> Film:
    """What the manifest of a dubbed film says. Raises: UserError when a file is not there."""
    for file in (video, Path(speech.path)):
        check_readable(file, "media file")
    made = {"footage_sha256": digest_file(video), "speech_sha256": digest_file(Path(speech.path))}
    return Film(_facts(avatar, dub_number(avatar, video, speech)) | made, [Path(speech.path), video], composite=True)


def _facts(avatar: Avatar, number: int) -> dict[str, Any]:
    consent = avatar.provenance.get("consent", NOT_STATED)
    return {
        "avatar": avatar_id(avatar),
        "source_sha256": avatar.provenance.get("sha256", ""),
        "recipe_sha256": hashlib.sha256(avatar.recipe.encode()).hexdigest(),
        "consent_sha256": "" if consent == NOT_STATED else hashlib.sha256(consent.encode()).hexdigest(),
        "mark": f"{number:08x}",
    }


def _background(look: Look) -> list[Path]:
    return [path] if look.background and (path := Path(look.background)).is_file() else []


def _filmed_pixels(look: Look) -> bool:
    """Whether pixels that a camera filmed remain: of the source's frame or plate, or of a background's film."""
    return look.full_frame or not look.background or bool(_background(look))


@contextmanager
def signed_output(options: Signing, film: Film, out: Path) -> Iterator[Path]:
    """Where to write a film that is then signed and put at `out`; `out` itself where nothing is signed, which is said.

    What was made is noted in the user's log.

    Raises: UserError when it cannot be signed: then the film lies beside `out` under another name.
    """
    with signed(out, film, _keys(options, out)) as place:
        yield place
    if out.is_file() and log.is_on():
        entry = log.Entry(digest_file(out), film.facts["mark"], film.facts["avatar"], str(out.absolute()), log.now())
        try:
            log.add(entry)
        except UserError as error:  # the film is made
            warnings.warn(f"{out}: is not in the log: {error}", stacklevel=2)


def _keys(options: Signing, out: Path) -> SigningKeys | None:
    if options.unsigned:
        return None
    folder = Path(options.sign) if options.sign else keys_folder()
    if not options.sign and not (folder / KEY).exists():
        reason = "there are no keys; `avatar keys init` makes them"
    elif out.suffix.lower() not in SIGNABLE:
        reason = f"{out.suffix or 'a folder of pictures'} holds no manifest; {', '.join(SIGNABLE)} do"
    elif is_stream(out):
        reason = "it is a pipe or a device"
    elif not options.sign and find_spec("c2pa") is None:
        reason = f"needs the extra 'trust': {INSTALL}"
    else:
        check_output(out, force=options.force)  # the film itself is written elsewhere first
        return read_keys(folder, tsa=options.tsa)
    warnings.warn(f"{out}: is not signed: {reason}", stacklevel=2)
    return None
