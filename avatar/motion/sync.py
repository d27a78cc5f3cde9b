"""The sync expert: whether lips follow a sound, and how far the two are apart.

Canonical correlations (Hotelling 1936) of the encoder's outputs and tracked expressions, fitted on real people by
`avatar.learn.sync_expert`. Offset 0 is the median of those people's recordings: the one reference of the project for
sound and lips. The expert works at 25 frames/s; frame t stands for the time (t + 0.5) / 25 s.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatar.core.files import whole
from avatar.core.sync import MeasureSync, SyncMeasurement, SyncReading
from avatar.motion.articulation import encode_sound
from avatar.motion.encoder import STRIDE
from avatar.motion.features import FEATURE_RATE
from avatar.motion.regression_inputs import splice

FPS = FEATURE_RATE / STRIDE
LIDS = 2  # first modes of the MotionSpace, which say nothing of speech
SOUND_REACH, MOUTH_REACH = 2, 1  # frames to either side
SEARCHED = 15  # frames to either side that offsets are searched in
WINDOW_SECONDS, WINDOW_STEP = 3.0, 1.0
KNOWN_SECONDS = 10.0  # more is no surer than this: windows of up to so many were measured
LEAST_FRAMES = 12  # with a face, in which anything can be said
NOTHING = (0.0, 0.0, 0.0, 0.5)  # offset, likeness, common, certainty where nothing can


@dataclass(frozen=True)
class SyncExpert:
    """Projections of sound and mouth onto pairs of curves that correlate in people."""

    sound: Tensor  # [5 * 168, D]
    mouth: Tensor  # [3 * 30, D]
    weight: Tensor  # [D] of each pair: its squared correlation; they sum to 1
    reference: Tensor  # [] frames by which the raw offset of the median person is late
    logistic: Tensor  # [4] of `certainty_terms`

    def embed_sound(self, encoded: Tensor) -> Tensor:
        """Curves [T, D] of a sound's outputs of the encoder [T, 168]: hidden, articulation, lips."""
        return splice(encoded.double(), SOUND_REACH) @ self.sound

    def embed_mouth(self, expression: Tensor) -> Tensor:
        """Curves [T, D] of expressions [T, K]."""
        return splice(expression[:, LIDS:].double(), MOUTH_REACH) @ self.mouth


def likeness_curves(sound: Tensor, mouth: Tensor, seen: Tensor, weight: Tensor, parts: Sequence[slice]) -> Tensor:
    """Likeness [N, 31] of curves [T, D] in parts of the frames, for sound -15 to 15 frames later than the mouth.

    seen: [T] bool, frames of the mouth that count. Each curve has its mean over the part taken off.
    """
    count, found = len(mouth), []
    starts, stops = (torch.tensor(ends) for ends in zip(*((part.start, part.stop) for part in parts), strict=True))
    frames = torch.arange(count)
    for shift in range(-SEARCHED, SEARCHED + 1):
        other = frames + shift
        valid = (seen & (other >= 0) & (other < len(sound))).double()[:, None]
        a, x = sound[other.clamp(0, len(sound) - 1)] * valid, mouth * valid
        sums = torch.stack([valid.expand_as(x), a, x, a * a, x * x, a * x])
        total = torch.nn.functional.pad(sums.cumsum(1), (0, 0, 1, 0))
        n, a, x, aa, xx, ax = total[:, stops] - total[:, starts]
        n = n.clamp_min(1)
        spread = ((aa - a * a / n).clamp_min(0) * (xx - x * x / n).clamp_min(0)).sqrt()
        found.append(((ax - a * x / n) / spread.clamp_min(1e-9)) @ weight)
    return torch.stack(found, 1)


def find_peaks(curves: Tensor) -> tuple[Tensor, Tensor]:
    """Frames [N] by which the sound is late, to a fraction (a parabola through three), and the likeness there [N]."""
    best = curves[:, 1:-1].argmax(1) + 1
    before, top, after = (curves.gather(1, best[:, None] + step)[:, 0] for step in (-1, 0, 1))
    bend = (2 * top - before - after).clamp_min(1e-9)
    fraction = ((after - before) / (2 * bend)).clamp(-0.5, 0.5)
    return best - SEARCHED + fraction, top


def certainty_terms(likeness: Tensor, seconds: Tensor) -> Tensor:
    """Terms [N, 4] of the logistic regression of certainty: chance likeness falls with the root of the length."""
    root = seconds.clamp(1 / FPS, KNOWN_SECONDS).sqrt()
    return torch.stack([likeness * root, likeness, root, torch.ones_like(root)], 1)


def measure_embedded(
    expert: SyncExpert, sound: Tensor, mouth: Tensor, seen: Tensor, parts: Sequence[slice]
) -> list[SyncReading]:
    """Readings of parts of curves [T, D], the first of which is the whole; seen: [T] bool.

    Of a part with too few faces nothing is said: its certainty is a half.
    """
    curves = likeness_curves(sound, mouth, seen, expert.weight, parts)
    offsets, likeness = find_peaks(curves)
    middle = int(offsets[0].round().clamp(1 - SEARCHED, SEARCHED - 1)) + SEARCHED
    common = curves[:, middle - 1 : middle + 2].amax(1)
    frames = torch.tensor([int(seen[part].sum()) for part in parts])
    certainty = (certainty_terms(likeness, frames / FPS) @ expert.logistic).sigmoid()
    readings = []
    for part, *values, count in zip(parts, offsets, likeness, common, certainty, frames, strict=True):
        offset, *rest = (float(value) for value in values)
        said = ((offset - float(expert.reference)) / FPS, *rest) if int(count) >= LEAST_FRAMES else NOTHING
        readings.append(SyncReading(part.start / FPS, part.stop / FPS, int(count) / FPS, *said))
    return readings


def open_sync(samples: Tensor) -> MeasureSync:
    """Encode sound [n] at 16 kHz, once; what is returned measures lips against it, as `measure_encoded`."""
    return functools.partial(measure_encoded, encode_sound(samples))


@torch.no_grad()
def measure_encoded(encoded: Tensor, expression: Tensor, seen: Tensor) -> SyncMeasurement:
    """Measure a sound's outputs of the encoder [t, 168] against expressions [T, K] at 25 frames/s.

    seen: [T] bool, where there is a face.
    """
    expert, count = load_sync_expert(), len(expression)
    if not len(encoded) or not count:
        return SyncMeasurement(SyncReading(0.0, count / FPS, 0.0, *NOTHING), [])
    sound, mouth = expert.embed_sound(encoded), expert.embed_mouth(expression)
    width, step = round(WINDOW_SECONDS * FPS), round(WINDOW_STEP * FPS)
    windows = [slice(start, start + width) for start in range(0, count - width + 1, step)]
    all_of_it, *along = measure_embedded(expert, sound, mouth, seen, [slice(0, count), *windows])
    return SyncMeasurement(all_of_it, along)


def save_sync_expert(expert: SyncExpert, path: Path) -> None:
    """Write an expert, in single precision."""
    with whole(path) as temporary:
        save_file({name: value.float().contiguous() for name, value in vars(expert).items()}, temporary)


@functools.cache
def load_sync_expert() -> SyncExpert:
    """The expert of the package."""
    tensors = load_file(Path(str(files("avatar") / "assets" / "sync_expert.safetensors")))
    return SyncExpert(**{name: value.double() for name, value in tensors.items()})
