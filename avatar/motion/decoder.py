"""What is heard -> one person's expression: the part of the speech model that is their own, solved in closed form.

Kernel ridge regression on what is heard now and about now, lips that anybody would show among it. The kernel is a
Gaussian's and a straight line's, between what is heard and six hundred moments of the clip, and of practice (the subset
of regressors, Quinonero-Candela and Rasmussen 2005, A Unifying View of Sparse Approximate Gaussian Process Regression,
section 5), by what these moments differ in most. From seconds or minutes of one person it predicts lips, all in all, a
little better than a network fitted to the same (docs/figures.md), in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.articulation import ARTICULATION
from avatar.core.lips import CURVES
from avatar.motion.encoder import CHANNELS, DIRECTIONS, STRIDE, Encoder, from_tensors, to_whole_frames
from avatar.motion.features import USUAL
from avatar.motion.inputs import gather, heard_articulation, split_frames
from avatar.motion.postnet import PostNet
from avatar.motion.walk import LISTENED, listen

CENTERS = 600  # rows at most, of each kind, that all others are compared with,
COMPONENTS = 128  # by so many numbers, and by directions
NARROWNESS = 0.5  # of the Gaussian kernel: exp(-.5 d^2) of inputs whose mean square length is 1, 2 with the next two
LIPS_SHARE = 0.5  # of that length, for the lips that anybody would show
DIRECTIONS_SHARE = 0.5  # beside it, for what lips go by: the farther these reach, the more they count
LINE = 0.3  # weight of the straight line's kernel against 1 of the Gaussian
NOISE = 2.2  # rows whose squares the weights' penalty is worth: the more is known, the less is guarded against
LEAST_RIDGE = 3e-4  # of the mean of the squares: weights are kept in half precision
JITTER = 1e-3  # of the kernel: some centers are the same
LEAST_SPREAD = 1e-3
AT_ONCE = 4096  # rows
VOICING = -2  # of the log-mel features
AHEAD = 4  # motion frames in which a voice is heard before it comes


@dataclass(frozen=True)
class Mouth:
    """What a mouth does, frame by frame."""

    expression: Tensor  # [T, K], without lids
    closure: Tensor  # [T] 0..1: how surely a sound is heard that only closed lips make
    voiced: Tensor  # [T] 0..1: how surely somebody speaks, now or within a moment
    voice: Tensor  # [T, 10] of `avatar.motion.walk.listen`: what the head goes by

    def __getitem__(self, frames: slice) -> Mouth:
        return Mouth(self.expression[frames], self.closure[frames], self.voiced[frames], self.voice[frames])


@dataclass(frozen=True)
class Decoder:
    """Inputs [T, I] of `gather` -> expression [T, K]."""

    mean: Tensor  # [I]
    project: Tensor  # [I, COMPONENTS + DIRECTIONS]
    centers: Tensor  # [C, COMPONENTS + DIRECTIONS] of projected inputs
    weight: Tensor  # [C, K]
    offset: Tensor  # [K]

    def __call__(self, inputs: Tensor) -> Tensor:
        return _kernel((inputs - self.mean) @ self.project, self.centers) @ self.weight + self.offset

    def tensors(self) -> dict[str, Tensor]:
        """As they are kept in an avatar file."""
        small = {"project": self.project, "centers": self.centers, "weight": self.weight}
        return {name: tensor.half() for name, tensor in small.items()} | {"mean": self.mean, "offset": self.offset}


@dataclass(frozen=True)
class Rows:
    """What is heard, and the expressions that go with it."""

    inputs: Tensor  # [N, I]
    targets: Tensor  # [N, K]
    weight: float  # of each


def solve(examples: Sequence[Rows], *, noise: float = NOISE) -> Decoder:
    """The decoder whose weighted squared error over all rows, and `noise` times its weights', is least."""
    total = sum(len(rows.inputs) * rows.weight for rows in examples)

    def average(of: Callable[[Rows], Tensor]) -> Tensor:
        return torch.stack([rows.weight * of(rows) for rows in examples]).sum(0) / total

    mean, usual = average(lambda rows: rows.inputs.sum(0)), average(lambda rows: rows.targets.sum(0))
    spread = average(lambda rows: (rows.inputs - mean).square().sum(0)).sqrt().clamp_min(LEAST_SPREAD)
    spread[-DIRECTIONS:] = spread[-DIRECTIONS:].norm()
    chosen = [(rows.inputs[_spaced(len(rows.inputs))] - mean, rows.weight) for rows in examples]
    scale = _lengths(len(mean)) / spread
    project = scale[:, None] * _components([(inputs * scale, weight) for inputs, weight in chosen])
    centers = torch.cat([inputs for inputs, _ in chosen]) @ project
    count = len(centers)
    gram, about = torch.zeros(count, count).double(), torch.zeros(count).double()
    cross = torch.zeros(count, len(usual)).double()
    for rows in examples:
        for inputs, targets in zip(rows.inputs.split(AT_ONCE), rows.targets.split(AT_ONCE), strict=True):
            near = _kernel((inputs - mean) @ project, centers).double()
            weighted = rows.weight / total * near
            gram += weighted.T @ near
            cross += weighted.T @ (targets - usual).double()
            about += weighted.sum(0)
    penalty = _kernel(centers, centers).double() + JITTER * torch.eye(count)
    factor = torch.linalg.cholesky(gram - torch.outer(about, about) + max(LEAST_RIDGE, noise / total) * penalty)
    weight = torch.cholesky_solve(cross, factor).float()
    return Decoder(mean, project, centers, weight, usual - about.float() @ weight)


def _spaced(count: int) -> Tensor:
    """CENTERS indices below count, evenly spaced; all where there are no more."""
    return torch.linspace(0, count - 1, min(count, CENTERS)).round().long()


def _components(chosen: Sequence[tuple[Tensor, float]]) -> Tensor:
    """[I, COMPONENTS + DIRECTIONS]: what weighted inputs [C, I] differ in most, and each direction as it is."""
    width = chosen[0][0].shape[1]
    others = torch.cat([weight**0.5 * inputs[:, :-DIRECTIONS] for inputs, weight in chosen])
    length, most = torch.linalg.eigh(others @ others.T)
    most = most[:, -COMPONENTS:] / length[-COMPONENTS:].clamp_min(1e-6 * float(length[-1])).sqrt()
    result = torch.zeros(width, most.shape[1] + DIRECTIONS)
    result[:-DIRECTIONS, : most.shape[1]] = others.T @ most
    result[-DIRECTIONS:, most.shape[1] :] = torch.eye(DIRECTIONS)
    return result


def _lengths(width: int) -> Tensor:
    """Of each input [I] in standard units: all count the same, but for lips and directions, which have their shares."""
    wide = width - DIRECTIONS
    lengths = torch.full((width,), wide**-0.5)
    lips = split_frames(lengths)[:, CHANNELS + len(ARTICULATION) :][:, : len(CURVES)]
    lips.fill_((LIPS_SHARE / lips.numel()) ** 0.5)
    lengths[-DIRECTIONS:] = DIRECTIONS_SHARE**0.5
    return lengths


def _kernel(inputs: Tensor, centers: Tensor) -> Tensor:
    """[N, C] of projected inputs [N, P] and centers [C, P]."""
    return torch.exp(-NARROWNESS * torch.cdist(inputs, centers).square()) + LINE * inputs @ centers.T


class Speaker:
    """One person's speech model, ready to use: features [t, D] -> what the mouth does."""

    def __init__(self, encoder: Encoder, decoder: Decoder | PostNet, mean: Tensor) -> None:
        """mean: [K] the person's usual expression."""
        self.encoder, self.decoder, self.mean = encoder.eval(), decoder, mean

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Mouth:
        inputs = gather(self.encoder, features)
        closure = heard_articulation(inputs)[:, ARTICULATION.index("closure")]
        if self.encoder.features != USUAL:  # other features are not known of how loud and voiced they are
            return Mouth(self.decoder(inputs), closure, torch.ones_like(closure), torch.zeros(len(closure), LISTENED))
        return Mouth(self.decoder(inputs), closure, voicing_ahead(features), listen(to_whole_frames(features)))


def voicing_ahead(features: Tensor) -> Tensor:
    """The surest voicing [T], 0..1, from each motion frame to 4 beyond, by log-mel features [t, 83]."""
    voicing = to_whole_frames(features)[:, VOICING].view(1, 1, -1, STRIDE).amax(-1)
    return functional.max_pool1d(functional.pad(voicing, (0, AHEAD)), AHEAD + 1, stride=1)[0, 0]


def pack_speaker(speaker: Speaker) -> dict[str, Tensor]:
    """Tensors of an avatar file; half precision, which changes motion by far less than a landmark's noise."""
    weights = {f"encoder.{name}": tensor.half() for name, tensor in speaker.encoder.state_dict().items()}
    own = speaker.decoder.tensors()
    return weights | {f"decoder.{name}": tensor for name, tensor in own.items()} | {"mean": speaker.mean}


def load_speaker(tensors: dict[str, Tensor], features: str = USUAL) -> Speaker:
    """The speech model of an avatar's tensors."""
    own = _part(tensors, "decoder.")
    decoder = PostNet(**own) if "lips" in own else Decoder(**own)
    return Speaker(load_own_encoder(tensors, features), decoder, tensors["mean"])


def load_own_encoder(tensors: dict[str, Tensor], features: str = USUAL) -> Encoder:
    """The encoder of an avatar's tensors."""
    return from_tensors(_part(tensors, "encoder."), features)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor.float() for name, tensor in tensors.items() if name.startswith(prefix)}
