"""Lips that part and lids that shut where no frame shows either: skin, mouth and eyes of the first splats."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion
from scipy.spatial import ConvexHull
from torch import Tensor

from avatar.core.geometry import exponential, project, to_camera
from avatar.core.landmarks import INNER_LIPS, LOWER_LIP, MESH_POINTS, UPPER_LIP
from avatar.core.motion_space import Motion, load_space
from avatar.core.take import Span, Take, Track, open_take, read_track, with_size
from avatar.render.gaussian.initial import OPEN_CM
from avatar.render.gaussian.lids import REST_CM
from avatar.render.gaussian.settings import GaussianSettings
from avatar.render.gaussian.skin import EYES, MOUTH, Slit, place_in_slit, spread_on_skin
from avatar.render.gaussian.trainable import TrainableGaussian, begin
from cuda_ext import ops
from tests.conftest import Filmed

SIZE = 192


def shut_frames(root: Path) -> tuple[Take, Track]:
    """The actor's Take, trained on frames alone in which the mouth is shut and both eyes are open."""
    take = with_size(open_take(root), SIZE)
    track = read_track(take)
    gap = track.landmarks[:, LOWER_LIP, 1] - track.landmarks[:, UPPER_LIP, 1]
    open_eyes = track.eyes[:, :2].mean(1) > 0.8
    shut = (gap < 0.15 * float(gap.max())) & open_eyes
    spans = tuple(Span(frame, frame + 1, "open") for frame in range(take.length) if not shut[frame])
    return replace(take, train=range(take.length), test=range(0), excluded=spans), track


@pytest.fixture(scope="module")
def begun(actor: Filmed) -> tuple[TrainableGaussian, Take, Track]:
    take, track = shut_frames(actor.take.root)
    assert len(take.training_frames()) > 5
    return begin(take, track, load_space(), GaussianSettings(splats=12000), 0), take, track


def draw(trainable: TrainableGaussian, track: Track, frame: int, hidden: Tensor) -> Tensor:
    """Coverage [S, S] of a frame, without the splats that are hidden [N]."""
    tensors = trainable.tensors()
    ops.split_attributes(tensors["base"])["opacity_logits"][hidden] = -30.0
    renderer = TrainableGaussian(tensors, trainable.camera, trainable.settings).renderer()
    return renderer.render(track.motion(), range(frame, frame + 1))[1][0, 0]


def between_lips(track: Track, frame: int) -> Tensor:
    """The pixels [S, S] bool between the lips of a frame, without those on their line."""
    canvas = Image.new("L", (SIZE, SIZE))
    outline = [(float(x), float(y)) for x, y in track.landmarks[frame, list(INNER_LIPS), :2]]
    ImageDraw.Draw(canvas).polygon(outline, fill=1, outline=0)
    return torch.from_numpy(np.array(canvas)) > 0


def test_a_mouth_that_was_always_shut_opens_onto_its_inside(begun: tuple[TrainableGaussian, Take, Track]) -> None:
    trainable, take, track = begun
    opening = track.landmarks[:, LOWER_LIP, 1] - track.landmarks[:, UPPER_LIP, 1]
    widest = int(opening.argmax())
    inside = between_lips(track, widest)
    assert inside.sum() > 20
    assert float(opening[take.training_frames()].max()) < 0.2 * float(opening.max())
    made = trainable.tensors()["learned"] == 0
    skin = draw(trainable, track, widest, made)[inside]
    whole = draw(trainable, track, widest, torch.zeros_like(made))[inside]
    assert skin.mean() < 0.25  # nothing that was seen stretches over it
    assert whole.min() > 0.95  # nor does the background show


def between_lids(trainable: TrainableGaussian, motion: Motion) -> float:
    """The light [0..1] that the eyeballs' splats, and they alone, give a picture, in pixels."""
    tensors = trainable.tensors()
    gaze = ops.split_attributes(tensors["prior"])["means"][-2:]
    ball = gaze.abs().sum((0, 2)) > 0
    colors = ops.split_attributes(tensors["base"])["colors"]
    colors[:] = ball[:, None].float()
    ops.split_attributes(tensors["deltas"])["colors"][:] = 0
    renderer = TrainableGaussian(tensors, trainable.camera, trainable.settings).renderer()
    rgb, _ = renderer.render(motion, range(1))
    return float(rgb[0, 0].sum())


def test_eyes_that_were_always_open_shut(begun: tuple[TrainableGaussian, Take, Track]) -> None:
    trainable, take, track = begun
    opened = track.motion()[torch.tensor(take.training_frames()[:1])]
    expression, eyes = opened.expression.clone(), opened.eyes.clone()
    basis = load_space().basis
    mesh = track.neutral + torch.einsum("k,kvc->vc", expression[0], basis)
    for mode, slit in enumerate(EYES):
        lines = slit.lines(mesh), slit.lines(basis[mode])
        gap, change = ((lower - upper)[len(upper) // 2, 1] for upper, lower in lines)
        expression[0, mode] -= (gap - REST_CM) / change  # as landmarks of shut eyes do
    eyes[:, :2] = 0
    shut = replace(opened, expression=expression, eyes=eyes)
    assert between_lids(trainable, shut) < 0.1 * between_lids(trainable, opened)


@pytest.mark.parametrize("slit", [MOUTH, *EYES])
def test_skin_moves_with_its_own_side(slit: Slit) -> None:
    space = load_space()
    mesh = space.template[:MESH_POINTS]
    upper, lower = slit.lines(mesh)
    middle = len(upper) // 2
    near = torch.tensor([0.0, 0.02, 0.0])  # cm: on the skin at the edge
    points = torch.stack([upper[middle] - near, lower[middle] + near])
    place, gap = place_in_slit(slit, mesh, points)
    assert torch.allclose(gap, (lower - upper)[middle, 1].double().expand(2), atol=0.02)
    assert place[0] < 0
    assert place[1] > 1
    moved = torch.zeros(1, MESH_POINTS, 3)
    moved[:, list(slit.below)] = 1.0  # all of the lower side, and nothing else
    above, below = spread_on_skin(moved, mesh, points.double())[0]
    assert above.abs().max() == 0
    assert below.min() > 0.5
    far, _ = place_in_slit(slit, mesh, points + torch.tensor([0.0, 9.0, 0.0]))
    assert far.isnan().all()


def test_a_mouth_that_opens_is_lifted_and_not_made(actor: Filmed) -> None:
    take = with_size(actor.take, SIZE)
    track = read_track(take)
    gap = (track.landmarks[:, LOWER_LIP, 1] - track.landmarks[:, UPPER_LIP, 1]).max()
    depth = float(track.translation[:, 2].mean())
    assert float(gap) * depth / take.camera.focal > OPEN_CM
    whole, shut = (
        begin(one, track, load_space(), GaussianSettings(splats=12000), 0).tensors()["learned"]
        for one in (take, shut_frames(actor.take.root)[0])
    )
    assert (whole == 0).sum() < (shut == 0).sum() - 500


@pytest.fixture(scope="module")
def photo(actor: Filmed) -> tuple[TrainableGaussian, Track, int]:
    """What begins with one frame alone."""
    take, track = shut_frames(actor.take.root)
    frame = take.training_frames()[0]
    spans = (Span(0, frame, "other"), Span(frame + 1, take.length, "other"))
    return begin(replace(take, excluded=spans), track, load_space(), GaussianSettings(splats=12000), 0), track, frame


def test_one_frame_is_enough_to_begin(photo: tuple[TrainableGaussian, Track, int]) -> None:
    trainable, track, frame = photo
    tensors = trainable.tensors()
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    own = track.motion()[torch.tensor([frame])]
    assert torch.allclose(tensors["feature_mean"][: own.expression.shape[1]], own.expression[0])
    assert tensors["feature_scale"].min() > 0.005  # nothing is multiplied by hundreds as it moves
    assert trainable.settings.delta_rate < 0.1 * GaussianSettings().delta_rate


@pytest.mark.parametrize(("degrees", "most"), [(15, 0.04), (25, 0.07), (-15, 0.04), (-25, 0.06)])
def test_a_head_that_turns_has_few_holes(
    photo: tuple[TrainableGaussian, Track, int], degrees: float, most: float
) -> None:
    trainable, track, frame = photo
    motion = track.motion()[torch.tensor([frame])]
    turn = exponential(torch.tensor([[0.0, math.radians(degrees), 0.0]]))
    turned = replace(motion, rotation=turn @ motion.rotation)
    _, alpha = trainable.renderer().render(turned, range(1))
    mesh = track.neutral + torch.einsum("k,kvc->vc", motion.expression[0], load_space().basis)
    face = project(to_camera(mesh, turned.rotation[0], motion.translation[0]), trainable.camera)
    canvas = Image.new("L", (SIZE, SIZE))
    hull = ConvexHull(face[:MESH_POINTS].numpy()).vertices
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in face[hull]], fill=1)
    inside = binary_erosion(np.array(canvas) > 0, iterations=2)
    assert (alpha[0, 0].numpy()[inside] < 0.9).mean() < most
