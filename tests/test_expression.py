"""Emotions on the face: in the right direction, eased, within the person's range, and lips go before them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avatar.core.acting import Act
from avatar.core.avatar_file import Avatar
from avatar.core.blendshapes import DISTANCES, arkit_curves, distance_readings
from avatar.core.controls import Controls
from avatar.core.emotion import EMOTIONS, Emotion, parse_emotion
from avatar.core.files import UserError
from avatar.core.lips import read_lips
from avatar.core.media import write_wav
from avatar.core.motion_space import Motion, concatenate, load_space
from avatar.core.recipe import parse
from avatar.core.speech_file import SpeechFile
from avatar.motion.arousal import Arousal
from avatar.motion.driver import drive
from avatar.motion.expression import MIXTURES, Face, mixture_direction, natural_shapes, to_range, weigh
from avatar.pipelines.speak import speak
from avatar.play.player import Player
from avatar.voice.script import read_script
from avatar.voice.sentiment import with_sentiment
from preprocess.actor import speech

SPACE = load_space()
READING = read_lips(SPACE.basis)
SAID = {
    "happy": ("mouthSmileLeft", "mouthSmileRight"),
    "sad": ("mouthFrownLeft", "mouthFrownRight"),
    "angry": ("browDownLeft", "browDownRight"),
    "fear": ("browInnerUp",),
    "surprised": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight", "jawOpen"),
    "disgusted": ("browDownLeft", "mouthUpperUpLeft", "mouthUpperUpRight"),
    "contempt": ("mouthSmileLeft",),
}
"""What each emotion must raise, of what landmarks measure."""


def shown(expression: torch.Tensor) -> dict[str, float]:
    count = len(expression)
    still = torch.eye(3).expand(count, 3, 3)
    motion = Motion(expression, torch.tensor([[1.0, 1, 0, 0]]).expand(count, 4), still, torch.zeros(count, 3),
                    torch.zeros(count, 4), 25.0)  # fmt: skip
    return {name: float(curve.mean()) for name, curve in arkit_curves(motion, SPACE).items()}


@pytest.mark.parametrize("name", EMOTIONS)
def test_directions_show_what_they_are_made_of(name: str) -> None:
    direction = mixture_direction(weigh(MIXTURES[name]), SPACE)
    curves = shown(direction[None])
    assert all(curves[one] > 0.1 for one in SAID[name]), curves
    assert direction[:2].abs().max() < 0.05, "lids are not part of it"
    if name == "contempt":
        assert curves["mouthSmileLeft"] > 2 * curves["mouthSmileRight"]


def test_single_shapes_move_what_they_are_named_by() -> None:
    for name in ("mouthSmileRight", "browDownLeft", "jawOpen", "mouthLowerDownLeft", "mouthUpperUpRight"):
        curves = shown(mixture_direction({name: 1.0}, SPACE)[None])
        assert curves[name] > 0.45, (name, curves)
    assert shown(natural_shapes()["mouthSmileLeft"][None])["mouthSmileLeft"] > 0.5, "smiles go up"
    assert shown(natural_shapes()["jawOpen"][None])["mouthLowerDownLeft"] > 0.5, "lower lips go down"


def test_what_a_person_was_seen_doing_counts_for_more() -> None:
    generator = torch.Generator().manual_seed(0)
    own = 0.05 * torch.randn(300, SPACE.modes, generator=generator)
    own[:, 5] = torch.randn(300, generator=generator)
    direction = torch.zeros(SPACE.modes)
    direction[5] = direction[9] = 1.0
    scaled = to_range(direction, own)
    assert scaled[5] > 1.3 * scaled[9] > 0.7
    assert to_range(100 * direction, own).norm() < 8, "no farther than people go"


@pytest.fixture(scope="module")
def said() -> torch.Tensor:
    return speech(6.0)[0]


def spoken(avatar: Avatar, sound: torch.Tensor, **controls: object) -> Motion:
    plain = {"blink": 0.0, "temperature": 0.0, "head": 0.0, "gaze": 0.0}
    player = Player(avatar, controls=parse(Controls, plain | controls, "test"))
    return concatenate(list(drive(player.driver(), [sound])))


@pytest.mark.parametrize("name", EMOTIONS)
def test_lips_go_before_emotions(name: str, avatar: Avatar, said: torch.Tensor) -> None:
    neutral, felt = (spoken(avatar, said, emotion=text) for text in ("neutral", f"{name}:0.8"))
    late = slice(25, None)  # after the onset
    plain, moved = ((motion.expression @ READING)[late] for motion in (neutral, felt))
    assert torch.corrcoef(torch.stack([plain[:, 0], moved[:, 0]]))[0, 1] > 0.97
    own = avatar.style.own.expression @ READING[:, 0]
    shut = own.quantile(0.01) + 0.15 * (own.quantile(0.99) - own.quantile(0.01))
    closed = plain[:, 0] < shut
    assert closed.any()
    assert (moved[closed, 0] < shut).float().mean() > 0.9, "what closed still closes"
    raised = (felt.expression - neutral.expression)[late].mean(0) @ distance_readings(SPACE).T
    assert sum(float(raised[list(DISTANCES).index(one)]) for one in SAID[name]) > 0.1


def test_emotions_come_and_go_smoothly(avatar: Avatar) -> None:
    silence = torch.zeros(8 * 16_000)
    curve = {0: "neutral", 2: "surprised:0.8", 5: "neutral"}
    moved = spoken(avatar, silence, emotion=curve).expression - spoken(avatar, silence).expression
    size = moved.norm(dim=1)
    assert size[:49].max() < 1e-4
    assert size[75:120].min() > 0.5 * size.max(), "there after a second"
    assert size[175:].max() < 0.1 * size.max(), "gone two seconds later"
    assert moved.diff(dim=0).norm(dim=1).max() < 0.2 * size.max(), "no jump"
    assert size[75:120].std() > 0, "no mask"


def test_acts_of_a_live_person(avatar: Avatar) -> None:
    driver = Player(avatar, controls=Controls(blink=0.0, gaze=0.0, head=0.0)).driver()
    before = driver.idle(10)
    driver.act(Act(0.0, 0.0, Emotion("happy", 1.0), "left"))
    after = driver.idle(30)
    assert after.eyes[-1, 2] < before.eyes[-1, 2] - 0.4
    face = torch.tensor([0.0, 0.0, -1.0])
    assert (after.rotation[-1] @ face)[0] < (before.rotation[-1] @ face)[0] - 0.03, "the head follows the eyes"
    assert shown(after.expression[-1:])["mouthSmileLeft"] > shown(before.expression[-1:])["mouthSmileLeft"] + 0.1
    driver.act(Act(0.0, 0.0, Emotion(), "ahead"))
    calm = driver.idle(75)
    assert abs(float(calm.eyes[-1, 2] - before.eyes[-1, 2])) < 0.05
    driver.act(Act(0.2, 0.5, emphasised=True))
    beat = driver.idle(20)
    assert (beat.rotation[8] @ face)[1] > (beat.rotation[-1] @ face)[1] + 0.02, "a nod"


def test_pieces_of_any_size_give_the_same_face(avatar: Avatar) -> None:
    sound = torch.zeros(2 * 16_000)
    made = []
    for size in (640, 16_000):
        driver = Player(avatar, controls=Controls(emotion={0.5: "fear:0.9"})).driver()
        driver.follow((), [Act(0.8, 1.2, look="up", emphasised=True)])
        made.append(concatenate(list(drive(driver, sound.split(size)))))
    for name in ("expression", "eyes", "rotation"):
        assert torch.allclose(getattr(made[0], name), getattr(made[1], name), atol=1e-5)


def test_emotions_that_are_none() -> None:
    assert parse_emotion("Happy") == Emotion("happy", 0.6)
    for text, message in (("hapy", "did you mean happy"), ("sad:2", "from 0 to 1"), ("sad:", "from 0 to 1")):
        with pytest.raises(UserError, match=message):
            parse_emotion(text)
        with pytest.raises(UserError, match=message):
            parse(Controls, {"emotion": {0: text}}, "controls")
    face = Face(torch.randn(60, SPACE.modes), SPACE, seed=0)
    nothing = face.take(torch.arange(5) / 25, [Emotion()] * 5, torch.zeros(5), 25.0)
    assert not nothing.expression.any()
    assert face.take(torch.zeros(0), [], torch.zeros(0), 25.0).turn.shape == (0, 3)


def test_emotions_of_the_voice() -> None:
    generator = torch.Generator().manual_seed(0)
    own = 0.6 + 0.1 * torch.rand(400, 10, generator=generator)  # voicing in every second column
    own[:, 0::2] = torch.randn(400, 5, generator=generator) * 0.5
    arousal = Arousal(own, 25.0)
    usual, loud, faint, silent = (own[:100], own[:100].clone(), own[:100].clone(), own[:100] * 0)
    loud[:, 0::2] += 2
    faint[:, 0::2] -= 2
    assert {emotion.name for emotion in arousal.take(usual)} == {"neutral"}
    assert arousal.take(loud)[-1].name == "surprised"
    assert arousal.take(silent)[-1].strength == 0
    assert arousal.take(faint)[-1].name == "sad"
    assert all(0 <= emotion.strength <= 0.5 for emotion in arousal.take(loud * 100))


def test_auto_follows_the_voice(avatar: Avatar, said: torch.Tensor) -> None:
    loud = torch.cat([0.1 * said, 3 * said])
    neutral, auto = (spoken(avatar, loud, emotion=text).expression for text in ("neutral", "auto"))
    assert (neutral - auto).abs().max() > 0.05
    held = spoken(avatar, loud, emotion={0: "auto", 2: "neutral"}).expression
    assert torch.allclose(held[150:], neutral[150:], atol=0.01)


def test_emotions_of_english_text() -> None:
    pytest.importorskip("vaderSentiment")
    text = "What a wonderful, lovely day! It is a table. I hate this terrible thing! She died sad. [fear:0.4] Good."
    found = [passage.parts[0].emotion for passage in with_sentiment(read_script(text))]
    assert [emotion and emotion.name for emotion in found] == ["happy", "neutral", "angry", "sad", "fear"]


def test_somebody_who_attends_to_a_speech(avatar: Avatar, said: torch.Tensor, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", said)
    assert speak(avatar, SpeechFile(tmp_path / "a.wav", listening=True), tmp_path / "a.mp4") == 150
    driver = Player(avatar, controls=Controls(blink=0.0, head=0.0, temperature=0.0)).driver()
    driver.attend(True)
    motion = driver.idle(400)
    opening = motion.expression @ READING[:, 0]
    assert float(opening.max() - opening.min()) < 0.05, "lips are at rest"
    face = motion.rotation @ torch.tensor([0.0, 0.0, -1.0])
    assert float(face[:, 1].max() - face[:, 1].median()) > 0.02, "nods"
