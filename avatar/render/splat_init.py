"""Where the first splats of a person stand: lifted from the pixels of chosen frames onto the tracked head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from torch import Tensor

from avatar.core.geometry import Camera, to_camera
from avatar.core.motion_space import MotionSpace
from avatar.core.take import Take, Track, read_frames, read_mattes

CHIN, FOREHEAD = 152, 10
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
UPPER_LIP, LOWER_LIP = 13, 14  # of the inner lips
JAW = (152, 148, 377, 175, 199)  # points of the chin, which move as the lower teeth do
MESH_POINTS = 468  # without the irises
FADE_CM = 1.6  # how far from the mesh its motion reaches
NEIGHBOURS = 6
TONGUE = 0.5  # of the way from the upper to the lower lip in the widest open mouth: what moves with the jaw
LINING, LINING_REACH, LINING_DEPTH_CM = (9, 7), (1.0, 2.0), 2.5  # splats across and down; of the open mouth's size
TEETH_DEPTH_CM = 1.2  # how far the mouth's inside lies behind the lips


@dataclass(frozen=True)
class FirstSplats:
    """Positions and looks of the first splats, in the head frame of the reference pose."""

    means: Tensor  # [N, 3] cm
    log_scales: Tensor  # [N, 3]
    colors: Tensor  # [N, 3] 0..1
    rigidity: Tensor  # [N] 0 torso .. 1 head
    basis: Tensor  # [K, N, 3] cm per unit of expression


def reference_frame(track: Track, frames: list[int]) -> int:
    """The frame nearest to the median pose and expression, among `frames`."""
    index = torch.tensor(frames)
    values = torch.cat([track.rotation[index].flatten(1) * 10, track.translation[index] / 2, track.torso[index]], 1)
    values = torch.cat([values, track.expression[index] / 4], 1)
    distance = (values - values.median(0).values).square().sum(1)
    return frames[int(distance.argmin())]


def lift_splats(
    take: Take, track: Track, space: MotionSpace, *, count: int, generator: torch.Generator
) -> tuple[FirstSplats, int]:
    """Sample `count` splats; returns them and the reference frame.

    Most come from the reference frame, the others from the frame with the widest open mouth (what lies behind the
    lips) so that every part a viewer sees has splats from the start.
    """
    frames = take.training_frames()
    reference = reference_frame(track, frames)
    gap = (track.landmarks[:, 14, 1] - track.landmarks[:, 13, 1])[torch.tensor(frames)]
    widest = frames[int(gap.argmax())]
    mouth_count, cavity = count // 25, _line_mouth(take, track, space, widest)
    body = _lift_frame(take, track, space, reference, count - mouth_count - len(cavity.means), generator, mouth=False)
    mouth = _lift_frame(take, track, space, widest, mouth_count, generator, mouth=True)
    parts = (body, mouth, cavity)
    joined = {
        name: torch.cat([getattr(part, name) for part in parts])
        for name in ("means", "log_scales", "colors", "rigidity")
    }
    return FirstSplats(**joined, basis=torch.cat([part.basis for part in parts], 1)), reference


def _lift_frame(
    take: Take, track: Track, space: MotionSpace, frame: int, count: int, generator: torch.Generator, *, mouth: bool
) -> FirstSplats:
    camera = take.camera
    image = read_frames(take, [frame])[0].float().numpy() / 255
    matte = read_mattes(take, [frame])[0].float().numpy() / 255
    landmarks = track.landmarks[frame].numpy()
    vertices, posed = _pose_mesh(track, space, frame)
    region = _mouth_region(landmarks, camera.size) if mouth else (matte > 0.3).astype(float)
    rows, columns = _sample_pixels(image, region, count, generator)
    depth = _depth_of_pixels(posed[:MESH_POINTS].numpy(), camera, rows, columns) + (TEETH_DEPTH_CM if mouth else 0.0)
    pixels = np.stack([columns + 0.5, rows + 0.5], 1)
    rays = (pixels - camera.size / 2) / camera.focal
    points = torch.from_numpy(np.concatenate([rays * depth[:, None], depth[:, None]], 1)).float()
    means = (points - track.translation[frame]) @ track.rotation[frame]
    spacing = cKDTree(pixels).query(pixels, k=4)[0][:, 1:].mean(1).clip(0.7, 12)
    radius = torch.from_numpy(np.log(0.6 * spacing * depth / camera.focal)).float()
    basis = _mouth_basis(space, landmarks, pixels) if mouth else _spread_basis(space, vertices, means)
    return FirstSplats(
        # the frame's own expression is taken back out, so that the means are neutral
        means=means - torch.einsum("k,knc->nc", track.expression[frame], basis),
        log_scales=radius[:, None].repeat(1, 3),
        colors=torch.from_numpy(image[rows, columns]).float(),
        rigidity=torch.ones(count) if mouth else _rigidity(track, frame, pixels, camera),
        basis=basis,
    )


def _line_mouth(take: Take, track: Track, space: MotionSpace, frame: int) -> FirstSplats:
    """The dark behind teeth and tongue, wider than the mouth was ever open: no background may show through it."""
    landmarks, camera = track.landmarks[frame], take.camera
    lips = landmarks[list(INNER_LIPS), :2]
    low, high = lips.amin(0), lips.amax(0)
    middle, reach = (low + high) / 2, (high - low) / 2 * torch.tensor(LINING_REACH)
    steps = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in LINING), indexing="xy")
    pixels = middle + reach * torch.stack(steps, -1).reshape(-1, 2)
    _, posed = _pose_mesh(track, space, frame)
    depth = float(posed[list(INNER_LIPS), 2].mean()) + LINING_DEPTH_CM
    rays = torch.cat([(pixels - camera.size / 2) / camera.focal, torch.ones(len(pixels), 1)], 1)
    inside = torch.from_numpy(_mouth_region(landmarks.numpy(), camera.size)) > 0
    seen = read_frames(take, [frame])[0][inside].float() / 255
    dark = seen[seen.mean(1).argsort()[: max(1, len(seen) // 5)]].mean(0)
    spacing = float((2 * reach / (torch.tensor(LINING) - 1)).max()) * depth / camera.focal
    count = len(pixels)
    return FirstSplats(
        means=(rays * depth - track.translation[frame]) @ track.rotation[frame],
        log_scales=torch.full((count, 3), float(np.log(0.7 * spacing))),
        colors=dark.repeat(count, 1),
        rigidity=torch.ones(count),
        basis=0.5 * space.basis[:, list(JAW)].mean(1)[:, None].repeat(1, count, 1),
    )


def _pose_mesh(track: Track, space: MotionSpace, frame: int) -> tuple[Tensor, Tensor]:
    """The person's mesh [V, 3] cm with a frame's expression, in the head's and in the camera's frame."""
    vertices = track.neutral + torch.einsum("k,kvc->vc", track.expression[frame], space.basis)
    return vertices, to_camera(vertices, track.rotation[frame], track.translation[frame])


def _sample_pixels(
    image: np.ndarray, region: np.ndarray, count: int, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray]:
    grey = image.mean(2)
    detail = np.hypot(*np.gradient(gaussian_filter(grey, 0.7)))
    weight = region * (0.02 + detail + 0.5 * gaussian_filter(detail, 4))
    weight = weight if weight.sum() > 0 else np.ones_like(weight)
    chosen = torch.multinomial(
        torch.from_numpy(weight.ravel()), count, replacement=bool(count > (weight > 0).sum()), generator=generator
    )
    return np.unravel_index(chosen.numpy(), grey.shape)  # type: ignore[return-value]


def _depth_of_pixels(posed: np.ndarray, camera: Camera, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Depth [n] cm: on the face that of the mesh, around it falling back smoothly to the middle of the head."""
    pixels = camera.focal * posed[:, :2] / posed[:, 2:] + camera.size / 2
    queries = np.stack([columns + 0.5, rows + 0.5], 1)
    inside = LinearNDInterpolator(pixels, posed[:, 2])(queries)
    distance, nearest = cKDTree(pixels).query(queries, k=8)
    border = posed[nearest, 2].mean(1)
    reach = distance[:, 0] * border / camera.focal  # cm beside the face
    behind = border + np.minimum(reach, 3.0)
    return np.where(np.isnan(inside), behind, inside)


def _mouth_region(landmarks: np.ndarray, size: int) -> np.ndarray:
    canvas = Image.new("L", (size, size))
    ImageDraw.Draw(canvas).polygon(
        [(float(x), float(y)) for x, y in landmarks[list(INNER_LIPS), :2]], fill=1, outline=1
    )
    return np.array(canvas, float)


def _spread_basis(space: MotionSpace, vertices: Tensor, means: Tensor) -> Tensor:
    """The mesh's expression basis carried over to points near it [K, n, 3], fading with distance."""
    tree = cKDTree(vertices[:MESH_POINTS].numpy())
    distance, nearest = tree.query(means.numpy(), k=NEIGHBOURS)
    weight = 1 / (distance + 0.05) ** 2
    weight /= weight.sum(1, keepdims=True)
    fade = np.exp(-((np.maximum(distance[:, 0] - 0.3, 0) / FADE_CM) ** 2))
    weights = torch.from_numpy(weight * fade[:, None]).float()
    return torch.einsum("np,knpc->knc", weights, space.basis[:, torch.from_numpy(nearest)])


def _mouth_basis(space: MotionSpace, landmarks: np.ndarray, pixels: np.ndarray) -> Tensor:
    """[K, n, 3]: upper teeth stay with the skull, lower teeth and tongue go with the jaw."""
    upper, lower = landmarks[UPPER_LIP, :2], landmarks[LOWER_LIP, :2]
    down = lower - upper
    depth = (pixels - upper) @ down / max(1.0, float(down @ down))  # 0 at the upper lip, 1 at the lower
    with_jaw = torch.from_numpy(1 / (1 + np.exp(-(depth - TONGUE) / 0.05))).float()
    return with_jaw[None, :, None] * space.basis[:, list(JAW)].mean(1)[:, None]


def _rigidity(track: Track, frame: int, pixels: np.ndarray, camera: Camera) -> Tensor:
    """1 above the jaw, 0 on the torso, a smooth step over the neck."""
    landmarks = track.landmarks[frame].numpy()
    up = landmarks[FOREHEAD, :2] - landmarks[CHIN, :2]
    height = float(np.linalg.norm(up))
    above_chin = (pixels - landmarks[CHIN, :2]) @ up / height**2  # in face heights
    beside = np.abs((pixels - landmarks[CHIN, :2]) @ np.array([-up[1], up[0]])) / height**2
    # away from the face the line sinks less: shoulders start below hair
    return torch.from_numpy(1 / (1 + np.exp(-(above_chin + 0.16 - 0.1 * beside.clip(0, 1)) / 0.05))).float()
