"""The lip reader: what it is fitted to, what it reads of an avatar's mouth, and how it counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from avatar.core.controls import Controls
from avatar.core.media import find_speech, read_speech
from avatar.core.motion_space import Motion, concatenate
from avatar.learn.lip_reader import SpokenMouth, fit_lip_reader
from avatar.motion.driver import Driver, drive
from avatar.motion.lip_reader import (
    VISEMES,
    apply_reader,
    balanced_accuracy,
    load_lip_reader,
    read_lips,
    save_lip_reader,
    visemes_of_sound,
)
from avatar.motion.speech_to_motion import open_speech_model
from tests.conftest import Adapted, Filmed

GROUPS = len(VISEMES)


def spoken(filmed: Filmed) -> Tensor:
    return torch.cat(list(read_speech(find_speech(filmed.video))))


def driven(adapted: Adapted, sound: Tensor) -> Motion:
    model, style = adapted
    driver = Driver(open_speech_model(model), style, fps=25, controls=Controls(blink=0.0, temperature=0.0))
    return concatenate(list(drive(driver, sound.split(16000))))


def test_an_avatars_mouth_can_be_read(adapted: Adapted, actor: Filmed) -> None:
    """Far above chance for the sound it was made of, and not for the same sound at another time."""
    sound = spoken(actor)
    expression = driven(adapted, sound).expression
    visemes, speaks = visemes_of_sound(sound)
    count = min(len(expression), len(visemes))
    read = read_lips(expression[:count], torch.ones(count, dtype=torch.bool))
    right = balanced_accuracy(read, visemes[:count], speaks[:count])
    wrong = [balanced_accuracy(read.roll(shift, 0), visemes[:count], speaks[:count]) for shift in (20, 45, 70)]
    assert right > 0.3
    assert max(wrong) < 0.75 * right


def test_it_is_fitted_to_what_mouths_show() -> None:
    """Mouths that show their group among noise are read on people who were left out, the packaged reader's way."""

    def person(seed: int, frames: int) -> SpokenMouth:
        generator = torch.Generator().manual_seed(seed)
        shares = torch.tensor([8.0, 1, 1, 1, 1, 1, 1, 1])  # of one group there is much more than of the others
        group = torch.multinomial(shares, frames, replacement=True, generator=generator)
        inputs = torch.randn(frames, 40, generator=generator)
        inputs[:, :GROUPS] += 3.5 * torch.eye(GROUPS)[group]
        return SpokenMouth(inputs, 0.9 * torch.eye(GROUPS)[group] + 0.1 / GROUPS, torch.ones(frames, dtype=torch.bool))

    people, other = [person(seed, 500) for seed in range(8)], person(99, 2000)
    reader = fit_lip_reader(people)
    read = apply_reader(reader, other.inputs)
    assert balanced_accuracy(read, other.visemes, other.counted) > 0.85
    assert torch.equal(apply_reader(fit_lip_reader(people), other.inputs), read)


def test_every_group_counts_alike_and_only_what_is_sure() -> None:
    group = torch.tensor([0] * 90 + [1] * 10)
    sound = torch.eye(GROUPS)[group]
    read = torch.eye(GROUPS)[torch.zeros(100, dtype=torch.long)]
    everything = torch.ones(100, dtype=torch.bool)
    assert balanced_accuracy(read, sound, everything) == pytest.approx(0.5)
    sound[95:] = 1 / GROUPS  # the sound says nothing
    read[90:95] = torch.eye(GROUPS)[1]
    assert balanced_accuracy(read, sound, everything) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no frame"):
        balanced_accuracy(read, sound, ~everything)


def test_it_is_kept_as_it_was(tmp_path: Path) -> None:
    reader, path = load_lip_reader(), tmp_path / "reader.safetensors"
    save_lip_reader(reader, path)
    assert path.stat().st_size < 40_000
    assert reader.out.shape[1] == GROUPS
