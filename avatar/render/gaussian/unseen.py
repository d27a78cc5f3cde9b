"""What no frame shows: a surface behind the head's skin and hair, and the sides of the head behind its outline.

Both are coarse, and hidden as long as the person stands as in the frame that they are made of; when they turn further
than the clip shows, there is skin and hair where splats part, and not the background.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, binary_erosion
from torch import Tensor

from avatar.core.landmarks import JAWLINE, LEFT_EYE_OUTLINE, LOWER_LIP, MESH_POINTS, RIGHT_EYE_OUTLINE
from avatar.core.motion_space import MotionSpace
from avatar.render.gaussian.lifting import OWN, FrameView, InitialSplats, join_splats, make_splats, stretch
from avatar.render.gaussian.skin import spread_on_skin

BACK_CM, BACK_STEP_CM = 0.6, 0.7  # how far the surface behind lies behind the skin; between its splats
BACK_SIZE = 0.6  # standard deviation, of the spacing
EDGE_CM = 0.9  # from the outline: what lies behind must not show beside it
HEAD_DEPTH_CM, SIDE_STEP_CM = 8.0, 0.9  # from the outline of a head to its back; between rows
ALONG, FIRST = 0.7, 0.4  # of that step: between splats of a row; from the skin to the first row
SIDE_SHADE = 0.25  # light lost towards the back
HEAD = 0.99  # rigidity from which on a pixel is of the head, and not of neck or shoulders
LOWER_JAW = JAWLINE[4:-4]  # without what runs up to the ears
JAW_CM = 0.6  # about its line: the neck lies further behind, and a jaw's back would lie before it

Rigidity = Callable[[FrameView, np.ndarray], Tensor]


def back_surface(view: FrameView, space: MotionSpace, *, rigidity: Rigidity) -> InitialSplats:
    """Splats behind the surface of the head, and behind its outline.

    rigidity: of pixels [P, 2] of a frame, 0 torso .. 1 head.
    """
    size = view.camera.size
    rows, columns = np.mgrid[:size, :size].reshape(2, -1) + 0.5
    head = (rigidity(view, np.stack([columns, rows], 1)) > HEAD).numpy().reshape(size, size)
    inside = binary_erosion(view.matte > OWN, iterations=max(1, round(EDGE_CM / view.pixel_cm)), border_value=1)
    outline = inside & ~binary_erosion(inside, border_value=1)
    above_jaw = np.arange(size)[:, None] < view.landmarks[LOWER_LIP, 1]
    parts = [_behind(view, space, inside & head & ~_jaw(view)), _sides(view, space, outline & head & above_jaw)]
    return join_splats(parts)


def _jaw(view: FrameView) -> np.ndarray:
    """The pixels [S, S] about the line of the jaw."""
    canvas = Image.new("L", (view.camera.size, view.camera.size))
    line = [(float(x), float(y)) for x, y in view.landmarks[list(LOWER_JAW), :2]]
    ImageDraw.Draw(canvas).line(line, fill=1, width=max(1, round(2 * JAW_CM / view.pixel_cm)))
    return np.array(canvas) > 0


def _behind(view: FrameView, space: MotionSpace, kept: np.ndarray) -> InitialSplats:
    step = max(2, round(BACK_STEP_CM / view.pixel_cm))
    openings = view.mouth + view.fill(LEFT_EYE_OUTLINE) + view.fill(RIGHT_EYE_OUTLINE) > 0
    grid = np.zeros_like(kept)
    grid[step // 2 :: step, step // 2 :: step] = True
    pixels = _middles(kept & grid & ~binary_dilation(openings, iterations=step))
    means = view.to_head(pixels, view.depth(pixels) + BACK_CM)
    basis = spread_on_skin(space.basis[:, :MESH_POINTS], view.mesh[:MESH_POINTS], means.double())
    colors = view.colors(view.blurred, pixels)
    behind = make_splats(view.without_expression(means, basis), BACK_SIZE * step * view.pixel_cm, colors, basis)
    return stretch(behind, view.steepness(pixels))


def _sides(view: FrameView, space: MotionSpace, outline: np.ndarray) -> InitialSplats:
    """Rows of the head's outline, each further back and narrower, as the sections of an ellipsoid are."""
    pixels = _middles(outline)[:: max(1, round(ALONG * SIDE_STEP_CM / view.pixel_cm))]
    center = view.mesh[:MESH_POINTS].mean(0)
    offset = view.to_head(pixels, view.depth(pixels)) - center
    back = (torch.arange(int(HEAD_DEPTH_CM / SIDE_STEP_CM)) + FIRST) * SIDE_STEP_CM
    share = (back / HEAD_DEPTH_CM)[:, None, None]
    across, along = (1 - share.square()).sqrt() * offset[:, :2], back[:, None, None] + offset[:, 2:]
    means = (center + torch.cat([across, along], -1)).reshape(-1, 3)
    colors = ((1 - SIDE_SHADE * share) * view.colors(view.blurred, pixels)).reshape(-1, 3)
    return make_splats(means, BACK_SIZE * SIDE_STEP_CM, colors, torch.zeros(space.modes, len(means), 3))


def _middles(region: np.ndarray) -> np.ndarray:
    """The middles [P, 2] of the pixels of a region [S, S] bool."""
    rows, columns = np.nonzero(region)
    return np.stack([columns + 0.5, rows + 0.5], 1)
