"""A clip that cuts between framings of one place: each has a crop of its own, and the avatar learns from all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from avatar.core.encode import write_video
from avatar.core.geometry import eye_distance
from avatar.core.media import WHOLE, probe, read_video
from avatar.core.take import Framing, open_take, read_track
from preprocess.actor import film_actor
from preprocess.detectors import Box
from preprocess.framings import find_framings, number_framings
from preprocess.reading import read_framings
from preprocess.request import TakeRequest
from preprocess.run import make_take
from tests.actors import SHORT_SECONDS

Array = np.ndarray
WIDTH, HEIGHT, FPS = 640, 360, 25
WIDE, CLOSE = (300.0, 120.0, 60.0, 60.0), (260.0, 70.0, 100.0, 100.0)  # a face, and a larger one
SECONDS, CUT, BACK = 12, 103, 187  # frames of the cuts


def wall(zoom: float) -> Array:
    """A wall with something on it, as a camera with a zoom sees it."""
    random = np.random.default_rng(5)
    picture = cv2.GaussianBlur(random.normal(0, 1, (HEIGHT, WIDTH)), (0, 0), 6)
    picture = (128 + 40 * picture / picture.std()).clip(0, 255).astype(np.uint8)
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), 0, zoom)
    seen = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
    return np.repeat(seen[..., None], 3, -1)


def film(path: Path, zoom: Callable[[int], float]) -> None:
    def frames() -> Iterator[Array]:
        for frame in range(SECONDS * FPS):
            noise = np.random.default_rng(frame).integers(-4, 5, (HEIGHT, WIDTH, 1))
            yield (wall(zoom(frame)) + noise).clip(0, 255).astype(np.uint8)

    write_video(frames(), path, fps=FPS)


def find(path: Path, looks: list[Box | None]) -> tuple[Framing, ...]:
    return find_framings(path, probe(path), looks, size=lambda _: 256, fps=FPS, stretch=WHOLE)


def is_close(frame: int) -> bool:
    return CUT <= frame < BACK


def boxes(close: Callable[[int], bool]) -> list[Box | None]:
    """Faces seen twice a second, and one look without any."""
    frames = [round((look + 0.5) * FPS / 2) - 1 for look in range(2 * SECONDS)]
    looks: list[Box | None] = [CLOSE if close(frame) else WIDE for frame in frames]
    looks[3] = None
    return looks


def test_cuts_are_found_to_the_frame(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    film(path, lambda frame: 2.0 if is_close(frame) else 1.0)
    framings = find(path, boxes(is_close))
    assert [(framing.start, framing.stop) for framing in framings] == [(0, CUT), (CUT, BACK), (BACK, SECONDS * FPS)]
    wide, close, again = (framing.crop for framing in framings)
    assert wide == again
    assert close[2] / wide[2] == pytest.approx(CLOSE[2] / WIDE[2], rel=0.1), "faces are as large in both"
    assert number_framings(framings, 300).tolist() == [int(is_close(frame)) for frame in range(300)]
    assert number_framings(framings[:2], 300).tolist() == [int(frame >= CUT) for frame in range(300)], "to the end"


def test_a_zoom_is_one_framing(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    film(path, lambda frame: 1 + min(1.0, max(0.0, (frame - CUT) / 40)))
    (framing,) = find(path, boxes(lambda frame: frame >= CUT + 20))
    assert (framing.start, framing.stop) == (0, SECONDS * FPS)


def test_somebody_who_leans_in_is_one_framing(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    film(path, lambda _: 1.0)
    assert len(find(path, boxes(is_close))) == 1


def test_each_frame_has_the_crop_of_its_framing(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    film(path, lambda _: 1.0)
    crops = ((0.0, 0.0, 256.0), (300.0, 50.0, 128.0))
    framings = (Framing(0, 40, crops[0]), Framing(40, 300, crops[1]))
    read = list(read_framings(path, probe(path), framings, size=64, fps=FPS, stretch=WHOLE))
    assert len(read) == 300
    first, second = (list(read_video(path, size=64, crop=crop, fps=FPS)) for crop in crops)
    assert all(np.array_equal(a, b) for a, b in zip(read, first[:40] + second[40:], strict=True))


def test_an_avatar_learns_from_both_framings(tmp_path: Path) -> None:
    """The actor filmed as they are, and from a cut on from further away; dressed in the colours of the wall.

    In red, they would change the colours of the picture by as much as another place does.
    """
    source, path, cut = tmp_path / "actor.mp4", tmp_path / "cut.mp4", 42
    film_actor(source, seconds=SHORT_SECONDS, seed=6, size=256)

    def frames() -> Iterator[Array]:
        for number, frame in enumerate(read_video(source, size=256)):
            share = 0.9 if number < cut else 0.55
            small = cv2.resize(frame, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
            high, wide = 320 - small.shape[0], 480 - small.shape[1]
            sides, wall = (high, 0, wide // 2, wide - wide // 2), small[0, 0].tolist()
            yield cv2.copyMakeBorder(small, *sides, cv2.BORDER_CONSTANT, value=wall)

    write_video(frames(), path, fps=FPS, sound=source)
    take = make_take(path, tmp_path / "take", TakeRequest(size=256), holdout=0.0)
    track = read_track(open_take(take.root))
    assert [framing.start for framing in take.framings] == [0, cut]
    assert len({framing.crop for framing in take.framings}) == 2
    reasons = {span.reason: (span.start, span.stop) for span in take.excluded}
    assert reasons == {"cut between two framings": (cut - 1, cut + 1)}
    eyes = eye_distance(track.landmarks).numpy()
    assert 0.75 < np.median(eyes[:cut]) / np.median(eyes[cut:]) < 1.35, "1.64 of one crop"
    assert (track.confidence > 0).all()
