"""Where the splats of a torso begin that sways: at rest, and beyond the picture's border too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from avatar.core.geometry import apply_torso, project, to_camera
from avatar.core.motion_space import load_space
from avatar.core.take import Track, read_track
from avatar.render.gaussian.border import lift_border
from avatar.render.gaussian.lifting import FrameView, view_frame
from avatar.render.gaussian.trainable import TrainableGaussian, begin
from avatar.render.reference_frame import reference_frame
from tests.conftest import Filmed
from tests.trained import settings_of, small_take


def below_the_chin(view: FrameView, pixels: np.ndarray) -> torch.Tensor:
    """1 for pixels [P, 2] of the head, 0 for those of the torso."""
    return torch.from_numpy((pixels[:, 1] < 0.8 * view.camera.size).astype(np.float32))


def test_what_sways_into_the_picture_is_lifted_from_the_frames_that_show_it(actor: Filmed) -> None:
    take, space = actor.take, load_space()
    track = read_track(take)
    view = view_frame(take, track, space, reference_frame(track, take.training_frames()))
    (splats,) = lift_border(take, track, space, view, rigidity=below_the_chin)
    places = project(to_camera(splats.means, view.rotation, view.translation), take.camera)
    middle, size = take.camera.size / 2, take.camera.size
    assert ((places < 0) | (places > size)).any(1).all()
    shown = torch.zeros(splats.count, dtype=torch.bool)
    for frame in take.training_frames():
        pixels = apply_torso(places - middle, track.torso[frame]) + middle
        inside = ((pixels >= 0) & (pixels < size)).all(1)
        if (inside & ~shown).any():
            other = view_frame(take, track, space, frame)
            error = (other.colors(other.image, pixels[inside].numpy()) - splats.colors[inside]).abs().mean(1)
            shown |= inside
            assert error.median() < 0.1  # cloth of fine threads, the track right to a fraction of a pixel
    assert shown.all()


def test_splats_of_the_torso_begin_where_one_at_rest_shows_them(actor: Filmed) -> None:
    take, track = small_take("gaussian", actor.take.root)
    away = replace(track, torso=track.torso + torch.tensor([6.0, -4.0, 0.0, 0.0]))  # its rest is elsewhere
    frame = reference_frame(track, take.training_frames())
    drawn, alone = (
        draw(begin(take, one, load_space(), settings_of("gaussian"), 0), one, frame) for one in (track, away)
    )
    assert float((drawn - alone).abs().mean()) < 0.01


def draw(trainable: TrainableGaussian, track: Track, frame: int) -> torch.Tensor:
    """Premultiplied colours of a frame [3, S, S] 0..1."""
    return trainable.renderer().render(track.motion(), range(frame, frame + 1))[0][0]
