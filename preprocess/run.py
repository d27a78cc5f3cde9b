"""make_take: video -> Take folder. Frames flow through in batches, so memory does not grow with length."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from avatar.core.files import UserError, check_writable
from avatar.core.geometry import Camera
from avatar.core.media import WHOLE, Stretch, VideoInfo, probe, read_speech, read_video, write_wav
from avatar.core.motion_space import load_space
from avatar.core.take import Span, Take, Track, open_take, save_track, split_frames, with_holdout, write_take
from preprocess.camera_motion import camera_motion
from preprocess.checks import check_faces, describe_frame, find_bad_spans, is_silent, lip_motion, same_shot
from preprocess.crop import choose_crop, find_faces, pick_face
from preprocess.fit import Texture
from preprocess.matte import Matting, make_plate, median_of_three
from preprocess.report import write_report
from preprocess.torso import fit_torso
from preprocess.trackers import TRACKERS, LandmarkDetector

FPS = 25.0
BATCH = 16
QUALITY = 95
PLATE_VIEWS = 60
Progress = Callable[[str, int, int], None]

Array = np.ndarray


@dataclass(frozen=True)
class Seen:
    """What one pass over the frames gave."""

    landmarks: Tensor  # [T, 478, 3] px
    found: Tensor  # [T] bool
    descriptions: Array  # [T, 768], see checks.describe_frame


def make_take(
    video: Path,
    out: Path,
    *,
    tracker: str = "facemesh",
    face: str = "auto",
    size: int = 512,
    holdout: float = 0.1,
    consent: str = "not stated",
    stretch: Stretch = WHOLE,
    progress: Progress | None = None,
) -> Take:
    """Preprocess a clip into a Take folder, written whole or not at all.

    A finished Take of the same clip and settings is used again; a killed run goes on after its last finished stage.
    `consent` says who agreed to what; it travels with the take and every avatar made of it. `stretch` is the part of
    the clip to use.
    Raises: UserError for anything wrong with the clip or the output place.
    """
    report = progress or (lambda stage, done, total: None)
    info = probe(video)
    if not info.has_video:
        raise UserError(f"{video}: has no picture; give a video")
    if tracker not in TRACKERS:
        raise UserError(f"tracker '{tracker}' is unknown; choose one of {', '.join(TRACKERS)}")
    source = {"name": video.name, "sha256": _digest(video), "fps": f"{info.fps:g}", "consent": consent}
    if stretch != WHOLE:
        source["stretch"] = f"{stretch.start:g} {'' if stretch.stop is None else f'{stretch.stop:g}'}".strip()
    info = stretch.within(info, str(video))
    key = json.dumps([source["sha256"], tracker, face, size, source.get("stretch")])
    if out.exists():
        return _existing(out, source, size, holdout)
    check_writable(out)
    part = out.with_name(f".{out.name}.part")
    _keep_if_same(part, key)
    try:
        _fill(part, video, info, stretch, source, tracker, face, size, holdout, report)
    except UserError:
        shutil.rmtree(part, ignore_errors=True)  # nothing of it can be used again
        raise
    part.rename(out)
    return open_take(out)


def _fill(
    part: Path,
    video: Path,
    info: VideoInfo,
    stretch: Stretch,
    source: dict[str, str],
    tracker: str,
    face: str,
    size: int,
    holdout: float,
    report: Progress,
) -> None:
    faces = pick_face(find_faces(video, info, stretch), face, str(video))
    crop = choose_crop(faces, info.width, info.height)
    frames = read_video(video, size=size, crop=crop, fps=FPS, stretch=stretch)
    seen = _load_pass(part) or _look(frames, round(info.seconds * FPS), part, report)
    check_faces(seen.found, seen.landmarks, FPS, str(video), scale=crop[2] / size)
    sound = read_speech(video, stretch=stretch) if info.has_audio else None
    _finish(part, seen, source, tracker, size, crop, holdout, sound, report)
    for name in ("pass.npz", "key.json"):
        (part / name).unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _existing(out: Path, source: dict[str, str], size: int, holdout: float) -> Take:
    take = open_take(out) if (out / "take.json").exists() else None
    same = take is not None and all(take.source.get(key) == source.get(key) for key in ("sha256", "stretch"))
    if take is None or not same or take.camera.size != size:
        raise UserError(
            f"{out}: exists and is not the take of this clip at this size; remove it or choose another name"
        )
    return with_holdout(take, holdout)


def _keep_if_same(part: Path, key: str) -> None:
    """Keep the leftovers of a killed run only if they belong to the same clip and settings."""
    note = part / "key.json"
    if not note.exists() or note.read_text() != key:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        note.write_text(key)


def _look(frames: Iterator[Array], expected: int, part: Path, report: Progress) -> Seen:
    """One pass: write frames and mattes, collect landmarks; each kind of work in its own thread."""
    for name in ("frames", "mattes"):
        (part / name).mkdir(exist_ok=True)
    landmarks: list[Array] = []
    found: list[bool] = []
    descriptions: list[Array] = []
    mattes = _MatteWriter(part / "mattes")
    with (
        LandmarkDetector() as detector,
        ThreadPoolExecutor(1) as mesh,
        ThreadPoolExecutor(1) as cutter,
        ThreadPoolExecutor(1) as writer,
    ):
        waiting: list[list[Future]] = []
        for start, batch in _batches(frames):
            waiting.append(
                [
                    mesh.submit(lambda b: [detector(frame) for frame in b], batch),
                    cutter.submit(mattes.add, batch),
                    writer.submit(_write_frames, part / "frames", start, batch),
                ]
            )
            while len(waiting) > 2:
                _collect(waiting.pop(0), landmarks, found, descriptions)
                report("track", len(found), expected)
        for jobs in waiting:
            _collect(jobs, landmarks, found, descriptions)
        cutter.submit(mattes.close).result()
    report("track", len(found), len(found))
    seen = Seen(torch.from_numpy(np.stack(landmarks)).float(), torch.tensor(found), np.stack(descriptions))
    np.savez(part / "pass.npz", landmarks=seen.landmarks, found=seen.found, descriptions=seen.descriptions)
    return seen


def _collect(jobs: list[Future], landmarks: list, found: list, descriptions: list) -> None:
    for points in jobs[0].result():
        found.append(points is not None)
        landmarks.append(np.zeros((478, 3)) if points is None else points)
    jobs[1].result()
    descriptions.extend(jobs[2].result())


def _batches(frames: Iterator[Array]) -> Iterator[tuple[int, list[Array]]]:
    batch: list[Array] = []
    start = 0
    for frame in frames:
        batch.append(frame)
        if len(batch) == BATCH:
            yield start, batch
            start, batch = start + BATCH, []
    if batch:
        yield start, batch


def _write_frames(folder: Path, start: int, batch: list[Array]) -> list[Array]:
    for index, frame in enumerate(batch, start):
        _write_image(folder / f"{index:06d}.jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return [describe_frame(frame) for frame in batch]


def _write_image(path: Path, image: Array, options: list[int]) -> None:
    if not cv2.imwrite(str(path), image, options):
        raise OSError(28, "cannot be written, is the disk full?", str(path))


class _MatteWriter:
    """Mattes of frames in order, each the median of itself and its neighbours."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._network = Matting()
        self._last: list[Array] = []
        self._count = 0

    def add(self, batch: list[Array]) -> None:
        for frame in batch:
            matte = self._network(frame)
            if not self._last:
                self._last = [matte, matte]
                continue
            before, now = self._last
            self._write(median_of_three(before, now, matte))
            self._last = [now, matte]

    def close(self) -> None:
        if self._last:
            self._write(self._last[1])
        self._network.close()

    def _write(self, matte: Array) -> None:
        _write_image(self._folder / f"{self._count:06d}.png", matte, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        self._count += 1


def _load_pass(part: Path) -> Seen | None:
    path = part / "pass.npz"
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as data:
        return Seen(torch.from_numpy(data["landmarks"]), torch.from_numpy(data["found"]), data["descriptions"])


def _finish(
    part: Path,
    seen: Seen,
    source: dict[str, str],
    tracker: str,
    size: int,
    crop: tuple[float, float, float],
    holdout: float,
    sound: Iterator[Tensor] | None,
    report: Progress,
) -> None:
    report("fit", 0, 3)
    length = len(seen.found)
    train, test = split_frames(length, holdout)
    with ThreadPoolExecutor(1) as beside:
        plate_made = beside.submit(lambda: make_plate(_views(part, train, size), size))
        track, focal = _fit(part, seen, tracker, size, train, report)
    plate, plate_seen = plate_made.result()
    _write_image(part / "background.png", plate[..., ::-1], [])
    rms = 0.0
    if sound:
        audio = torch.cat(list(sound))
        write_wav(part / "audio.wav", audio)
        rms = 0.0 if is_silent(audio) else float(audio.square().mean().sqrt())
    save_track(track, part / "track.safetensors")
    spans = tuple(find_bad_spans(seen.descriptions, track))
    quality = _measure(track, spans, plate_seen, rms) | {"camera_px": _camera(part, train, spans)}
    take = Take(part, FPS, length, Camera(focal, size), crop, train, test, spans, source, quality)
    write_take(take, part)
    write_report(take, track)
    report("fit", 3, 3)


def _fit(part: Path, seen: Seen, tracker: str, size: int, train: range, report: Progress) -> tuple[Track, float]:
    read = _grey_reader(part)
    texture = Texture(read, same_shot(seen.descriptions))
    track, focal = TRACKERS[tracker](seen.landmarks, seen.found, load_space(), size=size, fps=FPS, texture=texture)
    report("fit", 1, 3)
    track = _with_torso(track, part, read, train)
    report("fit", 2, 3)
    return track, focal


def _read(part: Path, frame: int) -> Array:
    image = cv2.imread(str(part / "frames" / f"{frame:06d}.jpg"))
    return np.ascontiguousarray(image[..., ::-1])


def _grey_reader(part: Path) -> Callable[[int], Array]:
    """Reads grey frames; the last ones are kept, as neighbours are compared."""

    @functools.lru_cache(maxsize=64)
    def read(frame: int) -> Array:
        return cv2.imread(str(part / "frames" / f"{frame:06d}.jpg"), cv2.IMREAD_GRAYSCALE)

    return read


def _read_matte(part: Path, frame: int) -> Array:
    return cv2.imread(str(part / "mattes" / f"{frame:06d}.png"), cv2.IMREAD_GRAYSCALE)


def _with_torso(track: Track, part: Path, read: Callable[[int], Array], train: range) -> Track:
    turn = track.rotation[train.start : train.stop].flatten(1)
    reference = train[int((turn - turn.median(0).values).square().sum(1).argmin())]
    matte, landmarks = _read_matte(part, reference), track.landmarks.numpy()
    torso = fit_torso(read, matte, landmarks, reference)
    values = {name: getattr(track, name) for name in track.__dataclass_fields__}
    return Track(**(values | {"torso": torch.from_numpy(torso).float()}))


def _camera(part: Path, train: range, spans: Sequence[Span]) -> float:
    out = {frame for span in spans for frame in range(span.start, span.stop)}
    frames = np.array([frame for frame in train if frame not in out], int)
    return camera_motion(_grey_reader(part), lambda frame: _read_matte(part, frame), frames)


def _views(part: Path, train: range, size: int) -> Iterator[tuple[Array, Array]]:
    for frame in np.unique(np.linspace(train.start, train.stop - 1, PLATE_VIEWS).round().astype(int)).tolist():
        yield _read(part, frame), _read_matte(part, frame)


def _measure(track: Track, spans: tuple, plate_seen: float, rms: float) -> dict[str, float]:
    out = {frame for span in spans for frame in range(span.start, span.stop)}
    eyes = (track.landmarks[:, 33, :2] - track.landmarks[:, 263, :2]).norm(dim=-1)
    yaw = torch.rad2deg(torch.asin(track.rotation[:, 0, 2].clamp(-1, 1)).abs())
    return {
        "usable": 1 - len(out) / len(track),
        "seconds": (len(track) - len(out)) / track.fps,
        "eye_px": float(eyes.median()),
        "yaw_degrees": float(yaw.quantile(0.99)),
        "plate_seen": plate_seen,
        "sound_rms": rms,
        "face_found": float((track.confidence > 0.3).float().mean()),
        "lip_motion": lip_motion(track.landmarks, track.confidence),
    }
