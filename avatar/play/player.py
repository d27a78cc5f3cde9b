"""Player: an avatar opened once. Sound or motion in, frames out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from avatar.core.avatar_file import Avatar, as_avatar
from avatar.core.controls import Controls, resolve_controls
from avatar.core.files import UserError
from avatar.core.media import SAMPLE_RATE
from avatar.core.motion_space import Motion, as_motion, load_space
from avatar.core.take import Take, as_take, motion_in_camera
from avatar.motion.driver import FILE_WINDOW, LIVE_WINDOW, Driver, Window, drive
from avatar.motion.features import DEFAULT_FEATURES
from avatar.motion.speech_to_motion import SpeechToMotion, open_speech_model
from avatar.play.composite import Pixels
from avatar.play.draw import Canvas, Drawing, open_canvas
from avatar.play.look import Look
from avatar.play.session import Session
from avatar.play.sound import SoundReader
from avatar.play.words import ChunkMade, say_motion
from avatar.provenance.identity import film_number
from avatar.render.device import DeviceName
from avatar.voice.engines import VoiceChoice, open_voice
from avatar.voice.engines import speak as synthesize
from avatar.voice.passages import Chunk, Voice

BREATH = 0.0015  # of the picture's side that shoulders rise by in idle: under a pixel at 512 px

Mark = int | Literal["avatar", "none"]
"""The invisible mark of frames: its number, 0 .. 2^32 - 1; one of avatar, consent, controls and look; or none."""


class Player:
    """An avatar, ready to be watched. Renderer, weights and plate are opened once and shared by all its sessions.

    May be used from several threads: drawing is done for one of them at a time.
    """

    def __init__(
        self,
        avatar: Avatar | Path | str,
        *,
        look: Look | None = None,
        controls: Controls | None = None,
        device: DeviceName = "auto",
        mark: Mark = "avatar",
    ) -> None:
        """controls: default: those of the avatar's own recipe; mark: of every frame; `none` is for measurements.

        Raises: UserError for a file that is no avatar, one of another MotionSpace, a look that it cannot be shown in, a
        pose that is not a Take, or a style that was not learned (`avatar.learn_style`).
        """
        self.avatar = as_avatar(avatar)
        check_space(self.avatar)
        self.controls = controls or resolve_controls(self.avatar)
        if self.controls.style:
            raise UserError("style: a player takes no clip; learn it first: avatar.learn_style(avatar, clip)")
        self.look = look or Look()
        self.canvas: Canvas = open_canvas(self.avatar, self.look, device)
        if mark == "avatar":
            mark = film_number(self.avatar, self.controls.model_dump_json(), self.look.seen)
        self.mark = None if mark == "none" else mark
        self._speech: SpeechToMotion = open_speech_model(self.avatar.speech)

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.look.fps or self.avatar.fps

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of frames, px."""
        return self.canvas.shape

    def speak(
        self,
        sound: Iterable[np.ndarray | Tensor],
        *,
        rate: int = SAMPLE_RATE,
        gain: float = 1.0,
        pixels: Pixels = "rgb",
    ) -> Iterator[np.ndarray]:
        """Frames for sound that comes in chunks of any size; memory does not grow with length.

        Chunks are [n] or [n, channels], float -1..1 or int16. Frames are uint8: [H, W, 3] RGB, [H, W, 4] with a
        transparent look, or with `pixels="nv12"` [3 H / 2, W] for video encoders.
        """
        return self.draw(self.motion(sound, rate=rate, gain=gain), pixels=pixels)

    def say(
        self,
        text: str | Path | Iterable[Chunk],
        *,
        voice: VoiceChoice | Voice | None = None,
        speed: float = 1.0,
        made: ChunkMade | None = None,
        pixels: Pixels = "rgb",
    ) -> Iterator[np.ndarray]:
        """Frames of a text, as in `speak`; the first ones are there as soon as its first clause has been said.

        text: words, a .txt, .ssml, .srt or .vtt file, or what `avatar.voice.engines.speak` made of it.
        voice: hibari by default. made: is given each chunk of sound (`pcm`, `rate`, `phones`) before its
        frames are made.
        Raises: UserError.
        """
        if isinstance(text, (str, Path)):
            opened = open_voice(voice or VoiceChoice()) if voice is None or isinstance(voice, VoiceChoice) else voice
            text = synthesize(text, opened, speed=speed, live=True)
        return self.draw(say_motion(self.driver(LIVE_WINDOW), text, made), pixels=pixels)

    def attend(self, seconds: float, *, pixels: Pixels = "rgb") -> Iterator[np.ndarray]:
        """Frames of the person attending to somebody who speaks so long: silent, looking at the viewer, nodding."""
        driver = self.driver()
        driver.attend(True)
        count = max(1, round(seconds * self.avatar.fps))
        pieces = (driver.idle(min(FILE_WINDOW.hop, count - at)) for at in range(0, count, FILE_WINDOW.hop))
        return self.draw(pieces, pixels=pixels)

    def motion(
        self, sound: Iterable[np.ndarray | Tensor], *, rate: int = SAMPLE_RATE, gain: float = 1.0
    ) -> Iterator[Motion]:
        """Motion at 25 frames/s for sound that comes in chunks, as in `speak`."""
        reader = SoundReader(rate, gain)

        def samples() -> Iterator[Tensor]:
            for chunk in sound:
                yield reader.push(chunk)
            yield reader.finish()

        return drive(self.driver(), samples())

    def reenact(
        self, motion: Motion | Path | str | Iterable[Motion], *, pixels: Pixels = "rgb"
    ) -> Iterator[np.ndarray]:
        """Frames for somebody's motion, whole, in a file, or in stretches.

        Raises: UserError when it is of another MotionSpace, or the file cannot be read.
        """
        motions = [as_motion(motion)] if isinstance(motion, (Motion, Path, str)) else motion
        return self.draw((check_motion(self.avatar, part) for part in motions), pixels=pixels)

    def draw(self, motions: Iterable[Motion], *, pixels: Pixels = "rgb") -> Iterator[np.ndarray]:
        """Frames for stretches of motion of this avatar's own MotionSpace."""
        drawing = Drawing(self.canvas, pixels, mark=self.mark, ahead=True)
        for motion in motions:
            yield from drawing.draw(motion)
        yield from drawing.finish()

    def session(self, *, rate: int = SAMPLE_RATE, gain: float = 1.0, pixels: Pixels = "rgb") -> Session:
        """A live session; many may be open at once. rate, gain, pixels: as in `speak`.

        Raises: UserError when the avatar's speech model takes features that are not made live.
        """
        if self.avatar.speech.features != DEFAULT_FEATURES:
            raise UserError(f"the avatar's audio features, {self.avatar.speech.features}, are not made live; use speak")

        def reader() -> SoundReader:
            return SoundReader(rate, gain)

        return Session(self.driver(LIVE_WINDOW), Drawing(self.canvas, pixels, mark=self.mark), reader)

    def driver(self, window: Window = FILE_WINDOW) -> Driver:
        """A stream of motion for a stream of sound, without pictures."""
        return start_driver(self.avatar, self._speech, self.controls, window)


def check_space(avatar: Avatar) -> None:
    """Raise UserError when the avatar was built with another MotionSpace than this version ships."""
    space = load_space()
    if avatar.space_id != space.id or len(avatar.speech.mean) != space.modes:
        raise UserError(
            f"the avatar speaks motion space {avatar.space_id} with {len(avatar.speech.mean)} modes, "
            f"this version {space.id} with {space.modes}; build it again"
        )


def start_driver(avatar: Avatar, speech: SpeechToMotion, controls: Controls, window: Window = FILE_WINDOW) -> Driver:
    """A stream of an avatar's motion, its speech model opened. Raises: UserError when a followed pose is not a Take."""
    return Driver(
        speech,
        avatar.style,
        fps=avatar.fps,
        controls=controls,
        pose=motion_of_take(avatar, controls.followed) if controls.followed else None,
        other=expression_of(avatar, Path(controls.expression_from)) if controls.expression_from else None,
        window=window,
        breathing=BREATH * avatar.camera.size,
    )


def expression_of(avatar: Avatar, source: Path) -> Motion:
    """The motion of a Take's usable frames or of a `.motion`. Raises: UserError for anything else."""
    if not source.is_dir():
        return as_motion(source)
    take = as_take(source)
    frames = take.training_frames() + list(take.test)
    if not frames:
        raise UserError(f"{source}: nothing of it can be used; its report says why")
    return motion_of_take(avatar, take)[torch.tensor(frames)]


def motion_of_take(avatar: Avatar | Path | str, take: Take | Path | str) -> Motion:
    """A Take's own motion, in the camera of an avatar. Raises: UserError when it cannot be used there."""
    avatar = as_avatar(avatar)
    return check_motion(avatar, motion_in_camera(as_take(take), avatar.camera))


def check_motion(avatar: Avatar, motion: Motion) -> Motion:
    """The same motion. Raises: UserError when it is of another MotionSpace than the avatar."""
    modes, found = len(avatar.speech.mean), motion.expression.shape[1]
    if found != modes or motion.space_id not in ("", avatar.space_id):
        raise UserError(
            f"the motion is of motion space {motion.space_id or 'unknown'} with {found} modes, the avatar of "
            f"{avatar.space_id} with {modes}; make the motion again with this version"
        )
    return motion
