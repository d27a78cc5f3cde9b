"""Faces in whole pictures: BlazeFace (Bazarevsky et al. 2019), its short-range and its full-range network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from preprocess.networks.graph import NetworkName, load_graph
from preprocess.networks.warp import Regions, cut_out, whole_picture

POINTS = 6  # of a face: eyes, nose, mouth, ears
OVERLAP = 0.3  # of two boxes, intersection over union, above which they are the same face
GROWTH = 1.5  # of a face's box, that the mesh looks at


@dataclass(frozen=True)
class Detector:
    """What belongs to a network."""

    name: NetworkName
    side: int  # of its input, px
    anchors: tuple[tuple[int, int], ...]  # stride, how many at each place
    least_score: float


SHORT_RANGE = Detector("short_range", 128, ((8, 2), (16, 6)), 0.5)
FULL_RANGE = Detector("full_range", 192, ((4, 1),), 0.6)


@dataclass(frozen=True)
class Faces:
    """A face of each picture; px."""

    boxes: Tensor  # [B, 2, 2] left, top; right, bottom
    points: Tensor  # [B, 6, 2], of which the first two are the eyes
    scores: Tensor  # [B] 0 without a face

    def regions(self) -> Regions:
        """Where the mesh is looked for; of pictures without a face they mean nothing."""
        left, right = self.points[:, 0], self.points[:, 1]
        angle = torch.atan2(right[:, 1] - left[:, 1], right[:, 0] - left[:, 0])
        low, high = self.boxes[:, 0], self.boxes[:, 1]
        side = GROWTH * (high - low).amax(1, keepdim=True).clamp_min(1.0)
        return Regions(low + (high - low) / 2, side.expand(-1, 2), angle)


class FaceDetector:
    """Finds faces in batches of pictures."""

    def __init__(self, detector: Detector, device: torch.device) -> None:
        self._detector = detector
        self._network = load_graph(detector.name).to(device)
        self._anchors = _anchor_centers(detector).to(device)

    @torch.inference_mode()
    def __call__(self, pictures: Tensor, most: int = 1) -> list[Faces]:
        """The surest face of each picture [B, H, W, 3] uint8, then the next, until none has one, at most so many.

        The pictures are on the detector's device.
        """
        count, height, width, _ = pictures.shape
        side = self._detector.side
        regions = whole_picture(count, height, width, pictures.device, square=True)
        values, logits = self._network(cut_out(pictures, regions, side, black_outside=True) * (2 / 255) - 1)
        scores = logits.squeeze(-1).sigmoid()
        scores = scores * (scores >= self._detector.least_score)
        pairs = values.reshape(count, -1, POINTS + 2, 2) / side
        center = pairs[:, :, :1] + self._anchors[:, None]
        half = pairs[:, :, 1:2] / 2
        places = torch.cat([center - half, center + half, pairs[:, :, 2:] + self._anchors[:, None]], 2)
        longest = max(height, width)
        shift = torch.tensor([longest - width, longest - height], device=pictures.device) / 2
        found: list[Faces] = []
        while len(found) < most and (not found or bool((scores > 0).any())):
            merged, best, scores = _surest(places, scores)
            merged = merged * longest - shift
            found.append(Faces(merged[:, :2], merged[:, 2:], best))
        return found


def _anchor_centers(detector: Detector) -> Tensor:
    """Centers [A, 2] of the anchors, shares of the input."""
    centers = []
    for stride, count in detector.anchors:
        cells = detector.side // stride
        at = (torch.arange(cells) + 0.5) / cells
        grid = torch.stack(torch.meshgrid(at, at, indexing="xy"), -1).reshape(-1, 2)
        centers.append(grid.repeat_interleave(count, 0))
    return torch.cat(centers)


def _surest(places: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted suppression: the surest box of each picture, averaged by their scores with all that overlap it.

    places: [B, A, 8, 2], two corners of a box and points; scores: [B, A]. Returns: its places [B, 8, 2], score [B], and
    the scores of what is left.
    """
    best, index = scores.max(1)
    box = places[torch.arange(len(places), device=places.device), index, :2]
    near = _overlap(box[:, None], places[:, :, :2]) > OVERLAP
    weight = scores * near
    share = weight / weight.sum(1, keepdim=True).clamp_min(1e-9)
    return torch.einsum("ba,baij->bij", share, places), best, scores * ~near


def _overlap(box: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union [B, A]."""
    shared = (
        torch.minimum(box[..., 1, :], boxes[..., 1, :]) - torch.maximum(box[..., 0, :], boxes[..., 0, :])
    ).clamp_min(0)
    area, other = ((one[..., 1, :] - one[..., 0, :]).prod(-1) for one in (box, boxes))
    both = shared.prod(-1)
    return both / (area + other - both)
