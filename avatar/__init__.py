"""Build a talking avatar of one person from a short video.

Public names are resolved on first use, so importing the package loads neither torch nor the native ops.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avatar.core.avatar_file import Avatar, SpeakingStyle, load_avatar, save_avatar
    from avatar.core.controls import Controls, resolve_controls
    from avatar.core.files import UserError
    from avatar.core.label import Label
    from avatar.core.media import read_speech
    from avatar.core.motion_space import Motion, MotionSpace, load_motion
    from avatar.core.recipe import Recipe
    from avatar.core.speech_file import SpeechFile
    from avatar.core.speech_model import SpeechModel
    from avatar.core.take import Take, Track, open_take
    from avatar.pipelines.build import build
    from avatar.pipelines.dub import Dubbing, dub
    from avatar.pipelines.evaluate import evaluate
    from avatar.pipelines.present import Presenting, present
    from avatar.pipelines.say import Saying, say
    from avatar.pipelines.speak import reenact, speak
    from avatar.pipelines.style import learn_style
    from avatar.pipelines.takes import make_take
    from avatar.pipelines.upgrade import upgrade
    from avatar.play.look import Look
    from avatar.play.player import Player
    from avatar.play.session import Session
    from avatar.voice.engines import VoiceChoice
    from cuda_ext.ops import set_threads
    from preprocess.request import TakeRequest

_HOMES = {
    "Avatar": "avatar.core.avatar_file",
    "Controls": "avatar.core.controls",
    "Dubbing": "avatar.pipelines.dub",
    "Label": "avatar.core.label",
    "Look": "avatar.play.look",
    "Motion": "avatar.core.motion_space",
    "MotionSpace": "avatar.core.motion_space",
    "Player": "avatar.play.player",
    "Presenting": "avatar.pipelines.present",
    "Recipe": "avatar.core.recipe",
    "Saying": "avatar.pipelines.say",
    "Session": "avatar.play.session",
    "SpeakingStyle": "avatar.core.avatar_file",
    "SpeechFile": "avatar.core.speech_file",
    "SpeechModel": "avatar.core.speech_model",
    "Take": "avatar.core.take",
    "TakeRequest": "preprocess.request",
    "Track": "avatar.core.take",
    "UserError": "avatar.core.files",
    "VoiceChoice": "avatar.voice.engines",
    "build": "avatar.pipelines.build",
    "dub": "avatar.pipelines.dub",
    "evaluate": "avatar.pipelines.evaluate",
    "learn_style": "avatar.pipelines.style",
    "load_avatar": "avatar.core.avatar_file",
    "load_motion": "avatar.core.motion_space",
    "make_take": "avatar.pipelines.takes",
    "open_take": "avatar.core.take",
    "present": "avatar.pipelines.present",
    "read_speech": "avatar.core.media",
    "reenact": "avatar.pipelines.speak",
    "say": "avatar.pipelines.say",
    "resolve_controls": "avatar.core.controls",
    "save_avatar": "avatar.core.avatar_file",
    "set_threads": "cuda_ext.ops",
    "speak": "avatar.pipelines.speak",
    "upgrade": "avatar.pipelines.upgrade",
}

__all__ = [
    "Avatar",
    "Controls",
    "Dubbing",
    "Label",
    "Look",
    "Motion",
    "MotionSpace",
    "Player",
    "Presenting",
    "Recipe",
    "Saying",
    "Session",
    "SpeakingStyle",
    "SpeechFile",
    "SpeechModel",
    "Take",
    "TakeRequest",
    "Track",
    "UserError",
    "VoiceChoice",
    "build",
    "dub",
    "evaluate",
    "learn_style",
    "load_avatar",
    "load_motion",
    "make_take",
    "open_take",
    "present",
    "read_speech",
    "reenact",
    "resolve_controls",
    "save_avatar",
    "say",
    "set_threads",
    "speak",
    "upgrade",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'avatar' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
