"""Splats from the head frame into the camera frame."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext import native

BLOCK = 1024  # splats whose pose gradients are summed together
POSE_SUMS = 16  # floats of a block's gradients of rotation and translation


class RigidTransform(NamedTuple):
    """Head frame -> camera frame: R p + t."""

    rotation: Tensor  # [3, 3], or [B, 3, 3]
    translation: Tensor  # [3] cm, or [B, 3]


def _arguments(arrays: list[Tensor], focal: float | Tensor) -> tuple[Any, ...]:
    means, stride = native.plain_frames(arrays[0])
    focals = (focal, 0.0) if isinstance(focal, Tensor) else (None, focal)
    return means, *arrays[1:], *focals, means.shape[1], means.shape[0], stride, int(arrays[1].dim() == 3)


class _Place(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, focal: float | Tensor, means: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        arrays = [native.plain_frames(means)[0], *(native.plain(tensor) for tensor in others)]
        batch, count = means.shape[:2]
        placed = torch.empty(batch, count, 3, device=means.device)
        turned = torch.empty(batch, count, 4, device=means.device)
        native.call("place", means.device, *_arguments(arrays, focal), placed, turned)
        ctx.save_for_backward(*arrays)
        ctx.focal = focal
        return placed, turned

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_means: Tensor, grad_quaternions: Tensor) -> tuple[Tensor | None, ...]:
        arrays = list(ctx.saved_tensors)
        (batch, count, _), device = arrays[0].shape, arrays[0].device
        shapes = [(count, 3), (count, 4), (count,), (3, 3), (3,)]
        gradients = [torch.empty(batch, *shape, device=device) for shape in shapes]
        partial = torch.empty(batch, -(-count // BLOCK), POSE_SUMS, device=device)
        incoming = (native.plain(grad_means), native.plain(grad_quaternions))
        native.call("place_backward", device, *_arguments(arrays, ctx.focal), *incoming, partial, *gradients)
        means, quaternions, rigidity, rotation, translation = gradients
        if arrays[1].dim() == 2:  # shared among the frames
            quaternions, rigidity = quaternions.sum(0), rigidity.sum(0)
        return None, means, quaternions, rigidity, rotation, translation, None, None, None


def place(
    means: Tensor,
    quaternions: Tensor,
    rigidity: Tensor,
    head: RigidTransform,
    rest: RigidTransform,
    torso: Tensor,
    *,
    focal: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """Bring splats from the head frame into the camera frame: means [N,3] cm and quaternions [N,4].

    rigidity w [N] in 0..1 mixes the motion of the head, R p + t, with that of the torso: the rest pose, then a
    similarity of the image by torso [4] (shift x, y px, log-scale, roll rad) about its centre; focal in px.
    means, head and torso may have a leading dimension B, then so has the result; then quaternions, rigidity and rest
    may have it too, all of them, and focal [B] be a tensor. Differentiable in means, quaternions, rigidity and head.
    Raises ValueError or TypeError naming the argument.
    """
    if not isinstance(focal, Tensor) and not 0 < focal < float("inf"):
        raise ValueError(f"place: focal is {focal}, expected above 0")
    batched = isinstance(means, Tensor) and means.dim() == 3
    lead = "B " if batched else ""
    own = "B " if batched and isinstance(quaternions, Tensor) and quaternions.dim() == 3 else ""
    (rotation, translation), (rest_rotation, rest_translation) = head, rest
    tensors = {
        "means": (means, f"{lead}N 3"),
        "quaternions": (quaternions, f"{own}N 4"),
        "rigidity": (rigidity, f"{own}N"),
        "rotation": (rotation, f"{lead}3 3"),
        "translation": (translation, f"{lead}3"),
        "rest_rotation": (rest_rotation, f"{own}3 3"),
        "rest_translation": (rest_translation, f"{own}3"),
        "torso": (torso, f"{lead}4"),
    }
    if isinstance(focal, Tensor):
        tensors["focal"] = (focal, "B")
        focal = native.plain(focal)
    native.check("place", tensors)
    if not batched:
        means, rotation, translation, torso = (tensor[None] for tensor in (means, rotation, translation, torso))
    poses = rotation, translation, rest_rotation, rest_translation
    placed, turned = _Place.apply(focal, means, quaternions, rigidity, *poses, torso)
    return (placed, turned) if batched else (placed[0], turned[0])
