"""Hyper-parameters of the NeRF renderer. They travel with its tensors, because they say how those are read."""

from __future__ import annotations

import json
from typing import Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.named_files import FilePath
from avatar.core.recipe import Settings
from cuda_ext.ops import Precision


class NerfSettings(Settings):
    """Hyper-parameters of the NeRF renderer; what some of them are worth: docs/lab/nerf.md."""

    kind: str = "nerf"
    backend: Literal["auto", "native", "torch", "tcnn"] = "auto"  # computes encodings and networks
    marcher: Literal["native", "nerfacc"] = "native"  # samples rays in the occupancy grid
    precision: Precision = "bfloat16"  # of what a GPU's networks multiply; sums: float32
    encoding: Literal["grid", "triplane"] = "grid"  # one hash grid of space, or three of its planes (ER-NeRF)
    conditioning: Literal["ambient", "attention"] = "ambient"  # RAD-NeRF's coordinates, or ER-NeRF's region attention
    warp: bool = True  # samples are taken back to rest by the MotionSpace's mesh
    levels: int = Field(12, ge=2, le=16)
    log2_entries: int = Field(15, ge=8, le=22)
    coarsest: int = Field(12, ge=2, le=64)  # cells a side of the head's box
    finest: int = Field(256, ge=16, le=4096)
    width: int = Field(48, ge=16, le=128)  # of the density and the colour network
    code: int = Field(16, ge=4, le=32)  # width of the code that an expression is encoded to
    ambient: int = Field(3, ge=2, le=3)  # coordinates
    appearance: int = Field(4, ge=0, le=16)  # width of each training frame's appearance embedding
    step_cm: float = Field(0.6, gt=0, le=5)  # between samples along a ray
    occupancy: int = Field(64, ge=16, le=256, multiple_of=8)  # cells a side
    stop: float = Field(0.01, ge=0, lt=1)  # a ray ends when no more than this gets through
    head_aware: bool = True  # the head's colour and coverage are inputs of the torso (GeneFace)
    torso_levels: int = Field(10, ge=2, le=16)
    torso_log2_entries: int = Field(14, ge=8, le=22)
    torso_finest: int = Field(256, ge=16, le=4096)
    torso_width: int = Field(48, ge=16, le=128)
    upscale: Literal[1, 2] = 1  # 2: drawn at half the size, enlarged by a small network
    rays_at_once: int = Field(2**18, ge=256)  # halved when a GPU's memory is full
    table_rate: float = Field(0.03, gt=0)
    network_rate: float = Field(0.006, gt=0)
    last_rate: float = Field(0.03, gt=0, le=1)  # what the rates fall to by the end of the budget
    feature_noise: float = Field(0.15, ge=0)  # deviation added to the inputs in training, against overfitting to frames
    generic: FilePath = ""  # a file of `avatar pretrain-renderer` to begin with
    lora_rank: int = Field(0, ge=0, le=16)  # of what adapts the generic motion branch; 0: all of it is trained


def pack_settings(settings: NerfSettings) -> Tensor:
    """Settings as bytes [n] uint8."""
    return torch.tensor(list(settings.model_dump_json().encode()), dtype=torch.uint8)


def unpack_settings(data: Tensor) -> NerfSettings:
    """The inverse of `pack_settings`. Raises: UserError when they are of another version."""
    try:
        return NerfSettings.model_validate(json.loads(bytes(data.tolist())))
    except (ValidationError, ValueError) as error:
        raise UserError(
            f"the avatar's NeRF settings cannot be read ({type(error).__name__}); build it again"
        ) from error
