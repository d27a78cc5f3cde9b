"""Avatars and motion for other programs: 3DGS .ply, CSV, ARKit-style blendshape curves."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatar.core.avatar_file import Avatar, as_avatar
from avatar.core.blendshapes import arkit_curves, livelink_columns
from avatar.core.controls import Controls, resolve_controls
from avatar.core.files import UserError, check_writable, whole
from avatar.core.geometry import to_vector
from avatar.core.motion_space import Motion, as_motion, load_space, save_motion
from avatar.core.outputs import check_output, files_among
from avatar.core.progress import Progress, no_progress
from avatar.core.speech_file import SpeechFile, as_speech_file
from avatar.pipelines.options import Layout
from avatar.pipelines.speech_film import make_motion
from avatar.play.player import check_space
from avatar.render import open_renderer
from avatar.render.gaussian import GaussianRenderer
from avatar.render.nerf import NerfRenderer

MOTION_ENDINGS, FRAME_ENDINGS = (".motion", ".csv"), (".ply", ".png")
SURFACE = 1.4  # a cm: half of the light gets through half a centimetre
DEPTH_UNITS = 100  # of a depth picture, a cm
SH_ZERO = 0.28209479177387814  # the constant spherical harmonic
SH_REST = 45  # coefficients of degrees 1 to 3 in three colours, by whose number strict loaders know the degree
FIELDS = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
    *(f"f_rest_{index}" for index in range(SH_REST)),
    *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
LIVELINK_HEAD = ("Timecode", "BlendshapeCount")


def export_frame(
    avatar: Avatar | Path | str,
    out: Path | str,
    *,
    motion: Motion | Path | str | None = None,
    frame: int = 0,
    force: bool = False,
) -> str:
    """Write a frame of a motion, or the person at rest, as `out` ends: `.ply` of splats or mesh, `.png` of depth.

    force: as in `check_output`. Returns: what was written, in words. Raises: UserError.
    """
    out = Path(out)
    check_output(out, files_among(avatar, motion), endings=FRAME_ENDINGS, force=force)
    avatar, motion = as_avatar(avatar), None if motion is None else as_motion(motion)
    if out.suffix.lower() == ".png":
        export_depth(avatar, out, motion=motion, frame=frame)
        return "depth in tenths of a millimetre"
    if avatar.kind == "nerf":
        return f"{export_mesh(avatar, out, motion=motion, frame=frame)} points"
    return f"{export_splats(avatar, out, motion=motion, frame=frame)} splats"


def export_splats(
    avatar: Avatar | Path | str, out: Path | str, *, motion: Motion | Path | str | None = None, frame: int = 0
) -> int:
    """Write a frame of a motion, or the person at rest, as the .ply of Kerbl et al. 2023; returns how many splats.

    Camera frame, cm, OpenCV axes. Colours do not change with the view, so f_rest is zero, as are normals.
    Raises: UserError when the avatar has no splats, or the motion no such frame.
    """
    avatar, out, motion = as_avatar(avatar), Path(out), None if motion is None else as_motion(motion)
    renderer = open_renderer(avatar)
    if not isinstance(renderer, GaussianRenderer):
        raise UserError(f"an avatar of kind {avatar.kind} has no splats; build one with the gaussian renderer")
    if motion is not None and not 0 <= frame < len(motion):
        raise UserError(f"--frame: {frame} is not a frame of a motion of {len(motion)}; they begin at 0")
    check_space(avatar)
    check_writable(out)
    means, quaternions, log_scales, opacity, colors = renderer.splats(motion[frame : frame + 1] if motion else None)
    nothing = torch.zeros_like(means)
    rest = torch.zeros(len(means), SH_REST)
    columns = [means, nothing, (colors - 0.5) / SH_ZERO, rest, opacity[:, None], log_scales]
    values = torch.cat([*columns, torch.nn.functional.normalize(quaternions, dim=1)], 1)
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(values)}"]
    header += [f"property float {name}" for name in FIELDS] + ["end_header"]
    with whole(out) as temporary:
        temporary.write_bytes("\n".join(header).encode() + b"\n" + values.numpy().astype("<f4").tobytes())
    return len(values)


def export_mesh(
    avatar: Avatar | Path | str,
    out: Path | str,
    *,
    motion: Motion | Path | str | None = None,
    frame: int = 0,
    cells: int = 160,
) -> int:
    """Write the head of a NeRF avatar, in a frame of a motion or at rest, as a coloured mesh .ply; returns its points.

    Head frame, cm, y down. cells: along the longest side of what is looked at. Raises: UserError when the avatar is of
    another kind, the motion has no such frame, or scikit-image, whose marching cubes find the surface, is missing.
    """
    out = Path(out)
    renderer, motion = _open_field(avatar, motion, frame)
    if importlib.util.find_spec("skimage") is None:
        raise UserError("a mesh needs scikit-image; run pip install 'avatar-builder[mesh]'")
    check_writable(out)
    from skimage.measure import marching_cubes

    lower, extent = renderer.box.lower, renderer.box.upper - renderer.box.lower
    step = float(extent.max()) / cells
    axes = [torch.arange(int(side / step) + 2) * step + start for start, side in zip(lower, extent, strict=True)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    density, _ = renderer.sample(points.reshape(-1, 3), motion, frame)
    volume = density.view(points.shape[:3]).numpy()
    if not volume.max() > SURFACE:
        raise UserError("the avatar's head is nowhere dense enough for a surface; train it longer")
    vertices, triangles, *_ = marching_cubes(volume, SURFACE, spacing=(step,) * 3)
    placed = torch.from_numpy(vertices.copy()).float() + lower
    _, colors = renderer.sample(placed, motion, frame)
    _write_mesh(out, placed.numpy(), (colors * 255).round().to(torch.uint8).numpy(), triangles[:, ::-1])
    return len(placed)


def _write_mesh(out: Path, vertices: np.ndarray, colors: np.ndarray, triangles: np.ndarray) -> None:
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    header += [f"property float {name}" for name in "xyz"]
    header += [f"property uchar {name}" for name in ("red", "green", "blue")]
    header += [f"element face {len(triangles)}", "property list uchar int vertex_indices", "end_header"]
    points = np.zeros(len(vertices), [("place", "<f4", 3), ("color", "u1", 3)])
    points["place"], points["color"] = vertices, colors
    faces = np.zeros(len(triangles), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, triangles
    with whole(out) as temporary:
        temporary.write_bytes("\n".join(header).encode() + b"\n" + points.tobytes() + faces.tobytes())


def export_depth(
    avatar: Avatar | Path | str, out: Path | str, *, motion: Motion | Path | str | None = None, frame: int = 0
) -> None:
    """Write how far the head of a NeRF avatar is, as a 16-bit .png in tenths of a millimetre; 0 is nothing.

    Raises: UserError when the avatar is of another kind, or the motion has no such frame.
    """
    out = Path(out)
    renderer, motion = _open_field(avatar, motion, frame)
    check_writable(out)
    depth = (renderer.depth(motion, frame) * DEPTH_UNITS).round().clamp(0, 2**16 - 1)
    with whole(out) as temporary:
        Image.fromarray(depth.numpy().astype(np.uint16)).save(temporary, "png")


def _open_field(
    avatar: Avatar | Path | str, motion: Motion | Path | str | None, frame: int
) -> tuple[NerfRenderer, Motion]:
    avatar = as_avatar(avatar)
    renderer = open_renderer(avatar)
    if not isinstance(renderer, NerfRenderer):
        raise UserError(f"an avatar of kind {avatar.kind} has no density; build one with the nerf renderer")
    check_space(avatar)
    motion = renderer.at_rest() if motion is None else as_motion(motion)
    if not 0 <= frame < len(motion):
        raise UserError(f"--frame: {frame} is not a frame of a motion of {len(motion)}; they begin at 0")
    return renderer, motion


def export_motion(
    avatar: Avatar | Path | str,
    speech: SpeechFile | Path | str,
    out: Path | str,
    *,
    layout: Layout = "motion",
    controls: Controls | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> int:
    """Write an avatar's motion for the speech in a file: a `.csv` in a layout of `export_curves`, or a `.motion` file.

    speech: as in `speak`; force: as in `check_output`. Returns: the number of frames. Raises: UserError.
    """
    read, speech, out = files_among(avatar), as_speech_file(speech), Path(out)
    avatar = as_avatar(avatar)
    controls = controls or resolve_controls(avatar)
    check_output(out, [*read, speech.path, *controls.files], endings=MOTION_ENDINGS, force=force)
    check_layout(out, layout)
    motion = make_motion(avatar, speech, controls=controls, out=out, progress=progress)
    if out.suffix.lower() == ".csv":
        return export_curves(motion, out, layout=layout)
    save_motion(motion, out, avatar.space_id)
    return len(motion)


def check_layout(out: Path, layout: Layout) -> None:
    """Raise UserError for a layout of columns where there are none."""
    if layout != "motion" and out.suffix.lower() != ".csv":
        raise UserError(f"{out}: has no columns, which --layout {layout} would name; use .csv, or leave --layout out")


def export_curves(motion: Motion | Path | str, out: Path | str, *, layout: Layout) -> int:
    """Write a motion as CSV, a line a frame; returns how many.

    layout: `motion` as it is; `arkit` as blendshapes 0..1 and head angles in degrees; `livelink` as the app Live Link
    Face does, with a timecode and all of ARKit's blendshapes (`livelink_columns`).
    """
    motion, out = as_motion(motion), Path(out)
    check_writable(out)
    columns = COLUMNS[layout](motion)
    table = torch.stack(list(columns.values()), 1).double().numpy()
    livelink = layout == "livelink"
    with whole(out) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(LIVELINK_HEAD if livelink else ["seconds"]), *columns])
        for frame, row in enumerate(table):
            head = [_timecode(frame, motion.fps), len(columns)] if livelink else [f"{frame / motion.fps:.4f}"]
            writer.writerow([*head, *(f"{value:.6g}" for value in row)])
    return len(table)


def _timecode(frame: int, fps: float) -> str:
    """Hours, minutes, seconds and frames of them; at 29.97 frames/s and the like without dropped numbers."""
    seconds, left = divmod(frame, round(fps))
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{left:02}.000"


def _plain_columns(motion: Motion) -> dict[str, Tensor]:
    columns = {f"expression_{index}": values for index, values in enumerate(motion.expression.T)}
    columns |= dict(zip(("lid_left", "lid_right", "gaze_x", "gaze_y"), motion.eyes.T, strict=True))
    columns |= dict(zip(("rotation_x", "rotation_y", "rotation_z"), to_vector(motion.rotation).T, strict=True))
    columns |= dict(zip(("translation_x", "translation_y", "translation_z"), motion.translation.T, strict=True))
    names = ("torso_x", "torso_y", "torso_log_scale", "torso_roll")
    return columns | dict(zip(names, motion.torso.T, strict=True))


def _arkit_columns(motion: Motion) -> dict[str, Tensor]:
    turn = torch.rad2deg(to_vector(motion.rotation))
    angles = {"headPitch": turn[:, 0], "headYaw": turn[:, 1], "headRoll": turn[:, 2]}
    return arkit_curves(motion, load_space()) | angles


def _livelink_columns(motion: Motion) -> dict[str, Tensor]:
    return livelink_columns(motion, load_space())


COLUMNS: dict[Layout, Callable[[Motion], dict[str, Tensor]]] = {
    "motion": _plain_columns,
    "arkit": _arkit_columns,
    "livelink": _livelink_columns,
}


def read_splats(path: Path) -> np.ndarray:
    """The vertices [N] of such a .ply, as a record array with FIELDS."""
    data = path.read_bytes()
    start = data.index(b"end_header\n") + len(b"end_header\n")
    return np.frombuffer(data[start:], [(name, "<f4") for name in FIELDS])
