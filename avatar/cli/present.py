"""A deck becomes a film: present."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from avatar.cli.options import add_verb
from avatar.cli.sizes import size_of
from avatar.pipelines.arguments import controls_of, permit, presenting_of
from avatar.pipelines.present_options import Present

app = typer.Typer()


@add_verb(app, Present)
def present(options: Present) -> None:
    """Film of a deck with the avatar's person in it."""
    from avatar.cli.bars import progress_bars
    from avatar.core.avatar_file import load_avatar
    from avatar.pipelines import signing
    from avatar.pipelines.present import present as run

    avatar, deck, out = load_avatar(options.avatar), Path(options.deck), Path(options.output)
    permit(avatar, options)
    presenting, controls = presenting_of(options), controls_of(avatar, options)
    film = signing.film_of_deck(avatar, deck, presenting, controls)
    with signing.signed_output(options, film, out) as place, progress_bars() as progress:
        made = run(
            avatar,
            deck,
            place,
            presenting=presenting,
            controls=controls,
            device=options.device,
            force=options.force,
            progress=progress,
        )
    for remark in made.remarks:
        print(f"note: {deck}: {remark}", file=sys.stderr)
    kept = f", {made.frames - made.made} of them kept" if made.made < made.frames else ""
    print(f"{out}: {made.scenes} slides, {made.frames} frames{kept}, {size_of(out)}")
