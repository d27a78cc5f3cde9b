"""Recipe: every setting of a run, checked before any work starts."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from avatar.core.files import UserError
from avatar.core.lines import parse_mapping, read_mapping
from avatar.core.named_files import BackgroundPath, FilePath

LEAST_SIZE, MOST_SIZE, SIZE_STEP = 64, 1024, 16  # px; encoders work in blocks of 16
CropSize = Annotated[int, Field(ge=LEAST_SIZE, le=MOST_SIZE, multiple_of=SIZE_STEP)] | Literal["native"]
"""Pixels a side of a square crop, or as many as the source has there, up to the most."""
MOST_SECONDS = 300.0  # of a training that ends by itself: on two slow cores it may take that long
MOST_SEED = 2**62  # torch takes 64 bits, and some seeds are another one plus a number


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Alias:
    """What another project's name means here."""

    key: str  # or section.key
    convert: Callable[[Any], Any] = _same

    @property
    def converts(self) -> bool:
        """Whether values are other ones here, and not only the name."""
        return self.convert is not _same


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys refused, and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    aliases: ClassVar[Mapping[str, Alias]] = {}


def _blink_rate(mode: Any) -> Any:
    """GeneFace++'s blink_mode as a multiple of the person's own rate."""
    return {"none": 0.0, "period": 1.0}.get(mode, mode)


def _pose_source(pose: Any) -> Any:
    """GeneFace++'s drv_pose: `nearest`, `static`, or a Take."""
    known = {"nearest": "generated", "static": "still", "generated": "generated", "still": "still"}
    return known.get(pose, pose if not isinstance(pose, str) or pose.startswith("take:") else f"take:{pose}")


CONTROL_ALIASES = {
    "mouth_amp": Alias("mouth_gain"),
    "blink_mode": Alias("blink", _blink_rate),
    "lle_percent": Alias("lle"),
    "drv_pose": Alias("pose", _pose_source),
    "drv_style": Alias("style"),
    "cfg_scale": Alias("expression_gain"),  # no classifier-free guidance here: the face does more,
}
"""Names of GeneFace, GeneFace++ and MimicTalk for what `avatar.core.controls` has."""


def check_seed(seed: int) -> int:
    """The same seed. Raises: ValueError when it is larger than generators of random numbers take."""
    if abs(seed) > MOST_SEED:
        raise ValueError(f"must lie between {-MOST_SEED} and {MOST_SEED}")
    return seed


class Recipe(Settings):
    """One run of `avatar build`. The defaults are the default recipe."""

    name: str = "default"
    seed: Annotated[int, AfterValidator(check_seed)] = 0
    budget_seconds: float | None = Field(None, gt=0)  # training time; None: until more of it buys nothing
    steps: int | None = Field(None, ge=1)  # of training, in place of a time: then the same seed gives the same file
    holdout: float = Field(0.0, ge=0, le=0.9)  # last part of the clip, never trained on
    size: CropSize = 512  # px a side of the Take that is made of a video
    train_size: int | None = Field(
        None, ge=LEAST_SIZE, le=MOST_SIZE, multiple_of=SIZE_STEP
    )  # px a side of what is learned; the Take's own
    mouth_from: float = Field(1.0, ge=0, le=1)  # share of the budget after which the mouth counts much more
    renderer: dict[str, Any] = Field(default_factory=lambda: {"kind": "gaussian"})
    tracker: str = "auto"
    encoder: FilePath = ""  # a file of `avatar a2m`, instead of the packaged one
    motion: dict[str, Any] = Field(default_factory=dict)  # how sound becomes the person's motion
    controls: dict[str, Any] = Field(default_factory=dict)  # default controls of the avatar
    speech: FilePath = ""  # a sound file that is said at once: NAME.mp4 beside NAME.avatar
    background: BackgroundPath = ""  # of that film
    file: str = Field("recipe", exclude=True)  # where this was read, for errors

    @field_validator("renderer", mode="before")
    @classmethod
    def _name_alone(cls, renderer: Any) -> Any:
        """`renderer: nerf` is short for `renderer: {kind: nerf}`."""
        return {"kind": renderer} if isinstance(renderer, str) else renderer

    aliases: ClassVar[Mapping[str, Alias]] = {
        "drv_aud": Alias("speech"),
        "bg_img": Alias("background"),
        **{name: replace(alias, key=f"controls.{alias.key}") for name, alias in CONTROL_ALIASES.items()},
    }


SettingsType = TypeVar("SettingsType", bound=BaseModel)


def parse(settings: type[SettingsType], data: dict[str, Any], where: str) -> SettingsType:
    """Check plain values against a settings class.

    Raises: UserError naming the place, the key and the nearest valid key or what was expected.
    """
    try:
        return settings.model_validate(without_aliases(settings, data, where))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            known = [*settings.model_fields, *getattr(settings, "aliases", {})]
            near = difflib.get_close_matches(key, known, 1, 0.0)
            raise UserError(f"{where}: unknown key '{key}'; did you mean '{near[0]}'?") from error
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}: '{key}' {message[0].lower()}{message[1:]}") from error


def without_aliases(settings: type[SettingsType], data: dict[str, Any], where: str) -> dict[str, Any]:
    """The same data with other projects' names replaced by ours. Raises: UserError for what is given twice."""
    known: Mapping[str, Alias] = getattr(settings, "aliases", {})
    renamed: dict[str, Any] = {}
    for name, value in data.items():
        alias = known.get(name)
        if alias is None:
            renamed[name] = value if name not in renamed else renamed[name] | value
            continue
        section, _, key = alias.key.rpartition(".")
        if section in data and not isinstance(data[section], dict):
            raise UserError(f"{where}: '{section}' must be a section of `key: value` lines")
        target = {**data.get(section, {}), **renamed.get(section, {})} if section else renamed
        if key in target or (not section and key in data):
            raise UserError(f"{where}: '{name}' is another name of '{alias.key}', which is given too; keep one")
        target[key] = alias.convert(value)
        if section:
            renamed[section] = target
    return renamed


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from a YAML file."""
    return parse(Recipe, read_mapping(path, "recipe") | {"file": str(path)}, str(path))


def yaml_values(text: str) -> dict[str, Any]:
    """The keys and values of YAML text that `to_yaml` wrote; none where it is something else."""
    try:
        return parse_mapping(text, "the avatar's recipe", "recipe")
    except UserError:
        return {}


def to_yaml(recipe: Recipe) -> str:
    """The recipe as YAML text, as stored in the avatar."""
    return yaml.safe_dump(recipe.model_dump(), sort_keys=False)


def parse_duration(text: str, where: str) -> float:
    """Seconds from `90`, `90s`, `5m` or `1h`."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e7:
        raise UserError(f"{where}: '{text}' is not a duration; write for example 90s, 5m or 1h")
    return seconds
