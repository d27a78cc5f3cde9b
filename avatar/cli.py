"""The `avatar` command: parse, call, print, exit code (0 done, 1 failed, 2 wrong use)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

os.environ.setdefault("GLOG_minloglevel", "3")  # mediapipe's own chatter
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's idle workers must not steal the native pool's cores

import typer

from avatar.core.files import UserError

app = typer.Typer(
    help="Turn a short video of one person into a talking avatar, and make it speak.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
a2m = typer.Typer(help="Train the speech-to-motion encoder that ships with the package.", no_args_is_help=True)
space = typer.Typer(help="Make the MotionSpace asset from clips.", no_args_is_help=True)
app.add_typer(a2m, name="a2m")
app.add_typer(space, name="motion-space")
takes = typer.Typer(help="Takes to and from the data folders of other projects.", no_args_is_help=True)
app.add_typer(takes, name="take")

AvatarFile = Annotated[Path, typer.Argument(metavar="NAME.avatar", help="An avatar file.")]
SpeechFile = Annotated[Path, typer.Argument(metavar="SPEECH", help="Any sound or video file that ffmpeg reads.")]
Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
Background = Annotated[str | None, typer.Option(help="A picture file, or a colour such as '#20a040' or 'white'.")]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="The processor, or an NVIDIA GPU.")]
Consent = Annotated[str, typer.Option(help="Who agreed to this avatar and to what; travels with the file.")]
Face = Annotated[
    Literal["auto", "left", "right", "largest"], typer.Option(help="Which face, when there are several all the way.")
]


@app.command()
def preprocess(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A clip of one person speaking.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="TAKE_DIR", help="Folder to make.")],
    size: Annotated[int, typer.Option(min=64, max=1024, help="Pixels a side of the square crop.")] = 512,
    holdout: Annotated[float, typer.Option(min=0, max=0.9, help="Last part of the clip kept for testing.")] = 0.1,
    face: Face = "auto",
    start: Annotated[str | None, typer.Option(help="Where to begin, such as 12s or 1m.")] = None,
    end: Annotated[str | None, typer.Option(help="Where to stop.")] = None,
    select: Annotated[str | None, typer.Option(help="Train on the most informative part, such as 60s.")] = None,
    landmarker: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your own MediaPipe Tasks face landmarker (.task).")
    ] = None,
    consent: Consent = "not stated",
) -> None:
    """Video to Take: crop, track, matte, background plate, sound, report."""
    from avatar.core.media import Stretch
    from avatar.core.recipe import parse_duration
    from avatar.pipelines.takes import make_take
    from preprocess.checks import judge
    from preprocess.run import Wishes

    stretch = Stretch(parse_duration(start, "--start") if start else 0.0, parse_duration(end, "--end") if end else None)
    wishes = Wishes(
        face=face,
        size=size,
        consent=consent,
        stretch=stretch,
        seconds=parse_duration(select, "--select") if select else None,
        landmarker=landmarker,
    )
    take = make_take(video, out, wishes, holdout=holdout)
    left_out = take.length - len(take.training_frames()) - len(take.test)
    print(
        f"{out}: {take.length} frames at {take.fps:g} fps, {left_out} left out of training; see {out / 'report.html'}"
    )
    print(judge(take.quality))


@app.command()
def build(
    source: Annotated[Path, typer.Argument(metavar="VIDEO_OR_TAKE", help="A clip, or a folder of `preprocess`.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="NAME.avatar", help="Avatar file to write.")],
    recipe: Annotated[Path | None, typer.Option(help="YAML file with settings.")] = None,
    budget: Annotated[str | None, typer.Option(help="Training time, such as 90s, 5m, 1h. [default: 5m]")] = None,
    holdout: Annotated[float | None, typer.Option(min=0, max=0.9, help="Last part never trained on.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.")] = None,
    face: Face = "auto",
    consent: Consent = "not stated",
    device: Device = "cpu",
) -> None:
    """Everything: preprocess if needed, train the renderer, adapt speech to motion, write one file."""
    from avatar.core.recipe import Recipe, load_recipe, parse, parse_duration
    from avatar.pipelines.build import build as run

    changes: dict[str, Any] = {"holdout": holdout, "seed": seed}
    changes["budget_seconds"] = parse_duration(budget, "--budget") if budget else None
    settings = load_recipe(recipe) if recipe else Recipe()
    given = {name: value for name, value in changes.items() if value is not None}
    checked = parse(Recipe, settings.model_dump() | given, "recipe")
    run(source, out, recipe=checked, face=face, consent=consent, device=device)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB; make it speak with: avatar speak {out} SPEECH -o OUT.mp4")


@app.command()
def speak(
    name: AvatarFile,
    speech: SpeechFile,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.mp4", help="Video to write.")],
    background: Background = None,
    full_frame: Annotated[bool, typer.Option("--full-frame", help="The whole picture of the source clip.")] = False,
    mouth_gain: Annotated[
        float | None, typer.Option("--mouth-gain", "--mouth-amp", help="Times the mouth's motion.")
    ] = None,
    expression_gain: Annotated[float | None, typer.Option(help="Times all expression.")] = None,
    blink: Annotated[float | None, typer.Option(help="Times the person's own blink rate; 0 = never.")] = None,
    head: Annotated[float | None, typer.Option(help="Times the person's own head motion; 0 = still.")] = None,
    gaze: Annotated[float | None, typer.Option(help="Times the person's own shifts of gaze; 0 = straight.")] = None,
    pose: Annotated[
        Path | None, typer.Option(metavar="TAKE_DIR", help="Take whose head, shoulders and gaze are followed.")
    ] = None,
    controls: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML with these controls, each a number or {second: value}.")
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Make an avatar say what a sound file says; any length."""
    from avatar.core.bundle import load_avatar
    from avatar.core.controls import Controls, load_controls
    from avatar.core.recipe import parse
    from avatar.core.take import open_take
    from avatar.pipelines.speak import speak as run

    flags = {"mouth_gain": mouth_gain, "expression_gain": expression_gain, "blink": blink, "head": head, "gaze": gaze}
    given = {name: value for name, value in flags.items() if value is not None}
    frames = run(
        load_avatar(name),
        speech,
        out,
        controls=load_controls(controls, given) if controls else parse(Controls, given, "controls"),
        background=background,
        full_frame=full_frame,
        pose=open_take(pose) if pose else None,
        seed=seed,
        device=device,
    )
    print(f"{out}: {frames} frames")


@app.command()
def render(
    name: AvatarFile,
    track: Annotated[Path, typer.Option(metavar="TAKE_DIR", help="Take whose own motion is re-enacted.")],
    split: Annotated[Literal["test", "train", "all"], typer.Option(help="Which frames.")] = "test",
    frames_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for lossless PNGs.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="OUT.mp4", help="Video to write.")] = None,
    background: Background = None,
    device: Device = "cpu",
) -> None:
    """Re-enact a Take's own track; PNGs are named by the Take's frame index."""
    from avatar.core.bundle import load_avatar
    from avatar.core.take import open_take
    from avatar.pipelines.speak import reenact

    take = open_take(track)
    avatar = load_avatar(name)
    frames = reenact(avatar, take, split=split, out=out, frames_dir=frames_dir, background=background, device=device)
    print(f"{frames} frames to {' and '.join(str(place) for place in (frames_dir, out) if place)}")


@app.command()
def motion(
    name: AvatarFile,
    speech: SpeechFile,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.motion", help="Motion file to write.")],
    seed: Seed = 0,
) -> None:
    """Speech to motion only."""
    from avatar.core.bundle import load_avatar
    from avatar.pipelines.speak import write_motion

    print(f"{out}: {len(write_motion(load_avatar(name), speech, out, seed=seed))} frames")


@app.command()
def evaluate(
    name: AvatarFile,
    take: Annotated[Path, typer.Argument(metavar="TAKE_DIR", help="Take with held-out frames.")],
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures as JSON.")] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE", help="Write an HTML page with pictures.")] = None,
    device: Device = "cpu",
) -> None:
    """Figures on held-out frames: PSNR, SSIM, LMD, and lip correlation of the speech-driven video."""
    from avatar.core.bundle import load_avatar
    from avatar.core.take import open_take
    from avatar.pipelines.evaluate import evaluate as run
    from avatar.pipelines.evaluate import table_rows, write_json

    scores = run(load_avatar(name), open_take(take), page=page, device=device)
    for row in table_rows(scores):
        print(f"{row[0]:<28} {row[1]:<10} {row[2]:<20} {row[3]}")
    if json:
        write_json(scores, json)


@app.command()
def doctor() -> None:
    """What this machine has, and what is missing for what."""
    from avatar.pipelines.doctor import examine

    findings = examine()
    for finding in findings:
        print(f"{'ok     ' if finding.good else 'missing'} {finding.name:<22} {finding.detail}")
    if any(finding.needed and not finding.good for finding in findings):
        raise typer.Exit(1)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo"),
    video: Annotated[Path | None, typer.Option(help="Your own clip; without it the synthetic actor.")] = None,
    speech: Annotated[Path | None, typer.Option(help="What to say; without it the package's own recording.")] = None,
    budget: Annotated[str, typer.Option(help="Training time.")] = "2m",
) -> None:
    """The whole way once: a clip becomes an avatar, and the avatar speaks."""
    from avatar.core.recipe import parse_duration
    from avatar.pipelines.demo import run_demo

    made = run_demo(folder, video, speech, parse_duration(budget, "--budget"))
    for what, place in made.items():
        print(f"{what:<22} {place}")


@a2m.command("corpus")
def a2m_corpus(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="CORPUS", help="Folder to make, or to go on with.")],
    count: Annotated[int, typer.Option(min=100, help="Utterances, of three seconds each on the average.")] = 4000,
    seed: Seed = 0,
    flite: Annotated[bool, typer.Option(help="Recorded English voices beside espeak-ng's.")] = True,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a core unless said.")] = None,
) -> None:
    """Synthesize speech with phone times in 16 languages (needs flite and espeak-ng)."""
    from avatar.motion.corpus import make_corpus
    from avatar.pipelines.bars import stage_bars

    with stage_bars() as report:
        make_corpus(out, count, seed=seed, flite=flite, workers=workers or os.cpu_count() or 1, report=report)


@a2m.command("pretrain")
def a2m_pretrain(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="Made by `avatar a2m corpus`.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Weights file to write.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 8000,
    seed: Seed = 0,
) -> None:
    """Train the phonetic encoder; resumes, and runs on several processes under torchrun."""
    from avatar.motion.train import pretrain
    from avatar.pipelines.bars import stage_bars

    with stage_bars() as report:
        scores = pretrain(corpus, out, steps=steps, seed=seed, report=report)
    print(f"{out}: correlation on held-out utterances: " + ", ".join(f"{k} {v}" for k, v in scores.items()))


@a2m.command("practice")
def a2m_practice(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="Made by `avatar a2m corpus`.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Asset file to write.")],
) -> None:
    """Take the synthesized speech out of a corpus that every person practises with."""
    from avatar.pipelines.a2m import make_practice

    print(f"{out}: {make_practice(corpus, out)} utterances")


@a2m.command("train")
def a2m_train(
    folder: Annotated[Path, typer.Argument(metavar="TAKES", help="Folder of Takes (made by `avatar preprocess`).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Weights file to write.")],
    seed: Seed = 0,
) -> None:
    """Teach the packaged encoder by the lips of real people."""
    from avatar.pipelines.a2m import train_on_takes

    people = train_on_takes(folder, out, seed=seed)
    print(f"{out}: taught by {people} takes")


@a2m.command("check")
def a2m_check(
    folder: Annotated[Path, typer.Argument(metavar="TAKES", help="Folder of Takes of many people.")],
    folds: Annotated[int, typer.Option(min=2, help="Groups of people, each left out once.")] = 5,
    seed: Seed = 0,
) -> None:
    """How well an encoder taught by everybody else reads each person's lips from their voice."""
    from avatar.pipelines.a2m import check_on_takes

    for row in check_on_takes(folder, folds=folds, seed=seed):
        print(row)


@space.command("build")
def space_build(
    folder: Annotated[Path, typer.Argument(help="Folder of Takes (made by `avatar preprocess`).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Asset file to write.")],
    modes: Annotated[int, typer.Option(min=4, max=64, help="Number of expression modes.")] = 32,
) -> None:
    """Generic neutral and expression basis from the tracks of many people."""
    from avatar.core.motion_space import save_space
    from preprocess.basis import fit_space

    takes = sorted(path.parent for path in folder.glob("*/take.json"))
    save_space(fit_space(takes, modes=modes), out)
    print(f"{out}: {modes} modes from {len(takes)} takes")


@space.command("check")
def space_check(
    folder: Annotated[Path, typer.Argument(help="Folder of Takes, one per person.")],
    modes: Annotated[int, typer.Option(min=4, max=64, help="Number of expression modes.")] = 32,
) -> None:
    """How well modes made of everybody else reconstruct each person."""
    from preprocess.basis import leave_one_out

    for one in leave_one_out(sorted(path.parent for path in folder.glob("*/take.json")), modes=modes):
        errors = f"face {one.face_px:.2f} px  lips {one.lips_px:.2f} px  {one.kept:.1%}"
        print(f"{one.name:<28} {one.frames:5d} frames  {errors}")


@takes.command("export")
def take_export(
    take: Annotated[Path, typer.Argument(metavar="TAKE_DIR", help="A folder of `preprocess`.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder to make.")],
    layout: Annotated[Literal["adnerf"], typer.Option("--format", help="Whose layout.")] = "adnerf",
) -> None:
    """Write the data folder that AD-NeRF, RAD-NeRF, ER-NeRF and TalkingGaussian read."""
    from avatar.core.take import open_take
    from avatar.pipelines.bars import stage_bars
    from preprocess.interchange import export_adnerf

    with stage_bars() as progress:
        export_adnerf(open_take(take), out, progress=progress)
    print(f"{out}: in the {layout} layout; audio features and track_params.pt are for their own tools to make")


@takes.command("import")
def take_import(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Data folder with ori_imgs and transforms_*.json.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="TAKE_DIR", help="Take to make.")],
    holdout: Annotated[float, typer.Option(min=0, max=0.9, help="Last part kept for testing.")] = 0.1,
) -> None:
    """Make a Take of an AD-NeRF-family data folder, with its tracked poses."""
    from avatar.pipelines.takes import import_adnerf

    take = import_adnerf(folder, out, holdout=holdout)
    print(f"{out}: {take.length} frames; see {out / 'report.html'}")


def main() -> None:
    """Run the command; a mendable error is one line on stderr and exit code 1."""
    try:
        app()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"error: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
