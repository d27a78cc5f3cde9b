"""Generic motion -> one person's: a post-net trained against a discriminator (Ye et al. 2023, GeneFace, section 3.3).

Generic motion is what the encoder hears lips do, put on nobody in particular: no pair of sound and face was fitted.
The post-net brings it to where this person's expressions are. A discriminator (least squares, Mao et al. 2017) tells
short windows of it from windows of the person, whichever they were said to; that lips still open and spread when they
did is asked for beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from avatar.core.articulation import ARTICULATION
from avatar.core.lips import CURVES, read_lips
from avatar.core.motion_space import load_space
from avatar.motion.behaviour import beside_speech
from avatar.motion.inputs import hear_about

SAID_BY = [ARTICULATION.index(name) for name in ("opening", "opening", "width", "protrusion")]  # of the lips' curves
HIDDEN = 64
STEPS, BATCH, WINDOW = 500, 32, 16  # frames of a window
RATE, BETAS = 1e-3, (0.5, 0.9)
CONTENT = 3.0  # weight of keeping what the lips say, against 1 of being taken for the person
BLUR = 0.2  # deviations of noise on all that the discriminator sees, so that it learns no window by heart
MEAN_FROM = 0.6  # share of the steps after which the weights are averaged
LEAST_SPREAD = 0.05  # of a mode, which is of unit variance over people


@dataclass(frozen=True)
class PostNet:
    """Inputs [T, I] of `avatar.motion.inputs.gather` -> expression [T, K]; a convolution over the frames in them."""

    usual: Tensor  # [5] articulation of what the person says
    spread: Tensor  # [5]
    lips: Tensor  # [4, K] expression of a unit of each curve, of nobody in particular, as far as the person moves them
    first: Tensor  # [HIDDEN, F * 5]
    bias: Tensor  # [HIDDEN]
    second: Tensor  # [K, HIDDEN]
    offset: Tensor  # [K]

    def __call__(self, inputs: Tensor) -> Tensor:
        return self.move(self.listen(inputs))

    def listen(self, inputs: Tensor) -> Tensor:
        """Articulation [T, F, 5] of each frame and those about it, in standard units of what the person says."""
        return (hear_about(inputs) - self.usual) / self.spread

    def move(self, heard: Tensor) -> Tensor:
        """Expression [..., K] of articulation [..., F, 5]."""
        hidden = torch.tanh(heard.flatten(-2) @ self.first.T + self.bias)
        now = heard[..., heard.shape[-2] // 2, :]
        return self.offset + now[..., SAID_BY] @ self.lips + hidden @ self.second.T

    def tensors(self) -> dict[str, Tensor]:
        """As they are kept in an avatar file."""
        return {field.name: getattr(self, field.name).detach() for field in fields(self)}


def calibrate(heard: Sequence[Tensor], seen: Tensor, *, seed: int) -> PostNet:
    """A post-net for a person seen with expressions [N, K] without lids, in the order of time.

    heard: inputs [N, I] of the person's own sound and of others'.
    """
    reading = read_lips(load_space().basis)
    along = seen - beside_speech(seen, reading)  # the driver adds the rest to whatever is said
    return train_postnet([hear_about(inputs) for inputs in heard], along, reading, seed=seed)


def begin_postnet(heard: Tensor, seen: Tensor, reading: Tensor, generator: torch.Generator) -> PostNet:
    """A post-net that moves lips as anybody does, about the person's usual face and as far as the person."""
    curves = seen @ reading
    wide, frames = heard.shape[1] * len(ARTICULATION), heard.shape[1]
    now = heard[:, frames // 2]
    return PostNet(
        now.mean(0),
        now.std(0).clamp_min(1e-3),
        curves.std(0)[:, None] * torch.linalg.pinv(reading),
        torch.randn(HIDDEN, wide, generator=generator) / wide**0.5,
        torch.zeros(HIDDEN),
        torch.zeros(seen.shape[1], HIDDEN),
        seen.mean(0),
    )


@torch.enable_grad()
def train_postnet(heard: Sequence[Tensor], seen: Tensor, reading: Tensor, *, seed: int) -> PostNet:
    """Train against a discriminator; heard: articulation [N, F, 5] of the person first, then of others."""
    generator = torch.Generator().manual_seed(seed)
    net = begin_postnet(heard[0], seen, reading, generator)
    heard = [(part - net.usual) / net.spread for part in heard if len(part) >= WINDOW]
    spread = seen.std(0).clamp_min(LEAST_SPREAD)
    learned = [getattr(net, name).requires_grad_() for name in ("lips", "first", "bias", "second", "offset")]
    judge = _begin_judge(seen.shape[1], generator)
    optimizers = [torch.optim.Adam(parts, RATE, BETAS) for parts in (learned, judge.parameters())]
    usual, scale = (seen @ reading).mean(0), (seen @ reading).std(0).clamp_min(1e-4)
    mean, kept = [torch.zeros_like(part) for part in learned], 0
    for step in range(STEPS):
        said = torch.cat([_windows(part, BATCH // len(heard), generator) for part in heard])
        moved = net.move(said)
        real = _windows(seen, len(said), generator)
        faces = [_blur((each - seen.mean(0)) / spread, generator) for each in (real, moved)]
        taken = (judge(faces[0]) - 1).square().mean() + judge(faces[1].detach()).square().mean()
        _descend(optimizers[1], taken)
        now = said[:, :, said.shape[2] // 2]
        lips = ((moved @ reading - usual) / scale)[..., : len(CURVES)] - now[..., SAID_BY[: len(CURVES)]]
        _descend(optimizers[0], (judge(faces[1]) - 1).square().mean() + CONTENT * lips.square().mean())
        if step >= MEAN_FROM * STEPS:
            kept += 1
            for total, part in zip(mean, learned, strict=True):
                total += part.detach()
    for total, part in zip(mean, learned, strict=True):
        part.detach().copy_(total / kept)
    return PostNet(**net.tensors())


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _windows(values: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Some stretches [B, WINDOW, ...] of values [T, ...]."""
    starts = torch.randint(len(values) - WINDOW + 1, (count,), generator=generator)
    return values[starts[:, None] + torch.arange(WINDOW)]


def _blur(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Faces [B, T, K] with noise, as the discriminator sees them: [B, K, T]."""
    return (faces + BLUR * torch.randn(faces.shape, generator=generator)).mT


def _begin_judge(modes: int, generator: torch.Generator) -> nn.Sequential:
    """Windows [B, K, T] -> how much they look like the person, part by part: 1, and like generic motion 0."""
    layers = [nn.Conv1d(modes, HIDDEN, 5), nn.Conv1d(HIDDEN, HIDDEN, 5), nn.Conv1d(HIDDEN, 1, 5)]
    for layer in layers:
        nn.init.normal_(layer.weight, 0, (2 / layer.weight[0].numel()) ** 0.5, generator=generator)
        layer.bias = nn.Parameter(torch.zeros(layer.out_channels))
    bend = nn.LeakyReLU(0.2)
    return nn.Sequential(layers[0], bend, layers[1], bend, layers[2])
