"""Consent in avatars: `avatar consent`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Who agreed to an avatar, to what and until when.", no_args_is_help=True)
AvatarFile = Annotated[Path, typer.Argument(metavar="NAME.avatar", help="An avatar file.")]


@app.command()
def show(avatar: AvatarFile) -> None:
    """Print an avatar's id and its consent."""
    from avatar.core.avatar_file import load_avatar
    from avatar.core.consent import NOT_STATED, avatar_id, parse_text

    found = load_avatar(avatar)
    text = found.provenance.get("consent", NOT_STATED)
    record = parse_text(text)
    print(f"{'avatar':<20} {avatar_id(found)}")
    if record is None:
        print(f"{'consent':<20} {text}")
        return
    for name, value in json.loads(record.text()).items():
        print(f"{name:<20} {', '.join(value) if isinstance(value, list) else value}")


@app.command()
def add(
    avatar: AvatarFile,
    consent: Annotated[Path, typer.Argument(metavar="CONSENT.json", help="A consent file.")],
) -> None:
    """Write a consent into an avatar: its first, or a later one of the same person."""
    from avatar.core.avatar_file import load_avatar, save_avatar
    from avatar.core.consent import read_consent, with_consent

    record = read_consent(consent)
    save_avatar(with_consent(load_avatar(avatar), record, str(avatar)), avatar)
    print(f"{avatar}: {record.describe()}")


@app.command()
def revoke(
    avatar: AvatarFile,
    revoked: Annotated[Path, typer.Option("--list", metavar="FILE", help="Revocation list to add it to.")],
    reason: Annotated[str, typer.Option(help="A note for the list.")] = "",
) -> None:
    """Add an avatar to a revocation list, which speak, render, motion and batch jobs take as --revoked."""
    from avatar.core.avatar_file import load_avatar
    from avatar.core.consent import add_revoked, avatar_id

    entry = avatar_id(load_avatar(avatar))
    print(f"{revoked}: {entry} {'added' if add_revoked(revoked, entry, reason) else 'stands there already'}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a consent file."""
    from avatar.core.consent import schema as consent_schema

    print(json.dumps(consent_schema(), indent=1))
