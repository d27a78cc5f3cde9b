"""Whatever the native ops are given: a right result, or a ValueError or TypeError that names the argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import grouped, pose, rng, scene
from torch import Tensor

from cuda_ext import ops
from cuda_ext.reference import Convolution

EXTREMES = (1e30, -1e30, 1e-40, -1e-40, 3e38, -3e38, 80.0, -80.0, 1e4, -1e4, 0.0)
BROKEN = (float("nan"), float("inf"), -float("inf"))


def place(*, focal: float, **tensors: Tensor) -> tuple[Tensor, Tensor]:
    """`ops.place` with all its tensors by name."""
    return ops.place(*grouped(list(tensors.values())), focal=focal)


def arguments(name: str, size: int, count: int) -> tuple[Callable[..., Any], dict[str, Tensor], dict[str, Any]]:
    """An op with good arguments: the tensors by name, and the rest."""
    g = rng(size + 100 * count)
    picture = torch.rand(3, size, size, generator=g)
    weight = torch.rand(1, size, size, generator=g)
    background = torch.randint(0, 256, (size, size, 3), generator=g, dtype=torch.uint8)
    deltas, base, coefficients = (torch.randn(*s, generator=g) for s in ((3, count), (count,), (3,)))
    codes, scales = ops.quantize(deltas)
    splats = dict(zip(("means", "quaternions", "log_scales", "opacity_logits", "colors"), scene(count), strict=True))
    names = (
        "means",
        "quaternions",
        "rigidity",
        "rotation",
        "translation",
        "rest_rotation",
        "rest_translation",
        "torso",
    )
    tables = torch.randn(3, 64, 2, generator=g)
    resolutions = torch.tensor([2, 5, 40], dtype=torch.int32)
    positions = torch.rand(count, 3, generator=g)
    grid = torch.randint(0, 2, (8, 8, 8), generator=g, dtype=torch.uint8)
    directions = torch.randn(count, 3, generator=g)
    counts = torch.tensor([count // 2, count - count // 2], dtype=torch.int32)
    starts = torch.tensor([0, count // 2])
    samples = {"sigmas": base.abs(), "colors": positions, "lengths": base.abs(), "starts": starts, "counts": counts}
    calls: dict[str, tuple[Callable[..., Any], dict[str, Tensor], dict[str, Any]]] = {
        "splat": (ops.splat, splats, {"focal": 1.5 * size, "size": size}),
        "photo_error": (ops.photo_error, {"image": picture, "target": 1 - picture, "weight": weight}, {}),
        "photo_moments": (ops.photo_moments, {"target": picture}, {}),
        "to_bytes": (ops.to_bytes, {"rgb": picture, "alpha": weight, "background": background}, {}),
        "to_nv12": (ops.to_nv12, {"rgb": picture, "alpha": weight, "background": background}, {}),
        "deform": (ops.deform, {"base": base, "deltas": deltas, "coefficients": coefficients}, {}),
        "deform_int8": (
            ops.deform_int8,
            {"base": base, "codes": codes, "scales": scales, "coefficients": coefficients},
            {},
        ),
        "place": (place, dict(zip(names, pose(count, size), strict=True)), {"focal": 700.0}),
        "hash_grid": (
            ops.hash_grid,
            {"positions": positions, "tables": tables, "resolutions": resolutions},
            {},
        ),
        "mlp": (ops.mlp, {"inputs": positions, "weights": torch.randn(20, generator=g)}, {"widths": [3, 4, 2]}),
        "convolve": (ops.convolve, {"inputs": positions[None]}, {"layer": LAYER, "left": 1}),
        "march": (
            ops.march,
            {"origins": positions, "directions": directions, "occupancy": grid, "depths": torch.tensor([0.0, 2.0])},
            {"step": 0.1},
        ),
        "composite": (ops.composite, samples, {}),
    }
    return calls[name]


LAYER = ops.pack_convolution(Convolution(torch.ones(5, 3, 3), torch.zeros(5), gelu=True))
NAMES = (
    "splat", "photo_error", "photo_moments", "to_bytes", "to_nv12", "deform", "deform_int8", "place", "hash_grid",
    "mlp", "convolve", "march", "composite",
)  # fmt: skip


def tensors_of(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [part for part in result if isinstance(part, Tensor)]


def run(function: Callable[..., Any], tensors: dict[str, Tensor], more: dict[str, Any]) -> list[Tensor] | None:
    """The result, or None when the op refused and named one of its arguments."""
    try:
        return tensors_of(function(**tensors, **more))
    except (ValueError, TypeError) as error:
        said = str(error)
    assert any(name in said for name in (*tensors, *more)), said
    assert function.__name__ in said
    return None


def spoil(tensor: Tensor, way: str, data: st.DataObject) -> Tensor:
    """A tensor that is not what the op expects."""
    if way == "shape":
        return torch.zeros(data.draw(st.lists(st.integers(0, 4), max_size=4)), dtype=tensor.dtype)
    if way == "dtype":
        return tensor.to(data.draw(st.sampled_from([torch.float64, torch.float16, torch.int64, torch.bool])))
    if way == "device":
        return tensor.to("meta")
    if way == "layout":
        return tensor.to_sparse()
    return tensor[..., :-1] if tensor.dim() else tensor


@settings(max_examples=250, deadline=None)
@given(st.data(), st.sampled_from(NAMES), st.sampled_from(["shape", "dtype", "device", "layout", "shorter"]))
def test_a_wrong_argument_is_named(data: st.DataObject, name: str, way: str) -> None:
    function, tensors, more = arguments(name, 8, 6)
    which = data.draw(st.sampled_from(sorted(tensors)))
    good = tensors[which]
    bad = spoil(good, way, data)
    result = run(function, tensors | {which: bad}, more)
    if way in ("dtype", "device", "layout") and (bad.dtype, bad.layout) != (good.dtype, good.layout):
        assert result is None


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NAMES), st.integers(1, 70), st.integers(0, 80))
def test_any_size_works(name: str, size: int, count: int) -> None:
    function, tensors, more = arguments(name, size, count)
    result = run(function, tensors, more)
    assert result is not None or (name == "to_nv12" and size % 2)
    for tensor in result or []:
        assert torch.isfinite(tensor.double()).all()


def rearranged(tensor: Tensor, way: int) -> Tensor:
    """The same values, laid out differently."""
    if way == 0 or tensor.dim() == 0:
        return tensor
    if way == 1:
        return tensor.mT.contiguous().mT if tensor.dim() > 1 else tensor.repeat_interleave(2)[::2]
    wide = torch.stack([tensor, tensor], -1)
    return wide[..., 0]


@settings(max_examples=120, deadline=None)
@given(st.data(), st.sampled_from(NAMES))
def test_how_tensors_lie_in_memory_does_not_matter(data: st.DataObject, name: str) -> None:
    function, tensors, more = arguments(name, 20, 12)
    moved = {key: rearranged(value, data.draw(st.integers(0, 2))) for key, value in tensors.items()}
    expected, result = run(function, tensors, more), run(function, moved, more)
    assert expected is not None
    assert result is not None
    assert all(torch.equal(one, other) for one, other in zip(expected, result, strict=True))


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(["splat", "place", "hash_grid", "march", "to_bytes", "to_nv12", "photo_error"]))
def test_extreme_values_do_no_harm(data: st.DataObject, name: str) -> None:
    """Finite ones give an answer; others are refused, or at worst end in the numbers, never in a crash."""
    function, tensors, more = arguments(name, 20, 12)
    which = data.draw(st.sampled_from([key for key, value in tensors.items() if value.is_floating_point()]))
    value = data.draw(st.sampled_from([*EXTREMES, *BROKEN]))
    spoiled = tensors[which].clone()
    flat = spoiled.view(-1)
    flat[data.draw(st.integers(0, len(flat) - 1)) :: data.draw(st.integers(1, 5))] = value
    result = run(function, tensors | {which: spoiled}, more)
    if value not in BROKEN and value == value and which != "depths":  # which are 0 or more and bound the steps
        assert result is not None
    if result is not None and name == "splat" and which != "colors":
        assert all(torch.isfinite(tensor).all() for tensor in result)


@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("which", ["means", "quaternions", "log_scales", "opacity_logits", "colors"])
def test_splat_refuses_what_is_not_finite(which: str, value: float) -> None:
    function, tensors, more = arguments("splat", 20, 12)
    tensors[which].view(-1)[5] = value
    with pytest.raises(ValueError, match=rf"splat\.{which} has a value that is not finite"):
        function(**tensors, **more)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_gradients_of_extreme_splats_do_no_harm(data: st.DataObject) -> None:
    tensors = [tensor.requires_grad_() for tensor in scene(15)]
    with torch.no_grad():
        tensors[data.draw(st.integers(0, 4))].view(-1)[:: data.draw(st.integers(1, 4))] = data.draw(
            st.sampled_from(EXTREMES)
        )
    rgb, alpha = ops.splat(*tensors, focal=40.0, size=30)
    (rgb.mean() + alpha.mean()).backward()
    assert all(tensor.grad is not None for tensor in tensors)


@pytest.mark.parametrize("size", [4095, 4096])
def test_very_large_pictures(size: int) -> None:
    rgb, alpha = ops.splat(*scene(50, spread=20.0), focal=1.2 * size, size=size)
    assert rgb.shape == (3, size, size)
    assert 0 < float(alpha.max()) <= 1
    background = torch.zeros(size, size, 3, dtype=torch.uint8)
    picture = ops.to_bytes(rgb, alpha, background)
    assert int(picture.max()) == min(255, round(255 * float(rgb.max())))


def test_a_size_that_no_picture_has_is_refused() -> None:
    for size in (0, -5, 20000):
        with pytest.raises(ValueError, match="size is"):
            ops.splat(*scene(3), focal=10.0, size=size)


def test_a_batch_of_no_frames_is_refused() -> None:
    function, tensors, _ = arguments("deform_int8", 8, 6)
    with pytest.raises(ValueError, match=r"deform_int8\.coefficients is a batch of no frames, expected B > 0"):
        function(**tensors | {"coefficients": torch.zeros(0, 3)})
