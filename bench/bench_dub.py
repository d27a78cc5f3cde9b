"""How good dubbed footage is: python -m bench.bench_dub NAME.avatar VIDEO TAKE [--speech FILE] [--output FILE.json].

On the frames that the avatar was not trained on: dubbed with the motion they have (the upper bound) and with their own
sound, PSNR of the whole frame and under the mask; flicker of skin and gradient at the mask's border against the filmed;
with another frame's mouth, PSNR against that frame; a resting mouth over a talking one, deviation of the lips' opening
against the filmed; with another speech, correlation of the opening with what was asked for, with the filmed, and with
the filmed apart from what both have in common with what was asked for (the leak, a partial correlation);
the finest detail of skin against the filmed; and pixels that changed outside of the mask. Of the whole clip, looped to
twice its length: optical flow at turns and jumps against the usual.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.core.avatar_file import Avatar, load_avatar
from avatar.core.lips import lip_curves
from avatar.core.media import read_order
from avatar.core.motion_space import Motion
from avatar.core.take import Take, open_take, read_track
from avatar.metrics import correlation
from avatar.pipelines.dub import ONLY_LIPS
from avatar.pipelines.dub_plan import Footage, Plan, order_frames, plan_dub
from avatar.pipelines.dub_stage import MouthReplacer, Stage
from avatar.pipelines.evaluate import choose_frames
from avatar.pipelines.footage_order import plain
from avatar.pipelines.speech_film import make_motion
from avatar.play.player import motion_of_take
from bench.dub_figures import border, flicker, pair_psnr, psnr, transitions
from preprocess.dub import box_of, mask
from preprocess.nv12 import luma_of, picture_of
from preprocess.trackers import detect

FOREIGN_FRAMES = 150  # of another speech over the first frames
PAIRS = 30  # of frames, one with the other's mouth
FINE_PX = 1  # what is finer than this is detail

Array = np.ndarray


def all_dubbed(own: Motion, new: Motion) -> Plan:
    """A plan of frames in order, every one of which is dubbed."""
    count = len(own)
    return Plan(plain(torch.arange(count)), own, new, torch.ones(count), torch.zeros(count, dtype=torch.bool))


def compare(stage: Stage, plan: Plan, drawn: list[Array], filmed: list[Array]) -> dict[str, float]:
    """PSNR of whole frames and under the mask, detail of skin against the filmed, pixels changed outside."""
    whole, inside, outside, detail = list[float](), list[float](), 0, list[float]()
    for index, (made, given) in enumerate(zip(drawn, filmed, strict=True)):
        picture, truth = picture_of(made), picture_of(given)
        error = np.square(picture.astype(float) - truth).mean(-1)
        faces = stage.faces(plan.own, plan.new, index)
        box = box_of(faces, truth.shape[:2])
        shown = np.zeros(truth.shape[:2])
        box.of(shown)[...] = mask(faces, box)
        whole.append(psnr(error))
        inside.append(psnr(error[shown > 0.5]))
        outside += int((luma_of(made) != luma_of(given))[shown == 0].sum())
        ours, theirs = (_fine(one)[shown > 0.9].std() for one in (picture, truth))
        detail.append(float(ours / max(theirs, 1e-6)))
    means = (float(np.mean(one)) for one in (whole, inside, detail))
    return dict(zip(("whole", "mask", "finest detail"), means, strict=True)) | {"changed outside": outside}


def _fine(picture: Array) -> Array:
    grey = picture.astype(np.float32).mean(-1)
    around = sum(np.roll(grey, shift, axis) for axis in (0, 1) for shift in (-FINE_PX, FINE_PX)) / 4
    return grey - around


def opening_of(pictures: list[Array], stage: Stage) -> tuple[Tensor, Tensor]:
    """The lips' opening [T] in the crop of each picture, and where a face was found."""
    left, top, side = (round(value) for value in stage.take.crop)
    crop = (slice(max(0, top), top + side), slice(max(0, left), left + side))
    points, seen = detect(np.ascontiguousarray(picture_of(one)[crop]) for one in pictures)
    return lip_curves(points)[:, 0], seen


def measure(avatar: Avatar, video: Path, take: Take, speech: Path | None) -> dict[str, dict[str, float]]:
    """All rows of an avatar's dubbed footage."""
    fps, track, tracked = take.fps, read_track(take), motion_of_take(avatar, take)
    stage, footage = Stage(avatar, take), Footage(video, take, tracked)
    frames, _ = choose_frames(avatar, take)
    part = slice(frames.start, frames.stop)
    filmed = list(read_order(video, frames, fps=fps, start=footage.start))

    def dub(own: Motion, new: Motion, pictures: list[Array]) -> tuple[Plan, list[Array]]:
        plan = all_dubbed(own, new)
        return plan, list(MouthReplacer(stage, plan, usual=1e6).draw(iter(pictures)))

    rows: dict[str, dict[str, float]] = {}
    own = tracked[part]
    plan, drawn = dub(own, own, filmed)
    rows["own motion"] = compare(stage, plan, drawn, filmed)
    said = make_motion(avatar, take.root / "audio.wav", controls=ONLY_LIPS)[slice(0, take.length)]
    spoken = plan_dub(avatar, footage, said, fps, rest=True).new[part]
    start = time.process_time()
    plan, drawn = dub(own, spoken, filmed)
    milliseconds = 1000 * (time.process_time() - start) / len(drawn)
    (ours, seen), (theirs, shown) = (opening_of(one, stage) for one in (drawn, filmed))
    both = seen & shown
    rows["own sound"] = compare(stage, plan, drawn, filmed)
    faces = [stage.faces(own, spoken, index) for index in range(len(own))]
    rows["own sound"] |= {"flicker": flicker(drawn, filmed, faces), "border": border(drawn, filmed, faces)}
    rows["own sound"] |= {"opening": correlation(ours[both], theirs[both]), "processor ms": milliseconds}
    rows["another frame's mouth"] = {"mask": _pairs(stage, own, filmed)}
    order = order_frames(footage, 2 * take.length, range(take.length), fps)
    rows["looped"] = {"transitions": transitions(order, order.read(video, fps, footage.start))}
    quiet = replace(
        own, expression=tracked.expression[int(lip_curves(track.landmarks)[:, 0].argmin())].expand(len(own), -1)
    )
    at_rest, _ = opening_of(dub(own, quiet, filmed)[1], stage)
    rows["at rest"] = {"deviation of the opening": float(at_rest[both].std() / theirs[both].std())}
    if speech:
        rows["another speech"] = _foreign(avatar, footage, speech, stage)
    return rows


def _pairs(stage: Stage, own: Motion, filmed: list[Array]) -> float:
    """The pair test: frames with the mouths of frames half the part away."""
    half = len(own) // 2
    here = torch.arange(half)[:: max(1, half // PAIRS)]
    there = here + half
    given = replace(own[here], expression=own.expression[there])
    pictures = [filmed[index] for index in here.tolist()]
    made = list(MouthReplacer(stage, all_dubbed(own[here], given), usual=1e6).draw(iter(pictures)))
    faces = [stage.faces(own[here], given, index) for index in range(len(here))]
    theirs = [stage.faces(own, own, index) for index in there.tolist()]
    return pair_psnr(made, [filmed[index] for index in there.tolist()], faces, theirs)


def _foreign(avatar: Avatar, footage: Footage, speech: Path, stage: Stage) -> dict[str, float]:
    said, take = make_motion(avatar, speech, controls=ONLY_LIPS), footage.take
    count = min(FOREIGN_FRAMES, take.length, len(said))
    plan = plan_dub(avatar, footage, said, take.fps, rest=False)
    plan = all_dubbed(plan.own[slice(0, count)], plan.new[slice(0, count)])
    filmed = list(read_order(footage.video, range(count), fps=take.fps, start=footage.start))
    drawn = list(MouthReplacer(stage, plan, usual=1e6).draw(iter(filmed)))
    asked = torch.tensor([float(np.ptp(stage.faces(plan.own, plan.new, i).new[[13, 14], 1])) for i in range(count)])
    (ours, seen), (theirs, shown) = (opening_of(one, stage) for one in (drawn, filmed))
    both = seen & shown
    to_asked, to_filmed = correlation(ours[both], asked[both]), correlation(ours[both], theirs[both])
    by_chance = correlation(asked[both], theirs[both])
    leak = (to_filmed - to_asked * by_chance) / math.sqrt((1 - to_asked**2) * (1 - by_chance**2))
    return {"asked": to_asked, "filmed": to_filmed, "asked and filmed": by_chance, "leak": leak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("avatar", "video", "take"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--speech", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows = measure(load_avatar(options.avatar), options.video, open_take(options.take), options.speech)
    for name, values in rows.items():
        sys.stdout.write(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in values.items()) + "\n")
    if options.output:
        options.output.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
