"""Times of the native ops beside what people would use instead: python -m bench.bench_ops [--device cuda].

Rows: the rasterizer over sizes and numbers of splats, a fitted frame, blendshapes, the loss, bytes, a whole frame to
NV12, a training step. Beside them: plain torch in float32, gsplat on a GPU when it is installed, one instruction set
against another, one thread against all. Torch runs on one thread beside ours on all cores, as in the renderer: its
spinning workers would take the cores away. Writes bench/results/ops.json, or <gpu>.json.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from bench.scenes import FOCAL, Scene, drawn_portrait, fitted_picture, random_splats, torch_splat, training_step
from bench.timing import Action, Row, measure
from cuda_ext import ops, reference

SIZES, COUNTS = (256, 512, 1024), (5000, 20000, 50000, 100000)
LEVELS = ("v2", "v3", "v4")


def splat_rows(name: str, tensors: list[Tensor], focal: float, size: int, repeats: int) -> Iterator[Row]:
    """Forward, and backward alone."""
    device = tensors[0].device
    with_grad = [tensor.clone().requires_grad_() for tensor in tensors]
    rgb, alpha = ops.splat(*with_grad, focal=focal, size=size)
    weights = [torch.randn_like(rgb), torch.randn_like(alpha)]
    small = size <= 128

    def backward(pictures: list[Tensor]) -> Action:
        return lambda: torch.autograd.grad(pictures, with_grad, weights, retain_graph=True)

    other: list[tuple[str, Action, Action]] = []
    if device.type == "cuda" and has_gsplat():
        theirs = list(gsplat_pictures(with_grad, focal, size))
        other.append(("gsplat", lambda: gsplat_pictures(tensors, focal, size), backward(theirs)))
    elif small:
        slow = list(torch_splat(with_grad, size))
        other.append(("torch", lambda: torch_splat(tensors, size), backward(slow)))
    against, forward_other, backward_other = other[0] if other else ("", None, None)
    forward = lambda: ops.splat(*tensors, focal=focal, size=size)  # noqa: E731
    yield measure(f"{name}, forward", forward, device, repeats=repeats, against=against, other=forward_other)
    ours = backward([rgb, alpha])
    yield measure(f"{name}, backward", ours, device, repeats=repeats, against=against, other=backward_other)


def has_gsplat() -> bool:
    """Whether gsplat is there, and what the project's adapter to it needs."""
    try:
        importlib.import_module("gsplat")
        importlib.import_module("avatar.render.gaussian.rasterizers")
    except ImportError:
        return False
    return True


def gsplat_pictures(tensors: list[Tensor], focal: float, size: int) -> tuple[Tensor, Tensor]:
    from avatar.core.geometry import Camera
    from avatar.render.gaussian.rasterizers import rasterize

    rgb, alpha = rasterize("gsplat", *(tensor[None] for tensor in tensors), camera=Camera(focal, size))
    return rgb[0], alpha[0]


def picture_rows(scene: Scene, repeats: int) -> Iterator[Row]:
    size, device = scene.shapes.size, scene.target.device
    g = torch.Generator().manual_seed(1)
    image = torch.rand(3, size, size, generator=g).to(device).requires_grad_()
    weight, target = torch.rand(1, size, size, generator=g).to(device), scene.target
    still, moments = image.detach(), ops.photo_moments(target)
    name = f"photo_error with gradient, {size} px"

    def torch_error() -> object:
        return torch.autograd.grad(reference.photo_error(image, target, weight), image)

    yield measure(
        name, lambda: ops.photo_error(image, target, weight), device, repeats=repeats, against="torch",
        other=torch_error if device.type == "cpu" else None,
    )  # fmt: skip
    cached = lambda: ops.photo_error(image, target, weight, moments=moments)  # noqa: E731
    yield measure(f"{name}, target side cached", cached, device, repeats=repeats)
    over = (still, weight, scene.background)
    for op, plain in ((ops.to_bytes, reference.to_bytes), (ops.to_nv12, reference.to_nv12)):
        other = partial(plain, *over) if device.type == "cpu" else None
        name = f"{op.__name__}, {size} px"
        yield measure(name, partial(op, *over), device, repeats=repeats, against="torch", other=other)


def blendshape_rows(scene: Scene, repeats: int) -> Iterator[Row]:
    shapes, device = scene.shapes, scene.target.device
    deltas, (coefficients,) = ops.dequantize(shapes.codes, shapes.scales), scene.pose.coefficients
    state = [deltas.clone(), torch.zeros_like(deltas), torch.zeros_like(deltas)]
    theirs = [tensor.clone() for tensor in state]
    name, adam = f"{deltas.shape[0]} x {deltas.shape[1]}", ops.AdamStep(5, 1e-4)
    plain = {
        "deform": lambda: reference.deform(shapes.base, deltas, coefficients),
        "deform_int8": lambda: reference.deform_int8(shapes.base, shapes.codes, shapes.scales, coefficients),
        "deform_adam_": lambda: reference.deform_adam_(*theirs, shapes.base, coefficients, adam),
    }
    ours = {
        "deform": lambda: ops.deform(shapes.base, deltas, coefficients),
        "deform_int8": lambda: ops.deform_int8(shapes.base, shapes.codes, shapes.scales, coefficients),
        "deform_adam_": lambda: ops.deform_adam_(*state, shapes.base, coefficients, adam),
    }
    for op, action in ours.items():
        yield measure(f"{op} {name}", action, device, repeats=repeats, against="torch", other=plain[op])


def frame_rows(scene: Scene, repeats: int) -> Iterator[Row]:
    """A whole frame to NV12, and a training step."""
    device, name = scene.target.device, scene.name

    def frame() -> Tensor:
        return ops.to_nv12(*ops.draw_frames(scene.shapes, scene.pose), scene.background)

    yield measure(f"{name}: whole frame to NV12", frame, device, repeats=repeats)
    yield measure(f"{name}: training step", training_step(scene), device, repeats=repeats)
    if device.type == "cuda":
        for batch in (1, 32):
            pose = ops.Pose(*(value.repeat(batch, *[1] * (value.dim() - 1)) for value in vars(scene.pose).values()))
            graph = ops.FrameGraph(scene.shapes, batch, scene.background)
            graph(pose)
            label = f"{name}: {batch} frame{'s' if batch > 1 else ''} to NV12 in a graph"
            yield measure(label, lambda g=graph, p=pose: g.launch(p), device, repeats=repeats)


def fitted_rows(scene: Scene, repeats: int) -> Iterator[Row]:
    name = f"{scene.name}, {scene.shapes.rigidity.shape[0]} splats at {scene.shapes.size} px"
    yield from splat_rows(name, scene.splats(), scene.shapes.focal, scene.shapes.size, repeats)
    yield from frame_rows(scene, repeats)


def matrix_rows(device: torch.device, repeats: int) -> Iterator[Row]:
    for size in SIZES:
        for count in COUNTS:
            tensors = [tensor.to(device) for tensor in random_splats(count, size, 8.0)]
            yield from splat_rows(f"random, {count} splats at {size} px", tensors, FOCAL * size, size, repeats)
    small = [tensor.to(device) for tensor in random_splats(500, 128, 16.0)]
    yield from splat_rows("random, 500 splats at 128 px", small, FOCAL * 128, 128, repeats)


def other_settings(arguments: list[str]) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """The fitted rows again with each instruction set, and on one thread, each in a process of its own."""
    runs = {f"instruction set {level}": ({"AVATAR_ISA": level}, []) for level in LEVELS if level <= ops.isa()}
    runs |= {"one thread": ({}, ["--threads", "1"])}
    for name, (environment, more) in runs.items():
        command = [sys.executable, "-m", "bench.bench_ops", *arguments, "--only-fitted", "--output", "-", *more]
        done = subprocess.run(command, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE, text=True)
        yield name, json.loads(done.stdout)["rows"]


def find_scene(options: argparse.Namespace, device: torch.device) -> Scene:
    if options.avatar:
        from bench.scenes import avatar_scene

        return avatar_scene(options.avatar, options.take, options.frame).to(device)
    return fitted_picture(drawn_portrait(512).to(device).cpu(), 20000, device=device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--avatar", type=Path, help="a trained avatar whose frame is timed, with --take and --frame")
    parser.add_argument("--take", type=Path)
    parser.add_argument("--frame", type=int, default=100)
    parser.add_argument("--only-fitted", action="store_true")
    parser.add_argument("--output", type=Path, help="JSON file; - for the standard output alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ops.set_threads(options.threads)
    device = torch.device(options.device)
    quiet = str(options.output) == "-"
    scene, rows = find_scene(options, device), []
    stages = [fitted_rows(scene, options.repeats)]
    if not options.only_fitted:
        stages += [blendshape_rows(scene, options.repeats), picture_rows(scene, options.repeats)]
        stages += [matrix_rows(device, options.repeats)]
    for stage in stages:
        for row in stage:
            rows.append(row)
            if not quiet:
                sys.stdout.write(f"{row}\n")
                sys.stdout.flush()
    content: dict[str, object] = {"machine": machine(device), "rows": [asdict(row) for row in rows]}
    if quiet:
        sys.stdout.write(json.dumps(content))
        return
    if device.type == "cpu" and not options.only_fitted:
        content["settings"] = dict(other_settings(scene_arguments(options)))
        for name, again in content["settings"].items():  # type: ignore[attr-defined]
            for figure in again:
                sys.stdout.write(f"{name:<20} {Row(**figure)}\n")
    output = options.output or Path("bench/results") / f"{result_name(device)}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(content, indent=1))


def scene_arguments(options: argparse.Namespace) -> list[str]:
    given = ["--repeats", str(options.repeats)]
    if options.avatar:
        given += ["--avatar", str(options.avatar), "--take", str(options.take), "--frame", str(options.frame)]
    return given


def result_name(device: torch.device) -> str:
    if device.type == "cpu":
        return "ops"
    return re.sub(r"[^a-z0-9]+", "_", torch.cuda.get_device_name(device).lower()).strip("_")


def machine(device: torch.device) -> dict[str, object]:
    """What the figures were measured on."""
    about: dict[str, object] = {"isa": ops.isa(), "threads": ops.get_threads(), "torch": torch.__version__}
    about |= {"python": platform.python_version(), "device": device.type}
    if device.type == "cuda":
        about |= {"gpu": torch.cuda.get_device_name(device), "kernels": ops.cuda_architectures()}
    return about


if __name__ == "__main__":
    main()
