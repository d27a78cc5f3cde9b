"""Another recording's expression beside speech: what is taken of it, and what lips keep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar.core.avatar_file import Avatar
from avatar.core.blendshapes import DISTANCES, distance_readings
from avatar.core.controls import Controls, clip_take
from avatar.core.files import UserError
from avatar.core.lips import read_lips
from avatar.core.motion_space import Motion, concatenate, load_space, save_motion
from avatar.metrics import correlation
from avatar.motion.behaviour import measure_lips
from avatar.motion.driver import Driver, drive
from avatar.motion.expression import mixture_direction, weigh
from avatar.motion.speech_to_motion import open_speech_model
from avatar.play.player import Player
from preprocess.actor import speech
from tests.conftest import Adapted


def surprised(own: Motion) -> Motion:
    """The person's own motion with brows up, eyes shut in every tenth second, looking left and right by turns."""
    raised = mixture_direction(weigh({"browInnerUp": 1.0, "browOuterUp": 1.0}), load_space())
    frames = torch.arange(len(own))
    open_lids = 1 - (frames % 250 < 25).float()
    gaze = torch.where(frames % 50 < 25, 0.3, -0.3)
    eyes = torch.stack([open_lids, open_lids, gaze, torch.zeros(len(own))], 1)
    return replace(own, expression=own.expression + raised, eyes=eyes)


def run(adapted: Adapted, other: Motion | None, **controls: object) -> Motion:
    model, style = adapted
    driver = Driver(open_speech_model(model), style, fps=25, controls=Controls(**controls), other=other)
    return concatenate(list(drive(driver, speech(8.0)[0].split(5000))))


def test_brows_and_eyes_are_the_others_and_lips_the_speech(adapted: Adapted) -> None:
    other = surprised(adapted[1].own)
    plain = run(adapted, None, blink=0.0, temperature=0.0, gaze=0.0)
    shown = run(adapted, other)
    brows = distance_readings(load_space())[list(DISTANCES).index("browInnerUp")]
    assert ((shown.expression - plain.expression) @ brows).mean() > 0.1
    known = min(len(other), len(shown))
    assert torch.equal(shown.eyes[:known, 0] < 0.5, other.eyes[:known, 0] < 0.5)
    assert correlation(shown.eyes[:known, 2], other.eyes[:known, 2]) > 0.99
    awake = shown.eyes[:, 0] > 0.5
    gaps = [(one.expression @ read_lips(load_space().basis))[awake, 0] for one in (plain, shown)]
    assert correlation(*gaps) > 0.95
    shut = gaps[0] < measure_lips(adapted[1].own.expression, adapted[0].lip_reading).line
    assert (gaps[1][shut] < gaps[0].quantile(0.4)).float().mean() > 0.9


def test_it_goes_on_without_an_end(adapted: Adapted) -> None:
    """Forwards and backwards: a recording of a second is enough, and nothing jumps."""
    short = surprised(adapted[1].own)[slice(30, 55)]
    eyes = run(adapted, short).eyes[:, 2]
    assert len(eyes) == 200
    assert torch.equal(eyes[:25], eyes[25:50].flip(0))
    assert torch.equal(eyes[:50], eyes[50:100])


def test_players_take_takes_and_motions(avatar: Avatar, tmp_path: Path) -> None:
    save_motion(avatar.style.own, tmp_path / "o.motion", avatar.space_id)
    motion = concatenate(
        list(Player(avatar, controls=Controls(expression_from=str(tmp_path / "o.motion"))).motion([speech(1.0)[0]]))
    )
    assert len(motion) == 25
    (tmp_path / "x.mp4").write_bytes(b"no film")
    with pytest.raises(UserError, match=r"x\.mp4"):
        Player(avatar, controls=Controls(expression_from=str(tmp_path / "x.mp4"))).driver()
    assert clip_take("out/a.mp4", "expression_from") == Path("out/a.expression.take")
