"""`say`: a text becomes a film whose captions and lips are in time with the voice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.core.articulation import Phone
from avatar.core.avatar_file import Avatar
from avatar.core.controls import Controls
from avatar.core.files import UserError
from avatar.core.lips import read_lips
from avatar.core.media import probe
from avatar.core.motion_space import concatenate, load_space
from avatar.motion.driver import LIVE_WINDOW, drive
from avatar.pipelines.say import Saying, record, say
from avatar.play.captions import Captioner
from avatar.play.player import Player
from avatar.voice.engines import VoiceChoice
from avatar.voice.passages import Chunk
from avatar.voice.script import read_script
from avatar.voice.subtitles import Caption, read_subtitles

FRAME = 640  # samples


@pytest.fixture(scope="module")
def player(avatar: Avatar) -> Player:
    return Player(avatar, controls=Controls(blink=0.0, temperature=0.0))


def openings(player: Player, expression: torch.Tensor) -> torch.Tensor:
    return expression @ read_lips(load_space().basis)[:, 0]


def test_a_film_of_a_text_and_its_captions(avatar: Avatar, tmp_path: Path) -> None:
    pytest.importorskip("hibari")
    out = tmp_path / "a.mp4"
    saying = Saying("Hello, Bob. [pause 0.3s] *Many* maps!", captions="srt")
    frames = say(avatar, saying, out)
    made = record(saying, read_script(saying.source), tmp_path / "again.wav")
    info = probe(out)
    assert frames == round(made.seconds * 25)
    assert info.has_audio
    assert info.seconds == pytest.approx(made.seconds, abs=0.05)
    captions = read_subtitles((tmp_path / "a.srt").read_text(), "a.srt")
    words = [(start + one.start, start + one.stop) for start, chunk in made.chunks for one in chunk.spoken]
    starts = [one.start for one in captions if one.start is not None]
    assert starts[0] == pytest.approx(words[0][0], abs=0.0011)
    assert captions[-1].stop == pytest.approx(words[-1][1], abs=0.0011)
    (tmp_path / "b.srt").write_text("my own notes")
    with pytest.raises(UserError, match=r"b\.srt: exists"):
        say(avatar, saying, tmp_path / "b.mp4")
    assert not (tmp_path / "b.mp4").exists()


def test_lips_without_sound(avatar: Avatar, tmp_path: Path) -> None:
    pytest.importorskip("hibari")
    saying = Saying("Mama, Papa, a map.", VoiceChoice(silent=True), captions="burn")
    assert say(avatar, saying, tmp_path / "a.mp4") > 20
    assert not probe(tmp_path / "a.mp4").has_audio


def phones(*marks: tuple[str, float]) -> list[Phone]:
    """Phones one after the other, of lengths in s."""
    stops = np.cumsum([seconds for _, seconds in marks]).tolist()
    return [Phone(name, stop - seconds, stop) for (name, seconds), stop in zip(marks, stops, strict=True)]


def test_lips_close_when_phones_say_so(player: Player) -> None:
    vowel, closed = ("aa", 0.32), ("b", 0.12)
    said = phones(vowel, closed, vowel, closed, vowel)
    sound = 0.1 * torch.randn(round(said[-1].stop * 16_000), generator=torch.Generator().manual_seed(0))
    with_phones, without = player.driver(), player.driver()
    with_phones.follow(said)
    found, plain = (
        openings(player, concatenate(list(drive(one, [sound]))).expression) for one in (with_phones, without)
    )
    own = openings(player, player.avatar.style.own.expression)
    shut = own.quantile(0.01) + 0.15 * (own.quantile(0.99) - own.quantile(0.01))
    for phone in said:
        if phone.symbol == "b":
            frame = round((phone.start + phone.stop) / 2 * 25 - 0.5)
            assert found[frame - 1 : frame + 2].min() < shut
    outside = [frame for frame in range(3, len(found)) if all(abs(frame - at) > 4 for at in (8, 10, 19, 21))]
    assert torch.allclose(found[outside], plain[outside], atol=1e-4), "elsewhere lips follow the sound"


def test_lips_by_phones_alone_follow_them(player: Player) -> None:
    said = phones(("pau", 0.2), ("m", 0.16), ("aa", 0.3), ("m", 0.16), ("iy", 0.3), ("p", 0.16), ("aa", 0.3))
    driver = player.driver()
    driver.follow(said, alone=True)
    motion = concatenate(list(drive(driver, [torch.zeros(round(said[-1].stop * 16_000))])))
    found = openings(player, motion.expression)

    def at(index: int) -> float:
        return float(found[round((said[index].start + said[index].stop) / 2 * 25 - 1.5)])

    assert at(2) > at(4) > max(at(1), at(3), at(5))
    width = motion.expression @ read_lips(load_space().basis)[:, 2]
    assert width[round(said[4].start * 25) + 3] > width[round(said[2].start * 25) + 3], "ee is wide"


def test_phones_are_in_time_in_a_live_stream(player: Player) -> None:
    said = phones(("aa", 0.4), ("b", 0.16), ("aa", 0.4))
    driver = player.driver(LIVE_WINDOW)
    driver.idle(10)
    sound = 0.1 * torch.randn(round(0.96 * 16_000), generator=torch.Generator().manual_seed(1))
    made = [driver.push(sound[:FRAME])]
    driver.follow([replace(one, start=one.start - 0.04, stop=one.stop - 0.04) for one in said])
    made += [driver.push(piece) for piece in sound[FRAME:].split(FRAME)]
    made.append(driver.finish())
    found = openings(player, concatenate([one for one in made if len(one)]).expression)
    assert len(found) == 24
    assert abs(int(found[5:20].argmin()) + 5 - 11) <= 2
    driver.follow(said)
    driver.interrupt()
    assert driver._cues.over(0, 1000, 25.0) is None


def test_a_player_says_a_text_at_once(player: Player) -> None:
    pytest.importorskip("hibari")
    chunks: list[Chunk] = []
    frames = player.say("Well, hello there. This is the second sentence.", made=chunks.append)
    assert next(frames).shape == (128, 128, 3)
    assert len(chunks) == 1, "no more was said than is needed"
    count = 1 + sum(1 for _ in frames)
    assert count == round(sum(len(chunk.pcm) for chunk in chunks) / chunks[0].rate * 25)


@pytest.mark.parametrize("shape", [(96, 128, 3), (96, 128, 4), (144, 128)])
def test_captions_in_the_picture(shape: tuple[int, ...]) -> None:
    captioner = Captioner([Caption("Hi there,\nyou", 0.04, 0.12)], (96, 128), 25.0, None)
    frames = [captioner.add(np.full(shape, 100, np.uint8)) for _ in range(5)]
    changed = [bool((frame != 100).any()) for frame in frames]
    assert changed == [False, True, True, False, False]
    drawn = frames[1] if len(shape) == 3 else frames[1][:96, :, None]
    assert drawn[..., 0].max() > 220
    assert drawn[..., 0].min() < 30
    assert (drawn[:48, ..., 0] == 100).all(), "captions stand below"


def test_fonts_and_files_that_there_are_not(tmp_path: Path) -> None:
    (tmp_path / "x.ttf").write_bytes(b"no")
    with pytest.raises(UserError, match="is no font"):
        Captioner([], (96, 128), 25.0, tmp_path / "x.ttf")
    with pytest.raises(UserError, match=r"no\.srt"):
        read_script(Saying(str(tmp_path / "no.srt")).source)
