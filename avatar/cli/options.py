"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

AvatarFile = Annotated[Path, typer.Argument(metavar="NAME.avatar", help="An avatar file.")]
SpeechFile = Annotated[Path, typer.Argument(metavar="SPEECH", help="Any sound or video file that ffmpeg reads.")]
MaybeSpeech = Annotated[
    Path | None, typer.Argument(metavar="SPEECH", help="Any sound or video file that ffmpeg reads.")
]
Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
Background = Annotated[
    str | None,
    typer.Option(
        "--background", "--bg_img", help="A picture, a video, a colour such as '#20a040' or 'white', or 'transparent'."
    ),
]
Size = Annotated[int | None, typer.Option(min=64, max=2048, help="Pixels a side; as trained unless said.")]
Rate = Annotated[float | None, typer.Option("--fps", min=5, max=120, help="Frames a second; as trained unless said.")]
CodecName = Annotated[Literal["h264", "hevc", "av1"], typer.Option("--codec", help="Of .mp4 and .mov films.")]
QualityName = Annotated[Literal["draft", "good", "best"], typer.Option("--quality", help="Of the encoding.")]
Orbit = Annotated[float, typer.Option(help="Degrees that the view swings to either side, up to 20.")]
Output = Annotated[
    Path, typer.Option("-o", "--out", metavar="OUT.mp4", help="Film (.mp4, .mov, .webm), or a folder for PNGs.")
]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="The processor, or an NVIDIA GPU.")]
Consent = Annotated[str, typer.Option(help="Who agreed to this avatar and to what; travels with the file.")]
Face = Annotated[
    Literal["auto", "left", "right", "largest"], typer.Option(help="Which face, when there are several all the way.")
]
