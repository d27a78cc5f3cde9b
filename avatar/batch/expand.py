"""Job file -> jobs: defaults filled in, globs and matrices multiplied out, every mistake told with its line."""

from __future__ import annotations

import difflib
import glob
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from avatar.batch import storage
from avatar.batch.jobs import (
    COMMON,
    INPUTS,
    KINDS,
    LIMITS,
    NEEDS,
    OUTPUTS,
    Common,
    Head,
    Job,
    Kind,
    Need,
    budget_of,
    is_url,
)
from avatar.core.files import UserError
from avatar.core.lines import Entry, read_entries
from avatar.core.recipe import parse_duration, read_yaml

MAGIC = re.compile(r"[*?\[]")
PLACE = re.compile(r"\{([^{}]*)\}")
MOST_JOBS = 1_000_000
FILES = {"recipe": ("encoder",), "controls": ("style", "pose")}
"""Options that may be a file, and which of their keys name files."""


@dataclass(frozen=True, order=True)
class Problem:
    """Something wrong in a job file."""

    line: int
    text: str


@dataclass
class Batch:
    """What a job file asks for."""

    path: Path
    jobs: list[Job] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    texts: dict[str, dict[str, Any]] = field(default_factory=dict)  # files of controls and recipes, by path

    @property
    def folder(self) -> str:
        """What relative paths are relative to."""
        return os.path.dirname(self.path)

    def report(self, line: int, text: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(line, text))


@dataclass(frozen=True)
class _Defaults:
    entry: Entry
    head: Head

    def under(self, entry: Entry) -> dict[str, Any]:
        """The values of an entry over the defaults of its kind over those of all kinds."""
        kind = str(entry.values.get("kind"))
        shared = self.head.defaults.get("all", {})
        if kind in KINDS:
            shared = {key: value for key, value in shared.items() if key in KINDS[kind].model_fields}
            shared = shared | self.head.defaults.get(kind, {})
        return shared | entry.values


def read_batch(path: Path) -> Batch:
    """Read and multiply out a job file; mistakes in single entries are collected, not raised.

    Raises: UserError when the file as a whole cannot be read.
    """
    path = path.absolute()
    head, entries = read_entries(path, "jobs")
    batch = Batch(path)
    defaults = _Defaults(head, _check_head(head, path))
    outputs: set[str] = set()
    ids: dict[str, int] = {}
    for entry in entries:
        made = list(_expand(batch, entry, defaults, outputs))
        batch.jobs += made
        outputs |= {place for job in made for place in job.outputs.values()}
        if isinstance(name := entry.values.get("id"), str) and ids.setdefault(name, entry.line) != entry.line:
            batch.report(entry.line_of("id"), f"the id '{name}' is taken by line {ids[name]}; choose another")
        if len(batch.jobs) > MOST_JOBS:
            raise UserError(f"{path}:{entry.line}: makes more than {MOST_JOBS} jobs; split the file")
    if not entries:
        batch.report(1, "the list `jobs` is empty; see `avatar batch schema`")
    return batch


def _check_head(head: Entry, path: Path) -> Head:
    try:
        checked = Head.model_validate(head.values)
    except ValidationError as error:
        raise UserError(f"{path}:{_line_of(error, head)}: {_explain(error, Head)}") from error
    for kind, values in checked.defaults.items():
        known = set().union(*(model.model_fields for model in KINDS.values())) if kind == "all" else None
        for key in values:
            if key not in (known or KINDS[kind].model_fields):  # type: ignore[index]
                where = f"{path}:{head.line_of('defaults')}"
                raise UserError(f"{where}: defaults, {kind}: {_unknown(key, known or KINDS[kind].model_fields)}")  # type: ignore[index]
    return checked


def _expand(batch: Batch, entry: Entry, defaults: _Defaults, made_before: set[str]) -> Iterator[Job]:
    values = defaults.under(entry)
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        near = difflib.get_close_matches(str(kind), list(KINDS), 1, 0.0)[0]
        what = f"kind '{kind}' is unknown; did you mean '{near}'?" if kind else f"needs a kind: {', '.join(KINDS)}"
        return batch.report(entry.line_of("kind"), what)
    model, axes = KINDS[kind], values.get("matrix") or {}
    if not isinstance(axes, dict) or not all(isinstance(axis, (list, str)) and axis for axis in axes.values()):
        return batch.report(entry.line_of("matrix"), "matrix: must be keys with lists of values")
    if wrong := next((key for key in axes if key not in model.model_fields or key in COMMON - {"cpus"}), None):
        return batch.report(entry.line_of("matrix"), f"matrix: {_unknown(wrong, set(model.model_fields) - COMMON)}")
    values = {key: value for key, value in values.items() if key != "matrix"}
    values |= {key: axis for key, axis in axes.items() if key in INPUTS[kind]}
    others = {key: axis if isinstance(axis, list) else [axis] for key, axis in axes.items() if key not in INPUTS[kind]}
    count = 0
    try:
        for chosen in itertools.product(*(list(enumerate(axis, 1)) for axis in others.values())):
            combination = {key: value for key, (_, value) in zip(others, chosen, strict=True)}
            said = model.model_validate(values | combination)
            shown = {key: _show(value, index) for key, (index, value) in zip(others, chosen, strict=True)}
            for job in _make_jobs(batch, entry, said, shown, made_before, count):
                count += 1
                yield job
    except ValidationError as error:
        batch.report(_line_of(error, entry, defaults.entry), _explain(error, model))
    except UserError as error:
        batch.report(entry.line, str(error))


def _show(value: Any, index: int) -> str:
    """A value as part of a file's name: plain ones as they are, others by their number."""
    if isinstance(value, (list, dict)):
        return str(index)
    return Path(value).stem if isinstance(value, str) else str(value)


def _make_jobs(
    batch: Batch, entry: Entry, said: Common, shown: dict[str, str], made_before: set[str], count: int
) -> Iterator[Job]:
    kind: Kind = said.kind  # type: ignore[attr-defined]
    found = [_find(batch, getattr(said, name), made_before) for name in INPUTS[kind]]
    for name, places in zip(INPUTS[kind], found, strict=True):
        if not places:
            wanted = getattr(said, name)
            batch.report(entry.line_of(name), f"{name}: nothing is called {wanted}, and no job above makes it")
    options = _options(batch, said)
    usual = LIMITS[kind] + (2 * budget_of(options) if kind == "build" else 0.0)
    need = Need(said.cpus, said.memory or NEEDS[kind].memory, int(options.get("device") == "cuda"))
    after = (said.after,) if isinstance(said.after, str) else tuple(said.after)
    for inputs in itertools.product(*found):
        count += 1
        given = dict(zip(INPUTS[kind], inputs, strict=True))
        names = shown | {"id": said.id or "", "n": str(count)}
        for name, place in given.items():
            above, own = os.path.split(place)
            names |= {name: os.path.splitext(own)[0], f"{name}_folder": os.path.basename(above)}
        written = {name: getattr(said, name) for name in OUTPUTS[kind] if getattr(said, name)}
        filled = {name: _fill(template, names) for name, template in written.items()}
        yield Job(
            id=filled["output"],
            kind=kind,
            line=entry.line,
            entry=said.id or "",
            inputs=given,
            outputs={name: resolve(batch.folder, place) for name, place in filled.items()},
            options=options,
            need=need,
            limit=parse_duration(said.limit, "limit") if said.limit else usual,
            after=after,
        )


def _fill(template: str, names: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in names:
            raise UserError(f"output: {_unknown(match[1], names).replace('key', 'name')}")
        return names[match[1]]

    return PLACE.sub(value, template)


def _options(batch: Batch, said: Common) -> dict[str, Any]:
    """What an entry says beside inputs and outputs, where it differs from the schema; files' contents stand in it."""
    model, kind = type(said), said.kind  # type: ignore[attr-defined]
    apart = COMMON | set(INPUTS[kind]) | set(OUTPUTS[kind]) | {"kind"}
    values = {key: getattr(said, key) for key in model.model_fields if key not in apart}
    options = {key: value for key, value in values.items() if value != model.model_fields[key].default}
    if (behind := options.get("background")) and (is_url(behind) or os.path.isfile(resolve(batch.folder, behind))):
        options["background"] = resolve(batch.folder, behind)
    for key in set(FILES) & set(options):
        content = options[key]
        if isinstance(content, str):
            place = resolve(batch.folder, content)
            content = batch.texts.get(place) or batch.texts.setdefault(place, read_yaml(Path(place), key))
        options[key] = {name: _resolved(batch.folder, FILES[key], name, value) for name, value in content.items()}
    return options


def _resolved(folder: str, files: tuple[str, ...], name: str, value: Any) -> Any:
    """The value of a key; absolute where it names a file."""
    if name not in files or not isinstance(value, str) or not value:
        return value
    if name == "pose":
        return "take:" + resolve(folder, value.removeprefix("take:")) if value.startswith("take:") else value
    return resolve(folder, value)


def resolve(folder: str, place: str) -> str:
    """A place as an absolute path, or the URL it is."""
    if is_url(place):
        return place
    return os.path.normpath(os.path.expanduser(place) if place[:1] in ("/", "~") else f"{folder}/{place}")


def _find(batch: Batch, wanted: str | list[str], made_before: set[str]) -> list[str]:
    """The places that paths, globs and URLs name: existing ones, and what jobs above make; in order, none twice."""
    found: dict[str, None] = {}
    for one in [wanted] if isinstance(wanted, str) else wanted:
        place = resolve(batch.folder, one)
        if not MAGIC.search(one) or os.path.lexists(place):
            found[place] = None
            continue
        existing = storage.glob_urls(place) if is_url(place) else glob.glob(place, recursive=True)
        planned = re.compile(_as_pattern(place))
        found |= dict.fromkeys(sorted({*existing, *(made for made in made_before if planned.fullmatch(made))}))
    return list(found)


def _as_pattern(place: str) -> str:
    """A glob as a regular expression, in which only ** passes folders."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", place)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        known.get(part) or (part.replace("[!", "[^", 1) if part[:1] == "[" and part[-1:] == "]" else re.escape(part))
        for part in parts
    )


def _unknown(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, sorted(known), 1, 0.0)
    return f"unknown key '{key}'; did you mean '{near[0]}'?"


def _explain(error: ValidationError, model: type) -> str:
    first = error.errors()[0]
    keys = [str(key) for key in first["loc"] if not str(key).startswith(("function-", "list["))]
    if first["type"] == "extra_forbidden":
        return _unknown(keys[-1], model.model_fields)  # type: ignore[attr-defined]
    if first["type"] == "missing":
        return f"{keys[-1]}: is missing"
    message = first["msg"].removeprefix("Value error, ")
    if "kind" in keys and not get_args(first["input"]):
        message = f"{message}, not {first['input']!r}"
    return f"{keys[0] if keys else ''}: {message[0].lower()}{message[1:]}"


def _line_of(error: ValidationError, entry: Entry, head: Entry | None = None) -> int:
    """Where the mistake stands: at the entry's key, or in the defaults it comes from."""
    loc = error.errors()[0]["loc"]
    key = str(loc[0]) if loc else ""
    if head and key not in entry.values and error.errors()[0]["type"] != "missing" and "defaults" in head.lines:
        return head.lines["defaults"]
    return entry.line_of(key)
