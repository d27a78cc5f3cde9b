"""The post-net: generic motion comes nearer to the person, lips still say the same, and streams do not show it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar.core.avatar_file import SpeakingStyle, load_avatar, save_avatar
from avatar.core.controls import Controls
from avatar.core.lips import read_lips
from avatar.core.motion_space import Motion, concatenate, load_space
from avatar.core.recipe import Recipe
from avatar.core.take import read_audio, read_track
from avatar.learn import postnet
from avatar.learn.adapt import adapt
from avatar.learn.postnet import SAID_BY, begin_postnet, train_postnet
from avatar.metrics import correlation
from avatar.motion.driver import Driver, drive
from avatar.motion.encoder import REACH, load_encoder
from avatar.motion.features import LogMel, compute
from avatar.motion.regression import SpeechToMotion, load_speech_to_motion
from avatar.motion.regression_inputs import centre_articulation, regression_inputs, spliced_articulation
from avatar.motion.style import restyle
from avatar.pipelines.build import build
from avatar.pipelines.driver import own_motion, start_driver
from preprocess.actor import speech
from tests.conftest import Filmed

Adapted = tuple[dict[str, torch.Tensor], SpeakingStyle]
FRAMES = 2 * REACH + 1


def adapt_to(actor: Filmed) -> Adapted:
    take = actor.take
    audio, track = read_audio(take), read_track(take)
    return adapt(audio, track, fps=25, frames=list(range(140)), seed=0, calibration="adversarial")


@pytest.fixture(scope="module")
def adapted(actor: Filmed) -> Adapted:
    return adapt_to(actor)


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """How far means and covariances are from one another."""
    means, spreads = one.mean(0) - other.mean(0), torch.cov(one.T) - torch.cov(other.T)
    return float(means.square().sum() + spreads.square().sum())


def person(frames: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Articulation [T, F, 5] that swings, and expressions [T, K] of somebody who says something else meanwhile."""
    space, random = load_space(), torch.Generator().manual_seed(seed)

    def swing(width: int) -> torch.Tensor:
        steps = torch.randn(frames + 8, width, generator=random).cumsum(0)
        return (steps[8:] - steps[:-8]) / 3

    curves = swing(4) @ (torch.eye(4) + 0.3 * torch.randn(4, 4, generator=random))
    way = torch.randn(4, space.modes, generator=random)
    articulation = swing(5).unfold(0, FRAMES, 1).mT
    return articulation, 1 + 0.5 * curves @ way


def test_what_is_said_comes_nearer_to_the_person_and_lips_still_say_it() -> None:
    heard, seen = person(600, 0)
    reading = read_lips(load_space().basis)
    start = begin_postnet(heard, seen, reading, torch.Generator().manual_seed(0))
    net = train_postnet([heard], seen, reading, seed=0)
    told, spread = (heard - net.usual) / net.spread, seen.std(0)
    before, after = start.move(told), net.move(told)
    assert apart(after / spread, seen / spread) < 0.5 * apart(before / spread, seen / spread)
    for curve in range(3):
        assert correlation((after @ reading)[:, curve], told[:, REACH, SAID_BY[curve]]) > 0.8


def test_the_same_seed_gives_the_same_post_net() -> None:
    heard, seen = person(200, 1)
    reading = read_lips(load_space().basis)
    first, again, other = (train_postnet([heard], seen, reading, seed=seed).tensors() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["second"], other["second"])


def test_articulation_is_found_in_what_was_gathered() -> None:
    features = torch.randn(60, LogMel.width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        inputs = regression_inputs(load_encoder(), features)
    about = spliced_articulation(inputs)
    assert torch.equal(about[:, REACH], centre_articulation(inputs))
    assert torch.equal(about[4, 0], about[4 - REACH, REACH])


def run(adapted: Adapted, pcm: torch.Tensor, chunk: int) -> Motion:
    return concatenate(list(drive(Driver(*adapted, fps=25, controls=Controls()), pcm.split(chunk))))


def test_a_stream_is_the_same_as_the_whole(adapted: Adapted) -> None:
    pcm, _ = speech(5.1)
    whole = run(adapted, pcm, len(pcm))
    assert len(whole) == round(5.1 * 25)
    for chunk in (640, 777, 16000):
        assert torch.allclose(run(adapted, pcm, chunk).expression, whole.expression, atol=1e-3)
    said = load_speech_to_motion(adapted[0])(compute(pcm)).expression
    assert torch.isfinite(said).all()
    assert adapted[1].amplitude_gain == 1


def test_the_actor_says_it_with_their_own_face(adapted: Adapted, actor: Filmed) -> None:
    reading, features = read_lips(load_space().basis), compute(read_audio(actor.take))
    with torch.no_grad():
        heard = centre_articulation(regression_inputs(load_encoder(), features))
    said = load_speech_to_motion(adapted[0])(features).expression
    own = adapted[1].own.expression
    assert (said.mean(0) - own.mean(0)).abs().mean() < 0.5 * own.std(0).mean()
    ratio = (said @ reading)[:, 0].std() / (own @ reading)[:, 0].std()
    assert 0.5 < ratio < 1.5
    assert correlation((said @ reading)[:, 0], heard[:, 0]) > 0.7


def test_it_is_kept_in_the_file_and_spoken_with_as_any(actor: Filmed, tmp_path: Path) -> None:
    out = tmp_path / "a.avatar"
    recipe = Recipe(
        steps=2, train_size=64, renderer={"kind": "nerf", "levels": 4}, motion={"calibration": "adversarial"}
    )
    made = build(actor.take.root, out, recipe=recipe)
    again = load_avatar(out)
    assert own_motion(again).calibration == "adversarial"
    pcm, _ = speech(1.0)
    motions = []
    for avatar in (made, again):
        driver = start_driver(avatar, Controls())
        motions.append(concatenate([driver.push(pcm), driver.finish()]).expression)
    assert torch.equal(*motions)
    plain = {name for name in again.speech if name.startswith("decoder.")}
    assert plain == {f"decoder.{name}" for name in ("usual", "spread", "lips", "first", "bias", "second", "offset")}
    save_avatar(replace(again, recipe="motion: {calibration: adversarial}"), out)
    assert own_motion(load_avatar(out)).calibration == "adversarial"


def test_another_manner_takes_its_place(adapted: Adapted) -> None:
    speech_model, _ = restyle(*adapted, *adapted)
    assert isinstance(load_speech_to_motion(speech_model), SpeechToMotion)
    assert torch.allclose(speech_model["decoder.offset"], adapted[0]["decoder.offset"], atol=1e-5)


def test_sound_too_short_for_a_window_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postnet, "STEPS", 3)
    heard, seen = person(80, 2)
    net = train_postnet([heard, heard[:3]], seen, read_lips(load_space().basis), seed=0)
    assert all(torch.isfinite(tensor).all() for tensor in net.tensors().values())
