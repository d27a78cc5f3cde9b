"""Backends of the NeRF: tiny-cuda-nn's layout on our tensors, and what happens where a backend cannot run."""

from __future__ import annotations

import itertools
import sys
import types
import warnings
from pathlib import Path

import pytest
import tiny_cuda_double
import torch
from scenes import leaves, relative, rng
from torch.func import functional_call
from torch.nn import functional

from avatar.core.files import UserError
from avatar.core.recipe import Recipe
from avatar.pipelines.build import build
from avatar.render.kinds import trainable_kind
from avatar.render.nerf import NerfSettings
from avatar.render.nerf.backends import NATIVE, check_backends, open_backends, pick_backend, pick_march, time_backends
from avatar.render.nerf.tiny_cuda import TinyCuda, pad_weights
from cuda_ext import ops, reference_field

CPU = torch.device("cpu")


def tiny_cuda() -> TinyCuda:
    return TinyCuda(tiny_cuda_double, "bfloat16")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages for GPUs that can be found, on a machine without one."""
    for name in ("tinycudann", "nerfacc"):
        stub = types.ModuleType(name)
        stub.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
        monkeypatch.setitem(sys.modules, name, stub)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("sizes", [[4, 9, 31, 64], [300], [128, 129]])
def test_tiny_cuda_nn_reads_our_tables_in_one_encoding(dimensions: int, sizes: list[int]) -> None:
    """Dense levels, hashed ones, and both."""
    positions = 1.1 * torch.rand(500, dimensions, generator=rng(0)) - 0.05
    tables, resolutions = torch.randn(len(sizes), 2**12, 2, generator=rng(1)), torch.tensor(sizes, dtype=torch.int32)
    ours, theirs = (leaves([positions, tables], torch.float32) for _ in range(2))
    weights = torch.randn(500, 2 * len(sizes), generator=rng(2))
    out, again = ops.hash_grid(*ours, resolutions), tiny_cuda().hash_grid(*theirs, resolutions)
    assert relative(again, out.detach()) < 1e-4
    (out * weights).sum().backward()
    (again * weights).sum().backward()
    inside = ((positions > 0.01) & (positions < 0.99)).all(1)
    assert ours[0].grad is not None
    assert theirs[0].grad is not None
    assert relative(theirs[0].grad[inside], ours[0].grad[inside]) < 1e-3
    assert relative(theirs[1].grad, ours[1].grad) < 1e-4


def half_network(size: float, *, scaled: bool) -> float:
    """The largest relative error of the gradients of a half-precision network, of a loss of a size."""
    widths, samples = [8, 32, 3], 5000
    inputs = torch.randn(samples, 8, generator=rng(0))
    weights = 0.2 * torch.randn(32 * 8 + 32 * 3, generator=rng(1))
    ours, truth = leaves([inputs, weights], torch.float32), leaves([inputs, weights], torch.float64)
    if scaled:
        out = tiny_cuda().mlp(*ours, widths)
    else:
        network = tiny_cuda_double.Network(16, 3, {"n_neurons": 32, "n_hidden_layers": 1})
        padded = functional.pad(ours[0], (0, 8))
        out = functional_call(network, {"params": pad_weights(ours[1], widths, 16, 16)}, (padded,)).float()
    expected = reference_field.mlp(*truth, widths)
    assert relative(out, expected.detach()) < 2**-9
    (size * out.square().sum()).backward()
    (size * expected.square().sum()).backward()
    return max(float(relative(mine.grad, exact.grad)) for mine, exact in zip(ours, truth, strict=True))


@pytest.mark.parametrize("size", [1.0, 1e-8, 1e4])
def test_gradients_of_half_precision_networks_neither_vanish_nor_overflow(size: float) -> None:
    """Slopes of a mean over a picture are less than half precision holds; of a sum, the weights' gradient is more."""
    assert half_network(size, scaled=True) < 2**-7  # roundings to 11 bits, and the few ReLU that they switch
    assert not half_network(size, scaled=False) < 0.1  # by the package's own constant scale alone


def test_networks_that_tiny_cuda_nn_has_not_are_our_own() -> None:
    inputs, weights = torch.randn(9, 5, generator=rng(0)), torch.randn(5 * 24 + 24 * 2, generator=rng(1))
    assert torch.equal(tiny_cuda().mlp(inputs, weights, [5, 24, 2]), ops.mlp(inputs, weights, [5, 24, 2]))


def test_padded_weights_give_the_same_network() -> None:
    widths = [21, 32, 32, 5]
    weights = torch.randn(sum(a * b for a, b in itertools.pairwise(widths)), generator=rng(0))
    inputs = torch.randn(7, 21, generator=rng(1))
    padded = pad_weights(weights, widths, 32, 16)
    wide = reference_field.mlp(torch.nn.functional.pad(inputs, (0, 11)), padded, [32, 32, 32, 16])
    assert torch.allclose(wide[:, :5], ops.mlp(inputs, weights, widths), atol=1e-4)
    assert wide[:, 5:].abs().max() == 0


def test_backends_that_are_not_there_say_how_to_get_them() -> None:
    with pytest.raises(UserError, match=r"'tcnn' is not installed.*pip install"):
        pick_backend("tcnn", CPU)
    with pytest.raises(UserError, match=r"'nerfacc' is not installed.*avatar-builder"):
        pick_march("nerfacc", CPU)
    assert pick_backend("auto", CPU) is NATIVE


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("named", [{"backend": "tcnn"}, {"marcher": "nerfacc"}])
def test_training_with_a_gpu_backend_on_a_cpu_is_refused_before_any_work(named: dict[str, str], tmp_path: Path) -> None:
    settings = NerfSettings(**named)  # type: ignore[arg-type]
    for check in (check_backends, trainable_kind("nerf").check):
        with pytest.raises(UserError, match="NVIDIA GPUs only; give --device cuda, or use 'native'"):
            check(settings, CPU)
    recipe = Recipe(renderer={"kind": "nerf", **named})
    with pytest.raises(UserError, match="NVIDIA GPUs only"):  # not: there is no such take
        build(tmp_path / "absent.take", tmp_path / "x.avatar", recipe=recipe, device="cpu")


@pytest.mark.usefixtures("installed")
def test_an_avatar_of_a_gpu_backend_opens_anywhere_and_draws_natively_with_a_warning() -> None:
    settings = NerfSettings(backend="tcnn", marcher="nerfacc")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # opening says nothing: it may yet move to a GPU
        backend, march = open_backends(settings, CPU)
    assert backend.name == "tcnn"
    positions, resolutions = torch.rand(5, 3, generator=rng(0)), torch.tensor([4, 9], dtype=torch.int32)
    tables = torch.randn(2, 64, 2, generator=rng(1))
    with pytest.warns(UserWarning, match="drawn by the native ops: backend 'tcnn' runs on NVIDIA GPUs only"):
        drawn = backend.hash_grid(positions, tables, resolutions)
    assert torch.equal(drawn, ops.hash_grid(positions, tables, resolutions))
    rays, depths = (positions, torch.ones(5, 3), torch.ones(8, 8, 8, dtype=torch.uint8)), torch.tensor([0.0, 2.0])
    with pytest.warns(UserWarning, match="drawn by the native ops: marcher 'nerfacc'"):
        samples = march(*rays, depths=depths, step=0.1)
    assert torch.equal(samples.positions, ops.march(*rays, depths=depths, step=0.1).positions)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        backend.hash_grid(positions, tables, resolutions)


def test_backends_are_timed_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avatar.render.nerf.backends.TRIAL_POINTS", 64)
    monkeypatch.setitem(sys.modules, "tinycudann", tiny_cuda_double)
    monkeypatch.setattr(tiny_cuda_double, "__spec__", types.SimpleNamespace())
    times = time_backends.__wrapped__(CPU)
    assert set(times) == {"native", "tcnn"}
    assert min(times.values()) > 0

    def fail(*_: object, **__: object) -> None:
        raise OSError("built for another torch")

    monkeypatch.setattr(tiny_cuda_double, "Encoding", fail)
    with pytest.warns(UserWarning, match="'tcnn' is installed but does not run"):
        assert set(time_backends.__wrapped__(CPU)) == {"native"}
