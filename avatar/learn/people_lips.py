"""Other people's real lips in one person's regression, in closed form.

A person's seconds, and synthesized speech, show little of how an upper lip follows a voice; many people's recordings
do. A ridge regression of theirs, from the same inputs to lip positions in standard units of each person, is brought to
the person's own range and averaged with the kernel regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from avatar.core.files import read_safetensors, whole
from avatar.core.lips import read_lip_positions
from avatar.core.motion_space import load_space
from avatar.core.speech_model import KernelRegression
from avatar.core.take import Take, read_audio, read_track
from avatar.learn.regression import MIN_SPREAD, RegressionRows
from avatar.motion.behaviour import detrend
from avatar.motion.encoder import Encoder, encoder_id
from avatar.motion.features import compute
from avatar.motion.regression import predict
from avatar.motion.regression_inputs import regression_inputs

DRIFT_FRAMES = 25.0  # deviation of the Gaussian whose output is left out: slower than speech
MOST_FRAMES = 400  # of one person: 16 s, so that nobody counts many times
LEAST_FRAMES = 60  # of somebody who counts
SEEN = 0.3  # confidence of the tracker from which a frame counts
# Chosen on six people, measured on nine others (docs/figures.md, "Speech to motion").
RIDGE = 1.0  # of inputs of unit spread, for each row
SHARE = 0.4  # of other people's lips; the rest are the kernel regression's
COLLINEAR = 1e-2  # of a position's variance: gap, lower and upper edge are nearly dependent


@dataclass(frozen=True)
class PeopleLips:
    """Ridge regression of many people's lips."""

    spread: Tensor  # [I] deviation of each input about a person's mean
    weight: Tensor  # [I, 4] lip positions, in a person's deviations, of inputs of unit spread


@dataclass(frozen=True)
class SpokenLips:
    """One person's inputs and lip positions, both about their means, the positions of unit variance."""

    inputs: Tensor  # [N, I]
    positions: Tensor  # [N, 4]


@torch.no_grad()
def read_spoken_lips(take: Take, encoder: Encoder) -> SpokenLips:
    """What a Take shows: of its first 16 s that training may use."""
    track, inputs = read_track(take), regression_inputs(encoder, compute(read_audio(take), encoder.features))
    usable = torch.zeros(len(track), dtype=torch.bool)
    usable[take.training_frames() + list(take.test)] = True
    usable &= track.confidence > SEEN
    chosen = usable[: len(inputs)].nonzero()[:MOST_FRAMES, 0]
    positions = detrend(track.expression[chosen] @ read_lip_positions(load_space().basis), DRIFT_FRAMES)
    spread, mean = torch.std_mean(positions, 0)
    return SpokenLips(inputs[chosen] - inputs[chosen].mean(0), (positions - mean) / spread)


def fit_people_lips(people: Sequence[SpokenLips]) -> PeopleLips:
    """Fit to people, each of whose frames count as much."""
    people = [one for one in people if len(one.inputs) >= LEAST_FRAMES]
    inputs, positions = (torch.cat([getattr(one, name) for one in people]) for name in ("inputs", "positions"))
    spread = inputs.square().mean(0).sqrt() + MIN_SPREAD
    standard = inputs / spread
    products, cross = standard.T @ standard, standard.T @ positions
    products.diagonal().add_(RIDGE * len(inputs))
    return PeopleLips(spread, torch.cholesky_solve(cross, torch.linalg.cholesky(products)))


def blend_people(regression: KernelRegression, own: RegressionRows, people: PeopleLips) -> KernelRegression:
    """A person's regression with `SHARE` of its lip positions as other people's; own: the rows it was fitted to."""
    reading, mean = read_lip_positions(load_space().basis), own.inputs.mean(0)
    others = (own.inputs - mean) / people.spread @ people.weight
    targets = detrend(own.targets @ reading, DRIFT_FRAMES)
    scale = (others * (targets - targets.mean(0))).sum(0).clamp_min(0) / others.square().sum(0).clamp_min(1e-6)
    positions = people.weight * scale / people.spread[:, None]  # cm of a unit of each input about the mean
    along = SHARE * moving_with(own.targets, reading)
    kept = torch.eye(len(reading)) - reading @ along
    middle = predict(regression, mean[None])[0] @ reading + (regression.mean - mean) @ positions
    return replace(
        regression,
        weight=regression.weight @ kept,
        offset=regression.offset @ kept + middle @ along,
        positions=positions,
        along=along,
    )


def moving_with(expression: Tensor, reading: Tensor) -> Tensor:
    """How a person's expressions [N, K] move with lip positions [L, K], by regression; reading: [K, L]."""
    centered = expression - expression.mean(0)
    positions = centered @ reading
    products = positions.T @ positions
    ridge = torch.diag(COLLINEAR * products.diagonal().clamp_min(1e-9))
    return torch.linalg.solve(products + ridge, positions.T @ centered)


def save_people_lips(people: PeopleLips, encoders: Sequence[Encoder], path: Path) -> None:
    """Write as an asset, in half precision; encoders: those whose outputs it takes."""
    with whole(path) as temporary:
        tensors = {name: value.half().contiguous() for name, value in vars(people).items()}
        save_file(tensors, temporary, {"encoders": " ".join(map(encoder_id, encoders))})


def load_people_lips(encoder: Encoder) -> PeopleLips | None:
    """The asset of the package; None for another encoder than it was fitted to, whose outputs mean something else."""
    tensors, metadata = read_safetensors(Path(str(files("avatar") / "assets" / "people_lips.safetensors")))
    if encoder_id(encoder) not in metadata["encoders"].split():
        return None
    return PeopleLips(**{name: value.float() for name, value in tensors.items()})
