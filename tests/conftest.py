"""The devices that kernels are tested on, and the actor's film with its Take, made once a test run."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, whose idle workers would steal cores

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from cuda_ext import native

if TYPE_CHECKING:
    from avatar.core.take import Take
    from preprocess.actor import ActorTruth

SECONDS = 8.0


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
            pytest.skip("built without AVATAR_EMULATION; `make install` builds with it")
        monkeypatch.setattr(native, "_native", importlib.import_module("cuda_ext._emulated"))
        monkeypatch.setattr(native, "stream", lambda _: 0)
    yield Device(request.param, torch.device("cpu"))


@dataclass(frozen=True)
class Filmed:
    video: Path
    truth: ActorTruth
    take: Take


@pytest.fixture(scope="session")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Filmed:
    """Eight seconds of the actor at 512 px, and the Take made of them."""
    # Here, so that the kernel tests run where the preprocessing is not installed.
    from preprocess.actor import film_actor
    from preprocess.run import make_take

    folder = tmp_path_factory.mktemp("actor")
    truth = film_actor(folder / "actor.mp4", seconds=SECONDS, seed=3)
    return Filmed(folder / "actor.mp4", truth, make_take(folder / "actor.mp4", folder / "actor.take"))
