"""make_take: video -> Take folder. Frames flow through in batches, so memory does not grow with length."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from math import ceil
from pathlib import Path

import cv2
import numpy as np
import torch

from avatar.core.files import UserError, digest_file, plain_text
from avatar.core.geometry import Camera
from avatar.core.media import (
    SAMPLE_RATE,
    VideoInfo,
    find_speech,
    is_cut_short,
    measure,
    probe,
    read_speech,
    read_still,
    write_wav,
)
from avatar.core.motion_space import load_space
from avatar.core.progress import Progress, no_progress
from avatar.core.stages import Stages
from avatar.core.sync import OpenSync
from avatar.core.take import Span, Take, Track, open_take, save_track, split_frames, write_take
from preprocess import first_pass
from preprocess.camera_motion import camera_motion
from preprocess.checks import check_faces, measure_track
from preprocess.crop import choose_crop, find_faces, pick_face, round_crop
from preprocess.detectors import PersonDetector, open_detector, open_landmarker
from preprocess.first_pass import FrameObservations, Networks
from preprocess.fit import Texture
from preprocess.matte import make_plate
from preprocess.mouth import refine_lips
from preprocess.reading import read_frames
from preprocess.report import write_report
from preprocess.request import TakeRequest, reuse_take
from preprocess.select import leave_out_repeats
from preprocess.sound import Sound, prepare_sound
from preprocess.spans import covered, find_bad_spans, find_other_shots, has_caption, same_shot
from preprocess.take_folder import JPEG_QUALITY, TakeFolder, resumable, write_picture
from preprocess.torso import with_torso
from preprocess.trackers import fit_landmarks

FPS = 25.0
PLATE_VIEWS = 60  # frames that the plate is the median of: they are in memory together
FIT_STEPS = 3  # that progress is reported in: poses, torso, the rest

CPU = torch.device("cpu")

Array = np.ndarray
Crop = tuple[float, float, float]


def make_take(
    video: Path,
    out: Path,
    request: TakeRequest | None = None,
    *,
    holdout: float = 0.1,
    open_sync: OpenSync | None = None,
    device: torch.device = CPU,
    progress: Progress = no_progress,
    stages: Stages | None = None,
) -> Take:
    """Preprocess a clip into a Take folder, written whole or not at all.

    A finished Take of the same clip and request is used again; a killed run goes on after its last finished stage.
    holdout: the share of frames, at the end, that are for testing.
    open_sync: the sync expert (`avatar.motion.sync`); without it, sound and picture are taken as in time.
    device: where networks run; stages: counts the time of each.
    Raises: UserError for anything wrong with the clip or the output place, and for a finished Take of another request.
    """
    request, stages = request or TakeRequest(), stages or Stages()
    info = probe(video)
    if not info.has_video:
        raise UserError(f"{video}: has no picture; give a video")
    detector = open_detector(request.tracker, device)
    source = {
        "name": plain_text(video.name),
        "sha256": digest_file(video),
        "fps": f"{info.fps:g}",
        "consent": request.consent,
    }
    if out.exists():
        return reuse_take(out, source, request.record(), holdout)
    announced, info = info.seconds, request.stretch.within(measure(video, info), str(video))
    key = json.dumps([version("avatar-builder"), source["sha256"], request.record()])
    with resumable(out, key) as part:
        with stages.time("find face"):
            boxes = pick_face(find_faces(video, info, detector, request.stretch), request.face, str(video))
        crop = round_crop(choose_crop(boxes, info.width, info.height), request.size)
        observations = first_pass.load_observations(part)
        if observations is None:
            with stages.time("landmarks and mattes"):
                observations = _observe(video, info, request, crop, TakeFolder(part), detector, progress)
        seen = observations.found
        read = request.stretch.start + len(seen) / FPS
        wanted = min(announced, request.stretch.stop or announced)
        missing = announced if is_cut_short(video, info, wanted, read) else 0.0
        check_faces(seen, observations.landmarks, FPS, str(video), scale=crop[2] / request.size)
        train, test = split_frames(len(seen), holdout)
        clip = _Clip(video, info, TakeFolder(part), request, source, crop, missing, train, test, stages)
        track = _finish(clip, observations, open_sync, progress)
        del observations  # an hour of them is large, and so is what comes now
        save_track(track, part / "track.safetensors")
        (part / first_pass.FILE).unlink()
    return open_take(out)


def _observe(
    video: Path,
    info: VideoInfo,
    request: TakeRequest,
    crop: Crop,
    folder: TakeFolder,
    detector: PersonDetector,
    progress: Progress,
) -> FrameObservations:
    frames = read_frames(video, info, size=request.size, crop=crop, fps=FPS, stretch=request.stretch)
    landmarks = open_landmarker(request.landmarker, FPS).landmarks if request.landmarker else detector.landmarks
    networks = Networks(landmarks, detector.masks, detector.batch)
    observations = first_pass.observe(frames, round(info.seconds * FPS), folder, networks, progress)
    detector.close()
    first_pass.save_observations(observations, folder.root)
    return observations


@dataclass(frozen=True)
class _Clip:
    """What is made into a Take, and where."""

    video: Path
    info: VideoInfo
    folder: TakeFolder
    request: TakeRequest
    source: dict[str, str]
    crop: Crop
    announced: float  # s, where the file holds less than it says; else 0
    train: range
    test: range
    stages: Stages

    def read_still(self, seconds: float) -> Array:
        """The whole frame at a time."""
        return read_still(self.video, self.info, seconds, stretch=self.request.stretch)

    def read_sound(self) -> torch.Tensor:
        """The sound [n]; nothing where there is none."""
        if not self.info.has_audio:
            return torch.zeros(0)
        samples, count = torch.zeros(ceil(self.info.seconds * SAMPLE_RATE)), 0
        sound = find_speech(self.video, track=self.request.audio_track, stretch=self.request.stretch)
        for chunk in read_speech(sound, check_length=False):  # the picture's was checked
            if count + len(chunk) > len(samples):  # longer than the file says
                samples = torch.cat([samples, torch.zeros(len(samples) // 4 + len(chunk))])
            samples[count : count + len(chunk)] = chunk
            count += len(chunk)
        return samples[:count]


def _finish(clip: _Clip, observations: FrameObservations, open_sync: OpenSync | None, progress: Progress) -> Track:
    """Write everything but the track, which is returned."""
    progress("fit", 0, FIT_STEPS)
    folder, part, size = clip.folder, clip.folder.root, clip.request.size
    other_shots = covered(find_other_shots(observations.descriptions), len(observations.found))
    same_place = np.flatnonzero(~other_shots[: clip.train.stop])
    with ThreadPoolExecutor(2) as beside:
        plate_made = beside.submit(lambda: make_plate(_views(folder, same_place), size))
        samples = beside.submit(clip.read_sound)
        opened = beside.submit(lambda: open_sync(samples.result())) if open_sync else None
        track, camera, reference = _fit(clip, observations, same_place, progress)
        with clip.stages.time("background"):
            plate, plate_seen = plate_made.result()
            write_picture(part / "background.png", plate)
            still = clip.read_still(reference / FPS)
            write_picture(part / "frame.jpg", still, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        with clip.stages.time("sound"):
            sound = prepare_sound(samples.result(), track, opened.result() if opened else None)
            if len(sound.samples):
                write_wav(part / "audio.wav", sound.samples)
    with clip.stages.time("report"):
        _describe(clip, observations, track, camera, sound, plate_seen)
    progress("fit", FIT_STEPS, FIT_STEPS)
    return track


def _describe(
    clip: _Clip, observations: FrameObservations, track: Track, camera: Camera, sound: Sound, plate_seen: float
) -> None:
    """Write what the Take is, and its report."""
    folder, part = clip.folder, clip.folder.root
    bad = find_bad_spans(observations.descriptions, observations.patches, track) + sound.spans
    quality = measure_track(track, bad) | sound.quality
    quality |= {"plate_seen": plate_seen, "camera_px": _camera_motion(folder, clip.train, bad)}
    quality["captions"] = float(has_caption(observations.descriptions).mean())
    if clip.announced:
        quality |= {"announced_seconds": clip.announced, "read_seconds": len(track) / FPS}
    take = Take(
        root=part,
        fps=FPS,
        length=len(track),
        camera=camera,
        crop=clip.crop,
        train=clip.train,
        test=clip.test,
        excluded=_leave_out(bad, track, clip.request.seconds),
        source=clip.source,
        request=clip.request.record(),
        quality=quality,
        space_id=load_space().id,
    )
    write_take(take, part)
    write_report(take, track, sound.level)


def _fit(
    clip: _Clip, observations: FrameObservations, same_place: Array, progress: Progress
) -> tuple[Track, Camera, int]:
    """The track, its camera and the torso's reference frame."""
    read, found = clip.folder.grey_reader(), observations.found
    texture = Texture(read, same_shot(observations.descriptions))
    with clip.stages.time("poses and expression"):
        landmarks = refine_lips(observations.landmarks, observations.profiles, found.astype(np.float32))
        track, camera = fit_landmarks(
            torch.from_numpy(landmarks),
            torch.from_numpy(found),
            load_space(),
            size=clip.request.size,
            fps=FPS,
            texture=texture,
        )
    progress("fit", 1, FIT_STEPS)
    with clip.stages.time("shoulders"):
        track, reference = with_torso(track, same_place, read, clip.folder.read_matte)
    progress("fit", 2, FIT_STEPS)
    return track, camera, reference


def _leave_out(bad: list[Span], track: Track, seconds: float | None) -> tuple[Span, ...]:
    """Bad spans, and what is left out to train on the most informative seconds only."""
    repeats = [] if seconds is None else leave_out_repeats(track, ~covered(bad, len(track)), seconds)
    return tuple(sorted([*bad, *repeats], key=lambda span: span.start))


def _camera_motion(folder: TakeFolder, train: range, spans: Sequence[Span]) -> float:
    free = np.flatnonzero(~covered(spans, train.stop + 1)[train.start : train.stop]) + train.start
    return camera_motion(folder.grey_reader(), folder.read_matte, free)


def _views(folder: TakeFolder, frames: Array) -> Iterator[tuple[Array, Array]]:
    for frame in np.unique(frames[np.linspace(0, len(frames) - 1, PLATE_VIEWS).round().astype(int)]).tolist():
        yield folder.read_frame(frame), folder.read_matte(frame)
