"""Every renderer: learns the actor, draws any range the same, opens without what trains it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar.core.avatar_file import Avatar, save_avatar
from avatar.core.deflate import deflate
from avatar.core.files import UserError
from avatar.core.geometry import project, to_camera
from avatar.core.landmarks import INNER_LIPS, LOWER_LIP, UPPER_LIP
from avatar.core.motion_space import load_space
from avatar.core.take import read_frames, read_plate
from avatar.metrics import psnr
from avatar.metrics.pictures import fill_polygon
from avatar.play.composite import over
from avatar.render import RENDERERS, open_renderer, renderer_kind
from avatar.render.base import Renderer
from avatar.render.gaussian import GaussianRenderer, rasterizers
from avatar.render.gaussian.trainable import TrainableGaussian
from avatar.render.kinds import TRAINABLES, trainable_kind
from cuda_ext import ops
from tests.conftest import Filmed
from tests.trained import Trained, begin, settings_of, step_of, trained_on

LEAST_PSNR = {"gaussian": 29, "nerf": 28}  # another frame of the clip, in place of the right one, has 22 and 24


@pytest.fixture(params=sorted(RENDERERS))
def trained(request: pytest.FixtureRequest, actor: Filmed) -> Trained:
    return trained_on(request.param, actor.take.root)


def draw(renderer: Renderer, trained: Trained, frames: range) -> torch.Tensor:
    return over(*renderer.render(trained.track.motion(), frames), read_plate(trained.take))


def test_the_actor_is_rebuilt_on_frames_never_seen(trained: Trained) -> None:
    assert sum(trained.losses[-20:]) < 0.5 * sum(trained.losses[:20])
    test, take = trained.take.test, trained.take
    drawn, truth, other = draw(trained.renderer(), trained, test), read_frames(take, test), read_frames(take, [10])[0]
    values = [psnr(a, b) for a, b in zip(drawn, truth, strict=True)]
    mean = sum(values) / len(values)
    assert mean > LEAST_PSNR[trained.kind], values
    assert mean > sum(psnr(other, b) for b in truth) / len(truth) + 3


def test_the_renderer_of_a_training_is_that_of_its_avatar_file(trained: Trained, actor: Filmed) -> None:
    trainable = begin(trained.kind, actor.take.root)
    trainable.restore(trained.tensors)
    assert all(torch.equal(tensor, trained.tensors[name]) for name, tensor in trainable.tensors().items())
    frames = range(5, 7)
    assert torch.equal(draw(trainable.renderer(), trained, frames), draw(trained.renderer(), trained, frames))


def test_packing_cannot_be_seen(actor: Filmed) -> None:
    """Deltas in int8 against those that were trained, drawn without the training's noise."""
    trained = trained_on("gaussian", actor.take.root)
    trainable = TrainableGaussian(trained.tensors, trained.take.camera, settings_of("gaussian", feature_noise=0.0))
    trainable.prepare(trained.track.motion())
    rgb, alpha = trainable.draw(step_of(trainable, 100))
    exact = over(rgb.detach(), alpha.detach(), read_plate(trained.take))[0]
    (packed,) = draw(trained.renderer(), trained, range(100, 101))
    assert 40 < psnr(packed, exact) < 99


def test_the_order_that_splats_are_packed_in_cannot_be_seen(actor: Filmed) -> None:
    """Shuffled, and packed as they lie, as earlier versions did: the same picture, from a larger file."""
    trained = trained_on("gaussian", actor.take.root)
    tensors, count = trained.tensors, len(trained.tensors["rigidity"])
    places = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    parts = {name: ops.split_attributes(tensors[name]).values() for name in ("base", "deltas")}
    base = torch.cat([part[places].flatten() for part in parts["base"]])
    deltas = torch.cat([part[:, places].flatten(1) for part in parts["deltas"]], 1)
    own = {name: tensors[name][places] for name in ("quaternions", "rigidity")}
    shuffled = tensors | {"base": base, "deltas": deltas} | own
    codes, scales = ops.quantize(deltas)
    old = shuffled | {"delta_codes": codes, "delta_scales": scales}
    new = TRAINABLES["gaussian"].pack(shuffled)
    drawn = [draw(RENDERERS["gaussian"].load(one, trained.take.camera, settings_of("gaussian")), trained, range(50, 53))
             for one in (old, new)]  # fmt: skip
    assert all(psnr(one, other) > 50 for one, other in zip(*drawn, strict=True))
    assert (new["delta_scales"] == 0).float().mean() > (old["delta_scales"] == 0).float().mean() + 0.1
    deflated = [sum(len(one) for one in deflate({"codes": codes})[0].values()) for codes in (codes, new["delta_codes"])]
    assert deflated[1] < 0.98 * deflated[0]


def test_a_range_is_its_frames_and_alpha_is_a_share(trained: Trained) -> None:
    renderer = trained.renderer()
    together = draw(renderer, trained, range(20, 23))
    assert all(torch.equal(together[i : i + 1], draw(renderer, trained, range(20 + i, 21 + i))) for i in range(3))
    _, alpha = renderer.render(trained.track.motion(), range(1))
    assert alpha.min() >= 0
    assert alpha.max() <= 1.0001


def test_drawing_has_no_gradients_and_training_has(trained: Trained, actor: Filmed) -> None:
    renderer, motion = trained.renderer(), trained.track.motion()
    with torch.enable_grad():
        plain = renderer.render(motion, range(2))
    with torch.inference_mode():
        inferred = renderer.render(motion, range(2))
    for one, other in zip(plain, inferred, strict=True):
        assert not one.requires_grad
        assert torch.equal(one, other)
    trainable = begin(trained.kind, actor.take.root)
    trainable.restore(trained.tensors)
    before = trainable.tensors()
    trainable.prepare(motion)
    step = step_of(trainable, 3)
    rgb, alpha = trainable.draw(step)
    assert rgb.requires_grad
    assert alpha.shape == (1, 1, *rgb.shape[2:])
    (rgb.sum() + alpha.sum()).backward()
    trainable.update(step)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in trainable.tensors().items())


def test_unknown_renderers_are_refused_with_the_names_that_are_known() -> None:
    for find in (renderer_kind, trainable_kind):
        with pytest.raises(UserError, match="renderer 'mesh' is unknown; choose one of gaussian, nerf"):
            find("mesh")
    assert set(TRAINABLES) == set(RENDERERS)
    assert all(TRAINABLES[name].settings is RENDERERS[name].settings for name in RENDERERS)


SCRIPT = """
import json, sys
from pathlib import Path
from avatar.core.avatar_file import load_avatar
from avatar.render import open_renderer
for path in sys.argv[1:]:
    avatar = load_avatar(Path(path))
    open_renderer(avatar, 64).render(avatar.style.own, range(2))
print(json.dumps(sorted(sys.modules)))
"""


def as_avatar(trained: Trained, avatar: Avatar) -> Avatar:
    """An avatar with another renderer."""
    packed = TRAINABLES[trained.kind].pack(trained.tensors)
    plate = read_plate(trained.take)
    return replace(avatar, kind=trained.kind, renderer=packed, camera=trained.take.camera, plate=plate, recipe="")


def test_drawing_loads_nothing_that_trains(actor: Filmed, avatar: Avatar, tmp_path: Path) -> None:
    paths = []
    for kind in sorted(RENDERERS):
        paths.append(str(tmp_path / f"{kind}.avatar"))
        save_avatar(as_avatar(trained_on(kind, actor.take.root), avatar), paths[-1])
    done = subprocess.run([sys.executable, "-c", SCRIPT, *paths], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    for package in ("scipy", "mediapipe", "cv2", "matplotlib", "preprocess", "avatar.learn", "avatar.pipelines"):
        assert not [name for name in loaded if name == package or name.startswith(f"{package}.")], package
    words = ("train", "initial", "losses", "adam", "exposure", "relocation", "surface", "hull", "generic", "kinds")
    ours = [name for name in loaded if name.startswith("avatar.render.")]
    assert ours
    assert not [name for name in ours if any(word in name for word in words)]


def test_the_rasterizer_of_the_recipe_is_used(avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = "renderer: {kind: gaussian, rasterizer: gsplat, splats: 3000, a_key_of_another_version: 1}"
    renderer = open_renderer(replace(avatar, recipe=recipe), 64)
    assert isinstance(renderer, GaussianRenderer)
    with pytest.warns(UserWarning, match=r"drawn by the native rasterizer: rasterizer 'gsplat' (is not|draws on)"):
        drawn = renderer.render(avatar.style.own, range(1))[0]
    native = open_renderer(replace(avatar, recipe=""), 64)
    assert torch.equal(drawn, native.render(avatar.style.own, range(1))[0])
    used = []
    monkeypatch.setattr(rasterizers, "check_rasterizer", lambda name, _: used.append(name))
    monkeypatch.setitem(sys.modules, "gsplat", None)
    renderer.to(torch.device("cpu"))
    with pytest.raises(ImportError):  # where gsplat can draw, it does
        renderer.render(avatar.style.own, range(1))
    assert set(used) == {"gsplat"}
    for other in ("renderer: {kind: gaussian}", "", "no: [yaml"):
        plain = open_renderer(replace(avatar, recipe=other), 64)
        assert plain.render(avatar.style.own, range(1))[0].shape == (1, 3, 64, 64)
    with pytest.raises(UserError, match="the avatar's recipe, renderer: 'rasterizer' input should be"):
        open_renderer(replace(avatar, recipe="renderer: {rasterizer: pencil}"))


def test_no_background_shows_through_a_mouth_opened_wider_than_ever(actor: Filmed) -> None:
    trained, space = trained_on("gaussian", actor.take.root), load_space()
    track, camera = trained.track, trained.take.camera
    widest = int((track.landmarks[:, LOWER_LIP, 1] - track.landmarks[:, UPPER_LIP, 1]).argmax())
    motion = track.motion()[widest : widest + 1]
    motion = replace(motion, expression=torch.cat([motion.expression[:, :2], 1.4 * motion.expression[:, 2:]], 1))
    vertices = track.neutral + torch.einsum("k,kvc->vc", motion.expression[0], space.basis)
    points = project(to_camera(vertices, motion.rotation[0], motion.translation[0]), camera)
    inside = fill_polygon(points[list(INNER_LIPS)], camera.size)
    _, alpha = trained.renderer().render(motion, range(1))
    assert inside.sum() > 50
    assert alpha[0, 0][inside].quantile(0.02) > 0.9
