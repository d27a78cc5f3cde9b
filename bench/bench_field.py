"""Millions of samples a second of the radiance field ops: python -m bench.bench_field [--device cuda].

Beside each: the plain torch reference in float32, or tiny-cuda-nn on a GPU where it is installed. Writes
bench/results/field.json, or field_<gpu>.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from bench.bench_ops import machine, result_name
from bench.timing import Row, measure
from cuda_ext import ops, reference_field

POINTS = 200_000
LEVELS, ENTRIES = 16, 2**16
WIDTHS = [32, 64, 64, 4]


def open_other(device: torch.device) -> tuple[str, Any]:
    """What ours is compared with: tiny-cuda-nn where it is installed and there is a GPU, plain torch elsewhere."""
    if device.type == "cpu" or importlib.util.find_spec("tinycudann") is None:
        return "torch", reference_field
    from avatar.render.nerf.backends import pick_backend

    return "tiny-cuda-nn", pick_backend("tcnn", device)


def grid_rows(device: torch.device, repeats: int) -> Iterator[Row]:
    g = torch.Generator().manual_seed(0)
    positions = torch.rand(POINTS, 3, generator=g).to(device)
    tables = torch.randn(LEVELS, ENTRIES, 2, generator=g).to(device).requires_grad_()
    growth = (512 / 16) ** (1 / (LEVELS - 1))
    resolutions = torch.tensor([round(16 * growth**level) for level in range(LEVELS)], dtype=torch.int32)
    plain, there = tables.detach(), resolutions.to(device)
    out = ops.hash_grid(positions, tables, there)
    gradient = torch.randn(POINTS, 2 * LEVELS, generator=g).to(device)
    against, theirs = open_other(device)
    name = f"hash_grid, {POINTS} points, {LEVELS} levels of 2^16"
    forward = lambda: ops.hash_grid(positions, plain, there)  # noqa: E731
    yield measure(
        f"{name}, forward", forward, device, repeats=repeats, against=against,
        other=lambda: theirs.hash_grid(positions, plain, there),
    )  # fmt: skip
    backward = lambda: torch.autograd.grad(out, tables, gradient, retain_graph=True)  # noqa: E731
    again = theirs.hash_grid(positions, tables, there)
    yield measure(
        f"{name}, backward", backward, device, repeats=repeats, against=against,
        other=lambda: torch.autograd.grad(again, tables, gradient, retain_graph=True),
    )  # fmt: skip


def mlp_rows(device: torch.device, repeats: int) -> Iterator[Row]:
    g = torch.Generator().manual_seed(1)
    inputs = torch.randn(POINTS, WIDTHS[0], generator=g).to(device).requires_grad_()
    count = sum(a * b for a, b in itertools.pairwise(WIDTHS))
    weights = (0.2 * torch.randn(count, generator=g)).to(device).requires_grad_()
    out = ops.mlp(inputs, weights, WIDTHS)
    against, other = open_other(device)
    theirs = other.mlp(inputs, weights, WIDTHS)
    gradient = torch.randn(POINTS, WIDTHS[-1], generator=g).to(device)
    name = f"mlp {'-'.join(map(str, WIDTHS))}, {POINTS} samples"
    still = (inputs.detach(), weights.detach(), WIDTHS)
    yield measure(
        f"{name}, forward", lambda: ops.mlp(*still), device, repeats=repeats, against=against,
        other=lambda: other.mlp(*still),
    )  # fmt: skip
    yield measure(
        f"{name}, backward", lambda: torch.autograd.grad(out, [inputs, weights], gradient, retain_graph=True), device,
        repeats=repeats, against=against,
        other=lambda: torch.autograd.grad(theirs, [inputs, weights], gradient, retain_graph=True),
    )  # fmt: skip


def ray_rows(device: torch.device, repeats: int) -> Iterator[Row]:
    side = 128
    axis = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    origins = torch.stack([x, y, torch.full_like(x, -1.0)], -1).reshape(-1, 3).to(device)
    directions = torch.tensor([0.0, 0, 1]).expand_as(origins).contiguous().to(device)
    cells = (torch.arange(64) + 0.5) / 64 - 0.5
    z, y, x = torch.meshgrid(cells, cells, cells, indexing="ij")
    head = ((x**2 + y**2 + z**2).sqrt() - 0.35).abs().lt(0.05).to(torch.uint8).to(device)
    depths = torch.tensor([1.0, 2.0], device=device)
    march = lambda: ops.march(origins, directions, head, depths=depths, step=1 / 128)  # noqa: E731
    found = march()
    total = len(found.distances)
    yield measure(f"march, {side * side} rays, {total} samples kept", march, device, repeats=repeats)
    g = torch.Generator().manual_seed(2)
    sigmas = (30 * torch.rand(total, generator=g)).to(device).requires_grad_()
    colors = torch.rand(total, 3, generator=g).to(device).requires_grad_()
    packed = (torch.full((total,), 1 / 128, device=device), found.starts, found.counts)
    color, alpha = ops.composite(sigmas, colors, *packed)
    still = (sigmas.detach(), colors.detach(), *packed)
    yield measure(f"composite, {total} samples, forward", lambda: ops.composite(*still), device, repeats=repeats)
    weights = [torch.ones_like(color), torch.ones_like(alpha)]
    backward = lambda: torch.autograd.grad([color, alpha], [sigmas, colors], weights, retain_graph=True)  # noqa: E731
    yield measure(f"composite, {total} samples, backward", backward, device, repeats=repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device, rows = torch.device(options.device), []
    for stage in (grid_rows, mlp_rows, ray_rows):
        for row in stage(device, options.repeats):
            rows.append(row)
            sys.stdout.write(f"{row}\n")
            sys.stdout.flush()
    content = {"machine": machine(device), "rows": [asdict(row) for row in rows]}
    name = "field" if device.type == "cpu" else f"field_{result_name(device)}"
    output = Path("bench/results") / f"{name}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
