"""A `VideoGenerator` for LiveKit Agents: what its `AvatarRunner` publishes into a room.

    AvatarRunner(room, audio_recv=DataStreamAudioReceiver(room), video_gen=generator, options=generator.options)

where `generator = AvatarGenerator(LocalAvatar(Player("me.avatar")))`. Needs the extra `livekit`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from avatar.core.files import UserError
from avatar.motion.driver import FPS
from avatar.serve.live_avatar import SAMPLE
from avatar.serve.local import LocalAvatar

try:
    from livekit import rtc
    from livekit.agents.voice.avatar import AudioSegmentEnd, AvatarOptions, VideoGenerator
except ImportError as error:
    raise UserError(f"the LiveKit adapter needs its extra ({error}); pip install 'avatar-builder[livekit]'") from error


class AvatarGenerator(VideoGenerator):
    """An avatar that says what LiveKit's agent says, and idles in between."""

    def __init__(self, avatar: LocalAvatar) -> None:
        self._avatar = avatar

    @property
    def options(self) -> Any:
        """What `AvatarRunner` has to know."""
        height, width = self._avatar.shape
        return AvatarOptions(
            video_width=width,
            video_height=height,
            video_fps=FPS,
            audio_sample_rate=self._avatar.live.rate,
            audio_channels=1,
        )

    async def push_audio(self, frame: Any) -> None:
        """Sound of the agent, or the end of a segment. Raises: UserError for sound of another rate."""
        if isinstance(frame, AudioSegmentEnd):
            self._avatar.live.end()
            return
        if frame.sample_rate != self._avatar.live.rate:
            raise UserError(f"sound of {frame.sample_rate} Hz: this avatar takes {self._avatar.live.rate} Hz")
        samples = np.frombuffer(frame.data, SAMPLE).reshape(-1, frame.num_channels)
        self._avatar.live.push(samples.mean(1).astype(np.int16) if frame.num_channels > 1 else samples[:, 0])

    def clear_buffer(self) -> None:
        """Drop what was not played."""
        self._avatar.live.clear()

    async def _generate(self) -> AsyncIterator[Any]:
        height, width = self._avatar.shape
        async for frame in self._avatar.frames():
            if frame.picture is not None:
                yield rtc.VideoFrame(width, height, rtc.VideoBufferType.NV12, frame.picture.tobytes())
            if frame.played.speaking:
                sound = frame.played.sound.astype(SAMPLE)
                yield rtc.AudioFrame(sound.tobytes(), self._avatar.live.rate, 1, len(sound))
            if any(event.kind == "playback_finished" and not event.interrupted for event in frame.played.events):
                yield AudioSegmentEnd()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._generate()
