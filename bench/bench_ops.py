"""Times of the native ops, and of the same ops in plain torch: python -m bench.bench_ops [--repeats 40].

The figures also go to bench/results/ops.json. Torch runs on one thread beside ours on all cores, as in the renderer:
its spinning workers would take the cores away.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from cuda_ext import ops, reference

Row = dict[str, float | str | None]


def times(action: Callable[[], object], repeats: int) -> list[float]:
    """Milliseconds of each run, after two that are not counted."""
    for _ in range(2):
        action()
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        spent.append(1e3 * (time.perf_counter() - start))
    return spent


def row(name: str, ours: Callable[[], object], torch_op: Callable[[], object] | None, repeats: int) -> Row:
    spent = times(ours, repeats)
    slow = min(times(torch_op, 3)) if torch_op else None
    best = min(spent)
    ratio = None if slow is None else slow / best
    return {"name": name, "min_ms": best, "median_ms": statistics.median(spent), "torch_ms": slow, "ratio": ratio}


def scene(count: int, size: int, diameter: float) -> list[Tensor]:
    """Splats all over the picture; diameter: that of three sigma, in px at a size of 512."""
    g = torch.Generator().manual_seed(0)
    depth = 60 + 10 * torch.rand(count, 1, generator=g)
    across = (torch.rand(count, 2, generator=g) - 0.5) * depth * 0.5
    scales = torch.log(diameter / 6 * depth / 1024) + 0.4 * torch.randn(count, 3, generator=g)
    opacity = 2 * torch.randn(count, generator=g)
    quaternions = torch.randn(count, 4, generator=g)
    return [torch.cat([across, depth], 1), quaternions, scales, opacity, torch.rand(count, 3, generator=g)]


def splat_rows(count: int, size: int, diameter: float, repeats: int) -> list[Row]:
    tensors = [tensor.requires_grad_() for tensor in scene(count, size, diameter)]
    plain = [tensor.detach() for tensor in tensors]
    name, focal = f"splat {count} at {size} px, {diameter:g} px wide", 2.0 * size
    rgb, alpha = ops.splat(*tensors, focal=focal, size=size)
    weights = [torch.randn_like(rgb), torch.randn_like(alpha)]
    small = size <= 128

    def backward() -> object:
        return torch.autograd.grad([rgb, alpha], tensors, weights, retain_graph=True)

    def torch_both() -> object:
        picture = reference.splat(*tensors, focal=focal, size=size)
        return torch.autograd.grad(picture, tensors, weights)

    def torch_forward() -> object:
        return reference.splat(*plain, focal=focal, size=size)

    forward = row(name, lambda: ops.splat(*plain, focal=focal, size=size), torch_forward if small else None, repeats)
    both = row(name + ", gradients", backward, torch_both if small else None, repeats)
    return [forward, both]


def picture_rows(size: int, repeats: int) -> list[Row]:
    g = torch.Generator().manual_seed(1)
    image, target = torch.rand(3, size, size, generator=g).requires_grad_(), torch.rand(3, size, size, generator=g)
    weight = torch.rand(1, size, size, generator=g)
    background = torch.randint(0, 256, (size, size, 3), generator=g, dtype=torch.uint8)
    still, alpha = image.detach(), weight.clone()

    def torch_error() -> object:
        return torch.autograd.grad(reference.photo_error(image, target, weight), image)

    return [
        row(
            f"photo_error and gradient, {size} px", lambda: ops.photo_error(image, target, weight), torch_error, repeats
        ),
        row(
            f"to_bytes, {size} px",
            lambda: ops.to_bytes(still, alpha, background),
            lambda: reference.to_bytes(still, alpha, background),
            repeats,
        ),
    ]


def deform_rows(rows: int, columns: int, repeats: int) -> list[Row]:
    g = torch.Generator().manual_seed(2)
    deltas, base = torch.randn(rows, columns, generator=g), torch.randn(columns, generator=g)
    coefficients = torch.randn(rows, generator=g)
    codes, scales = ops.quantize(deltas)
    ours = [deltas.clone(), torch.zeros_like(deltas), torch.zeros_like(deltas)]
    theirs = [tensor.clone() for tensor in ours]
    name = f"{rows} x {columns}"
    return [
        row(
            f"deform {name}",
            lambda: ops.deform(base, deltas, coefficients),
            lambda: reference.deform(base, deltas, coefficients),
            repeats,
        ),
        row(
            f"deform_int8 {name}",
            lambda: ops.deform_int8(base, codes, scales, coefficients),
            lambda: reference.deform_int8(base, codes, scales, coefficients),
            repeats,
        ),
        row(
            f"deform_adam_ {name}",
            lambda: ops.deform_adam_(*ours, base, coefficients, lr=1e-4, step=5),
            lambda: reference.deform_adam_(*theirs, base, coefficients, lr=1e-4, step=5),
            repeats,
        ),
    ]


def place_rows(count: int, repeats: int) -> list[Row]:
    g = torch.Generator().manual_seed(3)
    turn = reference.rotation_matrix(torch.randn(4, generator=g))
    far, torso = torch.tensor([0.0, 0, 60]), torch.tensor([4.0, -2.0, 0.05, 0.1])
    splats = [torch.randn(count, 3, generator=g), torch.randn(count, 4, generator=g), torch.rand(count, generator=g)]
    inputs = [*splats, turn, far, torch.eye(3), far, torso]
    return [
        row(
            f"place {count}",
            lambda: ops.place(*inputs, focal=1000.0, size=512),
            lambda: reference.place(*inputs, focal=1000.0, size=512),
            repeats,
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--output", type=Path, default=Path("bench/results/ops.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    repeats = options.repeats
    rows = splat_rows(20000, 512, 8, repeats) + splat_rows(20000, 512, 16, repeats) + splat_rows(500, 128, 16, repeats)
    rows += picture_rows(512, repeats) + deform_rows(32, 280000, repeats) + place_rows(20000, repeats)
    for figure in rows:
        ratio = "" if figure["ratio"] is None else f"  {figure['ratio']:8.1f}x torch"
        sys.stdout.write(
            f"{figure['name']:<46} min {figure['min_ms']:7.2f}  median {figure['median_ms']:7.2f} ms{ratio}\n"
        )
    machine = {
        "isa": ops.isa(),
        "threads": ops.get_threads(),
        "processor": platform.processor(),
        "torch": torch.__version__,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
