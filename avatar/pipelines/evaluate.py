"""How good an avatar is, on frames it never saw. Always says which mode."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from avatar.core.bundle import Avatar
from avatar.core.encode import Coding, write_video
from avatar.core.files import check_writable, whole
from avatar.core.page import COMPARED, compare, to_curve, to_film, to_picture, to_table, write_page
from avatar.core.take import Take, Track, read_frames, read_mattes, read_track, with_size
from avatar.metrics import METRICS, Score, flicker, landmark_distance, region_masks
from avatar.pipelines.draw import draw
from avatar.pipelines.driver import check_space, match_size
from avatar.pipelines.evaluate_speech import SpokenLips, compare_lips
from avatar.pipelines.networks import Networks, compare_looks, load_networks
from avatar.pipelines.speak import pick_split
from avatar.render.device import DeviceName
from preprocess.regions import HEAD, MOUTH, NECK, TEETH, TORSO, find_regions
from preprocess.trackers import detect

OWN_TORSO = "own torso, torso track given"
TRUE_TORSO = "true torso and background"
WORST, SHEET_ROWS, SHEET_COLUMNS = 4, 4, 6
THUMBNAIL = 192
SEAM = 0.02  # of the picture's side, to both sides of where head and torso meet

Array = np.ndarray


def evaluate(
    avatar: Avatar,
    take: Take,
    *,
    page: Path | None = None,
    sheet: Path | None = None,
    networks: Networks | None = None,
    device: DeviceName = "cpu",
) -> list[Score]:
    """Compare an avatar with the held-out frames of a Take (all frames when none were held out of it).

    Three modes: own torso (drawn from nothing of the test frame but its motion: pose, expression, eyes, torso track),
    true torso (the same head before the real frame's torso and background, as most papers measure), and audio only
    (driven by the sound; nothing of the test frames).

    page: an HTML page to write; sheet: a picture of many frames, for people who would rather look than read.
    """
    for out in (page, sheet):
        if out:
            check_writable(out)
    check_space(avatar)
    loaded = load_networks(networks or Networks())
    take = with_size(take, avatar.camera.size)
    frames = pick_split(take, "test" if len(take.test) else "all")
    track = read_track(take)
    motion = match_size(track.motion(), take, avatar)[slice(frames.start, frames.stop)]
    drawn = np.stack(list(draw(avatar, [motion], device=device)))
    real = read_frames(take, frames).numpy()
    scores = _compare_pictures(drawn, real, take, track, frames)
    # both by the same detector, whose readings of narrow gaps the track corrects
    (points, shown), (found, seen) = detect(real), detect(drawn)
    seen = seen & shown
    if seen.any():
        scores.append(Score(OWN_TORSO, "landmarks", "LMD", landmark_distance(found[seen], points[seen]), "px"))
    looks = compare_looks(loaded, (drawn, real), (found, points), seen)
    scores += [Score(OWN_TORSO, region, metric, value, "") for region, metric, value in looks]
    spoken = compare_lips(avatar, take, (torch.from_numpy(real), points), frames, loaded.syncnet, device)
    scores += spoken.scores
    if sheet:
        with whole(sheet) as temporary:
            Image.fromarray(_contact_sheet(real, drawn)).save(temporary)
    if page:
        _write_evaluation(page, scores, real, drawn, take, frames, spoken)
    return scores


def _compare_pictures(drawn: Array, real: Array, take: Take, track: Track, frames: range) -> list[Score]:
    values: dict[tuple[str, str, str], list[float]] = {}
    for picture, truth, frame in zip(drawn, real, frames, strict=True):
        labels = find_regions(track.landmarks[frame].numpy(), read_mattes(take, [frame])[0].numpy())
        regions = region_masks(track.landmarks[frame], take.camera.size)
        regions |= body_masks(labels, regions["face"])
        pasted = np.where(_is_head(labels)[..., None], picture, truth)
        for mode, image in ((OWN_TORSO, picture), (TRUE_TORSO, pasted)):
            some = regions if mode == OWN_TORSO else {"whole": None}
            for region, mask in some.items():
                if mask is not None and not mask.any():
                    continue
                for name, metric in METRICS.items():
                    value = metric.measure(torch.from_numpy(image), torch.from_numpy(truth), mask)
                    values.setdefault((mode, region, name), []).append(value)
    scores = [Score(*key, float(np.mean(list_of)), METRICS[key[2]].unit) for key, list_of in values.items()]
    points = track.landmarks[frames.start : frames.stop]
    if len(frames) > 1:
        ratio = flicker(torch.from_numpy(drawn), points) / max(1e-6, flicker(torch.from_numpy(real), points))
        scores.append(Score(OWN_TORSO, "skin", "flicker", ratio, "x of the source's own"))
    return scores


def _is_head(labels: Array) -> Array:
    return np.isin(labels, (HEAD, MOUTH, TEETH))


def body_masks(labels: Array, face: Tensor | None) -> dict[str, Tensor | None]:
    """Regions of the person beside the face, by labels [S, S] of `find_regions` and the face's mask [S, S]."""
    assert face is not None
    head, neck, torso = (torch.from_numpy(labels == part) for part in (HEAD, NECK, TORSO))
    reach = max(1, round(SEAM * len(labels)))
    seam = _wider(head, reach) & _wider(neck | torso, reach)
    return {"hair": head & ~face, "neck": neck, "torso": torso, "seam of head and torso": seam}


def _wider(mask: Tensor, reach: int) -> Tensor:
    """A mask [S, S] bool and all pixels within `reach` of it."""
    return functional.max_pool2d(mask[None].float(), 2 * reach + 1, 1, reach)[0] > 0


def write_json(scores: list[Score], path: Path) -> None:
    """Write scores as JSON."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps([asdict(score) for score in scores], indent=1))


def table_rows(scores: list[Score]) -> list[list[str]]:
    """Scores as rows of text; the first row is the head."""
    head = ["mode", "region", "metric", "value"]
    return [head] + [[s.mode, s.region, s.metric, f"{s.value:.3f} {s.unit}".strip()] for s in scores]


def _heat(real: Array, drawn: Array) -> Array:
    """Mean error of all frames [S, S, 3]: dark blue to yellow."""
    mean = np.mean([np.abs(d.astype(np.float32) - r).mean(-1) for d, r in zip(drawn, real, strict=True)], 0)
    level = np.clip(mean / 24, 0, 1)[..., None]
    return (np.array([20, 24, 60]) * (1 - level) + np.array([255, 230, 60]) * level).astype(np.uint8)


def _contact_sheet(real: Array, drawn: Array) -> Array:
    """Many frames [H, W, 3], evenly spread: real above drawn, row by row."""
    count = min(len(drawn), SHEET_ROWS * SHEET_COLUMNS)
    chosen = np.linspace(0, len(drawn) - 1, count).round().astype(int)
    small = [np.concatenate([_shrink(real[index]), _shrink(drawn[index])]) for index in chosen]
    small += [np.full_like(small[0], 255)] * (-count % SHEET_COLUMNS)
    rows = [np.concatenate(small[start : start + SHEET_COLUMNS], 1) for start in range(0, len(small), SHEET_COLUMNS)]
    return np.concatenate(rows)


def _shrink(picture: Array) -> Array:
    return np.array(Image.fromarray(picture).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS))


def _write_evaluation(
    path: Path, scores: list[Score], real: Array, drawn: Array, take: Take, frames: range, spoken: SpokenLips
) -> None:
    errors = [np.abs(d.astype(int) - r).mean() for d, r in zip(drawn, real, strict=True)]
    worst = sorted(np.argsort(errors)[-WORST:].tolist())
    rows = [to_picture(compare(real[i], drawn[i]), f"frame {frames[i]}: {COMPARED}") for i in worst]
    plots = "".join(to_curve(curves, unit="eye distances") for curves in spoken.curves.values())
    sections = [
        ("Figures", to_table(table_rows(scores))),
        ("Real, drawn, error", _film(real, drawn, take.fps)),
        ("The worst frames", "".join(rows)),
        ("Where the error is", to_picture(_heat(real, drawn), "mean over all frames; yellow: 24 of 255 and more")),
        ("Error by frame", to_curve({"mean absolute error": errors}, unit="of 255")),
        ("Lips driven by sound", plots),
        ("Many frames: real above drawn", to_picture(_contact_sheet(real, drawn))),
    ]
    write_page(path, "Evaluation", f"{len(frames)} frames of {take.source.get('name', take.root.name)}", sections)


def _film(real: Array, drawn: Array, fps: float) -> str:
    beside = (compare(truth, picture)[::2, ::2] for truth, picture in zip(real, drawn, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        write_video(beside, film, fps=fps, coding=Coding(quality="draft"))
        return to_film(film.read_bytes(), f"{COMPARED}; the same motion")
