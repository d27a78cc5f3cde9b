"""Build a talking avatar of one person from a short video.

Public names are resolved on first use, so importing the package loads neither torch nor the native ops.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avatar.core.bundle import Avatar, load_avatar, save_avatar
    from avatar.core.motion_space import Motion, MotionSpace
    from avatar.core.take import Take, Track, open_take
    from avatar.pipelines.build import build
    from avatar.pipelines.evaluate import evaluate
    from avatar.pipelines.speak import reenact, speak
    from avatar.pipelines.takes import make_take
    from cuda_ext.ops import set_threads
    from preprocess.run import Wishes

_HOMES = {
    "Avatar": "avatar.core.bundle",
    "Motion": "avatar.core.motion_space",
    "MotionSpace": "avatar.core.motion_space",
    "Take": "avatar.core.take",
    "Track": "avatar.core.take",
    "Wishes": "preprocess.run",
    "build": "avatar.pipelines.build",
    "evaluate": "avatar.pipelines.evaluate",
    "load_avatar": "avatar.core.bundle",
    "make_take": "avatar.pipelines.takes",
    "open_take": "avatar.core.take",
    "reenact": "avatar.pipelines.speak",
    "save_avatar": "avatar.core.bundle",
    "set_threads": "cuda_ext.ops",
    "speak": "avatar.pipelines.speak",
}

__all__ = [
    "Avatar",
    "Motion",
    "MotionSpace",
    "Take",
    "Track",
    "Wishes",
    "build",
    "evaluate",
    "load_avatar",
    "make_take",
    "open_take",
    "reenact",
    "save_avatar",
    "set_threads",
    "speak",
]


def __getattr__(name: str) -> Any:
    if name == "live":
        return importlib.import_module("avatar.live")
    if name not in _HOMES:
        raise AttributeError(f"module 'avatar' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
