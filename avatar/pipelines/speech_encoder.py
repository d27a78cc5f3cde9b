"""Fine-tuning of the speech encoder on a folder of Takes, cross-validation, and the package's synthetic samples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from avatar.core.files import UserError
from avatar.core.lips import CURVES
from avatar.core.outputs import check_output
from avatar.core.progress import Progress, no_progress
from avatar.core.take import open_take
from avatar.learn.corpus import SHARD, list_shards, read_corpus
from avatar.learn.crops import CROP
from avatar.learn.finetune import STEPS, TrainingClip, finetune, leave_one_out, open_training_clip
from avatar.learn.pretrain import to_training_utterance
from avatar.learn.synthetic_samples import SyntheticSpeech, save_synthetic_speech
from avatar.motion.encoder import save_encoder
from avatar.pipelines.takes import make_take
from preprocess.checks import lips_follow
from preprocess.request import TakeRequest

SYNTHETIC_UTTERANCES = 60  # three minutes
TAKES = "takes"  # folder beside the clips of a corpus


def preprocess_corpus(clips: Path, *, progress: Progress = no_progress) -> tuple[Path, list[str]]:
    """Make a Take of every clip in a folder, in a folder `takes` inside it; those that are there are kept.

    Returns: that folder, and a line for each clip that cannot be used. Raises: UserError when the folder has no file.
    """
    files = sorted(path for path in clips.iterdir() if path.is_file()) if clips.is_dir() else []
    if not files:
        raise UserError(f"{clips}: is not a folder of clips; give a folder with a video file for each person")
    unusable = []
    for clip in files:
        take = clips / TAKES / clip.stem
        try:
            if not (take / "take.json").is_file():
                make_take(clip, take, TakeRequest(), progress=progress)
        except UserError as error:
            unusable.append(str(error))
    return clips / TAKES, unusable


def read_training_clips(folder: Path) -> list[TrainingClip]:
    """Training clips of all Takes in a folder that are long enough and whose lips follow their sound.

    Raises: UserError without two of them.
    """
    takes = [open_take(path.parent) for path in sorted(folder.glob("*/take.json"))]
    speaking = [take for take in takes if (take.root / "audio.wav").is_file() and lips_follow(take.quality)]
    clips = [open_training_clip(take) for take in speaking]
    clips = [clip for clip in clips if len(clip.lips) >= CROP and clip.weight.sum() >= CROP]
    if len(clips) < 2:
        raise UserError(f"{folder}: holds {len(clips)} takes with speech of three seconds and more; two are needed")
    return clips


def write_synthetic_samples(corpus: Path, out: Path) -> int:
    """Write the first utterances of a corpus as the package's synthetic samples; returns how many."""
    check_output(out, [corpus])
    shards = list_shards(corpus)[: -(-SYNTHETIC_UTTERANCES // SHARD)]
    said = [to_training_utterance(one) for one in islice(read_corpus(corpus, shards), SYNTHETIC_UTTERANCES)]
    features = torch.cat([one.features for one in said]).float()
    articulation = torch.cat([one.articulation for one in said])
    save_synthetic_speech(SyntheticSpeech(features, articulation, [len(one.articulation) for one in said]), out)
    return len(said)


def finetune_on_takes(
    folder: Path, out: Path, *, start: Path | None = None, seed: int = 0, progress: Progress = no_progress
) -> int:
    """Write an encoder fine-tuned on the Takes of a folder; returns how many they were."""
    check_output(out, [folder, *([start] if start else [])])
    clips = read_training_clips(folder)
    encoder = finetune(clips, start=start, seed=seed, progress=progress)
    seconds = sum(float(clip.weight.sum()) for clip in clips) / 25
    save_encoder(encoder, out, {"seed": str(seed), "takes": str(len(clips)), "seconds": f"{seconds:.0f}"})
    return len(clips)


def cross_validate(
    folder: Path,
    *,
    folds: int,
    start: Path | None = None,
    steps: int = STEPS,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Iterator[str]:
    """Rows of a table: correlation of predicted and real lips, person by person, before and after fine-tuning."""
    clips = read_training_clips(folder)
    folds = min(folds, len(clips))
    scores = leave_one_out(clips, folds=folds, start=start, steps=steps, seed=seed, progress=progress)
    yield f"{'':<32}" + "".join(f"{name:>20}" for name in CURVES)
    for score in scores:
        pairs = (f"{score.before[name]:.2f} -> {score.after[name]:.2f}" for name in CURVES)
        yield f"{score.name:<32}" + "".join(f"{pair:>20}" for pair in pairs)
    means = [torch.tensor([[s.before[name], s.after[name]] for s in scores]).mean(0).tolist() for name in CURVES]
    yield f"{'mean':<32}" + "".join(f"{f'{before:.2f} -> {after:.2f}':>20}" for before, after in means)
