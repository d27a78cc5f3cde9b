"""Hyper-parameters of the Gaussian renderer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from avatar.core.recipe import Settings


class GaussianSettings(Settings):
    """Hyper-parameters of the Gaussian renderer; the defaults gave docs/figures.md, Real clips."""

    kind: str = "gaussian"
    rasterizer: Literal["native", "gsplat"] = "native"
    splats: int = Field(18000, ge=500, le=200000)
    means_rate: float = Field(0.008, gt=0)  # cm a step
    scales_rate: float = Field(0.006, gt=0)
    opacity_rate: float = Field(0.03, gt=0)
    colors_rate: float = Field(0.004, gt=0)
    quaternions_rate: float = Field(0.004, gt=0)
    rigidity_rate: float = Field(0.002, gt=0)
    delta_rate: float = Field(0.1, gt=0)  # of the rates above
    feature_noise: float = Field(0.15, ge=0)  # deviation added to the inputs in training, against overfitting to frames
    last_rate: float = Field(0.3, gt=0, le=1)  # what the rates fall to by the end of the budget
    relocate_until: float = Field(0.6, ge=0, le=1)  # share of the budget in which transparent splats are relocated
    relocate_every: int = Field(400, ge=10)  # steps
