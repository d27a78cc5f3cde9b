"""What the frame that splats are lifted from cuts off at its border, and others show: shoulders and arms that sway.

Without splats there the background would shine through: training changes splats, and makes none.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avatar.core.motion_space import MotionSpace
from avatar.core.take import Take, Track
from avatar.render.gaussian.lifting import (
    OWN,
    FrameView,
    InitialSplats,
    begin_to_learn,
    join_splats,
    make_splats,
    view_frame,
)
from avatar.render.gaussian.unseen import Rigidity

STEP_PX, SIZE = 4.0, 0.6  # at 512: between splats; their standard deviation, of the step
TORSO = 0.05  # rigidity up to which a pixel moves as the torso does


def lift_border(
    take: Take, track: Track, space: MotionSpace, view: FrameView, *, rigidity: Rigidity
) -> list[InitialSplats]:
    """Splats of the torso beyond the border of the picture of one at rest, from the frames that show most of it.

    view: of the frame that all else is lifted from. rigidity: of pixels [P, 2] of a frame, 0 torso .. 1 head.
    """
    frames, size = take.training_frames(), take.camera.size
    shift = track.torso[torch.tensor(frames), :2]
    extremes = [*shift.argmin(0).tolist(), *shift.argmax(0).tolist()]  # right and lower border, left and upper
    step = STEP_PX * size / 512
    parts, filled = [], set[tuple[int, int]]()
    for frame in dict.fromkeys(frames[place] for place in extremes):
        other = view_frame(take, track, space, frame)
        pixels = _torso_pixels(other, step, rigidity)
        places = other.at_rest(pixels)
        cells = [(int(column), int(row)) for column, row in np.floor(places / step)]
        beyond = ((places < 0) | (places > size)).any(1)
        new = np.array([cell not in filled for cell in cells], bool) & beyond
        filled.update(cell for cell, is_new in zip(cells, new, strict=True) if is_new)
        if new.any():
            parts.append(_lift(view, space, places[new], other.colors(other.image, pixels[new]), step))
    return [join_splats(parts)] if parts else []


def _torso_pixels(view: FrameView, step: float, rigidity: Rigidity) -> np.ndarray:
    """The pixels [P, 2] of a frame's torso, one a step."""
    lines = np.arange(step / 2, view.camera.size, step)
    pixels = np.stack(np.meshgrid(lines, lines), -1).reshape(-1, 2)
    columns, rows = pixels.astype(int).T
    pixels = pixels[view.matte[rows, columns] > OWN]
    return pixels[(rigidity(view, pixels) < TORSO).numpy()]


def _lift(view: FrameView, space: MotionSpace, places: np.ndarray, colors: Tensor, step: float) -> InitialSplats:
    """Splats at places [P, 2] of the picture of a torso at rest."""
    depth, count = view.depth(places), len(places)
    return make_splats(
        view.to_head(places, depth),
        torch.from_numpy(SIZE * step * depth / view.camera.focal),
        colors,
        torch.zeros(space.modes, count, 3),
        rigidity=torch.zeros(count),
        **begin_to_learn(count),
    )
