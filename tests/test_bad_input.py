"""Bad input gets one clear line, exit code 1, and changes nothing on disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

import avatar.cli
from avatar.core.encode import write_video
from avatar.core.files import UserError
from avatar.core.media import Stretch, probe, read_speech, read_video, write_wav

Run = Callable[..., tuple[int, list[str]]]
"""Arguments of the command -> its exit code and the lines on stderr."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process."""

    def run(*arguments: object) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["avatar", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            avatar.cli.main()
        return int(end.value.code or 0), capsys.readouterr().err.splitlines()

    return run


def assert_refused(result: tuple[int, list[str]], *words: str) -> None:
    code, stderr = result
    lines = [line for line in stderr if line.startswith("error:")]
    assert code == 1, stderr
    assert len(lines) == 1, stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_the_installed_command_prints_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "avatar.cli", "speak", str(tmp_path / "a.avatar"), "s.wav", "-o", "o.mp4"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"error: {tmp_path / 'a.avatar'}: no such avatar file; check the name\n"


def film(path: Path, *, seconds: float = 2.0, sound: bool = False) -> Path:
    ramp = np.linspace(0, 160, 160 * 3).reshape(1, 160, 3).repeat(120, 0)
    frames = ((ramp + i).astype(np.uint8) for i in range(int(seconds * 25)))
    voice = path.with_suffix(".wav")
    if sound:
        write_wav(voice, 0.1 * torch.randn(int(seconds * 16000), generator=torch.Generator().manual_seed(0)))
    write_video(frames, path, fps=25, sound=voice if sound else None)
    return path


def test_missing_file(run: Run, tmp_path: Path) -> None:
    assert_refused(run("preprocess", tmp_path / "no.mp4", "-o", tmp_path / "t"), "no.mp4", "no such")
    assert list(tmp_path.iterdir()) == []


def test_not_a_video(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("hello")
    assert_refused(run("preprocess", tmp_path / "x.mp4", "-o", tmp_path / "t"), "x.mp4", "not a video")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.mp4"]


def test_no_face(run: Run, tmp_path: Path) -> None:
    film(tmp_path / "noise.mp4")
    assert_refused(run("preprocess", tmp_path / "noise.mp4", "-o", tmp_path / "t"), "noise.mp4", "no face")
    assert not (tmp_path / "t").exists()


def test_build_needs_sound(run: Run, tmp_path: Path) -> None:
    film(tmp_path / "silent.mp4")
    assert_refused(run("build", tmp_path / "silent.mp4", "-o", tmp_path / "a.avatar"), "silent.mp4", "has no sound")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["silent.mp4"]


def test_unwritable_output(run: Run, tmp_path: Path) -> None:
    film(tmp_path / "x.mp4")
    (tmp_path / "file").write_text("")
    assert_refused(run("preprocess", tmp_path / "x.mp4", "-o", tmp_path / "file" / "t"), "folder cannot be made")


def test_existing_foreign_output_is_left_alone(run: Run, tmp_path: Path) -> None:
    film(tmp_path / "x.mp4")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "mine.txt").write_text("keep")
    assert_refused(run("preprocess", tmp_path / "x.mp4", "-o", tmp_path / "t"), "exists and is not a take of x.mp4")
    assert (tmp_path / "t" / "mine.txt").read_text() == "keep"


def test_speak_refuses_what_is_no_avatar(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.avatar").write_bytes(b"x" * 100)
    assert_refused(run("speak", tmp_path / "a.avatar", tmp_path / "s.wav", "-o", tmp_path / "o.mp4"), "a.avatar")
    assert not (tmp_path / "o.mp4").exists()


def test_wrong_use_exits_with_two(run: Run) -> None:
    assert run("preprocess")[0] == 2
    assert run("build", "x", "-o", "y", "--holdout", "3")[0] == 2
    assert run("nonsense")[0] == 2


def test_other_files_are_no_sound_by_chance(tmp_path: Path) -> None:
    by_chance = b"x" * 1000 + bytes.fromhex("fffb9064") + bytes(413) + b"x" * 1000  # which ffmpeg takes for ADPCM
    (tmp_path / "x.avatar").write_bytes(by_chance)
    with pytest.raises(UserError, match=r"x.avatar: is not a video or sound file"):
        list(read_speech(tmp_path / "x.avatar"))


def test_speech_of_zero_length_silent_video_and_nan(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "empty.wav", 16000, np.zeros(0, np.int16))
    with pytest.raises(UserError, match=r"empty.wav: .*(zero length|not a video or sound)"):
        list(read_speech(tmp_path / "empty.wav"))
    samples = np.zeros(16000, np.float32)
    samples[5000] = np.nan
    wavfile.write(tmp_path / "nan.wav", 16000, samples)
    with pytest.raises(UserError, match="not numbers"):
        list(read_speech(tmp_path / "nan.wav"))
    with pytest.raises(UserError, match="has no sound"):
        list(read_speech(film(tmp_path / "v.mp4")))


@pytest.mark.parametrize("name", ["plain.mp4", "with space 'and' \"quotes\".mp4", "-dash.mp4", "émoji 🙂.mp4"])
def test_video_round_trip_with_any_name(tmp_path: Path, name: str) -> None:
    frames = [np.full((64, 64, 3), 10 * i, np.uint8) for i in range(20)]
    assert write_video(iter(frames), tmp_path / name, fps=25) == 20
    info = probe(tmp_path / name)
    assert (info.width, info.height, info.fps, info.has_audio) == (64, 64, 25, False)
    back = list(read_video(tmp_path / name, size=64))
    assert len(back) == 20
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(frames, back, strict=True)) < 4


def test_a_video_that_fails_midway_leaves_nothing(tmp_path: Path) -> None:
    def frames():
        yield np.zeros((64, 64, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(frames(), tmp_path / "x.mp4", fps=25)
    assert list(tmp_path.iterdir()) == []


def test_sound_of_any_rate_and_layout(tmp_path: Path) -> None:
    for rate, channels in ((8000, 1), (96000, 2), (44100, 6)):
        wavfile.write(tmp_path / "x.wav", rate, np.zeros((rate, channels), np.int16))
        assert abs(sum(len(chunk) for chunk in read_speech(tmp_path / "x.wav")) - 16000) < 50


def test_a_stretch_of_a_file_is_read(tmp_path: Path) -> None:
    path = film(tmp_path / "v.mp4", seconds=3.0, sound=True)
    part = Stretch(1.0, 2.0)
    assert len(list(read_video(path, size=64, stretch=part))) in (24, 25, 26)
    assert abs(sum(len(chunk) for chunk in read_speech(path, stretch=part)) - 16000) < 800
    whole = list(read_video(path, size=64))
    first = next(read_video(path, size=64, stretch=Stretch(1.0)))
    assert abs(first.astype(int) - whole[25]).mean() < abs(first.astype(int) - whole[20]).mean()
    with pytest.raises(UserError, match=r"is 3\.\d s long; nothing lies between 5 s and its end"):
        Stretch(5.0).within(probe(path), "v.mp4")
