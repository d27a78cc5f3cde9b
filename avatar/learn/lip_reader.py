"""Fit the lip reader to real people's mouths; what is said in each frame is the encoder's, from the sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avatar.core.sync import move_sound
from avatar.core.take import Take, read_audio, read_track
from avatar.motion.lip_reader import VISEMES, LipReader, reader_inputs, visemes_of_sound
from avatar.motion.sync import open_sync

HIDDEN = 64  # 32 read .01 to .02 less, three networks of 128 no more
EPOCHS, BATCH, RATE, DECAY = 10, 256, 2e-3, 1e-2
INPUT_DROPOUT, HIDDEN_DROPOUT = 0.2, 0.5
SHARPER = 2.0  # power of the sound's probabilities, which are flatter than they are right
MOST_FRAMES = 500  # of one person: 20 s, so that nobody counts many times
SEEN = 0.3  # confidence of the tracker from which a face counts


@dataclass(frozen=True)
class SpokenMouth:
    """One person's mouth and what it says."""

    inputs: Tensor  # [T, I] of `reader_inputs`
    visemes: Tensor  # [T, 8] probabilities
    counted: Tensor  # [T] bool: a face is seen and speaks


def make_spoken_mouth(take: Take) -> SpokenMouth:
    """Of a Take's frames that training may use; the sound is put in time, as Takes of older versions are not."""
    track, sound = read_track(take), read_audio(take)
    seen = torch.zeros(len(track), dtype=torch.bool)
    seen[take.training_frames() + list(take.test)] = True
    seen &= track.confidence > SEEN
    found = open_sync(sound)(track.expression, seen).whole
    visemes, speaks = visemes_of_sound(move_sound(sound, -found.offset) if found.follows else sound)
    count = min(len(track), len(visemes))
    seen = seen[:count]
    return SpokenMouth(reader_inputs(track.expression[:count], seen), visemes[:count], seen & speaks[:count])


def fit_lip_reader(people: Sequence[SpokenMouth], *, seed: int = 0) -> LipReader:
    """Fit to people by cross-entropy against the sound's probabilities, every group counting as much."""
    generator = torch.Generator().manual_seed(seed)
    chosen = [one.counted.nonzero()[:MOST_FRAMES, 0] for one in people]
    inputs = torch.cat([one.inputs[frames] for one, frames in zip(people, chosen, strict=True)])
    spoken = torch.cat([one.visemes[frames] for one, frames in zip(people, chosen, strict=True)]) ** SHARPER
    spoken = spoken / spoken.sum(1, keepdim=True).clamp_min(1e-9)
    weight = spoken / spoken.mean(0) / len(VISEMES)
    spread, mean = torch.std_mean(inputs, 0)
    inputs = (inputs - mean) / (spread + 1e-6)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        first, second = nn.Linear(inputs.shape[1], HIDDEN), nn.Linear(HIDDEN, len(VISEMES))
        network = nn.Sequential(nn.Dropout(INPUT_DROPOUT), first, nn.GELU(), nn.Dropout(HIDDEN_DROPOUT), second)
        optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(inputs), generator=generator).split(BATCH):
                loss = -(weight[batch] * network(inputs[batch]).log_softmax(1)).sum(1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
    layers = (first.weight.T, first.bias, second.weight.T, second.bias)
    return LipReader(mean, spread + 1e-6, *(value.detach().clone() for value in layers))
