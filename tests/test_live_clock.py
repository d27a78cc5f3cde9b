"""The page's player over hours, run by Node: clocks that are off, a network that delays and loses."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "live_clock.mjs"
START = Path(__file__).parent / "live_start.mjs"


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
@pytest.mark.parametrize("skew", [3e-4, -3e-4])
def test_sound_and_picture_stay_together_for_eight_hours(skew: float) -> None:
    """300 parts in a million, 100 ms of jitter, a packet of fifty lost: 8.6 s of drift if nothing followed it."""
    done = subprocess.run(["node", SCRIPT, "8", str(skew)], capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(done.stdout)
    assert abs(found["last"]) <= 0.02
    assert found["worst"] <= 0.03, "s that the picture shown is off the sound"
    assert found["late"] <= found["early"], "the delay does not grow"
    assert found["mostWaiting"] < 1.0


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_what_comes_sooner_is_heard_sooner() -> None:
    """The server begins a first word before its tick: the silence before it is shortened by as much, without a gap."""
    done = subprocess.run(["node", START], capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(done.stdout)
    assert found["gaps"] <= 1, "beside the one at the start"
    assert abs(found["after"] - found["before"]) < 0.006
    assert 0.005 < found["after"] < 0.02, "the delay is that of the network's jitter"
    assert found["owed"] < 0.001
