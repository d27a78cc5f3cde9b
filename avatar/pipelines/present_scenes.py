"""Scenes of a film, said and moved: speech by speech on the clock, and one motion through all of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from avatar.core.acting import Act
from avatar.core.avatar_file import Avatar
from avatar.core.consent import avatar_id
from avatar.core.controls import Controls
from avatar.core.files import UserError, digest_file, whole
from avatar.core.loudness import gain_of
from avatar.core.media import CHUNK, SAMPLE_RATE, SoundTrack, Stretch, find_speech, probe, read_speech
from avatar.core.motion_space import Motion, concatenate, load_motion, save_motion
from avatar.core.progress import Progress
from avatar.motion.driver import FILE_WINDOW, drive
from avatar.motion.speech_to_motion import open_speech_model
from avatar.pipelines.say import Saying, record
from avatar.play.player import start_driver
from avatar.play.words import follow
from avatar.presenter.directions import Directed, shares
from avatar.presenter.scenes import Scene
from avatar.presenter.speeches import KeptSpeech, keep_speech, kept_chunks, kept_speech
from avatar.presenter.store import Store, content_key
from avatar.presenter.timeline import Timed
from avatar.voice.engines import open_voice
from avatar.voice.passages import Passage, Voice

BEFORE, AFTER = 0.35, 0.55  # s of silence that a scene begins and ends with
FPS = 25  # frames a second, which motion is made at


@dataclass(frozen=True)
class SaidScene:
    """A scene with its sound."""

    timed: Timed
    speech: KeptSpeech  # s from the speech's beginning
    sound: SoundTrack | None  # of the speech; None: nothing is said
    gain: float  # brings it to the loudness of all
    digest: str  # of the sound
    lead: float = BEFORE  # s of the scene before it

    @property
    def frames(self) -> int:
        """Its length."""
        return self.timed.frames

    @property
    def pauses(self) -> bool:
        """Whether it ends in a pause; parts of one recording follow each other."""
        return self.lead > 0


class Speaker:
    """Has scenes said; what was said before is kept."""

    def __init__(self, saying: Saying, store: Store) -> None:
        self._saying, self._store = saying, store
        self._voice: Voice | None = None

    def say(self, passages: Sequence[Passage]) -> tuple[KeptSpeech, Path]:
        """A speech and its wav. Raises: UserError."""
        choice = self._saying.voice
        key = content_key("speech", list(passages), choice, self._saying.speed)
        words, sound = self._store.place("speech", key, ".json"), self._store.place("speech", key, ".wav")
        if not (words.is_file() and sound.is_file()):
            self._voice = self._voice or open_voice(choice)
            with whole(sound) as temporary:
                made = record(self._saying, passages, temporary, voice=self._voice)
            keep_speech(KeptSpeech(made.seconds, kept_chunks(made.chunks)), words)
        return kept_speech(words), sound


def say_scenes(
    scenes: Sequence[tuple[Scene, Directed]], speaker: Speaker, silent: float, where: str, progress: Progress
) -> list[SaidScene]:
    """All scenes on the clock. silent: s of a scene without speech. Raises: UserError naming the slide."""
    found = []
    for number, (scene, directed) in enumerate(scenes, 1):
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                found.append(_say(scene, directed, speaker, silent))
        except UserError as error:
            raise UserError(f"{where}, slide {scene.number}: {error}") from error
        for one in said:
            warnings.warn(f"{where}, slide {scene.number}: {one.message}", one.category, stacklevel=2)
        progress("voice", number, len(scenes))
    return found


def _say(scene: Scene, directed: Directed, speaker: Speaker, silent: float) -> SaidScene:
    films = max((probe(film.path).seconds for film in scene.films), default=0.0)
    if scene.sound is not None:
        track = find_speech(scene.sound, stretch=Stretch(scene.start, scene.stop))
        samples, gain = _measure(track)
        seconds = samples / SAMPLE_RATE
        lead = 0.0 if scene.stop is not None or scene.start else BEFORE  # a part of one recording follows the other
        due = {index: lead + share * seconds for index, share in shares(directed).items()}
        total = max(seconds + lead + (AFTER if lead else 0.0), films)
        speech, digest = KeptSpeech(seconds), f"{digest_file(scene.sound)} {scene.start} {scene.stop}"
        return SaidScene(_timed(scene, directed, total, due), speech, track, gain, digest, lead)
    if not directed.passages:
        due = dict.fromkeys(range(len(directed.directions)), 0.0)
        return SaidScene(_timed(scene, directed, films or silent, due), KeptSpeech(0.0), None, 1.0, "")
    speech, wav = speaker.say(directed.passages)
    info = probe(wav)
    track = SoundTrack(wav, info)
    _, gain = _measure(track)
    due = directed.times(speech.spoken, speech.seconds)
    due = {index: time + BEFORE if index not in directed.opening else 0.0 for index, time in due.items()}
    total = max(BEFORE + speech.seconds + AFTER, films)
    return SaidScene(_timed(scene, directed, total, due), speech, track, gain, digest_file(wav))


def _measure(track: SoundTrack) -> tuple[int, float]:
    """Samples of a sound at 16 kHz, and the gain that brings its speech to one loudness."""
    count = 0

    def counted() -> Iterator[Tensor]:
        nonlocal count
        for chunk in read_speech(track):
            count += len(chunk)
            yield chunk

    gain = gain_of(counted())
    return count, gain


def _timed(scene: Scene, directed: Directed, seconds: float, due: dict[int, float]) -> Timed:
    frames = max(2, ceil(seconds * FPS - 1e-6))
    return Timed(scene, directed, frames, {index: min(frames - 1, round(time * FPS)) for index, time in due.items()})


class Mover:
    """Makes the motion of scenes; what was made before is kept."""

    def __init__(self, avatar: Avatar, controls: Controls, store: Store) -> None:
        self._avatar, self._controls, self._store = avatar, controls, store
        self._speech, self._id = open_speech_model(avatar.speech), avatar_id(avatar)

    def move(self, said: SaidScene, acts: Sequence[Act]) -> Motion:
        """The motion of a scene, as if nothing came before it; as many frames as the scene has."""
        spoken = said.speech.spoken
        key = content_key("motion", self._id, self._controls, said.digest, said.frames, spoken, list(acts))
        place = self._store.place("motion", key, ".motion")
        if not place.is_file():
            save_motion(self._make(said, acts, key), place, self._avatar.space_id)
        return load_motion(place)

    def _make(self, said: SaidScene, acts: Sequence[Act], key: str) -> Motion:
        seed = (self._controls.seed + int(key[:8], 16)) % 2**31
        driver = start_driver(self._avatar, self._speech, self._controls.model_copy(update={"seed": seed}))
        driver.follow((), acts)
        if said.sound is None:
            pieces = range(0, said.frames, FILE_WINDOW.hop)
            return concatenate([driver.idle(min(FILE_WINDOW.hop, said.frames - at)) for at in pieces])
        lead = said.lead
        for kept in said.speech.chunks:
            follow(driver, kept.chunk(), lead + kept.start)
        return concatenate(list(drive(driver, _padded(said, lead))))


def _padded(said: SaidScene, lead: float) -> Iterator[Tensor]:
    """The samples of a scene at 16 kHz and one loudness, to the frame."""
    assert said.sound is not None, "the caller looked"
    left = round(said.frames * SAMPLE_RATE / FPS)

    def quiet(count: int) -> Iterator[Tensor]:
        yield from torch.zeros(max(0, count)).split(CHUNK) if count > 0 else ()

    for part in quiet(round(lead * SAMPLE_RATE)):
        left -= len(part)
        yield part
    for part in read_speech(said.sound):
        part = part[:left] * said.gain
        left -= len(part)
        yield part
    yield from quiet(left)
