"""run_one(task): the only place where a job becomes calls. Every engine does its jobs by it.

What is heavy is imported by the verb that needs it, so that a worker is there at once.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatar.batch import storage
from avatar.batch.address import fingerprint
from avatar.batch.jobs import Job, from_json, is_url
from avatar.core.coding import Coding
from avatar.core.files import UserError, remove_leftovers, whole
from avatar.core.recipe import Recipe, parse, parse_duration

if TYPE_CHECKING:
    from avatar.core.avatar_file import Avatar
    from avatar.core.controls import Controls
    from avatar.play.look import Look

AVATARS_KEPT = 2  # a worker is handed jobs of one avatar as long as there are any


@dataclass(frozen=True)
class Task:
    """A job on its way to a worker."""

    job: Job
    cpus: int
    ours: bool = False  # what stands at the outputs was made by this batch, and may be replaced
    again: bool = False  # an earlier attempt was cut short, and may have left something

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `task_from_json` makes the task again."""
        return {"job": self.job.to_json(), "cpus": self.cpus, "ours": self.ours, "again": self.again}


def task_from_json(values: dict[str, Any]) -> Task:
    """The task that `to_json` wrote."""
    return Task(**values | {"job": from_json(values["job"])})


@dataclass(frozen=True)
class Made:
    """What came of a job."""

    media_seconds: float = 0.0  # length of the clip or film


Runner = Callable[[Task], Made]
"""What a worker does with a task: `run_one`."""


def run_one(task: Task) -> Made:
    """Do a job: everything it makes is whole at its place, or not there. Raises: UserError."""
    import torch

    from cuda_ext import ops

    ops.set_threads(task.cpus)
    torch.set_num_threads(1)  # the native pool uses the cores
    if task.again:
        for place in task.job.outputs.values():
            if not is_url(place):
                remove_leftovers(Path(place))
    with _at_hand(task.job) as (inputs, outputs):
        return VERBS[task.job.kind](task, inputs, outputs)


Places = dict[str, Path]


@contextmanager
def _at_hand(job: Job) -> Iterator[tuple[Places, Places]]:
    """Inputs and outputs as files of this machine; what is elsewhere is fetched before and sent after.

    An avatar that is elsewhere is left out: `_avatar` fetches it when it is not loaded yet.
    """
    with tempfile.TemporaryDirectory(prefix="avatar-batch-") as folder:
        inputs = {}
        for name, place in job.inputs.items():
            if name == "avatar":
                continue
            inputs[name] = storage.fetch(place, _room(folder)) if is_url(place) else Path(place)
        outputs = {
            name: _room(folder) / place.rsplit("/", 1)[1] if is_url(place) else Path(place)
            for name, place in job.outputs.items()
        }
        yield inputs, outputs
        for name, place in job.outputs.items():
            if is_url(place):
                storage.send(outputs[name], place)


def _room(folder: str) -> Path:
    """A new folder, so that files of one name do not meet."""
    room = Path(folder) / uuid.uuid4().hex[:8]
    room.mkdir()
    return room


def _avatar(place: str) -> Avatar:
    return _load(place, fingerprint(place))


@functools.lru_cache(maxsize=AVATARS_KEPT)
def _load(place: str, look: str) -> Avatar:
    """An avatar as long as it looks so; a worker's next job is of the same one most of the time."""
    from avatar.core.avatar_file import load_avatar

    if not is_url(place):
        return load_avatar(place)
    with tempfile.TemporaryDirectory(prefix="avatar-batch-") as folder:
        return load_avatar(storage.fetch(place, Path(folder)))


def _preprocess(task: Task, inputs: Places, outputs: Places) -> Made:
    from avatar.core.media import Stretch
    from avatar.pipelines.takes import make_take
    from preprocess.run import TakeRequest

    options, out = task.job.options, outputs["output"]
    if task.ours:
        _remove(out)  # made from another clip or with other settings
    start, stop, select = (options.get(name) for name in ("start", "end", "select"))
    request = TakeRequest(
        face=options.get("face", "auto"),
        size=options.get("size", 512),
        consent=options.get("consent", "not stated"),
        stretch=Stretch(_seconds(start) or 0.0, _seconds(stop)),
        seconds=_seconds(select),
    )
    take = make_take(inputs["video"], out, request, holdout=options.get("holdout", 0.1))
    return Made(take.length / take.fps)


def _seconds(text: str | None) -> float | None:
    return parse_duration(text, "job") if text else None


def _build(task: Task, inputs: Places, outputs: Places) -> Made:
    from avatar.pipelines.build import build

    options, source, out = task.job.options, inputs["source"], outputs["output"]
    given: dict[str, Any] = {name: options[name] for name in ("holdout", "seed") if name in options}
    if "budget" in options:
        given["budget_seconds"] = parse_duration(options["budget"], "budget")
    recipe = parse(Recipe, options.get("recipe", {}) | given, "recipe")
    if task.ours and source.is_file():
        _remove(out.with_suffix(".take"))  # of what may have been another clip
    named = {name: options[name] for name in ("face", "consent", "device") if name in options}
    build(source, out, recipe=recipe, **named)
    return Made()


def _speak(task: Task, inputs: Places, outputs: Places) -> Made:
    from avatar.core.controls import resolve_controls
    from avatar.pipelines.speak import speak
    from avatar.play.look import Look

    options, out, avatar = task.job.options, outputs["output"], _avatar(task.job.inputs["avatar"])
    controls = resolve_controls(avatar, options.get("controls", {}))
    coding = Coding(options.get("codec", "h264"), options.get("quality", "good"))
    looks = ("size", "fps", "background", "full_frame", "orbit")
    shown: dict[str, Any] = {name: options[name] for name in looks if name in options}
    device = options.get("device", "cpu")
    with _background_at_hand(shown) as here:
        look = Look(**here, coding=coding)
        if out.suffix:
            frames = speak(avatar, inputs["speech"], out, controls=controls, look=look, device=device)
        else:
            frames = _speak_to_folder(task, out, functools.partial(speak, avatar, inputs["speech"]), controls, look)
    return Made(frames / (look.fps or avatar.fps))


def _speak_to_folder(task: Task, out: Path, say: Callable[..., int], controls: Controls, look: Look) -> int:
    """A folder of pictures, which `speak` fills one by one, whole or not at all."""
    if out.exists() and not task.ours:
        raise UserError(f"{out}: exists, and this batch did not make it; remove it or choose another output")
    with whole(out) as temporary:
        pictures = temporary / "pictures"  # whose name has no ending
        frames = say(pictures, controls=controls, look=look, device=task.job.options.get("device", "cpu"))
        for picture in pictures.iterdir():
            picture.rename(temporary / picture.name)
        pictures.rmdir()
        _remove(out)
    return frames


@contextmanager
def _background_at_hand(shown: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not is_url(behind := shown.get("background") or ""):
        yield shown
        return
    with tempfile.TemporaryDirectory(prefix="avatar-batch-") as folder:
        yield shown | {"background": str(storage.fetch(behind, Path(folder)))}


def _evaluate(task: Task, inputs: Places, outputs: Places) -> Made:
    from avatar.core.take import open_take
    from avatar.pipelines.evaluate import evaluate, write_json

    take, device = open_take(inputs["take"]), task.job.options.get("device", "cpu")
    avatar = _avatar(task.job.inputs["avatar"])
    scores = evaluate(avatar, take, page=outputs.get("page"), sheet=outputs.get("sheet"), device=device)
    write_json(scores, outputs["output"])
    return Made(len(take.test or range(take.length)) / take.fps)


VERBS: dict[str, Callable[[Task, Places, Places], Made]] = {
    "preprocess": _preprocess,
    "build": _build,
    "speak": _speak,
    "evaluate": _evaluate,
}


def _remove(path: Path) -> None:
    """Take a folder away at once, so that a kill in between leaves no half of it."""
    if not path.is_dir():
        return
    away = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    os.replace(path, away)
    shutil.rmtree(away, ignore_errors=True)
