"""docs/options.md, made of the table of options: python -m avatar.cli.options_page > docs/options.md"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from avatar.core.recipe import Settings
from avatar.pipelines.option_table import Option, options_of
from avatar.pipelines.verbs import VERBS

LEAD = """# Options

The options of each verb, for the command line, job files ([batch.md](batch.md)) and Python (`avatar.pipelines.options`). Made
by `python -m avatar.cli.options_page > docs/options.md` from the one table that all of them read; a test compares.

*Key* is the name in a job file. *File* is a file or folder: relative to where the command runs, or, in a job file, to that
file. A batch waits for the jobs that make such files, checks that they exist, and goes by their contents, also inside
recipes and controls. Names of other projects (`--bg_img`, `--drv_aud`, ...) may be written with `-` in place of `_`.
From `mouth_gain` to `temperature`, files may give numbers that change over time: `{second: value}`.
"""  # noqa: E501


def options_page() -> str:
    """The page as Markdown."""
    return "\n".join([LEAD, *(_section(name, verb) for name, verb in VERBS.items())])


def _section(name: str, verb: type[Settings]) -> str:
    rows = [_row(option) for option in options_of(verb)]
    head = ["| key | command line | value | default | what |", "|---|---|---|---|---|"]
    return "\n".join([f"## {name}", verb.__doc__ or "", "", *head, *rows, ""])


def _row(option: Option) -> str:
    spelled = [f"`{flag}`" for flag in (*option.flags, *(f"--{name}" for name in option.aliases))]
    if option.given.positional:
        spelled.insert(0, f"`{option.given.metavar}`")
    cells = [f"`{option.name}`", ", ".join(spelled), _value(option), _default(option), option.description]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _value(option: Option) -> str:
    """What a value may be."""
    if option.type is Path:
        return "file"
    if get_origin(option.type) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(option.type))
    if option.type is bool:
        return "yes or no"
    if option.type is str:
        return f"`{option.given.metavar}`" if option.given.metavar else "text"
    kind = {int: "whole number", float: "number"}[option.type]
    if option.least is not None and option.most is not None:
        return f"{kind}, {option.least:g} to {option.most:g}"
    return f"{kind}, {option.least:g} and more" if option.least is not None else kind


def _default(option: Option) -> str:
    if option.given.default:
        return option.given.default
    known: Any = option.default
    if known is None or known is False:
        return "required" if option.required else ""
    return f"`{known:g}`" if isinstance(known, (int, float)) else f"`{known}`"


if __name__ == "__main__":
    print(options_page(), end="")
