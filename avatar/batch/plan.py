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
from avatar.core.coding import Coding, check_target
from avatar.core.controls import CLIPS, Controls, clip_take
from avatar.core.files import UserError
from avatar.core.label import Label
from avatar.core.named_files import TRANSPARENT
from avatar.core.outputs import is_same
from avatar.core.recipe import Recipe, parse
from avatar.pipelines.option_table import options_of
from avatar.pipelines.scene_options import Staged
from avatar.pipelines.verbs import VERBS

ENTRY = "entry "
"""Begins the name of a node that stands for all jobs of an entry; no path of ours begins with it."""


@dataclass(frozen=True)
class Plan:
    """Jobs, and for each (and each entry that others wait for) what has to be done before."""

    path: Path
    jobs: dict[str, Job]
    waits: dict[str, set[str]]


def make_plan(path: Path) -> tuple[Plan, list[Problem]]:
    """Read a job file and check all that it names; nothing may be started when there are problems."""
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
            elif _is_read(place, job):
                batch.report(job.line, f"output: {place} is also what the job reads; choose another output")
    return makers


def _is_read(place: str, job: Job) -> bool:
    """Whether an output is what the job reads; links are followed where something is there."""
    sources = job.sources.values()
    return place in sources or (os.path.lexists(place) and any(is_same(place, source) for source in sources))


def _made_beside(job: Job) -> list[str]:
    """What a job writes beside its output: the Take of a video or of a style's, the film of a recipe with speech."""
    if is_url(job.outputs["output"]):
        return []
    take = ".preview.take" if job.options.get("preview") else ".take"
    endings = [take] if job.kind == "build" and os.path.isfile(job.inputs["source"]) else []
    endings += [".mp4"] if "recipe.speech" in job.files else []
    output = job.outputs["output"]
    clips = [
        name for key, place in job.files.items() if (name := key.split(".")[-1]) in CLIPS and os.path.isfile(place)
    ]
    places = [Path(output).with_suffix(ending) for ending in endings] + [clip_take(output, name) for name in clips]
    return list(map(str, places))


def _find_waits(batch: Batch, makers: dict[str, Job]) -> dict[str, set[str]]:
    members: dict[str, set[str]] = {}
    for job in batch.jobs:
        members.setdefault(job.entry, set()).add(job.id)
    waits: dict[str, set[str]] = {}
    for job in batch.jobs:
        before = {makers[place].id for place in job.sources.values() if place in makers and makers[place] is not job}
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
    """Missing inputs, outputs that cannot be written; each place is checked once."""
    there: dict[str, bool] = {}
    writable: dict[str, str] = {}
    for job in batch.jobs:
        for name, place in job.sources.items():
            if place in makers:
                continue
            if place not in there:
                there[place] = storage.exists(place) if is_url(place) else os.path.exists(place)
            if not there[place]:
                batch.report(job.line, f"{name}: {place} does not exist, and no job makes it")
        for name, place in job.outputs.items():
            folder = os.path.dirname(place)
            if folder not in writable:
                writable[folder] = "" if is_url(place) else _why_not_writable(folder)
            if writable[folder]:
                batch.report(job.line, f"{name}: {place} cannot be written: {writable[folder]}")
            elif os.path.splitext(place)[1] and os.path.isdir(place) and job.kind != "preprocess":
                batch.report(job.line, f"{name}: {place} is a folder; give the name of a file")


def _why_not_writable(folder: str) -> str:
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        return f"{folder} is not a folder"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder} is not writable"


def _check_settings(batch: Batch) -> None:
    """Each setting is checked once, however many jobs share it."""
    results: dict[str, str] = {}
    for job in batch.jobs:
        for key, check in _checks(job):
            if key not in results:
                try:
                    check()
                    results[key] = ""
                except UserError as error:
                    results[key] = str(error)
            if results[key]:
                batch.report(job.line, results[key])


def _checks(job: Job) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What has to be checked of a job, and a key that jobs share for which the same has to be."""
    options, output = job.options, job.outputs["output"]
    ending = os.path.splitext(output)[1].lower()
    if "controls" in options:
        controls = options["controls"]
        yield f"controls {json.dumps(controls, default=str)}", partial(parse, Controls, controls, "controls")
    if "recipe" in options:
        recipe = options["recipe"]
        yield f"recipe {json.dumps(recipe, default=str)}", partial(_check_recipe, recipe)
    for row in options_of(VERBS[job.kind]):
        if (place := job.outputs.get(row.name)) and (must := row.given.endings):
            found = os.path.splitext(place)[1].lower()
            if found not in must:
                text = f"{row.name}: must end in {' or '.join(must)}, not '{found}'"
                yield f"ending {job.kind} {row.name} {found}", partial(_refuse, text)
    if job.kind == "motion" and "layout" in options and ending != ".csv":
        yield f"layout {ending}", partial(_refuse, f"layout: is of columns, which '{ending}' lacks; write .csv")
    if job.kind in ("speak", "render", "dub", "say", "present"):
        yield from _film_checks(job, ending)


def _film_checks(job: Job, ending: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    options = job.options
    coding = Coding(options.get("codec", "h264"), options.get("quality", "good"))
    transparent = options.get("background") == TRANSPARENT
    name = Path(f"output {ending}").with_suffix(ending)
    yield f"target {ending} {coding} {transparent}", partial(check_target, name, coding, transparent=transparent)
    for key in ("output", "frames_dir"):
        if is_url(place := job.outputs.get(key, "")) and (key != "output" or not ending):
            yield f"pictures {place}", partial(_refuse, f"{key}: {place}: pictures go to local folders only")
    if "frames_dir" in job.outputs and "fps" in options:
        yield "frames and fps", partial(_refuse, "frames_dir: frames are named by those of the Take; leave fps out")
    names = {"label": "kind", "label_seconds": "seconds", "producer": "producer"}
    label: dict[str, Any] = {name: options[key] for key, name in names.items() if key in options}
    yield f"label {label}", partial(Label, **label)
    view = {key: options.get(key) for key in ("size", "full_frame", "orbit", *Staged.model_fields, "background_sound")}
    if any(view.values()):
        made = job.files.get("background") == view["background"] and not os.path.exists(str(view["background"]))
        yield f"look {json.dumps(view)}", partial(_check_look, view, readable=not made)


def _refuse(text: str) -> None:
    raise UserError(text)


def _check_recipe(values: dict[str, Any]) -> None:
    from avatar.render.kinds import trainable_kind

    recipe = parse(Recipe, values, "recipe")
    kind = trainable_kind(str(recipe.renderer.get("kind", "gaussian")))
    parse(kind.settings, recipe.renderer, "recipe, renderer")
    parse(Controls, recipe.controls, "recipe, controls")


def _check_look(view: dict[str, Any], *, readable: bool) -> None:
    """readable: the background, if there is one, is a colour, or a file that exists already."""
    import torch

    from avatar.play.look import Look
    from avatar.scene.background import open_background
    from avatar.scene.scene import make_scene

    behind, scene = view["background"], make_scene(view)
    Look(view["size"], None, behind, bool(view["full_frame"]), view["orbit"] or 0.0, scene=scene)
    if readable and behind and behind != TRANSPARENT and not is_url(behind):
        open_background(behind, (64, 64), 25.0, scene.backdrop, torch.zeros(64, 64, 3, dtype=torch.uint8))
