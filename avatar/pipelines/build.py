"""Video or Take -> Avatar, inside a budget."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from avatar.core.bundle import Avatar, save_avatar
from avatar.core.controls import Controls
from avatar.core.files import UserError, check_readable, check_writable
from avatar.core.media import probe
from avatar.core.motion_space import load_space
from avatar.core.recipe import Recipe, parse, to_yaml
from avatar.core.take import Take, open_take, read_audio, read_plate, read_track, with_holdout, with_size
from avatar.motion.adapt import adapt
from avatar.motion.encoder import load_encoder
from avatar.motion.settings import MotionSettings
from avatar.pipelines.bars import budget_bar
from avatar.pipelines.draw import Look
from avatar.pipelines.speak import speak
from avatar.pipelines.takes import import_adnerf, make_take
from avatar.pipelines.watch import TrainingView
from avatar.render import renderer_kind
from avatar.render.device import DeviceName, pick_device
from avatar.render.train import Checkpoint, Schedule, train
from preprocess.checks import judge
from preprocess.run import Wishes

NOT_STATED = "not stated"
ADNERF = "transforms_train.json"  # a file in every data folder of that family
MIN_FRAMES = 75  # three seconds
TORCH_THREADS = 1  # the native pool uses the cores; torch's own spinning workers would steal them


def build(
    source: Path | str,
    out: Path | str,
    *,
    recipe: Recipe | None = None,
    face: str = "auto",
    consent: str = NOT_STATED,
    device: DeviceName = "cpu",
) -> Avatar:
    """Build an avatar from a video, a Take or an AD-NeRF data folder and write it to `out`.

    A video or data folder is preprocessed into `OUT.take` beside the avatar first; that folder is kept and used again.
    Raises: UserError for anything a person can mend, before long work where it can be known before.
    """
    source, out, recipe = Path(source), Path(out), recipe or Recipe()
    name = str(recipe.renderer.get("kind", "gaussian"))
    kind = renderer_kind(name)
    settings = parse(kind.settings, recipe.renderer, f"{recipe.file}, renderer")
    parse(Controls, recipe.controls, f"{recipe.file}, controls")
    calibration = parse(MotionSettings, recipe.motion, f"{recipe.file}, motion").calibration
    if recipe.speech:
        check_readable(Path(recipe.speech), "sound file")
    place, encoder = pick_device(device), load_encoder(Path(recipe.encoder) if recipe.encoder else None)
    check_writable(out)
    if source.is_file() and not probe(source).has_audio:
        raise UserError(f"{source}: has no sound; an avatar learns its lips from a clip with speech")
    take = with_holdout(find_take(source, out.with_suffix(".take"), recipe, face, consent), recipe.holdout)
    take = with_size(take, recipe.train_size or take.camera.size)
    verdict = judge(take.quality)
    if not verdict.usable:
        raise UserError(f"{source}: {'; '.join(verdict.advice)}; see {take.root / 'report.html'}")
    if len(take.training_frames()) < MIN_FRAMES:
        raise UserError(f"{source}: only {len(take.training_frames())} frames can be trained on; film at least 5 s")
    torch.set_num_threads(TORCH_THREADS)
    track, space = read_track(take), load_space()
    start = time.monotonic()
    frames = take.training_frames()
    speech, habits = adapt(
        read_audio(take),
        track,
        fps=take.fps,
        frames=frames,
        seed=recipe.seed,
        encoder=encoder,
        calibration=calibration,
    )
    renderer = kind.begin(take, track, space, settings, recipe.seed)
    renderer.to(place)
    left = max(1.0, recipe.budget_seconds - (time.monotonic() - start))
    checkpoint = Checkpoint(out.with_name(f".{out.stem}.checkpoint"), f"{take.source.get('sha256')} {to_yaml(recipe)}")
    view, seed = TrainingView(out.with_suffix(".training")), recipe.seed
    with budget_bar(recipe.steps or left, "step" if recipe.steps else "s") as bar:
        train(
            renderer,
            take,
            track,
            budget_seconds=left,
            seed=seed,
            schedule=Schedule(recipe.steps, recipe.mouth_from),
            checkpoint=checkpoint,
            progress=bar,
            watch=view,
        )
    avatar = Avatar(
        kind=name,
        renderer=kind.pack(renderer.tensors()),
        speech=speech,
        habits=habits,
        plate=read_plate(take),
        camera=take.camera,
        fps=take.fps,
        space_id=space.id,
        features=encoder.features,
        recipe=to_yaml(recipe),
        provenance=take.source,
        frame=_read_bytes(take.still_path),
        crop=take.crop,
    )
    save_avatar(avatar, out)
    if recipe.speech:
        look = Look(background=recipe.background or None)
        speak(avatar, Path(recipe.speech), out.with_suffix(".mp4"), look=look, device=device)
    return avatar


def _read_bytes(path: Path) -> Tensor:
    return torch.tensor(list(path.read_bytes()) if path.is_file() else [], dtype=torch.uint8)


def find_take(source: Path, beside: Path, recipe: Recipe, face: str, consent: str) -> Take:
    """The Take that `source` is, or the one made from the video or AD-NeRF folder it is. Raises: UserError."""
    if (source / ADNERF).is_file():
        return open_take(beside) if beside.exists() else import_adnerf(source, beside, holdout=recipe.holdout)
    if source.is_dir():
        return open_take(source)
    return make_take(source, beside, Wishes(tracker=recipe.tracker, face=face, size=recipe.size, consent=consent))
