"""LiveAvatar: sound in, frames with their sound out; segments, late sound, interruptions, other clocks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
import torch

from avatar.core.articulation import Phone
from avatar.core.avatar_file import Avatar
from avatar.core.controls import resolve_controls
from avatar.core.emotion import Emotion
from avatar.core.files import UserError
from avatar.core.lips import read_lips
from avatar.core.motion_space import Motion, concatenate, load_space
from avatar.motion.batched_speech import BatchedSpeech, mouth_motion
from avatar.motion.driver import LIVE_WINDOW, Driver
from avatar.motion.speech_to_motion import SpeechToMotion, open_speech_model
from avatar.play.player import start_driver
from avatar.serve.engine import Client, Engine
from avatar.serve.live_avatar import MOST_SECONDS, LiveAvatar, Played
from avatar.voice.passages import Chunk, Part, Spoken
from preprocess.actor import speech

RATE = 16000


@pytest.fixture(scope="module")
def model(avatar: Avatar) -> SpeechToMotion:
    return open_speech_model(avatar.speech)


def driver(avatar: Avatar, model: SpeechToMotion) -> Driver:
    return start_driver(avatar, model, resolve_controls(avatar), LIVE_WINDOW)


class Room:
    """A LiveAvatar with a speech model, as a server runs it."""

    def __init__(self, avatar: Avatar, model: SpeechToMotion, *, rate: int = RATE, live: bool = False) -> None:
        self.live = LiveAvatar(driver(avatar, model), rate=rate, live=live)
        self.speech, self.stream, self.number = BatchedSpeech([model], torch.device("cpu")), None, -1

    def frame(self) -> Played:
        due = self.live.next_hops()
        if due.stream != self.number:
            self.stream, self.number = self.speech.open(0), due.stream
        assert self.stream is not None
        rows = self.speech.push([(self.stream, hop) for hop in due.hops])
        return self.live.next_frame([mouth_motion(hop, row) for hop, row in zip(due.hops, rows, strict=True)])

    def frames(self, count: int) -> list[Played]:
        return [self.frame() for _ in range(count)]


@pytest.fixture
def room(avatar: Avatar, model: SpeechToMotion) -> Room:
    return Room(avatar, model)


def spoken(seconds: float, rate: int = RATE) -> np.ndarray:
    pcm = speech(seconds)[0].numpy()
    times = np.arange(round(seconds * rate)) * 16000 / rate
    return (32767 * 0.9 * np.interp(times, np.arange(len(pcm)), pcm)).astype(np.int16)


def opening(motion: Motion) -> torch.Tensor:
    return (motion.expression @ read_lips(load_space().basis))[:, 0]


def events(frames: list[Played]) -> Iterator[tuple[int, str, int, float, bool]]:
    return ((one.index, e.kind, e.segment, e.position, e.interrupted) for one in frames for e in one.events)


@pytest.mark.parametrize("rate", [16000, 24000, 48000])
def test_a_segment_comes_out_as_it_went_in(avatar: Avatar, model: SpeechToMotion, rate: int) -> None:
    """Pushed at once, after idling: sound unchanged, played from the next frame on, with the frames it belongs to."""
    room, pcm = Room(avatar, model, rate=rate), spoken(2.03, rate)
    idle = room.frames(3)
    room.live.push(pcm)
    room.live.end()
    played = room.frames(70)
    assert all(not frame.sound.any() and not frame.speaking for frame in idle)
    sound = np.concatenate([frame.sound for frame in played])
    assert all(len(frame.sound) == rate // 25 for frame in played)
    assert np.array_equal(sound[: len(pcm)], pcm)
    assert not sound[len(pcm) :].any()
    assert [frame.index for frame in [*idle, *played]] == list(range(73))
    assert list(events(played)) == [
        (3, "playback_started", 0, 0.0, False),
        (3 + 50, "playback_finished", 0, 2.03, False),
    ]


def test_frames_are_those_of_the_driver_alone(avatar: Avatar, model: SpeechToMotion, room: Room) -> None:
    pcm = spoken(3.0)
    room.live.push(pcm)
    frames = concatenate([frame.motion for frame in room.frames(60)])
    alone = driver(avatar, model).push(torch.from_numpy(pcm).float() / 32768)
    assert torch.allclose(frames.expression, alone.expression[:60], atol=1e-3)
    assert torch.allclose(frames.rotation, alone.rotation[:60], atol=1e-5)


def test_sound_that_comes_as_it_is_spoken_is_played_after_its_look_ahead(room: Room) -> None:
    pcm = spoken(4.0)
    frames = []
    for start in range(0, len(pcm), 640):
        room.live.push(pcm[start : start + 640])
        frames.append(room.frame())
    first = next(frame.index for frame in frames if frame.speaking)
    assert first == 5  # 212 ms of sound are needed: the sixth piece brings them
    sound = np.concatenate([frame.sound for frame in frames[first:]])
    assert np.array_equal(sound, pcm[: len(sound)])
    assert room.live.late_sound == 0


def test_late_sound_freezes_nothing(room: Room) -> None:
    """Silence is played while nothing comes; the avatar idles, and goes on with the segment where it was."""
    pcm = spoken(3.0)
    room.live.push(pcm[:24000])
    before = room.frames(60)
    assert not before[-1].speaking
    steps = concatenate([frame.motion for frame in before]).translation.diff(dim=0).norm(dim=1)
    assert (steps[40:] > 0).all(), "the head goes on moving"
    room.live.push(pcm[24000:])
    room.live.end()
    after = room.frames(60)
    sound = np.concatenate([frame.sound for frame in [*before, *after] if frame.sound.any()])
    assert np.array_equal(sound[:24000], pcm[:24000])
    assert list(events([*before, *after]))[-1][1:] == ("playback_finished", 0, 3.0, False)
    assert len(list(events([*before, *after]))) == 2


def test_sound_late_by_jitter_is_held_back_longer(room: Room) -> None:
    """Pieces that come 100 ms late now and then: each is played, and after some of them none is late any more."""
    pcm = np.concatenate([spoken(8.0)] * 3)
    draw, arrivals = np.random.default_rng(0), []
    for number in range(len(pcm) // 640):
        arrivals.append(max(arrivals[-1] if arrivals else 0, number + (2.5 if draw.random() < 0.1 else 0.0)))
    late, sent = [], 0
    for tick in range(len(arrivals) + 20):
        while sent < len(arrivals) and arrivals[sent] <= tick:
            room.live.push(pcm[640 * sent : 640 * (sent + 1)])
            sent += 1
        room.frame()
        late.append(room.live.late_sound)
    assert 0 < late[-1] <= 4
    assert late[-1] == late[len(late) // 2]


def test_clear_closes_the_mouth_and_says_how_far_it_came(room: Room) -> None:
    shut = float(opening(concatenate([frame.motion for frame in room.frames(3)])).max())
    for tried in range(6):
        room.live.push(spoken(4.0))
        frames = room.frames(31 + 3 * tried)
        played = sum(frame.sound.any() for frame in frames)
        room.live.clear()
        after = room.frames(12)
        assert not any(frame.speaking or frame.sound.any() for frame in after)
        (finished,) = after[0].events
        assert finished.interrupted
        assert finished.position == pytest.approx(played / 25, abs=0.13)
        lips = opening(concatenate([frame.motion for frame in after]))
        assert float(lips[4:].max()) < shut + 0.05
    assert room.live.buffered == 0


def test_speech_and_idling_join_without_a_jump(room: Room) -> None:
    """No step of lips or head at a joint is larger than the largest within speech, in value or in speed."""
    parts, joints, at = [], [], 0
    for number in range(5):
        room.live.push(spoken(3.0)[: 640 * (55 + 3 * number)])
        room.live.end() if number % 2 else None
        frames = room.frames(40)
        if number % 2 == 0:
            room.live.clear()
        frames += room.frames(40)
        starts = [one.index for before, one in pairwise(frames) if one.speaking != before.speaking]
        joints += [frames[0].index, *starts]
        parts += frames
        at += len(frames)
    motion = concatenate([frame.motion for frame in parts])
    speaking = torch.tensor([frame.speaking for frame in parts])
    near = torch.zeros(at, dtype=torch.bool)
    for joint in joints:
        near[max(0, joint - 1) : joint + 7] = True
    lips = motion.expression @ read_lips(load_space().basis)
    for values in (
        lips[:, :1],
        lips[:, 1:2],
        lips[:, 2:3],
        motion.translation,
        motion.rotation.flatten(1),
        motion.torso,
    ):
        step = values.diff(dim=0).norm(dim=1)
        bend = values.diff(dim=0).diff(dim=0).norm(dim=1)
        assert step[near[1:]].max() <= 1.3 * step[(speaking & ~near)[1:]].max()
        assert bend[near[2:]].max() <= 2.0 * bend[(speaking & ~near)[2:]].max()


def test_attention_nods_and_looks_at_the_viewer(room: Room) -> None:
    room.frames(30)
    alone = concatenate([frame.motion for frame in room.frames(250)])
    room.live.attend(True)
    attentive = concatenate([frame.motion for frame in room.frames(250)])
    assert attentive.eyes[30:, 2:].std(0).mean() < 0.6 * alone.eyes[:, 2:].std(0).mean()
    pitch = [(one.rotation[1:, 2, 1] - one.rotation[:-1, 2, 1]).abs().max() for one in (alone, attentive)]
    assert pitch[1] > pitch[0]
    assert attentive.rotation.diff(dim=0).norm(dim=(1, 2)).max() < 0.04, "a nod is no jump"


def test_controls_come_into_force_smoothly(room: Room) -> None:
    room.live.push(np.concatenate([spoken(8.0)] * 2))
    loud = opening(concatenate([frame.motion for frame in room.frames(150)]))
    room.live.control({"mouth_gain": 0.0})
    still = opening(concatenate([frame.motion for frame in room.frames(60)]))
    assert still[12:].std() < 0.2 * loud.std()
    assert still.diff().abs().max() <= loud.diff().abs().max()
    for wrong, words in (
        ({"mouth_gain": 9}, "mouth_gain"),
        ({"pose": "take:/etc"}, "'pose' cannot be changed"),
        ({"style": "/etc/passwd"}, "'style' cannot be changed"),
        ({"head": {"0": 1}}, "must be a number"),
        ({"nonsense": 1}, "'nonsense' cannot be changed"),
    ):
        with pytest.raises(UserError, match=words):
            room.live.control(wrong)


def test_what_waits_is_bounded(room: Room) -> None:
    room.live.push(np.zeros(round(MOST_SECONDS * RATE), np.int16))
    with pytest.raises(UserError, match="send it as it is played"):
        room.live.push(np.zeros(1, np.int16))
    with pytest.raises(UserError, match="not one of 16000, 24000, 48000"):
        LiveAvatar(room.live._driver, rate=44100)


class StillDriver:
    """A driver's clock without its motion, so that hours take seconds."""

    def __init__(self, driver: Driver) -> None:
        self._driver, self._motion, self._stream = driver, driver.rest(1), 0

    def hops(self, pcm: torch.Tensor) -> list[object]:
        before, self._stream = self._stream, self._stream + len(pcm)
        lead = 3376 - 640  # samples that a first frame needs beyond its own
        return [None] * (max(0, self._stream - lead) // 640 - max(0, before - lead) // 640)

    def behave(self, mouth: object) -> Motion:
        return self._motion

    def rest(self, count: int) -> Motion:
        return self._motion

    def interrupt(self) -> None:
        self._stream = 0


@pytest.mark.parametrize("skew", [3e-4, -3e-4])
def test_a_microphone_of_another_clock_stays_in_step(avatar: Avatar, model: SpeechToMotion, skew: float) -> None:
    """Half an hour of a clock 300 parts in a million off, with jitter: the delay from a sample to its frame stays."""
    live = LiveAvatar(StillDriver(driver(avatar, model)), rate=RATE, live=True)  # type: ignore[arg-type]
    draw = np.random.default_rng(1)
    number, waits = 0, []
    for tick in range(30 * 60 * 25):
        now = tick * 0.04
        while number * 0.02 / (1 + skew) + (0.1 * draw.random() if number % 50 == 0 else 0) <= now:
            quiet = number % 50 < 20  # pauses of 400 ms in each second
            live.push(np.full(320, 0 if quiet else 1 + number % 1000, np.int16) * 16)
            number += 1
        due = live.next_hops()
        frame = live.next_frame([object()] * len(due.hops))  # type: ignore[list-item]
        waits.append(live.buffered)
        assert frame.index == tick
    early, late = np.mean(waits[1000:5000]), np.mean(waits[-4000:])
    assert abs(late - early) < 0.04
    assert max(waits) < 0.65


def test_a_voice_moves_lips_and_face_by_what_it_says(avatar: Avatar, model: SpeechToMotion) -> None:
    """Phones come at their times within a segment, whatever was pushed before; an interruption drops the rest."""
    pcm = spoken(3.0)
    phones = tuple(Phone("b" if at % 2 else "aa", at / 5, (at + 1) / 5) for at in range(10))
    happy = Spoken(Part("Hello", emotion=Emotion("happy", 1.0)), 0.0, 2.0)
    said = Chunk(pcm[:32000].astype(np.float32) / 32768, RATE, phones, (happy,), timed=True)
    rooms = [Room(avatar, model) for _ in range(2)]
    for room, chunk in zip(rooms, (said, None), strict=True):
        room.live.push(pcm[:8000])
        room.live.push(pcm[8000:40000], chunk)
    with_phones, alone = (room.frames(62) for room in rooms)
    assert all(np.array_equal(one.sound, other.sound) for one, other in zip(with_phones, alone, strict=True))
    shown, other = (concatenate([frame.motion for frame in frames]) for frames in (with_phones, alone))
    apart = (shown.expression - other.expression).abs().amax(1)
    assert apart[:8].max() < 1e-4, "the first half second is said by nobody"
    assert apart[20:50].mean() > 0.1
    curve = opening(shown)[13:61]
    closed = np.array([(frame - 12.5) / 5 % 2 >= 1 for frame in range(13, 61)])
    assert curve[closed].mean() < curve[~closed].mean() - 0.3 * opening(other)[13:61].std()
    for room, chunk in zip(rooms, (said, None), strict=True):
        room.live.clear()
        room.live.push(pcm)
        room.live.push(pcm[:32000], chunk)
        room.live.clear()
    after, plain = (concatenate([frame.motion for frame in room.frames(40)]) for room in rooms)
    assert torch.allclose(opening(after)[15:], opening(plain)[15:], atol=0.02), "nothing is left of what was dropped"


def test_groups_of_sessions_move_as_all_together(
    avatar: Avatar, model: SpeechToMotion, monkeypatch: pytest.MonkeyPatch
) -> None:
    pcm, nothing = spoken(1.2), cast(Any, None)

    def motions(group: int) -> list[Motion]:
        monkeypatch.setattr("avatar.serve.engine.GROUP", group)
        engine, clients = Engine([model]), list[Client]()
        for index in range(5):
            clients.append(Client(Room(avatar, model).live, 0, nothing, nothing, lambda _: None, drawn=False))
            clients[-1].live.push(pcm[2000 * index :])
        ticks = [engine.step(clients) for _ in range(20)]
        engine.close()
        assert all(one.index == tick for tick, played in enumerate(ticks) for one in played)
        return [concatenate([played[index].motion for played in ticks]) for index in range(5)]

    for apart, together in zip(motions(2), motions(100), strict=True):
        assert torch.allclose(apart.expression, together.expression, atol=1e-3)
        assert torch.allclose(apart.rotation, together.rotation, atol=1e-5)
