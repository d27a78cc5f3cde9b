"""Nouns, formats and errors of avatar.core."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from avatar.core.avatar_file import Avatar, SpeakingStyle, TrainedOn, load_avatar, save_avatar
from avatar.core.controls import Controls, resolve_controls
from avatar.core.deflate import deflate, inflate
from avatar.core.files import UserError, whole
from avatar.core.geometry import Camera, exponential, project, to_vector
from avatar.core.motion_space import Motion, load_motion, resample, save_motion
from avatar.core.recipe import Recipe, load_recipe, parse, parse_duration
from avatar.core.speech_model import KernelRegression, SpeechModel


def make_motion(frames: int = 5, modes: int = 3) -> Motion:
    random = torch.Generator().manual_seed(1)
    turn = torch.randn(frames, 3, generator=random) * 0.1
    return Motion(
        torch.randn(frames, modes, generator=random),
        torch.rand(frames, 4, generator=random),
        exponential(turn),
        torch.randn(frames, 3, generator=random),
        torch.randn(frames, 4, generator=random),
        25.0,
    )


def make_speech_model() -> SpeechModel:
    random = torch.Generator().manual_seed(2)
    shapes = {"mean": (5,), "project": (5, 2), "centers": (4, 2), "weight": (4, 3), "offset": (3,)}
    regression = {name: torch.randn(*shape, generator=random) for name, shape in shapes.items()}
    own = (torch.randn(3, generator=random) for _ in range(3))
    return SpeechModel("whisper", {"w": torch.ones(2)}, KernelRegression(**regression), *own)


def make_avatar() -> Avatar:
    plate = torch.zeros(16, 16, 3, dtype=torch.uint8)
    renderer, style = {"base": torch.arange(4.0)}, SpeakingStyle(0.3, 0.15, 0.04, make_motion())
    provenance = {"consent": "own clip"}
    return Avatar(
        "gaussian", renderer, make_speech_model(), style, plate, Camera(32.0, 16), 25.0, "abc", "name: x", provenance
    )


def test_avatar_round_trip(tmp_path: Path) -> None:
    avatar = make_avatar()
    save_avatar(avatar, tmp_path / "a.avatar")
    back = load_avatar(tmp_path / "a.avatar")
    assert back.provenance == avatar.provenance
    assert back.camera == avatar.camera
    assert torch.equal(back.style.own.rotation, avatar.style.own.rotation)
    assert torch.equal(back.renderer["base"], avatar.renderer["base"])
    assert torch.equal(back.speech.decoder.offset, avatar.speech.decoder.offset)
    assert back.trained_on is None
    trained = dataclasses.replace(avatar, trained_on=TrainedOn("clip", ((0, 5), (7, 9)), 10))
    save_avatar(trained, tmp_path / "a.avatar")
    assert load_avatar(tmp_path / "a.avatar").trained_on == trained.trained_on


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 0.999))
def test_truncated_avatar_is_one_clear_line(share: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.avatar"
    save_avatar(make_avatar(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError) as caught:
        load_avatar(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_foreign_edited_and_future_avatars(tmp_path: Path) -> None:
    path = tmp_path / "a.avatar"
    path.write_bytes(b"hello, not an avatar at all")
    with pytest.raises(UserError, match="not an avatar file"):
        load_avatar(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="not an avatar file"):
        load_avatar(path)
    save_file({"x": torch.zeros(1)}, path, {"format": "avatar/9", "avatar": "{}"})
    with pytest.raises(UserError, match="damaged or edited"):
        load_avatar(path)
    with pytest.raises(UserError, match="no such avatar file"):
        load_avatar(tmp_path / "missing.avatar")


def test_whole_leaves_nothing_half(tmp_path: Path) -> None:
    def fail() -> None:
        with whole(tmp_path / "x.bin") as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_whole_reports_a_full_disk(tmp_path: Path) -> None:
    def fill() -> None:
        with whole(tmp_path / "x.bin"):
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        fill()


def test_motion_file_round_trip_and_refusal(tmp_path: Path) -> None:
    motion = make_motion()
    save_motion(motion, tmp_path / "m.motion", "abc")
    back = load_motion(tmp_path / "m.motion")
    assert torch.equal(back.expression, motion.expression)
    (tmp_path / "bad.motion").write_bytes(b"xx")
    with pytest.raises(UserError, match="not a readable motion file"):
        load_motion(tmp_path / "bad.motion")


def test_motion_names_the_culprit() -> None:
    motion = make_motion()
    with pytest.raises(ValueError, match=r"Motion.eyes is \[4, 4\], expected \[T, 4\] with T = 5 \(from expression\)"):
        dataclasses.replace(motion, eyes=motion.eyes[:4])


def test_resample_keeps_ends_and_rotations() -> None:
    motion = make_motion(frames=11)
    faster = resample(motion, 75.0)
    assert len(faster) == 33
    assert torch.allclose(faster.rotation[1::3], motion.rotation, atol=1e-5), "the middle of three is the one"
    assert torch.allclose(faster.expression[0], motion.expression[0])
    assert torch.allclose(faster.rotation.mT @ faster.rotation, torch.eye(3).expand(33, 3, 3), atol=1e-5)


def test_rotation_vector_round_trip() -> None:
    vectors = 0.5 * torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(to_vector(exponential(vectors)), vectors, atol=1e-6)
    assert torch.allclose(to_vector(exponential(torch.zeros(3))), torch.zeros(3))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 9e-4, 1.1e-3, 0.3, 3.0, 7.0])
def test_rotations_and_their_gradients_are_the_matrix_exponential(angle: float) -> None:
    vector = torch.tensor([[0.6, -0.8, 0.0], [0.0, 0.6, 0.8]], dtype=torch.float64) * angle
    skew = torch.zeros(2, 3, 3, dtype=torch.float64)
    x, y, z = vector.unbind(1)
    skew[:, 0, 1], skew[:, 0, 2], skew[:, 1, 2] = -z, y, -x
    assert torch.allclose(exponential(vector), torch.linalg.matrix_exp(skew - skew.mT), atol=1e-13)
    assert torch.autograd.gradcheck(exponential, (vector.requires_grad_(),), eps=1e-7, atol=1e-6)


def test_project_puts_the_axis_in_the_middle() -> None:
    assert project(torch.tensor([[0.0, 0, 50], [1, 0, 50]]), Camera(1000, 512)).tolist() == [[256, 256], [276, 256]]


def test_recipe_errors_name_the_nearest_key(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("budget_secnds: 5\n")
    with pytest.raises(UserError, match="unknown key 'budget_secnds'; did you mean 'budget_seconds'"):
        load_recipe(tmp_path / "r.yaml")
    (tmp_path / "r.yaml").write_text("size: [1\n")
    with pytest.raises(UserError, match="is not YAML"):
        load_recipe(tmp_path / "r.yaml")
    with pytest.raises(UserError, match="'mouth_gain' must lie between 0 and 3"):
        parse(Controls, {"mouth_gain": 9}, "controls")
    for wrong, words in {
        "blink: {2: 1, 1: 0}": "'blink' must have seconds that grow",
        "head: {0: 1, 1: 5}": "'head' must lie between 0 and 2",
        "gaze: {}": "'gaze' needs a value",
        "gase: 1": "did you mean 'gaze'",
        "[1, 2]": "key: value",
    }.items():
        (tmp_path / "c.yaml").write_text(wrong)
        with pytest.raises(UserError, match=words):
            resolve_controls(make_avatar(), tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("head: {0: 0, 2.5: 1}\nblink: 0\n")
    controls = resolve_controls(make_avatar(), tmp_path / "c.yaml", {"blink": 2.0})
    assert controls.over(torch.tensor([0.0, 1.25, 9.0])).head.tolist() == [0, 0.5, 1]
    assert controls.blink == 2.0
    assert Recipe().budget_seconds is None


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600), ("1.5m", 90)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["", "m", "-5s", "nan", "soon", "0"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(UserError, match="is not a duration"):
        parse_duration(text, "--budget")


def test_names_of_files_may_be_plain_text(tmp_path: Path) -> None:
    """As in the README's example."""
    import avatar

    with pytest.raises(UserError, match="no such avatar file"):
        avatar.load_avatar(str(tmp_path / "no.avatar"))
    with pytest.raises(UserError, match="is not a take"):
        avatar.open_take(str(tmp_path))
    with pytest.raises(UserError, match=r"no\.mp4"):
        avatar.build(str(tmp_path / "no.mp4"), str(tmp_path / "no.avatar"))


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from([torch.int8, torch.uint8, torch.float32]),
    shape=st.sampled_from([(7,), (60_000,), (3, 30_000), (130, 140, 3), (1, 60_000, 1)]),
    flat=st.booleans(),
)
def test_deflated_tensors_come_back(kind: torch.dtype, shape: tuple[int, ...], flat: bool) -> None:
    values = torch.randint(0, 2 if flat else 256, shape, generator=torch.Generator().manual_seed(0)).to(kind)
    packed, forms = deflate({"x": values})
    assert torch.equal(inflate(packed, forms)["x"], values)
    assert bool(forms) == (kind != torch.float32 and values.numel() >= 50_000)
    if forms:
        assert not flat or packed["x"].numel() < values.numel() / 2
        with pytest.raises(ValueError, match=r"holds|inflated"):
            inflate({"x": packed["x"][:-20]}, forms)
        with pytest.raises(ValueError, match="holds"):
            inflate(packed, {"x": (forms["x"][0], [3])})
