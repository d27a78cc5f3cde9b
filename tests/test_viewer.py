"""The viewer in web pages: what is sent, and, where Chromium is installed, what it draws and when."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load

from avatar.core.avatar_file import Avatar, save_avatar
from avatar.core.consent import Consent
from avatar.core.deflate import inflate
from avatar.core.drawing_file import COMPONENTS, STEPS, drawing_bytes
from avatar.core.files import UserError
from avatar.core.motion_space import Motion
from avatar.core.motion_stream import HEAD, frame_message, motion_rows
from avatar.core.take import read_track
from avatar.pipelines.export_page import SCRIPTS, export_page, mean_motion
from avatar.play.lighting import Lighting, open_lit
from avatar.play.look import Look
from avatar.render import open_renderer
from avatar.render.gaussian import GaussianRenderer
from avatar.scene.scene import make_scene
from bench.bench_viewer import WATCH
from bench.chromium import find_chromium
from bench.viewer_page import MESSAGE, ViewerPage, decibels, drawn_by_renderer
from cuda_ext import ops
from tests.conftest import Filmed
from tests.recorded import invoke

VIEWER = Path(__file__).parent.parent / "avatar" / "assets" / "viewer"
FRAMES = [0, 20, 45, 70, 90]
SIZE = 128


def read_header(data: bytes) -> dict[str, object]:
    """The drawing's description."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header["__metadata__"]["format"] == "drawing/1"
    return dict(json.loads(header["__metadata__"]["drawing"]))


def joined(parts: torch.Tensor) -> torch.Tensor:
    """Numbers [n] of bytes apart [b, n]."""
    return sum(row.long() << 8 * place for place, row in enumerate(parts))  # type: ignore[return-value]


def test_a_drawing_file_holds_what_draws_and_nothing_else(avatar: Avatar) -> None:
    data = drawing_bytes(avatar)
    assert data == drawing_bytes(avatar)
    header, tensors = read_header(data), load(data)
    allowed = {*COMPONENTS, "codes", "delta_scales", "quaternions", "rigidity", "plate", "normals"}
    assert set(tensors) == allowed | {"rest_rotation", "rest_translation", "feature_mean", "feature_scale"}
    assert header["provenance"]["source_sha256"] == avatar.provenance["sha256"]  # type: ignore[index]
    whole = inflate(tensors, header["deflated"])  # type: ignore[arg-type]
    renderer, count = avatar.renderer, len(avatar.renderer["rigidity"])
    assert torch.equal(whole["plate"], avatar.plate)
    scales = joined(whole["delta_scales"]).to(torch.int16).view(torch.float16).view_as(renderer["delta_scales"]).float()
    exact = ops.dequantize(renderer["delta_codes"], renderer["delta_scales"].float())
    for name, apart in ops.split_attributes(ops.dequantize(whole["codes"], scales) - exact).items():
        assert apart.abs().max() < 0.51 * max(STEPS[name], float(renderer["delta_scales"].max())), name
        assert apart.abs().median() <= 0.5 * STEPS[name], name
    planar = []
    for name, width in COMPONENTS.items():
        fixed = header["fixed"][name]  # type: ignore[index]
        levels = joined(whole[name]).view(count, width).double()
        planar.append((torch.tensor(fixed["low"]) + levels * torch.tensor(fixed["step"])).flatten())
    error = (torch.cat(planar) - renderer["base"]).abs()
    assert error[: 3 * count].max() < 5e-6  # cm
    assert error.max() < 1e-3


def test_other_avatars_cannot_be_sent(avatar: Avatar, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="an avatar of kind nerf has no splats, which viewers draw"):
        drawing_bytes(replace(avatar, kind="nerf"))


def test_messages_carry_a_frame_and_its_own_sound(avatar: Avatar) -> None:
    motion, sound = avatar.style.own[0:3], np.arange(3 * 640, dtype=np.int16).reshape(3, 640)
    rows = motion_rows(motion)
    assert np.array_equal(rows[:, :32], motion.expression.numpy())
    assert np.array_equal(rows[:, 36:45].reshape(-1, 3, 3), motion.rotation.numpy())
    for index in range(3):
        message = frame_message(motion[index : index + 1], sound[index], index)
        assert len(message) == 1504
        assert HEAD.unpack_from(message) == (3, 1, 640, index, 40_000 * index)
        assert np.array_equal(np.frombuffer(message[HEAD.size : -1280], "<f4"), rows[index])
        assert np.array_equal(np.frombuffer(message[-1280:], "<i2"), sound[index])
    light = np.arange(63, dtype=np.float32)
    lit = frame_message(motion[0:1], sound[0], 0, light)
    assert np.array_equal(np.frombuffer(lit[HEAD.size : -1280], "<f4"), [*rows[0], *light])


def test_the_mean_motion_is_the_mean_of_all_features(avatar: Avatar) -> None:
    renderer = open_renderer(avatar)
    assert isinstance(renderer, GaussianRenderer)
    assert renderer.pose(mean_motion(avatar)).coefficients.abs().max() < 1e-3


def test_a_page_needs_a_consent_that_allows_it(avatar: Avatar, tmp_path: Path) -> None:
    allowed = Consent(kind="self", subject="Anna", attested_by="Anna", uses=("lessons",))
    save_avatar(replace(avatar, provenance=avatar.provenance | {"consent": allowed.text()}), tmp_path / "a.avatar")
    page = tmp_path / "page.html"
    with pytest.raises(UserError, match="excludes 'advertising'"):
        invoke("export", tmp_path / "a.avatar", "-o", page, "--use", "advertising")
    assert not page.exists()
    invoke("export", tmp_path / "a.avatar", "-o", page, "--use", "lessons")
    text = page.read_text()
    assert "Anna" not in text  # digests, no names
    assert json.loads(re.search(r"id=provenance>(.*?)<", text)[1])["consent_sha256"]  # type: ignore[index]


def test_pages_replace_pages_only(avatar: Avatar, avatar_file: Path, tmp_path: Path) -> None:
    page, other = tmp_path / "page.html", tmp_path / "other.html"
    assert "a page of 1 frames" in invoke("export", avatar_file, "-o", page)
    invoke("export", avatar_file, "-o", page)
    other.write_text("<html>somebody's</html>")
    for out, options, words in (
        (other, [], "is not such .html"),
        (page, ["--frame", 3], "a page shows all frames"),
        (tmp_path / "a.ply", ["--speech", page], "has no sound"),
    ):
        with pytest.raises(UserError, match=words):
            invoke("export", avatar_file, "-o", out, *options)
    assert other.read_text() == "<html>somebody's</html>"
    long = avatar.style.own[torch.zeros(16000, dtype=torch.long)]
    with pytest.raises(UserError, match="640 s of motion are too long for a page"):
        export_page(avatar, page, motion=long)


def test_scripts_are_small_plain_and_load_nothing() -> None:
    assert {path.stem for path in VIEWER.glob("*.js")} == {*SCRIPTS, "sound_worklet"}
    for path in VIEWER.glob("*.js"):
        text = path.read_text()
        assert len(text.splitlines()) < 400
        assert max(map(len, text.splitlines())) <= 140, path
        assert "</script" not in text
        assert not re.search(r"https?://|\bfetch\(|XMLHttpRequest|\beval\(|innerHTML", text), path


needs_chromium = pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def moved(avatar: Avatar, actor: Filmed) -> Motion:
    track = read_track(actor.take).motion()
    return replace(track[0:100], space_id=avatar.space_id)


@pytest.fixture(scope="module")
def page(avatar: Avatar, moved: Motion, actor: Filmed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("viewer") / "page.html"
    export_page(avatar, path, motion=moved, speech=actor.take.root / "audio.wav")
    return path


@pytest.fixture(scope="module", params=["webgl", "painter"])
def viewer(request: pytest.FixtureRequest, page: Path) -> Iterator[ViewerPage]:
    with ViewerPage(page, request.param) as opened:
        yield opened


@pytest.mark.browser
@needs_chromium
def test_the_page_draws_as_the_renderer_does(viewer: ViewerPage, avatar: Avatar, moved: Motion) -> None:
    engine = viewer.evaluate("avatarPage.view.engine.name")
    least = {"webgl": 55.0, "painter": 65.0}[engine]
    for degrees in (0.0, 12.0):
        expected = drawn_by_renderer(avatar, moved, FRAMES, SIZE, degrees)
        found = [viewer.drawn(frame, SIZE, degrees) for frame in FRAMES]
        values = list(map(decibels, found, expected))
        assert np.median(values) > least, degrees
        assert min(values) > 55  # two splats at nearly one depth may change places, which a few of so few pixels show
        assert decibels(found[0], expected[1]) < least - 10  # the wrong frame is seen


@pytest.mark.browser
@needs_chromium
def test_painters_share_a_picture_and_replace_a_lost_gpu(page: Path) -> None:
    with ViewerPage(page, "webgl") as viewer:
        viewer.evaluate("avatarPage.view.engine.gl.getExtension('WEBGL_lose_context').loseContext()")
        viewer.wait("avatarPage.view.engine.name === 'painter' && avatarPage.view.shown.size > 0")
        drawn = viewer.evaluate("avatarPage.view.drawn")
        viewer.wait(f"avatarPage.view.drawn > {drawn + 2}")
        pictures = []
        for painters, share in ((1, 1), (2, 0.4)):
            viewer.evaluate(f"""(() => {{
              const view = avatarPage.view;
              view.engine = new PainterEngine(view.canvas, avatarPage.drawing, {painters});
              view.engine.share = {share};
              view.engine.resize({SIZE});
            }})()""")
            pictures.append(viewer.drawn(20, SIZE))
        assert np.array_equal(*pictures)


PAINT = """(() => {
  const {drawing, film} = avatarPage, splats = new Splats(drawing), size = drawing.size;
  return [false, true].map((alone) => {
    const painter = new Painter(size, 11, size - 7, drawing.plate);
    if (alone) painter.light = new Float32Array(4 * size * (size - 18));
    const bytes = painter.paint(splats, splats.prepare(film.rows.subarray(0, film.width), size, sideView(5)));
    return [painter.blending !== undefined, [...bytes]];
  });
})()"""


@pytest.mark.browser
@needs_chromium
def test_the_painter_draws_the_same_without_webassembly(page: Path) -> None:
    with ViewerPage(page, "painter") as viewer:
        (assembled, one), (alone, other) = viewer.evaluate(PAINT)
        assert assembled
        assert not alone
        assert decibels(np.array(one), np.array(other)) > 80
        with pytest.raises(RuntimeError, match=r"the assembler knows no i32\.divide"):
            viewer.evaluate("assemble(['a'], {i32: []}, '(set a (i32.divide a 2))')")


LIGHT = """(() => {{
  const splats = new Splats(avatarPage.drawing), values = Float32Array.of(...{values});
  splats.prepare(values, 64, sideView(0));
  const lit = [...splats.lighting.tints];
  splats.prepare(values.subarray(0, avatarPage.film.width), 64, sideView(0));
  return [lit, Math.max(...splats.lighting.tints), Math.min(...splats.lighting.tints)];
}})()"""


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize("light", ["left", "room", "keep"])
def test_light_falls_on_splats_as_in_films(page: Path, avatar: Avatar, moved: Motion, light: str) -> None:
    look = Look(background="#0050c0", scene=make_scene({"light": light, "grade": "match"}))
    renderer, behind = open_renderer(avatar), torch.tensor([0, 80, 192], dtype=torch.uint8).expand(64, 64, 3)
    lit = open_lit(avatar, renderer, look, avatar.fps)
    assert lit is not None
    alone = replace(lit, wrap=None)  # the light at the edge is not sent
    ones = torch.ones(1, len(avatar.renderer["rigidity"]), 3)
    expected = Lighting(alone).recolour(moved[20:21], [behind], None)(ones)[0]
    numbers = Lighting(alone).numbers(moved[20:21], behind)
    assert numbers.shape == (63,)
    values = [*motion_rows(moved[20:21])[0].tolist(), *numbers.tolist()]
    with ViewerPage(page, "painter") as viewer:
        tints, most, least = viewer.evaluate(LIGHT.format(values=values))
    assert torch.allclose(torch.tensor(tints).view(-1, 3), expected, atol=0.02, rtol=0.02)
    assert (expected - 1).abs().max() > 0.05
    assert (most, least) == (1, 1), "back to as filmed"


@pytest.mark.browser
@needs_chromium
def test_the_page_asks_for_nothing_and_follows_its_sound(page: Path) -> None:
    """The picture is never far from the sound; the pointer turns the view."""
    with ViewerPage(page, "painter") as viewer:
        asked = viewer.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert all(name.startswith("blob:") for name in asked)
        viewer.evaluate("document.getElementById('sound').onclick()")
        viewer.wait("avatarPage.film.sound && avatarPage.film.seconds > 0.3")
        apart = viewer.evaluate(WATCH.format(seconds=1.5))["apart"]
        assert len(apart) > 5
        assert abs(np.median(apart)) < 0.06
        box = "avatarPage.view.canvas.getBoundingClientRect()"
        middle = viewer.evaluate(f"(({{left, width}}) => left + width / 2)({box})")
        for kind, x in (("mousePressed", middle), ("mouseMoved", middle + 50), ("mouseReleased", middle + 50)):
            viewer.call("Input.dispatchMouseEvent", type=kind, x=x, y=100, button="left", buttons=1, clickCount=1)
        viewer.wait("avatarPage.view.turn < -1")  # the face follows the pointer
        assert not viewer.evaluate(MESSAGE)


@pytest.mark.browser
@needs_chromium
def test_the_viewer_reads_what_it_knows_and_says_so(viewer: ViewerPage, avatar: Avatar) -> None:
    motion, sound = avatar.style.own[5:6], np.arange(-320, 320, dtype=np.int16)
    message = list(frame_message(motion, sound, 5))
    found = viewer.evaluate(f"""(() => {{
      const {{frame, seconds, values, sound}} = readMessage(new Uint8Array({message}).buffer);
      return {{frame, seconds, values: [...values], sound: [...sound]}};
    }})()""")
    assert (found["frame"], found["seconds"]) == (5, 0.2)
    assert np.array_equal(np.float32(found["values"]), motion_rows(motion)[0])
    assert np.allclose(np.array(found["sound"]) * 32768, sound)
    message[1] = 9
    later = """(() => {
      const bytes = embedded('drawing');
      bytes.set([57], new TextDecoder('latin1').decode(bytes.subarray(0, 400)).indexOf('drawing/1') + 8);
      return readDrawing(bytes.buffer);
    })()"""
    for call, words in (
        (f"readMessage(new Uint8Array({message}).buffer)", "reads version 1 of the motion stream, the message is of 9"),
        ("readDrawing(new Uint8Array(100).buffer)", "this is not a drawing file"),
        (later, "reads drawing/1, the file is drawing/9"),
    ):
        with pytest.raises(RuntimeError, match=words):
            viewer.evaluate(call)
