"""Where films are from: `avatar verify`, `avatar keys`, `avatar log`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatar.cli.errors import print_error
from avatar.core.files import UserError

app = typer.Typer()
log = typer.Typer(help="The films that were made here.", no_args_is_help=True)
keys = typer.Typer(help="Keys that films are signed by.", no_args_is_help=True)


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Films, pictures, sounds.")],
    root: Annotated[list[Path] | None, typer.Option(metavar="FILE.pem", help="Certificates to trust, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    own_log: Annotated[bool, typer.Option("--log", help="Look it up in the log of films made here, too.")] = False,
) -> None:
    """Whether files were made here or by another generator: signed manifest and invisible mark."""
    from avatar.provenance import verify as reader
    from avatar.provenance.keys import ROOT, keys_folder

    own = keys_folder() / ROOT
    roots = reader.read_roots([*([own] if own.is_file() else []), *(root or [])])
    findings, failed = [], False
    for file in files:
        try:
            findings.append(reader.verify(file, roots=roots, logged=own_log))
        except (UserError, OSError) as error:
            print_error(error)
            failed = True
            continue
        if not as_json:
            print(findings[-1])
    if as_json:
        print(reader.as_json(findings))
    if failed:
        raise typer.Exit(1)


@keys.command()
def init(
    organization: Annotated[str, typer.Option(metavar="NAME", help="Who signs; stands in every film.")],
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where. [default: ~/.config/avatar-builder/keys]")
    ] = None,
) -> None:
    """Make a root and a leaf certificate and their private keys, which only you can read."""
    from avatar.provenance.keys import ROOT, keys_folder, make_keys

    place = folder or keys_folder()
    make_keys(place, organization)
    print(f"{place}: films are signed by {organization}; give {ROOT} to whoever verifies them, the keys to nobody")


@log.command("show")
def show_log(last: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20) -> None:
    """Print the films that were made here: when, mark, avatar, file, note."""
    from avatar.provenance.log import entries

    for one in entries(last):
        print("  ".join((one.made, one.mark, one.avatar, one.file, one.note)).rstrip())


@log.command()
def note(
    mark: Annotated[str, typer.Argument(help="Of the film, as `avatar verify` and `avatar log show` print it.")],
    text: Annotated[str, typer.Argument(help="What to write beside it.")],
) -> None:
    """Write a note beside the films of a mark."""
    from avatar.provenance.log import set_note

    if not (count := set_note(mark, text)):
        raise UserError(f"{mark}: no film of this mark is in the log; `avatar log show` prints them")
    print(f"{mark}: {count} films")
