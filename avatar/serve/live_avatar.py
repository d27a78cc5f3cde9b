"""LiveAvatar: what a live session does with its sound, frame by frame. No clock, no thread, no network.

Sound is the clock: each frame has the 40 ms of sound that are played while it is shown, so that nothing drifts apart.
The caller decides when a frame is due; sound that is late by then is replaced by silence, and the avatar goes on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avatar.core.controls import Controls
from avatar.core.files import UserError
from avatar.core.motion_space import Motion
from avatar.core.recipe import parse
from avatar.motion.driver import FPS, Driver
from avatar.motion.live_encoder import Hop
from avatar.motion.speech_to_motion import MouthMotion
from avatar.play.sound import SoundReader
from avatar.play.words import follow
from avatar.voice.passages import Chunk

RATES = (16000, 24000, 48000)  # Hz of the sound that sessions take and give back
MOST_SECONDS = 60.0  # of sound that waits; whoever sends faster than it is played has to wait
START_SECONDS = 0.22  # of sound that a first frame had better begin with: the 212 ms it needs, and 8 for the next piece
STEP_SECONDS = 0.01  # of sound given to the driver at a time until it has what a first frame needs
SETTLE_SECONDS = 0.12  # of silence after a segment's end that the speech model still moves the mouth by
HOLD_SECONDS = 0.4  # of it in the middle of a segment, waiting for late sound, before the avatar idles
SETTLED_FRAMES = 25  # over which the least of what waits is what a live source is late by
QUIET = 0.005  # of full scale, root mean square: sound that a live source's surplus may be cut out of
MOST_SURPLUS_SECONDS = 0.4  # then it is cut out wherever it is
MOST_JITTER_SECONDS = 0.2  # that sound is held back for, when it was late before
CALM_SECONDS = 30.0  # without late sound after which a frame less is held back
CHANGEABLE = frozenset(Controls.model_fields) - {"pose", "style", "seed", "lle"}  # the others name files, or are random
SAMPLE = np.dtype("<i2")

Pcm = np.ndarray[Any, np.dtype[np.int16]]


@dataclass(frozen=True)
class Event:
    """Something that happens with a frame."""

    kind: str  # playback_started, playback_finished
    segment: int  # from 0: what was pushed up to an `end` or a `clear`
    position: float = 0.0  # s of the segment that were played
    interrupted: bool = False


@dataclass(frozen=True)
class Due:
    """What the speech model has to make for a frame."""

    stream: int  # number of the stream of sound: another one knows nothing of what was before
    hops: list[Hop]  # one, or none while the avatar idles


@dataclass(frozen=True)
class Played:
    """A frame before it is drawn."""

    index: int  # shown index / 25 s after the session's first
    motion: Motion  # one frame
    sound: Pcm  # [rate / 25] that is played while it is shown
    speaking: bool
    events: tuple[Event, ...]


@dataclass
class _Segment:
    """Sound that belongs together."""

    number: int
    ended: bool = False
    taken: int = 0  # samples that were taken from the queue
    played: int = 0  # samples that were played
    started: bool = False


@dataclass
class _Piece:
    """Samples of one segment, or silence."""

    samples: Pcm
    segment: _Segment | None
    chunk: Chunk | None = None  # what a voice says from its first sample on


@dataclass
class SoundQueue:
    """Pieces of sound, first in, first out."""

    pieces: deque[_Piece] = field(default_factory=deque)
    count: int = 0  # samples

    def put(self, piece: _Piece) -> None:
        if len(piece.samples):
            self.pieces.append(piece)
            self.count += len(piece.samples)

    def take(self, count: int) -> list[_Piece]:
        """The first pieces, of so many samples in all, or of as many as there are."""
        taken = []
        while count > 0 and self.pieces:
            piece = self.pieces.popleft()
            if len(piece.samples) > count:
                self.pieces.appendleft(_Piece(piece.samples[count:], piece.segment))
                piece = _Piece(piece.samples[:count], piece.segment, piece.chunk)
            taken.append(piece)
            count -= len(piece.samples)
            self.count -= len(piece.samples)
        return taken

    def holds_speech(self) -> bool:
        return any(piece.segment for piece in self.pieces)

    def clear(self) -> None:
        self.pieces.clear()
        self.count = 0


class LiveAvatar:
    """One session's sound on its way to frames. `push`, `end`, `clear` and `control` may come from any thread.

    Frames are made in two halves, so that the speech model may work for many sessions at once: `next_hops`, then
    `next_frame` with what was made of the hops.
    """

    def __init__(self, driver: Driver, *, rate: int = 24000, live: bool = False) -> None:
        """live: sound comes as it is spoken, as from a microphone: what comes late is cut out of pauses later.

        Raises: UserError for another rate than RATES.
        """
        if rate not in RATES:
            raise UserError(f"rate: {rate} Hz is not one of {', '.join(map(str, RATES))}")
        self.rate, self.live = rate, live
        self.frame_samples = round(rate / FPS)
        self._driver, self._reader = driver, SoundReader(rate)
        self._lock = threading.RLock()
        self._waiting, self._given = SoundQueue(), SoundQueue()  # not given to the driver yet; given, but not played
        self._segment: _Segment | None = None  # that is being pushed
        self._open: list[_Segment] = []  # that were not finished yet, in order
        self._segments = self._index = self._stream = 0
        self._speaking = False
        self._hops: list[Hop] = []
        self._missing = 0  # samples of silence that were played in a row for want of sound
        self._events: list[Event] = []
        self._jitter = 0  # samples that are held back before speech begins
        self._calm = 0  # frames since sound was late
        self._least: deque[int] = deque(maxlen=SETTLED_FRAMES)
        self._controls: Controls | None = None
        self.clears = 0  # how often it was interrupted
        self.late_sound = 0  # frames for which sound was missing in the middle of a segment
        self.cut_samples = 0  # samples that were left out, to keep up with a live source

    def push(self, samples: Pcm, chunk: Chunk | None = None) -> None:
        """Sound [n] int16 to be spoken after what was pushed before.

        chunk: what a voice says from the first sample on: lips close by its phones, the face shows what its parts ask
        for. Raises: UserError when too much waits.
        """
        with self._lock:
            if self.buffered + len(samples) / self.rate > MOST_SECONDS:
                raise UserError(f"more than {MOST_SECONDS:.0f} s of sound wait; send it as it is played")
            if self._segment is None:
                self._segment = _Segment(self._segments)
                self._segments += 1
                self._open.append(self._segment)
            self._waiting.put(_Piece(np.asarray(samples, np.int16), self._segment, chunk))

    def end(self) -> None:
        """End a segment: its last frames need no more sound, and what is pushed next is another segment."""
        with self._lock:
            if self._segment:
                self._segment.ended, self._segment = True, None

    def clear(self) -> None:
        """Drop all sound that was not played; the mouth closes within 200 ms."""
        with self._lock:
            self.clears += 1
            self._events += [
                Event("playback_finished", one.number, one.played / self.rate, interrupted=True) for one in self._open
            ]
            self._waiting.clear()
            self._open, self._segment = [], None
            self._stop()

    def control(self, values: dict[str, Any]) -> None:
        """Other controls from the next frame on; those that are not named stay. Raises: UserError that names one."""
        if unknown := sorted(set(values) - CHANGEABLE):
            raise UserError(
                f"control: '{unknown[0]}' cannot be changed live; there are: {', '.join(sorted(CHANGEABLE))}"
            )
        if curves := sorted(name for name, value in values.items() if isinstance(value, dict)):
            raise UserError(f"control: '{curves[0]}' must be a number")
        with self._lock:
            now = self._controls or self._driver.controls
            self._controls = parse(Controls, now.model_dump(exclude_unset=True) | values, "control")
            self._driver.control(self._controls)

    def attend(self, attends: bool) -> None:
        """Whether the avatar attends to somebody who speaks: it nods, and looks at the viewer."""
        with self._lock:
            self._driver.attend(attends)

    @property
    def ready(self) -> bool:
        """Whether nobody speaks yet, and the sound of a first frame is there."""
        with self._lock:
            return not self._speaking and self._waiting.count >= max(self._jitter, round(START_SECONDS * self.rate))

    @property
    def buffered(self) -> float:
        """Seconds of sound that were pushed and not played yet."""
        with self._lock:
            given = sum(len(piece.samples) for piece in self._given.pieces if piece.segment)
            return (self._waiting.count + given) / self.rate

    @property
    def position(self) -> float:
        """Seconds of the present segment that were played."""
        with self._lock:
            return self._open[0].played / self.rate if self._open else 0.0

    @property
    def speaking(self) -> bool:
        """Whether sound is being played."""
        return self._speaking

    def next_hops(self) -> Due:
        """What the speech model has to make for the next frame."""
        with self._lock:
            if self.live:
                self._cut_surplus()
            if not self._speaking:
                self._begin()
            else:
                self._continue()
            hops, self._hops = (self._hops[:1], self._hops[1:]) if self._speaking else ([], self._hops)
            return Due(self._stream, hops)

    def next_frame(self, mouths: Sequence[MouthMotion]) -> Played:
        """The next frame, of what was made of `next_hops`; sound that was cleared in between is gone."""
        with self._lock:
            speaks = self._speaking and len(mouths) > 0
            if speaks:
                motion, pieces = self._driver.behave(mouths[0]), self._given.take(self.frame_samples)
                sound = np.concatenate([piece.samples for piece in pieces])
                for piece in pieces:
                    self._count(piece)
                if self._is_over():
                    self._stop()
            else:
                motion, sound = self._driver.rest(1), np.zeros(self.frame_samples, np.int16)
            self._finish()
            events, self._events = tuple(self._events), []
            self._index += 1
            return Played(self._index - 1, motion, sound, speaks, events)

    def _begin(self) -> None:
        """Give the driver sound until it can make a first frame."""
        step = round(STEP_SECONDS * self.rate)
        ended = bool(self._open) and self._open[0].ended
        if self._waiting.count < self._jitter and not ended:
            return
        while not self._hops and (
            self._waiting.count >= step or (ended and (self._waiting.count or self._given.count))
        ):
            self._give(step)
        self._speaking = bool(self._hops)
        self._missing = 0

    def _continue(self) -> None:
        """Give the driver the sound of one more frame."""
        if not self._hops:
            self._give(self.frame_samples)
        while not self._hops:  # a resampler holds some of the first sound back
            self._give(round(STEP_SECONDS * self.rate))

    def _give(self, count: int) -> None:
        """Give the driver so many samples: of what waits, then silence."""
        pieces = self._waiting.take(count)
        if pieces and pieces[0].segment:
            self._hold_back(late=self._missing > 0 and self._speaking and pieces[0].segment.taken > 0)
        missing = count - sum(len(piece.samples) for piece in pieces)
        if missing:
            pieces.append(_Piece(np.zeros(missing, np.int16), None))
        self._missing = self._missing + missing if missing == count else missing
        start = 0.0  # s from the first of these samples
        for piece in pieces:
            self._given.put(piece)
            if piece.segment:
                piece.segment.taken += len(piece.samples)
            if piece.chunk:
                follow(self._driver, piece.chunk, start)
            start += len(piece.samples) / self.rate
        self._hops += self._driver.hops(self._reader.push(np.concatenate([piece.samples for piece in pieces])))

    def _hold_back(self, *, late: bool) -> None:
        """Hold more sound back after some came late, and less when none did for long."""
        self._calm = 0 if late else self._calm + 1
        if late:
            self.late_sound += 1
            self._jitter = min(self._jitter + self.frame_samples, round(MOST_JITTER_SECONDS * self.rate))
        elif self._calm > CALM_SECONDS * FPS:
            self._jitter, self._calm = max(0, self._jitter - self.frame_samples), 0

    def _cut_surplus(self) -> None:
        """Leave sound of a live source out that comes later than it has to, in a pause if there is one."""
        self._least.append(self._waiting.count)
        surplus = min(self._least) - self._jitter - self.frame_samples
        if len(self._least) < SETTLED_FRAMES or surplus < self.frame_samples // 2:
            return
        pieces = self._waiting.take(min(surplus, self.frame_samples))
        samples = np.concatenate([piece.samples for piece in pieces]).astype(np.float32) / 32768
        if np.sqrt(np.square(samples).mean()) > QUIET and surplus < MOST_SURPLUS_SECONDS * self.rate:
            self._waiting.pieces.extendleft(reversed(pieces))
            self._waiting.count += len(samples)
            return
        self.cut_samples += len(samples)
        self._least = deque((count - len(samples) for count in self._least), maxlen=SETTLED_FRAMES)

    def _count(self, piece: _Piece) -> None:
        """Count a piece as played."""
        if piece.segment is None:
            return
        if not piece.segment.started:
            piece.segment.started = True
            self._events.append(Event("playback_started", piece.segment.number))
        piece.segment.played += len(piece.samples)

    def _finish(self) -> None:
        """Finish segments all of whose sound was played."""
        while self._open and (one := self._open[0]).ended and not self._holds(one):
            self._events.append(Event("playback_finished", one.number, one.played / self.rate))
            self._open.pop(0)

    def _holds(self, segment: _Segment) -> bool:
        return any(piece.segment is segment for queue in (self._given, self._waiting) for piece in queue.pieces)

    def _is_over(self) -> bool:
        """Whether only silence is left, and the mouth has come to rest in it."""
        if self._given.holds_speech() or self._waiting.count:
            return False
        silence = (self._missing - self._given.count) / self.rate  # that was played already
        return silence >= (SETTLE_SECONDS if self._segment is None else HOLD_SECONDS)

    def _stop(self) -> None:
        """Idle from the next frame on."""
        self._given.clear()
        self._hops, self._speaking, self._missing = [], False, 0
        self._stream += 1
        self._reader = SoundReader(self.rate)
        self._driver.interrupt()
