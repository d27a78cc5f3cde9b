"""Commands whose parameters come from the table of options, and options that the other commands share."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from avatar.core.files import UserError
from avatar.core.recipe import Settings, without_aliases
from avatar.pipelines.arguments import check_outputs
from avatar.pipelines.option_table import Option, options_of
from avatar.pipelines.options import DEVICE, DeviceChoice

Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
Device = Annotated[DeviceChoice, typer.Option(help=DEVICE)]

VerbType = TypeVar("VerbType", bound=Settings)


def add_verb(app: typer.Typer, verb: type[VerbType]) -> Callable[[Callable[[VerbType], None]], None]:
    """Decorate a function of a verb's options: it becomes the command of the verb's name."""

    def add(run: Callable[[VerbType], None]) -> None:
        def command(**values: Any) -> None:
            options = read_options(verb, values)
            check_outputs(options)
            print_device(getattr(options, "device", "cpu"))
            run(options)

        parameters = [parameter for option in options_of(verb) for parameter in _parameters(option)]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        spelling = {"token_normalize_func": lambda name: name.replace("_", "-")}  # --mouth-amp is --mouth_amp
        app.command(run.__name__, help=verb.__doc__, context_settings=spelling)(command)

    return add


def field_help(options: type[Settings], name: str) -> str:
    """What the table of options says of one, for commands that are not in it."""
    return options.model_fields[name].description or ""


def print_device(device: DeviceChoice) -> None:
    """Name on stderr the GPU that `auto` stands for, where there is one."""
    if device == "auto":
        from avatar.render.device import describe, pick_device

        if (found := pick_device(device)).type == "cuda":
            print(f"note: {describe(found)}; --device cpu for the processor", file=sys.stderr)


def _parameters(option: Option) -> list[inspect.Parameter]:
    """The parameters of a setting: its own, and one for each other project's name whose values are converted."""
    required = option.required and not option.aliases
    others = [_alias(option, name) for name in option.aliases]
    shown: dict[str, Any] = {"help": option.description, "metavar": option.given.metavar or None}
    if option.type in (int, float):
        shown |= {"min": option.least, "max": option.most}
    if option.given.default:
        shown["show_default"] = option.given.default
    if option.given.positional:
        info: Any = typer.Argument(**shown)
    else:
        info = typer.Option(*option.flags, **shown)
    kind = option.type if required or option.type is bool else option.type | None
    default = inspect.Parameter.empty if required else option.default
    return [_parameter(option.name, Annotated[kind, info], default), *others]


def _alias(option: Option, name: str) -> inspect.Parameter:
    own = option.given.metavar if option.given.positional else option.flags[0]
    kind, metavar = (Path, "FILE") if option.type is Path else (str, None)
    info = typer.Option(f"--{name}", metavar=metavar, help=f"Another project's way to give {own}.")
    return _parameter(name, Annotated[kind | None, info], None)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def read_options(verb: type[VerbType], values: Mapping[str, Any]) -> VerbType:
    """Options from what stands on a command line; None is what is not given. Raises: UserError."""
    given = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    given = {name: value for name, value in given.items() if value is not None}
    try:
        return verb.model_validate(without_aliases(verb, given, verb.__name__.lower()))
    except ValidationError as error:
        first = error.errors()[0]
        option = next(option for option in options_of(verb) if option.name == first["loc"][0])
        name = option.given.metavar if option.given.positional else option.flags[-1 if option.given.flags else 0]
        if first["type"] == "missing":
            raise UserError(f"give {' or '.join([name, *(f'--{one} FILE' for one in option.aliases)])}") from error
        message = first["msg"]
        if first["type"] == "value_error":
            message = message.removeprefix("Value error, ")
        else:
            message = f"{message[0].lower()}{message[1:]}, not {first['input']!r}"
        raise UserError(f"{name}: {message}") from error
