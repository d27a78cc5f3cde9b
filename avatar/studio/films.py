"""What a form of the page becomes: jobs as a job file has them, paths relative to the library."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from avatar.core.controls import Controls, UpTo
from avatar.core.emotion import EMOTIONS, parse_emotion
from avatar.core.named_files import is_colour
from avatar.studio.errors import RefusalError
from avatar.studio.library import Person, numbered, slug
from avatar.studio.queue import Job
from avatar.studio.studio import SAMPLE, Studio

QUALITIES: dict[str, dict[str, Any]] = {
    "preview": {"preview": True},
    "quick": {"budget": "90s"},
    "good": {},  # until more training buys nothing
    "best": {"budget": "15m"},
}
"""Options of a build, by what the page calls it."""
TEXT = "text"
"""In the place of a speech's name: the words of the form's text are said."""
WORDS_OF_NAME = 4  # of a text, that its film is named by
SIZES: dict[str, int | None] = {"small": 256, "usual": None, "large": 1024}
BLURRED = "blurred.png"
ESPEAK_LANGUAGES = (
    "en-us",
    "de",
    "fr",
    "es",
    "it",
    "pt-br",
    "nl",
    "pl",
    "sv",
    "tr",
    "ru",
    "uk",
    "ar",
    "hi",
    "ja",
    "ko",
)
"""Of its hundred, those that are offered."""
MOST_TEXT = 20_000  # characters: half an hour


def sliders() -> list[str]:
    """Controls that are numbers which multiply what is the person's own."""
    fields = Controls.model_fields.items()
    return [name for name, field in fields if any(isinstance(getattr(m, "func", m), UpTo) for m in field.metadata)]


def emotions() -> list[str]:
    """Emotions that can be chosen."""
    return list(EMOTIONS)


def voices() -> list[dict[str, Any]]:
    """Voices that are installed, each with the languages to offer; what they need stands in docs/say.md."""
    found: list[dict[str, Any]] = []
    if importlib.util.find_spec("hibari"):
        found.append({"voice": "hibari", "languages": ["en-us"]})
    if shutil.which("espeak-ng"):
        found.append({"voice": "espeak", "languages": list(ESPEAK_LANGUAGES)})
    return found


def voice_of(values: dict[str, Any]) -> tuple[str, str, str]:
    """Text, voice and language of a form. Raises: RefusalError for none that is offered."""
    text = str(values.get("text") or "")
    if not text.strip():
        raise RefusalError("no-text", "there are no words to say; write some")
    if len(text) > MOST_TEXT:
        raise RefusalError("long-text", f"the text has {len(text)} characters; make several films of it")
    return text, *voice_choice(values)


def voice_choice(values: dict[str, Any]) -> tuple[str, str]:
    """Voice and language of a form. Raises: RefusalError for none that is offered."""
    voice, language = (str(values.get(name) or "") for name in ("voice", "language"))
    known = {one["voice"]: one["languages"] for one in voices()}
    if voice not in known or language not in known[voice]:
        raise RefusalError("no-voice", "this voice is not installed; record the sentence, or choose a file")
    return voice, language


def build_job(studio: Studio, person: Person, values: dict[str, Any]) -> Job:
    """The job that builds a person's avatar. Raises: RefusalError."""
    clip = person.clip
    if clip is None:
        raise RefusalError("no-clip", f"{person.name} has no clip; film one, or drop one here")
    for job in studio.queue.jobs():
        if job["kind"] == "build" and job["output"].startswith(f"{person.key}/"):
            raise RefusalError(
                "building", f"{person.name} is being built already; look at the queue", 409, id=job["id"]
            )
    if (quality := values.get("quality", "good")) not in QUALITIES:
        raise RefusalError("setting", f"quality: '{str(quality)[:20]}' is none of {', '.join(QUALITIES)}")
    output = _free_output(studio, person, "", person.key, ".avatar")
    job = {
        "id": f"{person.key}.build.{Path(output).stem}",
        "kind": "build",
        "source": str(clip.relative_to(studio.root)),
        "output": output,
        **QUALITIES[quality],
    }
    if (person.folder / "consent.json").is_file():
        job["consent"] = f"{person.key}/consent.json"
    return job | ({"force": True} if values.get("force") else {})


def film_job(studio: Studio, person: Person, values: dict[str, Any]) -> Job:
    """The job that makes a film. Raises: RefusalError for what does not exist, or cannot be set."""
    if values.get("speech") == TEXT:
        return _say_job(studio, person, values)
    avatar = pick_avatar(person, values.get("avatar"))
    speech = studio.speech_path(person, str(values.get("speech", SAMPLE)))
    base = slug(str(values.get("title") or "")) or (slug(speech.stem) if speech.parent.name == "speech" else "film")
    job: Job = {
        "avatar": _relative(studio, avatar),
        "speech": _relative(studio, speech),
        "output": _free_output(studio, person, "films/", base, _ending(values)),
    }
    job["id"] = f"{person.key}.film.{Path(job['output']).stem}"
    if values.get("use"):
        job["use"] = str(values["use"])
    if values.get("footage"):
        return job | {"kind": "dub", "video": _relative(studio, _clip(person))}
    return job | {"kind": "speak", **shown(studio, person, values), **moved(values)}


def _say_job(studio: Studio, person: Person, values: dict[str, Any]) -> Job:
    """The job that says a text, which is kept as a file: what looks like a file's name is no file then."""
    text, voice, language = voice_of(values)
    base = slug(" ".join(text.split()[:WORDS_OF_NAME])) or "text"
    output = _free_output(studio, person, "films/", base, _ending(values))
    place = person.folder / "texts" / f"{Path(output).stem}.txt"
    place.parent.mkdir(exist_ok=True)
    place.write_text(text, encoding="utf-8")
    job: Job = {
        "id": f"{person.key}.film.{Path(output).stem}",
        "kind": "say",
        "avatar": _relative(studio, pick_avatar(person, values.get("avatar"))),
        "text": _relative(studio, place),
        "voice": voice,
        "language": language,
        "output": output,
    }
    if values.get("captions") in ("srt", "burn"):
        job["captions"] = values["captions"]
    if values.get("use"):
        job["use"] = str(values["use"])
    return job | shown(studio, person, values) | moved(values)


def evaluate_job(studio: Studio, person: Person, values: dict[str, Any]) -> Job:
    """The job that measures an avatar against its clip. Raises: RefusalError."""
    avatar = pick_avatar(person, values.get("avatar"))
    take = next((one for one in person.takes if one.stem == avatar.stem), next(iter(person.takes), None))
    if take is None:
        raise RefusalError("no-take", "the clip's frames are gone, so that nothing can be compared; build again")
    return {
        "id": f"{person.key}.evaluate.{avatar.stem}",
        "kind": "evaluate",
        "avatar": _relative(studio, avatar),
        "take": _relative(studio, take),
        "output": f"{person.key}/evaluation.json",
        "page": f"{person.key}/evaluation.html",
    }


def pick_avatar(person: Person, name: Any) -> Path:
    """One of a person's avatars, by default the newest. Raises: RefusalError."""
    avatars = person.avatars
    if not avatars:
        raise RefusalError("no-avatar", f"{person.name} has no avatar yet; build one")
    return person.pick(avatars, str(name)) if name else avatars[0]


def moved(values: dict[str, Any]) -> dict[str, Any]:
    """Controls that were changed. Raises: RefusalError."""
    given = values.get("controls") or {}
    if not isinstance(given, dict) or not all(isinstance(value, (int, float)) for value in given.values()):
        raise RefusalError("setting", "controls: must be numbers")
    known = [name for name in sliders() if name in given]
    found: dict[str, Any] = {name: round(float(given[name]), 3) for name in known}
    if emotion := str(values.get("emotion") or ""):
        parse_emotion(emotion)
        found["emotion"] = emotion
    return found


def shown(studio: Studio, person: Person, values: dict[str, Any]) -> dict[str, Any]:
    """Background and size. Raises: RefusalError."""
    found: dict[str, Any] = {}
    kind, value = values.get("background", "own"), str(values.get("value") or "")
    if kind == "full":
        return {"full_frame": True}
    if kind == "colour":
        if not is_colour(value):
            raise RefusalError("setting", f"background: '{value[:20]}' is no colour")
        found["background"] = value
    elif kind == "transparent":
        found["background"] = "transparent"
    elif kind == "blur":
        found["background"] = f"{person.key}/backgrounds/{BLURRED}"
    elif kind == "file":
        found["background"] = _relative(studio, person.pick(person.files("backgrounds"), value))
    if side := SIZES.get(str(values.get("size", "usual"))):
        found["size"] = side
    if values.get("label") in ("eu", "cn"):
        found["label"] = values["label"]
    return found


def preview_request(studio: Studio, person: Person, values: dict[str, Any], speech: str) -> dict[str, Any]:
    """What the drawing helper is asked; speech: the name of a sound. Raises: RefusalError."""
    look = shown(studio, person, values)
    background = look.get("background")
    if background and not is_colour(background):
        background = str(studio.root / background)
    return {
        "avatar": str(pick_avatar(person, values.get("avatar"))),
        "speech": str(studio.speech_path(person, speech)),
        "controls": moved(values),
        "background": background,
        "full_frame": look.get("full_frame", False),
    }


def _ending(values: dict[str, Any]) -> str:
    return ".webm" if values.get("background") == "transparent" and not values.get("footage") else ".mp4"


def _clip(person: Person) -> Path:
    if (clip := person.clip) is None:
        raise RefusalError("no-clip", f"{person.name} has no clip; film one, or drop one here")
    return clip


def _free_output(studio: Studio, person: Person, folder: str, base: str, ending: str) -> str:
    """A name in a person's folder that neither a file nor a job has."""
    queued = {job["output"] for job in studio.queue.jobs()}
    for name in numbered(base):
        output = f"{person.key}/{folder}{name}{ending}"
        place = studio.root / output
        if output not in queued and not place.exists():
            break
    return output


def _relative(studio: Studio, path: Path) -> str:
    try:
        return str(path.relative_to(studio.root))
    except ValueError:
        return str(path)
