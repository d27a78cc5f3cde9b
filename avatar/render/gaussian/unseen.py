"""What no frame shows: a surface behind the skin, and the sides of the head behind its outline.

Both are coarse, and hidden as long as the person stands as in the frame that they are made of; when they turn further
than the clip shows, there is skin and hair where splats part, and not the background.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import binary_dilation, binary_erosion
from scipy.spatial import cKDTree
from torch import Tensor

from avatar.core.landmarks import LEFT_EYE_OUTLINE, MESH_POINTS, RIGHT_EYE_OUTLINE
from avatar.core.motion_space import MotionSpace
from avatar.render.gaussian.lifting import OWN, FrameView, InitialSplats, join_splats, make_splats
from avatar.render.gaussian.skin import spread_on_skin

BACK_CM, BACK_STEP_CM = 0.6, 0.7  # how far the surface behind lies behind the skin; between its splats
BACK_SIZE, MOST_STEPS = 0.6, 2.5  # standard deviation, of the spacing; that in steps, at most
EDGE_CM = 0.7  # from the outline: what lies behind must not show beside it
HEAD_DEPTH_CM, SIDE_STEP_CM = 8.0, 0.9  # from the outline of a head to its back; between rows
SIDE_SHADE = 0.25  # light lost towards the back
HEAD = 0.97  # rigidity from which on a pixel is of the head, and not of neck or shoulders

Rigidity = Callable[[FrameView, np.ndarray], Tensor]


def back_surface(view: FrameView, space: MotionSpace, *, rigidity: Rigidity) -> InitialSplats:
    """Splats behind the surface of the whole person, and behind the outline of the head.

    rigidity: of pixels [P, 2] of a frame, 0 torso .. 1 head.
    """
    inside = binary_erosion(view.matte > OWN, iterations=max(1, round(EDGE_CM / view.pixel_cm)), border_value=1)
    return join_splats([_behind(view, space, inside, rigidity), _sides(view, space, inside, rigidity)])


def _behind(view: FrameView, space: MotionSpace, inside: np.ndarray, rigidity: Rigidity) -> InitialSplats:
    step = max(2, round(BACK_STEP_CM / view.pixel_cm))
    openings = view.mouth + view.fill(LEFT_EYE_OUTLINE) + view.fill(RIGHT_EYE_OUTLINE) > 0
    kept = inside & ~binary_dilation(openings, iterations=step)
    rows, columns = (
        part.reshape(-1) for part in np.mgrid[step // 2 : view.camera.size : step, step // 2 : view.camera.size : step]
    )
    chosen = kept[rows, columns]
    rows, columns = rows[chosen], columns[chosen]
    pixels = np.stack([columns + 0.5, rows + 0.5], 1)
    depth = view.depth(pixels) + BACK_CM
    means = view.to_head(pixels, depth)
    basis = spread_on_skin(space.basis[:, :MESH_POINTS], view.mesh[:MESH_POINTS], means.double())
    spacing = cKDTree(means.numpy()).query(means.numpy(), k=5)[0][:, 1:].mean(1)  # more where it falls back
    sizes = torch.from_numpy(BACK_SIZE * spacing.clip(0, MOST_STEPS * step * view.pixel_cm))
    colors = torch.from_numpy(view.blurred[rows, columns])
    return make_splats(view.without_expression(means, basis), sizes, colors, basis, rigidity=rigidity(view, pixels))


def _sides(view: FrameView, space: MotionSpace, inside: np.ndarray, rigidity: Rigidity) -> InitialSplats:
    """Rows of the head's outline, each further back and narrower, as the sections of an ellipsoid are."""
    outline = inside & ~binary_erosion(inside, border_value=1)
    rows, columns = np.nonzero(outline)
    pixels = np.stack([columns + 0.5, rows + 0.5], 1)
    of_head = (rigidity(view, pixels) > HEAD).numpy()
    step = max(1, round(SIDE_STEP_CM / view.pixel_cm / 1.4))
    pixels = pixels[of_head][::step] if of_head.any() else pixels[:1]
    start = view.to_head(pixels, view.depth(pixels))
    center = view.mesh[:MESH_POINTS].mean(0)
    rows_back = torch.arange(1, int(HEAD_DEPTH_CM / SIDE_STEP_CM)) * SIDE_STEP_CM
    share = rows_back / HEAD_DEPTH_CM
    narrow = (1 - share.square()).sqrt()
    offset = start - center
    means = torch.stack(
        [
            center + torch.cat([offset[:, :2] * n, offset[:, 2:] + back], 1)
            for n, back in zip(narrow, rows_back, strict=True)
        ]
    ).reshape(-1, 3)
    places = pixels.astype(int)
    colors = torch.from_numpy(view.blurred[places[:, 1], places[:, 0]])
    shaded = ((1 - SIDE_SHADE * share)[:, None, None] * colors).reshape(-1, 3)
    return make_splats(means, BACK_SIZE * SIDE_STEP_CM, shaded, torch.zeros(space.modes, len(means), 3))
