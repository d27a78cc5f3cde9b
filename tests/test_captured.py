"""Steps queued as on a GPU, uncaptured: their losses are those of steps one by one; faults are found in time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("pydantic")  # the kernels alone can be tested without it

from avatar.render import train as training
from avatar.render.base import StepInputs
from avatar.render.captured import CapturedRun, Replay, chunk_of
from avatar.render.frame_pool import FramePool
from avatar.render.schedule import Schedule
from avatar.render.step import FinishedStep
from avatar.render.train import train
from avatar.render.training_frames import TrainingPictures, frames_to_train_on
from cuda_ext import ops
from tests.conftest import Device, Filmed
from tests.test_train import Gray
from tests.trained import begin, small_take

BYTES = 4 * 192**2  # of a frame at the tests' size


def uncaptured(step: Replay, generators: tuple[torch.Generator, ...]) -> Replay:
    del generators
    return step


def queue_steps(monkeypatch: pytest.MonkeyPatch, *, most_frames: int = 10**6, chunk: int = 25) -> list[CapturedRun]:
    """Make `train` queue its steps, with so many frames on the device; returns the runs that it opens."""
    runs = list[CapturedRun]()

    def open_run(*parts: Any) -> CapturedRun:
        runs.append(CapturedRun(*parts, chunk=chunk, capture=uncaptured, most_bytes=most_frames * BYTES))
        return runs[-1]

    monkeypatch.setattr(training, "_open_run", open_run)
    return runs


@pytest.mark.parametrize("most_frames", [10**6, 60])
def test_queued_steps_have_the_losses_of_steps_one_by_one(
    actor: Filmed, monkeypatch: pytest.MonkeyPatch, most_frames: int
) -> None:
    take, track = small_take("gaussian", actor.take.root)
    one_by_one = train(begin("gaussian", actor.take.root), take, track, Schedule(steps=300), seed=0)
    queue_steps(monkeypatch, most_frames=most_frames)
    queued = train(begin("gaussian", actor.take.root), take, track, Schedule(steps=300), seed=0)
    assert len(queued) == len(one_by_one) == 300
    assert torch.tensor(queued) == pytest.approx(torch.tensor(one_by_one), rel=0.01)
    assert sum(queued[-30:]) < 0.8 * sum(queued[:30])


def test_a_queued_training_ends_by_itself_where_one_step_by_step_does(
    actor: Filmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, track = small_take("nerf", actor.take.root)
    monkeypatch.setattr("avatar.render.validation.CHECK_EVERY", 20)
    one_by_one = train(Gray(64), take, track, Schedule(until_flat=True), seed=0)
    queue_steps(monkeypatch)
    gray = Gray(64)
    monkeypatch.setattr(gray, "rooms", (ops.Room(8, gray.device),))
    queued = train(gray, take, track, Schedule(until_flat=True), seed=0)
    assert len(queued) == len(one_by_one)


def test_frames_that_do_not_fit_are_streamed(actor: Filmed) -> None:
    take, track = small_take("gaussian", actor.take.root)
    frames = sorted(set(frames_to_train_on(take, track)))
    pictures = TrainingPictures(take)
    pool = FramePool(pictures, track, torch.device("cpu"), streamed=4, most_bytes=10 * BYTES)
    assert len(pool.pictures) == 10 + 2 * 4
    wanted = [frames[3], frames[20], frames[11], frames[20]]
    rows = pool.rows(wanted, 0)
    others = pool.rows([frames[30], frames[31]], 1)
    assert len(set(rows)) == 3
    assert not set(rows) & set(others)
    for frame, row in zip(wanted + frames[30:32], rows + others, strict=True):
        assert torch.equal(pool.pictures[row], pictures.read(frame))


def test_a_step_that_is_not_finite_is_found_within_fifty_and_undone(
    actor: Filmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, track = small_take("nerf", actor.take.root)
    gray, drawn, seen, undone = Gray(64), list[int](), list[float](), list[int]()
    draw, restore = gray.draw, gray.restore

    def spoil(step: StepInputs) -> tuple[Tensor, Tensor]:
        drawn.append(1)
        rgb, alpha = draw(step)
        return (rgb * math.nan if len(drawn) == 40 else rgb), alpha

    def note(tensors: dict[str, Tensor]) -> None:
        undone.append(len(drawn))
        restore(tensors)

    monkeypatch.setattr(gray, "rooms", (ops.Room(8, gray.device),))
    monkeypatch.setattr(gray, "draw", spoil)
    monkeypatch.setattr(gray, "restore", note)
    queue_steps(monkeypatch)
    schedule = Schedule(steps=150, part=(0.0, 0.5))
    losses = train(gray, take, track, schedule, seed=0, progress=lambda _, loss: seen.append(loss))
    assert len(undone) == 1
    assert undone[0] - 40 <= 50
    assert all(map(math.isfinite, losses))
    assert losses == seen
    assert len(losses) >= 150 - 51
    assert bool(gray.brightness.isfinite())


def test_settled_steps_are_the_trainable_s_tensors(actor: Filmed, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept to go back to is what the steps so far made, never half of a queued chunk."""
    take, track = small_take("gaussian", actor.take.root)
    trainable = begin("gaussian", actor.take.root)
    runs, number, settled = queue_steps(monkeypatch, chunk=10), list[int](), list[tuple[int, int]]()
    update = trainable.update
    monkeypatch.setattr(trainable, "update", lambda step: (number.append(1), update(step)))
    monkeypatch.setattr("avatar.render.captured.SETTLED_EVERY", 2)
    steps = CapturedRun.steps

    def watched(self, plan, between):
        for finished in steps(self, plan, between):
            assert isinstance(finished, FinishedStep)
            if finished.settled:
                settled.append((finished.planned.number, len(number)))
            yield finished

    monkeypatch.setattr(CapturedRun, "steps", watched)
    train(trainable, take, track, Schedule(steps=45), seed=0)
    assert runs
    assert [before for before, _ in settled] == [10, 30, 45]
    assert all(before == after for before, after in settled)


def test_chunks_are_shorter_than_half_an_epoch() -> None:
    assert [chunk_of(frames) for frames in (1, 3, 20, 50, 10**4)] == [1, 1, 10, 25, 25]


def test_rooms_grow_before_they_overflow() -> None:
    room = ops.Room(100, torch.device("cpu"))
    room.note(torch.tensor([3, 80, 5]))
    room.note(torch.tensor([60]))
    assert not room.resize(int(room.needed))
    room.note(torch.tensor([95]))
    assert room.resize(int(room.needed))
    assert room.size == 142


@pytest.mark.parametrize("device", ["emulated"], indirect=True)  # which needs no film where there is a GPU alone
def test_a_room_that_is_too_small_is_found_before_the_first_step(
    device: Device, actor: Filmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the GPU's kernels: no frame is left empty, though the room begins with hardly a pair."""
    assert device.slow
    trainable = begin("gaussian", actor.take.root, splats=600)
    (room,) = trainable.rooms or ()
    room.size = 8
    queue_steps(monkeypatch, chunk=2)
    train(trainable, *small_take("gaussian", actor.take.root), Schedule(steps=3), seed=0)
    assert 8 < int(room.needed) <= room.size
