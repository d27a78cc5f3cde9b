"""The section `motion` of a recipe."""

from __future__ import annotations

from avatar.core.recipe import Settings
from avatar.core.speech_model import Calibration

__all__ = ["Calibration", "MotionSettings"]


class MotionSettings(Settings):
    """How the speech model is adapted to a person."""

    calibration: Calibration = "regression"
