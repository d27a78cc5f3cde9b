"""An avatar at work: speak, render, motion, export, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatar.cli.options import add_verb, field_help
from avatar.cli.sizes import size_of
from avatar.pipelines.arguments import (
    controls_of,
    dubbing_of,
    further_of,
    look_of,
    permit,
    saying_of,
    speech_of,
    spoken_of,
    target_of,
)
from avatar.pipelines.options import FORCE, Dub, Evaluate, Motion, Permission, Render, Say, Speak

app = typer.Typer()


@add_verb(app, Speak)
def speak(options: Speak) -> None:
    """Film of an avatar that speaks a sound file."""
    from avatar.cli.bars import progress_bars
    from avatar.core.avatar_file import load_avatar
    from avatar.pipelines import signing
    from avatar.pipelines.speak import speak as run

    avatar, out = load_avatar(options.avatar), Path(options.output)
    permit(avatar, options)
    controls, look = controls_of(avatar, options), look_of(options)
    speech = speech_of(options)
    film = signing.film_of_speech(avatar, speech, controls, look)
    with signing.signed_output(options, film, out) as place, progress_bars() as progress:
        frames = run(
            avatar,
            speech,
            place,
            controls=controls,
            look=look,
            device=options.device,
            force=options.force,
            progress=progress,
        )
    print(f"{out}: {frames} frames, {size_of(out)}")


@add_verb(app, Say)
def say(options: Say) -> None:
    """Film of an avatar that says a text."""
    from avatar.cli.bars import progress_bars
    from avatar.core.avatar_file import load_avatar
    from avatar.pipelines import signing
    from avatar.pipelines.say import say as run

    avatar, out = load_avatar(options.avatar), Path(options.output)
    permit(avatar, options)
    controls, look, saying = controls_of(avatar, options), look_of(options), saying_of(options)
    film = signing.film_of_text(avatar, saying, controls, look)
    with signing.signed_output(options, film, out) as place, progress_bars() as progress:
        frames = run(
            avatar,
            saying,
            place,
            controls=controls,
            look=look,
            device=options.device,
            force=options.force,
            progress=progress,
        )
    print(f"{out}: {frames} frames, {size_of(out)}")


@add_verb(app, Render)
def render(options: Render) -> None:
    """Film or PNGs of an avatar that moves as a Take does."""
    from avatar.cli.bars import progress_bars
    from avatar.core.avatar_file import load_avatar
    from avatar.pipelines import signing
    from avatar.pipelines.speak import reenact
    from avatar.pipelines.track_file import open_track

    take, avatar = open_track(options.take), load_avatar(options.avatar)
    permit(avatar, options)
    target, look = target_of(options), look_of(options)
    film = signing.film_of_take(avatar, take, options.split, look)
    with signing.signed_target(options, film, target) as place, progress_bars() as progress:
        frames = reenact(
            avatar,
            take,
            place,
            split=options.split,
            look=look,
            device=options.device,
            force=options.force,
            progress=progress,
        )
    places = [place for place in (target.frames_dir, target.out) if place]
    print(f"{frames} frames to {' and '.join(map(str, places))}, {size_of(*places)}")


@add_verb(app, Dub)
def dub(options: Dub) -> None:
    """A filmed person who says something else."""
    from avatar.cli.bars import progress_bars
    from avatar.core.avatar_file import load_avatar
    from avatar.pipelines import signing
    from avatar.pipelines.dub import dub as run

    avatar, video, out = load_avatar(options.avatar), Path(options.video), Path(options.output)
    permit(avatar, options)
    speech, dubbing = spoken_of(options), dubbing_of(options)
    film = signing.film_of_dub(avatar, video, speech, dubbing.label)
    with signing.signed_output(options, film, out) as place, progress_bars() as progress:
        made = run(
            avatar,
            video,
            speech,
            place,
            dubbing=dubbing,
            device=options.device,
            force=options.force,
            progress=progress,
        )
    print(f"{out}: {made.frames} frames, {made.left} of them as they were filmed, {size_of(out)}")


@add_verb(app, Motion)
def motion(options: Motion) -> None:
    """Motion file of an avatar for a sound file."""
    from avatar.cli.bars import progress_bars
    from avatar.core.avatar_file import load_avatar
    from avatar.core.speech_file import SpeechFile
    from avatar.pipelines.export import export_motion

    avatar, out = load_avatar(options.avatar), Path(options.output)
    permit(avatar, options)
    controls = controls_of(avatar, options)
    with progress_bars() as progress:
        frames = export_motion(
            avatar,
            SpeechFile(options.speech, options.audio_track),
            out,
            layout=options.layout,
            controls=controls,
            force=options.force,
            progress=progress,
        )
    print(f"{out}: {frames} frames, {size_of(out)}")


@app.command()
def export(
    name: Annotated[Path, typer.Argument(metavar="NAME.avatar", help="An avatar file.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.ply|OUT.html", help="File to write.")],
    motion: Annotated[Path | None, typer.Option(metavar="FILE.motion", help="Motion of the page or frame.")] = None,
    speech: Annotated[Path | None, typer.Option(help="Sound of the page, which it moves by without --motion.")] = None,
    frame: Annotated[int | None, typer.Option(help="Which frame of the motion.", show_default="0")] = None,
    use: Annotated[str | None, typer.Option(metavar="TEXT", help=field_help(Permission, "use"))] = None,
    revoked: Annotated[Path | None, typer.Option(metavar="FILE", help=field_help(Permission, "revoked"))] = None,
    force: Annotated[bool, typer.Option("--force", help=FORCE)] = False,
) -> None:
    """A web page that draws the avatar (.html); or a frame: splats or a mesh (.ply), a NeRF avatar's depth (.png)."""
    from avatar.cli.bars import progress_bars
    from avatar.core.avatar_file import load_avatar
    from avatar.core.files import UserError
    from avatar.core.outputs import check_inputs
    from avatar.pipelines.export import export_frame
    from avatar.pipelines.export_page import PAGE_ENDINGS, export_page

    check_inputs(out, [name])
    avatar, page = load_avatar(name), out.suffix.lower() in PAGE_ENDINGS
    permit(avatar, Permission(avatar=str(name), use=use, revoked=str(revoked) if revoked else None))
    if page and frame is not None:
        raise UserError("--frame: a page shows all frames; leave it out, or write a .ply")
    if speech and not page:
        raise UserError(f"--speech: {out} has no sound; write an .html, or make a motion first: `avatar motion`")
    with progress_bars() as progress:
        if page:
            words = export_page(avatar, out, motion=motion, speech=speech, force=force, progress=progress)
        else:
            words = export_frame(avatar, out, motion=motion, frame=frame or 0, force=force)
    print(f"{out}: {words}, {size_of(out)}")


@add_verb(app, Evaluate)
def evaluate(options: Evaluate) -> None:
    """Figures of an avatar on frames of a Take."""
    from avatar.cli.bars import progress_bars

    with progress_bars() as progress:
        progress("load", 0, 1)  # what is imported here takes seconds
        from avatar.core.avatar_file import load_avatar
        from avatar.core.take import open_take
        from avatar.pipelines.evaluate import evaluate as run
        from avatar.pipelines.evaluate import table_rows, write_json

        avatar, take, further = load_avatar(options.avatar), open_take(options.take), further_of(options)
        page, sheet = (Path(place) if place else None for place in (options.page, options.sheet))
        progress("load", 1, 1)
        evaluation = run(
            avatar,
            take,
            page=page,
            sheet=sheet,
            further=further,
            device=options.device,
            force=options.force,
            progress=progress,
        )
    print(evaluation.lead)
    for row in table_rows(evaluation.scores):
        print(f"{row[0]:<28} {row[1]:<10} {row[2]:<24} {row[3]}")
    for note in evaluation.notes:
        print(f"note: {note}")
    print(evaluation.verdict)
    if options.output:
        write_json(evaluation, Path(options.output))
