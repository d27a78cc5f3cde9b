"""The generic NeRF of many people, that one person's begins with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from avatar.core.files import UserError
from avatar.core.motion_space import load_space
from avatar.core.outputs import check_output
from avatar.core.progress import Progress, no_progress
from avatar.core.take import Take, Track, open_take, read_track, with_size
from avatar.pipelines.speech_encoder import preprocess_corpus
from avatar.render.device import DeviceName, pick_device
from avatar.render.features import with_common
from avatar.render.nerf import NerfSettings
from avatar.render.nerf.backends import check_backends
from avatar.render.nerf.generic import TABLES, Generic, common_scaling, is_shared, mean_tables, save_generic
from avatar.render.nerf.trainable import TrainableNerf, begin
from avatar.render.schedule import Schedule
from avatar.render.train import train

LEAST_PEOPLE, LEAST_FRAMES = 2, 50
STEPS_AT_ONCE = 20  # with one person, before the next one's turn: often enough that networks fit nobody alone
TABLES_TO_MEAN = 0.1  # how far each person's tables are drawn to the mean in each round, so that the mean fits all


@dataclass(frozen=True)
class _Person:
    trainable: TrainableNerf
    take: Take
    track: Track


def find_people(corpus: Path, *, progress: Progress = no_progress) -> list[Take]:
    """The Takes of a folder, or of the clips in it, that can be trained on. Raises: UserError without two of them."""
    folder = corpus if any(corpus.glob("*/take.json")) else preprocess_corpus(corpus, progress=progress)[0]
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
    device: DeviceName = "auto",
    progress: Progress = no_progress,
) -> None:
    """Train one field on many people in turns, `steps` in all, and write it.

    Networks and motion branch go from one person to the next; tables, torso and appearance are each one's own, and all
    tables are drawn to their mean. Raises: UserError, as `train` does.
    """
    check_output(out, [take.root for take in takes])
    place = pick_device(device)
    check_backends(settings, place)
    people = [_begin(take, min(size, take.camera.size), settings, seed) for take in takes]
    scalings = [person.trainable.scaling for person in people]
    mean, scale = common_scaling([one.mean for one in scalings], [one.scale for one in scalings])
    _share_scaling(people, mean, scale, place)
    rounds, last = max(1, math.ceil(steps / STEPS_AT_ONCE / len(people))), people[-1].trainable
    for number in range(rounds):
        for person in people:
            _hand_over(last, person.trainable)
            schedule = Schedule(steps=STEPS_AT_ONCE, part=(number / rounds, (number + 1) / rounds))
            train(person.trainable, person.take, person.track, schedule, seed=seed + number)
            last = person.trainable
            progress("pretrain", number + 1, rounds)
        _draw_to_mean([person.trainable for person in people])
    values = {name: tensor.detach().cpu() for name, tensor in last.values.items() if is_shared(name)}
    values[TABLES] = mean_tables([person.trainable.values[TABLES].detach().cpu() for person in people])
    notes = {"people": str(len(people)), "steps": str(rounds * STEPS_AT_ONCE * len(people)), "seed": str(seed)}
    save_generic(Generic(values, mean, scale, settings), out, notes)


def _begin(take: Take, size: int, settings: NerfSettings, seed: int) -> _Person:
    small = with_size(take, size)
    track = read_track(small)
    return _Person(begin(small, track, load_space(), settings, seed), small, track)


def _share_scaling(people: list[_Person], mean: torch.Tensor, scale: torch.Tensor, device: torch.device) -> None:
    """Give all people the same scaling of expression and eyes [K + 4], on a device."""
    for person in people:
        scaling, trainable = with_common(person.trainable.scaling, mean, scale), person.trainable
        trainable.restore(trainable.tensors() | {"feature_mean": scaling.mean, "feature_scale": scaling.scale})
        trainable.to(device)


def _hand_over(last: TrainableNerf, following: TrainableNerf) -> None:
    """Hand what all share, and the optimizer's moments of it, to the next person."""
    shared = {name: tensor for name, tensor in last.values.items() if is_shared(name)}
    following.adopt(shared, last.moments())


@torch.no_grad()
def _draw_to_mean(trainables: list[TrainableNerf]) -> None:
    mean = mean_tables([one.values[TABLES] for one in trainables])
    for one in trainables:
        one.values[TABLES] = torch.lerp(one.values[TABLES].detach(), mean, TABLES_TO_MEAN)
