"""Layouts: where slide and person stand, that nothing is covered, and that moves and joins are smooth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from avatar.core.geometry import exponential, to_vector
from avatar.core.motion_space import Motion
from avatar.presenter.directions import LAYOUTS, Layout
from avatar.presenter.free_space import MEASURED, Places, ink, region
from avatar.presenter.layouts import (
    ASPECTS,
    CORNERS,
    Arrangement,
    Aspect,
    Corner,
    Frame,
    Shape,
    arrange,
    between,
    frame_size,
)
from avatar.presenter.meeting import FRAMES, RESTING, SLOWEST, meet, rest

WIDE = 16 / 9
PERSON = np.zeros((96, 96), bool)
PERSON[24:, 24:72] = True


def box(placed: Arrangement) -> tuple[float, float, float, float]:
    return placed.left, placed.top, placed.left + placed.side, placed.top + placed.side


def overlap(placed: Arrangement) -> float:
    """px of the person's square over the slide, in both directions at least."""
    left, top, right, bottom = box(placed)
    wide = min(right, placed.slide_left + placed.slide_width) - max(left, placed.slide_left)
    high = min(bottom, placed.slide_top + placed.slide_height) - max(top, placed.slide_top)
    return max(0.0, min(wide, high))


@pytest.mark.parametrize("aspect", list(ASPECTS))
@pytest.mark.parametrize("shape", ["cutout", "circle", "box"])
@pytest.mark.parametrize("slide", [WIDE, 4 / 3])
def test_all_layouts_stay_in_the_frame(aspect: Aspect, shape: Shape, slide: float) -> None:
    width, height = frame_size(aspect, 1080)
    frame = Frame(width, height, shape)
    for layout in LAYOUTS:
        for corner in CORNERS:
            placed = arrange(frame, slide, layout, corner)
            assert placed.slide_left >= -0.5
            assert placed.slide_top >= -0.5
            assert placed.slide_left + placed.slide_width <= width + 0.5
            assert placed.slide_top + placed.slide_height <= height + 0.5
            assert placed.shows_person == (layout != "slide")
            if layout != "full":
                assert placed.slide_width / placed.slide_height == pytest.approx(slide)
                assert placed.left >= -0.5
                assert placed.left + placed.side <= width + 0.5
            if layout == "side" or (layout == "corner" and width <= height):
                assert overlap(placed) < 1, "beside the slide, not over it"
            if shape == "cutout" and layout != "slide" and corner.bottom:
                assert placed.top + placed.side == pytest.approx(height), "stands on the picture's edge"


def test_sizes_of_frames() -> None:
    assert [frame_size(one, 1080) for one in ASPECTS] == [(1920, 1080), (1080, 1920), (1080, 1080)]
    assert frame_size("16:9", 2160) == (3840, 2160)


def slide_with(*boxes: tuple[int, int, int, int]) -> Image.Image:
    """A white slide of 960 x 540 with grey letters in boxes."""
    picture = Image.new("RGB", (960, 540), "white")
    for left, top, right, bottom in boxes:
        for y in range(top, bottom - 12, 18):
            ImageDraw.Draw(picture).text((left, y), "words " * ((right - left) // 28), fill=(150, 150, 150))
    return picture


@pytest.mark.parametrize("shape", ["cutout", "circle"])
def test_the_person_covers_no_words(shape: Shape) -> None:
    frame = Frame(1920, 1080, shape)
    slides = [
        ink(slide_with((40, 40, 500, 300))),  # free below
        ink(slide_with((40, 40, 500, 300))),
        ink(slide_with((600, 300, 940, 530))),  # the right is taken below
        ink(slide_with((20, 20, 940, 530))),  # all is
        ink(slide_with((40, 40, 500, 300))),
    ]
    found = Places(frame, PERSON).choose(slides, [None] * 5)
    assert [one.layout for one in found] == ["corner", "corner", "corner", "side", "corner"]
    assert found[0].corner == found[1].corner == Corner()
    assert found[2].corner == Corner(right=False)
    assert found[4].corner == found[2].corner, "stays where it is free"
    assert len({one.size for one in found if one.layout == "corner"}) == 1, "keeps its size"
    for one, edges in zip(found, slides, strict=True):
        if one.layout == "corner":
            covered = region(arrange(frame, WIDE, "corner", one.corner, one.size), PERSON, (540, MEASURED))
            assert not (covered & edges).any()
    asked = Places(frame, PERSON).choose(slides[3:4], ["left"])
    assert (asked[0].layout, asked[0].corner.right) == ("side", False), "what is asked for never covers words"


def test_a_picture_of_another_shape_than_the_slides_is_measured_as_it_is_shown() -> None:
    frame = Frame(1920, 1080, "circle")
    tall = Image.new("RGB", (540, 540), "white")
    ImageDraw.Draw(tall).text((480, 500), "words", fill="black")  # the person stands beside it, not over it
    wide = Image.new("RGB", (960, 540), "white")
    ImageDraw.Draw(wide).text((900, 500), "words", fill="black")
    found = Places(frame, PERSON).choose([ink(tall), ink(wide)], ["right", "right"])
    assert (found[0].layout, found[0].corner) == ("corner", Corner())
    assert found[1].corner == Corner(bottom=False)


def test_pale_letters_count_and_gradients_do_not() -> None:
    pale = slide_with()
    ImageDraw.Draw(pale).text((700, 500), "page 12", fill=(215, 215, 215))
    assert ink(pale)[480:, 680:].any()
    gradient = np.tile(np.linspace(0, 255, 960).astype(np.uint8)[None, :, None], (540, 1, 3))
    assert not ink(Image.fromarray(gradient)).any()


@pytest.mark.parametrize("to", ["side", "full", "slide"])
def test_moves_are_eased_and_do_not_cross_the_slide(to: Layout) -> None:
    frame = Frame(1920, 1080, "circle")
    first, last = arrange(frame, WIDE, "corner", Corner()), arrange(frame, WIDE, to, Corner())
    steps = [between(first, last, share / 50) for share in range(51)]
    assert steps[0] == first or to == "slide"
    assert steps[-1].slide_width == pytest.approx(last.slide_width)
    widths = np.diff([one.slide_width for one in steps])
    assert abs(widths[0]) <= np.abs(widths).max() / 3 or not widths.any()
    across = [between(first, arrange(frame, WIDE, "corner", Corner(right=False)), share / 20) for share in range(21)]
    assert {round(one.left) for one in across} == {round(one.left) for one in (across[0], across[-1])}
    assert min(one.person_opacity for one in across) < 0.1


def walk(seed: int, count: int = 100) -> Motion:
    """A smooth motion of a head."""
    draw = torch.Generator().manual_seed(seed)
    start, speed = torch.randn(3, generator=draw) * 0.2, torch.randn(3, generator=draw) * 0.02
    time = torch.arange(count)[:, None] / 25
    turn = start + speed * torch.sin(2 * time + seed)
    return Motion(
        torch.randn(1, 32, generator=draw) + 0 * time,
        torch.cat([torch.full((count, 2), 0.9), torch.zeros(count, 2)], 1),
        exponential(turn),
        10 * turn + torch.tensor([0.0, 0.0, 60.0]),
        torch.cat([20 * turn, 0 * time], 1),
        25.0,
    )


@pytest.mark.parametrize("seed", range(4))
def test_motion_meets_at_a_join(seed: int) -> None:
    before, after = walk(seed), walk(seed + 10)
    joined = meet(before, after)
    for name in ("translation", "torso", "expression"):
        both = torch.cat([getattr(before, name)[-20:], getattr(joined, name)])
        steps = both.diff(dim=0).norm(dim=1)
        if name != "expression":
            assert steps[19] <= 1.5 * steps[10:19].max() + 1e-4, name
            bends = both.diff(n=2, dim=0).norm(dim=1)
            assert bends[18:21].max() < 0.15 * (getattr(after, name)[0] - getattr(before, name)[-1]).norm(), name
        else:
            assert steps[19] < 1e-5
    turns = torch.cat([before.rotation[-20:], joined.rotation])
    steps = to_vector(turns[1:] @ turns[:-1].mT).norm(dim=1)
    assert steps[19] <= 1.5 * steps[10:19].max() + 1e-3
    for name in ("translation", "torso", "expression", "eyes", "rotation"):
        assert torch.equal(getattr(joined, name)[FRAMES:], getattr(after, name)[FRAMES:]), "the rest stays as it was"
    assert meet(None, after) is after


@pytest.mark.parametrize("seed", range(4))
def test_the_head_comes_to_rest_at_a_scene_s_end(seed: int) -> None:
    """It goes its own way, ever slower, and the step over the join is as small as its last one."""
    moving = walk(seed)
    rested = rest(moving)
    joined = meet(rested, walk(seed + 10))
    steps = {
        "translation": torch.cat([rested.translation[-RESTING - 2 :], joined.translation[:1]]).diff(dim=0).norm(dim=1),
        "torso": torch.cat([rested.torso[-RESTING - 2 :], joined.torso[:1]]).diff(dim=0).norm(dim=1),
    }
    turns = torch.cat([rested.rotation[-RESTING - 2 :], joined.rotation[:1]])
    steps["rotation"] = to_vector(turns[1:] @ turns[:-1].mT).norm(dim=1)
    for name, step in steps.items():
        assert step[-1] <= 1.05 * step[-2] + 1e-4, name
    own = moving.translation[-RESTING - 2 :].diff(dim=0).norm(dim=1).max()
    assert steps["translation"][-2] < (SLOWEST + 0.05) * own
    assert torch.equal(rested.translation[: -RESTING - 1], moving.translation[: -RESTING - 1])
    assert torch.equal(rested.expression, moving.expression)
    assert torch.allclose(rested.rotation @ rested.rotation.mT, torch.eye(3).expand(100, 3, 3), atol=1e-5)
    assert torch.cdist(rested.translation[-1:], moving.translation).min() < 0.02 * moving.translation.std()
    short = moving[slice(0, 1)]
    assert rest(short) is short
