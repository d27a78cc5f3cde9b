"""`report.html` of a Take: what was found, in pictures, curves and words."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from avatar.core.geometry import to_vector
from avatar.core.page import to_curve, to_picture, to_table, write_page
from avatar.core.take import Take, Track, read_frames, read_mattes, read_plate
from preprocess.checks import judge
from preprocess.landmarks import LEFT_CORNER, LOWER_LIP, RIGHT_CORNER, UPPER_LIP

SHOWN = 4

Array = np.ndarray


def write_report(take: Take, track: Track) -> None:
    """Write the page into the take's folder."""
    quality = take.quality
    frames = np.linspace(0, take.length - 1, SHOWN).round().astype(int).tolist()
    pictures = read_frames(take, frames).numpy()
    mattes = read_mattes(take, frames).numpy()
    overlays = [_draw_landmarks(p, track.landmarks[f].numpy()) for p, f in zip(pictures, frames, strict=True)]
    cut_out = [_over_checkerboard(p, m) for p, m in zip(pictures, mattes, strict=True)]
    sections = [
        ("Landmarks", to_picture(_row(overlays))),
        ("Person", to_picture(_row(cut_out))),
        ("Background", to_picture(read_plate(take).numpy(), f"{quality['plate_seen']:.0%} of it was ever seen")),
        ("Curves", _curves(track)),
        ("Left out", _left_out(take)),
        ("Figures", to_table([["figure", "value"], *[[k, f"{v:.3g}"] for k, v in quality.items()]])),
    ]
    lead = f"{judge(quality)} {take.length / take.fps:.1f} s, {len(take.training_frames())} frames to train on."
    write_page(take.root / "report.html", f"Take of {take.source['name']}", lead, sections)


def _row(pictures: list[Array]) -> Array:
    return np.concatenate([cv2.resize(p, (320, 320), interpolation=cv2.INTER_AREA) for p in pictures], 1)


def _draw_landmarks(picture: Array, landmarks: Array) -> Array:
    canvas = picture.copy()
    for x, y in landmarks[:, :2]:
        cv2.circle(canvas, (round(float(x)), round(float(y))), 1, (40, 255, 120), -1)
    return canvas


def _over_checkerboard(picture: Array, matte: Array) -> Array:
    axis = np.arange(len(picture)) // 16
    board = np.where((axis[:, None] + axis) % 2, 200, 120)[..., None]
    alpha = matte[..., None] / 255
    return (picture * alpha + board * (1 - alpha)).astype(np.uint8)


def _curves(track: Track) -> str:
    points = track.landmarks[..., :2]
    opening = (points[:, UPPER_LIP] - points[:, LOWER_LIP]).norm(dim=-1)
    width = (points[:, LEFT_CORNER] - points[:, RIGHT_CORNER]).norm(dim=-1)
    turn = torch.rad2deg(to_vector(track.rotation))
    names = ("pitch", "yaw", "roll")
    return (
        to_curve({name: turn[:, axis].tolist() for axis, name in enumerate(names)}, unit="degrees")
        + to_curve({"lip opening": opening.tolist(), "mouth width": width.tolist()}, unit="px")
        + to_curve({"left lid": track.eyes[:, 0].tolist(), "right lid": track.eyes[:, 1].tolist()})
        + to_curve({"torso x": track.torso[:, 0].tolist(), "torso y": track.torso[:, 1].tolist()}, unit="px")
    )


def _left_out(take: Take) -> str:
    if not take.excluded:
        return "<p>Nothing.</p>"
    rows = [["from", "to", "reason"]]
    rows += [[f"{s.start / take.fps:.2f} s", f"{s.stop / take.fps:.2f} s", s.reason] for s in take.excluded]
    first = [read_frames(take, [span.start])[0].numpy() for span in take.excluded[:SHOWN]]
    return to_table(rows) + to_picture(_row(first))
