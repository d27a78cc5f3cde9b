"""Synthesized speech whose phones are known: sentences, voices, and the distortions that make them general."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile
from scipy.signal import resample_poly
from torch import Tensor

from avatar.core.articulation import Phone
from avatar.core.files import UserError

VOICES = ("slt", "rms", "awb", "kal16")
SAMPLE_RATE = 16000
_SUBJECTS = (
    "the captain", "my brother", "a young painter", "our neighbour", "the nurse", "somebody", "an old fisherman",
    "the mayor", "a puppy", "Victoria", "the whole family", "Bob", "few people", "the weather", "a yellow balloon",
)  # fmt: skip
_VERBS = (
    "brought", "watched", "remembers", "would rather move", "has painted", "never believed", "keeps pushing",
    "swapped", "might prefer", "sold", "waves at", "found", "is measuring", "chose", "bumps into", "explores",
)  # fmt: skip
_OBJECTS = (
    "five purple bowls", "the broken umbrella", "a cup of warm milk", "seven wooden shoes", "the loud thunder",
    "a beautiful picture", "the judge's big mirror", "fresh bread and butter", "every word of the song",
    "a heavy box of apples", "the view over the valley", "two thousand paper boats", "a strange machine",
)  # fmt: skip
_PLACES = (
    "by the river", "on Monday morning", "without a sound", "above the theatre", "for almost an hour",
    "during the football game", "in March", "before we wake up", "near the village church", "although it rained",
    "behind the museum", "with great pleasure",
)  # fmt: skip


@dataclass(frozen=True)
class Utterance:
    """A recording and its phones."""

    pcm: Tensor  # [n] 16 kHz
    phones: list[Phone]
    voice: str


def make_sentence(draw: random.Random) -> str:
    """A grammatical, meaningless sentence of 5 to 15 words."""
    parts = [draw.choice(_SUBJECTS), draw.choice(_VERBS), draw.choice(_OBJECTS)]
    if draw.random() < 0.7:
        parts.append(draw.choice(_PLACES))
    if draw.random() < 0.3:
        parts += ["and", draw.choice(_SUBJECTS), draw.choice(_VERBS), draw.choice(_OBJECTS)]
    return " ".join(parts) + draw.choice(".?!")


def synthesize(text: str, voice: str, *, stretch: float = 1.0) -> Utterance:
    """Speak a text with flite; phones with their times. Raises: UserError without flite."""
    binary = shutil.which("flite")
    if binary is None:
        raise UserError("flite is not installed; it makes the training voices (Debian: apt-get install flite)")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        options = ["--setf", f"duration_stretch={stretch}", "-psdur"]
        command = [binary, "-voice", voice, *options, "-t", text, "-o", str(path)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rate, samples = wavfile.read(path)
    pcm = samples.astype(np.float32) / 32768
    if rate != SAMPLE_RATE:
        pcm = resample_poly(pcm, SAMPLE_RATE, rate).astype(np.float32)
    phones, start = [], 0.0
    for item in printed.split():
        symbol, _, stop = item.rpartition(":")
        phones.append(Phone(symbol, start, float(stop)))
        start = float(stop)
    return Utterance(torch.from_numpy(pcm), phones, voice)


def make_corpus(count: int, *, seed: int, workers: int = 2) -> Iterator[Utterance]:
    """Sentences in all voices at varying speeds, in a fixed order."""
    draw = random.Random(seed)
    plans = [(make_sentence(draw), VOICES[i % len(VOICES)], draw.uniform(0.75, 1.35)) for i in range(count)]
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda plan: synthesize(plan[0], plan[1], stretch=plan[2]), plans)


def distort(features: Tensor, generator: torch.Generator) -> Tensor:
    """Another voice, microphone and room, made in the feature domain [t, 83]: warp, tilt, gain, noise, band limit."""
    bands = features.shape[1] - 3
    mel = features[:, :bands]

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=generator))

    # vocal tract length: the band axis stretched about its low end
    axis = (torch.arange(bands) * uniform(0.84, 1.18)).clamp(max=bands - 1)
    low = axis.floor().long()
    high = (low + 1).clamp(max=bands - 1)
    mel = mel[:, low] * (1 - (axis - low)) + mel[:, high] * (axis - low)
    x = torch.linspace(-1, 1, bands)
    shape = uniform(-0.25, 0.25) * x + uniform(-0.15, 0.15) * torch.cos(torch.pi * x * uniform(1, 4))
    gain = uniform(-0.6, 0.4)
    mel = mel + shape + gain
    noise = uniform(-2.8, -0.9) + uniform(-0.3, 0.3) * x + 0.1 * torch.randn(mel.shape, generator=generator)
    mel = torch.logaddexp(4 * mel, 4 * noise) / 4
    if uniform(0, 1) < 0.2:
        mel[:, int(uniform(0.55, 0.9) * bands) :] = mel.min()
    rest = features[:, bands:].clone()
    rest[:, 0] = torch.logaddexp(4 * (rest[:, 0] + gain), torch.tensor(4 * uniform(-2.8, -1.5))) / 4
    rest[:, 2] = torch.where(rest[:, 2] != 0, rest[:, 2] + uniform(-0.4, 0.4), rest[:, 2])
    return torch.cat([mel, rest], 1)
