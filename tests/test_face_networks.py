"""The networks in torch against MediaPipe, on a real clip and the actor; their GPU path against their CPU path."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.core.files import UserError
from avatar.core.landmarks import EYE_CORNERS, LOWER_LIP, UPPER_LIP
from avatar.core.media import probe, read_small, read_video
from avatar.core.take import read_frames
from preprocess.detectors import open_detector
from preprocess.matte import refine_matte
from preprocess.networks import graph, warp
from preprocess.networks.detector import TorchDetector
from preprocess.networks.face_mesh import FaceMesh, region_of_landmarks
from preprocess.networks.graph import NetworkName, load_graph
from preprocess.networks.warp import Regions
from preprocess.trackers import detect
from tests.conftest import Filmed

CPU = torch.device("cpu")
CLIPS = Path(__file__).parent.parent.parent / "shared" / "clips"
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="the folder of real clips is not beside this checkout")
FRAMES = 40

Array = np.ndarray


def is_shut(points: Array) -> Array:
    gap = np.linalg.norm(points[:, UPPER_LIP, :2] - points[:, LOWER_LIP, :2], axis=1)
    return gap < 0.02 * np.linalg.norm(points[:, EYE_CORNERS[0], :2] - points[:, EYE_CORNERS[1], :2], axis=1)


@pytest.fixture(scope="module")
def frames() -> Array:
    if not CLIPS.is_dir():
        pytest.skip("the folder of real clips is not beside this checkout")
    return np.stack(list(islice(read_video(CLIPS / "de_anchor_20s.mp4", size=512), FRAMES)))


@pytest.fixture(scope="module")
def mediapipes(frames: Array) -> Array:
    """MediaPipe's own landmarks [FRAMES, 478, 3]."""
    pytest.importorskip("mediapipe")
    return detect(frames, "mediapipe")[0].numpy()


@pytest.mark.clips
def test_landmarks_are_mediapipes_where_the_region_is(frames: Array, mediapipes: Array) -> None:
    mesh = FaceMesh(CPU)
    regions = region_of_landmarks(torch.from_numpy(mediapipes[:-1]))
    points, presence = mesh(torch.from_numpy(frames[1:]), regions)
    assert float((points - torch.from_numpy(mediapipes[1:])).abs().max()) < 1e-3
    assert bool((presence > 0.99).all())


@pytest.mark.clips
def test_landmarks_are_mediapipes_running_freely(frames: Array, mediapipes: Array) -> None:
    points, found = detect(frames, "torch")
    assert bool(found.all())
    apart = np.linalg.norm(points.numpy()[..., :2] - mediapipes[..., :2], axis=-1)
    assert np.sqrt(np.square(apart).mean()) < 0.1
    assert (is_shut(points.numpy()) == is_shut(mediapipes)).mean() >= 0.99


@pytest.mark.clips
def test_a_batch_settles_where_frames_in_turn_lead(frames: Array, mediapipes: Array) -> None:
    one_by_one = torch.stack([torch.from_numpy(p) for p in TorchDetector(CPU).landmarks(frames)])
    together = TorchDetector(CPU)
    parts = [together.settle(torch.from_numpy(part)) for part in np.split(frames, 2)]
    assert all(bool(seen.all()) for _, seen in parts)
    apart = (torch.cat([points for points, _ in parts]) - one_by_one)[..., :2].norm(dim=-1)
    assert float(apart.square().mean().sqrt()) < 0.1


@pytest.mark.clips
def test_masks_and_mattes_are_mediapipes(frames: Array) -> None:
    pytest.importorskip("mediapipe")
    ours, theirs = (open_detector(name, CPU).masks(frames[::10]) for name in ("torch", "mediapipe"))
    assert np.abs(ours - theirs).max() < 1e-4
    for frame, one, other in zip(frames[::10], ours, theirs, strict=True):
        assert np.abs(refine_matte(frame, one).astype(int) - refine_matte(frame, other)).max() <= 3


@pytest.mark.clips
@needs_clips
@pytest.mark.parametrize("name", ["waist_720p_7s", "people_behind_8s", "fullbody_seated_10s"])
def test_boxes_of_faces_are_mediapipes(name: str) -> None:
    pytest.importorskip("mediapipe")
    path = CLIPS / f"{name}.mp4"
    info = probe(path)
    scale = 640 / max(info.width, info.height)
    size = {"width": round(info.width * scale), "height": round(info.height * scale)}
    pictures = np.stack(list(read_small(path, fps=1, **size)))
    ours, theirs = (open_detector(tracker, CPU).faces(pictures) for tracker in ("torch", "mediapipe"))
    assert [len(boxes) for boxes in ours] == [len(boxes) for boxes in theirs]
    assert sum(map(len, ours)) >= len(pictures) // 2
    for one, other in zip(ours, theirs, strict=True):
        assert np.allclose(np.array(one), np.array(other), atol=0.05), "px"


def test_a_face_that_goes_and_comes_is_lost_and_found(actor: Filmed) -> None:
    frames = read_frames(actor.take, range(12)).numpy()
    frames[4:7] = 0
    in_turn = TorchDetector(CPU).landmarks(frames)
    points, seen = TorchDetector(CPU).settle(torch.from_numpy(frames))
    assert [one is not None for one in in_turn] == seen.tolist() == [i not in (4, 5, 6) for i in range(12)]
    for index in torch.nonzero(seen).flatten().tolist():
        assert np.abs(points[index, :, :2].numpy() - in_turn[index][:, :2]).mean() < 0.3
    assert TorchDetector(CPU).landmarks(frames[4:6]) == [None, None]
    assert TorchDetector(CPU).faces(frames[3:5])[1] == []


def test_parts_of_pictures_are_opencvs() -> None:
    """Both ways to cut, also beyond the border and from turned and tiny regions."""
    random = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (6, 90, 120, 3), dtype=torch.uint8, generator=random)
    center = torch.tensor([[60.0, 45], [3, 3], [119, 80], [-40, 20], [60, 45], [500, 500]])
    size = torch.tensor([[80.0, 80], [50, 50], [90, 60], [100, 100], [3, 3], [20, 20]])
    regions = Regions(center, size, torch.tensor([0.0, 0.3, -1.2, 2.0, 0.1, 0.0]))
    places = warp._places(regions, 32)
    for black in (False, True):
        assert torch.equal(warp._interpolate(pictures, places, black), warp._remap(pictures, places, black))


@pytest.mark.parametrize("name", ["face_mesh", "short_range", "full_range", "selfie"])
def test_sums_of_a_gpu_are_those_of_a_cpu(name: NetworkName, actor: Filmed, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the actor's face; the GPU's way to sum, run by the CPU."""
    pictures = read_frames(actor.take, [0, 60])
    side = {"face_mesh": 192, "short_range": 128, "full_range": 192, "selfie": 256}[name]
    image = warp.cut_out(pictures, warp.whole_picture(2, *pictures.shape[1:3], CPU), side) / 255
    network = load_graph(name)
    with torch.inference_mode():
        expected = network(image)
        monkeypatch.setattr(graph, "_on_cpu", lambda x: False)
        found = network(image)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-3)
        assert float(other.abs().max()) > 0.1


def test_a_file_without_the_networks_is_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"wrong\.safetensors: holds no network selfie; install the package again"):
        load_graph("selfie", wrong)
    with pytest.raises(UserError, match="tracker 'x' is unknown; choose one of auto, torch, mediapipe"):
        open_detector("x", CPU)
