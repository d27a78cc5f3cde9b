"""The options of `present`: a row of the table each, as in `avatar.pipelines.options`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from avatar.core.coding import Codec, Quality
from avatar.core.named_files import NAMED_LIGHTS, BackgroundPath, FilePath, GradePath, LightPath
from avatar.core.recipe import CONTROL_ALIASES, Alias, Settings
from avatar.pipelines.option_markers import Duration, FileOfSettings, Given, Sections
from avatar.pipelines.options import Control, Hardware, Labelled, Permission, Signing, Voiced


def brand_sections(values: Mapping[str, Any]) -> Sections:
    """The settings class of a brand file."""
    from avatar.presenter.brand import BrandSettings

    return {"": BrandSettings}


class DeckInput(Settings):
    """What is presented; a class of its own, so that it comes before the avatar."""

    deck: Annotated[FilePath, Given(metavar="DECK", role="input", positional=True)] = Field(
        description="A .pptx with notes, a .pdf with --script, a Markdown script, or a folder of numbered pictures."
    )


class Present(Hardware, Control, Labelled, Voiced, Permission, DeckInput, Signing):
    """Make a film of a deck and its speaker notes, with the avatar's person in it."""

    output: Annotated[FilePath, Given(("-o", "--out"), "OUT.mp4", "output", endings=(".mp4", ".mov"))] = Field(
        description="Film (.mp4, .mov); what it is made of is kept beside it in OUT.scenes."
    )
    script: Annotated[FilePath | None, Given(metavar="FILE.md")] = Field(
        None, description="What is said, a scene for each slide, between lines of ---; instead of notes."
    )
    sounds: Annotated[FilePath | None, Given(metavar="DIR")] = Field(
        None, description="Folder with recorded speech: 07.wav of slide 7, instead of a voice."
    )
    recording: Annotated[FilePath | None, Given(metavar="FILE")] = Field(
        None, description="One recording of all slides, with --times."
    )
    times: Annotated[str | None, Given(metavar="TIMES")] = Field(
        None, description="When the recording's slides begin, such as '0, 12.5, 1:03'."
    )
    aspect: Annotated[Literal["16:9", "9:16", "1:1"] | None, Given(default="the script's, else 16:9")] = Field(
        None, description="Shape of the frame."
    )
    lines: int = Field(1080, ge=128, le=2160, multiple_of=4, description="Pixels of the frame's shorter side.")
    layout: Annotated[Literal["corner", "side", "full", "slide"] | None, Given(default="the script's, else corner")] = (
        Field(None, description="How the film begins: person in a corner, beside the slide, alone, or not there.")
    )
    shape: Annotated[
        Literal["cutout", "circle", "box"] | None, Given(default="cutout where the person fits in, else circle")
    ] = Field(None, description="How the person is cut out.")
    brand: Annotated[str | dict[str, Any] | None, FileOfSettings(brand_sections), Given(metavar="FILE")] = Field(
        None, description="YAML file with colours, background, logo, font, intro and outro."
    )
    background: Annotated[BackgroundPath | None, Given(metavar="FILE|COLOUR", default="the brand's")] = Field(
        None, description="Behind the person and slides that do not fill the frame: a picture, a colour or 'blur'."
    )
    light: Annotated[LightPath, Given(metavar="NAME[:STRENGTH]|FILE")] = Field(
        "keep", description=f"On the person: {', '.join(NAMED_LIGHTS)}; or a file of one light, or a panorama."
    )
    grade: Annotated[GradePath, Given(metavar="none|match|FILE.cube")] = Field(
        "none", description="Colours of the person: white and exposure near the background's, or a table."
    )
    fonts: Annotated[FilePath | None, Given(metavar="DIR")] = Field(
        None, description="Folder with fonts that the deck uses."
    )
    slides: Annotated[str | None, Given(metavar="NUMBERS", default="all")] = Field(
        None, description="Only these, such as 7,9-11."
    )
    silent: Annotated[Duration | None, Given(default="refused for a deck without any notes, else 3s")] = Field(
        None, description="How long slides without notes are shown."
    )
    read_titles: bool = Field(False, description="Have the titles of slides without notes read.")
    draft: bool = Field(False, description="A quarter of the pixels, coded fast.")
    codec: Codec = Field("h264", description="Of the film.")
    quality: Quality = Field("good", description="Of the encoding.")

    aliases: ClassVar[Mapping[str, Alias]] = CONTROL_ALIASES
