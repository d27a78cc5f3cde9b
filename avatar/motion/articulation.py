"""What the packaged encoder makes of any speaker's sound, however long."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.articulation import ARTICULATION
from avatar.core.lips import CURVES
from avatar.motion.encoder import CHANNELS, SEGMENT, STRIDE, encode, load_encoder
from avatar.motion.features import HOP, compute

FRAMES_AT_ONCE = 10 * SEGMENT  # motion frames in memory at a time; a whole number of segments


def encode_sound(samples: Tensor) -> Tensor:
    """Hidden state, articulation and lips [T, 168] at 25 frames/s of sound [n] at 16 kHz."""
    encoder, step, found = load_encoder(), STRIDE * HOP, []
    with torch.inference_mode():
        for start in range(0, -(-len(samples) // step), FRAMES_AT_ONCE):
            before = min(SEGMENT, start)
            window = samples[(start - before) * step : (start + FRAMES_AT_ONCE + SEGMENT) * step]
            encoded = encode(encoder, compute(window))
            columns = torch.cat([encoded.hidden, encoded.articulation, encoded.lips], 1)
            found.append(columns[before : before + FRAMES_AT_ONCE])
    return torch.cat(found) if found else torch.zeros(0, CHANNELS + len(ARTICULATION) + len(CURVES))


def predict_articulation(samples: Tensor) -> Tensor:
    """Articulation [T, 5] 0..1 at 25 frames/s (columns: `avatar.core.articulation`) of sound [n] at 16 kHz."""
    return encode_sound(samples)[:, CHANNELS : CHANNELS + len(ARTICULATION)]
