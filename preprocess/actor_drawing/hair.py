"""Hair of the actor: the texture of what lies on the skull, and single hairs that stand off its edge."""

from __future__ import annotations

import cv2
import numpy as np

from preprocess.actor_drawing.looks import Look
from preprocess.actor_drawing.noise import smooth_noise, step

Array = np.ndarray

STRANDS, LOCKS = 900, 120  # hairs and bundles of hairs around the head


def hair_layer(depth: Array, look: Look, size: int, cm: float, random: np.random.Generator) -> tuple[Array, Array]:
    """Hair [S, S, 4] (RGB, gloss) float32 and the share [S, S] that it covers. depth [S, S]: cm inside the hairline."""
    y, x = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) / size - 0.5
    away, around = np.hypot(x, y) / 0.49, np.arctan2(y, x) / (2 * np.pi) + 0.5
    bend = smooth_noise((size, size), (cm * 1.6,) * 2, random)
    curl = smooth_noise((size, size), (cm * 0.55,) * 2, random)
    around = around + 0.0022 * bend + 0.004 * look.curls * curl + 0.05 * away
    rows, columns = size // 2, STRANDS * 2
    lengths = size * 0.05 * (1 - 0.8 * look.curls)
    strands = smooth_noise((rows, columns), (lengths, columns / STRANDS), random)
    locks = smooth_noise((rows, columns), (lengths * 2, columns / LOCKS), random)
    column = ((around % 1) * columns).astype(np.float32)
    row = (away * rows).astype(np.float32)
    strands, locks = (
        cv2.remap(noise, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP) for noise in (strands, locks)
    )
    if look.curls > 0.5:
        locks = 0.5 * locks + smooth_noise((size, size), (cm * 0.28,) * 2, random)
    tone = (1 + 0.22 * strands + 0.2 * locks).clip(0.35, 1.9)
    shade = 0.62 + 0.38 * step(depth, 0.1, 1.4)
    color = np.array(look.hair, np.float32) * (tone * shade)[..., None]
    color += np.array([30, 20, 12], np.float32) * (0.5 * strands.clip(0, 2))[..., None] * (1 - 0.7 * look.curls)
    gloss = 55 * (1 + 0.8 * strands + 0.5 * locks).clip(0, 3) * (1 - 0.75 * look.curls)
    share = step(depth + 0.16 * strands + 0.10 * locks, 0.0, 0.32)
    return np.dstack([color, gloss]).astype(np.float32), share.astype(np.float32)
