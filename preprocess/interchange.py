"""Takes as the data folders of AD-NeRF, RAD-NeRF, ER-NeRF and TalkingGaussian, and those as Takes.

Their cameras are OpenGL (x right, y up, looking along -z), camera to head, in metres; their head frame has y up and
looks along z. Ours are OpenCV, head to camera, in cm, with the head's y down. So with F = diag(1, -1, -1) their
world-to-camera matrix is [F R F | F t / 100], and their `transform_matrix` the inverse of it.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from avatar.core.consent import NOT_STATED
from avatar.core.eyes import eyelid_closure
from avatar.core.files import UserError, digest_file, sole_maker, whole
from avatar.core.geometry import Camera
from avatar.core.landmarks import IBUG68, MESH_POINTS, POINTS
from avatar.core.media import read_speech, write_wav
from avatar.core.motion_space import load_space
from avatar.core.outputs import check_output_folder
from avatar.core.progress import Progress, no_progress
from avatar.core.sync import OpenSync
from avatar.core.take import (
    Take,
    Track,
    open_take,
    read_frames,
    read_mattes,
    read_plate,
    read_track,
    save_track,
    split_frames,
    write_take,
)
from preprocess.checks import measure_track
from preprocess.detectors import open_detector
from preprocess.fit import fit_poses, fit_to_poses
from preprocess.matte import refine_matte
from preprocess.mouth import SAMPLES, refine_lips, sample_profile
from preprocess.regions import BACKGROUND, HEAD, MOUTH, NECK, TORSO, find_regions
from preprocess.report import write_report
from preprocess.request import reuse_take
from preprocess.rotations import Poses
from preprocess.sound import Sound, prepare_sound
from preprocess.take_folder import TakeFolder, read_picture, write_picture
from preprocess.torso import with_torso
from preprocess.trackers import fill_gaps

FLIP = np.diag([1.0, -1.0, -1.0])
COLORS = {BACKGROUND: (255, 255, 255), HEAD: (0, 0, 255), NECK: (0, 255, 0), TORSO: (255, 0, 0), MOUTH: (0, 0, 255)}
TRANSFORMS = ("transforms_train.json", "transforms_val.json")
MARK = "avatar_take.json"  # only in folders that we wrote: their head frame is ours, turned
FPS = 25.0  # of all such folders
BEST = [cv2.IMWRITE_JPEG_QUALITY, 100]
CHIN_FILL = 48  # px above the neck that the torso pictures are filled
FADE = 0.98  # of that filling, a row
OFF_CENTER_PX = 2.0
TRAIN_PARTS, PARTS = 10, 11  # the family's split

Array = np.ndarray


def export_adnerf(take: Take, out: Path, *, progress: Progress = no_progress) -> None:
    """Write a Take as an AD-NeRF-family data folder. `track_params.pt` is not written: it is a pickled face model
    that this project does not have; nothing after their `process.py` reads it but GaussianTalker.

    Raises: UserError when the folder exists or the Take has no sound.
    """
    check_output_folder(out, [take.root])
    if out.exists():
        raise UserError(f"{out}: exists; remove it or choose another name")
    sound = take.root / "audio.wav"
    if not sound.is_file():
        raise UserError(f"{take.root}: has no audio, which the format needs")
    with whole(out) as part:
        for name in ("ori_imgs", "parsing", "gt_imgs", "torso_imgs"):
            (part / name).mkdir(parents=True)
        track, plate = read_track(take), read_plate(take).numpy()
        for frame in range(take.length):
            _export_frame(take, track, plate, part, frame)
            progress("export", frame + 1, take.length)
        shutil.copy(sound, part / "aud.wav")
        shutil.copy(take.root / "background.png", part / "background.png")
        write_picture(part / "bc.jpg", plate, BEST)
        _export_cameras(take, track, part)
        _export_blinks(track, part)
        (part / MARK).write_text(json.dumps({"source": take.source, "crop": take.crop, "fps": take.fps}, indent=1))


def _export_frame(take: Take, track: Track, plate: Array, part: Path, frame: int) -> None:
    landmarks = track.landmarks[frame].numpy()
    shutil.copy(take.frame_path(frame), part / "ori_imgs" / f"{frame}.jpg")
    rows = "".join(f"{x:f} {y:f}\n" for x, y in landmarks[list(IBUG68), :2])
    (part / "ori_imgs" / f"{frame}.lms").write_text(rows)
    picture, matte = read_frames(take, [frame])[0].numpy(), read_mattes(take, [frame])[0].numpy()
    regions = find_regions(landmarks, matte)
    table = np.array([COLORS[label] for label in range(len(COLORS))], np.uint8)
    write_picture(part / "parsing" / f"{frame}.png", table[regions])
    alpha = matte[..., None] / 255
    over = np.rint(picture * alpha + plate * (1 - alpha)).astype(np.uint8)
    write_picture(part / "gt_imgs" / f"{frame}.jpg", over, BEST)
    torso = torso_picture(picture, np.isin(regions, (NECK, TORSO)), np.isin(regions, (HEAD, MOUTH)))
    write_picture(part / "torso_imgs" / f"{frame}.png", torso)


def torso_picture(picture: Array, torso: Array, head: Array) -> Array:
    """RGBA [S, S, 4] of torso and neck, continued upwards behind the chin, darker row by row; masks [S, S] bool."""
    rows = np.arange(len(torso))[:, None]
    top = np.where(torso.any(0), torso.argmax(0), len(torso))
    behind = (rows < top) & (rows >= top - CHIN_FILL) & torso.any(0) & head
    source = np.take_along_axis(
        picture, np.broadcast_to(np.minimum(top, len(torso) - 1)[None, :, None], (1, *picture.shape[1:])), 0
    )
    faded = source * (FADE ** (top - rows))[..., None]
    color = np.where(behind[..., None], faded, picture)
    alpha = np.where(torso | behind, 255, 0)
    return np.concatenate([color * (alpha[..., None] > 0), alpha[..., None]], 2).astype(np.uint8)


def to_transform(rotation: Array, translation: Array) -> Array:
    """Head to camera, rotation [3, 3] and translation [3] cm -> their `transform_matrix` [4, 4]."""
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = FLIP @ rotation @ FLIP
    world_to_camera[:3, 3] = FLIP @ translation / 100
    return np.linalg.inv(world_to_camera)


def from_transform(matrix: Array) -> tuple[Array, Array]:
    """The inverse of `to_transform`."""
    world_to_camera = np.linalg.inv(matrix)
    return FLIP @ world_to_camera[:3, :3] @ FLIP, 100 * FLIP @ world_to_camera[:3, 3]


def _export_cameras(take: Take, track: Track, part: Path) -> None:
    train = take.train if len(take.test) else range(take.length * TRAIN_PARTS // PARTS)
    middle = take.camera.size / 2
    for name, frames in (("train", train), ("val", range(train.stop, take.length))):
        content: dict[str, Any] = {"focal_len": take.camera.focal, "cx": middle, "cy": middle, "frames": []}
        for frame in frames:
            rotation, translation = track.rotation[frame].double().numpy(), track.translation[frame].double().numpy()
            low, high = (f(track.landmarks[frame, :MESH_POINTS, :2].numpy(), axis=0) for f in (np.min, np.max))
            content["frames"].append(
                {
                    "img_id": frame,
                    "aud_id": frame,
                    "transform_matrix": to_transform(rotation, translation).tolist(),
                    "face_rect": [*low.astype(int).tolist(), *(high - low).astype(int).tolist()],
                }
            )
        (part / f"transforms_{name}.json").write_text(json.dumps(content))


def _export_blinks(track: Track, part: Path) -> None:
    """`au.csv` with the one action unit that all of them read: AU45, blink, 0..5 (readers clip at 2)."""
    shut = (2 * eyelid_closure(track.eyes)).tolist()
    with (part / "au.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", " AU45_r"])
        writer.writerows([index + 1, f"{value:.3f}"] for index, value in enumerate(shut))


@dataclass(frozen=True)
class _Cameras:
    """What their tracker found, by picture number."""

    poses: Poses  # in their head frame
    known: Array  # [T] bool
    focal: float  # px
    center: tuple[float, float]  # px


def import_adnerf(
    folder: Path,
    out: Path,
    *,
    holdout: float = 0.1,
    consent: str = NOT_STATED,
    open_sync: OpenSync | None = None,
    progress: Progress = no_progress,
) -> Take:
    """Make a Take of an AD-NeRF-family data folder: its pictures as they are, its poses, its masks where it has them.

    A finished Take of the same folder is used again. Only text, pictures and sound are read, nothing pickled.
    consent: as of `TakeRequest`. open_sync: as for `make_take`. Raises: UserError naming what is missing or odd.
    """
    frames = _numbered(folder / "ori_imgs")
    source = {"name": folder.name, "format": "adnerf", "sha256": _digest_folder(folder), "consent": consent}
    if out.exists():
        return reuse_take(out, source, {}, holdout)
    cameras = _read_cameras(folder, len(frames))
    size = _picture_size(frames[0])
    if any(abs(center - size / 2) > OFF_CENTER_PX for center in cameras.center):
        raise UserError(f"{folder}: the principal point is not the centre of the picture, which is not supported")
    plate = _read_plate(folder, size)
    with sole_maker(out), whole(out) as part:
        pictures = TakeFolder(part)
        pictures.create()
        landmarks, found = _import_frames(folder, frames, pictures, progress)
        track = _import_track(landmarks, found, cameras, size, ours=(folder / MARK).exists())
        track, _, held = with_torso(track, np.arange(len(frames)), pictures.grey_reader(), pictures.read_matte)
        write_picture(part / "background.png", plate)
        sound = _import_sound(folder, part, track, open_sync)
        train, test = split_frames(len(frames), holdout)
        take = Take(
            root=part,
            fps=FPS,
            length=len(frames),
            camera=Camera(cameras.focal, size),
            crop=(0.0, 0.0, float(size)),
            train=train,
            test=test,
            excluded=tuple(sound.spans),
            source=source,
            request={},
            quality=measure_track(track, sound.spans) | sound.quality | {"plate_seen": 1.0, "torso_held": held},
            space_id=load_space().id,
        )
        write_take(take, part)
        save_track(track, part / "track.safetensors")
        write_report(take, track, sound.level)
    return open_take(out)


def _digest_folder(folder: Path) -> str:
    """SHA-256 of what makes a folder this one: its poses and its sound. Raises: UserError when they are missing."""
    parts = [folder / name for name in (*TRANSFORMS, "aud.wav")]
    for path, what in zip(parts, ("tracked poses", "tracked poses", "speech"), strict=True):
        if not path.is_file():
            raise UserError(f"{path}: is missing; it holds the {what}")
    return hashlib.sha256("".join(map(digest_file, parts)).encode()).hexdigest()


def _numbered(folder: Path) -> list[Path]:
    found = {int(path.stem): path for path in folder.glob("*.jpg") if re.fullmatch(r"\d+", path.stem)}
    if not found:
        raise UserError(f"{folder}: holds no numbered .jpg pictures; give the folder that contains ori_imgs")
    missing = sorted(set(range(len(found))) - set(found))
    if missing:
        raise UserError(f"{folder}: pictures must be numbered from 0 without gaps; {missing[0]}.jpg is missing")
    return [found[index] for index in range(len(found))]


def _picture_size(path: Path) -> int:
    height, width = read_picture(path).shape[:2]
    if height != width or height % 2:
        raise UserError(f"{path}: is {width} x {height}; pictures must be square with an even side")
    return height


def _read_cameras(folder: Path, count: int) -> _Cameras:
    """Cameras of so many pictures. Raises: UserError when a file is damaged."""
    rotation, translation = np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3))
    known = np.zeros(count, bool)
    first: tuple[float, ...] = ()
    for name in TRANSFORMS:
        try:
            content = json.loads((folder / name).read_text())
            entries = [
                (int(entry["img_id"]), np.array(entry["transform_matrix"], float)) for entry in content["frames"]
            ]
            first = first or tuple(float(content[key]) for key in ("focal_len", "cx", "cy"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder / name}: is damaged ({error!r})") from error
        for frame, matrix in entries:
            if not 0 <= frame < count or matrix.shape != (4, 4) or not np.isfinite(matrix).all():
                raise UserError(f"{folder / name}: frame {frame} has no picture or no 4x4 matrix")
            rotation[frame], translation[frame] = from_transform(matrix)
            known[frame] = True
    focal, *center = first
    return _Cameras(*_without_slip(folder, Poses(rotation, translation), known), focal, (center[0], center[1]))


def _without_slip(folder: Path, poses: Poses, known: Array) -> tuple[Poses, Array]:
    """Some trackers skip frames without landmarks but number their poses on; put such poses back to their pictures."""
    landmarks = sorted(int(path.stem) for path in (folder / "ori_imgs").glob("*.lms") if path.stem.isdigit())
    count = int(known.sum())
    if 0 < len(landmarks) == count < len(known) and known[:count].all():
        moved = np.zeros_like(known)
        moved[landmarks] = True
        rotation, translation = np.tile(np.eye(3), (len(known), 1, 1)), np.zeros_like(poses.translation)
        rotation[moved], translation[moved] = poses.rotation[:count], poses.translation[:count]
        return Poses(rotation, translation), moved
    return poses, known


def _import_frames(folder: Path, frames: list[Path], pictures: TakeFolder, progress: Progress) -> tuple[Array, Array]:
    landmarks, found = np.zeros((len(frames), POINTS, 3)), np.zeros(len(frames), bool)
    profiles = np.zeros((len(frames), SAMPLES, 3), np.uint8)
    detector = open_detector("torch", torch.device("cpu"))
    for index, path in enumerate(frames):
        shutil.copy(path, pictures.frame_path(index))
        picture = np.ascontiguousarray(read_picture(path)[..., ::-1])
        points = detector.landmarks(picture[None])[0]
        if points is not None:
            found[index], landmarks[index], profiles[index] = True, points, sample_profile(picture, points)
        matte = _matte_from_parsing(folder / "parsing" / f"{index}.png", picture.shape[0])
        if matte is None:
            matte = refine_matte(picture, detector.masks(picture[None])[0])
        pictures.write_matte(index, matte)
        progress("import", index + 1, len(frames))
    detector.close()
    return refine_lips(landmarks, profiles, found.astype(np.float64)), found


def _matte_from_parsing(path: Path, size: int) -> Array | None:
    """255 where the parsing, in the colours of any of the family, is not the background's white."""
    parsing = read_picture(path) if path.exists() else None
    if parsing is None or parsing.shape[:2] != (size, size):
        return None
    return np.where((parsing == 255).all(-1), 0, 255).astype(np.uint8)


def _import_track(landmarks: Array, found: Array, cameras: _Cameras, size: int, *, ours: bool) -> Track:
    filled, confidence = fill_gaps(torch.from_numpy(landmarks).float(), torch.from_numpy(found & cameras.known))
    space, weight, camera = load_space(), confidence.double().numpy(), Camera(cameras.focal, size)
    poses = cameras.poses
    if not ours:
        own, _ = fit_poses(filled.numpy(), weight, space, camera)
        poses = in_our_head_frame(poses, own, weight > 0.9)
    return fit_to_poses(filled, confidence, space, poses, camera, fps=FPS)


def in_our_head_frame(poses: Poses, own: Poses, good: Array) -> Poses:
    """Foreign poses with their head frame exchanged for ours by one constant rotation, shift and scale.

    These are found from our own poses of the frames that are good [T] bool. A head frame is a convention: where its
    origin lies and how it is tilted in the head shows in no picture.
    """
    u, _, v = np.linalg.svd(np.einsum("tji,tjk->ik", poses.rotation[good], own.rotation[good]))
    constant = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
    design = np.concatenate([poses.rotation[good].reshape(-1, 3), poses.translation[good].reshape(-1, 1)], 1)
    fitted = np.linalg.lstsq(design, own.translation[good].reshape(-1), rcond=None)[0]
    return Poses(poses.rotation @ constant, poses.translation * fitted[3] + poses.rotation @ fitted[:3])


def _read_plate(folder: Path, size: int) -> Array:
    """The background [S, S, 3] uint8 RGB; the lossless one where the folder is ours."""
    for name in ("background.png", "bc.jpg"):
        plate = read_picture(folder / name) if (folder / name).exists() else None
        if plate is not None and plate.shape[:2] == (size, size):
            return cv2.cvtColor(plate, cv2.COLOR_BGR2RGB)
    raise UserError(f"{folder / 'bc.jpg'}: is missing or not of the pictures' size; it holds the background")


def _import_sound(folder: Path, part: Path, track: Track, open_sync: OpenSync | None) -> Sound:
    samples = torch.cat(list(read_speech(folder / "aud.wav")))
    sound = prepare_sound(samples, track, open_sync(samples) if open_sync else None)
    write_wav(part / "audio.wav", sound.samples)
    return sound
