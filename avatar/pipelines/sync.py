"""Whether the lips of a film follow its sound, and how far the two are apart: `avatar sync`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from avatar.core.files import UserError, whole
from avatar.core.lips import lip_curves
from avatar.core.loudness import SILENCE_DB, is_spoken, measure_level
from avatar.core.media import find_speech, measure, probe, read_speech
from avatar.core.motion_space import load_space
from avatar.core.page import Axis, to_curve, to_table, write_page
from avatar.core.progress import Progress, no_progress
from avatar.core.sync import Drift, MeasureSync, SyncMeasurement, find_drift
from avatar.motion.sync import FPS, LEAST_FRAMES, open_sync
from avatar.pipelines.sync_faces import SIZE, SeenFace, Turn, find_speakers, find_turns, look_at_faces
from avatar.render.device import DeviceName
from preprocess.trackers import fit_landmarks

TOLERANCE = 0.045  # s: sound that is so early is noticed (ITU-R BT.1359); late sound later, at .125 s
STILL_LIPS = 0.004  # eye distances of deviation of the opening
ABOVE_SILENCE_DB = 20.0  # that the faintest speech is louder than none
QUIET = 0.1  # share of the frames with speech, below which nobody is said to speak
Verdict = Literal[
    "in sync", "sound late", "sound early", "clocks drift apart", "lips do not follow the sound", "cannot be said"
]


@dataclass(frozen=True)
class FaceSync:
    """One of the faces of a film."""

    place: str  # "face 1 from the left"; empty where there is but one
    turns: Sequence[Turn]  # s: when its lips follow the sound, and more likely than others do
    found: SyncMeasurement  # the whole: of the turns alone, where there are several faces and it has some


@dataclass(frozen=True)
class FilmSync:
    """What was found of a film."""

    film: str
    seconds: float
    verdict: Verdict
    reason: str  # why nothing can be said; else empty
    found: SyncMeasurement | None  # of the face that speaks longest; None without face or sound
    faces: Sequence[FaceSync] = ()  # from the left to the right

    @property
    def offset(self) -> float | None:
        """Seconds by which the sound is late; None where the lips are not sure to follow it."""
        return self.found.whole.offset if self.found and self.found.whole.follows else None

    @property
    def drift(self) -> Drift | None:
        """How the offset grows along the film; None where it is not sure to."""
        return find_drift(self.found.windows) if self.found else None


def check_sync(
    film: Path,
    *,
    face: str = "auto",
    audio_track: int | None = None,
    tolerance: float = TOLERANCE,
    device: DeviceName = "cpu",
    progress: Progress = no_progress,
) -> FilmSync:
    """Measure a film. face: as of `TakeRequest`; tolerance: s of offset that still count as in sync.

    Raises: UserError when the file is no film or lacks the sound track.
    """
    info = probe(film)
    if not info.has_video:
        raise UserError(f"{film}: has no picture; give a film")
    info = measure(film, info)
    name = film.name
    if not info.has_audio:
        return FilmSync(name, info.seconds, "cannot be said", "it has no sound", None)
    if info.seconds * FPS < LEAST_FRAMES:
        return FilmSync(name, info.seconds, "cannot be said", f"it is {info.seconds:.2f} s long", None)
    looked = look_at_faces(film, info, face, device, progress)
    longest = max((int(one.seen.sum()) for one in looked), default=0)
    if longest < LEAST_FRAMES:
        reason = f"a face is seen for {longest / FPS:.1f} s only" if longest else "no face is seen"
        return FilmSync(name, info.seconds, "cannot be said", reason, None)
    looked = [one for one in looked if int(one.seen.sum()) >= LEAST_FRAMES]
    samples = torch.cat([torch.zeros(0), *read_speech(find_speech(film, track=audio_track), check_length=False)])
    faces = _measure_faces(looked, open_sync(samples), info.fps)
    main = max(range(len(faces)), key=lambda face: _speaking(faces[face]))
    measured, seen = faces[main].found, looked[main]
    reason = _why_not(samples, seen.landmarks[seen.seen], measured)
    return FilmSync(name, info.seconds, _verdict(measured, reason, tolerance), reason, measured, faces)


def _speaking(face: FaceSync) -> tuple[float, float]:
    return sum(stop - start for start, stop in face.turns), face.found.whole.certainty


def _measure_faces(looked: Sequence[SeenFace], measure: MeasureSync, fps: float) -> list[FaceSync]:
    """All faces against one sound; of several, each as a whole by those parts of the film that it speaks in."""
    tracked = []
    for face in looked:
        track, _ = fit_landmarks(face.landmarks, face.seen, load_space(), size=SIZE, fps=FPS)
        tracked.append((at_shown_times(track.expression, fps), track.confidence > 0))
    measured = [measure(*face) for face in tracked]
    speakers, found = find_speakers(measured), []
    spans = [(window.start, window.stop) for window in measured[0].windows]
    for number, (face, (expression, seen), one) in enumerate(zip(looked, tracked, measured, strict=True)):
        turns = find_turns(speakers, spans, number)
        if len(looked) > 1 and turns:
            speaking = torch.zeros(len(seen), dtype=torch.bool)
            for start, stop in turns:
                speaking[round(start * FPS) : round(stop * FPS)] = True
            spoken = measure(expression, seen & speaking).whole
            one, turns = (SyncMeasurement(spoken, one.windows), turns) if spoken.follows else (one, [])
        found.append(FaceSync(face.place, turns, one))
    return found


def at_shown_times(expression: Tensor, fps: float) -> Tensor:
    """Expressions [T, K] of what `read_video` takes of a film at 25 frames/s, at the middle of each 25th of a second.

    Frame n is the last that begins, rounded, by n / 25 s; what it shows stands for the middle of the time it is shown.
    """
    count = len(expression)
    source = np.ceil((np.arange(count) + 0.5) * fps / FPS - 1e-6) - 1
    shown, wanted = (source + 0.5) / fps, (np.arange(count) + 0.5) / FPS
    values = expression.double().numpy()
    return torch.from_numpy(np.stack([np.interp(wanted, shown, column) for column in values.T], 1))


def _why_not(samples: Tensor, landmarks: Tensor, measured: SyncMeasurement) -> str:
    """Why nothing can be said of a film; empty where something can."""
    level = measure_level(samples)
    if not (is_spoken(level) & (level > SILENCE_DB + ABOVE_SILENCE_DB)).float().mean() > QUIET:
        return "nobody speaks"
    if float(lip_curves(landmarks)[:, 0].std()) < STILL_LIPS:
        return "the lips do not move"
    if measured.whole.follows is None:
        return f"the lips follow with a certainty of {measured.whole.certainty:.0%}, which is none"
    return ""


def _verdict(measured: SyncMeasurement, reason: str, tolerance: float) -> Verdict:
    if reason:
        return "cannot be said"
    if not measured.whole.follows:
        return "lips do not follow the sound"
    if (drift := find_drift(measured.windows)) is not None:
        ends = (drift.at(measured.whole.start), drift.at(measured.whole.stop))
        return "clocks drift apart" if max(map(abs, ends)) > tolerance else "in sync"
    if abs(measured.whole.offset) <= tolerance:
        return "in sync"
    return "sound late" if measured.whole.offset > 0 else "sound early"


def describe(sync: FilmSync) -> str:
    """The result as a sentence."""
    if sync.reason:
        return f"{sync.film}: {sync.verdict}: {sync.reason}"
    assert sync.found
    one = sync.found.whole
    if not one.follows:
        return f"{sync.film}: {sync.verdict} ({1 - one.certainty:.0%} sure)"
    sentence = f"{sync.film}: {sync.verdict}: {_describe_offset(sync)} ({one.certainty:.0%} sure)"
    if len(sync.faces) > 1:
        sentence += "; " + "; ".join(f"{face.place} {_describe_turns(face.turns)}" for face in sync.faces)
    return sentence


def _describe_offset(sync: FilmSync) -> str:
    def late(seconds: float) -> str:
        return f"{1000 * abs(seconds):.0f} ms {'later' if seconds > 0 else 'earlier'}"

    assert sync.found
    if (drift := sync.drift) is not None:
        return (
            f"the sound is {late(drift.at(0))} than the lips at the start and {late(drift.at(sync.seconds))} at the end"
        )
    return f"the sound is {late(sync.found.whole.offset)} than the lips"


def _describe_turns(turns: Sequence[Turn]) -> str:
    return "speaks " + ", ".join(f"{start:.1f}-{stop:.1f} s" for start, stop in turns) if turns else "does not speak"


def write_json(sync: FilmSync, path: Path) -> None:
    """Everything that was found; the offset of a part that is not sure to follow is null."""
    content: dict[str, object] = {
        "film": sync.film,
        "seconds": sync.seconds,
        "verdict": sync.verdict,
        "reason": sync.reason,
    }
    drift = sync.drift
    content |= {"drift": asdict(drift) if drift else None} | _figures(sync.found)
    content["faces"] = [{"place": face.place, "speaks": list(face.turns)} | _figures(face.found) for face in sync.faces]
    with whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def _figures(found: SyncMeasurement | None) -> dict[str, object]:
    parts = [found.whole, *found.windows] if found else []
    rows = [asdict(part) | {"offset": part.offset if part.follows else None} for part in parts]
    return {"whole": rows[0] if rows else None, "windows": rows[1:]}


def write_sync_page(sync: FilmSync, path: Path) -> None:
    """A page with offset and certainty over time."""
    sections = []
    if sync.found and sync.found.windows:
        windows, axis = sync.found.windows, Axis(sync.seconds)
        offsets = [1000 * one.offset if one.follows else float("nan") for one in windows]
        sections = [
            ("Offset of the sound", to_curve({"sound later than lips": offsets}, axis, unit="ms")),
            ("Certainty", to_curve({"that the lips follow": [one.certainty for one in windows]}, axis, unit="0 to 1")),
        ]
    if sync.found:
        one = sync.found.whole
        if len(sync.faces) > 1:
            turns = [[face.place, _describe_turns(face.turns)] for face in sync.faces]
            sections.append(("Who speaks", to_table([["face", ""], *turns])))
        rows = [["figure", "value"], ["certainty", f"{one.certainty:.3f}"], ["likeness", f"{one.likeness:.2f}"]]
        sections.append(("Figures", to_table([*rows, ["seconds with a face", f"{one.seconds:.1f}"]])))
    write_page(path, "Sound and lips", describe(sync), sections)
