"""An avatar as the face of a LiveKit agent: joins a room as a worker of its own, and says what the agent says.

The agent's process gives its sound away with `DataStreamAudioOutput(room, destination_identity="avatar")`; this one is
started for the room with an access token of that identity:

    python recipes/livekit_avatar.py me.avatar wss://live.example.org TOKEN
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from avatar.play.player import Player
from avatar.serve.local import LocalAvatar


def make_runner(room: Any, player: Player) -> Any:
    """What publishes the avatar into a room."""
    from livekit.agents.voice.avatar import AvatarRunner, DataStreamAudioReceiver

    from avatar.serve.adapters.livekit import AvatarGenerator

    generator = AvatarGenerator(LocalAvatar(player))
    receiver = DataStreamAudioReceiver(room)
    return AvatarRunner(room, audio_recv=receiver, video_gen=generator, options=generator.options)


async def main(name: str, url: str, token: str) -> None:
    from livekit import rtc

    room, player = rtc.Room(), Player(name)
    await room.connect(url, token)
    runner = make_runner(room, player)
    await runner.start()
    await runner.wait_for_complete()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
