"""What options become: arguments of pipelines; and which files they name, also deep inside a recipe or controls."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatar.core.coding import Coding
from avatar.core.controls import Controls, resolve_controls
from avatar.core.files import UserError
from avatar.core.label import Label
from avatar.core.lines import read_mapping
from avatar.core.named_files import named_files
from avatar.core.outputs import check_inputs, check_output
from avatar.core.recipe import CropSize, Recipe, Settings, load_recipe, parse, parse_duration, without_aliases
from avatar.pipelines.option_table import options_of, settings_files
from avatar.pipelines.options import (
    Agreement,
    Build,
    Control,
    Dub,
    Evaluate,
    Labelled,
    Permission,
    Preprocess,
    Render,
    Say,
    Speak,
    View,
    Voiced,
)
from avatar.pipelines.present_options import Present

if TYPE_CHECKING:
    from avatar.core.avatar_file import Avatar
    from avatar.core.segments import Segment
    from avatar.core.speech_file import SpeechFile
    from avatar.pipelines.dub import Dubbing
    from avatar.pipelines.networks import Further
    from avatar.pipelines.present import Presenting
    from avatar.pipelines.say import Saying
    from avatar.pipelines.speak import Target
    from avatar.play.look import Look
    from preprocess.request import TakeRequest


def files_of(verb: type[Settings], options: Mapping[str, Any]) -> dict[str, str]:
    """Files and folders that options name, also within a recipe and controls whose content stands in them.

    Keys are joined by dots, as in `recipe.renderer.generic`. Raises: UserError for a renderer that is not known.
    """
    found = named_files(verb, options)
    for name, section, settings, values in _sections(verb, options):
        path = ".".join(part for part in (name, section) if part)
        found |= {f"{path}.{key}": file for key, file in named_files(settings, values).items()}
    return found


def _sections(
    verb: type[Settings], options: Mapping[str, Any]
) -> Iterator[tuple[str, str, type[Settings], dict[str, Any]]]:
    """Of each content of a file of settings in the options: name, section, its class and its values."""
    for name, marker in settings_files(verb).items():
        content = options.get(name)
        if not isinstance(content, dict):
            continue
        for section, settings in marker.sections(content).items():
            values = content.get(section) if section else content
            if isinstance(values, dict):
                yield name, section, settings, values


def with_own_names(verb: type[Settings], options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options, with other projects' names in recipes and controls replaced by ours. Raises: UserError."""
    found = copy.deepcopy(dict(options))
    for name, section, settings, values in _sections(verb, found):
        renamed = without_aliases(settings, values, f"{name}, {section}" if section else name)
        values.clear()
        values.update(renamed)
    return found


def with_files(options: Mapping[str, Any], files: Mapping[str, str], place: Callable[[str], str]) -> dict[str, Any]:
    """The same options, with the files that they name (`files_of`) at other places."""
    found = copy.deepcopy(dict(options))
    for key, file in files.items():
        *sections, name = key.split(".")
        values = functools.reduce(lambda values, section: values[section], sections, found)
        values[name] = values[name].removesuffix(file) + place(file)
    return found


def check_outputs(options: Settings) -> None:
    """Raise UserError when an output of a verb is what the verb reads or what it writes, too, or has a wrong ending.

    What is read counts wherever in the options it is named; links are followed. Where the ending says the kind, what
    stands there must be of it, or `force` be set.
    """
    verb, values = type(options), options.model_dump()
    rows = [row for row in options_of(verb) if row.given.role == "output" and values[row.name]]
    files_of_settings = [name for name in settings_files(verb) if isinstance(values[name], str)]
    read = [values[name] for name in files_of_settings]
    values |= {name: read_mapping(Path(values[name]), name) for name in files_of_settings}
    outputs = {row.name: Path(values[row.name]) for row in rows}
    read += [file for name, file in files_of(verb, with_own_names(verb, values)).items() if name not in outputs]
    for row in rows:
        others = [place for name, place in outputs.items() if name != row.name]
        if row.given.endings:
            check_output(outputs[row.name], [*read, *others], endings=row.given.endings, force=values.get("force"))
        else:
            check_inputs(outputs[row.name], [*read, *others])


def take_request(options: Preprocess) -> TakeRequest:
    """What a Take is to be made with."""
    from avatar.core.media import Stretch
    from preprocess.request import TakeRequest

    start, end, select = (
        parse_duration(text, "") if text else None for text in (options.start, options.end, options.select)
    )
    return TakeRequest(
        tracker=options.tracker,
        face=options.face,
        size=_size_of(options.size),
        audio_track=options.audio_track,
        consent=consent_of(options),
        stretch=Stretch(start or 0.0, end),
        seconds=select,
        landmarker=Path(options.landmarker) if options.landmarker else None,
    )


def _size_of(text: str) -> CropSize:
    return "native" if text == "native" else int(text)


def consent_of(options: Agreement) -> str:
    """Who agreed to what, as a Take keeps it. Raises: UserError."""
    from avatar.core.consent import state

    return state(options.consent, own=options.own, synthetic=options.synthetic)


def permit(avatar: Avatar, options: Permission) -> None:
    """Raise UserError when the avatar's consent, or a list of revoked ones, excludes a job."""
    from avatar.core.consent import check_permission, read_revoked

    revoked = read_revoked(Path(options.revoked)) if options.revoked else frozenset()
    check_permission(avatar, options.avatar, use=options.use, revoked=revoked)


def build_request(options: Build) -> TakeRequest:
    """What the Take of a build is to be made with, but for what the recipe says."""
    from preprocess.request import TakeRequest

    return TakeRequest(
        face=options.face, audio_track=options.audio_track, consent=consent_of(options), preview=options.preview
    )


def final_recipe(options: Build) -> Recipe:
    """The recipe of a build, its options over those of the file. Raises: UserError."""
    given = options.recipe or {}
    recipe = load_recipe(Path(given)) if isinstance(given, str) else parse(Recipe, given, "recipe")
    changes: dict[str, Any] = {name: getattr(options, name) for name in ("steps", "holdout", "seed", "tracker")}
    changes["size"] = _size_of(options.size) if options.size else None
    changes["budget_seconds"] = parse_duration(options.budget, "--budget") if options.budget else None
    changed = {name: value for name, value in changes.items() if value is not None}
    return parse(Recipe, recipe.model_dump() | changed | {"file": recipe.file}, "recipe")


def look_of(options: View) -> Look:
    """How an avatar is shown. Raises: UserError for what cannot be shown together."""
    from avatar.play.look import Look
    from avatar.scene.scene import make_scene

    footage = getattr(options, "footage", None)
    if (getattr(options, "body", "still") == "footage") != bool(footage):
        raise UserError("--body footage: goes with --footage VIDEO, the clip that the avatar was built from")
    return Look(
        size=options.size,
        fps=options.fps,
        background=options.background,
        full_frame=getattr(options, "full_frame", False),
        footage=footage,
        orbit=options.orbit,
        coding=Coding(options.codec, options.quality),
        label=label_of(options),
        scene=make_scene(options.model_dump()),
    )


def label_of(options: Labelled) -> Label:
    """The label of a film. Raises: UserError."""
    return Label(options.label, options.label_seconds, options.producer or "")


def spoken_of(options: Dub) -> SpeechFile | list[Segment]:
    """What is said in a film, and where. Raises: UserError."""
    from avatar.core.segments import read_segments
    from avatar.core.speech_file import SpeechFile

    if options.segments is not None and options.speech is None:
        return read_segments(options.segments)
    if options.speech is None or options.segments is not None:
        raise UserError("give SPEECH, or --segments with the parts of the video that get another speech")
    return SpeechFile(options.speech, options.audio_track)


def dubbing_of(options: Dub) -> Dubbing:
    """How a film is dubbed."""
    from avatar.pipelines.dub import Dubbing

    coding = Coding(options.codec, options.quality)
    return Dubbing(options.face, options.strict, options.rest, options.keep_sound, coding, label_of(options))


def speech_of(options: Speak) -> SpeechFile:
    """What an avatar says."""
    from avatar.core.speech_file import SpeechFile

    return SpeechFile(options.speech, options.audio_track, options.announce, options.listening)


def saying_of(options: Say) -> Saying:
    """What an avatar says, and by whom."""
    return _voiced(options, options.text, silent=options.silent)


def presenting_of(options: Present) -> Presenting:
    """How a deck becomes a film. Raises: UserError."""
    from avatar.pipelines.present import Presenting
    from avatar.presenter.decks import Sources

    names = ("script", "sounds", "recording", "fonts")
    places = {name: Path(place) for name in names if (place := getattr(options, name)) is not None}
    return Presenting(
        saying=_voiced(options, ""),
        sources=Sources(**places, times=options.times),
        aspect=options.aspect,
        lines=options.lines,
        layout=options.layout,
        shape=options.shape,
        brand=options.brand,
        background=options.background,
        light=options.light,
        grade=options.grade,
        slides=options.slides,
        silent=parse_duration(options.silent, "--silent") if options.silent else None,
        read_titles=options.read_titles,
        draft=options.draft,
        coding=Coding(options.codec, options.quality),
        label=label_of(options),
    )


def _voiced(options: Voiced, text: str, *, silent: bool = False) -> Saying:
    from avatar.pipelines.say import Saying
    from avatar.voice.engines import VoiceChoice

    places = (options.voice_files, options.voice_model, options.voice_like)
    files, model, like = (Path(place) if place else None for place in places)
    voice = VoiceChoice(
        voice=options.voice,
        language=options.language,
        url=options.voice_url,
        files=files,
        model=model,
        like=like,
        consent=options.voice_consent,
        silent=silent,
    )
    font = Path(options.caption_font) if options.caption_font else None
    return Saying(text, voice, options.speed, options.captions, font)


def controls_of(avatar: Avatar, options: Control) -> Controls:
    """The controls that an avatar moves by: options over their file over the avatar's recipe. Raises: UserError."""
    file = Path(options.controls) if isinstance(options.controls, str) else options.controls
    given = {name: value for name in Controls.model_fields if (value := getattr(options, name)) is not None}
    return resolve_controls(avatar, file, given)


def target_of(options: Render) -> Target:
    """Where frames go. Those of a folder are named by the Take's frame index, as long as they are the Take's frames."""
    from avatar.pipelines.speak import Target

    out, frames_dir = (Path(place) if place else None for place in (options.output, options.frames_dir))
    if out and not out.suffix and not frames_dir and not options.fps:
        return Target(frames_dir=out)
    return Target(out, frames_dir)


def further_of(options: Evaluate) -> Further:
    """What is measured beside the usual figures."""
    from avatar.metrics.reading import LipReading
    from avatar.pipelines.networks import Further, Networks

    files = (options.lpips, options.face_network, options.syncnet)
    lpips, identity, syncnet = (Path(place) if place else None for place in files)
    words = Path(options.words).read_text(encoding="utf-8") if options.words else ""
    reading = LipReading(options.reader, words) if options.reader else None
    landmarker = Path(options.landmarker) if options.landmarker else None
    return Further(Networks(lpips, identity, syncnet, reading, landmarker), options.registered, options.published)
