"""The choice of device: what `auto` finds, what `cuda` says is missing, without a GPU."""

from __future__ import annotations

import sys

import pytest
import torch

import avatar.cli
from avatar.cli.options import print_device
from avatar.core.files import UserError
from avatar.pipelines.doctor import examine
from avatar.pipelines.options import Hardware
from avatar.pipelines.verbs import VERBS
from avatar.render import device
from avatar.render.nerf import backends
from cuda_ext import native

CARD = "NVIDIA Test 9000"
GPU = torch.device("cuda", 0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with a GPU of compute capability 9.0, kernels for it, and ops that succeed there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: CARD)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(native, "cuda_architectures", lambda: "90")
    monkeypatch.setattr(device, "failure_of_an_op", lambda: "")
    return monkeypatch


def without_kernels() -> str:
    raise ImportError("the native ops are not built")


def test_auto_takes_the_gpu_where_nothing_is_missing(machine: pytest.MonkeyPatch) -> None:
    assert device.pick_device("auto") == device.pick_device("cuda") == GPU
    assert device.pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("target", "answer", "message"),
    [
        ("torch.cuda.is_available", lambda: False, "torch .* (is the build for the CPU|finds no NVIDIA GPU)"),
        ("cuda_ext.native.cuda_architectures", lambda: "", f"{CARD} is there, but .* built without CUDA; install nvcc"),
        ("cuda_ext.native.cuda_architectures", lambda: "75-real;80-real", f"for 75-real;80-real, and {CARD} has 9.0"),
        ("cuda_ext.native.cuda_architectures", without_kernels, "not built"),
        ("avatar.render.device.failure_of_an_op", lambda: "an op failed there (no image)", "no image"),
    ],
)
def test_auto_takes_the_cpu_where_cuda_says_what_is_missing(
    machine: pytest.MonkeyPatch, target: str, answer: object, message: str
) -> None:
    machine.setattr(target, answer)
    assert device.pick_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match=f"device cuda: .*{message}"):
        device.pick_device("cuda")


@pytest.mark.parametrize(
    ("compiled", "capability", "runs"),
    [
        ("90", (9, 0), True),
        ("90", (12, 0), True),  # its PTX is compiled by the driver
        ("90-real", (12, 0), False),
        ("90a", (12, 0), False),
        ("90a-real", (9, 0), True),
        ("100f-real", (10, 3), True),
        ("80-real", (8, 6), True),
        ("86-real", (8, 0), False),
        ("80-virtual", (8, 9), True),
        ("75-real,80-real,86-real,89-real,90", (8, 7), True),
        ("75-real,80-real,86-real,89-real,90", (7, 0), False),
        ("75-real;120-real", (12, 0), True),
    ],
)
def test_kernels_fit_a_gpu_by_their_architectures(compiled: str, capability: tuple[int, int], runs: bool) -> None:
    assert device.fits(compiled, capability) is runs


def test_everything_that_has_a_device_chooses_it_itself() -> None:
    hardware = [verb for verb in VERBS.values() if issubclass(verb, Hardware)]
    assert len(hardware) >= 4
    assert {verb.model_fields["device"].default for verb in hardware} == {"auto"}


def test_the_command_names_the_gpu_that_auto_found(
    machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    print_device("cuda")
    print_device("cpu")
    assert capsys.readouterr().err == ""
    print_device("auto")
    (line,) = capsys.readouterr().err.splitlines()
    assert CARD in line
    assert "--device cpu" in line
    machine.setattr(torch.cuda, "is_available", lambda: False)
    print_device("auto")
    assert capsys.readouterr().err == ""


def test_doctor_says_what_auto_does(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(backends, "time_backends", lambda _: {"native": 2.0, "tcnn": 1.0})  # on a GPU that is not there
    (timed,) = (finding for finding in examine() if finding.name == "NeRF backends")
    assert "native 2.00 ms, tcnn 1.00 ms" in timed.detail
    assert "auto picks tcnn" in timed.detail
    (found,) = (finding for finding in examine() if finding.name == "CUDA")
    assert found.good
    assert CARD in found.detail
    machine.setattr(native, "cuda_architectures", lambda: "")
    (found,) = (finding for finding in examine() if finding.name == "CUDA")
    assert not found.good
    assert "install nvcc" in found.detail
    assert found.detail.endswith("everything runs on the CPU")


def test_a_command_says_it_before_it_works(machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    machine.setattr(sys, "argv", ["avatar", "speak", "no.avatar", "no.wav", "-o", "x.mp4"])
    with pytest.raises(SystemExit):
        avatar.cli.main()
    first, second = capsys.readouterr().err.splitlines()
    assert CARD in first
    assert second.startswith("error: no.avatar")
