"""Which module holds which command; a command's module is loaded when the command is called."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup


class Place(NamedTuple):
    """Where a command is defined, and its line in the help of `avatar`."""

    module: str
    line: str
    group: str = ""  # a group of commands: the name of its Typer in the module


PLACES = {
    "preprocess": Place("make", "Video to Take: crop, track, matte, background plate, sound, report."),
    "build": Place(
        "make", "Everything: preprocess if needed, train the renderer, adapt speech to motion, write one file."
    ),
    "pretrain-renderer": Place(
        "make", "Train a NeRF on many people; `generic: FILE` in a recipe begins one person's with it."
    ),
    "upgrade": Place(
        "make",
        "Rewrite files of earlier versions in the present format; "
        "those that cannot be are named, and left as they are.",
    ),
    "doctor": Place("make", "What this machine has, and what is missing for what."),
    "demo": Place("make", "The whole way once: a clip becomes an avatar, and the avatar speaks."),
    "speak": Place("drive", "Make an avatar say what a sound file says; any length."),
    "say": Place("drive", "Make an avatar say a text, by a voice."),
    "present": Place("present", "Make a film of a deck and its speaker notes, with the avatar's person in it."),
    "render": Place("drive", "Re-enact a Take's own track; PNGs are named by the Take's frame index."),
    "motion": Place("drive", "Speech to motion only."),
    "export": Place(
        "drive",
        "A web page that draws the avatar (.html); or a frame: splats or a mesh (.ply), a NeRF avatar's depth (.png).",
    ),
    "dub": Place(
        "drive", "Let the person in a video say something else: every pixel but the mouth's stays as it was filmed."
    ),
    "serve": Place(
        "serve",
        "Live avatars for browsers and voice agents: sound in, picture and sound out, by WebSocket and WebRTC.",
    ),
    "evaluate": Place(
        "drive",
        "Figures on held-out frames: PSNR, SSIM, LMD, flicker, lip correlation; LPIPS and CSIM with your networks.",
    ),
    "sync": Place("sync", "Whether the lips follow the sound, and by how much it is late or early."),
    "verify": Place(
        "trust", "Whether files were made here or by another generator: signed manifest and invisible mark."
    ),
    "a2m": Place("a2m", "Train the speech-to-motion encoder that ships with the package.", "app"),
    "consent": Place("consent", "Who agreed to an avatar, to what and until when.", "app"),
    "keys": Place("trust", "Keys that films are signed by.", "keys"),
    "log": Place("trust", "The films that were made here.", "log"),
    "motion-space": Place("space", "Make the MotionSpace asset from clips.", "app"),
    "take": Place("takes", "Takes to and from the data folders of other projects.", "app"),
    "studio": Place("studio", "A page in the browser that does the whole way: film, check, build, speak, download."),
    "batch": Place("batch", "Run the jobs of a file, on this machine or a cluster: `avatar batch jobs.yaml`.", "app"),
}
"""In the order of the help. tests/test_cli.py compares the lines with those of the commands themselves."""


def _load(name: str, place: Place) -> Any:
    module = import_module(f"avatar.cli.{place.module}")
    group = typer.main.get_group(getattr(module, place.group or "app"))
    if not place.group:
        return group.commands[name]
    group.name = name
    return group


class Commands(Mapping[str, Any]):
    """The commands by name, made when they are first looked up; made: those that are made already."""

    def __init__(self, made: Mapping[str, Any]) -> None:
        self._made = dict(made)

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _load(name, PLACES[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(PLACES | self._made)

    def __len__(self) -> int:
        return len(PLACES | self._made)


class CommandGroup(TyperGroup):
    """All commands of `avatar`; its help is printed from the table alone."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = Commands(self.commands)

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Names in the order of the help."""
        return list(self.commands)

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Print the help, without loading the commands."""
        page = copy.copy(self)
        page.commands = {name: TyperCommand(name, help=place.line) for name, place in PLACES.items()}
        super(CommandGroup, page).format_help(ctx, formatter)
