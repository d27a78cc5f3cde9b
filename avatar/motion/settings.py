"""Settings of the speech model."""

from __future__ import annotations

from typing import Literal

from avatar.core.recipe import Settings

Calibration = Literal["regression", "adversarial"]
"""What makes it one person's: fitted to pairs of their sound and face, or a post-net trained adversarially."""


class MotionSettings(Settings):
    """How sound becomes one person's motion."""

    calibration: Calibration = "regression"
