"""Between host and GPU without either waiting for the other: pinned memory, and copies beside the drawing."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cuda_ext import ops

MOST_PINNED = 256 << 20  # bytes of one reader's frames in memory that cannot be swapped, with those a caller keeps


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; the copy joins the current stream, and the host does not wait for it."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # torch keeps the pinned copy until it was read


@dataclass(frozen=True)
class Transfer:
    """Frames on their way to the host."""

    picture: np.ndarray  # [n, ...] uint8, to be read after `wait`
    needed: Tensor  # [] int64 on the host, as of `ops.Launched`
    done: torch.cuda.Event | None

    def wait(self) -> int:
        """Wait until the frames are there: how many pairs they needed."""
        if self.done is not None:
            self.done.synchronize()
        return int(self.needed)


class Readback:
    """Copies frames to the host on a stream of its own, so that the next are drawn meanwhile.

    Each batch lies in an array of its own, which belongs to the caller: pinned memory that is used again only when the
    last frame of the batch was dropped. Where a caller keeps many frames, the others lie in ordinary memory.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._pinned: list[tuple[weakref.ref[np.ndarray], int]] = []  # frames that are still in use, and their bytes

    def start(self, launched: ops.Launched) -> Transfer:
        """Begin to copy frames that the current stream draws. What they were drawn into may be overwritten at once."""
        if self._stream is None:
            return Transfer(launched.picture.clone().numpy(), launched.needed.clone(), None)
        held, needed = (
            launched.picture.clone(),
            launched.needed.clone(),
        )  # on the GPU: a hundredth of the drawing's time
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        there, count = self._buffer(held), torch.empty((), dtype=torch.int64, pin_memory=True)
        with torch.cuda.stream(self._stream):
            there.copy_(held, non_blocking=True)
            count.copy_(needed, non_blocking=True)
            done = torch.cuda.Event(blocking=True)  # waits asleep: the core is the encoder's
            done.record(self._stream)
        for tensor in (held, needed):
            tensor.record_stream(self._stream)
        picture = there.numpy()
        if there.is_pinned():
            self._pinned.append((weakref.ref(picture), picture.nbytes))
        return Transfer(picture, count, done)

    def _buffer(self, like: Tensor) -> Tensor:
        self._pinned = [(frames, count) for frames, count in self._pinned if frames() is not None]
        room = MOST_PINNED - sum(count for _, count in self._pinned)
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=like.nbytes <= room)
