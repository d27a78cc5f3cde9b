"""The frames of a training on a GPU, as bytes: as many as fit stay there, the others come ahead of use."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from avatar.core.take import Track
from avatar.render.losses import weight_blobs
from avatar.render.training_frames import TrainingPictures, frames_to_train_on
from cuda_ext.limits import core_count

MEMORY_SHARE = 0.5  # of a GPU's free memory, for frames: the splats of the largest training need a tenth of the rest
AT_ONCE = 64  # frames decoded before they are copied


class FramePool:
    """Rows of frames on a device: first those that stay, then two sets of those that are streamed, taken in turns."""

    def __init__(
        self,
        pictures: TrainingPictures,
        track: Track,
        device: torch.device,
        *,
        streamed: int,
        most_bytes: int | None = None,
    ) -> None:
        """streamed: frames of one set; most_bytes: of the frames that stay (default: MEMORY_SHARE of what is free)."""
        self._read, self._device, self._streamed = pictures.read, device, streamed
        self._decoders = ThreadPoolExecutor(core_count())
        take = pictures.take
        size, frames = take.camera.size, sorted(set(frames_to_train_on(take, track)))
        if most_bytes is None:
            most_bytes = int(MEMORY_SHARE * torch.cuda.mem_get_info(device)[0])
        resident = frames[: most_bytes // (4 * size**2)]
        self._rows = {frame: row for row, frame in enumerate(resident)}
        spare = 0 if len(resident) == len(frames) else 2 * streamed
        self.pictures = torch.empty(len(resident) + spare, 4, size, size, dtype=torch.uint8, device=device)
        self.blobs = weight_blobs(track.landmarks, take.camera).to(device)  # [T, 3, 2, S]
        pinned = device.type == "cuda"
        self._staged = torch.empty(spare, 4, size, size, dtype=torch.uint8, pin_memory=pinned)
        for start in range(0, len(resident), AT_ONCE):
            part = resident[start : start + AT_ONCE]
            self.pictures[start : start + len(part)] = torch.stack(self._decode(part)).to(device)

    def rows(self, frames: Iterable[int], turn: int) -> list[int]:
        """The row of each frame, those that do not stay copied to set `turn` % 2, which must not be in use any more.

        The copies are queued on the current stream.
        """
        missing = sorted({frame for frame in frames if frame not in self._rows})
        first = turn % 2 * self._streamed
        places = {frame: first + index for index, frame in enumerate(missing)}
        for place, picture in zip(places.values(), self._decode(missing), strict=True):
            self._staged[place] = picture
            row = len(self._rows) + place
            self.pictures[row].copy_(self._staged[place], non_blocking=True)
        return [self._rows.get(frame, len(self._rows) + places.get(frame, 0)) for frame in frames]

    def _decode(self, frames: list[int]) -> list[Tensor]:
        return list(self._decoders.map(self._read, frames))
