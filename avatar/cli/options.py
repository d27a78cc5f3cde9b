"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

AvatarFile = Annotated[Path, typer.Argument(metavar="NAME.avatar", help="An avatar file.")]
SpeechFile = Annotated[Path, typer.Argument(metavar="SPEECH", help="Any sound or video file that ffmpeg reads.")]
Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
Background = Annotated[str | None, typer.Option(help="A picture file, or a colour such as '#20a040' or 'white'.")]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="The processor, or an NVIDIA GPU.")]
Consent = Annotated[str, typer.Option(help="Who agreed to this avatar and to what; travels with the file.")]
Face = Annotated[
    Literal["auto", "left", "right", "largest"], typer.Option(help="Which face, when there are several all the way.")
]
