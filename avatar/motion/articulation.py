"""Articulation of any speaker, predicted from sound by the packaged encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.articulation import ARTICULATION
from avatar.motion.encoder import SEGMENT, STRIDE, encode, load_encoder
from avatar.motion.features import HOP, compute

FRAMES_AT_ONCE = 10 * SEGMENT  # motion frames in memory at a time; a whole number of segments


def predict_articulation(samples: Tensor) -> Tensor:
    """Articulation [T, 5] 0..1 at 25 frames/s (columns: `avatar.core.articulation`) of sound [n] at 16 kHz."""
    encoder, step, found = load_encoder(), STRIDE * HOP, []
    with torch.inference_mode():
        for start in range(0, -(-len(samples) // step), FRAMES_AT_ONCE):
            before = min(SEGMENT, start)
            window = samples[(start - before) * step : (start + FRAMES_AT_ONCE + SEGMENT) * step]
            encoded = encode(encoder, compute(window))
            found.append(encoded.articulation[before : before + FRAMES_AT_ONCE])
    return torch.cat(found) if found else torch.zeros(0, len(ARTICULATION))
