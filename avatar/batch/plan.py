"""What waits for what; and everything that can be found wrong before anything starts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from avatar.batch import storage
from avatar.batch.expand import Batch, Problem, read_batch
from avatar.batch.jobs import Job, is_url
from avatar.core.coding import Coding
from avatar.core.controls import Controls
from avatar.core.encode import check_target
from avatar.core.files import UserError
from avatar.core.recipe import Recipe, parse

ENTRY = "entry "
"""Begins the name of a node that stands for all jobs of an entry; no path of ours begins with it."""


@dataclass(frozen=True)
class Plan:
    """Jobs, and for each (and each entry that others wait for) what has to be done before."""

    path: Path
    jobs: dict[str, Job]
    waits: dict[str, set[str]]


def make_plan(path: Path) -> tuple[Plan, list[Problem]]:
    """Read a job file and look at all that it names; nothing may be started when there are problems."""
    batch = read_batch(path)
    makers = _find_makers(batch)
    jobs = {job.id: job for job in batch.jobs}
    waits = _find_waits(batch, makers)
    _check_circles(batch, jobs, waits)
    _check_files(batch, makers)
    _check_settings(batch)
    return Plan(batch.path, jobs, waits), sorted(set(batch.problems))


def _find_makers(batch: Batch) -> dict[str, Job]:
    """The job that makes each output; two that make one are a problem."""
    makers: dict[str, Job] = {}
    for job in batch.jobs:
        for place in (*job.outputs.values(), *_made_beside(job)):
            if (other := makers.setdefault(place, job)) is not job:
                where = "another job of this entry" if other.line == job.line else f"the job of line {other.line}"
                batch.report(job.line, f"output: {place} is written by {where} too; make the names differ")
            elif place in job.inputs.values():
                batch.report(job.line, f"output: {place} is also what the job reads; choose another output")
    return makers


def _made_beside(job: Job) -> list[str]:
    """The Take that a build makes of a video."""
    source = job.inputs.get("source", "")
    return [str(Path(job.outputs["output"]).with_suffix(".take"))] if os.path.isfile(source) else []


def _find_waits(batch: Batch, makers: dict[str, Job]) -> dict[str, set[str]]:
    members: dict[str, set[str]] = {}
    for job in batch.jobs:
        members.setdefault(job.entry, set()).add(job.id)
    waits: dict[str, set[str]] = {}
    for job in batch.jobs:
        before = {makers[place].id for place in job.sources() if place in makers and makers[place] is not job}
        for name in job.after:
            if name not in members:
                batch.report(job.line, f"after: no entry has the id '{name}'")
                continue
            before.add(ENTRY + name)
            waits[ENTRY + name] = members[name]
        waits[job.id] = before
    return waits


def _check_circles(batch: Batch, jobs: dict[str, Job], waits: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1][::-1]  # each waits for the next
        line = min(jobs[name].line for name in circle if name in jobs)
        names = [name.removeprefix(ENTRY) for name in circle if name in jobs or len(circle) < 3]
        names += names[:1] if names[0] != names[-1] else []
        batch.report(line, f"a circle: {' waits for '.join(names[:6])}; change an `after` or an output")


def _check_files(batch: Batch, makers: dict[str, Job]) -> None:
    """Missing inputs, outputs that cannot be written; each place is looked at once."""
    there: dict[str, bool] = {}
    writable: dict[str, str] = {}
    for job in batch.jobs:
        for place in job.sources():
            if place in makers:
                continue
            if place not in there:
                there[place] = storage.exists(place) if is_url(place) else os.path.exists(place)
            if not there[place]:
                what = next((name for name, given in job.inputs.items() if given == place), "file")
                batch.report(job.line, f"{what}: {place} does not exist, and no job makes it")
        for name, place in job.outputs.items():
            folder = os.path.dirname(place)
            if folder not in writable:
                writable[folder] = "" if is_url(place) else _why_not_writable(folder)
            if writable[folder]:
                batch.report(job.line, f"{name}: {place} cannot be written: {writable[folder]}")


def _why_not_writable(folder: str) -> str:
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        return f"{folder} is not a folder"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder} is not writable"


def _check_settings(batch: Batch) -> None:
    """Each setting is looked at once, however many jobs share it."""
    seen: dict[str, str] = {}
    for job in batch.jobs:
        for key, look in _looks(job):
            if key not in seen:
                try:
                    look()
                    seen[key] = ""
                except UserError as error:
                    seen[key] = str(error)
            if seen[key]:
                batch.report(job.line, seen[key])


def _looks(job: Job) -> Iterator[tuple[str, Callable[[], Any]]]:
    options, output = job.options, job.outputs["output"]
    ending = os.path.splitext(output)[1].lower()
    if "controls" in options:
        controls = options["controls"]
        yield f"controls {json.dumps(controls, default=str)}", partial(parse, Controls, controls, "controls")
    if "recipe" in options:
        recipe = options["recipe"]
        yield f"recipe {json.dumps(recipe, default=str)}", partial(_check_recipe, recipe)
    if job.kind == "speak":
        coding = Coding(options.get("codec", "h264"), options.get("quality", "good"))
        transparent = options.get("background") == "transparent"
        name = Path(f"output {ending}").with_suffix(ending)
        yield f"target {ending} {coding} {transparent}", partial(check_target, name, coding, transparent=transparent)
        if is_url(output) and not ending:
            yield f"pictures {output}", partial(_refuse, f"output: {output}: pictures go to local folders only")
        if "background" in options or "full_frame" in options:
            shown = {key: options.get(key) for key in ("size", "background", "full_frame", "orbit")}
            yield f"look {json.dumps(shown)}", partial(_check_look, shown)
    if job.kind == "evaluate" and ending != ".json":
        yield f"json {ending}", partial(_refuse, f"output: must end in .json, not '{ending}'")
    if job.kind == "build" and ending != ".avatar":
        yield f"avatar {ending}", partial(_refuse, f"output: must end in .avatar, not '{ending}'")


def _refuse(text: str) -> None:
    raise UserError(text)


def _check_recipe(values: dict[str, Any]) -> None:
    from avatar.render.kinds import trainable_kind

    recipe = parse(Recipe, values, "recipe")
    kind = trainable_kind(str(recipe.renderer.get("kind", "gaussian")))
    parse(kind.settings, recipe.renderer, "recipe, renderer")


def _check_look(shown: dict[str, Any]) -> None:
    from avatar.play.look import TRANSPARENT, Look, open_background

    behind = shown["background"]
    Look(shown["size"], None, behind, bool(shown["full_frame"]), shown["orbit"] or 0.0)
    if behind and behind != TRANSPARENT and not is_url(behind):
        open_background(behind, 64, 25.0)
