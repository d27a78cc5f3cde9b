"""The training loop: goes on after a kill, undoes steps that are not finite, trains on the hard frames more often."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.motion_space import Motion
from avatar.core.recipe import Recipe
from avatar.core.take import read_track
from avatar.pipelines.build import build
from avatar.render import RENDERERS
from avatar.render.base import Renderer, StepInputs
from avatar.render.exposure import Exposure
from avatar.render.gaussian.parameters import copy_parameters
from avatar.render.gaussian.relocation import relocate
from avatar.render.schedule import Schedule
from avatar.render.train import Checkpoint, RunningMean, TrainingSnapshot, train
from avatar.render.training_frames import HardExampleMiner, Visit, frames_to_train_on, repeat_blinks, visits
from avatar.render.validation import validation_frames
from cuda_ext import ops
from tests.conftest import Filmed
from tests.trained import begin, random, small_take, trained_on


@pytest.mark.parametrize("kind", sorted(RENDERERS))
def test_a_killed_run_goes_on(kind: str, actor: Filmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, schedule, root = Checkpoint(tmp_path / "c", "key"), Schedule(steps=8), actor.take.root
    monkeypatch.setattr("avatar.render.train.CHECKPOINT_SECONDS", 0.0)

    def stop(share: float, loss: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    take = small_take(kind, root)
    with pytest.raises(KeyboardInterrupt):
        train(begin(kind, root), *take, schedule, seed=0, checkpoint=checkpoint, progress=stop)
    assert checkpoint.path.exists()
    for key, least, most in (("another", -0.01, 0.01), ("key", 0.4, 1.0)):
        checkpoint.path.with_suffix(".kept").write_bytes(checkpoint.path.read_bytes())
        shares: list[float] = []
        note = lambda share, loss: shares.append(share)  # noqa: B023, E731
        train(begin(kind, root), *take, schedule, seed=0, checkpoint=Checkpoint(checkpoint.path, key), progress=note)
        assert least <= shares[0] <= most, key
        assert not checkpoint.path.exists()
        checkpoint.path.with_suffix(".kept").rename(checkpoint.path)
    checkpoint.path.write_bytes(b"damaged")
    assert len(train(begin(kind, root), *take, Schedule(steps=2), seed=0, checkpoint=checkpoint)) == 2


class Gray:
    """A trainable with one number: the brightness of its picture. At some steps it is spoilt."""

    def __init__(self, size: int, spoilt: tuple[int, ...] = (), step: float = 0.1) -> None:
        self.size, self.spoilt, self.step = size, spoilt, step
        self.seen, self.rates = list[tuple[int, bool]](), list[float]()
        self.brightness, self.steps, self.restored = torch.tensor(0.2), 0, 0
        self.device, self.features, self.rooms, self.generators = torch.device("cpu"), 1, None, ()

    def prepare(self, motion: Motion) -> None:
        pass

    def advance(self) -> int:
        return self.steps + 1

    def rate(self, number: int, progress: float) -> float:
        self.rates.append(progress)
        return 1.0

    def maintain(self, number: int, progress: float) -> None:
        pass

    def draw(self, step: StepInputs) -> tuple[Tensor, Tensor]:
        self.steps += 1
        self.seen.append((int(step.frame), bool(step.noise.any())))
        if self.steps in self.spoilt:
            raise ValueError("splat.means has a value that is not finite")
        self.brightness = self.brightness.detach().requires_grad_()
        return self.brightness.expand(1, 3, self.size, self.size), torch.ones(1, 1, self.size, self.size)

    def update(self, step: StepInputs) -> None:
        assert self.brightness.grad is not None
        self.brightness = self.brightness.detach() - self.step * self.brightness.grad

    def tensors(self) -> dict[str, Tensor]:
        return {"brightness": self.brightness.detach().clone()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.restored += 1
        self.brightness = tensors["brightness"].clone()

    def reduce_memory(self) -> bool:
        return False

    def renderer(self) -> Renderer:
        raise NotImplementedError


def test_steps_that_are_not_finite_are_undone_until_they_are_too_many(actor: Filmed) -> None:
    take = small_take("nerf", actor.take.root)
    gray = Gray(64, spoilt=(3, 4, 7))
    losses = train(gray, *take, Schedule(steps=12, part=(0.0, 0.5)), seed=0)
    assert (len(losses), gray.restored) == (9, 3)
    assert losses[-1] < losses[0]
    with pytest.raises(UserError, match=r"training became unstable.*lower the rates"):
        train(Gray(64, spoilt=(3, 4, 7, 9)), *take, Schedule(steps=12), seed=0)


def test_a_whole_training_ends_with_the_mean_of_its_last_steps(actor: Filmed) -> None:
    take, seen = small_take("nerf", actor.take.root), list[float]()
    gray = Gray(64)
    note = lambda share, loss: seen.append(float(gray.brightness))  # noqa: E731
    train(gray, *take, Schedule(steps=100), seed=0, progress=note)
    assert float(gray.brightness) == pytest.approx((seen[87] + seen[95]) / 2, abs=1e-6)  # every eighth of the last 15


def test_a_training_ends_by_itself_when_validation_frames_gain_nothing_more(
    actor: Filmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, track = small_take("nerf", actor.take.root)
    frames = frames_to_train_on(take, track)
    kept_out = validation_frames(frames)
    assert len(kept_out) == len(set(frames)) // 20 >= 8
    monkeypatch.setattr("avatar.render.validation.CHECK_EVERY", 20)
    drawn, slow = Gray(64), Gray(64, step=0.02)
    lengths = [len(train(gray, take, track, Schedule(until_flat=True), seed=0)) for gray in (drawn, slow)]
    assert lengths[0] < lengths[1]  # what learns slowly is trained longer
    for length in lengths:  # at steady rates until a check, then a third as many steps
        steady = 20 * round(0.75 * length / 20)
        assert length == pytest.approx(steady * 4 / 3, abs=1)
    steady = drawn.rates[: 3 * len(drawn.rates) // 4 - 1]
    assert min(steady) == max(steady) < drawn.rates[-1]
    assert not set(kept_out) & {frame for frame, noise in drawn.seen if noise}

    checkpoint = Checkpoint(tmp_path / "c", "key")
    monkeypatch.setattr("avatar.render.train.CHECKPOINT_SECONDS", 0.0)

    def stop(share: float, loss: float) -> None:
        if share > 0.9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Gray(64), take, track, Schedule(until_flat=True), seed=0, checkpoint=checkpoint, progress=stop)
    left = train(Gray(64), take, track, Schedule(until_flat=True), seed=0, checkpoint=checkpoint)
    assert 0 < len(left) <= 0.11 * lengths[0]


def test_a_clip_too_short_for_validation_frames_is_trained_for_a_fixed_time() -> None:
    assert validation_frames(list(range(150))) == []
    assert len(validation_frames(list(range(5000)))) == 24


def test_a_budget_without_a_step_is_refused_and_snapshots_are_shown(
    actor: Filmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = small_take("nerf", actor.take.root)
    with pytest.raises(UserError, match="the budget of 1e-09 s is too short"):
        train(Gray(64), *take, Schedule(1e-9), seed=0)
    monkeypatch.setattr("avatar.render.train.SNAPSHOT_SECONDS", -1.0)
    shown: list[TrainingSnapshot] = []
    losses = train(Gray(64), *take, Schedule(steps=3), seed=0, watch=shown.append)
    assert [snapshot.loss for snapshot in shown] == losses
    assert shown[0].drawn.shape == shown[0].truth.shape == (3, 64, 64)


def test_frames_come_each_once_an_epoch_and_the_hard_ones_twice(actor: Filmed) -> None:
    take, track = small_take("nerf", actor.take.root)
    miner, epochs = HardExampleMiner(), dict[int, list[int]]()
    for visit in visits(frames_to_train_on(take, track), 0, miner):
        if visit.epoch == 3:
            break
        epochs.setdefault(visit.epoch, []).append(visit.frame)
        miner.record(visit, float(visit.frame))  # the later, the harder
    expected = sorted(take.training_frames() + repeat_blinks(track, take.training_frames()))
    assert sorted(epochs[0]) == sorted(epochs[1]) == expected
    hard = sorted(set(expected))[-int(0.2 * len(set(expected))) :]
    assert sorted(epochs[2]) == sorted(expected + hard)
    assert epochs[0] != epochs[1]


def test_only_frames_of_two_epochs_before_are_known_to_be_hard() -> None:
    miner = HardExampleMiner()
    for frame in range(10):
        miner.record(Visit(frame, 0), abs(frame - 4.5))
    assert miner.hardest(1) == []
    assert set(miner.hardest(2)) == {0, 9}
    assert miner.hardest(2) == []


def test_shut_eyes_are_trained_on_more_often(actor: Filmed) -> None:
    track = read_track(actor.take)
    frames = list(range(len(track)))
    track.eyes[:, :2] = 1
    assert repeat_blinks(track, frames) == []
    track.eyes[40:43, :2] = 0
    more = repeat_blinks(track, frames)
    assert set(more) == {40, 41, 42}
    assert 0.03 < len(more) / len(frames) <= 0.06


def test_so_many_steps_give_the_same_file(actor: Filmed, avatar_file: Path, tmp_path: Path) -> None:
    """As `avatar_file` of conftest.py was built."""
    recipe = Recipe(steps=60, train_size=128, holdout=0.2, renderer={"kind": "gaussian", "splats": 3000})
    build(actor.take.root, tmp_path / "again.avatar", recipe=recipe)
    assert (tmp_path / "again.avatar").read_bytes() == avatar_file.read_bytes()


def test_exposure_is_found_frame_by_frame() -> None:
    true = torch.tensor([[0.9, 1.0, 1.15], [1 / 0.9, 1.0, 1 / 1.15], [1, 1, 1]])
    generator, exposure, one = random(), Exposure(4, torch.device("cpu")), torch.ones(1)

    def compose(frame: int, drawn: Tensor, truth: Tensor) -> ops.Composed:
        picture = torch.cat([(255 * truth.clamp(0, 1)).round(), torch.zeros(1, 16, 16)]).byte()
        flat = torch.ones(1, 16, 16), torch.zeros(3, 16, 16), picture, torch.zeros(3, 2, 16), torch.zeros(3)
        return ops.compose(drawn, *flat, exposure.gains, torch.tensor([frame]))

    for visit in range(30):
        frame = visit % 3
        drawn = 0.1 + 0.7 * torch.rand(3, 16, 16, generator=generator)
        truth = true[frame, :, None, None] * drawn + 0.03 * torch.randn(3, 16, 16, generator=generator)
        exposure.update(torch.tensor([frame]), compose(frame, drawn, truth).sums, one)
    exposure.update(torch.tensor([1]), compose(1, 2 * drawn, truth).sums, 0 * one)
    exposure.update(torch.tensor([1]), torch.nan * compose(1, drawn, truth).sums, one)
    found = torch.stack([compose(frame, drawn, truth).image.mean((1, 2)) / drawn.mean((1, 2)) for frame in range(4)])
    assert (found[:3] / true - 1).abs().max() < 0.04
    assert torch.allclose(found[3], torch.ones(3))


def test_the_running_mean_is_the_mean() -> None:
    values, mean = torch.randn(5, 7, generator=random()), RunningMean()
    for count, value in enumerate(values):
        mean.add({"x": value.clone(), "steps": torch.tensor(count)})
    assert torch.allclose(mean.tensors["x"], values.mean(0), atol=1e-6)
    assert int(mean.tensors["steps"]) == 4


def test_a_schedule_counts_seconds_or_steps() -> None:
    assert Schedule(200.0).share(50.0, 3) == 0.25
    assert Schedule(200.0, steps=10).share(50.0, 3) == 0.3
    half = Schedule(steps=10, part=(0.5, 1.0))
    assert (half.progress(0.5), half.whole, Schedule().whole) == (0.75, False, True)
    assert Schedule().share(1e9, 7) == 0 != math.inf


def test_transparent_splats_become_halves_of_those_with_large_gradients(actor: Filmed) -> None:
    splats = copy_parameters(trained_on("gaussian", actor.take.root).tensors, torch.device("cpu"))
    parts, wanted = ops.split_attributes(splats.base), torch.tensor([7, 1000])
    parts["opacity_logits"].clamp_(-3, 3)[wanted] = -6.0
    second = torch.zeros_like(splats.base)[None]
    ops.split_attributes(second[0])["means"][[20, 30]] = 1.0
    moments = {"base.second": second, "base.first": torch.ones_like(second)}
    sizes = parts["log_scales"][[20, 30]].clone()
    assert relocate(splats, moments) == 2
    assert relocate(splats, moments) == 0
    for taken, split in zip(wanted.tolist(), (20, 30), strict=True):
        other = min((20, 30), key=lambda index: float((parts["means"][taken] - parts["means"][index]).norm()))
        assert torch.equal(parts["colors"][taken], parts["colors"][other])
        assert torch.equal(splats.rigidity[taken], splats.rigidity[other])
        assert (parts["means"][taken] - parts["means"][other]).norm() > 0
        assert float(ops.split_attributes(moments["base.first"][0])["colors"][split].abs().sum()) == 0
    assert torch.allclose(parts["log_scales"][[20, 30]], sizes - 0.35)
