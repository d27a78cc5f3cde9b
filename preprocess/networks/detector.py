"""A person detector of networks in torch, on a CPU or a GPU.

The region that a frame's landmarks are looked for in comes from the landmarks of the frame before, as in MediaPipe's
face mesh. A CPU takes frame after frame. On a GPU all frames of a batch are looked at together, first where a face was
detected, then again and again where the last pass saw the frame before, until nothing moves: the same fixed point.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from preprocess.networks.blazeface import FULL_RANGE, SHORT_RANGE, FaceDetector, Faces
from preprocess.networks.face_mesh import LEAST_PRESENCE, FaceMesh, region_of_landmarks
from preprocess.networks.selfie import PersonMask
from preprocess.networks.warp import Regions

MOST_FACES = 8  # of a picture that are looked for
MOST_PASSES = 14  # over a batch; each halves what is left, and all is noise from about ten on
CPU_BATCH, GPU_BATCH = 16, 256  # pictures: on a GPU so many that it has enough to do, and few GB are needed
SETTLED_PX = 0.03  # root mean square change of a pass: below the noise of the tracker itself

Array = np.ndarray
Box = tuple[float, float, float, float]


class TorchDetector:
    """See `preprocess.detectors.PersonDetector`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.batch = CPU_BATCH if device.type == "cpu" else GPU_BATCH
        self._last: tuple[Tensor, Tensor] | None = None  # landmarks [1, 478, 3] of the frame before, whether seen [1]

    @cached_property
    def _mesh(self) -> FaceMesh:
        return FaceMesh(self._device)

    @cached_property
    def _short_range(self) -> FaceDetector:
        return FaceDetector(SHORT_RANGE, self._device)

    @cached_property
    def _full_range(self) -> FaceDetector:
        return FaceDetector(FULL_RANGE, self._device)

    @cached_property
    def _mask(self) -> PersonMask:
        return PersonMask(self._device)

    def faces(self, pictures: Array) -> list[list[Box]]:
        found = [_to_boxes(faces) for faces in self._full_range(self._upload(pictures), MOST_FACES)]
        return [[box for box in boxes if box is not None] for boxes in zip(*found, strict=True)]

    @torch.inference_mode()
    def landmarks(self, pictures: Array) -> list[Array | None]:
        uploaded = self._upload(pictures)
        if self._device.type == "cpu":
            parts = [self._look(uploaded[i : i + 1]) for i in range(len(uploaded))]
            points, seen = (torch.cat(part) for part in zip(*parts, strict=True))
        else:
            points, seen = self.settle(uploaded)
        places = points.double().cpu().numpy()
        return [place if there else None for place, there in zip(places, seen.tolist(), strict=True)]

    def masks(self, pictures: Array) -> Array:
        return self._mask(self._upload(pictures)).cpu().numpy()

    def close(self) -> None:
        for name in ("_mesh", "_short_range", "_full_range", "_mask"):
            self.__dict__.pop(name, None)

    def _upload(self, pictures: Array) -> Tensor:
        return torch.from_numpy(np.require(pictures, requirements=["C", "W"])).to(self._device)

    def _look(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks [1, 478, 3] of the next picture, and whether there is a face [1] bool."""
        if self._last is not None and bool(self._last[1]):
            regions, seen = region_of_landmarks(self._last[0]), self._last[1]
        else:
            faces = self._short_range(picture)[0]
            regions, seen = faces.regions(), faces.scores > 0
        points, presence = self._mesh(picture, regions)
        self._last = points, seen & (presence > LEAST_PRESENCE)
        return self._last

    @torch.inference_mode()
    def settle(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks [B, 478, 3] of the next pictures [B, H, W, 3], all at once, and whether they have a face [B]."""
        faces = self._short_range(pictures)[0]
        detected, in_detection = faces.regions(), faces.scores > 0
        points, presence = self._mesh(pictures, detected)
        seen = in_detection & (presence > LEAST_PRESENCE)
        first = self._last or (points[:1], torch.zeros_like(seen[:1]))
        for _ in range(MOST_PASSES):
            before, followed = torch.cat([first[0], points[:-1]]), torch.cat([first[1], seen[:-1]])
            regions = _choose(followed, region_of_landmarks(before), detected)
            moved, presence = self._mesh(pictures, regions)
            still = (followed | in_detection) & (presence > LEAST_PRESENCE)
            change = (moved - points)[still & seen][..., :2].square().sum(-1).mean().sqrt()
            settled = torch.equal(still, seen) and not bool(change > SETTLED_PX)
            points, seen = moved, still
            if settled:
                break
        self._last = points[-1:], seen[-1:]
        return points, seen


def _choose(first: Tensor, one: Regions, other: Regions) -> Regions:
    """One region where `first` [B] bool, else the other."""
    return Regions(
        torch.where(first[:, None], one.center, other.center),
        torch.where(first[:, None], one.size, other.size),
        torch.where(first, one.angle, other.angle),
    )


def _to_boxes(faces: Faces) -> list[Box | None]:
    boxes = []
    for (low, high), score in zip(faces.boxes.tolist(), faces.scores.tolist(), strict=True):
        boxes.append((low[0], low[1], high[0] - low[0], high[1] - low[1]) if score > 0 else None)
    return boxes
