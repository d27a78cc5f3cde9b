"""The NeRF avatar in training and after it: occupancy, memory, settings, generic field, exports."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatar.core.avatar_file import Avatar, load_avatar
from avatar.core.controls import resolve_controls
from avatar.core.files import UserError
from avatar.core.geometry import exponential, to_camera
from avatar.core.media import write_wav
from avatar.core.recipe import Recipe
from avatar.core.take import open_take, read_audio, read_plate
from avatar.pipelines.build import build
from avatar.pipelines.evaluate import evaluate
from avatar.pipelines.export import export_depth, export_mesh, export_splats
from avatar.pipelines.pretrain_renderer import find_people, pretrain_renderer
from avatar.pipelines.speak import speak
from avatar.render.nerf import NerfRenderer, NerfSettings
from avatar.render.nerf import model as nerf_model
from avatar.render.nerf.generic import load_generic
from avatar.render.nerf.renderer import load
from avatar.render.nerf.trainable import TrainableNerf, pack
from preprocess.interchange import export_adnerf
from tests.conftest import Filmed
from tests.trained import SIZES, TINY, Trained, begin, random, step_of, train_more, trained_on

SIZE = SIZES["nerf"]
NOSE = 1  # landmark
Start = Callable[..., TrainableNerf]
Train = Callable[[TrainableNerf, int], list[float]]


@pytest.fixture
def trained(actor: Filmed) -> Trained:
    return trained_on("nerf", actor.take.root)


@pytest.fixture
def start(actor: Filmed) -> Start:
    """Begins a training; settings."""

    def start(**changes: object) -> TrainableNerf:
        trainable = begin("nerf", actor.take.root, **changes)
        assert isinstance(trainable, TrainableNerf)
        return trainable

    return start


@pytest.fixture
def go_on(actor: Filmed) -> Train:
    """Trains some steps more; returns their losses."""
    return lambda trainable, steps: train_more(trainable, "nerf", actor.take.root, steps)


def picture(renderer: NerfRenderer, trained: Trained) -> torch.Tensor:
    return renderer.render(trained.track.motion(), range(4, 5))[0]


def unpacked(trainable: TrainableNerf) -> NerfRenderer:
    """The renderer of tensors as they are trained, in float32."""
    return NerfRenderer(trainable.tensors(), trainable.camera)


def test_training_gives_up_cells_that_nobody_sees(trained: Trained, start: Start) -> None:
    first, hull, kept = start().occupancy, trained.tensors["hull"], trained.tensors["occupancy"]
    assert torch.equal(first, hull)
    assert (kept <= hull).all()
    assert 0 < kept.sum() <= hull.sum()  # the hull of so small a picture holds hardly a cell that nobody sees
    everywhere = trained.tensors | {"hull": torch.ones_like(hull), "occupancy": torch.ones_like(hull)}
    trainable = TrainableNerf(everywhere, trained.take.camera)
    trainable.prepare(trained.track.motion())
    trainable.draw(step_of(trainable, 4))
    trainable._update_occupancy()
    assert 0.01 < trainable.occupancy.float().mean() < 0.5  # the box is opaque but for the trained part: its surface


@pytest.mark.parametrize(
    "changes", [{"encoding": "triplane"}, {"conditioning": "attention"}, {"warp": False}, {"upscale": 2}]
)
def test_every_kind_of_field_learns(start: Start, go_on: Train, changes: dict) -> None:
    losses = go_on(start(**changes), 40)
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])


def test_what_is_enlarged_is_the_same_picture_at_any_size(start: Start, trained: Trained) -> None:
    large = start(upscale=2)
    assert (picture(unpacked(large), trained) - picture(unpacked(start()), trained)).abs().mean() < 0.03
    odd = NerfRenderer(large.tensors(), large.camera.scaled(51))
    assert picture(odd, trained).shape == (1, 3, 51, 51)


def torso_of(trainable: TrainableNerf, pose: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Colour and coverage [5, 4] of a torso at five places."""
    model = trainable._model
    places = torch.rand(5, 2, generator=random())
    return model.torso(model.values, places, pose, head)


def test_a_torso_begins_where_it_was_tracked(start: Start, go_on: Train) -> None:
    """Neither the pose nor the head moves a pixel or changes a colour before anything was learned."""
    for aware in (True, False):
        trainable = start(head_aware=aware)
        poses, heads = torch.randn(2, 6, generator=random()), torch.rand(2, 5, 8, generator=random())
        assert torch.equal(*(torso_of(trainable, *pair) for pair in zip(poses, heads, strict=True)))
        go_on(trainable, 3)
        assert not torch.equal(*(torso_of(trainable, pose, heads[0]) for pose in poses))
        assert torch.equal(*(torso_of(trainable, poses[0], head) for head in heads)) is not aware


def test_a_full_gpu_memory_halves_the_rays(start: Start, go_on: Train, trained: Trained, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    trainable = start(rays_at_once=4096)
    expected, tried = picture(unpacked(trainable), trained), []
    sample = nerf_model.frame_samples
    limit = [1100]

    def sample_or_fail(model, rays, *rest):  # type: ignore[no-untyped-def]
        tried.append(len(rays))
        if len(rays) > limit[0]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return sample(model, rays, *rest)

    for user in ("renderer", "trainable"):
        monkeypatch.setattr(f"avatar.render.nerf.{user}.frame_samples", sample_or_fail)
    assert torch.allclose(picture(unpacked(trainable), trained), expected, atol=1e-5)
    assert max(tried) > 1100
    assert tried[-1] <= 1024
    losses = go_on(trainable, 3)  # rays in several parts, whose inside is computed again on the way back
    assert all(math.isfinite(loss) for loss in losses)
    limit[0] = 0
    with pytest.raises(torch.cuda.OutOfMemoryError):
        picture(unpacked(trainable), trained)


def test_a_memory_full_on_the_way_back_takes_the_step_again(start: Start, go_on: Train, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    trainable, failed = start(), []
    backward = torch.Tensor.backward

    def once(self, *rest, **more):  # type: ignore[no-untyped-def]
        if not failed:
            failed.append(True)
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return backward(self, *rest, **more)

    monkeypatch.setattr(torch.Tensor, "backward", once)
    assert len(go_on(trainable, 2)) == 2
    assert trainable._batch.size == trainable.settings.rays_at_once // 2


def test_low_rank_factors_are_trained_alone_and_merged_into_the_weights(
    start: Start, go_on: Train, trained: Trained
) -> None:
    trainable = start(lora_rank=2)
    frozen = trainable.values["head.ambient"].clone()
    go_on(trainable, 20)
    assert torch.equal(trainable.values["head.ambient"], frozen)
    assert trainable.values["lora.head.ambient"].abs().sum() > 0
    packed = pack(trainable.tensors())
    assert not any(name.startswith("lora.") for name in packed)
    assert not torch.equal(packed["head.ambient"], frozen.half())
    merged = picture(NerfRenderer(packed, trainable.camera), trained)
    assert (merged - picture(unpacked(trainable), trained)).abs().max() < 0.02


def test_a_generic_field_is_a_better_beginning(start: Start, go_on: Train, actor: Filmed, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    for name in ("one", "two"):
        folder.mkdir(exist_ok=True)
        (folder / name).symlink_to(actor.take.root)
    settings = NerfSettings.model_validate(TINY | {"levels": 5})
    pretrain_renderer(find_people(folder), tmp_path / "g", settings=settings, steps=120, size=SIZE)
    generic = load_generic(tmp_path / "g")
    assert generic.settings.levels == 5
    adapted = start(generic=str(tmp_path / "g"), lora_rank=2)
    assert adapted.settings.levels == 5  # the generic field says how it is read
    assert sum(go_on(adapted, 20)) < 0.9 * sum(go_on(start(), 20))
    (folder / "two").unlink()
    with pytest.raises(UserError, match="holds 1 people"):
        find_people(folder)


def test_mesh_and_depth_lie_where_the_face_is(trained: Trained, avatar: Avatar, tmp_path: Path) -> None:
    plate, track, motion = read_plate(trained.take), trained.track, trained.track.motion()
    nerf = replace(avatar, kind="nerf", renderer=pack(trained.tensors), plate=plate, camera=trained.take.camera)
    count = export_mesh(nerf, tmp_path / "m.ply", motion=motion, frame=4, cells=60)
    data = (tmp_path / "m.ply").read_bytes()
    body = data[data.index(b"end_header\n") + 11 :]
    points = np.frombuffer(body[: 15 * count], [("place", "<f4", 3), ("color", "u1", 3)])["place"]
    assert np.linalg.norm(points - track.neutral[NOSE].numpy(), axis=1).min() < 1.5
    export_depth(nerf, tmp_path / "d.png", motion=motion, frame=4)
    depth = np.array(Image.open(tmp_path / "d.png")).astype(float) / 100
    x, y = track.landmarks[4, NOSE, :2].long().tolist()
    tip = to_camera(track.neutral[[NOSE]], motion.rotation[4], motion.translation[4])[0, 2]
    assert abs(depth[y, x] - float(tip)) < 2
    assert depth[2, 2] == 0
    with pytest.raises(UserError, match="has no splats"):
        export_splats(nerf, tmp_path / "s.ply")
    with pytest.raises(UserError, match="is not a frame"):
        export_depth(nerf, tmp_path / "d.png", motion=motion, frame=10**6)
    with pytest.raises(UserError, match="has no density"):
        export_mesh(avatar, tmp_path / "m.ply")


def test_another_view_turns_head_and_torso(trained: Trained) -> None:
    renderer, motion = trained.renderer(), trained.track.motion()
    straight, _ = renderer.render(motion, range(4, 5))
    same, _ = renderer.render(motion, range(4, 5), torch.eye(3)[None])
    turned, alpha = renderer.render(motion, range(4, 5), exponential(torch.tensor([[0.0, 0.2, 0]])))
    assert (straight - same).abs().mean() < 2e-3
    assert (straight - turned).abs().mean() > 1e-2
    assert 0.1 < alpha.mean() < 1


def test_tensors_of_another_version_are_refused(trained: Trained) -> None:
    tensors, camera, settings = trained.tensors, trained.take.camera, NerfSettings()
    with pytest.raises(UserError, match="settings cannot be read"):
        NerfRenderer(tensors | {"settings": torch.tensor(list(b'{"nonsense": 1}'), dtype=torch.uint8)}, camera)
    with pytest.raises(UserError, match=r"field.torso.color is \[3000\], expected .*build it again"):
        load(tensors | {"torso.color": torch.zeros(3000)}, camera, settings)


def test_a_data_folder_of_the_adnerf_family_becomes_an_avatar(actor: Filmed, tmp_path: Path) -> None:
    short = replace(actor.take, length=120, train=range(108), test=range(108, 120))
    export_adnerf(short, tmp_path / "data")
    out, renderer = tmp_path / "a.avatar", TINY | {"kind": "nerf"}
    recipe = Recipe(steps=3, train_size=SIZE, holdout=0.1, renderer=renderer, controls={"lle": 0.2})
    build(tmp_path / "data", out, recipe=recipe)
    avatar = load_avatar(out)
    assert avatar.kind == "nerf"
    assert resolve_controls(avatar).lle == 0.2
    regions = {score.region for score in evaluate(avatar, open_take(out.with_suffix(".take"))).scores}
    assert regions >= {"whole", "mouth", "seam of head and torso"}
    write_wav(tmp_path / "a.wav", read_audio(actor.take)[:16000])
    assert speak(avatar, tmp_path / "a.wav", tmp_path / "said") == 25
    assert len(list((tmp_path / "said").glob("*.png"))) == 25
