"""What lips must do for a sound, as the generic encoder hears it: nobody's lips in particular."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.articulation import ARTICULATION
from avatar.motion.encoder import CONTEXT, STRIDE, encode, load_encoder
from avatar.motion.features import HOP, compute

PART = 1500  # motion frames heard at a time
MARGIN = CONTEXT + 1  # and one, whose window reaches over the edge of what is cut out


def hear(samples: Tensor) -> Tensor:
    """Articulation [t, 5] at 25 frames/s (see core.articulation) of sound [n] at 16 kHz; any length."""
    encoder, step, heard = load_encoder(), STRIDE * HOP, []
    with torch.inference_mode():
        for start in range(0, -(-len(samples) // step), PART):
            before = min(MARGIN, start)
            window = samples[(start - before) * step : (start + PART + MARGIN) * step]
            heard.append(encode(encoder, compute(window)).articulation[before : before + PART])
    return torch.cat(heard) if heard else torch.zeros(0, len(ARTICULATION))
