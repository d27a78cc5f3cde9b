"""How far an avatar of photos can turn before the background shows through the person."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import binary_closing, binary_fill_holes
from torch import Tensor

from avatar.core.avatar_file import TRUSTED_TURN, Avatar
from avatar.core.geometry import exponential, mean_rotation, to_vector
from avatar.core.motion_space import Motion
from avatar.core.take import PHOTOS
from avatar.metrics.coverage import person_core
from avatar.render.base import Renderer

UNCOVERED = 0.9  # coverage below which the background is seen
MOST_UNCOVERED = 0.005  # share of what is inside the person
STEP, MOST = 5, 25  # degrees; beyond, an ear or a cheek that no photo showed fills much of the picture
GAP = 1 / 40  # of the picture's side: gaps as wide are holes, wider ones lie between head and shoulder


def trusted_turn(renderer: Renderer, motion: Motion) -> int:
    """Degrees that the head of a motion's first frame can turn to either side without new holes, at most MOST.

    What is uncovered in the frame itself is no hole: one may see through between hair and neck.
    """
    own = uncovered_share(renderer, motion, 0)
    for degrees in range(STEP, MOST + 1, STEP):
        if uncovered_share(renderer, motion, degrees) - own > MOST_UNCOVERED:
            return degrees - STEP
    return MOST


def describe_photos(avatar: Avatar, motion: Motion) -> str:
    """What an avatar of photos is made of, and how much of a motion it is trusted for; empty for one of a clip."""
    count, degrees = (avatar.provenance.get(name, "") for name in (PHOTOS, TRUSTED_TURN))
    if not (count.isdecimal() and degrees.isdecimal()):
        return ""
    ahead = mean_rotation(avatar.style.own.rotation)
    turn = torch.rad2deg(to_vector(ahead.T @ motion.rotation).norm(dim=1))
    share = float((turn <= float(degrees)).float().mean())
    photos = "one photo" if count == "1" else f"{count} photos"
    return f"Made of {photos}, trusted up to {degrees} degrees from its pose: {share:.0%} of these frames lie within"


def uncovered_share(renderer: Renderer, motion: Motion, degrees: float) -> float:
    """The share 0..1 of what is surely inside the person that is not covered, the head turned to either side.

    Inside is what the drawn coverage surrounds: its holes and narrow gaps are closed first.
    """
    with torch.inference_mode():
        _, alpha = renderer.render(turned(motion, degrees), range(2))
    shares = []
    for one in alpha[:, 0].float().cpu():
        inside = one[person_core(_close_holes(one))]
        shares.append(float((inside < UNCOVERED).float().mean()) if len(inside) else 0.0)
    return float(np.mean(shares))


def turned(motion: Motion, degrees: float) -> Motion:
    """The first frame of a motion, its head turned about the vertical to the left and to the right [2 frames]."""
    angles = torch.tensor([-degrees, degrees]).deg2rad()
    turn = exponential(torch.stack([0 * angles, angles, 0 * angles], 1))
    two = motion[torch.tensor([0, 0])]
    return replace(two, rotation=turn @ two.rotation)


def _close_holes(alpha: Tensor) -> Tensor:
    """Coverage [S, S] 0..1 -> a matte [S, S] uint8 without holes and narrow gaps."""
    reach = max(2, round(GAP * len(alpha)))
    padded = np.pad(alpha.numpy() > 0.5, reach, mode="edge")
    joined = binary_closing(padded, iterations=reach)[reach:-reach, reach:-reach]
    return torch.from_numpy((255 * binary_fill_holes(joined)).astype(np.uint8))
