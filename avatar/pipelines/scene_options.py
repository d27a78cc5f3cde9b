"""The options of a scene: how a person belongs in the picture."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from avatar.core.named_files import NAMED_LIGHTS, BackgroundPath, GradePath, LightPath
from avatar.core.recipe import Settings
from avatar.pipelines.option_markers import Given

BEHIND = "A picture, a video, a colour such as '#20a040' or 'white', 'gradient:COLOUR:COLOUR', 'blur' or 'transparent'."


class Staged(Settings):
    """What is behind a person, and where they stand before it."""

    background: Annotated[BackgroundPath | None, Given(metavar="FILE|COLOUR|transparent", default="as filmed")] = Field(
        None, description=BEHIND
    )
    background_from: Annotated[float | None, Given(metavar="SECONDS", default="its beginning")] = Field(
        None, ge=0, description="Where a video behind the person begins."
    )
    background_to: Annotated[float | None, Given(metavar="SECONDS", default="its end")] = Field(
        None, gt=0, description="Where it ends."
    )
    background_end: Literal["loop", "hold"] = Field(
        "loop", description="What comes after it: its beginning, by a soft transition, or its last picture."
    )
    background_pan: Literal["in", "out", "left", "right", "up", "down"] | None = Field(
        None, description="How the view moves slowly over a picture behind the person."
    )
    place: Annotated[str | None, Given(metavar="WHERE[,size=S][,crop=C]", default="the square alone")] = Field(
        None, description="left, middle, right or 0..1; size and crop as shares of the picture's and person's height."
    )
    frame: Annotated[str | None, Given(metavar="WIDTHxHEIGHT", default="the square; with --place the background's")] = (
        Field(None, description="The picture's size in px, with --place.")
    )
    light: Annotated[LightPath, Given(metavar="NAME[:STRENGTH]|FILE")] = Field(
        "keep", description=f"{', '.join(NAMED_LIGHTS)}; or a file of lights (.yaml) or a panorama (.hdr, .exr)."
    )
    grade: Annotated[GradePath, Given(metavar="none|match|FILE.cube")] = Field(
        "none", description="Colours of the person: white and exposure near the background's, or a table."
    )


class BehindSound(Settings):
    """The sound of what is behind a person."""

    background_sound: Annotated[float | None, Given(metavar="DB", default="none of it")] = Field(
        None, ge=-60, le=12, description="Mix in the sound of a video behind the person at this level, in dB."
    )
