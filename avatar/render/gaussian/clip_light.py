"""The light that a clip was filmed in, found on the skin of its face.

A point of the skin has a colour of its own, which stays, and receives light that depends on its normal alone. Both are
fitted together to log colours of many frames; colours of points are drawn towards one another, so that what changes
smoothly over the face is taken for light.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.landmarks import (
    BROWS,
    INNER_LIPS,
    LEFT_EYE_OUTLINE,
    MESH_POINTS,
    OUTER_LIPS,
    RIGHT_EYE_OUTLINE,
)
from avatar.core.light import DISPLAY, LUMINANCE, TERMS, ClipLight, products, to_matrices
from avatar.core.motion_space import load_space
from avatar.core.take import Take, Track, read_frames
from avatar.render.base import Renderer
from avatar.render.gaussian.normals import find_normals, mesh_normals
from avatar.render.gaussian.renderer import GaussianRenderer

FRAMES = 24  # looked at, of as many directions of the head as there are
FACING = -0.35  # third component of normals that the camera sees well
AROUND = 1 / 100  # of the picture's side, over which a point's colour is averaged
OWN_COLOUR, NOISE = 0.12, 0.1  # deviations of log colour: between points of a face, and between looks at one
WEAK = 1e-3  # penalty of the light's coefficients: ten products of unit vectors are dependent
ROUNDS, ODD = 4, 0.25  # of robust fitting; log colour off the fit from which a look counts less
DARKEST = 0.002  # of white, linear


def find_clip_light(renderer: Renderer, take: Take, track: Track) -> ClipLight | None:
    """The light that a clip was filmed in, for a renderer that was trained on it; None where it is not of splats."""
    if not isinstance(renderer, GaussianRenderer):
        return None
    triangles = load_space().triangles
    matrices, explained = find_light(take, track, triangles)
    return ClipLight(find_normals(renderer, track.neutral, triangles), matrices, explained)


def find_light(take: Take, track: Track, triangles: Tensor) -> tuple[Tensor, float]:
    """The light of a clip [3, 4, 4] as `ClipLight` has it, and the share of the skin's variance that it explains.

    triangles: [F, 3] of the face's mesh.
    """
    chosen = _spread(track.rotation, take.training_frames())
    face = track.neutral[:MESH_POINTS]
    normals = torch.stack([mesh_normals(face @ track.rotation[one].mT, triangles) for one in chosen])
    skin = _skin_points()
    logs = _log_colours(take, track, chosen)[:, skin]  # [F, V, 3]
    basis = products(normals[:, skin])  # [F, V, 10]
    seen = (normals[:, skin, 2] < FACING).float()
    fitted = _fit(basis, logs, seen)  # [3, 10]
    weight = torch.tensor(LUMINANCE)
    bright = logs @ weight
    rest = bright - (basis @ fitted.mT) @ weight
    explained = 1 - _variance(rest, seen) / max(_variance(bright, seen), 1e-9)
    mean = (basis * seen[..., None]).sum((0, 1)) / seen.sum()
    fitted[:, 0] -= fitted @ mean
    return to_matrices(fitted), max(0.0, min(1.0, explained))


def _spread(rotation: Tensor, frames: list[int]) -> list[int]:
    """Frames whose heads look into directions as different as possible: each the farthest from those before."""
    looks = rotation[frames][:, :, 2]
    chosen, distance = [0], torch.full((len(frames),), torch.inf)
    while len(chosen) < min(FRAMES, len(frames)):
        distance = torch.minimum(distance, (looks - looks[chosen[-1]]).norm(dim=1))
        chosen.append(int(distance.argmax()))
    return [frames[index] for index in sorted(set(chosen))]


def _skin_points() -> list[int]:
    """Mesh points of bare skin."""
    other = {*OUTER_LIPS, *INNER_LIPS, *LEFT_EYE_OUTLINE, *RIGHT_EYE_OUTLINE, *BROWS[0], *BROWS[1]}
    return [point for point in range(MESH_POINTS) if point not in other]


def _log_colours(take: Take, track: Track, frames: list[int]) -> Tensor:
    """Log linear colours [F, 468, 3] of mesh points in frames."""
    size = take.camera.size
    around = max(1, round(AROUND * size)) // 2 * 2 + 1
    sampled = []
    for frame in frames:
        picture = read_frames(take, [frame])[0].permute(2, 0, 1)[None].float() / 255
        linear = functional.avg_pool2d(picture.pow(DISPLAY), around, 1, around // 2, count_include_pad=False)
        places = (track.landmarks[frame, :MESH_POINTS, :2] / size * 2 - 1)[None, None]
        sampled.append(functional.grid_sample(linear, places, "bilinear", "border", align_corners=False)[0, :, 0].mT)
    return torch.stack(sampled).clamp_min(DARKEST).log()


def _fit(basis: Tensor, logs: Tensor, seen: Tensor) -> Tensor:
    """Coefficients [3, 10] of the light for log colours [F, V, 3]; seen: [F, V] weights."""
    views, points = seen.shape
    system = torch.zeros(views, points, TERMS + points)
    system[..., :TERMS] = basis
    system[:, range(points), range(TERMS, TERMS + points)] = 1.0
    system, target = system.flatten(0, 1), logs.flatten(0, 1)
    penalty = torch.full((TERMS + points,), (NOISE / OWN_COLOUR) ** 2 * views)
    penalty[:TERMS] = WEAK * views
    penalty[0] = 0.0
    weight = seen.flatten()
    for _ in range(ROUNDS):
        weighted = system * weight[:, None]
        normal = (weighted.mT @ system).double() + penalty.diag().double()
        solution = torch.linalg.solve(normal, (weighted.mT @ target).double()).float()
        off = (target - system @ solution) @ torch.tensor(LUMINANCE)
        weight = seen.flatten() / (1 + (off / ODD).square())
    return solution[:TERMS].mT.contiguous()


def _variance(values: Tensor, weight: Tensor) -> float:
    mean = (values * weight).sum() / weight.sum()
    return float(((values - mean).square() * weight).sum() / weight.sum())
