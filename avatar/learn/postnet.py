"""Training of a post-net against a discriminator (Ye et al. 2023, GeneFace, section 3.3).

Generic motion is the encoder's articulation put on an average face; no pair of sound and face is fitted. The post-net
maps it into the person's domain. A discriminator (least squares, Mao et al. 2017) separates windows of the result
from windows of the person's own motion, of any speech; a content loss keeps opening, height and width of the lips.
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
from avatar.motion.postnet import CURVE_SOURCES, move, standardize
from avatar.motion.regression_inputs import leading_frame, spliced_articulation

# Chosen in docs/figures.md, "Speech to motion".
HIDDEN = 64
STEPS, BATCH, WINDOW = 500, 32, 16  # steps; windows of a step; frames of a window
LEARNING_RATE, BETAS = 1e-3, (0.5, 0.9)  # a low first beta, as is common in adversarial training
CONTENT_WEIGHT = 3.0  # against 1 of the adversarial loss
INSTANCE_NOISE = 0.2  # deviations, on what the discriminator sees, so that it does not overfit (Sonderby et al. 2017)
MEAN_FROM = 0.6  # share of the steps after which the weights are averaged: adversarial training circles about them
MIN_SPREAD = 0.05  # of a mode, which is of unit variance over people: still modes are not amplified


def train_postnet_for(inputs: Sequence[Tensor], expression: Tensor, *, seed: int) -> PostNet:
    """A post-net for a person with expressions [N, K] without lids, in the order of time.

    inputs: regression inputs [M, I] of the person's own speech, then of others'.
    """
    reading = read_lips(load_space().basis)
    spoken = expression - speech_residual(expression, reading)  # the driver adds a residual to every expression
    return train_postnet([spliced_articulation(part) for part in inputs], spoken, reading, seed=seed)


def initial_postnet(articulation: Tensor, expression: Tensor, reading: Tensor, generator: torch.Generator) -> PostNet:
    """A post-net that maps generic lip curves to the person's mean face and range, with a hidden layer without effect.

    articulation: [M, F, 5] of the person's speech; expression: [N, K]; reading: [K, 4] lip curves of a unit of a mode.
    """
    curves = expression @ reading
    wide = articulation.shape[1] * len(ARTICULATION)
    center = leading_frame(articulation)
    return PostNet(
        center.mean(0),
        center.std(0).clamp_min(1e-3),
        curves.std(0)[:, None] * torch.linalg.pinv(reading),
        torch.randn(HIDDEN, wide, generator=generator) / wide**0.5,
        torch.zeros(HIDDEN),
        torch.zeros(expression.shape[1], HIDDEN),
        expression.mean(0),
    )


@torch.enable_grad()
def train_postnet(articulation: Sequence[Tensor], expression: Tensor, reading: Tensor, *, seed: int) -> PostNet:
    """Train against a discriminator.

    articulation: [M, F, 5] of the person first, then of others; those of under 16 frames are left out. expression:
    [N, K] of the person; reading: [K, 4] lip curves (cm) of a unit of each mode.
    """
    generator = torch.Generator().manual_seed(seed)
    net = initial_postnet(articulation[0], expression, reading, generator)
    generic = [standardize(net, part) for part in articulation if len(part) >= WINDOW]
    mean, spread = expression.mean(0), expression.std(0).clamp_min(MIN_SPREAD)
    trained = [getattr(net, name).requires_grad_() for name in ("lips", "first", "bias", "second", "offset")]
    discriminator = _initial_discriminator(expression.shape[1], generator)
    optimizers = [torch.optim.Adam(parts, LEARNING_RATE, BETAS) for parts in (trained, discriminator.parameters())]
    lip_mean, lip_spread = (expression @ reading).mean(0), (expression @ reading).std(0).clamp_min(1e-4)
    sums, summed = [torch.zeros_like(part) for part in trained], 0
    for step in range(STEPS):
        batch = torch.cat([_windows(part, BATCH // len(generic), generator) for part in generic])
        moved = move(net, batch)
        real = _windows(expression, len(batch), generator)
        real, fake = (_add_noise((each - mean) / spread, generator) for each in (real, moved))
        loss = (discriminator(real) - 1).square().mean() + discriminator(fake.detach()).square().mean()
        _step(optimizers[1], loss)
        lips = ((moved @ reading - lip_mean) / lip_spread)[..., : len(CURVES)]
        content = (lips - leading_frame(batch)[..., CURVE_SOURCES[: len(CURVES)]]).square().mean()
        _step(optimizers[0], (discriminator(fake) - 1).square().mean() + CONTENT_WEIGHT * content)
        if step >= MEAN_FROM * STEPS:
            summed += 1
            for total, part in zip(sums, trained, strict=True):
                total += part.detach()
    for total, part in zip(sums, trained, strict=True):
        part.detach().copy_(total / summed)
    return PostNet(**{field.name: getattr(net, field.name).detach() for field in fields(net)})


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _windows(values: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Random stretches [B, WINDOW, ...] of values [T, ...]."""
    starts = torch.randint(len(values) - WINDOW + 1, (count,), generator=generator)
    return values[starts[:, None] + torch.arange(WINDOW)]


def _add_noise(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Expressions [B, T, K] with instance noise, as the discriminator takes them: [B, K, T]."""
    return (faces + INSTANCE_NOISE * torch.randn(faces.shape, generator=generator)).mT


def _initial_discriminator(modes: int, generator: torch.Generator) -> nn.Sequential:
    """Windows [B, K, T] -> 1 for the person, 0 for generic motion, patch by patch."""
    layers = [nn.Conv1d(modes, HIDDEN, 5), nn.Conv1d(HIDDEN, HIDDEN, 5), nn.Conv1d(HIDDEN, 1, 5)]
    for layer in layers:
        nn.init.normal_(layer.weight, 0, (2 / layer.weight[0].numel()) ** 0.5, generator=generator)
        layer.bias = nn.Parameter(torch.zeros(layer.out_channels))
    activation = nn.LeakyReLU(0.2)
    return nn.Sequential(layers[0], activation, layers[1], activation, layers[2])
