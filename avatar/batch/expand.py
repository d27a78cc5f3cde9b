"""Job file -> jobs: defaults filled in, globs and matrices multiplied out, every problem with its line."""

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
    OPTIONS,
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
from avatar.core.lines import Entry, read_entries, read_mapping
from avatar.core.recipe import parse_duration
from avatar.pipelines.arguments import files_of, with_files, with_own_names
from avatar.pipelines.option_table import settings_files
from avatar.pipelines.verbs import VERBS

MAGIC = re.compile(r"[*?\[]")
PLACE = re.compile(r"\{([^{}]*)\}")
MOST_JOBS = 1_000_000


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
    contents: dict[str, dict[str, Any]] = field(default_factory=dict)  # of files of controls and recipes, by path

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
    """Read and multiply out a job file; problems of single entries are collected, not raised.

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


def _expand(batch: Batch, entry: Entry, defaults: _Defaults, outputs_above: set[str]) -> Iterator[Job]:
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
            checked = model.model_validate(values | combination)
            shown = {key: _show(value, index) for key, (index, value) in zip(others, chosen, strict=True)}
            for job in _make_jobs(batch, entry, checked, shown, outputs_above, count):
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
    batch: Batch, entry: Entry, values: Common, shown: dict[str, str], outputs_above: set[str], count: int
) -> Iterator[Job]:
    """The jobs of an entry, its matrix multiplied out: one for each combination of its inputs."""
    kind: Kind = values.kind  # type: ignore[attr-defined]
    found = [_find(batch, getattr(values, name), outputs_above) for name in INPUTS[kind]]
    for name, places in zip(INPUTS[kind], found, strict=True):
        if not places:
            wanted = getattr(values, name)
            batch.report(entry.line_of(name), f"{name}: nothing is called {wanted}, and no job above makes it")
    options, files = _options(batch, values)
    usual = LIMITS[kind] + (2 * budget_of(options) if kind == "build" else 0.0)
    need = Need(values.cpus, values.memory or NEEDS[kind].memory, int(options.get("device") == "cuda"))
    after = (values.after,) if isinstance(values.after, str) else tuple(values.after)
    templates = {name: getattr(values, name) for name in OUTPUTS[kind] if getattr(values, name)}
    for inputs in itertools.product(*found):
        count += 1
        given = dict(zip(INPUTS[kind], inputs, strict=True))
        outputs = _fill_all(templates, shown | {"id": values.id or "", "n": str(count)}, given)
        yield Job(
            id=outputs["output"],
            kind=kind,
            line=entry.line,
            entry=values.id or "",
            inputs=given,
            outputs={name: resolve(batch.folder, place) for name, place in outputs.items()},
            options=options,
            need=need,
            limit=parse_duration(values.limit, "limit") if values.limit else usual,
            after=after,
            files=files,
        )


def _fill_all(templates: dict[str, str], names: dict[str, str], inputs: dict[str, str]) -> dict[str, str]:
    """Templates of outputs with the names of the inputs put in."""
    known = dict(names)
    for name, place in inputs.items():
        above, own = os.path.split(place)
        known |= {name: os.path.splitext(own)[0], f"{name}_folder": os.path.basename(above)}
    return {name: _fill(template, known) for name, template in templates.items()}


def _fill(template: str, names: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in names:
            raise UserError(f"output: {_unknown(match[1], names).replace('key', 'name')}")
        return names[match[1]]

    return PLACE.sub(value, template)


def _options(batch: Batch, values: Common) -> tuple[dict[str, Any], dict[str, str]]:
    """Options of an entry that differ from their defaults, and the files that they name.

    Contents of files of settings stand in the options; paths are absolute. Raises: UserError.
    """
    kind: Kind = values.kind  # type: ignore[attr-defined]
    verb, fields = VERBS[kind], type(values).model_fields
    options = {name: getattr(values, name) for name in OPTIONS[kind]}
    options = {name: value for name, value in options.items() if value != fields[name].default}
    for name in settings_files(verb).keys() & options.keys():
        if isinstance(content := options[name], str):
            place = resolve(batch.folder, content)
            options[name] = batch.contents.get(place) or batch.contents.setdefault(
                place, read_mapping(Path(place), name)
            )
    if not options:
        return {}, {}
    options = with_own_names(verb, options)
    files = files_of(verb, options)
    places = {file: resolve(batch.folder, file) for file in files.values()}
    return with_files(options, files, places.__getitem__), {key: places[file] for key, file in files.items()}


def resolve(folder: str, place: str) -> str:
    """A place as an absolute path, or the URL it is."""
    if is_url(place):
        return place
    return os.path.normpath(os.path.expanduser(place) if place[:1] in ("/", "~") else f"{folder}/{place}")


def _find(batch: Batch, wanted: str | list[str], outputs_above: set[str]) -> list[str]:
    """The places that paths, globs and URLs name: existing ones, and what jobs above make; in order, none twice."""
    found: dict[str, None] = {}
    for one in [wanted] if isinstance(wanted, str) else wanted:
        place = resolve(batch.folder, one)
        if not MAGIC.search(one) or os.path.lexists(place):
            found[place] = None
            continue
        existing = storage.glob_urls(place) if is_url(place) else glob.glob(place, recursive=True)
        planned = re.compile(_as_pattern(place))
        found |= dict.fromkeys(sorted({*existing, *(made for made in outputs_above if planned.fullmatch(made))}))
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
    """Where the problem is: at the entry's key, or in the defaults it comes from."""
    loc = error.errors()[0]["loc"]
    key = str(loc[0]) if loc else ""
    if head and key not in entry.values and error.errors()[0]["type"] != "missing" and "defaults" in head.lines:
        return head.lines["defaults"]
    return entry.line_of(key)
