"""A studio that is killed at random moments of an upload, a build and a film: nothing is lost, nothing is half."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from pathlib import Path

import pytest

from tests.studio_process import CONSENT, Served, expected

CLIP = random.Random(1).randbytes(400_000)
SPEECH = b"a speech of some length"
PIECE = 20_000


def killed_after(served: Served, seconds: float) -> threading.Thread:
    """Kill a studio in so many seconds."""

    def kill() -> None:
        time.sleep(seconds)
        served.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def send(served: Served, id: str) -> None:
    """Send what is missing of the clip, until it has come or the studio is dead."""
    start = served.json("GET", f"/api/uploads/{id}")["received"]
    while start < len(CLIP):
        start = served.json("PATCH", f"/api/uploads/{id}?offset={start}", CLIP[start : start + PIECE])["received"]


@pytest.mark.parametrize("seed", range(3))
def test_killed_in_the_middle(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    served = Served(tmp_path)
    id = served.json("POST", "/api/uploads", {"kind": "clip", "name": "me.mp4", "size": len(CLIP)})["id"]
    killing = killed_after(served, chance.uniform(0.0, 0.15))
    with contextlib.suppress(OSError, AssertionError):
        send(served, id)
    killing.join()
    served.start()
    send(served, id)
    served.json("POST", f"/api/uploads/{id}/finish", {})
    form = {"upload": id, "name": "Anna", "consent": CONSENT, "build": True, "quality": "quick"}
    served.json("POST", "/api/people", form)
    killed_after(served, chance.uniform(0.0, 1.5)).join()
    served.start()
    avatar = tmp_path / "anna" / "anna.avatar"
    served.wait(avatar)
    (tmp_path / "anna" / "speech").mkdir()
    (tmp_path / "anna" / "speech" / "hello.wav").write_bytes(SPEECH)
    served.json("POST", "/api/people/anna/films", {"speech": "hello.wav"})
    killed_after(served, chance.uniform(0.0, 1.5)).join()
    served.start()
    film = tmp_path / "anna" / "films" / "hello.mp4"
    served.wait(film)
    served.stop()
    assert (tmp_path / "anna" / "clip.mp4").read_bytes() == CLIP
    assert avatar.read_bytes() == expected(CLIP)
    assert film.read_bytes() == expected(SPEECH)
    assert [path.name for path in (tmp_path / "anna" / "films").iterdir()] in (
        ["hello.mp4", "hello.mp4.json"],
        ["hello.mp4.json", "hello.mp4"],
    )
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name]
