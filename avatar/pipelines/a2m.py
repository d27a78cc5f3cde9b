"""The speech encoder taught by, and checked on, a folder of Takes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from avatar.core.files import UserError, check_writable
from avatar.core.lips import CURVES
from avatar.core.take import open_take
from avatar.motion.corpus import SHARD, list_shards, read_corpus
from avatar.motion.encoder import save_encoder
from avatar.motion.practice import Practice, save_practice
from avatar.motion.real import CROP, STEPS, Lesson, leave_one_out, open_lesson, teach
from avatar.motion.train import to_example
from avatar.pipelines.bars import stage_bars
from avatar.pipelines.takes import make_take
from preprocess.checks import lips_follow
from preprocess.run import Wishes

PRACTISED = 60  # utterances
TAKEN = "takes"  # folder beside the clips of a corpus


def take_in(clips: Path) -> tuple[Path, list[str]]:
    """Make a Take of every clip in a folder, in a folder `takes` inside it; those that are there are kept.

    Returns: that folder, and a line for each clip that cannot be used. Raises: UserError when the folder has no file.
    """
    files = sorted(path for path in clips.iterdir() if path.is_file()) if clips.is_dir() else []
    if not files:
        raise UserError(f"{clips}: is not a folder of clips; give a folder with a video file for each person")
    left_out = []
    for clip in files:
        take = clips / TAKEN / clip.stem
        try:
            if not (take / "take.json").is_file():
                make_take(clip, take, Wishes())
        except UserError as error:
            left_out.append(str(error))
    return clips / TAKEN, left_out


def read_lessons(folder: Path) -> list[Lesson]:
    """Lessons of all Takes in a folder that are long enough and whose lips follow their sound.

    Raises: UserError without two of them.
    """
    takes = [open_take(path.parent) for path in sorted(folder.glob("*/take.json"))]
    heard = [take for take in takes if (take.root / "audio.wav").is_file() and lips_follow(take.quality)]
    lessons = [open_lesson(take) for take in heard]
    lessons = [lesson for lesson in lessons if len(lesson.lips) >= CROP and lesson.weight.sum() >= CROP]
    if len(lessons) < 2:
        raise UserError(f"{folder}: holds {len(lessons)} takes with speech of three seconds and more; two are needed")
    return lessons


def make_practice(corpus: Path, out: Path) -> int:
    """Write the first utterances of a corpus as what everybody practises with; returns how many."""
    check_writable(out)
    shards = list_shards(corpus)[: -(-PRACTISED // SHARD)]
    examples = [to_example(utterance) for utterance in islice(read_corpus(corpus, shards), PRACTISED)]
    features = torch.cat([example.features for example in examples]).float()
    articulation = torch.cat([example.articulation for example in examples])
    save_practice(Practice(features, articulation, [len(example.articulation) for example in examples]), out)
    return len(examples)


def train_on_takes(folder: Path, out: Path, *, start: Path | None = None, seed: int = 0) -> int:
    """Write an encoder taught by the Takes of a folder; returns how many they were."""
    check_writable(out)
    lessons = read_lessons(folder)
    with stage_bars() as report:
        encoder = teach(lessons, start=start, seed=seed, report=report)
    seconds = sum(float(lesson.weight.sum()) for lesson in lessons) / 25
    save_encoder(encoder, out, {"seed": str(seed), "takes": str(len(lessons)), "seconds": f"{seconds:.0f}"})
    return len(lessons)


def check_on_takes(
    folder: Path, *, folds: int, start: Path | None = None, steps: int = STEPS, seed: int = 0
) -> Iterator[str]:
    """Rows of a table: correlation of heard and real lips, person by person, before and after teaching."""
    lessons = read_lessons(folder)
    with stage_bars() as report:
        folds = min(folds, len(lessons))
        scores = leave_one_out(lessons, folds=folds, start=start, steps=steps, seed=seed, report=report)
    yield f"{'':<32}" + "".join(f"{name:>20}" for name in CURVES)
    for score in scores:
        pairs = (f"{score.before[name]:.2f} -> {score.after[name]:.2f}" for name in CURVES)
        yield f"{score.name:<32}" + "".join(f"{pair:>20}" for pair in pairs)
    means = [torch.tensor([[s.before[name], s.after[name]] for s in scores]).mean(0).tolist() for name in CURVES]
    yield f"{'mean':<32}" + "".join(f"{f'{before:.2f} -> {after:.2f}':>20}" for before, after in means)
