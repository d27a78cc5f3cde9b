"""Training of a post-net against a discriminator (Ye et al. 2023, GeneFace, section 3.3).

Generic motion is the encoder's articulation put on an average face; no pair of sound and face is fitted. The post-net
maps it into the person's domain. A discriminator (least squares, Mao et al. 2017) tells windows of the result from
windows of the person's own motion, whatever was said; a content loss keeps opening and width of the lips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor, nn

from avatar.core.articulation import ARTICULATION
from avatar.core.lips import CURVES, read_lips
from avatar.core.motion_space import load_space
from avatar.core.speech_model import PostNet
from avatar.motion.behaviour import speech_residual
from avatar.motion.postnet import CURVE_SOURCES, move
from avatar.motion.regression_inputs import spliced_articulation

# Chosen in docs/figures.md, "Post-net".
HIDDEN = 64
STEPS, BATCH, WINDOW = 500, 32, 16  # frames of a window
LEARNING_RATE, BETAS = 1e-3, (0.5, 0.9)
CONTENT_WEIGHT = 3.0  # against 1 of the adversarial loss
INSTANCE_NOISE = (
    0.2  # deviations, on all inputs of the discriminator, so that it does not overfit (Sonderby et al. 2017)
)
MEAN_FROM = 0.6  # share of the steps after which the weights are averaged
LEAST_SPREAD = 0.05  # of a mode, which is of unit variance over people


def train_postnet_for(inputs: Sequence[Tensor], seen: Tensor, *, seed: int) -> PostNet:
    """A post-net for a person with expressions `seen` [N, K] without lids, in the order of time.

    inputs: regression inputs [N, I] of the person's own speech, then of others'.
    """
    reading = read_lips(load_space().basis)
    along = seen - speech_residual(seen, reading)  # the driver adds the residual to whatever is said
    return train_postnet([spliced_articulation(part) for part in inputs], along, reading, seed=seed)


def begin_postnet(articulation: Tensor, seen: Tensor, reading: Tensor, generator: torch.Generator) -> PostNet:
    """A post-net that maps generic lip curves to the person's mean face and range."""
    curves = seen @ reading
    wide, frames = articulation.shape[1] * len(ARTICULATION), articulation.shape[1]
    now = articulation[:, frames // 2]
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
def train_postnet(articulation: Sequence[Tensor], seen: Tensor, reading: Tensor, *, seed: int) -> PostNet:
    """Train against a discriminator; articulation: [N, F, 5] of the person first, then of others."""
    generator = torch.Generator().manual_seed(seed)
    net = begin_postnet(articulation[0], seen, reading, generator)
    generic = [(part - net.usual) / net.spread for part in articulation if len(part) >= WINDOW]
    spread = seen.std(0).clamp_min(LEAST_SPREAD)
    learned = [getattr(net, name).requires_grad_() for name in ("lips", "first", "bias", "second", "offset")]
    discriminator = _begin_discriminator(seen.shape[1], generator)
    optimizers = [torch.optim.Adam(parts, LEARNING_RATE, BETAS) for parts in (learned, discriminator.parameters())]
    usual, scale = (seen @ reading).mean(0), (seen @ reading).std(0).clamp_min(1e-4)
    mean, kept = [torch.zeros_like(part) for part in learned], 0
    for step in range(STEPS):
        batch = torch.cat([_windows(part, BATCH // len(generic), generator) for part in generic])
        moved = move(net, batch)
        real = _windows(seen, len(batch), generator)
        faces = [_add_noise((each - seen.mean(0)) / spread, generator) for each in (real, moved)]
        taken = (discriminator(faces[0]) - 1).square().mean() + discriminator(faces[1].detach()).square().mean()
        _descend(optimizers[1], taken)
        now = batch[:, :, batch.shape[2] // 2]
        lips = ((moved @ reading - usual) / scale)[..., : len(CURVES)] - now[..., CURVE_SOURCES[: len(CURVES)]]
        _descend(optimizers[0], (discriminator(faces[1]) - 1).square().mean() + CONTENT_WEIGHT * lips.square().mean())
        if step >= MEAN_FROM * STEPS:
            kept += 1
            for total, part in zip(mean, learned, strict=True):
                total += part.detach()
    for total, part in zip(mean, learned, strict=True):
        part.detach().copy_(total / kept)
    return PostNet(**{field.name: getattr(net, field.name).detach() for field in fields(net)})


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _windows(values: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Some stretches [B, WINDOW, ...] of values [T, ...]."""
    starts = torch.randint(len(values) - WINDOW + 1, (count,), generator=generator)
    return values[starts[:, None] + torch.arange(WINDOW)]


def _add_noise(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Expressions [B, T, K] with instance noise, as the discriminator takes them: [B, K, T]."""
    return (faces + INSTANCE_NOISE * torch.randn(faces.shape, generator=generator)).mT


def _begin_discriminator(modes: int, generator: torch.Generator) -> nn.Sequential:
    """Windows [B, K, T] -> 1 for the person, 0 for generic motion, patch by patch."""
    layers = [nn.Conv1d(modes, HIDDEN, 5), nn.Conv1d(HIDDEN, HIDDEN, 5), nn.Conv1d(HIDDEN, 1, 5)]
    for layer in layers:
        nn.init.normal_(layer.weight, 0, (2 / layer.weight[0].numel()) ** 0.5, generator=generator)
        layer.bias = nn.Parameter(torch.zeros(layer.out_channels))
    bend = nn.LeakyReLU(0.2)
    return nn.Sequential(layers[0], bend, layers[1], bend, layers[2])
