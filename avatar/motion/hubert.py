"""HuBERT, wav2vec 2.0 or a like model of `transformers` as audio features; the user brings it (extra `hubert`).

Hsu et al. 2021, HuBERT; Baevski et al. 2020, wav2vec 2.0. Their convolutions take 400 samples every 320.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from avatar.core.files import UserError

SAMPLE_RATE, STEP = 16000, 320  # samples; the models' own frames come 50 times a second
WINDOW_STEPS = 400  # 8 s at a time: attention over more takes memory that grows with its square
MARGIN_STEPS = 50  # of context before and after a window, whose frames are dropped
EDGE = 40  # samples of silence at either end, so that a frame is centred in its 20 ms
REPEATED = 2  # 50 frames a second -> 100


class Hubert:
    """The last hidden layer at 100 frames a second [t, D]; it takes 8 s at a time, so it is not for live use.

    Raises: UserError when `transformers` is missing or the model cannot be loaded.
    """

    def __init__(self, where: str) -> None:
        """where: a folder with a model and its preprocessor_config.json, or a name on the Hugging Face hub."""
        self._extractor, self._model = _load(where)
        self.width: int = self._model.config.hidden_size
        self._sound = torch.zeros(0)  # from `_start` on
        self._start = self._given = 0  # steps

    def push(self, pcm: Tensor) -> Tensor:
        """Samples [n] -1..1 at 16 kHz -> the frames [t, D] of the windows that they complete."""
        self._sound = torch.cat([self._sound, pcm])
        made = [torch.zeros(0, self.width)]
        while len(self._sound) >= (self._given + WINDOW_STEPS + MARGIN_STEPS - self._start) * STEP:
            made.append(self._extract(WINDOW_STEPS))
        return torch.cat(made)

    def flush(self) -> Tensor:
        """The frames still open at the end of the sound: one for every 10 ms begun."""
        samples = len(self._sound) - (self._given - self._start) * STEP
        left = -(-samples // STEP)
        missing = (self._given - self._start + left) * STEP - len(self._sound)
        self._sound = torch.cat([self._sound, torch.zeros(max(0, missing))])
        frames = self._extract(left) if left > 0 else torch.zeros(0, self.width)
        return frames[: -(-samples * REPEATED // STEP)]

    @torch.no_grad()
    def _extract(self, steps: int) -> Tensor:
        """Frames of the next steps; sound that later ones do not need is dropped."""
        before = self._given - self._start
        window = self._sound[: (before + steps + MARGIN_STEPS) * STEP]
        padded = torch.cat([torch.zeros(EDGE), window, torch.zeros(EDGE)])
        values = self._extractor(padded.numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values
        hidden = self._model(values).last_hidden_state[0, before : before + steps]
        self._given += steps
        keep = min(self._given, MARGIN_STEPS)
        self._sound = self._sound[(self._given - keep - self._start) * STEP :]
        self._start = self._given - keep
        return hidden.repeat_interleave(REPEATED, 0)


@functools.cache
def _load(where: str) -> tuple[Any, Any]:
    """Feature extractor and model, loaded once in a process."""
    try:
        from transformers import AutoFeatureExtractor, AutoModel
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise UserError(f"hubert:{where}: needs transformers; pip install 'avatar-builder[hubert]'") from error
    disable_progress_bar()
    try:
        extractor = AutoFeatureExtractor.from_pretrained(where)
        return extractor, AutoModel.from_pretrained(where, use_safetensors=True).eval()
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"hubert:{where}: is not a speech model that can be loaded ({reason})") from error
