"""Light: found on the actor, whose lamps are known, and given to the actor anew, as another film shows it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.files import UserError
from avatar.core.geometry import exponential
from avatar.core.light import DISPLAY, ClipLight, coefficients, in_frame, products, to_matrices
from avatar.core.motion_space import Motion
from avatar.render.gaussian import GaussianRenderer
from avatar.render.gaussian.clip_light import find_clip_light
from avatar.render.gaussian.rasterizers import rasterize
from avatar.render.gaussian.shading import Shading
from avatar.scene.lamps import LAMPS, log_light
from avatar.scene.light import open_light
from avatar.scene.surroundings import light_of_panorama, light_of_picture
from cuda_ext import ops
from preprocess.actor import cut_out_actor
from preprocess.actor_drawing.raster import STUDIO, Lamps, Light
from tests.conftest import SECONDS, Filmed
from tests.trained import trained_on

FRAME = 190  # of the actor's film, held out
ABOVE, BELOW, LEFT, RIGHT = ([0.0, -0.7, -0.7], [0.0, 0.7, -0.7], [-0.7, 0.0, -0.7], [0.7, 0.0, -0.7])


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def received(light: Tensor, *directions: list[float]) -> list[float]:
    """Log light of green on normals."""
    normals = functional.normalize(torch.tensor(directions), dim=1)
    return (products(normals) @ coefficients(light)[1]).tolist()


def true_light(lamps: Light) -> Tensor:
    """The log light [3, 4, 4] of lamps; the actor's colours are multiplied with light as a picture's values."""
    return log_light(lambda normals: torch.from_numpy(lamps(normals.numpy())[0]).float().pow(DISPLAY))


def test_light_turns_with_the_frame() -> None:
    matrices = torch.randn(3, 4, 4, generator=random(), dtype=torch.float64)
    matrices = matrices + matrices.mT
    rotation = exponential(torch.randn(3, generator=random(1), dtype=torch.float64))
    normals = functional.normalize(torch.randn(50, 3, generator=random(2), dtype=torch.float64), dim=1)
    whole = functional.pad(normals @ rotation.mT, (0, 1), value=1.0)
    expected = torch.einsum("ni,cij,nj->nc", whole, matrices, whole)
    assert torch.allclose(products(normals) @ coefficients(in_frame(matrices, rotation)).mT, expected)
    assert torch.allclose(to_matrices(coefficients(matrices)), matrices)


@pytest.mark.parametrize("name", LAMPS)
def test_named_lights_come_from_where_they_say(name: str) -> None:
    light = log_light(LAMPS[name])
    above, below, left, right = received(light, ABOVE, BELOW, LEFT, RIGHT)
    towards = LAMPS[name].direction
    assert (left > right + 0.3) == (towards[0] < -0.3)
    assert (right > left + 0.3) == (towards[0] > 0.3)
    assert (above > below + 0.1) == (towards[1] < -0.1)


def ratio(frame: int, light: Light) -> tuple[np.ndarray, np.ndarray]:
    """What a light is on the actor's pixels [S, S, 3], and where it can be read: not in eyes, hairs and shadow."""

    def white(normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full((len(normals), 3), 0.9, np.float32), np.zeros(len(normals), np.float32)

    def dull(normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 0.9 * light(normals)[0], np.zeros(len(normals), np.float32)

    pictures = [next(cut_out_actor([frame], seconds=SECONDS, seed=3, light=one)).astype(float) for one in (dull, white)]
    return pictures[0][..., :3] / pictures[1][..., :3].clip(1), (pictures[1][..., 3] == 255) & (
        pictures[1][..., :3].min(-1) > 25
    )


@pytest.fixture(scope="module")
def lit(actor: Filmed) -> tuple[GaussianRenderer, ClipLight, Motion]:
    """The actor's splats at 192 px, the light of the film, and the motion."""
    trained = trained_on("gaussian", actor.take.root)
    renderer = trained.renderer()
    assert isinstance(renderer, GaussianRenderer)
    light = find_clip_light(renderer, trained.take, trained.track)
    assert light is not None
    return renderer, light, trained.track.motion()


def test_the_clips_light_is_found(lit: tuple[GaussianRenderer, ClipLight, Motion]) -> None:
    _, light, _ = lit
    normals = functional.normalize(torch.randn(2000, 3, generator=random()), dim=1)
    normals = normals[normals[:, 2] < -0.4]
    for channel in range(3):
        both = [products(normals) @ coefficients(one)[channel] for one in (light.matrices, true_light(STUDIO))]
        assert torch.corrcoef(torch.stack(both))[0, 1] > 0.9
    assert light.explained > 0.4


def test_normals_are_the_actors(lit: tuple[GaussianRenderer, ClipLight, Motion]) -> None:
    renderer, light, motion = lit
    truth, known = ratio(FRAME, lambda normals: (normals * 0.5 + 0.5, np.zeros(len(normals), np.float32)))
    truth = truth * 2 - 1
    length = np.linalg.norm(truth, axis=-1)
    known &= np.abs(length - 1) < 0.12
    shapes, pose = renderer.blendshapes, motion[FRAME : FRAME + 1]
    share = shapes.rigidity[:, None]
    turned = share * (light.normals @ pose.rotation[0].mT) + (1 - share) * (light.normals @ shapes.rest_rotation.mT)
    splats = (*ops.place_splats(shapes, renderer.pose(pose))[:4], turned[None].contiguous())
    drawn, alpha = rasterize("native", *splats, camera=renderer.camera)
    large = functional.interpolate(drawn / alpha.clamp_min(1e-3), truth.shape[:2], mode="bilinear")[0].permute(1, 2, 0)
    cosine = (functional.normalize(large, dim=-1).numpy() * truth / length.clip(1e-6)[..., None]).sum(-1)
    degrees = np.degrees(np.arccos(cosine.clip(-1, 1)))
    face, hair_and_torso = np.s_[190:350, 180:330], (np.s_[90:140], np.s_[420:])
    assert np.median(degrees[face][known[face]]) < 12
    assert np.median(np.concatenate([degrees[part][known[part]] for part in hair_and_torso])) < 25


def psnr_at_best_exposure(drawn: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> float:
    one, two = drawn[inside], truth[inside]
    gain = (one * two).sum() / (one * one).sum()
    return -10 * math.log10(np.square(gain * one - two).mean())


@pytest.mark.parametrize(
    "lamps",
    [
        Lamps(key=(0.75, -0.35, -0.56), key_light=(0.85, 0.65, 0.45), fill_light=(0.08, 0.1, 0.14)),
        Lamps(key=(-0.85, 0.2, -0.49), key_light=(0.5, 0.62, 0.8), ambient=(0.25, 0.28, 0.34)),
    ],
    ids=["warm from the right", "cool from below left"],
)
def test_the_actor_in_another_light_is_the_actor_filmed_in_it(
    lit: tuple[GaussianRenderer, ClipLight, Motion], lamps: Lamps
) -> None:
    renderer, light, motion = lit
    filmed = next(cut_out_actor([FRAME], seconds=SECONDS, seed=3, light=lamps))
    truth = cv2.resize(filmed, (192, 192), interpolation=cv2.INTER_AREA) / 255.0
    inside = truth[..., 3] > 0.99
    shading = Shading(light, renderer.blendshapes, renderer.scaling, motion[:FRAME])
    pose = motion[FRAME : FRAME + 1]
    tint = shading.tint(pose, true_light(lamps))
    as_filmed, _ = renderer.render(motion, range(FRAME, FRAME + 1))
    relit, _ = renderer.render(motion, range(FRAME, FRAME + 1), None, lambda colours: colours * tint)
    before, after = (
        psnr_at_best_exposure(one[0].permute(1, 2, 0).numpy(), truth[..., :3], inside) for one in (as_filmed, relit)
    )
    assert after > before + 3


def test_the_rooms_light_moves_over_a_head_that_turns_further_than_it_did(
    lit: tuple[GaussianRenderer, ClipLight, Motion],
) -> None:
    renderer, light, motion = lit
    shading = Shading(light, renderer.blendshapes, renderer.scaling, motion)
    seen = shading.tint(motion[::20], None).log()
    assert seen.abs().mean() < 0.05, "what the clip shows is in the colours already"
    turn = exponential(torch.tensor([0.0, 0.7, 0.0]))
    upright = motion[:1]
    turned = Motion(
        upright.expression, upright.eyes, turn @ upright.rotation, upright.translation, upright.torso, upright.fps
    )
    assert shading.tint(turned, None).log().abs().mean() > 2 * seen.abs().mean()


def test_a_background_throws_its_light() -> None:
    picture = torch.full((90, 160, 3), 20, dtype=torch.uint8)
    picture[:, :60] = torch.tensor([255, 200, 120], dtype=torch.uint8)
    light = light_of_picture(picture)
    left, right = received(light, LEFT, RIGHT)
    assert left > right + 0.2
    red, _, blue = (products(torch.tensor([[-0.7, 0, -0.7]])) @ coefficients(light).mT)[0].tolist()
    assert 0.1 < red - blue < 1.0, "warm, but no coloured lamp"


def test_the_light_of_a_film_does_not_flicker() -> None:
    light, old = open_light("background"), torch.zeros(3, 4, 4)
    dark, bright = torch.full((36, 64, 3), 30, dtype=torch.uint8), torch.full((36, 64, 3), 220, dtype=torch.uint8)
    first = light.at(0.0, old, dark, 0.04)
    shown = [light.at(0.04 * frame, old, bright.clone(), 0.04) for frame in range(1, 150)]
    steps = torch.stack([first, *shown]).diff(dim=0).abs().amax((1, 2, 3))
    whole = (shown[-1] - first).abs().max()
    assert steps.max() < whole / 20
    assert torch.allclose(shown[-1], light_of_picture(bright), atol=0.05 * float(whole))


def panorama(write: Callable[[np.ndarray], None], change: Callable[[np.ndarray], object]) -> None:
    picture = np.full((64, 128, 3), 0.1, np.float32)
    change(picture)
    write(picture)


def test_panoramas_light_from_where_they_are_bright(tmp_path: Path) -> None:
    place = tmp_path / "x.hdr"

    def write(picture: np.ndarray) -> None:
        cv2.imwrite(str(place), picture[..., ::-1])

    panorama(write, lambda picture: picture.__setitem__(np.s_[24:40, 24:40], 20.0))  # left of what is behind
    left, right = received(light_of_panorama(place), LEFT, RIGHT)
    assert left > right + 0.3
    panorama(write, lambda picture: picture.__setitem__(np.s_[:8], [5.0, 5.0, 5.0]))
    above, below = received(light_of_panorama(place), ABOVE, BELOW)
    assert above > below + 0.3
    panorama(write, lambda picture: picture.__setitem__((32, 32), 1e5))  # one pixel that is wrong
    left, right = received(light_of_panorama(place), LEFT, RIGHT)
    assert abs(left - right) < 0.15
    panorama(write, lambda picture: picture.fill(0.0))
    with pytest.raises(UserError, match="is black"):
        light_of_panorama(place)
    place.write_bytes(place.read_bytes()[:90])
    with pytest.raises(UserError, match=r"damaged|black"):
        light_of_panorama(place)
    place.write_bytes(b"#?RADIANCE\n\n-Y 90000 +X 90000\n")
    with pytest.raises(UserError, match="more than 64 million"):
        light_of_panorama(place)


def test_panoramas_of_openexr(tmp_path: Path) -> None:
    openexr = pytest.importorskip("OpenEXR")
    picture = np.full((64, 128, 3), 0.1, np.float32)
    picture[24:40, 88:104] = 20.0
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    openexr.File(header, {"RGB": picture}).write(str(tmp_path / "x.exr"))
    left, right = received(light_of_panorama(tmp_path / "x.exr"), LEFT, RIGHT)
    assert right > left + 0.3
    (tmp_path / "bad.exr").write_bytes(b"v/1\x01" + bytes(40))
    with pytest.raises(UserError, match="not an OpenEXR"):
        light_of_panorama(tmp_path / "bad.exr")


def test_lights_over_time_and_by_strength(tmp_path: Path) -> None:
    (tmp_path / "l.yaml").write_text("0: {direction: left}\n2: {direction: [1, -0.35, -0.55], colour: '#ffd0a0'}\n")
    light, old = open_light(str(tmp_path / "l.yaml")), torch.zeros(3, 4, 4)
    sides = [received(light.at(time, old), LEFT, RIGHT) for time in (0.0, 1.0, 2.0, 9.0)]
    assert sides[0][0] > sides[0][1] + 0.5
    assert sides[1][0] == pytest.approx(sides[1][1], abs=0.2)
    assert sides[2] == sides[3]
    assert sides[2][1] > sides[2][0] + 0.3
    half, full = open_light("left:0.5").at(0, old), open_light("left").at(0, old)
    assert torch.allclose(2 * half, full)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("0: {direction: [0, 0, 0]}", "points nowhere"),
        ("0: {direction: under}", "must be x, y and z"),
        ("0: {colour: black}", "lights nothing"),
        ("0: {strength: -1}", "greater than or equal to 0"),
        ("2: {direction: left}\n1: {direction: left}", "grow from 0 on"),
        ("now: {direction: left}", "grow from 0 on"),
        ("0: left", "must be settings"),
    ],
)
def test_bad_lights_are_one_line(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "l.yaml").write_text(content)
    with pytest.raises(UserError, match=words) as refused:
        open_light(str(tmp_path / "l.yaml"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("choice", ["under", "left:2", "left:much", "keep:0.5", "missing.hdr"])
def test_unknown_lights_are_one_line(choice: str) -> None:
    with pytest.raises(UserError) as refused:
        open_light(choice)
    assert "\n" not in str(refused.value)
