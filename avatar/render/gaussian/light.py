"""The light of a photo, as white things show it: what is made, because no frame shows it, is lit by that."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avatar.core.landmarks import CHEEKBONES, IRISES, LEFT_EYE_OUTLINE, RIGHT_EYE_OUTLINE
from avatar.render.gaussian.lifting import FrameView

BRIGHTEST = 0.5  # of an eye's pixels beside the iris, the brighter half: not lashes, nor the lid's shadow
AGAINST_SKIN = (0.75, 1.5)  # how bright the white of an eye is: beyond, it is glasses, or no eye that one sees
LEAST_PIXELS = 4  # of an eye's white, to be measured
WHITER = 1.05  # than skin, where eyes do not show it


def skin_color(view: FrameView) -> Tensor:
    """The skin below the eyes [3]."""
    return view.color_at(list(CHEEKBONES)).median(0).values


def eye_white(view: FrameView) -> Tensor:
    """The white of the eyes [3] as the photo's light shows it; a grey as bright as the skin where it cannot be seen."""
    seen = (view.fill(LEFT_EYE_OUTLINE) + view.fill(RIGHT_EYE_OUTLINE)) > 0
    size, skin = view.camera.size, skin_color(view)
    rows, columns = np.mgrid[:size, :size] + 0.5
    for center, edge in iris_circles(view):
        seen &= np.hypot(columns - center[0], rows - center[1]) > edge
    pixels = torch.from_numpy(view.image[seen]).float()
    usual = skin.mean().clamp_min(0.05)
    if len(pixels) < LEAST_PIXELS:
        return (WHITER * usual).expand(3).clone()
    bright = pixels[pixels.mean(1).argsort(descending=True)[: max(LEAST_PIXELS, int(BRIGHTEST * len(pixels)))]]
    white = bright.mean(0)
    return white * (usual * (white.mean() / usual).clamp(*AGAINST_SKIN) / white.mean().clamp_min(0.02))


def iris_circles(view: FrameView) -> list[tuple[np.ndarray, float]]:
    """Centre [2] px and radius px of each iris."""
    points = view.landmarks[list(IRISES), :2].reshape(2, 5, 2)
    return [(eye[0], float(np.linalg.norm(eye[1:] - eye[0], axis=1).mean())) for eye in points]
