"""How good an avatar is, on frames it never saw. Always says which mode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.core.bundle import Avatar
from avatar.core.controls import Controls
from avatar.core.files import UserError, whole
from avatar.core.lips import CURVES, best_correlation, lip_curves, protrusion_curve
from avatar.core.motion_space import Motion, concatenate, load_space
from avatar.core.page import to_curve, to_picture, to_table, write_page
from avatar.core.take import Take, Track, read_audio, read_frames, read_track
from avatar.metrics import (
    METRICS,
    Score,
    blinks_per_minute,
    correlation,
    head_motion_degrees,
    landmark_distance,
    lip_jerkiness,
    lip_vertex_error,
    region_masks,
)
from avatar.motion.drive import drive
from avatar.pipelines.draw import draw
from avatar.pipelines.driver import check_space, match_size, start_driver
from avatar.pipelines.speak import pick_split
from avatar.render.device import DeviceName
from preprocess.trackers import detect

OWN_TORSO = "own torso, torso track given"
AUDIO_ONLY = "audio only"
CHUNK = 16000
SAMPLES = 4  # frames shown on the page


def evaluate(avatar: Avatar, take: Take, *, page: Path | None = None, device: DeviceName = "cpu") -> list[Score]:
    """Compare an avatar with the held-out frames of a Take (all frames when none were held out of it).

    Two modes: own torso (drawn from nothing of the test frame but its motion: pose, expression, eyes, torso track) and
    audio only (driven by the sound; nothing of the test frames).
    """
    check_space(avatar)
    if take.camera.size != avatar.camera.size:
        raise UserError(f"{take.root}: is {take.camera.size} px, the avatar {avatar.camera.size} px; preprocess again")
    frames = pick_split(take, "test" if len(take.test) else "all")
    track = read_track(take)
    motion = match_size(track.motion(), take, avatar)[slice(frames.start, frames.stop)]
    drawn = np.stack(list(draw(avatar, [motion], device=device)))
    scores = _compare_pictures(drawn, take, track, frames)
    # both by the same detector, whose readings of narrow gaps the track corrects
    (real, shown), (found, seen) = detect(read_frames(take, frames).numpy()), detect(drawn)
    seen = seen & shown
    if seen.any():
        scores.append(Score(OWN_TORSO, "landmarks", "LMD", landmark_distance(found[seen], real[seen]), "px"))
    spoken, curves = _compare_lips(avatar, take, real, frames, device)
    scores += spoken
    if page:
        _write_evaluation(page, scores, drawn, take, frames, curves)
    return scores


def _compare_pictures(drawn: np.ndarray, take: Take, track: Track, frames: range) -> list[Score]:
    values: dict[tuple[str, str], list[float]] = {}
    for picture, frame in zip(drawn, frames, strict=True):
        truth, image = read_frames(take, [frame])[0], torch.from_numpy(picture)
        for region, mask in region_masks(track.landmarks[frame], take.camera.size).items():
            for name, metric in METRICS.items():
                values.setdefault((region, name), []).append(metric.measure(image, truth, mask))
    return [
        Score(OWN_TORSO, region, name, float(np.mean(list_of)), METRICS[name].unit)
        for (region, name), list_of in values.items()
    ]


def _compare_lips(
    avatar: Avatar, take: Take, real: Tensor, frames: range, device: DeviceName
) -> tuple[list[Score], dict[str, list[float]]]:
    motion = _motion_from_sound(avatar, take)
    # the motion keeps time with the sound; the clip's picture may run before or behind its sound
    lag = round(avatar.habits.lag_seconds * take.fps)
    heard = (torch.arange(frames.start, frames.stop) - lag).clamp(0, len(motion) - 1)
    drawn = list(draw(avatar, [motion[heard]], device=device))
    found, seen = detect(drawn)
    scores, curves = [], {}
    for name, driven, truth in zip((*CURVES, "protrusion"), _all_curves(found), _all_curves(real), strict=True):
        scores.append(Score(AUDIO_ONLY, "lips", f"{name} correlation", correlation(driven[seen], truth[seen]), ""))
        best = best_correlation(driven, truth, seen)
        scores.append(Score(AUDIO_ONLY, "lips", f"{name} correlation, best lag", best, ""))
        curves[f"{name}, driven by sound"], curves[f"{name}, real"] = driven.tolist(), truth.tolist()
    tracked = read_track(take).motion()[slice(frames.start, frames.stop)]
    return scores + _compare_motion(motion[heard], tracked), curves


def _all_curves(landmarks: Tensor) -> list[Tensor]:
    return [*lip_curves(landmarks).T, protrusion_curve(landmarks)]


def _compare_motion(driven: Motion, truth: Motion) -> list[Score]:
    """The motion itself, without pictures."""
    expressions = (driven.expression, truth.expression, load_space())
    scores = [
        Score(AUDIO_ONLY, "motion", "LVE", lip_vertex_error(*expressions), "mm"),
        Score(AUDIO_ONLY, "motion", "jerkiness of lips", lip_jerkiness(*expressions), "x"),
    ]
    for what, motion in (("", driven), (", real", truth)):
        blinks, turns = blinks_per_minute(motion.eyes, motion.fps), head_motion_degrees(motion.rotation)
        scores.append(Score(AUDIO_ONLY, "motion", f"blinks{what}", blinks, "a minute"))
        scores.append(Score(AUDIO_ONLY, "motion", f"head turns{what}", turns, "degrees rms"))
    return scores


def _motion_from_sound(avatar: Avatar, take: Take) -> Motion:
    def chunks(samples: Tensor) -> Iterator[Tensor]:
        yield from samples.split(CHUNK)

    speech = chunks(read_audio(take))
    return concatenate(list(drive(start_driver(avatar, Controls()), speech)))


def write_json(scores: list[Score], path: Path) -> None:
    """Write scores as JSON."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps([asdict(score) for score in scores], indent=1))


def table_rows(scores: list[Score]) -> list[list[str]]:
    """Scores as rows of text; the first row is the head."""
    head = ["mode", "region", "metric", "value"]
    return [head] + [[s.mode, s.region, s.metric, f"{s.value:.3f} {s.unit}".strip()] for s in scores]


def _write_evaluation(
    path: Path, scores: list[Score], drawn: np.ndarray, take: Take, frames: range, curves: dict[str, list[float]]
) -> None:
    chosen = np.linspace(0, len(drawn) - 1, SAMPLES).round().astype(int)
    rows = []
    for index in chosen:
        truth = read_frames(take, [frames[int(index)]])[0].numpy()
        error = (np.abs(drawn[index].astype(int) - truth) * 4).clip(0, 255).astype(np.uint8)
        row = np.concatenate([truth, drawn[index], error], 1)
        rows.append(to_picture(row, f"frame {frames[int(index)]}: real, drawn, error x4"))
    lips = {name: values for name, values in curves.items() if name.startswith("opening")}
    widths = {name: values for name, values in curves.items() if name.startswith("width")}
    unit = "eye distances"
    sections = [("Figures", to_table(table_rows(scores))), ("Frames never trained on", "".join(rows))]
    pushed = {name: values for name, values in curves.items() if name.startswith("protrusion")}
    plots = "".join(to_curve(each, unit=unit) for each in (lips, widths, pushed))
    sections.append(("Lips driven by sound", plots))
    write_page(path, "Evaluation", f"{len(frames)} frames of {take.source.get('name', take.root.name)}", sections)
