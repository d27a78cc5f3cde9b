"""How good an avatar is, and on which frames: held out, trained on, or of another recording. Always says which mode."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from avatar.core.avatar_file import Avatar, as_avatar
from avatar.core.controls import Controls
from avatar.core.encode import Coding, write_video
from avatar.core.files import whole
from avatar.core.outputs import check_output, files_among
from avatar.core.page import COMPARED, compare, to_curve, to_film, to_picture, to_table, write_page
from avatar.core.progress import Progress, count_steps, no_progress
from avatar.core.take import Take, Track, as_take, read_frames, read_mattes, read_track, with_size
from avatar.metrics import (
    METRICS,
    Score,
    coverage_inside,
    edge_psnr,
    flicker,
    landmark_distance,
    premultiply,
    region_masks,
)
from avatar.pipelines.evaluate_more import compare_further
from avatar.pipelines.evaluate_speech import SpokenLips, compare_lips
from avatar.pipelines.networks import Further, compare_looks, load_networks
from avatar.pipelines.turning import describe_photos
from avatar.pipelines.verdict import sum_up
from avatar.play.player import Player, check_space, motion_of_take
from avatar.render.device import DeviceName
from avatar.render.training_frames import TrainingPictures
from preprocess.regions import HEAD, NECK, TORSO, find_regions, is_head
from preprocess.trackers import detect

OWN_TORSO = "own torso, torso track given"
TRUE_TORSO = "true torso and background"
WORST, SHEET_ROWS, SHEET_COLUMNS = 4, 4, 6
THUMBNAIL = 192
SEAM = 0.02  # of the picture's side, to both sides of where head and torso meet

COVERAGE_FRAMES = 50  # that coverage is measured on, at most: drawn once more
FEW_FRAMES = 50  # two seconds: fewer say little of correlations

Array = np.ndarray
SeenBefore = Literal["held out", "trained on", "another recording", "not known"]
"""Whether an avatar was trained on the frames that it is evaluated on."""


@dataclass(frozen=True)
class Evaluation:
    """Figures, and the frames that they were measured on."""

    scores: list[Score]
    frames: range
    seen_before: SeenBefore
    made_of: str = ""  # of an avatar of photos: what it is trusted for

    @property
    def lead(self) -> str:
        """What was measured, for people."""
        where = {
            "held out": "held out, never trained on",
            "trained on": "TRAINED ON, so the figures are too good; build with --holdout 0.1",
            "another recording": "of another recording than the avatar's",
            "not known": "and whether they were trained on is not known; build the avatar again",
        }
        return f"{len(self.frames)} frames, {where[self.seen_before]}"

    @property
    def verdict(self) -> str:
        """What the figures come to, in a sentence."""
        return sum_up(self.scores)

    @property
    def notes(self) -> list[str]:
        """Warnings about the figures."""
        photos = [self.made_of] if self.made_of else []
        if len(self.frames) >= FEW_FRAMES:
            return photos
        return [
            *photos,
            f"With {len(self.frames)} frames correlations mean little, least of all for curves of small deviation: "
            f"give {FEW_FRAMES} frames and more",
        ]


def evaluate(
    avatar: Avatar | Path | str,
    take: Take | Path | str,
    *,
    page: Path | str | None = None,
    sheet: Path | str | None = None,
    further: Further | None = None,
    device: DeviceName = "auto",
    force: bool = False,
    progress: Progress = no_progress,
) -> Evaluation:
    """Compare an avatar with frames of a Take that it was not trained on; with all, where there are none such.

    Three modes: own torso (drawn from nothing of the test frame but its motion: pose, expression, eyes, torso track),
    true torso (the same head before the real frame's torso and background, as most papers measure), and audio only
    (driven by the sound; nothing of the test frames).

    page: an HTML page to write; sheet: a picture of many frames, for people who would rather look than read.
    further: what takes longer or needs the user's networks.
    force: replace files of other kinds there, too; never what is read.
    """
    read = files_among(avatar)
    avatar, take = as_avatar(avatar), as_take(take)
    page, sheet = (Path(out) if out else None for out in (page, sheet))
    for out, ending in ((page, ".html"), (sheet, ".png")):
        if out:
            check_output(out, [take.root, *read], endings=(ending,), force=force)
    check_space(avatar)
    further = further or Further()
    loaded = load_networks(further.networks)
    take = with_size(take, avatar.camera.size)
    frames, seen_before = choose_frames(avatar, take)
    track = read_track(take)
    player = Player(avatar, controls=Controls(), device=device, mark="none")
    tracked = motion_of_take(avatar, take)[slice(frames.start, frames.stop)]
    pictures = player.reenact(tracked)
    drawn = np.stack(list(count_steps(pictures, "draw", len(frames), progress)))
    real = read_frames(take, frames).numpy()
    scores = _compare_pictures(drawn, real, take, track, frames, progress)
    scores += _measure_coverage(player, avatar, take, frames)
    # both by the same detector, whose readings of narrow gaps the track corrects
    stages = (("find real", real), ("find drawn", drawn))
    (points, shown), (found, seen) = (detect(count_steps(one, name, len(one), progress)) for name, one in stages)
    seen = seen & shown
    if seen.any():
        scores.append(Score(OWN_TORSO, "landmarks", "LMD", landmark_distance(found[seen], points[seen]), "px"))
    looks = compare_looks(loaded, (drawn, real), (found, points), seen, progress=progress)
    scores += [Score(OWN_TORSO, region, metric, value, "") for region, metric, value in looks]
    spoken = compare_lips(player, take, (torch.from_numpy(real), points), frames, loaded, progress=progress)
    regions = (_regions(take, track, frame) for frame in frames)
    scores += compare_further(player, further, loaded.lpips, (tracked, spoken.motion), real, regions, progress)
    evaluation = Evaluation(scores + spoken.scores, frames, seen_before, describe_photos(avatar, tracked))
    if sheet:
        with whole(sheet) as temporary:
            Image.fromarray(_contact_sheet(real, drawn)).save(temporary, "png")
    if page:
        progress("page", 0, 1)
        _write_evaluation(page, evaluation, real, drawn, take, spoken)
        progress("page", 1, 1)
    return evaluation


def choose_frames(avatar: Avatar, take: Take) -> tuple[range, SeenBefore]:
    """Frames of a Take to be evaluated, and whether the avatar was trained on them.

    Those that were held out, where the Take is of the clip that the avatar was trained on; else the Take's test part.
    """
    test = take.test if len(take.test) else range(take.length)
    known = avatar.trained_on
    if known is None:
        return test, "not known"
    if known.clip not in (take.source.get("sha256"), take.source.get("name")):
        return test, "another recording"
    held_out = range(max(0, known.stop - take.first_source_frame), take.length)
    return (held_out, "held out") if len(held_out) else (test, "trained on")


def _compare_pictures(
    drawn: Array, real: Array, take: Take, track: Track, frames: range, progress: Progress
) -> list[Score]:
    values: dict[tuple[str, str, str], list[float]] = {}
    pairs = zip(drawn, real, frames, strict=True)
    for picture, truth, frame in count_steps(pairs, "compare", len(frames), progress):
        regions, labels = _regions(take, track, frame)
        pasted = np.where(is_head(labels)[..., None], picture, truth)
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


def _regions(take: Take, track: Track, frame: int) -> tuple[dict[str, Tensor | None], Array]:
    """Masks of a frame by region, and the labels [S, S] of `find_regions`."""
    labels = find_regions(track.landmarks[frame].numpy(), read_mattes(take, [frame])[0].numpy())
    regions = region_masks(track.landmarks[frame], take.camera.size)
    return regions | body_masks(labels, regions["face"]), labels


def _measure_coverage(player: Player, avatar: Avatar, take: Take, frames: range) -> list[Score]:
    """How opaque the person is inside, and how right their edge is over new backgrounds: of evenly spread frames.

    The edge is compared with what `TrainingPictures` finds, the best estimate there is of a clip without truth.
    """
    chosen, pictures = frames[:: -(-len(frames) // COVERAGE_FRAMES)], TrainingPictures(take)
    drawn = player.reenact(motion_of_take(avatar, take)[torch.tensor(chosen)], pixels="rgba")
    inside, edges = list[tuple[float, float]](), list[float]()
    for frame, picture, (matte,) in zip(chosen, drawn, read_mattes(take, list(chosen))[:, None], strict=True):
        cut_out = torch.from_numpy(picture)
        covered = coverage_inside(cut_out[..., 3], matte)
        edge = edge_psnr(premultiply(cut_out), pictures.cut_out(frame).permute(1, 2, 0))
        inside += [covered] if covered else []
        edges += [edge] if edge else []
    scores = [Score(OWN_TORSO, "edge", "psnr over new backgrounds", float(np.mean(edges)), "dB")] if edges else []
    for name, values in zip(("opaque", "coverage"), zip(*inside, strict=True), strict=False):
        scores.append(Score(OWN_TORSO, "inside", name, float(np.mean(values)), ""))
    return scores


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


def write_json(evaluation: Evaluation, path: Path) -> None:
    """Write an evaluation as JSON."""
    content = {
        "frames": [evaluation.frames.start, evaluation.frames.stop],
        "seen_before": evaluation.seen_before,
        "verdict": evaluation.verdict,
        "notes": evaluation.notes,
        "scores": [asdict(score) for score in evaluation.scores],
    }
    with whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


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
    path: Path, evaluation: Evaluation, real: Array, drawn: Array, take: Take, spoken: SpokenLips
) -> None:
    frames = evaluation.frames
    errors = [np.abs(d.astype(int) - r).mean() for d, r in zip(drawn, real, strict=True)]
    worst = sorted(np.argsort(errors)[-WORST:].tolist())
    rows = [to_picture(compare(real[i], drawn[i]), f"frame {frames[i]}: {COMPARED}") for i in worst]
    plots = "".join(to_curve(curves, unit="eye distances") for curves in spoken.curves.values())
    sections = [
        ("Figures", to_table(table_rows(evaluation.scores))),
        ("Real, drawn, error", _film(real, drawn, take.fps)),
        ("The worst frames", "".join(rows)),
        ("Where the error is", to_picture(_heat(real, drawn), "mean over all frames; yellow: 24 of 255 and more")),
        ("Error by frame", to_curve({"mean absolute error": errors}, unit="of 255")),
        ("Lips driven by sound", plots),
        ("Many frames: real above drawn", to_picture(_contact_sheet(real, drawn))),
    ]
    lead = f"{take.source.get('name', take.root.name)}: {evaluation.lead}"
    write_page(path, "Evaluation", ". ".join([lead, evaluation.verdict, *evaluation.notes]), sections)


def _film(real: Array, drawn: Array, fps: float) -> str:
    beside = (compare(truth, picture)[::2, ::2] for truth, picture in zip(real, drawn, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        write_video(beside, film, fps=fps, coding=Coding(quality="draft"))
        return to_film(film.read_bytes(), f"{COMPARED}; the same motion")
