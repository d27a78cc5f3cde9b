"""Sound that programs and servers answer: RIFF, as strictly as needed and no more."""

from __future__ import annotations

import struct

import numpy as np

from avatar.core.files import UserError

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
LEAST_RATE, MOST_RATE = 8000, 192_000  # Hz
QUIET = 0.01  # of the loudest: below it a voice is silent


def read_wav(data: bytes, who: str) -> tuple[np.ndarray, int]:
    """Samples [n] float32 -1..1, mixed to one channel, and their rate, Hz.

    Lengths that a program could not know while it wrote are ignored. Raises: UserError, naming who gave it.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise UserError(f"{who}: answered {_shown(data)}, not a wav file")
    at, form = 12, None
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack("<I", data[at + 4 : at + 8])[0]
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt " and len(body) >= 16:
            form = struct.unpack("<HHIIHH", body[:16])
            if form[0] == EXTENSIBLE and len(body) >= 26:
                form = (struct.unpack("<H", body[24:26])[0], *form[1:])
        elif name == b"data":
            return _samples(data[at + 8 : min(len(data), at + 8 + size)], form, who)
        at += 8 + size + size % 2
    raise UserError(f"{who}: answered a wav file without sound")


def _samples(data: bytes, form: tuple[int, ...] | None, who: str) -> tuple[np.ndarray, int]:
    kinds = {(PCM, 16): "<i2", (PCM, 32): "<i4", (FLOAT, 32): "<f4"}
    if form is None or (form[0], form[5]) not in kinds or form[1] < 1 or not LEAST_RATE <= form[2] <= MOST_RATE:
        raise UserError(f"{who}: answered wav of a kind that is not read; give 16 or 32 bits, {LEAST_RATE} Hz or more")
    kind, channels = np.dtype(kinds[form[0], form[5]]), form[1]
    count = len(data) // (kind.itemsize * channels)
    samples = np.frombuffer(data[: count * kind.itemsize * channels], kind).reshape(count, channels).astype(np.float32)
    samples = samples.mean(1) / (1.0 if form[0] == FLOAT else float(2 ** (form[5] - 1)))
    if count == 0 or not np.isfinite(samples).all():
        raise UserError(f"{who}: answered a wav file without sound")
    return samples.clip(-1, 1), form[2]


def _shown(data: bytes) -> str:
    text = data[:60].decode("utf-8", "replace").split("\n")[0]
    return f"'{text}'" if text.isprintable() and text else f"{len(data)} bytes of something else"


def sounding(pcm: np.ndarray, rate: int) -> tuple[float, float]:
    """When the first and the last sound of samples [n] are, s."""
    loud = np.flatnonzero(np.abs(pcm) > QUIET * np.abs(pcm).max(initial=1e-6))
    return (float(loud[0]) / rate, float(loud[-1] + 1) / rate) if len(loud) else (0.0, len(pcm) / rate)
