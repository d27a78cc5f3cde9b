"""The frame that stands for a clip."""

from __future__ import annotations

import torch

from avatar.core.take import Track

ROTATION, TRANSLATION, EXPRESSION = 10.0, 1 / 2, 1 / 4  # weights: a tenth, 2 cm, 4 deviations, 1 px of the torso alike


def reference_frame(track: Track, frames: list[int]) -> int:
    """The frame nearest to the median pose and expression, among `frames`."""
    index = torch.tensor(frames)
    pose = [track.rotation[index].flatten(1) * ROTATION, track.translation[index] * TRANSLATION, track.torso[index]]
    values = torch.cat([*pose, track.expression[index] * EXPRESSION], 1)
    distance = (values - values.median(0).values).square().sum(1)
    return frames[int(distance.argmin())]
