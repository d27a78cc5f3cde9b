"""Splats -> pictures by our own ops, or by gsplat where it is installed and there is a GPU."""

from __future__ import annotations

import importlib.util
import warnings

import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.geometry import Camera
from cuda_ext import ops
from cuda_ext.reference import NEAREST_CM


def check_rasterizer(name: str, device: torch.device) -> None:
    """Raise UserError when a rasterizer cannot draw on a device."""
    if name != "gsplat":
        return
    if importlib.util.find_spec("gsplat") is None:
        raise UserError("rasterizer 'gsplat' is not installed; run pip install 'avatar-builder[cuda]', or use 'native'")
    if device.type != "cuda":
        raise UserError("rasterizer 'gsplat' draws on NVIDIA GPUs only; give --device cuda, or use 'native'")


def usable_rasterizer(name: str, device: torch.device) -> str:
    """The rasterizer of a name, or `native` with a warning where that cannot draw: an avatar can be played anywhere."""
    try:
        check_rasterizer(name, device)
    except UserError as error:
        warnings.warn(f"the avatar is drawn by the native rasterizer: {error}", stacklevel=2)
        return "native"
    return name


def rasterize(
    name: str,
    means: Tensor,
    quaternions: Tensor,
    log_scales: Tensor,
    opacity_logits: Tensor,
    colors: Tensor,
    *,
    camera: Camera,
    room: ops.Room | None = None,
) -> tuple[Tensor, Tensor]:
    """As `ops.splat` for B frames, by the rasterizer of a name: native or gsplat. Raises: as `check_rasterizer`."""
    if name == "native":
        inputs = means, quaternions, log_scales, opacity_logits, colors
        return ops.splat(*inputs, focal=camera.focal, size=camera.size, room=room)
    check_rasterizer(name, means.device)
    from gsplat import rasterization

    batch, device = means.shape[0], means.device
    middle, focal = camera.size / 2, camera.focal
    intrinsics = torch.tensor([[focal, 0, middle], [0, focal, middle], [0, 0, 1.0]], device=device)
    pictures = [
        rasterization(
            means[b],
            quaternions[b],
            log_scales[b].exp(),
            opacity_logits[b].sigmoid(),
            colors[b],
            viewmats=torch.eye(4, device=device)[None],
            Ks=intrinsics[None],
            width=camera.size,
            height=camera.size,
            near_plane=NEAREST_CM,
            packed=False,
        )
        for b in range(batch)
    ]
    rgb, alpha = (torch.cat([picture[index] for picture in pictures]).permute(0, 3, 1, 2) for index in (0, 1))
    return rgb, alpha
