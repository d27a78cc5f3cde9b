"""Every picture that a Player draws is marked: films, live frames, transparent ones; a full frame where it is drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avatar.core.avatar_file import Avatar
from avatar.core.controls import Controls
from avatar.core.motion_space import Motion
from avatar.play.full_frame import open_stage
from avatar.play.look import Look
from avatar.play.player import Player
from avatar.provenance.detect import read_mark
from avatar.provenance.identity import film_number
from avatar.provenance.mark import Marker
from preprocess.actor import speech
from tests.test_mark import as_rgb, scene

SIDE, NUMBER = 512, 0xC0FFEE42
RESTING = Controls(blink=0.0)


@pytest.fixture(scope="module")
def resting(avatar: Avatar) -> Motion:
    """A second of motion."""
    return next(iter(Player(avatar, controls=RESTING).motion([speech(2.0)[0].numpy()])))[:10]


def drawn(avatar: Avatar, motion: Motion, look: Look, mark: int | None = None) -> np.ndarray:
    player = Player(avatar, look=look, controls=RESTING, mark="none" if mark is None else mark)
    return np.stack(list(player.reenact(motion)))


def test_frames_are_marked_by_the_number_given_or_the_avatars_own(avatar: Avatar, resting: Motion) -> None:
    look = Look(size=SIDE)
    reading = read_mark(drawn(avatar, resting, look, NUMBER)[..., 1])
    assert reading is not None
    assert reading.number == NUMBER
    assert read_mark(drawn(avatar, resting, look)[..., 1]) is None
    player = Player(avatar, look=look, controls=RESTING)
    own = read_mark([frame[..., 1] for frame in player.reenact(resting)])
    assert own is not None
    assert own.number == player.mark == film_number(avatar, RESTING.model_dump_json(), look.seen)


def test_live_frames_are_marked(avatar: Avatar) -> None:
    player = Player(avatar, look=Look(size=SIDE), controls=RESTING, mark=NUMBER)
    session, shown = player.session(pixels="nv12"), []
    for piece in speech(1.0)[0].split(640):
        shown += session.push(piece)
    shown += session.idle(3)
    reading = read_mark([frame[:SIDE] for frame in shown + session.finish()])
    assert reading is not None
    assert reading.number == NUMBER


def test_a_transparent_person_is_marked_and_nothing_about_it(avatar: Avatar, resting: Motion) -> None:
    look = Look(size=SIDE, background="transparent")
    marked, plain = drawn(avatar, resting, look, NUMBER), drawn(avatar, resting, look)
    np.testing.assert_array_equal(marked[..., 3], plain[..., 3])
    clear = plain[..., 3] == 0
    np.testing.assert_array_equal(marked[clear], plain[clear])
    assert (marked[~clear] != plain[~clear]).any()
    behind = as_rgb(scene(len(marked)))  # what somebody else lays it over
    alpha = marked[..., 3:] / 255
    laid = np.rint(marked[..., :3] * alpha + behind * (1 - alpha)).astype(np.uint8)
    reading = read_mark(laid[..., 1])
    assert reading is not None
    assert reading.number == NUMBER


def test_a_full_frame_is_marked_where_it_is_drawn(avatar: Avatar, resting: Motion) -> None:
    left, top, side = avatar.crop
    small = replace(avatar, crop=(left + side // 4, top + side // 3, side // 2))  # so that some of the frame is far
    look = Look(full_frame=True)
    marked, plain = drawn(small, resting, look, NUMBER), drawn(small, resting, look)
    box = open_stage(small).box
    outside = np.ones(plain.shape[1:3], bool)
    outside[box[1] : box[3], box[0] : box[2]] = False
    assert outside.mean() > 0.03
    np.testing.assert_array_equal(marked[:, outside], plain[:, outside])
    reading = read_mark(marked[..., 1])
    assert reading is not None
    assert reading.number == NUMBER


def test_a_person_far_away_is_marked_with_what_is_about_them(avatar: Avatar, resting: Motion) -> None:
    left, top, side = avatar.crop
    far = replace(avatar, crop=(left + side / 3, top + side / 3, side / 8))
    look = Look(full_frame=True)
    marked, plain = drawn(far, resting, look, NUMBER), drawn(far, resting, look)
    changed = (marked != plain).any((0, 3))
    assert 0.7 < changed.any(0).mean() * changed.any(1).mean() < 0.9
    reading = read_mark(marked[..., 1])
    assert reading is not None
    assert reading.number == NUMBER


def test_what_is_too_small_for_a_mark_has_none(avatar: Avatar, resting: Motion) -> None:
    tiny = replace(avatar, crop=(*avatar.crop[:2], 4))
    look = Look(full_frame=True)
    np.testing.assert_array_equal(drawn(tiny, resting[:2], look, NUMBER), drawn(tiny, resting[:2], look))


def test_a_box_holds_the_part_of_the_mark_that_lies_there() -> None:
    luma, box = scene(1)[0], (64, 96, 448, 400)
    part = (slice(96, 400), slice(64, 448))
    whole, boxed = Marker(NUMBER, SIDE, SIDE).add(as_rgb(luma)), Marker(NUMBER, SIDE, SIDE, box).add(as_rgb(luma))
    outside = np.ones((SIDE, SIDE), bool)
    outside[part] = False
    np.testing.assert_array_equal(boxed[outside], as_rgb(luma)[outside])
    change = [(marked.astype(int) - as_rgb(luma))[part][..., 0].ravel() for marked in (whole, boxed)]
    assert np.corrcoef(*change)[0, 1] > 0.97  # strength is measured in other blocks
    nv12 = np.concatenate([luma, np.full((SIDE // 2, SIDE), 128, np.uint8)])
    same = Marker(NUMBER, SIDE, SIDE, box).add(nv12)[:SIDE] == boxed[..., 0]
    assert same[(luma > 20) & (luma < 231)].all()  # NV12 ends at 16 and 235
    np.testing.assert_array_equal(Marker(NUMBER, SIDE, SIDE, box).add(nv12)[SIDE:], nv12[SIDE:])
