"""Further modes of an evaluation: with the pose registered to each picture, and as published tables are measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.core.encode import Coding, write_video
from avatar.core.landmarks import MOUTH_20
from avatar.core.media import read_video
from avatar.core.motion_space import Motion
from avatar.core.progress import Progress, count_steps
from avatar.metrics import METRICS, Score
from avatar.metrics.lpips import Lpips
from avatar.metrics.registration import register
from avatar.pipelines.networks import Further
from avatar.play.player import Player
from preprocess.regions import is_head
from preprocess.trackers import detect

REGISTERED = "own torso, pose registered"
PUBLISHED = "as published: lips by sound, true pose, true torso, H.264"
REGISTERED_FRAMES = 25  # at most, evenly spread: each is drawn fifty times
AS_PUBLISHED = Coding(quality="best")  # CRF 11; they write with imageio's quality 8, which is CRF 10

Array = np.ndarray


def compare_further(
    player: Player,
    further: Further,
    lpips: Lpips | None,
    motions: tuple[Motion, Motion],
    truth: Array,
    regions: Iterable[tuple[dict[str, Tensor | None], Array]],
    progress: Progress,
) -> list[Score]:
    """The modes that are asked for.

    motions: of the frames, as tracked and by sound; truth: [T, S, S, 3] uint8; regions: of each frame masks by region
    and labels [S, S].
    """
    tracked, driven = motions
    parts, scores = list(regions) if further.registered or further.published else [], list[Score]()
    if further.registered:
        scores += compare_registered(player, tracked, truth, [masks for masks, _ in parts], progress)
    if further.published:
        scores += compare_as_published(player, driven, tracked, truth, [is_head(labels) for _, labels in parts], lpips)
    return scores


def compare_registered(
    player: Player, motion: Motion, truth: Array, masks: Iterable[dict[str, Tensor | None]], progress: Progress
) -> Iterator[Score]:
    """PSNR by region with each pose fitted to the picture, beside the same frames as tracked.

    motion: of the frames, in the avatar's camera; truth: [T, S, S, 3] uint8; masks: by region, of each frame.
    """
    chosen = range(0, len(truth), -(-len(truth) // REGISTERED_FRAMES))
    kept = [masks_of for index, masks_of in enumerate(masks) if index in chosen]
    values: dict[tuple[str, str], list[float]] = {}
    for index, regions in zip(count_steps(chosen, "register", len(chosen), progress), kept, strict=True):
        real, here = torch.from_numpy(truth[index]), motion[slice(index, index + 1)]
        found = register(here, real, lambda poses: torch.from_numpy(np.stack(list(player.reenact(poses)))))
        for name, pose in (("psnr", found), ("psnr of the same frames, as tracked", here)):
            (drawn,) = player.reenact(pose)
            for region, mask in regions.items():
                if mask is None or mask.any():
                    value = METRICS["psnr"].measure(torch.from_numpy(drawn), real, mask)
                    values.setdefault((region, name), []).append(value)
    for (region, name), measured in values.items():
        yield Score(REGISTERED, region, name, float(np.mean(measured)), "dB")


def compare_as_published(
    player: Player, driven: Motion, tracked: Motion, truth: Array, heads: Iterable[Array], lpips: Lpips | None
) -> Iterator[Score]:
    """Figures as the evaluation code of ER-NeRF, TalkingGaussian and InsTaG measures them.

    Lips by sound; pose and eyes of each frame given; head pasted before the true torso and background; both films
    written as H.264 and read again; PSNR and LPIPS of whole pictures, LMD of 20 mouth points less their mean. Their
    landmarks are FAN's, ours the tracker's. Split as they do with `--holdout 0.091`, a last eleventh.

    driven, tracked: motion of the frames by sound and as tracked; truth: [T, S, S, 3] uint8; heads: masks [S, S] bool.
    """
    posed = replace(tracked, expression=driven.expression)
    drawn = [
        np.where(head[..., None], picture, real)
        for picture, real, head in zip(player.reenact(posed), truth, heads, strict=True)
    ]
    ours, theirs = _as_film(drawn, tracked.fps), _as_film(truth, tracked.fps)
    pairs = list(zip(map(torch.from_numpy, ours), map(torch.from_numpy, theirs), strict=True))
    for name, metric in METRICS.items():
        yield Score(
            PUBLISHED, "whole", name, float(np.mean([metric.measure(*pair, None) for pair in pairs])), metric.unit
        )
    if lpips:
        yield Score(PUBLISHED, "whole", "LPIPS", float(np.mean([lpips(*pair) for pair in pairs])), "")
    (found, seen), (real_points, shown) = detect(iter(ours)), detect(iter(theirs))
    if (both := seen & shown).any():
        yield Score(PUBLISHED, "mouth", "LMD of 20 points", _centred_distance(found[both], real_points[both]), "px")


def _as_film(pictures: Iterable[Array], fps: float) -> Array:
    """Pictures [T, S, S, 3] as they come back from a film."""
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        first, *_ = pictures = list(pictures)
        write_video(pictures, film, fps=fps, coding=AS_PUBLISHED)
        return np.stack(list(read_video(film, size=len(first), fps=fps))[: len(pictures)])


def _centred_distance(found: Tensor, truth: Tensor) -> float:
    """Mean distance in px of mouth points of frames [T, 478, 3] px, each less the mean of its frame's points."""
    ours, theirs = (points[:, list(MOUTH_20), :2] for points in (found, truth))
    return float(((ours - ours.mean(1, True)) - (theirs - theirs.mean(1, True))).norm(dim=-1).mean())
