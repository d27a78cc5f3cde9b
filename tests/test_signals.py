"""A command that a signal ends: its exit code, its line, and what it leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

START = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where the tests run in the background of a shell
from pathlib import Path
import numpy as np
import avatar.cli
import avatar.pipelines.doctor
from avatar.core.encode import write_video
from avatar.core.files import whole
from preprocess.take_folder import resumable

folder, what = Path(sys.argv[1]), sys.argv[2]

def frames():
    for index in range(10000):
        yield np.zeros((64, 64, 3), np.uint8)
        if index == 5:
            print("begun", flush=True)
        if index > 5:
            time.sleep(0.05)

def work():
    if what == "film":
        write_video(frames(), folder / "film.mp4", fps=25)
    elif what == "pictures":
        write_video(frames(), folder / "pictures", fps=25)
    elif what == "file":
        with whole(folder / "figures.json") as temporary:
            temporary.write_text("half")
            print("begun", flush=True)
            time.sleep(60)
    else:
        with resumable(folder / "a.take", "key") as part:
            (part / "stage").touch()
            print("begun", flush=True)
            time.sleep(60)

avatar.pipelines.doctor.examine = work
sys.argv = ["avatar", "doctor"]
avatar.cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("what", ["film", "pictures", "file", "take"])
def test_a_signal_leaves_only_what_resumes(what: str, number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", START, str(tmp_path), what]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    process.send_signal(number)  # whoever is impatient disturbs nothing
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors.splitlines()[-1] == "stopped; run the same command again to go on"
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ([".a.take.part"] if what == "take" else [])


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As nohup does with SIGHUP."""
    ignore = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    command = [sys.executable, "-c", ignore + START.replace("range(10000)", "range(40)"), str(tmp_path), "film"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert (tmp_path / "film.mp4").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_stopped_command_leaves_changes_nothing(number: signal.Signals, tmp_path: Path) -> None:
    leave = "import atexit\natexit.register(lambda: (print('leaving', flush=True), time.sleep(1)))\n"
    command = [sys.executable, "-c", START.replace("folder, what", leave + "folder, what"), str(tmp_path), "file"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    for line in ("begun\n", "leaving\n"):
        assert process.stdout.readline() == line
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors == "stopped; run the same command again to go on\n"
