"""make_take: video -> Take folder. Frames flow through in batches, so memory does not grow with length."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import cv2
import numpy as np
import torch

from avatar.core.files import UserError, check_readable, check_writable, digest_file
from avatar.core.geometry import Camera
from avatar.core.media import (
    SAMPLE_RATE,
    WHOLE,
    Stretch,
    VideoInfo,
    probe,
    read_speech,
    read_still,
    read_video,
    write_wav,
)
from avatar.core.motion_space import load_space
from avatar.core.progress import Progress, no_progress
from avatar.core.take import Span, Take, Track, open_take, save_track, split_frames, with_holdout, write_take
from preprocess.camera_motion import camera_motion
from preprocess.checks import check_faces, measure_track
from preprocess.crop import choose_crop, find_faces, pick_face, round_crop
from preprocess.fit import Texture
from preprocess.look import QUALITY, Seen, look, look_again, write_picture
from preprocess.matte import make_plate
from preprocess.mouth import refine_lips
from preprocess.report import write_report
from preprocess.select import leave_out_repeats
from preprocess.sound import PredictArticulation, study_sound
from preprocess.spans import covered, find_bad_spans, find_other_shots, has_caption, same_shot
from preprocess.torso import with_torso
from preprocess.trackers import TRACKERS, LandmarkDetector, TaskDetector

FPS = 25.0
PLATE_VIEWS = 60

Array = np.ndarray
Crop = tuple[float, float, float]


NOT_STATED = "not stated"


@dataclass(frozen=True)
class TakeRequest:
    """What a Take is to be made with."""

    tracker: str = "facemesh"
    face: str = "auto"
    size: int = 512
    consent: str = NOT_STATED  # who agreed to what; it travels with the take and every avatar made of it
    stretch: Stretch = WHOLE  # the part of the clip to use
    seconds: float | None = None  # train on about so many, the most informative ones
    landmarker: Path | None = None  # a MediaPipe Tasks `.task` file to find landmarks with

    def __post_init__(self) -> None:
        if self.size % 16:
            raise UserError(
                f"--size: {self.size} is not a multiple of 16, as films need it; try {self.size // 16 * 16}"
            )

    def record(self) -> dict[str, str]:
        """All but the consent as plain text, as a Take remembers it: another record is another Take."""
        return {
            "tracker": self.tracker,
            "face": self.face,
            "size": str(self.size),
            "start": f"{self.stretch.start:g}",
            "stop": "" if self.stretch.stop is None else f"{self.stretch.stop:g}",
            "select": "" if self.seconds is None else f"{self.seconds:g}",
            "landmarker": "" if self.landmarker is None else digest_file(self.landmarker)[:16],
        }


def make_take(
    video: Path,
    out: Path,
    request: TakeRequest | None = None,
    *,
    holdout: float = 0.1,
    predict: PredictArticulation | None = None,
    progress: Progress = no_progress,
) -> Take:
    """Preprocess a clip into a Take folder, written whole or not at all.

    A finished Take of the same clip and settings is used again; a killed run goes on after its last finished stage.
    predict: articulation from sound (`avatar.motion.articulation`); without it sound and picture are taken to be in time.
    Raises: UserError for anything wrong with the clip or the output place.
    """
    request, report = request or TakeRequest(), progress
    info = probe(video)
    if not info.has_video:
        raise UserError(f"{video}: has no picture; give a video")
    if request.tracker not in TRACKERS:
        raise UserError(f"tracker '{request.tracker}' is unknown; choose one of {', '.join(TRACKERS)}")
    if request.landmarker:
        check_readable(request.landmarker, "landmarker")
    info = request.stretch.within(info, str(video))
    source = {"name": video.name, "sha256": digest_file(video), "fps": f"{info.fps:g}", "consent": request.consent}
    if out.exists():
        return _existing(out, source, request.record(), holdout)
    key = json.dumps([source["sha256"], request.record()])
    check_writable(out)
    part = out.with_name(f".{out.name}.part")
    _keep_if_same(part, key)
    try:
        boxes = pick_face(find_faces(video, info, request.stretch), request.face, str(video))
        crop = round_crop(choose_crop(boxes, info.width, info.height), request.size)
        seen = look_again(part) or _look(part, video, request, crop, round(info.seconds * FPS), report)
        check_faces(seen.found, seen.landmarks, FPS, str(video), scale=crop[2] / request.size)
        clip = _Clip(video, info, part, request, source, crop, *split_frames(len(seen.found), holdout))
        track = _finish(clip, seen, predict, report)
        del seen  # an hour of it is large, and so is what comes now
        save_track(track, part / "track.safetensors")
    except UserError:
        shutil.rmtree(part, ignore_errors=True)  # nothing of it can be used again
        raise
    for name in ("pass.npz", "key.json"):
        (part / name).unlink()
    part.rename(out)
    return open_take(out)


def _existing(out: Path, source: dict[str, str], record: dict[str, str], holdout: float) -> Take:
    """A Take that is there already, if it is the one that is asked for. Raises: UserError naming the difference."""
    take = open_take(out) if (out / "take.json").exists() else None
    if take is None or take.source.get("sha256") != source["sha256"]:
        raise UserError(f"{out}: exists and is not a take of {source['name']}; remove it or choose another name")
    for name, asked in record.items():
        if (made := take.request.get(name, asked)) != asked:
            raise UserError(
                f"{out}: exists and was made with {name} '{made}', not '{asked}'; "
                "remove it, choose another name, or give the take itself"
            )
    return with_holdout(state_consent(take, source["consent"]), holdout)


def state_consent(take: Take, consent: str) -> Take:
    """The Take with a consent that was not stated before, on disk too; one that was stated is not replaced.

    Raises: UserError when another consent was stated.
    """
    stated = take.source.get("consent", NOT_STATED)
    if consent in (stated, NOT_STATED):
        return take
    if stated != NOT_STATED:
        raise UserError(f"{take.root}: states the consent '{stated}', not '{consent}'; make another take for it")
    write_take(take := replace(take, source=take.source | {"consent": consent}), take.root)
    return take


def _keep_if_same(part: Path, key: str) -> None:
    """Keep the leftovers of a killed run only if they belong to the same clip and settings."""
    note = part / "key.json"
    if not note.exists() or note.read_text() != key:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        note.write_text(key)


def _look(part: Path, video: Path, request: TakeRequest, crop: Crop, expected: int, report: Progress) -> Seen:
    frames = read_video(video, size=request.size, crop=crop, fps=FPS, stretch=request.stretch)
    detector = TaskDetector(request.landmarker, FPS) if request.landmarker else LandmarkDetector()
    return look(frames, expected, part, detector, report)


@dataclass(frozen=True)
class _Clip:
    """What is made into a Take, and where."""

    video: Path
    info: VideoInfo
    part: Path
    request: TakeRequest
    source: dict[str, str]
    crop: Crop
    train: range
    test: range

    def read_still(self, seconds: float) -> Array:
        """The whole frame at a time."""
        return read_still(self.video, self.info, seconds, stretch=self.request.stretch)

    def read_sound(self) -> torch.Tensor:
        """The sound [n]; nothing where there is none."""
        if not self.info.has_audio:
            return torch.zeros(0)
        samples, count = torch.zeros(ceil(self.info.seconds * SAMPLE_RATE)), 0
        for chunk in read_speech(self.video, stretch=self.request.stretch):
            if count + len(chunk) > len(samples):  # longer than the file says
                samples = torch.cat([samples, torch.zeros(len(samples) // 4 + len(chunk))])
            samples[count : count + len(chunk)] = chunk
            count += len(chunk)
        return samples[:count]


def _finish(clip: _Clip, seen: Seen, predict: PredictArticulation | None, report: Progress) -> Track:
    """Everything but the track is written; that is returned."""
    report("fit", 0, 3)
    part, size = clip.part, clip.request.size
    same_place = np.flatnonzero(~covered(find_other_shots(seen.descriptions), len(seen.found))[: clip.train.stop])
    with ThreadPoolExecutor(1) as beside:
        plate_made = beside.submit(lambda: make_plate(_views(part, same_place), size))
        track, focal, reference = _fit(clip, seen, same_place, report)
    plate, plate_seen = plate_made.result()
    write_picture(part / "background.png", plate)
    write_picture(part / "frame.jpg", clip.read_still(reference / FPS), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    sound = study_sound(clip.read_sound(), track.landmarks, track.confidence, FPS, predict)
    if len(sound.samples):
        write_wav(part / "audio.wav", sound.samples)
    bad = find_bad_spans(seen.descriptions, seen.patches, track) + sound.spans
    quality = measure_track(track, bad) | sound.quality
    quality |= {"plate_seen": plate_seen, "camera_px": _camera(part, clip.train, bad)}
    quality["captions"] = float(has_caption(seen.descriptions).mean())
    camera, spans = Camera(focal, size), _leave_out(bad, track, clip.request.seconds)
    take = Take(
        root=part,
        fps=FPS,
        length=len(track),
        camera=camera,
        crop=clip.crop,
        train=clip.train,
        test=clip.test,
        excluded=spans,
        source=clip.source,
        request=clip.request.record(),
        quality=quality,
        space_id=load_space().id,
    )
    write_take(take, part)
    write_report(take, track, sound.level)
    report("fit", 3, 3)
    return track


def _fit(clip: _Clip, seen: Seen, same_place: Array, report: Progress) -> tuple[Track, float, int]:
    """The track, the focal length in px and the torso's reference frame."""
    part, size, read = clip.part, clip.request.size, _grey_reader(clip.part)
    texture = Texture(read, same_shot(seen.descriptions))
    weight = seen.found.astype(np.float32)
    landmarks, found = refine_lips(seen.landmarks, seen.profiles, weight), torch.from_numpy(seen.found)
    fit = TRACKERS[clip.request.tracker]
    track, focal = fit(torch.from_numpy(landmarks), found, load_space(), size=size, fps=FPS, texture=texture)
    report("fit", 1, 3)
    track, reference = with_torso(track, same_place, read, functools.partial(_read_matte, part))
    report("fit", 2, 3)
    return track, focal, reference


def _leave_out(bad: list[Span], track: Track, seconds: float | None) -> tuple[Span, ...]:
    """Bad spans, and what is left out to train on the most informative seconds only."""
    repeats = [] if seconds is None else leave_out_repeats(track, ~covered(bad, len(track)), seconds)
    return tuple(sorted([*bad, *repeats], key=lambda span: span.start))


def _read(part: Path, frame: int) -> Array:
    return cv2.cvtColor(cv2.imread(str(part / "frames" / f"{frame:06d}.jpg")), cv2.COLOR_BGR2RGB)


def _grey_reader(part: Path) -> Callable[[int], Array]:
    """Reads grey frames; the last ones are kept, as neighbours are compared."""

    @functools.lru_cache(maxsize=64)
    def read(frame: int) -> Array:
        return cv2.imread(str(part / "frames" / f"{frame:06d}.jpg"), cv2.IMREAD_GRAYSCALE)

    return read


def _read_matte(part: Path, frame: int) -> Array:
    return cv2.imread(str(part / "mattes" / f"{frame:06d}.png"), cv2.IMREAD_GRAYSCALE)


def _camera(part: Path, train: range, spans: Sequence[Span]) -> float:
    free = np.flatnonzero(~covered(spans, train.stop + 1)[train.start : train.stop]) + train.start
    return camera_motion(_grey_reader(part), functools.partial(_read_matte, part), free)


def _views(part: Path, frames: Array) -> Iterator[tuple[Array, Array]]:
    for frame in np.unique(frames[np.linspace(0, len(frames) - 1, PLATE_VIEWS).round().astype(int)]).tolist():
        yield _read(part, frame), _read_matte(part, frame)
