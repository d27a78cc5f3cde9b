"""run_one(task): the only place where a job becomes calls. Every engine does its jobs by it.

What is heavy is imported by the verb that needs it, so that a worker is there at once.
"""

from __future__ import annotations

import functools
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatar.batch import storage
from avatar.batch.address import fingerprint
from avatar.batch.jobs import Job, Kind, from_json, is_url
from avatar.core.controls import CLIPS, clip_take
from avatar.core.files import UserError, remove_folder, remove_leftovers
from avatar.core.progress import Progress, no_progress
from avatar.pipelines import arguments
from avatar.pipelines.options import Build, Dub, Evaluate, Motion, Permission, Preprocess, Render, Say, Speak
from avatar.pipelines.present_options import Present
from avatar.pipelines.verbs import VERBS
from avatar.provenance.sign import sidecar_name

if TYPE_CHECKING:
    from avatar.core.avatar_file import Avatar

AVATARS_KEPT = 2  # a worker gets jobs of one avatar as long as there are any


@dataclass(frozen=True)
class Task:
    """A job on its way to a worker."""

    job: Job
    cpus: int
    replaces: bool = False  # what stands at the outputs was made by this batch, and may be replaced
    repeated: bool = False  # an earlier attempt was cut short, and may have left something

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `task_from_json` makes the task again."""
        return {"job": self.job.to_json(), "cpus": self.cpus, "replaces": self.replaces, "repeated": self.repeated}


def task_from_json(values: dict[str, Any]) -> Task:
    """The task that `to_json` wrote."""
    return Task(**values | {"job": from_json(values["job"])})


@dataclass(frozen=True)
class Made:
    """What came of a job."""

    media_seconds: float = 0.0  # length of the clip or film


Runner = Callable[[Task], Made]
"""What a worker does with a task: `run_one`."""


def run_one(task: Task, progress: Progress = no_progress) -> Made:
    """Do a job: everything it makes is whole at its place, or not there. Raises: UserError."""
    import torch

    from cuda_ext import ops

    ops.set_threads(task.cpus)
    torch.set_num_threads(1)  # the native pool uses the cores
    if task.repeated:
        for place in task.job.outputs.values():
            if not is_url(place):
                remove_leftovers(Path(place))
    with local_copies(task.job) as values:
        options = VERBS[task.job.kind].model_validate(values)
        arguments.check_outputs(options)
        return RUN[task.job.kind](options, task.replaces, progress)


@contextmanager
def local_copies(job: Job) -> Iterator[dict[str, Any]]:
    """Options, inputs and outputs of a job, all files on this machine: URLs are fetched before, and written after.

    An avatar at a URL stays one: `_avatar` fetches it when it is not loaded yet.
    """
    with tempfile.TemporaryDirectory(prefix="avatar-batch-") as folder:

        def fetch(place: str) -> str:
            return str(storage.fetch(place, _new_folder(folder))) if is_url(place) else place

        inputs = {name: place if name == "avatar" else fetch(place) for name, place in job.inputs.items()}
        outputs = {
            name: str(_new_folder(folder) / place.rsplit("/", 1)[1]) if is_url(place) else place
            for name, place in job.outputs.items()
        }
        yield arguments.with_files(job.options, job.files, fetch) | inputs | outputs
        for name, place in job.outputs.items():
            if is_url(place):
                storage.send(Path(outputs[name]), place)
                if (manifest := sidecar_name(Path(outputs[name]))).is_file():
                    storage.send(manifest, f"{place}.c2pa")


def _new_folder(parent: str) -> Path:
    """A new folder, so that files of one name do not meet."""
    folder = Path(parent) / uuid.uuid4().hex[:8]
    folder.mkdir()
    return folder


def _avatar(place: str) -> Avatar:
    return _load(place, fingerprint(place))


def _permitted(options: Permission) -> Avatar:
    """The avatar of a job that its consent allows. Raises: UserError."""
    avatar = _avatar(options.avatar)
    arguments.permit(avatar, options)
    return avatar


@functools.lru_cache(maxsize=AVATARS_KEPT)
def _load(place: str, fingerprint: str) -> Avatar:
    """An avatar, as long as its fingerprint is the same; a worker's next job is of the same one most of the time."""
    from avatar.core.avatar_file import load_avatar

    if not is_url(place):
        return load_avatar(place)
    with tempfile.TemporaryDirectory(prefix="avatar-batch-") as folder:
        return load_avatar(storage.fetch(place, Path(folder)))


def _preprocess(options: Preprocess, replaces: bool, progress: Progress) -> Made:
    from avatar.pipelines.takes import make_take

    request, out = arguments.take_request(options), Path(options.output)
    if replaces:
        remove_folder(out)  # made of another clip or with another request
    take = make_take(
        Path(options.video), out, request, holdout=options.holdout, device=options.device, progress=progress
    )
    return Made(take.length / take.fps)


def _build(options: Build, replaces: bool, progress: Progress) -> Made:
    from avatar.pipelines.build import build

    source, out = Path(options.source), Path(options.output)
    if replaces:  # Takes of what may have been other clips
        _remove_clip_takes(options.output)
        if source.is_file():
            remove_folder(out.with_suffix(".preview.take" if options.preview else ".take"))
    recipe = arguments.final_recipe(options)
    request = arguments.build_request(options)
    build(source, out, recipe=recipe, request=request, force=options.force, device=options.device, progress=progress)
    return Made()


def _speak(options: Speak, replaces: bool, progress: Progress) -> Made:
    from avatar.pipelines import signing
    from avatar.pipelines.speak import speak
    from avatar.pipelines.speech_film import film_rate, footage_take

    avatar, look = _permitted(options), arguments.look_of(options)
    controls = arguments.controls_of(avatar, options)
    if replaces:
        _remove_clip_takes(options.output)
        remove_folder(footage_take(Path(options.output)))
    speech, out = arguments.speech_of(options), Path(options.output)
    _check_pictures(out, replaces)
    film = signing.film_of_speech(avatar, speech, controls, look)
    with signing.signed_output(options, film, out) as place:
        frames = speak(
            avatar,
            speech,
            place,
            controls=controls,
            look=look,
            device=options.device,
            force=options.force,
            progress=progress,
        )
    return Made(frames / film_rate(avatar, look))


def _say(options: Say, replaces: bool, progress: Progress) -> Made:
    from avatar.pipelines import signing
    from avatar.pipelines.say import say

    avatar, look, saying = _permitted(options), arguments.look_of(options), arguments.saying_of(options)
    controls = arguments.controls_of(avatar, options)
    if replaces:
        _remove_clip_takes(options.output)
    out = Path(options.output)
    _check_pictures(out, replaces)
    film = signing.film_of_text(avatar, saying, controls, look)
    with signing.signed_output(options, film, out) as place:
        frames = say(
            avatar,
            saying,
            place,
            controls=controls,
            look=look,
            device=options.device,
            force=options.force,
            progress=progress,
        )
    return Made(frames / (look.fps or avatar.fps))


def _present(options: Present, replaces: bool, progress: Progress) -> Made:
    from avatar.pipelines import signing
    from avatar.pipelines.present import present

    avatar, deck, out = _permitted(options), Path(options.deck), Path(options.output)
    presenting, controls = arguments.presenting_of(options), arguments.controls_of(avatar, options)
    if replaces:
        _remove_clip_takes(options.output)
    film = signing.film_of_deck(avatar, deck, presenting, controls)
    with signing.signed_output(options, film, out) as place:
        made = present(
            avatar,
            deck,
            place,
            presenting=presenting,
            controls=controls,
            device=options.device,
            force=options.force,
            progress=progress,
        )
    return Made(made.frames / made.fps)


def _remove_clip_takes(output: str) -> None:
    """Takes of the clips that an output took its style and expression from, which may have been others."""
    for control in CLIPS:
        remove_folder(clip_take(output, control))


def _render(options: Render, replaces: bool, progress: Progress) -> Made:
    from avatar.pipelines import signing
    from avatar.pipelines.speak import reenact
    from avatar.pipelines.track_file import open_track

    avatar, take = _permitted(options), open_track(options.take)
    look, target = arguments.look_of(options), arguments.target_of(options)
    for one in (target.out, target.frames_dir):
        _check_pictures(one, replaces)
    film = signing.film_of_take(avatar, take, options.split, look)
    with signing.signed_target(options, film, target) as place:
        frames = reenact(
            avatar,
            take,
            place,
            split=options.split,
            look=look,
            device=options.device,
            force=options.force,
            progress=progress,
        )
    return Made(frames / (look.fps or avatar.fps))


def _motion(options: Motion, replaces: bool, progress: Progress) -> Made:
    from avatar.core.speech_file import SpeechFile
    from avatar.pipelines.export import export_motion

    avatar, out = _permitted(options), Path(options.output)
    controls = arguments.controls_of(avatar, options)
    if replaces:
        _remove_clip_takes(options.output)
    speech = SpeechFile(options.speech, options.audio_track)
    frames = export_motion(
        avatar, speech, out, layout=options.layout, controls=controls, force=options.force, progress=progress
    )
    return Made(frames / avatar.fps)


def _evaluate(options: Evaluate, replaces: bool, progress: Progress) -> Made:
    from avatar.core.take import open_take
    from avatar.pipelines.evaluate import evaluate, write_json

    take, avatar = open_take(options.take), _avatar(options.avatar)
    page, sheet = (Path(place) if place else None for place in (options.page, options.sheet))
    further = arguments.further_of(options)
    evaluation = evaluate(
        avatar,
        take,
        page=page,
        sheet=sheet,
        further=further,
        device=options.device,
        force=options.force,
        progress=progress,
    )
    assert options.output, "every job has an output"
    write_json(evaluation, Path(options.output))
    return Made(len(evaluation.frames) / take.fps)


def _dub(options: Dub, replaces: bool, progress: Progress) -> Made:
    from avatar.pipelines import signing
    from avatar.pipelines.dub import dub
    from avatar.pipelines.speech_film import footage_take

    avatar, video, out = _permitted(options), Path(options.video), Path(options.output)
    if replaces:
        remove_folder(footage_take(out))
    speech, dubbing = arguments.spoken_of(options), arguments.dubbing_of(options)
    film = signing.film_of_dub(avatar, video, speech, dubbing.label)
    with signing.signed_output(options, film, out) as place:
        made = dub(
            avatar,
            video,
            speech,
            place,
            dubbing=dubbing,
            device=options.device,
            force=options.force,
            progress=progress,
        )
    return Made(made.frames / made.fps)


RUN: dict[Kind, Callable[[Any, bool, Progress], Made]] = {
    "preprocess": _preprocess,
    "build": _build,
    "speak": _speak,
    "render": _render,
    "motion": _motion,
    "evaluate": _evaluate,
    "dub": _dub,
    "say": _say,
    "present": _present,
}
"""What does a verb with its options, whether what stands at its outputs may be replaced, and who is called with its
progress."""


def _check_pictures(out: Path | None, replaces: bool) -> None:
    """Raise UserError for a folder of pictures that this batch did not make."""
    if out and not out.suffix and out.exists() and not replaces:
        raise UserError(f"{out}: exists, and this batch did not make it; remove it or choose another output")
