"""Random inputs of the native ops, shared by their tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cuda_ext import reference
from cuda_ext.ops import RigidTransform


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(count: int, *, seed: int = 0, spread: float = 12.0) -> list[Tensor]:
    """Splats before a camera, some behind it, some outside of the picture."""
    g = rng(seed)
    depth = 55 + 20 * torch.rand(count, 1, generator=g)
    depth[6::7] = -1.0
    means = torch.cat([spread * torch.randn(count, 2, generator=g), depth], 1)
    scales = 0.5 * torch.randn(count, 3, generator=g) - 0.4
    quaternions = 3 * torch.randn(count, 4, generator=g)
    return [means, quaternions, scales, 2 * torch.randn(count, generator=g), torch.rand(count, 3, generator=g)]


def pose(count: int, seed: int) -> list[Tensor]:
    """Tensors of the arguments of `place`; see `grouped`."""
    g = rng(seed)
    far = torch.tensor([0.0, 0, 60])
    rotations = [reference.rotation_matrix(torch.randn(4, generator=g)) for _ in range(2)]
    return [
        torch.randn(count, 3, generator=g), torch.randn(count, 4, generator=g), torch.rand(count, generator=g),
        rotations[0], far + torch.randn(3, generator=g), rotations[1], far, torch.tensor([5.0, -3.0, 0.1, 0.2]),
    ]  # fmt: skip


def grouped(tensors: list[Tensor]) -> tuple[Any, ...]:
    """Tensors of `pose` as `place` takes them."""
    head, rest = RigidTransform(*tensors[3:5]), RigidTransform(*tensors[5:7])
    return (*tensors[:3], head, rest, tensors[7])


def leaves(tensors: list[Tensor], dtype: torch.dtype, device: torch.device | None = None) -> list[Tensor]:
    return [tensor.clone().to(device=device, dtype=dtype).requires_grad_() for tensor in tensors]


def relative(ours: Tensor | None, truth: Tensor | None) -> float:
    """Norm of the difference over the norm of the truth."""
    assert ours is not None
    assert truth is not None
    truth = truth.detach().double().cpu()
    return float((ours.detach().double().cpu() - truth).norm() / truth.norm().clamp(min=1e-6))
