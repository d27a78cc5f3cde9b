"""Named landmarks against MediaPipe's own outlines, and geometry in numpy and torch."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch

from avatar.core import landmarks as names
from avatar.core.geometry import Camera, apply_torso, exponential, eye_distance, project, to_camera, to_rays, undo_torso
from avatar.core.motion_space import load_space


@pytest.fixture(scope="module")
def mesh() -> ModuleType:
    """MediaPipe's own lists."""
    return pytest.importorskip("mediapipe").solutions.face_mesh


def edges(outline: tuple[int, ...]) -> set[frozenset[int]]:
    return {frozenset(pair) for pair in zip(outline, (*outline[1:], outline[0]), strict=True)}


@pytest.mark.parametrize(
    ("outline", "theirs"),
    [
        (names.FACE_OVAL, "FACEMESH_FACE_OVAL"),
        (names.LEFT_EYE_OUTLINE, "FACEMESH_RIGHT_EYE"),  # the person's own right
        (names.RIGHT_EYE_OUTLINE, "FACEMESH_LEFT_EYE"),
        (names.OUTER_LIPS, "FACEMESH_LIPS"),
        (names.INNER_LIPS, "FACEMESH_LIPS"),
    ],
)
def test_outlines_are_mediapipes(mesh: ModuleType, outline: tuple[int, ...], theirs: str) -> None:
    assert len(set(outline)) == len(outline)
    assert edges(outline) <= {frozenset(edge) for edge in getattr(mesh, theirs)}


def test_sets_are_mediapipes(mesh: ModuleType) -> None:
    def points(*groups: frozenset[tuple[int, int]]) -> set[int]:
        return {point for group in groups for edge in group for point in edge}

    assert set(names.LIPS) == points(mesh.FACEMESH_LIPS)
    assert [set(brow) for brow in names.BROWS] == [
        points(mesh.FACEMESH_RIGHT_EYEBROW), points(mesh.FACEMESH_LEFT_EYEBROW)
    ]  # fmt: skip
    assert points(mesh.FACEMESH_IRISES) == set(names.IRISES) - set(names.IRIS_CENTERS)
    assert points(mesh.FACEMESH_TESSELATION) == set(range(names.MESH_POINTS))
    assert len(names.IBUG68) == len(set(names.IBUG68)) == 68


def test_names_are_where_a_face_has_them() -> None:
    """Of the mean face: x to the right of the picture, y down, z away from the camera."""
    x, y, z = load_space().template.T.tolist()
    down = [names.FOREHEAD, names.GLABELLA, names.NOSE_BRIDGE, names.NOSE_TIP, names.LIP_TOP, names.UPPER_LIP,
            names.LOWER_LIP, names.LIP_BOTTOM, names.CHIN]  # fmt: skip
    assert [y[point] for point in down] == sorted(y[point] for point in down)
    assert all(abs(x[point]) < 0.1 for point in down)
    left, right = names.LEFT_EYE, names.RIGHT_EYE
    across = [names.CHEEKS[0], left.outer, left.iris, left.inner, right.inner, right.iris, right.outer, names.CHEEKS[1]]
    assert [x[point] for point in across] == sorted(x[point] for point in across)
    assert z[names.NOSE_TIP] == min(z)
    mirrored = [
        names.EYE_CORNERS, (left.upper, right.upper), (names.LEFT_CORNER, names.RIGHT_CORNER),
        (names.LEFT_UPPER_LIP, names.RIGHT_UPPER_LIP), (names.LEFT_LOWER_LIP, names.RIGHT_LOWER_LIP),
        (names.LEFT_BROW_OUTER, names.RIGHT_BROW_OUTER), (names.LEFT_BROW_INNER, names.RIGHT_BROW_INNER),
        names.JAW_CORNERS, names.CHEEKS,
    ]  # fmt: skip
    for one, other in mirrored:
        assert (x[one], y[one], z[one]) == pytest.approx((-x[other], y[other], z[other]), abs=0.1)


def test_geometry_is_the_same_in_numpy_and_torch_and_can_be_undone() -> None:
    random = torch.Generator().manual_seed(0)
    camera, torso = Camera(700.0, 300), torch.tensor([4.0, -7, 0.1, 0.3], dtype=torch.float64)
    points = 3 * torch.randn(5, names.POINTS, 3, generator=random, dtype=torch.float64)
    rotation = exponential(0.2 * torch.randn(5, 3, generator=random, dtype=torch.float64))
    translation = torch.tensor([[1.0, 2, 60]], dtype=torch.float64).expand(5, 3)
    posed = to_camera(points, rotation, translation)
    pixels = project(posed, camera)
    assert torch.allclose(to_rays(pixels, camera), posed[..., :2] / posed[..., 2:])
    moved = apply_torso(pixels, torso)
    assert torch.allclose(undo_torso(moved, torso), pixels)
    turn = np.exp(0.1) * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    assert np.allclose(moved.numpy(), pixels.numpy() @ turn.T + [4, -7])
    there = to_camera(points.numpy(), rotation.numpy(), translation.numpy())
    assert np.allclose(there, posed.numpy())
    assert np.allclose(project(there, camera), pixels.numpy())
    assert np.allclose(apply_torso(pixels.numpy(), torso.numpy()), moved.numpy())
    assert np.allclose(undo_torso(moved.numpy(), torso.numpy()), pixels.numpy())
    eyes = (pixels[:, 33] - pixels[:, 263]).square().sum(1).sqrt()
    assert torch.allclose(eye_distance(pixels), eyes)
    assert np.allclose(eye_distance(pixels.numpy()), eyes.numpy())
