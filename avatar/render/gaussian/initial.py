"""Where the splats of a person begin: lifted from the pixels of chosen frames onto the tracked head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from torch import Tensor

from avatar.core.geometry import Camera, project, to_camera, to_rays
from avatar.core.landmarks import CHIN, CHIN_POINTS, FOREHEAD, INNER_LIPS, LOWER_LIP, MESH_POINTS, UPPER_LIP
from avatar.core.motion_space import MotionSpace
from avatar.core.take import Take, Track, read_frames, read_mattes
from avatar.render.gaussian.order import morton_order
from avatar.render.mesh import spread_basis
from avatar.render.surface import surface_depth

PERSON = 0.3  # matte above which a pixel may be lifted: hair's edge too, which is half transparent
BESIDE_FACE_CM = 3.0  # how far the surface falls back beside the face, at most: about where the ears are
MOUTH_SHARE = 25  # one splat in so many is lifted from the open mouth, about its share of the face's pixels
JAW_FROM, JAW_STEP = 0.5, 0.05  # of the way from upper to lower lip: beyond it teeth and tongue move with the jaw
LINING, LINING_REACH, LINING_DEPTH_CM = (9, 7), (1.0, 2.0), 2.5  # splats across and down; of the open mouth's size
LINING_WITH_JAW = 0.5  # of the jaw's motion: it hangs between the skull and the jaw
TEETH_DEPTH_CM = 1.2  # how far the mouth's inside lies behind the lips
DARKEST = 5  # the mouth's lining has the mean colour of one pixel in so many, the darkest: not teeth, not tongue
SPACING_PX = (0.7, 12)  # of neighbouring pixels: below the pixel splats alias, above it they blur
SPLAT_SIZE, LINING_SIZE = 0.6, 0.7  # standard deviation, of the spacing: neighbours overlap without a gap
NECK_LINE, SHOULDER_RISE, NECK_FADE = 0.16, 0.1, 0.05  # face heights below the chin; less beside it; of the step


@dataclass(frozen=True)
class InitialSplats:
    """Positions and colours of the first splats, in the head frame, without expression."""

    means: Tensor  # [N, 3] cm
    log_scales: Tensor  # [N, 3]
    colors: Tensor  # [N, 3] 0..1
    rigidity: Tensor  # [N] 0 torso .. 1 head
    basis: Tensor  # [K, N, 3] cm per unit of expression


def lift_splats(
    take: Take, track: Track, space: MotionSpace, *, reference: int, count: int, generator: torch.Generator
) -> InitialSplats:
    """Sample `count` splats.

    Most come from the reference frame, the others from the frame with the widest open mouth (what lies behind the
    lips), so that every part a viewer sees has splats from the start.
    """
    frames = take.training_frames()
    opening = (track.landmarks[:, LOWER_LIP, 1] - track.landmarks[:, UPPER_LIP, 1])[torch.tensor(frames)]
    widest = frames[int(opening.argmax())]
    mouth_count, lining = count // MOUTH_SHARE, _line_mouth(take, track, space, widest)
    body = _lift_frame(take, track, space, reference, count - mouth_count - len(lining.means), generator, mouth=False)
    mouth = _lift_frame(take, track, space, widest, mouth_count, generator, mouth=True)
    parts = (body, mouth, lining)
    order = morton_order(torch.cat([part.means for part in parts]))
    joined = {
        name: torch.cat([getattr(part, name) for part in parts])[order]
        for name in ("means", "log_scales", "colors", "rigidity")
    }
    return InitialSplats(**joined, basis=torch.cat([part.basis for part in parts], 1)[:, order])


def _lift_frame(
    take: Take, track: Track, space: MotionSpace, frame: int, count: int, generator: torch.Generator, *, mouth: bool
) -> InitialSplats:
    camera = take.camera
    image = read_frames(take, [frame])[0].float().numpy() / 255
    matte = read_mattes(take, [frame])[0].float().numpy() / 255
    landmarks = track.landmarks[frame].numpy()
    vertices, posed = _pose_mesh(track, space, frame)
    region = _mouth_region(landmarks, camera.size) if mouth else (matte > PERSON).astype(float)
    rows, columns = _sample_pixels(image, region, count, generator)
    pixels = np.stack([columns + 0.5, rows + 0.5], 1)
    depth = _depth_of_pixels(posed[:MESH_POINTS], camera, torch.from_numpy(pixels)).numpy()
    depth = depth + (TEETH_DEPTH_CM if mouth else 0.0)
    rays = to_rays(pixels, camera)
    points = torch.from_numpy(np.concatenate([rays * depth[:, None], depth[:, None]], 1)).float()
    means = (points - track.translation[frame]) @ track.rotation[frame]
    spacing = cKDTree(pixels).query(pixels, k=4)[0][:, 1:].mean(1).clip(*SPACING_PX)
    radius = torch.from_numpy(np.log(SPLAT_SIZE * spacing * depth / camera.focal)).float()
    if mouth:
        basis = _mouth_basis(space, landmarks, pixels)
    else:
        basis = spread_basis(space.basis, vertices[:MESH_POINTS], means.double())
    return InitialSplats(
        # the frame's own expression is taken back out, so that the means are neutral
        means=means - torch.einsum("k,knc->nc", track.expression[frame], basis),
        log_scales=radius[:, None].repeat(1, 3),
        colors=torch.from_numpy(image[rows, columns]).float(),
        rigidity=torch.ones(count) if mouth else _rigidity(landmarks, pixels),
        basis=basis,
    )


def _line_mouth(take: Take, track: Track, space: MotionSpace, frame: int) -> InitialSplats:
    """The dark behind teeth and tongue, wider than the mouth was ever open: no background may show through it."""
    landmarks, camera = track.landmarks[frame], take.camera
    lips = landmarks[list(INNER_LIPS), :2]
    low, high = lips.amin(0), lips.amax(0)
    middle, reach = (low + high) / 2, (high - low) / 2 * torch.tensor(LINING_REACH)
    grid = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in LINING), indexing="xy")
    pixels = middle + reach * torch.stack(grid, -1).reshape(-1, 2)
    _, posed = _pose_mesh(track, space, frame)
    depth = float(posed[list(INNER_LIPS), 2].mean()) + LINING_DEPTH_CM
    rays = torch.cat([to_rays(pixels, camera), torch.ones(len(pixels), 1)], 1)
    inside = torch.from_numpy(_mouth_region(landmarks.numpy(), camera.size)) > 0
    seen = read_frames(take, [frame])[0][inside].float() / 255
    dark = seen[seen.mean(1).argsort()[: max(1, len(seen) // DARKEST)]].mean(0)
    spacing = float((2 * reach / (torch.tensor(LINING) - 1)).max()) * depth / camera.focal
    count = len(pixels)
    return InitialSplats(
        means=(rays * depth - track.translation[frame]) @ track.rotation[frame],
        log_scales=torch.full((count, 3), float(np.log(LINING_SIZE * spacing))),
        colors=dark.repeat(count, 1),
        rigidity=torch.ones(count),
        basis=LINING_WITH_JAW * _jaw_basis(space)[:, None].repeat(1, count, 1),
    )


def _pose_mesh(track: Track, space: MotionSpace, frame: int) -> tuple[Tensor, Tensor]:
    """The person's mesh [V, 3] cm with a frame's expression, in the head's and in the camera's frame."""
    vertices = track.neutral + torch.einsum("k,kvc->vc", track.expression[frame], space.basis)
    return vertices, to_camera(vertices, track.rotation[frame], track.translation[frame])


def _sample_pixels(
    image: np.ndarray, region: np.ndarray, count: int, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns [count] of pixels in a region, more of them where there is detail or some near."""
    grey = image.mean(2)
    detail = np.hypot(*np.gradient(gaussian_filter(grey, 0.7)))
    weight = region * (0.02 + detail + 0.5 * gaussian_filter(detail, 4))
    weight = weight if weight.sum() > 0 else np.ones_like(weight)
    chosen = torch.multinomial(
        torch.from_numpy(weight.ravel()), count, replacement=bool(count > (weight > 0).sum()), generator=generator
    )
    return np.unravel_index(chosen.numpy(), grey.shape)  # type: ignore[return-value]


def _depth_of_pixels(posed: Tensor, camera: Camera, pixels: Tensor) -> Tensor:
    """Depth [P] cm at pixels [P, 2]: on the face that of the mesh, beside it falling back as steeply as it is far."""

    def fall(distance: Tensor, border: Tensor) -> Tensor:
        return (distance * border / camera.focal).clamp_max(BESIDE_FACE_CM)

    return surface_depth(project(posed, camera), posed[:, 2], pixels, fall)


def _mouth_region(landmarks: np.ndarray, size: int) -> np.ndarray:
    canvas = Image.new("L", (size, size))
    outline = [(float(x), float(y)) for x, y in landmarks[list(INNER_LIPS), :2]]
    ImageDraw.Draw(canvas).polygon(outline, fill=1, outline=1)
    return np.array(canvas, float)


def _jaw_basis(space: MotionSpace) -> Tensor:
    """[K, 3]: how the jaw moves, which the chin's skin shows."""
    return space.basis[:, list(CHIN_POINTS)].mean(1)


def _mouth_basis(space: MotionSpace, landmarks: np.ndarray, pixels: np.ndarray) -> Tensor:
    """[K, P, 3]: upper teeth stay with the skull, lower teeth and tongue go with the jaw."""
    upper, lower = landmarks[UPPER_LIP, :2], landmarks[LOWER_LIP, :2]
    down = lower - upper
    depth = (pixels - upper) @ down / max(1.0, float(down @ down))  # 0 at the upper lip, 1 at the lower
    with_jaw = torch.from_numpy(1 / (1 + np.exp(-(depth - JAW_FROM) / JAW_STEP))).float()
    return with_jaw[None, :, None] * _jaw_basis(space)[:, None]


def _rigidity(landmarks: np.ndarray, pixels: np.ndarray) -> Tensor:
    """1 above the jaw, 0 on the torso [P], a smooth step over the neck."""
    up = landmarks[FOREHEAD, :2] - landmarks[CHIN, :2]
    height = float(np.linalg.norm(up))
    above_chin = (pixels - landmarks[CHIN, :2]) @ up / height**2  # in face heights
    beside = np.abs((pixels - landmarks[CHIN, :2]) @ np.array([-up[1], up[0]])) / height**2
    # away from the face the line sinks less: shoulders start below hair
    above = above_chin + NECK_LINE - SHOULDER_RISE * beside.clip(0, 1)
    return torch.from_numpy(1 / (1 + np.exp(-above / NECK_FADE))).float()
