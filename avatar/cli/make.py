"""Video to avatar: preprocess, build, pretrain-renderer, demo; and upgrade, doctor."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from avatar.cli.errors import print_error
from avatar.cli.options import Device, Seed, add_verb, print_device
from avatar.cli.sizes import size_of
from avatar.core.files import UserError
from avatar.core.stages import Stages
from avatar.pipelines.arguments import build_request, final_recipe, take_request
from avatar.pipelines.options import Build, Preprocess

app = typer.Typer()


@add_verb(app, Preprocess)
def preprocess(options: Preprocess) -> None:
    """Take of a clip."""
    from avatar.cli.bars import progress_bars
    from avatar.pipelines.takes import make_take
    from preprocess.checks import assess_quality

    request, out = take_request(options), Path(options.output)
    with progress_bars() as progress:
        take = make_take(
            Path(options.video), out, request, holdout=options.holdout, device=options.device, progress=progress
        )
    left_out = take.length - len(take.training_frames()) - len(take.test)
    print(
        f"{out}: {take.length} frames at {take.fps:g} fps, {left_out} left out of training; see {out / 'report.html'}"
    )
    print(assess_quality(take.quality))


@add_verb(app, Build)
def build(options: Build) -> None:
    """Avatar of a clip or Take."""
    from avatar.cli.bars import progress_bars
    from avatar.pipelines.build import build as run

    recipe, out, stages = final_recipe(options), Path(options.output), Stages()
    with progress_bars() as progress:
        run(
            Path(options.source),
            out,
            recipe=recipe,
            request=build_request(options),
            force=options.force,
            device=options.device,
            progress=progress,
            stages=stages,
        )
    print(stages)
    print(f"{out}: {size_of(out)}; make it speak with: avatar speak {out} SPEECH -o OUT.mp4")


@app.command("pretrain-renderer")
def pretrain_renderer(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Weights file to write.")],
    corpus: Annotated[
        Path, typer.Option(metavar="DIR", help="A folder with a clip of each person, or with their Takes.")
    ],
    steps: Annotated[int, typer.Option(min=1, help="Training steps, over all people.")] = 4000,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Pixels a side of training pictures.")] = 128,
    recipe: Annotated[Path | None, typer.Option(help="YAML file whose renderer's settings are used.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train a NeRF on many people; `generic: FILE` in a recipe begins one person's with it."""
    from avatar.cli.bars import progress_bars
    from avatar.core.recipe import load_recipe, parse
    from avatar.pipelines.pretrain_renderer import find_people, pretrain_renderer
    from avatar.render.nerf import NerfSettings

    given = load_recipe(recipe).renderer if recipe else {"kind": "nerf"}
    plain = {name: value for name, value in given.items() if name not in ("generic", "lora_rank")}
    settings = parse(NerfSettings, plain, "recipe, renderer")
    print_device(device)
    with progress_bars() as progress:
        people = find_people(corpus, progress=progress)
        pretrain_renderer(
            people, out, settings=settings, steps=steps, size=size, seed=seed, device=device, progress=progress
        )
    print(f"{out}: trained on {len(people)} people")


@app.command()
def upgrade(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Avatars, motions and Takes.")],
) -> None:
    """Rewrite files of earlier versions in the present format; those that cannot be are named, and left as they are."""
    from avatar.pipelines.upgrade import upgrade as run

    failed = False
    for file in files:
        try:
            print(run(file))
        except (UserError, OSError) as error:
            print_error(error)
            failed = True
    if failed:
        raise typer.Exit(1)


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
    video: Annotated[Path | None, typer.Option(help="Your own clip. [default: the synthetic actor]")] = None,
    speech: Annotated[Path | None, typer.Option(help="Speech for the film. [default: the package's recording]")] = None,
    budget: Annotated[str, typer.Option(help="Training time.")] = "75s",
    device: Device = "auto",
) -> None:
    """The whole way once: a clip becomes an avatar, and the avatar speaks."""
    from avatar.cli.bars import progress_bars
    from avatar.core.recipe import parse_duration
    from avatar.pipelines.demo import run_demo

    seconds = parse_duration(budget, "--budget")
    print_device(device)
    with progress_bars() as progress:
        made = run_demo(folder, video, speech, budget_seconds=seconds, device=device, progress=progress)
    for what, place in made.items():
        print(f"{what:<22} {place}")
    print()
    for what, command in next_commands(made["avatar"]):
        print(f"{what:<22} {command}")
    show_film(made["video"])


def next_commands(avatar: Path) -> list[tuple[str, str]]:
    """What to do with the avatar of a demo: purpose and command."""
    program = Path(sys.argv[0]).name if shutil.which("avatar") else sys.argv[0]
    return [
        ("next: other speech", f"{program} speak {avatar} hello.wav -o hello.mp4"),
        ("another background", f"{program} speak {avatar} hello.wav -o green.mp4 --background '#20a040'"),
        ("your own clip", f"{program} preprocess me.mp4 -o me.take; then open me.take/report.html"),
        ("what this machine has", f"{program} doctor"),
    ]


def show_film(film: Path) -> None:
    """Open a film with the desktop's player, where a person sits at a desktop."""
    desktop = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    opener = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    if desktop and opener and sys.stdout.isatty():
        quiet = subprocess.DEVNULL
        subprocess.Popen([opener, str(film)], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
