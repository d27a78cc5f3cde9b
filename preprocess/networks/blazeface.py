"""Faces in whole pictures: BlazeFace (Bazarevsky et al. 2019), its short-range and its full-range network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from preprocess.networks.graph import load_graph
from preprocess.networks.warp import Regions, cut_out, whole_picture

POINTS = 6  # of a face: eyes, nose, mouth, ears
OVERLAP = 0.3  # of two boxes, intersection over union, above which they are the same face
GROWTH = 1.5  # of a face's box, that the mesh looks at


@dataclass(frozen=True)
class Detector:
    """What belongs to a network."""

    name: str
    side: int  # of its input, px
    anchors: tuple[tuple[int, int], ...]  # stride, how many at each place
    least_score: float


SHORT_RANGE = Detector("short_range", 128, ((8, 2), (16, 6)), 0.5)
FULL_RANGE = Detector("full_range", 192, ((4, 1),), 0.6)


@dataclass(frozen=True)
class Faces:
    """Faces of one picture, the surest first; px of the picture."""

    boxes: Tensor  # [N, 4] left, top, right, bottom
    points: Tensor  # [N, 6, 2], of which the first two are the eyes
    scores: Tensor  # [N]


class FaceDetector:
    """Finds faces in batches of pictures."""

    def __init__(self, detector: Detector, device: torch.device) -> None:
        self._detector = detector
        self._network = load_graph(detector.name).to(device)  # type: ignore[arg-type]
        self._anchors = _anchor_centers(detector).to(device)

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> list[Faces]:
        """The faces of pictures [B, H, W, 3] uint8, on the detector's device."""
        count, height, width, _ = pictures.shape
        side = self._detector.side
        regions = whole_picture(count, height, width, pictures.device, square=True)
        values, scores = self._network(cut_out(pictures, regions, side, black_outside=True) * (2 / 255) - 1)
        values, scores = (part.float().cpu() for part in (values, scores.squeeze(-1).sigmoid()))
        anchors = self._anchors.cpu()
        longest = max(height, width)
        shift = torch.tensor([longest - width, longest - height]) / 2
        found = []
        for one, score in zip(values, scores, strict=True):
            sure = score >= self._detector.least_score
            pairs = one[sure].reshape(-1, POINTS + 2, 2) / side
            center, size = pairs[:, 0] + anchors[sure], pairs[:, 1]
            boxes = torch.cat([center - size / 2, center + size / 2], 1)
            faces = _merge(boxes, pairs[:, 2:] + anchors[sure, None], score[sure])
            places = torch.cat([faces.boxes.reshape(-1, 2, 2), faces.points], 1) * longest - shift
            found.append(Faces(places[:, :2].reshape(-1, 4), places[:, 2:], faces.scores))
        return found


def region_of_face(faces: Faces) -> Regions:
    """The region [1] that the mesh is looked for in: of the surest face."""
    left, right = faces.points[:1, 0], faces.points[:1, 1]
    angle = torch.atan2(right[:, 1] - left[:, 1], right[:, 0] - left[:, 0])
    low, high = faces.boxes[:1, :2], faces.boxes[:1, 2:]
    side = GROWTH * (high - low).amax(1, keepdim=True)
    return Regions((low + high) / 2, side.expand(-1, 2), angle)


def _anchor_centers(detector: Detector) -> Tensor:
    """Centers [A, 2] of the anchors, shares of the input."""
    centers = []
    for stride, count in detector.anchors:
        cells = detector.side // stride
        at = (torch.arange(cells) + 0.5) / cells
        grid = torch.stack(torch.meshgrid(at, at, indexing="xy"), -1).reshape(-1, 2)
        centers.append(grid.repeat_interleave(count, 0))
    return torch.cat(centers)


def _merge(boxes: Tensor, points: Tensor, scores: Tensor) -> Faces:
    """Weighted suppression: boxes that overlap the surest are averaged with it, by their scores."""
    left, merged = scores.argsort(descending=True, stable=True), list[tuple[Tensor, Tensor, Tensor]]()
    while len(left):
        near = _overlap(boxes[left[0]], boxes[left]) > OVERLAP
        weight = scores[left[near]]
        share = weight / weight.sum()
        merged.append((share @ boxes[left[near]], torch.einsum("n,nij->ij", share, points[left[near]]), scores[left[0]]))
        left = left[~near]
    if not merged:
        return Faces(boxes, points, scores)
    return Faces(*(torch.stack(parts) for parts in zip(*merged, strict=True)))


def _overlap(box: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union [N]."""
    shared = (torch.minimum(box[2:], boxes[:, 2:]) - torch.maximum(box[:2], boxes[:, :2])).clamp_min(0).prod(1)
    return shared / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - shared)
