"""LPIPS, CSIM and SyncNet: with random networks, since no published weights come along."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from avatar.core.files import UserError
from avatar.core.landmarks import LEFT_CORNER, LEFT_EYE_OUTLINE, NOSE_TIP, POINTS, RIGHT_CORNER, RIGHT_EYE_OUTLINE
from avatar.core.media import SAMPLE_RATE
from avatar.metrics.identity import PLACES, SIZE, Identity
from avatar.metrics.lpips import Lpips, find_weights
from avatar.metrics.syncnet import SyncNet, _Network, score_sync


def alexnet() -> nn.Sequential:
    """The layers of torchvision's AlexNet, under its names (Krizhevsky 2014)."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    features = {f"features.{name}": value.detach() for name, value in alexnet().named_parameters()}
    torch.save(features, tmp_path / "alexnet-owt-7be5be79.pth")
    linear = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate((64, 192, 384, 256, 256))}
    save_file(linear, tmp_path / "alex.safetensors")
    return tmp_path


def some_picture(seed: int) -> Tensor:
    return torch.randint(0, 255, (96, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_lpips_is_the_papers_equation(weights: Path) -> None:
    first, second = some_picture(0), some_picture(1)
    network, total = alexnet().double(), 0.0
    linear = torch.load(weights / "alexnet-owt-7be5be79.pth", weights_only=True)
    assert torch.equal(linear["features.0.weight"], network[0].weight.float())
    values = [
        (p.permute(2, 0, 1).double() / 127.5 - 1 - torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        / torch.tensor([0.458, 0.448, 0.450])[:, None, None]
        for p in (first, second)
    ]
    from safetensors.torch import load_file

    heads, layer = list(load_file(weights / "alex.safetensors").items()), 0
    for module in network:
        values = [module(value) for value in values]
        if isinstance(module, nn.ReLU):
            a, b = (value / value.square().sum(0).sqrt() for value in values)
            total += float(
                ((a - b).detach().nan_to_num().square() * dict(heads)[f"lin{layer}.model.1.weight"][0]).sum(0).mean()
            )
            layer += 1
    metric = Lpips(weights)
    assert metric(first, second) == pytest.approx(total, rel=1e-4)
    assert metric(first, first) == 0


def test_weights_that_are_missing_or_of_something_else_are_named(weights: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="holds no alexnet"):
        Lpips(empty)
    save_file({"x": torch.zeros(1)}, weights / "alex.safetensors")
    with pytest.raises(UserError, match="holds no weights of AlexNet and LPIPS"):
        Lpips(weights)
    (weights / "alex.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="cannot be read as weights"):
        Lpips(weights)
    (weights / "alexnet-owt-7be5be79.pth").write_bytes(b"no")
    with pytest.raises(UserError, match=r"alexnet-owt.*cannot be read as weights"):
        Lpips(weights)


def test_torchs_cache_counts_when_it_holds_both(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(weights / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    assert find_weights(None) is None
    folder = weights / "home" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for path in list(weights.glob("alex*")):
        path.rename(folder / path.name)
    assert find_weights(None) == folder


@pytest.fixture
def face_network(tmp_path: Path) -> Path:
    """The mean colours of 16 parts of the face, as an ONNX file."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("AveragePool", ["in"], ["out"], kernel_shape=[28, 28], strides=[28, 28])
    ends = [helper.make_tensor_value_info("in", kind, [1, 3, SIZE, SIZE])]
    outs = [helper.make_tensor_value_info("out", kind, [1, 3, 4, 4])]
    model = helper.make_model(
        helper.make_graph([node], "parts", ends, outs), opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 8
    onnx.save(model, str(tmp_path / "face.onnx"))
    return tmp_path / "face.onnx"


def placed_face(scale: float, turn: float, shift: float) -> tuple[Tensor, Tensor]:
    """A smooth pattern drawn at a place of a picture of 300 px, and its landmarks there."""
    turned = scale * torch.tensor([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]], dtype=torch.float32)
    axis = torch.arange(300) + 0.5
    pixels = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    local = (pixels - shift) @ torch.linalg.inv(turned).T / SIZE
    picture = torch.stack(
        [torch.sin(5 * local[..., 0]), torch.cos(4 * local[..., 1]), torch.sin(3 * local.sum(-1))], -1
    )
    landmarks = torch.zeros(POINTS, 3)
    five = torch.tensor(PLACES) @ turned.T + shift
    for index, point in (
        (list(LEFT_EYE_OUTLINE), five[0]),
        (list(RIGHT_EYE_OUTLINE), five[1]),
        (NOSE_TIP, five[2]),
        (LEFT_CORNER, five[3]),
        (RIGHT_CORNER, five[4]),
    ):
        landmarks[index, :2] = point
    return ((picture + 1) * 127).to(torch.uint8), landmarks


def test_a_face_is_the_same_wherever_it_is(face_network: Path) -> None:
    identity = Identity(face_network)
    here, there = (identity.embed(*placed_face(*where)) for where in ((1.0, 0.0, 60.0), (1.6, 0.3, 90.0)))
    assert float(here @ there) > 0.999
    picture, landmarks = placed_face(1.0, 0.0, 60.0)
    assert float(here @ identity.embed(picture.flip(0), landmarks)) < 0.9


def test_other_files_are_no_face_networks(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(UserError, match="is not an ONNX network"):
        Identity(tmp_path / "x.onnx")
    with pytest.raises(UserError, match="no such face network"):
        Identity(tmp_path / "missing.onnx")


@pytest.fixture(scope="module")
def syncnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("syncnet") / "syncnet_v2.model"
    torch.save(_Network().state_dict(), path)
    return path


def test_syncnet_has_the_published_layout(syncnet: Path) -> None:
    """Names and shapes that syncnet_v2.model is known by."""
    state = torch.load(syncnet, weights_only=True)
    assert len(state) == 12 * 7 + 2 * 9
    known = {
        "netcnnaud.0.weight": (64, 1, 3, 3),
        "netcnnaud.15.running_var": (256,),
        "netcnnaud.18.weight": (512, 256, 5, 4),
        "netcnnlip.0.weight": (96, 3, 5, 7, 7),
        "netcnnlip.18.weight": (512, 256, 1, 6, 6),
        "netfcaud.3.weight": (1024, 512),
        "netfclip.1.running_mean": (512,),
    }
    assert {name: tuple(state[name].shape) for name in known} == known


def test_sync_is_scored_and_the_shift_found() -> None:
    lips = torch.randn(80, 32, generator=torch.Generator().manual_seed(0))
    late = score_sync(lips, lips.roll(4, 0))
    assert late.offset == 4
    assert late.distance < 1
    other = score_sync(lips, torch.randn(80, 32, generator=torch.Generator().manual_seed(1)))
    assert late.confidence > 4 > other.confidence
    assert other.distance > 5


def test_syncnet_embeds_windows_of_pictures_and_of_sound(syncnet: Path) -> None:
    network = _Network().eval()
    network.load_state_dict(torch.load(syncnet, weights_only=True))
    with torch.inference_mode():
        assert network.forward_lip(torch.zeros(1, 3, 5, 224, 224)).shape == (1, 1024)
        assert network.forward_aud(torch.zeros(1, 1, 13, 20)).shape == (1, 1024)


QUIETEST = 30  # of the 32767 levels of a sample


class Brightness(nn.Module):
    """In place of the network: the brightness of the face, and the loudness of the sound, in each of five frames."""

    def forward_lip(self, faces: Tensor) -> Tensor:
        return faces.mean((1, 3, 4)) / 20

    def forward_aud(self, cepstra: Tensor) -> Tensor:
        energy = cepstra[:, 0, 0].unflatten(1, (5, 4))[..., :3].mean(-1)  # every fourth window lies in two frames
        return energy - math.log(400 * QUIETEST**2)  # of windows of 400 samples


def test_sync_falls_when_the_sound_is_moved_or_another(syncnet: Path) -> None:
    """A face as bright as the sound is loud: what is compared are the right frames with the right sound."""
    random = torch.Generator().manual_seed(0)
    loudness = 6 * torch.rand(60, generator=random)  # natural logarithm of a frame's energy over the least
    pictures = (20 * loudness)[:, None, None, None].expand(60, 64, 64, 3).round().to(torch.uint8)
    landmarks = (10 + 40 * torch.rand(POINTS, 3, generator=random)).expand(60, POINTS, 3)
    noise = torch.randn(60, SAMPLE_RATE // 25, generator=random)
    sound = (QUIETEST / 32767 * noise * torch.exp(loudness / 2)[:, None]).reshape(-1)
    scorer = SyncNet(syncnet)
    scorer._network = Brightness()
    in_time, late = (scorer.compare(pictures, landmarks, sound.roll(shift * SAMPLE_RATE // 25)) for shift in (0, 4))
    other = scorer.compare(pictures, landmarks, sound.flip(0))
    assert (in_time.offset, late.offset) == (0, 4)
    assert in_time.distance < 0.5 * other.distance
    assert in_time.confidence > 2 > other.confidence
    with pytest.raises(UserError, match="needs 10 frames"):
        scorer.compare(pictures[:6], landmarks[:6], sound)


def test_other_files_are_no_syncnet(tmp_path: Path) -> None:
    (tmp_path / "x.model").write_bytes(b"no weights")
    with pytest.raises(UserError, match="holds no SyncNet weights"):
        SyncNet(tmp_path / "x.model")
