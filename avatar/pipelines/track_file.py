"""Motion from files: `.motion`, and tables of blendshapes (.csv) as this program and Live Link Face write them."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from avatar.core import take as take_module
from avatar.core.avatar_file import Avatar
from avatar.core.blendshapes import ARKIT_SHAPES
from avatar.core.emotion import nearest
from avatar.core.files import UserError, check_readable
from avatar.core.motion_space import Motion, load_motion, load_space, resample
from avatar.core.take import Take
from avatar.motion.retarget import motion_of_blendshapes
from avatar.play.player import check_motion

ENDINGS = (".csv", ".motion")
LEAST_RATE, MOST_RATE = 5.0, 240.0  # frames a second
TIMECODE, SECONDS = "timecode", "seconds"
MOST_ROWS = 2_000_000  # nine hours at 60 frames a second


@dataclass(frozen=True)
class TrackFile:
    """Motion in a file, instead of a Take's."""

    path: Path


def open_track(place: Path | str) -> Take | TrackFile:
    """What re-enacts: a file by its ending, else a Take. Raises: UserError."""
    if Path(place).suffix.lower() in ENDINGS:
        check_readable(Path(place), "motion file")
        return TrackFile(Path(place))
    return take_module.open_take(place)


def read_track_file(avatar: Avatar, path: Path) -> Motion:
    """Motion of an avatar, at its frame rate, from a file. Raises: UserError naming line and what is wrong."""
    if path.suffix.lower() == ".motion":
        motion = check_motion(avatar, load_motion(path))
    else:
        curves, fps = read_blendshapes(path)
        motion = motion_of_blendshapes(curves, fps, avatar.speech, avatar.style, load_space())
    return resample(motion, avatar.fps) if motion.fps != avatar.fps else motion


def read_blendshapes(path: Path) -> tuple[dict[str, Tensor], float]:
    """Curves [T] by ARKit's names, and their rate. Raises: UserError."""
    check_readable(path, "table of blendshapes")
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.reader(file)
        names = [_own_name(name) for name in next(rows, [])]
        found = [name for name in names if name in ARKIT_SHAPES]
        if not found or names[0] not in (TIMECODE, SECONDS):
            known = nearest(names[1] if len(names) > 1 else "", ARKIT_SHAPES[:8])
            raise UserError(f"{path}: has no columns of ARKit's blendshapes behind a time; {known}, ...")
        table: list[list[float]] = []
        times: list[float] = []
        for number, row in enumerate(rows, 2):
            if not row:
                continue
            if len(row) != len(names) or len(table) >= MOST_ROWS:
                raise UserError(f"{path}, line {number}: has {len(row)} columns, expected {len(names)}")
            times.append(_seconds(row[0], path, number))
            table.append([_number(text, path, number) for text in row[1:]])
    if not table:
        raise UserError(f"{path}: has no frames; record some")
    columns = dict(zip(names[1:], torch.tensor(table).T, strict=True))
    for name in ("headPitch", "headYaw", "headRoll"):
        if names[0] == SECONDS and name in columns:  # a rotation vector in degrees, about OpenCV's axes
            columns[name] = torch.deg2rad(columns[name]) * (1 if name == "headPitch" else -1)
    return columns, _rate(times, path)


def _own_name(name: str) -> str:
    return name.strip()[:1].lower() + name.strip()[1:]


def _number(text: str, path: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e4:
        raise UserError(f"{path}, line {line}: '{text[:20]}' is no number that a blendshape can have")
    return value


def _seconds(text: str, path: Path, line: int) -> float:
    """`1.5`, or `HH:MM:SS:FF.fff` with frames as a fraction that is made up for by `_rate`."""
    parts = text.split(":")
    try:
        if len(parts) == 1:
            return float(text)
        hours, minutes, seconds = (int(part) for part in parts[:3])
        return hours * 3600 + minutes * 60 + seconds + float(parts[3]) * 1e-4
    except (ValueError, IndexError) as error:
        raise UserError(f"{path}, line {line}: '{text[:20]}' is no time") from error


def _rate(times: list[float], path: Path) -> float:
    """Frames a second: of most seconds where there are timecodes, else by the mean step."""
    whole: dict[int, int] = {}
    for time in times:
        whole[int(time)] = whole.get(int(time), 0) + 1
    timecodes = all(time % 1 < 0.03 for time in times) and len(times) > 1
    if timecodes:
        rate = float(max(whole.values()))
    else:
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
    if len(times) == 1:
        return 25.0
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise UserError(f"{path}: its times make {rate:g} frames/s; expected {LEAST_RATE:g} to {MOST_RATE:g}")
    return rate
