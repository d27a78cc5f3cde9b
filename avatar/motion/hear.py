"""What lips must do for a sound, as the generic encoder hears it: nobody's lips in particular."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.articulation import ARTICULATION
from avatar.motion.encoder import CONTEXT, STRIDE, encode, load_encoder
from avatar.motion.features import compute

PART = 1500  # motion frames heard at a time


def hear(samples: Tensor) -> Tensor:
    """Articulation [t, 5] at 25 frames/s (see core.articulation) of sound [n] at 16 kHz; any length."""
    features, encoder, heard = compute(samples), load_encoder(), []
    with torch.inference_mode():
        for start in range(0, -(-len(features) // STRIDE), PART):
            before = min(CONTEXT, start)
            window = features[(start - before) * STRIDE : (start + PART + CONTEXT) * STRIDE]
            heard.append(encode(encoder, window)[before : before + PART, -len(ARTICULATION) :])
    return torch.cat(heard) if heard else torch.zeros(0, len(ARTICULATION))
