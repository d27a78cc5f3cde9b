"""The actor's film and its Take, made once a test run."""

from __future__ import annotations

import os

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # before torch, whose idle workers would steal cores

from dataclasses import dataclass
from pathlib import Path

import pytest

from avatar.core.take import Take
from preprocess.actor import ActorTruth, film_actor
from preprocess.run import make_take

SECONDS = 8.0


@dataclass(frozen=True)
class Filmed:
    video: Path
    truth: ActorTruth
    take: Take


@pytest.fixture(scope="session")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Filmed:
    """Eight seconds of the actor at 512 px, and the Take made of them."""
    folder = tmp_path_factory.mktemp("actor")
    truth = film_actor(folder / "actor.mp4", seconds=SECONDS, seed=3)
    return Filmed(folder / "actor.mp4", truth, make_take(folder / "actor.mp4", folder / "actor.take"))
