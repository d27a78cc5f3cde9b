"""Player: an avatar opened once; sound or motion in, frames out. Its sessions: live, idle, interrupted."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.core.avatar_file import Avatar
from avatar.core.controls import Controls
from avatar.core.files import UserError
from avatar.core.motion_space import Motion, concatenate, load_space
from avatar.motion.driver import LIVE_WINDOW, Driver
from avatar.play.look import Look
from avatar.play.player import Player
from preprocess.actor import speech
from tests.conftest import Filmed

FRAME = 640  # samples


@pytest.fixture(scope="module")
def player(avatar: Avatar) -> Player:
    return Player(avatar, controls=Controls(blink=0.0))


def pieces(pcm: torch.Tensor, size: int = FRAME) -> list[np.ndarray]:
    return [piece.numpy() for piece in pcm.split(size)]


def live(player: Player) -> Driver:
    return player.driver(LIVE_WINDOW)


def opening(player: Player, motion: Motion) -> torch.Tensor:
    """Lip opening in cm [T]."""
    return motion.expression @ player.avatar.speech.lip_reading


def test_frames_are_those_of_the_motion(player: Player) -> None:
    pcm = speech(2.0)[0]
    spoken = list(player.speak(pieces(pcm, 5000)))
    drawn = list(player.reenact(concatenate(list(player.motion(pieces(pcm, 16000))))))
    assert len(spoken) == len(drawn) == 50
    assert spoken[0].shape == (*player.shape, 3) == (128, 128, 3)
    assert all(np.array_equal(a, b) for a, b in zip(spoken, drawn, strict=True))
    assert np.abs(spoken[10].astype(int) - spoken[30]).max() > 20  # it moves


def test_a_look_is_drawn(avatar: Avatar) -> None:
    pcm = speech(1.0)[0]
    green = list(Player(avatar, look=Look(size=96, background="#00ff00", fps=50), mark="none").speak(pieces(pcm)))
    clear = list(Player(avatar, look=Look(size=96, background="transparent")).speak(pieces(pcm)))
    assert len(green) == 2 * len(clear) == 50
    assert green[0].shape == (96, 96, 3)
    assert clear[0].shape == (96, 96, 4)
    corner = clear[0][:8, :8, 3]
    assert corner.max() < 10
    assert (green[0][:8, :8] == [0, 255, 0]).mean() > 0.9
    nv12 = next(iter(Player(avatar).speak(pieces(pcm), pixels="nv12")))
    assert nv12.shape == (192, 128)


def test_the_view_can_orbit(avatar: Avatar) -> None:
    motion = next(iter(Player(avatar).motion(pieces(speech(2.0)[0]))))
    still = replace(motion[:1], fps=25.0)
    held = concatenate([still] * 50)
    turned = list(Player(avatar, look=Look(orbit=15), mark="none").reenact(held))
    fixed = list(Player(avatar, mark="none").reenact(held))
    assert np.abs(turned[0].astype(int) - fixed[0]).max() <= 1  # turned by nothing, which may round
    assert np.abs(turned[37].astype(int) - fixed[37]).mean() > 1  # a quarter of the swing's six seconds


def test_a_full_frame_holds_the_person(avatar: Avatar, actor: Filmed) -> None:
    player = Player(avatar, look=Look(full_frame=True))
    frame = next(iter(player.speak(pieces(speech(1.0)[0]))))
    assert frame.shape == (512, 512, 3) == (*player.shape, 3)
    with pytest.raises(UserError, match="holds no matte of its source's frame; run `avatar upgrade`"):
        Player(replace(avatar, matte=torch.zeros(0, 0, dtype=torch.uint8)), look=Look(full_frame=True))
    with pytest.raises(UserError, match="does not hold its source's frame"):
        Player(replace(avatar, frame=torch.zeros(0, dtype=torch.uint8)), look=Look(full_frame=True))


@pytest.mark.parametrize("kind", ["int16", "stereo", "48000", "tensor"])
def test_sound_of_any_kind_is_the_same_speech(player: Player, kind: str) -> None:
    pcm = speech(3.0)[0]
    expected = concatenate(list(player.motion(pieces(pcm))))
    rate, chunks = 16000, pieces(pcm)
    if kind == "int16":
        chunks = [(chunk * 32767).astype(np.int16) for chunk in chunks]
    elif kind == "stereo":
        chunks = [np.stack([1.2 * chunk, 0.8 * chunk], 1) for chunk in chunks]
    elif kind == "tensor":
        chunks = list(pcm.split(FRAME))
    else:
        time = np.arange(3 * len(pcm)) / 48000
        rate, chunks = 48000, pieces(torch.from_numpy(np.interp(time, np.arange(len(pcm)) / 16000, pcm)).float(), 999)
    motion = concatenate(list(player.motion(chunks, rate=rate)))
    assert len(motion) == len(expected) == 75
    first, second = opening(player, motion), opening(player, expected)
    assert torch.corrcoef(torch.stack([first, second]))[0, 1] > 0.98


def test_sound_that_is_none_is_refused(player: Player) -> None:
    session = player.session()
    for wrong, words in (
        (np.array([0.1, np.nan], np.float32), "not numbers"),
        (np.zeros((2, 2, 2), np.float32), "is no pcm"),
        (np.zeros(4, np.int32), "is no pcm"),
    ):
        with pytest.raises(UserError, match=words):
            session.push(wrong)
    with pytest.raises(UserError, match="give a rate from"):
        player.session(rate=1)


def test_a_session_is_live(player: Player) -> None:
    pcm = speech(4.0)[0]
    session, shown, delays = player.session(), 0, []
    for number, piece in enumerate(pieces(pcm), start=1):
        shown += len(session.push(piece))
        delays.append(number - shown)
    assert max(delays) <= 6  # frames: .24 s
    assert shown + len(session.finish()) == 100
    with pytest.raises(UserError, match="the session is closed; open another"):
        session.push(pieces(pcm)[0])


def test_sessions_share_what_was_opened_and_do_not_disturb_each_other(player: Player) -> None:
    pcm = speech(2.0)[0]
    found: dict[int, list[np.ndarray]] = {}

    def talk(number: int) -> None:
        with player.session() as session:
            found[number] = [frame for piece in pieces(pcm) for frame in session.push(piece)]

    talk(-1)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for frames in found.values():
        assert len(frames) == len(found[-1]) > 40
        # matrix products may differ in their last bit where memory lies otherwise
        assert max(np.abs(a.astype(int) - b).max() for a, b in zip(frames, found[-1], strict=True)) <= 1


def test_an_interrupted_mouth_closes_within_200_ms(player: Player) -> None:
    pcm = speech(6.0)[0]
    closed = float(opening(player, player.avatar.style.own).quantile(0.25))
    tried = 0
    for second in (1.0, 1.6, 2.2, 2.8, 3.4):
        driver = live(player)
        spoken = driver.push(pcm[: int(second * 16000)])
        if opening(player, spoken)[-1] < closed + 0.3:
            continue  # the mouth is closed just now
        tried += 1
        driver.interrupt()
        after = opening(player, driver.idle(25))
        assert after[4:].max() < closed, second
        assert after[0] > after[1] > after[3]  # it closes, it does not jump
    assert tried >= 2


def test_idle_frames_live_and_join_without_a_jump(player: Player) -> None:
    pcm = speech(3.0)[0]
    lively = Player(player.avatar)
    driver = live(lively)
    before = driver.push(pcm)
    idle = concatenate([driver.idle(7) for _ in range(60)])
    again = driver.push(pcm)
    assert len(idle) == 420
    lips, shut = opening(lively, idle), 1 - idle.eyes[:, 0]
    assert lips[30:].max() < float(opening(lively, lively.avatar.style.own).quantile(0.4))  # at rest
    assert shut.max() > 0.5  # blinks
    assert idle.torso[30:, 1].std() > 0.05  # breathes
    assert idle.rotation[30:].std(0).max() > 1e-3  # small head motion
    whole = concatenate([before, idle, again])
    joints = (len(before), len(before) + len(idle))
    for values in (opening(lively, whole)[:, None], whole.translation, whole.torso, whole.rotation.flatten(1)):
        steps = values.diff(dim=0).norm(dim=1)
        usual = steps[: len(before) - 1].max()
        for joint in joints:
            assert steps[joint - 6 : joint + 6].max() <= 1.3 * usual


def test_idle_shows_the_end_of_what_was_said_first(player: Player) -> None:
    pcm = speech(2.0)[0]
    cut_short, whole = live(player), live(player)
    spoken = cut_short.push(pcm)
    tail = concatenate([cut_short.idle(1) for _ in range(50 - len(spoken))])
    expected = concatenate([whole.push(pcm), whole.finish()])
    assert len(expected) == 50
    assert torch.allclose(tail.expression, expected.expression[len(spoken) :], atol=1e-4)


def test_idle_needs_a_count(player: Player) -> None:
    session = player.session()
    assert len(session.idle(3)) == 3
    assert player.session().finish() == session.finish() == []
    session = player.session()
    with pytest.raises(UserError, match="ask for 1 or more"):
        session.idle(0)


def test_the_callers_threads_are_left_alone(player: Player) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    frames = player.speak(pieces(speech(1.0)[0]))
    next(frames)
    assert torch.get_num_threads() == 2
    list(frames)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_motion_of_another_motion_space_is_refused(player: Player, actor: Filmed) -> None:
    motion = concatenate(list(player.motion(pieces(speech(1.0)[0]))))
    with pytest.raises(UserError, match="is of motion space elsewhere"):
        list(player.reenact(replace(motion, space_id="elsewhere")))
    with pytest.raises(UserError, match="with 5 modes"):
        list(player.reenact(replace(motion, expression=motion.expression[:, :5])))
    with pytest.raises(UserError, match="build it again"):
        Player(replace(player.avatar, space_id="elsewhere"))
    assert motion.space_id == load_space().id


def test_a_style_must_be_learned_first(avatar: Avatar) -> None:
    with pytest.raises(UserError, match="learn it first"):
        Player(avatar, controls=Controls(style="clip.mp4"))


def test_memory_stays_flat(player: Player) -> None:
    """A minute and ten minutes of motion are drawn in the same memory."""
    import resource

    motion = concatenate(list(player.motion(pieces(speech(2.0)[0]))))
    for _ in player.reenact(motion for _ in range(10)):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in player.reenact(motion for _ in range(60)):
        pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


PLAYING = """
import sys
import numpy as np
import avatar
player = avatar.Player(sys.argv[1])
assert len(list(player.speak([np.zeros(16000, np.float32)]))) == 25
session = player.session()
session.push(np.zeros(16000, np.float32)), session.idle(2), session.finish()
from avatar.pipelines.speak import speak
unwanted = ("mediapipe", "cv2", "matplotlib", "scipy", "avatar.learn", "preprocess")
print([name for name in sys.modules if name.startswith(unwanted)])
"""


def test_playing_loads_nothing_that_fits_or_preprocesses(avatar_file: Path) -> None:
    command = [sys.executable, "-c", PLAYING, str(avatar_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
