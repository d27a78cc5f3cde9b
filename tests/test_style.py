"""Style transfer: an avatar takes on the manner of a Take or of a clip, and stays itself."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar.core.avatar_file import Avatar
from avatar.core.controls import Controls
from avatar.core.files import UserError
from avatar.core.motion_space import concatenate
from avatar.core.take import write_take
from avatar.pipelines.speech_film import with_clips
from avatar.pipelines.style import learn_style
from avatar.play.player import Player
from preprocess.actor import film_actor, speech
from tests.conftest import Filmed


def test_a_style_from_a_clip(avatar: Avatar, tmp_path: Path) -> None:
    """The clip is preprocessed beside the film that is being made, and the Take kept."""
    film_actor(tmp_path / "other.mp4", seconds=6.0, size=128, seed=9)
    out = tmp_path / "film.mp4"
    styled, controls = with_clips(avatar, Controls(style=str(tmp_path / "other.mp4"), blink=0.0), out=out)
    assert controls == Controls(blink=0.0)
    assert (tmp_path / "film.style.take" / "take.json").is_file()
    reading = avatar.speech.lip_reading
    closed = [(each.style.own.expression @ reading).quantile(0.05) for each in (avatar, styled)]
    assert closed[1] == pytest.approx(float(closed[0]), abs=0.15)  # cm
    assert torch.allclose(styled.style.own.translation.mean(0), avatar.style.own.translation.mean(0), atol=0.1)
    assert not torch.equal(styled.speech.decoder.offset, avatar.speech.decoder.offset)
    assert all(torch.equal(styled.speech.encoder[name], tensor) for name, tensor in avatar.speech.encoder.items())
    sound = [speech(2.0)[0]]
    own, theirs = (concatenate(list(Player(each, controls=controls).motion(sound))) for each in (avatar, styled))
    assert len(own) == len(theirs) == 50
    assert (own.expression - theirs.expression).abs().max() > 0.1


def test_ones_own_take_as_style_changes_little(avatar: Avatar, actor: Filmed) -> None:
    styled = learn_style(avatar, actor.take.root)
    sound, controls = [speech(3.0)[0]], Controls(blink=0.0, head=0.0, temperature=0.0)
    own, theirs = (concatenate(list(Player(each, controls=controls).motion(sound))) for each in (avatar, styled))
    reading = avatar.speech.lip_reading
    pair = torch.stack([own.expression @ reading, theirs.expression @ reading])
    assert torch.corrcoef(pair)[0, 1] > 0.9


def test_what_cannot_be_a_style_is_refused(avatar: Avatar, actor: Filmed, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a take"):
        learn_style(avatar, tmp_path)
    root = tmp_path / "silent.take"
    shutil.copytree(actor.take.root, root, copy_function=os.link)
    (root / "take.json").unlink()
    write_take(replace(actor.take, quality=actor.take.quality | {"sound_rms": 0.0}), root)
    with pytest.raises(UserError, match="cannot serve as a style: the clip has no speech"):
        learn_style(avatar, root)
    write_take(replace(actor.take, length=60, train=range(60), test=range(60, 60)), root)
    with pytest.raises(UserError, match="shows a speaking face in 60 frames only"):
        learn_style(avatar, root)
