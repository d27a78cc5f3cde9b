"""Job: one thing to make. And the schema of the job file, made of the options of each verb."""

from __future__ import annotations

import functools
import operator
import re
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, create_model

from avatar.core.recipe import MOST_SECONDS, Settings, parse_duration
from avatar.pipelines.option_markers import Duration
from avatar.pipelines.option_table import options_of
from avatar.pipelines.options import Verb
from avatar.pipelines.verbs import VERBS

Kind = Verb
URL = re.compile(r"^[a-z][a-z0-9+.-]*://")


def _with_role(role: str) -> dict[Kind, tuple[str, ...]]:
    return {kind: tuple(one.name for one in options_of(verb) if one.given.role == role) for kind, verb in VERBS.items()}


INPUTS, OUTPUTS, OPTIONS = _with_role("input"), _with_role("output"), _with_role("option")
"""The keys of each kind that name what it reads, what it writes, and the others."""
LIMITS: dict[Kind, float] = {
    "preprocess": 6 * 3600.0,
    "build": 2 * 3600.0,
    "speak": 3600.0,
    "render": 3600.0,
    "motion": 3600.0,
    "evaluate": 3600.0,
    "dub": 2 * 3600.0,
    "say": 3600.0,
    "present": 6 * 3600.0,
}
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
    "render": Need(memory=1.0),
    "motion": Need(memory=1.0),
    "evaluate": Need(memory=2.0),
    "dub": Need(memory=2.0),
    "say": Need(memory=2.0),
    "present": Need(memory=2.0),
}


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to make. Paths are absolute or URLs; options are plain values, as the schema has them.

    Contents of files of settings (`recipe`, `controls`) stand in the options.
    """

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
    files: dict[str, str] = field(default_factory=dict)  # that options name: by key, such as `recipe.renderer.generic`

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes the job again."""
        return asdict(self)

    @property
    def sources(self) -> dict[str, str]:
        """Every file or folder that it reads, by the key that names it."""
        return self.inputs | self.files

    @property
    def takes_gpu(self) -> bool:
        """Whether it draws or trains on a GPU, where its worker has one."""
        return "device" in OPTIONS[self.kind] and self.options.get("device") != "cpu"

    @property
    def model(self) -> str:
        """What a worker loads for it and keeps for the next job: the avatar; empty for none."""
        return self.inputs.get("avatar", "")


def from_json(values: dict[str, Any]) -> Job:
    """The job that `to_json` wrote."""
    return Job(**values | {"need": Need(**values["need"]), "after": tuple(values["after"])})


def budget_of(options: dict[str, Any]) -> float:
    """Seconds that a build trains for, at most where it ends by itself."""
    if "budget" in options:
        return parse_duration(options["budget"], "budget")
    return float(options.get("recipe", {}).get("budget_seconds") or MOST_SECONDS)


def is_url(path: str) -> bool:
    """Whether a place is a URL such as s3://bucket/key, which fsspec opens."""
    return "://" in path and bool(URL.match(path))


def _not_empty(value: str | list[str]) -> str | list[str]:
    if not value or (isinstance(value, list) and not all(value)):
        raise ValueError("must name a file")
    return value


Paths = Annotated[str | list[str], AfterValidator(_not_empty)]
PATHS = "A path, a glob, a URL, or a list of them: a job for each. Relative to the job file's folder."
Template = Annotated[str, Field(min_length=1)]
TEMPLATE = (
    "{NAME} is the name of that input without its ending, {NAME_folder} that of its folder, or the value of that key "
    "of the matrix; {id} and {n}: the entry's id, the number within it."
)


class Common(Settings):
    """Keys of jobs of every kind."""

    id: str | None = Field(None, pattern=r"^[\w.-]+$", description="A name, for `after` and {id}.")
    after: str | list[str] = Field([], description="Ids of entries that must be done before.")
    matrix: dict[str, str | list[Any]] = Field(
        {}, description="Keys of this entry, each with many values: a job for every combination."
    )
    output: Template = Field(description=f"Path to write. {TEMPLATE}")
    limit: Duration | None = Field(None, description="A job that runs longer is stopped.")
    cpus: int | None = Field(None, ge=1, le=4096, description="Cores. [default: the engine's choice]")
    memory: float | None = Field(None, gt=0, description="GB.")


def _entry_class(kind: Kind, verb: type[Settings]) -> type[Common]:
    """Keys of a kind: the options of the verb, with globs as inputs and templates as outputs."""
    fields: dict[str, Any] = {"kind": (Literal[kind], ...)}
    for option in options_of(verb):
        if option.given.role == "input":
            fields[option.name] = (Paths, Field(description=f"{option.description} {PATHS}"))
        elif option.given.role == "output" and option.name != "output":
            fields[option.name] = (Template | None, Field(None, description=f"{option.description} {TEMPLATE}"))
    output = next(option for option in options_of(verb) if option.name == "output")
    fields["output"] = (Template, Field(description=f"{output.description} {TEMPLATE}"))
    bases: Any = (Common, verb)
    return create_model(verb.__name__, __base__=bases, __doc__=verb.__doc__, **fields)


KINDS: dict[Kind, type[Common]] = {kind: _entry_class(kind, verb) for kind, verb in VERBS.items()}
COMMON = frozenset(Common.model_fields)


class Head(Settings):
    """Keys above the jobs."""

    defaults: dict[Literal["all", Kind], dict[str, Any]] = Field(
        {}, description="Values for entries without their own, by kind."
    )


def schema() -> dict[str, Any]:
    """The job file as JSON Schema. Of an entry only `kind` is required: everything else may come from the defaults."""
    entry = Annotated[functools.reduce(operator.or_, KINDS.values()), Field(discriminator="kind")]  # type: ignore[valid-type]
    file = create_model("JobFile", __base__=Head, __doc__="A job file.", jobs=(list[entry], ...))  # type: ignore[valid-type]
    found = TypeAdapter(file).json_schema()
    for kind in KINDS.values():
        found["$defs"][kind.__name__]["required"] = ["kind"]
    return found | {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Avatar batch"}
