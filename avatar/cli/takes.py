"""Takes to and from other projects: `avatar take`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(help="Takes to and from the data folders of other projects.", no_args_is_help=True)


@app.command("export")
def take_export(
    take: Annotated[Path, typer.Argument(metavar="TAKE_DIR", help="A folder of `preprocess`.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder to make.")],
    layout: Annotated[Literal["adnerf"], typer.Option("--format", help="Whose layout.")] = "adnerf",
) -> None:
    """Write the data folder that AD-NeRF, RAD-NeRF, ER-NeRF and TalkingGaussian read."""
    from avatar.cli.bars import progress_bars
    from avatar.core.take import open_take
    from preprocess.interchange import export_adnerf

    with progress_bars() as progress:
        export_adnerf(open_take(take), out, progress=progress)
    print(f"{out}: in the {layout} layout; audio features and track_params.pt are for their own tools to make")


@app.command("import")
def take_import(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Data folder with ori_imgs and transforms_*.json.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="TAKE_DIR", help="Take to make.")],
    holdout: Annotated[float, typer.Option(min=0, max=0.9, help="Last part kept for testing.")] = 0.1,
) -> None:
    """Make a Take of an AD-NeRF-family data folder, with its tracked poses."""
    from avatar.cli.bars import progress_bars
    from avatar.pipelines.takes import import_adnerf

    with progress_bars() as progress:
        take = import_adnerf(folder, out, holdout=holdout, progress=progress)
    print(f"{out}: {take.length} frames; see {out / 'report.html'}")
