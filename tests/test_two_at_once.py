"""Two processes that make one thing: the second is refused with the number of the first, and neither is harmed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from avatar.batch.journal import is_running, sole_runner
from avatar.core.files import UserError, sole_maker
from avatar.core.recipe import Recipe
from avatar.pipelines import build as building
from preprocess.take_folder import resumable
from tests.test_bad_input import film

HOLD = """
import sys, time
from pathlib import Path
from avatar.core.files import sole_maker
with sole_maker(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold_elsewhere(out: Path) -> subprocess.Popen[str]:
    """Another process that makes `out`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_a_take_that_another_process_makes(tmp_path: Path) -> None:
    other = hold_elsewhere(tmp_path / "a {0}.take")
    refusal = rf"is being made by process {other.pid}; wait, or end it"
    with pytest.raises(UserError, match=refusal), resumable(tmp_path / "a {0}.take", "key"):
        pass
    with resumable(tmp_path / "b.take", "key") as part:
        (part / "frame").touch()
    other.send_signal(signal.SIGKILL)
    other.wait()
    with resumable(tmp_path / "a {0}.take", "key") as part:
        (part / "frame").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a {0}.take", "b.take"]


def test_an_avatar_that_another_process_makes(tmp_path: Path) -> None:
    clip, out = film(tmp_path / "clip.mp4", sound=True), tmp_path / "a.avatar"
    other = hold_elsewhere(out)
    recipe = Recipe(renderer={"kind": "gaussian"})
    with pytest.raises(UserError, match=rf"a\.avatar: is being made by process {other.pid}"):
        building.build(clip, out, recipe=recipe, device="cpu")
    other.kill()
    other.wait()
    assert not (tmp_path / "a.take").exists()
    assert not (tmp_path / ".a.take.part").exists()


def test_a_take_that_was_made_while_one_waited(tmp_path: Path) -> None:
    (tmp_path / "a.take").mkdir()
    with pytest.raises(UserError, match="was made by another process just now"), resumable(tmp_path / "a.take", "key"):
        pass


def test_a_batch_that_another_one_runs(tmp_path: Path) -> None:
    with sole_runner(tmp_path / "j.batch"):
        assert is_running(tmp_path / "j.batch")
        refusal = f"is being run by process {os.getpid()}"
        with pytest.raises(UserError, match=refusal), sole_runner(tmp_path / "j.batch"):
            pass
    assert not is_running(tmp_path / "j.batch")


def test_one_at_a_time_of_many(tmp_path: Path) -> None:
    """However locks come and go, no two hold one: the file of a lock is taken away with it."""
    inside, most, refused = 0, 0, 0
    counting = threading.Lock()

    def work() -> None:
        nonlocal inside, most, refused
        for _ in range(200):
            try:
                with sole_maker(tmp_path / "x"):
                    with counting:
                        inside += 1
                        most = max(most, inside)
                    with counting:
                        inside -= 1
            except UserError:
                with counting:
                    refused += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert list(tmp_path.iterdir()) == []
