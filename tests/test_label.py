"""Visible labels: drawn in the right corner, large enough, for as long as asked; the AIGC field; the audible notice."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatar.core.avatar_file import Avatar
from avatar.core.controls import Controls
from avatar.core.encode import write_video
from avatar.core.files import UserError
from avatar.core.label import Label, LabelKind
from avatar.core.media import ffmpeg_binary, probe, read_speech, write_wav
from avatar.core.speech_file import SpeechFile, open_speech
from avatar.pipelines.speak import speak
from avatar.pipelines.speech_film import speech_number
from avatar.play.label import PRESETS, Labeller
from avatar.play.look import Look
from avatar.play.player import Player
from preprocess.actor import speech

HEIGHT, WIDTH = 360, 640


def grey(channels: int = 3) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, channels), 128, np.uint8)


def labelled(kind: LabelKind, frame: np.ndarray, seconds: float | None = None, fps: float = 25) -> np.ndarray:
    return Labeller(Label(kind, seconds, "Studio"), HEIGHT, WIDTH, fps).add(frame)


@pytest.mark.parametrize("kind", list(PRESETS))
def test_a_label_is_read_in_its_corner(kind: LabelKind) -> None:
    preset, frame = PRESETS[kind], labelled(kind, grey())
    rows, columns = np.nonzero((frame != 128).any(-1))
    assert (rows.max() < HEIGHT / 2) if preset.top else (rows.min() > HEIGHT / 2)
    assert (columns.min() > WIDTH / 2) if preset.right else (columns.max() < WIDTH / 2)
    white = np.nonzero((frame > 200).all(-1))[0]
    assert white.max() - white.min() >= 0.9 * preset.height * HEIGHT, "letters are as high as asked"
    plate = frame[rows.min() : rows.max(), columns.min() : columns.max()]
    assert np.quantile(plate, 0.3) < 70
    assert plate.max() == 255, "white on black"


def test_the_letters_of_cn_are_a_twentieth_of_the_shorter_side() -> None:
    white = np.nonzero((labelled("cn", grey()) > 128).all(-1))[0]
    assert white.max() - white.min() + 1 >= 0.05 * HEIGHT
    assert PRESETS["cn"].seconds is not None
    assert PRESETS["cn"].seconds >= 2


def test_kinds_of_pixels_get_the_same_label() -> None:
    rgb = labelled("eu", grey())
    clear = labelled("eu", np.zeros((HEIGHT, WIDTH, 4), np.uint8))
    alpha = clear[..., 3:] / 255
    assert np.abs(clear[..., :3] * alpha + 128 * (1 - alpha) - rgb).max() < 2
    video = (16 + 219 * 128 / 255, 90)
    nv12 = np.concatenate([np.full((HEIGHT, WIDTH), video[0]), np.full((HEIGHT // 2, WIDTH), video[1])]).astype(
        np.uint8
    )
    drawn = labelled("eu", nv12)
    luma = (drawn[:HEIGHT].astype(float) - 16) * 255 / 219
    assert np.abs(luma - rgb[..., 0]).max() < 3
    changed = (drawn[HEIGHT:] != 90).nonzero()
    assert changed[0].max() < HEIGHT // 4, "colour goes where the label is"
    assert np.abs(drawn[HEIGHT:].astype(int) - 128).min() < 8


def test_a_label_is_shown_as_long_as_asked() -> None:
    def shown(label: Label) -> list[bool]:
        labeller = Labeller(label, HEIGHT, WIDTH, 10)
        return [bool((labeller.add(grey()) != 128).any()) for _ in range(40)]

    assert shown(Label("eu")) == [True] * 40
    assert shown(Label("cn", producer="Studio")) == [True] * 30 + [False] * 10
    assert shown(Label("text", 1.5)) == [True] * 15 + [False] * 25


def test_labels_that_say_too_little_are_refused() -> None:
    with pytest.raises(UserError, match=r"--label cn: .* add --producer NAME"):
        Label("cn")
    with pytest.raises(UserError, match="--label-seconds: there is no label"):
        Label(seconds=2)


def test_a_player_labels_live_frames(avatar: Avatar) -> None:
    with Player(
        avatar, look=Look(label=Label("icon", 0.08)), controls=Controls(blink=0.0), mark="none"
    ).session() as live:
        frames = live.idle(3)
    with Player(avatar, controls=Controls(blink=0.0), mark="none").session() as live:
        plain = live.idle(3)
    assert [bool((one != other).any()) for one, other in zip(frames, plain, strict=True)] == [True, True, False]


@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "frames"])
def test_the_field_of_cn_stands_in_the_file(tmp_path: Path, name: str) -> None:
    fields, out = Label("cn", producer="工作室").metadata(0xC0FFEE42), tmp_path / name
    assert json.loads(fields["AIGC"]) | {
        "Label": "1",
        "ContentProducer": "工作室",
        "ProduceID": "c0ffee42",
    } == json.loads(fields["AIGC"])
    assert Label("eu").metadata(1) == {}
    write_video([grey()] * 3, out, fps=25, metadata=fields)
    if out.is_dir():
        with Image.open(out / "000001.png") as image:
            assert image.text["AIGC"] == fields["AIGC"]
        return
    command = [ffmpeg_binary(), "-v", "error", "-i", str(out), "-f", "ffmetadata", "-"]
    assert fields["AIGC"] in subprocess.run(command, capture_output=True, check=True).stdout.decode().replace("\\", "")


def tone(path: Path, seconds: float, rate: int = 44100) -> Path:
    write_wav(path, 0.5 * torch.sin(torch.arange(round(seconds * rate)) * 0.1), rate=rate)
    return path


def test_a_notice_comes_before_the_speech_and_the_person_is_silent_meanwhile(avatar: Avatar, tmp_path: Path) -> None:
    notice, out = tone(tmp_path / "notice.wav", 1.2), tmp_path / "film.mp4"
    write_wav(tmp_path / "speech.wav", speech(2.0)[0])
    announced = SpeechFile(tmp_path / "speech.wav", notice=notice)
    with open_speech(announced) as sound, open_speech(tmp_path / "speech.wav") as alone:
        samples, spoken = (torch.cat(list(one.chunks())) for one in (sound, alone))
    assert len(samples) == len(spoken) + 19200
    assert samples[:19200].abs().max() == 0
    torch.testing.assert_close(samples[19200:], spoken)
    assert speak(avatar, announced, out, controls=Controls(blink=0.0), look=Look(size=64)) == 80
    assert probe(out).seconds == pytest.approx(3.2, abs=0.06)
    found = torch.cat(list(read_speech(out)))
    crossings = (found[1600:17600].sign().diff() != 0).sum() / 2
    assert float(crossings) == pytest.approx(44100 * 0.1 / (2 * np.pi), rel=0.02), "the tone's Hz, for a second"
    later = found[19200 : 19200 + len(spoken)]
    reference = torch.cat(list(read_speech(tmp_path / "speech.wav")))[: len(later)]
    assert torch.corrcoef(torch.stack([later, reference[: len(later)]]))[0, 1] > 0.95
    number = speech_number(avatar, announced, Controls(), Look())
    assert number != speech_number(avatar, SpeechFile(announced.path), Controls(), Look())
    write_video([grey()] * 3, tmp_path / "mute.mp4", fps=25)
    with pytest.raises(UserError, match="give a file with a spoken notice"):
        speak(avatar, SpeechFile(announced.path, notice=tmp_path / "mute.mp4"), out)
