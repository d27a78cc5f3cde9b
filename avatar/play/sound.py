"""Sound as callers have it -> 16 kHz float samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.media import SAMPLE_RATE

LEAST_RATE, MOST_RATE = 8000, 192_000  # Hz


class SoundReader:
    """A stream of sound of any rate and sample type, as mono float samples at 16 kHz."""

    def __init__(self, rate: int = SAMPLE_RATE, gain: float = 1.0) -> None:
        """gain: brings the voice to -23 dB of full scale (`avatar.core.loudness`), as files are brought to.

        Raises: UserError for a rate that is none, or when the resampler is not installed.
        """
        if not LEAST_RATE <= rate <= MOST_RATE:
            raise UserError(f"sound of {rate} Hz: give a rate from {LEAST_RATE} to {MOST_RATE} Hz")
        self._gain = gain
        self._resampler = _open_resampler(rate) if rate != SAMPLE_RATE else None

    def push(self, pcm: np.ndarray | Tensor) -> Tensor:
        """Samples [n] or [n, channels], float -1..1 or int16, -> samples [m] float32 at 16 kHz.

        Raises: UserError when they are something else, or not finite.
        """
        samples = torch.from_numpy(np.ascontiguousarray(pcm)) if isinstance(pcm, np.ndarray) else pcm
        if samples.dim() == 2:
            samples = samples.float().mean(1) if samples.is_floating_point() else samples.float().mean(1).short()
        if samples.dim() != 1 or (not samples.is_floating_point() and samples.dtype != torch.int16):
            raise UserError(
                f"sound: {list(samples.shape)} {samples.dtype} is no pcm; give [n] or [n, channels], float or int16"
            )
        samples = samples.float() / 32768 if samples.dtype == torch.int16 else samples.float()
        if not torch.isfinite(samples).all():
            raise UserError("sound: holds samples that are not numbers (NaN or infinite)")
        return self._gain * self._resample(samples)

    def finish(self) -> Tensor:
        """The samples that the resampler still holds."""
        return self._gain * self._resample(torch.zeros(0), last=True)

    def _resample(self, samples: Tensor, *, last: bool = False) -> Tensor:
        if self._resampler is None:
            return samples
        return torch.from_numpy(self._resampler.resample_chunk(samples.numpy(), last=last))


def _open_resampler(rate: int) -> Any:
    try:
        import soxr
    except ImportError as error:
        raise UserError(f"sound of {rate} Hz needs the resampler soxr; pip install soxr, or give 16 kHz") from error
    return soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
