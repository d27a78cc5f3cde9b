"""An avatar of one photo against the clip that the photo is a frame of.

    python -m bench.bench_photo judge TAKE... [--steps 300] [--size PX] [--fit] [--pictures DIR] [--baseline DIR]
        [--lpips DIR]
    python -m bench.bench_photo clip TAKE... [--seconds 5] [--steps 1320] [--size PX]

judge: a frame with a nearly shut mouth stands for the photo: it alone is trained on, with a plate filled behind the
person. The clip's own motion drives, torso included, and its other frames judge:
    face, mouth, eyes: mean PSNR in dB of frames whose head is turned at most 12 degrees from the photo's; of the mouth
        also ssim, and LPIPS with the user's weights (see docs/tasks.md)
    lips: correlation of the lips' opening that is detected in drawn frames with that of the clip's track, and the ratio
        of their standard deviations, over the ten seconds that open the mouth most; "as detected": against what the
        same detector finds in the clip's own frames, which the track corrects
    blink: how far eyes close in drawn frames in the middle of blinks, of how far the clip's do
    specks: percent of what is surely inside the person with alpha below .9 when the photo's head turns by 15 and 25
        degrees, beyond what there is in the photo's pose
    seconds: of the training with what precedes it; fps: frames a second
--fit: pose, expression and mesh are found in the photo alone, and the clip's motion is counted from it; without it they
are the clip's, whose fit knows all of its frames.
--pictures: of each Take a PNG: photo, open mouth, wide mouth, blink, turned; the clip above, drawn below. Drawn frames
lie in DIR/TAKE, which --baseline of another run compares: the same figures of the frames found there, in one run.
clip: a full build of the first seconds of a clip, judged by the rest (PSNR whole and face): run it in two versions.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatar.core.eyes import are_shut
from avatar.core.geometry import to_vector
from avatar.core.landmarks import LEFT_EYE, RIGHT_EYE
from avatar.core.lips import lip_curves
from avatar.core.motion_space import Motion, load_space
from avatar.core.take import (
    PHOTOS,
    Take,
    Track,
    open_take,
    read_frames,
    read_mattes,
    read_plate,
    read_track,
    save_track,
    with_size,
    write_take,
)
from avatar.metrics.lpips import Lpips, find_weights
from avatar.metrics.pictures import psnr, region_masks, ssim
from avatar.pipelines.turning import uncovered_share
from avatar.play.composite import over
from avatar.render.base import Renderer
from avatar.render.gaussian.settings import GaussianSettings
from avatar.render.gaussian.trainable import begin
from avatar.render.train import Schedule, train
from preprocess.best_view import rank_views
from preprocess.fit import lid_ratio
from preprocess.matte import fill_behind
from preprocess.photo import make_photo_take
from preprocess.photo_files import Photo
from preprocess.request import TakeRequest
from preprocess.take_folder import write_picture
from preprocess.trackers import detect

NEAR_RAD = 0.21  # 12 degrees
JUDGED = 40  # frames of PSNR
LIP_FRAMES, LIP_EVERY = 250, 2
BLINKS, AROUND_BLINK = 8, 2  # looked at; frames to both sides of its middle, so that a tracker can follow
TURNS = (15, 25)  # degrees
TRACKED = ("landmarks", "rotation", "translation", "expression", "eyes", "torso", "confidence")  # frame by frame
TIMED = 60  # frames


@dataclass(frozen=True)
class Case:
    """A clip, the frame of it that is the photo, and what may judge."""

    take: Take
    track: Track
    photo: int
    motion: Motion  # of the clip, the torso counted from the photo's
    turn: Tensor  # [T] rad from the photo's head

    @property
    def near(self) -> list[int]:
        """Frames that are judged by pictures: faces seen, turned little from the photo."""
        good = (self.turn <= NEAR_RAD) & (self.track.confidence >= 1)
        good[self.photo] = False
        good[[frame for frame in range(len(self.track)) if frame >= self.take.length]] = False
        frames = good.nonzero()[:, 0].tolist()
        return frames[:: max(1, len(frames) // JUDGED)]


def open_case(root: Path, size: int | None) -> Case:
    """The case of a clip's Take."""
    take = open_take(root)
    take = with_size(take, size or take.camera.size)
    track, usable = read_track(take), torch.tensor(sorted({*take.training_frames(), *take.test}))
    turns = to_vector(track.rotation[usable])
    ranks = rank_views(track.landmarks[usable], (turns - turns.median(0).values).norm(dim=1))
    photo = int(usable[ranks.argmax()])
    motion = replace(track.motion(), torso=track.torso - track.torso[photo])
    turn = to_vector(track.rotation @ track.rotation[photo].mT).norm(dim=1)
    return Case(take, track, photo, motion, turn)


def take_of_frame(case: Case, out: Path) -> Take:
    """A Take as of a photo, in the new folder `out`: a frame's picture and track, a plate filled behind the person."""
    take, frame = case.take, case.photo
    for name in ("frames", "mattes"):
        (out / name).mkdir(parents=True)
    picture, matte = (read(take, [frame])[0].numpy() for read in (read_frames, read_mattes))
    plate, seen = fill_behind(picture, matte)
    made = replace(
        take,
        root=out,
        length=1,
        train=range(1),
        test=range(1, 1),
        excluded=(),
        framings=(),
        source=take.source | {PHOTOS: "1"},
        quality=take.quality | {"plate_seen": seen, "camera_px": 0.0, "plate_error": 0.0},
        scale=1.0,
    )
    Image.fromarray(picture).save(made.frame_path(0), quality=98, subsampling=0)
    write_picture(made.matte_path(0), matte)
    write_picture(out / "background.png", plate)
    values = {name: getattr(case.track, name)[frame : frame + 1] for name in TRACKED}
    save_track(replace(case.track, **values | {"torso": torch.zeros(1, 4)}), out / "track.safetensors")
    write_take(made, out)
    return made


def fit_of_frame(case: Case, out: Path) -> Take:
    """The Take of the frame's picture, found as any photo's is."""
    picture = read_frames(case.take, [case.photo])[0].numpy()
    size = case.take.camera.size
    photo = make_photo_take([Photo("frame", "", picture, 1.0)], out, TakeRequest(size=size), device=torch.device("cpu"))
    if photo.crop != (0.0, 0.0, float(size)):
        raise ValueError(f"{case.take.root}: the frame was cropped; what is drawn cannot be compared with the clip")
    return photo


def counted_from(case: Case, track: Track) -> Motion:
    """The clip's motion, as far as it differs from the photo's frame, about the fit [1] of the photo itself."""
    motion, frame = case.motion, case.photo
    return replace(
        motion,
        rotation=motion.rotation @ motion.rotation[frame].T @ track.rotation[0],
        translation=motion.translation - motion.translation[frame] + track.translation[0],
        expression=motion.expression - motion.expression[frame] + track.expression[0],
    )


def build_photo(photo: Take, steps: int) -> tuple[Renderer, float]:
    """The renderer of a photo's Take, and the seconds that it took."""
    start = time.perf_counter()
    trainable = begin(photo, read_track(photo), load_space(), GaussianSettings(), 0)
    train(trainable, photo, read_track(photo), Schedule(steps=steps), seed=0)
    return trainable.renderer(), time.perf_counter() - start


Draw = Callable[[int], Tensor]
"""A clip's frame -> its picture [S, S, 3] uint8."""


def drawer(renderer: Renderer, motion: Motion, plate: Tensor) -> Draw:
    """Draws a motion's frames over a plate."""

    def draw(frame: int) -> Tensor:
        with torch.inference_mode():
            return over(*renderer.render(motion, range(frame, frame + 1)), plate)[0]

    return draw


def compare_pictures(case: Case, draw: Draw, lpips: Lpips | None) -> dict[str, float]:
    """Figures of pictures, over the frames near the photo."""
    rows: dict[str, list[float]] = {}
    for frame in case.near:
        picture, truth = draw(frame), read_frames(case.take, [frame])[0]
        masks = region_masks(case.track.landmarks[frame], case.take.camera.size)
        for region, mask in masks.items():
            rows.setdefault(f"{region} dB", []).append(psnr(picture, truth, mask))
        mouth = masks["mouth"]
        if mouth is None or not mouth.any():
            continue
        rows.setdefault("mouth ssim", []).append(ssim(picture, truth, mouth))
        if lpips:
            rows.setdefault("mouth lpips", []).append(lpips(*(cut_out(one, mouth) for one in (picture, truth))))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def cut_out(picture: Tensor, mask: Tensor) -> Tensor:
    """The square [128, 128, 3] about a mask."""
    rows, columns = mask.nonzero().unbind(1)
    low, high = (int(at) for at in (columns.min(), columns.max()))
    middle, half = int((rows.min() + rows.max()) // 2), (high - low + 1) // 2
    part = Image.fromarray(picture.numpy()).crop((low, middle - half, low + 2 * half, middle + half))
    return torch.from_numpy(np.array(part.resize((128, 128), Image.Resampling.BICUBIC)))


def lip_frames(case: Case) -> list[int]:
    """The stretch that opens the mouth most."""
    opening, length = lip_curves(case.track.landmarks)[: case.take.length, 0], min(LIP_FRAMES, case.take.length)
    moved = opening.unfold(0, length, 5).std(1) - case.turn[: case.take.length].unfold(0, length, 5).mean(1)
    start = 5 * int(moved.argmax())
    return list(range(start, start + length, LIP_EVERY))


def compare_lips(case: Case, draw: Draw) -> dict[str, float]:
    """How the lips' opening in drawn frames follows that of the clip's track."""
    frames = lip_frames(case)
    points, found = detect(draw(frame).numpy() for frame in frames)
    filmed, seen = detect(read_frames(case.take, [frame])[0].numpy() for frame in frames)
    near = found & seen & (case.turn[frames] <= NEAR_RAD) & (case.track.confidence[frames] >= 1)
    if near.sum() < len(frames) // 4:
        return {}
    drawn, true, detected = (lip_curves(one)[near, 0] for one in (points, case.track.landmarks[frames], filmed))
    correlation = float(torch.corrcoef(torch.stack([drawn, true]))[0, 1])
    amplitudes = {"lips amplitude": float(drawn.std() / true.std()), "as detected": float(drawn.std() / detected.std())}
    return {"lips correlation": correlation} | amplitudes


def blinks(case: Case) -> list[int]:
    """Middles of blinks with the head near the photo's."""
    eyes = case.track.eyes[: case.take.length]
    lids, shut = eyes[:, :2].mean(1), are_shut(eyes) & (case.turn[: case.take.length] <= NEAR_RAD)
    middles = [
        frame
        for frame in shut.nonzero()[:, 0].tolist()
        if AROUND_BLINK <= frame < len(lids) - AROUND_BLINK
        and int(lids[frame - AROUND_BLINK : frame + AROUND_BLINK + 1].argmin()) == AROUND_BLINK
    ]
    return sorted(middles, key=lambda frame: float(lids[frame]))[:BLINKS]


def compare_blinks(case: Case, draw: Draw) -> dict[str, float]:
    """How far drawn eyes close, of how far the clip's do: both from the photo to a blink's middle, in pictures."""
    shares = []
    for frame in blinks(case):
        around = [case.photo, *range(frame - AROUND_BLINK, frame + AROUND_BLINK + 1)]
        drawn, true = (
            lid_gaps(picture(one) for one in around) for picture in (draw, lambda one: read_frames(case.take, [one])[0])
        )
        if drawn is not None and true is not None and (closed := true[0] - true[1:].min()) > 0.05:
            shares.append((drawn[0] - drawn[1:].min()) / closed)
    return {"blink closure": float(np.mean(shares)), "blinks": len(shares)} if shares else {}


def lid_gaps(pictures: object) -> np.ndarray | None:
    """Lid gaps over eye widths [T], the mean of both eyes; None where a face is not found in all pictures."""
    points, found = detect(picture.numpy() for picture in pictures)  # type: ignore[attr-defined]
    if not found.all():
        return None
    return np.mean([lid_ratio(points.numpy(), eye) for eye in (LEFT_EYE, RIGHT_EYE)], axis=0)


def count_specks(renderer: Renderer, motion: Motion) -> dict[str, float]:
    """Percent of what is inside the person that is not covered with the head turned, and is in the photo's pose."""
    own = uncovered_share(renderer, motion, 0)
    shares = {degrees: uncovered_share(renderer, motion, degrees) - own for degrees in TURNS}
    return {f"specks {degrees} %": 100 * max(0.0, share) for degrees, share in shares.items()}


def frames_per_second(draw: Draw, length: int) -> float:
    """The best of three runs over some frames."""
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        for frame in range(min(TIMED, length)):
            draw(frame)
        rates.append(min(TIMED, length) / (time.perf_counter() - start))
    return max(rates)


def picture_sheet(case: Case, draw: Draw) -> Image.Image:
    """The clip above, drawn below: photo, mouth open, wide open, a blink, turned to both sides."""
    opening, near = lip_curves(case.track.landmarks)[:, 0], case.near
    by_opening = sorted(near, key=lambda frame: float(opening[frame]))
    side = to_vector(case.track.rotation @ case.track.rotation[case.photo].mT)[: case.take.length, 1]
    shown = [case.photo, by_opening[3 * len(near) // 4], by_opening[-1], *blinks(case)[:1]]
    shown += [int(side.argmin()), int(side.argmax())]
    columns = [np.concatenate([read_frames(case.take, [f])[0].numpy(), draw(f).numpy()]) for f in shown]
    return Image.fromarray(np.concatenate(columns, 1))


def saved_frames(folder: Path) -> Draw:
    """Draws what another run kept."""

    def draw(frame: int) -> Tensor:
        with Image.open(folder / f"{frame:06d}.png") as image:
            return torch.from_numpy(np.array(image.convert("RGB")))

    return draw


def judge(options: argparse.Namespace, root: Path) -> dict[str, dict[str, float]]:
    """All figures of a Take, and with a baseline those of its frames."""
    case, found = open_case(root, options.size), {}
    weights = find_weights(options.lpips)
    lpips = Lpips(weights) if weights else None
    with tempfile.TemporaryDirectory() as name:
        photo = (fit_of_frame if options.fit else take_of_frame)(case, Path(name) / "photo.take")
        if options.fit:
            case = replace(case, motion=counted_from(case, read_track(photo)))
        renderer, seconds = build_photo(photo, options.steps)
        draw, still = drawer(renderer, case.motion, read_plate(photo)), read_track(photo).motion()
    for which, by in (("photo", draw), ("baseline", options.baseline and saved_frames(options.baseline / root.stem))):
        if by:
            found[which] = compare_pictures(case, by, lpips) | compare_lips(case, by) | compare_blinks(case, by)
    found["photo"] |= count_specks(renderer, still) | {"fps": frames_per_second(draw, case.take.length)}
    found["photo"] |= {"seconds": seconds, "frame": case.photo}
    if options.pictures:
        keep_pictures(case, draw, options.pictures)
    return found


def keep_pictures(case: Case, draw: Draw, folder: Path) -> None:
    """The sheet of a Take, and every frame that `judge` looks at."""
    kept = folder / case.take.root.stem
    kept.mkdir(parents=True, exist_ok=True)
    picture_sheet(case, draw).save(folder / f"{case.take.root.stem}.png")
    around = {at + d for at in blinks(case) for d in range(-AROUND_BLINK, AROUND_BLINK + 1)}
    for frame in sorted({case.photo, *case.near, *lip_frames(case), *around}):
        Image.fromarray(draw(frame).numpy()).save(kept / f"{frame:06d}.png", compress_level=1)


def judge_clip(options: argparse.Namespace, root: Path) -> dict[str, float]:
    """PSNR of the rest of a clip, of a full build of its first seconds, own torso."""
    take = open_take(root)
    take = with_size(take, options.size or take.camera.size)
    count = round(options.seconds * take.fps)
    take, track = replace(take, train=range(count), test=range(count, take.length)), read_track(take)
    trainable = begin(take, track, load_space(), GaussianSettings(), 0)
    train(trainable, take, track, Schedule(steps=options.steps), seed=0)
    draw, rows = drawer(trainable.renderer(), track.motion(), read_plate(take)), dict[str, list[float]]()
    for frame in list(take.test)[:: max(1, len(take.test) // JUDGED)]:
        picture, truth = draw(frame), read_frames(take, [frame])[0]
        for region, mask in region_masks(track.landmarks[frame], take.camera.size).items():
            rows.setdefault(f"{region} dB", []).append(psnr(picture, truth, mask))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    works = {"judge": judge, "clip": judge_clip}
    for name, steps in (("judge", 300), ("clip", 1320)):
        kind = kinds.add_parser(name)
        kind.add_argument("takes", nargs="+", type=Path)
        kind.add_argument("--steps", type=int, default=steps)
        kind.add_argument("--size", type=int, help="px a side, at most those of the Take")
        kind.add_argument("--output", type=Path, help="JSON file")
        if name == "clip":
            kind.add_argument("--seconds", type=float, default=5.0)
        else:
            kind.add_argument("--fit", action="store_true")
            for option in ("--pictures", "--baseline", "--lpips"):
                kind.add_argument(option, type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for root in options.takes:
        found[root.stem] = works[options.kind](options, root)
        sys.stdout.write(f"{root.stem} {json.dumps(rounded(found[root.stem]))}\n")
        sys.stdout.flush()
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n")


def rounded(values: object) -> object:
    """The same figures with three digits behind the point."""
    if isinstance(values, dict):
        return {name: rounded(value) for name, value in values.items()}
    return round(values, 3) if isinstance(values, float) else values


if __name__ == "__main__":
    main()
