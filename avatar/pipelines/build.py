"""Video or Take -> Avatar: until more training buys nothing, or in a budget."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.core.avatar_file import TRUSTED_TURN, Avatar, SpeakingStyle, TrainedOn, save_avatar
from avatar.core.consent import NOT_STATED
from avatar.core.controls import Controls
from avatar.core.files import UserError, check_readable, sole_maker
from avatar.core.media import SAMPLE_RATE, WHOLE, probe
from avatar.core.motion_space import load_space
from avatar.core.named_files import named_files
from avatar.core.outputs import check_output, check_output_folder
from avatar.core.picture_folder import check_film
from avatar.core.pictures import OWN_FORMATS, open_picture
from avatar.core.progress import Progress, no_progress
from avatar.core.recipe import MOST_SECONDS, Recipe, Settings, parse, to_yaml
from avatar.core.speech_model import SpeechModel
from avatar.core.stages import Stages
from avatar.core.take import Take, Track, open_take, read_audio, read_track, with_holdout, with_size
from avatar.core.threads import torch_threads
from avatar.learn.adapt import adapt
from avatar.learn.photo_manner import photo_manner
from avatar.learn.settings import MotionSettings
from avatar.motion.encoder import Encoder, load_encoder
from avatar.pipelines.drawn_lips import match_drawn_lips
from avatar.pipelines.signing import speak_signed
from avatar.pipelines.takes import import_adnerf, make_photo_take, make_take, photos_of
from avatar.pipelines.turning import trusted_turn
from avatar.pipelines.watch import TrainingView
from avatar.play.look import Look
from avatar.render.device import DeviceName, pick_device
from avatar.render.gaussian.clip_light import find_clip_light
from avatar.render.kinds import TrainableKind, trainable_kind
from avatar.render.near_plate import complete_plate
from avatar.render.schedule import Schedule
from avatar.render.train import Checkpoint, train
from cuda_ext.limits import core_count
from preprocess.checks import assess_quality
from preprocess.matte import matte_of_picture
from preprocess.request import TakeRequest, state_consent

ADNERF = "transforms_train.json"  # a file in every data folder of that family
MIN_FRAMES = 50  # two seconds
PERCENT = 100  # what progress counts where the number of steps is not known
PHOTO_STEPS = 300  # of an avatar of photos, whatever the budget: more only learns the photo's noise (docs/photo.md)
NEVER_TRAINED = ("no face found", "black picture", "another shot after a cut")  # not even of a Take that is forced


@dataclass(frozen=True)
class _Plan:
    """A checked recipe and what it names, opened."""

    recipe: Recipe
    name: str
    kind: TrainableKind
    settings: Settings
    motion: MotionSettings
    controls: Controls
    encoder: Encoder
    device: torch.device


def build(
    source: Path | str,
    out: Path | str,
    *,
    recipe: Recipe | None = None,
    request: TakeRequest | None = None,
    force: bool = False,
    device: DeviceName = "auto",
    progress: Progress = no_progress,
    stages: Stages | None = None,
) -> Avatar:
    """Build an avatar from a video, a photo, a folder of photos, a Take or an AD-NeRF data folder; write it to `out`.

    force: build of a clip that is not usable, too, and warn of what to expect; replace a file at `out` of any kind.
    A video or data folder is preprocessed into `OUT.take` beside the avatar first; that folder is kept and used again.
    request: what the Take is made with; its tracker and size are the recipe's.
    stages: counts the time of each.
    Raises: UserError for anything a person can mend, before long work where it can be known before.
    """
    source, out, recipe, stages = Path(source), Path(out), recipe or Recipe(), stages or Stages()
    plan = check_recipe(recipe, device)
    _check_outputs(source, out, plan, force=force)
    request = replace(request or TakeRequest(), tracker=recipe.tracker, size=recipe.size)
    silent = request.preview or photos_of(source)  # may be
    if source.is_file() and not silent and not force and not probe(source).has_audio:
        raise UserError(f"{source}: has no sound; an avatar learns its lips from a clip with speech")
    # on a CPU the native pool uses the cores
    with sole_maker(out), torch_threads(1 if plan.device.type == "cpu" else core_count()):
        beside = out.with_suffix(".preview.take" if request.preview else ".take")
        take = find_take(
            source, beside, request, holdout=recipe.holdout, device=device, progress=progress, stages=stages
        )
        if not take.photos:
            warnings.warn(describe_clip(take, source), stacklevel=2)
            take = _check_take(with_holdout(take, recipe.holdout), source, force=force)
        take = with_size(take, recipe.train_size or take.camera.size)
        if take.source.get("consent", NOT_STATED) == NOT_STATED:
            warnings.warn(
                "nobody is stated to have agreed to this avatar: --consent FILE.json, or --self NAME for yourself",
                stacklevel=2,
            )
        avatar = _learn(plan, take, out, progress, stages)
        with stages.time("drawn lips"):
            avatar = match_drawn_lips(avatar, take, device)
        with stages.time("save"):
            save_avatar(avatar, out)
        if recipe.speech:
            look, film = Look(background=recipe.background or None), out.with_suffix(".mp4")
            speak_signed(
                avatar, Path(recipe.speech), film, controls=plan.controls, look=look, device=device, progress=progress
            )
    return avatar


def check_recipe(recipe: Recipe, device: DeviceName) -> _Plan:
    """A recipe checked, and what it names opened. Raises: UserError."""
    name = str(recipe.renderer.get("kind", "gaussian"))
    kind = trainable_kind(name)
    if recipe.speech:
        check_readable(Path(recipe.speech), "sound file")
    plan = _Plan(
        recipe,
        name,
        kind,
        parse(kind.settings, recipe.renderer, f"{recipe.file}, renderer"),
        parse(MotionSettings, recipe.motion, f"{recipe.file}, motion"),
        parse(Controls, recipe.controls, f"{recipe.file}, controls"),
        load_encoder(Path(recipe.encoder) if recipe.encoder else None),
        pick_device(device),
    )
    kind.check(plan.settings, plan.device)
    return plan


def describe_clip(take: Take, source: Path) -> str:
    """The verdict on a clip that is used, and where its report is, in a line."""
    return f"{source}: {assess_quality(take.quality)} See {take.root / 'report.html'}"


def _check_outputs(source: Path, out: Path, plan: _Plan, *, force: bool) -> None:
    """Raise UserError unless the avatar, and all that is made beside it, may be written."""
    read: list[Path | str] = [source, *named_files(Recipe, plan.recipe.model_dump()).values(), *plan.controls.files]
    check_output(out, read, endings=(".avatar",), force=force)
    if source.is_file() or photos_of(source):
        check_output_folder(out.with_suffix(".take"), read)
    check_output_folder(out.with_suffix(".training"), read)
    if plan.recipe.speech:
        look = Look(background=plan.recipe.background or None)
        check_film(out.with_suffix(".mp4"), look.coding, transparent=look.transparent, inputs=read)


def _check_take(take: Take, source: Path, *, force: bool) -> Take:
    """The Take, with frames back in training where it is forced and would have too few. Raises: UserError."""
    verdict = assess_quality(take.quality)
    if verdict.faults and not force:
        page = take.root / "report.html"
        raise UserError(f"{source}: {'; '.join(verdict.advice)}; see {page}, or build all the same with --force")
    for fault in verdict.faults:
        warnings.warn(f"{source}: {fault.ground}; expect {fault.expected}", stacklevel=3)
    if force and len(take.training_frames()) < MIN_FRAMES:
        take = replace(take, excluded=tuple(span for span in take.excluded if span.reason in NEVER_TRAINED))
    if not (count := len(take.training_frames())) or (count < MIN_FRAMES and not force):
        raise UserError(f"{source}: only {count} frames can be trained on; film at least 5 s")
    return take


def _learn(plan: _Plan, take: Take, out: Path, progress: Progress, stages: Stages) -> Avatar:
    """Adapt the speech model and train the renderer, in the recipe's budget where it has one."""
    recipe, track, space, start = plan.recipe, read_track(take), load_space(), time.monotonic()
    with ThreadPoolExecutor(1) as beside:
        adapted = beside.submit(_adapt, plan, take, track)
        if plan.device.type == "cpu":  # both take all of its cores
            with stages.time("speech model"):
                adapted.result()
        with stages.time("start of the renderer"):
            trainable = plan.kind.begin(take, track, space, plan.settings, recipe.seed)
            trainable.to(plan.device)
        steps = recipe.steps or (PHOTO_STEPS if take.photos else None)
        left = max(1.0, (recipe.budget_seconds or MOST_SECONDS) - (time.monotonic() - start))
        until_flat = recipe.budget_seconds is None and steps is None
        with stages.time("train"):
            train(
                trainable,
                take,
                track,
                Schedule(left, steps, recipe.mouth_from, until_flat=until_flat),
                seed=recipe.seed,
                checkpoint=Checkpoint(
                    out.with_name(f".{out.stem}.checkpoint"), f"{take.source.get('sha256')} {to_yaml(recipe)}"
                ),
                progress=_training_progress(steps or PERCENT, progress),
                watch=TrainingView(out.with_suffix(".training")),
            )
        with stages.time("speech model"):
            speech, style = adapted.result()
    with stages.time("light"):
        light = find_clip_light(trainable.renderer(), take, track)
    with stages.time("save"):
        frame, matte = read_frame(take.still_path)
    made_of = take.source
    if take.photos:
        made_of = made_of | {TRUSTED_TURN: str(trusted_turn(trainable.renderer(), track.motion()))}
    return Avatar(
        kind=plan.name,
        renderer=plan.kind.pack(trainable.tensors()),
        speech=speech,
        style=style,
        plate=complete_plate(take).permute(1, 2, 0).contiguous(),
        camera=take.camera,
        fps=take.fps,
        space_id=space.id,
        recipe=to_yaml(recipe),
        provenance=made_of,
        frame=frame,
        crop=take.crop,
        matte=matte,
        trained_on=trained_on(take),
        light=light,
    )


def _adapt(plan: _Plan, take: Take, track: Track) -> tuple[SpeechModel, SpeakingStyle]:
    """The person's speech model and manner, from their clip; those of nobody in particular where there are photos."""
    recipe = plan.recipe
    if take.photos:
        return photo_manner(track, seed=recipe.seed, encoder=plan.encoder)
    return adapt(
        _sound(take),
        track,
        frames=take.training_frames(),
        seed=recipe.seed,
        encoder=plan.encoder,
        calibration=plan.motion.calibration,
    )


def _sound(take: Take) -> Tensor:
    """The clip's sound; silence of its length where it has none and is forced."""
    if (take.root / "audio.wav").is_file():
        return read_audio(take)
    return torch.zeros(round(take.length / take.fps * SAMPLE_RATE))


def _training_progress(total: int, progress: Progress) -> Callable[[float, float], None]:
    """Progress in parts of the schedule, with the running loss and the steps so far."""
    average, count = 0.0, 0

    def report(share: float, loss: float) -> None:
        nonlocal average, count
        count += 1
        average = 0.98 * average + 0.02 * loss if average else loss
        progress("train", int(share * total), total, f"loss {average:.4f}, step {count}")

    return report


def trained_on(take: Take) -> TrainedOn:
    """Which frames of its source a Take trains on; frames are counted from the source's beginning."""
    first, spans = take.first_source_frame, list[list[int]]()
    for frame in take.training_frames():
        if spans and spans[-1][1] == frame + first:
            spans[-1][1] += 1
        else:
            spans.append([frame + first, frame + first + 1])
    clip = take.source.get("sha256") or take.source.get("name", "")
    return TrainedOn(clip, tuple((a, b) for a, b in spans), first + take.train.stop)


def read_frame(path: Path) -> tuple[Tensor, Tensor]:
    """A whole frame of the source as the bytes of its file [n] uint8, and the matte [H, W] uint8 of the person in it.

    Both are empty where the frame is not known.
    """
    if not path.is_file():
        return torch.zeros(0, dtype=torch.uint8), torch.zeros(0, 0, dtype=torch.uint8)
    data = path.read_bytes()
    return torch.tensor(list(data), dtype=torch.uint8), frame_matte(data)


def frame_matte(data: bytes) -> Tensor:
    """The matte [H, W] uint8 of the person in a picture file's bytes. Raises: UserError when it cannot be read."""
    try:
        with open_picture(io.BytesIO(data), OWN_FORMATS) as image:
            picture = np.array(image.convert("RGB"))
    except ValueError as error:
        raise UserError(f"the frame of the avatar's source cannot be read ({error}); build it again") from error
    return torch.from_numpy(matte_of_picture(picture))


def find_take(
    source: Path,
    beside: Path,
    request: TakeRequest,
    *,
    holdout: float = 0.0,
    device: DeviceName = "cpu",
    progress: Progress = no_progress,
    stages: Stages | None = None,
) -> Take:
    """The Take that `source` is, or the one made from the video, photos or AD-NeRF folder it is. Raises: UserError."""
    if request.preview and not source.is_file():
        raise UserError(f"{source}: --preview makes an avatar of a clip's best frame; give the clip itself")
    if photos := [source] if request.preview else photos_of(source):
        return make_photo_take(photos, beside, request, device=device, stages=stages)
    if not source.is_dir():
        return make_take(source, beside, request, device=device, progress=progress, stages=stages)
    if request.face != "auto":
        raise UserError(f"{source}: is no video, whose face --face could choose; leave it out")
    if request.audio_track is not None:
        raise UserError(f"{source}: is no video, whose sound --audio-track could choose; leave it out")
    if request.stretch != WHOLE or request.seconds is not None:
        raise UserError(f"{source}: is no video, of which a part could be used; make a take of that part")
    if (source / ADNERF).is_file():
        return import_adnerf(source, beside, holdout=holdout, consent=request.consent, progress=progress)
    return state_consent(open_take(source), request.consent)
