"""Job: one thing to make. And the job file's schema: what may be asked for, of which kind, with which settings."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter

from avatar.core.coding import Codec, Quality
from avatar.core.files import UserError
from avatar.core.recipe import Recipe, Settings, parse_duration

Kind = Literal["preprocess", "build", "speak", "evaluate"]
Device = Literal["cpu", "cuda"]
URL = re.compile(r"^[a-z][a-z0-9+.-]*://")

INPUTS: dict[Kind, tuple[str, ...]] = {
    "preprocess": ("video",),
    "build": ("source",),
    "speak": ("avatar", "speech"),
    "evaluate": ("avatar", "take"),
}
OUTPUTS: dict[Kind, tuple[str, ...]] = {
    "preprocess": ("output",),
    "build": ("output",),
    "speak": ("output",),
    "evaluate": ("output", "page", "sheet"),
}
LIMITS: dict[Kind, float] = {"preprocess": 6 * 3600.0, "build": 2 * 3600.0, "speak": 3600.0, "evaluate": 3600.0}
"""Seconds after which a job counts as hung; a build has them beside twice its budget."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a job takes of a machine while it runs."""

    cpus: int | None = None  # None: as the engine sees fit
    memory: float = 1.0  # GB
    gpus: int = 0


NEEDS: dict[Kind, Need] = {
    "preprocess": Need(memory=2.0),
    "build": Need(memory=2.0),
    "speak": Need(memory=1.0),
    "evaluate": Need(memory=2.0),
}


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to make. Paths are absolute or URLs; options are plain values, as the schema has them."""

    id: str  # the output, as a person would name it from the job file's folder
    kind: Kind
    line: int  # of the job file
    entry: str  # of the job file, where it has an id
    inputs: dict[str, str]
    outputs: dict[str, str]
    options: dict[str, Any]
    need: Need
    limit: float  # seconds
    after: tuple[str, ...] = ()  # ids of entries

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes the job again."""
        return asdict(self)

    def sources(self) -> list[str]:
        """Every file or folder it reads."""
        controls, recipe = self.options.get("controls", {}), self.options.get("recipe", {})
        pose = str(controls.get("pose", ""))
        found = [*self.inputs.values(), controls.get("style"), recipe.get("encoder"), self.options.get("background")]
        found += [pose.removeprefix("take:")] if pose.startswith("take:") else []
        return [place for place in found if place and (is_url(place) or os.path.isabs(place))]

    @property
    def model(self) -> str:
        """What is loaded to do it, and worth keeping for the next job: the avatar; empty for none."""
        return self.inputs.get("avatar", "")


def from_json(values: dict[str, Any]) -> Job:
    """The job that `to_json` wrote."""
    return Job(**values | {"need": Need(**values["need"]), "after": tuple(values["after"])})


def budget_of(options: dict[str, Any]) -> float:
    """Seconds that a build trains for."""
    if "budget" in options:
        return parse_duration(options["budget"], "budget")
    return float(options.get("recipe", {}).get("budget_seconds", Recipe().budget_seconds))


def is_url(path: str) -> bool:
    """Whether a place is a URL such as s3://bucket/key, which fsspec opens."""
    return "://" in path and bool(URL.match(path))


def _duration(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError("must be a duration such as 90s, 5m or 1h")
    try:
        parse_duration(value, "")
    except UserError as error:
        raise ValueError(str(error).removeprefix(": ")) from error
    return value


def _not_empty(value: str | list[str]) -> str | list[str]:
    if not value or (isinstance(value, list) and not all(value)):
        raise ValueError("must name a file")
    return value


Duration = Annotated[str, BeforeValidator(_duration, json_schema_input_type=str | float)]
Paths = Annotated[
    str | list[str],
    AfterValidator(_not_empty),
    Field(description="A path, a glob, a URL, or a list of them: a job for each. Relative to the job file's folder."),
]
Template = Annotated[
    str,
    Field(
        min_length=1,
        description="Path to write. {NAME} is the name of that input without its ending, {NAME_folder} that of its "
        "folder, or the value of that axis of the matrix; {id} and {n}: the entry's id, the number within it.",
    ),
]


class Common(Settings):
    """What jobs of every kind may say."""

    id: str | None = Field(None, pattern=r"^[\w.-]+$", description="A name, for `after` and {id}.")
    after: str | list[str] = Field([], description="Ids of entries that must be done before.")
    matrix: dict[str, str | list[Any]] = Field(
        {}, description="Keys of this entry, each with many values: a job for every combination."
    )
    output: Template
    limit: Duration | None = Field(None, description="A job that runs longer is stopped.")
    cpus: int | None = Field(None, ge=1, le=4096, description="Cores; the engine's choice unless said.")
    memory: float | None = Field(None, gt=0, description="GB.")


class Preprocess(Common):
    """Video to Take."""

    kind: Literal["preprocess"]
    video: Paths
    size: int = Field(512, ge=64, le=1024, multiple_of=16)
    holdout: float = Field(0.1, ge=0, le=0.9)
    face: Literal["auto", "left", "right", "largest"] = "auto"
    start: Duration | None = None
    end: Duration | None = None
    select: Duration | None = None
    consent: str = "not stated"


class Build(Common):
    """Video or Take to avatar."""

    kind: Literal["build"]
    source: Paths
    recipe: str | dict[str, Any] = Field({}, description="A YAML file, or what would stand in it.")
    budget: Duration | None = None
    holdout: float | None = Field(None, ge=0, le=0.9)
    seed: int | None = None
    face: Literal["auto", "left", "right", "largest"] = "auto"
    consent: str = "not stated"
    device: Device = "cpu"


class Speak(Common):
    """Avatar and speech to film."""

    kind: Literal["speak"]
    avatar: Paths
    speech: Paths
    size: int | None = Field(None, ge=64, le=2048)
    fps: float | None = Field(None, ge=5, le=120)
    background: str | None = None
    full_frame: bool = False
    orbit: float = Field(0.0, ge=0, le=20)
    codec: Codec = "h264"
    quality: Quality = "good"
    controls: str | dict[str, Any] = Field({}, description="A YAML file, or what would stand in it.")
    device: Device = "cpu"


class Evaluate(Common):
    """Avatar and Take to figures; `output` is a JSON file."""

    kind: Literal["evaluate"]
    avatar: Paths
    take: Paths
    page: Template | None = None
    sheet: Template | None = None
    device: Device = "cpu"


KINDS: dict[Kind, type[Common]] = {"preprocess": Preprocess, "build": Build, "speak": Speak, "evaluate": Evaluate}
COMMON = frozenset(Common.model_fields)


class Head(Settings):
    """What stands above the jobs."""

    defaults: dict[Literal["all", Kind], dict[str, Any]] = Field(
        {}, description="Values for entries that do not say otherwise, by kind."
    )


class JobFile(Head):
    """A job file."""

    jobs: list[Annotated[Preprocess | Build | Speak | Evaluate, Field(discriminator="kind")]]


def schema() -> dict[str, Any]:
    """The job file as JSON Schema. Of an entry only `kind` is required: everything else may come from the defaults."""
    found = TypeAdapter(JobFile).json_schema()
    for kind in KINDS.values():
        found["$defs"][kind.__name__]["required"] = ["kind"]
    return found | {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Avatar batch"}
