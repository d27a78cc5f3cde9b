"""How steady poses are: python -m bench.bench_track TAKE... [--frozen].

Flicker: mean change of grey levels of points of the upper face, held in the head frame, from one frame to the next and
over twelve; poses from landmarks alone against poses refined on texture. Frozen: one frame of each take is held still
while its jaw is warped open and shut twice a second, with noise; then every turn of the head that is found is an error.
Compare poses by this and not by landmark errors, which rise when poses improve. Writes bench/results/track.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from avatar.core.encode import write_video
from avatar.core.geometry import eye_distance, mean_rotation, project, to_camera, to_vector
from avatar.core.landmarks import (
    BROWS,
    CHIN,
    LEFT_EYE_OUTLINE,
    LOWER_LIP,
    MESH_POINTS,
    RIGHT_EYE_OUTLINE,
    UPPER_FACE,
    UPPER_LIP,
)
from avatar.core.motion_space import load_space
from avatar.core.take import Take, open_take, read_track
from preprocess.fit import fit_poses
from preprocess.pose_solver import Mesh
from preprocess.rotations import Poses
from preprocess.run import make_take

Array = np.ndarray
FROZEN_FRAMES = 150


def landmark_poses(take: Take) -> tuple[Poses, Mesh]:
    """Poses from the landmarks of a take alone, and the mesh they belong to."""
    track, space = read_track(take), load_space()
    pixels, weight = track.landmarks.double().numpy()[..., :2], track.confidence.double().numpy()
    poses, identity = fit_poses(pixels, weight, space, take.camera)
    return poses, Mesh(identity[:MESH_POINTS], space.triangles.numpy(), space.rigid.numpy(), take.camera)


def upper_face_points(mesh: Mesh) -> Array:
    """Points [N, 3] cm all over the upper face, away from lids and brows."""
    hull = cv2.convexHull(mesh.points[list(UPPER_FACE)][:, :2].astype(np.float32))
    moving = {*LEFT_EYE_OUTLINE, *RIGHT_EYE_OUTLINE, *BROWS[0], *BROWS[1]}
    corners = mesh.points[mesh.triangles]
    kept = [
        corner
        for corner, triangle in zip(corners, mesh.triangles, strict=True)
        if cv2.pointPolygonTest(hull, tuple(corner.mean(0)[:2].tolist()), False) > 0
        and not moving & set(triangle.tolist())
    ]
    shares = np.array([[a, b, 1 - a - b] for a in (0.15, 0.4, 0.65) for b in (0.15, 0.4, 0.65) if a + b < 1])
    return np.einsum("gk,fkc->fgc", shares, np.array(kept)).reshape(-1, 3)


def flicker(take: Take, poses: Poses, mesh: Mesh, lag: int) -> float:
    """Mean change of grey levels of the upper face over `lag` frames."""
    points, levels = upper_face_points(mesh), []
    for frame in range(take.length):
        grey = cv2.imread(str(take.frame_path(frame)), cv2.IMREAD_GRAYSCALE)
        posed = to_camera(points, poses.rotation[frame], poses.translation[frame])
        pixels = (project(posed, mesh.camera) - 0.5).astype(np.float32)
        levels.append(cv2.remap(grey, pixels[:, 0], pixels[:, 1], cv2.INTER_LINEAR)[:, 0].astype(float))
    return float(np.abs(np.array(levels[lag:]) - np.array(levels[:-lag])).mean())


def frozen_film(picture: Array, landmarks: Array, frames: int) -> Iterator[Array]:
    """A frame [S, S, 3] whose jaw opens and shuts at 2 Hz while all above the mouth stands still, with noise."""
    size, random = picture.shape[0], np.random.default_rng(0)
    eyes = eye_distance(landmarks)
    mouth, chin = (landmarks[UPPER_LIP, :2] + landmarks[LOWER_LIP, :2]) / 2, landmarks[CHIN, :2]
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    fall = np.clip((y - mouth[1]) / (0.12 * eyes), 0, 1) * np.clip(1 - (y - chin[1]) / (0.5 * eyes), 0, 1)
    fall *= np.exp(-(((x - mouth[0]) / (0.75 * eyes)) ** 4))
    for frame in range(frames):
        opening = 0.08 * eyes * (1 - np.cos(2 * np.pi * 2 * frame / 25))
        moved = cv2.remap(picture, x, (y - opening * fall).astype(np.float32), cv2.INTER_LINEAR).astype(np.float32)
        inside = np.abs(y - mouth[1] - opening / 2) < opening / 2
        moved[inside & (np.abs(x - mouth[0]) < 0.25 * eyes)] *= 0.25
        yield (moved + random.normal(0, 1.5, moved.shape)).clip(0, 255).astype(np.uint8)


def frozen_turns(take: Take, folder: Path, *, frames: int = FROZEN_FRAMES) -> Array:
    """Standard deviations [3] of pitch, yaw and roll (degrees) found in the frozen film of a take's middle frame."""
    frame = take.length // 2
    picture = np.ascontiguousarray(cv2.imread(str(take.frame_path(frame)))[..., ::-1])
    landmarks = read_track(take).landmarks[frame].numpy()
    write_video(frozen_film(picture, landmarks, frames), folder / "frozen.mp4", fps=25.0)
    rotation = read_track(make_take(folder / "frozen.mp4", folder / "frozen.take")).rotation
    turns = to_vector(rotation @ mean_rotation(rotation).mT).rad2deg()
    return turns.std(0).numpy()


def measure(path: Path, *, frozen: bool) -> dict[str, float | str]:
    take = open_take(path)
    track = read_track(take)
    poses, mesh = landmark_poses(take)
    refined = Poses(track.rotation.double().numpy(), track.translation.double().numpy())
    figures: dict[str, float | str] = {"take": path.name, "frames": take.length}
    for lag in (1, 12):
        before, after = flicker(take, poses, mesh, lag), flicker(take, refined, mesh, lag)
        figures |= {f"landmarks_{lag}": before, f"texture_{lag}": after, f"change_{lag}": after / before - 1}
    if frozen:
        with tempfile.TemporaryDirectory() as folder:
            pitch, yaw, roll = frozen_turns(take, Path(folder)).tolist()
        figures |= {"frozen_pitch": pitch, "frozen_yaw": yaw, "frozen_roll": roll}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("takes", nargs="+", type=Path)
    parser.add_argument("--frozen", action="store_true")
    options = parser.parse_args()
    rows = []
    for path in options.takes:
        rows.append(measure(path, frozen=options.frozen))
        shown = " ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{v:<26}" for k, v in rows[-1].items())
        sys.stdout.write(f"{shown}\n")
        sys.stdout.flush()
    output = Path("bench/results/track.json")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
