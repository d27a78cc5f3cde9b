"""`report.html` of a Take: what was found, in pictures, curves and words."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from avatar.core.geometry import to_vector
from avatar.core.landmarks import INNER_LOWER_LIP, INNER_UPPER_LIP
from avatar.core.lips import lip_curves
from avatar.core.page import Axis, to_curve, to_list, to_picture, to_table, write_page
from avatar.core.take import Take, Track, read_frames, read_mattes, read_plate, read_still
from preprocess.checks import Verdict, assess_quality
from preprocess.regions import HEAD, MOUTH, NECK, TEETH, TORSO, find_regions
from preprocess.spans import covered

SHOWN = 4
SHEET_COLUMNS, SHEET_ROWS = 8, 3
SMALL = 160  # px
LEFT_OUT_MOST = 24  # spans listed one by one
TINTS = {HEAD: (80, 140, 255), NECK: (80, 220, 120), TORSO: (255, 120, 90), MOUTH: (60, 0, 60), TEETH: (255, 255, 160)}
COLORS = {"Good": "#2a9d5c", "Usable, could be better": "#c98a00", "Not usable as it is": "#d9482b"}
MEANINGS = {
    "usable": "share of the frames that can be trained on",
    "seconds": "seconds that can be trained on",
    "eye_px": "px between the outer eye corners, in the crop",
    "yaw_degrees": "how far the head turns, in nearly all frames",
    "face_found": "share of the frames with a face",
    "lip_motion": "how much the lip opening varies, in eye distances",
    "sound_rms": "loudness of the clip's sound, of full scale",
    "sync_certainty": "how sure it is that the lips follow the sound, 0 to 1",
    "sync_likeness": "how like the sound the lips move, -1 to 1",
    "sound_moved_seconds": "seconds by which the sound was moved to be in time with the lips",
    "sound_drift": "seconds by which it was moved more for each second, since its clock ran apart from the picture's",
    "spoken": "share of the time that somebody speaks",
    "pause_depth_db": "how much quieter than speech the pauses are, in dB",
    "clipped": "share of the seconds with clipped sound",
    "sound_gain_db": "gain that brought the voice to -23 dB of full scale",
    "plate_seen": "share of the background that was ever uncovered",
    "camera_px": "px that the background moves, of a picture 512 wide",
    "announced_seconds": "seconds that the file says it has, where it ends before",
    "read_seconds": "seconds that could be read of such a file",
    "plate_error": "grey levels between the frames' backgrounds and the plate",
    "source_eye_px": "px between the outer eye corners, in the source",
    "mouth_covered": "share of the frames whose mouth is covered",
    "captions": "share of the frames with captions",
    "turned_degrees": "how far the face is turned to the side",
    "mouth_gap": "how far the lips are apart, in eye distances",
    "lid_gap": "how far the lids are apart, in widths of the eye",
    "mouth_odds": "log odds that nothing covers the mouth",
    "eye_light": "how bright the skin about the eyes is, against the cheeks",
    "torso_held": "share of the frames in which the shoulders were not found",
}

Array = np.ndarray


def write_report(take: Take, track: Track, level: Array) -> None:
    """Write the page into the take's folder; level [T] dB of the sound."""
    frames = np.linspace(0, take.length - 1, SHOWN).round().astype(int).tolist()
    pictures, mattes = read_frames(take, frames).numpy(), read_mattes(take, frames).numpy()
    points = [track.landmarks[frame].numpy() for frame in frames]
    shown = list(zip(pictures, mattes, points, strict=True))
    seen, verdict = take.quality["plate_seen"], assess_quality(take.quality)
    sections = [
        ("Contact sheet", to_picture(_contact_sheet(take), "Struck out in red: left out of training.")),
        ("Crop", _crop(take)),
        ("Landmarks", to_picture(_row([_draw_landmarks(p, x) for p, _, x in shown]))),
        ("Person", to_picture(_row([_over_checkerboard(p, m) for p, m, _ in shown]))),
        ("Head, neck, torso, mouth", to_picture(_row([_tint(p, find_regions(x, m, p)) for p, m, x in shown]))),
        ("Background", to_picture(read_plate(take).numpy(), f"{seen:.0%} of it was ever seen; the rest is filled in.")),
        ("Curves", _curves(take, track, level)),
        ("Left out", _left_out(take)),
        ("Figures", to_table(_figures(take.quality))),
    ]
    lead = f"{take.length / take.fps:.1f} s, {len(take.training_frames())} frames to train on."
    title = f"Take of {take.source['name']}"
    write_page(take.root / "report.html", title, lead, [("Verdict", _verdict(verdict)), *sections])


def write_photo_report(take: Take, track: Track, limits: Sequence[str]) -> None:
    """Write the page of a Take of photos into its folder; limits: of an avatar of them, in words."""
    frames = list(range(take.length))
    pictures, mattes = read_frames(take, frames).numpy(), read_mattes(take, frames).numpy()
    points = [track.landmarks[frame].numpy() for frame in frames]
    grade = "Usable, could be better" if limits else "Good"
    sections = [
        ("Verdict", to_list(grade, tuple(limits) or ("Nothing to photograph differently.",), COLORS[grade])),
        ("Crop", _crop(take)),
        ("Landmarks", to_picture(_row([_draw_landmarks(p, x) for p, x in zip(pictures, points, strict=True)]))),
        ("Person", to_picture(_row([_over_checkerboard(p, m) for p, m in zip(pictures, mattes, strict=True)]))),
        ("Background", to_picture(read_plate(take).numpy(), "What the person hides is filled in.")),
        ("Figures", to_table(_figures(take.quality))),
    ]
    lead = f"{take.length} photos; the first stands for the person." if take.length > 1 else "One photo."
    write_page(take.root / "report.html", f"Take of {take.source['name']}", lead, sections)


def _verdict(verdict: Verdict) -> str:
    return to_list(verdict.grade, verdict.advice or ("Nothing to film differently.",), COLORS[verdict.grade])


def _figures(quality: dict[str, float]) -> list[list[str]]:
    rows = [[name, f"{value:.3g}", MEANINGS.get(name, "")] for name, value in quality.items()]
    return [["figure", "value", "what it is"], *rows]


def _row(pictures: Sequence[Array]) -> Array:
    return np.concatenate([cv2.resize(p, (320, 320), interpolation=cv2.INTER_AREA) for p in pictures], 1)


def _contact_sheet(take: Take) -> Array:
    frames = np.linspace(0, take.length - 1, SHEET_COLUMNS * SHEET_ROWS).round().astype(int).tolist()
    out = covered(take.excluded, take.length)
    cells = [_thumbnail(take, frame, struck=bool(out[frame])) for frame in frames]
    rows = [np.concatenate(cells[i : i + SHEET_COLUMNS], 1) for i in range(0, len(cells), SHEET_COLUMNS)]
    return np.concatenate(rows)


def _thumbnail(take: Take, frame: int, *, struck: bool) -> Array:
    picture = cv2.resize(read_frames(take, [frame])[0].numpy(), (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    if struck:
        cv2.line(picture, (0, 0), (SMALL, SMALL), (230, 60, 40), 3, cv2.LINE_AA)
    for color, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        place = (6, SMALL - 8)
        cv2.putText(picture, f"{frame / take.fps:.1f} s", place, 0, 0.45, color, width, cv2.LINE_AA)
    return picture


def _crop(take: Take) -> str:
    still = read_still(take)
    if still is None:
        return "<p>The pictures were given as they are.</p>"
    left, top, side = take.crop
    canvas, thick = still.numpy().copy(), max(2, still.shape[1] // 300)
    corners = [round(value) for value in (left, top, left + side, top + side)]
    cv2.rectangle(canvas, (corners[0], corners[1]), (corners[2], corners[3]), (255, 200, 0), thick)
    height, width = canvas.shape[:2]
    scale = min(1.0, 900 / max(height, width))
    small = cv2.resize(canvas, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    note = f"{side:.0f} px of {width} x {height}, drawn at {take.camera.size} px"
    return to_picture(small, note)


def _draw_landmarks(picture: Array, landmarks: Array) -> Array:
    canvas = picture.copy()
    lips = {*INNER_UPPER_LIP, *INNER_LOWER_LIP}
    for index, (x, y) in enumerate(landmarks[:, :2]):
        color = (255, 80, 200) if index in lips else (40, 255, 120)
        cv2.circle(canvas, (round(float(x)), round(float(y))), 1, color, -1)
    return canvas


def _over_checkerboard(picture: Array, matte: Array) -> Array:
    axis = np.arange(len(picture)) // 16
    board = np.where((axis[:, None] + axis) % 2, 200, 120)[..., None]
    alpha = matte[..., None] / 255
    return (picture * alpha + board * (1 - alpha)).astype(np.uint8)


def _tint(picture: Array, regions: Array) -> Array:
    tinted = picture.astype(np.float32)
    for region, color in TINTS.items():
        tinted[regions == region] = 0.55 * tinted[regions == region] + 0.45 * np.array(color)
    return tinted.astype(np.uint8)


def _curves(take: Take, track: Track, level: Array) -> str:
    axis = Axis(take.length / take.fps, [(span.start / take.fps, span.stop / take.fps) for span in take.excluded])
    gap, height, width = lip_curves(track.landmarks).T.tolist()
    turn = torch.rad2deg(to_vector(track.rotation))
    return (
        to_curve({name: turn[:, i].tolist() for i, name in enumerate(("pitch", "yaw", "roll"))}, axis, unit="degrees")
        + to_curve({"lip gap": gap, "lip height": height, "mouth width": width}, axis, unit="eye distances")
        + to_curve({"left lid": track.eyes[:, 0].tolist(), "right lid": track.eyes[:, 1].tolist()}, axis)
        + to_curve({"torso x": track.torso[:, 0].tolist(), "torso y": track.torso[:, 1].tolist()}, axis, unit="px")
        + to_curve({"sound level": np.maximum(level, -80).tolist()}, axis, unit="dB of full scale")
    )


def _left_out(take: Take) -> str:
    if not take.excluded:
        return "<p>Nothing.</p>"
    longest = sorted(take.excluded, key=lambda span: span.start - span.stop)[:LEFT_OUT_MOST]
    spans = [span for span in take.excluded if span in longest]
    rows = [["from", "to", "reason"]]
    rows += [[f"{s.start / take.fps:.2f} s", f"{s.stop / take.fps:.2f} s", s.reason] for s in spans]
    if len(take.excluded) > len(spans):
        rows.append(["", "", f"and {len(take.excluded) - len(spans)} shorter ones"])
    middles = [(span.start + span.stop) // 2 for span in spans[:SHEET_COLUMNS]]
    cells = [_thumbnail(take, frame, struck=False) for frame in middles]
    return to_table(rows) + to_picture(np.concatenate(cells, 1), "The middle of the first of them.")
