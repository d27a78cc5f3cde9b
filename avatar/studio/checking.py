"""What is looked at in a file before it is used. Runs in a child process: files may be anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from avatar.core.files import UserError, remove, whole
from avatar.core.media import VideoInfo, measure, probe
from avatar.core.take import Take
from preprocess.photo_files import is_photo

PREFLIGHT_SECONDS = 6.0  # of a clip that are looked at: the verdict is there in a third of a minute on two cores
LEAST_SECONDS = 3.0  # of a clip
MOST_SECONDS = 3600.0
THUMBNAIL, POSTER = 224, 320  # px a side
SHOWN = 6  # thumbnails
BLUR = 0.03  # of the picture's side, the radius of a blurred background


def check_clip(file: Path, folder: Path) -> dict[str, Any]:
    """What is in a clip or photo, and what to expect of it; pictures go to `folder`. Raises: UserError."""
    folder.mkdir(parents=True, exist_ok=True)
    if is_photo(file):
        return _check_photo(file, folder)
    info = probe(file)
    if not info.has_video:
        raise UserError("the file has no picture; give a video")
    if not info.has_audio:
        raise UserError("the file has no sound; an avatar learns its lips from a clip with speech")
    info = measure(file, info)
    if info.seconds < LEAST_SECONDS:
        raise UserError(f"the clip is {info.seconds:.1f} s long; film at least {LEAST_SECONDS:g} s, best a minute")
    if info.seconds > MOST_SECONDS:
        raise UserError(f"the clip is {info.seconds / 60:.0f} min long; cut it to {MOST_SECONDS / 60:g} min")
    return describe_info(info) | _preflight(file, folder, info)


def describe_info(info: VideoInfo) -> dict[str, Any]:
    """Size and length of a clip."""
    return {"width": info.width, "height": info.height, "fps": round(info.fps, 2), "seconds": round(info.seconds, 2)}


def _preflight(file: Path, folder: Path, info: VideoInfo) -> dict[str, Any]:
    """The verdict on the first seconds, as `avatar preprocess` has it, with the whole clip's length."""
    from avatar.core.media import Stretch
    from avatar.pipelines.takes import make_take
    from preprocess.checks import assess_quality
    from preprocess.request import TakeRequest

    stop = min(PREFLIGHT_SECONDS, info.seconds)
    place = folder / "preflight.take"
    try:
        take = make_take(file, place, TakeRequest(stretch=Stretch(0.0, stop)), holdout=0.0)
        quality = dict(take.quality)
        quality["seconds"] = quality["usable"] * info.seconds
        verdict = assess_quality(quality)
        return _named(verdict.grade, verdict.advice, usable=verdict.usable) | {
            "looked_at": round(take.length / take.fps, 1),
            "left_out": _show_left_out(take, folder),
            "pictures": _show(take, folder),
        }
    finally:
        remove(place)


def _check_photo(file: Path, folder: Path) -> dict[str, Any]:
    from avatar.pipelines.takes import make_photo_take
    from preprocess.request import TakeRequest

    place = folder / "preflight.take"
    try:
        take = make_photo_take([file], place, TakeRequest())
        found = _named("Good", (), usable=True) | {"photo": True, "left_out": [], "pictures": _show(take, folder)}
        with Image.open(take.still_path) as still:
            return found | {"width": still.width, "height": still.height, "seconds": 0}
    finally:
        remove(place)


def _named(grade: str, advice: tuple[str, ...], *, usable: bool) -> dict[str, Any]:
    short = {"Good": "good", "Usable, could be better": "fair", "Not usable as it is": "poor"}[grade]
    return {"grade": short, "advice": list(advice), "usable": usable}


def _show(take: Take, folder: Path) -> list[str]:
    """Thumbnails of a Take, and the poster of whom it shows; names of the files."""
    frames = np.unique(np.linspace(0, take.length - 1, SHOWN).round().astype(int)).tolist()
    _save(take, take.length // 2, folder / "poster.jpg", POSTER)
    return [_save(take, frame, folder / f"frame-{number}.jpg", THUMBNAIL) for number, frame in enumerate(frames)]


def _show_left_out(take: Take, folder: Path) -> list[dict[str, Any]]:
    """The longest spans that are left out, each with a picture of its middle."""
    longest = sorted(take.excluded, key=lambda span: span.start - span.stop)[:SHOWN]
    return [
        {
            "from": round(span.start / take.fps, 1),
            "to": round(span.stop / take.fps, 1),
            "reason": span.reason,
            "picture": _save(take, (span.start + span.stop) // 2, folder / f"out-{number}.jpg", THUMBNAIL),
        }
        for number, span in enumerate(sorted(longest, key=lambda span: span.start))
    ]


def _save(take: Take, frame: int, place: Path, side: int) -> str:
    with Image.open(take.frame_path(frame)) as image:
        image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS).save(place, "JPEG", quality=85)
    return place.name


def check_sound(file: Path) -> dict[str, Any]:
    """Length of a sound to speak. Raises: UserError when it has none."""
    info = probe(file)
    if not info.has_audio:
        raise UserError("the file has no sound; give one with speech")
    return {"seconds": round(info.seconds, 2)}


def check_background(file: Path) -> dict[str, Any]:
    """Raise UserError unless a file can stand behind a person."""
    from avatar.scene.background import open_background

    opened = open_background(str(file), (64, 64), 25.0)
    if not hasattr(opened, "shape"):
        next(opened)  # the first frame of a film
    return {}


def blur_plate(avatar: Path, out: Path) -> None:
    """Write the background that an avatar was filmed in, blurred, as a picture."""
    from avatar.core.avatar_file import load_avatar

    plate = Image.fromarray(load_avatar(avatar).plate.numpy())
    with whole(out) as temporary:
        plate.filter(ImageFilter.GaussianBlur(BLUR * plate.width)).save(temporary, "PNG")
