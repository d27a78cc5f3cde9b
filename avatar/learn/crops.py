"""Batches of random crops of recordings, as the encoder is pre-trained and fine-tuned on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avatar.learn.augmentation import augment
from avatar.motion.encoder import STRIDE

CROP = 64  # motion frames: 2.6 s, more than the encoder's convolutions span
BATCH = 12  # crops


def random_crops(
    recordings: Sequence[tuple[Tensor, ...]], chosen: Sequence[int], augmented: float, generator: torch.Generator
) -> list[Tensor]:
    """A crop of 64 motion frames at a random place of each chosen recording, stacked.

    recordings: features [4 T, D], then targets [T, ...], with T >= 64; chosen: indices [B]; augmented: probability
    that the features of a crop are augmented. Returns: features [B, D, 256] and targets [B, ..., 64].
    """
    crops = []
    for index in chosen:
        features, *targets = recordings[index]
        start = int(torch.randint(len(targets[0]) - CROP + 1, (1,), generator=generator))
        window = features[start * STRIDE : (start + CROP) * STRIDE].float()
        window = augment(window, generator) if torch.rand(1, generator=generator) < augmented else window
        crops.append([window.T, *(target[start : start + CROP].movedim(0, -1) for target in targets)])
    return [torch.stack(parts) for parts in zip(*crops, strict=True)]
