"""A `FrameProcessor` for Pipecat, to stand after the voice: takes its sound, gives picture and sound in step.

    Pipeline([transport.input(), stt, llm, tts, AvatarProcessor(LocalAvatar(Player("me.avatar"))), transport.output()])

The transport needs `video_out_enabled`, `video_out_is_live`, and the avatar's size. Needs the extra `pipecat`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from avatar.core.files import UserError
from avatar.serve.engine import Frame as LiveFrame
from avatar.serve.live_avatar import SAMPLE
from avatar.serve.local import LocalAvatar

try:
    from pipecat.frames.frames import (
        CancelFrame,
        EndFrame,
        Frame,
        InterruptionFrame,
        OutputAudioRawFrame,
        OutputImageRawFrame,
        StartFrame,
        TTSAudioRawFrame,
        TTSStoppedFrame,
        UserStartedSpeakingFrame,
        UserStoppedSpeakingFrame,
    )
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
except ImportError as error:
    raise UserError(f"the Pipecat adapter needs its extra ({error}); pip install 'avatar-builder[pipecat]'") from error


class AvatarProcessor(FrameProcessor):
    """An avatar that says what the voice before it says, and attends to the user meanwhile."""

    def __init__(self, avatar: LocalAvatar, **settings: Any) -> None:
        super().__init__(**settings)
        self._avatar, self._task = avatar, None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Sound of the voice goes into the avatar; whatever else comes is passed on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self._push(frame)
            return
        if isinstance(frame, StartFrame) and self._task is None:
            self._task = self.create_task(self._show())
        elif isinstance(frame, InterruptionFrame):
            self._avatar.live.clear()
        elif isinstance(frame, TTSStoppedFrame):
            self._avatar.live.end()
        elif isinstance(frame, (UserStartedSpeakingFrame, UserStoppedSpeakingFrame)):
            self._avatar.live.attend(isinstance(frame, UserStartedSpeakingFrame))
        elif isinstance(frame, EndFrame):  # what was said before it is still played
            self._avatar.live.end()
            while self._avatar.live.buffered or self._avatar.live.speaking:
                await asyncio.sleep(0.04)
        if isinstance(frame, (EndFrame, CancelFrame)) and self._task is not None:
            task, self._task = self._task, None
            await self.cancel_task(task)
        await self.push_frame(frame, direction)

    def _push(self, frame: Any) -> None:
        if frame.sample_rate != self._avatar.live.rate:
            raise UserError(f"sound of {frame.sample_rate} Hz: this avatar takes {self._avatar.live.rate} Hz")
        samples = np.frombuffer(frame.audio, SAMPLE).reshape(-1, frame.num_channels)
        self._avatar.live.push(samples.mean(1).astype(np.int16) if frame.num_channels > 1 else samples[:, 0])

    async def _show(self) -> None:
        async for frame in self._avatar.frames():
            for one in self._outputs(frame):
                await self.push_frame(one, FrameDirection.DOWNSTREAM)

    def _outputs(self, frame: LiveFrame) -> list[Any]:
        """A frame's picture, to be shown after the sound before it, and its sound."""
        outputs: list[Any] = []
        height, width = self._avatar.shape
        if frame.picture is not None:
            picture = to_rgb(frame.picture)
            image = OutputImageRawFrame(image=picture.tobytes(), size=(width, height), format="RGB")
            image.sync_with_audio = frame.played.speaking
            outputs.append(image)
        if frame.played.speaking:
            sound = frame.played.sound.astype(SAMPLE).tobytes()
            outputs.append(OutputAudioRawFrame(audio=sound, sample_rate=self._avatar.live.rate, num_channels=1))
        return outputs


def to_rgb(picture: np.ndarray) -> np.ndarray:
    """RGB [H, W, 3] uint8 of an NV12 picture [3 H / 2, W] in BT.709, limited range."""
    height = len(picture) * 2 // 3
    luma = (picture[:height].astype(np.float32) - 16) * (255 / 219)
    chroma = (picture[height:].astype(np.float32) - 128) * (255 / 224)
    blue, red = (np.repeat(np.repeat(chroma[:, at::2], 2, 0), 2, 1) for at in (0, 1))
    rgb = np.stack([luma + 1.5748 * red, luma - 0.1873 * blue - 0.4681 * red, luma + 1.8556 * blue], 2)
    return np.rint(rgb).clip(0, 255).astype(np.uint8)
