"""Emotions, looks and emphasis: what brows, eyes, cheeks, mouth corners and head show beside speech.

Directions are made from the published meaning of ARKit's blendshapes: the shapes of ICT-FaceKit in the MotionSpace, and
the distances of landmarks that they are named by. Emotions are mixtures of them after the Facial Action Coding System
(Ekman, Friesen and Hager 2002, Investigator's Guide: emotion prototypes), scaled to what the person can show.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from math import exp, radians

import torch
from torch import Tensor

from avatar.core.acting import Act
from avatar.core.blendshapes import DISTANCES, distance_readings
from avatar.core.emotion import EMOTIONS, LOOKS, Emotion
from avatar.core.motion_space import MotionSpace

SIDES = ("Left", "Right")
MIXTURES: dict[str, dict[str, float]] = {
    "happy": {"mouthSmile": 0.8, "cheekSquint": 0.7, "mouthStretch": 0.2, "eyeSquint": 0.3},
    "sad": {"browInnerUp": 0.4, "browOuterUp": -0.7, "mouthFrown": 0.9, "mouthRollLower": 0.2, "mouthShrugLower": 0.4},
    "angry": {
        "browDown": 0.7, "browInnerUp": -0.5, "browOuterUp": -0.3, "mouthPress": 0.4, "mouthRollLower": 0.2,
        "mouthRollUpper": 0.2, "noseSneer": 0.3,
    },
    "fear": {"browInnerUp": 0.9, "browOuterUp": 0.4, "mouthStretch": 0.6, "mouthLowerDown": 0.2},
    "surprised": {"browInnerUp": 0.9, "browOuterUp": 0.9, "jawOpen": 0.3},
    "disgusted": {
        "noseSneer": 0.9, "mouthUpperUp": 0.3, "browDown": 0.8, "browInnerUp": -0.4, "browOuterUp": -0.2,
        "cheekSquint": 0.6,
    },
    "contempt": {"mouthSmileLeft": 0.9, "mouthSmileRight": -0.3, "mouthDimpleLeft": 1.0, "mouthPressLeft": 0.6},
}  # fmt: skip
"""Weights of shapes at strength 1; a name without a side stands for both."""
LIDS = dict(zip(EMOTIONS, (0.18, 0.25, 0.2, -0.2, -0.25, 0.35, 0.1), strict=True))
"""How far lids are shut at strength 1; below 0: wider open than usual."""
TURNS = dict(
    zip(EMOTIONS, ((-2, 0, 1), (3, 0, 1), (3, 0, 0), (-2, 0, 0), (-3, 0, 0), (-2, 3, 0), (-4, 0, 3)), strict=True)
)
"""Degrees that the head is lowered, turned to the viewer's left, and inclined by."""
DOWNCAST = {"sad": 0.2}  # gaze y at strength 1
WIDEST = -0.3  # lid closure: beyond it eyes were never seen
NATURAL = 0.5  # of a shape of ICT-FaceKit that is taken as it is; the rest follows from distances
RIDGE, ELSEWHERE = 0.02, 0.3  # of the distances' regression; weight of those that a mixture does not name
SEEN, UNSEEN = 1.0, 0.65  # share of a direction in what the person was seen doing, and in what they were not
MOST_DISTANCE = 4.5  # deviations of the person's own expressions (with those of all people) that a direction may reach
ONSET, OFFSET = 0.16, 0.3  # s of each of two low passes: an emotion is there in half a second, and goes in one
VARIATION = 0.12  # of the strength, in the person's own rhythm
SPEECH_RAMP = 0.3  # s in which that changes
BROW_PULSE, NOD = 0.35, radians(2.5)  # of an emphasis: brows up, head down
PULSE_MARGIN = 0.12  # s before and after the words
LEAST_SHOWN = 1e-3  # of a strength, below which a face is neutral again
SACCADE, FOLLOWS = 0.05, radians(14)  # s of the low pass of a look; head turn of a gaze of 1


@dataclass(frozen=True)
class FaceFrames:
    """What is shown beside speech, frame by frame."""

    expression: Tensor  # [T, K] added to what the mouth does
    lids: Tensor  # [T] lid closure, from WIDEST to 1
    gaze: Tensor  # [T, 2] added
    own_gaze: Tensor  # [T] share of the person's own gaze that is left
    turn: Tensor  # [T, 3] rad: lowered, turned to the viewer's left, inclined
    speaks: Tensor  # [T] 0..1, smooth: how far lips go before what is shown


@functools.cache
def natural_shapes() -> Mapping[str, Tensor]:
    """The shapes of ICT-FaceKit in the MotionSpace, [K] each at full strength, by ARKit's names."""
    text = (files("avatar") / "assets" / "expression_shapes.json").read_text(encoding="utf-8")
    return {name: torch.tensor(values) for name, values in json.loads(text)["shapes"].items()}


def weigh(mixture: Mapping[str, float]) -> dict[str, float]:
    """A mixture by the names of single shapes."""
    known = {*natural_shapes(), *DISTANCES}
    found: dict[str, float] = {}
    for name, weight in mixture.items():
        for one in (name, *(f"{name}{side}" for side in SIDES)):
            if one in known:
                found[one] = found.get(one, 0.0) + weight
    return found


def mixture_direction(weights: Mapping[str, float], space: MotionSpace) -> Tensor:
    """Expression [K] of shapes with weights, by their names.

    Half of the natural shapes, and what is missing so that the distances they are named by change as much as ARKit
    says, by ridge regression; other distances should stay as the natural shapes leave them. Lids stay open.
    """
    natural = natural_shapes()
    start = torch.zeros(space.modes)
    for name, weight in weights.items():
        if name in natural:
            start += NATURAL * weight * natural[name]
    start[:2] = 0
    reading = distance_readings(space).clone()  # [D, K]
    reading[:, :2] = 0
    wanted = torch.tensor([weights.get(name, 0.0) for name in DISTANCES])
    named = wanted != 0
    missing = torch.where(named, wanted - reading @ start, torch.zeros(()))
    importance = torch.where(named, 1.0, ELSEWHERE)
    weighted = reading * importance[:, None]
    gram = weighted.T @ weighted + RIDGE * torch.eye(space.modes)
    return start + torch.linalg.solve(gram, weighted.T @ (importance * missing))


def to_range(direction: Tensor, own: Tensor) -> Tensor:
    """A direction [K] scaled to a person with expressions [N, K], whose deviation in all people is 1.

    What the person was seen doing counts fully, the rest two thirds; the whole is no farther than MOST_DISTANCE.
    """
    covariance = torch.cov(own.T)
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(0)
    share = UNSEEN + (SEEN - UNSEEN) * values / (values + values.mean())
    scaled = vectors @ (share * (vectors.T @ direction))
    distance = ((vectors.T @ scaled).square() / (values + 0.5)).sum().sqrt()
    return scaled * (MOST_DISTANCE / distance.clamp_min(1e-6)).clamp_max(1)


class Face:
    """What a person shows beside speech, over time; eased, and never twice quite the same."""

    def __init__(self, own: Tensor, space: MotionSpace, *, seed: int) -> None:
        """own: [N, K] the person's expressions without lids, in order."""
        directions = [to_range(mixture_direction(weigh(MIXTURES[name]), space), own) for name in EMOTIONS]
        self._directions = torch.stack(directions)  # [E, K]
        brows = {"browInnerUp": 1.0, "browOuterUp": 0.7}
        self._brows = to_range(mixture_direction(weigh(brows), space), own) * BROW_PULSE
        self._lids = torch.tensor([LIDS[name] for name in EMOTIONS])
        self._turns = torch.tensor([[radians(angle) for angle in TURNS[name]] for name in EMOTIONS])
        self._downcast = torch.tensor([DOWNCAST.get(name, 0.0) for name in EMOTIONS])
        self._keeps = own_rhythm(own)
        self._draw = torch.Generator().manual_seed(seed)
        self._acts: list[Act] = []
        self._emotion: Emotion | None = None  # what acts asked for; None: nothing
        self._look: str | None = None
        self._first, self._level = torch.zeros(len(EMOTIONS)), torch.zeros(len(EMOTIONS))
        self._gaze, self._away, self._wander, self._speaks = torch.zeros(2), 0.0, 0.0, 0.0

    def act(self, acts: Sequence[Act], start: float) -> None:
        """Show acts whose times count from `start`, s."""
        moved = [replace(one, start=one.start + start, stop=one.stop + start) for one in acts]
        self._acts = sorted([*self._acts, *moved], key=lambda one: one.start)

    def clear(self) -> None:
        """Forget what is to come; what is shown stays."""
        self._acts = []

    def take(self, seconds: Tensor, usual: Sequence[Emotion], speaks: Tensor, fps: float) -> FaceFrames:
        """The next frames, at times [T] s. usual: shown where no act says otherwise; speaks: [T] 0..1."""
        rows = [
            self._nothing()
            if self._rests(emotion, float(time))
            else self._step(float(time), emotion, float(voice), fps)
            for time, emotion, voice in zip(seconds, usual, speaks, strict=True)
        ]
        if not rows:
            return FaceFrames(*(part[None][:0] for part in self._nothing()))
        return FaceFrames(*(torch.stack(column) for column in zip(*rows, strict=True)))

    def _nothing(self) -> tuple[Tensor, ...]:
        """The parts of FaceFrames [...] of a frame with nothing to show."""
        still = (torch.zeros(len(self._brows)), torch.zeros(()), torch.zeros(2), torch.ones(()), torch.zeros(3))
        return *still, torch.zeros(())

    def _rests(self, usual: Emotion, time: float) -> bool:
        """Whether there is nothing to show."""
        waiting = any(one.start - PULSE_MARGIN <= time for one in self._acts)
        asked = (usual if self._emotion is None else self._emotion).strength or self._look not in (None, "ahead")
        shown = max(float(self._level.max()), self._away)
        return not (waiting or asked or shown > LEAST_SHOWN)

    def _step(self, time: float, usual: Emotion, voice: float, fps: float) -> tuple[Tensor, ...]:
        pulse = self._read_acts(time)
        emotion = usual if self._emotion is None else self._emotion
        target = torch.zeros(len(EMOTIONS))
        if emotion.strength:
            target[EMOTIONS.index(emotion.name)] = emotion.strength
        rate = torch.where(target > self._first, _share(ONSET, fps), _share(OFFSET, fps))
        self._first = self._first + rate * (target - self._first)
        self._level = self._level + rate * (self._first - self._level)
        noise = float(torch.randn(1, generator=self._draw))
        self._wander = self._keeps * self._wander + (1 - self._keeps**2) ** 0.5 * noise
        self._speaks += _share(SPEECH_RAMP, fps) * (voice - self._speaks)
        level = self._level * (1 + VARIATION * max(-2.0, min(2.0, self._wander)))
        wanted = torch.tensor(LOOKS[self._look]) if self._look else torch.zeros(2)
        self._gaze = self._gaze + _share(SACCADE, fps) * (wanted - self._gaze)
        self._away += _share(SACCADE, fps) * (float(self._look not in (None, "ahead")) - self._away)
        expression = level @ self._directions + pulse * self._brows
        turn = level @ self._turns + torch.tensor([pulse * NOD, 0.0, 0.0])
        turn = turn + FOLLOWS * torch.stack([self._gaze[1], -self._gaze[0], torch.zeros(())])
        gaze = self._gaze + torch.stack([torch.zeros(()), level @ self._downcast])
        lids = (level @ self._lids).clamp(WIDEST, 1)
        return expression, lids, gaze, torch.tensor(1 - self._away), turn, torch.tensor(self._speaks)

    def _read_acts(self, time: float) -> float:
        """Take on what begins by now; the strength of an emphasis, 0..1."""
        pulse = 0.0
        for one in self._acts:
            if one.start <= time:
                self._emotion = one.emotion or self._emotion
                self._look = one.look or self._look
            if one.emphasised and one.start - PULSE_MARGIN < time < one.stop + PULSE_MARGIN:
                share = (time - one.start + PULSE_MARGIN) / (one.stop - one.start + 2 * PULSE_MARGIN)
                pulse = max(pulse, float(torch.sin(torch.tensor(torch.pi * share))) ** 2)
        self._acts = [one for one in self._acts if one.start > time or one.stop + PULSE_MARGIN > time]
        return pulse


def _share(seconds: float, fps: float) -> float:
    """How much of the way a low pass goes in a frame."""
    return 1 - exp(-1 / (seconds * fps))


def own_rhythm(own: Tensor) -> float:
    """How much of a deviation of the person's expressions [N, K] is left in the next frame but nine, to the tenth root.

    The speed at which the person's face wanders; .97 (half a second and a bit) where there is too little of it.
    """
    if len(own) < 50:
        return 0.97
    centred = own - own.mean(0)
    kept = (centred[10:] * centred[:-10]).sum() / centred.square().sum().clamp_min(1e-6)
    return float(kept.clamp(0.2, 0.95)) ** 0.1
