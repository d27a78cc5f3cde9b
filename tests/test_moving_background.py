"""Where the plate is not what stands behind a person, the person alone is learned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avatar.core.take import Framing, Take, read_frames, read_mattes, read_plate
from avatar.render.training_frames import TrainingPictures
from tests.conftest import Filmed

FRAME = 20


def changed(take: Take, kind: str) -> Take:
    if kind == "two framings":
        return replace(take, framings=(Framing(0, 50, (0.0, 0.0, 512.0)), Framing(50, 200, (9.0, 9.0, 256.0))))
    return replace(take, quality=take.quality | {kind: 40.0})


@pytest.mark.parametrize("kind", ["camera_px", "plate_error", "two framings"])
def test_the_person_stands_before_the_plate(actor: Filmed, kind: str) -> None:
    take = changed(actor.take, kind)
    assert not take.background_stands
    image, matte = TrainingPictures(take).read(FRAME).split([3, 1])
    torch.testing.assert_close(matte.float(), read_mattes(take, [FRAME]).float(), atol=0.1 * 255, rtol=0)
    truth, plate = (picture.permute(2, 0, 1) for picture in (read_frames(take, [FRAME])[0], read_plate(take)))
    outside, inside = ((matte == value).expand(3, -1, -1) for value in (0, 255))
    torch.testing.assert_close(image[outside], plate[outside])
    torch.testing.assert_close(image[inside].float(), truth[inside].float(), atol=1.0, rtol=0)


def test_persons_before_their_own_plate_stay_as_they_are(actor: Filmed) -> None:
    """All but their edge, which is freed of what stands behind it."""
    assert actor.take.background_stands
    image, matte = TrainingPictures(actor.take).read(FRAME).split([3, 1])
    inside = (matte == 255).expand(3, -1, -1)
    truth = read_frames(actor.take, [FRAME])[0].permute(2, 0, 1)
    torch.testing.assert_close(image[inside].float(), truth[inside].float(), atol=1.0, rtol=0)
    assert inside.float().mean() > 0.3
