"""The `avatar` command: parse, call, print, exit code (0 done, 1 failed, 2 wrong use, 128 + a signal's)."""

from __future__ import annotations

import os
import sys
from typing import Annotated

os.environ.setdefault("GLOG_minloglevel", "3")  # log lines of mediapipe
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's idle threads must leave the cores to the native pool

import typer

from avatar.cli.commands import CommandGroup
from avatar.cli.errors import print_error, print_note
from avatar.cli.signals import CODES, ending_in_order
from avatar.core.files import UserError
from avatar.core.notes import warnings_as_notes
from cuda_ext.limits import core_count

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def print_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        from importlib.metadata import version

        print(f"avatar-builder {version('avatar-builder')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=print_version, is_eager=True, help="Version.")] = False,
) -> None:
    """Turn a short video of one person into a talking avatar, and make it speak."""


def main() -> None:
    """Run the command; a mendable error is one line on stderr and exit code 1."""
    os.environ.setdefault("OMP_NUM_THREADS", str(core_count()))  # torch counts cores that a container's quota lacks
    try:
        with ending_in_order(), warnings_as_notes(print_note):
            app()
    except (UserError, OSError) as error:
        print_error(error)
        sys.exit(1)
    except SystemExit as end:
        if end.code in CODES:
            print("stopped; run the same command again to go on", file=sys.stderr)
        raise
