"""Pipelines that only note what they are called with, and where the options of a verb must arrive in that."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin

import pytest
from typer.testing import CliRunner

import avatar.pipelines.demo
import avatar.pipelines.export
import avatar.pipelines.pretrain_renderer
import avatar.pipelines.signing
from avatar.cli import app
from avatar.core.consent import parse_text
from avatar.core.controls import Controls
from avatar.core.recipe import Recipe, to_yaml
from avatar.metrics import Score
from avatar.pipelines.dub import Dubbed
from avatar.pipelines.evaluate import Evaluation
from avatar.pipelines.option_table import Option
from avatar.pipelines.options import Verb
from avatar.pipelines.present import Presented, Presenting
from avatar.presenter.brand import read_brand
from avatar.scene.scene import Scene


def invoke(*arguments: object) -> str:
    """What a command prints; it must succeed."""
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


LOADED = (avatar.pipelines.demo, avatar.pipelines.export, avatar.pipelines.pretrain_renderer, avatar.pipelines.signing)
"""Before anything is patched: what they import first would stay patched in them."""


@dataclass
class Calls:
    """What a pipeline was called with."""

    made: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> dict[str, Any]:
        return self.made[-1]


def record(
    patch: pytest.MonkeyPatch,
    place: str,
    answer: Callable[[dict[str, Any]], Any] | None = None,
    *,
    progress: bool = True,
) -> Calls:
    """Put a function in the place of another, with its signature, that notes its arguments by name.

    progress: whether a callback must be among them, where the function takes one.
    """
    module, _, name = place.rpartition(".")
    home, calls = importlib.import_module(module), Calls()
    signature = inspect.signature(getattr(home, name))

    def noted(*arguments: Any, **named: Any) -> Any:
        bound = signature.bind(*arguments, **named)
        assert ("progress" in bound.arguments) == (progress and "progress" in signature.parameters), place
        calls.made.append(dict(bound.arguments))
        return answer(calls.last) if answer else None

    patch.setattr(home, name, noted)
    return calls


TAKE = SimpleNamespace(length=9, fps=25.0, test=range(2), training_frames=lambda: range(7), quality={})
OWN = {"seed": 5, "head": 0.5}  # controls of the avatar's own recipe


def stub_avatar(place: Path | str) -> Any:
    return SimpleNamespace(place=str(place), recipe=to_yaml(Recipe(controls=OWN)), fps=25.0, asked={})


def ask(avatar: Any, name: str, *, use: str | None, revoked: frozenset[str]) -> None:
    """In the place of `check_permission`: the avatar's stub notes what is asked."""
    avatar.asked |= {"use": use, "revoked": Path(*revoked) if revoked else None}


@contextmanager
def ask_to_sign(options: Any, avatar: Any, out: Path) -> Iterator[Path]:
    """In the place of `signed_output`: the avatar's stub notes what is asked."""
    avatar.asked |= {name: getattr(options, name) for name in ("tsa", "unsigned")}
    files = ("sign", "sign_key", "sign_command")
    avatar.asked |= {name: (place := getattr(options, name)) and Path(place) for name in files}
    yield out


def evaluation(_: dict[str, Any]) -> Any:
    return Evaluation([Score("own torso", "face", "PSNR", 31.5, "dB")], range(60), "held out")


def record_pipelines(patch: pytest.MonkeyPatch) -> dict[Verb, Calls]:
    """Record the pipeline of each verb. Avatars and Takes are stubs that know where they were read from."""
    patch.setattr("avatar.core.avatar_file.load_avatar", stub_avatar)
    patch.setattr("avatar.core.consent.check_permission", ask)
    patch.setattr("avatar.core.consent.read_revoked", lambda place: frozenset([str(place)]))
    patch.setattr("avatar.pipelines.signing.signed_output", ask_to_sign)
    for name in ("film_of_speech", "film_of_take", "film_of_dub", "film_of_text", "film_of_deck"):
        patch.setattr(f"avatar.pipelines.signing.{name}", lambda avatar, *_: avatar)
    patch.setattr("avatar.pipelines.speech_film.film_rate", lambda *_: 25.0)
    patch.setattr("avatar.core.take.open_take", lambda place: SimpleNamespace(place=str(place), fps=25.0))
    patch.setattr("preprocess.checks.assess_quality", lambda quality: "verdict")
    answers: dict[Verb, tuple[str, Callable[[dict[str, Any]], Any]]] = {
        "preprocess": ("avatar.pipelines.takes.make_take", lambda _: TAKE),
        "build": ("avatar.pipelines.build.build", lambda call: call["out"].write_text("avatar")),
        "speak": ("avatar.pipelines.speak.speak", lambda _: 1),
        "render": ("avatar.pipelines.speak.reenact", lambda _: 1),
        "motion": ("avatar.pipelines.export.export_motion", lambda _: 1),
        "evaluate": ("avatar.pipelines.evaluate.evaluate", evaluation),
        "dub": ("avatar.pipelines.dub.dub", lambda _: Dubbed(1, 0, 25.0)),
        "say": ("avatar.pipelines.say.say", lambda _: 1),
        "present": ("avatar.pipelines.present.present", lambda _: Presented(1, 1, 25.0, 1, ())),
    }
    return {verb: record(patch, place, answer) for verb, (place, answer) in answers.items()}


ASKED = ("use", "revoked", "sign", "sign_key", "sign_command", "tsa", "unsigned")
"""Options that the avatar's stub notes."""


def arrived_of_deck(asked: Presenting, name: str) -> Any:
    """Where an option of `present` is in what it is called with."""
    if name in ("script", "sounds", "recording", "times", "fonts"):
        return getattr(asked.sources, name)
    if name in ("speed", "captions", "caption_font"):
        return getattr(asked.saying, {"caption_font": "font"}.get(name, name))
    if name == "language" or name.startswith("voice"):
        return getattr(asked.saying.voice, name.removeprefix("voice_"))
    if name in ("codec", "quality"):
        return getattr(asked.coding, name)
    if name in ("label", "label_seconds", "producer"):
        return getattr(asked.label, {"label": "kind", "label_seconds": "seconds"}.get(name, name)) or None
    return read_brand(asked.brand).settings.colour if name == "brand" and asked.brand else getattr(asked, name)


def arrived(verb: Verb, call: dict[str, Any], name: str) -> Any:
    """Where an option of a verb is in the arguments of its pipeline."""
    if name in Controls.model_fields:
        if verb in ("speak", "motion", "say", "present"):
            return getattr(call["controls"], name)
        return getattr(call["recipe"], name)  # the seed of a build
    if verb == "present" and name not in ("avatar", "controls", "device", "force", "output", "deck", *ASKED):
        return arrived_of_deck(call["presenting"], name)
    if name in ("size", "fps", "background", "full_frame", "orbit") and "look" in call:
        return getattr(call["look"], name)
    if name.startswith("background_") or name in ("place", "frame", "light", "grade"):
        return of_scene(call["look"].scene, name)
    if verb == "dub" and name in ("codec", "quality"):
        return getattr(call["dubbing"].coding, name)
    if name in ("body", "footage"):
        footage = call["look"].footage
        return footage if name == "footage" else "footage" if footage else "still"
    if verb == "dub" and name in ("label", "label_seconds", "producer"):
        label = call["dubbing"].label
        return getattr(label, {"label": "kind", "label_seconds": "seconds"}.get(name, name)) or None
    if verb == "dub" and name in ("face", "keep_sound", "rest", "strict"):
        return getattr(call["dubbing"], name)
    if name in ("codec", "quality"):
        return getattr(call["look"].coding, name)
    if name in ("label", "label_seconds", "producer"):
        return getattr(call["look"].label, {"label": "kind", "label_seconds": "seconds"}.get(name, name)) or None
    if name in ASKED:
        return call["avatar"].asked[name]
    if name in ("own", "synthetic"):
        record = parse_text(call["request"].consent)
        return (record and record.subject) if name == "own" else bool(record and record.kind == "synthetic")
    if name in ("face", "audio_track", "consent", "preview") and verb == "build":
        return getattr(call["request"], name)
    if verb in ("preprocess", "build") and name == "size":
        return str((call["request"] if verb == "preprocess" else call["recipe"]).size)
    if verb == "preprocess" and name not in ("video", "output", "holdout", "device"):
        wanted = call["request"]
        moved = {"start": wanted.stretch.start, "end": wanted.stretch.stop, "select": wanted.seconds}
        return moved[name] if name in moved else getattr(wanted, name)
    if verb == "build" and name in ("budget", "steps", "holdout", "tracker", "recipe"):
        return getattr(call["recipe"], {"budget": "budget_seconds", "recipe": "name"}.get(name, name))
    if verb == "render" and name in ("output", "frames_dir"):
        return getattr(call["target"], {"output": "out"}.get(name, name))
    if name == "segments":
        return call["speech"][0].name if isinstance(call["speech"], list) else None
    if name in ("speech", "audio_track", "announce", "listening"):
        return getattr(call["speech"], {"speech": "path", "audio_track": "track", "announce": "notice"}.get(name, name))
    if name in ("lpips", "face_network", "syncnet") or (verb, name) == ("evaluate", "landmarker"):
        return getattr(call["further"].networks, {"face_network": "identity"}.get(name, name))
    if verb == "evaluate" and name in ("reader", "words"):
        reading = call["further"].networks.reading
        return reading and getattr(reading, {"reader": "program"}.get(name, name))
    if name in ("registered", "published"):
        return getattr(call["further"], name)
    if verb == "say" and name in ("text", "speed", "captions", "caption_font"):
        return getattr(call["text"], {"caption_font": "font"}.get(name, name))
    if verb == "say" and (name in ("language", "silent") or name.startswith("voice")):
        return getattr(call["text"].voice, name.removeprefix("voice_"))
    if name == "deck":
        return str(call["deck"])
    if name in ("avatar", "take"):
        return call[name].place
    if name == "controls":
        return call["controls"].gaze
    return call["out" if name == "output" else name]


def of_scene(scene: Scene, name: str) -> Any:
    """An option of a scene as it is typed."""
    if name == "place":
        return scene.place and str(scene.place.across)
    if name == "frame":
        return scene.frame and f"{scene.frame[1]}x{scene.frame[0]}"
    if name in ("light", "grade"):
        return getattr(scene, name)
    return getattr(scene.backdrop, {"from": "start", "to": "stop"}.get(name := name.removeprefix("background_"), name))


WORDS = {"pose": "still", "background": "#20a040", "consent": "signed", "start": "2s", "end": "7s", "select": "5s"}
WORDS |= {
    "producer": "Studio",
    "budget": "90s",
    "own": "Ada Lovelace",
    "use": "training films",
    "tsa": "http://localhost:1",
    "text": "Hello.",
    "emotion": "happy:0.5",
    "voice": "kokoro:af_sky",
    "language": "fr",
    "voice_url": "http://localhost:1",
    "voice_consent": "Ada agreed",
    "reader": "avhubert",
    "size": "640",
    "place": "0.25",
    "light": "left",
    "grade": "match",
    "frame": "640x360",
    "times": "0, 2.5",
    "slides": "2,4-5",
    "silent": "4s",
}
ALIASED = {"blink_mode": ("none", 0.0), "drv_pose": ("static", "still")}  # converted values
SECONDS = {"silent": 4.0, "start": 2.0, "end": 7.0, "select": 5.0, "budget": 90.0}
ENDINGS = {
    "build": "x.avatar",
    "speak": "x.mov",
    "render": "x.mov",
    "motion": "x.csv",
    "evaluate": "x.json",
    "dub": "x.mov",
    "say": "x.mov",
    "present": "x.mov",
}


SETTINGS = {
    "controls": ("gaze: 0.25", 0.25),
    "recipe": ("name: mine", "mine"),
    "words": ("hello there", "hello there"),
    "brand": ("colour: navy", "navy"),
    "segments": ("intro: {start: 1, end: 2, speech: said.wav}", "intro"),
}
"""What stands in a file of settings, and what arrives of it."""
TOGETHER = {
    "label_seconds": {"label": "eu"},
    "words": {"reader": "avhubert"},
    "body": {"footage": __file__},
    "footage": {"body": "footage"},
} | {f"background_{name}": {"background": "white"} for name in ("from", "to", "end", "pan", "sound")}
"""Options that mean nothing without another."""


PLAIN = ("avatar", "take", "style", "expression_from", "speech", "announce", "text", "footage", "deck")
"""Files that arrive as they were typed."""


def sample(one: Option, folder: Path, verb: Verb) -> tuple[str, Any]:
    """A value of an option, other than its default, as it is typed and as it should arrive."""
    if one.type is Path:
        ending = one.given.endings[0] if one.given.endings else ".file"
        place = folder / (ENDINGS.get(verb, "x") if one.name == "output" else f"{one.name}{ending}")
        if one.name in SETTINGS:
            text, expected = SETTINGS[one.name]
            place.write_text(text)
            return str(place), expected
        if one.given.role == "option":
            place.touch()
        plain = one.name in PLAIN
        return str(place), str(place) if plain else place
    if get_origin(one.type) is Literal:
        choice = next(choice for choice in get_args(one.type) if choice != one.default)
        return choice, choice
    if one.type is str:
        return WORDS[one.name], SECONDS.get(one.name, WORDS[one.name])
    value = 128 if one.type is int else max(0.75, one.least or 0)
    return str(value), value
