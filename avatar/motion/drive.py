"""Speech in, motion out, in a stream: memory does not grow with length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from avatar.core.bundle import Habits
from avatar.core.controls import Controls
from avatar.core.lips import read_lips
from avatar.core.motion_space import Motion, concatenate, load_space
from avatar.motion.adapt import closure
from avatar.motion.behaviour import Blinker, Rest, apply_gains, beside_speech, measure_lips, project, resting
from avatar.motion.decoder import Mouth, load_speaker
from avatar.motion.encoder import BEYOND, PART, STEP, STRIDE
from avatar.motion.features import RATE, SAMPLE_RATE, USUAL, open_features
from avatar.motion.walk import LISTENED, PoseWalk

FPS = RATE / STRIDE


@dataclass(frozen=True)
class Pace:
    """How a stream is heard. The defaults are for files: all is heard as it is when a person is learned."""

    chunk: int = 6 * STEP  # motion frames made at a time
    before: int = PART  # frames of sound heard before them,
    ahead: int = BEYOND  # and after


FILES = Pace()


class Driver:
    """A stream of motion for a stream of sound. The size of what is pushed changes nothing."""

    def __init__(
        self,
        tensors: dict[str, Tensor],
        habits: Habits,
        *,
        fps: float,
        controls: Controls,
        pose: Motion | None = None,
        features: str = USUAL,
        pace: Pace = FILES,
    ) -> None:
        """pose: somebody's tracked motion whose head, shoulders and gaze are taken instead of the person's habits.

        Raises: ValueError when the avatar is not of 25 frames/s.
        """
        if fps != FPS:
            raise ValueError(f"drive works at {FPS:g} frames/s, the avatar has {fps:g}")
        self._stream = _Stream(tensors, features, pace)
        self._habits, self._controls, self._fps = habits, controls, fps
        self._slope, self._rest = tensors["lid_slope"], tensors["mean"]
        self._own = habits.own.expression - closure(habits.own.eyes)[:, None] * self._slope
        face = beside_speech(self._own, read_lips(load_space().basis))
        # each with draws of its own: how many frames are asked for at a time must not change them
        draw, voice = torch.Generator().manual_seed(controls.seed), tensors.get("own_voice")
        self._walk = PoseWalk(habits, face, draw, pose=pose, voice=voice)
        self._blinker = Blinker(habits, fps, torch.Generator().manual_seed(controls.seed + 1))
        self._quiet = Rest()
        self._closed = resting(self._own, tensors["lip_reading"])
        self._lips = measure_lips(self._own, tensors["lip_reading"])
        self._frame = 0

    def push(self, pcm: Tensor) -> Motion:
        """The frames (perhaps none) that more sound [n] float32 at 16 kHz completes."""
        return self._behave(self._stream.push(pcm))

    def finish(self) -> Motion:
        """The frames still open at the end of the sound; `round(seconds * 25)` in all, at least one."""
        return self._behave(self._stream.finish())

    def _behave(self, mouth: Mouth) -> Motion:
        count = len(mouth.closure)
        now = self._controls.over(torch.arange(self._frame, self._frame + count) / self._fps)
        self._frame += count
        expression = project(mouth.expression, self._own, self._controls.lle)
        expression = expression + self._quiet.take(mouth.voiced)[:, None] * (self._closed - expression)
        shut = self._blinker.take(now.blink)
        pose = self._walk.take(now.head, now.gaze, now.temperature * now.expression_gain, mouth.voice)
        gain = self._habits.mouth_reach * now.mouth_gain * now.expression_gain
        expression = apply_gains(expression, self._rest, gain)
        expression = self._lips.press(expression, mouth.closure * now.mouth_gain.clamp_max(1))
        expression = expression + pose.face + shut[:, None] * self._slope
        eyes = torch.cat([(1 - shut)[:, None].expand(-1, 2), pose.gaze], 1)
        return Motion(expression, eyes, pose.rotation, pose.translation, pose.torso, self._fps)


class _Stream:
    """Expression and closure for a stream of sound, each frame made once, with enough sound before and after it."""

    def __init__(self, tensors: dict[str, Tensor], features: str, pace: Pace) -> None:
        self._speaker, self._feature = load_speaker(tensors, features), open_features(features)
        self._pace = pace
        self._held = torch.zeros(0, self._feature.width)
        self._before = 0  # motion frames at the start of `held` that were already given out
        self._samples = self._given = 0

    def push(self, pcm: Tensor) -> Mouth:
        self._samples += len(pcm)
        self._held = torch.cat([self._held, self._feature.push(pcm)])
        made, chunk = [self._nothing()], self._pace.chunk
        while len(self._held) // STRIDE >= self._before + chunk + self._pace.ahead:
            window = self._held[: (self._before + chunk + self._pace.ahead) * STRIDE]
            made.append(self._speaker(window)[self._before : self._before + chunk])
            self._given += chunk
            keep = min(self._pace.before, self._before + chunk)
            self._held = self._held[(self._before + chunk - keep) * STRIDE :]
            self._before = keep
        return Mouth(*(torch.cat([getattr(part, field.name) for part in made]) for field in fields(Mouth)))

    def _nothing(self) -> Mouth:
        return Mouth(torch.zeros(0, len(self._speaker.mean)), torch.zeros(0), torch.zeros(0), torch.zeros(0, LISTENED))

    def finish(self) -> Mouth:
        held = torch.cat([self._held, self._feature.flush()])
        left = max(1, round(self._samples / SAMPLE_RATE * FPS)) - self._given
        if left <= 0:
            return self._nothing()
        missing = (self._before + left) * STRIDE - len(held)
        if missing > 0:
            last = held[-1:] if len(held) else held.new_zeros(1, self._feature.width)
            held = torch.cat([held, last.expand(missing, -1)])
        return self._speaker(held)[self._before : self._before + left]


def drive(driver: Driver, speech: Iterable[Tensor]) -> Iterator[Motion]:
    """Motion for sound [n] float32 16 kHz given in chunks of any size; `round(seconds * 25)` frames in all."""
    held: list[Motion] = []
    for pcm in speech:
        held.append(driver.push(pcm))
        if sum(len(motion) for motion in held) >= FILES.chunk:
            yield concatenate(held)
            held = []
    yield concatenate([*held, driver.finish()])
