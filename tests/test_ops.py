"""Native ops on the CPU: threads, instruction sets, errors. Their values are tested in test_kernels.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scenes import grouped, leaves, pose, rng, scene
from torch import Tensor

from cuda_ext import ops
from cuda_ext.reference import Convolution
from cuda_ext.shapes import check_shapes

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _all_threads() -> Iterator[None]:
    yield
    ops.set_threads(0)


def test_deform_adam_refuses_what_it_cannot_update_in_place() -> None:
    deltas = torch.zeros(6, 4).T
    with pytest.raises(ValueError, match=r"deform_adam_\.deltas is not contiguous"):
        ops.deform_adam_(deltas, deltas, deltas, torch.zeros(6), torch.zeros(4), ops.AdamStep(1, 0.1))


def everything() -> list[Tensor]:
    """Results and gradients of all ops on one fixed input."""
    size, results = 100, []
    ours = leaves(scene(600), torch.float32)
    rgb, alpha = ops.splat(*ours, focal=180.0, size=size)
    error = ops.photo_error(rgb, torch.zeros_like(rgb), 1 - alpha.detach())
    (error + alpha.mean()).backward()
    results += [rgb.detach(), alpha.detach(), error.detach(), *(leaf.grad for leaf in ours)]
    g = rng(3)
    tensors = leaves([torch.randn(*s, generator=g) for s in ((20000,), (9, 20000), (9,))], torch.float32)
    out = ops.deform(*tensors)
    out.square().sum().backward()
    results += [out.detach(), *(leaf.grad for leaf in tensors)]
    poses = leaves(pose(5000, 2), torch.float32)
    means, quaternions = ops.place(*grouped(poses), focal=700.0)
    (means.square().sum() + quaternions[:, 1].sum()).backward()
    results += [means.detach(), quaternions.detach(), *(leaf.grad for leaf in poses[:5])]
    results.append(ops.to_bytes(rgb.detach(), alpha.detach(), torch.zeros(size, size, 3, dtype=torch.uint8)))
    layer = Convolution(torch.randn(40, 33, 3, generator=g), torch.zeros(40), gelu=True)
    exact = torch.randn(2, 30, 33, generator=g).bfloat16().float()  # which some processors round inputs to
    results.append(ops.convolve(exact, ops.pack_convolution(layer)))
    return [tensor for tensor in results if tensor is not None]


def named() -> dict[str, Tensor]:
    return {f"{index:02d}": tensor.contiguous() for index, tensor in enumerate(everything())}


def save_everything(path: str) -> None:
    save_file(named(), path)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    results = []
    for threads in (1, 2, 3, 5):
        ops.set_threads(threads)
        assert ops.get_threads() == threads
        results.append(everything())
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("isa", ["v2", "v3", "v4"])
def test_every_instruction_set_agrees(isa: str, tmp_path: Path) -> None:
    if not ops.isa().startswith("v") or isa > ops.isa():
        pytest.skip(f"this processor has no {isa}")
    code = "import sys; sys.path.insert(0, 'tests'); import test_ops as t; t.save_everything(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out.safetensors")],
        cwd=ROOT,
        check=True,
        env={**os.environ, "AVATAR_ISA": isa},
    )
    others = load_file(tmp_path / "out.safetensors")
    for name, mine in named().items():
        limit = 1.0 if mine.dtype == torch.uint8 else 1e-3 * float(mine.abs().max()) + 1e-6
        assert torch.allclose(mine.double(), others[name].double(), rtol=1e-3, atol=limit), name


def test_an_unknown_instruction_set_is_named() -> None:
    code = "from cuda_ext import ops; ops.isa()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**os.environ, "AVATAR_ISA": "v9"}
    )
    assert "AVATAR_ISA is v9, expected v2, v3 or v4" in done.stderr or ops.isa() == "generic"


def test_a_missing_build_says_how_to_build() -> None:
    code = "import sys; sys.modules['cuda_ext._native'] = None; from cuda_ext import ops; ops.isa()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "ImportError: the native ops are not built" in done.stderr


def test_named_errors() -> None:
    tensors = scene(5)
    with pytest.raises(ValueError, match=r"splat\.colors is \[4, 3\], expected \[N, 3\] with N = 5 \(from means\)"):
        ops.splat(*tensors[:4], tensors[4][:4], focal=10.0, size=8)
    with pytest.raises(TypeError, match=r"splat\.means is torch\.float64, expected torch\.float32"):
        ops.splat(tensors[0].double(), *tensors[1:], focal=10.0, size=8)
    with pytest.raises(ValueError, match="focal is -1"):
        ops.splat(*tensors, focal=-1.0, size=8)
    tensors[2][3, 1] = float("nan")
    with pytest.raises(ValueError, match=r"splat\.log_scales has a value that is not finite"):
        ops.splat(*tensors, focal=10.0, size=8)
    with pytest.raises(ValueError, match=r"photo_error\.weight"):
        ops.photo_error(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), torch.zeros(4, 4))
    with pytest.raises(TypeError, match=r"to_bytes\.background is torch\.float32, expected torch\.uint8"):
        ops.to_bytes(torch.zeros(3, 4, 4), torch.zeros(1, 4, 4), torch.zeros(4, 4, 3))
    with pytest.raises(ValueError, match=r"deform\.base is on meta, expected cpu or cuda"):
        ops.deform(torch.zeros(2, device="meta"), torch.zeros(1, 2), torch.zeros(1))
    with pytest.raises(ValueError, match="count is -1"):
        ops.set_threads(-1)
    with pytest.raises(TypeError, match=r"deform\.base is list, expected a tensor"):
        ops.deform([], torch.zeros(1, 0), torch.zeros(1))  # type: ignore[arg-type]


shapes = st.lists(st.integers(0, 5), max_size=4)


@settings(max_examples=100, deadline=None)
@given(st.lists(shapes, min_size=5, max_size=5))
@example([[2, 3], [2, 4], [2, 3], [2], [2, 3]])
def test_splat_takes_right_shapes_and_refuses_all_others(given_shapes: list[list[int]]) -> None:
    tensors = [torch.zeros(shape) for shape in given_shapes]
    count = given_shapes[0][0] if given_shapes[0] else 0
    if given_shapes == [[count, 3], [count, 4], [count, 3], [count], [count, 3]]:
        assert ops.splat(*tensors, focal=5.0, size=4)[0].shape == (3, 4, 4)
    else:
        with pytest.raises(ValueError, match=r"splat\.\w+ is \["):
            ops.splat(*tensors, focal=5.0, size=4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(1, 70), st.integers(0, 1000))
def test_splat_of_any_size_is_finite_and_covers_at_most_everything(count: int, size: int, seed: int) -> None:
    rgb, alpha = ops.splat(*scene(count, seed=seed), focal=1.5 * size, size=size)
    assert torch.isfinite(rgb).all()
    assert 0 <= float(alpha.min()) <= float(alpha.max()) <= 1


@pytest.mark.parametrize("value", [1e30, -1e30, 1e-30, 80.0])
def test_extreme_parameters_neither_crash_nor_make_nan(value: float) -> None:
    for which in range(5):
        tensors = scene(20)
        tensors[which][::2] = value
        ours = leaves(tensors, torch.float32)
        rgb, alpha = ops.splat(*ours, focal=80.0, size=40)
        assert 0 <= alpha.min().item() <= alpha.max().item() <= 1
        if which != 4:
            assert torch.isfinite(rgb).all()


def test_check_shapes_names_the_culprit() -> None:
    sizes = check_shapes("Track", {"rotation": (torch.zeros(5, 3, 3), "T 3 3"), "torso": (torch.zeros(5, 4), "T 4")})
    assert sizes == {"T": 5}
    with pytest.raises(ValueError, match=r"Track\.torso is \[4, 4\], expected \[T, 4\] with T = 5 \(from rotation\)"):
        check_shapes("Track", {"rotation": (torch.zeros(5, 3, 3), "T 3 3"), "torso": (torch.zeros(4, 4), "T 4")})


def test_units_of_one_instruction_set_leave_no_shared_symbols() -> None:
    """A weak symbol compiled for AVX-512 could be the one the linker keeps, and crash every older processor."""
    objects = sorted(ROOT.glob("build/*/CMakeFiles/kernels_v[34].dir/cpu/*.o"))
    if not objects or shutil.which("nm") is None:
        pytest.skip("no build folder beside the checkout, or no nm")
    for path in objects:
        listing = subprocess.run(["nm", "-C", str(path)], capture_output=True, text=True, check=True).stdout
        for line in listing.splitlines():
            if any(f" {kind} " in line for kind in "WVu"):
                assert "avatar::v" in line or "DW.ref" in line, f"{path.name}: {line}"
