"""A mouth that is covered is told from one that is seen, whoever it is and whatever covers it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from avatar.core.files import UserError
from avatar.core.geometry import eye_distance
from avatar.core.landmarks import CHIN, JAWLINE, MOUTH_EXTREMES, NOSE_BRIDGE
from avatar.core.take import read_frames, read_track
from avatar.pipelines.build import build
from avatar.pipelines.takes import make_take
from preprocess.checks import assess_quality
from preprocess.mouth_cover import find_covered_mouths, sample_mouth, sample_skin
from preprocess.request import TakeRequest
from tests.conftest import Filmed

Array = np.ndarray
Cover = Callable[[Array, Array], Array]
"""A frame and its landmarks -> the frame with something before the mouth."""

COUNT, FROM, TO = 120, 40, 80


def mask(color: tuple[int, int, int]) -> Cover:
    def put_on(frame: Array, points: Array) -> Array:
        outline = np.concatenate([points[list(JAWLINE), :2], points[[NOSE_BRIDGE], :2]])
        return cv2.fillPoly(frame, [np.rint(outline).astype(np.int32)], color)

    return put_on


def hand(frame: Array, points: Array) -> Array:
    """Skin with dark lines between its fingers, the size of the lower face."""
    skin, eyes = sample_skin(frame, points).tolist(), float(eye_distance(points))
    x, y = points[list(MOUTH_EXTREMES), :2].mean(0)
    cv2.ellipse(frame, (int(x), int(y)), (int(0.6 * eyes), int(0.45 * eyes)), 10, 0, 360, skin, -1)
    for finger in (-0.2, 0.0, 0.2):
        ends = [(int(x - 0.5 * eyes), int(y + (finger + 0.1) * eyes)), (int(x + 0.5 * eyes), int(y + finger * eyes))]
        cv2.line(frame, *ends, [int(0.7 * value) for value in skin], 2)
    return frame


def microphone(frame: Array, points: Array) -> Array:
    x, y = points[list(MOUTH_EXTREMES), :2].mean(0)
    return cv2.circle(frame, (int(x), int(y)), int(0.5 * float(eye_distance(points))), (25, 25, 28), -1)


def microphone_below(frame: Array, points: Array) -> Array:
    """Near the chin: the lips are seen."""
    x, y = points[CHIN, :2]
    return cv2.circle(frame, (int(x), int(y)), int(0.2 * float(eye_distance(points))), (25, 25, 28), -1)


def find_covered(actor: Filmed, cover: Cover | None, dim: float = 1.0) -> Array:
    track, patches, skins = read_track(actor.take), [], []
    for frame in range(COUNT):
        points = track.landmarks[frame].numpy()
        picture = (read_frames(actor.take, [frame])[0].numpy() * dim).astype(np.uint8)
        if cover and FROM <= frame < TO:
            picture = cover(picture.copy(), points)
        patches.append(sample_mouth(picture, points))
        skins.append(sample_skin(picture, points))
    return find_covered_mouths(np.stack(patches), np.stack(skins), np.ones(COUNT, bool))


COVERS = {
    "a blue mask": mask((110, 160, 220)),
    "a white mask": mask((235, 235, 230)),
    "a black mask": mask((20, 20, 22)),
    "a hand": hand,
    "a microphone": microphone,
}


@pytest.mark.parametrize("cover", COVERS.values(), ids=COVERS.keys())
def test_what_covers_a_mouth_is_seen(actor: Filmed, cover: Cover) -> None:
    found = find_covered(actor, cover)
    assert found[FROM + 5 : TO - 5].all()
    assert not found[: FROM - 5].any()
    assert not found[TO + 5 :].any()


@pytest.mark.parametrize("cover", [None, microphone_below], ids=["nothing", "a microphone below"])
@pytest.mark.parametrize("dim", [1.0, 0.4], ids=["by day", "in the dark"])
def test_a_mouth_that_is_seen_is_not_covered(actor: Filmed, cover: Cover | None, dim: float) -> None:
    assert not find_covered(actor, cover, dim).any()


INPUTS = Path(__file__).parent.parent.parent / "shared" / "trials" / "inputs"
beside = pytest.mark.skipif(not INPUTS.is_dir(), reason="the folder of trials is not beside this checkout")


@beside
@pytest.mark.clips
def test_a_mask_all_through_is_refused(tmp_path: Path) -> None:
    take = make_take(INPUTS / "mask_8s.mp4", tmp_path / "take", TakeRequest(size=256))
    assert not assess_quality(take.quality).usable
    with pytest.raises(UserError, match=r"the mouth is covered in .*--force"):
        build(take.root, tmp_path / "x.avatar")


@beside
@pytest.mark.clips
def test_a_hand_for_two_seconds_is_left_out(tmp_path: Path) -> None:
    take = make_take(INPUTS / "hand_2s.mp4", tmp_path / "take", TakeRequest(size=256))
    out = {frame for span in take.excluded if "mouth" in span.reason for frame in range(span.start, span.stop)}
    assert len(out & set(range(75, 125))) > 44
    assert len(out - set(range(70, 130))) < 6
    assert assess_quality(take.quality).usable
