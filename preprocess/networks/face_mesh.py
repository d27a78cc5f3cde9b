"""Landmarks of a face in a region: the attention mesh (Grishchenko et al. 2020), lips, eyes and irises refined."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.landmarks import EYE_CORNERS, IRISES, MESH_POINTS, POINTS
from preprocess.networks.blazeface import GROWTH
from preprocess.networks.graph import Graph, load_graph
from preprocess.networks.warp import Regions, cut_out

SIDE = 192  # of the network's input, px
LEAST_PRESENCE = 0.5  # of a face
LID_POINTS = 16  # of an eye's region, the first: the eye's outline, whose depth the iris has


class FaceMesh:
    """Landmarks of batches of pictures, each in its region."""

    def __init__(self, device: torch.device) -> None:
        self._network = load_graph("face_mesh").to(device)
        self._refined = [torch.tensor(points, device=device) for points in _refined_points(self._network)]

    @torch.inference_mode()
    def __call__(self, pictures: Tensor, regions: Regions) -> tuple[Tensor, Tensor]:
        """Landmarks [B, 478, 3] px (z relative) of pictures [B, H, W, 3] uint8, and the share [B] that sees a face."""
        mesh, *refined, flag = self._network(cut_out(pictures, regions, SIDE) / 255)
        points = torch.zeros(len(mesh), POINTS, 3, device=mesh.device)
        points[:, :MESH_POINTS] = mesh.reshape(len(mesh), MESH_POINTS, 3)
        for index, places in zip(self._refined, refined, strict=True):
            points[:, index, :2] = places
        for eye, iris in ((1, 3), (2, 4)):
            depth = points[:, self._refined[eye][:LID_POINTS], 2].mean(1, keepdim=True)
            points[:, self._refined[iris], 2] = depth
        return _to_picture(points / SIDE, regions), flag.flatten().sigmoid()


def region_of_landmarks(points: Tensor) -> Regions:
    """Where the face of landmarks [B, 478, 3] px is looked for in the next picture."""
    left, right = points[:, EYE_CORNERS[0], :2], points[:, EYE_CORNERS[1], :2]
    angle = torch.atan2(right[:, 1] - left[:, 1], right[:, 0] - left[:, 0])
    low, high = points[..., :2].amin(1), points[..., :2].amax(1)
    side = GROWTH * (high - low).amax(1, keepdim=True).clamp_min(1.0)
    return Regions(low + (high - low) / 2, side.expand(-1, 2), angle)


def _refined_points(network: Graph) -> list[list[int]]:
    """Landmarks that the outputs after the first are of: lips, eyes, irises."""
    lips, left_eye, right_eye = network.regions()
    half = len(IRISES) // 2
    return [lips, left_eye, right_eye, list(IRISES[:half]), list(IRISES[half:])]


def _to_picture(points: Tensor, regions: Regions) -> Tensor:
    """Points [B, N, 3] in shares of regions -> px."""
    cosine, sine = regions.angle.cos(), regions.angle.sin()
    turn = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    places = (points[..., :2] - 0.5) @ turn.mT * regions.size[:, None] + regions.center[:, None]
    return torch.cat([places, points[..., 2:] * regions.size[:, :1, None]], 2)
