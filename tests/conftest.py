"""The devices that kernels are tested on; the actor's film, its Take, speech model and avatar, made once a test run."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, whose idle workers would steal cores

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from cuda_ext import native

if TYPE_CHECKING:
    from avatar.core.avatar_file import Avatar, SpeakingStyle
    from avatar.core.speech_model import SpeechModel
    from avatar.core.take import Take
    from preprocess.actor import ActorTruth

if (workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:  # each has its share of the cores
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    native.set_threads(max(1, (os.cpu_count() or 1) // workers))
os.environ["XDG_CONFIG_HOME"] = os.devnull  # nothing is signed by the keys of whoever runs the tests,
os.environ["AVATAR_LOG"] = "off"  # nor written into their log

SECONDS = 8.0
ADAPTED_FRAMES = 140  # of the film that the speech model is adapted to; the other 60 are new to it


@dataclass(frozen=True)
class Device:
    """Where a kernel test runs. emulated: the GPU's kernels, compiled for the CPU."""

    name: str
    torch: torch.device

    @property
    def slow(self) -> bool:
        return self.name == "emulated"


@pytest.fixture(params=["cpu", "emulated", "cuda"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """Each device in turn. FAIL_WITHOUT_CUDA=1 makes the absence of a GPU a failure, as in `make gpu-check`."""
    if request.param == "cuda":
        if not torch.cuda.is_available() or not native.cuda_architectures():
            if os.environ.get("FAIL_WITHOUT_CUDA"):
                pytest.fail("no GPU, or the native ops were built without CUDA")
            pytest.skip("no GPU")
        yield Device("cuda", torch.device("cuda:0"))
        return
    if request.param == "emulated":
        if importlib.util.find_spec("cuda_ext._emulated") is None:
            pytest.skip("built without AVATAR_EMULATION; `make dev` builds with it")
        monkeypatch.setattr(native, "_native", importlib.import_module("cuda_ext._emulated"))
        monkeypatch.setattr(native, "stream", lambda _: 0)
    yield Device(request.param, torch.device("cpu"))


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that one process of a parallel test run makes, and all use."""
    shared = factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    folder, done = shared / name, shared / f"{name}.done"
    from filelock import FileLock

    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@dataclass(frozen=True)
class Filmed:
    video: Path
    truth: ActorTruth
    take: Take


@pytest.fixture(scope="session")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Filmed:
    """Eight seconds of the actor at 512 px, and the Take made of them."""
    # Here, so that the kernel tests run where the preprocessing is not installed.
    from avatar.core.take import open_take
    from preprocess.actor import ActorTruth, film_actor, speech
    from preprocess.run import make_take

    def make(folder: Path) -> None:
        truth = film_actor(folder / "actor.mp4", seconds=SECONDS, seed=3)
        plain = {name: value for name, value in vars(truth).items() if name != "phones"}
        np.savez(folder / "truth.npz", **plain)
        make_take(folder / "actor.mp4", folder / "actor.take")

    folder = made_once(tmp_path_factory, "actor", make)
    with np.load(folder / "truth.npz") as truth:
        known = {name: float(value) if value.ndim == 0 else value for name, value in truth.items()}
    phones = speech(SECONDS)[1]
    return Filmed(folder / "actor.mp4", ActorTruth(**known, phones=phones), open_take(folder / "actor.take"))


Adapted = tuple["SpeechModel", "SpeakingStyle"]


@pytest.fixture(scope="session")
def adapted(actor: Filmed) -> Adapted:
    """The actor's speech model and style, adapted to the first 140 frames of the film."""
    from avatar.core.take import read_audio, read_track
    from avatar.learn.adapt import adapt

    return adapt(read_audio(actor.take), read_track(actor.take), frames=list(range(ADAPTED_FRAMES)), seed=0)


@pytest.fixture(scope="session")
def avatar_file(actor: Filmed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An avatar of the actor at 128 px, trained for a second; its last fifth is held out."""
    from avatar.core.recipe import Recipe
    from avatar.pipelines.build import build

    def make(folder: Path) -> None:
        splats = {"kind": "gaussian", "splats": 3000}
        recipe = Recipe(steps=60, train_size=128, holdout=0.2, renderer=splats)
        build(actor.take.root, folder / "actor.avatar", recipe=recipe)

    return made_once(tmp_path_factory, "avatar", make) / "actor.avatar"


@pytest.fixture(scope="session")
def avatar(avatar_file: Path) -> Avatar:
    """As `avatar_file`, loaded."""
    from avatar.core.avatar_file import load_avatar

    return load_avatar(avatar_file)
