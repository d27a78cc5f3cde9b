"""Video to avatar: preprocess, build, demo, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from avatar.cli.options import Consent, Device, Face

app = typer.Typer()


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
    from avatar.cli.bars import progress_bars
    from avatar.core.media import Stretch
    from avatar.core.recipe import parse_duration
    from avatar.pipelines.takes import make_take
    from preprocess.checks import assess_quality
    from preprocess.run import TakeRequest

    stretch = Stretch(parse_duration(start, "--start") if start else 0.0, parse_duration(end, "--end") if end else None)
    request = TakeRequest(
        face=face,
        size=size,
        consent=consent,
        stretch=stretch,
        seconds=parse_duration(select, "--select") if select else None,
        landmarker=landmarker,
    )
    with progress_bars() as progress:
        take = make_take(video, out, request, holdout=holdout, progress=progress)
    left_out = take.length - len(take.training_frames()) - len(take.test)
    print(
        f"{out}: {take.length} frames at {take.fps:g} fps, {left_out} left out of training; see {out / 'report.html'}"
    )
    print(assess_quality(take.quality))


@app.command()
def build(
    source: Annotated[Path, typer.Argument(metavar="VIDEO_OR_TAKE", help="A clip, or a folder of `preprocess`.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="NAME.avatar", help="Avatar file to write.")],
    recipe: Annotated[Path | None, typer.Option(help="YAML file with settings.")] = None,
    budget: Annotated[str | None, typer.Option(help="Training time, such as 90s, 5m, 1h. [default: 5m]")] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Training steps in place of a time; then the same seed gives the same file."),
    ] = None,
    holdout: Annotated[float | None, typer.Option(min=0, max=0.9, help="Last part never trained on.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.")] = None,
    face: Face = "auto",
    consent: Consent = "not stated",
    device: Device = "cpu",
) -> None:
    """Everything: preprocess if needed, train the renderer, adapt speech to motion, write one file."""
    from avatar.cli.bars import progress_bars
    from avatar.core.recipe import Recipe, load_recipe, parse, parse_duration
    from avatar.pipelines.build import build as run

    changes: dict[str, Any] = {"steps": steps, "holdout": holdout, "seed": seed}
    changes["budget_seconds"] = parse_duration(budget, "--budget") if budget else None
    settings = load_recipe(recipe) if recipe else Recipe()
    given = {name: value for name, value in changes.items() if value is not None} | {"file": settings.file}
    checked = parse(Recipe, settings.model_dump() | given, "recipe")
    with progress_bars() as progress:
        run(source, out, recipe=checked, face=face, consent=consent, device=device, progress=progress)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB; make it speak with: avatar speak {out} SPEECH -o OUT.mp4")


@app.command("pretrain-renderer")
def pretrain_renderer(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Weights file to write.")],
    corpus: Annotated[
        Path, typer.Option(metavar="DIR", help="A folder with a clip of each person, or with their Takes.")
    ],
    steps: Annotated[int, typer.Option(min=1, help="Training steps, over all people.")] = 4000,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Pixels a side of what is learned.")] = 128,
    recipe: Annotated[Path | None, typer.Option(help="YAML file whose renderer's settings are used.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 0,
    device: Device = "cpu",
) -> None:
    """Train a NeRF on many people; `generic: FILE` in a recipe begins one person's with it."""
    from avatar.cli.bars import progress_bars
    from avatar.core.recipe import load_recipe, parse
    from avatar.pipelines.pretrain_renderer import find_people, pretrain_renderer
    from avatar.render.nerf import NerfSettings

    given = load_recipe(recipe).renderer if recipe else {"kind": "nerf"}
    plain = {name: value for name, value in given.items() if name not in ("generic", "lora_rank")}
    settings = parse(NerfSettings, plain, "recipe, renderer")
    people = find_people(corpus)
    with progress_bars() as progress:
        pretrain_renderer(
            people, out, settings=settings, steps=steps, size=size, seed=seed, device=device, progress=progress
        )
    print(f"{out}: learned from {len(people)} people")


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
    from avatar.cli.bars import progress_bars
    from avatar.core.recipe import parse_duration
    from avatar.pipelines.demo import run_demo

    seconds = parse_duration(budget, "--budget")
    with progress_bars() as progress:
        made = run_demo(folder, video, speech, budget_seconds=seconds, progress=progress)
    for what, place in made.items():
        print(f"{what:<22} {place}")
