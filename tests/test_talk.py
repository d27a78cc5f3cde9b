"""What a person reads while a command works and at its end: the error last, the verdict on a clip, sizes, progress."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

import avatar.pipelines.build as building
from avatar.cli.bars import progress_bars
from avatar.cli.errors import LONGEST, describe_error
from avatar.cli.sizes import size_of
from avatar.core.files import UserError
from avatar.metrics import Score
from avatar.pipelines.verdict import sum_up
from tests.conftest import Filmed
from tests.test_bad_input import film

FAILING = """
import sys, threading
from avatar.cli import main, app
from avatar.cli.bars import progress_bars
from avatar.core.files import UserError

late = []

@app.command("fail")
def fail():
    with progress_bars() as progress:
        progress("first", 5, 5)
        progress("second", 1, 9)
        late.append(threading.Timer(0.2, progress, ("third", 1, 2)))
        late[0].start()
        raise UserError("clip.mp4: no face found")

sys.argv = ["avatar", "fail"]
try:
    main()
finally:
    late[0].join()
"""
"""A command that fails in the midst of its bars, while one of its threads goes on for a moment."""


def run_in_terminal(command: list[str]) -> str:
    """What a command shows in a terminal."""
    leader, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    process = subprocess.Popen(command, stdout=terminal, stderr=terminal, stdin=subprocess.DEVNULL)
    os.close(terminal)
    shown = b""
    try:
        while data := os.read(leader, 4096):
            shown += data
    except OSError:  # the other end is closed
        pass
    os.close(leader)
    assert process.wait(120) == 1
    return shown.decode()


def last_line(shown: str) -> str:
    return shown.replace("\r\n", "\n").rstrip("\n").split("\n")[-1]


def test_the_error_is_the_last_line_of_a_log_and_of_a_terminal() -> None:
    command = [sys.executable, "-c", FAILING]
    logged = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert logged.returncode == 1
    for shown in (logged.stderr, run_in_terminal(command)):
        assert "second" in shown
        assert "third" not in shown
        assert last_line(shown) == "error: clip.mp4: no face found"


def test_the_error_of_a_clip_without_a_face_stands_below_the_bars(tmp_path: Path) -> None:
    clip = film(tmp_path / "noise.mp4")
    command = [sys.executable, "-m", "avatar.cli", "preprocess", str(clip), "-o", str(tmp_path / "t")]
    logged = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert logged.returncode == 1
    assert last_line(logged.stderr).startswith(f"error: {clip}: no face found")


def test_bars_end_with_their_block(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress:
        progress("first", 1, 2)
    progress("second", 1, 2)
    assert "second" not in capsys.readouterr().err


def test_an_error_is_a_line_of_a_length_that_can_be_read() -> None:
    assert describe_error(UserError("a\nb")) == "a b"
    text = describe_error(UserError("x.yaml: " + "y" * 10**6 + " leave it out"))
    assert len(text) < LONGEST + 10
    assert text.startswith("x.yaml: y")
    assert text.endswith("leave it out")


def test_a_build_names_the_verdict_and_the_report_of_its_clip(
    actor: Filmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise UserError("stop here")

    monkeypatch.setattr(building, "_learn", stop)
    root = actor.take.root
    with pytest.warns(UserWarning, match=rf"^{root}: (Good|Usable)\b.*\. See {root / 'report.html'}$"):  # noqa: SIM117
        with pytest.raises(UserError, match="stop here"):
            building.build(root, tmp_path / "a.avatar", device="cpu")


def scores(face: float, lips: float, skin: float) -> list[Score]:
    return [
        Score("own torso", "face", "psnr", face, "dB"),
        Score("lips by sound", "lips seen", "opening correlation", lips, ""),
        Score("own torso", "skin", "flicker", skin, "x"),
    ]


def test_an_evaluation_ends_in_a_sentence() -> None:
    text = sum_up(scores(35.2, 0.71, 0.7))
    assert text.startswith("Good: the face is drawn at 35.2 dB (good from 32, poor under 28), ")
    assert "lips follow the sound with a correlation of 0.71 (good from 0.5, poor under 0.3)" in text
    assert text.endswith("skin flickers 0.70 times as much as in the clip (good up to 1, poor above 1.5).")


@pytest.mark.parametrize(
    ("values", "grade"),
    [
        ((30.0, 0.71, 0.7), "Fair"),
        ((35.0, 0.4, 0.7), "Fair"),
        ((35.0, 0.71, 1.2), "Fair"),
        ((25.0, 0.71, 0.7), "Poor"),
        ((35.0, 0.1, 1.2), "Poor"),
        ((35.0, float("nan"), 0.7), "Poor"),
    ],
)
def test_the_worst_figure_is_the_verdict(values: tuple[float, float, float], grade: str) -> None:
    assert sum_up(scores(*values)).startswith(f"{grade}: ")


def test_sizes_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a.mov").write_bytes(bytes(2_049_000))
    (tmp_path / "frames").mkdir()
    for name in "ab":
        (tmp_path / "frames" / name).write_bytes(bytes(400))
    assert size_of(tmp_path / "a.mov") == "2.0 MB"
    assert size_of(tmp_path / "frames") == "800 bytes"
    assert size_of(tmp_path / "frames", tmp_path / "a.mov") == "2.0 MB"
