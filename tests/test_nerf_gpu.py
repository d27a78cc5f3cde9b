"""The radiance field on a GPU: tiny-cuda-nn and nerfacc, where they are installed, against our own ops."""

from __future__ import annotations

import importlib.util
import os
import warnings

import pytest
import torch
from conftest import Device

from cuda_ext import native, ops

for package in ("pydantic", "yaml", "PIL"):  # the GPU job installs nothing that is not needed
    pytest.importorskip(package)

from avatar.render.nerf.backends import (  # noqa: E402
    TORCH,
    check_backends,
    open_backends,
    pick_backend,
    pick_march,
    time_backends,
)
from avatar.render.nerf.field import HeadField  # noqa: E402
from avatar.render.nerf.initial import initial_head  # noqa: E402
from avatar.render.nerf.settings import NerfSettings  # noqa: E402
from avatar.render.nerf.warp import WARP_FEATURES  # noqa: E402

RESOLUTIONS = torch.tensor([4, 9, 31, 64], dtype=torch.int32)


@pytest.fixture
def cuda() -> torch.device:
    if not torch.cuda.is_available() or not native.cuda_architectures():
        if os.environ.get("FAIL_WITHOUT_CUDA"):
            pytest.fail("no GPU, or the native ops were built without CUDA")
        pytest.skip("no GPU")
    return torch.device("cuda:0")


@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-3), ("bfloat16", 0.02)])
@pytest.mark.parametrize("conditioning", ["ambient", "attention"])
def test_the_field_and_its_gradients_agree_with_the_reference(
    device: Device, conditioning: str, precision: ops.Precision, bound: float
) -> None:
    """Encodings and networks together; in bfloat16 networks one after the other round to 8 bits.

    That switches some ReLU and moves ambient coordinates to other cells; both change gradients at once, not a little.
    """
    settings = NerfSettings.model_validate({"levels": 6, "log2_entries": 9, "width": 20, "conditioning": conditioning})
    random, features = torch.Generator().manual_seed(0), 12 + 4 + 6
    values = initial_head(settings, features, random)
    values = {name: tensor + 0.05 * torch.randn(tensor.shape, generator=random) for name, tensor in values.items()}
    inputs = [torch.rand(2000, width, generator=random) for width in (3, WARP_FEATURES, 3)]
    frame = [torch.randn(width, generator=random) for width in (features, settings.appearance)]
    native = pick_backend("native", device.torch, precision)
    results = []
    for where, backend in ((torch.device("cpu"), TORCH), (device.torch, native)):
        leaves = {name: tensor.clone().to(where).requires_grad_() for name, tensor in values.items()}
        field = HeadField(settings, features, backend, where)
        conditions = field.condition(leaves, *(tensor.to(where) for tensor in frame))
        density, color = field(leaves, *(tensor.to(where) for tensor in inputs), conditions)
        (density.mean() + color.square().sum()).backward()
        results.append([density, color, *(leaf.grad for leaf in leaves.values())])
    for index, (truth, ours) in enumerate(zip(*results, strict=True)):
        allowed = bound if index < 2 or precision == "float32" else 0.15
        assert (ours.cpu() - truth).norm() <= allowed * truth.norm() + 1e-6


@pytest.mark.skipif(importlib.util.find_spec("tinycudann") is None, reason="tiny-cuda-nn is not installed")
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("size", [1.0, 1e-8])
def test_tiny_cuda_nn_reads_our_tables_cuda(cuda: torch.device, dimensions: int, size: float) -> None:
    """The loss is a sum over all points, or as small as a mean over a picture: half precision holds either's slopes."""
    random = torch.Generator(cuda).manual_seed(0)
    points = 5000
    positions = torch.rand(points, dimensions, generator=random, device=cuda)
    tables = torch.randn(4, 2**12, 2, generator=random, device=cuda)
    weights = 0.2 * torch.randn(32 * 8 + 32 * 3, generator=random, device=cuda)
    results = []
    for backend in (pick_backend("native", cuda, "float32"), pick_backend("tcnn", cuda)):
        leaves = tables.clone().requires_grad_(), weights.clone().requires_grad_()
        out = backend.mlp(backend.hash_grid(positions, leaves[0], RESOLUTIONS.to(cuda)), leaves[1], [8, 32, 3])
        (size * out.square().sum()).backward()
        results.append((out, *(leaf.grad for leaf in leaves)))
    # Numbers of 11 bits; the weights' gradient is a sum over the points that is itself kept in 11 bits, so that its
    # error grows with the root of their number.
    bounds = (0.02, 0.02, 0.01 + 2**-11 * points**0.5)
    for ours, theirs, bound in zip(*results, bounds, strict=True):
        assert (ours - theirs).norm() < bound * ours.norm()


@pytest.mark.skipif(importlib.util.find_spec("tinycudann") is None, reason="tiny-cuda-nn is not installed")
def test_an_avatar_of_tiny_cuda_nn_opens_on_the_cpu_and_draws_on_the_gpu_cuda(cuda: torch.device) -> None:
    settings, random = NerfSettings(backend="tcnn"), torch.Generator(cuda).manual_seed(0)
    check_backends(settings, cuda)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_backends(settings, torch.device("cpu"))
        backend, _ = open_backends(settings, cuda)
        positions = torch.rand(300, 3, generator=random, device=cuda)
        tables = torch.randn(4, 2**12, 2, generator=random, device=cuda)
        drawn = backend.hash_grid(positions, tables, RESOLUTIONS.to(cuda))
    exact = ops.hash_grid(positions, tables, RESOLUTIONS.to(cuda))
    assert (drawn - exact).norm() < 1e-3 * exact.norm()


@pytest.mark.skipif(importlib.util.find_spec("nerfacc") is None, reason="nerfacc is not installed")
def test_nerfacc_samples_the_same_cells_cuda(cuda: torch.device) -> None:
    random = torch.Generator(cuda).manual_seed(0)
    occupancy = (torch.rand(16, 16, 16, generator=random, device=cuda) < 0.2).to(torch.uint8)
    origins = torch.cat([torch.rand(500, 2, generator=random, device=cuda), torch.full((500, 1), -0.5, device=cuda)], 1)
    directions = torch.tensor([0.05, 0.02, 1.0], device=cuda).expand(500, 3).contiguous()
    step = 1 / 128
    ours, theirs = (
        march(origins, directions, occupancy, depths=torch.tensor([0.0, 2.0], device=cuda), step=step)
        for march in (ops.march, pick_march("nerfacc", cuda))
    )
    x, y, z = (theirs.positions * 16).long().clamp(0, 15).unbind(1)
    assert (occupancy[z, y, x] > 0).float().mean() > 0.98
    assert abs(len(ours.distances) - len(theirs.distances)) < 0.1 * len(ours.distances)
    assert torch.equal(theirs.counts.long().cumsum(0) - theirs.counts, theirs.starts)


def test_auto_picks_the_fastest_backend_that_is_there_cuda(cuda: torch.device) -> None:
    times = time_backends(cuda)
    assert pick_backend("auto", cuda).name == min(times, key=times.__getitem__)


def test_a_network_forward_and_backward_can_be_captured_cuda(cuda: torch.device) -> None:
    """With the hash grid before it, as in a captured training step: the replay gives what the calls gave."""
    random = torch.Generator(cuda).manual_seed(0)
    positions = torch.rand(4096, 3, generator=random, device=cuda)
    leaves = [torch.randn(4, 2**12, 2, generator=random, device=cuda), torch.randn(264, generator=random, device=cuda)]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    resolutions = RESOLUTIONS.to(cuda)

    def step() -> tuple[torch.Tensor, ...]:
        out = ops.mlp(ops.hash_grid(positions, leaves[0], resolutions), leaves[1], [8, 24, 3])
        return out, *torch.autograd.grad(out.square().sum(), leaves)

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        expected = [tensor.clone() for tensor in step()]
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    graph.replay()
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() < 1e-4 * other.norm()
