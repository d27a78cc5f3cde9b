"""Whether a film's lips follow its sound: `avatar sync`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from avatar.cli.options import Device

app = typer.Typer()
CODES = {
    "in sync": 0,
    "sound late": 3,
    "sound early": 3,
    "clocks drift apart": 3,
    "lips do not follow the sound": 4,
    "cannot be said": 5,
}


@app.command("sync")
def sync(
    film: Annotated[Path, typer.Argument(metavar="FILM", help="Any film with a talking face.")],
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures.")] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a page with curves over time.")] = None,
    fix: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the film with its sound moved.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, max=1, help="Seconds of offset that count as in sync.")] = 0.045,
    face: Annotated[
        Literal["auto", "left", "right", "largest"], typer.Option(help="Which face; auto: all of them, and who speaks.")
    ] = "auto",
    audio_track: Annotated[int | None, typer.Option(min=1, help="Which sound track, from 1 on.")] = None,
    device: Device = "auto",
) -> None:
    """Whether the lips follow the sound, and by how much it is late or early.

    Exit code: 0 in sync, 3 out of time, 4 the lips do not follow, 5 it cannot be said.
    """
    from avatar.cli.bars import progress_bars
    from avatar.core.files import UserError, check_writable
    from avatar.core.remux import move_film_sound
    from avatar.pipelines.sync import check_sync, describe, write_json, write_sync_page

    for out in (json, page, fix):
        if out:
            check_writable(out)
    with progress_bars() as progress:
        found = check_sync(
            film, face=face, audio_track=audio_track, tolerance=tolerance, device=device, progress=progress
        )
    print(describe(found))
    if json:
        write_json(found, json)
    if page:
        write_sync_page(found, page)
    if fix:
        if found.drift:
            raise UserError(f"{fix}: not written, since no one shift mends clocks that drift apart")
        if found.offset is None:
            raise UserError(f"{fix}: not written, since by how much to move the sound is not known")
        move_film_sound(film, fix, -found.offset)
        print(f"{fix}: the sound {1000 * abs(found.offset):.0f} ms {'earlier' if found.offset > 0 else 'later'}")
    sys.exit(CODES[found.verdict])
