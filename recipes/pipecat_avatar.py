"""An avatar as the face of a Pipecat pipeline: a processor between the voice and the transport.

    from recipes.pipecat_avatar import with_avatar
    pipeline = Pipeline(with_avatar("me.avatar", [transport.input(), stt, llm, tts], transport.output()))

The transport's parameters need `video_out_enabled=True`, `video_out_is_live=True` and the avatar's width and height.
"""

from __future__ import annotations

from typing import Any

from avatar.play.player import Player
from avatar.serve.local import LocalAvatar


def with_avatar(avatar: Player | str, before: list[Any], output: Any, *, rate: int = 24000) -> list[Any]:
    """The processors of a pipeline that ends in a voice of `rate` Hz, with an avatar after it."""
    from avatar.serve.adapters.pipecat import AvatarProcessor

    player = avatar if isinstance(avatar, Player) else Player(avatar)
    return [*before, AvatarProcessor(LocalAvatar(player, rate=rate)), output]
