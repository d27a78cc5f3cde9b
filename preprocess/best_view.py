"""Which picture of a person stands for them best, where only one is used."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avatar.core.geometry import eye_distance
from avatar.core.landmarks import LEFT_EYE, LOWER_LIP, RIGHT_EYE, UPPER_LIP
from preprocess.fit import lid_ratio

OPEN_MOUTH, TURNED_RAD = 0.03, 0.26  # what counts as much as shut eyes: lip gap in eye distances, 15 degrees


def rank_views(landmarks: Tensor, turn: Tensor) -> Tensor:
    """How well pictures stand for a person [T], higher is better: mouth nearly shut, eyes open, looking ahead.

    landmarks: [T, 478, 2..3] px; turn: [T] rad that heads are turned by, from what counts as frontal.
    """
    gap = (landmarks[:, UPPER_LIP, :2] - landmarks[:, LOWER_LIP, :2]).norm(dim=-1) / eye_distance(landmarks)
    lids = torch.from_numpy(np.mean([lid_ratio(landmarks.numpy(), eye) for eye in (LEFT_EYE, RIGHT_EYE)], axis=0))
    opened = (lids / torch.quantile(lids, 0.75).clamp_min(1e-3)).clamp_max(1)
    return opened.float() - (gap / OPEN_MOUTH).square() - (turn / TURNED_RAD).square()
