"""Damaged files, read as commands read them: python -m tests.fuzzing FOLDER [--files 20000] [--seed 0].

Each file must be read, or refused in a line; within 5 s and 1 GiB. FOLDER keeps the whole files that others are made
of, and those that were not survived. Exit status 1 where there were any.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from avatar.cli.errors import describe_error
from avatar.core.avatar_file import Avatar, SpeakingStyle, load_avatar, save_avatar
from avatar.core.controls import Controls, resolve_controls
from avatar.core.files import UserError
from avatar.core.motion_space import load_motion, load_space, save_motion
from avatar.core.speech_model import SpeechModel
from avatar.core.take import Take, open_take, read_audio, read_frames, read_mattes, read_plate, read_still, read_track
from avatar.core.take import with_size as smaller
from cuda_ext.limits import core_count
from tests.mutations import damage_bytes, damage_picture, damage_tensors, damage_text, damage_tree, to_text

MOST_SECONDS, MOST_BYTES = 5.0, 2**30
AT_ONCE = 1000  # files of a worker process
ROOM = 6 * 2**30  # bytes of addresses beside those that a worker begins with: a wild allocation fails
FRAMES, SIZE = 30, 64  # of the whole files

RECIPE = """name: mine
seed: 3
budget_seconds: 60
holdout: 0.1
train_size: 256
renderer:
  kind: nerf
  levels: 8
  finest: 128
  step_cm: 0.6
  stop: 0.01
motion:
  calibration: regression
controls:
  mouth_gain: 1.1
  blink: {0: 1, 5: 0.5}
  pose: generated
"""
JOBS = """defaults:
  all: {device: cpu}
  speak: {avatar: gaussian.avatar, codec: h264}
jobs:
  - kind: speak
    id: one
    speech: "*.wav"
    output: "out/{avatar}_{speech}_{mouth_gain}.mp4"
    matrix: {mouth_gain: [1.0, 1.2]}
  - kind: motion
    avatar: [gaussian.avatar, nerf.avatar]
    speech: a.wav
    after: one
    output: "out/{avatar}.motion"
    controls: {blink: {0: 1, 4: 0}}
  - kind: build
    source: actor.take
    budget: 30s
    recipe: {renderer: {kind: gaussian, splats: 3000}}
    output: out/x.avatar
"""


def make_originals(folder: Path, take: Take, adapted: tuple[SpeechModel, SpeakingStyle]) -> None:
    """Whole files of every kind, such as the commands write them, but small.

    take: of a person who speaks; adapted: to it, as `avatar.learn.adapt` returns it.
    """
    from avatar.core.media import write_wav
    from avatar.pipelines.build import read_frame
    from avatar.render.kinds import TRAINABLES
    from tests.actors import shorten
    from tests.trained import settings_of

    folder.mkdir(parents=True, exist_ok=True)
    small = smaller(shorten(take, FRAMES, folder / "actor.take"), SIZE)
    track, space, (frame, matte) = read_track(small), load_space(), read_frame(take.still_path)
    speech = replace(adapted[0], voice=adapted[0].voice[:FRAMES])
    style = replace(adapted[1], own=track.motion())
    for kind, trainable in TRAINABLES.items():
        begun = trainable.begin(small, track, space, settings_of(kind), 0)
        recipe = RECIPE if kind == "nerf" else ""
        picture = read_plate(small), small.camera, take.fps, space.id, recipe, take.source
        values = trainable.pack(begun.tensors())
        save_avatar(Avatar(kind, values, speech, style, *picture, frame, take.crop, matte), folder / f"{kind}.avatar")
    save_motion(track.motion(), folder / "a.motion", space.id)
    write_wav(folder / "a.wav", read_audio(take)[:16000])
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "jobs.yaml").write_text(JOBS)
    (folder / "controls.yaml").write_text("mouth_gain: 1.2\nblink: {0: 1, 2.5: 0}\npose: still\nlle: 0.2\n")
    (folder / "whole").touch()


class Reader:
    """Reads files as the commands do; whole files that a damaged one is used with are opened once."""

    def __init__(self, originals: Path) -> None:
        from avatar.play.player import Player

        self.avatar = load_avatar(originals / "gaussian.avatar")
        self.player = Player(self.avatar, device="cpu")
        self.motion = load_motion(originals / "a.motion")
        self.sound = 0.1 * torch.randn(1600, generator=torch.Generator().manual_seed(0))

    def read(self, path: Path, kind: str, rng: random.Random) -> None:
        """Raises: UserError, OSError where a command refuses the file."""
        getattr(self, f"read_{kind}")(path, rng)

    def read_avatar(self, path: Path, rng: random.Random) -> None:
        from avatar.pipelines.export import export_depth, export_splats
        from avatar.pipelines.upgrade import upgrade
        from avatar.play.look import Look
        from avatar.play.player import Player

        avatar = load_avatar(path)
        match rng.randrange(6):
            case 0:
                upgrade(path)
            case 1:
                out = path.with_name("out.png")
                export_splats(avatar, out) if avatar.kind == "gaussian" else export_depth(avatar, out)
            case 2:
                look = Look(full_frame=True)
                exhaust(Player(avatar, look=look, device="cpu").reenact(self.motion[:2]))
            case 3:
                session = Player(avatar, device="cpu").session()
                session.push(self.sound.numpy())
                session.idle(2)
            case _:
                exhaust(Player(avatar, device="cpu").speak([self.sound]))

    def read_motion(self, path: Path, rng: random.Random) -> None:
        from avatar.pipelines.export import export_curves, export_splats

        motion = load_motion(path)
        if rng.random() < 0.5:
            export_curves(motion, path.with_name("out.csv"), layout=rng.choice(("motion", "arkit")))
        exhaust(self.player.reenact(motion))
        export_splats(self.avatar, path.with_name("out"), motion=motion, frame=rng.choice((0, 5, -1)))

    def read_take(self, root: Path, rng: random.Random) -> None:
        from avatar.pipelines.build import trained_on
        from avatar.pipelines.evaluate import choose_frames
        from avatar.play.player import motion_of_take
        from preprocess.checks import assess_quality

        take = open_take(root)
        str(assess_quality(take.quality))
        for one in (take, smaller(take, SIZE)):
            frames = one.training_frames()[:1] + list(one.test)[-1:]
            for read in (read_track, read_plate, read_still, read_audio):
                read(one)
            if frames:
                read_frames(one, frames), read_mattes(one, frames)
        trained_on(take), choose_frames(self.avatar, take)
        exhaust(self.player.reenact(motion_of_take(self.avatar, take)[:2]))

    def read_recipe(self, path: Path, rng: random.Random) -> None:
        from avatar.pipelines.arguments import final_recipe
        from avatar.pipelines.build import check_recipe
        from avatar.pipelines.options import Build

        check_recipe(final_recipe(Build(source="x.mp4", output="x.avatar", recipe=str(path))), "cpu")

    def read_controls(self, path: Path, rng: random.Random) -> None:
        controls: Controls = resolve_controls(self.avatar, path)
        controls.over(torch.arange(50) / 25)

    def read_jobs(self, path: Path, rng: random.Random) -> None:
        from avatar.batch.estimate import estimate
        from avatar.batch.plan import make_plan

        plan, problems = make_plan(path)
        if problems:
            raise UserError(problems[0].text)
        list(estimate(plan, path.with_suffix(".batch"), 2))


def exhaust(frames: Iterator) -> None:
    """Draw all frames."""
    for _ in frames:
        pass


PARTS = ("take.json", "take.json", "take.json", "track.safetensors", "track.safetensors", "background.png", "audio.wav",
         "frames/000000.jpg", "mattes/000000.png", "frame.jpg")  # fmt: skip
KINDS = ("avatar",) * 5 + ("motion",) * 2 + ("take",) * 3 + ("recipe", "controls", "jobs")


def damage(originals: Path, folder: Path, kind: str, rng: random.Random) -> Path:
    """A damaged file or Take in a folder."""
    if kind == "avatar":
        path = folder / "a.avatar"
        whole = (originals / rng.choice(("gaussian.avatar", "nerf.avatar"))).read_bytes()
        path.write_bytes(damage_tensors(whole, rng, ("renderer.frame", "frame")))
    elif kind == "motion":
        path = folder / "a.motion"
        path.write_bytes(damage_tensors((originals / "a.motion").read_bytes(), rng))
    elif kind == "take":
        path = folder / "a.take"
        shutil.copytree(originals / "actor.take", path, copy_function=os.link)
        _damage_part(path / rng.choice(PARTS), rng)
    else:
        path = folder / f"{kind}.yaml"
        text = (originals / path.name).read_text()
        path.write_bytes(damage_text(text, rng))
        for name in ("gaussian.avatar", "nerf.avatar", "a.wav", "actor.take"):
            (folder / name).symlink_to(originals / name)
    return path


def _damage_part(part: Path, rng: random.Random) -> None:
    data = part.read_bytes()
    part.unlink()
    if part.suffix == ".json" and rng.random() < 0.9:
        part.write_text(to_text(damage_tree(json.loads(data), rng), rng))
    elif part.suffix == ".safetensors":
        part.write_bytes(damage_tensors(data, rng))
    else:
        part.write_bytes((damage_picture if part.suffix in (".png", ".jpg") else damage_bytes)(data, rng))


@dataclass(frozen=True)
class Outcome:
    """What became of a file."""

    index: int
    kind: str
    end: str  # `read`, `refused`, or what it must not be
    seconds: float
    peak: int  # bytes

    @property
    def bad(self) -> bool:
        return self.end not in ("read", "refused")


def try_file(reader: Reader, originals: Path, index: int, seed: int, folder: Path) -> Outcome:
    """Make a damaged file and read it."""
    rng = random.Random(f"{seed} {index}")
    kind = KINDS[index % len(KINDS)]
    path = damage(originals, folder, kind, rng)
    forget_peak()
    start, end = time.process_time(), "read"  # of all threads; who waits is found by `watch`
    try:
        reader.read(path, kind, rng)
    except (UserError, OSError) as error:
        end = "refused" if describe_error(error).strip(": ") else f"no word of {error!r}"
    except Exception as error:
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
        end = f"{type(error).__name__}: {str(error)[:200]} ({where})"
    seconds, peak = time.process_time() - start, peak_bytes()
    if end in ("read", "refused") and seconds > MOST_SECONDS:
        end = f"took {seconds:.1f} s"
    if end in ("read", "refused") and peak > MOST_BYTES:
        end = f"took {peak / 2**20:.0f} MiB"
    return Outcome(index, kind, end, seconds, peak)


def forget_peak() -> None:
    """Count the most memory that this process uses from now on."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def work(originals: Path, start: int, stop: int, seed: int) -> None:
    """Try files, each noted on stdout before and after."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    reader = Reader(originals)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, now + ROOM))
    reader.read(originals / "nerf.avatar", "avatar", random.Random(7))  # imports and weights are not a file's
    for index in range(start, stop):
        print(json.dumps(index), flush=True)
        with tempfile.TemporaryDirectory() as folder:
            outcome = try_file(reader, originals, index, seed, Path(folder))
        print(json.dumps(asdict(outcome)), flush=True)


def watch(originals: Path, start: int, stop: int, seed: int) -> list[Outcome]:
    """Files tried by worker processes: another one where one dies or hangs."""
    outcomes: list[Outcome] = []
    while start < stop:
        command = [sys.executable, "-m", "tests.fuzzing", str(originals), "--range", str(start), str(stop)]
        process = subprocess.Popen([*command, "--seed", str(seed)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        begun = None
        timer = threading.Timer(120, process.kill)
        timer.start()
        for line in process.stdout:
            timer.cancel()
            timer = threading.Timer(4 * MOST_SECONDS, process.kill)
            timer.start()
            values = json.loads(line)
            if isinstance(values, int):
                begun = values
            else:
                outcomes.append(Outcome(**values))
                begun, start = None, values["index"] + 1
        timer.cancel()
        code = process.wait()
        if begun is None and start < stop and code:
            raise RuntimeError(f"a worker ended with {code} between files")
        if begun is not None:
            outcomes.append(Outcome(begun, KINDS[begun % len(KINDS)], f"died or hung ({code})", 0.0, 0))
            start = begun + 1
    return outcomes


def run(originals: Path, files: int, seed: int, show: Callable[[list[Outcome]], None]) -> list[Outcome]:
    """Try so many files on all cores."""
    with ThreadPoolExecutor(core_count()) as pool:
        parts = [
            pool.submit(watch, originals, start, min(files, start + AT_ONCE), seed)
            for start in range(0, files, AT_ONCE)
        ]
        outcomes: list[Outcome] = []
        for part in parts:
            outcomes += part.result()
            show(outcomes)
    return outcomes


def _begin(folder: Path) -> None:
    """Film the actor, and make whole files of that."""
    from avatar.learn.adapt import adapt
    from preprocess.actor import film_actor
    from preprocess.run import make_take

    folder.mkdir(parents=True, exist_ok=True)
    film_actor(folder / "actor.mp4", seconds=6.0, seed=3)
    take = make_take(folder / "actor.mp4", folder / "film.take")
    frames = take.training_frames()
    make_originals(folder, take, adapt(read_audio(take), read_track(take), frames=frames, seed=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--range", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.range:
        return work(options.folder, *options.range, options.seed)
    if not (options.folder / "whole").exists():
        _begin(options.folder)

    def show(outcomes: list[Outcome]) -> None:
        bad = [one for one in outcomes if one.bad]
        print(f"{len(outcomes)} files, {len(bad)} not survived", file=sys.stderr)

    outcomes = run(options.folder, options.files, options.seed, show)
    counts = Counter((one.kind, one.end if not one.bad else "BAD") for one in outcomes)
    print("\n".join(f"{kind:<10} {end:<10} {count}" for (kind, end), count in sorted(counts.items())))
    slowest, largest = max(outcomes, key=lambda one: one.seconds), max(outcomes, key=lambda one: one.peak)
    print(f"slowest {slowest.seconds:.2f} s (file {slowest.index}), most memory {largest.peak / 2**20:.0f} MiB")
    bad = [one for one in outcomes if one.bad]
    print("\n".join(f"file {one.index} {one.kind}: {one.end}" for one in bad))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
