"""Milliseconds of the radiance field ops beside what else computes them: python -m bench.bench_field [--device cuda].

Hash grid and networks, forward and backward, then rays. Beside them on the CPU: plain torch in float32, by the
reference. On a GPU, in 40 seconds: torch's own layers in bfloat16, and tiny-cuda-nn with its own layout where it is
installed. `graph`: forward and backward captured and replayed, so without Python. A ratio is this time by that of the
case named first: torch's for networks, ours for the hash grid. Writes bench/results/field.json, or field_<gpu>.json.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor
from torch.nn import functional

from bench.bench_ops import machine, result_name
from bench.timing import Action
from cuda_ext import native, ops, reference_field

LEVELS, ENTRIES = 16, 2**16
COARSEST, FINEST = 16, 512
NETWORKS = ([32, 64, 64, 4], [43, 48, 16])  # wide, and the density network of recipes/nerf.yaml
RAY = 32  # points along one ray, in the case of rays
FEW_LEVELS, FEW_ENTRIES, FEW_CELLS = 6, 4096, (4, 64)  # as of the NeRF's ambient coordinates


@dataclass(frozen=True)
class Case:
    """Something that is timed, and the earlier case whose time it is a multiple of."""

    name: str
    action: Action
    beside: str = ""


@dataclass(frozen=True)
class Place:
    """Where cases run, and how large they are."""

    device: torch.device
    points: tuple[int, ...]
    repeats: int

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def random(self, *shape: int, seed: int = 0) -> Tensor:
        generator = torch.Generator(self.device).manual_seed(seed)
        return torch.rand(*shape, generator=generator, device=self.device)

    def normal(self, *shape: int, seed: int = 0) -> Tensor:
        generator = torch.Generator(self.device).manual_seed(seed)
        return torch.randn(*shape, generator=generator, device=self.device)

    def milliseconds(self, action: Action) -> float:
        """The median after three runs that are not counted; on a GPU between events, without waiting for each run."""
        for _ in range(min(3, self.repeats)):
            action()
        if not self.on_gpu:
            return statistics.median(_seconds(action) for _ in range(self.repeats)) * 1e3
        torch.cuda.synchronize(self.device)
        marks = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(self.repeats)
        ]
        for start, end in marks:
            start.record()
            action()
            end.record()
        torch.cuda.synchronize(self.device)
        return statistics.median(start.elapsed_time(end) for start, end in marks)


def _seconds(action: Action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def gradients(out: Tensor, leaves: list[Tensor], weights: Tensor) -> Action:
    weights = weights.to(out.dtype)
    return lambda: torch.autograd.grad(out, leaves, weights, retain_graph=True)


def captured(action: Action) -> Action:
    """An action in a CUDA graph."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            action()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        action()
    return graph.replay


def tiny_cuda_nn(place: Place) -> Any:
    """The package, or None where it is not installed or there is no GPU."""
    if not place.on_gpu:
        return None
    try:
        return importlib.import_module("tinycudann")
    except (ImportError, OSError):
        return None


def level_sizes(coarsest: int = COARSEST, finest: int = FINEST, levels: int = LEVELS) -> Tensor:
    growth = (finest / coarsest) ** (1 / (levels - 1))
    return torch.tensor([round(coarsest * growth**level) for level in range(levels)], dtype=torch.int32)


def along_rays(place: Place, count: int) -> Tensor:
    """Points [P, 3] along straight lines through the cube."""
    rays = -(-count // RAY)
    start, end = place.random(rays, 1, 3, seed=1), place.random(rays, 1, 3, seed=2)
    share = (torch.arange(RAY, device=place.device) + 0.5)[:, None] / RAY
    return (start + share * (end - start)).reshape(-1, 3)[:count]


def grid_cases(place: Place) -> Iterator[Case]:
    tables, resolutions = 0.01 * place.normal(LEVELS, ENTRIES, 2), level_sizes().to(place.device)
    leaf = tables.clone().requires_grad_()
    for count in place.points:
        kinds = {"2-D": place.random(count, 2), "3-D": place.random(count, 3), "along rays": along_rays(place, count)}
        for name, positions in kinds.items():
            label, weights = f"hash grid, {name}, {count} points", place.normal(count, 2 * LEVELS)
            forward = lambda p=positions: ops.hash_grid(p, tables, resolutions)  # noqa: E731
            yield Case(f"{label}, forward", forward)
            yield Case(f"{label}, backward", gradients(ops.hash_grid(positions, leaf, resolutions), [leaf], weights))
            yield from other_grids(place, label, positions, leaf, weights)


def other_grids(place: Place, label: str, positions: Tensor, leaf: Tensor, weights: Tensor) -> Iterator[Case]:
    ours, package = f"{label}, forward", tiny_cuda_nn(place)
    if not place.on_gpu and native.stream(place.device) is None:
        sizes = level_sizes()
        yield Case(f"{ours}, plain torch", lambda: reference_field.hash_grid(positions, leaf.detach(), sizes), ours)
        again = reference_field.hash_grid(positions, leaf, sizes)
        yield Case(f"{label}, backward, plain torch", gradients(again, [leaf], weights), f"{label}, backward")
    if package is None:
        return
    config = {"otype": "HashGrid", "n_levels": LEVELS, "n_features_per_level": 2, "log2_hashmap_size": 16}
    config |= {"base_resolution": COARSEST, "per_level_scale": (FINEST / COARSEST) ** (1 / (LEVELS - 1))}
    for number, name in ((torch.float16, "half"), (torch.float32, "float")):
        encoding = package.Encoding(positions.shape[1], config, dtype=number)

        def forward(encoding: Any = encoding) -> Tensor:
            with torch.no_grad():
                return encoding(positions)

        yield Case(f"{ours}, tiny-cuda-nn {name}", forward, ours)
        backward = gradients(encoding(positions), [encoding.params], weights)
        yield Case(f"{label}, backward, tiny-cuda-nn {name}", backward, f"{label}, backward")


def crowded_cases(place: Place) -> Iterator[Case]:
    """A small table whose points all lie about one place, as those of one expression do."""
    leaf = (0.01 * place.normal(FEW_LEVELS, FEW_ENTRIES, 2)).requires_grad_()
    resolutions = level_sizes(*FEW_CELLS, FEW_LEVELS).to(place.device)
    for count in place.points:
        positions, label = 0.4 + 0.01 * place.random(count, 3), f"hash grid, crowded, {count} points"
        yield Case(f"{label}, forward", lambda p=positions: ops.hash_grid(p, leaf.detach(), resolutions))
        out, weights = ops.hash_grid(positions, leaf, resolutions), place.normal(count, 2 * FEW_LEVELS)
        yield Case(f"{label}, backward", gradients(out, [leaf], weights))


def network_cases(place: Place) -> Iterator[Case]:
    for count, widths in itertools.product(place.points, NETWORKS):
        label = f"network {'-'.join(map(str, widths))}, {count} samples"
        size = sum(a * b for a, b in itertools.pairwise(widths))
        inputs = place.normal(count, widths[0]).requires_grad_()
        weights = (0.2 * place.normal(size, seed=1)).requires_grad_()
        wanted, still = place.normal(count, widths[-1], seed=2), (inputs.detach(), weights.detach())
        if place.on_gpu:
            yield from layer_cases(place, label, still[0], widths, wanted)
        beside = f"{label}, %s, torch bfloat16" if place.on_gpu else ""
        numbers = ("bfloat16", "tf32", "float32") if place.on_gpu else ("float32",)
        for number in numbers:
            out = ops.mlp(inputs, weights, widths, number)
            forward = lambda n=number, s=still, w=widths: ops.mlp(*s, w, n)  # noqa: E731
            yield Case(f"{label}, forward, {number}", forward, beside and beside % "forward")
            yield Case(
                f"{label}, backward, {number}",
                gradients(out, [inputs, weights], wanted),
                beside and beside % "backward",
            )
        if not place.on_gpu:
            again = reference_field.mlp(inputs, weights, widths)
            plain = lambda s=still, w=widths: reference_field.mlp(*s, w)  # noqa: E731
            yield Case(f"{label}, forward, plain torch", plain, f"{label}, forward, float32")
            backward = gradients(again, [inputs, weights], wanted)
            yield Case(f"{label}, backward, plain torch", backward, f"{label}, backward, float32")


def layers(values: Tensor, *matrices: Tensor) -> Tensor:
    """A network by torch's own layers."""
    for matrix in matrices[:-1]:
        values = functional.relu(functional.linear(values, matrix))
    return functional.linear(values, matrices[-1])


def layer_leaves(place: Place, inputs: Tensor, widths: list[int]) -> list[Tensor]:
    """Inputs and matrices of `layers` in bfloat16."""
    matrices = [0.2 * place.normal(after, before) for before, after in itertools.pairwise(widths)]
    return [tensor.bfloat16().requires_grad_() for tensor in (inputs, *matrices)]


def layer_cases(place: Place, label: str, inputs: Tensor, widths: list[int], wanted: Tensor) -> Iterator[Case]:
    """torch's own layers with inputs, weights and results in bfloat16, and tiny-cuda-nn's fused network in half."""
    leaves = layer_leaves(place, inputs, widths)
    still = [leaf.detach() for leaf in leaves]
    yield Case(f"{label}, forward, torch bfloat16", lambda: layers(*still))
    yield Case(f"{label}, backward, torch bfloat16", gradients(layers(*leaves), leaves, wanted))
    package = tiny_cuda_nn(place)
    if package is None or widths[1] not in (16, 32, 64, 128):
        return
    config = {"otype": "FullyFusedMLP", "activation": "ReLU", "output_activation": "None", "n_neurons": widths[1]}
    fused = package.Network(widths[0], widths[-1], config | {"n_hidden_layers": len(widths) - 2})
    half = inputs.half().requires_grad_()

    def forward() -> Tensor:
        with torch.no_grad():
            return fused(half)

    yield Case(f"{label}, forward, tiny-cuda-nn", forward, f"{label}, forward, torch bfloat16")
    backward = gradients(fused(half), [half, fused.params], wanted)
    yield Case(f"{label}, backward, tiny-cuda-nn", backward, f"{label}, backward, torch bfloat16")


def graph_cases(place: Place) -> Iterator[Case]:
    """Networks forward and backward as the captured training step runs them: without Python."""
    for count, widths in itertools.product(place.points if place.on_gpu else (), NETWORKS):
        label = f"network {'-'.join(map(str, widths))}, {count} samples, graph"
        size = sum(a * b for a, b in itertools.pairwise(widths))
        inputs, weights = place.normal(count, widths[0]), 0.2 * place.normal(size, seed=1)
        wanted, leaves = place.normal(count, widths[-1], seed=2), layer_leaves(place, inputs, widths)
        half = wanted.bfloat16()
        ours = inputs.requires_grad_(), weights.requires_grad_()
        theirs = lambda t=leaves, g=half: torch.autograd.grad(layers(*t), t, g)  # noqa: E731
        both = lambda t=ours, w=widths, g=wanted: torch.autograd.grad(ops.mlp(*t, w), t, g)  # noqa: E731
        yield Case(f"{label}, torch bfloat16", captured(theirs))
        yield Case(f"{label}, bfloat16", captured(both), f"{label}, torch bfloat16")


def ray_cases(place: Place) -> Iterator[Case]:
    side = 128 if place.points[0] > 10_000 else 16
    axis = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    origins = torch.stack([x, y, torch.full_like(x, -1.0)], -1).reshape(-1, 3).to(place.device)
    directions = torch.tensor([0.0, 0, 1]).expand_as(origins).contiguous().to(place.device)
    cells = (torch.arange(64) + 0.5) / 64 - 0.5
    z, y, x = torch.meshgrid(cells, cells, cells, indexing="ij")
    head = ((x**2 + y**2 + z**2).sqrt() - 0.35).abs().lt(0.05).to(torch.uint8).to(place.device)
    depths = torch.tensor([1.0, 2.0], device=place.device)
    march = lambda: ops.march(origins, directions, head, depths=depths, step=1 / 128)  # noqa: E731
    found = march()
    total = len(found.distances)
    yield Case(f"march, {side * side} rays, {total} samples kept", march)
    sigmas, colors = (
        (30 * place.random(total, seed=2)).requires_grad_(),
        place.random(total, 3, seed=3).requires_grad_(),
    )
    packed = (torch.full((total,), 1 / 128, device=place.device), found.starts, found.counts)
    color, alpha = ops.composite(sigmas, colors, *packed)
    still = (sigmas.detach(), colors.detach(), *packed)
    yield Case(f"composite, {total} samples, forward", lambda: ops.composite(*still))
    weights = [torch.ones_like(color), torch.ones_like(alpha)]
    backward = lambda: torch.autograd.grad([color, alpha], [sigmas, colors], weights, retain_graph=True)  # noqa: E731
    yield Case(f"composite, {total} samples, backward", backward)


def adapter_cases(place: Place) -> Iterator[Case]:
    """tiny-cuda-nn as `backend: tcnn` runs it, on our tables and weights."""
    package = tiny_cuda_nn(place)
    if package is None or importlib.util.find_spec("pydantic") is None:
        return
    from avatar.render.nerf.tiny_cuda import TinyCuda

    adapter = TinyCuda(package, "bfloat16")
    leaf, resolutions = (0.01 * place.normal(LEVELS, ENTRIES, 2)).requires_grad_(), level_sizes().to(place.device)
    for count in place.points:
        positions, label = place.random(count, 3), f"hash grid, 3-D, {count} points"
        forward = lambda p=positions: adapter.hash_grid(p, leaf.detach(), resolutions)  # noqa: E731
        yield Case(f"{label}, forward, tiny-cuda-nn on our tables", forward, f"{label}, forward")
        out = adapter.hash_grid(positions, leaf, resolutions)
        backward = gradients(out, [leaf], place.normal(count, 2 * LEVELS))
        yield Case(f"{label}, backward, tiny-cuda-nn on our tables", backward, f"{label}, backward")


def run(place: Place) -> tuple[dict[str, float], list[str]]:
    """Milliseconds by name, and what stopped the stages that could not go on."""
    figures: dict[str, float] = {}
    stopped: list[str] = []
    for stage in (grid_cases, crowded_cases, network_cases, ray_cases, graph_cases, adapter_cases):
        try:
            for case in stage(place):
                figures[case.name] = found = place.milliseconds(case.action)
                ratio = f"  {found / figures[case.beside]:7.2f}x" if case.beside in figures else ""
                sys.stdout.write(f"{case.name:<78} {found:9.3f} ms{ratio}\n")
                sys.stdout.flush()
        except (RuntimeError, TypeError) as error:
            stopped.append(f"{stage.__name__}: {type(error).__name__}: {error}")
    return figures, stopped


def emulate() -> None:
    """The GPU's kernels on the CPU, from now on."""
    native._native = importlib.import_module("cuda_ext._emulated")
    native.stream = lambda device: 0  # type: ignore[assignment]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--output", type=Path, help="JSON file; default: in bench/results")
    parser.add_argument(
        "--emulated", action="store_true", help="the GPU's kernels on the CPU, small, to see that all runs"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    if options.emulated:
        emulate()
        place = Place(device, (600,), 1)
    else:
        place = Place(device, (200_000, 2_000_000) if device.type == "cuda" else (200_000,), options.repeats)
    figures, stopped = run(place)
    content = {"machine": machine(device), "milliseconds": figures}
    name = "field" if device.type == "cpu" else f"field_{result_name(device)}"
    output = options.output or Path("bench/results") / f"{name}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(content, indent=1))
    if stopped:
        sys.exit("\n".join(stopped))


if __name__ == "__main__":
    main()
