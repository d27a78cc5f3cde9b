"""The lip reader: which group of sounds a mouth makes, read off its motion alone.

A network of one hidden layer over seven frames, fitted on real people by `avatar.learn.lip_reader`. What it reads of a
real person's mouth is the measure of how well a generated one can be read.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from avatar.core.articulation import CLASSES, SILENCE
from avatar.core.files import whole
from avatar.core.lips import read_lip_positions
from avatar.core.motion_space import load_space
from avatar.motion.articulation import encode_sound
from avatar.motion.encoder import CHANNELS, load_encoder
from avatar.motion.regression_inputs import splice

VISEMES = {
    "bilabial": "p b m",
    "labiodental": "f v",
    "alveolar": "t d n l s z th dh",
    "postalveolar": "sh zh ch jh r er axr",
    "velar": "k g ng hh",
    "round": "w uw uh ow ao oy o oe ue",
    "spread": "iy ey ih y ii",
    "open": "aa ae ah aw ay eh a ax",
}
"""Groups of phones (ARPABET) that look alike on the lips, after Fisher (1968), Confusions among visually perceived
consonants, and vowels by their shape."""
REACH = 3  # frames to either side that the reader sees; two and five read less
LIDS = 2  # first modes of the MotionSpace, which say nothing of speech
LEAST_SPREAD = 0.15  # of a mode's deviation, in the MotionSpace's: what hardly moves is not enlarged
SURE = 0.4  # probability from which a sound is surely of one group
SPOKEN = 0.3  # probability of silence below which there is a sound


@dataclass(frozen=True)
class LipReader:
    """Weights of the network."""

    mean: Tensor  # [I] of the inputs
    spread: Tensor  # [I]
    hidden: Tensor  # [I, H]
    hidden_offset: Tensor  # [H]
    out: Tensor  # [H, 8]
    out_offset: Tensor  # [8]


def reader_inputs(expression: Tensor, seen: Tensor) -> Tensor:
    """What the reader sees [T, I] of expressions [T, K] of one person at 25 frames/s; seen: [T] bool.

    Modes and lip positions in the person's own deviations, of `REACH` frames to either side.
    """
    modes, positions = expression[:, LIDS:], expression @ read_lip_positions(load_space().basis)
    columns = []
    for values, least in ((modes, LEAST_SPREAD), (positions, 1e-6)):
        spread, mean = torch.std_mean(values[seen], 0)
        columns.append((values - mean) / (spread + least))
    return splice(torch.cat(columns, 1), REACH)


def read_lips(expression: Tensor, seen: Tensor) -> Tensor:
    """Which of VISEMES a mouth makes [T, 8], as probabilities that count all groups alike.

    expression: [T, K] of one person at 25 frames/s, two frames and more of which are `seen` [T] bool.
    """
    return apply_reader(load_lip_reader(), reader_inputs(expression, seen))


def apply_reader(reader: LipReader, inputs: Tensor) -> Tensor:
    """What a reader makes [T, 8] of `reader_inputs` [T, I]."""
    hidden = functional.gelu((inputs - reader.mean) / reader.spread @ reader.hidden + reader.hidden_offset)
    return (hidden @ reader.out + reader.out_offset).softmax(1)


@torch.no_grad()
def visemes_of_sound(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities [T, 8] of VISEMES in a sound [n] at 16 kHz, 25 frames/s, and whether there is speech [T] bool."""
    phones = load_encoder().classes(encode_sound(samples)[:, :CHANNELS].T[None])[0].softmax(0)
    members = torch.tensor([[phone in group.split() for group in VISEMES.values()] for phone in CLASSES])
    return phones.T @ members.float(), phones[CLASSES.index(SILENCE)] < SPOKEN


def balanced_accuracy(read: Tensor, spoken: Tensor, counted: Tensor) -> float:
    """Mean over groups of the share of their frames that are read right; .125 by chance, if all groups are there.

    read: [T, 8]; spoken: [T, 8] of `visemes_of_sound`; counted: [T] bool. Only frames whose sound is surely of one
    group count. Raises: ValueError when there is none.
    """
    sure = counted & (spoken.amax(1) > SURE)
    right, group = (read.argmax(1) == spoken.argmax(1))[sure], spoken.argmax(1)[sure]
    if not len(group):
        raise ValueError("balanced_accuracy: no frame is surely of one group")
    return float(torch.stack([right[group == one].float().mean() for one in group.unique()]).mean())


def save_lip_reader(reader: LipReader, path: Path) -> None:
    """Write a reader, in half precision."""
    with whole(path) as temporary:
        save_file({name: value.half().contiguous() for name, value in vars(reader).items()}, temporary)


@functools.cache
def load_lip_reader() -> LipReader:
    """The reader of the package."""
    tensors = load_file(Path(str(files("avatar") / "assets" / "lip_reader.safetensors")))
    return LipReader(**{name: value.float() for name, value in tensors.items()})
