"""make_take: video -> Take folder. Frames flow through in batches, so memory does not grow with length."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from math import ceil
from pathlib import Path

import cv2
import numpy as np
import torch

from avatar.core.consent import check_source
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
from avatar.core.take import Framing, Span, Take, Track, open_take, save_track, split_frames, write_take
from preprocess import first_pass
from preprocess.checks import check_faces, measure_track
from preprocess.crop import find_faces, pick_face
from preprocess.detectors import PersonDetector, open_detector, open_landmarker
from preprocess.first_pass import FrameObservations, Networks
from preprocess.fit import Texture
from preprocess.framings import find_framings, main_crop, number_framings
from preprocess.mouth import refine_lips
from preprocess.mouth_cover import find_covered_mouths
from preprocess.plate import Plate, find_plate
from preprocess.reading import read_framings
from preprocess.report import write_report
from preprocess.request import TakeRequest, reuse_take
from preprocess.select import leave_out_repeats
from preprocess.sound import Sound, prepare_sound
from preprocess.spans import MOUTH_COVERED, covered, find_bad_spans, find_other_shots, has_caption, same_shot
from preprocess.take_folder import JPEG_QUALITY, TakeFolder, resumable, write_picture
from preprocess.torso import with_torso
from preprocess.trackers import fit_landmarks

FPS = 25.0
FIT_STEPS = 3  # that progress is reported in: poses, torso, the rest

CPU = torch.device("cpu")

Array = np.ndarray


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
    check_source(request.consent, source["sha256"], str(video))
    if out.exists():
        return reuse_take(out, source, request.record(), holdout)
    announced, info = info.seconds, request.stretch.within(measure(video, info), str(video))
    key = json.dumps([version("avatar-builder"), source["sha256"], request.record()])
    with resumable(out, key) as part:
        with stages.time("find face"):
            looks = pick_face(find_faces(video, info, detector, request.stretch), request.face, str(video))
            framings = find_framings(video, info, looks, size=request.size_of, fps=FPS, stretch=request.stretch)
            size = request.size_of(main_crop(framings)[2])
        observations = first_pass.load_observations(part)
        if observations is None:
            with stages.time("landmarks and mattes"):
                observations = _observe(video, info, request, framings, size, TakeFolder(part), detector, progress)
        seen = observations.found
        read = request.stretch.start + len(seen) / FPS
        wanted = min(announced, request.stretch.stop or announced)
        missing = announced if is_cut_short(video, info, wanted, read) else 0.0
        check_faces(seen, FPS, str(video))
        train, test = split_frames(len(seen), holdout)
        clip = _Clip(video, info, TakeFolder(part), request, source, framings, size, missing, train, test, stages)
        track = _finish(clip, observations, open_sync, progress)
        del observations  # an hour of them is large, and so is what comes now
        save_track(track, part / "track.safetensors")
        (part / first_pass.FILE).unlink()
    return open_take(out)


def _observe(
    video: Path,
    info: VideoInfo,
    request: TakeRequest,
    framings: tuple[Framing, ...],
    size: int,
    folder: TakeFolder,
    detector: PersonDetector,
    progress: Progress,
) -> FrameObservations:
    frames = read_framings(video, info, framings, size=size, fps=FPS, stretch=request.stretch)
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
    framings: tuple[Framing, ...]
    size: int  # px a side
    announced: float  # s, where the file holds less than it says; else 0
    train: range
    test: range
    stages: Stages

    def number_framings(self, length: int) -> Array:
        """Which framing each of so many frames has [T], 0 for the usual one."""
        return number_framings(self.framings, length)

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


@dataclass(frozen=True)
class _Fitted:
    """What was fitted to the frames."""

    track: Track
    camera: Camera
    reference: int  # the frame that the torso's motion is counted from
    held: float  # share of the frames in which the torso was not found


def _finish(clip: _Clip, observations: FrameObservations, open_sync: OpenSync | None, progress: Progress) -> Track:
    """Write everything but the track, which is returned."""
    progress("fit", 0, FIT_STEPS)
    folder, part = clip.folder, clip.folder.root
    framing = clip.number_framings(len(observations.found))
    other_shots = covered(find_other_shots(observations.descriptions, framing), len(framing))
    same_place = np.flatnonzero(~other_shots[: clip.train.stop])
    with ThreadPoolExecutor(2) as beside:
        plate_made = beside.submit(find_plate, folder, same_place, framing)
        samples = beside.submit(clip.read_sound)
        opened = beside.submit(lambda: open_sync(samples.result())) if open_sync else None
        usual = same_place[framing[same_place] == framing[same_place].min()]
        fitted = _fit(clip, observations, usual, progress)
        track = fitted.track
        with clip.stages.time("background"):
            plate = plate_made.result()
            write_picture(part / "background.png", plate.picture)
            still = clip.read_still(fitted.reference / FPS)
            write_picture(part / "frame.jpg", still, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        with clip.stages.time("sound"):
            sound = prepare_sound(samples.result(), track, opened.result() if opened else None)
            if len(sound.samples):
                write_wav(part / "audio.wav", sound.samples)
    with clip.stages.time("report"):
        _describe(clip, observations, fitted, sound, plate)
    progress("fit", FIT_STEPS, FIT_STEPS)
    return track


def _describe(clip: _Clip, observations: FrameObservations, fitted: _Fitted, sound: Sound, plate: Plate) -> None:
    """Write what the Take is, and its report."""
    part, track = clip.folder.root, fitted.track
    framing = clip.number_framings(len(track))
    bad = _find_bad_spans(observations, framing, track) + sound.spans
    quality = measure_track(track, bad) | sound.quality | plate.quality()
    quality["source_eye_px"] = quality["eye_px"] * min(1.0, main_crop(clip.framings)[2] / clip.size)
    quality["mouth_covered"] = float(covered([s for s in bad if s.reason == MOUTH_COVERED], len(track)).mean())
    quality["torso_held"] = fitted.held
    quality["captions"] = float(has_caption(observations.descriptions).mean())
    if clip.announced:
        quality |= {"announced_seconds": clip.announced, "read_seconds": len(track) / FPS}
    take = Take(
        root=part,
        fps=FPS,
        length=len(track),
        camera=fitted.camera,
        crop=main_crop(clip.framings),
        train=clip.train,
        test=clip.test,
        excluded=_leave_out(bad, track, clip.request.seconds),
        source=clip.source,
        request=clip.request.record(),
        quality=quality,
        space_id=load_space().id,
        framings=clip.framings if len(clip.framings) > 1 else (),
    )
    write_take(take, part)
    write_report(take, track, sound.level)


def _fit(clip: _Clip, observations: FrameObservations, usual: Array, progress: Progress) -> _Fitted:
    """What the frames say. usual [N]: those that the torso's reference frame is one of."""
    read, found = clip.folder.grey_reader(), observations.found
    texture = Texture(read, same_shot(observations.descriptions, clip.number_framings(len(found))))
    with clip.stages.time("poses and expression"):
        landmarks = refine_lips(observations.landmarks, observations.profiles, found.astype(np.float32))
        track, camera = fit_landmarks(
            torch.from_numpy(landmarks),
            torch.from_numpy(found),
            load_space(),
            size=clip.size,
            fps=FPS,
            texture=texture,
        )
    progress("fit", 1, FIT_STEPS)
    with clip.stages.time("shoulders"):
        track, reference, held = with_torso(track, usual, read, clip.folder.read_matte)
    progress("fit", 2, FIT_STEPS)
    return _Fitted(track, camera, reference, held)


def _find_bad_spans(observations: FrameObservations, framing: Array, track: Track) -> list[Span]:
    hidden = find_covered_mouths(observations.mouths, observations.skins, track.confidence.numpy() >= 1)
    return find_bad_spans(observations.descriptions, observations.patches, hidden, framing, track)


def _leave_out(bad: list[Span], track: Track, seconds: float | None) -> tuple[Span, ...]:
    """Bad spans, and what is left out to train on the most informative seconds only."""
    repeats = [] if seconds is None else leave_out_repeats(track, ~covered(bad, len(track)), seconds)
    return tuple(sorted([*bad, *repeats], key=lambda span: span.start))
