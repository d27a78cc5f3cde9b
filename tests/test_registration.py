"""Photometric registration: a pose that was moved is found again from the picture alone."""

from __future__ import annotations

import numpy as np
import torch

from avatar.core.avatar_file import Avatar
from avatar.core.controls import Controls
from avatar.core.geometry import exponential, to_vector
from avatar.core.motion_space import Motion
from avatar.core.take import read_track
from avatar.metrics.registration import register
from avatar.play.player import Player
from tests.conftest import Filmed


def test_a_moved_pose_is_found_again(avatar: Avatar, actor: Filmed) -> None:
    player, take = Player(avatar, controls=Controls(), mark="none"), actor.take
    (frame,) = [read_track(take).motion()[slice(20, 21)]]
    draw = lambda motion: torch.from_numpy(np.stack(list(player.reenact(motion))))  # noqa: E731
    truth = draw(frame)[0]
    turn, shift = torch.tensor([[0.01, -0.012, 0.008]]), torch.tensor([0.08, -0.06, 0.0])
    torso = torch.tensor([0.8, -0.6, 0.0, 0.0])
    moved = Motion(
        frame.expression,
        frame.eyes,
        exponential(turn) @ frame.rotation,
        frame.translation + shift,
        frame.torso + torso,
        frame.fps,
    )
    found = register(moved, truth, draw)
    before, after = (float((draw(one)[0].float() - truth.float()).square().mean()) for one in (moved, found))
    assert after < 0.05 * before
    turned = float(to_vector(found.rotation @ frame.rotation.mT).norm())
    assert turned < 0.3 * float(turn.norm())
    assert float((found.torso - frame.torso)[0, :2].norm()) < 0.3 * float(torso.norm())
    assert torch.equal(found.expression, frame.expression)


def test_a_pose_that_is_right_stays(avatar: Avatar, actor: Filmed) -> None:
    player, frame = Player(avatar, controls=Controls(), mark="none"), read_track(actor.take).motion()[slice(20, 21)]
    draw = lambda motion: torch.from_numpy(np.stack(list(player.reenact(motion))))  # noqa: E731
    found = register(frame, draw(frame)[0], draw)
    assert torch.equal(found.rotation, frame.rotation)
    assert torch.equal(found.torso, frame.torso)
