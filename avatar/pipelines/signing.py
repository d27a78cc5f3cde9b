"""Films are signed last: what their manifest says, and where they lie until then."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from avatar.core.avatar_file import Avatar
from avatar.core.consent import public_facts
from avatar.core.controls import Controls, resolve_controls
from avatar.core.files import UserError, check_readable, digest_file, is_stream
from avatar.core.label import Label
from avatar.core.outputs import check_output
from avatar.core.picture_folder import check_picture_folder
from avatar.core.progress import Progress, no_progress
from avatar.core.speech_file import SpeechFile
from avatar.core.take import Take
from avatar.pipelines.options import Signing
from avatar.pipelines.present import Presenting, present_number
from avatar.pipelines.say import Saying, say_number
from avatar.pipelines.speak import Target, speak
from avatar.pipelines.speech_film import (
    Split,
    Spoken,
    dub_number,
    sounds_of,
    source_digest,
    speech_number,
    take_number,
)
from avatar.pipelines.track_file import TrackFile
from avatar.play.look import Look
from avatar.presenter.decks import file_digest
from avatar.provenance import log
from avatar.provenance.keys import INSTALL, KEY, SigningKeys, keys_folder, read_keys
from avatar.provenance.sign import SIGNABLE, Film, digest, sidecar_name, signed
from avatar.render.device import DeviceName


def film_of_speech(avatar: Avatar, speech: SpeechFile, controls: Controls, look: Look) -> Film:
    """What the manifest of a film of a speech says. Raises: UserError when there is no such file."""
    for sound in (speech.path, speech.notice):
        if sound:
            check_readable(Path(sound), "media file")
    made = {"speech_sha256": digest_file(Path(speech.path)), "seed": controls.seed}
    number, backgrounds = speech_number(avatar, speech, controls, look), _background(look)
    files = [Path(speech.path), *([Path(speech.notice)] if speech.notice else []), *backgrounds]
    return Film(_facts(avatar, number, look) | made, files, composite=_filmed_pixels(look))


def film_of_text(avatar: Avatar, saying: Saying, controls: Controls, look: Look) -> Film:
    """What the manifest of a film of a text says. Raises: UserError when there is no such file."""
    for file in saying.files:
        check_readable(file, "text file")
    made = {"text_sha256": saying.digest, "voice": saying.voice.voice, "seed": controls.seed}
    if saying.voice.consent:
        made["voice_consent_sha256"] = hashlib.sha256(saying.voice.consent.encode()).hexdigest()
    facts = _facts(avatar, say_number(avatar, saying, controls, look), look) | made
    return Film(facts, _background(look), composite=_filmed_pixels(look))


def film_of_deck(avatar: Avatar, deck: Path, asked: Presenting, controls: Controls) -> Film:
    """What the manifest of a film of a deck says. Raises: UserError when there is no such file."""
    if not deck.is_dir():
        check_readable(deck, "deck")
    sources = [one for one in (asked.sources.script, asked.sources.recording) if one is not None]
    for file in sources:
        check_readable(file, "file")
    made = {"deck_sha256": file_digest(deck), "voice": asked.saying.voice.voice, "seed": controls.seed}
    if asked.saying.voice.consent:
        made["voice_consent_sha256"] = hashlib.sha256(asked.saying.voice.consent.encode()).hexdigest()
    facts = _facts(avatar, present_number(avatar, deck, asked, controls), Look(label=asked.label)) | made
    files = [*([] if deck.is_dir() else [deck]), *sources, *_background(asked.look)]
    return Film(facts, files, composite=True)


def film_of_take(avatar: Avatar, take: Take | TrackFile, split: Split, look: Look) -> Film:
    """What the manifest of a film of a Take's motion says."""
    made = {"motion_source_sha256": source_digest(take)}
    facts = _facts(avatar, take_number(avatar, take, split, look), look) | made
    return Film(facts, _background(look), composite=_filmed_pixels(look))


def film_of_dub(avatar: Avatar, video: Path, speech: Spoken, label: Label) -> Film:
    """What the manifest of a dubbed film says. Raises: UserError when a file is not there."""
    sounds = [Path(one.path) for one in sounds_of(speech)]
    for file in (video, *sounds):
        check_readable(file, "media file")
    made = {"footage_sha256": digest_file(video), "speech_sha256": " ".join(map(digest_file, sounds))}
    facts = _facts(avatar, dub_number(avatar, video, speech, label), Look(label=label))
    return Film(facts | made, [*sounds, video], composite=True)


def _facts(avatar: Avatar, number: int, look: Look) -> dict[str, Any]:
    return public_facts(avatar) | {"mark": f"{number:08x}", "label": look.label.kind}


def _background(look: Look) -> list[Path]:
    return [path for one in (look.background, look.footage) if one and (path := Path(one)).is_file()]


def _filmed_pixels(look: Look) -> bool:
    """Whether pixels that a camera filmed remain: of the source's frame or plate, or of a background's film."""
    return look.full_frame or not look.background or bool(_background(look))


def speak_signed(
    avatar: Avatar,
    speech: Path,
    out: Path,
    *,
    controls: Controls | None = None,
    look: Look | None = None,
    device: DeviceName = "auto",
    progress: Progress = no_progress,
) -> int:
    """As `speak`, signed by the keys of `avatar keys init`, or said not to be; returns the number of frames."""
    controls, look = controls or resolve_controls(avatar), look or Look()
    film = film_of_speech(avatar, SpeechFile(speech), controls, look)
    with signed_output(Signing(), film, out) as place:
        return speak(avatar, speech, place, controls=controls, look=look, device=device, progress=progress)


@contextmanager
def signed_target(options: Signing, film: Film, target: Target) -> Iterator[Target]:
    """As `signed_output`, for a film, a folder of pictures, or both."""
    with ExitStack() as stack:
        places = (target.out, target.frames_dir)
        yield Target(*(place and stack.enter_context(signed_output(options, film, place)) for place in places))


@contextmanager
def signed_output(options: Signing, film: Film, out: Path) -> Iterator[Path]:
    """Where to write a film that is then signed and put at `out`; `out` itself where nothing is signed, which is said.

    What was made is noted in the user's log.

    Raises: UserError when it cannot be signed: then the film lies beside `out` under another name.
    """
    with signed(out, film, keys := _keys(options, out)) as place:
        yield place
    if keys and out.suffix.lower() not in SIGNABLE:
        warnings.warn(f"{out}: holds no manifest, which is in {sidecar_name(out)}: keep them together", stacklevel=1)
    if log.is_on() and not is_stream(out) and out.exists():
        entry = log.Entry(digest(out), film.facts["mark"], film.facts["avatar"], str(out.absolute()), log.now())
        try:
            log.add(entry)
        except UserError as error:  # the film is made
            warnings.warn(f"{out}: is not in the log: {error}", stacklevel=1)


def _keys(options: Signing, out: Path) -> SigningKeys | None:
    """What a film is signed by; None where it is not signed, with a warning that says why."""
    asked = options.sign or options.sign_key or options.sign_command
    place = Path(options.sign) if options.sign else keys_folder()
    if options.unsigned:
        reason = "--unsigned"
    elif not asked and not (place / KEY).exists():
        reason = "there are no keys; `avatar keys init` makes them"
    elif is_stream(out):
        reason = "it is a pipe or a device"
    elif not asked and find_spec("c2pa") is None:
        reason = f"needs the extra 'trust': {INSTALL}"
    else:
        check = check_picture_folder if out.is_dir() or not out.suffix else check_output
        check(out, force=options.force)  # what is asked for is written elsewhere first
        key, command = (Path(one) if one else None for one in (options.sign_key, options.sign_command))
        return read_keys(place, key=key, command=command, tsa=options.tsa)
    warnings.warn(f"{out}: is not signed: {reason}", stacklevel=2)
    return None
