"""What a Take is to be made with, and whether one that is there already was made so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from avatar.core.consent import NOT_STATED, check_source, describe
from avatar.core.files import UserError, check_readable, digest_file
from avatar.core.media import WHOLE, Stretch
from avatar.core.recipe import LEAST_SIZE, MOST_SIZE, SIZE_STEP, CropSize
from avatar.core.take import Take, open_take, with_holdout, write_take

FACES = ("auto", "left", "right", "largest")
ONLY_TRACKER = ("tracker", "facemesh")  # of Takes before there was a choice; the present ones find the same


@dataclass(frozen=True)
class TakeRequest:
    """What a Take is to be made with. Raises: UserError when it cannot be."""

    tracker: str = "auto"  # of `detectors.DETECTORS`
    face: str = "auto"  # of FACES
    size: CropSize = 512  # px a side
    consent: str = NOT_STATED  # who agreed to what; it travels with the take and every avatar made of it
    stretch: Stretch = WHOLE  # the part of the clip to use
    audio_track: int | None = None  # from 1 on; None: the one with speech
    seconds: float | None = None  # train on about so many, the most informative ones
    preview: bool = False  # of a clip only the frame that is most like a photo
    landmarker: Path | None = None  # a MediaPipe Tasks `.task` file to find landmarks with

    def __post_init__(self) -> None:
        if self.face not in FACES:
            raise UserError(f"--face: '{self.face}' is unknown; choose one of {', '.join(FACES)}")
        if self.size != "native" and (self.size % SIZE_STEP or self.size < LEAST_SIZE):
            fits = max(LEAST_SIZE, self.size // SIZE_STEP * SIZE_STEP)
            raise UserError(
                f"--size: {self.size} is no multiple of {SIZE_STEP} from {LEAST_SIZE} on, which films need; try {fits}"
            )
        if self.seconds is not None and self.seconds <= 0:
            raise UserError(f"--select: {self.seconds:g} s is nothing to train on; give more, or leave it out")
        if self.landmarker:
            check_readable(self.landmarker, "landmarker")

    def size_of(self, side: float) -> int:
        """Pixels a side of the Take whose crop has a side of so many px in the source."""
        if self.size == "native":
            return min(MOST_SIZE, max(LEAST_SIZE, int(side) // SIZE_STEP * SIZE_STEP))
        return self.size

    def record(self) -> dict[str, str]:
        """All that changes what is made, as plain text under the options' names; a Take remembers it.

        Not in it: the consent, which changes no picture, and `preview`, whose Take says that it is of a photo. Empty
        is what was not requested. A landmarker is named by the start of its SHA-256.
        """
        return {
            "tracker": self.tracker,
            "face": self.face,
            "size": str(self.size),
            "audio_track": "" if self.audio_track is None else str(self.audio_track),
            "start": _to_text(self.stretch.start),
            "end": _to_text(self.stretch.stop),
            "select": _to_text(self.seconds),
            "landmarker": "" if self.landmarker is None else digest_file(self.landmarker)[:16],
        }


def _to_text(seconds: float | None) -> str:
    """To the millisecond, as clips are cut."""
    return "" if seconds is None else f"{round(seconds, 3):.12g}"


def reuse_take(out: Path, source: dict[str, str], record: dict[str, str], holdout: float) -> Take:
    """The Take in the folder `out`, which exists, if it is what would be made there.

    source, record: of the Take that would be made; an import's record is empty. A consent not stated so far is noted.
    Raises: UserError that names what differs.
    """
    take = open_take(out) if (out / "take.json").exists() else None
    if take is None or not _is_of(take, source):
        raise UserError(f"{out}: exists and is not a take of {source['name']}; remove it or choose another name")
    usual = TakeRequest().record()
    # Takes of older versions do not know everything; they count as what is usual, and as nothing else.
    stored = {name: value for name, value in take.request.items() if (name, value) != ONLY_TRACKER}
    if other := [name for name in record if stored.get(name, usual[name]) != record[name]]:
        made = ", ".join(f"{name} {stored.get(name, 'not known') or 'none'}" for name in other)
        requested = ", ".join(f"{name} {record[name] or 'none'}" for name in other)
        raise UserError(f"{out}: was made with {made}, but {requested} was requested; remove it or choose another name")
    return with_holdout(state_consent(take, source["consent"]), holdout)


def _is_of(take: Take, source: dict[str, str]) -> bool:
    imported = "format" in take.source
    names = ("name", "format") if imported and "sha256" not in take.source else ("sha256", "format")  # before 0.2.0
    return all(take.source.get(name) == source.get(name) for name in names)


def state_consent(take: Take, consent: str) -> Take:
    """The Take with a consent that was not stated before, on disk too; one that was stated is not replaced.

    Raises: UserError when another consent was stated.
    """
    stated = take.source.get("consent", NOT_STATED)
    if consent in (stated, NOT_STATED):
        return take
    if stated != NOT_STATED:
        raise UserError(
            f"{take.root}: states the consent '{describe(stated)}', not '{describe(consent)}'; make another take for it"
        )
    check_source(consent, take.source.get("sha256", ""), str(take.root))
    write_take(take := replace(take, source=take.source | {"consent": consent}), take.root)
    return take
