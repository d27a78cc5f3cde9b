"""How well an avatar's lips follow sound, on the finished pictures and on the motion alone: the mode *audio only*."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.encode import Coding, write_video
from avatar.core.lips import CURVES, POSITIONS, best_correlation, lip_curves, protrusion_curve, seen_lip_positions
from avatar.core.media import SAMPLE_RATE
from avatar.core.motion_space import Motion, concatenate, load_space
from avatar.core.progress import Progress, count_steps, no_progress
from avatar.core.take import Take, read_audio, read_track
from avatar.metrics import (
    Score,
    blinks_per_minute,
    correlation,
    head_motion_degrees,
    landmark_distance,
    lip_jerkiness,
    lip_vertex_error,
)
from avatar.metrics.reading import LipReading, read_film, split_words, word_error_rate
from avatar.metrics.syncnet import SyncNet
from avatar.motion.behaviour import PRESSED_WHOLLY, detrend
from avatar.motion.features import compute
from avatar.motion.lip_reader import balanced_accuracy, read_lips, visemes_of_sound
from avatar.motion.speech_to_motion import open_speech_model
from avatar.motion.sync import FPS, open_sync
from avatar.pipelines.networks import LoadedNetworks
from avatar.play.player import Player
from preprocess.detectors import open_landmarker
from preprocess.trackers import detect, detect_by

AUDIO_ONLY = "audio only"
DRIFT_FRAMES = 25.0  # deviation of the Gaussian whose output is left out: what changes in two seconds is no speech
CLOSED = 0.15  # of the range of gaps
ALL_CURVES = (*CURVES, "protrusion")


@dataclass(frozen=True)
class SpokenLips:
    """What was measured, and the curves it was measured on."""

    scores: list[Score]
    curves: dict[str, dict[str, list[float]]]  # name -> driven and real, in eye distances
    motion: Motion  # that the sound made, of the frames


def compare_lips(
    player: Player,
    take: Take,
    truth: tuple[Tensor, Tensor],
    frames: range,
    networks: LoadedNetworks,
    *,
    progress: Progress = no_progress,
) -> SpokenLips:
    """Drive an avatar by the Take's sound and compare some of its frames with the real ones.

    player: with the default controls. truth: these frames [T, S, S, 3] uint8, and their landmarks [T, 478, 3] px.
    """
    pictures, real = truth
    sound = read_audio(take).split(SAMPLE_RATE)
    motion = concatenate(list(player.motion(count_steps(sound, "speak", len(sound), progress))))
    driven_frames = torch.arange(frames.start, frames.stop).clamp(0, len(motion) - 1)
    pictures_of = player.draw([motion[driven_frames]])
    drawn = list(count_steps(pictures_of, "draw spoken", len(frames), progress))
    found, seen = detect(count_steps(drawn, "find spoken", len(drawn), progress))
    scores, curves = [], {}
    for name, driven, there in zip(ALL_CURVES, _read_all(found), _read_all(real), strict=True):
        scores.append(Score(AUDIO_ONLY, "lips", f"{name} correlation", correlation(driven[seen], there[seen]), ""))
        best = best_correlation(driven, there, seen)
        scores.append(Score(AUDIO_ONLY, "lips", f"{name} correlation, best lag", best, ""))
        spread = float(there[seen].std()) if seen.sum() > 1 else 0.0
        scores.append(Score(AUDIO_ONLY, "lips", f"{name} deviation, real", spread, "eye distances"))
        curves[name] = {f"{name}, driven by sound": driven.tolist(), f"{name}, real": there.tolist()}
    if int(seen.sum()) > 1:
        scores += compare_seen_lips(found[seen], real[seen])
        scores += compare_closures(found[seen], real[seen], _closure_of(player, take)[driven_frames][seen])
    if seen.any():
        scores.append(Score(AUDIO_ONLY, "landmarks", "LMD", landmark_distance(found[seen], real[seen]), "px"))
    if networks.reading:
        scores += compare_words(networks.reading, (drawn, pictures.numpy()), take.fps)
    if networks.landmarker:
        scores += compare_by_landmarker(networks.landmarker, drawn, pictures.numpy())
    if networks.syncnet and seen.all():
        films = (("", torch.from_numpy(np.stack(drawn)), found), (", real", pictures, real))
        scores += _compare_sync(networks.syncnet, films, _sound_of(take, frames))
    tracked = read_track(take).motion()[slice(frames.start, frames.stop)]
    scores += _measure_sync(_sound_of(take, frames), motion[driven_frames], tracked)
    driven_motion = motion[driven_frames]
    scores += compare_reading(_sound_of(take, frames), driven_motion, tracked)
    return SpokenLips(scores + _compare_motion(driven_motion, tracked), curves, driven_motion)


def compare_seen_lips(driven: Tensor, real: Tensor, region: str = "lips seen") -> Iterator[Score]:
    """The film's lips against the real film's, as somebody who watches both sees them: nothing is moved in time.

    driven, real: landmarks [T, 478, 3] px of both, by the same detector, which knows nothing of the avatar; a Take's
    fitted shape and textures, which the avatar was made with, have no part in it. What changes over two seconds is
    taken out. Amplitude and quick part: deviation, and that of the change from frame to frame, as times the real ones.
    """
    curves = [detrend(seen_lip_positions(points), DRIFT_FRAMES) for points in (driven, real)]
    for name, ours, theirs in zip(POSITIONS, *(curve.T for curve in curves), strict=True):
        spread = theirs.std().clamp_min(1e-6)
        quick = ours.diff().std() / theirs.diff().std().clamp_min(1e-6)
        yield Score(AUDIO_ONLY, region, f"{name} correlation", correlation(ours, theirs), "")
        yield Score(AUDIO_ONLY, region, f"{name} amplitude", float(ours.std() / spread), "x of the real")
        yield Score(AUDIO_ONLY, region, f"{name} quick part", float(quick), "x of the real")


def compare_by_landmarker(file: Path, driven: Iterable[np.ndarray], real: Iterable[np.ndarray]) -> Iterator[Score]:
    """`compare_seen_lips` of frames [S, S, 3], by a landmarker that neither the Take nor the avatar was made with."""
    (ours, found), (theirs, there) = (detect_by(open_landmarker(file, FPS), film) for film in (driven, real))
    both = found & there
    if int(both.sum()) > 1:
        yield from compare_seen_lips(ours[both], theirs[both], f"lips seen by {file.name}")


def compare_words(
    reading: LipReading, films: tuple[Iterable[np.ndarray], Iterable[np.ndarray]], fps: float
) -> Iterator[Score]:
    """Word error rates of a program that reads the driven and the real film [T, S, S, 3], without sound.

    Of each against what is said, where that is known; and of the driven against what it reads off the real one.
    """
    with TemporaryDirectory() as folder:
        texts = []
        for name, film in zip(("driven", "real"), films, strict=True):
            place = Path(folder) / f"{name}.mp4"
            write_video(film, place, fps=fps, coding=Coding(quality="best"))
            texts.append(split_words(read_film(reading.program, place)))
    driven, real = texts
    said = split_words(reading.words)
    for what, read in (("", driven), (", real", real)) if said else ():
        yield Score(AUDIO_ONLY, "words", f"error rate{what}", word_error_rate(read, said), f"of {len(said)} words")
    if real:
        rate = word_error_rate(driven, real)
        yield Score(AUDIO_ONLY, "words", "error rate against the real film's", rate, f"of {len(real)} words")


def compare_closures(driven: Tensor, real: Tensor, closure: Tensor) -> Iterator[Score]:
    """At how many sounds that only closed lips make (p, b, m) they are seen closed, in the film and in the real one.

    driven, real: landmarks [T, 478, 3] px; closure: [T] 0..1, how probable such a sound is. Lips are closed where their
    gap is in the lowest part of the real film's range, within a frame of the sound.
    """
    gaps = [seen_lip_positions(points)[:, 0] for points in (driven, real)]
    low, high = gaps[1].quantile(0.01), gaps[1].quantile(0.99)
    line = low + CLOSED * (high - low)
    change = functional.pad((closure > PRESSED_WHOLLY).int(), (1, 1)).diff()
    starts, stops = ((change == sign).nonzero()[:, 0].tolist() for sign in (1, -1))
    sounds = [slice(max(0, start - 1), stop + 1) for start, stop in zip(starts, stops, strict=True)]
    for what, gap in (("", gaps[0]), (", real", gaps[1])):
        seen = sum(bool((gap[sound] < line).any()) for sound in sounds)
        if sounds:
            yield Score(AUDIO_ONLY, "lips seen", f"closed at p, b, m{what}", seen / len(sounds), f"of {len(sounds)}")


def compare_reading(sound: Tensor, driven: Motion, real: Motion) -> Iterator[Score]:
    """How much of a sound [n] a lip reader reads off the mouths that go with it, balanced over groups of sounds."""
    spoken, speaks = visemes_of_sound(sound)
    count = min(len(spoken), len(driven), len(real))
    for what, motion in (("", driven), (", real", real)):
        read = read_lips(motion.expression[:count], torch.ones(count, dtype=torch.bool))
        try:
            share = balanced_accuracy(read, spoken[:count], speaks[:count])
        except ValueError:  # a few frames of no clear sound
            return
        yield Score(AUDIO_ONLY, "lips", f"visemes read{what}", share, "balanced over groups of sounds")


def _sound_of(take: Take, frames: range) -> Tensor:
    rate = SAMPLE_RATE / take.fps
    return read_audio(take)[round(frames.start * rate) : round(frames.stop * rate)]


def _closure_of(player: Player, take: Take) -> Tensor:
    """How probable a sound of closed lips is in each frame [T] of a Take's sound."""
    model = open_speech_model(player.avatar.speech)
    return model(compute(read_audio(take), model.model.features)).lip_closure


def _measure_sync(sound: Tensor, driven: Motion, truth: Motion) -> Iterator[Score]:
    """The sync expert's readings; no offset where it is not sure that lips follow. Nothing was moved beforehand."""
    measure = open_sync(sound)
    for what, motion in (("", driven), (", real", truth)):
        found = measure(motion.expression, torch.ones(len(motion), dtype=torch.bool)).whole
        yield Score(AUDIO_ONLY, "lips", f"likeness to the sound{what}", found.likeness, "")
        if found.follows:
            yield Score(AUDIO_ONLY, "lips", f"sound later than lips{what}", 1000 * found.offset, "ms")


def _compare_sync(syncnet: SyncNet, films: Iterable[tuple[str, Tensor, Tensor]], audio: Tensor) -> Iterator[Score]:
    for what, pictures, landmarks in films:
        found = syncnet.compare(pictures, landmarks, audio)
        yield Score(AUDIO_ONLY, "lips", f"LSE-C{what}", found.confidence, "")
        yield Score(AUDIO_ONLY, "lips", f"LSE-D{what}", found.distance, "")


def _read_all(landmarks: Tensor) -> list[Tensor]:
    return [*lip_curves(landmarks).T, protrusion_curve(landmarks)]


def _compare_motion(driven: Motion, truth: Motion) -> list[Score]:
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
