"""Fine-tuning of the encoder on real lips (here the actor's): it learns them, keeps its articulation, is validated."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from avatar.core.files import UserError
from avatar.core.take import Span, open_take, write_take
from avatar.learn import directions
from avatar.learn import finetune as finetuning
from avatar.learn.crops import CROP, random_crops
from avatar.learn.finetune import TrainingClip, align, finetune, leave_one_out, make_training_clip, open_training_clip
from avatar.motion.encoder import Encoder, encode, load_encoder
from avatar.motion.features import compute
from avatar.pipelines.speech_encoder import cross_validate, read_training_clips
from preprocess.actor import speech
from tests.conftest import Filmed

STEPS = 20


@pytest.fixture(scope="module", autouse=True)
def few_direction_steps() -> Any:
    """Directions have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directions, "STEPS", 3)
        yield


@pytest.fixture(scope="module")
def clip(actor: Filmed) -> TrainingClip:
    return make_training_clip(actor.take)


@pytest.fixture(scope="module")
def swapped(clip: TrainingClip) -> TrainingClip:
    """A person who does with the height of their mouth what others do with its width."""
    return replace(clip, name="swapped", lips=clip.lips[:, [0, 2, 1]])


@pytest.fixture(scope="module")
def finetuned(swapped: TrainingClip) -> Encoder:
    return finetune([swapped], steps=STEPS)


def cut(clip: TrainingClip, name: str, start: int, stop: int) -> TrainingClip:
    features = clip.features[4 * start : 4 * stop]
    return TrainingClip(name, features, clip.lips[start:stop], clip.weight[start:stop])


def test_a_training_clip_is_in_standard_units(clip: TrainingClip) -> None:
    assert len(clip.features) == 4 * len(clip.lips) == 4 * len(clip.weight)
    assert clip.lips.mean(0).abs().max() < 0.05
    assert (clip.lips.std(0) - 1).abs().max() < 0.05
    assert clip.weight.min() == 1


def test_crops_keep_features_and_targets_together() -> None:
    time = torch.arange(100.0)
    frames = time.repeat_interleave(4)[:, None].expand(-1, 83)
    recordings = [(frames + base, time[:, None] + base) for base in (0, 1000)]
    chosen = [1, 0, 1, 0, 0, 1]
    features, targets = random_crops(recordings, chosen, 0.0, torch.Generator().manual_seed(0))
    assert features.shape == (6, 83, 4 * CROP)
    assert targets.shape == (6, 1, CROP)
    assert torch.equal(features[:, 0, ::4], targets[:, 0])
    assert torch.equal(targets[:, 0, 0] >= 1000, torch.tensor(chosen) == 1)
    assert len(targets[:, 0, 0].remainder(1000).unique()) > 1, "places are random"
    augmented, _ = random_crops(recordings, chosen, 1.0, torch.Generator().manual_seed(0))
    assert not any(torch.equal(one, other) for one, other in zip(augmented, features, strict=True))


def test_lips_are_shifted_to_the_sound(clip: TrainingClip) -> None:
    late = replace(clip, lips=clip.lips.roll(3, 0))
    aligned = align(late, clip.lips)
    assert torch.equal(aligned.lips[:-3], clip.lips[:-3])
    assert aligned.weight[-3:].sum() == 0
    assert aligned.weight[:-3].min() == 1


def test_real_lips_are_learned(swapped: TrainingClip, finetuned: Encoder) -> None:
    """Before, height follows the opening; in this person it does not."""
    with torch.no_grad():
        encoded = encode(finetuned, swapped.features)
    matrix = torch.corrcoef(torch.cat([encoded.lips, swapped.lips], 1).T)[:3, 3:]
    assert matrix.diagonal().min() > 0.6, matrix


def test_articulation_is_kept(finetuned: Encoder) -> None:
    features = compute(speech(8.0)[0])
    with torch.no_grad():
        before, after = (encode(model, features).articulation for model in (load_encoder(), finetuned))
    for column in range(5):
        assert torch.corrcoef(torch.stack([before[:, column], after[:, column]]))[0, 1] > 0.8


def test_the_same_seed_gives_the_same_encoder(clip: TrainingClip) -> None:
    first, again, other = (finetune([clip], steps=3, seed=seed).state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lips.linear.weight"], other["lips.linear.weight"])


def test_everybody_is_predicted_by_an_encoder_of_the_others(
    swapped: TrainingClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two people whose height does what others' width does: each is learned from the other alone."""
    middle = len(swapped.lips) // 2
    people = [cut(swapped, "first", 0, middle), cut(swapped, "second", middle, len(swapped.lips))]
    trained_on = []

    def spy(clips: Sequence[TrainingClip], **options: Any) -> Encoder:
        trained_on.append([clip.name for clip in clips])
        return finetune(clips, **options)

    monkeypatch.setattr(finetuning, "finetune", spy)
    scores = leave_one_out(people, folds=2, steps=12)
    assert trained_on == [["second"], ["first"]]
    assert [score.name for score in scores] == ["first", "second"]
    for score in scores:
        assert score.after["height"] > score.before["height"] + 0.1, score
        assert score.after["width"] > score.before["width"] + 0.3, score


def test_a_folder_of_takes_is_cross_validated(actor: Filmed, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds 0 takes"):
        read_training_clips(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(actor.take.root)
    header, *people, mean = cross_validate(tmp_path, folds=2, steps=2)
    assert header.split() == ["opening", "height", "width"]
    assert [row.split()[0] for row in (*people, mean)] == ["actor.mp4", "actor.mp4", "mean"]
    first, second, average = (
        torch.tensor([float(word) for word in row.split()[1:] if word != "->"]) for row in (*people, mean)
    )
    assert (average - (first + second) / 2).abs().max() < 0.011, "of rounded numbers"


def test_a_training_clip_is_cached_beside_its_take_until_that_changes(actor: Filmed, tmp_path: Path) -> None:
    root = tmp_path / "x.take"
    shutil.copytree(actor.take.root, root)
    take = open_take(root)
    first, again = open_training_clip(take), open_training_clip(take)
    cached = root / "training_clip.safetensors"
    written = cached.stat().st_mtime_ns
    for name in ("features", "lips", "weight"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert cached.stat().st_mtime_ns == written
    damaged = cached.read_bytes()[:1000]
    cached.unlink()  # what was read from it is still mapped
    cached.write_bytes(damaged)
    assert torch.equal(open_training_clip(take).lips, first.lips)
    write_take(replace(take, excluded=(Span(0, 30, "test"),)), root)
    assert open_training_clip(open_take(root)).weight[:30].sum() == 0
