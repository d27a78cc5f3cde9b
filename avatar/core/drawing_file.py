"""Drawing file: what a viewer needs to draw an avatar, and nothing else of it; docs/formats.md has the layout.

It holds no voice model, no motion and no picture of the source but the plate. So it may be sent to whoever looks on.
"""

from __future__ import annotations

import io
import json
from typing import Any

import torch
from torch import Tensor

from avatar.core.avatar_file import TRUSTED_TURN, Avatar
from avatar.core.consent import public_facts
from avatar.core.deflate import deflate
from avatar.core.files import UserError, write_safetensors
from avatar.core.versions import Format

FORMAT = Format("drawing", 1, "0.2.0", "export it again from its avatar", {})
COMPONENTS = {"means": 3, "log_scales": 3, "opacity_logits": 1, "colors": 3}  # of a splat, as `base` has them
STEPS = {"means": 5e-5, "log_scales": 4e-4, "opacity_logits": 1.5e-3, "colors": 6e-5}
"""Least steps of codes: cm, logarithms, logits, 1. Finer ones are noise that does not deflate: a fifth of the file.
Without it pictures are at about 70 dB of what they were (docs/lab/browser.md)."""
BLOCK = 64  # columns of codes that share a scale
MOST_TURN = 15.0  # degrees that a viewer turns the view by: beyond, nothing was ever recorded


def drawing_bytes(avatar: Avatar) -> bytes:
    """The drawing file of an avatar: 4 to 5 MB at 18 000 splats; the same for the same avatar.

    What an avatar keeps as float32 is brought to fixed point over the range of each component: places to 24 bits, as
    splats of nearly one depth would change their order in fewer, all else to 16. Bytes of a value are kept apart, since
    they deflate better so.
    Raises: UserError when the avatar has no splats.
    """
    if avatar.kind != "gaussian":
        raise UserError(f"an avatar of kind {avatar.kind} has no splats, which viewers draw; build a gaussian one")
    renderer, count = avatar.renderer, len(avatar.renderer["rigidity"])
    codes, scales = _coarser(renderer["delta_codes"], renderer["delta_scales"].float(), count)
    tensors, fixed = {"codes": codes, "delta_scales": _halves_apart(scales), "plate": avatar.plate}, {}
    parts = renderer["base"].split([width * count for width in COMPONENTS.values()])
    for (name, width), values in zip(COMPONENTS.items(), parts, strict=True):
        tensors[name], low, step = _fixed_point(values, width, 3 if name == "means" else 2)
        fixed[name] = {"low": low, "step": step}
    for name in ("quaternions", "rigidity"):
        tensors[name] = _halves_apart(renderer[name])
    if avatar.light is not None and len(avatar.light.normals) == count:
        tensors["normals"] = (127 * avatar.light.normals.float()).round().to(torch.int8)
    packed, forms = deflate({name: tensor.contiguous() for name, tensor in tensors.items()})
    pose = ("rest_rotation", "rest_translation", "feature_mean", "feature_scale")
    packed |= {name: renderer[name].float().contiguous() for name in pose}
    note: dict[str, Any] = {
        "size": avatar.camera.size,
        "focal": avatar.camera.focal,
        "fps": avatar.fps,
        "motion_space": avatar.space_id,
        "modes": len(avatar.speech.mean),
        "turn": min(MOST_TURN, float(avatar.provenance.get(TRUSTED_TURN, MOST_TURN))),
        "splats": count,
        "fixed": fixed,
        "deflated": forms,
        "provenance": public_facts(avatar),
    }
    file = io.BytesIO()
    write_safetensors(packed, file, {"format": FORMAT.tag, "reader": FORMAT.since, "drawing": json.dumps(note)})
    return file.getvalue()


def _coarser(codes: Tensor, scales: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Codes [D, 10 N] and scales [D, blocks] with the steps of STEPS at least; 0 for blocks that round to zero."""
    rows, columns = codes.shape
    ends = torch.tensor(list(COMPONENTS.values())).cumsum(0) * count
    kind = torch.bucketize(torch.arange(scales.shape[1]) * BLOCK, ends[:-1], right=True)
    coarse = torch.maximum(scales, torch.tensor(list(STEPS.values()))[kind]).half().float()
    blocks = torch.nn.functional.pad(codes, (0, -columns % BLOCK)).view(rows, -1, BLOCK)
    rounded = (blocks * (scales / coarse)[..., None]).round().to(torch.int8)
    return rounded.view(rows, -1)[:, :columns].contiguous(), coarse * (rounded != 0).any(2)


def _fixed_point(base: Tensor, width: int, bytes_each: int) -> tuple[Tensor, list[float], list[float]]:
    """Values [n] of `width` components, one splat after the other -> bytes apart [b, n], and low and step [width].

    A value is low + step * level, 0 <= level < 256^b.
    """
    values, most = base.double().view(-1, width), 256**bytes_each - 1
    low = values.amin(0)
    step = ((values.amax(0) - low) / most).clamp_min(1e-12)
    levels = ((values - low) / step).round().clamp(0, most).long().flatten()
    return _bytes_apart(levels, bytes_each), low.tolist(), step.tolist()


def _halves_apart(values: Tensor) -> Tensor:
    """Half precision -> bytes apart [2, n]."""
    return _bytes_apart(values.half().flatten().contiguous().view(torch.int16).long() & 0xFFFF, 2)


def _bytes_apart(words: Tensor, count: int) -> Tensor:
    """Whole numbers [n] below 256^count -> [count, n] uint8: all lowest bytes, then the next ones."""
    return torch.stack([words >> 8 * place & 255 for place in range(count)]).to(torch.uint8)
