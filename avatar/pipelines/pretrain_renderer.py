"""The NeRF of many people, that one person's begins with."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from avatar.core.files import UserError, check_writable
from avatar.core.motion_space import load_space
from avatar.core.progress import Progress, no_progress
from avatar.core.take import Take, Track, open_take, read_track, with_size
from avatar.pipelines.speech_encoder import preprocess_corpus
from avatar.render.device import DeviceName, pick_device
from avatar.render.features import with_common
from avatar.render.nerf import NerfRenderer, NerfSettings
from avatar.render.nerf.generic import TABLES, Generic, common_scaling, is_shared, mean_tables, save_generic
from avatar.render.nerf.renderer import begin
from avatar.render.train import Schedule, train

LEAST_PEOPLE, LEAST_FRAMES = 2, 50
STEPS_AT_ONCE = 20  # with one person, before the next one's turn
TOGETHER = 0.1  # how far everybody's tables are drawn to the mean each round


def find_people(corpus: Path) -> list[Take]:
    """The Takes of a folder, or of the clips in it, that can be learned from. Raises: UserError without two of them."""
    folder = corpus if any(corpus.glob("*/take.json")) else preprocess_corpus(corpus)[0]
    takes = [open_take(path.parent) for path in sorted(folder.glob("*/take.json"))]
    takes = [take for take in takes if len(take.training_frames()) >= LEAST_FRAMES]
    if len(takes) < LEAST_PEOPLE:
        raise UserError(f"{corpus}: holds {len(takes)} people of {LEAST_FRAMES} frames and more; give at least two")
    return takes


def pretrain_renderer(
    takes: list[Take],
    out: Path,
    *,
    settings: NerfSettings,
    steps: int,
    size: int,
    seed: int = 0,
    device: DeviceName = "cpu",
    progress: Progress = no_progress,
) -> None:
    """Train one field on many people in turns, `steps` in all, and write it.

    Networks and motion branch go from one person to the next; tables, torso and light are each one's own, and all
    tables are drawn to their mean. Raises: UserError, as `train` does.
    """
    check_writable(out)
    place, space = pick_device(device), load_space()
    people: list[tuple[NerfRenderer, Take, Track]] = []
    for take in takes:
        small = with_size(take, min(size, take.camera.size))
        track = read_track(small)
        people.append((begin(small, track, space, settings, seed), small, track))
    mean, scale = common_scaling(*([getattr(one.scaling, name) for one, *_ in people] for name in ("mean", "scale")))
    for renderer, *_ in people:
        scaling = with_common(renderer.scaling, mean, scale)
        renderer.restore(renderer.tensors() | {"feature_mean": scaling.mean, "feature_scale": scaling.scale})
        renderer.to(place)
    rounds, last = max(1, math.ceil(steps / STEPS_AT_ONCE / len(people))), people[-1][0]
    for number in range(rounds):
        for renderer, take, track in people:
            _pass_on(last, renderer)
            plan = Schedule(STEPS_AT_ONCE, part=(number / rounds, (number + 1) / rounds))
            train(renderer, take, track, budget_seconds=math.inf, seed=seed + number, schedule=plan)
            last = renderer
            progress("pretrain", number + 1, rounds)
        _draw_together([renderer for renderer, *_ in people])
    values = {name: tensor.detach().cpu() for name, tensor in last.values.items() if is_shared(name)}
    values[TABLES] = mean_tables([renderer.values[TABLES].detach().cpu() for renderer, *_ in people])
    notes = {"people": str(len(people)), "steps": str(rounds * STEPS_AT_ONCE * len(people)), "seed": str(seed)}
    save_generic(Generic(values, mean, scale, settings), out, notes)


def _pass_on(giver: NerfRenderer, taker: NerfRenderer) -> None:
    """Hand what is everybody's, and what the optimizer knows of it, to the next person."""
    taker.adopt({name: tensor for name, tensor in giver.values.items() if is_shared(name)}, giver.moments())


@torch.no_grad()
def _draw_together(renderers: list[NerfRenderer]) -> None:
    mean = mean_tables([renderer.values[TABLES] for renderer in renderers])
    for renderer in renderers:
        renderer.values[TABLES] = torch.lerp(renderer.values[TABLES].detach(), mean, TOGETHER)
