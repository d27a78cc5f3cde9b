"""Files that ask for more than they are: refused in a line before any work."""

from __future__ import annotations

import dataclasses
import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from avatar.core.avatar_file import load_avatar, save_avatar
from avatar.core.controls import resolve_controls
from avatar.core.deflate import deflate, inflate, shorten
from avatar.core.files import UserError
from avatar.core.geometry import Camera
from avatar.core.motion_space import load_motion, save_motion
from avatar.core.recipe import load_recipe
from avatar.core.take import open_take, read_plate
from avatar.motion.encoder import encoder_from_tensors
from avatar.play.full_frame import open_stage
from avatar.render import open_renderer
from avatar.render.features import EYE_FEATURES, POSE_FEATURES
from avatar.render.nerf.settings import unpack_settings
from avatar.scene.still import read_background
from tests.test_core import make_avatar, make_motion

MB = 1_000_000


def stream(size: int) -> torch.Tensor:
    """So many zeros, deflated."""
    packer = zlib.compressobj()
    data = b"".join(packer.compress(bytes(MB)) for _ in range(size // MB)) + packer.flush()
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("count", "shape"),
    [(1, [800 * MB]), (9, [100 * MB]), (1, [1 << 40, 1 << 40]), (1, [-1]), (1, [2.5]), (1, ["a"]), (1, [True, 9])],
)
def test_an_avatar_does_not_inflate_to_gigabytes(
    count: int, shape: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_avatar(make_avatar(), tmp_path / "a.avatar")
    with safe_open(tmp_path / "a.avatar", "pt") as file:
        note, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = json.loads(note["avatar"])
    zeros = stream(10 * MB)
    for index in range(count):
        tensors[f"renderer.{index}"] = zeros.clone()
        header["deflated"][f"renderer.{index}"] = ["uint8", shape]
    save_file(tensors, tmp_path / "b.avatar", note | {"avatar": json.dumps(header)})
    monkeypatch.setattr(zlib, "decompressobj", lambda: pytest.fail("nothing is inflated"))
    with pytest.raises(UserError, match="damaged or edited avatar file"):
        load_avatar(tmp_path / "b.avatar")


def png_header(path: Path, width: int, height: int) -> Path:
    """The beginning of a PNG of so many pixels."""
    size = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    data = b"IDAT" + zlib.compress(bytes(100))
    chunks = [len(one[4:]).to_bytes(4, "big") + one + zlib.crc32(one).to_bytes(4, "big") for one in (size, data)]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def test_a_background_of_900_megapixels(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has (too many|30000 x 30000) pixels.*; make it smaller first"):
        read_background(str(png_header(tmp_path / "wall.png", 30000, 30000)), (64, 64))


def test_a_take_whose_plate_is_of_900_megapixels(tmp_path: Path) -> None:
    png_header(tmp_path / "background.png", 30000, 30000)
    with pytest.raises(UserError, match=r"background\.png: cannot be read .*; redo the take"):
        read_plate(SimpleNamespace(root=tmp_path, scale=1.0, camera=Camera(900.0, 512)))  # type: ignore[arg-type]


def test_flat_pictures_and_blendshapes_are_within_bounds() -> None:
    noise = torch.randint(-128, 128, (3000, 3000), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    tensors = {"frame": torch.full((4000, 4000, 3), 9, dtype=torch.uint8), "shapes": noise}
    back = inflate(*deflate(tensors))
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("digits", [6, 7, 10])
def test_shortened_weights_are_the_nearest_of_so_many_digits(digits: int) -> None:
    weights = torch.randn(20_000, generator=torch.Generator().manual_seed(1)).half()
    fraction, exponent = torch.frexp(weights.double())
    nearest = torch.ldexp((fraction * 2 ** (digits + 1)).round() / 2 ** (digits + 1), exponent)
    normal = weights.abs() > 1e-4
    assert torch.equal(shorten(weights.float(), digits).double()[normal], nearest[normal])


def rewrite(avatar_path: Path, out: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], Any]) -> None:
    """An avatar file with another header or other tensors, as somebody may write one."""
    with safe_open(avatar_path, "pt") as file:
        note, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = json.loads(note["avatar"])
    change(header, tensors)
    save_file(tensors, out, note | {"avatar": json.dumps(header)})


BAD_HEADERS = [
    ("fps", math.nan, "fps is nan, expected 1 to 240"),
    ("fps", math.inf, "fps is inf, expected 1 to 240"),
    ("fps", "25", "fps is '25', expected a number"),
    ("fps", 0, "fps is 0, expected 1 to 240"),
    ("camera", {"focal": -3.0, "size": 16}, "camera.focal is -3.0, expected"),
    ("camera", {"focal": 32.0, "size": 10**6}, "camera.size is 1000000, expected 16 to 4096"),
    ("camera", {"focal": 32.0, "size": 16.5}, "camera.size is 16.5, expected a whole number"),
    ("crop", [0, 0], "crop is .*expected 3 numbers"),
    ("crop", [0, 0, 1e9], r"crop\[2\] is 1000000000.0, expected"),
    ("recipe", 3, "recipe is not a text"),
    ("provenance", {"a": 3}, "provenance is .*expected texts"),
    ("trained_on", {"clip": "a", "spans": [[0, -1]], "stop": 4}, "trained_on's frame is -1"),
    ("style", {}, "'fps' is missing"),
]


@pytest.mark.parametrize(("key", "value", "words"), BAD_HEADERS)
def test_numbers_of_an_avatar_out_of_range(key: str, value: object, words: str, tmp_path: Path) -> None:
    save_avatar(make_avatar(), tmp_path / "a.avatar")
    rewrite(tmp_path / "a.avatar", tmp_path / "b.avatar", lambda header, _: header.update({key: value}))
    with pytest.raises(UserError, match=rf"b\.avatar: is a damaged or edited avatar file \(.*{words}"):
        load_avatar(tmp_path / "b.avatar")


def test_a_renderer_that_is_refused_names_its_file(tmp_path: Path) -> None:
    avatar, out = make_avatar(), tmp_path / "a.avatar"
    save_avatar(avatar, out)
    with pytest.raises(UserError, match=r"a\.avatar: the avatar's feature_mean is not of"):
        open_renderer(load_avatar(out))
    tensors = avatar.renderer | {"feature_mean": torch.zeros(len(avatar.speech.mean) + EYE_FEATURES + POSE_FEATURES)}
    save_avatar(dataclasses.replace(avatar, renderer=tensors, recipe="renderer: {splats: 3}"), out)
    with pytest.raises(UserError, match=r"a\.avatar: the avatar's recipe, renderer: 'splats' .*500"):
        open_renderer(load_avatar(out))


@pytest.mark.parametrize("name", ["renderer.base", "style.own.expression", "speech.mean"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_values_that_are_not_numbers_in_an_avatar(name: str, value: float, tmp_path: Path) -> None:
    save_avatar(make_avatar(), tmp_path / "a.avatar")
    rewrite(tmp_path / "a.avatar", tmp_path / "b.avatar", lambda _, tensors: tensors[name].view(-1)[:1].fill_(value))
    with pytest.raises(UserError, match=f"{name.split('.')[-1]} has values that are not numbers or not within"):
        load_avatar(tmp_path / "b.avatar")


def test_a_huge_picture_inside_an_avatar(tmp_path: Path) -> None:
    data = png_header(tmp_path / "frame.png", 30000, 30000).read_bytes()
    frame, matte = torch.tensor(list(data), dtype=torch.uint8), torch.zeros(40, 40, dtype=torch.uint8)
    avatar = dataclasses.replace(make_avatar(), frame=frame, matte=matte, crop=(0.0, 0.0, 16.0))
    with pytest.raises(UserError, match=r"frame of its source cannot be read \(has (too many|30000 x 30000) pixels"):
        open_stage(avatar)


@pytest.mark.parametrize("shape", [(2**40, 0), (0, 2**40), (0, 5)])
def test_an_encoder_as_wide_as_it_says_is_not_made(shape: tuple[int, int]) -> None:
    weights = {"first.weight": torch.zeros(*shape, 1)}
    with pytest.raises(ValueError, match="weights of the encoder do not fit"):
        encoder_from_tensors(weights)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fps": "nan"}, "fps is nan, expected 1 to 240"),
        ({"fps": "1e-9"}, "fps is 1e-09, expected 1 to 240"),
        ({"fps": "x" * 10**6}, r"could not convert string to float.*\.\.\.\)$"),
    ],
)
def test_metadata_of_a_motion_out_of_range(change: dict[str, str], words: str, tmp_path: Path) -> None:
    save_motion(make_motion(), tmp_path / "a.motion", "abc")
    with safe_open(tmp_path / "a.motion", "pt") as file:
        note, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, tmp_path / "b.motion", note | change)
    with pytest.raises(UserError, match=rf"b\.motion: is not a readable motion file \({words}"):
        load_motion(tmp_path / "b.motion")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("rotation", 0.0, "rotation are not rotations"),
        ("translation", 1e9, "translation has values"),
        ("torso", math.nan, "torso has values"),
        ("expression", math.inf, "expression has values"),
    ],
)
def test_values_of_a_motion_out_of_range(name: str, value: float, words: str, tmp_path: Path) -> None:
    motion = make_motion()
    bad = dataclasses.replace(motion, **{name: torch.full_like(getattr(motion, name), value)})
    save_motion(bad, tmp_path / "b.motion", "")
    with pytest.raises(UserError, match=rf"b\.motion: .*{words}"):
        load_motion(tmp_path / "b.motion")


BAD_TAKES = [
    ("fps", 0, "fps is 0, expected 1 to 240"),
    ("length", 10**12, "length is 1000000000000, expected 1 to 1e"),
    ("train", 9, "train is 9, expected 0 to 5"),
    ("camera", {"focal": math.nan, "size": 512}, "camera.focal is nan"),
    ("excluded", [{"start": 0, "stop": 10**12, "reason": ""}], "excluded.stop is 1000000000000, expected 0 to 5"),
    ("quality", {"usable": math.nan}, "quality.usable is nan"),
    ("request", {"start": "inf"}, "request.start is inf"),
    ("source", {"name": 3}, "source is .*expected texts by name"),
    ("crop", None, "crop is None, expected 3 numbers"),
]


@pytest.mark.parametrize(("key", "value", "words"), BAD_TAKES)
def test_numbers_of_a_take_out_of_range(key: str, value: object, words: str, tmp_path: Path) -> None:
    camera, texts = {"focal": 900.0, "size": 512}, {"source": {}, "quality": {}, "request": {}, "space_id": ""}
    content = {"format": 2, "length": 5, "train": 4, "fps": 25.0, "camera": camera, "crop": [0, 0, 9], "excluded": []}
    for name in ("track.safetensors", "background.png"):
        (tmp_path / name).touch()
    for name in ("frames", "mattes"):
        (tmp_path / name).mkdir()
    (tmp_path / "take.json").write_text(json.dumps(content | texts))
    assert open_take(tmp_path).length == 5
    (tmp_path / "take.json").write_text(json.dumps(content | texts | {key: value}))
    with pytest.raises(UserError, match=rf"take\.json: is damaged \({words}"):
        open_take(tmp_path)


def test_lists_in_lists_without_an_end(tmp_path: Path) -> None:
    (tmp_path / "take.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"take\.json: is damaged"):
        open_take(tmp_path)
    save_avatar(make_avatar(), tmp_path / "a.avatar")
    with safe_open(tmp_path / "a.avatar", "pt") as file:
        note, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, tmp_path / "b.avatar", note | {"avatar": "[" * 100_000})
    with pytest.raises(UserError, match="damaged or edited"):
        load_avatar(tmp_path / "b.avatar")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("budget_seconds: .inf", "'budget_seconds' input should be a finite number"),
        ("seed: 999999999999999999999999", "'seed' must lie between"),
        ("holdout: .nan", "'holdout' input should be"),
        ("train_size: 1e99", "'train_size' input should be"),
    ],
)
def test_numbers_of_a_recipe_out_of_range(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"r\.yaml: {words}"):
        load_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize("text", ["lle: .nan", "blink: .inf", "blink: {0: .nan}", "blink: {.inf: 1}", "seed: 1e40"])
def test_numbers_of_controls_out_of_range(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"c\.yaml: '{text.partition(':')[0]}' "):
        resolve_controls(make_avatar(), tmp_path / "c.yaml")


@pytest.mark.parametrize("settings", [torch.tensor(2**40), torch.zeros(2, 2, dtype=torch.uint8), torch.zeros(3)])
def test_settings_of_a_field_that_are_no_text(settings: torch.Tensor) -> None:
    with pytest.raises(UserError, match="the avatar's NeRF settings cannot be read"):
        unpack_settings(settings)
