"""The shoulders' track, on pictures whose motion is known: smooth cloth under a face, before a wall."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from avatar.core.geometry import apply_torso
from avatar.core.landmarks import CHIN, FOREHEAD, JAWLINE
from preprocess.torso import fit_torso

SIZE, FRAMES, TOP = 200, 40, 110  # px; where the shoulders begin in the reference frame, the first

Array = np.ndarray


def noise(seed: int, blur: float, contrast: float) -> Array:
    """[S, S], smooth: nothing in it is a corner."""
    values = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(SIZE, SIZE)), (0, 0), blur)
    return 128 + contrast * values / values.std()


def motion() -> Array:
    """Torso [T, 4]: sways by some px, comes nearer, leans."""
    time = np.arange(FRAMES)[:, None] / FRAMES * 2 * np.pi
    return np.sin(time * [1, 2, 1, 1.5]) * [9, 4, 0.04, 0.05]


def warp(picture: Array, torso: Array) -> Array:
    center, right, below = (
        apply_torso(np.array(axis) + 0.5 - SIZE / 2, torso) for axis in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    )
    matrix = np.stack([right - center, below - center, center + SIZE / 2 - 0.5], 1)
    return cv2.warpAffine(picture, matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def film(torso: Array, strand: bool = False) -> list[Array]:
    """Frames [S, S] uint8: cloth that moves before a wall that does not; a strand of hair over it swings otherwise."""
    cloth, wall = noise(1, 5, 20), noise(2, 3, 30)
    body = np.zeros((SIZE, SIZE))
    body[TOP:] = 1
    frames = []
    for frame, values in enumerate(torso):
        shown = warp(body, values)
        picture = shown * warp(cloth, values) + (1 - shown) * wall
        if strand:
            for y in range(TOP, SIZE, 9):
                cv2.circle(picture, (round(60 + 12 * np.sin(frame / 3)), y), 4, 20.0, -1)
        frames.append(picture.clip(0, 255).astype(np.uint8))
    return frames


def landmarks() -> Array:
    """A face above the shoulders [T, 478, 3]."""
    points = np.zeros((478, 3), np.float32)
    points[list(JAWLINE), 0] = np.linspace(60, 140, len(JAWLINE))
    points[list(JAWLINE), 1] = 70 + 20 * np.sin(np.linspace(0, np.pi, len(JAWLINE)))
    points[CHIN, :2], points[FOREHEAD, :2] = (100, 90), (100, 20)
    return np.repeat(points[None], FRAMES, 0)


def matte() -> Array:
    opaque = np.zeros((SIZE, SIZE), np.uint8)
    opaque[TOP:] = 255
    return opaque


@pytest.mark.parametrize(("strand", "px"), [(False, 0.5), (True, 1.0)])
def test_smooth_cloth_is_followed(strand: bool, px: float) -> None:
    truth = motion()
    frames = film(truth, strand)
    found = fit_torso(lambda frame: frames[frame], matte(), landmarks(), 0)
    assert not found.held.any()
    places = np.array([[x, y] for x in (-70.0, 0.0, 70.0) for y in (20.0, 80.0)])
    missed = [
        apply_torso(places, one) - apply_torso(places, other) for one, other in zip(found.values, truth, strict=True)
    ]
    assert np.abs(missed).mean() < px, np.abs(missed).mean()


def test_shoulders_are_found_again_after_they_were_out_of_sight() -> None:
    truth = motion()
    frames = film(truth)
    hidden = slice(12, 18)
    for frame in range(*hidden.indices(FRAMES)):
        frames[frame] = noise(frame + 50, 1.5, 40).clip(0, 255).astype(np.uint8)
    found = fit_torso(lambda frame: frames[frame], matte(), landmarks(), 0)
    assert found.held[hidden].mean() > 0.8
    assert not found.held[19:].any()
    assert np.abs((found.values - truth)[20:, :2]).mean() < 1


def test_without_shoulders_the_torso_rests() -> None:
    frames = film(motion())
    found = fit_torso(lambda frame: frames[frame], np.zeros((SIZE, SIZE), np.uint8), landmarks(), 0)
    assert found.held.all()
    assert not found.values.any()


@pytest.mark.parametrize("rows", [4, 8, 14])
def test_a_strip_of_shoulders_is_followed(rows: int) -> None:
    truth = motion() * [1, 0, 0, 0]
    frames, strip = film(truth), matte()
    strip[: SIZE - rows - 4] = 0
    found = fit_torso(lambda frame: frames[frame], strip, landmarks(), 0)
    assert np.isfinite(found.values).all()
    if not found.held.all():  # fewer points than a similarity is fitted to
        assert np.abs((found.values - truth)[:, 0]).mean() < 1
