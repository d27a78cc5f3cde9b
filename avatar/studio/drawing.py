"""Previews: an avatar's first seconds of speech as JPEGs, small, from a player that stays open."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from avatar.batch.address import fingerprint
from avatar.core.avatar_file import load_avatar
from avatar.core.controls import resolve_controls
from avatar.core.media import SAMPLE_RATE, Stretch, find_speech, read_speech
from avatar.core.media_sound import write_wav
from avatar.core.motion_space import Motion
from avatar.motion.driver import drive
from avatar.motion.speech_to_motion import MouthMotion, SpeechToMotion, open_speech_model
from avatar.play.look import Look
from avatar.play.player import Player, start_driver
from avatar.studio.child import Answer
from cuda_ext import ops
from cuda_ext.limits import core_count

SECONDS = 8.0  # of speech that are shown
SIDE, WIDEST = 320, 640  # px of a preview's frames; of a full one's
QUALITY = 82  # of JPEGs


@dataclass(frozen=True)
class RememberingSpeech(SpeechToMotion):
    """A speech model that knows what it made last: other controls of the same sound need not wait for it."""

    made: list[tuple[torch.Tensor, MouthMotion]] = field(default_factory=list)

    def __call__(self, features: torch.Tensor) -> MouthMotion:
        if not self.made or not torch.equal(self.made[0][0], features):
            self.made[:] = [(features.clone(), super().__call__(features))]
        return self.made[0][1]


class Drawer:
    """Draws previews; keeps the last avatar, look and speech."""

    def __init__(self) -> None:
        ops.set_threads(core_count())
        self._players: dict[tuple[str, Look], Player] = {}
        self._speech: dict[str, RememberingSpeech] = {}
        self._sounds: dict[tuple[str, str], np.ndarray] = {}

    def answer(self, request: dict[str, Any], data: bytes) -> Iterator[Answer]:
        """`sound`: a WAV of what is spoken; `frames`: its film; `first`: no more than it begins; `controls`."""
        if request["what"] == "sound":
            yield {}, self._wav(request)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of controls in a recipe that name files: they are not previewed
            if request["what"] == "controls":
                avatar = load_avatar(request["avatar"])
                yield {"controls": resolve_controls(avatar).model_dump(), "fps": avatar.fps}, b""
                return
            player = self._player(request)
        sound = torch.from_numpy(self._sound(request))
        yield {"fps": player.fps, "seconds": len(sound) / SAMPLE_RATE}, b""
        motions = self._motions(player, request["avatar"], sound)
        if request["what"] == "first":
            next(player.draw(motions), None)
            return
        for frame in islice(player.draw(motions), int(len(sound) / SAMPLE_RATE * player.fps)):
            yield {}, _to_jpeg(frame)

    def _motions(self, player: Player, place: str, sound: torch.Tensor) -> Iterator[Motion]:
        """As `player.motion`; the first frame by itself, which is drawn before the others."""
        key = f"{place} {fingerprint(place)}"
        if key not in self._speech:
            opened = open_speech_model(player.avatar.speech)
            self._speech = {key: RememberingSpeech(opened.model, opened.encoder)}
        driver = start_driver(player.avatar, self._speech[key], player.controls)
        first = True
        for motion in drive(driver, iter(sound.split(SAMPLE_RATE))):
            if first and len(motion):
                yield motion[:1]
                motion, first = motion[1:], False
            yield motion

    def _player(self, request: dict[str, Any]) -> Player:
        place = request["avatar"]
        full = bool(request.get("full_frame"))
        look = Look(
            size=None if full else SIDE,
            background=request.get("background") or None,
            full_frame=full,
        )
        key = (f"{place} {fingerprint(place)}", look)
        if key not in self._players:
            avatar = next((one.avatar for (name, _), one in self._players.items() if name == key[0]), None)
            self._players = {key: Player(avatar or load_avatar(place), look=look)}
        player = self._players[key]
        player.controls = resolve_controls(player.avatar, request.get("controls") or {})
        return player

    def _sound(self, request: dict[str, Any]) -> np.ndarray:
        place = request["speech"]
        key = (place, fingerprint(place))
        if key not in self._sounds:
            found = find_speech(Path(place), stretch=Stretch(0.0, SECONDS))
            self._sounds = {key: torch.cat(list(read_speech(found, check_length=False))).numpy()}
        return self._sounds[key]

    def _wav(self, request: dict[str, Any]) -> bytes:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "speech.wav"
            write_wav(place, torch.from_numpy(self._sound(request)))
            return place.read_bytes()


def _to_jpeg(frame: np.ndarray) -> bytes:
    """A frame [H, W, 3] uint8, or [H, W, 4] over a chequered ground, as bytes of a JPEG."""
    if frame.shape[2] == 4:
        frame = _over_chequers(frame)
    image = Image.fromarray(frame)
    if image.width > WIDEST:
        image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _over_chequers(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    board = np.where((np.arange(height)[:, None] // 12 + np.arange(width) // 12) % 2, 236, 205)[..., None]
    alpha = frame[..., 3:].astype(np.float32) / 255
    return (frame[..., :3] * alpha + board * (1 - alpha)).round().astype(np.uint8)
