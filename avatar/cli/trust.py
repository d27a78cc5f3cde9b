"""Where films are from: `avatar verify`, `avatar keys`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatar.cli.errors import print_error
from avatar.core.files import UserError

app = typer.Typer()
keys = typer.Typer(help="Keys that films are signed by.", no_args_is_help=True)


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Films, pictures, sounds.")],
    root: Annotated[list[Path] | None, typer.Option(metavar="FILE.pem", help="Certificates to trust, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Whether files were made here or by another generator: signed manifest and invisible mark."""
    from avatar.provenance import verify as reader
    from avatar.provenance.keys import ROOT, keys_folder

    own = keys_folder() / ROOT
    roots = reader.read_roots([*([own] if own.is_file() else []), *(root or [])])
    findings, failed = [], False
    for file in files:
        try:
            findings.append(reader.verify(file, roots=roots))
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
