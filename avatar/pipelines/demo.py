"""The whole way once: clip -> avatar -> speech -> figures."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from avatar.core.avatar_file import load_avatar
from avatar.core.consent import state
from avatar.core.progress import Progress, no_progress
from avatar.core.recipe import Recipe
from avatar.core.take import open_take
from avatar.pipelines.build import build
from avatar.pipelines.evaluate import evaluate
from avatar.pipelines.signing import speak_signed
from avatar.render.device import DeviceName
from preprocess.actor import film_actor
from preprocess.request import TakeRequest

ACTOR_SECONDS = 12.0


def run_demo(
    folder: Path,
    video: Path | None = None,
    speech: Path | None = None,
    *,
    budget_seconds: float = 75.0,
    device: DeviceName = "auto",
    progress: Progress = no_progress,
) -> dict[str, Path]:
    """Make an avatar of a clip (default: the synthetic actor) and let it speak; returns what was made, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    source = video or folder / "actor.mp4"
    if video is None and not source.exists():
        film_actor(source, seconds=ACTOR_SECONDS)
    made = {"avatar": folder / f"{source.stem}.avatar"}
    recipe = Recipe(budget_seconds=budget_seconds, holdout=0.1)
    request = TakeRequest(consent=state(synthetic=video is None))
    build(source, made["avatar"], recipe=recipe, request=request, device=device, progress=progress)
    made["video"] = folder / f"{source.stem}_speaks.mp4"
    said = speech or Path(str(files("avatar") / "assets" / "actor_speech.flac"))
    avatar = load_avatar(made["avatar"])
    speak_signed(avatar, said, made["video"], device=device, progress=progress)
    take = open_take(made["avatar"].with_suffix(".take"))
    made["report of the clip"] = take.root / "report.html"
    made["evaluation"] = folder / f"{source.stem}_evaluation.html"
    evaluate(avatar, take, page=made["evaluation"], device=device, progress=progress)
    return made
