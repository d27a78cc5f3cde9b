"""An avatar at work: speak, render, motion, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from avatar.cli.options import (
    AvatarFile,
    Background,
    CodecName,
    Device,
    MaybeSpeech,
    Orbit,
    Output,
    QualityName,
    Rate,
    Seed,
    Size,
    SpeechFile,
)
from avatar.core.files import UserError

app = typer.Typer()


@app.command()
def speak(
    name: AvatarFile,
    out: Output,
    speech: MaybeSpeech = None,
    drv_aud: Annotated[
        Path | None, typer.Option("--drv_aud", metavar="FILE", help="Another way to give SPEECH.")
    ] = None,
    background: Background = None,
    full_frame: Annotated[bool, typer.Option("--full-frame", help="The whole picture of the source clip.")] = False,
    size: Size = None,
    fps: Rate = None,
    codec: CodecName = "h264",
    quality: QualityName = "good",
    orbit: Orbit = 0.0,
    mouth_gain: Annotated[
        float | None, typer.Option("--mouth-gain", "--mouth-amp", "--mouth_amp", help="Times the mouth's motion.")
    ] = None,
    expression_gain: Annotated[
        float | None, typer.Option("--expression-gain", "--cfg_scale", help="Times all expression.")
    ] = None,
    blink: Annotated[float | None, typer.Option(help="Times the person's own blink rate; 0 = never.")] = None,
    head: Annotated[float | None, typer.Option(help="Times the person's own head motion; 0 = still.")] = None,
    gaze: Annotated[float | None, typer.Option(help="Times the person's own shifts of gaze; 0 = straight.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Times what the person's face does beside the sound; 0 = nothing.")
    ] = None,
    lle: Annotated[
        float | None, typer.Option("--lle", "--lle_percent", help="Pull towards motions of the person, 0 to 1.")
    ] = None,
    pose: Annotated[
        str | None,
        typer.Option(
            "--pose", "--drv_pose", metavar="generated|still|take:DIR", help="Where head, shoulders and gaze come from."
        ),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(
            "--style",
            "--drv_style",
            metavar="CLIP",
            help="Clip or Take of anybody whose manner is taken on.",
        ),
    ] = None,
    controls: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML with these controls, each a number or {second: value}.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.")] = None,
    device: Device = "cpu",
) -> None:
    """Make an avatar say what a sound file says; any length."""
    from avatar.cli.bars import progress_bars
    from avatar.core.avatar_file import load_avatar
    from avatar.core.coding import Coding
    from avatar.core.controls import resolve_controls
    from avatar.pipelines.speak import speak as run
    from avatar.play.look import Look

    flags: dict[str, Any] = {
        "mouth_gain": mouth_gain,
        "expression_gain": expression_gain,
        "blink": blink,
        "head": head,
        "gaze": gaze,
    }
    flags |= {"temperature": temperature, "pose": pose, "style": style, "lle": lle, "seed": seed}
    given = {name: value for name, value in flags.items() if value is not None}
    avatar = load_avatar(name)
    look = Look(size, fps, background, full_frame, orbit, Coding(codec, quality))
    with progress_bars() as progress:
        frames = run(
            avatar,
            _one_of(speech, drv_aud),
            out,
            controls=resolve_controls(avatar, controls, given),
            look=look,
            device=device,
            progress=progress,
        )
    print(f"{out}: {frames} frames")


def _one_of(speech: Path | None, drv_aud: Path | None) -> Path:
    given = [path for path in (speech, drv_aud) if path]
    if len(given) != 1:
        raise UserError("give one sound file to be said: SPEECH, or --drv_aud FILE")
    return given[0]


@app.command()
def render(
    name: AvatarFile,
    track: Annotated[Path, typer.Option(metavar="TAKE_DIR", help="Take whose own motion is re-enacted.")],
    split: Annotated[Literal["test", "train", "all"], typer.Option(help="Which frames.")] = "test",
    frames_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for lossless PNGs.")] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="OUT.mp4", help="Film (.mp4, .mov, .webm).")
    ] = None,
    background: Background = None,
    size: Size = None,
    fps: Rate = None,
    codec: CodecName = "h264",
    quality: QualityName = "good",
    orbit: Orbit = 0.0,
    device: Device = "cpu",
) -> None:
    """Re-enact a Take's own track; PNGs are named by the Take's frame index."""
    from avatar.cli.bars import progress_bars
    from avatar.core.avatar_file import load_avatar
    from avatar.core.coding import Coding
    from avatar.core.take import open_take
    from avatar.pipelines.speak import Target, reenact
    from avatar.play.look import Look

    take, avatar = open_take(track), load_avatar(name)
    look = Look(size, fps, background, False, orbit, Coding(codec, quality))
    with progress_bars() as progress:
        target = Target(out, frames_dir)
        frames = reenact(avatar, take, target, split=split, look=look, device=device, progress=progress)
    print(f"{frames} frames to {' and '.join(str(place) for place in (frames_dir, out) if place)}")


@app.command()
def motion(
    name: AvatarFile,
    speech: SpeechFile,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT.motion", help="Motion file to write; .csv for other programs.")
    ],
    layout: Annotated[
        Literal["motion", "arkit"], typer.Option(help="Columns of a .csv: as they are, or ARKit-style blendshapes.")
    ] = "motion",
    seed: Seed = 0,
) -> None:
    """Speech to motion only."""
    from avatar.core.avatar_file import load_avatar
    from avatar.core.controls import resolve_controls
    from avatar.pipelines.export import export_curves
    from avatar.pipelines.speak import make_motion, write_motion

    avatar = load_avatar(name)
    controls = resolve_controls(avatar, flags={"seed": seed} if seed else {})
    if out.suffix == ".csv":
        frames = export_curves(make_motion(avatar, speech, controls=controls, out=out), out, layout=layout)
    else:
        frames = len(write_motion(avatar, speech, out, controls=controls))
    print(f"{out}: {frames} frames")


@app.command()
def export(
    name: AvatarFile,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.ply", help="File to write.")],
    motion: Annotated[Path | None, typer.Option(metavar="FILE.motion", help="Motion to take a frame of.")] = None,
    frame: Annotated[int, typer.Option(help="Which frame of it.")] = 0,
) -> None:
    """The person at rest, or a frame of a motion: splats or a mesh as .ply, a NeRF avatar's depth as .png."""
    from avatar.core.avatar_file import load_avatar
    from avatar.core.motion_space import load_motion
    from avatar.pipelines.export import export_depth, export_mesh, export_splats

    avatar, given = load_avatar(name), load_motion(motion) if motion else None
    if out.suffix == ".png":
        export_depth(avatar, out, motion=given, frame=frame)
        print(f"{out}: depth in tenths of a millimetre")
    elif avatar.kind == "nerf":
        print(f"{out}: {export_mesh(avatar, out, motion=given, frame=frame)} points")
    else:
        print(f"{out}: {export_splats(avatar, out, motion=given, frame=frame)} splats")


@app.command()
def evaluate(
    name: AvatarFile,
    take: Annotated[Path, typer.Argument(metavar="TAKE_DIR", help="Take with held-out frames.")],
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures as JSON.")] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE", help="Write an HTML page with pictures.")] = None,
    sheet: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Write many frames as one picture.")] = None,
    lpips: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="With alexnet*.pth and alex.pth. [default: torch's cache]")
    ] = None,
    face_network: Annotated[
        Path | None, typer.Option(metavar="FILE.onnx", help="An ArcFace network, for CSIM.")
    ] = None,
    syncnet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="SyncNet's weights (syncnet_v2.model), for LSE-C and LSE-D.")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Figures on held-out frames: PSNR, SSIM, LMD, flicker, lip correlation; LPIPS and CSIM with your networks."""
    from avatar.core.avatar_file import load_avatar
    from avatar.core.take import open_take
    from avatar.pipelines.evaluate import evaluate as run
    from avatar.pipelines.evaluate import table_rows, write_json
    from avatar.pipelines.networks import Networks

    networks = Networks(lpips, face_network, syncnet)
    evaluation = run(load_avatar(name), open_take(take), page=page, sheet=sheet, networks=networks, device=device)
    print(evaluation.lead)
    for row in table_rows(evaluation.scores):
        print(f"{row[0]:<28} {row[1]:<10} {row[2]:<24} {row[3]}")
    for note in evaluation.notes:
        print(f"note: {note}")
    if json:
        write_json(evaluation, json)
