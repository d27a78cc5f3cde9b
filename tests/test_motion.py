"""Speech to motion: streams, silence, determinism, adaptation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.core.articulation import ARTICULATION, Phone, articulate, classify
from avatar.core.bundle import Habits
from avatar.core.motion_space import Motion, concatenate, load_space
from avatar.core.recipe import Controls
from avatar.core.take import read_audio, read_track
from avatar.metrics import correlation
from avatar.motion.adapt import adapt, lip_reader
from avatar.motion.behaviour import Blinker, PoseWalk, project
from avatar.motion.drive import drive
from avatar.motion.encoder import encode, load_encoder
from avatar.motion.features import FEATURES, compute
from preprocess.actor import speech
from tests.conftest import Filmed

LEARNED = 140  # frames of the film that the lips are learned from; the other 60 are new

Adapted = tuple[dict[str, torch.Tensor], Habits]


@pytest.fixture(scope="module")
def adapted(actor: Filmed) -> Adapted:
    take = actor.take
    return adapt(read_audio(take), read_track(take), fps=25, frames=list(range(LEARNED)), seed=0)


def run(adapted: Adapted, pcm: torch.Tensor, *, chunk: int = 16000, seed: int = 0, **controls: float) -> Motion:
    parts = drive(*adapted, pcm.split(chunk), fps=25, controls=Controls(**controls), seed=seed)
    return concatenate(list(parts))


@pytest.mark.parametrize("name", sorted(FEATURES))
@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(1, 5000), min_size=1, max_size=12), length=st.integers(1, 20000))
def test_chunks_of_any_size_give_the_same_frames(name: str, cuts: list[int], length: int) -> None:
    pcm = 0.1 * torch.randn(length, generator=torch.Generator().manual_seed(length))
    whole = compute(pcm, name)
    feature, parts, start = FEATURES[name](), [], 0
    while start < length:
        step = cuts[len(parts) % len(cuts)]
        parts.append(feature.push(pcm[start : start + step]))
        start += step
    parts.append(feature.flush())
    streamed = torch.cat(parts)
    assert whole.shape == (math.ceil(length / 160), feature.width)
    assert torch.allclose(streamed, whole, atol=1e-4)
    assert torch.isfinite(compute(torch.zeros(length), name)).all()


def test_pitch_of_a_tone_is_heard() -> None:
    time = torch.arange(16000) / 16000
    tone = sum(torch.sin(2 * math.pi * 200 * k * time) / k for k in range(1, 8)) * 0.1
    features = compute(tone)[10:-10]
    assert (features[:, -1].exp() * 160.0 * 1 - 16000 / (16000 / 200) * 1).abs().median() < 210 * 0.35
    assert features[:, -2].median() > 0.8


def test_bilabials_close_and_open_vowels_open() -> None:
    phones = [Phone("pau", 0, 0.2), Phone("aa", 0.2, 0.4), Phone("m", 0.4, 0.5), Phone("uw", 0.5, 0.7)]
    curve = articulate(phones, fps=100, seconds=0.7)
    assert curve.shape == (70, len(ARTICULATION))
    assert curve[30, 0] > 0.7
    assert curve[45, 0] < 0.15
    assert curve[45, 4] > 0.7
    assert curve[62, 2] > 0.7
    assert classify(phones, fps=100, seconds=0.7)[[10, 30, 45, 60]].tolist() == [0, 1, 4, 3]


def test_the_encoder_hears_the_actors_phones() -> None:
    # the recording is one of the training voices; its text has words that no training sentence has
    pcm, phones = speech(12.0)
    with torch.no_grad():
        heard = encode(load_encoder(), compute(pcm))[:, -5:]
    truth = articulate(phones, fps=25, seconds=12.0)
    for column in (0, 1):
        assert correlation(heard[: len(truth), column], truth[: len(heard), column]) > 0.8


def test_frames_match_the_sound_and_chunks_do_not_show(adapted: Adapted) -> None:
    pcm, _ = speech(7.3)
    whole, chopped = run(adapted, pcm, chunk=len(pcm)), run(adapted, pcm, chunk=777)
    assert len(whole) == len(chopped) == round(7.3 * 25)
    assert torch.allclose(whole.expression, chopped.expression, atol=1e-3)
    assert len(run(adapted, pcm[:3200])) == 5
    assert torch.equal(whole.rotation, run(adapted, pcm).rotation)
    assert not torch.equal(whole.rotation, run(adapted, pcm, seed=1).rotation)


def test_adapted_lips_follow_the_actor(adapted: Adapted, actor: Filmed) -> None:
    track, take = read_track(actor.take), actor.take
    motion = run(adapted, read_audio(take))
    reader = lip_reader_of_test()
    driven, seen = motion.expression[LEARNED:] @ reader, track.expression[LEARNED:] @ reader
    energy = read_audio(take)[: take.length * 640].reshape(-1, 640).square().mean(1)[LEARNED:].log1p()
    for column in (0, 1):
        followed = correlation(driven[:, column], seen[:, column])
        # from less than six seconds of film; that loudness alone does not do as well is what counts
        assert followed > max(0.35, abs(correlation(energy, seen[:, column]))), (column, followed)


def lip_reader_of_test() -> torch.Tensor:
    return lip_reader(load_space())


def test_silence_rests_and_controls_work(adapted: Adapted) -> None:
    silence = torch.zeros(16000 * 8)
    still = run(adapted, silence, head=0.0, blink=0.0)
    assert still.eyes[:, :2].min() == 1
    assert (still.rotation - still.rotation[0]).abs().max() < 1e-4
    opening = still.expression @ lip_reader_of_test()[:, 0]
    assert opening[25:-25].std() < 0.05
    assert run(adapted, silence, blink=5.0).eyes[:, 0].min() < 0.5


def make_habits(frames: int = 200, rate: float = 0.4) -> Habits:
    time = torch.linspace(0, 20, frames)
    turn = torch.stack([torch.sin(time), torch.cos(0.7 * time), 0.2 * torch.sin(2 * time)], 1) * 0.05
    own = Motion(
        torch.randn(frames, 4),
        torch.ones(frames, 4),
        torch.matrix_exp(skew(turn)),
        turn * 10,
        torch.zeros(frames, 4),
        25.0,
    )
    return Habits(torch.zeros(4), torch.ones(4), rate, 0.2, 0.0, own)


def skew(v: torch.Tensor) -> torch.Tensor:
    x, y, z = v.unbind(1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], 1).reshape(-1, 3, 3)


def test_the_head_walks_on_without_a_jump() -> None:
    habits = make_habits()
    walk = PoseWalk(habits, 1.0, torch.Generator().manual_seed(0))
    pose = walk.take(3000)
    steps = pose.translation.diff(dim=0).abs().max()
    assert steps < 3 * habits.own.translation.diff(dim=0).abs().max()
    assert pose.translation.abs().max() < 2 * habits.own.translation.abs().max()
    # no loop: two stretches a clip length apart differ
    assert (pose.translation[200:400] - pose.translation[:200]).abs().mean() > 0.02


def test_blinks_come_at_the_persons_rate_whatever_the_chunks() -> None:
    habits = make_habits()
    shut = torch.cat([Blinker(habits, 1.0, 25, g).take(25 * 600) for g in [torch.Generator().manual_seed(0)]])
    blinks = int(((shut[1:] > 0.5) & (shut[:-1] <= 0.5)).sum())
    assert 150 < blinks < 300
    blinker = Blinker(habits, 1.0, 25, torch.Generator().manual_seed(0))
    pieces = torch.cat([blinker.take(7) for _ in range(300)])
    assert torch.equal(pieces, shut[:2100])
    assert Blinker(habits, 0.0, 25, torch.Generator()).take(5000).max() == 0


def test_projection_pulls_towards_own_motion() -> None:
    own = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    wild = torch.full((5, 4), 6.0)
    assert torch.equal(project(wild, own, 0.0), wild)
    distance = [torch.cdist(project(wild, own, s), own).min(1).values.mean() for s in (0.0, 0.5, 1.0)]
    assert distance[0] > distance[1] > distance[2]
