"""Adapters against stubs of the frameworks' interfaces, as livekit-agents 1.8 and pipecat-ai 1.14 have them."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from avatar.core.avatar_file import Avatar
from avatar.core.files import UserError
from avatar.play.look import Look
from avatar.play.player import Player
from avatar.serve.local import LocalAvatar
from preprocess.actor import speech
from recipes.livekit_avatar import make_runner
from recipes.pipecat_avatar import with_avatar

RATE = 24000


@pytest.fixture(scope="module")
def player(avatar: Avatar) -> Player:
    return Player(avatar, look=Look(size=128))


def spoken(seconds: float) -> np.ndarray:
    pcm = speech(seconds)[0].numpy()
    times = np.arange(round(seconds * RATE)) * 16000 / RATE
    return (32767 * 0.9 * np.interp(times, np.arange(len(pcm)), pcm)).astype(np.int16)


def module(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(members)
    monkeypatch.setitem(sys.modules, name, made)
    return made


class SegmentEnd:
    pass


@dataclass
class AudioFrame:
    data: bytes
    sample_rate: int
    num_channels: int
    samples_per_channel: int


@dataclass
class VideoFrame:
    width: int
    height: int
    type: str
    data: bytes


class Runner:
    """Takes from a generator what `AvatarRunner` does."""

    def __init__(self, room: Any, *, audio_recv: Any, video_gen: Any, options: Any) -> None:
        self.generator, self.options = video_gen, options

    async def run(self, until: Callable[[list[Any]], bool]) -> list[Any]:
        got: list[Any] = []
        frames: AsyncIterator[Any] = self.generator.__aiter__()
        async for frame in frames:
            got.append(frame)
            if until(got):
                return got
        return got


@pytest.fixture
def livekit(monkeypatch: pytest.MonkeyPatch) -> None:
    rtc = SimpleNamespace(AudioFrame=AudioFrame, VideoFrame=VideoFrame, VideoBufferType=SimpleNamespace(NV12="nv12"))
    for name in ("livekit.agents", "livekit.agents.voice"):
        module(monkeypatch, name)
    module(monkeypatch, "livekit", rtc=rtc)
    module(
        monkeypatch, "livekit.agents.voice.avatar", AudioSegmentEnd=SegmentEnd, AvatarOptions=SimpleNamespace,
        VideoGenerator=object, AvatarRunner=Runner, DataStreamAudioReceiver=lambda room: room,
    )  # fmt: skip
    monkeypatch.delitem(sys.modules, "avatar.serve.adapters.livekit", raising=False)


def test_livekit(livekit: None, player: Player) -> None:
    async def run() -> None:
        runner = make_runner("room", player)
        options, generator, pcm = runner.options, runner.generator, spoken(0.6)
        assert (options.video_width, options.video_height, options.video_fps) == (128, 128, 25)
        assert (options.audio_sample_rate, options.audio_channels) == (RATE, 1)
        for part in np.split(pcm, 4):
            await generator.push_audio(AudioFrame(part.tobytes(), RATE, 1, len(part)))
        await generator.push_audio(SegmentEnd())
        got = await asyncio.wait_for(runner.run(lambda frames: isinstance(frames[-1], SegmentEnd)), 20)
        sound = b"".join(one.data for one in got if isinstance(one, AudioFrame))
        assert sound[: 2 * len(pcm)] == pcm.tobytes()
        pictures = [one for one in got if isinstance(one, VideoFrame)]
        assert len(pictures) >= 15
        assert len(pictures[0].data) == 128 * 192
        stereo = np.repeat(pcm[:, None], 2, 1)
        await generator.push_audio(AudioFrame(stereo.tobytes(), RATE, 2, len(pcm)))
        generator.clear_buffer()
        quiet = await asyncio.wait_for(runner.run(lambda frames: len(frames) == 5), 20)
        assert all(isinstance(one, VideoFrame) for one in quiet), "it idles"
        with pytest.raises(UserError, match="takes 24000 Hz"):
            await generator.push_audio(AudioFrame(b"", 48000, 1, 0))

    asyncio.run(run())


class Frame:
    pass


@dataclass
class Sound(Frame):
    audio: bytes
    sample_rate: int
    num_channels: int


class VoiceSound(Sound):
    pass


@dataclass
class Picture(Frame):
    image: bytes
    size: tuple[int, int]
    format: str
    sync_with_audio: bool = field(default=False, init=False)


class Processor:
    """What Pipecat's base class gives a processor."""

    def __init__(self, **settings: Any) -> None:
        self.pushed: list[Any] = []

    async def process_frame(self, frame: Any, direction: Any) -> None:
        pass

    async def push_frame(self, frame: Any, direction: Any = None) -> None:
        self.pushed.append(frame)

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    async def cancel_task(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


KINDS = ("CancelFrame", "EndFrame", "InterruptionFrame", "StartFrame", "TTSStoppedFrame")
SPEAKING = ("UserStartedSpeakingFrame", "UserStoppedSpeakingFrame")


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    made = {name: type(name, (Frame,), {}) for name in (*KINDS, *SPEAKING)}
    for name in ("pipecat", "pipecat.frames", "pipecat.processors"):
        module(monkeypatch, name)
    module(
        monkeypatch, "pipecat.frames.frames", Frame=Frame, OutputAudioRawFrame=Sound, OutputImageRawFrame=Picture,
        TTSAudioRawFrame=VoiceSound, **made,
    )  # fmt: skip
    direction = SimpleNamespace(DOWNSTREAM=1)
    module(monkeypatch, "pipecat.processors.frame_processor", FrameProcessor=Processor, FrameDirection=direction)
    monkeypatch.delitem(sys.modules, "avatar.serve.adapters.pipecat", raising=False)
    return made


def test_pipecat(kinds: dict[str, Any], player: Player) -> None:
    async def run() -> None:
        processor = with_avatar(player, ["voice"], "output")[1]
        pcm = spoken(0.6)

        async def give(frame: Any) -> None:
            await processor.process_frame(frame, 1)

        await give(kinds["StartFrame"]())
        for part in np.split(pcm, 4):
            await give(VoiceSound(part.tobytes(), RATE, 1))
        await give(kinds["TTSStoppedFrame"]())
        await give(kinds["EndFrame"]())
        names = [type(one).__name__ for one in processor.pushed]
        assert names[0] == "StartFrame"
        assert names[-1] == "EndFrame"
        sound = [one for one in processor.pushed if isinstance(one, Sound)]
        assert not any(isinstance(one, VoiceSound) for one in sound), "the voice's own sound is not passed on"
        assert b"".join(one.audio for one in sound)[: 2 * len(pcm)] == pcm.tobytes()
        pictures = [one for one in processor.pushed if isinstance(one, Picture)]
        assert len(pictures) >= 15
        assert len(pictures[-1].image) == 128 * 128 * 3
        assert any(one.sync_with_audio for one in pictures)

    asyncio.run(run())


def test_pipecat_interrupted(kinds: dict[str, Any], player: Player) -> None:
    async def run() -> None:
        processor = with_avatar(player, [], "output")[0]
        await processor.process_frame(VoiceSound(spoken(1.0).tobytes(), RATE, 1), 1)
        await processor.process_frame(kinds["InterruptionFrame"](), 1)
        assert processor._avatar.live.buffered == 0
        with pytest.raises(UserError, match="takes 24000 Hz"):
            await processor.process_frame(VoiceSound(b"", 16000, 1), 1)

    asyncio.run(run())


def test_colours_survive_the_way_to_rgb(kinds: dict[str, Any], player: Player) -> None:
    to_rgb = importlib.import_module("avatar.serve.adapters.pipecat").to_rgb
    (frame,) = list(player.speak([np.zeros(640, np.float32)]))
    (coded,) = list(Player(player.avatar, look=Look(size=128)).speak([np.zeros(640, np.float32)], pixels="nv12"))
    assert np.abs(to_rgb(coded).astype(int) - frame).mean() < 3


def test_without_the_framework_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, extra in (("livekit", "livekit"), ("pipecat", "pipecat")):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, f"avatar.serve.adapters.{name}", raising=False)
        with pytest.raises(UserError, match=rf"avatar-builder\[{extra}\]"):
            importlib.import_module(f"avatar.serve.adapters.{name}")


def test_one_session_of_ones_own(player: Player) -> None:
    avatar = LocalAvatar(player, rate=16000)
    avatar.live.push(np.zeros(16000, np.int16))
    avatar.live.end()
    frames = [avatar.frame() for _ in range(30)]
    assert [frame.played.index for frame in frames] == list(range(30))
    assert all(frame.picture is not None and frame.picture.shape == (192, 128) for frame in frames)
    assert sum(frame.played.speaking for frame in frames) >= 25
