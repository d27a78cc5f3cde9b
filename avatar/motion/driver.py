"""Sound in, motion out, in a stream: memory does not grow with length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.acting import Act
from avatar.core.articulation import ARTICULATION, Phone
from avatar.core.avatar_file import SpeakingStyle
from avatar.core.controls import ControlFrames, Controls
from avatar.core.eyes import eyelid_closure
from avatar.core.files import UserError
from avatar.core.geometry import exponential
from avatar.core.lips import read_lip_positions, read_lips
from avatar.core.motion_space import Motion, concatenate, load_space
from avatar.motion.arousal import Arousal
from avatar.motion.behaviour import Blinker, Rest, apply_gains, measure_lips, project, resting, speech_residual
from avatar.motion.cues import CueFrames, Cues, PhoneLips
from avatar.motion.encoder import BEYOND, CONTEXT, SEGMENT, STEP, STRIDE
from avatar.motion.expression import Face, FaceFrames
from avatar.motion.features import DEFAULT_FEATURES, FEATURE_RATE, SAMPLE_RATE, compute, open_features
from avatar.motion.head_motion import PROSODY_WIDTH, MotionGraph, prosody_features
from avatar.motion.lip_range import to_own_range
from avatar.motion.live_encoder import Hop, LiveSpeech
from avatar.motion.other_expression import OtherExpression
from avatar.motion.presence import Attention, Transition
from avatar.motion.speech_to_motion import MouthMotion, SpeechToMotion

FPS = FEATURE_RATE / STRIDE
SAMPLES_PER_FRAME = round(SAMPLE_RATE / FPS)
TRANSITION = 5  # frames in which speech begins, or its end comes to rest: 200 ms
CLOSING = 3  # frames in which an interrupted mouth closes: 120 ms
PHONE_SHARE = 0.5  # of lips that follow phones, where both they and the sound are known (docs/lab/words.md)
CONTROL_RAMP = 10  # frames in which other controls come into force
IDLE_RAMP = 25  # frames in which the head calms down after speech
IDLE_HEAD = 0.6  # times the person's own head motion while nobody speaks
BREATHS_PER_SECOND = 0.25  # of an adult at rest: 12 to 18 a minute


@dataclass(frozen=True)
class Window:
    """Which frames one pass of the encoder sees. The defaults, for files, are those that a person is adapted with."""

    hop: int = 6 * STEP  # motion frames made at a time
    history: int = SEGMENT  # frames of sound before them
    lookahead: int = BEYOND  # and after them


FILE_WINDOW = Window()
LIVE_WINDOW = Window(hop=1, history=2 * CONTEXT, lookahead=4)  # 160 ms of sound beyond a frame


class Driver:
    """A stream of motion for a stream of sound. The size of what is pushed changes nothing."""

    def __init__(
        self,
        speech: SpeechToMotion,
        style: SpeakingStyle,
        *,
        fps: float,
        controls: Controls,
        pose: Motion | None = None,
        other: Motion | None = None,
        window: Window = FILE_WINDOW,
        breathing: float = 0.0,
    ) -> None:
        """pose: tracked motion whose head, shoulders and gaze are taken instead of the person's own.

        other: motion whose brows, eyes and mouth corners are shown instead of the person's own.
        breathing: px that the shoulders rise and fall by in `idle`. Raises: UserError when fps is not 25.
        """
        if fps != FPS:
            raise UserError(f"the avatar has {fps:g} frames/s, speech is made at {FPS:g}; build it again")
        model = speech.model
        self._stream = _Stream(speech, window)
        self._style, self._controls, self._fps, self._breathing = style, controls, fps, breathing
        self._slope, self._mean, self._range = model.lid_slope, model.mean, model.lips
        self._own = style.own.expression - eyelid_closure(style.own.eyes)[:, None] * self._slope
        space = load_space()
        self._space_id, self._lip_positions = space.id, read_lip_positions(space.basis)
        self._cues, self._phone_lips = Cues(), PhoneLips(self._own, space.basis)
        residual = speech_residual(self._own, read_lips(space.basis))
        # each with a generator of its own: how many frames are asked for at a time must not change the draws
        draw = torch.Generator().manual_seed(controls.seed)
        self._graph = MotionGraph(style, residual, draw, pose=pose, prosody=model.voice)
        self._blinker = Blinker(style, fps, torch.Generator().manual_seed(controls.seed + 1))
        self._rest = Rest()
        self._closed = resting(self._own, model.lip_reading)
        self._lips = measure_lips(self._own, model.lip_reading)
        self._face = Face(self._own, space, seed=controls.seed + 3)
        self._other = OtherExpression(other, self._own, space) if other else None
        self._arousal = Arousal(model.voice, fps)
        self._frame = 0
        self._tail: MouthMotion | None = None  # ends of speech that `idle` has not shown yet
        self._transition = Transition()  # of expressions without lids and residual
        self._attention = Attention(fps, torch.Generator().manual_seed(controls.seed + 2))
        self._attends = False
        self._former: ControlFrames | None = None  # [1] each: what held until the controls were changed
        self._former_age = 0
        self._idle = False
        self._idle_level = 0.0  # 0 while speaking, rising to 1 while idle

    def push(self, pcm: Tensor) -> Motion:
        """The frames (perhaps none) that more sound [n] float32 at 16 kHz completes."""
        return self.behave(self._stream.push(pcm))

    def hops(self, pcm: Tensor) -> list[Hop]:
        """What `push` would make frames of, for a `BatchedSpeech` to do so; then give `behave` what it made."""
        return list(self._stream.hops(pcm))

    def behave(self, mouth: MouthMotion) -> Motion:
        """The frames of a mouth that goes on speaking: the second half of `push`."""
        tail, self._tail = self._tail, None
        return self._behave(mouth if tail is None else _join([tail, mouth]), idle=False)

    def follow(self, phones: Sequence[Phone], acts: Sequence[Act] = (), *, alone: bool = False) -> None:
        """What is said and shown with the sound that is pushed next; times in s from its first sample.

        alone: that sound is silence, and lips follow the phones alone.
        """
        frames = self._frame + (0 if self._tail is None else len(self._tail))
        start = frames / self._fps + self._stream.seconds_held
        self._cues.add(start, phones, alone=alone)
        self._face.act(acts, start)

    def act(self, *acts: Act) -> None:
        """Show something from the next frame on; times in s from now."""
        self._face.act(acts, self._frame / self._fps)

    def finish(self) -> Motion:
        """The frames still open at the end of the sound; `round(seconds * 25)` in all, at least one."""
        return self._behave(self._stream.finish(), idle=False)

    @property
    def pending(self) -> bool:
        """Whether there is sound whose frames were not made yet."""
        return self._stream.pending

    def interrupt(self) -> None:
        """Drop all sound whose frames were not made yet; the mouth closes in the next three frames."""
        self._stream.reset()
        self._cues.clear()
        self._face.clear()
        self._tail = None
        self._idle = True
        self._transition.begin(CLOSING)

    def idle(self, count: int) -> Motion:
        """Frames [count] without sound: the end of what was said, then rest, blinks, breathing, small head motion.

        Speech may be pushed again afterwards; expression, head and shoulders go on without a jump.
        """
        tail = self._tail
        if tail is None and self._stream.pending:
            tail = self._stream.finish()
            self._stream.reset()
        spoken = 0 if tail is None else min(count, len(tail))
        self._tail = None if tail is None or spoken == len(tail) else tail[spoken:]
        parts = [self._behave(tail[:spoken], idle=False)] if tail is not None and spoken else []
        if count > spoken or not parts:
            parts.append(self._behave(self._silence(count - spoken), idle=True))
        if self._tail is None:
            self._stream.reset()
        return concatenate(parts)

    def rest(self, count: int) -> Motion:
        """Frames [count] without sound, as in `idle`; sound that was given goes on waiting for more of it."""
        return self._behave(self._silence(count), idle=True)

    @property
    def controls(self) -> Controls:
        """Those in force."""
        return self._controls

    def control(self, controls: Controls) -> None:
        """Change the controls from the next frame on, smoothly; pose, style and seed stay as they were."""
        self._former, self._former_age = self._controls_over(1), 0
        self._controls = controls

    def attend(self, attends: bool) -> None:
        """Whether the person attends to somebody who speaks: looks at the viewer, and nods."""
        self._attends = attends

    def _silence(self, count: int) -> MouthMotion:
        """A resting mouth; the prosody is that of silence."""
        nothing = torch.zeros(count)
        return MouthMotion(self._closed.expand(count, -1), nothing, nothing, _silent_prosody().expand(count, -1))

    def _controls_over(self, count: int) -> ControlFrames:
        """The controls of the next frames [T]."""
        now = self._controls.over(torch.arange(self._frame, self._frame + count) / self._fps)
        if self._former is None:
            return now
        share = ((self._former_age + 1 + torch.arange(count)) / CONTROL_RAMP).clamp_max(1)
        both = ((name, value, getattr(self._former, name)) for name, value in vars(now).items())
        return ControlFrames(**{name: before + share * (value - before) for name, value, before in both})

    def _behave(self, mouth: MouthMotion, *, idle: bool) -> Motion:
        count = len(mouth)
        now = self._controls_over(count)
        cues = self._cues.over(self._frame, count, self._fps)
        self._frame += count
        self._former_age += count
        if count and idle != self._idle:
            self._idle = idle
            self._transition.begin(TRANSITION)
        level = self._ramp(count, idle)
        if level is not None:
            now = replace(now, head=now.head * (1 - (1 - IDLE_HEAD) * level))
        attention, lowered = self._attention.take(count, self._attends)
        now = replace(now, gaze=now.gaze * attention)
        mouth = mouth if cues is None else self._with_phones(mouth, cues)
        face, shut = self._show(mouth), self._blinker.take(now.blink)
        if self._other:
            shown = self._other.take(mouth.voiced)
            expression, gaze = face.expression + shown.expression, face.gaze + shown.gaze
            face = replace(face, expression=expression, gaze=gaze, speaks=shown.speaks)
            now, shut = replace(now, temperature=torch.zeros(count), gaze=torch.zeros(count)), shown.shut
        expression = self._speak(mouth, now, face)
        shut = face.lids + (1 - face.lids) * shut
        head = self._graph.take(now.head, now.gaze, now.temperature * now.expression_gain, mouth.prosody)
        expression = expression + head.residual + shut[:, None] * self._slope
        gaze = face.own_gaze[:, None] * head.gaze + face.gaze
        eyes = torch.cat([(1 - shut).clamp_max(1)[:, None].expand(-1, 2), gaze], 1)
        torso = head.torso if level is None else head.torso + self._breathe(level)
        turn = face.turn + functional.pad(lowered[:, None], (0, 2))
        turned = head.rotation @ exponential(turn) if turn.any() else head.rotation
        return Motion(expression, eyes, turned, head.translation, torso, self._fps, self._space_id)

    def _with_phones(self, mouth: MouthMotion, cues: CueFrames) -> MouthMotion:
        """The same mouth, whose lips follow the sound and the phones, and close when the phones say so."""
        closure = cues.articulation[:, ARTICULATION.index("lip_closure")]
        by_phones = self._phone_lips(cues.articulation)
        share = torch.where(cues.alone, 1.0, PHONE_SHARE * cues.known)
        return replace(
            mouth,
            expression=mouth.expression + share[:, None] * (by_phones - mouth.expression),
            lip_closure=torch.where(cues.known, closure, mouth.lip_closure),
            voiced=torch.where(cues.alone & cues.spoken, torch.ones_like(mouth.voiced), mouth.voiced),
        )

    def _show(self, mouth: MouthMotion) -> FaceFrames:
        """What the face shows beside the mouth's next frames, which were counted already."""
        seconds = torch.arange(self._frame - len(mouth), self._frame) / self._fps
        asked = [self._controls.emotion_at(float(time)) for time in seconds]
        voice = self._arousal.take(mouth.prosody) if None in asked else []
        usual = [voice[index] if emotion is None else emotion for index, emotion in enumerate(asked)]
        return self._face.take(seconds, usual, mouth.voiced, self._fps)

    def _speak(self, mouth: MouthMotion, now: ControlFrames, face: FaceFrames) -> Tensor:
        """Expressions [T, K] of the mouth, within the person's range, without lids and residual."""
        expression = mouth.expression
        if self._range:
            expression = to_own_range(expression, self._mean, self._range, self._lip_positions)
        expression = project(expression, self._own, self._controls.lle)
        expression = expression + self._rest.take(mouth.voiced)[:, None] * (self._closed - expression)
        gain = self._style.amplitude_gain * now.mouth_gain * now.expression_gain
        expression = apply_gains(expression, self._mean, gain)
        expression = self._lips.add(expression, face.expression, face.speaks)
        pressed = (2 * now.mouth_gain).clamp_max(1)  # calm lips close all the same
        expression = self._lips.press(expression, mouth.lip_closure * pressed)
        return self._transition.take(expression)

    def _ramp(self, count: int, idle: bool) -> Tensor | None:
        """How far the head has calmed down [T] in the next frames; None while nobody has idled."""
        if not idle and self._idle_level == 0:
            return None
        step = (1 if idle else -1) / IDLE_RAMP
        level = (self._idle_level + step * (1 + torch.arange(count))).clamp(0, 1)
        self._idle_level = float(level[-1]) if count else self._idle_level
        return level * level * (3 - 2 * level)

    def _breathe(self, level: Tensor) -> Tensor:
        """Rise and fall of the shoulders [T, 4]."""
        seconds = torch.arange(self._frame - len(level), self._frame) / self._fps
        rise = self._breathing * level * torch.sin(2 * torch.pi * BREATHS_PER_SECOND * seconds)
        return torch.stack([torch.zeros_like(rise), -rise, torch.zeros_like(rise), torch.zeros_like(rise)], 1)


@cache
def _silent_prosody() -> Tensor:
    """The prosody [1, 10] of silence."""
    return prosody_features(compute(torch.zeros(2 * SAMPLES_PER_FRAME)))[:1]


def _join(parts: list[MouthMotion]) -> MouthMotion:
    return MouthMotion(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(MouthMotion)))


class _Stream:
    """Mouth motion for a stream of sound; each frame is made once, with its history and lookahead."""

    def __init__(self, speech: SpeechToMotion, window: Window) -> None:
        self._speech, self._window = speech, window
        self.reset()

    def reset(self) -> None:
        """Forget all sound."""
        self._features = open_features(self._speech.model.features)
        self._held = torch.zeros(0, self._features.width)
        self._before = 0  # motion frames at the start of `held` that were already made
        self._samples = self._made = 0
        streamed = self._window.hop == 1 and self._speech.model.features == DEFAULT_FEATURES
        self._live = LiveSpeech(self._speech) if streamed else None

    @property
    def pending(self) -> bool:
        """Whether there is sound whose frames were not made yet."""
        return round(self._samples / SAMPLE_RATE * FPS) > self._made

    @property
    def seconds_held(self) -> float:
        """How much sound there is whose frames were not made yet."""
        return self._samples / SAMPLE_RATE - self._made / FPS

    def push(self, pcm: Tensor) -> MouthMotion:
        made = [self._nothing()]
        for hop in self.hops(pcm):
            made.append(self._live(hop.window, hop.frames) if self._live else self._speech(hop.window)[hop.frames])
        return _join(made)

    def hops(self, pcm: Tensor) -> Iterator[Hop]:
        self._samples += len(pcm)
        self._held = torch.cat([self._held, self._features.push(pcm)])
        hop = self._window.hop
        while len(self._held) // STRIDE >= self._before + hop + self._window.lookahead:
            window = self._held[: (self._before + hop + self._window.lookahead) * STRIDE]
            yield Hop(window, slice(self._before, self._before + hop))
            self._made += hop
            keep = min(self._window.history, self._before + hop)
            self._held = self._held[(self._before + hop - keep) * STRIDE :]
            self._before = keep

    def _nothing(self) -> MouthMotion:
        modes = len(self._speech.model.mean)
        return MouthMotion(torch.zeros(0, modes), torch.zeros(0), torch.zeros(0), torch.zeros(0, PROSODY_WIDTH))

    def finish(self) -> MouthMotion:
        held = torch.cat([self._held, self._features.flush()])
        left = max(1, round(self._samples / SAMPLE_RATE * FPS)) - self._made
        if left <= 0:
            return self._nothing()
        missing = (self._before + left) * STRIDE - len(held)
        if missing > 0:
            last = held[-1:] if len(held) else held.new_zeros(1, self._features.width)
            held = torch.cat([held, last.expand(missing, -1)])
        return self._speech(held)[self._before : self._before + left]


def drive(driver: Driver, speech: Iterable[Tensor]) -> Iterator[Motion]:
    """Motion for sound [n] float32 16 kHz given in chunks of any size; `round(seconds * 25)` frames in all."""
    held: list[Motion] = []
    for pcm in speech:
        held.append(driver.push(pcm))
        if sum(len(motion) for motion in held) >= FILE_WINDOW.hop:
            yield concatenate(held)
            held = []
    yield concatenate([*held, driver.finish()])
