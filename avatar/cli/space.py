"""The MotionSpace asset: `avatar motion-space`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Make the MotionSpace asset from clips.", no_args_is_help=True)


@app.command("build")
def space_build(
    folder: Annotated[Path, typer.Argument(help="Folder of Takes (made by `avatar preprocess`).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Asset file to write.")],
    modes: Annotated[int, typer.Option(min=4, max=64, help="Number of expression modes.")] = 32,
) -> None:
    """Generic neutral and expression basis from the tracks of many people."""
    from avatar.core.motion_space import save_space
    from avatar.core.outputs import check_output
    from preprocess.basis import fit_space

    check_output(out, [folder])
    takes = sorted(path.parent for path in folder.glob("*/take.json"))
    save_space(fit_space(takes, modes=modes), out)
    print(f"{out}: {modes} modes from {len(takes)} takes")


@app.command("check")
def space_check(
    folder: Annotated[Path, typer.Argument(help="Folder of Takes, one per person.")],
    modes: Annotated[int, typer.Option(min=4, max=64, help="Number of expression modes.")] = 32,
) -> None:
    """How well modes made of everybody else reconstruct each person."""
    from preprocess.basis import leave_one_out

    for one in leave_one_out(sorted(path.parent for path in folder.glob("*/take.json")), modes=modes):
        errors = f"face {one.face_px:.2f} px  lips {one.lips_px:.2f} px  {one.kept:.1%}"
        print(f"{one.name:<28} {one.frames:5d} frames  {errors}")
