"""Text -> film: a voice says it, the avatar shows it, captions follow the phones."""

from __future__ import annotations

import hashlib
import tempfile
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.core.avatar_file import Avatar, as_avatar
from avatar.core.controls import Controls, resolve_controls
from avatar.core.emotion import AUTO
from avatar.core.encode import write_video
from avatar.core.files import UserError, digest_file, whole
from avatar.core.media import CHUNK, SAMPLE_RATE, SoundTrack, probe
from avatar.core.outputs import beside, check_output, files_among
from avatar.core.picture_folder import check_film
from avatar.core.progress import Progress, count_steps, no_progress
from avatar.core.speech_file import open_speech
from avatar.core.threads import torch_threads
from avatar.motion.driver import drive
from avatar.pipelines.film_sound import film_sound
from avatar.pipelines.speech_film import with_clips
from avatar.play.captions import Captioner
from avatar.play.look import Look
from avatar.play.player import Player
from avatar.play.words import follow
from avatar.provenance.identity import film_number
from avatar.render.device import DeviceName
from avatar.voice.engines import VoiceChoice, open_voice
from avatar.voice.engines import speak as synthesize
from avatar.voice.passages import Chunk, Passage, Voice
from avatar.voice.script import MARKUP, SUBTITLES, read_script
from avatar.voice.sentiment import with_sentiment
from avatar.voice.subtitles import CaptionKind, make_captions, write_captions

SCRIPT_ENDINGS = (".txt", *MARKUP, *SUBTITLES)
LONGEST_NAME = 250  # letters of what may be the name of a file


@dataclass(frozen=True)
class Saying:
    """What is said, by whom, and how it is shown."""

    text: str  # or the name of a file with it
    voice: VoiceChoice = field(default_factory=VoiceChoice)
    speed: float = 1.0
    captions: CaptionKind | None = None
    font: Path | None = None  # of captions in the picture

    @property
    def source(self) -> str | Path:
        """The text, or its file."""
        short = len(self.text) < LONGEST_NAME and "\n" not in self.text
        if short and (Path(self.text).suffix.lower() in SCRIPT_ENDINGS or Path(self.text).is_file()):
            return Path(self.text)
        return self.text

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        source = self.source
        return digest_file(source) if isinstance(source, Path) else hashlib.sha256(source.encode()).hexdigest()

    @property
    def files(self) -> list[Path]:
        """What is read."""
        source = self.source
        return [*([source] if isinstance(source, Path) else []), *([self.font] if self.font else [])]


@dataclass(frozen=True)
class Recording:
    """What a voice made, its sound on disk: chunks keep their phones alone. An hour takes 170 MB."""

    sound: Path  # wav, 16 bit
    chunks: tuple[tuple[float, Chunk], ...]  # when each with words begins, s
    seconds: float
    silent: bool


def say(
    avatar: Avatar | Path | str,
    text: Saying | str | Path,
    out: Path | str,
    *,
    controls: Controls | None = None,
    look: Look | None = None,
    device: DeviceName = "auto",
    force: bool = False,
    progress: Progress = no_progress,
) -> int:
    """Make the avatar say a text; writes a film with the voice's sound, and captions beside it or in it.

    text: words, the name of a .txt, .ssml, .srt or .vtt file, or a `Saying`. force: as in `speak`.
    Raises: UserError. Returns: the number of frames.
    """
    read, out, look = files_among(avatar), Path(out), look or Look()
    saying = text if isinstance(text, Saying) else Saying(str(text))
    avatar = as_avatar(avatar)
    controls = controls or resolve_controls(avatar)
    read += [*saying.files, *look.files, *controls.files]
    check_film(out, look.coding, transparent=look.transparent, inputs=read, force=force)
    captions_place = captions_file(saying, out, read, force=force)
    passages = read_script(saying.source)
    passages = with_sentiment(passages) if reads_sentiment(saying, controls) else passages
    number = say_number(avatar, saying, controls, look)
    avatar, controls = with_clips(avatar, controls, out=out, progress=progress)
    with torch_threads(1), tempfile.TemporaryDirectory(prefix="avatar-say-") as folder:
        made = record(saying, passages, Path(folder) / "speech.wav", progress)
        captions = list(make_captions(one for start, chunk in made.chunks for one in chunk.later(start).spoken))
        player = Player(avatar, look=look, controls=controls, device=device, mark=number)
        frames = _frames(player, made, "nv12" if out.suffix else "rgb")
        if saying.captions == "burn":
            captioner = Captioner(captions, player.shape, player.fps, saying.font)
            frames = (captioner.add(frame) for frame in frames)
        voice = [] if made.silent else [SoundTrack(made.sound, probe(made.sound))]
        with film_sound(look, voice, made.seconds) as tracks:
            count = write_video(
                count_steps(frames, "say", round(made.seconds * player.fps), progress),
                out,
                fps=player.fps,
                sound=tracks,
                metadata=look.label.metadata(number),
                coding=look.coding,
                force=force,
            )
    if captions_place and saying.captions in ("srt", "vtt"):
        with whole(captions_place) as place:
            place.write_text(write_captions(captions, saying.captions), encoding="utf-8")
    return count


def reads_sentiment(saying: Saying, controls: Controls) -> bool:
    """Whether emotions are to follow the words: `auto`, in English."""
    language = saying.voice.language or "en"
    return controls.emotion == AUTO and language.lower().startswith("en")


def captions_file(saying: Saying, out: Path, read: list[Path | str], *, force: bool) -> Path | None:
    """The file of captions beside a film; None for none. Raises: UserError when it cannot be written."""
    if saying.captions not in ("srt", "vtt"):
        return None
    place = beside(out, f".{saying.captions}")
    check_output(place, [*read, out], endings=(place.suffix,), force=force)
    return place


def say_number(avatar: Avatar, saying: Saying, controls: Controls, look: Look) -> int:
    """The number that marks the film of a text, 0 .. 2^32 - 1."""
    voice = (saying.voice.voice, saying.voice.language or "", f"{saying.speed:g}")
    return film_number(avatar, "say", saying.digest, *voice, controls.model_dump_json(), look.seen)


def record(
    saying: Saying,
    passages: Sequence[Passage],
    place: Path,
    progress: Progress = no_progress,
    *,
    voice: Voice | None = None,
) -> Recording:
    """Have a script said, sentence by sentence; memory holds its phones alone. Raises: UserError.

    voice: one that is open already.
    """
    voice = voice or open_voice(saying.voice)
    kept: list[tuple[float, Chunk]] = []
    samples = rate = done = 0
    with wave.open(str(place), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))  # so that it can be closed when nothing was said
        for chunk in synthesize(passages, voice, speed=saying.speed):
            if not samples:
                rate = chunk.rate
                file.setframerate(rate)
            if chunk.rate != rate:
                raise UserError(f"voice {saying.voice.voice}: changes its rate from {rate} to {chunk.rate} Hz")
            if chunk.spoken:
                loud = chunk.pcm.any()
                kept.append((samples / rate, replace(chunk, pcm=np.full(1, float(loud), np.float32))))
                done += 1
                progress("voice", min(done, len(passages)), len(passages))
            file.writeframes((chunk.pcm * 32767).astype("<i2").tobytes())
            samples += len(chunk.pcm)
    return Recording(place, tuple(kept), samples / max(1, rate), saying.voice.silent)


def _frames(player: Player, made: Recording, pixels: str) -> Iterator[np.ndarray]:
    driver = player.driver()
    for start, chunk in made.chunks:
        follow(driver, chunk, start)
    if made.silent:
        yield from player.draw(drive(driver, _silence(made.seconds)), pixels=pixels)  # type: ignore[arg-type]
        return
    with open_speech(made.sound) as sound:
        yield from player.draw(drive(driver, sound.chunks()), pixels=pixels)  # type: ignore[arg-type]


def _silence(seconds: float) -> Iterator[Tensor]:
    left = round(seconds * SAMPLE_RATE)
    while left > 0:
        yield torch.zeros(min(left, CHUNK))
        left -= CHUNK
