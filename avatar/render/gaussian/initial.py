"""Where the splats of a person begin: lifted from the pixels of chosen frames onto the tracked head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from torch import Tensor

from avatar.core.eyes import are_shut
from avatar.core.landmarks import CHIN, FOREHEAD, INNER_LIPS, LOWER_LIP, MESH_POINTS, UPPER_LIP
from avatar.core.motion_space import MotionSpace
from avatar.core.take import Take, Track
from avatar.render.gaussian.border import lift_border
from avatar.render.gaussian.eyeballs import give_gaze, line_eyes
from avatar.render.gaussian.lids import fold_lids, shut_lids
from avatar.render.gaussian.lifting import (
    FrameView,
    InitialSplats,
    begin_to_learn,
    jaw_basis,
    join_splats,
    make_splats,
    opening_basis,
    stretch,
    thin_splats,
    view_frame,
)
from avatar.render.gaussian.mouth import make_mouth
from avatar.render.gaussian.skin import MOUTH, place_in_slit, spread_on_skin
from avatar.render.gaussian.unseen import back_surface

PERSON = 0.3  # matte above which a pixel may be lifted: hair's edge too, which is half transparent
MOUTH_SHARE = 25  # one splat in so many is lifted from the open mouth, about its share of the face's pixels
OPEN_CM = 0.5  # gap of the lips from which on a frame shows what is between them: half a lower incisor
MOST_MADE = 0.5  # of all splats, that are not lifted from the reference frame
FEW_FRAMES, MORE_OPAQUE = 25, 2.0  # of which, what lies behind never shows, skin does not learn to hide it; logits
LINE_CM, FADE_BY_CM = 0.14, 12.0  # from the line of the lips: the shadow there; logits it loses by each cm of opening
JAW_FROM, JAW_STEP = 0.5, 0.05  # of the way from upper to lower lip: beyond it teeth and tongue move with the jaw
LINING, LINING_REACH, LINING_DEPTH_CM = (9, 7), (1.0, 2.0), 2.5  # splats across and down; of the open mouth's size
LINING_WITH_JAW = 0.5  # of the jaw's motion: it hangs between the skull and the jaw
TEETH_DEPTH_CM = 1.2  # how far the mouth's inside lies behind the lips
DARKEST = 5  # the mouth's lining has the mean colour of one pixel in so many, the darkest: not teeth, not tongue
SPACING_PX = (0.7, 12)  # of neighbouring pixels: below the pixel splats alias, above it they blur
SPLAT_SIZE, LINING_SIZE = 0.6, 0.7  # standard deviation, of the spacing: neighbours overlap without a gap
NECK_LINE, SHOULDER_RISE, NECK_FADE = 0.16, 0.1, 0.05  # face heights below the chin; less beside it; of the step


def lift_splats(
    take: Take, track: Track, space: MotionSpace, *, reference: int, count: int, generator: torch.Generator
) -> InitialSplats:
    """Sample `count` splats.

    Most come from the reference frame; what lies behind the lips from the frame with the widest open mouth, or made
    where no frame shows it; and what lies behind the surface, which no frame shows, is made, so that every part that a
    viewer may see has splats from the start.
    """
    view = view_frame(take, track, space, reference)
    frames = take.training_frames()
    few, never_shut = len(frames) < FEW_FRAMES, not bool(are_shut(track.eyes[frames]).any())
    back = back_surface(view, space, rigidity=_rigidity)
    parts = [
        *_inside_mouth(take, track, space, view, count // MOUTH_SHARE, generator),
        *([fold_lids(view, space)] if never_shut else []),
        line_eyes(view, space),
        *lift_border(take, track, space, view, rigidity=_rigidity),
        # heads that turn in a clip show where it is right and where it lies beside the person
        back if few else replace(back, **begin_to_learn(back.count)),
    ]
    parts = thin_splats(parts, int(MOST_MADE * count))
    body = _lift_body(view, space, count - sum(part.count for part in parts), generator)
    if few:
        body = replace(body, opacity_logits=body.opacity_logits + MORE_OPAQUE)
    return join_splats([shut_lids(view, body) if never_shut else body, *parts])


def _inside_mouth(
    take: Take, track: Track, space: MotionSpace, view: FrameView, count: int, generator: torch.Generator
) -> list[InitialSplats]:
    frames = take.training_frames()
    opening = (track.landmarks[:, LOWER_LIP, 1] - track.landmarks[:, UPPER_LIP, 1])[torch.tensor(frames)]
    widest = view_frame(take, track, space, frames[int(opening.argmax())])
    if float(opening.max()) * widest.pixel_cm < OPEN_CM:
        return [make_mouth(view, space)]
    return [_lift_mouth(widest, space, count, generator), _line_mouth(widest, space)]


def _lift_body(view: FrameView, space: MotionSpace, count: int, generator: torch.Generator) -> InitialSplats:
    """Skin, eyes, hair and clothes, lifted onto the surface; what is of the torso, as it lies at rest."""
    pixels, colors = _sample_pixels(view.own_colors, (view.matte > PERSON).astype(float), count, generator)
    depth, rigidity = view.depth(pixels), _rigidity(view, pixels)
    places = view.at_rest(pixels) + rigidity.numpy()[:, None] * (pixels - view.at_rest(pixels))
    means = view.to_head(places, depth)
    basis = spread_on_skin(space.basis[:, :MESH_POINTS], view.mesh[:MESH_POINTS], means.double())
    body = _lifted(view, places, colors, depth, basis, rigidity)
    body = stretch(body, view.steepness(pixels))
    return give_gaze(view, _fade_line(view, space, body, means))


def _fade_line(view: FrameView, space: MotionSpace, body: InitialSplats, points: Tensor) -> InitialSplats:
    """The same splats, those of the shadow between shut lips fading as they part; points [N, 3]: as the frame shows."""
    place, gap = place_in_slit(MOUTH, view.mesh, points)
    on_line = (((place - 0.5).abs() * gap < LINE_CM) & (gap < 2 * LINE_CM)).float()
    fading = body.fading.clone()
    fading[: space.modes] -= FADE_BY_CM * opening_basis(space)[:, None] * on_line
    rest = view.expression @ fading[: space.modes]
    return replace(body, fading=fading, opacity_logits=body.opacity_logits - rest)


def _lift_mouth(view: FrameView, space: MotionSpace, count: int, generator: torch.Generator) -> InitialSplats:
    """What is seen between the lips."""
    pixels, colors = _sample_pixels(view.image, view.mouth, count, generator)
    basis = _mouth_basis(view, space, pixels)
    return _lifted(view, pixels, colors, view.depth(pixels) + TEETH_DEPTH_CM, basis, torch.ones(count))


def _lifted(
    view: FrameView, pixels: np.ndarray, colors: np.ndarray, depth: np.ndarray, basis: Tensor, rigidity: Tensor
) -> InitialSplats:
    means = view.to_head(pixels, depth)
    spacing = cKDTree(pixels).query(pixels, k=4)[0][:, 1:].mean(1).clip(*SPACING_PX)
    sizes = torch.from_numpy(SPLAT_SIZE * spacing * depth / view.camera.focal)
    return make_splats(
        view.without_expression(means, basis),
        sizes,
        torch.from_numpy(colors),
        basis,
        rigidity=rigidity,
        **begin_to_learn(len(means)),
    )


def _line_mouth(view: FrameView, space: MotionSpace) -> InitialSplats:
    """The dark behind teeth and tongue, wider than the mouth was ever open: no background may show through it."""
    lips = torch.from_numpy(view.landmarks[list(INNER_LIPS), :2])
    low, high = lips.amin(0), lips.amax(0)
    middle, reach = (low + high) / 2, (high - low) / 2 * torch.tensor(LINING_REACH)
    grid = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in LINING), indexing="xy")
    pixels = (middle + reach * torch.stack(grid, -1).reshape(-1, 2)).numpy()
    depth = float(view.posed[list(INNER_LIPS), 2].mean()) + LINING_DEPTH_CM
    seen = torch.from_numpy(view.image[view.mouth > 0]).float()
    dark = seen[seen.mean(1).argsort()[: max(1, len(seen) // DARKEST)]].mean(0)
    spacing = float((2 * reach / (torch.tensor(LINING) - 1)).max()) * depth / view.camera.focal
    count = len(pixels)
    return make_splats(
        view.to_head(pixels, np.full(count, depth)),
        LINING_SIZE * spacing,
        dark.repeat(count, 1),
        LINING_WITH_JAW * jaw_basis(space)[:, None].repeat(1, count, 1),
        **begin_to_learn(count),
    )


def _sample_pixels(
    image: np.ndarray, region: np.ndarray, count: int, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The middles [count, 2] of pixels in a region and their colours, more of them where there is detail or near it."""
    grey = image.mean(2)
    detail = np.hypot(*np.gradient(gaussian_filter(grey, 0.7)))
    weight = region * (0.02 + detail + 0.5 * gaussian_filter(detail, 4))
    weight = weight if weight.sum() > 0 else np.ones_like(weight)
    chosen = torch.multinomial(
        torch.from_numpy(weight.ravel()), count, replacement=bool(count > (weight > 0).sum()), generator=generator
    )
    rows, columns = np.unravel_index(chosen.numpy(), grey.shape)
    return np.stack([columns + 0.5, rows + 0.5], 1), image[rows, columns]


def _mouth_basis(view: FrameView, space: MotionSpace, pixels: np.ndarray) -> Tensor:
    """[K, P, 3]: upper teeth stay with the skull, lower teeth and tongue go with the jaw."""
    upper, lower = view.landmarks[UPPER_LIP, :2], view.landmarks[LOWER_LIP, :2]
    down = lower - upper
    depth = (pixels - upper) @ down / max(1.0, float(down @ down))  # 0 at the upper lip, 1 at the lower
    with_jaw = torch.from_numpy(1 / (1 + np.exp(-(depth - JAW_FROM) / JAW_STEP))).float()
    return with_jaw[None, :, None] * jaw_basis(space)[:, None]


def _rigidity(view: FrameView, pixels: np.ndarray) -> Tensor:
    """1 above the jaw, 0 on the torso [P], a smooth step over the neck."""
    forehead, chin = view.landmarks[FOREHEAD, :2], view.landmarks[CHIN, :2]
    up = forehead - chin
    height = float(np.linalg.norm(up))
    above_chin = (pixels - chin) @ up / height**2  # in face heights
    beside = np.abs((pixels - chin) @ np.array([-up[1], up[0]])) / height**2
    # away from the face the line sinks less: shoulders start below hair
    above = above_chin + NECK_LINE - SHOULDER_RISE * beside.clip(0, 1)
    return torch.from_numpy(1 / (1 + np.exp(-above / NECK_FADE))).float()
