"""Person over background, and to bytes."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageColor
from torch import Tensor

from avatar.core.files import UserError, check_readable
from cuda_ext import ops


def over(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """Premultiplied rgb [B, 3, S, S] over a background [S, S, 3] uint8 -> [B, S, S, 3] uint8."""
    return ops.to_bytes(rgb, alpha, background)


def over_nv12(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """As `over`, for the video encoder: NV12 [B, 3 S / 2, S] uint8."""
    return ops.to_nv12(rgb, alpha, background)


def with_alpha(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """Premultiplied rgb [B, 3, S, S] and alpha -> RGB and alpha, not premultiplied, [B, S, S, 4] uint8."""
    straight = rgb / alpha.clamp_min(1 / 255)
    return (torch.cat([straight, alpha], 1).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def blend(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """Premultiplied rgb [3, S, S] over a background [3, S, S], all 0..1; differentiable."""
    return torch.addcmul(rgb, 1 - alpha, background)


def read_background(choice: str, size: int) -> Tensor:
    """A background [S, S, 3] uint8 from a picture file (its middle square) or a colour name or #rrggbb.

    Raises: UserError when it is neither.
    """
    path = Path(choice)
    if not path.exists():
        try:
            color = ImageColor.getrgb(choice)[:3]
        except ValueError as error:
            raise UserError(f"background '{choice}': is neither a picture file nor a colour like #20a040") from error
        return torch.tensor(color, dtype=torch.uint8).expand(size, size, 3).contiguous()
    check_readable(path, "picture")
    try:
        with Image.open(path) as image:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            square = image.convert("RGB").crop((left, top, left + side, top + side)).resize((size, size))
    except OSError as error:
        raise UserError(f"{path}: is not a picture that can be read") from error
    return torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8).view(size, size, 3)
