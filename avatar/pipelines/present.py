"""A deck becomes a film with the person in it: scenes are said, moved and drawn, and what did not change is kept."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from avatar.core.avatar_file import Avatar, as_avatar
from avatar.core.coding import Coding
from avatar.core.consent import avatar_id
from avatar.core.controls import Controls, resolve_controls
from avatar.core.files import UserError, sole_maker, whole
from avatar.core.label import Label
from avatar.core.motion_space import Motion
from avatar.core.outputs import beside, check_output, files_among
from avatar.core.progress import Progress, no_progress
from avatar.core.threads import torch_threads
from avatar.pipelines.present_scenes import FPS, Mover, SaidScene, Speaker, say_scenes
from avatar.pipelines.say import Saying, captions_file, reads_sentiment
from avatar.pipelines.speech_film import with_clips
from avatar.play.captions import find_font
from avatar.play.look import Look
from avatar.play.player import check_space
from avatar.presenter.behind import Behind
from avatar.presenter.brand import Brand, read_brand
from avatar.presenter.compose import Composer, Shot, arrangements
from avatar.presenter.decks import Sources, open_deck
from avatar.presenter.directions import Directed, Layout, read_directions
from avatar.presenter.free_space import Places
from avatar.presenter.inserts import film_sounds, films_of, open_clip
from avatar.presenter.joining import Chapter, join_parts
from avatar.presenter.layouts import Arrangement, Aspect, Frame, Shape, frame_size
from avatar.presenter.meeting import FRAMES, meet, rest
from avatar.presenter.parts import PART, Finish, Part, PartMaker
from avatar.presenter.person import Person, is_cut, natural_shape
from avatar.presenter.pptx_deck import named
from avatar.presenter.scenes import Deck, Scene
from avatar.presenter.soundtrack import Laid, write_soundtrack
from avatar.presenter.stage import Backdrop
from avatar.presenter.store import Store, content_key, store_folder
from avatar.presenter.timeline import Gallery, check_directions, glances, shots_of, sights
from avatar.provenance.identity import film_number
from avatar.render.device import DeviceName
from avatar.scene.grade import NONE
from avatar.scene.light import KEEP
from avatar.scene.scene import make_scene
from avatar.voice.sentiment import with_sentiment
from avatar.voice.subtitles import Caption, make_captions, write_captions

FILMS = (".mp4", ".mov")
DRAFT = 2  # times fewer px a side, so a quarter of them
USUAL_SILENCE = 3.0  # s of a slide without notes, in a deck where others have some


@dataclass(frozen=True)
class Presenting:
    """How a deck becomes a film."""

    saying: Saying = field(default_factory=lambda: Saying(""))  # the voice, its speed, captions; no text
    sources: Sources = field(default_factory=Sources)
    aspect: Aspect | None = None  # None: the script's, else 16:9
    lines: int = 1080  # px of the shorter side
    layout: Layout | None = None  # None: the script's, else corner
    shape: Shape | None = None  # None: cut out where the person ends inside of their square, else a circle
    brand: Path | str | dict[str, Any] | None = None
    background: str | None = None  # behind the person and slides that do not fill the frame; None: the brand's
    light: str = KEEP  # on the person; see `avatar.scene.light.open_light`
    grade: str = NONE  # of the person: `match`, or a .cube file
    slides: str | None = None  # such as `7,9-11`
    silent: float | None = None  # s of slides without notes
    read_titles: bool = False  # of slides without notes
    draft: bool = False  # a quarter of the px, coded fast
    coding: Coding = field(default_factory=Coding)
    label: Label = field(default_factory=Label)

    @property
    def files(self) -> list[Path | str]:
        """What is read beside the deck."""
        brand = [self.brand] if isinstance(self.brand, (Path, str)) else []
        return [*self.sources.files, *brand, *self.saying.files, *self.look.files]

    @property
    def look(self) -> Look:
        """How the person is lit, and before what. Raises: UserError for what does not go together."""
        return Look(background=self.background, scene=make_scene({"light": self.light, "grade": self.grade}))


@dataclass(frozen=True)
class Presented:
    """What was made."""

    frames: int
    made: int  # frames that were drawn and coded; the others were kept
    fps: float
    scenes: int
    remarks: tuple[str, ...]  # what a person should know of the deck


def present(
    avatar: Avatar | Path | str,
    deck: Path | str,
    out: Path | str,
    *,
    presenting: Presenting | None = None,
    controls: Controls | None = None,
    device: DeviceName = "auto",
    force: bool = False,
    progress: Progress = no_progress,
) -> Presented:
    """Make a film of a deck and its speaker notes, with the avatar's person in it.

    What is made stays in the folder NAME.scenes beside the film: a second making makes only what changed, and one that
    was stopped goes on. force: as in `speak`. Raises: UserError naming slide and place.
    """
    read, deck, out, asked = files_among(avatar), Path(deck), Path(out), presenting or Presenting()
    avatar = as_avatar(avatar)
    check_space(avatar)
    if avatar.fps != FPS:
        raise UserError(f"the avatar has {avatar.fps:g} frames/s, films of decks {FPS}; build it again")
    controls = controls or resolve_controls(avatar)
    read += [deck, *asked.files, *controls.files]
    check_output(out, read, endings=FILMS, force=force)
    captions_place = captions_file(asked.saying, out, read, force=force)
    number = present_number(avatar, deck, asked, controls)
    with (
        sole_maker(beside(out, out.suffix)),
        torch_threads(1),
        tempfile.TemporaryDirectory(prefix="avatar-present-") as folder,
    ):
        opened = open_deck(deck, asked.sources, Path(folder))
        brand = read_brand(asked.brand)
        scenes = directed_scenes(opened, asked, auto=reads_sentiment(asked.saying, controls))
        avatar, controls = with_clips(avatar, controls, out=out, progress=progress)
        store = Store(store_folder(out))
        said = say_scenes(scenes, Speaker(asked.saying, store), asked.silent or USUAL_SILENCE, str(deck), progress)
        film = _Film(avatar, opened, asked, brand, said, store)
        behind = Behind(brand, asked.background, avatar.plate, FPS)
        person = Person(avatar, asked.look, behind, device)
        made = film.draw(Mover(avatar, controls, store), person, behind, number, progress)
        film.write(made, out, number, Path(folder))
        store.prune()
    if captions_place and asked.saying.captions in ("srt", "vtt"):
        with whole(captions_place) as temporary:
            temporary.write_text(write_captions(film.captions, asked.saying.captions), encoding="utf-8")
    return Presented(film.frames, made.drawn, FPS, len(said), (f"drawn by {opened.drawn_by}", *opened.remarks))


def present_number(avatar: Avatar, deck: Path, asked: Presenting, controls: Controls) -> int:
    """The number that marks films of a deck, 0 .. 2^32 - 1; the same when a slide changes, since others are kept."""
    voice = (asked.saying.voice.voice, asked.saying.voice.language or "", f"{asked.saying.speed:g}")
    return film_number(avatar, "present", deck.name, *voice, controls.model_dump_json(), repr(asked.label))


def directed_scenes(deck: Deck, asked: Presenting, *, auto: bool = False) -> list[tuple[Scene, Directed]]:
    """Scenes that are asked for, with their directions. auto: emotions follow the words. Raises: UserError."""
    chosen = choose_slides(asked.slides, deck)
    scenes = []
    for scene in deck.scenes:
        if scene.number in chosen:
            notes = scene.notes if scene.notes.strip() or not asked.read_titles else scene.title
            scenes.append((scene, read_directions(replace(scene, notes=notes), f"{deck.path}, slide {scene.number}")))
    if auto:
        scenes = [
            (scene, Directed(tuple(with_sentiment(said.passages)), said.directions, said.opening))
            for scene, said in scenes
        ]
    check_directions(deck, scenes)
    quiet = [scene.number for scene, said in scenes if not (said.passages or scene.sound or scene.films)]
    if len(quiet) == len(scenes) and asked.silent is None:
        raise UserError(
            f"{deck.path}: has no notes that could be said; write some, or show each slide in silence by --silent 5s, "
            "or have titles read by --read-titles"
        )
    if quiet and asked.silent is None:
        advice = f"shown for {USUAL_SILENCE:g} s; --silent says how long"
        warnings.warn(f"{deck.path}: nothing is said on {named(quiet)}, {advice}", stacklevel=2)
    return scenes


def choose_slides(text: str | None, deck: Deck) -> frozenset[int]:
    """The slides that `7,9-11` names; all for none. Raises: UserError for one that the deck lacks."""
    known = [scene.number for scene in deck.scenes]
    if text is None:
        return frozenset(known)
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = (one.strip() for one in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise UserError(f"--slides: '{part.strip()}' is no slide; write numbers such as 7,9-11")
        numbers = range(int(first), int(last if dash else first) + 1)
        missing = [number for number in (numbers[0], numbers[-1]) if number not in known]
        if missing:
            raise UserError(f"--slides: {deck.path} shows no slide {missing[0]}; it has {named(known)}")
        found |= {number for number in known if number in numbers}
    return frozenset(found)


@dataclass(frozen=True)
class _Drawn:
    """Parts of a film, in order, and how many of its frames were made anew."""

    parts: list[tuple[Path, int]]
    drawn: int


class _Film:
    """A film of scenes that were said."""

    def __init__(
        self, avatar: Avatar, deck: Deck, asked: Presenting, brand: Brand, said: Sequence[SaidScene], store: Store
    ) -> None:
        self._avatar, self._deck, self._asked, self._brand = avatar, deck, asked, brand
        self._said, self._store = said, store
        lines = asked.lines // DRAFT if asked.draft else asked.lines
        self._size = frame_size(asked.aspect or deck.front.get("aspect", "16:9"), lines)
        self._intro, self._outro = (open_clip(brand.files.get(name), FPS) for name in ("intro", "outro"))
        first = self._intro.frames if self._intro else 0
        self._starts = [first + sum(one.frames for one in said[:index]) for index in range(len(said))]
        self._end = first + sum(one.frames for one in said)
        self.frames = self._end + (self._outro.frames if self._outro else 0)
        spoken = (
            later
            for start, one in zip(self._starts, said, strict=True)
            for kept in one.speech.chunks
            for later in kept.chunk().later(start / FPS + one.lead + kept.start).spoken
        )
        self.captions: list[Caption] = list(make_captions(spoken))

    @property
    def coding(self) -> Coding:
        """How parts are coded."""
        quality = "draft" if self._asked.draft else self._asked.coding.quality
        return Coding(self._asked.coding.codec, quality, still=True)

    def draw(self, mover: Mover, person: Person, behind: Behind, number: int, progress: Progress) -> _Drawn:
        """Move and draw all scenes that are not there yet."""
        silhouette = person.silhouette()
        shape = self._asked.shape or natural_shape(silhouette)
        frame = Frame(*self._size, shape, is_cut(silhouette))
        gallery = Gallery(self._deck, frame)
        timed = [one.timed for one in self._said]
        places = Places(frame, silhouette)
        layout = self._asked.layout or self._deck.front.get("layout", "corner")
        shots = shots_of(self._deck, timed, list(sights(self._deck, timed, layout)), gallery, frame, places)
        finish = self._finish(number, shape)
        composer = Composer(person, Backdrop(self._brand, behind, self._size, number), behind)
        maker = PartMaker(composer, finish, self._store, self._size[::-1])
        done, parts = 0, list[tuple[Path, int]]()

        def drawn(count: int) -> None:
            nonlocal done
            done += count
            progress("present", done, self.frames)

        if self._intro:
            parts.append(maker.make_clip(self._intro, drawn))
        for part in self._parts(mover, shots):
            parts.append(maker.make(part, drawn))
        if self._outro:
            parts.append(maker.make_clip(self._outro, drawn))
        return _Drawn(parts, maker.made)

    def _finish(self, number: int, shape: Shape) -> Finish:
        burnt = self._asked.saying.captions == "burn"
        captions = tuple(self.captions) if burnt else ()
        font = self._asked.saying.font or self._brand.files.get("font")
        if captions:  # one font for all parts
            found = find_font(font, "".join(one.text for one in captions)).path
            font = Path(found) if isinstance(found, str) else None
        files = [(name, content_key(path.read_bytes())) for name, path in self._brand.files.items() if name in SEEN]
        look = content_key(self._size, shape, self._brand.settings, files, avatar_id(self._avatar), number)
        if self._asked.look != Look():
            seen = [content_key(Path(name).read_bytes()) for name in self._asked.look.files]
            look = content_key(look, self._asked.look.seen, seen)
        return Finish(FPS, self.coding, self._asked.label, captions, font, look)

    def _parts(self, mover: Mover, shots: Sequence[Sequence[Shot]]) -> Iterator[Part]:
        before: Motion | None = None
        placed: Arrangement | None = None
        for start, said, own in zip(self._starts, self._said, shots, strict=True):
            user = any(part.look for passage in said.timed.directed.passages for part in passage.parts)
            acts = [] if user else glances(own, FPS, f"{said.digest} {said.timed.scene.title}")
            motion = meet(before, mover.move(said, acts))
            motion = rest(motion) if said.pauses else motion
            steps = list(arrangements(own, placed, said.frames, FPS))
            films = films_of(said.timed.scene, own, FPS)
            # what the scene before it changes at its beginning is a part by itself
            starts = [0, *range(FRAMES, said.frames, PART)]
            for at, stop in zip(starts, [*starts[1:], said.frames], strict=True):
                shown = start + at - self._starts[0]
                yield Part(steps[at:stop], motion[slice(at, stop)], start + at, shown, films.part(at), films.seen(at))
            before, placed = motion[slice(said.frames - 2, None)], steps[-1][1]

    def write(self, made: _Drawn, out: Path, number: int, folder: Path) -> None:
        """Join parts, sound and chapters."""
        sounds = self._intro.sounds(0.0, FPS) if self._intro else []
        sounds += self._outro.sounds(self._end / FPS, FPS) if self._outro else []
        for start, said in zip(self._starts, self._said, strict=True):
            if said.sound is not None:
                room = said.frames / FPS - said.lead
                sounds.append(Laid(said.sound, start / FPS + said.lead, room, said.gain))
            sounds += film_sounds(said.timed.scene, start / FPS, said.frames / FPS, said.sound is not None)
        sounds.sort(key=lambda one: one.start)
        wav = folder / "sound.wav"
        write_soundtrack(sounds, self.frames / FPS, wav)
        stops = [*self._starts[1:], self._end]
        chapters = [
            Chapter(said.timed.scene.title, start / FPS, stop / FPS)
            for said, start, stop in zip(self._said, self._starts, stops, strict=True)
        ]
        metadata = self._asked.label.metadata(number)
        join_parts(made.parts, wav, out, fps=FPS, chapters=chapters, metadata=metadata)


SEEN = ("background", "logo")
"""Files of a brand that all frames show."""
