"""The NeRF avatar: geometry against the camera, backends against the reference, memory, generic model, exports."""

from __future__ import annotations

import itertools
import math
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatar.core.avatar_file import Avatar, SpeakingStyle, load_avatar, save_avatar
from avatar.core.files import UserError
from avatar.core.geometry import Camera, exponential, project, to_camera
from avatar.core.media import write_wav
from avatar.core.motion_space import load_space
from avatar.core.recipe import Recipe
from avatar.core.take import Take, Track, open_take, read_audio, read_frames, read_plate, read_track, with_size
from avatar.pipelines.build import build
from avatar.pipelines.driver import own_controls
from avatar.pipelines.evaluate import evaluate
from avatar.pipelines.export import export_depth, export_mesh, export_splats
from avatar.pipelines.pretrain_renderer import find_people, pretrain_renderer
from avatar.pipelines.speak import speak
from avatar.render.nerf import NerfRenderer, NerfSettings
from avatar.render.nerf.backends import NATIVE, TORCH, pad_weights, pick_backend, pick_march
from avatar.render.nerf.field import HeadField, begin_head
from avatar.render.nerf.generic import load_generic
from avatar.render.nerf.lora import begin_lora, low_rank
from avatar.render.nerf.occupancy import cell_of, filled_box, head_box, prune
from avatar.render.nerf.rays import Box, cast_rays
from avatar.render.nerf.renderer import begin, load, pack
from avatar.render.nerf.torso import to_rest
from avatar.render.nerf.volume import Samples, shade, shade_until, shares
from avatar.render.nerf.warp import HINTS, make_warp
from avatar.render.train import Schedule, train
from cuda_ext import ops, reference, reference_field
from preprocess.interchange import export_adnerf
from tests.conftest import Filmed

SIZE = 64
TINY = {"levels": 6, "log2_entries": 12, "finest": 64, "torso_levels": 5, "torso_log2_entries": 12}
FEATURES = 32 + 4 + 6


def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def small(actor: Filmed) -> tuple[Take, Track]:
    take = with_size(actor.take, SIZE)
    return take, read_track(take)


def start(small: tuple[Take, Track], **changes: object) -> NerfRenderer:
    return begin(*small, load_space(), NerfSettings.model_validate(TINY | changes), 0)


def finetune(renderer: NerfRenderer, small: tuple[Take, Track], steps: int) -> list[float]:
    return train(renderer, *small, budget_seconds=math.inf, seed=0, schedule=Schedule(steps))


@pytest.fixture(scope="module")
def taught(small: tuple[Take, Track]) -> NerfRenderer:
    renderer = start(small)
    finetune(renderer, small, 150)
    return renderer


def test_a_take_is_read_smaller_with_all_that_is_counted_in_pixels(actor: Filmed, small: tuple) -> None:
    take, track = small
    whole = read_track(actor.take)
    assert read_frames(take, [3]).shape == (1, SIZE, SIZE, 3)
    assert torch.allclose(track.landmarks * 8, whole.landmarks)
    assert torch.allclose(track.torso[:, :2] * 8, whole.torso[:, :2])
    vertices = to_camera(track.neutral, track.rotation[3], track.translation[3])
    assert torch.allclose(project(vertices, take.camera) * 8, project(vertices, actor.take.camera), atol=1e-2)
    with pytest.raises(UserError, match="is 512 px, fewer than the 1024 px asked for"):
        with_size(actor.take, 1024)


def test_rays_pass_through_what_the_camera_sees() -> None:
    camera, box = Camera(128, 64), head_box()
    rotation, translation = exponential(torch.tensor([0.1, -0.2, 0.05])), torch.tensor([1.0, -2, 60])
    point = torch.tensor([2.0, 1, -3])
    x, y = project(to_camera(point[None], rotation, translation)[0], camera).long().tolist()
    rays = cast_rays(camera, rotation, translation, box, box)
    (index,) = (rays.pixels == y * 64 + x).nonzero()[0]
    depth = to_camera(point[None], rotation, translation)[0, 2]
    there = box.to_cm(rays.origins[index] + depth * rays.directions[index])
    assert (there - point).norm() < 60 / 128  # half a pixel to each side
    assert rays.near < depth < rays.far
    assert torch.allclose(rays.unit_directions().norm(dim=1), torch.ones(len(rays)), atol=1e-5)


def test_the_mesh_comes_back_to_rest() -> None:
    space = load_space()
    warp = make_warp(space.template, space)
    expression = torch.zeros(space.modes)
    expression[4] = 2.0
    moved = space.template + torch.einsum("k,kvc->vc", expression, space.basis)
    back, hints = warp.undo(moved, warp.tables(expression))
    before, after = (moved - space.template).norm(dim=1).mean(), (back - space.template).norm(dim=1).mean()
    assert after < 0.35 * before
    far = space.template + torch.tensor([0.0, 0, 30])
    assert torch.allclose(hints[:, :3], moved - back)
    assert torch.allclose(warp.undo(far, warp.tables(expression))[0], far, atol=0.02)


def test_the_torso_at_rest_is_the_way_back_of_the_similarity() -> None:
    camera, torso = Camera(128, 64), torch.tensor([3.0, -2, 0.05, 0.1])
    places = to_rest(camera, torso).view(64, 64, 2)
    linear, _ = reference.torso_motion(torso, focal=128.0)
    rest = (places[20, 30] - 0.5) * 64 / 128
    slope = linear @ torch.cat([rest, torch.ones(1)])
    assert torch.allclose(slope[:2] * 128 + 32, torch.tensor([30.5, 20.5]), atol=1e-3)
    assert torch.allclose(to_rest(camera, torso, torch.eye(3), 60.0), to_rest(camera, torso), atol=1e-5)


@pytest.mark.parametrize("encoding", ["grid", "triplane"])
@pytest.mark.parametrize("conditioning", ["ambient", "attention"])
def test_the_native_field_and_its_gradients_agree_with_the_reference(encoding: str, conditioning: str) -> None:
    settings = NerfSettings.model_validate(TINY | {"encoding": encoding, "conditioning": conditioning})
    values = begin_head(settings, FEATURES, random())
    values = {name: tensor + 0.05 * torch.randn(tensor.shape, generator=random()) for name, tensor in values.items()}
    positions, hints, directions = (torch.rand(200, width, generator=random()) for width in (3, HINTS, 3))
    features, light = torch.randn(FEATURES, generator=random()), torch.randn(4, generator=random())
    results = []
    for backend in (NATIVE, TORCH):
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in values.items()}
        field = HeadField(settings, FEATURES, backend, torch.device("cpu"))
        density, color = field(leaves, positions, hints, directions, field.condition(leaves, features, light))
        (density.sum() + (color * color).sum()).backward()
        results.append((density, color, {name: leaf.grad for name, leaf in leaves.items()}))
    (density, color, gradients), (expected_density, expected_color, expected) = results
    assert torch.allclose(density, expected_density, rtol=1e-3)
    assert torch.allclose(color, expected_color, atol=1e-4)
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert (gradient - expected[name]).norm() < 5e-3 * expected[name].norm(), name


def sampled_rays() -> Samples:
    counts = torch.tensor([0, 9, 2, 30], dtype=torch.int32)
    total = int(counts.sum())
    positions = torch.rand(total, 3, generator=random())
    starts = counts.cumsum(0) - counts
    return Samples(positions, positions[:, :0], torch.arange(total).float(), positions, positions, starts, counts)


def test_stopping_early_changes_no_more_than_what_is_left() -> None:
    rays = sampled_rays()

    def field(positions: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return 4 * positions[:, 0].square(), positions

    color, alpha = shade(rays, field, 0.5)
    everything, covered = shade_until(rays, field, 0.5, 0.0)
    assert torch.allclose(color, everything, atol=3e-3)
    assert torch.allclose(alpha, covered, atol=2e-4)
    _, less = shade_until(rays, field, 0.5, 0.3)
    assert ((alpha - less) < 0.3).all()
    assert (less < alpha - 1e-3).any()
    summed = torch.stack([part.sum() for part in shares(rays, field, 0.5).split(rays.counts.tolist())])
    assert torch.allclose(summed, alpha, atol=1e-4)


def test_cells_that_nobody_sees_are_given_up() -> None:
    first, seen = torch.ones(16, 16, 16, dtype=torch.uint8), torch.zeros(16, 16, 16)
    first[:, :, 9:] = 0
    seen[4, 5, 8] = 0.5
    kept = prune(seen, first)
    assert kept.sum() == 3 * 3 * 2
    assert kept.view(-1)[cell_of(torch.tensor([[8.5, 5.5, 4.5]]) / 16, 16)] == 1
    box = filled_box(kept, Box(torch.zeros(3), torch.full((3,), 16.0)))
    assert box.lower.tolist() == [7, 4, 3]
    assert box.upper.tolist() == [9, 7, 6]


def test_training_prunes_and_learns(small: tuple, taught: NerfRenderer) -> None:
    first = start(small)
    assert taught.state["occupancy"].sum() < first.state["occupancy"].sum()
    before, after = finetune(first, small, 8), finetune(taught, small, 8)
    assert sum(after) < 0.75 * sum(before)


@pytest.mark.parametrize(
    "changes", [{"encoding": "triplane"}, {"conditioning": "attention"}, {"warp": False}, {"upscale": 2}]
)
def test_every_kind_of_field_learns(small: tuple, changes: dict) -> None:
    losses = finetune(start(small, **changes), small, 60)
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])


def test_what_is_enlarged_is_the_same_picture_at_any_size(small: tuple) -> None:
    renderer = start(small, upscale=2)
    plain = start(small)
    assert (renderer_picture(renderer, small) - renderer_picture(plain, small)).abs().mean() < 0.03
    odd = NerfRenderer(renderer.tensors(), renderer.camera.scaled(51))
    assert renderer_picture(odd, small).shape == (1, 3, 51, 51)


def test_a_torso_that_knows_the_head_is_told_of_it(small: tuple) -> None:
    for aware in (True, False):
        renderer = start(small, head_aware=aware)
        finetune(renderer, small, 2)
        torso = renderer._torso
        heads = torch.rand(2, 5, 8, generator=random())
        places = torch.rand(5, 2, generator=random())
        first, second = (torso(renderer.values, places, torch.zeros(6), head) for head in heads)
        assert torch.allclose(first, second) is not aware


def test_a_full_gpu_memory_halves_the_rays(small: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = start(small, rays_at_once=4096)
    expected = renderer_picture(renderer, small)
    follow, tried = NerfRenderer._follow_part, []

    def full(self: NerfRenderer, rays, *rest):
        tried.append(len(rays))
        if len(rays) > 1100:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return follow(self, rays, *rest)

    monkeypatch.setattr(NerfRenderer, "_follow_part", full)
    assert torch.allclose(renderer_picture(renderer, small), expected, atol=1e-5)
    assert max(tried) > 1100
    assert tried[-1] <= 1024
    losses = finetune(renderer, small, 3)  # rays in several parts, whose inside is computed again on the way back
    assert all(math.isfinite(loss) for loss in losses)
    monkeypatch.setattr(NerfRenderer, "_follow_part", lambda *_: full_for_ever())
    with pytest.raises(torch.cuda.OutOfMemoryError):
        renderer_picture(renderer, small)


def full_for_ever() -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory")


def test_a_memory_full_on_the_way_back_takes_the_step_again(small: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer, failed = start(small), []
    backward = torch.Tensor.backward

    def once(self, *rest, **more):
        if not failed:
            failed.append(True)
            full_for_ever()
        return backward(self, *rest, **more)

    monkeypatch.setattr(torch.Tensor, "backward", once)
    assert len(finetune(renderer, small, 2)) == 2
    assert renderer._rays_at_once == renderer.settings.rays_at_once // 2


def renderer_picture(renderer: NerfRenderer, small: tuple) -> torch.Tensor:
    with torch.inference_mode():
        return renderer.render(small[1].motion(), range(4, 5))[0]


def test_backends_that_are_not_there_say_how_to_get_them(small: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    here = torch.device("cpu")
    with pytest.raises(UserError, match=r"'tcnn' is not installed.*pip install"):
        pick_backend("tcnn", here)
    with pytest.raises(UserError, match=r"'nerfacc' is not installed.*avatar-builder"):
        pick_march("nerfacc", here)
    assert pick_backend("auto", here) is NATIVE
    for name in ("tinycudann", "nerfacc"):
        stub = types.ModuleType(name)
        stub.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
        monkeypatch.setitem(sys.modules, name, stub)
    with pytest.raises(UserError, match="NVIDIA GPUs only"):
        pick_backend("tcnn", here)
    with pytest.raises(UserError, match="NVIDIA GPUs only"):
        pick_march("nerfacc", here)
    with pytest.raises(UserError, match="NVIDIA GPUs only"):
        start(small, backend="tcnn")


def test_padded_weights_give_the_same_network() -> None:
    widths = [21, 32, 32, 5]
    weights = torch.randn(sum(a * b for a, b in itertools.pairwise(widths)), generator=random())
    inputs = torch.randn(7, 21, generator=random())
    padded = pad_weights(weights, widths, 32, 16)
    wide = reference_field.mlp(torch.nn.functional.pad(inputs, (0, 11)), padded, [32, 32, 32, 16])
    assert torch.allclose(wide[:, :5], ops.mlp(inputs, weights, widths), atol=1e-4)
    assert wide[:, 5:].abs().max() == 0


def test_low_rank_factors_change_nothing_at_first_and_melt_into_the_weights(small: tuple) -> None:
    widths = [5, 7, 3]
    factors = begin_lora(widths, 2, random())
    assert low_rank(factors, widths, 2).abs().max() == 0
    renderer = start(small, lora_rank=2)
    frozen = renderer.values["head.ambient"].clone()
    finetune(renderer, small, 20)
    assert torch.equal(renderer.values["head.ambient"], frozen)
    assert renderer.values["lora.head.ambient"].abs().sum() > 0
    packed = pack(renderer.tensors())
    assert not any(name.startswith("lora.") for name in packed)
    again = NerfRenderer(packed, renderer.camera)
    assert (renderer_picture(again, small) - renderer_picture(renderer, small)).abs().max() < 0.02


def test_a_generic_field_is_a_better_beginning(small: tuple, actor: Filmed, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    for name in ("one", "two"):
        folder.mkdir(exist_ok=True)
        (folder / name).symlink_to(actor.take.root)
    settings = NerfSettings.model_validate(TINY | {"levels": 5})
    pretrain_renderer(find_people(folder), tmp_path / "g", settings=settings, steps=160, size=SIZE)
    generic = load_generic(tmp_path / "g")
    assert generic.settings.levels == 5
    adapted = start(small, generic=str(tmp_path / "g"), lora_rank=2)
    assert adapted.settings.levels == 5  # the generic field says how it is read
    assert sum(finetune(adapted, small, 20)) < sum(finetune(start(small), small, 20))
    (folder / "two").unlink()
    with pytest.raises(UserError, match="holds 1 people"):
        find_people(folder)


def test_a_generic_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no")
    with pytest.raises(UserError, match="is damaged"):
        load_generic(tmp_path / "x")
    with pytest.raises(UserError, match="no such generic NeRF"):
        load_generic(tmp_path / "y")


def as_avatar(renderer: NerfRenderer, small: tuple[Take, Track]) -> Avatar:
    take, track = small
    habits = SpeakingStyle(track.expression.mean(0), track.expression.std(0), 0.2, 0.2, 0.0, track.motion())
    speech: dict[str, torch.Tensor] = {}
    plain = (read_plate(take), take.camera, 25.0, load_space().id, "", {})
    return Avatar("nerf", pack(renderer.tensors()), speech, habits, *plain)


def test_mesh_and_depth_lie_where_the_face_is(taught: NerfRenderer, small: tuple, tmp_path: Path) -> None:
    save_avatar(as_avatar(taught, small), tmp_path / "a.avatar")
    avatar = load_avatar(tmp_path / "a.avatar")
    motion = small[1].motion()
    count = export_mesh(avatar, tmp_path / "m.ply", motion=motion, frame=4, cells=60)
    data = (tmp_path / "m.ply").read_bytes()
    body = data[data.index(b"end_header\n") + 11 :]
    points = np.frombuffer(body[: 15 * count], [("place", "<f4", 3), ("color", "u1", 3)])["place"]
    nose = small[1].neutral[1].numpy()
    assert np.linalg.norm(points - nose, axis=1).min() < 1.5
    export_depth(avatar, tmp_path / "d.png", motion=motion, frame=4)
    depth = np.array(Image.open(tmp_path / "d.png")).astype(float) / 100
    x, y = small[1].landmarks[4, 1, :2].long().tolist()
    tip = to_camera(small[1].neutral[1:2], motion.rotation[4], motion.translation[4])[0, 2]
    assert abs(depth[y, x] - float(tip)) < 2
    assert depth[2, 2] == 0
    with pytest.raises(UserError, match="has no splats"):
        export_splats(avatar, tmp_path / "s.ply")
    with pytest.raises(UserError, match="is not a frame"):
        export_depth(avatar, tmp_path / "d.png", motion=motion, frame=10**6)
    with pytest.raises(UserError, match="has no density"):
        export_mesh(replace(avatar, kind="gaussian", renderer=gaussian_tensors(small)), tmp_path / "m.ply")


def gaussian_tensors(small: tuple[Take, Track]) -> dict[str, torch.Tensor]:
    from avatar.render import gaussian

    settings = gaussian.GaussianSettings(splats=500)
    return gaussian.begin(*small, load_space(), settings, 0).tensors()


def test_another_view_turns_head_and_torso(taught: NerfRenderer, small: tuple) -> None:
    motion = small[1].motion()
    with torch.inference_mode():
        straight, _ = taught.render(motion, range(4, 5))
        same, _ = taught.render(motion, range(4, 5), torch.eye(3)[None])
        turned, alpha = taught.render(motion, range(4, 5), exponential(torch.tensor([[0.0, 0.2, 0]])))
    assert (straight - same).abs().mean() < 2e-3
    assert (straight - turned).abs().mean() > 1e-2
    assert 0.1 < alpha.mean() < 1


def test_settings_of_another_version_are_refused(taught: NerfRenderer) -> None:
    tensors = taught.tensors() | {"settings": torch.tensor(list(b'{"nonsense": 1}'), dtype=torch.uint8)}
    with pytest.raises(UserError, match="settings cannot be read"):
        NerfRenderer(tensors, taught.camera)
    older = taught.tensors() | {"torso.color": torch.zeros(3000)}
    with pytest.raises(UserError, match=r"torso is of another version.*build it again"):
        load(older, taught.camera)


def test_a_torso_begins_where_it_was_tracked(small: tuple) -> None:
    """Neither the pose nor the head moves a pixel or changes a colour before something was learned."""
    renderer, places = start(small), torch.rand(5, 2, generator=random())
    poses, heads = torch.randn(2, 6, generator=random()), torch.rand(2, 5, 8, generator=random())
    first, second = (renderer._torso(renderer.values, places, *told) for told in zip(poses, heads, strict=True))
    assert torch.equal(first, second)
    finetune(renderer, small, 3)
    first, second = (renderer._torso(renderer.values, places, pose, heads[0]) for pose in poses)
    assert not torch.equal(first, second)


def test_takes_that_cannot_be_opened_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a take"):
        open_take(tmp_path)


def test_a_data_folder_of_the_adnerf_family_becomes_an_avatar(actor: Filmed, tmp_path: Path) -> None:
    export_adnerf(actor.take, tmp_path / "data")
    out, renderer = tmp_path / "a.avatar", TINY | {"kind": "nerf"}
    recipe = Recipe(steps=3, train_size=SIZE, holdout=0.1, renderer=renderer, controls={"lle": 0.2})
    build(tmp_path / "data", out, recipe=recipe)
    avatar = load_avatar(out)
    assert avatar.kind == "nerf"
    assert own_controls(avatar).lle == 0.2
    scores = evaluate(avatar, open_take(out.with_suffix(".take")))
    assert {score.region for score in scores} >= {"whole", "mouth", "seam of head and torso"}
    write_wav(tmp_path / "a.wav", read_audio(actor.take)[:16000])
    assert speak(avatar, tmp_path / "a.wav", tmp_path / "said") == 25
    assert len(list((tmp_path / "said").glob("*.png"))) == 25
