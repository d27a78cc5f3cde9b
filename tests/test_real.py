"""The encoder taught by real lips (here the actor's, with noise: what counts is that it learns and holds)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar.core.files import UserError
from avatar.core.take import Span, open_take, write_take
from avatar.learn.finetune import TrainingClip, finetune, leave_one_out, make_training_clip, open_training_clip
from avatar.motion.encoder import encode, load_encoder
from avatar.motion.features import compute
from avatar.pipelines.speech_encoder import check_on_takes, read_training_clips
from preprocess.actor import speech
from tests.conftest import Filmed

STEPS = 40


@pytest.fixture(scope="module")
def clip(actor: Filmed) -> TrainingClip:
    return make_training_clip(actor.take)


def strange(clip: TrainingClip) -> TrainingClip:
    """A person who does with the height of their mouth what others do with its width."""
    return TrainingClip("strange", clip.features, clip.lips[:, [0, 2, 1]], clip.weight)


def test_a_lesson_is_in_standard_units(actor: Filmed, clip: TrainingClip) -> None:
    assert len(clip.features) == 4 * len(clip.lips) == 4 * len(clip.weight)
    assert clip.lips.mean(0).abs().max() < 0.05
    assert (clip.lips.std(0) - 1).abs().max() < 0.05
    assert clip.weight.min() == 1


def test_real_lips_are_learned(clip: TrainingClip) -> None:
    """Height follows the opening in what the encoder knows; a person in whom it does not teaches otherwise."""
    odd = strange(clip)
    encoder = finetune([odd], steps=STEPS)
    with torch.no_grad():
        heard = encode(encoder, odd.features)
    matrix = torch.corrcoef(torch.cat([heard.lips, odd.lips], 1).T)[:3, 3:]
    assert matrix.diagonal().min() > 0.6, matrix


def test_what_was_known_is_held(clip: TrainingClip) -> None:
    encoder = finetune([strange(clip)], steps=STEPS)
    features = compute(speech(8.0)[0])
    with torch.no_grad():
        before, after = (encode(model, features).articulation for model in (load_encoder(), encoder))
    for column in range(5):
        assert torch.corrcoef(torch.stack([before[:, column], after[:, column]]))[0, 1] > 0.8


def test_the_same_seed_gives_the_same_encoder(clip: TrainingClip) -> None:
    first, second = (finetune([clip], steps=3, seed=4).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_everybody_is_left_out_once(clip: TrainingClip) -> None:
    people = [clip, strange(clip), TrainingClip("third", clip.features, clip.lips, clip.weight)]
    scores = leave_one_out(people, folds=3, steps=3)
    assert sorted(score.name for score in scores) == sorted(person.name for person in people)
    assert all(-1 <= value <= 1 for score in scores for value in (*score.before.values(), *score.after.values()))


def test_a_folder_of_takes_is_checked(actor: Filmed, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds 0 takes"):
        read_training_clips(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(actor.take.root)
    rows = list(check_on_takes(tmp_path, folds=2, steps=2))
    assert len(rows) == 4
    assert rows[-1].startswith("mean")


def test_a_lesson_is_kept_beside_its_take_until_that_changes(actor: Filmed, tmp_path: Path) -> None:
    root = tmp_path / "x.take"
    shutil.copytree(actor.take.root, root)
    take = open_take(root)
    first, again = open_training_clip(take), open_training_clip(take)
    kept = root / "lesson.safetensors"
    written = kept.stat().st_mtime_ns
    for name in ("features", "lips", "weight"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert kept.stat().st_mtime_ns == written
    damaged = kept.read_bytes()[:1000]
    kept.unlink()  # what was read from it still is
    kept.write_bytes(damaged)
    assert torch.equal(open_training_clip(take).lips, first.lips)
    write_take(replace(take, excluded=(Span(0, 30, "test"),)), root)
    assert open_training_clip(open_take(root)).weight[:30].sum() == 0
