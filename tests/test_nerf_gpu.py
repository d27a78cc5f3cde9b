"""The radiance field on a GPU: tiny-cuda-nn and nerfacc, where they are installed, against our own ops."""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch

from cuda_ext import native, ops

for package in ("pydantic", "yaml", "PIL"):  # the GPU job installs nothing that is not needed
    pytest.importorskip(package)

from avatar.render.nerf.backends import NATIVE, pick_backend, pick_march  # noqa: E402

RESOLUTIONS = torch.tensor([4, 9, 31, 64], dtype=torch.int32)


@pytest.fixture
def cuda() -> torch.device:
    if not torch.cuda.is_available() or not native.cuda_architectures():
        if os.environ.get("FAIL_WITHOUT_CUDA"):
            pytest.fail("no GPU, or the native ops were built without CUDA")
        pytest.skip("no GPU")
    return torch.device("cuda:0")


@pytest.mark.skipif(importlib.util.find_spec("tinycudann") is None, reason="tiny-cuda-nn is not installed")
@pytest.mark.parametrize("dimensions", [2, 3])
def test_tiny_cuda_nn_reads_our_tables_cuda(cuda: torch.device, dimensions: int) -> None:
    random = torch.Generator(cuda).manual_seed(0)
    positions = torch.rand(5000, dimensions, generator=random, device=cuda)
    tables = torch.randn(4, 2**12, 2, generator=random, device=cuda)
    weights = 0.2 * torch.randn(32 * 8 + 32 * 3, generator=random, device=cuda)
    results = []
    for backend in (NATIVE, pick_backend("tcnn", cuda)):
        leaves = tables.clone().requires_grad_(), weights.clone().requires_grad_()
        out = backend.mlp(backend.hash_grid(positions, leaves[0], RESOLUTIONS.to(cuda)), leaves[1], [8, 32, 3])
        out.square().sum().backward()
        results.append((out, *(leaf.grad for leaf in leaves)))
    for ours, theirs in zip(*results, strict=True):  # its networks compute in half precision
        assert (ours - theirs).norm() < 0.02 * ours.norm()


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


def test_auto_picks_a_backend_that_is_there_cuda(cuda: torch.device) -> None:
    assert pick_backend("auto", cuda).name in ("native", "tcnn")
