"""What lips must do for a sound, as the generic encoder hears it: nobody's lips in particular."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.articulation import ARTICULATION
from avatar.motion.encoder import PART, STRIDE, encode, load_encoder
from avatar.motion.features import HOP, compute

AT_ONCE = 10 * PART  # motion frames in memory at a time; what is heard together stays together


def hear(samples: Tensor) -> Tensor:
    """Articulation [t, 5] at 25 frames/s (see core.articulation) of sound [n] at 16 kHz; any length."""
    encoder, step, heard = load_encoder(), STRIDE * HOP, []
    with torch.inference_mode():
        for start in range(0, -(-len(samples) // step), AT_ONCE):
            before = min(PART, start)
            window = samples[(start - before) * step : (start + AT_ONCE + PART) * step]
            heard.append(encode(encoder, compute(window)).articulation[before : before + AT_ONCE])
    return torch.cat(heard) if heard else torch.zeros(0, len(ARTICULATION))
