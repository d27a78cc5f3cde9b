"""The library: a folder with a folder for each person, all plain files that the command line makes or can read.

    anna/person.json      her name, and which file is her clip
    anna/consent.json     as `--consent` takes it
    anna/clip.webm        anna/anna.avatar, anna.take, anna.training: of `avatar build`
    anna/speech/          sounds to speak          anna/backgrounds/
    anna/decks/talk/      a deck each, with what belongs to it (`avatar.studio.deck_files`)
    anna/films/           films, each with the job that made it in a .json of its name
    anna/evaluation.html, evaluation.json

Names of files come from listings alone: what a client sends is compared with them, and never joined to a path.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatar.core.consent import Consent
from avatar.core.files import remove, remove_folder, whole
from avatar.studio.errors import RefusalError, not_found

FILM_ENDINGS, CAPTIONS = (".mp4", ".mov", ".webm"), (".vtt", ".srt")
WORK_ENDINGS = (".take", ".training", ".batch", ".preview")  # of folders that belong to something else
LONGEST_KEY, LONGEST_NAME = 32, 80
SLIDES, ABOUT = ".slides", "about.json"  # of a deck: where pictures of its slides lie, and what is in it
FOLDERS = ("speech", "backgrounds", "films")


@dataclass(frozen=True)
class Person:
    """One person of the library."""

    key: str  # the folder's name
    root: Path  # of the library

    @property
    def folder(self) -> Path:
        return self.root / self.key

    @property
    def about(self) -> dict[str, Any]:
        """What person.json says; nothing where the command line made the folder."""
        try:
            return dict(json.loads((self.folder / "person.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    @property
    def name(self) -> str:
        return str(self.about.get("name") or self.key)

    @property
    def avatars(self) -> list[Path]:
        """The newest first; one that lies loose in the library, under the person's key, too."""
        found = [*self.folder.glob("*.avatar"), *self.root.glob(f"{_plain(self.key)}.avatar")]
        return sorted((path for path in found if path.is_file()), key=lambda path: -path.stat().st_mtime)

    @property
    def takes(self) -> list[Path]:
        found = [*self.folder.glob("*.take"), *self.root.glob(f"{_plain(self.key)}.take")]
        return sorted((path for path in found if (path / "take.json").is_file()), key=lambda one: -one.stat().st_mtime)

    @property
    def clip(self) -> Path | None:
        """What was filmed: the file that is named so, or one of an avatar's or Take's name."""
        stems = {path.stem for path in (*self.avatars, *self.takes)}
        named = self.about.get("clip")
        files = [path for path in _files(self.folder) if path.name == named or path.stem in stems]
        media = [path for path in files if path.suffix.lower() not in (".avatar", ".json", ".html", ".jpg.json")]
        return next((path for path in media if path.name == named), media[0] if media and not named else None)

    @property
    def films(self) -> list[Path]:
        """The newest first."""
        clip = self.clip
        found = [path for path in (*_files(self.folder / "films"), *_files(self.folder)) if path != clip]
        films = [path for path in found if path.suffix.lower() in FILM_ENDINGS and not path.name.startswith("clip.")]
        return sorted(films, key=lambda path: -path.stat().st_mtime)

    def files(self, kind: str) -> list[Path]:
        """Files of one of FOLDERS, the newest first."""
        found = [path for path in _files(self.folder / kind) if path.suffix != ".json"]
        return sorted(found, key=lambda path: -path.stat().st_mtime)

    @property
    def decks(self) -> list[Path]:
        """Folders with a deck each, the newest first."""
        folder = self.folder / "decks"
        found = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."] if folder.is_dir() else []
        return sorted(found, key=lambda path: -path.stat().st_mtime)

    @property
    def captions(self) -> list[Path]:
        """Files of films' captions."""
        return [place for film in self.films for place in captions_of(film)]

    def pick(self, paths: list[Path], name: str) -> Path:
        """The one of these files that has a name. Raises: RefusalError."""
        if (found := next((path for path in paths if path.name == name), None)) is None:
            raise not_found(name)
        return found

    @property
    def poster(self) -> Path | None:
        """A picture of them."""
        places = [self.folder / "poster.jpg", *(take / "frames" / "000000.jpg" for take in self.takes)]
        return next((path for path in places if path.is_file()), None)

    @property
    def own_places(self) -> list[Path]:
        """All that is theirs on disk."""
        loose = [self.root / f"{self.key}{ending}" for ending in (".avatar", ".take", ".training")]
        return [self.folder, *(path for path in loose if path.exists())]


def captions_of(film: Path) -> list[Path]:
    """The files of captions that lie beside a film."""
    return [place for ending in CAPTIONS if (place := film.with_suffix(ending)).is_file()]


class Library:
    """People in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def people(self) -> list[Person]:
        """All of them, those changed last first."""
        keys = {path.name for path in self._folders()} | {path.stem for path in self.root.glob("*.avatar")}
        found = [Person(key, self.root) for key in keys if not key.startswith(".")]
        return sorted(found, key=_changed, reverse=True)

    def _folders(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        found = (path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
        return [path for path in found if path.suffix not in WORK_ENDINGS and _is_person(path)]

    def person(self, key: str) -> Person:
        """The person of a key. Raises: RefusalError."""
        if (found := next((one for one in self.people() if one.key == key), None)) is None:
            raise not_found(key)
        return found

    def add(self, name: str, clip: Path, consent: Consent, poster: Path | None) -> Person:
        """A new person of a clean name, with a clip that may be removed then. Whole or not there."""
        key = self._free_key(name)
        with whole(self.root / key) as folder:
            folder.mkdir(parents=True)
            about = {"name": name, "made": datetime.date.today().isoformat(), "clip": f"clip{clip.suffix}"}
            (folder / "person.json").write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")
            (folder / "consent.json").write_text(consent.text(), encoding="utf-8")
            if poster and poster.is_file():
                (folder / "poster.jpg").write_bytes(poster.read_bytes())
            _link(clip, folder / about["clip"])  # at the upload's place, too, until that is removed: nothing is lost
        return Person(key, self.root)

    def _free_key(self, name: str) -> str:
        taken = {path.name for path in self.root.iterdir()} | {path.stem for path in self.root.iterdir()}
        base = slug(name) or "person"
        return next(key for key in numbered(base) if key not in taken and Path(key).suffix not in WORK_ENDINGS)

    def remove(self, person: Person) -> None:
        """Delete all of a person, each place at once."""
        for place in person.own_places:
            remove_folder(place) if place.is_dir() else remove(place)


def clean_name(name: str) -> str:
    """A person's name as it is shown. Raises: RefusalError for one that is empty or too long."""
    shown = " ".join("".join(c for c in name if c.isprintable()).split())
    if not shown:
        raise RefusalError("name", "the name is empty; give one")
    if len(shown) > LONGEST_NAME:
        raise RefusalError("name-long", f"the name has {len(shown)} characters; give one of {LONGEST_NAME} at most")
    return shown


def slug(name: str) -> str:
    """A name as part of a file's: a-z, 0-9 and hyphens, of any text."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST_KEY].strip("-")


def numbered(base: str) -> Iterator[str]:
    """base, base-2, base-3, ..."""
    yield base
    number = 2
    while True:
        yield f"{base}-{number}"
        number += 1


def size_of(place: Path) -> int:
    """Bytes of a file or of all in a folder; links are not followed."""
    if place.is_symlink() or not place.exists():
        return 0
    if place.is_file():
        return place.stat().st_size
    total = 0
    for where, _, names in os.walk(place):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:  # gone in between
                continue
    return total


def _link(file: Path, place: Path) -> None:
    """The same file at another place, too; a copy where the disk has no links."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)


def _plain(key: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", key)


def _is_person(folder: Path) -> bool:
    names = [path.name for path in folder.iterdir()]
    return "person.json" in names or any(name.endswith((".avatar", ".take")) for name in names)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."] if folder.is_dir() else []


def _changed(person: Person) -> float:
    places = [place for place in (*person.own_places, *person.avatars) if place.exists()]
    return max((place.stat().st_mtime for place in places), default=0.0)
