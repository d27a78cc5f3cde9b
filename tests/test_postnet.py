"""The post-net: motion comes nearer to the person, lips still follow speech, streams are equal to the whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar.core.articulation import LIP_LEAD
from avatar.core.avatar_file import load_avatar, save_avatar
from avatar.core.controls import Controls
from avatar.core.lips import read_lips
from avatar.core.motion_space import Motion, concatenate, load_space
from avatar.core.recipe import Recipe
from avatar.core.speech_model import PostNet, decoder_tensors, to_tensors
from avatar.core.take import read_audio, read_track
from avatar.learn import postnet
from avatar.learn.adapt import adapt
from avatar.learn.postnet import initial_postnet, train_postnet
from avatar.metrics import correlation
from avatar.motion.behaviour import resting
from avatar.motion.driver import Driver, drive
from avatar.motion.encoder import REACH, load_encoder
from avatar.motion.features import LogMel, compute
from avatar.motion.postnet import CURVE_SOURCES, move, standardize
from avatar.motion.regression_inputs import lip_articulation, regression_inputs, spliced_articulation
from avatar.motion.speech_to_motion import open_speech_model
from avatar.motion.style import restyle
from avatar.pipelines.build import build
from avatar.play.player import Player
from preprocess.actor import speech
from tests.conftest import Adapted, Filmed

FRAMES = 2 * REACH + 1


@pytest.fixture(scope="module")
def adversarial(actor: Filmed) -> Adapted:
    """The actor's speech model with a post-net."""
    audio, track = read_audio(actor.take), read_track(actor.take)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postnet, "STEPS", 120)
        return adapt(audio, track, frames=list(range(140)), seed=0, calibration="adversarial")


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Squared differences of means and covariances."""
    means, spreads = one.mean(0) - other.mean(0), torch.cov(one.T) - torch.cov(other.T)
    return float(means.square().sum() + spreads.square().sum())


def person(frames: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth random articulation [T, F, 5], and expressions [T, K] of somebody who speaks other words meanwhile."""
    space, random = load_space(), torch.Generator().manual_seed(seed)

    def swing(width: int) -> torch.Tensor:
        steps = torch.randn(frames + 8, width, generator=random).cumsum(0)
        return (steps[8:] - steps[:-8]) / 3

    curves = swing(4) @ (torch.eye(4) + 0.3 * torch.randn(4, 4, generator=random))
    slopes = torch.randn(4, space.modes, generator=random)
    articulation = swing(5).unfold(0, FRAMES, 1).mT
    return articulation, 1 + 0.5 * curves @ slopes


def test_motion_comes_nearer_to_the_person_and_lips_still_follow_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postnet, "STEPS", 200)
    articulation, expression = person(600, 0)
    reading = read_lips(load_space().basis)
    start = initial_postnet(articulation, expression, reading, torch.Generator().manual_seed(0))
    net = train_postnet([articulation], expression, reading, seed=0)
    inputs, spread = standardize(net, articulation), expression.std(0)
    before, after = move(start, inputs), move(net, inputs)
    assert distance(after / spread, expression / spread) < 0.5 * distance(before / spread, expression / spread)
    for curve in range(3):
        assert correlation((after @ reading)[:, curve], inputs[:, REACH + LIP_LEAD, CURVE_SOURCES[curve]]) > 0.8


def test_the_same_seed_gives_the_same_post_net(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postnet, "STEPS", 10)
    articulation, expression = person(200, 1)
    reading = read_lips(load_space().basis)
    first, again, other = (
        decoder_tensors(train_postnet([articulation], expression, reading, seed=seed)) for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["second"], other["second"])


def test_articulation_is_found_in_regression_inputs() -> None:
    features = torch.randn(60, LogMel.width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        inputs = regression_inputs(load_encoder(), features)
    spliced = spliced_articulation(inputs)
    assert torch.equal(spliced[:, REACH + LIP_LEAD], lip_articulation(inputs))
    assert torch.equal(spliced[4, 0], spliced[4 - REACH, REACH])


def run(adapted: Adapted, pcm: torch.Tensor, chunk: int) -> Motion:
    model, style = adapted
    driver = Driver(open_speech_model(model), style, fps=25, controls=Controls())
    return concatenate(list(drive(driver, pcm.split(chunk))))


def test_a_stream_is_the_same_as_the_whole(adversarial: Adapted) -> None:
    pcm, _ = speech(5.1)
    whole = run(adversarial, pcm, len(pcm))
    assert len(whole) == round(5.1 * 25)
    assert torch.isfinite(whole.expression).all()
    for chunk in (640, 777, 16000):
        assert torch.allclose(run(adversarial, pcm, chunk).expression, whole.expression, atol=1e-3)


def test_motion_has_the_actors_mean_and_range(adversarial: Adapted, actor: Filmed) -> None:
    model, style = adversarial
    reading, features = read_lips(load_space().basis), compute(read_audio(actor.take))
    with torch.no_grad():
        articulation = lip_articulation(regression_inputs(load_encoder(), features))
    predicted, own = open_speech_model(model)(features).expression, style.own.expression
    assert style.amplitude_gain == 1
    assert (predicted.mean(0) - own.mean(0)).abs().mean() < 0.5 * own.std(0).mean()
    ratio = (predicted @ reading)[:, 0].std() / (own @ reading)[:, 0].std()
    assert 0.5 < ratio < 1.5
    assert correlation((predicted @ reading)[:, 0], articulation[:, 0]) > 0.7


def test_a_recipe_asks_for_it_and_the_file_keeps_it(
    actor: Filmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postnet, "STEPS", 20)
    out = tmp_path / "a.avatar"
    splats = {"kind": "gaussian", "splats": 500}
    recipe = Recipe(steps=2, train_size=64, renderer=splats, motion={"calibration": "adversarial"})
    made, again = build(actor.take.root, out, recipe=recipe), load_avatar(out)
    assert again.speech.calibration == "adversarial"
    plain = {name for name in to_tensors(again.speech) if name.startswith("decoder.")}
    expected = ("input_mean", "input_std", "lips", "first", "bias", "second", "offset")
    assert plain == {f"decoder.{name}" for name in expected}
    pcm, _ = speech(1.0)
    motions = [concatenate(list(Player(avatar).motion([pcm]))).expression for avatar in (made, again)]
    assert torch.equal(*motions)
    save_avatar(replace(again, recipe="motion: {calibration: regression}"), out)
    assert load_avatar(out).speech.calibration == "adversarial", "the file's tensors count, not its recipe"


def test_another_manner_takes_the_place_of_a_regression(adapted: Adapted, adversarial: Adapted) -> None:
    """Someone who moves twice as far, about another face, gives the manner of moving, and not the face."""
    model, style = adversarial
    net, own, mean = model.decoder, style.own.expression, style.own.expression.mean(0)
    assert isinstance(net, PostNet)
    face = torch.linspace(-5, 5, len(mean))
    twice = replace(net, lips=2 * net.lips, second=2 * net.second, offset=net.offset + face)
    theirs = replace(style, own=replace(style.own, expression=mean + 2 * (own - mean) + face))
    moved, moved_style = restyle(*adapted, replace(model, decoder=twice, mean=model.mean + face), theirs)
    assert moved.calibration == "adversarial"
    features = compute(speech(3.0)[0])
    plain, new = (open_speech_model(each)(features).expression for each in (model, moved))
    assert torch.allclose(new - new.mean(0), 2 * (plain - plain.mean(0)), atol=1e-3)
    reading = adapted[0].lip_reading
    closed, expected = (resting(each.own.expression, reading) for each in (moved_style, adapted[1]))
    assert torch.allclose(closed, expected, atol=1e-3)
    assert (new.mean(0) - plain.mean(0)).abs().mean() < 0.2 * face.abs().mean()


def test_sound_too_short_for_a_window_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postnet, "STEPS", 3)
    articulation, expression = person(80, 2)
    reading = read_lips(load_space().basis)
    nets = [
        decoder_tensors(train_postnet(parts, expression, reading, seed=0))
        for parts in ([articulation, articulation[:3]], [articulation])
    ]
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])
